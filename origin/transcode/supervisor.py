"""Keeps a ladder's worker process alive: starts it, feeds it, watches it, replaces it.

::

    Supervisor.run
      for each life of a worker, one nursery:
        |- _write     the ladder's feed -> stdin
        |- _read      stdout -> messages -> the ladder
        |- _watch     lag, heartbeat, progress; five times a second
        '- the process itself, killed whatever ends the nursery

A worker counts as hung when it says nothing for `HANG_S`, though it says something twice a second,
or when pictures go in and none comes out. It is killed then: what it had is lost, and the ladder
goes on in the next one, after a pause that doubles with each failure in a row. Too many
(`MAX_FAILURES` within `FAILURES_S`) and the broadcast goes on without transcoding.

A worker is a child with no rights to speak of (`sandbox`), its three standard streams and nothing
else. Its stderr goes nowhere: what it has to say comes as `wire.Fault`.

May import origin's own and trio; not av.
"""

import subprocess
from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog
import trio

from hls import MediaError
from origin.metrics import TranscodeMetrics
from origin.transcode import wire
from origin.transcode.child import ROOT, worker_command, worker_environment
from origin.transcode.ladder import Ladder

HANG_S: Final = 1.7
"""Silence, or a standstill, after which a worker is given up: noticed within two seconds."""

START_S: Final = 15.0
"""Silence that is borne until the first word: Python and FFmpeg load in 0.7 s of CPU time."""

STANDSTILL_PICTURES: Final = 20
"""Pictures that must have gone in meanwhile for a standstill to be one: a decoder may hold 16."""

WATCH_S: Final = 0.2
"""From one look to the next."""

READ_BYTES: Final = 256 * 1024
"""Most that is read at once."""

PATIENCE_S: Final = 3.0
"""How long after the source's first segment new viewers are held back for the rungs."""

CLOSE_TIMEOUT_S: Final = 2.0
"""For a worker to give out what it has when the broadcast ends."""

PAUSE_S: Final = 0.25
MAX_PAUSE_S: Final = 8.0
"""First and longest pause before the next worker."""

MAX_FAILURES: Final = 8
FAILURES_S: Final = 300.0
"""So many failures within so long are the end of transcoding for the broadcast."""

log = structlog.get_logger("transcode")


class Supervisor:
    """One ladder's worker processes, one after the other.

    Args:
        ladder: What they work for.
        metrics: Learns of their lives.
        command: What to start; the worker of this tree by default.
        memory_bytes: Address space that a worker may have.
    """

    def __init__(
        self,
        ladder: Ladder,
        *,
        metrics: TranscodeMetrics,
        memory_bytes: int,
        command: Sequence[str] | None = None,
    ) -> None:
        self._ladder = ladder
        self._metrics = metrics
        self._command = command or worker_command(memory_bytes)
        self._failures: deque[float] = deque(maxlen=MAX_FAILURES)
        self._heard_s = 0.0
        self._moved_s = 0.0
        self._fed_then = 0
        self._came_back_then = 0
        self._has_spoken = False
        self._fault: str | None = None

    async def run(self) -> None:
        """Transcode until the broadcast is over, or as long as it makes sense.

        Cancellation: kills the worker; no process outlives it.
        """
        ladder = self._ladder
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_expecting)
            while not ladder.closed.is_set():
                reason = await self._live()
                ladder.end_life(reason)
                if reason is None:
                    break
                pause_s = self._pause_after_failure()
                if pause_s is None:
                    log.error("transcoding given up", stream=ladder.stream_id)
                    ladder.give_up()
                    break
                with trio.move_on_after(pause_s):
                    await ladder.closed.wait()
                ladder.begin_life()
            nursery.cancel_scope.cancel(reason="no more workers")

    async def _stop_expecting(self) -> None:
        await self._ladder.begun.wait()
        await trio.sleep(PATIENCE_S)
        self._ladder.stop_expecting()

    def _pause_after_failure(self) -> float | None:
        """How long to wait before the next worker; None if there shall be none."""
        now_s = trio.current_time()
        failures = self._failures
        failures.append(now_s)
        if len(failures) == MAX_FAILURES and now_s - failures[0] < FAILURES_S:
            return None
        recent = sum(now_s - failure_s < 4 * MAX_PAUSE_S for failure_s in failures)
        return min(PAUSE_S * 2.0 ** (recent - 1), MAX_PAUSE_S)

    async def _live(self) -> str | None:
        """Run one worker from start to end.

        Returns:
            Why another one is needed, one of `metrics.RESTART_REASONS`; None if none is.
        """
        ladder, metrics = self._ladder, self._metrics
        try:
            process: trio.Process = await trio.lowlevel.open_process(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=ROOT,
                env=worker_environment(),
                start_new_session=True,  # a terminal's Ctrl-C is ours to deal with
            )
        except OSError as error:
            log.error("cannot start a transcode worker", reason=str(error))
            return "crash"
        metrics.worker_started(ladder.stream_id)
        self._heard_s = self._moved_s = trio.current_time()
        self._fed_then = self._came_back_then = 0
        self._has_spoken, self._fault = False, None
        reason: str | None = "crash"
        try:
            reason = await self._attend(process)
        finally:
            process.kill()  # no effect on one that has ended
            with trio.CancelScope(shield=True):  # SIGKILL is prompt
                await process.wait()
            metrics.worker_ended(ladder.stream_id, reason)
        if reason is not None:
            log.warning(
                "transcode worker lost",
                stream=ladder.stream_id,
                reason=reason,
                exit_code=process.returncode,
                fault=self._fault,
            )
        return reason

    async def _attend(self, process: trio.Process) -> str | None:
        """Feed, read and watch a worker until it has ended or must."""
        assert process.stdin is not None
        assert process.stdout is not None
        verdict: str | None = "crash"
        async with process.stdin, process.stdout, trio.open_nursery() as nursery:

            async def watch() -> None:
                nonlocal verdict
                verdict = await self._watch()
                nursery.cancel_scope.cancel(reason="worker given up")

            nursery.start_soon(watch)
            nursery.start_soon(self._write, process.stdin)
            verdict_of_reader = await self._read(process.stdout)
            if verdict_of_reader is None:
                with trio.move_on_after(CLOSE_TIMEOUT_S):
                    verdict = None if await process.wait() == 0 else self._crash_reason()
            else:
                verdict = verdict_of_reader
            nursery.cancel_scope.cancel(reason="worker ended")
        return None if self._ladder.closed.is_set() else verdict

    async def _write(self, stdin: trio.abc.SendStream) -> None:
        feed = self._ladder.feed
        try:
            while frames := await feed.take():
                await stdin.send_all(frames)
            await stdin.aclose()
        except trio.BrokenResourceError:
            pass  # it has died: the reader sees its end

    async def _read(self, stdout: trio.abc.ReceiveStream) -> str | None:
        """Hand over what the worker says until it says no more.

        Returns:
            None at the end of its output, else what is wrong with it.
        """
        reader = wire.ToParentReader()
        ladder = self._ladder
        try:
            while data := await stdout.receive_some(READ_BYTES):
                self._heard_s = trio.current_time()
                self._has_spoken = True
                for message in reader.feed(data):
                    if isinstance(message, wire.Fault):
                        self._fault = message.text
                    else:
                        ladder.take_message(message)
        except trio.BrokenResourceError:
            pass
        except (wire.WireError, MediaError, IndexError) as error:
            self._fault = str(error)
            return "protocol"
        return None

    async def _watch(self) -> str:
        """Return when the worker is to be given up, with the reason."""
        ladder = self._ladder
        deadline_s = float("inf")
        while True:
            await trio.sleep(WATCH_S)
            now_s = trio.current_time()
            ladder.observe(now_s)
            if ladder.closed.is_set():
                deadline_s = min(deadline_s, now_s + CLOSE_TIMEOUT_S)
                if now_s >= deadline_s:
                    return "hang"
            elif self._is_silent(now_s) or self._stands_still(now_s):
                return "hang"

    def _is_silent(self, now_s: float) -> bool:
        return now_s - self._heard_s > (HANG_S if self._has_spoken else START_S)

    def _stands_still(self, now_s: float) -> bool:
        ladder = self._ladder
        has_nothing = ladder.fed == self._fed_then  # since something came back: it may rest
        if ladder.came_back != self._came_back_then or not self._has_spoken or has_nothing:
            self._came_back_then = ladder.came_back
            self._fed_then = ladder.fed
            self._moved_s = now_s
        return now_s - self._moved_s > HANG_S and ladder.fed - self._fed_then > STANDSTILL_PICTURES

    def _crash_reason(self) -> str:
        return "memory" if self._fault is not None and "memory" in self._fault else "crash"
