"""Webhooks as values: who is told of events, and what waits to be told.

Times are UTC seconds since 1970. The secret that signs is nowhere here: it follows from the hook's
id and `generation` and a key of the server's.
"""

from enum import Enum
from typing import Final

import msgspec

MAX_HOOKS: Final = 100
"""Of a server."""

MAX_PENDING: Final = 10_000
"""Deliveries of one hook that wait; the oldest make room, and are counted: some 6 MB."""

MAX_DEAD: Final = 1000
"""Deliveries of one hook that were given up and can be tried again; the oldest go."""


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is told of events."""

    id: str

    url: str
    """http or https; may hold a secret of the receiver's, so it is never logged."""

    events: tuple[str, ...]
    """Types of events, or patterns; what they mean is the caller's business."""

    stream_id: str | None
    """Only this stream's; None: every one's. The stream may be gone."""

    enabled: bool
    """If not, nothing is kept for it and nothing is sent."""

    description: str

    generation: int
    """How often its secret has been changed."""

    created_at: float

    dropped: int
    """Deliveries that were lost because too many waited."""


class DeliveryStatus(Enum):
    """What becomes of a delivery that was not made yet."""

    PENDING = "pending"
    DEAD = "dead"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What one hook is to be told."""

    hook_id: str
    stream_id: str
    event_id: str
    type: str
    body: bytes
    """The JSON that is sent."""
    at: float


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event that one hook was not told of yet."""

    number: int
    """Unique. Deliveries of one stream to one hook are made in the order of their numbers."""
    hook_id: str
    stream_id: str
    event_id: str
    type: str
    body: bytes
    at: float
    status: DeliveryStatus
    attempts: int
    """That have failed."""
    reason: str
    """Of the last failure, one line."""


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for one hook of one stream."""

    hook_id: str
    stream_id: str
    first: int
    last: int
    """Numbers of the oldest and the newest delivery."""
    count: int


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What is written in one go."""

    events: tuple[Event, ...] = ()
    """New; one of a hook that is gone is left out."""
    made: tuple[tuple[str, int], ...] = ()
    """Hook and number of deliveries that were made: they go."""
    failed: tuple[tuple[int, int, str], ...] = ()
    """Number, attempts until now, reason."""
    buried: tuple[tuple[str, str, int, float], ...] = ()
    """Hook, stream, number: that one is given up, and with it all behind it of before a time."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a `Batch`."""

    numbers: tuple[int | None, ...]
    """Of the new events, in their order; None: its hook is gone."""
    made: dict[str, int]
    """By hook: those of `Batch.made` that were there."""
    dropped: dict[str, int]
    """By hook: the oldest, which had to make room."""
    buried: dict[str, int]
    """By hook: those that were given up."""
