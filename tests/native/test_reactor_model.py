"""The delivery reactor against a model, whatever happens in whatever order.

Each request is answered once, in order, with bytes that were right at some moment between the
question and the answer. The model knows when each answer was right, and what each client has not
been answered yet. Bytes and bounds one by one are tests/native/test_reactor.py.
"""

import math
import os
import socket
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

if os.environ.get("HEADRACE_PURE") == "1":
    pytest.skip("HEADRACE_PURE=1 has no reactor", allow_module_level=True)

from native import Blob, Reactor, ReactorEvent, ReactorLimits

NAMES = st.sampled_from("abc")
SLOTS = st.integers(0, 3)
TOO_MANY = Blob(b"HTTP/1.1 429 x\r\n", ())


def key(name: str) -> bytes:
    return b"i/s/%s.ts" % name.encode()


@dataclass
class Client:
    """Who asks; `asked` are the requests without an answer, and when they were made."""

    peer: socket.socket
    asked: list[tuple[str, int]] = field(default_factory=list)
    got: bytearray = field(default_factory=bytearray)
    is_returned: bool = False


class ReactorModel(RuleBasedStateMachine):
    """Four clients, three keys, and nobody who looks at the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.reactor = Reactor(prefix=b"/s/", limits=ReactorLimits(), too_many=TOO_MANY)
        self.clients: list[Client | None] = [None] * 4
        self.by_tag: dict[int, Client] = {}
        self.now = 0
        self.names: list[str] = []
        self.right_until: list[float] = []
        self.kept: dict[str, int] = {}

    def blob(self, name: str, until: float) -> Blob:
        number = len(self.names)
        self.names.append(name)
        self.right_until.append(until)
        size_bytes = 200_000 if number % 4 == 3 else 9  # some are more than a socket holds
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % size_bytes
        return Blob(head, (b"%08d" % number, bytes(size_bytes - 8)))

    @rule(slot=SLOTS)
    def connect_or_leave(self, slot: int) -> None:
        client = self.clients[slot]
        if client is not None:
            client.peer.close()
            self.clients[slot] = None
            return
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.setblocking(False)
        theirs.setblocking(False)
        tag = len(self.by_tag)
        self.clients[slot] = self.by_tag[tag] = Client(theirs)
        self.reactor.adopt(ours.detach(), b"", tag)

    @rule(slot=SLOTS, names=st.lists(NAMES, min_size=1, max_size=40), cut=st.integers(0, 60))
    def ask(self, slot: int, names: list[str], cut: int) -> None:
        client = self.clients[slot]
        if client is None or client.is_returned or len(client.asked) > 80:
            return
        request = b"GET /s/%s.ts HTTP/1.1\r\nHost: a\r\n\r\n"
        data = b"".join(request % name.encode() for name in names)
        client.asked += [(name, self.now) for name in names]
        client.peer.sendall(data[:cut])
        self.step(0)
        if not client.is_returned:
            client.peer.sendall(data[cut:])

    @rule(name=NAMES)
    def put(self, name: str) -> None:
        self.forget(name)
        self.kept[name] = len(self.names)
        assert self.reactor.put(key(name), self.blob(name, math.inf))

    @rule(name=NAMES)
    def drop(self, name: str) -> None:
        self.forget(name)
        self.reactor.drop(key(name))

    def forget(self, name: str) -> None:
        """From now on, what is kept is the wrong answer to a new question."""
        self.now += 1
        if name in self.kept:
            self.right_until[self.kept.pop(name)] = self.now

    @rule(name=NAMES)
    def release(self, name: str) -> None:
        self.now += 1
        self.reactor.release(key(name), self.blob(name, self.now))

    @rule(name=NAMES)
    def hand_back(self, name: str) -> None:
        self.reactor.hand_back(key(name))

    @rule(budget_us=st.sampled_from([0, 100_000]))
    def step(self, budget_us: int) -> None:
        self.has_stepped(budget_us)

    @rule(slot=SLOTS)
    def read(self, slot: int) -> None:
        self.has_read(slot)

    def has_stepped(self, budget_us: int) -> bool:
        """Step; says whether there was or is something to do."""
        events, more = self.reactor.step(1_000, b"Date: x\r\n", budget_us)
        for event in events:
            match event:
                case (ReactorEvent.RETURNED, fd, received, tag, None):
                    os.close(fd)
                    client = self.by_tag[tag]
                    client.is_returned = True
                    assert received.startswith(b"GET ")
                case (ReactorEvent.ENDED, tag, reason, _, _):
                    assert reason in ("left", "failed")
                    assert self.by_tag[tag] not in self.clients
        return more or bool(events)

    def has_read(self, slot: int) -> bool:
        """Judge the answers that have come; says whether anything has."""
        client = self.clients[slot]
        if client is None:
            return False
        try:
            data = client.peer.recv(1 << 20)
        except (BlockingIOError, ConnectionResetError):
            return False
        client.got += data
        while (end := client.got.find(b"\r\n\r\n")) >= 0:
            size_bytes = 200_000 if b"200000" in client.got[:end] else 9
            body = bytes(client.got[end + 4 : end + 4 + size_bytes])
            if len(body) < size_bytes:
                break
            number = int(body[:8])
            name, asked = client.asked.pop(0)
            assert body == b"%08d" % number + bytes(size_bytes - 8)
            assert self.names[number] == name
            assert self.right_until[number] > asked
            del client.got[: end + 4 + size_bytes]
        return bool(data)

    def teardown(self) -> None:
        for name in "abc":
            self.put(name)
        while any([self.has_stepped(100_000), *map(self.has_read, range(4))]):
            pass
        for client in self.clients:
            if client is not None and not client.is_returned:
                assert client.asked == []
                assert client.got == b""
            if client is not None:
                client.peer.close()
        assert self.reactor.counters.waiting_keys == self.reactor.counters.parked == 0
        self.reactor.close()


ReactorModel.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestReactorModel = ReactorModel.TestCase
