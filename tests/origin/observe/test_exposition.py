"""The text of /metrics: made in slices, seldom."""

from collections.abc import Iterator

import pytest
import trio
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from trio.testing import MockClock, wait_all_tasks_blocked

from origin.observe.exposition import MAX_SAMPLES, RENDER_INTERVAL_S, Exposition


class Families(Collector):
    """So many; remembers how often it was asked, and who had a turn meanwhile."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked = 0
        self.turns = 0
        self.seen: list[int] = []

    def collect(self) -> Iterator[Metric]:
        self.asked += 1
        for number in range(self.count):
            self.seen.append(self.turns)
            yield GaugeMetricFamily(f"family_{number}", "A figure.", number)


async def test_a_rendering_is_everything_in_order(autojump_clock: MockClock) -> None:
    text = await Exposition([Families(3), Families(0), Families(1)]).render()
    names = [family.name for family in text_string_to_metric_families(text.decode())]
    assert names == ["family_0", "family_1", "family_2", "family_0"]


async def test_others_have_their_turn_between_two_families(autojump_clock: MockClock) -> None:
    families = Families(50)

    async def other() -> None:
        while True:
            families.turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await Exposition([families]).render()
        nursery.cancel_scope.cancel()
    assert all(turns >= number - 1 for number, turns in enumerate(families.seen))


async def test_it_serves_for_a_second_and_all_who_ask_at_once(autojump_clock: MockClock) -> None:
    families = Families(2)
    exposition = Exposition([families])
    texts: list[bytes] = []

    async def ask() -> None:
        texts.append(await exposition.render())

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    assert families.asked == 1
    assert len(set(map(id, texts))) == 1
    await trio.sleep(0.99 * RENDER_INTERVAL_S)
    await ask()
    assert families.asked == 1
    await trio.sleep(0.01 * RENDER_INTERVAL_S)
    await ask()
    assert families.asked == 2


async def test_who_leaves_midway_leaves_nothing_half_made(autojump_clock: MockClock) -> None:
    families = Families(50)
    exposition = Exposition([families])
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exposition.render)
            await trio.lowlevel.checkpoint()
            scope.cancel()
    await wait_all_tasks_blocked()
    assert (await exposition.render()).count(b"# TYPE") == 50


def test_a_large_family_comes_in_pieces_and_is_whole() -> None:
    class Large(Collector):
        def collect(self) -> Iterator[Metric]:
            family = GaugeMetricFamily("large", "One.\\n two", labels=("number",))
            for number in range(2 * MAX_SAMPLES + 1):
                family.add_metric([str(number)], number)
            yield family

    slices = list(Exposition([Large()]).slices())
    assert len(slices) == 3
    (family,) = text_string_to_metric_families(b"".join(slices).decode())
    assert [sample.value for sample in family.samples] == list(range(2 * MAX_SAMPLES + 1))
    assert b"".join(slices).count(b"# ") == 2


def test_a_bug_in_a_collector_is_seen() -> None:
    class Broken(Collector):
        def collect(self) -> Iterator[Metric]:
            yield GaugeMetricFamily("family", "A figure.", 1)
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        list(Exposition([Broken()]).slices())
