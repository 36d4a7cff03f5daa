"""What is to be recorded: the source's parts as they are cut, in a bounded queue.

`take` and `end` belong to the packager: synchronous, never waiting, never failing for want of
room. `receive` belongs to the one task that writes. If that is too slow, parts are left out up to
the end of their segment, and the next segment that has room is a discontinuity.

Bounds: `MAX_QUEUED_BYTES` of a tape, `MAX_ALL_QUEUED_BYTES` of all tapes; what was received counts
until the next `receive`.

May import hls and trio.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from hls import InitSegment, MediaEvent, Part

MAX_QUEUED_BYTES: Final = 64 * 1024 * 1024
"""Parts of one tape that wait for the disk: a minute and a half at 6 Mbit/s."""

MAX_ALL_QUEUED_BYTES: Final = 512 * 1024 * 1024
"""The same of all tapes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TapePart:
    """A part."""

    init: InitSegment
    """Its init section."""
    data: bytes
    """Shared with what viewers are served."""
    duration_us: int
    epoch_ms: int
    """UTC time of its first sample, milliseconds since 1970."""
    begins: bool
    """It begins a segment; else it continues the part that was received before it."""
    discontinuity: bool = False
    """Its segment does not continue the one that was received before it."""
    independent: bool
    """Its first picture can be decoded without another one."""


class QueuedBytes:
    """How much waits on all tapes of a process."""

    def __init__(self) -> None:
        self.total = 0


class Tape:
    """The queue of one broadcast.

    Args:
        started_at_s: UTC time of media time zero, seconds since 1970.
        queued: Shared by all tapes.
        on_loss: Called when parts begin to be left out, once until there is room again.
        max_bytes: Of parts that wait.
        max_all_bytes: Of parts that wait on all tapes.
    """

    def __init__(
        self,
        *,
        started_at_s: float,
        queued: QueuedBytes,
        on_loss: Callable[[], None],
        max_bytes: int = MAX_QUEUED_BYTES,
        max_all_bytes: int = MAX_ALL_QUEUED_BYTES,
    ) -> None:
        self._started_at_s = started_at_s
        self._all = queued
        self._on_loss = on_loss
        self._max_bytes = max_bytes
        self._max_all_bytes = max_all_bytes
        self._init: InitSegment | None = None
        self._queue: list[TapePart] = []
        self._received_bytes = 0  # of the parts that `receive` gave last
        self._queued_bytes = 0  # of them and those that wait
        self._is_losing = False  # until a segment begins that has room
        self._ended = False
        self._closed = False
        self._changed = trio.Event()
        self.lost_segments = 0
        """Left out so far, wholly or from some part on."""

    @property
    def queued_bytes(self) -> int:
        """Of the parts that wait, or are being written."""
        return self._queued_bytes

    def take(self, events: Sequence[MediaEvent]) -> None:
        """Take what the segmenter gave."""
        if self._closed or self._ended:
            return
        for event in events:
            if isinstance(event, Part):
                self._take_part(event)
            elif isinstance(event, InitSegment):
                self._init = event

    def end(self) -> None:
        """The broadcast is over: what waits is still received."""
        self._ended = True
        self._wake()

    def close(self) -> None:
        """Nobody receives any more: forget what waits, and what will come."""
        self._closed = True
        self._queue = []
        self._received_bytes = 0
        self._free(self._queued_bytes)
        self._wake()

    async def receive(self) -> Sequence[TapePart]:
        """Wait for parts and take all that there are; none: those were the last."""
        self._free(self._received_bytes)
        self._received_bytes = 0
        while not self._queue and not self._ended and not self._closed:
            await self._changed.wait()
        parts, self._queue = self._queue, []
        self._received_bytes = sum(len(part.data) for part in parts)
        return parts

    def _take_part(self, part: Part) -> None:
        begins = part.index == 0
        if self._is_losing and not begins:
            return
        init, size = self._init, len(part.data)
        if (
            init is None
            or part.gap
            or self._queued_bytes + size > self._max_bytes
            or self._all.total + size > self._max_all_bytes
        ):
            self._lose()
            return
        self._queue.append(
            TapePart(
                init=init,
                data=part.data,
                duration_us=max(1, round(part.duration_s * 1_000_000)),
                epoch_ms=round((self._started_at_s + part.media_time_s) * 1000),
                begins=begins,
                discontinuity=part.discontinuity or self._is_losing,
                independent=part.independent,
            )
        )
        self._is_losing = False
        self._queued_bytes += size
        self._all.total += size
        self._wake()

    def _lose(self) -> None:
        self.lost_segments += 1
        if not self._is_losing:
            self._is_losing = True
            self._on_loss()

    def _free(self, size_bytes: int) -> None:
        self._queued_bytes -= size_bytes
        self._all.total -= size_bytes

    def _wake(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()
