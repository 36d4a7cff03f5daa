"""How fast a publisher's clock runs against ours: the slope of its stamps over the time they come.

Pure. A message comes some time after its stamp, never before: so the earliest of each `BIN_S` says
most, and the line's delays and the machine's hiccups are passed over. The slope is the median of
the slopes of all pairs of bins (Theil and Sen), which a third of wrong bins does not move; its
error follows from what the bins lie off the line.

The window grows back from now until the slope is known well enough (`Slope.is_known`): four seconds
on a quiet line, a minute on a nervous one. So a clock that is put right is seen as soon as it can
be. A queue that fills evenly looks the same: what tells it from a clock is that it fills faster
than any clock runs (`rules.MAX_DRIFT_PPM`), and that it ends.

Bounds: `MAX_BINS` bins, of which `MAX_POINTS` are compared. Cost: about 0.2 ms an estimate.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

BIN_S: Final = 0.25
MAX_BINS: Final = 240
"""A minute."""

MAX_POINTS: Final = 32
"""Neighbours are put together until no more are left: 496 pairs."""

SPANS_S: Final = (4.0, 8.0, 16.0, 32.0, 60.0)
"""Windows, tried in this order."""

MIN_SHARE: Final = 0.75
"""Of a window that must be there: the first answer comes after 3 s."""

ENOUGH_PPM: Final = 60.0
"""A slope whose error is smaller is known."""

MIN_SIGMAS: Final = 5.0
"""And so is one that is so many times its error."""

SMALL_PPM: Final = 150.0
"""Of less nobody minds where it comes from."""

MIN_DEVIATION_MS: Final = 0.3
"""Bins are never taken to be better than that. Stamps are whole milliseconds, and a machine with
other things to do is late for seconds on end: neighbours are wrong together, which no deviation
shows. So four seconds tell of a clock that is off by 0.06 %, sixteen of any that matters."""

MIN_HALF: Final = 0.25
"""Of a slope, what each half of its window must show by itself."""

MIN_HALVES: Final = 0.55
"""The same of both on average: a clock shows its whole slope in each, a step in neither."""

_SIGMA_OF_MAD: Final = 1.4826  # of a normal distribution


@dataclass(frozen=True, slots=True)
class Slope:
    """An estimate."""

    ppm: float
    """Parts per million by which the publisher's clock is fast; negative: slow."""
    error_ppm: float
    """Standard error."""
    span_s: float
    """Over how long."""
    is_even: bool = True
    """Both halves of the window say so, too. A step (a queue that has emptied, an encoder that lost
    a few milliseconds) lies between two halves that say nothing."""

    @property
    def is_known(self) -> bool:
        """Whether the error is small enough to judge by."""
        if not self.is_even and abs(self.ppm) > SMALL_PPM:
            return False
        return self.error_ppm <= max(ENOUGH_PPM, abs(self.ppm) / MIN_SIGMAS)


class Drift:
    """The clock of one publisher."""

    def __init__(self) -> None:
        self._bins: deque[tuple[int, float, float]] = deque(maxlen=MAX_BINS)  # number, when, ahead

    def note(self, at_s: float, ahead_ms: float) -> None:
        """Take a message.

        Args:
            at_s: When it came, seconds of our clock; never goes back.
            ahead_ms: Its stamp less that time.
        """
        number = int(at_s / BIN_S)
        bins = self._bins
        if not bins or bins[-1][0] != number:
            bins.append((number, at_s, ahead_ms))
        elif ahead_ms > bins[-1][2]:
            bins[-1] = (number, at_s, ahead_ms)

    def restart(self) -> None:
        """The publisher's clock was set: what came before says nothing any more."""
        self._bins.clear()

    def estimate(self) -> Slope | None:
        """Say how fast it runs; None: too little is there to say anything."""
        slope = None
        points = [(at_s, ahead_ms) for _, at_s, ahead_ms in self._bins]
        for span_s in SPANS_S:
            begin_s = points[-1][0] - span_s if points else 0.0
            window = [point for point in points if point[0] >= begin_s]
            if not window or window[-1][0] - window[0][0] < span_s * MIN_SHARE:
                break
            slope = _slope(_thinned(window), window[-1][0] - window[0][0])
            if slope.is_known:
                break
        return slope


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Put neighbours together: of each group, the earliest message."""
    size = math.ceil(len(points) / MAX_POINTS)
    if size == 1:
        return points
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [max(group, key=lambda point: point[1]) for group in groups]


def _slope(points: Sequence[tuple[float, float]], span_s: float) -> Slope:
    per_s = _middle_slope(points)
    middle_index = len(points) // 2
    halves = (_middle_slope(points[:middle_index]), _middle_slope(points[middle_index:]))
    rests = [ahead_ms - per_s * at_s for at_s, ahead_ms in points]
    middle = median(rests)
    deviation_ms = max(median([abs(rest - middle) for rest in rests]), MIN_DEVIATION_MS)
    mean_s = sum(at_s for at_s, _ in points) / len(points)
    squares = sum((at_s - mean_s) ** 2 for at_s, _ in points)
    error = _SIGMA_OF_MAD * deviation_ms / math.sqrt(squares)
    shares = [half / per_s if per_s else 1.0 for half in halves]
    is_even = min(shares) >= MIN_HALF and sum(shares) / 2 >= MIN_HALVES
    return Slope(per_s * 1000, error * 1000, span_s, is_even)


def _middle_slope(points: Sequence[tuple[float, float]]) -> float:
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for number, later in enumerate(points)
        for earlier in points[:number]
        if later[0] > earlier[0]
    ]
    return median(slopes) if slopes else 0.0
