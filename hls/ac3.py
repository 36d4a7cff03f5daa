"""What the packager must know about AC-3 and E-AC-3: their configuration, read from a frame.

Neither has a sequence header. Every frame says all there is to know, so a configuration is parsed
from the first one, and a bridge that wants to notice a change parses others and compares. What may
change from frame to frame without meaning anything, the bit rate of E-AC-3, is no part of that.

A sample of E-AC-3 is one or more syncframes: of the independent substream, and of those that add
channels to it. AC-3 frames always have 1536 samples; E-AC-3 frames 256, 512, 768 or 1536.

Malformed frames raise `MediaError` where a configuration is wanted and nothing else; a sample
that none can be has 0 samples.

Spec: ETSI TS 102 366 1.4.1, 4.3, 4.4.1, 4.4.2 (syncinfo, bsi), E.1.2, E.1.3 (E-AC-3), F.3 to F.6
(AC3SpecificBox, EC3SpecificBox).
"""

from dataclasses import dataclass, field
from typing import ClassVar, Final, NamedTuple

from hls.bits import BitReader
from hls.errors import MediaError

MAX_FRAMES: Final = 64
"""Syncframes in one sample: six of one block each, for eight programmes, and more than that."""

SAMPLES_PER_FRAME: Final = 1_536
"""Of every AC-3 frame, and of an E-AC-3 sample: six blocks of 256."""

_BLOCK_SAMPLES: Final = 256
_SYNC: Final = b"\x0b\x77"
_RATES: Final = (48_000, 44_100, 32_000)  # table 4.1; 3 is reserved, or half of these in E-AC-3
_CHANNELS: Final = (2, 1, 2, 3, 3, 4, 4, 5)  # table 4.3, by acmod; without the LFE
_MAX_SIZE_CODES: Final = 38  # table 4.13
_MAX_BSID: Final = 8
"""Of AC-3 as it is sent; 9 and 10 are half and quarter rate, which nobody plays."""
_EAC3_BSIDS: Final = range(11, 17)

# Table E.1.4 has 16 places for a dependent substream's channels, chan_loc (F.6.2) these nine; the
# others are those of the independent one. Some are a pair of loudspeakers.
_PLACES: Final = (5, 6, 7, 8, 9, 10, 11, 12, 14)
_PAIRS: Final = frozenset((5, 6, 9, 10, 11))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ac3Config:
    """What an AC-3 frame says of its track."""

    FOURCC: ClassVar[bytes] = b"ac-3"
    """Name of the sample entry."""

    BOX: ClassVar[bytes] = b"dac3"
    """Name of the box in it."""

    record: bytes
    """Equal for equal configurations: the payload of the ``dac3`` box."""

    codec_string: str = "ac-3"

    sample_rate: int
    """Samples a second: 32,000, 44,100 or 48,000."""

    channels: int
    """1 to 6, the LFE with them."""

    samples_per_frame: int = SAMPLES_PER_FRAME

    silence: bytes = b""
    """None: it would take an encoder."""

    @property
    def specific(self) -> bytes:
        """Payload of the ``dac3`` box."""
        return self.record

    @classmethod
    def parse(cls, record: bytes) -> "Ac3Config":
        """Read a frame, or the beginning of one.

        Raises:
            MediaError: It is no AC-3 frame, truncated, or of a kind that nobody plays.
        """
        bits = BitReader(bytes(record[:16]), "AC-3 frame")
        if bits.read(16) != int.from_bytes(_SYNC, "big"):
            raise MediaError("an AC-3 frame does not begin with its syncword")
        bits.skip(16)  # crc1
        rate_code, size_code = bits.read(2), bits.read(6)
        bsid, bsmod, acmod = bits.read(5), bits.read(3), bits.read(3)
        if rate_code == 3 or size_code >= _MAX_SIZE_CODES:
            raise MediaError("an AC-3 frame has a reserved sample rate or size")
        if bsid > _MAX_BSID:
            raise MediaError(f"AC-3 bitstream version {bsid} is not supported")
        if acmod & 1 and acmod != 1:
            bits.skip(2)  # cmixlev
        if acmod & 4:
            bits.skip(2)  # surmixlev
        if acmod == 2:
            bits.skip(2)  # dsurmod
        lfe = bits.read(1)
        fields = rate_code << 5 | bsid
        for value, width in ((bsmod, 3), (acmod, 3), (lfe, 1), (size_code >> 1, 5), (0, 5)):
            fields = fields << width | value
        return cls(
            record=fields.to_bytes(3, "big"),
            sample_rate=_RATES[rate_code],
            channels=_CHANNELS[acmod] + lfe,
        )

    def samples_in(self, frame: bytes | memoryview) -> int:
        """Return how many samples a frame has; 0 if it cannot be one."""
        return SAMPLES_PER_FRAME if frame[:2] == _SYNC else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Eac3Config:
    """What a sample of E-AC-3 says of its track."""

    FOURCC: ClassVar[bytes] = b"ec-3"
    """Name of the sample entry."""

    BOX: ClassVar[bytes] = b"dec3"
    """Name of the box in it."""

    record: bytes
    """Equal for equal configurations: the payload of the ``dec3`` box without its bit rate."""

    specific: bytes = field(compare=False)
    """Payload of the ``dec3`` box, with the bit rate of the frame that was read."""

    codec_string: str = "ec-3"

    sample_rate: int
    """Samples a second: 16,000 to 48,000."""

    channels: int
    """1 to 16, the LFE and those of dependent substreams with them."""

    samples_per_frame: int = SAMPLES_PER_FRAME

    silence: bytes = b""
    """None: it would take an encoder."""

    @classmethod
    def parse(cls, record: bytes) -> "Eac3Config":
        """Read a sample: the independent substream's frame, and those that belong to it.

        Raises:
            MediaError: It is no E-AC-3, or truncated.
        """
        frames = _syncframes(record)
        main, *others = frames
        if main.is_dependent:
            raise MediaError("an E-AC-3 sample begins with a dependent substream")
        dependent = {frame.substream: frame for frame in others if frame.is_dependent}
        added = 0
        for frame in dependent.values():
            added |= frame.chan_loc
        count = min(len(dependent), 15)
        substream = main.rate_code << 22 | main.bsid << 17 | main.acmod << 9 | main.lfe << 8
        substream |= count << 1
        if count:
            tail = (substream << 8 | added).to_bytes(4, "big")  # chan_loc: 9 bits, 1 of them there
        else:
            tail = substream.to_bytes(3, "big")
        size_bytes = sum(frame.size_bytes for frame in frames)
        kbps = size_bytes * 8 * main.sample_rate // (max(1, _duration(frames)) * 1000)
        return cls(
            record=tail,
            specific=(min(kbps, 0x1FFF) << 3).to_bytes(2, "big") + tail,
            sample_rate=main.sample_rate,
            channels=_CHANNELS[main.acmod] + main.lfe + _added_channels(added),
        )

    def samples_in(self, frame: bytes | memoryview) -> int:
        """Return how many samples a sample of the track has; 0 if it cannot be one."""
        try:
            return _duration(_syncframes(frame))
        except MediaError:
            return 0


class _Syncframe(NamedTuple):
    is_dependent: bool
    substream: int
    size_bytes: int
    rate_code: int
    sample_rate: int
    blocks: int
    bsid: int
    acmod: int
    lfe: int
    chan_loc: int
    """Of a dependent substream: which channels it adds, nine bits of F.6.2."""


def _duration(frames: list[_Syncframe]) -> int:
    """Samples of the first programme, which all others last as long as."""
    blocks = sum(f.blocks for f in frames if not f.is_dependent and f.substream == 0)
    return blocks * _BLOCK_SAMPLES


def _syncframes(sample: bytes | memoryview) -> list[_Syncframe]:
    """Read the heads of the syncframes in a sample, at least one."""
    frames: list[_Syncframe] = []
    position = 0
    while position < len(sample) or not frames:
        if len(frames) == MAX_FRAMES:
            raise MediaError(f"an E-AC-3 sample has more than {MAX_FRAMES} frames")
        frame = _syncframe(bytes(sample[position : position + 16]))
        frames.append(frame)
        position += frame.size_bytes
    return frames


def _syncframe(head: bytes) -> _Syncframe:
    """Read syncinfo() and bsi() (E.1.2.1, E.1.2.2) as far as the channel map."""
    bits = BitReader(head, "E-AC-3 frame")
    if bits.read(16) != int.from_bytes(_SYNC, "big"):
        raise MediaError("an E-AC-3 frame does not begin with its syncword")
    stream_type, substream, words = bits.read(2), bits.read(3), bits.read(11) + 1
    rate_code, block_code = bits.read(2), bits.read(2)
    if rate_code == 3:
        if block_code == 3:
            raise MediaError("an E-AC-3 frame has a reserved sample rate")
        sample_rate, blocks = _RATES[block_code] // 2, 6
    else:
        sample_rate, blocks = _RATES[rate_code], (1, 2, 3, 6)[block_code]
    acmod, lfe, bsid = bits.read(3), bits.read(1), bits.read(5)
    if bsid not in _EAC3_BSIDS:
        raise MediaError(f"E-AC-3 bitstream version {bsid} is not supported")
    is_dependent = stream_type == 1
    chan_loc = 0
    if is_dependent:
        for _ in range(1 if acmod else 2):
            bits.skip(5)  # dialnorm
            if bits.flag():
                bits.skip(8)  # compr
        if bits.flag():
            chan_loc = _chan_loc(bits.read(16))
    return _Syncframe(
        is_dependent, substream, 2 * words, rate_code, sample_rate, blocks, bsid, acmod, lfe,
        chan_loc,
    )  # fmt: skip


def _chan_loc(chanmap: int) -> int:
    """Translate chanmap, whose first place is its highest bit, into chan_loc."""
    present = (index for index, at in enumerate(_PLACES) if chanmap >> (15 - at) & 1)
    return sum(1 << index for index in present)


def _added_channels(chan_loc: int) -> int:
    return sum(
        2 if at in _PAIRS else 1 for index, at in enumerate(_PLACES) if chan_loc >> index & 1
    )
