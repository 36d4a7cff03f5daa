"""A page's sign of life: the JSON of `POST /api/streams/{id}/viewers`.

May import: msgspec.
"""

from typing import Annotated

import msgspec


class ViewerSign(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """A player's sign of life: at its start, and then every ten seconds."""

    viewer_id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._~-]{8,64}\Z")]
    """Random, made by the player for as long as it plays."""
    leaving: bool = False
    """It stops now: do not wait for its time-out."""
    native: bool = False
    """What plays is the system's player, which does not name itself in what it asks for."""


class ViewerCount(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """How many watch."""

    count: int
