"""Coded samples of the source to pictures and sound, one call at a time, without delay.

A picture comes out of the call that completes it: no frame threads, and no more reordering than the
stream itself needs. What a decoder refuses is counted and left out; nothing that a publisher can
put into a sample ends the worker.

What a stream may cost is bounded before a byte is decoded: its configuration says how large its
pictures are, and the decoder refuses any that are more than `MAX_GROWTH` times as large, which a
parameter set within a sample could make them.

Calls block for milliseconds: in a thread, one at a time for each object. PyAV's log is turned off
at import: its callback takes the GIL from FFmpeg's threads, with deadlocks to its name (PyAV #751,
#2276).

May import av, numpy and hls.
"""

from fractions import Fraction
from typing import Any, Final

import av
import av.logging
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.codec.context import Flags, ThreadType
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from hls import MediaError
from hls.flac import FlacConfig
from hls.video import parse_video_config
from origin.transcode import wire
from origin.transcode.errors import TranscodeError

av.logging.set_level(None)

TIME_BASE: Final = Fraction(1, 90_000)

MAX_GROWTH: Final = 4
"""Pixels of a decoded picture against those its configuration promised. Coded sizes are rounded up
to macroblocks, and some encoders change their size on the way."""

_MIN_PIXELS: Final = 320 * 240  # whose quadruple is always allowed

#: FFmpeg's decoder for each sample entry, and its options.
_DECODERS: Final[dict[bytes, tuple[str, dict[str, str]]]] = {
    b"avc1": ("h264", {}),
    b"hvc1": ("hevc", {}),
    b"av01": ("libdav1d", {"max_frame_delay": "1"}),
    b"vp09": ("vp9", {}),
}
_SOUND_DECODERS: Final[dict[bytes, str]] = {
    b"mp4a": "aac",
    b"Opus": "opus",
    b"fLaC": "flac",
    b"ac-3": "ac3",
    b"ec-3": "eac3",
    b".mp3": "mp3float",
}

#: Matrices that swscale knows (AVColorSpace). It refuses to scale with another; a stream that says
#: so is taken for one that says nothing.
_KNOWN_MATRICES: Final = frozenset((0, 1, 2, 4, 5, 6, 7, 9))
_UNSPECIFIED: Final = 2


_STREAMINFO_BYTES: Final = 34


class VideoDecoder:
    """Decodes the pictures of one configuration.

    Args:
        config: What the pictures need.
        threads: Threads for the slices of one picture; they never hold pictures back.

    Raises:
        TranscodeError: The configuration cannot be used.
    """

    def __init__(self, config: wire.VideoConfig, threads: int) -> None:
        try:
            described = parse_video_config(config.fourcc, config.record)
        except MediaError as error:
            raise TranscodeError(str(error)) from error
        width, height = described.width, described.height
        if max(width, height) > wire.MAX_DIMENSION:
            raise TranscodeError(f"pictures of {width} by {height} pixels are too large")
        max_pixels = wire.MAX_DIMENSION**2
        if width:  # VP9 says it in its keyframes only
            max_pixels = min(MAX_GROWTH * max(width * height, _MIN_PIXELS), max_pixels)
        self._config = config
        self._threads = threads
        self._max_pixels = max_pixels
        self._length_size = described.length_size
        self._context = self._open()
        self.errors = 0
        """Pictures that were refused, or came out damaged."""

    def _open(self) -> VideoCodecContext:
        name, options = _DECODERS[self._config.fourcc]
        context = av.CodecContext.create(name, "r")
        assert isinstance(context, VideoCodecContext)
        context.extradata = self._config.record
        context.thread_count = self._threads
        context.thread_type = ThreadType.SLICE
        context.flags |= Flags.low_delay
        context.options = {"max_pixels": str(self._max_pixels), **options}
        return context

    def decode(self, data: bytes, pts_ticks: int) -> list[av.VideoFrame]:
        """Take one sample.

        Returns:
            The pictures that can be shown now, each with its own sample's time.

        Cost: milliseconds; 6 for a busy picture of 1920 by 1080 pixels.
        """
        empty_unit = bytes(self._length_size)
        if empty_unit and empty_unit in data:
            data = without_empty_units(data, self._length_size)
        if not data:  # FFmpeg's word for the end of the stream
            self.errors += 1
            return []
        packet = av.Packet(data)
        packet.pts = pts_ticks
        packet.time_base = TIME_BASE
        return self._run(packet)

    def drain(self) -> list[av.VideoFrame]:
        """Give out what is held back, and be as new: the next sample must be a keyframe.

        As new in earnest: flushing would keep parameter sets that came within a sample, and one
        that makes no sense would spoil everything behind it.
        """
        frames = self._run(None)
        context, self._context = self._context, self._open()
        # What it has learned of a stream that does not say how much it reorders is kept.
        self._context.reorder_depth = context.reorder_depth
        return frames

    def _run(self, packet: "av.Packet[Any] | None") -> list[av.VideoFrame]:
        try:
            frames = self._context.decode(packet)
        except MemoryError:
            raise
        except av.FFmpegError:
            self.errors += 1
            return []
        for frame in frames:
            self.errors += frame.is_corrupt
            if frame.colorspace not in _KNOWN_MATRICES:
                frame.colorspace = _UNSPECIFIED
        return frames


def without_empty_units(data: bytes, length_size: int) -> bytes:
    """Leave the NAL units out that have no byte: some encoders pad with them, FFmpeg refuses them.

    Args:
        data: A sample in which a unit may be empty.
        length_size: Bytes of the length before each unit.

    Returns:
        The sample without them; as it was from where its lengths make no sense.
    """
    kept = []
    position = 0
    while position + length_size <= len(data):
        end = (
            position + length_size + int.from_bytes(data[position : position + length_size], "big")
        )
        if end > position + length_size:
            kept.append(data[position:end])
        position = end
    return b"".join(kept) + data[position:]


class AudioDecoder:
    """Decodes sound, to be listened to; of what it does not know, nothing.

    Args:
        config: What the frames need.
    """

    def __init__(self, config: wire.AudioConfig) -> None:
        context = av.CodecContext.create(_SOUND_DECODERS.get(config.fourcc, "aac"), "r")
        assert isinstance(context, AudioCodecContext)
        context.extradata = _extradata(config)
        context.thread_count = 1
        self._context = context

    def decode(self, data: bytes) -> list[NDArray[Any]]:
        """Take one raw frame.

        Returns:
            Blocks of samples, channels in rows; none for a frame that is none of its codec.

        Cost: some 60 us.
        """
        if not data:  # as above
            return []
        try:
            frames = self._context.decode(av.Packet(data))
        except MemoryError:
            raise
        except av.FFmpegError:
            return []
        return [frame.to_ndarray() for frame in frames if isinstance(frame, AudioFrame)]


def _extradata(config: wire.AudioConfig) -> bytes:
    """A configuration as FFmpeg has it: of FLAC, STREAMINFO alone."""
    if config.fourcc != FlacConfig.FOURCC:
        return config.record
    try:
        return FlacConfig.parse(config.record).specific[-_STREAMINFO_BYTES:]
    except MediaError:
        return b""
