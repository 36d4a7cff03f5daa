"""Server-sent events: who hears what, from where on, and how a listener ends."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from http_peers import HttpPeer, error_of
from structlog.testing import capture_logs
from trio.testing import MemorySendStream, MockClock, memory_stream_pair, wait_all_tasks_blocked

from edge.api.operation import Asked, Principal
from edge.api.router import ApiRouter
from edge.events import EventBus
from edge.http.connection import HttpConnection
from edge.http.messages import Answer, HttpError, Request
from edge.http.response import DateLine
from edge.http.settings import HttpSettings
from origin.health.api import HealthApi
from origin.health.live_events import (
    HEARTBEAT_S,
    MAX_KEPT,
    MAX_LISTEN_S,
    MAX_LISTENERS,
    MAX_LISTENERS_PER_STREAM,
    MAX_QUEUED,
    SEND_TIMEOUT_S,
    LiveEvents,
)
from origin.health.report import Figures

KEY = "key-of-s"
READER = "reader"

FIGURES = Figures(
    at=5,
    bitrate_kbps=1.0,
    fps=30.0,
    dropped_frames=0,
    late_frames=0,
    keyframe_interval_seconds=None,
    b_frames=None,
    av_skew_ms=None,
    drift_ppm=None,
    drift_error_ppm=None,
    jitter_ms=None,
    speed=None,
    rtt_ms=None,
    out_of_order_packets=None,
    transcode=None,
)


class FakeAccess:
    """Knows the stream "s", its key, and a token that may read."""

    async def identify(
        self, credential: str, *, stream_id: str | None, client: str
    ) -> Principal | None:
        await trio.lowlevel.checkpoint()
        if (credential, stream_id) == (KEY, "s"):
            return Principal("key", stream_id="s")
        return Principal("token", scopes=frozenset({"read"})) if credential == READER else None

    async def knows_stream(self, stream_id: str) -> bool:
        return stream_id == "s"


class House:
    def __init__(self) -> None:
        self.bus = EventBus()
        self.live = LiveEvents(self.bus)
        monitor: Any = SimpleNamespace(report=lambda _stream_id, history_s: None)
        self.router = ApiRouter(FakeAccess(), HealthApi(monitor, self.live).operations)

    def route(self, request: Request) -> Answer:
        answer = self.router.route(request)
        if answer is None:
            raise HttpError(404, "not found")
        return answer


class Ear:
    """The client's side of a connection: reads chunks, gives events."""

    def __init__(self, peer: HttpPeer) -> None:
        self.peer = peer
        self._data = b""

    async def ask(self, *, token: str = KEY, method: str = "GET", last_id: str = "") -> str:
        fields = f"Authorization: Bearer {token}\r\n"
        if last_id:
            fields += f"Last-Event-ID: {last_id}\r\n"
        await self.peer.send(
            f"{method} /api/streams/s/events HTTP/1.1\r\nHost: test\r\n{fields}\r\n"
        )
        return (await self._until(b"\r\n\r\n")).decode()

    async def message(self) -> str:
        """The next chunk."""
        size = int(await self._until(b"\r\n"), 16)
        while len(self._data) < size + 2:
            self._data += await self.peer.stream.receive_some()
        body, self._data = self._data[:size], self._data[size + 2 :]
        return body.decode()

    async def _until(self, end: bytes) -> bytes:
        while end not in self._data:
            more = await self.peer.stream.receive_some()
            assert more, self._data
            self._data += more
        before, _, self._data = self._data.partition(end)
        return before


@asynccontextmanager
async def listening(house: House) -> AsyncIterator[Ear]:
    ours, theirs = memory_stream_pair()
    connection = HttpConnection(theirs, house, settings=HttpSettings(), date=DateLine())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        yield Ear(HttpPeer(ours))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("token", [KEY, READER])
async def test_what_happens_is_heard_as_it_happens(token: str) -> None:
    house = House()
    async with listening(house) as ear:
        head = await ear.ask(token=token)
        assert head.startswith("HTTP/1.1 200")
        assert "Content-Type: text/event-stream" in head
        assert "Cache-Control: no-store" in head
        assert await ear.message() == "retry: 2000\n\n"
        house.bus.emit("alert.started", "s", code="black", text="two\nlines")
        lines = (await ear.message()).split("\n")
        assert lines[0].startswith("id: ")
        assert lines[1] == "event: alert.started"
        assert lines[3:] == ["", ""]
        event = json.loads(lines[2].removeprefix("data: "))
        assert event["type"] == "alert.started"
        assert event["data"] == {"code": "black", "text": "two\nlines"}
        house.live.tell_figures("s", FIGURES)
        text = await ear.message()
        assert text.startswith('event: health\ndata: {"at":5,')
        assert "id:" not in text


async def test_other_streams_and_chat_are_not_heard() -> None:
    house = House()
    async with listening(house) as ear:
        await ear.ask()
        await ear.message()
        house.bus.emit("stream.live", "t")
        house.live.tell_figures("t", FIGURES)
        house.bus.emit("chat.message", "s", text="hello")
        house.bus.emit("stream.ended", "s")
        assert "event: stream.ended\n" in await ear.message()


@pytest.mark.parametrize(("token", "status"), [("", 401), ("wrong", 401), ("key-of-t", 401)])
async def test_nobody_else_listens(token: str, status: int) -> None:
    house = House()
    async with listening(house) as ear:
        answer = await ear.peer.get(
            "/api/streams/s/events", fields=f"Authorization: Bearer {token}\r\n" if token else ""
        )
        assert answer.status == status
        assert house.live.listeners == 0


async def test_head_is_the_head_alone() -> None:
    house = House()
    async with listening(house) as ear:
        assert "text/event-stream" in await ear.ask(method="HEAD")
        assert await ear.peer.closed()


async def test_a_listener_goes_on_where_it_was() -> None:
    house = House()
    async with listening(house) as ear:
        await ear.ask()
        await ear.message()
        house.bus.emit("stream.live", "s")
        last_id = (await ear.message()).split("\n")[0].removeprefix("id: ")
    house.bus.emit("publisher.connected", "s")
    house.bus.emit("publisher.connected", "t")
    house.live.tell_figures("s", FIGURES)
    house.bus.emit("alert.started", "s")
    async with listening(house) as ear:
        await ear.ask(last_id=last_id)
        text = await ear.message()
    kinds = [line for line in text.split("\n") if line.startswith("event")]
    assert kinds == ["event: publisher.connected", "event: alert.started"]


@pytest.mark.parametrize(
    "last_id",
    ["another-1", "-", "1", "{epoch}-", "{epoch}-x", "{epoch}-²", "{epoch}-" + "9" * 5000],
)
async def test_an_id_that_is_none_of_ours_gives_nothing(last_id: str) -> None:
    house = House()
    house.bus.emit("stream.live", "s")
    assert house.live._missed("s", last_id.format(epoch=house.live._epoch)) == b""


async def test_what_is_kept_is_bounded() -> None:
    house = House()
    for _ in range(MAX_KEPT + 10):
        house.bus.emit("stream.live", "s")
    missed = house.live._missed("s", f"{house.live._epoch}-0")
    assert missed.count(b"event: ") == MAX_KEPT
    assert f"id: {house.live._epoch}-11\n".encode() in missed


async def test_a_quiet_connection_is_kept_alive(autojump_clock: MockClock) -> None:
    house = House()
    async with listening(house) as ear:
        await ear.ask()
        await ear.message()
        began_s = trio.current_time()
        assert await ear.message() == ": alive\n\n"
        assert trio.current_time() - began_s == pytest.approx(HEARTBEAT_S)


async def test_a_connection_ends_in_time_and_in_order(autojump_clock: MockClock) -> None:
    house = House()
    async with listening(house) as ear:
        await ear.ask()
        began_s = trio.current_time()
        texts = [await ear.message()]
        while texts[-1]:
            texts.append(await ear.message())
        assert trio.current_time() - began_s == pytest.approx(MAX_LISTEN_S)
        await wait_all_tasks_blocked()
        assert house.live.listeners == 0


async def test_a_listener_that_leaves_is_forgotten() -> None:
    house = House()
    with capture_logs() as lines:
        async with listening(house) as ear:
            await ear.ask()
            assert house.live.listeners == 1
            await ear.peer.stream.aclose()
            await wait_all_tasks_blocked()
            assert house.live.listeners == 0
    assert [line.get("reason") for line in lines] == [None, "closed by the client"]


async def serve(house: House, stream: trio.abc.Stream) -> None:
    """Serve a listener without any HTTP before."""
    asked = Asked(Request("GET", "/"), {"streamId": "s"}, None, None, Principal("key"))
    await house.live.serve(asked, stream)


def stuck_stream() -> trio.StapledStream[Any, Any]:
    """A stream whose other side takes nothing, and leaves never."""

    async def block() -> None:
        await trio.sleep_forever()

    ours, theirs = memory_stream_pair()
    del ours
    return trio.StapledStream(MemorySendStream(send_all_hook=block), theirs.receive_stream)


async def test_who_takes_nothing_is_cut_off(autojump_clock: MockClock) -> None:
    house = House()
    with capture_logs() as lines:
        await serve(house, stuck_stream())
    assert lines[-1]["reason"] == f"took nothing for {SEND_TIMEOUT_S:g} s"
    assert trio.current_time() == pytest.approx(SEND_TIMEOUT_S)


async def test_who_is_too_slow_is_cut_off_at_the_bound() -> None:
    house = House()
    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, house, stuck_stream())
            await wait_all_tasks_blocked()
            for _ in range(MAX_QUEUED):
                house.live.tell_figures("s", FIGURES)
            await wait_all_tasks_blocked()
            assert house.live.listeners == 1
            house.live.tell_figures("s", FIGURES)
    assert lines[-1]["reason"] == "too slow"
    assert house.live.listeners == 0


async def test_listeners_of_a_stream_are_bounded() -> None:
    house = House()
    async with trio.open_nursery() as nursery:
        for _ in range(MAX_LISTENERS_PER_STREAM):
            nursery.start_soon(serve, house, stuck_stream())
        await wait_all_tasks_blocked()
        async with listening(house) as ear:
            answer = await ear.peer.get(
                "/api/streams/s/events", fields=f"Authorization: Bearer {KEY}\r\n"
            )
            assert answer.status == 503
            assert error_of(answer) == "too many listen already"
        nursery.cancel_scope.cancel()
    assert house.live.listeners == 0


async def test_listeners_of_all_streams_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_LISTENERS > MAX_LISTENERS_PER_STREAM
    monkeypatch.setattr("origin.health.live_events.MAX_LISTENERS", 1)
    house = House()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, house, stuck_stream())
        await wait_all_tasks_blocked()
        other = Asked(Request("GET", "/"), {"streamId": "t"}, None, None, Principal("key"))
        with pytest.raises(HttpError, match=r"^too many listen already$"):
            await house.live.serve(other, stuck_stream())
        assert "t" not in house.live._listeners
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("checkpoints", range(6))
async def test_cancellation_leaves_nothing_behind(checkpoints: int) -> None:
    house = House()
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, house, theirs)
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()
            house.bus.emit("stream.live", "s")
        nursery.cancel_scope.cancel()
    assert house.live.listeners == 0
    await ours.aclose()


async def test_health_of_what_is_not_live_is_a_conflict() -> None:
    house = House()
    async with listening(house) as ear:
        fields = f"Authorization: Bearer {KEY}\r\n"
        answer = await ear.peer.get("/api/streams/s/health", fields=fields)
        assert (answer.status, json.loads(answer.body)["code"]) == (409, "notLive")
