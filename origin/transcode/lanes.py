"""How the work of a worker is spread over threads: as many lanes as there are cores, and no more.

A hop to a thread costs 0.15 ms of CPU, and a picture that is encoded where it was scaled is still
in that core's cache. So rungs do not have a thread each: a *lane* is a thread's worth of them. The
first lane also decodes and scales; a picture takes one hop there and one in each other lane. On two
cores::

    lane 0   decode, scale, encode 480p        17 ms of CPU for a picture of 1080p
    lane 1   encode 720p, encode 360p          18 ms

Compared with a hop for each rung, that saved some 5 % of the CPU time (`test_bench_transcode.py`).
The price is latency: another lane's pictures wait for the first lane's encoders.

May import av, by way of `rung_stage`.
"""

from collections.abc import Sequence
from typing import Final

from origin.transcode import wire
from origin.transcode.intake import Row
from origin.transcode.rung_stage import RungStage

#: Cost of decoding and scaling, against that of encoding the largest rung: measured with 1080p to
#: 720p, 11 and 14 ms.
_INTAKE_COST: Final = 0.8


def plan_lanes(rungs: Sequence[wire.RungSetup], cores: int) -> list[list[int]]:
    """Spread rungs over lanes, so that the lanes have about the same to do.

    Args:
        rungs: All of the worker's.
        cores: That it may run on.

    Returns:
        The indexes of each lane's rungs, in ascending order. Only the first lane may be empty.
    """
    costs = [rung.width * rung.height / max(1, rung.divisor) for rung in rungs]
    loads = [0.0] * max(1, min(cores, 1 + len(rungs)))
    loads[0] = _INTAKE_COST * max(costs)
    lanes: list[list[int]] = [[] for _ in loads]
    for index in sorted(range(len(rungs)), key=lambda index: costs[index], reverse=True):
        lane = loads.index(min(loads))
        loads[lane] += costs[index]
        lanes[lane].append(index)
    return [sorted(lane) for lane in lanes if lane or lane is lanes[0]]


class Lane:
    """Encodes some of the rungs; one call at a time.

    Args:
        rungs: Every rung's stage.
        indexes: Which of them are in this lane.
    """

    def __init__(self, rungs: Sequence[RungStage], indexes: Sequence[int]) -> None:
        self._rungs = [(index, rungs[index]) for index in indexes]

    def needs_thread(self, rows: Sequence[Row]) -> bool:
        """Whether `run` would encode something, or finish an encoder."""
        return any(rung.needs_thread([row[index] for row in rows]) for index, rung in self._rungs)

    def run(self, rows: Sequence[Row]) -> bytes:
        """Do this lane's jobs in some rows, in order.

        Returns:
            Frames for the parent.

        Raises:
            TranscodeError: See `RungStage.run`.
        """
        return b"".join([rung.run([row[index] for row in rows]) for index, rung in self._rungs])

    def finish(self) -> bytes:
        """Nothing more comes: what the encoders hold back."""
        return b"".join([rung.finish() for _, rung in self._rungs])
