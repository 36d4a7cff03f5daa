"""What is due: order within a lane, independence of lanes, pauses, a hook that is down."""

import pytest

from origin.hooks.catalog import PATTERNS, TYPES, matches
from origin.hooks.lanes import (
    DOWN_FAILURES,
    FIRST_PAUSE_S,
    JITTER,
    MAX_PAUSE_S,
    MAX_UNDER_WAY,
    PROBE_S,
    Lane,
    Lanes,
    backoff_s,
)


def chosen(lanes: Lanes, now_s: float) -> Lane:
    lane = lanes.choose(now_s)
    assert lane is not None
    return lane


@pytest.mark.parametrize(
    ("patterns", "kind", "expected"),
    [
        (["stream.live"], "stream.live", True),
        (["stream.live"], "stream.ended", False),
        (["stream.*"], "stream.ended", True),
        (["alert.*", "stream.live"], "stream.live", True),
        (["*"], "publisher.connected", True),
        (["*"], "chat.message", False),
        (["*", "chat.message"], "chat.message", True),
        (["chat.*"], "chat.banned", True),
        (["stream.*"], "streams.live", False),
    ],
)
def test_patterns(patterns: list[str], kind: str, expected: bool) -> None:
    assert matches(patterns, kind) is expected


def test_every_type_has_its_family_and_all_but_chat_are_in_the_star() -> None:
    for kind in TYPES:
        assert f"{kind.partition('.')[0]}.*" in PATTERNS
        assert matches(["*"], kind) is not kind.startswith("chat.")


@pytest.mark.parametrize("attempts", [1, 2, 3, 8, 9, 100, 10_000])
def test_pauses_grow_to_half_an_hour(attempts: int) -> None:
    least, middle, most = (backoff_s(attempts, chance) for chance in (0.0, 0.5, 1.0))
    assert least == pytest.approx(middle * (1 - JITTER))
    assert most == pytest.approx(middle * (1 + JITTER))
    assert middle == min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.5 ** min(attempts - 1, 20))


def test_a_lane_is_worked_on_by_one_at_a_time() -> None:
    lanes = Lanes()
    lanes.note("a", 1, 1, 0.0)
    lanes.note("a", 2, 2, 0.0)
    lane = chosen(lanes, 0.0)
    assert lanes.choose(0.0) is None
    lanes.note("a", 3, 3, 0.0)
    assert lanes.choose(0.0) is None
    assert not lanes.made(lane, 1, 0.0)
    lanes.release(lane)
    lane = chosen(lanes, 0.0)
    assert (lane.done, lane.last) == (1, 3)
    lanes.made(lane, 2, 0.0)
    lanes.made(lane, 3, 0.0)
    lanes.release(lane)
    assert len(lanes) == 0
    assert lanes.next_s() == float("inf")


def test_so_many_lanes_at_once_and_who_is_due_first_is_first() -> None:
    lanes = Lanes()
    for number in range(MAX_UNDER_WAY + 1):
        lanes.note(f"s{number}", number + 1, number + 1, 0.0)
    taken = [chosen(lanes, 0.0) for _ in range(MAX_UNDER_WAY)]
    assert [lane.stream_id for lane in taken] == [f"s{n}" for n in range(MAX_UNDER_WAY)]
    assert lanes.choose(0.0) is None
    assert lanes.next_s() == float("inf")
    lanes.skip(taken[0], 1)
    lanes.release(taken[0])
    assert chosen(lanes, 0.0).stream_id == f"s{MAX_UNDER_WAY}"


def test_a_lane_that_failed_waits_and_holds_up_no_other() -> None:
    lanes = Lanes()
    lanes.note("a", 1, 1, 0.0)
    lane = chosen(lanes, 0.0)
    lanes.failed(lane, 1, 0.0, 0.5)
    lanes.release(lane)
    lanes.note("b", 2, 2, 0.0)
    assert chosen(lanes, 0.0).stream_id == "b"
    assert lanes.choose(0.0) is None
    assert lanes.next_s() == FIRST_PAUSE_S
    assert chosen(lanes, FIRST_PAUSE_S) is lane


def test_a_hook_that_is_down_is_probed_by_one_lane_at_a_time_until_it_is_back() -> None:
    lanes = Lanes()
    for number in range(1, 4):
        lanes.note(f"s{number}", number, number, 0.0)
    for _ in range(DOWN_FAILURES):
        lane = chosen(lanes, 0.0)
        lanes.failed(lane, 5, 0.0, 0.5)
        lanes.release(lane)
    assert lanes.is_down
    lanes.note("fresh", 9, 9, 0.0)
    assert lanes.choose(0.0) is None
    assert lanes.next_s() == PROBE_S
    lane = chosen(lanes, PROBE_S)
    assert lane.stream_id == "fresh"
    assert lanes.choose(1e9) is None  # one at a time
    assert lanes.made(lane, 9, PROBE_S)
    lanes.release(lane)
    assert lanes.failures == 0
    assert [chosen(lanes, PROBE_S).stream_id for _ in range(3)] == ["s1", "s2", "s3"]


def test_who_is_woken_is_due_but_still_down() -> None:
    lanes = Lanes()
    lanes.note("a", 1, 1, 0.0)
    for attempt in range(1, DOWN_FAILURES + 1):
        lane = chosen(lanes, 1e6)
        lanes.failed(lane, attempt, 1e6, 0.5)
        lanes.release(lane)
        lanes.wake(1e6)
    assert lanes.is_down
    assert lanes.next_s() == 1e6
