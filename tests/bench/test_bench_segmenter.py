"""Benchmarks of the segmenter: CPU time per sample, and when a part is available.

Printed, never asserted on time. "Arrival to available" has a budget of one part and 20 ms: for
every sample, the media time that passes between its arrival and the arrival that
releases its part (waiting that no CPU can shorten), plus the CPU time of that last push. The
publisher is made up: 30 frames a second at 6 Mbit/s and 160 kbit/s of audio, interleaved as OBS
does it. What the figures do not show: RTMP before it and HTTP behind it. A rung's share is what
each transcoded rendition adds in this process: `follow` and six `push` a part, at 2.5 Mbit/s.
"""

import statistics
import time
from collections import deque
from typing import TYPE_CHECKING

import pytest
from media_samples import Source, nal, picture
from segmenter_runs import Driver, constant

import hls
from hls import CodedPicture, MediaEvent, Part, Rung, Sample, Segmenter, TrackKind
from native import IMPLEMENTATION

DRIVER = Driver(hls)
AUDIO_CONFIG = DRIVER.audio
VIDEO_CONFIG = DRIVER.video
sample = DRIVER.sample

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

pytestmark = pytest.mark.bench

PICTURE_BYTES = 25_000
AUDIO_BYTES = 427


def stream(source: Source, slices: int = 1) -> list[Sample]:
    """A publisher's samples at 6 Mbit/s; a picture may come in several slices."""
    samples = []
    for frame in source.frames():
        data = bytes(AUDIO_BYTES)
        if frame.is_video:
            data = picture(idr=frame.idr, size=PICTURE_BYTES // slices)
            data += (slices - 1) * nal(1, bytes(PICTURE_BYTES // slices))
        samples.append(sample(frame)._replace(data=data))
    return samples


def package(samples: list[Sample]) -> int:
    segmenter = Segmenter(video=VIDEO_CONFIG, audio=AUDIO_CONFIG)
    push = segmenter.push
    parts = 0
    for each in samples:
        parts += len(push(each))
    return parts


@pytest.mark.parametrize("slices", [1, 8], ids=["one slice", "eight slices"])
def test_packaging(benchmark: "BenchmarkFixture", slices: int) -> None:
    samples = stream(constant(30, duration_s=30), slices)
    parts = benchmark(package, samples)
    assert parts > 140
    began = time.perf_counter()
    package(samples)
    seconds = time.perf_counter() - began
    print(
        f"\n{IMPLEMENTATION}: {1e6 * seconds / len(samples):.1f} us a sample, "
        f"{1e6 * seconds / 150:.0f} us for each part's samples, "
        f"{30 / seconds:.0f} publishers a core"
    )


def test_arrival_to_part_available(benchmark: "BenchmarkFixture") -> None:
    samples = stream(constant(30, duration_s=60))

    def measure() -> tuple[list[float], list[float]]:
        segmenter = Segmenter(video=VIDEO_CONFIG, audio=AUDIO_CONFIG)
        waiting: deque[int] = deque()  # arrival times of pictures that are not out
        media_s: list[float] = []
        cpu_s: list[float] = []
        for each in samples:
            if each.kind is TrackKind.VIDEO:
                waiting.append(each.dts_ms)
            began = time.perf_counter()
            events = segmenter.push(each)
            cpu = time.perf_counter() - began
            for part in events:
                if isinstance(part, Part):
                    end_ms = 1000 * (part.media_time_s + part.duration_s) - 0.5
                    if part.msn > 0:
                        cpu_s.append(cpu)
                    while waiting and waiting[0] < end_ms:
                        arrived_ms = waiting.popleft()
                        if part.msn > 0:
                            media_s.append((each.dts_ms - arrived_ms) / 1000)
        return media_s, cpu_s

    media_s, cpu_s = benchmark(measure)
    media_ms = [1000 * value for value in media_s]
    cuts = statistics.quantiles(cpu_s, n=100)
    print(
        f"\n{IMPLEMENTATION}: in media time median {statistics.median(media_ms):.0f} ms, "
        f"longest {max(media_ms):.0f} ms (a part is 200 ms); CPU of the push that releases a part: "
        f"median {1e6 * statistics.median(cpu_s):.0f} us, 99 % {1e6 * cuts[98]:.0f} us"
    )


RUNG_PICTURE_BYTES = 10_000


def test_a_rung(benchmark: "BenchmarkFixture") -> None:
    segmenter = Segmenter(video=VIDEO_CONFIG, audio=AUDIO_CONFIG)
    steps: list[tuple[list[MediaEvent], CodedPicture | None]] = []
    began = time.perf_counter()
    for each in stream(constant(30, duration_s=60)):
        events = list(segmenter.push(each))
        placed, coded = segmenter.placed, None
        if placed is not None:
            data = bytes(RUNG_PICTURE_BYTES)
            is_idr = placed.begins_segment
            coded = CodedPicture(placed.number, placed.pts_ticks, is_idr, data, VIDEO_CONFIG)
        steps.append((events, coded))
    source_s = time.perf_counter() - began

    def package_rung() -> tuple[int, float]:
        rung = Rung()
        rung.resume(0)
        made: list[MediaEvent] = []
        start = time.perf_counter()
        for events, coded in steps:
            if events:
                made += rung.follow(events)
            if coded is not None:
                made += rung.push(coded)
        seconds = time.perf_counter() - start
        assert rung.gaps == 0
        return sum(isinstance(event, Part) for event in made), seconds

    parts, seconds = benchmark(package_rung)
    print(
        f"\n{IMPLEMENTATION}: {1e6 * seconds / parts:.1f} us for each part of a rung, its pictures "
        f"counted; {60 / seconds:.0f} rungs a core in real time. The source's segmenter, in the "
        f"same run and with its publisher: {1e6 * source_s / parts:.0f} us"
    )
