"""What is measured of one publisher's media: one `Reading` a look, from what came since the last.

Pure: time is an argument. `Meter.note` is called for each message, by the publication, and only
keeps a few numbers (0.5 us); `Meter.look` does the sums, twice a second, by the monitor.

Of a message count its stamp, its size and when its bytes came; nothing is decoded. All that is said
about pace follows from `ahead_ms`, the stamp less the arrival, whose origin means nothing:

* of sound and picture, side by side: their skew;
* of one of them (sound, if there is any, since its stamps are even), over time: the clock's drift,
  the jitter, what comes late, and how fast media comes at all.

A frame that is missing shows by the gap in the stamps, measured against the interval that most of
the last frames had: so 12 frames a second are twelve, and none is missing; and where frames are
missing, the source's rate is what it would be with them. A keyframe interval is measured without
such gaps.

Bounds: `MAX_NOTED` samples between two looks (of more, the latest), `MAX_GAPS` gaps, some seconds
of looks. A stamp that jumps by `JUMP_MS` begins all that depends on stamps anew.

May import hls and origin.bridge.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final, NamedTuple

from hls import Sample, TrackKind
from origin.bridge import Output, Tracks
from origin.health.drift import Drift, Slope

MAX_NOTED: Final = 4096
"""Samples between two looks: half a second of anything that can be played is 200."""

MAX_GAPS: Final = 60
"""Between the last pictures: what the frame interval is read from. Two seconds of 30 a second."""

MIN_GAPS: Final = 8
"""Before that nothing is known of the interval."""

MISSING_FROM: Final = 1.75
"""Intervals in a gap from which on pictures are missing: film at 24 in a clock of 60 has 1.5."""

JUMP_MS: Final = 10_000
"""A stamp that goes on elsewhere: another clock, not a gap."""

SMOOTH_S: Final = 3.0
"""Over so long are bitrate and frame rate averaged."""

PACE_S: Final = 5.0
"""Over so long are jitter and lateness told."""

SPEED_S: Final = 10.0
"""Over so long is the speed told."""

ROUNDING_MS: Final = 2
"""By so much times may differ that are the same: both of their stamps are rounded."""

LATE_MS: Final = 500.0
"""A sample is late if it comes so long after the middle one of the last seconds would have."""

STEADY_S: Final = 60.0
"""Over so long swings of the bitrate are counted."""

SWING_S: Final = 4.0
"""Averages of so long are compared: two groups of pictures."""

SWING: Final = 0.4
"""Share by which they must lie above or below the middle, in turns."""

_VIDEO: Final = TrackKind.VIDEO


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is known at one moment. None: not known, or there is no such thing."""

    at_s: float
    span_s: float
    """Since the last look."""
    idle_s: float
    """Since the last media."""
    has_video: bool
    has_audio: bool
    bitrate_kbps: float
    """Since the last look: media with its FLV headers."""
    mean_kbps: float | None
    """Over `SMOOTH_S`; None before so much has come."""
    swings: int
    """How often the bitrate went from high to low or back, within `STEADY_S`."""
    fps: float | None
    """Pictures per second of media, over `SMOOTH_S`."""
    source_fps: float | None
    """The same with those that are missing."""
    dropped: int
    """Pictures missing, since the last look."""
    late: int
    """Samples that came `LATE_MS` late, since the last look."""
    keyframe_s: float | None
    """The last keyframe interval, or what has gone by since the last keyframe, if that is longer;
    without what is missing."""
    has_b_frames: bool | None
    skew_ms: float | None
    """Stamps of sound less those of pictures that come at the same time; negative: it is behind."""
    drift: Slope | None
    jitter_ms: float | None
    """Within so much lie nine tenths of all arrivals of `PACE_S`."""
    speed: float | None
    """Seconds of media that come in a second, over `SPEED_S`, of the track that is ahead: where
    sound was put right against the picture, one of the two steps back."""
    picture_bytes: float | None
    """Median size of pictures that are no keyframes, since the last look."""


class _Noted(NamedTuple):
    is_video: bool
    dts_ms: int
    offset_ms: int
    """From decoding to showing."""
    keyframe: bool
    size_bytes: int
    heard_s: float
    """Not a number: held back, nobody knows when it came."""


class _Look(NamedTuple):
    at_s: float
    size_bytes: int
    """Until then, as the others."""
    pictures: int
    missing: int
    video_s: float
    """When the last picture came."""
    video_ms: int
    """Its stamp."""
    heard_s: float
    """When the last sample of the clock came."""
    clock_ms: int
    """Its stamp."""


class Meter:
    """The measures of one publisher, from its first message on.

    Args:
        now_s: Seconds, as all later ones.
    """

    def __init__(self, now_s: float) -> None:
        self.tracks: Tracks | None = None
        """What the publisher sends, once it is known."""
        self._has_new_tracks = False
        self._noted: deque[tuple[bool, int, int, bool, int, float]] = deque(maxlen=MAX_NOTED)
        self._size_bytes = 0
        self._idle_since_s = now_s
        self._looked_s = now_s
        self._pictures = self._missing = 0
        self._restart()
        self._sizes: deque[tuple[float, int]] = deque([(now_s, 0)])  # of the last STEADY_S

    def _restart(self) -> None:
        """Forget what depends on stamps."""
        self._video_ms: int | None = None  # stamp of the last picture
        self._video_s = math.nan  # when it came
        self._clock: tuple[float, int] | None = None  # last sample of it: when it came, its stamp
        self._gaps_ms: deque[int] = deque(maxlen=MAX_GAPS)
        self._interval_ms: float | None = None
        self._keyframe_ms: int | None = None
        self._missing_ms = 0.0  # since that keyframe
        self._keyframe_interval_ms: float | None = None
        self._looks: deque[_Look] = deque()  # of the last SPEED_S
        self._paces: deque[tuple[float, list[float]]] = deque()  # of the last PACE_S
        self._drift = Drift()

    def note(self, size_bytes: int, outputs: Sequence[Output], heard_s: float) -> None:
        """Take a message.

        Args:
            size_bytes: Of its payload.
            outputs: What the bridge has made of it.
            heard_s: When its bytes came.

        Cost: 0.5 us.
        """
        self._size_bytes += size_bytes
        for output in outputs:
            if type(output) is Sample:
                kind, dts_ms, pts_ms, keyframe, data = output
                self._noted.append(
                    (kind is _VIDEO, dts_ms, pts_ms - dts_ms, keyframe, len(data), heard_s)
                )
            elif type(output) is Tracks:  # with what has been held back until they were known
                self.tracks = output
                self._has_new_tracks = True
                heard_s = math.nan

    def look(self, now_s: float) -> Reading:
        """Say what has come since the last look, and how it goes on the whole."""
        samples = list(map(_Noted._make, self._noted))
        self._noted.clear()
        tracks = self.tracks
        has_video = tracks is not None and tracks.video is not None
        has_audio = tracks is not None and tracks.audio is not None
        if samples:
            self._idle_since_s = now_s
        if any(self._jumps(sample) for sample in samples):
            self._restart()
        if self._has_new_tracks:  # at another frame rate, maybe
            self._has_new_tracks = False
            self._gaps_ms.clear()
            self._interval_ms = None
        missing = self._take_pictures([sample for sample in samples if sample.is_video])
        timed = [sample for sample in samples if not math.isnan(sample.heard_s)]
        late = self._take_clock([sample for sample in timed if sample.is_video != has_audio], now_s)
        span_s, self._looked_s = now_s - self._looked_s, now_s
        size_bytes = self._size_bytes - self._sizes[-1][1]
        self._sizes.append((now_s, self._size_bytes))
        while now_s - self._sizes[0][0] > STEADY_S:
            self._sizes.popleft()
        rates = self._rates()
        sizes = [sample.size_bytes for sample in samples if sample.is_video and not sample.keyframe]
        return Reading(
            at_s=now_s,
            span_s=span_s,
            idle_s=now_s - self._idle_since_s,
            has_video=has_video,
            has_audio=has_audio,
            bitrate_kbps=size_bytes / 125 / span_s if span_s > 0 else 0.0,
            mean_kbps=self._mean_kbps(now_s),
            swings=self._swings(),
            fps=rates[0] if has_video else None,
            source_fps=rates[1] if has_video else None,
            dropped=missing,
            late=late,
            keyframe_s=self._keyframe_s(),
            has_b_frames=_has_b_frames(samples),
            skew_ms=_skew_ms(timed),
            drift=self._drift.estimate(),
            jitter_ms=self._jitter_ms(),
            speed=self._speed(),
            picture_bytes=median(sizes) if sizes else None,
        )

    def _jumps(self, sample: _Noted) -> bool:
        last_ms = self._video_ms
        if last_ms is None and self._clock is not None:
            last_ms = self._clock[1]
        return last_ms is not None and abs(sample.dts_ms - last_ms) > JUMP_MS

    def _take_pictures(self, pictures: Sequence[_Noted]) -> int:
        """Go through new pictures; returns how many are missing between them."""
        missing = 0
        interval_ms = self._interval_ms
        for picture in pictures:
            last_ms = self._video_ms
            self._video_ms, self._video_s = picture.dts_ms, picture.heard_s
            gap_ms = 0 if last_ms is None else picture.dts_ms - last_ms
            if gap_ms > 0:
                self._gaps_ms.append(gap_ms)
                if interval_ms is not None and gap_ms >= MISSING_FROM * interval_ms:
                    missing += round(gap_ms / interval_ms) - 1
                    self._missing_ms += gap_ms - interval_ms
            if picture.keyframe:
                if self._keyframe_ms is not None:
                    between_ms = picture.dts_ms - self._keyframe_ms
                    self._keyframe_interval_ms = between_ms - self._missing_ms
                self._keyframe_ms = picture.dts_ms
                self._missing_ms = 0.0
        self._pictures += len(pictures)
        self._missing += missing
        if len(self._gaps_ms) >= MIN_GAPS:
            self._interval_ms = _usual(self._gaps_ms)
        return missing

    def _take_clock(self, samples: Sequence[_Noted], now_s: float) -> int:
        """Go through new samples of the track that tells the time; returns how many are late."""
        ahead = [sample.dts_ms - sample.heard_s * 1000 for sample in samples]
        for sample, ahead_ms in zip(samples, ahead, strict=True):
            self._drift.note(sample.heard_s, ahead_ms)
        known = [ahead_ms for _, paces in self._paces for ahead_ms in paces]
        late = 0
        if known:
            due_ms = median(known) - LATE_MS
            late = sum(ahead_ms < due_ms for ahead_ms in ahead)
        if samples:
            self._clock = (samples[-1].heard_s, samples[-1].dts_ms)
            self._paces.append((now_s, ahead))
        while self._paces and now_s - self._paces[0][0] >= PACE_S:
            self._paces.popleft()
        if self._clock is not None:
            self._looks.append(
                _Look(
                    now_s,
                    self._size_bytes,
                    self._pictures,
                    self._missing,
                    self._video_s,
                    self._video_ms or 0,
                    *self._clock,
                )
            )
        while self._looks and now_s - self._looks[0].at_s > SPEED_S:
            self._looks.popleft()
        return late

    def _mean_kbps(self, now_s: float) -> float | None:
        before = [each for each in self._sizes if each[0] <= now_s - SMOOTH_S]
        if not before:
            return None
        at_s, size_bytes = before[-1]
        return (self._size_bytes - size_bytes) / 125 / (now_s - at_s)

    def _swings(self) -> int:
        """Count how often averages of `SWING_S` went from high to low or back."""
        means = []
        begin_s, begin_bytes = self._sizes[0]
        for at_s, size_bytes in self._sizes:
            if at_s - begin_s >= SWING_S:
                means.append((size_bytes - begin_bytes) / (at_s - begin_s))
                begin_s, begin_bytes = at_s, size_bytes
        if not means:
            return 0
        middle = fmean(means)
        swings, was_high = 0, None
        for mean in means:
            if abs(mean - middle) > SWING * middle:
                is_high = mean > middle
                swings += was_high is not None and is_high != was_high
                was_high = is_high
        return swings

    def _rates(self) -> tuple[float | None, float | None]:
        """Pictures per second of media, and the same with those that are missing."""
        looks = self._looks
        if not looks:
            return None, None
        last = looks[-1]
        first = next(look for look in looks if last.at_s - look.at_s <= SMOOTH_S)
        if last.at_s - first.at_s < SMOOTH_S / 2:
            return None, None
        media_s = (last.video_ms - first.video_ms) / 1000
        if media_s <= 0:
            return 0.0, 0.0
        pictures = last.pictures - first.pictures
        return pictures / media_s, (pictures + last.missing - first.missing) / media_s

    def _keyframe_s(self) -> float | None:
        if self._keyframe_ms is None or self._video_ms is None:
            return None
        since_ms = self._video_ms - self._keyframe_ms - self._missing_ms
        if self._keyframe_interval_ms is None:
            return since_ms / 1000
        return max(since_ms, self._keyframe_interval_ms) / 1000

    def _jitter_ms(self) -> float | None:
        ahead = sorted(ahead_ms for _, paces in self._paces for ahead_ms in paces)
        if len(ahead) < MIN_GAPS:
            return None
        edge = len(ahead) // 20
        return ahead[-1 - edge] - ahead[edge]

    def _speed(self) -> float | None:
        if not self._looks:
            return None
        first, last = self._looks[0], self._looks[-1]
        if last.heard_s - first.heard_s < SPEED_S / 2:
            return None
        speed = (last.clock_ms - first.clock_ms) / 1000 / (last.heard_s - first.heard_s)
        if last.video_s - first.video_s >= SPEED_S / 2:  # never true of what is not a number
            video_s = (last.video_ms - first.video_ms) / 1000
            speed = max(speed, video_s / (last.video_s - first.video_s))
        return speed


def _usual(gaps_ms: Sequence[int]) -> float:
    """The interval that most gaps have: stamps are rounded, and a gap may be several intervals."""
    short_ms = sorted(gaps_ms)[len(gaps_ms) // 4]
    return fmean([gap for gap in gaps_ms if abs(gap - short_ms) <= max(1.0, short_ms / 4)])


def _has_b_frames(samples: Sequence[_Noted]) -> bool | None:
    """Pictures that are decoded in another order than shown are shown after differing times."""
    offsets = [sample.offset_ms for sample in samples if sample.is_video]
    return max(offsets) - min(offsets) > ROUNDING_MS if offsets else None


def _skew_ms(samples: Sequence[_Noted]) -> float | None:
    pictures = [each.dts_ms - each.heard_s * 1000 for each in samples if each.is_video]
    sounds = [each.dts_ms - each.heard_s * 1000 for each in samples if not each.is_video]
    return median(sounds) - median(pictures) if pictures and sounds else None
