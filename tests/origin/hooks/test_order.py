"""Histories of failures, restarts and kills, drawn by Hypothesis: nothing is lost or overtaken."""

from contextlib import AsyncExitStack
from typing import Any

import trio
from hook_receivers import Answer, Got, MemoryHooks, Receiver
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from edge.events import EventBus
from edge.posting import Poster
from origin.hooks.lanes import MAX_PAUSE_S
from origin.hooks.service import BATCH_S, Hooks

STREAMS = ("a", "b", "c")
URLS = ("http://one.test/", "http://two.test/")
NOW_S = 1_000_000.0

emits = st.tuples(st.just("emit"), st.sampled_from(STREAMS), st.integers(1, 30))
answers = st.tuples(
    st.just("answer"),
    st.sampled_from(URLS),
    st.sampled_from(("good", "bad", "slow", "silent", "bad a", "every third")),
)
waits = st.tuples(st.just("wait"), st.sampled_from((0.01, 0.06, 1.0, 20.0, 600.0)))
ends = st.sampled_from((("stop",), ("kill",)))
histories = st.lists(st.one_of(emits, answers, waits, ends), max_size=25)


class World:
    """A store and two receivers that outlive the processes."""

    def __init__(self) -> None:
        self.store = MemoryHooks(lambda: NOW_S)
        self.receiver = Receiver()
        self.receiver.answer = self.answer
        self.moods = dict.fromkeys(URLS, "good")
        self.sent: dict[str, list[int]] = {stream: [] for stream in STREAMS}
        self.count = 0
        self.asked = 0
        self.bus = EventBus()
        self.hooks: Hooks

    def answer(self, got: Got) -> Answer:
        mood = self.moods[got.url]
        self.asked += 1
        if mood == "bad" or (mood == "bad a" and got.event["streamId"] == "a"):
            return Answer(500)
        if mood == "every third" and self.asked % 3:
            return Answer(503)
        return Answer(after_s={"slow": 0.5, "silent": 1e6}.get(mood, 0.0))

    def start(self, nursery: trio.Nursery) -> Any:
        self.bus = EventBus(lambda: NOW_S)
        self.hooks = Hooks(
            store=self.store,
            events=self.bus,
            key=b"k" * 32,
            poster=Poster(self.receiver.client()),
            clock=lambda: NOW_S,
            chance=lambda: 0.5,
        )
        return nursery.start(self.hooks.run)

    def emit(self, stream_id: str) -> None:
        self.count += 1
        self.sent[stream_id].append(self.count)
        self.bus.emit("stream.updated", stream_id, n=self.count)


async def live(history: list[tuple[Any, ...]]) -> World:
    world = World()
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        await world.start(nursery)
        for url in URLS:
            await world.hooks.add(
                url=url, events=["*"], stream_id=None, enabled=True, description=""
            )
        for step in [*history, *[("answer", url, "good") for url in URLS]]:
            match step:
                case ("emit", stream_id, count):
                    for _ in range(count):
                        world.emit(stream_id)
                case ("answer", url, mood):
                    world.moods[url] = mood
                case ("wait", seconds):
                    await trio.sleep(seconds)
                case ("stop",) | ("kill",):
                    if step == ("kill",):  # all that was put is written: the rest is not promised
                        await trio.sleep(3 * BATCH_S)
                        world.store.is_broken = True
                    nursery.cancel_scope.cancel()
                    await stack.aclose()
                    world.store.is_broken = False
                    nursery = await stack.enter_async_context(trio.open_nursery())
                    await world.start(nursery)
        await trio.sleep(2 * MAX_PAUSE_S)
        assert world.hooks.figures().pending == 0
        nursery.cancel_scope.cancel()
    return world


@given(histories)
@settings(max_examples=60)
def test_each_event_comes_at_least_once_and_in_order(history: list[tuple[Any, ...]]) -> None:
    world = trio.run(live, history, clock=MockClock(autojump_threshold=0))
    for url in URLS:
        for stream_id, sent in world.sent.items():
            mine = [
                (one.event["data"]["n"], one in world.receiver.taken)
                for one in world.receiver.got
                if one.url == url and one.event["streamId"] == stream_id
            ]
            taken: set[int] = set()
            for number, was_taken in mine:
                assert taken >= {other for other in sent if other < number}, "one was overtaken"
                if was_taken:
                    taken.add(number)
            assert taken == set(sent)
            if not {("kill",), ("stop",)} & set(history):
                assert len([1 for _, was_taken in mine if was_taken]) == len(sent), "one came twice"
