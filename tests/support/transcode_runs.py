"""A transcode worker's input and output: clips as it is fed with them, and a strict reader.

`load_source` takes a clip apart into coded pictures as a publisher sends them (FFmpeg's MP4 reader
gives lengths before NAL units, and the configuration record); `stream_of` writes them as the parent
does. `Output` takes the worker's messages apart; `decode_coded` has FFmpeg judge a rung.

The pictures of `media_clips` carry a bright bar that moves eight pixels a picture: `bar_of` reads
from a decoded picture, of any size, which one it is.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av import VideoStream
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext

from origin.transcode import wire

TICKS = 90_000
FOURCC = {"h264": b"avc1", "hevc": b"hvc1", "av1": b"av01"}


@dataclass(frozen=True)
class Coded:
    """One coded picture of a source, in decode order."""

    pts_ticks: int
    is_key: bool
    data: bytes


@dataclass(frozen=True)
class Source:
    """What a publisher sends."""

    record: bytes
    pictures: tuple[Coded, ...]
    fourcc: bytes = b"avc1"
    asc: bytes = b""
    sounds: tuple[tuple[int, bytes], ...] = ()
    """Time and raw frame."""

    @property
    def config(self) -> wire.VideoConfig:
        return wire.VideoConfig(self.fourcc, self.record)

    @property
    def shown(self) -> list[int]:
        """Times of the pictures as they are displayed."""
        return sorted(picture.pts_ticks for picture in self.pictures)


def load_source(file: Path | io.BytesIO) -> Source:
    """Take an MP4 file apart."""
    with av.open(file) as container:
        assert isinstance(container, InputContainer)
        video = container.streams.video[0]
        pictures, sounds = [], []
        for packet in container.demux():
            if packet.size == 0 or packet.pts is None or packet.time_base is None:
                continue
            ticks = round(packet.pts * packet.time_base * TICKS)
            if packet.stream is video:
                pictures.append(Coded(ticks, packet.is_keyframe, bytes(packet)))
            else:
                sounds.append((ticks, bytes(packet)))
        asc = b""
        if container.streams.audio:
            asc = container.streams.audio[0].codec_context.extradata or b""
        return Source(
            record=video.codec_context.extradata or b"",
            pictures=tuple(pictures),
            fourcc=FOURCC[video.codec_context.codec.canonical_name],
            asc=asc,
            sounds=tuple(sounds),
        )


def encode_source(
    frames: Iterable[av.VideoFrame],
    *,
    codec: str = "libx264",
    prepare: Callable[[VideoCodecContext], None] = lambda context: None,
    interval_ticks: int = 3000,
) -> Source:
    """Encode pictures one by one, without B-frames unless `prepare` asks for some."""
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as container:
        first, *others = frames
        stream = container.add_stream(codec, rate=Fraction(TICKS, interval_ticks))
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height = first.width, first.height
        context.pix_fmt = first.format.name
        context.time_base = Fraction(1, TICKS)
        context.max_b_frames = 0
        context.thread_count = 1
        context.options = {"preset": "ultrafast", "tune": "zerolatency"}
        prepare(context)
        for index, frame in enumerate([first, *others]):
            frame.pts, frame.time_base = index * interval_ticks, Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return load_source(io.BytesIO(sink.getvalue()))


def rung(name: str = "90p", **fields: Any) -> wire.RungSetup:
    """A small rung; `fields` replace its own."""
    values: dict[str, Any] = {
        "width": 160,
        "height": 90,
        "bitrate_bps": 200_000,
        "encoder": "libx264",
        "preset": "ultrafast",
        "frame_rate": 30.0,
        "divisor": 1,
    }
    return wire.RungSetup(name=name, **values | fields)


def setup_of(*rungs: wire.RungSetup) -> wire.Setup:
    return wire.Setup(rungs=rungs, decoder_threads=1)


def pictures_of(
    source: Source, *, segments: Sequence[int] = (0,), first: int = 0, shift_ticks: int = 0
) -> list[wire.Picture]:
    """A source's pictures as they are fed.

    Args:
        source: What to feed.
        segments: Indexes of the pictures, in decode order, whose slots begin segments.
        first: Number of the first; it begins an epoch.
        shift_ticks: Added to every time.
    """
    return [
        wire.Picture(
            first + index,
            picture.pts_ticks + shift_ticks,
            index in segments,
            index == 0,
            picture.data,
        )
        for index, picture in enumerate(source.pictures)
    ]


def stream_of(messages: Iterable[wire.ToWorker]) -> bytes:
    """What the parent would write."""
    return wire.GREETING + b"".join(map(wire.encode, messages))


@dataclass
class Output:
    """What a worker has said."""

    messages: list[wire.ToParent] = field(default_factory=list)

    @classmethod
    def of(cls, data: bytes) -> "Output":
        """Read all that was written; it must end where a frame ends."""
        reader = wire.ToParentReader()
        messages = reader.feed(data)
        reader.finish()
        return cls(messages)

    def coded(self, index: int = 0) -> list[wire.Coded]:
        """What a rung has for each slot."""
        return [
            message
            for message in self.messages
            if isinstance(message, wire.Coded) and message.rung == index
        ]

    def pictures(self, index: int = 0) -> list[wire.Coded]:
        """The same without the empty ones."""
        return [coded for coded in self.coded(index) if coded.data]

    def configs(self, index: int = 0) -> list[wire.RungConfig]:
        return [
            message
            for message in self.messages
            if isinstance(message, wire.RungConfig) and message.rung == index
        ]

    @property
    def faults(self) -> list[str]:
        return [message.text for message in self.messages if isinstance(message, wire.Fault)]

    @property
    def statuses(self) -> list[wire.Status]:
        return [message for message in self.messages if isinstance(message, wire.Status)]


_DECODERS = {b"avc1": "h264", b"hvc1": "hevc", b"av01": "libdav1d"}


def decode_coded(config: wire.RungConfig, pictures: Iterable[wire.Coded]) -> list[av.VideoFrame]:
    """Decode a rung's pictures with FFmpeg. Every one must come out undamaged, in its own call."""
    decoder = av.CodecContext.create(_DECODERS[config.fourcc], "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.extradata = config.record
    decoder.thread_count = 1
    if config.fourcc == b"av01":
        decoder.options = {"max_frame_delay": "1"}
    frames = []
    for coded in pictures:
        packet = av.Packet(coded.data)
        packet.pts, packet.time_base = coded.pts_ticks, Fraction(1, TICKS)
        (frame,) = decoder.decode(packet)
        assert frame.pts == coded.pts_ticks
        assert not frame.is_corrupt
        frames.append(frame)
    return frames


def luma_of(frame: av.VideoFrame) -> np.ndarray:
    """A picture's luma plane, 8 bits."""
    grey = frame if frame.format.name == "yuv420p" else frame.reformat(format="yuv420p")
    plane = grey.planes[0]
    rows = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: grey.height, : grey.width]


def bar_of(frame: av.VideoFrame, source_width: int = 320) -> int:
    """Which picture of `media_clips` it is, modulo (width - 16) / 8, by its bright bar."""
    row = luma_of(frame)[frame.height * 3 // 8].astype(float)
    bright = np.flatnonzero(row > 180)
    assert bright.size, "there is no bar"
    # The bar has 16 pixels of the source's; its middle is 8 behind its left edge.
    middle = float(bright[0] + bright[-1] + 1) / 2 * source_width / frame.width
    return round((middle - 8) / 8)
