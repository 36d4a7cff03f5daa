"""TLS from the server's side, in CPU time: four ways to serve the same bytes, one after another.

Trio's stream and ours are what a connection of HTTP/2 or h11 has. The two loops without Trio are
what a reactor could be made of: OpenSSL on the descriptor, or between memory BIOs. The figure is
requests (and bytes) for a second of this process's CPU, kernel included, so a client that is slower
than the server does not matter; it is a child process. All agree on TLS 1.3 and AES-256-GCM.

What the figures do not show: handshakes, HTTP, and more than sixteen connections.
"""

import contextlib
import multiprocessing
import select
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from certificates import Pair, make_pair

import native
from edge.http.tls import make_native_context, make_python_context
from edge.http.tls_stream import TlsStream
from native import TlsWant

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(
        native.IMPLEMENTATION == "py", reason="HEADRACE_PURE=1: there is nothing to compare"
    ),
]

CONNECTIONS = 16
REQUEST = bytes(400)

Serve = Callable[[list[socket.socket], bytes], float]
"""Serves connections until their clients leave; returns the CPU seconds after the handshakes."""


def ask(address: tuple[str, int], pair: Pair, answer_bytes: int, rounds: int) -> None:
    """The client: asks on all connections, then reads all answers, again and again."""
    context = pair.client()
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_connection(address)) for _ in range(CONNECTIONS)
        ]
        peers = [
            stack.enter_context(context.wrap_socket(peer, server_hostname="localhost"))
            for peer in sockets
        ]
        room = memoryview(bytearray(answer_bytes))
        for _ in range(rounds):
            for peer in peers:
                peer.sendall(REQUEST)
            for peer in peers:
                got = 0
                while got < answer_bytes:
                    got += peer.recv_into(room[got:])


def requests_per_s(serve: Serve, pair: Pair, answer_bytes: int, rounds: int) -> float:
    """Let one server serve; return its requests for a second of CPU."""
    with socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS) as listener:
        client = multiprocessing.get_context("fork").Process(
            target=ask, args=(listener.getsockname(), pair, answer_bytes, rounds)
        )
        client.start()
        sockets = [listener.accept()[0] for _ in range(CONNECTIONS)]
    for each in sockets:
        each.setblocking(False)
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    cpu_s = serve(sockets, bytes(answer_bytes))
    client.join(30)
    assert client.exitcode == 0
    return CONNECTIONS * rounds / cpu_s


# --- under Trio


async def answer_all(stream: trio.abc.Stream, answer: bytes) -> None:
    missing = len(REQUEST)
    with contextlib.suppress(trio.BrokenResourceError):  # it leaves without close_notify
        while data := await stream.receive_some():
            missing -= len(data)
            if not missing:
                await stream.send_all(answer)
                missing = len(REQUEST)


def serve_trio(
    wrap: "Callable[[socket.socket], TlsStream | trio.SSLStream[trio.SocketStream]]",
    sockets: list[socket.socket],
    answer: bytes,
) -> float:
    async def main() -> float:
        streams = [wrap(each) for each in sockets]
        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(stream.do_handshake)
        began_s = time.process_time()
        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(answer_all, stream, answer)
        took_s = time.process_time() - began_s
        for stream in streams:
            await trio.aclose_forcefully(stream)
        return took_s

    return trio.run(main)


# --- without Trio: one epoll, and as little Python as there can be


class OnDescriptor:
    """OpenSSL reads and writes the socket."""

    def __init__(self, context: "native.TlsContext", ours: socket.socket) -> None:
        self._tls = native.TlsSocket(context, ours.detach())
        self._left = memoryview(b"")
        self.fd = self._tls.fd

    def has_shaken_hands(self) -> bool:
        return self._tls.handshake() is None

    def receive(self) -> int | None:
        """Bytes of a request; 0 at the end; None: nothing now."""
        data = self._tls.receive(16384)
        return None if isinstance(data, TlsWant) else len(data)

    def begin(self, answer: bytes) -> None:
        self._left = memoryview(answer)

    def flush(self) -> bool:
        """Send; True when all is sent."""
        while len(self._left):
            sent = self._tls.send(self._left)
            if isinstance(sent, TlsWant):
                return False
            self._left = self._left[sent:]
        return True

    def close(self) -> None:
        self._tls.close()


class BetweenBios:
    """We read and write the socket; OpenSSL has two buffers."""

    def __init__(self, context: ssl.SSLContext, ours: socket.socket) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._socket = ours
        self._left = memoryview(b"")
        self.fd = ours.fileno()

    def has_shaken_hands(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            self._incoming.write(self._socket.recv(65536))
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._socket.send(self._outgoing.read())
        return True

    def receive(self) -> int | None:
        try:
            return len(self._tls.read(16384))
        except ssl.SSLWantReadError:
            pass
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return None
        if not data:
            return 0
        self._incoming.write(data)
        return len(self._tls.read(16384))  # the client sends whole records

    def begin(self, answer: bytes) -> None:
        self._tls.write(answer)
        self._left = memoryview(self._outgoing.read())

    def flush(self) -> bool:
        try:
            while len(self._left):
                self._left = self._left[self._socket.send(self._left) :]
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


def serve_loop(
    wrap: Callable[[socket.socket], OnDescriptor | BetweenBios],
    sockets: list[socket.socket],
    answer: bytes,
) -> float:
    ends = {end.fd: end for end in map(wrap, sockets)}
    missing = dict.fromkeys(ends, len(REQUEST))
    with select.epoll() as poll:
        for fd in ends:
            poll.register(fd, select.EPOLLIN)
        shaking = set(ends)
        while shaking:
            shaking -= {fd for fd in shaking if ends[fd].has_shaken_hands()}
        began_s = time.process_time()
        left = len(ends)
        while left:
            for fd, events in poll.poll():
                end = ends[fd]
                if events & select.EPOLLOUT:
                    if end.flush():
                        poll.modify(fd, select.EPOLLIN)
                    continue
                while (size := end.receive()) is not None:
                    missing[fd] -= size
                    if size == 0:
                        poll.unregister(fd)
                        left -= 1
                        break
                    if not missing[fd]:
                        missing[fd] = len(REQUEST)
                        end.begin(answer)
                        if not end.flush():
                            poll.modify(fd, select.EPOLLOUT)
        took_s = time.process_time() - began_s
    for end in ends.values():
        end.close()
    return took_s


# --- all of them


@pytest.mark.parametrize(("answer_bytes", "rounds"), [(2_300, 1000), (150_000, 60)])
def test_tls(benchmark: "BenchmarkFixture", tmp_path: Path, answer_bytes: int, rounds: int) -> None:
    pair = make_pair()
    files = pair.write(tmp_path)
    ours, pythons = make_native_context(*files), make_python_context(*files)

    def trio_stream(each: socket.socket) -> "trio.SSLStream[trio.SocketStream]":
        raw = trio.SocketStream(trio.socket.from_stdlib_socket(each))
        return trio.SSLStream(raw, pythons, server_side=True)

    def our_stream(each: socket.socket) -> TlsStream:
        return TlsStream(native.TlsSocket(ours, each.detach()))

    subjects: dict[str, Serve] = {
        "trio.SSLStream": partial(serve_trio, trio_stream),
        "TlsStream": partial(serve_trio, our_stream),
        "memory BIOs, no Trio": partial(serve_loop, partial(BetweenBios, pythons)),
        "descriptor, no Trio": partial(serve_loop, partial(OnDescriptor, ours)),
    }

    def run() -> dict[str, float]:
        return {
            name: max(requests_per_s(serve, pair, answer_bytes, rounds) for _ in range(2))
            for name, serve in subjects.items()
        }

    rates: dict[str, float] = benchmark.pedantic(run, rounds=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info.update(rates)
    yardstick = rates["trio.SSLStream"]
    print(f"\nTLS 1.3, answers of {answer_bytes} bytes, for a second of CPU:")
    for name, rate in rates.items():
        print(
            f"  {name:22}{rate:8.0f} requests {rate * answer_bytes / 1e6:8.0f} MB"
            f"  {rate / yardstick:5.2f} of trio.SSLStream"
        )
