"""The bit rates of a rendition: what was measured, and what the multivariant playlist announces.

Measured values move with every segment. The text of a multivariant playlist should not: players
fetch it once, caches keep it, and a viewer who reloads should get the same bytes. So the
announcement is made from the first complete segment with stated headroom, and made again only when
the measurement has outgrown it. Each new announcement is at least a quarter above the peak that
forced it, so their number is logarithmic in the bit rate.

Pure arithmetic; imports nothing of ours. Spec: draft-pantos-hls-rfc8216bis-22 section 4.4.6.2;
HLS Authoring Specification 1.28 and 1.29.
"""

from collections import deque
from dataclasses import dataclass

PEAK_HEADROOM_PERCENT = 125
"""Announced BANDWIDTH over the measured peak: room for a scene busier than the first segment."""

AVERAGE_HEADROOM_PERCENT = 110
"""Announced AVERAGE-BANDWIDTH over the measured mean; the measured mean may pass it by as much
again (Authoring Specification 1.28: at most 110 %) before it is announced anew."""

_STEP_BPS = 1000  # announced rates are whole multiples of this
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """A pair of bit rates of one rendition, audio and video together."""

    peak_bps: int
    """BANDWIDTH: the greatest bit rate of any contiguous set of segments of 0.5 to 1.5 TD."""

    average_bps: int
    """AVERAGE-BANDWIDTH: all bits over all media time."""


class BandwidthMeter:
    """Measures segment by segment.

    Args:
        peak_headroom_percent: Announced peak over the measured one, at least 100.

    Invariants: the announced peak never falls; after every `add`, the measured peak is at most the
    announced one, and the measured mean at most 110 % of the announced one.
    Cost: memory for the segments of 1.5 target durations.
    """

    def __init__(self, peak_headroom_percent: int = PEAK_HEADROOM_PERCENT) -> None:
        self._peak_headroom_percent = peak_headroom_percent
        # (bits, duration_ns) of the newest segments; never more than 1.5 TD of them, plus one.
        self._recent: deque[tuple[int, int]] = deque()
        self._total_bits = 0
        self._total_ns = 0
        self._peak_bps = 0
        self.announced = Bandwidth(0, 0)
        """What the multivariant playlist says; zero before the first segment."""

    @property
    def measured(self) -> Bandwidth:
        """The rates of everything added so far, rounded up; zero before the first segment."""
        average_bps = _bps(self._total_bits, self._total_ns) if self._total_ns else 0
        # Early on no set may count, or only quiet ones; but no peak is below the mean.
        return Bandwidth(max(self._peak_bps, average_bps), average_bps)

    def add(self, *, size_bytes: int, duration_ns: int, target_duration_s: int) -> None:
        """Count one complete segment.

        Args:
            size_bytes: Its whole size.
            duration_ns: Its duration, > 0.
            target_duration_s: The playlist's target duration (TD), the same in every call.

        Spec: 4.4.6.2: "the Peak Segment Bit Rate ... is the largest bit rate of any contiguous set
        of segments whose total duration is between 0.5 and 1.5 times the Target Duration".
        Cost: O(segments in 1.5 target durations).
        """
        shortest_ns, longest_ns = target_duration_s * _NS // 2, target_duration_s * _NS * 3 // 2
        self._total_bits += size_bytes * 8
        self._total_ns += duration_ns
        self._recent.append((size_bytes * 8, duration_ns))
        run_bits = run_ns = 0
        kept = 0
        # Sets that end with this segment, shortest first; every other set was seen before.
        for bits, ns in reversed(self._recent):
            if run_ns + ns > longest_ns:
                break
            run_bits, run_ns, kept = run_bits + bits, run_ns + ns, kept + 1
            if run_ns >= shortest_ns:
                self._peak_bps = max(self._peak_bps, _bps(run_bits, run_ns))
        while len(self._recent) > kept:
            self._recent.popleft()
        self._announce()

    def _announce(self) -> None:
        measured, announced = self.measured, self.announced
        if (
            measured.peak_bps <= announced.peak_bps
            and measured.average_bps * 100 <= announced.average_bps * AVERAGE_HEADROOM_PERCENT
        ):
            return
        peak_bps = _with_headroom(measured.peak_bps, self._peak_headroom_percent)
        average_bps = _with_headroom(measured.average_bps, AVERAGE_HEADROOM_PERCENT)
        self.announced = Bandwidth(peak_bps, min(peak_bps, average_bps))


def _bps(bits: int, duration_ns: int) -> int:
    return -(-bits * _NS // duration_ns)  # rounded up


def _with_headroom(rate_bps: int, percent: int) -> int:
    return -(-rate_bps * percent // (100 * _STEP_BPS)) * _STEP_BPS
