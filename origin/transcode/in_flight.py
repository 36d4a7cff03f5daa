"""Pictures that a worker has been given and not given back: how far behind is it?

Told by the source's own times, so that it takes no clock: the newest picture that went in, minus
the oldest that is still awaited. The pictures that a decoder may hold back to reorder them do not
count: when a publisher sends few, the oldest of those is old, and nobody is late.
"""

from collections import deque
from typing import Final

from hls.clock import VIDEO_TIMESCALE

REORDERED: Final = 4
"""Pictures that are on their way in any case: x264's deepest pyramid holds two back."""

MAX_IN_FLIGHT: Final = 4_096
"""Most that are remembered; a worker that is so far behind has been given up long before."""


class InFlight:
    """The pictures on their way, in the order in which they were fed."""

    def __init__(self) -> None:
        self._pictures: deque[tuple[int, int]] = deque(maxlen=MAX_IN_FLIGHT)

    def __len__(self) -> int:
        return len(self._pictures)

    def clear(self) -> None:
        """Nothing is on its way any more."""
        self._pictures.clear()

    def add(self, number: int, pts_ticks: int) -> None:
        """A picture has been fed."""
        self._pictures.append((number, pts_ticks))

    def prune(self, came_back: int) -> None:
        """Forget the pictures up to this number: all that are interested have them."""
        while self._pictures and self._pictures[0][0] <= came_back:
            self._pictures.popleft()

    def lag_s(self, came_back: int) -> float:
        """Return how far something is behind whose newest picture has this number.

        Cost: O(pictures on their way), some dozens.
        """
        waiting = [ticks for number, ticks in self._pictures if number > came_back]
        if len(waiting) <= REORDERED:
            return 0.0
        return max(0, max(waiting) - waiting[REORDERED]) / VIDEO_TIMESCALE
