"""What playlists say of a transport stream rendition: a plain live playlist, and a variant.

For players without fragmented MP4, which are old: protocol version 3, complete segments only, no
tag of Low-Latency HLS, no EXT-X-MAP. Segments have the numbers, durations, dates and
discontinuities of the fMP4 playlist beside it. What is missing there, or cannot be carried in a
transport stream, is a gap here.

Callers keep the lines of a segment; a version of the playlist is a join.

May import `hls`. Spec: draft-pantos-hls-rfc8216bis-22, sections 4.4.1 to 4.4.4, 8.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from hls.adts import HEADER_BYTES
from hls.clock import VIDEO_TIMESCALE
from hls.multivariant import VariantInfo
from hls.playlist import segment_closing, segment_opening
from hls.segment import Segment
from hls.ts import MAX_AUDIO_UNIT_TICKS
from hls.ts_packets import BODY_BYTES, COUNTER_STEPS, PACKET_BYTES

PROTOCOL_VERSION = 3
"""EXT-X-VERSION: durations that are not whole seconds need it, and nothing here needs more."""

_UNIT_OVERHEAD_BYTES: Final = 19 + 8 + 6 + 183
"""Most that is added to a picture or to some audio: PES header, clock, delimiter, stuffing."""

_AUDIO_UNITS_PER_SECOND: Final = 2 * (VIDEO_TIMESCALE // MAX_AUDIO_UNIT_TICKS)

_SECOND_OVERHEAD_BYTES: Final = 2 * COUNTER_STEPS * BODY_BYTES + 2 * BODY_BYTES + 100 * HEADER_BYTES
"""Most that is added to a second: two PIDs rounded up to 16 packets, the tables, ADTS headers."""


def ts_variant(twin: VariantInfo, uri: str) -> VariantInfo:
    """Describe a rendition as a transport stream.

    Args:
        twin: The same rendition as fragmented MP4.
        uri: Of its TS media playlist, relative to the multivariant playlist.

    Returns:
        The same with greater bit rates: a 44th for packet headers, and up to 150 kbit/s at 30
        pictures a second; half as much is taken for the average.
    """
    units = _AUDIO_UNITS_PER_SECOND + math.ceil(twin.frame_rate or 0)
    overhead_bps = 8 * (units * _UNIT_OVERHEAD_BYTES + _SECOND_OVERHEAD_BYTES)
    return replace(
        twin,
        uri=uri,
        bandwidth_bps=_packetized(twin.bandwidth_bps + overhead_bps),
        average_bandwidth_bps=_packetized(twin.average_bandwidth_bps + overhead_bps // 2),
    )


def _packetized(payload_bps: int) -> int:
    return -(-payload_bps * PACKET_BYTES // BODY_BYTES)


def ts_segment_lines(segment: Segment, *, uri: str, gap: bool) -> bytes:
    """Render the lines of a complete segment.

    Args:
        segment: As the fMP4 playlist lists it.
        uri: Of the TS segment.
        gap: It cannot be had as a transport stream.
    """
    opening = segment_opening(
        discontinuity=segment.discontinuity, map_uri=None, epoch_ms=segment.epoch_ms
    )
    return opening + segment_closing(
        duration_us=segment.duration_us, uri=uri, gap=gap or segment.gap
    )


def render_ts_playlist(
    lines: Iterable[bytes],
    *,
    target_duration_s: int,
    media_sequence: int,
    discontinuity_sequence: int,
    independent_segments: bool,
    ended: bool,
) -> bytes:
    """Render the media playlist.

    Args:
        lines: Of every listed segment, oldest first.
        target_duration_s: EXT-X-TARGETDURATION.
        media_sequence: Of the first segment.
        discontinuity_sequence: Discontinuities before the first segment.
        independent_segments: Every segment of the rendition can be decoded alone.
        ended: Nothing will be added.
    """
    header = (
        "#EXTM3U\n"
        f"#EXT-X-VERSION:{PROTOCOL_VERSION}\n"
        + ("#EXT-X-INDEPENDENT-SEGMENTS\n" if independent_segments else "")
        + f"#EXT-X-TARGETDURATION:{target_duration_s}\n"
        f"#EXT-X-MEDIA-SEQUENCE:{media_sequence}\n"
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuity_sequence}\n"
    )
    return b"".join([header.encode(), *lines, b"#EXT-X-ENDLIST\n" if ended else b""])
