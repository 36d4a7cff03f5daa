"""The demo's sound: seamless, quiet, a blip at each full second of the wall clock."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.demo.sound import CHANNELS, SAMPLE_RATE, Sound


@given(start=st.integers(0, 10**12), first=st.integers(1, 2048), second=st.integers(1, 2048))
def test_blocks_join_without_a_seam(start: int, first: int, second: int) -> None:
    sound = Sound(1234.5)
    joined = np.concatenate((sound.block(start, first), sound.block(start + first, second)), axis=1)
    assert (joined == sound.block(start, first + second)).all()
    assert joined.shape == (CHANNELS, first + second)
    assert joined.dtype == np.float32
    assert joined.flags.c_contiguous


def test_no_step_is_a_click() -> None:
    second = Sound(0.0).block(40_000, SAMPLE_RATE)
    assert np.abs(np.diff(second)).max() < 0.05
    assert np.abs(second).max() < 0.5


@pytest.mark.parametrize("wall_s", [0.0, 1_800_000_000.25, 1_800_000_000.999])
def test_the_blip_begins_with_the_second(wall_s: float) -> None:
    sound = Sound(wall_s)
    to_the_second = round((1 - wall_s % 1) * SAMPLE_RATE)
    blip = sound.block(to_the_second, int(0.08 * SAMPLE_RATE))
    assert np.abs(blip).max() > 0.2
    rest = sound.block(to_the_second + int(0.08 * SAMPLE_RATE), int(0.92 * SAMPLE_RATE))
    assert np.abs(rest).max() < 0.1
