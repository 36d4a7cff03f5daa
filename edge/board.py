"""Figures that the processes of a node share: one row each, in memory that all of them map.

A scrape of `/metrics` reaches one worker, by chance, and must be told of all. So each worker writes
its row about once a second, and whoever is asked reads all rows. No process waits for another. That
a row is written tells the supervisor that its worker's event loop runs.

A cell is eight bytes, which this machine reads and writes in one piece; figures of one row may be
of two moments. The supervisor makes the board, and its workers inherit the descriptor.

May import: nothing of ours.
"""

import mmap
import os
from collections.abc import Sequence

_CELL_BYTES = 8


class Board:
    """So many rows of so many numbers.

    Args:
        descriptor: Of the memory: of `create`, or inherited. Not kept.
        rows: As it was made.
        columns: As it was made; one more cell of each row is the board's own.

    Raises:
        OSError, ValueError: The memory is not what it should be.
    """

    def __init__(self, descriptor: int, *, rows: int, columns: int) -> None:
        self._rows = rows
        self._width = columns + 1  # the first counts how often the row was written; 0: it is empty
        size = rows * self._width * _CELL_BYTES
        self._cells = memoryview(mmap.mmap(descriptor, size)).cast("d")

    @staticmethod
    def create(*, rows: int, columns: int) -> int:
        """Make the memory, all rows empty; a descriptor that is the caller's to close."""
        descriptor = os.memfd_create("headrace-figures")
        os.truncate(descriptor, rows * (columns + 1) * _CELL_BYTES)
        return descriptor

    def write(self, row: int, figures: Sequence[float]) -> None:
        """Replace a row, which is in use from then on."""
        start = row * self._width
        for offset, figure in enumerate(figures, start + 1):
            self._cells[offset] = figure
        self._cells[start] += 1.0

    def beats(self, row: int) -> int:
        """How often a row was written since it was empty."""
        return int(self._cells[row * self._width])

    def clear(self, row: int) -> None:
        """Empty a row: its process has ended."""
        self._cells[row * self._width] = 0.0

    def read(self) -> dict[int, list[float]]:
        """Return the rows that are in use, by number."""
        found = {}
        for row in range(self._rows):
            start = row * self._width
            if self._cells[start]:
                found[row] = [float(cell) for cell in self._cells[start + 1 : start + self._width]]
        return found
