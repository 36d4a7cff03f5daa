"""What is stored of chat, as values. Times are UTC milliseconds since 1970.

Pure. Imports msgspec only. Who may write what, and when, is `edge.chat`'s business.
"""

import enum
from typing import Final

import msgspec


class Role(enum.StrEnum):
    """What somebody may do in a room, weakest first; the values are the protocol's words."""

    VIEWER = "viewer"
    MODERATOR = "moderator"
    BROADCASTER = "broadcaster"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """Higher may act on lower, never on equals."""
        return _RANKS[self]


_RANKS: Final = {role: rank for rank, role in enumerate(Role)}


class FilterAction(enum.StrEnum):
    """What becomes of a message that a filter has found."""

    ALLOW = "allow"
    HOLD = "hold"
    REJECT = "reject"


class RoomSettings(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What a stream's moderators may change of its room; also the API's JSON."""

    slow_mode_s: int = 3
    """Least seconds between two messages of one viewer; 0: none. Moderators are exempt."""
    guests_allowed: bool = True
    """Whether viewers without a token may write."""
    emote_only: bool = False
    """Whether viewers may write nothing but emoji."""
    links: FilterAction = FilterAction.ALLOW
    """What becomes of a viewer's message with a link."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts, with all below them, to which anybody may link; at most 100."""
    blocked_words: tuple[str, ...] = ()
    """Words and phrases that a viewer's message may not contain; at most 500, of 64 characters."""
    blocked_words_action: FilterAction = FilterAction.REJECT
    """What becomes of a message that contains one."""
    required_claims: tuple[str, ...] = ()
    """Claims of a chat token ("follower") of which a viewer needs one to write; at most 16. None:
    anybody may."""
    reserved_names: tuple[str, ...] = ()
    """Names that no guest may take, besides "admin", "moderator" and such; at most 100."""


class ChatMessage(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """A message that everybody may read; also the protocol's JSON."""

    id: str
    """16 lower-case hex digits that grow with time: unique in its stream."""
    stream_id: str
    user_id: str
    username: str
    content: str
    timestamp: int
    """When it was accepted."""
    role: Role = Role.VIEWER
    stream_time: float | None = None
    """Seconds since the broadcast began, on the media clock; None: it was not live."""
    client_id: str | None = None
    """The sender's own name for it, so that a page knows its message when it comes back."""


class Sanction(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A ban, or a timeout, which ends by itself."""

    user_id: str
    username: str
    until: int | None = None
    """None: a ban, until it is taken back."""
    network: str | None = None
    """Of a guest, whose id costs nothing: where from; a keyed hash, no address."""
    by: str = ""
    """User id of who did it."""
    reason: str = ""
    at: int = 0


class AuditEntry(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Something that a moderator did."""

    at: int
    actor_id: str
    actor_name: str
    action: str
    """delete, timeout, untimeout, ban, unban, clear, settings, pin, unpin, mod, unmod, approve,
    deny."""
    target: str = ""
    """User id or message id, whichever it was done to."""
    detail: str = ""
    """Seconds, new settings, whatever belongs to it."""
    reason: str = ""


class StoredRoom(msgspec.Struct, frozen=True, kw_only=True):
    """All that a room begins with."""

    settings: RoomSettings
    sanctions: tuple[Sanction, ...] = ()
    """Those that are in force."""
    moderators: tuple[tuple[str, str], ...] = ()
    """User id and name of whom the broadcaster made a moderator."""
    pinned: ChatMessage | None = None
    history: tuple[ChatMessage, ...] = ()
    """The newest messages that were not deleted, oldest first."""
    last_id: str = ""
    """The highest id of any message, deleted or not; "": there is none."""
