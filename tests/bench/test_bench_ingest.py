"""Benchmark of ingest: publishers that a core carries, against nginx-rtmp; printed, never asserted.

The pair: a whole origin (RTMP, LL-HLS packaging on, no ladder, every playlist and part kept as for
viewers) and Debian's nginx with its RTMP module (HLS on, one worker, files in memory), with the
same publishers: `yardstick/yard_publish.c` plays one clip of 6 Mbit/s from each, in real time, with
keyframes spread over two seconds. The server has one core, the load the other; in turns, in a run.

What counts is the server's CPU time for a stream and a minute of it, from `/proc`; publishers a
core are what would fill it by that. How late the load was at worst says whether anybody was full.
"""

import json
import os
import shutil
import socket
import statistics
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import rtmp_publishers as wire
from ffmpeg_cli import need_ffmpeg
from origin_process import running_origin

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores"),
]

YARDSTICK = Path(__file__).parent / "yardstick" / "yard_publish.c"
MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    publishers: int
    warm_s: float
    """Until windows are full: from then on what comes replaces what goes."""
    seconds: float
    clip_s: float
    kbps: int


FULL = Size(rounds=3, publishers=120, warm_s=15.0, seconds=20.0, clip_s=12.0, kbps=6000)
TINY = Size(rounds=1, publishers=3, warm_s=0.5, seconds=1.0, clip_s=4.0, kbps=600)


@dataclass(frozen=True)
class Figures:
    """One server's, of one round."""

    cpu_s_a_stream_minute: float
    told: dict[str, Any]


@pytest.fixture(scope="module")
def size(pytestconfig: pytest.Config) -> Size:
    return TINY if pytestconfig.getoption("--benchmark-disable") else FULL


@pytest.fixture(scope="module")
def load_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler (Debian: gcc)")
    program = tmp_path_factory.mktemp("yardstick") / "yard_publish"
    subprocess.run(["cc", "-O2", "-Wall", "-o", program, YARDSTICK], check=True)
    return program


@pytest.fixture(scope="module")
def media(size: Size, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip as `yard_publish` reads it."""
    need_ffmpeg()
    folder = tmp_path_factory.mktemp("media")
    path = folder / "clip.mp4"
    argv = ["-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=30,noise=c0_strength=20:c0_flags=t"]
    argv += ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", str(size.clip_s)]
    rate = f"{size.kbps}k"
    argv += ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "60"]
    argv += ["-sc_threshold", "0", "-b:v", rate, "-maxrate", rate, "-bufsize", rate]
    argv += ["-c:a", "aac", "-b:a", "128k"]
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *argv, str(path)], check=True)
    clip = wire.load_media(path)
    types = {"video": 9, "audio": 8}
    messages = [(9, 0, b"\x17\x00\x00\x00\x00" + clip.avc_record)]
    messages += [(8, 0, b"\xaf\x00" + clip.aac_config)]
    messages += [(types[kind], time_ms, body) for kind, time_ms, body in clip.tags]
    end_ms = round(size.clip_s * 1000)
    packed = b"".join(struct.pack(">3I", kind, at, len(body)) + body for kind, at, body in messages)
    out = folder / "clip.messages"
    out.write_bytes(packed + struct.pack(">3I", 0, end_ms, 0))
    return out


@contextmanager
def ours(folder: Path, names: list[str]) -> Iterator[tuple[int, int, list[str]]]:
    """Port, process and the names to publish."""
    environment = {"HEADRACE_WINDOW_SEGMENTS": "6", "HEADRACE_LADDER": "none"}
    with running_origin(folder, env=environment) as origin:
        keys = [origin.create_stream(name).key for name in names]
        yield int(origin.rtmp.rpartition(":")[2]), origin.child.pid, keys


@contextmanager
def nginx(folder: Path, names: list[str]) -> Iterator[tuple[int, int, list[str]]]:
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None or not MODULE.exists():
        pytest.skip("nginx-rtmp is not installed (Debian: nginx-light libnginx-mod-rtmp)")
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(
        f"""load_module {MODULE};
        daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid;
        error_log stderr error; worker_rlimit_nofile 20000;
        events {{ worker_connections 10000; }}
        rtmp {{ server {{ listen 127.0.0.1:{port}; chunk_size 4096;
          application live {{ live on; hls on; hls_path {folder}/hls;
            hls_fragment 2s; hls_playlist_length 12s; }} }} }}"""
    )
    argv = [program, "-p", str(folder), "-e", "stderr", "-c", str(config)]
    process = subprocess.Popen(argv)
    try:
        await_listening(port)
        yield port, process.pid, names
    finally:
        process.terminate()
        process.wait()


def measure(server: Any, folder: Path, program: Path, media: Path, size: Size) -> Figures:
    names = [f"s{index}" for index in range(size.publishers)]
    folder.mkdir()
    keys_file = folder / "keys"
    with server(folder, names) as (port, pid, keys):
        # By a program: this process has given up the right to (`usual_priority`).
        subprocess.run(["taskset", "-apc", "0", str(pid)], check=True, stdout=subprocess.DEVNULL)
        keys_file.write_text("\n".join(keys))
        seconds = size.warm_s + size.seconds + 2
        argv = ["taskset", "-c", "1", *map(str, (program, port, media, keys_file, seconds))]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as load:
            assert load.stdout is not None
            assert load.stdout.readline() == "begun\n"
            time.sleep(size.warm_s)  # this and the next are spans to measure
            before_s, began_s = cpu_s(pid), time.monotonic()
            time.sleep(size.seconds)
            used_s, took_s = cpu_s(pid) - before_s, time.monotonic() - began_s
            told = json.loads(load.stdout.readline())
    shutil.rmtree(folder)
    return Figures(used_s * 60 / took_s / size.publishers, told)


def test_publishers_against_nginx_rtmp(
    size: Size, load_program: Path, media: Path, tmp_path: Path
) -> None:
    base = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    rounds = [
        [
            measure(server, base / f"headrace-{os.getpid()}-{index}", load_program, media, size)
            for server in (ours, nginx)
        ]
        for index in range(size.rounds)
    ]
    for name, column in zip(("ours", "nginx-rtmp"), zip(*rounds, strict=True), strict=True):
        each_s = statistics.median(one.cpu_s_a_stream_minute for one in column)
        latest_ms = max(one.told["latest_ms"] for one in column)
        print(
            f"\n{name}: {each_s:.3f} CPU seconds a stream-minute, {60 / each_s:.0f} publishers a"
            f" core; the load was late by {latest_ms:.0f} ms at the most",
            end="",
        )
    ratios = [other.cpu_s_a_stream_minute / mine.cpu_s_a_stream_minute for mine, other in rounds]
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"\nours carries {statistics.median(ratios):.2f} of nginx-rtmp's publishers ({shown})")
    assert [one.told["lost"] for both in rounds for one in both] == [0, 0] * size.rounds


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def await_listening(port: int) -> None:
    for _ in range(200):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("nothing listens")
