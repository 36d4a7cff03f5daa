"""Benchmark of the request scanner: printed, never asserted on time.

One head as Chromium sends it, scanned by the build in use, by the Python twin and by h11, in one
run. What the figures do not show: the socket and the look-up; and of the scanner's own, most is
what Python makes of the result. The reactor calls the kernel inside, without objects.
"""

import importlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import h11
import pytest
from player_requests import CHROMIUM_PLAYLIST, PREFIX

from native import IMPLEMENTATION, PlainRequest, scan_request

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

pytestmark = pytest.mark.bench

# Short rounds, the best of many: some fall between two turns of whatever else the machine does.
ROUNDS = 100


def read_with_h11() -> object:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(CHROMIUM_PLAYLIST)
    return connection.next_event()


def best_ns(function: Callable[[], object], requests: int) -> float:
    """Time one call, in the fastest round of so many."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(requests):
            function()
        rounds.append(time.perf_counter() - start)
    return min(rounds) / requests * 1e9


def test_scan_request(benchmark: "BenchmarkFixture") -> None:
    request = benchmark(scan_request, CHROMIUM_PLAYLIST, PREFIX)
    assert isinstance(request, PlainRequest)
    twin = importlib.import_module("native._request_py").scan_request
    assert request == twin(CHROMIUM_PLAYLIST, PREFIX)
    assert type(read_with_h11()) is h11.Request

    figures = {
        "implementation": IMPLEMENTATION,
        "bytes": len(CHROMIUM_PLAYLIST),
        "ns": best_ns(lambda: scan_request(CHROMIUM_PLAYLIST, PREFIX), 200),
        "twin_ns": best_ns(lambda: twin(CHROMIUM_PLAYLIST, PREFIX), 10),
        "h11_ns": best_ns(read_with_h11, 10),
    }
    benchmark.extra_info.update(figures)
    print(
        f"\nrequest scanner [{IMPLEMENTATION}], Chromium's head of {len(CHROMIUM_PLAYLIST)} bytes: "
        f"{figures['ns']:,.0f} ns a request; Python twin {figures['twin_ns']:,.0f} ns, "
        f"h11 {figures['h11_ns']:,.0f} ns"
    )
