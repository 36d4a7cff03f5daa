"""What Prometheus is told of an origin beside transcoding (`origin.metrics`): one table.

A row is a family: its name, kind and labels, and how its samples are taken from `Sources`. Names of
labels are few, and so are their values: codes and types are words of ours, streams are bounded by
`names`. No value is a secret, or an address, or anything that a peer may choose.

docs/metrics.md is this table for people, and a test says so. A part that is None in `Sources` has
its families all the same, without samples.

May import everything of ours, but only reads; prometheus-client. Spec:
https://prometheus.io/docs/practices/naming.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

import native
from edge.process.histogram import Histogram
from edge.process.terminal import program_version
from origin.health.report import Figures as HealthFigures
from origin.observe.sources import Sources

Kind = Literal["counter", "gauge", "histogram"]
Sample = tuple[tuple[str, ...], float]
"""Values of the labels, and the figure."""


class Family(NamedTuple):
    """A row."""

    name: str
    """As it is told, with the ending of its kind."""
    kind: Kind
    text: str
    labels: tuple[str, ...]
    take: Callable[[Sources], Iterable[Sample]]

    def collect(self, sources: Sources) -> Metric:
        """Take its samples."""
        if self.kind == "counter":
            counter = CounterMetricFamily(self.name, self.text, labels=self.labels)
            for labels, value in self.take(sources):
                counter.add_metric(labels, value)
            return counter
        gauge = GaugeMetricFamily(self.name, self.text, labels=self.labels)
        for labels, value in self.take(sources):
            gauge.add_metric(labels, value)
        return gauge


class Distribution(NamedTuple):
    """A row of a histogram."""

    name: str
    text: str
    take: Callable[[Sources], Histogram]

    def collect(self, sources: Sources) -> Metric:
        """Take its buckets."""
        histogram = self.take(sources)
        metric = HistogramMetricFamily(self.name, self.text)
        metric.add_metric((), histogram.buckets, histogram.total)
        return metric


class OriginFamilies(Collector):
    """Collects the table.

    Args:
        sources: Of an origin.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Make each family when it is asked for."""
        for family in FAMILIES:
            yield family.collect(self._sources)


# -- how samples are taken


def _one(take: Callable[[Sources], float]) -> Callable[[Sources], Iterable[Sample]]:
    return lambda it: (((), take(it)),)


def _counts(take: Callable[[Sources], Mapping[Any, int]]) -> Callable[[Sources], Iterable[Sample]]:
    """One sample for each key."""
    return lambda it: [((str(key),), count) for key, count in take(it).items()]


def _http(name: str) -> Callable[[Sources], Iterable[Sample]]:
    return lambda it: () if it.http is None else (((), getattr(it.http, name)),)


def _reactor(name: str) -> Callable[[Sources], Iterable[Sample]]:
    """A counter of the reactor, if there is one."""

    def take(it: Sources) -> Iterable[Sample]:
        counters = None if it.http is None else it.http.reactor
        return () if counters is None else (((), getattr(counters, name)),)

    return take


def _fanout(name: str) -> Callable[[Sources], Iterable[Sample]]:
    return _one(lambda it: getattr(it.chat.crowd.counters, name))


def _recorder(name: str) -> Callable[[Sources], Iterable[Sample]]:
    return lambda it: () if it.recorder is None else (((), getattr(it.recorder.figures(), name)),)


def _hooks(name: str) -> Callable[[Sources], Iterable[Sample]]:
    return lambda it: () if it.hooks is None else (((), getattr(it.hooks.figures(), name)),)


def _publisher(
    take: Callable[[HealthFigures], float | None],
) -> Callable[[Sources], Iterable[Sample]]:
    """A figure of each broadcast that has a name and a figure."""

    def samples(it: Sources) -> Iterator[Sample]:
        for stream in it.health.figures():
            if stream.stream_id in it.names:
                value = take(stream.figures)
                if value is not None:
                    yield (stream.stream_id,), value

    return samples


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value * unit


def _viewers(it: Sources) -> Iterable[Sample]:
    counts: Counter[str] = Counter()
    for stream_id in it.broadcasts.live_stream_ids():
        counts[it.names.label(stream_id)] += it.audience.count(stream_id)
    return [((label,), count) for label, count in counts.items()]


def _renditions(it: Sources) -> Iterable[Sample]:
    """By name; the ladder is the operator's, so the names are few."""
    counts: Counter[str] = Counter()
    for stream_id in it.broadcasts.live_stream_ids():
        broadcast = it.broadcasts.live(stream_id)
        if broadcast is not None and broadcast.live is not None:
            counts.update(list(broadcast.live.renditions))
    return [((name,), count) for name, count in counts.items()]


def _alerts(it: Sources) -> Iterable[Sample]:
    counts: Counter[str] = Counter()
    for stream in it.health.figures():
        counts.update(stream.alerts)
    return [((code,), count) for code, count in counts.items()]


def _alerts_by_stream(it: Sources) -> Iterator[Sample]:
    for stream in it.health.figures():
        if stream.stream_id in it.names:
            for code in stream.alerts:
                yield (stream.stream_id, code), 1


def _waiting(it: Sources) -> float:
    """Broadcasts without a publisher."""
    live = map(it.broadcasts.live, it.broadcasts.live_stream_ids())
    return sum(one is not None and one.feed is None for one in live)


def _requests(it: Sources) -> Iterable[Sample]:
    return [((http, str(code)), count) for (http, code), count in it.requests.counts.items()]


def _build(_sources: Sources) -> Iterable[Sample]:
    return (((program_version(), native.IMPLEMENTATION), 1),)


def _ready(it: Sources) -> Iterable[Sample]:
    return [((name,), reason is None) for name, reason in it.readiness.checks().items()]


def _disk(index: int) -> Callable[[Sources], Iterable[Sample]]:
    return lambda it: () if (room := it.readiness.room) is None else (((), room[index]),)


_H, _R, _C = "headrace_http_", "headrace_rtmp_", "headrace_chat_"
_STREAM: Final = ("stream",)

FAMILIES: Final[tuple[Family | Distribution, ...]] = (
    # The process
    Family("headrace_build_info", "gauge", "1; what runs.", ("version", "kernels"), _build),
    Distribution(
        "headrace_loop_lag_seconds",
        "By how much the event loop was late; looked at twice a second.",
        lambda it: it.pulse.lag_s,
    ),
    Family(
        "headrace_ready_check", "gauge", "1: this check of /ready is fine.", ("check",), _ready
    ),
    Family("headrace_data_free_bytes", "gauge", "Room in the data folder.", (), _disk(0)),
    Family("headrace_data_size_bytes", "gauge", "Size of its file system.", (), _disk(1)),
    # HTTP
    Family(_H + "connections", "gauge", "Open now.", (), _http("connections")),
    Family(_H + "connections_adopted", "gauge", "Of those, the reactor's.", (), _http("adopted")),
    Family(_H + "requests_parked", "gauge", "Held in the reactor now.", (), _http("parked")),
    Family(_H + "accepted_total", "counter", "Connections so far.", (), _http("accepted")),
    Family(
        _H + "turned_away_total",
        "counter",
        "Connections for which there was no place.",
        (),
        _http("turned_away"),
    ),
    Family(
        _H + "requests_total",
        "counter",
        "Answered by the tasks (not the reactor), by version of HTTP and status; 499: it left.",
        ("http", "code"),
        _requests,
    ),
    Distribution(
        _H + "request_seconds",
        "From the head of a request to the last byte of its answer, in the tasks; without those "
        "that are held.",
        lambda it: it.requests.took_s,
    ),
    Family(
        _H + "reactor_requests_total", "counter", "Seen by the reactor.", (), _reactor("requests")
    ),
    Family(_H + "reactor_hits_total", "counter", "Answered at once.", (), _reactor("hits")),
    Family(
        _H + "reactor_misses_total", "counter", "Keys that Python was asked for.", (),
        _reactor("misses"),
    ),
    Family(
        _H + "reactor_released_total", "counter", "Requests that were answered after a wait.", (),
        _reactor("released"),
    ),
    Family(
        _H + "reactor_refused_total", "counter", "Requests that were one too many (429).", (),
        _reactor("refused"),
    ),
    Family(
        _H + "reactor_timeouts_total", "counter", "Connections that were too slow.", (),
        _reactor("timeouts"),
    ),
    Family(
        _H + "reactor_sent_bytes_total", "counter", "Sent by the reactor.", (),
        _reactor("sent_bytes"),
    ),
    Family(_H + "reactor_keys", "gauge", "Answers that it keeps.", (), _reactor("keys")),
    Family(
        "headrace_wrong_credentials_total",
        "counter",
        "Keys and tokens that opened nothing, over HTTP and RTMP.",
        (),
        _one(lambda it: it.guesses.wrong),
    ),
    # RTMP
    Family(_R + "connections", "gauge", "Open now.", (), _one(lambda it: it.rtmp.connections)),
    Family(
        _R + "publishers", "gauge", "Of those, feeding a stream.", (),
        _one(lambda it: it.rtmp.publishers),
    ),
    Family(
        _R + "accepted_total", "counter", "Connections so far.", (),
        _one(lambda it: it.rtmp.figures.accepted),
    ),
    Family(
        _R + "received_bytes_total", "counter", "From publishers.", (),
        _one(lambda it: it.rtmp.received_bytes),
    ),
    Family(
        _R + "ended_total", "counter", "Connections that have ended, and why.", ("reason",),
        _counts(lambda it: it.rtmp.figures.endings),
    ),
    Family(
        _R + "refused_total", "counter", "Publishers that were refused, and why.", ("code",),
        _counts(lambda it: it.rtmp.figures.refusals),
    ),
    # Broadcasts
    Family(
        "headrace_broadcasts_live", "gauge", "Live now.", (),
        _one(lambda it: sum(1 for _ in it.broadcasts.live_stream_ids())),
    ),
    Family(
        "headrace_broadcasts_waiting", "gauge", "Of those, without a publisher.", (),
        _one(_waiting),
    ),
    Family(
        "headrace_renditions_live", "gauge", "Renditions of live broadcasts.", ("rendition",),
        _renditions,
    ),
    Family(
        "headrace_streams_unnamed", "gauge",
        'Live streams without series of their own: "other" (metrics_streams).', (),
        _one(lambda it: it.names.unnamed),
    ),
    Family(
        "headrace_events_total", "counter", "What has happened, as webhooks have it.", ("type",),
        _counts(lambda it: it.events.types),
    ),
    Family("headrace_viewers", "gauge", "Who watches now.", _STREAM, _viewers),
    Family(
        "headrace_playback_verdicts_total", "counter",
        "Whether somebody may watch a stream that not everybody may, and why not.", ("verdict",),
        _counts(lambda it: {} if it.playback is None else it.playback.verdicts),
    ),
    # Publishers
    Family(
        "headrace_publisher_bytes_per_second", "gauge", "Media of the last second.", _STREAM,
        _publisher(lambda it: it.bitrate_kbps * 125),
    ),
    Family(
        "headrace_publisher_frames_per_second", "gauge", "Pictures, over three seconds.", _STREAM,
        _publisher(lambda it: it.fps),
    ),
    Family(
        "headrace_publisher_dropped_frames_total", "counter",
        "Pictures that are missing between the stamps.", _STREAM,
        _publisher(lambda it: it.dropped_frames),
    ),
    Family(
        "headrace_publisher_late_frames_total", "counter", "Samples that came late.", _STREAM,
        _publisher(lambda it: it.late_frames),
    ),
    Family(
        "headrace_publisher_keyframe_interval_seconds", "gauge", "The last one.", _STREAM,
        _publisher(lambda it: it.keyframe_interval_seconds),
    ),
    Family(
        "headrace_publisher_av_skew_seconds", "gauge",
        "Stamps of sound less those of pictures that come with it.",
        _STREAM, _publisher(lambda it: _scaled(it.av_skew_ms, 1e-3)),
    ),
    Family(
        "headrace_publisher_clock_drift_ratio", "gauge", "How fast its clock is against ours.",
        _STREAM, _publisher(lambda it: _scaled(it.drift_ppm, 1e-6)),
    ),
    Family(
        "headrace_publisher_jitter_seconds", "gauge", "Within it lie nine of ten arrivals.",
        _STREAM, _publisher(lambda it: _scaled(it.jitter_ms, 1e-3)),
    ),
    Family(
        "headrace_publisher_rtt_seconds", "gauge", "Round trip of its connection.", _STREAM,
        _publisher(lambda it: _scaled(it.rtt_ms, 1e-3)),
    ),
    Family("headrace_alerts", "gauge", "Broadcasts that have this alert now.", ("code",), _alerts),
    Family(
        "headrace_alerts_total", "counter", "Alerts that began.", ("code",),
        _counts(lambda it: it.events.alerts),
    ),
    Family(
        "headrace_alert", "gauge", "1: the stream has this alert now.", ("stream", "code"),
        _alerts_by_stream,
    ),
    # Chat and live events
    Family(_C + "connections", "gauge", "WebSockets that have joined.", (), _fanout("members")),
    Family(_C + "rooms", "gauge", "In memory.", (), _one(lambda it: it.chat.rooms)),
    Family(
        _C + "messages_total", "counter", "That everybody saw.", (),
        _one(lambda it: it.chat.figures.messages),
    ),
    Family(
        _C + "held_total", "counter", "Messages that waited for a moderator.", (),
        _one(lambda it: it.chat.figures.held),
    ),
    Family(
        _C + "refused_total", "counter", "Messages, joins and orders that were refused.",
        ("code",), _counts(lambda it: it.chat.figures.refused),
    ),
    Family(_C + "delivered_total", "counter", "Frames that were sent.", (), _fanout("delivered")),
    Family(
        _C + "dropped_total", "counter", "Frames that were lost for a slow member.", (),
        _fanout("dropped"),
    ),
    Family(_C + "sent_bytes_total", "counter", "Sent to members.", (), _fanout("sent_bytes")),
    Family(
        "headrace_event_listeners", "gauge", "Connections to live events (SSE).", (),
        lambda it: () if it.listeners is None else (((), it.listeners.listeners),),
    ),
    # Recordings
    Family("headrace_recordings_active", "gauge", "Made now.", (), _recorder("active")),
    Family(
        "headrace_recordings_written_bytes_total", "counter", "Media.", (),
        _recorder("written_bytes"),
    ),
    Family(
        "headrace_recordings_finished_total", "counter", "That became ready.", (),
        _recorder("finished"),
    ),
    Family(
        "headrace_recordings_failed_total", "counter", "That a fault ended early.", (),
        _recorder("failed"),
    ),
    Family(
        "headrace_recordings_lost_segments_total", "counter",
        "Segments that are not whole: the disk was too slow.", (), _recorder("lost_segments"),
    ),
    # Webhooks
    Family("headrace_hooks", "gauge", "That there are.", (), _hooks("hooks")),
    Family(
        "headrace_hooks_failing", "gauge", "Of those, that failed several times in a row.", (),
        _hooks("failing"),
    ),
    Family("headrace_hooks_pending", "gauge", "Deliveries that wait.", (), _hooks("pending")),
    Family("headrace_hooks_dead", "gauge", "Deliveries that were given up.", (), _hooks("dead")),
    Family(
        "headrace_hooks_delivered_total", "counter", "Deliveries that were made.", (),
        _hooks("delivered"),
    ),
    Family(
        "headrace_hooks_failed_total", "counter", "Attempts that failed.", (), _hooks("failed")
    ),
    Family(
        "headrace_hooks_dropped_total", "counter",
        "Events that were lost because too many waited.", (), _hooks("dropped"),
    ),
    # The store
    Family(
        "headrace_store_queries_total", "counter", "That have ended.", (),
        _one(lambda it: it.store.figures.queries),
    ),
    Family(
        "headrace_store_errors_total", "counter", "Of those, failed.", (),
        _one(lambda it: it.store.figures.errors),
    ),
    Family(
        "headrace_store_slow_total", "counter", "Of those, over 0.25 s, with their wait.", (),
        _one(lambda it: it.store.figures.slow),
    ),
    Family(
        "headrace_store_seconds_total", "counter", "That callers waited for them.", (),
        _one(lambda it: it.store.figures.seconds),
    ),
    Family(
        "headrace_store_waiting", "gauge", "Queries that wait for their turn.", (),
        _one(lambda it: it.store.waiting),
    ),
)  # fmt: skip
"""Everything, in the order of docs/metrics.md."""
