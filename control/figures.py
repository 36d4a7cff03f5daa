"""What a store has done so far, for whoever watches it. Imports nothing of ours."""

from dataclasses import dataclass
from typing import Final

SLOW_S: Final = 0.25
"""A query that takes longer, its wait for its turn included, is slow: people notice."""


@dataclass(slots=True)
class StoreFigures:
    """Counts since the start. Only the store changes them."""

    queries: int = 0
    """That have ended, well or not."""
    errors: int = 0
    """Of those, the ones that the file did not answer."""
    slow: int = 0
    """Of those, the ones that took more than `SLOW_S`."""
    seconds: float = 0.0
    """That callers have waited, all together."""

    def note(self, took_s: float, *, failed: bool) -> None:
        """Count a query."""
        self.queries += 1
        self.errors += failed
        self.slow += took_s > SLOW_S
        self.seconds += took_s
