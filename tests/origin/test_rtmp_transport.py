"""What comes before RTMP on a socket, and the pump that reads it in clear and through TLS."""

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from certificates import Pair, make_pair
from trio.testing import wait_all_tasks_blocked

import native
from edge.http.tls import ServerContext, make_context, make_python_context
from origin.rtmp.pump import ROUND_BYTES, Pump
from origin.rtmp.transport import (
    SocketSource,
    TlsSource,
    receive_proxy_header,
    secure,
    source_of,
)
from rtmpcore import RemoteProtocolError

Client = trio.SSLStream[trio.SocketStream]

HEADER = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 1935\r\n"
BINARY = bytes.fromhex("0d0a0d0a000d0a515549540a 21 11 000c cb007107 c0000201 dc04 078f")

needs_openssl = pytest.mark.skipif(
    native.IMPLEMENTATION == "py", reason="HEADRACE_PURE=1: TLS is Python's ssl, and has no source"
)


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair()


@pytest.fixture
def context(tmp_path: Path, pair: Pair) -> ServerContext:
    return make_context(*pair.write(tmp_path))


@pytest.fixture
async def pump(nursery: trio.Nursery) -> AsyncIterator[Pump]:
    made = Pump()
    nursery.start_soon(made.run)
    yield made
    nursery.cancel_scope.cancel()


@contextlib.contextmanager
def sockets() -> Iterator[tuple[trio.SocketStream, trio.SocketStream]]:
    """A peer's end of a TCP connection, and ours."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    streams = []
    for end in (peer, ours):
        end.setblocking(False)
        streams.append(trio.SocketStream(trio.socket.from_stdlib_socket(end)))
    try:
        yield streams[0], streams[1]
    finally:
        for stream in streams:
            stream.socket.close()


@asynccontextmanager
async def secured(
    context: ServerContext, pair: Pair
) -> AsyncIterator[tuple[Client, trio.abc.Stream]]:
    """A client that has shaken hands, and our stream in clear."""
    with sockets() as (peer, ours):
        client = trio.SSLStream(peer, pair.client(), server_hostname="localhost")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.do_handshake)
            stream = await secure(ours, context)
        try:
            yield client, stream
        finally:
            await trio.aclose_forcefully(stream)


# -- the header of a balancer


@pytest.mark.parametrize(
    ("header", "source"),
    [(HEADER, "203.0.113.7"), (BINARY, "203.0.113.7"), (b"PROXY UNKNOWN\r\n", None)],
)
async def test_a_header_is_taken_and_not_a_byte_more(header: bytes, source: str | None) -> None:
    with sockets() as (peer, ours):
        await peer.send_all(header + b"\x16\x03\x01")
        assert await receive_proxy_header(ours) == source
        assert ours.socket.fileno() >= 0
        assert await ours.receive_some(100) == b"\x16\x03\x01"


async def test_a_header_may_come_byte_by_byte(nursery: trio.Nursery) -> None:
    with sockets() as (peer, ours):

        async def dribble() -> None:
            for byte in HEADER + b"\x03":
                await peer.send_all(bytes([byte]))
                await wait_all_tasks_blocked(0.001)

        nursery.start_soon(dribble)
        assert await receive_proxy_header(ours) == "203.0.113.7"
        assert await ours.receive_some(100) == b"\x03"


async def test_a_connection_that_is_only_tried_has_no_header() -> None:
    """As balancers do that ask whether the port is open."""
    with sockets() as (peer, ours):
        await peer.send_all(HEADER[:10])
        await peer.aclose()
        with pytest.raises(RemoteProtocolError, match="ends before its PROXY header"):
            await receive_proxy_header(ours)


async def test_a_reset_before_the_header_is_a_broken_connection() -> None:
    with sockets() as (peer, ours):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await peer.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await receive_proxy_header(ours)


# -- TLS


@pytest.fixture(params=[make_context, make_python_context], ids=["chosen", "python"])
def any_context(request: pytest.FixtureRequest, tmp_path: Path, pair: Pair) -> ServerContext:
    made: ServerContext = request.param(*pair.write(tmp_path))
    return made


async def test_tls_gives_a_stream_in_clear(any_context: ServerContext, pair: Pair) -> None:
    async with secured(any_context, pair) as (client, stream):
        await client.send_all(b"\x03")
        assert await stream.receive_some(100) == b"\x03"
        await stream.send_all(b"\x03\x03")
        assert await client.receive_some(100) == b"\x03\x03"


@pytest.mark.parametrize(
    ("sent", "reason"),
    [(b"\x03" + bytes(2000), "TLS handshake: "), (b"", "TLS handshake: ")],
    ids=["RTMP", "nothing"],
)
async def test_what_is_no_tls_is_refused(
    any_context: ServerContext, sent: bytes, reason: str
) -> None:
    with sockets() as (peer, ours):
        await peer.send_all(sent)
        await peer.send_eof()
        with pytest.raises(RemoteProtocolError, match=reason):
            await secure(ours, any_context)
        assert ours.socket.fileno() == -1
        with contextlib.suppress(trio.BrokenResourceError):  # RST, if something was unread
            while await peer.receive_some(100):  # perhaps an alert
                pass


async def test_a_handshake_that_is_given_up_closes_the_connection(
    any_context: ServerContext,
) -> None:
    with sockets() as (peer, ours):
        with trio.move_on_after(0.01):
            await secure(ours, any_context)
        assert ours.socket.fileno() == -1
        assert await peer.receive_some(100) == b""


# -- what the pump reads


def test_what_has_no_descriptor_of_its_own_is_no_source() -> None:
    stream, _ = trio.testing.memory_stream_pair()
    assert source_of(stream) is None


@needs_openssl
async def test_the_pump_reads_through_tls_to_its_end(
    context: ServerContext, pair: Pair, pump: Pump
) -> None:
    """Also where the end is a close_notify, after which the descriptor shows nothing."""
    taken: list[bytes] = []

    def take(data: bytes) -> bool:
        taken.append(data)
        return bool(data)

    async with secured(context, pair) as (client, stream):
        source = source_of(stream)
        assert isinstance(source, TlsSource)
        await client.send_all(b"one")
        await client.send_all(b"two")
        client_notify = client.unwrap  # sends close_notify, and leaves the socket open

        async def end() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                await client_notify()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end)
            await pump.attend(source, take)
            await stream.aclose()
    assert b"".join(taken) == b"onetwo"
    assert taken[-1] == b""


@needs_openssl
async def test_a_flood_through_tls_comes_whole(
    context: ServerContext, pair: Pair, pump: Pump
) -> None:
    """In rounds of the pump and, where those end with something held back, by its owner."""
    total_bytes = 3 * ROUND_BYTES + 100
    taken_bytes = 0

    def take(data: bytes) -> bool:
        nonlocal taken_bytes
        taken_bytes += len(data)
        return taken_bytes < total_bytes

    async with secured(context, pair) as (client, stream):
        source = source_of(stream)
        assert source is not None
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send_all, bytes(total_bytes))
                while taken_bytes < total_bytes:
                    if (held := source.read_nowait()) is not None:
                        take(held)
                    else:
                        await pump.attend(source, take)
    assert taken_bytes == total_bytes


@needs_openssl
async def test_a_tls_connection_that_breaks_is_a_broken_resource(
    context: ServerContext, pair: Pair, pump: Pump
) -> None:
    async with secured(context, pair) as (client, stream):
        source = source_of(stream)
        assert source is not None
        await client.transport_stream.send_all(
            b"\x17\x03\x03\x00\x20" + bytes(32)
        )  # a forged record
        with pytest.raises(trio.BrokenResourceError):
            await pump.attend(source, bool)


async def test_a_socket_that_breaks_is_a_broken_resource() -> None:
    with sockets() as (peer, ours):
        source = source_of(ours)
        assert isinstance(source, SocketSource)
        assert source.read_nowait() is None
        await peer.send_all(b"x")
        await wait_all_tasks_blocked(0.01)
        assert source.read_nowait() == b"x"
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await peer.aclose()
        await wait_all_tasks_blocked(0.01)
        with pytest.raises(trio.BrokenResourceError):
            source.read_nowait()
