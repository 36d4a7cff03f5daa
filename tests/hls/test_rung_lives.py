"""Rungs from end to end: a publisher, its segmenter, a worker that encodes nothing, a rung.

The worker is late, loses pictures, dies and comes back; the publisher breaks off, changes its
tracks, stays away. `rung_model` says what must become of it.
"""

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from media_samples import Source, SpsFields, avc_record
from mp4_boxes import read_init
from playlist_reader import PlaylistHistory
from rung_model import ModelWorker, RungLog, check_rung, worker
from segmenter_runs import Driver, constant
from slot_rules import Slots
from video_records import av1_record, hevc_record

import hls
from hls import (
    AvcConfig,
    InitSegment,
    MediaEvent,
    Part,
    Placement,
    Presentation,
    Rung,
    SegmentEnd,
    Segmenter,
    SegmenterSettings,
    Timeline,
    TimelineSettings,
)
from hls.video import parse_video_config

DRIVER = Driver(hls)
SMALL = AvcConfig.parse(avc_record(SpsFields(width_mbs=40, height_map_units=22).unit()))
OTHER = AvcConfig.parse(avc_record(SpsFields(width_mbs=40, height_map_units=22, level=40).unit()))


class Pipeline:
    """A publisher, its segmenter, a worker and one rung."""

    def __init__(
        self,
        source: Source,
        *,
        divisor: int = 1,
        policy: SegmenterSettings | None = None,
        **options: Any,
    ) -> None:
        self.frames = source.frames()
        self.run = DRIVER.start(source, policy)
        self.rung = Rung(divisor=divisor)
        self.log = RungLog(self.rung)
        self.worker: ModelWorker = worker(hls, SMALL, 1, divisor=divisor, **options)
        self.log.resume(0)

    def push(self, frames: Iterable[Any]) -> "Pipeline":
        for frame in frames:
            self.run.push([frame])
            placed = self.run.segmenter.placed
            if placed is not None:
                self.worker.feed(placed)
            self.log.follow(self.run.batches[-1])
            self.log.push(self.worker.give())
        return self

    def flush(self) -> "Pipeline":
        self.log.follow(self.run.segmenter.flush())
        self.log.push(self.worker.finish())
        return self

    def finish(self) -> list[Any]:
        self.log.finish()
        check_rung(self.log, self.source, complete=False)
        return self.log.events

    @property
    def source(self) -> Slots:
        return Slots.read(self.log.followed)


def parts_of(events: Iterable[MediaEvent]) -> list[Part]:
    return [event for event in events if isinstance(event, Part)]


# What it makes of good pictures.


@pytest.mark.parametrize("divisor", [1, 2, 3])
@pytest.mark.parametrize("fps", [24, 25, 30, 50, 60])
def test_a_good_worker_leaves_no_gap(fps: int, divisor: int) -> None:
    source = constant(fps, gop=2 * fps, b_frames=2, duration_s=5)
    line = Pipeline(source, divisor=divisor)
    line.push(line.frames).flush()
    events = line.finish()
    check_rung(line.log, line.source, complete=True)
    assert line.rung.gaps == 0
    theirs = parts_of(line.log.followed)
    assert [(p.msn, p.index) for p in parts_of(events)] == [(p.msn, p.index) for p in theirs]
    ends = [event for event in line.log.followed if isinstance(event, SegmentEnd)]
    assert [event for event in events if isinstance(event, SegmentEnd)] == ends
    assert [event.independent for event in parts_of(events)] == [p.index == 0 for p in theirs]


def test_it_announces_its_own_tracks() -> None:
    line = Pipeline(constant(Fraction(30_000, 1001), gop=60, duration_s=4), divisor=2)
    line.push(line.frames).flush()
    promise, init, *_ = line.finish()
    assert promise == next(e for e in line.log.followed if isinstance(e, Presentation))
    assert isinstance(init, InitSegment)
    assert init.codecs == (SMALL.codec_string, DRIVER.audio.codec_string)
    assert (init.width, init.height, init.frame_rate) == (640, 352, 14.985)
    assert init.audio == DRIVER.audio
    assert {track.handler for track in read_init(init.data).tracks} == {b"vide", b"soun"}


@pytest.mark.parametrize(
    ("fourcc", "record"),
    [
        (b"avc1", avc_record()),
        (b"hvc1", hevc_record()),
        (b"av01", av1_record()),
    ],
    ids=["avc1", "hvc1", "av01"],
)
def test_any_codec_will_do(fourcc: bytes, record: bytes) -> None:
    config = parse_video_config(fourcc, record)
    line = Pipeline(constant(30, duration_s=4))
    line.worker.config = config
    line.push(line.frames).flush()
    init = line.finish()[1]
    assert init.codecs[0] == config.codec_string
    assert fourcc + bytes(6) in init.data  # the sample entry


def test_pictures_may_come_before_or_behind_their_part() -> None:
    for latency, reorder in ((0, 0), (0, 8), (20, 4)):
        line = Pipeline(constant(30, b_frames=2, duration_s=5), latency=latency, reorder=reorder)
        line.push(line.frames).flush()
        line.finish()
        check_rung(line.log, line.source, complete=True)
        assert line.rung.gaps == 0


def test_a_lost_picture_is_covered_by_the_one_before_it() -> None:
    line = Pipeline(constant(30, duration_s=8), loss=0.2)
    line.push(line.frames).flush()
    line.finish()
    check_rung(line.log, line.source, complete=True)
    assert line.rung.gaps == 0


# Breaks.


def test_the_same_number_of_discontinuities_wherever_it_begins() -> None:
    """Also if one falls into a gap, or is where it begins."""
    frames = constant(30, gop=60, duration_s=4).frames()
    for resume_at in (0, 60, 120, 180, 240, 300):
        line = Pipeline(constant(30))
        line.log = RungLog(Rung())
        for origin_s in (0, 20, 40):
            for frame in frames:
                stamp_ms = frame.dts_ms + 1000 * origin_s
                frame = replace(frame, dts_ms=stamp_ms, pts_ms=stamp_ms)
                line.run.push([frame])
                placed = line.run.segmenter.placed
                if placed is not None:
                    if placed.number == resume_at:
                        line.log.resume(resume_at)
                    line.worker.feed(placed)
                line.log.follow(line.run.batches[-1])
                line.log.push(line.worker.give())
        line.flush()
        line.finish()
        check_rung(line.log, line.source, complete=True)
        compare_sequences(line.log)


def compare_sequences(log: RungLog) -> None:
    """Play a rung to its end, and compare what players align by with its source's."""
    theirs = {}
    sequence = 0
    for part in parts_of(log.followed):
        sequence += part.discontinuity
        theirs[part.msn] = sequence
    for msn, sequence in played(log.batches, log.rung.discontinuities).items():
        assert theirs[msn] == sequence


def played(batches: Iterable[list[Any]], first: int) -> dict[int, int]:
    """Put every fourth version before a judge, and each with a new segment.

    Returns:
        The discontinuity sequence number of each segment that was ever listed.
    """
    timeline = Timeline(
        token="t",
        started_at_s=1_700_000_000.0,
        settings=TimelineSettings(window_segments=4),
        discontinuity_sequence=first,
    )
    history = PlaylistHistory(constant_rate=False)
    found: dict[int, int] = {}
    for events in single_segments(batches):
        timeline.apply(events)
        is_seen = timeline.version % 4 == 0 or isinstance(events[-1], SegmentEnd)
        if timeline.ready and is_seen:
            playlist = history.add(timeline.playlist())
            for name in playlist.uris:
                assert timeline.media(name) is not None, f"{name} is listed and not there"
            for segment in playlist.all_segments:
                found[segment.msn] = segment.discontinuity_sequence
    timeline.end()
    if timeline.ready:
        history.add(timeline.playlist())
    return found


def single_segments(batches: Iterable[list[Any]]) -> Iterable[list[Any]]:
    """Split results that are longer: the judge wants to have seen the parts of each segment."""
    for batch in batches:
        rest: list[Any] = []
        for event in batch:
            rest.append(event)
            if isinstance(event, SegmentEnd):
                yield rest
                rest = []
        if rest:
            yield rest


def test_the_audio_track_is_the_sources() -> None:
    """Another one comes at its time, in a gap too."""
    for loses in (False, True):
        line = Pipeline(constant(30, duration_s=4))
        line.push(line.frames)
        if loses:
            line.log.lose()
            line.worker.chance = Random(0)
        line.run.take(line.run.segmenter.reconfigure(video=DRIVER.video, audio=DRIVER.other_audio))
        line.log.follow(line.run.batches[-1])
        line.push(replace(f, dts_ms=f.dts_ms + 4_000, pts_ms=f.pts_ms + 4_000) for f in line.frames)
        line.flush()
        events = line.finish()
        check_rung(line.log, line.source, complete=True)
        inits = [event for event in events if isinstance(event, InitSegment)]
        assert [init.audio for init in inits] == [DRIVER.audio, DRIVER.other_audio]
        assert {p.init_index for p in parts_of(events) if p.msn >= 2} == {1}


def test_where_the_source_has_no_video_neither_has_a_rung() -> None:
    line = Pipeline(constant(30, duration_s=4))
    line.push(line.frames)
    line.run.take(line.run.segmenter.reconfigure(video=None, audio=DRIVER.audio))
    line.log.follow(line.run.batches[-1])
    later = [replace(f, dts_ms=f.dts_ms + 4_000, pts_ms=f.pts_ms + 4_000) for f in line.frames]
    line.push(later)
    line.run.take(line.run.segmenter.reconfigure(video=DRIVER.video, audio=DRIVER.audio))
    line.log.follow(line.run.batches[-1])
    line.push(replace(f, dts_ms=f.dts_ms + 4_000, pts_ms=f.pts_ms + 4_000) for f in later)
    line.flush()
    events = line.finish()
    check_rung(line.log, line.source, complete=True)
    inits = [event for event in events if isinstance(event, InitSegment)]
    assert [init.codecs for init in inits] == [
        (SMALL.codec_string, "mp4a.40.2"),
        ("mp4a.40.2",),
        (SMALL.codec_string, "mp4a.40.2"),
    ]
    assert (inits[1].width, inits[1].height, inits[1].frame_rate) == (None, None, None)
    alone = [part for part in parts_of(events) if part.init_index == 1]
    assert len(alone) > 15
    assert all(part.independent and not part.gap for part in alone)


def test_what_the_source_fills_with_audio_is_filled_here_too() -> None:
    source = constant(30, gop=60, duration_s=14)
    line = Pipeline(source)
    frames = [f for f in line.frames if not (f.is_video and 4_500 < f.dts_ms < 8_500)]
    line.push(frames).flush()
    events = line.finish()
    check_rung(line.log, line.source, complete=True)
    bare = [part for part in line.source.parts if not part.slots]
    assert len(bare) > 5
    assert all(not part.gap for part in parts_of(events))
    compare_sequences(line.log)


# Anything.


class AnyLife(RuleBasedStateMachine):
    """Publisher, worker and rung in any states, and a judge at the end."""

    @initialize(
        seed=st.integers(0, 1 << 16),
        divisor=st.integers(1, 3),
        loss=st.sampled_from([0.0, 0.0, 0.05, 0.3]),
        is_free=st.booleans(),
        has_audio=st.sampled_from([True, True, False]),
        seconds=st.sampled_from([4, 2, 0.5]),
    )
    def begin(
        self,
        seed: int,
        divisor: int,
        loss: float,
        is_free: bool,
        has_audio: bool,
        seconds: float,
    ) -> None:
        self.chance = Random(seed)
        policy = SegmenterSettings(segment_target_s=1, free_cut_gop_s=1.5 if is_free else None)
        self.has_audio = has_audio
        audio = DRIVER.audio if has_audio else None
        self.segmenter = Segmenter(video=DRIVER.video, audio=audio, settings=policy)
        self.log = RungLog(Rung(divisor=divisor))
        self.loss, self.divisor, self.config = loss, divisor, SMALL
        self.worker: ModelWorker | None = None
        self.awaits_resume = True
        self.is_stalled = False
        self.now_ms = 0
        self.go_on(seconds, 25, 9 if is_free else 1, 2, "all")

    def take(self, placed: Placement) -> None:
        if self.worker is None:
            if not placed.is_idr:
                return
            self.worker = worker(
                hls,
                self.config,
                self.chance.getrandbits(16),
                divisor=self.divisor,
                loss=self.loss,
                latency=self.chance.choice((0, 3, 30)),
            )
            self.awaits_resume = True
        if placed.begins_segment and self.awaits_resume:
            self.awaits_resume = False
            self.log.resume(placed.number)
        self.worker.feed(placed)

    @rule(
        seconds=st.sampled_from([2, 1, 4, 0.1]),
        fps=st.sampled_from([25, 10]),
        gop_s=st.sampled_from([1, 0.4, 2, 9]),
        b_frames=st.integers(0, 2),
        kept=st.sampled_from(["all", "all", "all", "sound", "some"]),
    )
    def go_on(self, seconds: float, fps: int, gop_s: float, b_frames: int, kept: str) -> None:
        source = constant(
            fps,
            gop=round(gop_s * fps),
            b_frames=b_frames,
            duration_s=seconds,
            start_ms=self.now_ms,
            audio_rate=48_000 if self.has_audio else None,
        )
        self.now_ms += round(1000 * seconds)
        for frame in source.frames():
            stays_away = kept == "sound" or (kept == "some" and self.chance.random() < 0.3)
            if frame.is_video and self.has_audio and stays_away:
                continue
            events = self.segmenter.push(DRIVER.sample(frame))
            if self.segmenter.placed is not None:
                self.take(self.segmenter.placed)
            if self.chance.random() < 0.5:
                self.deliver()
            self.log.follow(events)
            self.deliver()

    def deliver(self) -> None:
        if self.worker is not None and not self.is_stalled:
            self.log.push(self.worker.give())

    @rule(stalls=st.booleans())
    def stall(self, stalls: bool) -> None:
        self.is_stalled = stalls

    @rule(is_known=st.booleans(), finishes=st.booleans())
    def end_a_life(self, is_known: bool, finishes: bool) -> None:
        """The worker ends: orderly or not, and it may be known to be gone or only be silent."""
        if self.worker is not None and finishes:
            self.log.push(self.worker.finish())
        if self.worker is not None and is_known:
            self.log.lose()
        self.worker = None

    @rule(divisor=st.integers(0, 3))
    def set_rate(self, divisor: int) -> None:
        self.divisor = divisor or self.divisor
        if self.worker is not None:
            self.worker.divisor = divisor
            if divisor == 0 and not self.awaits_resume:
                self.log.lose()
            self.awaits_resume = self.awaits_resume or divisor == 0

    @rule(config=st.sampled_from([SMALL, OTHER]))
    def change_encoder(self, config: AvcConfig) -> None:
        self.config = config

    @rule(jump_ms=st.sampled_from([10_000, 100_000, -4_999]))
    def jump(self, jump_ms: int) -> None:
        # Their sums are breaks all. A pause in both tracks that is none makes a part too long, as
        # hls.cutter says; so does any without audio.
        self.now_ms += jump_ms if self.has_audio else max(10_000, jump_ms)

    # In the probe it would forget the audio, and a long pause of the video would stay empty.
    @precondition(lambda self: self.has_audio and self.segmenter.cuts_anywhere is not None)
    @rule(
        video=st.sampled_from([DRIVER.video, DRIVER.video, DRIVER.other_video, None]),
        audio=st.sampled_from([DRIVER.audio, DRIVER.other_audio]),
        reconnects=st.booleans(),
    )
    def change_tracks(self, video: AvcConfig | None, audio: Any, reconnects: bool) -> None:
        change = self.segmenter.reconnect if reconnects else self.segmenter.reconfigure
        self.log.follow(change(video=video, audio=audio))

    def teardown(self) -> None:
        if not hasattr(self, "log"):
            return
        self.log.follow(self.segmenter.flush())
        is_orderly = self.worker is not None and self.chance.random() < 0.7
        if is_orderly and self.worker is not None:
            self.log.push(self.worker.finish())
        self.log.finish()
        source = Slots.read(self.log.followed)
        check_rung(self.log, source, complete=False)
        compare_sequences(self.log)


AnyLife.TestCase.settings = hypothesis_settings(
    max_examples=60, stateful_step_count=12, deadline=None
)
TestAnyLife = pytest.mark.slow(AnyLife.TestCase)
