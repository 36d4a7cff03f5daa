"""Samples in, parts and segments out: the packager of one rendition.

Sans-IO and synchronous: each call returns what became ready. The pieces, in the way of a sample::

    Sample -> Segmenter   is it usable, does its stamp continue the publisher's clock?
           -> Probe       (first segment only) held until TARGETDURATION and PART-TARGET are fixed
           -> Epoch       durations; does a part, or a segment, end before it?  (`Cutter` decides)
           -> PartAssembler   waits for the part's audio, numbers it, writes it

The states, of which every broadcast runs through the first two once::

    AWAITING --first IDR--> PROBING --first segment complete--> RUNNING --break--> AWAITING
                                                                   ^------IDR--------'

A *break* is a stamp that jumps, goes back or comes after a longer absence; another configuration
(`Segmenter.reconfigure`); or another publisher (`Segmenter.reconnect`). What is open is published,
what comes before the next IDR picture is dropped, the next segment is marked as a discontinuity.
msn, media time, TARGETDURATION and PART-TARGET go on. Without video every audio frame serves as
IDR picture, and nothing is probed, because nothing depends on the source.

Bounds: `SegmenterSettings.max_segment_bytes` and ``max_probe_bytes``, and `MAX_EARLY_AUDIO` frames
while AWAITING. After a `MediaError` the segmenter is of no more use, except for `Segmenter.flush`.

Spec: draft-pantos-hls-rfc8216bis-22, 3.1.2, 3.2, 4.4.3.1, 4.4.3.7, 4.4.4.9, 6.2.1.
"""

from collections import deque
from fractions import Fraction
from typing import Final

from hls.assembler import PartAssembler
from hls.audio import AudioConfig
from hls.clock import TICKS_PER_MS, MediaClock
from hls.cutter import DEFAULT_FRAME_RATE, CutPlan, nominal_frame_rate, presentation_for_audio
from hls.epoch import MAX_COMPOSITION_TICKS, Epoch
from hls.errors import UsageError
from hls.init_segment import build_init_segment, describe_init_segment
from hls.media import MediaEvent, Presentation, SegmentEnd
from hls.probe import Probe
from hls.sample import Placement, Sample, TrackKind
from hls.segmenter_settings import SegmenterSettings
from hls.video import VideoConfig, scanner

MAX_EARLY_AUDIO: Final = 128
"""Audio frames kept while an epoch's first IDR picture is awaited, some 2.7 s; older ones go."""


class Segmenter:
    """Packages one rendition, from its first sample to the end of the broadcast.

    One instance serves a whole broadcast: `reconfigure` is the way to go on with other tracks,
    `interrupt` and `reconnect` are the way from one publisher to the next.

    Args:
        video: Configuration of the video track, None without video.
        audio: Configuration of the audio track, None without audio.
        settings: Policy and bounds; the defaults if None.
        first_msn: Number of the first segment; under one URL they must not go back (6.2.2).

    Raises:
        UsageError: There is no track.
    """

    def __init__(
        self,
        *,
        video: VideoConfig | None,
        audio: AudioConfig | None,
        settings: SegmenterSettings | None = None,
        first_msn: int = 0,
    ) -> None:
        if video is None and audio is None:
            raise UsageError("a rendition needs a track")
        self._audio = audio
        self._set_video(video)
        self._settings = settings or SegmenterSettings()
        self._clock = MediaClock(self._settings)
        self._parts = PartAssembler(self._settings.audio_patience_s, first_msn=first_msn)
        self._finished = False
        # The promises, None until they are made, and the plan that keeps them.
        self._presentation: Presentation | None = None
        self._plan: CutPlan | None = None
        self._measured_interval_ms: Fraction | None = None
        # The events of the first segment, given out together; None once that has happened.
        self._first_segment: list[MediaEvent] | None = []
        self._init_data = b""
        self._init_index = -1
        # At most one of these two is set. None of them: AWAITING.
        self._probe: Probe | None = None
        self._epoch: Epoch | None = None
        self._may_restart_probe = True
        # Pictures are numbered as they are accepted; the epoch at hand began with `_epoch_picture`.
        self._next_picture = 0
        self._epoch_picture = 0
        self._segments_seen = 0  # of the epoch at hand, at its last picture
        # Where the next epoch may begin, and whether the present clock may tell how much later.
        self._earliest_ms = 0
        self._is_same_publisher = True
        self._early_audio: deque[Sample] = deque(maxlen=MAX_EARLY_AUDIO)
        self._epoch_stamp_ms = 0
        self._epoch_start_ms = 0  # the same in media time
        self._has_audio_joined = False
        self._past_forced_cuts = 0
        # Bytes and length of epochs in a row that were shorter than a segment. Their bytes count
        # together: else a break for every picture would be a segment of any size for every picture.
        self._short_epochs_bytes = 0
        self._short_epochs_s = 0.0

        self.dropped_samples = 0
        """Samples left out: before an IDR picture, without a picture, or off the clock."""
        self.discontinuities = 0
        """Breaks so far."""
        self.placed: Placement | None = None
        """What the last `push` made of its sample if that was a picture that it took, else None."""
        self.cuts_anywhere: bool | None = None
        """Segments begin at any picture, for want of IDR pictures, see
        `SegmenterSettings.free_cut_gop_s`. None until it is known: True perhaps from the first
        picture on, False only when the first segment is complete. Then it does not change."""

    @property
    def forced_cuts(self) -> int:
        """Segments so far that had to begin without an IDR picture; viewers cannot join there.

        Any of them says that the publisher's keyframe interval is longer than it was, or declared
        to be, when the target duration was fixed. An interval of `segment_target_s` cures it.
        """
        now = self._epoch.forced_cuts if self._epoch is not None else 0
        return self._past_forced_cuts + now

    def media_ticks(self, stamp_ms: int) -> int:
        """Return where a stamp of the publisher is on the media clock, in video ticks.

        Right for the sample that was pushed last; others may belong to another epoch.
        """
        return self._clock.media_ms(stamp_ms) * TICKS_PER_MS

    def push(self, sample: Sample) -> list[MediaEvent]:
        """Take one sample, in the publisher's order.

        Args:
            sample: Of either track; of a track that is not configured it is dropped.

        Returns:
            What became ready, in order; mostly nothing. Not to be changed.

        Raises:
            MediaError: A picture is malformed, or a segment grows past its bound.
            UsageError: The segmenter has been flushed.

        Cost: about 3 us, and 10 us more when it releases a part (tests/bench has the figures).
        """
        if self._finished:
            raise UsageError("push after flush")
        self.placed = None
        if sample.kind is TrackKind.VIDEO:
            video = self._video
            if video is not None:
                summary = self._scan(sample.data, video.length_size)
                if summary.has_picture:
                    events = self._push_picture(video, sample, summary.is_idr)
                    return events if self._first_segment is None else self._release(events)
        elif self._audio is not None and sample.data:
            events = self._push_audio(self._audio, sample)
            return events if self._first_segment is None else self._release(events)
        self.dropped_samples += 1
        return []

    def flush(self) -> list[MediaEvent]:
        """End the input: return everything that is held, the last segment ended.

        Nothing may be pushed afterwards; flushing again returns nothing.
        """
        if self._finished:
            return []
        events = self._end_epoch()
        self._finished = True
        held, self._first_segment = self._first_segment or [], None
        return held + events

    def reconfigure(
        self, *, video: VideoConfig | None, audio: AudioConfig | None
    ) -> list[MediaEvent]:
        """Go on with other tracks; the samples that follow are of these.

        The same configurations again change nothing, so every repeated header may come here. Until
        the first segment is out, there is nothing to break with: what is held is kept if the video
        stays the same, and forgotten otherwise.

        Returns:
            As `push` does: the end of what was open.

        Raises:
            UsageError: There is no track, or the segmenter has been flushed.
        """
        if self._finished or (video is None and audio is None):
            raise UsageError("reconfigure needs a track, and comes before flush")
        if video == self._video and audio == self._audio:
            return []
        events: list[MediaEvent] = []
        if self._epoch is not None:
            events = self._break()
        elif self._probe is not None and video == self._video:
            self._probe.forget_audio()
            self._has_audio_joined = False
        else:
            self._forget_probe()
        self._early_audio.clear()
        if video != self._video:
            self._set_video(video)
            self._plan = self._measured_interval_ms = None
        self._audio = audio
        return self._release(events)

    def interrupt(self) -> list[MediaEvent]:
        """The publisher is gone and may be back (`reconnect`): let go of what is held.

        Until the first segment is out it is held on: nobody has seen anything of it.

        Returns:
            As `push` does: the end of what was open.
        """
        return [] if self._probe is not None else self._release(self._break())

    def reconnect(
        self,
        *,
        video: VideoConfig | None,
        audio: AudioConfig | None,
        media_time_s: float | None = None,
    ) -> list[MediaEvent]:
        """Go on with another publisher, whose clock has nothing to do with the last one's.

        Args:
            video: As for the constructor.
            audio: As for the constructor.
            media_time_s: Wall-clock seconds since media time zero, if the caller knows: media time
                goes on there, unless it is already later.

        Returns:
            As `push` does: the end of what was open, unless `interrupt` gave it. A first segment
            that is not complete is forgotten.

        Raises:
            UsageError: There is no track, or the segmenter has been flushed.
        """
        self._forget_probe()
        events = self._release(self._break())
        self._is_same_publisher = False
        self._early_audio.clear()
        if media_time_s is not None:
            self._earliest_ms = max(self._earliest_ms, round(media_time_s * 1000))
        return events + self.reconfigure(video=video, audio=audio)

    def _set_video(self, video: VideoConfig | None) -> None:
        self._video = video
        if video is not None:
            self._scan = scanner(video)

    # -- samples, by state

    def _push_picture(self, video: VideoConfig, sample: Sample, is_idr: bool) -> list[MediaEvent]:
        events: list[MediaEvent] = []
        stamp_ms = sample.dts_ms
        if self._epoch is not None:
            if self._clock.accepts_video(stamp_ms) and not self._epoch.has_lost_video(stamp_ms):
                return self._place_picture(self._epoch, sample, is_idr)
            events = self._break()
        elif self._probe is not None:
            if self._clock.accepts_video(stamp_ms):
                return self._probe_picture(self._probe, sample, is_idr)
            events = self._break()
        if is_idr:
            self._begin_with_picture(video, sample, events)
        else:
            self.dropped_samples += 1
        return events

    def _probe_picture(self, probe: Probe, sample: Sample, is_idr: bool) -> list[MediaEvent]:
        if probe.ends_before(sample, is_idr=is_idr):
            events, epoch = self._end_probe(probe)
            return events + self._place_picture(epoch, sample, is_idr)
        probe.hold(sample, is_idr=is_idr)
        self._number(sample, probe.may_begin_segment(sample, is_idr=is_idr), is_idr)
        return []

    def _place_picture(self, epoch: Epoch, sample: Sample, is_idr: bool) -> list[MediaEvent]:
        events = epoch.place_picture(sample, is_idr=is_idr)
        self._number(sample, epoch.segments != self._segments_seen, is_idr)
        self._segments_seen = epoch.segments
        return events

    def _number(
        self, sample: Sample, begins_segment: bool, is_idr: bool, *, begins_epoch: bool = False
    ) -> None:
        """Number a picture that has been taken, and say what became of it."""
        offset = (sample.pts_ms - sample.dts_ms) * TICKS_PER_MS
        offset = max(-MAX_COMPOSITION_TICKS, min(offset, MAX_COMPOSITION_TICKS))
        self.placed = Placement(
            number=self._next_picture,
            pts_ticks=self.media_ticks(sample.dts_ms) + offset,
            begins_segment=begins_segment,
            is_idr=is_idr,
            begins_epoch=begins_epoch,
        )
        self._next_picture += 1

    def _push_audio(self, audio: AudioConfig, sample: Sample) -> list[MediaEvent]:
        if self._epoch is not None:
            if self._continues_audio(sample.dts_ms):
                return self._epoch.place_audio(sample)
        elif self._probe is not None:
            if self._continues_audio(sample.dts_ms):
                if not self._probe.ends_before(sample, is_idr=False):
                    self._probe.hold(sample, is_idr=False)
                    return []
                events, epoch = self._end_probe(self._probe)
                return events + epoch.place_audio(sample)
        else:
            return self._await_start(audio, sample)
        if not self._has_audio_joined:
            # From before the epoch began, or still on the clock of the one before.
            self.dropped_samples += 1
            return []
        return self._break() + self._await_start(audio, sample)

    def _await_start(self, audio: AudioConfig, sample: Sample) -> list[MediaEvent]:
        """Audio while nothing runs: the start itself, or to be kept until there is a picture."""
        events: list[MediaEvent] = []
        if self._video is None:
            self._begin_with_audio(audio, sample, events)
        else:
            self._early_audio.append(sample)
        return events

    def _continues_audio(self, stamp_ms: int) -> bool:
        """Whether an audio frame belongs to what runs. The first one must fit the video's clock."""
        if self._has_audio_joined:
            return self._clock.accepts_audio(stamp_ms)
        self._has_audio_joined = stamp_ms >= self._epoch_stamp_ms and self._clock.accepts_audio(
            stamp_ms
        )
        return self._has_audio_joined

    # -- AWAITING -> PROBING -> RUNNING

    def _begin_with_picture(
        self, video: VideoConfig, sample: Sample, events: list[MediaEvent]
    ) -> None:
        self._start_clock(sample)
        self._clock.accepts_video(sample.dts_ms)
        self._number(sample, True, True, begins_epoch=True)
        if self._presentation is None:
            known = self.cuts_anywhere is True
            self._probe = Probe(video, self._settings, sample, cuts_anywhere=known)
            if self._probe.cuts_anywhere:
                self.cuts_anywhere = True
        else:
            plan = self._plan or CutPlan.for_video(
                self._presentation,
                interval_ms=1000 / (video.frame_rate or DEFAULT_FRAME_RATE),
                gop_ms=Fraction(0),  # to be seen
                settings=self._settings,
                cuts_anywhere=self.cuts_anywhere is True,
            )
            self._begin_epoch(plan, events).place_first_picture(sample)
        early, self._early_audio = self._early_audio, deque(maxlen=MAX_EARLY_AUDIO)
        if self._audio is not None:
            for audio_sample in early:
                events += self._push_audio(self._audio, audio_sample)

    def _begin_with_audio(
        self, audio: AudioConfig, sample: Sample, events: list[MediaEvent]
    ) -> None:
        samples_per_frame = audio.samples_in(sample.data)
        if not samples_per_frame:
            self.dropped_samples += 1
            return
        self._start_clock(sample)
        self._has_audio_joined = self._clock.accepts_audio(sample.dts_ms)
        if self._presentation is None:
            self._presentation = presentation_for_audio(
                audio.sample_rate, samples_per_frame, self._settings
            )
            self.cuts_anywhere = self.cuts_anywhere is True
            events.append(self._presentation)
        plan = CutPlan.for_audio(
            self._presentation,
            sample_rate=audio.sample_rate,
            samples_per_frame=samples_per_frame,
            settings=self._settings,
        )
        events += self._begin_epoch(plan, events).place_audio(sample)

    def _start_clock(self, sample: Sample) -> None:
        """Begin an epoch on the publisher's clock."""
        self._epoch_start_ms = self._clock.start(
            sample.dts_ms, self._earliest_ms, same_publisher=self._is_same_publisher
        )
        self._is_same_publisher = True
        self._epoch_picture = self._next_picture
        self._epoch_stamp_ms = sample.dts_ms
        self._has_audio_joined = False

    def _end_probe(self, probe: Probe) -> tuple[list[MediaEvent], Epoch]:
        """Make the promises and replay what was held."""
        self._probe = None
        self._plan = plan = probe.plan()
        self._presentation = plan.presentation
        self.cuts_anywhere = plan.cuts_anywhere
        self._measured_interval_ms = probe.frame_interval_ms()
        events: list[MediaEvent] = [plan.presentation]
        epoch = self._begin_epoch(plan, events)
        (first, _), *others = probe.held
        epoch.place_first_picture(first)
        for sample, is_idr in others:
            if sample.kind is TrackKind.VIDEO:
                events += epoch.place_picture(sample, is_idr=is_idr)
                self._segments_seen = epoch.segments
            else:
                events += epoch.place_audio(sample)
        return events, epoch

    def _begin_epoch(self, plan: CutPlan, events: list[MediaEvent]) -> Epoch:
        self._add_init_segment(events)
        self._segments_seen = 0
        self._epoch = Epoch(
            plan=plan,
            parts=self._parts,
            clock=self._clock,
            audio=self._audio,
            has_video=self._video is not None,
            picture=self._epoch_picture,
            start_ms=self._epoch_start_ms,
            init_index=self._init_index,
            discontinuity=self.discontinuities > 0,
            settings=self._settings,
            segment_bytes=self._short_epochs_bytes,
        )
        return self._epoch

    def _add_init_segment(self, events: list[MediaEvent]) -> None:
        """Emit an init segment unless the last one says the same."""
        video, audio = self._video, self._audio
        data = build_init_segment(video, audio)
        if data == self._init_data:
            return
        self._init_data = data
        self._short_epochs_bytes += len(data)
        self._init_index += 1
        frame_rate = None
        if video is not None:
            frame_rate = nominal_frame_rate(self._measured_interval_ms, video.frame_rate)
        events.append(describe_init_segment(self._init_index, data, video, audio, frame_rate))

    # -- breaks

    def _break(self) -> list[MediaEvent]:
        """End what runs, on a discontinuity."""
        if self._probe is not None and self._may_restart_probe:
            # A publisher's first stamps are often a false start, and nobody has seen them.
            self._may_restart_probe = False
            self._forget_probe()
            return []
        is_break = self._probe is not None or self._epoch is not None
        events = self._end_epoch()
        self.discontinuities += is_break
        return events

    def _forget_probe(self) -> None:
        if self._probe is not None:
            self.dropped_samples += len(self._probe.held)
            self._probe = None
        if self._presentation is None:  # media time zero is the next first sample
            self._clock = MediaClock(self._settings)

    def _end_epoch(self) -> list[MediaEvent]:
        events: list[MediaEvent] = []
        if self._probe is not None:
            events, _ = self._end_probe(self._probe)
        epoch = self._epoch
        if epoch is not None:
            events += epoch.finish()
            self._earliest_ms = epoch.end_ms
            self._past_forced_cuts += epoch.forced_cuts
            self._short_epochs_bytes = epoch.segment_bytes
            self._short_epochs_s += epoch.duration_s
            if self._short_epochs_s >= self._settings.segment_target_s:
                self._short_epochs_bytes, self._short_epochs_s = 0, 0.0
            self._epoch = None
        return events

    def _release(self, events: list[MediaEvent]) -> list[MediaEvent]:
        """Hold events back until the first segment is among them."""
        held = self._first_segment
        if held is None:
            return events
        held += events
        if not any(isinstance(event, SegmentEnd) for event in events):
            return []
        self._first_segment = None
        return held
