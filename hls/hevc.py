"""What the packager must know about H.265: the decoder configuration record and the NAL units.

Reads just enough: picture size after cropping, sample aspect ratio, frame rate and colours out of
the SPS, the codec string out of the record, and per sample whether it holds a picture and whether
decoding can start there. It decodes no picture and changes no byte.

Decoding can start at any IRAP picture. x265's default GOPs are open: all but the first begin with a
CRA picture, and a decoder that starts there leaves out the pictures that lead it, as 8.4.4 says.

Size and sample format stand near the beginning of an SPS, and without them there is no track. The
rest of the way to the VUI leads through everything an encoder may do; whatever is not understood
there costs aspect ratio, frame rate and colours, which then have their defaults, and nothing else.

All lengths and counts are checked before use; malformed input raises `MediaError` and nothing else.

Spec: ISO/IEC 14496-15, 8.3.3.1 (HEVCDecoderConfigurationRecord), 8.4.3 (sync samples), E.3 (codec
string); ISO/IEC 23008-2, 7.3.1.2, 7.3.2.2, 7.3.3, 7.3.4, 7.3.7, 7.4.2.2, E.2.1 (NAL unit header,
SPS, profile, scaling lists, reference picture sets, types of units, VUI).
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Final

from hls.bits import BitReader
from hls.colour import Colour
from hls.errors import MediaError
from hls.h264 import MAX_NAL_UNITS, interval_in, nal_units
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

_FIRST_IRAP: Final = 16  # table 7-1: BLA, IDR and CRA pictures, and two that are reserved
_LAST_IRAP: Final = 23
_LAST_VCL: Final = 31
NAL_VPS: Final = 32
NAL_SPS: Final = 33
NAL_PPS: Final = 34
_NAL_PREFIX_SEI: Final = 39

_PARAMETER_SETS: Final = {NAL_VPS: "VPS", NAL_SPS: "SPS", NAL_PPS: "PPS"}
_HEADER_BYTES: Final = 23  # of the record, as far as its arrays
_MAX_SUB_LAYERS: Final = 7
_MAX_REFERENCE_SETS: Final = 64  # 7.4.3.2.1, num_short_term_ref_pic_sets
_MAX_REFERENCES: Final = 16  # 7.4.8: sps_max_dec_pic_buffering_minus1 is at most 15
_MAX_LONG_TERM: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class HevcConfig:
    """A parsed HEVCDecoderConfigurationRecord; equal records are equal configurations."""

    FOURCC: ClassVar[bytes] = b"hvc1"
    """Name of the sample entry: with this one, parameter sets are in the record only."""

    record: bytes
    """The record itself, as it goes into the ``hvcC`` box."""

    length_size: int
    """Bytes of the length before each NAL unit of a sample: 1, 2 or 4."""

    codec_string: str
    """14496-15, E.3: ``hvc1.1.6.L93.B0``, from the record."""

    width: int
    """Coded picture width in luma samples, after cropping."""

    height: int
    """Coded picture height in luma samples, after cropping."""

    sample_aspect_ratio: tuple[int, int]
    """Width to height of one luma sample; (1, 1) when the stream does not say."""

    frame_rate: Fraction | None
    """Pictures a second by the VUI's timing; None when absent or absurd. A claim, not a measure."""

    colour: Colour | None = None
    """What the VUI says of its colours, or what somebody knows better; None if nothing."""

    @property
    def display_width(self) -> int:
        """Picture width in square pixels: ``width`` corrected by the sample aspect ratio."""
        return square_width(self.width, self.sample_aspect_ratio)

    @classmethod
    def parse(cls, record: bytes) -> "HevcConfig":
        """Read a record, as an ``hvcC`` box carries it.

        Args:
            record: Version 1, with at least one VPS, SPS and PPS, the base layer's SPS first;
                bytes behind its arrays are kept.

        Raises:
            MediaError: It is truncated, too long, of another version, or its first SPS cannot be
                used.
        """
        if len(record) > MAX_RECORD_BYTES:
            raise MediaError(f"HEVC configuration has {len(record)} bytes")
        if len(record) < _HEADER_BYTES:
            raise MediaError("HEVC configuration is truncated")
        if record[0] != 1:
            raise MediaError(f"HEVC configuration has version {record[0]}, not 1")
        length_size = (record[21] & 3) + 1
        if length_size == 3:
            raise MediaError("HEVC configuration asks for 3-byte NAL unit lengths")
        units = _parameter_sets(record)
        for kind, name in _PARAMETER_SETS.items():
            if not units[kind]:
                raise MediaError(f"HEVC configuration lacks its {name}")
        sps = parse_sps(units[NAL_SPS][0])
        return cls(
            record=bytes(record),
            length_size=length_size,
            codec_string=_codec_string(record),
            width=sps.width,
            height=sps.height,
            sample_aspect_ratio=sps.sample_aspect_ratio,
            frame_rate=sps.frame_rate,
            colour=sps.colour,
        )


def scan_nal_units(data: bytes | memoryview, length_size: int) -> PictureSummary:
    """Walk the length-prefixed NAL units of one sample, as `hls.h264.scan_nal_units` does.

    Args:
        data: One access unit.
        length_size: Bytes of each length, 1, 2 or 4, from the `HevcConfig`.

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
            kind = data[start] >> 1 & 0x3F
            if _FIRST_IRAP <= kind <= _LAST_IRAP:
                summary = IDR
            elif kind <= _LAST_VCL and summary is NO_PICTURE:
                summary = PICTURE
    raise MediaError(f"a video sample has more than {MAX_NAL_UNITS} NAL units")


def declared_keyframe_interval(data: bytes | memoryview, config: HevcConfig) -> int | None:
    """Return the longest GOP that x265 declares, as `hls.h264.declared_keyframe_interval` does.

    Its options stand in the first keyframe or, as FFmpeg has it, among the record's arrays.
    """
    units = nal_units(data, config.length_size)
    options = [unit for unit in units if unit and unit[0] >> 1 & 0x3F == _NAL_PREFIX_SEI]
    return interval_in((*options, config.record))


def _codec_string(record: bytes) -> str:
    profile_space = ("", "A", "B", "C")[record[1] >> 6]
    tier = "H" if record[1] & 0x20 else "L"
    # E.3: general_profile_compatibility_flag[ 31 ] is the most significant bit here, and the least
    # significant one in the record.
    compatibility = int(f"{int.from_bytes(record[2:6], 'big'):032b}"[::-1], 2)
    constraints = "".join(f".{byte:X}" for byte in record[6:12].rstrip(b"\0"))
    return (
        f"hvc1.{profile_space}{record[1] & 0x1F}.{compatibility:X}.{tier}{record[12]}{constraints}"
    )


def _parameter_sets(record: bytes) -> dict[int, list[bytes]]:
    """Return the units of the record's arrays by their type; those of other types are left out."""
    units: dict[int, list[bytes]] = {kind: [] for kind in _PARAMETER_SETS}
    position = _HEADER_BYTES
    for _ in range(record[_HEADER_BYTES - 1]):
        header = record[position : position + 3]
        if len(header) < 3:
            raise MediaError("HEVC configuration is truncated")
        found = units.get(header[0] & 0x3F)
        position += 3
        for _ in range(int.from_bytes(header[1:], "big")):
            start = position + 2
            position = start + int.from_bytes(record[position:start], "big")
            if position > len(record):
                raise MediaError("HEVC configuration is truncated")
            if found is not None:
                found.append(record[start:position])
    return units


@dataclass(frozen=True, slots=True, kw_only=True)
class HevcSps:
    """What is read of a sequence parameter set. Units and bounds as in `HevcConfig`."""

    profile_tier_level: bytes
    """The general part of profile_tier_level(): 12 bytes, general_level_idc last."""
    sub_layers: int
    """Temporal sub-layers, 1 to 7."""
    temporal_id_nesting: bool
    chroma_format: int
    """0 to 3; 1 is 4:2:0."""
    bit_depth_luma: int
    bit_depth_chroma: int
    width: int
    height: int
    sample_aspect_ratio: tuple[int, int]
    frame_rate: Fraction | None
    colour: Colour | None


def parse_sps(unit: bytes) -> HevcSps:
    """Read seq_parameter_set_rbsp (7.3.2.2) as far as the VUI's timing.

    Args:
        unit: The NAL unit, its two-byte header included.

    Raises:
        MediaError: It is another unit, one of another layer, or says what cannot be; or it is
            truncated before size and sample format are known.
    """
    # 7.3.1.2: a zero bit, type, layer, temporal id.
    if len(unit) < 2 or int.from_bytes(unit[:2], "big") >> 3 != NAL_SPS << 6:
        raise MediaError("HEVC configuration has another NAL unit in place of its SPS")
    bits = BitReader(without_emulation_prevention(unit[2:]), "SPS")
    bits.skip(4)  # sps_video_parameter_set_id
    sub_layers = bits.read(3) + 1
    if sub_layers > _MAX_SUB_LAYERS:
        raise MediaError(f"SPS has {sub_layers} sub-layers")
    temporal_id_nesting = bits.flag()
    profile_tier_level = bits.read(96).to_bytes(12, "big")
    _skip_sub_layer_profiles(bits, sub_layers)
    bits.unsigned()  # sps_seq_parameter_set_id
    chroma_format = bits.unsigned()
    if chroma_format > 3:
        raise MediaError(f"SPS has chroma format {chroma_format}")
    if chroma_format == 3:
        bits.skip(1)  # separate_colour_plane_flag: the unit of cropping is 1 either way
    width, height = bits.unsigned(), bits.unsigned()
    if bits.flag():
        # Table 6-1 and equations 7-12 to 7-15: the unit of cropping.
        left, right, top, bottom = (bits.unsigned() for _ in range(4))
        width -= (2 if chroma_format in (1, 2) else 1) * (left + right)
        height -= (2 if chroma_format == 1 else 1) * (top + bottom)
    check_size(width, height, "SPS")
    bit_depth_luma, bit_depth_chroma = 8 + bits.unsigned(), 8 + bits.unsigned()
    sample_aspect_ratio, frame_rate, colour = (1, 1), None, None
    try:
        _skip_to_vui(bits, sub_layers)
        if bits.flag():
            sample_aspect_ratio, frame_rate, colour = _parse_vui(bits)
    except MediaError:
        pass  # as the module's header says: only these three are lost
    return HevcSps(
        profile_tier_level=profile_tier_level,
        sub_layers=sub_layers,
        temporal_id_nesting=temporal_id_nesting,
        chroma_format=chroma_format,
        bit_depth_luma=bit_depth_luma,
        bit_depth_chroma=bit_depth_chroma,
        width=width,
        height=height,
        sample_aspect_ratio=sample_aspect_ratio,
        frame_rate=frame_rate,
        colour=colour,
    )


def _skip_sub_layer_profiles(bits: BitReader, sub_layers: int) -> None:
    """Pass over what profile_tier_level() (7.3.3) has behind its general part."""
    if sub_layers == 1:
        return
    # Eight pairs of flags, the unused ones reserved: 88 bits of profile, 8 of level.
    present = [(bits.flag(), bits.flag()) for _ in range(8)]
    for has_profile, has_level in present[: sub_layers - 1]:
        bits.skip(88 * has_profile + 8 * has_level)


def _skip_to_vui(bits: BitReader, sub_layers: int) -> None:
    """Pass over the SPS between bit depths and vui_parameters_present_flag."""
    order_count_bits = bits.unsigned() + 4
    ordering_is_per_layer = bits.flag()
    for _ in range(sub_layers if ordering_is_per_layer else 1):
        for _ in range(3):  # buffering, reordering, latency
            bits.unsigned()
    for _ in range(6):  # sizes of coding and transform blocks, transform depths
        bits.unsigned()
    if bits.flag() and bits.flag():  # scaling lists are used, and are not the default ones
        _skip_scaling_lists(bits)
    bits.skip(2)  # amp_enabled_flag, sample_adaptive_offset_enabled_flag
    if bits.flag():  # pcm_enabled_flag
        bits.skip(8)
        bits.unsigned()
        bits.unsigned()
        bits.skip(1)
    count = bits.unsigned()
    if count > _MAX_REFERENCE_SETS:
        raise MediaError(f"SPS has {count} reference picture sets")
    references = 0
    for index in range(count):
        references = _skip_reference_set(bits, index, references)
    if bits.flag():  # long_term_ref_pics_present_flag
        count = bits.unsigned()
        if count > _MAX_LONG_TERM:
            raise MediaError(f"SPS has {count} long-term reference pictures")
        bits.skip(count * (order_count_bits + 1))
    bits.skip(2)  # sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag


def _skip_scaling_lists(bits: BitReader) -> None:
    """Pass over scaling_list_data() (7.3.4)."""
    for size in range(4):
        for _ in range(6 if size < 3 else 2):
            if not bits.flag():
                bits.unsigned()  # scaling_list_pred_matrix_id_delta
                continue
            if size > 1:
                bits.signed()  # scaling_list_dc_coef_minus8
            for _ in range(min(64, 16 << 2 * size)):
                bits.signed()


def _skip_reference_set(bits: BitReader, index: int, previous: int) -> int:
    """Pass over st_ref_pic_set() (7.3.7); ``previous`` pictures are in the set before it.

    Returns:
        Pictures in this one.
    """
    if index and bits.flag():  # inter_ref_pic_set_prediction_flag
        bits.skip(1)  # delta_rps_sign
        bits.unsigned()  # abs_delta_rps_minus1
        # For each picture of the other set, and that set's own: it is used now, or kept for later,
        # or left out of this set.
        return sum(bits.flag() or bits.flag() for _ in range(previous + 1))
    references = bits.unsigned() + bits.unsigned()
    if references > _MAX_REFERENCES:
        raise MediaError(f"SPS has a set of {references} reference pictures")
    for _ in range(references):
        bits.unsigned()  # delta_poc_minus1
        bits.skip(1)  # used_by_curr_pic_flag
    return references


def _parse_vui(bits: BitReader) -> tuple[tuple[int, int], Fraction | None, Colour | None]:
    """Return sample aspect ratio, frame rate and colours out of vui_parameters() (E.2.1)."""
    aspect, colour = read_vui_head(bits)
    bits.skip(3)  # neutral_chroma_indication_flag, field_seq_flag, frame_field_info_present_flag
    if bits.flag():
        for _ in range(4):  # default display window: what may be shown, not what is there
            bits.unsigned()
    frame_rate = None
    if bits.flag():
        ticks, scale = bits.read(32), bits.read(32)
        frame_rate = claimed_frame_rate(scale, ticks)
    return aspect, frame_rate, colour
