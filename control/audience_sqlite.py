"""`AudienceStore` in the SQLite file of `control.sqlite`: a thin async shell over its queries."""

from collections.abc import Sequence

from control import audience_queries
from control.audience_model import BroadcastAudience, ViewerMinute
from control.chat_sqlite import RunQuery


class SqliteAudienceStore:
    """Part of a `SqliteStore`: its `audience`.

    Args:
        run: Runs a query when its turn comes.
    """

    def __init__(self, run: RunQuery) -> None:
        self._run = run

    async def put(
        self, minutes: Sequence[ViewerMinute], broadcasts: Sequence[BroadcastAudience]
    ) -> None:
        """See `control.audience_store.AudienceStore.put`."""
        await self._run(audience_queries.put, minutes, broadcasts)

    async def list_minutes(self, stream_id: str, *, since: float, limit: int) -> list[ViewerMinute]:
        """See `control.audience_store.AudienceStore.list_minutes`."""
        return await self._run(audience_queries.list_minutes, stream_id, since, limit)

    async def list_broadcasts(self, stream_id: str, *, limit: int) -> list[BroadcastAudience]:
        """See `control.audience_store.AudienceStore.list_broadcasts`."""
        return await self._run(audience_queries.list_broadcasts, stream_id, limit)

    async def prune(self, *, minutes_before: float, broadcasts_before: float) -> int:
        """See `control.audience_store.AudienceStore.prune`."""
        return await self._run(audience_queries.prune, minutes_before, broadcasts_before)
