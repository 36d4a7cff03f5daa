"""The words between the segmenter and everything that serves viewers.

The segmenter turns samples into a stream of these events; the timeline, the response table and the
recorder consume them. They are plain immutable values: no behaviour, no reference back to their
maker, safe to share between tasks and to keep for as long as anybody serves them.

Order, which consumers may rely on (every bullet holds per rendition)::

    Presentation                    once, before anything else
    InitSegment                     before the first part that names its index
    (Part+ SegmentEnd)*             parts of one msn in index order from 0, then the end of that msn

* A part that is a gap has no bytes; a rung has such parts where its encoder gave nothing in time.
* ``SegmentEnd`` comes in the same result list as the last ``Part`` of its segment, right behind it.
  Only when a broadcast ends or breaks just between two parts does it come alone.
* msn grows by one from segment to segment, across discontinuities and changes of configuration.
* The bytes of a segment are the concatenation of its parts' bytes.
* The duration of a segment is the exact sum of its parts' durations, before either is rounded.

Spec: draft-pantos-hls-rfc8216bis-22, sections 3.2, 4.4.3.1, 4.4.3.7, 4.4.4.9.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from hls.colour import SDR
from native import FragmentSample

if TYPE_CHECKING:
    from hls.audio import AudioConfig
    from hls.video import VideoConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """The promises that hold for the life of a broadcast; emitted once, before everything else."""

    target_duration_s: int
    """EXT-X-TARGETDURATION: no segment's duration, rounded half up, is greater. At least 1."""

    part_target_s: float
    """PART-TARGET, in whole milliseconds: no part's duration is greater."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InitSegment:
    """A Media Initialization Section (EXT-X-MAP): ``ftyp`` + ``moov``."""

    index: int
    """Number of this section, 0, 1, 2 ... within a rendition; its bytes never change."""

    data: bytes

    codecs: tuple[str, ...]
    """RFC 6381 strings of its tracks, video first: ``("avc1.64001f", "mp4a.40.2")``."""

    width: int | None
    """Display width in pixels after cropping and sample aspect ratio; None without video."""

    height: int | None
    """Display height in pixels after cropping; None without video."""

    frame_rate: float | None
    """Nominal frames per second; None without video or when nobody can tell."""

    audio: "AudioConfig | None" = None
    """Configuration of its audio track, for the rungs, which carry the same audio."""

    video: "VideoConfig | None" = None
    """Configuration of its video track, for what shows pictures alone."""

    @property
    def video_range(self) -> str | None:
        """VIDEO-RANGE of its video; None without video."""
        if self.video is None:
            return None
        return self.video.colour.video_range if self.video.colour is not None else SDR


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLayout:
    """What the source's part was made of: enough to make the same part of another rendition.

    Each picture is a *slot*: a number, a decode time and a duration. `hls.rung` fills the slots
    with its own pictures and takes the audio as it is.
    """

    picture: int
    """Number of the first picture (`Placement`); those behind it are consecutive."""

    video_time: int
    """Decode time of the first picture, in video ticks."""

    durations: Sequence[int]
    """Of the pictures in decode order, in video ticks; may be empty."""

    audio_time: int
    """Decode time of the first audio frame, in samples."""

    audio: Sequence[FragmentSample]
    """The audio frames; may be empty."""

    @property
    def end(self) -> int:
        """Number behind the last picture's."""
        return self.picture + len(self.durations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A Partial Segment (EXT-X-PART): one CMAF chunk, ``moof`` + ``mdat``."""

    msn: int
    """Media Sequence Number of the segment that it belongs to."""

    index: int
    """Part index in its segment, from 0."""

    duration_s: float
    """Sum of its samples' durations (video if there is video): > 0, <= PART-TARGET."""

    independent: bool
    """True if its first video sample is an IDR picture; always True without video."""

    data: bytes

    init_index: int
    """Index of the `InitSegment` that a player needs for it."""

    discontinuity: bool
    """True on part 0 of a segment that does not continue the one before it, else False."""

    media_time_s: float
    """Decode time of its first sample on the broadcast's media clock, whose zero is the first one.

    The clock runs through discontinuities, so wall clock = start of the broadcast + this.
    """

    gap: bool = False
    """There is no media for this time (GAP=YES); ``data`` is empty."""

    layout: PartLayout | None = field(default=None, compare=False, repr=False)
    """What it is made of, where somebody may want to know: in the source's parts only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentEnd:
    """A Media Segment is complete (EXTINF); follows its last `Part` in the same result list."""

    msn: int

    duration_s: float
    """Sum of its parts' durations, in seconds, not rounded."""


MediaEvent: TypeAlias = Presentation | InitSegment | Part | SegmentEnd
