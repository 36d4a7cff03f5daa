"""What a broadcast asks of those who feed it: its publisher, its ladder, what stands in for it.

May import control.
"""

from typing import Protocol

from control import StreamKey


class Feed(Protocol):
    """What a broadcast asks of its publisher."""

    key: StreamKey | None
    """What it was let in with, as it is now; None: it needed none (a relay)."""

    @property
    def silent_s(self) -> float:
        """For how long nothing has come from it, not a byte."""
        ...

    def revoke(self, reason: str) -> None:
        """It may not publish any more: hang up for good; the broadcast waits for another."""
        ...

    def stop(self, reason: str, *, for_good: bool = False) -> None:
        """Hand over what is held back, then hang up. Synchronous; idempotent.

        Args:
            reason: For the log and the publisher.
            for_good: It must not come back by itself: tell it so.
        """
        ...

    def give_way(self, reason: str) -> None:
        """Hand over what is held back, for another publisher comes now, and hang up for good."""
        ...


class StandIn(Protocol):
    """What a broadcast asks of what is shown while its publisher is awaited."""

    def stop(self) -> None:
        """Publish what has come until now; nothing more will be. Synchronous; idempotent."""
        ...


class Ladder(Protocol):
    """What a broadcast asks of the maker of its transcoded renditions."""

    def finish(self) -> None:
        """Publish what has come until now; nothing more will be. Synchronous; idempotent."""
        ...
