"""What the packager must know about FLAC: STREAMINFO, and how many samples a frame has.

STREAMINFO gives clock, channels and the longest frame. Frames are mostly of one length, but the
last one is shorter, and an encoder may vary it: each says its own in its header.

Malformed records raise `MediaError` and nothing else; a frame that none can be has 0 samples.

Spec: RFC 9639, 8.1, 8.2 (metadata block header, STREAMINFO), 9.1 (frame header); Encapsulation of
FLAC in ISO Base Media File Format 0.0.4, 3.3.1, 3.3.2 (fLaC, dfLa).
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from hls.bits import BitReader
from hls.errors import MediaError

MAX_SAMPLE_RATE: Final = 192_000
"""Beyond it nothing is streamed; STREAMINFO could say 1 MHz."""

MAX_RECORD_BYTES: Final = 64 * 1024
"""Of a header with comments and pictures, of which STREAMINFO alone is kept."""

_MARKER: Final = b"fLaC"
_STREAMINFO_BYTES: Final = 34
_STREAMINFO_HEAD: Final = b"\0\0\0\x22"  # type 0; the first bit says that no other block follows
_MIN_BLOCK: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FlacConfig:
    """A parsed header; equal headers are equal configurations."""

    FOURCC: ClassVar[bytes] = b"fLaC"
    """Name of the sample entry."""

    BOX: ClassVar[bytes] = b"dfLa"
    """Name of the box in it."""

    record: bytes
    """The header as it came."""

    specific: bytes
    """Payload of the ``dfLa`` box: version, flags, and STREAMINFO as its only block."""

    codec_string: str = "fLaC"
    """RFC 6381: the name of the sample entry."""

    sample_rate: int
    """Samples a second; 1,000 to `MAX_SAMPLE_RATE`."""

    channels: int
    """1 to 8."""

    bits_per_sample: int
    """4 to 32."""

    samples_per_frame: int
    """Of the longest frame, 16 to 65,535."""

    silence: bytes = b""
    """None: a frame counts itself, so each would be another one."""

    @classmethod
    def parse(cls, record: bytes) -> "FlacConfig":
        """Read a header, as Enhanced RTMP's sequence start carries it.

        Args:
            record: Metadata blocks, STREAMINFO first, with the stream marker ``fLaC`` before them
                or without; or STREAMINFO's 34 bytes alone, as muxers have it beside the stream.

        Raises:
            MediaError: It is truncated, too long, or says what cannot be.
        """
        if len(record) > MAX_RECORD_BYTES:
            raise MediaError(f"FLAC configuration has {len(record)} bytes")
        body = bytes(record)
        if len(body) != _STREAMINFO_BYTES:
            body = body.removeprefix(_MARKER)
            if not body or bytes((body[0] & 0x7F,)) + body[1:4] != _STREAMINFO_HEAD:
                raise MediaError("FLAC configuration does not begin with its STREAMINFO")
            body = body[4 : 4 + _STREAMINFO_BYTES]
        bits = BitReader(body, "FLAC configuration")
        shortest, longest = bits.read(16), bits.read(16)
        bits.skip(24 + 24)  # sizes of frames in bytes
        sample_rate = bits.read(20)
        channels, bits_per_sample = bits.read(3) + 1, bits.read(5) + 1
        bits.skip(36 + 128)  # samples in all, MD5
        if not _MIN_BLOCK <= shortest <= longest:
            raise MediaError(f"FLAC configuration has blocks of {shortest} to {longest} samples")
        if not 1_000 <= sample_rate <= MAX_SAMPLE_RATE:
            raise MediaError(f"FLAC sample rate {sample_rate} Hz is out of range")
        if bits_per_sample < 4:
            raise MediaError(f"FLAC configuration has samples of {bits_per_sample} bits")
        return cls(
            record=bytes(record),
            specific=bytes(4) + b"\x80" + _STREAMINFO_HEAD[1:] + body,
            sample_rate=sample_rate,
            channels=channels,
            bits_per_sample=bits_per_sample,
            samples_per_frame=longest,
        )

    def samples_in(self, frame: bytes | memoryview) -> int:
        """Return how many samples a frame has; 0 if it cannot be one."""
        return frame_samples(frame)


def frame_samples(frame: bytes | memoryview) -> int:
    """Return the block size in a frame's header (RFC 9639, 9.1), 1 to 65,536; 0 if there is none.

    Only the last frame of a stream may have fewer than 16.
    """
    if len(frame) < 6 or frame[0] != 0xFF or frame[1] & 0xFE != 0xF8:
        return 0
    code = frame[2] >> 4
    if code >= 8:
        return 256 << (code - 8)
    if code < 6:
        return (0, 192, 576, 1_152, 2_304, 4_608)[code]
    # 9.1.5: behind a number of 1 to 7 bytes, coded as UTF-8 is.
    leading_ones = 8 - (frame[4] ^ 0xFF).bit_length()
    at = 4 + max(1, leading_ones)
    end = at + code - 5
    return int.from_bytes(frame[at:end], "big") + 1 if end <= len(frame) else 0
