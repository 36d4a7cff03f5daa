"""The interface to what is kept about recordings; their media is elsewhere.

All methods raise `StoreError` when the store itself fails. Cancellation as in `control.store`. A
stream that is deleted takes its recordings along.
"""

from collections.abc import Collection
from typing import Protocol

from control.recording_model import Recording


class RecordingStore(Protocol):
    """The index of recordings."""

    async def add(self, recording: Recording) -> None:
        """Store a recording that begins; one of its id is left as it is, so it may be tried again.

        Raises:
            UnknownStreamError: No such stream.
        """
        ...

    async def finish(self, recording: Recording) -> bool:
        """Store how a recording ended; False if it is gone."""
        ...

    async def get(self, recording_id: str) -> Recording | None:
        """Return the recording of that id, or None."""
        ...

    async def list_ready(
        self, *, stream_id: str | None = None, after: str | None = None, limit: int = 50
    ) -> list[Recording]:
        """Return recordings that can be watched, newest first.

        Args:
            stream_id: Only this stream's.
            after: Only those behind the recording of this id; behind one that is gone there are
                none.
            limit: At most so many.
        """
        ...

    async def list_unfinished(self) -> list[Recording]:
        """Return those that go on, as far as the store knows."""
        ...

    async def list_surplus(self, *, before_s: float | None, max_bytes: int) -> list[Recording]:
        """Return finished recordings that are to go, oldest first, a hundred at most.

        Args:
            before_s: All that ended before it; None: age does not count.
            max_bytes: The oldest ones, until the others have no more than this; 0: any size.
        """
        ...

    async def delete(self, recording_id: str) -> bool:
        """Forget a recording; False if there is none of that id."""
        ...

    async def list_gone(self) -> set[str]:
        """Return ids of recordings that were deleted and whose media may still be there, a hundred
        at most. So whoever removes media removes nothing that the store merely does not know."""
        ...

    async def forget_gone(self, recording_ids: Collection[str]) -> None:
        """Their media is gone, too."""
        ...
