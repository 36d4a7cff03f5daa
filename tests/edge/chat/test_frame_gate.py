"""Where frames end: against frames written by hand; and the gate, under trio-websocket's eyes."""

import re

import pytest
import trio
import trio.testing
import wsproto
from byte_pieces import single, split
from hypothesis import given, settings
from hypothesis import strategies as st
from ws_frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, client_frame, text

from edge.chat.frame_gate import (
    MAX_NOISE,
    READ_BYTES,
    Frame,
    FrameCutter,
    FrameGate,
    MessageTooBig,
    request_head,
)
from edge.http.messages import Request

MAX = 1000

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
REQUEST = Request(
    "GET",
    "/api/streams/one/chat/ws?secret=1",
    [
        (b"host", b"here:8080"),
        (b"sec-websocket-key", KEY.encode()),
        (b"sec-websocket-extensions", b"permessage-deflate"),
    ],
)

RIGHT = [
    client_frame(TEXT, b"x" * 125),
    client_frame(TEXT, b"x" * 126),
    client_frame(TEXT, b"begin", final=False),
    client_frame(PING, b"y" * 125),
    client_frame(CONTINUATION, b"", final=False),
    client_frame(PONG),
    client_frame(CONTINUATION, b"end"),
    client_frame(TEXT),
    client_frame(BINARY, b"z" * MAX),
    client_frame(CLOSE, b"\x03\xe8bye"),
]

WRONG = {
    "unmasked": client_frame(TEXT, b"x", mask=None),
    "reserved 1": client_frame(TEXT, b"x", reserved=4),
    "reserved 2": client_frame(PING, b"x", reserved=2),
    "reserved 3": client_frame(TEXT, b"x", reserved=1),
    "opcode 3": client_frame(3, b"x"),
    "opcode 11": client_frame(11, b"x"),
    "fragmented ping": client_frame(PING, b"x", final=False),
    "ping of 126": client_frame(PING, b"x" * 126),
    "close in the long form": client_frame(CLOSE, b"\x03\xe8", length_code=127),
}


def cut_all(pieces: list[bytes], *, max_bytes: int = MAX) -> list[Frame]:
    cutter = FrameCutter(max_bytes)
    frames = []
    for piece in pieces:
        cutter.feed(piece)
        while (frame := cutter.cut()) is not None:
            frames.append(frame)
    return frames


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 5000), max_size=30))
def test_frames_are_cut_where_they_end(cuts: list[int]) -> None:
    data = b"".join(RIGHT)
    for pieces in ([data], single(data), split(data, cuts)):
        frames = cut_all(pieces)
        assert [frame.data for frame in frames] == RIGHT
        ends = [index for index, frame in enumerate(frames) if frame.ends_message]
        assert ends == [0, 1, 6, 7, 8]
        assert [frame.is_data for frame in frames].count(False) == 3


def test_it_is_idle_only_when_no_message_is_half_read() -> None:
    cutter = FrameCutter(MAX)
    assert half_read(cutter) == (False, False, True)
    first, last = client_frame(TEXT, b"a", final=False), client_frame(CONTINUATION, b"b")
    cutter.feed(first[:3])
    assert cutter.cut() is None
    assert half_read(cutter) == (True, False, False)
    cutter.feed(first[3:])
    assert cutter.cut() is not None
    assert half_read(cutter) == (False, True, False)
    cutter.feed(last)
    assert cutter.cut() is not None
    assert half_read(cutter) == (False, False, True)


def half_read(cutter: FrameCutter) -> tuple[bool, bool, bool]:
    return cutter.is_within_frame, cutter.is_within_message, cutter.is_idle


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("piecewise", [False, True])
def test_what_cannot_be_right_passes_as_it_is_with_all_behind_it(
    name: str, piecewise: bool
) -> None:
    data = text("right") + WRONG[name] + text("behind")
    first, *others = cut_all(single(data) if piecewise else [data])
    assert first.data == text("right")
    assert not any(frame.ends_message for frame in others)
    assert b"".join(frame.data for frame in others) == WRONG[name] + text("behind")


def test_after_it_nothing_is_idle() -> None:
    cutter = FrameCutter(MAX)
    cutter.feed(client_frame(3))
    assert cutter.cut() is not None
    assert cutter.cut() is None
    assert cutter.is_within_frame
    assert not cutter.is_idle


TOO_BIG = {
    "one frame": client_frame(TEXT, length=MAX + 1),
    "the longest form": client_frame(TEXT, length=(1 << 64) - 1),
    "fragments": client_frame(TEXT, b"x" * MAX, final=False) + client_frame(CONTINUATION, b"x"),
    "many fragments": client_frame(BINARY, b"x", final=False)
    + client_frame(CONTINUATION, b"x", final=False) * MAX,
}


@pytest.mark.parametrize("name", TOO_BIG)
@pytest.mark.parametrize("piecewise", [False, True])
def test_a_message_that_is_too_big_is_known_by_its_header(name: str, piecewise: bool) -> None:
    data = TOO_BIG[name]
    with pytest.raises(MessageTooBig):
        cut_all(single(data) if piecewise else [data])


def test_each_message_has_the_whole_bound() -> None:
    half = client_frame(TEXT, b"x" * (MAX - 1), final=False)
    message = half + client_frame(PING, b"y" * 125) + client_frame(CONTINUATION, b"x")
    assert sum(frame.ends_message for frame in cut_all([message * 3])) == 3


def test_the_rest_is_what_was_not_cut() -> None:
    cutter = FrameCutter(MAX)
    cutter.feed(text("one") + text("two"))
    assert cutter.cut() == Frame(text("one"), is_data=True, is_final=True)
    assert cutter.rest() == text("two")
    assert cutter.rest() == b""


def test_the_request_is_played_back_without_extensions() -> None:
    head = request_head(REQUEST)
    assert b"extensions" not in head.lower()
    assert b"secret" not in head
    server = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    server.receive_data(head)
    (event,) = server.events()
    assert isinstance(event, wsproto.events.Request)
    assert (event.host, event.target) == ("here:8080", "/api/streams/one/chat/ws")
    accepted = server.send(wsproto.events.AcceptConnection())
    assert re.search(rb"(?i)sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=", accepted)


def make_gate(received: bytes = b"") -> tuple[FrameGate, trio.abc.Stream]:
    ours, theirs = trio.testing.memory_stream_pair()
    return FrameGate(ours, received, REQUEST, max_bytes=MAX), theirs


async def receive_head(gate: FrameGate) -> None:
    assert await gate.receive_some() == request_head(REQUEST)


@pytest.mark.parametrize("piecewise", [False, True])
async def test_one_message_passes_for_each_resume(piecewise: bool) -> None:
    gate, peer = make_gate()
    await receive_head(gate)
    data = text("one") + client_frame(PING, b"p") + text("two") + text("three")
    async with trio.open_nursery() as nursery:
        for piece in single(data) if piecewise else [data]:
            await peer.send_all(piece)
        got: list[bytes] = []

        async def receive() -> None:
            while True:
                got.append(await gate.receive_some())

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        assert got == []
        gate.resume()
        await trio.testing.wait_all_tasks_blocked()
        assert got == [text("one")]
        gate.resume()
        await trio.testing.wait_all_tasks_blocked()
        assert got == [text("one"), client_frame(PING, b"p"), text("two")]
        nursery.cancel_scope.cancel()
    stream, rest = gate.detach()
    assert rest + await stream_rest(stream, peer) == text("three")


async def stream_rest(stream: trio.abc.Stream, peer: trio.abc.Stream) -> bytes:
    await peer.aclose()
    got = b""
    while data := await stream.receive_some():
        got += data
    return got


async def test_what_came_with_the_request_comes_first() -> None:
    gate, peer = make_gate(text("early")[:4])
    await receive_head(gate)
    await peer.send_all(text("early")[4:])
    gate.resume()
    assert await gate.receive_some() == text("early")


async def test_a_cancelled_receive_loses_nothing() -> None:
    gate, peer = make_gate()
    await receive_head(gate)
    gate.resume()
    await peer.send_all(text("slow")[:5])
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gate.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await gate.receive_some()
            with pytest.raises(trio.BusyResourceError):
                gate.detach()
            scope.cancel()
    await peer.send_all(text("slow")[5:])
    assert await gate.receive_some() == text("slow")


async def test_it_reads_no_more_than_it_must() -> None:
    gate, peer = make_gate()
    await receive_head(gate)
    gate.resume()
    await peer.send_all(text("x") * READ_BYTES)
    assert await gate.receive_some() == text("x")
    _, rest = gate.detach()
    assert len(rest) <= READ_BYTES


async def test_a_message_that_is_too_big_breaks_the_connection() -> None:
    gate, peer = make_gate()
    await receive_head(gate)
    gate.resume()
    await peer.send_all(TOO_BIG["one frame"])
    with pytest.raises(trio.BrokenResourceError):
        await gate.receive_some()
    assert gate.is_too_big
    assert not gate.has_ended


async def test_noise_is_bounded_over_all_messages() -> None:
    gate, peer = make_gate()
    await receive_head(gate)
    half = MAX_NOISE // 2
    noise = client_frame(PING) * (half - 1) + client_frame(TEXT, final=False)
    await peer.send_all((noise + client_frame(CONTINUATION, b"x")) * 2 + client_frame(PONG))
    for _ in range(2):
        gate.resume()
        for _ in range(half + 1):
            await gate.receive_some()
    gate.resume()
    with pytest.raises(trio.BrokenResourceError):
        await gate.receive_some()
    assert (gate.is_too_noisy, gate.is_too_big, gate.has_ended) == (True, False, False)


async def test_it_knows_that_the_peer_has_ended() -> None:
    gate, peer = make_gate()
    await receive_head(gate)
    gate.resume()
    await peer.aclose()
    assert await gate.receive_some() == b""
    assert gate.has_ended


async def test_it_knows_that_the_connection_is_broken() -> None:
    async def fail() -> None:
        raise trio.BrokenResourceError

    stream, _peer = trio.testing.memory_stream_pair()
    stream.receive_stream.receive_some_hook = fail
    gate = FrameGate(stream, b"", REQUEST, max_bytes=MAX)
    await receive_head(gate)
    gate.resume()
    with pytest.raises(trio.BrokenResourceError):
        await gate.receive_some()
    assert gate.has_ended


async def test_it_knows_what_was_said() -> None:
    gate, peer = make_gate()
    await gate.wait_send_all_might_not_block()
    await gate.send_all(b"\x81\x01x")
    assert (gate.has_said_close, gate.is_cut) == (False, False)
    await gate.send_all(bytearray(b"\x88\x00"))
    assert (gate.has_said_close, gate.is_cut) == (True, False)
    assert await peer.receive_some() == b"\x81\x01x\x88\x00"


async def test_a_cancelled_send_is_the_last() -> None:
    ours, _theirs = trio.testing.lockstep_stream_pair()
    gate = FrameGate(ours, b"", REQUEST, max_bytes=MAX)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gate.send_all, b"\x88\x00")
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert gate.is_cut
    assert not gate.has_said_close


async def test_closing_the_gate_leaves_the_connection() -> None:
    gate, peer = make_gate()
    await receive_head(gate)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(closed, gate)
            await trio.testing.wait_all_tasks_blocked()
            await gate.aclose()
    for call in (gate.receive_some, gate.wait_send_all_might_not_block):
        with pytest.raises(trio.ClosedResourceError):
            await call()
    with pytest.raises(trio.ClosedResourceError):
        await gate.send_all(b"x")
    with pytest.raises(trio.ClosedResourceError):
        gate.detach()
    with trio.move_on_after(0) as scope:
        await peer.receive_some()
    assert scope.cancelled_caught, "nothing came, and no end"


async def closed(gate: FrameGate) -> None:
    with pytest.raises(trio.ClosedResourceError):
        await gate.receive_some()


async def test_closed_while_it_reads() -> None:
    gate, peer = make_gate()
    await receive_head(gate)
    gate.resume()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(closed, gate)
            await trio.testing.wait_all_tasks_blocked()
            await gate.aclose()
            await peer.send_all(b"x")
