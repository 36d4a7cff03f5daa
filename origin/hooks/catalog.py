"""The events that hooks can be told of, and the patterns that choose among them.

Pure.
"""

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, get_args

Pattern: TypeAlias = Literal[
    "*",
    "stream.*",
    "stream.created",
    "stream.updated",
    "stream.deleted",
    "stream.live",
    "stream.ended",
    "publisher.*",
    "publisher.connected",
    "publisher.disconnected",
    "recording.*",
    "recording.ready",
    "recording.degraded",
    "recording.stopped",
    "alert.*",
    "alert.started",
    "alert.ended",
    "chat.*",
    "chat.message",
    "chat.deleted",
    "chat.cleared",
    "chat.banned",
    "chat.timeout",
    "chat.pardoned",
    "chat.pinned",
    "chat.unpinned",
    "chat.settings",
    "chat.moderator",
]
"""A type, or all of a kind. "*" is all but chat, which comes by the hundred and must be named."""

PATTERNS: Final[tuple[str, ...]] = get_args(Pattern)

TYPES: Final = tuple(pattern for pattern in PATTERNS if not pattern.endswith("*"))

TEST: Final = "hook.test"
"""The type of what is sent on request, to see whether a receiver is there."""


def matches(patterns: Iterable[str], kind: str) -> bool:
    """Tell whether one of the patterns means a type."""
    family = kind.partition(".")[0]
    return any(
        pattern in (kind, f"{family}.*") or (pattern == "*" and family != "chat")
        for pattern in patterns
    )
