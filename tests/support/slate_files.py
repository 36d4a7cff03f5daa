"""Files for a slate: a still picture, and clips with and without sound. One colour tells them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

GREEN = (0, 160, 0)


def make_still(path: Path, *, width: int = 320, height: int = 180) -> Path:
    """A picture all green; the format goes by the file's name."""
    picture = np.full((height, width, 3), GREEN, np.uint8)
    with av.open(path, "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def make_moving(path: Path, *, seconds: float, fps: int = 30, has_sound: bool = True) -> Path:
    """A clip that is green for its first second and blue from then on, and hums."""
    with av.open(path, "w") as container:
        video = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        video.options = {"preset": "ultrafast"}
        audio = container.add_stream("aac", rate=44_100) if has_sound else None
        if audio is not None:
            audio.layout = "mono"
        for number in range(round(seconds * fps)):
            colour = GREEN if number < fps else (0, 0, 160)
            picture = np.full((180, 320, 3), colour, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            for at in range(0, round(seconds * 44_100), 1024):
                wave = 0.3 * np.sin(2 * np.pi * 220 * (np.arange(1024) + at) / 44_100)
                sound = av.AudioFrame.from_ndarray(
                    wave.astype(np.float32)[None], format="fltp", layout="mono"
                )
                sound.sample_rate, sound.pts, sound.time_base = 44_100, at, Fraction(1, 44_100)
                container.mux(audio.encode(sound))
            container.mux(audio.encode(None))
    return path
