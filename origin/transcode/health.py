"""How transcoding of a broadcast goes: what operators and broadcasters are told about it.

Pure; what is said here is gathered by the `ladder`. May import hls and origin's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hls.clock import VIDEO_TIMESCALE
from hls.sample import Placement
from origin.metrics import RungFigures, WorkerFigures
from origin.transcode import wire
from origin.transcode.rungs import RungPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscodeHealth:
    """How transcoding goes; a snapshot."""

    renditions: tuple[str, ...]
    """The rungs that are encoded now, best first."""
    left_out: tuple[str, ...]
    """Why others are not, for people."""
    level: int
    """How far the ladder is cut back; 0 is not at all."""
    lag_s: float | None
    """Newest picture in minus newest picture out."""
    restarts: int
    advice: tuple[str, ...]
    """What the broadcaster or the operator could do better."""
    figures: WorkerFigures | None
    """The worker's last report."""


@dataclass(slots=True)
class Keyframes:
    """Measures the publisher's keyframe interval."""

    last_ticks: int | None = None
    interval_s: float | None = None

    def note(self, placement: Placement) -> None:
        """Take a picture."""
        if placement.begins_epoch:
            self.last_ticks = None
        if placement.is_idr:
            if self.last_ticks is not None:
                self.interval_s = (placement.pts_ticks - self.last_ticks) / VIDEO_TIMESCALE
            self.last_ticks = placement.pts_ticks

    def advice(self, max_gop_s: float) -> str:
        """What the broadcaster should know of it."""
        known = self.interval_s is not None and self.interval_s > max_gop_s
        length = f"{self.interval_s:.1f} s" if known else f"over {max_gop_s:g} s"
        return f"keyframe interval {length}: set 2 s in OBS"


class RungMedia(NamedTuple):
    """What the ladder knows of a rung that its worker reports on."""

    plan: RungPlan
    lag_s: float | None
    """Newest picture in minus newest picture out; None before the first."""


def figures(status: wire.Status, rungs: Sequence[RungMedia | None]) -> WorkerFigures:
    """Put a worker's report into the words of metrics and health.

    Args:
        status: The report.
        rungs: In the order of the worker's set-up; None for one that nobody wants to know of.
    """
    return WorkerFigures(
        decoded=status.decoded,
        decode_errors=status.decode_errors,
        black=status.black,
        frozen=status.frozen,
        silent=status.silent,
        av_drift_s=status.av_drift_s,
        resident_bytes=status.rss_bytes,
        rungs=[
            _rung_figures(rung, counts, status.lost)
            for rung, counts in zip(rungs, status.rungs, strict=False)
            if rung is not None
        ],
    )


def _rung_figures(rung: RungMedia, counts: wire.RungStatus, lost: int) -> RungFigures:
    media_s = counts.frames * rung.plan.divisor / rung.plan.frame_rate
    return RungFigures(
        rendition=rung.plan.name,
        frames=counts.frames,
        dropped=lost,
        lag_s=rung.lag_s,
        speed_ratio=media_s / counts.encode_s if counts.encode_s > 0 else None,
    )
