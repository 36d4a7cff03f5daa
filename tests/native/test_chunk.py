"""The chunk reader, both twins: what correct bytes mean, and which bytes are refused.

Every stream of the tables is read whole, byte by byte, and at splits that Hypothesis chooses; the
messages and the error may not depend on it.
"""

from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import pytest
from byte_pieces import single, split
from hypothesis import given
from hypothesis import strategies as st
from rtmp_chunks import (
    ChunkStream,
    SentMessage,
    abort,
    basic_header,
    chunk_streams,
    header,
    message,
    read,
    set_chunk_size,
)

from native import RawMessage

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from .conftest import Twin


class Case(NamedTuple):
    name: str
    data: bytes
    messages: list[SentMessage]
    error: str | None = None


A, B = b"a" * 128, b"b" * 128

CORRECT = [
    Case("nothing", b"", []),
    Case(
        "type 0: stream id is little-endian",
        bytes.fromhex("04 000005 000003 09 01020304") + b"abc",
        [(4, 9, 0x04030201, 5, b"abc")],
    ),
    Case(
        "types 0, 1, 2, 3: each leaves more out",
        bytes.fromhex("04 000064 000001 08 01000000 61")
        + bytes.fromhex("44 000014 000002 09 6262")
        + bytes.fromhex("84 00000A 6363")
        + bytes.fromhex("C4 6464"),
        [
            (4, 8, 1, 100, b"a"),
            (4, 9, 1, 120, b"bb"),
            (4, 9, 1, 130, b"cc"),
            (4, 9, 1, 140, b"dd"),
        ],
    ),
    Case(
        "type 3 after type 0 adds the timestamp itself, §5.3.1.2.4",
        bytes.fromhex("04 0003E8 000001 08 01000000 61 C4 62 C4 63"),
        [(4, 8, 1, 1000, b"a"), (4, 8, 1, 2000, b"b"), (4, 8, 1, 3000, b"c")],
    ),
    Case(
        "librtmp opens chunk stream 2 with type 1",
        bytes.fromhex("42 000000 000006 04 0006 00000001"),
        [(2, 4, 0, 0, bytes.fromhex("000600000001"))],
    ),
    Case(
        "type 1 on a fresh chunk stream counts from 0",
        bytes.fromhex("43 000021 000001 08 61"),
        [(3, 8, 0, 33, b"a")],
    ),
    Case(
        "chunks of 128 bytes with type 3 headers",
        bytes.fromhex("04 000000 000101 09 01000000") + A + b"\xc4" + B + b"\xc4" + b"c",
        [(4, 9, 1, 0, A + B + b"c")],
    ),
    Case(
        "a length that is a multiple of the chunk size has no empty chunk",
        bytes.fromhex("04 000000 000100 09 01000000") + A + b"\xc4" + B + message(5, b"x"),
        [(4, 9, 1, 0, A + B), (5, 9, 1, 0, b"x")],
    ),
    Case(
        "two-byte and three-byte chunk stream ids",
        header(0, 64, 1, 1, 8, 1)
        + b"a"
        + header(0, 319, 2, 1, 8, 1)
        + b"b"
        + bytes.fromhex("01 0001 000003 000001 08 01000000 63")  # 64 + 0 + 256 * 1
        + header(0, 65599, 4, 1, 8, 1)
        + b"d",
        [
            (64, 8, 1, 1, b"a"),
            (319, 8, 1, 2, b"b"),
            (320, 8, 1, 3, b"c"),
            (65599, 8, 1, 4, b"d"),
        ],
    ),
    Case(
        "ids 64 to 319 in both forms within one message",
        header(0, 70, 0, 300, 9, 1, form=2)
        + A
        + basic_header(3, 70, form=3)
        + B
        + basic_header(3, 70, form=2)
        + b"c" * 44,
        [(70, 9, 1, 0, A + B + b"c" * 44)],
    ),
    Case(
        "interleaved messages end in the order of their last bytes",
        header(0, 6, 10, 129, 9, 1)
        + A
        + header(0, 4, 11, 2, 8, 1)
        + b"zz"
        + header(3, 6)
        + b"y"
        + header(3, 4)
        + b"xx",
        [(4, 8, 1, 11, b"zz"), (6, 9, 1, 10, A + b"y"), (4, 8, 1, 22, b"xx")],
    ),
    Case(
        "empty messages are complete at once, and their time counts",
        bytes.fromhex("04 00000A 000000 08 01000000 84 000005 C4"),
        [(4, 8, 1, 10, b""), (4, 8, 1, 15, b""), (4, 8, 1, 20, b"")],
    ),
    Case(
        "negative delta on a shared chunk stream [librtmp_ext]",
        bytes.fromhex("04 0003E8 000001 09 01000000 61 44 FFFFFF 000001 08 FFFFFFFD 62"),
        [(4, 9, 1, 1000, b"a"), (4, 8, 1, 997, b"b")],
    ),
    Case(
        "time wraps at 2**32",
        header(0, 4, 0xFFFFFFF0, 1, 8, 1) + b"a" + header(2, 4, 0x20) + b"b",
        [(4, 8, 1, 0xFFFFFFF0, b"a"), (4, 8, 1, 0x10, b"b")],
    ),
    Case(
        "extended delta after a sequence header at 0 [ffmpeg51_ext]",
        bytes.fromhex("06 000000 000001 09 01000000 61 46 FFFFFF 000002 09 01312C92 6262"),
        [(6, 9, 1, 0, b"a"), (6, 9, 1, 0x01312C92, b"bb")],
    ),
    Case(
        "an extended timestamp may be smaller than 0xFFFFFF, or just that",
        header(0, 4, 5, 1, 8, 1, extended=True) + b"a" + header(0, 4, 0xFFFFFF, 1, 8, 1) + b"b",
        [(4, 8, 1, 5, b"a"), (4, 8, 1, 0xFFFFFF, b"b")],
    ),
    Case(
        "extended timestamp repeated in type 3 chunks",
        header(0, 4, 0x01000000, 257, 9, 1)
        + A
        + header(3, 4, 0x01000000, extended=True)
        + B
        + header(3, 4, 0x01000000, extended=True)
        + b"c",
        [(4, 9, 1, 0x01000000, A + B + b"c")],
    ),
    Case(
        "extended timestamp not repeated in type 3 chunks",
        header(0, 4, 0x01000000, 257, 9, 1) + A + b"\xc4" + B + b"\xc4" + b"c",
        [(4, 9, 1, 0x01000000, A + B + b"c")],
    ),
    *(
        Case(
            f"not repeated, a last chunk of {size} bytes at the very end",
            header(0, 4, 0x01000000, 128 + size, 9, 1) + A + b"\xc4" + b"c" * size,
            [(4, 9, 1, 0x01000000, A + b"c" * size)],
        )
        for size in (1, 2, 3)
    ),
    Case(
        "not repeated, a last chunk that looks like it for a while: the next bytes decide",
        # Payload 01, then the next chunk (31: type 0 on chunk stream 0x31) differs from 0131....
        header(0, 4, 0x01312C92, 129, 9, 1)
        + A
        + b"\xc4\x01"
        + bytes.fromhex("31 2C0000 000001 08 01000000 61"),
        [(4, 9, 1, 0x01312C92, A + b"\x01"), (0x31, 8, 1, 0x2C0000, b"a")],
    ),
    Case(
        "type 3 as a new message after an extended delta, repeated",
        header(0, 4, 0, 1, 8, 1)
        + b"a"
        + header(1, 4, 0x01000000, 1, 8)
        + b"b"
        + header(3, 4, 0x01000000, extended=True)
        + b"c",
        [(4, 8, 1, 0, b"a"), (4, 8, 1, 0x01000000, b"b"), (4, 8, 1, 0x02000000, b"c")],
    ),
    Case(
        "and not repeated (librtmp)",
        header(0, 4, 0, 1, 8, 1) + b"a" + header(1, 4, 0x01000000, 1, 8) + b"b" + b"\xc4c",
        [(4, 8, 1, 0, b"a"), (4, 8, 1, 0x01000000, b"b"), (4, 8, 1, 0x02000000, b"c")],
    ),
    Case(
        "a small timestamp after an extended one clears the flag",
        header(0, 4, 0x01000000, 1, 8, 1) + b"a" + header(2, 4, 1) + b"b" + b"\xc4c",
        [(4, 8, 1, 0x01000000, b"a"), (4, 8, 1, 0x01000001, b"b"), (4, 8, 1, 0x01000002, b"c")],
    ),
    Case(
        "Set Chunk Size holds from the next chunk on, also of a message half sent",
        header(0, 4, 0, 300, 9, 1) + A + set_chunk_size(200) + b"\xc4" + b"c" * 172,
        [(2, 1, 0, 0, b"\x00\x00\x00\xc8"), (4, 9, 1, 0, A + b"c" * 172)],
    ),
    Case(
        "Set Chunk Size on any chunk stream and message stream (PTZ cameras)",
        message(3, b"\x00\x00\x00\x02", type_id=1, stream_id=7) + message(4, b"abc", chunk_size=2),
        [(3, 1, 7, 0, b"\x00\x00\x00\x02"), (4, 9, 1, 0, b"abc")],
    ),
    Case(
        "chunk size 1",
        set_chunk_size(1) + message(4, b"abcdef", chunk_size=1),
        [(2, 1, 0, 0, b"\x00\x00\x00\x01"), (4, 9, 1, 0, b"abcdef")],
    ),
    Case(
        "Set Chunk Size and Abort may come in pieces themselves",
        set_chunk_size(2) + message(2, b"\x00\x00\x00\x80", type_id=1, stream_id=0, chunk_size=2),
        [(2, 1, 0, 0, b"\x00\x00\x00\x02"), (2, 1, 0, 0, b"\x00\x00\x00\x80")],
    ),
    Case(
        "Abort drops the message and keeps the header",
        header(0, 4, 50, 200, 9, 1) + A + abort(4) + header(3, 4) + B + header(3, 4) + b"c" * 72,
        [(2, 2, 0, 0, b"\x00\x00\x00\x04"), (4, 9, 1, 100, B + b"c" * 72)],
    ),
    Case(
        "after Abort any header may begin a message",
        header(0, 4, 50, 200, 9, 1) + A + abort(4) + header(1, 4, 1, 1, 8) + b"d",
        [(2, 2, 0, 0, b"\x00\x00\x00\x04"), (4, 8, 1, 51, b"d")],
    ),
    Case(
        "Abort of an idle, an unknown and its own chunk stream does nothing",
        message(4, b"a") + abort(4) + abort(99) + abort(0xFFFFFFFF) + abort(2) + message(4, b"b"),
        [
            (4, 9, 1, 0, b"a"),
            (2, 2, 0, 0, b"\x00\x00\x00\x04"),
            (2, 2, 0, 0, b"\x00\x00\x00\x63"),
            (2, 2, 0, 0, b"\xff\xff\xff\xff"),
            (2, 2, 0, 0, b"\x00\x00\x00\x02"),
            (4, 9, 1, 0, b"b"),
        ],
    ),
]

GOOD = message(3, b"ok", type_id=20)
OK = (3, 20, 1, 0, b"ok")
MALFORMED = [
    Case("fresh type 2", GOOD + b"\x84", [OK], "chunk stream 4 begins with a type 2 header"),
    Case("fresh type 3", GOOD + b"\xc4", [OK], "chunk stream 4 begins with a type 3 header"),
    Case(
        "fresh type 3, three-byte id",
        GOOD + b"\xc1\xff\xff",
        [OK],
        "chunk stream 65599 begins with a type 3 header",
    ),
    *(
        Case(
            f"type {fmt} inside a message (CVE-2016-10191)",
            GOOD + header(0, 4, 0, 129, 9, 1) + A + basic_header(fmt, 4),
            [OK],
            f"type {fmt} header inside an unfinished message on chunk stream 4",
        )
        for fmt in (0, 1, 2)
    ),
    *(
        Case(
            f"control message {type_id} of {length} bytes",
            GOOD + header(0, 2, 0, length, type_id, 0),
            [OK],
            f"control message of type {type_id} has {length} bytes, not 4",
        )
        for type_id in (1, 2)
        for length in (0, 3, 5, 0xFFFFFF)
    ),
    Case(
        "chunk size 0",
        GOOD + set_chunk_size(0),
        [OK],
        "chunk size 0 is outside 1..2147483647",
    ),
    Case(
        "chunk size with its top bit",
        GOOD + set_chunk_size(0x80000080),
        [OK],
        "chunk size 2147483776 is outside 1..2147483647",
    ),
]


@pytest.mark.parametrize("cut", [lambda data: [data], single], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("case", CORRECT + MALFORMED, ids=lambda case: case.name)
def test_table(twin: "Twin", case: Case, cut: Callable[[bytes], list[bytes]]) -> None:
    reader = twin.reader()
    assert read(reader, cut(case.data)) == (case.messages, case.error)
    assert reader.buffered_bytes == 0


@given(
    case=st.sampled_from(CORRECT + MALFORMED), cuts=st.lists(st.integers(0, 10_000), max_size=12)
)
def test_table_at_random_splits(twin: "Twin", case: Case, cuts: list[int]) -> None:
    outcome = read(twin.reader(), split(case.data, cuts))
    assert outcome == (case.messages, case.error)


@pytest.mark.parametrize("case", CORRECT, ids=lambda case: case.name)
def test_table_followed_by_the_start_of_more(twin: "Twin", case: Case) -> None:
    for follow, buffered in [
        (b"\x01", 0),
        (header(0, 60, 1, 500, 9, 1), 0),
        (header(0, 60, 1, 500, 9, 1) + b"p", 1),
    ]:
        reader = twin.reader()
        assert read(reader, [case.data + follow]) == (case.messages, None)
        assert reader.buffered_bytes == buffered


@given(sender=chunk_streams(), cuts=st.lists(st.integers(0, 100_000), max_size=20))
def test_reads_what_a_correct_sender_sent(
    twin: "Twin", sender: ChunkStream, cuts: list[int]
) -> None:
    reader = twin.reader()
    assert read(reader, split(bytes(sender.data), cuts)) == (sender.messages, None)
    assert reader.buffered_bytes == 0
    assert reader.chunk_size == sender.chunk_size


@given(sender=chunk_streams(max_steps=8))
def test_reads_it_byte_by_byte(twin: "Twin", sender: ChunkStream) -> None:
    assert read(twin.reader(), single(bytes(sender.data))) == (sender.messages, None)


def test_messages_are_named_and_exact(twin: "Twin") -> None:
    out: list[RawMessage] = []
    twin.reader().feed(message(4, b"abc", time=7, type_id=8), out)
    assert out == [RawMessage(4, 8, 1, 7, b"abc")]
    assert type(out[0]) is RawMessage
    assert type(out[0].payload) is bytes
    assert out[0].timestamp_ms == 7


def test_appends_to_what_out_holds(twin: "Twin") -> None:
    before = RawMessage(9, 9, 9, 9, b"")
    out = [before]
    twin.reader().feed(GOOD, out)
    assert out == [before, OK]


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda data: array("B", data)])
def test_takes_any_buffer_and_keeps_none(twin: "Twin", wrap: "Callable[[bytes], Buffer]") -> None:
    data = message(4, A + B + b"c")
    for cut in range(len(data)):
        reader, out = twin.reader(), list[RawMessage]()
        first = wrap(data[:cut])
        reader.feed(first, out)
        if isinstance(first, bytearray):
            first.extend(b"resizable again")
            first[:] = bytes(len(first))
        reader.feed(wrap(data[cut:]), out)
        assert out == [(4, 9, 1, 0, A + B + b"c")]


def test_refuses_what_is_no_buffer(twin: "Twin") -> None:
    reader = twin.reader()
    with pytest.raises(TypeError):
        reader.feed("text", [])  # type: ignore[arg-type]
    with pytest.raises(BufferError, match="not C-contiguous"):
        reader.feed(memoryview(GOOD)[::2], [])
    assert read(reader, [GOOD]) == ([OK], None)  # our own error does not kill the connection


def test_chunk_size_is_clamped(twin: "Twin") -> None:
    reader = twin.reader()
    assert reader.chunk_size == 128
    for size in (1, 4096, 0xFFFFFF, 0x1000000, 134217728, 0x7FFFFFFF):
        read(reader, [message(2, size.to_bytes(4, "big"), type_id=1, chunk_size=reader.chunk_size)])
        assert reader.chunk_size == min(size, 0xFFFFFF)


def test_properties_are_read_only(twin: "Twin") -> None:
    reader = twin.reader()
    for name in ("chunk_size", "buffered_bytes"):
        with pytest.raises(AttributeError):
            setattr(reader, name, 5)
