"""The supervisor of an edge: N worker processes on one port, none of whose viewers it ever sees.

::

    supervisor nursery
      |- a task for each worker      starts it, awaits its end, replaces it
      |- roller                      after SIGHUP: one slot after the other gets a new worker
      '- signals                     SIGTERM, SIGINT: drain; a second one: at once

A *slot* is a worker's place: its own listening sockets, bound to the same addresses as those of the
other slots (SO_REUSEPORT). The supervisor opens them once and holds them; a worker inherits the
sockets of its slot. So a connection that the kernel has completed and nobody has accepted yet stays
where it is when a worker dies or is replaced, and the next one on the slot accepts it. (If each
worker opened its own, closing it would reset what waits in its queue.) A *seat* is a worker's row
of the board; a slot has two, for while an old worker drains its successor serves.

A worker that ends by itself is replaced: at once, then with pauses that double from
`RESTART_MIN_S` to `RESTART_MAX_S` while it does not live for `HEALTHY_S`. Meanwhile new
connections of its slot wait in the kernel, and the other slots serve.

SIGHUP reads the configuration again and replaces every worker: the new one says that it accepts,
then the old one drains. A configuration that is wrong, or a worker that refuses it, is logged, and
the old workers stay. What the sockets are made of (addresses, number of workers) stays until a
restart. SIGHUPs that come meanwhile are one more roll.

Every wait has a bound: `START_TIMEOUT_S` for a start, the drain's own and `KILL_MARGIN_S` for an
end, `HANG_S` for a sign of life (a row on the board) in between; then SIGKILL.

May import: `edge.process`, `edge.config`, `edge.board`, msgspec, structlog, trio.
"""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec
import structlog
import trio

from edge.board import Board
from edge.config import NEEDS_RESTART, NodeSettings
from edge.node_metrics import COLUMNS
from edge.process.address import Address
from edge.process.errors import ConfigError, StartupError
from edge.process.listeners import address_of, close_all, open_shared, raise_file_limit
from edge.worker_pipe import FAREWELL, READY, REFUSED, LineReader, WorkerOrder

COMMAND: Final = (sys.executable, "-m", "edge.node")

START_TIMEOUT_S: Final = 20.0
"""From a worker's start to its "ready"."""

KILL_MARGIN_S: Final = 2.0
"""What a worker may take longer than its drain before it is killed."""

HANG_S: Final = 20.0
"""A worker whose event loop stands still for so long is killed: its slot's connections wait."""

PULSE_S: Final = 1.0
"""Between two looks."""

RESTART_MIN_S: Final = 0.1
RESTART_MAX_S: Final = 10.0
HEALTHY_S: Final = 10.0
"""A worker that has lived so long is replaced at once."""

log = structlog.get_logger("workers")


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a running node can be reached, with the ports that the kernel chose for 0."""

    http: Address
    https: Address | None


async def run(
    settings: NodeSettings,
    reload: Callable[[], NodeSettings],
    *,
    command: Sequence[str] = COMMAND,
    task_status: trio.TaskStatus[Listening] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a node until SIGTERM or SIGINT, then drain; returns when every worker has ended.

    Args:
        settings: Checked settings.
        reload: Gathers them again, after SIGHUP; raises `ConfigError`.
        command: What a worker is.
        task_status: Reports the addresses once every worker accepts connections.

    Raises:
        StartupError: An address cannot be listened on, or a worker cannot start.

    Cancellation: kills the workers at once; nothing outlives it.
    """
    raise_file_limit()
    with (
        trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals,
        _open_slots(settings) as slots,
        _open_board(2 * len(slots)) as board,
    ):
        node = _Node(settings, reload, slots, board, command)
        async with trio.open_nursery() as nursery:
            await node.start(nursery)
            listening = Listening(
                address_of(slots[0].http[0]),
                address_of(slots[0].https[0]) if slots[0].https else None,
            )
            secure = {"https": str(listening.https)} if listening.https else {}
            log.info("listening", http=str(listening.http), **secure, workers=len(slots))
            if settings.upstream_token is None:
                log.warning("without an upstream_token only viewers with pages of ours are counted")
            task_status.started(listening)

            while await anext(signals) == signal.SIGHUP:
                node.roll()
            log.info("stopping")
            nursery.start_soon(_cut_short, signals, nursery.cancel_scope)
            await node.stop()
            nursery.cancel_scope.cancel(reason="drained")
    log.info("stopped")


class _Worker:
    """One process, from its start to its end.

    Args:
        order: What it is told first.
        command: What it is.
        beats: How often it has given a sign of life.
    """

    def __init__(
        self, order: WorkerOrder, command: Sequence[str], beats: Callable[[], int]
    ) -> None:
        self.ended = trio.Event()
        """It does not run any more."""
        self.was_told = False
        """To leave; else its end is not what anybody wanted."""
        self.exit_code: int | None = None
        self.seat = order.seat
        """Its row of the board."""
        self._order = order
        self._command = command
        self._beats = beats
        self._leave = trio.Event()
        self._farewell_s = 0.0

    def leave(self, *, farewell_s: float = 0.0) -> None:
        """Let it drain and end, this long after `/ready` has begun to say no; once is enough."""
        if self.was_told:
            return
        self.was_told = True
        self._farewell_s = farewell_s
        self._leave.set()

    async def run(self, *, task_status: "trio.TaskStatus[_Worker]") -> None:
        """Start it; returns when it has ended.

        Raises:
            StartupError: It did not come to serve.

        Cancellation: kills it.
        """
        order = self._order
        process = await trio.lowlevel.open_process(
            list(self._command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(*order.http, *order.https, order.board),
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with trio.move_on_after(START_TIMEOUT_S) as start:
                await self._start(process.stdin, process.stdout)
            if start.cancelled_caught:
                raise StartupError(f"a worker was not ready within {START_TIMEOUT_S:g} s")
            task_status.started(self)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._see_out, process, process.stdin)
                nursery.start_soon(self._feel_pulse, process)
                await process.wait()
                nursery.cancel_scope.cancel()
        finally:
            process.kill()
            with trio.move_on_after(KILL_MARGIN_S, shield=True):
                await process.wait()
            await trio.aclose_forcefully(process.stdin)
            await trio.aclose_forcefully(process.stdout)
            self.exit_code = process.returncode
            self.ended.set()

    async def _start(self, stdin: trio.abc.SendStream, stdout: trio.abc.ReceiveStream) -> None:
        try:
            await stdin.send_all(self._order.encode())
            answer = await LineReader(stdout).next()
        except (trio.BrokenResourceError, ValueError):
            answer = None
        if answer is not None and answer.startswith(REFUSED):
            raise StartupError(answer.removeprefix(REFUSED).decode(errors="replace"))
        if answer != READY:
            raise StartupError("a worker ended before it was ready")

    async def _see_out(self, process: trio.Process, stdin: trio.abc.SendStream) -> None:
        """Wait for the word to leave, pass it on, and insist."""
        await self._leave.wait()
        with contextlib.suppress(trio.BrokenResourceError):  # it is gone already
            if self._farewell_s:
                await stdin.send_all(FAREWELL + b"\n")
            await stdin.aclose()
        drain_s = self._order.settings.drain_timeout_s
        await trio.sleep(self._farewell_s + drain_s + KILL_MARGIN_S)
        log.warning("worker killed: it did not end", seat=self.seat)
        process.kill()

    async def _feel_pulse(self, process: trio.Process) -> None:
        """Kill it if it shows no life."""
        beats, changed_s = 0, trio.current_time()
        while trio.current_time() - changed_s < HANG_S:
            await trio.sleep(PULSE_S)
            if (now := self._beats()) != beats:
                beats, changed_s = now, trio.current_time()
        log.error("worker killed: it hangs", seat=self.seat)
        process.kill()


@dataclass(slots=True)
class _Slot:
    """A worker's place."""

    http: list[socket.socket]
    https: list[socket.socket]
    free_seats: list[int]
    lock: trio.Lock = field(default_factory=trio.Lock)
    """Held by who starts a worker here."""
    worker: _Worker | None = None
    """The newest one that was ready."""
    pause_s: float = RESTART_MIN_S

    def next_pause_s(self, lived_s: float) -> float:
        """How long to wait before the next start, after a worker that lived so long."""
        if lived_s >= HEALTHY_S:
            self.pause_s = RESTART_MIN_S
            return 0.0
        pause_s = self.pause_s
        self.pause_s = min(2 * pause_s, RESTART_MAX_S)
        return pause_s


class _Node:
    """All workers of a node, and the order of their start and end.

    Args:
        settings: Of the next worker.
        reload: Gathers them again.
        slots: With their sockets.
        board: Descriptor of the board.
        command: What a worker is.
    """

    def __init__(
        self,
        settings: NodeSettings,
        reload: Callable[[], NodeSettings],
        slots: Sequence[_Slot],
        board: int,
        command: Sequence[str],
    ) -> None:
        self._settings = settings
        self._reload = reload
        self._slots = slots
        self._board_descriptor = board
        self._board = Board(board, rows=2 * len(slots), columns=COLUMNS)
        self._command = command
        self._node_id = secrets.token_hex(8)
        self._roll_wanted = trio.Event()
        self._is_stopping = False
        self._serving: set[_Worker] = set()  # from "ready" to the end: at most two for each slot
        self._nursery: trio.Nursery

    async def start(self, nursery: trio.Nursery) -> None:
        """Start every worker; returns when all accept connections. They live in this nursery."""
        self._nursery = nursery
        async with trio.open_nursery() as starting:
            for slot in self._slots:
                starting.start_soon(self._fill, slot, self._settings)
        nursery.start_soon(self._roll_on_demand)

    def roll(self) -> None:
        """Have every worker replaced, by one with the configuration as it is then."""
        self._roll_wanted.set()

    async def stop(self) -> None:
        """Let all drain; returns when they have ended. Who is being started is not waited for."""
        self._is_stopping = True
        workers = list(self._serving)
        for worker in workers:
            worker.leave(farewell_s=self._settings.farewell_s)
        for worker in workers:
            await worker.ended.wait()

    async def _fill(self, slot: _Slot, settings: NodeSettings) -> None:
        """Start a worker; its slot is locked, or nobody else's yet."""
        before = slot.worker
        slot.worker = await self._nursery.start(self._tend, slot, settings)
        self._serving.add(slot.worker)
        if before is not None:
            log.info("worker replaced", seat=before.seat, by=slot.worker.seat)

    async def _tend(
        self,
        slot: _Slot,
        settings: NodeSettings,
        *,
        task_status: trio.TaskStatus[_Worker] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Have a worker in this slot, to its end, and see that it is replaced."""
        seat = slot.free_seats.pop(0)
        order = WorkerOrder(
            settings=settings,
            seat=seat,
            workers=len(self._slots),
            node_id=self._node_id,
            http=tuple(opened.fileno() for opened in slot.http),
            https=tuple(opened.fileno() for opened in slot.https),
            board=self._board_descriptor,
            board_rows=2 * len(self._slots),
        )
        worker = _Worker(order, self._command, partial(self._board.beats, seat))
        started_s = trio.current_time()
        try:
            await worker.run(task_status=task_status)
        finally:
            self._serving.discard(worker)
            slot.free_seats.append(seat)
            self._board.clear(seat)
        if not worker.was_told and not self._is_stopping:
            lived_s = trio.current_time() - started_s
            pause_s = slot.next_pause_s(lived_s)
            log.warning(
                "worker ended", seat=seat, exit_code=worker.exit_code, pause_s=round(pause_s, 1)
            )
            await self._replace(slot, worker, pause_s)

    async def _replace(self, slot: _Slot, dead: _Worker, pause_s: float) -> None:
        """Fill a slot whose worker has died, however often it takes."""
        while True:
            await trio.sleep(pause_s)
            async with slot.lock:
                if slot.worker is not dead or self._is_stopping:
                    return  # a roll was faster, or nobody is wanted any more
                try:
                    await self._fill(slot, self._settings)
                except StartupError as error:
                    pause_s = slot.next_pause_s(0.0)
                    log.error("worker not replaced yet", reason=str(error), pause_s=pause_s)
                else:
                    return

    async def _roll_on_demand(self) -> None:
        while True:
            await self._roll_wanted.wait()
            self._roll_wanted = trio.Event()
            try:
                settings = self._next_settings()
            except ConfigError as error:
                log.error("configuration not taken, the workers stay", reason=str(error))
            else:
                await self._roll(settings)

    def _next_settings(self) -> NodeSettings:
        """Read the configuration again, but for what is fixed."""
        settings = self._reload()
        for name in sorted(NEEDS_RESTART):
            kept = getattr(self._settings, name)
            if getattr(settings, name) != kept:
                log.warning("a setting needs a restart to change", setting=name)
                settings = msgspec.structs.replace(settings, **{name: kept})
        return settings

    async def _roll(self, settings: NodeSettings) -> None:
        """Replace the workers one after the other; returns when the old ones have ended."""
        left: list[_Worker] = []
        for slot in self._slots:
            async with slot.lock:
                old = slot.worker
                try:
                    await self._fill(slot, settings)
                except StartupError as error:
                    log.error("workers stay, a new one cannot start", reason=str(error))
                    break
            self._settings = settings
            if old is not None:
                old.leave()
                left.append(old)
        for worker in left:
            await worker.ended.wait()
        log.info("rolled", replaced=len(left), workers=len(self._slots))


async def _cut_short(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    while await anext(signals) == signal.SIGHUP:
        pass
    log.warning("stopping at once")
    scope.cancel(reason="second signal")


@contextmanager
def _open_slots(settings: NodeSettings) -> Iterator[list[_Slot]]:
    """Open the sockets of all workers, and close them in the end."""
    count = settings.worker_count
    http = open_shared("HTTP", settings.http_address, count)
    try:
        https = open_shared("HTTPS", settings.https_address, count)
        try:
            yield [_Slot(http[n], https[n], [n, n + count]) for n in range(count)]
        finally:
            close_all(https)
    finally:
        close_all(http)


@contextmanager
def _open_board(rows: int) -> Iterator[int]:
    board = Board.create(rows=rows, columns=COLUMNS)
    try:
        yield board
    finally:
        os.close(board)
