"""Codes a slate: ``python -m origin.slate.coder``, in a process of its own.

::

    coder check FILE                             prints nothing if FILE can be a slate
    coder code FILE avc1:1280:720 mp4a:48000:2   prints the loop; "-" for a track that is not wanted

The loop is a line (its milliseconds, and those of a frame of sound as a fraction: "2000 64 3"), and
behind it an FLV file. What cannot be done is told as "!" and a reason for a person.

FFmpeg decodes, encodes and packs. The file is the operator's, and as trusted as the configuration
that names it. Bounds: `MAX_CLIP_S` of the file; `clip.MAX_CLIP_BYTES` coded; whoever starts this
bounds the time.

May import av and origin's own.
"""

import io
import itertools
import math
import os
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.filter import Graph
from av.video.frame import PictureType
from av.video.stream import VideoStream

from origin.slate.clip import FAILED, FPS, MAX_CLIP_BYTES, SlateError
from origin.transcode.priority import usual_priority

os.environ.setdefault("SVT_LOG", "0")  # libsvtav1 has a log of its own

MAX_CLIP_S: Final = 10
"""What is shown of a clip, again and again."""

STILL_S: Final = 2
"""Length of the loop that shows a still picture: one segment."""

GOP: Final = STILL_S * FPS
"""Pictures from one keyframe to the next: two seconds, as is advised to publishers."""

VIDEO_BPS: Final = 2_000_000
"""What the encoders aim at; a still picture takes a fraction of it."""

_VIDEO_ENCODERS: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "avc1": ("libx264", {"preset": "veryfast", "x264-params": "scenecut=0"}),
    "hvc1": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:scenecut=0"}),
    "av01": ("libsvtav1", {"preset": "9", "svtav1-params": "scd=0"}),
    "vp09": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
}
_AUDIO_ENCODERS: Final[dict[str, str]] = {
    "mp4a": "aac",
    "Opus": "libopus",
    "fLaC": "flac",
    "ac-3": "ac3",
    "ec-3": "eac3",
    ".mp3": "libmp3lame",
}
_LAYOUTS: Final = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "6.1", "7.1")
_SILENT_SAMPLES: Final = 1_024

Packet: TypeAlias = "av.Packet[Any]"
Wanted: TypeAlias = tuple[str, int, int]
"""FourCC, then width and height, or sample rate and channels."""


def check(path: Path) -> bytes:
    """Look whether a file has a picture.

    Raises:
        SlateError: It has none, or cannot be read.
    """
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise SlateError(f"{path} has no picture")
            next(container.decode(video=0))
    except (OSError, StopIteration, av.error.FFmpegError) as error:
        raise SlateError(f"{path} is neither a picture nor a clip: {_reason(error)}") from error
    return b""


def code(path: Path, wanted_video: Wanted | None, wanted_audio: Wanted | None) -> bytes:
    """Code a file; returns what is printed.

    Raises:
        SlateError: It cannot be read, or cannot be coded so.
    """
    buffer = io.BytesIO()
    sound_ms = Fraction(0)
    try:
        loop_s = _loop_s(path)
        with av.open(buffer, "w", format="flv") as container:
            # All streams before the first packet: the muxer writes its header then.
            video = wanted_video and _open_video(container, *wanted_video)
            audio = wanted_audio and _open_audio(container, *wanted_audio)
            packets: list[Packet] = []
            if video:
                packets += _code_video(video, path, loop_s)
            if audio:
                packets += _code_audio(audio, path, loop_s)
                sound_ms = Fraction(_frame_samples(audio) * 1_000, audio.codec_context.sample_rate)
            for packet in sorted(packets, key=_decode_time):
                container.mux(packet)
    except (OSError, ValueError, LookupError, av.error.FFmpegError) as error:
        raise SlateError(f"{path} cannot be coded: {_reason(error)}") from error
    head = f"{loop_s * 1_000} {sound_ms.numerator} {sound_ms.denominator}\n"
    output = head.encode() + buffer.getvalue()
    if len(output) > MAX_CLIP_BYTES:
        raise SlateError(f"{path} is too large, coded")
    return output


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error or "it is empty")


def _decode_time(packet: Packet) -> Fraction:
    assert packet.dts is not None
    return packet.dts * packet.time_base


def _loop_s(path: Path) -> int:
    """Length of the loop: that of the clip in whole segments, or `STILL_S` of a picture."""
    with av.open(path) as container:
        if len(list(itertools.islice(container.decode(video=0), 2))) < 2:
            return STILL_S
        length_s = (container.duration or 0) / av.time_base
    return max(STILL_S, min(MAX_CLIP_S, round(length_s / STILL_S) * STILL_S))


# -- picture


def _open_video(container: OutputContainer, fourcc: str, width: int, height: int) -> VideoStream:
    encoder, options = _VIDEO_ENCODERS[fourcc]
    stream = cast("VideoStream", container.add_stream(encoder, rate=FPS))
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.gop_size, stream.max_b_frames, stream.bit_rate = GOP, 0, VIDEO_BPS
    stream.options = options
    with usual_priority():
        stream.codec_context.open()
    return stream


def _code_video(stream: VideoStream, path: Path, loop_s: int) -> list[Packet]:
    packets: list[Packet] = []
    with av.open(path) as container:
        pictures = _fitted(container, stream.width, stream.height)
        for number, picture in enumerate(itertools.islice(pictures, loop_s * FPS)):
            picture.pts, picture.time_base = number, Fraction(1, FPS)
            picture.pict_type = PictureType.NONE
            packets += stream.encode(picture)
        return packets + stream.encode(None)


def _fitted(container: InputContainer, width: int, height: int) -> Iterator[av.VideoFrame]:
    """The file's pictures in a size and at `FPS`, the last one for ever."""
    source = container.streams.video[0]
    size = f"{width}:{height}"
    graph = Graph()
    graph.link_nodes(
        graph.add_buffer(template=source, time_base=source.time_base),
        graph.add("setpts", "PTS-STARTPTS"),
        graph.add("scale", f"{size}:force_original_aspect_ratio=decrease:force_divisible_by=2"),
        graph.add("pad", f"{size}:-1:-1:black"),
        graph.add("setsar", "1"),
        graph.add("fps", str(FPS)),
        graph.add("format", "yuv420p"),
        graph.add("buffersink"),
    ).configure()
    picture: av.VideoFrame | None = None
    for frame in itertools.chain(container.decode(source), (None,)):
        graph.vpush(frame)
        for picture in _pulled(graph):
            yield picture
    while picture is not None:
        yield picture


def _pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (BlockingIOError, EOFError):
            return


# -- sound


def _open_audio(container: OutputContainer, fourcc: str, rate: int, channels: int) -> AudioStream:
    stream = cast("AudioStream", container.add_stream(_AUDIO_ENCODERS[fourcc], rate=rate))
    stream.layout = _LAYOUTS[channels - 1]
    stream.codec_context.open(strict=False)
    return stream


def _frame_samples(stream: AudioStream) -> int:
    return stream.codec_context.frame_size or _SILENT_SAMPLES


def _code_audio(stream: AudioStream, path: Path, loop_s: int) -> list[Packet]:
    """One frame more than fit the loop: `Clip.messages` takes what it needs."""
    context = stream.codec_context
    rate, size = context.sample_rate, _frame_samples(stream)
    fit = av.AudioResampler(context.format, context.layout, rate, frame_size=size)
    sounds = itertools.chain(_sounds(path, rate), _silence(rate))
    frames = (frame for sound in sounds for frame in fit.resample(sound))
    packets: list[Packet] = []
    for number, frame in enumerate(itertools.islice(frames, math.ceil(loop_s * rate / size) + 1)):
        frame.pts, frame.time_base = number * size, Fraction(1, rate)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _sounds(path: Path, rate: int) -> Iterator[av.AudioFrame]:
    """The file's sound, if it has any, as stereo."""
    to_stereo = av.AudioResampler("s16", "stereo", rate)
    with av.open(path) as container:
        for frame in container.decode(audio=0) if container.streams.audio else ():
            for sound in to_stereo.resample(frame):
                sound.pts = None  # one after another, whatever the file says
                yield sound


def _silence(rate: int) -> Iterator[av.AudioFrame]:
    while True:
        frame = av.AudioFrame(format="s16", layout="stereo", samples=_SILENT_SAMPLES)
        frame.sample_rate = rate
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        yield frame


# -- the program


def _track(word: str) -> Wanted | None:
    if word == "-":
        return None
    fourcc, first, second = word.split(":")
    return fourcc, int(first), int(second)


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say; see the module.

    Returns:
        The exit code: 0, or 2 for arguments that make no sense.
    """
    try:
        match list(arguments):
            case ["check", path]:
                output = check(Path(path))
            case ["code", path, video, audio]:
                output = code(Path(path), _track(video), _track(audio))
            case _:
                return 2
    except SlateError as error:
        output = FAILED + str(error).encode()
    sys.stdout.buffer.write(output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
