"""The JSON of chat, both ways (DESIGN, section 5.1).

A client's frame is one of the structs below, chosen by its "type"; a server's is made by one of the
functions, encoded once for everybody who gets it.

Pure. Bounds: the caller bounds a frame; msgspec bounds what is made of it. May import: msgspec,
`control.chat_model`.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from control.chat_model import ChatMessage, Role, RoomSettings

ErrorCode = Literal[
    "badRequest",
    "notJoined",
    "badToken",
    "badName",
    "nameTaken",
    "banned",
    "timedOut",
    "slowMode",
    "rateLimited",
    "duplicate",
    "tooLong",
    "empty",
    "link",
    "blockedWord",
    "emoteOnly",
    "notAllowed",
    "guestsNotAllowed",
    "claimRequired",
    "forbidden",
    "unknownUser",
    "unknownMessage",
    "unknownCommand",
    "chatDisabled",
    "denied",
    "unavailable",
]


class ChatError(Exception):
    """Something that a person asked for and does not get; the text is for that person.

    Args:
        code: What a program goes by.
        message: One line.
        retry_after_s: When it is worth another try, if that is known.
    """

    def __init__(self, code: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s


class _Client(msgspec.Struct, tag_field="type", rename="camel", frozen=True, kw_only=True):
    """What a client may say."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"  # a repr goes into logs; there are tokens and talk


class Join(_Client, tag="join", frozen=True, kw_only=True):
    """The first frame: who comes."""

    token: str | None = None
    """A chat token; without one a guest comes."""
    guest: str | None = None
    """The guest token that an earlier `joined` brought."""
    username: str | None = None
    """The name that a guest likes to have."""


class Say(_Client, tag="message", frozen=True, kw_only=True):
    """A message, or a command if it begins with a slash."""

    content: str
    client_id: str | None = None


class Ping(_Client, tag="ping", frozen=True, kw_only=True):
    """Are you there? For pages, which cannot send WebSocket pings."""


class Delete(_Client, tag="delete", frozen=True, kw_only=True):
    """Take a message away."""

    id: str


class Ban(_Client, tag="ban", frozen=True, kw_only=True):
    """Shut somebody out."""

    user_id: str
    reason: str = ""


class Unban(_Client, tag="unban", frozen=True, kw_only=True):
    """Take a ban or a timeout back."""

    user_id: str


class Timeout(_Client, tag="timeout", frozen=True, kw_only=True):
    """Silence somebody for a while."""

    user_id: str
    seconds: float
    reason: str = ""


class SlowMode(_Client, tag="slowMode", frozen=True, kw_only=True):
    """Set the least seconds between two messages of a viewer."""

    seconds: int


class Clear(_Client, tag="clear", frozen=True, kw_only=True):
    """Take all messages away."""


class Pin(_Client, tag="pin", frozen=True, kw_only=True):
    """Keep a message in view."""

    id: str


class Unpin(_Client, tag="unpin", frozen=True, kw_only=True):
    """Let go of it."""


class Approve(_Client, tag="approve", frozen=True, kw_only=True):
    """Let a held message be seen."""

    id: str


class Deny(_Client, tag="deny", frozen=True, kw_only=True):
    """Drop a held message."""

    id: str


ClientFrame = (
    Join
    | Say
    | Ping
    | Delete
    | Ban
    | Unban
    | Timeout
    | SlowMode
    | Clear
    | Pin
    | Unpin
    | Approve
    | Deny
)

_decoder: Final = msgspec.json.Decoder(ClientFrame)
_encode: Final = msgspec.json.Encoder().encode


def read_frame(text: str | bytes) -> ClientFrame:
    """Read what a client sent.

    Raises:
        ChatError: badRequest. Nothing of the frame is repeated.
    """
    try:
        frame: ClientFrame = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ChatError("badRequest", "that is no message of this protocol") from None
    return frame


# From the server.


def joined(
    *,
    user_id: str,
    username: str,
    role: Role,
    is_guest: bool,
    guest: str | None,
    settings: RoomSettings,
    messages: Sequence[ChatMessage],
    pinned: ChatMessage | None,
    viewers: int,
    server_time_ms: int,
) -> bytes:
    """The first frame that somebody gets: who they are, and what was said so far."""
    return _encode(
        {
            "type": "joined",
            "userId": user_id,
            "username": username,
            "role": role,
            "isGuest": is_guest,
            "guest": guest,
            "settings": settings,
            "messages": messages,
            "pinned": pinned,
            "viewers": viewers,
            "serverTime": server_time_ms,
        }
    )


def messages(batch: Sequence[ChatMessage]) -> bytes:
    """What was said, in order."""
    return _encode({"type": "messages", "messages": batch})


def deleted(
    *, ids: Sequence[str] | None = None, user_id: str | None = None, everything: bool = False
) -> bytes:
    """Messages that are to vanish from every screen: some, all of somebody, or all."""
    if ids is not None:
        return _encode({"type": "deleted", "ids": ids})
    if user_id is not None:
        return _encode({"type": "deleted", "userId": user_id})
    return _encode({"type": "deleted", "all": everything})


def banned(user_id: str, *, until_ms: int | None, reason: str) -> bytes:
    """Somebody is shut out (`until_ms` None) or silenced."""
    return _encode({"type": "banned", "userId": user_id, "until": until_ms, "reason": reason})


def settings(value: RoomSettings) -> bytes:
    """The room's settings have changed."""
    return _encode({"type": "settings", "settings": value})


def role(value: Role) -> bytes:
    """What you may do from now on."""
    return _encode({"type": "role", "role": value})


def pinned(message: ChatMessage | None) -> bytes:
    """Another message is kept in view, or none."""
    return _encode({"type": "pinned", "message": message})


def viewers(count: int) -> bytes:
    """How many are here."""
    return _encode({"type": "viewers", "count": count})


def held(message: ChatMessage, reason: str) -> bytes:
    """A message waits for a moderator; for moderators, and for who wrote it."""
    return _encode({"type": "held", "message": message, "reason": reason})


def notice(text: str) -> bytes:
    """The answer to a command."""
    return _encode({"type": "notice", "text": text})


LAGGED: Final = _encode({"type": "lagged"})
"""Frames were dropped for you: ask for the history again."""

PONG: Final = _encode({"type": "pong"})


def error(failure: ChatError, *, client_id: str | None = None) -> bytes:
    """Why something was not done."""
    value: dict[str, object] = {
        "type": "error",
        "code": failure.code,
        "message": str(failure),
    }
    if failure.retry_after_s is not None:
        value["retryAfter"] = round(failure.retry_after_s, 3)
    if client_id is not None:
        value["clientId"] = client_id
    return _encode(value)
