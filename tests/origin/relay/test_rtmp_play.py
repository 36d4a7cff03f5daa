"""RTMP playback and the playing client: against each other, and against others that misbehave."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import rtmp_publishers as wire
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from control import StoreError
from origin.relay.access import NoSourceError
from origin.relay.pull import play_trusting
from origin.relay.rtmp_play import RtmpMonitors
from origin.relay.tap import MAX_FOLLOWERS, Message, Tap
from origin.relay.target import parse_target
from origin.rtmp.play_client import Player, PlayError, open_player, play_over
from origin.rtmp.publisher import Peer, PublishDeniedError, Sink
from origin.rtmp.server import RtmpServer, RtmpServerSettings
from rtmpcore import (
    AudioMessage,
    Event,
    LocalProtocolError,
    Metadata,
    Play,
    PlayStarted,
    VideoMessage,
)

KEY = "live_0123456789abcdef0123456789abcdef"
URL = "rtmp://host/live"
AVC = b"\x17\x00\x00\x00\x00avcC"
IDR = b"\x17\x01\x00\x00\x00idr"
INTER = b"\x27\x01\x00\x00\x00p"
AAC = b"\xaf\x00\x11\x90"


def video(payload: bytes, timestamp_ms: int = 0) -> VideoMessage:
    return VideoMessage(stream_id=1, timestamp_ms=timestamp_ms, payload=payload)


def audio(payload: bytes, timestamp_ms: int = 0) -> AudioMessage:
    return AudioMessage(stream_id=1, timestamp_ms=timestamp_ms, payload=payload)


class FakeAccess:
    """One source, under the name `KEY`."""

    def __init__(self) -> None:
        self.tap = Tap()
        self.asked: list[tuple[str, str]] = []
        self.fails = False

    async def by_name(self, name: str, query: str, *, client: str) -> Tap:
        assert client in ("192.0.2.1", "127.0.0.1")
        await trio.lowlevel.checkpoint()
        self.asked.append((name, query))
        if self.fails:
            raise StoreError("disk on fire")
        if name != KEY:
            raise NoSourceError("unknown stream key")
        return self.tap


async def admit(_key: str, _peer: Peer) -> Sink:
    raise PublishDeniedError("nobody publishes in this test")


class House:
    def __init__(self) -> None:
        self.access = FakeAccess()
        self.tap = self.access.tap
        monitors = RtmpMonitors(self.access)  # type: ignore[arg-type] # one method is called
        self.server = RtmpServer(
            admit=admit, play=monitors.serve, settings=RtmpServerSettings(send_timeout_s=2.0)
        )
        self.lines: list[Any] = []

    def reason(self) -> object:
        """Why the only connection was closed."""
        (line,) = [line for line in self.lines if line["event"] == "connection closed"]
        assert KEY not in repr(self.lines)
        return line["reason"]

    def publish(self) -> None:
        self.tap.describe({"width": 640.0})
        for message in (video(AVC), audio(AAC), video(IDR, 40)):
            self.tap.push(message)


@asynccontextmanager
async def serving(house: House) -> AsyncIterator[trio.abc.HalfCloseableStream]:
    """The client's end of a connection; the server must be done with it at the end."""
    ours, theirs = memory_stream_pair()
    with capture_logs() as house.lines:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.server.serve_stream, theirs, "192.0.2.1")
            yield ours


@asynccontextmanager
async def playing(house: House, name: str = KEY) -> AsyncIterator[Player]:
    async with serving(house) as stream, play_over(stream, URL, "live", name) as player:
        yield player


async def receive(player: Player, count: int) -> list[Message]:
    messages: list[Message] = []
    with trio.fail_after(5):
        while len(messages) < count:
            message = await player.receive()
            assert message is not None
            messages.append(message)
    return messages


async def refusal(house: House, name: str = KEY) -> str:
    """What a player is told that is refused."""
    async with serving(house) as stream:
        with pytest.raises(PlayError) as caught:
            async with play_over(stream, URL, "live", name):
                pytest.fail("it plays")
    return str(caught.value)


async def test_a_player_gets_headers_the_last_group_and_what_comes() -> None:
    house = House()
    house.publish()
    async with playing(house) as player:
        assert await receive(player, 4) == [
            Metadata(stream_id=1, timestamp_ms=40, values={"width": 640.0}),
            video(AVC, 40),
            audio(AAC, 40),
            video(IDR, 40),
        ]
        house.tap.push(video(INTER, 2**32 - 1))
        assert await receive(player, 1) == [video(INTER, 2**32 - 1)]
        house.tap.close()
        assert await player.receive() is None
    assert house.reason() == "playback over: publisher gone"
    assert house.access.asked == [(KEY, "")]


async def test_a_player_that_leaves_is_noticed_while_the_source_is_quiet() -> None:
    house = House()
    house.publish()
    async with playing(house) as player:
        await receive(player, 4)
    assert house.reason() == "playback over: closed by the player"
    assert [house.tap.follow() for _ in range(MAX_FOLLOWERS)]  # its place is free


async def test_a_source_outlasts_the_time_that_a_publisher_has(autojump_clock: MockClock) -> None:
    house = House()
    house.publish()
    async with playing(house) as player:
        await receive(player, 4)
        await trio.sleep(3600)
        house.tap.push(video(INTER, 80))
        assert await receive(player, 1) == [video(INTER, 80)]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("live_wrong", "NetStream.Play.StreamNotFound: unknown stream key"),
        ("s?token=x", "NetStream.Play.StreamNotFound: unknown stream key"),
    ],
)
async def test_a_name_that_opens_nothing_is_refused(name: str, reason: str) -> None:
    house = House()
    assert await refusal(house, name) == reason
    assert house.reason() == "playback refused: unknown stream key"
    assert house.access.asked == [tuple(name.split("?")) if "?" in name else (name, "")]


async def test_what_cannot_be_served_now_is_refused() -> None:
    house = House()
    house.access.fails = True
    assert await refusal(house) == "NetStream.Play.Failed: the stream cannot be looked up now"
    house = House()
    for _ in range(MAX_FOLLOWERS):
        house.tap.follow()
    assert await refusal(house) == "NetStream.Play.Failed: too many follow this stream"


async def test_a_server_without_sources_says_so() -> None:
    house = House()
    house.server = RtmpServer(admit=admit)
    assert await refusal(house) == "NetStream.Play.Failed: playback is not served here"
    assert house.reason() == "refused: playback is not served here"


def play(name: str = KEY) -> bytes:
    """What a player sends to begin, after the handshake's first block."""
    return b"".join(
        (
            wire.connect(),
            wire.command("createStream", 2, None),
            wire.command("play", 3, None, name, stream_id=1),
        )
    )


HELLO = b"\x03" + bytes(3072)


async def test_a_player_that_stops_is_done() -> None:
    house = House()
    house.publish()
    async with serving(house) as stream:
        await stream.send_all(HELLO + play())
        await wait_all_tasks_blocked()
        await stream.send_all(wire.command("deleteStream", 4, None, 1))
        house.tap.push(video(INTER))  # while it is on its way
        await wait_all_tasks_blocked()
    assert house.reason() == "playback over: closed by the player"


class StoppedDriver:
    """A connection whose player has said that it stops; the task that reads has not run yet."""

    async def relay(self, _take: object) -> None:
        await trio.sleep_forever()

    async def send(self, event: Event) -> None:
        await trio.lowlevel.checkpoint()
        if not isinstance(event, PlayStarted):
            raise LocalProtocolError(f"{type(event).__name__} is illegal in IDLE")


async def test_a_player_may_stop_between_two_messages() -> None:
    """The pump reads what it says before its task wakes, so a send may come in between."""
    house = House()
    house.publish()
    monitors = RtmpMonitors(house.access)  # type: ignore[arg-type] # one method is called
    asked = Play(stream_id=1, name=KEY)
    reason = await monitors.serve(StoppedDriver(), asked, "192.0.2.1")  # type: ignore[arg-type] # two methods
    assert reason == "playback over: closed by the player"


async def test_a_player_that_breaks_the_protocol_is_cut_off() -> None:
    house = House()
    house.publish()
    async with serving(house) as stream:
        await stream.send_all(HELLO + play())
        await wait_all_tasks_blocked()
        await stream.send_all(b"\xff" * 100)
    assert str(house.reason()).startswith("protocol error: ")


async def test_a_player_that_takes_nothing_is_cut_off(autojump_clock: MockClock) -> None:
    house = House()
    house.publish()
    ours, theirs = memory_stream_pair()

    async def never() -> None:
        await trio.sleep_forever()

    with capture_logs() as house.lines:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.server.serve_stream, theirs, "192.0.2.1")
            await ours.send_all(HELLO + play())
            await wait_all_tasks_blocked()
            theirs.send_stream.send_all_hook = never
            house.tap.push(video(INTER))
    assert house.reason() == "playback over: the player takes nothing"


async def test_a_connection_that_breaks_ends_playback() -> None:
    house = House()
    house.publish()
    async with serving(house) as stream:
        await stream.send_all(HELLO + play())
        await wait_all_tasks_blocked()
        assert isinstance(stream, trio.StapledStream)
        await stream.receive_stream.aclose()
        house.tap.push(video(INTER))
    assert house.reason() == "playback over: connection lost"


# -- the client, and servers that misbehave


async def silent(stream: trio.abc.HalfCloseableStream) -> None:
    await trio.sleep_forever()


async def hanging_up(stream: trio.abc.HalfCloseableStream) -> None:
    await stream.receive_some()
    await stream.aclose()


async def babbling(stream: trio.abc.HalfCloseableStream) -> None:
    await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200)
    await trio.sleep_forever()


async def rejecting(stream: trio.abc.HalfCloseableStream) -> None:
    await stream.receive_some()
    await stream.send_all(b"\x03" + bytes(1536) + bytes(1536))
    status = {"level": "error", "code": "NetConnection.Connect.Rejected", "description": "go away"}
    await stream.send_all(wire.command("_error", 1, None, status, chunk_bytes=128))
    await trio.sleep_forever()


async def closing_after_connect(stream: trio.abc.HalfCloseableStream) -> None:
    await stream.receive_some()
    await stream.send_all(b"\x03" + bytes(1536) + bytes(1536))
    status = {"level": "status", "code": "NetConnection.Connect.Success", "description": ""}
    await stream.send_all(wire.command("_result", 1, None, status, chunk_bytes=128))
    await stream.send_eof()
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (silent, "no consent to play within 3 s"),
        (hanging_up, "connection lost before playing"),
        (babbling, "protocol error: "),
        (rejecting, r"Rejected: go away"),
        (closing_after_connect, "the server closed the connection before playing"),
    ],
)
async def test_servers_that_play_nothing(
    autojump_clock: MockClock, server: Callable[[Any], Awaitable[None]], reason: str
) -> None:
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server, theirs)
        with pytest.raises(PlayError, match=reason):
            async with play_over(ours, URL, "live", KEY, timeout_s=3):
                pytest.fail("it plays")
        nursery.cancel_scope.cancel()
    with pytest.raises(trio.ClosedResourceError):
        await ours.receive_some()


async def test_what_ends_playback_at_the_far_side_is_told() -> None:
    house = House()
    house.publish()
    ours, theirs = memory_stream_pair()
    with capture_logs():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.server.serve_stream, theirs, "192.0.2.1")
            async with play_over(ours, URL, "live", KEY) as player:
                await receive(player, 4)
                status = {"level": "error", "code": "NetStream.Play.Failed", "description": "gone"}
                said = wire.command("onStatus", 0, None, status, stream_id=1, chunk_bytes=4096)
                await theirs.send_all(said)
                with pytest.raises(PlayError, match=r"^NetStream\.Play\.Failed: gone$"):
                    await player.receive()
                await theirs.send_all(b"\xff" * 100)
                with pytest.raises(PlayError, match=r"^protocol error: "):
                    await player.receive()


async def test_a_line_that_is_lost_is_told() -> None:
    house = House()
    house.publish()
    ours, theirs = memory_stream_pair()
    with capture_logs():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.server.serve_stream, theirs, "192.0.2.1")
            async with play_over(ours, URL, "live", KEY) as player:
                await receive(player, 4)
                await ours.aclose()
                with pytest.raises(PlayError, match=r"^connection lost$"):
                    await player.receive()


async def test_a_pull_reads_a_real_server() -> None:
    house = House()
    house.publish()
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    target = parse_target(f"rtmp://127.0.0.1:{listener.socket.getsockname()[1]}/live/{KEY}?a=b")
    connect = play_trusting(ssl.create_default_context())
    with capture_logs():
        async with trio.open_nursery() as nursery:
            await nursery.start(house.server.serve, [listener])
            async with connect(target) as source:
                first = await source.receive()
            nursery.cancel_scope.cancel()
    assert isinstance(first, Metadata)
    assert house.access.asked == [(KEY, "a=b")]


async def test_a_server_that_is_not_there_is_named() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(PlayError, match=f"cannot reach 127.0.0.1 port {port}"):
        async with open_player("127.0.0.1", port, "live", KEY):
            pytest.fail("nobody is there")
