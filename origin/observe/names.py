"""Which live streams have series of their own in Prometheus: so many, and first come, first served.

A label with a value for each stream makes as many series as there are streams, and those of last
month stay in the database that scrapes us. So a bounded number has a name there; what is said of
the others goes under `OTHER` where a sum means something, and unsaid where none does. A stream
keeps its name until its broadcast ends, so that its counters never leap; then the one that waits
longest gets one.

Pure. Bounds: the setting; the live streams that wait.
"""

from typing import Final

from edge.events import PlatformEvent

OTHER: Final = "other"
"""The label of all streams that have no name of their own."""


class NamedStreams:
    """The live streams, and which of them are named.

    Args:
        most: Named at one time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._named: dict[str, None] = {}
        self._waiting: dict[str, None] = {}  # sets that keep their order

    def __contains__(self, stream_id: str) -> bool:
        """Whether a stream has a name of its own."""
        return stream_id in self._named

    @property
    def unnamed(self) -> int:
        """How many live streams have none."""
        return len(self._waiting)

    def label(self, stream_id: str) -> str:
        """What a stream is called."""
        return stream_id if stream_id in self._named else OTHER

    def on_event(self, event: PlatformEvent) -> None:
        """Follow the broadcasts; a listener of an `EventBus`."""
        if event.type == "stream.live":
            self._begin(event.stream_id)
        elif event.type == "stream.ended":
            self._end(event.stream_id)

    def _begin(self, stream_id: str) -> None:
        if stream_id not in self._named and stream_id not in self._waiting:
            has_room = len(self._named) < self._most
            (self._named if has_room else self._waiting)[stream_id] = None

    def _end(self, stream_id: str) -> None:
        self._waiting.pop(stream_id, None)
        self._named.pop(stream_id, None)
        if self._waiting and len(self._named) < self._most:
            next_one = next(iter(self._waiting))
            del self._waiting[next_one]
            self._named[next_one] = None
