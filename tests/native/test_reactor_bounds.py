"""The delivery reactor's deadlines and bounds, each reached; time is an argument."""

import gc
import os
from collections.abc import Iterator

import pytest

if os.environ.get("HEADRACE_PURE") == "1":
    pytest.skip("HEADRACE_PURE=1 has no reactor", allow_module_level=True)

from native import Blob, ReactorEvent

from .reactor_rig import (
    HEAD,
    INPUT_BYTES,
    TOO_MANY,
    Rig,
    answer,
    ended,
    get,
    is_at_end,
    key,
    read,
    rigged,
)


@pytest.fixture
def rig() -> Iterator[Rig]:
    with rigged() as made:
        yield made


# --- deadlines


def test_deadlines_of_requests(rig: Rig) -> None:
    rig.client(tag=1)
    slow = rig.client(tag=2)
    rig.ask(slow, get("a")[:5])
    assert rig.reactor.next_deadline_ms() == 11_000
    rig.now_ms = 10_999
    rig.ask(slow, get("a")[5:9])  # more of it does not help
    assert rig.events == []
    rig.now_ms = 11_000
    assert ended(rig.pump()) == [(2, "slow head")]
    assert rig.reactor.next_deadline_ms() == 66_000
    rig.now_ms = 66_000
    assert ended(rig.pump()) == [(1, "idle")]
    assert rig.reactor.next_deadline_ms() is None
    assert rig.reactor.counters.timeouts == 2


def test_a_reader_must_move(rig: Rig) -> None:
    body = bytes(3_000_000)
    rig.reactor.put(key("a"), Blob(HEAD, (body,)))
    stuck = rig.client(get("a"), tag=1, send_buffer_bytes=4096)
    slow = rig.client(get("a"), tag=2, send_buffer_bytes=4096)
    rig.pump()
    for _ in range(3):
        rig.now_ms += 14_999
        rig.read_all(slow, 300_000)
        rig.now_ms += 1
        rig.step()
    assert ended(rig.events) == [(1, "slow")]
    assert len(read(stuck)) < len(body)
    rig.now_ms += 15_000
    assert ended(rig.pump()) == [(2, "slow")]


def test_a_peer_that_does_not_close_after_its_last_answer(rig: Rig) -> None:
    rig.reactor.put(key("a"), Blob(HEAD, (b"x",)))
    client = rig.client(tag=1)
    rig.ask(client, get("a", "Connection: close"))
    rig.now_ms += 1_000
    assert ended(rig.pump()) == [(1, "done")]


def test_a_rate_that_fills_again() -> None:
    with rigged(requests_burst=3, requests_per_s=2.0) as rig:
        rig.reactor.put(key("a"), Blob(HEAD, (b"x",)))
        client = rig.client()
        assert rig.ask(client, get("a") * 3) == answer(b"x") * 3
        rig.now_ms += 500
        assert rig.ask(client, get("a")) == answer(b"x")
        refused = answer(b"slow down", is_last=True, head=TOO_MANY)
        assert rig.ask(client, get("a") * 2) == refused
        assert rig.reactor.counters.refused == 1
        assert is_at_end(client)


# --- bounds


def test_bounds_of_connections_and_input() -> None:
    with rigged(max_connections=1) as rig:
        rig.client()
        with pytest.raises(OverflowError):
            rig.client()
    with rigged() as rig:
        with pytest.raises(ValueError, match="too much was received"):
            rig.client(bytes(INPUT_BYTES + 1))
        rig.client(bytes(INPUT_BYTES))
    with pytest.raises(ValueError, match="has a head"):
        Blob(b"", (b"x",))


def test_the_bound_of_kept_keys() -> None:
    with rigged(max_keys=2) as rig:
        assert rig.reactor.put(key("a"), Blob(HEAD, (b"1",)))
        assert rig.reactor.put(key("b"), Blob(HEAD, (b"2",)))
        assert not rig.reactor.put(key("c"), Blob(HEAD, (b"3",)))
        assert rig.reactor.put(key("a"), Blob(HEAD, (b"4",)))
        client = rig.client()
        rig.ask(client, get("c"))
        assert not rig.reactor.put(key("c"), Blob(HEAD, (b"5",)))
        rig.pump()
        assert read(client) == answer(b"5")
        rig.reactor.drop(key("b"))
        assert rig.reactor.put(key("c"), Blob(HEAD, (b"6",)))


def test_the_bound_of_keys_that_are_waited_for() -> None:
    with rigged(max_waiting_keys=2) as rig:
        clients = [rig.client(tag=tag) for tag in range(3)]
        for client, name in zip(clients, "abc", strict=True):
            rig.ask(client, get(name))
        assert [event[0] for event in rig.events] == [
            ReactorEvent.MISS, ReactorEvent.MISS, ReactorEvent.RETURNED,
        ]  # fmt: skip
        assert rig.events[2][2] == get("c")


def test_many_keys_are_found_again(rig: Rig) -> None:
    for index in range(20_000):
        rig.reactor.put(key(f"{index}"), Blob(HEAD, (b"%d" % index,)))
    for index in range(0, 20_000, 2):
        rig.reactor.drop(key(f"{index}"))
    assert rig.reactor.counters.keys == 10_000
    assert rig.ask(rig.client(), get("19999")) == answer(b"19999")
    assert rig.ask(rig.client(), get("19998")) == b""


def test_a_flood_does_not_keep_a_quiet_one_waiting(rig: Rig) -> None:
    rig.reactor.put(key("a"), Blob(HEAD, (b"x",)))
    flood, quiet = rig.client(), rig.client()
    flood.sendall(get("a") * 2_000)
    quiet.sendall(get("a"))
    _, more = rig.step(0)
    assert more
    assert rig.reactor.counters.requests <= 8 * 16  # turns of a step, requests of a turn
    assert read(quiet) == answer(b"x")


def test_draining(rig: Rig) -> None:
    rig.reactor.put(key("a"), Blob(HEAD, (b"x" * 400_000,)))
    idle, begun, parked = (rig.client(tag=tag) for tag in range(3))
    sending = rig.client(get("a") * 2, tag=3, send_buffer_bytes=4096)
    rig.ask(begun, get("a")[:9])
    rig.ask(parked, get("b"))
    rig.reactor.drain()
    rig.pump()
    assert is_at_end(idle)
    rig.reactor.release(key("b"), Blob(HEAD, (b"y",)))
    rig.pump()
    assert read(parked) == answer(b"y", is_last=True)
    both = answer(b"x" * 400_000) + answer(b"x" * 400_000, is_last=True)
    assert rig.read_all(sending, len(both)) == both
    begun.sendall(get("a")[9:])
    last = answer(b"x" * 400_000, is_last=True)
    assert rig.read_all(begun, len(last)) == last
    for client in rig.clients:
        client.close()
    assert sorted(ended(rig.pump())) == [(tag, "done") for tag in range(4)]


def test_no_descriptor_and_no_connection_is_left() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with rigged() as rig:
        rig.reactor.put(key("a"), Blob(HEAD, (bytes(900_000),)))
        rig.client()
        rig.client(get("b"))
        rig.client(get("a"), send_buffer_bytes=4096)
        rig.client(b"POST")
        rig.client(get("a", "Connection: close"))
        for _ in range(50):  # a number that is free is taken again at once
            rig.client(get("b")).close()
            rig.step()
        rig.pump()
        rig.reactor.close()
        rig.reactor.close()
        assert rig.reactor.counters.connections == rig.reactor.counters.parked == 0
        assert rig.step() == ([], False)
        with pytest.raises(ValueError, match="the reactor is closed"):
            rig.client()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
