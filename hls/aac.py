"""What the packager must know about AAC: the AudioSpecificConfig.

Sample rate, frame length and channels give the audio clock and the sample entry; the object type
gives the codec string. Frames themselves are never looked into.

The clock of a track counts *core* samples. In HE-AAC (SBR) the decoder puts out twice as many, but
a frame is 1024 core samples at the core rate either way, so its duration is the same.

Accepted are the object types that browsers play: AAC-LC, HE-AAC (SBR), HE-AACv2 (SBR + PS), the
last two signalled in either explicit way. Everything else raises `MediaError` with its number,
which tells a publisher more than a silent player would.

Spec: ISO/IEC 14496-3, 1.6.2.1 (AudioSpecificConfig), 1.6.6 (SBR and PS signalling), 4.4.1
(GASpecificConfig, program_config_element); RFC 6381, 3.3 (codec string).
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from hls.bits import BitReader
from hls.errors import MediaError
from hls.silence import silent_frame

MAX_CONFIG_BYTES: Final = 512
"""The longest legal one, with a program config element and its comment, stays under 400."""

MAX_SAMPLE_RATE: Final = 96_000
"""The highest of table 1.18, and the most that fits a sample entry with room to spare."""

_LC: Final = 2
_SBR: Final = 5
_PS: Final = 29
_ESCAPE: Final = 31
_SYNC_SBR: Final = 0x2B7
_SYNC_PS: Final = 0x548

# Table 1.18, samplingFrequencyIndex 0 to 12; 15 is an explicit 24-bit rate.
_SAMPLE_RATES: Final = (
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000,
    22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
)  # fmt: skip
_EXPLICIT_RATE: Final = 15

# Table 1.19, channelConfiguration 1 to 7 and 11, 12, 14; 0 means a program config element.
_CHANNELS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8, 11: 7, 12: 8, 14: 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class AacConfig:
    """A parsed AudioSpecificConfig; equal configurations have equal bytes."""

    FOURCC: ClassVar[bytes] = b"mp4a"
    """Name of the sample entry."""

    config: bytes
    """The AudioSpecificConfig itself, as it goes into the ``esds`` box."""

    codec_string: str
    """RFC 6381: ``mp4a.40.2`` (LC), ``mp4a.40.5`` (HE), ``mp4a.40.29`` (HE v2)."""

    sample_rate: int
    """Core samples a second, the clock that ``samples_per_frame`` counts; 1 to 96,000."""

    channels: int
    """Channels the decoder puts out, at least 1 (2 for parametric stereo)."""

    samples_per_frame: int
    """Core samples in one frame: 1024, or 960."""

    silence: bytes
    """A frame of silence, see `hls.silence`; empty for a layout of its own."""

    @property
    def record(self) -> bytes:
        """``config``, by the name that it has for every codec."""
        return self.config

    def samples_in(self, frame: bytes | memoryview) -> int:
        """Return ``samples_per_frame``: all frames are of one length, but an empty one is none."""
        return self.samples_per_frame if frame else 0

    @classmethod
    def parse(cls, config: bytes) -> "AacConfig":
        """Read a configuration, as FLV's AAC sequence header carries it.

        Args:
            config: At least 2 bytes, at most `MAX_CONFIG_BYTES`; bytes behind what is known are
                kept in ``config``.

        Raises:
            MediaError: It is truncated, too long, or not of a kind that browsers play.
        """
        if len(config) > MAX_CONFIG_BYTES:
            raise MediaError(f"AAC configuration has {len(config)} bytes")
        bits = BitReader(config, "AAC configuration")
        object_type = _object_type(bits)
        sample_rate = _sample_rate(bits)
        channel_configuration = bits.read(4)
        extension = 0
        if object_type in (_SBR, _PS):  # 1.6.6.1: explicit, hierarchical signalling
            extension = object_type
            _sample_rate(bits)  # what the decoder puts out
            object_type = _object_type(bits)
        if object_type != _LC:
            raise MediaError(f"AAC object type {object_type} is not supported: use AAC-LC")
        samples_per_frame = 960 if bits.flag() else 1024
        if bits.flag():  # dependsOnCoreCoder
            bits.skip(14)
        bits.skip(1)  # extensionFlag: nothing follows it in AAC-LC
        if channel_configuration == 0:
            channels = _program_channels(bits)
        elif channel_configuration in _CHANNELS:
            channels = _CHANNELS[channel_configuration]
        else:
            raise MediaError(f"AAC channel configuration {channel_configuration} is reserved")
        if not extension:
            extension = _backward_compatible_extension(bits)
        if extension == _PS:
            channels = 2
        return cls(
            config=bytes(config),
            codec_string=f"mp4a.40.{extension or object_type}",
            sample_rate=sample_rate,
            channels=channels,
            samples_per_frame=samples_per_frame,
            silence=silent_frame(channel_configuration),
        )


def _object_type(bits: BitReader) -> int:
    """GetAudioObjectType() (table 1.16)."""
    object_type = bits.read(5)
    return 32 + bits.read(6) if object_type == _ESCAPE else object_type


def _sample_rate(bits: BitReader) -> int:
    index = bits.read(4)
    if index == _EXPLICIT_RATE:
        rate = bits.read(24)
    elif index < len(_SAMPLE_RATES):
        rate = _SAMPLE_RATES[index]
    else:
        raise MediaError(f"AAC sampling frequency index {index} is reserved")
    if not 1_000 <= rate <= MAX_SAMPLE_RATE:
        raise MediaError(f"AAC sample rate {rate} Hz is out of range")
    return rate


def _program_channels(bits: BitReader) -> int:
    """Count the channels of a program_config_element (table 4.2), and pass over it."""
    bits.skip(4 + 2 + 4)  # element_instance_tag, object_type, sampling_frequency_index
    front, side, back = bits.read(4), bits.read(4), bits.read(4)
    lfe, data, coupling = bits.read(2), bits.read(3), bits.read(4)
    for mixdown_bits in (4, 4, 3):  # mono, stereo, matrix
        if bits.flag():
            bits.skip(mixdown_bits)
    channels = lfe
    for _ in range(front + side + back):
        channels += 2 if bits.flag() else 1  # a channel pair or a single channel
        bits.skip(4)
    bits.skip(4 * lfe + 4 * data + 5 * coupling)
    bits.align()
    bits.skip(8 * bits.read(8))  # comment
    if channels == 0:
        raise MediaError("AAC program config element has no channel")
    return channels


def _backward_compatible_extension(bits: BitReader) -> int:
    """Return the object type that a sync extension adds (1.6.6.1), or 0; padding adds none."""
    if bits.bits_left < 16 or bits.read(11) != _SYNC_SBR or _object_type(bits) != _SBR:
        return 0
    if not bits.flag():  # sbrPresentFlag
        return 0
    _sample_rate(bits)
    if bits.bits_left >= 12 and bits.read(11) == _SYNC_PS and bits.flag():
        return _PS
    return _SBR
