"""From the publisher's stamps to media time.

Publishers stamp in whole milliseconds from an arbitrary origin; players want a timeline that
starts at zero and never breaks. An *epoch* is a stretch in which the publisher's clock can be
believed, and within it media time is the stamp plus a constant::

    publisher   ... 81234 81267 81300 | 12 45 78 ...     (went back: another clock)
    media ms    ...  9000  9033  9066 | 9100 9133 ...    (a new epoch, marked as a discontinuity)

`MediaClock` keeps that constant and says when a stamp does not belong to the epoch. Video takes its
ticks from it directly. `AudioClock` counts samples instead, since milliseconds are too coarse for
22.7 us of audio: stamps only steer it when count and stamp have drifted apart.

Invariant: times that either hands out never go back within an epoch, nor from one to the next.
"""

from typing import Final

from hls.segmenter_settings import SegmenterSettings

VIDEO_TIMESCALE: Final = 90_000
"""Ticks a second of every video track; 90 to a millisecond, so RTMP's stamps are exact in it."""

TICKS_PER_MS: Final = VIDEO_TIMESCALE // 1000
"""Video ticks in a millisecond: 90."""


class MediaClock:
    """Maps stamps of the current epoch to media time, and notices its end.

    Media time counts milliseconds from the first sample of the broadcast.
    """

    __slots__ = (
        "_backstep_ms",
        "_front_ms",
        "_jump_ms",
        "_last_audio_ms",
        "_last_video_ms",
        "_max_pause_ms",
        "_offset_ms",
        "_started",
    )

    def __init__(self, settings: SegmenterSettings) -> None:
        self._jump_ms = round(settings.max_jump_s * 1000)
        self._backstep_ms = round(settings.max_backstep_s * 1000)
        self._max_pause_ms = round(settings.max_pause_s * 1000)
        self._offset_ms = 0
        self._started = False
        self._forget()

    def start(self, stamp_ms: int, earliest_ms: int, *, same_publisher: bool) -> int:
        """Begin an epoch with its first sample.

        Args:
            stamp_ms: The publisher's stamp of that sample.
            earliest_ms: Media time that is taken already.
            same_publisher: The stamps of the last epoch and of this one come from one clock unless
                they contradict it: a pause in them is then a pause in media time too.

        Returns:
            Media time of the sample, ``earliest_ms`` or, after a pause, later.
        """
        media_ms = earliest_ms
        if same_publisher and self._started:
            pause_ms = stamp_ms + self._offset_ms - earliest_ms
            if 0 < pause_ms <= self._max_pause_ms:
                media_ms += pause_ms
        self._offset_ms = media_ms - stamp_ms
        self._started = True
        self._forget()
        self._front_ms = stamp_ms
        return media_ms

    def _forget(self) -> None:
        self._last_video_ms: int | None = None
        self._last_audio_ms: int | None = None
        self._front_ms = 0

    def accepts_video(self, stamp_ms: int) -> bool:
        """Return whether a picture's stamp continues the epoch; if so, remember it."""
        if not self._accepts(stamp_ms, self._last_video_ms):
            return False
        self._last_video_ms = stamp_ms
        return True

    def accepts_audio(self, stamp_ms: int) -> bool:
        """Return whether an audio frame's stamp continues the epoch; if so, remember it."""
        if not self._accepts(stamp_ms, self._last_audio_ms):
            return False
        self._last_audio_ms = stamp_ms
        return True

    def _accepts(self, stamp_ms: int, last_ms: int | None) -> bool:
        """Judge a stamp by the front of all tracks and by the last one of its own."""
        if stamp_ms > self._front_ms:
            if stamp_ms > self._front_ms + self._jump_ms:
                return False
            self._front_ms = stamp_ms
        return last_ms is None or stamp_ms >= last_ms - self._backstep_ms

    def media_ms(self, stamp_ms: int) -> int:
        """Return the media time of a stamp of this epoch, in milliseconds."""
        return stamp_ms + self._offset_ms


class AudioClock:
    """Counts the samples of an audio track; the publisher's stamps only steer it.

    Args:
        sample_rate: Samples a second, which is the track's timescale.
        samples_per_frame: Duration of one frame: of all, or of most, and of a frame of silence.
        drift_s: How far count and stamps may differ before a frame is made longer or left out.
    """

    __slots__ = ("_drift", "frame", "position", "sample_rate")

    position: int
    """Where the next frame starts, in samples of media time: the end of the last one. Whoever
    places the first frame sets it."""

    def __init__(self, sample_rate: int, samples_per_frame: int, drift_s: float) -> None:
        self.sample_rate = sample_rate
        self.frame = samples_per_frame
        # Not below one frame: then a frame that falls behind by more is past altogether.
        self._drift = max(samples_per_frame, round(drift_s * sample_rate))
        self.position = 0

    def ticks(self, media_ms: int) -> int:
        """Return media milliseconds in samples, rounded up: never before what they stand for."""
        return -(-media_ms * self.sample_rate // 1000)

    def missing(self, start: int, end: int) -> int:
        """Return how many whole frames fill a time best, both ends in samples; 0 if it is short.

        What is no more than drift is not worth a frame.
        """
        length = end - start
        return (length + self.frame // 2) // self.frame if length > self._drift else 0

    def place(self, media_ms: int, samples: int, longest: int) -> int:
        """Give the next frame its duration and advance `position` by it.

        Stamps that have run ahead make one frame longer, up to ``longest`` (the rest goes to the
        frames behind it); when they have fallen behind, frames whose time is past are left out. A
        frame that is longer than ``longest`` by itself, because the encoder has changed its mind
        about the length of frames, is cut down to it, and the stamps make up for it.

        Args:
            media_ms: Media time that the publisher's stamp gives the frame.
            samples: How many it has, at least 1.
            longest: Most ticks it may last, at least 1.

        Returns:
            Its duration in samples, at least 1; or 0 to leave the frame out.
        """
        drift = self.ticks(media_ms) - self.position
        duration = samples
        if drift > self._drift:
            duration += drift
        elif drift < -self._drift:
            return 0
        if duration > longest:
            duration = longest
        self.position += duration
        return duration
