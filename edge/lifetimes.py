"""Lives that end by the clock.

Whatever an edge keeps is kept for a time, and `edge.life` must end then even if nobody asks: others
(`edge.http.delivery`) keep the answer for just as long. One heap has them all; one task of the
owner's waits for the first.

Time is passed in. Invariant: of the entries in the heap, at most half and `_SLACK` have ended, so
it is bounded by what is alive: what `edge.cache` and `edge.playlists` hold.

May import: `edge.life`.
"""

import heapq
import itertools
import math
from collections.abc import Callable

from edge.life import Life

_SLACK = 64


class Lifetimes:
    """Lives, by when they end.

    Args:
        on_sooner: Called when `next_s` has become sooner; must not raise or block.
    """

    def __init__(self, on_sooner: Callable[[], object] = lambda: None) -> None:
        self._on_sooner = on_sooner
        self._heap: list[tuple[float, int, Life]] = []
        self._numbers = itertools.count()  # lives do not compare
        self._ended = 0  # in the heap

    def begin(self, until_s: float) -> Life:
        """Return a life that ends at a time, unless somebody ends it before."""
        life = Life()
        life.add(self._note_end)
        if self._ended > len(self._heap) // 2 + _SLACK:
            self._heap = [entry for entry in self._heap if not entry[2].ended]
            heapq.heapify(self._heap)
            self._ended = 0
        is_sooner = until_s < self.next_s
        heapq.heappush(self._heap, (until_s, next(self._numbers), life))
        if is_sooner:
            self._on_sooner()
        return life

    def end_due(self, now_s: float) -> None:
        """End every life whose time has come."""
        while self._heap and self._heap[0][0] <= now_s:
            life = heapq.heappop(self._heap)[2]
            if life.ended:
                self._ended -= 1
            else:
                life.discard(self._note_end)
                life.end()

    def end_all(self) -> None:
        """End every life now."""
        self.end_due(math.inf)

    @property
    def next_s(self) -> float:
        """When the next one may end; infinite if there is none."""
        return self._heap[0][0] if self._heap else math.inf

    def __len__(self) -> int:
        """Entries in the heap, ended ones too."""
        return len(self._heap)

    def _note_end(self) -> None:
        self._ended += 1
