"""What the store keeps of recordings: what comes back, in which order, and what is to go."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control import (
    Recording,
    RecordingStatus,
    RecordingStore,
    SqliteStore,
    StoreError,
    UnknownStreamError,
    recording_queries,
)
from control.recording_queries import MAX_SURPLUS
from control.tables import MIGRATIONS

NOBODY = "0" * 12


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "headrace.sqlite3"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    async with await SqliteStore.open(path) as store:
        yield store


async def new_stream(store: SqliteStore) -> str:
    stream, _key = await store.create_stream(broadcaster_id="someone", title="A title")
    return stream.id


def recording(number: int, stream_id: str, **more: Any) -> Recording:
    """One that begins at `number`."""
    values: dict[str, Any] = {
        "id": f"{number:012}",
        "stream_id": stream_id,
        "broadcast_id": "b",
        "title": "A title",
        "started_at": float(number),
    }
    return Recording(**values | more)


def done(
    one: Recording, *, ended_at: float, size_bytes: int = 100, failed: bool = False
) -> Recording:
    return msgspec.structs.replace(
        one,
        ended_at=ended_at,
        duration_s=1.5,
        size_bytes=size_bytes,
        status=RecordingStatus.FAILED if failed else RecordingStatus.READY,
        reason="no segment was complete" if failed else "",
    )


async def fill(recordings: RecordingStore, stream_id: str, *ends: tuple[float, int]) -> None:
    """Store finished recordings."""
    for number, (ended_at, size_bytes) in enumerate(ends):
        one = recording(number, stream_id)
        await recordings.add(one)
        assert await recordings.finish(done(one, ended_at=ended_at, size_bytes=size_bytes))


async def test_a_recording_comes_back_as_it_was_stored_and_as_it_ended(store: SqliteStore) -> None:
    one = recording(1, await new_stream(store))
    await store.recordings.add(one)
    assert await store.recordings.get(one.id) == one
    assert await store.recordings.list_unfinished() == [one]
    assert await store.recordings.list_ready() == []
    ended = done(one, ended_at=9.5)
    assert await store.recordings.finish(ended)
    assert await store.recordings.get(one.id) == ended
    assert await store.recordings.list_unfinished() == []
    assert await store.recordings.list_ready() == [ended]


async def test_storing_it_again_changes_nothing(store: SqliteStore) -> None:
    one = recording(1, await new_stream(store))
    await store.recordings.add(one)
    await store.recordings.finish(done(one, ended_at=9.5))
    await store.recordings.add(one)
    assert (await store.recordings.list_ready())[0].status is RecordingStatus.READY


async def test_of_an_unknown_stream_nothing_is_stored(store: SqliteStore) -> None:
    with pytest.raises(UnknownStreamError):
        await store.recordings.add(recording(1, NOBODY))
    assert await store.recordings.list_unfinished() == []


@pytest.mark.parametrize("recording_id", [NOBODY, "", "no id", "'; --"])
async def test_of_what_is_not_there_is_said_so(store: SqliteStore, recording_id: str) -> None:
    assert await store.recordings.get(recording_id) is None
    assert not await store.recordings.delete(recording_id)
    assert not await store.recordings.finish(recording(1, NOBODY, id=recording_id))


async def test_a_deleted_stream_takes_its_recordings_along(store: SqliteStore) -> None:
    stream_id, other = await new_stream(store), await new_stream(store)
    await store.recordings.add(recording(1, stream_id))
    await store.recordings.add(recording(2, other))
    await store.delete_stream(stream_id)
    assert await store.recordings.list_unfinished() == [recording(2, other)]
    assert not await store.recordings.finish(recording(1, stream_id))
    assert await store.recordings.list_gone() == {recording(1, stream_id).id}


async def test_of_what_was_deleted_the_store_knows_until_its_media_is_gone(
    store: SqliteStore,
) -> None:
    stream_id = await new_stream(store)
    made = [recording(number, stream_id) for number in range(MAX_SURPLUS + 1)]
    for one in made:
        await store.recordings.add(one)
        await store.recordings.delete(one.id)
    gone = await store.recordings.list_gone()
    assert len(gone) == MAX_SURPLUS
    await store.recordings.forget_gone(gone)
    assert await store.recordings.list_gone() == {one.id for one in made} - gone


async def test_failed_ones_are_not_listed_and_can_be_deleted(store: SqliteStore) -> None:
    one = recording(1, await new_stream(store))
    await store.recordings.add(one)
    await store.recordings.finish(done(one, ended_at=2.0, failed=True))
    assert await store.recordings.list_ready() == []
    assert await store.recordings.delete(one.id)
    assert not await store.recordings.delete(one.id)


async def test_pages_are_newest_first_and_of_one_stream_if_wanted(store: SqliteStore) -> None:
    ours, theirs = await new_stream(store), await new_stream(store)
    for number in range(9):
        # Three of each start: then the id decides.
        one = recording(number, theirs if number % 3 else ours, started_at=float(number // 3))
        await store.recordings.add(one)
        await store.recordings.finish(done(one, ended_at=9.0))

    async def pages(limit: int, stream_id: str | None = None) -> list[int]:
        found: list[int] = []
        after = None
        while page := await store.recordings.list_ready(
            stream_id=stream_id, after=after, limit=limit
        ):
            assert len(page) <= limit
            found += [int(one.id) for one in page]
            after = page[-1].id
        return found

    for limit in (1, 2, 4, 9, 50):
        assert await pages(limit) == [6, 7, 8, 3, 4, 5, 0, 1, 2]
        assert await pages(limit, ours) == [6, 3, 0]
    assert await store.recordings.list_ready(after=NOBODY[:-1] + "x") == []


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 50)), max_size=8),
    st.none() | st.integers(0, 20),
    st.integers(0, 200),
)
def test_what_goes_is_too_old_or_more_than_there_is_room_for(
    ends: list[tuple[int, int]], before_s: int | None, max_bytes: int
) -> None:

    connection = sqlite3.connect(":memory:", isolation_level=None)
    for step in MIGRATIONS:
        for statement in step:
            connection.execute(statement)
    connection.execute(
        "INSERT INTO streams VALUES (?, 'b', 't', 1, 1, 'idle', NULL, NULL, 0)", (NOBODY,)
    )
    for number, (ended_at, size_bytes) in enumerate(ends):
        one = recording(number, NOBODY)
        recording_queries.add(connection, one)
        recording_queries.finish(
            connection, done(one, ended_at=float(ended_at), size_bytes=size_bytes)
        )
    recording_queries.add(connection, recording(99, NOBODY, size_bytes=10**9))  # goes on
    oldest_first = sorted(range(len(ends)), key=lambda number: (ends[number][0], number))
    expected = []
    for position, number in enumerate(oldest_first):
        newer = sum(ends[other][1] for other in oldest_first[position:])
        is_old = before_s is not None and ends[number][0] < before_s
        if is_old or (max_bytes and newer > max_bytes):
            expected.append(number)
    found = recording_queries.list_surplus(
        connection, None if before_s is None else float(before_s), max_bytes
    )
    assert [int(one.id) for one in found] == expected
    connection.close()


async def test_one_look_finds_so_many_and_no_more(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_queries, "MAX_SURPLUS", 2)
    await fill(store.recordings, await new_stream(store), (1.0, 5), (2.0, 5), (3.0, 5), (4.0, 5))
    found = await store.recordings.list_surplus(before_s=4.0, max_bytes=0)
    assert [int(one.id) for one in found] == [0, 1]
    for one in found:
        await store.recordings.delete(one.id)
    assert len(await store.recordings.list_surplus(before_s=4.0, max_bytes=0)) == 1


async def test_they_outlive_the_process(path: Path) -> None:
    async with await SqliteStore.open(path) as store:
        one = recording(1, await new_stream(store))
        await store.recordings.add(one)
    async with await SqliteStore.open(path) as store:
        assert await store.recordings.list_unfinished() == [one]


async def test_a_closed_store_says_so(path: Path) -> None:
    async with await SqliteStore.open(path) as store:
        stream_id = await new_stream(store)
    for ask in (
        lambda: store.recordings.add(recording(1, stream_id)),
        lambda: store.recordings.finish(recording(1, stream_id)),
        lambda: store.recordings.get(NOBODY),
        store.recordings.list_ready,
        store.recordings.list_unfinished,
        lambda: store.recordings.list_surplus(before_s=None, max_bytes=1),
        lambda: store.recordings.delete(NOBODY),
        store.recordings.list_gone,
        lambda: store.recordings.forget_gone([NOBODY]),
    ):
        with pytest.raises(StoreError):
            await ask()
