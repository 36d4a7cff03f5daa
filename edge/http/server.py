"""Listeners, connection limits and the graceful stop of the HTTP server.

One task per listener accepts, one task per connection serves (`edge.http.connection`, over TLS
perhaps `edge.http.h2_connection`). All live in `serve_http`'s nursery and end with it. A connection
counts from the moment it is accepted: a TLS handshake that stalls holds a place that is limited,
for a time that is limited.

Nothing about one connection can end the server: its `run` lets only cancellation out.
"""

import errno
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address

import structlog
import trio

from edge.http.connection import HttpConnection
from edge.http.h2_connection import Http2Connection
from edge.http.messages import Application
from edge.http.response import DateLine, error_response
from edge.http.settings import HttpSettings
from edge.http.tls import Connection, TlsConnection

_logger = structlog.get_logger(__name__)

# accept() failing for want of descriptors or memory: wait, then try again (trio.serve_listeners).
_ACCEPT_RETRY = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_ACCEPT_RETRY_S = 0.1

# Refused connections that are being told so at one time; more are closed without a word.
_MAX_REFUSING = 64

_FULL = error_response(503, "too many connections", extra={"Retry-After": "5"})

# Gives the TLS context for a connection that comes now (`edge.http.tls.Certificate.context`).
Context = Callable[[], ssl.SSLContext]


async def serve_http(
    listeners: Sequence[trio.abc.Listener[trio.abc.Stream]],
    app: Application,
    *,
    settings: HttpSettings | None = None,
    tls_listeners: Sequence[trio.abc.Listener[trio.abc.Stream]] = (),
    tls_context: Context | None = None,
    stop: trio.Event | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an application until cancelled, or until `stop` is set and the rest has drained.

    Args:
        listeners: Open listeners; closed here when accepting ends, for whatever reason.
        app: Asked once per request.
        settings: Limits and time-outs; the defaults of `HttpSettings` if None.
        tls_listeners: More of them, for connections over TLS.
        tls_context: Asked once for each of those; not needed where there are none.
        stop: Set it for a graceful end: no new connections, current answers are finished, idle
            connections closed, held requests answered 503, all within `drain_timeout_s`.
        task_status: Reports that connections are being accepted.

    Cancellation: cuts every connection at once.
    """
    server = _Server(app, settings or HttpSettings())
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as accept_nursery:
            for listener in listeners:
                accept_nursery.start_soon(server.accept, listener, None, nursery)
            for listener in tls_listeners:
                assert tls_context is not None
                accept_nursery.start_soon(server.accept, listener, tls_context, nursery)
            task_status.started()
            if stop is not None:
                await stop.wait()
                accept_nursery.cancel_scope.cancel()
        server.drain()
        nursery.cancel_scope.deadline = trio.current_time() + server.settings.drain_timeout_s


class _Server:
    """The connections of one `serve_http` call, counted."""

    def __init__(self, app: Application, settings: HttpSettings) -> None:
        self.settings = settings
        self._app = app
        self._date = DateLine()
        self._connections: set[Connection] = set()
        self._by_address: Counter[str] = Counter()
        self._refusing = 0

    async def accept(
        self,
        listener: trio.abc.Listener[trio.abc.Stream],
        context: Context | None,
        connection_nursery: trio.Nursery,
    ) -> None:
        """Accept for ever, and close the listener in the end."""
        is_failing = False
        async with listener:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    if error.errno not in _ACCEPT_RETRY:
                        raise
                    if not is_failing:  # said once: a log that grows with it fills the disk
                        _logger.error("cannot accept http connections", reason=error.strerror)
                    is_failing = True
                    await trio.sleep(_ACCEPT_RETRY_S)
                    continue
                is_failing = False
                # Counted here, not in the new task: a burst must not slip through.
                address = _address_of(stream)
                if not self._is_full(address):
                    connection = self._connect(stream, context)
                    network = _network_of(address)
                    self._connections.add(connection)
                    self._by_address[network] += 1
                    connection_nursery.start_soon(self._serve, connection, network)
                elif context is None and self._refusing < _MAX_REFUSING:
                    self._refusing += 1
                    connection_nursery.start_soon(self._refuse, stream)
                else:  # over TLS a refusal in words would cost a handshake
                    await trio.aclose_forcefully(stream)

    def drain(self) -> None:
        """Ask every connection to end after what it is doing."""
        for connection in self._connections:
            connection.drain()

    def _connect(self, stream: trio.abc.Stream, context: Context | None) -> Connection:
        if context is None:
            return self._speak(stream, is_http2=False)
        return TlsConnection(
            stream,
            context(),
            serve=self._speak,
            handshake_timeout_s=self.settings.handshake_timeout_s,
        )

    def _speak(self, stream: trio.abc.Stream, is_http2: bool) -> Connection:
        speaker = Http2Connection if is_http2 else HttpConnection
        return speaker(stream, self._app, settings=self.settings, date=self._date)

    def _is_full(self, address: str) -> bool:
        if len(self._connections) >= self.settings.max_connections:
            return True
        limit = self.settings.max_connections_per_address
        return self._by_address[_network_of(address)] >= limit and not _is_loopback(address)

    async def _serve(self, connection: Connection, network: str) -> None:
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            self._by_address[network] -= 1
            if not self._by_address[network]:
                del self._by_address[network]

    async def _refuse(self, stream: trio.abc.Stream) -> None:
        try:
            await HttpConnection(stream, self._app, settings=self.settings, date=self._date).refuse(
                _FULL
            )
        finally:
            self._refusing -= 1


def _address_of(stream: trio.abc.Stream) -> str:
    """Return the peer's IP address; "" for streams that have none, or when it is gone already."""
    if not isinstance(stream, trio.SocketStream):
        return ""
    try:
        return str(stream.socket.getpeername()[0])
    except OSError:
        return ""


def _network_of(address: str) -> str:
    """What counts as one address: of IPv6 the first 64 bits, for whoever has one has 2**64."""
    if ":" not in address:
        return address
    ip = IPv6Address(address.partition("%")[0])
    return str(ip.ipv4_mapped or IPv6Address(int(ip) >> 64 << 64))


def _is_loopback(address: str) -> bool:
    if not address:
        return True
    ip = ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return (mapped or ip).is_loopback
