"""Listening to the source's sound."""

from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext
from media_clips import ClipSpec, make_clip
from transcode_runs import load_source

from origin.transcode import wire
from origin.transcode.listener import Listener
from origin.transcode.signals import SILENT_AFTER_S


def sounds(level: float, seconds: float) -> list[wire.AudioConfig | wire.Audio]:
    """A tone of some level, as the parent sends it."""
    context = av.CodecContext.create("aac", "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate = 48_000
    context.layout = "stereo"
    context.format = "fltp"
    context.open()
    config = wire.AudioConfig(b"mp4a", context.extradata or b"")
    messages: list[wire.AudioConfig | wire.Audio] = [config]
    for index in range(int(seconds * 48_000 / 1024)):
        at = (np.arange(1024) + index * 1024) / 48_000
        wave = (level * np.sin(2 * np.pi * 440 * at)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.tile(wave, (2, 1)), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 48_000, index * 1024
        messages += [wire.Audio(1920 * index, bytes(packet)) for packet in context.encode(frame)]
    return messages


@pytest.mark.parametrize(("level", "silent"), [(0.2, False), (0.0, True)])
def test_silence_is_heard(level: float, silent: bool) -> None:
    listener = Listener()
    listener.listen(sounds(level, SILENT_AFTER_S + 1))
    assert listener.silent is silent


def test_nothing_is_known_before_anything_was_heard(tmp_path: Path) -> None:
    source = load_source(make_clip(ClipSpec(name="sound", duration_s=1), tmp_path).path)
    listener = Listener()
    listener.listen([wire.Audio(ticks, data) for ticks, data in source.sounds])  # no configuration
    assert listener.silent is None
    listener.listen([wire.AudioConfig(b"mp4a", source.asc), wire.Audio(0, b"\xff" * 30)])
    assert listener.silent is None
    listener.listen([wire.Audio(ticks, data) for ticks, data in source.sounds])
    assert listener.silent is False
