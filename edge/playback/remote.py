"""The public keys of playback tokens at an edge: fetched from its upstream, and kept up to date.

They are asked for at the start, every `REFRESH_S`, and when a token names a key that is not known;
then not sooner than `MIN_PAUSE_S` after the last time, whoever sends what. While the upstream
cannot be asked, the keys that are there stay.

May import: trio, structlog, `edge.playback.tokens`.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import structlog
import trio

from edge.playback.tokens import KeySet, read_jwks

REFRESH_S: Final = 30.0

RETRY_S: Final = 1.0
"""After a failure, while no keys are there yet."""

MIN_PAUSE_S: Final = 5.0

WAIT_S: Final = 5.0
"""How long a request waits for keys."""

log = structlog.get_logger("playback")


class RemoteKeys:
    """Fetches keys.

    Args:
        fetch: Gets the key set as JSON, or None.
        take: Called with the keys each time that they came.
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[bytes | None]], take: Callable[[KeySet], object]
    ) -> None:
        self._fetch = fetch
        self._take = take
        self._wanted = trio.Event()
        self._came = trio.Event()
        self._asked_s = float("-inf")
        self.is_loaded = False
        """Whether they came at least once."""

    @property
    def may_be_newer(self) -> bool:
        """Whether it makes sense to wait for others."""
        return not self.is_loaded or trio.current_time() - self._asked_s >= MIN_PAUSE_S

    async def wait(self) -> None:
        """Have them fetched, and return when they have come, or after `WAIT_S`."""
        came = self._came
        self._wanted.set()
        with trio.move_on_after(WAIT_S):
            await came.wait()

    async def run(self) -> None:
        """Fetch until cancelled."""
        while True:
            self._wanted = trio.Event()
            await self._refresh()
            if not self.is_loaded:
                await trio.sleep(RETRY_S)
                continue
            with trio.move_on_after(REFRESH_S):
                await self._wanted.wait()
            await trio.sleep_until(self._asked_s + MIN_PAUSE_S)

    async def _refresh(self) -> None:
        self._asked_s = trio.current_time()
        data = await self._fetch()
        if data is None:
            return
        try:
            keys = read_jwks(data)
        except ValueError as error:
            log.warning("the upstream's playback keys cannot be read", reason=str(error))
            return
        self.is_loaded = True
        self._take(keys)
        came, self._came = self._came, trio.Event()
        came.set()
