"""Chats in a store, for tests: rows to put there, and how to look at them."""

import sqlite3
from pathlib import Path

from control import SqliteStore
from control.chat_model import AuditEntry, ChatMessage, Sanction, StoredRoom

BAN = Sanction(user_id="u1", username="One", by="mod", reason="why", at=5, network="f" * 16)
ENTRY = AuditEntry(
    at=7, actor_id="m", actor_name="M", action="ban", target="u", detail="60", reason="why"
)


def message(stream_id: str, number: int, user_id: str = "someone") -> ChatMessage:
    """One that is sent at that second."""
    return ChatMessage(
        id=f"{number:016x}",
        stream_id=stream_id,
        user_id=user_id,
        username=user_id.title(),
        content=f"number {number}",
        timestamp=number * 1000,
    )


def numbers(messages: list[ChatMessage]) -> list[int]:
    return [int(one.id, 16) for one in messages]


async def new_stream(store: SqliteStore) -> str:
    stream, _key = await store.create_stream(broadcaster_id="someone", title="A title")
    return stream.id


async def new_chat(store: SqliteStore, count: int) -> str:
    """A stream with messages 1, 2, ... by u1 and u2 in turn."""
    stream_id = await new_stream(store)
    await store.chat.add_messages(
        [message(stream_id, n, f"u{2 - n % 2}") for n in range(1, count + 1)]
    )
    return stream_id


async def load(store: SqliteStore, stream_id: str, now_ms: int = 0) -> StoredRoom:
    return await store.chat.load_room(stream_id, history=200, now_ms=now_ms)


def rows_of(path: Path, table: str) -> int:
    reader = sqlite3.connect(path)
    (count,) = reader.execute(f"SELECT count(*) FROM {table}").fetchone()
    reader.close()
    return int(count)
