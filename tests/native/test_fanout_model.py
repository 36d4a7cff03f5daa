"""The fan-out against a model, whatever happens in whatever order; both twins.

Who reads gets every frame once, in order. Who does not gets a run of them, a notice for each run
that is missing, and what is lost is counted. The model knows what each member may have been sent,
in order, and after which frames a notice may stand.
"""

import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from native import FanoutEvent, FanoutLimits

from .fanout_rig import PONG, load

if TYPE_CHECKING:
    from native import Fanout

SLOTS = st.integers(0, 3)
ROOMS = st.integers(0, 1)
SELDOM = st.sampled_from([False, False, False, True])
SIZES = st.sampled_from([12, 12, 12, 700, 3_000, 40_000])
LIMITS = FanoutLimits(queue_frames=6, queue_bytes=20_000, read_bytes=64)


def frame(number: int, size_bytes: int) -> bytes:
    """Its length, its number, and filling that says which byte it is of."""
    filling = bytes((number * 7 + index) & 0x7F for index in range(min(size_bytes, 16)))
    body = b"%06d" % number + filling * (size_bytes // len(filling) + 1)
    return b"%05d" % size_bytes + body[: size_bytes - 5]


PING, LAGGED, SLOW = frame(900_001, 12), frame(900_002, 12), frame(900_003, 12)
NOTICES = {PING, LAGGED, SLOW}


@dataclass
class Client:
    """A peer, and what it was sent."""

    peer: socket.socket
    tag: int
    room: int
    sent: list[bytes] = field(default_factory=list)
    """Frames that it is to get, or to lose."""
    own: set[bytes] = field(default_factory=set)
    """Of those, what was for it alone."""
    got: bytearray = field(default_factory=bytearray)
    read: list[bytes] = field(default_factory=list)
    said: bytearray = field(default_factory=bytearray)
    told: bytearray = field(default_factory=bytearray)
    is_greedy: bool = True
    """Reads as soon as something comes; so it may lose nothing."""
    is_quick: bool = True
    """Reads now."""
    is_closed: bool = False

    def take(self) -> bool:
        """Read what is there; whether there was something."""
        try:
            data = self.peer.recv(1 << 16)
        except (BlockingIOError, ConnectionResetError):
            return False
        self.got += data
        while len(self.got) >= 5 and len(self.got) >= int(self.got[:5]):
            size_bytes = int(self.got[:5])
            self.read.append(bytes(self.got[:size_bytes]))
            del self.got[:size_bytes]
        return bool(data)

    def judge(self, *, is_whole: bool = False) -> int:
        """What it has read is right; how many frames it has lost.

        Args:
            is_whole: Nothing is under way any more.
        """
        lost = at = 0
        is_told = is_owed = False  # the notice comes behind what is its own, before its room's
        for one in self.read:
            if one == LAGGED:
                is_told, is_owed = True, False
            elif one not in NOTICES:
                index = self.sent.index(one, at)
                is_owed |= index != at and not is_told
                assert not is_owed or one in self.own, "frames are missing without a notice"
                lost += index - at
                at = index + 1
                is_told = False
        if is_whole:
            assert self.got == b""
            assert not is_owed
            assert at == len(self.sent) or is_told
            lost += len(self.sent) - at
        assert lost == 0 or not self.is_greedy
        return lost


class FanoutModel(RuleBasedStateMachine):
    """Four clients in two rooms."""

    kind: "ClassVar[type[Fanout]]"

    def __init__(self) -> None:
        super().__init__()
        self.fanout = self.kind(limits=LIMITS, ping=PING, lagged=LAGGED, slow=SLOW)
        self.clients: list[Client | None] = [None] * 4
        self.by_tag: dict[int, Client] = {}
        self.number = 0
        self.now_ms = 5_000_000
        self.refused = 0
        self.has_lost_count = True
        for slot in range(3):
            self.connect(slot, 0, 2048, is_lazy=slot > 0)

    def frame(self, size_bytes: int) -> bytes:
        self.number += 1
        return frame(self.number, size_bytes)

    @rule(
        slot=SLOTS, room=ROOMS, buffer_bytes=st.sampled_from([2048, 1 << 18]), is_lazy=st.booleans()
    )
    def connect(self, slot: int, room: int, buffer_bytes: int, is_lazy: bool) -> None:
        if self.clients[slot] is not None:
            return
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        ours.setblocking(False)
        theirs.setblocking(False)
        tag = len(self.by_tag)
        client = self.clients[slot] = self.by_tag[tag] = Client(theirs, tag, room)
        client.is_greedy = client.is_quick = not is_lazy
        client.said += b"first"
        self.fanout.add(ours.detach(), tag, room, b"first")

    @rule(room=ROOMS, count=st.integers(6, 12))
    def flood(self, room: int, count: int) -> None:
        self.broadcast(room, [3_000] * count)

    @rule(slot=SLOTS, really=SELDOM)
    def leave(self, slot: int, really: bool) -> None:
        client = self.clients[slot]
        if client is not None and really:
            client.judge()
            self.has_lost_count = False
            client.peer.close()
            self.clients[slot] = None

    @rule(room=ROOMS, sizes=st.lists(SIZES, min_size=1, max_size=12))
    def broadcast(self, room: int, sizes: list[int]) -> None:
        self.settle()
        for size_bytes in sizes:
            data = self.frame(size_bytes)
            self.fanout.broadcast(room, data)
            for client in self.clients:
                if client is not None and client.room == room and not client.is_closed:
                    client.sent.append(data)
            if size_bytes > 12:
                self.settle()

    @rule(slot=SLOTS, size_bytes=SIZES)
    def send(self, slot: int, size_bytes: int) -> None:
        client = self.clients[slot]
        if client is not None and client.is_greedy:
            self.settle()
        if client is None or client.is_closed:
            return
        data = self.frame(size_bytes)
        if self.fanout.send(client.tag, data):
            client.sent.append(data)
            client.own.add(data)
        else:
            assert not client.is_greedy
            self.refused += 1

    @rule(slot=SLOTS, really=SELDOM)
    def close(self, slot: int, really: bool) -> None:
        client = self.clients[slot]
        if client is None or client.is_closed or not really:
            return
        data = self.frame(12)
        self.fanout.close(client.tag, data)
        client.sent.append(data)
        client.own.add(data)
        client.is_closed = True
        self.has_lost_count = False

    @rule(slot=SLOTS, really=SELDOM)
    def cut(self, slot: int, really: bool) -> None:
        client = self.clients[slot]
        if client is not None and really:
            self.fanout.cut(client.tag)
            client.is_closed = True
            self.has_lost_count = False

    @rule(slot=SLOTS, size_bytes=st.integers(1, 300))
    def say(self, slot: int, size_bytes: int) -> None:
        client = self.clients[slot]
        if client is not None and not client.is_closed:
            client.peer.send(b"s" * size_bytes)
            client.said += b"s" * size_bytes

    @rule(slot=SLOTS)
    def pong(self, slot: int) -> None:
        client = self.clients[slot]
        if client is not None and not client.is_closed:
            self.settle()
            client.peer.send(PONG)
            self.settle()

    @rule(slot=SLOTS)
    def begin_or_end_to_read(self, slot: int) -> None:
        client = self.clients[slot]
        if client is not None:
            client.is_greedy = False
            client.is_quick = not client.is_quick

    @rule(slot=SLOTS)
    def read(self, slot: int) -> None:
        client = self.clients[slot]
        if client is not None:
            client.take()

    @rule(budget_us=st.sampled_from([0, 100_000]), ms=st.sampled_from([0, 0, 1, 2_000, 30_000]))
    def step(self, budget_us: int, ms: int) -> None:
        self.now_ms += ms
        self.has_stepped(budget_us)

    def has_stepped(self, budget_us: int) -> bool:
        """Step, and let the greedy read; says whether there was or is something to do."""
        events, more = self.fanout.step(self.now_ms, budget_us)
        for event in events:
            client = self.by_tag[event[1]]
            match event:
                case (FanoutEvent.DATA, _, data):
                    client.told += data.replace(PONG, b"")
                case (FanoutEvent.ENDED, _, reason, sent_bytes):
                    self.has_ended(client, reason)
                    assert sent_bytes >= sum(map(len, client.read)) + len(client.got)
        took = [client.take() for client in self.clients if client is not None and client.is_quick]
        return more or bool(events) or any(took)

    def has_ended(self, client: Client, reason: str) -> None:
        self.has_lost_count = False
        if reason in ("slow", "silent", "done"):
            assert reason != "slow" or not client.is_greedy
            client.is_closed = True
        elif reason in ("left", "failed"):
            assert client not in self.clients
        else:
            assert reason == "cut"

    def settle(self) -> None:
        for _ in range(1_000):
            if not self.has_stepped(100_000):
                return
        raise AssertionError("it does not come to rest")

    def teardown(self) -> None:
        for client in self.clients:
            if client is not None:
                client.is_quick = True
        self.settle()
        lost = self.refused
        for client in self.clients:
            if client is not None and not client.is_closed:
                lost += client.judge(is_whole=True)
                assert client.told == client.said
        counters = self.fanout.counters
        assert counters.queued_bytes == 0
        assert lost == counters.dropped or not self.has_lost_count
        leaving = [client for client in self.clients if client is not None]
        self.clients = [None] * 4
        for client in leaving:
            client.peer.close()
        self.settle()
        assert self.fanout.counters.members == 0
        assert self.fanout.next_deadline_ms() is None
        self.fanout.close_all()


RUN = settings(max_examples=50, stateful_step_count=50, deadline=None)


class PythonModel(FanoutModel):
    """The twin."""

    kind = load("py")


PythonModel.TestCase.settings = RUN
TestPythonModel = PythonModel.TestCase

if os.environ.get("HEADRACE_PURE") != "1":

    class KernelModel(FanoutModel):
        """The kernel."""

        kind = load("c")

    KernelModel.TestCase.settings = settings(RUN, max_examples=100)
    TestKernelModel = KernelModel.TestCase
