"""The fuzz targets: what each judges, and how it is loaded.

A target is `fuzz_<unit>.py`: its invariant, the layout of its input, `test_one_input(data)`. What a
fuzzer must know besides stands in `TARGETS`. Nothing here fuzzes: `engine` does, in a process for
each target, and `run` starts those; pytest replays the corpora without either
(`tests/test_fuzz_corpus.py`).

May import: nothing of ours before `load`, so that a caller can choose the environment and the
instrumentation first.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FUZZ: Final = Path(__file__).parent
CORPUS: Final = FUZZ / "corpus"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a fuzzer must know of a target."""

    subjects: tuple[str, ...]
    """The modules it judges; their branches are counted."""

    dictionary: str
    """`<dictionary>.dict` holds words of its inputs."""

    max_input_bytes: int = 4096

    twins: bool = False
    """Explore with HEADRACE_PURE=1. Coverage guides through Python code only, so the Python twin
    shows the way, and what it found is replayed on the Cython build."""


TARGETS: Final[Mapping[str, Target]] = {
    "amf0": Target(subjects=("rtmpcore.amf", "rtmpcore.amf0"), dictionary="rtmp"),
    "amf3": Target(subjects=("rtmpcore.amf", "rtmpcore.amf3"), dictionary="rtmp"),
    "audio_config": Target(
        subjects=tuple(f"hls.{codec}" for codec in ("audio", "aac", "opus", "flac", "ac3")),
        dictionary="rtmp",
        max_input_bytes=1024,
    ),
    "chunk": Target(
        subjects=("native._chunk_py",), dictionary="rtmp", max_input_bytes=8192, twins=True
    ),
    "cmcd": Target(subjects=("edge.audience.cmcd",), dictionary="http", max_input_bytes=600),
    "connection": Target(
        subjects=("rtmpcore.connection", "rtmpcore.command", "rtmpcore.flow", "rtmpcore.message"),
        dictionary="rtmp",
        max_input_bytes=8000,
        twins=True,
    ),
    "directives": Target(subjects=("hls.request",), dictionary="http", max_input_bytes=256),
    "flv": Target(
        subjects=tuple(f"rtmpcore.flv{part}" for part in ("", "_tags", "_enhanced", "_colour")),
        dictionary="rtmp",
        max_input_bytes=2048,
    ),
    "handshake": Target(
        subjects=("rtmpcore.handshake",), dictionary="rtmp", max_input_bytes=2 + 2 * 1536
    ),
    "native_diff": Target(
        subjects=("native._chunk_py", "native._fragment_py"),
        dictionary="rtmp",
        max_input_bytes=8192,
    ),
    "playback_token": Target(
        subjects=("edge.playback.tokens",), dictionary="http", max_input_bytes=900
    ),
    "proxy_protocol": Target(
        subjects=("origin.rtmp.proxy_protocol",), dictionary="http", max_input_bytes=5000
    ),
    "request": Target(subjects=("native._request_py",), dictionary="http", max_input_bytes=4200),
    "session": Target(
        subjects=("rtmpcore.connection", "rtmpcore.command", "rtmpcore.flow", "rtmpcore.state"),
        dictionary="rtmp",
        max_input_bytes=2048,
    ),
    "transcode": Target(
        subjects=("origin.bridge", "origin.transcode.wire", "origin.transcode.bitstream"),
        dictionary="rtmp",
        max_input_bytes=8192,
    ),
    "video_config": Target(
        subjects=tuple(f"hls.{codec}" for codec in ("video", "h264", "hevc", "av1", "vp9")),
        dictionary="rtmp",
        max_input_bytes=3072,  # x265 puts its options into the record
    ),
}


def load(unit: str) -> Callable[[bytes], None]:
    """Import a target, and return its `test_one_input`.

    Raises:
        ImportError: It needs an extension that is not built.
    """
    test_one_input: Callable[[bytes], None] = importlib.import_module(
        f"fuzz.fuzz_{unit}"
    ).test_one_input
    return test_one_input


def inputs(*folders: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file in these folders, in order."""
    for folder in folders:
        for path in sorted(folder.glob("*")):
            if path.is_file():
                yield f"{folder.name}/{path.name}", path.read_bytes()
