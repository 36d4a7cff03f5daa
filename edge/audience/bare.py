"""How many bare players there are: rates of all processes, and how long parts are.

The rates of one bucket (`edge.audience.cadence`) add up over the processes that tell of it: a
player's connections may end in several. A bucket that anything comes from is one player at least,
and a network `MAX_PER_NETWORK` at most.

Sans-IO; time is an argument. Bounds: `MAX_RATES` in all; what is not told again within `TOLD_S` is
gone. May import: `edge.audience.cadence`.
"""

from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass
from typing import Final

from edge.audience.cadence import BareRate

TOLD_S: Final = 7.5
"""How long a rate counts: three reports of an edge, of which two may be lost."""

MAX_RATES: Final = 50_000
"""In all; what was told longest ago goes first. Some 20 MB."""

MAX_PER_NETWORK: Final = 2_000
"""Bare players of a stream: a stadium behind one address, as for pages."""


START_SHARE: Final = 0.05
"""Of players that block, for each second of the target duration, so many plain requests are not of
others: each asks for one playlist before it blocks, and that is still in the rate when the rest has
come. So of a kind of which some block and some do not, up to a tenth at two seconds is missed."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often players have a reason to ask."""

    part_s: float
    """From one version of a playlist to the next, on average."""
    target_s: float
    """Target duration: the pause of who does not block."""


@dataclass(slots=True)
class _Told:
    network: str
    blocking_per_s: float
    plain_per_s: float
    until_s: float


class BareCounts:
    """What is told of the bare players of all streams."""

    def __init__(self) -> None:
        # By stream; then by bucket and who tells. What was told longest ago is first.
        self._streams: defaultdict[str, OrderedDict[tuple[str, str], _Told]] = defaultdict(
            OrderedDict
        )
        self._total = 0

    def __len__(self) -> int:
        return self._total

    @property
    def streams(self) -> list[str]:
        """Those of which anything is told."""
        return list(self._streams)

    def tell(self, rate: BareRate, teller: str, now_s: float) -> None:
        """Take a rate in place of what the same teller told before.

        Args:
            rate: Of one bucket.
            teller: Which process heard it.
            now_s: The time.
        """
        told = self._streams[rate.stream_id]
        self._total += (rate.key, teller) not in told
        told[rate.key, teller] = _Told(
            rate.network, rate.blocking_per_s, rate.plain_per_s, now_s + TOLD_S
        )
        told.move_to_end((rate.key, teller))
        if self._total > MAX_RATES:
            self._make_room()

    def players(self, stream_id: str, pace: Pace, now_s: float) -> Counter[str]:
        """How many bare players a stream has, by the name of their network."""
        counts: Counter[str] = Counter()
        told = self._streams.get(stream_id)
        if told is None:
            return counts
        while told and next(iter(told.values())).until_s <= now_s:
            told.popitem(last=False)
            self._total -= 1
        if not told:
            del self._streams[stream_id]
            return counts
        blocking: defaultdict[str, float] = defaultdict(float)
        plain: defaultdict[str, float] = defaultdict(float)
        networks = {}
        for (key, _), one in told.items():
            blocking[key] += one.blocking_per_s * pace.part_s
            plain[key] += one.plain_per_s * pace.target_s
            networks[key] = one.network
        for key, network in networks.items():
            others = plain[key] - START_SHARE * pace.target_s * blocking[key]
            counts[network] += max(1, round(blocking[key] + max(0.0, others)))
        for network, count in counts.items():
            counts[network] = min(MAX_PER_NETWORK, count)
        return counts

    def forget(self, stream_id: str) -> None:
        """Drop all that is known of a stream."""
        self._total -= len(self._streams.pop(stream_id, ()))

    def _make_room(self) -> None:
        oldest = min(
            self._streams,
            key=lambda stream_id: next(iter(self._streams[stream_id].values())).until_s,
        )
        self._streams[oldest].popitem(last=False)
        self._total -= 1
        if not self._streams[oldest]:
            del self._streams[oldest]
