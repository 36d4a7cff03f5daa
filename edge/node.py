"""One worker of an edge: a process that serves, under `edge.workers`.

::

    worker nursery
      |- EdgeApp.run      flights, probes of upstreams, reports of viewers
      |- serve_http       the listeners it inherited, viewers' connections
      |- watch            its load, once a second: shedding, figures on the board
      '- stdin            what the supervisor says; its end is the end

It inherits its listening sockets and leaves them open for others: the supervisor holds each of them
for as long as the node runs, so that a connection that nobody has accepted yet waits for the next
worker on the same socket, whatever becomes of this one.

SIGTERM is the end of stdin by other means. SIGINT and SIGHUP are the supervisor's: a terminal sends
them to the whole group.

May import: `edge`, structlog, trio.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog
import trio

from edge.board import Board
from edge.config import NodeSettings
from edge.edge_app import EdgeApp
from edge.http.access_log import AccessLog
from edge.http.readiness import ready_response
from edge.http.response import Response
from edge.http.server import Figures, serve_http
from edge.http.tls import Certificate, CertificateError
from edge.node_metrics import COLUMNS, NodeMetrics, Sources, row_of
from edge.process.errors import ConfigError, StartupError
from edge.process.log import configure_logging
from edge.process.memory import calm_collector, keep_pages
from edge.process.terminal import EXIT_CRASHED, EXIT_REFUSED
from edge.shedding import Load, Shedding, SheddingSettings
from edge.worker_pipe import FAREWELL, READY, REFUSED, LineReader, WorkerOrder

WATCH_S: Final = 1.0
"""Between two looks at the load."""

log = structlog.get_logger("worker")


def main() -> None:
    """Entry point of the process; exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    reports = os.dup(1)
    os.dup2(2, 1)  # whatever prints must not speak for us
    keep_pages()
    calm_collector()
    try:
        code = trio.run(_run, reports)
    except Exception:
        log.critical("crashed", exc_info=True)
        code = EXIT_CRASHED
    sys.exit(code)


async def _run(reports: int) -> int:
    """Take the order and serve; the exit code."""
    async with trio.lowlevel.FdStream(os.dup(0)) as stdin, trio.lowlevel.FdStream(reports) as out:
        lines = LineReader(stdin)
        line = await lines.next()
        if line is None:
            return 0  # the supervisor is gone already
        order = WorkerOrder.decode(line)
        configure_logging(order.settings.log_format, order.settings.log_level)
        structlog.contextvars.bind_contextvars(worker=order.seat)
        try:
            worker = Worker(order)
        except StartupError as error:
            await out.send_all(REFUSED + " ".join(str(error).split()).encode() + b"\n")
            return EXIT_REFUSED
        await worker.run(lines, out)
    return 0


class Worker:
    """The parts of a worker, and the order of their start and end.

    Args:
        order: What to serve and how.

    Raises:
        StartupError: The certificate cannot be used.
    """

    def __init__(self, order: WorkerOrder) -> None:
        settings = order.settings
        self._order = order
        self._certificate = _certificate(settings)
        self._board = Board(order.board, rows=order.board_rows, columns=COLUMNS)
        self._http_settings = settings.for_http(workers=order.workers)
        self._shedding = Shedding(
            SheddingSettings(
                connections=max(
                    1, round(settings.shed_connections * self._http_settings.max_connections)
                ),
                cpu=settings.shed_cpu,
            )
        )
        self._app = EdgeApp(
            settings.for_cache(node_id=order.node_id, workers=order.workers),
            ready=self.readiness,
            metrics=NodeMetrics(self._board, clock=trio.current_time).render,
            admits_new=lambda: self._shedding.admits,
        )
        self._requests = AccessLog(settings.access_log, share=settings.access_log_share)
        self._is_leaving = False
        self._stop = trio.Event()
        self._served = trio.Event()

    async def run(self, lines: LineReader, reports: trio.abc.SendStream) -> None:
        """Serve until told to leave, then drain; returns when everything is closed.

        Args:
            lines: What the supervisor says.
            reports: What it is told.
        """
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._app.run)
                figures: Figures = await nursery.start(self._serve)
                nursery.start_soon(self._watch, figures)
                await reports.send_all(READY + b"\n")
                async with trio.open_nursery() as waiting:
                    for told in (partial(self._told, lines), partial(anext, signals)):
                        waiting.start_soon(_first, told, waiting.cancel_scope)
                self._stop.set()
                await self._served.wait()
                nursery.cancel_scope.cancel()

    def readiness(self) -> Response:
        """Answer `/ready`: 200, or 503 and every reason why new viewers should go elsewhere."""
        load = self._shedding.reason
        return ready_response(
            {
                "running": "draining" if self._is_leaving else None,
                "upstream": self._app.trouble,
                "load": None if load is None else f"no new viewers: too much load ({load})",
            }
        )

    async def _told(self, lines: LineReader) -> None:
        """Return when the supervisor wants the end."""
        line = await lines.next()
        if line == FAREWELL:
            self._is_leaving = True
            await trio.sleep(self._order.settings.farewell_s)

    async def _serve(
        self, *, task_status: trio.TaskStatus[Figures] = trio.TASK_STATUS_IGNORED
    ) -> None:
        order, certificate = self._order, self._certificate
        await serve_http(
            _listeners(order.http),
            self._app,
            settings=self._http_settings,
            tls_listeners=_listeners(order.https),
            tls_context=None if certificate is None else certificate.context,
            stop=self._stop,
            audience=self._app.audience,
            tell=self._requests.note,
            task_status=task_status,
        )
        self._served.set()

    async def _watch(self, figures: Figures) -> None:
        """Measure, decide, and put figures on the board."""
        shedding = self._shedding
        while True:
            due_s = trio.current_time() + WATCH_S
            await trio.sleep_until(due_s)
            now_s, cpu_s = trio.current_time(), time.process_time()
            load = Load(now_s, cpu_s, now_s - due_s, figures.connections)
            if shedding.observe(load):
                if shedding.admits:
                    log.info("takes new viewers again", connections=load.connections)
                else:
                    log.warning(
                        "refuses new viewers",
                        reason=shedding.reason,
                        connections=load.connections,
                        cpu=round(shedding.cpu, 2),
                        lag_s=round(shedding.lag_s, 3),
                    )
            sources = Sources(self._app.counters, figures, self._requests, shedding, cpu_s)
            self._board.write(self._order.seat, row_of(sources))


async def _first(told: Callable[[], Awaitable[object]], others: trio.CancelScope) -> None:
    """Wait for one thing, and then for no other."""
    await told()
    others.cancel()


def _certificate(settings: NodeSettings) -> Certificate | None:
    if settings.tls_certificate is None:
        return None
    try:
        return Certificate(settings.tls_certificate, settings.tls_key)
    except CertificateError as error:
        raise ConfigError(f"tls_certificate: {error}") from error


def _listeners(descriptors: tuple[int, ...]) -> list[trio.SocketListener]:
    return [
        trio.SocketListener(trio.socket.from_stdlib_socket(socket.socket(fileno=descriptor)))
        for descriptor in descriptors
    ]


if __name__ == "__main__":
    main()
