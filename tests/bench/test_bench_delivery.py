"""Benchmarks of delivery, against nginx and a bare C server: printed, never asserted on time.

Each server has one core, the load the other; they take turns in one run, with the same bytes under
the same names. What is compared is requests a second of the *server's* CPU time, from /proc, as a
load that cannot keep up makes no difference there; requests a second by the clock are printed too.
Ours is `edge.http.server.serve_http` in a process of its own (`yardstick/delivery_server.py`), so
all of the production path: accept, h11, adoption by the reactor, gates and lives. The C server
(`yardstick/yard_server.c`) does the least that can be done.

Live: each viewer does what a low-latency player does, a held playlist request and then a part,
every 200 ms. The first seconds, in which all connect, do not count. A server that is late takes
fewer parts to its viewers and so less CPU time: what is compared is the time for one.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench_tools import children_of, cpu_s, free_port, resident_kib
from certificates import make_pair

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores"),
]

HERE = Path(__file__).parent / "yardstick"
ROOT = Path(__file__).parents[2]
PATH = "/api/streams/s/source/"
PLAYLIST_BYTES, FIXED_BYTES, PART_BYTES = 2048, 153_600, 62_500
"""A playlist, a part of 150 KB, and one of 200 ms at 2.5 Mbit/s."""
INTERVAL_MS = 200
UNLIMITED = "1000000000"
"""Requests of one connection at once."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    seconds: float
    connections: int
    viewers: int
    live_s: float
    connecting_s: float


FULL = Size(3, 2.0, 64, 5000, 8.0, 7.0)
TINY = Size(1, 0.3, 8, 20, 1.0, 0.5)


@pytest.fixture(scope="module")
def size(pytestconfig: pytest.Config) -> Size:
    return TINY if pytestconfig.getoption("--benchmark-disable") else FULL


@dataclass(frozen=True)
class Program:
    """A server that runs."""

    name: str
    port: int
    pid: int

    def cpu_s(self) -> float:
        """CPU time of it and its children so far."""
        pids = [self.pid, *children_of(self.pid)]
        return sum(cpu_s(pid) for pid in pids)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Compiles a yardstick and gives its path."""
    folder = tmp_path_factory.mktemp("yardstick")

    def build(name: str) -> str:
        if shutil.which("cc") is None:
            pytest.skip("there is no C compiler (Debian: gcc)")
        program = folder / name
        if not program.exists():
            source = str(HERE / f"{name}.c")
            subprocess.run(["cc", "-O2", "-Wall", "-o", str(program), source], check=True)
        return str(program)

    return build


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key in one file."""
    chain, key = make_pair().write(tmp_path_factory.mktemp("tls"))
    both = chain.with_name("both.pem")
    both.write_bytes(chain.read_bytes() + key.read_bytes())
    return both


@contextmanager
def running(argv: list[str], name: str, port: int, *, ready: bool) -> Iterator[Program]:
    """Run a server on the first core, until the block ends."""
    process = subprocess.Popen(
        ["taskset", "-c", "0", *argv],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        if ready:
            assert process.stdout.readline() == "ready\n"
        else:
            await_listening(port)
        yield Program(name, port, process.pid)
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def ours(start_ms: int = 0, certificate: Path | None = None) -> Iterator[Program]:
    port = free_port()
    argv = [sys.executable, str(HERE / "delivery_server.py"), *sizes(port, start_ms), UNLIMITED]
    argv += [] if certificate is None else [str(certificate)]
    with running(argv, "ours", port, ready=True) as program:
        yield program


@contextmanager
def bare_c(build: Callable[[str], str], start_ms: int = 0) -> Iterator[Program]:
    port = free_port()
    argv = [build("yard_server"), *sizes(port, start_ms)]
    with running(argv, "bare C", port, ready=True) as program:
        yield program


@contextmanager
def nginx(folder: Path, certificate: Path | None = None) -> Iterator[Program]:
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    port = free_port()
    root = folder / "root"
    media = root / PATH.strip("/")
    media.mkdir(parents=True, exist_ok=True)
    (media / "playlist.m3u8").write_bytes(b"x" * PLAYLIST_BYTES)
    (media / "part.m4s").write_bytes(b"x" * FIXED_BYTES)
    tls = "" if certificate is None else " ssl"
    pair = (
        ""
        if certificate is None
        else (
            f"ssl_certificate {certificate}; ssl_certificate_key {certificate};"
            " ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;"
        )
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"""daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid;
        error_log stderr error; worker_rlimit_nofile 20000;
        events {{ worker_connections 18000; }}
        http {{
          access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000;
          open_file_cache max=100; types {{ video/mp4 m4s; application/vnd.apple.mpegurl m3u8; }}
          client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
          fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          server {{ listen 127.0.0.1:{port}{tls}; {pair} root {root};
            add_header Cache-Control "public, max-age=86400"; }}
        }}"""
    )
    argv = [program, "-p", str(folder), "-e", "stderr", "-c", str(config)]
    with running(argv, "nginx", port, ready=False) as server:
        yield server


def sizes(port: int, start_ms: int) -> list[str]:
    start_ms = start_ms or int(time.monotonic() * 1000) + 3_600_000  # nothing live meanwhile
    numbers = (port, PLAYLIST_BYTES, FIXED_BYTES, PART_BYTES, INTERVAL_MS, start_ms)
    return [str(number) for number in numbers]


@pytest.fixture
def shm(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, if there is one."""
    base = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    folder = base / f"headrace-bench-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["playlist.m3u8", "part.m4s"])
def test_requests_against_nginx_and_c(
    name: str, size: Size, built: Callable[[str], str], shm: Path
) -> None:
    load = built("yard_load")

    def measure(server: Program) -> tuple[float, float]:
        argv = ["rps", str(server.port), PATH + name, str(size.connections), str(size.seconds)]
        before_s = server.cpu_s()
        told = run_load([load, *argv])
        assert told["errors"] == 0
        used_s = max(server.cpu_s() - before_s, 0.01)
        return told["answers"] / used_s, told["answers"] / told["seconds"]

    with ours() as first, nginx(shm) as second, bare_c(built) as third:
        report(name, [first, second, third], measure, size)


@pytest.mark.parametrize("name", ["playlist.m3u8", "part.m4s"])
def test_requests_over_tls_against_nginx(name: str, size: Size, pem: Path, shm: Path) -> None:
    if shutil.which("h2load") is None:
        pytest.skip("h2load is not installed (Debian: nghttp2-client)")

    def measure(server: Program) -> tuple[float, float]:
        url = f"https://127.0.0.1:{server.port}{PATH}{name}"
        options = ["--h1", "-c", str(size.connections), "-D", str(max(1, round(size.seconds)))]
        before_s = server.cpu_s()
        began_s = time.monotonic()
        text = subprocess.run(
            ["taskset", "-c", "1", "h2load", *options, url],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        took_s = time.monotonic() - began_s
        told = text.split("requests: ")[1].split("\n")[0].split(", ")
        counts = {word: int(number) for number, word in map(str.split, told)}
        assert counts["failed"] == counts["errored"] == 0
        assert counts["succeeded"] > 0
        used_s = max(server.cpu_s() - before_s, 0.01)
        return counts["succeeded"] / used_s, counts["succeeded"] / took_s

    with ours(certificate=pem) as first, nginx(shm, certificate=pem) as second:
        report(f"TLS {name}", [first, second], measure, size)


def report(
    what: str,
    servers: list[Program],
    measure: Callable[[Program], tuple[float, float]],
    size: Size,
) -> None:
    """Measure in turns and print the medians, and of ours the ratios."""
    rounds = [[measure(server) for server in servers] for _ in range(size.rounds)]
    print(f"\n{what}: requests a CPU second (requests a second)", end="")
    for index, server in enumerate(servers):
        by_cpu, by_clock = (
            statistics.median(column)
            for column in zip(*(one[index] for one in rounds), strict=True)
        )
        ratio = statistics.median(one[0][0] / one[index][0] for one in rounds)
        against = "" if index == 0 else f", ours is {ratio:.2f} of it"
        print(f"\n  {server.name}: {by_cpu:,.0f} ({by_clock:,.0f}){against}", end="")
    print()
    assert all(by_cpu > 0 for one in rounds for by_cpu, _ in one)


def test_live_viewers_against_c(size: Size, built: Callable[[str], str]) -> None:
    load = built("yard_load")

    def measure(start: Callable[[int], Any]) -> tuple[str, float, float, dict[str, Any]]:
        start_ms = int(time.monotonic() * 1000) + 2000
        with start(start_ms) as server:
            before_kib = resident_kib(server.pid)
            seconds = size.connecting_s + size.live_s + 0.5
            numbers = (server.port, size.viewers, seconds, INTERVAL_MS, start_ms, PART_BYTES)
            argv = ["taskset", "-c", "1", load, "live", *map(str, numbers), str(size.connecting_s)]
            with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
                time.sleep(size.connecting_s)  # the span itself
                cpu_before_s = server.cpu_s()
                time.sleep(size.live_s)
                used_s = server.cpu_s() - cpu_before_s
                each_kib = (resident_kib(server.pid) - before_kib) / size.viewers
                told = json.loads(process.communicate()[0])
        return server.name, used_s / size.live_s, each_kib, told

    starts: list[Callable[[int], Any]] = [ours, lambda start_ms: bare_c(built, start_ms)]
    # The first round finds the kernel's pools of socket buffers empty, and is slower for either.
    rounds = [[measure(start) for start in starts] for _ in range(size.rounds)]
    for name, cores, each_kib, told in (measured for one in rounds for measured in one):
        print(
            f"\n{size.viewers} viewers, {name}: {cores:.3f} cores, {told['judged']:,} parts taken,"
            f" {told['stalls']} stalls, the latest complete after {told['latest_ms']:.0f} ms;"
            f" of {told['parts']} parts that all took, first viewer to last:"
            f" median {told['spread_p50_ms']:.0f}, 99 % {told['spread_p99_ms']:.0f}, longest"
            f" {told['spread_max_ms']:.0f} ms; {each_kib:.2f} KiB a viewer",
            end="",
        )
    warm = rounds[1:] or rounds
    each_s = [[cores / told["judged"] for _, cores, _, told in one] for one in warm]
    ratio = statistics.median(our_s / max(c_s, 1e-9) for our_s, c_s in each_s)
    print(f"\nours takes {ratio:.2f} of bare C's CPU time for a part and its playlist")
    assert [told["errors"] for one in rounds for _, _, _, told in one] == [0, 0] * len(rounds)


def run_load(argv: list[str]) -> dict[str, Any]:
    text = subprocess.run(
        ["taskset", "-c", "1", *argv], capture_output=True, text=True, check=True
    ).stdout
    told: dict[str, Any] = json.loads(text)
    return told


def await_listening(port: int) -> None:
    for _ in range(200):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("nothing listens")
