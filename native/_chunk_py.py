"""RTMP chunk reader in Python: the specification of ``_chunk.pyx``, and its stand-in.

Bytes in, complete messages out. The reader knows the chunk stream and nothing above it, except the
two messages that steer the chunk stream itself: Set Chunk Size (type 1) and Abort (type 2). They
act whatever chunk stream or message stream carries them (PTZ cameras use chunk streams 3 to 6).

A chunk is a basic header, a message header, an extended timestamp and a piece of a message::

    fmt(2 bits) csid     timestamp length type stream-id      timestamp     payload
    1, 2 or 3 bytes      fmt 0: 11, 1: 7, 2: 3, 3: 0 bytes    0 or 4        min(chunk size, rest)

Invariants: how the input is cut into feeds changes neither the messages nor the error (only
``max_messages_per_feed`` counts by feed); a header takes effect when its last byte is there, not
before; memory follows the bytes that arrived, never a length that was declared; an error leaves no
unfinished message behind. Spec: RTMP 1.0 §5.3, §5.4.1, §5.4.2; where clients differ from it, a
comment says so.
"""

from typing import TYPE_CHECKING, final

from native._types import ChunkError, RawMessage, byte_view, checked_limit

if TYPE_CHECKING:
    from typing_extensions import Buffer

_INITIAL_CHUNK_SIZE = 128  # §5.4.1
_MAX_CHUNK_SIZE = 0xFFFFFF  # §5.4.1: larger sizes are the same, since no message is longer
_EXTENDED = 0xFFFFFF  # §5.3.1.3: a 24-bit timestamp that says "32 bits follow"
_MESSAGE_HEADER_BYTES = (11, 7, 3, 0)  # by fmt, §5.3.1.2
_MAX_HEADER_BYTES = 3 + 11 + 4
_SET_CHUNK_SIZE = 1
_ABORT = 2
_CONTROL_BYTES = 4  # the payload of both


class _ChunkStream:
    """What later headers on one chunk stream leave out, and its unfinished message."""

    __slots__ = (
        "extended",
        "length",
        "payload",
        "started",
        "stream_id",
        "timestamp",
        "type_id",
        "wire_time",
    )

    def __init__(self) -> None:
        self.timestamp = 0  # of the latest message: absolute, mod 2**32
        self.wire_time = 0  # latest timestamp field: absolute after fmt 0, else a delta
        self.extended = False  # that field came as an extended timestamp
        self.length = 0
        self.type_id = 0
        self.stream_id = 0
        self.started = False  # a message is begun and not complete
        self.payload = bytearray()  # what has arrived of it


@final
class ChunkReader:
    """Turn the bytes of one RTMP connection, after the handshake, into messages.

    Set Chunk Size and Abort take effect inside the reader, at once, and are returned like any
    other message.

    Args:
        max_message_bytes: Longest message, by its declared length.
        max_buffered_bytes: Most payload bytes in all unfinished messages together.
        max_chunk_streams: Most chunk streams ever used on the connection.
        max_messages_per_feed: Most messages that one `feed` may complete (a byte can be one).

    Raises:
        ValueError: A limit is outside 1 to 2**31 - 1.

    Spec: RTMP 1.0 §5.3.
    Cost: O(bytes fed); memory at most about twice `buffered_bytes`.
    """

    def __init__(
        self,
        *,
        max_message_bytes: int,
        max_buffered_bytes: int,
        max_chunk_streams: int,
        max_messages_per_feed: int = 8192,
    ) -> None:
        self.set_limits(
            max_message_bytes=max_message_bytes,
            max_buffered_bytes=max_buffered_bytes,
            max_chunk_streams=max_chunk_streams,
        )
        self._max_messages_per_feed = checked_limit("max_messages_per_feed", max_messages_per_feed)
        self._chunk_size = _INITIAL_CHUNK_SIZE
        self._streams: dict[int, _ChunkStream] = {}  # at most max_chunk_streams
        self._current_id = 0  # chunk stream of the chunk being read
        self._chunk_left = 0  # its payload bytes still to come; 0 between chunks
        self._buffered_bytes = 0
        self._pending = b""  # an incomplete header, fewer than _MAX_HEADER_BYTES
        self._failure: str | None = None

    @property
    def chunk_size(self) -> int:
        """Largest chunk payload the peer may send now, in bytes; starts at 128."""
        return self._chunk_size

    @property
    def buffered_bytes(self) -> int:
        """Payload bytes of unfinished messages now held."""
        return self._buffered_bytes

    def set_limits(
        self, *, max_message_bytes: int, max_buffered_bytes: int, max_chunk_streams: int
    ) -> None:
        """Replace the limits, for example once the peer is authenticated.

        They hold from the next byte on; a message already begun keeps its length.

        Raises:
            ValueError: A limit is outside 1 to 2**31 - 1; none was replaced.
        """
        message = checked_limit("max_message_bytes", max_message_bytes)
        buffered = checked_limit("max_buffered_bytes", max_buffered_bytes)
        streams = checked_limit("max_chunk_streams", max_chunk_streams)
        self._max_message_bytes = message
        self._max_buffered_bytes = buffered
        self._max_chunk_streams = streams

    def feed(self, data: "Buffer", out: list[RawMessage]) -> None:
        """Read more bytes and append the messages they complete to `out`.

        Args:
            data: Any number of bytes, in a C-contiguous buffer; not kept.
            out: Gets the messages in the order of their last bytes.

        Raises:
            ChunkError: Malformed bytes, or a limit was exceeded. Messages completed before are in
                `out`; the reader holds nothing more and every later call raises the same.
        """
        if self._failure is not None:
            raise ChunkError(self._failure)
        view = byte_view(data)
        if self._pending:
            view = memoryview(self._pending + view)
        try:
            consumed = self._consume(view, out)
        except (ChunkError, MemoryError) as error:
            self._failure = str(error) or "out of memory"
            self._streams.clear()
            self._buffered_bytes = 0
            raise
        self._pending = bytes(view[consumed:])

    def _consume(self, view: memoryview, out: list[RawMessage]) -> int:
        """Read whole headers and all payload; return the bytes used, all but a begun header."""
        most_messages = len(out) + self._max_messages_per_feed
        position = 0
        while position < len(view):
            if self._chunk_left == 0:
                header_bytes = self._begin_chunk(view[position : position + _MAX_HEADER_BYTES])
                if header_bytes == 0:
                    break
                position += header_bytes
            piece = view[position : position + self._chunk_left]
            position += len(piece)
            stream = self._append(piece)
            if stream.started and len(stream.payload) == stream.length:
                if len(out) == most_messages:
                    raise ChunkError(
                        f"more than {self._max_messages_per_feed} messages in one feed"
                    )
                out.append(self._finish(stream))
        return position

    def _begin_chunk(self, head: memoryview) -> int:
        """Read the headers of a chunk; return their size, or 0 and change nothing if cut short."""
        # §5.3.1.1. Ids 64..319 have two forms, and a sender may mix them.
        fmt = head[0] >> 6
        chunk_stream_id = head[0] & 0x3F
        size = 1
        if chunk_stream_id < 2:
            size = 2 + chunk_stream_id
            if len(head) < size:
                return 0
            chunk_stream_id = 64 + int.from_bytes(head[1:size], "little")

        stream = self._streams.get(chunk_stream_id)
        starts = stream is None or not stream.started
        if stream is None:
            # Type 1 is let in: librtmp opens chunk stream 2 so, meaning a delta from 0.
            if fmt >= 2:
                raise ChunkError(f"chunk stream {chunk_stream_id} begins with a type {fmt} header")
            if len(self._streams) >= self._max_chunk_streams:
                raise ChunkError(f"more than {self._max_chunk_streams} chunk streams")
            stream = _ChunkStream()
        elif fmt != 3 and not starts:
            # A new length in mid-message is how decoders were made to overflow (CVE-2016-10191).
            raise ChunkError(
                f"type {fmt} header inside an unfinished message on chunk stream {chunk_stream_id}"
            )

        # §5.3.1.2. What the header leaves out is as it was.
        fields = head[size : size + _MESSAGE_HEADER_BYTES[fmt]]
        if len(fields) < _MESSAGE_HEADER_BYTES[fmt]:
            return 0
        size += len(fields)
        length, type_id, stream_id = stream.length, stream.type_id, stream.stream_id
        if fmt <= 1:
            length = int.from_bytes(fields[3:6], "big")
            type_id = fields[6]
        if fmt == 0:
            stream_id = int.from_bytes(fields[7:11], "little")
        if starts:
            self._check_message(length, type_id)

        # §5.3.1.3.
        if fmt == 3:
            wire_time, extended = stream.wire_time, stream.extended
            if extended:
                repeated_bytes = _repeated_bytes(head[size : size + 4], wire_time)
                if repeated_bytes is None:
                    return 0
                size += repeated_bytes
        else:
            wire_time = int.from_bytes(fields[0:3], "big")
            extended = wire_time == _EXTENDED
            if extended:
                if len(head) < size + 4:
                    return 0
                wire_time = int.from_bytes(head[size : size + 4], "big")
                size += 4

        # The header is whole: from here on it takes effect.
        self._streams[chunk_stream_id] = stream
        if starts:
            # A message begun by type 3 adds the latest delta again; right after a type 0 that is
            # its timestamp (§5.3.1.2.4). Deltas wrap: audio and video that share a chunk stream
            # go backwards.
            base = 0 if fmt == 0 else stream.timestamp
            stream.timestamp = (base + wire_time) & 0xFFFFFFFF
            stream.wire_time, stream.extended = wire_time, extended
            stream.length, stream.type_id, stream.stream_id = length, type_id, stream_id
            stream.started = True
        self._current_id = chunk_stream_id
        self._chunk_left = min(self._chunk_size, stream.length - len(stream.payload))
        return size

    def _check_message(self, length: int, type_id: int) -> None:
        if length > self._max_message_bytes:
            raise ChunkError(f"message of {length} bytes exceeds {self._max_message_bytes} bytes")
        if type_id in (_SET_CHUNK_SIZE, _ABORT) and length != _CONTROL_BYTES:
            raise ChunkError(f"control message of type {type_id} has {length} bytes, not 4")

    def _append(self, piece: memoryview) -> _ChunkStream:
        """Add payload to the message of the current chunk; return its chunk stream."""
        # The last piece counts too, so that the limit does not depend on how the input is cut.
        if self._buffered_bytes + len(piece) > self._max_buffered_bytes:
            raise ChunkError(f"unfinished messages exceed {self._max_buffered_bytes} bytes")
        stream = self._streams[self._current_id]
        stream.payload += piece
        self._chunk_left -= len(piece)
        self._buffered_bytes += len(piece)
        return stream

    def _finish(self, stream: _ChunkStream) -> RawMessage:
        """End the message of the current chunk, and do what it says if it is ours to do."""
        payload = bytes(stream.payload)
        self._drop(stream)
        if stream.type_id == _SET_CHUNK_SIZE:
            size = int.from_bytes(payload, "big")
            if not 1 <= size <= 0x7FFFFFFF:
                raise ChunkError(f"chunk size {size} is outside 1..2147483647")
            self._chunk_size = min(size, _MAX_CHUNK_SIZE)
        elif stream.type_id == _ABORT:
            aborted = self._streams.get(int.from_bytes(payload, "big"))
            if aborted is not None:
                self._drop(aborted)  # the header stays, for what later ones leave out (§5.4.2)
        return RawMessage(
            self._current_id, stream.type_id, stream.stream_id, stream.timestamp, payload
        )

    def _drop(self, stream: _ChunkStream) -> None:
        self._buffered_bytes -= len(stream.payload)
        stream.payload.clear()
        stream.started = False


def _repeated_bytes(following: memoryview, wire_time: int) -> int | None:
    """Tell whether a type 3 header repeats the extended timestamp: 4 bytes, 0, or None for "wait".

    The 2012 specification repeats it and the 2009 one does not; both live on (ffmpeg against OBS
    up to 30.0), so the bytes decide. The first different byte is enough: a last chunk of one to
    three payload bytes has no four bytes to wait for.
    """
    expected = wire_time.to_bytes(4, "big")
    if following != expected[: len(following)]:
        return 0
    return 4 if len(following) == 4 else None
