"""All that operators see of an origin, put together: what `origin.app` makes one of, and runs.

May import everything of ours.
"""

from typing import TYPE_CHECKING

import trio
from prometheus_client import CollectorRegistry, ProcessCollector

from control import SqliteStore
from edge.audience.api import Audience
from edge.chat.service import ChatService
from edge.events import EventBus
from edge.guesses import Guesses
from edge.http.access_log import AccessLog
from edge.http.response import Response
from edge.playback.gate import Gate
from edge.process.pulse import Pulse
from origin.broadcast import Broadcasts
from origin.config import Settings
from origin.health.live_events import LiveEvents
from origin.health.monitor import HealthMonitor
from origin.hooks.service import Hooks
from origin.metrics import TranscodeMetrics
from origin.observe.exposition import Exposition
from origin.observe.families import OriginFamilies
from origin.observe.names import NamedStreams
from origin.observe.readiness import Readiness
from origin.observe.sources import EventCounts, Sources
from origin.recording.recorder import Recorder
from origin.rtmp.server import RtmpServer
from origin.transcode.service import Transcoding

if TYPE_CHECKING:
    from edge.http.server import Figures


class Observer:
    """Sees the parts of an origin.

    Args:
        settings: What the operator wants of it.
        store: Is asked whether it answers, and for its figures.
        broadcasts: Who is live.
        events: What happens.
        transcoding: Whether anything can be encoded.
        transcode_metrics: How it goes.
        health: How publishers fare.
        audience: Who watches.
        guesses: Wrong credentials.
        rtmp: The RTMP server.
        chat: The rooms.
        live_events: Who listens to live events.
        hooks: Who is told of events.
        recorder: Who keeps broadcasts.
        playback: Judges who may watch.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: SqliteStore,
        broadcasts: Broadcasts,
        events: EventBus,
        transcoding: Transcoding,
        transcode_metrics: TranscodeMetrics,
        health: HealthMonitor,
        audience: Audience,
        guesses: Guesses,
        rtmp: RtmpServer,
        chat: ChatService,
        live_events: LiveEvents,
        hooks: Hooks,
        recorder: Recorder,
        playback: Gate,
    ) -> None:
        self.requests = AccessLog(settings.access_log, share=settings.access_log_share)
        """Is to be told of each request."""
        names = NamedStreams(settings.metrics_streams)
        counts = EventCounts()
        for listener in (names.on_event, counts.on_event):
            events.listen(listener)
        self._pulse = Pulse()
        self._readiness = Readiness(
            store=store,
            folder=settings.data,
            min_free_bytes=settings.min_free_disk_mb << 20,
            transcoding=lambda: transcoding.trouble,
            listening=lambda: self._sources.http is not None,
        )
        transcode_metrics.names = names.__contains__
        self._sources = Sources(
            names=names,
            events=counts,
            pulse=self._pulse,
            requests=self.requests,
            broadcasts=broadcasts,
            health=health,
            audience=audience,
            guesses=guesses,
            rtmp=rtmp,
            chat=chat,
            store=store,
            readiness=self._readiness,
            listeners=live_events,
            hooks=hooks,
            recorder=recorder,
            playback=playback,
        )
        process = ProcessCollector(registry=CollectorRegistry())
        self._exposition = Exposition([OriginFamilies(self._sources), transcode_metrics, process])

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look, until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._pulse.run)
            await nursery.start(self._readiness.run)
            task_status.started()

    def serving(self, http: "Figures") -> None:
        """Connections are accepted: here are the figures of the HTTP server."""
        self._sources.http = http

    def stop(self) -> None:
        """The process is about to stop: it is not ready any more."""
        self._readiness.stop()

    async def metrics(self) -> bytes:
        """Answer `/metrics`."""
        return await self._exposition.render()

    def ready(self) -> Response:
        """Answer `/ready`."""
        return self._readiness.answer()
