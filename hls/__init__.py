"""Media to HLS, sans-IO: codec configuration, cutting, fMP4, playlists, a broadcast's timeline.

May import `native`, numpy and the standard library's pure parts only: time arrives as an argument,
nothing here opens, reads or waits. Two halves, and `media`, the events between them.

What codecs say of themselves: `video` is the door to `h264`, `hevc`, `av1` and `vp9` (over
`picture` and `colour`), `audio` to `aac`, `opus`, `flac`, `ac3` and `mp3`; `bits` reads for all.
The module of a codec reads its configuration, names it for playlists, and looks into frames as far
as packaging needs it. Everybody else takes any of them.

From samples to events: `segmenter` is the door, with its `segmenter_settings`; behind it `clock`
tells media time, `probe` looks at the first segment, `epoch` follows one stretch of media,
`silence` fills the holes in its audio, `cutter` decides where parts and segments end, `assembler`
gathers them, `fragment` and `init_segment` write them. `sample` is what goes in.

From those events to those of a transcoded rendition: `rung`, with the pictures of any encoder.

From events to what viewers get: `timeline` is the door; `segment` and `playlist` write its lines,
`window` keeps the old ones, `shelf` keeps the bytes, `marker` is a date range, `bandwidth`
measures, `multivariant` lists renditions, `request` decides what an answer must wait for. `iframes`
makes the pictures for trick play, over `demux_fragment`; `ts` makes transport stream segments, over
the same, `ts_packets` and `adts`, and `ts_playlist` lists them.
"""

from hls.aac import AacConfig
from hls.audio import AudioConfig
from hls.av1 import Av1Config
from hls.bandwidth import Bandwidth
from hls.colour import Colour, MasteringDisplay
from hls.errors import HlsError, MediaError, UsageError
from hls.h264 import AvcConfig
from hls.hevc import HevcConfig
from hls.iframes import IFrames
from hls.marker import Marker
from hls.media import InitSegment, MediaEvent, Part, PartLayout, Presentation, SegmentEnd
from hls.multivariant import IFrameInfo, VariantInfo, render_multivariant
from hls.playlist import render_media_playlist
from hls.request import BadRequest, Directives, Ready, Wait, decide, parse_directives
from hls.rung import CodedPicture, Rung
from hls.sample import Placement, Sample, TrackKind
from hls.segmenter import Segmenter
from hls.segmenter_settings import SegmenterSettings
from hls.shelf import Changes, Media
from hls.timeline import Timeline
from hls.timeline_settings import TimelineSettings
from hls.video import VideoConfig

__all__ = [
    "AacConfig",
    "AudioConfig",
    "Av1Config",
    "AvcConfig",
    "BadRequest",
    "Bandwidth",
    "Changes",
    "CodedPicture",
    "Colour",
    "Directives",
    "HevcConfig",
    "HlsError",
    "IFrameInfo",
    "IFrames",
    "InitSegment",
    "Marker",
    "MasteringDisplay",
    "Media",
    "MediaError",
    "MediaEvent",
    "Part",
    "PartLayout",
    "Placement",
    "Presentation",
    "Ready",
    "Rung",
    "Sample",
    "SegmentEnd",
    "Segmenter",
    "SegmenterSettings",
    "Timeline",
    "TimelineSettings",
    "TrackKind",
    "UsageError",
    "VariantInfo",
    "VideoConfig",
    "Wait",
    "decide",
    "parse_directives",
    "render_media_playlist",
    "render_multivariant",
]
