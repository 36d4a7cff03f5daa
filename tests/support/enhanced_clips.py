"""Clips of any codec as Enhanced RTMP carries them: FFmpeg encodes, and its FLV muxer packs.

What `enhanced_clip` returns is what a bridge would have in hand: a FourCC and a record for each
track, and samples with stamps in milliseconds. The reader of the FLV tags is this file's own.
"""

import io
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np

_VIDEO_TAG = 9
_AUDIO_TAG = 8
_LEGACY_VIDEO = {7: b"avc1"}
_LEGACY_AUDIO = {2: b".mp3", 10: b"mp4a"}

VIDEO_OPTIONS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "ultrafast", "x264-params": "scenecut=0"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:scenecut=0"},
    "libsvtav1": {"preset": "12", "svtav1-params": "tune=0"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
}


@dataclass(frozen=True, slots=True)
class SentFrame:
    """One coded frame, in milliseconds."""

    is_video: bool
    dts_ms: int
    pts_ms: int
    keyframe: bool
    data: bytes


@dataclass(slots=True)
class EnhancedClip:
    """What a publisher would send."""

    video: tuple[bytes, bytes] | None = None
    """FourCC and record; None without."""
    audio: tuple[bytes, bytes] | None = None
    """FourCC and record, which is the first frame where there is no sequence header."""
    frames: list[SentFrame] = field(default_factory=list)


def enhanced_clip(
    video: str | None,
    audio: str | None,
    *,
    duration_s: float = 5.0,
    fps: int = 25,
    gop: int = 50,
    b_frames: int = 0,
    size: tuple[int, int] = (320, 180),
    pix_fmt: str = "yuv420p",
    sample_rate: int = 48_000,
    channels: int = 2,
    options: dict[str, str] | None = None,
    audio_options: dict[str, str] | None = None,
) -> EnhancedClip:
    """Encode a moving ramp and a tone with the encoders named, in FFmpeg's words.

    Cost: about 0.5 s of CPU for 5 s.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flv") as container:
        streams: list[Any] = []
        if video is not None:
            stream: Any = container.add_stream(video, rate=fps)
            stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
            stream.gop_size, stream.max_b_frames, stream.bit_rate = gop, b_frames, 300_000
            stream.options = VIDEO_OPTIONS[video] | (options or {})
            stream.thread_count = 1
            streams.append((stream, _pictures(size, pix_fmt, round(duration_s * fps), fps)))
        if audio is not None:
            sound: Any = container.add_stream(audio, rate=sample_rate)
            sound.layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
            sound.options = audio_options or {}
            sound.codec_context.open(strict=False)
            streams.append((sound, _tone(sound, duration_s, sample_rate, channels)))
        packets = []
        for stream, inputs in streams:
            for frame in inputs:
                packets += stream.encode(frame)
            packets += stream.encode(None)
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            container.mux(packet)
    return _read(buffer.getvalue())


def _pictures(size: tuple[int, int], pix_fmt: str, count: int, fps: int) -> Any:
    width, height = size
    ramp = np.tile(np.linspace(40, 120, width, dtype=np.uint8), (height, 1))
    for index in range(count):
        picture = ramp.copy()
        left = index * 8 % (width - 16)
        picture[height // 4 : height // 2, left : left + 16] = 235
        frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format=pix_fmt)
        frame.pts, frame.time_base = index, Fraction(1, fps)
        yield frame


def _tone(stream: Any, duration_s: float, rate: int, channels: int) -> Any:
    context = stream.codec_context
    length = context.frame_size or 1024
    for start in range(0, round(duration_s * rate), length):
        wave = 0.2 * np.sin(2 * np.pi * 440 * (np.arange(length) + start) / rate)
        planes = np.tile(wave.astype(np.float32), (channels, 1))
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=stream.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield from av.AudioResampler(
            format=context.format.name, layout=stream.layout.name, rate=rate
        ).resample(frame)


def _read(flv: bytes) -> EnhancedClip:
    """Read FLV tags, legacy ones and enhanced ones of a single track."""
    clip = EnhancedClip()
    position = 13
    while position < len(flv):
        kind = flv[position]
        size = int.from_bytes(flv[position + 1 : position + 4], "big")
        stamp = int.from_bytes(flv[position + 4 : position + 7], "big") | flv[position + 7] << 24
        body = flv[position + 11 : position + 11 + size]
        position += 15 + size
        if kind == _VIDEO_TAG:
            _video_tag(clip, stamp, body)
        elif kind == _AUDIO_TAG:
            _audio_tag(clip, stamp, body)
    return clip


def _video_tag(clip: EnhancedClip, stamp: int, body: bytes) -> None:
    keyframe = body[0] >> 4 & 7 == 1
    if body[0] & 0x80:
        packet, fourcc, rest = body[0] & 15, body[1:5], body[5:]
    else:
        packet, fourcc, rest = body[1], _LEGACY_VIDEO[body[0] & 15], body[2:]
        if packet == 0:
            rest = rest[3:]
    if packet == 0:
        clip.video = fourcc, rest
    elif packet in (1, 3):
        composition = 0
        if packet == 1 and fourcc in (b"avc1", b"hvc1"):
            composition = int.from_bytes(rest[:3], "big", signed=True)
            rest = rest[3:]
        clip.frames.append(SentFrame(True, stamp, stamp + composition, keyframe, rest))


def _audio_tag(clip: EnhancedClip, stamp: int, body: bytes) -> None:
    if body[0] >> 4 == 9:
        packet, fourcc, rest = body[0] & 15, body[1:5], body[5:]
    elif body[0] >> 4 == 10:
        packet, fourcc, rest = body[1], _LEGACY_AUDIO[10], body[2:]
    else:
        packet, fourcc, rest = 1, _LEGACY_AUDIO[body[0] >> 4], body[1:]
    if packet == 0:
        clip.audio = fourcc, rest
    elif packet == 1 and rest:
        if clip.audio is None or not clip.audio[1]:
            clip.audio = fourcc, rest
        clip.frames.append(SentFrame(False, stamp, stamp, True, rest))
