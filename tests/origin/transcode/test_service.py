"""Which broadcast gets a ladder, what it books, and that it gives it back."""

import sys
from collections.abc import Callable
from pathlib import Path

import fake_transcoder
import pytest
import trio
import trio.testing
from media_samples import SpsFields, avc_record
from quiet_feed import QuietFeed
from segmenter_runs import Driver
from structlog.testing import capture_logs

import hls
from edge.live import LiveStreams
from hls import AvcConfig, TimelineSettings
from origin.broadcast import SOURCE, Broadcast, Broadcasts
from origin.metrics import TranscodeMetrics
from origin.observe.exposition import Exposition
from origin.transcode import service, supervisor
from origin.transcode.capacity import Capacity, Costs, EncodeCost
from origin.transcode.measure import Speed, fingerprint, needed_pairs
from origin.transcode.rungs import Ladder, parse_ladder
from origin.transcode.service import TranscodeSettings, Transcoding

DRIVER = Driver(hls)  # 720p
COSTS = Costs(
    decode_s=0.001,
    scale_s=0.001,
    encode=(EncodeCost("libx264", "veryfast", 0.01), EncodeCost("libx264", "superfast", 0.01)),
)

MEASURED = Speed(fingerprint=fingerprint(), costs=COSTS)


class House:
    def __init__(
        self, *, ladder: str = "720p,480p,360p", cores: float = 100.0, measured: bool = True
    ) -> None:
        self.live = LiveStreams()
        self.metrics = TranscodeMetrics()
        self.capacity = Capacity(cores, COSTS, reserve=0)
        self.broadcasts = Broadcasts(
            live=self.live,
            store=None,  # type: ignore[arg-type] # `Broadcasts.run` is not running
            timeline_settings=TimelineSettings(),
            clock=lambda: 0.0,
        )
        self.transcoding = Transcoding(
            settings=TranscodeSettings(
                ladder=parse_ladder(ladder),
                max_gop_s=4.0,
                memory_bytes=1 << 30,
                folder=Path("nowhere"),
            ),
            speed=MEASURED if measured else None,
            capacity=self.capacity,
            broadcasts=self.broadcasts,
            metrics=self.metrics,
        )

    def metrics_text(self) -> str:
        return b"".join(Exposition([self.metrics]).slices()).decode()

    def go_live(self, stream_id: str = "s") -> Broadcast:
        broadcast = self.broadcasts.publish(stream_id, QuietFeed())
        self.broadcasts.open_media(broadcast)
        return broadcast


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await trio.sleep(0.02)


@pytest.fixture(autouse=True)
def fake_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, str(Path(fake_transcoder.__file__)), "good"]
    monkeypatch.setattr(supervisor, "worker_command", lambda _memory_bytes: command)


def names(house: House, broadcast: Broadcast) -> tuple[str, ...]:
    assert broadcast.live is not None
    return tuple(broadcast.live.order)


async def test_a_broadcast_gets_the_rungs_below_it_and_a_stand_in(nursery: trio.Nursery) -> None:
    house = House()
    await nursery.start(house.transcoding.run)
    broadcast = house.go_live()
    ladder = house.transcoding.open(broadcast, DRIVER.video, DRIVER.audio)
    assert ladder is not None
    assert broadcast.ladder is ladder
    assert names(house, broadcast) == (SOURCE, "720p", "480p", "360p")
    assert ladder.health().renditions == ("480p", "360p")
    booked = house.capacity.booked_cores
    assert booked > 0
    ladder.close()
    await until(lambda: house.capacity.booked_cores == 0)
    assert 'stream="s"' not in house.metrics_text()
    nursery.cancel_scope.cancel()


async def test_what_does_not_fit_is_left_out_and_said(nursery: trio.Nursery) -> None:
    house = House(cores=0.2)
    await nursery.start(house.transcoding.run)
    broadcast = house.go_live()
    with capture_logs() as logs:
        ladder = house.transcoding.open(broadcast, DRIVER.video, None)
    assert ladder is not None
    assert names(house, broadcast) == (SOURCE, "360p")
    (entry,) = (entry for entry in logs if entry["event"] == "transcoding")
    assert entry["rungs"] == "360p"
    assert entry["left_out"].startswith("480p left out: needs ")
    assert ladder.health().left_out == (entry["left_out"],)
    nursery.cancel_scope.cancel()


async def test_nothing_fits_no_ladder(nursery: trio.Nursery) -> None:
    house = House(cores=0.001)
    await nursery.start(house.transcoding.run)
    assert house.transcoding.open(house.go_live(), DRIVER.video, None) is None
    assert house.capacity.booked_cores == 0
    nursery.cancel_scope.cancel()


async def test_no_ladder_is_made_before_the_service_runs_or_without_rungs() -> None:
    assert House().transcoding.open(House().go_live(), DRIVER.video, None) is None
    assert House(ladder="none").transcoding.open(House().go_live(), DRIVER.video, None) is None


async def test_what_is_not_measured_yet_is_measured_beside(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    dear = Costs(decode_s=1.0, scale_s=1.0)

    async def calibrate(_folder: Path, _ladder: Ladder) -> Speed:
        await trio.lowlevel.checkpoint()
        return Speed(fingerprint=fingerprint(), costs=dear)

    monkeypatch.setattr(service, "calibrate", calibrate)
    house = House(cores=60.0, measured=False)
    await nursery.start(house.transcoding.run)
    ladder = house.transcoding.open(house.go_live(), DRIVER.video, None)
    assert ladder is not None
    await until(lambda: house.capacity.booked_cores > 30)  # at the new price
    assert house.transcoding.open(house.go_live("late"), DRIVER.video, None) is None
    nursery.cancel_scope.cancel()


async def test_another_ladder_is_for_those_who_come_from_then_on(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Ladder] = []

    async def calibrate(_folder: Path, ladder: Ladder) -> Speed:
        await trio.lowlevel.checkpoint()
        measured.append(ladder)
        encode = tuple(EncodeCost(*pair, 0.01) for pair in needed_pairs(ladder))
        costs = Costs(decode_s=0.005, scale_s=0.001, encode=encode)
        return Speed(fingerprint=fingerprint(), costs=costs)

    monkeypatch.setattr(service, "calibrate", calibrate)
    house = House(ladder="none")
    await nursery.start(house.transcoding.run)
    assert house.transcoding.open(house.go_live("none"), DRIVER.video, None) is None

    ladder = parse_ladder("360p")
    house.transcoding.reconfigure(ladder, max_gop_s=2.0)
    assert house.transcoding.max_gop_s == 2.0
    await until(lambda: measured == [ladder])
    house.transcoding.reconfigure(ladder, max_gop_s=3.0)
    broadcast = house.go_live("some")
    assert house.transcoding.open(broadcast, DRIVER.video, None) is not None
    assert names(house, broadcast)[-1] == "360p"
    assert "480p" not in names(house, broadcast)
    await trio.testing.wait_all_tasks_blocked()
    assert measured == [ladder]  # what it needs is known by now

    other = parse_ladder("360p", encoder="libx265")
    house.transcoding.reconfigure(other, max_gop_s=2.0)
    await until(lambda: measured == [ladder, other])
    assert names(house, broadcast)[-1] == "360p"
    house.transcoding.reconfigure(parse_ladder("none"), max_gop_s=2.0)
    await trio.testing.wait_all_tasks_blocked()
    assert measured == [ladder, other]
    nursery.cancel_scope.cancel()


async def test_a_small_source_has_only_a_stand_in(nursery: trio.Nursery) -> None:
    house = House()
    await nursery.start(house.transcoding.run)
    small = AvcConfig.parse(avc_record(SpsFields(width_mbs=20, height_map_units=15).unit()))
    broadcast = house.go_live()
    ladder = house.transcoding.open(broadcast, small, None)
    assert ladder is not None
    assert names(house, broadcast) == (SOURCE, "240p")
    assert house.capacity.booked_cores == 0  # until it is needed
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("timing", "expected"), [(None, 30.0), ((1, 120), 60.0)])
async def test_the_claimed_frame_rate_or_thirty(
    nursery: trio.Nursery, timing: tuple[int, int] | None, expected: float
) -> None:
    house = House()
    await nursery.start(house.transcoding.run)
    video = AvcConfig.parse(avc_record(SpsFields(timing=timing).unit()))
    ladder = house.transcoding.open(house.go_live(), video, None)
    assert ladder is not None
    assert f'"frame_rate":{expected}'.encode() in await ladder.feed.take()
    nursery.cancel_scope.cancel()


async def test_a_bug_in_one_ladder_leaves_the_others_alone(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House()
    await nursery.start(house.transcoding.run)
    broken, fine = house.go_live("broken"), house.go_live("fine")
    one = house.transcoding.open(broken, DRIVER.video, DRIVER.audio)
    two = house.transcoding.open(fine, DRIVER.video, DRIVER.audio)
    assert one is not None
    assert two is not None

    def fail(_now_s: float) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(one, "observe", fail)
    with capture_logs() as logs:
        await until(lambda: bool(one.health().advice))
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == [
        "transcoding failed"
    ]
    assert not two.health().advice
    nursery.cancel_scope.cancel()
