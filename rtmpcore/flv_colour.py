"""The colours of a video track, as Enhanced RTMP's metadata packets tell them (colorInfo).

Primaries, transfer and matrix are numbers of ITU-T H.273, which HEVC, AV1, VP9 and MP4's `colr` box
share. What a sender leaves out, or sends out of range, is unspecified here: this is advice for a
display, and never worth a publisher's connection.

Bounds: AMF nested `_MAX_DEPTH` deep, `_MAX_VALUES` values.

May import: amf, amf0, errors. Spec: Enhanced RTMP v2, "Metadata Frame".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rtmpcore import amf0
from rtmpcore.amf import AmfValue
from rtmpcore.errors import AmfError

UNSPECIFIED: Final = 2
"""H.273's number for primaries, transfer or matrix that nobody knows."""

_NAME: Final = "colorInfo"
_MAX_DEPTH: Final = 4
_MAX_VALUES: Final = 64
_MAX_NITS: Final = 10_000.0
"""The brightest that PQ can say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MasteringDisplay:
    """The display on which the picture was graded (SMPTE ST 2086)."""

    red: tuple[float, float]
    """CIE 1931 x and y, each 0..1."""
    green: tuple[float, float]
    """CIE 1931 x and y, each 0..1."""
    blue: tuple[float, float]
    """CIE 1931 x and y, each 0..1."""
    white: tuple[float, float]
    """CIE 1931 x and y, each 0..1."""
    max_luminance_nits: float
    """Brightest it can show, in candela per square metre: above the next one, at most 10 000."""
    min_luminance_nits: float
    """Darkest it can show, in candela per square metre."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ColourInfo:
    """What a sender says of a track's colours; what is unspecified, the bitstream may still say.

    FFmpeg sends one with nothing in it for every track in FOURCC mode.
    """

    primaries: int = UNSPECIFIED
    """ColourPrimaries, 0..255: 1 is BT.709, 9 BT.2020."""
    transfer: int = UNSPECIFIED
    """TransferCharacteristics, 0..255: 1 is BT.709, 16 PQ, 18 HLG."""
    matrix: int = UNSPECIFIED
    """MatrixCoefficients, 0..255: 1 is BT.709, 9 BT.2020 with non-constant luminance."""
    full_range: bool = False
    """Samples use the whole range. Enhanced RTMP v2 has no word for it, so nobody sends it yet."""
    bit_depth: int | None = None
    """Bits of a sample, 1..16."""
    max_cll: int | None = None
    """Light level of the brightest pixel, in candela per square metre, 1..10 000."""
    max_fall: int | None = None
    """Average light level of the brightest picture, in the same unit and range."""
    mastering: MasteringDisplay | None = None
    """The display on which it was graded."""


def parse_colour_info(body: bytes | memoryview) -> ColourInfo | None:
    """Read the body of a video tag of kind METADATA. It takes the place of what was known before.

    Returns:
        The colours from the next picture on, all of them unspecified where a sender takes back what
        it said; None if this is no colour information, or none that can be read.
    """
    try:
        values = amf0.decode(bytes(body), max_depth=_MAX_DEPTH, max_values=_MAX_VALUES)
    except AmfError:
        return None
    if len(values) < 2 or values[0] != _NAME:
        return None
    info = _members(values[1])
    config = _members(info.get("colorConfig"))
    light = _members(info.get("hdrCll"))
    return ColourInfo(
        primaries=_index(config, "colorPrimaries"),
        transfer=_index(config, "transferCharacteristics"),
        matrix=_index(config, "matrixCoefficients"),
        bit_depth=_positive(config, "bitDepth", 16),
        max_cll=_positive(light, "maxCLL", _MAX_NITS),
        max_fall=_positive(light, "maxFall", _MAX_NITS),
        mastering=_mastering(_members(info.get("hdrMdcv"))),
    )


def _members(value: AmfValue) -> Mapping[str, AmfValue]:
    return value if isinstance(value, Mapping) else {}


def _number(members: Mapping[str, AmfValue], name: str, most: float) -> float | None:
    """A number of 0..`most`, or None; not-a-number is in no range."""
    value = members.get(name)
    return value if isinstance(value, float) and 0 <= value <= most else None


def _index(members: Mapping[str, AmfValue], name: str) -> int:
    value = _number(members, name, 0xFF)
    return UNSPECIFIED if value is None else int(value)


def _positive(members: Mapping[str, AmfValue], name: str, most: float) -> int | None:
    """A whole number above zero, which encoders send for "not known"."""
    return round(_number(members, name, most) or 0) or None


def _mastering(members: Mapping[str, AmfValue]) -> MasteringDisplay | None:
    """All of it or nothing, for MP4's mdcv box cannot leave out a coordinate: OBS sends the
    luminances alone."""
    red, green = _point(members, "red"), _point(members, "green")
    blue, white = _point(members, "blue"), _point(members, "whitePoint")
    brightest = _number(members, "maxLuminance", _MAX_NITS)
    darkest = _number(members, "minLuminance", _MAX_NITS)
    if red is None or green is None or blue is None or white is None:
        return None
    if brightest is None or darkest is None or darkest >= brightest:
        return None
    return MasteringDisplay(
        red=red,
        green=green,
        blue=blue,
        white=white,
        max_luminance_nits=brightest,
        min_luminance_nits=darkest,
    )


def _point(members: Mapping[str, AmfValue], name: str) -> tuple[float, float] | None:
    x, y = _number(members, name + "X", 1), _number(members, name + "Y", 1)
    return None if x is None or y is None else (x, y)
