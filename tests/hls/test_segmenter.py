"""The segmenter as a whole: its states, its breaks, and what it refuses."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from media_rules import AUDIO, VIDEO, judge
from media_samples import Frame, Source, nal, picture, x264_options
from segmenter_runs import Driver, Run, constant

import hls
from hls import (
    InitSegment,
    MediaError,
    Part,
    Presentation,
    Sample,
    SegmentEnd,
    Segmenter,
    SegmenterSettings,
    TrackKind,
    UsageError,
)

DRIVER = Driver(hls)
AUDIO_CONFIG = DRIVER.audio
OTHER_AUDIO = DRIVER.other_audio
OTHER_VIDEO = DRIVER.other_video
VIDEO_CONFIG = DRIVER.video
run = DRIVER.run
sample = DRIVER.sample
start = DRIVER.start


def names(batch: Sequence[object]) -> str:
    return "".join(type(event).__name__[0] for event in batch)


def shifted(frames: list[Frame], by_ms: int) -> list[Frame]:
    return [
        replace(frame, dts_ms=frame.dts_ms + by_ms, pts_ms=frame.pts_ms + by_ms) for frame in frames
    ]


# -- the first segment


def test_the_first_segment_comes_whole_and_then_part_by_part() -> None:
    batches = [batch for batch in run(constant(30, duration_s=6.5)).batches if batch]
    assert names(batches[0]) == "PI" + 10 * "P" + "S"
    assert isinstance(batches[0][0], Presentation)
    assert isinstance(batches[0][1], InitSegment)
    assert {names(batch) for batch in batches[1:-1]} == {"P", "PS"}
    assert names(batches[-1]) == "PS"


def test_a_part_is_out_when_its_successor_begins() -> None:
    """Its last picture's duration is known then, and its audio has come just before."""
    source = constant(30, duration_s=4)
    packaged = run(source)
    sent = source.frames()
    out = 0
    for frame, batch in zip(sent, packaged.batches, strict=False):
        for event in batch:
            if isinstance(event, Part) and event.msn > 0:
                end_ms = 1000 * (event.media_time_s + event.duration_s)
                assert -0.001 <= frame.dts_ms - end_ms <= 22
                out += 1
    assert out == 9


def test_a_broadcast_shorter_than_a_segment() -> None:
    verdict = judge(run(constant(30, duration_s=0.7)).batches)
    assert [len(segment.parts) for segment in verdict.segments] == [4]
    verdict = judge(run(constant(30, duration_s=0.04, audio_rate=None)).batches)
    assert verdict.parts[0].duration_s == pytest.approx(1 / 30)
    assert verdict.inits[0].frame_rate == 30.0


def test_nothing_in_nothing_out() -> None:
    segmenter = Segmenter(video=VIDEO_CONFIG, audio=AUDIO_CONFIG)
    assert segmenter.flush() == []
    assert segmenter.flush() == []


def test_what_the_init_segment_says() -> None:
    (init,) = judge(run(constant(Fraction(30000, 1001), gop=59)).batches).inits
    assert init.codecs == ("avc1.42c01f", "mp4a.40.2")
    assert (init.width, init.height, init.frame_rate) == (1280, 720, 29.97)
    (init,) = judge(run(Source(fps=None)).batches).inits
    assert (init.codecs, init.width, init.frame_rate) == (("mp4a.40.2",), None, None)


def test_the_gop_that_x264_declares_makes_room_for_it() -> None:
    """OBS's default: GOPs of any length up to 250 frames, here 2 s, 5 s and 250 frames."""
    source = constant(30, duration_s=24, gop=lambda n: n in (0, 60, 210, 460, 700))
    source.first_sei = x264_options("keyint=250 keyint_min=25 scenecut=40")
    packaged = run(source)
    verdict = judge(packaged.batches)
    assert verdict.target_duration_s == 8
    assert packaged.segmenter.forced_cuts == 0
    source.first_sei = b""
    packaged = run(source)
    assert judge(packaged.batches, idr_segments=False).target_duration_s == 2
    assert packaged.segmenter.forced_cuts > 0


def test_an_endless_gop_is_cut_at_the_probe_s_bound() -> None:
    source = constant(10, duration_s=30, gop=10_000)
    for sei in (b"", x264_options("keyint=infinite")):
        source.first_sei = sei
        packaged = run(source)
        verdict = judge(packaged.batches, idr_segments=False)
        assert verdict.target_duration_s == 12
        assert verdict.segments[0].duration_s == pytest.approx(12.4, abs=0.1)
        assert [s.parts[0].independent for s in verdict.segments] == [True, False, False]
        assert packaged.segmenter.forced_cuts == 2


def test_the_probe_is_bounded_in_bytes() -> None:
    source = constant(30, duration_s=6, gop=10_000)
    packaged = run(source, SegmenterSettings(max_probe_bytes=20_000))
    verdict = judge(packaged.batches, idr_segments=False)
    assert verdict.target_duration_s == 2
    assert packaged.segmenter.forced_cuts == 2


def test_audio_without_pictures_ends_the_probe_too() -> None:
    source = constant(30, duration_s=14, gop=10_000)
    frames = [frame for frame in source.frames() if not frame.is_video or frame.dts_ms < 100]
    packaged = start(source).push(frames).flush()
    verdict = judge(packaged.batches, idr_segments=False, filled=True)
    assert len(verdict.samples(AUDIO)) == len(frames) - 3


# -- the start


def test_everything_before_the_first_idr_picture_is_dropped() -> None:
    source = constant(30, duration_s=6, gop=lambda n: n % 60 == 20)
    packaged = run(source)
    verdict = judge(packaged.batches)
    zero_ms = 667
    assert len(verdict.samples(VIDEO)) == 160
    expected = [f.data for f in source.frames() if not f.is_video and f.dts_ms >= zero_ms]
    assert [s.data for s in verdict.samples(AUDIO)] == expected
    first = verdict.samples(AUDIO)[0]
    assert 0 <= first.time < 1024, "at its true offset from the first picture"


def test_audio_that_comes_before_its_picture_is_kept() -> None:
    source = constant(30, duration_s=5, audio_delay_ms=-300)
    verdict = judge(run(source).batches)
    assert len(verdict.samples(AUDIO)) == len([f for f in source.frames() if not f.is_video])


def test_a_false_start_is_forgotten_once() -> None:
    frames = constant(30, duration_s=6).frames()
    packaged = start(constant(30)).push(shifted(frames[:20], 1_000_000)).push(frames).flush()
    verdict = judge(packaged.batches)
    assert packaged.segmenter.discontinuities == 0
    assert packaged.segmenter.dropped_samples >= 19
    assert verdict.parts[0].media_time_s == 0
    assert len(verdict.samples(VIDEO)) == 180


def test_the_second_false_start_is_published() -> None:
    """A source that loops every second must not be probed for ever."""
    packaged = start(constant(30))
    for _ in range(5):
        packaged.push(constant(30, duration_s=1).frames())
    packaged.flush()
    verdict = judge(packaged.batches, constant_rate=False)
    assert packaged.segmenter.discontinuities == 3
    assert len(verdict.samples(VIDEO)) == 120


# -- breaks in the publisher's stamps


@pytest.mark.parametrize(
    ("jump_ms", "pause_s"),
    [
        pytest.param(-4_000, 0, id="back to the start"),
        pytest.param(20_000, 20, id="forward: a pause"),
        pytest.param(3_600_000, 0, id="forward: another clock"),
    ],
)
def test_a_jump_is_a_discontinuity(jump_ms: int, pause_s: float) -> None:
    source = constant(30, duration_s=4)
    frames = source.frames()
    packaged = start(source).push(frames).push(shifted(frames, 4_000 + jump_ms)).flush()
    verdict = judge(packaged.batches)
    assert packaged.segmenter.discontinuities == 1
    assert [part.discontinuity for part in verdict.parts].count(True) == 1
    assert [segment.parts[0].discontinuity for segment in verdict.segments] == [
        False, False, True, False,
    ]  # fmt: skip
    assert verdict.segments[2].parts[0].media_time_s == pytest.approx(4 + pause_s, abs=0.03)
    assert len(verdict.samples(VIDEO)) == 240
    assert len(verdict.inits) == 1


def test_after_a_jump_the_next_idr_picture_is_awaited() -> None:
    source = constant(30, duration_s=4)
    frames = source.frames()
    later = [frame for frame in shifted(frames, 1_000_000) if frame.dts_ms > 1_000_500]
    packaged = start(source).push(frames).push(later).flush()
    verdict = judge(packaged.batches)
    assert len(verdict.samples(VIDEO)) == 120 + 60
    assert verdict.segments[2].parts[0].discontinuity


def test_audio_alone_that_jumps_breaks_as_well() -> None:
    source = Source(fps=None, duration_s=4)
    frames = source.frames()
    packaged = start(source).push(frames).push(shifted(frames, -2_000)).flush()
    verdict = judge(packaged.batches)
    assert packaged.segmenter.discontinuities == 1
    assert len(verdict.samples(AUDIO)) == 2 * len(frames)


def test_audio_that_jumps_breaks_for_both_tracks() -> None:
    source = constant(30, duration_s=4)
    frames = source.frames()
    again = sorted(frames, key=lambda frame: frame.is_video)[:1] + frames
    packaged = start(source).push(frames).push(again).flush()
    verdict = judge(packaged.batches)
    assert packaged.segmenter.discontinuities == 1
    assert len(verdict.samples(VIDEO)) == 240


def test_audio_on_the_old_clock_does_not_break_the_new_one() -> None:
    source = constant(30, duration_s=4)
    frames = source.frames()
    stale = [replace(f, data=b"stale") for f in shifted(frames, 0)[-12:] if not f.is_video]
    second = shifted(frames, 100_000_000)
    for late in (stale, shifted(stale, 200_000_000)):
        packaged = start(source).push(frames).push(second[:1]).push(late).push(second[1:]).flush()
        verdict = judge(packaged.batches)
        assert packaged.segmenter.discontinuities == 1
        assert b"stale" not in {s.data for s in verdict.segments[2].samples(AUDIO)}
        assert packaged.segmenter.dropped_samples == len(late)


# -- other tracks, other publishers


def test_the_same_configuration_again_changes_nothing() -> None:
    source = constant(30, duration_s=6)
    packaged = start(source)
    for frame in source.frames():
        assert packaged.segmenter.reconfigure(video=VIDEO_CONFIG, audio=AUDIO_CONFIG) == []
        packaged.push([frame])
    packaged.flush()
    assert packaged.segmenter.discontinuities == 0
    assert judge(packaged.batches).segments[-1].msn == 2


@pytest.mark.parametrize(
    ("video", "audio"),
    [
        pytest.param(OTHER_VIDEO, AUDIO_CONFIG, id="another picture size"),
        pytest.param(VIDEO_CONFIG, OTHER_AUDIO, id="another sample rate"),
        pytest.param(VIDEO_CONFIG, None, id="audio goes"),
        pytest.param(None, AUDIO_CONFIG, id="video goes"),
    ],
)
def test_another_configuration_is_a_discontinuity(video: object, audio: object) -> None:
    source = constant(30, duration_s=5)
    frames = source.frames()
    packaged = start(source).push(frames[:-30])
    packaged.batches.append(packaged.segmenter.reconfigure(video=video, audio=audio))
    packaged.push(shifted(frames, 5_000)).flush()
    verdict = judge(packaged.batches, constant_rate=video is not None)
    first, second = verdict.inits
    assert (first.index, second.index) == (0, 1)
    assert first.data != second.data
    broken = [s.msn for s in verdict.segments if s.parts[0].discontinuity]
    assert broken == [3]
    assert {part.init_index for part in verdict.segments[3].parts} == {1}
    if video is OTHER_VIDEO:
        assert (second.width, second.height, second.frame_rate) == (640, 352, None)
    elif video is VIDEO_CONFIG:
        assert second.frame_rate == 30.0
    assert verdict.parts[-1].media_time_s > 9


def test_video_may_join_audio() -> None:
    source = constant(30, duration_s=5)
    frames = source.frames()
    packaged = start(Source(fps=None)).push(frame for frame in frames if not frame.is_video)
    packaged.batches.append(packaged.segmenter.reconfigure(video=VIDEO_CONFIG, audio=AUDIO_CONFIG))
    packaged.push(shifted(frames, 5_000)).flush()
    verdict = judge(packaged.batches, idr_segments=False)
    assert len(verdict.samples(VIDEO)) == 150
    assert verdict.part_target_s == 0.193


def test_back_to_the_first_configuration_is_a_third_init_segment() -> None:
    source = constant(30, duration_s=2.5)
    packaged = start(source)
    for number, video in enumerate((VIDEO_CONFIG, OTHER_VIDEO, VIDEO_CONFIG)):
        packaged.batches.append(packaged.segmenter.reconfigure(video=video, audio=AUDIO_CONFIG))
        packaged.push(shifted(source.frames(), 2_500 * number))
    packaged.flush()
    verdict = judge(packaged.batches)
    assert [init.index for init in verdict.inits] == [0, 1, 2]
    assert verdict.inits[0].data == verdict.inits[2].data


def test_audio_that_joins_during_the_probe_keeps_the_pictures_held() -> None:
    source = constant(30, duration_s=5)
    packaged = Run(DRIVER, Segmenter(video=VIDEO_CONFIG, audio=None))
    packaged.push(frame for frame in source.frames() if frame.dts_ms < 1_000)
    assert packaged.segmenter.reconfigure(video=VIDEO_CONFIG, audio=AUDIO_CONFIG) == []
    packaged.push(frame for frame in source.frames() if frame.dts_ms >= 1_000).flush()
    verdict = judge(packaged.batches)
    assert packaged.segmenter.discontinuities == 0
    assert len(verdict.inits) == 1
    assert len(verdict.samples(VIDEO)) == 150
    audio = verdict.samples(AUDIO)
    assert audio[0].time == pytest.approx(0, abs=1_100)
    assert {s.data == AUDIO_CONFIG.silence for s in audio if s.time < 46_900} == {True}
    assert {s.data == AUDIO_CONFIG.silence for s in audio if s.time > 49_100} == {False}


def test_other_video_during_the_probe_starts_it_again() -> None:
    source = constant(30, duration_s=5)
    packaged = start(source).push(source.frames()[:40])
    assert packaged.segmenter.reconfigure(video=OTHER_VIDEO, audio=AUDIO_CONFIG) == []
    packaged.push(shifted(source.frames(), 1_000)).flush()
    verdict = judge(packaged.batches)
    assert packaged.segmenter.discontinuities == 0
    assert len(verdict.samples(VIDEO)) == 150
    assert verdict.parts[0].media_time_s == 0


@pytest.mark.parametrize(("media_time_s", "expected_s"), [(None, 5), (3.0, 5), (27.25, 27.25)])
def test_another_publisher_goes_on_with_the_broadcast(
    media_time_s: float | None, expected_s: float
) -> None:
    source = constant(30, duration_s=5)
    packaged = start(source).push(source.frames())
    packaged.batches.append(
        packaged.segmenter.reconnect(
            video=VIDEO_CONFIG, audio=AUDIO_CONFIG, media_time_s=media_time_s
        )
    )
    packaged.push(shifted(source.frames(), 15_000)).flush()
    verdict = judge(packaged.batches)
    again = next(s for s in verdict.segments if s.parts[0].discontinuity)
    assert again.msn == 3
    assert again.parts[0].media_time_s == pytest.approx(expected_s, abs=0.03)
    assert len(verdict.inits) == 1


@pytest.mark.parametrize(("media_time_s", "expected_s"), [(None, 0), (9.0, 9)])
def test_a_publisher_that_reconnects_before_anything_is_out_is_the_first(
    media_time_s: float | None, expected_s: float
) -> None:
    source = constant(30, duration_s=5)
    packaged = start(source)
    for _ in range(3):  # however often: a first segment is known to be whole, or nobody sees it
        packaged.push(source.frames()[:30])
        assert packaged.segmenter.interrupt() == []
        assert (
            packaged.segmenter.reconnect(
                video=OTHER_VIDEO, audio=AUDIO_CONFIG, media_time_s=media_time_s
            )
            == []
        )
    packaged.push(source.frames()).flush()
    verdict = judge(packaged.batches)
    assert verdict.parts[0].media_time_s == expected_s
    assert not verdict.parts[0].discontinuity
    assert packaged.segmenter.discontinuities == 0
    assert len(verdict.samples(VIDEO)) == 150


def test_an_interrupted_publisher_leaves_its_last_frames_and_the_next_one_a_discontinuity() -> None:
    source = constant(30, duration_s=5)
    packaged = start(source).push(source.frames())
    packaged.take(packaged.segmenter.interrupt())
    assert names(packaged.batches[-1])[-1] == "S"
    assert len(judge(packaged.batches).samples(VIDEO)) == 150
    assert packaged.segmenter.interrupt() == []
    again = packaged.segmenter.reconnect(video=VIDEO_CONFIG, audio=AUDIO_CONFIG, media_time_s=15.5)
    assert again == []
    # Its stamps go on where the others ended, and still it is another clock.
    packaged.push(shifted(source.frames(), 5_000)).flush()
    verdict = judge(packaged.batches)
    assert packaged.segmenter.discontinuities == 1
    (broken,) = [s for s in verdict.segments if s.parts[0].discontinuity]
    assert (broken.msn, broken.parts[0].media_time_s) == (3, 15.5)


def test_an_interrupted_first_segment_is_published_if_nobody_comes_back() -> None:
    source = constant(30, duration_s=1)
    packaged = start(source).push(source.frames())
    assert packaged.segmenter.interrupt() == []
    assert len(judge(packaged.flush().batches).samples(VIDEO)) == 30


# -- what is left out, and what is refused


def test_samples_that_are_no_use_are_dropped_and_counted() -> None:
    segmenter = Segmenter(video=VIDEO_CONFIG, audio=None)
    video, audio = TrackKind.VIDEO, TrackKind.AUDIO
    useless = [
        Sample(audio, 0, 0, True, b"\x21"),
        Sample(video, 0, 0, True, b""),
        Sample(video, 0, 0, True, nal(7) + nal(8)),
        Sample(video, 0, 0, True, picture(idr=False)),
    ]
    for each in useless:
        assert segmenter.push(each) == []
    assert segmenter.dropped_samples == 4
    other = Segmenter(video=None, audio=AUDIO_CONFIG)
    assert other.push(Sample(video, 0, 0, True, picture(idr=True))) == []
    assert other.push(Sample(audio, 0, 0, True, b"")) == []
    assert other.dropped_samples == 2
    assert other.flush() == []


def test_the_bitstream_decides_what_is_an_idr_picture() -> None:
    frames = [replace(f, idr=not f.idr) for f in constant(30, duration_s=5).frames()]
    verdict = judge(start(constant(30)).push(frames).flush().batches)
    assert [s.duration_s for s in verdict.segments] == [2.0, 2.0, pytest.approx(1.0, abs=0.001)]


def test_views_of_memory_serve_as_well_as_bytes() -> None:
    source = constant(30, duration_s=3)
    frames = [replace(f, data=memoryview(f.data)) for f in source.frames()]  # type: ignore[arg-type]
    assert start(source).push(frames).flush().events == run(source).events


def test_malformed_nal_units_are_a_media_error() -> None:
    segmenter = Segmenter(video=VIDEO_CONFIG, audio=None)
    with pytest.raises(MediaError, match="NAL unit"):
        segmenter.push(Sample(TrackKind.VIDEO, 0, 0, True, b"\x00\x00\x00\x09\x65"))


def small(size: int) -> SegmenterSettings:
    return SegmenterSettings(max_probe_bytes=size // 2, max_segment_bytes=size)


def test_a_segment_beyond_its_bound_is_a_media_error() -> None:
    source = constant(30, duration_s=20, gop=600)
    packaged = start(source, small(100_000))
    with pytest.raises(MediaError, match="more than 100000 bytes: lower the bitrate"):
        packaged.push(
            replace(frame, data=picture(idr=frame.idr, size=5_000)) if frame.is_video else frame
            for frame in source.frames()
        )
    packaged.flush()
    audio = start(Source(fps=None), small(10_000))
    with pytest.raises(MediaError, match="more than 10000 bytes"):
        audio.push(Source(fps=None, duration_s=3).frames())


def stamped(stamps_ms: Iterable[int], size: int) -> list[Sample]:
    data = picture(idr=True, size=size)
    return [Sample(TrackKind.VIDEO, stamp_ms, stamp_ms, True, data) for stamp_ms in stamps_ms]


def test_segments_that_breaks_cut_short_share_one_bound() -> None:
    """A break a picture was a segment a picture, each of any size: gigabytes in a window."""
    segmenter = Segmenter(video=VIDEO_CONFIG, audio=None, settings=small(100_000))
    for frame in stamped(range(0, 3000, 40), 100):
        segmenter.push(frame)
    for frame in stamped([100_000, 50_000] * 4, 10_000):
        segmenter.push(frame)
    with pytest.raises(MediaError, match="more than 100000 bytes"):
        list(map(segmenter.push, stamped([100_000, 50_000] * 4, 10_000)))
    segmenter.flush()


def test_init_sections_that_breaks_bring_count_too() -> None:
    segmenter = Segmenter(video=VIDEO_CONFIG, audio=None, settings=small(50_000))
    for frame in stamped(range(0, 3000, 40), 100):
        segmenter.push(frame)
    (frame,) = stamped([3000], 10)

    def change(padding: int) -> None:
        record = VIDEO_CONFIG.record + bytes(padding)
        segmenter.reconfigure(video=replace(VIDEO_CONFIG, record=record), audio=None)
        segmenter.push(frame)

    with pytest.raises(MediaError, match="more than 50000 bytes"):
        list(map(change, range(2_000, 2_050)))


def test_breaks_a_segment_apart_have_a_bound_each() -> None:
    segmenter = Segmenter(video=VIDEO_CONFIG, audio=None, settings=small(100_000))
    for epoch in range(20):
        for frame in stamped(range(epoch % 2 * 50_000, epoch % 2 * 50_000 + 2200, 40), 1_000):
            segmenter.push(frame)
    assert segmenter.discontinuities == 19


def test_misuse_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="needs a track"):
        Segmenter(video=None, audio=None)
    segmenter = Segmenter(video=VIDEO_CONFIG, audio=None)
    with pytest.raises(UsageError, match="needs a track"):
        segmenter.reconfigure(video=None, audio=None)
    segmenter.flush()
    with pytest.raises(UsageError, match="push after flush"):
        segmenter.push(sample(constant(30).frames()[0]))
    with pytest.raises(UsageError, match="before flush"):
        segmenter.reconfigure(video=OTHER_VIDEO, audio=None)
    with pytest.raises(UsageError, match="before flush"):
        segmenter.reconnect(video=OTHER_VIDEO, audio=None)


def test_the_end_comes_with_the_last_part() -> None:
    for source in (constant(30, duration_s=4.1), Source(fps=None, duration_s=4.1)):
        last = run(source).batches[-1]
        assert isinstance(last[-1], SegmentEnd)
        assert isinstance(last[-2], Part)


def test_between_two_parts_the_end_comes_alone() -> None:
    source = Source(fps=None)
    packaged = start(source).push(source.frames()[: 94 + 9]).flush()
    judge(packaged.batches)
    assert names(packaged.batches[-1]) == "S"
