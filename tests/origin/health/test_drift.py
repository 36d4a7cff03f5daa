"""A publisher's clock from the times at which its messages come."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.health.drift import BIN_S, ENOUGH_PPM, MAX_BINS, MAX_POINTS, Drift, _thinned


def run(
    drift: Drift, *, seconds: float, ppm: float = 0.0, noise_ms: float = 0.0, begin_s: float = 0.0
) -> None:
    """Send 50 messages a second by a clock that is off by so much, each late by chance."""
    chance = random.Random(1)
    for number in range(int(seconds * 50)):
        sent_s = begin_s + number / 50
        stamp_ms = round((number / 50) * 1000 * (1 + ppm / 1e6) + begin_s * 1000)
        heard_s = sent_s + chance.expovariate(1) * noise_ms / 1000
        drift.note(heard_s, stamp_ms - heard_s * 1000)


def test_nothing_is_said_before_there_is_something_to_say() -> None:
    drift = Drift()
    assert drift.estimate() is None
    run(drift, seconds=3)
    assert drift.estimate() is None


@pytest.mark.parametrize(
    ("ppm", "within_s"), [(-1000, 4), (1000, 4), (-300, 17), (300, 17), (0, 9)]
)
def test_a_clock_is_soon_known_on_a_quiet_line(ppm: float, within_s: float) -> None:
    drift = Drift()
    run(drift, seconds=within_s, ppm=ppm, noise_ms=0.2)
    slope = drift.estimate()
    assert slope is not None
    assert slope.is_known
    assert slope.ppm == pytest.approx(ppm, abs=120)


@pytest.mark.parametrize("noise_ms", [0.0, 1.0, 5.0, 20.0, 60.0])
def test_a_right_clock_is_never_told_as_wrong(noise_ms: float) -> None:
    drift = Drift()
    for turn in range(60):
        run(drift, seconds=1, noise_ms=noise_ms, begin_s=turn)
        slope = drift.estimate()
        assert slope is None or not slope.is_known or abs(slope.ppm) < 300


def test_on_a_nervous_line_the_window_grows_until_it_is_known() -> None:
    drift = Drift()
    run(drift, seconds=60, ppm=1000, noise_ms=20)
    slope = drift.estimate()
    assert slope is not None
    assert slope.is_known
    assert slope.span_s > 4
    assert slope.ppm == pytest.approx(1000, abs=4 * slope.error_ppm)


def test_a_third_of_wild_messages_moves_nothing() -> None:
    drift = Drift()
    chance = random.Random(2)
    for number in range(16 * 4):
        late_ms = 900 if chance.random() < 0.25 else 0
        drift.note(number * BIN_S, -late_ms + number * BIN_S)  # 1000 ppm
    slope = drift.estimate()
    assert slope is not None
    assert slope.ppm == pytest.approx(1000, abs=20)


def test_a_clock_that_is_put_right_is_known_as_soon() -> None:
    drift = Drift()
    run(drift, seconds=60, ppm=1000, noise_ms=0.3)
    offset_ms = 60.0
    for number in range(9 * 50):
        drift.note(60 + number / 50, offset_ms)
    slope = drift.estimate()
    assert slope is not None
    assert slope.is_known
    assert abs(slope.ppm) < ENOUGH_PPM


@pytest.mark.parametrize("step_ms", [3.0, -3.0, 40.0, -40.0])
def test_a_step_is_no_wrong_clock(step_ms: float) -> None:
    drift = Drift()
    run(drift, seconds=20, noise_ms=0.2)
    for number in range(60 * 50):
        heard_s = 20 + number / 50
        drift.note(heard_s, step_ms + (number % 3) / 10)
        if number % 25 == 0:
            slope = drift.estimate()
            assert slope is not None
            assert not slope.is_known or abs(slope.ppm) < 300


def test_it_is_bounded() -> None:
    drift = Drift()
    run(drift, seconds=BIN_S * MAX_BINS * 2)
    assert len(drift._bins) == MAX_BINS
    assert len(_thinned([(number * BIN_S, 0.0) for number in range(MAX_BINS)])) <= MAX_POINTS


def test_a_restart_forgets() -> None:
    drift = Drift()
    run(drift, seconds=10)
    drift.restart()
    assert drift.estimate() is None


@given(
    st.lists(
        st.tuples(
            st.floats(0, 5, allow_nan=False), st.floats(-1e9, 1e9, allow_nan=False, width=32)
        ),
        max_size=200,
    )
)
def test_whatever_comes_there_is_a_number_or_nothing(moves: list[tuple[float, float]]) -> None:
    drift, now_s = Drift(), 0.0
    for step_s, ahead_ms in moves:
        now_s += step_s
        drift.note(now_s, ahead_ms)
        slope = drift.estimate()
        assert slope is None or (slope.error_ppm >= 0 and abs(slope.ppm) < float("inf"))
