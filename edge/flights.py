"""One upstream request for each canonical target, however many viewers wait for its answer.

A *flight* is that request and the gate at which its viewers wait. It runs in the application's
nursery and belongs to nobody else: a viewer that leaves cancels nothing, and one that comes while
the body is under way joins. Its one answer, or one failure, goes to all of them.

A flight that nobody waits for any more is not cancelled. Its own deadline bounds it, what it brings
is kept for the next one who asks, and giving up an HTTP/2 stream half way costs the upstream's
connection more than finishing it (`edge.upstream`).

Bound: `max_flights`. What nobody has asked for yet (`edge.prefetch`) may take half of them, and a
*group* (the versions of one playlist, which anybody can name ahead) `max_of_group`.

May import: `edge.table`, `edge.http`, trio, structlog.
"""

from collections import Counter
from collections.abc import Awaitable, Callable

import structlog
import trio

from edge.http.messages import OUR_FAULT
from edge.http.response import Response, error_response
from edge.process.log import start_apart
from edge.table import Gate

_logger = structlog.get_logger(__name__)

_CLOSING = error_response(503, "this node is closing, try again", extra={"Retry-After": "1"})


class Flight:
    """One request that is under way.

    Args:
        target: What it is for.
        deadline_s: When it has an answer at the latest, on Trio's clock.
        group: Whose share it counts for.
    """

    __slots__ = ("deadline_s", "gate", "group")

    def __init__(self, target: str, deadline_s: float, group: str | None) -> None:
        self.gate: Gate[str] = Gate({}, target)  # in no table: it outlives its last waiter
        """Opens with the answer."""
        self.deadline_s = deadline_s
        self.group = group


class Flights:
    """Every flight, by canonical target.

    Args:
        max_flights: At one time.
        max_of_group: Of those, with the same group.
    """

    def __init__(self, *, max_flights: int, max_of_group: int) -> None:
        self._max_flights = max_flights
        self._max_of_group = max_of_group
        self._groups: Counter[str] = Counter()
        self._flights: dict[str, Flight] = {}
        self.nursery: trio.Nursery | None = None
        """Where they run; None while the application does not."""

    def __len__(self) -> int:
        return len(self._flights)

    def get(self, target: str) -> Flight | None:
        """Return the flight for a target, if there is one."""
        return self._flights.get(target)

    def start(
        self,
        target: str,
        fetch: Callable[[], Awaitable[Response]],
        *,
        timeout_s: float,
        group: str | None = None,
        is_ahead: bool = False,
    ) -> Flight | None:
        """Set off, if there is room and the application runs.

        Args:
            target: Nothing flies for it yet.
            fetch: Brings the answer, a failure in words too, and has kept it when it returns.
            timeout_s: `fetch` needs no longer; not enforced here.
            group: Whose share it counts for; None: nobody's.
            is_ahead: Nobody has asked yet.
        """
        limit = self._max_flights // 2 if is_ahead else self._max_flights
        if self.nursery is None or len(self._flights) >= limit:
            return None
        if group is not None:
            if self._groups[group] >= self._max_of_group:
                return None
            self._groups[group] += 1
        flight = Flight(target, trio.current_time() + timeout_s, group)
        self._flights[target] = flight
        start_apart(self.nursery, self._fly, target, flight, fetch)
        return flight

    async def _fly(
        self, target: str, flight: Flight, fetch: Callable[[], Awaitable[Response]]
    ) -> None:
        """Bring the answer and hand it out.

        Cancellation: the application ends; whoever waits is told to try again.
        """
        response = _CLOSING
        try:
            response = await fetch()
        except Exception:
            _logger.exception("flight failed", target=target)
            response = OUR_FAULT
        finally:
            self._land(target, flight)
            flight.gate.open(response)

    def _land(self, target: str, flight: Flight) -> None:
        del self._flights[target]
        if flight.group is not None:
            self._groups[flight.group] -= 1
            if not self._groups[flight.group]:
                del self._groups[flight.group]
