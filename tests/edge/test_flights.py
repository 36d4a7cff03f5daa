"""One request for all who wait, whoever leaves; one failure; bounds; what the end leaves behind."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from edge.flights import Flights
from edge.http.response import Response, error_response, make_response

if TYPE_CHECKING:
    from trio.testing import MockClock

YES = make_response(200, (b"yes",))
NO = error_response(503, "no")

Fetch = Callable[[], Awaitable[Response]]


class Slow:
    """Brings its answer when told to."""

    def __init__(self, response: Response = YES) -> None:
        self.response = response
        self.land = trio.Event()
        self.begun = 0

    async def __call__(self) -> Response:
        self.begun += 1
        await self.land.wait()
        return self.response


@pytest.fixture
def flights(nursery: trio.Nursery) -> Flights:
    flights = Flights(max_flights=4, max_of_group=2)
    flights.nursery = nursery
    return flights


@pytest.mark.parametrize("response", [YES, NO])
async def test_ten_thousand_wait_for_one(
    autojump_clock: "MockClock", flights: Flights, response: Response
) -> None:
    slow = Slow(response)
    flight = flights.start("/a", slow, timeout_s=5)
    assert flight is not None
    assert flight.deadline_s == trio.current_time() + 5
    got: list[Response | None] = []
    for _ in range(10_000):
        joined = flights.get("/a")
        assert joined is flight
        joined.gate.add(lambda: got.append(flight.gate.response))
    await trio.testing.wait_all_tasks_blocked()
    slow.land.set()
    await trio.testing.wait_all_tasks_blocked()
    assert got == [response] * 10_000
    assert slow.begun == 1
    assert flights.get("/a") is None
    assert len(flights) == 0


async def test_a_viewer_that_leaves_cancels_nothing(flights: Flights) -> None:
    slow = Slow()
    flight = flights.start("/a", slow, timeout_s=5)
    assert flight is not None
    got: list[str] = []
    first, second = (lambda: got.append("first")), (lambda: got.append("second"))
    flight.gate.add(first)
    flight.gate.add(second)
    await trio.testing.wait_all_tasks_blocked()
    flight.gate.discard(first)
    flight.gate.discard(second)  # nobody is left
    late = flights.get("/a")
    assert late is flight
    late.gate.add(second)
    slow.land.set()
    await trio.testing.wait_all_tasks_blocked()
    assert got == ["second"]
    assert slow.begun == 1


async def test_there_is_no_room_for_a_fifth(flights: Flights) -> None:
    slow = Slow()
    assert all(flights.start(f"/{n}", slow, timeout_s=5) for n in range(4))
    assert flights.start("/5", slow, timeout_s=5) is None
    await trio.testing.wait_all_tasks_blocked()
    slow.land.set()
    await trio.testing.wait_all_tasks_blocked()
    assert flights.start("/5", slow, timeout_s=5) is not None


async def test_what_nobody_asked_for_takes_half(flights: Flights) -> None:
    slow = Slow()
    assert flights.start("/1", slow, timeout_s=5, is_ahead=True) is not None
    assert flights.start("/2", slow, timeout_s=5, is_ahead=True) is not None
    assert flights.start("/3", slow, timeout_s=5, is_ahead=True) is None
    assert flights.start("/3", slow, timeout_s=5) is not None
    slow.land.set()


async def test_a_group_has_a_share(flights: Flights) -> None:
    slow = Slow()
    assert flights.start("/1", slow, timeout_s=5, group="a") is not None
    assert flights.start("/2", slow, timeout_s=5, group="a") is not None
    assert flights.start("/3", slow, timeout_s=5, group="a") is None
    assert flights.start("/3", slow, timeout_s=5, group="b") is not None
    await trio.testing.wait_all_tasks_blocked()
    slow.land.set()
    await trio.testing.wait_all_tasks_blocked()
    assert flights.start("/1", slow, timeout_s=5, group="a") is not None


async def test_our_bug_is_everybodys_500(flights: Flights, logged: list[dict[str, Any]]) -> None:
    async def bug() -> Response:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    flight = flights.start("/a", bug, timeout_s=5)
    assert flight is not None
    await trio.testing.wait_all_tasks_blocked()
    assert flight.gate.response is not None
    assert flight.gate.response.status == 500
    assert [entry["event"] for entry in logged] == ["flight failed"]
    assert flights.get("/a") is None


async def test_when_the_application_ends_whoever_waits_may_try_again() -> None:
    flights = Flights(max_flights=4, max_of_group=2)
    assert flights.start("/a", Slow(), timeout_s=5) is None  # it has not begun
    async with trio.open_nursery() as nursery:
        flights.nursery = nursery
        begun, unbegun = Slow(), Slow()
        first = flights.start("/a", begun, timeout_s=5)
        await trio.testing.wait_all_tasks_blocked()
        second = flights.start("/b", unbegun, timeout_s=5)
        nursery.cancel_scope.cancel()
    assert first is not None
    assert second is not None
    for flight in (first, second):
        assert flight.gate.response is not None
        assert flight.gate.response.status == 503
    assert len(flights) == 0
