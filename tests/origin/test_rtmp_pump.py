"""The pump: one task reads for many, and nobody pays for anybody else."""

import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from origin.rtmp.pump import READ_BYTES, ROUND_BYTES, TURN_S, Pump, Source
from origin.rtmp.transport import SocketSource


@pytest.fixture
async def pump(nursery: trio.Nursery) -> AsyncIterator[Pump]:
    made = Pump()
    nursery.start_soon(made.run)
    yield made
    nursery.cancel_scope.cancel()


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A publisher's socket and ours, which does not block."""
    publisher, ours = socket.socketpair()
    with publisher, ours:
        ours.setblocking(False)
        yield publisher, ours


class Taker:
    """Keeps what it is given, until it has had enough."""

    def __init__(self, enough: bytes = b"") -> None:
        self.taken: list[bytes] = []
        self._enough = enough
        self.more = trio.Event()

    def __call__(self, data: bytes) -> bool:
        self.taken.append(data)
        self.more.set()
        return data != self._enough


async def test_bytes_are_taken_until_the_taker_has_enough(
    pump: Pump, nursery: trio.Nursery
) -> None:
    taker = Taker(enough=b"stop")
    with connected() as (publisher, ours):
        done = trio.Event()

        async def attend() -> None:
            await pump.attend(SocketSource(ours.fileno()), taker)
            done.set()

        nursery.start_soon(attend)
        publisher.send(b"one")
        await taker.more.wait()
        assert not done.is_set()
        publisher.send(b"stop")
        await done.wait()
        publisher.send(b"later")
        await trio.sleep(0.02)  # a few rounds: what nobody attends stays in the kernel
        assert taker.taken == [b"one", b"stop"]
        assert ours.recv(100) == b"later"


async def test_the_end_of_a_connection_is_empty(pump: Pump) -> None:
    taker = Taker()
    with connected() as (publisher, ours):
        publisher.send(b"last")
        publisher.close()
        await pump.attend(SocketSource(ours.fileno()), taker)
    assert taker.taken == [b"last", b""]


async def test_a_reset_is_a_broken_resource(pump: Pump) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        publisher = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
        with ours:
            ours.setblocking(False)
            publisher.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            publisher.close()
            with pytest.raises(trio.BrokenResourceError):
                await pump.attend(SocketSource(ours.fileno()), Taker())


async def test_an_exception_goes_to_its_owner_and_to_nobody_else(
    pump: Pump, nursery: trio.Nursery
) -> None:
    def fail(_data: bytes) -> bool:
        raise ZeroDivisionError

    healthy = Taker()
    with connected() as (one, ours), connected() as (other, others):
        nursery.start_soon(pump.attend, SocketSource(others.fileno()), healthy)
        one.send(b"x")
        with pytest.raises(ZeroDivisionError):
            await pump.attend(SocketSource(ours.fileno()), fail)
        other.send(b"y")
        await healthy.more.wait()
        assert healthy.taken == [b"y"]
        other.close()
        await wait_all_tasks_blocked(0.01)


async def test_a_cancelled_owner_is_called_no_more_and_may_come_back(pump: Pump) -> None:
    taker = Taker(enough=b"x")
    with connected() as (publisher, ours):
        with trio.move_on_after(0.01):
            await pump.attend(SocketSource(ours.fileno()), taker)
        publisher.send(b"x")
        await trio.sleep(0.02)
        assert taker.taken == []
        await pump.attend(SocketSource(ours.fileno()), taker)
        assert taker.taken == [b"x"]


async def test_an_owner_cancelled_by_another_in_the_same_round_is_not_called(
    pump: Pump, nursery: trio.Nursery
) -> None:
    """Each of two owners ends the other, which was ready in the same round."""
    calls: list[str] = []
    scopes = {"a": trio.CancelScope(), "b": trio.CancelScope()}

    async def attend(name: str, other: str, source: Source) -> None:
        def take(_data: bytes) -> bool:
            calls.append(name)
            scopes[other].cancel()
            return False

        with scopes[name]:
            await pump.attend(source, take)

    with connected() as (one, first), connected() as (two, second):
        one.send(b"x")
        two.send(b"x")
        async with trio.open_nursery() as owners:
            owners.start_soon(attend, "a", "b", SocketSource(first.fileno()))
            owners.start_soon(attend, "b", "a", SocketSource(second.fileno()))
    assert 1 <= len(calls) <= 2
    assert len(set(calls)) == len(calls)


async def test_a_flood_gets_no_more_than_its_share_of_a_round(
    pump: Pump, nursery: trio.Nursery
) -> None:
    flooded, modest = Taker(), Taker(enough=b"y")
    with connected() as (flood, ours), connected() as (other, others):
        for end, option in ((flood, socket.SO_SNDBUF), (ours, socket.SO_RCVBUF)):
            end.setsockopt(socket.SOL_SOCKET, option, 4 * 1024 * 1024)
        flood.setblocking(False)
        sent = 0
        try:
            while sent < 3 * ROUND_BYTES:
                sent += flood.send(bytes(READ_BYTES))
        except BlockingIOError:
            pass  # the kernel has a limit of its own
        other.send(b"y")
        nursery.start_soon(pump.attend, SocketSource(ours.fileno()), flooded)
        await pump.attend(SocketSource(others.fileno()), modest)
        assert len(flooded.taken) <= 2 * ROUND_BYTES // READ_BYTES
        flood.close()
        await wait_all_tasks_blocked(0.01)


@dataclass
class Reserve:
    """A source that has read everything off its descriptor, as TLS may."""

    descriptor: int
    pieces: list[bytes]
    holds_back: bool = True

    def read_nowait(self) -> bytes | None:
        with suppress(BlockingIOError):
            os.read(self.descriptor, READ_BYTES)
        return self.pieces.pop(0) if self.pieces else None


async def test_a_source_that_may_hold_more_is_given_up_after_its_share(pump: Pump) -> None:
    """Its descriptor shows nothing any more: nobody would come back to it."""
    taker = Taker()
    with connected() as (publisher, ours):
        source = Reserve(ours.fileno(), [bytes(ROUND_BYTES // 64)] * 65)
        publisher.send(b"x")
        with trio.fail_after(10):
            await pump.attend(source, taker)
    assert 1 <= len(taker.taken) <= 64
    assert len(taker.taken) + len(source.pieces) == 65


async def test_a_source_that_has_nothing_back_is_waited_for(
    pump: Pump, nursery: trio.Nursery
) -> None:
    taker = Taker(enough=b"two")
    with connected() as (publisher, ours):
        source = Reserve(ours.fileno(), [b"one"])
        nursery.start_soon(pump.attend, source, taker)
        publisher.send(b"x")
        await taker.more.wait()
        await wait_all_tasks_blocked(0.01)
        assert taker.taken == [b"one"]
        source.pieces = [b"", b"two"]
        publisher.send(b"x")
        await wait_all_tasks_blocked(0.02)
        assert taker.taken == [b"one", b"", b"two"]


async def test_an_owner_that_works_long_is_read_once_a_turn(
    pump: Pump, nursery: trio.Nursery
) -> None:
    turns = 0
    turn_of_call: list[int] = []

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    def take(data: bytes) -> bool:
        turn_of_call.append(turns)
        time.sleep(TURN_S)
        return bool(data)

    with connected() as (flood, ours):
        for end, option in ((flood, socket.SO_SNDBUF), (ours, socket.SO_RCVBUF)):
            end.setsockopt(socket.SOL_SOCKET, option, 4 * READ_BYTES)
        flood.setblocking(False)
        assert flood.send(bytes(2 * READ_BYTES)) > READ_BYTES
        flood.close()
        nursery.start_soon(take_turns)
        await pump.attend(SocketSource(ours.fileno()), take)
    assert len(turn_of_call) >= 3
    assert len(set(turn_of_call)) == len(turn_of_call)


async def test_the_end_of_the_pump_wakes_whoever_waits() -> None:
    with connected() as (_, ours):
        async with trio.open_nursery() as nursery:
            made = Pump()
            nursery.start_soon(made.run)
            nursery.start_soon(made.attend, SocketSource(ours.fileno()), Taker())
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
