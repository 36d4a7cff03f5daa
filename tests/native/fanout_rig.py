"""The fan-out over pairs of sockets, for its tests: both twins, and a rig with a clock."""

import contextlib
import importlib
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from native import FanoutEvent, FanoutLimits

if TYPE_CHECKING:
    from native import Fanout

PING, LAGGED, SLOW = b"<ping>", b"<lagged>", b"<slow>"
PONG = b"\x8a\x80mask"
BUDGET_US = 1_000_000
ROOM = 7


def load(name: str) -> "type[Fanout]":
    """The implementation of that name: "py" or "c"."""
    if name == "py":
        twin: type[Fanout] = importlib.import_module("edge.chat.plain_fanout").PlainFanout
        return twin
    if os.environ.get("HEADRACE_PURE") == "1":
        pytest.skip("HEADRACE_PURE=1: the extensions need not be built")
    kernel: type[Fanout] = importlib.import_module("native").Fanout
    return kernel


class Rig:
    """A fan-out with its clients, and a clock that stands still until it is set."""

    def __init__(self, kind: "type[Fanout]", **limits: Any) -> None:
        self.fanout = kind(limits=FanoutLimits(**limits), ping=PING, lagged=LAGGED, slow=SLOW)
        self.now_ms = 1_000_000
        self.events: list[tuple[Any, ...]] = []
        self.clients: list[socket.socket] = []
        self.fanout.step(self.now_ms, BUDGET_US)

    def client(
        self, tag: int, *, room: int = ROOM, received: bytes = b"", send_buffer_bytes: int = 0
    ) -> socket.socket:
        """The peer of a connection that is added now."""
        ours, theirs = socket.socketpair()
        if send_buffer_bytes:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
        self.clients.append(theirs)
        ours.setblocking(False)
        theirs.setblocking(False)
        with ours:  # it stays ours if it is refused
            self.fanout.add(ours.fileno(), tag, room, received)
            ours.detach()
        return theirs

    def stuck(self, tag: int, *, room: int = ROOM) -> tuple[socket.socket, int]:
        """Such a peer, whose socket is full; and how many frames b"f" * 1000 it has in it."""
        client = self.client(tag, room=room, send_buffer_bytes=4096)
        count = 0
        while True:
            before = self.fanout.counters.delivered
            self.fanout.send(tag, b"f" * 1000)
            self.pump()
            count += 1
            if self.fanout.counters.delivered == before:
                return client, count

    def step(self, budget_us: int = BUDGET_US) -> tuple[list[tuple[Any, ...]], bool]:
        events, more = self.fanout.step(self.now_ms, budget_us)
        self.events += events
        return events, more

    def pump(self) -> list[tuple[Any, ...]]:
        """Step until nothing is left; the events."""
        told = []
        for _ in range(1_000):
            events, more = self.step()
            told += events
            if not more and not events:
                return told
        raise AssertionError("the fan-out does not come to rest")

    def read(self, client: socket.socket) -> bytes:
        """All that comes, both sides in turns."""
        got = bytearray()
        while data := read(client):
            got += data
            self.pump()
        return bytes(got)

    def close(self) -> None:
        self.fanout.close_all()
        for client in self.clients:
            client.close()


def read(client: socket.socket) -> bytes:
    """All that is there."""
    got = bytearray()
    with contextlib.suppress(BlockingIOError, ConnectionResetError):
        while data := client.recv(1 << 16):
            got += data
    return bytes(got)


def is_at_end(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def ended(events: list[tuple[Any, ...]]) -> list[tuple[int, str]]:
    return [(event[1], event[2]) for event in events if event[0] is FanoutEvent.ENDED]


def told(events: list[tuple[Any, ...]], tag: int) -> bytes:
    return b"".join(e[2] for e in events if e[0] is FanoutEvent.DATA and e[1] == tag)


@contextlib.contextmanager
def rigged(kind: "type[Fanout]", **limits: Any) -> Iterator[Rig]:
    made = Rig(kind, **limits)
    try:
        yield made
    finally:
        made.close()
