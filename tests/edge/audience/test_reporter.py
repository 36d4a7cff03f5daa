"""An edge's viewers are told of upstream: what a report holds, when it is lost, what pages hear."""

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import pytest
import trio
from http_peers import HttpAnswer

from edge.api.router import ApiRouter
from edge.api.streams import BackendAccess
from edge.audience import gathering as module
from edge.audience.api import Audience
from edge.audience.bare import Pace
from edge.audience.cadence import BareRate
from edge.audience.gathering import EDGE_AGENT, KEEP_S, RETELL_S, Gathering
from edge.audience.names import Namer, name_of_player
from edge.audience.quality import SLOT_S, Tally
from edge.audience.reporter import KNOWN_S, MAX_REPORTS, PATH, REPORT_S, TIMEOUT_S, EdgeAudience
from edge.audience.reports import MAX_REPORT_BYTES, EdgeReport, SeenViewer, pack
from edge.edge_app import EdgeApp
from edge.edge_settings import EdgeSettings
from edge.http.messages import Call, Request
from edge.http.routes import App
from edge.http.settings import HttpSettings
from edge.live import LiveStreams
from edge.upstream_lanes import Fetched, UpstreamError

if TYPE_CHECKING:
    from trio.testing import MockClock

    from ..conftest import Client, Connect, FakeBackend

S = "stream"
TOKEN = "edge-token-0123456789"
REPORTER = "0" * 16
VIEWERS = f"/api/streams/{S}/viewers"


@pytest.fixture
def gathering() -> Gathering:
    return Gathering(REPORTER, Namer(b"secret"))


def note(gathering: Gathering, now_s: float = 0.0, **changed: Any) -> None:
    told = {
        "stream_id": S,
        "client": "192.0.2.7",
        "agent": 7,
        "cmcd": "",
        "blocking": 25,
        "plain": 0,
        "now_s": now_s,
    }
    gathering.note(**{**told, **changed})


def cmcd(sid: str, more: str = "") -> str:
    return quote(f'br=3000,sid="{sid}"{more}', safe="")


def sign(gathering: Gathering, viewer: str, now_s: float = 0.0, **more: Any) -> None:
    flags = {"leaving": False, "unnamed": False, **more}
    gathering.sign(S, viewer, "192.0.2.7", now_s=now_s, **flags)


def only(gathering: Gathering, now_s: float) -> list[SeenViewer]:
    """Viewers in what is there to tell, which is told."""
    rows = []
    for report in gathering.reports(now_s):
        for part in report.streams:
            rows += part.viewers
        gathering.told(report, now_s)
    return rows


def test_a_report_holds_what_was_heard(gathering: Gathering) -> None:
    note(gathering, agent=EDGE_AGENT)
    note(gathering)
    note(gathering, cmcd=cmcd("player-1"))
    note(gathering, cmcd=cmcd("player-2"), blocking=0)
    sign(gathering, "viewer-1", unnamed=True)
    (report,) = gathering.reports(5.0)
    (part,) = report.streams
    assert (report.reporter, part.stream_id) == (REPORTER, S)
    network = part.viewers[0].network
    assert part.viewers == [
        SeenViewer(key=name_of_player("player-1"), network=network),
        SeenViewer(key=name_of_player("player-2"), network=network, unnamed=True),
        SeenViewer(key=name_of_player("viewer-1"), network=network, page=True, unnamed=True),
    ]
    (bare,) = part.bare
    assert (bare.network, bare.blocking_per_s, bare.plain_per_s) == (network, 5.0, 0.0)
    assert part.words is None
    text = msgspec.json.encode(report)
    assert b"192.0" not in text
    assert b"player" not in text
    assert msgspec.json.decode(text, type=EdgeReport) == report
    (later,) = gathering.reports(SLOT_S)
    assert later.streams[0].words is not None
    assert later.streams[0].words.samples == 2
    (again,) = gathering.reports(SLOT_S + 1)
    assert again.streams[0].words is None, "words are said once"


def test_a_viewer_is_told_of_now_and_then(gathering: Gathering) -> None:
    times = []
    for at_s in range(0, 40, 5):
        note(gathering, at_s, cmcd=cmcd("player"))
        times += [at_s] * len(only(gathering, float(at_s)))
    assert times == [0, 10, 20, 30]


def test_a_page_says_more_than_its_player(gathering: Gathering) -> None:
    note(gathering, 0.0, cmcd=cmcd("page"))
    sign(gathering, "page", 1.0)
    note(gathering, 2.0, cmcd=cmcd("page"))
    (row,) = only(gathering, 3.0)
    assert row.page
    note(gathering, 4.0, cmcd=cmcd("page"))
    assert only(gathering, 5.0) == []
    sign(gathering, "page", 6.0)
    sign(gathering, "page", 7.0, leaving=True)
    note(gathering, 7.5, cmcd=cmcd("page"))
    (row,) = only(gathering, 8.0)
    assert row.leaving
    note(gathering, 8.0 + RETELL_S, cmcd=cmcd("page"))
    assert len(only(gathering, 8.0 + RETELL_S)) == 1


def test_what_is_not_told_waits_and_is_dropped(gathering: Gathering) -> None:
    sign(gathering, "page", 0.0)
    sign(gathering, "other", 5.0)
    assert len(list(gathering.reports(5.0))) == 1
    (report,) = gathering.reports(KEEP_S)
    assert len(report.streams[0].viewers) == 2
    sign(gathering, "other", KEEP_S, leaving=True)  # meanwhile
    gathering.told(report, KEEP_S)
    (report,) = gathering.reports(KEEP_S + 1)
    assert [row.leaving for row in report.streams[0].viewers] == [True]
    sign(gathering, "page", 20.0)
    assert list(gathering.reports(20.1 + KEEP_S)) == []
    assert (len(gathering), gathering.dropped) == (0, 2)


def test_viewers_that_wait_have_a_bound(
    gathering: Gathering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_VIEWERS", 2)
    for name in ("one", "two", "three", "one"):
        sign(gathering, name)
    assert (len(gathering), gathering.dropped) == (2, 1)


def test_one_network_takes_no_places(gathering: Gathering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PER_NETWORK", 2)
    for number in range(5):
        note(gathering, cmcd=cmcd(f"made-up-{number}"))
    note(gathering, cmcd=cmcd("far"), client="198.51.100.1")
    assert (len(gathering), gathering.dropped) == (3, 3)
    note(gathering, cmcd=cmcd("made-up-0"))
    (report,) = gathering.reports(SLOT_S)
    assert report.streams[0].words is not None
    assert report.streams[0].words.samples == 3, "nor do they speak"
    gathering.told(report, SLOT_S)
    assert gathering._networks == {}


def test_a_large_audience_is_several_reports() -> None:
    viewers = {
        f"stream-{stream}": [
            SeenViewer(key=f"{n:016x}", network=f"{n:016x}", page=True, leaving=True, unnamed=True)
            for n in range(count)
        ]
        for stream, count in enumerate([1, 450, 200, 3000])
    }
    rates = [
        BareRate(f"stream-{n % 3}", f"{n:016x}", f"{n:016x}", 123456.789, 123456.789)
        for n in range(2000)
    ]
    tally = Tally(samples=10**6)
    for histogram in (tally.bitrate, tally.buffer, tally.throughput):
        histogram.counts = [10**6] * 64
    words = {f"words-{n}": tally for n in range(300)}
    reports = list(pack(REPORTER, viewers, rates, words))
    sizes = [len(msgspec.json.encode(report)) for report in reports]
    assert max(sizes) <= MAX_REPORT_BYTES < HttpSettings().max_body_bytes
    assert len(reports) < 1.3 * sum(sizes) / MAX_REPORT_BYTES + 1
    again = [
        msgspec.json.decode(msgspec.json.encode(report), type=EdgeReport) for report in reports
    ]
    parts = [part for report in again for part in report.streams]
    for stream_id, rows in viewers.items():
        found = [row for part in parts if part.stream_id == stream_id for row in part.viewers]
        assert found == rows
    assert sum(len(part.bare) for part in parts) == 2000
    assert [part.words.tally for part in parts if part.words is not None] == [tally] * 300
    assert list(pack(REPORTER, {}, [], {})) == []


class FakeUpstreams:
    """Answers reports with what it is told to, and keeps them."""

    def __init__(self) -> None:
        self.reports: list[EdgeReport] = []
        self.fields: dict[str, str] = {}
        self.status = 200
        self.error: Exception | None = None
        self.is_hanging = False
        self.body = b'{"counts": {"%b": 7}}' % S.encode()

    async def call(self, method: str, target: str, fields: dict[str, str], body: bytes) -> Fetched:
        assert (method, target) == ("POST", PATH)
        self.fields = fields
        await trio.lowlevel.checkpoint()
        if self.is_hanging:
            await trio.sleep_forever()
        if self.error is not None:
            raise self.error
        if self.status == 200:
            self.reports.append(msgspec.json.decode(body, type=EdgeReport))
        return Fetched(self.status, {}, self.body)


@pytest.fixture
def upstreams() -> FakeUpstreams:
    return FakeUpstreams()


@pytest.fixture
def edge_audience(upstreams: FakeUpstreams) -> EdgeAudience:
    return EdgeAudience(upstreams, token=TOKEN, via="1.1 me")


async def beat(audience: EdgeAudience, viewer: str, **more: bool) -> int:
    body = json.dumps({"viewerId": viewer, **more}).encode()
    answer = await audience.hear(Request("POST", VIEWERS), body)
    return int(json.loads(b"".join(answer.chunks))["count"])


async def test_pages_hear_what_the_upstream_says(
    autojump_clock: "MockClock",
    upstreams: FakeUpstreams,
    edge_audience: EdgeAudience,
    nursery: trio.Nursery,
) -> None:
    nursery.start_soon(edge_audience.run)
    assert edge_audience.count(S) is None
    edge_audience.learn(S, Fetched(200, {}, b'{"count": 3}'))
    assert edge_audience.count(S) == 3
    for bad in (
        Fetched(404, {}, b'{"count": 9}'),
        Fetched(200, {}, b"\xff"),
        Fetched(200, {}, b"{}"),
    ):
        edge_audience.learn(S, bad)
    assert await beat(edge_audience, "viewer-1") == 3
    await trio.sleep(1.2 * REPORT_S)
    (report,) = upstreams.reports
    assert upstreams.fields["Authorization"] == f"Bearer {TOKEN}"
    assert report.streams[0].viewers[0].key == name_of_player("viewer-1")
    assert await beat(edge_audience, "viewer-1") == 7
    upstreams.body = b'{"counts": {}}'
    assert await beat(edge_audience, "viewer-2") == 7
    await trio.sleep(1.2 * REPORT_S)
    assert edge_audience.count(S) is None, "it is not live any more"
    assert await beat(edge_audience, "viewer-1") == 1
    assert await beat(edge_audience, "viewer-1", leaving=True) == 0
    edge_audience.learn(S, Fetched(200, {}, b'{"count": 3}'))
    await trio.sleep(KNOWN_S)
    assert edge_audience.count(S) is None, "nobody has said so lately"


@pytest.mark.parametrize("trouble", ["error", "status", "body", "hang"])
async def test_what_is_not_taken_is_told_again(
    autojump_clock: "MockClock",
    upstreams: FakeUpstreams,
    edge_audience: EdgeAudience,
    nursery: trio.Nursery,
    logged: list[Any],
    trouble: str,
) -> None:
    nursery.start_soon(edge_audience.run)
    good = upstreams.body
    if trouble == "error":
        upstreams.error = UpstreamError("it is away", was_sent=False)
    elif trouble == "status":
        upstreams.status = 403
    elif trouble == "body":
        upstreams.body = b'{"counts": {"a": "b"}}'
    else:
        upstreams.is_hanging = True
    await beat(edge_audience, "viewer-1")
    late_s = TIMEOUT_S if trouble == "hang" else 0.0
    await trio.sleep(1.2 * REPORT_S + late_s)
    assert upstreams.reports == [] or trouble == "body"
    upstreams.reports.clear()
    upstreams.error, upstreams.status, upstreams.body, upstreams.is_hanging = None, 200, good, False
    await trio.sleep(1.2 * REPORT_S)
    (report,) = upstreams.reports
    assert report.streams[0].viewers[0].key == name_of_player("viewer-1")
    events = [entry["event"] for entry in logged]
    assert events == [
        "viewers are not counted: the upstream takes no report",
        "viewers are counted again",
    ]
    assert TOKEN not in str(logged)


async def test_a_round_has_a_bound(
    autojump_clock: "MockClock",
    upstreams: FakeUpstreams,
    edge_audience: EdgeAudience,
    nursery: trio.Nursery,
) -> None:
    nursery.start_soon(edge_audience.run)
    for number in range(module.MAX_VIEWERS):
        edge_audience.note(
            stream_id=S,
            client=f"10.0.{number >> 8}.{number & 255}",
            agent=7,
            cmcd=cmcd(f"p{number}"),
            blocking=1,
            plain=0,
        )
    await trio.sleep(1.2 * REPORT_S)
    assert 0 < len(upstreams.reports) <= MAX_REPORTS
    await trio.sleep(5 * REPORT_S)
    parts = [part for report in upstreams.reports for part in report.streams]
    keys = {row.key for part in parts for row in part.viewers}
    assert len(keys) == module.MAX_VIEWERS


# --- an edge before an origin


@pytest.fixture
def audience(backend: "FakeBackend") -> Audience:
    backend.add(S, status="live")
    return Audience(lambda stream_id: stream_id == S, pace=lambda _stream_id: Pace(0.2, 2.0))


class OriginUpstreams:
    """An origin's API, asked directly."""

    def __init__(self, connect: "Connect", app: App | EdgeApp) -> None:
        self._connect, self._app = connect, app

    async def call(self, method: str, target: str, fields: dict[str, str], body: bytes) -> Fetched:
        token = fields.get("Authorization", "Bearer ").removeprefix("Bearer ")
        client = self._connect(self._app)
        answer = await client.post(target, body.decode(), token=token)
        return Fetched(answer.status, {}, answer.body)


async def test_an_edge_above_an_edge_and_pages_at_all(
    autojump_clock: "MockClock",
    connect: "Connect",
    live: LiveStreams,
    backend: "FakeBackend",
    audience: Audience,
    nursery: trio.Nursery,
) -> None:
    origin = App(live=live, router=ApiRouter(BackendAccess(backend), audience.operations))
    edges: list[EdgeApp] = []
    for _ in range(2):
        edge = EdgeApp(
            EdgeSettings(upstreams=("http://up",), upstream_token="admin", prefetch=False)
        )
        upstream = OriginUpstreams(connect, origin if not edges else edges[0])
        edge._upstreams = upstream  # type: ignore[assignment]
        assert edge.audience is not None
        edge.audience._upstreams = upstream
        nursery.start_soon(edge.audience.run)
        edges.append(edge)
    await nursery.start(audience.run)

    async def say(app: Any, viewer: str, **more: bool) -> HttpAnswer:
        client: Client = connect(app)
        return await client.post(VIEWERS, json.dumps({"viewerId": viewer, **more}), token="")

    for number, app in enumerate((origin, *edges)):
        assert json.loads((await say(app, f"viewer-{number}")).body)["count"] in (
            number,  # what the edge knows
            number + 1,
        )
    await trio.sleep(1)
    for number, app in enumerate((origin, *edges)):
        assert json.loads((await say(app, f"viewer-{number}")).body)["count"] >= 1
        player = quote(f'sid="viewer-{number}"')
        hears = app.audience if isinstance(app, EdgeApp) else audience
        assert hears is not None
        hears.note(stream_id=S, client="", agent=1, cmcd=player, blocking=9, plain=0)
    await trio.sleep(2 * REPORT_S)
    assert audience.count(S) == 3
    for number, app in enumerate(edges, 1):
        assert isinstance(app.route(Request("POST", VIEWERS)), Call)
        assert json.loads((await say(app, f"viewer-{number}", leaving=True)).body)["count"] >= 0
    await trio.sleep(3 * REPORT_S)
    assert audience.count(S) == 1
    assert json.loads((await say(edges[1], "bad id")).body)["error"]
