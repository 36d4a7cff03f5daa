"""The platform around the media, put together: what serves the API beside broadcasts.

Each part is made here, is run in the nursery of `Platform.run`, and brings its rows of the API.
`origin.app` makes one and knows nothing of the parts.

May import everything of ours.
"""

import time

import trio

from control import AdminToken, SqliteStore
from edge.api.keys import KeysApi
from edge.api.router import ApiRouter
from edge.api.streams import StreamsApi
from edge.backend import Backend
from edge.guesses import Guesses
from edge.relays import RelayBackend
from origin.access import KeyWatch, OriginAccess
from origin.broadcast import Broadcasts


class Platform:
    """The parts, and the order of their start.

    Args:
        store: The streams and everything else that is kept.
        broadcasts: Who is live.
        backend: Answers for streams.
        relays: Answers for their relays.
        admin_token: The token that may do everything.
        guesses: Counts wrong credentials by network, RTMP's too.
    """

    def __init__(
        self,
        *,
        store: SqliteStore,
        broadcasts: Broadcasts,
        backend: Backend,
        relays: RelayBackend,
        admin_token: AdminToken,
        guesses: Guesses,
    ) -> None:
        self._key_watch = KeyWatch(store=store, broadcasts=broadcasts, clock=time.time)
        access = OriginAccess(store=store, admin_token=admin_token, guesses=guesses)
        self.router = ApiRouter(
            access,
            [
                *StreamsApi(backend, relays).operations,
                *KeysApi(store.access, self._key_watch.settle).operations,
            ],
        )
        """The rows of the API that the parts bring."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the parts until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._key_watch.run)
            task_status.started()
