"""The interface to what is kept of credentials. Secrets leave it once, when they are made.

All methods raise `StoreError` when the store itself fails. Cancellation as in `control.store`.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from control.access_model import Playback, StreamKey, TokenRecord


class AccessStore(Protocol):
    """Stream keys, admin tokens, and who may watch."""

    async def list_keys(self, stream_id: str) -> list[StreamKey]:
        """Return the keys that open a stream now, oldest first."""
        ...

    async def add_key(
        self, stream_id: str, *, label: str, lasts_s: float | None = None
    ) -> tuple[StreamKey, str]:
        """Make another key for a stream.

        Returns:
            What is known of it, and the key in clear.

        Raises:
            UnknownStreamError: No such stream.
            TooManyError: It has `MAX_KEYS`.
        """
        ...

    async def end_key(self, stream_id: str, key_id: str) -> bool:
        """End a key at once; False if the stream has no such key."""
        ...

    async def rotate(self, stream_id: str, *, label: str, grace_s: float) -> tuple[StreamKey, str]:
        """Make a new key, and let all others end: at once, or after a grace.

        A key that would have ended sooner still does. Returns and raises as `add_key`, but that
        there is always room.
        """
        ...

    async def find_key(self, stream_key: str) -> StreamKey | None:
        """Return what is known of a key that opens something now."""
        ...

    async def list_tokens(self) -> list[TokenRecord]:
        """Return the admin tokens that are worth something now, oldest first."""
        ...

    async def add_token(
        self, *, name: str, scopes: Sequence[str], lasts_s: float | None = None
    ) -> tuple[TokenRecord, str]:
        """Make an admin token.

        Returns:
            What is known of it, and the token in clear.

        Raises:
            TooManyError: There are `MAX_TOKENS`.
        """
        ...

    async def end_token(self, token_id: str) -> bool:
        """End an admin token at once; False if there is none of that id."""
        ...

    async def find_token(self, token: str) -> TokenRecord | None:
        """Return what is known of an admin token that is worth something now."""
        ...

    async def token_hashes(self, scope: str) -> Mapping[bytes, float | None]:
        """Return the hashes (`control.keys.hash_key`) of the admin tokens with a scope that are
        worth something now, and when each expires; for who must tell without a look-up."""
        ...

    async def list_playback(self) -> Mapping[str, Playback]:
        """Return who may watch, by stream id, of every stream that is not public."""
        ...

    async def set_playback(self, stream_id: str, playback: Playback) -> None:
        """Say who may watch a stream from now on.

        Raises:
            UnknownStreamError: No such stream.
        """
        ...
