"""Lives end in time, in order, once; the heap stays as small as what is alive."""

import math
from functools import partial

from edge.lifetimes import Lifetimes


def test_lives_end_when_their_time_has_come() -> None:
    lifetimes = Lifetimes()
    ended: list[str] = []
    for name, until_s in (("b", 2.0), ("a", 1.0), ("c", 3.0), ("a2", 1.0)):
        lifetimes.begin(until_s).add(partial(ended.append, name))
    assert lifetimes.next_s == 1.0
    lifetimes.end_due(0.9)
    assert ended == []
    lifetimes.end_due(2.0)
    assert ended == ["a", "a2", "b"]
    lifetimes.end_due(2.5)
    assert ended == ["a", "a2", "b"]
    lifetimes.end_all()
    assert ended == ["a", "a2", "b", "c"]
    assert lifetimes.next_s == math.inf


def test_the_owner_hears_of_a_sooner_end_only() -> None:
    heard: list[float] = []
    lifetimes = Lifetimes(lambda: heard.append(lifetimes.next_s))
    for until_s in (5.0, 6.0, 4.0, 4.0):
        lifetimes.begin(until_s)
    assert heard == [5.0, 4.0]


def test_one_that_ended_before_its_time_is_not_ended_again() -> None:
    lifetimes = Lifetimes()
    ended: list[int] = []
    life = lifetimes.begin(1.0)
    life.add(lambda: ended.append(1))
    life.end()
    lifetimes.end_due(9.0)
    assert ended == [1]
    assert len(lifetimes) == 0


def test_the_heap_is_bounded_by_what_is_alive() -> None:
    lifetimes = Lifetimes()
    alive = [lifetimes.begin(1000.0) for _ in range(10)]
    most = 0
    for _ in range(10_000):
        lifetimes.begin(500.0).end()  # as a playlist's version, ended by the next one
        most = max(most, len(lifetimes))
    assert most <= 2 * (len(alive) + 64) + 2
    assert not any(life.ended for life in alive)
