"""The life of a broadcast: steps, what viewers and the store see of them, and when."""

import itertools

import pytest
import trio
from quiet_feed import QuietFeed
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from control import StoreError, Stream, StreamStatus, UnknownStreamError
from edge.live import LiveStreams
from hls import InitSegment, MediaEvent, Part, Presentation, SegmentEnd, TimelineSettings
from origin.broadcast import (
    END_DELAY_S,
    SOURCE,
    STORE_RETRY_S,
    AlreadyLiveError,
    Broadcast,
    Broadcasts,
    NotLiveError,
)

EPOCH_S = 1_800_000_000.0


class FakeStore:
    """Only what `Broadcasts` asks of a store."""

    def __init__(self) -> None:
        self.written: list[tuple[str, StreamStatus, float]] = []
        self.failures = 0
        self.unknown: set[str] = set()
        self.gate: trio.Event | None = None

    async def set_status(self, stream_id: str, status: StreamStatus, at: float) -> None:
        await trio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise StoreError("disk full")
        if stream_id in self.unknown:
            raise UnknownStreamError(stream_id)
        self.written.append((stream_id, status, at))


class FakeFeed(QuietFeed):
    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[str] = []
        self.broadcast: Broadcast | None = None

    def stop(self, reason: str, *, for_good: bool = False) -> None:
        self.reasons.append(reason)
        self.is_for_good = for_good
        if self.broadcast is not None and self.broadcast.rendition is not None:
            self.broadcast.rendition.publish(segment(1))


def segment(msn: int, duration_s: float = 2.0) -> list[MediaEvent]:
    part = Part(
        msn=msn,
        index=0,
        duration_s=duration_s,
        independent=True,
        data=b"part",
        init_index=0,
        discontinuity=False,
        media_time_s=msn * duration_s,
    )
    return [part, SegmentEnd(msn=msn, duration_s=duration_s)]


def first_segment() -> list[MediaEvent]:
    init = InitSegment(
        index=0, data=b"init", codecs=("mp4a.40.2",), width=None, height=None, frame_rate=None
    )
    return [Presentation(target_duration_s=2, part_target_s=2.0), init, *segment(0)]


class FakePackager:
    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        self.finished = 0

    def finish(self) -> None:
        self.finished += 1
        if self.broken:
            raise ZeroDivisionError


class House:
    """A registry with everything around it."""

    def __init__(self, reconnect_grace_s: float = 0.0) -> None:
        self.live = LiveStreams()
        self.store = FakeStore()
        ticks = itertools.count()
        self.broadcasts = Broadcasts(
            live=self.live,
            store=self.store,  # type: ignore[arg-type] # the one method that is called
            timeline_settings=TimelineSettings(),
            reconnect_grace_s=reconnect_grace_s,
            clock=lambda: EPOCH_S + next(ticks),
        )

    def go_live(self, stream_id: str = "s") -> tuple[Broadcast, FakeFeed]:
        feed = FakeFeed()
        broadcast = feed.broadcast = self.broadcasts.publish(stream_id, feed)
        self.broadcasts.open_media(broadcast).publish(first_segment())
        return broadcast, feed

    def playlist(self, stream_id: str = "s") -> str | None:
        stream = self.live.get(stream_id)
        return None if stream is None else stream.renditions[SOURCE].timeline.playlist().decode()


@pytest.fixture
def house() -> House:
    return House()


def stored(status: StreamStatus = StreamStatus.IDLE) -> Stream:
    return Stream(
        id="s",
        broadcaster_id="b",
        title="t",
        chat_enabled=True,
        recording_enabled=False,
        status=status,
        started_at=None,
        ended_at=None,
        created_at=EPOCH_S,
    )


# -- steps


async def test_publishing_goes_live_by_itself(house: House) -> None:
    broadcast = house.broadcasts.publish("s", FakeFeed())
    assert house.broadcasts.live("s") is broadcast
    assert list(house.broadcasts.live_stream_ids()) == ["s"]
    assert house.broadcasts.state(stored()) == (StreamStatus.LIVE, EPOCH_S, None)


async def test_a_stream_started_by_api_takes_one_publisher(house: House) -> None:
    started = house.broadcasts.start("s")
    assert house.broadcasts.publish("s", FakeFeed()) is started
    with pytest.raises(AlreadyLiveError, match="stream is already live"):
        house.broadcasts.publish("s", FakeFeed())


async def test_a_live_stream_cannot_be_started(house: House) -> None:
    house.broadcasts.publish("s", FakeFeed())
    with pytest.raises(AlreadyLiveError):
        house.broadcasts.start("s")


async def test_ending_disconnects_the_publisher_with_the_reason(house: House) -> None:
    _, feed = house.go_live()
    house.broadcasts.end_stream("s", "ended by API")
    assert feed.reasons == ["ended by API"]
    assert feed.is_for_good
    assert house.broadcasts.live("s") is None
    status, started_at, ended_at = house.broadcasts.state(stored())
    assert status is StreamStatus.ENDED
    assert started_at is not None
    assert ended_at is not None
    assert ended_at > started_at


async def test_there_must_be_something_to_end(house: House) -> None:
    with pytest.raises(NotLiveError):
        house.broadcasts.end_stream("s", "ended by API")


async def test_ending_twice_is_ending_once(house: House) -> None:
    broadcast, feed = house.go_live()
    house.broadcasts.end(broadcast, "publisher gone")
    first_end = broadcast.ended_at_s
    house.broadcasts.end(broadcast, "ended by API")
    assert feed.reasons == ["publisher gone"]
    assert broadcast.ended_at_s == first_end


async def test_publishing_again_is_another_broadcast(house: House) -> None:
    before, _ = house.go_live()
    house.broadcasts.end(before, "publisher gone")
    after, _ = house.go_live()
    assert after is not before
    assert after.token != before.token
    playlist = house.playlist()
    assert playlist is not None
    assert after.token in playlist
    assert before.token not in playlist
    assert before.rendition is not None
    assert before.rendition.timeline.ended  # nobody is left held on it


async def test_viewers_find_a_broadcast_from_its_first_media_on(house: House) -> None:
    broadcast = house.broadcasts.publish("s", FakeFeed())
    assert house.live.get("s") is None
    rendition = house.broadcasts.open_media(broadcast)
    assert house.live.get("s") is not None
    rendition.publish(first_segment())
    playlist = house.playlist()
    assert playlist is not None
    # Of media time zero, where this media is.
    assert "EXT-X-PROGRAM-DATE-TIME:2027-01-15T00:00:00.000Z" in playlist


# -- what follows, in time


async def test_endlist_comes_after_the_last_parts_and_media_stays(
    house: House, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    await nursery.start(house.broadcasts.run)
    broadcast, _ = house.go_live()
    house.broadcasts.end(broadcast, "publisher gone")
    playlist = house.playlist()
    assert playlist is not None
    assert f"seg-{broadcast.token}-1.m4s" in playlist  # flushed by the publisher
    assert "EXT-X-ENDLIST" not in playlist
    await house.broadcasts.settled()
    assert trio.current_time() == END_DELAY_S
    playlist = house.playlist()
    assert playlist is not None
    assert "EXT-X-ENDLIST" in playlist
    # Two segments of at most two seconds each, and one more for good measure.
    await trio.sleep(4)
    assert house.live.get("s") is not None
    await trio.sleep(2.1)
    assert house.live.get("s") is None


async def test_a_broadcast_without_a_segment_leaves_nothing_behind(house: House) -> None:
    broadcast = house.broadcasts.publish("s", FakeFeed())
    house.broadcasts.open_media(broadcast)
    house.broadcasts.end(broadcast, "publisher gone")
    assert house.live.get("s") is None


async def test_the_end_of_an_older_broadcast_does_not_touch_the_newer(
    house: House, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    await nursery.start(house.broadcasts.run)
    before, _ = house.go_live()
    house.broadcasts.end(before, "publisher gone")
    house.go_live()
    await trio.sleep(60)
    playlist = house.playlist()
    assert playlist is not None
    assert "EXT-X-ENDLIST" not in playlist


async def test_the_store_learns_of_each_step_in_order(
    house: House, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    await nursery.start(house.broadcasts.run)
    broadcast, _ = house.go_live()
    await wait_all_tasks_blocked()
    house.broadcasts.end(broadcast, "publisher gone")
    await house.broadcasts.settled()
    steps = [(stream_id, status) for stream_id, status, _ in house.store.written]
    assert steps[0] == ("s", StreamStatus.LIVE)
    assert steps[-1] == ("s", StreamStatus.ENDED)


async def test_a_step_taken_while_another_is_written_is_written_too(
    house: House, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    house.store.gate = trio.Event()
    await nursery.start(house.broadcasts.run)
    before, _ = house.go_live()
    await wait_all_tasks_blocked()  # LIVE is being written
    house.broadcasts.end(before, "publisher gone")
    after, _ = house.go_live()
    house.store.gate.set()
    await house.broadcasts.settled()
    assert house.store.written[-1] == ("s", StreamStatus.LIVE, after.started_at_s)


async def test_a_store_that_fails_is_asked_again_and_the_broadcast_goes_on(
    house: House, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    house.store.failures = 2
    with capture_logs() as logs:
        await nursery.start(house.broadcasts.run)
        house.go_live()
        await house.broadcasts.settled()
    assert trio.current_time() == 2 * STORE_RETRY_S
    assert [line["reason"] for line in logs if line["log_level"] == "error"] == ["disk full"] * 2
    assert house.store.written == [("s", StreamStatus.LIVE, EPOCH_S)]


async def test_a_stream_that_was_deleted_meanwhile_is_let_go(
    house: House, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    house.store.unknown = {"s"}
    await nursery.start(house.broadcasts.run)
    house.go_live()
    house.go_live("other")
    await house.broadcasts.settled()
    assert [stream_id for stream_id, _, _ in house.store.written] == ["other"]


async def test_the_end_of_everything_ends_every_broadcast(
    house: House, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    await nursery.start(house.broadcasts.run)
    feeds = [house.go_live(stream_id)[1] for stream_id in ("a", "b")]
    assert house.broadcasts.end_all("server stopping")
    await house.broadcasts.settled()
    assert [feed.reasons for feed in feeds] == [["server stopping"]] * 2
    for stream_id in ("a", "b"):
        playlist = house.playlist(stream_id)
        assert playlist is not None
        assert "EXT-X-ENDLIST" in playlist
    assert not house.broadcasts.end_all("server stopping")


async def test_what_the_store_knows_counts_when_nothing_runs(house: House) -> None:
    row = stored(StreamStatus.ENDED)
    assert house.broadcasts.state(row) == (StreamStatus.ENDED, None, None)


async def test_a_publisher_that_fails_to_stop_does_not_keep_its_broadcast(
    house: House, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    await nursery.start(house.broadcasts.run)

    class FailingFeed(FakeFeed):
        def stop(self, reason: str, *, for_good: bool = False) -> None:
            raise ZeroDivisionError(reason)

    broadcast = house.broadcasts.publish("s", FailingFeed())
    house.broadcasts.open_media(broadcast).publish(first_segment())
    with pytest.raises(ZeroDivisionError):
        house.broadcasts.end(broadcast, "over")
    await house.broadcasts.settled()
    assert house.store.written[-1][1] is StreamStatus.ENDED
    assert "#EXT-X-ENDLIST" in (house.playlist() or "")


# -- a publisher that is lost


GRACE_S = 60.0


@pytest.fixture
async def patient(nursery: trio.Nursery) -> House:
    """A registry that waits for lost publishers."""
    house = House(GRACE_S)
    await nursery.start(house.broadcasts.run)
    return house


def lose(house: House, broadcast: Broadcast, *, broken: bool = False) -> FakePackager:
    packager = FakePackager(broken)
    broadcast.packager = packager  # type: ignore[assignment] # what a broadcast asks of it
    house.broadcasts.lose(broadcast)
    return packager


async def test_without_grace_a_broadcast_ends_with_its_publisher(house: House) -> None:
    broadcast, feed = house.go_live()
    packager = lose(house, broadcast)
    assert house.broadcasts.live("s") is None
    assert (packager.finished, feed.reasons) == (1, ["publisher lost"])


async def test_a_publisher_that_comes_back_in_time_goes_on_with_its_broadcast(
    patient: House, autojump_clock: MockClock
) -> None:
    broadcast, feed = patient.go_live()
    packager = lose(patient, broadcast)
    await trio.sleep(GRACE_S - 1)
    assert patient.broadcasts.live("s") is broadcast
    assert patient.broadcasts.state(stored())[0] is StreamStatus.LIVE
    assert "EXT-X-ENDLIST" not in (patient.playlist() or "")
    with pytest.raises(AlreadyLiveError):
        patient.broadcasts.start("s")
    again = FakeFeed()
    assert patient.broadcasts.publish("s", again) is broadcast
    with pytest.raises(AlreadyLiveError):
        patient.broadcasts.publish("s", FakeFeed())
    await trio.sleep(10 * GRACE_S)
    assert patient.broadcasts.live("s") is broadcast
    assert (packager.finished, feed.reasons, again.reasons) == (0, [], [])


async def test_a_publisher_that_comes_back_too_late_finds_its_broadcast_ended(
    patient: House, autojump_clock: MockClock
) -> None:
    broadcast, feed = patient.go_live()
    packager = lose(patient, broadcast)
    await trio.sleep(GRACE_S + 0.1)
    assert patient.broadcasts.live("s") is None
    assert (packager.finished, feed.reasons) == (1, [])
    await patient.broadcasts.settled()
    assert trio.current_time() == GRACE_S + END_DELAY_S
    assert "EXT-X-ENDLIST" in (patient.playlist() or "")
    assert patient.store.written[-1][1] is StreamStatus.ENDED
    assert patient.broadcasts.publish("s", FakeFeed()) is not broadcast


async def test_each_loss_has_its_own_grace(patient: House, autojump_clock: MockClock) -> None:
    broadcast, _ = patient.go_live()
    for _ in range(3):
        lose(patient, broadcast)
        await trio.sleep(GRACE_S - 1)
        patient.broadcasts.publish("s", FakeFeed())
    lose(patient, broadcast)
    await trio.sleep(GRACE_S - 1)
    assert patient.broadcasts.live("s") is broadcast
    await trio.sleep(2)
    assert patient.broadcasts.live("s") is None


@pytest.mark.parametrize("how", ["api", "drain"])
async def test_a_broadcast_that_waits_for_its_publisher_can_be_ended_at_once(
    patient: House, autojump_clock: MockClock, how: str
) -> None:
    broadcast, _ = patient.go_live()
    packager = lose(patient, broadcast)
    await trio.sleep(5)
    if how == "api":
        patient.broadcasts.end_stream("s", "ended by API")
    else:
        assert patient.broadcasts.end_all("server stopping")
    assert patient.broadcasts.live("s") is None
    await patient.broadcasts.settled()
    assert trio.current_time() == 5 + END_DELAY_S
    assert "EXT-X-ENDLIST" in (patient.playlist() or "")
    after, _ = patient.go_live()
    await trio.sleep(2 * GRACE_S)  # the old one's grace is over meanwhile
    assert patient.broadcasts.live("s") is after
    assert packager.finished == 1


async def test_a_publisher_lost_before_its_first_media_leaves_viewers_waiting_not_for_ever(
    patient: House, autojump_clock: MockClock
) -> None:
    broadcast = patient.broadcasts.publish("s", FakeFeed())
    patient.broadcasts.lose(broadcast)
    await trio.sleep(GRACE_S / 2)
    assert patient.live.anteroom("s") is not None
    await trio.sleep(GRACE_S)
    assert patient.live.anteroom("s") is None
    assert patient.broadcasts.live("s") is None


async def test_losing_the_publisher_of_an_ended_broadcast_changes_nothing(
    patient: House, autojump_clock: MockClock
) -> None:
    broadcast, _ = patient.go_live()
    patient.broadcasts.end(broadcast, "ended by API")
    after, feed = patient.go_live()
    patient.broadcasts.lose(broadcast)
    await trio.sleep(2 * GRACE_S)
    assert patient.broadcasts.live("s") is after
    assert after.feed is feed


async def test_a_bug_at_the_end_of_one_grace_leaves_the_others_alone(
    patient: House, autojump_clock: MockClock
) -> None:
    bad, _ = patient.go_live("bad")
    good, _ = patient.go_live("good")
    with capture_logs() as logs:
        lose(patient, bad, broken=True)
        lose(patient, good)
        await trio.sleep(GRACE_S + 1)
    assert list(patient.broadcasts.live_stream_ids()) == []
    assert [line["event"] for line in logs if line["log_level"] == "error"] == [
        "the end of a broadcast failed"
    ]
    await patient.broadcasts.settled()


async def test_the_wall_clock_says_where_the_media_of_the_next_publisher_begins(
    house: House,
) -> None:
    broadcast, _ = house.go_live()
    # It is eight in the morning, and one tick for each question: the start was the first, the media
    # the second.
    assert house.broadcasts.media_time_s(broadcast) == 8 * 3600 + 2
    assert house.broadcasts.media_time_s(broadcast) == 8 * 3600 + 3
