"""Which streams are protected, as an edge has learnt from its upstream's answers.

It decides nothing: each answer says itself whether it is protected, and whoever sends it looks.
This makes refusals quick, and says when what was kept of a stream has become wrong.

Bounds: `MAX_STREAMS`; who was heard of longest ago is forgotten first. May import: trio, structlog.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import structlog
import trio

MAX_STREAMS: Final = 10_000

FRESH_S: Final = 3.0
"""How long it is believed that a stream is protected while nothing is heard of it."""

UNHEARD_S: Final = 6.0
"""A stream that nothing is heard of for so long may have become protected meanwhile: what is kept
of its media is forgotten. Of one that is watched something is heard with each reload."""

SAY_EVERY_S: Final = 60.0
"""Between two lines of the log about what an upstream refuses this node."""

log = structlog.get_logger("playback")


class LearntPolicies:
    """What was learnt.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._known: OrderedDict[str, tuple[bool, float]] = OrderedDict()
        self._said_s: float | None = None

    def __len__(self) -> int:
        """How many streams are known."""
        return len(self._known)

    def is_protected(self, stream: str) -> bool:
        """Whether a stream (`/api/streams/{id}`) was protected a moment ago."""
        protected, at_s = self._known.get(stream, (False, 0.0))
        return protected and self._clock() - at_s <= FRESH_S

    def learn(self, stream: str, *, is_protected: bool) -> bool:
        """Take note; returns whether what is kept of the stream may be wrong now."""
        last = self._known.pop(stream, None)
        self._known[stream] = is_protected, self._clock()
        if len(self._known) > MAX_STREAMS:
            self._known.popitem(last=False)
        return is_protected if last is None else is_protected != last[0]

    def pop_unheard(self) -> list[str]:
        """Forget the streams that nothing was heard of for `UNHEARD_S`, and return them."""
        before_s = self._clock() - UNHEARD_S
        unheard: list[str] = []
        while self._known:
            stream, (_, at_s) = next(iter(self._known.items()))
            if at_s > before_s:
                break
            del self._known[stream]
            unheard.append(stream)
        return unheard

    def note_refusal(self, stream: str) -> None:
        """An upstream refuses this node what is protected; said once a minute."""
        now_s = self._clock()
        if self._said_s is None or now_s - self._said_s >= SAY_EVERY_S:
            self._said_s = now_s
            log.error(
                "the upstream refuses a protected stream: upstream_token is missing or wrong",
                stream=stream.rpartition("/")[2],
            )
