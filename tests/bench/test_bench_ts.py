"""Benchmarks of the transport stream muxer: how long the event loop stands still for a segment.

Printed, never asserted on time. A segment is made when it is first asked for, while everything else
waits: 2 s at 6 Mbit/s should take less than 3 ms. The yardstick of the same run is what cannot be
saved: one copy of the same bytes into rows of 188 (184 from here, 4 left out), with numpy alone.
What the figures do not show: a cold cache, and the memory that a larger process has to ask for.
"""

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from media_samples import asc, avc_record, nal

from hls import AacConfig, AvcConfig
from hls.demux_fragment import read_fragment
from hls.fragment import NON_SYNC_FLAGS, SYNC_FLAGS, FragmentWriter
from hls.init_segment import describe_init_segment
from hls.ts import TsTracks, mux_segment
from native import IMPLEMENTATION, FragmentSample

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

pytestmark = pytest.mark.bench

SEGMENT_S = 2
PART_S = 0.2
AUDIO_BYTES = 427


def parts(fps: int, slices: int, bits_per_second: int) -> list[bytes]:
    writer = FragmentWriter()
    size = bits_per_second // 8 // fps // slices
    made = []
    pictures, sounds = round(fps * PART_S), round(48_000 / 1024 * PART_S)
    for index in range(round(SEGMENT_S / PART_S)):
        video = []
        for number in range(pictures):
            idr = not index and not number
            data = slices * nal(5 if idr else 1, bytes(size))
            flags = SYNC_FLAGS if idr else NON_SYNC_FLAGS
            video.append(FragmentSample(data, 90_000 // fps, 3000, flags))
        audio = [FragmentSample(bytes(AUDIO_BYTES), 1024, 0, SYNC_FLAGS)] * sounds
        video_time = index * pictures * (90_000 // fps)
        made.append(writer.write(video_time, video, index * sounds * 1024, audio))
    return made


CASES = {
    "6 Mbit/s, 30 fps": (30, 1, 6_000_000),
    "6 Mbit/s, 60 fps, eight slices": (60, 8, 6_000_000),
    "1 Mbit/s, 30 fps": (30, 1, 1_000_000),
    "20 Mbit/s, 60 fps": (60, 1, 20_000_000),
}


def median_ms(times: list[float]) -> float:
    return 1000 * statistics.median(times)


@pytest.mark.parametrize("name", CASES)
def test_muxing_a_segment(benchmark: "BenchmarkFixture", name: str) -> None:
    chunks = parts(*CASES[name])
    video, audio = AvcConfig.parse(avc_record()), AacConfig.parse(asc(48_000, 2))
    tracks = TsTracks.of(describe_init_segment(0, b"", video, audio, None))
    assert tracks is not None
    made = benchmark(mux_segment, tracks, chunks, msn=0, start_ticks=0)
    payload = np.frombuffer(b"".join(chunks), np.uint8)
    bodies = payload[: payload.size // 184 * 184].reshape(-1, 184)
    muxed, copied, read = [], [], []
    for _ in range(30):  # in turns, so that whatever else runs meets all three
        began = time.perf_counter()
        mux_segment(tracks, chunks, msn=0, start_ticks=0)
        muxed.append(time.perf_counter() - began)
        began = time.perf_counter()
        rows = np.empty((len(bodies), 188), np.uint8)
        rows[:, 4:] = bodies
        copied.append(time.perf_counter() - began)
        began = time.perf_counter()
        for chunk in chunks:
            read_fragment(chunk)
        read.append(time.perf_counter() - began)
    print(
        f"\n{IMPLEMENTATION}: {name}: {median_ms(muxed):.2f} ms for {len(made) / 1e6:.2f} MB "
        f"(longest {1000 * max(muxed):.2f}), {len(made) / payload.size - 1:.1%} more than fMP4; of "
        f"it {median_ms(read):.2f} ms to find the samples. One copy into rows: "
        f"{median_ms(copied):.2f} ms"
    )
