"""`ChatStore` in the SQLite file of `control.sqlite`: a thin async shell over its queries.

It has no connection of its own: every call waits for its turn with the streams' calls. So that
these never wait long, what may touch many rows goes in steps of `STEP_ROWS`, each a transaction
and a turn.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar, TypeVarTuple

from control import chat_queries
from control.chat_model import AuditEntry, ChatMessage, RoomSettings, Sanction, StoredRoom
from control.chat_store import MAX_SWEPT

STEP_ROWS: Final = 1000
"""Rows that one turn changes: some tens of milliseconds."""

SCAN_ROWS: Final = 10_000
"""Rows that one turn looks through."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class RunQuery(Protocol):
    """Runs a query in the worker thread, when its turn comes; raises `StoreError`."""

    async def __call__(self, query: Callable[[sqlite3.Connection, *Ts], T], *args: *Ts) -> T:
        """Run one."""
        ...


class SqliteChatStore:
    """Part of a `SqliteStore`: its `chat`."""

    def __init__(self, run: RunQuery) -> None:
        self._run = run

    async def load_room(self, stream_id: str, *, history: int, now_ms: int) -> StoredRoom:
        """See `control.chat_store.ChatStore.load_room`."""
        return await self._run(chat_queries.load_room, stream_id, history, now_ms)

    async def add_messages(self, messages: Sequence[ChatMessage]) -> None:
        """See `control.chat_store.ChatStore.add_messages`."""
        await self._run(chat_queries.add_messages, tuple(messages))

    async def messages(
        self,
        stream_id: str,
        *,
        limit: int,
        before: str | None = None,
        after: str | None = None,
    ) -> list[ChatMessage]:
        """See `control.chat_store.ChatStore.messages`."""
        return await self._run(chat_queries.messages, stream_id, limit, before, after)

    async def replay(
        self, stream_id: str, *, since_ms: int, until_ms: int, limit: int
    ) -> list[ChatMessage]:
        """See `control.chat_store.ChatStore.replay`."""
        return await self._run(chat_queries.replay, stream_id, since_ms, until_ms, limit)

    async def delete_messages(
        self,
        stream_id: str,
        *,
        ids: Sequence[str] | None = None,
        user_id: str | None = None,
        everything: bool = False,
    ) -> int:
        """See `control.chat_store.ChatStore.delete_messages`."""
        if (ids is not None) + (user_id is not None) + everything != 1:
            raise ValueError("one of ids, user_id and everything")
        if ids is not None:
            return await self._run(chat_queries.delete_messages, stream_id, tuple(ids))
        if user_id is None:
            await self._run(chat_queries.clear, stream_id)
            return 0
        deleted, newest = 0, chat_queries.NEWEST
        while True:
            step, following = await self._run(
                chat_queries.delete_of_user, stream_id, user_id, newest, SCAN_ROWS
            )
            deleted += step
            if following is None:
                return deleted
            newest = following

    async def save_settings(self, stream_id: str, settings: RoomSettings) -> None:
        """See `control.chat_store.ChatStore.save_settings`."""
        await self._run(chat_queries.save_settings, stream_id, settings)

    async def save_pin(self, stream_id: str, message: ChatMessage | None) -> None:
        """See `control.chat_store.ChatStore.save_pin`."""
        await self._run(chat_queries.save_pin, stream_id, message)

    async def put_sanction(self, stream_id: str, sanction: Sanction) -> None:
        """See `control.chat_store.ChatStore.put_sanction`."""
        await self._run(chat_queries.put_sanction, stream_id, sanction)

    async def drop_sanction(self, stream_id: str, user_id: str) -> None:
        """See `control.chat_store.ChatStore.drop_sanction`."""
        await self._run(chat_queries.drop_sanction, stream_id, user_id)

    async def set_moderator(
        self, stream_id: str, user_id: str, username: str, is_moderator: bool
    ) -> None:
        """See `control.chat_store.ChatStore.set_moderator`."""
        await self._run(chat_queries.set_moderator, stream_id, user_id, username, is_moderator)

    async def add_audit(self, stream_id: str, entry: AuditEntry) -> None:
        """See `control.chat_store.ChatStore.add_audit`."""
        await self._run(chat_queries.add_audit, stream_id, entry)

    async def audit(
        self, stream_id: str, *, limit: int, before: int | None = None
    ) -> list[tuple[int, AuditEntry]]:
        """See `control.chat_store.ChatStore.audit`."""
        return await self._run(chat_queries.audit, stream_id, limit, before)

    async def sweep(self, now_ms: int, *, keep_ms: int, audit_keep_ms: int) -> int:
        """See `control.chat_store.ChatStore.sweep`."""
        until_ms, audit_until_ms = now_ms - keep_ms, now_ms - audit_keep_ms
        gone = 0
        while gone < MAX_SWEPT:
            wanted = min(STEP_ROWS, MAX_SWEPT - gone)
            step = await self._run(chat_queries.sweep, until_ms, audit_until_ms, wanted)
            gone += step
            if step < wanted:
                break
        return gone

    async def purge(self, stream_id: str) -> None:
        """Remove a stream's messages in steps, before the stream itself takes all of them at once.

        Cancellation: between two steps; what is gone stays gone.
        """
        while await self._run(chat_queries.purge, stream_id, STEP_ROWS) == STEP_ROWS:
            pass
