"""`AccessStore` in the SQLite file of `control.sqlite`: a thin async shell over its queries."""

from collections.abc import Callable, Mapping, Sequence

from control import access_queries
from control.access_model import Playback, StreamKey, TokenRecord
from control.chat_sqlite import RunQuery
from control.errors import UnknownStreamError
from control.keys import is_admin_token, is_stream_id, is_stream_key


class SqliteAccessStore:
    """Part of a `SqliteStore`: its `access`.

    Args:
        run: Runs a query when its turn comes.
        clock: Gives UTC seconds since 1970.
    """

    def __init__(self, run: RunQuery, clock: Callable[[], float]) -> None:
        self._run = run
        self._clock = clock

    async def list_keys(self, stream_id: str) -> list[StreamKey]:
        """See `control.access_store.AccessStore.list_keys`."""
        return await self._run(access_queries.list_keys, stream_id, self._clock())

    async def add_key(
        self, stream_id: str, *, label: str, lasts_s: float | None = None
    ) -> tuple[StreamKey, str]:
        """See `control.access_store.AccessStore.add_key`."""
        _require_id(stream_id)
        return await self._run(access_queries.add_key, stream_id, label, self._clock(), lasts_s)

    async def end_key(self, stream_id: str, key_id: str) -> bool:
        """See `control.access_store.AccessStore.end_key`."""
        return await self._run(access_queries.end_key, stream_id, key_id, self._clock())

    async def rotate(self, stream_id: str, *, label: str, grace_s: float) -> tuple[StreamKey, str]:
        """See `control.access_store.AccessStore.rotate`."""
        _require_id(stream_id)
        return await self._run(access_queries.rotate, stream_id, label, self._clock(), grace_s)

    async def find_key(self, stream_key: str) -> StreamKey | None:
        """See `control.access_store.AccessStore.find_key`."""
        if not is_stream_key(stream_key):
            return None
        return await self._run(access_queries.find_key, stream_key, self._clock())

    async def list_tokens(self) -> list[TokenRecord]:
        """See `control.access_store.AccessStore.list_tokens`."""
        return await self._run(access_queries.list_tokens, self._clock())

    async def add_token(
        self, *, name: str, scopes: Sequence[str], lasts_s: float | None = None
    ) -> tuple[TokenRecord, str]:
        """See `control.access_store.AccessStore.add_token`."""
        return await self._run(
            access_queries.add_token, name, tuple(scopes), self._clock(), lasts_s
        )

    async def end_token(self, token_id: str) -> bool:
        """See `control.access_store.AccessStore.end_token`."""
        return await self._run(access_queries.end_token, token_id, self._clock())

    async def find_token(self, token: str) -> TokenRecord | None:
        """See `control.access_store.AccessStore.find_token`."""
        if not is_admin_token(token):
            return None
        return await self._run(access_queries.find_token, token, self._clock())

    async def token_hashes(self, scope: str) -> Mapping[bytes, float | None]:
        """See `control.access_store.AccessStore.token_hashes`."""
        return await self._run(access_queries.token_hashes, scope, self._clock())

    async def list_playback(self) -> Mapping[str, Playback]:
        """See `control.access_store.AccessStore.list_playback`."""
        return await self._run(access_queries.list_playback)

    async def set_playback(self, stream_id: str, playback: Playback) -> None:
        """See `control.access_store.AccessStore.set_playback`."""
        _require_id(stream_id)
        await self._run(access_queries.set_playback, stream_id, playback)


def _require_id(stream_id: str) -> None:
    if not is_stream_id(stream_id):
        raise UnknownStreamError(stream_id)
