"""Judges the multivariant playlist by the media behind it: every attribute is measured again.

CODECS is rebuilt from the initialization section, RESOLUTION and FRAME-RATE from sample entry and
durations, the bit rates from the bytes of segments. Shares no code with what it judges.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from mp4_boxes import Box, Init, full_box
from multivariant_reader import MultivariantPlaylist, Variant
from rendition_media import VIDEO, Rendition

OVERSTATED = 1.6
"""How far an announced bit rate may be above the measured one of an even source: the peak's
headroom (1.25), and as much again for a peak that was not seen."""


def codecs_of(init: Init) -> set[str]:
    """The RFC 6381 string of every track."""
    return {_codec(track.entry) for track in init.tracks}


def _codec(entry: Box) -> str:
    (record,) = [child for child in entry.children if child.kind in _READERS]
    return _READERS[record.kind](entry, record)


def _avc(entry: Box, record: Box) -> str:
    return f"{entry.kind.decode()}.{record.payload[1:4].hex()}"


def _aac(entry: Box, record: Box) -> str:
    """ES_Descriptor -> DecoderConfigDescriptor -> AudioSpecificConfig (ISO/IEC 14496-1, 7.2.6)."""
    _, _, payload = full_box(record)
    es = _descriptor(payload, 0x03)
    assert es[2] == 0, "an ES_Descriptor with options"
    config = _descriptor(es[3:], 0x04)
    object_type = config[0]
    specific = _descriptor(config[13:], 0x05)
    audio_type = specific[0] >> 3
    if audio_type == 31:
        audio_type = 32 + ((specific[0] & 7) << 3 | specific[1] >> 5)
    return f"{entry.kind.decode()}.{object_type:x}.{audio_type}"


def _descriptor(data: bytes, tag: int) -> bytes:
    assert data[0] == tag, f"descriptor {data[0]:#x} where {tag:#x} was expected"
    size, position = 0, 1
    while True:
        byte = data[position]
        size, position = size << 7 | byte & 0x7F, position + 1
        if not byte & 0x80:
            return data[position : position + size]


_READERS = {b"avcC": _avc, b"esds": _aac}


def peak_bps(rendition: Rendition) -> float:
    """The highest bit rate of any run of whole segments of 0.5 to 1.5 target durations."""
    sizes = [
        (len(data) * 8, duration_s)
        for _, (_, duration_s, data) in sorted(rendition.harvest.segments.items())
    ]
    shortest_s, longest_s = rendition.target_duration_s * 0.5, rendition.target_duration_s * 1.5
    peak = 0.0
    for first in range(len(sizes)):
        bits, seconds = 0, 0.0
        for size_bits, duration_s in sizes[first:]:
            bits, seconds = bits + size_bits, seconds + duration_s
            if seconds > longest_s:
                break
            if seconds >= shortest_s:
                peak = max(peak, bits / seconds)
    return peak


def mean_bps(rendition: Rendition) -> float:
    """All bits of whole segments over all their time."""
    segments = rendition.harvest.segments.values()
    bits = sum(len(data) * 8 for _, _, data in segments)
    return bits / sum(duration_s for _, duration_s, _ in segments)


def frame_rate(rendition: Rendition) -> float:
    """Pictures a second, over all whole segments."""
    durations = [
        float(sample.duration) for segment in rendition.whole_segments() for sample in segment.video
    ]
    return 1 / fmean(durations)


def judge_variants(
    playlist: MultivariantPlaylist,
    renditions: Sequence[Rendition],
    *,
    sizes: Mapping[str, tuple[int, int]],
    even: bool = True,
) -> list[str]:
    """What a multivariant playlist says that is not so; an empty list is a pass.

    Args:
        playlist: Its newest version.
        renditions: All of them, in the order in which it must list them.
        sizes: RESOLUTION of each.
        even: The source's pictures are equally hard to encode, so that bit rates are not announced
            much too high, and its rate is constant.
    """
    names = tuple(rendition.name for rendition in renditions)
    if playlist.names != names:
        return [f"MV-02 the multivariant playlist lists {playlist.names}, not {names}"]
    faults = []
    for variant, rendition in zip(playlist.variants, renditions, strict=True):
        found = _judge_tracks(variant, rendition, sizes[rendition.name])
        found += _judge_rates(variant, rendition, even=even)
        faults += [f"{fault} ({rendition.name})" for fault in found]
    return faults


def _judge_tracks(variant: Variant, rendition: Rendition, size: tuple[int, int]) -> list[str]:
    faults = []
    codecs = codecs_of(rendition.init)
    if set(variant.codecs) != codecs or len(variant.codecs) != len(codecs):
        faults.append(f"MV-03 CODECS {variant.codecs}, the tracks are {sorted(codecs)}")
    shown = [track.display_size for track in rendition.init.tracks if track.handler == VIDEO]
    if shown != [size] or variant.size != size:
        faults.append(f"MV-04 RESOLUTION {variant.size}, shown at {shown}, {size} expected")
    return faults


def _judge_rates(variant: Variant, rendition: Rendition, *, even: bool) -> list[str]:
    faults = []
    measured, announced = frame_rate(rendition), variant.frame_rate
    if announced is None or announced < measured * 0.995:
        faults.append(f"MV-05 FRAME-RATE {announced}, measured {measured:.3f}")
    elif even and announced > measured * 1.005:
        faults.append(f"MV-05 FRAME-RATE {announced}, only {measured:.3f} measured")
    peak, mean = peak_bps(rendition), mean_bps(rendition)
    most = OVERSTATED if even else float("inf")
    if not peak <= variant.bandwidth_bps <= most * peak:
        faults.append(f"MV-06 BANDWIDTH {variant.bandwidth_bps}, measured {peak:.0f}")
    if not mean <= 1.1 * variant.average_bandwidth_bps <= 1.1 * most * mean:
        faults.append(f"MV-07 AVERAGE-BANDWIDTH {variant.average_bandwidth_bps}, {mean:.0f}")
    return faults
