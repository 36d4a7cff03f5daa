"""How often bare players ask: what can be known of those that do not say who they are.

All players of one kind in one network are one *bucket* (`edge.audience.names`). How many they are
is told by how often they ask for playlists: one that blocks comes once for each part, any other
once for each target duration. A process that serves them knows how often they come; how many that
makes, the origin says (`edge.audience.bare`), who knows how long parts are.

Requests come in *notes*, one connection's of the last five seconds at once (`edge.http.messages`),
and players that began together give their notes together. So a note counts for what came before it:
the rate is a sum over notes, each weighted by a triangle over its age, at its highest where it is
five seconds old and zero at ten. Triangles of the width of their distance add up to one: the sum is
the same wherever in their rhythm one looks. That is the price: a player counts fully after ten
seconds, and is gone ten seconds after its last request.

Sans-IO; time is an argument. Bounds: `MAX_BUCKETS`, who was heard of longest ago goes first;
`MAX_KINDS`; a bucket holds a note for each half second of twelve. Imports nothing of ours.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

MAX_BUCKETS: Final = 16_384
"""In a process, of all streams: some 30 MB. `Cadences.rates` costs some 10 us for each."""

MAX_KINDS: Final = 64
"""Of players in one network, of one stream; all that are more are one. A User-Agent is a text of
the client's own, and must not make others lose their place."""

BLOCKING_SPREAD_S: Final = 5.0
"""From one note of a player that blocks to the next."""

PLAIN_SPREAD_S: Final = 6.0
"""The same of one that does not: the first request after five seconds brings it."""

BLOCKING_HOLD_S: Final = 12.0
PLAIN_HOLD_S: Final = 20.0
"""After its last note a bucket is gone. Playlists of long segments are asked for rarely."""

_MERGE_S: Final = 0.5  # notes of one bucket that are so near to each other are one


@dataclass(slots=True)
class BareRate:
    """How often the players of one bucket ask, in one process."""

    stream_id: str
    key: str
    network: str
    blocking_per_s: float
    """Requests for a version of a media playlist that may not exist yet."""
    plain_per_s: float
    """For the present one."""


@dataclass(slots=True)
class _Note:
    at_s: float
    blocking: int
    plain: int


@dataclass(slots=True)
class _Bucket:
    network: str
    notes: deque[_Note] = field(default_factory=deque)
    gone_s: float = 0.0
    """When nobody counts any more, if nothing comes."""


class Cadences:
    """The buckets that one process hears of."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self._kinds: Counter[tuple[str, str]] = Counter()  # buckets by stream and network

    def __len__(self) -> int:
        return len(self._buckets)

    def note(
        self,
        stream_id: str,
        key: str,
        network: str,
        *,
        blocking: int,
        plain: int,
        now_s: float,
    ) -> None:
        """Hear of some requests.

        Args:
            stream_id: What they are for.
            key: Of the bucket.
            network: Name of the network that it is in.
            blocking: Requests that name a version.
            plain: The others.
            now_s: The time.
        """
        found = stream_id, key
        if found not in self._buckets and self._kinds[stream_id, network] >= MAX_KINDS:
            found = stream_id, network  # a name as good as any
        bucket = self._buckets.get(found)
        if bucket is None:
            bucket = self._buckets[found] = _Bucket(network)
            self._kinds[stream_id, network] += 1
            if len(self._buckets) > MAX_BUCKETS:
                self._drop(next(iter(self._buckets)))
        else:
            self._buckets.move_to_end(found)
        hold_s = BLOCKING_HOLD_S if blocking else PLAIN_HOLD_S
        bucket.gone_s = max(bucket.gone_s, now_s + hold_s)
        if bucket.notes and now_s - bucket.notes[-1].at_s < _MERGE_S:
            bucket.notes[-1].blocking += blocking
            bucket.notes[-1].plain += plain
        else:
            _forget_old(bucket, now_s)
            bucket.notes.append(_Note(now_s, blocking, plain))

    def rates(self, now_s: float) -> Iterator[BareRate]:
        """How often all ask that are there; who is gone is forgotten. Notes may come meanwhile."""
        for (stream_id, key), bucket in list(self._buckets.items()):
            if bucket.gone_s <= now_s:
                self._drop((stream_id, key))
                continue
            _forget_old(bucket, now_s)
            blocking = plain = 0.0
            for note in bucket.notes:
                age_s = now_s - note.at_s
                blocking += note.blocking * _weight(age_s, BLOCKING_SPREAD_S)
                plain += note.plain * _weight(age_s, PLAIN_SPREAD_S)
            yield BareRate(stream_id, key, bucket.network, blocking, plain)

    def forget(self, stream_id: str) -> None:
        """Drop all that is known of a stream."""
        for found in [found for found in self._buckets if found[0] == stream_id]:
            self._drop(found)

    def _drop(self, found: tuple[str, str]) -> None:
        bucket = self._buckets.pop(found, None)
        if bucket is not None:
            network = found[0], bucket.network
            self._kinds[network] -= 1
            if not self._kinds[network]:
                del self._kinds[network]


def _forget_old(bucket: _Bucket, now_s: float) -> None:
    while bucket.notes and now_s - bucket.notes[0].at_s >= 2 * PLAIN_SPREAD_S:
        bucket.notes.popleft()


def _weight(age_s: float, spread_s: float) -> float:
    """Requests a second that one request of a note of this age stands for."""
    return max(0.0, 1.0 - abs(age_s - spread_s) / spread_s) / spread_s
