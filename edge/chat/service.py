"""The rooms of a process, and what they need from outside: storage, webhook, media clock.

It is the `Door` that a WebSocket asks (`edge.chat.doorway`), the listener behind each socket that
has joined, and what the REST calls stand on (`edge.chat.api`).

One task flushes: `batch_ms` after the first change (longer in a crowd) it takes those of all rooms,
stores them in order, then lets the rooms show them. So a message is on the disk before it is on a
screen; if the disk fails, talk goes on without it, and the log says so. `settled` waits for that.

Tasks: the crowd's pump, the flush, the housekeeping, and one for each question to the webhook, all
in `run`'s nursery. Bounds: rooms (`MAX_ROOMS`), frames of one member (`FRAMES_*`), connections
(`ChatSettings`). May import: trio, `control`, `edge.backend`, `edge.chat`.
"""

import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog
import trio

from control import StoreError, UnknownStreamError
from control.chat_model import ChatMessage, StoredRoom
from control.chat_store import MAX_SWEPT, ChatStore
from edge.backend import Backend, StreamInfo
from edge.chat import commands, protocol
from edge.chat.crowd import Crowd, CrowdSettings
from edge.chat.doorway import Joined, Refused
from edge.chat.identity import BadToken, Keyring
from edge.chat.names import BadName, normalise_name
from edge.chat.orders import execute, moderate
from edge.chat.protocol import ChatError
from edge.chat.room import HISTORY, Change, Room
from edge.chat.rules import LOCAL_NETWORK, Accept, Hold, Identity
from edge.chat.sampling import Sampling
from edge.chat.webhook import Allow, Deny, Webhook
from edge.errors import BackendError, NoSuchStream
from edge.events import EventBus
from edge.http.network import is_local

MAX_ROOMS: Final = 10_000
"""Rooms in memory; more are unavailable until some are left."""

IDLE_ROOM_S: Final = 600.0
"""After which a room without members leaves memory. Its slow mode is forgotten then."""

FRAMES_BURST: Final = 40
FRAMES_PER_S: Final = 20.0
"""Of one member, whatever they hold; more, and it is closed."""

MEMBER_BATCH_US: Final = 8
"""By so much a member makes the wait for a batch longer, past `batch_ms`. To send to one takes some
5 us: so talk fills half a core at the most, and who is last in a crowd of ten thousand hears sooner
than if every message were sent alone."""

MAX_BATCH_MS: Final = 250

VIEWERS_EVERY_S: Final = 5.0
SWEEP_EVERY_S: Final = 3600.0

TOO_MANY_FRAMES: Final = 4009

_ESCAPED: Final = re.compile(r"^\s*//")

log = structlog.get_logger("chat")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings:
    """How a process chats."""

    batch_ms: int = 50
    """Messages that come within it are stored, framed and sent together."""
    max_connections_per_address: int = 200
    """Sockets from one address, of IPv6 from one /64. This machine is exempt."""
    sampling: Sampling = field(default_factory=Sampling)
    keep_days: int = 30
    """How long messages are stored, and a year at least what moderators did."""
    crowd: CrowdSettings = field(default_factory=CrowdSettings)


@dataclass(slots=True)
class ChatFigures:
    """Counts since the start."""

    messages: int = 0
    """That everybody saw."""
    held: int = 0
    """That wait for a moderator, or did."""
    refused: Counter[str] = field(default_factory=Counter)
    """Messages, joins and orders, by the protocol's error codes."""


class ChatService:
    """All rooms of a process.

    Args:
        store: Where chat is kept.
        backend: Knows the streams and their keys.
        stream_time_s: Seconds that a stream's broadcast has lasted on its media clock; None if it
            has no media now.
        keyring: Mints and reads tokens.
        settings: Bounds and times.
        webhook: Asked before a message is seen; None: nobody is.
        events: Where it is told what was shown and what moderators did; None: nowhere.
        clock_ms: UTC, milliseconds.
    """

    def __init__(
        self,
        *,
        store: ChatStore,
        backend: Backend,
        stream_time_s: Callable[[str], float | None],
        keyring: Keyring,
        settings: ChatSettings | None = None,
        webhook: Webhook | None = None,
        events: EventBus | None = None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.settings = settings or ChatSettings()
        """May be replaced, but for `crowd`; `sampling` holds for rooms that open from then on."""
        self.store = store
        self.backend = backend
        self.keyring = keyring
        self.crowd = Crowd(self.settings.crowd)
        self.clock_ms = clock_ms
        self._stream_time_s = stream_time_s
        self._webhook = webhook
        self.figures = ChatFigures()
        """What was said and refused so far."""
        self._events = EventBus() if events is None else events
        self._rooms: dict[str, Room] = {}
        self._left_s: dict[str, float] = {}  # since when a room has nobody in it
        self._opening: dict[str, trio.Event] = {}
        self._numbers = 0
        self._by_network: Counter[str] = Counter()
        self._changed = trio.Event()
        self._changes = 0
        self._stored_changes = 0
        self._stored = trio.Event()
        self._is_failing = False
        self._nursery: trio.Nursery

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self.crowd.run)
            nursery.start_soon(self._flush)
            nursery.start_soon(self._keep_house)
            task_status.started()
            nursery.start_soon(self._close_webhook)

    async def _close_webhook(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            if self._webhook is not None:
                await self._webhook.aclose()

    def use_webhook(self, webhook: Webhook | None) -> None:
        """Ask another one from now on, or none; the last one is closed when it has answered."""
        last, self._webhook = self._webhook, webhook
        if last is not None:
            self._nursery.start_soon(last.retire)

    @property
    def rooms(self) -> int:
        """Rooms in memory."""
        return len(self._rooms)

    # -- rooms

    async def enter_stream(self, stream_id: str) -> tuple[Room, StreamInfo]:
        """The room of a stream, from the store if nobody was there.

        Raises:
            BackendError: There is no such stream, or it cannot be looked up.
            ChatError: chatDisabled, or unavailable.
        """
        info = await self.backend.get_stream(stream_id)
        if not info.chat_enabled:
            raise ChatError("chatDisabled", "this stream has no chat")
        while stream_id in self._opening:
            await self._opening[stream_id].wait()
        room = self._rooms.get(stream_id)
        if room is None:
            room = await self._open(stream_id)
        self._left_s[stream_id] = trio.current_time()
        return room, info

    async def _open(self, stream_id: str) -> Room:
        if len(self._rooms) + len(self._opening) >= MAX_ROOMS:
            raise ChatError("unavailable", "there are too many chats now, try again", 5.0)
        opened = self._opening[stream_id] = trio.Event()
        try:
            stored = await self._load(stream_id)
        finally:
            del self._opening[stream_id]
            opened.set()
        self._numbers += 1
        room = self._rooms[stream_id] = Room(
            self._numbers,
            stream_id,
            stored,
            out=self.crowd,
            changed=self._note_change,
            sampling=self.settings.sampling,
        )
        return room

    async def _load(self, stream_id: str) -> StoredRoom:
        try:
            return await self.store.load_room(stream_id, history=HISTORY, now_ms=self.clock_ms())
        except StoreError as error:
            log.error("cannot read a chat", stream=stream_id, reason=str(error))
            raise ChatError("unavailable", "the chat cannot be read now, try again", 5.0) from None
        except UnknownStreamError:
            raise NoSuchStream from None

    # -- who comes by WebSocket

    async def join(self, stream_id: str, text: str, address: str) -> Joined | Refused:
        """See `edge.chat.doorway.Door`."""
        try:
            frame = protocol.read_frame(text)
            if not isinstance(frame, protocol.Join):
                raise ChatError("notJoined", "the first message must be a join")
            room, _info = await self.enter_stream(stream_id)
            who, guest = self._identify(frame, stream_id, address)
            room.admit(who, self.clock_ms())
            is_full = self._by_network[who.network] >= self.settings.max_connections_per_address
            if is_full and not is_local(address):
                raise ChatError("unavailable", "too many connections from your address", 30.0)
        except (ChatError, BackendError) as error:
            failure = error if isinstance(error, ChatError) else _as_chat_error(error)
            self.figures.refused[failure.code] += 1
            return Refused(
                payload=protocol.error(failure),
                is_final=failure.code in ("banned", "chatDisabled", "unavailable"),
            )
        self._by_network[who.network] += 1
        return Joined(listener=_Member(self, room, who, guest), room=room.number)

    def greeting(self, room: Room, who: Identity, guest: str | None) -> bytes:
        """The first frame for somebody who has entered a room."""
        return protocol.joined(
            user_id=who.user_id,
            username=who.username,
            role=room.rules.role_of(who),
            is_guest=who.is_guest,
            guest=guest,
            settings=room.settings,
            messages=room.shown,
            pinned=room.pinned,
            viewers=len(room.members),
            server_time_ms=self.clock_ms(),
        )

    def left(self, who: Identity, room: Room) -> None:
        """A connection that was let in is gone."""
        self._by_network[who.network] -= 1
        if not self._by_network[who.network]:
            del self._by_network[who.network]
        self._left_s[room.stream_id] = trio.current_time()

    def _identify(
        self, frame: protocol.Join, stream_id: str, address: str
    ) -> tuple[Identity, str | None]:
        """Who somebody is, and the token that a guest is to keep."""
        network = LOCAL_NETWORK if is_local(address) else self.keyring.network(address)
        now_s = self.clock_ms() / 1000
        try:
            if frame.token is not None:
                who = self.keyring.read(frame.token, stream_id=stream_id, now_s=now_s)
                return msgspec.structs.replace(who, network=network), None
            token = frame.guest
            if token is None:
                user_id, token = self.keyring.mint_guest(random=secrets.token_bytes(8), now_s=now_s)
            else:
                user_id = self.keyring.read_guest(token, now_s=now_s)
            name = frame.username if frame.username else f"Guest {user_id[-8:]}"
            username = normalise_name(name)
        except BadToken as error:
            raise ChatError("badToken", str(error)) from None
        except BadName as error:
            raise ChatError("badName", str(error)) from None
        who = Identity(user_id=user_id, username=username, is_guest=True, network=network)
        return who, token

    # -- talk

    async def say(
        self, room: Room, who: Identity, content: str, *, client_id: str | None = None
    ) -> tuple[ChatMessage, bool]:
        """Say something; returns the message, and whether everybody sees it (or it is held).

        Raises:
            ChatError: It was refused.
        """
        try:
            verdict = room.weigh(who, content, self.clock_ms())
            if self._webhook is not None:
                verdict = await self._ask(room, who, verdict)
            return self._let_pass(room, who, verdict, client_id)
        except ChatError as error:
            self.figures.refused[error.code] += 1
            raise

    def _let_pass(
        self, room: Room, who: Identity, verdict: Accept | Hold, client_id: str | None
    ) -> tuple[ChatMessage, bool]:
        now_ms = self.clock_ms()
        stream_time_s = self._stream_time_s(room.stream_id)
        if isinstance(verdict, Accept):
            message = room.post(
                who, verdict.content, now_ms, stream_time_s=stream_time_s, client_id=client_id
            )
            self.figures.messages += 1
            return message, True
        message = room.hold(
            who,
            verdict.content,
            verdict.reason,
            now_ms,
            stream_time_s=stream_time_s,
            client_id=client_id,
        )
        self.figures.held += 1
        return message, False

    async def _ask(self, room: Room, who: Identity, verdict: Accept | Hold) -> Accept | Hold:
        assert self._webhook is not None
        question = ChatMessage(
            id="",
            stream_id=room.stream_id,
            user_id=who.user_id,
            username=who.username,
            role=room.rules.role_of(who),
            content=verdict.content,
            timestamp=self.clock_ms(),
            stream_time=self._stream_time_s(room.stream_id),
        )
        answer = await self._webhook.ask(question)
        if isinstance(answer, Deny):
            raise ChatError("denied", answer.text)
        if isinstance(answer, Allow):
            return verdict
        return msgspec.structs.replace(verdict, content=answer.content)

    def hear(self, member: "_Member", text: str) -> None:
        """A member's frame. Whatever is wrong with it, that member is told."""
        client_id = None
        try:
            frame = protocol.read_frame(text)
            if isinstance(frame, protocol.Say):
                client_id = frame.client_id
                content = self._obey(member, frame.content)
                if content is None:
                    return
                if self._webhook is not None:
                    self._nursery.start_soon(self._say_later, member, content, client_id)
                    return
                verdict = member.room.weigh(member.who, content, self.clock_ms())
                self._let_pass(member.room, member.who, verdict, client_id)
            elif isinstance(frame, protocol.Ping):
                self.crowd.send(member.tag, protocol.PONG)
            elif isinstance(frame, protocol.Join):
                raise ChatError("badRequest", "you have joined already")
            else:
                moderate(member.room, member.who, frame, self.clock_ms())
        except ChatError as error:
            self.figures.refused[error.code] += 1
            self.crowd.send(member.tag, protocol.error(error, client_id=client_id))

    def _obey(self, member: "_Member", content: str) -> str | None:
        """Do a command, and return None; or return what the message says."""
        try:
            command = commands.parse(content)
        except commands.BadCommand as error:
            raise ChatError("unknownCommand", str(error)) from None
        if command is None:
            return _ESCAPED.sub("/", content)
        if isinstance(command, commands.Me):
            return f"* {command.text}"
        text = execute(member.room, member.who, command, self.clock_ms())
        self.crowd.send(member.tag, protocol.notice(text))
        return None

    async def _say_later(self, member: "_Member", content: str, client_id: str | None) -> None:
        try:
            await self.say(member.room, member.who, content, client_id=client_id)
        except ChatError as error:
            self.crowd.send(member.tag, protocol.error(error, client_id=client_id))

    # -- what takes time

    async def settled(self) -> None:
        """Return when everything that has been decided is stored and shown."""
        wanted = self._changes
        while self._stored_changes < wanted:
            await self._stored.wait()

    def _note_change(self) -> None:
        self._changes += 1
        self._changed.set()

    async def _flush(self) -> None:
        while True:
            await self._changed.wait()
            await trio.sleep(self._batch_ms() / 1000)
            self._changed = trio.Event()
            upto = self._changes
            taken = [(room, room.take()) for room in self._rooms.values() if room.is_changed]
            for _room, changes in taken:
                await self._write(changes)
            for room, changes in taken:
                self._publish(room, changes)
            self._stored_changes = upto
            self._stored.set()
            self._stored = trio.Event()

    def _batch_ms(self) -> float:
        crowd = max(len(room.members) for room in self._rooms.values() if room.is_changed)
        longest_ms = max(MAX_BATCH_MS, self.settings.batch_ms)
        return min(longest_ms, max(self.settings.batch_ms, crowd * MEMBER_BATCH_US / 1000))

    async def _write(self, changes: Sequence[Change]) -> None:
        """Store what has happened in one room; what cannot be stored is shown all the same."""
        messages: list[ChatMessage] = []
        try:
            for change in changes:
                if change.message is not None:
                    messages.append(change.message)
                elif change.write is not None:
                    if messages:
                        await self.store.add_messages(messages)
                        messages = []
                    await change.write(self.store)
            if messages:
                await self.store.add_messages(messages)
        except StoreError as error:
            if not self._is_failing:  # said once: a log that grows with it fills the disk
                log.error("cannot store chat", reason=str(error))
            self._is_failing = True
        except Exception:  # a bug of ours; a room must not take the process with it
            log.exception("storing chat failed")
        else:
            self._is_failing = False

    def _publish(self, room: Room, changes: Sequence[Change]) -> None:
        try:
            room.publish(changes, self.clock_ms())
            self._tell(room.stream_id, changes)
        except Exception:  # the same
            log.exception("showing chat failed", stream=room.stream_id)

    def _tell(self, stream_id: str, changes: Sequence[Change]) -> None:
        """Tell what is shown now; costs nothing per message while nobody listens."""
        is_heard = self._events.is_heard("chat.message")
        for change in changes:
            message = change.message
            if message is not None and is_heard:
                self._events.emit(
                    "chat.message",
                    stream_id,
                    messageId=message.id,
                    userId=message.user_id,
                    username=message.username,
                    role=message.role.value,
                    content=message.content,
                    timestamp=message.timestamp,
                    streamTime=message.stream_time,
                )
            elif change.event is not None:
                kind, data = change.event
                self._events.emit(kind, stream_id, **data)

    async def _keep_house(self) -> None:
        sweep_due_s = trio.current_time()
        while True:
            for room in list(self._rooms.values()):
                room.tell_viewers()
            now_s = trio.current_time()
            for stream_id, left_s in list(self._left_s.items()):
                left = self._rooms.get(stream_id)
                if left is not None and (left.members or left.is_changed):
                    continue
                if left_s + IDLE_ROOM_S <= now_s:
                    self._rooms.pop(stream_id, None)
                    del self._left_s[stream_id]
            if sweep_due_s <= now_s:
                await self._sweep()
                sweep_due_s = now_s + SWEEP_EVERY_S
            await trio.sleep(VIEWERS_EVERY_S)

    async def _sweep(self) -> None:
        keep_ms = self.settings.keep_days * 86_400_000
        audit_keep_ms = max(keep_ms, 365 * 86_400_000)
        try:
            while (
                await self.store.sweep(
                    self.clock_ms(), keep_ms=keep_ms, audit_keep_ms=audit_keep_ms
                )
                == MAX_SWEPT
            ):
                pass
        except StoreError as error:
            log.error("cannot sweep old chat", reason=str(error))


class _Member:
    """Somebody who has joined by WebSocket."""

    __slots__ = ("_allowance", "_guest", "_service", "_spent_s", "room", "tag", "who")

    def __init__(self, service: ChatService, room: Room, who: Identity, guest: str | None) -> None:
        self.room = room
        self.who = who
        self.tag = -1
        self._guest = guest
        self._service = service
        self._allowance = float(FRAMES_BURST)
        self._spent_s = 0.0

    def attached(self, tag: int) -> None:
        """See `edge.chat.crowd.Listener`."""
        self.tag = tag
        self.room.enter(tag, self.who)
        greeting = self._service.greeting(self.room, self.who, self._guest)
        self._service.crowd.send(tag, greeting)
        self._guest = None

    def heard(self, text: str) -> None:
        """See `edge.chat.crowd.Listener`."""
        now_s = trio.current_time()
        gained = (now_s - self._spent_s) * FRAMES_PER_S
        self._allowance = min(FRAMES_BURST, self._allowance + gained) - 1
        self._spent_s = now_s
        if self._allowance < 0:
            self._service.crowd.close(self.tag, TOO_MANY_FRAMES, "too many messages")
            return
        self._service.hear(self, text)

    def gone(self, reason: str) -> None:
        """See `edge.chat.crowd.Listener`."""
        log.debug(
            "chat connection ended", member=self.tag, stream=self.room.stream_id, reason=reason
        )
        self.room.leave(self.tag)
        self._service.left(self.who, self.room)


def _as_chat_error(error: BackendError) -> ChatError:
    if isinstance(error, NoSuchStream):
        return ChatError("chatDisabled", str(error))
    return ChatError("unavailable", str(error), 5.0)
