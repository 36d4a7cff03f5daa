"""The operations on viewers, over connections."""

import json
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import trio
from http_peers import HttpAnswer

from control import BroadcastAudience, StoreError, ViewerMinute
from edge.api.router import ApiRouter
from edge.api.streams import BackendAccess
from edge.audience.api import Audience
from edge.audience.bare import Pace
from edge.audience.counts import MAX_PER_NETWORK, POINT_S, TIMEOUT_S
from edge.audience.gathering import EDGE_AGENT
from edge.audience.names import Namer, name_of_player
from edge.audience.pace import pace_of
from edge.audience.reports import MAX_ROWS
from edge.events import EventBus, PlatformEvent
from edge.http.routes import App
from edge.live import LiveStreams

if TYPE_CHECKING:
    from trio.testing import MockClock

    from ..conftest import Client, Connect, FakeBackend, Feed

PATH = "/api/streams/a/viewers"


@pytest.fixture
def audience(backend: "FakeBackend") -> Audience:
    backend.add("a", status="live")
    backend.add("idle")
    return Audience(
        lambda stream_id: backend.streams[stream_id].status == "live",
        pace=lambda _stream_id: Pace(0.2, 2.0),
    )


@pytest.fixture
def app(live: LiveStreams, backend: "FakeBackend", audience: Audience) -> App:
    return App(live=live, router=ApiRouter(BackendAccess(backend), audience.operations))


async def sign(client: "Client", viewer: str, path: str = PATH, **more: bool) -> HttpAnswer:
    return await client.post(path, json.dumps({"viewerId": viewer, **more}), token="")


async def test_a_sign_is_answered_with_the_count(
    autojump_clock: "MockClock", connect: "Connect"
) -> None:
    client = connect()
    assert json.loads((await sign(client, "viewer-1")).body) == {"count": 1}
    assert json.loads((await sign(client, "viewer-2")).body) == {"count": 2}
    assert json.loads((await sign(client, "viewer-1")).body) == {"count": 2}
    autojump_clock.jump(12.0)
    shown = json.loads((await client.get(PATH)).body)
    assert shown == {"count": 2, "peak": 2, "watchMinutes": 0.4}
    assert json.loads((await sign(client, "viewer-1", leaving=True)).body) == {"count": 1}


async def test_nobody_watches_what_is_not_live(
    autojump_clock: "MockClock", connect: "Connect", audience: Audience
) -> None:
    answer = await sign(connect(), "viewer-1", "/api/streams/idle/viewers")
    assert json.loads(answer.body) == {"count": 0}
    assert (await sign(connect(), "viewer-1", "/api/streams/none/viewers")).status == 404
    assert audience.count("idle") == 0


@pytest.mark.parametrize(
    "body",
    ["", "{}", '{"viewerId": "short"}', '{"viewerId": "viewer 1"}', '{"viewerId": 12345678}'],
)
async def test_a_bad_sign(
    autojump_clock: "MockClock", connect: "Connect", audience: Audience, body: str
) -> None:
    assert (await connect().post(PATH, body, token="")).status == 400
    assert audience.count("a") == 0


async def test_so_many_from_one_address(
    autojump_clock: "MockClock", connect: "Connect", audience: Audience
) -> None:
    client = connect(requests_burst=2 * MAX_PER_NETWORK)
    for number in range(MAX_PER_NETWORK):
        await sign(client, f"viewer-{number}")
    answer = await sign(client, "one-more")
    assert (answer.status, answer.fields["retry-after"]) == (429, "30")
    assert audience.count("a") == MAX_PER_NETWORK


async def test_history_is_for_the_owner(
    autojump_clock: "MockClock", connect: "Connect", audience: Audience, nursery: "trio.Nursery"
) -> None:
    await nursery.start(audience.run)
    client = connect()
    await sign(client, "viewer-1")
    autojump_clock.jump(POINT_S + 1)
    assert (await client.get(f"{PATH}/history")).status == 401
    for token in ("key-a", "admin"):
        fields = f"Authorization: Bearer {token}\r\n"
        answer = await connect().get(f"{PATH}/history?minutes=5", fields=fields)
        (point,) = json.loads(answer.body)["points"]
        assert (point["count"], point["peak"]) == (0, 1)
        assert point["at"].endswith("Z")


async def test_a_broadcast_has_figures_of_its_own(
    autojump_clock: "MockClock", connect: "Connect", audience: Audience
) -> None:
    bus = EventBus()
    bus.listen(audience.on_event)
    client = connect()
    await sign(client, "viewer-1")
    await sign(client, "viewer-1", leaving=True)
    assert audience.figures("a").peak == 1
    bus.emit("stream.live", "a")
    assert audience.figures("a").peak == 0
    await sign(client, "viewer-1")
    bus.emit("stream.deleted", "a")
    assert audience.count("a") == 0


def note(audience: Audience, **changed: Any) -> None:
    """Tell of one request; any of it may be changed."""
    told = {
        "stream_id": "a",
        "client": "192.0.2.7",
        "agent": 7,
        "cmcd": "",
        "blocking": 1,
        "plain": 0,
    }
    audience.note(**{**told, **changed})


def cmcd(sid: str, more: str = "") -> str:
    return quote(f'br=3000,sid="{sid}"{more}', safe="")


async def test_bare_players_are_counted_by_how_often_they_ask(
    autojump_clock: "MockClock", audience: Audience, nursery: "trio.Nursery"
) -> None:
    await nursery.start(audience.run)
    note(audience, agent=EDGE_AGENT)
    note(audience, stream_id="idle")
    note(audience, client="2001:db8::1", plain=1, blocking=0)
    await trio.sleep(1.1)
    assert audience.count("a") == 1
    for _ in range(4):
        for _player in range(10):
            note(audience, blocking=25)
        note(audience, client="2001:db8::2", plain=1, blocking=0)  # the same network
        await trio.sleep(5)
    assert audience.count("a") == 11
    assert audience.count("idle") == 0
    await trio.sleep(30)
    assert audience.figures("a").count == 0
    assert audience.figures("a").peak == 11


async def test_a_page_and_its_player_are_one(
    autojump_clock: "MockClock", connect: "Connect", audience: Audience, nursery: "trio.Nursery"
) -> None:
    await nursery.start(audience.run)
    client = connect()
    note(audience, cmcd=cmcd("viewer-1"))
    assert audience.count("a") == 1
    await sign(client, "viewer-1")
    note(audience, cmcd=cmcd("viewer-1"), client="198.51.100.1", blocking=0)
    note(audience, cmcd=cmcd("another-player"))
    await trio.sleep(2)
    assert audience.count("a") == 2
    await sign(client, "viewer-1", leaving=True)
    note(audience, cmcd=cmcd("viewer-1"))
    assert audience.count("a") == 1


async def test_a_page_whose_player_has_no_name_is_one(
    autojump_clock: "MockClock", connect: "Connect", audience: Audience, nursery: "trio.Nursery"
) -> None:
    await nursery.start(audience.run)
    await sign(connect(), "viewer-1", native=True)
    for _ in range(3):
        note(audience, client="", blocking=25)
        await trio.sleep(5)
    assert audience.count("a") == 1


async def test_quality_is_what_players_say(
    autojump_clock: "MockClock", connect: "Connect", audience: Audience
) -> None:
    async def shown() -> dict[str, Any]:
        fields = "Authorization: Bearer key-a\r\n"
        answer = await connect().get("/api/streams/a/quality", fields=fields)
        found: dict[str, Any] = json.loads(answer.body)
        return found

    assert (await connect().get("/api/streams/a/quality")).status == 401
    nothing = await shown()
    assert nothing == {
        "viewers": 0,
        "samples": 0,
        "rebuffering": 0.0,
        "bitrateKbps": None,
        "bufferMs": None,
        "throughputKbps": None,
    }
    for number in range(4):
        note(audience, cmcd=cmcd(f"viewer-{number}", ",bl=700" + ",bs" * (number == 0)))
    autojump_clock.jump(10.0)
    said = await shown()
    assert (said["viewers"], said["samples"], said["rebuffering"]) == (4, 4, 0.25)
    assert said["bitrateKbps"]["p50"] == pytest.approx(3000, rel=0.08)
    assert said["bufferMs"]["p95"] == pytest.approx(700, rel=0.08)
    assert said["throughputKbps"] is None


EDGE = "0123456789abcdef"
KEYS = [f"{number:016x}" for number in range(1000)]


async def report(client: "Client", *streams: Any, token: str = "admin", **more: Any) -> HttpAnswer:
    body = {"reporter": EDGE, "streams": list(streams), **more}
    return await client.post("/api/edge/audience", json.dumps(body), token=token)


async def test_an_edge_tells_of_its_viewers(
    autojump_clock: "MockClock", connect: "Connect", audience: Audience, nursery: "trio.Nursery"
) -> None:
    await nursery.start(audience.run)
    client = connect()
    page = {"key": name_of_player("viewer-1"), "network": KEYS[0], "page": True}
    viewers = [page, {"key": KEYS[1], "network": KEYS[0]}]
    bare = [{"key": KEYS[2], "network": KEYS[3], "blockingPerS": 50.2, "plainPerS": 1.5}]
    words = {"samples": 2, "rebuffering": 1, "bitrate": [0] * 20 + [2]}
    answer = await report(
        client,
        {"streamId": "a", "viewers": viewers, "bare": bare, "words": words},
        {"streamId": "idle", "viewers": viewers, "bare": bare, "words": words},
    )
    assert (answer.status, json.loads(answer.body)) == (200, {"counts": {"a": 2}})
    await sign(client, "viewer-1")  # the same page, by another way
    await trio.sleep(1.1)
    assert audience.count("a") == 2 + 12
    answer = await report(client, {"streamId": "a", "bare": bare}, reporter="f" * 16)
    await trio.sleep(1.1)
    assert audience.count("a") == 2 + 24, "another process's players"
    goodbye = {**page, "leaving": True}
    await report(client, {"streamId": "a", "viewers": [goodbye]})
    assert audience.count("a") == 1 + 24
    await trio.sleep(TIMEOUT_S + 1)
    assert audience.count("a") == 0
    assert audience.count("idle") == 0


@pytest.mark.parametrize(
    "stream",
    [
        {},
        {"streamId": ""},
        {"streamId": "a", "more": 1},
        {"streamId": "a", "viewers": [{"key": "short", "network": KEYS[0]}]},
        {"streamId": "a", "viewers": [{"key": KEYS[0]}]},
        {"streamId": "a", "viewers": [{"key": KEYS[0], "network": KEYS[0]}] * (MAX_ROWS + 1)},
        {"streamId": "a", "bare": [{"key": KEYS[0], "network": KEYS[0], "plainPerS": -1}]},
        {"streamId": "a", "bare": [{"key": KEYS[0], "network": KEYS[0], "plainPerS": 1e9}]},
        {"streamId": "a", "words": {"samples": -1}},
        {"streamId": "a", "words": {"samples": 1, "bitrate": [0] * 65}},
    ],
)
async def test_a_bad_report(
    autojump_clock: "MockClock", connect: "Connect", audience: Audience, stream: Any
) -> None:
    assert (await report(connect(), stream)).status == 400
    assert audience.count("a") == 0


async def test_a_report_needs_a_token(
    autojump_clock: "MockClock", connect: "Connect", audience: Audience
) -> None:
    viewer = {"key": KEYS[0], "network": KEYS[0]}
    for token in ("", "key-a", "wrong"):
        answer = await report(connect(), {"streamId": "a", "viewers": [viewer]}, token=token)
        assert answer.status == 401
    assert audience.count("a") == 0


def test_names_tell_nothing_and_meet() -> None:
    assert name_of_player("viewer-1") == name_of_player("viewer-1") != name_of_player("viewer-2")
    ours, same, other = Namer(b"one"), Namer(b"one"), Namer(b"two")
    assert ours.bare("192.0.2.1", 7) == same.bare("192.0.2.1", 7)
    assert ours.bare("192.0.2.1", 7) != other.bare("192.0.2.1", 7)
    assert ours.bare("192.0.2.1", 7) != ours.bare("192.0.2.1", 8)
    assert ours.network("192.0.2.1") not in (ours.network("192.0.2.2"), other.network("192.0.2.1"))
    with pytest.raises(ValueError, match="secret"):
        Namer(b"")


class FakeStore:
    """Keeps rows in lists, and may fail."""

    def __init__(self) -> None:
        self.minutes: list[ViewerMinute] = []
        self.broadcasts: dict[float, BroadcastAudience] = {}
        self.pruned: list[float] = []
        self.is_failing = False

    async def put(
        self, minutes: Sequence[ViewerMinute], broadcasts: Sequence[BroadcastAudience]
    ) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_failing:
            raise StoreError("the disk is full")
        self.minutes += minutes
        self.broadcasts |= {row.started_at: row for row in broadcasts}

    async def list_minutes(self, stream_id: str, *, since: float, limit: int) -> list[ViewerMinute]:
        await trio.lowlevel.checkpoint()
        if self.is_failing:
            raise StoreError("the disk is gone")
        return [row for row in self.minutes if row.at >= since][-limit:]

    async def list_broadcasts(self, stream_id: str, *, limit: int) -> list[BroadcastAudience]:
        await trio.lowlevel.checkpoint()
        if self.is_failing:
            raise StoreError("the disk is gone")
        return sorted(self.broadcasts.values(), key=lambda row: -row.started_at)[:limit]

    async def prune(self, *, minutes_before: float, broadcasts_before: float) -> int:
        await trio.lowlevel.checkpoint()
        self.pruned.append(minutes_before)
        return 0


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def kept_audience(backend: "FakeBackend", store: FakeStore) -> Audience:
    backend.add("a", status="live")
    return Audience(lambda _: True, store=store, wall_clock=lambda: trio.current_time() + 1e6)


@pytest.fixture
def kept_app(live: LiveStreams, backend: "FakeBackend", kept_audience: Audience) -> App:
    return App(live=live, router=ApiRouter(BackendAccess(backend), kept_audience.operations))


def event(kind: str, at: float) -> PlatformEvent:
    return PlatformEvent(id="x", type=kind, stream_id="a", at=round(at * 1000))


async def test_the_history_is_kept(
    autojump_clock: "MockClock",
    connect: "Connect",
    kept_audience: Audience,
    kept_app: App,
    store: FakeStore,
    nursery: "trio.Nursery",
) -> None:
    async def ask(path: str) -> Any:
        answer = await connect(kept_app).get(path, fields="Authorization: Bearer key-a\r\n")
        return json.loads(answer.body) if answer.status == 200 else answer.status

    await nursery.start(kept_audience.run)
    begun_s = trio.current_time() + 1e6
    kept_audience.on_event(event("stream.live", begun_s))
    client = connect(kept_app)
    await sign(client, "viewer-1")
    store.is_failing = True
    await trio.sleep(2 * POINT_S + 1)
    assert store.minutes == []
    assert await ask(f"{PATH}/history") == await ask(f"{PATH}/broadcasts") == 503
    store.is_failing = False
    await trio.sleep(POINT_S)
    (minute,) = store.minutes  # in the others nobody watched
    assert (minute.count, minute.peak, minute.at % 60) == (0, 1, 0)
    assert len((await ask(f"{PATH}/history"))["points"]) == 1
    (running,) = (await ask(f"{PATH}/broadcasts"))["broadcasts"]
    assert (running["endedAt"], running["peak"], running["watchMinutes"]) == (None, 1, 0.5)
    kept_audience.on_event(event("stream.ended", begun_s + 200))
    await trio.sleep(0.1)
    (row,) = store.broadcasts.values()
    assert row.started_at == pytest.approx(begun_s)
    assert (row.peak, row.watched_s) == (1, 30.0)
    assert row.ended_at == pytest.approx(trio.current_time() + 1e6, abs=1)
    (over,) = (await ask(f"{PATH}/broadcasts?limit=1"))["broadcasts"]
    assert over["endedAt"] is not None
    assert len(store.pruned) == 1


async def test_what_cannot_be_kept_has_a_bound(
    autojump_clock: "MockClock",
    kept_audience: Audience,
    store: FakeStore,
    nursery: "trio.Nursery",
    monkeypatch: pytest.MonkeyPatch,
    logged: list[Any],
) -> None:
    monkeypatch.setattr(kept_audience._keeping, "_ended", deque(maxlen=3))
    store.is_failing = True
    await nursery.start(kept_audience.run)
    for number in range(5):
        kept_audience.on_event(event("stream.live", 1000.0 + number))
        kept_audience.on_event(event("stream.ended", 1000.0 + number))
        await trio.sleep(1)
    store.is_failing = False
    await trio.sleep(POINT_S)
    assert sorted(store.broadcasts) == [1002.0, 1003.0, 1004.0]
    assert [entry["event"] for entry in logged].count("viewers cannot be stored") == 1


def test_the_pace_is_measured(live: LiveStreams, feed: "Feed") -> None:
    assert pace_of(None) is None
    assert pace_of(live.get("one")) is None
    feed.ready()
    assert pace_of(live.get("one")) == Pace(pytest.approx(0.4), 2.0)  # type: ignore[arg-type]
