"""Listeners, connection limits and the graceful stop of the HTTP server.

One task per listener accepts, one task per connection serves (`edge.http.connection`, over TLS
perhaps `edge.http.h2_connection`), and one task pumps the reactor, to which plain player requests
go with their connections (`edge.http.delivery`). All live in `serve_http`'s nursery and end with
it. A connection counts from the moment it is accepted to its end, whoever serves it: a TLS
handshake that stalls holds a place that is limited, for a time that is limited.

Nothing about one connection can end the server: its `run` lets only cancellation out.
"""

import errno
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import structlog
import trio

import native
from edge.http.connection import HttpConnection
from edge.http.delivery import Delivery
from edge.http.h2_connection import Http2Connection
from edge.http.messages import NOBODY, NOBODY_LISTENS, Application, Audience, Pass, Peer
from edge.http.network import is_local, network_of, plain_address
from edge.http.response import DateLine, error_response
from edge.http.served import Tell, tell_nobody
from edge.http.settings import HttpSettings
from edge.http.tls import Connection, ServerContext, TlsConnection
from edge.http.watching import SafeAudience

if TYPE_CHECKING:
    from native import ReactorCounters

_logger = structlog.get_logger(__name__)

# accept() failing for want of descriptors or memory: wait, then try again (trio.serve_listeners).
_ACCEPT_RETRY = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_ACCEPT_RETRY_S = 0.1

# Refused connections that are being told so at one time; more are closed without a word.
_MAX_REFUSING = 64

_FULL = error_response(503, "too many connections", extra={"Retry-After": "5"})

# Gives the TLS context for a connection that comes now (`edge.http.tls.Certificate.context`).
Context = Callable[[], ServerContext]


async def serve_http(
    listeners: Sequence[trio.abc.Listener[trio.abc.Stream]],
    app: Application,
    *,
    settings: HttpSettings | None = None,
    tls_listeners: Sequence[trio.abc.Listener[trio.abc.Stream]] = (),
    tls_context: Context | None = None,
    stop: trio.Event | None = None,
    audience: Audience | None = None,
    tell: Tell = tell_nobody,
    task_status: "trio.TaskStatus[HttpServer]" = trio.TASK_STATUS_IGNORED,
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
        audience: Hears who fetches playlists; None: nobody does.
        tell: Told what became of each request that the reactor does not answer.
        task_status: Reports that connections are being accepted, with what to read figures from.

    Cancellation: cuts every connection at once.
    """
    heard: Audience = NOBODY_LISTENS if audience is None else SafeAudience(audience)
    server = _Server(app, settings or HttpSettings(), heard, tell)
    async with trio.open_nursery() as nursery:
        await server.start(nursery)
        async with trio.open_nursery() as accept_nursery:
            for listener in listeners:
                accept_nursery.start_soon(server.accept, listener, None)
            for listener in tls_listeners:
                assert tls_context is not None
                accept_nursery.start_soon(server.accept, listener, tls_context)
            task_status.started(server)
            if stop is not None:
                await stop.wait()
                accept_nursery.cancel_scope.cancel()
        server.drain()
        nursery.cancel_scope.deadline = trio.current_time() + server.settings.drain_timeout_s


class Figures(Protocol):
    """What a server counts; read it whenever you like."""

    @property
    def connections(self) -> int:
        """Open now, of whatever kind."""
        ...

    @property
    def adopted(self) -> int:
        """Of those, the ones that the reactor serves."""
        ...

    @property
    def parked(self) -> int:
        """Of those, the ones whose request is held."""
        ...

    @property
    def accepted(self) -> int:
        """Connections so far."""
        ...

    @property
    def turned_away(self) -> int:
        """Connections so far for which there was no place."""
        ...

    @property
    def reactor(self) -> "ReactorCounters | None":
        """What the reactor has done so far; None if there is none."""
        ...


class HttpServer(Figures, Protocol):
    """A server that runs."""

    settings: HttpSettings
    """May be replaced: it holds for connections that come from then on, and for the drain."""


@dataclass(slots=True)
class _Place:
    """What a connection takes up from accept to close."""

    network: str
    peer: Peer
    holder: object = None
    """Who serves it now."""


class _Server:
    """The connections of one `serve_http` call, counted."""

    def __init__(
        self, app: Application, settings: HttpSettings, audience: Audience, tell: Tell
    ) -> None:
        self.settings = settings
        self.accepted = 0
        """See `Figures`."""
        self.turned_away = 0
        """See `Figures`."""
        self._tell = tell
        self._app = app
        self._audience = audience
        self._date = DateLine()
        self._connections: set[Connection] = set()  # that have a task
        self._tags = itertools.count()
        self._open: dict[int, _Place] = {}  # every connection, by its tag
        self._by_network: Counter[str] = Counter()
        self._refusing = 0
        self._is_draining = False
        self._delivery: Delivery | None = None
        self._nursery: trio.Nursery

    @property
    def connections(self) -> int:
        """See `Figures`."""
        return len(self._open)

    @property
    def adopted(self) -> int:
        """See `Figures`."""
        return 0 if self._delivery is None else len(self._delivery)

    @property
    def parked(self) -> int:
        """See `Figures`."""
        counters = self.reactor
        return 0 if counters is None else counters.parked

    @property
    def reactor(self) -> "ReactorCounters | None":
        """See `Figures`."""
        return None if self._delivery is None else self._delivery.counters

    async def start(self, nursery: trio.Nursery) -> None:
        """Begin with what serves connections; they live in this nursery."""
        self._nursery = nursery
        if native.IMPLEMENTATION == "c":
            self._delivery = Delivery(
                self._app,
                settings=self.settings,
                date=self._date,
                owner=self,
                audience=self._audience,
            )
            await nursery.start(self._delivery.run)

    async def accept(
        self, listener: trio.abc.Listener[trio.abc.Stream], context: Context | None
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
                if self._is_full(address):
                    self.turned_away += 1
                    await self._turn_away(stream, context)
                else:
                    self.accepted += 1
                    tag = next(self._tags)
                    place = self._open[tag] = _Place(network_of(address), self._make_peer(address))
                    self._by_network[place.network] += 1
                    self._begin(self._connect(stream, context, tag), tag)

    async def _turn_away(self, stream: trio.abc.Stream, context: Context | None) -> None:
        if context is None and self._refusing < _MAX_REFUSING:
            self._refusing += 1
            self._nursery.start_soon(self._refuse, stream)
        else:  # over TLS a refusal in words would cost a handshake
            await trio.aclose_forcefully(stream)

    def drain(self) -> None:
        """Ask every connection to end after what it is doing."""
        self._is_draining = True
        for connection in self._connections:
            connection.drain()
        if self._delivery is not None:
            self._delivery.drain()

    def take_back(self, stream: trio.abc.Stream, received: bytes, tag: int) -> None:
        """Serve under h11 what the reactor had and did not understand."""
        connection = self._speak(tag, stream, is_http2=False, received=received)
        if self._is_draining:
            connection.drain()
        self._begin(connection, tag)

    def peer(self, tag: int) -> Peer:
        """Who is at the other end of a connection."""
        return self._open[tag].peer

    def ended(self, tag: int) -> None:
        """A connection is closed: it does not count any more."""
        network = self._open.pop(tag).network
        self._by_network[network] -= 1
        if not self._by_network[network]:
            del self._by_network[network]

    def _connect(self, stream: trio.abc.Stream, context: Context | None, tag: int) -> Connection:
        if context is None:
            return self._speak(tag, stream, is_http2=False)
        return TlsConnection(
            stream,
            context(),
            serve=partial(self._speak, tag),
            handshake_timeout_s=self.settings.handshake_timeout_s,
        )

    def _speak(
        self, tag: int, stream: trio.abc.Stream, is_http2: bool, received: bytes = b""
    ) -> Connection:
        peer = self._open[tag].peer
        if is_http2:
            return Http2Connection(
                stream,
                self._app,
                settings=self.settings,
                date=self._date,
                peer=peer,
                audience=self._audience,
                tell=self._tell,
            )
        return HttpConnection(
            stream,
            self._app,
            settings=self.settings,
            date=self._date,
            peer=peer,
            received=received,
            adopt=partial(self._adopt, tag),
            audience=self._audience,
            tell=self._tell,
        )

    def _adopt(
        self, tag: int, stream: trio.abc.Stream, received: bytes, admitted: Pass | None
    ) -> bool:
        delivery = self._delivery
        if delivery is None or not delivery.adopt(stream, received, tag, admitted):
            return False
        self._open[tag].holder = delivery
        return True

    def _make_peer(self, address: str) -> Peer:
        """Who has connected; an address is kept as IPv4 where it is one."""
        ip = plain_address(address)
        if ip is None:
            return NOBODY
        is_proxy = any(ip in network for network in self.settings.trusted_proxies)
        return Peer(str(ip), is_proxy)

    def _is_full(self, address: str) -> bool:
        if len(self._open) >= self.settings.max_connections:
            return True
        limit = self.settings.max_connections_per_address
        return self._by_network[network_of(address)] >= limit and not is_local(address)

    def _begin(self, connection: Connection, tag: int) -> None:
        self._open[tag].holder = connection
        self._connections.add(connection)
        self._nursery.start_soon(self._serve, connection, tag)

    async def _serve(self, connection: Connection, tag: int) -> None:
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            place = self._open.get(tag)
            if place is not None and place.holder is connection:  # else: it was given away
                self.ended(tag)

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
