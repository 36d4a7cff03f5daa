"""The interface of the chat's storage: what `edge.chat` may ask, whatever keeps the answers.

It keeps and gives back; it decides nothing. Who may write what is `edge.chat`'s business, and so
is the shape of what is written: texts are stored as they come.

All methods raise `StoreError` when the store itself fails, and `ValueError` for a text that is no
valid Unicode (a lone surrogate). A stream that is gone has nothing: reading gives nothing, and
what is written of it is dropped, since whoever deleted it wanted its chat gone too. Only
`load_room`, with which a room begins, says `UnknownStreamError`.

What a method has written is on the disk when it returns. Cancellation: a call that is cancelled
before it begins changes nothing; one that has begun completes, and its effect is whole, but for
`delete_messages` of a user and `sweep`, which go in steps.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from control.chat_model import AuditEntry, ChatMessage, RoomSettings, Sanction, StoredRoom

MAX_PAGE: Final = 1000
"""Most messages or audit entries that one call gives, whatever its limit says."""

MAX_MESSAGES: Final = 1_000_000
"""Messages kept of a stream, deleted ones among them; the oldest make room."""

MAX_SANCTIONS: Final = 10_000
"""Bans and timeouts of a stream. The timeout that ends first makes room, then the oldest ban."""

MAX_MODERATORS: Final = 1000
"""Moderators of a stream; whoever was made one longest ago makes room."""

MAX_AUDIT: Final = 100_000
"""Audit entries of a stream; the oldest make room."""

MAX_SWEPT: Final = 200_000
"""Rows that one `sweep` removes."""


class ChatStore(Protocol):
    """The rooms of all streams. Times are UTC milliseconds since 1970."""

    async def load_room(self, stream_id: str, *, history: int, now_ms: int) -> StoredRoom:
        """Return all that a room begins with; of a room that was never used, defaults.

        Args:
            stream_id: The stream.
            history: How many of the newest messages come along, at most `MAX_PAGE`.
            now_ms: Timeouts that end at or before it are forgotten for good.

        Raises:
            UnknownStreamError: No such stream.
        """
        ...

    async def add_messages(self, messages: Sequence[ChatMessage]) -> None:
        """Store messages, of one stream or several, in one transaction.

        One whose stream has its id already is left as it was, so a batch may be tried again.

        Args:
            messages: As many as came meanwhile; the caller's queue is what bounds them.
        """
        ...

    async def messages(
        self,
        stream_id: str,
        *,
        limit: int,
        before: str | None = None,
        after: str | None = None,
    ) -> list[ChatMessage]:
        """Return the newest messages that were not deleted, oldest first.

        Args:
            stream_id: The stream.
            limit: How many, at most `MAX_PAGE`.
            before: Only those with a lower id.
            after: Only those with a higher id.
        """
        ...

    async def replay(
        self, stream_id: str, *, since_ms: int, until_ms: int, limit: int
    ) -> list[ChatMessage]:
        """Return what was said while a recording was made, in time order, without what was deleted.

        Once everything was deleted, it begins at the first message after that, in time too: what
        a clock that was set back puts before it is left out.

        Args:
            stream_id: The stream.
            since_ms: The first millisecond that belongs to it.
            until_ms: The first that does not.
            limit: How many, the earliest, at most `MAX_PAGE`.
        """
        ...

    async def delete_messages(
        self,
        stream_id: str,
        *,
        ids: Sequence[str] | None = None,
        user_id: str | None = None,
        everything: bool = False,
    ) -> int:
        """Mark messages deleted: nobody is given them again, and `sweep` removes them in time.

        Args:
            stream_id: The stream.
            ids: These; unknown ones are passed over.
            user_id: All of this user's, the newest first.
            everything: All that there are by now; one mark, however many they are.

        Returns:
            How many messages were marked one by one: none with `everything`.

        Raises:
            ValueError: Not exactly one of the three was given.

        Cancellation: a user's go in steps; those before the cancellation stay marked.
        """
        ...

    async def save_settings(self, stream_id: str, settings: RoomSettings) -> None:
        """Replace a room's settings."""
        ...

    async def save_pin(self, stream_id: str, message: ChatMessage | None) -> None:
        """Keep a copy of the message that is pinned, however old it gets; None: there is none."""
        ...

    async def put_sanction(self, stream_id: str, sanction: Sanction) -> None:
        """Store a ban or timeout in place of the one that this user has, if any."""
        ...

    async def drop_sanction(self, stream_id: str, user_id: str) -> None:
        """Forget a user's ban or timeout."""
        ...

    async def set_moderator(
        self, stream_id: str, user_id: str, username: str, is_moderator: bool
    ) -> None:
        """Make somebody a moderator, or one no more."""
        ...

    async def add_audit(self, stream_id: str, entry: AuditEntry) -> None:
        """Write down what a moderator did."""
        ...

    async def audit(
        self, stream_id: str, *, limit: int, before: int | None = None
    ) -> list[tuple[int, AuditEntry]]:
        """Return what moderators did, newest first, each with its number in the stream.

        Args:
            stream_id: The stream.
            limit: How many, at most `MAX_PAGE`.
            before: Only those with a lower number.
        """
        ...

    async def sweep(self, now_ms: int, *, keep_ms: int, audit_keep_ms: int) -> int:
        """Remove what is too old, deleted or not.

        Others get their turn between its steps, and a call has an end: see Returns.

        Args:
            now_ms: The present.
            keep_ms: How long messages are kept.
            audit_keep_ms: How long audit entries are kept.

        Returns:
            How many rows are gone. `MAX_SWEPT` means that there may be more: call again.

        Cancellation: between two steps; what is gone stays gone.
        """
        ...
