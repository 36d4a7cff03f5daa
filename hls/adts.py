"""ADTS: the header that makes an AAC frame readable without any configuration beside it.

ADTS says less than an AudioSpecificConfig can: thirteen sample rates, seven channel layouts, frames
of 1024 samples. What it cannot say it would say wrongly, so such a track is refused
(`AdtsFraming.of` gives None). HE-AAC is framed as the AAC-LC it is built on; decoders find the rest
in the frames.

May import `hls.aac` and `hls.bits`. Spec: ISO/IEC 14496-3, 1.A.2.2 (adts_fixed_header and
adts_variable_header), 1.6.2.1 (AudioSpecificConfig).
"""

from dataclasses import dataclass
from typing import Final

from hls.aac import AacConfig
from hls.bits import BitReader

HEADER_BYTES: Final = 7

MAX_FRAME_BYTES: Final = (1 << 13) - 1 - HEADER_BYTES
"""Of a frame without its header: aac_frame_length has 13 bits, and AAC needs no more."""

_RATES: Final = 13
_CHANNEL_LAYOUTS: Final = 7
_NO_CRC: Final = 0xFFF1  # syncword, MPEG-4, layer 0, protection_absent
_PROFILE_LC: Final = 1
_FULLNESS_VARIABLE: Final = 0x7FF


@dataclass(frozen=True, slots=True)
class AdtsFraming:
    """What the headers of one track have in common."""

    sample_rate: int
    """Core samples a second: the clock of the track."""

    _header: int  # 56 bits, without the length

    @classmethod
    def of(cls, config: AacConfig) -> "AdtsFraming | None":
        """Return the framing for a track, or None if ADTS cannot say what it is."""
        bits = BitReader(config.config, "AAC configuration")
        bits.skip(5)  # the object type, which is AAC-LC or builds on it
        rate = bits.read(4)
        if rate >= _RATES:
            return None
        layout = bits.read(4)
        if not 1 <= layout <= _CHANNEL_LAYOUTS or config.samples_per_frame != 1024:
            return None
        header = _NO_CRC << 40 | _PROFILE_LC << 38 | rate << 34 | layout << 30
        return cls(config.sample_rate, header | _FULLNESS_VARIABLE << 2)

    def header(self, frame_bytes: int) -> bytes:
        """Return the header of a frame of 1 to `MAX_FRAME_BYTES` bytes."""
        return (self._header | (frame_bytes + HEADER_BYTES) << 13).to_bytes(HEADER_BYTES, "big")
