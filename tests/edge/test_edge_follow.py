"""An edge that follows what is watched: what it asks for ahead, how much of it, until when."""

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from api_app import make_app
from edge_node import PART, PATH, STREAM, EdgeNode, body, reload, wait_for
from scripted_upstream import Script

from edge.http.messages import Hold
from edge.http.response import Response
from edge.http.routes import App
from edge.live import LiveStreams
from edge.playlists import ENTRY_BYTES
from edge.prefetch import WATCHED_S

if TYPE_CHECKING:
    from trio.testing import MockClock

    from .conftest import FakeBackend, Feed


def text_of(feed: "Feed", *, skip: bool = False) -> bytes:
    return b"".join(feed.rendition.timeline.render(skip=skip))


@pytest.fixture
def origin(live: LiveStreams, backend: "FakeBackend") -> App:
    return make_app(live, backend)


async def test_the_edge_is_there_first(
    autojump_clock: "MockClock", feed: "Feed", origin: App
) -> None:
    """A player as hls.js: plain, then reload after reload, each time the new part."""
    feed.ready()
    edge = EdgeNode(origin=origin)
    async with edge.running():
        await edge.get(PATH)
        for number in range(5, 40):
            msn, index = divmod(number, 5)
            part = f"{STREAM}/source/part-tok-{msn}.{index}.m4s"
            asked = edge.ask(reload(msn, index, skip=True))
            assert isinstance(asked, Hold)
            await trio.testing.wait_all_tasks_blocked()
            if number > 6:  # followed: the reload and the part wait upstream already
                assert edge.server.under_way[reload(msn, index, skip=True)]
                assert edge.server.under_way[part]
            feed.part()
            answer = await wait_for(asked)
            assert body(answer) == text_of(feed, skip=True)
            await trio.testing.wait_all_tasks_blocked()
            if number > 5:
                kept = edge.ask(part)
                assert isinstance(kept, Response)
                assert body(kept) == b"<%d.%d>" % (msn, index)
            await trio.sleep(0.4)
        others = set(edge.server.asked) - {PATH}
        assert max(edge.server.count(target) for target in others) == 1
        assert edge.app.counters.ahead > 60


async def test_what_it_asks_for_ahead(
    autojump_clock: "MockClock", feed: "Feed", origin: App
) -> None:
    feed.ready().part()
    edge = EdgeNode(origin=origin)
    async with edge.running():
        await edge.get(PATH)
        await edge.get(reload(1, 0))  # there already
        edge.ask(reload(1, 1))
        feed.part()
        await trio.testing.wait_all_tasks_blocked()
    assert edge.server.asked[:2] == [PATH, reload(1, 1)]
    assert sorted(edge.server.asked[2:]) == [  # all at the same time
        *(f"{STREAM}/source/part-tok-1.{part}.m4s" for part in (0, 1, 2)),
        reload(1, 2),
    ]


async def test_it_follows_for_as_long_as_somebody_watches(
    autojump_clock: "MockClock", feed: "Feed", origin: App
) -> None:
    feed.ready()
    edge = EdgeNode(origin=origin)
    async with edge.running():
        await edge.get(PATH)
        edge.ask(reload(1, 0))
        asked: list[int] = []
        for _ in range(40):
            await trio.sleep(0.4)
            feed.part()
            await trio.testing.wait_all_tasks_blocked()
            asked.append(len(edge.server.asked))
        watched = int(WATCHED_S / 0.4) - 1
        assert len(set(asked[:watched])) == watched
        assert len(set(asked[watched + 2 :])) == 1
        assert edge.app.counters.flights == 0


async def test_followed_a_plain_request_needs_no_upstream(
    autojump_clock: "MockClock", feed: "Feed", origin: App
) -> None:
    feed.ready()
    edge = EdgeNode(origin=origin)
    async with edge.running():
        await edge.get(PATH)
        for number in range(5, 15):
            edge.ask(reload(*divmod(number, 5)))
            await trio.testing.wait_all_tasks_blocked()
            feed.part()
            await trio.testing.wait_all_tasks_blocked()
            plain = edge.ask(PATH)
            assert isinstance(plain, Response)
            assert body(plain) == text_of(feed)
            await trio.sleep(0.4)
    assert edge.server.count(PATH) == 1


async def test_a_failure_ends_the_following_until_somebody_asks(
    autojump_clock: "MockClock", feed: "Feed"
) -> None:
    edge = EdgeNode()
    edge.put_playlist(text_of(feed.ready()))
    async with edge.running():
        await edge.get(PATH)
        feed.part()
        edge.put_playlist(text_of(feed), reload(1, 0))
        await edge.get(reload(1, 0))
        await trio.sleep(5)
        asked = list(edge.server.asked)
        assert asked.count(reload(1, 1)) == 1  # 404, and then no more
        await trio.sleep(5)
        assert edge.server.asked == asked


async def test_what_is_followed_takes_half_of_the_flights(
    autojump_clock: "MockClock", feed: "Feed"
) -> None:
    edge = EdgeNode(max_flights=6)
    edge.put_playlist(text_of(feed.ready()))
    async with edge.running():
        await edge.get(PATH)
        edge.server.otherwise = lambda _target: Script(after=trio.Event())
        feed.part()
        edge.put_playlist(text_of(feed), reload(1, 0))
        await edge.get(reload(1, 0))
        await trio.testing.wait_all_tasks_blocked()
        assert edge.app.counters.flights == 2  # and the one that has just landed
        viewers = [edge.ask(f"{PART}{number}") for number in range(5)]
        assert [isinstance(one, Hold) for one in viewers] == [True] * 4 + [False]


async def test_what_there_is_no_room_to_keep_is_not_followed(
    autojump_clock: "MockClock", feed: "Feed"
) -> None:
    small = text_of(feed.ready())
    edge = EdgeNode(playlist_bytes=len(small) + ENTRY_BYTES)
    edge.put_playlist(small)
    async with edge.running():
        await edge.get(PATH)
        feed.part()
        edge.put_playlist(text_of(feed), reload(1, 0))
        assert body(await edge.get(reload(1, 0))) == text_of(feed)
        await trio.testing.wait_all_tasks_blocked()
        assert edge.server.asked == [PATH, reload(1, 0)]
