"""One line for each request that was answered, as far as anybody wants them; and their number.

`AccessLog.note` is told of every request that a task has answered (HTTP/1.1 and HTTP/2). What the
native reactor answers, plain requests of players, is counted by it (`Figures.reactor`) and never
logged: some ten a second of each viewer, of which nobody reads a line.

A line names method, path, status, bytes of the body, milliseconds, client, connection and stream.
It has no query and no field of the request, and of a path no playback token: secrets travel there.

Bounds: `LINES_PER_S`, and `LINES_BURST` at once; the next line says how many were left out. Status
and version of what is counted are ours, so the counters are few.

May import: `edge.http`, `edge.process`, structlog.
"""

import random
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal

import structlog
import trio

from edge.http.budget import Budget
from edge.http.served import Served
from edge.process.histogram import Histogram

Which = Literal["none", "errors", "sampled", "all"]
"""Which requests get a line: none; those with a status from 400 on; these and a share of the
others; all."""

LINES_BURST: Final = 200
LINES_PER_S: Final = 100.0
"""A log that grows with an attack fills the disk."""

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_STREAMS: Final = "/api/streams/"

log = structlog.get_logger("access")


class AccessLog:
    """Counts requests, and logs those that are wanted.

    Args:
        which: Gets a line.
        share: Of the good ones, if they are sampled: 0 to 1.
        draw: Gives numbers from 0 up to 1.
    """

    def __init__(
        self,
        which: Which = "none",
        *,
        share: float = 0.01,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.which: Which = which
        """May be changed at any time."""
        self.share = share
        """Likewise."""
        self.counts: Counter[tuple[str, int]] = Counter()
        """Requests so far, by version of HTTP and status."""
        self.took_s = Histogram(BOUNDS)
        """Seconds, of those that were not held."""
        self._draw = draw
        self._budget = Budget(LINES_BURST, LINES_PER_S)
        self._left_out = 0

    @property
    def total(self) -> int:
        """Requests so far."""
        return self.counts.total()

    @property
    def errors(self) -> int:
        """Of those, the ones whose status is 500 or above."""
        return sum(count for (_http, status), count in self.counts.items() if status >= 500)

    def note(self, served: Served) -> None:
        """Take note of a request. Synchronous, raises nothing; some 2 us without a line."""
        self.counts[served.http, served.status] += 1
        if not served.was_held:
            self.took_s.observe(served.took_s)
        if self._wants(served.status):
            now_s = trio.current_time()
            if self._budget.has(now_s):
                self._budget.spend(now_s)
                self._write(served)
            else:
                self._left_out += 1

    def _wants(self, status: int) -> bool:
        if self.which == "none":
            return False
        if status >= 400 or self.which == "all":
            return True
        return self.which == "sampled" and self._draw() < self.share

    def _write(self, served: Served) -> None:
        request = served.request
        stream_id = ""
        if request.path.startswith(_STREAMS):
            stream_id = request.path[len(_STREAMS) :].partition("/")[0]
        left_out, self._left_out = self._left_out, 0
        log.info(
            "request",
            method=request.method,
            path=request.shown_path,
            status=served.status,
            bytes=served.size_bytes,
            ms=round(served.took_s * 1000, 1),
            http=served.http,
            client=request.client,
            connection=served.connection,
            **({"stream": stream_id} if stream_id else {}),
            **({"held": True} if served.was_held else {}),
            **({"left_out": left_out} if left_out else {}),
        )
