"""One transcoded rendition, packaged in the source's own parts.

The source's segmenter decides every cut; a `Rung` makes the same parts of other pictures. A part of
the source is a run of *slots*, numbers with a decode time and a duration (`PartLayout`), and its
audio. The encoder's pictures carry the numbers of the slots that they fill, so a rung needs no
clock and no rules of its own::

    source     | 210  211  212  213  214  215, audio | 216 ...   part 7.0, part 7.1
    encoder      210* 211  212  213  214  215          216 ...   * an IDR picture
    half rate    210*  -   212   -   214   -           216 ...   - nothing for this slot

So a part has the same msn, index, start, duration and audio in every rendition, and every picture
is shown at its source's time, to the tick. A slot without a picture lengthens the picture before
it, or, if that is in a part that is out, makes the picture behind it begin earlier (and be shown no
earlier); so decode times are contiguous.

What does not come, because the encoder fell behind, died or was switched off, becomes parts that
are gaps, to the end of the segment: what follows could not be decoded. `lose` says that nothing
more will come, `resume` from which number on something will. The rung begins with the first segment
that it has an IDR picture for; before that it says nothing.

While the source fills parts with audio for want of pictures, a decoder gives back none of those
that it holds to put them in order. So after `MAX_BARE_S` of such parts nothing more is waited for.

Invariants: parts come out in the source's order, each once or (before the start) not at all; parts
that are not gaps can be decoded from their segment's start. Bounds: `MAX_PENDING` events of the
source wait for pictures, then the oldest becomes a gap; `MAX_AHEAD` pictures wait for the source,
then the oldest is lost; and `MAX_BYTES`.

May import `hls`. Spec: draft-pantos-hls-rfc8216bis-22, 4.4.4.7, 4.4.4.9, 6.2.4.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Final, NamedTuple

from hls.epoch import MAX_COMPOSITION_TICKS
from hls.errors import UsageError
from hls.fragment import NON_SYNC_FLAGS, SYNC_FLAGS, FragmentWriter
from hls.init_segment import build_init_segment, describe_init_segment
from hls.media import InitSegment, MediaEvent, Part, PartLayout, Presentation, SegmentEnd
from hls.video import VideoConfig
from native import FragmentSample

if TYPE_CHECKING:
    from hls.audio import AudioConfig

MAX_PENDING: Final = 512
"""Events of the source that wait: some 90 s of parts of 200 ms, far past any patience upstream.
They keep the source's bytes, most of which its own timeline keeps as well."""

MAX_BARE_S: Final = 1.0
"""Parts without pictures, one after the other, behind which no picture from before is awaited. The
source has waited before the first of them, too: `SegmenterSettings.video_patience_s`."""

MAX_AHEAD: Final = 1_024
"""Pictures that wait for the source to end their part. That is no more than the open part, but for
the first segment, which the source gives out as a whole: 12 s at the most."""

MAX_BYTES: Final = 64 * 1024 * 1024
"""Of the pictures that wait, and of those of one segment: as `SegmenterSettings.max_segment_bytes`.
Past it they are lost. No encoder gets there; a process that was taken over might."""

_NEVER: Final = 1 << 63


class CodedPicture(NamedTuple):
    """What the encoder gave for one slot."""

    number: int
    """The slot's, see `Placement`; increasing from one picture to the next."""

    pts_ticks: int
    """When it is shown, in video ticks of the broadcast's media clock."""

    is_idr: bool
    """Decoding can start with it."""

    data: bytes
    """One access unit in sample format; empty where this slot has no picture."""

    config: VideoConfig
    """The decoder configuration that it needs."""


class Rung:
    """Makes the parts of one transcoded rendition.

    Args:
        divisor: Of the source's pictures the rung has one in so many; for the announced frame rate.

    Raises:
        UsageError: The divisor is less than 1.
    """

    def __init__(self, *, divisor: int = 1) -> None:
        if divisor < 1:
            raise UsageError("a rung has one picture in a positive number of them")
        self._divisor = divisor
        self._writer = FragmentWriter()
        self._waiting: deque[MediaEvent] = deque()  # of the source
        self._bare_s = 0.0  # length of its newest parts if they have no pictures
        self._pictures: deque[CodedPicture] = deque()
        self._picture_bytes = 0  # of `_pictures`
        # Slots before `_first` get nothing; those from there to `_next` have what they will get.
        self._first = _NEVER
        self._next = 0
        # The source's tracks, and what we have said of ours.
        self._presentation: Presentation | None = None
        self._has_video = True
        self._audio: AudioConfig | None = None
        self._frame_rate: float | None = None
        self._config: VideoConfig | None = None
        self._init_index = -1
        self._tracks: tuple[VideoConfig | None, AudioConfig | None] | None = None
        self._segment = _OpenSegment(msn=-1)
        self._video_end: int | None = None  # of the last picture that is out; None behind a break
        self.has_begun = False
        """Something has come out."""
        self.discontinuities = 0
        """Discontinuities of the source before the segment that it began with; see `Timeline`."""
        self.gaps = 0
        """Parts that were gaps so far, since it began."""

    @property
    def pending(self) -> int:
        """Parts of the source that wait for pictures."""
        return sum(isinstance(event, Part) for event in self._waiting)

    def follow(self, events: Sequence[MediaEvent]) -> list[MediaEvent]:
        """Take what the source's segmenter gave out, in order.

        Returns:
            What is complete now: at once where nothing is to be waited for.

        Raises:
            UsageError: A part has no layout: it is not the source's.

        Cost: with `push`, a sixth of what the segmenter needs for each part (tests/bench has both).
        """
        waiting = self._waiting
        for event in events:
            if isinstance(event, Part):
                layout = _layout_of(event)
                self._bare_s = 0.0 if layout.durations else self._bare_s + event.duration_s
                if self._bare_s >= MAX_BARE_S:
                    self._next = max(self._next, layout.end)
            waiting.append(event)
        if len(waiting) > MAX_PENDING:
            oldest = islice(waiting, len(waiting) - MAX_PENDING)
            ends = [_layout_of(event).end for event in oldest if isinstance(event, Part)]
            self._first = max([self._first, *ends])
        return self._drain()

    def push(self, picture: CodedPicture) -> list[MediaEvent]:
        """Take the encoder's next picture.

        A number that is not greater than the one before, or that comes before what is awaited, is
        left out; one that jumps ahead leaves the slots between empty.

        Returns:
            What it completed.
        """
        if picture.number < self._next or picture.number < self._first:
            return []
        self._next = picture.number + 1
        if picture.data:
            self._pictures.append(picture)
            self._picture_bytes += len(picture.data)
            while len(self._pictures) > MAX_AHEAD or self._picture_bytes > MAX_BYTES:
                self._pop()
        return self._drain()

    def lose(self) -> list[MediaEvent]:
        """Nothing more comes from the encoder: what waits becomes gaps, and what follows does.

        Returns:
            The gaps.
        """
        return self._start_at(_NEVER)

    def resume(self, number: int) -> list[MediaEvent]:
        """Pictures come again (or for the first time); what waits from before them becomes gaps.

        Args:
            number: Slot of the first, which is an IDR picture and should begin a segment: if not,
                the rest of its segment is mostly a gap.

        Returns:
            The gaps.
        """
        self._next = number  # whatever the encoder before may have claimed
        return self._start_at(number)

    def finish(self) -> list[MediaEvent]:
        """The broadcast is over: end the segment with the parts that it has."""
        self._waiting.clear()
        self.lose()
        segment, self._segment = self._segment, _OpenSegment(msn=-1)
        if not segment.duration_s:
            return []
        return [SegmentEnd(msn=segment.msn, duration_s=segment.duration_s)]

    def _start_at(self, number: int) -> list[MediaEvent]:
        self._first = number
        self._pictures.clear()
        self._picture_bytes = 0
        self._segment.has_picture = False  # so the next one must be an IDR picture
        return self._drain()

    # -- the source's events, one after the other

    def _drain(self) -> list[MediaEvent]:
        events: list[MediaEvent] = []
        waiting = self._waiting
        while waiting:
            event = waiting[0]
            if isinstance(event, Part):
                layout = _layout_of(event)
                if layout.durations and layout.end > max(self._next, self._first):
                    break
                self._make(event, layout, events)
            elif isinstance(event, SegmentEnd):
                self._segment.duration_s = 0.0
                if self.has_begun:
                    events.append(event)
            elif isinstance(event, InitSegment):
                self._has_video = event.width is not None
                self._audio = event.audio
                self._frame_rate = event.frame_rate
            else:
                self._presentation = event
            waiting.popleft()
        return events

    def _make(self, part: Part, layout: PartLayout, events: list[MediaEvent]) -> None:
        """Make one part, of pictures or a gap."""
        if part.index == 0:
            self._segment = _OpenSegment(msn=part.msn)
        segment = self._segment
        pictures = self._take(layout)
        segment.is_broken = segment.is_broken or not self._can_follow(part, layout, pictures)
        if part.index == 0:
            self._begin_segment(pictures, events)
        if not self.has_begun:
            self.discontinuities += part.discontinuity
            return
        if segment.is_broken or part.discontinuity:
            self._video_end = None
        segment.duration_s += part.duration_s
        events.append(self._gap(part) if segment.is_broken else self._write(part, layout, pictures))

    def _take(self, layout: PartLayout) -> list[CodedPicture]:
        """Take the pictures of a part's slots; older ones belong to nobody."""
        taken = []
        while self._pictures and self._pictures[0].number < layout.end:
            picture = self._pop()
            if picture.number >= layout.picture:
                taken.append(picture)
        return taken

    def _pop(self) -> CodedPicture:
        picture = self._pictures.popleft()
        self._picture_bytes -= len(picture.data)
        return picture

    def _can_follow(self, part: Part, layout: PartLayout, pictures: list[CodedPicture]) -> bool:
        """Whether a part can be decoded and seen after what its segment has so far."""
        segment = self._segment
        if not layout.durations:
            return True  # the source has no picture here either
        if layout.picture < self._first:
            return False  # some of it was not to come, or is not waited for any longer
        if not pictures:
            # One picture in so many: a short part may have none. Then there must be sound.
            return segment.has_picture and bool(layout.audio)
        segment.size_bytes += sum(len(picture.data) for picture in pictures)
        if segment.size_bytes > MAX_BYTES:
            return False
        config = pictures[0].config if part.index == 0 else self._config
        if not all(each.config is config or each.config == config for each in pictures):
            return False  # a segment has one init section
        has_picture, segment.has_picture = segment.has_picture, True
        return has_picture or pictures[0].is_idr

    def _begin_segment(self, pictures: list[CodedPicture], events: list[MediaEvent]) -> None:
        """Say what a segment's media needs; the first one that can be decoded begins the rung."""
        if not self.has_begun:
            if self._segment.is_broken or not pictures:
                return
            if self._presentation is None:
                raise UsageError("a part came before its presentation")
            self.has_begun = True
            events.append(self._presentation)
        if pictures:
            self._config = pictures[0].config
        tracks = (self._config if self._has_video else None, self._audio)
        if tracks != self._tracks:
            self._tracks = tracks
            self._init_index += 1
            events.append(self._init_segment(*tracks))

    def _init_segment(self, video: VideoConfig | None, audio: "AudioConfig | None") -> InitSegment:
        rate = self._frame_rate
        return describe_init_segment(
            self._init_index,
            build_init_segment(video, audio),
            video,
            audio,
            round(rate / self._divisor, 3) if rate is not None else None,
        )

    def _gap(self, part: Part) -> Part:
        self.gaps += 1
        return self._part(part, independent=False, data=b"", gap=True)

    def _write(self, part: Part, layout: PartLayout, pictures: list[CodedPicture]) -> Part:
        start = layout.video_time if self._video_end is None else self._video_end
        samples: list[FragmentSample] = []
        is_independent = part.independent and not layout.durations  # True without a video track
        if pictures:
            samples, self._video_end = _samples(layout, pictures, start)
            is_independent = pictures[0].is_idr
        data = self._writer.write(start, samples, layout.audio_time, layout.audio)
        return self._part(part, independent=is_independent, data=data, gap=False)

    def _part(self, part: Part, *, independent: bool, data: bytes, gap: bool) -> Part:
        # By hand: `dataclasses.replace` takes as long as all the rest.
        return Part(
            msn=part.msn,
            index=part.index,
            duration_s=part.duration_s,
            independent=independent,
            data=data,
            init_index=self._init_index,
            discontinuity=part.discontinuity,
            media_time_s=part.media_time_s,
            gap=gap,
        )


@dataclass(slots=True)
class _OpenSegment:
    """What has come of the segment at hand."""

    msn: int
    is_broken: bool = False
    """Something is missing, so nothing more of it can be decoded."""
    has_picture: bool = False
    """A picture can follow that is no IDR picture."""
    size_bytes: int = 0
    """Of its pictures."""
    duration_s: float = 0.0
    """Of the parts that came out, until it has ended."""


def _layout_of(part: Part) -> PartLayout:
    if part.layout is None:
        raise UsageError("a rung follows parts that have a layout")
    return part.layout


def _samples(
    layout: PartLayout, pictures: list[CodedPicture], start: int
) -> tuple[list[FragmentSample], int]:
    """Put pictures, at least one, into their slots.

    The first lasts from ``start``, each to the next one's slot, the last to the end of the part.

    Returns:
        The part's pictures, and where they end.
    """
    slots = list(accumulate(layout.durations, initial=layout.video_time))
    times = [start, *(slots[picture.number - layout.picture] for picture in pictures[1:])]
    ends = [*times[1:], slots[-1]]
    samples = []
    for picture, time, end in zip(pictures, times, ends, strict=True):
        offset = picture.pts_ticks - time
        samples.append(
            FragmentSample(
                picture.data,
                end - time,
                max(-MAX_COMPOSITION_TICKS, min(offset, MAX_COMPOSITION_TICKS)),
                SYNC_FLAGS if picture.is_idr else NON_SYNC_FLAGS,
            )
        )
    return samples, slots[-1]
