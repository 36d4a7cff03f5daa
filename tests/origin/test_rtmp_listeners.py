"""The RTMP server on real sockets: in clear, over TLS, behind a balancer, and its bounds there."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import rtmp_publishers as wire
import trio
from certificates import Pair, make_pair
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs
from trio.testing import MockClock

from edge.http.tls import CHECK_S, Certificate
from origin.rtmp.publisher import Peer
from origin.rtmp.pump import PAUSE_S
from origin.rtmp.server import RtmpServer, RtmpServerSettings
from rtmpcore import AudioMessage, VideoMessage

KEY = "live_0123456789abcdef0123456789abcdef"
HEADER = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 1935\r\n"
HEALTH_CHECK = bytes.fromhex("0d0a0d0a000d0a515549540a 20 00 0000")
BALANCERS = (ip_network("127.0.0.0/8"),)

SOCKETS_IDLE_S = 0.05
"""Nothing has moved between sockets for so long: the clock may jump."""


class Sink:
    """Keeps what it is given."""

    stream_id = "stream-1"

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.contexts: list[dict[str, Any]] = []
        """What a line of the log would be bound to at each message."""

    def push(self, message: VideoMessage | AudioMessage) -> None:
        self.contexts.append(get_contextvars())
        self.payloads.append(bytes(message.payload))

    def describe(self, values: Mapping[str, object]) -> None:
        pass

    def cue(self, values: Mapping[str, object]) -> None:
        raise AssertionError

    def close(self, *, goodbye: bool) -> None:
        pass


async def settled() -> None:
    """Wait until nothing is on its way between the sockets: only then does the clock jump."""
    await trio.sleep(10 * PAUSE_S)  # some rounds of the pump


@dataclass
class House:
    """A server that listens, in clear and over TLS."""

    server: RtmpServer
    sinks: list[Sink]
    logs: list[Any]
    ports: tuple[trio.SocketListener, trio.SocketListener]
    files: Path
    clients: contextlib.ExitStack
    """Closes what was connected."""

    async def open_clear(self) -> trio.SocketStream:
        """Connect to the port in clear."""
        return await self._open(self.ports[0])

    async def open_tcp_to_tls(self) -> trio.SocketStream:
        """Connect to the TLS port, and say nothing yet."""
        return await self._open(self.ports[1])

    async def _open(self, listener: trio.SocketListener) -> trio.SocketStream:
        stream = await trio.testing.open_stream_to_socket_listener(listener)
        self.clients.callback(stream.socket.close)
        return stream

    async def open_tls(
        self, pair: Pair, before: bytes = b""
    ) -> "trio.SSLStream[trio.SocketStream]":
        """Connect, send what comes before TLS, and shake hands."""
        socket = await self.open_tcp_to_tls()
        await socket.send_all(before)
        stream = trio.SSLStream(socket, pair.client(), server_hostname="localhost")
        await stream.do_handshake()
        return stream

    def closings(self) -> list[tuple[str, str]]:
        """Address and reason of each closing line."""
        lines = [line for line in self.logs if line["event"] == "connection closed"]
        return [(line["address"], line["reason"]) for line in lines]

    async def closing(self) -> tuple[str, str]:
        """The only closing line."""
        await settled()
        (closing,) = self.closings()
        return closing


@pytest.fixture(scope="module")
def pairs() -> tuple[Pair, Pair]:
    return make_pair(), make_pair()


OpenHouse = Callable[..., "contextlib.AbstractAsyncContextManager[House]"]


@pytest.fixture
def open_house(tmp_path: Path, pairs: tuple[Pair, Pair], autojump_clock: MockClock) -> OpenHouse:
    """Starts a server; its arguments are `RtmpServerSettings`. A test asks for the clock too."""
    autojump_clock.autojump_threshold = SOCKETS_IDLE_S
    certificate = Certificate(*pairs[0].write(tmp_path))

    @asynccontextmanager
    async def opened(**settings: Any) -> AsyncIterator[House]:
        sinks: list[Sink] = []

        async def admit(key: str, _peer: Peer) -> Sink:
            await trio.lowlevel.checkpoint()
            assert key == KEY
            sinks.append(Sink())
            return sinks[-1]

        server = RtmpServer(
            admit=admit, settings=RtmpServerSettings(**settings), tls_context=certificate.context
        )
        clear = await trio.open_tcp_listeners(0, host="127.0.0.1")
        secure = await trio.open_tcp_listeners(0, host="127.0.0.1")
        with capture_logs() as logs, contextlib.ExitStack() as clients:
            async with trio.open_nursery() as nursery:
                await nursery.start(server.serve, clear, secure)
                yield House(server, sinks, logs, (clear[0], secure[0]), tmp_path, clients)
                nursery.cancel_scope.cancel()

    return opened


async def publish(stream: trio.abc.Stream, *payloads: bytes) -> None:
    await stream.send_all(wire.opening(KEY))
    received = b""
    while wire.PUBLISH_START not in received:
        data = await stream.receive_some()
        assert data, received[-200:]
        received += data
    for payload in payloads:
        await stream.send_all(wire.audio(payload))


async def read_to_end(stream: trio.abc.Stream) -> bytes:
    received = b""
    with contextlib.suppress(trio.BrokenResourceError):  # a reset, where something was unread
        while data := await stream.receive_some(65_536):
            received += data
    return received


# -- TLS


async def test_a_publisher_over_tls_is_a_publisher(
    autojump_clock: MockClock, open_house: OpenHouse, pairs: tuple[Pair, Pair]
) -> None:
    picture = b"\xaf\x01" + bytes(300_000)
    async with open_house() as house:
        stream = await house.open_tls(pairs[0])
        await publish(stream, b"\xaf\x01sound", picture, picture)
        await stream.aclose()
        assert await house.closing() == ("127.0.0.1", "closed by the publisher")
        assert house.sinks[0].payloads == [b"\xaf\x01sound", picture, picture]


async def test_a_renewed_certificate_serves_those_who_come_next(
    autojump_clock: MockClock, open_house: OpenHouse, pairs: tuple[Pair, Pair]
) -> None:
    old, new = pairs
    async with open_house() as house:
        first = await house.open_tls(old)
        await publish(first)
        new.write(house.files)
        await trio.sleep(CHECK_S)
        second = await house.open_tls(new)
        await publish(second)
        await first.send_all(wire.audio(b"\xaf\x01on"))
        await first.aclose()
        await house.closing()
        assert house.sinks[0].payloads == [b"\xaf\x01on"]


async def test_rtmp_in_clear_at_the_tls_port_is_told_in_the_log(
    autojump_clock: MockClock, open_house: OpenHouse
) -> None:
    async with open_house() as house:
        stream = await house.open_tcp_to_tls()
        await stream.send_all(wire.C0_C1)
        await read_to_end(stream)
        address, reason = await house.closing()
    assert address == "127.0.0.1"
    assert reason.startswith("protocol error: TLS handshake: ")


async def test_tls_at_the_clear_port_is_told_in_the_log(
    autojump_clock: MockClock, open_house: OpenHouse, pairs: tuple[Pair, Pair]
) -> None:
    async with open_house() as house:
        stream = trio.SSLStream(
            await house.open_clear(), pairs[0].client(), server_hostname="localhost"
        )
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()
        _, reason = await house.closing()
    assert reason.startswith("protocol error: ")


# -- balancers


async def test_the_address_of_a_balancers_client_is_the_publishers(
    autojump_clock: MockClock, open_house: OpenHouse
) -> None:
    async with open_house(balancers=BALANCERS) as house:
        stream = await house.open_clear()
        await stream.send_all(HEADER)
        await publish(stream)
        await stream.aclose()
        assert await house.closing() == ("203.0.113.7", "closed by the publisher")


async def test_the_header_comes_before_tls(
    autojump_clock: MockClock, open_house: OpenHouse, pairs: tuple[Pair, Pair]
) -> None:
    async with open_house(balancers=BALANCERS) as house:
        stream = await house.open_tls(pairs[0], before=HEADER)
        await publish(stream)
        await stream.aclose()
        assert await house.closing() == ("203.0.113.7", "closed by the publisher")


async def test_a_health_check_is_the_balancers_own(
    autojump_clock: MockClock, open_house: OpenHouse
) -> None:
    async with open_house(balancers=BALANCERS) as house:
        stream = await house.open_clear()
        await stream.send_all(HEALTH_CHECK)
        await stream.aclose()
        assert await house.closing() == ("127.0.0.1", "closed by the publisher")


async def test_a_balancer_without_a_header_is_closed(
    autojump_clock: MockClock, open_house: OpenHouse
) -> None:
    async with open_house(balancers=BALANCERS) as house:
        stream = await house.open_clear()
        await stream.send_all(wire.opening(KEY))
        await read_to_end(stream)
        _, reason = await house.closing()
    assert reason == "protocol error: no PROXY header (PROXY protocol section 2)"


async def test_nobody_else_can_claim_an_address(
    autojump_clock: MockClock, open_house: OpenHouse
) -> None:
    async with open_house(balancers=(ip_network("192.0.2.0/24"),)) as house:
        stream = await house.open_clear()
        await stream.send_all(HEADER + wire.opening(KEY))
        await read_to_end(stream)
        address, reason = await house.closing()
    assert address == "127.0.0.1"
    assert reason.startswith("protocol error: ")


async def test_clients_behind_a_balancer_are_counted_one_by_one(
    autojump_clock: MockClock, open_house: OpenHouse
) -> None:
    async with open_house(balancers=BALANCERS, max_connections_per_address=1) as house:
        first, second, other, unnamed = [await house.open_clear() for _ in range(4)]
        await first.send_all(HEADER)
        await publish(first)
        await second.send_all(HEADER + wire.C0_C1)
        assert await read_to_end(second) == b""
        assert house.closings() == [("203.0.113.7", "too many connections from this address")]
        await other.send_all(HEADER.replace(b"203.0.113.7", b"203.0.113.8"))
        await publish(other)
        await unnamed.send_all(HEALTH_CHECK)
        await publish(unnamed)  # as the balancer, which is exempt


# -- bounds


@pytest.mark.parametrize("what", ["header", "half a header", "TLS"])
async def test_what_comes_before_rtmp_has_its_time(
    autojump_clock: MockClock, open_house: OpenHouse, what: str
) -> None:
    async with open_house(balancers=() if what == "TLS" else BALANCERS) as house:
        stream = await (house.open_tcp_to_tls() if what == "TLS" else house.open_clear())
        if what == "half a header":
            await stream.send_all(HEADER[:20])
        began_s = trio.current_time()
        assert await read_to_end(stream) == b""
        assert trio.current_time() - began_s == pytest.approx(10, abs=0.1)
        assert await house.closing() == ("127.0.0.1", "no RTMP after 10 s")


async def test_header_and_tls_share_their_time(
    autojump_clock: MockClock, open_house: OpenHouse
) -> None:
    async with open_house(balancers=BALANCERS) as house:
        stream = await house.open_tcp_to_tls()
        began_s = trio.current_time()
        await trio.sleep(6)
        await stream.send_all(HEADER + b"\x16\x03\x01")
        assert await read_to_end(stream) == b""
        assert trio.current_time() - began_s == pytest.approx(10, abs=0.1)
        assert await house.closing() == ("203.0.113.7", "no RTMP after 10 s")


async def test_what_comes_before_rtmp_takes_a_place(
    autojump_clock: MockClock, open_house: OpenHouse, pairs: tuple[Pair, Pair]
) -> None:
    async with open_house(balancers=BALANCERS, max_connections=2) as house:
        silent, halfway = await house.open_clear(), await house.open_tcp_to_tls()
        await halfway.send_all(HEADER + b"\x16\x03\x01")
        await settled()
        assert house.server.connections == 2
        third = await house.open_clear()
        assert await read_to_end(third) == b""
        assert house.closings() == [("127.0.0.1", "too many connections")]
        await silent.aclose()
        await halfway.aclose()
        await settled()
        assert house.server.connections == 0
        stream = await house.open_tls(pairs[0], before=HEADER)
        await publish(stream)


async def test_what_is_logged_of_media_names_its_connection_whoever_reads_it(
    autojump_clock: MockClock, open_house: OpenHouse
) -> None:
    async with open_house() as house:
        streams = [await house.open_clear() for _ in range(2)]
        for stream in streams:
            await publish(stream, b"\xaf\x01one")
        await settled()
        for stream in streams:  # by now the pump reads
            await stream.send_all(wire.audio(b"\xaf\x01two"))
        await settled()
        for stream in streams:
            await stream.aclose()
        await settled()
        named = {line["connection"] for line in house.logs if line["event"] == "publishing"}
        assert len(named) == 2
        bound = [{one["connection"] for one in sink.contexts} for sink in house.sinks]
        assert bound[0] | bound[1] == named
        assert [len(one) for one in bound] == [1, 1]
        assert [len(sink.contexts) for sink in house.sinks] == [2, 2]
        assert all(one["stream"] == "stream-1" for one in house.sinks[0].contexts)
    assert "connection" not in get_contextvars()


async def test_the_end_of_the_server_is_told_and_closes_what_was_halfway(
    autojump_clock: MockClock, open_house: OpenHouse
) -> None:
    async with open_house(balancers=BALANCERS) as house:
        halfway = [await house.open_clear(), await house.open_tcp_to_tls()]
        await halfway[1].send_all(HEADER)
        await settled()
        assert house.server.connections == 2
        house.clients.pop_all()
    assert sorted(house.closings()) == [
        ("127.0.0.1", "server stopping"),
        ("203.0.113.7", "server stopping"),
    ]
    for stream in halfway:
        assert await read_to_end(stream) == b""
        await stream.aclose()


async def test_a_bug_of_ours_costs_one_connection(
    autojump_clock: MockClock, open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_stream: trio.SocketStream) -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    async with open_house(balancers=BALANCERS) as house:
        with monkeypatch.context() as patched:
            patched.setattr("origin.rtmp.server.receive_proxy_header", fail)
            assert await read_to_end(await house.open_clear()) == b""
            assert await house.closing() == ("127.0.0.1", "internal error")
        stream = await house.open_clear()
        await stream.send_all(HEADER)
        await publish(stream)
