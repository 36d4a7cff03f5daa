"""One request for all who ask, and how long its answer is kept."""

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from api_app import make_app
from edge_node import MASTER, MEDIA, PART, PATH, STREAM, Asked, EdgeNode, body, reload, wait_for
from scripted_upstream import Script

from edge.edge_store import LOOK_S
from edge.http.messages import Hold
from edge.http.response import Response
from edge.http.routes import App
from edge.live import LiveStreams
from edge.playback.learnt import UNHEARD_S

if TYPE_CHECKING:
    from trio.testing import MockClock

    from .conftest import FakeBackend, Feed


def text_of(feed: "Feed", *, skip: bool = False) -> bytes:
    return b"".join(feed.rendition.timeline.render(skip=skip))


@pytest.fixture
def origin(live: LiveStreams, backend: "FakeBackend") -> App:
    return make_app(live, backend)


# --- one request for all


@pytest.mark.slow
async def test_ten_thousand_for_a_cold_part_a_warm_part_and_a_future_playlist(
    autojump_clock: "MockClock", feed: "Feed", origin: App
) -> None:
    feed.ready().part()
    edge = EdgeNode(origin=origin, prefetch=False)
    async with edge.running():
        warm = f"{STREAM}/source/part-tok-0.4.m4s"
        await edge.get(warm)
        future = reload(1, 1)
        got: list[tuple[str, bytes]] = []

        def ask(name: str, asked: Asked) -> None:
            if isinstance(asked, Response):
                got.append((name, body(asked)))
            else:
                gate = asked.gate
                gate.add(lambda: got.append((name, body(gate.response or asked.late))))

        for _ in range(10_000):
            ask("cold", edge.ask(PART))
            ask("warm", edge.ask(warm))
            ask("future", edge.ask(future))
        await trio.testing.wait_all_tasks_blocked()
        assert len(got) == 20_000
        feed.part()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(edge.server.asked) == [warm, PART, reload(1, 1)]
        expected = [("warm", b"<0.4>"), ("cold", b"<1.0>"), ("future", text_of(feed))]
        for one in expected:
            assert got.count(one) == 10_000
        assert edge.app.counters.coalesced == 2 * 9_999


async def test_a_body_that_is_under_way_is_joined(autojump_clock: "MockClock") -> None:
    edge = EdgeNode()
    edge.server.put(PART, b"0123456789", fields=MEDIA, pieces=10)
    async with edge.running():
        first = edge.ask(PART)
        for _ in range(6):
            await trio.lowlevel.checkpoint()
        second = edge.ask(PART)
        assert isinstance(first, Hold)
        assert isinstance(second, Hold)
        assert second.gate is first.gate
        assert body(await wait_for(second)) == b"0123456789"
    assert edge.server.asked == [PART]


async def test_there_is_no_room_for_more_different_requests(autojump_clock: "MockClock") -> None:
    edge = EdgeNode(max_flights=3)
    edge.server.otherwise = lambda _target: Script(after=trio.Event())
    async with edge.running():
        asked = [edge.ask(f"{STREAM}/source/{n}.m4s") for n in range(4)]
        assert [isinstance(one, Hold) for one in asked] == [True, True, True, False]
        assert edge.app.counters.flights == 3
        assert edge.app.counters.refused == 1
        refused = asked[3]
        assert isinstance(refused, Response)
        assert refused.status == 503
        assert refused.life is None


async def test_whoever_asks_for_all_that_may_come_leaves_room_for_others(
    autojump_clock: "MockClock", feed: "Feed"
) -> None:
    edge = EdgeNode(max_waits=3)
    edge.put_playlist(text_of(feed.ready()))
    edge.server.otherwise = lambda _target: Script(after=trio.Event())
    async with edge.running():
        await edge.get(PATH)
        asked = [edge.ask(reload(1, part)) for part in range(5)]
        assert [isinstance(one, Hold) for one in asked] == [True] * 3 + [False] * 2
        assert isinstance(edge.ask(reload(1, 0, path=f"{STREAM}/720p/playlist.m3u8")), Hold)
        assert isinstance(edge.ask(PART), Hold)


async def test_held_reloads_do_not_keep_media_from_coming(
    autojump_clock: "MockClock", feed: "Feed"
) -> None:
    edge = EdgeNode(max_held=1, max_fetches=1)
    edge.put_playlist(text_of(feed.ready()))
    for part in range(3):
        edge.server.put(reload(1, part), after=trio.Event())
    edge.server.put(PART, b"part", fields=MEDIA)
    async with edge.running():
        await edge.get(PATH)
        for part in range(3):
            edge.ask(reload(1, part))
        await trio.testing.wait_all_tasks_blocked()
        assert sum(edge.server.under_way.values()) == 1
        began_s = trio.current_time()
        hinted = f"{STREAM}/source/{feed.rendition.timeline.hint}"
        edge.ask(hinted)  # waits with the others
        assert body(await edge.get(f"{STREAM}/source/x.m4s")) == b"no"
        assert trio.current_time() == began_s
        assert edge.server.count(hinted) == 0


async def test_the_end_answers_whoever_waits(autojump_clock: "MockClock") -> None:
    edge = EdgeNode()
    edge.server.put(PART, after=trio.Event())
    async with edge.running():
        asked = edge.ask(PART)
        kept = await edge.get(PATH)
        await trio.testing.wait_all_tasks_blocked()
    assert isinstance(asked, Hold)
    assert asked.gate.response is not None
    assert asked.gate.response.status == 503
    assert kept.life is not None
    assert kept.life.ended
    assert edge.server.under_way[PART] == 0
    late = edge.ask(PART)
    assert isinstance(late, Response)
    assert late.status == 503


# --- how long


async def test_media_is_kept_for_as_long_as_it_may_be(autojump_clock: "MockClock") -> None:
    edge = EdgeNode()
    edge.server.put(PART, b"part", fields={**MEDIA, "Cache-Control": "max-age=100", "Age": "40"})
    async with edge.running():
        first = await edge.get(PART)
        await hear(edge, 59.9)
        assert await edge.get(PART) is first
        ended: list[float] = []
        assert first.life is not None
        first.life.add(lambda: ended.append(trio.current_time()))
        assert ended == []
        await trio.sleep(0.2)  # nobody asks
        assert len(ended) == 1
        await edge.get(PART)
    assert edge.server.count(PART) == 2


async def hear(edge: EdgeNode, for_s: float) -> None:
    """Let something of the stream come from upstream every few seconds, as while it is watched."""
    other = PART.replace("part-", "other-")
    edge.server.put(other, b"x")
    until_s = trio.current_time() + for_s
    while trio.current_time() < until_s:
        await trio.sleep(min(4.0, until_s - trio.current_time()))
        await edge.get(other)


async def test_media_of_what_nobody_watches_is_forgotten_sooner(
    autojump_clock: "MockClock",
) -> None:
    edge = EdgeNode()
    edge.server.put(PART, b"part", fields=MEDIA)
    async with edge.running():
        await edge.get(PART)
        await trio.sleep(UNHEARD_S + 2 * LOOK_S)
        await edge.get(PART)
    assert edge.server.count(PART) == 2


@pytest.mark.parametrize("fields", [{}, {"Cache-Control": "no-store"}])
async def test_what_may_not_be_kept_is_fetched_each_time(
    autojump_clock: "MockClock", fields: dict[str, str]
) -> None:
    edge = EdgeNode()
    edge.server.put(PART, b"part", fields=fields)
    async with edge.running():
        for _ in range(2):
            assert (await edge.get(PART)).life is None
    assert edge.server.count(PART) == 2


@pytest.mark.parametrize("status", [400, 403, 404, 410])
async def test_polling_what_is_missing_costs_one_request_a_second(
    autojump_clock: "MockClock", status: int
) -> None:
    edge = EdgeNode()
    edge.server.otherwise = lambda _target: Script(b"no", status=status)
    async with edge.running():
        end_s = trio.current_time() + 10
        polls = 0
        while trio.current_time() < end_s:
            for one in (edge.get(PART), edge.get(MASTER), edge.get(PATH)):
                answer = await one
                assert (answer.status, body(answer)) == (status, b"no")
            polls += 1
            await trio.sleep(0.05)
    assert polls == 200
    for target in (PART, MASTER, PATH):
        assert 10 <= edge.server.count(target) <= 11


@pytest.mark.parametrize("status", [500, 503])
async def test_failures_are_not_kept(autojump_clock: "MockClock", status: int) -> None:
    edge = EdgeNode(patience_s=0.0)
    edge.server.put(PART, status=status, fields={**MEDIA, "Retry-After": "7"})
    async with edge.running():
        answer = await edge.get(PART)
        assert answer.status == 503
        assert dict(answer.fields)[b"retry-after"] == (b"7" if status == 503 else b"1")
        assert answer.life is None
        edge.server.put(PART, b"part", fields=MEDIA)
        assert body(await edge.get(PART)) == b"part"


async def test_half_a_body_is_never_kept(autojump_clock: "MockClock") -> None:
    edge = EdgeNode(patience_s=0.0)
    edge.server.put(PART, b"0123456789", fields=MEDIA, cut_at=9)
    async with edge.running():
        assert (await edge.get(PART)).status == 503
        assert edge.app.counters.held_bytes == 0
        edge.server.put(PART, b"0123456789", fields=MEDIA)
        assert body(await edge.get(PART)) == b"0123456789"


async def test_an_answer_that_makes_no_sense_is_none(autojump_clock: "MockClock") -> None:
    edge = EdgeNode()
    async with edge.running():
        for status in (204, 206, 302, 304, 799):
            edge.server.put(PART, status=status, fields=MEDIA)
            assert (await edge.get(PART)).status == 503


async def test_what_the_cache_has_no_room_for_is_answered(autojump_clock: "MockClock") -> None:
    edge = EdgeNode(cache_bytes=5000)
    edge.server.put(PART, bytes(6000), fields=MEDIA)
    async with edge.running():
        answer = await edge.get(PART)
        assert answer.size_bytes == 6000
        assert answer.life is not None
        assert answer.life.ended  # so that nobody else keeps it


async def test_a_question_of_the_api_is_kept_for_a_second(autojump_clock: "MockClock") -> None:
    edge = EdgeNode()
    edge.server.put("/api/streams/live", b"{}", fields={"Cache-Control": "no-store"})
    async with edge.running():
        for _ in range(30):
            answer = await edge.get("/api/streams/live")
            assert dict(answer.fields)[b"cache-control"] == b"no-store"
            await trio.sleep(0.1)
    assert 3 <= edge.server.count("/api/streams/live") <= 4
