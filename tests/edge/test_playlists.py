"""Which version answers what: fresh, newest, stale, of another broadcast; and the bound."""

from typing import TYPE_CHECKING

import pytest

from edge.http.response import Response
from edge.lifetimes import Lifetimes
from edge.playlists import ENTRY_BYTES, Playlists
from hls.request import Directives

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Feed

STREAM = "/api/streams/one"
PATH = f"{STREAM}/source/playlist.m3u8"
OTHER = f"{STREAM}/720p/playlist.m3u8"
PLAIN = Directives()


class Shelf:
    """Playlists with a clock that is set by hand."""

    def __init__(self, *, max_bytes: int = 1_000_000) -> None:
        self.lifetimes = Lifetimes()
        self.voided: list[str] = []
        self.playlists = Playlists(
            self.lifetimes, max_bytes=max_bytes, on_new_broadcast=self.voided.append
        )
        self.now_s = 100.0

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.lifetimes.end_due(self.now_s)

    def take(
        self,
        text: bytes,
        directives: Directives = PLAIN,
        *,
        path: str = PATH,
        kept_s: float = 12.0,
        is_followed: bool = True,
        etag: str | None = '"tag"',
    ) -> Response | None:
        return self.playlists.take(
            path,
            directives,
            text,
            etag=etag,
            kept_s=kept_s,
            is_followed=is_followed,
            now_s=self.now_s,
        )

    def find(self, directives: Directives = PLAIN, path: str = PATH) -> Response | None:
        return self.playlists.find(path, directives, self.now_s)

    def stale(self, directives: Directives = PLAIN) -> Response | None:
        return self.playlists.stale(PATH, directives, self.now_s)


def text_of(feed: "Feed", *, skip: bool = False) -> bytes:
    return b"".join(feed.rendition.timeline.render(skip=skip))


def body(response: Response | None) -> bytes:
    assert response is not None
    return b"".join(response.chunks)


def fields(response: Response | None) -> dict[bytes, bytes]:
    assert response is not None
    return dict(response.fields)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_one_version_answers_under_every_url_that_it_is_right_for(
    shelf: Shelf, feed: "Feed"
) -> None:
    feed.ready().part()  # (1, 0) is there
    text = text_of(feed)
    waited = shelf.take(text, Directives(1, 0))
    assert body(waited) == text
    assert fields(waited)[b"cache-control"] == b"public, max-age=12"
    assert fields(waited)[b"etag"] == b'"tag"'
    assert shelf.find(Directives(1, 0)) is waited
    assert shelf.find(Directives(0, None)) is waited
    plain = shelf.find()
    assert body(plain) == text
    assert fields(plain)[b"cache-control"] == b"public, max-age=0, s-maxage=1"
    for future in (Directives(1, 1), Directives(1, None), Directives(2, 0)):
        assert shelf.find(future) is None
    assert shelf.find(Directives(1, 0, skip=True)) is None  # another form
    assert shelf.find(path=OTHER) is None


def test_a_version_ends_with_the_next_one(shelf: Shelf, feed: "Feed") -> None:
    feed.ready()
    first = shelf.take(text_of(feed))
    assert first is not None
    assert first.life is not None
    feed.part()
    second = shelf.take(text_of(feed), Directives(1, 0))
    assert first.life.ended
    assert shelf.find(Directives(0, 0)) is second
    assert shelf.playlists.size_bytes == len(text_of(feed)) + ENTRY_BYTES


@pytest.mark.parametrize(
    ("kept_s", "is_followed", "fresh_s"),
    [
        (12.0, True, 2.0),  # a target duration
        (12.0, False, 1.0),
        (1.0, True, 1.0),  # what the upstream says
        (0.25, False, 0.25),
    ],
)
def test_how_long_a_version_is_fresh(
    shelf: Shelf, feed: "Feed", kept_s: float, is_followed: bool, fresh_s: float
) -> None:
    shelf.take(text_of(feed.ready()), kept_s=kept_s, is_followed=is_followed)
    shelf.pass_time(fresh_s - 0.01)
    assert shelf.find() is not None
    shelf.pass_time(0.02)
    assert shelf.find() is None
    assert shelf.find(Directives(0, 0)) is None


def test_a_form_that_is_not_followed_any_more_does_not_stay_behind(
    shelf: Shelf, feed: "Feed"
) -> None:
    shelf.take(text_of(feed.ready()), Directives(0, None))
    for _ in range(2):
        shelf.pass_time(0.4)
        feed.part()
        shelf.take(text_of(feed, skip=True), Directives(1, 0, skip=True))
        assert shelf.find() is not None  # B.1: for half a target duration
    shelf.pass_time(0.4)
    feed.part()
    shelf.take(text_of(feed, skip=True), Directives(1, 1, skip=True))
    assert shelf.find() is None


def test_stale_for_three_target_durations_and_for_plain_requests_only(
    shelf: Shelf, feed: "Feed"
) -> None:
    text = text_of(feed.ready())
    shelf.take(text)
    shelf.pass_time(5.9)
    stale = shelf.stale()
    assert body(stale) == text
    assert stale is not None
    assert stale.life is not None
    assert shelf.stale(Directives(0, 0)) is None
    assert shelf.stale(Directives(skip=True)) is None
    shelf.pass_time(1.0)
    assert stale.life.ended
    assert shelf.stale() is None


def test_an_upstream_that_lags_does_not_turn_back_time(shelf: Shelf, feed: "Feed") -> None:
    feed.ready()
    old = text_of(feed)
    feed.part()
    new = text_of(feed)
    shelf.take(new)
    shelf.pass_time(0.1)
    assert body(shelf.take(old)) == new
    assert body(shelf.find(Directives(1, 0))) == new
    shelf.pass_time(3.0)  # nothing better is known
    assert body(shelf.take(old)) == old


def test_another_broadcast_voids_everything_of_the_stream(
    shelf: Shelf, feed: "Feed", make_feed: "Callable[[], Feed]"
) -> None:
    text = text_of(feed.ready())
    for path in (PATH, OTHER, "/api/streams/two/source/playlist.m3u8"):
        shelf.take(text, path=path)
    before = shelf.find()
    new = text_of(make_feed().ready()).replace(b"-tok-", b"-new-")
    shelf.take(new)
    assert shelf.voided == [STREAM]
    assert before is not None
    assert before.life is not None
    assert before.life.ended
    assert body(shelf.find()) == new
    assert shelf.find(path=OTHER) is None
    assert shelf.find(path="/api/streams/two/source/playlist.m3u8") is not None


def test_without_a_tag_one_is_made_of_the_text(shelf: Shelf, feed: "Feed") -> None:
    first = shelf.take(text_of(feed.ready()), etag=None)
    feed.part()
    second = shelf.take(text_of(feed), etag=None)
    assert fields(first)[b"etag"] != fields(second)[b"etag"]


def test_what_is_no_playlist_is_not_kept(shelf: Shelf) -> None:
    assert shelf.take(b"<html>") is None
    assert len(shelf.playlists) == 0


def test_who_was_live(shelf: Shelf, feed: "Feed") -> None:
    def was_live(path: str | None = PATH, stream: str = STREAM) -> bool:
        return shelf.playlists.was_live(stream, path, shelf.now_s, 10.0)

    assert not was_live()
    shelf.take(text_of(feed.ready()))
    shelf.pass_time(10.0)
    assert was_live()
    assert was_live(None)
    assert not was_live(OTHER)
    assert not was_live(None, "/api/streams/two")
    shelf.pass_time(0.1)
    assert not was_live()
    shelf.take(text_of(feed))
    feed.rendition.end()
    shelf.take(text_of(feed))
    assert not was_live(None)


def test_texts_are_bounded_and_the_least_recently_touched_goes(feed: "Feed") -> None:
    text = text_of(feed.ready())
    shelf = Shelf(max_bytes=3 * (len(text) + ENTRY_BYTES))
    paths = [f"/api/streams/{n}/source/playlist.m3u8" for n in range(4)]
    for path in paths[:3]:
        shelf.take(text, path=path)
    shelf.find(path=paths[0])
    oldest = shelf.playlists.get(paths[1])
    assert oldest is not None
    shelf.take(text, path=paths[3])
    assert [shelf.playlists.get(path) is not None for path in paths] == [True, False, True, True]
    assert all(version.life.ended for version in oldest.versions.values())
    assert shelf.playlists.size_bytes <= 3 * (len(text) + ENTRY_BYTES)


def test_a_text_larger_than_everything_is_answered_and_not_kept(feed: "Feed") -> None:
    shelf = Shelf(max_bytes=1000)
    response = shelf.take(text_of(feed.ready()))
    assert response is not None
    assert response.life is not None
    assert response.life.ended
    assert len(shelf.playlists) == 0
    assert shelf.playlists.size_bytes == 0
