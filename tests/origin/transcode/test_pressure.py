"""Cutting a ladder back: when, how far, and back again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.transcode.pressure import (
    CALM_S,
    HIGH_LAG_S,
    LOW_LAG_S,
    MAX_CALM_S,
    PATIENCE_S,
    SETTLE_S,
    Pressure,
    divisors,
    most,
)

HIGH, LOW, BETWEEN = HIGH_LAG_S, LOW_LAG_S, (HIGH_LAG_S + LOW_LAG_S) / 2
STEP_S = 0.25


class Clock:
    """Observes a constant lag for a time."""

    def __init__(self, rungs: int = 3) -> None:
        self.pressure = Pressure(rungs)
        self.now_s = 100.0

    def run(self, lag_s: float, for_s: float) -> int:
        until_s = self.now_s + for_s
        while self.now_s < until_s:
            self.now_s += STEP_S
            self.pressure.observe(lag_s, self.now_s)
        return self.pressure.level

    def until(self, lag_s: float, level: int, limit_s: float = 1000.0) -> float:
        """How long it takes to get to a level."""
        started_s = self.now_s
        while self.pressure.level != level:
            self.run(lag_s, STEP_S)
            assert self.now_s - started_s < limit_s
        return self.now_s - started_s


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (0, [1, 2, 1]),
        (1, [2, 2, 1]),
        (2, [0, 2, 1]),
        (3, [0, 4, 1]),
        (4, [0, 0, 1]),
        (5, [0, 0, 2]),
    ],
)
def test_the_top_rung_goes_first_and_the_lowest_stays(level: int, expected: list[int]) -> None:
    assert divisors(level, [1, 2, 1]) == expected
    assert most(3) == 5


def test_no_rungs_no_levels() -> None:
    assert (most(0), divisors(0, [])) == (0, [])
    assert Clock(0).run(10.0, 60.0) == 0


def test_one_slow_moment_is_nothing() -> None:
    clock = Clock()
    assert clock.run(HIGH, PATIENCE_S) == 0
    clock.run(BETWEEN, STEP_S)
    assert clock.run(HIGH, PATIENCE_S) == 0


def test_each_step_has_time_to_show_what_it_does() -> None:
    clock = Clock()
    assert PATIENCE_S <= clock.until(HIGH, 1) <= PATIENCE_S + 2 * STEP_S
    assert SETTLE_S <= clock.until(HIGH, 2) <= SETTLE_S + STEP_S
    assert clock.run(BETWEEN, 60.0) == 2
    assert clock.until(HIGH, 5, limit_s=4 * SETTLE_S) > 2 * SETTLE_S
    assert clock.run(HIGH, 60.0) == 5


def test_what_gets_better_is_given_back_step_by_step() -> None:
    clock = Clock()
    clock.until(HIGH, 2)
    assert CALM_S <= clock.until(LOW, 1) <= CALM_S + 2 * STEP_S
    assert CALM_S <= clock.until(LOW, 0) <= CALM_S + 2 * STEP_S
    assert clock.run(LOW, 60.0) == 0


def test_a_ladder_does_not_swing() -> None:
    """What cannot bear level 0 tries it ever more seldom."""
    clock = Clock()
    waits = []
    for _ in range(8):
        clock.until(HIGH, 1)
        waits.append(clock.until(LOW, 0))
    assert waits[0] == pytest.approx(CALM_S, abs=2 * STEP_S)
    assert waits[1] == pytest.approx(2 * CALM_S, abs=2 * STEP_S)
    assert waits[-1] == pytest.approx(MAX_CALM_S, abs=2 * STEP_S)
    # A long time at level 0 is forgiveness.
    clock.run(LOW, 2 * MAX_CALM_S)
    clock.until(HIGH, 1)
    assert clock.until(LOW, 0) == pytest.approx(CALM_S, abs=2 * STEP_S)


def test_after_a_restart_the_old_measurements_say_nothing() -> None:
    clock = Clock()
    clock.run(HIGH, PATIENCE_S)
    clock.pressure.restart(clock.now_s)
    assert clock.run(HIGH, SETTLE_S - STEP_S) == 0
    assert clock.run(HIGH, 2 * STEP_S) == 1


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.01, 3)), max_size=60), st.integers(1, 6))
def test_any_history_moves_by_single_steps_within_bounds(
    history: list[tuple[float, float]], rungs: int
) -> None:
    pressure = Pressure(rungs)
    now_s = level = 0.0
    for lag_s, pause_s in history:
        now_s += pause_s
        before, level = level, pressure.observe(lag_s, now_s)
        assert abs(level - before) <= 1
        assert 0 <= level <= most(rungs)
        if level > before:
            assert lag_s >= HIGH_LAG_S
        if level < before:
            assert lag_s <= LOW_LAG_S
