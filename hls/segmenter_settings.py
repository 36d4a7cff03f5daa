"""Every number that the packager takes as policy, with its reason: durations, patience, bounds."""

from dataclasses import dataclass, fields

from hls.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmenterSettings:
    """Policy of one rendition's `Segmenter`; all values are > 0.

    Raises:
        UsageError: A value is not positive, or two of them contradict each other.
    """

    segment_target_s: float = 2.0
    """A segment ends at the first IDR picture after so long."""

    part_target_s: float = 0.2
    """A part is as many whole frames as come nearest to this; 4 to 12 parts a segment are best."""

    max_gop_s: float = 12.0
    """Longest GOP that TARGETDURATION makes room for, and the longest probe. OBS's default of 250
    frames is 10.4 s at 24 fps. A longer GOP is cut at a picture that is no IDR."""

    free_cut_gop_s: float | None = None
    """A GOP longer than this makes the segmenter cut wherever a segment is long enough, at IDR
    pictures or not: for broadcasts whose viewers get pictures that are encoded anew, with an IDR
    picture at each cut. None: segments wait for the publisher's IDR pictures."""

    max_probe_bytes: int = 32 * 1024 * 1024
    """Most bytes held by the probe, which then ends with the GOPs seen so far."""

    max_segment_bytes: int = 64 * 1024 * 1024
    """Most bytes of an open segment, with 256 more for each sample: 12 s at 40 Mbit/s. Segments
    that breaks cut short count together. Past it the broadcast fails with `MediaError`, because
    something upstream is wrong."""

    audio_patience_s: float = 0.1
    """How far video may run past a part's end while audio for that part is waited for, in media
    time. OBS and ffmpeg interleave exactly; what comes later goes into the next part."""

    silence_patience_s: float = 0.5
    """How far video may go on, in media time, without a frame of audio, before silence takes the
    audio's place. A player one second behind the live edge has that much left when it runs out of
    sound. A publisher that turns out to send its audio late is given twice as long, and so on."""

    video_patience_s: float = 1.5
    """How far audio may run past a part's end while video is waited for, in media time, before the
    part goes out without more pictures. Just under the 0.8 target durations after which hls.js
    counts a late playlist as an error."""

    max_jump_s: float = 5.0
    """A stamp further than this ahead of every track is a discontinuity and not a gap; so is video
    that comes back after a longer absence."""

    max_backstep_s: float = 0.5
    """A stamp further than this behind its own track is a discontinuity and not jitter."""

    max_pause_s: float = 60.0
    """A forward jump of at most this is believed: the media clock jumps along, so that wall clock
    and media clock stay together. Longer ones are another clock."""

    max_lag_s: float = 2.0
    """How far decode times may be held back to keep parts short (see `hls.cutter`). Only a source
    without audio and with less than one frame a part gets here; its parts then grow too long."""

    audio_drift_s: float = 0.05
    """How far the count of audio samples may stray from the publisher's stamps before a frame is
    made longer, or left out, to agree again: about the least that a viewer notices."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and value <= 0:
                raise UsageError(f"{field.name} must be positive")
        if not self.part_target_s <= self.segment_target_s <= self.max_gop_s:
            raise UsageError("part_target_s <= segment_target_s <= max_gop_s does not hold")
        if self.free_cut_gop_s is not None and self.free_cut_gop_s >= self.max_gop_s:
            raise UsageError("free_cut_gop_s < max_gop_s does not hold")
        if self.max_probe_bytes > self.max_segment_bytes:
            raise UsageError("a probe is a segment: max_probe_bytes <= max_segment_bytes")
        if self.part_target_s < 0.02:
            raise UsageError("part_target_s must be at least 20 ms")
