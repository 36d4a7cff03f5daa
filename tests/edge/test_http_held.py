"""One connection over memory streams: held requests, our own faults, hand-over, the end."""

import contextlib
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from http_peers import HttpPeer

from edge.http.connection import HttpConnection
from edge.http.response import DateLine
from edge.http.settings import HttpSettings

if TYPE_CHECKING:
    from trio.testing import MockClock

    from .conftest import Connect, FakeApp


GET = "GET {} HTTP/1.1\r\nHost: test\r\n\r\n"


async def test_a_held_request_is_answered_when_its_gate_opens(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    clients = [connect(fake) for _ in range(5)]
    for client in clients:
        await client.send(GET.format("/hold"))
    await trio.testing.wait_all_tasks_blocked()
    assert fake.gate().waiting == 5
    began = trio.current_time()
    fake.open_gate()
    for client in clients:
        assert (await client.answer()).body == b"opened"
        assert (await client.get("/x")).status == 200
    assert trio.current_time() == began
    assert fake.table.waiting == 0


async def test_a_held_request_is_not_held_for_ever(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake)
    began = trio.current_time()
    answer = await client.get("/hold")
    assert answer.status == 503
    assert trio.current_time() - began == pytest.approx(6)
    assert fake.table.waiting == 0
    assert (await client.get("/x")).status == 200


@pytest.mark.parametrize("pipelined", ["", GET.format("/x"), "GET /x HT"])
async def test_a_client_that_leaves_while_held_leaves_nothing(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp", pipelined: str
) -> None:
    client = connect(fake)
    await client.send(GET.format("/hold") + pipelined)
    await trio.testing.wait_all_tasks_blocked()
    assert fake.gate().waiting == 1
    began = trio.current_time()
    await client.stream.aclose()
    await client.done.wait()
    assert trio.current_time() == began
    assert fake.table.waiting == 0
    assert fake.seen == ["GET /hold"]


async def test_read_ahead_while_held_is_bounded(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake, max_pipelined_bytes=100)
    await client.send(GET.format("/hold"))
    await trio.testing.wait_all_tasks_blocked()
    flood = GET.format("/x") * 50
    await client.send(flood)
    await trio.testing.wait_all_tasks_blocked()
    assert len(client.connection.detach()[1]) == 100
    fake.open_gate()
    assert (await client.answer()).body == b"opened"
    for _ in range(50):
        assert (await client.answer()).body == b"GET /x?"


async def test_head_is_held_too(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake)
    await client.send("HEAD /hold HTTP/1.1\r\nHost: test\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()
    fake.open_gate()
    answer = await client.answer(head_only=True)
    assert answer.fields["content-length"] == "6"
    assert (await client.get("/x")).status == 200


# --- faults of ours


@pytest.mark.parametrize("path", ["/bug", "/call-bug"])
async def test_our_bug_is_a_generic_500_and_logged(
    autojump_clock: "MockClock",
    connect: "Connect",
    fake: "FakeApp",
    path: str,
    logged: list[dict[str, Any]],
) -> None:
    client = connect(fake)
    answer = await client.get(path)
    assert answer.status == 500
    assert answer.body == b'{"error":"internal error","code":"internal"}'
    assert [entry["event"] for entry in logged] == ["request failed"]
    assert logged[0]["connection"] == client.connection.id
    assert logged[0]["path"] == path
    assert (await client.get("/x")).status == 200


async def test_a_refusal_by_exception(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake)
    answer = await client.get("/refuse")
    assert answer.status == 409
    assert answer.fields["retry-after"] == "3"
    assert answer.body == b'{"error":"no","code":"conflict"}'


async def test_a_broken_stream_is_not_an_error(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp", logged: list[dict[str, Any]]
) -> None:
    client = connect(fake)
    client.server_stream.send_stream.send_all_hook = _broken
    await client.send(GET.format("/x"))
    await client.done.wait()
    assert [entry["log_level"] for entry in logged] == ["debug"]


async def test_an_unexpected_fault_of_the_stream_ends_that_connection_only(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp", logged: list[dict[str, Any]]
) -> None:
    client = connect(fake)
    client.server_stream.send_stream.send_all_hook = _bug
    await client.send(GET.format("/x"))
    await client.done.wait()
    assert [entry["event"] for entry in logged] == ["http connection failed"]


async def _broken() -> None:
    raise trio.BrokenResourceError("reset")


async def _bug() -> None:
    raise RuntimeError("a bug")


# --- hand-over


async def test_hand_over_with_the_bytes_already_read(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake)
    await client.send(GET.format("/x") + GET.format("/take") + "\x81\x00binary")
    assert (await client.answer()).body == b"GET /x?"
    await fake.left.wait()
    assert fake.taken == [b"\x81\x00binary"]
    await client.done.wait()
    assert bytes(await client.stream.receive_some()) == b"taken"


async def test_a_connection_goes_on_where_another_reader_left_it(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake, received=(GET.format("/1") + "GET /2 HTTP/1.1\r\nHo").encode())
    assert (await client.answer()).body == b"GET /1?"
    await client.send("st: test\r\n\r\n" + GET.format("/3"))
    assert (await client.answer()).body == b"GET /2?"
    assert (await client.answer()).body == b"GET /3?"


async def test_out_and_back_in_again(
    fake: "FakeApp",
    make_fake: "Callable[[], FakeApp]",
    nursery: trio.Nursery,
    autojump_clock: "MockClock",
) -> None:
    """What a native reactor does with a request that it does not understand."""
    ours, theirs = trio.testing.memory_stream_pair()

    async def take(stream: trio.abc.Stream, received: bytes) -> None:
        second = HttpConnection(
            stream, make_fake(), settings=HttpSettings(), date=DateLine(), received=received
        )
        await second.run()

    fake.take = take  # type: ignore[method-assign]
    first = HttpConnection(theirs, fake, settings=HttpSettings(), date=DateLine())
    nursery.start_soon(first.run)
    peer = HttpPeer(ours)
    await peer.send(GET.format("/take") + GET.format("/after") + "GET /la")
    assert (await peer.answer()).body == b"GET /after?"
    await peer.send("ter HTTP/1.1\r\nHost: test\r\n\r\n")
    assert (await peer.answer()).body == b"GET /later?"


# --- drain and cancellation


async def test_drain_ends_idle_held_and_busy_connections(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    idle, held, half = connect(fake), connect(fake), connect(fake)
    await idle.get("/x")
    await held.send(GET.format("/hold") + GET.format("/never"))
    await half.send("GET /x HTTP/1.1\r\n")
    await trio.testing.wait_all_tasks_blocked()
    began = trio.current_time()
    for client in (idle, held, half):
        client.connection.drain()
    assert await idle.closed()
    answer = await held.answer()
    assert answer.status == 503
    assert answer.fields["connection"] == "close"
    assert await held.closed()
    await half.send("Host: test\r\n\r\n")  # begun before: served, and then closed
    assert (await half.answer()).fields["connection"] == "close"
    assert await half.closed()
    assert trio.current_time() == began
    assert "GET /never" not in fake.seen


async def test_a_request_that_would_be_held_during_drain_is_not(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    client = connect(fake)
    await client.send("GET /hold HTTP/1.1\r\n")
    await trio.testing.wait_all_tasks_blocked()
    client.connection.drain()
    began = trio.current_time()
    await client.send("Host: test\r\n\r\n")
    assert (await client.answer()).status == 503
    assert trio.current_time() == began


async def test_a_gate_that_opened_before_its_request_was_parked(
    autojump_clock: "MockClock", connect: "Connect", fake: "FakeApp"
) -> None:
    gate = fake.gate()
    fake.open_gate()
    fake.gate = lambda: gate  # type: ignore[method-assign]
    assert (await connect(fake).get("/hold")).body == b"opened"


async def _exchange(peer: HttpPeer, fake: "FakeApp") -> None:
    """Touch every kind of answer once."""
    await peer.get("/x")
    await peer.post("/call", b"body")
    await peer.send(GET.format("/hold"))
    await trio.testing.wait_all_tasks_blocked()
    fake.open_gate()
    await peer.answer()
    await peer.get("/big")
    await peer.get("/bug")


async def test_cancelled_at_any_checkpoint_nothing_remains(
    make_fake: "Callable[[], FakeApp]", autojump_clock: "MockClock", logged: list[dict[str, Any]]
) -> None:
    async def attempt(checkpoints: int) -> bool:
        """Cancel the connection at its n-th checkpoint; say whether it came so far."""
        fake = make_fake()
        ours, theirs = trio.testing.memory_stream_pair()
        connection = HttpConnection(theirs, fake, settings=HttpSettings(), date=DateLine())
        scope = trio.CancelScope()
        counter = _CancelAt(checkpoints, scope)
        peer = HttpPeer(ours)
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                with scope:
                    counter.task = trio.lowlevel.current_task()
                    await connection.run()
                nursery.cancel_scope.cancel()

            async def drive() -> None:
                await _exchange(peer, fake)
                await ours.aclose()

            trio.lowlevel.add_instrument(counter)
            try:
                nursery.start_soon(serve)
                await _suppress_lost(drive)
                await trio.sleep(math.inf)  # until `serve` cancels
            finally:
                trio.lowlevel.remove_instrument(counter)
        assert fake.table.waiting == 0
        with pytest.raises(trio.ClosedResourceError):
            await theirs.receive_some()
        return counter.left < 0

    checkpoints = 0
    while await attempt(checkpoints):
        checkpoints += 1
    assert checkpoints > 10


async def _suppress_lost(run: Callable[[], Awaitable[None]]) -> None:
    with contextlib.suppress(EOFError, trio.BrokenResourceError):
        await run()


class _CancelAt(trio.abc.Instrument):
    """Cancel a scope just before a task's n-th step."""

    def __init__(self, steps: int, scope: trio.CancelScope) -> None:
        self.left = steps
        self.task: trio.lowlevel.Task | None = None
        self._scope = scope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == -1:
                self._scope.cancel()
