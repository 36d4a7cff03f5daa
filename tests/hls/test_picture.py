"""What all codecs say alike; their own tests reach the rest through their parameter sets."""

from fractions import Fraction

import pytest
from media_samples import BitWriter

from hls.bits import BitReader
from hls.colour import Colour
from hls.errors import MediaError
from hls.picture import (
    MAX_DIMENSION,
    check_size,
    claimed_frame_rate,
    read_vui_head,
    square_width,
    without_emulation_prevention,
)


@pytest.mark.parametrize("size", [(1, 1), (MAX_DIMENSION, MAX_DIMENSION)])
def test_sizes_that_are_possible(size: tuple[int, int]) -> None:
    check_size(*size, "it")


@pytest.mark.parametrize(
    "size", [(0, 1), (1, 0), (-2, 1), (1, -2), (MAX_DIMENSION + 1, 1), (1, MAX_DIMENSION + 1)]
)
def test_sizes_that_are_not(size: tuple[int, int]) -> None:
    with pytest.raises(MediaError, match=f"it has a picture of {size[0]} by {size[1]} pixels"):
        check_size(*size, "it")


@pytest.mark.parametrize(
    ("scale", "ticks", "rate"),
    [
        (30, 1, Fraction(30)),
        (60000, 1001, Fraction(60000, 1001)),
        (1, 1, Fraction(1)),
        (1000, 1, Fraction(1000)),
        (1001, 1, None),
        (1, 2, None),
        (0, 1, None),
        (1, 0, None),
    ],
)
def test_a_frame_rate_is_believed_or_not(scale: int, ticks: int, rate: Fraction | None) -> None:
    assert claimed_frame_rate(scale, ticks) == rate


def test_square_pixels() -> None:
    assert square_width(720, (16, 15)) == 768
    assert square_width(1, (1, 16)) == 1


def test_emulation_prevention() -> None:
    assert without_emulation_prevention(bytes.fromhex("0000030000030103")) == bytes.fromhex(
        "000000000103"
    )


@pytest.mark.parametrize(
    ("indicator", "extended", "aspect"),
    [
        (0, None, (1, 1)),
        (1, None, (1, 1)),
        (14, None, (4, 3)),
        (16, None, (2, 1)),
        (17, None, (1, 1)),
        (255, (64, 45), (64, 45)),
        (255, (0, 45), (1, 1)),
        (255, (64, 0), (1, 1)),
        (255, (16, 1), (16, 1)),
        (255, (17, 1), (1, 1)),
        (255, (1, 17), (1, 1)),
    ],
)
@pytest.mark.parametrize("rest", ["plain", "all"])
def test_head_of_the_vui(
    indicator: int, extended: tuple[int, int] | None, aspect: tuple[int, int], rest: str
) -> None:
    w = BitWriter().u(1, 1).u(8, indicator)
    for number in extended or ():
        w.u(16, number)
    if rest == "plain":
        w.u(3, 0)
    else:
        w.u(2, 3).u(1, 1).u(4, 11).u(1, 1).u(24, 0x010101).u(1, 1).ue(2).ue(2)
    bits = BitReader(w.u(8, 0xA5).bytes(stop_bit=False), "VUI")
    colour = None if rest == "plain" else Colour(primaries=1, transfer=1, matrix=1, full_range=True)
    assert read_vui_head(bits) == (aspect, colour)
    assert bits.read(8) == 0xA5


@pytest.mark.parametrize(
    ("full_range", "code_points", "colour"),
    [
        (0, None, None),
        (0, (2, 2, 2), None),
        (1, None, Colour(full_range=True)),
        (0, (9, 16, 9), Colour(primaries=9, transfer=16, matrix=9)),
        (0, (2, 18, 2), Colour(transfer=18)),
    ],
)
def test_colours(
    full_range: int, code_points: tuple[int, int, int] | None, colour: Colour | None
) -> None:
    w = BitWriter().u(1, 0).u(1, 0).u(1, 1).u(3, 5).u(1, full_range).u(1, code_points is not None)
    for code_point in code_points or ():
        w.u(8, code_point)
    assert read_vui_head(BitReader(w.u(1, 0).bytes(), "VUI")) == ((1, 1), colour)


def test_a_vui_that_says_nothing_of_the_picture() -> None:
    assert read_vui_head(BitReader(bytes((0b0010_0000, 0)), "VUI")) == ((1, 1), None)
    with pytest.raises(MediaError, match="VUI is truncated"):
        read_vui_head(BitReader(b"\xff", "VUI"))
