"""The recorder: one task per broadcast that is recorded, and one that sweeps.

`begin` is called with every broadcast that gets its first media, and asks nobody: the task asks
the store whether the broadcast is to be recorded, while its first parts wait on the tape. Live
never waits for anything here; a disk that is too slow or too full costs the recording alone, and is
told as an event (``recording.degraded``, ``recording.stopped``).

A process that is killed leaves recordings that the store knows as going on: the next one repairs
them when it starts. So does a stop whose time runs out.

Bounds: `MAX_WRITERS` threads; one tape per live broadcast, bounded itself; the sweep, every
`SWEEP_S`, takes steps of `control.recording_queries.MAX_SURPLUS`.

May import control, edge, hls, trio and origin's own.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec
import structlog
import trio

from control import Recording, RecordingStatus, StoreError, Stream, UnknownStreamError
from control.keys import new_stream_id
from control.recording_store import RecordingStore
from edge.events import EventBus
from edge.process.log import start_apart
from origin.broadcast import Broadcast
from origin.config import Settings
from origin.recording import folder
from origin.recording.folder import RecordingStopped, RecordingWriter
from origin.recording.index import MediaFile
from origin.recording.tape import QueuedBytes, Tape, TapePart

MAX_WRITERS: Final = 8
"""Threads that write recordings at one time."""

SWEEP_S: Final = 60.0
"""From one look for what is too old, or has no owner, to the next, seconds."""

STORE_RETRY_S: Final = 1.0
"""After the store has failed, seconds."""

FOLDER_NAME: Final = "recordings"
"""In the data folder."""

_DAY_S: Final = 86_400.0

log = structlog.get_logger("recording")

T = TypeVar("T")


class Writer(Protocol):
    """What `RecordingWriter` is."""

    def append(self, parts: Sequence[TapePart]) -> None:
        """Write parts. Raises RecordingStopped, OSError."""
        ...

    def close(self) -> None:
        """Flush and close. Raises OSError."""
        ...

    def drop(self) -> None:
        """Close as it is."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderSettings:
    """What a recorder keeps, and for how long."""

    folder: Path
    """Of all recordings; each has one in it."""
    keep_days: int = 0
    """From a recording's end to its removal; 0: for ever."""
    max_bytes: int = 0
    """Of all finished recordings, beyond which the oldest go; 0: any size."""
    min_free_bytes: int = 0
    """Room that is left on the disk."""


def recorder_settings(settings: Settings) -> RecorderSettings:
    """Choose a recorder's from the origin's."""
    return RecorderSettings(
        folder=settings.data / FOLDER_NAME,
        keep_days=settings.recording_keep_days,
        max_bytes=settings.recording_max_gb * 1_000_000_000,
        min_free_bytes=settings.recording_min_free_mb * 1024 * 1024,
    )


@dataclass(slots=True)
class RecorderFigures:
    """For metrics."""

    active: int = 0
    """Broadcasts that are being recorded."""
    written_bytes: int = 0
    """Media, since the start."""
    finished: int = 0
    """Recordings that became ready, since the start."""
    failed: int = 0
    """Recordings that a fault ended early, since the start."""
    lost_segments: int = 0
    """Segments that are not whole, the disk being too slow, since the start."""


class Recorder:
    """Records broadcasts.

    Args:
        settings: Where to, and how long.
        recordings: The index.
        get_stream: Looks a stream up in the store.
        events: Where it tells what happens.
        clock: Gives UTC seconds since 1970.
        open_writer: Begins a recording's folder; raises OSError.
    """

    def __init__(
        self,
        *,
        settings: RecorderSettings,
        recordings: RecordingStore,
        get_stream: Callable[[str], Awaitable[Stream | None]],
        events: EventBus,
        clock: Callable[[], float] = time.time,
        open_writer: Callable[[Path], Writer] | None = None,
    ) -> None:
        self._settings = settings
        self._recordings = recordings
        self._get_stream = get_stream
        self._events = events
        self._clock = clock
        self._open_writer = open_writer or self._new_writer
        self._threads = trio.CapacityLimiter(MAX_WRITERS)
        self._queued = QueuedBytes()
        self._figures = RecorderFigures()
        self._nursery: trio.Nursery | None = None
        self._active: set[str] = set()  # ids of recordings that this process makes
        self._tasks = 0
        self._idle = trio.Event()
        self._idle.set()

    def reconfigure(self, settings: RecorderSettings) -> None:
        """Keep other bounds: at the next look for old recordings, and for those that begin."""
        self._settings = replace(settings, folder=self._settings.folder)

    def _new_writer(self, path: Path) -> RecordingWriter:
        return RecordingWriter(path, min_free_bytes=self._settings.min_free_bytes)

    def begin(self, broadcast: Broadcast) -> Tape | None:
        """Record a broadcast from its first media on, if it is to be; None without `run`.

        Synchronous. The tape is the caller's to fill and to end.
        """
        if self._nursery is None:
            return None
        recording_id = new_stream_id()

        def lose() -> None:
            log.warning("recording degraded", stream=broadcast.stream_id, recording=recording_id)
            self._events.emit(
                "recording.degraded",
                broadcast.stream_id,
                recordingId=recording_id,
                broadcastId=broadcast.token,
            )

        tape = Tape(started_at_s=broadcast.media_started_at_s, queued=self._queued, on_loss=lose)
        if not self._tasks:
            self._idle = trio.Event()
        self._tasks += 1
        start_apart(self._nursery, self._follow, recording_id, broadcast, tape)
        return tape

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Repair what a crash left, then record until cancelled."""
        # What goes on now was left by another process: nothing is recorded yet.
        unfinished = await self._persist(self._recordings.list_unfinished)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._repair, unfinished)
                task_status.started()
        finally:
            self._nursery = None

    async def settled(self) -> None:
        """Return when every tape that has ended is a finished recording.

        Needs `run` beside it. A disk that hangs keeps it waiting: bound it from outside.
        """
        await self._idle.wait()

    def figures(self) -> RecorderFigures:
        """Return what happened so far."""
        return self._figures

    def path_of(self, recording_id: str) -> Path:
        """Return the folder of a recording."""
        return self._settings.folder / recording_id

    async def read(self, recording_id: str, make: Callable[[Sequence[MediaFile]], T]) -> T:
        """Read what a recording has, and make something of it, in a thread; raises OSError."""
        return await self._in_thread(lambda: make(folder.read_folder(self.path_of(recording_id))))

    async def remove(self, recording: Recording) -> None:
        """Delete a recording that is finished.

        Raises:
            StoreError: It is still there.
        """
        await self._recordings.delete(recording.id)
        await self._clear(recording.id)
        log.info("recording deleted", stream=recording.stream_id, recording=recording.id)

    # -- one recording

    async def _follow(self, recording_id: str, broadcast: Broadcast, tape: Tape) -> None:
        try:
            stream = await self._persist(lambda: self._get_stream(broadcast.stream_id))
            if stream is not None and stream.recording_enabled:
                await self._record(recording_id, broadcast, stream, tape)
        except Exception:  # an extra: a bug in it must not touch the process
            log.exception("recording failed", stream=broadcast.stream_id, recording=recording_id)
            self._figures.failed += 1
        finally:
            tape.close()
            self._figures.lost_segments += tape.lost_segments
            self._tasks -= 1
            if not self._tasks:
                self._idle.set()

    async def _record(
        self, recording_id: str, broadcast: Broadcast, stream: Stream, tape: Tape
    ) -> None:
        recording = Recording(
            id=recording_id,
            stream_id=stream.id,
            broadcast_id=broadcast.token,
            title=stream.title,
            started_at=self._clock(),
        )
        self._active.add(recording_id)
        self._figures.active += 1
        try:
            try:
                await self._persist(lambda: self._recordings.add(recording))
            except UnknownStreamError:  # it was deleted this moment
                return
            log.info("recording began", stream=stream.id, recording=recording_id)
            reason = await self._write(recording, tape)
            tape.close()
            await self._finish(recording, reason)
        finally:
            self._figures.active -= 1
            self._active.discard(recording_id)

    async def _write(self, recording: Recording, tape: Tape) -> str:
        """Write until the tape ends or a fault comes; returns what fault, or nothing."""
        try:
            writer = await self._in_thread(lambda: self._open_writer(self.path_of(recording.id)))
        except OSError as error:
            return _reason(error)
        # After a cancellation a thread may still be writing: then nobody touches the writer again.
        reason = ""
        try:
            while parts := await _receive(tape, writer):
                await self._in_thread(lambda some=parts: writer.append(some))  # type: ignore[misc]
                self._figures.written_bytes += sum(len(part.data) for part in parts)
        except (RecordingStopped, OSError) as error:
            reason = _reason(error)
        except Exception:  # what is there is a recording all the same
            log.exception("recording failed", stream=recording.stream_id, recording=recording.id)
            reason = "internal error"
        try:
            await self._in_thread(writer.close)
        except OSError as error:
            reason = reason or _reason(error)
        return reason

    async def _finish(self, recording: Recording, reason: str) -> None:
        if reason:
            self._figures.failed += 1
            log.error(
                "recording stopped",
                stream=recording.stream_id,
                recording=recording.id,
                reason=reason,
            )
            self._events.emit(
                "recording.stopped",
                recording.stream_id,
                recordingId=recording.id,
                broadcastId=recording.broadcast_id,
                reason=reason,
            )
        await self._conclude(recording, reason)

    async def _conclude(self, recording: Recording, reason: str) -> None:
        """Make what is there a finished recording, and tell of it."""
        files, is_readable = [], True
        try:
            files = await self._in_thread(lambda: _repair(self.path_of(recording.id)))
        except FileNotFoundError:
            pass  # it did not come so far
        except OSError as error:
            is_readable, reason = False, reason or _reason(error)
        done = msgspec.structs.replace(
            recording,
            ended_at=min(self._clock(), _end_s(files) or recording.started_at),
            duration_s=sum(media.duration_us for media in files) / 1_000_000,
            size_bytes=sum(media.size_bytes for media in files),
            status=RecordingStatus.READY if files else RecordingStatus.FAILED,
            reason=reason or ("" if files else "no part was complete"),
        )
        is_kept = await self._persist(lambda: self._recordings.finish(done))
        if not files or not is_kept:
            if is_readable or not is_kept:
                await self._clear(recording.id)
            return
        self._figures.finished += 1
        log.info(
            "recording ready",
            stream=done.stream_id,
            recording=done.id,
            duration_s=round(done.duration_s, 3),
            size_bytes=done.size_bytes,
        )
        self._events.emit(
            "recording.ready",
            done.stream_id,
            recordingId=done.id,
            broadcastId=done.broadcast_id,
            durationSeconds=done.duration_s,
            sizeBytes=done.size_bytes,
        )

    # -- all of them

    async def _repair(self, unfinished: Sequence[Recording]) -> None:
        """Finish what another process left, then sweep until cancelled."""
        for recording in unfinished:
            log.warning("recording repaired", stream=recording.stream_id, recording=recording.id)
            try:
                await self._conclude(recording, "the server stopped while it was made")
            except Exception:  # an extra: a bug in it must not touch the process
                log.exception("recording not repaired", recording=recording.id)
        while True:
            try:
                await self.sweep()
            except (StoreError, OSError) as error:
                log.error("cannot look for old recordings", reason=_reason(error))
            except Exception:  # an extra: a bug in it must not touch the process
                log.exception("cannot look for old recordings")
            await trio.sleep(SWEEP_S)

    async def sweep(self) -> None:
        """Remove what is too old or too much, and the media of what was deleted.

        A folder that the store does not know stays: the store may be the one that is wrong.
        """
        settings = self._settings
        if settings.keep_days or settings.max_bytes:
            before_s = self._clock() - settings.keep_days * _DAY_S if settings.keep_days else None
            while surplus := await self._recordings.list_surplus(
                before_s=before_s, max_bytes=settings.max_bytes
            ):
                for recording in surplus:
                    await self.remove(recording)
        while gone := await self._recordings.list_gone() - self._active:
            if not all([await self._clear(recording_id) for recording_id in gone]):
                break

    async def _clear(self, recording_id: str) -> bool:
        """Remove the media of a recording; False if the next sweep has to try again."""
        try:
            await self._in_thread(lambda: folder.remove(self.path_of(recording_id)))
            await self._recordings.forget_gone([recording_id])
        except (OSError, StoreError) as error:
            log.error("cannot remove a recording", recording=recording_id, reason=_reason(error))
            return False
        return True

    async def _persist(self, step: Callable[[], Awaitable[T]]) -> T:
        """Ask the store again and again while it refuses."""
        while True:
            try:
                return await step()
            except UnknownStreamError:
                raise
            except StoreError as error:
                log.error("cannot store a recording", reason=str(error))
                await trio.sleep(STORE_RETRY_S)

    async def _in_thread(self, step: Callable[[], T]) -> T:
        """Run something that touches the disk; a cancellation leaves it to itself."""
        return await trio.to_thread.run_sync(step, abandon_on_cancel=True, limiter=self._threads)


def _end_s(files: Sequence[MediaFile]) -> float:
    """When the media ends, UTC seconds since 1970; 0 without any."""
    if not files:
        return 0.0
    last = files[-1].segments[-1]
    return last.epoch_ms / 1000 + last.duration_us / 1_000_000


async def _receive(tape: Tape, writer: Writer) -> Sequence[TapePart]:
    """Wait for parts, while no thread has the writer: then it can be dropped."""
    try:
        return await tape.receive()
    except trio.Cancelled:
        writer.drop()
        raise


def _repair(path: Path) -> list[MediaFile]:
    """Tidy a folder if the disk lets us; read it anyway. Raises OSError."""
    try:
        return folder.repair(path)
    except OSError:
        return folder.read_folder(path)


def _reason(error: Exception) -> str:
    """Say what went wrong, without a path."""
    return (error.strerror or "input/output error") if isinstance(error, OSError) else str(error)
