"""One line for each request that is wanted, and no secret in it; and what became of requests."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from h2_peer import CANCEL, H2Peer
from hyperframe.frame import RstStreamFrame
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs
from trio.testing import MockClock, memory_stream_pair

from edge.http.access_log import LINES_BURST, LINES_PER_S, AccessLog, Which
from edge.http.connection import HttpConnection
from edge.http.h2_connection import Http2Connection
from edge.http.messages import Answer, Call, HandOver, Hold, HttpError, Peer, Request
from edge.http.response import DateLine, Response, error_response, make_response
from edge.http.served import LEFT, Served
from edge.http.settings import HttpSettings
from edge.table import Gate

TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2ln"


def served(status: int = 200, target: str = "/api/streams/s1/x", **more: Any) -> Served:
    request = Request("GET", target, [(b"authorization", b"Bearer hunter2")], Peer("10.0.0.9"))
    values: dict[str, Any] = {"size_bytes": 10, "took_s": 0.0123, "http": "1.1", "connection": 5}
    return Served(request=request, status=status, **(values | more))


def lines(note: Callable[[], object]) -> list[Any]:
    with capture_logs() as logged:
        note()
    return [entry for entry in logged if entry["event"] == "request"]


async def test_a_line_has_this_and_nothing_else(autojump_clock: MockClock) -> None:
    log = AccessLog("all")
    target = f"/api/streams/s1/~{TOKEN}/master.m3u8?token=secret&_HLS_msn=1"
    (line,) = lines(lambda: log.note(served(target=target, was_held=True)))
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "GET",
        "path": "/api/streams/s1/~/master.m3u8",
        "status": 200,
        "bytes": 10,
        "ms": 12.3,
        "http": "1.1",
        "client": "10.0.0.9",
        "connection": 5,
        "stream": "s1",
        "held": True,
    }


@pytest.mark.parametrize(
    ("which", "drawn", "logged"),
    [
        ("none", 0.0, []),
        ("errors", 0.0, [400, 404, 499, 500]),
        ("sampled", 0.09, [200, 304, 400, 404, 499, 500]),
        ("sampled", 0.1, [400, 404, 499, 500]),
        ("all", 1.0, [200, 304, 400, 404, 499, 500]),
    ],
)
async def test_who_gets_a_line(
    autojump_clock: MockClock, which: Which, drawn: float, logged: list[int]
) -> None:
    log = AccessLog(which, share=0.1, draw=lambda: drawn)

    def note() -> None:
        for status in (200, 304, 400, 404, 499, 500):
            log.note(served(status))

    assert [line["status"] for line in lines(note)] == logged
    assert (log.total, log.errors) == (6, 1)
    assert log.counts["1.1", 404] == 1


async def test_lines_are_bounded_and_those_left_out_are_told(autojump_clock: MockClock) -> None:
    log = AccessLog("all")

    def flood() -> None:
        for _ in range(LINES_BURST + 1000):
            log.note(served())

    assert len(lines(flood)) == LINES_BURST
    await trio.sleep(2 / LINES_PER_S)
    after = lines(flood)
    assert len(after) == 2
    assert after[0]["left_out"] == 1000
    assert "left_out" not in after[1]


async def test_requests_that_are_held_say_nothing_of_time(autojump_clock: MockClock) -> None:
    log = AccessLog()
    log.note(served(took_s=5.0, was_held=True))
    log.note(served(took_s=0.002))
    assert log.took_s.buckets[-1] == ("+Inf", 1.0)
    assert log.took_s.total == 0.002


class App:
    """Answers by path."""

    def __init__(self) -> None:
        self.gate: Gate[str] = Gate({}, "key")
        self.contexts: list[dict[str, Any]] = []
        """What a line of the log would be bound to in handlers."""

    def route(self, request: Request) -> Answer:
        async def think(_request: Request, _body: bytes) -> Response:
            await trio.sleep(0.5)
            self.contexts.append(get_contextvars())
            return make_response(200, (b"thought",))

        async def take(stream: trio.abc.Stream, received: bytes) -> None:
            await stream.send_all(b"yours")

        match request.path:
            case "/plain":
                return make_response(200, (b"hello",))
            case "/call":
                return Call(think)
            case "/hold":
                return Hold(self.gate, 1.0, error_response(503, "late"))
            case "/take":
                return HandOver(take)
            case "/bug":
                raise RuntimeError("a bug")
        raise HttpError(404, "not found")


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("GET /plain HTTP/1.1", (200, 5, 0.0, False)),
        ("HEAD /plain HTTP/1.1", (200, 0, 0.0, False)),
        ("GET /call HTTP/1.1", (200, 7, 0.5, False)),
        ("GET /hold HTTP/1.1", (503, 37, 1.0, True)),
        ("GET /nowhere HTTP/1.1", (404, 39, 0.0, False)),
        ("GET /bug HTTP/1.1", (500, 44, 0.0, False)),
        ("GET /take HTTP/1.1", None),
    ],
)
async def test_a_connection_tells_what_became_of_a_request(
    autojump_clock: MockClock, head: str, told: tuple[int, int, float, bool] | None
) -> None:
    found: list[Served] = []
    ours, theirs = memory_stream_pair()
    app = App()
    connection = HttpConnection(
        theirs, app, settings=HttpSettings(), date=DateLine(), tell=found.append
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await ours.send_all(f"{head}\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        while await ours.receive_some(4096):
            pass
        await ours.aclose()
    if told is None:
        assert found == []
        return
    assert all(context["connection"] == connection.id for context in app.contexts)
    assert len(app.contexts) == ("/call" in head)
    (one,) = found
    assert (one.status, one.size_bytes, one.was_held) == (told[0], told[1], told[3])
    assert one.took_s == pytest.approx(told[2])
    assert (one.http, one.connection) == ("1.1", connection.id)


async def test_who_leaves_is_told_of_and_who_never_asks_is_not(autojump_clock: MockClock) -> None:
    found: list[Served] = []
    for sent in (b"GET /hold HTTP/1.1\r\nHost: test\r\n\r\n", b"GET /ho", b""):
        ours, theirs = memory_stream_pair()
        connection = HttpConnection(
            theirs, App(), settings=HttpSettings(), date=DateLine(), tell=found.append
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            if sent:
                await ours.send_all(sent)
            await trio.testing.wait_all_tasks_blocked()
            await ours.aclose()
    assert [one.status for one in found if one.request.path == "/hold"] == [LEFT]
    assert all(one.status in (LEFT, 400) for one in found)


async def test_over_http2_each_request_is_told_of_once(autojump_clock: MockClock) -> None:
    found: list[Served] = []
    ours, theirs = memory_stream_pair()
    app = App()
    connection = Http2Connection(
        theirs, app, settings=HttpSettings(), date=DateLine(), tell=found.append
    )
    client = H2Peer(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await client.start()
        assert (await client.get("/plain")).status == 200
        assert (await client.get("/plain", method="HEAD")).status == 200
        assert (await client.get("/call")).status == 200
        assert (await client.get("/hold")).status == 503
        assert (await client.get("/bug")).status == 500
        left = await client.ask("/hold")
        await trio.testing.wait_all_tasks_blocked()
        await client.send(RstStreamFrame(left, error_code=CANCEL))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [(one.request.path, one.status, one.size_bytes, one.was_held) for one in found] == [
        ("/plain", 200, 5, False),
        ("/plain", 200, 0, False),
        ("/call", 200, 7, False),
        ("/hold", 503, 37, True),
        ("/bug", 500, 44, False),
        ("/hold", LEFT, 0, True),
    ]
    assert {(one.http, one.connection) for one in found} == {("2", connection.id)}
    assert found[2].took_s == pytest.approx(0.5)
    assert [context["connection"] for context in app.contexts] == [connection.id]
