"""Who may watch which stream, and which edges may fetch what not everybody may: known at once.

A request for media cannot wait for a look into the store. So what is asked of it stands in memory:
the streams that are not public, and the hashes of tokens with the scope ``edge``. It is read at the
start and every `REFRESH_S`, so that a token that has ended opens nothing a moment later.

Until it has been read the first time, no stream is public.

Bounds: what the store bounds (`control.access_model.MAX_TOKENS`), and streams. May import:
`control`, `edge.errors`, trio, structlog.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog
import trio

from control.access_model import PUBLIC, Playback
from control.access_store import AccessStore
from control.admin_token import AdminToken
from control.errors import StoreError
from control.keys import hash_key, is_admin_token
from edge.errors import Unavailable

REFRESH_S: Final = 2.0
"""Between two looks into the store."""

_UNKNOWN: Final = Playback(policy="token")

log = structlog.get_logger("playback")


class Policies:
    """What is known of all streams.

    Args:
        store: Keeps it.
        admin_token: May do all that an edge's may.
        on_change: Called with a stream's id when whether it needs a token has changed; must not
            block.
        clock: Gives UTC seconds since 1970.
    """

    def __init__(
        self,
        store: AccessStore,
        admin_token: AdminToken,
        on_change: Callable[[str], object],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._admin_token = admin_token
        self._on_change = on_change
        self._clock = clock
        self._playback: Mapping[str, Playback] | None = None
        self._edges: Mapping[bytes, float | None] = {}
        self._asking = trio.Lock()  # or a look that began before a change would undo it here
        self._is_failing = False

    def of(self, stream_id: str) -> Playback:
        """Who may watch a stream, of any id."""
        if self._playback is None:
            return _UNKNOWN
        return self._playback.get(stream_id, PUBLIC)

    def is_edge(self, credential: str | None) -> bool:
        """Whether it is a token that speaks for an edge.

        Cost: one SHA-256, for what has the shape of a token.
        """
        if credential is None:
            return False
        if self._admin_token.matches(credential):
            return True
        # A look-up by hash: its time tells nothing about a secret that is not known already.
        found = is_admin_token(credential) and self._edges.get(hash_key(credential), 0.0)
        return found is None or found > self._clock()

    async def set(self, stream_id: str, playback: Playback) -> None:
        """Say who may watch a stream from now on; holds here at once.

        Raises:
            Unavailable: It cannot be stored now, and nothing has changed.
            UnknownStreamError: There is no such stream.
        """
        async with self._asking:
            try:
                await self._store.set_playback(stream_id, playback)
            except StoreError as error:
                log.error("cannot store who may watch", stream=stream_id, reason=str(error))
                raise Unavailable from None
            known = {**(self._playback or {}), stream_id: playback}
            if self._playback is not None:
                self._take(known)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look into the store until cancelled; started after the first look."""
        await self.refresh()
        task_status.started()
        while True:
            await trio.sleep(REFRESH_S)
            await self.refresh()

    async def refresh(self) -> None:
        """Look into the store; if it fails, what is known stands."""
        async with self._asking:
            try:
                playback = await self._store.list_playback()
                self._edges = await self._store.token_hashes("edge")
            except StoreError as error:
                if not self._is_failing:  # said once
                    log.error("cannot read who may watch", reason=str(error))
                self._is_failing = True
                return
            self._is_failing = False
            self._take(playback)

    def _take(self, playback: Mapping[str, Playback]) -> None:
        last, self._playback = (
            self._playback,
            {stream_id: one for stream_id, one in playback.items() if one.policy != "public"},
        )
        if last is not None:
            for stream_id in set(last) ^ set(self._playback):
                self._on_change(stream_id)
