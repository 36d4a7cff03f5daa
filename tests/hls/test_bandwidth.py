"""Measured bit rates against the definition, and how still the announcement stands."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hls.bandwidth import Bandwidth, BandwidthMeter

TD_S = 2
NS = 1_000_000_000

segments = st.lists(
    st.tuples(st.integers(0, 2_000_000), st.integers(1_000_000, 2_499_999_999)),
    min_size=1,
    max_size=30,
)


def measure(sizes: list[tuple[int, int]]) -> tuple[BandwidthMeter, list[Bandwidth]]:
    meter = BandwidthMeter()
    announced = []
    for size_bytes, duration_ns in sizes:
        meter.add(size_bytes=size_bytes, duration_ns=duration_ns, target_duration_s=TD_S)
        announced.append(meter.announced)
    return meter, announced


def test_nothing_is_announced_before_the_first_segment() -> None:
    meter = BandwidthMeter()
    assert meter.measured == meter.announced == Bandwidth(0, 0)


def test_the_first_segment_sets_both_with_headroom() -> None:
    meter, _ = measure([(250_000, 2 * NS)])
    assert meter.measured == Bandwidth(1_000_000, 1_000_000)
    assert meter.announced == Bandwidth(1_250_000, 1_100_000)


def test_a_peak_within_the_headroom_changes_nothing() -> None:
    _, announced = measure([(250_000, 2 * NS), (312_500, 2 * NS), (100_000, 2 * NS)])
    assert len(set(announced)) == 1


def test_a_peak_beyond_it_is_announced_with_new_headroom() -> None:
    meter, announced = measure([(250_000, 2 * NS), (312_501, 2 * NS)])
    assert meter.announced == announced[-1]
    assert announced[0].peak_bps == 1_250_000
    assert announced[1].peak_bps == 1_563_000


def test_a_mean_far_above_the_announced_one_is_announced_too() -> None:
    # Two halves of a target duration: the peak is that of the second half, the mean grows slowly.
    sizes = [(250_000, 2 * NS), *[(310_000, 2 * NS)] * 60]
    meter, announced = measure(sizes)
    assert meter.measured.average_bps * 100 <= meter.announced.average_bps * 110
    assert len(set(announced)) <= 2


def test_segments_too_short_for_the_definition_show_their_mean() -> None:
    meter, _ = measure([(1_000, NS // 100)])
    assert meter.measured == Bandwidth(800_000, 800_000)


def test_a_peak_is_never_below_the_mean() -> None:
    # No set of 1 to 3 s holds the loud end: one is a nanosecond short, the other one too long.
    meter, _ = measure([(0, 2 * NS + 2), (1, 1_000_000), (412, NS - 1_000_001)])
    assert meter.measured == Bandwidth(1102, 1102)


@given(segments)
def test_the_peak_is_that_of_any_contiguous_set_of_half_to_one_and_a_half_targets(
    sizes: list[tuple[int, int]],
) -> None:
    meter, _ = measure(sizes)
    peak = 0
    for first in range(len(sizes)):
        for last in range(first, len(sizes)):
            bits = sum(size * 8 for size, _ in sizes[first : last + 1])
            ns = sum(duration for _, duration in sizes[first : last + 1])
            if TD_S * NS <= 2 * ns <= 3 * TD_S * NS:
                peak = max(peak, -(-bits * NS // ns))
    total_ns = sum(duration for _, duration in sizes)
    average = -(-sum(size * 8 for size, _ in sizes) * NS // total_ns)
    assert meter.measured == Bandwidth(max(peak, average), average)


@given(segments)
def test_the_announcement_covers_the_measurement_and_changes_rarely(
    sizes: list[tuple[int, int]],
) -> None:
    meter, announced = measure(sizes)
    assert meter.measured.peak_bps <= meter.announced.peak_bps
    assert meter.measured.average_bps * 100 <= meter.announced.average_bps * 110
    assert meter.announced.average_bps <= meter.announced.peak_bps
    for before, after in pairwise(announced):
        assert after.peak_bps >= before.peak_bps
