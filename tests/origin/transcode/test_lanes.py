"""How rungs are spread over threads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transcode_runs import Output, rung

from origin.transcode import wire
from origin.transcode.intake import Job, Row
from origin.transcode.lanes import Lane, plan_lanes
from origin.transcode.rung_stage import RungStage

LADDER = [
    rung("720p", width=1280, height=720),
    rung("480p", width=854, height=480),
    rung("360p", width=640, height=360),
]


@pytest.mark.parametrize(
    ("cores", "lanes"),
    [
        (1, [[0, 1, 2]]),
        (2, [[1], [0, 2]]),
        (3, [[], [0], [1, 2]]),
        (8, [[], [0], [1], [2]]),
    ],
)
def test_ladder_on_so_many_cores(cores: int, lanes: list[list[int]]) -> None:
    assert plan_lanes(LADDER, cores) == lanes


def test_rung_that_is_off_counts_as_if_it_were_on() -> None:
    off = [rung("720p", width=1280, height=720, divisor=0), *LADDER[1:]]
    assert plan_lanes(off, 2) == plan_lanes(LADDER, 2)


sizes = st.integers(1, 100).map(lambda side: 2 * side)
rungs = st.builds(
    lambda width, height, divisor: rung(width=width, height=height, divisor=divisor),
    sizes,
    sizes,
    st.integers(0, 3),
)


@given(rungs=st.lists(rungs, min_size=1, max_size=8), cores=st.integers(1, 64))
def test_every_rung_has_one_lane(rungs: list[wire.RungSetup], cores: int) -> None:
    lanes = plan_lanes(rungs, cores)
    assert sorted(index for lane in lanes for index in lane) == list(range(len(rungs)))
    assert 1 <= len(lanes) <= cores
    assert all(lanes[1:])


def row(number: int, divisor: int = 1) -> Row:
    return (Job(number, number * 3000, None, False, divisor),) * 3


def test_lane_does_its_rungs_alone() -> None:
    stages = [RungStage(index, setup) for index, setup in enumerate(LADDER)]
    lane = Lane(stages, [0, 2])
    rows = [row(4), row(5)]
    assert not lane.needs_thread(rows)
    out = Output.of(wire.GREETING + lane.run(rows) + lane.finish())
    assert [coded.number for coded in out.coded(0)] == [4, 5]
    assert out.coded(1) == []
    assert [coded.number for coded in out.coded(2)] == [4, 5]
