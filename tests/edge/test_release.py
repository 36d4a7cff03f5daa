"""What a held reload costs, and how it is let go: measured on real sockets, judged by scheduling.

Memory is that of this process, in which the clients live too; they are bare sockets. It is read
from the kernel, so it has pages that other tests left free: the figure errs to the small side by
what those are, and the clients make it err to the other. DESIGN's bounds, 4 KiB in the reactor and
25 KiB in a Trio task, leave room for both.
"""

import os
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

import native
from edge.http.server import Figures, serve_http
from edge.table import Gate
from hls.request import Directives

if TYPE_CHECKING:
    from edge.http.routes import App

    from .conftest import Connect, Feed

VIEWERS = 1000
BOUND_BYTES = (4 if native.IMPLEMENTATION == "c" else 25) * 1024

RELOAD = (
    b"GET /api/streams/one/source/playlist.m3u8?_HLS_msn=1&_HLS_part=0&_HLS_skip=YES HTTP/1.1\r\n"
    b"Host: origin.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit\r\n"
    b"Accept: */*\r\nAccept-Encoding: gzip, deflate, br\r\nOrigin: https://example.com\r\n\r\n"
)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Wakings(trio.abc.Instrument):
    """Counts tasks as they become runnable."""

    def __init__(self) -> None:
        self.count = 0

    def task_scheduled(self, _task: trio.lowlevel.Task) -> None:
        self.count += 1


async def test_everybody_is_released_by_the_publish_itself(
    autojump_clock: trio.testing.MockClock, connect: "Connect", feed: "Feed"
) -> None:
    """When it returns, all who waited are runnable: in the very next pass of the scheduler."""
    feed.ready()
    clients = [connect() for _ in range(200)]
    for client in clients:
        await client.send(RELOAD.decode())
    await trio.testing.wait_all_tasks_blocked()
    wakings = Wakings()
    trio.lowlevel.add_instrument(wakings)
    feed.part()
    trio.lowlevel.remove_instrument(wakings)
    assert wakings.count == len(clients)
    answers = [await client.answer() for client in clients]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1


async def test_a_held_reload_costs_little(app: "App", feed: "Feed") -> None:
    feed.ready()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=VIEWERS)
    address = listeners[0].socket.getsockname()
    clients: list[socket.socket] = []
    async with trio.open_nursery() as nursery:
        figures = await nursery.start(partial(serve_http, listeners, app))
        try:
            warm = [await hold(address) for _ in range(50)]
            clients += warm
            await until_held(feed, figures, len(clients))
            before = resident_bytes()
            for _ in range(VIEWERS):
                clients.append(await hold(address))
            await until_held(feed, figures, len(clients))
            each = (resident_bytes() - before) / VIEWERS
            feed.part()
            with trio.fail_after(20):
                for client in clients:
                    assert await first_line(client) == b"HTTP/1.1 200 OK"
        finally:
            for client in clients:
                client.close()
        nursery.cancel_scope.cancel()
    assert each < BOUND_BYTES, f"{each / 1024:.1f} KiB"


async def hold(address: tuple[str, int]) -> socket.socket:
    """Connect and ask, without an object that is large or a buffer of our own."""
    client = socket.socket()
    client.setblocking(False)
    try:
        client.connect(address)
    except BlockingIOError:
        await trio.lowlevel.wait_writable(client)
    assert client.send(RELOAD) == len(RELOAD)
    return client


async def until_held(feed: "Feed", figures: Figures, count: int) -> None:
    """By the reactor, which is one waiter at the gate, or each by a task of its own."""
    with trio.fail_after(20):
        while True:
            gate = feed.rendition.playlist(Directives(1, 0, skip=True))
            assert isinstance(gate, Gate)
            if count in (figures.parked, gate.waiting):
                return
            await trio.lowlevel.checkpoint()


async def first_line(client: socket.socket) -> bytes:
    await trio.lowlevel.wait_readable(client)
    return client.recv(1000).partition(b"\r\n")[0]
