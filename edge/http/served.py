"""What became of a request: told by connections, once each, to whoever counts or logs them.

May import: `edge.http.messages`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from edge.http.messages import Request

LEFT: Final = 499
"""The status of a request whose client left before it had the answer (nginx's)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A request, and what became of it."""

    request: Request
    status: int
    """Of the answer, or `LEFT`."""
    size_bytes: int
    """Of its body."""
    took_s: float
    """From the head of the request to the last byte that was handed to the system."""
    http: Literal["1.1", "2"]
    connection: int
    """As the log names it."""
    was_held: bool = False
    """Whether it was parked on purpose: its time says nothing of us."""


Tell = Callable[[Served], None]
"""Hears of each request that a task has answered. Synchronous and cheap; raises nothing."""


def tell_nobody(_served: Served) -> None:
    """Where nobody wants to know."""
