"""Media to HLS, sans-IO: codec configuration, cutting, fMP4, playlists, the timeline of a broadcast.

May import `native` and the standard library's pure parts only: time arrives as an argument, nothing
here opens, reads or waits. The media half (`sample`, `h264`, `aac`, `clock`, `cutter`, `segmenter`,
`init_segment`, `fragment`) turns samples into the events of `media`; the playlist half consumes them.
"""

from hls.errors import HlsError, MediaError, UsageError
from hls.media import InitSegment, MediaEvent, Part, Presentation, SegmentEnd
from hls.sample import Sample, TrackKind

__all__ = [
    "HlsError",
    "InitSegment",
    "MediaError",
    "MediaEvent",
    "Part",
    "Presentation",
    "Sample",
    "SegmentEnd",
    "TrackKind",
    "UsageError",
]
