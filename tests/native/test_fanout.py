"""The chat's fan-out over pairs of sockets: order, what is told, and how members end.

Time is an argument, and both ends are pumped in turns by one thread, so nothing waits. Both twins
are judged by the same tests. Deadlines and bounds are tests/native/test_fanout_bounds.py, TLS is
tests/native/test_fanout_tls.py.
"""

import gc
import inspect
import os
import select
import socket
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from native import FanoutEvent

from .fanout_rig import LAGGED, PONG, ROOM, Rig, ended, is_at_end, load, read, rigged, told

if TYPE_CHECKING:
    from native import Fanout


@pytest.fixture(params=["py", "c"])
def kind(request: pytest.FixtureRequest) -> "type[Fanout]":
    return load(request.param)


@pytest.fixture
def rig(kind: "type[Fanout]") -> Iterator[Rig]:
    with rigged(kind) as made:
        yield made


# --- what goes out


def test_frames_of_a_room_and_of_one_come_in_order(rig: Rig) -> None:
    one, two, other = rig.client(1), rig.client(2), rig.client(3, room=8)
    assert rig.fanout.broadcast(ROOM, b"a") == 2
    assert rig.fanout.send(1, b"b")
    assert rig.fanout.broadcast(ROOM, b"c") == 2
    assert rig.fanout.broadcast(8, b"d") == 1
    assert rig.fanout.broadcast(9, b"e") == 0
    assert rig.fanout.send(1, b"f")
    rig.pump()
    assert (read(one), read(two), read(other)) == (b"abcf", b"ac", b"d")
    assert rig.fanout.counters.delivered == 7
    assert rig.fanout.counters.sent_bytes == 7
    assert rig.fanout.counters.queued_bytes == 0


def test_who_comes_gets_what_is_new(rig: Rig) -> None:
    rig.client(1)
    rig.fanout.broadcast(ROOM, b"old")
    late = rig.client(2)
    rig.fanout.send(2, b"greeting")
    rig.fanout.broadcast(ROOM, b"new")
    rig.pump()
    assert read(late) == b"greetingnew"


def test_rooms_are_counted(rig: Rig) -> None:
    first = rig.client(1)
    rig.client(2)
    rig.client(3, room=8)
    assert [rig.fanout.members(room) for room in (ROOM, 8, 9)] == [2, 1, 0]
    first.close()
    rig.fanout.cut(3)
    assert rig.fanout.members(8) == 0
    assert sorted(ended(rig.pump())) == [(1, "left"), (3, "cut")]
    assert rig.fanout.members(ROOM) == 1
    assert rig.fanout.counters.members == 1


def test_a_frame_that_a_socket_does_not_take_at_once(rig: Rig) -> None:
    client = rig.client(1, send_buffer_bytes=4096)
    frames = [bytes([65 + index]) * 9000 for index in range(6)]
    for frame in frames[:3]:
        rig.fanout.broadcast(ROOM, frame)
        rig.pump()
    for frame in frames[3:]:
        rig.fanout.send(1, frame)
    assert rig.read(client) == b"".join(frames)
    assert rig.fanout.counters.delivered == 6
    assert rig.fanout.counters.queued_bytes == 0


def test_more_frames_than_one_call_takes(rig: Rig) -> None:
    clients = [rig.client(tag) for tag in range(5)]
    frames = [b"%d," % number for number in range(200)]
    for frame in frames:
        rig.fanout.broadcast(ROOM, frame)
    rig.pump()
    assert [read(client) for client in clients] == [b"".join(frames)] * 5


def test_unknown_tags_are_no_error(rig: Rig) -> None:
    assert not rig.fanout.send(5, b"x")
    rig.fanout.close(5, b"x")
    rig.fanout.cut(5)
    rig.fanout.mid_message(5, True)
    assert rig.pump() == []


def test_a_tag_is_free_again(rig: Rig) -> None:
    rig.client(1)
    with pytest.raises(ValueError, match="taken"):
        rig.client(1)
    rig.fanout.cut(1)
    assert ended(rig.pump()) == [(1, "cut")]
    client = rig.client(1)
    rig.fanout.send(1, b"x")
    rig.pump()
    assert read(client) == b"x"


# --- what comes in


def test_what_comes_is_told(rig: Rig) -> None:
    client = rig.client(1, received=b"before ")
    client.send(b"hello")
    assert told(rig.pump(), 1) == b"before hello"
    client.send(b"x" * 10_000)
    assert told(rig.pump(), 1) == b"x" * 10_000
    client.send(b"bye")
    client.close()
    assert rig.pump() == [(FanoutEvent.DATA, 1, b"bye"), (FanoutEvent.ENDED, 1, "left", 0)]


@pytest.mark.parametrize(
    ("data", "is_told"),
    [
        (PONG, False),
        (PONG * 3, False),
        (PONG + PONG[:3], True),
        (b"\x8a\x81mask1", True),
        (b"\x89\x80mask", True),
        (PONG + b"\x81\x80mask", True),
        (b"\x8a\x00mask", True),
    ],
)
def test_pongs_are_swallowed(rig: Rig, data: bytes, is_told: bool) -> None:
    client = rig.client(1)
    rig.pump()
    client.send(data)
    assert told(rig.pump(), 1) == (data if is_told else b"")


def test_what_looks_like_a_pong_within_a_frame_is_told(rig: Rig) -> None:
    client = rig.client(1)
    rig.pump()
    rig.fanout.mid_message(1, True)
    client.send(PONG)
    assert told(rig.pump(), 1) == PONG
    rig.fanout.mid_message(1, False)
    client.send(PONG)
    assert rig.pump() == []


def test_what_looks_like_a_pong_behind_what_has_just_been_told(kind: "type[Fanout]") -> None:
    with rigged(kind, read_bytes=6) as rig:
        client = rig.client(1)
        rig.pump()
        client.send(b"\x81\x86mask" + PONG)  # a text frame, in two reads of one step or of two
        events, _ = rig.step()
        rig.fanout.mid_message(1, True)
        assert told([*events, *rig.pump()], 1) == b"\x81\x86mask" + PONG


def test_pongs_that_nobody_asked_for_are_told(rig: Rig) -> None:
    client = rig.client(1)
    rig.pump()
    for _ in range(64):
        client.send(PONG)
        assert rig.pump() == []
    client.send(PONG)
    assert told(rig.pump(), 1) == PONG
    rig.now_ms += 30_000  # a ping allows for more
    rig.pump()
    client.send(PONG)
    assert rig.pump() == []


# --- ends


def test_a_last_frame_comes_behind_what_waits(rig: Rig) -> None:
    client = rig.client(1)
    rig.fanout.broadcast(ROOM, b"a")
    rig.fanout.send(1, b"b")
    rig.fanout.broadcast(ROOM, b"c")
    rig.fanout.close(1, b"bye")
    assert not rig.fanout.send(1, b"x")
    assert rig.fanout.broadcast(ROOM, b"x") == 0
    rig.fanout.close(1, b"again")
    client.send(b"unheard")
    assert rig.pump() == []
    assert read(client) == b"abcbye"
    assert is_at_end(client)
    client.close()
    assert ended(rig.pump()) == [(1, "done")]


def test_a_last_frame_for_who_does_not_read_yet(rig: Rig) -> None:
    client, count = rig.stuck(1)
    rig.fanout.broadcast(ROOM, b"<room>")
    rig.pump()
    rig.fanout.send(1, b"<own>")
    rig.fanout.broadcast(ROOM, b"<more>")
    rig.fanout.close(1, b"<bye>")
    assert rig.read(client) == b"f" * 1000 * count + b"<room><own><more><bye>"
    client.close()
    assert ended(rig.pump()) == [(1, "done")]
    assert rig.fanout.counters.dropped == 0
    assert rig.fanout.counters.queued_bytes == 0


def test_a_cut_is_sudden(rig: Rig) -> None:
    client, _ = rig.stuck(1)
    rig.fanout.cut(1)
    assert not rig.fanout.send(1, b"x")
    rig.fanout.close(1, b"x")
    assert ended(rig.pump()) == [(1, "cut")]
    assert set(read(client)) == {ord("f")}
    assert is_at_end(client)


def test_a_peer_that_is_gone_when_something_is_sent(rig: Rig) -> None:
    client, _ = rig.stuck(1)
    client.close()
    assert ended(rig.pump()) in ([(1, "left")], [(1, "failed")])
    assert rig.fanout.counters.queued_bytes == 0


def test_members_that_end_during_a_walk(rig: Rig) -> None:
    clients = [rig.client(tag) for tag in range(40)]
    rig.pump()
    rig.fanout.broadcast(ROOM, b"a")
    for tag in range(0, 40, 3):
        clients[tag].close()
        rig.step(0)
    for tag in range(1, 40, 3):
        rig.fanout.cut(tag)
        rig.step(0)
    rig.fanout.broadcast(ROOM, b"b")
    newcomer = rig.client(99)
    rig.pump()
    assert {read(clients[tag]) for tag in range(2, 40, 3)} == {b"ab"}
    assert read(newcomer) == b""
    assert len(ended(rig.events)) == 27


# --- those who do not read


def test_who_lags_loses_frames_is_told_so_and_goes_on(kind: "type[Fanout]") -> None:
    with rigged(kind, queue_frames=4) as rig:
        client, count = rig.stuck(1)
        healthy = rig.client(2)
        rig.fanout.send(1, b"<own>")
        for number in range(9):
            rig.fanout.broadcast(ROOM, b"<%d>" % number)
            rig.pump()
        assert not rig.fanout.send(1, b"<not>")
        assert read(healthy) == b"<0><1><2><3><4><5><6><7><8>"
        assert rig.fanout.counters.lagged == 1
        assert rig.fanout.counters.dropped == 10
        assert rig.read(client) == b"f" * 1000 * count + b"<own>" + LAGGED
        rig.fanout.broadcast(ROOM, b"<next>")
        assert rig.fanout.send(1, b"<too>")
        rig.pump()
        assert read(client) == b"<next><too>"
        assert rig.fanout.counters.queued_bytes == 0


def test_who_is_behind_but_within_bounds_loses_nothing(kind: "type[Fanout]") -> None:
    with rigged(kind, queue_frames=4) as rig:
        client, count = rig.stuck(1)
        for _ in range(20):
            for number in range(4):
                rig.fanout.broadcast(ROOM, b"<%d>" % number)
                rig.pump()
            assert rig.fanout.counters.queued_bytes > 0
            assert rig.read(client) == b"f" * 1000 * count + b"<0><1><2><3>"
            count = 0
            while rig.fanout.counters.queued_bytes == 0:
                rig.fanout.send(1, b"f" * 1000)
                count += 1
                rig.pump()
        assert rig.fanout.counters.dropped == 0


def test_a_crowd_that_does_not_read_takes_no_memory_of_its_own(kind: "type[Fanout]") -> None:
    with rigged(kind, queue_frames=8) as rig:
        for tag in range(30):
            rig.stuck(tag)
        before = rig.fanout.counters.queued_bytes
        for _ in range(100):
            rig.fanout.broadcast(ROOM, b"x" * 100)
            rig.pump()
        assert rig.fanout.counters.queued_bytes <= before + 8 * 100


# --- ownership


def test_frames_are_held_no_longer_than_they_are_needed(rig: Rig) -> None:
    # Bytes take no weak references.
    client, _ = rig.stuck(1)
    rig.client(2)
    frame = b"".join([b"frame", b"%d" % id(client)])
    before = sys.getrefcount(frame)
    rig.fanout.broadcast(ROOM, frame)
    rig.fanout.send(2, frame)
    rig.pump()
    assert sys.getrefcount(frame) > before
    rig.read(client)
    assert sys.getrefcount(frame) == before
    rig.fanout.broadcast(ROOM, frame)
    rig.fanout.send(2, frame)
    rig.close()
    assert sys.getrefcount(frame) == before


def test_no_descriptor_is_left(kind: "type[Fanout]") -> None:
    before = len(os.listdir("/proc/self/fd"))
    with rigged(kind) as rig:
        rig.client(1)
        rig.stuck(2)
        for tag in range(3, 60):  # a number that is free is taken again at once
            rig.client(tag).close()
            rig.step()
        rig.fanout.close(1, b"bye")
        rig.pump()
        rig.fanout.close_all()
        assert not rig.fanout.send(1, b"x")
        assert rig.fanout.broadcast(ROOM, b"x") == 0
        assert rig.step() == ([], False)
        with pytest.raises(ValueError, match="closed"):
            rig.client(1)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_kernel_cleans_up_when_it_is_collected() -> None:
    rig = Rig(load("c"))
    client = rig.client(1)
    stuck, _ = rig.stuck(2)
    del rig.fanout
    gc.collect()
    assert is_at_end(client)
    client.close()
    stuck.close()


def test_a_descriptor_that_is_none(rig: Rig) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        rig.fanout.add(1 << 20, 1, ROOM, b"kept")
    with open(__file__) as file, pytest.raises(OSError):
        rig.fanout.add(file.fileno(), 1, ROOM, b"kept")
    assert rig.fanout.members(ROOM) == 0
    assert rig.fanout.counters.members == 0
    assert rig.pump() == []


def test_a_descriptor_that_it_has_already(rig: Rig) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    rig.clients.append(theirs)
    descriptor = ours.detach()
    rig.fanout.add(descriptor, 1, ROOM, b"")
    with pytest.raises(FileExistsError):
        rig.fanout.add(descriptor, 2, 8, b"kept")
    assert (rig.fanout.members(ROOM), rig.fanout.members(8)) == (1, 0)
    rig.fanout.send(1, b"x")
    rig.pump()
    assert theirs.recv(2) == b"x"


def test_the_descriptor_says_when_a_socket_is_ready(rig: Rig) -> None:
    def is_ready() -> bool:
        return bool(select.select([rig.fanout], [], [], 0)[0])

    client = rig.client(1)
    assert is_ready()
    rig.pump()
    assert not is_ready()
    client.send(b"x")
    assert is_ready()
    rig.pump()
    assert not is_ready()


def test_the_twin_has_no_tls() -> None:
    with rigged(load("py")) as rig, pytest.raises(ValueError, match="no TLS"):
        rig.fanout.add(0, 1, ROOM, b"", object())  # type: ignore[arg-type]


@pytest.mark.parametrize("is_closing", [False, True])
def test_a_reset_connection(rig: Rig, is_closing: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    ours.setblocking(False)
    rig.fanout.add(ours.detach(), 1, ROOM, b"")
    if is_closing:
        rig.fanout.close(1, b"bye")
    rig.pump()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    assert ended(rig.pump()) == [(1, "done" if is_closing else "left")]


@pytest.mark.skipif(os.environ.get("HEADRACE_PURE") == "1", reason="there is one twin only")
def test_twins_take_the_same_arguments() -> None:
    kernel, twin = load("c"), load("py")
    names = {name for name in dir(twin) if not name.startswith("_")}
    assert {name for name in dir(kernel) if not name.startswith("_")} == names
    for name in names - {"counters"}:
        first, second = (
            [(one.name, one.default) for one in inspect.signature(method).parameters.values()]
            for method in (getattr(kernel, name), getattr(twin, name))
        )
        assert first == second, name
