"""Gaps, jitter and interleaving inside one epoch, seen through the whole segmenter."""

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from media_rules import AUDIO, VIDEO, Verdict, judge
from media_samples import Frame, Source
from segmenter_runs import Driver, Run, constant

import hls
from hls import Part, Presentation, Sample, Segmenter, SegmenterSettings, TrackKind
from hls.assembler import PartAssembler
from hls.clock import MediaClock
from hls.cutter import CutPlan
from hls.epoch import Epoch

DRIVER = Driver(hls)
run = DRIVER.run
start = DRIVER.start


def without(frames: list[Frame], drop: Callable[[Frame], bool]) -> list[Frame]:
    return [frame for frame in frames if not drop(frame)]


def shown_ms(verdict: Verdict) -> list[float]:
    return [(sample.time + sample.offset) / 90 for sample in verdict.samples(VIDEO)]


# -- the shape of parts


def test_dropped_frames_leave_parts_whole_and_pictures_where_they_were() -> None:
    """What OBS does when the network is slow: single pictures are missing."""
    source = constant(30, duration_s=8, gop=60)
    frames = source.frames()
    pictures = [frame for frame in frames if frame.is_video]
    gone = {id(pictures[n]) for n in (71, 72, 77, 83, 95, 96, 97, 98, 130, 131)}
    sent = without(frames, lambda frame: id(frame) in gone)
    verdict = judge(start(source).push(sent).flush().batches)
    assert shown_ms(verdict) == [frame.pts_ms for frame in sent if frame.is_video]
    assert len(verdict.samples(AUDIO)) == len([frame for frame in sent if not frame.is_video])


def test_a_frame_rate_that_does_not_fit_the_promise_still_makes_good_parts() -> None:
    """30 frames a second are promised as parts of 201 ms, then 24 come: 5 of them take 208 ms."""
    first = constant(30, duration_s=4)
    second = constant(24, duration_s=12, gop=48, start_ms=4_000)
    sent = first.frames() + second.frames()
    verdict = judge(start(first).push(sent).flush().batches)
    assert verdict.part_target_s == 0.201
    assert shown_ms(verdict) == [frame.pts_ms for frame in sent if frame.is_video]


def test_equal_and_backward_stamps_are_nudged_apart() -> None:
    frames = constant(30, duration_s=4).frames()
    sent = [
        replace(frame, dts_ms=frame.dts_ms - 90) if frame.is_video and 60 < n < 75 else frame
        for n, frame in enumerate(frames)
    ]
    verdict = judge(start(constant(30)).push(sent).flush().batches, constant_rate=False)
    assert shown_ms(verdict) == [frame.pts_ms for frame in sent if frame.is_video]


def test_a_composition_offset_that_cannot_be_is_cut_down() -> None:
    frames = constant(30, duration_s=3, audio_rate=None).frames()
    for number, pts_ms in ((10, 10**12), (20, -(10**12))):
        frames[number] = replace(frames[number], pts_ms=pts_ms)
    verdict = judge(start(constant(30, audio_rate=None)).push(frames).flush().batches)
    offsets = [sample.offset for sample in verdict.samples(VIDEO)]
    assert (offsets[10], offsets[20], set(offsets)) == (900_000, -900_000, {0, 900_000, -900_000})


# -- gaps in the video


def test_a_short_gap_costs_no_rule() -> None:
    """Pictures wait for decode times, not for presentation; audio goes on meanwhile."""
    source = constant(30, duration_s=9)
    sent = without(source.frames(), lambda f: f.is_video and 4_500 < f.dts_ms < 5_600)
    packaged = start(source).push(sent).flush()
    verdict = judge(packaged.batches)
    assert packaged.segmenter.discontinuities == 0
    assert shown_ms(verdict) == [frame.pts_ms for frame in sent if frame.is_video]


def test_audio_fills_a_long_gap_part_by_part() -> None:
    source = constant(30, duration_s=12)
    sent = without(source.frames(), lambda f: f.is_video and 4_500 < f.dts_ms < 8_000)
    packaged = start(source).push(sent).flush()
    verdict = judge(packaged.batches, filled=True, idr_segments=False)
    assert packaged.segmenter.discontinuities == 0
    filled = [
        part
        for segment in verdict.segments
        for part, fragment in zip(segment.parts, segment.fragments, strict=True)
        if not fragment.of(VIDEO)
    ]
    assert len(filled) >= 8
    assert not any(part.independent for part in filled)
    assert shown_ms(verdict) == [frame.pts_ms for frame in sent if frame.is_video]
    # They came as audio did, video_patience_s late, and not when the next picture came at last.
    waited = [frame.dts_ms for frame, batch in zip(sent, packaged.batches, strict=False) if batch]
    late = [b - a for a, b in pairwise(waited) if a > 4_500]
    assert max(late) < 1_900
    assert sum(late_ms > 250 for late_ms in late) <= 2


def test_video_that_comes_back_too_late_is_a_discontinuity() -> None:
    source = constant(30, duration_s=16)
    sent = without(source.frames(), lambda f: f.is_video and 4_500 < f.dts_ms < 11_000)
    packaged = start(source).push(sent).flush()
    verdict = judge(packaged.batches, filled=True, idr_segments=False)
    assert packaged.segmenter.discontinuities == 1
    again = next(s for s in verdict.segments if s.parts[0].discontinuity)
    assert again.parts[0].independent
    # What was played is not played again: the clock stands still until the stamps are ahead.
    assert again.parts[0].media_time_s == pytest.approx(12, abs=0.05)


def test_video_that_never_comes_back_leaves_audio_to_the_end() -> None:
    source = constant(30, duration_s=12)
    sent = without(source.frames(), lambda f: f.is_video and f.dts_ms > 4_500)
    verdict = judge(start(source).push(sent).flush().batches, filled=True, idr_segments=False)
    assert len(verdict.samples(AUDIO)) == len([frame for frame in sent if not frame.is_video])
    assert sum(segment.duration_s for segment in verdict.segments) == pytest.approx(12, abs=0.201)


def test_without_audio_a_picture_may_stay_for_longer_than_a_part() -> None:
    """Slide show after moving pictures: held back for max_lag_s, then parts grow too long."""
    source = constant(30, duration_s=20, gop=60, audio_rate=None)
    kept = {0, 4_000, 8_000, 11_000, 12_000, 16_000}
    sent = [f for f in source.frames() if f.dts_ms <= 4_000 or f.dts_ms in kept]
    verdict = judge(
        start(source).push(sent).flush().batches,
        constant_rate=False,
        idr_segments=False,
        long_parts=True,
    )
    assert shown_ms(verdict) == [frame.pts_ms for frame in sent]
    assert max(part.duration_s for part in verdict.parts) < 2.5


# -- interleaving


def release_delays(source: Source) -> list[int]:
    """For each part after the first segment: publisher's time when it came, less its end."""
    delays: list[int] = []
    now_ms = 0
    packaged = run(source)
    for frame, batch in zip(source.frames(), packaged.batches, strict=False):
        if frame.is_video:
            now_ms = frame.dts_ms
        delays += [
            round(now_ms - 1000 * (event.media_time_s + event.duration_s))
            for event in batch
            if isinstance(event, Part) and event.msn > 0
        ]
    judge(packaged.batches)
    return delays


def test_audio_that_lags_a_little_is_waited_for() -> None:
    source = constant(30, duration_s=8, audio_delay_ms=60)
    assert max(release_delays(source)) <= 67
    verdict = judge(run(source).batches)
    for segment in verdict.segments:
        for part, fragment in zip(segment.parts, segment.fragments, strict=True):
            end_s = part.media_time_s + part.duration_s
            assert all(s.time / 48_000 < end_s for s in fragment.of(AUDIO)[:-3])


def test_audio_that_lags_more_is_waited_for_no_longer_than_the_patience() -> None:
    source = constant(30, duration_s=8, audio_delay_ms=400)
    delays = release_delays(source)
    assert 100 <= max(delays) <= 134
    verdict = judge(run(source).batches)
    assert len(verdict.samples(AUDIO)) == len([f for f in source.frames() if not f.is_video])


def test_a_silence_in_audio_alone_makes_no_part_too_long() -> None:
    source = Source(fps=None, duration_s=8)
    sent = without(source.frames(), lambda f: 3_000 < f.dts_ms < 5_000)
    packaged = start(source).push(sent).flush()
    verdict = judge(packaged.batches)
    assert packaged.segmenter.discontinuities == 0
    assert verdict.samples(AUDIO)[-1].time == pytest.approx(8 * 48_000, abs=3_500)


def test_repeated_audio_is_left_out() -> None:
    source = constant(30, duration_s=8)
    frames = source.frames()
    again = [f for f in frames if not f.is_video and 3_800 < f.dts_ms < 4_000]
    sent = (
        without(frames, lambda f: f.dts_ms >= 4_000)
        + again
        + [f for f in frames if f.dts_ms >= 4_000]
    )
    verdict = judge(start(source).push(sent).flush().batches)
    extra = len(verdict.samples(AUDIO)) - len([f for f in frames if not f.is_video])
    assert 0 <= extra <= 3, "as many as fit into audio_drift_s"


@pytest.mark.parametrize("silence", [DRIVER.audio.silence, b""])
def test_audio_that_joins_far_behind_a_lost_picture_makes_no_empty_part(silence: bytes) -> None:
    """One picture, three seconds of nothing, then audio: a part of nothing cannot be written."""
    source = constant(30, duration_s=12)
    frames = source.frames()
    sent = [
        f
        for f in frames
        if (f.dts_ms <= 2_000 and f.is_video)
        or (f.dts_ms >= 5_500 and not f.is_video)
        or f.dts_ms >= 6_900
    ]
    audio = replace(DRIVER.audio, silence=silence)
    packaged = Run(DRIVER, Segmenter(video=DRIVER.video, audio=audio)).push(sent).flush()
    verdict = judge(packaged.batches, filled=True, idr_segments=False, constant_rate=False)
    assert len(verdict.samples(VIDEO)) > 100


@pytest.mark.parametrize("rounding", [round, math.floor, math.ceil])
@pytest.mark.parametrize("rate", [44_100, 22_050, 11_025])
def test_audio_time_is_exact_to_the_sample(rate: int, rounding: Callable[[Fraction], int]) -> None:
    source = constant(25, duration_s=10, gop=50, audio_rate=rate, round_ms=rounding)
    verdict = judge(run(source).batches)
    samples = verdict.samples(AUDIO)
    assert [sample.duration for sample in samples] == [1024] * len(samples)


def test_audio_without_an_audio_track_is_ignored() -> None:
    settings = SegmenterSettings()
    promise = Presentation(target_duration_s=2, part_target_s=0.201)
    plan = CutPlan.for_video(
        promise, interval_ms=Fraction(100, 3), gop_ms=Fraction(2000), settings=settings
    )
    epoch = Epoch(
        plan=plan,
        parts=PartAssembler(settings.audio_patience_s),
        clock=MediaClock(settings),
        audio=None,
        has_video=True,
        picture=0,
        start_ms=0,
        init_index=0,
        discontinuity=False,
        settings=settings,
    )
    assert epoch.place_audio(Sample(TrackKind.AUDIO, 0, 0, True, b"\x21")) == []
    assert epoch.finish() == []


def test_it_counts_the_segments_that_have_ended_whoever_ended_them() -> None:
    settings = SegmenterSettings()
    clock = MediaClock(settings)
    clock.start(0, 0, same_publisher=True)
    epoch = Epoch(
        plan=CutPlan.for_video(
            Presentation(target_duration_s=2, part_target_s=0.201),
            interval_ms=Fraction(40),
            gop_ms=Fraction(2000),
            settings=settings,
        ),
        parts=PartAssembler(0.1),
        clock=clock,
        audio=replace(DRIVER.audio, silence=b""),
        has_video=True,
        picture=7,
        start_ms=0,
        init_index=0,
        discontinuity=False,
        settings=settings,
    )
    first, *others = (frame for frame in constant(25, gop=50).frames() if frame.dts_ms < 4_100)
    parts = []
    epoch.place_first_picture(DRIVER.sample(first))
    for frame in others:
        if frame.is_video:
            parts += epoch.place_picture(DRIVER.sample(frame), is_idr=frame.idr)
        else:
            parts += epoch.place_audio(DRIVER.sample(frame))
        assert epoch.segments == frame.dts_ms // 2_000
    silence = [frame for frame in constant(25, duration_s=9).frames() if not frame.is_video]
    for frame in silence[len([f for f in others if not f.is_video]) :]:
        parts += epoch.place_audio(DRIVER.sample(frame))
    assert epoch.segments == 3  # audio alone has ended one
    numbers = [part.layout.picture for part in parts if isinstance(part, Part) and part.layout]
    assert numbers[0] == 7
    assert numbers[-1] == 7 + sum(frame.is_video for frame in (first, *others))
