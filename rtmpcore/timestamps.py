"""RTMP's wrapping 32-bit milliseconds, unwrapped to integers that do not wrap.

RTMP timestamps are unsigned 32-bit milliseconds (RTMP 1.0 section 5.3.1) and wrap after 49.7 days,
or at once when a publisher starts near the end (DJI drones). OBS masks the top byte with 0x7F, so
its clock wraps at 31 bits, after 24.8 days. Both are unwrapped by one rule: the step between
two timestamps is taken modulo 2**31, as the nearest signed value. A true step beyond 12.4 days
either way is not told apart, and needs not be: the segmenter re-anchors at any such jump.

May import: nothing of ours.
"""

from typing import Final

_MODULUS: Final = 1 << 31
_HALF: Final = 1 << 30


class TimestampUnwrapper:
    """Unwraps the timestamps of one publisher.

    Use one for audio and video together: they share the publisher's clock, and two unwrappers would
    disagree when the tracks begin on either side of a wrap.
    """

    def __init__(self) -> None:
        self._last: int | None = None

    def unwrap(self, timestamp_ms: int) -> int:
        """Return the timestamp on a clock that never wraps, in milliseconds.

        The first value is returned as it is. Later ones may be smaller, even negative: backward
        steps are kept, for they are the publisher's and the caller judges them.

        Args:
            timestamp_ms: The timestamp of a message, 0 to 2**32 - 1.
        """
        last = self._last
        if last is not None:
            # last may have left 32 bits; the modulus brings it back.
            timestamp_ms = last + (timestamp_ms - last + _HALF) % _MODULUS - _HALF
        self._last = timestamp_ms
        return timestamp_ms
