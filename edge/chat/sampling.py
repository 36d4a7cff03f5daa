"""What a crowd sees of a room that is too lively to be read.

Everybody sees the same sample, so that it is framed once. Pure: time is an argument. May import:
`control.chat_model`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from control.chat_model import ChatMessage, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What a crowd sees of a room that is too lively to be read."""

    above: int = 0
    """Members from which on it holds; 0: never."""
    per_s: float = 20.0
    """Messages a second that each sees. Moderators' always, and their own."""


class Sampler:
    """Chooses, message by message; a bucket that fills again with time.

    Args:
        sampling: How many may pass.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._allowance = sampling.per_s
        self._refilled_ms = 0

    def applies(self, members: int) -> bool:
        """Whether a room of so many is sampled."""
        return 0 < self._sampling.above < members

    def choose(
        self, batch: Sequence[ChatMessage], now_ms: int
    ) -> tuple[list[ChatMessage], list[ChatMessage]]:
        """Split a batch: what everybody sees, and what only its authors do."""
        per_s = self._sampling.per_s
        gained = max(0, now_ms - self._refilled_ms) / 1000 * per_s
        self._allowance = min(max(per_s, 1.0), self._allowance + gained)
        self._refilled_ms = now_ms
        shown, left = [], []
        for message in batch:
            if message.role.rank >= Role.MODERATOR.rank:
                shown.append(message)
            elif self._allowance >= 1:
                self._allowance -= 1
                shown.append(message)
            else:
                left.append(message)
        return shown, left
