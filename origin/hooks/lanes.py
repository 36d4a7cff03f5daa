"""What is due: the lanes of one hook, one for each stream of which something waits.

Within a lane the order holds: the next delivery waits for the one before. Lanes are independent,
so that a delivery which the receiver cannot take holds up its own stream only. A lane that failed
waits for `backoff_s`; a hook that failed `DOWN_FAILURES` times in a row is down: it is asked by one
lane at a time, the one that is due first, a few seconds apart. The first success makes all lanes
due.

Pure: time and chance are arguments.

Bounds: `MAX_UNDER_WAY` lanes at work; one small record for each stream with something that waits,
which `control.hook_model.MAX_PENDING` bounds.
"""

from heapq import heapify, heappop, heappush
from typing import Final

MAX_UNDER_WAY: Final = 4
"""Lanes of one hook at one time."""

DOWN_FAILURES: Final = 3
"""In a row, by any lane, until a hook counts as down."""

FIRST_PAUSE_S: Final = 2.0
PAUSE_FACTOR: Final = 2.5
MAX_PAUSE_S: Final = 1800.0
"""A lane waits 2 s after its first failure, then 5, 12 ... half an hour."""

JITTER: Final = 0.25
"""By so much of itself a pause is longer or shorter: a crowd does not come back at once."""

PROBE_S: Final = 5.0
"""Most between two attempts of a hook that is down and has several lanes due."""


def backoff_s(attempts: int, chance: float) -> float:
    """Pause after so many failures (1 or more) of a delivery; `chance` is 0 to 1."""
    pause_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * PAUSE_FACTOR ** min(attempts - 1, 20))
    return pause_s * (1 + JITTER * (2 * chance - 1))


class Lane:
    """What waits of one stream for one hook."""

    __slots__ = ("attempts", "done", "due_s", "last", "stream_id")

    def __init__(self, stream_id: str, first: int, last: int, now_s: float) -> None:
        self.stream_id = stream_id
        self.done = first - 1
        """Up to this number nothing waits any more."""
        self.last = last
        """Number of the newest that was written."""
        self.attempts = 0
        """Of the oldest, that failed, as far as this process knows."""
        self.due_s = now_s

    def __lt__(self, other: "Lane") -> bool:
        return (self.due_s, self.done) < (other.due_s, other.done)


class Lanes:
    """The lanes of one hook."""

    def __init__(self) -> None:
        self._by_stream: dict[str, Lane] = {}
        self._waiting: list[Lane] = []
        self._probe_s = 0.0
        self.under_way = 0
        """Lanes that somebody works on."""
        self.failures = 0
        """In a row, by any lane."""

    def __len__(self) -> int:
        return len(self._by_stream)

    @property
    def is_down(self) -> bool:
        """Whether the receiver seems not to be there."""
        return self.failures >= DOWN_FAILURES

    def note(self, stream_id: str, first: int, last: int, now_s: float) -> None:
        """Deliveries of a stream, numbered from `first` to `last`, wait now."""
        lane = self._by_stream.get(stream_id)
        if lane is not None:
            lane.last = max(lane.last, last)
            return
        lane = self._by_stream[stream_id] = Lane(stream_id, first, last, now_s)
        heappush(self._waiting, lane)

    def choose(self, now_s: float) -> Lane | None:
        """Take the lane that is due first to work on it, if there is one and there is room."""
        if self.next_s() > now_s:
            return None
        lane = heappop(self._waiting)
        self.under_way += 1
        return lane

    def next_s(self) -> float:
        """When `choose` has one; infinite while it depends on something else."""
        if not self._waiting or self.under_way >= (1 if self.is_down else MAX_UNDER_WAY):
            return float("inf")
        due_s = self._waiting[0].due_s
        return max(due_s, self._probe_s) if self.is_down else due_s

    def made(self, lane: Lane, number: int, now_s: float) -> bool:
        """A lane's oldest was delivered; tells whether the hook had failed before."""
        lane.done = number
        lane.attempts = 0
        lane.due_s = now_s
        had_failed = self.failures > 0
        was_down = self.is_down
        self.failures = 0
        if was_down:
            self.wake(now_s)
        return had_failed

    def failed(self, lane: Lane, attempts: int, now_s: float, chance: float) -> None:
        """A lane's oldest was not delivered, for the `attempts`-th time."""
        self.failures += 1
        lane.attempts = attempts
        pause_s = backoff_s(attempts, chance)
        lane.due_s = now_s + pause_s
        self._probe_s = now_s + min(PROBE_S, pause_s)

    def skip(self, lane: Lane, number: int) -> None:
        """A lane's oldest waits no longer: it was given up, or is not there."""
        lane.done = max(lane.done, number)
        lane.attempts = 0

    def release(self, lane: Lane) -> None:
        """Nobody works on a lane any more; one with nothing left goes."""
        self.under_way -= 1
        if lane.done >= lane.last:
            del self._by_stream[lane.stream_id]
        else:
            heappush(self._waiting, lane)

    def wake(self, now_s: float) -> None:
        """The receiver is back, or may be: all lanes are due."""
        self._probe_s = now_s
        for lane in self._waiting:
            lane.due_s = min(lane.due_s, now_s)
        heapify(self._waiting)
