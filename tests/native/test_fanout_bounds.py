"""The fan-out's deadlines and bounds, each reached; time is an argument."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from native import FanoutEvent, FanoutLimits
from native._fanout_types import LOG_FACTOR, MAX_FRAME_BYTES, MAX_LOG_BYTES, MAX_RECEIVED_BYTES

from .fanout_rig import LAGGED, PING, PONG, ROOM, SLOW, Rig, ended, is_at_end, load, read, rigged

if TYPE_CHECKING:
    from native import Fanout


@pytest.fixture(params=["py", "c"])
def kind(request: pytest.FixtureRequest) -> "type[Fanout]":
    return load(request.param)


@pytest.fixture
def rig(kind: "type[Fanout]") -> Iterator[Rig]:
    with rigged(kind) as made:
        yield made


# --- deadlines


def test_who_is_silent_is_asked_and_then_ended(rig: Rig) -> None:
    silent, alive = rig.client(1), rig.client(2)
    rig.pump()
    assert rig.fanout.next_deadline_ms() == rig.now_ms + 30_000
    rig.now_ms += 29_999
    rig.fanout.broadcast(ROOM, b"x")  # that we send says nothing of the peer
    rig.pump()
    assert (read(silent), read(alive)) == (b"x", b"x")
    rig.now_ms += 1
    rig.pump()
    assert (read(silent), read(alive)) == (PING, PING)
    assert rig.fanout.next_deadline_ms() == rig.now_ms + 20_000
    rig.now_ms += 19_999
    alive.send(PONG)
    assert rig.pump() == []
    rig.now_ms += 1
    assert ended(rig.pump()) == [(1, "silent")]
    assert is_at_end(silent)
    assert rig.fanout.counters.timed_out == 1
    assert rig.fanout.next_deadline_ms() == rig.now_ms - 1 + 30_000
    assert rig.fanout.counters.delivered == 2  # pings do not count


def test_whatever_comes_is_life(rig: Rig) -> None:
    client = rig.client(1)
    for _ in range(5):
        rig.pump()
        rig.now_ms += 29_000
        client.send(b"x")
    assert ended(rig.pump()) == []
    assert read(client) == b""


def test_what_has_come_before_a_deadline_but_was_not_read_is_life(rig: Rig) -> None:
    client = rig.client(1)
    rig.pump()
    rig.now_ms += 30_000
    rig.pump()
    client.send(b"late")
    rig.now_ms += 20_000
    assert rig.pump() == [(FanoutEvent.DATA, 1, b"late")]


def test_a_ping_comes_between_frames(rig: Rig) -> None:
    client, count = rig.stuck(1)
    rig.now_ms += 30_000
    rig.pump()
    rig.fanout.broadcast(ROOM, b"<room>")
    got = rig.read(client)
    assert got.replace(PING, b"", 1) == b"f" * 1000 * count + b"<room>"
    assert got.index(PING) % 1000 == 0


def test_who_lags_for_too_long_is_ended(kind: "type[Fanout]") -> None:
    with rigged(kind, queue_frames=2) as rig:
        client, _ = rig.stuck(1)
        rig.pump()
        rig.now_ms += 5_000
        for _ in range(3):
            rig.fanout.broadcast(ROOM, b"x")
        rig.pump()
        assert rig.fanout.counters.lagged == 1
        rig.now_ms += 9_999
        rig.fanout.broadcast(ROOM, b"x")
        assert rig.pump() == []
        rig.now_ms += 1
        assert ended(rig.pump()) == [(1, "slow")]
        assert read(client).replace(b"f", b"") in (b"", SLOW)
        assert is_at_end(client)
        assert rig.fanout.counters.timed_out == 1
        assert rig.fanout.counters.queued_bytes == 0


def test_lag_that_begins_long_after_a_step(kind: "type[Fanout]") -> None:
    with rigged(kind, queue_frames=2) as rig:
        rig.stuck(1)
        rig.now_ms += 15_000  # nobody has stepped since
        for _ in range(4):
            rig.fanout.broadcast(ROOM, b"x")
        assert rig.pump() == []
        assert rig.fanout.counters.lagged == 1
        assert rig.fanout.next_deadline_ms() == rig.now_ms + 10_000


def test_who_catches_up_in_time_may_lag_again(kind: "type[Fanout]") -> None:
    with rigged(kind, queue_frames=2) as rig:
        client, _ = rig.stuck(1)
        for _ in range(3):
            while rig.fanout.counters.queued_bytes == 0:
                rig.fanout.send(1, b"f" * 1000)
                rig.pump()
            for _ in range(3):
                rig.fanout.broadcast(ROOM, b"x")
                rig.pump()
            rig.now_ms += 9_000
            assert rig.read(client).endswith(LAGGED)
            client.send(b"alive")
        assert ended(rig.pump()) == []
        assert rig.fanout.counters.lagged == 3


def test_who_does_not_read_its_last_frame(rig: Rig) -> None:
    client, _ = rig.stuck(1)
    rig.now_ms += 3_000  # not since a step
    rig.fanout.close(1, b"<bye>")
    rig.pump()
    rig.now_ms += 1_999
    assert rig.pump() == []
    rig.now_ms += 1
    assert ended(rig.pump()) == [(1, "done")]
    assert not read(client).endswith(b"<bye>")


def test_who_does_not_go(rig: Rig) -> None:
    client = rig.client(1)
    rig.fanout.close(1, b"<bye>")
    rig.pump()
    rig.now_ms += 2_000
    assert ended(rig.pump()) == [(1, "done")]
    assert read(client) == b"<bye>"
    flood = rig.client(2)
    rig.fanout.close(2, b"<bye>")
    rig.pump()
    sent = 0
    while not rig.pump():
        sent += flood.send(b"x" * 1000)
    assert ended(rig.events)[-1] == (2, "done")
    assert sent <= 64 * 1024 + 5_000


# --- bounds


def test_the_bound_of_members(kind: "type[Fanout]") -> None:
    with rigged(kind, max_members=2) as rig:
        rig.client(1)
        rig.client(2)
        with pytest.raises(OverflowError):
            rig.client(3)
        rig.fanout.cut(1)
        rig.pump()
        rig.client(3)


def test_bounds_of_what_it_is_given(rig: Rig) -> None:
    with pytest.raises(ValueError, match="too much was received"):
        rig.client(1, received=bytes(MAX_RECEIVED_BYTES + 1))
    client = rig.client(1, received=bytes(MAX_RECEIVED_BYTES))
    for frame in (b"", bytes(MAX_FRAME_BYTES + 1)):
        with pytest.raises(ValueError, match="a frame has 1 to"):
            rig.fanout.send(1, frame)
        with pytest.raises(ValueError, match="a frame has 1 to"):
            rig.fanout.broadcast(ROOM, frame)
        with pytest.raises(ValueError, match="a frame has 1 to"):
            rig.fanout.close(1, frame)
    assert rig.fanout.send(1, b"x" * MAX_FRAME_BYTES)
    rig.pump()
    assert rig.read(client) == b"x" * MAX_FRAME_BYTES


def test_limits_that_make_no_sense(kind: "type[Fanout]") -> None:
    for limits in (FanoutLimits(queue_frames=0), FanoutLimits(read_bytes=65_537)):
        with pytest.raises(ValueError, match="limit"):
            kind(limits=limits, ping=PING, lagged=LAGGED, slow=SLOW)
    for frames in ((b"", b"a", b"b"), (b"a", b"", b"b"), (b"a", b"b", b"")):
        ping, lagged, slow = frames
        with pytest.raises(ValueError, match="frame"):
            kind(limits=FanoutLimits(), ping=ping, lagged=lagged, slow=slow)


def test_the_bound_of_ones_own_frames(kind: "type[Fanout]") -> None:
    with rigged(kind, queue_frames=3) as rig:
        client, count = rig.stuck(1)  # the last of its frames waits
        sent = [rig.fanout.send(1, b"<%d>" % number) for number in range(4)]
        assert sent == [True, True, False, False]
        assert rig.fanout.counters.lagged == 1
        assert rig.fanout.counters.dropped == 2
        assert rig.read(client) == b"f" * 1000 * count + b"<0><1>" + LAGGED
        assert rig.fanout.counters.dropped == 2
    with rigged(kind, queue_bytes=1100) as rig:
        rig.stuck(1)
        assert [rig.fanout.send(1, b"x" * 50) for _ in range(3)] == [True, True, False]
    with rigged(kind, queue_bytes=1100) as rig:
        rig.client(1)
        assert rig.fanout.send(1, b"x" * 2000)  # nothing else waits
        assert not rig.fanout.send(1, b"x")


def test_the_bound_of_a_rooms_frames_in_bytes(kind: "type[Fanout]") -> None:
    with rigged(kind, queue_bytes=100) as rig:
        client, count = rig.stuck(1)
        rig.fanout.broadcast(ROOM, b"x" * 1000)  # a single one may be larger
        rig.pump()
        assert rig.read(client) == b"f" * 1000 * count + b"x" * 1000
    with rigged(kind, queue_bytes=100) as rig:
        rig.stuck(1)
        for size_bytes in (50, 50):
            rig.fanout.broadcast(ROOM, b"x" * size_bytes)
            rig.pump()
        assert rig.fanout.counters.lagged == 0
        rig.fanout.broadcast(ROOM, b"x")
        rig.pump()
        assert rig.fanout.counters.lagged == 1
        assert rig.fanout.counters.dropped == 3


def test_who_had_no_turn_loses_nothing_before_the_log_is_full(kind: "type[Fanout]") -> None:
    with rigged(kind, queue_frames=4) as rig:
        client = rig.client(1)
        rig.pump()
        frames = [b"<%d>" % number for number in range(4 * LOG_FACTOR)]
        for frame in frames:
            rig.fanout.broadcast(ROOM, frame)
        rig.pump()
        assert read(client) == b"".join(frames)
        for frame in [*frames, b"<one too many>"]:
            rig.fanout.broadcast(ROOM, frame)
        rig.pump()
        assert read(client) == LAGGED
        assert rig.fanout.counters.dropped == 4 * LOG_FACTOR + 1
        assert rig.fanout.counters.lagged == 1


def test_the_bytes_of_a_log(rig: Rig) -> None:
    client = rig.client(1)
    rig.pump()
    count = MAX_LOG_BYTES // MAX_FRAME_BYTES
    for _ in range(count):
        rig.fanout.broadcast(ROOM, b"x" * MAX_FRAME_BYTES)
    assert rig.fanout.counters.queued_bytes == MAX_LOG_BYTES
    rig.fanout.broadcast(ROOM, b"x")
    assert rig.fanout.counters.queued_bytes <= MAX_LOG_BYTES
    rig.pump()
    assert read(client) == LAGGED
    assert rig.fanout.counters.dropped == count + 1


def test_closing_who_had_no_turn_for_too_long(kind: "type[Fanout]") -> None:
    with rigged(kind, queue_frames=1) as rig:
        client = rig.client(1)
        rig.pump()
        for number in range(LOG_FACTOR + 1):
            rig.fanout.broadcast(ROOM, b"<%d>" % number)
        rig.fanout.close(1, b"<bye>")
        rig.pump()
        assert read(client) == b"<bye>"
        assert rig.fanout.counters.dropped == LOG_FACTOR + 1


def test_a_step_ends_in_time_and_goes_on_later(rig: Rig) -> None:
    clients = [rig.client(tag) for tag in range(100)]
    rig.pump()
    rig.fanout.broadcast(ROOM, b"x")
    _, more = rig.step(0)
    assert more
    done = rig.fanout.counters.delivered
    assert done < 100
    assert rig.fanout.next_deadline_ms() is not None
    rig.pump()
    assert [read(client) for client in clients] == [b"x"] * 100


def test_the_turn_of_a_member_ends_after_so_many_bytes(rig: Rig) -> None:
    greedy = rig.client(1, send_buffer_bytes=1 << 20)
    rig.client(2)
    rig.pump()
    size_bytes = 0
    for _ in range(8):  # the buffer is the kernel's to grant: at least one turn fills its bound
        rig.fanout.broadcast(ROOM, b"x" * 65_000)
        size_bytes += 65_000
    rig.pump()
    assert rig.fanout.counters.sent_bytes >= 1 << 18
    assert rig.read(greedy) == b"x" * size_bytes


def test_a_flood_does_not_keep_a_room_waiting(rig: Rig) -> None:
    floods = [rig.client(tag) for tag in range(20)]
    quiet = rig.client(99, room=8)
    rig.pump()
    for flood in floods:
        flood.send(b"x" * 100_000)
    rig.fanout.broadcast(8, b"y")
    events, more = rig.step()
    assert more
    assert sum(len(event[2]) for event in events) <= 64 * 4096
    assert read(quiet) == b"y"
    while sum(len(event[2]) for event in rig.events) < 20 * 100_000:
        rig.step()


def test_many_rooms_and_members_are_found_again(kind: "type[Fanout]") -> None:
    with rigged(kind, max_members=150) as rig:
        clients = {tag: rig.client(tag << 33, room=tag << 40) for tag in range(-75, 75)}
        for tag in range(-75, 75, 2):
            rig.fanout.cut(tag << 33)
        rig.pump()
        for tag in clients:
            is_there = tag % 2 == 0
            assert rig.fanout.broadcast(tag << 40, b"a") == is_there
            assert rig.fanout.send(tag << 33, b"b") is is_there
        rig.pump()
        assert {read(clients[tag]) for tag in range(-74, 75, 2)} == {b"ab"}


def test_rooms_take_turns(rig: Rig) -> None:
    last = {}
    for room in (1, 2):
        for index in range(600):
            last[room] = rig.client(room * 1000 + index, room=room)
    rig.pump()
    rig.fanout.broadcast(1, b"x")
    rig.fanout.broadcast(2, b"x")
    while rig.step(0)[1]:
        pass
    assert rig.fanout.counters.delivered == 1200
    assert (read(last[1]), read(last[2])) == (b"x", b"x")
