"""How long an answer stays the answer of its URL.

Whoever makes a `Response` that others may keep gives it a `Life` and ends that when the URL would
be answered differently: a playlist's with the next version, a part's when it leaves the window, a
cached object's when it expires or is evicted. Whoever keeps the response (`edge.http.delivery`)
asks to be called then.

Synchronous; knows no clock. Who keeps many things of one life bounds them by `keepers`.

May import: nothing.
"""

from collections.abc import Callable


class Life:
    """Until when something holds."""

    __slots__ = ("_callbacks", "ended")

    def __init__(self) -> None:
        self._callbacks: set[Callable[[], object]] = set()
        self.ended = False
        """Nothing holds any more; nobody is called after this."""

    @property
    def keepers(self) -> int:
        """How many want to be called."""
        return len(self._callbacks)

    def add(self, on_end: Callable[[], object]) -> None:
        """Be called once when it ends, now if it has ended; `on_end` must not raise or block."""
        if self.ended:
            on_end()
        else:
            self._callbacks.add(on_end)

    def discard(self, on_end: Callable[[], object]) -> None:
        """Do not be called."""
        self._callbacks.discard(on_end)

    def end(self) -> None:
        """Call everybody; a second time nothing happens."""
        self.ended = True
        callbacks, self._callbacks = self._callbacks, set()
        for on_end in callbacks:
            on_end()
