"""What waits to be written to one worker: a queue of frames with a bound in bytes.

The ladder puts frames in synchronously, one task writes them out. When the worker takes them too
slowly the queue overflows, and the ladder throws all of it away and goes on at the next IDR
picture: pictures in the middle are of no use without those before them.

May import trio.
"""

from collections import deque
from typing import Final

import trio

MAX_FEED_BYTES: Final = 16 * 1024 * 1024
"""Most that waits: 3 s at 40 Mbit/s, beside what the pipe and the worker's own channels hold."""

MAX_WRITE_BYTES: Final = 256 * 1024
"""Most that is joined for one write."""


class Feed:
    """Frames on their way to one worker."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._changed = trio.Event()
        self._ended = False
        self.size_bytes = 0
        """What waits."""

    def put(self, frame: bytes) -> None:
        """Append a frame; after `end` it is left out."""
        if not self._ended:
            self._frames.append(frame)
            self.size_bytes += len(frame)
            self._changed.set()

    @property
    def is_full(self) -> bool:
        """More waits than should."""
        return self.size_bytes > MAX_FEED_BYTES

    def clear(self) -> None:
        """Throw away what waits."""
        self._frames.clear()
        self.size_bytes = 0

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._changed.set()

    async def take(self) -> bytes:
        """Wait for frames and return some of them, joined; ``b""`` once there are no more.

        Cancellation: takes nothing.
        """
        while not self._frames:
            if self._ended:
                await trio.lowlevel.checkpoint()
                return b""
            self._changed = trio.Event()
            await self._changed.wait()
        await trio.lowlevel.checkpoint_if_cancelled()
        batch = [self._frames.popleft()]
        size = len(batch[0])
        while self._frames and size + len(self._frames[0]) <= MAX_WRITE_BYTES:
            batch.append(self._frames.popleft())
            size += len(batch[-1])
        self.size_bytes -= size
        return b"".join(batch)
