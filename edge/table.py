"""Immutable responses by name, and the requests parked until one appears.

Delivery needs nothing but this table, so it can be served by other means than a Trio task per
connection (docs/architecture.md, Serving). `publish` is one synchronous step that swaps response
objects and opens the gates of those who waited for them, so a request sees either the old state or
the new one. Whoever serves looks a name up, or parks on a gate and is called when it opens.

Invariant: a gate stays in the table while somebody waits on it, and no longer than the next
publish without. Ask for a gate and `add` to it without a checkpoint in between. The number of gates
is bounded by the number of requests that can be held: connections times streams, which the server
bounds.

May import: `edge.http.response` only; no Trio.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Generic, TypeVar

from edge.http.response import Response

K = TypeVar("K", bound=Hashable)


class Gate(Generic[K]):
    """One condition that any number of requests wait for, and the answer they all get.

    Opening calls every waiter once, in one pass; five hundred requests for the same part cost one
    decision.
    """

    __slots__ = ("_gates", "_key", "_waiters", "response")

    def __init__(self, gates: "dict[K, Gate[K]]", key: K) -> None:
        self._gates = gates
        self._key = key
        self._waiters: set[Callable[[], object]] = set()
        self.response: Response | None = None
        """The answer, once the gate is open."""

    def add(self, wake: Callable[[], object]) -> None:
        """Wait: `wake` is called once when the gate opens; it must not raise or block."""
        if self.response is not None:
            wake()
        else:
            self._waiters.add(wake)

    def discard(self, wake: Callable[[], object]) -> None:
        """Stop waiting; the last one to leave takes the gate out of the table."""
        self._waiters.discard(wake)
        if not self._waiters and self._gates.get(self._key) is self:
            del self._gates[self._key]

    @property
    def waiting(self) -> int:
        """How many wait here."""
        return len(self._waiters)

    def open(self, response: Response) -> None:
        """Answer everybody who waits, and whoever comes later with this gate in hand."""
        self.response = response
        waiters, self._waiters = self._waiters, set()
        self._gates.pop(self._key, None)
        for wake in waiters:
            wake()


class ResponseTable(Generic[K]):
    """Responses by name and gates by key, of one rendition."""

    __slots__ = ("_gates", "_responses")

    def __init__(self) -> None:
        self._responses: dict[str, Response] = {}
        self._gates: dict[K, Gate[K]] = {}

    def get(self, name: str) -> Response | None:
        """Return what is served under a name, or None."""
        return self._responses.get(name)

    def gate(self, key: K) -> Gate[K]:
        """Return the gate for a key, shared with all who wait for the same."""
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = Gate(self._gates, key)
        return gate

    def gates(self) -> list[tuple[K, Gate[K]]]:
        """Return every gate with its key, as a list of the caller's own."""
        return list(self._gates.items())

    def publish(
        self,
        *,
        put: Mapping[str, Response],
        drop: Iterable[str],
        judge: Callable[[K], Response | None],
    ) -> None:
        """Swap responses, then wake those whose condition has come true.

        Args:
            put: New responses by name.
            drop: Names that are served no longer; unknown ones are ignored.
            judge: Called once per key that is waited for, after the swap; returns the answer, or
                None to let them wait on.
        """
        self._responses.update(put)
        for name in drop:
            self._responses.pop(name, None)
        for key, gate in self.gates():
            response = judge(key)
            if response is not None:
                gate.open(response)
            elif not gate.waiting:
                del self._gates[key]

    def close(self, response: Response) -> None:
        """Drop everything and answer whoever still waits with `response`."""
        self.publish(put={}, drop=list(self._responses), judge=lambda _key: response)

    @property
    def waiting(self) -> int:
        """How many gates are waited on; 0 when nobody is parked."""
        return len(self._gates)

    def __len__(self) -> int:
        return len(self._responses)
