"""Whatever a publisher sends, what comes out obeys the rules: Hypothesis looks for exceptions."""

import contextlib
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from media_rules import AUDIO, VIDEO, judge
from media_samples import Source, nal, picture
from segmenter_runs import Driver

import hls
from hls import (
    AacConfig,
    AvcConfig,
    MediaError,
    MediaEvent,
    Sample,
    Segmenter,
    SegmenterSettings,
    TrackKind,
)

DRIVER = Driver(hls)
AUDIO_CONFIG = DRIVER.audio
OTHER_AUDIO = DRIVER.other_audio
OTHER_VIDEO = DRIVER.other_video
VIDEO_CONFIG = DRIVER.video
start = DRIVER.start

FRAME_RATES = [
    Fraction(24), Fraction(25), Fraction(24000, 1001), Fraction(30000, 1001), Fraction(30),
    Fraction(50), Fraction(60000, 1001), Fraction(60), Fraction(15), Fraction(10), Fraction(5),
    Fraction(2), Fraction(1), Fraction(120),
]  # fmt: skip

sources = st.builds(
    Source,
    fps=st.sampled_from(FRAME_RATES),
    b_frames=st.integers(0, 3),
    audio_rate=st.sampled_from([48_000, 44_100, 22_050, 96_000, None]),
    samples_per_frame=st.sampled_from([1024, 960]),
    duration_s=st.floats(3, 7),
    start_ms=st.sampled_from([0, -1, 7, 2**31, -(2**31)]),
    audio_delay_ms=st.integers(-80, 80),
    round_ms=st.sampled_from([round, math.floor, math.ceil]),
)


@settings(deadline=None, max_examples=50)
@given(
    source=sources,
    gop_s=st.sampled_from([0.5, 1, 2, 3, 0.3, 1.5, 2.4]),
    jitter=st.none() | st.randoms(use_true_random=False),
)
def test_any_constant_frame_rate_keeps_every_rule(
    source: Source, gop_s: float, jitter: Random | None
) -> None:
    assert source.fps is not None
    # Tracks that end together: audio that outlasts the last picture has parts of its own.
    source.duration_s = float(math.floor(source.duration_s * source.fps) / source.fps)
    source.gop = max(1, round(gop_s * source.fps))
    if jitter is not None:
        # A millisecond either way, but the first picture defines the clock.
        source.jitter_ms = lambda number: jitter.choice((-1, 0, 1)) if number else 0
    sent = source.frames()
    result = start(source).push(sent).flush()
    verdict = judge(result.batches)
    assert result.segmenter.forced_cuts == 0
    assert result.segmenter.discontinuities == 0
    assert [s.data for s in verdict.samples(VIDEO)] == [f.data for f in sent if f.is_video]
    zero_ms = next(frame.dts_ms for frame in sent if frame.is_video)
    shown = [sample.time + sample.offset for sample in verdict.samples(VIDEO)]
    assert shown == [(frame.pts_ms - zero_ms) * 90 for frame in sent if frame.is_video]
    audio = [frame for frame in sent if not frame.is_video and frame.dts_ms >= zero_ms]
    assert [s.data for s in verdict.samples(AUDIO)] == [frame.data for frame in audio]
    for out, frame in zip(verdict.samples(AUDIO), audio, strict=True):
        assert source.audio_rate is not None
        assert abs(1000 * out.time / source.audio_rate - (frame.dts_ms - zero_ms)) < 1.1


@settings(deadline=None, max_examples=40)
@given(
    source=sources,
    drops=st.sets(st.integers(1, 250)),
    scenes=st.sets(st.integers(1, 250), max_size=20),
    wobble=st.randoms(use_true_random=False),
)
def test_dropped_frames_scene_cuts_and_heavy_jitter_keep_the_hard_rules(
    source: Source, drops: set[int], scenes: set[int], wobble: Random
) -> None:
    assert source.fps is not None
    longest = round(3 * source.fps)
    source.gop = lambda number: number % longest == 0 or number in scenes
    source.jitter_ms = lambda number: wobble.randint(-20, 20) if number else 0
    frames = source.frames()
    kept, number = [], -1
    for frame in frames:
        number += frame.is_video
        if not (frame.is_video and number in drops and not frame.idr):
            kept.append(frame)
    result = start(source).push(kept).flush()
    judge(result.batches, constant_rate=False, idr_segments=False, filled=True)


outages = st.lists(
    st.tuples(
        st.sampled_from(["video", "audio", "both", "shift video", "shift audio", "shift both"]),
        st.integers(0, 12_000),
        st.integers(-4_000, 7_000),
    ),
    max_size=5,
)


@settings(deadline=None, max_examples=60)
@given(
    fps=st.sampled_from([Fraction(30), Fraction(25), Fraction(5), Fraction(1)]),
    audio_rate=st.sampled_from([48_000, 44_100, None]),
    gop_s=st.sampled_from([1, 2, 30]),
    b_frames=st.integers(0, 2),
    troubles=outages,
)
def test_outages_and_shifted_clocks_keep_the_hard_rules(
    fps: Fraction,
    audio_rate: int | None,
    gop_s: int,
    b_frames: int,
    troubles: list[tuple[str, int, int]],
) -> None:
    """Tracks fall silent for a while, or their stamps shift for good, both or one of them."""
    source = Source(
        fps=fps,
        audio_rate=audio_rate,
        gop=round(gop_s * fps),
        b_frames=b_frames,
        duration_s=14,
    )
    frames = source.frames()
    for what, start_ms, length_ms in troubles:
        tracks = {"video": [True], "audio": [False]}.get(what.split()[-1], [True, False])
        if what.startswith("shift"):
            frames = [
                replace(f, dts_ms=f.dts_ms + length_ms, pts_ms=f.pts_ms + length_ms)
                if f.is_video in tracks and f.dts_ms >= start_ms
                else f
                for f in frames
            ]
        else:
            stop_ms = start_ms + length_ms
            frames = [
                f for f in frames if not (f.is_video in tracks and start_ms <= f.dts_ms < stop_ms)
            ]
    result = start(source).push(frames).flush()
    if result.events:
        judge(
            result.batches,
            constant_rate=False,
            idr_segments=False,
            filled=True,
            long_parts=True,
        )


# -- anything at all

stamps = st.one_of(
    st.integers(-200, 5_000),
    st.integers(0, 100).map(lambda n: n * 40),
    st.sampled_from([-(2**63), 2**63, 2**31, -(2**31), 10**30]),
)
payloads = st.one_of(
    st.sampled_from([picture(idr=True), picture(idr=False), nal(9), b"", nal(5), b"\x21\x00"]),
    st.binary(max_size=12),
)
samples = st.builds(
    Sample,
    kind=st.sampled_from(TrackKind),
    dts_ms=stamps,
    pts_ms=stamps,
    keyframe=st.booleans(),
    data=payloads,
)


@dataclass(frozen=True)
class Change:
    """Other tracks, by reconfigure, or, with a time or None for one, by reconnect."""

    video: AvcConfig | None
    audio: AacConfig | None
    reconnects: bool
    media_time_s: float | None

    def apply(self, segmenter: Segmenter) -> list[MediaEvent]:
        if not self.reconnects:
            return segmenter.reconfigure(video=self.video, audio=self.audio)
        return segmenter.reconnect(
            video=self.video, audio=self.audio, media_time_s=self.media_time_s
        )


changes = st.builds(
    Change,
    video=st.sampled_from([VIDEO_CONFIG, OTHER_VIDEO, None]),
    audio=st.sampled_from([AUDIO_CONFIG, OTHER_AUDIO, None]),
    reconnects=st.booleans(),
    media_time_s=st.none() | st.floats(0, 1000),
).filter(lambda change: change.video is not None or change.audio is not None)


@settings(deadline=None, max_examples=250)
@given(
    video=st.sampled_from([VIDEO_CONFIG, None]),
    script=st.lists(st.one_of(samples, samples, samples, changes), max_size=80),
    small=st.booleans(),
)
def test_any_samples_give_good_parts_or_a_media_error(
    video: AvcConfig | None, script: list[Sample | Change], small: bool
) -> None:
    policy = SegmenterSettings()
    if small:
        policy = SegmenterSettings(max_probe_bytes=3000, max_segment_bytes=6000, max_gop_s=2.5)
    segmenter = Segmenter(video=video, audio=AUDIO_CONFIG, settings=policy)
    batches = []
    for step in script:
        with contextlib.suppress(MediaError):
            batches.append(
                list(segmenter.push(step) if isinstance(step, Sample) else step.apply(segmenter))
            )
    batches.append(segmenter.flush())
    assert segmenter.flush() == []
    if any(batches):
        judge(batches, constant_rate=False, idr_segments=False, filled=True, long_parts=True)
