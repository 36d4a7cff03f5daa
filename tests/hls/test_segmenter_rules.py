"""Whatever a publisher sends, what comes out obeys the rules: Hypothesis looks for exceptions."""

import math
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st
from media_rules import AUDIO, VIDEO, judge
from media_samples import Source, nal, picture
from segmenter_runs import AUDIO_CONFIG, OTHER_AUDIO, OTHER_VIDEO, VIDEO_CONFIG, start

from hls import MediaError, Sample, Segmenter, SegmenterSettings, TrackKind

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
    source: Source, gop_s: float, jitter: object
) -> None:
    assert source.fps is not None
    source.gop = max(1, round(gop_s * source.fps))
    if jitter is not None:
        # A millisecond either way, but the first picture defines the clock.
        source.jitter_ms = lambda number: jitter.choice((-1, 0, 1)) if number else 0  # type: ignore[attr-defined]
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
    source: Source, drops: set[int], scenes: set[int], wobble: object
) -> None:
    assert source.fps is not None
    longest = round(3 * source.fps)
    source.gop = lambda number: number % longest == 0 or number in scenes
    source.jitter_ms = lambda number: wobble.randint(-20, 20) if number else 0  # type: ignore[attr-defined]
    frames = source.frames()
    kept, number = [], -1
    for frame in frames:
        number += frame.is_video
        if not (frame.is_video and number in drops and not frame.idr):
            kept.append(frame)
    result = start(source).push(kept).flush()
    judge(result.batches, constant_rate=False, idr_segments=False, filled=True)


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
steps = st.one_of(
    samples,
    samples,
    samples,
    st.tuples(
        st.sampled_from([VIDEO_CONFIG, OTHER_VIDEO, None]),
        st.sampled_from([AUDIO_CONFIG, OTHER_AUDIO, None]),
        st.none() | st.floats(0, 1000) | st.just("same publisher"),
    ).filter(lambda tracks: tracks[0] is not None or tracks[1] is not None),
)


@settings(deadline=None, max_examples=250)
@given(
    tracks=st.sampled_from(
        [(VIDEO_CONFIG, AUDIO_CONFIG), (VIDEO_CONFIG, None), (None, AUDIO_CONFIG)]
    ),
    script=st.lists(steps, max_size=80),
    small=st.booleans(),
)
def test_any_samples_give_good_parts_or_a_media_error(
    tracks: tuple[object, object], script: list[object], small: bool
) -> None:
    policy = SegmenterSettings()
    if small:
        policy = SegmenterSettings(max_probe_bytes=3000, max_segment_bytes=6000, max_gop_s=2.5)
    segmenter = Segmenter(video=tracks[0], audio=tracks[1], settings=policy)  # type: ignore[arg-type]
    batches = []
    for step in script:
        try:
            batches.append(apply(segmenter, step))
        except MediaError:
            continue
    batches.append(segmenter.flush())
    assert segmenter.flush() == []
    if any(batches):
        judge(batches, constant_rate=False, idr_segments=False, filled=True, long_parts=True)


def apply(segmenter: Segmenter, step: object) -> list[object]:
    if isinstance(step, Sample):
        return list(segmenter.push(step))
    video, audio, how = step  # type: ignore[misc]
    if how == "same publisher":
        return list(segmenter.reconfigure(video=video, audio=audio))
    return list(segmenter.reconnect(video=video, audio=audio, media_time_s=how))
