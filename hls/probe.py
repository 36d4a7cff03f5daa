"""The first seconds of a broadcast with video, held back until its lengths can be promised.

TARGETDURATION and PART-TARGET may never change (rfc8216bis 6.2.1), and both depend on the source:
on its frame rate, its jitter and the length of its GOPs. So the samples of the first whole segment
are held, the `CutPlan` is made from them, and they are replayed through the cutter. Viewers lose
nothing by it: a playlist is of no use before its first segment is complete.

A GOP that has been seen says little if the encoder places IDR pictures where scenes change; x264
writes its limit into the first keyframe, and that is believed (up to max_gop_s).

Bounds: max_gop_s of media, max_probe_bytes and `MAX_SAMPLES`. Past any of them, the probe ends with
what is known.
"""

from fractions import Fraction
from typing import Final

from hls.cutter import CutPlan, frame_interval_ms, presentation_for_video
from hls.h264 import AvcConfig, declared_keyframe_interval
from hls.sample import Sample, TrackKind
from hls.segmenter_settings import SegmenterSettings

AUDIO_LEAD_MS: Final = 1_000
"""Audio ends a probe only so long after max_gop_s: if there are pictures, they shall do so."""

SAMPLE_OVERHEAD_BYTES: Final = 256
"""What a held sample costs besides its data, roughly: so that empty samples cannot pile up."""

MAX_SAMPLES: Final = 4096
"""Most samples held: 12 s of 240 pictures a second with audio. They are replayed in one step, in
which nobody else is served: some 15 ms, and not the 400 ms of as many as fit the bytes."""


class Probe:
    """Holds samples and looks at them until a first segment is complete.

    Args:
        video: Configuration of the pictures to come.
        settings: Targets and bounds.
        first: The broadcast's first sample, an IDR picture.
    """

    def __init__(self, video: AvcConfig, settings: SegmenterSettings, first: Sample) -> None:
        self._video = video
        self._settings = settings
        self._longest_ms = round(settings.max_gop_s * 1000)
        self._bytes = 0
        self._times_ms: list[int] = []  # of pictures, strictly increasing
        self._first_ms = self._last_idr_ms = first.dts_ms
        self._gop_ms = 0
        self._declared_frames = declared_keyframe_interval(first.data, video.length_size)
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
            elapsed_ms -= AUDIO_LEAD_MS
        if (
            elapsed_ms >= self._longest_ms
            or self._bytes >= self._settings.max_probe_bytes
            or len(self.held) >= MAX_SAMPLES
        ):
            return True
        if sample.kind is TrackKind.AUDIO or not is_idr:
            return False
        # The same half a frame of tolerance as `CutPlan.segment_target` has.
        half_frame_ms = self.frame_interval_ms() / 2
        if elapsed_ms < Fraction(str(self._settings.segment_target_s)) * 1000 - half_frame_ms:
            return False
        self._note_idr(sample.dts_ms)
        return True

    def frame_interval_ms(self) -> Fraction:
        """Return the frame interval of the pictures held."""
        return frame_interval_ms(self._times_ms, self._video.frame_rate)

    def plan(self) -> CutPlan:
        """Fix the lengths for the life of the broadcast."""
        interval_ms = self.frame_interval_ms()
        open_gop_ms = self._times_ms[-1] + interval_ms - self._last_idr_ms
        gop_ms = max(Fraction(self._gop_ms), open_gop_ms)
        if self._declared_frames is not None:
            gop_ms = max(gop_ms, self._declared_frames * interval_ms)
        gop_ms = min(gop_ms, Fraction(self._longest_ms))
        presentation = presentation_for_video(
            self._times_ms, interval_ms=interval_ms, gop_ms=gop_ms, settings=self._settings
        )
        return CutPlan.for_video(
            presentation, interval_ms=interval_ms, gop_ms=gop_ms, settings=self._settings
        )

    def forget_audio(self) -> None:
        """The audio held belongs to a configuration that has been replaced."""
        self.held = [entry for entry in self.held if entry[0].kind is TrackKind.VIDEO]

    def _note_idr(self, stamp_ms: int) -> None:
        self._gop_ms = max(self._gop_ms, stamp_ms - self._last_idr_ms)
        self._last_idr_ms = stamp_ms
