"""One rung of one broadcast's ladder: what it is to be, and how far it has come.

State only; the `ladder` changes it. May import hls and origin's own.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hls.rung import Rung
from hls.video import VideoConfig
from origin.transcode import wire
from origin.transcode.rungs import RungPlan

if TYPE_CHECKING:
    from edge.rendition import LiveRendition


@dataclass(slots=True, eq=False)
class Step:
    """One rung of this ladder."""

    index: int
    """In the worker's set-up."""
    plan: RungPlan
    rung: Rung
    divisor: int
    """What the worker was last told: one picture in so many, 0 for none."""
    is_wanted: bool = True
    """False for a stand-in that is not needed."""
    awaits_resume: bool = False
    """Pictures come again with the next segment."""
    rendition: "LiveRendition | None" = None
    """What viewers see; None before its first part."""
    is_hidden: bool = False
    config: VideoConfig | None = None
    """Of the pictures that come."""
    out_number: int | None = None
    """Number of the newest picture that came back; None before the first."""

    @property
    def setup(self) -> wire.RungSetup:
        """What a worker is told of it."""
        plan = self.plan
        return wire.RungSetup(
            name=plan.name,
            width=plan.width,
            height=plan.height,
            bitrate_bps=plan.bitrate_bps,
            encoder=plan.encoder,
            preset=plan.preset,
            frame_rate=plan.frame_rate,
            divisor=self.divisor,
        )
