"""What all video codecs say in the same way: bounds, sizes, shapes, rates, what a sample is.

`h264`, `hevc`, `av1` and `vp9` each read their own syntax and come here for the rest: how large a
picture may be, which claimed frame rate is believed, how wide it is on a square grid. H.264 and
H.265 also share emulation prevention and the head of the VUI, bit for bit.

Spec: ISO/IEC 14496-10 (H.264), 7.4.1, E.1.1, E.2.1; ISO/IEC 23008-2 (H.265), 7.4.2, E.2.1, E.3.1.
"""

from fractions import Fraction
from typing import Final, NamedTuple

from hls.bits import BitReader
from hls.colour import UNSPECIFIED, Colour, described
from hls.errors import MediaError

MAX_DIMENSION: Final = 16_384
"""Level 6.2 of H.264 allows 16,880 pixels a side; no browser decodes more than this."""

MAX_RECORD_BYTES: Final = 16 * 1024
"""Of a decoder configuration record. A real one has under 200 bytes, 3,000 with x265's options in
it. It is copied into every init section that it changes."""

# Table E-1 of both specifications, aspect_ratio_idc 1 to 16.
_ASPECT_RATIOS: Final = (
    (1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11),
    (80, 33), (18, 11), (15, 11), (64, 33), (160, 99), (4, 3), (3, 2), (2, 1),
)  # fmt: skip
_EXTENDED_SAR: Final = 255


class PictureSummary(NamedTuple):
    """What one video sample amounts to."""

    has_picture: bool
    """It holds coded picture data; otherwise only parameter sets, SEI, delimiters, filler."""

    is_idr: bool
    """Decoding can start here (sample flag "sync", part INDEPENDENT): an IDR picture in H.264, a
    random access picture in H.265, a shown key frame in AV1 and VP9."""


# There are only these three, so none is made per sample.
NO_PICTURE: Final = PictureSummary(has_picture=False, is_idr=False)
PICTURE: Final = PictureSummary(has_picture=True, is_idr=False)
IDR: Final = PictureSummary(has_picture=True, is_idr=True)


def check_size(width: int, height: int, what: str) -> None:
    """Refuse a picture without pixels, or larger than `MAX_DIMENSION` a side.

    Args:
        width: In luma samples, after cropping; may be below 0.
        height: As ``width``.
        what: What says so, for the text of the error: ``"SPS"``.

    Raises:
        MediaError: It is out of these bounds.
    """
    if not (0 < width <= MAX_DIMENSION and 0 < height <= MAX_DIMENSION):
        raise MediaError(f"{what} has a picture of {width} by {height} pixels")


def claimed_frame_rate(ticks_per_second: int, ticks_per_frame: int) -> Fraction | None:
    """Return frames a second, or None when that is absent (a 0) or absurd.

    Outside 1 to 1000 it is an encoder's placeholder, such as a clock of 90 kHz.
    """
    if ticks_per_frame and 1 <= Fraction(ticks_per_second, ticks_per_frame) <= 1000:
        return Fraction(ticks_per_second, ticks_per_frame)
    return None


def square_width(width: int, sample_aspect_ratio: tuple[int, int]) -> int:
    """Return a picture's width in square pixels, at least 1, its height staying what it is."""
    horizontal, vertical = sample_aspect_ratio
    return max(1, (width * horizontal + vertical // 2) // vertical)


def without_emulation_prevention(unit: bytes) -> bytes:
    """Return a NAL unit as its syntax is written: 00 00 03 stands for 00 00 wherever it occurs."""
    return unit.replace(b"\x00\x00\x03", b"\x00\x00")


def read_vui_head(bits: BitReader) -> tuple[tuple[int, int], Colour | None]:
    """Read vui_parameters() of H.264 or H.265 up to the chroma location.

    Behind it the two part ways.

    Returns:
        Width to height of one luma sample, (1, 1) when unspecified or absurd; the colours, None
        when unspecified.

    Raises:
        MediaError: It is truncated.
    """
    aspect = (1, 1)
    if bits.flag():
        indicator = bits.read(8)
        if indicator == _EXTENDED_SAR:
            aspect = (bits.read(16), bits.read(16))
        elif 1 <= indicator <= len(_ASPECT_RATIOS):
            aspect = _ASPECT_RATIOS[indicator - 1]
        # E.2.1: 0 in either means unspecified. Beyond 16 to 1 it is an encoder's mistake.
        if not (0 < aspect[0] <= 16 * aspect[1] and aspect[1] <= 16 * aspect[0]):
            aspect = (1, 1)
    if bits.flag():
        bits.skip(1)  # overscan_appropriate_flag
    colour = None
    if bits.flag():
        bits.skip(3)  # video_format
        full_range = bits.flag()
        code_points = [UNSPECIFIED] * 3
        if bits.flag():
            code_points = [bits.read(8) for _ in range(3)]  # primaries, transfer, matrix
        colour = described(*code_points, full_range=full_range)
    if bits.flag():
        bits.unsigned()  # chroma_sample_loc_type_top_field
        bits.unsigned()  # chroma_sample_loc_type_bottom_field
    return aspect, colour
