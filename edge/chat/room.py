"""One stream's chat: who is here, what was said, and what moderators do.

Every method is one synchronous step. What it decides is in force at once (a banned user's next
message is refused), and becomes a `Change`: what is to be stored, then shown. The service takes
the changes of all rooms every `batch_ms`, stores them in one go, and gives them back to `publish`.
So nobody sees a message that a crash could take back, and a message is encoded once for everybody.

    Identity --weigh--> Accept --(webhook)--> post --> Change --take--> stored --publish--> Outlet
                   \\--> Hold ----> hold ----> approve --^

Refusals are `ChatError`. Who may act on whom is `edge.chat.rules`' to say.

Bounds: history (`HISTORY`), held messages (`MAX_HELD`), changes not
yet taken (`MAX_CHANGES`: then the room is "unavailable"). May import: `control.chat_model`,
`edge.chat`'s pure modules.
"""

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from control.chat_model import AuditEntry, ChatMessage, Role, RoomSettings, Sanction, StoredRoom
from control.chat_store import ChatStore
from edge.chat import protocol
from edge.chat.bounds import check_settings, check_timeout
from edge.chat.names import is_reserved
from edge.chat.people import People
from edge.chat.protocol import ChatError
from edge.chat.rules import Accept, Hold, Identity, Refuse, RoomFullError, Rules
from edge.chat.sampling import Sampler, Sampling

HISTORY: Final = 200
"""Messages that whoever joins is given."""

MAX_HELD: Final = 100
"""Messages that wait for a moderator; the oldest makes room."""

MAX_CHANGES: Final = 4096
"""Changes that were not stored yet."""

MESSAGES_IN_FRAME: Final = 100
"""Some 300 KB at the worst; the outlet takes frames of 1 MiB."""

MAX_REASON_CHARS: Final = 200
MAX_CLIENT_ID_CHARS: Final = 64

Write = Callable[[ChatStore], Awaitable[object]]
"""Something to be stored."""


class Outlet(Protocol):
    """Where frames go; `edge.chat.crowd.Crowd` is one."""

    def broadcast(self, room: int, payload: bytes) -> int:
        """Send to everybody in a room; returns how many they are."""
        ...

    def send(self, tag: int, payload: bytes) -> bool:
        """Send to one."""
        ...

    def close(self, tag: int, code: int, reason: str) -> None:
        """Send what is queued and a close frame, then close."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that has happened in a room."""

    write: Write | None = None
    message: ChatMessage | None = None
    """A message to store and to show."""
    payload: bytes | None = None
    """What everybody is sent."""
    to_close: tuple[int, ...] = ()
    """Who is shut out after that."""
    event: tuple[str, Mapping[str, object]] | None = None
    """Type and data of what webhooks are told then, besides a message."""


class Room:
    """The chat of one stream.

    Args:
        number: Names it to the outlet.
        stream_id: Whose.
        stored: What is known of it from before.
        out: Where frames go.
        changed: Called when there is something to take.
        sampling: Of crowds.
    """

    def __init__(
        self,
        number: int,
        stream_id: str,
        stored: StoredRoom,
        *,
        out: Outlet,
        changed: Callable[[], None],
        sampling: Sampling | None = None,
    ) -> None:
        self.number = number
        self.stream_id = stream_id
        self.rules = Rules(
            stored.settings, sanctions=stored.sanctions, moderators=stored.moderators
        )
        self.pinned = stored.pinned
        self.history: deque[ChatMessage] = deque(stored.history, maxlen=HISTORY)
        self.members: dict[int, Identity] = {}
        """By the tags of their sockets. Their roles are their tokens': ask `rules.role_of`."""
        self._tags: dict[str, set[int]] = {}
        self._people = People()
        self._held: OrderedDict[str, tuple[ChatMessage, Identity]] = OrderedDict()
        self._changes: list[Change] = []
        self._out = out
        self._changed = changed
        self._sampler = Sampler(sampling or Sampling())
        self._last_id = int(stored.last_id or "0", 16)
        self._shown_id = stored.last_id
        self._told_viewers = 0

    @property
    def settings(self) -> RoomSettings:
        """What moderators have set."""
        return self.rules.settings

    @property
    def shown(self) -> list[ChatMessage]:
        """The newest messages that were shown to everybody. The rest is about to be: whoever comes
        now gets those as everybody does, and none of them twice."""
        return [message for message in self.history if message.id <= self._shown_id]

    def known(self, user_id: str) -> Identity | None:
        """Somebody who was here lately."""
        return self._people.by_id.get(user_id)

    # -- coming and going

    def admit(self, who: Identity, now_ms: int) -> None:
        """Judge who wants to come in.

        Raises:
            ChatError: banned, or nameTaken.
        """
        sanction = self.rules.sanction_of(who, now_ms)
        if sanction is not None and sanction.until is None:
            raise ChatError("banned", "you are banned from this chat")
        if who.is_guest:
            if is_reserved(who.username, self.settings.reserved_names):
                raise ChatError("nameTaken", "this name is reserved")
            owner = self._people.owner_of(who.username)
            if owner not in (None, who.user_id):
                raise ChatError("nameTaken", "somebody here has this name")

    def enter(self, tag: int, who: Identity) -> None:
        """Somebody who was admitted is here."""
        self.members[tag] = who
        self._tags.setdefault(who.user_id, set()).add(tag)
        self._people.note(who)

    def leave(self, tag: int) -> None:
        """A socket is gone."""
        who = self.members.pop(tag, None)
        if who is None:
            return
        tags = self._tags[who.user_id]
        tags.discard(tag)
        if not tags:
            del self._tags[who.user_id]

    def tell_viewers(self) -> None:
        """Tell everybody how many are here, if that has changed."""
        if len(self.members) != self._told_viewers:
            self._told_viewers = len(self.members)
            self._out.broadcast(self.number, protocol.viewers(self._told_viewers))

    # -- talk

    def weigh(self, who: Identity, content: str, now_ms: int) -> Accept | Hold:
        """Judge a message; it counts for its sender from here on.

        Raises:
            ChatError: It may not be said.
        """
        if len(self._changes) >= MAX_CHANGES:
            raise ChatError("unavailable", "the chat cannot keep up, try again", 1.0)
        verdict = self.rules.judge(who, content, now_ms)
        if isinstance(verdict, Refuse):
            raise ChatError(verdict.code, verdict.text, verdict.retry_after_s)
        return verdict

    def post(
        self,
        who: Identity,
        content: str,
        now_ms: int,
        *,
        stream_time_s: float | None = None,
        client_id: str | None = None,
    ) -> ChatMessage:
        """Let everybody see a message that was weighed and accepted.

        Raises:
            ChatError: Its sender was banned or silenced meanwhile.
        """
        self._check_sanction(who, now_ms)
        message = self._message(who, content, now_ms, stream_time_s, client_id)
        self._accept(message, who)
        return message

    def hold(
        self,
        who: Identity,
        content: str,
        reason: str,
        now_ms: int,
        *,
        stream_time_s: float | None = None,
        client_id: str | None = None,
    ) -> ChatMessage:
        """Let a message wait for a moderator."""
        message = self._message(who, content, now_ms, stream_time_s, client_id)
        while len(self._held) >= MAX_HELD:
            self._held.popitem(last=False)
        self._held[message.id] = message, who
        payload = protocol.held(message, reason)
        for tag, member in self.members.items():
            if member.user_id == who.user_id or self._may_moderate(member):
                self._out.send(tag, payload)
        return message

    def approve(self, actor: Identity, message_id: str, now_ms: int) -> None:
        """Let a held message be seen."""
        message, who = self._take_held(actor, message_id)
        self._check_sanction(who, now_ms)
        # It is new to everybody: it takes its place behind what was said meanwhile.
        message = msgspec.structs.replace(message, id=self._next_id(now_ms), timestamp=now_ms)
        self._accept(message, who)
        self._audit(actor, "approve", now_ms, target=message.id)

    def deny(self, actor: Identity, message_id: str, now_ms: int) -> None:
        """Drop a held message."""
        _message, who = self._take_held(actor, message_id)
        self._tell(who.user_id, protocol.notice("a moderator did not let your message pass"))
        self._audit(actor, "deny", now_ms, target=message_id)

    # -- moderation; each raises ChatError, and nothing was done

    def delete(self, actor: Identity, message_id: str, now_ms: int) -> None:
        """Take one message away; whoever wrote it may, too."""
        message = next((one for one in self.history if one.id == message_id), None)
        author = "" if message is None else message.user_id
        if author != actor.user_id:
            self._require(actor, Role.MODERATOR)
        if message is None and not _is_id(message_id):
            raise ChatError("unknownMessage", "there is no such message")
        if message is not None:
            self._require_over(actor, author)
            self.history.remove(message)
        stream_id, ids = self.stream_id, [message_id]
        self._change(
            write=lambda store: store.delete_messages(stream_id, ids=ids),
            payload=protocol.deleted(ids=ids),
        )
        if self.pinned is not None and self.pinned.id == message_id:
            self._set_pin(None)
        event = {"messageId": message_id, "userId": author or None}
        self._audit(
            actor, "delete", now_ms, target=message_id, detail=author, event=("chat.deleted", event)
        )

    def clear(self, actor: Identity, now_ms: int) -> None:
        """Take everything away."""
        self._require(actor, Role.MODERATOR)
        self.history.clear()
        stream_id = self.stream_id
        self._change(
            write=lambda store: store.delete_messages(stream_id, everything=True),
            payload=protocol.deleted(everything=True),
        )
        self._audit(actor, "clear", now_ms, event=("chat.cleared", {}))

    def sanction(
        self,
        actor: Identity,
        user_id: str,
        now_ms: int,
        *,
        seconds: float | None = None,
        reason: str = "",
    ) -> Sanction:
        """Ban somebody, or (with `seconds`) silence them; their messages vanish."""
        self._require(actor, Role.MODERATOR)
        self._require_over(actor, user_id)
        if seconds is not None:
            check_timeout(seconds)
        target = self._people.by_id.get(user_id)
        sanction = Sanction(
            user_id=user_id,
            username="" if target is None else target.username,
            until=None if seconds is None else now_ms + round(seconds * 1000),
            network=(target.network or None) if target is not None else None,
            by=actor.user_id,
            reason=reason[:MAX_REASON_CHARS],
            at=now_ms,
        )
        try:
            self.rules.sanction(sanction)
        except RoomFullError as error:
            raise ChatError("notAllowed", str(error)) from None
        self._purge(user_id)
        stream_id = self.stream_id
        is_ban = seconds is None
        self._change(
            write=lambda store: store.put_sanction(stream_id, sanction),
            payload=protocol.banned(user_id, until_ms=sanction.until, reason=sanction.reason),
            to_close=tuple(self._shut_out(now_ms)) if is_ban else (),
        )
        self._audit(
            actor,
            "ban" if is_ban else "timeout",
            now_ms,
            target=user_id,
            detail="" if seconds is None else f"{seconds:g} s",
            reason=sanction.reason,
            event=(
                "chat.banned" if is_ban else "chat.timeout",
                {
                    "userId": user_id,
                    "username": sanction.username,
                    "reason": sanction.reason,
                    "until": sanction.until,
                },
            ),
        )
        return sanction

    def pardon(self, actor: Identity, user_id: str, now_ms: int) -> None:
        """Take a ban or a timeout back."""
        self._require(actor, Role.MODERATOR)
        sanction = self.rules.pardon(user_id)
        if sanction is None:
            raise ChatError("unknownUser", "nobody of that name is banned or silenced")
        stream_id = self.stream_id
        self._change(write=lambda store: store.drop_sanction(stream_id, user_id))
        # Whoever is here and silenced: it has ended.
        self._tell(user_id, protocol.banned(user_id, until_ms=now_ms, reason=""))
        action = "unban" if sanction.until is None else "untimeout"
        event = {"userId": user_id, "username": sanction.username}
        self._audit(actor, action, now_ms, target=user_id, event=("chat.pardoned", event))

    def change(self, actor: Identity, settings: RoomSettings, now_ms: int) -> None:
        """Set the room's settings."""
        self._require(actor, Role.MODERATOR)
        check_settings(settings)
        before = msgspec.to_builtins(self.settings)
        changed = [
            name for name, new in msgspec.to_builtins(settings).items() if new != before[name]
        ]
        self.rules.change(settings)
        stream_id = self.stream_id
        self._change(
            write=lambda store: store.save_settings(stream_id, settings),
            payload=protocol.settings(settings),
        )
        event = ("chat.settings", {"changed": changed})
        self._audit(actor, "settings", now_ms, detail=", ".join(changed), event=event)

    def pin(self, actor: Identity, message_id: str, now_ms: int) -> None:
        """Keep one of the newest messages in view."""
        self._require(actor, Role.MODERATOR)
        message = next((one for one in self.history if one.id == message_id), None)
        if message is None:
            raise ChatError("unknownMessage", "there is no such message among the newest")
        self._set_pin(message)
        event = ("chat.pinned", {"messageId": message_id, "userId": message.user_id})
        self._audit(actor, "pin", now_ms, target=message_id, event=event)

    def unpin(self, actor: Identity, now_ms: int) -> None:
        """Keep no message in view."""
        self._require(actor, Role.MODERATOR)
        self._set_pin(None)
        self._audit(actor, "unpin", now_ms, event=("chat.unpinned", {}))

    def set_moderator(self, actor: Identity, user_id: str, is_on: bool, now_ms: int) -> None:
        """Make somebody a moderator of this room, or a viewer again."""
        self._require(actor, Role.BROADCASTER)
        target = self._people.by_id.get(user_id)
        if is_on and target is not None and target.is_guest:
            raise ChatError("notAllowed", "a guest cannot be a moderator: the id costs nothing")
        name = user_id if target is None else target.username
        try:
            self.rules.set_moderator(user_id, name, is_on)
        except RoomFullError as error:
            raise ChatError("notAllowed", str(error)) from None
        text = "you are a moderator now" if is_on else "you are no moderator any more"
        for tag in self._tags.get(user_id, ()):
            self._out.send(tag, protocol.role(self.rules.role_of(self.members[tag])))
            self._out.send(tag, protocol.notice(text))
        stream_id = self.stream_id
        self._change(write=lambda store: store.set_moderator(stream_id, user_id, name, is_on))
        event = ("chat.moderator", {"userId": user_id, "username": name, "isModerator": is_on})
        self._audit(actor, "mod" if is_on else "unmod", now_ms, target=user_id, event=event)

    def find(self, user: str) -> str:
        """The id of whoever a person means by a name, or by an id.

        Raises:
            ChatError: unknownUser.
        """
        user = user.removeprefix("@")
        if user in self._people.by_id:
            return user
        user_id = self._people.owner_of(user)
        if user_id is None:
            user_id = next(
                (one.user_id for one in self.rules.sanctions if one.username == user), None
            )
        if user_id is None:
            raise ChatError("unknownUser", "nobody of that name was here lately")
        return user_id

    # -- for the service

    @property
    def is_changed(self) -> bool:
        """Whether there is something to take."""
        return bool(self._changes)

    def take(self) -> list[Change]:
        """All that has happened since the last time, in order."""
        changes, self._changes = self._changes, []
        return changes

    def publish(self, changes: Sequence[Change], now_ms: int) -> None:
        """Show what is stored now."""
        batch: list[ChatMessage] = []
        for change in changes:
            if change.message is not None:
                batch.append(change.message)
                continue
            self._show(batch, now_ms)
            batch = []
            if change.payload is not None:
                self._out.broadcast(self.number, change.payload)
            for tag in change.to_close:
                self._out.close(tag, 4003, "banned")
        self._show(batch, now_ms)

    # -- parts

    def _show(self, batch: list[ChatMessage], now_ms: int) -> None:
        if not batch:
            return
        self._shown_id = batch[-1].id
        if self._sampler.applies(len(self.members)):
            batch, left = self._sampler.choose(batch, now_ms)
            for message in left:
                self._tell(message.user_id, protocol.messages([message]))
        for first in range(0, len(batch), MESSAGES_IN_FRAME):
            part = batch[first : first + MESSAGES_IN_FRAME]
            self._out.broadcast(self.number, protocol.messages(part))

    def _accept(self, message: ChatMessage, who: Identity) -> None:
        self.history.append(message)
        self._people.note(who)
        self._change(message=message)

    def _message(
        self,
        who: Identity,
        content: str,
        now_ms: int,
        stream_time_s: float | None,
        client_id: str | None,
    ) -> ChatMessage:
        return ChatMessage(
            id=self._next_id(now_ms),
            stream_id=self.stream_id,
            user_id=who.user_id,
            username=who.username,
            role=self.rules.role_of(who),
            content=content,
            timestamp=now_ms,
            stream_time=None if stream_time_s is None else round(stream_time_s, 3),
            client_id=None if client_id is None else client_id[:MAX_CLIENT_ID_CHARS],
        )

    def _next_id(self, now_ms: int) -> str:
        """Time first, so that ids are in order; a clock that goes back does not turn them round."""
        self._last_id = max(now_ms << 20, self._last_id + 1)
        return f"{self._last_id:016x}"

    def _check_sanction(self, who: Identity, now_ms: int) -> None:
        sanction = self.rules.sanction_of(who, now_ms)
        if sanction is None:
            return
        if sanction.until is None:
            raise ChatError("banned", "you are banned from this chat")
        left_s = (sanction.until - now_ms) / 1000
        raise ChatError("timedOut", f"you may write again in {left_s:.0f} s", left_s)

    def _shut_out(self, now_ms: int) -> Iterable[int]:
        """Sockets of all who may not be here any more."""
        for tag, member in self.members.items():
            sanction = self.rules.sanction_of(member, now_ms)
            if sanction is not None and sanction.until is None:
                yield tag

    def _purge(self, user_id: str) -> None:
        """All that somebody said vanishes."""
        kept = [message for message in self.history if message.user_id != user_id]
        self.history = deque(kept, maxlen=HISTORY)
        for message_id in [key for key, (_, who) in self._held.items() if who.user_id == user_id]:
            del self._held[message_id]
        stream_id = self.stream_id
        self._change(
            write=lambda store: store.delete_messages(stream_id, user_id=user_id),
            payload=protocol.deleted(user_id=user_id),
        )
        if self.pinned is not None and self.pinned.user_id == user_id:
            self._set_pin(None)

    def _set_pin(self, message: ChatMessage | None) -> None:
        self.pinned = message
        stream_id = self.stream_id
        self._change(
            write=lambda store: store.save_pin(stream_id, message),
            payload=protocol.pinned(message),
        )

    def _take_held(self, actor: Identity, message_id: str) -> tuple[ChatMessage, Identity]:
        self._require(actor, Role.MODERATOR)
        found = self._held.pop(message_id, None)
        if found is None:
            raise ChatError("unknownMessage", "no such message waits")
        return found

    def _may_moderate(self, who: Identity) -> bool:
        return self.rules.role_of(who).rank >= Role.MODERATOR.rank

    def _require(self, actor: Identity, role: Role) -> None:
        if self.rules.role_of(actor).rank < role.rank:
            raise ChatError("forbidden", f"only a {role.value} may do that")

    def _require_over(self, actor: Identity, user_id: str) -> None:
        """The actor's role must be above the target's, as far as that is known."""
        if user_id == actor.user_id:
            return
        target = self._people.by_id.get(user_id) or Identity(user_id=user_id, username="")
        if not self.rules.may_act_on(actor, user_id, self.rules.role_of(target)):
            raise ChatError("forbidden", "you cannot do that to them")

    def _tell(self, user_id: str, payload: bytes) -> None:
        for tag in self._tags.get(user_id, ()):
            self._out.send(tag, payload)

    def _audit(
        self,
        actor: Identity,
        action: str,
        now_ms: int,
        *,
        target: str = "",
        detail: str = "",
        reason: str = "",
        event: tuple[str, Mapping[str, object]] | None = None,
    ) -> None:
        entry = AuditEntry(
            at=now_ms,
            actor_id=actor.user_id,
            actor_name=actor.username,
            action=action,
            target=target,
            detail=detail,
            reason=reason,
        )
        stream_id = self.stream_id
        if event is not None:
            by = {"userId": actor.user_id, "username": actor.username}
            event = (event[0], {**event[1], "by": by})
        self._change(write=lambda store: store.add_audit(stream_id, entry), event=event)

    def _change(
        self,
        *,
        write: Write | None = None,
        message: ChatMessage | None = None,
        payload: bytes | None = None,
        to_close: tuple[int, ...] = (),
        event: tuple[str, Mapping[str, object]] | None = None,
    ) -> None:
        self._changes.append(
            Change(write=write, message=message, payload=payload, to_close=to_close, event=event)
        )
        self._changed()


def _is_id(text: str) -> bool:
    return len(text) == 16 and all(character in "0123456789abcdef" for character in text)
