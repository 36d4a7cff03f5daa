"""Placements: what the segmenter says of each picture agrees with the parts that it gives out.

Whoever encodes the pictures again builds on it, `hls.rung` too. While the first segment is probed a
picture may be said to begin a segment that does not; never the other way round, for sources that
are regular. Cuts that need no IDR picture (`SegmenterSettings.free_cut_gop_s`) are tested here too.
"""

import math
from dataclasses import replace
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_rules import judge
from media_samples import Frame, Source, SpsFields, avc_record, picture, x264_options
from segmenter_runs import Driver, Run, constant
from slot_rules import Slots, check_placements

import hls
from hls import AvcConfig, MediaError, Segmenter, SegmenterSettings

DRIVER = Driver(hls)
FREE = SegmenterSettings(free_cut_gop_s=4.0)
RATES = [
    *(Fraction(rate) for rate in (24, 25, 30, 50, 60)),
    Fraction(24_000, 1001),
    Fraction(30_000, 1001),
]


def checked(run: Run, *, may_miss: bool = False) -> list[int]:
    return check_placements(
        run.placements, run.events, probed=run.first_released or 0, may_miss=may_miss
    )


def claiming(fps: Fraction) -> AvcConfig:
    """A configuration that says the frame rate, as x264's do."""
    sps = SpsFields(timing=(fps.denominator, 2 * fps.numerator))
    return AvcConfig.parse(avc_record(sps.unit()))


def jittery(source: Source, jitter: Random | None) -> Source:
    if jitter is not None:
        # The first picture defines the clock.
        source.jitter_ms = lambda number: jitter.choice((-1, 0, 1)) if number else 0
    return source


sources = st.builds(
    Source,
    fps=st.sampled_from(RATES),
    b_frames=st.integers(0, 3),
    audio_rate=st.sampled_from([48_000, 44_100, None]),
    duration_s=st.floats(4.5, 6.5),
    start_ms=st.sampled_from([0, -7, 2**31]),
    audio_delay_ms=st.integers(-80, 80),
    round_ms=st.sampled_from([round, math.floor, math.ceil]),
)
jitters = st.none() | st.randoms(use_true_random=False)


# Passed through.


@settings(max_examples=20)
@given(
    source=sources,
    gop_s=st.sampled_from([0.25, 0.5, 1, 2, 0.9, 1.5, 1.9, 3, 4]),
    jitter=jitters,
    declares=st.booleans(),
)
def test_a_regular_source_is_cut_as_ever_and_placed_where_it_is_cut(
    source: Source, gop_s: float, jitter: Random | None, declares: bool
) -> None:
    assert source.fps is not None
    source.gop = round(gop_s * source.fps)
    if declares:
        source.first_sei = x264_options(f"keyint={source.gop} bframes=3")
    frames = jittery(source, jitter).frames()
    plain = DRIVER.start(source).push(frames).flush()
    run = DRIVER.start(source, FREE).push(frames).flush()
    assert run.batches == plain.batches
    assert run.segmenter.cuts_anywhere is plain.segmenter.cuts_anywhere is False
    extra = checked(run)
    assert len(checked(plain)) <= len(extra)
    if declares or round(2 * source.fps) % source.gop == 0:
        assert not extra
    assert len(extra) <= 2


@pytest.mark.parametrize("fps", RATES, ids=str)
def test_a_gop_of_just_the_limit_is_passed_through(fps: Fraction) -> None:
    frames = math.ceil(4 * fps)
    for sei in (b"", x264_options(f"keyint={frames}")):
        for video in (DRIVER.video, claiming(fps)):
            source = constant(fps, gop=frames, duration_s=9, first_sei=sei)
            run = Run(DRIVER, Segmenter(video=video, audio=DRIVER.audio, settings=FREE))
            run.push(source.frames()).flush()
            assert run.segmenter.cuts_anywhere is False
            assert run.segmenter.forced_cuts == 0
            judge(run.batches)
            checked(run)


def test_nobody_knows_before_the_first_segment_is_complete() -> None:
    run = DRIVER.start(constant(30), FREE)
    for frame in constant(30).frames():
        run.push([frame])
        assert run.segmenter.cuts_anywhere is (None if run.first_released is None else False)


# Cut anywhere.


def free_run(source: Source, video: AvcConfig | None = None) -> Run:
    audio = None if source.audio_rate is None else DRIVER.start(source).segmenter._audio
    run = Run(DRIVER, Segmenter(video=video or DRIVER.video, audio=audio, settings=FREE))
    return run.push(source.frames()).flush()


def check_free_cuts(run: Run, source: Source) -> None:
    """All segments last 2 s, and what was foretold has come."""
    assert run.segmenter.cuts_anywhere is True
    assert run.segmenter.forced_cuts == 0
    verdict = judge(run.batches, idr_segments=False)
    assert verdict.target_duration_s == 2
    assert source.fps is not None
    half_frame_s = 0.5 / float(source.fps) + 0.002
    for segment in verdict.segments[:-1]:
        assert abs(segment.duration_s - 2) <= half_frame_s
    assert len(verdict.segments) == math.ceil(source.duration_s / 2)


@settings(max_examples=15)
@given(source=sources, gop_s=st.sampled_from([4.1, 5, 8, 60]), jitter=jitters)
def test_a_long_gop_that_is_waited_for_is_cut_at_the_target(
    source: Source, gop_s: float, jitter: Random | None
) -> None:
    assert source.fps is not None
    source.gop = math.ceil(gop_s * source.fps)
    source.duration_s = 8.9
    run = free_run(jittery(source, jitter))
    check_free_cuts(run, source)
    assert checked(run) == []


@settings(max_examples=15)
@given(
    source=sources,
    keyint=st.sampled_from(["250", "infinite", "600"]),
    claims=st.booleans(),
    scenes=st.sets(st.integers(1, 200), max_size=5),
    jitter=jitters,
)
def test_a_long_gop_that_is_declared_is_cut_at_the_target(
    source: Source, keyint: str, claims: bool, scenes: set[int], jitter: Random | None
) -> None:
    """Whatever IDR pictures there are in between: they begin no segment."""
    assert source.fps is not None
    source.first_sei = x264_options(f"keyint={keyint} bframes=0")
    source.gop = lambda number: number == 0 or number in scenes
    source.duration_s = 8.9
    jittery(source, jitter)
    run = free_run(source, claiming(source.fps) if claims else None)
    gop_s = math.inf if keyint == "infinite" else int(keyint) / source.fps
    if gop_s > Fraction(402, 100):
        check_free_cuts(run, source)
    # Unless both are declared at once, it takes a segment to know that these are nothing special.
    known_at_once = claims or keyint == "infinite"
    assert set(checked(run)) <= (set() if known_at_once else scenes)


def test_what_the_encoder_declares_is_known_with_the_first_picture() -> None:
    for sei, fps, known in [
        ("keyint=250", Fraction(60), True),
        ("keyint=250", Fraction(63), None),  # 3.97 s
        ("keyint=infinite", None, True),
        ("keyint=250", None, None),  # it needs a measured rate
    ]:
        source = constant(60, gop=600, first_sei=x264_options(sei))
        video = DRIVER.video if fps is None else claiming(fps)
        run = Run(DRIVER, Segmenter(video=video, audio=None, settings=FREE))
        run.push(source.frames()[:1])
        assert run.segmenter.cuts_anywhere is known
        run.push(source.frames()[1:]).flush()
        assert run.segmenter.cuts_anywhere is True


def test_an_early_idr_picture_does_not_hide_a_long_gop() -> None:
    """The wait counts from the last IDR picture, not from the first."""
    source = constant(30, gop=lambda number: number in (0, 45), duration_s=9)
    run = free_run(source)
    assert run.segmenter.cuts_anywhere is True
    ended_s = next(n for n, batch in enumerate(run.batches) if batch) / len(run.batches) * 9
    assert 5.4 < ended_s < 5.7
    judge(run.batches, idr_segments=False)
    checked(run)


def test_it_is_never_taken_back() -> None:
    """Not by a second start without the declaration, nor by a broadcast that becomes audio."""
    source = constant(30, gop=30, first_sei=x264_options("keyint=infinite"))
    run = DRIVER.start(source, FREE).push(source.frames()[:20])
    assert run.segmenter.cuts_anywhere is True
    again = [replace(frame, dts_ms=frame.dts_ms + 90_000) for frame in constant(30).frames()]
    again = [replace(frame, pts_ms=frame.dts_ms) for frame in again]
    run.push(again).flush()
    assert run.segmenter.cuts_anywhere is True
    assert len(checked(run)) <= 2

    run = DRIVER.start(source, FREE).push(source.frames()[:20])
    run.take(run.segmenter.reconfigure(video=None, audio=DRIVER.audio))
    run.push(Source(fps=None).frames()).flush()
    assert run.segmenter.cuts_anywhere is True


def test_audio_alone_is_not_cut_anywhere() -> None:
    source = Source(fps=None, duration_s=4)
    run = DRIVER.start(source, FREE).push(source.frames()).flush()
    assert run.segmenter.cuts_anywhere is False
    assert run.placements == []
    assert all(not part.event.layout.durations for part in Slots.read(run.events).parts)


def test_a_pause_does_not_make_short_segments_afterwards() -> None:
    """Each picture is a place to cut: a long distance between two of them must not be taken for
    the distance of the next two."""
    source = constant(30, gop=3000, duration_s=30)
    frames = [f for f in source.frames() if not (f.is_video and 9_000 < f.dts_ms < 13_500)]
    run = DRIVER.start(source, FREE).push(frames).flush()
    verdict = judge(run.batches, idr_segments=False, filled=True, constant_rate=False)
    assert all(segment.duration_s > 1.8 for segment in verdict.segments[:-1])
    checked(run)


def test_idr_pictures_in_between_are_nothing_special() -> None:
    source = constant(30, gop=150, duration_s=20)
    run = DRIVER.start(source, FREE).push(source.frames()).flush()
    verdict = judge(run.batches, idr_segments=False)
    assert [round(s.duration_s, 3) for s in verdict.segments] == [2.0] * 10
    assert [s.parts[0].independent for s in verdict.segments] == [True] + 4 * [False] + [
        True,
        *(4 * [False]),
    ]


def test_other_pictures_are_cut_anywhere_too() -> None:
    source = constant(30, gop=3000, duration_s=7)
    run = DRIVER.start(source, FREE).push(source.frames())
    run.take(run.segmenter.reconfigure(video=DRIVER.other_video, audio=DRIVER.audio))
    run.push(replace(f, dts_ms=f.dts_ms + 7_000, pts_ms=f.pts_ms + 7_000) for f in source.frames())
    verdict = judge(run.flush().batches, idr_segments=False)
    assert [round(s.duration_s) for s in verdict.segments] == [2, 2, 2, 1, 2, 2, 2, 1]
    assert checked(run) == []


def test_a_broadcast_that_began_as_audio_waits_for_idr_pictures() -> None:
    """Its TARGETDURATION was fixed without a probe, and so was how it is cut."""
    source = constant(30, gop=300, duration_s=12)
    run = DRIVER.start(Source(fps=None), FREE).push(Source(fps=None, duration_s=3).frames())
    run.take(run.segmenter.reconfigure(video=DRIVER.video, audio=DRIVER.audio))
    run.push(replace(f, dts_ms=f.dts_ms + 3_000, pts_ms=f.pts_ms + 3_000) for f in source.frames())
    run.flush()
    assert run.segmenter.cuts_anywhere is False
    assert run.segmenter.forced_cuts > 0
    checked(run)  # also where a cut is forced


# Trouble.


def test_a_segment_that_audio_has_begun_begins_with_the_next_picture_too() -> None:
    """Video stays away; audio ends a segment and begins another, in the probe and after it."""
    for settings_ in (None, FREE, SegmenterSettings(free_cut_gop_s=4.0, segment_target_s=3.0)):
        for start_ms, stop_ms in ((300, 4_400), (1_000, 5_100), (7_000, 10_500), (8_000, 11_700)):
            source = constant(30, gop=3000, duration_s=16)
            frames = [
                f for f in source.frames() if not (f.is_video and start_ms < f.dts_ms < stop_ms)
            ]
            run = DRIVER.start(source, settings_).push(frames).flush()
            judge(
                run.batches, constant_rate=False, idr_segments=False, filled=True, long_parts=True
            )
            checked(run, may_miss=start_ms < 2_000)


def test_the_picture_that_ends_the_probe_begins_what_audio_has_left_open() -> None:
    """Only audio was held behind the last picture, and it ended a segment when it was replayed."""
    source = constant(30, gop=3000, duration_s=14, first_sei=x264_options("keyint=infinite"))
    frames = [f for f in source.frames() if not (f.is_video and 900 < f.dts_ms < 5_700)]
    run = DRIVER.start(source, FREE).push(frames).flush()
    first_back = next(p for f, p in run.placements if f.dts_ms >= 5_700)
    slot = next(s for s in Slots.read(run.events).all if s.number == first_back.number)
    assert slot.begins_segment
    assert first_back.begins_segment
    checked(run)


def test_offsets_that_are_garbage_are_cut_down_as_the_source_does() -> None:
    run = DRIVER.start(constant(30, audio_rate=None))
    frames = constant(30, audio_rate=None, duration_s=4).frames()
    frames[70] = replace(frames[70], pts_ms=2**62)
    frames[71] = replace(frames[71], pts_ms=-(2**62))
    run.push(frames).flush()
    checked(run)
    assert run.placements[70][1].pts_ticks == frames[70].dts_ms * 90 + 900_000


def test_a_false_start_has_numbers_of_its_own() -> None:
    source = constant(30, gop=30, duration_s=5)
    false_start = constant(30, gop=30, start_ms=90_000).frames()[:40]
    run = DRIVER.start(source).push(false_start).push(source.frames()).flush()
    assert next(p.number for _, p in run.placements if p.begins_epoch) == 0
    first = Slots.read(run.events).all[0].number
    assert first == sum(frame.is_video for frame in false_start)
    assert run.placements[first][1] == (first, 0, True, True, True)
    checked(run)


@settings(max_examples=40)
@given(data=st.data())
def test_whatever_happens_to_a_broadcast(data: st.DataObject) -> None:
    """Breaks, reconnections, other tracks, silence, lost frames, in any order."""
    draw = data.draw
    policy = draw(st.sampled_from([SegmenterSettings(), FREE, SegmenterSettings(max_gop_s=2.2)]))
    segmenter = Segmenter(video=DRIVER.video, audio=DRIVER.audio, settings=policy)
    run = Run(DRIVER, segmenter)
    origin_ms = 0
    for _ in range(draw(st.integers(1, 6))):
        gop = draw(st.sampled_from([15, 60, 72, 100, 3000]))
        source = Source(
            fps=draw(st.sampled_from([Fraction(30), Fraction(10), Fraction(2)])),
            gop=gop,
            b_frames=draw(st.integers(0, 2)),
            audio_rate=draw(st.sampled_from([48_000, None])),
            duration_s=draw(st.sampled_from([0.1, 1, 2.5, 6])),
            start_ms=origin_ms,
        )
        kept = draw(st.sampled_from(["all", "no audio", "no video", "half", "no idr"]))
        chance = Random(len(run.batches))
        frames = [frame for frame in source.frames() if keeps(kept, frame, chance)]
        try:
            run.push(frames)
            step = draw(st.sampled_from(["go on", "jump", "back", "reconfigure", "reconnect"]))
            origin_ms += round(1000 * source.duration_s)
            if step == "jump":
                origin_ms += draw(st.sampled_from([400, 3_000, 20_000]))
            elif step == "back":
                origin_ms -= draw(st.sampled_from([100, 1_000, 10_000]))
            elif step in ("reconfigure", "reconnect"):
                tracks = {
                    "video": draw(st.sampled_from([DRIVER.video, DRIVER.other_video])),
                    "audio": draw(st.sampled_from([DRIVER.audio, DRIVER.other_audio])),
                }
                run.take(getattr(segmenter, step)(**tracks))
        except MediaError:  # pragma: no cover - none is expected of these
            raise AssertionError("these samples are small and well-formed") from None
    run.flush()
    checked(run, may_miss=True)


def keeps(what: str, frame: Frame, chance: Random) -> bool:
    if what == "half":
        return chance.random() < 0.5
    if what == "no idr":
        return not (frame.is_video and frame.idr)
    return what == "all" or frame.is_video == (what == "no audio")


def test_what_is_no_picture_is_not_placed() -> None:
    run = DRIVER.start(constant(30)).push(constant(30).frames()[:1])
    assert run.segmenter.placed is not None
    audio = next(f for f in constant(30).frames() if not f.is_video)
    run.push([audio])
    assert run.segmenter.placed is None
    for data in (b"", picture(idr=False)[:6]):
        run.push([replace(audio, is_video=True, data=data)])
        assert run.segmenter.placed is None
    assert len(run.placements) == 1


def test_media_ticks_are_those_of_the_newest_sample() -> None:
    run = DRIVER.start(constant(30, start_ms=777)).push(constant(30, start_ms=777).frames()[:9])
    assert run.segmenter.media_ticks(777) == 0
    assert run.segmenter.media_ticks(777 + 40) == 3_600
