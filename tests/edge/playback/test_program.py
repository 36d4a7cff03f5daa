"""The program that is asked: what it is sent, what answers mean, that silence lets nobody in."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trio
from scripted_upstream import Script, ScriptedUpstream
from structlog.testing import capture_logs
from trio.testing import MockClock

from edge.playback import program as programs
from edge.playback.program import (
    MAX_ANSWER_BYTES,
    MAX_FAILURES,
    MAX_REASON_CHARS,
    MAX_UNDER_WAY,
    NO_REASON,
    PAUSE_S,
    TIMEOUT_S,
    Allow,
    Deny,
    NoVerdict,
    Programs,
    Question,
    check_url,
)

URL = "http://shop.test/may?x=1"
TARGET = "/may?x=1"
NOW_S = 1_800_000_000
SECRET = b"whsec_test"
ALLOW = b'{"action":"allow"}'


def question(stream_id: str = "stream1") -> Question:
    return Question(stream_id=stream_id, credential="ticket-5", address="192.0.2.7")


class Bench:
    def __init__(self) -> None:
        self.server = ScriptedUpstream()
        client = httpx.AsyncClient(transport=self.server)
        self.programs = Programs(client, clock=lambda: NOW_S + 0.9)

    def answers(self, body: bytes = ALLOW, **how: Any) -> Script:
        return self.server.put(TARGET, body, **how)

    async def ask(self, stream_id: str = "stream1") -> Allow | Deny:
        return await self.programs.ask(URL, SECRET, question(stream_id))

    async def fail(self, times: int) -> None:
        self.answers(b"", status=500)
        for _ in range(times):
            with pytest.raises(NoVerdict):
                await self.ask()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.programs.aclose()


async def test_what_it_is_sent(bench: Bench) -> None:
    bench.answers()
    assert await bench.ask() == Allow()
    (request,) = bench.server.requests
    body = await request.aread()
    assert json.loads(body) == {
        "streamId": "stream1",
        "credential": "ticket-5",
        "address": "192.0.2.7",
    }
    digest = hmac.new(SECRET, b"%d." % NOW_S + body, hashlib.sha256).hexdigest()
    assert request.headers["headrace-signature"] == f"t={NOW_S},v1={digest}"
    assert (request.method, request.headers["content-type"]) == ("POST", "application/json")


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (ALLOW, Allow()),
        (b'{"action":"allow","lifetimeS":60,"net":"192.0.2.9/24"}', Allow(60, "192.0.2.0/24")),
        (b'{"action":"allow","net":"address","more":1}', Allow(None, "address")),
        (b'{"action":"deny"}', Deny(NO_REASON)),
        (b'{"action":"deny","reason":" no\\n\\u0007ticket "}', Deny("no ticket")),
        (b'{"action":"deny","reason":"' + b"x" * 500 + b'"}', Deny("x" * MAX_REASON_CHARS)),
    ],
)
async def test_what_an_answer_means(bench: Bench, answer: bytes, verdict: object) -> None:
    bench.answers(answer)
    assert await bench.ask() == verdict


@pytest.mark.parametrize(
    "how",
    [
        {"body": b""},
        {"body": b"{}"},
        {"body": b'{"action":"maybe"}'},
        {"body": b'{"action":"allow","lifetimeS":0}'},
        {"body": b'{"action":"allow","lifetimeS":86401}'},
        {"body": b'{"action":"allow","net":"home"}'},
        {"body": b"\xff"},
        {"body": b"[" * 9000},
        {"body": ALLOW + b" " * MAX_ANSWER_BYTES},
        {"body": ALLOW, "status": 500},
        {"body": ALLOW, "status": 302, "fields": {"Location": "http://elsewhere.test/"}},
        {"body": ALLOW, "error": httpx.ConnectError("refused")},
        {"body": ALLOW, "error": httpx.ReadError("cut")},
    ],
)
async def test_what_is_no_answer_lets_nobody_in(bench: Bench, how: dict[str, Any]) -> None:
    bench.answers(**how)
    with pytest.raises(NoVerdict) as silence:
        await bench.ask()
    assert "shop.test" not in str(silence.value)
    assert len(bench.server.requests) == 1


async def test_it_has_so_long(bench: Bench, autojump_clock: MockClock) -> None:
    bench.answers(after=trio.Event())
    began_s = trio.current_time()
    with pytest.raises(NoVerdict, match="in time"):
        await bench.ask()
    assert trio.current_time() - began_s == pytest.approx(TIMEOUT_S)


async def test_one_that_is_down_is_left_alone_for_a_while(
    bench: Bench, autojump_clock: MockClock
) -> None:
    with capture_logs() as lines:
        await bench.fail(MAX_FAILURES + 3)
        assert len(bench.server.requests) == MAX_FAILURES
        bench.answers()
        await trio.sleep(PAUSE_S)
        assert await bench.ask() == Allow()
        assert await bench.ask() == Allow()
    assert [line["event"] for line in lines] == [
        "playback webhook does not answer",
        "playback webhook is back",
    ]
    assert "shop.test" not in repr(lines)
    assert "ticket-5" not in repr(lines)


async def test_while_it_is_tried_again_nobody_else_asks(
    bench: Bench, autojump_clock: MockClock
) -> None:
    await bench.fail(MAX_FAILURES)
    await trio.sleep(PAUSE_S)
    bench.answers(after=(answer := trio.Event()))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.ask)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(NoVerdict, match="not asked"):
            await bench.ask()
        answer.set()


async def test_one_streams_program_is_not_anothers(bench: Bench) -> None:
    await bench.fail(MAX_FAILURES)
    bench.answers()
    assert await bench.ask("stream2") == Allow()


async def test_another_address_is_another_program(bench: Bench) -> None:
    await bench.fail(MAX_FAILURES)
    bench.server.put("/new", ALLOW)
    assert await bench.programs.ask("http://new.test/new", SECRET, question()) == Allow()


async def test_so_many_are_asked_at_one_time(bench: Bench) -> None:
    bench.answers(after=(answer := trio.Event()))
    async with trio.open_nursery() as nursery:
        for _ in range(MAX_UNDER_WAY):
            nursery.start_soon(bench.ask)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(NoVerdict, match="not asked"):
            await bench.ask()
        nursery.start_soon(bench.ask, "stream2")
        await trio.testing.wait_all_tasks_blocked()
        assert bench.server.under_way[TARGET] == MAX_UNDER_WAY + 1
        answer.set()


async def test_so_many_of_all(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "MAX_ALL_UNDER_WAY", 2)
    bench.answers(after=(answer := trio.Event()))
    async with trio.open_nursery() as nursery:
        for stream_id in ("stream1", "stream2"):
            nursery.start_soon(bench.ask, stream_id)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(NoVerdict, match="not asked"):
            await bench.ask("stream3")
        answer.set()


async def test_a_question_that_is_given_up_counts_for_nothing(bench: Bench) -> None:
    bench.answers(after=trio.Event())
    for _ in range(MAX_UNDER_WAY + MAX_FAILURES):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bench.ask)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
    bench.answers()
    assert await bench.ask() == Allow()


async def test_so_many_are_remembered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "MAX_PROGRAMS", 3)
    bench.answers()
    for number in range(5):
        await bench.ask(f"stream{number}")
    assert len(bench.programs) == 3


@pytest.mark.parametrize("url", ["https://shop.test", "http://10.0.0.1:8000/may?stream=1"])
def test_what_may_be_asked(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop",
        "ftp://shop.test",
        "http://",
        "http://u:p@shop.test",
        "http://h/#x",
        "http://[::1",
    ],
)
def test_what_may_not(url: str) -> None:
    with pytest.raises(ValueError, match=r"^webhookUrl: "):
        check_url(url)


def test_a_question_does_not_show_the_credential() -> None:
    assert "ticket" not in repr(question())
