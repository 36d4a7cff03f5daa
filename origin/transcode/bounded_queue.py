"""A queue between two stages: bounded in items and in weight, and emptied in gulps.

A stage hands its work to a thread, and a hop to a thread and back costs about 0.15 ms of CPU, as
much as encoding a small picture's slice. So the taker gets everything that waits, up to a number,
and makes one hop of it: a stage that is behind makes few hops, one that is not makes one for each
picture. A Trio memory channel gives one item a turn and counts items only; here an item also has a
weight, in bytes, where items differ by a factor of a thousand.

Bound: `max_items`, and `max_weight` overshot by one item at most. May import trio.
"""

from collections import deque
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class BoundedQueue(Generic[T]):
    """Any number of givers, one taker.

    Args:
        max_items: Items that may wait.
        max_weight: Weight at which nothing more is let in; by default there is no weight.
    """

    def __init__(self, max_items: int, max_weight: int = 1) -> None:
        self._max_items = max_items
        self._max_weight = max_weight
        self._items: deque[tuple[T, int]] = deque()
        self._weight = 0
        self._is_closed = False
        self._givers = trio.lowlevel.ParkingLot()
        self._taker = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._items)

    async def give(self, item: T, weight: int = 0) -> None:
        """Wait for room and put an item in.

        Raises:
            trio.ClosedResourceError: The queue was closed.

        Cancellation: safe, always noticed; the item is in or it is not. Others get their turn only
        if there is no room: a turn of the loop costs 20 us, and the bounds end any run of gifts.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._is_closed and self._is_full():
            await self._givers.park()
        if self._is_closed:
            raise trio.ClosedResourceError
        self._items.append((item, weight))
        self._weight += weight
        self._taker.unpark()
        if not self._is_full():
            self._givers.unpark()  # each wakes the next, as long as there is room

    def force(self, item: T) -> None:
        """Put a last item in, whether there is room or not."""
        self._items.append((item, 0))
        self._taker.unpark()

    async def take(self, most: int) -> list[T]:
        """Wait for an item, and take all that wait.

        Args:
            most: Items to take at the most; at least 1.

        Returns:
            The oldest ones; none once the queue is closed and empty.

        Cancellation: safe; what is in the queue stays there.
        """
        await trio.lowlevel.checkpoint()
        while not self._items and not self._is_closed:
            await self._taker.park()
        taken: list[T] = []
        while self._items and len(taken) < most:
            item, weight = self._items.popleft()
            self._weight -= weight
            taken.append(item)
        if not self._is_full():
            self._givers.unpark()
        return taken

    def close(self) -> None:
        """Let nothing more in: what waits can be taken, who waits for room is turned away."""
        self._is_closed = True
        self._taker.unpark_all()
        self._givers.unpark_all()

    def _is_full(self) -> bool:
        return len(self._items) >= self._max_items or self._weight >= self._max_weight
