"""An origin's parts, each with something to tell, and what Prometheus reads of them."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from fake_peer import FakePeer
from media_samples import asc, avc_record
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.parser import text_string_to_metric_families
from quiet_feed import QuietFeed

from control import SqliteStore
from edge.audience.api import Audience
from edge.chat.service import ChatFigures
from edge.events import EventBus
from edge.guesses import Guesses
from edge.http.access_log import AccessLog
from edge.http.messages import Request
from edge.http.served import Served
from edge.live import LiveStreams
from edge.process.pulse import Pulse
from hls import Sample, TimelineSettings, TrackKind
from hls.audio import parse_audio_config
from hls.video import parse_video_config
from native import FanoutCounters, ReactorCounters
from origin.bridge import Tracks
from origin.broadcast import Broadcast, Broadcasts
from origin.health.meter import Meter
from origin.health.monitor import HealthMonitor
from origin.hooks.figures import HookFigures
from origin.metrics import RungFigures, TranscodeMetrics, WorkerFigures
from origin.observe.exposition import Exposition
from origin.observe.families import OriginFamilies
from origin.observe.names import NamedStreams
from origin.observe.readiness import Readiness, Room
from origin.observe.sources import EventCounts, Sources
from origin.recording.recorder import RecorderFigures
from origin.rtmp.figures import Ending, RtmpFigures
from origin.rtmp.tcp_info import TcpFigures

TRACKS = Tracks(parse_video_config(b"avc1", avc_record()), parse_audio_config(b"mp4a", asc()))

WORKER = WorkerFigures(
    decoded=100,
    decode_errors=2,
    black=True,
    frozen=False,
    silent=False,
    av_drift_s=-0.04,
    resident_bytes=123_000_000,
    rungs=[RungFigures(rendition="720p", frames=90, dropped=3, lag_s=0.2, speed_ratio=2.5)],
)


@dataclass
class FakeHttp:
    connections: int = 7
    adopted: int = 5
    parked: int = 3
    accepted: int = 40
    turned_away: int = 2
    reactor: ReactorCounters | None = field(
        default_factory=lambda: ReactorCounters(*range(1, len(ReactorCounters._fields) + 1))
    )


@dataclass(frozen=True)
class Told:
    """A family as it was read."""

    kind: str
    text: str
    labels: tuple[str, ...]
    """Of all samples, in alphabetical order."""
    samples: dict[tuple[str, ...], float]
    """By the values of the labels; of a histogram, its counts by "le"."""


class House:
    """The parts. What takes part in no test is a stand-in with figures."""

    def __init__(self, store: SqliteStore, folder: Path, *, most: int = 3) -> None:
        self.bus = EventBus()
        self.broadcasts = Broadcasts(
            live=LiveStreams(),
            store=store,
            timeline_settings=TimelineSettings(),
            events=self.bus,
            reconnect_grace_s=60,
        )
        self.audience = Audience(self.broadcasts.is_live)
        self.names = NamedStreams(most)
        self.events = EventCounts()
        for listener in (self.names.on_event, self.events.on_event, self.audience.on_event):
            self.bus.listen(listener)
        self.health = HealthMonitor(broadcasts=self.broadcasts, events=self.bus)
        self.requests = AccessLog()
        self.guesses = Guesses()
        self.http: FakeHttp | None = FakeHttp()
        self.rtmp = SimpleNamespace(
            connections=4, publishers=2, received_bytes=5_000, figures=RtmpFigures(accepted=9)
        )
        self.chat = SimpleNamespace(
            rooms=1,
            figures=ChatFigures(messages=5, held=1, refused=Counter(slowMode=3)),
            crowd=SimpleNamespace(
                counters=FanoutCounters(*range(1, len(FanoutCounters._fields) + 1))
            ),
        )
        self.readiness = Readiness(
            store=store, folder=folder, min_free_bytes=0, measure=self.measure
        )
        self.transcode = TranscodeMetrics()
        self.transcode.names = self.names.__contains__
        self.sources = Sources(
            names=self.names,
            events=self.events,
            pulse=Pulse(),
            requests=self.requests,
            broadcasts=self.broadcasts,
            health=self.health,
            audience=self.audience,
            guesses=self.guesses,
            rtmp=cast("Any", self.rtmp),
            chat=cast("Any", self.chat),
            store=store,
            readiness=self.readiness,
            http=cast("Any", self.http),
            listeners=cast("Any", SimpleNamespace(listeners=6)),
            playback=cast("Any", SimpleNamespace(verdicts=Counter(admitted=4, tokenNeeded=2))),
            recorder=cast("Any", SimpleNamespace(figures=lambda: RecorderFigures(active=3))),
            hooks=cast("Any", SimpleNamespace(figures=lambda: HookFigures(hooks=2, dead=1))),
        )
        process = ProcessCollector(registry=CollectorRegistry())
        self.collectors = [OriginFamilies(self.sources), self.transcode, process]

    async def measure(self, _folder: Path) -> Room:
        return Room(1 << 30, 1 << 40)

    def publish(self, stream_id: str, *, media: bool = True) -> tuple[Broadcast, Meter]:
        """Go live, with a publisher that has sent its tracks."""
        broadcast = self.broadcasts.publish(stream_id, QuietFeed())
        if media:
            self.broadcasts.open_media(broadcast)
        peer = FakePeer()
        peer.tcp = TcpFigures(rtt_ms=20.0, rtt_deviation_ms=1.0, retransmits=0, out_of_order=1)
        meter = self.health.open(broadcast, peer)
        meter.note(50, (TRACKS,), trio.current_time())
        return broadcast, meter

    def served(self, status: int, *, http: Any = "1.1", was_held: bool = False) -> None:
        """Tell of a request."""
        self.requests.note(
            Served(
                request=Request("GET", "/"),
                status=status,
                size_bytes=10,
                took_s=0.003,
                http=http,
                connection=1,
                was_held=was_held,
            )
        )

    async def fill(self) -> None:
        """Let every part have something to tell: streams "a", which falls silent, and "b"."""
        (_, silent), (_, meter) = self.publish("a"), self.publish("b")
        async with trio.open_nursery() as nursery:
            await nursery.start(self.readiness.run)
            await nursery.start(self.health.run)
            await nursery.start(self.sources.pulse.run)
            nursery.start_soon(send, silent, 8)
            await send(meter, 13)
            nursery.cancel_scope.cancel()
        self.served(200)
        self.served(404, http="2")
        self.rtmp.figures.endings[Ending.LOST] += 2
        self.rtmp.figures.note_refusal("unknownKey")
        self.transcode.admitted("a", ["720p"], ["1080p"])
        self.transcode.worker_started("a")
        self.transcode.worker_ended("a", "crash")
        self.transcode.worker_started("a")
        self.transcode.status("a", WORKER)
        self.transcode.watch_capacity(lambda: (2.0, 1.0))

    def told(self) -> dict[str, Told]:
        """What is rendered, read with prometheus-client's own parser."""
        text = b"".join(Exposition(self.collectors).slices()).decode()
        return read(text)


def read(text: str) -> dict[str, Told]:
    """Families by name, as the text says it."""
    found = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = sorted({label for sample in family.samples for label in sample.labels})
        counted = [
            sample
            for sample in family.samples
            if family.type != "histogram" or sample.name.endswith("_bucket")
        ]
        assert name not in found, f"{name} is told twice"
        found[name] = Told(
            kind=family.type,
            text=family.documentation,
            labels=tuple(labels),
            samples={
                tuple(sample.labels[label] for label in labels): sample.value for sample in counted
            },
        )
    return found


async def send(meter: Meter, seconds: float) -> None:
    """30 pictures and 50 sounds a second, a keyframe every second."""
    begin_s = trio.current_time()
    for number in range(int(seconds * 150)):
        now_s = begin_s + number / 150
        await trio.sleep_until(now_s)
        stamp_ms = round(now_s * 1000)
        if number % 5 == 0:
            sample = Sample(TrackKind.VIDEO, stamp_ms, stamp_ms, number % 150 == 0, bytes(20_000))
            meter.note(20_000, (sample,), now_s)
        if number % 3 == 0:
            meter.note(100, (Sample(TrackKind.AUDIO, stamp_ms, stamp_ms, True, b""),), now_s)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with await SqliteStore.open(tmp_path / "store.sqlite3") as store:
        yield House(store, tmp_path)
