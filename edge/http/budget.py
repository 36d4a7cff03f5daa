"""A bound on how often: so many at once, so many a second for ever. Time is an argument.

May import: nothing.
"""


class Budget:
    """A token bucket.

    Args:
        burst: What can be spent at once.
        per_s: What comes back in a second.
    """

    __slots__ = ("_burst", "_left", "_per_s", "_spent_at_s")

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst = self._left = burst
        self._per_s = per_s
        self._spent_at_s: float | None = None

    def spend(self, now_s: float) -> bool:
        """Take one; False if there was none."""
        self.has(now_s)
        self._left -= 1
        return self._left >= 0

    def has(self, now_s: float) -> bool:
        """Whether there is one to take."""
        if self._spent_at_s is not None:
            self.earn((now_s - self._spent_at_s) * self._per_s)
        self._spent_at_s = now_s
        return self._left >= 1

    def earn(self, count: float) -> None:
        """Put some back; never more than the burst."""
        self._left = min(self._burst, self._left + count)
