"""Chat's rows of the API's table, with the types of what is asked and answered.

They are documented from here and answered by `edge.chat.api`, which has credentials of its own kind
(chat tokens, guests) and a connection to give away. Bodies and queries are read there with the very
types that stand here.

Pure. May import: `control.chat_model`, `edge.api.operation`, `edge.chat`'s pure modules.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Final

import msgspec

from control.chat_model import AuditEntry, ChatMessage, FilterAction, Role, RoomSettings
from edge.api.operation import Need, Operation
from edge.chat.rules import MAX_TIMEOUT_S, MIN_TIMEOUT_S

MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 50
DEFAULT_TOKEN_S: Final = 12 * 3600
MAX_TOKEN_S: Final = 30 * 24 * 3600

_UserId = Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,128}\Z")]
_Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)]
_Before = Annotated[str, msgspec.Meta(max_length=64)]


class ChatPost(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Something to say."""

    content: Annotated[str, msgspec.Meta(max_length=4096)]
    user_id: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    """For whom; only the key and the admin token may say this of somebody else."""
    username: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    client_id: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    """The sender's own name for it."""


class ChatTokenRequest(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Whom a chat token is to stand for."""

    user_id: _UserId
    username: Annotated[str, msgspec.Meta(max_length=128)]
    role: Role = Role.VIEWER
    claims: Annotated[
        tuple[Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,64}\Z")], ...],
        msgspec.Meta(max_length=16),
    ] = ()
    ttl_seconds: Annotated[int, msgspec.Meta(ge=10, le=MAX_TOKEN_S)] = DEFAULT_TOKEN_S


class BanRequest(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """For how long, and why."""

    seconds: Annotated[float, msgspec.Meta(ge=MIN_TIMEOUT_S, le=MAX_TIMEOUT_S)] | None = None
    """Of a timeout; null: a ban, until it is taken back."""
    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""


_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Host = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class RoomChanges(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Settings of a room: what is left out stays as it is. See `RoomSettings`."""

    slow_mode_s: Annotated[int, msgspec.Meta(ge=0, le=3600)] | msgspec.UnsetType = msgspec.UNSET
    guests_allowed: bool | msgspec.UnsetType = msgspec.UNSET
    emote_only: bool | msgspec.UnsetType = msgspec.UNSET
    links: FilterAction | msgspec.UnsetType = msgspec.UNSET
    allowed_hosts: (
        Annotated[tuple[_Host, ...], msgspec.Meta(max_length=100)] | msgspec.UnsetType
    ) = msgspec.UNSET
    blocked_words: (
        Annotated[tuple[_Word, ...], msgspec.Meta(max_length=500)] | msgspec.UnsetType
    ) = msgspec.UNSET
    blocked_words_action: FilterAction | msgspec.UnsetType = msgspec.UNSET
    required_claims: (
        Annotated[tuple[_Word, ...], msgspec.Meta(max_length=16)] | msgspec.UnsetType
    ) = msgspec.UNSET
    reserved_names: (
        Annotated[tuple[_Word, ...], msgspec.Meta(max_length=100)] | msgspec.UnsetType
    ) = msgspec.UNSET


class ChatQuery(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Which messages: the newest of those between two ids."""

    limit: _Limit = DEFAULT_LIMIT
    before: _Before | msgspec.UnsetType = msgspec.UNSET
    after: _Before | msgspec.UnsetType = msgspec.UNSET


class AuditQuery(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Which entries: the newest of those before a number."""

    limit: _Limit = DEFAULT_LIMIT
    before: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | msgspec.UnsetType = msgspec.UNSET


class ChatMessages(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Messages, oldest first."""

    messages: list[ChatMessage]


class ChatToken(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Says who somebody is in one stream's chat."""

    token: str

    def __repr__(self) -> str:
        return "ChatToken(...)"  # a repr goes into logs


class BanInfo(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A ban or a timeout that is in force. Times are UTC, milliseconds since 1970."""

    user_id: str
    username: str
    until: int | None
    """Null: until it is taken back."""
    by: str
    """User id of who did it."""
    reason: str
    at: int


class BanList(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Who may not write, the oldest first."""

    bans: list[BanInfo]


class ModeratorInfo(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Somebody whom the broadcaster made a moderator."""

    user_id: str
    username: str


class ModeratorList(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The moderators of a room."""

    moderators: list[ModeratorInfo]


class AuditRow(AuditEntry, rename="camel", frozen=True, kw_only=True):
    """Something that a moderator did, with its number."""

    id: int
    """For `before` in the next call."""


class AuditPage(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What moderators did, newest first."""

    entries: list[AuditRow]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """It is done, and stored."""

    ok: bool = True


def chat_operations() -> Sequence[Operation]:
    """The rows; `edge.chat.api` answers them."""
    path = "/api/streams/{streamId}/chat"
    read = partial(Operation, handler=None, tag="chat", errors=(403,))
    # Who moderates shows a chat token of that role, or what opens a stream.
    chat = partial(read, need=Need.CHAT, scope="moderate")
    broadcaster = partial(chat, scope="streams")
    return (
        Operation(
            name="listMessages", method="GET", path=path, handler=None, tag="chat",
            summary="Read what was said", query=ChatQuery, answer=ChatMessages,
        ),
        chat(
            name="postMessage", method="POST", path=path, summary="Say something",
            body=ChatPost, answer=ChatMessage, status=201, also=(202,), errors=(403, 413, 429),
            description="202: a moderator must see it first. 413: it is longer than a message may "
            "be. A guest token of somebody who has joined lately serves too. The scope lets write "
            "as whom the token names.",
        ),
        Operation(
            name="joinChat", method="GET", path=f"{path}/ws", handler=None, tag="chat",
            summary="Chat by WebSocket", status=101, errors=(400, 403, 426), media_type="",
            description="An upgrade (RFC 6455), over HTTP/1.1 only. Frames are JSON texts, the "
            "first one `{type: join, token?, username?}`; see docs/chat.md. Whose pages may come, "
            "`Origin` decides: others get 403.",
        ),
        broadcaster(
            name="createChatToken", method="POST", path=f"{path}/token",
            summary="Say who somebody is in this chat", body=ChatTokenRequest, answer=ChatToken,
            status=201, description="A chat token itself is not enough.",
        ),
        read(
            name="getChatSettings", method="GET", path=f"{path}/settings",
            summary="Show a room's settings", answer=RoomSettings,
        ),
        chat(
            name="changeChatSettings", method="PATCH", path=f"{path}/settings",
            summary="Change a room's settings", body=RoomChanges, answer=RoomSettings,
            description="What is left out stays as it is.",
        ),
        chat(
            name="clearMessages", method="DELETE", path=f"{path}/messages",
            summary="Take all messages away", answer=Done,
        ),
        chat(
            name="deleteMessage", method="DELETE", path=f"{path}/messages/{{messageId}}",
            summary="Take a message away", answer=Done,
        ),
        chat(
            name="pinMessage", method="PUT", path=f"{path}/pinned/{{messageId}}",
            summary="Keep a message in view", answer=Done,
        ),
        chat(
            name="unpinMessage", method="DELETE", path=f"{path}/pinned",
            summary="Keep no message in view", answer=Done,
        ),
        chat(
            name="listBans", method="GET", path=f"{path}/bans",
            summary="List who may not write", answer=BanList,
        ),
        chat(
            name="banUser", method="PUT", path=f"{path}/bans/{{userId}}",
            summary="Ban somebody, or silence them for a while", body=BanRequest,
            body_optional=True, answer=Done, description="What they said vanishes.",
        ),
        chat(
            name="unbanUser", method="DELETE", path=f"{path}/bans/{{userId}}",
            summary="Take a ban or a timeout back", answer=Done,
        ),
        chat(
            name="listModerators", method="GET", path=f"{path}/moderators",
            summary="List a room's moderators", answer=ModeratorList,
        ),
        broadcaster(
            name="addModerator", method="PUT", path=f"{path}/moderators/{{userId}}",
            summary="Make somebody a moderator", answer=Done,
        ),
        broadcaster(
            name="removeModerator", method="DELETE", path=f"{path}/moderators/{{userId}}",
            summary="Make a moderator a viewer again", answer=Done,
        ),
        chat(
            name="listAudit", method="GET", path=f"{path}/audit",
            summary="List what moderators did, newest first", query=AuditQuery, answer=AuditPage,
        ),
    )  # fmt: skip
