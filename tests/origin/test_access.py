"""Credentials of an origin: whose one is, how often one may guess, whom the end of a key ends."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from fake_peer import FakePeer
from structlog.testing import capture_logs

from control import AdminToken, SqliteStore, StoreError
from edge.api.operation import ALL_SCOPES, Principal
from edge.errors import Unavailable
from edge.guesses import GUESSES_BURST, Guesses
from edge.http.messages import HttpError
from edge.live import LiveStreams
from hls import TimelineSettings
from hls.segmenter_settings import SegmenterSettings
from origin.access import ENDED, LOOK_S, KeyWatch, OriginAccess
from origin.broadcast import Broadcasts
from origin.ingest import Ingest, Publication
from origin.rtmp.publisher import PublishDeniedError

ADMIN = "admin_0123456789abcdef"
STRANGER = "192.0.2.1"
GRACE_S = 60.0


class House:
    def __init__(self, store: SqliteStore, clock: "Clock") -> None:
        self.store = store
        guesses = Guesses()
        self.broadcasts = Broadcasts(
            live=LiveStreams(),
            store=store,
            timeline_settings=TimelineSettings(),
            reconnect_grace_s=GRACE_S,
            clock=clock,
        )
        self.access = OriginAccess(
            store=store,
            admin_token=AdminToken(ADMIN),
            guesses=guesses,
            is_live=self.broadcasts.is_live,
        )
        self.watch = KeyWatch(store=store, broadcasts=self.broadcasts, clock=clock)
        self.ingest = Ingest(
            keys=store.access,
            broadcasts=self.broadcasts,
            segmenter_settings=SegmenterSettings(),
            guesses=guesses,
        )
        self.peers: list[FakePeer] = []

    async def stream(self) -> tuple[str, str]:
        stream, key = await self.store.create_stream(broadcaster_id="b", title="t")
        return stream.id, key

    async def publish(self, key: str, address: str = STRANGER) -> Publication:
        self.peers.append(FakePeer(address))
        return await self.ingest.admit(key, self.peers[-1])

    async def identify(
        self, credential: str, stream_id: str | None = None, client: str = STRANGER
    ) -> Principal | None:
        return await self.access.identify(credential, stream_id=stream_id, client=client)


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def house(tmp_path: Path, clock: Clock) -> AsyncIterator[House]:
    async with await SqliteStore.open(tmp_path / "db", clock=clock) as store:
        with capture_logs():
            yield House(store, clock)


async def test_whose_a_credential_is(house: House) -> None:
    (first, key), (second, other) = await house.stream(), await house.stream()
    record, token = await house.store.access.add_token(name="n", scopes=["read", "hooks"])
    assert await house.identify(ADMIN) == Principal("admin", scopes=ALL_SCOPES)
    assert await house.identify(ADMIN, first) == Principal("admin", scopes=ALL_SCOPES)
    found = await house.identify(token, first)
    assert found == Principal(f"token {record.id}", scopes=frozenset({"read", "hooks"}))
    mine = await house.identify(key, first)
    assert mine is not None
    assert mine.stream_id == first
    assert not mine.scopes
    assert key not in repr(mine)
    for wrong in (other, "", "nonsense", "live_" + "0" * 32, "hrt_" + "0" * 32, "\ud800"):
        assert await house.identify(wrong, first) is None
    assert await house.identify(key) is None, "a key is of no use where no stream is named"
    assert (await house.identify(other, second)) is not None


async def test_what_has_ended_is_nobodys(house: House, clock: Clock) -> None:
    stream, key = await house.stream()
    record, token = await house.store.access.add_token(name="n", scopes=["read"], lasts_s=5.0)
    clock.now_s += 5.0
    assert await house.identify(token) is None
    await house.store.access.rotate(stream, label="l", grace_s=0.0)
    assert await house.identify(key, stream) is None
    assert not await house.store.access.end_token(record.id)


async def test_too_many_guesses_are_not_looked_at(
    house: House, mock_clock: trio.testing.MockClock
) -> None:
    stream, key = await house.stream()
    for _ in range(GUESSES_BURST // 2):
        assert await house.identify("nonsense", stream) is None
        with pytest.raises(PublishDeniedError, match="unknown stream key"):
            await house.publish("nonsense")
    with pytest.raises(HttpError, match="too many wrong") as caught:
        await house.identify(key, stream)
    assert caught.value.status == 429
    with pytest.raises(PublishDeniedError, match="too many wrong stream keys"):
        await house.publish(key)
    assert await house.identify(key, stream, client="192.0.2.2") is not None, "from elsewhere"
    mock_clock.jump(1.0)
    assert await house.identify(key, stream) is not None, "after a while"


async def test_a_right_credential_costs_nothing(house: House) -> None:
    stream, key = await house.stream()
    for _ in range(2 * GUESSES_BURST):
        assert await house.identify(key, stream) is not None


async def test_a_store_that_fails_is_a_refusal(house: House) -> None:
    stream, key = await house.stream()
    await house.store.aclose()
    for asks in (
        lambda: house.identify(key, stream),
        lambda: house.identify("hrt_" + "0" * 32),
        lambda: house.access.knows_stream(stream),
        lambda: house.watch.settle(stream),
    ):
        with pytest.raises(Unavailable):
            await asks()
    assert await house.identify(ADMIN) is not None, "this one is known without it"
    with pytest.raises(StoreError):
        await house.store.get_stream(stream)


async def test_a_live_stream_is_known_without_the_store(house: House) -> None:
    stream, key = await house.stream()
    assert await house.access.knows_stream(stream)
    assert not await house.access.knows_stream("zzzzzzzzzzzz")
    await house.publish(key)
    await house.store.aclose()
    assert await house.access.knows_stream(stream)


async def test_a_key_that_ends_hangs_its_publisher_up(house: House) -> None:
    stream, key = await house.stream()
    publication = await house.publish(key)
    await house.watch.settle(stream)
    assert house.peers[0].hung_up == []
    await house.store.access.rotate(stream, label="l", grace_s=0.0)
    await house.watch.settle(stream)
    assert house.peers[0].hung_up == [(ENDED, True)]
    await house.watch.settle(stream)
    assert len(house.peers[0].hung_up) == 1, "once"
    publication.close(goodbye=False)
    broadcast = house.broadcasts.live(stream)
    assert broadcast is not None, "the broadcast waits for its next publisher"
    assert broadcast.feed is None


async def test_another_key_that_ends_hangs_nobody_up(house: House) -> None:
    stream, _ = await house.stream()
    known, second = await house.store.access.add_key(stream, label="second")
    third, _ = await house.store.access.add_key(stream, label="third")
    await house.publish(second)
    await house.store.access.end_key(stream, third.id)
    await house.watch.settle(stream)
    assert house.peers[0].hung_up == []
    await house.store.access.end_key(stream, known.id)
    await house.watch.settle(stream)
    assert house.peers[0].hung_up == [(ENDED, True)]


async def test_who_came_without_a_key_is_left_alone(house: House) -> None:
    stream, _ = await house.stream()
    peer = FakePeer()
    house.ingest.take(stream, peer)
    await house.store.access.rotate(stream, label="l", grace_s=0.0)
    await house.watch.settle(stream)
    house.watch.look()
    assert peer.hung_up == []


async def test_a_grace_ends_by_itself(
    house: House, clock: Clock, autojump_clock: trio.testing.MockClock
) -> None:
    stream, key = await house.stream()
    await house.publish(key)
    await house.store.access.rotate(stream, label="l", grace_s=100.0)
    await house.watch.settle(stream)
    async with trio.open_nursery() as nursery:
        await nursery.start(house.watch.run)
        clock.now_s += 99.0
        await trio.sleep(2 * LOOK_S)
        assert house.peers[0].hung_up == []
        clock.now_s += 1.0
        await trio.sleep(2 * LOOK_S)
        nursery.cancel_scope.cancel()
    assert house.peers[0].hung_up == [("the stream key has expired", True)]
