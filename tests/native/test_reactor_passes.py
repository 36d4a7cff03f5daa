"""What a playback token opens in the delivery reactor: its own stream, on its own connection, for a
while, and nothing that was asked for without one.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest

if os.environ.get("HEADRACE_PURE") == "1":
    pytest.skip("HEADRACE_PURE=1 has no reactor", allow_module_level=True)

from native import Blob, ReactorEvent

from .reactor_rig import HEAD, PREFIX, Rig, answer, get, read, rigged

UNTIL_MS = 11_000
HOW: dict[str, Any] = {"pass_token": (b"one", b"t0k.en"), "pass_until_ms": UNTIL_MS}
OPEN, LOCKED = b"i" + PREFIX + b"one/x.m4s", b"I" + PREFIX + b"one/x.m4s"


@pytest.fixture
def rig() -> Iterator[Rig]:
    with rigged() as made:
        made.reactor.put(OPEN, Blob(HEAD, (b"for all",)))
        made.reactor.put(LOCKED, Blob(HEAD, (b"for some",)))
        yield made


def is_returned(rig: Rig, request: bytes, **how: Any) -> bool:
    """Whether a new connection's request is Python's to judge."""
    before = len(rig.events)
    rig.client(request, **how)
    rig.pump()
    returned = [event for event in rig.events[before:] if event[0] is ReactorEvent.RETURNED]
    assert all(event[2] == request for event in returned)
    return bool(returned)


def test_a_pass_opens_what_was_asked_for_with_a_token(rig: Rig) -> None:
    client = rig.client(**HOW)
    assert rig.ask(client, get("one/~t0k.en/x")) == answer(b"for some")
    assert rig.ask(client, get("one/x")) == answer(b"for all")
    assert rig.ask(client, get("one/~t0k.en/x") * 2) == answer(b"for some") * 2
    assert rig.events == []


def test_a_miss_is_told_under_the_key_without_the_token(rig: Rig) -> None:
    client = rig.client(**HOW)
    rig.ask(client, get("one/~t0k.en/q/y?_HLS_msn=7", "Accept-Encoding: gzip"))
    key = b"G" + PREFIX + b"one/q/y.m4s?_HLS_msn=7"
    assert rig.events == [(ReactorEvent.MISS, key)]
    rig.reactor.release(key.lower(), Blob(HEAD, (b"not this",)))
    rig.reactor.release(b"g" + key[1:], Blob(HEAD, (b"nor this",)))
    assert read(client) == b""
    rig.reactor.put(key, Blob(HEAD, (b"this",)))
    rig.pump()
    assert read(client) == answer(b"this")


@pytest.mark.parametrize(
    "name",
    [
        "one/~t0k.en2/x",
        "one/~t0k.e/x",
        "one/~T0k.en/x",
        "two/~t0k.en/x",
        "on/~t0k.en/x",
        "one2/~t0k.en/x",
        "one~t0k.en/~t0k.en/x",
    ],
)
def test_another_token_or_stream_is_python_s_to_judge(rig: Rig, name: str) -> None:
    assert is_returned(rig, get(name), **HOW)


def test_without_a_pass_every_token_is_python_s_to_judge(rig: Rig) -> None:
    assert is_returned(rig, get("one/~t0k.en/x"))
    assert is_returned(rig, get("one/~t0k.en/x"), pass_token=None, pass_until_ms=UNTIL_MS)
    assert is_returned(rig, get("one/~t0k.en/x"), pass_token=(b"", b""), pass_until_ms=UNTIL_MS)
    assert not is_returned(rig, get("one/x"))


def test_a_pass_is_over_at_its_time(rig: Rig) -> None:
    client = rig.client(tag=5, **HOW)
    rig.now_ms = UNTIL_MS - 1
    assert rig.ask(client, get("one/~t0k.en/x")) == answer(b"for some")
    rig.now_ms = UNTIL_MS
    assert rig.ask(client, get("one/x")) == answer(b"for all")  # which needs none
    rest = get("one/~t0k.en/x") + get("one/x")
    assert rig.ask(client, rest) == b""
    [event] = rig.events
    assert event[0] is ReactorEvent.RETURNED
    assert event[2:] == (rest, 5, None)


def test_who_was_let_in_to_wait_gets_the_answer_after_it_is_over(rig: Rig) -> None:
    client = rig.client(**HOW)
    rig.ask(client, get("one/~t0k.en/later"))
    rig.now_ms = UNTIL_MS + 1
    rig.reactor.put(b"I" + PREFIX + b"one/later.m4s", Blob(HEAD, (b"x",)))
    rig.pump()
    assert read(client) == answer(b"x")


def test_on_a_shared_connection_nobody_s_pass_is_everybody_s(rig: Rig) -> None:
    forwarded = "X-Forwarded-For: 192.0.2.1"
    request = get("one/~t0k.en/x", forwarded)
    assert is_returned(rig, request, is_shared=True, **HOW)
    assert not is_returned(rig, get("one/~t0k.en/x"), is_shared=True, **HOW)
    assert not is_returned(rig, request, **HOW)  # nobody believes it
    assert not is_returned(rig, get("one/x", forwarded), is_shared=True, **HOW)


@pytest.mark.parametrize("token", [(), (b"one",), (b"one", b"t", b"u")])
def test_a_pass_is_a_stream_and_a_token(rig: Rig, token: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="to unpack"):
        rig.client(pass_token=token, pass_until_ms=UNTIL_MS)
    with pytest.raises(TypeError):
        rig.client(pass_token=("one", "t"), pass_until_ms=UNTIL_MS)
    assert rig.reactor.counters.connections == 0
