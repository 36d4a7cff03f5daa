"""One connection over memory streams: framing, limits and time-outs."""

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from http_peers import dribble

from edge.http.connection import HttpConnection
from edge.http.response import DateLine
from edge.http.settings import HttpSettings

if TYPE_CHECKING:
    from trio.testing import MockClock

    from .conftest import Connect, FakeApp


GET = "GET {} HTTP/1.1\r\nHost: test\r\n\r\n"

# --- framing


async def test_keep_alive_head_and_get_on_one_connection(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake)
    head = await client.get("/big", method="HEAD")
    assert head.status == 200
    assert head.fields["content-length"] == "300003"
    assert head.body == b""
    assert "connection" not in head.fields
    assert head.fields["date"].endswith("GMT")
    big = await client.get("/big")
    assert big.body == bytes(300_000) + b"end"
    assert {**big.fields, "date": ""} == {**head.fields, "date": ""}
    small = await client.get("/x?y=1")
    assert small.body == b"GET /x?y=1"


async def test_requests_byte_by_byte(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake)
    dribble(client.stream, client.server_stream)  # type: ignore[arg-type]
    assert (await client.get("/x")).body == b"GET /x?"
    assert (await client.post("/call", b"hello")).body == b"POST hello"
    assert (await client.get("/y")).body == b"GET /y?"


async def test_pipelined_requests_are_answered_in_order(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake)
    post = "POST /call HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc"
    await client.send(GET.format("/1") + post + GET.format("/hold") + GET.format("/3"))
    assert (await client.answer()).body == b"GET /1?"
    assert (await client.answer()).body == b"POST abc"
    await trio.testing.wait_all_tasks_blocked()
    assert fake.seen == ["GET /1", "POST /call", "GET /hold"]
    fake.open_gate()
    assert (await client.answer()).body == b"opened"
    assert (await client.answer()).body == b"GET /3?"


async def test_chunked_bodies(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake)
    head = "POST /call HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(head + "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert (await client.answer()).body == b"POST abcde"
    assert (await client.get("/x")).status == 200


async def test_expect_100_continue(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake)
    await client.send(
        "POST /call HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    assert (await client.answer(head_only=True)).status == 100
    await client.send("ok")
    assert (await client.answer()).body == b"POST ok"
    assert (await client.get("/x")).status == 200


@pytest.mark.parametrize(
    "request_text",
    [
        "GET /x HTTP/1.0\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
    ],
)
async def test_close_when_the_client_wants_it(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp", request_text: str
) -> None:
    client = connect(fake)
    await client.send(request_text)
    answer = await client.answer()
    assert answer.status == 200
    assert answer.fields["connection"] == "close"
    assert await client.closed()


async def test_an_upgrade_that_nobody_wants_is_ignored(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake)
    fields = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
    assert (await client.get("/x", fields=fields)).status == 200
    assert (await client.get("/y")).status == 200


async def test_connect_opens_no_tunnel(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake)
    assert (await client.get("example.org:443", method="CONNECT")).status == 200
    assert (await client.get("/y")).status == 200


async def test_ranges_are_for_get_on_what_accepts_them(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake)
    some = await client.get("/big", fields="Range: bytes=299999-300000\r\n")
    assert some.status == 206
    assert some.body == b"\0e"
    head = await client.get("/big", method="HEAD", fields="Range: bytes=0-1\r\n")
    assert head.status == 200
    assert (await client.get("/x", fields="Range: bytes=0-1\r\n")).body == b"GET /x?"


# --- faults of the peer


@pytest.mark.parametrize(
    "garbage",
    [
        "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer secret\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        "POST /call HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "POST /call HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST /call HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_garbage_gets_400_and_is_closed(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp", garbage: str
) -> None:
    for slowly in (False, True):
        client = connect(fake)
        if slowly:
            dribble(client.stream, client.server_stream)  # type: ignore[arg-type]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, garbage)
            answer = await client.answer()
            assert answer.status == 400
            assert answer.fields["connection"] == "close"
            assert answer.fields["access-control-allow-origin"] == "*"
            assert answer.body == b'{"error":"malformed HTTP request","code":"badRequest"}'
            assert await client.closed()
            nursery.cancel_scope.cancel()


async def test_an_endless_head_is_431(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake, max_head_bytes=1000)
    await client.send("GET / HTTP/1.1\r\nHost: test\r\nX: " + "a" * 1500)
    assert (await client.answer()).status == 431
    assert await client.closed()


async def test_a_head_that_is_complete_and_too_large_is_431(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake, max_head_bytes=1000)
    answer = await client.get("/", fields="X: " + "a" * 990 + "\r\n")
    assert answer.status == 431
    assert fake.seen == []
    fits = connect(fake, max_head_bytes=1000)
    assert (await fits.get("/", fields="X: " + "a" * 900 + "\r\n")).status == 200


async def test_a_long_target_is_414(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake, max_target_bytes=100)
    assert (await client.get("/" + "a" * 99)).status == 200
    assert (await client.get("/" + "a" * 100)).status == 414


@pytest.mark.parametrize("framing", ["Content-Length: 11", "Transfer-Encoding: chunked"])
async def test_a_large_body_is_413_and_closed(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp", framing: str
) -> None:
    client = connect(fake, max_body_bytes=10)
    assert (await client.post("/call", b"0123456789")).status == 200
    body = "b\r\n01234567890\r\n" if "chunked" in framing else ""
    await client.send(f"POST /call HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n{body}")
    answer = await client.answer()
    assert answer.status == 413
    assert answer.fields["connection"] == "close"
    assert await client.closed()


async def test_a_too_large_body_is_refused_before_100_continue(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake, max_body_bytes=10)
    await client.send(
        "POST /call HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 99\r\n\r\n"
    )
    assert (await client.answer()).status == 413


async def test_a_body_that_nobody_wants_ends_the_connection(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake)
    answer = await client.post("/x", b"body")
    assert answer.status == 200
    assert answer.fields["connection"] == "close"
    assert await client.closed()


async def test_another_http_is_505(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake)
    await client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert (await client.answer()).status == 505
    assert (await client.answer()).status == 400
    assert await client.closed()


# --- time-outs


async def test_a_slow_head_is_408(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake, head_timeout_s=10)
    began = trio.current_time()

    async def slowloris() -> None:
        for byte in "GET / HTTP/1.1\r\nHost: test\r\nX: aaaaaaaaaaaaaaaa":
            await client.send(byte)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(slowloris)
        assert (await client.answer()).status == 408
        assert trio.current_time() - began == pytest.approx(10)
        nursery.cancel_scope.cancel()


async def test_silence_is_closed_without_a_word(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake, head_timeout_s=10, idle_timeout_s=65)
    began = trio.current_time()
    assert await client.closed()
    assert trio.current_time() - began == pytest.approx(10)

    client = connect(fake, head_timeout_s=10, idle_timeout_s=65)
    await client.get("/x")
    began = trio.current_time()
    assert await client.closed()
    assert trio.current_time() - began == pytest.approx(65)


async def test_a_second_head_has_its_own_deadline(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake, head_timeout_s=10, idle_timeout_s=65)
    await client.get("/x")
    await trio.sleep(60)
    await client.send("GET / HT")
    began = trio.current_time()
    assert (await client.answer()).status == 408
    assert trio.current_time() - began == pytest.approx(10)


async def test_a_slow_body_is_408(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake, body_timeout_s=15)
    await client.send("POST /call HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nab")
    began = trio.current_time()
    assert (await client.answer()).status == 408
    assert trio.current_time() - began == pytest.approx(15)
    assert await client.closed()


async def test_a_slow_handler_is_503(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake, handler_timeout_s=30)
    answer = await client.get("/slow")
    assert answer.status == 503
    assert answer.fields["retry-after"] == "5"
    assert (await client.get("/x")).status == 200


async def test_a_viewer_who_takes_nothing_is_dropped(
    nursery: trio.Nursery, autojump_clock: "MockClock", fake: "FakeApp"
) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    settings = HttpSettings(send_timeout_s=5, min_send_rate_bytes_s=100_000)
    connection = HttpConnection(theirs, fake, settings=settings, date=DateLine())
    done = trio.Event()

    async def serve() -> None:
        await connection.run()
        done.set()

    nursery.start_soon(serve)
    began = trio.current_time()
    await ours.send_all(GET.format("/big").encode())
    await done.wait()
    assert trio.current_time() - began == pytest.approx(5 + 3.00003)  # 300,003 bytes at 100 kB/s
