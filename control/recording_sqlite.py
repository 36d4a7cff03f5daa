"""`RecordingStore` in the SQLite file of `control.sqlite`: a thin async shell over its queries."""

from collections.abc import Collection

from control import recording_queries
from control.chat_sqlite import RunQuery
from control.keys import is_stream_id
from control.recording_model import Recording


class SqliteRecordingStore:
    """Part of a `SqliteStore`: its `recordings`.

    Args:
        run: Runs a query when its turn comes.
    """

    def __init__(self, run: RunQuery) -> None:
        self._run = run

    async def add(self, recording: Recording) -> None:
        """See `control.recording_store.RecordingStore.add`."""
        await self._run(recording_queries.add, recording)

    async def finish(self, recording: Recording) -> bool:
        """See `control.recording_store.RecordingStore.finish`."""
        return await self._run(recording_queries.finish, recording)

    async def get(self, recording_id: str) -> Recording | None:
        """See `control.recording_store.RecordingStore.get`."""
        if not is_stream_id(recording_id):
            return None
        return await self._run(recording_queries.get, recording_id)

    async def list_ready(
        self, *, stream_id: str | None = None, after: str | None = None, limit: int = 50
    ) -> list[Recording]:
        """See `control.recording_store.RecordingStore.list_ready`."""
        return await self._run(recording_queries.list_ready, stream_id, after, limit)

    async def list_unfinished(self) -> list[Recording]:
        """See `control.recording_store.RecordingStore.list_unfinished`."""
        return await self._run(recording_queries.list_unfinished)

    async def list_surplus(self, *, before_s: float | None, max_bytes: int) -> list[Recording]:
        """See `control.recording_store.RecordingStore.list_surplus`."""
        return await self._run(recording_queries.list_surplus, before_s, max_bytes)

    async def delete(self, recording_id: str) -> bool:
        """See `control.recording_store.RecordingStore.delete`."""
        return await self._run(recording_queries.delete, recording_id)

    async def list_gone(self) -> set[str]:
        """See `control.recording_store.RecordingStore.list_gone`."""
        return await self._run(recording_queries.list_gone)

    async def forget_gone(self, recording_ids: Collection[str]) -> None:
        """See `control.recording_store.RecordingStore.forget_gone`."""
        await self._run(recording_queries.forget_gone, recording_ids)
