"""Streams of an HTTP/2 connection: held requests, windows, and whose turn it is."""

import contextlib
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from h2_peer import CANCEL, ENHANCE_YOUR_CALM, H2Peer
from http_peers import MemoryStream
from hyperframe.frame import (
    DataFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from edge.http.h2_meter import MAX_FRAME_BYTES
from edge.http.h2_streams import SendQueue, Stream, urgency
from edge.http.messages import Answer, Request
from edge.http.response import Response, error_response, make_response
from edge.http.settings import Http2Settings

if TYPE_CHECKING:
    from trio.testing import MockClock

    from .conftest import ConnectH2, FakeApp

INITIAL_WINDOW, MAX_FRAME = 0x4, 0x5
INITIAL_BYTES = 65_535
PLAYLIST_TYPE = "application/vnd.apple.mpegurl"


# --- held requests


async def test_held_requests_are_answered_when_their_gate_opens(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    clients = [connect_h2() for _ in range(3)]
    streams = []
    for client in clients:
        await client.start()
        streams.append([await client.ask("/hold") for _ in range(20)])
    await trio.testing.wait_all_tasks_blocked()
    assert fake.gate().waiting == 60
    assert (await clients[0].get("/x")).status == 200  # they are in nobody's way
    began = trio.current_time()
    fake.open_gate()
    for client, held in zip(clients, streams, strict=True):
        for stream_id in held:
            assert (await client.answer(stream_id)).body == b"opened"
    assert trio.current_time() == began
    assert fake.table.waiting == 0


async def test_a_held_request_is_no_task(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    client = connect_h2()
    await client.start()
    await client.get("/x")
    tasks = trio.lowlevel.current_statistics().tasks_living
    await client.send(*[client.head("/hold") for _ in range(100)])
    await trio.testing.wait_all_tasks_blocked()
    assert fake.gate().waiting == 100
    assert trio.lowlevel.current_statistics().tasks_living == tasks


async def test_held_requests_are_not_held_for_ever(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    client = connect_h2()
    await client.start()
    began = trio.current_time()
    first = await client.ask("/hold")
    await trio.sleep(2)
    second = await client.ask("/hold")
    for stream_id, after_s in ((first, 6), (second, 8)):
        assert (await client.answer(stream_id)).status == 503
        assert trio.current_time() - began == pytest.approx(after_s)
    assert fake.table.waiting == 0
    assert (await client.get("/x")).status == 200


async def test_a_reset_leaves_the_gate_at_once(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    client = connect_h2()
    await client.start()
    first, second = await client.ask("/hold"), await client.ask("/hold")
    await trio.testing.wait_all_tasks_blocked()
    await client.send(RstStreamFrame(first, error_code=CANCEL))
    await trio.testing.wait_all_tasks_blocked()
    assert fake.gate().waiting == 1
    fake.open_gate()
    assert (await client.answer(second)).body == b"opened"
    assert first not in client.heads


async def test_a_reset_right_behind_its_request(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    client = connect_h2()
    await client.start()
    for path in ("/hold", "/x", "/big", "/call", "/take"):
        head = client.head(path)
        await client.send(head, RstStreamFrame(head.stream_id, error_code=CANCEL))
        await trio.testing.wait_all_tasks_blocked()
    assert fake.table.waiting == 0
    assert (await client.get("/x")).status == 200
    assert list(client.heads) == [11]


async def test_a_gate_that_opens_while_its_request_is_reset(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    """Both while the sender is busy with something else."""
    client = connect_h2()
    await client.start()
    reset, kept = await client.ask("/hold"), await client.ask("/hold")
    await _settle(client)
    gate = _Gate(client.server_stream)
    await client.ask("/x")
    await trio.testing.wait_all_tasks_blocked()
    fake.open_gate()
    await client.send(RstStreamFrame(reset, error_code=CANCEL))
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(2):
        await gate.let_one_through()
    assert (await client.answer(kept)).body == b"opened"
    assert reset not in client.heads


async def test_a_gate_that_opened_before_its_request_was_parked(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    gate = fake.gate()
    fake.open_gate()
    fake.gate = lambda: gate  # type: ignore[method-assign]
    client = connect_h2()
    await client.start()
    assert (await client.get("/hold")).body == b"opened"


async def test_head_is_held_too(
    autojump_clock: "MockClock", connect_h2: "ConnectH2", fake: "FakeApp"
) -> None:
    client = connect_h2()
    await client.start()
    stream_id = await client.ask("/hold", method="HEAD")
    await trio.testing.wait_all_tasks_blocked()
    fake.open_gate()
    answer = await client.answer(stream_id)
    assert (answer.fields["content-length"], answer.body) == ("6", b"")


# --- windows


async def test_nothing_is_sent_past_a_window(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2(opens_windows=False)
    await client.start({INITIAL_WINDOW: 1000, MAX_FRAME: 2**20})
    big = await client.ask("/big")
    await _settle(client)
    assert len(client.bodies[big]) == 1000
    await client.send(WindowUpdateFrame(big, window_increment=1))
    await _settle(client)
    assert len(client.bodies[big]) == 1001
    await client.send(SettingsFrame(0, settings={INITIAL_WINDOW: 400_000}))
    await _settle(client)
    assert len(client.bodies[big]) == INITIAL_BYTES  # the connection's window
    await client.send(WindowUpdateFrame(0, window_increment=400_000))
    assert len((await client.answer(big)).body) == 300_003
    assert max(len(frame.data) for frame in _data(client)) == MAX_FRAME_BYTES


async def test_what_needs_no_window_goes_past_who_waits_for_one(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2(opens_windows=False)
    await client.start()
    await client.ask("/big")
    await _settle(client)  # the connection's window is used up
    assert (await client.get("/big", method="HEAD")).status == 200
    small = await client.ask("/x")
    await _settle(client)
    assert small in client.heads
    assert small not in client.ended
    await client.send(WindowUpdateFrame(0, window_increment=100))
    assert (await client.answer(small)).status == 200


async def test_a_window_that_stays_closed_costs_the_stream(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2(send_timeout_s=5, min_send_rate_bytes_s=100_000)
    await client.start({INITIAL_WINDOW: 0})
    began = trio.current_time()
    big = await client.ask("/big")
    assert await client.reset_code(big) == CANCEL
    assert trio.current_time() - began == pytest.approx(5 + 3.00003)
    assert client.connection._queue._blocked == {}
    assert (await client.get("/x", method="HEAD")).status == 200
    await client.send(WindowUpdateFrame(big, window_increment=1))  # too late, and no error
    await client.send(SettingsFrame(0, settings={INITIAL_WINDOW: 1000}))
    assert (await client.get("/x")).status == 200


async def test_a_window_of_the_connection_that_stays_closed_costs_all_of_them(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2(opens_windows=False, send_timeout_s=5, min_send_rate_bytes_s=1_000_000)
    await client.start()
    streams = [await client.ask("/big") for _ in range(10)]
    for stream_id in streams:
        assert await client.reset_code(stream_id) == CANCEL
    assert (await client.get("/x", method="HEAD")).status == 200


async def test_a_window_that_is_too_large_ends_the_connection(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2()
    await client.start()
    await client.send(WindowUpdateFrame(0, window_increment=2**31 - 1))
    assert await client.end_code() == 3  # FLOW_CONTROL_ERROR


async def test_a_client_may_open_its_windows_for_all_that_it_gets(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2(http2=Http2Settings(noise_burst=100, noise_per_s=0))
    await client.start()
    for _ in range(5):
        assert len((await client.get("/big")).body) == 300_003
    assert len(_data(client)) * 2 > 150


async def test_a_transfer_in_single_bytes_is_ended(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    """Data dribble, CVE-2019-9511."""
    client = connect_h2(opens_windows=False)
    await client.start({INITIAL_WINDOW: 0})
    big = await client.ask("/big")
    sent = 0
    while client.goaway is None:
        await client.send(WindowUpdateFrame(big, window_increment=1))
        sent += 1
        assert sent < 2000
        await _settle(client)
    assert client.goaway.error_code == ENHANCE_YOUR_CALM
    assert len(client.bodies[big]) > 900


# --- turns


def _stream(stream_id: int, response: Response, priority: str | None = None) -> Stream:
    fields = [] if priority is None else [(b"priority", priority.encode())]
    stream = Stream(stream_id, Request("GET", "/", fields), lambda _stream: None)
    stream.begin(response)
    return stream


PLAYLIST = make_response(200, (bytes(5000),), content_type=PLAYLIST_TYPE)
LONG_PLAYLIST = make_response(200, (bytes(50_000),), content_type=PLAYLIST_TYPE)
PART = make_response(200, (bytes(10_000),), content_type="video/mp4")
SEGMENT = make_response(200, (bytes(1_000_000),), content_type="video/mp4")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((PLAYLIST, None), (PART, None)),
        ((LONG_PLAYLIST, None), (PART, None)),
        ((PART, None), (SEGMENT, None)),
        ((PLAYLIST, "u=1, i"), (SEGMENT, "u=1, i")),  # Chromium calls all of them equal
        ((SEGMENT, "u=2"), (PLAYLIST, "u=3")),
        ((error_response(404, "no"), None), (PART, None)),
        ((make_response(304), None), (SEGMENT, None)),
    ],
)
def test_whose_turn_comes_first(
    first: tuple[Response, str | None], second: tuple[Response, str | None]
) -> None:
    one, other = _stream(1, *first), _stream(3, *second)
    for order in ((one, other), (other, one)):
        queue = SendQueue()
        for stream in order:
            queue.push(stream)
        assert queue.pop() is one
        assert queue.pop() is other
        assert queue.pop() is None


def test_equals_take_turns() -> None:
    queue = SendQueue()
    streams = [_stream(number, SEGMENT) for number in (1, 3, 5)]
    for stream in streams:
        queue.push(stream)
    served = []
    for _ in range(9):
        turn = queue.pop()
        assert turn is not None
        served.append(turn.id)
        queue.push(turn)
    assert served == [1, 3, 5] * 3


def test_who_was_set_aside_comes_back_once() -> None:
    queue = SendQueue()
    one, other = _stream(1, SEGMENT), _stream(3, SEGMENT)
    for stream in (one, other):
        queue.block(stream)
    assert queue.pop() is None
    queue.unblock(3)
    queue.unblock(3)
    queue.unblock(99)
    assert queue.pop() is other
    assert queue.pop() is None
    queue.block(other)
    queue.forget(other.id)
    queue.unblock_all()
    assert queue.pop() is one
    assert queue.pop() is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("u=0", 0),
        ("u=7, i", 7),
        ("i, u=5", 5),
        ("i,u=5", 5),
        ("i", 3),
        ("", 3),
        ("u=8", 3),
        ("u=15", 3),
        ("u=1.5", 3),
        ("nu=1", 3),
        ("u=\xff", 3),
    ],
)
def test_the_priority_field(field: str, value: int) -> None:
    for response in (PLAYLIST, SEGMENT):
        request = Request("GET", "/", [(b"priority", field.encode("latin-1"))])
        assert urgency(request, response) == value


def test_a_body_is_cut_without_copies() -> None:
    chunks = (b"", b"abcde", b"", b"fg", memoryview(b"hij")[1:])
    stream = _stream(1, make_response(200, chunks))
    pieces = []
    while stream.left_bytes:
        pieces.append(stream.take(3))
    assert pieces == [b"abc", b"de", b"fg", b"ij"]
    assert pieces[0].obj is chunks[1]


class LoadApp:
    """A playlist and segments."""

    def route(self, request: Request) -> Answer:
        return PLAYLIST if request.path == "/playlist" else SEGMENT


async def test_a_playlist_overtakes_segments(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    """Twenty segments under way, as fast as the connection takes them: one send is in between."""
    client = connect_h2(LoadApp(), opens_windows=False)
    gate = _Gate(client.server_stream)
    await client.start({INITIAL_WINDOW: 2**31 - 1})
    await client.send(WindowUpdateFrame(0, window_increment=2**30))
    for _ in range(20):
        await client.ask("/segment")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_read_on, client)
        for _ in range(10):
            await gate.let_one_through()
        playlist = await client.ask("/playlist", fields={"priority": "u=3"})
        await trio.testing.wait_all_tasks_blocked()
        before = len(client.frames)
        for _ in range(2):
            await gate.let_one_through()
        nursery.cancel_scope.cancel()
    assert playlist in client.ended
    data = [frame.stream_id for frame in client.frames[before:] if isinstance(frame, DataFrame)]
    assert data.index(playlist) <= 4  # what was handed over when it came
    counts = [data.count(stream_id) for stream_id in set(data) - {playlist}]
    assert max(counts) == 1  # and the others take turns


async def test_priorities_of_rfc_7540_are_not_looked_at(
    autojump_clock: "MockClock", connect_h2: "ConnectH2"
) -> None:
    client = connect_h2()
    await client.start()
    await client.send(PriorityFrame(3, depends_on=1, stream_weight=255, exclusive=True))
    head = client.head("/x")
    head.flags.add("PRIORITY")
    head.depends_on, head.stream_weight = 9, 5
    await client.send(head)
    assert (await client.answer(head.stream_id)).status == 200


class _Gate:
    """Lets the sends of one end of a memory stream happen one by one."""

    def __init__(self, stream: MemoryStream) -> None:
        self._send, self._receive = trio.open_memory_channel[None](0)
        self._deliver = stream.send_stream.send_all_hook
        stream.send_stream.send_all_hook = self._wait

    async def _wait(self) -> None:
        await self._receive.receive()
        assert self._deliver is not None
        await self._deliver()

    async def let_one_through(self) -> None:
        await self._send.send(None)
        await trio.testing.wait_all_tasks_blocked()


async def _read_on(client: H2Peer) -> None:
    while True:
        await client.frame()


async def _settle(client: H2Peer) -> None:
    """Read all that comes without anything more being sent."""
    with trio.move_on_after(0.001), contextlib.suppress(EOFError):  # of a clock that jumps
        await _read_on(client)


def _data(client: H2Peer) -> list[DataFrame]:
    return [frame for frame in client.frames if isinstance(frame, DataFrame)]
