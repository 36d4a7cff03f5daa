"""Forwards: what a far server gets, and how one that refuses, vanishes or crawls is dealt with."""

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from certificates import make_pair
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from control import StoreError
from edge.relays import RelayInfo, RelayState
from origin.relay.backoff import FIRST_S, Backoff
from origin.relay.forward import (
    MAX_FORWARDS,
    URLS_RETRY_S,
    Connect,
    Forward,
    Forwards,
    connect_trusting,
)
from origin.relay.tap import MESSAGE_BYTES, QUEUE_BYTES, Message, Tap, Taps
from origin.relay.target import Target, parse_target
from origin.rtmp.client import Publisher, PublisherError, PublishRefusedError
from origin.rtmp.publisher import Peer, PublishDeniedError
from origin.rtmp.server import RtmpServer
from rtmpcore import AudioMessage, VideoMessage

SECRET = "live_far_0123456789abcdef"
URL = f"rtmp://far.example/live/{SECRET}"
AVC = b"\x17\x00\x00\x00\x00avcC"
KEY = b"\x17\x01\x00\x00\x00idr"
INTER = b"\x27\x01\x00\x00\x00p"


def video(payload: bytes, timestamp_ms: int = 0) -> VideoMessage:
    return VideoMessage(stream_id=1, timestamp_ms=timestamp_ms, payload=payload)


class FarServer:
    """What a target does with each connection, in turn; the last one's way goes on."""

    def __init__(self, *plan: PublisherError | None) -> None:
        self.plan = list(plan) or [None]
        self.received: list[Message] = []
        self.attempts_s: list[float] = []
        self.fails_with: PublisherError | None = None
        self.may_receive = trio.Event()
        self.may_receive.set()
        self.unpublished = 0

    @asynccontextmanager
    async def connect(self, target: Target) -> AsyncIterator[Publisher]:
        assert target == parse_target(URL)
        self.attempts_s.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        error = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
        if error is not None:
            raise error
        self.fails_with = None
        try:
            yield self  # type: ignore[misc] # it relays, and nothing else is asked of it
        finally:
            self.unpublished += 1

    async def relay(self, message: Message) -> None:
        await self.may_receive.wait()
        await trio.lowlevel.checkpoint()
        if self.fails_with is not None:
            raise self.fails_with
        self.received.append(message)


def make_forward(connect: Connect) -> Forward:
    return Forward(
        parse_target(URL), stream_id="s", connect=connect, backoff=Backoff(draw=lambda: 1.0)
    )


@asynccontextmanager
async def forwarding(server: FarServer) -> AsyncIterator[tuple[Tap, Forward]]:
    tap = Tap()
    forward = make_forward(server.connect)
    with capture_logs():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(forward.run, tap)
            tap.push(video(AVC))
            yield tap, forward
            tap.close()


async def test_a_target_gets_headers_and_all_from_the_last_keyframe_on() -> None:
    server = FarServer()
    async with forwarding(server) as (tap, forward):
        tap.push(video(KEY, 40))
        await wait_all_tasks_blocked()
        tap.push(video(INTER, 80))
        await wait_all_tasks_blocked()
        health = forward.info()
        assert (health.state, health.attempts, health.error) == ("live", 1, None)
        assert health.messages == 3
        assert health.size_bytes == len(AVC + KEY + INTER)
    assert server.received == [video(AVC, 40), video(KEY, 40), video(INTER, 80)]
    assert server.unpublished == 1
    assert forward.info().state == "ended"


async def test_a_refusal_is_tried_again_with_growing_pauses(autojump_clock: MockClock) -> None:
    refusal = PublishRefusedError("NetStream.Publish.BadName", f"{SECRET} is not known")
    server = FarServer(refusal, refusal, PublisherError("cannot reach far"), None)
    began_s = trio.current_time()
    async with forwarding(server) as (tap, forward):
        await wait_all_tasks_blocked()
        health = forward.info()
        assert health.state == "waiting"
        assert health.error == "NetStream.Publish.BadName: [hidden] is not known"
        assert health.retry_in_s == FIRST_S
        await trio.sleep(7.5)
        assert [at_s - began_s for at_s in server.attempts_s] == [0, 1, 3, 7]
        assert forward.info().live_s == 0.5
        assert forward.info().retry_in_s == 0
        tap.push(video(KEY))
        await wait_all_tasks_blocked()
    assert server.received == [video(AVC), video(KEY)]


async def test_a_connection_that_is_lost_begins_anew_at_a_keyframe(
    autojump_clock: MockClock,
) -> None:
    server = FarServer()
    async with forwarding(server) as (tap, forward):
        tap.push(video(KEY))
        await wait_all_tasks_blocked()
        server.fails_with = PublisherError("connection lost")
        tap.push(video(INTER, 40))
        tap.push(video(KEY, 80))
        await wait_all_tasks_blocked()
        assert forward.info().error == "connection lost"
        await trio.sleep(FIRST_S)
        await wait_all_tasks_blocked()
        assert server.received[2:] == [video(AVC, 80), video(KEY, 80)]
        assert forward.info().attempts == 2
        assert forward.info().state == "live"


async def test_a_slow_target_loses_what_it_cannot_take() -> None:
    server = FarServer()
    async with forwarding(server) as (tap, forward):
        tap.push(video(KEY))
        await wait_all_tasks_blocked()
        server.may_receive = trio.Event()
        frame = video(INTER + bytes(QUEUE_BYTES // 4 - MESSAGE_BYTES - len(INTER)))
        for _ in range(9):
            tap.push(frame)
        await wait_all_tasks_blocked()
        tap.push(video(KEY, 400))
        server.may_receive.set()
        await wait_all_tasks_blocked()
        assert server.received[-2:] == [video(AVC, 400), video(KEY, 400)]
        taken = server.received.count(frame)
        assert forward.info().dropped_messages == 9 - taken > 0


async def test_a_publisher_that_leaves_ends_a_pause_at_once(autojump_clock: MockClock) -> None:
    server = FarServer(PublisherError("no"))
    began_s = trio.current_time()
    async with forwarding(server) as (_, forward):
        await wait_all_tasks_blocked()
        assert forward.info().state == "waiting"
    assert trio.current_time() == began_s
    assert len(server.attempts_s) == 1


async def test_a_publisher_that_leaves_while_it_connects_is_no_failure() -> None:
    server = FarServer()
    tap = Tap()
    forward = make_forward(server.connect)
    with capture_logs():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(forward.run, tap)
            while not server.attempts_s:
                await trio.lowlevel.checkpoint()
            tap.close()
    assert forward.info().error is None


# -- the forwards of a process


class House:
    def __init__(self, connect: Connect, urls: Sequence[str]) -> None:
        self.taps = Taps()
        self.urls = list(urls)
        self.failures = 0
        self.forwards = Forwards(taps=self.taps, urls_of=self.urls_of, connect=connect)

    async def urls_of(self, stream_id: str) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        if self.failures:
            self.failures -= 1
            raise StoreError("disk on fire")
        return self.urls if stream_id == "s" else []

    def states(self) -> list[RelayState]:
        return [info.state for info in self.forwards.infos("s")]


@asynccontextmanager
async def running(house: House) -> AsyncIterator[None]:
    with capture_logs():
        async with trio.open_nursery() as nursery:
            await nursery.start(house.forwards.run)
            yield
            nursery.cancel_scope.cancel()


async def test_a_publisher_sets_off_the_forwards_of_its_stream() -> None:
    server = FarServer()
    house = House(server.connect, [URL, URL])
    async with running(house):
        tap, other = house.taps.open("s"), house.taps.open("another")
        await wait_all_tasks_blocked()
        assert house.states() == ["live", "live"]
        assert house.forwards.infos("another") == []
        tap.close()
        other.close()
        await wait_all_tasks_blocked()
        assert house.states() == []
        assert server.unpublished == 2


async def test_there_is_a_bound_of_targets() -> None:
    house = House(FarServer().connect, [URL] * (MAX_FORWARDS + 1))
    async with running(house):
        house.taps.open("s")
        await wait_all_tasks_blocked()
        assert len(house.states()) == MAX_FORWARDS


async def test_the_next_publisher_gets_forwards_of_its_own() -> None:
    server = FarServer()
    house = House(server.connect, [URL])
    async with running(house):
        house.taps.open("s")
        await wait_all_tasks_blocked()
        house.taps.open("s")
        await wait_all_tasks_blocked()
        assert len(server.attempts_s) == 2
        assert server.unpublished == 1
        assert house.states() == ["live"]


async def test_targets_that_change_take_effect_at_once() -> None:
    server = FarServer()
    house = House(server.connect, [])
    async with running(house):
        house.forwards.refresh("s")
        tap = house.taps.open("s")
        await wait_all_tasks_blocked()
        assert house.states() == []
        house.urls = [URL]
        house.forwards.refresh("s")
        await wait_all_tasks_blocked()
        assert house.states() == ["live"]
        house.urls = [URL, URL]
        house.forwards.refresh("s")
        await wait_all_tasks_blocked()
        assert house.states() == ["live", "live"]
        assert server.unpublished == 1
        tap.close()
        await wait_all_tasks_blocked()
        house.forwards.refresh("s")
        await wait_all_tasks_blocked()
        assert house.states() == []


async def test_a_store_that_fails_is_asked_again(autojump_clock: MockClock) -> None:
    house = House(FarServer().connect, [URL])
    house.failures = 1
    async with running(house):
        house.taps.open("s")
        await wait_all_tasks_blocked()
        assert house.states() == []
        await trio.sleep(URLS_RETRY_S)
        await wait_all_tasks_blocked()
        assert house.states() == ["live"]


async def test_a_store_that_fails_is_forgotten_with_the_publisher() -> None:
    house = House(FarServer().connect, [URL])
    house.failures = 100
    async with running(house):
        tap = house.taps.open("s")
        await wait_all_tasks_blocked()
        tap.close()
        await wait_all_tasks_blocked()
        assert house.failures == 99


async def test_a_bug_costs_one_stream_its_forwards() -> None:
    server = FarServer()
    house = House(server.connect, ["not a url"])
    async with running(house):
        house.taps.open("s")
        await wait_all_tasks_blocked()
        assert house.states() == []
        house.urls = [URL]
        house.taps.open("s")
        await wait_all_tasks_blocked()
        assert house.states() == ["live"]


async def test_no_key_is_logged() -> None:
    refusal = PublishRefusedError("NetStream.Publish.BadName", f"{SECRET} is not known")
    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            house = House(FarServer(refusal).connect, [URL, f"http://far/live/{SECRET}"])
            await nursery.start(house.forwards.run)
            house.taps.open("s")
            await wait_all_tasks_blocked()
            house.urls = [URL]
            house.taps.open("s")
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert {line["event"] for line in lines} == {"forwards failed", "relay failed"}
    assert SECRET not in repr(lines)


# -- over real sockets


class FakeSink:
    stream_id = "far"

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.goodbyes: list[bool] = []
        self.described: object = None
        self.changed = trio.Event()

    def push(self, message: VideoMessage | AudioMessage) -> None:
        self.payloads.append(message.payload)
        self._wake()

    def describe(self, values: object) -> None:
        self.described = values

    def cue(self, values: object) -> None:
        raise AssertionError("nobody sent one")

    def close(self, *, goodbye: bool) -> None:
        self.goodbyes.append(goodbye)
        self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def wait_for(self, payloads: list[bytes]) -> None:
        with trio.fail_after(10):
            while self.payloads != payloads:
                await self.changed.wait()

    async def wait_for_end(self) -> None:
        with trio.fail_after(10):
            while not self.goodbyes:
                await self.changed.wait()


def server_for(sink: FakeSink) -> RtmpServer:
    async def admit(key: str, _peer: Peer) -> FakeSink:
        if key != SECRET:
            raise PublishDeniedError("unknown stream key")
        return sink

    return RtmpServer(admit=admit)


async def open_listener() -> tuple[trio.SocketListener, int]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    return listener, listener.socket.getsockname()[1]


async def health_after_failing(url: str, connect: Connect) -> RelayInfo:
    """The health of a forward that has failed once."""
    failed = trio.Event()
    tap = Tap()

    def draw() -> float:
        failed.set()
        return 1.0

    forward = Forward(parse_target(url), stream_id="s", connect=connect, backoff=Backoff(draw))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(forward.run, tap)
        with trio.fail_after(10):
            await failed.wait()
        await trio.lowlevel.checkpoint()
        health = forward.info()
        tap.close()
    return health


async def test_a_real_server_gets_what_was_published() -> None:
    sink = FakeSink()
    tap = Tap()
    listener, port = await open_listener()
    connect = connect_trusting(ssl.create_default_context())
    target = parse_target(f"rtmp://127.0.0.1:{port}/live/{SECRET}")
    with capture_logs():
        async with trio.open_nursery() as nursery:
            await nursery.start(server_for(sink).serve, [listener])
            nursery.start_soon(Forward(target, stream_id="s", connect=connect).run, tap)
            tap.describe({"width": 640.0})
            for message in (video(AVC), video(KEY), video(INTER, 40)):
                tap.push(message)
            await sink.wait_for([AVC, KEY, INTER])
            tap.close()
            await sink.wait_for_end()
            nursery.cancel_scope.cancel()
    assert sink.goodbyes == [True]
    assert sink.described == {"width": 640.0}


async def test_rtmps_goes_to_whom_the_certificate_names_only(tmp_path: Path) -> None:
    pair = make_pair()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(*pair.write(tmp_path))
    sink = FakeSink()
    server = server_for(sink)

    async def serve(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, served, server_side=True, https_compatible=True)
        await server.serve_stream(trio.StapledStream(tls, tls), "127.0.0.1")

    connect = connect_trusting(pair.client())
    listener, port = await open_listener()
    tap = Tap()
    tap.push(video(AVC))
    tap.push(video(KEY))
    with capture_logs():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, serve, [listener])
            target = parse_target(f"rtmps://localhost:{port}/live/{SECRET}")
            nursery.start_soon(Forward(target, stream_id="s", connect=connect).run, tap)
            await sink.wait_for([AVC, KEY])
            tap.close()
            await sink.wait_for_end()

            # The same server by a name that its certificate does not have.
            url = f"rtmps://127.0.0.1:{port}/live/{SECRET}"
            error = (await health_after_failing(url, connect)).error
            nursery.cancel_scope.cancel()
    assert error is not None
    assert error.startswith(f"no TLS with 127.0.0.1 port {port}: ")
    assert "certificate" in error


async def test_a_server_that_is_not_there_is_named() -> None:
    listener, port = await open_listener()
    await listener.aclose()
    connect = connect_trusting(ssl.create_default_context())
    with capture_logs():
        health = await health_after_failing(f"rtmp://127.0.0.1:{port}/live/{SECRET}", connect)
    assert health.error is not None
    assert health.error.startswith(f"cannot reach 127.0.0.1 port {port}: ")
    assert health.peer == f"127.0.0.1:{port}"
