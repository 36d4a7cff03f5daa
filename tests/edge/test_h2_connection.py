"""One HTTP/2 connection over memory streams: requests, bodies, time-outs."""

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from h2_peer import (
    CANCEL,
    HTTP_1_1_REQUIRED,
    NO_ERROR,
    REFUSED_STREAM,
    H2Peer,
)
from http_peers import dribble, error_of
from hyperframe.frame import (
    DataFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
)

from edge.http.h2_connection import Http2Connection
from edge.http.messages import Answer, Call, Request
from edge.http.response import DateLine, Response, make_response
from edge.http.settings import Http2Settings, HttpSettings

if TYPE_CHECKING:
    from trio.testing import MockClock

    from .conftest import ConnectH2, FakeApp


# --- requests and answers


async def test_requests_on_one_connection(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    client = connect_h2()
    await client.start()
    head = await client.get("/big", method="HEAD")
    assert head.status == 200
    assert head.fields["content-length"] == "300003"
    assert head.fields["date"].endswith("GMT")
    assert head.body == b""
    big = await client.get("/big")
    assert big.body == bytes(300_000) + b"end"
    assert {**big.fields, "date": ""} == {**head.fields, "date": ""}
    small = await client.get("/x?y=1")
    assert small.body == b"GET /x?y=1"
    assert small.fields["access-control-allow-origin"] == "*"
    assert not {"connection", "transfer-encoding"} & set(small.fields)
    assert client.server_settings[0x3] == 100
    assert client.resets == {}  # nobody resets what has ended


async def test_byte_by_byte(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    client = connect_h2()
    dribble(client.stream, client.server_stream)  # type: ignore[arg-type]
    await client.start()
    assert (await client.get("/x")).body == b"GET /x?"
    assert (await client.post("/call", b"hello")).body == b"POST hello"


async def test_a_hundred_requests_at_once(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    client = connect_h2()
    await client.start()
    heads = [client.head(f"/{number}") for number in range(100)]
    await client.send(*heads)
    for number, head in enumerate(heads):
        assert (await client.answer(head.stream_id)).body == b"GET /%d?" % number


async def test_every_answer_is_represented_for_its_request(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    client = connect_h2()
    await client.start()
    part = await client.get("/big", fields={"range": "bytes=299999-300000"})
    assert part.status == 206
    assert part.body == b"\0e"
    assert part.fields["content-range"] == "bytes 299999-300000/300003"


async def test_a_range_that_is_outside_is_416(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    client = connect_h2()
    await client.start()
    assert (await client.get("/big", fields={"range": "bytes=400000-"})).status == 416


async def test_bodies(autojump_clock: "MockClock", connect_h2: "ConnectH2") -> None:
    client = connect_h2()
    await client.start()
    for body in (b"", b"x", bytes(50_000), bytes(64 * 1024)):
        assert (await client.post("/call", body)).body == b"POST " + body
    head = client.head("/call", method="POST")  # ends with its head
    await client.send(head)
    assert (await client.answer(head.stream_id)).body == b"POST "


async def test_trailers_end_a_body_too(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2()
    await client.start()
    head = client.head("/call", method="POST", end=False)
    trailers = HeadersFrame(
        head.stream_id,
        data=client.encoder.encode([("x-sum", "1")]),
        flags=["END_HEADERS", "END_STREAM"],
    )
    await client.send(head, DataFrame(head.stream_id, data=b"body"), trailers)
    assert (await client.answer(head.stream_id)).body == b"POST body"


async def test_who_waits_for_100_continue_gets_it(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2()
    await client.start()
    head = client.head("/call", method="POST", fields={"expect": "100-continue"}, end=False)
    await client.send(head)
    while head.stream_id not in client.heads:
        await client.frame()
    assert client.heads.pop(head.stream_id) == [(":status", "100")]
    await client.send(DataFrame(head.stream_id, data=b"body", flags=["END_STREAM"]))
    assert (await client.answer(head.stream_id)).body == b"POST body"


async def test_a_body_that_nobody_wants_costs_its_stream_only(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2()
    await client.start()
    head = client.head("/x", method="POST", end=False)
    await client.send(head)
    assert (await client.answer(head.stream_id)).status == 200
    assert await client.reset_code(head.stream_id) == NO_ERROR
    assert (await client.get("/x")).status == 200


@pytest.mark.parametrize("declared", [True, False])
async def test_a_large_body_is_413(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", declared: bool
) -> None:
    client = connect_h2(max_body_bytes=10)
    await client.start()
    assert (await client.post("/call", b"0123456789")).status == 200
    fields = {"content-length": "11"} if declared else {}
    head = client.head("/call", method="POST", fields=fields, end=False)
    await client.send(head)
    if not declared:
        await client.send(DataFrame(head.stream_id, data=b"01234567890"))
    answer = await client.answer(head.stream_id)
    assert answer.status == 413
    assert error_of(answer) == "the body is larger than 10 bytes"
    assert (await client.get("/x")).status == 200


async def test_bodies_together_have_a_bound_and_give_it_back(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2(http2=Http2Settings(max_bodies_bytes=30_000))
    await client.start()
    halves = [client.head("/call", method="POST", end=False) for _ in range(3)]
    for half in halves:
        await client.send(half, DataFrame(half.stream_id, data=bytes(10_000)))
    more = client.head("/call", method="POST", end=False)
    await client.send(more, DataFrame(more.stream_id, data=b"x"))
    answer = await client.answer(more.stream_id)
    assert answer.status == 503
    assert answer.fields["retry-after"] == "1"
    await client.send(RstStreamFrame(halves[0].stream_id, error_code=CANCEL))
    for half in halves[1:]:
        await client.send(DataFrame(half.stream_id, data=b"", flags=["END_STREAM"]))
        assert (await client.answer(half.stream_id)).status == 200
    for _ in range(3):
        assert (await client.post("/call", bytes(30_000))).status == 200


async def test_long_targets_are_414(autojump_clock: "MockClock", connect_h2: "ConnectH2") -> None:
    client = connect_h2(max_target_bytes=100)
    await client.start()
    assert (await client.get("/" + "a" * 99)).status == 200
    assert (await client.get("/" + "a" * 100)).status == 414
    assert (await client.get("/x?" + "a" * 100)).status == 414


async def test_a_refusal_by_exception(autojump_clock: "MockClock", connect_h2: "ConnectH2") -> None:
    client = connect_h2()
    await client.start()
    answer = await client.get("/refuse")
    assert (answer.status, answer.fields["retry-after"]) == (409, "3")
    assert answer.body == b'{"error":"no","code":"conflict"}'


@pytest.mark.parametrize("path", ["/bug", "/call-bug"])
async def test_our_bug_is_a_generic_500_and_logged(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", path: str, logged: list[dict[str, Any]]
) -> None:
    client = connect_h2()
    await client.start()
    answer = await client.get(path)
    assert answer.status == 500
    assert answer.body == b'{"error":"internal error","code":"internal"}'
    assert [entry["event"] for entry in logged] == ["request failed"]
    assert logged[0]["connection"] == client.connection.id
    assert logged[0]["path"] == path
    assert logged[0]["exc_info"].args == ("secret-in-the-text",)
    assert (await client.get("/x")).status == 200


async def test_a_hand_over_needs_http_1(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    client = connect_h2()
    await client.start()
    assert await client.reset_code(await client.ask("/take")) == HTTP_1_1_REQUIRED
    assert fake.taken == []
    assert (await client.get("/x")).status == 200


# --- time-outs


async def test_silence_is_ended_with_goaway(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2(head_timeout_s=10, linger_timeout_s=1)
    began = trio.current_time()
    await client.start()
    assert await client.end_code() == NO_ERROR
    assert trio.current_time() - began == pytest.approx(11)

    client = connect_h2(idle_timeout_s=65, linger_timeout_s=1)
    await client.start()
    await client.get("/x")
    began = trio.current_time()
    await client.send(PingFrame(0, opaque_data=b"12345678"))  # a ping asks for nothing
    assert await client.end_code() == NO_ERROR
    assert trio.current_time() - began == pytest.approx(66)


async def test_who_has_waited_long_is_not_idle(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2(idle_timeout_s=5, linger_timeout_s=1)
    await client.start()
    assert (await client.get("/hold")).status == 503  # after six seconds
    began = trio.current_time()
    assert await client.end_code() == NO_ERROR
    assert trio.current_time() - began == pytest.approx(6)


async def test_a_slow_body_is_408(autojump_clock: "MockClock", connect_h2: "ConnectH2") -> None:
    client = connect_h2(body_timeout_s=15)
    await client.start()
    head = client.head("/call", method="POST", end=False)
    await client.send(head, DataFrame(head.stream_id, data=b"ab"))
    began = trio.current_time()
    assert (await client.answer(head.stream_id)).status == 408
    assert trio.current_time() - began == pytest.approx(15)
    assert (await client.get("/x")).status == 200


async def test_a_slow_handler_is_503(autojump_clock: "MockClock", connect_h2: "ConnectH2") -> None:
    client = connect_h2(handler_timeout_s=30)
    await client.start()
    slow = await client.ask("/slow")
    began = trio.current_time()
    assert (await client.get("/x")).status == 200  # meanwhile
    answer = await client.answer(slow)
    assert (answer.status, answer.fields["retry-after"]) == (503, "5")
    assert trio.current_time() - began == pytest.approx(30)


async def test_a_viewer_who_takes_nothing_is_dropped(
    nursery: trio.Nursery, autojump_clock: "MockClock", fake: "FakeApp"
) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    settings = HttpSettings(send_timeout_s=5, min_send_rate_bytes_s=100_000)
    connection = Http2Connection(theirs, fake, settings=settings, date=DateLine())
    done = trio.Event()

    async def serve() -> None:
        await connection.run()
        done.set()

    nursery.start_soon(serve)
    peer = H2Peer(ours)
    await peer.start()
    await peer.frame()
    await peer.send(peer.head("/big"))
    while not any(isinstance(frame, DataFrame) for frame in peer.frames):
        await peer.frame()
    began = trio.current_time()
    await done.wait()
    waited_s = trio.current_time() - began
    assert 5 < waited_s < 5 + 80_000 / 100_000  # one send, of 64 KiB and the frame it ends with


# --- handlers that end otherwise


class CallApp:
    """A handler that cannot be cancelled before `go`; and a quick answer to everything else."""

    def __init__(self) -> None:
        self.go = trio.Event()
        self.running = 0
        self.cancelled = 0

    def route(self, request: Request) -> Answer:
        match request.path:
            case "/stubborn":
                return Call(self.stubborn)
            case "/patient":
                return Call(self.patient)
        return make_response(200, (b"ok",))

    async def stubborn(self, _request: Request, _body: bytes) -> Response:
        self.running += 1
        with trio.CancelScope(shield=True):
            await self.go.wait()
        self.running -= 1
        return make_response(200, (b"done",))

    async def patient(self, _request: Request, _body: bytes) -> Response:
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled += 1
        raise AssertionError


async def test_a_reset_cancels_the_handler(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    app = CallApp()
    client = connect_h2(app)
    await client.start()
    stream_id = await client.ask("/patient")
    await trio.testing.wait_all_tasks_blocked()
    assert app.cancelled == 0
    await client.send(RstStreamFrame(stream_id, error_code=CANCEL))
    await trio.testing.wait_all_tasks_blocked()
    assert app.cancelled == 1
    assert (await client.get("/x")).body == b"ok"


async def test_handlers_that_outlive_their_streams_are_counted(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    app = CallApp()
    client = connect_h2(app, http2=Http2Settings(max_streams=5))
    await client.start()
    for _ in range(5):
        stream_id = await client.ask("/stubborn")
        await trio.testing.wait_all_tasks_blocked()
        await client.send(RstStreamFrame(stream_id, error_code=CANCEL))
    await trio.testing.wait_all_tasks_blocked()
    assert await client.reset_code(await client.ask("/stubborn")) == REFUSED_STREAM
    assert app.running == 5
    assert (await client.get("/x")).body == b"ok"
    app.go.set()
    await trio.testing.wait_all_tasks_blocked()
    assert (await client.get("/stubborn")).body == b"done"
