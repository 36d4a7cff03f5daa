"""What Prometheus is told: read back with prometheus-client's own parser."""

from dataclasses import replace
from typing import Any

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge.http.routes import METRICS_TYPE
from origin.metrics import RungFigures, TranscodeMetrics, WorkerFigures
from origin.observe.exposition import Exposition

FIGURES = WorkerFigures(
    decoded=100,
    decode_errors=2,
    black=True,
    frozen=False,
    silent=False,
    av_drift_s=-0.04,
    resident_bytes=123_000_000,
    rungs=[
        RungFigures(rendition="720p", frames=90, dropped=3, lag_s=0.2, speed_ratio=2.5),
        RungFigures(rendition="360p", frames=95, dropped=0, lag_s=None, speed_ratio=None),
    ],
)


@pytest.fixture
def metrics() -> TranscodeMetrics:
    return TranscodeMetrics()


def rendered(metrics: TranscodeMetrics) -> bytes:
    return b"".join(Exposition([metrics]).slices())


class Scrape:
    """Asks for a fresh rendering each time."""

    def __init__(self, metrics: TranscodeMetrics) -> None:
        self._metrics = metrics

    def __call__(self) -> dict[str, dict[tuple[str, ...], float]]:
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for family in text_string_to_metric_families(rendered(self._metrics).decode()):
            for sample in family.samples:
                if sample.name.startswith("headrace_transcode_"):
                    name = sample.name.removeprefix("headrace_transcode_")
                    labels = tuple(
                        sample.labels[label]
                        for label in ("stream", "rendition", "reason")
                        if label in sample.labels
                    )
                    found.setdefault(name, {})[labels] = sample.value
        return found


@pytest.fixture
def scrape(metrics: TranscodeMetrics) -> Scrape:
    return Scrape(metrics)


def test_without_broadcasts_there_are_no_workers(scrape: Scrape) -> None:
    assert scrape() == {"workers": {(): 0.0}}


def test_who_has_no_name_is_counted_and_not_told(metrics: TranscodeMetrics, scrape: Scrape) -> None:
    metrics.names = lambda stream: stream == "s2"
    for stream in ("s1", "s2"):
        metrics.worker_started(stream)
        metrics.status(stream, FIGURES)
    told = scrape()
    assert told["workers"] == {(): 2}
    assert told["decoded_frames_total"] == {("s2",): 100}
    assert {key[0] for key in told["frames_total"]} == {"s2"}


def test_a_report_is_shown_by_stream_and_rendition(
    metrics: TranscodeMetrics, scrape: Scrape
) -> None:
    metrics.admitted("s1", ["720p", "360p"], ["1080p"])
    metrics.worker_started("s1")
    metrics.status("s1", FIGURES)
    metrics.gap("s1", "720p")
    metrics.gap("s1", "720p", 4)
    metrics.level("s1", 2)
    metrics.shed("s1", "720p", True)
    assert scrape() == {
        "workers": {(): 1},
        "decoded_frames_total": {("s1",): 100},
        "decode_errors_total": {("s1",): 2},
        "level": {("s1",): 2},
        "black": {("s1",): 1},
        "frozen": {("s1",): 0},
        "silent": {("s1",): 0},
        "av_drift_seconds": {("s1",): -0.04},
        "worker_resident_bytes": {("s1",): 123_000_000},
        "frames_total": {("s1", "720p"): 90, ("s1", "360p"): 95, ("s1", "1080p"): 0},
        "frames_dropped_total": {("s1", "720p"): 3, ("s1", "360p"): 0, ("s1", "1080p"): 0},
        "gaps_total": {("s1", "720p"): 5, ("s1", "360p"): 0, ("s1", "1080p"): 0},
        "lag_seconds": {("s1", "720p"): 0.2},
        "encode_speed_ratio": {("s1", "720p"): 2.5},
        "shed": {("s1", "720p"): 1, ("s1", "360p"): 0, ("s1", "1080p"): 0},
        "left_out": {("s1", "720p"): 0, ("s1", "360p"): 0, ("s1", "1080p"): 1},
    }
    metrics.shed("s1", "720p", False)
    metrics.admitted("s1", ["1080p"], [])
    assert scrape()["shed"]["s1", "720p"] == 0
    assert scrape()["left_out"]["s1", "1080p"] == 0


def test_what_is_unknown_is_left_out(metrics: TranscodeMetrics, scrape: Scrape) -> None:
    metrics.worker_started("s1")
    metrics.status("s1", replace(FIGURES, silent=None, av_drift_s=None))
    assert "silent" not in scrape()
    assert "av_drift_seconds" not in scrape()
    assert scrape()["black"] == {("s1",): 1}


def test_counters_survive_workers_and_gauges_do_not(
    metrics: TranscodeMetrics, scrape: Scrape
) -> None:
    metrics.worker_started("s1")
    metrics.status("s1", FIGURES)
    metrics.worker_ended("s1", "crash")
    between = scrape()
    assert between["workers"] == {(): 0}
    assert between["frames_total"]["s1", "720p"] == 90
    assert "lag_seconds" not in between
    assert "black" not in between
    metrics.worker_started("s1")
    metrics.status("s1", FIGURES)
    metrics.worker_ended("s1", "hang")
    metrics.worker_started("s1")
    after = scrape()
    assert after["restarts_total"] == {("s1", "crash"): 1, ("s1", "hang"): 1}
    assert after["decoded_frames_total"] == {("s1",): 200}
    assert after["decode_errors_total"] == {("s1",): 4}
    assert after["frames_total"]["s1", "720p"] == 180
    assert after["frames_dropped_total"]["s1", "720p"] == 6


def test_a_worker_that_was_done_is_no_restart_and_reasons_are_few(
    metrics: TranscodeMetrics, scrape: Scrape
) -> None:
    for reason in (None, "killed by 3f8c", "and again otherwise"):
        metrics.worker_started("s1")
        metrics.worker_ended("s1", reason)
    assert scrape()["restarts_total"] == {("s1", "other"): 2}


def test_an_ended_broadcast_leaves_nothing_and_late_words_bring_nothing_back(
    metrics: TranscodeMetrics, scrape: Scrape
) -> None:
    metrics.admitted("s2", ["720p"], [])
    for number in range(50):
        stream = f"s{number}"
        metrics.admitted(stream, ["720p"], [])
        metrics.worker_started(stream)
        metrics.status(stream, FIGURES)
        metrics.worker_ended(stream, "crash")
        metrics.forget(stream)
        metrics.forget(stream)
        metrics.status(stream, FIGURES)
        metrics.gap(stream, "720p")
        metrics.level(stream, 1)
        metrics.shed(stream, "720p", True)
        metrics.worker_ended(stream, "crash")
    assert scrape() == {"workers": {(): 0}}


def test_capacity_is_shown_when_somebody_tells(metrics: TranscodeMetrics, scrape: Scrape) -> None:
    metrics.watch_capacity(lambda: (1.64, 0.9))
    assert scrape() == {"workers": {(): 0}, "bookable_cores": {(): 1.64}, "booked_cores": {(): 0.9}}


def test_the_text_is_of_the_type_that_edge_names() -> None:
    assert METRICS_TYPE == prometheus_client.exposition.CONTENT_TYPE_PLAIN_0_0_4


def test_units_and_kinds_are_in_the_names(metrics: TranscodeMetrics) -> None:
    metrics.worker_started("s1")
    metrics.status("s1", FIGURES)
    kinds: dict[str, Any] = {
        family.name: family.type
        for family in text_string_to_metric_families(rendered(metrics).decode())
        if family.name.startswith("headrace_")
    }
    assert {name for name, kind in kinds.items() if kind == "counter"} == {
        f"headrace_transcode_{name}"
        for name in (
            *("decoded_frames", "decode_errors", "restarts"),
            *("frames", "frames_dropped", "gaps"),
        )
    }
    assert set(kinds.values()) == {"counter", "gauge"}
