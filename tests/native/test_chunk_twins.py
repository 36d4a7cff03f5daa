"""The two chunk readers do the same, on correct, damaged and random bytes, at any cut.

Same messages, same exception type and text, same chunk size and buffered bytes after every feed.
"""

from typing import TYPE_CHECKING, NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st
from rtmp_chunks import ChunkStream, chunk_streams, header, message, set_chunk_size

if TYPE_CHECKING:
    from native import ChunkReader, RawMessage

    from .conftest import Twin


class Limits(NamedTuple):
    max_message_bytes: int
    max_buffered_bytes: int
    max_chunk_streams: int
    max_messages_per_feed: int


WIDE = Limits(0xFFFFFF, 0x2000000, 64, 8192)
LIMITS = st.just(WIDE) | st.builds(
    Limits,
    st.integers(1, 4000),
    st.integers(1, 6000),
    st.integers(1, 6),
    st.integers(1, 12),
)
CUTS = st.lists(st.integers(0, 20_000), max_size=12)


class State(NamedTuple):
    messages: "list[RawMessage]"
    error: tuple[str, str] | None
    chunk_size: int
    buffered_bytes: int


def make(twin: "Twin", limits: Limits) -> "ChunkReader":
    return twin.chunk_reader(**limits._asdict())


def feed(reader: "ChunkReader", piece: bytes) -> State:
    out: list[RawMessage] = []
    error = None
    try:
        reader.feed(piece, out)
    except Exception as caught:
        error = type(caught).__name__, str(caught)
    return State(out, error, reader.chunk_size, reader.buffered_bytes)


def check(
    python_twin: "Twin", c_twin: "Twin", data: bytes, cuts: list[int], limits: Limits
) -> None:
    expected, tested = make(python_twin, limits), make(c_twin, limits)
    start = 0
    for end in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data), len(data)]:
        piece = data[start:end]
        before = bytes(bytearray(piece))
        assert feed(tested, piece) == feed(expected, piece)
        assert piece == before
        start = end


@given(sender=chunk_streams(), cuts=CUTS, limits=LIMITS)
def test_correct_streams(
    python_twin: "Twin", c_twin: "Twin", sender: ChunkStream, cuts: list[int], limits: Limits
) -> None:
    check(python_twin, c_twin, bytes(sender.data), cuts, limits)


MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["set", "flip", "insert", "delete", "repeat", "cut"]),
        st.integers(0, 20_000),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=6,
)


def damage(data: bytes, mutations: list[tuple[str, int, int]]) -> bytes:
    out = bytearray(data)
    for kind, where, value in mutations:
        at = where % (len(out) + 1)
        if kind == "set":
            out[at : at + 1] = bytes([value])
        elif kind == "flip" and at < len(out):
            out[at] ^= 1 << value % 8
        elif kind == "insert":
            out[at:at] = bytes([value])
        elif kind == "delete":
            del out[at : at + value % 5]
        elif kind == "repeat":
            out[at:at] = out[at : at + value]
        elif kind == "cut":
            del out[at:]
    return bytes(out)


@settings(max_examples=300)
@given(sender=chunk_streams(), mutations=MUTATIONS, cuts=CUTS, limits=LIMITS)
def test_damaged_streams(
    python_twin: "Twin",
    c_twin: "Twin",
    sender: ChunkStream,
    mutations: list[tuple[str, int, int]],
    cuts: list[int],
    limits: Limits,
) -> None:
    check(python_twin, c_twin, damage(bytes(sender.data), mutations), cuts, limits)


@settings(max_examples=300)
@given(data=st.binary(max_size=600), cuts=CUTS, limits=LIMITS)
@example(data=set_chunk_size(1) + header(0, 4, 0, 4, 9) + b"a\xc4b\xc4", cuts=[], limits=WIDE)
@example(data=message(4, bytes(128)) + b"\xc4", cuts=[0, 0], limits=WIDE)
@example(data=header(0, 4, 0x04C40000, 5, 9) + b"\xc4" * 9, cuts=[3, 17, 18, 19], limits=WIDE)
def test_random_bytes(
    python_twin: "Twin", c_twin: "Twin", data: bytes, cuts: list[int], limits: Limits
) -> None:
    check(python_twin, c_twin, data, cuts, limits)


# Bytes that are mostly headers: a random byte string seldom gets past its first one.
TOKENS = st.sampled_from(
    [
        set_chunk_size(1),
        set_chunk_size(3),
        set_chunk_size(0x7FFFFFFF),
        message(2, b"\x00\x00\x00\x04", type_id=2),
        header(0, 4, 0, 5, 9),
        header(0, 4, 0xC4C4C4C4, 5, 9),
        header(0, 5, 0xFFFFFF, 0, 8),
        header(1, 4, 0x01000000, 300, 9),
        header(1, 64, 3, 2, 9, form=3),
        header(2, 4, 7),
        b"\xc4",
        b"\xc4" * 4,
        b"\xc5",
        b"\xc0\x00",
        b"\xc1\x00\x00",
        b"\xff\xff\xff",
        bytes(7),
        bytes(128),
    ]
)


@settings(max_examples=300)
@given(tokens=st.lists(TOKENS, max_size=30), cuts=CUTS, limits=LIMITS)
def test_shuffled_headers(
    python_twin: "Twin", c_twin: "Twin", tokens: list[bytes], cuts: list[int], limits: Limits
) -> None:
    check(python_twin, c_twin, b"".join(tokens), cuts, limits)


@given(sender=chunk_streams(), at=st.integers(0, 20_000), before=LIMITS, after=LIMITS)
def test_limits_replaced_on_the_way(
    python_twin: "Twin",
    c_twin: "Twin",
    sender: ChunkStream,
    at: int,
    before: Limits,
    after: Limits,
) -> None:
    data = bytes(sender.data)
    states = []
    for twin in (python_twin, c_twin):
        reader = make(twin, before)
        first = feed(reader, data[:at])
        reader.set_limits(
            max_message_bytes=after.max_message_bytes,
            max_buffered_bytes=after.max_buffered_bytes,
            max_chunk_streams=after.max_chunk_streams,
        )
        states.append((first, feed(reader, data[at:])))
    assert states[0] == states[1]
