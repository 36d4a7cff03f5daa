"""The doorway: joins, refusals, and every way not to come in.

Over pairs of sockets, whose ends the crowd takes, and over memory streams, which are carried.
"""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
import trio
import trio.testing
from byte_pieces import single, split
from certificates import make_pair
from chat_upgrade import FIELDS, TARGET, upgrade
from crowd_rig import PATIENCE_S, CrowdRig, Ear, Peer, crowd_rig, settle, socket_pair
from http_peers import HttpPeer
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from ws_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    ServerFrame,
    client_frame,
    close,
    text,
)

from edge.chat.crowd import CrowdSettings
from edge.chat.doorway import (
    ChatSocketSettings,
    Joined,
    Refused,
    check_upgrade,
    welcome,
)
from edge.chat.frame_gate import MAX_NOISE
from edge.http.connection import HttpConnection
from edge.http.messages import Answer, HandOver, Request
from edge.http.messages import Peer as HttpEnd
from edge.http.response import DateLine
from edge.http.settings import HttpSettings
from edge.http.tls import make_python_context


class Porter:
    """A door that does what the first message says."""

    def __init__(self, rig: CrowdRig) -> None:
        self.ears: list[Ear] = []
        self.asked: list[tuple[str, str, str]] = []
        self._rig = rig

    async def join(self, stream_id: str, text: str, address: str) -> Joined | Refused:
        self.asked.append((stream_id, text, address))
        await trio.lowlevel.checkpoint()
        match text:
            case "no":
                return Refused(payload=b'"no"')
            case "never":
                return Refused(payload=b'"never"', is_final=True)
            case "slow":
                await trio.sleep_forever()
            case "bug":
                raise ZeroDivisionError("a bug")
        ear = Ear(self._rig.crowd)
        self.ears.append(ear)
        return Joined(listener=ear, room=1, greeting=b'"welcome"')


class Visitor(Peer):
    """A client at the door."""

    def __init__(self, stream: trio.abc.Stream, door: Porter) -> None:
        super().__init__(stream)
        self.door = door
        self.is_over = trio.Event()

    async def shake_hands(self) -> dict[str, str]:
        """Read the answer to the upgrade; what is behind it is kept."""
        with trio.fail_after(PATIENCE_S):
            while b"\r\n\r\n" not in self._held:
                data = await self.stream.receive_some()
                assert data, self._held
                self._held += data
        head, _, behind = self._held.partition(b"\r\n\r\n")
        self._held = b""
        self._take(behind)
        status, *lines = head.decode().split("\r\n")
        assert status.split()[1] == "101"
        return {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}

    async def part(self) -> list[ServerFrame]:
        """Read to the end, and leave."""
        frames = await self.to_end()
        await self.stream.aclose()
        with trio.fail_after(PATIENCE_S):
            await self.is_over.wait()
        return frames


Connect = Callable[..., "Visitor"]


@asynccontextmanager
async def doorway(
    *,
    is_carried: bool = False,
    settings: ChatSocketSettings | None = None,
    crowd: CrowdSettings | None = None,
) -> AsyncIterator[tuple[CrowdRig, Connect]]:
    """A crowd and a door; the function connects a visitor, who may have sent bytes already."""
    async with crowd_rig(crowd) as rig, contextlib.AsyncExitStack() as stack:

        def connect(received: bytes = b"", *, streams: object = None) -> Visitor:
            door = Porter(rig)
            if is_carried:
                ours, theirs = streams or trio.testing.memory_stream_pair()  # type: ignore[misc]
            else:
                ours, theirs = socket_pair()
            visitor = Visitor(theirs, door)
            stack.push_async_callback(trio.aclose_forcefully, theirs)

            async def serve() -> None:
                try:
                    await welcome(
                        ours,
                        received,
                        upgrade(),
                        stream_id="one",
                        door=door,
                        crowd=rig.crowd,
                        settings=settings or ChatSocketSettings(),
                    )
                finally:
                    visitor.is_over.set()
                    await trio.aclose_forcefully(ours)  # as the HTTP connection does

            rig.nursery.start_soon(serve)
            return visitor

        yield rig, connect


both_ways = pytest.mark.parametrize("is_carried", [False, True], ids=["adopted", "carried"])


@both_ways
async def test_the_way_in(is_carried: bool) -> None:
    async with doorway(is_carried=is_carried) as (rig, connect):
        visitor = connect()
        fields = await visitor.shake_hands()
        assert fields["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert fields["upgrade"].lower() == "websocket"
        assert "sec-websocket-extensions" not in fields
        await visitor.send(text("join"))
        assert await visitor.texts(1) == [b'"welcome"']
        assert visitor.door.asked == [("one", "join", "")]
        await settle()
        assert visitor.is_over.is_set() != is_carried
        await visitor.send(text("hello"))
        assert await visitor.texts(1) == [b"hello"]
        rig.crowd.broadcast(1, b"all")
        assert await visitor.texts(1) == [b"all"]
        (ear,) = visitor.door.ears
        await visitor.send(close(1000))
        assert await visitor.part() == [ServerFrame(CLOSE, b"\x03\xe8")]
        await ear.is_gone.wait()
        assert ear.reasons == ["closed by the peer with 1000"]


ALL_AT_ONCE = b"".join(
    (
        client_frame(PING, b"early"),
        client_frame(TEXT, b"jo", final=False),
        client_frame(CONTINUATION, b"in"),
        text("one"),
        client_frame(PING, b"late"),
        text("two"),
    )
)


async def come_in(received: bytes, pieces: list[bytes]) -> None:
    async with doorway() as (_, connect):
        visitor = connect(received)
        for piece in pieces:
            await visitor.send(piece)
            await settle()
        await visitor.shake_hands()
        assert await visitor.frames(5) == [
            ServerFrame(PONG, b"early"),
            ServerFrame(TEXT, b'"welcome"'),
            ServerFrame(TEXT, b"one"),
            ServerFrame(PONG, b"late"),
            ServerFrame(TEXT, b"two"),
        ]
        (ear,) = visitor.door.ears
        assert ear.texts == ["one", "two"]


@hypothesis_settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 200), max_size=6), at=st.integers(0, len(ALL_AT_ONCE)))
def test_no_byte_behind_the_join_is_lost(cuts: list[int], at: int) -> None:
    trio.run(come_in, ALL_AT_ONCE[:at], split(ALL_AT_ONCE[at:], cuts))


@pytest.mark.parametrize("pieces", [[ALL_AT_ONCE], single(ALL_AT_ONCE)])
async def test_nor_at_once_nor_byte_by_byte(pieces: list[bytes]) -> None:
    await come_in(b"", pieces)
    await come_in(ALL_AT_ONCE, [])


@both_ways
async def test_who_is_refused_may_try_again(is_carried: bool) -> None:
    async with doorway(is_carried=is_carried) as (_, connect):
        visitor = connect()
        await visitor.shake_hands()
        for _ in range(2):
            await visitor.send(text("no"))
            assert await visitor.texts(1) == [b'"no"']
        await visitor.send(text("join"))
        assert await visitor.texts(1) == [b'"welcome"']


async def test_three_times_at_most() -> None:
    async with doorway() as (_, connect):
        visitor = connect()
        await visitor.send(text("no") * 3 + text("join"))
        await visitor.shake_hands()
        assert await visitor.texts(3) == [b'"no"'] * 3
        assert await visitor.part() == [ServerFrame(CLOSE, b"\x03\xf0refused")]
        assert len(visitor.door.asked) == 3


async def test_some_refusals_are_final() -> None:
    async with doorway() as (_, connect):
        visitor = connect()
        await visitor.send(text("never") + text("join"))
        await visitor.shake_hands()
        assert await visitor.texts(1) == [b'"never"']
        await settle()
        await visitor.send(text("please"))  # while it lingers
        await settle()
        assert [frame.code for frame in await visitor.part()] == [1008]
        assert len(visitor.door.asked) == 1


@pytest.mark.parametrize("said", [b"", text("join")[:3], client_frame(PING), text("slow")])
async def test_who_does_not_join_in_time(
    said: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with doorway(settings=ChatSocketSettings(join_timeout_s=7)) as (_, connect):
        visitor = connect(said)
        await visitor.shake_hands()
        (*_, last) = await visitor.part()
        assert (last.code, last.payload[2:]) == (4001, b"no join in time")
        assert trio.current_time() == pytest.approx(7, abs=0.1)
        assert not visitor.door.ears


FAULTS = {
    "binary": (client_frame(BINARY, b"join"), 1003),
    "too big": (client_frame(TEXT, length=4097), 1009),
    "too big in fragments": (
        client_frame(TEXT, b"x" * 4096, final=False) + client_frame(CONTINUATION, b"x"),
        1009,
    ),
    "no UTF-8": (client_frame(TEXT, b"\xc3\x28"), 1007),
    "not masked": (client_frame(TEXT, b"x", mask=None), 1002),
    "reserved bits": (client_frame(TEXT, b"x", reserved=4), 1002),
    "no opcode": (client_frame(5), 1002),
    "nothing to continue": (client_frame(CONTINUATION, b"x"), 1002),
    "a close of one byte": (client_frame(CLOSE, b"x"), 1002),
}


@both_ways
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_closes_with_its_code(fault: str, is_carried: bool) -> None:
    data, code = FAULTS[fault]
    async with doorway(is_carried=is_carried) as (_, connect):
        visitor = connect()
        await visitor.shake_hands()
        await visitor.send(data)
        if is_carried:
            (last,) = await visitor.frames(1)
        else:
            (last,) = await visitor.part()
        assert last.code == code
        assert not visitor.door.asked


async def test_noise_before_the_join_is_bounded() -> None:
    async with doorway() as (_, connect):
        visitor = connect(client_frame(PING) * (MAX_NOISE + 1) + text("join"))
        await visitor.shake_hands()
        *pongs, last = await visitor.part()
        assert pongs == [ServerFrame(PONG, b"")] * MAX_NOISE
        assert last.code == 4009
        assert not visitor.door.asked


@pytest.mark.parametrize("payload", [b"", b"\x03\xe9", b"\x0f\xa0why"])
async def test_who_leaves_politely_is_answered(payload: bytes) -> None:
    async with doorway() as (_, connect):
        visitor = connect()
        await visitor.shake_hands()
        await visitor.send(client_frame(CLOSE, payload))
        assert await visitor.part() == [ServerFrame(CLOSE, payload)]


@both_ways
@pytest.mark.parametrize("said", [b"", text("join")[:4], text("no")])
async def test_who_just_leaves(said: bytes, is_carried: bool) -> None:
    async with doorway(is_carried=is_carried) as (rig, connect):
        visitor = connect(said)
        await visitor.shake_hands()
        await settle()
        await visitor.stream.aclose()
        with trio.fail_after(PATIENCE_S):
            await visitor.is_over.wait()
        assert len(rig.crowd) == 0


async def test_a_half_closed_visitor_gets_in_and_out() -> None:
    async with doorway() as (_, connect):
        visitor = connect()
        await visitor.send(text("join") + text("last"))
        assert isinstance(visitor.stream, trio.SocketStream)
        await visitor.stream.send_eof()
        await visitor.shake_hands()
        await visitor.part()
        (ear,) = visitor.door.ears
        await ear.is_gone.wait()
        assert (ear.texts, ear.reasons) == (["last"], ["left"])


@pytest.mark.parametrize("where", ["door", "crowd"])
async def test_our_fault_is_logged_and_closes(where: str) -> None:
    with structlog.testing.capture_logs() as logs:
        async with doorway() as (_, connect):
            # The crowd does not take so much at once; no HTTP connection gives it.
            visitor = connect(text("bug") if where == "door" else text("join") + bytes(100_000))
            await visitor.shake_hands()
            if where == "door":
                assert await visitor.part() == [ServerFrame(CLOSE, b"\x03\xf3internal error")]
            else:
                assert await visitor.part() == []
                assert [ear.reasons for ear in visitor.door.ears] == [["not taken"]]
                assert not visitor.door.ears[0].tags
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == [
        "chat connection failed"
    ]


@both_ways
async def test_a_full_crowd(is_carried: bool) -> None:
    async with doorway(is_carried=is_carried, crowd=CrowdSettings(max_members=1)) as (rig, connect):
        rig.join()
        visitor = connect(text("join"))
        await visitor.shake_hands()
        (last,) = await visitor.frames(1)
        assert (last.code, last.payload[2:]) == (1013, b"the chat is full")
        await visitor.stream.aclose()
        await visitor.is_over.wait()
        assert [ear.reasons for ear in visitor.door.ears] == [["not taken"]]


async def test_who_does_not_go_is_left(autojump_clock: trio.testing.MockClock) -> None:
    settings = ChatSocketSettings(linger_timeout_s=3)
    async with doorway(settings=settings) as (_, connect):
        visitor = connect(text("never"))
        await visitor.is_over.wait()
        assert trio.current_time() == pytest.approx(3, abs=0.1)


async def test_who_reads_nothing_is_left(autojump_clock: trio.testing.MockClock) -> None:
    """Cut within a frame, so nothing can be said in the end."""
    settings = ChatSocketSettings(join_timeout_s=7)
    async with doorway(is_carried=True, settings=settings) as (_, connect):
        visitor = connect(text("no"), streams=trio.testing.lockstep_stream_pair())
        await visitor.is_over.wait()
        assert trio.current_time() == pytest.approx(7, abs=0.1)


async def test_who_is_carried_and_reads_nothing(autojump_clock: trio.testing.MockClock) -> None:
    settings = ChatSocketSettings(send_timeout_s=6)
    async with doorway(is_carried=True, settings=settings) as (rig, connect):
        visitor = connect(streams=trio.testing.lockstep_stream_pair())
        await visitor.shake_hands()
        await visitor.send(text("join"))
        began_s = trio.current_time()
        await visitor.is_over.wait()
        assert trio.current_time() - began_s == pytest.approx(6, abs=0.1)
        (ear,) = visitor.door.ears
        await ear.is_gone.wait()
        assert len(rig.crowd) == 0


async def test_who_is_carried_is_closed_with_the_crowds_words() -> None:
    async with doorway(is_carried=True) as (rig, connect):
        visitor = connect(text("join"))
        await visitor.shake_hands()
        assert await visitor.texts(1) == [b'"welcome"']
        rig.crowd.close(visitor.door.ears[0].tags[0], 4003, "banned")
        assert await visitor.part() == [ServerFrame(CLOSE, b"\x0f\xa3banned")]


@pytest.mark.parametrize("said", [b"", text("slow"), text("join")])
async def test_cancelled_at_any_point_nobody_is_forgotten(said: bytes) -> None:
    for steps in range(12):
        async with doorway() as (rig, connect):
            visitor = connect(said)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            rig.nursery.cancel_scope.cancel()
        assert visitor.is_over.is_set()
        for ear in visitor.door.ears:
            assert len(ear.reasons) == 1
            assert (ear.reasons == ["cut"]) == bool(ear.tags)


async def test_from_the_http_connection_to_the_crowd() -> None:
    async with crowd_rig() as rig:
        door = Porter(rig)

        class App:
            def route(self, request: Request) -> Answer:
                check_upgrade(request, allowed_origins=())

                async def take(stream: trio.abc.Stream, received: bytes) -> None:
                    settings = ChatSocketSettings()
                    await welcome(
                        stream,
                        received,
                        request,
                        stream_id="one",
                        door=door,
                        crowd=rig.crowd,
                        settings=settings,
                    )

                return HandOver(take)

        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        client = await trio.open_tcp_stream("127.0.0.1", port)
        server = await listeners[0].accept()
        await listeners[0].aclose()
        connection = HttpConnection(
            server, App(), settings=HttpSettings(), date=DateLine(), peer=HttpEnd("192.0.2.1")
        )
        rig.nursery.start_soon(connection.run)
        answer = await HttpPeer(client).get(TARGET)
        assert (answer.status, answer.fields["upgrade"]) == (426, "websocket")
        assert json.loads(answer.body)["error"]
        visitor = Visitor(client, door)
        head = b"".join(b"%b: %b\r\n" % field for field in FIELDS.items())
        await visitor.send(b"GET %b HTTP/1.1\r\n%b\r\n" % (TARGET.encode(), head) + text("join"))
        await visitor.shake_hands()
        assert await visitor.texts(1) == [b'"welcome"']
        assert door.asked == [("one", "join", "192.0.2.1")]
        await visitor.send(text("hello"))
        assert await visitor.texts(1) == [b"hello"]
        await client.aclose()
        await door.ears[0].is_gone.wait()


async def test_tls_of_python_is_carried(tmp_path: Path) -> None:
    pair = make_pair()
    context = make_python_context(*pair.write(tmp_path))
    async with doorway(is_carried=True) as (rig, connect):
        for said, closes_with in ((text("join"), 4003), (text("never"), 1008)):
            ours, theirs = socket_pair()
            server = trio.SSLStream(ours, context, server_side=True)
            client = trio.SSLStream(theirs, pair.client(), server_hostname="localhost")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.do_handshake)
                await client.do_handshake()
            visitor = connect(said, streams=(server, client))
            await visitor.shake_hands()
            await visitor.texts(1)
            for ear in visitor.door.ears:
                rig.crowd.close(ear.tags[0], closes_with, "banned")
            assert [frame.code for frame in await visitor.frames(1)] == [closes_with]
            await trio.aclose_forcefully(client)
            with trio.fail_after(PATIENCE_S):
                await visitor.is_over.wait()
