"""A publisher of a broadcast (`origin.feed.Feed`) of whom nothing special is expected."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from control import StreamKey


class QuietFeed:
    """Sends all the time; may be stopped, but nobody takes its place or its key away."""

    silent_s = 0.0

    def __init__(self) -> None:
        self.key: StreamKey | None = None

    def revoke(self, reason: str) -> None:
        raise AssertionError(reason)

    def give_way(self, reason: str) -> None:
        raise AssertionError(reason)

    def stop(self, reason: str, *, for_good: bool = False) -> None:
        """No matter."""
