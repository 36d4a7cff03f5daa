"""The webhook: what it is sent, what each answer means, and that there always is one in time."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from scripted_upstream import Script, ScriptedUpstream
from trio.testing import MockClock

from control.chat_model import ChatMessage, Role
from edge.chat.webhook import (
    MAX_ANSWER_BYTES,
    MAX_CONTENT_CHARS,
    MAX_FAILURES,
    MAX_REASON_CHARS,
    MAX_UNDER_WAY,
    NO_REASON,
    NOT_ASKED,
    PAUSE_S,
    Allow,
    Change,
    Decision,
    Deny,
    Webhook,
)

URL = "http://hook.test/chat?room=1"
TARGET = "/chat?room=1"
NOW_S = 1_800_000_000
MESSAGE = ChatMessage(
    id="",
    stream_id="stream1",
    user_id="ann",
    username="Ann",
    content="h\u00e9llo",
    timestamp=NOW_S * 1000,
    role=Role.MODERATOR,
    stream_time=1.5,
)
ALLOW = b'{"action":"allow"}'
UNANSWERED = Deny(NOT_ASKED)


class Bench:
    """A webhook, and the program that it asks, in memory."""

    def __init__(self, **how: Any) -> None:
        self.server = ScriptedUpstream()
        self.client = httpx.AsyncClient(transport=self.server)
        self.webhook = Webhook(
            URL,
            client=self.client,
            clock_s=lambda: NOW_S + 0.9,
            **({"fails_open": False} | how),
        )
        self.decisions: list[Decision] = []

    def answers(self, body: bytes = ALLOW, **how: Any) -> Script:
        return self.server.put(TARGET, body, **how)

    async def ask(self) -> Decision:
        decision = await self.webhook.ask(MESSAGE)
        self.decisions.append(decision)
        return decision

    async def fail(self, times: int) -> None:
        self.answers(b"", status=500)
        for _ in range(times):
            assert await self.ask() == UNANSWERED


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- what it is sent


async def test_the_message_is_sent_as_everybody_would_see_it(
    autojump_clock: MockClock, bench: Bench
) -> None:
    bench.answers()
    await bench.ask()
    request = bench.server.requests[0]
    assert (request.method, str(request.url)) == ("POST", URL)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert "headrace-signature" not in request.headers
    assert json.loads(request.content) == {
        "id": "",
        "streamId": "stream1",
        "userId": "ann",
        "username": "Ann",
        "content": "h\u00e9llo",
        "timestamp": NOW_S * 1000,
        "role": "moderator",
        "streamTime": 1.5,
    }


async def test_what_is_sent_is_signed_with_the_time(autojump_clock: MockClock) -> None:
    bench = Bench(secret=b"shared")
    bench.answers()
    await bench.ask()
    request = bench.server.requests[0]
    signed = f"{NOW_S}.".encode() + request.content
    digest = hmac.new(b"shared", signed, hashlib.sha256).hexdigest()
    assert request.headers["headrace-signature"] == f"t={NOW_S},v1={digest}"
    assert "shared" not in repr(bench.webhook)


# -- what each answer means


@pytest.mark.parametrize(
    ("answer", "decision"),
    [
        ({"action": "allow"}, Allow()),
        ({"action": "allow", "content": "x", "more": [1]}, Allow()),
        ({"action": "change", "content": " new\u202e\n "}, Change("new")),
        ({"action": "change", "content": "x" * MAX_CONTENT_CHARS}, Change("x" * 500)),
        ({"action": "deny"}, Deny(NO_REASON)),
        ({"action": "deny", "reason": None}, Deny(NO_REASON)),
        ({"action": "deny", "reason": " \u200b\n"}, Deny(NO_REASON)),
        ({"action": "deny", "reason": "not\nhere\u0000"}, Deny("not here")),
        ({"action": "deny", "reason": "x" * 1000}, Deny("x" * MAX_REASON_CHARS)),
    ],
)
@pytest.mark.parametrize("fails_open", [True, False])
async def test_answers(
    autojump_clock: MockClock,
    answer: dict[str, Any],
    decision: Decision,
    fails_open: bool,
) -> None:
    bench = Bench(fails_open=fails_open)
    bench.answers(json.dumps(answer).encode(), pieces=3)
    assert await bench.ask() == decision
    assert bench.webhook.statistics() == (1, 0, 0)


@pytest.mark.parametrize(
    "script",
    [
        Script(b""),
        Script(b"{"),
        Script(b"[]"),
        Script(b"\xff"),
        Script(b"[" * 10_000),
        Script(b"{}"),
        Script(b'{"action":"eat"}'),
        Script(b'{"action":"deny","reason":5}'),
        Script(b'{"action":"change"}'),
        Script(b'{"action":"change","content":" \\u202e "}'),
        Script(b'{"action":"change","content":"%s"}' % (b"x" * (MAX_CONTENT_CHARS + 1))),
        Script(ALLOW + b" " * (MAX_ANSWER_BYTES - len(ALLOW) + 1), pieces=3),
        Script(ALLOW, status=500),
        Script(ALLOW, status=404),
        Script(ALLOW, status=302, fields={"Location": "/elsewhere"}),
        Script(error=httpx.ConnectError("refused")),
        Script(error=httpx.ReadError("reset")),
        Script(error=httpx.RemoteProtocolError("what?")),
    ],
    ids=lambda script: f"{script.status}-{script.body[:32]!r}-{script.error!r}",
)
@pytest.mark.parametrize("fails_open", [True, False])
async def test_what_is_no_answer_is_what_the_operator_chose(
    autojump_clock: MockClock, script: Script, fails_open: bool
) -> None:
    bench = Bench(fails_open=fails_open)
    bench.server.scripts[TARGET] = script
    bench.server.put("/elsewhere", ALLOW)
    assert await bench.ask() == (Allow() if fails_open else UNANSWERED)
    assert bench.webhook.statistics() == (1, 1, 0)
    assert bench.server.asked == [TARGET]


async def test_the_longest_answer_is_read(autojump_clock: MockClock, bench: Bench) -> None:
    bench.answers(b" " * (MAX_ANSWER_BYTES - len(ALLOW)) + ALLOW, pieces=3)
    assert await bench.ask() == Allow()


@pytest.mark.parametrize(("fails_open", "decision"), [(True, Allow()), (False, UNANSWERED)])
async def test_an_answer_that_is_late_is_none(
    autojump_clock: MockClock, fails_open: bool, decision: Decision
) -> None:
    bench = Bench(fails_open=fails_open, timeout_s=0.25)
    bench.answers(after=trio.Event())
    began_s = trio.current_time()
    assert await bench.ask() == decision
    assert trio.current_time() - began_s == pytest.approx(0.25)
    assert bench.server.under_way[TARGET] == 0


# -- how many, and for how long in vain


async def test_so_many_are_asked_at_one_time(
    autojump_clock: MockClock, bench: Bench, nursery: trio.Nursery
) -> None:
    held = bench.answers(after=trio.Event())
    for _ in range(MAX_UNDER_WAY):
        nursery.start_soon(bench.ask)
    await trio.testing.wait_all_tasks_blocked()
    assert bench.server.under_way[TARGET] == MAX_UNDER_WAY
    assert await bench.ask() == UNANSWERED
    assert bench.webhook.statistics() == (MAX_UNDER_WAY, 0, 1)
    assert held.after is not None
    held.after.set()
    await trio.testing.wait_all_tasks_blocked()
    assert bench.decisions == [UNANSWERED, *[Allow()] * MAX_UNDER_WAY]
    assert await bench.ask() == Allow()


async def test_one_that_fails_is_left_alone_then_tried_with_one(
    autojump_clock: MockClock, bench: Bench, nursery: trio.Nursery
) -> None:
    await bench.fail(MAX_FAILURES)
    held = bench.answers(after=trio.Event())
    await trio.sleep(PAUSE_S - 0.01)
    assert await bench.ask() == UNANSWERED
    assert len(bench.server.asked) == MAX_FAILURES
    await trio.sleep(0.02)
    nursery.start_soon(bench.ask)
    await trio.testing.wait_all_tasks_blocked()
    assert await bench.ask() == UNANSWERED  # not asked while one is
    assert len(bench.server.asked) == MAX_FAILURES + 1
    assert held.after is not None
    held.after.set()
    await trio.testing.wait_all_tasks_blocked()
    assert await bench.ask() == Allow()
    assert bench.webhook.statistics() == (MAX_FAILURES + 2, MAX_FAILURES, 2)


async def test_one_that_fails_again_is_left_alone_again(
    autojump_clock: MockClock, bench: Bench
) -> None:
    await bench.fail(MAX_FAILURES)
    await trio.sleep(PAUSE_S)
    await bench.fail(3)
    assert len(bench.server.asked) == MAX_FAILURES + 1
    await trio.sleep(PAUSE_S)
    bench.answers()
    assert await bench.ask() == Allow()


async def test_failures_count_in_a_row(autojump_clock: MockClock, bench: Bench) -> None:
    for _ in range(3):
        await bench.fail(MAX_FAILURES - 1)
        bench.answers()
        assert await bench.ask() == Allow()
    assert bench.webhook.statistics().not_asked == 0


async def test_a_question_that_is_given_up_counts_for_nothing(
    autojump_clock: MockClock, bench: Bench
) -> None:
    bench.answers(after=trio.Event())
    for _ in range(MAX_FAILURES + MAX_UNDER_WAY):
        with trio.move_on_after(0.1) as scope:
            await bench.ask()
        assert scope.cancelled_caught
    bench.answers()
    assert await bench.ask() == Allow()
    assert bench.webhook.statistics().failed == 0


async def test_it_is_logged_once_that_it_is_gone_and_back(
    autojump_clock: MockClock, bench: Bench, log_lines: list[dict[str, Any]]
) -> None:
    await bench.fail(MAX_FAILURES)
    await trio.sleep(PAUSE_S)
    await bench.fail(1)
    await trio.sleep(PAUSE_S)
    bench.answers()
    await bench.ask()
    await bench.ask()
    assert [(line["log_level"], line["event"]) for line in log_lines] == [
        ("warning", "chat webhook does not answer"),
        ("info", "chat webhook is back"),
    ]
    assert log_lines[0]["reason"] == "status 500"
    assert "hook.test" not in str(log_lines)


@pytest.fixture
def log_lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []

    class Log:
        def __getattr__(self, level: str) -> Any:
            return lambda event, **fields: lines.append(
                {"log_level": level, "event": event, **fields}
            )

    monkeypatch.setattr("edge.chat.webhook.log", Log())
    return lines


# -- its address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hook",
        "ftp://hook",
        "//hook/x",
        "http://",
        "http:///x",
        "http://hook:x",
        "http://h\x00ook",
        "https:x",
    ],
)
async def test_what_is_no_address(url: str) -> None:
    async with httpx.AsyncClient(transport=ScriptedUpstream()) as client:
        with pytest.raises(ValueError, match=r"not a URL|must be http") as caught:
            Webhook(url, client=client, fails_open=True)
    assert "hook" not in str(caught.value)


async def test_closing_closes_the_connections(autojump_clock: MockClock, bench: Bench) -> None:
    await bench.webhook.aclose()
    assert bench.server.closed == 1


# -- over real sockets


@asynccontextmanager
async def program(*pieces: bytes) -> AsyncIterator[str]:
    """Answer each connection with these, then send no more and keep it open."""

    async def serve(stream: trio.SocketStream) -> None:
        while b'"timestamp"' not in await stream.receive_some():
            pass
        for piece in pieces:
            await stream.send_all(piece)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
        nursery.cancel_scope.cancel()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "decision"),
    [
        ([HEAD % len(ALLOW), ALLOW], Allow()),
        ([HEAD % len(ALLOW), *(ALLOW[at : at + 1] for at in range(len(ALLOW)))], Allow()),
        ([HEAD % (len(ALLOW) + 1), ALLOW], UNANSWERED),
        ([b"HTTP/1.1 200 OK\r\n"], UNANSWERED),
        ([], UNANSWERED),
        ([b"\x16\x03\x01\x00\x00"], UNANSWERED),
    ],
)
async def test_over_a_socket_there_is_an_answer_in_time(
    pieces: list[bytes], decision: Decision
) -> None:
    with trio.fail_after(5.0):
        async with program(*pieces) as url, httpx.AsyncClient(trust_env=False) as client:
            timeout_s = 4.0 if decision == Allow() else 0.2
            hook = Webhook(url, client=client, fails_open=False, timeout_s=timeout_s)
            assert await hook.ask(MESSAGE) == decision


async def test_nobody_listens() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    async with httpx.AsyncClient(trust_env=False) as client:
        hook = Webhook(f"http://127.0.0.1:{port}/", client=client, fails_open=False, timeout_s=4.0)
        assert await hook.ask(MESSAGE) == UNANSWERED
