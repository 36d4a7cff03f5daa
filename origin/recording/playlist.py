"""The playlists of a recording: what its index says, as HLS video on demand.

Pure. May import hls and `origin.recording.index`. Spec: draft-pantos-hls-rfc8216bis-22, sections
4.4.3.5 (VOD), 4.4.4.2 (BYTERANGE), 4.4.4.5 (MAP), 4.4.6.2 (STREAM-INF).
"""

from collections.abc import Sequence
from typing import Final

from hls.bandwidth import BandwidthMeter
from hls.multivariant import VariantInfo, render_multivariant
from hls.playlist import format_epoch_ms, format_us
from origin.recording.index import MediaFile

VERSION: Final = 6
"""EXT-X-VERSION: EXT-X-MAP in a playlist of more than I-frames."""

MEDIA_PLAYLIST: Final = "source/playlist.m3u8"


def render_recording(files: Sequence[MediaFile]) -> bytes:
    """Write the media playlist.

    Args:
        files: At least one, each with a segment.
    """
    segments = [segment for media in files for segment in media.segments]
    # Rounded half up, as a segment's duration is compared (4.4.3.1).
    target_s = max(1, *[(one.duration_us + 500_000) // 1_000_000 for one in segments])
    lines = [
        f"#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-TARGETDURATION:{target_s}\n"
        "#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n"
    ]
    if all(segment.independent for segment in segments):
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS\n")
    for position, media in enumerate(files):
        uri = f"../{media.name}"
        for number, segment in enumerate(media.segments):
            # Another init section is another timeline to players: say so, whatever the live
            # playlist did. The first segment of all continues nothing.
            is_new_file = number == 0 and position > 0
            if is_new_file or (segment.discontinuity and (number or position)):
                lines.append("#EXT-X-DISCONTINUITY\n")
            if number == 0:
                lines.append(f'#EXT-X-MAP:URI="{uri}",BYTERANGE="{media.line.init_bytes}@0"\n')
            if number == 0 or segment.discontinuity:
                lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{format_epoch_ms(segment.epoch_ms)}\n")
            lines.append(
                f"#EXTINF:{format_us(segment.duration_us)},\n"
                f"#EXT-X-BYTERANGE:{segment.size_bytes}@{segment.offset}\n{uri}\n"
            )
    lines.append("#EXT-X-ENDLIST\n")
    return "".join(lines).encode()


def render_master(files: Sequence[MediaFile]) -> bytes:
    """Write the multivariant playlist of the one rendition; `files` as for `render_recording`."""
    meter = BandwidthMeter(peak_headroom_percent=100)
    segments = [segment for media in files for segment in media.segments]
    target_s = max(1, *[-(-one.duration_us // 1_000_000) for one in segments])
    for segment in segments:
        meter.add(
            size_bytes=segment.size_bytes,
            duration_ns=segment.duration_us * 1000,
            target_duration_s=target_s,
        )
    largest = max(files, key=lambda media: (media.line.width or 0) * (media.line.height or 0)).line
    variant = VariantInfo(
        uri=MEDIA_PLAYLIST,
        bandwidth_bps=meter.measured.peak_bps,
        average_bandwidth_bps=meter.measured.average_bps,
        codecs=tuple(dict.fromkeys(codec for media in files for codec in media.line.codecs)),
        width=largest.width,
        height=largest.height,
        frame_rate=max(media.line.frame_rate or 0 for media in files) or None,
        independent_segments=all(segment.independent for segment in segments),
        video_range=largest.video_range,
    )
    return render_multivariant([variant], [])
