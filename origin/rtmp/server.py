"""Accept publishers over RTMP, bound what they may cost, and say once why each of them left.

One task per connection, owned by the server's nursery. What is said on it is for `publisher`.

Before RTMP's first byte may come a balancer's header, which must come from the balancers that the
settings name and counts for nobody else, and TLS (`origin.rtmp.transport`). Both together have as
much time again. A place is counted from accept to the end: for the balancer until its header has
come, then for the client that the header names.

Every connection ends in exactly one log line with a reason. It never holds the stream key, nor the
app or tcUrl, in which people paste keys by mistake. The connection's outermost function is the only
one that catches `Exception`.

May import rtmpcore, edge.http's TLS, trio and structlog.
"""

import errno
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Final, TypeVar

import structlog
import trio
from structlog.contextvars import bound_contextvars

from edge.http.tls import ServerContext
from origin.rtmp.figures import Ending, RtmpFigures
from origin.rtmp.places import Network, NoPlaceError, Places
from origin.rtmp.publisher import Admit, Patience, PublisherConnection, ServePlayer, refuse_player
from origin.rtmp.pump import Pump
from origin.rtmp.transport import detect_dead_peers, receive_proxy_header, secure
from rtmpcore import RemoteProtocolError

ACCEPT_RETRY: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
"""accept() failing for want of descriptors or memory: wait, then try again."""

ACCEPT_RETRY_S: Final = 0.1
"""Pause before it is tried again."""

Context = Callable[[], ServerContext]
"""Gives the TLS context for a connection that comes now (`edge.http.tls.Certificate.context`)."""

T = TypeVar("T")

log = structlog.get_logger("rtmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class RtmpServerSettings(Patience):
    """The bounds of the RTMP server."""

    max_connections: int = 1_000
    """Connections at once; more are closed on arrival."""

    max_connections_per_address: int = 100
    """The same from one address: a household or a studio, not a flood."""

    balancers: Sequence[Network] = ()
    """Who begins each connection with a PROXY header; from others none is looked for."""


class RtmpServer:
    """Serve publishers until cancelled.

    Args:
        admit: Decides on each stream key.
        play: Serves players.
        settings: Bounds and deadlines.
        tls_context: Asked once for each connection to a TLS listener; not needed without those.
    """

    def __init__(
        self,
        *,
        admit: Admit,
        play: ServePlayer = refuse_player,
        settings: RtmpServerSettings | None = None,
        tls_context: Context | None = None,
    ) -> None:
        self._admit = admit
        self._play = play
        self._tls_context = tls_context
        self._settings = settings or RtmpServerSettings()
        self._places = Places(
            most=self._settings.max_connections,
            most_per_address=self._settings.max_connections_per_address,
            balancers=self._settings.balancers,
        )
        self._pump = Pump()
        self._serving: set[PublisherConnection] = set()
        self.figures = RtmpFigures()
        """Counts since the start."""

    def reconfigure(self, settings: RtmpServerSettings) -> None:
        """Hold connections that come from now on to other bounds; the balancers stay."""
        self._settings = settings
        self._places.resize(
            most=settings.max_connections, most_per_address=settings.max_connections_per_address
        )

    @property
    def connections(self) -> int:
        """Connections now open."""
        return self._places.taken

    @property
    def publishers(self) -> int:
        """Of those, the ones that feed a stream."""
        return sum(connection.is_publishing for connection in self._serving)

    @property
    def received_bytes(self) -> int:
        """Bytes that came over RTMP since the start, from whoever is connected too."""
        live = sum(connection.bytes_received for connection in self._serving)
        return self.figures.received_bytes + live

    async def serve(
        self,
        listeners: Sequence[trio.SocketListener],
        tls_listeners: Sequence[trio.SocketListener] = (),
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept until cancelled; connections end with it.

        Args:
            listeners: For RTMP in clear; closed in the end.
            tls_listeners: For RTMP over TLS; the same.
            task_status: Reports that connections are accepted.
        """
        async with trio.open_nursery() as connections_nursery:
            connections_nursery.start_soon(self._pump.run)
            for listener in listeners:
                connections_nursery.start_soon(self._accept, listener, connections_nursery, None)
            for listener in tls_listeners:
                assert self._tls_context is not None
                connections_nursery.start_soon(
                    self._accept, listener, connections_nursery, self._tls_context
                )
            task_status.started()

    async def _accept(
        self,
        listener: trio.SocketListener,
        connections_nursery: trio.Nursery,
        context: Context | None,
    ) -> None:
        # trio.serve_listeners does the same, but with a traceback for every failure.
        is_failing = False
        async with listener:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    if error.errno not in ACCEPT_RETRY:
                        raise
                    if not is_failing:  # said once: a log that grows with it fills the disk
                        log.error("cannot accept publishers", reason=error.strerror)
                    is_failing = True
                    await trio.sleep(ACCEPT_RETRY_S)
                else:
                    is_failing = False
                    connections_nursery.start_soon(self._serve_socket, stream, context)

    async def _serve_socket(self, socket: trio.SocketStream, context: Context | None) -> None:
        stream: trio.abc.Stream = socket
        try:
            address = str(socket.socket.getpeername()[0])
            detect_dead_peers(socket, self._settings.publish_timeout_s)
            ends_s = trio.current_time() + self._settings.handshake_timeout_s
            if self._places.is_balancer(address):
                client = await self._prelude(address, ends_s, lambda: receive_proxy_header(socket))
                address = client or address
            if context is not None:
                stream = await self._prelude(address, ends_s, lambda: secure(socket, context()))
            await self.serve_stream(stream, address)
        except (OSError, _TurnedAwayError):  # gone before it was served, or told so in the log
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def _prelude(self, address: str, ends_s: float, step: Callable[[], Awaitable[T]]) -> T:
        """Take a step that comes before RTMP, counted and in time.

        Raises:
            _TurnedAwayError: It failed, as the log says by now.
        """
        reason: str | None = "server stopping"
        ending = Ending.STOPPING
        try:
            with self._places.take(address), trio.fail_at(ends_s):
                result = await step()
            reason = None
            return result
        except NoPlaceError as error:
            reason, ending = str(error), Ending.NO_PLACE
        except RemoteProtocolError as error:
            reason, ending = f"protocol error: {error}", Ending.PROTOCOL
        except trio.BrokenResourceError:
            reason, ending = "connection lost", Ending.LOST
        except trio.TooSlowError:
            reason = f"no RTMP after {self._settings.handshake_timeout_s:g} s"
            ending = Ending.SILENT
        except Exception:
            reason, ending = "internal error", Ending.INTERNAL
            log.exception("connection failed", address=address)
        finally:
            if reason is not None:
                self.figures.accepted += 1
                self.figures.endings[ending] += 1
                log.info(
                    "connection closed", connection=token_hex(4), address=address, reason=reason
                )
        raise _TurnedAwayError(reason)

    async def serve_stream(self, stream: trio.abc.Stream, address: str) -> None:
        """Serve one connection that begins with RTMP to its end and log why it ended.

        Args:
            stream: The connection; closed on return.
            address: The peer's, for the bound per address and the log.
        """
        connection = token_hex(4)
        connection_log = log.bind(connection=connection, address=address)
        self.figures.accepted += 1
        try:
            with self._places.take(address), bound_contextvars(connection=connection):
                await self._serve_admitted(stream, connection_log, address)
        except NoPlaceError as error:
            self.figures.endings[Ending.NO_PLACE] += 1
            connection_log.warning("connection closed", reason=str(error))
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve_admitted(
        self,
        stream: trio.abc.Stream,
        connection_log: structlog.typing.FilteringBoundLogger,
        address: str,
    ) -> None:
        publisher = PublisherConnection(
            stream, self._pump, self._admit, self._play, self._settings, connection_log, address
        )
        started_s = trio.current_time()
        self._serving.add(publisher)
        try:
            await publisher.run()
        except Exception:
            publisher.conclude("internal error", Ending.INTERNAL)
            connection_log.exception("connection failed")
        finally:
            self._serving.discard(publisher)
            self.figures.received_bytes += publisher.bytes_received
            self.figures.endings[publisher.ending] += 1
            if publisher.refusal is not None:
                self.figures.note_refusal(publisher.refusal)
            connection_log.info(
                "connection closed",
                reason=publisher.reason or "server stopping",
                stream=publisher.stream_id,
                seconds=round(trio.current_time() - started_s, 1),
                bytes=publisher.bytes_received,
            )


class _TurnedAwayError(Exception):
    """A connection ends before RTMP begins; the text says why."""
