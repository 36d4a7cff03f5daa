"""Chunk reader: how the bytes are cut into feeds changes neither the messages nor the error.

Further invariants: only `ChunkError` escapes; no message is longer than its limit; the bytes held
exceed neither theirs nor what was fed; after an error nothing is held.

Input: byte 0 is the size of the feeds less one, the rest is the chunk stream.
"""

from collections.abc import Iterable

from native import ChunkError, ChunkReader, RawMessage

MAX_MESSAGE_BYTES = 4096
MAX_BUFFERED_BYTES = 6000
MAX_CHUNK_STREAMS = 8
BYTE_BY_BYTE = 512  # so much of a stream; the rest in one feed, or a second would see few inputs


def read(pieces: Iterable[bytes]) -> tuple[list[RawMessage], str | None]:
    reader = ChunkReader(
        max_message_bytes=MAX_MESSAGE_BYTES,
        max_buffered_bytes=MAX_BUFFERED_BYTES,
        max_chunk_streams=MAX_CHUNK_STREAMS,
        max_messages_per_feed=2**31 - 1,  # the one limit that counts by feed
    )
    out: list[RawMessage] = []
    fed_bytes = 0
    for piece in pieces:
        try:
            reader.feed(piece, out)
        except ChunkError as error:  # the peer's fault: the one legal end
            assert reader.buffered_bytes == 0
            return out, str(error)
        fed_bytes += len(piece)
        assert reader.buffered_bytes <= min(fed_bytes, MAX_BUFFERED_BYTES)
        assert 1 <= reader.chunk_size <= 0xFFFFFF
    for message in out:
        assert len(message.payload) <= MAX_MESSAGE_BYTES
    return out, None


def test_one_input(data: bytes) -> None:
    if not data:
        return
    step, stream = data[0] + 1, data[1:]
    whole = read([stream])
    assert read(stream[i : i + step] for i in range(0, len(stream), step)) == whole
    single = [stream[i : i + 1] for i in range(min(len(stream), BYTE_BY_BYTE))]
    assert read([*single, stream[BYTE_BY_BYTE:]]) == whole
