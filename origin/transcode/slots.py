"""Which number a decoded picture has, and which rungs it is for. Pure.

A coded picture goes into the decoder under a number: its slot. Decoded pictures come out in display
order, B-frames moved, and some do not come out at all. The k-th picture displayed takes the k-th
slot, so that numbers increase in every rung, which has no B-frames::

    fed        number  10  11  12  13  14       decode order
               pts      0   3   1   2   4
    came out   pts      0   1   -   3   4       2 was damaged
    takes      number  10  11      13  14       slot 12 is empty, and nobody is shifted

`SlotCounter` keeps the times of what was fed and has neither come out nor been given up. When the
picture of time P comes out, those before P are lost, each with the slot that would have been its.

`RungSelector` says what a slot means for each rung. The picture that takes the first slot of a
segment is a keyframe in all of them; if it is lost, the next picture is.

Invariants: a counter's numbers and times strictly increase within an epoch; each fed number comes
back exactly once, taken or lost. Bound: `MAX_PENDING` pictures are waited for.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple

MAX_PENDING: Final = 20
"""Fed pictures that have not come out. A decoder may hold 16 back (ITU-T H.264, A.3.1); of more
than that, the earliest will not come. Until then nobody knows that its slot is empty."""


class Slot(NamedTuple):
    """A number, and the time of the picture that belongs to it."""

    number: int
    pts_ticks: int
    divisors: tuple[int, ...] | None
    """Set if this slot begins a segment: the divisor of each rung from here on."""


class SlotCounter:
    """Numbers for the pictures of one source, in the order in which they come out of a decoder."""

    def __init__(self) -> None:
        # Both of what was fed and is neither out nor lost: times in display order, slots in decode
        # order. The k-th of one belongs to the k-th of the other.
        self._times: list[int] = []
        self._numbers: deque[tuple[int, tuple[int, ...] | None]] = deque()
        self._newest_number = -1
        self._newest_out: int | None = None

    def feed(self, number: int, pts_ticks: int, divisors: tuple[int, ...] | None) -> list[Slot]:
        """A coded picture goes into the decoder.

        Args:
            number: Greater than any before.
            pts_ticks: When it is shown.
            divisors: See `Slot`.

        Returns:
            Slots that are lost, because too many are waited for.

        Raises:
            ValueError: The number does not increase.

        Cost: O(pending), under 1 us.
        """
        if number <= self._newest_number:
            raise ValueError(f"picture {number} comes after {self._newest_number}")
        self._newest_number = number
        insort(self._times, pts_ticks)
        self._numbers.append((number, divisors))
        return self._lose(len(self._times) - MAX_PENDING)

    def come_out(self, pts_ticks: int) -> tuple[list[Slot], Slot | None]:
        """A picture has come out of the decoder.

        Returns:
            The slots that are lost by it, all before its own; its own slot, or None if it is not to
            be shown: nobody fed it, or a later one has come out before it.
        """
        index = bisect_left(self._times, pts_ticks)
        if index == len(self._times) or self._times[index] != pts_ticks:
            return [], None
        lost = self._lose(index)
        (slot,) = self._lose(1)
        if self._newest_out is not None and pts_ticks <= self._newest_out:
            return [*lost, slot], None
        self._newest_out = pts_ticks
        return lost, slot

    def give_up(self) -> list[Slot]:
        """Nothing that was fed will come out any more.

        Returns:
            The slots that are lost.
        """
        return self._lose(len(self._times))

    def end_epoch(self) -> list[Slot]:
        """As `give_up`; and times may begin anew."""
        self._newest_out = None
        return self.give_up()

    def _lose(self, count: int) -> list[Slot]:
        """Take the earliest pictures from what is waited for."""
        slots = []
        for pts_ticks in self._times[: max(0, count)]:
            number, divisors = self._numbers.popleft()
            slots.append(Slot(number, pts_ticks, divisors))
        del self._times[: len(slots)]
        return slots


class Use(Enum):
    """What a rung does with a slot."""

    NOTHING = 0
    PICTURE = 1
    KEYFRAME = 2


class RungSelector:
    """Decides, slot by slot and in order, what each rung does.

    Args:
        divisors: Of each rung, until a slot brings others.
    """

    def __init__(self, divisors: Sequence[int]) -> None:
        self.divisors = tuple(divisors)
        """In force: 0 is off, n is every n-th slot."""
        self._first: int | None = None  # number of the segment's first slot
        self._needs_keyframe = True

    def step(self, slot: Slot, *, is_lost: bool) -> tuple[Use, ...]:
        """Take the next slot, lost or not.

        Returns:
            For each rung.
        """
        if slot.divisors is not None:
            self.divisors = slot.divisors
            self._needs_keyframe = True
            self._first = slot.number
        elif self._first is None:
            self._first = slot.number
        if is_lost:
            return (Use.NOTHING,) * len(self.divisors)
        if self._needs_keyframe:
            # In every rung, whatever the divisor, or one of them would have none.
            self._needs_keyframe = False
            return tuple(Use.KEYFRAME if divisor else Use.NOTHING for divisor in self.divisors)
        index = slot.number - self._first
        return tuple(
            Use.PICTURE if divisor and index % divisor == 0 else Use.NOTHING
            for divisor in self.divisors
        )
