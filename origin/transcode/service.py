"""Transcoding as a service of the process: which broadcast gets a ladder, and who supervises it.

`Transcoding.open` is the synchronous question of a publication that knows its tracks: it books
cores (`capacity`) and returns a `Ladder`, or None if there is nothing to encode or no room. `run`
owns one task for each ladder; that task supervises the ladder's workers until the broadcast is
over, and gives the cores back. It also measures what this machine takes to encode, if that is not
known yet, while the origin serves already.

May import hls and origin's own; not av.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
import trio

from edge.process.log import start_apart
from origin.metrics import TranscodeMetrics
from origin.transcode.capacity import Admission, Capacity, SourceLoad
from origin.transcode.health import TranscodeHealth
from origin.transcode.ladder import Ladder
from origin.transcode.measure import Speed, calibrate
from origin.transcode.rungs import Ladder as LadderSettings
from origin.transcode.rungs import RungPlan, rungs_for, top_rung
from origin.transcode.supervisor import Supervisor
from origin.transcode.wire import MAX_DIMENSION

if TYPE_CHECKING:
    from hls.audio import AudioConfig
    from hls.video import VideoConfig
    from origin.broadcast import Broadcast, Broadcasts

DEFAULT_FRAME_RATE: Final = 30.0
"""Taken for a source whose configuration does not say; the first segment is not awaited to know."""

MIN_FRAME_RATE: Final = 1.0
MAX_FRAME_RATE: Final = 240.0
"""What a configuration claims is believed within these."""

log = structlog.get_logger("transcode")


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscodeSettings:
    """What the operator has chosen."""

    ladder: LadderSettings
    """Rungs, and the encoder of those that name none."""
    max_gop_s: float
    """Longest keyframe interval at which a source is passed through."""
    memory_bytes: int
    """Address space of a worker."""
    folder: Path
    """Where the measurement of this machine is kept."""


class Transcoding:
    """All ladders of this process.

    Args:
        settings: What to encode.
        speed: What was measured of this machine; None: it is measured by `run`.
        capacity: The cores there are for it.
        broadcasts: Serves what is encoded.
        metrics: Learns how it goes.
    """

    def __init__(
        self,
        *,
        settings: TranscodeSettings,
        speed: Speed | None,
        capacity: Capacity,
        broadcasts: "Broadcasts",
        metrics: TranscodeMetrics,
    ) -> None:
        self._settings = settings
        self._speed = speed
        self._reconfigured = trio.Event()
        self._capacity = capacity
        self._broadcasts = broadcasts
        self._metrics = metrics
        self._nursery: trio.Nursery | None = None
        self._ladders: dict[str, Ladder] = {}  # the newest of each stream that has one

    @property
    def max_gop_s(self) -> float:
        """Longest keyframe interval at which a source is passed through."""
        return self._settings.max_gop_s

    @property
    def trouble(self) -> str | None:
        """Why no rung can be encoded, in one sentence; None: some can, or none is to be."""
        rungs, broken = self._ladder.rungs, self._capacity.broken
        if not rungs or any(self._ladder.encoder_of(rung) not in broken for rung in rungs):
            return None
        return "no encoder of the ladder works here"

    def health(self, stream_id: str) -> TranscodeHealth | None:
        """Say how a stream's ladder fares; None: it has none."""
        ladder = self._ladders.get(stream_id)
        return None if ladder is None else ladder.health()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the ladders until cancelled; their workers are killed then."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            is_measured = self._speed is not None
            while True:
                reconfigured, ladder = self._reconfigured, self._settings.ladder
                if ladder.rungs and not is_measured:
                    speed = await calibrate(self._settings.folder, ladder)
                    if speed is not None:
                        self._speed = speed
                        self._capacity.recalibrate(speed.costs)
                await reconfigured.wait()
                speed = self._speed
                is_measured = speed is not None and speed.serves(self._settings.ladder)

    def reconfigure(self, ladder: LadderSettings, *, max_gop_s: float) -> None:
        """Give broadcasts that begin from now on another ladder.

        What it needs and was never measured here is measured by `run`; until then it is estimated.
        """
        self._settings = replace(self._settings, ladder=ladder, max_gop_s=max_gop_s)
        self._reconfigured.set()
        self._reconfigured = trio.Event()

    @property
    def _ladder(self) -> LadderSettings:
        """With the encoder that "auto" is, as far as that is known."""
        ladder = self._settings.ladder
        return ladder if self._speed is None else self._speed.applied_to(ladder)

    def open(
        self, broadcast: "Broadcast", video: "VideoConfig", audio: "AudioConfig | None"
    ) -> Ladder | None:
        """Give a broadcast its ladder.

        Args:
            broadcast: Live, with media.
            video: What the publisher sends.
            audio: Likewise.

        Returns:
            The ladder, running; None if nothing is to be encoded, or nothing fits.
        """
        settings, nursery = self._ladder, self._nursery
        if nursery is None or not settings.rungs:
            return None
        if max(video.display_width, video.width, video.height) > MAX_DIMENSION:
            return None
        rate = float(video.frame_rate or DEFAULT_FRAME_RATE)
        rate = min(max(rate, MIN_FRAME_RATE), MAX_FRAME_RATE)
        width, height = video.display_width, video.height
        source = SourceLoad(video.width, video.height, rate)
        below = rungs_for(display_width=width, height=height, frame_rate=rate, ladder=settings)
        stand_in = top_rung(display_width=width, height=height, frame_rate=rate, ladder=settings)
        with_stand_in = self._admit(broadcast, source, [stand_in, *below])
        fits = any(plan.name == stand_in.name for plan in with_stand_in.taken)
        admission = self._admit(broadcast, source, below)
        left_out = [left.reason for left in admission.left_out]
        log.info(
            "transcoding",
            stream=broadcast.stream_id,
            rungs=",".join(plan.name for plan in admission.taken) or "none",
            left_out="; ".join(left_out) or "none",
        )
        if not admission.taken and not fits:
            return None
        self._metrics.admitted(
            broadcast.stream_id,
            [plan.name for plan in admission.taken],
            [left.name for left in admission.left_out],
        )
        taken = admission.taken
        ladder = Ladder(
            broadcasts=self._broadcasts,
            broadcast=broadcast,
            plans=taken,
            stand_in=stand_in if fits else None,
            left_out=left_out,
            max_gop_s=self._settings.max_gop_s,
            metrics=self._metrics,
            on_stand_in=lambda: self._capacity.book(broadcast.token, source, [stand_in, *taken]),
        )
        broadcast.ladder = self._ladders[broadcast.stream_id] = ladder
        ladder.begin()
        start_apart(nursery, self._attend, ladder)
        return ladder

    def _admit(
        self, broadcast: "Broadcast", source: SourceLoad, plans: list[RungPlan]
    ) -> Admission:
        return self._capacity.admit(broadcast.token, source, plans)

    async def _attend(self, ladder: Ladder) -> None:
        """Look after one ladder until its broadcast is over."""
        structlog.contextvars.bind_contextvars(stream=ladder.stream_id)
        supervisor = Supervisor(
            ladder, metrics=self._metrics, memory_bytes=self._settings.memory_bytes
        )
        try:
            await supervisor.run()
        except Exception as error:  # a bug in one ladder leaves the others alone
            log.error("transcoding failed", stream=ladder.stream_id, exc_info=error)
            ladder.abandon()
        try:
            await ladder.closed.wait()
        finally:
            self._capacity.release(ladder.token)
            if self._ladders.get(ladder.stream_id) is ladder:  # and no newer broadcast's
                del self._ladders[ladder.stream_id]
                self._metrics.forget(ladder.stream_id)
