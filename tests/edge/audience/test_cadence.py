"""Bare players are counted by how often they ask, whenever they came and however they jitter."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.audience import bare as bare_module
from edge.audience import cadence as module
from edge.audience.bare import MAX_PER_NETWORK, TOLD_S, BareCounts, Pace
from edge.audience.cadence import (
    BLOCKING_HOLD_S,
    MAX_KINDS,
    PLAIN_HOLD_S,
    BareRate,
    Cadences,
)

S, T = "stream", "other"
REPORT_S = 5.0
PART_S, TARGET_S = 0.2, 2.0
PACE = Pace(PART_S, TARGET_S)
SETTLED_S = 12.0
"""From a change to a count that is right."""


@dataclass(frozen=True)
class Player:
    """One on one connection: it asks on and on."""

    came_s: float
    left_s: float
    blocks: bool

    def notes(self, rand: random.Random, pace: Pace) -> Iterator[tuple[float, int, int]]:
        """When the server tells of it, and how many requests: at its first, then every five
        seconds, and at its end."""
        at_s, told_s, asked = self.came_s, -REPORT_S, 0
        is_first = True
        while at_s < self.left_s:
            asked += 1
            if at_s - told_s >= REPORT_S:
                yield (at_s, 0, asked) if is_first or not self.blocks else (at_s, asked, 0)
                told_s, asked, is_first = at_s, 0, False
            pause_s = pace.part_s if self.blocks else pace.target_s
            at_s += pause_s * rand.uniform(0.9, 1.1)
        if asked:
            yield (self.left_s, asked, 0) if self.blocks else (self.left_s, 0, asked)


def estimate(
    players: list[Player],
    now_s: float,
    *,
    pace: Pace = PACE,
    processes: int = 1,
    seed: int = 0,
    kinds: tuple[str, str] = ("blocking", "plain"),
) -> int:
    """What is counted at a time, of players in one network, over connections to some processes."""
    rand = random.Random(seed)
    cadences = [Cadences() for _ in range(processes)]
    notes = sorted(
        (at_s, number % processes, kinds[not player.blocks], blocking, plain)
        for number, player in enumerate(players)
        for at_s, blocking, plain in player.notes(rand, pace)
        if at_s <= now_s
    )
    for at_s, process, kind, blocking, plain in notes:
        cadences[process].note(S, kind, "net", blocking=blocking, plain=plain, now_s=at_s)
    counts = BareCounts()
    for number, cadence in enumerate(cadences):
        for rate in cadence.rates(now_s):
            counts.tell(rate, f"{number}", now_s)
    return counts.players(S, pace, now_s).total()


def is_near(found: int, wanted: int, share: float = 0.1) -> bool:
    return abs(found - wanted) <= max(1, share * wanted)


@settings(max_examples=50, deadline=None)
@given(
    blocking=st.integers(0, 80),
    plain=st.integers(0, 12),
    spread_s=st.sampled_from([0.0, 0.5, 3.0, 20.0]),
    after_s=st.floats(SETTLED_S, SETTLED_S + 30),
    processes=st.integers(1, 3),
    part_s=st.sampled_from([0.1, 0.2, 1 / 3, 1.0]),
    seed=st.integers(0, 1000),
)
def test_so_many_as_there_are(
    blocking: int,
    plain: int,
    spread_s: float,
    after_s: float,
    processes: int,
    part_s: float,
    seed: int,
) -> None:
    pace = Pace(part_s, TARGET_S)
    rand = random.Random(seed)
    players = [
        Player(rand.uniform(0, spread_s), 1000.0, number < blocking)
        for number in range(blocking + plain)
    ]
    now_s = spread_s + after_s
    found = estimate(players, now_s, pace=pace, processes=processes, seed=seed)
    assert is_near(found, blocking + plain), (found, blocking, plain)
    found = estimate(players, now_s, pace=pace, processes=processes, seed=seed, kinds=("a", "a"))
    assert is_near(found, blocking + plain, share=0.2), "some of one kind block, and some do not"


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 80), after_s=st.floats(0, 30), seed=st.integers(0, 1000))
def test_never_more_than_there_are_while_they_come(count: int, after_s: float, seed: int) -> None:
    rand = random.Random(seed)
    players = [Player(rand.uniform(0, 1), 1000.0, True) for _ in range(count)]
    assert estimate(players, 1 + after_s, seed=seed) <= max(count + 1, 1.1 * count)


@settings(max_examples=40, deadline=None)
@given(
    stay=st.integers(1, 50),
    leave=st.integers(0, 50),
    come=st.integers(0, 50),
    at_once=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_who_comes_and_who_leaves(
    stay: int, leave: int, come: int, at_once: bool, seed: int
) -> None:
    rand = random.Random(seed)
    spread_s = 0.0 if at_once else 4.0
    change_s = 60.0
    players = [
        *(Player(rand.uniform(0, spread_s), 1000.0, True) for _ in range(stay)),
        *(
            Player(rand.uniform(0, spread_s), change_s - rand.uniform(0, spread_s), True)
            for _ in range(leave)
        ),
        *(Player(change_s - rand.uniform(0, spread_s), 1000.0, True) for _ in range(come)),
    ]
    assert is_near(estimate(players, change_s + SETTLED_S, seed=seed), stay + come)


def test_one_counts_at_once_and_is_gone_soon() -> None:
    cadences = Cadences()
    cadences.note(S, "key", "net", blocking=0, plain=1, now_s=100.0)
    counts = BareCounts()
    for rate in cadences.rates(100.0):
        counts.tell(rate, "", 100.0)
    assert counts.players(S, PACE, 100.0) == {"net": 1}
    cadences.note(S, "key", "net", blocking=25, plain=0, now_s=105.0)
    assert len(list(cadences.rates(105.0 + BLOCKING_HOLD_S - 0.1))) == 1
    assert len(list(cadences.rates(100.0 + PLAIN_HOLD_S))) == 0
    assert len(cadences) == 0
    assert counts.players(S, PACE, 100.0 + TOLD_S) == {}
    assert (len(counts), counts.streams) == (0, [])


def test_kinds_and_networks_are_apart_and_tellers_are_not() -> None:
    counts = BareCounts()
    for key, network, teller, blocking_per_s in (
        ("a", "x", "one", 10.0),
        ("a", "x", "two", 10.0),
        ("a", "x", "two", 15.0),  # in place of the one before
        ("b", "x", "one", 0.0),
        ("c", "y", "one", 2.5),
    ):
        counts.tell(BareRate(S, key, network, blocking_per_s, 0.0), teller, 1.0)
    assert counts.players(S, PACE, 1.0) == {"x": 5 + 1, "y": 1}
    assert counts.players(T, PACE, 1.0) == {}
    counts.forget(S)
    counts.forget(T)
    assert len(counts) == 0


def test_a_network_has_a_bound() -> None:
    counts = BareCounts()
    counts.tell(BareRate(S, "a", "x", 9_000.0, 0.0), "", 0.0)
    counts.tell(BareRate(S, "b", "x", 9_000.0, 0.0), "", 0.0)
    assert counts.players(S, PACE, 0.0) == {"x": MAX_PER_NETWORK}


def test_buckets_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BUCKETS", 3)
    cadences = Cadences()
    for key in "abcad":
        cadences.note(S, key, "net", blocking=1, plain=0, now_s=1.0)
    assert sorted(rate.key for rate in cadences.rates(1.0)) == ["a", "c", "d"]
    cadences.forget(S)
    assert len(cadences) == 0


def test_a_client_of_many_kinds_takes_no_places() -> None:
    cadences = Cadences()
    for kind in range(3 * MAX_KINDS):
        cadences.note(S, f"{kind}", "net", blocking=1, plain=0, now_s=1.0)
    cadences.note(S, "other", "far", blocking=1, plain=0, now_s=1.0)
    assert len(cadences) == MAX_KINDS + 1 + 1
    assert list(cadences.rates(50.0)) == []
    assert cadences._kinds == {}
    cadences.note(S, "new", "net", blocking=1, plain=0, now_s=51.0)
    assert [rate.key for rate in cadences.rates(51.0)] == ["new"]


def test_rates_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bare_module, "MAX_RATES", 2)
    counts = BareCounts()
    for number, stream in enumerate([S, T, T]):
        counts.tell(BareRate(stream, f"{number}", "net", 0.0, 0.0), "", float(number))
    assert len(counts) == 2
    assert counts.streams == [T]


def test_a_bucket_keeps_few_notes() -> None:
    cadences = Cadences()
    for number in range(10_000):
        cadences.note(S, "key", "net", blocking=1, plain=0, now_s=number / 100)
    (bucket,) = cadences._buckets.values()
    assert len(bucket.notes) <= 25
    (rate,) = cadences.rates(100.0)
    assert rate.blocking_per_s == pytest.approx(100, rel=0.05)
