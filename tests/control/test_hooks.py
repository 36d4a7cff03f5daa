"""What is kept of webhooks: hooks, what waits, what was given up; in a file, over restarts."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from control import SqliteStore, StreamStatus, TooManyError
from control.errors import StoreError
from control.hook_model import MAX_HOOKS, Backlog, Batch, DeliveryStatus, Event, Hook
from control.secret_file import KEY_BYTES, load_or_create_key

NOW_S = 1_000_000.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with await SqliteStore.open(tmp_path / "db", clock=lambda: NOW_S) as store:
        yield store


async def add(store: SqliteStore, url: str = "http://a/") -> Hook:
    return await store.hooks.add(
        url=url, events=["a.*", "b.c"], stream_id=None, enabled=True, description="d"
    )


def event(hook: Hook, number: int, stream_id: str = "s", at: float = NOW_S) -> Event:
    return Event(
        hook_id=hook.id,
        stream_id=stream_id,
        event_id=f"e{number}",
        type="a.b",
        body=b"{}",
        at=at,
    )


async def test_a_hook_is_kept_as_it_was_made_and_as_it_is_changed(tmp_path: Path) -> None:
    async with await SqliteStore.open(tmp_path / "db", clock=lambda: NOW_S) as store:
        made = await add(store)
        other = await add(store, "http://b/")
        assert (made.generation, made.created_at, made.dropped) == (1, NOW_S, 0)
        changed = msgspec.structs.replace(
            made, url="http://c/", events=("*",), stream_id="s", enabled=False, generation=2
        )
        assert await store.hooks.change(changed)
        assert not await store.hooks.change(msgspec.structs.replace(made, id="nobody"))
    async with await SqliteStore.open(tmp_path / "db") as store:
        assert await store.hooks.list_all() == [changed, other]
        assert await store.hooks.delete(made.id)
        assert not await store.hooks.delete(made.id)
        assert await store.hooks.list_all() == [other]


async def test_so_many_hooks(store: SqliteStore) -> None:
    for _ in range(MAX_HOOKS):
        await add(store)
    with pytest.raises(TooManyError):
        await add(store)


async def test_what_is_written_waits_in_order_until_it_is_made(store: SqliteStore) -> None:
    one, two = await add(store), await add(store)
    written = await store.hooks.write(
        Batch(
            events=(
                event(one, 1),
                event(two, 2),
                event(one, 3, "t"),
                event(one, 4),
                event(msgspec.structs.replace(one, id="gone"), 5),
            )
        )
    )
    first, second, third, fourth, gone = written.numbers
    assert gone is None
    assert None not in (first, second, third, fourth)
    assert first is not None
    assert fourth is not None
    rows = await store.hooks.load(one.id, "s", after=0, limit=10)
    assert [(row.number, row.event_id, row.attempts) for row in rows] == [
        (first, "e1", 0),
        (fourth, "e4", 0),
    ]
    assert await store.hooks.load(one.id, "s", after=first, limit=10) == rows[1:]
    assert await store.hooks.load(one.id, "s", after=0, limit=1) == rows[:1]
    backlogs = await store.hooks.backlogs()
    assert Backlog(hook_id=one.id, stream_id="s", first=first, last=fourth, count=2) in backlogs
    assert len(backlogs) == 3

    done = await store.hooks.write(
        Batch(made=((one.id, first), (one.id, first)), failed=((fourth, 3, "why"),))
    )
    assert done.made == {one.id: 1}
    (left,) = await store.hooks.load(one.id, "s", after=0, limit=10)
    assert (left.number, left.attempts, left.reason) == (fourth, 3, "why")


async def test_what_is_given_up_takes_the_old_behind_it_along(store: SqliteStore) -> None:
    hook = await add(store)
    written = await store.hooks.write(
        Batch(
            events=(
                event(hook, 1, at=1.0),
                event(hook, 2, at=2.0),
                event(hook, 3, "t", at=2.0),
                event(hook, 4, at=9.0),
            )
        )
    )
    first = written.numbers[0]
    assert first is not None
    done = await store.hooks.write(Batch(buried=((hook.id, "s", first, 5.0),)))
    assert done.buried == {hook.id: 2}
    dead = await store.hooks.list_some(hook.id, DeliveryStatus.DEAD, limit=9)
    assert [row.event_id for row in dead] == ["e1", "e2"]
    assert await store.hooks.count_dead() == {hook.id: 2}
    pending = await store.hooks.list_some(hook.id, DeliveryStatus.PENDING, limit=9)
    assert [row.event_id for row in pending] == ["e3", "e4"]

    revived = await store.hooks.revive(hook.id, first)
    assert revived is not None
    assert revived.number > pending[-1].number
    for missing in (first, pending[0].number, 0, -1, 2**70):
        assert await store.hooks.revive(hook.id, missing) is None
    assert await store.hooks.revive("other", dead[1].number) is None
    assert await store.hooks.forget_old(2.0) == 0
    assert await store.hooks.forget_old(2.1) == 1


async def test_numbers_are_never_used_again(store: SqliteStore) -> None:
    hook = await add(store)
    numbers = []
    for number in range(3):
        (fresh,) = (await store.hooks.write(Batch(events=(event(hook, number),)))).numbers
        assert fresh is not None
        await store.hooks.write(Batch(made=((hook.id, fresh),)))
        numbers.append(fresh)
    assert numbers == sorted(set(numbers))


async def test_only_so_many_wait(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control.hook_queries.MAX_PENDING", 3)
    hook = await add(store)
    first = await store.hooks.write(Batch(events=tuple(event(hook, n) for n in range(3))))
    assert first.dropped == {}
    second = await store.hooks.write(Batch(events=tuple(event(hook, n) for n in range(3, 5))))
    assert second.dropped == {hook.id: 2}
    await store.hooks.count_dropped(hook.id, 5)
    assert [one.dropped for one in await store.hooks.list_all()] == [7]
    rows = await store.hooks.load(hook.id, "s", after=0, limit=9)
    assert [row.event_id for row in rows] == ["e2", "e3", "e4"]


async def test_the_end_of_a_stream_takes_nothing_along(store: SqliteStore) -> None:
    stream, _ = await store.create_stream(broadcaster_id="b", title="t")
    await store.set_status(stream.id, StreamStatus.LIVE, 1.0)
    hook = await add(store)
    await store.hooks.write(Batch(events=(event(hook, 1, stream.id),)))
    await store.delete_stream(stream.id)
    assert len(await store.hooks.load(hook.id, stream.id, after=0, limit=9)) == 1


def test_a_key_is_made_once_and_what_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = load_or_create_key(path)
    assert len(key) == KEY_BYTES
    assert load_or_create_key(path) == key
    for content in ("", "nothing", "abcd"):
        path.write_text(content)
        with pytest.raises(StoreError, match="holds no secret"):
            load_or_create_key(path)
