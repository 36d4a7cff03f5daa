"""The delivery reactor over pairs of sockets, for its tests: requests, answers, and a rig.

Only where there is a reactor, so not with HEADRACE_PURE=1.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

from native import Blob, Reactor, ReactorEvent, ReactorLimits

PREFIX = b"/api/streams/"
DATE = b"Date: Sat, 28 Nov 2026 12:00:00 GMT\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n"
TOO_MANY = b"HTTP/1.1 429 Too Many\r\n"
BUDGET_US = 1_000_000
INPUT_BYTES = 4096


def get(name: str, *fields: str, method: str = "GET") -> bytes:
    path, mark, query = name.partition("?")
    lines = [f"{method} /api/streams/{path}.m4s{mark}{query} HTTP/1.1", "Host: a", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


def key(name: str, coding: bytes = b"i") -> bytes:
    return coding + PREFIX + name.encode() + b".m4s"


def answer(body: bytes, *, is_last: bool = False, head: bytes = HEAD) -> bytes:
    return head + DATE + (b"Connection: close\r\n" if is_last else b"") + b"\r\n" + body


class Body(bytearray):
    """A body that a weak reference can watch; the blob holds it as an exporter of its buffer."""


class Rig:
    """A reactor with its clients, and a clock that stands still until it is set."""

    def __init__(self, **limits: Any) -> None:
        self.reactor = Reactor(
            prefix=PREFIX, limits=ReactorLimits(**limits), too_many=Blob(TOO_MANY, (b"slow down",))
        )
        self.now_ms = 1_000
        self.events: list[tuple[Any, ...]] = []
        self.clients: list[socket.socket] = []

    def client(
        self, received: bytes = b"", *, tag: int = 0, send_buffer_bytes: int = 0, **how: Any
    ) -> socket.socket:
        """The peer of a connection that is adopted now; `how` is for `Reactor.adopt`."""
        ours, theirs = socket.socketpair()
        if send_buffer_bytes:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
        self.clients.append(theirs)
        ours.setblocking(False)
        theirs.setblocking(False)
        with ours:  # it stays ours if it is refused
            self.reactor.adopt(ours.fileno(), received, tag, **how)
            ours.detach()
        return theirs

    def step(self, budget_us: int = BUDGET_US) -> tuple[list[tuple[Any, ...]], bool]:
        events, more = self.reactor.step(self.now_ms, DATE, budget_us)
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
        raise AssertionError("the reactor does not come to rest")

    def ask(self, client: socket.socket, data: bytes) -> bytes:
        client.sendall(data)
        self.pump()
        return read(client)

    def read_all(self, client: socket.socket, size_bytes: int) -> bytes:
        """So many bytes, both sides in turns."""
        got = bytearray()
        while len(got) < size_bytes:
            before = len(got)
            self.step()
            got += read(client)
            assert len(got) > before, "nothing comes any more"
        return bytes(got)

    def close(self) -> None:
        self.reactor.close()
        for client in self.clients:
            client.close()
        for event in self.events:
            if event[0] is ReactorEvent.RETURNED:
                with contextlib.suppress(OSError):
                    os.close(event[1])


def read(client: socket.socket) -> bytes:
    """All that is there."""
    got = bytearray()
    with contextlib.suppress(BlockingIOError):
        while data := client.recv(1 << 16):
            got += data
    return bytes(got)


def is_at_end(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False


def ended(events: list[tuple[Any, ...]]) -> list[tuple[int, str]]:
    return [(event[1], event[2]) for event in events if event[0] is ReactorEvent.ENDED]


@contextlib.contextmanager
def rigged(**limits: Any) -> Iterator[Rig]:
    made = Rig(**limits)
    try:
        yield made
    finally:
        made.close()
