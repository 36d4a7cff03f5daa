"""The API's view of the truth: the store says what a stream is, broadcasts whether it is live."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from timeline_events import TimelineEvents

import hls
from control import AdminToken, SqliteStore, StreamStatus
from edge.backend import Backend, CreatedStream, CreateStreamRequest, MarkerRequest
from edge.errors import AlreadyLive, BadMarker, NoSuchStream, NotLive, Unavailable
from edge.live import LiveStreams
from hls import Presentation, TimelineSettings
from origin.backend import OriginBackend
from origin.broadcast import Broadcasts

TOKEN = "admin_0123456789abcdef"
CLOCK_S = 1_800_000_000.25
EVENTS = TimelineEvents(hls)


class House:
    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.broadcasts = Broadcasts(
            live=LiveStreams(),
            store=store,
            timeline_settings=TimelineSettings(),
            clock=lambda: CLOCK_S,
        )
        self.backend: Backend = OriginBackend(
            store=store, broadcasts=self.broadcasts, admin_token=AdminToken(TOKEN)
        )

    async def create(self, title: str = "t") -> CreatedStream:
        return await self.backend.create_stream(
            CreateStreamRequest(broadcaster_id="b", title=title, recording_enabled=True)
        )


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with await SqliteStore.open(tmp_path / "db") as store:
        with capture_logs():
            yield House(store)


async def test_a_new_stream_is_idle_and_shows_its_key_once(house: House) -> None:
    made = await house.create()
    assert (made.status, made.title, made.broadcaster_id) == ("idle", "t", "b")
    assert made.recording_enabled
    assert (made.started_at, made.ended_at, made.quality) == (None, None, [])
    assert await house.backend.owns(made.id, made.stream_key)
    info = await house.backend.get_stream(made.id)
    assert made.stream_key not in repr(info)
    assert made.stream_key not in repr(made)
    assert made.id in repr(made)


async def test_start_and_end_show_at_once(house: House) -> None:
    """Before the store has been told: nothing runs here that tells it."""
    made = await house.create()
    started = await house.backend.start(made.id)
    assert (started.status, started.started_at) == ("live", "2027-01-15T08:00:00.250Z")
    assert [info.id for info in await house.backend.live_streams()] == [made.id]
    ended = await house.backend.end(made.id)
    assert (ended.status, ended.ended_at) == ("ended", "2027-01-15T08:00:00.250Z")
    assert await house.backend.live_streams() == []
    assert (await house.backend.get_stream(made.id)).status == "ended"


async def test_only_what_is_playable_has_a_quality(house: House) -> None:
    made = await house.create()
    await house.backend.start(made.id)
    assert (await house.backend.get_stream(made.id)).quality == []
    broadcast = house.broadcasts.live(made.id)
    assert broadcast is not None
    house.broadcasts.open_media(broadcast)
    assert (await house.backend.get_stream(made.id)).quality == ["source"]


async def test_a_marker_goes_to_the_live_edge_or_where_it_is_told(house: House) -> None:
    made = await house.create()
    mark = house.backend.mark
    with pytest.raises(NotLive):
        await mark(made.id, MarkerRequest())
    await house.backend.start(made.id)
    with pytest.raises(NotLive):
        await mark(made.id, MarkerRequest())
    broadcast = house.broadcasts.live(made.id)
    assert broadcast is not None
    rendition = house.broadcasts.open_media(broadcast)
    source = EVENTS.source()
    rendition.publish([Presentation(target_duration_s=2, part_target_s=0.2), EVENTS.init()])
    rendition.publish([source.part(), source.part()])
    here = await mark(made.id, MarkerRequest())
    assert here.start_date == "2027-01-15T00:00:00.400Z"  # 400 ms of media, from midnight
    there = MarkerRequest(
        id="x", start_date=datetime(2027, 1, 15, 8, tzinfo=UTC), scte35_cmd="0xfc30"
    )
    assert (await mark(made.id, there)).start_date == "2027-01-15T08:00:00.000Z"
    assert rendition.timeline.markers["x"].scte35 == {"CMD": b"\xfc\x30"}
    for bad, reason in (
        (MarkerRequest(id="x"), "of that id"),
        (MarkerRequest(id='"'), "printable"),
        (MarkerRequest(start_date=datetime(2027, 1, 15)), "offset from UTC"),
    ):
        with pytest.raises(BadMarker, match=reason):
            await mark(made.id, bad)


async def test_live_streams_lists_stored_and_not_yet_stored_ones_once(house: House) -> None:
    first, second = [await house.create(title) for title in ("first", "second")]
    await house.backend.start(first.id)
    await house.store.set_status(first.id, StreamStatus.LIVE, CLOCK_S)
    await house.backend.start(second.id)
    listed = sorted(info.title for info in await house.backend.live_streams())
    assert listed == ["first", "second"]


async def test_what_cannot_be_done_is_named(house: House) -> None:
    made = await house.create()
    with pytest.raises(NotLive):
        await house.backend.end(made.id)
    await house.backend.start(made.id)
    with pytest.raises(AlreadyLive):
        await house.backend.start(made.id)
    for verb in (house.backend.get_stream, house.backend.start, house.backend.end):
        with pytest.raises(NoSuchStream):
            await verb("0" * 12)


async def test_credentials(house: House) -> None:
    made, other = await house.create(), await house.create()
    assert await house.backend.is_admin(TOKEN)
    assert not await house.backend.is_admin(TOKEN + "0")
    assert not await house.backend.owns(made.id, other.stream_key)
    assert not await house.backend.owns("nobody", made.stream_key)


async def test_a_store_that_fails_is_a_refusal_without_details(house: House) -> None:
    made = await house.create()
    await house.store.aclose()
    for ask in (
        lambda: house.create(),
        lambda: house.backend.live_streams(),
        lambda: house.backend.get_stream(made.id),
        lambda: house.backend.start(made.id),
        lambda: house.backend.end(made.id),
        lambda: house.backend.owns(made.id, made.stream_key),
    ):
        with pytest.raises(Unavailable, match=r"^the streams cannot be read or changed now"):
            await ask()
