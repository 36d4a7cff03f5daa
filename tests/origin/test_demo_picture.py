"""The demo's picture: its machine-readable clock, its text, what moves and what stays in range."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timecode_reader import crc8, decode_cells, read_cells, read_timecode

from origin.demo.font import render_text
from origin.demo.picture import HEIGHT, WIDTH, Picture
from origin.demo.timecode import encode_timecode

NOON_MS = 1_800_014_400_000 - 1_800_014_400_000 % 86_400_000 + 12 * 3_600_000


@pytest.fixture(scope="module")
def picture() -> Picture:
    return Picture()


def _luma(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return frame[:HEIGHT]


def test_the_oracle_knows_the_published_check_value() -> None:
    assert crc8(b"123456789") == 0xF4  # CRC-8/SMBUS


@given(st.integers(0, 2**48 - 1))
def test_any_time_reads_back(wall_ms: int) -> None:
    assert decode_cells([int(cell) for cell in encode_timecode(wall_ms)]) == wall_ms


@given(st.integers(0, 2**48 - 1), st.integers(0, 63))
def test_one_wrong_cell_is_noticed(wall_ms: int, wrong: int) -> None:
    cells = [int(cell) for cell in encode_timecode(wall_ms)]
    cells[wrong] ^= 1
    assert decode_cells(cells) is None


def test_cells_are_where_the_description_says(picture: Picture) -> None:
    luma = _luma(picture.draw(NOON_MS, 0))
    assert set(np.unique(luma[684:])) == {16, 235}
    sync = luma[684:, :160].reshape(36, 8, 20)
    assert (sync == np.array([235, 16, 235, 16, 16, 235, 16, 235])[None, :, None]).all()


@given(wall_ms=st.integers(0, 2**41), time_s=st.floats(0, 1e6))
def test_a_drawn_picture_reads_back_at_any_moment(
    picture: Picture, wall_ms: int, time_s: float
) -> None:
    assert read_timecode(_luma(picture.draw(wall_ms, time_s)).tolist()) == wall_ms


@pytest.mark.parametrize("size", [(1080, 1920), (480, 854), (360, 640), (144, 256)])
def test_a_picture_of_another_size_reads_the_same(picture: Picture, size: tuple[int, int]) -> None:
    luma = _luma(picture.draw(NOON_MS + 123, 1.0))
    rows = np.arange(size[0]) * HEIGHT // size[0]
    columns = np.arange(size[1]) * WIDTH // size[1]
    assert read_timecode(luma[rows[:, None], columns].tolist()) == NOON_MS + 123


def test_a_picture_without_cells_reads_as_nothing() -> None:
    assert decode_cells(read_cells([[16] * 1280] * 720)) is None
    assert decode_cells(read_cells([[235] * 1280] * 720)) is None


def test_a_frame_is_what_the_encoder_takes(picture: Picture) -> None:
    frame = picture.draw(NOON_MS, 0)
    assert frame.shape == (HEIGHT * 3 // 2, WIDTH)
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous


def test_every_value_is_in_the_limited_range(picture: Picture) -> None:
    for time_s in np.arange(0, 60, 0.7):
        frame = picture.draw(NOON_MS + int(time_s * 1000), float(time_s))
        assert frame[:HEIGHT].min() >= 16
        assert frame[:HEIGHT].max() <= 235
        assert frame[HEIGHT:].min() >= 16
        assert frame[HEIGHT:].max() <= 240


def test_the_same_moment_is_the_same_picture_whatever_was_drawn_before(picture: Picture) -> None:
    first = picture.draw(NOON_MS, 1.0).copy()
    picture.draw(NOON_MS + 55, 20.0)
    assert (picture.draw(NOON_MS, 1.0) == first).all()


def test_waves_and_sun_move_in_every_frame(picture: Picture) -> None:
    before = picture.draw(NOON_MS, 0).copy()
    for frame in range(1, 90):
        now = picture.draw(NOON_MS, frame / 30).copy()
        changed = np.any(_luma(now) != _luma(before), axis=1)
        assert changed[480:520].any(), "the waves stand still"
        assert changed[290:450].any(), "the sun stands still"
        assert not changed[:290].any(), "the clock's second is the same"
        before = now


def _clock(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return np.equal(_luma(frame)[160:230, 250:970], 235)


@pytest.mark.parametrize(
    ("offset_ms", "text"),
    [(0, "12:00:00.000"), (7, "12:00:00.007"), (3_723_456, "13:02:03.456"), (-1, "11:59:59.999")],
)
def test_the_clock_says_the_time_in_utc(picture: Picture, offset_ms: int, text: str) -> None:
    shown = _clock(picture.draw(NOON_MS + offset_ms, 0))
    assert (shown == render_text(text, 10)).all()


def test_all_digits_look_different() -> None:
    shapes = {render_text(character, 1).tobytes() for character in "0123456789:. "}
    assert len(shapes) == 13


def test_text_is_scaled_whole() -> None:
    small, large = render_text("1", 1), render_text("1", 3)
    assert small.shape == (7, 6)
    assert (large[1::3, 1::3] == small).all()
    assert ["".join(".#"[int(ink)] for ink in row) for row in small] == [
        "..#...",
        ".##...",
        "..#...",
        "..#...",
        "..#...",
        "..#...",
        ".###..",
    ]


def test_a_character_that_the_font_lacks_is_an_error() -> None:
    with pytest.raises(KeyError):
        render_text("ß", 1)


def test_the_lamp_is_lit_at_the_full_second_only(picture: Picture) -> None:
    lamp = (slice(250, 270), slice(986, 1008))
    assert (_luma(picture.draw(NOON_MS, 0))[lamp] == 235).all()
    assert (_luma(picture.draw(NOON_MS + 79, 0))[lamp] == 235).all()
    assert not (_luma(picture.draw(NOON_MS + 80, 0))[lamp] == 235).any()
