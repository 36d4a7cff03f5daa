"""The values that cross the border of ``_fanout.pyx`` and of its twin, ``edge.chat.plain_fanout``.

Imports the standard library only.
"""

from enum import Enum
from typing import NamedTuple


class FanoutEvent(Enum):
    """What `Fanout.step` tells; the first item of each of its tuples."""

    DATA = "data"
    """(DATA, tag, received): bytes of a member, in order, as they came."""
    ENDED = "ended"
    """(ENDED, tag, reason, sent_bytes): a connection is closed, and its tag is free. The reason is
    one of "left" (by its peer), "failed", "silent", "slow", "done" (after `close`), "cut"."""


class FanoutLimits(NamedTuple):
    """All that is bounded; times in milliseconds."""

    max_members: int = 100_000
    queue_frames: int = 256
    """Frames of its room that a member that does not read may be behind; and, counted apart, frames
    of its own that wait."""
    queue_bytes: int = 65_536
    """The same in bytes; a single frame may be larger."""
    lag_timeout_ms: int = 10_000
    """From the first frame that is lost for a member to its end, if it does not catch up."""
    ping_after_ms: int = 30_000
    """Without a byte from a member."""
    pong_timeout_ms: int = 20_000
    """From a ping to the end of who does not answer it, whatever the answer is."""
    linger_timeout_ms: int = 2_000
    """From `close` to the last byte, and from there to the peer's end of the connection."""
    read_bytes: int = 4_096
    """Read of a member at once."""


class FanoutCounters(NamedTuple):
    """What there is now, and what was done so far."""

    members: int
    queued_bytes: int
    """Of the frames in the logs of rooms, each once, and of those that wait for one member."""
    delivered: int
    """Frames that the system has taken, one for each member; pings and notices are not counted."""
    dropped: int
    """Frames that were lost for a member because it lagged."""
    lagged: int
    """How often a member began to."""
    sent_bytes: int
    timed_out: int
    """Members that were silent, slow, or would not go."""


MAX_FRAME_BYTES = 1 << 20
"""Of one frame; more is a ValueError."""

MAX_RECEIVED_BYTES = 1 << 16
"""Of the bytes that a member brings along."""

LOG_FACTOR = 4
"""A room's log holds so many times `queue_frames` while members have not had their turn yet."""

MAX_LOG_BYTES = 1 << 22
"""Of that log."""
