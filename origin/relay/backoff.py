"""When to try again what failed: growing pauses with jitter, for forwards and pulls.

Pauses double from `FIRST_S` to `LONGEST_S`. Each is drawn from its upper half, so that hundreds of
forwards that one service's restart cut off do not come back in one moment. What has worked for
`PROVEN_S` begins anew.

Knows no clock: the caller says how long it has worked, and waits.
"""

import random
from collections.abc import Callable
from typing import Final

FIRST_S: Final = 1.0
LONGEST_S: Final = 60.0

PROVEN_S: Final = 30.0
"""After so long the next failure is a new one, and not the last one's consequence."""


class Backoff:
    """The pauses between attempts at one thing.

    Args:
        draw: Gives a number from 0 up to 1.
    """

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._ceiling_s = FIRST_S

    def pause_s(self, worked_s: float) -> float:
        """Return how long to wait after an attempt failed.

        Args:
            worked_s: How long it had worked, seconds; 0: not at all.
        """
        if worked_s >= PROVEN_S:
            self._ceiling_s = FIRST_S
        ceiling_s = self._ceiling_s
        self._ceiling_s = min(ceiling_s * 2, LONGEST_S)
        return ceiling_s * (1 + self._draw()) / 2
