"""Benchmark of a chat room: a crowd, against a bare loop of `send` in C. Printed; what is asserted
is that everybody got everything, exactly once and in order.

The server (`yardstick/room_server.py`, the production path with its store on the disk) has one
core, the load the other. Beside ten thousand members there are five hundred that never read, and
viewers of low-latency HLS on the same process (the mission's chat storm). The bare loop then sends
as many frames, of as many bytes as a message took, to as many sockets that somebody reads; what is
compared is deliveries for a second of the server's CPU time.

Each member measures each delivery, from the moment that the message was sent: with the 50 ms of
`batch_ms`, the store's commit, and the wait for its turn in the crowd.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench_tools import cpu_s, free_port, resident_kib

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores"),
]

HERE = Path(__file__).parent / "yardstick"
ROOT = Path(__file__).parents[2]
PART_BYTES, INTERVAL_MS = 62_500, 200
SPEAKERS = 20
PER_S = 20.0


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    members: int
    slow: int
    viewers: int
    seconds: float
    joining_s: float


FULL = Size(10_000, 500, 200, 40.0, 120.0)
TINY = Size(50, 5, 5, 1.0, 20.0)


@pytest.fixture
def size(pytestconfig: pytest.Config) -> Size:
    return TINY if pytestconfig.getoption("--benchmark-disable") else FULL


@pytest.fixture
def build(tmp_path: Path) -> Callable[[str], str]:
    """Compiles a yardstick and gives its path."""

    def compile_it(name: str) -> str:
        if shutil.which("cc") is None:
            pytest.skip("there is no C compiler (Debian: gcc)")
        program = tmp_path / name
        source = str(HERE / f"{name}.c")
        subprocess.run(["cc", "-O2", "-Wall", "-o", str(program), source], check=True)
        return str(program)

    return compile_it


@contextmanager
def on_core(core: int, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program, until the block ends."""
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *argv],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_crowd_beside_slow_members_and_viewers(size: Size, build: Callable[[str], str]) -> None:
    room, video = build("yard_room"), build("yard_load")
    port = free_port()
    start_ms = int(time.monotonic() * 1000) + 5000
    server_argv = [str(HERE / "room_server.py"), str(port), str(PART_BYTES), str(INTERVAL_MS)]
    numbers = (port, size.members, size.slow, SPEAKERS, PER_S, size.seconds, size.joining_s)
    with on_core(0, sys.executable, *server_argv, str(start_ms)) as server:
        assert line_of(server) == "ready\n"
        before_kib = resident_kib(server.pid)
        with on_core(1, room, "crowd", *map(str, numbers)) as crowd:
            assert line_of(crowd) == "joined\n"
            each_kib = (resident_kib(server.pid) - before_kib) / (size.members + size.slow)
            before_s, began_s = cpu_s(server.pid), time.monotonic()
            # Viewers come in a second, and are judged from then on.
            live = (port, size.viewers, size.seconds, INTERVAL_MS, start_ms, PART_BYTES, 1.0)
            with on_core(1, video, "live", *map(str, live)) as viewers:
                seen: dict[str, Any] = json.loads(line_of(viewers))
            told: dict[str, Any] = json.loads(line_of(crowd))
            used_s, took_s = cpu_s(server.pid) - before_s, time.monotonic() - began_s
    ours_s = told["deliveries"] / max(used_s, 0.01)
    print(
        f"\n{size.members} members, {size.slow} that never read ({told['slow_ended']} ended):"
        f" {told['said']} messages, {told['deliveries']:,} deliveries, {told['wrong']} members with"
        f" another history, {told['out_of_order']} out of order; from mouth to ear median"
        f" {told['p50_ms']:.0f}, 99 % {told['p99_ms']:.0f}, longest {told['max_ms']:.0f} ms;"
        f" {each_kib:.2f} KiB a connection; {used_s / took_s:.3f} cores, viewers and all:"
        f" {ours_s:,.0f} deliveries a CPU second"
        f"\n{size.viewers} viewers beside them: {seen['judged']:,} parts, {seen['stalls']} stalls,"
        f" the latest complete after {seen['latest_ms']:.0f} ms",
        end="",
    )
    frame_bytes = round(told["bytes"] / max(told["deliveries"], 1))
    bare_s = bare_loop(room, size, frame_bytes)
    print(
        f"\nbare loop of send, {frame_bytes} bytes: {bare_s:,.0f} deliveries a CPU second;"
        f" ours is {ours_s / bare_s:.2f} of it"
    )
    assert told["joined"] == size.members + size.slow
    assert told["deliveries"] == told["said"] * size.members > 0
    assert (told["wrong"], told["out_of_order"]) == (0, 0)
    assert (told["errors"], told["refused"], seen["errors"]) == (0, 0, 0)


def bare_loop(room: str, size: Size, frame_bytes: int) -> float:
    """Deliveries a CPU second of the least that can be done."""
    port = free_port()
    loop = (port, size.members, frame_bytes, PER_S, min(size.seconds, 10.0))
    with on_core(0, room, "loop", *map(str, loop)) as server:
        assert line_of(server) == "ready\n"
        with on_core(1, room, "read", str(port), str(size.members), str(size.joining_s)):
            told: dict[str, Any] = json.loads(line_of(server))
    assert told["failed"] == 0
    return float(told["deliveries"] / max(told["cpu_s"], 0.01))
