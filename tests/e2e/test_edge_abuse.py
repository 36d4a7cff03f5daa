"""Viewers beside whom others attack the same server: their parts keep coming.

The server is `edge.http.server` with its own limits (`tests/bench/yardstick/delivery_server.py`)
on one core; the attackers (`hostile_viewers.py`) are one process, the viewers (`yard_load.c`)
another, and those two share the other core. All attacks run at once, for longer than every time-out
of `HttpSettings` that they must run into.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from origin_process import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.hard_cap(110)]

YARDSTICK = ROOT / "tests" / "bench" / "yardstick"
HOSTILE = ROOT / "tests" / "support" / "hostile_viewers.py"

IDLE = 15_000
"""The file limit is 20,000 here."""
CUT = {"head": 500, "body": 500, "reader": 200}
FLOODS = 16
GOOD_VIEWERS = 20
INTERVAL_MS, PART_BYTES = 200, 62_500
WATCHED_S = 25.0
"""Past the 15 s that a body or an answer may take, and the turn of the list after it."""


@contextmanager
def running(*argv: str) -> Iterator[subprocess.Popen[str]]:
    """Run a child, wait for its "ready", and end it."""
    pipe = subprocess.PIPE
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, env=environment) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.terminate()


def test_parts_keep_coming_beside_attackers(tmp_path: Path, figures: Callable[[str], None]) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler (Debian: gcc)")
    load = str(tmp_path / "yard_load")
    subprocess.run(["cc", "-O2", "-o", load, str(YARDSTICK / "yard_load.c")], check=True)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])
    start_ms = str(int(time.monotonic() * 1000) + 1000)
    live = [str(INTERVAL_MS), start_ms, str(PART_BYTES)]
    server = [sys.executable, str(YARDSTICK / "delivery_server.py"), port, "2048", "153600"]
    server += [live[2], live[0], live[1], "1000"]
    counts = {"idle": IDLE} | CUT | {"flood": FLOODS}
    crowd = [f"{kind}={count}" for kind, count in counts.items()]
    with (
        running("taskset", "-c", "0", *server),
        running("taskset", "-c", "1", sys.executable, str(HOSTILE), port, *crowd) as attackers,
    ):
        viewers = ["taskset", "-c", "1", load, "live", port, str(GOOD_VIEWERS), str(WATCHED_S)]
        told = json.loads(subprocess.check_output([*viewers, *live, "1"], text=True))
        ended = json.loads(attackers.communicate()[0])

    figures(
        f"{GOOD_VIEWERS} viewers beside the attackers: {told['parts']} parts, the latest complete"
        f" {told['latest_ms']:.0f} ms after it appeared; ended by the server: {ended}"
    )
    assert told["errors"] == told["stalls"] == 0
    assert told["parts"] > 0.8 * WATCHED_S * 1000 / INTERVAL_MS
    assert {kind: ended[kind] for kind in CUT} == CUT
    assert ended["flood"] >= FLOODS  # 429; who comes back in haste is h11's, and slow
    assert "idle" not in ended
