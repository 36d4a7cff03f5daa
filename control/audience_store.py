"""The interface to what is kept about viewers.

All methods raise `StoreError` when the store itself fails. Cancellation as in `control.store`. A
stream that is deleted takes its rows along.
"""

from collections.abc import Sequence
from typing import Protocol

from control.audience_model import BroadcastAudience, ViewerMinute


class AudienceStore(Protocol):
    """The history of viewers."""

    async def put(
        self, minutes: Sequence[ViewerMinute], broadcasts: Sequence[BroadcastAudience]
    ) -> None:
        """Store rows, each in place of the one of the same minute or broadcast.

        All at once or none. Those of streams that are gone are passed over.
        """
        ...

    async def list_minutes(self, stream_id: str, *, since: float, limit: int) -> list[ViewerMinute]:
        """Return a stream's minutes from a time on, the newest `limit` of them, oldest first."""
        ...

    async def list_broadcasts(self, stream_id: str, *, limit: int) -> list[BroadcastAudience]:
        """Return a stream's broadcasts, newest first."""
        ...

    async def prune(self, *, minutes_before: float, broadcasts_before: float) -> int:
        """Forget what is older; how many rows that was.

        Args:
            minutes_before: Minutes that are older go.
            broadcasts_before: So do broadcasts that ended before it.
        """
        ...
