"""How a chat connection begins: the upgrade, the join, and the way into the crowd.

    request --check_upgrade--> HandOver --welcome--> trio-websocket: handshake, join
                                                          |  Refused: say so, up to `max_refusals`
                                                          v  Joined
                                                     crowd.adopt: no task any more

trio-websocket reads through a `FrameGate`, so that what a client sends behind its join is not lost
on the way. It does not close the connection: `welcome` does, with the right code, and waits until
the peer has seen it. A connection without a descriptor of its own (TLS by Python's ssl) is carried
through a pair of sockets, and keeps its task.

A `Listener` that the door has given is told `gone` in any case.

Bounds: `ChatSocketSettings`. May import: trio, trio-websocket, `edge.http`, `edge.chat`'s crowd.
Spec: RFC 6455, section 4.2 (handshake), 7.1 (close), 10.2 (Origin).
"""

import base64
import binascii
import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec
import structlog
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from edge.chat import crowd as codes
from edge.chat.crowd import Crowd, Listener, can_adopt, close_frame
from edge.chat.frame_gate import MAX_MESSAGE_BYTES, READ_BYTES, FrameGate
from edge.http.messages import HttpError, Request

_logger = structlog.get_logger("chat")

POLICY: Final = 1008
FULL: Final = 1013
NO_JOIN: Final = 4001

KEY_BYTES: Final = 16
"""Of the random that a client sends in base64 (RFC 6455, section 4.1)."""

# RFC 6455, section 7.4.1: said of a connection, never on it.
_UNSPOKEN: Final = frozenset((1005, 1006, 1015))


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody may not come in."""

    payload: bytes
    """What they are told."""
    is_final: bool = False
    """Another try would not help."""


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody may come in."""

    listener: Listener
    room: int
    greeting: bytes = b""
    """The payload of the first frame; none if the listener sends it."""


class Door(Protocol):
    """Who decides that."""

    async def join(self, stream_id: str, text: str, address: str) -> Joined | Refused:
        """Judge a first message, which may be any text, from an address, which may be "".

        Cancellation: nobody has joined.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSocketSettings:
    """How connections begin."""

    allowed_origins: Sequence[str] = ()
    """Other sites whose pages may connect ("https://example.com"); "*": any."""
    join_timeout_s: float = 10.0
    """From the upgrade to the join: 4001."""
    max_refusals: int = 3
    """Tries to join; then 1008."""
    max_message_bytes: int = MAX_MESSAGE_BYTES
    """Of a message; 1009 above."""
    linger_timeout_s: float = 2.0
    """For a peer to take the close frame."""
    send_timeout_s: float = 15.0
    """For a peer to take what a connection without descriptor carries."""


class _Ending(NamedTuple):
    """Why nobody came in."""

    code: int
    reason: str


def check_upgrade(request: Request, *, allowed_origins: Sequence[str]) -> None:
    """Check that a request is an upgrade to WebSocket, and from where.

    A page of another site can connect in its visitor's name, so a browser's Origin must be the
    host that was asked, or listed. Who sends none is no browser.

    Raises:
        HttpError: 400, 403 or 426.
    """
    if "websocket" not in _tokens(request, b"upgrade"):
        raise HttpError(426, "this is a WebSocket", Upgrade="websocket")
    if request.header(b"sec-websocket-version") != "13":
        raise HttpError(426, "only WebSocket 13 is spoken here", Sec_WebSocket_Version="13")
    host = request.header(b"host")
    if "upgrade" not in _tokens(request, b"connection") or not host:
        raise HttpError(400, "malformed WebSocket request")
    try:
        key = base64.b64decode(request.header(b"sec-websocket-key") or "", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise HttpError(400, "malformed Sec-WebSocket-Key")
    origin = request.header(b"origin")
    if origin is not None and not _is_welcome(origin.lower(), host.lower(), allowed_origins):
        raise HttpError(403, "pages of this origin may not connect")


async def welcome(
    stream: trio.abc.Stream,
    received: bytes,
    request: Request,
    *,
    stream_id: str,
    door: Door,
    crowd: Crowd,
    settings: ChatSocketSettings,
) -> None:
    """Serve an upgrade to the point where the crowd has it, or to its end.

    Nothing but cancellation leaves: a peer's faults close its connection, ours are logged.

    Args:
        stream: Behind the request. Afterwards it is empty, or to be closed by the caller.
        received: What was read behind the request.
        request: Which `check_upgrade` has found right.
        stream_id: Whose chat.
        door: Judges the join.
        crowd: Gets who has joined.
        settings: Times and bounds.
    """
    gate = FrameGate(stream, received, request, max_bytes=settings.max_message_bytes)
    visit = _Visit(gate, door, stream_id, request.client, settings)
    try:
        try:
            ending = await visit.run()
            if ending is None:
                ending = await _enter(visit, crowd, settings)
        except Exception:
            _logger.exception("chat connection failed", stream=stream_id)
            ending = _Ending(codes.OUR_FAULT, "internal error")
        if ending is not None:
            _logger.debug(
                "chat connection refused",
                stream=stream_id,
                code=ending.code,
                reason=ending.reason,
            )
            await _part(stream, gate, ending, settings.linger_timeout_s)
    finally:
        if visit.joined is not None:
            visit.joined.listener.gone("not taken")


class _Visit:
    """From the handshake to the join."""

    def __init__(
        self,
        gate: FrameGate,
        door: Door,
        stream_id: str,
        address: str,
        settings: ChatSocketSettings,
    ) -> None:
        self.gate = gate
        self.joined: Joined | None = None
        """Who was let in and is in no crowd yet."""
        self._door = door
        self._stream_id = stream_id
        self._address = address
        self._settings = settings

    async def run(self) -> _Ending | None:
        """Return why nobody has come in; None: somebody has."""
        ending: _Ending | None = _Ending(NO_JOIN, "no join in time")
        with trio.move_on_after(self._settings.join_timeout_s):
            async with trio.open_nursery() as nursery:
                proposal = await wrap_server_stream(nursery, self.gate, receive_buffer_size=None)
                try:
                    ending = await self._ask(await proposal.accept())
                except ConnectionClosed as closed:
                    ending = self._ending_of(closed)
                nursery.cancel_scope.cancel(reason="the door has been answered")
        return None if self.joined is not None else ending

    async def _ask(self, connection: WebSocketConnection) -> _Ending | None:
        for _ in range(self._settings.max_refusals):
            self.gate.resume()
            text = await connection.get_message()
            if not isinstance(text, str):
                return _Ending(codes.TEXT_ONLY, "text only")
            answer = await self._door.join(self._stream_id, text, self._address)
            if isinstance(answer, Joined):
                self.joined = answer
                return None
            await connection.send_message(answer.payload.decode())
            if answer.is_final:
                break
        return _Ending(POLICY, "refused")

    def adopt(self, crowd: Crowd, stream: trio.abc.Stream, received: bytes) -> None:
        """Give who has joined to the crowd, and the connection with it."""
        joined = self.joined
        assert joined is not None
        crowd.adopt(
            stream,
            received,
            room=joined.room,
            listener=joined.listener,
            greeting=joined.greeting,
        )
        self.joined = None

    def _ending_of(self, closed: ConnectionClosed) -> _Ending:
        if self.gate.is_too_big:
            return _Ending(codes.TOO_BIG, "the message is too big")
        if self.gate.is_too_noisy:
            return _Ending(codes.TOO_MANY_FRAMES, "too many frames")
        return _Ending(1006 if closed.reason is None else closed.reason.code, "protocol error")


async def _enter(visit: _Visit, crowd: Crowd, settings: ChatSocketSettings) -> _Ending | None:
    """Let the crowd have who has joined."""
    stream, received = visit.gate.detach()
    try:
        if can_adopt(stream):
            visit.adopt(crowd, stream, received)
            return None
        ours, theirs = socket.socketpair()
        async with _socket_stream(ours) as inner, _socket_stream(theirs) as adopted:
            visit.adopt(crowd, adopted, received)
            await _carry(stream, inner, settings.send_timeout_s)
            return None
    except OverflowError as error:
        return _Ending(FULL, str(error))


async def _part(
    stream: trio.abc.Stream, gate: FrameGate, ending: _Ending, linger_timeout_s: float
) -> None:
    """Say why, and let the peer read it: a close with unread input would reset the connection."""
    if gate.is_cut or gate.has_ended:
        return
    with (
        trio.move_on_after(linger_timeout_s),
        contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
    ):
        if not gate.has_said_close and ending.code not in _UNSPOKEN:
            await stream.send_all(close_frame(ending.code, ending.reason))
        if isinstance(stream, trio.abc.HalfCloseableStream):
            await stream.send_eof()
        while await stream.receive_some(READ_BYTES):
            pass


async def _carry(outer: trio.abc.Stream, inner: trio.SocketStream, send_timeout_s: float) -> None:
    """Carry bytes between a connection and the crowd's socket until either has ended."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_pour, outer, inner, send_timeout_s, nursery.cancel_scope)
        await _pour(inner, outer, send_timeout_s, nursery.cancel_scope)


async def _pour(
    source: trio.abc.ReceiveStream,
    sink: trio.abc.SendStream,
    send_timeout_s: float,
    scope: trio.CancelScope,
) -> None:
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
        while data := await source.receive_some(READ_BYTES):
            with trio.fail_after(send_timeout_s):
                await sink.send_all(data)
    scope.cancel(reason="one side has ended")


def _tokens(request: Request, name: bytes) -> set[str]:
    """The members of a field that is a list."""
    return {token.strip().lower() for token in (request.header(name) or "").split(",")}


def _is_welcome(origin: str, host: str, allowed_origins: Sequence[str]) -> bool:
    listed = {allowed.lower().rstrip("/") for allowed in allowed_origins}
    if "*" in listed or origin in listed:
        return True
    try:
        return urlsplit(origin).netloc == host
    except ValueError:  # "https://[", which no browser sends
        return False


def _socket_stream(end: socket.socket) -> trio.SocketStream:
    end.setblocking(False)
    return trio.SocketStream(trio.socket.from_stdlib_socket(end))
