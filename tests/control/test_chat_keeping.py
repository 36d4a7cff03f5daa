"""How long the store keeps what belongs to a chat: its bounds, sweeps, and what a crash leaves."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
from chat_rows import BAN, ENTRY, load, message, new_chat, new_stream, numbers, rows_of
from old_database import STREAM_ID, make_old_file

from control import (
    SqliteStore,
    StoreError,
    UnknownStreamError,
    chat_queries,
    chat_sqlite,
    database,
)
from control.chat_model import (
    RoomSettings,
    Sanction,
)

SETTINGS = RoomSettings(slow_mode_s=7)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "headrace.sqlite3"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    async with await SqliteStore.open(path) as store:
        yield store


# -- sanctions and moderators


async def test_a_sanction_takes_the_place_of_the_one_before(store: SqliteStore) -> None:
    chat, stream_id, other = store.chat, await new_stream(store), await new_stream(store)
    timeout = Sanction(user_id="u0", username="Null", until=100, at=9)
    await chat.put_sanction(stream_id, timeout)
    await chat.put_sanction(stream_id, BAN)
    assert (await load(store, stream_id)).sanctions == (BAN, timeout)  # the oldest first

    longer = msgspec.structs.replace(timeout, until=200)
    await chat.put_sanction(stream_id, longer)
    await chat.drop_sanction(stream_id, "u1")
    await chat.drop_sanction(stream_id, "nobody")
    assert (await load(store, stream_id)).sanctions == (longer,)
    assert (await load(store, other)).sanctions == ()


async def test_a_timeout_that_has_ended_is_forgotten_for_good(store: SqliteStore) -> None:
    stream_id = await new_stream(store)
    for sanction in (BAN, Sanction(user_id="u2", username="Two", until=1000, at=6)):
        await store.chat.put_sanction(stream_id, sanction)
    assert len((await load(store, stream_id, now_ms=999)).sanctions) == 2
    assert (await load(store, stream_id, now_ms=1000)).sanctions == (BAN,)
    assert (await load(store, stream_id, now_ms=0)).sanctions == (BAN,)


async def test_of_too_many_sanctions_the_one_that_ends_first_goes(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_queries, "MAX_SANCTIONS", 3)
    chat, stream_id, other = store.chat, await new_stream(store), await new_stream(store)
    await chat.put_sanction(other, BAN)

    async def names_after(user_id: str, until: int | None, at: int) -> set[str]:
        one = Sanction(user_id=user_id, username=user_id, until=until, at=at)
        await chat.put_sanction(stream_id, one)
        return {sanction.user_id for sanction in (await load(store, stream_id)).sanctions}

    await names_after("old ban", None, 1)
    await names_after("long", 900, 2)
    assert await names_after("short", 300, 3) == {"old ban", "long", "short"}
    assert await names_after("short", 310, 4) == {"old ban", "long", "short"}
    assert await names_after("shorter", 200, 5) == {"old ban", "long", "shorter"}
    assert await names_after("ban", None, 6) == {"old ban", "long", "ban"}
    assert await names_after("new ban", None, 7) == {"old ban", "ban", "new ban"}
    assert await names_after("newest ban", None, 8) == {"ban", "new ban", "newest ban"}
    assert (await load(store, other)).sanctions == (BAN,)


async def test_moderators_come_and_go(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_queries, "MAX_MODERATORS", 3)
    chat, stream_id, other = store.chat, await new_stream(store), await new_stream(store)
    await chat.set_moderator(other, "a", "A", True)
    for user_id in "cab":
        await chat.set_moderator(stream_id, user_id, user_id.upper(), True)
    await chat.set_moderator(stream_id, "c", "Cc", True)
    assert (await load(store, stream_id)).moderators == (("c", "Cc"), ("a", "A"), ("b", "B"))

    await chat.set_moderator(stream_id, "d", "D", True)
    assert (await load(store, stream_id)).moderators == (("a", "A"), ("b", "B"), ("d", "D"))
    await chat.set_moderator(stream_id, "b", "B", False)
    await chat.set_moderator(stream_id, "nobody", "", False)
    assert (await load(store, stream_id)).moderators == (("a", "A"), ("d", "D"))
    assert (await load(store, other)).moderators == (("a", "A"),)


# -- audit


async def test_the_audit_is_newest_first_and_paged_by_number(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_queries, "MAX_AUDIT", 4)
    chat, stream_id, other = store.chat, await new_stream(store), await new_stream(store)
    await chat.add_audit(other, ENTRY)
    entries = [msgspec.structs.replace(ENTRY, at=n, target=f"u{n}") for n in range(1, 7)]
    for entry in entries:
        await chat.add_audit(stream_id, entry)

    expected = [(n, entries[n - 1]) for n in (6, 5, 4, 3)]  # the first two are beyond the bound
    assert await chat.audit(stream_id, limit=9) == expected
    assert await chat.audit(stream_id, limit=2) == expected[:2]
    assert await chat.audit(stream_id, limit=2, before=5) == expected[2:]
    assert await chat.audit(stream_id, limit=2, before=3) == []
    assert await chat.audit(other, limit=9) == [(1, ENTRY)]


# -- retention


async def test_a_sweep_removes_what_is_too_old(store: SqliteStore, path: Path) -> None:
    chat, stream_id, other = store.chat, await new_chat(store, 6), await new_chat(store, 3)
    await chat.delete_messages(stream_id, ids=[f"{2:016x}"])
    for at in (1000, 2000, 3000):
        await chat.add_audit(stream_id, msgspec.structs.replace(ENTRY, at=at))

    assert await chat.sweep(10_000, keep_ms=10_000, audit_keep_ms=10_000) == 0
    assert await chat.sweep(10_000, keep_ms=6000, audit_keep_ms=8000) == 3 + 3 + 1
    assert numbers(await chat.messages(stream_id, limit=9)) == [4, 5, 6]
    assert await chat.messages(other, limit=9) == []
    assert [entry.at for _, entry in await chat.audit(stream_id, limit=9)] == [3000, 2000]
    assert rows_of(path, "chat_messages") == 3


@pytest.mark.parametrize("step_rows", [1, 2, 3, 100])
async def test_a_sweep_ends_and_may_be_called_again(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, step_rows: int
) -> None:
    monkeypatch.setattr(chat_sqlite, "STEP_ROWS", step_rows)
    monkeypatch.setattr(chat_sqlite, "MAX_SWEPT", 5)
    stream_id = await new_chat(store, 6)
    for _ in range(2):
        await store.chat.add_audit(stream_id, ENTRY)
    assert await store.chat.sweep(10_000, keep_ms=0, audit_keep_ms=0) == 5
    assert numbers(await store.chat.messages(stream_id, limit=9)) == [6]
    assert await store.chat.sweep(10_000, keep_ms=0, audit_keep_ms=0) == 3
    assert await store.chat.audit(stream_id, limit=9) == []
    assert await store.chat.sweep(10_000, keep_ms=0, audit_keep_ms=0) == 0


async def test_others_have_their_turn_while_it_sweeps(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_sqlite, "STEP_ROWS", 2)
    stream_id = await new_chat(store, 9)
    entered, may_go_on = trio.Event(), threading.Event()
    sweep = chat_queries.sweep
    happened: list[str] = []

    def held(connection: sqlite3.Connection, *args: int) -> int:
        trio.from_thread.run_sync(entered.set)
        assert may_go_on.wait(10)
        return sweep(connection, *args)

    async def sweep_all() -> None:
        await store.chat.sweep(10_000, keep_ms=0, audit_keep_ms=0)
        happened.append("swept")

    async def find() -> None:
        await store.get_stream(stream_id)
        happened.append("found")

    monkeypatch.setattr(chat_queries, "sweep", held)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sweep_all)
        await entered.wait()
        nursery.start_soon(find)
        await trio.testing.wait_all_tasks_blocked()
        may_go_on.set()
    assert happened == ["found", "swept"]


@pytest.mark.parametrize(("step_rows", "steps"), [(1, 6), (4, 2), (5, 2), (7, 1)])
async def test_a_deleted_stream_takes_its_chat_along_in_steps(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch, step_rows: int, steps: int
) -> None:
    purge = chat_queries.purge
    purged: list[int] = []

    def noted(connection: sqlite3.Connection, stream_id: str, rows: int) -> int:
        purged.append(purge(connection, stream_id, rows))
        return purged[-1]

    monkeypatch.setattr(chat_queries, "purge", noted)
    monkeypatch.setattr(chat_sqlite, "STEP_ROWS", step_rows)
    chat, stream_id, other = store.chat, await new_chat(store, 5), await new_chat(store, 1)
    await chat.delete_messages(stream_id, ids=[f"{2:016x}"])
    await chat.save_settings(stream_id, SETTINGS)
    await chat.put_sanction(stream_id, BAN)
    await chat.set_moderator(stream_id, "m", "M", True)
    await chat.add_audit(stream_id, ENTRY)

    await store.delete_stream(stream_id)
    assert (sum(purged), len(purged)) == (5, steps)
    with pytest.raises(UnknownStreamError):
        await load(store, stream_id)
    for table in ("sanctions", "moderators", "audit"):
        assert rows_of(path, f"chat_{table}") == 0
    assert rows_of(path, "chat_rooms") == rows_of(path, "chat_messages") == 1
    assert numbers(await chat.messages(other, limit=9)) == [1]


# -- crashes, versions, failures

WRITER = """
import itertools, pathlib, sys, trio
from control import SqliteStore
from control.chat_model import AuditEntry, ChatMessage, RoomSettings, Sanction

async def main():
    store = await SqliteStore.open(pathlib.Path(sys.argv[1]))
    stream, _ = await store.create_stream(broadcaster_id="x", title="a")
    await store.chat.save_settings(stream.id, RoomSettings(slow_mode_s=7))
    await store.chat.put_sanction(stream.id, Sanction(user_id="u", username="U"))
    await store.chat.put_sanction(stream.id, Sanction(user_id="v", username="V", until=99))
    await store.chat.set_moderator(stream.id, "m", "M", True)
    await store.chat.add_audit(stream.id, AuditEntry(at=1, actor_id="m", actor_name="M",
                                                     action="ban", target="u"))
    print(stream.id, flush=True)
    for batch in itertools.count():
        await store.chat.add_messages([
            ChatMessage(id=f"{batch * 10 + n:016x}", stream_id=stream.id, user_id="w",
                        username="W", content="c", timestamp=1)
            for n in range(10)
        ])
        print(batch + 1, flush=True)

trio.run(main)
"""


@pytest.mark.slow
async def test_a_killed_process_has_kept_all_that_it_said_it_had(path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(path)]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    said = b""
    try:
        async for piece in process.stdout:
            said += piece
            if said.count(b"\n") > 30:
                process.kill()
    finally:
        process.kill()
        await process.wait()
    stream_id, *counts = said.decode().rpartition("\n")[0].split("\n")
    assert process.returncode == -9
    assert len(counts) >= 30

    async with await SqliteStore.open(path) as store:
        room = await load(store, stream_id, now_ms=98)
        kept = numbers(await store.chat.messages(stream_id, limit=1000))
        assert room.settings == RoomSettings(slow_mode_s=7)
        assert [one.user_id for one in room.sanctions] == ["u", "v"]
        assert room.moderators == (("m", "M"),)
        assert [entry.target for _, entry in await store.chat.audit(stream_id, limit=9)] == ["u"]
    assert kept == list(range(len(kept)))
    assert len(kept) in (10 * len(counts), 10 * (len(counts) + 1))  # the last may not be told of


async def test_a_file_from_before_chat_is_brought_up_to_date(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old_file(path, 2, monkeypatch)
    async with await SqliteStore.open(path) as store:
        await store.chat.add_messages([message(STREAM_ID, 1)])
        assert (await load(store, STREAM_ID)).history == (message(STREAM_ID, 1),)


async def test_a_write_that_fails_is_a_store_error_and_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 10)
    async with await SqliteStore.open(path) as store:
        stream_id = await new_chat(store, 2)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.chat.add_messages([message(stream_id, 3)]),
            lambda: store.chat.delete_messages(stream_id, user_id="u1"),
            lambda: store.chat.put_sanction(stream_id, BAN),
            lambda: store.chat.sweep(10_000, keep_ms=0, audit_keep_ms=0),
        ]
        for call in calls:
            with pytest.raises(StoreError, match="locked by another program"):
                await call()
        assert numbers(await store.chat.messages(stream_id, limit=9)) == [1, 2]
        other.close()
        await store.chat.add_messages([message(stream_id, 3)])
        assert numbers(await store.chat.messages(stream_id, limit=9)) == [1, 2, 3]


async def test_chat_ends_with_its_store(path: Path) -> None:
    store = await SqliteStore.open(path)
    stream_id = await new_chat(store, 1)
    await store.aclose()
    with pytest.raises(StoreError, match="the store is closed"):
        await store.chat.messages(stream_id, limit=9)
