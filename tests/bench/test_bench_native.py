"""Benchmarks of the kernels: printed, never asserted on time.

Every ratio is taken in one run, side by side: the twins on the same bytes, and beside them a plain
copy of those bytes (`bytes(bytearray)`, one memcpy), which is what the machine's memory allows. The
input is 40 MB, to come from memory and not from a cache. A feed is 256 KiB, as a receive from a
busy socket may be; the messages of a feed are dropped before the next. What the figures do not
show: the socket, and anything above the chunk stream.
"""

import importlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest
from rtmp_chunks import message, set_chunk_size

from native import IMPLEMENTATION, FragmentSample, RawMessage, TrackRun, write_fragment

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from native import ChunkReader

pytestmark = pytest.mark.bench

PICTURES = 1600
FEED_BYTES = 256 * 1024
VIDEO_FRAME_BYTES = 25_000  # 6 Mbit/s at 30 frames a second
AUDIO_FRAME_BYTES = 427  # 160 kbit/s AAC at 48 kHz
AUDIO_PER_VIDEO = 1.5625  # 46.875 AAC frames a second against 30 pictures


def obs_stream(chunk_size: int, pictures: int) -> tuple[bytes, int]:
    """Make what OBS sends at 6 Mbit/s; return the bytes and the number of messages."""
    out = bytearray(set_chunk_size(chunk_size))
    messages, audio = 1, 0.0
    for index in range(pictures):
        milliseconds = index * 33
        payload = bytes([index & 0xFF]) * VIDEO_FRAME_BYTES
        out += message(4, payload, time=milliseconds, chunk_size=chunk_size)
        audio += AUDIO_PER_VIDEO
        while audio >= 1:
            audio -= 1
            payload = bytes(AUDIO_FRAME_BYTES)
            out += message(4, payload, time=milliseconds, type_id=8, chunk_size=chunk_size)
            messages += 1
        messages += 1
    return bytes(out), messages


def reader_type(name: str) -> "type[ChunkReader]":
    found: type[ChunkReader] = importlib.import_module(name).ChunkReader
    return found


def read_all(reader_class: "type[ChunkReader]", feeds: Sequence[bytes]) -> int:
    """Read a stream with a fresh reader; return how many messages it held."""
    reader = reader_class(
        max_message_bytes=0xFFFFFF, max_buffered_bytes=0x2000000, max_chunk_streams=64
    )
    count = 0
    for data in feeds:
        out: list[RawMessage] = []
        reader.feed(data, out)
        count += len(out)
    return count


def best_s(function: Callable[[], object], rounds: int = 5) -> float:
    """Time the fastest of some calls, in seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def copy_rate(feeds: Sequence[bytes]) -> float:
    """GB/s of one plain copy of the same feeds: the yardstick."""
    sources = [bytearray(data) for data in feeds]

    def copy() -> None:
        for source in sources:
            bytes(source)

    return sum(map(len, feeds)) / best_s(copy) / 1e9


@pytest.mark.parametrize("chunk_size", [4096, 128])
def test_chunk_reader(benchmark: "BenchmarkFixture", chunk_size: int) -> None:
    data, messages = obs_stream(chunk_size, PICTURES)
    feeds = [data[start : start + FEED_BYTES] for start in range(0, len(data), FEED_BYTES)]
    ours = reader_type("native._chunk" if IMPLEMENTATION == "c" else "native._chunk_py")
    assert benchmark(read_all, ours, feeds) == messages

    ours_s = best_s(lambda: read_all(ours, feeds))
    python_s = best_s(lambda: read_all(reader_type("native._chunk_py"), feeds), rounds=2)
    figures = {
        "implementation": IMPLEMENTATION,
        "GB_per_s": len(data) / ours_s / 1e9,
        "us_per_message": ours_s / messages * 1e6,
        "memcpy_GB_per_s": copy_rate(feeds),
        "twin_ratio": python_s / ours_s,
    }
    benchmark.extra_info.update(figures)
    print(
        f"\nchunk reader [{IMPLEMENTATION}], {chunk_size}-byte chunks, OBS at 6 Mbit/s: "
        f"{figures['GB_per_s']:.2f} GB/s, {figures['us_per_message']:.2f} us a message; "
        f"memcpy {figures['memcpy_GB_per_s']:.2f} GB/s; "
        f"{figures['twin_ratio']:.1f} times the Python twin"
    )


def test_chunk_reader_in_small_receives(benchmark: "BenchmarkFixture") -> None:
    # A publisher in real time: a receive for each message, a header cut off now and then.
    data, messages = obs_stream(4096, PICTURES)
    feeds = [data[start : start + 1448 * 8] for start in range(0, len(data), 1448 * 8)]
    ours = reader_type("native._chunk" if IMPLEMENTATION == "c" else "native._chunk_py")
    assert benchmark(read_all, ours, feeds) == messages
    ours_s = best_s(lambda: read_all(ours, feeds))
    benchmark.extra_info["us_per_message"] = ours_s / messages * 1e6
    benchmark.extra_info["us_per_feed"] = ours_s / len(feeds) * 1e6
    print(
        f"\nchunk reader [{IMPLEMENTATION}], 4096-byte chunks in receives of 11.6 kB: "
        f"{len(data) / ours_s / 1e9:.2f} GB/s, {ours_s / messages * 1e6:.2f} us a message, "
        f"{ours_s / len(feeds) * 1e6:.2f} us a receive"
    )


def part() -> list[TrackRun]:
    """Make a part of 200 ms: six pictures at 30 a second, nine AAC frames, 6 Mbit/s."""
    messages = [bytes([index]) * VIDEO_FRAME_BYTES for index in range(6)]
    video = [
        FragmentSample(memoryview(data)[5:], 3000, 3000 * (index % 3), 0x01010000)
        for index, data in enumerate(messages)
    ]
    audio = [FragmentSample(bytes(AUDIO_FRAME_BYTES), 1024, 0, 0x02000000)] * 9
    return [TrackRun(1, 90000, video), TrackRun(2, 48000, audio)]


def test_write_fragment(benchmark: "BenchmarkFixture") -> None:
    runs = part()
    fragment = benchmark(write_fragment, 1, runs)
    python_twin = importlib.import_module("native._fragment_py").write_fragment
    assert fragment == python_twin(1, runs)

    # As in a server: the window holds the latest 150 parts, and the oldest gives its memory back.
    window: deque[object] = deque(maxlen=150)

    def each_s(function: Callable[[], object]) -> float:
        def slide() -> None:
            for _ in range(300):
                window.append(function())

        slide()
        return best_s(slide) / 300

    source = bytearray(fragment)
    ours_s = each_s(lambda: write_fragment(1, runs))
    figures = {
        "implementation": IMPLEMENTATION,
        "bytes": len(fragment),
        "parts_per_s": 1 / ours_s,
        "us_per_part": ours_s * 1e6,
        "memcpy_us": each_s(lambda: bytes(source)) * 1e6,
        "twin_ratio": each_s(lambda: python_twin(1, runs)) / ours_s,
    }
    benchmark.extra_info.update(figures)
    print(
        f"\nfragment writer [{IMPLEMENTATION}], 6 pictures + 9 AAC frames, {len(fragment)} bytes: "
        f"{figures['parts_per_s']:,.0f} parts/s, {figures['us_per_part']:.1f} us a part; "
        f"memcpy of it {figures['memcpy_us']:.1f} us; "
        f"{figures['twin_ratio']:.1f} times the Python twin"
    )
