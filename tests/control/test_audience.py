"""The history of viewers as it is kept: written again, bounded by age, gone with its stream."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from control import BroadcastAudience, SqliteStore, StoreError, ViewerMinute


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with await SqliteStore.open(tmp_path / "headrace.sqlite3") as store:
        yield store


async def make_stream(store: SqliteStore) -> str:
    stream, _ = await store.create_stream(broadcaster_id="b", title="t")
    return stream.id


async def test_rows_are_written_read_and_written_again(store: SqliteStore) -> None:
    one, other = await make_stream(store), await make_stream(store)
    minutes = [ViewerMinute(one, 60 * at, at, at + 1) for at in range(1, 6)]
    first = BroadcastAudience(one, 10.5, 20.0, 3, 12.5)
    second = BroadcastAudience(one, 30.0, 40.0, 1, 1.0)
    await store.audience.put([*minutes, ViewerMinute(other, 60, 9, 9)], [first, second])
    assert await store.audience.list_minutes(one, since=0, limit=10) == minutes
    assert await store.audience.list_minutes(one, since=120, limit=2) == minutes[-2:]
    assert await store.audience.list_minutes(one, since=121, limit=10) == minutes[2:]
    assert await store.audience.list_broadcasts(one, limit=9) == [second, first]
    assert await store.audience.list_broadcasts(one, limit=1) == [second]
    again = BroadcastAudience(one, 30.0, 50.0, 2, 9.0)
    await store.audience.put([ViewerMinute(one, 60, 7, 8)], [again])
    assert await store.audience.list_minutes(one, since=0, limit=10) == [
        ViewerMinute(one, 60, 7, 8),
        *minutes[1:],
    ]
    assert (await store.audience.list_broadcasts(one, limit=1)) == [again]


async def test_rows_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "headrace.sqlite3"
    async with await SqliteStore.open(path) as store:
        stream_id = await make_stream(store)
        row = ViewerMinute(stream_id, 60, 1, 2)
        await store.audience.put([row], [])
    async with await SqliteStore.open(path) as store:
        assert await store.audience.list_minutes(stream_id, since=0, limit=1) == [row]


async def test_what_is_old_goes_and_so_do_streams(store: SqliteStore) -> None:
    stream_id = await make_stream(store)
    await store.audience.put(
        [ViewerMinute(stream_id, at, 1, 1) for at in (60, 120, 180)],
        [BroadcastAudience(stream_id, at, at + 5.0, 1, 1.0) for at in (10.0, 20.0)],
    )
    assert await store.audience.prune(minutes_before=120, broadcasts_before=16) == 2
    assert [row.at for row in await store.audience.list_minutes(stream_id, since=0, limit=9)] == [
        120,
        180,
    ]
    assert len(await store.audience.list_broadcasts(stream_id, limit=9)) == 1
    await store.delete_stream(stream_id)
    gone = ViewerMinute(stream_id, 240, 1, 1)
    await store.audience.put([gone], [BroadcastAudience(stream_id, 1.0, 2.0, 1, 1.0)])
    assert await store.audience.list_minutes(stream_id, since=0, limit=9) == []
    assert await store.audience.list_broadcasts(stream_id, limit=9) == []


async def test_all_at_once_or_none(store: SqliteStore) -> None:
    stream_id = await make_stream(store)
    with pytest.raises(StoreError):
        await store.audience.put(
            [ViewerMinute(stream_id, 60, 1, 1)], [BroadcastAudience(stream_id, 1.0, 2.0, -1, 1.0)]
        )
    assert await store.audience.list_minutes(stream_id, since=0, limit=9) == []
