"""Lanes: how many requests share one, who waits, which are given up; then over real sockets."""

import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio
import trio.testing
from certificates import make_pair
from scripted_upstream import ScriptedUpstream

from edge.edge_settings import EdgeSettings
from edge.http.messages import Answer, Request
from edge.http.response import make_response
from edge.http.server import serve_http
from edge.upstream import MAX_FAILURES, Ask, Upstreams
from edge.upstream_lanes import LANE_REQUESTS, Fetched, Lanes, UpstreamError

if TYPE_CHECKING:
    from trio.testing import MockClock


class Bench:
    """Lanes to one server, and requests over them."""

    def __init__(self, *, max_requests: int = 1000) -> None:
        self.server = ScriptedUpstream()
        self.lanes = Lanes(self.server.open, max_requests=max_requests)
        self.answers: list[Fetched | UpstreamError] = []

    async def get(
        self, target: str = "/x", *, timeout_s: float = 5.0, max_bytes: int = 100
    ) -> None:
        request = httpx.Request("GET", f"http://server{target}")
        try:
            answer = await self.lanes.exchange(request, timeout_s=timeout_s, max_bytes=max_bytes)
        except UpstreamError as error:
            self.answers.append(error)
        else:
            self.answers.append(answer)


async def test_a_lane_takes_so_many_and_then_there_is_another(
    autojump_clock: "MockClock", nursery: trio.Nursery
) -> None:
    bench = Bench()
    held = bench.server.put("/x", after=trio.Event())
    for count, lanes in ((LANE_REQUESTS, 1), (1, 2), (LANE_REQUESTS, 3)):
        for _ in range(count):
            nursery.start_soon(bench.get)
        await trio.testing.wait_all_tasks_blocked()
        assert len(bench.lanes) == bench.server.opened == lanes
    assert held.after is not None
    held.after.set()
    await trio.testing.wait_all_tasks_blocked()
    assert len(bench.answers) == 2 * LANE_REQUESTS + 1
    await bench.get()
    assert bench.server.opened == 3  # used again
    assert bench.server.closed == 0


async def test_more_than_may_be_under_way_wait_and_their_time_does_not_run(
    autojump_clock: "MockClock", nursery: trio.Nursery
) -> None:
    bench = Bench(max_requests=2)
    held = bench.server.put("/x", b"ok", after=trio.Event())
    for _ in range(5):
        nursery.start_soon(bench.get)
    await trio.sleep(4.9)
    assert bench.server.under_way["/x"] == 2
    await trio.sleep(1.0)  # the first two are late; two others have begun
    assert [type(answer) for answer in bench.answers] == [UpstreamError] * 2
    assert held.after is not None
    held.after.set()
    await trio.testing.wait_all_tasks_blocked()
    assert [type(answer) for answer in bench.answers[2:]] == [Fetched] * 3


async def test_a_lane_with_a_broken_exchange_takes_no_new_ones_and_is_closed_when_empty(
    autojump_clock: "MockClock", nursery: trio.Nursery
) -> None:
    bench = Bench()
    held = bench.server.put("/held", after=trio.Event())
    nursery.start_soon(bench.get, "/held")
    await trio.testing.wait_all_tasks_blocked()
    bench.server.put("/x", error=httpx.ReadError("reset"))
    await bench.get()
    assert len(bench.lanes) == 0
    assert bench.server.closed == 0  # somebody is on it
    bench.server.put("/x", b"ok")
    await bench.get()
    assert bench.server.opened == 2
    assert held.after is not None
    held.after.set()
    await trio.testing.wait_all_tasks_blocked()
    assert bench.server.closed == 1
    assert [type(answer) for answer in bench.answers] == [UpstreamError, Fetched, Fetched]


async def test_cancelled_in_the_middle_the_lane_is_closed(autojump_clock: "MockClock") -> None:
    bench = Bench()
    bench.server.put("/x", after=trio.Event())
    with trio.move_on_after(1):
        await bench.get()
    assert (len(bench.lanes), bench.server.closed) == (0, 1)
    assert bench.server.under_way["/x"] == 0


@pytest.mark.parametrize(("size_bytes", "is_framed"), [(101, True), (101, False)])
async def test_the_body_is_bounded(
    autojump_clock: "MockClock", size_bytes: int, is_framed: bool
) -> None:
    bench = Bench()
    more = {} if is_framed else {"Transfer-Encoding": "chunked"}
    bench.server.put("/x", bytes(size_bytes), is_framed=is_framed, fields=more, pieces=4)
    await bench.get()
    assert isinstance(bench.answers[0], UpstreamError)
    bench.server.put("/x", bytes(100), is_framed=is_framed, fields=more, pieces=4)
    await bench.get()
    assert bench.answers[1] == Fetched(
        200,
        {"content-length": "100"} if is_framed else {"transfer-encoding": "chunked"},
        bytes(100),
    )


# --- over real sockets


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"


@asynccontextmanager
async def raw_server(
    answers: list[bytes], *, closes: bool = False
) -> AsyncIterator[tuple[str, Any]]:
    """Answer one request after the other with these bytes; count the connections."""
    left = list(answers)
    counts = {"connections": 0}

    async def serve(stream: trio.SocketStream) -> None:
        counts["connections"] += 1
        received = b""
        with contextlib.suppress(trio.BrokenResourceError):
            async for data in stream:
                received += data
                while b"\r\n\r\n" in received:
                    received = received.partition(b"\r\n\r\n")[2]
                    await stream.send_all(left.pop(0))
                    if closes:
                        return

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}", counts
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def upstreams_at(url: str, context: ssl.SSLContext | None = None) -> AsyncIterator[Upstreams]:
    upstreams = Upstreams(EdgeSettings(upstreams=(url,), tls_context=context))
    yield upstreams
    await upstreams.aclose()


def ask(target: str = "/x", **more: Any) -> Ask:
    return Ask(target=target, via="1.1 me", timeout_s=5.0, attempt_s=5.0, **more)


async def test_a_connection_is_used_again() -> None:
    async with (
        raw_server([HEAD + b"0123456789"] * 3) as (url, counts),
        upstreams_at(url) as upstreams,
    ):
        for _ in range(3):
            assert (await upstreams.fetch(ask())).body == b"0123456789"
        assert counts["connections"] == 1


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"01234",
        HEAD[:-2],
        b"HTTP/1.1 200 OK\r\n\r\n0123456789",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"\x00",
        b"",
    ],
)
async def test_half_an_answer_is_none(answer: bytes) -> None:
    async with raw_server([answer], closes=True) as (url, _), upstreams_at(url) as upstreams:
        with pytest.raises(UpstreamError):
            await upstreams.fetch(ask())


async def test_nobody_there() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    async with upstreams_at(f"http://127.0.0.1:{port}") as upstreams:
        for _ in range(MAX_FAILURES):
            assert upstreams.is_reachable
            with pytest.raises(UpstreamError, match="cannot connect"):
                await upstreams.fetch(ask())
        with pytest.raises(UpstreamError, match="no upstream is healthy"):
            await upstreams.fetch(ask())


class Echo:
    """Counts requests."""

    def __init__(self) -> None:
        self.seen = 0

    def route(self, _request: Request) -> Answer:
        self.seen += 1
        return make_response(200, (bytes(50_000),))


async def test_http_2_where_it_is_offered(nursery: trio.Nursery, tmp_path: Path) -> None:
    pair = make_pair()
    written = pair.write(tmp_path)
    spoken = Echo()
    connections: list[bool] = []

    def context() -> ssl.SSLContext:
        connections.append(True)
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(*written)
        server.set_alpn_protocols(["h2", "http/1.1"])
        return server

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await nursery.start(
        partial(serve_http, [], spoken, tls_listeners=listeners, tls_context=context)
    )
    answers: list[Fetched] = []
    async with upstreams_at(f"https://localhost:{port}", pair.client()) as upstreams:

        async def fetch() -> None:
            answers.append(await upstreams.fetch(ask()))

        async with trio.open_nursery() as fetching:
            for _ in range(20):
                fetching.start_soon(fetch)
    assert len(answers) == spoken.seen == 20
    assert all(answer.body == bytes(50_000) for answer in answers)
    assert len(connections) == 1  # it has carried them all
    nursery.cancel_scope.cancel()
