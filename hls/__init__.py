"""Media to HLS, sans-IO: codec configuration, cutting, fMP4, playlists, a broadcast's timeline.

May import `native` and the standard library's pure parts only: time arrives as an argument, nothing
here opens, reads or waits. The media half (`sample`, `h264`, `aac`, `clock`, `cutter`, `segmenter`,
`init_segment`, `fragment`) turns samples into the events of `media`; the playlist half
(`timeline`, `segment`, `playlist`, `bandwidth`, `multivariant`, `request`) turns those into what
viewers get, and when.
"""

from hls.aac import AacConfig
from hls.bandwidth import Bandwidth
from hls.errors import HlsError, MediaError, UsageError
from hls.h264 import AvcConfig
from hls.media import InitSegment, MediaEvent, Part, Presentation, SegmentEnd
from hls.multivariant import VariantInfo, render_multivariant
from hls.playlist import render_media_playlist
from hls.request import BadRequest, Directives, Ready, Wait, decide, parse_directives
from hls.sample import Sample, TrackKind
from hls.segmenter import Segmenter
from hls.segmenter_settings import SegmenterSettings
from hls.timeline import Changes, Media, Timeline, TimelineSettings

__all__ = [
    "AacConfig",
    "AvcConfig",
    "BadRequest",
    "Bandwidth",
    "Changes",
    "Directives",
    "HlsError",
    "InitSegment",
    "Media",
    "MediaError",
    "MediaEvent",
    "Part",
    "Presentation",
    "Ready",
    "Sample",
    "SegmentEnd",
    "Segmenter",
    "SegmenterSettings",
    "Timeline",
    "TimelineSettings",
    "TrackKind",
    "UsageError",
    "VariantInfo",
    "Wait",
    "decide",
    "parse_directives",
    "render_media_playlist",
    "render_multivariant",
]
