"""Delivery by the reactor, over real sockets: who is asked what, and that h11 would say the same.

Everything here waits for events of the sockets; no clock is looked at.
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from http_peers import HttpAnswer, HttpPeer, MemoryListener

import native
from edge.http.delivery import MAX_KEYS_OF_A_LIFE, MAX_RECEIVED_BYTES
from edge.http.messages import Answer, Call, Hold, HttpError, Request
from edge.http.response import Response, error_response, make_response
from edge.http.server import Figures, serve_http
from edge.http.settings import HttpSettings
from edge.life import Life
from edge.table import Gate, ResponseTable

pytestmark = pytest.mark.skipif(
    native.IMPLEMENTATION == "py", reason="HEADRACE_PURE=1 has no reactor: h11 serves everything"
)

LATE = error_response(503, "too late", extra={"Retry-After": "1"})
ROOT = "/api/streams/one/source/"


class Shop:
    """Answers by the last segment of the path, and writes down what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.life = Life()
        self.table: ResponseTable[str] = ResponseTable()
        self.hold_s = 60.0

    def gate(self, name: str) -> Gate[str]:
        return self.table.gate(name)

    def page(self, text: bytes, *, life: Life | None) -> Response:
        return make_response(
            200, (text, b" ", b"end"), etag='"tag"', packable=True, accepts_ranges=True, life=life
        )

    def route(self, request: Request) -> Answer:
        target = f"{request.path}?{request.query}" if request.query else request.path
        self.asked.append(target.removeprefix(ROOT))
        match request.path.removeprefix(ROOT):
            case "kept.m4s":
                return self.page(b"kept", life=self.life)
            case "big.m4s":
                return make_response(200, (bytes(3_000_000), b"!"), life=self.life)
            case "held.m4s":
                return Hold(self.gate("held"), self.hold_s, LATE)
            case "call.m4s":
                return Call(self.call)
            case "missing.m4s":
                raise HttpError(404, "nothing here")
            case "bug.m4s":
                raise ZeroDivisionError("a secret")
        return self.page(b"once", life=None)

    async def call(self, request: Request, body: bytes) -> Response:
        await trio.lowlevel.checkpoint()
        return make_response(200, (b"called",))


class Server:
    """A server on loopback, and clients of it."""

    def __init__(self, nursery: trio.Nursery, port: int, figures: Figures) -> None:
        self.nursery = nursery
        self.port = port
        self.figures = figures
        self.peers: list[HttpPeer] = []

    async def connect(self) -> HttpPeer:
        peer = HttpPeer(await trio.open_tcp_stream("127.0.0.1", self.port))
        self.peers.append(peer)
        return peer

    def close(self) -> None:
        for peer in self.peers:
            assert isinstance(peer.stream, trio.SocketStream)
            peer.stream.socket.close()


@asynccontextmanager
async def serving(
    shop: Shop, settings: HttpSettings | None = None, *, stop: trio.Event | None = None
) -> AsyncIterator[Server]:
    """Serve until the block ends; with `stop`, until it is set and everything has ended."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            serve = partial(serve_http, listeners, shop, settings=settings, stop=stop)
            server = Server(nursery, port, await nursery.start(serve))
            try:
                yield server
                if stop is None:
                    nursery.cancel_scope.cancel()
            finally:
                server.close()


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until it holds; the caller's deadline bounds it."""
    while not condition():
        await trio.lowlevel.checkpoint()


async def test_what_is_kept_is_asked_for_once() -> None:
    shop = Shop()
    async with serving(shop) as server:
        peers = [await server.connect() for _ in range(20)]
        for _ in range(3):
            for peer in peers:
                answer = await peer.get(ROOT + "kept.m4s")
                assert (answer.status, answer.body) == (200, b"kept end")
        assert shop.asked == ["kept.m4s"]
        assert server.figures.adopted == 20


async def test_when_its_life_ends_it_is_asked_for_again() -> None:
    shop = Shop()
    async with serving(shop) as server:
        peer = await server.connect()
        for _ in range(2):
            await peer.get(ROOT + "kept.m4s")
        shop.life.end()
        shop.life = Life()
        for _ in range(2):
            assert (await peer.get(ROOT + "kept.m4s")).body == b"kept end"
        assert shop.asked == ["kept.m4s"] * 2


async def test_a_response_that_is_over_already_is_not_kept() -> None:
    shop = Shop()
    shop.life.end()
    async with serving(shop) as server:
        peer = await server.connect()
        for _ in range(3):
            assert (await peer.get(ROOT + "kept.m4s")).status == 200
        assert len(shop.asked) == 3


async def test_one_life_keeps_a_bounded_number_of_keys() -> None:
    shop = Shop()
    async with serving(shop) as server:
        peer = await server.connect()
        for number in range(MAX_KEYS_OF_A_LIFE + 10):
            query = f"?_HLS_msn=1&_HLS_part={number}"
            assert (await peer.get(ROOT + "kept.m4s" + query)).status == 200
        assert shop.life.keepers == MAX_KEYS_OF_A_LIFE
        counters = server.figures.reactor
        assert counters is not None
        assert counters.keys == MAX_KEYS_OF_A_LIFE
        shop.life.end()
        await peer.get(ROOT + "other.m4s")
        counters = server.figures.reactor
        assert counters is not None
        assert counters.keys == 0


async def test_two_who_ask_while_the_first_leaves_do_not_confuse_the_keys() -> None:
    """One asks and is gone, another asks for the same, before the reactor looks at either."""
    shop = Shop()
    async with serving(shop) as server:
        first, second = await server.connect(), await server.connect()
        for peer in (first, second):
            await peer.get(ROOT + "other.m4s")
        # No checkpoint between these, so the pump sees all at once.
        raw_send(first, request("kept.m4s"))
        close_now(first)
        raw_send(second, request("kept.m4s"))
        assert (await second.answer()).body == b"kept end"
        shop.life.end()
        shop.life = Life()
        assert (await second.get(ROOT + "kept.m4s")).body == b"kept end"


async def test_the_query_s_noise_makes_no_other_object() -> None:
    shop = Shop()
    async with serving(shop) as server:
        peer = await server.connect()
        for noise in ("", "?CMCD=br%3D2500", "?token=abc&CMCD=x", "?_HLS_skip=YES&x=1"):
            await peer.get(ROOT + "kept.m4s" + noise)
        assert shop.asked == ["kept.m4s", "kept.m4s?_HLS_skip=YES"]


async def test_all_who_wait_for_a_key_are_one_waiter_at_its_gate() -> None:
    shop = Shop()
    async with serving(shop) as server:
        peers = [await server.connect() for _ in range(50)]
        for peer in peers:
            await ask(peer, "held.m4s")
        await until(lambda: server.figures.parked == 50)
        assert shop.gate("held").waiting == 1
        shop.gate("held").open(make_response(200, (b"here",), life=shop.life))
        assert {(await peer.answer()).body for peer in peers} == {b"here"}
        assert shop.asked == ["held.m4s"]
        assert (await peers[0].get(ROOT + "held.m4s")).body == b"here"  # it is kept now
        assert shop.asked == ["held.m4s"]


async def test_who_waits_too_long_is_told_so() -> None:
    shop = Shop()
    shop.hold_s = 0.05
    async with serving(shop) as server:
        peers = [await server.connect() for _ in range(3)]
        for peer in peers:
            await ask(peer, "held.m4s")
        answers = [await peer.answer() for peer in peers]
        assert {answer.status for answer in answers} == {503}
        assert answers[0].fields["retry-after"] == "1"
        assert shop.table.waiting == 0


async def test_when_all_have_left_nobody_waits_at_the_gate() -> None:
    shop = Shop()
    async with serving(shop) as server:
        peers = [await server.connect() for _ in range(5)]
        for peer in peers:
            await ask(peer, "held.m4s")
        await until(lambda: server.figures.parked == 5)
        for peer in peers:
            await peer.stream.aclose()
        await until(lambda: shop.table.waiting == 0)
        await until(lambda: server.figures.connections == 0)
        shop.gate("held").open(make_response(200, (b"nobody",)))


async def test_what_needs_more_goes_to_h11_and_comes_back() -> None:
    shop = Shop()
    async with serving(shop) as server:
        peer = await server.connect()
        await peer.get(ROOT + "kept.m4s")
        ranged = await peer.get(ROOT + "kept.m4s", fields="Range: bytes=0-3\r\n")
        assert (ranged.status, ranged.body) == (206, b"kept")
        assert (await peer.get(ROOT + "kept.m4s")).body == b"kept end"
        known = await peer.get(ROOT + "kept.m4s", fields='If-None-Match: "tag"\r\n')
        assert (known.status, known.body) == (304, b"")
        assert (await peer.post(ROOT + "call.m4s", "body")).body == b"called"
        assert (await peer.get(ROOT + "call.m4s")).body == b"called"
        assert (await peer.get(ROOT + "kept.m4s")).body == b"kept end"
        assert shop.asked.count("kept.m4s") == 3  # once for the reactor, twice by h11
        assert server.figures.connections == 1


async def test_pipelined_requests_of_all_kinds_are_answered_in_order() -> None:
    shop = Shop()
    async with serving(shop) as server:
        peer = await server.connect()
        names = ["kept.m4s", "call.m4s", "other.m4s", "kept.m4s", "missing.m4s", "call.m4s"] * 5
        await peer.send("".join(request(name) for name in names))
        bodies = [(await peer.answer()).body for _ in names]
        expected = [b"kept end", b"called", b"once end", b"kept end", None, b"called"] * 5
        assert [None if body.startswith(b'{"error"') else body for body in bodies] == expected


@pytest.mark.parametrize(("name", "status"), [("missing.m4s", 404), ("bug.m4s", 500)])
async def test_errors_of_the_application_are_answers(
    name: str, status: int, logged: list[Any]
) -> None:
    shop = Shop()
    async with serving(shop) as server:
        peer = await server.connect()
        answer = await peer.get(ROOT + name)
        assert answer.status == status
        assert b"secret" not in answer.body
        assert (await peer.get(ROOT + "kept.m4s")).status == 200
    assert len([entry for entry in logged if entry["event"] == "request failed"]) == (status == 500)


async def test_a_large_object_goes_out_whole_after_its_life() -> None:
    shop = Shop()
    async with serving(shop) as server:
        peer = await server.connect()
        await ask(peer, "big.m4s")
        await until(lambda: "big.m4s" in shop.asked)
        shop.life.end()
        answer = await peer.answer()
        assert len(answer.body) == 3_000_001
        assert answer.body.endswith(b"!")


async def test_adopted_connections_count_until_they_end() -> None:
    shop = Shop()
    async with serving(shop, HttpSettings(max_connections=2)) as server:
        first, second = await server.connect(), await server.connect()
        for peer in (first, second):
            await peer.get(ROOT + "kept.m4s")
        third = await server.connect()
        assert (await third.answer()).status == 503
        await first.stream.aclose()
        await until(lambda: server.figures.connections == 1)
        fourth = await server.connect()
        assert (await fourth.get(ROOT + "kept.m4s")).status == 200


async def test_too_many_requests_of_one_connection_end_it() -> None:
    shop = Shop()
    async with serving(shop, HttpSettings(requests_burst=5, requests_per_s=0.001)) as server:
        peer = await server.connect()
        statuses = [(await peer.get(ROOT + "kept.m4s")).status for _ in range(5)]
        last = await peer.get(ROOT + "kept.m4s")
        assert statuses == [200] * 5
        assert (last.status, last.fields["connection"]) == (429, "close")
        assert await peer.closed()
        other = await server.connect()
        assert (await other.get(ROOT + "kept.m4s")).status == 200


async def test_a_drain_answers_what_is_held_and_ends() -> None:
    shop = Shop()
    stop = trio.Event()
    async with serving(shop, stop=stop) as server:
        held, idle = await server.connect(), await server.connect()
        await idle.get(ROOT + "kept.m4s")
        await ask(held, "held.m4s")
        await until(lambda: server.figures.parked == 1)
        stop.set()
        answer = await held.answer()
        assert (answer.status, answer.fields["connection"]) == (503, "close")
        assert await idle.closed()
    assert shop.table.waiting == 0


async def test_what_is_held_may_still_come_while_the_server_drains() -> None:
    shop = Shop()
    stop = trio.Event()
    settings = HttpSettings(drain_held_s=60, drain_timeout_s=60)
    async with serving(shop, settings, stop=stop) as server:
        by_reactor, by_h11 = await server.connect(), await server.connect()
        await ask(by_reactor, "held.m4s")
        await by_h11.send(f"GET {ROOT}held.m4s HTTP/1.1\r\nHost: a\r\nTE: x\r\n\r\n")
        await until(lambda: server.figures.parked == 1 and shop.gate("held").waiting == 2)
        stop.set()
        await trio.testing.wait_all_tasks_blocked(0.01)
        shop.gate("held").open(make_response(200, (b"in time",)))
        for peer in (by_reactor, by_h11):
            answer = await peer.answer()
            assert (answer.status, answer.body) == (200, b"in time")
            assert answer.fields["connection"] == "close"


async def test_a_cancelled_server_leaves_nothing_behind() -> None:
    shop = Shop()
    async with serving(shop) as server:
        peers = [await server.connect() for _ in range(3)]
        await peers[0].get(ROOT + "kept.m4s")
        await ask(peers[1], "held.m4s")
        await until(lambda: server.figures.parked == 1)
        server.nursery.cancel_scope.cancel()
    assert server.figures.adopted == 0
    assert shop.table.waiting == 0
    assert not shop.life._callbacks


async def test_what_is_too_long_to_be_adopted_is_served_by_h11() -> None:
    shop = Shop()
    async with serving(shop) as server:
        peer = await server.connect()
        count = MAX_RECEIVED_BYTES // len(request("kept.m4s")) + 2
        await peer.send(request("kept.m4s") * count)
        assert [(await peer.answer()).status for _ in range(count)] == [200] * count


REQUESTS = [
    "GET {} HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD {} HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip, deflate\r\n\r\n",
    "HEAD {} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET {}?CMCD=x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip;q=0\r\n\r\n",
    "GET {} HTTP/1.1\r\nhost : a\r\n\r\n",
    "GET {} HTTP/1.1\r\n\r\n",
    "GET {} HTTP/1.0\r\nHost: a\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    "GET {} HTTP/1.1\r\nHost: a\r\nRange: bytes=2-\r\n\r\n",
]


@pytest.mark.parametrize("text", REQUESTS)
@pytest.mark.parametrize("name", ["kept.m4s", "once.m4s", "missing.m4s"])
async def test_both_ways_of_serving_send_the_same(text: str, name: str) -> None:
    """By the reactor on a socket, by h11 over memory, which nothing can adopt."""
    data = text.format(ROOT + name)
    is_head = data.startswith("HEAD")
    async with serving(Shop()) as server:
        peer = await server.connect()
        await peer.send(data)
        fast = await peer.answer(head_only=is_head)
    listener = MemoryListener()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_http, [listener], Shop())
        other = listener.connect()
        await other.send(data)
        slow = await other.answer(head_only=is_head)
        nursery.cancel_scope.cancel()
    assert dated(fast) == dated(slow)


def dated(answer: HttpAnswer) -> tuple[int, dict[str, str], bytes]:
    """All of it but the second in which it was sent."""
    fields = dict(answer.fields)
    assert fields.pop("date").endswith("GMT")
    return answer.status, fields, answer.body


def request(name: str) -> str:
    return f"GET {ROOT}{name} HTTP/1.1\r\nHost: test\r\n\r\n"


def raw_send(peer: HttpPeer, text: str) -> None:
    """Send at once, without a checkpoint."""
    assert isinstance(peer.stream, trio.SocketStream)
    os.write(peer.stream.socket.fileno(), text.encode())


def close_now(peer: HttpPeer) -> None:
    assert isinstance(peer.stream, trio.SocketStream)
    peer.stream.socket.close()


async def ask(peer: HttpPeer, name: str) -> None:
    await peer.send(request(name))
