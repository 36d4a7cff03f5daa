"""RTMP chunk streams made by hand: an oracle for the chunk reader that shares no code with it.

Three levels. `header` writes one chunk header, right or wrong, from its fields. `ChunkStream` plays
a correct sender: it keeps the state a sender keeps, writes chunk by chunk (so that messages may
interleave) and notes in `messages` what a reader must hand out, in order. `chunk_streams` is a
Hypothesis strategy of whole streams. And `read` feeds a reader. Spec: RTMP 1.0 §5.3.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from hypothesis import strategies as st

MASK = 0xFFFFFFFF
EXTENDED = 0xFFFFFF

SentMessage: TypeAlias = tuple[int, int, int, int, bytes]
"""Chunk stream, type, message stream, time, payload: equal to a `native.RawMessage` of the same."""


class Outcome(NamedTuple):
    """What came of feeding a reader."""

    messages: list[Any]
    error: str | None


def read(reader: Any, pieces: list[bytes]) -> Outcome:
    """Feed pieces one after the other, until the reader refuses one with a ``ChunkError``."""
    out: list[Any] = []
    for piece in pieces:
        try:
            reader.feed(piece, out)
        except ValueError as error:  # ChunkError is one; nothing else may be
            if type(error).__name__ != "ChunkError":
                raise
            return Outcome(out, str(error))
    return Outcome(out, None)


def basic_header(fmt: int, csid: int, form: int | None = None) -> bytes:
    """Write fmt and chunk stream id in 1, 2 or 3 bytes (the shortest form that can)."""
    form = form or (1 if csid < 64 else 2 if csid < 320 else 3)
    if form == 1:
        assert 2 <= csid < 64
        return bytes([fmt << 6 | csid])
    assert 64 <= csid < (320 if form == 2 else 65600)
    return bytes([fmt << 6 | (form - 2)]) + (csid - 64).to_bytes(form - 1, "little")


def header(
    fmt: int,
    csid: int,
    time: int = 0,
    length: int = 0,
    type_id: int = 0,
    stream_id: int = 0,
    *,
    form: int | None = None,
    extended: bool | None = None,
) -> bytes:
    """Write a chunk header; `time` is absolute for fmt 0, a delta for 1 and 2.

    `extended` None means "if it must be"; True forces it (legal for any value). For fmt 3 the
    extended timestamp is written only if `extended` is True.
    """
    if extended is None:
        extended = fmt < 3 and time >= EXTENDED
    out = basic_header(fmt, csid, form)
    if fmt < 3:
        out += (EXTENDED if extended else time).to_bytes(3, "big")
    if fmt < 2:
        out += length.to_bytes(3, "big") + bytes([type_id])
    if fmt == 0:
        out += stream_id.to_bytes(4, "little")
    if extended:
        out += time.to_bytes(4, "big")
    return out


def message(
    csid: int,
    payload: bytes,
    *,
    time: int = 0,
    type_id: int = 9,
    stream_id: int = 1,
    chunk_size: int = 128,
) -> bytes:
    """Write one whole message: a type 0 header, then type 3 chunks (extended time repeated)."""
    out = header(0, csid, time, len(payload), type_id, stream_id) + payload[:chunk_size]
    for start in range(chunk_size, len(payload), chunk_size):
        out += header(3, csid, time, extended=time >= EXTENDED)
        out += payload[start : start + chunk_size]
    return out


def set_chunk_size(size: int, csid: int = 2) -> bytes:
    """Write a Set Chunk Size message (type 1)."""
    return message(csid, size.to_bytes(4, "big"), type_id=1, stream_id=0)


def abort(aborted_csid: int, csid: int = 2) -> bytes:
    """Write an Abort message (type 2)."""
    return message(csid, aborted_csid.to_bytes(4, "big"), type_id=2, stream_id=0)


@dataclass
class _SenderState:
    time: int = 0  # absolute time of the latest message
    field: int = 0  # latest timestamp field
    extended: bool = False
    length: int = 0
    type_id: int = 0
    stream_id: int = 0
    rest: bytes = b""  # of the open message
    payload: bytes = b""
    open: bool = False


@dataclass
class ChunkStream:
    """A correct sender, one call for each chunk. `data` is the wire, `messages` the expectation."""

    repeat_extended: bool = True
    """Repeat the extended timestamp in type 3 chunks (specification of 2012) or not (2009)."""
    data: bytearray = field(default_factory=bytearray)
    messages: list[SentMessage] = field(default_factory=list)
    chunk_size: int = 128
    states: dict[int, _SenderState] = field(default_factory=dict)

    def open_ids(self) -> list[int]:
        """Chunk streams with an unfinished message."""
        return [csid for csid, state in self.states.items() if state.open]

    def begin(
        self,
        csid: int,
        payload: bytes,
        *,
        fmt: int = 0,
        time: int = 0,
        type_id: int = 9,
        stream_id: int = 1,
        form: int | None = None,
        extended: bool | None = None,
    ) -> None:
        """Begin a message with its first chunk; arguments that fmt leaves out do not matter."""
        new = csid not in self.states
        state = self.states.setdefault(csid, _SenderState())
        assert not state.open
        assert fmt < 2 or not new
        if fmt == 3:
            self._type_3(csid, state, form)
        else:
            if extended is None:
                extended = time >= EXTENDED
            self.data += header(
                fmt, csid, time, len(payload), type_id, stream_id, form=form, extended=extended
            )
            state.field, state.extended = time, extended
        state.time = (state.field + (0 if fmt == 0 else state.time)) & MASK
        if fmt < 2:
            state.length, state.type_id = len(payload), type_id
        if fmt == 0:
            state.stream_id = stream_id
        assert len(payload) == state.length
        if state.extended and not self.repeat_extended:
            # No piece may look like a repeated timestamp: the wire would be ambiguous.
            first = state.field >> 24
            payload = payload.replace(bytes([first]), bytes([first ^ 0x55]))
        state.payload = state.rest = payload
        state.open = True
        self._piece(csid, state)

    def resume(self, csid: int, form: int | None = None) -> None:
        """Send the next chunk of an unfinished message."""
        state = self.states[csid]
        assert state.open
        self._type_3(csid, state, form)
        self._piece(csid, state)

    def finish(self, csid: int) -> None:
        """Send the rest of an unfinished message."""
        while self.states[csid].open:
            self.resume(csid)

    def set_chunk_size(self, size: int, csid: int = 2) -> None:
        """Send Set Chunk Size; it holds from the next chunk on."""
        self.begin(csid, size.to_bytes(4, "big"), type_id=1, stream_id=0)
        self.finish(csid)
        self.chunk_size = min(size, 0xFFFFFF)

    def abort(self, aborted_csid: int, csid: int = 2) -> None:
        """Send Abort; the unfinished message is given up, its header is not forgotten."""
        self.begin(csid, aborted_csid.to_bytes(4, "big"), type_id=2, stream_id=0)
        self.finish(csid)
        if aborted_csid in self.states:
            self.states[aborted_csid].open = False

    def _type_3(self, csid: int, state: _SenderState, form: int | None) -> None:
        repeat = state.extended and self.repeat_extended
        self.data += header(3, csid, state.field, form=form, extended=repeat)

    def _piece(self, csid: int, state: _SenderState) -> None:
        self.data += state.rest[: self.chunk_size]
        state.rest = state.rest[self.chunk_size :]
        if not state.rest:
            state.open = False
            self.messages.append((csid, state.type_id, state.stream_id, state.time, state.payload))


_CSIDS = st.sampled_from([3, 4, 6, 63, 64, 319, 320, 65599])
_TIMES = st.sampled_from([0, 1, 33, 1000, EXTENDED - 1, EXTENDED, 0x01020304, 0xFFFFFFFD]) | (
    st.integers(0, MASK)
)
_PAYLOADS = st.builds(
    lambda seed, length: (seed * (length // len(seed) + 1))[:length],
    st.binary(min_size=1, max_size=8),
    st.sampled_from([0, 1, 2, 3, 4, 5, 127, 128, 129, 256, 700, 3000]) | st.integers(0, 400),
)
_CHUNK_SIZES = st.sampled_from([1, 2, 3, 4, 5, 100, 128, 129, 4096, 0xFFFFFF, 0x7FFFFFFF])


@st.composite
def chunk_streams(draw: st.DrawFn, max_steps: int = 25) -> ChunkStream:
    """Draw a correct stream: every header form, interleaving, new chunk sizes, aborts."""
    sender = ChunkStream(repeat_extended=draw(st.booleans()))
    for _ in range(draw(st.integers(1, max_steps))):
        step = draw(st.sampled_from(["message"] * 6 + ["resume"] * 4 + ["size", "abort"]))
        csid = draw(_CSIDS)
        if step == "size":
            sender.set_chunk_size(draw(_CHUNK_SIZES))
        elif step == "abort":
            sender.abort(csid)
        elif csid in sender.open_ids():
            sender.resume(csid, _form(draw, csid))
        elif step == "message":
            _begin(draw, sender, csid)
    for csid in sender.open_ids():
        sender.finish(csid)
    return sender


def _form(draw: st.DrawFn, csid: int) -> int | None:
    return draw(st.sampled_from([2, 3])) if 64 <= csid < 320 else None


def _begin(draw: st.DrawFn, sender: ChunkStream, csid: int) -> None:
    state = sender.states.get(csid)
    fmt = draw(st.integers(0, 1 if state is None else 3))
    payload = draw(_PAYLOADS)
    if fmt >= 2 and state is not None:
        payload = (payload * (state.length // max(1, len(payload)) + 1) + bytes(state.length))[
            : state.length
        ]
    if fmt == 3 and not payload and not sender.repeat_extended:
        fmt = 0  # with nothing after the header, a reader cannot know yet that nothing is repeated
    time = draw(_TIMES)
    extended = time >= EXTENDED or draw(st.sampled_from([False] * 7 + [True]))
    sender.begin(
        csid,
        payload,
        fmt=fmt,
        time=time,
        type_id=draw(st.sampled_from([8, 9, 18, 20])),
        stream_id=draw(st.sampled_from([0, 1, 0x01020304])),
        form=_form(draw, csid),
        extended=extended,
    )
