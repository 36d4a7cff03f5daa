"""What moderators order, by frame or by typing: told to the room.

Pure: time is an argument. May import: `edge.chat`'s pure modules.
"""

from typing import Final

import msgspec

from edge.chat import commands, protocol
from edge.chat.room import Room
from edge.chat.rules import Identity

HELP: Final = (
    "/me TEXT. Moderators: /ban USER [REASON], /unban USER, /timeout USER [SECONDS] [REASON],"
    " /untimeout USER, /slow SECONDS or off, /clear, /delete ID, /pin ID, /unpin, /emoteonly on or"
    " off. Broadcaster: /mod USER, /unmod USER. A message that begins with // is one with a slash."
)


def moderate(room: Room, actor: Identity, frame: protocol.ClientFrame, now_ms: int) -> None:
    """Do what a moderator's frame says.

    Raises:
        ChatError: It is not done.
    """
    match frame:
        case protocol.Delete(id=message_id):
            room.delete(actor, message_id, now_ms)
        case protocol.Ban(user_id=user_id, reason=reason):
            room.sanction(actor, user_id, now_ms, reason=reason)
        case protocol.Unban(user_id=user_id):
            room.pardon(actor, user_id, now_ms)
        case protocol.Timeout(user_id=user_id, seconds=seconds, reason=reason):
            room.sanction(actor, user_id, now_ms, seconds=seconds, reason=reason)
        case protocol.SlowMode(seconds=seconds):
            slower = msgspec.structs.replace(room.settings, slow_mode_s=seconds)
            room.change(actor, slower, now_ms)
        case protocol.Clear():
            room.clear(actor, now_ms)
        case protocol.Pin(id=message_id):
            room.pin(actor, message_id, now_ms)
        case protocol.Unpin():
            room.unpin(actor, now_ms)
        case protocol.Approve(id=message_id):
            room.approve(actor, message_id, now_ms)
        case protocol.Deny(id=message_id):
            room.deny(actor, message_id, now_ms)


def execute(room: Room, actor: Identity, command: commands.Command, now_ms: int) -> str:
    """Do what somebody typed; returns the line that tells them so.

    Raises:
        ChatError: It is not done.
    """
    settings = room.settings
    match command:
        case commands.Ban(user=user, reason=reason):
            room.sanction(actor, room.find(user), now_ms, reason=reason)
            return f"{user} is banned"
        case commands.Timeout(user=user, seconds=seconds, reason=reason):
            room.sanction(actor, room.find(user), now_ms, seconds=seconds, reason=reason)
            return f"{user} is silenced for {seconds:g} s"
        case commands.Unban(user=user) | commands.Untimeout(user=user):
            room.pardon(actor, room.find(user), now_ms)
            return f"{user} may write again"
        case commands.Slow(seconds=seconds):
            slower = msgspec.structs.replace(settings, slow_mode_s=int(seconds))
            room.change(actor, slower, now_ms)
            return f"slow mode: {int(seconds)} s" if seconds else "slow mode is off"
        case commands.EmoteOnly(on=is_on):
            room.change(actor, msgspec.structs.replace(settings, emote_only=is_on), now_ms)
            return f"emote-only mode is {'on' if is_on else 'off'}"
        case commands.Clear():
            room.clear(actor, now_ms)
            return "the chat is cleared"
        case commands.Delete(id=message_id):
            room.delete(actor, message_id, now_ms)
            return "the message is deleted"
        case commands.Pin(id=message_id):
            room.pin(actor, message_id, now_ms)
            return "the message is pinned"
        case commands.Unpin():
            room.unpin(actor, now_ms)
            return "no message is pinned"
        case commands.Mod(user=user):
            room.set_moderator(actor, room.find(user), True, now_ms)
            return f"{user} is a moderator"
        case commands.Unmod(user=user):
            room.set_moderator(actor, room.find(user), False, now_ms)
            return f"{user} is no moderator any more"
    return HELP
