"""Looking after broadcasts: from their first publisher to their end, and what is told meanwhile."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from fake_peer import FakePeer
from media_samples import asc, avc_record
from quiet_feed import QuietFeed
from structlog.testing import capture_logs
from trio.testing import MockClock

from edge.events import EventBus, PlatformEvent
from edge.live import LiveStreams
from hls import Sample, TimelineSettings, TrackKind
from hls.audio import parse_audio_config
from hls.video import parse_video_config
from origin.bridge import Tracks
from origin.broadcast import Broadcast, Broadcasts
from origin.health.history import ROWS
from origin.health.meter import Meter, Reading
from origin.health.monitor import HealthMonitor
from origin.health.report import MAX_ENCODER, Figures, encoder_name
from origin.health.rules import Limits
from origin.metrics import RungFigures, WorkerFigures
from origin.rtmp.tcp_info import TcpFigures
from origin.transcode.health import TranscodeHealth

TRACKS = Tracks(parse_video_config(b"avc1", avc_record()), parse_audio_config(b"mp4a", asc()))
WALL_S = 1_800_000_000.0

TRANSCODE = TranscodeHealth(
    renditions=("360p",),
    left_out=("720p: no room",),
    level=1,
    lag_s=0.25,
    restarts=2,
    advice=("fewer rungs",),
    figures=WorkerFigures(
        decoded=9,
        decode_errors=0,
        black=False,
        frozen=False,
        silent=None,
        av_drift_s=None,
        resident_bytes=1,
        rungs=[
            RungFigures(rendition=name, frames=1, dropped=0, lag_s=None, speed_ratio=speed)
            for name, speed in (("a", 3.0), ("b", 1.5), ("c", None))
        ],
    ),
)


class House:
    def __init__(self) -> None:
        self.events: list[PlatformEvent] = []
        self.bus = EventBus()
        self.bus.listen(self.events.append)
        self.broadcasts = Broadcasts(
            live=LiveStreams(),
            store=None,  # type: ignore[arg-type] # it is written to by `run` only
            timeline_settings=TimelineSettings(),
            reconnect_grace_s=60,
        )
        self.transcode: TranscodeHealth | None = None
        self.monitor = HealthMonitor(
            broadcasts=self.broadcasts,
            events=self.bus,
            transcode=lambda _stream_id: self.transcode,
            clock=lambda: WALL_S + trio.current_time(),
        )
        self.figures: list[tuple[str, Figures]] = []
        self.monitor.on_figures = lambda stream_id, figures: self.figures.append(
            (stream_id, figures)
        )

    def publish(
        self, stream_id: str = "s", peer: FakePeer | None = None
    ) -> tuple[Broadcast, Meter]:
        broadcast = self.broadcasts.publish(stream_id, QuietFeed())
        meter = self.monitor.open(broadcast, peer or FakePeer())
        meter.note(50, (TRACKS,), trio.current_time())
        return broadcast, meter

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.monitor.run)
            yield
            nursery.cancel_scope.cancel()

    @property
    def alerts(self) -> list[tuple[str, str]]:
        return [
            (event.type, event.data["code"])
            for event in self.events
            if event.type.startswith("alert.")
        ]


async def send(meter: Meter, seconds: float, *, size_bytes: int = 10_000) -> None:
    """30 pictures and 50 sounds a second, a keyframe every second."""
    begin_s = trio.current_time()
    for number in range(int(seconds * 150)):
        now_s = begin_s + number / 150
        await trio.sleep_until(now_s)
        stamp_ms = round(now_s * 1000)
        if number % 5 == 0:
            data, is_key = bytes(size_bytes), number % 150 == 0
            sample = Sample(TrackKind.VIDEO, stamp_ms, stamp_ms, is_key, data)
            meter.note(len(data), (sample,), now_s)
        if number % 3 == 0:
            meter.note(100, (Sample(TrackKind.AUDIO, stamp_ms, stamp_ms, True, b""),), now_s)
    await trio.sleep_until(begin_s + seconds)


async def test_a_report_tells_what_comes(autojump_clock: MockClock) -> None:
    house = House()
    peer = FakePeer()
    peer.tcp = TcpFigures(rtt_ms=12.34, rtt_deviation_ms=1.0, retransmits=0, out_of_order=7)
    house.transcode = replace(TRANSCODE, level=0)
    async with house.watching():
        broadcast, meter = house.publish(peer=peer)
        house.monitor.describe(broadcast, {"encoder": "obs-output module", "width": 99})
        report = house.monitor.report("s")
        assert report is not None
        assert report.figures is None
        await send(meter, 6)
        report = house.monitor.report("s")
    assert report is not None
    assert (report.stream_id, report.broadcast_id) == ("s", broadcast.token)
    publisher, figures = report.publisher, report.figures
    assert publisher.connected
    assert publisher.encoder == "obs-output module"
    assert publisher.video is not None
    assert TRACKS.video is not None
    assert publisher.video.codec == TRACKS.video.codec_string
    assert (publisher.video.width, publisher.video.height) == (
        TRACKS.video.width,
        TRACKS.video.height,
    )
    assert publisher.audio is not None
    assert publisher.audio.sample_rate == 48_000
    assert figures is not None
    assert figures.fps == pytest.approx(30, abs=0.5)
    assert figures.bitrate_kbps == pytest.approx(2440, rel=0.05)
    assert figures.keyframe_interval_seconds == pytest.approx(1, abs=0.05)
    assert (figures.rtt_ms, figures.out_of_order_packets) == (12.34, 7)
    assert figures.transcode is not None
    assert figures.transcode.speed == 1.5  # the slowest's
    assert figures.transcode.lag_seconds == 0.25
    assert figures.transcode.silent is None
    assert report.alerts == ()
    history = report.history
    assert 5 <= len(history.at) <= 6
    assert history.at[-1] - history.at[-2] == 1000
    assert history.rtt_ms[-1] == pytest.approx(12.34, abs=0.01)
    assert [stream_id for stream_id, _ in house.figures] == ["s"] * len(history.at)


async def test_less_history_is_given_if_less_is_wanted(autojump_clock: MockClock) -> None:
    house = House()
    async with house.watching():
        _, meter = house.publish()
        await send(meter, 5)
        whole, some, none = (
            house.monitor.report("s", history_s=wanted_s) for wanted_s in (ROWS, 2, -1)
        )
    assert whole is not None
    assert some is not None
    assert none is not None
    assert len(whole.history.at) >= 4
    assert 1 <= len(some.history.at) <= 3
    assert none.history.at == []


async def test_alerts_begin_and_end_as_events(autojump_clock: MockClock) -> None:
    house = House()
    async with house.watching():
        broadcast, meter = house.publish()
        await send(meter, 5, size_bytes=1500)
        report = house.monitor.report("s")
        assert report is not None
        assert [alert.code for alert in report.alerts] == ["bitrateLow"]
        (told,) = house.monitor.figures()
        assert (told.stream_id, told.alerts) == ("s", ("bitrateLow",))
        await send(meter, 8)
    assert house.alerts == [("alert.started", "bitrateLow"), ("alert.ended", "bitrateLow")]
    started, ended = (event.data for event in house.events if event.type.startswith("alert."))
    assert started["broadcastId"] == broadcast.token
    assert started["severity"] == "warning"
    assert started["threshold"] == 500.0
    assert "OBS" in started["advice"]
    assert started["endedAt"] is None
    assert started["startedAt"] >= WALL_S * 1000
    assert ended["endedAt"] > started["startedAt"] == ended["startedAt"]


async def test_a_lost_publisher_is_the_one_alert_and_the_next_one_ends_it(
    autojump_clock: MockClock,
) -> None:
    house = House()
    async with house.watching():
        broadcast, meter = house.publish()
        await send(meter, 4)
        house.broadcasts.lose(broadcast)
        await trio.sleep(10)
        report = house.monitor.report("s")
        assert report is not None
        assert not report.publisher.connected
        assert [alert.code for alert in report.alerts] == ["publisherLost"]
        assert report.figures is not None
        assert report.figures.rtt_ms is None
        _, again = house.publish()
        await send(again, 4)
    assert house.alerts == [("alert.started", "publisherLost"), ("alert.ended", "publisherLost")]


async def test_drops_are_counted_through_all_publishers_of_a_broadcast(
    autojump_clock: MockClock,
) -> None:
    house = House()
    async with house.watching():
        broadcast, meter = house.publish()
        await send(meter, 2)
        await trio.sleep(1)
        await send(meter, 2)
        dropped = house.figures[-1][1].dropped_frames
        assert dropped == pytest.approx(30, abs=2)
        house.broadcasts.lose(broadcast)
        _, again = house.publish()
        await send(again, 2)
        assert house.figures[-1][1].dropped_frames == dropped


async def test_the_end_of_a_broadcast_ends_its_alerts_and_what_is_known(
    autojump_clock: MockClock,
) -> None:
    house = House()
    async with house.watching():
        broadcast, meter = house.publish()
        await send(meter, 5, size_bytes=1500)
        house.broadcasts.end(broadcast, "enough")
        assert house.monitor.report("s") is None
        await trio.sleep(1)
    assert house.alerts == [("alert.started", "bitrateLow"), ("alert.ended", "bitrateLow")]
    assert list(house.monitor.figures()) == []


async def test_the_next_broadcast_of_a_stream_begins_with_nothing(
    autojump_clock: MockClock,
) -> None:
    house = House()
    async with house.watching():
        broadcast, meter = house.publish()
        house.monitor.describe(broadcast, {"encoder": "first"})
        await send(meter, 5, size_bytes=1500)
        house.broadcasts.end(broadcast, "enough")
        second, meter = house.publish()  # before anybody has looked
        report = house.monitor.report("s")
        assert report is not None
        assert report.broadcast_id == second.token
        assert (report.publisher.encoder, report.alerts, report.history.at) == (None, (), [])
        await send(meter, 2)
    assert house.alerts == [("alert.started", "bitrateLow"), ("alert.ended", "bitrateLow")]


async def test_who_never_had_a_publisher_has_no_health(autojump_clock: MockClock) -> None:
    house = House()
    house.broadcasts.start("s")
    assert house.monitor.report("s") is None
    assert house.monitor.report("nobody") is None


async def test_other_limits(autojump_clock: MockClock) -> None:
    house = House()
    async with house.watching():
        _, meter = house.publish()
        await send(meter, 5)
        house.monitor.reconfigure(Limits(min_bitrate_kbps=9000))
        await send(meter, 2)
        _, other = house.publish("t")
        await send(other, 5)
    assert house.alerts[0] == ("alert.started", "bitrateLow")
    assert ("t", "alert.started") in [(event.stream_id, event.type) for event in house.events]


async def test_a_bug_in_one_broadcasts_figures_is_its_own(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House()
    look = Meter.look

    def fails_for_one(meter: Meter, now_s: float) -> Reading:
        if meter is broken:
            raise ZeroDivisionError
        return look(meter, now_s)

    with capture_logs() as lines:
        async with house.watching():
            _, broken = house.publish("broken")
            monkeypatch.setattr(Meter, "look", fails_for_one)
            _, meter = house.publish("s")
            await send(meter, 3)
            assert house.monitor.report("broken") is None
            assert house.monitor.report("s") is not None
    assert [line["stream"] for line in lines if line["log_level"] == "error"] == ["broken"]
    assert {stream_id for stream_id, _ in house.figures} == {"s"}


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (
            {"encoder": "obs-output module (libobs version 30.2)"},
            "obs-output module (libobs version 30.2)",
        ),
        ({"encoder": " a\r\nb\x1b[31m "}, "ab[31m"),
        ({"encoder": "x" * 9999}, "x" * MAX_ENCODER),
        ({"encoder": "\n"}, None),
        ({"encoder": 5.0}, None),
        ({}, None),
    ],
)
def test_the_name_of_an_encoder_is_made_fit_to_be_shown(
    values: dict[str, object], name: str | None
) -> None:
    assert encoder_name(values) == name
