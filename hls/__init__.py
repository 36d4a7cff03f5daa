"""Media to HLS, sans-IO: codec configuration, cutting, fMP4, playlists, a broadcast's timeline.

May import `native` and the standard library's pure parts only: time arrives as an argument, nothing
here opens, reads or waits. Two halves, and `media`, the events between them.

From samples to events: `segmenter` is the door, with its `segmenter_settings`; behind it `h264` and
`aac` (over `bits`) read configurations, `clock` tells media time, `probe` looks at the first
segment, `epoch` follows one stretch of media, `cutter` decides where parts and segments end,
`assembler` gathers them, `fragment` and `init_segment` write them.

From events to what viewers get: `timeline` is the door; `segment` and `playlist` write its lines,
`bandwidth` measures, `multivariant` lists renditions, `request` decides what an answer must wait
for.
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
