"""The delivery reactor over pairs of sockets: what it answers, parks, returns, ends and bounds.

Time is an argument, and both ends are pumped in turns by one thread, so nothing waits. What the
reactor does at random is tests/native/test_reactor_model.py; joined to Trio it is judged by
tests/edge/test_delivery.py.
"""

import gc
import os
import socket
import struct
import weakref
from collections.abc import Iterator

import pytest

if os.environ.get("HEADRACE_PURE") == "1":
    pytest.skip("HEADRACE_PURE=1 has no reactor", allow_module_level=True)

from native import Blob, ReactorEvent

from .reactor_rig import (
    HEAD,
    INPUT_BYTES,
    Body,
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


# --- answers


def test_a_kept_answer_goes_out_at_once(rig: Rig) -> None:
    assert rig.reactor.put(key("a"), Blob(HEAD, (b"one", b"", b" two")))
    client = rig.client()
    assert rig.ask(client, get("a")) == answer(b"one two")
    assert rig.ask(client, get("a", method="HEAD")) == answer(b"")
    assert rig.ask(client, get("a")) == answer(b"one two")
    assert rig.events == []
    assert (rig.reactor.counters.requests, rig.reactor.counters.hits) == (3, 3)


def test_codings_are_different_keys(rig: Rig) -> None:
    rig.reactor.put(key("a"), Blob(HEAD, (b"plain",)))
    rig.reactor.put(key("a", b"g"), Blob(HEAD, (b"packed",)))
    client = rig.client()
    assert rig.ask(client, get("a", "Accept-Encoding: gzip")) == answer(b"packed")
    assert rig.ask(client, get("a")) == answer(b"plain")


def test_what_was_received_before_adoption_is_answered(rig: Rig) -> None:
    rig.reactor.put(key("a"), Blob(HEAD, (b"x",)))
    client = rig.client(get("a") + get("a")[:7])
    rig.pump()
    assert read(client) == answer(b"x")
    assert rig.ask(client, get("a")[7:]) == answer(b"x")


@pytest.mark.parametrize("at", range(1, len(get("a"))))
def test_a_request_in_two_pieces(rig: Rig, at: int) -> None:
    rig.reactor.put(key("a"), Blob(HEAD, (b"x",)))
    client = rig.client()
    assert rig.ask(client, get("a")[:at]) == b""
    assert rig.ask(client, get("a")[at:]) == answer(b"x")


def test_more_pieces_than_one_call_takes(rig: Rig) -> None:
    pieces = tuple(str(index).encode() for index in range(1_000))
    rig.reactor.put(key("a"), Blob(HEAD, pieces))
    assert rig.ask(rig.client(), get("a")) == answer(b"".join(pieces))


def test_a_miss_is_told_once_and_all_who_wait_are_answered_by_one_put(rig: Rig) -> None:
    clients = [rig.client() for _ in range(1_000)]
    for client in clients:
        client.sendall(get("a"))
    assert rig.pump() == [(ReactorEvent.MISS, key("a"))]
    assert (rig.reactor.counters.parked, rig.reactor.counters.waiting_keys) == (1_000, 1)
    assert rig.reactor.next_deadline_ms() is None  # how long is Python's to say
    assert rig.reactor.put(key("a"), Blob(HEAD, (b"x",)))
    assert rig.pump() == []
    assert {read(client) for client in clients} == {answer(b"x")}
    counters = rig.reactor.counters
    assert (counters.parked, counters.waiting_keys, counters.keys) == (0, 0, 1)
    assert (counters.misses, counters.released, counters.hits) == (1, 1_000, 0)


def test_release_answers_and_keeps_nothing(rig: Rig) -> None:
    client = rig.client()
    assert rig.ask(client, get("a")) == b""
    rig.reactor.release(key("a"), Blob(HEAD, (b"once",)))
    rig.pump()
    assert read(client) == answer(b"once")
    assert rig.reactor.counters.keys == 0
    client.sendall(get("a"))
    assert rig.pump() == [(ReactorEvent.MISS, key("a"))]


def test_keys_that_nobody_knows_are_left_alone(rig: Rig) -> None:
    rig.reactor.put(key("a"), Blob(HEAD, (b"kept",)))
    for name in ("a", "b"):
        rig.reactor.release(key(name), Blob(HEAD, (b"other",)))
        rig.reactor.hand_back(key(name))
    rig.reactor.drop(key("b"))
    client = rig.client()
    assert rig.ask(client, get("a")) == answer(b"kept")
    rig.ask(client, get("c"))
    rig.reactor.drop(key("c"))  # it is waited for, not kept
    assert rig.reactor.counters.parked == 1


def test_hand_back_returns_the_request_and_what_follows(rig: Rig) -> None:
    rest = get("b") + b"GET"
    client = rig.client(tag=7)
    rig.ask(client, get("a") + rest)
    rig.reactor.hand_back(key("a"))
    [event] = rig.pump()
    assert event[0] is ReactorEvent.RETURNED
    assert event[2:] == (get("a") + rest, 7, None)
    assert not os.get_blocking(event[1])
    os.write(event[1], b"still open")
    assert read(client) == b"still open"
    assert (rig.reactor.counters.connections, rig.reactor.counters.returned) == (0, 1)


@pytest.mark.parametrize("odd", [b"POST / HTTP/1.1\r\n", get("a", "Range: bytes=0-1"), b"\0"])
def test_what_is_odd_is_returned_after_the_answers_before_it(rig: Rig, odd: bytes) -> None:
    rig.reactor.put(key("a"), Blob(HEAD, (b"x",)))
    client = rig.client()
    assert rig.ask(client, get("a") * 3 + odd) == answer(b"x") * 3
    assert [event[2] for event in rig.events] == [odd]


def test_a_head_that_never_ends_is_returned_at_the_bound(rig: Rig) -> None:
    client = rig.client()
    head = get("a")[:-2] + b"User-Agent: " + b"x" * (2 * INPUT_BYTES)
    rig.ask(client, head)
    [(kind, _, received, _, _)] = rig.events
    assert kind is ReactorEvent.RETURNED
    assert head.startswith(received)
    assert len(received) <= INPUT_BYTES


def test_a_deep_pipeline_is_answered_in_order(rig: Rig) -> None:
    for name in "ab":
        rig.reactor.put(key(name), Blob(HEAD, (name.encode(),)))
    client = rig.client()
    names = "aabab" * 60
    assert len(get("a")) * len(names) > 3 * INPUT_BYTES
    expected = b"".join(answer(name.encode()) for name in names)
    client.sendall(b"".join(map(get, names)))
    assert rig.read_all(client, len(expected)) == expected  # its buffer holds some of them


# --- lifetime


@pytest.mark.parametrize("how", ["drop", "replace", "release", "close"])
def test_bytes_live_until_their_last_reader_is_done(how: str) -> None:
    with rigged() as rig:
        body = Body(os.urandom(600_000))
        expected, gone = answer(bytes(body)), weakref.ref(body)
        client = rig.client(send_buffer_bytes=4096)
        client.sendall(get("a"))
        rig.pump()
        blob = Blob(HEAD, (memoryview(body)[:1000], memoryview(body)[1000:]))
        if how == "release":
            rig.reactor.release(key("a"), blob)
        else:
            rig.reactor.put(key("a"), blob)
        del body, blob
        rig.step()
        if how == "drop":
            rig.reactor.drop(key("a"))
        elif how == "replace":
            rig.reactor.put(key("a"), Blob(HEAD, (b"new",)))
        elif how == "close":
            rig.reactor.close()
            assert gone() is None
            return
        gc.collect()
        assert gone() is not None
        assert rig.read_all(client, len(expected)) == expected
        rig.step()
        assert gone() is None


# --- ends


def test_who_leaves_while_parked(rig: Rig) -> None:
    first, second = rig.client(tag=1), rig.client(tag=2)
    rig.ask(first, get("a"))
    rig.ask(second, get("a"))
    first.close()
    assert ended(told := rig.pump()) == [(1, "left")]
    assert len(told) == 1
    second.close()
    assert rig.pump() == [
        (ReactorEvent.ENDED, 2, "left", 0, 1),
        (ReactorEvent.UNWANTED, key("a")),
    ]
    assert rig.reactor.counters.waiting_keys == 0
    assert rig.reactor.put(key("a"), Blob(HEAD, (b"x",)))


def test_a_peer_that_says_no_more_after_its_request_is_answered(rig: Rig) -> None:
    rig.reactor.put(key("a"), Blob(HEAD, (b"x",)))
    client = rig.client(tag=1)
    client.sendall(get("a"))
    client.shutdown(socket.SHUT_WR)
    assert ended(rig.pump()) == [(1, "left")]
    assert read(client) == answer(b"x")


def test_a_reset_ends_it(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    rig.reactor.adopt(ours.detach(), b"", 3)
    theirs.sendall(get("a"))
    rig.pump()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    assert ended(rig.pump()) == [(3, "left")]


def test_a_last_request_ends_in_peace(rig: Rig) -> None:
    rig.reactor.put(key("a"), Blob(HEAD, (b"x",)))
    client = rig.client(tag=1)
    assert rig.ask(client, get("a", "Connection: close") + get("a")) == answer(b"x", is_last=True)
    assert is_at_end(client)
    assert rig.events == []
    client.close()
    assert ended(rig.pump()) == [(1, "done")]
