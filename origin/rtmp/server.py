"""Accept publishers over RTMP, bound what they may cost, and say once why each of them left.

One task per connection, owned by the server's nursery. Its life::

    accepted -> handshake -> connect -> createStream -> publish -> media ... -> unpublish -> end
    |------------- handshake_timeout_s in all ----------|- silence -|-- again -|

A deadline covers a phase, never a single read: a peer that sends one byte a second is cut off when
the phase is over. While it publishes, media (not pings) re-arms the deadline.

Not here: what a key means and where media goes. `Admit` answers the first, `Sink` takes the second;
`origin.ingest` implements both, tests pass fakes. A sink is called synchronously: publisher to
packager needs no queue, and TCP pushes back by itself.

Every connection ends in exactly one log line with a reason. It never holds the stream key, nor the
app or tcUrl, in which people paste keys by mistake. The connection's outermost function is the only
one that catches `Exception`.

May import rtmpcore, trio and structlog.
"""

import errno
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from secrets import token_bytes, token_hex
from typing import Final, Protocol

import structlog
import trio

from origin.rtmp.driver import RtmpDriver
from origin.rtmp.pump import Pump
from rtmpcore import (
    AudioMessage,
    Connect,
    ConnectAccepted,
    Connection,
    CuePoint,
    Event,
    Publish,
    PublishRefusal,
    PublishRefused,
    PublishStarted,
    RemoteProtocolError,
    Role,
    Unpublish,
    VideoMessage,
)
from rtmpcore.handshake import RANDOM_BYTES

REARMS_PER_TIMEOUT: Final = 20
ACCEPT_RETRY: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
"""accept() failing for want of descriptors or memory: wait, then try again."""

ACCEPT_RETRY_S: Final = 0.1
"""How often, at the most, media moves the deadline within one time-out."""

MEDIA: Final = (VideoMessage, AudioMessage)
"""The events that are dealt with at once, by the sink."""

TURNS: Final = (Connect, Publish, Unpublish)
"""The events that are our turn to act."""

log = structlog.get_logger("rtmp")


class PublishDeniedError(Exception):
    """`Admit` says no; ``str(error)`` is the reason, fit for the publisher and for the log."""


class PublishStoppedError(Exception):
    """`Sink` can go on no longer; ``str(error)`` is the reason, fit for publisher and log."""


class Sink(Protocol):
    """Where one publisher's media goes. Every call is synchronous."""

    @property
    def stream_id(self) -> str:
        """The stream that it feeds, for the log."""
        ...

    def push(self, message: VideoMessage | AudioMessage) -> None:
        """Take one message; raises `PublishStoppedError` or `RemoteProtocolError`."""
        ...

    def cue(self, values: Mapping[str, object]) -> None:
        """The publisher marks this moment (``onCuePoint``); never fails."""
        ...

    def close(self, *, goodbye: bool) -> None:
        """The publisher is gone; called exactly once.

        Args:
            goodbye: It has unpublished. If not, it was lost, for whatever reason.
        """
        ...


Disconnect = Callable[[str], None]
"""Ends a connection from outside, with the reason for its closing line."""

Admit = Callable[[str, Disconnect], Awaitable[Sink]]
"""From a stream key to a sink that is ours from now on; raises `PublishDeniedError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RtmpServerSettings:
    """The bounds of the RTMP server."""

    handshake_timeout_s: float = 10.0
    """From accept to publish, in all; also from unpublish to the next publish."""

    publish_timeout_s: float = 20.0
    """Most silence, in media, from a publisher."""

    send_timeout_s: float = 10.0
    """Most time for a peer to take what we have to say."""

    max_connections: int = 1_000
    """Connections at once; more are closed on arrival."""

    max_connections_per_address: int = 100
    """The same from one address: a household or a studio, not a flood."""


class RtmpServer:
    """Serve publishers until cancelled.

    Args:
        admit: Decides on each stream key.
        settings: Bounds and deadlines.
    """

    def __init__(self, *, admit: Admit, settings: RtmpServerSettings | None = None) -> None:
        self._admit = admit
        self._settings = settings or RtmpServerSettings()
        self._by_address: Counter[str] = Counter()
        self._pump = Pump()

    @property
    def connections(self) -> int:
        """Connections now open."""
        return self._by_address.total()

    async def serve(
        self,
        listeners: Sequence[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept from the listeners until cancelled; connections end with it."""
        async with trio.open_nursery() as connections_nursery:
            connections_nursery.start_soon(self._pump.run)
            for listener in listeners:
                connections_nursery.start_soon(self._accept, listener, connections_nursery)
            task_status.started()

    async def _accept(
        self, listener: trio.SocketListener, connections_nursery: trio.Nursery
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
                    connections_nursery.start_soon(self._serve_socket, stream)

    async def _serve_socket(self, stream: trio.SocketStream) -> None:
        try:
            address = stream.socket.getpeername()[0]
            _find_dead_peers(stream, self._settings.publish_timeout_s)
        except OSError:  # gone before it was served
            await trio.aclose_forcefully(stream)
            return
        await self.serve_stream(stream, address)

    async def serve_stream(self, stream: trio.abc.HalfCloseableStream, address: str) -> None:
        """Serve one accepted connection to its end and log why it ended.

        Args:
            stream: The connection; closed on return.
            address: The peer's, for the bound per address and the log.
        """
        connection_log = log.bind(connection=token_hex(4), address=address)
        settings = self._settings
        if self.connections >= settings.max_connections:
            reason = "too many connections"
        elif self._is_crowded(address):
            reason = "too many connections from this address"
        else:
            await self._serve_admitted(stream, address, connection_log)
            return
        connection_log.warning("connection closed", reason=reason)
        await trio.aclose_forcefully(stream)

    def _is_crowded(self, address: str) -> bool:
        # Our own machine is exempt: relays and the demo are not a flood.
        limit = self._settings.max_connections_per_address
        crowd = self._by_address[_network_of(address)]
        return crowd >= limit and address not in ("127.0.0.1", "::1")

    async def _serve_admitted(
        self,
        stream: trio.abc.HalfCloseableStream,
        address: str,
        connection_log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        publisher = _PublisherConnection(
            stream, self._pump, self._admit, self._settings, connection_log
        )
        started_s = trio.current_time()
        network = _network_of(address)
        self._by_address[network] += 1
        try:
            await publisher.run()
        except Exception:
            publisher.conclude("internal error")
            connection_log.exception("connection failed")
        finally:
            self._by_address[network] -= 1
            if not self._by_address[network]:
                del self._by_address[network]  # the table is no longer than the list of peers
            connection_log.info(
                "connection closed",
                reason=publisher.reason or "server stopping",
                stream=publisher.stream_id,
                seconds=round(trio.current_time() - started_s, 1),
                bytes=publisher.bytes_received,
            )
            await trio.aclose_forcefully(stream)


class _PublisherConnection:
    """One connection: its phase, its deadline, its sink."""

    def __init__(
        self,
        stream: trio.abc.HalfCloseableStream,
        pump: Pump,
        admit: Admit,
        settings: RtmpServerSettings,
        connection_log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._driver = RtmpDriver(
            stream,
            Connection(Role.SERVER, random_bytes=token_bytes(RANDOM_BYTES)),
            send_timeout_s=settings.send_timeout_s,
            pump=pump,
        )
        self._admit = admit
        self._settings = settings
        self._log = connection_log
        self._scope = trio.CancelScope()
        self._sink: Sink | None = None
        self._message_stream_id = 0  # of the latest publish
        self._rearm_s = 0.0  # when media moves the deadline again
        self.stream_id: str | None = None
        """The stream it published to, once it was admitted."""
        self.reason: str | None = None
        """Why it ended; None while nothing but the server's own end can be why."""

    @property
    def bytes_received(self) -> int:
        return self._driver.bytes_received

    def conclude(self, reason: str) -> None:
        """Say why it ends; the first reason is the true one, what follows are consequences."""
        if self.reason is None:
            self.reason = reason

    async def run(self) -> None:
        """Serve to the end; `reason` says why it came."""
        settings = self._settings
        try:
            with self._scope as scope:
                scope.deadline = trio.current_time() + settings.handshake_timeout_s
                await self._converse_or_refuse()
            if scope.cancelled_caught:
                if self._sink is not None:
                    self.conclude(f"no media for {settings.publish_timeout_s:g} s")
                self.conclude(f"not publishing after {settings.handshake_timeout_s:g} s")
        except RemoteProtocolError as error:
            self.conclude(f"protocol error: {error}")
        except trio.TooSlowError:
            self.conclude(f"took no reply for {settings.send_timeout_s:g} s")
        except (trio.BrokenResourceError, ConnectionError):
            self.conclude("connection lost")
        finally:
            self._close_sink()

    async def _converse_or_refuse(self) -> None:
        try:
            await self._converse()
        except PublishDeniedError as error:
            # BadName whatever the reason: OBS and librtmp stop at it and tell their user; at a code
            # that they do not know they wait on.
            self.conclude(f"refused: {error}")
            await self._refuse(PublishRefusal.BAD_NAME, str(error))
        except PublishStoppedError as error:
            self.conclude(str(error))
            await self._refuse(PublishRefusal.REJECTED, str(error))

    async def _converse(self) -> None:
        """Follow the events until the peer ends or is refused."""
        while (event := await self._driver.relay(self._take)) is not None:
            if isinstance(event, Connect):
                # Any app will do: the key decides. An encoder whose connect is rejected waits on in
                # silence (OBS does); one whose publish is refused says so.
                await self._driver.send(ConnectAccepted())
            elif isinstance(event, Publish):
                await self._publish(event)
            elif isinstance(event, Unpublish):
                self._close_sink(goodbye=True)
                self._scope.deadline = trio.current_time() + self._settings.handshake_timeout_s
        self.conclude("closed by the publisher")

    def _take(self, event: Event) -> bool:
        """Deal with media at once, and leave what needs a task; the rest means nothing to us."""
        if isinstance(event, MEDIA):
            if self._sink is not None:
                self._sink.push(event)
                now_s = trio.current_time()
                if now_s >= self._rearm_s:
                    self._expect_media(now_s)
            return True
        if isinstance(event, CuePoint) and self._sink is not None:
            self._sink.cue(event.values)
        return not isinstance(event, TURNS)

    def _expect_media(self, now_s: float) -> None:
        # Moving a deadline costs as much as the rest of a message, so it moves at most every
        # `slack_s`, and a silent publisher is cut off at most so much late.
        silence_s = self._settings.publish_timeout_s
        slack_s = silence_s / REARMS_PER_TIMEOUT
        self._rearm_s = now_s + slack_s
        self._scope.deadline = now_s + silence_s + slack_s

    async def _publish(self, event: Publish) -> None:
        """Ask for admission and begin; raises `PublishDeniedError`."""
        self._message_stream_id = event.stream_id
        self._sink = await self._admit(event.name, self._disconnect)
        self.stream_id = self._sink.stream_id
        self._expect_media(trio.current_time())
        self._log.info("publishing", stream=self.stream_id)
        await self._driver.send(PublishStarted(stream_id=event.stream_id))

    async def _refuse(self, code: PublishRefusal, description: str) -> None:
        """Tell the publisher why it cannot go on, and close."""
        self._close_sink()
        await self._driver.refuse(
            PublishRefused(stream_id=self._message_stream_id, code=code, description=description)
        )

    def _disconnect(self, reason: str) -> None:
        self.conclude(reason)
        self._scope.cancel(reason=reason)

    def _close_sink(self, *, goodbye: bool = False) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close(goodbye=goodbye)


def _network_of(address: str) -> str:
    """What counts as one address: of IPv6 the first 64 bits, for whoever has one has 2**64."""
    if ":" not in address:
        return address
    ip = IPv6Address(address.partition("%")[0])
    return str(ip.ipv4_mapped or IPv6Address(int(ip) >> 64 << 64))


def _find_dead_peers(stream: trio.SocketStream, patience_s: float) -> None:
    """Have the kernel notice a peer that vanished without FIN, also while we have much to send."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    probe_s = max(1, int(patience_s / 4))
    for name, value in (
        ("TCP_KEEPIDLE", probe_s),
        ("TCP_KEEPINTVL", probe_s),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", int(patience_s * 1_000)),
    ):
        if hasattr(socket, name):  # each of them is missing on some system
            stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
