"""Pictures to coded samples: one encoder of a rung, and how each kind of encoder is set.

What every encoder must do, and what its options below ask of it:

* no delay: no B-frames, no look-ahead, so a picture's sample comes out of the call that took it;
* an IDR picture exactly where one is asked for: no scene cuts, no keyframe interval, closed GOPs;
* a bitrate that a viewer's line can carry: `PEAK` times the target at the most, in a buffer of
  `BUFFER_S`. A segment is 2 s long, so its IDR picture may take what the pictures after it save,
  and the segment's own bitrate stays near the target;
* one thread, unless the picture is too large for one: rungs run beside each other, and slices cost
  bits.

Only libx264, libx265 and libsvtav1 were seen at work by who wrote this. The options of the others
are from FFmpeg's sources; `try_encoder` says whether one works here.

The configuration record of a rung depends on its setup and on the colours of the source alone, so
a worker that was restarted goes on with the same init section. For that, H.264's level is computed
here, and a change of the divisor changes the rate control and not what the stream claims.

Calls block for milliseconds: in a thread, one at a time for each object. May import av.

Spec: ITU-T H.264, table A-1 (levels).
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

import av
import av.logging
from av.codec.codec import UnknownCodecError
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from origin.transcode import wire
from origin.transcode.bitstream import FOURCC, BitstreamError, Repackager
from origin.transcode.decode import TIME_BASE
from origin.transcode.errors import TranscodeError
from origin.transcode.priority import usual_priority
from origin.transcode.rungs import ENCODERS

av.logging.set_level(None)  # as in `decode`
os.environ.setdefault("SVT_LOG", "0")  # libsvtav1 has a log of its own, on stderr

PEAK: Final = 1.1
"""Highest bitrate over `BUFFER_S`, against the target."""

BUFFER_S: Final = 1.5

MAX_ONE_THREAD_PIXELS_PER_S: Final = 1920 * 1088 * 31
"""More than this and an encoder gets two threads."""

TRIAL_PICTURES: Final = 8
"""Given to an encoder on trial until one comes out: a device may keep some in flight."""

_LONG_GOP: Final = 60_000
"""Keyframe interval for hardware that has no word for "never". Each forced keyframe starts it anew;
QuickSync has 16 bits for it."""


class Colour(NamedTuple):
    """What a picture's samples mean, as FFmpeg numbers it (ISO/IEC 23091-2)."""

    range: int
    matrix: int
    primaries: int
    transfer: int

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "Colour":
        """A picture's."""
        return cls(
            int(frame.color_range),
            int(frame.colorspace),
            int(frame.color_primaries),
            int(frame.color_trc),
        )


class EncodedPicture(NamedTuple):
    """One coded picture."""

    pts_ticks: int
    is_idr: bool
    data: bytes
    """In sample format."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What the rate control is told. It believes that pictures come at `frame_rate`."""

    frame_rate: Fraction
    bitrate_bps: int
    peak_bps: int
    buffer_bits: int

    @classmethod
    def of(cls, rung: wire.RungSetup, divisor: int) -> "Rates":
        """For a rung of which one picture in `divisor` is encoded now.

        The stream goes on claiming the rate that it was set up for, as a change would need another
        init section. If only half of these pictures come, each may have twice the bits.
        """
        usual = max(1, rung.divisor)
        bitrate_bps = rung.bitrate_bps * divisor // usual
        return cls(
            frame_rate=Fraction(rung.frame_rate / usual).limit_denominator(1001),
            bitrate_bps=bitrate_bps,
            peak_bps=round(bitrate_bps * PEAK),
            buffer_bits=round(bitrate_bps * BUFFER_S),
        )


Options = dict[str, str]


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one of FFmpeg's encoders is opened."""

    options: Callable[[wire.RungSetup, Rates], Options]
    gop: int = _LONG_GOP
    pix_fmt: str = "yuv420p"
    device: str | None = None
    """Kind of device that pictures are uploaded to, if the encoder does not see to it itself."""


def _x264(rung: wire.RungSetup, rates: Rates) -> Options:
    # The slower presets keep up to 16 pictures; more than 3 cost every decoder and gain nothing
    # without B-frames.
    references = ":ref=3" if rung.preset in ("slow", "slower", "veryslow") else ""
    return {
        **_rate_options(rates),
        "preset": rung.preset or ENCODERS["libx264"].default,
        "tune": "zerolatency",
        "profile": "high",
        "level": h264_level(rung.width, rung.height, rates.frame_rate, rung.bitrate_bps),
        "forced-idr": "1",
        "x264-params": f"keyint=infinite:scenecut=0:open-gop=0{references}",
    }


def _x265(rung: wire.RungSetup, rates: Rates) -> Options:
    return {
        **_rate_options(rates),
        "preset": rung.preset or ENCODERS["libx265"].default,
        "tune": "zerolatency",
        "forced-idr": "1",
        # pools=none and frame-threads=1: all work is done in the calling thread.
        "x265-params": "keyint=-1:scenecut=0:open-gop=0:bframes=0:pools=none:frame-threads=1"
        ":info=0:log-level=none",
    }


def _svtav1(rung: wire.RungSetup, rates: Rates) -> Options:
    # Low delay (pred-struct=1) goes with constant bitrate alone, which FFmpeg takes from a maxrate
    # that is the bitrate.
    return {
        "preset": rung.preset or ENCODERS["libsvtav1"].default,
        "maxrate": str(rates.bitrate_bps),
        "bufsize": str(rates.buffer_bits),
        "svtav1-params": "pred-struct=1:keyint=-1:scd=0:lp=1",
    }


def _nvenc(rung: wire.RungSetup, rates: Rates) -> Options:
    return {
        **_rate_options(rates),
        "preset": rung.preset or ENCODERS["h264_nvenc"].default,
        "tune": "ll",
        "rc": "vbr",
        "zerolatency": "1",
        "delay": "0",
        "rc-lookahead": "0",
        "no-scenecut": "1",
        "forced-idr": "1",
        "spatial-aq": "1",
    }


def _h264_nvenc(rung: wire.RungSetup, rates: Rates) -> Options:
    return {"profile": "high", **_nvenc(rung, rates)}


def _qsv(rung: wire.RungSetup, rates: Rates) -> Options:
    return {
        **_rate_options(rates),
        "preset": rung.preset or ENCODERS["h264_qsv"].default,
        "profile": "high",
        "async_depth": "1",
        "forced_idr": "1",
        "idr_interval": "0",
        "look_ahead": "0",
        "adaptive_i": "0",
        "adaptive_b": "0",
        "scenario": "livestreaming",
    }


def _amf(rung: wire.RungSetup, rates: Rates) -> Options:
    return {
        **_rate_options(rates),
        "usage": "lowlatency",
        "profile": "high",
        "quality": rung.preset or ENCODERS["h264_amf"].default,
        "rc": "vbr_latency",
        "latency": "1",
        "async_depth": "1",
        "max_b_frames": "0",
        "forced_idr": "1",
        "preanalysis": "0",
    }


def _vaapi(rung: wire.RungSetup, rates: Rates) -> Options:
    return {
        **_rate_options(rates),
        "rc_mode": "VBR",
        "profile": "high",
        "async_depth": "1",
        "idr_interval": "0",
    }


def _rate_options(rates: Rates) -> Options:
    return {"maxrate": str(rates.peak_bps), "bufsize": str(rates.buffer_bits)}


_KINDS: Final[Mapping[str, _Kind]] = {
    "libx264": _Kind(_x264),
    "libx265": _Kind(_x265),
    "libsvtav1": _Kind(_svtav1),
    "h264_nvenc": _Kind(_h264_nvenc),
    "hevc_nvenc": _Kind(_nvenc),
    "h264_qsv": _Kind(_qsv, pix_fmt="nv12"),
    "h264_amf": _Kind(_amf, pix_fmt="nv12"),
    "h264_vaapi": _Kind(_vaapi, pix_fmt="nv12", device="vaapi"),
}
"""Every encoder that a rung may have."""

SOFTWARE: Final = frozenset({"libx264", "libx265", "libsvtav1"})
"""Those that need no device, and so work in a sandbox."""


def encoder_options(rung: wire.RungSetup, divisor: int = 1) -> Options:
    """The options that a rung's encoder is opened with.

    Raises:
        TranscodeError: There is no such encoder.
    """
    return _kind(rung.encoder).options(rung, Rates.of(rung, divisor))


def _kind(name: str) -> _Kind:
    kind = _KINDS.get(name)
    if kind is None:
        raise TranscodeError(f"there is no encoder {name!r}")
    return kind


class Encoder:
    """One open encoder.

    Args:
        rung: What it is for.
        colour: Of the pictures that it will get.
        divisor: One of so many of the source's pictures comes.

    Raises:
        TranscodeError: It cannot be opened; the text says why.

    Cost: some 5 ms for libx264.
    """

    def __init__(self, rung: wire.RungSetup, colour: Colour, divisor: int) -> None:
        self._name = rung.encoder
        self.colour = colour
        self.divisor = divisor
        kind = _kind(rung.encoder)
        rates = Rates.of(rung, divisor)
        try:
            self._context = context = _create(rung.encoder, kind)
            context.width, context.height = rung.width, rung.height
            context.pix_fmt = kind.pix_fmt
            context.time_base = TIME_BASE
            context.framerate = rates.frame_rate
            # The width of a rung is computed for square pixels, whatever the source has.
            context.sample_aspect_ratio = Fraction(1)
            context.color_range, context.colorspace = colour.range, colour.matrix
            context.color_primaries, context.color_trc = colour.primaries, colour.transfer
            context.bit_rate = rates.bitrate_bps
            context.gop_size = kind.gop
            context.max_b_frames = 0
            context.thread_count = _threads(rung, divisor)
            context.options = kind.options(rung, rates)
            with usual_priority():
                context.open()
        except (av.FFmpegError, ValueError, NotImplementedError) as error:
            raise TranscodeError(f"{rung.encoder} cannot be opened: {_reason(error)}") from error
        self._repackager = Repackager(context.codec.canonical_name)
        self.fourcc = FOURCC[context.codec.canonical_name]

    @property
    def record(self) -> bytes | None:
        """The decoder configuration record of what came out last; None before that."""
        return self._repackager.record

    def encode(self, frame: av.VideoFrame) -> list[EncodedPicture]:
        """Take a picture; with `PictureType.I` it becomes an IDR picture.

        Args:
            frame: Of the rung's size, with a time that is later than the one before.

        Returns:
            Its sample; of some hardware, an earlier picture's, or none yet.

        Raises:
            TranscodeError: The encoder failed.

        Cost: milliseconds; 14 for a busy picture of 1280 by 720 pixels with preset veryfast.
        """
        return self._run(frame)

    def drain(self) -> list[EncodedPicture]:
        """Give out what is held back. The encoder is finished then."""
        return self._run(None)

    def _run(self, frame: av.VideoFrame | None) -> list[EncodedPicture]:
        try:
            return [
                EncodedPicture(
                    packet.pts, packet.is_keyframe, self._repackager.sample(bytes(packet))
                )
                for packet in self._context.encode(frame)
                if packet.pts is not None
            ]
        except MemoryError:
            raise
        except (av.FFmpegError, BitstreamError) as error:
            raise TranscodeError(f"{self._name} failed: {_reason(error)}") from error


def try_encoder(name: str) -> str | None:
    """Find out whether an encoder works on this machine.

    Opens it, and has it encode up to `TRIAL_PICTURES` grey pictures of 320 by 180 pixels. A driver
    may crash or hang over that: in a process that can afford it.

    Returns:
        None if it really encoded one, else why it did not.
    """
    rung = wire.RungSetup(
        name="trial",
        width=320,
        height=180,
        bitrate_bps=300_000,
        encoder=name,
        preset="",
        frame_rate=30.0,
        divisor=1,
    )
    try:
        encoder = Encoder(rung, Colour(1, 1, 1, 1), 1)
        encoded: list[EncodedPicture] = []
        for index in range(TRIAL_PICTURES):
            frame = av.VideoFrame(rung.width, rung.height, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes((128,)) * plane.buffer_size)
            frame.pts, frame.time_base = index * 3000, TIME_BASE
            frame.pict_type = PictureType.NONE if index else PictureType.I
            encoded += encoder.encode(frame)
            if encoded:
                break
        encoded += encoder.drain()
    except TranscodeError as error:
        return str(error)
    except Exception as error:  # a driver's binding may raise anything; the verdict is the same
        return f"{name} failed: {_reason(error)}"
    if not encoded or not encoded[0].data or not encoded[0].is_idr:
        return f"{name} gave no keyframe"
    return None


def h264_level(width: int, height: int, frame_rate: Fraction, bitrate_bps: int) -> str:
    """The lowest level of H.264 that allows a stream with three reference pictures.

    Returns:
        As in ``3.1``; the highest one if none does.
    """
    columns, rows = -(-width // 16), -(-height // 16)
    picture = columns * rows
    needed = (
        float(picture * frame_rate),
        float(picture),
        float(3 * picture),
        bitrate_bps * PEAK / 1250,  # High profile: a quarter more than the table's
        bitrate_bps * BUFFER_S / 1250,
    )
    for name, limits in _LEVELS.items():
        longest = (8 * limits[1]) ** 0.5
        if max(columns, rows) <= longest and all(
            need <= limit for need, limit in zip(needed, limits, strict=True)
        ):
            return name
    return max(_LEVELS)


# Macroblocks a second, a picture, and of reference pictures; kbit/s; kbit of buffer.
_LEVELS: Final[Mapping[str, tuple[int, int, int, int, int]]] = {
    "1.0": (1_485, 99, 396, 64, 175),
    "1.1": (3_000, 396, 900, 192, 500),
    "1.2": (6_000, 396, 2_376, 384, 1_000),
    "1.3": (11_880, 396, 2_376, 768, 2_000),
    "2.0": (11_880, 396, 2_376, 2_000, 2_000),
    "2.1": (19_800, 792, 4_752, 4_000, 4_000),
    "2.2": (20_250, 1_620, 8_100, 4_000, 4_000),
    "3.0": (40_500, 1_620, 8_100, 10_000, 10_000),
    "3.1": (108_000, 3_600, 18_000, 14_000, 14_000),
    "3.2": (216_000, 5_120, 20_480, 20_000, 20_000),
    "4.0": (245_760, 8_192, 32_768, 20_000, 25_000),
    "4.1": (245_760, 8_192, 32_768, 50_000, 62_500),
    "4.2": (522_240, 8_704, 34_816, 50_000, 62_500),
    "5.0": (589_824, 22_080, 110_400, 135_000, 135_000),
    "5.1": (983_040, 36_864, 184_320, 240_000, 240_000),
    "5.2": (2_073_600, 36_864, 184_320, 240_000, 240_000),
    "6.0": (4_177_920, 139_264, 696_320, 240_000, 240_000),
    "6.1": (8_355_840, 139_264, 696_320, 480_000, 480_000),
    "6.2": (16_711_680, 139_264, 696_320, 800_000, 800_000),
}


def _create(name: str, kind: _Kind) -> VideoCodecContext:
    device = None
    if kind.device is not None:
        device = HWAccel(kind.device, allow_software_fallback=False)
    context = av.CodecContext.create(name, "w", device)
    assert isinstance(context, VideoCodecContext)
    return context


def _threads(rung: wire.RungSetup, divisor: int) -> int:
    load = rung.width * rung.height * rung.frame_rate / max(1, divisor)
    return 2 if load > MAX_ONE_THREAD_PIXELS_PER_S else 1


def _reason(error: Exception) -> str:
    """In one line; of FFmpeg's errors without the call, which repeats all options."""
    if isinstance(error, UnknownCodecError):
        return "this build of FFmpeg does not have it"
    if isinstance(error, av.FFmpegError):
        return error.strerror or type(error).__name__
    return " ".join(str(error).split()) or type(error).__name__
