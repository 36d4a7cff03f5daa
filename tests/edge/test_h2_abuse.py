"""What a hostile HTTP/2 peer can do to its own connection, and to nothing else.

Every bound of `Http2Settings` is reached here as a peer would; `test_h2_meter` counts exactly.
"""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import hpack
import pytest
import trio
import trio.testing
from h2_peer import (
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    NO_ERROR,
    PREFACE,
    PROTOCOL_ERROR,
    unknown_frame,
)
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from edge.http.settings import Http2Settings

if TYPE_CHECKING:
    from trio.testing import MockClock

    from .conftest import ConnectH2, FakeApp

STREAM_CLOSED = 5
COMPRESSION_ERROR = 9
ENABLE_PUSH, INITIAL_WINDOW, MAX_FRAME, HEADER_TABLE = 0x2, 0x4, 0x5, 0x1


# --- floods


@pytest.mark.parametrize(
    "frame",
    [
        PingFrame(0, opaque_data=b"12345678"),
        SettingsFrame(0),
        SettingsFrame(0, settings={HEADER_TABLE: 0}),
        PriorityFrame(1, depends_on=3),
        WindowUpdateFrame(0, window_increment=1),
        unknown_frame(0xF0, b"x"),
    ],
    ids=lambda frame: type(frame).__name__,
)
async def test_a_flood_of_noise_is_ended(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp", frame: Frame
) -> None:
    """CVE-2019-9512, 9513, 9515."""
    client, other = connect_h2(), connect_h2()
    for peer in (client, other):
        await peer.start()
        await peer.ask("/hold")
    await client.send(frame.serialize() * 990)
    assert (await client.get("/x")).status == 200
    await client.send(frame.serialize() * 1010)
    assert await client.end_code() == ENHANCE_YOUR_CALM
    await client.done.wait()
    assert fake.table.waiting == 1
    assert (await other.get("/x")).status == 200


async def test_a_flood_of_empty_data_is_ended(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    """CVE-2019-9518."""
    client = connect_h2()
    await client.start()
    head = client.head("/call", method="POST", end=False)
    await client.send(head, DataFrame(head.stream_id, data=b"").serialize() * 1100)
    assert await client.end_code() == ENHANCE_YOUR_CALM


async def test_rapid_reset_is_ended(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    """CVE-2023-44487."""
    client = connect_h2()
    await client.start()
    for _ in range(200):
        head = client.head("/hold")
        await client.send(head, RstStreamFrame(head.stream_id, error_code=8))
    assert (await client.get("/x")).status == 200
    head = client.head("/hold")
    await client.send(head, RstStreamFrame(head.stream_id, error_code=8))
    assert await client.end_code() == ENHANCE_YOUR_CALM
    assert len(fake.seen) == 201
    assert fake.table.waiting == 0


async def test_a_player_may_reset_for_ever(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    client = connect_h2()
    await client.start()
    for _ in range(500):
        stream_id = await client.ask("/hold")
        await trio.sleep(0.05)
        await client.send(RstStreamFrame(stream_id, error_code=8))
    assert (await client.get("/x")).status == 200


async def test_being_made_to_reset_is_ended(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    """CVE-2025-8671: whole bodies for streams that are closed; `h2` resets each time."""
    client = connect_h2(http2=Http2Settings(reset_burst=10))
    await client.start()
    stream_id = await client.ask("/x")
    await client.answer(stream_id)
    data = DataFrame(stream_id, data=bytes(1024))
    for _ in range(10):
        await client.send(data)
    assert (await client.get("/x")).status == 200
    await client.send(data)
    assert await client.end_code() == ENHANCE_YOUR_CALM


async def test_replies_that_are_not_read_are_bounded(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", logged: list[dict[str, Any]]
) -> None:
    """CVE-2019-9517: the server is made to answer, and nobody listens."""
    client = connect_h2(http2=Http2Settings(noise_burst=10**9))
    await client.start()
    await client.get("/x")
    client.server_stream.send_stream.send_all_hook = trio.sleep_forever
    ping = PingFrame(0, opaque_data=b"12345678").serialize()
    await client.send(ping)
    await trio.testing.wait_all_tasks_blocked()
    await client.send(ping * (64 * 1024 // len(ping)))
    await trio.testing.wait_all_tasks_blocked()
    assert logged == []
    await client.send(ping * 2)
    await trio.testing.wait_all_tasks_blocked()
    assert [entry["reason"] for entry in logged] == ["replies are not read"]
    await client.done.wait()


# --- header bombs


async def test_a_continuation_flood_is_ended(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    """CVE-2024-27316: a header block that never ends."""
    client = connect_h2()
    await client.start()
    await client.send(HeadersFrame(1, data=client.encoder.encode([(":method", "GET")])))
    field = hpack.Encoder().encode([("x", "y" * 900)])
    for _ in range(16):
        await client.send(ContinuationFrame(1, data=field * 2))
    assert await client.end_code() == ENHANCE_YOUR_CALM
    assert fake.seen == []


async def test_a_header_block_in_small_pieces_is_ended(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    client = connect_h2()
    await client.start()
    await client.send(HeadersFrame(1, data=client.encoder.encode([(":method", "GET")])))
    await client.send(ContinuationFrame(1, data=b"").serialize() * 100)
    assert await client.end_code() == PROTOCOL_ERROR  # h2 takes 64
    assert fake.seen == []


async def test_a_head_may_come_in_pieces(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2()
    await client.start()
    head = client.head("/x", fields={"x-long": "a" * 9000})
    block = head.data
    head.data = block[:10]
    head.flags.discard("END_HEADERS")
    rest = [block[10:3000], block[3000:]]
    await client.send(
        head,
        ContinuationFrame(1, data=rest[0]),
        ContinuationFrame(1, data=rest[1], flags=["END_HEADERS"]),
    )
    assert (await client.answer(1)).status == 200


@pytest.mark.parametrize("references", [4, 5])
async def test_an_hpack_bomb_is_ended(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", references: int
) -> None:
    """CVE-2016-6581: a field of the table, and a byte for each time it is meant."""
    client = connect_h2()
    await client.start()
    head = client.head("/x", fields={"x-bomb": "a" * 4000})
    bomb = client.encoder.encode([("x-bomb", "a" * 4000)])
    assert len(bomb) == 1
    head.data += bomb * (references - 1)
    await client.send(head)
    if references < 5:
        assert (await client.answer(1)).status == 200
    else:
        assert await client.end_code() == ENHANCE_YOUR_CALM


async def test_what_the_peer_lets_hpack_remember_is_bounded(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2()
    await client.start({HEADER_TABLE: 2**32 - 1})
    for number in range(300):
        assert (await client.get(f"/{number}?{'x' * 80}", method="HEAD")).status == 200
    encoder = client.connection._h2.encoder
    assert encoder.header_table_size == 4096
    assert encoder.header_table._current_size <= 4096


async def test_settings_that_nobody_knows_are_not_kept(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    """CVE-2020-11080 and its like: 65,536 of them would take tens of megabytes."""
    client = connect_h2()
    await client.start()
    for first in range(0x100, 0x500, 0x20):
        await client.send(_settings(range(first, first + 0x20)))
    assert (await client.get("/x")).status == 200
    assert len(client.connection._h2.remote_settings) < 10
    await client.send(_settings(range(0x100, 0x100 + 33)))
    assert await client.end_code() == ENHANCE_YOUR_CALM


def _settings(codes: range) -> Frame:
    """SETTINGS that give 1 to each of these; hyperframe writes codes below 256 only."""
    return unknown_frame(0x4, b"".join(code.to_bytes(2) + (1).to_bytes(4) for code in codes))


async def test_closed_streams_are_forgotten(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2()
    await client.start()
    for _ in range(400):
        await client.get("/x")
    connection = client.connection._h2
    assert len(connection._closed_streams) == 256
    assert len(connection.streams) <= 1
    assert client.connection._streams == {}
    # A late word about one of them is no fault.
    await client.send(WindowUpdateFrame(1, window_increment=5), RstStreamFrame(1, error_code=8))
    assert (await client.get("/x")).status == 200


# --- streams


async def test_more_streams_than_allowed_end_the_connection(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    client = connect_h2(http2=Http2Settings(max_streams=10))
    await client.start()
    for _ in range(10):
        await client.ask("/hold")
    await trio.testing.wait_all_tasks_blocked()
    assert fake.gate().waiting == 10
    assert client.goaway is None
    await client.ask("/hold")
    assert await client.end_code() == PROTOCOL_ERROR
    assert client.server_settings[0x3] == 10
    await client.done.wait()
    assert fake.table.waiting == 0


# --- what is no HTTP/2


def _fields(**changes: str | None) -> list[tuple[str, str]]:
    fields = {"method": "GET", "scheme": "https", "path": "/x", "authority": "t"} | changes
    return [(f":{name}", value) for name, value in fields.items() if value is not None]


def _request(fields: Sequence[tuple[str, str]], *, end: bool = True) -> HeadersFrame:
    flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
    return HeadersFrame(1, data=hpack.Encoder().encode(fields), flags=flags)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([(16_385).to_bytes(3) + b"\0\0" + (1).to_bytes(4)], FRAME_SIZE_ERROR),
        ([(2**24 - 1).to_bytes(3) + b"\xf0\0" + bytes(4)], FRAME_SIZE_ERROR),
        ([DataFrame(1, data=b"x")], PROTOCOL_ERROR),
        ([RstStreamFrame(1)], PROTOCOL_ERROR),
        ([WindowUpdateFrame(1, window_increment=1)], PROTOCOL_ERROR),
        ([ContinuationFrame(1, data=b"")], PROTOCOL_ERROR),
        ([b"\0\0\4\x08\0\0\0\0\0" + bytes(4)], PROTOCOL_ERROR),  # a window opened by nothing
        ([b"\0\0\5\x06\0\0\0\0\0" + bytes(5)], FRAME_SIZE_ERROR),  # a ping of five bytes
        ([b"\0\0\5\x04\0\0\0\0\0" + bytes(5)], FRAME_SIZE_ERROR),  # five bytes of settings
        ([SettingsFrame(0, settings={INITIAL_WINDOW: 2**31})], 3),
        ([SettingsFrame(0, settings={MAX_FRAME: 1})], PROTOCOL_ERROR),
        ([SettingsFrame(0, settings={ENABLE_PUSH: 7})], PROTOCOL_ERROR),
        ([PushPromiseFrame(1, 2, data=b"", flags=["END_HEADERS"])], PROTOCOL_ERROR),
        ([HeadersFrame(2, data=b"\x82", flags=["END_HEADERS"])], PROTOCOL_ERROR),
        ([HeadersFrame(1, data=b"\xff" * 9, flags=["END_HEADERS"])], PROTOCOL_ERROR),
        ([HeadersFrame(1, data=b"\x82"), PingFrame(0)], PROTOCOL_ERROR),
        ([_request(_fields(path=None))], PROTOCOL_ERROR),
        ([_request(_fields(path=""))], PROTOCOL_ERROR),
        ([_request(_fields(method=None))], PROTOCOL_ERROR),
        ([_request([*_fields(), ("connection", "close")])], PROTOCOL_ERROR),
        ([_request([*_fields(), ("upgrade", "websocket")])], PROTOCOL_ERROR),
        ([_request([*_fields(), ("Upper", "x")])], PROTOCOL_ERROR),
        ([_request([*_fields(), ("x", "a\r\nb: c")])], PROTOCOL_ERROR),
        ([_request([*_fields(), (":path", "/y")])], PROTOCOL_ERROR),
        ([_request([("x", "y"), *_fields()])], PROTOCOL_ERROR),
        ([_request([*_fields(), ("content-length", "x")], end=False)], PROTOCOL_ERROR),
        ([_request([*_fields(), ("content-length", "-1")], end=False)], PROTOCOL_ERROR),
        (
            [
                _request(
                    [*_fields(path="/call", method="POST"), ("content-length", "2")], end=False
                ),
                DataFrame(1, data=b"abc"),
            ],
            PROTOCOL_ERROR,
        ),
    ],
)
async def test_a_fault_ends_its_connection(
    autojump_clock: "MockClock",
    connect_h2: "ConnectH2",
    logged: list[dict[str, Any]],
    frames: list[Frame | bytes],
    code: int,
) -> None:
    client = connect_h2()
    await client.start()
    await client.send(*frames)
    assert await client.end_code() == code
    await client.done.wait()
    assert {entry["log_level"] for entry in logged} == {"debug"}


async def test_a_new_request_on_an_old_stream_ends_the_connection(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2()
    await client.start()
    await client.get("/x")
    await client.send(client.head("/x", stream_id=1))
    assert await client.end_code() == STREAM_CLOSED


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", b"\0" * 100, b"PRI * X"])
async def test_what_is_no_http2_is_closed(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", data: bytes
) -> None:
    client = connect_h2()
    await client.send(data)
    await client.done.wait()


async def test_what_is_unknown_is_ignored(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2()
    await client.start({0x9: 1, 0xABCD: 5})
    await client.send(
        unknown_frame(0x10, b"\0\0\0\1u=1"),  # PRIORITY_UPDATE
        unknown_frame(0xFA, b"grease", stream_id=7, flags=0xFF),
    )
    assert (await client.get("/x")).status == 200


async def test_garbage_never_becomes_our_fault(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", logged: list[dict[str, Any]]
) -> None:
    """Frames that were legal, with bytes changed: an answer or an end, no traceback."""
    random_ = random.Random(9113)
    for _ in range(150):
        client = connect_h2()
        head = client.head("/call", method="POST", end=False)
        data = bytearray(
            b"".join(
                frame.serialize()
                for frame in (
                    SettingsFrame(0, settings={INITIAL_WINDOW: 70_000}),
                    head,
                    DataFrame(1, data=b"body", pad_length=3, flags=["PADDED", "END_STREAM"]),
                    client.head("/hold", fields={"range": "bytes=0-5", "content-length": "0"}),
                    WindowUpdateFrame(3, window_increment=9),
                    RstStreamFrame(3, error_code=8),
                    PriorityFrame(5, depends_on=3),
                    PingFrame(0, opaque_data=b"12345678"),
                    client.head("/x"),
                    GoAwayFrame(0, error_code=NO_ERROR),
                )
            )
        )
        for _ in range(random_.choice((1, 1, 2, 5))):
            data[random_.randrange(len(data))] = random_.randrange(256)
        await client.send(PREFACE + bytes(data))
        await trio.testing.wait_all_tasks_blocked()
        await client.stream.aclose()
        await client.done.wait()
    assert [entry for entry in logged if entry["log_level"] != "debug"] == []
