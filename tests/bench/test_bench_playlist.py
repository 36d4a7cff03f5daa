"""What a live update costs: one part enters a full timeline, and the playlist is rendered.

The window is the default one, 15 segments of 2 s with 200 ms parts, of which 30 to 40 are listed;
the group "window" has one of four hours beside it, which must cost the same.
The yardstick in the same run is a renderer that knows nothing of the last version and writes every
line anew from plain values, as most servers do; a second one is one join of the finished bytes,
below which nothing in Python can go. Not shown: gzip, HTTP, and the wake-up of waiting requests.
"""

from collections.abc import Callable, Iterator
from itertools import count

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from hls import (
    Directives,
    InitSegment,
    MediaEvent,
    Part,
    Presentation,
    SegmentEnd,
    Timeline,
    TimelineSettings,
    decide,
    parse_directives,
)
from hls.playlist import format_epoch_ms, format_us

pytestmark = pytest.mark.bench

PARTS = 10
ROUNDS = 5000


def batches() -> Iterator[list[MediaEvent]]:
    data = bytes(60_000)
    for msn in count():
        for index in range(PARTS):
            batch: list[MediaEvent] = [
                Part(
                    msn=msn,
                    index=index,
                    duration_s=0.2,
                    independent=index == 0,
                    data=data,
                    init_index=0,
                    discontinuity=False,
                    media_time_s=msn * 2.0 + index * 0.2,
                )
            ]
            if index == PARTS - 1:
                batch.append(SegmentEnd(msn=msn, duration_s=2.0))
            yield batch


def full_timeline(source: Iterator[list[MediaEvent]], segments: int = 15) -> Timeline:
    timeline = Timeline(
        token="0123456789abcdef",
        started_at_s=1_700_000_000.0,
        settings=TimelineSettings(window_segments=segments),
    )
    codecs = ("avc1.64001f", "mp4a.40.2")
    timeline.apply(
        [
            Presentation(target_duration_s=2, part_target_s=0.2),
            InitSegment(index=0, data=b"", codecs=codecs, width=1, height=1, frame_rate=30.0),
        ]
    )
    for _ in range((segments + 25) * PARTS):
        timeline.apply(next(source))
    return timeline


def run(
    benchmark: BenchmarkFixture, step: Callable[[list[MediaEvent]], object], segments: int = 15
) -> None:
    source = batches()
    for _ in range((segments + 25) * PARTS):
        next(source)
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        step, setup=lambda: ((next(source),), {}), rounds=ROUNDS
    )


@pytest.mark.benchmark(group="live update")
def test_apply_one_part(benchmark: BenchmarkFixture) -> None:
    timeline = full_timeline(batches())
    run(benchmark, timeline.apply)


@pytest.mark.benchmark(group="live update")
def test_apply_one_part_and_render(benchmark: BenchmarkFixture) -> None:
    timeline = full_timeline(batches())

    def step(batch: list[MediaEvent]) -> bytes:
        timeline.apply(batch)
        return timeline.playlist()

    run(benchmark, step)
    benchmark.extra_info["playlist_bytes"] = len(timeline.playlist())
    benchmark.extra_info["parts_listed"] = timeline.playlist().count(b"#EXT-X-PART:")


@pytest.mark.parametrize("segments", [15, 7200], ids=["30s", "4h"])
@pytest.mark.parametrize("skip", [True, False], ids=["delta", "whole"])
@pytest.mark.benchmark(group="window")
def test_apply_and_render_in_a_window(
    benchmark: BenchmarkFixture, segments: int, skip: bool
) -> None:
    """The pieces are made, not joined: nobody needs them joined, a socket takes them one by one."""
    timeline = full_timeline(batches(), segments)

    def step(batch: list[MediaEvent]) -> tuple[bytes, ...]:
        timeline.apply(batch)
        return timeline.render(skip=skip)

    run(benchmark, step, segments)
    text = b"".join(timeline.render(skip=skip))
    benchmark.extra_info["playlist_bytes"] = len(text)
    assert len(timeline.segments) == segments


@pytest.mark.benchmark(group="live update")
def test_yardstick_write_every_line_anew(benchmark: BenchmarkFixture) -> None:
    def step(_: list[MediaEvent]) -> bytes:
        lines = ["#EXTM3U", "#EXT-X-VERSION:9", "#EXT-X-TARGETDURATION:2"]
        for msn in range(100, 115):
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{format_epoch_ms(1_700_000_000_000 + msn)}")
            if msn >= 111:
                lines.extend(
                    f"#EXT-X-PART:DURATION={format_us(200_000)},"
                    f'URI="part-0123456789abcdef-{msn}.{index}.m4s"'
                    for index in range(PARTS)
                )
            lines.append(f"#EXTINF:{format_us(2_000_000)},")
            lines.append(f"seg-0123456789abcdef-{msn}.m4s")
        return "\n".join(lines).encode()

    run(benchmark, step)


@pytest.mark.benchmark(group="live update")
def test_yardstick_join_the_finished_bytes(benchmark: BenchmarkFixture) -> None:
    timeline = full_timeline(batches())
    text = timeline.playlist()
    pieces = [text[start : start + 256] for start in range(0, len(text), 256)]
    run(benchmark, lambda _: b"".join(pieces))


@pytest.mark.benchmark(group="playlist request")
def test_parse_and_decide(benchmark: BenchmarkFixture) -> None:
    timeline = full_timeline(batches())

    def step() -> object:
        directives = parse_directives("_HLS_msn=40&_HLS_part=0&_HLS_skip=YES")
        assert isinstance(directives, Directives)
        return decide(timeline, directives)

    benchmark(step)
