"""The colours of a video track: what its numbers mean, and for which display it was graded.

A configuration has what its bitstream says (its codec's module reads it), and a caller who has
been told more gives the configuration another value: ``dataclasses.replace(config, colour=...)``.
From there it goes into the init section and into the multivariant playlist's VIDEO-RANGE.

Plain values, no codec. Spec: ITU-T H.273, 8.1 to 8.3 (code points); ISO/IEC 14496-12, 12.1.5 (colr,
nclx), 12.1.6 (mdcv, clli); SMPTE ST 2086; draft-pantos-hls-rfc8216bis-22, 4.4.6.2 (VIDEO-RANGE).
"""

from dataclasses import dataclass
from typing import Final

UNSPECIFIED: Final = 2
"""H.273: of primaries, transfer characteristics or matrix that nobody has told."""

SDR: Final = "SDR"
PQ: Final = "PQ"
HLG: Final = "HLG"

_RANGES: Final = {16: PQ, 18: HLG}  # by transfer characteristics; all others are SDR


@dataclass(frozen=True, slots=True, kw_only=True)
class MasteringDisplay:
    """The display that the picture was graded on (SMPTE ST 2086)."""

    red: tuple[float, float]
    """CIE 1931 x and y, 0 to 1; the others likewise."""

    green: tuple[float, float]

    blue: tuple[float, float]

    white: tuple[float, float]

    max_luminance_nits: float
    """In candela per square metre."""

    min_luminance_nits: float
    """In candela per square metre."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Colour:
    """What is known; the defaults say that nothing is."""

    primaries: int = UNSPECIFIED
    """1 is BT.709, 9 BT.2020."""

    transfer: int = UNSPECIFIED
    """1 is BT.709, 16 PQ, 18 HLG."""

    matrix: int = UNSPECIFIED
    """1 is BT.709, 9 BT.2020 non-constant luminance."""

    full_range: bool = False
    """Samples use all of their values."""

    max_cll: int | None = None
    """Brightest pixel, in candela per square metre."""

    max_fall: int | None = None
    """Brightest picture on average, in candela per square metre."""

    mastering: MasteringDisplay | None = None

    @property
    def video_range(self) -> str:
        """VIDEO-RANGE of its media: `SDR`, `PQ` or `HLG`."""
        return _RANGES.get(self.transfer, SDR)


def described(primaries: int, transfer: int, matrix: int, *, full_range: bool) -> Colour | None:
    """Return what three code points say, or None if that is nothing at all."""
    if primaries == transfer == matrix == UNSPECIFIED and not full_range:
        return None
    return Colour(primaries=primaries, transfer=transfer, matrix=matrix, full_range=full_range)
