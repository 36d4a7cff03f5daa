"""From samples with times to parts: gathers, waits for audio, numbers, writes.

The segmenter decides what a part holds of the video; the audio of a part is all frames that start
before its end. Publishers interleave the two more or less well, so a part that is closed may wait
for its audio for a bounded while, here, in a short queue::

    add_picture ... close(part) --> [closed, closed] --drain--> Part, SegmentEnd
    add_audio  ... ... ... ... ---> audio frames -------^

Audio that comes later still goes into the next part: its decode times say where it belongs, and the
decode times of a track stay contiguous whatever part a frame is in.

Times: "cut ticks" are ticks of the track that is cut (video if there is video), audio times are
samples. Both count from the broadcast's media time zero.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from hls.fragment import SYNC_FLAGS, FragmentWriter
from hls.media import MediaEvent, Part, PartLayout, SegmentEnd
from native import FragmentSample

FOREVER: Final = 1 << 62
"""An audio position or a time that is later than any other."""


@dataclass(slots=True)
class _Closed:
    start: int
    end: int
    ends_segment: bool
    picture: int
    video_time: int
    video: list[FragmentSample]
    independent: bool
    audio_end: int  # its audio starts before this, in audio samples


class PartAssembler:
    """Makes the parts of one rendition.

    Args:
        patience_s: How long, in media time, a closed part waits for audio.
        first_msn: Number of the first segment.
    """

    def __init__(self, patience_s: float, *, first_msn: int = 0) -> None:
        self._patience_s = patience_s
        self._writer = FragmentWriter()
        self._closed: deque[_Closed] = deque()
        self._audio: deque[tuple[int, FragmentSample]] = deque()
        self._video: list[FragmentSample] = []
        self._picture = 0  # number of the first picture in `_video`
        self._video_time = 0
        self._independent = False
        self._msn = first_msn
        self._index = 0
        self._segment_start = 0
        self._init_index = 0
        self._discontinuity = False
        self._timescale = 1
        self._patience = 0
        self._sample_rate = 0
        self._has_video = False

    def begin(
        self,
        *,
        start: int,
        timescale: int,
        sample_rate: int,
        has_video: bool,
        picture: int,
        init_index: int,
        discontinuity: bool,
    ) -> None:
        """Begin an epoch; everything before it has been drained and its segment ended.

        Args:
            start: Where its first part starts, in cut ticks.
            timescale: Cut ticks a second.
            sample_rate: Audio samples a second, 0 without audio.
            has_video: The parts are cut by video.
            picture: Number of the first picture to come.
            init_index: Which init segment its parts need.
            discontinuity: It does not continue what was before.
        """
        self._segment_start = start
        self._timescale = timescale
        self._patience = round(self._patience_s * timescale)
        self._sample_rate = sample_rate
        self._has_video = has_video
        self._picture = picture
        self._init_index = init_index
        self._discontinuity = discontinuity

    @property
    def is_waiting(self) -> bool:
        """Whether a closed part is not out yet."""
        return bool(self._closed)

    def add_picture(self, time: int, sample: FragmentSample) -> None:
        """Add the next picture to the open part; ``time`` is its decode time in cut ticks."""
        if not self._video:
            self._video_time = time
            self._independent = sample.flags == SYNC_FLAGS
        self._video.append(sample)

    def add_audio(self, time: int, sample: FragmentSample) -> None:
        """Queue the next audio frame; ``time`` is its decode time in samples."""
        self._audio.append((time, sample))

    def has_content(self, end: int) -> bool:
        """Return whether the open part, ended at ``end``, would hold anything."""
        if self._video:
            return True
        start_before = self._audio_bound(end)
        claimed = self._closed[-1].audio_end if self._closed else 0
        return any(claimed <= time < start_before for time, _ in self._audio)

    def close(self, start: int, end: int, *, ends_segment: bool) -> None:
        """End the open part; the next `drain` may give it out.

        Args:
            start: Where it starts, in cut ticks.
            end: Where it ends, later than ``start``.
            ends_segment: It is the last of its segment.
        """
        self._closed.append(
            _Closed(
                start=start,
                end=end,
                ends_segment=ends_segment,
                picture=self._picture,
                video_time=self._video_time,
                video=self._video,
                independent=self._independent if self._video else not self._has_video,
                audio_end=self._audio_bound(end),
            )
        )
        self._picture += len(self._video)
        self._video = []

    def drain(self, audio_position: int, video_position: int) -> list[MediaEvent]:
        """Give out the closed parts whose audio is complete, or has been waited for enough.

        Args:
            audio_position: All audio before this has come, in samples; `FOREVER` to wait for none.
            video_position: How far video has come, in cut ticks.
        """
        events: list[MediaEvent] = []
        while self._closed:
            part = self._closed[0]
            if audio_position < part.audio_end and video_position < part.end + self._patience:
                break
            self._closed.popleft()
            self._emit(part, events)
        return events

    def end_segment(self, end: int) -> SegmentEnd:
        """End the open segment, whose parts are all out, at ``end`` in cut ticks."""
        event = SegmentEnd(msn=self._msn, duration_s=(end - self._segment_start) / self._timescale)
        self._msn += 1
        self._index = 0
        self._segment_start = end
        return event

    @property
    def in_segment(self) -> bool:
        """Whether the segment at hand has a part that is out."""
        return self._index > 0

    def take_late_audio(self) -> None:
        """Let the last closed part have all audio that is queued: nothing comes after it."""
        if self._closed:
            self._closed[-1].audio_end = FOREVER

    def drop_audio(self) -> None:
        """Forget queued audio that no part wants: its epoch is over."""
        self._audio.clear()

    def _audio_bound(self, end: int) -> int:
        """First audio sample that is not before ``end``; 0 without audio."""
        return -(-end * self._sample_rate // self._timescale)

    def _emit(self, part: _Closed, events: list[MediaEvent]) -> None:
        queued = self._audio
        audio_time = queued[0][0] if queued else 0
        audio = []
        while queued and queued[0][0] < part.audio_end:
            audio.append(queued.popleft()[1])
        events.append(
            Part(
                msn=self._msn,
                index=self._index,
                duration_s=(part.end - part.start) / self._timescale,
                independent=part.independent,
                data=self._writer.write(part.video_time, part.video, audio_time, audio),
                init_index=self._init_index,
                discontinuity=self._discontinuity,
                media_time_s=part.start / self._timescale,
                layout=PartLayout(
                    picture=part.picture,
                    video_time=part.video_time,
                    durations=[picture.duration for picture in part.video],
                    audio_time=audio_time,
                    audio=audio,
                ),
            )
        )
        self._index += 1
        self._discontinuity = False
        if part.ends_segment:
            events.append(self.end_segment(part.end))
