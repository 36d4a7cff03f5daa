"""The policy of a timeline: how much is listed, and how near to the live edge players play.

May import `hls.errors`. Spec: draft-pantos-hls-rfc8216bis-22, sections 4.4.3.8, 6.2.2.
"""

from dataclasses import dataclass

from hls.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineSettings:
    """Policy of a timeline. All renditions of a broadcast must use the same (6.2.4).

    Raises:
        UsageError: A value is outside its range.
    """

    window_segments: int = 15
    """Complete segments listed, >= 1; more while they hold less than three target durations."""

    part_hold_back_s: float = 1.0
    """Distance from the live edge at which players are asked to play, in seconds, > 0.

    The playlist says the greater of this and three part targets. It is the latency that hls.js aims
    at, counted from the end of the newest part, so it is nearly all of glass to glass on a LAN. One
    second is five parts of 200 ms: room for a reload, a fetch and a late part. Below that hls.js
    stalls on jitter and never catches up, because it only speeds up with more than 1 s in its
    buffer.
    """

    def __post_init__(self) -> None:
        if self.window_segments < 1:
            raise UsageError("window_segments must be at least 1")
        if not self.part_hold_back_s > 0:
            raise UsageError("part_hold_back_s must be greater than 0")
