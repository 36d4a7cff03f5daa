"""What the store keeps of rooms and messages: what comes back, and what does not."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from chat_rows import BAN, ENTRY, load, message, new_chat, new_stream, numbers, rows_of

from control import (
    ChatStore,
    SqliteStore,
    StoreError,
    UnknownStreamError,
    chat_queries,
    chat_sqlite,
)
from control.chat_model import (
    ChatMessage,
    FilterAction,
    Role,
    RoomSettings,
    StoredRoom,
)

NOBODY = "0" * 12
SETTINGS = RoomSettings(
    slow_mode_s=0,
    guests_allowed=False,
    emote_only=True,
    links=FilterAction.HOLD,
    allowed_hosts=("example.com",),
    blocked_words=("Grüße \U0001f30a", "a phrase"),
    blocked_words_action=FilterAction.HOLD,
    required_claims=("follower",),
    reserved_names=("someone",),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "headrace.sqlite3"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    async with await SqliteStore.open(path) as store:
        yield store


# -- rooms


async def test_a_room_that_was_never_used_has_defaults(store: SqliteStore) -> None:
    assert await load(store, await new_stream(store)) == StoredRoom(settings=RoomSettings())


@pytest.mark.parametrize("stream_id", [NOBODY, "", "no id"])
async def test_an_unknown_stream_has_no_room(store: SqliteStore, stream_id: str) -> None:
    with pytest.raises(UnknownStreamError) as caught:
        await load(store, stream_id)
    assert caught.value.stream_id == stream_id


async def test_a_stream_that_is_gone_has_nothing_and_gets_nothing(
    store: SqliteStore, path: Path
) -> None:
    chat, stream_id = store.chat, await new_stream(store)
    await store.delete_stream(stream_id)

    await chat.add_messages([message(stream_id, 1)])
    await chat.save_settings(stream_id, SETTINGS)
    await chat.save_pin(stream_id, message(stream_id, 1))
    await chat.put_sanction(stream_id, BAN)
    await chat.drop_sanction(stream_id, "u1")
    await chat.set_moderator(stream_id, "m", "M", True)
    await chat.add_audit(stream_id, ENTRY)
    assert await chat.delete_messages(stream_id, ids=["1"]) == 0
    assert await chat.delete_messages(stream_id, user_id="u1") == 0
    assert await chat.delete_messages(stream_id, everything=True) == 0

    assert await chat.messages(stream_id, limit=10) == []
    assert await chat.replay(stream_id, since_ms=0, until_ms=9999, limit=10) == []
    assert await chat.audit(stream_id, limit=10) == []
    for table in ("rooms", "messages", "sanctions", "moderators", "audit"):
        assert rows_of(path, f"chat_{table}") == 0


async def test_settings_and_pin_are_replaced_whole_and_for_their_stream_only(
    store: SqliteStore,
) -> None:
    first, second = await new_stream(store), await new_stream(store)
    pinned = message(first, 3)
    await store.chat.save_settings(first, SETTINGS)
    await store.chat.save_pin(first, pinned)
    assert await load(store, first) == StoredRoom(settings=SETTINGS, pinned=pinned)

    await store.chat.save_settings(first, RoomSettings(slow_mode_s=9))
    await store.chat.save_pin(first, None)
    assert await load(store, first) == StoredRoom(settings=RoomSettings(slow_mode_s=9))
    assert await load(store, second) == StoredRoom(settings=RoomSettings())


async def test_settings_of_another_version_are_read_as_far_as_they_are_known(
    store: SqliteStore, path: Path
) -> None:
    stream_id = await new_stream(store)
    await store.chat.save_settings(stream_id, SETTINGS)
    other = sqlite3.connect(path)
    with other:
        other.execute("""UPDATE chat_rooms SET settings = '{"slowModeS": 7, "later": true}'""")
    other.close()
    assert (await load(store, stream_id)).settings == RoomSettings(slow_mode_s=7)


@pytest.mark.parametrize("column", ["settings", "pinned"])
@pytest.mark.parametrize("text", ["", "{", '{"slowModeS": "x", "id": 1}'])
async def test_a_room_that_cannot_be_read_is_a_store_error(
    store: SqliteStore, path: Path, column: str, text: str
) -> None:
    stream_id = await new_stream(store)
    await store.chat.save_settings(stream_id, SETTINGS)
    other = sqlite3.connect(path)
    with other:
        other.execute(f"UPDATE chat_rooms SET {column} = ?", (text,))
    other.close()
    with pytest.raises(StoreError, match=r"^what is stored of a chat cannot be read: [^\n]+$"):
        await load(store, stream_id)


# -- messages


async def test_a_message_comes_back_as_it_was(store: SqliteStore) -> None:
    stream_id = await new_stream(store)
    whole = ChatMessage(
        id="f" * 16,
        stream_id=stream_id,
        user_id="guest_0123456789abcdef",
        username="Grüße \U0001f30a",
        content="'; DROP TABLE streams; -- \0 \u202e%_",
        timestamp=2**62,
        role=Role.BROADCASTER,
        stream_time=12.0,
        client_id="c-1",
    )
    least = message(stream_id, 1)
    await store.chat.add_messages([whole, least])

    assert await store.chat.messages(stream_id, limit=10) == [least, whole]
    assert (await load(store, stream_id)).history == (least, whole)
    assert isinstance((await store.chat.messages(stream_id, limit=1))[0].stream_time, float)


@pytest.mark.parametrize(
    ("limit", "before", "after", "expected"),
    [
        (3, None, None, [7, 8, 9]),
        (100, None, None, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (3, 7, None, [4, 5, 6]),
        (3, 2, None, [1]),
        (3, 1, None, []),
        (9, None, 6, [7, 8, 9]),
        (2, None, 6, [8, 9]),
        (9, None, 9, []),
        (9, 6, 3, [4, 5]),
        (9, 3, 6, []),
        (0, None, None, []),
        (-1, None, None, []),
    ],
)
async def test_a_page_is_the_newest_between_two_ids_oldest_first(
    store: SqliteStore, limit: int, before: int | None, after: int | None, expected: list[int]
) -> None:
    stream_id = await new_chat(store, 9)
    found = await store.chat.messages(
        stream_id,
        limit=limit,
        before=None if before is None else f"{before:016x}",
        after=None if after is None else f"{after:016x}",
    )
    assert numbers(found) == expected


async def test_no_page_is_larger_than_the_largest(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_queries, "MAX_PAGE", 3)
    chat, stream_id = store.chat, await new_chat(store, 5)
    for _ in range(5):
        await chat.add_audit(stream_id, ENTRY)
    room = await chat.load_room(stream_id, history=10**9, now_ms=0)
    assert numbers(list(room.history)) == [3, 4, 5]
    assert numbers(await chat.messages(stream_id, limit=10**9)) == [3, 4, 5]
    found = await chat.replay(stream_id, since_ms=0, until_ms=10**9, limit=10**9)
    assert numbers(found) == [1, 2, 3]
    assert [number for number, _ in await chat.audit(stream_id, limit=10**9)] == [5, 4, 3]


async def test_a_batch_may_be_of_several_streams_of_which_one_is_gone(store: SqliteStore) -> None:
    first, second = await new_stream(store), await new_stream(store)
    await store.chat.add_messages(
        [message(first, 1), message(NOBODY, 2), message(second, 1), message(first, 3)]
    )
    assert numbers(await store.chat.messages(first, limit=9)) == [1, 3]
    assert await store.chat.messages(second, limit=9) == [message(second, 1)]


async def test_a_second_try_changes_nothing_and_brings_nothing_back(store: SqliteStore) -> None:
    chat, stream_id = store.chat, await new_stream(store)
    batch = [message(stream_id, n) for n in range(1, 5)]
    await chat.add_messages(batch[:2])
    await chat.delete_messages(stream_id, everything=True)
    await chat.add_messages(batch[2:])
    await chat.delete_messages(stream_id, ids=[batch[2].id])

    again = [msgspec.structs.replace(one, content="again") for one in batch]
    await chat.add_messages(again)
    assert await chat.messages(stream_id, limit=9) == [batch[3]]
    assert await chat.delete_messages(stream_id, ids=[one.id for one in batch[2:]]) == 1


async def test_a_batch_with_a_text_that_is_no_unicode_is_refused_whole(store: SqliteStore) -> None:
    stream_id = await new_stream(store)
    bad = msgspec.structs.replace(message(stream_id, 2), content="\ud800")
    with pytest.raises(ValueError, match="surrogates"):
        await store.chat.add_messages([message(stream_id, 1), bad])
    with pytest.raises(ValueError, match="surrogates"):
        await store.chat.save_pin(stream_id, bad)
    assert await load(store, stream_id) == StoredRoom(settings=RoomSettings())


async def test_a_replay_is_a_span_in_time_order(store: SqliteStore) -> None:
    chat, stream_id = store.chat, await new_chat(store, 9)
    late = msgspec.structs.replace(message(stream_id, 10), timestamp=4500)  # the clock was set back
    await chat.add_messages([late])
    await chat.delete_messages(stream_id, ids=[f"{3:016x}"])

    found = await chat.replay(stream_id, since_ms=2000, until_ms=7000, limit=9)
    assert numbers(found) == [2, 4, 10, 5, 6]
    assert numbers(await chat.replay(stream_id, since_ms=2000, until_ms=7000, limit=3)) == [
        2,
        4,
        10,
    ]
    assert await chat.replay(stream_id, since_ms=7000, until_ms=7000, limit=9) == []


async def test_a_replay_has_nothing_from_before_everything_was_deleted(store: SqliteStore) -> None:
    chat, stream_id = store.chat, await new_chat(store, 5)
    await chat.delete_messages(stream_id, everything=True)
    assert await chat.replay(stream_id, since_ms=0, until_ms=10**6, limit=9) == []
    await chat.add_messages([message(stream_id, n) for n in (6, 7)])
    assert numbers(await chat.replay(stream_id, since_ms=0, until_ms=10**6, limit=9)) == [6, 7]


# -- deleting


async def test_deleting_some_leaves_the_others(store: SqliteStore) -> None:
    stream_id, other = await new_chat(store, 5), await new_chat(store, 5)
    ids = [f"{n:016x}" for n in (2, 4, 77)]
    assert await store.chat.delete_messages(stream_id, ids=ids) == 2
    assert await store.chat.delete_messages(stream_id, ids=ids) == 0
    assert await store.chat.delete_messages(stream_id, ids=[]) == 0
    assert numbers(await store.chat.messages(stream_id, limit=9)) == [1, 3, 5]
    assert numbers(await store.chat.messages(other, limit=9)) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("scan_rows", [1, 2, 3, 8, 9, 10])
async def test_all_of_a_user_is_deleted_however_far_back(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, scan_rows: int
) -> None:
    monkeypatch.setattr(chat_sqlite, "SCAN_ROWS", scan_rows)
    stream_id, other = await new_chat(store, 9), await new_chat(store, 3)
    assert await store.chat.delete_messages(stream_id, user_id="u1") == 5
    assert await store.chat.delete_messages(stream_id, user_id="u1") == 0
    assert numbers(await store.chat.messages(stream_id, limit=9)) == [2, 4, 6, 8]
    assert numbers(await store.chat.messages(other, limit=9)) == [1, 2, 3]


async def test_deleting_everything_is_until_now(store: SqliteStore) -> None:
    chat, stream_id, other = store.chat, await new_chat(store, 5), await new_chat(store, 2)
    assert await chat.delete_messages(stream_id, everything=True) == 0
    assert (await load(store, stream_id)).history == ()
    assert await chat.messages(stream_id, limit=9, after="") == []

    await chat.add_messages([message(stream_id, n) for n in (6, 7)])
    await chat.delete_messages(stream_id, ids=[f"{7:016x}"])
    assert numbers(await chat.messages(stream_id, limit=9)) == [6]
    assert await chat.delete_messages(stream_id, user_id="u1") == 0  # theirs were among everything
    assert await chat.delete_messages(stream_id, ids=[f"{5:016x}"]) == 0
    await chat.delete_messages(stream_id, everything=True)
    await chat.delete_messages(stream_id, everything=True)
    assert await chat.messages(stream_id, limit=9) == []
    assert numbers(await chat.messages(other, limit=9)) == [1, 2]


@pytest.mark.parametrize(
    ("ids", "user_id", "everything"),
    [(None, None, False), (["1"], "u", False), (["1"], None, True), (None, "u", True)],
)
async def test_what_to_delete_is_said_once(
    store: SqliteStore, ids: list[str] | None, user_id: str | None, everything: bool
) -> None:
    stream_id = await new_chat(store, 1)
    with pytest.raises(ValueError, match="one of ids, user_id and everything"):
        await store.chat.delete_messages(stream_id, ids=ids, user_id=user_id, everything=everything)
    assert len(await store.chat.messages(stream_id, limit=9)) == 1


async def test_what_is_deleted_is_kept_until_it_is_too_old(store: SqliteStore, path: Path) -> None:
    stream_id = await new_chat(store, 4)
    await store.chat.delete_messages(stream_id, ids=[f"{1:016x}"])
    await store.chat.delete_messages(stream_id, user_id="u1")
    await store.chat.delete_messages(stream_id, everything=True)
    assert rows_of(path, "chat_messages") == 4
    assert await store.chat.sweep(10_000, keep_ms=10_000 - 3000, audit_keep_ms=0) == 2
    assert rows_of(path, "chat_messages") == 2


def _is_store(store: SqliteStore) -> ChatStore:
    return store.chat  # mypy's check that the embedded one is one
