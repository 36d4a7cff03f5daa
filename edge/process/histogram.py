"""A histogram of seconds, as Prometheus counts them: how many took so long, or less.

Fixed buckets; one observation is a bisection and three additions. Imports nothing of ours.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate


class Histogram:
    """Counts observations.

    Args:
        bounds: Upper ends of the buckets, rising; one without an end comes behind them.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.total = 0.0
        """Of all that was observed."""

    def observe(self, value: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """Each upper end, and how many lie below it; "+Inf" last."""
        ends = [*map(_text, self._bounds), "+Inf"]
        return list(zip(ends, map(float, accumulate(self._counts)), strict=True))


def _text(bound: float) -> str:
    """As Prometheus' own clients write it: with a point."""
    return repr(float(bound))
