"""Clips with one fault each, made by ffmpeg: what a broadcaster may send by mistake.

360p and a tone, a keyframe a second, no B-frames, unless that is the fault. `RIGHT` has none.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import rtmp_publishers as wire

ENCODE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultClip:
    """What ffmpeg is asked for."""

    seconds: float
    picture: str = "testsrc2=size=640x360"
    fps: int = 30
    sound: str = "sine=frequency=440:sample_rate=48000"
    keyframe_interval_s: float = 1.0
    kbps: int = 1200
    is_padded: bool = True
    """The bitrate is kept also where there is nothing to code."""
    select: str = ""
    """Pictures to keep, of all; the others are missing."""

    def make(self, folder: Path, name: str) -> wire.Media:
        """Encode it."""
        path = folder / f"{name}.mp4"
        picture = f"{self.picture}:rate={self.fps}"
        filters = ["-vf", f"select='{self.select}'"] if self.select else []
        hrd = "nal-hrd=cbr:" if self.is_padded else ""
        command = [
            *("ffmpeg", "-nostdin", "-v", "error", "-y"),
            *("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", self.sound),
            *(*filters, "-fps_mode", "passthrough", "-t", str(self.seconds)),
            *("-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency"),
            *("-pix_fmt", "yuv420p", "-b:v", f"{self.kbps}k", "-maxrate", f"{self.kbps}k"),
            *("-bufsize", f"{self.kbps}k", "-threads", "1"),
            *("-g", str(round(self.fps * self.keyframe_interval_s))),
            *("-force_key_frames", f"expr:gte(t,n_forced*{self.keyframe_interval_s})"),
            *("-x264-params", f"{hrd}scenecut=0"),
            *("-c:a", "aac", "-b:a", "64k", "-ac", "2", str(path)),
        ]
        subprocess.run(command, check=True, timeout=ENCODE_TIMEOUT_S)
        return wire.load_media(path)
