"""Unwrapping: 32 bits, OBS's 31 bits, and steps back that are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmpcore import TimestampUnwrapper


@pytest.mark.parametrize(
    ("sent", "unwrapped"),
    [
        ([0, 23, 40], [0, 23, 40]),
        ([0xFFFFFFF0, 0, 16], [0xFFFFFFF0, 0x100000000, 0x100000010]),
        ([0x7FFFFFF0, 0, 16], [0x7FFFFFF0, 0x80000000, 0x80000010]),  # OBS
        ([100, 97, 120], [100, 97, 120]),
        ([5, 0xFFFFFFFF], [5, -1]),
        ([1000, 0, 40], [1000, 0, 40]),
        ([0xFFFFFF, 0, 40], [0xFFFFFF, 0, 40]),  # a step back of 4.66 hours stays one
    ],
)
def test_unwrap(sent: list[int], unwrapped: list[int]) -> None:
    unwrapper = TimestampUnwrapper()
    assert [unwrapper.unwrap(timestamp) for timestamp in sent] == unwrapped


@given(
    first=st.integers(0, 2**32 - 1),
    steps=st.lists(st.integers(-(2**30), 2**30 - 1), max_size=50),
    bits=st.sampled_from([31, 32]),
)
def test_any_clock_of_steps_below_twelve_days_is_followed(
    first: int, steps: list[int], bits: int
) -> None:
    first %= 2**bits
    unwrapper = TimestampUnwrapper()
    clock = first
    assert unwrapper.unwrap(clock) == first
    for step in steps:
        clock += step
        assert unwrapper.unwrap(clock % 2**bits) == clock
