"""The timeline: what it lists, what it keeps for how long, what it refuses."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from playlist_reader import PlaylistHistory, read_multivariant_playlist

from hls import (
    BadRequest,
    Directives,
    InitSegment,
    MediaEvent,
    Part,
    Presentation,
    Ready,
    SegmentEnd,
    Timeline,
    TimelineSettings,
    UsageError,
    Wait,
    decide,
    render_multivariant,
)

STARTED_AT_S = 1_700_000_000.25
PROMISE = Presentation(target_duration_s=2, part_target_s=0.2)


def init(index: int = 0, **changed: object) -> InitSegment:
    values: dict[str, object] = {
        "codecs": ("avc1.64001f", "mp4a.40.2"),
        "width": 1280,
        "height": 720,
        "frame_rate": 30.0,
        **changed,
    }
    return InitSegment(index=index, data=b"init%d" % index, **values)  # type: ignore[arg-type]


class Source:
    """Writes valid events: a segmenter that needs no media."""

    def __init__(self, *, first_msn: int = 0) -> None:
        self.msn = first_msn
        self.index = 0
        self.init_index = 0
        self.media_time_s = 0.0
        self.segment_s = 0.0

    def part(
        self,
        *,
        duration_s: float = 0.2,
        independent: bool | None = None,
        discontinuity: bool = False,
        size: int = 100,
    ) -> Part:
        made = Part(
            msn=self.msn,
            index=self.index,
            duration_s=duration_s,
            independent=self.index == 0 if independent is None else independent,
            data=b"%d.%d," % (self.msn, self.index) + bytes(size),
            init_index=self.init_index,
            discontinuity=discontinuity,
            media_time_s=self.media_time_s,
        )
        self.index += 1
        self.segment_s += duration_s
        self.media_time_s += duration_s
        return made

    def end(self) -> SegmentEnd:
        made = SegmentEnd(msn=self.msn, duration_s=self.segment_s)
        self.msn, self.index, self.segment_s = self.msn + 1, 0, 0.0
        return made

    def segment(
        self, *, parts: int = 10, duration_s: float = 0.2, discontinuity: bool = False
    ) -> Iterator[list[MediaEvent]]:
        """The segment's events as a segmenter returns them: one part at a time."""
        for index in range(parts):
            batch: list[MediaEvent] = [
                self.part(duration_s=duration_s, discontinuity=discontinuity and index == 0)
            ]
            if index == parts - 1:
                batch.append(self.end())
            yield batch


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
    source = Source()
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
    source = Source(first_msn=7)
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
    source = Source()
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
    source = Source()
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
    source = Source()
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
    source = Source()
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
    source = Source()
    timeline = begun()
    feed(timeline, source, 15)
    assert [segment.msn for segment in timeline.segments] == list(range(15))
    feed(timeline, source, 3)
    assert [segment.msn for segment in timeline.segments] == list(range(3, 18))


def test_short_segments_stay_until_three_target_durations_are_listed() -> None:
    source = Source()
    timeline = begun(window_segments=3)
    for _ in range(40):
        for batch in source.segment(parts=1):
            timeline.apply(batch)
    listed_s = sum(segment.duration_ns for segment in timeline.segments) / 1e9
    assert 6.0 <= listed_s < 6.2 + 1e-6


def test_parts_are_listed_for_three_target_durations_and_leave_by_the_segment() -> None:
    source = Source()
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
    source = Source()
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
    source = Source()
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
    source = Source()
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
    source = Source()
    timeline = begun()
    feed(timeline, source, 20)
    names = set(timeline.names())
    for _ in range(1000):
        timeline.apply([])
    assert set(timeline.names()) == names


# Breaks.


def test_discontinuities_are_counted_when_they_leave() -> None:
    source = Source()
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


def test_a_new_init_section_is_a_discontinuity_and_old_ones_go_with_their_last_segment() -> None:
    source = Source()
    timeline = begun(window_segments=3)
    feed(timeline, source, 2)
    source.init_index = 3
    timeline.apply([init(3, codecs=("avc1.640028", "mp4a.40.2"), width=1920, height=1080)])
    feed(timeline, source, 1)
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


def test_init_sections_that_no_part_used_are_not_collected() -> None:
    source = Source()
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
    source = Source()
    timeline = begun(window_segments=3)
    feed(timeline, source, 1)
    assert b"#EXT-X-INDEPENDENT-SEGMENTS\n" in timeline.playlist()
    assert timeline.variant("v").independent_segments
    timeline.apply([source.part(independent=False), source.end()])
    feed(timeline, source, 30)
    assert b"#EXT-X-INDEPENDENT-SEGMENTS" not in timeline.playlist()
    assert not timeline.variant("v").independent_segments


def test_dates_come_from_the_media_clock() -> None:
    source = Source()
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


# The end.


def test_the_end_is_a_version_of_its_own_and_final() -> None:
    source = Source()
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
    source = Source()
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
    source = Source()
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
        timeline.apply([init(), Source().part()])
    with pytest.raises(UsageError):
        timeline.apply([PROMISE, Source().part()])
    with pytest.raises(UsageError):
        timeline.apply([PROMISE, SegmentEnd(msn=0, duration_s=1)])


def test_a_second_segmenter_may_repeat_the_same_presentation() -> None:
    source = Source()
    timeline = begun()
    feed(timeline, source, 1)
    timeline.apply([PROMISE])
    assert timeline.presentation == PROMISE


# Any valid history keeps the rules.


class AnyBroadcast(RuleBasedStateMachine):
    """Random valid events; the independent reader and its history judge see every version."""

    def __init__(self) -> None:
        super().__init__()
        self.source = Source()
        self.history = PlaylistHistory(every_version=True)
        self.clock_s = 0.0
        self.gone_part_tags: dict[str, float] = {}
        self.bytes_seen: dict[str, bytes] = {}
        self.fresh = True  # the next part starts a segment
        self.waiting: set[Directives] = set()

    @initialize(
        window=st.integers(1, 6),
        target_s=st.integers(1, 3),
        frames=st.integers(1, 4),
        first_msn=st.integers(0, 5),
    )
    def begin(self, window: int, target_s: int, frames: int, first_msn: int) -> None:
        self.frame_s = 1001 / 30000
        self.frames = frames
        part_target_s = -(-frames * 1001 * 1000 // 30000) / 1000
        self.presentation = Presentation(target_duration_s=target_s, part_target_s=part_target_s)
        self.source = Source(first_msn=first_msn)
        self.timeline = Timeline(
            token="t",
            started_at_s=STARTED_AT_S,
            settings=TimelineSettings(window_segments=window),
        )
        self.apply([self.presentation, init()])

    def apply(self, events: list[MediaEvent]) -> None:
        before = self.history.last
        self.timeline.apply(events)
        self.clock_s += sum(event.duration_s for event in events if isinstance(event, Part))
        if not self.timeline.ready:
            return
        now = self.history.add(self.timeline.playlist())
        for name in now.uris:
            media = self.timeline.media(name)
            assert media is not None, f"{name} is listed and cannot be fetched"
            data = b"".join(media.chunks)
            assert self.bytes_seen.setdefault(name, data) == data
        if before is not None:
            for name in before.uris - now.uris:
                self.gone_part_tags.setdefault(name, self.clock_s)

    def one_part(self, *, last: bool, discontinuity: bool = False) -> list[MediaEvent]:
        return [
            self.source.part(
                duration_s=self.frame_s * self.frames,
                discontinuity=discontinuity and self.source.index == 0,
                size=10,
            ),
            *([self.source.end()] if last else []),
        ]

    @precondition(lambda self: not self.timeline.ended)
    @rule(discontinuity=st.booleans(), count=st.integers(1, 40))
    def parts(self, discontinuity: bool, count: int) -> None:
        longest_s = self.presentation.target_duration_s
        for _ in range(count):
            if self.timeline.ended:
                return
            step_s = self.frame_s * self.frames
            last = self.source.segment_s + 2 * step_s > longest_s
            self.apply(self.one_part(last=last, discontinuity=discontinuity))

    @precondition(lambda self: not self.timeline.ended)
    @rule()
    def cut_early(self) -> None:
        self.apply(self.one_part(last=True))

    @precondition(lambda self: not self.timeline.ended)
    @rule(away_s=st.floats(0, 100))
    def reconnect_with_another_init(self, away_s: float) -> None:
        if self.source.index:
            self.apply(self.one_part(last=True))
        self.source.init_index += 1
        self.source.media_time_s += away_s
        self.apply(
            [self.presentation, init(self.source.init_index), *self.one_part(last=False)],
        )

    @precondition(lambda self: self.timeline.ready and not self.timeline.ended)
    @rule(ahead=st.integers(-1, 3), part=st.none() | st.integers(0, 40))
    def ask(self, ahead: int, part: int | None) -> None:
        last_msn = self.timeline.last_msn
        assert last_msn is not None
        directives = Directives(max(0, last_msn + ahead), part)
        if isinstance(decide(self.timeline, directives), Wait):
            self.waiting.add(directives)

    @precondition(lambda self: self.timeline.ready and self.clock_s > 10)
    @rule()
    def finish(self) -> None:
        self.timeline.end()
        self.history.add(self.timeline.playlist())

    @invariant()
    def what_waited_never_becomes_a_bad_request(self) -> None:
        for directives in list(self.waiting):
            decision = decide(self.timeline, directives)
            assert not isinstance(decision, BadRequest)
            if isinstance(decision, Ready):
                self.waiting.remove(directives)
                self._check_answer(directives)

    def _check_answer(self, directives: Directives) -> None:
        playlist = self.history.last
        assert playlist is not None
        assert directives.msn is not None
        if playlist.ended:
            return
        if directives.part is None:
            assert playlist.last_msn >= directives.msn
        else:
            assert playlist.last_part is not None
            assert playlist.last_part >= (directives.msn, directives.part)

    @invariant()
    def parts_outlive_their_tags(self) -> None:
        grace_s = 3 * self.presentation.target_duration_s
        for name, gone_at_s in self.gone_part_tags.items():
            if name.startswith("part-") and self.clock_s < gone_at_s + grace_s - 1e-6:
                assert self.timeline.media(name) is not None

    @invariant()
    def memory_is_bounded(self) -> None:
        """The bound that the module states: longest playlist + 3 segments, or 8 TD, and one batch.

        A segment of this machine is at most one target duration long.
        """
        target_s = self.presentation.target_duration_s
        longest_playlist_s = max(6 * target_s, 3 * target_s + target_s)
        held_s = max(longest_playlist_s + 3 * target_s, 8 * target_s)
        shortest_part_s = self.frame_s * self.frames
        inits = [name for name in self.timeline.names() if name.startswith("init-")]
        largest_part = 10 + len(b"12345.99,")
        bound = (held_s / shortest_part_s + 2) * largest_part + len(inits) * len(b"init12345")
        assert self.timeline.held_bytes <= bound

    @invariant()
    def the_multivariant_playlist_is_true(self) -> None:
        if self.timeline.ready:
            text = render_multivariant([self.timeline.variant("v.m3u8")])
            [variant] = read_multivariant_playlist(text).variants
            measured = self.timeline.measured_bandwidth
            assert measured.peak_bps <= variant.bandwidth_bps


AnyBroadcast.TestCase.settings = hypothesis_settings(
    max_examples=40, stateful_step_count=25, deadline=None
)
TestAnyBroadcast = pytest.mark.slow(AnyBroadcast.TestCase)
