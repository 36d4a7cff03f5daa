"""What Prometheus is told of an edge."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge.board import Board
from edge.edge_app import EdgeCounters
from edge.http.access_log import AccessLog
from edge.node_metrics import COLUMNS, RENDER_INTERVAL_S, NodeMetrics, Sources, row_of
from edge.shedding import Load, Shedding, SheddingSettings
from native import ReactorCounters


@dataclass
class FakeFigures:
    connections: int = 7
    adopted: int = 5
    parked: int = 3
    accepted: int = 9
    turned_away: int = 1
    reactor: ReactorCounters | None = None


def sources(*, reactor: ReactorCounters | None = None, connections: int = 7) -> Sources:
    numbers = {one.name: 100 + number for number, one in enumerate(fields(EdgeCounters))}
    shedding = Shedding(SheddingSettings(connections=10))
    shedding.observe(Load(0.0, 0.0, 0.0, connections))
    requests = AccessLog()
    requests.counts.update({("1.1", 200): 40, ("2", 503): 2, ("1.1", 500): 1})
    figures = FakeFigures(connections, reactor=reactor)
    return Sources(EdgeCounters(**numbers), figures, requests, shedding, 1.5)


@pytest.fixture
def board() -> Iterator[Board]:
    descriptor = Board.create(rows=4, columns=COLUMNS)
    yield Board(descriptor, rows=4, columns=COLUMNS)
    os.close(descriptor)


def values(text: bytes) -> dict[tuple[str, str], float]:
    return {
        (sample.name.removeprefix("headrace_edge_"), sample.labels["worker"]): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_each_worker_is_told_with_its_figures(board: Board) -> None:
    board.write(0, row_of(sources()))
    board.write(3, row_of(sources(connections=10)))
    told = values(NodeMetrics(board, clock=lambda: 0.0).render())
    assert len(told) == 2 * COLUMNS
    assert (told["connections", "0"], told["connections", "3"]) == (7, 10)
    assert (told["shedding", "0"], told["shedding", "3"]) == (0, 1)
    assert told["cpu_seconds_total", "0"] == 1.5
    assert (told["requests_total", "0"], told["request_errors_total", "0"]) == (43, 3)
    assert told["reactor_sent_bytes_total", "0"] == 0
    # Every counter of the application is there, once.
    assert {value for (_, worker), value in told.items() if worker == "0" and value >= 100} == set(
        range(100, 100 + len(fields(EdgeCounters)))
    )


def test_the_reactor_is_told_where_there_is_one(board: Board) -> None:
    reactor = ReactorCounters(*range(1000, 1000 + len(ReactorCounters._fields)))
    board.write(1, row_of(sources(reactor=reactor)))
    told = values(NodeMetrics(board, clock=lambda: 0.0).render())
    assert told["reactor_sent_bytes_total", "1"] == reactor.sent_bytes
    assert told["reactor_requests_total", "1"] == reactor.requests


def test_a_rendering_serves_for_a_while(board: Board) -> None:
    now_s = 50.0
    metrics = NodeMetrics(board, clock=lambda: now_s)
    assert values(metrics.render()) == {}
    board.write(0, row_of(sources()))
    now_s += RENDER_INTERVAL_S / 2
    assert values(metrics.render()) == {}
    now_s += RENDER_INTERVAL_S / 2
    assert len(values(metrics.render())) == COLUMNS
