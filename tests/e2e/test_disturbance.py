"""A killed publisher and a flood of garbage, while one viewer of another stream plays on."""

import os
import random
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from child_process import wait_until
from chromium_player import Viewers
from ffmpeg_cli import need_ffmpeg, publish_with_ffmpeg
from media_clips import Clip, ClipSpec
from origin_process import Origin

pytestmark = pytest.mark.e2e

SEED = 20_261_123


def garbage(generator: random.Random) -> list[bytes]:
    """What strangers send to an RTMP port: noise, HTTP, TLS, and a handshake followed by noise."""
    noise = generator.randbytes(4096)
    handshake = b"\x03" + generator.randbytes(1536) + generator.randbytes(1536)
    huge_chunk = b"\x03\x00\x00\x00\xff\xff\xff\x14\x00\x00\x00\x00" + noise
    chunk_size = b"\x02\x00\x00\x00\x00\x00\x04\x01\x00\x00\x00\x00\x7f\xff\xff\xff"
    return [
        b"",
        noise,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise,
        handshake,
        handshake + noise,
        handshake + huge_chunk,
        handshake + chunk_size + huge_chunk,
    ]


def send_garbage(address: str, data: bytes) -> None:
    """Send and leave rudely: with SO_LINGER 0 the close is a reset."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


@pytest.mark.hard_cap(90)
def test_a_viewer_does_not_notice_killed_publishers_and_garbage(
    clip_of: Callable[[ClipSpec], Clip],
    origin: Origin,
    viewers: Viewers,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    need_ffmpeg()
    clip = clip_of(ClipSpec(name="long", duration_s=40))
    watched = origin.create_stream("watched")
    victim = origin.create_stream("victim")
    generator = random.Random(SEED)
    url = origin.publish_url(watched.key)
    with (
        publish_with_ffmpeg(clip.path, url, tmp_path / "watched.log"),
        viewers.viewer("watch") as player,
    ):
        path = f"/api/streams/{watched.id}/master.m3u8"
        wait_until(lambda: origin.get(path).status == 200, timeout_s=15, what="something to play")
        player.open(origin.watch_url(watched))
        player.wait_playing()

        for round_number in range(3):
            url = origin.publish_url(victim.key)
            log = tmp_path / f"victim-{round_number}.log"
            with publish_with_ffmpeg(clip.path, url, log) as doomed:
                origin.wait_status(victim, "live", timeout_s=10)
                for data in garbage(generator):
                    send_garbage(origin.rtmp, data)
                    send_garbage(origin.http, data)
                os.kill(doomed.pid, signal.SIGKILL)
                doomed.wait(5)
            assert origin.status(victim) == "live"  # it is waited for, and comes back
        played = player.play_for(14)
        figures(played.summary())
        assert not played.stalls(), played.stalls()
        assert not played.hls_errors, played.hls_errors
        assert origin.status(watched) == "live"


@pytest.mark.hard_cap(60)
def test_memory_does_not_grow_with_strangers_before_authentication(origin: Origin) -> None:
    """A hundred half-open strangers that promise 16 MB messages: bounded, then dropped."""
    host, _, port = origin.rtmp.rpartition(":")
    hello = b"\x03" + bytes(1536) + bytes(1536)
    promise = b"\x03\x00\x00\x00\xff\xff\xff\x14\x00\x00\x00\x00" + bytes(128)
    before = resident_bytes(origin.child.pid)
    strangers = [socket.create_connection((host, int(port)), timeout=5) for _ in range(100)]
    try:
        for stranger in strangers:
            with suppress(ConnectionError):
                stranger.sendall(hello + promise)
        time.sleep(0.5)  # not a condition: gives the origin time to misbehave
        grown = resident_bytes(origin.child.pid) - before
        assert grown < 100 * 256 * 1024, f"grew by {grown / 1e6:.1f} MB"
    finally:
        for stranger in strangers:
            stranger.close()
    assert origin.get("/health").status == 200


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
