"""Histograms that add up, and what a stream's viewers say in a minute."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.audience import quality as module
from edge.audience.cmcd import Sample
from edge.audience.histograms import BUCKETS, FIRST, RATIO, Histogram, bounds_of, bucket_of
from edge.audience.quality import SLOT_S, SLOTS, Quality, Tally

S, T = "stream", "other"
VALUES = st.floats(0, 300_000)


@given(VALUES)
def test_a_value_is_in_its_bucket(value: float) -> None:
    low, high = bounds_of(bucket_of(value))
    assert low * (1 - 1e-9) <= value <= high * (1 + 1e-9)


@given(st.lists(VALUES, min_size=1, max_size=60), st.sampled_from([5, 25, 50, 75, 95, 100]))
def test_a_percentile_is_near(values: list[float], percent: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    found = histogram.percentile(percent)
    assert found is not None
    rank = max(0, -(-len(values) * percent // 100) - 1)
    exact = sorted(values)[int(rank)]
    if exact < FIRST:
        assert found <= FIRST
    else:
        assert exact / RATIO <= found * (1 + 1e-9)
        assert found <= exact * RATIO * (1 + 1e-9)


@given(st.lists(VALUES, max_size=30), st.lists(VALUES, max_size=30))
def test_histograms_add_up_and_travel(ours: list[float], theirs: list[float]) -> None:
    one, other, both = Histogram(), Histogram(), Histogram()
    for histogram, values in ((one, ours), (other, theirs), (both, ours + theirs)):
        for value in values:
            histogram.add(value)
    one.merge(Histogram.of(other.trimmed))
    assert one == both
    assert one.total == len(ours + theirs)
    assert not one.trimmed or one.trimmed[-1] > 0


def test_too_much_and_too_little() -> None:
    histogram = Histogram()
    assert histogram.percentile(50) is None
    histogram.add(1e12)
    assert histogram.counts[-1] == 1
    assert len(Histogram.of([1] * 100).counts) == BUCKETS


def test_a_player_is_one_sample_in_a_slot() -> None:
    quality = Quality()
    for at_s in (0.0, 2.0, 4.0):
        quality.add(S, "a", Sample(bitrate_kbps=1000), at_s)
    quality.add(S, "a", Sample(buffer_ms=700), 5.0)
    quality.add(S, "b", Sample(bitrate_kbps=4000, throughput_kbps=9000), 6.0)
    quality.add(S, "c", Sample(sid="says nothing"), 7.0)
    assert quality.figures(S, 9.0).samples == 0, "the slot is not over"
    tally = quality.figures(S, 10.0)
    assert (tally.samples, tally.rebuffering) == (2, 0)
    assert tally.bitrate.total == 2
    assert (tally.buffer.total, tally.throughput.total) == (1, 1)
    assert tally.bitrate.percentile(100) == pytest.approx(4000, rel=0.15)


def test_rebuffering_is_not_what_begins() -> None:
    quality = Quality()
    quality.add(S, "new", Sample(urgent=True), 1.0)
    quality.add(S, "dry", Sample(starved=True), 1.0)
    assert quality.figures(S, SLOT_S).rebuffering == 1
    quality.add(S, "new", Sample(urgent=True), SLOT_S + 1)
    quality.add(S, "dry", Sample(buffer_ms=100), SLOT_S + 1)
    quality.add(S, "late", Sample(urgent=True), SLOT_S + 1)
    quality.add(S, "late", Sample(buffer_ms=100), SLOT_S + 2)
    tally = quality.figures(S, 2 * SLOT_S)
    assert (tally.samples, tally.rebuffering) == (5, 2)


def test_a_minute_and_no_more() -> None:
    quality = Quality()
    for slot in range(SLOTS + 3):
        quality.add(S, "a", Sample(bitrate_kbps=1000), slot * SLOT_S)
    assert quality.figures(S, (SLOTS + 3) * SLOT_S).samples == SLOTS
    assert quality.figures(S, (SLOTS + 5) * SLOT_S).samples == SLOTS - 2
    assert quality.figures(S, 1000.0).samples == 0
    assert quality._streams == {}


def test_what_others_count_is_added() -> None:
    ended: list[tuple[str, Tally]] = []
    edge = Quality(lambda stream_id, tally: ended.append((stream_id, tally)))
    edge.add(S, "a", Sample(bitrate_kbps=1000, starved=True), 0.0)
    edge.turn(SLOT_S)
    edge.turn(2 * SLOT_S)
    ((stream_id, tally),) = ended
    origin = Quality()
    origin.add(S, "b", Sample(bitrate_kbps=1000), 3 * SLOT_S)
    origin.merge(stream_id, tally, 3 * SLOT_S)
    origin.merge(stream_id, Tally(samples=4), 4 * SLOT_S - 1)
    figures = origin.figures(S, 5.5 * SLOT_S)
    assert (figures.samples, figures.rebuffering, figures.bitrate.total) == (6, 1, 2)


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PLAYERS", 2)
    monkeypatch.setattr(module, "MAX_STREAMS", 2)
    quality = Quality()
    for stream_id, player in ((S, "a"), (S, "b"), (T, "c"), ("third", "d"), (S, "a")):
        quality.add(stream_id, player, Sample(buffer_ms=1), 1.0)
    quality.forget(S)
    quality.add(T, "e", Sample(buffer_ms=1), 1.0)
    quality.forget("unknown")
    assert quality.figures(T, SLOT_S).samples == 1
    assert quality.figures(S, SLOT_S).samples == 0


def test_the_buckets_are_fine_enough() -> None:
    values = [100.0 * 1.03**number for number in range(200)]
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    assert histogram.percentile(50) == pytest.approx(statistics.median(values), rel=0.07)
