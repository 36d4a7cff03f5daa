"""Whether an edge takes new viewers: the decision, without a clock.

Past a bound of its connections or of its core, a worker refuses whoever comes to watch something
new (`EdgeApp`: requests for a multivariant playlist, a player's first), before it hurts those who
watch already. `/ready` says so, and a balancer sends viewers elsewhere.

Each bound has two levels, so that the answer does not flicker: refused from the upper one, taken
again below the lower one, and not before `CALM_S` have passed below it: who was refused comes back
when told, and all at once.

What is measured: connections; the share of a core that this process used; how late the event loop
runs, which rises as well when others take the core. The last two are means over `WINDOW_S`.

May import: nothing of ours.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

WINDOW_S: Final = 3.0
"""A viewer's first seconds are dear, and a moment's load says nothing."""

CALM_S: Final = 5.0
"""How long everything must be below its lower level."""

LOWER: Final = 0.9
"""The lower level of each bound, as a share of the upper one."""


LAG_CPU = 0.5
"""Share of the bound of CPU from which on a late event loop counts: one that hardly works and is
late all the same waits for a neighbour, and refusing viewers would not help it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SheddingSettings:
    """From where on new viewers are refused."""

    connections: int
    """Open at one time."""
    cpu: float = 0.9
    """Share of one core."""
    lag_s: float = 0.1
    """Mean delay of the event loop, seconds: half a part, and players notice."""


@dataclass(frozen=True, slots=True)
class Load:
    """What was measured at one time."""

    now_s: float
    """Of any clock that only goes forward."""
    cpu_s: float
    """Processor time that the process has used so far, seconds."""
    lag_s: float
    """How late the event loop was, seconds."""
    connections: int
    """Open now."""


class Shedding:
    """The state of the decision. Feed it about once a second.

    Args:
        settings: The bounds.
    """

    def __init__(self, settings: SheddingSettings) -> None:
        self._settings = settings
        self._seen: deque[Load] = deque()  # of the last WINDOW_S, and one more before
        self._calm_since_s: float | None = None
        self.reason: str | None = None
        """Why new viewers are refused; None: they are taken."""
        self.cpu = 0.0
        """Share of a core, over the window."""
        self.lag_s = 0.0
        """Mean delay of the event loop, over the window, seconds."""

    @property
    def admits(self) -> bool:
        """Whether a viewer who comes now is served."""
        return self.reason is None

    def observe(self, load: Load) -> bool:
        """Take a measurement; say whether the answer changed."""
        self._take_in(load)
        before = self.reason
        if hot := self._above(load.connections, 1.0):
            self.reason, self._calm_since_s = hot, None
        elif self._above(load.connections, LOWER):
            self._calm_since_s = None
        elif self.reason is not None:
            if self._calm_since_s is None:
                self._calm_since_s = load.now_s
            if load.now_s - self._calm_since_s >= CALM_S:
                self.reason = None
        return (before is None) != (self.reason is None)

    def _take_in(self, load: Load) -> None:
        """Slide the window, and compute its means."""
        seen = self._seen
        seen.append(load)
        while len(seen) > 2 and load.now_s - seen[1].now_s >= WINDOW_S:
            seen.popleft()
        passed_s = load.now_s - seen[0].now_s
        # Before the window is full the start itself would be judged, which takes a whole core.
        if passed_s >= WINDOW_S:
            self.cpu = (load.cpu_s - seen[0].cpu_s) / passed_s
            self.lag_s = sum(one.lag_s for one in seen) / len(seen)

    def _above(self, connections: int, level: float) -> str | None:
        settings = self._settings
        if connections >= level * settings.connections:
            return "connections"
        if self.cpu >= level * settings.cpu:
            return "cpu"
        is_ours = self.cpu >= LAG_CPU * settings.cpu
        return "lag" if is_ours and self.lag_s >= level * settings.lag_s else None
