"""Benchmarks of transcoding, against the `ffmpeg` program: printed, never asserted on time.

The pair: the worker's ladder and ffmpeg's, of the same clip with the same rungs, filter graph,
scaler, x264 settings and thread counts. What counts is the CPU time of the child process, from its
resource usage, without what it takes to start (measured by a clip of one picture). A ratio is
ffmpeg's CPU time over the worker's: pictures a CPU second, the worker's against ffmpeg's. Both run
at the same time, each on a core of its own, and change places from round to round: what else the
machine does, and what two cores that share a cache do to each other, is the same for both. One
after the other, single pairs were seen from 0.80 to 1.15.

Both read H.264 from memory or a file that is cached; ffmpeg throws its output away, the worker
writes it to a pipe. ffmpeg's libraries are the machine's, the worker's are PyAV's. The picture is
made up: test chart and noise, busier than most broadcasts.
"""

import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation, VideoReformatter
from ffmpeg_cli import need_ffmpeg
from transcode_runs import Source, load_source, luma_of, stream_of

from origin.transcode import wire
from origin.transcode.child import worker_command, worker_environment
from origin.transcode.encode import encoder_options
from origin.transcode.scale import Scaler

pytestmark = pytest.mark.bench

ROOT = Path(__file__).parents[2]
ROUNDS = 24
MEMORY_MB = 2048
CLIP_S = 4.0


@dataclass(frozen=True)
class Ladder:
    """A source and its rungs."""

    name: str
    width: int
    height: int
    fps: int
    rungs: tuple[wire.RungSetup, ...]

    @property
    def setup(self) -> wire.Setup:
        return wire.Setup(rungs=self.rungs, decoder_threads=1)


def rung(width: int, height: int, kbps: int, fps: int) -> wire.RungSetup:
    return wire.RungSetup(
        name=f"{height}p",
        width=width,
        height=height,
        bitrate_bps=kbps * 1000,
        encoder="libx264",
        preset="veryfast",
        frame_rate=float(fps),
        divisor=1,
    )


FULL_HD = Ladder(
    "1080p30 to 720p, 480p, 360p",
    1920,
    1080,
    30,
    (rung(1280, 720, 2500, 30), rung(854, 480, 1000, 30), rung(640, 360, 500, 30)),
)
HD = Ladder(
    "720p60 to 480p, 360p",
    1280,
    720,
    60,
    (rung(854, 480, 1000, 60), rung(640, 360, 500, 60)),
)


@pytest.fixture(scope="module")
def rounds(pytestconfig: pytest.Config) -> int:
    """One if nothing is to be measured, as in `make test-unit`."""
    return 1 if pytestconfig.getoption("--benchmark-disable") else ROUNDS


@pytest.fixture(scope="module")
def clip(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Callable[[Ladder, bool], Path]:
    """Makes a ladder's source, or the first picture of it."""
    need_ffmpeg()
    folder = tmp_path_factory.mktemp("clips")
    seconds = 0.5 if pytestconfig.getoption("--benchmark-disable") else CLIP_S

    @cache
    def make(ladder: Ladder, is_first_alone: bool = False) -> Path:
        path = folder / f"{ladder.height}-{is_first_alone}.mp4"
        if is_first_alone:
            whole = str(make(ladder, False))
            argv = ["-i", whole, "-frames:v", "1", "-c", "copy"]
        else:
            chart = f"testsrc2=size={ladder.width}x{ladder.height}:rate={ladder.fps}"
            argv = ["-f", "lavfi", "-i", f"{chart},noise=c0_strength=10:c0_flags=t"]
            argv += ["-t", str(seconds), "-c:v", "libx264", "-preset", "veryfast", "-bf", "2"]
            argv += ["-g", str(2 * ladder.fps), "-b:v", "6M", "-maxrate", "6M", "-bufsize", "6M"]
            argv += ["-pix_fmt", "yuv420p"]
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *argv, str(path)], check=True)
        return path

    return make


def pictures_of(source: Source, fps: int) -> list[wire.Picture]:
    """With a segment every two seconds."""
    return [
        wire.Picture(index, picture.pts_ticks, index % (2 * fps) == 0, index == 0, picture.data)
        for index, picture in enumerate(source.pictures)
    ]


def worker_cpu_s(ladder: Ladder, path: Path) -> float:
    """CPU time of the worker for a clip."""
    source = load_source(path)
    pictures = pictures_of(source, ladder.fps)
    data = stream_of([ladder.setup, source.config, *pictures])
    process = subprocess.Popen(
        worker_command(MEMORY_MB * 1024 * 1024),
        cwd=ROOT,
        env=worker_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin as stdin, process.stdout as stdout:

        def feed() -> None:
            stdin.write(data)
            stdin.close()

        feeding = threading.Thread(target=feed)
        feeding.start()
        messages = wire.ToParentReader().feed(stdout.read())
        feeding.join()
    coded = sum(isinstance(message, wire.Coded) and bool(message.data) for message in messages)
    assert coded == len(pictures) * len(ladder.rungs)
    return reaped_cpu_s(process)


def ffmpeg_cpu_s(ladder: Ladder, path: Path) -> float:
    """CPU time of ffmpeg for a clip."""
    argv = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", "-i", str(path)]
    argv += ["-filter_threads", "1", "-filter_complex_threads", "1"]
    # Each rung from the one above it, as the worker does it.
    graph, last = [], len(ladder.rungs) - 1
    for index, step in enumerate(ladder.rungs):
        begin = "0:v" if index == 0 else f"c{index}"
        end = f"[o{index}]" if index == last else f",split[o{index}][c{index + 1}]"
        graph.append(f"[{begin}]scale={step.width}:{step.height}:flags=bicubic{end}")
    argv += ["-filter_complex", ";".join(graph)]
    for index, step in enumerate(ladder.rungs):
        argv += ["-map", f"[o{index}]", "-c:v", "libx264", "-threads", "1", "-bf", "0"]
        argv += ["-b:v", str(step.bitrate_bps), "-force_key_frames", "expr:gte(t,n_forced*2)"]
        for name, value in encoder_options(step).items():
            argv += [f"-{name}", value]
        argv += ["-f", "null", "-"]
    return reaped_cpu_s(subprocess.Popen(argv))


def reaped_cpu_s(process: subprocess.Popen[bytes]) -> float:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def side_by_side(
    cpus: tuple[int, int], ladder: Ladder, worker_clip: Path, ffmpeg_clip: Path
) -> tuple[float, float]:
    """CPU time of the worker and of ffmpeg, at the same time, each on a core of its own."""
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(pinned, cpu, measure, ladder, clip)
            for cpu, measure, clip in zip(
                cpus, (worker_cpu_s, ffmpeg_cpu_s), (worker_clip, ffmpeg_clip), strict=True
            )
        ]
        worker_s, ffmpeg_s = (run.result() for run in runs)
    return worker_s, ffmpeg_s


def pinned(cpu: int, measure: Callable[[Ladder, Path], float], ladder: Ladder, clip: Path) -> float:
    """Measure with a child that may run on one core; only this thread moves there with it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        return measure(ladder, clip)
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("ladder", [FULL_HD, HD], ids=lambda ladder: f"{ladder.height}p")
def test_ladder_against_ffmpeg(
    ladder: Ladder, rounds: int, clip: Callable[[Ladder, bool], Path]
) -> None:
    path, one = clip(ladder, False), clip(ladder, True)
    pictures = len(load_source(path).pictures) - 1
    cpus = sorted(os.sched_getaffinity(0))
    places = [(cpus[0], cpus[-1]), (cpus[-1], cpus[0])]
    starts = [side_by_side(place, ladder, one, one) for place in places]
    start_s = [min(column) for column in zip(*starts, strict=True)]
    pairs = []
    for index in range(rounds):
        used_s = side_by_side(places[index % 2], ladder, path, path)
        pairs.append((used_s[0] - start_s[0], used_s[1] - start_s[1]))
    ratios = sorted(ffmpeg / worker for worker, ffmpeg in pairs)
    worker_s, ffmpeg_s = (sum(column) / rounds for column in zip(*pairs, strict=True))
    frames = pictures * len(ladder.rungs)
    print(
        f"\n{ladder.name}: ratio {ffmpeg_s / worker_s:.3f} over all rounds,"
        f" median {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f});"
        f" worker {frames / worker_s:.1f} pictures a CPU second, {1e3 * worker_s / pictures:.1f} ms"
        f" a picture of the source; ffmpeg {frames / ffmpeg_s:.1f} and"
        f" {1e3 * ffmpeg_s / pictures:.1f} ms; to start {start_s[0]:.2f} and {start_s[1]:.2f} s"
    )
    assert frames > 0


def test_latency_at_real_time(clip: Callable[[Ladder, bool], Path]) -> None:
    """From a picture's write to its sample's arrival. B-frames of the source are waited for."""
    source = load_source(clip(HD, False))
    process = subprocess.Popen(
        worker_command(MEMORY_MB * 1024 * 1024),
        cwd=ROOT,
        env=worker_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    fed_s: dict[int, float] = {}
    came_s: dict[tuple[int, int], float] = {}
    reader = wire.ToParentReader()
    with process.stdin as stdin, process.stdout as stdout:
        stdin.write(stream_of([HD.setup, source.config]))
        reader.feed(os.read(stdout.fileno(), 65_536))  # it is ready
        start_s = used_cpu_s(process)

        def feed() -> None:
            began_s = time.monotonic()
            for picture in pictures_of(source, HD.fps):
                time.sleep(max(0.0, began_s + picture.number / HD.fps - time.monotonic()))
                fed_s[picture.number] = time.monotonic()
                stdin.write(wire.encode(picture))
            stdin.close()

        feeding = threading.Thread(target=feed)
        feeding.start()
        while data := os.read(stdout.fileno(), 65_536):
            now_s = time.monotonic()
            for message in reader.feed(data):
                if isinstance(message, wire.Coded):
                    came_s[message.rung, message.number] = now_s
        feeding.join()
    cpu_s = reaped_cpu_s(process) - start_s
    waits_ms = sorted(1e3 * (now_s - fed_s[number]) for (_, number), now_s in came_s.items())
    late_ms = waits_ms[len(waits_ms) * 95 // 100]
    print(
        f"\n{HD.name} at real time: from slot to sample median"
        f" {statistics.median(waits_ms):.0f} ms, 95 % {late_ms:.0f} ms, of which the source's"
        f" B-frames take {2e3 / HD.fps:.0f};"
        f" {1e3 * cpu_s / len(fed_s):.1f} ms of CPU a picture of the source"
    )
    assert len(waits_ms) == len(source.pictures) * len(HD.rungs)


def used_cpu_s(process: subprocess.Popen[bytes]) -> float:
    """CPU time so far, from /proc, in steps of 10 ms."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


Sizes = Sequence[tuple[int, int]]
Scale = Callable[[av.VideoFrame], list[av.VideoFrame]]


def chained(sizes: Sizes, kernel: Interpolation) -> Scale:
    """Each size from the one before."""
    scalers = [VideoReformatter() for _ in sizes]

    def scale(frame: av.VideoFrame) -> list[av.VideoFrame]:
        made = [frame]
        for scaler, (width, height) in zip(scalers, sizes, strict=True):
            made.append(scaler.reformat(made[-1], width, height, interpolation=kernel, threads=1))
        return made[1:]

    return scale


def direct(sizes: Sizes, kernel: Interpolation) -> Scale:
    """Each size from the source."""
    steps = [chained([size], kernel) for size in sizes]
    return lambda frame: [step(frame)[0] for step in steps]


def ours(sizes: Sizes) -> Scale:
    scaler = Scaler(sizes)
    wanted = [True] * len(sizes)
    return lambda frame: [made for made in scaler.scale(frame, wanted) if made is not None]


def test_scaling(rounds: int, clip: Callable[[Ladder, bool], Path]) -> None:
    """Cost of the ways to scale, and what is left of the picture when it is enlarged again."""
    sizes = [(step.width, step.height) for step in FULL_HD.rungs]
    with av.open(clip(FULL_HD, False)) as container:
        assert isinstance(container, av.container.InputContainer)
        frames = [frame for frame, _ in zip(container.decode(video=0), range(20), strict=False)]
    ways: dict[str, Scale] = {
        "the worker's": ours(sizes),
        "bicubic, chain": chained(sizes, Interpolation.BICUBIC),
        "bicubic, each from the source": direct(sizes, Interpolation.BICUBIC),
        "area, chain": chained(sizes, Interpolation.AREA),
        "area, each from the source": direct(sizes, Interpolation.AREA),
    }
    for name, scale in ways.items():
        times_ms = []
        for _ in range(rounds):
            began_s = time.thread_time()
            for frame in frames:
                scale(frame)
            times_ms.append(1e3 * (time.thread_time() - began_s) / len(frames))
        kept = " ".join(f"{fidelity_db(frames[-1], made):.2f}" for made in scale(frames[-1]))
        print(f"\n{name}: {min(times_ms):.2f} ms a picture; {kept} dB", end="")
    print()
    assert all(later < earlier for earlier, later in pairwise(height for _, height in sizes))


def fidelity_db(source: av.VideoFrame, made: av.VideoFrame) -> float:
    """Peak signal-to-noise ratio of a picture that is enlarged to the source's size again."""
    back = made.reformat(source.width, source.height, interpolation=Interpolation.BICUBIC)
    error = luma_of(back).astype(float) - luma_of(source)
    return float(10 * np.log10(255**2 / np.mean(error**2)))
