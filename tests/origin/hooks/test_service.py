"""Hooks: at least once and in order, whatever receivers, disks and processes do."""

import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest
import trio
from hook_receivers import Answer, Got, MemoryHooks, Receiver
from structlog.testing import capture_logs
from trio.testing import MockClock

from control.hook_model import MAX_DEAD, MAX_PENDING, DeliveryStatus
from edge.events import EventBus
from edge.posting import MAX_ANSWER_BYTES, Poster
from origin.hooks import service
from origin.hooks.lanes import DOWN_FAILURES, MAX_PAUSE_S, MAX_UNDER_WAY
from origin.hooks.service import (
    BATCH_S,
    KEEP_DEAD_S,
    MAX_AGE_S,
    MIN_ATTEMPTS,
    STORE_RETRY_S,
    TIMEOUT_S,
    Hooks,
    HookState,
)

URL = "http://receiver.test/hook"
NOW_S = 1_000_000.0
CHANCE = 0.5


class House:
    """One process after the other, over one store."""

    def __init__(self, receiver: Receiver | None = None) -> None:
        self.store = MemoryHooks(self.now)
        self.receiver = receiver or Receiver()
        self.began_s = trio.current_time()
        self.bus: EventBus
        self.hooks: Hooks

    def now(self) -> float:
        return NOW_S + trio.current_time() - self.began_s

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Hooks]:
        self.bus = EventBus(self.now)
        self.hooks = Hooks(
            store=self.store,
            events=self.bus,
            key=b"k" * 32,
            poster=Poster(self.receiver.client(), clock_s=self.now),
            clock=self.now,
            chance=lambda: CHANCE,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(self.hooks.run)
            yield self.hooks
            nursery.cancel_scope.cancel()

    async def add(self, *events: str, **more: Any) -> HookState:
        wanted: dict[str, Any] = {
            "url": URL,
            "events": events or ("*",),
            "stream_id": None,
            "enabled": True,
            "description": "",
        }
        return await self.hooks.add(**{**wanted, **more})

    def emit(self, stream_id: str, number: int, kind: str = "stream.updated") -> None:
        self.bus.emit(kind, stream_id, n=number)

    def waiting(self) -> int:
        (count,) = self.store.connection.execute(
            "SELECT count(*) FROM hook_deliveries WHERE status = 'pending'"
        ).fetchone()
        return int(count)


def numbers(got: list[Got], stream_id: str = "s") -> list[int]:
    """What came of a stream."""
    return [one.event["data"]["n"] for one in got if one.event["streamId"] == stream_id]


def down(_got: Got) -> Answer:
    return Answer(error=httpx.ConnectError("refused"))


def status(code: int) -> Callable[[Got], Answer]:
    return lambda _got: Answer(code)


# -- what a receiver gets


async def test_an_event_is_sent_signed_with_all_that_a_receiver_needs(
    autojump_clock: MockClock,
) -> None:
    house = House()
    async with house.running() as hooks:
        state = await house.add()
        house.emit("s", 1)
        await trio.sleep(1)
    (got,) = house.receiver.taken
    assert got.url == URL
    assert set(got.event) == {"id", "type", "streamId", "at", "data"}
    assert got.event["at"] == NOW_S * 1000
    assert {name: got.headers[name] for name in got.headers if name.startswith("headrace-e")} == {
        "headrace-event": "stream.updated",
        "headrace-event-id": got.event["id"],
    }
    assert got.headers["headrace-hook"] == state.hook.id
    assert got.headers["headrace-attempt"] == "1"
    assert got.headers["content-type"] == "application/json"
    stamp, _, signature = got.headers["headrace-signature"].partition(",")
    secret = hooks.secret(state.hook).encode()
    signed = stamp.removeprefix("t=").encode() + b"." + got.body
    assert signature == "v1=" + hmac.new(secret, signed, "sha256").hexdigest()
    assert house.waiting() == 0
    figures = hooks.figures()
    assert (figures.hooks, figures.delivered, figures.pending, figures.failed) == (1, 1, 0, 0)


async def test_who_wants_what(autojump_clock: MockClock) -> None:
    house = House()
    async with house.running():
        await house.add("stream.*", url=URL + "/streams")
        await house.add("chat.message", url=URL + "/chat")
        await house.add("*", url=URL + "/s", stream_id="s")
        await house.add("*", url=URL + "/off", enabled=False)
        assert house.bus.is_heard("chat.message")
        assert not house.bus.is_heard("chat.banned")
        house.emit("s", 1, "stream.live")
        house.emit("t", 2, "stream.live")
        house.emit("t", 3, "chat.message")
        house.emit("s", 4, "alert.started")
        await trio.sleep(1)
    came = sorted((one.url[len(URL) :], one.event["data"]["n"]) for one in house.receiver.taken)
    assert came == [("/chat", 3), ("/s", 1), ("/s", 4), ("/streams", 1), ("/streams", 2)]


async def test_events_of_a_moment_are_written_together(autojump_clock: MockClock) -> None:
    house = House()
    async with house.running() as hooks:
        await house.add()
        for number in range(100):
            house.emit("s", number)
        assert hooks.figures().pending == 100
        assert house.waiting() == 0
        before = house.store.writes
        await trio.sleep(BATCH_S + 0.01)
        assert house.store.writes == before + 1
        await trio.sleep(1)
    assert numbers(house.receiver.taken) == list(range(100))


# -- order


async def test_a_stream_waits_for_its_own_and_no_other(autojump_clock: MockClock) -> None:
    house = House()
    house.receiver.answer = lambda got: Answer(500 if got.event["streamId"] == "bad" else 200)
    async with house.running():
        await house.add()
        for number in range(5):
            house.emit("bad", number)
            house.emit("good", number)
        await trio.sleep(60)
        assert numbers(house.receiver.taken, "good") == list(range(5))
        assert set(numbers(house.receiver.got, "bad")) == {0}
        house.receiver.answer = status(200)
        await trio.sleep(120)
    assert numbers(house.receiver.taken, "bad") == list(range(5))


async def test_a_receiver_is_not_asked_by_more_than_so_many_at_once(
    autojump_clock: MockClock,
) -> None:
    house = House()
    house.receiver.answer = lambda _got: Answer(after_s=1.0)
    async with house.running():
        await house.add()
        for number in range(20):
            house.emit(f"s{number}", 1)
        await trio.sleep(30)
    assert house.receiver.most_under_way == MAX_UNDER_WAY
    assert len(house.receiver.taken) == 20


async def test_so_many_lanes_of_all_hooks_at_once(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(service, "MAX_UNDER_WAY", 3)
    house = House()
    house.receiver.answer = lambda _got: Answer(after_s=1.0)
    async with house.running():
        for _ in range(3):
            await house.add()
        for number in range(4):
            house.emit(f"s{number}", 1)
        await trio.sleep(30)
    assert house.receiver.most_under_way == 3
    assert len(house.receiver.taken) == 12


async def test_a_busy_stream_does_not_keep_its_place_for_ever(autojump_clock: MockClock) -> None:
    house = House()
    house.receiver.answer = lambda _got: Answer(after_s=0.1)
    async with house.running():
        await house.add()
        for number in range(200):
            for stream in "abcd":
                house.emit(stream, number)
        await trio.sleep(0.5)
        house.emit("late", 1)
        await trio.sleep(4)
        assert numbers(house.receiver.taken, "late") == [1]


# -- receivers that are slow, down or lying

LIES = [
    status(500),
    status(404),
    lambda _got: Answer(302, headers={"Location": "http://elsewhere.test/"}),
    lambda _got: Answer(301, headers={"Location": "http://[bad"}),
    lambda _got: Answer(200, is_endless=True),
    lambda _got: Answer(200, b"x" * (MAX_ANSWER_BYTES + 1)),
    lambda _got: Answer(after_s=TIMEOUT_S + 1),
    lambda _got: Answer(error=httpx.RemoteProtocolError("no HTTP: \xff")),
    lambda _got: Answer(error=httpx.ReadError("reset")),
    down,
]


@pytest.mark.parametrize("lie", LIES)
async def test_whatever_is_no_success_is_tried_again(
    lie: Callable[[Got], Answer], autojump_clock: MockClock
) -> None:
    house = House()
    house.receiver.answer = lie
    async with house.running() as hooks:
        state = await house.add()
        for number in range(3):
            house.emit("s", number)
        await trio.sleep(30)
        assert set(numbers(house.receiver.got)) == {0}
        assert all(one.url == URL for one in house.receiver.got)
        assert len(house.receiver.got) >= 2
        assert state.last_failure
        assert URL not in state.last_failure
        house.receiver.taken.clear()
        house.receiver.answer = status(204)
        await trio.sleep(60)
        assert numbers(house.receiver.taken) == [0, 1, 2]
        assert state.last_failure == ""
        assert hooks.figures().failed >= 2
    assert "headrace-attempt" in house.receiver.taken[0].headers
    assert int(house.receiver.taken[0].headers["headrace-attempt"]) > 1
    assert house.receiver.taken[1].headers["headrace-attempt"] == "1"


async def test_one_that_is_down_costs_another_nothing(autojump_clock: MockClock) -> None:
    house = House()
    house.receiver.answer = lambda got: Answer(after_s=60 if "/slow" in got.url else 0.0)
    async with house.running():
        await house.add(url=URL + "/slow")
        await house.add(url=URL + "/good")
        for number in range(50):
            house.emit("s", number)
            await trio.sleep(0.1)
        await trio.sleep(0.2)
        good = [one for one in house.receiver.taken if one.url.endswith("/good")]
        assert numbers(good) == list(range(50))


async def test_it_is_said_once_that_a_hook_is_down_and_that_it_is_back(
    autojump_clock: MockClock,
) -> None:
    house = House()
    house.receiver.answer = status(500)
    with capture_logs() as logs:
        async with house.running() as hooks:
            state = await house.add()
            house.emit("s", 1)
            await trio.sleep(3600)
            assert hooks.figures().failing == 1
            house.receiver.answer = status(200)
            await trio.sleep(2 * MAX_PAUSE_S)
            assert hooks.figures().failing == 0
    said = [line["event"] for line in logs if line.get("hook") == state.hook.id]
    assert said.count("hook does not answer as it should") == 1
    assert said.count("hook is back") == 1
    assert not any(URL in json.dumps(line, default=str) for line in logs)


async def test_a_test_that_is_delivered_sends_what_waits(autojump_clock: MockClock) -> None:
    house = House()
    house.receiver.answer = down
    async with house.running() as hooks:
        state = await house.add()
        house.emit("s", 1)
        await trio.sleep(1000)
        result = await hooks.test(state)
        assert (result.delivered, result.status, result.reason) == (False, None, "cannot connect")
        house.receiver.answer = status(200)
        result = await hooks.test(state)
        assert (result.delivered, result.status, result.reason) == (True, 200, "")
        await trio.sleep(1)
    assert [one.event["type"] for one in house.receiver.taken] == ["hook.test", "stream.updated"]


# -- what is given up


async def test_what_is_a_day_old_and_was_tried_often_is_given_up_with_what_is_behind_it(
    autojump_clock: MockClock,
) -> None:
    house = House()
    house.receiver.answer = down
    async with house.running() as hooks:
        state = await house.add()
        for number in range(3):
            house.emit("s", number)
        await trio.sleep(MAX_AGE_S - 60)
        assert (state.pending, state.dead) == (3, 0)
        house.emit("s", 3)
        await trio.sleep(2 * MAX_PAUSE_S)
        assert (state.pending, state.dead) == (1, 3)
        dead = await hooks.list_deliveries(state.hook.id, DeliveryStatus.DEAD, after=0, limit=10)
        assert [msgspec.json.decode(row.body)["data"]["n"] for row in dead] == [0, 1, 2]
        assert dead[0].attempts >= MIN_ATTEMPTS
        assert dead[0].reason == "cannot connect"
        house.receiver.answer = status(200)
        await trio.sleep(2 * MAX_PAUSE_S)
        assert numbers(house.receiver.taken) == [3]
        assert await hooks.revive(state, 999) is None
        revived = await hooks.revive(state, dead[1].number)
        assert revived is not None
        assert revived.number > dead[2].number
        await trio.sleep(1)
        assert numbers(house.receiver.taken) == [3, 1]
        assert (state.pending, state.dead) == (0, 2)
        assert hooks.figures().dead == 2
        await trio.sleep(KEEP_DEAD_S + 3600)
        assert state.dead == 0


async def test_what_waited_while_the_server_was_off_is_tried_for_a_while_before_it_is_given_up(
    autojump_clock: MockClock,
) -> None:
    house = House()
    house.receiver.answer = down
    async with house.running():
        await house.add()
        house.emit("s", 1)
        await trio.sleep(1)
    await trio.sleep(3 * MAX_AGE_S)
    async with house.running() as hooks:
        await trio.sleep(60)
        (state,) = hooks.states()
        assert (state.pending, state.dead) == (1, 0)
        house.receiver.answer = status(200)
        await trio.sleep(MAX_PAUSE_S)
    assert numbers(house.receiver.taken) == [1]


async def test_the_oldest_make_room_and_are_counted(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr("control.hook_queries.MAX_PENDING", 10)
    house = House()
    house.receiver.answer = down
    with capture_logs() as logs:
        async with house.running() as hooks:
            state = await house.add()
            for number in range(25):
                house.emit("s", number)
                await trio.sleep(0.1)
            assert house.waiting() == state.pending == 10
            assert state.dropped == hooks.figures().dropped == 15
            house.receiver.answer = status(200)
            await trio.sleep(300)
    # The one that was under way when it had to go may come as well.
    assert numbers(house.receiver.taken)[-10:] == list(range(15, 25))
    assert (await house.store.list_all())[0].dropped == 15
    assert any("the oldest is lost" in line["event"] for line in logs)
    assert MAX_PENDING == 10_000
    assert MAX_DEAD == 1000


async def test_dead_letters_are_bounded(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr("control.hook_queries.MAX_DEAD", 5)
    house = House()
    house.receiver.answer = down
    async with house.running() as hooks:
        state = await house.add()
        for number in range(12):
            house.emit("s", number)
        await trio.sleep(MAX_AGE_S + 3 * MAX_PAUSE_S)
        dead = await hooks.list_deliveries(state.hook.id, DeliveryStatus.DEAD, after=0, limit=99)
    assert [msgspec.json.decode(row.body)["data"]["n"] for row in dead] == list(range(7, 12))


async def test_a_lane_whose_deliveries_are_gone_ends(autojump_clock: MockClock) -> None:
    house = House()
    house.receiver.answer = down
    async with house.running():
        state = await house.add()
        house.emit("s", 1)
        await trio.sleep(1)
        house.store.connection.execute("DELETE FROM hook_deliveries")
        await trio.sleep(60)
        assert len(state.lanes) == 0
        house.receiver.answer = status(200)
        house.emit("s", 2)
        await trio.sleep(60)
    assert numbers(house.receiver.taken) == [2]


# -- disks and processes


async def test_a_disk_that_refuses_costs_nothing_until_the_queue_is_full(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(service, "MAX_QUEUED", 10)
    house = House()
    with capture_logs() as logs:
        async with house.running() as hooks:
            state = await house.add()
            house.store.is_broken = True
            for number in range(13):
                house.emit("s", number)
            await trio.sleep(10 * STORE_RETRY_S)
            assert (hooks.figures().pending, state.dropped) == (10, 3)
            house.store.is_broken = False
            with trio.fail_after(5):
                await hooks.drain()
            await trio.sleep(5)
    assert numbers(house.receiver.taken) == list(range(10))
    assert (await house.store.list_all())[0].dropped == 3
    assert [line["event"] for line in logs].count("cannot store events for hooks") == 1


async def test_a_clean_stop_writes_all_and_a_start_sends_it(autojump_clock: MockClock) -> None:
    house = House()
    house.receiver.answer = down
    async with house.running():
        await house.add()
        for number in range(3):
            house.emit("s", number)
    assert house.waiting() == 3
    house.receiver.answer = status(200)
    async with house.running() as hooks:
        assert hooks.figures().pending == 3
        house.emit("s", 3)
        await trio.sleep(1)
    assert numbers(house.receiver.taken) == [0, 1, 2, 3]


async def test_what_was_delivered_and_not_yet_deleted_comes_again_after_a_kill(
    autojump_clock: MockClock,
) -> None:
    house = House()
    async with house.running() as hooks:
        await house.add()
        house.emit("s", 1)
        with trio.move_on_after(BATCH_S * 1.5):
            await trio.sleep_forever()
        assert numbers(house.receiver.taken) == [1]
        hooks._made.clear()  # killed before it was written
    async with house.running():
        await trio.sleep(1)
    first, again = house.receiver.taken
    assert first.event == again.event


# -- hooks that change


async def test_a_hook_that_is_changed_sends_what_waits_to_its_new_place(
    autojump_clock: MockClock,
) -> None:
    house = House()
    house.receiver.answer = lambda got: Answer(500 if got.url == URL else 200)
    async with house.running() as hooks:
        state = await house.add()
        house.emit("s", 1)
        await trio.sleep(1000)
        before = hooks.secret(state.hook)
        hook = msgspec.structs.replace(state.hook, url=URL + "/new", generation=2)
        assert await hooks.change(state, hook)
        assert hooks.secret(state.hook) != before
        await trio.sleep(1)
        assert [one.url for one in house.receiver.taken] == [URL + "/new"]


async def test_one_that_is_disabled_waits_and_one_that_is_removed_is_forgotten(
    autojump_clock: MockClock,
) -> None:
    house = House()
    house.receiver.answer = status(500)
    async with house.running() as hooks:
        state = await house.add()
        house.emit("s", 1)
        await trio.sleep(1)
        assert await hooks.change(state, msgspec.structs.replace(state.hook, enabled=False))
        house.receiver.answer = status(200)
        house.emit("s", 2)
        await trio.sleep(1000)
        assert not house.receiver.taken
        assert await hooks.change(state, msgspec.structs.replace(state.hook, enabled=True))
        await trio.sleep(1)
        assert numbers(house.receiver.taken) == [1]
        house.receiver.answer = status(500)
        house.emit("s", 3)
        await trio.sleep(1)
        assert await hooks.delete(state.hook.id)
        assert not await hooks.delete(state.hook.id)
        assert not await hooks.change(state, state.hook)
        asked = len(house.receiver.got)
        house.emit("s", 4)
        await trio.sleep(3600)
        assert len(house.receiver.got) == asked
    assert house.waiting() == 0


async def test_a_hook_removed_while_its_event_is_queued_is_no_trouble(
    autojump_clock: MockClock,
) -> None:
    house = House()
    async with house.running() as hooks:
        state = await house.add()
        house.emit("s", 1)
        await hooks.delete(state.hook.id)
        await trio.sleep(1)
        assert hooks.figures().pending == 0
    assert not house.receiver.got


async def test_down_means_several_failures_in_a_row(autojump_clock: MockClock) -> None:
    house = House()
    house.receiver.answer = down
    async with house.running():
        state = await house.add()
        house.emit("s", 1)
        await trio.sleep(BATCH_S + 0.01)
        for failures in range(1, DOWN_FAILURES + 1):
            assert state.lanes.failures == failures
            assert state.lanes.is_down is (failures == DOWN_FAILURES)
            await trio.sleep(2.0 * 2.5 ** (failures - 1) + 0.01)
