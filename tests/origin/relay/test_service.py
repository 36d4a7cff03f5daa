"""The relays of an origin as its API sees them: over a real store and a feigned far server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from control import AdminToken, SqliteStore
from edge.errors import NoSuchStream, Unavailable
from edge.relays import BadRelay, RelayBackend, RelaysInfo, RelaysRequest
from origin.relay.forward import MAX_FORWARDS
from origin.relay.pull import Sink, Source
from origin.relay.service import Relaying
from origin.relay.tap import Message, Taps
from origin.relay.target import Target
from origin.rtmp.client import Publisher
from origin.rtmp.publisher import Peer, PublishDeniedError
from rtmpcore import VideoMessage

SECRET = "live_far_0123456789abcdef"
URL = f"rtmp://far.example/live/{SECRET}"
IDR = b"\x17\x01\x00\x00\x00idr"


class FarServer:
    """Takes whatever comes."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.received: list[Message] = []

    @asynccontextmanager
    async def connect(self, target: Target) -> AsyncIterator[Publisher]:
        await trio.lowlevel.checkpoint()
        self.keys.append(target.key)
        yield self  # type: ignore[misc] # it relays, and nothing else is asked of it

    @asynccontextmanager
    async def play(self, target: Target) -> AsyncIterator[Source]:
        await trio.lowlevel.checkpoint()
        self.keys.append(target.key)
        yield self  # type: ignore[misc] # it is closed at once

    async def relay(self, message: Message) -> None:
        await trio.lowlevel.checkpoint()
        self.received.append(message)


class House:
    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.far = FarServer()
        self.taps = Taps()
        self.taken: list[str] = []
        self.relaying = Relaying(
            store=store,
            admin_token=AdminToken("an-admin-token-of-some-length"),
            taps=self.taps,
            take=self.take,
            forward=self.far.connect,
            pull=self.far.play,
        )
        self.backend: RelayBackend = self.relaying

    def take(self, stream_id: str, _peer: Peer) -> Sink:
        self.taken.append(stream_id)
        raise PublishDeniedError("stream is already live")

    async def create(self) -> str:
        stream, _key = await self.store.create_stream(broadcaster_id="b", title="t")
        return stream.id


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[House]:
    with capture_logs():
        async with await SqliteStore.open(path / "db") as store, trio.open_nursery() as nursery:
            house = House(store)
            await nursery.start(house.relaying.run)
            yield house
            nursery.cancel_scope.cancel()


def states(info: RelaysInfo) -> list[str]:
    return [relay.state for relay in info.forward]


async def test_relays_are_kept_and_run_while_somebody_publishes(tmp_path: Path) -> None:
    async with running(tmp_path) as house:
        stream_id = await house.create()
        assert await house.backend.relays(stream_id) == RelaysInfo(forward=[], pull=None)
        info = await house.backend.set_relays(stream_id, RelaysRequest(forward=(URL,)))
        assert info == await house.backend.relays(stream_id)
        assert states(info) == ["idle"]
        assert info.forward[0].peer == "far.example:1935"
        assert SECRET not in repr(info)

        tap = house.taps.open(stream_id)
        tap.push(VideoMessage(stream_id=1, timestamp_ms=0, payload=IDR))
        await wait_for(house, stream_id, "live")
        await wait_all_tasks_blocked()
        (forward,) = (await house.backend.relays(stream_id)).forward
        assert (forward.attempts, forward.messages, forward.size_bytes) == (1, 1, len(IDR))
        assert house.far.keys == [SECRET]
        tap.close()
        await wait_for(house, stream_id, "idle")


async def wait_for(house: House, stream_id: str, state: str) -> None:
    """Until the first forward is in a state; every look lets the store's thread run."""
    with trio.fail_after(10):
        while states(await house.backend.relays(stream_id)) != [state]:
            await trio.lowlevel.checkpoint()


async def test_relays_that_are_set_while_somebody_publishes_begin_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as house:
        stream_id = await house.create()
        house.taps.open(stream_id)
        await house.backend.set_relays(stream_id, RelaysRequest(forward=(URL,)))
        await wait_for(house, stream_id, "live")
        info = await house.backend.set_relays(stream_id, RelaysRequest())
        assert info == RelaysInfo(forward=[], pull=None)


async def test_a_pull_begins_when_it_is_set_and_with_the_process(tmp_path: Path) -> None:
    async with running(tmp_path) as house:
        stream_id = await house.create()
        info = await house.backend.set_relays(stream_id, RelaysRequest(pull=URL))
        assert info.pull is not None
        assert info.pull.peer == "far.example:1935"
        await wait_all_tasks_blocked()
        info = await house.backend.relays(stream_id)
        assert info.pull is not None
        assert (info.pull.state, info.pull.error) == ("waiting", "stream is already live")
        assert house.taken == [stream_id]
    async with running(tmp_path) as house:
        with trio.fail_after(10):
            while (await house.backend.relays(stream_id)).pull is None:
                await trio.lowlevel.checkpoint()
        assert (await house.backend.set_relays(stream_id, RelaysRequest())).pull is None


@pytest.mark.parametrize(
    "request_", [RelaysRequest(forward=(URL, f"http://x/y/{SECRET}")), RelaysRequest(pull="")]
)
async def test_a_bad_url_changes_nothing(tmp_path: Path, request_: RelaysRequest) -> None:
    async with running(tmp_path) as house:
        stream_id = await house.create()
        await house.backend.set_relays(stream_id, RelaysRequest(forward=(URL,)))
        with pytest.raises(BadRelay) as caught:
            await house.backend.set_relays(stream_id, request_)
        assert SECRET not in str(caught.value)
        assert len((await house.backend.relays(stream_id)).forward) == 1


async def test_the_api_takes_as_many_forwards_as_there_may_be(tmp_path: Path) -> None:
    body = msgspec.json.encode({"forward": [URL] * MAX_FORWARDS})
    request = msgspec.json.decode(body, type=RelaysRequest)
    async with running(tmp_path) as house:
        stream_id = await house.create()
        info = await house.backend.set_relays(stream_id, request)
        assert len(info.forward) == MAX_FORWARDS
    body = msgspec.json.encode({"forward": [URL] * (MAX_FORWARDS + 1)})
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=RelaysRequest)


async def test_a_stream_that_is_gone_has_no_relays(tmp_path: Path) -> None:
    async with running(tmp_path) as house:
        with pytest.raises(NoSuchStream):
            await house.backend.set_relays("0" * 12, RelaysRequest(forward=(URL,)))


async def test_a_store_that_fails_is_said_to_be_unavailable(tmp_path: Path) -> None:
    async with running(tmp_path) as house:
        stream_id = await house.create()
        await house.store.aclose()
        with pytest.raises(Unavailable):
            await house.backend.relays(stream_id)
        with pytest.raises(Unavailable):
            await house.backend.set_relays(stream_id, RelaysRequest())
