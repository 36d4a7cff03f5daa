"""Decoder configurations and samples made by hand, bit by bit, independent of hls.

`SpsFields` writes an SPS from named fields, `avc_record` and `asc` the two configurations,
`picture` and `audio_frame` payloads that a bitstream walker accepts (no decoder would), and
`Source` a whole publisher: interleaved video and audio with a frame rate, GOPs, B-frames and stamps
in rounded milliseconds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction


class BitWriter:
    def __init__(self) -> None:
        self._bits: list[str] = []

    def u(self, bits: int, value: int) -> "BitWriter":
        self._bits.append(f"{value:0{bits}b}" if bits else "")
        return self

    def ue(self, value: int) -> "BitWriter":
        code = f"{value + 1:b}"
        self._bits.append("0" * (len(code) - 1) + code)
        return self

    def se(self, value: int) -> "BitWriter":
        return self.ue(2 * value - 1 if value > 0 else -2 * value)

    def bytes(self, *, stop_bit: bool = True) -> bytes:
        text = "".join(self._bits) + ("1" if stop_bit else "")
        text += "0" * (-len(text) % 8)
        return int(text or "0", 2).to_bytes(len(text) // 8, "big")


def escaped(rbsp: bytes) -> bytes:
    """Insert emulation prevention bytes."""
    out = bytearray()
    zeros = 0
    for byte in rbsp:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


@dataclass(kw_only=True)
class SpsFields:
    profile: int = 66
    constraints: int = 0xC0
    level: int = 31
    chroma_format: int = 1
    separate_planes: bool = False
    scaling_lists: list[list[int] | None] | None = None
    poc_type: int = 2
    poc_cycle: list[int] = field(default_factory=list)
    width_mbs: int = 80
    height_map_units: int = 45
    frame_mbs_only: bool = True
    crop: tuple[int, int, int, int] | None = None
    aspect_idc: int | None = None
    extended_sar: tuple[int, int] = (0, 0)
    overscan: bool = False
    colour: bool = False
    video_signal: bool = False
    chroma_location: bool = False
    timing: tuple[int, int] | None = None  # num_units_in_tick, time_scale
    vui: bool = True

    def unit(self) -> bytes:
        w = BitWriter().u(8, self.profile).u(8, self.constraints).u(8, self.level).ue(0)
        if self.profile in (100, 110, 122, 244, 44, 83, 86, 118, 128, 134, 135, 138, 139):
            w.ue(self.chroma_format)
            if self.chroma_format == 3:
                w.u(1, self.separate_planes)
            w.ue(0).ue(0).u(1, 0)
            w.u(1, self.scaling_lists is not None)
            for deltas in self.scaling_lists or []:
                w.u(1, deltas is not None)
                for delta in deltas or []:
                    w.se(delta)
        w.ue(0).ue(self.poc_type)
        if self.poc_type == 0:
            w.ue(2)
        elif self.poc_type == 1:
            w.u(1, 0).se(-1).se(2).ue(len(self.poc_cycle))
            for offset in self.poc_cycle:
                w.se(offset)
        w.ue(4).u(1, 0).ue(self.width_mbs - 1).ue(self.height_map_units - 1)
        w.u(1, self.frame_mbs_only)
        if not self.frame_mbs_only:
            w.u(1, 0)
        w.u(1, 1).u(1, self.crop is not None)
        for edge in self.crop or ():
            w.ue(edge)
        w.u(1, self.vui)
        if self.vui:
            w.u(1, self.aspect_idc is not None)
            if self.aspect_idc is not None:
                w.u(8, self.aspect_idc)
                if self.aspect_idc == 255:
                    w.u(16, self.extended_sar[0]).u(16, self.extended_sar[1])
            w.u(1, self.overscan)
            if self.overscan:
                w.u(1, 1)
            w.u(1, self.video_signal)
            if self.video_signal:
                w.u(3, 5).u(1, 0).u(1, self.colour)
                if self.colour:
                    w.u(24, 0x010101)
            w.u(1, self.chroma_location)
            if self.chroma_location:
                w.ue(1).ue(1)
            w.u(1, self.timing is not None)
            if self.timing is not None:
                w.u(32, self.timing[0]).u(32, self.timing[1]).u(1, 1)
            w.u(4, 0)
        return b"\x67" + escaped(w.bytes())


PPS = bytes.fromhex("68ce3c80")


def avc_record(
    sps: bytes | None = None,
    *,
    version: int = 1,
    length_size: int = 4,
    sps_units: list[bytes] | None = None,
    pps_units: list[bytes] | None = None,
) -> bytes:
    """An AVCDecoderConfigurationRecord; profile bytes are copied from the first SPS."""
    units = [sps or SpsFields().unit()] if sps_units is None else sps_units
    profile = (units[0] if units else b"")[1:4].ljust(3, b"\x42")
    pps = [PPS] if pps_units is None else pps_units
    return b"".join(
        (
            bytes((version,)),
            profile,
            bytes((0xFC | length_size - 1, 0xE0 | len(units))),
            *(len(unit).to_bytes(2, "big") + unit for unit in units),
            bytes((len(pps),)),
            *(len(unit).to_bytes(2, "big") + unit for unit in pps),
        )
    )


SAMPLE_RATES = (
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
)  # fmt: skip


def asc(
    rate: int = 48000,
    channels: int = 2,
    *,
    object_type: int = 2,
    extension_rate: int = 0,
    core_type: int = 2,
    short_frames: bool = False,
    sync_extension: str = "",
) -> bytes:
    """An AudioSpecificConfig. ``sync_extension``: "sbr", "ps" or "none" behind an LC one."""
    w = BitWriter()
    put_object_type(w, object_type)
    put_rate(w, rate)
    w.u(4, channels)
    if object_type in (5, 29):
        put_rate(w, extension_rate or 2 * rate)
        put_object_type(w, core_type)
    w.u(1, short_frames).u(2, 0)
    if sync_extension:
        w.u(11, 0x2B7).u(5, 5).u(1, sync_extension != "none")
        if sync_extension != "none":
            put_rate(w, 2 * rate)
            w.u(11, 0x548).u(1, sync_extension == "ps")
    return w.bytes(stop_bit=False)


def put_object_type(w: BitWriter, object_type: int) -> None:
    if object_type >= 32:
        w.u(5, 31).u(6, object_type - 32)
    else:
        w.u(5, object_type)


def put_rate(w: BitWriter, rate: int) -> None:
    if rate in SAMPLE_RATES:
        w.u(4, SAMPLE_RATES.index(rate))
    else:
        w.u(4, 15).u(24, rate)


def nal(kind: int, body: bytes = b"\x88\x84", *, length_size: int = 4) -> bytes:
    unit = bytes((0x60 | kind,)) + body
    return len(unit).to_bytes(length_size, "big") + unit


def picture(*, idr: bool, number: int = 0, size: int = 20) -> bytes:
    """A sample with an access unit delimiter and one slice, unique by ``number``."""
    body = number.to_bytes(4, "big") + bytes(max(0, size - 4))
    return nal(9, b"\xf0") + nal(5 if idr else 1, body)


def x264_options(text: str) -> bytes:
    """A user-data SEI as x264 writes it before its first picture."""
    body = bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef")
    body += b"x264 - core 164 r3095 - H.264/MPEG-4 AVC codec - options: " + text.encode() + b"\0"
    return nal(6, b"\x05" + b"\xff" * (len(body) // 255) + bytes((len(body) % 255,)) + body)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One sample of a `Source`: what a publisher sends."""

    is_video: bool
    dts_ms: int
    pts_ms: int
    idr: bool
    data: bytes


@dataclass(kw_only=True)
class Source:
    """A publisher with constant frame rate, stamping in whole milliseconds."""

    fps: Fraction | None = Fraction(30)
    gop: Callable[[int], bool] | int = 60
    """Frames a GOP, or whether frame n is IDR."""
    b_frames: int = 0
    audio_rate: int | None = 48000
    samples_per_frame: int = 1024
    duration_s: float = 6.0
    start_ms: int = 0
    audio_delay_ms: int = 0
    round_ms: Callable[[Fraction], int] = round
    jitter_ms: Callable[[int], int] | None = None
    first_sei: bytes = b""

    def video(self) -> Iterator[tuple[Fraction, Frame]]:
        if self.fps is None:
            return
        interval = 1000 / self.fps
        for number in range(int(self.duration_s * self.fps)):
            time = number * interval
            idr = number % self.gop == 0 if isinstance(self.gop, int) else self.gop(number)
            # Display order of an I b b P pattern; offsets as an encoder with a delay gives them.
            offset = 0
            if self.b_frames:
                step = self.b_frames + 1
                offset = step if number % step == 0 else 0
            data = picture(idr=idr, number=number)
            if number == 0:
                data = self.first_sei + data
            stamp = self.start_ms + self.round_ms(time)
            if self.jitter_ms is not None:
                stamp += self.jitter_ms(number)
            yield (
                time,
                Frame(
                    is_video=True,
                    dts_ms=stamp,
                    pts_ms=stamp + self.round_ms(offset * interval),
                    idr=idr,
                    data=data,
                ),
            )

    def audio(self) -> Iterator[tuple[Fraction, Frame]]:
        if self.audio_rate is None:
            return
        interval = Fraction(1000 * self.samples_per_frame, self.audio_rate)
        number = 0
        while number * interval < self.duration_s * 1000:
            time = number * interval
            stamp = self.start_ms + self.round_ms(time)
            yield (
                time + self.audio_delay_ms,
                Frame(
                    is_video=False,
                    dts_ms=stamp,
                    pts_ms=stamp,
                    idr=True,
                    data=b"\x21" + number.to_bytes(4, "big") + bytes(3),
                ),
            )
            number += 1

    def frames(self) -> list[Frame]:
        """All samples in the order of sending: by time, video first."""
        both = [*self.video(), *self.audio()]
        both.sort(key=lambda entry: (entry[0], not entry[1].is_video))
        return [frame for _, frame in both]
