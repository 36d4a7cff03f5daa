"""Histograms, against counting by hand; and how late a loop runs."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from edge.process.histogram import Histogram
from edge.process.pulse import BEAT_S, Pulse

BOUNDS = (0.1, 1.0, 2.5)


@given(values=st.lists(st.one_of(st.floats(0, 4), st.sampled_from(BOUNDS)), max_size=50))
def test_each_bucket_holds_what_is_not_above_its_end(values: list[float]) -> None:
    histogram = Histogram(BOUNDS)
    for value in values:
        histogram.observe(value)
    expected = [(str(bound), sum(value <= bound for value in values)) for bound in BOUNDS]
    assert histogram.buckets == [*expected, ("+Inf", len(values))]
    assert histogram.total == pytest.approx(sum(values))


async def test_a_loop_that_is_on_time_has_no_lag(autojump_clock: MockClock) -> None:
    pulse = Pulse()
    async with trio.open_nursery() as nursery:
        await nursery.start(pulse.run)
        await trio.sleep(10.2 * BEAT_S)
        nursery.cancel_scope.cancel()
    assert pulse.lag_s.buckets[0] == ("0.001", 10)


async def test_a_loop_that_is_held_up_has(mock_clock: MockClock) -> None:
    pulse = Pulse()
    async with trio.open_nursery() as nursery:
        await nursery.start(pulse.run)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(BEAT_S + 0.03)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert dict(pulse.lag_s.buckets)["0.025"] == 0
    assert dict(pulse.lag_s.buckets)["0.05"] == 1
