"""Colours: what is known, and what it means for a playlist."""

import pytest

from hls.colour import Colour, described


@pytest.mark.parametrize(
    ("transfer", "text"), [(1, "SDR"), (2, "SDR"), (14, "SDR"), (16, "PQ"), (18, "HLG")]
)
def test_video_range(transfer: int, text: str) -> None:
    assert Colour(transfer=transfer).video_range == text


def test_nothing_that_is_known_is_no_colour() -> None:
    assert described(2, 2, 2, full_range=False) is None
    assert described(2, 2, 2, full_range=True) == Colour(full_range=True)
    assert described(1, 2, 2, full_range=False) == Colour(primaries=1)
    assert described(2, 16, 2, full_range=False) == Colour(transfer=16)
    assert described(2, 2, 9, full_range=False) == Colour(matrix=9)
