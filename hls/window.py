"""The text of settled segments, kept so that a long playlist costs no more than a short one.

A segment is settled once its EXT-X-PART lines are gone: then its lines never change until it is
removed, oldest first. Here they are joined in blocks, so that a playlist of four hours is some
hundred references to bytes that all its versions share, and not seven thousand texts joined anew.

May import the standard library's pure parts.
"""

from collections import deque
from typing import Final

BLOCK_SEGMENTS: Final = 64
"""Texts joined in one block. The head block is copied once a version and the newest one joined:
with some 130 bytes a segment that is 8 KB each."""


class SettledText:
    """The lines of consecutive segments: appended at one end, removed at the other."""

    def __init__(self) -> None:
        self._sizes: deque[int] = deque()  # of each text that is still there
        self._blocks: deque[bytes] = deque()
        self._cut = 0  # bytes at the head of the first block that are removed already
        self._newest: deque[bytes] = deque()  # fewer than a block

    def __len__(self) -> int:
        return len(self._sizes)

    def append(self, text: bytes) -> None:
        """Add the lines of the segment that has just settled."""
        self._sizes.append(len(text))
        self._newest.append(text)
        if len(self._newest) == BLOCK_SEGMENTS:
            self._blocks.append(b"".join(self._newest))
            self._newest.clear()

    def popleft(self) -> None:
        """Remove the lines of the oldest segment; there must be one."""
        size = self._sizes.popleft()
        if not self._blocks:
            self._newest.popleft()
            return
        self._cut += size
        if self._cut == len(self._blocks[0]):
            self._blocks.popleft()
            self._cut = 0

    def chunks(self) -> list[bytes]:
        """Return all lines in order, in few pieces.

        Cost: O(blocks) references, one copy of a block's rest and one join of less than a block.
        """
        pieces = list(self._blocks)
        if self._cut:
            pieces[0] = pieces[0][self._cut :]
        if self._newest:
            pieces.append(b"".join(self._newest))
        return pieces
