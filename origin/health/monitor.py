"""Looks at every live broadcast twice a second, says what is wrong with it, and knows how it goes.

`open` is called by a publication, which notes each message in the `Meter` that it gets. One task
(`run`) does all the rest. A broadcast is known from its first publisher to its end, through all the
publishers that it has: while one is awaited, that is the one alert that it has.

A broadcast's alerts and its last figures are told to the `EventBus` (``alert.started``,
``alert.ended``) and to `on_figures`. A bug in one broadcast's figures ends the looking at that
broadcast; its media knows nothing of it.

Bounds: one watch for each live broadcast; each holds a meter, alerts and ten minutes of history (40
KB). Cost: some 0.3 ms a look and broadcast; between two of them is a checkpoint.

May import control, edge.events, hls and origin's own.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog
import trio

from edge.events import EventBus
from origin.broadcast import Broadcast, Broadcasts
from origin.health.alerts import Alert, Alerts
from origin.health.history import ROWS, History
from origin.health.meter import Meter, Reading
from origin.health.report import (
    Figures,
    HealthReport,
    encoder_name,
    history_row,
    make_columns,
    make_figures,
    publisher_info,
)
from origin.health.rules import Limits
from origin.rtmp.publisher import Peer
from origin.transcode.health import TranscodeHealth

LOOK_S: Final = 0.5
"""From one look to the next."""

LOOKS_PER_ROW: Final = 2
"""Figures are told, and kept, once a second."""

log = structlog.get_logger("health")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFigures:
    """One broadcast's figures for Prometheus."""

    stream_id: str
    figures: Figures
    alerts: tuple[str, ...]
    """Codes of those that are active."""


@dataclass(slots=True, eq=False)
class _Watch:
    broadcast: Broadcast
    alerts: Alerts
    meter: Meter
    peer: Peer
    history: History = field(default_factory=History)
    encoder: str | None = None
    figures: Figures | None = None
    dropped: int = 0
    """Frames, since the broadcast began."""
    late: int = 0
    # Since the last row of the history.
    looks: int = 0
    row_kbits: float = 0.0
    row_s: float = 0.0
    row_dropped: int = 0
    row_late: int = 0


class HealthMonitor:
    """The health of all broadcasts of this process.

    Args:
        broadcasts: Knows who is live.
        events: Where alerts are told.
        transcode: How a stream's ladder fares; None: it has none.
        limits: What counts as wrong.
        clock: Gives UTC seconds since 1970.
    """

    def __init__(
        self,
        *,
        broadcasts: Broadcasts,
        events: EventBus,
        transcode: Callable[[str], TranscodeHealth | None] = lambda _stream_id: None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.on_figures: Callable[[str, Figures], None] = lambda _stream_id, _figures: None
        """Is told a stream's figures, once a second; must not block."""
        self._broadcasts = broadcasts
        self._events = events
        self._transcode = transcode
        self._limits = limits or Limits()
        self._clock = clock
        self._watches: dict[str, _Watch] = {}

    # -- steps: synchronous, never a checkpoint

    def open(self, broadcast: Broadcast, peer: Peer) -> Meter:
        """Begin to measure a publisher.

        Args:
            broadcast: Live; it publishes it.
            peer: Its connection.

        Returns:
            Where its messages are to be noted.
        """
        watch = self._watches.get(broadcast.stream_id)
        if watch is not None and watch.broadcast is not broadcast:
            self._close(watch)
            watch = None
        meter = Meter(trio.current_time())
        if watch is None:
            self._watches[broadcast.stream_id] = _Watch(
                broadcast, Alerts(self._limits), meter, peer
            )
        else:
            watch.meter, watch.peer = meter, peer
        return meter

    def describe(self, broadcast: Broadcast, values: Mapping[str, object]) -> None:
        """A publisher says what it is (``onMetaData``)."""
        watch = self._watches.get(broadcast.stream_id)
        name = encoder_name(values)
        if watch is not None and name is not None:
            watch.encoder = name

    def reconfigure(self, limits: Limits) -> None:
        """Judge by other limits from now on."""
        self._limits = limits
        for watch in self._watches.values():
            watch.alerts.limits = limits

    # -- questions

    def report(self, stream_id: str, *, history_s: float = ROWS) -> HealthReport | None:
        """Say how a stream fares; None: it is not live, or never had a publisher.

        Args:
            stream_id: Its id.
            history_s: How much of its history is wanted, seconds.
        """
        watch = self._watches.get(stream_id)
        if watch is None or self._broadcasts.live(stream_id) is not watch.broadcast:
            return None
        return HealthReport(
            stream_id=stream_id,
            broadcast_id=watch.broadcast.token,
            publisher=publisher_info(
                watch.meter.tracks,
                connected=watch.broadcast.feed is not None,
                encoder=watch.encoder,
            ),
            figures=watch.figures,
            alerts=watch.alerts.active,
            recent_alerts=watch.alerts.recent,
            history=make_columns(*watch.history.rows_since(self._clock() - history_s)),
        )

    def figures(self) -> Iterator[StreamFigures]:
        """The newest figures of every live broadcast."""
        for stream_id, watch in self._watches.items():
            if watch.figures is not None:
                codes = tuple(alert.code for alert in watch.alerts.active)
                yield StreamFigures(stream_id=stream_id, figures=watch.figures, alerts=codes)

    # -- what takes time

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look, again and again, until cancelled."""
        task_status.started()
        due_s = trio.current_time()
        while True:
            due_s = max(due_s + LOOK_S, trio.current_time())  # late once is not late for ever
            await trio.sleep_until(due_s)
            for watch in list(self._watches.values()):
                self._look_safely(watch)
                await trio.lowlevel.checkpoint()

    def _look_safely(self, watch: _Watch) -> None:
        stream_id = watch.broadcast.stream_id
        if self._watches.get(stream_id) is not watch:
            return  # another broadcast has taken its place meanwhile
        try:
            if self._broadcasts.live(stream_id) is watch.broadcast:
                self._look(watch)
            else:
                self._close(watch)
        except Exception:
            log.exception("health is not known any more", stream=stream_id)
            self._watches.pop(stream_id, None)

    def _look(self, watch: _Watch) -> None:
        stream_id = watch.broadcast.stream_id
        is_lost = watch.broadcast.feed is None
        reading = watch.meter.look(trio.current_time())
        transcode = self._transcode(stream_id)
        at_s = self._clock()
        at_ms = round(at_s * 1000)
        watch.dropped += reading.dropped
        watch.late += reading.late
        told = watch.alerts.judge(reading, is_lost=is_lost, transcode=transcode, at_ms=at_ms)
        if self._counts_row(watch, reading):
            tcp = None if is_lost else watch.peer.tcp_figures()
            watch.figures = make_figures(
                reading,
                at_ms=at_ms,
                bitrate_kbps=watch.row_kbits / watch.row_s if watch.row_s else 0.0,
                dropped=watch.dropped,
                late=watch.late,
                tcp=tcp,
                transcode=transcode,
            )
            watch.history.add(
                at_s, history_row(watch.figures, dropped=watch.row_dropped, late=watch.row_late)
            )
            watch.looks = watch.row_dropped = watch.row_late = 0
            watch.row_kbits = watch.row_s = 0.0
            self.on_figures(stream_id, watch.figures)
        for alert in told:
            self._tell(watch, alert)

    @staticmethod
    def _counts_row(watch: _Watch, reading: Reading) -> bool:
        """Add a reading to the row that is being made; says whether that is full."""
        watch.looks += 1
        watch.row_kbits += reading.bitrate_kbps * reading.span_s
        watch.row_s += reading.span_s
        watch.row_dropped += reading.dropped
        watch.row_late += reading.late
        return watch.looks >= LOOKS_PER_ROW

    def _close(self, watch: _Watch) -> None:
        """Its broadcast is over."""
        del self._watches[watch.broadcast.stream_id]
        for alert in watch.alerts.end_all(round(self._clock() * 1000)):
            self._tell(watch, alert)

    def _tell(self, watch: _Watch, alert: Alert) -> None:
        stream_id = watch.broadcast.stream_id
        kind = "alert.started" if alert.ended_at is None else "alert.ended"
        log.info(kind, stream=stream_id, code=alert.code, value=alert.value)
        self._events.emit(
            kind,
            stream_id,
            broadcastId=watch.broadcast.token,
            code=alert.code,
            severity=alert.severity,
            text=alert.text,
            advice=alert.advice,
            value=alert.value,
            threshold=alert.threshold,
            startedAt=alert.started_at,
            endedAt=alert.ended_at,
        )
