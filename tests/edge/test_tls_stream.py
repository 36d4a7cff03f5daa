"""The TLS stream: Trio's own judge of streams, ends whole and cut, two tasks, and changing hands.

The peer is `trio.SSLStream` over the other end of a pair of sockets, which is strict: an end
without close_notify is a broken connection. A scripted TLS stands in where OpenSSL seldom goes.
"""

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from certificates import Pair, make_pair

import native

if native.IMPLEMENTATION == "py":
    pytest.skip("HEADRACE_PURE=1: TLS is Python's ssl", allow_module_level=True)

from edge.http.tls import make_native_context
from edge.http.tls_stream import TlsStream
from native import TlsContext, TlsError, TlsSocket, TlsWant

Client = trio.SSLStream[trio.SocketStream]

BIG = bytes(8_000_000)  # no two socket buffers hold it


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair()


@pytest.fixture
def context(tmp_path: Path, pair: Pair) -> TlsContext:
    return make_native_context(*pair.write(tmp_path))


async def connect(context: TlsContext, pair: Pair) -> tuple[TlsStream, Client]:
    """Both ends of a connection, before its handshake."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    client = trio.SSLStream(
        trio.SocketStream(trio.socket.from_stdlib_socket(theirs)),
        pair.client("http/1.1"),
        server_hostname="localhost",
    )
    return TlsStream(TlsSocket(context, ours.detach())), client


@asynccontextmanager
async def connected(context: TlsContext, pair: Pair) -> AsyncIterator[tuple[TlsStream, Client]]:
    """Both ends of a connection, after its handshake; closed in the end."""
    stream, client = await connect(context, pair)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        await stream.do_handshake()
    try:
        yield stream, client
    finally:
        await trio.aclose_forcefully(stream)
        await trio.aclose_forcefully(client)


async def receive_all(stream: trio.abc.ReceiveStream) -> bytes:
    """All that comes until the peer ends its side."""
    got = bytearray()
    while data := await stream.receive_some():
        got += data
    return bytes(got)


async def test_it_is_a_stream_to_trio(context: TlsContext, pair: Pair) -> None:
    async def make() -> tuple[TlsStream, Client]:
        stream, client = await connect(context, pair)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.do_handshake)
            nursery.start_soon(stream.do_handshake)
        return stream, client

    await trio.testing.check_two_way_stream(make, None)


async def test_the_handshake_says_what_was_chosen(context: TlsContext, pair: Pair) -> None:
    async with connected(context, pair) as (stream, client):
        assert stream.selected_alpn_protocol() == "http/1.1"
        await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            stream.selected_alpn_protocol()
        with pytest.raises(trio.ClosedResourceError):
            await stream.do_handshake()
        assert await client.receive_some() == b""


async def test_a_handshake_that_fails_says_why(context: TlsContext, pair: Pair) -> None:
    stream, client = await connect(context, pair)
    async with client.transport_stream as peer, stream:
        await peer.send_all(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(trio.BrokenResourceError, match=r"^http request$") as caught:
            await stream.do_handshake()
        assert isinstance(caught.value.__cause__, TlsError)


# --- ends


async def test_a_side_that_ends_still_receives(context: TlsContext, pair: Pair) -> None:
    async with connected(context, pair) as (stream, client):
        await client.send_all(b"question")
        await stream.send_all(b"answer")
        for _ in range(2):  # again does nothing
            with trio.testing.assert_checkpoints():
                await stream.send_eof()
        assert await stream.receive_some() == b"question"
        assert await receive_all(client) == b"answer"
        for sending in (stream.send_all(b"x"), stream.wait_send_all_might_not_block()):
            with pytest.raises(trio.ClosedResourceError):
                await sending
        await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_eof()


@pytest.mark.parametrize("close", [TlsStream.aclose, trio.aclose_forcefully])
async def test_whole_messages_have_a_goodbye(
    context: TlsContext, pair: Pair, close: Callable[[TlsStream], object]
) -> None:
    async with connected(context, pair) as (stream, client):
        await stream.send_all(b"answer")
        await close(stream)  # type: ignore[misc]
        assert await receive_all(client) == b"answer"


async def test_a_message_that_was_cut_has_none(context: TlsContext, pair: Pair) -> None:
    async with connected(context, pair) as (stream, client):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, BIG)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        await stream.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await receive_all(client)


async def test_nor_has_one_that_is_cut_between_two_records(context: TlsContext, pair: Pair) -> None:
    """Where OpenSSL itself would say goodbye."""
    async with connected(context, pair) as (stream, client):
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.send_all(b"never sent")
        assert scope.cancelled_caught
        await stream.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await receive_all(client)


async def test_closing_ends_what_waits(context: TlsContext, pair: Pair) -> None:
    async with connected(context, pair) as (stream, client):
        ended: list[str] = []

        async def expect_the_end(operation: Callable[[], object], name: str) -> None:
            with pytest.raises(trio.ClosedResourceError):
                await operation()  # type: ignore[misc]
            ended.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_the_end, stream.receive_some, "receive")
            nursery.start_soon(expect_the_end, lambda: stream.send_all(BIG), "send")
            await trio.testing.wait_all_tasks_blocked()
            await stream.aclose()
        assert sorted(ended) == ["receive", "send"]
        with pytest.raises(trio.BrokenResourceError):
            await receive_all(client)


async def test_a_peer_that_is_gone(context: TlsContext, pair: Pair) -> None:
    async with connected(context, pair) as (stream, client):
        await client.transport_stream.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(BIG)
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


# --- two tasks


async def test_one_task_sends_while_another_receives(context: TlsContext, pair: Pair) -> None:
    async with connected(context, pair) as (stream, client), trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, BIG)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            await client.send_all(b"question")
            assert await stream.receive_some() == b"question"
        got = 0
        while got < len(BIG):
            got += len(await client.receive_some())


async def test_two_tasks_of_a_kind_are_one_too_many(context: TlsContext, pair: Pair) -> None:
    async with connected(context, pair) as (stream, _), trio.open_nursery() as nursery:
        nursery.start_soon(stream.receive_some)
        nursery.start_soon(stream.send_all, BIG)
        await trio.testing.wait_all_tasks_blocked()
        for operation in (
            stream.receive_some(),
            stream.send_all(b"x"),
            stream.wait_send_all_might_not_block(),
            stream.send_eof(),
        ):
            with pytest.raises(trio.BusyResourceError):
                await operation
        with pytest.raises(trio.BusyResourceError):
            stream.detach()
        nursery.cancel_scope.cancel()


async def test_receiving_without_waiting_takes_what_has_come(
    context: TlsContext, pair: Pair
) -> None:
    async with connected(context, pair) as (stream, client):
        with pytest.raises(trio.WouldBlock):
            stream.receive_nowait(100)
        await client.send_all(b"one")
        await client.send_all(b"two")
        await trio.lowlevel.wait_readable(stream.fd)
        assert stream.receive_nowait(2) == b"on"
        assert stream.receive_nowait(100) == b"e"
        assert stream.receive_nowait(100) == b"two"  # which the descriptor may not show any more
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                stream.receive_nowait(100)
            nursery.cancel_scope.cancel()
        await client.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
        await trio.lowlevel.wait_readable(stream.fd)
        with pytest.raises(trio.BrokenResourceError):
            stream.receive_nowait(100)
        await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            stream.receive_nowait(100)
        with pytest.raises(trio.ClosedResourceError):
            _ = stream.fd


class ScriptedTls:
    """A `TlsSocket` that wants what it is told to want."""

    def __init__(self, fd: int, receiving: list[object], sending: list[object]) -> None:
        self.fd = fd
        self._receiving, self._sending = receiving, sending

    def receive(self, max_bytes: int) -> object:
        return self._receiving.pop(0)

    def send(self, data: memoryview) -> object:
        return self._sending.pop(0)

    def shutdown(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def scripted(fd: int, receiving: list[object], sending: list[object]) -> TlsStream:
    return TlsStream(ScriptedTls(fd, receiving, sending))  # type: ignore[arg-type]


async def test_a_sender_that_must_receive_waits_with_the_receiver(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """Trio lets one task wait for a descriptor's direction, and here it is two."""
    stream = scripted(ends[0].fileno(), [TlsWant.READ, b"question"], [TlsWant.READ, 6])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.receive_some)
        nursery.start_soon(stream.send_all, b"answer")
        await trio.testing.wait_all_tasks_blocked()
        ends[1].send(b"x")


async def test_a_receiver_that_must_send_waits_with_the_sender(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            ends[0].send(bytes(65536))
    stream = scripted(ends[0].fileno(), [TlsWant.WRITE, b"question"], [TlsWant.WRITE, 6])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, b"answer")
        nursery.start_soon(stream.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        with contextlib.suppress(BlockingIOError):
            while True:
                ends[1].recv(65536)


async def test_who_waits_with_another_goes_on_when_that_one_is_cancelled(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    stream = scripted(
        ends[0].fileno(), [TlsWant.READ], [TlsWant.READ, TlsWant.READ, TlsWant.READ, 6]
    )
    async with trio.open_nursery() as nursery:
        first = trio.CancelScope()

        async def receive() -> None:
            with first:
                await stream.receive_some()

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(stream.send_all, b"answer")
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
        await trio.testing.wait_all_tasks_blocked()  # it waits for itself now
        ends[1].send(b"x")


async def test_others_have_a_turn_between_two_pieces(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    stream = scripted(ends[0].fileno(), [], [2, 2, 2])
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await stream.send_all(b"answer")
        assert turns >= 2  # one less than there are pieces, when the others go second each time
        nursery.cancel_scope.cancel()


# --- changing hands


async def test_a_connection_goes_to_somebody_else_and_comes_back(
    context: TlsContext, pair: Pair
) -> None:
    async with connected(context, pair) as (stream, client):
        await client.send_all(b"question")
        assert await stream.receive_some(3) == b"que"
        fd, tls = stream.detach()
        assert (fd, tls.pending) == (tls.fd, True)
        for operation in (stream.receive_some(), stream.send_all(b"x"), stream.send_eof()):
            with pytest.raises(trio.ClosedResourceError):
                await operation
        with pytest.raises(trio.ClosedResourceError):
            stream.detach()
        with trio.testing.assert_checkpoints():
            await stream.aclose()
        os.fstat(fd)  # it is open
        async with TlsStream(tls) as again:
            assert await again.receive_some() == b"stion"
            await again.send_all(b"answer")
        assert await receive_all(client) == b"answer"
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
