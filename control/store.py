"""The interface of the store: what the rest of the project may ask, whatever keeps the answers.

All methods raise `StoreError` when the store itself fails. A peer's malformed id or key is simply
not found.

Cancellation: a call that is cancelled before it begins changes nothing; one that has begun
completes, and its effect is whole. There is no state between.
"""

from typing import Protocol

from control.model import Relays, Stream, StreamStatus


class Store(Protocol):
    """Streams and their keys."""

    async def create_stream(
        self,
        *,
        broadcaster_id: str,
        title: str,
        chat_enabled: bool = True,
        recording_enabled: bool = False,
    ) -> tuple[Stream, str]:
        """Make a stream, idle, with a fresh id and key.

        Returns:
            The stream and its key in clear. Only here and in `rotate_key` is a key ever seen.

        Raises:
            ValueError: A text that is no valid Unicode (a lone surrogate).
        """
        ...

    async def get_stream(self, stream_id: str) -> Stream | None:
        """Return the stream of that id, or None."""
        ...

    async def list_streams(
        self,
        *,
        status: StreamStatus | None = None,
        broadcaster_id: str | None = None,
        after: str | None = None,
        limit: int = 1000,
    ) -> list[Stream]:
        """Return streams, newest first.

        Args:
            status: Only those in this state.
            broadcaster_id: Only this broadcaster's.
            after: Only those behind the stream of this id; behind one that is gone there are none.
            limit: At most so many.
        """
        ...

    async def find_by_key(self, stream_key: str) -> Stream | None:
        """Return the stream that this key opens now, or None."""
        ...

    async def verify_key(self, stream_id: str, stream_key: str) -> bool:
        """Tell whether the key opens this very stream; False for an unknown stream."""
        ...

    async def set_status(self, stream_id: str, status: StreamStatus, at: float) -> Stream:
        """Record a step of the life cycle; which steps are legal is the caller's business.

        Args:
            stream_id: The stream.
            status: LIVE sets ``started_at`` to `at` and clears ``ended_at``; ENDED sets
                ``ended_at``; IDLE touches no time.
            at: UTC seconds since 1970.

        Raises:
            UnknownStreamError: No such stream.
        """
        ...

    async def update_stream(
        self,
        stream_id: str,
        *,
        title: str | None = None,
        chat_enabled: bool | None = None,
        recording_enabled: bool | None = None,
    ) -> Stream:
        """Change settings; None leaves one as it is.

        Raises:
            UnknownStreamError: No such stream.
            ValueError: A text that is no valid Unicode (a lone surrogate).
        """
        ...

    async def delete_stream(self, stream_id: str) -> None:
        """Remove the stream and its keys for good.

        Raises:
            UnknownStreamError: No such stream.
        """
        ...

    async def rotate_key(self, stream_id: str) -> tuple[Stream, str]:
        """Give the stream a new key; all others open nothing from now on.

        Returns:
            The stream and its new key in clear.

        Raises:
            UnknownStreamError: No such stream.
        """
        ...

    async def get_relays(self, stream_id: str) -> Relays:
        """Return where a stream is sent to and fetched from; of an unknown one, nowhere."""
        ...

    async def set_relays(self, stream_id: str, relays: Relays) -> None:
        """Replace where a stream is sent to and fetched from.

        Args:
            stream_id: The stream.
            relays: All of it. Whether the URLs are good, and how many, is the caller's business.

        Raises:
            UnknownStreamError: No such stream.
            ValueError: A text that is no valid Unicode (a lone surrogate).
        """
        ...

    async def list_pulls(self) -> dict[str, str]:
        """Return the URLs of all streams that are fetched from somewhere, by stream id."""
        ...
