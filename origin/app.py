"""The origin as a process: what is opened, in which order it starts and stops.

::

    process nursery
      |- broadcasts.run        store writes, ENDLISTs, freeing of media
      |- transcoding.run       one task per broadcast that has a ladder, and its worker process
      |- slates.run            one task per broadcast whose publisher is awaited (origin/slate)
      |- relaying.run          one task per connection to another server (origin/relay)
      |- observer.run          looks at it all, for /metrics and /ready (origin/observe)
      |- platform.run          what serves the API beside broadcasts (origin/platform)
      |- serve_http            listeners, one task per viewer connection
      |- RtmpServer.serve      listeners, one task per publisher
      |- demo                  a child process, on request
      '- signals               SIGTERM, SIGINT: begin the stop; SIGHUP: origin/reload

A stop begins with ``farewell_s`` in which only `/ready` knows of it. Then it is graceful and
bounded by ``drain_timeout_s``, in this order: broadcasts end, so that every
viewer gets the last parts and then ENDLIST; publishers are disconnected; HTTP answers what it
holds; the store closes. A second signal cuts it short.

Everything that can fail at the start (folder, database, token, ports) is opened before anything
runs, and fails as `StartupError` with one line.

May import everything of ours.
"""

import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from control import AdminToken, SqliteStore, StoreError, load_or_create_admin_token
from control.secret_file import load_or_create_key
from edge.audience.api import Audience
from edge.audience.pace import pace_of
from edge.chat.api import ChatApi
from edge.events import EventBus
from edge.guesses import Guesses
from edge.http.routes import App
from edge.http.server import HttpServer, serve_http
from edge.http.tls import Certificate, CertificateError
from edge.live import LiveStreams
from edge.playback.media import MediaGate
from edge.process.address import Address
from edge.process.errors import ConfigError, StartupError
from edge.process.listeners import address_of, open_listeners, raise_file_limit
from edge.process.lookups import use_own_threads
from edge.process.settings import Sources
from hls import TimelineSettings
from hls.segmenter_settings import SegmenterSettings
from origin.backend import OriginBackend
from origin.broadcast import Broadcasts
from origin.chat import make_chat, socket_settings
from origin.config import Settings
from origin.demo.launch import run_demo
from origin.health.monitor import HealthMonitor
from origin.health.rules import limits_of
from origin.hooks.publish import make_publish_hook
from origin.ingest import Ingest
from origin.live_settings import http_settings, ingest_settings, live_parts, rtmp_settings
from origin.metrics import TranscodeMetrics
from origin.observe.observer import Observer
from origin.platform import Platform
from origin.playback import OriginPlayback
from origin.recording.recorder import Recorder, recorder_settings
from origin.relay.service import Relaying
from origin.relay.tap import Taps
from origin.reload import Load, Reloading
from origin.rtmp.server import RtmpServer
from origin.slate.clip import SlateError, check_file
from origin.slate.show import Slates
from origin.transcode import measure
from origin.transcode.capacity import ESTIMATE
from origin.transcode.service import TranscodeSettings, Transcoding

#: Files in the data folder.
DATABASE_NAME: Final = "headrace.sqlite3"
ADMIN_TOKEN_NAME: Final = "admin-token"
HOOK_KEY_NAME: Final = "hook-key"

#: Fields of `Listening`, as the log lists them.
LISTENERS: Final = ("http", "https", "rtmp", "rtmps")

FAREWELL_S: Final = 0.3
"""From ENDLIST to the end of HTTP: players that were between two requests fetch it."""

log = structlog.get_logger("app")


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a running origin can be reached, with the ports that the kernel chose for 0."""

    http: Address
    rtmp: Address
    https: Address | None = None
    rtmps: Address | None = None


async def run(
    settings: Settings,
    sources: Sources | None = None,
    load: Load | None = None,
    *,
    task_status: trio.TaskStatus[Listening] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run an origin until SIGTERM or SIGINT, then drain; returns when everything is closed.

    Args:
        settings: Checked settings.
        sources: Where each was given.
        load: Gathers them again, after SIGHUP or a call of the API; None: they stay.
        task_status: Reports the addresses once connections are accepted.

    Raises:
        StartupError: Something needed cannot be opened; nothing was served.

    Cancellation: stops at once, without a drain; nothing outlives it.
    """
    raise_file_limit()
    use_own_threads()
    await _check_slate(settings)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with (
            _open_store(settings) as store,
            open_listeners("HTTP", settings.http_address) as http,
            open_listeners("RTMP", settings.rtmp_address) as rtmp,
            open_listeners("HTTPS", settings.https_address) as https,
            open_listeners("RTMPS", settings.rtmps_address) as rtmps,
        ):
            reloading = Reloading(settings, sources, load)
            origin = _Origin(reloading, store, _admin_token(settings), _certificate(settings))
            listening = Listening(
                http=address_of(http[0]),
                rtmp=address_of(rtmp[0]),
                https=address_of(https[0]) if https else None,
                rtmps=address_of(rtmps[0]) if rtmps else None,
            )
            async with trio.open_nursery() as process_nursery:
                await origin.start(process_nursery, http, https, rtmp, rtmps)
                places = {name: getattr(listening, name) for name in LISTENERS}
                log.info(
                    "listening", **{name: str(place) for name, place in places.items() if place}
                )
                if store.abandoned:  # not before: a start that is refused says one line only
                    log.warning(
                        "ended broadcasts that a crash left live", count=len(store.abandoned)
                    )
                _greet(settings, listening)
                if settings.demo:
                    process_nursery.start_soon(origin.run_demo, listening)
                task_status.started(listening)

                while await anext(signals) == signal.SIGHUP:
                    reloading.reload_and_log()
                log.info("stopping")
                origin.observer.stop()
                process_nursery.start_soon(_cut_short, signals, process_nursery.cancel_scope)
                await trio.sleep(reloading.settings.farewell_s)
                process_nursery.cancel_scope.deadline = (
                    trio.current_time() + reloading.settings.drain_timeout_s
                )
                await origin.stop()
                process_nursery.cancel_scope.cancel(reason="drained")
    log.info("stopped")


class _Origin:
    """The parts of a running origin, and the order of their start and end."""

    def __init__(
        self,
        reloading: Reloading,
        store: SqliteStore,
        admin_token: AdminToken,
        certificate: Certificate | None,
    ) -> None:
        settings = self._settings = reloading.settings
        self._reloading = reloading
        self._certificate = certificate
        self._store = store
        live = LiveStreams()
        events = EventBus()
        self._broadcasts = Broadcasts(
            live=live,
            store=store,
            timeline_settings=TimelineSettings(window_segments=settings.window_segments),
            reconnect_grace_s=settings.reconnect_grace_s,
            events=events,
        )
        guesses = Guesses()
        self._slates = _slates(settings, self._broadcasts)
        self._audience = audience = Audience(
            self._broadcasts.is_live,
            pace=lambda stream_id: pace_of(live.get(stream_id)),
            store=store.audience,
        )
        playback = OriginPlayback(
            settings,
            store=store,
            admin_token=admin_token,
            guesses=guesses,
            on_change=live.renew,
        )
        events.listen(audience.on_event)
        backend = OriginBackend(
            store=store,
            broadcasts=self._broadcasts,
            admin_token=admin_token,
            viewers=audience.count,
            policy=lambda stream_id: playback.policies.of(stream_id).policy,
            events=events,
        )
        metrics = TranscodeMetrics()
        self._transcoding = _transcoding(settings, self._broadcasts, metrics)
        health = HealthMonitor(
            broadcasts=self._broadcasts,
            events=events,
            transcode=self._transcoding.health,
            limits=limits_of(settings),
        )
        recorder = Recorder(
            settings=recorder_settings(settings),
            recordings=store.recordings,
            get_stream=store.get_stream,
            events=events,
        )
        taps = Taps()
        publish_hook = make_publish_hook(settings, store)
        self._ingest = ingest = Ingest(
            keys=store.access,
            broadcasts=self._broadcasts,
            guesses=guesses,
            health=health,
            record=recorder.begin,
            judge=None if publish_hook is None else publish_hook.judge,
            transcoding=self._transcoding,
            taps=taps,
            settings=ingest_settings(settings),
            segmenter_settings=SegmenterSettings(
                segment_target_s=settings.segment_target_s, part_target_s=settings.part_target_s
            ),
        )
        self._chat = make_chat(settings, store, backend, self._broadcasts, events)
        self._relaying = Relaying(
            store=store, admin_token=admin_token, taps=taps, take=ingest.take, guesses=guesses
        )
        self._platform = Platform(
            store=store,
            broadcasts=self._broadcasts,
            backend=backend,
            relays=self._relaying,
            admin_token=admin_token,
            guesses=guesses,
            audience=audience,
            events=events,
            health=health,
            hook_key=_hook_key(settings),
            playback=playback,
            recorder=recorder,
            publish_hook=publish_hook,
            reloading=reloading,
        )
        chat_api = ChatApi(self._chat, socket_settings(settings), self._platform.access)
        self._http_app = App(
            live=live,
            metrics=lambda: self.observer.metrics(),
            ready=lambda: self.observer.ready(),
            chat=chat_api,
            router=self._platform.router,
            gate=MediaGate(playback.policies, playback.gate),
        )
        self._rtmp_server = RtmpServer(
            admit=ingest.admit,
            play=self._relaying.play,
            settings=rtmp_settings(settings),
            tls_context=None if certificate is None else certificate.context,
        )
        self.observer = Observer(
            settings,
            store=store,
            broadcasts=self._broadcasts,
            events=events,
            transcoding=self._transcoding,
            transcode_metrics=metrics,
            health=health,
            audience=audience,
            guesses=guesses,
            rtmp=self._rtmp_server,
            chat=self._chat,
            live_events=self._platform.live_events,
            hooks=self._platform.hooks,
            recorder=recorder,
            playback=playback.gate,
        )
        """What operators see."""
        self._http_server: HttpServer | None = None
        reloading.tell(
            live_parts(
                access_log=self.observer.requests,
                broadcasts=self._broadcasts,
                certificate=certificate,
                chat=self._chat,
                chat_api=chat_api,
                health=health,
                http_server=lambda: self._http_server,
                ingest=ingest,
                platform=self._platform,
                recorder=recorder,
                rtmp_server=self._rtmp_server,
                store=store,
                transcoding=self._transcoding,
            )
        )
        self._rtmp_scope = trio.CancelScope()
        self._http_stop = trio.Event()
        self._http_done = trio.Event()
        self._demo_scope = trio.CancelScope()

    async def start(
        self,
        process_nursery: trio.Nursery,
        http: Sequence[trio.SocketListener],
        https: Sequence[trio.SocketListener],
        rtmp: Sequence[trio.SocketListener],
        rtmps: Sequence[trio.SocketListener],
    ) -> None:
        """Start everything; returns when connections are accepted."""
        await process_nursery.start(self._broadcasts.run)
        await process_nursery.start(self._transcoding.run)
        if self._slates is not None:
            await process_nursery.start(self._slates.run)
        await process_nursery.start(self._relaying.run)
        await process_nursery.start(self._chat.run)
        await process_nursery.start(self._platform.run)
        await process_nursery.start(self.observer.run)
        server: HttpServer = await process_nursery.start(self._serve_http, http, https)
        server.settings = http_settings(self._reloading.settings)  # a reload may have been faster
        self._http_server = server
        await process_nursery.start(self._serve_rtmp, rtmp, rtmps)
        self.observer.serving(server)

    async def stop(self) -> None:
        """Drain; the caller bounds it."""
        self._demo_scope.cancel(reason="server stopping")
        self._ingest.drain()
        anybody_live = self._broadcasts.end_all("server stopping")
        await self._broadcasts.settled()
        await self._platform.drain()
        self._rtmp_scope.cancel(reason="server stopping")
        self._chat.crowd.drain()
        if anybody_live:
            await trio.sleep(FAREWELL_S)
        self._http_stop.set()
        await self._http_done.wait()

    async def run_demo(self, listening: Listening) -> None:
        """Publish the built-in broadcast until the stop begins."""
        with self._demo_scope:
            await run_demo(
                self._store,
                rtmp=listening.rtmp,
                http=listening.http,
                log_format=self._settings.log_format,
            )

    async def _serve_http(
        self,
        listeners: Sequence[trio.SocketListener],
        tls_listeners: Sequence[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[HttpServer] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        await serve_http(
            listeners,
            self._http_app,
            settings=http_settings(self._settings),
            tls_listeners=tls_listeners,
            tls_context=None if self._certificate is None else self._certificate.context,
            stop=self._http_stop,
            audience=self._audience,
            tell=self.observer.requests.note,
            task_status=task_status,
        )
        self._http_done.set()

    async def _serve_rtmp(
        self,
        listeners: Sequence[trio.SocketListener],
        tls_listeners: Sequence[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with self._rtmp_scope:
            await self._rtmp_server.serve(listeners, tls_listeners, task_status=task_status)


def _transcoding(
    settings: Settings, broadcasts: Broadcasts, metrics: TranscodeMetrics
) -> Transcoding:
    ladder = settings.quality_ladder
    speed = measure.load(settings.data, ladder)
    capacity = measure.open_capacity(
        settings.transcode_cores, ESTIMATE if speed is None else speed.costs
    )
    metrics.watch_capacity(lambda: (capacity.bookable_cores, capacity.booked_cores))
    return Transcoding(
        settings=TranscodeSettings(
            ladder=ladder,
            max_gop_s=settings.max_gop_s,
            memory_bytes=settings.transcode_memory_mb * 1024 * 1024,
            folder=settings.data,
        ),
        speed=speed,
        capacity=capacity,
        broadcasts=broadcasts,
        metrics=metrics,
    )


def _slates(settings: Settings, broadcasts: Broadcasts) -> Slates | None:
    if settings.slate is None:
        return None
    slates = Slates(settings.slate, after_s=settings.slate_after_s, end=broadcasts.end)
    broadcasts.stand_in = slates.show
    return slates


async def _cut_short(signals: AsyncIterator[int], process_scope: trio.CancelScope) -> None:
    while await anext(signals) == signal.SIGHUP:
        pass
    log.warning("stopping at once")
    process_scope.cancel(reason="second signal")


@asynccontextmanager
async def _open_store(settings: Settings) -> AsyncIterator[SqliteStore]:
    try:
        store = await SqliteStore.open(settings.data / DATABASE_NAME)
    except StoreError as error:
        raise StartupError(str(error)) from error
    async with store:
        yield store


def _admin_token(settings: Settings) -> AdminToken:
    if settings.admin_token is not None:
        return AdminToken(settings.admin_token)
    try:
        return load_or_create_admin_token(settings.data / ADMIN_TOKEN_NAME)
    except StoreError as error:
        raise StartupError(str(error)) from error


def _hook_key(settings: Settings) -> bytes:
    try:
        return load_or_create_key(settings.data / HOOK_KEY_NAME)
    except StoreError as error:
        raise StartupError(str(error)) from error


async def _check_slate(settings: Settings) -> None:
    if settings.slate is None:
        return
    try:
        await check_file(settings.slate)
    except SlateError as error:
        raise ConfigError(f"slate: {error}") from error


def _certificate(settings: Settings) -> Certificate | None:
    """Load what HTTPS and RTMPS need; None: neither is served."""
    if settings.tls_certificate is None:
        return None
    try:
        return Certificate(settings.tls_certificate, settings.tls_key)
    except CertificateError as error:
        raise ConfigError(f"tls_certificate: {error}") from error


def _greet(settings: Settings, listening: Listening) -> None:
    """Tell a person at the terminal where to go. Never a secret, only where it lies."""
    lines = [
        f"Pages and API    http://{listening.http.reachable}/",
        *([f"The same by TLS  https://{listening.https.reachable}/"] if listening.https else []),
        f"OBS server       rtmp://{listening.rtmp.reachable}/live",
        *(
            [f"The same by TLS  rtmps://{listening.rtmps.reachable}/live"]
            if listening.rtmps
            else []
        ),
        "OBS stream key   the streamKey that POST /api/streams returns",
    ]
    if settings.admin_token is None:
        lines.append(f"Admin token      in {settings.data / ADMIN_TOKEN_NAME}")
    print("\n".join(lines), flush=True)
