"""The queue between stages: bounds, gulps, and nothing lost to a cancellation."""

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from origin.transcode.bounded_queue import BoundedQueue


async def test_taker_gets_all_that_waits_in_order() -> None:
    queue: BoundedQueue[int] = BoundedQueue(10)
    for item in range(5):
        await queue.give(item)
    assert await queue.take(3) == [0, 1, 2]
    assert await queue.take(3) == [3, 4]


async def test_both_sides_notice_a_cancellation_though_they_need_not_wait() -> None:
    queue: BoundedQueue[int] = BoundedQueue(10)
    with trio.CancelScope() as giving:
        giving.cancel()
        await queue.give(1)
    await queue.give(2)
    with trio.CancelScope() as taking:
        taking.cancel()
        await queue.take(1)
    assert giving.cancelled_caught
    assert taking.cancelled_caught
    with assert_checkpoints():
        assert await queue.take(9) == [2]


async def test_taker_waits_for_an_item() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1)
    taken: list[int] = []

    async def take() -> None:
        taken.extend(await queue.take(9))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        assert taken == []
        await queue.give(7)
    assert taken == [7]


async def giver(queue: BoundedQueue[int], items: list[int], weight: int = 0) -> None:
    for item in items:
        await queue.give(item, weight)


async def test_items_are_bounded() -> None:
    queue: BoundedQueue[int] = BoundedQueue(3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(giver, queue, list(range(8)))
        taken: list[int] = []
        while len(taken) < 8:
            await wait_all_tasks_blocked()
            assert len(queue) == min(3, 8 - len(taken))
            taken += await queue.take(2)
    assert taken == list(range(8))


async def test_weight_is_bounded_and_one_heavy_item_always_fits() -> None:
    queue: BoundedQueue[int] = BoundedQueue(100, 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(giver, queue, list(range(9)), 6)
        await wait_all_tasks_blocked()
        assert len(queue) == 2  # 6 leaves room, 12 does not
        assert await queue.take(1) == [0]
        await wait_all_tasks_blocked()
        assert len(queue) == 2
        nursery.cancel_scope.cancel()
    heavy: BoundedQueue[int] = BoundedQueue(100, 10)
    await heavy.give(1, 1_000_000)
    assert await heavy.take(9) == [1]


async def test_many_givers_all_get_in_when_there_is_room() -> None:
    queue: BoundedQueue[int] = BoundedQueue(4)
    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(giver, queue, [number])
        await wait_all_tasks_blocked()
        taken = await queue.take(9)
        await wait_all_tasks_blocked()
        assert len(taken) == len(queue) == 4  # one gulp made room for four
        while len(taken) < 12:
            taken += await queue.take(9)
    assert sorted(taken) == list(range(12))


async def test_close_lets_out_what_waits_and_turns_givers_away() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1)
    await queue.give(1)
    turned_away = 0

    async def give() -> None:
        nonlocal turned_away
        with pytest.raises(trio.ClosedResourceError):
            await queue.give(2)
        turned_away += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(give)
        nursery.start_soon(give)
        await wait_all_tasks_blocked()
        queue.close()
    assert turned_away == 2
    assert await queue.take(9) == [1]
    assert await queue.take(9) == []
    with pytest.raises(trio.ClosedResourceError):
        await queue.give(3)


async def test_close_wakes_the_taker() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def take() -> None:
            assert await queue.take(9) == []

        await wait_all_tasks_blocked()
        queue.close()


async def test_last_word_needs_no_room() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1)
    await queue.give(1)
    queue.force(2)
    queue.close()
    assert await queue.take(9) == [1, 2]


async def test_cancelled_giver_gave_nothing_and_the_next_gets_its_room() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1)
    await queue.give(0)
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        @nursery.start_soon
        async def first() -> None:
            with scope:
                await queue.give(1)

        await wait_all_tasks_blocked()
        nursery.start_soon(giver, queue, [2])
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        assert await queue.take(1) == [0]
        await wait_all_tasks_blocked()
        assert await queue.take(9) == [2]


async def test_cancelled_taker_leaves_everything() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1)
    with trio.move_on_after(0) as scope:
        await queue.take(1)
    assert scope.cancelled_caught
    await queue.give(1)
    assert await queue.take(1) == [1]
