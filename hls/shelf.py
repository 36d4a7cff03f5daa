"""What can be fetched of one rendition: names and their bytes, and when they go.

The timeline says what is listed; this holds what has a name. Both are not the same: a part stays
for three target durations after its tag has gone, a segment for its availability duration after it
has left the playlist, an init section for as long as a segment that is here needs it.

Times are on the timeline's media clock, nanoseconds. May import `hls`. Spec:
draft-pantos-hls-rfc8216bis-22, section 6.2.2.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from hls.media import InitSegment
from hls.segment import Segment


@dataclass(frozen=True, slots=True)
class Media:
    """One downloadable resource: an init section, a segment or a part. Immutable for ever."""

    name: str
    """Its URI relative to the media playlist; never used again, as the token is per broadcast."""

    chunks: tuple[bytes, ...]
    """Its body in order; the bytes objects are shared between a segment and its parts."""

    size_bytes: int
    """Sum of the lengths of its chunks."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What the newest version did to the set of downloadable names; for a publish step."""

    added: tuple[str, ...] = ()
    """Names that `Timeline.media` now answers and did not before, oldest first."""

    removed: tuple[str, ...] = ()
    """Names that `Timeline.media` no longer answers."""


class Shelf:
    """The names of one rendition. `changes` tells what came and went since it was last asked."""

    def __init__(self) -> None:
        self.inits: deque[InitSegment] = deque()
        """Those that held segments use, and the newest; oldest first."""
        self._media: dict[str, Media] = {}
        self._init_names: dict[int, str] = {}
        self._users: Counter[int] = Counter()  # held segments, by the index of their init section
        self._bytes = 0  # of parts and init sections; segments share theirs
        self._part_grace: deque[Segment] = deque()  # parts unlisted, still here
        self._segment_grace: deque[Segment] = deque()  # removed, still here
        self._added: list[str] = []
        self._removed: list[str] = []

    @property
    def held_bytes(self) -> int:
        """Media bytes kept alive, each counted once however many names lead to it."""
        return self._bytes

    def media(self, name: str) -> Media | None:
        """Look a name up."""
        return self._media.get(name)

    def names(self) -> Iterable[str]:
        """Every name, in no order that matters."""
        return self._media.keys()

    def changes(self) -> Changes:
        """What came and went since the last call.

        A long batch may bring a name and take it away again: then nobody ever saw it.
        """
        added, removed = self._added, self._removed
        self._added, self._removed = [], []
        came = set(added)
        return Changes(
            tuple([name for name in added if name in self._media]),
            tuple([name for name in removed if name not in came]),
        )

    def add_init(self, name: str, init: InitSegment) -> None:
        """Take an init section; the one before goes when nothing here needs it."""
        self.inits.append(init)
        self._init_names[init.index] = name
        self._bytes += len(init.data)
        self._put(name, (init.data,), len(init.data))

    def open_segment(self, segment: Segment) -> None:
        """A segment has begun: its init section is needed."""
        self._users[segment.init_index] += 1

    def add_part(self, name: str, data: bytes) -> None:
        """Take a part of the open segment."""
        self._bytes += len(data)
        self._put(name, (data,), len(data))

    def add_segment(self, segment: Segment) -> None:
        """Take a segment that is complete; its bytes are those of its parts."""
        self._put(segment.name, tuple(segment.chunks), segment.size_bytes)

    def unlist_parts(self, segment: Segment) -> None:
        """Let a segment's parts go at its `parts_until_ns`."""
        self._part_grace.append(segment)

    def remove(self, segment: Segment) -> None:
        """Let a segment go at its `until_ns`, which is not before its `parts_until_ns`."""
        self._segment_grace.append(segment)

    def forget(self, clock_ns: int) -> None:
        """Let go of what nobody has a right to ask for any more.

        Both queues are first in, first out. Where a long segment is followed by a short one, the
        short one's deadline is the earlier; it waits, which errs to the longer side by less than a
        segment.
        """
        while self._part_grace and self._part_grace[0].parts_until_ns <= clock_ns:
            for name in self._part_grace.popleft().part_names:
                self._drop(name)
        while self._segment_grace and self._segment_grace[0].until_ns <= clock_ns:
            segment = self._segment_grace.popleft()
            self._users[segment.init_index] -= 1
            self._bytes -= segment.size_bytes
            if not segment.gap:
                self._drop(segment.name)
        if len(self.inits) > 1:
            newest = self.inits[-1]
            for init in [init for init in self.inits if not self._users[init.index]]:
                if init is not newest:
                    self.inits.remove(init)
                    self._bytes -= len(init.data)
                    self._drop(self._init_names.pop(init.index))
                    del self._users[init.index]

    def _put(self, name: str, chunks: tuple[bytes, ...], size_bytes: int) -> None:
        self._media[name] = Media(name, chunks, size_bytes)
        self._added.append(name)

    def _drop(self, name: str) -> None:
        del self._media[name]
        self._removed.append(name)
