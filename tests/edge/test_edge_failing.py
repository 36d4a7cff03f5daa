"""When nothing comes: stale for a while, another upstream, "try again"; never a dead end."""

from typing import TYPE_CHECKING

import httpx
import pytest
import trio
import trio.testing
from api_app import make_app
from edge_node import MASTER, MEDIA, PART, PATH, STREAM, EdgeNode, body, reload

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

    from edge.http.response import Response
    from edge.live import LiveStreams

    from .conftest import FakeBackend, Feed


def text_of(feed: "Feed", *, skip: bool = False) -> bytes:
    return b"".join(feed.rendition.timeline.render(skip=skip))


async def test_a_plain_playlist_goes_stale_for_a_while_and_a_blocked_one_never(
    autojump_clock: "MockClock", feed: "Feed"
) -> None:
    edge = EdgeNode()
    text = text_of(feed.ready())
    edge.put_playlist(text)
    edge.server.put(PART, b"part", fields=MEDIA)
    async with edge.running():
        await edge.get(PART)
        await edge.get(PATH)
        edge.server.is_down = True
        began_s = trio.current_time()
        statuses: dict[float, int] = {}
        while (at_s := trio.current_time() - began_s) < 12:
            answer = await edge.get(PATH)
            statuses[at_s] = answer.status
            assert answer.status == 503 or body(answer) == text
            assert body(await edge.get(PART)) == b"part"
            await trio.sleep(0.25)
        assert {status for at_s, status in statuses.items() if at_s <= 6.0} == {200}
        assert {status for at_s, status in statuses.items() if at_s > 7.2} == {503}
        assert 4 <= edge.app.counters.stale <= 6  # one a second
        blocked = await edge.get(reload(1, 0))
        assert blocked.status == 503
        assert dict(blocked.fields)[b"retry-after"] == b"1"


async def test_a_blocked_request_is_not_answered_with_an_older_version_while_that_is_stale(
    autojump_clock: "MockClock", feed: "Feed"
) -> None:
    edge = EdgeNode(patience_s=0.0)
    edge.put_playlist(text_of(feed.ready()))
    async with edge.running():
        await edge.get(PATH)
        edge.server.is_down = True
        await trio.sleep(1.5)
        assert (await edge.get(PATH)).status == 200
        assert (await edge.get(reload(1, 0))).status == 503
        assert (await edge.get(reload(0, 0))).status == 503


async def test_while_delta_updates_are_watched_there_is_a_whole_playlist_to_fall_back_on(
    autojump_clock: "MockClock", feed: "Feed", live: "LiveStreams", backend: "FakeBackend"
) -> None:
    feed.ready()
    edge = EdgeNode(origin=make_app(live, backend))
    async with edge.running():
        await edge.get(PATH)
        for number in range(5, 55):  # 20 s
            edge.ask(reload(*divmod(number, 5), skip=True))
            await trio.sleep(0.4)
            feed.part()
        await trio.testing.wait_all_tasks_blocked()
        assert 7 <= edge.server.count(PATH) <= 11
        edge.server.is_down = True
        fallback = await edge.get(PATH)
        assert fallback.status == 200
        assert body(fallback).startswith(b"#EXTM3U")
        assert b"part-tok-10." in body(fallback)  # of the last two seconds


async def test_nothing_at_all_is_503(autojump_clock: "MockClock") -> None:
    edge = EdgeNode()
    edge.server.is_down = True
    async with edge.running():
        for one in (edge.get(PART), edge.get(MASTER), edge.get(PATH), edge.get(reload(1, 0))):
            answer = await one
            assert answer.status == 503
            assert dict(answer.fields)[b"retry-after"] == b"1"
            assert answer.life is None


async def test_viewers_wait_while_another_upstream_is_asked(
    autojump_clock: "MockClock", feed: "Feed"
) -> None:
    edge = EdgeNode(count=2)
    edge.put_playlist(text_of(feed.ready()))
    first, second = edge.servers
    target = reload(1, 0)
    held = first.put(target, after=trio.Event(), error=httpx.ReadError("killed"))
    feed.part()
    second.put(target, text_of(feed), fields={"Cache-Control": "max-age=12"})
    async with edge.running():
        await edge.get(PATH)
        answers: list[Response] = []

        async def view() -> None:
            answers.append(await edge.get(reload(1, 0)))

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(view)
            await trio.testing.wait_all_tasks_blocked()
            first.is_down = True
            assert held.after is not None
            held.after.set()
        assert [body(answer) for answer in answers] == [text_of(feed)] * 100
        assert (first.count(target), second.count(target)) == (1, 1)


async def test_an_origin_that_starts_again_is_waited_for(
    autojump_clock: "MockClock", feed: "Feed"
) -> None:
    """Down for two seconds: those who are held notice nothing else."""
    edge = EdgeNode()
    edge.put_playlist(text_of(feed.ready()))
    feed.part()
    async with edge.running():
        await edge.get(PATH)
        edge.server.is_down = True
        async with trio.open_nursery() as nursery:
            answers: list[Response] = []

            async def view() -> None:
                answers.append(await edge.get(reload(1, 0)))

            nursery.start_soon(view)
            await trio.sleep(2.0)
            edge.put_playlist(text_of(feed), reload(1, 0))
            edge.server.is_down = False
        assert [body(answer) for answer in answers] == [text_of(feed)]


async def test_a_stream_that_was_live_a_moment_ago_will_be_back(
    autojump_clock: "MockClock", feed: "Feed"
) -> None:
    edge = EdgeNode()
    edge.put_playlist(text_of(feed.ready()))
    async with edge.running():
        await edge.get(PATH)
        edge.server.scripts.clear()
        edge.server.put("/health")
        await trio.sleep(1.1)
        statuses: dict[str, set[int]] = {}
        for _ in range(80):
            for name, asked in (
                ("plain", edge.get(PATH)),
                ("blocked", edge.get(reload(1, 0))),
                ("master", edge.get(MASTER)),
                ("another quality", edge.get(f"{STREAM}/9p/playlist.m3u8")),
                ("media", edge.get(PART)),
            ):
                statuses.setdefault(name, set()).add((await asked).status)
            await trio.sleep(0.1)
        assert statuses == {
            "plain": {200, 503},  # stale, then "try again"
            "blocked": {503},
            "master": {503},
            "another quality": {404},
            "media": {404},
        }
        assert edge.server.count(MASTER) <= 9
        await trio.sleep(3)
        assert (await edge.get(PATH)).status == 404
        assert (await edge.get(MASTER)).status == 404


@pytest.mark.parametrize(("msn", "status"), [(1, 503), (2, 400)])
async def test_an_upstream_that_has_begun_anew_finds_the_next_reload_too_far_ahead(
    autojump_clock: "MockClock", feed: "Feed", msn: int, status: int
) -> None:
    edge = EdgeNode()
    edge.put_playlist(text_of(feed.ready()))
    edge.server.put(reload(msn, 0), status=400)
    async with edge.running():
        await edge.get(PATH)
        assert (await edge.get(reload(msn, 0))).status == status
        await trio.sleep(11)
        assert (await edge.get(reload(msn, 0))).status == 400


async def test_a_broadcast_that_has_ended_is_not_waited_for(
    autojump_clock: "MockClock", feed: "Feed"
) -> None:
    edge = EdgeNode()
    feed.ready()
    feed.rendition.end()
    edge.put_playlist(text_of(feed))
    async with edge.running():
        await edge.get(PATH)
        edge.server.scripts.pop(PATH)
        await trio.sleep(1.1)
        assert (await edge.get(PATH)).status == 404


async def test_what_is_said_of_an_old_broadcast_goes_with_it(
    autojump_clock: "MockClock", feed: "Feed", make_feed: "Callable[[], Feed]"
) -> None:
    edge = EdgeNode()
    master = MASTER
    other = f"{STREAM}/720p/playlist.m3u8"
    edge.put_playlist(text_of(feed.ready()))
    edge.put_playlist(text_of(feed), other)
    edge.server.put(master, b"#EXTM3U old", fields={"Cache-Control": "max-age=60"})
    async with edge.running():
        old = [await edge.get(PATH), await edge.get(other), await edge.get(MASTER)]
        edge.server.put(PART, b"part", fields=MEDIA)
        part = await edge.get(PART)
        new = text_of(make_feed().ready()).replace(b"-tok-", b"-new-")
        await trio.sleep(0.5)
        edge.put_playlist(new, reload(9))
        assert body(await edge.get(reload(9, None))) == new
        assert all(one.life is not None and one.life.ended for one in old)
        assert part.life is not None
        assert not part.life.ended
        assert edge.ask(other) is not old[1]


async def test_a_playlist_of_another_kind_is_kept_as_it_says(autojump_clock: "MockClock") -> None:
    edge = EdgeNode()
    edge.put_playlist(b"#EXTM3U not ours")
    async with edge.running():
        first = await edge.get(PATH)
        assert await edge.get(PATH) is first
        await trio.sleep(1.1)
        assert await edge.get(PATH) is not first
    assert edge.server.count(PATH) == 2


async def test_waiting_takes_as_long_as_the_playlist_says(
    autojump_clock: "MockClock", feed: "Feed"
) -> None:
    edge = EdgeNode()
    edge.put_playlist(text_of(feed.ready()))
    edge.server.put(reload(1, 0), after=trio.Event())
    edge.server.put(PART, after=trio.Event())
    async with edge.running():
        await edge.get(PATH)
        for asked, least_s, most_s in (
            (edge.get(reload(1, 0)), 8.0, 11.0),  # three target durations and a margin
            (edge.get(f"{STREAM}/source/part-tok-9.9.m4s"), 0.0, 0.1),
            (edge.get(PART), 8.0, 11.0),  # the hinted one
        ):
            began_s = trio.current_time()
            await asked
            assert least_s <= trio.current_time() - began_s <= most_s
