"""The operations on viewers, over connections."""

import json
from typing import TYPE_CHECKING

import pytest
from http_peers import HttpAnswer

from edge.api.router import ApiRouter
from edge.api.streams import BackendAccess
from edge.audience.api import Audience
from edge.audience.counts import MAX_PER_NETWORK, POINT_S
from edge.events import EventBus
from edge.http.routes import App
from edge.live import LiveStreams

if TYPE_CHECKING:
    import trio
    from trio.testing import MockClock

    from ..conftest import Client, Connect, FakeBackend

PATH = "/api/streams/a/viewers"


@pytest.fixture
def audience(backend: "FakeBackend") -> Audience:
    backend.add("a", status="live")
    backend.add("idle")
    return Audience(lambda stream_id: backend.streams[stream_id].status == "live")


@pytest.fixture
def app(live: LiveStreams, backend: "FakeBackend", audience: Audience) -> App:
    return App(live=live, router=ApiRouter(BackendAccess(backend), audience.operations))


async def sign(client: "Client", viewer: str, path: str = PATH, **more: bool) -> HttpAnswer:
    return await client.post(path, json.dumps({"viewerId": viewer, **more}), token="")


async def test_a_sign_is_answered_with_the_count(
    autojump_clock: "MockClock", connect: "Connect"
) -> None:
    client = connect()
    assert json.loads((await sign(client, "viewer-1")).body) == {"count": 1}
    assert json.loads((await sign(client, "viewer-2")).body) == {"count": 2}
    assert json.loads((await sign(client, "viewer-1")).body) == {"count": 2}
    autojump_clock.jump(12.0)
    shown = json.loads((await client.get(PATH)).body)
    assert shown == {"count": 2, "peak": 2, "watchMinutes": 0.4}
    assert json.loads((await sign(client, "viewer-1", leaving=True)).body) == {"count": 1}


async def test_nobody_watches_what_is_not_live(
    autojump_clock: "MockClock", connect: "Connect", audience: Audience
) -> None:
    answer = await sign(connect(), "viewer-1", "/api/streams/idle/viewers")
    assert json.loads(answer.body) == {"count": 0}
    assert (await sign(connect(), "viewer-1", "/api/streams/none/viewers")).status == 404
    assert audience.count("idle") == 0


@pytest.mark.parametrize(
    "body",
    ["", "{}", '{"viewerId": "short"}', '{"viewerId": "viewer 1"}', '{"viewerId": 12345678}'],
)
async def test_a_bad_sign(
    autojump_clock: "MockClock", connect: "Connect", audience: Audience, body: str
) -> None:
    assert (await connect().post(PATH, body, token="")).status == 400
    assert audience.count("a") == 0


async def test_so_many_from_one_address(
    autojump_clock: "MockClock", connect: "Connect", audience: Audience
) -> None:
    client = connect(requests_burst=2 * MAX_PER_NETWORK)
    for number in range(MAX_PER_NETWORK):
        await sign(client, f"viewer-{number}")
    answer = await sign(client, "one-more")
    assert (answer.status, answer.fields["retry-after"]) == (429, "30")
    assert audience.count("a") == MAX_PER_NETWORK


async def test_history_is_for_the_owner(
    autojump_clock: "MockClock", connect: "Connect", audience: Audience, nursery: "trio.Nursery"
) -> None:
    await nursery.start(audience.run)
    client = connect()
    await sign(client, "viewer-1")
    autojump_clock.jump(POINT_S + 1)
    assert (await client.get(f"{PATH}/history")).status == 401
    for token in ("key-a", "admin"):
        fields = f"Authorization: Bearer {token}\r\n"
        answer = await connect().get(f"{PATH}/history?minutes=5", fields=fields)
        (point,) = json.loads(answer.body)["points"]
        assert (point["count"], point["peak"]) == (0, 1)
        assert point["at"].endswith("Z")


async def test_a_broadcast_has_figures_of_its_own(
    autojump_clock: "MockClock", connect: "Connect", audience: Audience
) -> None:
    bus = EventBus()
    bus.listen(audience.on_event)
    client = connect()
    await sign(client, "viewer-1")
    await sign(client, "viewer-1", leaving=True)
    assert audience.figures("a").peak == 1
    bus.emit("stream.live", "a")
    assert audience.figures("a").peak == 0
    await sign(client, "viewer-1")
    bus.emit("stream.deleted", "a")
    assert audience.count("a") == 0
