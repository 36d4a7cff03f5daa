"""Listeners: connection limits, drain, what happens when accept fails."""

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import structlog
import trio
import trio.testing
from http_peers import HttpPeer, MemoryListener

from edge.http.messages import Answer, Hold, Request
from edge.http.response import error_response, make_response
from edge.http.server import Figures, _address_of, serve_http
from edge.http.settings import HttpSettings
from edge.table import ResponseTable

if TYPE_CHECKING:
    from trio.testing import MockClock


class HoldApp:
    """Holds /hold, answers everything else."""

    def __init__(self) -> None:
        self.table: ResponseTable[str] = ResponseTable()

    def route(self, request: Request) -> Answer:
        if request.path == "/hold":
            return Hold(self.table.gate("held"), 60.0, error_response(503, "late"))
        return make_response(200, (b"ok",))


@asynccontextmanager
async def serving(
    app: HoldApp, listener: MemoryListener, settings: HttpSettings, stop: trio.Event | None = None
) -> AsyncIterator[trio.Event]:
    """Run a server; yields an event that is set when it has returned."""
    done = trio.Event()
    async with trio.open_nursery() as nursery:

        async def serve(
            *, task_status: trio.TaskStatus[Figures] = trio.TASK_STATUS_IGNORED
        ) -> None:
            await serve_http([listener], app, settings=settings, stop=stop, task_status=task_status)
            done.set()

        await nursery.start(serve)
        yield done
        nursery.cancel_scope.cancel()


async def test_connections_over_the_limit_get_503_and_the_place_comes_back(
    autojump_clock: "MockClock",
) -> None:
    listener = MemoryListener()
    async with serving(HoldApp(), listener, HttpSettings(max_connections=2)):
        first, second = listener.connect(), listener.connect()
        assert (await first.get("/")).status == 200
        assert (await second.get("/")).status == 200
        third = listener.connect()
        answer = await third.answer()
        assert answer.status == 503
        assert answer.fields["connection"] == "close"
        assert answer.fields["retry-after"] == "5"
        assert await third.closed()
        await first.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        fourth = listener.connect()
        assert (await fourth.get("/")).status == 200


async def test_a_flood_of_refused_connections_is_bounded(autojump_clock: "MockClock") -> None:
    listener = MemoryListener()
    async with serving(HoldApp(), listener, HttpSettings(max_connections=0)):
        peers = [listener.connect() for _ in range(100)]
        await trio.testing.wait_all_tasks_blocked()
        told = 0
        for peer in peers:
            with suppress(EOFError):
                told += (await peer.answer()).status == 503
        assert told == 64
        await peers[0].stream.aclose()


async def test_a_refused_client_that_is_gone_already_is_no_error(
    autojump_clock: "MockClock",
) -> None:
    listener = MemoryListener()
    async with serving(HoldApp(), listener, HttpSettings(max_connections=0)):
        await listener.connect().stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert (await listener.connect().answer()).status == 503


async def test_drain_finishes_what_it_can_in_bounded_time(autojump_clock: "MockClock") -> None:
    listener, stop = MemoryListener(), trio.Event()
    async with serving(HoldApp(), listener, HttpSettings(drain_timeout_s=5), stop) as done:
        idle, held = listener.connect(), listener.connect()
        await idle.get("/")
        await held.send("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        stop.set()
        assert (await held.answer()).status == 503
        assert await idle.closed()
        await done.wait()
        assert trio.current_time() == began
        assert listener.closed


async def test_drain_cuts_who_does_not_finish(autojump_clock: "MockClock") -> None:
    listener, stop = MemoryListener(), trio.Event()
    async with serving(HoldApp(), listener, HttpSettings(drain_timeout_s=5), stop) as done:
        slow = listener.connect()
        await slow.send("GET / HTTP/1.1\r\n")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        stop.set()
        await done.wait()
        assert trio.current_time() - began == pytest.approx(5)
        assert await slow.closed()


async def test_out_of_descriptors_is_waited_out(autojump_clock: "MockClock") -> None:
    listener = MemoryListener()
    with structlog.testing.capture_logs() as logged:
        async with serving(HoldApp(), listener, HttpSettings()):
            for _ in range(2):
                for _ in range(20):
                    listener.fail(OSError(errno.EMFILE, "Too many open files"))
                assert (await listener.connect().get("/")).status == 200
    # Once for each time: tens of lines a second would fill the disk as well.
    assert [entry["event"] for entry in logged] == 2 * ["cannot accept http connections"]


async def test_a_broken_listener_ends_the_server(autojump_clock: "MockClock") -> None:
    listener = MemoryListener()
    listener.fail(OSError(errno.EBADF, "Bad file descriptor"))
    with pytest.RaisesGroup(pytest.RaisesGroup(OSError)):
        await serve_http([listener], HoldApp())
    assert listener.closed


async def test_cancelling_closes_everything(autojump_clock: "MockClock") -> None:
    listener = MemoryListener()
    async with serving(HoldApp(), listener, HttpSettings()):
        peer = listener.connect()
        await peer.get("/")
    assert await peer.closed()
    assert listener.closed


async def test_over_real_sockets() -> None:
    """One round on loopback: addresses are counted, loopback is exempt, a reset is noticed."""
    app = HoldApp()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: serve_http(
                listeners,
                app,
                settings=HttpSettings(max_connections_per_address=1),
                task_status=task_status,
            )
        )
        first = HttpPeer(await trio.open_tcp_stream("127.0.0.1", port))
        second = HttpPeer(await trio.open_tcp_stream("127.0.0.1", port))
        assert (await first.get("/")).body == b"ok"
        assert (await second.get("/")).body == b"ok"
        await first.send("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n")
        with trio.fail_after(5):
            while app.table.waiting == 0:
                await trio.lowlevel.checkpoint()
            await first.stream.aclose()
            while app.table.waiting:
                await trio.lowlevel.checkpoint()
        await second.stream.aclose()
        nursery.cancel_scope.cancel()


async def test_a_peer_that_was_gone_before_accept_has_no_address() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    peer = await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1])
    stream = await listeners[0].accept()
    assert _address_of(stream) == "127.0.0.1"
    await stream.aclose()
    assert _address_of(stream) == ""
    await peer.aclose()
    await listeners[0].aclose()


async def test_the_limit_per_address(
    autojump_clock: "MockClock", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.http.server._address_of", lambda _stream: "192.0.2.7")
    listener = MemoryListener()
    async with serving(HoldApp(), listener, HttpSettings(max_connections_per_address=1)):
        first = listener.connect()
        assert (await first.get("/")).status == 200
        assert (await listener.connect().answer()).status == 503
        await first.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert (await listener.connect().get("/")).status == 200
