"""What the packager must know about Opus: the identification header, and how long a packet lasts.

The header gives channels and mapping for the sample entry. Opus has one clock, 48 kHz, whatever the
encoder was fed with, and no frame length of its own: each packet says in its first byte how long it
is, 2.5 to 120 ms, and an encoder may change that from one to the next.

Accepted are mono and stereo (mapping family 0) and up to 7.1 (family 1); ambisonics and layouts of
the sender's own invention (2, 3, 255) are played by no browser.

Malformed headers raise `MediaError` and nothing else; a packet that none can be lasts 0 samples.

Spec: RFC 7845, 5.1 (identification header); RFC 6716, 3.1, 3.2, appendix B (TOC, code 3,
self-delimiting framing); Encapsulation of Opus in ISO Base Media File Format 0.8.1, 4.3.2 (dOps).
"""

import struct
from dataclasses import dataclass
from typing import ClassVar, Final

from hls.errors import MediaError

SAMPLE_RATE: Final = 48_000
"""Of every Opus track: RFC 7845, 4."""

MAX_PACKET_SAMPLES: Final = 5_760
"""RFC 6716, 3.2.5: a packet has at most 120 ms."""

_MAGIC: Final = b"OpusHead"
_HEAD: Final = struct.Struct("<BBHIhB")  # version, channels, pre-skip, input rate, gain, family
_DOPS: Final = struct.Struct(">BBHIhB")
_TABLE_AT: Final = len(_MAGIC) + _HEAD.size
_UNUSED: Final = 255  # RFC 7845, 5.1.1: an output channel that is silent

# A 20 ms frame of silence, as every encoder makes it: CELT, full band, mono. RFC 6716, appendix B:
# in a packet of several streams all but the last have their length behind the TOC.
_SILENCE: Final = bytes.fromhex("f8fffe")
_DELIMITED_SILENCE: Final = bytes.fromhex("f802fffe")
_SILENCE_SAMPLES: Final = 960


@dataclass(frozen=True, slots=True, kw_only=True)
class OpusConfig:
    """A parsed identification header; equal headers are equal configurations."""

    FOURCC: ClassVar[bytes] = b"Opus"
    """Name of the sample entry."""

    BOX: ClassVar[bytes] = b"dOps"
    """Name of the box in it."""

    record: bytes
    """The header as it came."""

    specific: bytes
    """Payload of the ``dOps`` box."""

    codec_string: str = "Opus"
    """RFC 6381: the name of the sample entry."""

    sample_rate: int = SAMPLE_RATE
    """Samples a second of the track's clock."""

    channels: int
    """Channels that the decoder puts out, 1 to 8."""

    samples_per_frame: int = _SILENCE_SAMPLES
    """Of a packet as most encoders make it, and of `silence`: 20 ms."""

    silence: bytes
    """A packet of silence, see `hls.silence`."""

    @classmethod
    def parse(cls, record: bytes) -> "OpusConfig":
        """Read a header, as Enhanced RTMP's sequence start carries it; bytes behind it are left.

        Raises:
            MediaError: It is truncated, of another version, or of a layout that browsers refuse.
        """
        if record[: len(_MAGIC)] != _MAGIC or len(record) < _TABLE_AT:
            raise MediaError("Opus configuration is no OpusHead, or is truncated")
        version, channels, pre_skip, rate, gain, family = _HEAD.unpack_from(record, len(_MAGIC))
        if version >> 4:
            raise MediaError(f"Opus configuration has version {version}")
        streams, table = 1, b""
        if family == 0:
            if not 1 <= channels <= 2:
                raise MediaError(f"Opus configuration has {channels} channels without a mapping")
        elif family == 1:
            streams, table = _mapping(record, channels)
        else:
            raise MediaError(f"Opus channel mapping family {family} is not supported")
        return cls(
            record=bytes(record),
            specific=_DOPS.pack(0, channels, pre_skip, rate, gain, family) + table,
            channels=channels,
            silence=_DELIMITED_SILENCE * (streams - 1) + _SILENCE,
        )

    def samples_in(self, frame: bytes | memoryview) -> int:
        """Return how long a packet lasts, in samples; 0 if it cannot be one."""
        return packet_samples(frame)


def packet_samples(packet: bytes | memoryview) -> int:
    """Return a packet's duration in samples of 48 kHz, out of its TOC (RFC 6716, 3.1).

    Args:
        packet: Of one stream, or of several, which all last as long as the first.

    Returns:
        120 to `MAX_PACKET_SAMPLES`; 0 if it is truncated or lasts longer than a packet may.
    """
    if not packet:
        return 0
    toc = packet[0]
    configuration = toc >> 3
    if configuration < 12:  # SILK: 10, 20, 40, 60 ms
        samples = (480, 960, 1_920, 2_880)[configuration & 3]
    elif configuration < 16:  # hybrid: 10, 20 ms
        samples = 480 << (configuration & 1)
    else:  # CELT: 2.5, 5, 10, 20 ms
        samples = 120 << (configuration & 3)
    code = toc & 3
    if code == 3:
        samples *= packet[1] & 0x3F if len(packet) > 1 else 0
    elif code:
        samples *= 2
    return samples if samples <= MAX_PACKET_SAMPLES else 0


def _mapping(record: bytes, channels: int) -> tuple[int, bytes]:
    """Read the channel mapping table (RFC 7845, 5.1.1).

    Returns:
        Streams in a packet; the table, which ``dOps`` has in the same form.
    """
    table = record[_TABLE_AT : _TABLE_AT + 2 + channels]
    if not 1 <= channels <= 8:
        raise MediaError(f"Opus configuration has {channels} channels")
    if len(table) < 2 + channels:
        raise MediaError("Opus configuration is truncated")
    streams, coupled = table[0], table[1]
    if not streams or coupled > streams:
        raise MediaError(f"Opus configuration has {streams} streams, {coupled} of them stereo")
    decoded = streams + coupled
    if decoded > _UNUSED or any(decoded <= index < _UNUSED for index in table[2:]):
        raise MediaError("Opus configuration maps a channel that is in no stream")
    return streams, bytes(table)
