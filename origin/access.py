"""Credentials of an origin: whose one is, and what becomes of a publisher whose key ends.

`OriginAccess` answers the router's question. `KeyWatch` hangs up: at once when a key is ended by
API, within `LOOK_S` when it expires; the broadcast then waits for its next publisher as after any
lost one.

Cost of a credential: one SHA-256, and for what has the shape of a key or a token one indexed
look-up; anything else costs no look-up, and too many wrong ones from one network none either.

May import control, edge and origin's own.
"""

from collections.abc import Callable, Iterator
from typing import Final

import structlog
import trio

from control import AdminToken, SqliteStore, StoreError, StreamKey, is_admin_token, is_stream_key
from edge.api.operation import ALL_SCOPES, Principal
from edge.errors import Unavailable
from edge.events import PlatformEvent
from edge.guesses import Guesses
from edge.http.messages import HttpError
from origin.broadcast import Broadcasts
from origin.feed import Feed

LOOK_S: Final = 1.0
"""Between two looks for keys that have expired."""

ENDED: Final = "the stream key has been ended"

log = structlog.get_logger("access")


class OriginAccess:
    """Implements `edge.api.operation.Access`.

    Args:
        store: The streams, keys and tokens.
        admin_token: The token that may do everything.
        guesses: Counts what opens nothing.
        is_live: Whether a stream is live.
        clock: Seconds, for the guesses.
    """

    def __init__(
        self,
        *,
        store: SqliteStore,
        admin_token: AdminToken,
        guesses: Guesses,
        is_live: Callable[[str], bool],
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._store = store
        self._admin_token = admin_token
        self._guesses = guesses
        self._is_live = is_live
        self._clock = clock

    async def identify(
        self, credential: str, *, stream_id: str | None, client: str
    ) -> Principal | None:
        """See `edge.api.operation.Access.identify`."""
        if not self._guesses.may_try(client, self._clock()):
            raise HttpError(429, "too many wrong credentials from your address", Retry_After="5")
        found = await self._find(credential, stream_id)
        if found is None:
            self._guesses.note_wrong(client, self._clock())
            log.info("wrong credential", address=client, stream=stream_id)
        return found

    async def knows_stream(self, stream_id: str) -> bool:
        """See `edge.api.operation.Access.knows_stream`. Of a live stream nobody needs be asked."""
        if self._is_live(stream_id):
            return True
        try:
            return await self._store.get_stream(stream_id) is not None
        except StoreError as error:
            raise _unavailable(error) from None

    async def _find(self, credential: str, stream_id: str | None) -> Principal | None:
        if self._admin_token.matches(credential):
            return Principal("admin", scopes=ALL_SCOPES)
        try:
            if is_stream_key(credential):
                key = await self._store.access.find_key(credential)
                if key is None or stream_id is None or key.stream_id != stream_id:
                    return None
                return Principal(f"key {key.id}", stream_id=stream_id)
            if is_admin_token(credential):
                token = await self._store.access.find_token(credential)
                if token is not None:
                    return Principal(f"token {token.id}", scopes=frozenset(token.scopes))
        except StoreError as error:
            raise _unavailable(error) from None
        return None


class KeyWatch:
    """Hangs up on publishers whose key is no more.

    Args:
        store: Knows the keys.
        broadcasts: Knows who publishes.
        clock: Gives UTC seconds since 1970.
    """

    def __init__(
        self, *, store: SqliteStore, broadcasts: Broadcasts, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._broadcasts = broadcasts
        self._clock = clock

    async def settle(self, stream_id: str) -> None:
        """A stream's keys have changed: look at who publishes with one. Raises `Unavailable`.

        That may be into another stream, if the publish webhook has said so.
        """
        try:
            keys = {key.id: key for key in await self._store.access.list_keys(stream_id)}
        except StoreError as error:
            raise _unavailable(error) from None
        for feed in self._feeds():
            if feed.key is not None and feed.key.stream_id == stream_id:
                feed.key = keys.get(feed.key.id)  # a grace may have begun for it
                if feed.key is None:
                    feed.revoke(ENDED)

    def on_event(self, event: PlatformEvent) -> None:
        """Hang up on whoever publishes with a key of a stream that was removed."""
        if event.type != "stream.deleted":
            return
        for feed in self._feeds():
            if feed.key is not None and feed.key.stream_id == event.stream_id:
                feed.key = None
                feed.revoke(ENDED)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look for keys that have expired, until cancelled."""
        task_status.started()
        while True:
            await trio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Hang up on whoever publishes with a key that has expired."""
        now_s = self._clock()
        for feed in self._feeds():
            if _is_over(feed.key, now_s):
                feed.key = None
                feed.revoke("the stream key has expired")

    def _feeds(self) -> Iterator[Feed]:
        """Who publishes now."""
        for stream_id in self._broadcasts.live_stream_ids():
            broadcast = self._broadcasts.live(stream_id)
            if broadcast is not None and broadcast.feed is not None:
                yield broadcast.feed


def _is_over(key: StreamKey | None, now_s: float) -> bool:
    return key is not None and key.expires_at is not None and key.expires_at <= now_s


def _unavailable(error: StoreError) -> Unavailable:
    log.error("cannot look up a credential", reason=str(error))
    return Unavailable()
