"""What Prometheus is told of transcoding, by broadcast and rendition.

The supervisor of the workers calls the methods of `TranscodeMetrics`; each only stores numbers.
`origin.observe` renders them, with all else that is told. A stream is known from `admitted` or
`worker_started` to `forget`; what is said of one that is not known is passed over, so that a late
report brings nothing back. The number of series is thus bounded by the streams that have series of
their own (`TranscodeMetrics.names`) times the rungs of a ladder. Labels are stream ids and names of
renditions, which the public API tells too, and never a secret.

Counters survive a worker: each restart begins at zero, and what it counts is added to what its
predecessors had.

Imports prometheus-client; nothing else of ours. Spec: https://prometheus.io/docs/practices/naming.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

RESTART_REASONS: Final = frozenset(
    {"crash", "hang", "memory", "bitstream", "protocol", "lag", "config"}
)
"""Values of the label ``reason``; any other becomes "other"."""

_PREFIX: Final = "headrace_transcode_"


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
    """The figures. Synchronous; one task at a time.

    Cost: a few dictionary look-ups a call.
    """

    def __init__(self) -> None:
        self.names: Callable[[str], bool] = lambda _stream: True
        """Whether a stream has series of its own; the others are counted all the same."""
        self._streams: dict[str, _Stream] = {}
        self._capacity: Callable[[], tuple[float, float]] | None = None

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
        """Yield every family, each made when it is asked for."""
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
        named = [(name, one) for name, one in self._streams.items() if self.names(name)]
        for family, of_stream in _BY_STREAM:
            metric = family.make()
            for name, stream in named:
                value = of_stream(stream)
                if value is not None:
                    metric.add_metric([name], value)
            yield metric
        restarts = _counter("restarts", "Workers that had to be replaced.").make("stream", "reason")
        for name, stream in named:
            for reason, count in stream.restarts.items():
                restarts.add_metric([name, reason], count)
        yield restarts
        for family, of_rung in _BY_RENDITION:
            metric = family.make("stream", "rendition")
            for name, stream in named:
                for rendition, rung in stream.rungs.items():
                    value = of_rung(rung)
                    if value is not None:
                        metric.add_metric([name, rendition], value)
            yield metric


class _Family(NamedTuple):
    name: str
    text: str
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily]

    def make(self, *labels: str) -> CounterMetricFamily | GaugeMetricFamily:
        """Begin one, with these labels."""
        return self.kind(_PREFIX + self.name, self.text, labels=labels or ("stream",))


def _gauge(name: str, text: str) -> _Family:
    return _Family(name, text, GaugeMetricFamily)


def _counter(name: str, text: str) -> _Family:
    return _Family(name, text, CounterMetricFamily)  # it adds "_total"


def _reported(take: Callable[[WorkerFigures], float | None]) -> Callable[[_Stream], float | None]:
    """Something of the report of the worker that runs."""
    return lambda stream: None if stream.report is None else take(stream.report)


# What there is of a stream, and of a rendition; None: nothing now.
_BY_STREAM: Final[Sequence[tuple[_Family, Callable[[_Stream], float | None]]]] = (
    (
        _counter("decoded_frames", "Pictures decoded."),
        lambda it: it.earlier_decoded + (it.report.decoded if it.report else 0),
    ),
    (
        _counter("decode_errors", "Errors of the decoder."),
        lambda it: it.earlier_errors + (it.report.decode_errors if it.report else 0),
    ),
    (_gauge("level", "How far transcoding was cut back; 0: not at all."), lambda it: it.level),
    (_gauge("black", "1: the picture is black."), _reported(lambda it: it.black)),
    (_gauge("frozen", "1: the picture does not move."), _reported(lambda it: it.frozen)),
    (_gauge("silent", "1: the sound is silent."), _reported(lambda it: it.silent)),
    (
        _gauge("av_drift_seconds", "Audio behind video; negative: ahead."),
        _reported(lambda it: it.av_drift_s),
    ),
    (
        _gauge("worker_resident_bytes", "Memory of the worker."),
        _reported(lambda it: it.resident_bytes),
    ),
)
_BY_RENDITION: Final[Sequence[tuple[_Family, Callable[[_Rung], float | None]]]] = (
    (_counter("frames", "Pictures encoded."), lambda it: it.earlier_frames + it.frames),
    (
        _counter("frames_dropped", "Pictures that were not encoded."),
        lambda it: it.earlier_dropped + it.dropped,
    ),
    (_counter("gaps", "Parts and segments marked as gaps."), lambda it: it.gaps),
    (_gauge("lag_seconds", "Newest picture in minus newest picture out."), lambda it: it.lag_s),
    (
        _gauge("encode_speed_ratio", "Media seconds that a second of encoding yields."),
        lambda it: it.speed_ratio,
    ),
    (_gauge("shed", "1: switched off to keep up."), lambda it: it.shed),
    (_gauge("left_out", "1: the machine has no room for it."), lambda it: it.left_out),
)
