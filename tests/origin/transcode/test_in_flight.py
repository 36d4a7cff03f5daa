"""Lag: what is on its way too long, and what only waits for its successor."""

from hls.clock import VIDEO_TIMESCALE
from origin.transcode.in_flight import MAX_IN_FLIGHT, REORDERED, InFlight


def fed(count: int, *, fps: int = 30) -> InFlight:
    pictures = InFlight()
    for number in range(count):
        pictures.add(number, number * VIDEO_TIMESCALE // fps)
    return pictures


def test_lag_is_what_waits_beyond_what_a_decoder_may_hold_back() -> None:
    pictures = fed(60)
    assert pictures.lag_s(59) == 0.0
    assert pictures.lag_s(59 - REORDERED) == 0.0
    assert pictures.lag_s(29 - REORDERED) == 29 / 30
    assert pictures.lag_s(-1) == (59 - REORDERED) / 30


def test_a_publisher_of_few_pictures_is_not_late() -> None:
    """Two a second with B-frames: the decoder holds a second back, and that is nobody's fault."""
    assert fed(20, fps=2).lag_s(17) == 0.0


def test_what_everybody_has_is_forgotten() -> None:
    pictures = fed(60)
    pictures.prune(49)
    assert len(pictures) == 10
    assert pictures.lag_s(-1) == pictures.lag_s(49)
    pictures.clear()
    assert pictures.lag_s(-1) == 0.0


def test_times_that_go_back_are_no_lag() -> None:
    pictures = InFlight()
    for number in range(10):
        pictures.add(number, -number)
    assert pictures.lag_s(0) >= 0.0


def test_it_is_bounded() -> None:
    pictures = fed(MAX_IN_FLIGHT + 100)
    assert len(pictures) == MAX_IN_FLIGHT
