"""How far to cut a ladder back so that it keeps up with real time: pure rules on lag.

The *lag* of a worker is how long the pictures that it owes have waited (`in_flight`). While it is
high, the ladder is cut back by a step; once it has been low for a while, a step is taken back. The
steps, for a ladder of three::

    level   0      1            2      3            4      5
    1080p   full   every 2nd    off    off          off    off
    720p    full   full         full   every 2nd    off    off
    480p    full   full         full   full         full   every 2nd

The top rung goes first: it costs most, and whoever watches it has the bandwidth for another. The
lowest stays; what is too slow even for that is the supervisor's to skip (`MAX_LAG_S`).

Each step has `SETTLE_S` to show what it does. A ladder that has to be cut back again soon after a
step was taken back waits twice as long the next time, so that it does not swing.

Pure: time comes as an argument.
"""

from collections.abc import Sequence
from typing import Final

HIGH_LAG_S: Final = 0.7
"""Lag that calls for a step: half of what a player holds in hand at 1 s behind the live edge."""

LOW_LAG_S: Final = 0.35
"""Lag at which all is well. A decoder that reorders holds some pictures back at any speed."""

PATIENCE_S: Final = 0.5
"""How long the lag must be high: one slow picture is nothing."""

SETTLE_S: Final = 2.5
"""From one step to the next: a step works from the next segment on."""

CALM_S: Final = 15.0
"""How long the lag must be low before a step is taken back."""

MAX_CALM_S: Final = 240.0
"""Most that the wait grows to."""

MAX_LAG_S: Final = 2.5
"""Lag at which what waits is thrown away, and the ladder goes on at the live edge."""


def most(rungs: int) -> int:
    """Return the highest level of a ladder of so many rungs."""
    return max(0, 2 * rungs - 1)


def divisors(level: int, normal: Sequence[int]) -> list[int]:
    """Return what each rung encodes at a level: one picture in so many, 0 for none.

    Args:
        level: From 0 to `most` of their number.
        normal: The divisors at level 0, top rung first.
    """
    return [
        0 if level >= 2 * place + 2 else 2 * divisor if level == 2 * place + 1 else divisor
        for place, divisor in enumerate(normal)
    ]


class Pressure:
    """Follows the lag of one worker and says how far its ladder is cut back.

    Args:
        rungs: How many there are.
    """

    def __init__(self, rungs: int) -> None:
        self._most = most(rungs)
        self._high_since_s: float | None = None
        self._low_since_s: float | None = None
        self._next_step_s = float("-inf")
        self._relieved_s = float("-inf")  # when a step was last taken back
        self._calm_s = CALM_S
        self.level = 0
        """How far the ladder is cut back; 0 is not at all."""

    def observe(self, lag_s: float, now_s: float) -> int:
        """Take one measurement; call it several times a second.

        Args:
            lag_s: The lag now.
            now_s: Any clock.

        Returns:
            The level from now on.
        """
        if lag_s < HIGH_LAG_S:
            self._high_since_s = None
        elif self._high_since_s is None:
            self._high_since_s = now_s
        if lag_s > LOW_LAG_S:
            self._low_since_s = None
        elif self._low_since_s is None:
            self._low_since_s = now_s
        if self._high_since_s is not None and now_s - self._high_since_s >= PATIENCE_S:
            self._cut_back(now_s)
        elif self._low_since_s is not None and now_s - self._low_since_s >= self._calm_s:
            self._relieve(now_s)
        return self.level

    def restart(self, now_s: float) -> None:
        """What was measured says nothing any more; the level stays."""
        self._high_since_s = self._low_since_s = None
        self._next_step_s = now_s + SETTLE_S

    def _cut_back(self, now_s: float) -> None:
        if self.level >= self._most or now_s < self._next_step_s:
            return
        if now_s - self._relieved_s < 2 * self._calm_s:
            self._calm_s = min(2 * self._calm_s, MAX_CALM_S)
        self.level += 1
        self._next_step_s = now_s + SETTLE_S

    def _relieve(self, now_s: float) -> None:
        if self.level == 0:
            self._calm_s = CALM_S
            return
        self.level -= 1
        self._relieved_s = self._low_since_s = now_s
