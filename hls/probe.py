"""The first seconds of a broadcast with video, held back until its lengths can be promised.

TARGETDURATION and PART-TARGET may never change (rfc8216bis 6.2.1), and both depend on the source:
on its frame rate, its jitter and the length of its GOPs. So the samples of the first whole segment
are held, the `CutPlan` is made from them, and they are replayed through the cutter. Viewers lose
nothing by it: a playlist is of no use before its first segment is complete.

A GOP longer than free_cut_gop_s, declared or waited for, ends the wait for IDR pictures
(`Probe.cuts_anywhere`): this segment ends at its target, and so do all others.

A GOP that has been seen says little if the encoder places IDR pictures where scenes change; x264
and x265 write their limit into the first keyframe, and that is believed (up to max_gop_s).

Bounds: max_gop_s of media, max_probe_bytes and `MAX_SAMPLES`. Past any of them, the probe ends with
what is known.
"""

from fractions import Fraction
from typing import Final

from hls.cutter import (
    CutPlan,
    frame_interval_ms,
    presentation_for_video,
    segment_limit_s,
    target_duration_for,
)
from hls.sample import Sample, TrackKind
from hls.segmenter_settings import SegmenterSettings
from hls.video import VideoConfig, declared_keyframe_interval

AUDIO_LEAD_MS: Final = 1_000
"""Audio ends a probe only so long after max_gop_s: if there are pictures, they shall do so."""

SAMPLE_OVERHEAD_BYTES: Final = 256
"""What a held sample costs besides its data, roughly: so that empty samples cannot pile up."""

MAX_SAMPLES: Final = 4096
"""Most samples held: 12 s of 240 pictures a second with audio. They are replayed in one step, in
which nobody else is served: some 15 ms, and not the 400 ms of as many as fit the bytes."""

# A GOP may measure so much more than it is.
_JITTER_MS: Final = 10

_FASTEST_RATE: Final = Fraction(1000)
_NEVER_MS: Final = 1 << 62


class Probe:
    """Holds samples and looks at them until a first segment is complete.

    Args:
        video: Configuration of the pictures to come.
        settings: Targets and bounds.
        first: The broadcast's first sample, an IDR picture.
        cuts_anywhere: A probe before this one, which was given up, has found it so.
    """

    def __init__(
        self,
        video: VideoConfig,
        settings: SegmenterSettings,
        first: Sample,
        *,
        cuts_anywhere: bool = False,
    ) -> None:
        self._video = video
        self._settings = settings
        target_s = Fraction(str(settings.segment_target_s))
        self._target_ms = target_s * 1000
        self._limit_ms = segment_limit_s(target_duration_for(target_s)) * 1000
        self._longest_ms = round(settings.max_gop_s * 1000)
        self._free_gop_ms = _NEVER_MS
        if settings.free_cut_gop_s is not None:
            self._free_gop_ms = round(settings.free_cut_gop_s * 1000) + _JITTER_MS
        self._bytes = 0
        self._times_ms: list[int] = []  # of pictures, strictly increasing
        self._first_ms = self._last_idr_ms = self._last_free_cut_ms = first.dts_ms
        self._gop_ms = 0
        self._declared_frames = declared_keyframe_interval(video, first.data)
        self.cuts_anywhere = cuts_anywhere
        """The GOP is longer than `SegmenterSettings.free_cut_gop_s`. Found out at once if encoder
        and decoder configuration declare it, and never taken back."""
        self._note_declaration(1000 / (video.frame_rate or _FASTEST_RATE))
        self.held: list[tuple[Sample, bool]] = []
        """Samples in order of arrival; for each picture, whether it is an IDR picture."""
        self.hold(first, is_idr=True)

    def hold(self, sample: Sample, *, is_idr: bool) -> None:
        """Keep one sample; ``is_idr`` is ignored for audio."""
        self._bytes += len(sample.data) + SAMPLE_OVERHEAD_BYTES
        self.held.append((sample, is_idr))
        if sample.kind is TrackKind.VIDEO:
            if not self._times_ms or sample.dts_ms > self._times_ms[-1]:
                self._times_ms.append(sample.dts_ms)
            if is_idr:
                self._note_idr(sample.dts_ms)

    def ends_before(self, sample: Sample, *, is_idr: bool) -> bool:
        """Return whether what is held is a first segment, which ``sample`` does not belong to."""
        elapsed_ms = sample.dts_ms - self._first_ms
        if sample.kind is TrackKind.AUDIO:
            return self._is_full(elapsed_ms - AUDIO_LEAD_MS)
        if sample.dts_ms - self._last_idr_ms >= self._free_gop_ms:
            self.cuts_anywhere = True
            return True
        if self._is_full(elapsed_ms):
            return True
        if not self._reaches_target(elapsed_ms):
            return False
        if self._declared_frames is not None:
            self._note_declaration(self.frame_interval_ms())
        if is_idr:
            self._note_idr(sample.dts_ms)
        return is_idr or self.cuts_anywhere

    def may_begin_segment(self, sample: Sample, *, is_idr: bool) -> bool:
        """Return whether it may turn out that a segment begins with a picture that is held.

        To be asked once of each picture, in order, when it has been held. Whoever encodes the
        pictures again cannot wait for the end of the probe, and one IDR picture too many does no
        harm. For a constant frame rate and GOP, no picture that begins a segment is missed.
        """
        stamp_ms = sample.dts_ms
        if (
            self._free_gop_ms != _NEVER_MS
            and self._declared_frames is None  # else it would be known by now
            and self._reaches_target(stamp_ms - self._last_free_cut_ms)
        ):
            self._last_free_cut_ms = stamp_ms
            return True
        if not is_idr or self.cuts_anywhere:
            return False
        # An IDR picture behind which it would be too long to wait for another one, see `Cutter`.
        return stamp_ms - self._first_ms + self._longest_gop_ms() > self._limit_ms

    def frame_interval_ms(self) -> Fraction:
        """Return the frame interval of the pictures held."""
        return frame_interval_ms(self._times_ms, self._video.frame_rate)

    def plan(self) -> CutPlan:
        """Fix the lengths for the life of the broadcast."""
        interval_ms = self.frame_interval_ms()
        self._note_declaration(interval_ms)
        if self.cuts_anywhere:
            gop_ms = interval_ms
        else:
            open_gop_ms = self._times_ms[-1] + interval_ms - self._last_idr_ms
            gop_ms = max(self._longest_gop_ms(), open_gop_ms)
            gop_ms = min(gop_ms, Fraction(self._longest_ms))
        presentation = presentation_for_video(
            self._times_ms, interval_ms=interval_ms, gop_ms=gop_ms, settings=self._settings
        )
        return CutPlan.for_video(
            presentation,
            interval_ms=interval_ms,
            gop_ms=gop_ms,
            settings=self._settings,
            cuts_anywhere=self.cuts_anywhere,
        )

    def forget_audio(self) -> None:
        """The audio held belongs to a configuration that has been replaced."""
        self.held = [entry for entry in self.held if entry[0].kind is TrackKind.VIDEO]

    def _note_idr(self, stamp_ms: int) -> None:
        self._gop_ms = max(self._gop_ms, stamp_ms - self._last_idr_ms)
        self._last_idr_ms = stamp_ms

    def _is_full(self, elapsed_ms: int) -> bool:
        return (
            elapsed_ms >= self._longest_ms
            or self._bytes >= self._settings.max_probe_bytes
            or len(self.held) >= MAX_SAMPLES
        )

    def _reaches_target(self, elapsed_ms: int) -> bool:
        """Whether a segment of this length may end; as `CutPlan.segment_target`, half a frame less.

        The mean of all distances, gaps and all, is not less than the frame interval, and costs no
        sorting: it settles nearly all.
        """
        missing_ms = self._target_ms - elapsed_ms
        if missing_ms <= 0:
            return True
        distances = len(self._times_ms) - 1
        if 2 * missing_ms * distances > self._times_ms[-1] - self._times_ms[0]:
            return False
        return 2 * missing_ms <= self.frame_interval_ms()

    def _longest_gop_ms(self) -> Fraction:
        """The longest GOP seen or declared."""
        declared_ms = (self._declared_frames or 0) * self.frame_interval_ms()
        return max(Fraction(self._gop_ms), declared_ms)

    def _note_declaration(self, interval_ms: Fraction) -> None:
        if (self._declared_frames or 0) * interval_ms >= self._free_gop_ms:
            self.cuts_anywhere = True
