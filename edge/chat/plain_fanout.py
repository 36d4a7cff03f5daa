"""The chat's fan-out in Python, for HEADRACE_PURE=1: `native.Fanout` says what it does and how.

It behaves the same to its caller and to every peer, and is written to be read, not to be fast: each
member has a queue of frames where the kernel has one log for a room. It knows no TLS, as without
the extensions there is no connection of TLS that could be handed over.

Invariant: a frame that has begun is sent whole; nothing comes between its bytes. Bounds: as in
`FanoutLimits`; a queue holds references, and frames are shared by all members.

One thread at a time. May import: `native`, the standard library.
"""

import contextlib
import select
import socket
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from native._fanout_types import (
    LOG_FACTOR,
    MAX_FRAME_BYTES,
    MAX_LOG_BYTES,
    MAX_RECEIVED_BYTES,
    FanoutCounters,
    FanoutEvent,
    FanoutLimits,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from native import TlsSocket

_BATCH = 256
_PIECES = 64
_TURN_BYTES = 1 << 18
_MAX_EVENTS = 64
"""After so many a step leaves the rest to the next."""
_MAX_READ_BYTES = 65_536
"""The limit of `read_bytes`."""
_MAX_PONGS = 64
"""Swallowed between two pings; more are told."""
_PONG_BYTES = 6
_DRAIN_BYTES = 65_536
_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


@dataclass(slots=True, eq=False)
class _Member:
    sock: socket.socket
    fd: int
    tag: int
    room: int
    received: bytes
    begun: deque[bytes] = field(default_factory=deque)
    """Frames that go out before anything else; the first may be sent in part."""
    queue: deque[tuple[bytes, bool]] = field(default_factory=deque)
    """Frames, and whether they are its room's."""
    begun_sent: int = 0
    room_frames: int = 0
    room_bytes: int = 0
    own_frames: int = 0
    own_bytes: int = 0
    sent_bytes: int = 0
    drained_bytes: int = 0
    pongs: int = 0
    told_in_step: int = -1
    is_mid: bool = False
    is_readable: bool = True
    is_writable: bool = True
    is_lagging: bool = False
    is_closing: bool = False
    is_lingering: bool = False
    is_cut: bool = False
    is_ended: bool = False
    ping_is_due: bool = False


class PlainFanout:
    """Sends frames to many members of rooms; see `native.Fanout`, whose twin this is."""

    def __init__(self, *, limits: FanoutLimits, ping: bytes, lagged: bytes, slow: bytes) -> None:
        if min(limits) < 1 or limits.read_bytes > _MAX_READ_BYTES:
            raise ValueError("a limit is out of range")
        for frame in (ping, lagged, slow):
            _check(frame)
        self._limits = limits
        self._ping, self._lagged, self._slow = ping, lagged, slow
        self._epoll = select.epoll()
        self._by_tag: dict[int, _Member] = {}
        self._by_fd: dict[int, _Member] = {}
        self._rooms: dict[int, dict[int, _Member]] = {}
        self._run: OrderedDict[int, _Member] = OrderedDict()
        # By tag, in the order of their deadlines; each value is when the timer began.
        self._ping_timers: OrderedDict[int, int] = OrderedDict()
        self._pong_timers: OrderedDict[int, int] = OrderedDict()
        self._lag_timers: OrderedDict[int, int] = OrderedDict()
        self._linger_timers: OrderedDict[int, int] = OrderedDict()
        self._events: list[tuple[Any, ...]] = []
        self._now_ms = 0
        self._steps = 0
        self._is_open = True
        self._delivered = self._dropped = self._lags = self._sent_bytes = self._timed_out = 0

    def fileno(self) -> int:
        """The descriptor that is readable while a step has something to do."""
        return self._epoll.fileno()

    @property
    def counters(self) -> FanoutCounters:
        """What there is now, and what was done so far."""
        own_bytes = sum(
            sum(map(len, member.begun)) + member.own_bytes for member in self._by_tag.values()
        )
        log_bytes = sum(
            max(member.room_bytes for member in members.values())
            for members in self._rooms.values()
        )
        return FanoutCounters(
            len(self._by_tag), own_bytes + log_bytes, self._delivered, self._dropped,
            self._lags, self._sent_bytes, self._timed_out,
        )  # fmt: skip

    def members(self, room: int) -> int:
        """How many a room has."""
        return len(self._rooms.get(room, ()))

    def add(
        self, fd: int, tag: int, room: int, received: bytes, tls: "TlsSocket | None" = None
    ) -> None:
        """Serve a connection from here on; see `native.Fanout.add`.

        Raises:
            ValueError: The tag is taken, too much was received, it is closed, or there is TLS.
            OverflowError: It has as many as it may have.
            OSError: The descriptor cannot be watched.
        """
        if tls is not None:
            raise ValueError("there is no TLS without the extensions")
        if not self._is_open or len(received) > MAX_RECEIVED_BYTES:
            raise ValueError("the fan-out is closed, or too much was received")
        if tag in self._by_tag:
            raise ValueError("the tag is taken")
        if len(self._by_tag) >= self._limits.max_members:
            raise OverflowError("the fan-out is full")
        sock = socket.socket(fileno=fd)
        try:
            self._epoll.register(fd, _EDGES)
        except OSError:
            sock.detach()
            raise
        member = _Member(sock, fd, tag, room, received)
        self._by_tag[tag] = self._by_fd[fd] = member
        self._rooms.setdefault(room, {})[tag] = member
        self._run[tag] = member

    def send(self, tag: int, frame: bytes) -> bool:
        """Queue a frame for one member; see `native.Fanout.send`."""
        _check(frame)
        member = self._by_tag.get(tag)
        if member is None or member.is_closing or member.is_cut or not self._is_open:
            return False
        if member.is_lagging:
            self._dropped += 1
            return False
        limits = self._limits
        if member.own_frames and (
            member.own_frames >= limits.queue_frames
            or member.own_bytes + len(frame) > limits.queue_bytes
        ):
            self._lag(member)
            self._dropped += 1
            return False
        member.queue.append((frame, False))
        member.own_frames += 1
        member.own_bytes += len(frame)
        self._run[tag] = member
        return True

    def broadcast(self, room: int, frame: bytes) -> int:
        """Queue a frame for every member of a room; see `native.Fanout.broadcast`."""
        _check(frame)
        members = self._rooms.get(room, {})
        limits = self._limits
        for member in members.values():
            if member.is_lagging:
                self._dropped += 1
                continue
            member.queue.append((frame, True))
            member.room_frames += 1
            member.room_bytes += len(frame)
            if member.is_writable:  # it has not had its turn yet
                most, most_bytes = limits.queue_frames * LOG_FACTOR, MAX_LOG_BYTES
            else:
                most, most_bytes = limits.queue_frames, limits.queue_bytes
            is_behind = member.room_frames > most or member.room_bytes > most_bytes
            if is_behind and member.room_frames > 1:
                self._lag(member)
            self._run[member.tag] = member
        return len(members)

    def close(self, tag: int, frame: bytes) -> None:
        """Send what waits for a member, then a last frame, and close; see `native.Fanout.close`."""
        _check(frame)
        member = self._by_tag.get(tag)
        if member is None or member.is_closing or member.is_cut or not self._is_open:
            return
        self._leave_room(member)
        member.is_closing = True
        member.is_lagging = False
        member.queue.append((frame, False))
        member.own_frames += 1
        member.own_bytes += len(frame)
        self._stop_timers(member)
        self._run[tag] = member

    def cut(self, tag: int) -> None:
        """End a member's connection as it is; see `native.Fanout.cut`."""
        member = self._by_tag.get(tag)
        if member is not None and self._is_open:
            self._leave_room(member)
            member.is_cut = True
            self._run[tag] = member

    def mid_message(self, tag: int, is_mid: bool) -> None:
        """Say whether half a frame of a member has been read; see `native.Fanout.mid_message`."""
        member = self._by_tag.get(tag)
        if member is not None:
            member.is_mid = is_mid

    def next_deadline_ms(self) -> int | None:
        """When a step is due though nothing comes, in the time of `step`; None: never."""
        return min(
            (
                next(iter(timers.values())) + timeout_ms
                for timers, timeout_ms in self._timers()
                if timers
            ),
            default=None,
        )

    def close_all(self) -> None:
        """Cut every connection; nothing else may be called afterwards but this and the figures."""
        if self._is_open:
            self._is_open = False
            for member in list(self._by_tag.values()):
                self._end(member, "cut")
            self._events.clear()
            self._epoll.close()

    def step(self, now_ms: int, budget_us: int) -> tuple[list[tuple[Any, ...]], bool]:
        """Do what is to be done, for so long at the most; see `native.Fanout.step`."""
        if not self._is_open:
            return [], False
        self._now_ms = now_ms
        self._steps += 1
        more = self._work(time.monotonic() + budget_us / 1e6)
        events, self._events = self._events, []
        return events, more

    # -- a step

    def _work(self, until_s: float) -> bool:
        self._look()
        self._expire()
        while self._run or self._look():
            for _ in range(len(self._run)):
                if len(self._events) >= _MAX_EVENTS:
                    return True
                _, member = self._run.popitem(last=False)
                self._turn(member)
                if time.monotonic() >= until_s:
                    return bool(self._run)
            if self._events:
                return bool(self._run)
        return False

    def _look(self) -> bool:
        found = self._epoll.poll(0, _BATCH)
        for fd, events in found:
            member = self._by_fd[fd]
            if events & ~select.EPOLLOUT:
                member.is_readable = True
            if events & select.EPOLLOUT:
                member.is_writable = True
            self._run[member.tag] = member
        return bool(found)

    def _timers(self) -> "Iterator[tuple[OrderedDict[int, int], int]]":
        limits = self._limits
        yield self._ping_timers, limits.ping_after_ms
        yield self._pong_timers, limits.pong_timeout_ms
        yield self._lag_timers, limits.lag_timeout_ms
        yield self._linger_timers, limits.linger_timeout_ms

    def _expire(self) -> None:
        for timers, timeout_ms in self._timers():
            while timers and next(iter(timers.values())) + timeout_ms <= self._now_ms:
                member = self._by_tag[next(iter(timers))]
                if timers is self._ping_timers:
                    del timers[member.tag]
                    self._set(self._pong_timers, member)
                    member.ping_is_due = True
                    member.pongs = 0
                    self._run[member.tag] = member
                    continue
                if timers is self._pong_timers and member.is_readable and member.tag in self._run:
                    self._set(timers, member)  # something has just come
                    continue
                self._timed_out += 1
                if timers is self._pong_timers:
                    self._end(member, "silent")
                elif timers is self._lag_timers:
                    if not member.begun:
                        with contextlib.suppress(OSError):
                            member.sock.send(self._slow, socket.MSG_DONTWAIT)
                    self._end(member, "slow")
                else:
                    self._end(member, "done")

    def _turn(self, member: _Member) -> None:
        if member.is_cut:
            self._end(member, "cut")
            return
        self._send(member)
        if member.is_ended:
            return
        self._start_timers(member)
        if member.is_closing:
            if member.is_lingering:
                self._drain(member)
        elif member.received:
            self._tell(member, member.received)
            member.received = b""
            self._run[member.tag] = member
        elif member.is_readable:
            self._receive(member)

    def _send(self, member: _Member) -> None:
        moved = 0
        while member.is_writable and moved < _TURN_BYTES:
            if not member.begun and not member.queue and member.is_lagging:
                member.is_lagging = False
                self._lag_timers.pop(member.tag, None)
                member.begun.append(self._lagged)
            pieces = self._gather(member)
            if not pieces:
                if member.is_closing and not member.is_lingering:
                    self._say_goodbye(member)
                return
            pieces[0] = memoryview(pieces[0])[member.begun_sent :]
            try:
                sent = member.sock.sendmsg(pieces, (), socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
            except BlockingIOError:
                member.is_writable = False
                return
            except OSError:
                self._end(member, "failed")
                return
            moved += sent
            member.sent_bytes += sent
            self._sent_bytes += sent
            self._advance(member, sent)
        if member.is_writable:
            self._run[member.tag] = member

    def _gather(self, member: _Member) -> "list[bytes | memoryview]":
        pieces: list[bytes | memoryview] = list(member.begun)
        if member.ping_is_due:
            pieces.append(self._ping)
        for frame, _ in member.queue:
            if len(pieces) >= _PIECES:
                break
            pieces.append(frame)
        return pieces

    def _advance(self, member: _Member, sent: int) -> None:
        sent += member.begun_sent
        member.begun_sent = 0
        while sent:
            if not member.begun:
                self._begin(member)
            frame = member.begun[0]
            if sent < len(frame):
                member.begun_sent = sent
                return
            sent -= len(frame)
            member.begun.popleft()
            if frame is not self._ping and frame is not self._lagged:
                self._delivered += 1

    def _begin(self, member: _Member) -> None:
        """Take the next frame out of its queue: it cannot be dropped any more."""
        if member.ping_is_due:
            member.ping_is_due = False
            member.begun.append(self._ping)
            return
        frame, is_of_room = member.queue.popleft()
        member.begun.append(frame)
        if is_of_room:
            member.room_frames -= 1
            member.room_bytes -= len(frame)
        else:
            member.own_frames -= 1
            member.own_bytes -= len(frame)

    def _lag(self, member: _Member) -> None:
        """What its room has for a member is lost, until it has taken what is its own."""
        self._lags += 1
        self._dropped += member.room_frames
        member.is_lagging = True
        member.queue = deque(item for item in member.queue if not item[1])
        member.room_frames = member.room_bytes = 0
        self._run[member.tag] = member

    def _receive(self, member: _Member) -> None:
        size = self._limits.read_bytes
        try:
            data = member.sock.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            member.is_readable = False
            return
        except OSError:
            data = b""
        if not data:
            self._end(member, "left")
            return
        self._run[member.tag] = member
        self._pong_timers.pop(member.tag, None)
        self._set(self._ping_timers, member)
        if not self._swallow(member, data):
            self._tell(member, data)

    def _swallow(self, member: _Member, data: bytes) -> bool:
        """Whether that was nothing but answers to pings."""
        count, rest = divmod(len(data), _PONG_BYTES)
        is_sure = not member.is_mid and member.told_in_step != self._steps
        if not is_sure or rest or member.pongs + count > _MAX_PONGS:
            return False
        if any(data[at : at + 2] != b"\x8a\x80" for at in range(0, len(data), _PONG_BYTES)):
            return False
        member.pongs += count
        return True

    def _tell(self, member: _Member, data: bytes) -> None:
        member.told_in_step = self._steps
        self._events.append((FanoutEvent.DATA, member.tag, data))

    def _say_goodbye(self, member: _Member) -> None:
        member.is_lingering = True
        member.is_readable = True
        self._set(self._linger_timers, member)
        with contextlib.suppress(OSError):
            member.sock.shutdown(socket.SHUT_WR)

    def _drain(self, member: _Member) -> None:
        """Read and drop what comes of who is closed: with unread input a close is a reset."""
        while member.is_readable and member.drained_bytes < _DRAIN_BYTES:
            try:
                count = len(member.sock.recv(self._limits.read_bytes, socket.MSG_DONTWAIT))
            except BlockingIOError:
                member.is_readable = False
                return
            except OSError:
                count = 0
            if count == 0:
                break
            member.drained_bytes += count
        if member.is_readable:
            self._end(member, "done")

    def _end(self, member: _Member, reason: str) -> None:
        self._events.append((FanoutEvent.ENDED, member.tag, reason, member.sent_bytes))
        self._leave_room(member)
        self._stop_timers(member)
        member.is_ended = True
        self._run.pop(member.tag, None)
        del self._by_tag[member.tag], self._by_fd[member.fd]
        self._epoll.unregister(member.fd)
        member.sock.close()

    def _leave_room(self, member: _Member) -> None:
        members = self._rooms.get(member.room, {})
        if members.pop(member.tag, None) is not None and not members:
            del self._rooms[member.room]

    def _start_timers(self, member: _Member) -> None:
        """Between two steps nobody knows the time, so all begin in a turn."""
        tag = member.tag
        if member.is_closing:
            if tag not in self._linger_timers:
                self._set(self._linger_timers, member)
            return
        if tag not in self._ping_timers and tag not in self._pong_timers:
            self._set(self._ping_timers, member)
        if member.is_lagging and tag not in self._lag_timers:
            self._set(self._lag_timers, member)

    def _stop_timers(self, member: _Member) -> None:
        for timers, _ in self._timers():
            timers.pop(member.tag, None)

    def _set(self, timers: OrderedDict[int, int], member: _Member) -> None:
        timers[member.tag] = self._now_ms
        timers.move_to_end(member.tag)


def _check(frame: bytes) -> None:
    if not 0 < len(frame) <= MAX_FRAME_BYTES:
        raise ValueError(f"a frame has 1 to {MAX_FRAME_BYTES} bytes")
