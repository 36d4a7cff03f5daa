"""A broadcast with a ladder and no RTMP: what tests of ladder and supervisor share."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from media_samples import Frame, Source
from quiet_feed import QuietFeed
from segmenter_runs import Driver

import hls
from edge.live import LiveStream, LiveStreams
from edge.rendition import LiveRendition
from hls import Segmenter, SegmenterSettings, TimelineSettings
from hls.sample import Placement, TrackKind
from origin.broadcast import SOURCE, Broadcast, Broadcasts
from origin.metrics import TranscodeMetrics
from origin.observe.exposition import Exposition
from origin.transcode.ladder import Ladder
from origin.transcode.rungs import RungPlan

DRIVER = Driver(hls)


def plan(name: str) -> RungPlan:
    """A rung by a name like "480p", or "480p/2" for half the rate."""
    name, _, divisor = name.partition("/")
    height = int(name.removesuffix("p"))
    return RungPlan(
        name=name,
        width=height * 16 // 9 // 2 * 2,
        height=height,
        bitrate_bps=1_000_000,
        encoder="libx264",
        preset="veryfast",
        frame_rate=30.0,
        divisor=int(divisor or 1),
    )


@dataclass
class Show:
    """A live broadcast: pushes a made-up publisher through segmenter and ladder, as ingest does."""

    rungs: tuple[str, ...] = ("480p", "360p")
    stand_in: str | None = None
    max_gop_s: float = 4.0

    def __post_init__(self) -> None:
        self.live_streams = LiveStreams()
        self.broadcasts = Broadcasts(
            live=self.live_streams,
            store=None,  # type: ignore[arg-type] # `Broadcasts.run` is not running
            timeline_settings=TimelineSettings(),
            clock=lambda: 0.0,
        )
        self.broadcast: Broadcast = self.broadcasts.publish("s", QuietFeed())
        self.source: LiveRendition = self.broadcasts.open_media(self.broadcast)
        self.metrics = TranscodeMetrics()
        self.metrics.admitted("s", [name.partition("/")[0] for name in self.rungs], [])
        self.booked = 0
        self.ladder = Ladder(
            broadcasts=self.broadcasts,
            broadcast=self.broadcast,
            plans=[plan(name) for name in self.rungs],
            stand_in=None if self.stand_in is None else plan(self.stand_in),
            left_out=["1080p left out: needs 3 cores, 1 left"],
            max_gop_s=self.max_gop_s,
            metrics=self.metrics,
            on_stand_in=self._book,
        )
        self.ladder.set_tracks(DRIVER.video, DRIVER.audio)
        self.ladder.begin()
        self.segmenter = Segmenter(
            video=DRIVER.video,
            audio=DRIVER.audio,
            settings=SegmenterSettings(free_cut_gop_s=self.max_gop_s),
        )
        self.placements: list[Placement] = []

    def _book(self) -> None:
        self.booked += 1

    @property
    def live(self) -> LiveStream:
        assert self.broadcast.live is not None
        return self.broadcast.live

    def rendition(self, name: str) -> LiveRendition:
        return self.live.renditions[name]

    def playlist(self, name: str = SOURCE) -> str:
        return self.rendition(name).timeline.playlist().decode()

    def metrics_text(self) -> str:
        """What Prometheus would be told."""
        return b"".join(Exposition([self.metrics]).slices()).decode()

    def push(self, frame: Frame) -> Placement | None:
        sample = DRIVER.sample(frame)
        events = self.segmenter.push(sample)
        placed, anywhere = self.segmenter.placed, self.segmenter.cuts_anywhere
        if placed is not None:
            self.placements.append(placed)
            self.ladder.take_picture(sample, placed, cuts_anywhere=anywhere)
        elif sample.kind is TrackKind.AUDIO:
            self.ladder.take_audio(sample, self.segmenter.media_ticks(sample.dts_ms))
        if events:
            self.ladder.decide(anywhere)
            self.source.publish(events)
            self.ladder.follow(events)
        return placed

    def interrupt(self) -> None:
        """The publisher is gone, as the packager says it."""
        events = self.segmenter.interrupt()
        self.source.publish(events)
        self.ladder.follow(events)
        self.ladder.interrupt()

    def push_all(self, source: Source) -> Iterator[Placement]:
        for frame in source.frames():
            placed = self.push(frame)
            if placed is not None:
                yield placed


@pytest.fixture
def show() -> Show:
    return Show()


@pytest.fixture
def stage() -> type[Show]:
    """Makes a show of other rungs."""
    return Show
