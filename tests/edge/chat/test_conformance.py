"""WebSocket as others understand it: the `websockets` client, and a table of frames by hand.

The whole way over TCP: HTTP connection, doorway, crowd. The server says everything back. Each row
of the table is sent whole, byte by byte and split at random. Spec: RFC 6455; the rows follow the
sections of the Autobahn test suite.
"""

import random
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio
from byte_pieces import single, split
from certificates import make_pair
from crowd_rig import PATIENCE_S, Ear, Peer, settle
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
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

from edge.chat.crowd import Crowd
from edge.chat.doorway import (
    ChatSocketSettings,
    Joined,
    Refused,
    check_upgrade,
    welcome,
)
from edge.http.messages import Answer, HandOver, Request
from edge.http.server import serve_http
from edge.http.tls import Certificate

TARGET = "/api/streams/one/chat/ws"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ORIGIN = "https://friend.example"


class EchoServer:
    """A chat in which everybody hears only what they say."""

    def __init__(self) -> None:
        self.crowd = Crowd()
        self.ears: list[Ear] = []
        self.port = 0

    def route(self, request: Request) -> Answer:
        check_upgrade(request, allowed_origins=[ORIGIN])
        return HandOver(partial(self._take, request))

    async def join(self, stream_id: str, text: str, address: str) -> Joined | Refused:
        await trio.lowlevel.checkpoint()
        if text != "join":
            return Refused(payload=b"join first")
        self.ears.append(Ear(self.crowd))
        return Joined(listener=self.ears[-1], room=1, greeting=b"welcome")

    async def _take(self, request: Request, stream: trio.abc.Stream, received: bytes) -> None:
        await welcome(
            stream,
            received,
            request,
            stream_id="one",
            door=self,
            crowd=self.crowd,
            settings=ChatSocketSettings(),
        )


@asynccontextmanager
async def serving(certificate: Certificate | None = None) -> AsyncIterator[EchoServer]:
    server = EchoServer()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server.port = listeners[0].socket.getsockname()[1]
    with trio.fail_after(2 * PATIENCE_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.crowd.run)
            serve = (
                partial(serve_http, listeners, server)
                if certificate is None
                else partial(
                    serve_http,
                    (),
                    server,
                    tls_listeners=listeners,
                    tls_context=certificate.context,
                )
            )
            await nursery.start(serve)
            yield server
            nursery.cancel_scope.cancel()


# -- the client of `websockets`


async def run_client(
    server: EchoServer,
    talk: Callable[[ClientConnection], None],
    *,
    trust: ssl.SSLContext | None = None,
    origin: str | None = None,
    compression: str | None = "deflate",
) -> None:
    scheme, host = ("ws", "127.0.0.1") if trust is None else ("wss", "localhost")

    def run() -> None:
        with connect(
            f"{scheme}://{host}:{server.port}{TARGET}",
            ssl=trust,
            origin=origin,  # type: ignore[arg-type]
            compression=compression,
            proxy=None,
            close_timeout=PATIENCE_S,
        ) as connection:
            connection.send("join")
            assert connection.recv(PATIENCE_S) == "welcome"
            talk(connection)

    await trio.to_thread.run_sync(run)


def echoes(connection: ClientConnection) -> None:
    assert connection.protocol.extensions == [], "the client has offered permessage-deflate"
    for size in (0, 1, 125, 126, 4000):
        connection.send("x" * size)
        assert connection.recv(PATIENCE_S) == "x" * size
    connection.send(iter(["frag", "", "men", "ted \N{GRINNING FACE}"]))
    assert connection.recv(PATIENCE_S) == "fragmented \N{GRINNING FACE}"
    assert connection.ping(b"x" * 125).wait(PATIENCE_S)
    connection.pong(b"unasked")
    assert connection.ping().wait(PATIENCE_S)
    connection.close(4321, "enough")
    assert connection.close_code == 4321
    assert connection.close_reason == "enough"


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_a_client_is_echoed(compression: str | None) -> None:
    async with serving() as server:
        await run_client(server, echoes, compression=compression, origin=ORIGIN)
        await server.ears[0].is_gone.wait()
        assert server.ears[0].reasons == ["closed by the peer with 4321"]


async def test_a_client_over_tls(tmp_path: Path) -> None:
    pair = make_pair()
    async with serving(Certificate(*pair.write(tmp_path))) as server:
        await run_client(server, echoes, trust=pair.client())
        await server.ears[0].is_gone.wait()


async def test_a_client_is_closed() -> None:
    def talk(connection: ClientConnection) -> None:
        connection.send("hello")
        assert connection.recv(PATIENCE_S) == "hello"
        trio.from_thread.run_sync(server.crowd.broadcast, 1, b"last")
        trio.from_thread.run_sync(server.crowd.close, server.ears[0].tags[0], 4003, "banned")
        assert connection.recv(PATIENCE_S) == "last"
        with pytest.raises(ConnectionClosed) as caught:
            connection.recv(PATIENCE_S)
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4003, "banned")
        assert caught.value.sent is not None, "it has answered"

    async with serving() as server:
        await run_client(server, talk)


@pytest.mark.parametrize(
    ("message", "code"), [(b"binary", 1003), ("x" * 4097, 1009), (["x" * 4096, "y"], 1009)]
)
async def test_a_clients_fault(message: bytes | str | list[str], code: int) -> None:
    def talk(connection: ClientConnection) -> None:
        connection.send(message)
        with pytest.raises(ConnectionClosed) as caught:
            connection.recv(PATIENCE_S)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == code

    async with serving() as server:
        await run_client(server, talk)


async def test_a_client_from_a_strange_page() -> None:
    async with serving() as server:
        with pytest.raises(InvalidStatus) as caught:
            await run_client(server, echoes, origin="https://evil.example")
        assert caught.value.response.status_code == 403


# -- frames by hand


@dataclass(frozen=True, slots=True)
class Row:
    """What is sent, what comes back, and with which code the server closes; None: it does not."""

    sent: bytes
    answers: tuple[ServerFrame, ...] = ()
    code: int | None = None


def fragments(*pieces: bytes, opcode: int = TEXT) -> bytes:
    """One message in so many frames."""
    last = len(pieces) - 1
    return b"".join(
        client_frame(CONTINUATION if place else opcode, piece, final=place == last)
        for place, piece in enumerate(pieces)
    )


def echo(payload: bytes) -> ServerFrame:
    return ServerFrame(TEXT, payload)


EURO = "\N{EURO SIGN}".encode()

TABLE = {
    "empty text": Row(text(""), (echo(b""),)),
    "text of 125": Row(client_frame(TEXT, b"x" * 125), (echo(b"x" * 125),)),
    "text of 126": Row(client_frame(TEXT, b"x" * 126), (echo(b"x" * 126),)),
    "the largest text": Row(client_frame(TEXT, b"x" * 4096), (echo(b"x" * 4096),)),
    "no mask to speak of": Row(client_frame(TEXT, b"x", mask=bytes(4)), (echo(b"x"),)),
    "two texts": Row(text("a") + text("b"), (echo(b"a"), echo(b"b"))),
    "fragments": Row(fragments(b"He", b"", b"llo"), (echo(b"Hello"),)),
    "empty fragments": Row(fragments(b"", b"", b""), (echo(b""),)),
    "a ping between fragments": Row(
        client_frame(TEXT, b"a", final=False)
        + client_frame(PING, b"p")
        + fragments(b"b", opcode=CONTINUATION),
        (ServerFrame(PONG, b"p"), echo(b"ab")),
    ),
    "a close between fragments": Row(
        client_frame(TEXT, b"a", final=False) + close(1000), code=1000
    ),
    "fragments cut a character": Row(fragments(EURO[:1], EURO[1:2], EURO[2:]), (echo(EURO),)),
    "empty ping": Row(client_frame(PING), (ServerFrame(PONG, b""),)),
    "ping of 125": Row(client_frame(PING, b"\xff" * 125), (ServerFrame(PONG, b"\xff" * 125),)),
    "ping of 126": Row(client_frame(PING, b"x" * 126), code=1002),
    "ping in fragments": Row(client_frame(PING, b"x", final=False), code=1002),
    "unasked pong": Row(client_frame(PONG, b"x") + text("on"), (echo(b"on"),)),
    "unasked empty pong": Row(client_frame(PONG) + text("on"), (echo(b"on"),)),
    "too big": Row(client_frame(TEXT, b"x" * 4097), code=1009),
    "too big by its header": Row(client_frame(TEXT, length=1 << 40), code=1009),
    "too big in fragments": Row(fragments(b"x" * 2000, b"y" * 2000, b"z" * 97), code=1009),
    "not masked": Row(client_frame(TEXT, b"hello", mask=None), code=1002),
    "not masked ping": Row(client_frame(PING, mask=None), code=1002),
    "the first reserved bit": Row(client_frame(TEXT, b"x", reserved=4), code=1002),
    "the second": Row(client_frame(TEXT, b"x", reserved=2), code=1002),
    "the third, of a ping": Row(client_frame(PING, b"x", reserved=1), code=1002),
    "a short length in the long form": Row(client_frame(TEXT, b"x", length_code=126), code=1002),
    "and in the longest": Row(client_frame(TEXT, b"x" * 200, length_code=127), code=1002),
    "nothing to continue": Row(fragments(b"x", opcode=CONTINUATION), code=1002),
    "a text within a text": Row(client_frame(TEXT, b"a", final=False) + text("b"), code=1002),
    "binary": Row(client_frame(BINARY, b"x"), code=1003),
    "no UTF-8": Row(client_frame(TEXT, b"\xce\xba\xff"), code=1007),
    "half a character": Row(client_frame(TEXT, EURO[:2]), code=1007),
    "a surrogate": Row(client_frame(TEXT, b"\xed\xa0\x80"), code=1007),
    "no UTF-8 across fragments": Row(fragments(EURO[:2], b"("), code=1007),
    "empty close": Row(client_frame(CLOSE), (ServerFrame(CLOSE, b""),), code=-1),
    "close of one byte": Row(client_frame(CLOSE, b"\x03"), code=1002),
    "close of 125": Row(close(1000, b"x" * 123), code=1000),
    "close of 126": Row(close(1000, b"x" * 124), code=1002),
    "a reason that is no UTF-8": Row(close(1000, b"\xce\xff"), code=1007),
    "text behind a close": Row(text("a") + close(1000) + text("b"), (echo(b"a"),), code=1000),
}
TABLE |= {f"opcode {n}": Row(client_frame(n, b"x"), code=1002) for n in (3, 7, 11, 15)}
TABLE |= {
    f"close {code}": Row(close(code, b"why"), code=code)
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
}
TABLE |= {
    f"bad close {code}": Row(close(code), code=1002)
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
}


def cuttings(data: bytes) -> Iterator[list[bytes]]:
    """The same bytes whole, byte by byte, and at random in a way that is always the same."""
    yield [data]
    if len(data) < 300:
        yield single(data)
    chance = random.Random(len(data))
    for _ in range(3):
        yield split(data, [chance.randrange(len(data) + 1) for _ in range(6)])


async def open_by_hand(port: int, behind: bytes = b"") -> Peer:
    """Connect, shake hands and join, with bytes sent right behind that."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    head = (
        f"GET {TARGET} HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
    await stream.send_all(head.encode() + text("join") + behind)
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        byte = await stream.receive_some(1)
        assert byte, got
        got += byte
    assert got.startswith(b"HTTP/1.1 101 ")
    return Peer(stream)


@pytest.mark.parametrize("name", TABLE)
async def test_by_hand(name: str) -> None:
    row = TABLE[name]
    async with serving() as server:
        for pieces in cuttings(row.sent):
            peer = await open_by_hand(server.port)
            assert await peer.texts(1) == [b"welcome"]
            await say(peer, pieces)
            await check_answers(peer, row)
        peer = await open_by_hand(server.port, row.sent)
        assert await peer.texts(1) == [b"welcome"]
        await check_answers(peer, row)


async def say(peer: Peer, pieces: list[bytes]) -> None:
    for piece in pieces:
        try:
            await peer.send(piece)
        except trio.BrokenResourceError:
            return  # closed by the server already, which the answers say
        await settle()


async def check_answers(peer: Peer, row: Row) -> None:
    if row.code is None:
        assert await peer.frames(len(row.answers)) == list(row.answers)
        await peer.send(close(1000))
        assert await peer.to_end() == [ServerFrame(CLOSE, b"\x03\xe8")]
    elif row.code < 0:
        assert await peer.to_end() == list(row.answers)
    else:
        *answers, last = await peer.to_end()
        assert answers == list(row.answers)
        assert (last.opcode, last.code) == (CLOSE, row.code)
    await peer.stream.aclose()


async def test_a_half_closed_peer_is_gone() -> None:
    async with serving() as server:
        peer = await open_by_hand(server.port, client_frame(TEXT, b"half", final=False))
        assert await peer.texts(1) == [b"welcome"]
        assert isinstance(peer.stream, trio.SocketStream)
        await peer.stream.send_eof()
        assert await peer.to_end() == []
        await server.ears[0].is_gone.wait()
        assert (server.ears[0].texts, server.ears[0].reasons) == ([], ["left"])
        await peer.stream.aclose()


async def test_faults_of_one_are_nobody_elses() -> None:
    async with serving() as server:
        good = await open_by_hand(server.port)
        assert await good.texts(1) == [b"welcome"]
        for name in ("not masked", "too big", "no UTF-8", "close of one byte"):
            bad = await open_by_hand(server.port, TABLE[name].sent)
            await bad.to_end()
            await bad.stream.aclose()
            await good.send(text(name))
            assert await good.texts(1) == [name.encode()]
        await good.stream.aclose()
