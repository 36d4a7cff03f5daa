"""The probe: when it ends, and what it promises."""

from dataclasses import replace
from fractions import Fraction

import pytest
from media_samples import Source, x264_options
from segmenter_runs import Driver, constant

import hls
from hls import Sample, SegmenterSettings, TrackKind
from hls.probe import MAX_SAMPLES, SAMPLE_OVERHEAD_BYTES, Probe

DRIVER = Driver(hls)
VIDEO_CONFIG = DRIVER.video
sample = DRIVER.sample


def probed(source: Source, **settings: float) -> tuple[Probe, int | None]:
    """Feed a probe until it ends; return it, and the stamp of the sample that ended it."""
    probe = None
    for frame in source.frames():
        each = sample(frame)
        if probe is None:
            probe = Probe(VIDEO_CONFIG, SegmenterSettings(**settings), each)  # type: ignore[arg-type]
        elif probe.ends_before(each, is_idr=frame.idr and frame.is_video):
            return probe, frame.dts_ms
        else:
            probe.hold(each, is_idr=frame.idr)
    assert probe is not None
    return probe, None


def test_it_ends_at_the_idr_picture_that_ends_a_segment() -> None:
    assert probed(constant(30, gop=15))[1] == 2_000
    assert probed(constant(30, gop=45))[1] == 3_000
    assert probed(constant(Fraction(30000, 1001), gop=59))[1] == 3_937
    assert probed(constant(Fraction(30000, 1001), gop=60))[1] == 2_002
    assert probed(constant(30, gop=59))[1] == 3_933


def test_half_a_frame_early_will_do() -> None:
    assert probed(constant(24, gop=48, round_ms=lambda ms: int(ms) - 5))[1] == 1_995


def test_it_ends_at_its_bounds() -> None:
    assert probed(constant(30, duration_s=20, gop=900))[1] == 12_000
    assert probed(constant(30, gop=900), max_gop_s=3)[1] == 3_000
    probe, _ = probed(constant(30, gop=900, audio_rate=None), max_probe_bytes=10_000)
    held = sum(len(s.data) + SAMPLE_OVERHEAD_BYTES for s, _ in probe.held)
    assert 10_000 <= held < 10_300


def test_it_ends_at_its_bound_of_samples() -> None:
    """Stamps that stand still and pictures of a few bytes reach no other bound for long."""
    first = sample(constant(30).frames()[0])
    probe = Probe(VIDEO_CONFIG, SegmenterSettings(), first)
    for _ in range(MAX_SAMPLES - 1):
        assert not probe.ends_before(first, is_idr=False)
        probe.hold(first, is_idr=False)
    assert probe.ends_before(first, is_idr=False)


def test_what_it_saw_is_in_the_plan() -> None:
    probe, _ = probed(constant(24, gop=48))
    plan = probe.plan()
    assert probe.frame_interval_ms() == Fraction(1958, 47)
    assert plan.presentation.target_duration_s == 2
    assert plan.presentation.part_target_s == 0.21
    assert plan.gop == 180_000


def test_the_longest_gop_counts_seen_declared_or_open() -> None:
    assert probed(constant(25, gop=lambda n: n in (0, 10, 50, 100)))[0].plan().gop == 40 * 3_600
    probe, _ = probed(constant(30, duration_s=1.5, gop=lambda n: n in (0, 5)))
    assert abs(probe.plan().gop - 40 * 3_000) < 200
    source = constant(30, gop=60)
    source.first_sei = x264_options("keyint=120")
    assert abs(probed(source)[0].plan().gop - 120 * 3_000) < 500
    source.first_sei = x264_options("keyint=9000")
    assert probed(source)[0].plan().gop == 12 * 90_000


def test_equal_stamps_are_no_frame_interval() -> None:
    frames = constant(30, audio_rate=None).frames()[:10]
    probe = Probe(VIDEO_CONFIG, SegmenterSettings(), sample(frames[0]))
    for frame in frames[1:]:
        probe.hold(sample(frame), is_idr=False)
        probe.hold(sample(replace(frame, dts_ms=frame.dts_ms - 5)), is_idr=False)
    assert probe.frame_interval_ms() == Fraction(300, 9)


def test_audio_can_be_forgotten() -> None:
    probe, _ = probed(constant(30))
    assert TrackKind.AUDIO in {s.kind for s, _ in probe.held}
    probe.forget_audio()
    assert {s.kind for s, _ in probe.held} == {TrackKind.VIDEO}


def test_audio_ends_it_a_second_late() -> None:
    first = sample(constant(30).frames()[0])
    probe = Probe(VIDEO_CONFIG, SegmenterSettings(), first)
    for stamp_ms, ends in ((11_000, False), (12_999, False), (13_000, True)):
        audio = Sample(TrackKind.AUDIO, stamp_ms, stamp_ms, True, b"\x21")
        assert probe.ends_before(audio, is_idr=False) == ends


# -- cuts without IDR pictures


def test_a_gop_that_is_too_long_ends_it_when_that_is_certain() -> None:
    for gop, ends_ms in ((120, 4_000), (121, 4_033), (900, 4_033)):
        probe, ended_ms = probed(constant(30, gop=gop, duration_s=9), free_cut_gop_s=4)
        assert ended_ms == ends_ms
        assert probe.cuts_anywhere is (gop > 120)
        assert probe.plan().cuts_anywhere is (gop > 120)


def test_the_wait_counts_from_the_last_idr_picture() -> None:
    source = constant(30, gop=lambda number: number in (0, 57), duration_s=9)
    probe, ended_ms = probed(source, free_cut_gop_s=4)
    assert ended_ms == 5_933
    assert probe.cuts_anywhere
    # Its bounds are what they were.
    probe, ended_ms = probed(source, free_cut_gop_s=4, max_gop_s=5)
    assert ended_ms == 5_000
    assert not probe.cuts_anywhere


def test_a_declared_gop_that_is_too_long_ends_it_at_the_target() -> None:
    source = constant(30, gop=900, duration_s=9)
    for keyint, ends_ms in ((121, 2_000), (250, 2_000), (120, 4_033)):
        source.first_sei = x264_options(f"keyint={keyint}")
        probe, ended_ms = probed(source, free_cut_gop_s=4)
        assert ended_ms == ends_ms
        assert probe.cuts_anywhere
    plan = probe.plan()
    assert plan.presentation.target_duration_s == 2
    assert plan.gop == plan.interval == 3_000


def test_what_was_found_before_need_not_be_found_again() -> None:
    frames = constant(30, gop=30).frames()
    known = Probe(VIDEO_CONFIG, SegmenterSettings(), sample(frames[0]), cuts_anywhere=True)
    assert known.cuts_anywhere
    assert known.plan().cuts_anywhere


def test_without_the_setting_no_gop_is_too_long() -> None:
    source = constant(30, gop=900, duration_s=20, first_sei=x264_options("keyint=infinite"))
    probe, ended_ms = probed(source)
    assert ended_ms == 12_000
    assert not probe.cuts_anywhere
    assert probe.plan().gop == 12 * 90_000


def foretold(source: Source, **settings: float) -> list[int]:
    """Stamps of the held pictures that may begin a segment."""
    probe = None
    found = []
    for frame in source.frames():
        if not frame.is_video:
            continue
        each = sample(frame)
        if probe is None:
            probe = Probe(VIDEO_CONFIG, SegmenterSettings(**settings), each)  # type: ignore[arg-type]
        elif probe.ends_before(each, is_idr=frame.idr):
            break
        else:
            probe.hold(each, is_idr=frame.idr)
            if probe.may_begin_segment(each, is_idr=frame.idr):
                found.append(frame.dts_ms)
    return found


def test_it_says_where_segments_may_begin_before_it_knows() -> None:
    endless = constant(30, gop=900, duration_s=20)
    assert foretold(endless) == []
    assert foretold(endless, free_cut_gop_s=4) == [2_000, 4_000]
    assert foretold(endless, free_cut_gop_s=4.9, segment_target_s=1.5) == [1_500, 3_000, 4_500]
    # Whoever declares his GOP has said whether it is too long.
    declared = constant(30, gop=105, first_sei=x264_options("keyint=105"))
    assert foretold(declared, free_cut_gop_s=4) == []
    assert foretold(constant(30, gop=105), free_cut_gop_s=4) == [2_000]


def test_an_early_idr_picture_begins_a_segment_if_the_next_would_come_too_late() -> None:
    assert foretold(constant(30, gop=30)) == []
    assert foretold(constant(30, gop=36)) == []
    assert foretold(constant(30, gop=45)) == [1_500]
    assert foretold(constant(30, gop=27)) == [1_800]


def test_the_frame_interval_is_not_measured_for_every_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It costs a sort each time: a thousand pictures a second would be a second of work."""
    calls = 0
    measure = Probe.frame_interval_ms

    def counted(probe: Probe) -> Fraction:
        nonlocal calls
        calls += 1
        return measure(probe)

    monkeypatch.setattr(Probe, "frame_interval_ms", counted)
    foretold(constant(1000, gop=4000, duration_s=5), free_cut_gop_s=4.5)
    assert calls <= 6
