"""One stretch of media without a discontinuity: samples of both tracks, cut into parts.

Every sample that comes here continues the publisher's clock; the `Cutter` has the lengths to keep.
How the shapes of live media are met:

* A picture's duration is known when the next one comes; so the newest picture is *pending*.
* A gap in the video, or jitter beyond the slack of PART-TARGET: decode times are pulled forward to
  where the open part must end, and composition offsets grow by the same, so pictures are shown when
  the publisher said (`Cutter.latest_end`). Decode times stay contiguous, parts stay short.
* A gap longer than video_patience_s while audio goes on: parts of audio alone fill it. The pending
  picture ends with the first of them; the next picture's *decode* time follows it contiguously, and
  its duration, not a hole, spans the gap. Parts come on time, which players need most.
* Equal and backward stamps: decode times step on by a millisecond until the stamps are ahead again.
* Audio: see `AudioClock`; what starts before a part's end belongs to it, see `PartAssembler`.
* No audio for silence_patience_s while video goes on, or a hole in it: frames of silence take its
  place (`hls.silence`), for a muxed player stalls where one track ends. Audio that comes for that
  time after all is left out. Where there is no such frame, the next one lasts longer instead.

Invariants: decode times of a track are contiguous and durations positive, whatever the stamps; no
part is longer than PART-TARGET (but see `hls.cutter`), no segment than TARGETDURATION allows.
"""

from typing import Final

from hls.aac import AacConfig
from hls.assembler import FOREVER, PartAssembler
from hls.audio import AudioConfig
from hls.clock import TICKS_PER_MS, VIDEO_TIMESCALE, AudioClock, MediaClock
from hls.cutter import MIN_STEP_TICKS, Cut, CutPlan, Cutter
from hls.errors import MediaError
from hls.fragment import NON_SYNC_FLAGS, SYNC_FLAGS
from hls.media import MediaEvent
from hls.probe import SAMPLE_OVERHEAD_BYTES
from hls.sample import Sample
from hls.segmenter_settings import SegmenterSettings
from native import FragmentSample

MAX_COMPOSITION_TICKS: Final = 10 * VIDEO_TIMESCALE
"""Composition offsets beyond ten seconds are garbage; they are cut down to this."""

_NOTHING: Final[list[MediaEvent]] = []  # shared by all calls that yield nothing; never changed


class Epoch:
    """Cuts the media of one epoch.

    Args:
        plan: The lengths to keep; of the video track if ``has_video``, else of the audio track.
        parts: Takes what is cut; its last segment has been ended.
        clock: Says where stamps are in media time; already started for this epoch.
        audio: Configuration of the audio track, None without audio.
        has_video: There is a video track, and the first sample to come is an IDR picture.
        picture: Number of the first picture to come.
        start_ms: Media time of the first sample to come.
        init_index: Which init segment describes its tracks.
        discontinuity: It does not continue what was published before.
        settings: Patience and bounds.
        segment_bytes: Bytes that count as the first segment's although they were before it.
    """

    def __init__(
        self,
        *,
        plan: CutPlan,
        parts: PartAssembler,
        clock: MediaClock,
        audio: AudioConfig | None,
        has_video: bool,
        picture: int,
        start_ms: int,
        init_index: int,
        discontinuity: bool,
        settings: SegmenterSettings,
        segment_bytes: int = 0,
    ) -> None:
        start = -(-start_ms * plan.timescale // 1000)
        rate = audio.sample_rate if audio is not None else 0
        parts.begin(
            start=start,
            timescale=plan.timescale,
            sample_rate=rate,
            has_video=has_video,
            picture=picture,
            init_index=init_index,
            discontinuity=discontinuity,
        )
        self._plan = plan
        self._parts = parts
        self._media_ms = clock.media_ms
        self._audio_clock: AudioClock | None = None
        self._silence = b""
        # How long a frame is, where they are not all of one length.
        self._samples_in = None if isinstance(audio, AacConfig | None) else audio.samples_in
        if audio is not None:
            frame = audio.samples_per_frame
            self._audio_clock = AudioClock(rate, frame, settings.audio_drift_s)
            self._silence = audio.silence
        self._has_video = has_video
        self._max_segment_bytes = settings.max_segment_bytes
        self._start = start
        self._cutter = Cutter(plan, start)
        self.segments = 0
        """Segments that ended so far."""
        self.segment_bytes = segment_bytes
        """Bytes of the open segment, or of the last one if the end of the epoch cut it short."""
        # The pending picture; None after a gap that audio has filled.
        self._pending: Sample | None = None
        self._pending_flags = SYNC_FLAGS
        self._position = start  # where the pending picture falls on the timeline of the parts
        self._video_time = start  # its decode time: the same, except after a filled gap
        # How far audio may lead an open part's start before the part goes out without a picture.
        patience_ms = round(settings.video_patience_s * 1000)
        self._max_lead = plan.part_target + patience_ms * TICKS_PER_MS
        # Without video it is the cutter that limits an audio frame, part by part.
        self._longest_frame = plan.part_target * rate // plan.timescale
        self._max_absence = round(settings.max_jump_s * VIDEO_TIMESCALE)
        self._has_audio_joined = False
        # Where video had come to with the last audio frame, and how much further it may go.
        self._heard_at = start
        patience = round(settings.silence_patience_s * plan.timescale)
        self._silence_patience = max(patience, 2 * plan.interval)
        self._is_silent = False

    @property
    def forced_cuts(self) -> int:
        """Segments so far that had to begin without an IDR picture."""
        return self._cutter.forced_cuts

    @property
    def duration_s(self) -> float:
        """Length of its parts so far."""
        return (self._cutter.part_start - self._start) / self._plan.timescale

    @property
    def end_ms(self) -> int:
        """Media time that all samples so far end by, after `finish`."""
        end_ms = -(-self._cutter.part_start * 1000 // self._plan.timescale)
        if self._audio_clock is not None:
            clock = self._audio_clock
            end_ms = max(end_ms, -(-clock.position * 1000 // clock.sample_rate))
        return end_ms

    def has_lost_video(self, stamp_ms: int) -> bool:
        """Return whether a picture with this stamp comes too late to continue the epoch."""
        if self._pending is not None:
            return False
        return self._media_ms(stamp_ms) * TICKS_PER_MS > self._video_time + self._max_absence

    def place_first_picture(self, sample: Sample) -> None:
        """Take the IDR picture that the epoch begins with."""
        self._count(sample)
        self._pending = sample

    def place_picture(self, sample: Sample, *, is_idr: bool) -> list[MediaEvent]:
        """Take the next picture, and cut before it if a cut is due.

        Args:
            sample: The picture.
            is_idr: Decoding can start with it.

        Raises:
            MediaError: The open segment has become too large.
        """
        self._count(sample)
        cutter = self._cutter
        parts = self._parts
        wanted = self._media_ms(sample.dts_ms) * TICKS_PER_MS
        latest = cutter.latest_end(wanted)
        end = min(max(wanted, self._position + MIN_STEP_TICKS), latest)
        pending = self._pending
        if pending is not None:
            self._finish_picture(pending, end)
            may_cut = True
        else:
            # Audio has filled a gap. If the open part has none yet, there is nothing to end.
            may_cut = parts.has_content(end)
        if may_cut:
            start = cutter.part_start
            cut = cutter.advance(end, is_sync=is_idr)
            if cut is not Cut.NOTHING:
                self._close(start, end, cut)
        self._position = end
        self._pending = sample
        self._pending_flags = SYNC_FLAGS if is_idr else NON_SYNC_FLAGS
        if parts.is_waiting:
            if self._is_silent or self._has_lost_audio(end):
                self._stay_silent(cutter.part_start)
            return parts.drain(self._audio_position(), end)
        return _NOTHING

    def place_audio(self, sample: Sample) -> list[MediaEvent]:
        """Take the next audio frame; without an audio track it is ignored.

        Raises:
            MediaError: The open segment has become too large.
        """
        clock = self._audio_clock
        if clock is None:
            return _NOTHING
        samples = clock.frame if self._samples_in is None else self._samples_in(sample.data)
        if samples == 0:
            return _NOTHING
        media_ms = self._media_ms(sample.dts_ms)
        if not self._has_audio_joined:
            self._join(clock, clock.ticks(media_ms))
        if self._is_silent:
            self._end_silence(clock, clock.ticks(media_ms))
        self._heard_at = self._position
        events = _NOTHING
        if self._silence:
            missing = clock.missing(clock.position, clock.ticks(media_ms))
            if missing:
                self._count(sample)  # now, for what follows must not fail half way
                events = self._add_silence(clock, missing)
        time = clock.position
        longest = self._longest_frame
        if not self._has_video:
            longest = self._cutter.latest_end(time) - time
            if self._samples_in is not None:
                self._cutter.expect_frames(samples)
        duration = clock.place(media_ms, samples, longest)
        if duration == 0:
            return _NOTHING
        if events is _NOTHING:
            self._count(sample)
        more = self._add_audio(time, FragmentSample(sample.data, duration, 0, SYNC_FLAGS))
        if self._has_video:
            self._fill_behind(self._max_lead)
            if self._parts.is_waiting:
                return self._parts.drain(clock.position, self._position)
        return events + more if events else more

    def finish(self) -> list[MediaEvent]:
        """End the epoch: give out everything that is held, and end the segment."""
        cutter = self._cutter
        parts = self._parts
        if self._has_video:
            self._fill_behind(2 * self._plan.part_target)
        start = cutter.part_start
        if self._pending is not None:
            # How long it was to be seen nobody knows; as long as the others.
            latest = cutter.latest_end(self._position)
            end = min(self._position + self._plan.interval, latest)
            self._finish_picture(self._pending, end)
        else:
            end = min(self._audio_end(), cutter.latest_end(start))
        clock = self._audio_clock
        if self._silence and clock is not None and self._has_video and self._has_audio_joined:
            last = end * clock.sample_rate // self._plan.timescale
            self._add_silence(clock, clock.missing(clock.position, last))
        if end > start and parts.has_content(end):
            cutter.advance(end, is_sync=True, force=True)
            parts.close(start, end, ends_segment=True)
        parts.take_late_audio()
        events = parts.drain(FOREVER, end)
        if parts.in_segment:  # it has ended with its last part, at the start of an empty one
            events.append(parts.end_segment(start))
        parts.drop_audio()
        return events

    def _join(self, clock: AudioClock, time: int) -> None:
        """Let the audio begin at ``time``, in samples; what is missing before it can be filled."""
        self._has_audio_joined = True
        clock.position = time
        if self._silence and self._has_video:
            start = -(-self._start * clock.sample_rate // self._plan.timescale)
            if clock.missing(start, time):
                clock.position -= (time - start) // clock.frame * clock.frame

    def _has_lost_audio(self, end: int) -> bool:
        """Whether video, at ``end``, has gone on for too long without a frame of audio."""
        behind = end - max(self._heard_at, self._audio_end())
        return behind > self._silence_patience

    def _stay_silent(self, end: int) -> None:
        """No audio comes: let there be silence up to ``end``, in cut ticks."""
        clock = self._audio_clock
        if clock is None or not self._silence:
            return
        last = -(-end * clock.sample_rate // self._plan.timescale)
        if not self._has_audio_joined:
            self._join(clock, -(-self._start * clock.sample_rate // self._plan.timescale))
        self._is_silent = True
        self._add_silence(clock, -(-(last - clock.position) // clock.frame))

    def _end_silence(self, clock: AudioClock, time: int) -> None:
        """Audio comes again, for ``time`` in samples: was it silent, or only late?"""
        self._is_silent = False
        if clock.missing(time, clock.position):
            self._silence_patience = min(2 * self._silence_patience, self._max_absence)

    def _add_silence(self, clock: AudioClock, frames: int) -> list[MediaEvent]:
        """Add so many frames of silence; none if the number is not positive."""
        events: list[MediaEvent] = []
        for _ in range(frames):
            time = clock.position
            clock.position += clock.frame
            events += self._add_audio(
                time, FragmentSample(self._silence, clock.frame, 0, SYNC_FLAGS)
            )
        return events

    def _add_audio(self, time: int, frame: FragmentSample) -> list[MediaEvent]:
        """Add an audio frame that ends where the audio clock is; it may end a part of its own."""
        self._parts.add_audio(time, frame)
        clock = self._audio_clock
        if self._has_video or clock is None:
            return _NOTHING
        start = self._cutter.part_start
        end = clock.position
        cut = self._cutter.advance(end, is_sync=True)
        if cut is Cut.NOTHING:
            return _NOTHING
        self._close(start, end, cut)
        return self._parts.drain(end, end)

    def _fill_behind(self, max_lead: int) -> None:
        """End parts without further pictures while audio leads by more than ``max_lead``."""
        ahead = self._audio_end() - max_lead
        while ahead > self._cutter.part_start and self._fill_gap():
            pass

    def _fill_gap(self) -> bool:
        """End the open part at its longest: audio has run ahead, and no picture is in sight.

        Returns:
            False if the open part would hold nothing: audio has only joined behind it.
        """
        cutter = self._cutter
        start = cutter.part_start
        if self._pending is not None:
            end, cut = cutter.fill()
            self._finish_picture(self._pending, end)
            self._pending = None
        elif self._parts.has_content(start + self._plan.part_target):
            end, cut = cutter.fill()
        else:
            return False
        self._position = end
        self._close(start, end, cut)
        return True

    def _finish_picture(self, sample: Sample, end: int) -> None:
        """Let the pending picture, ``sample``, last until ``end``, and hand it over."""
        time = self._video_time
        shown = self._media_ms(sample.pts_ms) * TICKS_PER_MS
        offset = max(-MAX_COMPOSITION_TICKS, min(shown - time, MAX_COMPOSITION_TICKS))
        self._parts.add_picture(
            time, FragmentSample(sample.data, end - time, offset, self._pending_flags)
        )
        self._video_time = end

    def _close(self, start: int, end: int, cut: Cut) -> None:
        ends_segment = cut is Cut.SEGMENT
        self._parts.close(start, end, ends_segment=ends_segment)
        if ends_segment:
            self.segments += 1
            self.segment_bytes = 0

    def _audio_end(self) -> int:
        """Where the audio has come to, in cut ticks; nowhere without audio."""
        clock = self._audio_clock
        return clock.position * self._plan.timescale // clock.sample_rate if clock else 0

    def _audio_position(self) -> int:
        return self._audio_clock.position if self._audio_clock is not None else FOREVER

    def _count(self, sample: Sample) -> None:
        self.segment_bytes += len(sample.data) + SAMPLE_OVERHEAD_BYTES
        if self.segment_bytes > self._max_segment_bytes:
            raise MediaError(
                f"a segment has more than {self._max_segment_bytes} bytes: lower the bitrate"
            )
