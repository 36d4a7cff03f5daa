"""What the packager must know about H.264: the decoder configuration record and the NAL units.

Reads just enough: picture size after cropping, sample aspect ratio, frame rate and colours out of
the SPS, the codec string out of the record, and per sample whether it holds a picture and whether
that is an IDR picture. It decodes no picture and changes no byte.

A NAL unit is read where it lies; its emulation prevention bytes are removed only for the SPS. All
lengths are checked before use; malformed input raises `MediaError` and nothing else.

Spec: ISO/IEC 14496-15, 5.3.3.1 (AVCDecoderConfigurationRecord), 5.3.4.2 (samples); ISO/IEC
14496-10, 7.3.1, 7.3.2.1.1, E.1.1 (NAL unit, SPS, VUI); RFC 6381, 3.3 (codec string).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Final

from hls.bits import BitReader
from hls.colour import Colour
from hls.errors import MediaError
from hls.picture import (
    IDR,
    MAX_RECORD_BYTES,
    NO_PICTURE,
    PICTURE,
    PictureSummary,
    check_size,
    claimed_frame_rate,
    read_vui_head,
    square_width,
    without_emulation_prevention,
)

MAX_NAL_UNITS: Final = 16_384
"""In one sample: far beyond any encoder's slices and padding, and some 5 ms to walk. Without it ten
megabytes of empty units are 4 s."""

_NAL_SLICE: Final = 1
_NAL_IDR: Final = 5
_NAL_SEI: Final = 6
_NAL_SPS: Final = 7

# 7.3.2.1.1: the profiles whose SPS carries chroma format and scaling lists.
_HIGH_PROFILES: Final = frozenset((44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244))


@dataclass(frozen=True, slots=True, kw_only=True)
class AvcConfig:
    """A parsed AVCDecoderConfigurationRecord; equal records are equal configurations."""

    FOURCC: ClassVar[bytes] = b"avc1"
    """Name of the sample entry."""

    record: bytes
    """The record itself, as it goes into the ``avcC`` box."""

    length_size: int
    """Bytes of the length before each NAL unit of a sample: 1, 2 or 4."""

    codec_string: str
    """RFC 6381: ``avc1.PPCCLL``, from the record."""

    width: int
    """Coded picture width in luma samples, after cropping."""

    height: int
    """Coded frame height in luma samples, after cropping."""

    sample_aspect_ratio: tuple[int, int]
    """Width to height of one luma sample; (1, 1) when the stream does not say."""

    frame_rate: Fraction | None
    """Frames per second by the VUI's timing; None when absent or absurd. A claim, not a measure."""

    colour: Colour | None = None
    """What the VUI says of its colours, or what somebody knows better; None if nothing."""

    @property
    def display_width(self) -> int:
        """Picture width in square pixels: ``width`` corrected by the sample aspect ratio."""
        return square_width(self.width, self.sample_aspect_ratio)

    @classmethod
    def parse(cls, record: bytes) -> "AvcConfig":
        """Read a record, as FLV's AVC sequence header carries it.

        Args:
            record: Version 1, with at least one SPS and one PPS; bytes behind them are kept.

        Raises:
            MediaError: It is truncated, too long, of another version, or its first SPS cannot be
                used.
        """
        if len(record) > MAX_RECORD_BYTES:
            raise MediaError(f"AVC configuration has {len(record)} bytes")
        if len(record) < 7:
            raise MediaError("AVC configuration is truncated")
        if record[0] != 1:
            raise MediaError(f"AVC configuration has version {record[0]}, not 1")
        length_size = (record[4] & 3) + 1
        if length_size == 3:
            raise MediaError("AVC configuration asks for 3-byte NAL unit lengths")
        sps_units, end = _parameter_sets(record, 5, record[5] & 0x1F)
        if end >= len(record):
            raise MediaError("AVC configuration is truncated")
        pps_units, _ = _parameter_sets(record, end, record[end])
        if not sps_units or not pps_units:
            raise MediaError("AVC configuration lacks an SPS or a PPS")
        sps = parse_sps(sps_units[0])
        return cls(
            record=bytes(record),
            length_size=length_size,
            codec_string=f"avc1.{record[1]:02x}{record[2]:02x}{record[3]:02x}",
            width=sps.width,
            height=sps.height,
            sample_aspect_ratio=sps.sample_aspect_ratio,
            frame_rate=sps.frame_rate,
            colour=sps.colour,
        )


def scan_nal_units(data: bytes | memoryview, length_size: int) -> PictureSummary:
    """Walk the length-prefixed NAL units of one sample.

    Zero-length units are passed over: some encoders pad with them.

    Args:
        data: One access unit.
        length_size: Bytes of each length, 1, 2 or 4, from the `AvcConfig`.

    Raises:
        MediaError: A length points past the end of the sample, or is itself cut off; or there are
            more than `MAX_NAL_UNITS`.

    Cost: O(NAL units), about 0.25 us each; no byte is copied.
    """
    position = 0
    end = len(data)
    summary = NO_PICTURE
    for _ in range(MAX_NAL_UNITS + 1):
        if position >= end:
            return summary
        start = position + length_size
        size = int.from_bytes(data[position:start], "big")
        position = start + size
        if position > end:
            raise MediaError("a NAL unit is longer than its video sample")
        if size:
            kind = data[start] & 0x1F
            if kind == _NAL_IDR:
                summary = IDR
            elif kind <= 2 and kind and summary is NO_PICTURE:
                # Types 1 and 2: a slice, or its data partition A. 3 and 4 never come alone.
                summary = PICTURE
    raise MediaError(f"a video sample has more than {MAX_NAL_UNITS} NAL units")


_KEYINT: Final = re.compile(rb"\bkeyint=(\d{1,9}|infinite)")


def declared_keyframe_interval(data: bytes | memoryview, length_size: int) -> int | None:
    """Return the longest GOP that x264 declares, in frames, or None if it declares nothing.

    x264 (OBS, ffmpeg) writes its options as text into a user-data SEI of its first keyframe. OBS's
    default gives GOPs of any length up to 250 frames, so what was seen first says little.

    Args:
        data: A sample that `scan_nal_units` has accepted.
        length_size: As there.

    Returns:
        At least 1; 2**32 for ``keyint=infinite``.
    """
    units = nal_units(data, length_size)
    return interval_in(unit for unit in units if unit and unit[0] & 0x1F == _NAL_SEI)


def interval_in(texts: Iterable[bytes]) -> int | None:
    """Return what the options of x264 or x265 in the first of these texts that has them say."""
    for text in texts:
        found = _KEYINT.search(text)
        if found is not None:
            return 1 << 32 if found[1] == b"infinite" else max(1, int(found[1]))
    return None


def nal_units(data: bytes | memoryview, length_size: int) -> Iterator[bytes]:
    """Walk the NAL units of a sample that `scan_nal_units` has accepted."""
    position = 0
    while position < len(data):
        start = position + length_size
        position = start + int.from_bytes(data[position:start], "big")
        yield bytes(data[start:position])


def _parameter_sets(record: bytes, position: int, count: int) -> tuple[list[bytes], int]:
    """Return ``count`` units behind the count byte at ``position``, and where they end."""
    units = []
    position += 1
    for _ in range(count):
        start = position + 2
        position = start + int.from_bytes(record[position:start], "big")
        if position > len(record):
            raise MediaError("AVC configuration is truncated")
        units.append(record[start:position])
    return units, position


@dataclass(frozen=True, slots=True, kw_only=True)
class AvcSps:
    """What is read of a sequence parameter set. Units and bounds as in `AvcConfig`."""

    profile: int
    chroma_format: int
    """0 to 3; 1 is 4:2:0."""
    bit_depth_luma: int
    bit_depth_chroma: int
    width: int
    height: int
    sample_aspect_ratio: tuple[int, int]
    frame_rate: Fraction | None
    colour: Colour | None


def parse_sps(unit: bytes) -> AvcSps:
    """Read seq_parameter_set_rbsp (7.3.2.1.1) as far as the VUI's timing.

    Args:
        unit: The NAL unit, its one-byte header included.

    Raises:
        MediaError: It is another unit, is truncated, or says what cannot be.
    """
    if not unit or unit[0] & 0x1F != _NAL_SPS:
        raise MediaError("AVC configuration has another NAL unit in place of its SPS")
    bits = BitReader(without_emulation_prevention(unit[1:]), "SPS")
    profile = bits.read(8)
    bits.skip(16)  # constraint flags, level_idc: the record's copy counts
    bits.unsigned()  # seq_parameter_set_id
    chroma_format = 1
    bit_depth_luma = bit_depth_chroma = 8
    monochrome_planes = False
    if profile in _HIGH_PROFILES:
        chroma_format = bits.unsigned()
        if chroma_format > 3:
            raise MediaError(f"SPS has chroma format {chroma_format}")
        if chroma_format == 3:
            monochrome_planes = bits.flag()  # separate_colour_plane_flag
        bit_depth_luma = 8 + bits.unsigned()
        bit_depth_chroma = 8 + bits.unsigned()
        bits.skip(1)  # qpprime_y_zero_transform_bypass_flag
        if bits.flag():
            for index in range(8 if chroma_format != 3 else 12):
                if bits.flag():
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    bits.unsigned()  # log2_max_frame_num_minus4
    _skip_picture_order(bits)
    bits.unsigned()  # max_num_ref_frames
    bits.skip(1)  # gaps_in_frame_num_value_allowed_flag
    width = 16 * (bits.unsigned() + 1)
    map_units = bits.unsigned() + 1
    field_factor = 1 if bits.flag() else 2  # frame_mbs_only_flag
    height = 16 * map_units * field_factor
    if field_factor == 2:
        bits.skip(1)  # mb_adaptive_frame_field_flag
    bits.skip(1)  # direct_8x8_inference_flag
    if bits.flag():
        # Table 6-1 and equations 7-19 to 7-22: the unit of cropping.
        sampled = 0 if monochrome_planes else chroma_format
        unit_x = 2 if sampled in (1, 2) else 1
        unit_y = (2 if sampled == 1 else 1) * field_factor
        left, right, top, bottom = (bits.unsigned() for _ in range(4))
        width -= unit_x * (left + right)
        height -= unit_y * (top + bottom)
    check_size(width, height, "SPS")
    sample_aspect_ratio, frame_rate, colour = (1, 1), None, None
    if bits.flag():
        sample_aspect_ratio, frame_rate, colour = _parse_vui(bits)
    return AvcSps(
        profile=profile,
        chroma_format=chroma_format,
        bit_depth_luma=bit_depth_luma,
        bit_depth_chroma=bit_depth_chroma,
        width=width,
        height=height,
        sample_aspect_ratio=sample_aspect_ratio,
        frame_rate=frame_rate,
        colour=colour,
    )


def _skip_scaling_list(bits: BitReader, size: int) -> None:
    """Pass over scaling_list() (7.3.2.1.1.1)."""
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) & 0xFF
        last = following or last


def _skip_picture_order(bits: BitReader) -> None:
    """Pass over pic_order_cnt_type and what hangs on it."""
    kind = bits.unsigned()
    if kind > 2:
        raise MediaError(f"SPS has picture order count type {kind}")
    if kind == 0:
        bits.unsigned()  # log2_max_pic_order_cnt_lsb_minus4
    elif kind == 1:
        bits.skip(1)  # delta_pic_order_always_zero_flag
        bits.signed()  # offset_for_non_ref_pic
        bits.signed()  # offset_for_top_to_bottom_field
        cycle = bits.unsigned()  # num_ref_frames_in_pic_order_cnt_cycle
        if cycle > 255:
            raise MediaError(f"SPS has a picture order count cycle of {cycle}")
        for _ in range(cycle):
            bits.signed()


def _parse_vui(bits: BitReader) -> tuple[tuple[int, int], Fraction | None, Colour | None]:
    """Return sample aspect ratio, frame rate and colours out of vui_parameters() (E.1.1)."""
    aspect, colour = read_vui_head(bits)
    frame_rate = None
    if bits.flag():
        ticks, scale = bits.read(32), bits.read(32)
        frame_rate = claimed_frame_rate(scale, 2 * ticks)  # E.2.1: a tick is a field
    return aspect, frame_rate, colour
