"""When each demo frame is due: an absolute schedule, so that lateness never adds up. Pure."""

import math


class Pacer:
    """Counts frames against a clock.

    Frame n is due at ``start_s + n / frame_rate``, whatever happened to those before it. Who
    comes late skips the frames that are past, as a camera would lose them.

    Args:
        start_s: When frame 0 is due, on the caller's monotonic clock.
        frame_rate: Frames per second.
    """

    def __init__(self, start_s: float, frame_rate: int) -> None:
        self._start_s = start_s
        self._frame_rate = frame_rate
        self._last = -1

    def next_frame(self, now_s: float) -> tuple[int, float]:
        """Choose the next frame.

        Args:
            now_s: The caller's monotonic clock.

        Returns:
            The frame's number, greater than all before, and when it is due: the caller waits
            until then, or not at all if that is past.
        """
        current = math.floor((now_s - self._start_s) * self._frame_rate)
        self._last = max(self._last + 1, current)
        return self._last, self._start_s + self._last / self._frame_rate
