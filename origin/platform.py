"""The platform around the media, put together: what serves the API beside broadcasts.

Each part is made here, is run in the nursery of `Platform.run`, and brings its rows of the API.
`origin.app` makes one and knows nothing of the parts.

May import everything of ours.
"""

from collections.abc import Sequence

import trio

from control import SqliteStore
from edge.api.operation import Operation
from edge.events import EventBus
from origin.broadcast import Broadcasts
from origin.config import Settings


class Platform:
    """The parts, and the order of their start.

    Args:
        settings: Checked settings.
        store: The streams and everything else that is kept.
        broadcasts: Who is live.
        events: Where what happens is told.
    """

    def __init__(
        self, settings: Settings, store: SqliteStore, broadcasts: Broadcasts, events: EventBus
    ) -> None:
        self._settings = settings
        self._store = store
        self._broadcasts = broadcasts
        self.events = events

    @property
    def operations(self) -> Sequence[Operation]:
        """The rows of the API that the parts bring."""
        return ()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the parts until cancelled."""
        async with trio.open_nursery():
            task_status.started()
            await trio.sleep_forever()
