"""The demo's picture, drawn by numpy in planar YUV 4:2:0, as the encoder takes it.

Still parts (sky, title, clock panel) are painted once into a background. A frame copies it and
adds what moves: waves that slide by, a disc that bounces above them, the clock, a bar that fills
with each second and a lamp that is lit while the blip sounds, and the row of cells of `timecode`.
About 0.15 ms a frame.

Luma is 16-235 and chroma 16-240 (BT.709, limited range), as the encoder says in the stream.
"""

import time
from typing import Final

import numpy as np
import numpy.typing as npt

from origin.demo.font import ADVANCE, GLYPH_HEIGHT, render_text
from origin.demo.timecode import CELLS, ROW_SHARE, encode_timecode

WIDTH: Final = 1280
HEIGHT: Final = 720

Plane = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

_BLACK: Final = 16
_WHITE: Final = 235
_NEUTRAL: Final = 128

# Y, Cb, Cr.
_SKY_TOP: Final[Colour] = (38, 158, 116)
_SKY_BOTTOM: Final[Colour] = (120, 144, 112)
_WATER_TOP: Final[Colour] = (112, 156, 84)
_WATER_BOTTOM: Final[Colour] = (44, 152, 108)
_SUN: Final[Colour] = (200, 58, 156)
_PANEL: Final[Colour] = (30, 132, 126)

_CLOCK_SCALE: Final = 10
_CLOCK_CHARACTERS: Final = len("00:00:00.000")
_CLOCK_TOP: Final = 160
_CLOCK_LEFT: Final = 250
_BAR_TOP: Final = _CLOCK_TOP + GLYPH_HEIGHT * _CLOCK_SCALE + 22
_BAR_HEIGHT: Final = 10
_BAR_WIDTH: Final = (_CLOCK_CHARACTERS * ADVANCE - 1) * _CLOCK_SCALE

_WAVES_TOP: Final = 470
_WAVES_BOTTOM: Final = HEIGHT - HEIGHT // ROW_SHARE
#: The pattern repeats after this many columns; even, for the chroma planes.
_WAVE_PERIOD: Final = 640
#: Columns a second; a whole even number of them per frame at 30 frames a second moves without
#: judder.
_WAVE_SPEED: Final = 120

_SUN_SIZE: Final = 112
_SUN_SPEED_X: Final = 180.0
_SUN_SPEED_Y: Final = 120.0
_SUN_TOP: Final = 290
_SUN_BOTTOM: Final = _WAVES_TOP - 20


class Picture:
    """Draws frames of `WIDTH` x `HEIGHT` into one buffer of its own."""

    def __init__(self) -> None:
        self._background = _background()
        self._frame = self._background.copy()
        self._y, self._cb, self._cr = _planes(self._frame)
        self._waves = _waves()
        self._sun = _Disc(_SUN_SIZE, _SUN)
        self._digits = {c: render_text(c, _CLOCK_SCALE) for c in "0123456789:."}

    def draw(self, wall_ms: int, time_s: float) -> Plane:
        """Draw one frame.

        Args:
            wall_ms: Milliseconds UTC since 1970: what the clock and the cells show.
            time_s: Seconds since the start of the broadcast: moves the waves and the disc evenly,
                whatever the wall clock does.

        Returns:
            The planes Y, Cb, Cr one below the other as PyAV takes "yuv420p": ``HEIGHT * 3 / 2``
            rows of `WIDTH` bytes. Borrowed: valid until the next call.
        """
        np.copyto(self._frame, self._background)
        self._draw_waves(time_s)
        self._sun.draw(
            (self._y, self._cb, self._cr),
            left=_bounce(time_s * _SUN_SPEED_X, WIDTH - _SUN_SIZE),
            top=_SUN_TOP + _bounce(time_s * _SUN_SPEED_Y, _SUN_BOTTOM - _SUN_TOP - _SUN_SIZE),
        )
        self._draw_clock(wall_ms)
        self._draw_cells(wall_ms)
        return self._frame

    def _draw_waves(self, time_s: float) -> None:
        left = int(time_s * _WAVE_SPEED) % _WAVE_PERIOD & ~1
        y, cb, cr = self._waves
        self._y[_WAVES_TOP:_WAVES_BOTTOM] = y[:, left : left + WIDTH]
        rows = slice(_WAVES_TOP // 2, _WAVES_BOTTOM // 2)
        columns = slice(left // 2, (left + WIDTH) // 2)
        self._cb[rows] = cb[:, columns]
        self._cr[rows] = cr[:, columns]

    def _draw_clock(self, wall_ms: int) -> None:
        seconds, ms = divmod(wall_ms, 1000)
        text = f"{time.strftime('%H:%M:%S', time.gmtime(seconds))}.{ms:03d}"
        for position, character in enumerate(text):
            left = _CLOCK_LEFT + position * ADVANCE * _CLOCK_SCALE
            mask = self._digits[character]
            height, width = mask.shape
            self._y[_CLOCK_TOP : _CLOCK_TOP + height, left : left + width][mask] = _WHITE
        bar = self._y[_BAR_TOP : _BAR_TOP + _BAR_HEIGHT, _CLOCK_LEFT : _CLOCK_LEFT + _BAR_WIDTH]
        bar[:, : _BAR_WIDTH * ms // 1000] = 180
        if ms < 80:  # as long as the blip of `sound`
            lamp_left = _CLOCK_LEFT + _BAR_WIDTH + 24
            self._y[_BAR_TOP - 8 : _BAR_TOP + 18, lamp_left : lamp_left + 26] = _WHITE

    def _draw_cells(self, wall_ms: int) -> None:
        row = np.where(encode_timecode(wall_ms), _WHITE, _BLACK).astype(np.uint8)
        self._y[_WAVES_BOTTOM:] = np.repeat(row, WIDTH // CELLS)


class _Disc:
    """A soft-edged disc, blended over what is there."""

    def __init__(self, size: int, colour: Colour) -> None:
        centre = (size - 1) / 2
        rows, columns = np.ogrid[:size, :size]
        distance = np.hypot(rows - centre, columns - centre)
        alpha = np.clip((size / 2 - distance) / 3, 0, 1)
        self._luma_alpha = (alpha * 256).astype(np.uint16)
        self._chroma_alpha = np.ascontiguousarray(self._luma_alpha[::2, ::2])
        self._size = size
        self._colour = colour

    def draw(self, planes: tuple[Plane, Plane, Plane], *, left: int, top: int) -> None:
        """Blend the disc in; `left` and `top` are even, for the chroma planes."""
        for plane, value, alpha, step in zip(
            planes,
            self._colour,
            (self._luma_alpha, self._chroma_alpha, self._chroma_alpha),
            (1, 2, 2),
            strict=True,
        ):
            rows = slice(top // step, (top + self._size) // step)
            columns = slice(left // step, (left + self._size) // step)
            blended = plane[rows, columns] * (256 - alpha) + value * alpha
            plane[rows, columns] = blended >> 8


def _bounce(distance: float, span: int) -> int:
    """Fold a distance into 0..span, back and forth; an even number."""
    folded = distance % (2 * span)
    return int(min(folded, 2 * span - folded)) & ~1


def _planes(frame: Plane) -> tuple[Plane, Plane, Plane]:
    """Return views of the three planes of a frame."""
    chroma = frame[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
    return frame[:HEIGHT], chroma[0], chroma[1]


def _background() -> Plane:
    frame: Plane = np.empty((HEIGHT * 3 // 2, WIDTH), np.uint8)
    y, cb, cr = _planes(frame)
    for plane, top, bottom in zip((y, cb, cr), _SKY_TOP, _SKY_BOTTOM, strict=True):
        plane[:] = np.linspace(top, bottom, plane.shape[0])[:, None]

    def box(top: int, left: int, height: int, width: int, colour: Colour) -> None:
        y[top : top + height, left : left + width] = colour[0]
        half = (
            slice(top // 2, (top + height) // 2),
            slice(left // 2, (left + width) // 2),
        )
        cb[half] = colour[1]
        cr[half] = colour[2]

    def write(text: str, scale: int, top: int, left: int) -> None:
        mask = render_text(text, scale)
        y[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = _WHITE

    box(_CLOCK_TOP - 30, _CLOCK_LEFT - 40, 166, _BAR_WIDTH + 150, _PANEL)
    box(_BAR_TOP, _CLOCK_LEFT, _BAR_HEIGHT, _BAR_WIDTH, (60, _NEUTRAL, _NEUTRAL))
    write("UTC", 4, _CLOCK_TOP + 42, _CLOCK_LEFT + _BAR_WIDTH + 20)
    write("HEADRACE DEMO", 6, 50, (WIDTH - 13 * ADVANCE * 6) // 2)
    cells = HEIGHT - HEIGHT // ROW_SHARE
    box(cells, 0, HEIGHT - cells, WIDTH, (_BLACK, _NEUTRAL, _NEUTRAL))
    return frame


def _waves() -> tuple[Plane, Plane, Plane]:
    """Paint the water one period wider than the picture, to be seen through a sliding window."""
    height, width = _WAVES_BOTTOM - _WAVES_TOP, WIDTH + _WAVE_PERIOD
    rows, columns = np.mgrid[:height, :width]
    phase = 2 * np.pi * columns / _WAVE_PERIOD
    crest = 26 + 12 * np.sin(2 * phase) + 7 * np.sin(5 * phase + 1)
    depth = np.clip((rows - crest) / (height - crest), 0, 1)
    ripple = 7 * np.sin(3 * phase + rows / 9) * (1 - depth)
    sky_share = np.clip(crest - rows, 0, 1)

    def mix(index: int, texture: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
        water = _WATER_TOP[index] + (_WATER_BOTTOM[index] - _WATER_TOP[index]) * depth + texture
        sky_at = _SKY_TOP[index] + (_SKY_BOTTOM[index] - _SKY_TOP[index]) * (
            (rows + _WAVES_TOP) / HEIGHT
        )
        mixed: npt.NDArray[np.float64] = water + (sky_at - water) * sky_share
        return mixed

    return (
        mix(0, ripple).astype(np.uint8),
        mix(1, 0.0)[::2, ::2].astype(np.uint8),
        mix(2, 0.0)[::2, ::2].astype(np.uint8),
    )
