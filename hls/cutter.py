"""Where parts and segments end: pure rules on times, no bytes.

A `CutPlan` is made once, from what the probe saw; a `Cutter` then follows one track, the video if
there is video. All times are ticks of that track. For each sample it is asked two things, in order:

1. `Cutter.latest_end`: how late may the samples so far end, at the most? The caller decodes the one
   at hand no later than this, and lets its composition offset make up for it, so *presentation*
   times stay exact. So a gap, or jitter beyond the slack, never makes a part longer than
   PART-TARGET, and no part need be short either.
2. `Cutter.advance`: given that end, does a part or a segment end here?

What holds for the parts: duration <= PART-TARGET always, and >= 85 % of it unless last in its
segment (rfc8216bis 4.4.4.9). For the segments, in order of rank: round(EXTINF) <= TARGETDURATION
(4.4.3.1); they start at an IDR picture; they last at least segment_target_s. So when waiting for
the next IDR could break TARGETDURATION, the segment is cut early, at the IDR at hand; when no IDR
comes in time, at a picture that is none, which is counted (`Cutter.forced_cuts`).

Exception, for want of anything better: without audio to fill a part, a picture that stays on for
longer than PART-TARGET + max_lag_s makes a part that long.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor
from typing import Final

from hls.clock import VIDEO_TIMESCALE
from hls.media import Presentation
from hls.segmenter_settings import SegmenterSettings

DEFAULT_FRAME_RATE: Final = Fraction(30)
"""Taken when there is nothing to measure, and the decoder configuration says nothing."""

MIN_STEP_TICKS: Final = 90
"""Least distance of two decode times, 1 ms: equal or backward stamps are nudged apart by it."""

# A segment stays so far under TARGETDURATION + 0.5 s that no rounding of EXTINF brings it over.
_ROUNDING_S: Final = Fraction(2, 1000)

# A GOP may measure so much more next time.
_JITTER_MS: Final = 10

# rfc8216bis 4.4.4.9: a part may end once it has this much of PART-TARGET.
_LEAST_PART: Final = Fraction(85, 100)

# Runs of frames longer than this, against the mean, hold a gap and say nothing about jitter.
_GAP_RATIO: Final = Fraction(11, 10)

_STANDARD_RATES: Final = (
    *(Fraction(rate) for rate in (24, 25, 30, 48, 50, 60, 100, 120)),
    *(Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120)),
)


class Cut(enum.Enum):
    """What ends before the sample at hand."""

    NOTHING = enum.auto()
    PART = enum.auto()
    SEGMENT = enum.auto()
    """A segment, and with it its last part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPlan:
    """What the probe fixed: lengths in ticks of the track that is cut."""

    presentation: Presentation
    """The promises that the lengths keep."""
    timescale: int
    """Ticks a second."""
    interval: int
    """A typical frame's duration."""
    part_target: int
    """No part is longer, but see the module's header."""
    part_least: int
    """A part ends at the first frame boundary at or after this."""
    segment_target: int
    """A segment ends at the first IDR at or after this: the target less half a frame."""
    segment_limit: int
    """The longest segment that TARGETDURATION allows."""
    gop: int
    """Longest distance of two IDR pictures, seen or declared."""
    max_lag: int
    """How far decode times may be held back to keep parts short."""
    cuts_anywhere: bool = False
    """A segment may begin with any picture, IDR or not (`SegmenterSettings.free_cut_gop_s`)."""

    @classmethod
    def for_video(
        cls,
        presentation: Presentation,
        *,
        interval_ms: Fraction,
        gop_ms: Fraction,
        settings: SegmenterSettings,
        cuts_anywhere: bool = False,
    ) -> "CutPlan":
        """Cut video of a frame interval under the promises of ``presentation``."""
        interval = max(2 * MIN_STEP_TICKS, round(interval_ms * VIDEO_TIMESCALE / 1000))
        part_target = floor(_exact(presentation.part_target_s) * VIDEO_TIMESCALE)
        least = max(ceil(part_target * _LEAST_PART), part_target - interval // 2)
        plan = cls._build(
            presentation, VIDEO_TIMESCALE, interval, part_target, least, gop_ms, settings
        )
        return replace(plan, cuts_anywhere=cuts_anywhere)

    @classmethod
    def for_audio(
        cls,
        presentation: Presentation,
        *,
        sample_rate: int,
        samples_per_frame: int,
        settings: SegmenterSettings,
    ) -> "CutPlan":
        """Cut audio frames under the promises of ``presentation``; each is a place to cut."""
        part_target = floor(_exact(presentation.part_target_s) * sample_rate)
        # Audio is never held back: a part ends when another whole frame would not fit.
        least = part_target - samples_per_frame + 1
        gop_ms = Fraction(1000 * samples_per_frame, sample_rate)
        return cls._build(
            presentation, sample_rate, samples_per_frame, part_target, least, gop_ms, settings
        )

    @classmethod
    def _build(
        cls,
        presentation: Presentation,
        timescale: int,
        interval: int,
        part_target: int,
        part_least: int,
        gop_ms: Fraction,
        settings: SegmenterSettings,
    ) -> "CutPlan":
        longest_s = segment_limit_s(presentation.target_duration_s)
        return cls(
            presentation=presentation,
            timescale=timescale,
            interval=interval,
            part_target=part_target,
            part_least=part_least,
            segment_target=floor(_exact(settings.segment_target_s) * timescale) - interval // 2,
            segment_limit=floor(longest_s * timescale),
            gop=max(interval, ceil(gop_ms * timescale / 1000)),
            max_lag=floor(_exact(settings.max_lag_s) * timescale),
        )


class Cutter:
    """Follows one track and says where its parts and segments end.

    Args:
        plan: The lengths to keep.
        start: Where the first part and the first segment start, at a sync sample.
    """

    __slots__ = (
        "_gop",
        "_last_sync",
        "_max_lag",
        "_part_least",
        "_plan",
        "_segment_limit",
        "_segment_start",
        "forced_cuts",
        "part_start",
    )

    forced_cuts: int
    """Segments that had to begin without an IDR picture."""

    part_start: int
    """Where the open part starts."""

    def __init__(self, plan: CutPlan, start: int) -> None:
        self._plan = plan
        self._segment_limit = plan.segment_limit
        self._max_lag = plan.max_lag
        self._gop = plan.gop
        self._part_least = plan.part_least
        self._last_sync = start
        self._segment_start = start
        self.part_start = start
        self.forced_cuts = 0

    def expect_frames(self, ticks: int) -> None:
        """Audio frames of another length come: a part ends when another one would not fit."""
        self._part_least = self._plan.part_target - ticks + 1

    def latest_end(self, wanted: int) -> int:
        """Return how late the samples of the open part may end.

        Args:
            wanted: Where they would end by the publisher's stamps.
        """
        longest = self.part_start + self._plan.part_target
        if wanted - self._max_lag > longest:
            longest = wanted - self._max_lag
        return min(longest, self._segment_start + self._segment_limit)

    def advance(self, end: int, *, is_sync: bool, force: bool = False) -> Cut:
        """Decide what ends at ``end``, and begin anew there what does.

        Args:
            end: End of the samples so far, later than the open part's start, no later than
                `latest_end`.
            is_sync: The next sample is an IDR picture, or of a track that has nothing else.
            force: End the segment here in any case.
        """
        plan = self._plan
        elapsed = end - self._segment_start
        if plan.cuts_anywhere:
            ends = elapsed >= plan.segment_target or elapsed + plan.interval > plan.segment_limit
        elif is_sync:
            # Forgets slowly: one gap in the stream must not make all later segments short.
            self._gop = max(end - self._last_sync, plan.gop, self._gop - self._gop // 16)
            self._last_sync = end
            ends = elapsed >= plan.segment_target or elapsed + self._gop > plan.segment_limit
        else:
            ends = elapsed + plan.interval > plan.segment_limit
        if ends or force:
            if not (is_sync or plan.cuts_anywhere):
                self.forced_cuts += 1
            self._segment_start = self.part_start = end
            return Cut.SEGMENT
        if end - self.part_start >= self._part_least:
            self.part_start = end
            return Cut.PART
        return Cut.NOTHING

    def fill(self) -> tuple[int, Cut]:
        """End the open part at its longest, because its next sample will be long in coming.

        Returns:
            Its end, and what ends there: the segment too, if another part might not fit into it.
        """
        end = self.latest_end(self.part_start)
        room = self._segment_start + self._segment_limit - end
        return end, self.advance(end, is_sync=False, force=room < self._plan.part_target)


def presentation_for_video(
    decode_times_ms: Sequence[int],
    *,
    interval_ms: Fraction,
    gop_ms: Fraction,
    settings: SegmenterSettings,
) -> Presentation:
    """Fix the promises of a broadcast with video.

    PART-TARGET is the longest run, among those seen, of the number of frames that comes nearest to
    part_target_s, plus 1 ms for jitter not seen yet. TARGETDURATION has room for the longest GOP.

    Args:
        decode_times_ms: Of the probed pictures, increasing.
        interval_ms: Their frame interval, see `frame_interval_ms`.
        gop_ms: The longest GOP seen or declared, at most max_gop_s.
        settings: The targets.
    """
    frames = max(1, floor(_exact(settings.part_target_s) * 1000 / interval_ms + Fraction(1, 2)))
    run_ms = frames * interval_ms
    plausible_ms: Fraction = max(run_ms * _GAP_RATIO, run_ms + 2)
    runs = [
        Fraction(later - earlier)
        for earlier, later in zip(decode_times_ms, decode_times_ms[frames:], strict=False)
    ]
    longest_ms = max((run for run in runs if run <= plausible_ms), default=run_ms)
    longest_segment_s = max(_exact(settings.segment_target_s), (gop_ms + _JITTER_MS) / 1000)
    return _presentation(longest_segment_s, longest_ms)


def presentation_for_audio(
    sample_rate: int, samples_per_frame: int, settings: SegmenterSettings
) -> Presentation:
    """Fix the promises of a broadcast without video: parts are whole audio frames."""
    frame_ms = Fraction(1000 * samples_per_frame, sample_rate)
    target_s = _exact(settings.part_target_s)
    frames = max(1, floor(target_s * 1000 / frame_ms + Fraction(1, 2)))
    return _presentation(_exact(settings.segment_target_s), frames * frame_ms)


def frame_interval_ms(decode_times_ms: Sequence[int], claimed_rate: Fraction | None) -> Fraction:
    """Return the frame interval of pictures: the mean of those distances that are no gaps.

    Args:
        decode_times_ms: Increasing.
        claimed_rate: What the decoder configuration says, for want of two pictures.
    """
    distances = [later - earlier for earlier, later in pairwise(decode_times_ms)]
    if not distances:
        return 1000 / (claimed_rate or DEFAULT_FRAME_RATE)
    median = sorted(distances)[len(distances) // 2]
    usual = [distance for distance in distances if 2 * distance <= 3 * median]
    return Fraction(sum(usual), len(usual))


def nominal_frame_rate(interval_ms: Fraction | None, claimed_rate: Fraction | None) -> float | None:
    """Return frames per second for people and players: a round number near the measured one.

    Args:
        interval_ms: As measured; None if it was not.
        claimed_rate: The decoder configuration's; taken if it is within 2 % of the measured one.
    """
    if interval_ms is None:
        return round(float(claimed_rate), 3) if claimed_rate is not None else None
    measured = 1000 / interval_ms
    if claimed_rate is not None and abs(claimed_rate - measured) * 50 <= measured:
        return round(float(claimed_rate), 3)
    nearest = min(_STANDARD_RATES, key=lambda rate: abs(rate - measured))
    if abs(nearest - measured) * 200 <= measured:
        return round(float(nearest), 3)
    return round(float(measured), 3)


def target_duration_for(longest_segment_s: Fraction) -> int:
    """Return the TARGETDURATION for segments of at most this length."""
    return max(1, floor(longest_segment_s + Fraction(1, 2)))


def segment_limit_s(target_duration_s: int) -> Fraction:
    """Return the longest segment that a TARGETDURATION allows."""
    return target_duration_s + Fraction(1, 2) - _ROUNDING_S


def _presentation(longest_segment_s: Fraction, longest_part_ms: Fraction) -> Presentation:
    return Presentation(
        target_duration_s=target_duration_for(longest_segment_s),
        part_target_s=(ceil(longest_part_ms) + 1) / 1000,
    )


def _exact(seconds: float) -> Fraction:
    """A setting as it was written: 0.2 is 1/5, not the nearest binary fraction."""
    return Fraction(str(seconds))
