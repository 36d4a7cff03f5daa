"""A viewer who only looks at the clock: when does a playlist list each part?

Runs as a process of its own, at a higher priority where that is allowed, because viewers have
machines of their own: a test that starves the origin of CPU, or that has a dozen threads, must not
find its own delays. `PaceProbe` starts it and reads what it wrote: a line for each part, the time
(`time.monotonic`, the same clock for all processes), msn, index, microseconds, whether it is a gap.

Shares no code with what it watches, and imports nothing slow.
"""

import contextlib
import http.client
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from child_process import Child

PRIORITY = -10

_PART = re.compile(r"#EXT-X-PART:DURATION=(\d+)\.(\d{6}),(.*)")
_SEQUENCE = re.compile(r"#EXT-X-MEDIA-SEQUENCE:(\d+)")
_PACE = re.compile(r"PART-HOLD-BACK=(\d+)\.(\d{3}).*?PART-TARGET=(\d+)\.(\d{3})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One part, at the moment when the playlist came that listed it first."""

    at_s: float
    msn: int
    index: int
    duration_us: int
    is_gap: bool


@dataclass(frozen=True, slots=True)
class Pace:
    """What a `PaceProbe` saw."""

    name: str
    arrivals: tuple[Arrival, ...]
    part_hold_back_us: int
    part_target_us: int


class PaceProbe(Child):
    """Follows one media playlist until ENDLIST, or until it is stopped.

    Args:
        address: HOST:PORT of the HTTP server.
        stream_id: The stream, which must be live.
        quality: The rendition.
        folder: For its log.
    """

    def __init__(self, address: str, stream_id: str, quality: str, folder: Path) -> None:
        self._name = quality
        path = f"/api/streams/{stream_id}/{quality}/playlist.m3u8"
        log = folder / f"pace-{stream_id}-{quality}.log"
        super().__init__([sys.executable, __file__, address, path], log=log)

    def finish(self, timeout_s: float) -> Pace:
        """Wait for ENDLIST and return what was seen."""
        assert self.wait(timeout_s) == 0, self.tail()
        head, *lines = self.log_text().splitlines()
        hold_back_us, part_target_us = map(int, head.split())
        arrivals = []
        for line in lines:
            at_s, *numbers = line.split()
            msn, index, duration_us, is_gap = map(int, numbers)
            arrivals.append(Arrival(float(at_s), msn, index, duration_us, bool(is_gap)))
        return Pace(self._name, tuple(arrivals), hold_back_us, part_target_us)


def _watch(address: str, path: str) -> None:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    query = ""
    newest = (-1, -1)
    while True:
        connection.request("GET", path + query)
        answer = connection.getresponse()
        text = answer.read().decode()
        now_s = time.monotonic()
        if answer.status != 200:
            raise SystemExit(f"status {answer.status}: {text}")
        if newest == (-1, -1):
            pace = _PACE.search(text)
            assert pace is not None, text
            print(int(pace[1] + pace[2]) * 1000, int(pace[3] + pace[4]) * 1000)
        sequence = _SEQUENCE.search(text)
        assert sequence is not None, text
        msn, index = int(sequence[1]), 0
        for line in text.splitlines():
            if line.startswith("#EXT-X-PART:"):
                part = _PART.fullmatch(line)
                assert part is not None, line
                if (msn, index) > newest:
                    newest = (msn, index)
                    is_gap = int("GAP=YES" in part[3])
                    print(f"{now_s:.6f} {msn} {index} {int(part[1] + part[2])} {is_gap}")
                index += 1
            elif not line.startswith("#"):
                msn, index = msn + 1, 0
        if "#EXT-X-ENDLIST" in text:
            return
        query = f"?_HLS_msn={msn}&_HLS_part={index}"


if __name__ == "__main__":
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    _watch(sys.argv[1], sys.argv[2])
