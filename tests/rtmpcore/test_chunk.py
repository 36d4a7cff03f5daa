"""The chunk writer, read back by an independent reader and by the chunk reader of production."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rtmp_peers import WireMessage, WireReader

from native import ChunkReader, RawMessage
from rtmpcore.chunk import ChunkWriter


def write_all(messages: list[tuple[int, int, int, int, bytes]], chunk_bytes: int) -> bytes:
    writer = ChunkWriter()
    writer.chunk_bytes = chunk_bytes
    return b"".join(writer.write(*message) for message in messages)


@pytest.mark.parametrize(
    ("timestamps", "lengths", "fmts"),
    [
        ([0, 0, 0], [3, 4, 4], [0, 1, 2]),
        ([10, 20, 40], [3, 3, 3], [0, 2, 2]),
        ([40, 20, 30], [3, 3, 3], [0, 0, 2]),  # time goes back: a whole header
        ([0, 0x7FFFFFFF, 0xFFFFFFFE], [3, 3, 3], [0, 2, 2]),
        ([0xFFFFFFFF, 5], [3, 3], [0, 2]),  # the wrap is a step forward
        ([0xFFFFFF, 0x2000000], [3, 3], [0, 2]),
    ],
)
def test_header_types(timestamps: list[int], lengths: list[int], fmts: list[int]) -> None:
    messages = [
        (4, 9, 1, time, bytes(length)) for time, length in zip(timestamps, lengths, strict=True)
    ]
    read = WireReader().read(write_all(messages, 128))
    assert [message.fmt for message in read] == fmts
    assert [message.timestamp for message in read] == timestamps


def test_another_message_stream_needs_a_whole_header() -> None:
    read = WireReader().read(write_all([(4, 9, 1, 0, b"a"), (4, 9, 2, 0, b"a")], 128))
    assert [(message.fmt, message.stream_id) for message in read] == [(0, 1), (0, 2)]


def test_bytes_of_a_message_in_chunks() -> None:
    payload = bytes(range(5))
    assert write_all([(6, 9, 1, 0x01000000, payload)], 2) == bytes.fromhex(
        "06ffffff0000050901000000 01000000 0001c6 01000000 0203c6 01000000 04"
    )


messages = st.lists(
    st.tuples(
        st.integers(2, 8),
        st.sampled_from([8, 9, 18, 20]),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1) | st.integers(0xFFFFFE, 0x1000000) | st.integers(0, 100),
        st.binary(max_size=40) | st.integers(250, 600).map(bytes),
    ),
    max_size=12,
)


@given(sent=messages, chunk_bytes=st.sampled_from([1, 7, 128, 300, 65536]))
def test_what_is_written_is_read(
    sent: list[tuple[int, int, int, int, bytes]], chunk_bytes: int
) -> None:
    data = write_all(sent, chunk_bytes)
    read = WireReader(chunk_bytes).read(data)
    assert [message[:5] for message in read] == [
        WireMessage(*message, fmt=0)[:5] for message in sent
    ]
    reader = ChunkReader(max_message_bytes=1000, max_buffered_bytes=1000, max_chunk_streams=8)
    out: list[RawMessage] = []
    announcement = b"\x02" + bytes(5) + b"\x04\x01" + bytes(4) + chunk_bytes.to_bytes(4, "big")
    reader.feed(announcement, out)
    out.clear()
    reader.feed(data, out)
    assert [tuple(message) for message in out] == sent
