"""The embedded store: what it keeps, what a crash leaves, what cancelling does."""

import itertools
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from control import (
    SqliteStore,
    Store,
    StoreError,
    Stream,
    StreamStatus,
    UnknownStreamError,
    database,
    hash_key,
    queries,
)

NOBODY = "0" * 12
NO_KEY = "live_" + "0" * 32


class Clock:
    """Counts up by a second a look."""

    def __init__(self) -> None:
        self._seconds = itertools.count(1_000)

    def __call__(self) -> float:
        return float(next(self._seconds))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "headrace.sqlite3"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    async with await SqliteStore.open(path, clock=Clock()) as store:
        yield store


async def _create(store: Store, title: str = "A title") -> tuple[Stream, str]:
    return await store.create_stream(broadcaster_id="someone", title=title)


async def test_a_created_stream_is_idle_and_comes_back(store: SqliteStore) -> None:
    stream, _key = await store.create_stream(
        broadcaster_id="someone",
        title="Grüße \U0001f30a",
        chat_enabled=False,
        recording_enabled=True,
    )
    assert stream == Stream(
        id=stream.id,
        broadcaster_id="someone",
        title="Grüße \U0001f30a",
        chat_enabled=False,
        recording_enabled=True,
        status=StreamStatus.IDLE,
        started_at=None,
        ended_at=None,
        created_at=stream.created_at,
    )
    assert await store.get_stream(stream.id) == stream


async def test_a_key_opens_its_stream_and_no_other(store: SqliteStore) -> None:
    first, first_key = await _create(store)
    second, second_key = await _create(store)

    assert await store.find_by_key(first_key) == first
    assert await store.find_by_key(second_key) == second
    assert await store.verify_key(first.id, first_key)
    assert not await store.verify_key(first.id, second_key)
    assert not await store.verify_key(NOBODY, first_key)
    assert await store.find_by_key(NO_KEY) is None


@pytest.mark.parametrize("text", ["", "x", "' OR 1=1 --", "\0", "\ud800", "live_" * 10**5, "%_"])
async def test_malformed_ids_and_keys_are_not_found(store: SqliteStore, text: str) -> None:
    stream, _key = await _create(store)
    assert await store.get_stream(text) is None
    assert await store.find_by_key(text) is None
    assert not await store.verify_key(stream.id, text)
    with pytest.raises(UnknownStreamError, match=r"^no such stream$"):
        await store.delete_stream(text)


async def test_a_key_is_stored_as_its_hash_only(store: SqliteStore, path: Path) -> None:
    _stream, key = await _create(store)
    files = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert hash_key(key) in files
    assert key.encode() not in files
    assert key.removeprefix("live_").encode() not in files
    assert bytes.fromhex(key.removeprefix("live_")) not in files


async def test_rotation_revokes_the_old_key(store: SqliteStore) -> None:
    stream, old = await _create(store)
    rotated, new = await store.rotate_key(stream.id)
    assert rotated == stream
    assert await store.find_by_key(old) is None
    assert await store.find_by_key(new) == stream


async def test_the_life_cycle_sets_its_times(store: SqliteStore) -> None:
    stream, _key = await _create(store)
    live = await store.set_status(stream.id, StreamStatus.LIVE, 5.0)
    assert (live.status, live.started_at, live.ended_at) == (StreamStatus.LIVE, 5.0, None)
    ended = await store.set_status(stream.id, StreamStatus.ENDED, 9.5)
    assert (ended.status, ended.started_at, ended.ended_at) == (StreamStatus.ENDED, 5.0, 9.5)
    again = await store.set_status(stream.id, StreamStatus.LIVE, 20.0)
    assert (again.status, again.started_at, again.ended_at) == (StreamStatus.LIVE, 20.0, None)
    idle = await store.set_status(stream.id, StreamStatus.IDLE, 30.0)
    assert (idle.status, idle.started_at, idle.ended_at) == (StreamStatus.IDLE, 20.0, None)
    assert await store.get_stream(stream.id) == idle
    assert isinstance(live.started_at, float)


async def test_settings_change_one_by_one(store: SqliteStore) -> None:
    stream, _key = await _create(store)
    assert (await store.update_stream(stream.id)) == stream
    renamed = await store.update_stream(stream.id, title="Another")
    assert (renamed.title, renamed.chat_enabled) == ("Another", True)
    quiet = await store.update_stream(stream.id, chat_enabled=False, recording_enabled=True)
    assert (quiet.title, quiet.chat_enabled, quiet.recording_enabled) == ("Another", False, True)


async def test_a_deleted_stream_is_gone_with_its_key(store: SqliteStore) -> None:
    stream, key = await _create(store)
    await store.delete_stream(stream.id)
    assert await store.get_stream(stream.id) is None
    assert await store.find_by_key(key) is None


async def test_changing_what_does_not_exist_says_so(store: SqliteStore) -> None:
    for change in (
        store.set_status(NOBODY, StreamStatus.LIVE, 1.0),
        store.update_stream(NOBODY, title="x"),
        store.delete_stream(NOBODY),
        store.rotate_key(NOBODY),
    ):
        with pytest.raises(UnknownStreamError) as caught:
            await change
        assert caught.value.stream_id == NOBODY


async def test_lists_are_newest_first_filtered_and_bounded(store: SqliteStore) -> None:
    streams = [(await _create(store, f"{n}"))[0] for n in range(5)]
    live = await store.set_status(streams[2].id, StreamStatus.LIVE, 1.0)

    assert [stream.title for stream in await store.list_streams()] == ["4", "3", "2", "1", "0"]
    assert [stream.title for stream in await store.list_streams(limit=2)] == ["4", "3"]
    assert await store.list_streams(status=StreamStatus.LIVE) == [live]
    assert await store.list_streams(status=StreamStatus.ENDED) == []


async def test_text_that_is_no_unicode_is_refused_and_the_store_lives_on(
    store: SqliteStore,
) -> None:
    with pytest.raises(ValueError, match="surrogates"):
        await _create(store, "\ud800")
    assert await store.list_streams() == []
    await _create(store)


async def test_many_callers_at_once_are_served_one_by_one(store: SqliteStore) -> None:
    created: list[tuple[Stream, str]] = []

    async def create(n: int) -> None:
        stream, key = await _create(store, str(n))
        await store.set_status(stream.id, StreamStatus.LIVE, float(n))
        created.append((stream, key))

    async with trio.open_nursery() as nursery:
        for n in range(50):
            nursery.start_soon(create, n)

    assert len({stream.id for stream, _ in created}) == 50
    assert len(await store.list_streams(status=StreamStatus.LIVE)) == 50
    for stream, key in created:
        assert await store.verify_key(stream.id, key)


async def test_everything_is_there_after_a_restart(path: Path) -> None:
    async with await SqliteStore.open(path) as store:
        stream, key = await _create(store)
    async with await SqliteStore.open(path) as store:
        assert store.abandoned == ()
        assert await store.find_by_key(key) == stream


async def test_streams_left_live_by_a_killed_process_are_ended(path: Path) -> None:
    script = """
import os, pathlib, signal, sys, trio
from control import SqliteStore, StreamStatus

async def main():
    store = await SqliteStore.open(pathlib.Path(sys.argv[1]))
    for title in ("a", "b"):
        stream, _ = await store.create_stream(broadcaster_id="x", title=title)
        await store.set_status(stream.id, StreamStatus.LIVE, 5.0)
    await store.create_stream(broadcaster_id="x", title="idle")
    os.kill(os.getpid(), signal.SIGKILL)

trio.run(main)
"""
    command = [sys.executable, "-c", script, str(path)]
    killed = await trio.run_process(command, check=False)
    assert killed.returncode == -9

    async with await SqliteStore.open(path, clock=lambda: 77.0) as store:
        assert sorted(stream.title for stream in store.abandoned) == ["a", "b"]
        found = {
            s.title: (s.status.value, s.started_at, s.ended_at) for s in await store.list_streams()
        }
    assert found == {
        "a": ("ended", 5.0, 77.0),
        "b": ("ended", 5.0, 77.0),
        "idle": ("idle", None, None),
    }


async def test_a_second_store_on_the_file_is_refused(store: SqliteStore, path: Path) -> None:
    with pytest.raises(StoreError, match="in use by another Headrace process"):
        await SqliteStore.open(path)


async def test_open_fails_whole_when_repair_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_connection: sqlite3.Connection, _at: float) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(queries, "end_abandoned", broken)
        with pytest.raises(StoreError, match=r"disk is full$"):
            await SqliteStore.open(path)
    await (await SqliteStore.open(path)).aclose()  # nothing was left locked


async def test_a_clock_that_fails_does_not_leave_the_file_locked(path: Path) -> None:
    def broken() -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await SqliteStore.open(path, clock=broken)
    await (await SqliteStore.open(path)).aclose()


async def test_a_failing_database_is_a_store_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 10)
    async with await SqliteStore.open(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another program"):
            await _create(store)
        assert await store.list_streams() == []  # readers are not in the way of a writer
        other.close()
        await _create(store)


async def test_a_closed_store_says_so(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreError, match="the store is closed"):
        await store.list_streams()


class Gate:
    """Holds a query in the worker thread until the test lets it go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = trio.Event()
        self._open = threading.Event()
        original = queries.set_status

        def held(connection: sqlite3.Connection, *args: object) -> Stream:
            trio.from_thread.run_sync(self.entered.set)
            assert self._open.wait(10)
            return original(connection, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(queries, "set_status", held)

    def let_go(self) -> None:
        self._open.set()


async def test_cancelling_a_write_that_runs_lets_it_complete(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, _key = await _create(store)
    gate = Gate(monkeypatch)
    results: list[Stream] = []

    async def go_live() -> None:
        results.append(await store.set_status(stream.id, StreamStatus.LIVE, 5.0))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go_live)
        await gate.entered.wait()
        nursery.cancel_scope.cancel()
        gate.let_go()

    assert [result.status for result in results] == [StreamStatus.LIVE]
    assert await store.get_stream(stream.id) == results[0]


async def test_cancelling_a_write_that_waits_undoes_nothing_and_does_nothing(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, _key = await _create(store)
    gate = Gate(monkeypatch)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.set_status, stream.id, StreamStatus.LIVE, 5.0)
        await gate.entered.wait()
        with trio.move_on_after(0) as scope:
            await store.delete_stream(stream.id)  # its turn has not come
        assert scope.cancelled_caught
        gate.let_go()

    found = await store.get_stream(stream.id)
    assert found is not None
    assert found.status is StreamStatus.LIVE


async def test_a_cancelled_close_still_closes(path: Path) -> None:
    store = await SqliteStore.open(path)
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.aclose()
    await (await SqliteStore.open(path)).aclose()


async def test_a_close_waits_for_the_write_before_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await SqliteStore.open(path)
    stream, _key = await _create(store)
    gate = Gate(monkeypatch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.set_status, stream.id, StreamStatus.ENDED, 5.0)
        await gate.entered.wait()
        nursery.start_soon(store.aclose)
        await trio.testing.wait_all_tasks_blocked()
        gate.let_go()
    async with await SqliteStore.open(path) as store:
        found = await store.get_stream(stream.id)
    assert found is not None
    assert found.status is StreamStatus.ENDED


def _is_store(store: SqliteStore) -> Store:
    return store  # mypy's check that the embedded store is one
