"""Live renditions: what a publish makes visible, and whom it wakes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from edge.http.response import Response
from edge.live import Container, LiveStream, LiveStreams
from edge.table import Gate
from hls.errors import UsageError
from hls.marker import Marker
from hls.request import Directives

if TYPE_CHECKING:
    from .conftest import Feed

PLAIN = Directives()


def body(answer: Response | Gate[Any] | None) -> bytes:
    assert isinstance(answer, Response)
    return b"".join(answer.chunks)


G = TypeVar("G", Directives | str, Container)


def gate_of(answer: Response | Gate[G] | None) -> Gate[G]:
    """Wait at the gate, as a held request does: one at which nobody waits is soon forgotten."""
    assert isinstance(answer, Gate)
    answer.add(lambda: None)
    return answer


def test_everything_is_held_until_the_first_segment_is_complete(feed: "Feed") -> None:
    plain = gate_of(feed.rendition.playlist(PLAIN))
    part = gate_of(feed.rendition.playlist(Directives(0, 1)))
    feed.begin()
    feed.part()
    assert plain.response is None
    feed.segment()
    assert b"seg-tok-0.m4s" in body(plain.response)
    assert body(part.response) == body(plain.response)
    assert feed.rendition.waiting == 0


def test_a_playlist_is_rendered_once_per_version(feed: "Feed") -> None:
    feed.ready()
    first = feed.rendition.playlist(PLAIN)
    assert feed.rendition.playlist(PLAIN) is first
    blocked = feed.rendition.playlist(Directives(0))
    assert blocked is not first
    assert feed.rendition.playlist(Directives(0, 2)) is blocked
    assert isinstance(first, Response)
    assert isinstance(blocked, Response)
    assert first.chunks[0] is blocked.chunks[0]
    feed.part()
    assert feed.rendition.playlist(PLAIN) is not first


def test_playlists_say_how_long_they_may_be_kept(feed: "Feed") -> None:
    feed.ready()
    plain, blocked = feed.rendition.playlist(PLAIN), feed.rendition.playlist(Directives(0))
    assert isinstance(plain, Response)
    assert isinstance(blocked, Response)
    assert b"Cache-Control: public, max-age=0, s-maxage=1\r\n" in plain.head
    assert b"Cache-Control: public, max-age=12\r\n" in blocked.head  # six target durations
    for response in (plain, blocked):
        assert b"Content-Type: application/vnd.apple.mpegurl\r\n" in response.head


def test_waiting_for_a_part_and_for_a_segment(feed: "Feed") -> None:
    feed.ready()
    part, segment = (gate_of(feed.rendition.playlist(d)) for d in (Directives(1, 1), Directives(1)))
    feed.part()
    assert part.response is None
    feed.part()
    assert b"part-tok-1.1.m4s" in body(part.response)
    assert segment.response is None
    feed.segment()
    assert b"seg-tok-1.m4s" in body(segment.response)


def test_equal_requests_share_a_gate(feed: "Feed") -> None:
    feed.ready()
    assert feed.rendition.playlist(Directives(1, 0)) is feed.rendition.playlist(Directives(1, 0))
    assert feed.rendition.waiting == 1


def test_too_far_ahead_is_a_bad_request(feed: "Feed") -> None:
    feed.ready()
    answer = feed.rendition.playlist(Directives(9))
    assert isinstance(answer, Response)
    assert answer.status == 400


def test_one_part_past_the_end_of_a_segment_means_the_next_one(feed: "Feed") -> None:
    feed.ready()
    gate = gate_of(feed.rendition.playlist(Directives(0, 5)))
    feed.part()
    assert b"part-tok-1.0.m4s" in body(gate.response)


def test_media_is_served_under_its_name_with_the_very_bytes(feed: "Feed") -> None:
    feed.ready()
    assert body(feed.rendition.media("init-tok-0.mp4")) == b"init"
    assert body(feed.rendition.media("part-tok-0.2.m4s")) == b"<0.2>"
    assert body(feed.rendition.media("seg-tok-0.m4s")) == b"<0.0><0.1><0.2><0.3><0.4>"
    segment, part = (feed.rendition.media(f"{n}.m4s") for n in ("seg-tok-0", "part-tok-0.2"))
    assert isinstance(segment, Response)
    assert isinstance(part, Response)
    assert segment.chunks[2] is part.chunks[0]
    assert b"Cache-Control: public, max-age=86400, immutable\r\n" in part.head
    assert feed.rendition.media("part-tok-0.9.m4s") is None


def test_the_hinted_part_is_held_and_becomes_the_part(feed: "Feed") -> None:
    feed.ready()
    gate = gate_of(feed.rendition.media("part-tok-1.0.m4s"))
    assert feed.rendition.media("part-tok-1.1.m4s") is None
    name = feed.part()
    assert gate.response is feed.rendition.media(name)


def test_a_hinted_part_that_never_comes_is_not_found(feed: "Feed") -> None:
    feed.ready()
    gate = gate_of(feed.rendition.media("part-tok-1.0.m4s"))
    feed.rendition.end()
    assert gate.response is not None
    assert gate.response.status == 404


def test_the_end_answers_held_reloads_with_endlist(feed: "Feed") -> None:
    feed.ready()
    gate = gate_of(feed.rendition.playlist(Directives(1, 3)))
    feed.rendition.end()
    assert b"#EXT-X-ENDLIST" in body(gate.response)
    assert b"#EXT-X-ENDLIST" in body(feed.rendition.playlist(Directives(99)))


def test_an_end_before_the_first_segment_answers_whoever_waits(feed: "Feed") -> None:
    feed.begin()
    gate = gate_of(feed.rendition.playlist(PLAIN))
    feed.rendition.end()
    assert gate.response is not None
    assert gate.response.status == 400


def test_old_media_leaves_the_table(make_feed: Callable[..., "Feed"]) -> None:
    feed = make_feed(window_segments=1).ready()
    for _ in range(30):
        feed.segment()
    assert feed.rendition.media("seg-tok-0.m4s") is None
    assert feed.rendition.media("part-tok-0.0.m4s") is None
    assert feed.rendition.media("init-tok-0.mp4") is not None


def test_nothing_published_changes_nothing(feed: "Feed") -> None:
    feed.ready()
    before = feed.rendition.playlist(PLAIN)
    feed.rendition.publish([])
    assert feed.rendition.playlist(PLAIN) is before


def test_the_master_waits_for_every_rendition(make_feed: Callable[..., "Feed"]) -> None:
    high, low = make_feed("source"), make_feed("360p")
    live = LiveStreams()
    live.open("one", {"source": high.rendition, "360p": low.rendition})
    stream = live.get("one")
    assert stream is not None
    gate = gate_of(stream.master())
    high.ready()
    assert gate.response is None
    low.ready()
    text = body(gate.response)
    assert text.index(b"source/playlist.m3u8") < text.index(b"360p/playlist.m3u8")
    assert stream.master() is gate.response


def test_who_comes_before_the_first_media_waits_for_it(make_feed: Callable[..., "Feed"]) -> None:
    live = LiveStreams()
    live.announce("one")
    anteroom = live.anteroom("one")
    assert anteroom is not None
    master, plain = anteroom.gate(None, PLAIN), anteroom.gate("source", PLAIN)
    far, elsewhere = anteroom.gate("source", Directives(9)), anteroom.gate("4k", PLAIN)
    assert anteroom.gate(None, PLAIN) is master
    woken: list[str] = []
    master.add(lambda: woken.append("master"))
    feed = make_feed("source")
    live.open("one", {"source": feed.rendition})
    assert live.anteroom("one") is None
    assert elsewhere.response is not None  # known at once: there is no such rendition
    assert elsewhere.response.status == 404
    assert not woken
    feed.ready()
    assert woken == ["master"]
    assert b"source/playlist.m3u8" in body(master.response)
    assert plain.response is feed.rendition.playlist(PLAIN)
    assert far.response is not None  # nobody could know before
    assert far.response.status == 400


def test_who_comes_late_to_the_anteroom_is_answered_at_once(feed: "Feed") -> None:
    feed.ready()
    live = LiveStreams()
    live.announce("one")
    anteroom = live.anteroom("one")
    assert anteroom is not None
    gate = anteroom.gate("source", PLAIN)
    live.open("one", {"source": feed.rendition})
    assert gate.response is feed.rendition.playlist(PLAIN)


def test_a_broadcast_that_ends_before_it_began_is_404(make_feed: Callable[..., "Feed"]) -> None:
    live = LiveStreams()
    live.withdraw("one")  # nothing to take back
    live.announce("one")
    live.announce("one")  # no second room
    anteroom = live.anteroom("one")
    assert anteroom is not None
    gate = anteroom.gate(None, PLAIN)
    live.withdraw("one")
    assert live.anteroom("one") is None
    assert gate.response is not None
    assert gate.response.status == 404


def test_the_master_of_an_ended_broadcast_is_gone(live: LiveStreams, feed: "Feed") -> None:
    stream = live.get("one")
    assert stream is not None
    gate = gate_of(stream.master())
    feed.begin()
    feed.rendition.end()
    assert gate.response is not None
    assert gate.response.status == 404


def test_close_answers_whoever_is_held_and_forgets(live: LiveStreams, feed: "Feed") -> None:
    feed.ready()
    reload = gate_of(feed.rendition.playlist(Directives(1)))
    hinted = gate_of(feed.rendition.media("part-tok-1.0.m4s"))
    live.close("one")
    live.close("one")
    assert live.get("one") is None
    assert len(live) == 0
    for gate in (reload, hinted):
        assert gate.response is not None
        assert gate.response.status == 404
    assert feed.rendition.media("init-tok-0.mp4") is None
    feed.part()  # the segmenter may still be at it: harmless


def test_opening_again_closes_what_was_open(
    live: LiveStreams, feed: "Feed", make_feed: Callable[..., "Feed"]
) -> None:
    gate = gate_of(feed.rendition.playlist(PLAIN))
    fresh = make_feed()
    live.open("one", {"source": fresh.rendition})
    assert gate.response is not None
    stream = live.get("one")
    assert stream is not None
    assert stream.renditions["source"] is fresh.rendition


def listed(stream: LiveStream) -> list[str]:
    """Names of the renditions that a player finds in the multivariant playlist."""
    answer = stream.master()
    assert isinstance(answer, Response)
    text = b"".join(answer.chunks).decode()
    return [line.partition("/")[0] for line in text.splitlines() if not line.startswith("#")]


def test_new_viewers_wait_for_what_is_expected(
    live: LiveStreams, feed: "Feed", make_feed: Callable[..., "Feed"]
) -> None:
    stream = live.get("one")
    assert stream is not None
    stream.order = ("source", "720p", "360p")
    stream.expect("720p")
    stream.expect("360p")
    feed.ready()
    gate = gate_of(stream.master())
    low, high = make_feed("360p"), make_feed("720p")
    low.ready()
    answered = []
    for step in (lambda: stream.add(low.rendition), lambda: stream.add(high.rendition), high.ready):
        step()
        answered.append(gate.response is not None)
    assert answered == [False, False, True]
    assert listed(stream) == stream.listed == ["source", "720p", "360p"]


def test_what_is_given_up_may_still_come(
    live: LiveStreams, feed: "Feed", make_feed: Callable[..., "Feed"]
) -> None:
    stream = live.get("one")
    assert stream is not None
    stream.order = ("source", "720p")
    stream.expect("720p")
    feed.ready()
    gate = gate_of(stream.master())
    stream.give_up("720p")
    assert gate.response is not None
    assert listed(stream) == ["source"]
    late = make_feed("720p")
    late.ready()
    stream.add(late.rendition)
    assert listed(stream) == ["source", "720p"]


def test_what_is_hidden_is_served_and_not_listed(
    live: LiveStreams, feed: "Feed", make_feed: Callable[..., "Feed"]
) -> None:
    stream = live.get("one")
    assert stream is not None
    stream.order = ("source", "720p")
    other = make_feed("720p")
    other.ready()
    stream.add(other.rendition)
    feed.ready()
    stream.hide("source")
    assert listed(stream) == ["720p"]
    assert isinstance(feed.rendition.playlist(PLAIN), Response)
    stream.hide("720p")
    gate = gate_of(stream.master())  # nothing to list: better wait than fail
    stream.show("source")
    assert gate.response is not None
    assert listed(stream) == ["source"]


def test_two_forms_of_a_playlist_have_two_tags(feed: "Feed") -> None:
    """RFC 9110 8.8.3: a strong tag stands for bytes; whether they were waited for is none of it."""
    feed.ready()
    for _ in range(8):
        feed.segment()
    answers = [
        feed.rendition.playlist(directives)
        for directives in (PLAIN, Directives(0), Directives(skip=True), Directives(0, skip=True))
    ]
    whole, waited, delta, waited_delta = [
        answer for answer in answers if isinstance(answer, Response)
    ]
    assert whole.etag == waited.etag != delta.etag == waited_delta.etag
    assert body(whole) == body(waited) != body(delta) == body(waited_delta)
    assert b"#EXT-X-SKIP:" in body(delta)
    feed.part()
    after = feed.rendition.playlist(PLAIN)
    assert isinstance(after, Response)
    assert after.etag != whole.etag


def test_media_and_the_multivariant_playlist_have_tags(live: LiveStreams, feed: "Feed") -> None:
    stream = live.open("s", {"source": feed.rendition})
    feed.ready()
    master = stream.master()
    assert isinstance(master, Response)
    assert master.etag is not None
    part = feed.rendition.media("part-tok-0.0.m4s")
    assert isinstance(part, Response)
    assert part.etag == '"part-tok-0.0.m4s"'


def test_each_playlist_reports_the_others_as_they_are_when_it_is_made(
    live: LiveStreams, make_feed: Callable[..., "Feed"]
) -> None:
    """rfc8216bis 4.4.5.4: a report for every other rendition that is listed, none for itself."""
    high, low = make_feed("source"), make_feed("360p")
    stream = live.open("s", {"source": high.rendition, "360p": low.rendition})
    high.ready()
    assert b"RENDITION-REPORT" not in body(high.rendition.playlist(PLAIN))  # 360p is not ready
    low.ready()
    high.part()
    assert b'REPORT:URI="../360p/playlist.m3u8",LAST-MSN=0,LAST-PART=4\n' in body(
        high.rendition.playlist(PLAIN)
    )
    assert b'REPORT:URI="../source/playlist.m3u8",LAST-MSN=1,LAST-PART=0\n' in body(
        low.rendition.playlist(PLAIN)
    )
    low.part()
    # The text of a version never changes, so the report waits for the next part: within one part.
    assert b"LAST-MSN=0,LAST-PART=4" in body(high.rendition.playlist(PLAIN))
    assert b"LAST-MSN=0,LAST-PART=4" in body(high.rendition.playlist(Directives(0)))
    high.part()
    assert b"LAST-MSN=1,LAST-PART=0" in body(high.rendition.playlist(PLAIN))
    stream.hide("360p")
    high.part()
    assert b"RENDITION-REPORT" not in body(high.rendition.playlist(PLAIN))
    low.part()
    assert b"../source/playlist.m3u8" in body(low.rendition.playlist(PLAIN))


def test_a_marker_is_in_every_rendition_and_in_those_that_come_later(
    live: LiveStreams, make_feed: Callable[..., "Feed"]
) -> None:
    high, low = make_feed("source"), make_feed("360p")
    stream = live.open("s", {"source": high.rendition})
    before = stream.edge_ms
    assert before is None
    high.ready()
    assert stream.edge_ms == 2000  # two seconds of media, from 1970 on
    held = gate_of(high.rendition.playlist(Directives(1, 0)))
    stream.mark(Marker(id="goal", start_ms=1500))
    assert held.response is None
    stream.add(low.rendition)
    low.ready()
    for feed in (high, low):
        assert b'#EXT-X-DATERANGE:ID="goal"' in body(feed.rendition.playlist(PLAIN))


def test_a_marker_is_in_all_renditions_or_in_none(
    live: LiveStreams, make_feed: Callable[..., "Feed"]
) -> None:
    high, low = make_feed("source"), make_feed("360p")
    stream = live.open("s", {"source": high.rendition, "360p": low.rendition})
    for feed in (high, low):
        feed.ready()
    low.rendition.mark(Marker(id="goal", start_ms=0))
    with pytest.raises(UsageError, match="of that id"):
        stream.mark(Marker(id="goal", start_ms=0))
    assert not high.rendition.timeline.markers
    low.rendition.end()  # one that has ended is no obstacle
    stream.mark(Marker(id="goal", start_ms=0))
    assert list(high.rendition.timeline.markers) == ["goal"]
    high.rendition.end()
    with pytest.raises(UsageError, match="over"):
        stream.mark(Marker(id="late", start_ms=0))
