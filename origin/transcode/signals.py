"""What can be told from decoded media: black picture, frozen picture, silence, and A/V drift.

Pure: arrays and stamps in, conditions out; no codec, no clock. Time is media time, in ticks of
90 kHz, so a machine that is slow or fast sees the same. One `VideoSignals` sees the pictures of a
broadcast in display order, as luma planes of about `PLANE_WIDTH` by `PLANE_HEIGHT`, in which an
encoder's noise is averaged away and a talking head is not; one `AudioSignals` sees its sound.

A condition is never one picture's opinion. It begins after it has held for some seconds, and ends
after it has not held for some tenths; the thresholds of the two lie apart. A stamp that goes back
or leaves a gap begins the waiting anew, and changes no verdict.

Wrong shapes, gaps, NaN and clocks that jump are all taken: a decoder makes them out of what a
stranger sent.

May import numpy.
"""

import math
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

TICKS_PER_SECOND: Final = 90_000

PLANE_WIDTH: Final = 160
PLANE_HEIGHT: Final = 90
"""The size that thresholds are made for. Others work; averaging over areas matters more."""

SAMPLE_INTERVAL_S: Final = 0.25
"""Pictures nearer to the last one looked at are passed over: `VideoSignals.wants` says so."""

MAX_GAP_S: Final = 3.0
"""Between two looks. Nothing is known of a longer time."""

LEAVE_AFTER_S: Final = 0.2
"""A condition has ended when it has not held for so long: two looks at a picture, ten at sound."""

BLACK_AFTER_S: Final = 2.0
MAX_BLACK_MEAN: Final = 32.0
MAX_BLACK_SPREAD: Final = 4.0
"""Standard deviation. Black is 16 (or 0) with a codec's noise; a dark scene between black bars has
5 and more, and a candle of 30 pixels in the night 8."""

BLACK_MARGIN: Final = 1.5
"""By so much the mean and the spread must rise above their bounds to end it."""

FROZEN_AFTER_S: Final = 5.0
BLOCK: Final = 10
"""Edge of the squares in which change is looked for: a mouth is about one."""

MAX_STILL_CHANGE: Final = 5.0
"""Mean absolute difference of a square from the picture in which stillness began. A still picture
of 720p makes 2.5 at 1000 kbit/s of x264's fastest preset, and up to 4.7 at 300, in the second in
which it gets its details; a mouth makes 12, a cursor or a digit 8 and more."""

SILENT_AFTER_S: Final = 3.0
SILENT_DBFS: Final = -60.0
SOUND_DBFS: Final = -57.0
"""Effective level of an audio frame without its DC offset; between the two, nothing changes."""

DRIFT_TIME_CONSTANT_S: Final = 2.0

Plane: TypeAlias = NDArray[np.uint8]


class Lasting:
    """A condition with patience: true after `enter_after_s`, false after `LEAVE_AFTER_S`."""

    def __init__(self, enter_after_s: float) -> None:
        self._enter_after_ticks = round(enter_after_s * TICKS_PER_SECOND)
        self._since_ticks: int | None = None
        self._last_ticks: int | None = None
        self.holds = False

    def push(self, *, enters: bool, leaves: bool, pts_ticks: int) -> bool:
        """Take what was seen at a time; of the two, none may be true: then all stays as it is.

        Returns:
            Whether the verdict has changed.
        """
        last, self._last_ticks = self._last_ticks, pts_ticks
        if last is None or not last <= pts_ticks <= last + MAX_GAP_S * TICKS_PER_SECOND:
            self._since_ticks = None
        # Since when is it otherwise than the verdict says?
        if not (leaves if self.holds else enters):
            # A verdict needs them in a row. Between the thresholds, what began goes on.
            if enters or leaves:
                self._since_ticks = None
            return False
        if self._since_ticks is None:
            self._since_ticks = pts_ticks
        wait_ticks = LEAVE_AFTER_S * TICKS_PER_SECOND if self.holds else self._enter_after_ticks
        if pts_ticks - self._since_ticks < wait_ticks:
            return False
        self.holds = not self.holds
        self._since_ticks = None
        return True


class VideoSignals:
    """Black and frozen, of one broadcast's pictures."""

    def __init__(self) -> None:
        self._black = Lasting(BLACK_AFTER_S)
        self._frozen = Lasting(FROZEN_AFTER_S)
        self._last_ticks: int | None = None
        # The picture in which stillness began: slow changes add up against it.
        self._anchor: Plane | None = None

    @property
    def black(self) -> bool:
        """There has been nothing but black for `BLACK_AFTER_S`."""
        return self._black.holds

    @property
    def frozen(self) -> bool:
        """Nothing has moved for `FROZEN_AFTER_S`. A still slate is frozen, too."""
        return self._frozen.holds

    def wants(self, pts_ticks: int) -> bool:
        """Whether a picture of this time will be looked at; if not, it need not be scaled."""
        last = self._last_ticks
        return last is None or not last <= pts_ticks < last + SAMPLE_INTERVAL_S * TICKS_PER_SECOND

    def push(self, luma: Plane, pts_ticks: int) -> None:
        """Take a picture, in display order.

        Args:
            luma: Rows of luma samples, limited or full range. It is copied if it is kept.
            pts_ticks: Its presentation time.

        Cost: about 60 us for a picture that is looked at, 0.4 us for others.
        """
        if not self.wants(pts_ticks) or luma.ndim != 2 or luma.size == 0:
            return
        self._last_ticks = pts_ticks
        self._judge_black(luma, pts_ticks)
        self._judge_frozen(luma, pts_ticks)

    def _judge_black(self, luma: Plane, pts_ticks: int) -> None:
        level = luma.ravel().astype(np.float32)
        mean = float(level.mean())
        spread = math.sqrt(max(0.0, float(np.dot(level, level)) / level.size - mean * mean))
        self._black.push(
            enters=mean <= MAX_BLACK_MEAN and spread <= MAX_BLACK_SPREAD,
            leaves=mean > MAX_BLACK_MEAN * BLACK_MARGIN or spread > MAX_BLACK_SPREAD * BLACK_MARGIN,
            pts_ticks=pts_ticks,
        )

    def _judge_frozen(self, luma: Plane, pts_ticks: int) -> None:
        anchor = self._anchor
        moved = anchor is None or _largest_change(luma, anchor) > MAX_STILL_CHANGE
        changed = self._frozen.push(enters=not moved, leaves=moved, pts_ticks=pts_ticks)
        # While frozen, one strange picture (a keyframe's pump) does not become the measure.
        if moved and (changed or not self._frozen.holds):
            self._anchor = luma.copy()


def _largest_change(luma: Plane, anchor: Plane) -> float:
    """The mean absolute difference of the square that differs most; infinite for another size."""
    if luma.shape != anchor.shape:
        return float("inf")
    difference = np.maximum(luma, anchor) - np.minimum(luma, anchor)
    height, width = difference.shape
    block_height, block_width = min(BLOCK, height), min(BLOCK, width)
    rows, columns = height // block_height, width // block_width
    # What does not fit in squares at the right and below is left out. First the sums of each
    # square's columns, since neighbours add up fastest; 10 * 10 * 255 fits in 16 bits.
    whole = difference[: rows * block_height, : columns * block_width]
    sums = whole.reshape(rows, block_height, -1).sum(axis=1, dtype=np.uint16)
    squares = sums.reshape(rows, columns, block_width).sum(axis=2, dtype=np.uint16)
    return float(squares.max() / (block_height * block_width))


class AudioSignals:
    """Silence, of one broadcast's sound."""

    def __init__(self) -> None:
        self._silent = Lasting(SILENT_AFTER_S)

    @property
    def silent(self) -> bool:
        """No channel has had a sound for `SILENT_AFTER_S`."""
        return self._silent.holds

    def push(self, samples: NDArray[Any], pts_ticks: int) -> None:
        """Take a frame of sound, in order.

        Args:
            samples: Floats in -1 to 1, or signed integers of full scale; channels in rows, or
                interleaved in one.
            pts_ticks: Its presentation time.

        Cost: about 40 us for 1024 stereo samples.
        """
        if samples.size == 0:
            return
        level_dbfs = _level_dbfs(samples)
        self._silent.push(
            enters=level_dbfs < SILENT_DBFS, leaves=level_dbfs > SOUND_DBFS, pts_ticks=pts_ticks
        )


def _level_dbfs(samples: NDArray[Any]) -> float:
    """Effective level of the loudest channel; what is not a number is loud."""
    full_scale = 1.0
    if samples.dtype.kind == "i":
        full_scale = float(-np.iinfo(samples.dtype).min)
    channels = np.atleast_2d(samples).astype(np.float32)
    with np.errstate(all="ignore"):
        channels -= channels.mean(axis=1, keepdims=True)
        power = float(np.einsum("ij,ij->i", channels, channels).max()) / channels.shape[1]
    if not math.isfinite(power):
        return 0.0
    return 10.0 * math.log10(max(power / full_scale**2, 1e-20))


class AvDrift:
    """How far the sound is ahead of the picture, by their stamps as they arrive, smoothed.

    A publisher sends both side by side. One whose sound card and camera have clocks of their own
    drifts apart; stamps that are reordered (B-frames) and bursts of one kind are evened out.
    """

    def __init__(self) -> None:
        # How far each has come.
        self._video_ticks: int | None = None
        self._audio_ticks: int | None = None
        self.seconds: float | None = None
        """Negative: the sound is late. None until both have come."""

    def push_video(self, pts_ticks: int) -> None:
        """A picture of this time has come."""
        last = self._video_ticks
        if last is None or _is_another_clock(last, pts_ticks):
            self._video_ticks = pts_ticks
            self._audio_ticks = self.seconds = None
            return
        self._video_ticks = furthest = max(last, pts_ticks)
        if self._audio_ticks is None:
            return
        ahead_s = (self._audio_ticks - furthest) / TICKS_PER_SECOND
        if self.seconds is None:
            self.seconds = ahead_s
            return
        share = min(1.0, (furthest - last) / TICKS_PER_SECOND / DRIFT_TIME_CONSTANT_S)
        self.seconds += share * (ahead_s - self.seconds)

    def push_audio(self, pts_ticks: int) -> None:
        """A frame of sound of this time has come."""
        last = self._audio_ticks
        if last is None or not _is_another_clock(last, pts_ticks):
            self._audio_ticks = pts_ticks if last is None else max(last, pts_ticks)
            return
        # Nothing can be said until the picture is on this clock as well.
        self._audio_ticks = pts_ticks
        self._video_ticks = self.seconds = None


def _is_another_clock(last_ticks: int, pts_ticks: int) -> bool:
    return abs(pts_ticks - last_ticks) > MAX_GAP_S * TICKS_PER_SECOND
