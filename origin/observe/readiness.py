"""Whether an origin should get new publishers and viewers: what `/ready` says, and why.

What takes time is asked in the background, each question by a task of its own, so that a disk that
hangs hides nothing else; `/ready` reads the last answers, costs nothing, and may be asked by
anybody. An answer that is older than `STALE_S` is none: whoever should have given it hangs. That
the process stops is known at once.

Pure but for the questions. May import control, edge and trio.
"""

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import structlog
import trio

from control import Store, StoreError
from edge.http.readiness import ready_response
from edge.http.response import Response

LOOK_S: Final = 5.0
"""Between two questions."""

STALE_S: Final = 15.0
"""An answer that is older counts as none."""

log = structlog.get_logger("ready")


class Room(NamedTuple):
    """Of a folder's file system."""

    free_bytes: int
    size_bytes: int


async def room_in(folder: Path) -> Room:
    """Ask the system, in a thread: a disk may hang."""
    found = await trio.to_thread.run_sync(os.statvfs, folder)
    return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


@dataclass(slots=True)
class _Check:
    """One question, and its last answer."""

    ask: Callable[[], Awaitable[str | None]]
    reason: str | None = "not known yet"
    answered_s: float = float("inf")  # never stale before the first answer: it has a reason


class Readiness:
    """Knows whether this origin is ready.

    Args:
        store: Must answer.
        folder: The data folder, which must have room.
        min_free_bytes: So much of it.
        transcoding: What is wrong with the transcoder in one sentence, if anything is; synchronous
            and cheap.
        listening: Whether connections are accepted: HTTP and RTMP.
        measure: Tells the room in a folder; raises OSError.
    """

    def __init__(
        self,
        *,
        store: Store,
        folder: Path,
        min_free_bytes: int,
        transcoding: Callable[[], str | None] = lambda: None,
        listening: Callable[[], bool] = lambda: True,
        measure: Callable[[Path], Awaitable[Room]] = room_in,
    ) -> None:
        self._store = store
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._transcoding = transcoding
        self._listening = listening
        self._measure = measure
        self._is_stopping = False
        self._was_wrong: frozenset[str] = frozenset()
        self.room: Room | None = None
        """In the data folder, as last seen."""
        self._checks = {"store": _Check(self._ask_store), "disk": _Check(self._ask_disk)}

    def stop(self) -> None:
        """The process is about to stop: not ready from now on."""
        self._is_stopping = True

    def checks(self) -> Mapping[str, str | None]:
        """What is wrong now, by check; None: nothing."""
        now_s = trio.current_time()
        found: dict[str, str | None] = {
            "running": "stopping" if self._is_stopping else None,
            "listeners": None if self._listening() else "no connections are accepted",
        }
        for name, check in self._checks.items():
            is_stale = now_s - check.answered_s > STALE_S
            found[name] = f"no answer from the {name}" if is_stale else check.reason
        found["transcoding"] = self._transcoding()
        return found

    def answer(self) -> Response:
        """Answer `/ready`; never blocks."""
        return ready_response(self.checks())

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ask, again and again, until cancelled; the first answers are there when it has started.

        Cancellation: waits for a query that runs.
        """
        async with trio.open_nursery() as nursery:
            for check in self._checks.values():
                nursery.start_soon(self._keep_asking, check)
            nursery.start_soon(self._keep_telling)
            task_status.started()

    async def _keep_asking(self, check: _Check) -> None:
        while True:
            check.reason = await check.ask()
            check.answered_s = trio.current_time()
            await trio.sleep(LOOK_S)

    async def _keep_telling(self) -> None:
        """Log what becomes wrong, and what is right again."""
        while True:
            await trio.sleep(LOOK_S)
            wrong = {name: reason for name, reason in self.checks().items() if reason is not None}
            wrong.pop("running", None)
            for name in wrong.keys() - self._was_wrong:
                log.warning("not ready", check=name, reason=wrong[name])
            for name in self._was_wrong - wrong.keys():
                log.info("ready again", check=name)
            self._was_wrong = frozenset(wrong)

    async def _ask_store(self) -> str | None:
        try:
            await self._store.list_streams(limit=1)
        except StoreError as error:
            log.debug("the store does not answer", reason=str(error))
            return "the store does not answer"
        return None

    async def _ask_disk(self) -> str | None:
        try:
            self.room = await self._measure(self._folder)
        except OSError:
            self.room = None
            return "the data folder cannot be read"
        if self.room.free_bytes < self._min_free_bytes:
            left_mib = self.room.free_bytes >> 20
            return f"the disk of the data folder is full: {left_mib} MiB are left"
        return None
