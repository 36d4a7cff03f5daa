"""The cut rules on plain numbers: promises, parts, segments, gaps."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from hls.cutter import (
    Cut,
    CutPlan,
    Cutter,
    frame_interval_ms,
    nominal_frame_rate,
    presentation_for_audio,
    presentation_for_video,
)
from hls.media import Presentation
from hls.segmenter_settings import SegmenterSettings

SETTINGS = SegmenterSettings()
PROMISE = Presentation(target_duration_s=2, part_target_s=0.201)
MS = 90


def stamps(fps: Fraction | int, frames: int = 120) -> list[int]:
    return [round(number * 1000 / Fraction(fps)) for number in range(frames)]


def promised(fps: Fraction | int, gop_ms: Fraction | int = 2000) -> Presentation:
    times = stamps(fps)
    return presentation_for_video(
        times,
        interval_ms=frame_interval_ms(times, None),
        gop_ms=Fraction(gop_ms),
        settings=SETTINGS,
    )


# -- the promises


@pytest.mark.parametrize(
    ("fps", "frames"),
    [(24, 5), (25, 5), (Fraction(30000, 1001), 6), (30, 6), (50, 10), (60, 12), (1, 1), (3, 1)],
)
def test_a_part_is_a_whole_number_of_frames(fps: Fraction | int, frames: int) -> None:
    exact_ms = frames * 1000 / Fraction(fps)
    part_target_ms = Fraction(str(promised(fps).part_target_s)) * 1000
    assert part_target_ms.denominator == 1
    assert exact_ms + Fraction(1, 2) <= part_target_ms <= exact_ms + 3


def test_gaps_in_the_probe_do_not_make_parts_long() -> None:
    times = [time for time in stamps(30) if not 500 < time < 900]
    promise = presentation_for_video(
        times, interval_ms=frame_interval_ms(times, None), gop_ms=Fraction(2000), settings=SETTINGS
    )
    assert promise.part_target_s == 0.201


def test_a_probe_shorter_than_a_part_counts_on_the_interval() -> None:
    promise = presentation_for_video(
        [0, 33], interval_ms=Fraction(33), gop_ms=Fraction(66), settings=SETTINGS
    )
    assert promise.part_target_s == 0.199


@pytest.mark.parametrize(
    ("gop_ms", "seconds"),
    [(500, 2), (2000, 2), (2489, 2), (2490, 3), (2500, 3), (8333, 8), (Fraction(25000, 3), 8)],
)
def test_the_target_duration_has_room_for_the_longest_gop(gop_ms: Fraction, seconds: int) -> None:
    assert promised(30, gop_ms).target_duration_s == seconds


def test_the_promises_of_audio_alone() -> None:
    promise = presentation_for_audio(48_000, 1024, SETTINGS)
    assert promise == Presentation(target_duration_s=2, part_target_s=0.193)
    assert presentation_for_audio(22_050, 1024, SETTINGS).part_target_s == 0.187
    assert presentation_for_audio(1_000, 1024, SETTINGS).part_target_s == 1.025


def test_a_target_duration_is_at_least_one() -> None:
    short = SegmenterSettings(segment_target_s=0.3)
    assert presentation_for_audio(48_000, 1024, short).target_duration_s == 1


# -- the frame interval and rate


def test_gaps_do_not_count_as_frame_intervals() -> None:
    assert frame_interval_ms([0, 33, 67, 100, 400, 433], None) == Fraction(133, 4)


def test_without_two_pictures_the_configuration_is_believed() -> None:
    assert frame_interval_ms([5], Fraction(25)) == 40
    assert frame_interval_ms([], None) == Fraction(100, 3)


@pytest.mark.parametrize(
    ("interval_ms", "claimed", "rate"),
    [
        (Fraction(1000, 30), None, 30.0),
        (Fraction(1001, 30), None, 29.97),
        (Fraction("33.34"), Fraction(30), 30.0),
        (Fraction("33.34"), Fraction(60), 30.0),
        (Fraction(1000, 24), Fraction(24000, 1001), 23.976),
        (Fraction(1000, 13), None, 13.0),
        (Fraction(1000), None, 1.0),
        (None, Fraction(30000, 1001), 29.97),
        (None, None, None),
    ],
)
def test_nominal_frame_rates(
    interval_ms: Fraction | None, claimed: Fraction | None, rate: float | None
) -> None:
    assert nominal_frame_rate(interval_ms, claimed) == rate


# -- cutting


def cutter(
    promise: Presentation = PROMISE, *, fps: int = 30, gop_ms: int = 2000, start: int = 0
) -> Cutter:
    plan = CutPlan.for_video(
        promise, interval_ms=Fraction(1000, fps), gop_ms=Fraction(gop_ms), settings=SETTINGS
    )
    return Cutter(plan, start)


def test_a_part_ends_at_the_frame_that_fills_it() -> None:
    cut = cutter()
    cuts = [cut.advance(time * MS, is_sync=False) for time in stamps(30, 14)[1:]]
    assert [index for index, what in enumerate(cuts, 1) if what is Cut.PART] == [6, 12]
    assert cut.part_start == 400 * MS


def test_no_end_is_later_than_the_part_target() -> None:
    cut = cutter()
    assert cut.latest_end(100 * MS) == 201 * MS
    assert cut.latest_end(2200 * MS) == 201 * MS
    assert cut.latest_end(2202 * MS) == 202 * MS, "max_lag_s is a bound too"


def test_no_end_is_later_than_the_target_duration_allows() -> None:
    assert cutter().latest_end(100_000 * MS) == 2498 * MS


def test_a_segment_ends_at_an_idr_from_the_target_on() -> None:
    for last, what in ((1983, Cut.PART), (1984, Cut.SEGMENT)):  # half a frame early will do
        cut = cutter(gop_ms=500)
        for time in (500, 1000, 1500):
            assert cut.advance(time * MS, is_sync=True) is Cut.PART
        assert cut.advance(last * MS, is_sync=True) is what


def test_a_segment_ends_early_when_the_next_idr_may_be_too_late() -> None:
    cut = cutter(gop_ms=1500)
    assert cut.advance(500 * MS, is_sync=True) is not Cut.SEGMENT
    assert cut.advance(1500 * MS, is_sync=True) is Cut.SEGMENT
    assert cut.forced_cuts == 0


def test_a_longer_gop_is_learned_and_slowly_forgotten() -> None:
    cut = cutter(gop_ms=500)
    assert cut.advance(1400 * MS, is_sync=True) is Cut.SEGMENT, "another 1.4 s would be too much"
    start = 1400
    lengths = []
    for time in range(1900, 30_000, 500):
        if cut.advance(time * MS, is_sync=True) is Cut.SEGMENT:
            lengths.append(time - start)
            start = time
    assert lengths[0] == 1500
    assert lengths[-1] == 2000


def test_without_an_idr_in_time_any_picture_must_do() -> None:
    cut = cutter()
    what = [cut.advance(time * MS, is_sync=False) for time in stamps(30, 80)[1:]]
    at = what.index(Cut.SEGMENT) + 1
    assert 2400 < stamps(30, 80)[at] < 2498
    assert cut.forced_cuts == 1


def test_a_cut_can_be_forced() -> None:
    cut = cutter()
    assert cut.advance(33 * MS, is_sync=True, force=True) is Cut.SEGMENT
    assert cut.forced_cuts == 0
    assert cut.advance(66 * MS, is_sync=False, force=True) is Cut.SEGMENT
    assert cut.forced_cuts == 1


def test_filling_ends_whole_parts_and_the_segment_before_one_might_not_fit() -> None:
    cut = cutter()
    ends = [cut.fill() for _ in range(13)]
    assert [end for end, _ in ends] == [201 * MS * n for n in range(1, 14)]
    assert [n for n, (_, what) in enumerate(ends, 1) if what is Cut.SEGMENT] == [12]


def test_audio_parts_end_before_the_frame_that_would_cross() -> None:
    promise = presentation_for_audio(48_000, 1024, SETTINGS)
    plan = CutPlan.for_audio(promise, sample_rate=48_000, samples_per_frame=1024, settings=SETTINGS)
    cut = Cutter(plan, 0)
    cuts = [cut.advance(1024 * number, is_sync=True) for number in range(1, 95)]
    assert [n for n, what in enumerate(cuts, 1) if what is Cut.PART] == list(range(9, 91, 9))
    assert cuts[-1] is Cut.SEGMENT
    assert cuts.count(Cut.SEGMENT) == 1


# -- cuts anywhere


def free_cutter(**changed: Any) -> Cutter:
    plan = CutPlan.for_video(
        PROMISE,
        interval_ms=Fraction(40),
        gop_ms=Fraction(40),
        settings=SETTINGS,
        cuts_anywhere=True,
    )
    return Cutter(replace(plan, **changed), 0)


def segment_ends_ms(
    cutter: Cutter, ends_ms: Iterable[int], idrs_ms: Sequence[int] = ()
) -> list[int]:
    return [
        end_ms
        for end_ms in ends_ms
        if cutter.advance(end_ms * MS, is_sync=end_ms in idrs_ms) is Cut.SEGMENT
    ]


def test_without_idr_pictures_every_segment_ends_at_its_target() -> None:
    cutter = free_cutter()
    assert segment_ends_ms(cutter, range(40, 9_000, 40)) == [2_000, 4_000, 6_000, 8_000]
    assert cutter.forced_cuts == 0


def test_idr_pictures_in_between_change_nothing() -> None:
    ends_ms = segment_ends_ms(free_cutter(), range(40, 9_000, 40), [1_200, 1_960, 3_000, 7_000])
    assert ends_ms == [2_000, 4_000, 6_000, 8_000]


def test_a_long_picture_does_not_shorten_the_segments_after_it() -> None:
    cutter = free_cutter()
    ends_ms = [*range(40, 1_000, 40), 2_440, *range(2_480, 9_000, 40)]
    assert segment_ends_ms(cutter, ends_ms) == [2_440, 4_440, 6_440, 8_440]


def test_where_the_target_cannot_be_reached_it_ends_before_it() -> None:
    cutter = free_cutter(segment_target=2_499 * MS)
    assert segment_ends_ms(cutter, range(40, 6_000, 40)) == [2_480, 4_960]
    assert cutter.forced_cuts == 0


def test_filled_gaps_end_at_the_target_too() -> None:
    cutter = free_cutter()
    fills = [cutter.fill() for _ in range(20)]
    ends_ms = [end // MS for end, cut in fills if cut is Cut.SEGMENT]
    assert ends_ms == [2_010, 4_020]
    assert cutter.forced_cuts == 0
