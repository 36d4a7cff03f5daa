"""The chunk reader, both twins: its limits, what is left after an error, and its memory."""

import gc
import sys
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from byte_pieces import single
from rtmp_chunks import abort, header, message, read, set_chunk_size

from native import ChunkError, RawMessage

if TYPE_CHECKING:
    from .conftest import Twin

A, B = b"a" * 128, b"b" * 128
GOOD = message(3, b"ok", type_id=20)
OK = (3, 20, 1, 0, b"ok")


def cuts_of(data: bytes) -> list[list[bytes]]:
    return [[data], single(data), [data[:20], data[20:]]]


def test_a_message_longer_than_the_limit_is_refused_by_its_header(twin: "Twin") -> None:
    for pieces in cuts_of(message(3, bytes(1000)) + header(0, 4, 0, 1001, 9, 1)):
        outcome = read(twin.reader(max_message_bytes=1000), pieces)
        assert outcome == ([(3, 9, 1, 0, bytes(1000))], "message of 1001 bytes exceeds 1000 bytes")


@pytest.mark.parametrize("fmt", [2, 3])
def test_an_inherited_length_is_checked_again(twin: "Twin", fmt: int) -> None:
    reader = twin.reader()
    read(reader, [message(4, bytes(100))])
    reader.set_limits(max_message_bytes=99, max_buffered_bytes=99, max_chunk_streams=1)
    assert read(reader, [header(fmt, 4)]).error == "message of 100 bytes exceeds 99 bytes"


def test_unfinished_messages_together_are_limited(twin: "Twin") -> None:
    data = header(0, 4, 0, 200, 9, 1) + A + header(0, 5, 0, 200, 9, 1) + A[:72]
    for pieces in cuts_of(data):
        reader = twin.reader(max_buffered_bytes=200)
        assert read(reader, pieces) == ([], None)
        assert reader.buffered_bytes == 200
        assert read(reader, [b"a"]).error == "unfinished messages exceed 200 bytes"
        assert reader.buffered_bytes == 0


def test_a_message_counts_with_its_last_byte(twin: "Twin") -> None:
    # However it is fed: else the limit would depend on the segments of the network.
    for pieces in cuts_of(message(4, bytes(300))):
        assert read(twin.reader(max_buffered_bytes=300), pieces).error is None
        outcome = read(twin.reader(max_buffered_bytes=299), pieces)
        assert outcome == ([], "unfinished messages exceed 299 bytes")


def test_finished_and_aborted_messages_do_not_count(twin: "Twin") -> None:
    reader = twin.reader(max_buffered_bytes=200)
    for _ in range(5):
        begun = header(0, 4, 0, 190, 9, 1) + A
        assert read(reader, [begun + abort(4) + message(5, bytes(128))]).error is None
        assert reader.buffered_bytes == 0


def test_chunk_streams_are_counted_not_named(twin: "Twin") -> None:
    ids = [2, 63, 65599]
    data = b"".join(message(csid, b"x") for csid in ids * 2)
    for pieces in cuts_of(data + header(0, 45, 0, 1, 9, 1)):
        outcome = read(twin.reader(max_chunk_streams=3), pieces)
        assert [message.chunk_stream_id for message in outcome.messages] == ids * 2
        assert outcome.error == "more than 3 chunk streams"


def test_a_header_that_is_cut_short_opens_no_chunk_stream(twin: "Twin") -> None:
    reader = twin.reader(max_chunk_streams=1)
    for byte in single(message(4, b"x")):
        assert read(reader, [byte]).error is None


def test_messages_per_feed_are_limited(twin: "Twin") -> None:
    empty = header(0, 4, 0, 0, 8, 1) + b"\xc4" * 9
    assert read(twin.reader(max_messages_per_feed=10), [empty] * 3).error is None
    outcome = read(twin.reader(max_messages_per_feed=10), [empty + b"\xc4"])
    assert outcome.error == "more than 10 messages in one feed"
    assert len(outcome.messages) == 10


def test_messages_per_feed_count_across_a_cut_header(twin: "Twin") -> None:
    empty = header(0, 4, 0, 0, 8, 1)
    outcome = read(twin.reader(max_messages_per_feed=10), [empty[:5], empty[5:] + b"\xc4" * 10])
    assert outcome.error == "more than 10 messages in one feed"
    assert len(outcome.messages) == 10


def test_default_messages_per_feed(twin: "Twin") -> None:
    reader = twin.chunk_reader(max_message_bytes=10, max_buffered_bytes=10, max_chunk_streams=1)
    data = header(0, 4, 0, 0, 8, 1) + b"\xc4" * 8192
    assert read(reader, [data]).error == "more than 8192 messages in one feed"


def test_raised_limits_hold_at_once(twin: "Twin") -> None:
    reader = twin.reader(max_message_bytes=10, max_buffered_bytes=10, max_chunk_streams=1)
    assert read(reader, [message(4, bytes(10))]).error is None
    reader.set_limits(max_message_bytes=500, max_buffered_bytes=500, max_chunk_streams=2)
    assert read(reader, [message(4, bytes(500)) + message(5, b"a")]).error is None


@pytest.mark.parametrize(
    "name",
    ["max_message_bytes", "max_buffered_bytes", "max_chunk_streams", "max_messages_per_feed"],
)
@pytest.mark.parametrize("value", [0, -1, 2**31, 2**70])
def test_limits_are_checked(twin: "Twin", name: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"^{name} {value} is outside 1\.\.2147483647$"):
        twin.reader(**{name: value})


def test_limits_are_replaced_all_or_none(twin: "Twin") -> None:
    reader = twin.reader()
    with pytest.raises(ValueError, match="max_chunk_streams 0 "):
        reader.set_limits(max_message_bytes=1, max_buffered_bytes=1, max_chunk_streams=0)
    assert read(reader, [message(4, bytes(100))]).error is None
    with pytest.raises(TypeError):
        reader.set_limits(max_message_bytes=1.5, max_buffered_bytes=1, max_chunk_streams=1)  # type: ignore[arg-type]


# After an error, and memory.


def test_dead_after_an_error(twin: "Twin") -> None:
    reader = twin.reader()
    text = "chunk stream 5 begins with a type 3 header"
    out: list[RawMessage] = []
    with pytest.raises(ChunkError, match=f"^{text}$"):
        reader.feed(header(0, 4, 0, 200, 9, 1) + A + GOOD + b"\xc5" + GOOD, out)
    for data in (GOOD, b""):
        with pytest.raises(ChunkError, match=f"^{text}$"):
            reader.feed(data, out)
    assert out == [OK]
    assert reader.buffered_bytes == 0
    reader.set_limits(max_message_bytes=1, max_buffered_bytes=1, max_chunk_streams=1)


def test_memory_follows_arrival_not_declaration(twin: "Twin") -> None:
    reader = twin.reader(max_chunk_streams=1000)
    # The first messages could be whole within the fed data by their length, and are not.
    data = set_chunk_size(1) + b"".join(
        header(0, csid, 0, length, 9, 1) + b"x"
        for csid, length in zip(range(64, 564), [3000, 0xFFFFFF] * 250, strict=True)
    )
    gc.collect()
    tracemalloc.start()
    try:
        reader.feed(data, [])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reader.buffered_bytes == 500
    assert peak < 500 * 1000  # 4 GB were declared


@pytest.mark.parametrize("step", [1, 700, 65536])
def test_memory_is_at_most_about_twice_what_arrived(twin: "Twin", step: int) -> None:
    total = 60_000 if step == 1 else 1_000_000
    reader = twin.reader()
    read(reader, [set_chunk_size(0xFFFFFF), header(0, 4, 0, 0xFFFFFF, 9, 1)])
    arrived = 0
    gc.collect()
    tracemalloc.start()
    try:
        while arrived < total:
            data = bytes(step)
            reader.feed(data, [])
            arrived += step
            held, _ = tracemalloc.get_traced_memory()
            assert held <= 2 * arrived + len(data) + 10_000
    finally:
        tracemalloc.stop()
    assert reader.buffered_bytes == arrived


def test_unfinished_messages_are_freed_with_the_reader(twin: "Twin") -> None:
    gc.collect()
    tracemalloc.start()
    try:
        reader = twin.reader()
        for csid in range(3, 23):
            begun = header(0, csid, 0, 90_000, 9, 1) + bytes(80_000)
            read(reader, [set_chunk_size(80_000) + begun])
        assert tracemalloc.get_traced_memory()[0] > 20 * 80_000
        del reader
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 3 * 80_000  # `begun` is one
    finally:
        tracemalloc.stop()


def test_payload_has_no_other_owner(twin: "Twin") -> None:
    reader, out = twin.reader(), list[RawMessage]()
    for byte in single(message(4, A + B)):
        reader.feed(byte, out)
    (received,) = out
    payload = received.payload
    del received, out
    reader.feed(message(4, bytes(256)), [])
    assert payload == A + B
    assert sys.getrefcount(payload) == 2
