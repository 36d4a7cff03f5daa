"""The question about publishers: allow, deny, rename; slow, down or lying; and what Ingest does."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.lowlevel
from fake_peer import FakePeer
from hook_receivers import Answer, Got, Receiver
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from control import SqliteStore, StoreError, StreamKey
from edge.events import EventBus, PlatformEvent
from edge.live import LiveStreams
from edge.posting import Poster
from edge.process.errors import ConfigError
from hls import TimelineSettings
from hls.segmenter_settings import SegmenterSettings
from origin.access import ENDED, KeyWatch
from origin.broadcast import Broadcasts
from origin.config import Settings
from origin.hooks.publish import (
    MAX_FAILURES,
    MAX_REASON_CHARS,
    MAX_UNDER_WAY,
    NO_REASON,
    NOT_ASKED,
    PAUSE_S,
    TIMEOUT_S,
    PublishHook,
    make_publish_hook,
)
from origin.ingest import Ingest
from origin.rtmp.publisher import NoRoomError, PublishDeniedError

URL = "http://receiver.test/publish"
KEY = StreamKey(id="k", stream_id="a" * 12, label="studio", created_at=0.0, expires_at=None)
OTHER = "b" * 12


class House:
    def __init__(self, *, fails_open: bool = False) -> None:
        self.receiver = Receiver()
        self.is_broken = False
        self.hook = PublishHook(
            URL,
            poster=Poster(self.receiver.client(), clock_s=lambda: 77.0),
            exists=self.exists,
            fails_open=fails_open,
            secret=b"secret",
            clock_s=lambda: 77.0,
        )

    async def exists(self, stream_id: str) -> bool:
        await trio.lowlevel.checkpoint()
        if self.is_broken:
            raise StoreError("the disk is full")
        return stream_id == OTHER

    def says(self, body: bytes, **more: Any) -> None:
        self.receiver.answer = lambda _got: Answer(200, body, **more)

    async def judge(self) -> str:
        return await self.hook.judge(KEY, FakePeer("192.0.2.1"))

    async def outcome(self) -> str:
        """The stream, or the reason."""
        try:
            return await self.judge()
        except PublishDeniedError as error:
            return str(error)


async def test_what_is_asked(autojump_clock: MockClock) -> None:
    house = House()
    house.says(b'{"action": "allow"}')
    assert await house.judge() == KEY.stream_id
    (got,) = house.receiver.got
    assert got.event == {
        "streamId": KEY.stream_id,
        "keyId": "k",
        "keyLabel": "studio",
        "address": "192.0.2.1",
        "app": "live",
        "encoder": "FMLE/3.0",
        "at": 77_000,
    }
    assert got.headers["headrace-signature"].startswith("t=77,v1=")
    await house.hook.aclose()


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b'{"action": "allow", "more": 1}', KEY.stream_id),
        (b'{"action": "rename", "streamId": "' + OTHER.encode() + b'"}', OTHER),
        (b'{"action": "deny", "reason": "not on Sundays"}', "not on Sundays"),
        (b'{"action": "deny"}', NO_REASON),
        (b'{"action": "deny", "reason": " a\\n\\u0000b\\u202e "}', "a b"),
        (b'{"action": "deny", "reason": "' + b"x" * 500 + b'"}', "x" * MAX_REASON_CHARS),
    ],
)
async def test_decisions(answer: bytes, outcome: str, autojump_clock: MockClock) -> None:
    house = House()
    house.says(answer)
    assert await house.outcome() == outcome


LIES = [
    Answer(200, b""),
    Answer(200, b"allow"),
    Answer(200, b'{"action": "perhaps"}'),
    Answer(200, b'{"action": "rename"}'),
    Answer(200, b'{"action": "rename", "streamId": "' + b"c" * 12 + b'"}'),
    Answer(200, b'{"action": "rename", "streamId": "../../etc/passwd"}'),
    Answer(200, b"\xff\xfe"),
    Answer(200, b"[" * 10_000),
    Answer(500, b'{"action": "allow"}'),
    Answer(302, b'{"action": "allow"}', headers={"Location": "/"}),
    Answer(200, is_endless=True),
    Answer(200, b'{"action": "allow"}', after_s=TIMEOUT_S + 1),
    Answer(error=httpx.ConnectError("refused")),
]


@pytest.mark.parametrize("fails_open", [False, True])
@pytest.mark.parametrize("lie", LIES)
async def test_whatever_is_no_decision_is_what_the_operator_chose(
    lie: Answer, fails_open: bool, autojump_clock: MockClock
) -> None:
    house = House(fails_open=fails_open)
    house.receiver.answer = lambda _got: lie
    began_s = trio.current_time()
    assert await house.outcome() == (KEY.stream_id if fails_open else NOT_ASKED)
    assert trio.current_time() - began_s <= TIMEOUT_S


async def test_a_store_that_fails_is_no_decision(autojump_clock: MockClock) -> None:
    house = House()
    house.is_broken = True
    house.says(b'{"action": "rename", "streamId": "' + OTHER.encode() + b'"}')
    with pytest.raises(NoRoomError):
        await house.judge()


async def test_one_that_fails_often_is_left_alone_then_asked_about_one(
    autojump_clock: MockClock,
) -> None:
    house = House()
    house.receiver.answer = lambda _got: Answer(500)
    with capture_logs() as logs:
        for _ in range(MAX_FAILURES + 10):
            assert await house.outcome() == NOT_ASKED
        assert len(house.receiver.got) == MAX_FAILURES
        await trio.sleep(PAUSE_S)
        house.says(b'{"action": "allow"}', after_s=1.0)
        outcomes: list[str] = []

        async def ask() -> None:
            outcomes.append(await house.outcome())

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
        assert sorted(outcomes) == sorted([KEY.stream_id, NOT_ASKED, NOT_ASKED])
        assert await house.outcome() == KEY.stream_id
    said = [line["event"] for line in logs]
    assert said.count("publish webhook does not answer as it should") == MAX_FAILURES
    assert said.count("publish webhook is back") == 1


async def test_so_many_are_asked_about_at_once_and_the_others_wait_their_time(
    autojump_clock: MockClock,
) -> None:
    house = House()
    house.says(b'{"action": "allow"}', after_s=TIMEOUT_S * 0.6)
    outcomes: list[str] = []

    async def ask() -> None:
        outcomes.append(await house.outcome())

    async with trio.open_nursery() as nursery:
        for _ in range(MAX_UNDER_WAY + 1):
            nursery.start_soon(ask)
    assert house.receiver.most_under_way == MAX_UNDER_WAY
    assert outcomes.count(KEY.stream_id) == MAX_UNDER_WAY
    assert outcomes.count(NOT_ASKED) == 1


async def test_who_is_cancelled_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    house = House()
    house.says(b'{"action": "allow"}', after_s=2.0)
    with trio.move_on_after(1.0) as scope:
        await house.judge()
    assert scope.cancelled_caught
    assert house.receiver.under_way == 0
    assert await house.outcome() == KEY.stream_id


async def test_settings(tmp_path: Path) -> None:
    async with await SqliteStore.open(tmp_path / "db") as store:
        assert make_publish_hook(Settings(), store) is None
        hook = make_publish_hook(
            Settings(publish_webhook="http://127.0.0.1:1/", publish_webhook_secret="s"), store
        )
        assert hook is not None
        with pytest.raises(NoRoomError):
            await hook.judge(KEY, FakePeer())
        await hook.aclose()
        with pytest.raises(ConfigError, match="publish_webhook: must be"):
            make_publish_hook(Settings(publish_webhook="ftp://a/"), store)


# -- with an ingest


class Studio:
    """An ingest that asks."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.receiver = Receiver()
        self.events = EventBus()
        self.broadcasts = Broadcasts(
            live=LiveStreams(),
            store=store,
            timeline_settings=TimelineSettings(),
            reconnect_grace_s=60.0,
            events=self.events,
        )
        self.watch = KeyWatch(store=store, broadcasts=self.broadcasts, clock=lambda: 0.0)
        self.events.listen(self.watch.on_event)
        hook = PublishHook(URL, poster=Poster(self.receiver.client()), exists=self.exists)
        self.ingest = Ingest(
            keys=store.access,
            broadcasts=self.broadcasts,
            segmenter_settings=SegmenterSettings(),
            judge=hook.judge,
        )

    async def exists(self, stream_id: str) -> bool:
        return await self.store.get_stream(stream_id) is not None


@pytest.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    async with await SqliteStore.open(tmp_path / "db") as store:
        yield Studio(store)


def rename_to(stream_id: str) -> Any:
    body = b'{"action": "rename", "streamId": "%b"}' % stream_id.encode()
    return lambda _got: Answer(200, body)


async def test_a_renamed_publisher_feeds_the_other_stream_and_hangs_on_its_own_key(
    studio: Studio,
) -> None:
    ours, key = await studio.store.create_stream(broadcaster_id="b", title="ours")
    other, _ = await studio.store.create_stream(broadcaster_id="b", title="other")
    studio.receiver.answer = rename_to(other.id)
    peer = FakePeer()
    publication = await studio.ingest.admit(key, peer)
    assert publication.stream_id == other.id
    assert studio.broadcasts.is_live(other.id)
    assert not studio.broadcasts.is_live(ours.id)
    await studio.watch.settle(other.id)  # the other's keys are none of its business
    assert not peer.hung_up
    await studio.store.access.rotate(ours.id, label="new", grace_s=0.0)
    await studio.watch.settle(ours.id)
    assert peer.hung_up == [(ENDED, True)]
    publication.close(goodbye=True)


async def test_the_end_of_its_own_stream_ends_a_renamed_publisher(studio: Studio) -> None:
    ours, key = await studio.store.create_stream(broadcaster_id="b", title="ours")
    other, _ = await studio.store.create_stream(broadcaster_id="b", title="other")
    studio.receiver.answer = rename_to(other.id)
    peer = FakePeer()
    publication = await studio.ingest.admit(key, peer)
    studio.events.emit("stream.deleted", other.id + "x")
    assert not peer.hung_up
    studio.events.emit("stream.deleted", ours.id)
    assert peer.hung_up == [(ENDED, True)]
    publication.close(goodbye=True)


async def test_who_is_denied_reads_why_and_takes_nothing(studio: Studio) -> None:
    stream, key = await studio.store.create_stream(broadcaster_id="b", title="t")
    studio.receiver.answer = lambda _got: Answer(200, b'{"action": "deny", "reason": "later"}')
    heard: list[PlatformEvent] = []
    studio.events.listen(heard.append)
    with pytest.raises(PublishDeniedError, match=r"^later$"):
        await studio.ingest.admit(key, FakePeer())
    assert not studio.broadcasts.is_live(stream.id)
    assert not heard


async def test_a_wrong_key_is_not_asked_about(studio: Studio) -> None:
    with pytest.raises(PublishDeniedError, match="unknown stream key"):
        await studio.ingest.admit("live_" + "0" * 32, FakePeer())
    assert not studio.receiver.got


async def test_while_one_is_asked_about_others_come_in(studio: Studio) -> None:
    _, slow_key = await studio.store.create_stream(broadcaster_id="b", title="slow")
    _, key = await studio.store.create_stream(broadcaster_id="b", title="t")
    release = trio.Event()
    asked: list[Got] = []

    def answer(got: Got) -> Answer:
        asked.append(got)
        return Answer(200, b'{"action": "allow"}', after_s=0.5 if len(asked) == 1 else 0.0)

    studio.receiver.answer = answer
    order: list[str] = []

    async def come(name: str, key: str) -> None:
        publication = await studio.ingest.admit(key, FakePeer())
        order.append(name)
        await release.wait()
        publication.close(goodbye=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(come, "slow", slow_key)
        while not asked:
            await trio.lowlevel.checkpoint()
        nursery.start_soon(come, "fast", key)
        while len(order) < 2:
            await wait_all_tasks_blocked(0.01)
        release.set()
    assert order == ["fast", "slow"]


async def test_a_key_that_ends_while_it_is_asked_about_opens_nothing(studio: Studio) -> None:
    stream, key = await studio.store.create_stream(broadcaster_id="b", title="t")

    class Rotating:
        async def __call__(self, known: StreamKey, peer: Any) -> str:
            await studio.store.access.rotate(stream.id, label="new", grace_s=0.0)
            return known.stream_id

    ingest = Ingest(
        keys=studio.store.access,
        broadcasts=studio.broadcasts,
        segmenter_settings=SegmenterSettings(),
        judge=Rotating(),
    )
    with pytest.raises(PublishDeniedError, match="has been ended"):
        await ingest.admit(key, FakePeer())
    assert not studio.broadcasts.is_live(stream.id)
