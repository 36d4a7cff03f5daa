"""One connection of the RTMP server: its phases, its deadline, and who takes its media.

::

    handshake -> connect -> createStream -> publish -> media ... -> unpublish -> publish again
    |-------- handshake_timeout_s in all ----------|- silence -|-- handshake_timeout_s --|

A deadline covers a phase, never a single read: a peer that sends one byte a second is cut off when
the phase is over. While it publishes, media (not pings) re-arms the deadline.

Not here: what a key means and where media goes. `Admit` answers the first, `Sink` takes the second;
`origin.ingest` implements both, tests pass fakes. A sink is called synchronously: publisher to
packager needs no queue, and TCP pushes back by itself. In return it has a `Peer`, by which it ends
the connection.

May import rtmpcore, trio, structlog and origin.rtmp.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from secrets import token_bytes
from typing import ClassVar, Final, Protocol

import structlog
import trio

from origin.rtmp.capabilities import INGESTED
from origin.rtmp.driver import RtmpDriver
from origin.rtmp.figures import Ending
from origin.rtmp.pump import Pump
from origin.rtmp.tcp_info import TcpFigures, tcp_figures
from rtmpcore import (
    AmfValue,
    AudioMessage,
    Connect,
    ConnectAccepted,
    Connection,
    CuePoint,
    Event,
    Feature,
    LocalProtocolError,
    Metadata,
    Play,
    PlayRefusal,
    PlayRefused,
    Publish,
    PublishRefusal,
    PublishRefused,
    PublishStarted,
    ReconnectRequest,
    RemoteProtocolError,
    Role,
    Unpublish,
    VideoMessage,
)
from rtmpcore.handshake import RANDOM_BYTES

REARMS_PER_TIMEOUT: Final = 20
"""How often, at the most, media moves the deadline within one time-out."""

MAX_NAME_CHARS: Final = 200
"""That are kept of what a peer says of itself when it connects."""

MEDIA: Final = (VideoMessage, AudioMessage)
"""The events that are dealt with at once, by the sink."""

TURNS: Final = (Connect, Publish, Unpublish, Play)
"""The events that are our turn to act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a peer is waited for, seconds."""

    handshake_timeout_s: float = 10.0
    """From accept to publish, in all; also from unpublish to the next publish."""

    publish_timeout_s: float = 20.0
    """Most silence, in media, from a publisher."""

    send_timeout_s: float = 10.0
    """Most time for a peer to take what we have to say."""


class PublishDeniedError(Exception):
    """`Admit` says no; ``str(error)`` is the reason, fit for the publisher and for the log.

    Args:
        text: The reason.
        code: The same in a word of ours, for figures.
    """

    refusal: ClassVar = PublishRefusal.BAD_NAME
    """The code that says it to an encoder. OBS and librtmp stop at each of them and tell their
    user; at a code that they do not know they wait on."""

    def __init__(self, text: str, *, code: str = "refused") -> None:
        super().__init__(text)
        self.code = code


class NoRoomError(PublishDeniedError):
    """Nothing is wrong with the publisher: it comes at a bad time."""

    refusal = PublishRefusal.REJECTED


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

    def describe(self, values: Mapping[str, AmfValue]) -> None:
        """The publisher describes its tracks (``onMetaData``); never fails."""
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


class Peer(Protocol):
    """A publisher's connection, as those see it who take its media."""

    @property
    def address(self) -> str:
        """Its IP address; "" if it has none."""
        ...

    @property
    def app(self) -> str:
        """The application that it connected to, as sent, at most `MAX_NAME_CHARS`."""
        ...

    @property
    def encoder(self) -> str:
        """What it called itself when it connected, as sent, at most `MAX_NAME_CHARS`."""
        ...

    @property
    def silent_s(self) -> float:
        """Seconds since its last byte."""
        ...

    @property
    def heard_s(self) -> float:
        """When its last bytes came, in Trio's time."""
        ...

    def tcp_figures(self) -> TcpFigures | None:
        """What the kernel knows of its connection; None: nothing."""
        ...

    def disconnect(self, reason: str, *, for_good: bool = False) -> None:
        """End it from outside. Synchronous; idempotent.

        Args:
            reason: For its closing line.
            for_good: Its encoder is told why, and so not to come back by itself. If not, it is
                asked to come back, where it knows how to be asked.
        """
        ...


Admit = Callable[[str, Peer], Awaitable[Sink]]
"""From a stream key to a sink that is ours from now on; raises `PublishDeniedError`."""

ServePlayer = Callable[[RtmpDriver, Play, str], Awaitable[str]]
"""Serves a connection that asks to play, from that address, to its end, or refuses it; returns
why it is over."""


async def refuse_player(driver: RtmpDriver, play: Play, _address: str) -> str:
    """Serve no player: what a server does that is not told otherwise."""
    reason = "playback is not served here"
    await driver.refuse(
        PlayRefused(stream_id=play.stream_id, code=PlayRefusal.FAILED, description=reason)
    )
    return f"refused: {reason}"


class PublisherConnection:
    """One connection: its phase, its deadline, its sink. A `Peer` of that sink.

    Args:
        stream: After whatever comes before RTMP.
        pump: Reads it.
        admit: Decides on the stream key.
        play: Serves it if it asks to play.
        settings: Deadlines.
        connection_log: Bound to the connection.
        address: The peer's.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        pump: Pump,
        admit: Admit,
        play: ServePlayer,
        settings: Patience,
        connection_log: structlog.typing.FilteringBoundLogger,
        address: str = "",
    ) -> None:
        self.address = address
        """See `Peer`."""
        self.app = ""
        """See `Peer`."""
        self.encoder = ""
        """See `Peer`."""
        self._stream = stream
        self._driver = RtmpDriver(
            stream,
            Connection(Role.SERVER, random_bytes=token_bytes(RANDOM_BYTES)),
            send_timeout_s=settings.send_timeout_s,
            pump=pump,
        )
        self._admit = admit
        self._serve_player = play
        self._settings = settings
        self._log = connection_log
        self._scope = trio.CancelScope()
        self._sink: Sink | None = None
        self._message_stream_id = 0  # of the latest publish
        self._rearm_s = 0.0  # when media moves the deadline again
        self._features = Feature(0)  # of Enhanced RTMP, that the peer has
        self._farewell: PublishRefused | ReconnectRequest | None = None
        self.stream_id: str | None = None
        """The stream it published to, once it was admitted."""
        self.reason: str | None = None
        """Why it ended; None while nothing but the server's own end can be why."""
        self.ending = Ending.STOPPING
        """The same in a word."""
        self.refusal: str | None = None
        """The code with which it was refused, if it was."""

    @property
    def silent_s(self) -> float:
        """See `Peer`."""
        return trio.current_time() - self._driver.heard_s

    @property
    def heard_s(self) -> float:
        """See `Peer`."""
        return self._driver.heard_s

    def tcp_figures(self) -> TcpFigures | None:
        """See `Peer`."""
        return tcp_figures(self._stream)

    @property
    def bytes_received(self) -> int:
        """Bytes that came so far."""
        return self._driver.bytes_received

    @property
    def is_publishing(self) -> bool:
        """Whether it feeds a stream now."""
        return self._sink is not None

    def conclude(self, reason: str, ending: Ending) -> None:
        """Say why it ends; the first reason is the true one, what follows are consequences."""
        if self.reason is None:
            self.reason, self.ending = reason, ending

    async def run(self) -> None:
        """Serve to the end; `reason` says why it came."""
        settings = self._settings
        try:
            with self._scope as scope:
                scope.deadline = trio.current_time() + settings.handshake_timeout_s
                await self._converse_or_refuse()
            if scope.cancelled_caught:
                if self._sink is not None:
                    self.conclude(f"no media for {settings.publish_timeout_s:g} s", Ending.SILENT)
                self.conclude(
                    f"not publishing after {settings.handshake_timeout_s:g} s", Ending.SILENT
                )
                if self._farewell is not None:
                    await self._part(self._farewell)
        except RemoteProtocolError as error:
            self.conclude(f"protocol error: {error}", Ending.PROTOCOL)
        except trio.TooSlowError:
            self.conclude(f"took no reply for {settings.send_timeout_s:g} s", Ending.SLOW)
        except (trio.BrokenResourceError, ConnectionError):
            self.conclude("connection lost", Ending.LOST)
        finally:
            self._close_sink()

    async def _converse_or_refuse(self) -> None:
        try:
            await self._converse()
        except PublishDeniedError as error:
            self.conclude(f"refused: {error}", Ending.REFUSED)
            self.refusal = error.code
            await self._refuse(error.refusal, str(error))
        except PublishStoppedError as error:
            self.conclude(str(error), Ending.UNUSABLE)
            await self._refuse(PublishRefusal.REJECTED, str(error))

    async def _converse(self) -> None:
        """Follow the events until the peer ends or is refused."""
        while (event := await self._driver.relay(self._take)) is not None:
            if isinstance(event, Connect):
                # Any app will do: the key decides. An encoder whose connect is rejected waits on in
                # silence (OBS does); one whose publish is refused says so.
                self._features = event.capabilities.features
                self.app = event.app[:MAX_NAME_CHARS]
                self.encoder = event.flash_version[:MAX_NAME_CHARS]
                await self._driver.send(ConnectAccepted(capabilities=INGESTED))
            elif isinstance(event, Publish):
                await self._publish(event)
            elif isinstance(event, Play):
                self._scope.deadline = float("inf")  # whoever serves it has a deadline for writes
                reason = await self._serve_player(self._driver, event, self.address)
                is_refused = reason.startswith("refused")
                self.conclude(reason, Ending.REFUSED if is_refused else Ending.CLOSED)
                return
            elif isinstance(event, Unpublish):
                self._close_sink(goodbye=True)
                self._scope.deadline = trio.current_time() + self._settings.handshake_timeout_s
        self.conclude("closed by the publisher", Ending.CLOSED)

    def _take(self, event: Event) -> bool:
        """Deal with media at once, and leave what needs a task; the rest means nothing to us."""
        if isinstance(event, MEDIA):
            if self._sink is not None:
                self._sink.push(event)
                now_s = trio.current_time()
                if now_s >= self._rearm_s:
                    self._expect_media(now_s)
            return True
        if self._sink is not None:
            if isinstance(event, CuePoint):
                self._sink.cue(event.values)
            elif isinstance(event, Metadata):
                self._sink.describe(event.values)
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
        self._sink = await self._admit(event.name, self)
        self.stream_id = self._sink.stream_id
        self._expect_media(trio.current_time())
        structlog.contextvars.bind_contextvars(stream=self.stream_id)
        self._log.info("publishing", stream=self.stream_id)
        await self._driver.send(PublishStarted(stream_id=event.stream_id))

    async def _refuse(self, code: PublishRefusal, description: str) -> None:
        """Tell the publisher why it cannot go on, and close."""
        self._close_sink()
        await self._driver.refuse(
            PublishRefused(stream_id=self._message_stream_id, code=code, description=description)
        )

    def disconnect(self, reason: str, *, for_good: bool = False) -> None:
        """See `Peer`."""
        self.conclude(reason, Ending.ENDED)
        if for_good:
            self._farewell = PublishRefused(
                stream_id=self._message_stream_id, code=PublishRefusal.DENIED, description=reason
            )
        elif Feature.RECONNECT in self._features:
            self._farewell = ReconnectRequest(description=reason)
        self._scope.cancel(reason=reason)

    async def _part(self, farewell: PublishRefused | ReconnectRequest) -> None:
        """Say a last word to a peer that is disconnected from outside, if it can be said."""
        try:
            await self._driver.refuse(farewell)
        except LocalProtocolError:  # it is not publishing, or was cut off in the middle of a word
            await self._driver.close()

    def _close_sink(self, *, goodbye: bool = False) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close(goodbye=goodbye)
