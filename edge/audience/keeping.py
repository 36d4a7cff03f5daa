"""The history of viewers, in the store: a row a minute of each stream, and one for each broadcast.

A minute without a viewer makes no row. The row of a broadcast that goes on is written every minute,
so that a crash costs a minute of it. What cannot be written is tried again with the next minute,
`MAX_WAITING` rows at most; then the oldest are lost, and the log says so once.

May import: `control`, `edge.audience`, `edge.events`, trio, structlog.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog
import trio

from control import AudienceStore, BroadcastAudience, StoreError, ViewerMinute
from edge.audience.counts import POINT_S, Counts
from edge.events import PlatformEvent

KEEP_DAYS: Final = 30
"""Minutes are kept so long, and the rows of broadcasts ten times."""

MAX_MINUTES: Final = KEEP_DAYS * 1440

MAX_WAITING: Final = 10_000
"""Rows that wait for a store which takes none."""

_BROADCAST_DAYS: Final = 10 * KEEP_DAYS
_PRUNE_EVERY_S: Final = 3600.0

log = structlog.get_logger("audience")


class Keeping:
    """Writes what becomes of the counts.

    Args:
        store: Where; None: nowhere.
        counts: Of whom.
        wall_clock: Gives UTC seconds since 1970.
    """

    def __init__(
        self,
        store: AudienceStore | None,
        counts: Counts,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._counts = counts
        self._wall_clock = wall_clock
        self._running: dict[str, float] = {}  # begin of each broadcast, UTC
        self._minutes: deque[ViewerMinute] = deque(maxlen=MAX_WAITING)
        self._ended: deque[BroadcastAudience] = deque(maxlen=MAX_WAITING)
        self._wanted = trio.Event()
        self._is_failing = False
        self._prune_s = 0.0

    def on_event(self, event: PlatformEvent, now_s: float) -> None:
        """Follow the broadcasts."""
        match event.type:
            case "stream.live":
                self._end(event.stream_id, now_s)
                self._running[event.stream_id] = event.data.get("startedAt", event.at) / 1000
            case "stream.ended":
                self._end(event.stream_id, now_s)
            case "stream.deleted":
                self._running.pop(event.stream_id, None)

    def began_at(self, stream_id: str) -> float | None:
        """When the broadcast began that goes on, UTC; None: none does."""
        return self._running.get(stream_id)

    async def run(self) -> None:
        """Make a point of history every minute, and write, until cancelled."""
        due_s = trio.current_time() + POINT_S
        while True:
            with trio.move_on_at(due_s):
                await self._wanted.wait()
            self._wanted = trio.Event()
            now_s = trio.current_time()
            if now_s >= due_s:
                due_s += POINT_S
                self._mark(now_s)
            await self._write(now_s)

    def _mark(self, now_s: float) -> None:
        at_s = int(self._wall_clock() // POINT_S * POINT_S)
        for stream_id, point in self._counts.mark(now_s).items():
            if point.peak and self._store is not None:
                self._minutes.append(ViewerMinute(stream_id, at_s, point.count, point.peak))

    def _end(self, stream_id: str, now_s: float) -> None:
        started_at = self._running.pop(stream_id, None)
        if started_at is not None and self._store is not None:
            self._ended.append(self._row(stream_id, started_at, now_s))
            self._wanted.set()

    def _row(self, stream_id: str, started_at: float, now_s: float) -> BroadcastAudience:
        figures = self._counts.figures(stream_id, now_s)
        return BroadcastAudience(
            stream_id=stream_id,
            started_at=started_at,
            ended_at=self._wall_clock(),
            peak=figures.peak,
            watched_s=round(figures.watched_s, 1),
        )

    async def _write(self, now_s: float) -> None:
        store = self._store
        if store is None:
            return
        minutes, ended = list(self._minutes), list(self._ended)
        running = [self._row(*found, now_s) for found in self._running.items()]
        try:
            await store.put(minutes, [*ended, *running])
            if now_s >= self._prune_s:
                wall_s = self._wall_clock()
                self._prune_s = now_s + _PRUNE_EVERY_S
                await store.prune(
                    minutes_before=wall_s - KEEP_DAYS * 86400,
                    broadcasts_before=wall_s - _BROADCAST_DAYS * 86400,
                )
        except StoreError as error:
            if not self._is_failing:
                log.error("viewers cannot be stored", reason=str(error))
            self._is_failing = True
            return
        self._is_failing = False
        # What came meanwhile waits behind what was written.
        for rows, written in ((self._minutes, set(minutes)), (self._ended, set(ended))):
            while rows and rows[0] in written:
                rows.popleft()
