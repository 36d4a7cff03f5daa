"""The sockets of all who have joined a chat: joins the native fan-out to Trio and to the rooms.

A connection comes from the doorway with what was read behind its join. From then on it has no task:
the fan-out reads and writes, and one pump here hands what was read to wsproto, and whole messages
to the member's `Listener`. The wsproto side of a member exists while a frame or a message is half
read; an idle member is a descriptor and a few words.

What is sent is framed once: `broadcast` gives the fan-out one `bytes` for a whole room.

Every member that was adopted is told `gone` exactly once, when its socket is closed. Text only;
no extension is ever agreed on. Who breaks the protocol is closed with the code that wsproto says.

Bounds: `CrowdSettings`; of what is half read, see `edge.chat.frame_gate`. `HEADRACE_PURE=1` has the
fan-out in Python, and no TLS in it. May import: trio, wsproto, `native`, `edge.http`, `edge.chat`'s
frames. Spec: RFC 6455.
"""

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import structlog
import trio
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage

import native
from edge.chat.frame_gate import MAX_MESSAGE_BYTES, FrameCutter, MessageTooBig
from edge.http.budget import Budget
from edge.http.tls_stream import TlsStream
from native import FanoutCounters, FanoutEvent, FanoutLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from native import TlsSocket
if TYPE_CHECKING or native.IMPLEMENTATION == "c":
    from native import Fanout
else:
    from edge.chat.plain_fanout import PlainFanout as Fanout

_logger = structlog.get_logger("chat")

STEP_BUDGET_US: Final = 8_000
"""One turn of the fan-out. Video has its turns between two of them."""

EVENTS_AT_ONCE: Final = 64
"""What members have said that is heard between two checkpoints."""

NORMAL: Final = 1000
STOPPING: Final = 1001
TEXT_ONLY: Final = 1003
TOO_BIG: Final = 1009
OUR_FAULT: Final = 1011
TOO_SLOW: Final = 4008
TOO_MANY_FRAMES: Final = 4009

MAX_CLOSE_REASON_BYTES: Final = 123
"""RFC 6455, section 5.5: a control frame has 125 bytes, two of which are the code."""

_PING: Final = b"\x89\x00"
_LAGGED: Final = b'{"type":"lagged"}'


class Listener(Protocol):
    """Who hears a member. Synchronous; an exception closes that member only."""

    def attached(self, tag: int) -> None:
        """The member has a tag now: frames can be sent to it. Called once, first."""
        ...

    def heard(self, text: str) -> None:
        """It has said something."""
        ...

    def gone(self, reason: str) -> None:
        """Its connection is closed, for this reason. Called once, last."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdSettings:
    """What members may cost."""

    max_members: int = 50_000
    """In all rooms; the next one is refused."""
    max_message_bytes: int = MAX_MESSAGE_BYTES
    """Of a member's message; 1009 above."""
    noise_burst: int = 100
    """Frames of a member that end no message: pings, pongs, fragments. More: 4009."""
    noise_per_s: float = 50.0
    """The same, each second."""
    queue_frames: int = 256
    """Waiting for a member that does not read; more are dropped, and it is told."""
    queue_bytes: int = 64 * 1024
    """The same."""
    lag_timeout_s: float = 10.0
    """Who has not caught up by then is closed: 4008."""
    ping_after_s: float = 30.0
    """Of silence."""
    pong_timeout_s: float = 20.0
    """Of silence after that ping; then the peer is dead."""
    linger_timeout_s: float = 2.0
    """From the close frame to the close of the connection."""


class Crowd:
    """Everybody who has joined, and the pump.

    Args:
        settings: Bounds and times.
    """

    def __init__(self, settings: CrowdSettings | None = None) -> None:
        self._settings = settings or CrowdSettings()
        self._fanout = Fanout(
            limits=_limits(self._settings),
            ping=_PING,
            lagged=text_frame(_LAGGED),
            slow=close_frame(TOO_SLOW, "too slow"),
        )
        self._members: dict[int, _Member] = {}
        self._last_tag = 0
        self._sleep: trio.CancelScope | None = None
        self._has_work = False
        self._is_draining = False
        self._is_over = False

    def __len__(self) -> int:
        """How many members there are."""
        return len(self._members)

    @property
    def counters(self) -> FanoutCounters:
        """What the fan-out has done so far."""
        return self._fanout.counters

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Pump until everybody has left after `drain`.

        Cancellation: cuts every connection.
        """
        try:
            task_status.started()
            while not self._is_draining or self._members:
                if await self._turn() or (self._is_draining and not self._members):
                    await trio.lowlevel.checkpoint()
                else:
                    await self._rest()
        finally:
            self._is_draining = self._is_over = True
            self._fanout.close_all()
            for tag in list(self._members):
                self._end(tag, "cut")

    def adopt(
        self,
        stream: trio.abc.Stream,
        received: bytes,
        *,
        room: int,
        listener: Listener,
        greeting: bytes = b"",
    ) -> int:
        """Take a connection over.

        Args:
            stream: A `trio.SocketStream` or a `TlsStream`, closed and empty afterwards.
            received: What was read behind the last frame.
            room: Whose broadcasts it gets.
            listener: Hears it, beginning with `attached`, before this returns.
            greeting: The payload of the first frame that it gets, if any.

        Returns:
            The tag that names it.

        Raises:
            OverflowError: There are too many members, or no more are taken; the stream is as it
                was.
            TypeError: The stream has no descriptor of its own; the same.
        """
        if self._is_draining or len(self._members) >= self._settings.max_members:
            raise OverflowError("the chat is full")
        descriptor, tls = _detach(stream)
        self._last_tag += 1
        tag = self._last_tag
        try:
            self._fanout.add(descriptor, tag, room, received, tls)
        except BaseException:
            if tls is None:
                os.close(descriptor)
            else:
                tls.close()
            raise
        self._members[tag] = _Member(listener)
        if greeting:
            self._fanout.send(tag, text_frame(greeting))
        self._call(tag, listener.attached, tag)
        self._wake()
        return tag

    def broadcast(self, room: int, payload: bytes) -> int:
        """Send a text to everybody in a room.

        Returns:
            How many they are.
        """
        if self._is_over:
            return 0
        self._wake()
        return self._fanout.broadcast(room, text_frame(payload))

    def send(self, tag: int, payload: bytes) -> bool:
        """Send a text to one member.

        Returns:
            False: it is gone, or leaving, or too far behind.
        """
        if self._is_over:
            return False
        self._wake()
        return self._fanout.send(tag, text_frame(payload))

    def close(self, tag: int, code: int, reason: str) -> None:
        """Send what is queued and a close frame, then close; what it says is not heard any more."""
        self._leave(tag, close_frame(code, reason), f"closed with {code}: {reason}")

    def drain(self) -> None:
        """Take nobody any more, and close everybody: 1001."""
        self._is_draining = True
        for tag in list(self._members):
            self.close(tag, STOPPING, "the server is stopping")
        self._wake()

    # -- the pump

    async def _turn(self) -> bool:
        """One step of the fan-out, and what members have said; says whether there is more to do."""
        self._has_work = False
        now_ms = int(trio.current_time() * 1000)
        events, more = self._fanout.step(now_ms, STEP_BUDGET_US)
        for number, event in enumerate(events, 1):
            if event[0] is FanoutEvent.DATA:
                self._hear(event[1], event[2])
            else:
                self._end(event[1], event[2])
            if not number % EVENTS_AT_ONCE:
                await trio.lowlevel.checkpoint()
        return more or self._has_work

    async def _rest(self) -> None:
        """Until a socket is ready, a deadline has come, or somebody has work."""
        due_ms = self._fanout.next_deadline_ms()
        deadline_s = math.inf if due_ms is None else due_ms / 1000
        with trio.CancelScope(deadline=deadline_s) as scope:
            self._sleep = scope
            await trio.lowlevel.wait_readable(self._fanout.fileno())
        self._sleep = None

    def _wake(self) -> None:
        self._has_work = True
        if self._sleep is not None:
            self._sleep.cancel()

    # -- one member

    def _hear(self, tag: int, data: bytes) -> None:
        member = self._staying(tag)
        if member is None:
            return
        talk = member.talk or _Talk(self._settings.max_message_bytes)
        member.talk = talk
        talk.cutter.feed(data)
        try:
            while self._staying(tag) and (frame := talk.cutter.cut()) is not None:
                if not frame.ends_message and not member.spend(self._settings):
                    self.close(tag, TOO_MANY_FRAMES, "too many frames")
                    return
                talk.connection.receive_data(frame.data)
                for event in talk.connection.events():
                    self._understand(tag, member, talk, event)
        except MessageTooBig:
            self.close(tag, TOO_BIG, "the message is too big")
        if self._staying(tag) is None:
            return
        if talk.cutter.is_within_frame != member.is_mid_frame:
            member.is_mid_frame = talk.cutter.is_within_frame
            self._fanout.mid_message(tag, member.is_mid_frame)
        if talk.cutter.is_idle:
            member.talk = None

    def _understand(self, tag: int, member: "_Member", talk: "_Talk", event: Event) -> None:
        match event:
            case TextMessage():
                talk.pieces.append(event.data)
                if event.message_finished:
                    text = "".join(talk.pieces)
                    talk.pieces.clear()
                    self._call(tag, member.listener.heard, text)
            case BytesMessage():
                self.close(tag, TEXT_ONLY, "text only")
            case Ping():
                self._fanout.send(tag, bytes(talk.connection.send(event.response())))
                self._wake()
            case CloseConnection() if talk.connection.state is ConnectionState.REMOTE_CLOSING:
                answer = bytes(talk.connection.send(event.response()))
                self._leave(tag, answer, f"closed by the peer with {int(event.code)}")
            case CloseConnection():
                self.close(tag, int(event.code), "protocol error")

    def _staying(self, tag: int) -> "_Member | None":
        """A member that is not being closed."""
        member = self._members.get(tag)
        return member if member is not None and member.reason is None else None

    def _leave(self, tag: int, frame: bytes, reason: str) -> None:
        member = self._staying(tag)
        if member is None or self._is_over:
            return
        member.reason = reason
        member.talk = None
        self._fanout.close(tag, frame)
        self._wake()

    def _end(self, tag: int, reason: str) -> None:
        member = self._members.pop(tag)
        self._call(tag, member.listener.gone, member.reason or reason)

    def _call(self, tag: int, listen: "Callable[..., None]", *arguments: object) -> None:
        """Call a listener, whose bugs are nobody else's."""
        try:
            listen(*arguments)
        except Exception:
            _logger.exception("chat listener failed", member=tag)
            self.close(tag, OUR_FAULT, "internal error")


class _Member:
    """A connection in the crowd."""

    __slots__ = ("_noise", "is_mid_frame", "listener", "reason", "talk")

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.talk: _Talk | None = None
        self.is_mid_frame = False
        self.reason: str | None = None  # once it is being closed
        self._noise: Budget | None = None  # few ever make any

    def spend(self, settings: CrowdSettings) -> bool:
        """Pay for a frame that ends no message."""
        if self._noise is None:
            self._noise = Budget(settings.noise_burst, settings.noise_per_s)
        return self._noise.spend(trio.current_time())


class _Talk:
    """What is half read of a member."""

    __slots__ = ("connection", "cutter", "pieces")

    def __init__(self, max_bytes: int) -> None:
        self.cutter = FrameCutter(max_bytes)
        self.connection = Connection(ConnectionType.SERVER)
        self.pieces: list[str] = []


def text_frame(payload: bytes) -> bytes:
    """Frame a text, as a server does (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """Frame a close; of a reason that is too long comes the beginning."""
    text = reason.encode()[:MAX_CLOSE_REASON_BYTES].decode(errors="ignore").encode()
    return bytes((0x88, 2 + len(text))) + code.to_bytes(2, "big") + text


def can_adopt(stream: trio.abc.Stream) -> bool:
    """Whether a crowd can take this stream; others have no descriptor that is the connection."""
    return isinstance(stream, trio.SocketStream | TlsStream)


def _detach(stream: trio.abc.Stream) -> "tuple[int, TlsSocket | None]":
    if isinstance(stream, TlsStream):
        return stream.detach()
    if isinstance(stream, trio.SocketStream):
        return stream.socket.detach(), None
    raise TypeError("this stream has no descriptor")


def _limits(settings: CrowdSettings) -> FanoutLimits:
    """The settings, in the fan-out's units."""
    return FanoutLimits(
        max_members=settings.max_members,
        queue_frames=settings.queue_frames,
        queue_bytes=settings.queue_bytes,
        lag_timeout_ms=int(settings.lag_timeout_s * 1000),
        ping_after_ms=int(settings.ping_after_s * 1000),
        pong_timeout_ms=int(settings.pong_timeout_s * 1000),
        linger_timeout_ms=int(settings.linger_timeout_s * 1000),
    )
