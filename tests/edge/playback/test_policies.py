"""What is known of all streams without a look into the store: changes, ends, a store that fails."""

from collections.abc import Mapping

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from control.access_model import PUBLIC, Playback
from control.admin_token import AdminToken
from control.errors import StoreError, UnknownStreamError
from control.keys import hash_key
from edge.errors import Unavailable
from edge.playback.policies import REFRESH_S, Policies

ADMIN = "an-admin-token-of-some-length"
EDGE = "hrt_" + "1" * 32
NOW_S = 1_800_000_000.0
TOKEN = Playback(policy="token")
WEBHOOK = Playback(policy="webhook", webhook_url="http://shop.test/")


class FakeStore:
    """What is kept of streams "a" and "b"."""

    def __init__(self) -> None:
        self.playback: dict[str, Playback] = {}
        self.hashes: dict[bytes, float | None] = {}
        self.fails = False
        self.slow: trio.Event | None = None

    def check(self) -> None:
        if self.fails:
            raise StoreError("disk on fire")

    async def list_playback(self) -> Mapping[str, Playback]:
        self.check()
        found = dict(self.playback)
        if self.slow is not None:
            await self.slow.wait()
        return found

    async def token_hashes(self, scope: str) -> Mapping[bytes, float | None]:
        assert scope == "edge"
        self.check()
        return self.hashes

    async def set_playback(self, stream_id: str, playback: Playback) -> None:
        self.check()
        if stream_id not in ("a", "b"):
            raise UnknownStreamError(stream_id)
        self.playback[stream_id] = playback


class Bench:
    def __init__(self) -> None:
        self.store = FakeStore()
        self.changed: list[str] = []
        self.now_s = NOW_S
        self.policies = Policies(
            self.store,  # type: ignore[arg-type] # three methods are called
            AdminToken(ADMIN),
            self.changed.append,
            clock=lambda: self.now_s,
        )


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_nothing_is_public_before_it_is_known(bench: Bench) -> None:
    assert bench.policies.of("a") == TOKEN
    await bench.policies.refresh()
    assert bench.policies.of("a") == PUBLIC
    assert bench.changed == []


async def test_a_change_holds_at_once_and_is_told(bench: Bench) -> None:
    await bench.policies.refresh()
    await bench.policies.set("a", TOKEN)
    assert (bench.policies.of("a"), bench.policies.of("b")) == (TOKEN, PUBLIC)
    assert bench.changed == ["a"]
    await bench.policies.set("a", WEBHOOK)
    assert bench.policies.of("a") == WEBHOOK
    assert bench.changed == ["a"], "it needs a token as before"
    await bench.policies.set("a", PUBLIC)
    assert bench.policies.of("a") == PUBLIC
    assert bench.changed == ["a", "a"]


async def test_what_others_have_stored_is_seen(bench: Bench, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.policies.run)
        bench.store.playback["b"] = TOKEN
        await trio.sleep(REFRESH_S * 1.5)
        assert bench.policies.of("b") == TOKEN
        del bench.store.playback["b"]  # the stream was removed
        await trio.sleep(REFRESH_S)
        assert bench.policies.of("b") == PUBLIC
        nursery.cancel_scope.cancel()
    assert bench.changed == ["b", "b"]


async def test_a_look_that_began_before_a_change_does_not_undo_it(bench: Bench) -> None:
    await bench.policies.refresh()
    bench.store.slow = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.policies.refresh)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(bench.policies.set, "a", TOKEN)
        await trio.testing.wait_all_tasks_blocked()
        bench.store.slow.set()
    assert bench.policies.of("a") == TOKEN


async def test_while_the_store_fails_what_is_known_stands(
    bench: Bench, autojump_clock: MockClock
) -> None:
    await bench.policies.refresh()
    await bench.policies.set("a", TOKEN)
    bench.store.fails = True
    with capture_logs() as lines:
        await bench.policies.refresh()
        await bench.policies.refresh()
        with pytest.raises(Unavailable):
            await bench.policies.set("a", PUBLIC)
    assert bench.policies.of("a") == TOKEN
    assert [line["event"] for line in lines] == [
        "cannot read who may watch",
        "cannot store who may watch",
    ]
    bench.store.fails = False
    await bench.policies.refresh()
    assert bench.policies.of("a") == TOKEN


async def test_a_store_that_fails_at_the_start_makes_nothing_public(bench: Bench) -> None:
    bench.store.fails = True
    await bench.policies.refresh()
    assert bench.policies.of("a") == TOKEN


async def test_a_stream_must_be_there(bench: Bench) -> None:
    with pytest.raises(UnknownStreamError):
        await bench.policies.set("c", TOKEN)


async def test_who_is_an_edge(bench: Bench) -> None:
    bench.store.hashes = {hash_key(EDGE): None, hash_key("hrt_" + "2" * 32): NOW_S + 5}
    is_edge = bench.policies.is_edge
    assert not is_edge(EDGE), "nothing is known yet"
    assert is_edge(ADMIN)
    await bench.policies.refresh()
    assert is_edge(EDGE)
    assert is_edge("hrt_" + "2" * 32)
    assert not is_edge("hrt_" + "3" * 32)
    assert not any(map(is_edge, (None, "", "hrt_", "live_" + "1" * 32, EDGE + "1")))
    bench.now_s += 5
    assert not is_edge("hrt_" + "2" * 32), "it has ended meanwhile"
    bench.store.hashes = {}
    await bench.policies.refresh()
    assert not is_edge(EDGE)
