"""The recorder: from a broadcast's first media to a recording in the store, whatever happens."""

import errno
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from recorded_parts import RecordedParts
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

import hls
from control import Recording, RecordingStatus, SqliteStore, StoreError, Stream
from edge.events import EventBus, PlatformEvent
from origin.broadcast import Broadcast
from origin.recording import recorder as recorder_module
from origin.recording.folder import RecordingStopped, RecordingWriter
from origin.recording.recorder import (
    Recorder,
    RecorderFigures,
    RecorderSettings,
)
from origin.recording.tape import Tape, TapePart

MADE = RecordedParts(hls)
init, segment, data_of = MADE.init, MADE.segment, MADE.data
NOW_S = 1_800_000_000.0
TIMEOUT_S = 20.0


class NoShift:
    """Leaves parts that are none as they are."""

    track_id = 1
    timescale = 90_000

    def __init__(self, _init: bytes) -> None:
        pass

    def shift(self, part: bytes) -> bytes:
        return part


def open_writer(folder: Path) -> RecordingWriter:
    return RecordingWriter(folder, min_free_bytes=0, make_shift=NoShift)


class FaultyWriter:
    """Writes two parts, then fails."""

    def __init__(self, folder: Path, error: Exception) -> None:
        self._writer = open_writer(folder)
        self._error = error
        self._written = 0

    def append(self, parts: Sequence[TapePart]) -> None:
        for part in parts:
            if self._written == 2:
                raise self._error
            self._writer.append([part])
            self._written += 1

    def close(self) -> None:
        self._writer.close()

    def drop(self) -> None:
        self._writer.drop()


class HangingWriter:
    """A disk that takes nothing until it is let go."""

    def __init__(self, folder: Path, go_on: threading.Event) -> None:
        self._writer = open_writer(folder)
        self._go_on = go_on

    def append(self, parts: Sequence[TapePart]) -> None:
        assert self._go_on.wait(TIMEOUT_S)
        self._writer.append(parts)

    def close(self) -> None:
        self._writer.close()

    def drop(self) -> None:
        self._writer.drop()


class House:
    """A recorder with everything around it."""

    def __init__(self, store: SqliteStore, folder: Path, **more: Any) -> None:
        self.store = store
        self.folder = folder
        self.events = EventBus()
        self.heard: list[PlatformEvent] = []
        self.events.listen(self.heard.append)
        settings = {"folder": folder, **more.pop("settings", {})}
        self.recorder = Recorder(
            settings=RecorderSettings(**settings),
            recordings=more.pop("recordings", store.recordings),
            get_stream=more.pop("get_stream", store.get_stream),
            events=self.events,
            clock=lambda: NOW_S + 10,
            open_writer=more.pop("open_writer", open_writer),
            **more,
        )

    async def stream(self, *, recording: bool = True) -> str:
        made, _key = await self.store.create_stream(
            broadcaster_id="b", title="t", recording_enabled=recording
        )
        return made.id

    def begin(self, stream_id: str) -> Tape:
        broadcast = Broadcast(stream_id, NOW_S, media_started_at_s=NOW_S)
        tape = self.recorder.begin(broadcast)
        assert tape is not None
        return tape

    async def settled(self) -> None:
        with trio.fail_after(TIMEOUT_S):
            await self.recorder.settled()

    async def only(self) -> Recording:
        """The one recording that can be watched."""
        (found,) = await self.store.recordings.list_ready()
        return found

    def media(self, recording: Recording) -> bytes:
        return (self.folder / recording.id / "media-0.mp4").read_bytes()

    def told(self) -> list[str]:
        return [event.type for event in self.heard]


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what threads do."""
    with trio.fail_after(TIMEOUT_S):
        while not is_so():  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.001)


@asynccontextmanager
async def running(folder: Path, **more: Any) -> AsyncIterator[House]:
    async with await SqliteStore.open(folder / "db") as store, trio.open_nursery() as nursery:
        house = House(store, folder / "recordings", **more)
        with capture_logs():
            await nursery.start(house.recorder.run)
            yield house
        nursery.cancel_scope.cancel()


async def test_a_broadcast_becomes_a_recording(tmp_path: Path) -> None:
    async with running(tmp_path) as house:
        stream_id = await house.stream()
        tape = house.begin(stream_id)
        tape.take([init(), *segment(0), *segment(1), *segment(2)[:1]])
        tape.end()
        await house.settled()
        found = await house.only()
        assert house.media(found) == b"init-0|" + data_of(0) + data_of(1) + data_of(2)[:50]
        assert (found.stream_id, found.title, found.reason) == (stream_id, "t", "")
        assert (found.duration_s, found.size_bytes) == (5.0, 257)
        assert (found.started_at, found.ended_at) == (NOW_S + 10, NOW_S + 5)
        assert house.recorder.figures() == RecorderFigures(finished=1, written_bytes=250)
        (event,) = house.heard
        assert (event.type, event.stream_id) == ("recording.ready", stream_id)
        assert event.data == {
            "recordingId": found.id,
            "broadcastId": found.broadcast_id,
            "durationSeconds": 5.0,
            "sizeBytes": 257,
        }


@pytest.mark.parametrize("kind", ["off", "deleted"])
async def test_what_is_not_to_be_recorded_leaves_nothing(tmp_path: Path, kind: str) -> None:
    async with running(tmp_path) as house:
        stream_id = await house.stream(recording=kind == "deleted")
        if kind == "deleted":
            await house.store.delete_stream(stream_id)
        tape = house.begin(stream_id)
        tape.take([init(), *segment(0)])
        await house.settled()
        assert tape.queued_bytes == 0
        tape.take(segment(1))
        assert tape.queued_bytes == 0
        assert await house.store.recordings.list_unfinished() == []
        assert not house.folder.exists()
        assert house.heard == []


async def test_a_broadcast_without_a_whole_part_leaves_no_recording(tmp_path: Path) -> None:
    async with running(tmp_path) as house:
        tape = house.begin(await house.stream())
        await until(lambda: house.folder.exists() and any(house.folder.iterdir()))
        (place,) = house.folder.iterdir()
        tape.end()
        await house.settled()
        found = await house.store.recordings.get(place.name)
        assert found is not None
        assert found.status is RecordingStatus.FAILED
        assert found.reason == "no part was complete"
        assert [*house.folder.iterdir()] == []
        assert house.heard == []


FAULTS = {
    "full": (RecordingStopped("the disk is nearly full"), "the disk is nearly full"),
    "no space": (OSError(errno.ENOSPC, "No space left", "/secret/path"), "No space left"),
    "broken": (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    "bug": (ZeroDivisionError(), "internal error"),
}


@pytest.mark.parametrize("kind", FAULTS)
async def test_a_disk_that_fails_ends_the_recording_and_nothing_else(
    tmp_path: Path, kind: str
) -> None:
    error, reason = FAULTS[kind]
    async with running(tmp_path, open_writer=lambda folder: FaultyWriter(folder, error)) as house:
        tape = house.begin(await house.stream())
        tape.take([init(), *segment(0), *segment(1)])
        await house.settled()
        tape.take(segment(2))  # live goes on
        tape.end()
        found = await house.only()
        assert house.media(found) == b"init-0|" + data_of(0)
        assert (found.reason, found.duration_s) == (reason, 2.0)
        assert house.told() == ["recording.stopped", "recording.ready"]
        assert house.heard[0].data["reason"] == reason
        assert "secret" not in repr(house.heard)
        assert house.recorder.figures().failed == 1


async def test_a_folder_that_cannot_be_made_ends_the_recording(tmp_path: Path) -> None:
    (tmp_path / "recordings").write_text("in the way")
    async with running(tmp_path) as house:
        tape = house.begin(await house.stream())
        tape.take([init(), *segment(0)])
        await house.settled()
        assert tape.queued_bytes == 0
        assert house.told() == ["recording.stopped"]
        assert await house.store.recordings.list_ready() == []


async def test_a_disk_that_hangs_costs_segments_and_never_time(tmp_path: Path) -> None:
    go_on = threading.Event()
    async with running(tmp_path, open_writer=lambda folder: HangingWriter(folder, go_on)) as house:
        tape = house.begin(await house.stream())
        tape._max_bytes = 250
        tape.take([init(), *segment(0)])
        await wait_all_tasks_blocked()
        for msn in range(1, 5):
            tape.take(segment(msn))
        assert tape.queued_bytes <= 250
        assert house.told() == ["recording.degraded"]
        go_on.set()
        await until(lambda: not tape.queued_bytes)
        tape.take([*segment(5)])
        tape.end()
        await house.settled()
        found = await house.only()
        kept = house.media(found)
        assert kept == b"init-0|" + data_of(0) + data_of(1) + data_of(2)[:50] + data_of(5)
        assert house.told() == ["recording.degraded", "recording.ready"]
        assert house.recorder.figures().lost_segments == 3


async def test_a_cancelled_recorder_leaves_what_the_next_one_repairs(tmp_path: Path) -> None:
    async with running(tmp_path) as house:
        tape = house.begin(await house.stream())
        tape.take([init(), *segment(0), *segment(1)[:1]])
        await until(lambda: house.recorder.figures().written_bytes >= 150)
    # As after kill -9: half a line, and bytes that no line names.
    (folder,) = (tmp_path / "recordings").iterdir()
    with (folder / "media-0.mp4").open("ab") as file:
        file.write(b"half a part")
    with (folder / "index").open("ab") as file:
        file.write(b"0123 {")
    async with running(tmp_path) as house:
        await until(lambda: house.told() == ["recording.ready"])
        found = await house.only()
        assert house.media(found) == b"init-0|" + data_of(0) + data_of(1)[:50]
        assert found.reason == "the server stopped while it was made"
        assert house.told() == ["recording.ready"]
        (files, size) = await house.recorder.read(found.id, lambda files: (files, len(files)))
        assert (size, len(files[0].segments)) == (1, 2)


class BrokenStore:
    """A store of recordings that refuses at first."""

    def __init__(self, store: SqliteStore, failures: int) -> None:
        self._recordings = store.recordings
        self.failures = failures

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._recordings, name)

        async def ask(*args: Any, **named: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise StoreError("disk full")
            return await method(*args, **named)

        return ask


async def test_a_store_that_refuses_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "STORE_RETRY_S", 0.001)
    async with await SqliteStore.open(tmp_path / "db") as store, trio.open_nursery() as nursery:
        recordings = BrokenStore(store, failures=2)
        house = House(store, tmp_path / "recordings", recordings=recordings)
        with capture_logs() as logs:
            await nursery.start(house.recorder.run)
            recordings.failures = 2
            tape = house.begin(await house.stream())
            tape.take([init(), *segment(0)])
            tape.end()
            await house.settled()
        assert (await house.only()).duration_s == 2.0
        assert [line["reason"] for line in logs if line["log_level"] == "error"] == [
            "disk full"
        ] * 4
        nursery.cancel_scope.cancel()


async def test_a_stream_that_is_deleted_on_the_way_takes_its_recording_along(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as house:
        stream_id = await house.stream()
        tape = house.begin(stream_id)
        tape.take([init(), *segment(0)])
        await until(lambda: house.recorder.figures().written_bytes > 0)
        await house.store.delete_stream(stream_id)
        await house.recorder.sweep()
        assert len([*house.folder.iterdir()]) == 1, "it is still written to"
        tape.end()
        await house.settled()
        assert [*house.folder.iterdir()] == []
        assert house.heard == []


async def record(house: House, *msns: int) -> Recording:
    tape = house.begin(await house.stream())
    tape.take([init(), *(event for msn in msns for event in segment(msn))])
    tape.end()
    await house.settled()
    found = await house.store.recordings.get(house.heard[-1].data["recordingId"])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, {0, 1, 2}),
        ({"keep_days": 1}, {0, 1, 2}),
        ({"max_bytes": 250}, {1, 2}),
        ({"max_bytes": 106}, set()),
    ],
)
async def test_the_sweep_removes_the_oldest(
    tmp_path: Path, settings: dict[str, int], kept: set[int]
) -> None:
    async with running(tmp_path, settings=settings) as house:
        made = [await record(house, number) for number in range(3)]
        await house.recorder.sweep()
        ids = {made[number].id for number in kept}
        assert {one.id for one in await house.store.recordings.list_ready()} == ids
        assert await house.store.recordings.list_gone() == set()
        assert {path.name for path in house.folder.iterdir()} == ids


async def test_the_sweep_removes_what_is_too_old(tmp_path: Path) -> None:
    async with running(tmp_path, settings={"keep_days": 1}) as house:
        old = await record(house, 0)
        await house.store.recordings.finish(
            msgspec.structs.replace(old, ended_at=NOW_S + 9 - 86_400)
        )
        young = await record(house, 1)
        await house.recorder.sweep()
        assert await house.store.recordings.list_ready() == [young]


async def test_the_sweep_clears_what_was_deleted_and_touches_nothing_that_it_does_not_know(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as house:
        made, gone = await record(house, 0), await record(house, 1)
        tape = house.begin(await house.stream())
        tape.take([init(), *segment(0)])
        await until(lambda: house.recorder.figures().written_bytes >= 300)
        (house.folder / ("z" * 12)).mkdir()  # of a database that was lost
        before = {path.name for path in house.folder.iterdir()}
        await house.store.delete_stream(gone.stream_id)
        await house.recorder.sweep()
        assert before - {path.name for path in house.folder.iterdir()} == {gone.id}
        assert (house.folder / made.id).is_dir()
        assert await house.store.recordings.list_gone() == set()


async def test_it_sweeps_by_itself_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "SWEEP_S", 0.001)
    async with await SqliteStore.open(tmp_path / "db") as store, trio.open_nursery() as nursery:
        recordings = BrokenStore(store, failures=0)
        house = House(store, tmp_path / "recordings", recordings=recordings)
        with capture_logs() as logs:
            await nursery.start(house.recorder.run)
            gone = Recording(
                id="z" * 12,
                stream_id=await house.stream(),
                broadcast_id="b",
                title="t",
                started_at=NOW_S,
            )
            await store.recordings.add(gone)
            house.recorder.path_of(gone.id).mkdir(parents=True)
            recordings.failures = 3
            await store.delete_stream(gone.stream_id)
            await until(lambda: not [*house.folder.iterdir()])
        refused = [line for line in logs if line["log_level"] == "error"]
        assert {line["event"] for line in refused} <= {"cannot look for old recordings"}
        nursery.cancel_scope.cancel()


async def test_without_run_nothing_is_recorded(tmp_path: Path) -> None:
    async with await SqliteStore.open(tmp_path / "db") as store:
        house = House(store, tmp_path / "recordings")
        assert house.recorder.begin(Broadcast("s", NOW_S, media_started_at_s=NOW_S)) is None
        await house.settled()


async def test_while_the_store_hangs_the_tape_is_bounded(tmp_path: Path) -> None:
    async def hang(_stream_id: str) -> Stream | None:
        await trio.sleep_forever()
        raise AssertionError

    async with running(tmp_path, get_stream=hang) as house:
        tape = house.begin("s" * 12)
        tape._max_bytes = 100
        tape.take([init(), *segment(0), *segment(1)])
        assert tape.queued_bytes == 100
