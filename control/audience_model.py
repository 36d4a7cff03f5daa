"""What is kept of viewers, as values: how many, and no more. Times are UTC seconds since 1970."""

import msgspec


class ViewerMinute(msgspec.Struct, frozen=True):
    """How many watched a stream in one minute."""

    stream_id: str
    at: int
    """The whole minute in which it ended."""
    count: int
    """At its end."""
    peak: int
    """Most at one time within it."""


class BroadcastAudience(msgspec.Struct, frozen=True):
    """How many watched one broadcast."""

    stream_id: str
    started_at: float
    """When it began; names it among those of its stream."""
    ended_at: float
    """When it ended, or was heard of last."""
    peak: int
    """Most at one time."""
    watched_s: float
    """Of all viewers together, seconds."""
