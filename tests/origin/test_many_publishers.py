"""Two hundred publishers and five hundred blocked viewers in one origin, and three that misbehave.

A real origin and real sockets; the load comes from two processes of its own. What is asserted is
life: every healthy stream goes on, every held request is answered with the part that it asked for.
What is measured is printed (`pytest -s`), since time on a shared machine proves nothing.
"""

import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import playlist_load
import pytest
import rtmp_load
import rtmp_publishers as wire
from media_clips import ClipSpec, make_clip
from origin_process import CreatedStream, Origin, running_origin

PUBLISHERS = 200
VIEWERS = 500
WATCH_S = 9.0
MIN_SEGMENTS = 3
"""Of two seconds: what every stream has to come to, in WATCH_S where there is a core to be had."""
MOST_S = 60.0
"""Where there is none: by then it is not slowness."""
SILENCE_S = 3.0


@contextmanager
def load_process(script: Path, plan: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Run a load generator with its plan; it is gone afterwards."""
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(plan) + "\n")
            process.stdin.flush()
            yield process
        finally:
            process.kill()


def publish(origin: Origin, streams: Sequence[CreatedStream], clip: Path, duration_s: float) -> Any:
    return load_process(
        Path(rtmp_load.__file__),
        {
            "port": port_of(origin.rtmp),
            "keys": [stream.key for stream in streams],
            "clip": str(clip),
            "duration_s": duration_s,
        },
    )


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def stop(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("stop\n")
    process.stdin.flush()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def open_by_hand(origin: Origin, stream: CreatedStream, media: wire.Media) -> socket.socket:
    """A publisher that has sent one second of media."""
    connection = socket.create_connection(("127.0.0.1", port_of(origin.rtmp)), timeout=10)
    connection.sendall(wire.opening(stream.key))
    received = b""
    while wire.PUBLISH_START not in received:
        received += connection.recv(65_536)
    frames = b"".join(data for due_ms, data in media.messages() if due_ms < 1000)
    connection.sendall(media.headers + frames)
    return connection


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


@pytest.mark.slow
def test_a_full_house_survives_its_worst_guests(tmp_path: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2 * (PUBLISHERS + VIEWERS):
        pytest.skip("the limit of open files is too low for 700 connections in one process")
    clip = make_clip(ClipSpec(name="load", duration_s=12.0, keyint_s=2.0), tmp_path).path
    media = wire.load_media(clip)
    environment = {
        "HEADRACE_PUBLISH_TIMEOUT_S": str(SILENCE_S),
        "HEADRACE_RECONNECT_GRACE_S": "1",  # the worst guests do not come back
    }
    with running_origin(tmp_path, env=environment) as origin, ExitStack() as stack:
        streams = [origin.create_stream(f"load {index}") for index in range(PUBLISHERS)]
        garbler, staller, victim = (origin.create_stream(n) for n in ("noise", "stall", "victim"))

        publishers = stack.enter_context(publish(origin, streams, clip, MOST_S))
        assert line_of(publishers) == "started\n"
        cpu_before = cpu_s(origin.child.pid)
        plan = {
            "port": port_of(origin.http),
            "streams": [stream.id for stream in streams],
            "viewers": VIEWERS,
            "watch_s": WATCH_S,
            "until_msn": MIN_SEGMENTS,
            "most_s": MOST_S - 10,
        }
        viewers = stack.enter_context(load_process(Path(playlist_load.__file__), plan))

        doomed = stack.enter_context(publish(origin, [victim], clip, MOST_S))
        assert line_of(doomed) == "started\n"
        noise = stack.enter_context(open_by_hand(origin, garbler, media))
        noise.sendall(random.Random(1).randbytes(100_000))
        stalled = stack.enter_context(open_by_hand(origin, staller, media))
        stalled.sendall(wire.video(b"\x17\x01" + bytes(50_000))[:20_000])  # and not a byte more
        doomed.send_signal(signal.SIGKILL)
        for stream in (garbler, staller, victim):
            origin.wait_status(stream, "ended", timeout_s=3 * SILENCE_S + 5)

        seen = playlist_load.Report(**json.loads(line_of(viewers)))
        cpu_used_s = cpu_s(origin.child.pid) - cpu_before
        stop(publishers)
        sent = rtmp_load.Report(**json.loads(line_of(publishers)))
        log = origin.child.log_text()

        print(
            f"\n{PUBLISHERS} publishers, {sent.messages} messages, {VIEWERS} held viewers,"
            f" {sum(seen.answers)} playlists in {seen.watched_s:.1f} s:"
            f"\n  origin: {cpu_used_s:.1f} CPU s, peak {peak_mb(origin.child.pid)} MB"
            f"\n  part complete to playlist received: {seen.lateness_ms} ms"
            f"\n  generators: {sent.cpu_s:.1f} and {seen.cpu_s:.1f} CPU s, publishers at most"
            f" {sent.late_ms_max:.0f} ms late, {sent.blocked} sends blocked"
        )
        assert seen.errors == []
        assert len(seen.answers) == VIEWERS
        assert seen.held_at_end == VIEWERS
        assert min(seen.answers) >= 1 + MIN_SEGMENTS  # held, released, and held again
        assert set(seen.last_msn) == {stream.id for stream in streams}
        assert min(seen.last_msn.values()) >= MIN_SEGMENTS
        assert sent.lost == []
        assert 'reason="protocol error' in log
        assert f'reason="no media for {SILENCE_S:g} s"' in log
        assert "internal error" not in log
