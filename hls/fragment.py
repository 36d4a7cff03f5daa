"""Samples to movie fragments: track numbers, sample flags, sequence numbers.

The bytes are native's (`native.write_fragment`); this module knows what to say with them. One part
is one fragment: one ``moof``, one ``mdat``, video before audio.

Spec: ISO/IEC 14496-12, 8.8.3.1 (sample flags), 8.8.5 (sequence number); CMAF, 7.3.2.3.
"""

from collections.abc import Sequence
from typing import Final

from native import FragmentSample, TrackRun, write_fragment

VIDEO_TRACK_ID: Final = 1
AUDIO_TRACK_ID: Final = 2

SYNC_FLAGS: Final = 0x0200_0000
"""sample_depends_on = 2 (on no other): an IDR picture, and every AAC frame."""

NON_SYNC_FLAGS: Final = 0x0101_0000
"""sample_depends_on = 1, sample_is_non_sync_sample = 1: any other picture."""


class FragmentWriter:
    """Writes the fragments of one rendition and numbers them."""

    __slots__ = ("_sequence_number",)

    def __init__(self) -> None:
        self._sequence_number = 0

    def write(
        self,
        video_time: int,
        video: Sequence[FragmentSample],
        audio_time: int,
        audio: Sequence[FragmentSample],
    ) -> bytes:
        """Return one fragment.

        Args:
            video_time: Decode time of the first picture, in ticks of the video track.
            video: Pictures in decode order; may be empty if ``audio`` is not.
            audio_time: Decode time of the first audio frame, in samples.
            audio: Audio frames; may be empty if ``video`` is not.
        """
        runs = []
        if video:
            runs.append(TrackRun(VIDEO_TRACK_ID, video_time, video))
        if audio:
            runs.append(TrackRun(AUDIO_TRACK_ID, audio_time, audio))
        # 32 bits at five parts a second last for 27 years.
        self._sequence_number += 1
        return write_fragment(self._sequence_number, runs)
