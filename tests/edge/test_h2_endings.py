"""One HTTP/2 connection over memory streams: how it ends, from either side and at any moment."""

import math
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from h2_peer import (
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    H2Peer,
)
from hyperframe.frame import (
    GoAwayFrame,
    WindowUpdateFrame,
)

from edge.http.h2_connection import Http2Connection
from edge.http.response import DateLine
from edge.http.settings import HttpSettings

if TYPE_CHECKING:
    from trio.testing import MockClock

    from .conftest import ConnectH2, FakeApp


async def test_drain_finishes_what_it_can(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    client = connect_h2(opens_windows=False)
    await client.start()
    held, big = await client.ask("/hold"), await client.ask("/big")
    await trio.testing.wait_all_tasks_blocked()
    began = trio.current_time()
    client.connection.drain()
    client.connection.drain()  # twice is no error
    late = await client.ask("/late")
    assert await client.reset_code(late) == REFUSED_STREAM
    assert client.goaway is not None
    assert (client.goaway.error_code, client.goaway.last_stream_id) == (NO_ERROR, big)
    await client.send(*_windows(big, 400_000))
    assert (await client.answer(held)).status == 503
    assert fake.table.waiting == 0
    assert len((await client.answer(big)).body) == 300_003
    assert await client.end_code() == NO_ERROR
    assert trio.current_time() - began <= HttpSettings().linger_timeout_s
    assert "GET /late" not in fake.seen


async def test_drain_of_an_idle_connection(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2()
    await client.start()
    await client.get("/x")
    began = trio.current_time()
    client.connection.drain()
    await client.frame()
    assert client.goaway is not None
    await client.stream.aclose()  # as a client does then
    await client.done.wait()
    assert trio.current_time() == began


async def test_a_client_that_says_goodbye_gets_its_answers(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    client = connect_h2()
    await client.start()
    held = await client.ask("/hold")
    await client.send(GoAwayFrame(0, last_stream_id=0, error_code=NO_ERROR))
    await trio.testing.wait_all_tasks_blocked()
    fake.open_gate()
    assert (await client.answer(held)).body == b"opened"
    with pytest.raises(EOFError):
        await client.frame()


async def test_a_client_that_gives_up_is_let_go(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    client = connect_h2()
    await client.start()
    await client.ask("/hold")
    await client.send(GoAwayFrame(0, last_stream_id=0, error_code=PROTOCOL_ERROR))
    await client.done.wait()
    assert fake.table.waiting == 0


async def test_a_client_that_leaves_leaves_nothing(
    autojump_clock: "MockClock",
    connect_h2: "ConnectH2",
    fake: "FakeApp",
    logged: list[dict[str, Any]],
) -> None:
    client = connect_h2()
    await client.start()
    await client.send(client.head("/hold"), client.head("/slow"), client.head("/big"))
    await trio.testing.wait_all_tasks_blocked()
    assert fake.table.waiting == 1
    began = trio.current_time()
    await client.stream.aclose()
    await client.done.wait()
    assert trio.current_time() == began
    assert fake.table.waiting == 0
    assert [(entry["log_level"], entry["event"]) for entry in logged] == [
        ("debug", "http connection lost")
    ]


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (trio.BrokenResourceError("reset"), "http connection lost"),
        (RuntimeError("a bug"), "http connection failed"),
    ],
)
async def test_a_fault_of_the_stream_ends_that_connection_only(
    autojump_clock: "MockClock",
    connect_h2: "ConnectH2",
    fake: "FakeApp",
    logged: list[dict[str, Any]],
    error: Exception,
    event: str,
) -> None:
    client = connect_h2()
    await client.start()
    await client.ask("/hold")
    await trio.testing.wait_all_tasks_blocked()

    async def fail() -> None:
        raise error

    client.server_stream.send_stream.send_all_hook = fail
    await client.ask("/x")
    await client.done.wait()
    assert [entry["event"] for entry in logged] == [event]
    assert fake.table.waiting == 0


async def _exchange(peer: H2Peer, fake: "FakeApp") -> None:
    """Touch every kind of answer once."""
    await peer.start()
    await peer.get("/x")
    await peer.post("/call", b"body")
    held = await peer.ask("/hold")
    await trio.testing.wait_all_tasks_blocked()
    fake.open_gate()
    await peer.answer(held)
    await peer.get("/big")
    await peer.get("/bug")
    await peer.ask("/hold")
    await peer.ask("/slow")
    await peer.get("/y")


async def test_cancelled_at_any_checkpoint_nothing_remains(
    autojump_clock: "MockClock", logged: list[dict[str, Any]], make_fake: Any
) -> None:
    async def attempt(steps: int) -> bool:
        """Cancel at the n-th step of any task of the connection; say whether it came so far."""
        fake = make_fake()
        ours, theirs = trio.testing.memory_stream_pair()
        connection = Http2Connection(theirs, fake, settings=HttpSettings(), date=DateLine())
        scope = trio.CancelScope()
        counter = _CancelAt(steps, scope)
        peer = H2Peer(ours)
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                with scope:
                    counter.root = trio.lowlevel.current_task()
                    await connection.run()
                nursery.cancel_scope.cancel()

            trio.lowlevel.add_instrument(counter)
            try:
                nursery.start_soon(serve)
                try:
                    await _exchange(peer, fake)
                    await ours.aclose()
                except (EOFError, trio.BrokenResourceError):
                    pass
                await trio.sleep(math.inf)  # until `serve` cancels
            finally:
                trio.lowlevel.remove_instrument(counter)
        assert fake.table.waiting == 0
        with pytest.raises(trio.ClosedResourceError):
            await theirs.receive_some()
        return counter.left < 0

    steps = 0
    while await attempt(steps):
        steps += 1
    assert steps > 20


class _CancelAt(trio.abc.Instrument):
    """Cancel a scope just before the n-th step of a task or one of its children."""

    def __init__(self, steps: int, scope: trio.CancelScope) -> None:
        self.left = steps
        self.root: trio.lowlevel.Task | None = None
        self._scope = scope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.root is None:
            return
        parent = task.parent_nursery.parent_task if task.parent_nursery else None
        if task is self.root or parent is self.root:
            self.left -= 1
            if self.left == -1:
                self._scope.cancel()


def _windows(stream_id: int, size: int) -> list[Any]:
    return [
        WindowUpdateFrame(0, window_increment=size),
        WindowUpdateFrame(stream_id, window_increment=size),
    ]
