"""The tape: parts in order, a bound that costs segments and never time."""

from collections.abc import Sequence

import trio
from recorded_parts import RecordedParts
from trio.testing import wait_all_tasks_blocked

import hls
from origin.recording.tape import QueuedBytes, Tape, TapePart

MADE = RecordedParts(hls)
init, segment, data_of = MADE.init, MADE.segment, MADE.data


def make_tape(
    losses: list[None], *, max_bytes: int = 1000, max_all_bytes: int = 10_000,
    queued: QueuedBytes | None = None,
) -> Tape:  # fmt: skip
    return Tape(
        started_at_s=1_800_000_000.0,
        queued=queued or QueuedBytes(),
        on_loss=lambda: losses.append(None),
        max_bytes=max_bytes,
        max_all_bytes=max_all_bytes,
    )


async def drain(tape: Tape) -> list[TapePart]:
    found: list[TapePart] = []
    while parts := await tape.receive():
        found.extend(parts)
    return found


def bytes_of(parts: Sequence[TapePart]) -> bytes:
    return b"".join(part.data for part in parts)


async def test_parts_come_in_order_as_soon_as_they_are_cut() -> None:
    tape = make_tape([])
    tape.take([init(), *segment(0), *segment(1)[:1]])
    first = await tape.receive()
    assert bytes_of(first) == data_of(0) + data_of(1)[:50]
    tape.take(segment(1)[1:])
    tape.end()
    found = [*first, *await drain(tape)]
    assert bytes_of(found) == data_of(0) + data_of(1)
    assert [one.begins for one in found] == [True, False, True, False]
    assert [one.epoch_ms for one in found] == [
        1_800_000_000_000 + at for at in (0, 1000, 2000, 3000)
    ]
    assert {one.duration_us for one in found} == {1_000_000}
    assert not any(one.discontinuity for one in found)


async def test_what_does_not_fit_is_left_out_once_told_and_marked() -> None:
    losses: list[None] = []
    tape = make_tape(losses, max_bytes=250)
    tape.take([init(), *segment(0), *segment(1), *segment(2), *segment(3)])
    # Two segments and half of the third.
    assert (tape.queued_bytes, tape.lost_segments, len(losses)) == (250, 2, 1)
    first = await tape.receive()
    assert tape.queued_bytes == 250, "what is being written still counts"
    tape.take(segment(4))
    assert tape.lost_segments == 3
    tape.end()
    assert bytes_of(first) == data_of(0) + data_of(1) + data_of(2)[:50]
    assert await drain(tape) == []
    assert (tape.queued_bytes, len(losses)) == (0, 1)


async def test_after_a_loss_the_next_segment_is_a_discontinuity() -> None:
    losses: list[None] = []
    tape = make_tape(losses, max_bytes=120)
    tape.take([init(), *segment(0), *segment(1)])
    await tape.receive()
    with trio.move_on_after(0):
        await tape.receive()  # the task asks for more, so the first are written
    tape.take([*segment(2), *segment(3)])
    tape.end()
    found = await drain(tape)
    assert bytes_of(found) == data_of(2)
    assert [one.discontinuity for one in found] == [True, False]
    assert len(losses) == 2


async def test_all_tapes_have_one_bound_and_a_closed_one_gives_its_share_back() -> None:
    queued = QueuedBytes()
    first = make_tape([], max_all_bytes=250, queued=queued)
    second = make_tape([], max_all_bytes=250, queued=queued)
    first.take([init(), *segment(0), *segment(1)])
    second.take([init(), *segment(0)])
    assert (queued.total, second.lost_segments) == (250, 1)
    await first.receive()
    first.close()
    second.take(segment(1))
    assert (queued.total, second.lost_segments) == (150, 1)
    first.take(segment(2))
    assert (queued.total, first.queued_bytes) == (150, 0)
    assert await drain(first) == []


async def test_a_receiver_waits_and_wakes(autojump_clock: trio.testing.MockClock) -> None:
    tape = make_tape([])
    found: list[TapePart] = []

    async def receive() -> None:
        found.extend(await drain(tape))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        tape.take([init(), *segment(0)[:1]])
        await wait_all_tasks_blocked()
        assert tape.queued_bytes == 0  # it has come back for more
        tape.end()
    assert len(found) == 1


async def test_a_gap_or_media_without_an_init_section_is_a_loss() -> None:
    losses: list[None] = []
    tape = make_tape(losses)
    tape.take(segment(0))
    tape.end()
    assert await drain(tape) == []
    assert (tape.lost_segments, len(losses)) == (1, 1)
