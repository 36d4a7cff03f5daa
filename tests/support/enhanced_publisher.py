"""FFmpeg's Enhanced RTMP as a publisher: a few frames of any codecs, in a process of its own.

    python enhanced_publisher.py URL VIDEO,... AUDIO,...      # names of encoders

PyAV's libavformat, for Debian's ffmpeg is older than Enhanced RTMP. A process, since PyAV holds the
interpreter while it waits for the server, which may be a thread of the test.
"""

import sys
from fractions import Fraction

import av
import numpy as np
from av import AudioStream, VideoStream
from av.container import OutputContainer

FRAMES = 4
FPS = 25
SAMPLE_RATE = 48_000
SIDE = 64


def publish(url: str, video: list[str], audio: list[str]) -> None:
    """Publish a grey picture and silence, one track for each encoder."""
    with av.open(url, "w", format="flv") as sink:
        pictures = [_video_stream(sink, codec) for codec in video]
        sounds = [_audio_stream(sink, codec) for codec in audio]
        for index in range(FRAMES):
            for picture in pictures:
                sink.mux(picture.encode(_grey(index)))
            for sound in sounds:
                sink.mux(sound.encode(_silence(sound, index)))
        for picture in pictures:
            sink.mux(picture.encode(None))
        for sound in sounds:
            sink.mux(sound.encode(None))


def _video_stream(sink: OutputContainer, codec: str) -> VideoStream:
    stream = sink.add_stream(codec, rate=FPS)
    assert isinstance(stream, VideoStream)
    stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
    return stream


def _audio_stream(sink: OutputContainer, codec: str) -> AudioStream:
    stream = sink.add_stream(codec, rate=SAMPLE_RATE)
    assert isinstance(stream, AudioStream)
    stream.layout = "stereo"
    return stream


def _grey(index: int) -> av.VideoFrame:
    planes = np.full((SIDE * 3 // 2, SIDE), 128, np.uint8)
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.pts, frame.time_base = index, Fraction(1, FPS)
    return frame


def _silence(stream: AudioStream, index: int) -> av.AudioFrame:
    context = stream.codec_context
    name, samples = context.format.name, context.frame_size or 1024
    kind = {"s16": np.int16, "s32": np.int32}.get(name.removesuffix("p"), np.float32)
    shape = (2, samples) if name.endswith("p") else (1, 2 * samples)
    frame = av.AudioFrame.from_ndarray(np.zeros(shape, kind), format=name, layout="stereo")
    frame.sample_rate, frame.pts = SAMPLE_RATE, index * samples
    frame.time_base = Fraction(1, SAMPLE_RATE)
    return frame


if __name__ == "__main__":
    publish(sys.argv[1], sys.argv[2].split(","), sys.argv[3].split(","))
