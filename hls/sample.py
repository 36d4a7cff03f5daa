"""Coded pictures and audio frames as they enter the packager.

A `Sample` is one access unit with the publisher's own stamps: signed milliseconds, unwrapped
(RTMP's 32 bits are gone), of an arbitrary origin, as jittery as the publisher made them.
`hls.clock` turns them into ticks. It is a tuple because one is made for every message of every
publisher: a frozen dataclass costs four times as much to make.
"""

import enum
from typing import NamedTuple


class TrackKind(enum.Enum):
    """What a track carries; a rendition has at most one track of each kind."""

    VIDEO = "video"
    AUDIO = "audio"


class Sample(NamedTuple):
    """One access unit: as an MP4 sample of its codec has it, or one raw audio frame."""

    kind: TrackKind
    """Which of the two tracks it belongs to."""

    dts_ms: int
    """Decode time on the publisher's clock, unwrapped, signed."""

    pts_ms: int
    """Presentation time on the same clock; equals dts_ms without reordering and for audio."""

    keyframe: bool
    """The publisher's claim. For video the bitstream decides; for audio it is ignored."""

    data: bytes | memoryview
    """The coded bytes. The segmenter keeps a reference until the sample's part is written, and each
    rung keeps audio until its own is, so the memory behind a view must stay valid and unchanged."""


class Placement(NamedTuple):
    """What the packager made of a picture, for whoever encodes the same picture again."""

    number: int
    """Consecutive in decode order from 0; a number is never used again within a broadcast."""

    pts_ticks: int
    """When it is shown, in ticks of the video track on the broadcast's media clock."""

    begins_segment: bool
    """A segment begins with it. While the first segment is probed: it may turn out so."""

    is_idr: bool
    """A decoder can start with it."""

    begins_epoch: bool
    """It is an IDR picture that does not continue the pictures before it."""
