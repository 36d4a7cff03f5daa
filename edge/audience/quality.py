"""How well viewers fare, by their own word: CMCD of each stream, of the last minute.

Time is cut into slots of `SLOT_S`. In each a player is one sample, however often it speaks and over
however many connections to one process: the latest of each value that it gives, and whether it ran
dry in it. A slot that is over is a few histograms (`Tally`), which add up over edges.

*Rebuffering* is the share of samples whose player ran dry (``bs``), or waits for media (``su``)
though it was there in the slot before: who has just come waits by nature.

Sans-IO; time is an argument. Bounds: `MAX_PLAYERS` in a slot, in all, who comes later is not asked;
`MAX_STREAMS`; some 2 KB for a stream's slot. May import: `edge.audience`.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from edge.audience.cmcd import Sample
from edge.audience.histograms import Histogram

SLOT_S: Final = 10.0
SLOTS: Final = 6
"""That figures are made of: a minute."""

MAX_PLAYERS: Final = 50_000
"""In one slot, of all streams: 20 MB."""

MAX_STREAMS: Final = 2_000
"""Whose viewers are listened to."""


@dataclass(slots=True)
class Tally:
    """Samples, counted."""

    samples: int = 0
    rebuffering: int = 0
    bitrate: Histogram = field(default_factory=Histogram)
    """kbit/s."""
    buffer: Histogram = field(default_factory=Histogram)
    """Milliseconds."""
    throughput: Histogram = field(default_factory=Histogram)
    """kbit/s."""

    def merge(self, other: "Tally") -> None:
        """Add another's."""
        self.samples += other.samples
        self.rebuffering += other.rebuffering
        self.bitrate.merge(other.bitrate)
        self.buffer.merge(other.buffer)
        self.throughput.merge(other.throughput)


@dataclass(slots=True)
class _Player:
    """One sample in the making."""

    bitrate_kbps: float | None = None
    buffer_ms: float | None = None
    throughput_kbps: float | None = None
    starved: bool = False
    urgent: bool = False

    def add(self, sample: Sample) -> None:
        if sample.bitrate_kbps is not None:
            self.bitrate_kbps = sample.bitrate_kbps
        if sample.buffer_ms is not None:
            self.buffer_ms = sample.buffer_ms
        if sample.throughput_kbps is not None:
            self.throughput_kbps = sample.throughput_kbps
        self.starved |= sample.starved
        self.urgent = sample.urgent


@dataclass(slots=True)
class _Stream:
    players: dict[str, _Player] = field(default_factory=dict)
    """Of this slot."""
    before: frozenset[str] = frozenset()
    """Who was there in the slot before."""
    told: Tally = field(default_factory=Tally)
    """What others have counted, in this slot."""
    slots: deque[Tally] = field(default_factory=lambda: deque(maxlen=SLOTS))

    def turn(self) -> Tally:
        """End the slot."""
        tally, self.told = self.told, Tally()
        for name, player in self.players.items():
            tally.samples += 1
            tally.rebuffering += player.starved or (player.urgent and name in self.before)
            if player.bitrate_kbps is not None:
                tally.bitrate.add(player.bitrate_kbps)
            if player.buffer_ms is not None:
                tally.buffer.add(player.buffer_ms)
            if player.throughput_kbps is not None:
                tally.throughput.add(player.throughput_kbps)
        self.before, self.players = frozenset(self.players), {}
        self.slots.append(tally)
        return tally


class Quality:
    """What the viewers of all streams say.

    Args:
        on_slot: Called with each stream's tally when a slot is over, if there is something in it.
    """

    def __init__(self, on_slot: Callable[[str, Tally], None] | None = None) -> None:
        self._on_slot = on_slot
        self._streams: dict[str, _Stream] = {}
        self._players = 0
        self._slot = 0

    def add(self, stream_id: str, player: str, sample: Sample, now_s: float) -> None:
        """A player speaks.

        Args:
            stream_id: What it plays.
            player: Its name.
            sample: What it says.
            now_s: The time.
        """
        stream = self._at(stream_id, now_s)
        if stream is None or not (sample.tells_quality or sample.urgent):
            return
        found = stream.players.get(player)
        if found is None:
            if self._players >= MAX_PLAYERS:
                return
            self._players += 1
            found = stream.players[player] = _Player()
        found.add(sample)

    def merge(self, stream_id: str, tally: Tally, now_s: float) -> None:
        """Another process has counted."""
        stream = self._at(stream_id, now_s)
        if stream is not None:
            stream.told.merge(tally)

    def forget(self, stream_id: str) -> None:
        """Drop all that is known of a stream."""
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._players -= len(stream.players)

    def figures(self, stream_id: str, now_s: float) -> Tally:
        """All samples of the slots that are over, of the last minute."""
        self.turn(now_s)
        total = Tally()
        stream = self._streams.get(stream_id)
        for tally in () if stream is None else stream.slots:
            total.merge(tally)
        return total

    def turn(self, now_s: float) -> None:
        """End the slot if its time is over; to be called now and then."""
        slot = int(now_s // SLOT_S)
        if slot == self._slot:
            return
        for stream_id, stream in list(self._streams.items()):
            tally = stream.turn()
            if tally.samples and self._on_slot is not None:
                self._on_slot(stream_id, tally)
            for _ in range(min(slot - self._slot - 1, SLOTS)):
                stream.turn()  # slots in which nobody spoke or looked at the clock
            if not any(past.samples for past in stream.slots):
                del self._streams[stream_id]
        self._slot, self._players = slot, 0

    def _at(self, stream_id: str, now_s: float) -> _Stream | None:
        self.turn(now_s)
        stream = self._streams.get(stream_id)
        if stream is None and len(self._streams) < MAX_STREAMS:
            stream = self._streams[stream_id] = _Stream()
        return stream
