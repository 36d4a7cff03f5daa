"""Pulls: what a far server plays is published here, for as long as both sides will have it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from control import StoreError
from origin.relay.backoff import FIRST_S, Backoff
from origin.relay.pull import LIST_RETRY_S, SILENCE_S, Pull, Pulls, Source
from origin.relay.tap import MediaMessage, Message, MetadataValues
from origin.relay.target import Target, parse_target
from origin.rtmp.play_client import PlayError
from origin.rtmp.publisher import Peer, PublishDeniedError, PublishStoppedError
from rtmpcore import Metadata, RemoteProtocolError, VideoMessage

SECRET = "live_far_0123456789abcdef"
URL = f"rtmp://far.example/live/{SECRET}"
FRAME = VideoMessage(stream_id=1, timestamp_ms=0, payload=b"\x17\x01\x00\x00\x00idr")
METADATA = Metadata(stream_id=1, timestamp_ms=0, values={"width": 640.0})


class FarServer:
    """Plays what `play` is given; an exception ends the connection, None the source."""

    def __init__(self) -> None:
        self.play, self._messages = trio.open_memory_channel[Message | Exception | None](100)
        self.attempts_s: list[float] = []
        self.refuses_with: PlayError | None = None
        self.open = 0
        self.target = parse_target(URL)

    @asynccontextmanager
    async def connect(self, target: Target) -> AsyncIterator[Source]:
        assert target == self.target
        self.attempts_s.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if self.refuses_with is not None:
            raise self.refuses_with
        self.open += 1
        try:
            yield self
        finally:
            self.open -= 1

    async def receive(self) -> Message | None:
        message = await self._messages.receive()
        if isinstance(message, Exception):
            raise message
        return message


class Stream:
    """A stream here, and the one publication that it takes at a time."""

    def __init__(self) -> None:
        self.taken_by: str | None = None
        self.stops_with: Exception | None = None
        self.received: list[Any] = []
        self.goodbyes: list[bool] = []
        self.peer: Peer | None = None

    def take(self, stream_id: str, peer: Peer) -> "Stream":
        assert stream_id == "s"
        if self.taken_by is not None:
            raise PublishDeniedError(self.taken_by)
        self.peer = peer
        return self

    def push(self, message: MediaMessage) -> None:
        if self.stops_with is not None:
            raise self.stops_with
        self.received.append(message)

    def describe(self, values: MetadataValues) -> None:
        self.received.append(values)

    def close(self, *, goodbye: bool) -> None:
        self.goodbyes.append(goodbye)


@pytest.fixture
def server() -> FarServer:
    return FarServer()


@pytest.fixture
def stream() -> Stream:
    return Stream()


@asynccontextmanager
async def pulling(server: FarServer, stream: Stream) -> AsyncIterator[Pull]:
    pull = Pull(
        parse_target(URL),
        stream_id="s",
        connect=server.connect,
        take=stream.take,
        backoff=Backoff(draw=lambda: 1.0),
    )
    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pull.run)
            await wait_all_tasks_blocked()
            yield pull
            nursery.cancel_scope.cancel()
    assert SECRET not in repr(lines)


async def test_what_is_played_is_published(server: FarServer, stream: Stream) -> None:
    async with pulling(server, stream) as pull:
        for message in (METADATA, FRAME):
            server.play.send_nowait(message)
        await wait_all_tasks_blocked()
        assert stream.received == [{"width": 640.0}, FRAME]
        info = pull.info()
        assert (info.peer, info.state, info.attempts) == ("far.example:1935", "live", 1)
        assert (info.messages, info.size_bytes) == (2, len(FRAME.payload))
    assert stream.goodbyes == [False]


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (None, "the server ended it"),
        (PlayError(f"no {SECRET} any more"), "no [hidden] any more"),
        (RemoteProtocolError("bad chunk", "RTMP"), "protocol error: bad chunk (RTMP)"),
    ],
)
async def test_an_end_at_the_far_side_is_a_lost_publisher_and_tried_again(
    autojump_clock: MockClock,
    server: FarServer,
    stream: Stream,
    ending: Exception | None,
    reason: str,
) -> None:
    async with pulling(server, stream) as pull:
        server.play.send_nowait(ending)
        await wait_all_tasks_blocked()
        info = pull.info()
        assert (info.state, info.error, info.retry_in_s) == ("waiting", reason, FIRST_S)
        assert stream.goodbyes == [False]
        await trio.sleep(FIRST_S)
        await wait_all_tasks_blocked()
        server.play.send_nowait(FRAME)
        await wait_all_tasks_blocked()
        assert stream.received == [FRAME]
        assert server.open == 1


async def test_silence_is_a_lost_publisher(
    autojump_clock: MockClock, server: FarServer, stream: Stream
) -> None:
    async with pulling(server, stream) as pull:
        await trio.sleep(SILENCE_S - 1)
        server.play.send_nowait(FRAME)
        await trio.sleep(SILENCE_S - 1)
        assert pull.info().state == "live"
        await trio.sleep(1.5)
        assert pull.info().error == f"no media for {SILENCE_S:g} s"
        assert stream.goodbyes == [False]


async def test_a_server_that_plays_nothing_takes_no_stream(
    autojump_clock: MockClock, server: FarServer, stream: Stream
) -> None:
    server.refuses_with = PlayError("NetStream.Play.StreamNotFound")
    began_s = trio.current_time()
    async with pulling(server, stream) as pull:
        await trio.sleep(7.5)
        assert [at_s - began_s for at_s in server.attempts_s] == [0, 1, 3, 7]
        assert pull.info().error == "NetStream.Play.StreamNotFound"
        assert stream.goodbyes == []


async def test_a_stream_that_has_a_publisher_is_waited_for(
    autojump_clock: MockClock, server: FarServer, stream: Stream
) -> None:
    stream.taken_by = "stream is already live"
    async with pulling(server, stream) as pull:
        assert pull.info().error == "stream is already live"
        assert server.open == 0
        stream.taken_by = None
        await trio.sleep(FIRST_S)
        await wait_all_tasks_blocked()
        assert pull.info().state == "live"


async def test_media_that_is_of_no_use_is_tried_again(
    autojump_clock: MockClock, server: FarServer, stream: Stream
) -> None:
    stream.stops_with = PublishStoppedError("unusable media: nobody can read this")
    async with pulling(server, stream) as pull:
        server.play.send_nowait(FRAME)
        await wait_all_tasks_blocked()
        assert pull.info().error == "unusable media: nobody can read this"
        assert stream.goodbyes == [False]


async def test_a_broadcast_that_is_ended_here_ends_its_pull(
    server: FarServer, stream: Stream
) -> None:
    async with pulling(server, stream) as pull:
        assert stream.peer is not None
        stream.peer.disconnect("ended by API")
        await wait_all_tasks_blocked()
        assert pull.info().state == "ended"
        assert (server.open, len(server.attempts_s)) == (0, 1)
        assert stream.goodbyes == [False]


# -- the pulls of a process


class House:
    def __init__(self, server: FarServer, stream: Stream, urls: dict[str, str]) -> None:
        self.urls = urls
        self.failures = 0
        self.may_list = trio.Event()
        self.may_list.set()
        self.pulls = Pulls(list_urls=self.list_urls, connect=server.connect, take=stream.take)

    async def list_urls(self) -> dict[str, str]:
        await self.may_list.wait()
        await trio.lowlevel.checkpoint()
        if self.failures:
            self.failures -= 1
            raise StoreError("disk on fire")
        return self.urls

    def state(self) -> str | None:
        info = self.pulls.info("s")
        return None if info is None else info.state


@asynccontextmanager
async def running(house: House) -> AsyncIterator[None]:
    with capture_logs():
        async with trio.open_nursery() as nursery:
            await nursery.start(house.pulls.run)
            await wait_all_tasks_blocked()
            yield
            nursery.cancel_scope.cancel()


async def test_stored_pulls_begin_with_the_process(server: FarServer, stream: Stream) -> None:
    house = House(server, stream, {"s": URL})
    async with running(house):
        assert house.state() == "live"
        assert house.pulls.info("another") is None


async def test_a_pull_can_be_set_changed_and_ended(server: FarServer, stream: Stream) -> None:
    house = House(server, stream, {})
    async with running(house):
        assert house.state() is None
        for _ in range(2):  # the second one changes nothing
            house.pulls.set("s", URL)
            await wait_all_tasks_blocked()
            assert house.state() == "live"
            assert (server.open, len(server.attempts_s)) == (1, 1)
        assert stream.peer is not None
        stream.peer.disconnect("ended by API")
        await wait_all_tasks_blocked()
        assert house.state() == "ended"
        house.pulls.set("s", URL)
        await wait_all_tasks_blocked()
        assert house.state() == "live"
        house.pulls.set("s", None)
        await wait_all_tasks_blocked()
        assert house.state() is None
        assert server.open == 0


async def test_a_pull_that_is_set_before_the_store_answers_stays(
    server: FarServer, stream: Stream
) -> None:
    house = House(server, stream, {"s": "rtmp://an/old/one"})
    house.may_list = trio.Event()
    async with running(house):
        house.pulls.set("s", URL)
        house.may_list.set()
        await wait_all_tasks_blocked()
        assert len(server.attempts_s) == 1
        assert house.state() == "live"


async def test_a_store_that_fails_is_asked_again(
    autojump_clock: MockClock, server: FarServer, stream: Stream
) -> None:
    house = House(server, stream, {"s": URL})
    house.failures = 1
    async with running(house):
        assert house.state() is None
        await trio.sleep(LIST_RETRY_S)
        await wait_all_tasks_blocked()
        assert house.state() == "live"


async def test_another_url_begins_anew(server: FarServer, stream: Stream) -> None:
    house = House(server, stream, {"s": URL})
    async with running(house):
        server.target = parse_target(f"{URL}?other=1")
        house.pulls.set("s", f"{URL}?other=1")
        await wait_all_tasks_blocked()
        assert house.state() == "live"
        assert (server.open, len(server.attempts_s)) == (1, 2)


async def test_a_bug_costs_one_pull(server: FarServer, stream: Stream) -> None:
    stream.stops_with = ZeroDivisionError()
    house = House(server, stream, {"s": URL})
    async with running(house):
        server.play.send_nowait(FRAME)
        await wait_all_tasks_blocked()
        assert (server.open, house.state()) == (0, "ended")
        stream.stops_with = None
        house.pulls.set("s", URL)
        await wait_all_tasks_blocked()
        assert (server.open, house.state()) == (1, "live")
