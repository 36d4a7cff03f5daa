"""What Prometheus is told: figures of transcoding, by broadcast and rendition.

The supervisor of the workers calls the methods of `TranscodeMetrics`; each only stores numbers. A
scrape renders what is stored. A stream is known from `admitted` or `worker_started` to `forget`;
what is said of one that is not known is passed over, so that a late report brings nothing back. The
number of series is thus bounded by live streams times the rungs of a ladder. Labels are stream ids
and names of renditions, which the public API tells too, and never a secret.

Anybody may ask for ``/metrics``, so a rendering serves for `RENDER_INTERVAL_S`: asking often costs
us nothing.

Counters survive a worker: each restart begins at zero, and what it counts is added to what its
predecessors had.

Imports prometheus-client; nothing else of ours.

Spec: Prometheus text format 0.0.4; https://prometheus.io/docs/practices/naming.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import trio
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

RENDER_INTERVAL_S: Final = 1.0
"""How long a rendering serves. Scrapes are 15 s apart; a few thousand series take some 10 ms."""

RESTART_REASONS: Final = frozenset(
    {"crash", "hang", "memory", "bitstream", "protocol", "lag", "config"}
)
"""Values of the label ``reason``; any other becomes "other"."""

_PREFIX: Final = "headrace_transcode_"
_STREAM: Final = ("stream",)
_RENDITION: Final = ("stream", "rendition")


@dataclass(frozen=True, slots=True, kw_only=True)
class RungFigures:
    """One rung in one report of a worker."""

    rendition: str
    frames: int
    """Pictures encoded by this worker."""
    dropped: int
    """Pictures that should have been encoded and were not, by this worker."""
    lag_s: float | None
    """Newest picture in minus newest picture out, seconds; None before the first."""
    speed_ratio: float | None
    """Media seconds that a second of encoding yields; below 1 it falls behind. None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFigures:
    """One report of a worker; counts begin with the worker."""

    decoded: int
    decode_errors: int
    black: bool
    frozen: bool
    silent: bool | None
    """None: there is no sound to judge."""
    av_drift_s: float | None
    """Audio behind video, seconds; None: not both are there."""
    resident_bytes: int
    rungs: Sequence[RungFigures]


@dataclass(slots=True)
class _Rung:
    frames: int = 0
    dropped: int = 0
    earlier_frames: int = 0
    """By workers that ended."""
    earlier_dropped: int = 0
    lag_s: float | None = None
    speed_ratio: float | None = None
    gaps: int = 0
    shed: bool = False
    left_out: bool = False


@dataclass(slots=True)
class _Stream:
    rungs: dict[str, _Rung] = field(default_factory=dict)
    workers: int = 0
    level: int = 0
    restarts: Counter[str] = field(default_factory=Counter)
    report: WorkerFigures | None = None
    """Of the worker that runs."""
    earlier_decoded: int = 0
    earlier_errors: int = 0

    def rung(self, rendition: str) -> _Rung:
        return self.rungs.setdefault(rendition, _Rung())


class TranscodeMetrics(Collector):
    """The figures, and their rendering. Synchronous; one task at a time.

    Args:
        clock: Seconds, for the age of a rendering.

    Cost: a few dictionary look-ups a call.
    """

    def __init__(self, *, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._streams: dict[str, _Stream] = {}
        self._capacity: Callable[[], tuple[float, float]] | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        self._rendered = b""
        self._expires_s = float("-inf")

    def render(self) -> bytes:
        """All figures as Prometheus' text; what `edge.http.routes.App` serves."""
        now = self._clock()
        if now >= self._expires_s:
            self._rendered = generate_latest(self._registry)
            self._expires_s = now + RENDER_INTERVAL_S
        return self._rendered

    def watch_capacity(self, ask: Callable[[], tuple[float, float]]) -> None:
        """Show how many cores are bookable and booked; `ask` is called once a rendering."""
        self._capacity = ask

    def worker_started(self, stream: str) -> None:
        """A worker runs for a stream."""
        self._known(stream).workers += 1

    def worker_ended(self, stream: str, reason: str | None = None) -> None:
        """A stream's worker is gone.

        Args:
            stream: Its id.
            reason: Why another will be started, one of `RESTART_REASONS`; None: it was done.
        """
        known = self._streams.get(stream)
        if known is None:
            return
        known.workers = max(0, known.workers - 1)
        if reason is not None:
            known.restarts[reason if reason in RESTART_REASONS else "other"] += 1
        if known.report is not None:
            known.earlier_decoded += known.report.decoded
            known.earlier_errors += known.report.decode_errors
            known.report = None
        for rung in known.rungs.values():
            rung.earlier_frames += rung.frames
            rung.earlier_dropped += rung.dropped
            rung.frames = rung.dropped = 0
            rung.lag_s = rung.speed_ratio = None

    def status(self, stream: str, figures: WorkerFigures) -> None:
        """Take the newest report of a stream's worker."""
        known = self._streams.get(stream)
        if known is None:
            return
        known.report = figures
        for given in figures.rungs:
            rung = known.rung(given.rendition)
            rung.frames, rung.dropped = given.frames, given.dropped
            rung.lag_s, rung.speed_ratio = given.lag_s, given.speed_ratio

    def gap(self, stream: str, rendition: str, count: int = 1) -> None:
        """Parts or segments of a rendition were marked EXT-X-GAP."""
        if stream in self._streams:
            self._streams[stream].rung(rendition).gaps += count

    def level(self, stream: str, level: int) -> None:
        """How far transcoding of a stream was cut back; 0 is not at all."""
        if stream in self._streams:
            self._streams[stream].level = level

    def shed(self, stream: str, rendition: str, is_shed: bool) -> None:
        """A rung was switched off to keep up, or came back."""
        if stream in self._streams:
            self._streams[stream].rung(rendition).shed = is_shed

    def admitted(self, stream: str, taken: Sequence[str], left_out: Sequence[str]) -> None:
        """Which renditions a broadcast got, and which the machine has no room for."""
        known = self._known(stream)
        for name in taken:
            known.rung(name).left_out = False
        for name in left_out:
            known.rung(name).left_out = True

    def forget(self, stream: str) -> None:
        """A broadcast ended: drop its series."""
        self._streams.pop(stream, None)

    def _known(self, stream: str) -> _Stream:
        return self._streams.setdefault(stream, _Stream())

    def collect(self) -> Iterator[Metric]:
        """Yield every family; prometheus-client calls it."""
        yield from self._machine()
        yield from self._by_stream()
        yield from self._by_rendition()

    def _machine(self) -> Iterator[Metric]:
        workers = sum(stream.workers for stream in self._streams.values())
        yield GaugeMetricFamily(_PREFIX + "workers", "Worker processes.", workers)
        if self._capacity is not None:
            bookable, booked = self._capacity()
            yield GaugeMetricFamily(
                _PREFIX + "bookable_cores", "Cores that broadcasts may book.", bookable
            )
            yield GaugeMetricFamily(
                _PREFIX + "booked_cores", "Cores that broadcasts have booked.", booked
            )

    def _by_stream(self) -> Iterator[Metric]:
        decoded = _counter("decoded_frames", "Pictures decoded.", _STREAM)
        errors = _counter("decode_errors", "Errors of the decoder.", _STREAM)
        restarts = _counter("restarts", "Workers that had to be replaced.", ("stream", "reason"))
        level = _gauge("level", "How far transcoding was cut back; 0: not at all.", _STREAM)
        black = _gauge("black", "1: the picture is black.", _STREAM)
        frozen = _gauge("frozen", "1: the picture does not move.", _STREAM)
        silent = _gauge("silent", "1: the sound is silent.", _STREAM)
        drift = _gauge("av_drift_seconds", "Audio behind video; negative: ahead.", _STREAM)
        memory = _gauge("worker_resident_bytes", "Memory of the worker.", _STREAM)
        for name, stream in self._streams.items():
            labels = [name]
            report = stream.report
            level.add_metric(labels, stream.level)
            decoded.add_metric(labels, stream.earlier_decoded + (report.decoded if report else 0))
            errors.add_metric(
                labels, stream.earlier_errors + (report.decode_errors if report else 0)
            )
            for reason, count in stream.restarts.items():
                restarts.add_metric([name, reason], count)
            if report is not None:
                black.add_metric(labels, report.black)
                frozen.add_metric(labels, report.frozen)
                memory.add_metric(labels, report.resident_bytes)
                if report.silent is not None:
                    silent.add_metric(labels, report.silent)
                if report.av_drift_s is not None:
                    drift.add_metric(labels, report.av_drift_s)
        yield from (decoded, errors, restarts, level, black, frozen, silent, drift, memory)

    def _by_rendition(self) -> Iterator[Metric]:
        frames = _counter("frames", "Pictures encoded.", _RENDITION)
        dropped = _counter("frames_dropped", "Pictures that were not encoded.", _RENDITION)
        gaps = _counter("gaps", "Parts and segments marked as gaps.", _RENDITION)
        lag = _gauge("lag_seconds", "Newest picture in minus newest picture out.", _RENDITION)
        speed = _gauge(
            "encode_speed_ratio", "Media seconds that a second of encoding yields.", _RENDITION
        )
        shed = _gauge("shed", "1: switched off to keep up.", _RENDITION)
        left_out = _gauge("left_out", "1: the machine has no room for it.", _RENDITION)
        for name, stream in self._streams.items():
            for rendition, rung in stream.rungs.items():
                labels = [name, rendition]
                frames.add_metric(labels, rung.earlier_frames + rung.frames)
                dropped.add_metric(labels, rung.earlier_dropped + rung.dropped)
                gaps.add_metric(labels, rung.gaps)
                shed.add_metric(labels, rung.shed)
                left_out.add_metric(labels, rung.left_out)
                if rung.lag_s is not None:
                    lag.add_metric(labels, rung.lag_s)
                if rung.speed_ratio is not None:
                    speed.add_metric(labels, rung.speed_ratio)
        yield from (frames, dropped, gaps, lag, speed, shed, left_out)


def _gauge(name: str, text: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, text, labels=labels)


def _counter(name: str, text: str, labels: Sequence[str]) -> CounterMetricFamily:
    return CounterMetricFamily(_PREFIX + name, text, labels=labels)  # it adds "_total"
