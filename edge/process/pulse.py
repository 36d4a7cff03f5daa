"""How late the event loop runs: what everything that is served waits for in vain.

A task sleeps, and looks by how much it overslept. Cost: two wake-ups a second. May import trio.
"""

from typing import Final

import trio

from edge.process.histogram import Histogram

BEAT_S: Final = 0.5
"""Between two looks."""

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""A part has 200 ms: above 50 ms viewers begin to notice."""


class Pulse:
    """Measures, while it runs."""

    def __init__(self) -> None:
        self.lag_s = Histogram(BOUNDS)
        """By how many seconds the loop was late."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Measure until cancelled."""
        task_status.started()
        while True:
            due_s = trio.current_time() + BEAT_S
            await trio.sleep_until(due_s)
            self.lag_s.observe(max(0.0, trio.current_time() - due_s))
