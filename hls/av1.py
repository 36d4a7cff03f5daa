"""What the packager must know about AV1: the decoder configuration record, and a sample's frames.

Reads just enough: picture size, frame rate and colour out of the sequence header, the rest of the
codec string out of the record, and per sample whether it holds a frame and whether that is a key
frame that is shown. It decodes no picture and changes no byte.

`obus` walks any low-overhead OBU stream, a temporal unit too; `parse_sequence_header` reads one.
All lengths are checked before use; malformed input raises `MediaError` and nothing else.

Spec: AV1 Bitstream & Decoding Process, 4.10.3, 4.10.5 (uvlc, leb128), 5.3 (OBU), 5.5 (sequence
header), 5.9.2 (frame header); AV1 Codec ISO Media File Format Binding 1.3.0, 2.3
(AV1CodecConfigurationRecord), 2.5 (sync samples), 5 (codec string).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Final, NamedTuple

from hls.bits import BitReader
from hls.colour import UNSPECIFIED, Colour, described
from hls.errors import MediaError
from hls.picture import (
    IDR,
    MAX_RECORD_BYTES,
    NO_PICTURE,
    PICTURE,
    PictureSummary,
    check_size,
    claimed_frame_rate,
    square_width,
)

MAX_OBUS: Final = 16_384
"""In one sample or record, as `h264.MAX_NAL_UNITS`: far beyond any encoder's tile groups."""

OBU_SEQUENCE_HEADER: Final = 1
_OBU_FRAME_HEADER: Final = 3
_OBU_FRAME: Final = 6

RECORD_VERSION: Final = 0x81
"""First byte of a record: marker and version 1. No OBU header begins so, its first bit is 0."""

_HEADER_BYTES: Final = 4  # of the record, as far as its OBUs
_MAX_SIZE_BYTES: Final = 8  # 4.10.5
_SRGB: Final = (1, 13, 0)  # BT.709 primaries, sRGB transfer, identity matrix

# Behind the bit depth of a codec string; a string that would end so is cut there (section 5).
_DEFAULT_COLOUR: Final = ".0.110.01.01.01.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Av1Config:
    """A parsed AV1CodecConfigurationRecord; equal records are equal configurations."""

    FOURCC: ClassVar[bytes] = b"av01"
    """Name of the sample entry."""

    record: bytes
    """The record itself, as it goes into the ``av1C`` box."""

    codec_string: str
    """Section 5: ``av01.0.04M.08``, and as much again when the colours are not the usual ones."""

    width: int = 0
    """Greatest coded picture width in luma samples; 0 before `sized` if the record does not say."""

    height: int = 0
    """Greatest coded picture height in luma samples; 0 as ``width`` is."""

    sample_aspect_ratio: tuple[int, int] = (1, 1)
    """Always (1, 1): the sequence header does not say."""

    frame_rate: Fraction | None = None
    """Pictures a second if they come in equal intervals; None when absent or absurd. A claim."""

    colour: Colour | None = None
    """What the sequence header says of its colours, or what somebody knows better; None if
    nothing."""

    length_size: int = 0
    """OBUs have no lengths before them."""

    @property
    def display_width(self) -> int:
        """Picture width in square pixels: ``width`` corrected by the sample aspect ratio."""
        return square_width(self.width, self.sample_aspect_ratio)

    @classmethod
    def parse(cls, record: bytes) -> "Av1Config":
        """Read a record, as an ``av1C`` box carries it.

        Args:
            record: Version 1. Mostly there is a sequence header among its OBUs; a sender may leave
                it to the keyframes (2.3.4), and then it is `sized` that reads it.

        Raises:
            MediaError: It is truncated, too long, of another version, or its sequence header cannot
                be used.
        """
        if len(record) > MAX_RECORD_BYTES:
            raise MediaError(f"AV1 configuration has {len(record)} bytes")
        if len(record) < _HEADER_BYTES:
            raise MediaError("AV1 configuration is truncated")
        if record[0] != RECORD_VERSION:
            raise MediaError(f"AV1 configuration begins with 0x{record[0]:02x}, not 0x81")
        return cls._of(bytes(record), _find_sequence_header(record[_HEADER_BYTES:]))

    def sized(self, keyframe: bytes | memoryview) -> "Av1Config":
        """Return the configuration with what a keyframe says, or itself if the record has said it.

        Raises:
            MediaError: There is no sequence header in it, or none that can be used.
        """
        if self.width:
            return self
        header = _find_sequence_header(bytes(keyframe))
        if header is None:
            raise MediaError("AV1 has no sequence header, neither in its record nor in a keyframe")
        return self._of(self.record, header)

    @classmethod
    def _of(cls, record: bytes, header: "SequenceHeader | None") -> "Av1Config":
        if header is None:
            return cls(record=record, codec_string=_codec_string(record, None, full_range=False))
        points = header.colour_description
        return cls(
            record=record,
            codec_string=_codec_string(record, points, full_range=header.full_range),
            width=header.width,
            height=header.height,
            frame_rate=header.frame_rate,
            colour=described(*(points or 3 * (UNSPECIFIED,)), full_range=header.full_range),
        )


def _find_sequence_header(data: bytes) -> "SequenceHeader | None":
    """Read the first one among OBUs."""
    for obu in obus(data):
        if obu.kind == OBU_SEQUENCE_HEADER:
            return parse_sequence_header(data[obu.payload : obu.end])
    return None


def _codec_string(
    record: bytes, colour_description: tuple[int, int, int] | None, *, full_range: bool
) -> str:
    tier = "H" if record[2] & 0x80 else "M"
    bit_depth = 8
    if record[2] & 0x40:
        bit_depth = 12 if record[2] & 0x20 else 10
    fields = record[2]
    chroma = f"{fields >> 3 & 1}{fields >> 2 & 1}{fields & 3 if fields & 12 == 12 else 0}"
    # Unspecified by absence is written as the default.
    primaries, transfer, matrix = colour_description or (1, 1, 1)
    colour = (
        f".{fields >> 4 & 1}.{chroma}.{primaries:02}.{transfer:02}.{matrix:02}.{int(full_range)}"
    )
    text = f"av01.{record[1] >> 5}.{record[1] & 0x1F:02}{tier}.{bit_depth:02}"
    return text if colour == _DEFAULT_COLOUR else text + colour


class Obu(NamedTuple):
    """Where one open bitstream unit lies in what was walked."""

    kind: int
    """obu_type, 0 to 15."""
    start: int
    """Of its header."""
    payload: int
    """Where its payload begins, behind header and size."""
    end: int


def obus(data: bytes | memoryview) -> Iterator[Obu]:
    """Walk the OBUs of a temporal unit, a sample or a record's configOBUs.

    Args:
        data: Low-overhead format; only the last OBU may lack a size, and then reaches to the end.

    Raises:
        MediaError: A size is malformed or points past the end, a header's first bit is set, or
            there are more than `MAX_OBUS`.

    Cost: O(OBUs), under 1 us each; no byte is copied.
    """
    start = 0
    end = len(data)
    for _ in range(MAX_OBUS + 1):
        if start >= end:
            return
        header = data[start]
        if header & 0x80:
            raise MediaError("an OBU has its forbidden bit set")
        position = start + (2 if header & 4 else 1)  # with or without layer numbers
        size = end - position
        if header & 2:
            size, position = _leb128(data, position)
        if not 0 <= size <= end - position:
            raise MediaError("an OBU is longer than what holds it")
        yield Obu(header >> 3 & 15, start, position, position + size)
        start = position + size
    raise MediaError(f"a video sample has more than {MAX_OBUS} OBUs")


def scan_obus(data: bytes | memoryview, _length_size: int = 0) -> PictureSummary:
    """Say what a temporal unit holds; shaped as `hls.h264.scan_nal_units`.

    Its first frame header decides: a key frame that is only shown later does not let a decoder
    start, and says so itself. (One picture alone, a still, has a header without these bits.)

    Raises:
        MediaError: As for `obus`.
    """
    for obu in obus(data):
        if obu.kind in (_OBU_FRAME, _OBU_FRAME_HEADER) and obu.payload < obu.end:
            # show_existing_frame 0, frame_type 00, show_frame 1.
            return IDR if data[obu.payload] & 0xF0 == 0x10 else PICTURE
    return NO_PICTURE


def _leb128(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """Return the little-endian, base-128 number at ``position``, and where it ends."""
    value = 0
    for index, byte in enumerate(data[position : position + _MAX_SIZE_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, position + index + 1
    raise MediaError("an OBU's size is truncated, or longer than 8 bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceHeader:
    """What is read of a sequence header. Units and bounds as in `Av1Config`."""

    profile: int
    level: int
    """seq_level_idx of the first operating point, 0 to 31."""
    tier: int
    """seq_tier of the first operating point, 0 or 1."""
    high_bit_depth: bool
    twelve_bit: bool
    monochrome: bool
    subsampling_x: int
    subsampling_y: int
    chroma_sample_position: int
    colour_description: tuple[int, int, int] | None
    """Primaries, transfer characteristics and matrix of H.273, or None if it does not say."""
    full_range: bool
    width: int
    height: int
    frame_rate: Fraction | None


def parse_sequence_header(payload: bytes) -> SequenceHeader:
    """Read sequence_header_obu() (5.5.1) as far as the colours.

    Args:
        payload: Of an OBU of type `OBU_SEQUENCE_HEADER`, without its header and size.

    Raises:
        MediaError: It is truncated or says what cannot be.
    """
    bits = BitReader(payload, "sequence header")
    profile = bits.read(3)
    if profile > 2:
        raise MediaError(f"sequence header has profile {profile}")
    bits.skip(1)  # still_picture
    reduced = bits.flag()
    frame_rate = None
    if reduced:
        level, tier = bits.read(5), 0
    else:
        frame_rate, decoder_model_bits = _timing(bits)
        level, tier = _first_operating_point(bits, decoder_model_bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    width, height = bits.read(width_bits) + 1, bits.read(height_bits) + 1
    check_size(width, height, "sequence header")
    if not reduced and bits.flag():
        bits.skip(7)  # lengths of frame ids
    bits.skip(3)  # use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
    if not reduced:
        _skip_inter_tools(bits)
    bits.skip(3)  # enable_superres, enable_cdef, enable_restoration

    # color_config() (5.5.2)
    high_bit_depth = bits.flag()
    twelve_bit = profile == 2 and high_bit_depth and bits.flag()
    monochrome = profile != 1 and bits.flag()
    colour_description = None
    if bits.flag():
        colour_description = (bits.read(8), bits.read(8), bits.read(8))
    chroma_sample_position = 0
    if monochrome:
        full_range = bits.flag()
        subsampling_x = subsampling_y = 1
    elif colour_description == _SRGB:
        full_range = True
        subsampling_x = subsampling_y = 0
    else:
        full_range = bits.flag()
        if profile != 2:
            subsampling_x = subsampling_y = 1 - profile
        elif twelve_bit:
            subsampling_x = bits.read(1)
            subsampling_y = bits.read(1) if subsampling_x else 0
        else:
            subsampling_x, subsampling_y = 1, 0
        if subsampling_x and subsampling_y:
            chroma_sample_position = bits.read(2)
    return SequenceHeader(
        profile=profile,
        level=level,
        tier=tier,
        high_bit_depth=high_bit_depth,
        twelve_bit=twelve_bit,
        monochrome=monochrome,
        subsampling_x=subsampling_x,
        subsampling_y=subsampling_y,
        chroma_sample_position=chroma_sample_position,
        colour_description=colour_description,
        full_range=full_range,
        width=width,
        height=height,
        frame_rate=frame_rate,
    )


def _timing(bits: BitReader) -> tuple[Fraction | None, int]:
    """Read timing_info() and decoder_model_info() (5.5.3, 5.5.4), if they are there.

    Returns:
        Frame rate; bits of each buffer delay of an operating point, 0 without a decoder model.
    """
    if not bits.flag():
        return None, 0
    ticks, scale = bits.read(32), bits.read(32)
    frame_rate = None
    if bits.flag():  # equal_picture_interval
        # 4.10.3: above 32 bits uvlc() and ue(v) differ, but such a number is not allowed (6.4.3).
        ticks_per_picture = bits.unsigned() + 1
        if ticks_per_picture >> 32:
            raise MediaError("sequence header has an absurd number of ticks per picture")
        frame_rate = claimed_frame_rate(scale, ticks * ticks_per_picture)
    if not bits.flag():
        return frame_rate, 0
    delay_bits = bits.read(5) + 1
    bits.skip(32 + 5 + 5)  # num_units_in_decoding_tick, lengths of two times
    return frame_rate, delay_bits


def _first_operating_point(bits: BitReader, decoder_model_bits: int) -> tuple[int, int]:
    """Read all operating points, and return the first one's level and tier."""
    points = []
    initial_display_delay_present = bits.flag()
    for _ in range(bits.read(5) + 1):
        bits.skip(12)  # operating_point_idc
        level = bits.read(5)
        tier = bits.read(1) if level > 7 else 0
        if decoder_model_bits and bits.flag():
            bits.skip(2 * decoder_model_bits + 1)  # two delays, low_delay_mode_flag
        if initial_display_delay_present and bits.flag():
            bits.skip(4)
        points.append((level, tier))
    return points[0]


def _skip_inter_tools(bits: BitReader) -> None:
    """Pass over what a sequence of more than one picture says about its tools."""
    bits.skip(4)  # interintra and masked compound, warped motion, dual filter
    order_hint = bits.flag()
    if order_hint:
        bits.skip(2)  # enable_jnt_comp, enable_ref_frame_mvs
    # Chosen for each frame, or forced on or off; only if it can be on does integer mv follow.
    screen_content_possible = bits.flag() or bits.flag()
    if screen_content_possible and not bits.flag():
        bits.skip(1)  # seq_force_integer_mv
    if order_hint:
        bits.skip(3)  # order_hint_bits_minus_1
