"""`HookStore` in the SQLite file of `control.sqlite`: a thin async shell over its queries."""

from collections.abc import Callable, Mapping, Sequence

from control import hook_queries
from control.chat_sqlite import RunQuery
from control.hook_model import Backlog, Batch, Delivery, DeliveryStatus, Hook, Written

MAX_NUMBER = 2**63 - 1
"""What SQLite can hold."""


class SqliteHookStore:
    """Part of a `SqliteStore`: its `hooks`.

    Args:
        run: Runs a query when its turn comes.
        clock: Gives UTC seconds since 1970.
    """

    def __init__(self, run: RunQuery, clock: Callable[[], float]) -> None:
        self._run = run
        self._clock = clock

    async def add(
        self,
        *,
        url: str,
        events: Sequence[str],
        stream_id: str | None,
        enabled: bool,
        description: str,
    ) -> Hook:
        """See `control.hook_store.HookStore.add`."""
        return await self._run(
            hook_queries.add, url, tuple(events), stream_id, enabled, description, self._clock()
        )

    async def list_all(self) -> list[Hook]:
        """See `control.hook_store.HookStore.list_all`."""
        return await self._run(hook_queries.list_all)

    async def change(self, hook: Hook) -> bool:
        """See `control.hook_store.HookStore.change`."""
        return await self._run(hook_queries.change, hook)

    async def delete(self, hook_id: str) -> bool:
        """See `control.hook_store.HookStore.delete`."""
        return await self._run(hook_queries.delete, hook_id)

    async def write(self, batch: Batch) -> Written:
        """See `control.hook_store.HookStore.write`."""
        return await self._run(hook_queries.write, batch)

    async def count_dropped(self, hook_id: str, count: int) -> None:
        """See `control.hook_store.HookStore.count_dropped`."""
        await self._run(hook_queries.count_dropped, hook_id, count)

    async def backlogs(self) -> list[Backlog]:
        """See `control.hook_store.HookStore.backlogs`."""
        return await self._run(hook_queries.backlogs)

    async def load(self, hook_id: str, stream_id: str, *, after: int, limit: int) -> list[Delivery]:
        """See `control.hook_store.HookStore.load`."""
        return await self._run(hook_queries.load, hook_id, stream_id, after, limit)

    async def list_some(
        self, hook_id: str, status: DeliveryStatus, *, after: int = 0, limit: int
    ) -> list[Delivery]:
        """See `control.hook_store.HookStore.list_some`."""
        return await self._run(hook_queries.list_some, hook_id, status, after, limit)

    async def count_dead(self) -> Mapping[str, int]:
        """See `control.hook_store.HookStore.count_dead`."""
        return await self._run(hook_queries.count_dead)

    async def revive(self, hook_id: str, number: int) -> Delivery | None:
        """See `control.hook_store.HookStore.revive`."""
        if not 0 < number <= MAX_NUMBER:
            return None
        return await self._run(hook_queries.revive, hook_id, number)

    async def forget_old(self, before_s: float) -> int:
        """See `control.hook_store.HookStore.forget_old`."""
        return await self._run(hook_queries.forget_old, before_s)
