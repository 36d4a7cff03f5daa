"""The transcoded renditions of one broadcast: between its source, a worker process and its viewers.

Synchronous throughout. Three callers meet here:

* the packager hands over what it pushed through the source's segmenter: samples with their
  placements (`take_picture`, `take_audio`) go to the worker's feed, the segmenter's events
  (`follow`) to every rung;
* the supervisor runs one worker after the other (`begin_life`, `end_life`) and hands over what the
  present one says (`take_message`); each coded picture goes to its rung, and what a rung completes
  is published at once;
* a publisher goes, and the next one may come (`interrupt`): worker and rungs stay;
* the broadcast ends (`close`, then `finish`).

The source is passed through if viewers can use it. If its keyframes are too far apart
(`Segmenter.cuts_anywhere`) it is hidden, and the *stand-in*, a rung of the source's own size, is
switched on in its place.

When the worker falls behind, `observe` cuts the ladder back step by step (`pressure`); when even
that does not help, all that waits is thrown away and the ladder goes on with the next IDR picture.
What is missing is a gap in the playlists. A rendition whose newest part is a gap is hidden from new
viewers.

May import hls, edge and origin's own; not av.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import structlog
import trio

from hls import MediaError, MediaEvent, Part, Sample
from hls.rung import CodedPicture, Rung
from hls.sample import Placement
from hls.video import VideoConfig, parse_video_config
from origin.broadcast import SOURCE, Broadcast, Broadcasts
from origin.metrics import TranscodeMetrics, WorkerFigures
from origin.transcode import wire
from origin.transcode.feed import Feed
from origin.transcode.health import Keyframes, RungMedia, TranscodeHealth, figures
from origin.transcode.in_flight import InFlight
from origin.transcode.pressure import HIGH_LAG_S, MAX_LAG_S, Pressure, divisors
from origin.transcode.rungs import RungPlan
from origin.transcode.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.live import LiveStream
    from hls.audio import AudioConfig

MAX_START_LAG_S: Final = 4.0
"""Lag that is borne until a worker has caught up for the first time: it starts a second late."""

NONE_RUNS: Final = 1 << 62
"""A number that is greater than any picture's: where nothing is encoded, nothing is awaited."""

DECODER_THREADS: Final = 1
"""More would decode slices in parallel; few publishers send pictures in slices."""

log = structlog.get_logger("transcode")


class Ladder:
    """The transcoded renditions of one broadcast.

    Args:
        broadcasts: Serves renditions.
        broadcast: What they belong to.
        plans: The rungs to encode, best first.
        stand_in: A rung for a source that cannot be passed through, if there is room for one.
        left_out: Why others are not encoded, for people.
        max_gop_s: Longest keyframe interval at which the source is passed through.
        metrics: Learns what happens.
        on_stand_in: Called when the stand-in turns out to be needed.
    """

    def __init__(
        self,
        *,
        broadcasts: Broadcasts,
        broadcast: Broadcast,
        plans: Sequence[RungPlan],
        stand_in: RungPlan | None,
        left_out: Sequence[str],
        max_gop_s: float,
        metrics: TranscodeMetrics,
        on_stand_in: "Callable[[], None]",
    ) -> None:
        self._broadcasts = broadcasts
        self._broadcast = broadcast
        self._left_out = tuple(left_out)
        self._max_gop_s = max_gop_s
        self._metrics = metrics
        self._on_stand_in = on_stand_in
        self._steps = [
            Step(index, plan, Rung(divisor=plan.divisor), plan.divisor)
            for index, plan in enumerate([*([stand_in] if stand_in else []), *plans])
        ]
        self._stand_in = self._steps[0] if stand_in is not None else None
        if self._stand_in is not None:
            self._stand_in.is_wanted = False
            self._stand_in.divisor = 0
        self._is_passed_through: bool | None = None
        self._pressure = Pressure(len(plans))
        self._level = 0
        self._video: VideoConfig | None = None
        self._audio: AudioConfig | None = None
        self._keyframes = Keyframes()
        # The worker's life. `_is_feeding`: pictures go to it; else the next IDR picture is awaited.
        self.feed = Feed()
        self._is_feeding = False
        self._fed_video: VideoConfig | None = None
        self._fed_audio: AudioConfig | None = None
        self._first_fed = 0  # number of the first picture since feeding began
        self._in_flight = InFlight()
        self._has_caught_up = False
        self._figures: WorkerFigures | None = None
        self.fed = 0
        """Pictures handed to the present worker."""
        self.came_back = 0
        """Pictures that came back from it."""
        self.restarts = 0
        """Workers that had to be replaced."""
        self._has_given_up = False
        self._finished = False
        self.closed = trio.Event()
        """The broadcast is over: the worker may finish what it has."""
        self.begun = trio.Event()
        """The source has its first segment."""

    @property
    def stream_id(self) -> str:
        """The stream that it belongs to."""
        return self._broadcast.stream_id

    @property
    def token(self) -> str:
        """Its broadcast's token; a stream may have a new ladder before the last one is gone."""
        return self._broadcast.token

    # -- the packager's side

    def set_tracks(self, video: VideoConfig | None, audio: "AudioConfig | None") -> None:
        """Say what the samples that follow belong to."""
        self._video, self._audio = video, audio

    def begin(self) -> None:
        """The broadcast has its media: let new viewers wait for the rungs, and feed a worker."""
        live = self._live()
        live.order = (SOURCE, *(step.plan.name for step in self._steps))
        for step in self._wanted():
            live.expect(step.plan.name)
        self.begin_life()

    def _live(self) -> "LiveStream":
        live = self._broadcast.live
        assert live is not None  # a ladder is made for a broadcast that has media
        return live

    def decide(self, cuts_anywhere: bool | None) -> None:
        """Act on the news whether the source can be passed through, before it is published.

        Args:
            cuts_anywhere: See `Segmenter.cuts_anywhere`.
        """
        if cuts_anywhere is None or self._is_passed_through is not None:
            return
        self._is_passed_through = not cuts_anywhere
        live, stand_in = self._live(), self._stand_in
        log.info(
            "ladder",
            stream=self.stream_id,
            source="hidden: its keyframes are too far apart" if cuts_anywhere else "passed through",
            rungs=",".join(step.plan.name for step in self._steps if step.is_wanted),
        )
        if cuts_anywhere and not self._has_given_up:
            live.hide(SOURCE)
            if stand_in is not None:
                stand_in.is_wanted = True
                self._on_stand_in()
                live.expect(stand_in.plan.name)
                self._pressure = Pressure(len(self._steps))
                self._set_divisor(stand_in, stand_in.plan.divisor)

    def take_picture(
        self, sample: Sample, placement: Placement, *, cuts_anywhere: bool | None
    ) -> None:
        """Take a picture that the source's segmenter has taken.

        Args:
            sample: The picture.
            placement: What the segmenter made of it.
            cuts_anywhere: See `Segmenter.cuts_anywhere`.
        """
        self.decide(cuts_anywhere)
        self._keyframes.note(placement)
        if self._has_given_up or self._video is None:
            return
        begins = not self._is_feeding
        if begins:
            if not placement.is_idr:
                return
            self._begin_feeding(placement)
        if placement.begins_segment:
            self._resume(placement)
        self._put_configs()
        self.feed.put(
            wire.encode(
                wire.Picture(
                    placement.number,
                    placement.pts_ticks,
                    placement.begins_segment,
                    placement.begins_epoch or begins,
                    bytes(sample.data),
                )
            )
        )
        self.fed += 1
        self._in_flight.add(placement.number, placement.pts_ticks)
        if self.feed.is_full:
            self._skip("the queue is full")

    def take_audio(self, sample: Sample, pts_ticks: int) -> None:
        """Take an audio frame; the worker only listens to it."""
        is_bearable = len(sample.data) <= wire.MAX_AUDIO_BYTES
        if self._is_feeding and self._audio is not None and is_bearable:
            self._put_configs()
            self.feed.put(wire.encode(wire.Audio(pts_ticks, bytes(sample.data))))

    def follow(self, events: Sequence[MediaEvent]) -> None:
        """Take what the source's segmenter gave out, after the source has published it."""
        for step in self._steps:
            self._publish(step, step.rung.follow(events))
        self.begun.set()

    def interrupt(self) -> None:
        """The publisher is gone and may be back: let the worker give out what it holds back."""
        if self._is_feeding and self._fed_video is not None:
            # A configuration, the same one too, empties the decoder.
            self.feed.put(
                wire.encode(wire.VideoConfig(self._fed_video.FOURCC, self._fed_video.record))
            )
        self._in_flight.clear()  # what comes next is so much later that it would look like lag

    def close(self) -> None:
        """The broadcast is over; what the worker still has may come until `finish`."""
        self.feed.end()
        self.closed.set()

    def finish(self) -> None:
        """The broadcast's playlists end now."""
        if self._finished:
            return
        self.close()
        self._finished = True
        for step in self._steps:
            self._publish(step, step.rung.finish())

    # -- the supervisor's side

    def begin_life(self) -> None:
        """A worker is about to start: begin its feed, with its set-up."""
        self.feed = Feed()
        if self.closed.is_set():
            self.feed.end()
        rungs = tuple(step.setup for step in self._steps)
        setup = wire.Setup(rungs=rungs, decoder_threads=DECODER_THREADS)
        self.feed.put(wire.GREETING + wire.encode(setup))
        self._is_feeding = False
        self._fed_video = self._fed_audio = None
        self._figures = None
        self.fed = self.came_back = 0
        for step in self._steps:
            step.config = None
            step.out_number = None

    def end_life(self, reason: str | None) -> None:
        """The worker is gone: nothing more comes of what it had.

        Args:
            reason: Why another one is needed, one of `metrics.RESTART_REASONS`; None if none is.
        """
        self.feed.end()
        self._is_feeding = False
        if reason is not None:
            self.restarts += 1
        if not self.closed.is_set():  # at the end, what is missing is left away and no gap
            self._lose()

    def give_up(self) -> None:
        """No worker stays alive: the source is all there is."""
        self._has_given_up = True
        self._lose()
        live = self._live()
        live.show(SOURCE)
        for step in self._steps:
            live.hide(step.plan.name)

    def abandon(self) -> None:
        """Something here is broken (our fault): touch nothing any more, and show the source."""
        self._has_given_up = self._finished = True
        self.close()
        live = self._live()
        live.show(SOURCE)
        for step in self._steps:
            live.hide(step.plan.name)

    def stop_expecting(self) -> None:
        """Let new viewers in with the renditions that there are."""
        live = self._live()
        for step in self._steps:
            live.give_up(step.plan.name)

    def take_message(self, message: wire.ToParent) -> None:
        """Take what the worker said.

        Raises:
            MediaError: A decoder configuration makes no sense.
        """
        if isinstance(message, wire.Coded):
            self._take_coded(message)
        elif isinstance(message, wire.RungConfig):
            step = self._steps[message.rung]
            step.config = parse_video_config(message.fourcc, message.record)
        elif isinstance(message, wire.Status):
            self._take_status(message)

    def observe(self, now_s: float) -> None:
        """Judge the lag; call it several times a second."""
        self._in_flight.prune(self._least_came_back())
        lag_s = self.lag_s
        if lag_s is None:
            return
        has_begun = any(step.out_number is not None for step in self._steps)
        self._has_caught_up = self._has_caught_up or (has_begun and lag_s < HIGH_LAG_S)
        if not has_begun:
            self._pressure.restart(now_s)
        if lag_s > (MAX_LAG_S if self._has_caught_up else MAX_START_LAG_S):
            self._pressure.restart(now_s)
            self._skip(f"{lag_s:.1f} s behind")
        elif has_begun and self._pressure.observe(lag_s, now_s) != self._level:
            self._set_level(self._pressure.level)

    @property
    def lag_s(self) -> float | None:
        """Newest picture in minus newest picture out; None while nothing goes in."""
        if not self._is_feeding:
            return None
        return self._in_flight.lag_s(self._least_came_back())

    def _least_came_back(self) -> int:
        """Number of the newest picture that every rung has which runs."""
        running = [step for step in self._steps if step.divisor and not step.awaits_resume]
        return min(map(self._came_back, running), default=NONE_RUNS)

    def health(self) -> TranscodeHealth:
        """Say how it goes."""
        advice = []
        if self._is_passed_through is False:
            advice.append(self._keyframes.advice(self._max_gop_s))
        if self._has_given_up:
            advice.append("transcoding has failed again and again and is off for this broadcast")
        elif self._level:
            advice.append("the encoder cannot keep up: fewer or smaller rungs, or a faster machine")
        return TranscodeHealth(
            renditions=tuple(
                step.plan.name for step in self._wanted() if step.divisor and not self._has_given_up
            ),
            left_out=self._left_out,
            level=self._level,
            lag_s=self.lag_s,
            restarts=self.restarts,
            advice=tuple(advice),
            figures=self._figures,
        )

    # -- feeding

    def _begin_feeding(self, placement: Placement) -> None:
        self._is_feeding = True
        self._has_caught_up = False
        self._first_fed = placement.number
        self._in_flight.clear()
        for step in self._steps:
            step.out_number = None
            step.awaits_resume = step.divisor > 0

    def _put_configs(self) -> None:
        """Tell the worker of changed tracks, just before their first sample."""
        if self._video is not None and self._video != self._fed_video:
            self._fed_video = self._video
            self.feed.put(wire.encode(wire.VideoConfig(self._video.FOURCC, self._video.record)))
        if self._audio is not None and self._audio != self._fed_audio:
            self._fed_audio = self._audio
            self.feed.put(wire.encode(wire.AudioConfig(self._audio.FOURCC, self._audio.record)))

    def _resume(self, placement: Placement) -> None:
        for step in self._steps:
            if step.awaits_resume:
                step.awaits_resume = False
                if step.out_number is not None:  # of long ago
                    step.out_number = placement.number - 1
                self._publish(step, step.rung.resume(placement.number))

    def _skip(self, why: str) -> None:
        """Throw away what waits; go on with the next IDR picture."""
        log.warning("transcoding skips ahead", stream=self.stream_id, reason=why)
        self.feed.clear()
        self._is_feeding = False
        self._fed_video = self._fed_audio = None  # they may have been thrown away
        self._lose()

    def _lose(self) -> None:
        for step in self._steps:
            step.awaits_resume = False
            self._publish(step, step.rung.lose())

    # -- cutting back

    def _wanted(self) -> list[Step]:
        return [step for step in self._steps if step.is_wanted]

    def _set_level(self, level: int) -> None:
        """Cut the ladder back so far, or take steps back."""
        is_worse = level > self._level
        self._level = level
        self._metrics.level(self.stream_id, level)
        wanted = self._wanted()
        for step, divisor in zip(
            wanted, divisors(level, [step.plan.divisor for step in wanted]), strict=True
        ):
            self._set_divisor(step, divisor)
        write = log.warning if is_worse else log.info
        write(
            "ladder cut back" if is_worse else "ladder relieved",
            stream=self.stream_id,
            level=level,
            rungs=",".join(f"{step.plan.name}/{step.divisor}" for step in wanted),
        )

    def _set_divisor(self, step: Step, divisor: int) -> None:
        if divisor == step.divisor:
            return
        before, step.divisor = step.divisor, divisor
        self.feed.put(wire.encode(wire.RungRate(step.index, divisor)))
        if divisor == 0:
            step.awaits_resume = False
            self._publish(step, step.rung.lose())
        elif before == 0:
            step.awaits_resume = self._is_feeding
            step.out_number = self._first_fed  # it is not new to the worker
        self._metrics.shed(self.stream_id, step.plan.name, divisor == 0)

    # -- what comes back

    def _take_coded(self, coded: wire.Coded) -> None:
        step = self._steps[coded.rung]
        self.came_back += 1
        if coded.number < self._first_fed:
            return  # of what was thrown away
        step.out_number = coded.number
        if step.config is None:
            if coded.data:
                raise MediaError("a picture came before its configuration")
            return
        picture = CodedPicture(coded.number, coded.pts_ticks, coded.is_idr, coded.data, step.config)
        self._publish(step, step.rung.push(picture))

    def _take_status(self, status: wire.Status) -> None:
        media = [
            RungMedia(step.plan, self._in_flight.lag_s(self._came_back(step)))
            if step.is_wanted
            else None
            for step in self._steps
        ]
        self._figures = figures(status, media)
        self._metrics.status(self.stream_id, self._figures)

    def _came_back(self, step: Step) -> int:
        return self._first_fed - 1 if step.out_number is None else step.out_number

    def _publish(self, step: Step, events: Sequence[MediaEvent]) -> None:
        """Show viewers what a rung has made."""
        if not events or (self._finished and self._has_given_up):
            return
        name = step.plan.name
        rendition = step.rendition
        if rendition is None:
            rendition = step.rendition = self._broadcasts.add_rendition(
                self._broadcast, name, discontinuity_sequence=step.rung.discontinuities
            )
        rendition.publish(events)
        parts = [event for event in events if isinstance(event, Part)]
        gaps = sum(part.gap for part in parts)
        if gaps:
            self._metrics.gap(self.stream_id, name, gaps)
        if parts and parts[-1].gap != step.is_hidden:
            step.is_hidden = parts[-1].gap
            live = self._live()
            (live.hide if step.is_hidden else live.show)(name)
