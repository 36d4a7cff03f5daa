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
}

#: Matrices that swscale knows (AVColorSpace). It refuses to scale with another; a stream that says
#: so is taken for one that says nothing.
_KNOWN_MATRICES: Final = frozenset((0, 1, 2, 4, 5, 6, 7, 9))
_UNSPECIFIED: Final = 2


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
        name, options = _DECODERS[config.fourcc]
        context = av.CodecContext.create(name, "r")
        assert isinstance(context, VideoCodecContext)
        context.extradata = config.record
        context.thread_count = threads
        context.thread_type = ThreadType.SLICE
        context.flags |= Flags.low_delay
        max_pixels = min(MAX_GROWTH * max(width * height, _MIN_PIXELS), wire.MAX_DIMENSION**2)
        context.options = {"max_pixels": str(max_pixels), **options}
        self._context = context
        self.errors = 0
        """Pictures that were refused, or came out damaged."""

    def decode(self, data: bytes, pts_ticks: int) -> list[av.VideoFrame]:
        """Take one sample.

        Returns:
            The pictures that can be shown now, each with its own sample's time.

        Cost: milliseconds; 6 for a busy picture of 1920 by 1080 pixels.
        """
        packet = av.Packet(data)
        packet.pts = pts_ticks
        packet.time_base = TIME_BASE
        return self._run(packet)

    def drain(self) -> list[av.VideoFrame]:
        """Give out what is held back, and be as new: the next sample must be a keyframe."""
        context = self._context
        frames = self._run(None)
        # What it has learned of a stream that does not say how much it reorders is kept.
        depth = context.reorder_depth
        context.flush_buffers()
        context.reorder_depth = depth
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


class AudioDecoder:
    """Decodes AAC, to be listened to.

    Args:
        config: AudioSpecificConfig.
    """

    def __init__(self, config: bytes) -> None:
        context = av.CodecContext.create("aac", "r")
        assert isinstance(context, AudioCodecContext)
        context.extradata = config
        context.thread_count = 1
        self._context = context

    def decode(self, data: bytes) -> list[NDArray[Any]]:
        """Take one raw frame.

        Returns:
            Blocks of samples, channels in rows; none for a frame that is no AAC.

        Cost: some 60 us.
        """
        try:
            frames = self._context.decode(av.Packet(data))
        except MemoryError:
            raise
        except av.FFmpegError:
            return []
        return [frame.to_ndarray() for frame in frames if isinstance(frame, AudioFrame)]
