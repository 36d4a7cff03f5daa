"""Slates on the air: when they begin and end, and what a broken one costs."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio
from quiet_feed import QuietFeed
from slate_files import make_still
from structlog.testing import capture_logs
from trio.testing import MockClock

from edge.live import LiveStreams
from hls import TimelineSettings
from hls.segmenter_settings import SegmenterSettings
from origin.bridge import Bridge
from origin.broadcast import SOURCE, Broadcasts
from origin.packager import Packager
from origin.slate.clip import Clip, Format, SlateError, Track, make_clip
from origin.slate.show import MAX_CLIPS, Slates

AFTER_S = 1.0
GRACE_S = 30.0
WANTED = Format(("avc1", 320, 180), ("mp4a", 48_000, 2))


class FakeStore:
    async def set_status(self, *_arguments: object) -> None:
        await trio.lowlevel.checkpoint()


class Publisher(QuietFeed):
    """A feed that sends a clip's media in no time."""

    def __init__(self, house: "House", clip: Clip) -> None:
        super().__init__()
        self.broadcast = house.broadcasts.publish("s", self)
        if self.broadcast.packager is None:
            self.broadcast.packager = Packager(
                self.broadcast, house.broadcasts, SegmenterSettings()
            )
        self.packager = self.broadcast.packager
        bridge = Bridge()
        self.packager.begin()
        for at_ms, message in clip.messages():
            if at_ms > 5_000:
                break
            self.packager.take(bridge.push(message))

    def stop(self, reason: str, *, for_good: bool = False) -> None:
        pass


class House:
    def __init__(self) -> None:
        self.live = LiveStreams()
        self.broadcasts = Broadcasts(
            live=self.live,
            store=FakeStore(),  # type: ignore[arg-type] # one method is called
            timeline_settings=TimelineSettings(),
            reconnect_grace_s=GRACE_S,
            clock=lambda: 1_800_000_000.0 + trio.current_time(),
        )
        self.made: list[Format] = []
        self.is_making = False
        self.make: Callable[[Path, Format], Clip] = lambda _path, _wanted: self.clip
        self.clip = Clip(loop_ms=1)

    def slates(self) -> Slates:
        async def make(path: Path, wanted: Format) -> Clip:
            assert not self.is_making, "two at once"
            self.is_making = True
            await trio.sleep(0.3)
            self.is_making = False
            self.made.append(wanted)
            return self.make(path, wanted)

        return Slates(Path("slate"), after_s=AFTER_S, end=self.broadcasts.end, make=make)

    def lose(self, publisher: Publisher) -> None:
        publisher.packager.interrupt()
        self.broadcasts.lose(publisher.broadcast)

    def playlist(self) -> str:
        stream = self.live.get("s")
        assert stream is not None
        return stream.renditions[SOURCE].timeline.playlist().decode()

    def edge_ms(self) -> float:
        """Where viewers are, on the broadcast's clock."""
        stream = self.live.get("s")
        assert stream is not None
        edge_ms = stream.edge_ms
        assert edge_ms is not None
        return edge_ms


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return trio.run(make_clip, make_still(tmp_path_factory.mktemp("slate") / "still.png"), WANTED)


@pytest.fixture
async def house(clip: Clip, autojump_clock: MockClock) -> AsyncIterator[House]:
    house = House()
    house.clip = clip
    slates = house.slates()
    house.broadcasts.stand_in = slates.show
    async with trio.open_nursery() as nursery:
        await nursery.start(house.broadcasts.run)
        await nursery.start(slates.run)
        yield house
        nursery.cancel_scope.cancel()


async def test_it_is_shown_from_a_second_after_the_loss_to_the_return(
    house: House, clip: Clip, autojump_clock: MockClock
) -> None:
    publisher = Publisher(house, clip)
    house.lose(publisher)
    before = house.playlist()
    assert before.count("#EXT-X-DISCONTINUITY\n") == 0
    await trio.sleep(AFTER_S - 0.1)
    assert house.playlist() == before
    await trio.sleep(10.1)
    during = house.playlist()
    assert during.count("#EXT-X-DISCONTINUITY\n") == 1
    assert 3 <= during.count("#EXTINF") - before.count("#EXTINF") <= 5  # segments of two seconds
    again = Publisher(house, clip)
    assert again.broadcast is publisher.broadcast
    after = house.playlist()
    assert after.count("#EXT-X-DISCONTINUITY\n") == 2
    ended = house.playlist()
    await trio.sleep(5)
    assert house.playlist() == ended, "the slate went on beside its publisher"
    assert house.made == [WANTED]


async def test_it_comes_at_its_own_pace(
    house: House, clip: Clip, autojump_clock: MockClock
) -> None:
    house.lose(Publisher(house, clip))
    await trio.sleep(AFTER_S + 0.5)
    begin_ms = house.edge_ms()
    await trio.sleep(4)
    assert abs(house.edge_ms() - begin_ms - 4_000) <= 200


async def test_what_is_half_cut_is_seen_before_the_next_publisher_has_media(
    house: House, clip: Clip, autojump_clock: MockClock
) -> None:
    publisher = Publisher(house, clip)
    house.lose(publisher)
    await trio.sleep(AFTER_S + 4.3 + 0.31)  # the clip is made in 0.3 s, before it is due
    begin_ms = house.edge_ms()
    assert publisher.broadcast.stand_in is not None
    publisher.broadcast.stand_in.stop()
    assert 0 < house.edge_ms() - begin_ms < 200


async def test_a_publisher_that_is_back_at_once_sees_none_of_it(
    house: House, clip: Clip, autojump_clock: MockClock
) -> None:
    house.lose(Publisher(house, clip))
    await trio.sleep(AFTER_S / 2)
    Publisher(house, clip)
    assert house.playlist().count("#EXT-X-DISCONTINUITY\n") == 1
    before = house.playlist()
    await trio.sleep(5)
    assert house.playlist() == before


async def test_it_ends_with_the_broadcast_when_nobody_comes(
    house: House, clip: Clip, autojump_clock: MockClock
) -> None:
    publisher = Publisher(house, clip)
    house.lose(publisher)
    await trio.sleep(GRACE_S + 2)
    assert publisher.broadcast.ended_at_s is not None
    assert publisher.broadcast.stand_in is None
    assert house.playlist().endswith("#EXT-X-ENDLIST\n")
    assert house.broadcasts.live("s") is None


async def test_the_next_loss_shows_it_again_and_codes_nothing(
    house: House, clip: Clip, autojump_clock: MockClock
) -> None:
    for _ in range(3):
        house.lose(Publisher(house, clip))
        await trio.sleep(AFTER_S + 3)
    assert house.playlist().count("#EXT-X-DISCONTINUITY\n") == 5
    assert house.made == [WANTED]


async def test_without_media_there_is_nothing_to_stand_in_for(
    house: House, autojump_clock: MockClock
) -> None:
    broadcast = house.broadcasts.start("s")
    house.broadcasts.lose(broadcast)
    assert broadcast.stand_in is None
    await trio.sleep(AFTER_S + 1)
    assert house.made == []


async def test_one_that_cannot_be_made_leaves_the_broadcast_alone(
    house: House, clip: Clip, autojump_clock: MockClock
) -> None:
    def refuse(_path: Path, _wanted: Format) -> Clip:
        raise SlateError("no encoder")

    house.make = refuse
    publisher = Publisher(house, clip)
    with capture_logs() as logs:
        house.lose(publisher)
        await trio.sleep(AFTER_S + 5)
    assert [line["reason"] for line in logs if line["event"] == "no slate"] == ["no encoder"]
    assert house.broadcasts.live("s") is publisher.broadcast
    Publisher(house, clip)
    assert house.playlist().count("#EXT-X-DISCONTINUITY\n") == 1


async def test_a_bug_ends_its_broadcast_and_no_other(
    house: House, clip: Clip, autojump_clock: MockClock
) -> None:
    house.make = lambda _path, _wanted: Clip(loop_ms=40, video=Track(b"\x17", [b"\x17"]))
    publisher = Publisher(house, clip)
    with capture_logs() as logs:
        house.lose(publisher)
        await trio.sleep(AFTER_S + 5)
    assert "slate failed" in [line["event"] for line in logs]
    assert publisher.broadcast.ended_at_s is not None
    house.make = lambda _path, _wanted: clip
    Publisher(house, clip)
    assert house.broadcasts.live("s") is not None


async def test_a_slate_that_cannot_be_stopped_does_not_lock_the_stream(
    house: House, clip: Clip, autojump_clock: MockClock
) -> None:
    class Stuck:
        def stop(self) -> None:
            raise ZeroDivisionError

    publisher = Publisher(house, clip)
    house.lose(publisher)
    publisher.broadcast.stand_in = Stuck()
    with pytest.raises(ZeroDivisionError):
        Publisher(house, clip)
    assert Publisher(house, clip).broadcast is publisher.broadcast


async def test_a_publisher_that_goes_after_all_was_cancelled_is_not_stood_in_for(
    clip: Clip, autojump_clock: MockClock
) -> None:
    house = House()
    slates = house.slates()
    house.broadcasts.stand_in = slates.show
    async with trio.open_nursery() as nursery:
        await nursery.start(slates.run)
        publisher = Publisher(house, clip)
        nursery.cancel_scope.cancel()
    house.lose(publisher)
    assert publisher.broadcast.stand_in is None


async def test_clips_are_made_one_at_a_time_and_few_are_kept(
    clip: Clip, autojump_clock: MockClock
) -> None:
    house = House()
    house.clip = clip
    slates = house.slates()
    async with trio.open_nursery() as nursery:
        for width in range(2, 2 * MAX_CLIPS + 4, 2):
            nursery.start_soon(slates._clip, Format(("avc1", width, 2), None))
    assert len(house.made) == MAX_CLIPS + 1
    async with trio.open_nursery() as nursery:
        for wanted in house.made[1:]:
            nursery.start_soon(slates._clip, wanted)
    assert len(house.made) == MAX_CLIPS + 1
    await slates._clip(house.made[0])  # which had to go
    assert len(house.made) == MAX_CLIPS + 2


async def test_a_show_that_is_stopped_at_every_step_leaves_the_packager_whole(
    clip: Clip, autojump_clock: MockClock
) -> None:
    """A publisher may come in any millisecond."""
    for at_ms in range(0, 400, 7):
        house = House()
        house.clip = clip
        slates = house.slates()
        house.broadcasts.stand_in = slates.show
        async with trio.open_nursery() as nursery:
            await nursery.start(slates.run)
            house.lose(Publisher(house, clip))
            await trio.sleep(AFTER_S + at_ms / 1_000)
            Publisher(house, clip)
            breaks = house.playlist().count("#EXT-X-DISCONTINUITY\n")
            assert breaks == 2 or (breaks == 1 and at_ms < 100), at_ms  # of one picture, nothing is
            nursery.cancel_scope.cancel()
