"""The chunk stream, the way out: messages cut into chunks with headers as short as is safe.

The way in is `native.ChunkReader`; `malformed` turns its error into this package's.

Header compression (RTMP 1.0 section 5.3.1.2): the first message of a chunk stream, one of another
message stream, and one whose time goes back carry a whole header (type 0); others leave out the
message stream (type 1), and length and type too when those are as before (type 2). A *new* message
never uses type 3, though the specification allows it: peers disagree about the time it means after
a type 0, and the three bytes saved are not worth an argument. Continuations are type 3, with
the extended timestamp repeated, as the 2012 specification and ffmpeg, GStreamer and OBS 30.1 do.

State: one small record for each chunk stream that we send on, six in all.

May import: errors, wire.
"""

from typing import Final

from native import ChunkError
from rtmpcore.errors import RemoteProtocolError
from rtmpcore.wire import DEFAULT_CHUNK_BYTES, EXTENDED_TIMESTAMP

_TYPE_0: Final = 0x00
_TYPE_1: Final = 0x40
_TYPE_2: Final = 0x80
_TYPE_3: Final = 0xC0
_LONGEST_DELTA: Final = 0x80000000
"""A step of this many milliseconds or more, modulo 2**32, is a step back."""


class ChunkWriter:
    """Cuts the messages of one connection into chunks."""

    chunk_bytes: int
    """Largest payload of a chunk. Change it right after the Set Chunk Size that says so."""

    def __init__(self) -> None:
        self.chunk_bytes = DEFAULT_CHUNK_BYTES
        # chunk stream id -> (timestamp_ms, length, type_id, stream_id) of its last message
        self._last: dict[int, tuple[int, int, int, int]] = {}

    def write(
        self, chunk_stream_id: int, type_id: int, stream_id: int, timestamp_ms: int, payload: bytes
    ) -> bytes:
        """Return one message as chunks.

        Args:
            chunk_stream_id: 2 to 63; one byte of header is all we need.
            type_id: The message type.
            stream_id: The message stream.
            timestamp_ms: Absolute; taken modulo 2**32.
            payload: At most 0xFFFFFF bytes.
        """
        timestamp_ms &= 0xFFFFFFFF
        length = len(payload)
        header, time_field = self._message_header(
            chunk_stream_id, type_id, stream_id, timestamp_ms, length
        )
        extended = time_field.to_bytes(4, "big") if time_field >= EXTENDED_TIMESTAMP else b""
        self._last[chunk_stream_id] = (timestamp_ms, length, type_id, stream_id)
        step = self.chunk_bytes
        if length <= step:
            return b"".join((header, extended, payload))
        continuation = bytes((_TYPE_3 | chunk_stream_id,)) + extended
        pieces = [header, extended, payload[:step]]
        for start in range(step, length, step):
            pieces.append(continuation)
            pieces.append(payload[start : start + step])
        return b"".join(pieces)

    def _message_header(
        self, chunk_stream_id: int, type_id: int, stream_id: int, timestamp_ms: int, length: int
    ) -> tuple[bytes, int]:
        """Return the header without extended timestamp, and its full time or delta."""
        last = self._last.get(chunk_stream_id)
        delta = (timestamp_ms - last[0]) & 0xFFFFFFFF if last else 0
        whole = last is None or last[3] != stream_id or delta >= _LONGEST_DELTA
        time = timestamp_ms if whole else delta
        field = min(time, EXTENDED_TIMESTAMP).to_bytes(3, "big")
        kind = length.to_bytes(3, "big") + bytes((type_id,))
        if whole:
            first = bytes((_TYPE_0 | chunk_stream_id,))
            return first + field + kind + stream_id.to_bytes(4, "little"), time
        if last and last[1:3] == (length, type_id):
            return bytes((_TYPE_2 | chunk_stream_id,)) + field, time
        return bytes((_TYPE_1 | chunk_stream_id,)) + field + kind, time


def malformed(error: ChunkError) -> RemoteProtocolError:
    """Return the chunk reader's complaint as a protocol error of this package."""
    return RemoteProtocolError(str(error), "RTMP 1.0 section 5.3")
