"""What the RTMP server has seen so far, in words that are few: for Prometheus, and for tests.

The log says why each connection ended in a sentence; here it is counted by one of `Ending`, and a
refusal by its code (`PublishDeniedError.code`). Imports nothing of ours.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MAX_REFUSAL_CODES: Final = 32
"""Codes are ours, and a dozen; should there be more, they are "other"."""


class Ending(StrEnum):
    """Why a connection ended."""

    CLOSED = "closed"
    """The peer said goodbye, or hung up in order."""
    LOST = "lost"
    SILENT = "silent"
    """Not a publish, or no media, in time."""
    SLOW = "slow"
    """It did not read what it was told."""
    PROTOCOL = "protocol"
    """It broke the protocol."""
    REFUSED = "refused"
    """It may not publish, or not play."""
    UNUSABLE = "unusable"
    """Its media cannot be packaged, or is more than may be sent."""
    ENDED = "ended"
    """By us: the broadcast was ended, a key revoked, another publisher came."""
    NO_PLACE = "noPlace"
    """There were too many connections."""
    STOPPING = "stopping"
    """The server stops."""
    INTERNAL = "internal"
    """Our fault."""


@dataclass(slots=True)
class RtmpFigures:
    """Counts since the start."""

    accepted: int = 0
    endings: Counter[Ending] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    """Publishers that were refused, by code."""
    received_bytes: int = 0
    """From connections that have ended."""

    def note_refusal(self, code: str) -> None:
        """Count a publisher that was refused."""
        if code not in self.refusals and len(self.refusals) >= MAX_REFUSAL_CODES:
            code = "other"
        self.refusals[code] += 1
