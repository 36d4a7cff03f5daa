"""A 5 x 7 bitmap font: the few characters that the demo picture writes, readable in this source."""

from typing import Final

import numpy as np
import numpy.typing as npt

GLYPH_WIDTH: Final = 5
GLYPH_HEIGHT: Final = 7

#: Columns from one character to the next, in font pixels.
ADVANCE: Final = GLYPH_WIDTH + 1

_SHAPES: Final = {
    " ": ".....|.....|.....|.....|.....|.....|.....",
    ".": ".....|.....|.....|.....|.....|.##..|.##..",
    ":": ".....|.##..|.##..|.....|.##..|.##..|.....",
    "0": ".###.|#...#|#..##|#.#.#|##..#|#...#|.###.",
    "1": "..#..|.##..|..#..|..#..|..#..|..#..|.###.",
    "2": ".###.|#...#|....#|...#.|..#..|.#...|#####",
    "3": "#####|...#.|..#..|...#.|....#|#...#|.###.",
    "4": "...#.|..##.|.#.#.|#..#.|#####|...#.|...#.",
    "5": "#####|#....|####.|....#|....#|#...#|.###.",
    "6": "..##.|.#...|#....|####.|#...#|#...#|.###.",
    "7": "#####|....#|...#.|..#..|.#...|.#...|.#...",
    "8": ".###.|#...#|#...#|.###.|#...#|#...#|.###.",
    "9": ".###.|#...#|#...#|.####|....#|...#.|.##..",
    "A": ".###.|#...#|#...#|#####|#...#|#...#|#...#",
    "C": ".###.|#...#|#....|#....|#....|#...#|.###.",
    "D": "####.|#...#|#...#|#...#|#...#|#...#|####.",
    "E": "#####|#....|#....|####.|#....|#....|#####",
    "H": "#...#|#...#|#...#|#####|#...#|#...#|#...#",
    "M": "#...#|##.##|#.#.#|#.#.#|#...#|#...#|#...#",
    "O": ".###.|#...#|#...#|#...#|#...#|#...#|.###.",
    "R": "####.|#...#|#...#|####.|#.#..|#..#.|#...#",
    "T": "#####|..#..|..#..|..#..|..#..|..#..|..#..",
    "U": "#...#|#...#|#...#|#...#|#...#|#...#|.###.",
}


def render_text(text: str, scale: int) -> npt.NDArray[np.bool_]:
    """Render a line of text as a mask.

    Args:
        text: Characters of the table above.
        scale: Picture pixels per font pixel.

    Returns:
        ``7 * scale`` rows of ``6 * scale * len(text)`` columns, True where there is ink.

    Raises:
        KeyError: A character that the font does not have.
    """
    columns = [
        [[cell == "#" for cell in row] + [False] for row in _SHAPES[character].split("|")]
        for character in text
    ]
    mask = np.concatenate([np.array(glyph, np.bool_) for glyph in columns], axis=1)
    return np.kron(mask, np.ones((scale, scale), np.bool_))
