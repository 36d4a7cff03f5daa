"""From what an encoder gives to what fMP4 wants: configuration records and samples.

Encoders write for the wire: H.264 and H.265 as Annex B, NAL units between start codes, AV1 as
temporal units. An fMP4 track wants lengths in place of start codes, no delimiters, and parameter
sets in a record (avcC, hvcC, av1C) beside the samples instead of among them::

    Annex B          AUD SPS PPS SEI slice slice      ->  record: SPS PPS    sample: SEI slice slice
    temporal unit    TD  SEQ FRAME                    ->  record: SEQ        sample: SEQ FRAME

A `Repackager` follows one encoder and tells when its record changes. The record is best taken from
the packets: every software and hardware encoder repeats its parameter sets at each IDR picture
unless it is asked for a global header, and what is there is what the pictures were coded with. The
extradata of libsvtav1 is *not* that: it is written before the encoder has settled on its tools, and
differs from the sequence header of its own packets. AV1's sync samples must hold a sequence header
anyway, which av1_nvenc leaves out under a global header.

This reads structure only, never a picture. May import `hls` for the parameter sets' syntax. The
input is an encoder's, not a publisher's: what does not fit is a bug or a codec that is not known
here, and raises `BitstreamError` and nothing else.

Spec: ISO/IEC 14496-10, B.1 (Annex B), 7.4.1 (NAL unit types); ISO/IEC 14496-15, 5.3.3.1, 8.3.3.1
(records), 5.3.4.2, 8.3.2 (samples); AV1 Codec ISO Media File Format Binding, 2.3, 2.4.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from hls import h264, hevc
from hls.av1 import OBU_SEQUENCE_HEADER, RECORD_VERSION, obus, parse_sequence_header
from hls.errors import MediaError
from hls.video import parse_video_config

FOURCC: Final[Mapping[str, bytes]] = MappingProxyType(
    {"h264": b"avc1", "hevc": b"hvc1", "av1": b"av01"}
)
"""FFmpeg's canonical codec name -> sample entry. These are the codecs known here."""

MAX_NAL_UNITS: Final = h264.MAX_NAL_UNITS
"""In one packet: what the packager accepts in a sample."""

# By codec: types of the parameter sets, all of which a record needs, in its order.
_PARAMETER_SETS: Final = {
    "h264": (7, 8),  # SPS, PPS
    "hevc": (hevc.NAL_VPS, hevc.NAL_SPS, hevc.NAL_PPS),
    "av1": (OBU_SEQUENCE_HEADER,),
}
# By codec: the access unit delimiter, which fMP4's sample boundaries replace.
_DELIMITERS: Final = {"h264": 9, "hevc": 35}

# AV1's binding, 2.4, wants none of these in a sample: temporal delimiters, redundant frame headers,
# padding.
_UNWANTED_OBUS: Final = frozenset((2, 7, 15))

_START_CODE: Final = b"\0\0\1"

# 14496-15, 5.3.3.1.2: the profiles without chroma format and bit depths behind the PPS.
_PLAIN_PROFILES: Final = frozenset((66, 77, 88))

_ParameterSets: TypeAlias = dict[int, tuple[bytes, ...]]


class BitstreamError(Exception):
    """An encoder's output cannot become samples; the text says what about it."""


class Repackager:
    """Turns one encoder's packets into samples, and keeps their configuration record.

    Args:
        codec: FFmpeg's canonical name, a key of `FOURCC`.
        extradata: The encoder's, if it was opened with a global header. Left out, the first packet
            must bring the parameter sets.

    Raises:
        BitstreamError: There is no such codec, or ``extradata`` holds no usable record.
    """

    __slots__ = ("_codec", "_known", "_record")

    def __init__(self, codec: str, extradata: bytes | None = None) -> None:
        if codec not in FOURCC:
            raise BitstreamError(f"codec {codec} has no sample format here")
        self._codec = codec
        self._known: _ParameterSets = {}
        self._record: bytes | None = None
        if extradata:
            self._known = _sets_of_extradata(codec, extradata)
            self._record = _write_record(codec, self._known)

    @property
    def record(self) -> bytes | None:
        """The record that the latest sample needs; None before there is one.

        Compare it after each `sample`: the encoder's parameter sets may change at any packet.
        """
        return self._record

    def sample(self, packet: bytes) -> bytes:
        """Return a packet in sample format, and take note of the parameter sets in it.

        Args:
            packet: One access unit in Annex B, or one temporal unit.

        Returns:
            New bytes; empty if the packet held nothing but parameter sets and delimiters.

        Raises:
            BitstreamError: The packet is malformed, a part of the parameter sets changed without
                the rest, or there is no record yet.

        Cost: one search for start codes, about 0.8 ns a byte, and one copy; O(OBUs) and one copy
        for AV1. A changed record costs some 0.2 ms.
        """
        data, found = _split(self._codec, packet)
        if any(units != self._known.get(kind) for kind, units in found.items()):
            self._adopt(found)
        if self._record is None:
            raise BitstreamError(f"{self._codec} packet comes before its parameter sets")
        return data

    def _adopt(self, found: _ParameterSets) -> None:
        """Make the record of changed parameter sets."""
        if len(found) == len(_PARAMETER_SETS[self._codec]):
            self._record = _write_record(self._codec, found)
            self._known = found
        elif any(not set(units) <= set(self._known.get(kind, ())) for kind, units in found.items()):
            # Which of the known ones it replaces depends on their ids. No encoder does this.
            raise BitstreamError(f"{self._codec} packet changes a part of its parameter sets")


def record_from_extradata(codec: str, extradata: bytes) -> bytes:
    """Return the decoder configuration record for an encoder's extradata.

    Args:
        codec: FFmpeg's canonical name, a key of `FOURCC`.
        extradata: Parameter sets in Annex B; for AV1 OBUs, or already a record.

    Returns:
        avcC, hvcC or av1C; without SEI, which x265 puts into its extradata (2 KB of options).

    Raises:
        BitstreamError: As for `Repackager`, or ``extradata`` is empty.
    """
    record = Repackager(codec, extradata).record
    if record is None:
        raise BitstreamError(f"{codec} encoder gave no extradata")
    return record


def sample_from_packet(codec: str, data: bytes) -> bytes:
    """Return a packet in sample format, passing over parameter sets in it.

    For a caller that knows that they do not change; a `Repackager` finds out.

    Args:
        codec: FFmpeg's canonical name, a key of `FOURCC`.
        data: One access unit in Annex B, or one temporal unit.

    Raises:
        BitstreamError: There is no such codec, or the packet is malformed.
    """
    if codec not in FOURCC:
        raise BitstreamError(f"codec {codec} has no sample format here")
    return _split(codec, data)[0]


def _split(codec: str, packet: bytes) -> tuple[bytes, _ParameterSets]:
    """Return the sample in a packet, and the parameter sets in it, by type."""
    return _split_obus(packet) if codec == "av1" else _split_annex_b(codec, packet)


def _split_annex_b(codec: str, packet: bytes) -> tuple[bytes, _ParameterSets]:
    parameter_sets = _PARAMETER_SETS[codec]
    delimiter = _DELIMITERS[codec]
    found: _ParameterSets = {}
    pieces: list[bytes | memoryview] = []
    view = memoryview(packet)
    for start, end in _nal_units(packet):
        kind = packet[start] & 0x1F if codec == "h264" else packet[start] >> 1 & 0x3F
        if kind in parameter_sets:
            found[kind] = (*found.get(kind, ()), packet[start:end])
        elif kind != delimiter:
            pieces += ((end - start).to_bytes(4, "big"), view[start:end])
    return b"".join(pieces), found


def _nal_units(packet: bytes) -> list[tuple[int, int]]:
    """Return where the NAL units of an Annex B byte stream begin and end, empty ones left out."""
    start = packet.find(_START_CODE)
    if start < 0 or packet.count(0, 0, start) != start:
        raise BitstreamError("a packet does not begin with a start code")
    units = []
    while start >= 0:
        start += len(_START_CODE)
        following = packet.find(_START_CODE, start)
        end = following if following >= 0 else len(packet)
        # B.1.1: zeros behind a unit are no part of it, nor is the first byte of a long start code.
        while end > start and not packet[end - 1]:
            end -= 1
        if end > start:
            units.append((start, end))
        if len(units) > MAX_NAL_UNITS:
            raise BitstreamError(f"a packet has more than {MAX_NAL_UNITS} NAL units")
        start = following
    return units


def _split_obus(packet: bytes) -> tuple[bytes, _ParameterSets]:
    found: _ParameterSets = {}
    pieces = []
    view = memoryview(packet)
    try:
        for obu in obus(packet):
            if obu.kind == OBU_SEQUENCE_HEADER:
                found[obu.kind] = (packet[obu.payload : obu.end],)
            if obu.kind not in _UNWANTED_OBUS:
                pieces.append(view[obu.start : obu.end])
    except MediaError as error:
        raise BitstreamError(f"av1 packet: {error}") from error
    return b"".join(pieces), found


def _sets_of_extradata(codec: str, extradata: bytes) -> _ParameterSets:
    """Return all parameter sets, or raise `BitstreamError`."""
    if codec == "av1" and extradata[0] == RECORD_VERSION:
        extradata = extradata[4:]
    _, found = _split(codec, extradata)
    if len(found) < len(_PARAMETER_SETS[codec]):
        raise BitstreamError(f"{codec} extradata lacks a parameter set")
    return found


def _write_record(codec: str, sets: _ParameterSets) -> bytes:
    """Return the record for a full set, which the packager is known to accept."""
    try:
        record = _RECORD_WRITERS[codec](sets)
        parse_video_config(FOURCC[codec], record)
    except MediaError as error:
        raise BitstreamError(f"{codec} parameter sets: {error}") from error
    except (OverflowError, ValueError) as error:
        raise BitstreamError(f"{codec} parameter sets do not fit a record: {error}") from error
    return record


def _array(units: tuple[bytes, ...]) -> bytes:
    return b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)


def _write_avc_record(sets: _ParameterSets) -> bytes:
    """AVCDecoderConfigurationRecord (14496-15, 5.3.3.1.2), with 4-byte lengths."""
    sps_units, pps_units = sets[7], sets[8]
    sps = h264.parse_sps(sps_units[0])
    extension = b""
    if sps.profile not in _PLAIN_PROFILES:
        depths = (sps.bit_depth_luma - 8, sps.bit_depth_chroma - 8)
        extension = bytes((0xFC | sps.chroma_format, *(0xF8 | _field(d, 3) for d in depths), 0))
    return b"".join(
        (
            b"\1",
            sps_units[0][1:4],
            bytes((0xFC | 3, 0xE0 | _field(len(sps_units), 5))),
            _array(sps_units),
            bytes((len(pps_units),)),
            _array(pps_units),
            extension,
        )
    )


def _write_hevc_record(sets: _ParameterSets) -> bytes:
    """HEVCDecoderConfigurationRecord (14496-15, 8.3.3.1.2), with 4-byte lengths.

    Left unsaid, as allowed: spatial segmentation, parallelism, average and constant frame rate.
    """
    sps = hevc.parse_sps(sets[hevc.NAL_SPS][0])
    return b"".join(
        (
            b"\1",
            sps.profile_tier_level,
            struct.pack(">HB", 0xF000, 0xFC),
            bytes((0xFC | sps.chroma_format,)),
            bytes((0xF8 | _field(sps.bit_depth_luma - 8, 3),)),
            bytes((0xF8 | _field(sps.bit_depth_chroma - 8, 3),)),
            struct.pack(">HB", 0, sps.sub_layers << 3 | sps.temporal_id_nesting << 2 | 3),
            bytes((len(sets),)),
            # array_completeness: the sample entry is hvc1, so no sample holds any of these.
            *(
                bytes((0x80 | kind,)) + len(sets[kind]).to_bytes(2, "big") + _array(sets[kind])
                for kind in _PARAMETER_SETS["hevc"]
            ),
        )
    )


def _write_av1_record(sets: _ParameterSets) -> bytes:
    """AV1CodecConfigurationRecord (AV1's binding, 2.3.3), the sequence header in it."""
    (payload,) = sets[OBU_SEQUENCE_HEADER]
    header = parse_sequence_header(payload)
    return (
        bytes(
            (
                RECORD_VERSION,
                header.profile << 5 | header.level,
                header.tier << 7
                | header.high_bit_depth << 6
                | header.twelve_bit << 5
                | header.monochrome << 4
                | header.subsampling_x << 3
                | header.subsampling_y << 2
                | header.chroma_sample_position,
                0,  # initial_presentation_delay: not said
                OBU_SEQUENCE_HEADER << 3 | 2,  # an OBU header with a size
            )
        )
        + _leb128(len(payload))
        + payload
    )


_RECORD_WRITERS: Final = {
    "h264": _write_avc_record,
    "hevc": _write_hevc_record,
    "av1": _write_av1_record,
}


def _field(value: int, bits: int) -> int:
    """Return ``value``, which a field of so many bits can hold."""
    if value >> bits:
        raise ValueError(f"{value} takes more than {bits} bits")
    return value


def _leb128(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
