"""The interface to what is kept of webhooks: who is told, and what was not told yet.

All methods raise `StoreError` when the store itself fails. Cancellation as in `control.store`.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from control.hook_model import Backlog, Batch, Delivery, DeliveryStatus, Hook, Written


class HookStore(Protocol):
    """Hooks and their deliveries."""

    async def add(
        self,
        *,
        url: str,
        events: Sequence[str],
        stream_id: str | None,
        enabled: bool,
        description: str,
    ) -> Hook:
        """Make a hook.

        Raises:
            TooManyError: There are `MAX_HOOKS`.
        """
        ...

    async def list_all(self) -> list[Hook]:
        """Return all hooks, oldest first."""
        ...

    async def change(self, hook: Hook) -> bool:
        """Write what is new of a hook: all but its id, age and `dropped`; False: it is gone."""
        ...

    async def delete(self, hook_id: str) -> bool:
        """Remove a hook and all its deliveries; False: there is none of that id."""
        ...

    async def write(self, batch: Batch) -> Written:
        """Write a batch: all of it, or nothing when it raises.

        Of each hook `MAX_PENDING` wait at most, and `MAX_DEAD` that were given up are kept.
        """
        ...

    async def count_dropped(self, hook_id: str, count: int) -> None:
        """Remember that so many events were lost before they were written."""
        ...

    async def backlogs(self) -> list[Backlog]:
        """Return what waits, by hook and stream."""
        ...

    async def load(self, hook_id: str, stream_id: str, *, after: int, limit: int) -> list[Delivery]:
        """Return the oldest that wait, of one hook and stream, behind a number, in order."""
        ...

    async def list_some(
        self, hook_id: str, status: DeliveryStatus, *, after: int = 0, limit: int
    ) -> list[Delivery]:
        """Return deliveries of a hook that were not made, behind a number, oldest first."""
        ...

    async def count_dead(self) -> Mapping[str, int]:
        """Return how many were given up, by hook; hooks with none are left out."""
        ...

    async def revive(self, hook_id: str, number: int) -> Delivery | None:
        """Let one that was given up wait again, under a new number; None: there is none."""
        ...

    async def forget_old(self, before_s: float) -> int:
        """Remove what was given up and happened before a time; returns how many."""
        ...
