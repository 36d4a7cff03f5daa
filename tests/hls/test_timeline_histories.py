"""Whatever valid events come, every version of a timeline keeps the rules.

The machine plays segmenter and viewer; the independent reader and its history judge see every
version.
"""

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from playlist_reader import PlaylistHistory, read_multivariant_playlist
from timeline_events import TimelineEvents

import hls
from hls import (
    BadRequest,
    Directives,
    MediaEvent,
    Part,
    Presentation,
    Ready,
    Timeline,
    TimelineSettings,
    Wait,
    decide,
    render_multivariant,
)

EVENTS = TimelineEvents(hls)


class AnyBroadcast(RuleBasedStateMachine):
    """Random valid events and requests."""

    def __init__(self) -> None:
        super().__init__()
        self.source = EVENTS.source()
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
        self.source = EVENTS.source(first_msn=first_msn)
        self.timeline = Timeline(
            token="t",
            started_at_s=1_700_000_000.25,
            settings=TimelineSettings(window_segments=window),
        )
        self.apply([self.presentation, EVENTS.init()])

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

    def one_part(
        self, *, last: bool, discontinuity: bool = False, gap: bool = False
    ) -> list[MediaEvent]:
        return [
            self.source.part(
                duration_s=self.frame_s * self.frames,
                discontinuity=discontinuity and self.source.index == 0,
                size=10,
                gap=gap,
            ),
            *([self.source.end()] if last else []),
        ]

    @precondition(lambda self: not self.timeline.ended)
    @rule(
        discontinuity=st.booleans(),
        gap=st.sampled_from([False, False, True]),
        count=st.integers(1, 40),
    )
    def parts(self, discontinuity: bool, gap: bool, count: int) -> None:
        longest_s = self.presentation.target_duration_s
        for _ in range(count):
            if self.timeline.ended:
                return
            step_s = self.frame_s * self.frames
            last = self.source.segment_s + 2 * step_s > longest_s
            self.apply(self.one_part(last=last, discontinuity=discontinuity, gap=gap))

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
            [
                self.presentation,
                EVENTS.init(self.source.init_index),
                *self.one_part(last=False, discontinuity=True),
            ],
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
