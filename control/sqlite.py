"""`Store` in an SQLite file: a thin async shell over `control.queries`.

One connection, used by one worker thread at a time: a `trio.CapacityLimiter` of 1 is the queue,
in order of arrival. SQLite serialises writers anyway, and a read takes some tens of microseconds.

Cancellation: waiting for the turn can be cancelled, and then nothing happened. Once the statement
runs it is never abandoned (``abandon_on_cancel=False``): the caller learns the result of what was
done, and at most `BUSY_TIMEOUT_MS` plus one fsync later.
"""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self, TypeVar, TypeVarTuple

import trio

from control import queries
from control.access_sqlite import SqliteAccessStore
from control.audience_sqlite import SqliteAudienceStore
from control.chat_sqlite import SqliteChatStore
from control.database import Database, open_database, store_error
from control.errors import ControlError, StoreError, UnknownStreamError
from control.figures import StoreFigures
from control.hook_sqlite import SqliteHookStore
from control.keys import is_stream_id, is_stream_key
from control.model import Relays, Stream, StreamStatus
from control.recording_sqlite import SqliteRecordingStore

#: How long `aclose` waits for the statement in progress; more than BUSY_TIMEOUT_MS.
CLOSE_TIMEOUT_S: Final = 5.0

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class SqliteStore(trio.abc.AsyncResource):
    """The embedded store. Make it with `open`, end it with `aclose` or ``async with``.

    Attributes:
        abandoned: The streams that `open` found live, left so by a crash, and set to ended.
        chat: The `ChatStore` in the same file, whose calls wait for the same turn.
        access: The `AccessStore`, likewise.
        recordings: The `RecordingStore`, likewise.
        audience: The `AudienceStore`, likewise.
        hooks: The `HookStore`, likewise.
        figures: What all of them have done so far.
    """

    def __init__(
        self,
        path: Path,
        database: Database,
        *,
        abandoned: tuple[Stream, ...],
        clock: Callable[[], float],
    ) -> None:
        self.abandoned = abandoned
        self.chat = SqliteChatStore(self._run)
        self.access = SqliteAccessStore(self._run, clock)
        self.recordings = SqliteRecordingStore(self._run)
        self.audience = SqliteAudienceStore(self._run)
        self.hooks = SqliteHookStore(self._run, clock)
        self.figures = StoreFigures()
        self._path = path
        self._database = database
        self._clock = clock
        self._turn = trio.CapacityLimiter(1)
        self._closed = False

    @classmethod
    async def open(cls, path: Path, *, clock: Callable[[], float] = time.time) -> Self:
        """Open or create the database file and take ownership of it.

        Streams that are still "live" there were cut off by a crash (kill -9, power): they are set
        to "ended", with the present as their end.

        Args:
            path: The file; its folder is created if missing.
            clock: Gives UTC seconds since 1970.

        Returns:
            The store.

        Raises:
            StoreError: The folder cannot be written, the file is no database, is of a newer
                schema, or belongs to another process.

        Cancellation: never abandoned midway; a result that arrives after a cancellation is
        returned.
        """

        def prepare() -> tuple[Database, tuple[Stream, ...]]:
            database = open_database(path)
            try:
                return database, queries.end_abandoned(database.connection, clock())
            except BaseException as error:
                database.close()
                if isinstance(error, sqlite3.Error):
                    raise store_error(path, error) from error
                raise

        database, abandoned = await trio.to_thread.run_sync(prepare)
        return cls(path, database, abandoned=abandoned, clock=clock)

    @property
    def waiting(self) -> int:
        """Queries that wait for their turn."""
        return self._turn.statistics().tasks_waiting

    async def aclose(self) -> None:
        """Close the file and give up its ownership; later calls raise `StoreError`. Idempotent.

        Cancellation: shielded, for at most `CLOSE_TIMEOUT_S`.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
            await trio.to_thread.run_sync(self._database.close, limiter=self._turn)

    async def create_stream(
        self,
        *,
        broadcaster_id: str,
        title: str,
        chat_enabled: bool = True,
        recording_enabled: bool = False,
    ) -> tuple[Stream, str]:
        """See `control.store.Store.create_stream`."""
        at = self._clock()
        return await self._run(
            queries.create, broadcaster_id, title, chat_enabled, recording_enabled, at
        )

    async def get_stream(self, stream_id: str) -> Stream | None:
        """See `control.store.Store.get_stream`."""
        if not is_stream_id(stream_id):
            return None
        return await self._run(queries.get, stream_id)

    async def list_streams(
        self,
        *,
        status: StreamStatus | None = None,
        broadcaster_id: str | None = None,
        after: str | None = None,
        limit: int = 1000,
    ) -> list[Stream]:
        """See `control.store.Store.list_streams`."""
        return await self._run(queries.list_some, status, broadcaster_id, after, limit)

    async def find_by_key(self, stream_key: str) -> Stream | None:
        """See `control.store.Store.find_by_key`."""
        if not is_stream_key(stream_key):
            return None
        return await self._run(queries.find_by_key, stream_key, self._clock())

    async def verify_key(self, stream_id: str, stream_key: str) -> bool:
        """See `control.store.Store.verify_key`."""
        if not is_stream_id(stream_id) or not is_stream_key(stream_key):
            return False
        return await self._run(queries.verify_key, stream_id, stream_key, self._clock())

    async def set_status(self, stream_id: str, status: StreamStatus, at: float) -> Stream:
        """See `control.store.Store.set_status`."""
        _require_id(stream_id)
        return await self._run(queries.set_status, stream_id, status, at)

    async def update_stream(
        self,
        stream_id: str,
        *,
        title: str | None = None,
        chat_enabled: bool | None = None,
        recording_enabled: bool | None = None,
    ) -> Stream:
        """See `control.store.Store.update_stream`."""
        _require_id(stream_id)
        return await self._run(queries.update, stream_id, title, chat_enabled, recording_enabled)

    async def delete_stream(self, stream_id: str) -> None:
        """See `control.store.Store.delete_stream`.

        Its chat goes first, in steps; a cancellation between two of them leaves the stream.
        """
        _require_id(stream_id)
        await self.chat.purge(stream_id)
        await self._run(queries.delete, stream_id)

    async def rotate_key(self, stream_id: str) -> tuple[Stream, str]:
        """See `control.store.Store.rotate_key`."""
        _require_id(stream_id)
        return await self._run(queries.rotate_key, stream_id, self._clock())

    async def get_relays(self, stream_id: str) -> Relays:
        """See `control.store.Store.get_relays`."""
        return (
            await self._run(queries.get_relays, stream_id) if is_stream_id(stream_id) else Relays()
        )

    async def set_relays(self, stream_id: str, relays: Relays) -> None:
        """See `control.store.Store.set_relays`."""
        _require_id(stream_id)
        await self._run(queries.set_relays, stream_id, relays)

    async def list_pulls(self) -> dict[str, str]:
        """See `control.store.Store.list_pulls`."""
        return await self._run(queries.list_pulls)

    async def _run(self, query: Callable[[sqlite3.Connection, *Ts], T], *args: *Ts) -> T:
        """Run one query in the worker thread, when its turn comes."""

        def work() -> T:
            if self._closed:  # looked at in our turn: `aclose` may have been before us in the queue
                raise StoreError(f"{self._path}: the store is closed")
            try:
                return query(self._database.connection, *args)
            except sqlite3.Error as error:
                raise store_error(self._path, error) from error

        began_s, failed = trio.current_time(), True
        try:
            result = await trio.to_thread.run_sync(
                work, abandon_on_cancel=False, limiter=self._turn
            )
            failed = False
            return result
        except (ControlError, trio.Cancelled) as error:  # what was asked cannot be, or nobody asks
            failed = isinstance(error, StoreError)
            raise
        finally:
            self.figures.note(trio.current_time() - began_s, failed=failed)


def _require_id(stream_id: str) -> None:
    if not is_stream_id(stream_id):
        raise UnknownStreamError(stream_id)
