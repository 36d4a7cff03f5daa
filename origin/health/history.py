"""The last ten minutes of a broadcast's figures: columns of numbers, a row a second.

Pure. Ten minutes of one broadcast take 24 KB, and never more. NaN stands for what was not known; it
becomes null in JSON.
"""

import math
from array import array
from collections.abc import Mapping
from typing import Final

ROWS: Final = 600
"""Kept of each broadcast."""

COLUMNS: Final = (
    "bitrateKbps",
    "fps",
    "droppedFrames",
    "lateFrames",
    "keyframeIntervalSeconds",
    "avSkewMs",
    "driftPpm",
    "jitterMs",
    "rttMs",
)
"""Named as in the JSON."""


class History:
    """A ring of rows."""

    def __init__(self) -> None:
        self._at_s = array("d")
        self._columns = {name: array("f") for name in COLUMNS}
        self._next = 0  # the row that is written over next, once all are there

    def __len__(self) -> int:
        return len(self._at_s)

    def add(self, at_s: float, row: Mapping[str, float | None]) -> None:
        """Keep a row.

        Args:
            at_s: UTC seconds.
            row: By column; what is missing is not known.
        """
        cells = {name: math.nan if (cell := row.get(name)) is None else cell for name in COLUMNS}
        if len(self._at_s) < ROWS:
            self._at_s.append(at_s)
            for name, column in self._columns.items():
                column.append(cells[name])
            return
        self._at_s[self._next] = at_s
        for name, column in self._columns.items():
            column[self._next] = cells[name]
        self._next = (self._next + 1) % ROWS

    def rows_since(self, at_s: float) -> tuple[list[int], dict[str, list[float | None]]]:
        """Return the rows from a moment on, oldest first.

        Returns:
            When each was measured, UTC milliseconds; and the columns.
        """
        order = [*range(self._next, len(self._at_s)), *range(self._next)]
        wanted = [row for row in order if self._at_s[row] >= at_s]
        columns = {
            name: [None if math.isnan(column[row]) else round(column[row], 2) for row in wanted]
            for name, column in self._columns.items()
        }
        return [round(self._at_s[row] * 1000) for row in wanted], columns
