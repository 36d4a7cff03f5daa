"""Sources with real bit rates: ffmpeg's test pattern with noise, made once, published in a loop.

What `media_clips` draws costs an encoder next to nothing, so that no line is too slow for it. This
costs what a broadcast does, and the rungs below it reach their bit rates too.
"""

import subprocess
from pathlib import Path

from child_process import Child

CLIP_S = 8
"""Holds a whole number of pictures and, at 48 kHz, of AAC frames: a loop has no seam."""


def make_busy_clip(folder: Path, *, width: int, height: int, fps: int, kbps: int) -> Path:
    """Encode eight seconds: B-frames, a keyframe every two seconds, stereo at 48 kHz.

    Cost: some 5 s of CPU at 1920x1080 and 30 pictures a second.
    """
    path = folder / f"busy-{width}x{height}-{fps}.mp4"
    pattern = f"testsrc2=s={width}x{height}:r={fps},noise=alls=6:allf=t,format=yuv420p"
    argv = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", pattern]
    argv += ["-f", "lavfi", "-i", "sine=f=440:r=48000", "-t", str(CLIP_S), "-ac", "2"]
    argv += ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", str(2 * fps)]
    argv += ["-sc_threshold", "0", "-b:v", f"{kbps}k", "-maxrate", f"{kbps}k"]
    argv += ["-bufsize", f"{kbps}k", "-c:a", "aac", "-b:a", "96k", str(path)]
    subprocess.run(argv, check=True, timeout=120, capture_output=True)
    return path


def publish_in_a_loop(clip: Path, url: str, log: Path) -> Child:
    """Start `ffmpeg` publishing a clip again and again, at its own speed and as it is."""
    argv = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "info", "-nostats", "-re"]
    argv += ["-stream_loop", "-1", "-i", str(clip), "-c", "copy", "-f", "flv", url]
    return Child(argv, log=log)
