"""The timeline: what it lists, what it keeps for how long, what it refuses."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from timeline_events import Source, TimelineEvents

import hls
from hls import (
    BadRequest,
    Directives,
    MediaEvent,
    Presentation,
    Ready,
    SegmentEnd,
    Timeline,
    TimelineSettings,
    UsageError,
    Wait,
    decide,
)

STARTED_AT_S = 1_700_000_000.25
PROMISE = Presentation(target_duration_s=2, part_target_s=0.2)
EVENTS = TimelineEvents(hls)
init = EVENTS.init


def begun(source: Source | None = None, **settings: float) -> Timeline:
    timeline = Timeline(
        token="tok",
        started_at_s=STARTED_AT_S,
        settings=TimelineSettings(**settings),  # type: ignore[arg-type]
    )
    timeline.apply([PROMISE, init(source.init_index if source else 0)])
    return timeline


def feed(timeline: Timeline, source: Source, segments: int = 1) -> None:
    for _ in range(segments):
        for batch in source.segment():
            timeline.apply(batch)


# Coming into being.


def test_nothing_to_serve_before_the_first_segment_is_complete() -> None:
    timeline = Timeline(token="tok", started_at_s=0)
    with pytest.raises(UsageError):
        _ = timeline.presentation
    source = EVENTS.source()
    timeline.apply([PROMISE, init(), source.part()])
    assert (timeline.ready, timeline.last_msn, timeline.last_part) == (False, None, (0, 0))
    assert timeline.measured_bandwidth.peak_bps == timeline.announced_bandwidth.peak_bps == 0
    with pytest.raises(UsageError):
        timeline.playlist()
    with pytest.raises(UsageError):
        timeline.variant("v")
    timeline.apply([source.end()])
    assert (timeline.ready, timeline.last_msn, timeline.last_part) == (True, 0, (0, 0))
    assert timeline.playlist()


def test_the_hint_is_known_from_the_first_part_on_and_is_always_the_next_part() -> None:
    source = EVENTS.source(first_msn=7)
    timeline = begun()
    assert [timeline.hint] == [None]
    assert not timeline.is_hinted("part-tok-7.0.m4s")
    timeline.apply([source.part()])
    assert timeline.is_hinted("part-tok-7.1.m4s")
    timeline.apply([source.part(), source.end()])
    assert timeline.hint == "part-tok-8.0.m4s"
    timeline.end()
    assert timeline.hint is None


def test_versions_count_changes_and_a_version_is_rendered_once() -> None:
    source = EVENTS.source()
    timeline = begun()
    feed(timeline, source)
    version, text = timeline.version, timeline.playlist()
    timeline.apply([])
    assert timeline.version == version
    assert timeline.playlist() is text
    timeline.apply([source.part()])
    assert timeline.version == version + 1
    assert timeline.playlist() != text


@pytest.mark.parametrize("token", ["", "a b", 'a"', "a/b", "ä", "x" * 65])
def test_a_token_must_be_fit_for_a_uri(token: str) -> None:
    with pytest.raises(UsageError):
        Timeline(token=token, started_at_s=0)


@pytest.mark.parametrize(
    "values",
    [{"window_segments": 0}, {"part_hold_back_s": 0.0}, {"part_hold_back_s": float("nan")}],
)
def test_settings_have_ranges(values: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        TimelineSettings(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting_s", "part_target_s", "expected_s"),
    [(1.0, 0.2, 1.0), (1.0, 0.5, 1.5), (0.5, 0.2, 0.6), (2.0, 0.2, 2.0), (1.0, 0.334, 1.002)],
)
def test_hold_back_is_never_less_than_three_parts(
    setting_s: float, part_target_s: float, expected_s: float
) -> None:
    timeline = Timeline(
        token="t", started_at_s=0, settings=TimelineSettings(part_hold_back_s=setting_s)
    )
    timeline.apply([Presentation(target_duration_s=2, part_target_s=part_target_s)])
    assert timeline.part_hold_back_s == pytest.approx(expected_s)


# Bytes.


def test_parts_concatenated_are_the_segment_and_share_its_bytes() -> None:
    source = EVENTS.source()
    timeline = begun()
    batches = list(source.segment())
    for batch in batches:
        timeline.apply(batch)
    segment = timeline.media("seg-tok-0.m4s")
    assert segment is not None
    parts = [timeline.media(f"part-tok-0.{index}.m4s") for index in range(10)]
    chunks = [chunk for part in parts if part is not None for chunk in part.chunks]
    assert len(chunks) == len(segment.chunks) == 10
    assert all(a is b for a, b in zip(chunks, segment.chunks, strict=True))
    assert segment.size_bytes == len(b"".join(chunks))
    assert timeline.held_bytes == segment.size_bytes + len(b"init0")
    section = timeline.media("init-tok-0.mp4")
    assert section is not None
    assert section.chunks == (b"init0",)
    assert timeline.media("seg-tok-1.m4s") is None
    assert timeline.media("part-tok-0.10.m4s") is None


def test_changes_name_what_came_and_what_went() -> None:
    source = EVENTS.source()
    timeline = Timeline(token="tok", started_at_s=0)
    timeline.apply([PROMISE, init()])
    known = {"init-tok-0.mp4"}
    assert timeline.changes.added == ("init-tok-0.mp4",)
    for _ in range(30):
        for batch in source.segment():
            timeline.apply(batch)
            assert not known & set(timeline.changes.added)
            assert known >= set(timeline.changes.removed)
            known = (known | set(timeline.changes.added)) - set(timeline.changes.removed)
            assert known == set(timeline.names())
    timeline.apply([source.part()])
    timeline.end()
    assert timeline.changes.added == ("seg-tok-30.m4s",)
    assert timeline.changes.removed == ()


def test_a_batch_longer_than_the_window_never_shows_what_did_not_survive_it() -> None:
    source = EVENTS.source()
    timeline = begun(window_segments=3)
    batch = [event for _ in range(40) for events in source.segment() for event in events]
    timeline.apply(batch)
    assert set(timeline.changes.added) <= set(timeline.names())
    assert timeline.changes.removed == ()
    # All appeared now, so all are still within their time: 36 removed ones would be gone otherwise.
    assert timeline.media("seg-tok-0.m4s") is not None
    feed(timeline, source, 10)
    assert timeline.media("seg-tok-0.m4s") is None


# The window.


def test_the_window_slides_one_segment_at_a_time() -> None:
    source = EVENTS.source()
    timeline = begun()
    feed(timeline, source, 15)
    assert [segment.msn for segment in timeline.segments] == list(range(15))
    feed(timeline, source, 3)
    assert [segment.msn for segment in timeline.segments] == list(range(3, 18))


def test_short_segments_stay_until_three_target_durations_are_listed() -> None:
    source = EVENTS.source()
    timeline = begun(window_segments=3)
    for _ in range(40):
        for batch in source.segment(parts=1):
            timeline.apply(batch)
    listed_s = sum(segment.duration_ns for segment in timeline.segments) / 1e9
    assert 6.0 <= listed_s < 6.2 + 1e-6


def test_parts_are_listed_for_three_target_durations_and_leave_by_the_segment() -> None:
    source = EVENTS.source()
    timeline = begun()
    feed(timeline, source, 4)
    # Segment 0 ended exactly 6 s before the end: out, whole, and nothing else.
    assert b"part-tok-0." not in timeline.playlist()
    assert timeline.playlist().count(b"#EXT-X-PART:") == 30
    *batches, _ = source.segment()
    for batch in batches:
        timeline.apply(batch)
        assert timeline.playlist().count(b"part-tok-1.") == 10


def test_parts_can_be_fetched_for_three_target_durations_after_their_tags() -> None:
    source = EVENTS.source()
    timeline = begun()
    feed(timeline, source, 4)  # at 8 s the tags of segment 0 go
    feed(timeline, source, 2)
    *batches, last = source.segment()
    for batch in batches:  # up to 13.8 s
        timeline.apply(batch)
        assert timeline.media("part-tok-0.0.m4s") is not None
    timeline.apply(last)
    assert timeline.media("part-tok-0.0.m4s") is None
    assert timeline.media("seg-tok-0.m4s") is not None


def test_a_removed_segment_can_be_fetched_for_its_availability_duration() -> None:
    source = EVENTS.source()
    timeline = begun()
    # Segment 0 appears at 2 s, lasts 2 s, and the longest playlist is 30 s: until 34 s.
    feed(timeline, source, 16)
    assert 0 not in [segment.msn for segment in timeline.segments]
    *batches, last = source.segment()
    for batch in batches:  # up to 33.8 s
        timeline.apply(batch)
        assert timeline.media("seg-tok-0.m4s") is not None
    timeline.apply(last)
    assert timeline.media("seg-tok-0.m4s") is None


def test_memory_is_bounded_by_the_window_and_its_grace() -> None:
    source = EVENTS.source()
    timeline = begun()
    largest = 0
    for _ in range(200):
        feed(timeline, source)
        largest = max(largest, timeline.held_bytes)
    per_second = 5 * (100 + len(b"100.0,"))
    assert largest <= 36 * per_second
    assert len(list(timeline.names())) < 120


def test_a_stalled_publisher_loses_nothing() -> None:
    """The grace counts media, not time: without media nothing leaves."""
    source = EVENTS.source()
    timeline = begun()
    feed(timeline, source, 20)
    names = set(timeline.names())
    for _ in range(1000):
        timeline.apply([])
    assert set(timeline.names()) == names


# Breaks.


def test_discontinuities_are_counted_when_they_leave() -> None:
    source = EVENTS.source()
    timeline = begun(window_segments=3)
    feed(timeline, source, 2)
    for batch in source.segment(discontinuity=True):
        timeline.apply(batch)
    assert timeline.playlist().count(b"#EXT-X-DISCONTINUITY\n") == 1
    feed(timeline, source, 2)
    assert timeline.discontinuity_sequence == 0
    feed(timeline, source, 1)
    assert timeline.discontinuity_sequence == 1
    assert b"#EXT-X-DISCONTINUITY\n" not in timeline.playlist()


def test_old_init_sections_go_with_their_last_segment() -> None:
    source = EVENTS.source()
    timeline = begun(window_segments=3)
    feed(timeline, source, 2)
    source.init_index = 3
    timeline.apply([init(3, codecs=("avc1.640028", "mp4a.40.2"), width=1920, height=1080)])
    for batch in source.segment(discontinuity=True):
        timeline.apply(batch)
    text = timeline.playlist()
    assert b'#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI="init-tok-3.mp4"\n' in text
    variant = timeline.variant("v.m3u8")
    assert variant.codecs == ("avc1.640028", "mp4a.40.2", "avc1.64001f")
    assert (variant.width, variant.height) == (1920, 1080)
    while timeline.media("seg-tok-1.m4s") is not None:
        assert timeline.media("init-tok-0.mp4") is not None
        feed(timeline, source)
    assert timeline.media("init-tok-0.mp4") is None
    assert timeline.media("init-tok-3.mp4") is not None
    assert timeline.variant("v.m3u8").codecs == ("avc1.640028", "mp4a.40.2")
    assert b'#EXT-X-MAP:URI="init-tok-3.mp4"\n#EXT-X-PROGRAM' in timeline.playlist()


def test_a_new_init_section_alone_is_no_discontinuity_of_a_rung_that_the_source_has_not() -> None:
    source = EVENTS.source()
    timeline = begun()
    feed(timeline, source, 2)
    source.init_index = 1
    timeline.apply([init(1)])
    feed(timeline, source, 1)
    text = timeline.playlist()
    assert b'seg-tok-1.m4s\n#EXT-X-MAP:URI="init-tok-1.mp4"\n#EXT-X-PROGRAM' in text
    assert b"#EXT-X-DISCONTINUITY\n" not in text


def test_init_sections_that_no_part_used_are_not_collected() -> None:
    source = EVENTS.source()
    timeline = begun()
    feed(timeline, source, 1)
    for index in range(1, 50):
        timeline.apply([init(index)])
    assert len([name for name in timeline.names() if name.startswith("init")]) == 2
    timeline.apply([init(50), init(51)])
    # 50 came and went in one step: nobody hears of it.
    assert timeline.changes.added == ("init-tok-51.mp4",)
    assert timeline.changes.removed == ("init-tok-49.mp4",)


def test_a_segment_that_starts_dependent_takes_the_tag_away_for_good() -> None:
    source = EVENTS.source()
    timeline = begun(window_segments=3)
    feed(timeline, source, 1)
    assert b"#EXT-X-INDEPENDENT-SEGMENTS\n" in timeline.playlist()
    assert timeline.variant("v").independent_segments
    timeline.apply([source.part(independent=False), source.end()])
    feed(timeline, source, 30)
    assert b"#EXT-X-INDEPENDENT-SEGMENTS" not in timeline.playlist()
    assert not timeline.variant("v").independent_segments


def test_dates_come_from_the_media_clock() -> None:
    source = EVENTS.source()
    timeline = begun()
    feed(timeline, source, 1)
    source.media_time_s += 60.0004  # the publisher was away
    for batch in source.segment(discontinuity=True):
        timeline.apply(batch)
    dates = [line for line in timeline.playlist().decode().split("\n") if "DATE-TIME" in line]
    assert dates == [
        "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.250Z",
        "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:14:22.250Z",
    ]


# Gaps.


def test_the_live_edge_has_a_date() -> None:
    timeline, source = Timeline(token="t", started_at_s=1_000.5), EVENTS.source()
    edges = [timeline.edge_ms]
    for events in (
        [Presentation(target_duration_s=2, part_target_s=0.2), EVENTS.init()],
        [source.part(), source.part()],
        [source.part(), source.end()],
    ):
        timeline.apply(events)
        edges.append(timeline.edge_ms)
    assert edges == [None, None, 1_000_900, 1_001_100]


def test_there_is_nothing_behind_the_name_of_a_gap() -> None:
    source = EVENTS.source()
    timeline = begun(window_segments=3)
    feed(timeline, source, 1)
    timeline.apply([source.part()])
    assert timeline.is_hinted("part-tok-1.1.m4s")
    timeline.apply([source.part(gap=True)])
    # Who waited for it is told so now.
    assert not timeline.is_hinted("part-tok-1.1.m4s")
    assert timeline.media("part-tok-1.1.m4s") is None
    assert timeline.changes.added == ()
    assert timeline.last_part == (1, 1)
    assert timeline.hint == "part-tok-1.2.m4s"
    timeline.apply([source.end()])
    assert timeline.changes.added == ()
    assert timeline.media("seg-tok-1.m4s") is None
    assert timeline.media("part-tok-1.0.m4s") is not None
    assert decide(timeline, Directives(1, 1)) == decide(timeline, Directives(1)) == Ready()


def test_what_a_gap_left_is_kept_and_let_go_as_ever() -> None:
    """Its whole parts have their grace; the memory of their segment goes with it."""
    source = EVENTS.source()
    timeline = begun(window_segments=3)
    feed(timeline, source, 2)
    removed: list[str] = []
    for gaps in ([4, 5], range(10), [0], []):
        for index in range(10):
            timeline.apply(
                [source.part(gap=index in gaps), *([source.end()] if index == 9 else [])]
            )
            removed += timeline.changes.removed
    while not removed or "seg-tok-6.m4s" not in removed:
        feed(timeline, source, 1)
        removed += timeline.changes.removed
        assert set(removed).isdisjoint(timeline.names())
    for msn, gaps in ((2, [4, 5]), (3, range(10)), (4, [0]), (5, [])):
        names = [f"part-tok-{msn}.{index}.m4s" for index in range(10) if index not in gaps]
        assert [name for name in removed if name.startswith(f"part-tok-{msn}.")] == names
        assert (f"seg-tok-{msn}.m4s" in removed) == (not gaps)
    assert timeline.held_bytes < 15 * 10 * 110


def test_bit_rates_are_those_of_whole_segments() -> None:
    source = EVENTS.source()
    timeline = begun()
    feed(timeline, source, 1)
    before = timeline.measured_bandwidth, timeline.announced_bandwidth
    timeline.apply([source.part(size=1_000_000), source.part(gap=True), source.end()])
    timeline.apply([source.part(gap=True), source.end()])
    assert (timeline.measured_bandwidth, timeline.announced_bandwidth) == before


def test_a_gap_is_no_segment_that_begins_dependent() -> None:
    source = EVENTS.source()
    timeline = begun()
    feed(timeline, source, 1)
    timeline.apply([source.part(gap=True), source.end()])
    assert timeline.independent_segments
    assert b"#EXT-X-INDEPENDENT-SEGMENTS\n" in timeline.playlist()


def test_a_rendition_that_begins_with_a_gap_waits_for_a_whole_segment() -> None:
    """Its bit rate would be zero, and players prefer that."""
    source = EVENTS.source(first_msn=4)
    timeline = begun()
    timeline.apply([source.part(), source.part(gap=True), source.end()])
    assert (timeline.ready, timeline.last_msn) == (False, 4)
    assert decide(timeline, Directives()) == Wait()
    with pytest.raises(UsageError):
        timeline.playlist()
    with pytest.raises(UsageError):
        timeline.variant("v")
    feed(timeline, source, 1)
    assert timeline.ready
    assert timeline.variant("v").bandwidth_bps > 0
    assert b"#EXT-X-MEDIA-SEQUENCE:4\n" in timeline.playlist()
    assert decide(timeline, Directives()) == Ready()
    # And once begun it is there, whatever goes missing.
    for _ in range(30):
        timeline.apply([source.part(gap=True, duration_s=2), source.end()])
        assert timeline.ready
        timeline.playlist()


def test_one_that_ends_with_nothing_but_a_gap_was_never_there() -> None:
    source = EVENTS.source()
    timeline = begun()
    timeline.apply([source.part(), source.part(gap=True)])
    timeline.end()
    assert not timeline.ready
    assert isinstance(decide(timeline, Directives()), BadRequest)


def test_sequence_numbers_of_discontinuities_may_begin_anywhere() -> None:
    source = EVENTS.source()
    timeline = Timeline(
        token="tok",
        started_at_s=STARTED_AT_S,
        settings=TimelineSettings(window_segments=3),
        discontinuity_sequence=5,
    )
    timeline.apply([PROMISE, init()])
    for batch in source.segment(discontinuity=True):
        timeline.apply(batch)
    assert b"#EXT-X-DISCONTINUITY-SEQUENCE:5\n" in timeline.playlist()
    feed(timeline, source, 3)
    assert b"#EXT-X-DISCONTINUITY-SEQUENCE:6\n" in timeline.playlist()


# The end.


def test_the_end_is_a_version_of_its_own_and_final() -> None:
    source = EVENTS.source()
    timeline = begun()
    feed(timeline, source, 20)
    names, version, before = set(timeline.names()), timeline.version, timeline.playlist()
    timeline.end()
    assert timeline.ended
    assert timeline.version == version + 1
    text = timeline.playlist()
    assert text.endswith(b"#EXT-X-ENDLIST\n")
    assert b"PRELOAD-HINT" not in text
    assert text.count(b"#EXT-X-PART:") == before.count(b"#EXT-X-PART:")
    assert set(timeline.names()) == names
    timeline.end()
    assert timeline.version == version + 1
    with pytest.raises(UsageError, match="ended"):
        timeline.apply([source.part()])


def test_the_end_completes_an_open_segment() -> None:
    source = EVENTS.source()
    timeline = begun()
    feed(timeline, source, 1)
    timeline.apply([source.part(), source.part()])
    timeline.end()
    assert timeline.playlist().endswith(b"#EXTINF:0.400000,\nseg-tok-1.m4s\n#EXT-X-ENDLIST\n")
    assert timeline.media("seg-tok-1.m4s") is not None


def test_an_end_before_the_first_media_is_no_playlist() -> None:
    timeline = Timeline(token="tok", started_at_s=0)
    timeline.end()
    assert timeline.ended
    assert not timeline.ready
    with pytest.raises(UsageError):
        timeline.playlist()


# What it refuses, and that it changes nothing by refusing.

WRONG: dict[str, Callable[[Source], list[MediaEvent]]] = {
    "another presentation": lambda _: [Presentation(target_duration_s=3, part_target_s=0.2)],
    "init inside a segment": lambda _: [init(1)],
    "a part again": lambda s: [replace(s.part(), index=1)],
    "a part left out": lambda s: [replace(s.part(), index=3)],
    "the next segment too early": lambda s: [replace(s.part(), msn=s.msn + 1, index=0)],
    "a part of another init": lambda s: [replace(s.part(), init_index=1)],
    "no duration": lambda s: [s.part(duration_s=0.0)],
    "a duration that is none": lambda s: [s.part(duration_s=float("nan"))],
    "end of another segment": lambda s: [SegmentEnd(msn=s.msn + 1, duration_s=0.4)],
    "end of another length": lambda s: [SegmentEnd(msn=s.msn, duration_s=0.5)],
    "a good part, then a bad one": lambda s: [s.part(), replace(s.part(), index=9)],
    "two ends": lambda s: [s.end(), SegmentEnd(msn=s.msn - 1, duration_s=0.4)],
    "an init with an old number": lambda s: [s.end(), init(0)],
}


@pytest.mark.parametrize("name", WRONG)
def test_events_out_of_order_are_refused_whole(name: str) -> None:
    source = EVENTS.source()
    timeline = begun()
    feed(timeline, source, 2)
    timeline.apply([source.part(), source.part()])
    before = (timeline.version, timeline.playlist(), set(timeline.names()), timeline.hint)
    with pytest.raises(UsageError):
        timeline.apply(WRONG[name](source))
    assert before == (timeline.version, timeline.playlist(), set(timeline.names()), timeline.hint)


def test_a_part_needs_its_presentation_and_its_init() -> None:
    timeline = Timeline(token="tok", started_at_s=0)
    with pytest.raises(UsageError):
        timeline.apply([init(), EVENTS.source().part()])
    with pytest.raises(UsageError):
        timeline.apply([PROMISE, EVENTS.source().part()])
    with pytest.raises(UsageError):
        timeline.apply([PROMISE, SegmentEnd(msn=0, duration_s=1)])


def test_a_second_segmenter_may_repeat_the_same_presentation() -> None:
    source = EVENTS.source()
    timeline = begun()
    feed(timeline, source, 1)
    timeline.apply([PROMISE])
    assert timeline.presentation == PROMISE
