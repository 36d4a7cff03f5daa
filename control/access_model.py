"""Credentials as values: what is known of a stream key or an admin token besides itself.

Times are UTC seconds since 1970. Nothing here holds a secret, or its hash.
"""

from typing import Final, Literal, TypeAlias

import msgspec

PlaybackPolicy: TypeAlias = Literal["public", "token", "webhook"]
"""Who may watch a stream: everybody; who shows a signed token; whom a program lets in."""

FIRST_LABEL: Final = "first"
"""Of the key that a stream is made with."""

MAX_KEYS: Final = 20
"""Keys of one stream, those that end later included."""

MAX_TOKENS: Final = 100
"""Admin tokens besides the one in the data folder."""


class StreamKey(msgspec.Struct, frozen=True, kw_only=True):
    """One of the keys that open a stream."""

    id: str
    """Names the key; no secret."""

    stream_id: str
    """What it opens."""

    label: str
    """Human text: which encoder has it."""

    created_at: float

    expires_at: float | None
    """When it opens nothing any more; None: it lasts."""


class TokenRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A token that may do some of what the admin may."""

    id: str
    """Names the token; no secret."""

    name: str
    """Human text: who has it."""

    scopes: tuple[str, ...]
    """What it may do; which scopes there are is the caller's business."""

    created_at: float

    expires_at: float | None
    """When it is worth nothing any more; None: it lasts."""


class Playback(msgspec.Struct, frozen=True, kw_only=True):
    """Who may watch one stream."""

    policy: PlaybackPolicy = "public"

    webhook_url: str | None = None
    """The program that is asked under the policy `webhook`; else None."""


PUBLIC: Final = Playback()
"""Of every stream of which nothing else was said."""
