"""The worker's stages, and what flows between them: one broadcast, one Trio program.

::

    stdin -> _read -> messages -> _take_in (the first lane) ------------------> frames -> _write
                 |                    \\--> rows -> _encode (each other lane) ----/          stdout
                 \\-> audio -> _listen                               _beat -------/

Stages wait for each other through queues with bounds, so when an encoder is slow, or the parent
does not read, everything before it stops, stdin last: what waits then waits at the parent's, who
can leave it out. Memory is bounded whatever happens. What blocks runs in threads, one call at a
time for each object, spread over `lanes`: one hop decodes, scales and encodes the first lane's
rungs, one more each other lane's. A stage that is behind takes several pictures in one hop.

The end of stdin is the end: what was fed is encoded and written, and the worker exits with 0. It
exits with 1 after a `Fault`, or when the parent is gone. An exception of a stage ends all of them;
its text is the fault's. The heartbeat comes from the loop, so it goes on while threads are busy or
stuck, and says for how long the oldest call has run.

Bounds: `MAX_GULP` messages and `MAX_MESSAGE_BYTES`, `MAX_GULP` rows a lane, `MAX_FRAMES` and
`MAX_FRAME_BYTES`, `MAX_AUDIO`; and time, `DRAIN_TIMEOUT_S` from the end of stdin.

May import trio and the modules of this package.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import trio

from origin.transcode import wire
from origin.transcode.bounded_queue import BoundedQueue
from origin.transcode.errors import TranscodeError
from origin.transcode.intake import Intake, Row, VideoInput
from origin.transcode.lanes import Lane, plan_lanes
from origin.transcode.listener import Listener
from origin.transcode.rung_stage import RungStage
from origin.transcode.signals import AvDrift

READ_BYTES: Final = 256 * 1024
"""Most that one read takes; a pipe holds 64 KiB unless somebody made it larger."""

GULP_S: Final = 0.1
MAX_GULP: Final = 8
"""Pictures that one call in a thread takes at the most: those of so long, and so many. As many may
wait before each stage, and it may not be more: what waits is late, and the parent must see it."""

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Coded pictures that wait for the decoder."""

MAX_FRAMES: Final = 64
MAX_FRAME_BYTES: Final = 4 * 1024 * 1024
"""Frames that wait to be written."""

MAX_AUDIO: Final = 256
"""Audio frames that wait to be listened to; more are passed over."""

HEARTBEAT_S: Final = 0.5
LISTEN_S: Final = 0.5
"""From one look at the sound to the next: one hop for some 24 frames."""

DRAIN_TIMEOUT_S: Final = 10.0
"""From the end of stdin to the end of the worker. If it passes, nobody reads or a codec hangs."""

FAULT_TIMEOUT_S: Final = 1.0
"""For the parent to take a fault and what is before it."""

T = TypeVar("T")


class Worker:
    """Transcodes one broadcast.

    Args:
        setup: What to do.
        reader: Of what comes in; the setup has been read from it.
        early: Messages that came together with the setup.
        stdin: Where the rest comes from.
        stdout: Where everything goes.
        confinement: What to say about it.
        cores: How many there are to spread the work over.
        resident_bytes: Says how much memory is in use.
    """

    def __init__(
        self,
        *,
        setup: wire.Setup,
        reader: wire.ToWorkerReader,
        early: Sequence[wire.ToWorker],
        stdin: trio.abc.ReceiveStream,
        stdout: trio.abc.SendStream,
        confinement: str = "",
        cores: int = 1,
        resident_bytes: Callable[[], int] = lambda: 0,
    ) -> None:
        self._setup = setup
        self._reader = reader
        self._early = early
        self._stdin = stdin
        self._stdout = stdout
        self._confinement = confinement
        self._resident_bytes = resident_bytes
        self._gulp = gulp = gulp_of(setup)
        self._messages: BoundedQueue[VideoInput] = BoundedQueue(gulp, MAX_MESSAGE_BYTES)
        self._frames: BoundedQueue[bytes] = BoundedQueue(MAX_FRAMES, MAX_FRAME_BYTES)
        self._audio: list[wire.AudioConfig | wire.Audio] = []
        self._intake = Intake(setup)
        self._rungs = [RungStage(index, rung) for index, rung in enumerate(setup.rungs)]
        lanes = [Lane(self._rungs, indexes) for indexes in plan_lanes(setup.rungs, cores)]
        self._first_lane = lanes[0]
        self._lanes: list[tuple[Lane, BoundedQueue[Row]]] = [
            (lane, BoundedQueue(gulp)) for lane in lanes[1:]
        ]
        self._listener = Listener()
        self._drift = AvDrift()
        self._calls: dict[object, float] = {}  # in threads, with the time of their beginning
        self._scope = trio.CancelScope()
        self._is_parent_gone = False

    async def run(self) -> int:
        """Work until stdin ends, or something fails.

        Returns:
            The exit code.

        Cancellation: ends at once; calls in threads are left to themselves.
        """
        fault: str | None = None
        has_drained = False
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                try:
                    await self._work()
                    has_drained = True
                except Exception as error:
                    fault = fault_text(error)
                    self._frames.force(wire.encode(wire.Fault(fault)))
                    self._scope.deadline = trio.current_time() + FAULT_TIMEOUT_S
                self._frames.close()
        # Past the deadline something was not written, unless the writer was done already.
        done = has_drained and not self._scope.cancelled_caught and not self._is_parent_gone
        return 0 if done else 1

    async def _work(self) -> None:
        ready = wire.Ready(
            encoders=tuple(rung.encoder for rung in self._setup.rungs),
            confinement=self._confinement,
        )
        await self._give(wire.GREETING + wire.encode(ready))
        async with trio.open_nursery() as helpers:
            helpers.start_soon(self._beat)
            helpers.start_soon(self._listen)
            async with trio.open_nursery() as stages:
                for lane, rows in self._lanes:
                    stages.start_soon(self._encode, lane, rows)
                stages.start_soon(self._take_in)
                stages.start_soon(self._read)
            helpers.cancel_scope.cancel(reason="everything is encoded")
        await self._give(wire.encode(self._status()))

    # -- the stages, in the order of the flow

    async def _read(self) -> None:
        """stdin -> messages, until it ends."""
        for message in self._early:
            await self._sort(message)
        while data := await self._stdin.receive_some(READ_BYTES):
            for message in self._reader.feed(data):
                await self._sort(message)
        self._scope.deadline = trio.current_time() + DRAIN_TIMEOUT_S
        self._reader.finish()
        self._messages.close()

    async def _sort(self, message: wire.ToWorker) -> None:
        match message:
            case wire.Picture():
                self._drift.push_video(message.pts_ticks)
                await self._messages.give(message, len(message.data))
            case wire.Audio() | wire.AudioConfig():
                if isinstance(message, wire.Audio):
                    self._drift.push_audio(message.pts_ticks)
                if len(self._audio) < MAX_AUDIO:
                    self._audio.append(message)
            case wire.VideoConfig() | wire.RungRate():
                await self._messages.give(message)
            case wire.Setup():
                raise wire.WireError("a second setup")  # the reader has refused it before

    async def _take_in(self) -> None:
        """Messages -> pictures, and the first lane's frames."""
        while messages := await self._messages.take(self._gulp):
            await self._hand_out(*await self._call(self._intake_and_first_lane, messages))
        await self._hand_out(*await self._call(self._finish_intake))
        for _, queue in self._lanes:
            queue.close()
        await self._give(await self._call(self._first_lane.finish))

    def _intake_and_first_lane(self, messages: Sequence[VideoInput]) -> tuple[list[Row], bytes]:
        rows = self._intake.take(messages)
        return rows, self._first_lane.run(rows)

    def _finish_intake(self) -> tuple[list[Row], bytes]:
        rows = self._intake.finish()
        return rows, self._first_lane.run(rows)

    async def _hand_out(self, rows: list[Row], frames: bytes) -> None:
        for row in rows:
            for _, queue in self._lanes:
                await queue.give(row)
        await self._give(frames)

    async def _encode(self, lane: Lane, queue: BoundedQueue[Row]) -> None:
        """Pictures of another lane -> frames."""
        while rows := await queue.take(self._gulp):
            if lane.needs_thread(rows):
                await self._give(await self._call(lane.run, rows))
            else:
                await self._give(lane.run(rows))
        await self._give(await self._call(lane.finish))

    async def _write(self) -> None:
        """Frames -> stdout, until there are no more."""
        try:
            while frames := await self._frames.take(MAX_FRAMES):
                await self._stdout.send_all(b"".join(frames))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._is_parent_gone = True
            self._scope.cancel(reason="the parent is gone")

    # -- beside the flow

    async def _listen(self) -> None:
        while True:
            await trio.sleep(LISTEN_S)
            messages, self._audio = self._audio, []
            if messages:
                await self._call(self._listener.listen, messages)

    async def _beat(self) -> None:
        while True:
            await self._give(wire.encode(self._status()))
            await trio.sleep(HEARTBEAT_S)

    def _status(self) -> wire.Status:
        intake = self._intake
        now_s = trio.current_time()
        return wire.Status(
            decoded=intake.decoded,
            decode_errors=intake.decode_errors,
            lost=intake.lost,
            newest_pts_ticks=intake.newest_pts_ticks,
            rungs=tuple(rung.status for rung in self._rungs),
            black=intake.signals.black,
            frozen=intake.signals.frozen,
            silent=self._listener.silent,
            av_drift_s=self._drift.seconds,
            busy_s=now_s - min(self._calls.values(), default=now_s),
            rss_bytes=self._resident_bytes(),
        )

    async def _give(self, frames: bytes) -> None:
        if frames:
            await self._frames.give(frames, len(frames))

    async def _call(self, function: Callable[..., T], *args: object) -> T:
        """Run in a thread something that blocks, and know since when."""
        call = object()
        self._calls[call] = trio.current_time()
        try:
            # Left to itself when cancelled: a codec cannot be interrupted, and nothing of what it
            # works on is used again.
            return await trio.to_thread.run_sync(function, *args, abandon_on_cancel=True)
        finally:
            del self._calls[call]


def gulp_of(setup: wire.Setup) -> int:
    """How many pictures a call takes at the most."""
    rate = max(rung.frame_rate for rung in setup.rungs)
    return min(MAX_GULP, max(1, round(rate * GULP_S)))


def read_setup(
    read: Callable[[], bytes],
) -> tuple[wire.Setup, wire.ToWorkerReader, list[wire.ToWorker]] | None:
    """Read the first message, before there is a loop to wait in.

    Args:
        read: Gives the next bytes, empty at the end.

    Returns:
        The setup, the reader, and the messages that came with it; None if nothing came at all.

    Raises:
        WireError: Something else came.
    """
    reader = wire.ToWorkerReader()
    has_begun = False
    while data := read():
        has_begun = True
        messages = reader.feed(data)
        if messages:
            setup, *early = messages
            assert isinstance(setup, wire.Setup)  # the reader has seen to it
            return setup, reader, early
    if has_begun:
        raise wire.WireError("the stream ended before the setup")
    return None


def fault_text(error: BaseException) -> str:
    """Say in one line what ended the worker; of several errors, the first that is not ours."""
    errors = list(_leaves(error))
    for each in errors:
        if isinstance(each, MemoryError):
            return "out of memory"
    for each in errors:
        if isinstance(each, TranscodeError | wire.WireError):
            return " ".join(str(each).split())
    first = errors[0]
    # Its text may hold anything; where it came from is what a log needs.
    place = ""
    trace = first.__traceback__
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(first).__name__} in {place}: {str(first)[:200]!r}"


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]
