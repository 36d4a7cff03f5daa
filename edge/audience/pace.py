"""How often the players of a broadcast have a reason to ask: measured, for parts are not as long as
they aim to be (at 24 frames a second, say).

Pure. May import: `edge.audience.bare`, `edge.live`.
"""

from itertools import islice
from typing import Final

from edge.audience.bare import Pace
from edge.live import LiveStream

_SEGMENTS: Final = 5  # the newest; some ten seconds


def pace_of(stream: LiveStream | None) -> Pace | None:
    """Measure the parts of a broadcast's best rendition; None: it has no complete segment yet."""
    if stream is None:
        return None
    for name in stream.listed:
        timeline = stream.renditions[name].timeline
        newest = list(islice(reversed(timeline.segments), _SEGMENTS))
        parts = sum(len(segment.part_names) for segment in newest)
        duration_ns = sum(segment.duration_ns for segment in newest)
        if parts and duration_ns:
            return Pace(
                part_s=duration_ns / parts / 1e9,
                target_s=float(timeline.presentation.target_duration_s),
            )
    return None
