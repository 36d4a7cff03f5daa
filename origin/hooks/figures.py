"""How webhooks fare, in numbers, for metrics.

Pure.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HookFigures:
    """Of all hooks together; counters begin with the process, but `dropped`."""

    hooks: int = 0
    """That there are."""
    failing: int = 0
    """Of those, that have failed several times in a row."""
    pending: int = 0
    """Deliveries that wait, written or about to be."""
    under_way: int = 0
    """Streams of hooks that are being served now."""
    delivered: int = 0
    """Counter: deliveries that were made."""
    failed: int = 0
    """Counter: attempts that failed."""
    dead: int = 0
    """Deliveries that were given up and can be tried again."""
    dropped: int = 0
    """Counter: events that were lost because too many waited."""
