"""The demo's schedule: absolute, so late frames are skipped and lateness never adds up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.demo.pacing import Pacer


def test_who_is_in_time_gets_every_frame_when_it_is_due() -> None:
    pacer = Pacer(100.0, 30)
    now_s = 100.0
    for expected in range(10_000):
        frame, due_s = pacer.next_frame(now_s)
        assert frame == expected
        assert due_s == pytest.approx(100.0 + expected / 30)
        now_s = max(now_s, due_s) + 0.02  # a third of the frame's time is left


def test_who_is_a_little_late_draws_at_once_and_catches_up() -> None:
    pacer = Pacer(0.0, 10)
    assert pacer.next_frame(0.0) == (0, 0.0)
    assert pacer.next_frame(0.15) == (1, 0.1)
    assert pacer.next_frame(0.16) == (2, 0.2)


def test_who_is_late_by_frames_skips_them() -> None:
    pacer = Pacer(0.0, 10)
    assert pacer.next_frame(0.0) == (0, 0.0)
    assert pacer.next_frame(5.55) == (55, 5.5)
    assert pacer.next_frame(5.56)[0] == 56


@given(
    st.floats(-1e6, 1e6),
    st.sampled_from([1, 24, 25, 30, 60]),
    st.lists(st.floats(0, 3), max_size=50),
)
def test_frames_only_grow_and_are_never_a_frame_behind(
    start_s: float, frame_rate: int, steps: list[float]
) -> None:
    pacer = Pacer(start_s, frame_rate)
    now_s, last = start_s, -1
    for step in steps:
        now_s += step
        frame, due_s = pacer.next_frame(now_s)
        assert frame > last
        assert due_s == pytest.approx(start_s + frame / frame_rate)
        assert due_s > now_s - 1 / frame_rate - 1e-6, "a frame that is past was not skipped"
        assert frame == last + 1 or due_s <= now_s + 1e-6, "a frame was skipped that was not past"
        last = frame
