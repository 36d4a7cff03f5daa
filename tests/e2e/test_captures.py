"""Real publishers, recorded: what they send is what the fuzz targets begin with, and breaks none.

HEADRACE_RECORD=1 keeps those of versions that `tests/data/rtmp/` has not yet; kept, they are seeds
of every target (`fuzz/seeds.py`).
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import enhanced_publisher
import pytest
from child_process import Child
from ffmpeg_cli import need_ffmpeg, publish_with_ffmpeg
from gstreamer_cli import need_rtmp2sink, publish_with_gstreamer
from media_clips import Clip, ClipSpec
from obs_studio import ObsOutput, need_obs, running_obs
from rtmp_recorder import RtmpRecorder

from fuzz import seeds
from fuzz.targets import load

pytestmark = [pytest.mark.e2e, pytest.mark.long]

KEY = "live_key"
MAX_BYTES = 8192
"""Handshake, opening, and the first frames of a picture of 64x64: enough of each kind."""

TINY = ClipSpec(name="tiny", fps=Fraction(25), duration_s=0.3, width=64, height=64)
OF_PUBLISHERS = ("amf0", "chunk", "connection", "flv", "handshake", "native_diff", "transcode")


def version_of(*argv: str) -> str:
    """The first word of digits and points that a program says of itself."""
    said = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30).stdout
    return next(word.split("-")[0] for word in said.split() if word[:1].isdigit())


def judge(name: str, data: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replay a recording on each target; keep it, if the environment says so and it is new."""
    assert data[:1] == b"\x03"
    for secret in (str(Path.home()), socket.gethostname(), tempfile.gettempdir()):
        assert secret.encode() not in data
    assert KEY.encode() in data
    made = folder / f"{name}.bin"
    made.write_bytes(data)
    with monkeypatch.context() as patched:
        patched.setattr(seeds, "CAPTURES", folder)
        for unit in OF_PUBLISHERS:
            inputs = seeds.seeds(unit)
            assert inputs, unit
            for seed in inputs.values():
                load(unit)(seed)
    if os.environ.get("HEADRACE_RECORD") == "1" and not (seeds.CAPTURES / made.name).exists():
        shutil.copy(made, seeds.CAPTURES)


@pytest.fixture
def captures(tmp_path: Path) -> Path:
    folder = tmp_path / "captures"
    folder.mkdir()
    return folder


def test_ffmpeg(
    clip_of: Callable[[ClipSpec], Clip],
    tmp_path: Path,
    captures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    need_ffmpeg()
    clip = clip_of(TINY)
    with RtmpRecorder(max_bytes=MAX_BYTES) as recorder:
        url = f"{recorder.url}/{KEY}?token=abc"
        with publish_with_ffmpeg(clip.path, url, tmp_path / "ffmpeg.log") as ffmpeg:
            assert ffmpeg.wait(30) == 0, ffmpeg.tail()
    judge(f"ffmpeg-{version_of('ffmpeg', '-version')}", recorder.data, captures, monkeypatch)


@pytest.mark.parametrize("sink", ["rtmp2sink", "rtmpsink"])
def test_gstreamer(
    sink: str,
    clip_of: Callable[[ClipSpec], Clip],
    tmp_path: Path,
    captures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`rtmp2sink` is GStreamer's own client, `rtmpsink` is librtmp."""
    need_rtmp2sink(sink)
    clip = clip_of(TINY)
    log = tmp_path / "gstreamer.log"
    with RtmpRecorder(max_bytes=MAX_BYTES) as recorder:
        url = f"{recorder.url}/{KEY}"
        with publish_with_gstreamer(clip.path, url, log, sink=sink) as gstreamer:
            assert gstreamer.wait(30) == 0, gstreamer.tail()
    version = version_of("gst-launch-1.0", "--version")
    judge(f"gstreamer-{version}-{sink}", recorder.data, captures, monkeypatch)


@pytest.mark.hard_cap(100)
def test_obs(
    clip_of: Callable[[ClipSpec], Clip],
    tmp_path: Path,
    captures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    need_obs()
    clip = clip_of(TINY)
    folder = tmp_path / "obs"
    folder.mkdir()
    with RtmpRecorder(max_bytes=MAX_BYTES) as recorder:
        output = ObsOutput(server=recorder.url, key=KEY, bitrate_kbps=100, width=64, height=64)
        with running_obs(folder, output, clip.path):
            assert recorder.wait_until_full(60)
    judge(f"obs-{version_of('obs', '--version')}", recorder.data, captures, monkeypatch)


CODECS = [
    pytest.param("libx265", "libopus", id="hevc-opus"),
    pytest.param("libsvtav1", "flac", id="av1-flac"),
    pytest.param("libvpx-vp9", "ac3", id="vp9-ac3"),
    pytest.param("libx264,libx264", "aac,libopus", id="multitrack"),
]


@pytest.mark.parametrize(("video", "audio"), CODECS)
def test_enhanced_rtmp_of_libavformat(
    video: str,
    audio: str,
    tmp_path: Path,
    captures: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    with RtmpRecorder(max_bytes=MAX_BYTES) as recorder:
        argv = [sys.executable, enhanced_publisher.__file__, f"{recorder.url}/{KEY}", video, audio]
        with Child(argv, log=tmp_path / "publisher.log") as publisher:
            assert publisher.wait(30) == 0, publisher.tail()
    version = ".".join(str(number) for number in av.library_versions["libavformat"])
    name = f"libavformat-{version}-{request.node.callspec.id}"
    judge(name, recorder.data, captures, monkeypatch)
