"""What people type with a slash before it, read: names, times and reasons.

`/ban USER [REASON]` and its like; who may do it, and to whom, is decided where it is done. A user
is a name or an id, with or without an @. Names are compared without their blanks
(`edge.chat.names.skeleton`), so "Guest 1a2b" may be written Guest1a2b, or "Guest 1a2b" in quotes;
where nothing follows the name, as it is. A time is seconds, or has a unit: 90, 90s, 10m, 2h, 1d.

A message that begins with // is no command, but one that begins with a slash.

Pure. Bounds: `MAX_COMMAND_CHARS`, `MAX_REASON_CHARS`. May import: msgspec, `edge.chat`'s filters.
"""

import re
from collections.abc import Callable
from typing import Final

import msgspec

from edge.chat.filters import clean_content

MAX_COMMAND_CHARS: Final = 500
MAX_REASON_CHARS: Final = 200
MAX_USER_CHARS: Final = 128

DEFAULT_TIMEOUT_S: Final = 600

_MAX_ID_CHARS: Final = 64
_MAX_ECHO_CHARS: Final = 20  # of an unknown command that is said back
_WORD: Final = re.compile(r"(\S+)(?:\s+|\Z)")
_QUOTED: Final = re.compile(r"@?[\"\u201c\u201d]([^\"\u201c\u201d]*)[\"\u201c\u201d](?:\s+|\Z)")
_TIME: Final = re.compile(r"([0-9]{1,8})([smhd]?)", re.IGNORECASE)
_LIKE_TIME: Final = re.compile(r"[-+.]?[0-9]")
_UNITS_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


class BadCommand(ValueError):
    """What cannot be read; the text says what would be right, to the person."""


class _Command(msgspec.Struct, frozen=True):
    """Something to do."""


class Ban(_Command, frozen=True):
    """Shut somebody out."""

    user: str
    reason: str = ""


class Unban(_Command, frozen=True):
    """Take a ban back."""

    user: str


class Timeout(_Command, frozen=True):
    """Silence somebody for a while."""

    user: str
    seconds: int = DEFAULT_TIMEOUT_S
    reason: str = ""


class Untimeout(_Command, frozen=True):
    """Take a timeout back."""

    user: str


class Slow(_Command, frozen=True):
    """Set the least seconds between two messages of a viewer; 0: none."""

    seconds: int


class Clear(_Command, frozen=True):
    """Take all messages away."""


class Delete(_Command, frozen=True):
    """Take a message away."""

    id: str


class Pin(_Command, frozen=True):
    """Keep a message in view."""

    id: str


class Unpin(_Command, frozen=True):
    """Let go of it."""


class Mod(_Command, frozen=True):
    """Make somebody a moderator."""

    user: str


class Unmod(_Command, frozen=True):
    """Make somebody a viewer again."""

    user: str


class EmoteOnly(_Command, frozen=True):
    """Let viewers write nothing but emoji, or anything again."""

    on: bool


class Me(_Command, frozen=True):
    """Say what oneself does, in the third person."""

    text: str


class Help(_Command, frozen=True):
    """Tell what commands there are."""


Command = (
    Ban
    | Unban
    | Timeout
    | Untimeout
    | Slow
    | Clear
    | Delete
    | Pin
    | Unpin
    | Mod
    | Unmod
    | EmoteOnly
    | Me
    | Help
)


def parse(content: str) -> Command | None:
    """Read what somebody typed.

    Returns:
        None if it is a message.

    Raises:
        BadCommand: There is no such command, or it is not complete.
    """
    if not content.startswith("/") or content.startswith("//"):
        return None
    if len(content) > MAX_COMMAND_CHARS:
        raise BadCommand(f"a command has at most {MAX_COMMAND_CHARS} characters")
    name, _, rest = clean_content(content).removeprefix("/").replace("\n", " ").partition(" ")
    found = _COMMANDS.get(name.lower())
    if found is None:
        raise BadCommand(f"there is no command /{name[:_MAX_ECHO_CHARS]}: see /help")
    usage, read = found
    try:
        return read(rest.strip())
    except _Unreadable as error:
        raise BadCommand(str(error) or f"usage: /{name.lower()}{usage}") from None


class _Unreadable(Exception):
    """What follows a command's name cannot be read; without a text the usage says it all."""


def _ban(rest: str) -> Ban:
    user, rest = _user(rest)
    return Ban(user, _reason(rest))


def _timeout(rest: str) -> Timeout:
    user, rest = _user(rest)
    if _LIKE_TIME.match(rest) is None:
        return Timeout(user, reason=_reason(rest))
    word, rest = _word(rest)
    return Timeout(user, _seconds(word), _reason(rest))


def _slow(rest: str) -> Slow:
    return Slow(0 if rest.lower() == "off" else _seconds(rest))


def _emote_only(rest: str) -> EmoteOnly:
    if rest.lower() not in ("on", "off"):
        raise _Unreadable
    return EmoteOnly(rest.lower() == "on")


def _me(rest: str) -> Me:
    if not rest:
        raise _Unreadable
    return Me(rest)


def _help(_rest: str) -> Help:
    return Help()


def _alone(command: Command) -> Callable[[str], Command]:
    """Of a command that nothing follows: "/clear ann" must not clear all."""

    def read(rest: str) -> Command:
        if rest:
            raise _Unreadable
        return command

    return read


def _on_user(make: Callable[[str], Command]) -> Callable[[str], Command]:
    """Of a command that a user follows, and nothing else: blanks are the name's."""

    def read(rest: str) -> Command:
        quoted = _QUOTED.fullmatch(rest)
        name = rest.removeprefix("@") if quoted is None else quoted[1]
        return make(_checked_user(name))

    return read


def _on_message(make: Callable[[str], Command]) -> Callable[[str], Command]:
    def read(rest: str) -> Command:
        message_id, rest = _word(rest)
        if rest or len(message_id) > _MAX_ID_CHARS:
            raise _Unreadable
        return make(message_id)

    return read


def _word(text: str) -> tuple[str, str]:
    found = _WORD.match(text)
    if found is None:
        raise _Unreadable
    return found[1], text[found.end() :]


def _user(text: str) -> tuple[str, str]:
    quoted = _QUOTED.match(text)
    if quoted is not None:
        return _checked_user(quoted[1]), text[quoted.end() :]
    word, rest = _word(text)
    return _checked_user(word.removeprefix("@")), rest


def _checked_user(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= MAX_USER_CHARS:
        raise _Unreadable
    return name


def _seconds(word: str) -> int:
    found = _TIME.fullmatch(word)
    if found is None:
        raise _Unreadable("a time is written as 90, 90s, 10m, 2h or 1d" if word else "")
    return int(found[1]) * _UNITS_S[found[2].lower()]


def _reason(text: str) -> str:
    if len(text) > MAX_REASON_CHARS:
        raise _Unreadable(f"a reason has at most {MAX_REASON_CHARS} characters")
    return text


_COMMANDS: Final[dict[str, tuple[str, Callable[[str], Command]]]] = {
    "ban": (" USER [REASON]", _ban),
    "unban": (" USER", _on_user(Unban)),
    "timeout": (" USER [TIME] [REASON]", _timeout),
    "untimeout": (" USER", _on_user(Untimeout)),
    "slow": (" TIME, or off", _slow),
    "slowoff": ("", _alone(Slow(0))),
    "clear": ("", _alone(Clear())),
    "delete": (" ID", _on_message(Delete)),
    "pin": (" ID", _on_message(Pin)),
    "unpin": ("", _alone(Unpin())),
    "mod": (" USER", _on_user(Mod)),
    "unmod": (" USER", _on_user(Unmod)),
    "emoteonly": (" on, or off", _emote_only),
    "emoteonlyoff": ("", _alone(EmoteOnly(False))),
    "me": (" TEXT", _me),
    "help": ("", _help),
}
"""What follows each name, in words, and what reads it."""
