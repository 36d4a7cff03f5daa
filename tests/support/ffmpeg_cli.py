"""The `ffmpeg` and `ffprobe` programs: publisher, and strict reader of what came out."""

import subprocess
from pathlib import Path

from child_process import Child, need_programs


def need_ffmpeg() -> None:
    """Skip the running test when the programs are not installed."""
    need_programs("ffmpeg", "ffprobe")


def publish_with_ffmpeg(clip: Path, url: str, log: Path) -> Child:
    """Start `ffmpeg` publishing a clip at its own speed, as it is (no encoding)."""
    argv = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "info", "-nostats", "-re"]
    argv += ["-i", str(clip), "-c", "copy", "-f", "flv", url]
    return Child(argv, log=log)


def ffprobe_warnings(source: str | Path, *, timeout_s: float = 30.0) -> str:
    """Read a source to its end with `ffprobe -v warning`; what it complained about, "" is good."""
    argv = ["ffprobe", "-v", "warning", "-count_packets", "-show_entries", "stream=nb_read_packets"]
    argv += ["-of", "csv", str(source)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    complaint = done.stderr.strip()
    return complaint if done.returncode == 0 else f"exit code {done.returncode}: {complaint}"
