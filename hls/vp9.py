"""What the packager must know about VP9: the configuration record, and a frame's first bits.

The record has profile, level and colours, but not the size of the picture: that stands in every
keyframe, and may change from one to the next. So a configuration that was parsed has no size yet;
`Vp9Config.sized` gives it the one of a keyframe.

A sample is one frame or a superframe (frames that are not shown, then one that is), and its first
frame says whether decoding can start there. Malformed input raises `MediaError` and nothing else.

Spec: VP Codec ISO Media File Format Binding 1.0, "VP Codec Configuration Record" and "Codecs
Parameter String"; VP9 Bitstream & Decoding Process 0.6, 6.2 (uncompressed header), annexes A, B.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar, Final

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
    square_width,
)

_FULL_BOX: Final = b"\1\0\0\0"  # version and flags of the vpcC box, which some send and some do not
_RECORD_BYTES: Final = 8
_BIT_DEPTHS: Final = (8, 10, 12)
_FRAME_MARKER: Final = 2
_SYNC_CODE: Final = 0x498342
_RGB: Final = 7
_DEFAULT_COLOUR: Final = ".01.01.01.01.00"
"""What follows the bit depth of a codec string, where nothing does."""

# Annex A: levels by their greatest picture, in luma samples.
_LEVELS: Final = (
    (36_864, 10), (73_728, 11), (122_880, 20), (245_760, 21), (552_960, 30), (983_040, 31),
    (2_228_224, 40), (8_912_896, 50),
)  # fmt: skip
_HIGHEST_LEVEL: Final = 60
_LEGAL_LEVELS: Final = frozenset((0, 10, 11, 20, 21, 30, 31, 40, 41, 50, 51, 52, 60, 61, 62))


@dataclass(frozen=True, slots=True, kw_only=True)
class Vp9Config:
    """A parsed VPCodecConfigurationRecord; equal records and sizes are equal configurations."""

    FOURCC: ClassVar[bytes] = b"vp09"
    """Name of the sample entry."""

    record: bytes
    """The record as it came."""

    specific: bytes
    """Payload of the ``vpcC`` box: version, flags, record."""

    codec_string: str
    """``vp09.00.31.08``, and as much again when the colours are not the usual ones."""

    width: int = 0
    """Picture width in luma samples; 0 before `sized`."""

    height: int = 0
    """Picture height in luma samples; 0 before `sized`."""

    sample_aspect_ratio: tuple[int, int] = (1, 1)
    """The bitstream does not say."""

    frame_rate: Fraction | None = None
    """The bitstream does not say."""

    colour: Colour | None
    """What the record says of its colours; None if nothing."""

    length_size: int = 0
    """Frames have no lengths before them."""

    @property
    def display_width(self) -> int:
        """Picture width in square pixels."""
        return square_width(self.width, self.sample_aspect_ratio)

    @classmethod
    def parse(cls, record: bytes) -> "Vp9Config":
        """Read a record, with the box's version and flags before it or without.

        Raises:
            MediaError: It is truncated, too long, or says what cannot be.
        """
        if len(record) > MAX_RECORD_BYTES:
            raise MediaError(f"VP9 configuration has {len(record)} bytes")
        # Without them these bytes would be profile 1, level 0 and a bit depth of 0.
        body = bytes(record).removeprefix(_FULL_BOX)
        if len(body) < _RECORD_BYTES:
            raise MediaError("VP9 configuration is truncated")
        profile, level, formats, primaries, transfer, matrix = body[:6]
        bit_depth = formats >> 4
        if profile > 3 or bit_depth not in _BIT_DEPTHS:
            raise MediaError(f"VP9 configuration has profile {profile} and {bit_depth} bits")
        if level not in _LEGAL_LEVELS:
            raise MediaError(f"VP9 configuration has level {level}")
        full_range = formats & 1
        text = f"vp09.{profile:02}.{level:02}.{bit_depth:02}"
        colour = described(primaries, transfer, matrix, full_range=bool(full_range))
        if (primaries, transfer, matrix) == 3 * (UNSPECIFIED,):
            primaries = transfer = matrix = 1  # as a player takes it
        tail = f".{formats >> 1 & 7:02}.{primaries:02}.{transfer:02}.{matrix:02}.{full_range:02}"
        return cls(
            record=bytes(record),
            specific=_FULL_BOX + body,
            codec_string=text if tail == _DEFAULT_COLOUR else text + tail,
            colour=colour,
        )

    def sized(self, keyframe: bytes | memoryview) -> "Vp9Config":
        """Return the configuration with a keyframe's size, or itself if that is its own.

        A record that does not know its level (0) gets the least one that has such pictures: players
        refuse a codec string without one.

        Raises:
            MediaError: It is no keyframe, is truncated, or has an impossible size.
        """
        width, height = _keyframe_size(keyframe)
        if (width, height) == (self.width, self.height):
            return self
        level = next((level for size, level in _LEVELS if width * height <= size), _HIGHEST_LEVEL)
        text = self.codec_string
        if text[8:10] == "00":
            text = f"{text[:8]}{level}{text[10:]}"
        return replace(self, width=width, height=height, codec_string=text)


def scan_frame(data: bytes | memoryview, _length_size: int = 0) -> PictureSummary:
    """Say what a sample is, out of its first byte; shaped as `hls.h264.scan_nal_units`.

    Raises:
        MediaError: It is no VP9 frame.
    """
    if not data:
        return NO_PICTURE
    head = data[0]
    if head >> 6 != _FRAME_MARKER:
        raise MediaError("a VP9 frame does not begin with its marker")
    if head & 0x30 == 0x30:  # profile 3 has a reserved bit behind it
        head <<= 1
    # show_existing_frame, frame_type: 0 and 0 is a keyframe.
    return PICTURE if head & 0x0C else IDR


def _keyframe_size(frame: bytes | memoryview) -> tuple[int, int]:
    """Read uncompressed_header() (6.2) of a keyframe as far as its size."""
    if not scan_frame(frame).is_idr:
        raise MediaError("a VP9 configuration needs a keyframe")
    bits = BitReader(bytes(frame[:32]), "VP9 keyframe")
    bits.skip(2)
    profile = bits.read(1) | bits.read(1) << 1
    bits.skip(5 if profile == 3 else 4)  # reserved, show_existing_frame, frame_type, 2 more flags
    if bits.read(24) != _SYNC_CODE:
        raise MediaError("a VP9 keyframe lacks its sync code")
    if profile >= 2:
        bits.skip(1)  # ten_or_twelve_bit
    if bits.read(3) != _RGB:
        bits.skip(1)  # color_range
        bits.skip(3 if profile & 1 else 0)  # subsampling, reserved
    elif profile & 1:
        bits.skip(1)  # reserved
    width, height = bits.read(16) + 1, bits.read(16) + 1
    check_size(width, height, "VP9 keyframe")
    return width, height
