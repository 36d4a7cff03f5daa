"""What the packager must know about MP3: its configuration, read from a frame's header.

MP3 has no sequence header. Every frame begins with the four bytes that say all there is to know; of
these, version, sample rate and channels make a configuration, and the rest (bit rate, padding, the
kind of stereo) may change from frame to frame.

A malformed header raises `MediaError` where a configuration is wanted and nothing else; a frame
that none can be has 0 samples.

Spec: ISO/IEC 11172-3, 2.4.1.3, 2.4.2.3 (frame header); ISO/IEC 13818-3, 2.4.2.3 (lower sampling
frequencies); ISO/IEC 14496-1, table 5 (object types 0x69, 0x6B); RFC 6381, 3.3 (codec string).
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from hls.errors import MediaError

_RATES: Final = (44_100, 48_000, 32_000)  # of MPEG-1; by version half and a quarter of these
_DIVISORS: Final = {3: 1, 2: 2, 0: 4}  # MPEG-1, MPEG-2, and what is called MPEG-2.5
_LAYER_3: Final = 1
_MONO: Final = 3
_HEADER_BYTES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Mp3Config:
    """What an MP3 frame says of its track."""

    FOURCC: ClassVar[bytes] = b".mp3"
    """Enhanced RTMP's name; the sample entry is ``mp4a``, as for everything with an ``esds``."""

    record: bytes
    """Equal for equal configurations: the header without what may change."""

    object_type: int
    """objectTypeIndication of the ``esds``: 0x6B (MPEG-1), or 0x69 at the lower rates."""

    sample_rate: int
    """Samples a second, 8,000 to 48,000."""

    channels: int
    """1 or 2."""

    samples_per_frame: int
    """1152, or 576 at the lower rates."""

    silence: bytes = b""
    """None: a frame may draw on the bits of those before it, so it is not known what one means."""

    @property
    def codec_string(self) -> str:
        """RFC 6381: ``mp4a.6B`` or ``mp4a.69``."""
        return f"mp4a.{self.object_type:X}"

    @classmethod
    def parse(cls, record: bytes) -> "Mp3Config":
        """Read a frame, or the beginning of one.

        Raises:
            MediaError: It is no MP3 frame, or says what is reserved.
        """
        header = int.from_bytes(record[:_HEADER_BYTES], "big")
        if len(record) < _HEADER_BYTES or header >> 21 != 0x7FF:
            raise MediaError("an MP3 frame does not begin with its syncword, or is truncated")
        version, layer = header >> 19 & 3, header >> 17 & 3
        bit_rate, rate, mode = header >> 12 & 15, header >> 10 & 3, header >> 6 & 3
        if version not in _DIVISORS or layer != _LAYER_3:
            raise MediaError("an MPEG audio frame is not layer III")
        if rate == len(_RATES) or bit_rate == 15:
            raise MediaError("an MP3 frame has a reserved sample rate or bit rate")
        divisor = _DIVISORS[version]
        channels = 1 if mode == _MONO else 2
        return cls(
            record=bytes((version, rate, channels)),
            object_type=0x6B if divisor == 1 else 0x69,
            sample_rate=_RATES[rate] // divisor,
            channels=channels,
            samples_per_frame=1_152 if divisor == 1 else 576,
        )

    def samples_in(self, frame: bytes | memoryview) -> int:
        """Return how many samples a frame has; 0 if it cannot be one."""
        is_frame = len(frame) > _HEADER_BYTES and frame[0] == 0xFF and frame[1] >> 5 == 7
        return self.samples_per_frame if is_frame else 0
