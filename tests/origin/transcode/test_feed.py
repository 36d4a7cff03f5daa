"""The queue to a worker: order, joins, its bound, its end."""

import trio
from trio.testing import wait_all_tasks_blocked

from origin.transcode.feed import MAX_FEED_BYTES, MAX_WRITE_BYTES, Feed


async def test_frames_come_out_joined_and_in_order() -> None:
    feed = Feed()
    for frame in (b"one", b"two", b"three"):
        feed.put(frame)
    assert feed.size_bytes == 11
    assert await feed.take() == b"onetwothree"
    assert feed.size_bytes == 0


async def test_a_write_is_bounded_but_for_a_single_frame() -> None:
    feed = Feed()
    half = bytes(MAX_WRITE_BYTES // 2)
    for frame in (half, half, b"x", bytes(2 * MAX_WRITE_BYTES)):
        feed.put(frame)
    assert len(await feed.take()) == MAX_WRITE_BYTES
    assert await feed.take() == b"x"
    assert len(await feed.take()) == 2 * MAX_WRITE_BYTES


async def test_whoever_waits_is_woken_by_frames_and_by_the_end() -> None:
    feed = Feed()
    taken: list[bytes] = []

    async def take() -> None:
        while frames := await feed.take():
            taken.append(frames)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await wait_all_tasks_blocked()
            feed.put(b"late")
            await wait_all_tasks_blocked()
            assert taken == [b"late"]
            feed.put(b"last")
            feed.end()
    assert taken == [b"late", b"last"]
    feed.put(b"too late")
    assert await feed.take() == b""
    assert feed.size_bytes == 0


async def test_it_says_when_it_is_full_and_can_be_cleared() -> None:
    feed = Feed()
    full = []
    for frame in (bytes(MAX_FEED_BYTES), b"x"):
        feed.put(frame)
        full.append(feed.is_full)
    assert full == [False, True]
    feed.clear()
    assert (feed.size_bytes, feed.is_full) == (0, False)


async def test_a_cancelled_take_takes_nothing() -> None:
    feed = Feed()
    feed.put(b"frame")
    with trio.CancelScope() as scope:
        scope.cancel()
        await feed.take()
    assert scope.cancelled_caught
    assert feed.size_bytes == 5
