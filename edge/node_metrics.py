"""What Prometheus is told of an edge: the figures of each of its workers.

One table says what there is: names, kinds, and where a worker takes each from. Rows of
`edge.board` are in its order. The label ``worker`` is the number of a worker's row; a worker that
is replaced begins at zero, as a process does, and Prometheus' `rate` knows that. Sums over workers
are Prometheus' business.

Anybody may ask for ``/metrics``; a rendering serves for `RENDER_INTERVAL_S`. No label is a secret,
and the number of series is bounded by the number of rows.

Spec: Prometheus text format 0.0.4; https://prometheus.io/docs/practices/naming.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge.board import Board

if TYPE_CHECKING:
    from edge.edge_app import EdgeCounters
    from edge.http.access_log import AccessLog
    from edge.http.server import Figures
    from edge.shedding import Shedding

RENDER_INTERVAL_S: Final = 1.0
"""How long a rendering serves; workers write their figures as often."""

_PREFIX: Final = "headrace_edge_"
_LABELS: Final = ("worker",)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a worker's figures come from."""

    app: "EdgeCounters"
    http: "Figures"
    requests: "AccessLog"
    shedding: "Shedding"
    cpu_s: float
    """Processor time that the process has used, seconds."""


@dataclass(frozen=True, slots=True)
class _Figure:
    name: str
    text: str
    take: Callable[[Sources], float]
    is_counter: bool = False


def _count(name: str, text: str, take: Callable[[Sources], float]) -> _Figure:
    return _Figure(name, text, take, is_counter=True)


def _reactor(it: Sources, name: str) -> float:
    """A counter of the reactor, if there is one."""
    counters = it.http.reactor
    return 0.0 if counters is None else float(getattr(counters, name))


_FIGURES: Final = (
    _Figure("connections", "Open now.", lambda it: it.http.connections),
    _Figure("connections_adopted", "Of those, served by the reactor.", lambda it: it.http.adopted),
    _Figure("requests_parked", "Held in the reactor now.", lambda it: it.http.parked),
    _count("reactor_requests", "Seen by the reactor.", lambda it: _reactor(it, "requests")),
    _count("reactor_sent_bytes", "Sent by the reactor.", lambda it: _reactor(it, "sent_bytes")),
    _count("requests", "Answered by tasks, not the reactor.", lambda it: it.requests.total),
    _count("request_errors", "Of those, with 500 and above.", lambda it: it.requests.errors),
    _Figure("shedding", "1: new viewers are refused.", lambda it: not it.shedding.admits),
    _Figure("cpu_ratio", "Share of a core, over seconds.", lambda it: it.shedding.cpu),
    _Figure("loop_lag_seconds", "Mean delay of the event loop.", lambda it: it.shedding.lag_s),
    _count("cpu_seconds", "Processor time used.", lambda it: it.cpu_s),
    _Figure("cache_bytes", "Kept now.", lambda it: it.app.held_bytes),
    _Figure("flights", "Requests under way upstream.", lambda it: it.app.flights),
    _count("cache_hits", "Answered from the cache.", lambda it: it.app.hits),
    _count("cache_misses", "Answers that an upstream was asked for.", lambda it: it.app.misses),
    _count("coalesced", "Joined a request that was under way.", lambda it: it.app.coalesced),
    _count("prefetches", "Fetched before anybody asked.", lambda it: it.app.ahead),
    _count("stale", "Playlists that were served older than usual.", lambda it: it.app.stale),
    _count("refused", "Not fetched: too much is under way.", lambda it: it.app.refused),
    _count("upstream_requests", "Sent upstream.", lambda it: it.app.upstream_requests),
    _count("upstream_errors", "Of those, failed.", lambda it: it.app.upstream_errors),
    _count("upstream_failovers", "Tried at the next one.", lambda it: it.app.upstream_failovers),
    _count("audience_reports", "On viewers, sent upstream.", lambda it: it.app.audience_reports),
    _count("audience_failures", "Of those, taken by nobody.", lambda it: it.app.audience_failures),
)

COLUMNS: Final = len(_FIGURES)
"""Of a board."""


def row_of(sources: Sources) -> list[float]:
    """Take a worker's figures, for its row."""
    return [float(figure.take(sources)) for figure in _FIGURES]


class NodeMetrics(Collector):
    """Renders a board.

    Args:
        board: Of the node; `COLUMNS` wide.
        clock: Seconds, for the age of a rendering.
    """

    def __init__(self, board: Board, *, clock: Callable[[], float]) -> None:
        self._board = board
        self._clock = clock
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._rendered = b""
        self._expires_s = float("-inf")

    def render(self) -> bytes:
        """Return the figures of all workers in Prometheus' text format, a second old at most."""
        now_s = self._clock()
        if now_s >= self._expires_s:
            self._rendered = generate_latest(self._registry)
            self._expires_s = now_s + RENDER_INTERVAL_S
        return self._rendered

    def collect(self) -> Iterable[Metric]:
        """Yield every family; prometheus-client calls it."""
        rows = self._board.read()
        for column, figure in enumerate(_FIGURES):
            family = CounterMetricFamily if figure.is_counter else GaugeMetricFamily
            metric = family(_PREFIX + figure.name, figure.text, labels=_LABELS)
            for number, row in rows.items():
                metric.add_metric([str(number)], row[column])
            yield metric
