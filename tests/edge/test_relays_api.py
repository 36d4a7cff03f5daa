"""The API of relays: who may look, who may set, and what is refused."""

import json
from typing import TYPE_CHECKING

import pytest
from api_app import make_app
from http_peers import HttpAnswer, error_of

from edge.errors import NoSuchStream
from edge.http.routes import App
from edge.live import LiveStreams
from edge.relays import BadRelay, RelayInfo, RelaysInfo, RelaysRequest

if TYPE_CHECKING:
    from trio.testing import MockClock

    from .conftest import Client, Connect, FakeBackend

PATH = "/api/streams/a/relays"
URL = "rtmp://far/live/secret"


class FakeRelays:
    """Remembers what is set; "bad" is a bad URL."""

    def __init__(self) -> None:
        self.set: dict[str, RelaysRequest] = {}

    async def relays(self, stream_id: str) -> RelaysInfo:
        request = self.set.get(stream_id, RelaysRequest())
        return RelaysInfo(
            forward=[RelayInfo(peer="far:1935", state="live", live_s=1.5) for _ in request.forward],
            pull=None if request.pull is None else RelayInfo(peer="far:1935", state="idle"),
        )

    async def set_relays(self, stream_id: str, request: RelaysRequest) -> RelaysInfo:
        if "bad" in request.forward:
            raise BadRelay("that is no RTMP URL")
        if stream_id == "gone":
            raise NoSuchStream
        self.set[stream_id] = request
        return await self.relays(stream_id)


@pytest.fixture
def relays() -> FakeRelays:
    return FakeRelays()


@pytest.fixture
def app(live: LiveStreams, backend: "FakeBackend", relays: FakeRelays) -> App:
    backend.add("a")
    backend.add("gone")
    return make_app(live, backend, relays)


async def put(client: "Client", body: object, *, token: str, path: str = PATH) -> HttpAnswer:
    data = json.dumps(body)
    await client.send(
        f"PUT {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Length: {len(data)}\r\n\r\n{data}"
    )
    return await client.answer()


async def test_the_admin_sets_what_the_owner_may_see(
    autojump_clock: "MockClock", connect: "Connect", relays: FakeRelays
) -> None:
    client = connect()
    answer = await put(client, {"forward": [URL], "pull": URL}, token="admin")
    assert answer.status == 200
    assert relays.set == {"a": RelaysRequest(forward=(URL,), pull=URL)}
    again = await client.get(PATH, fields="Authorization: Bearer key-a\r\n")
    assert again.status == 200
    assert again.body == answer.body
    assert json.loads(answer.body) == {
        "forward": [
            {
                "peer": "far:1935",
                "state": "live",
                "attempts": 0,
                "messages": 0,
                "sizeBytes": 0,
                "droppedMessages": 0,
                "liveS": 1.5,
                "retryInS": 0.0,
                "error": None,
            }
        ],
        "pull": json.loads(answer.body)["pull"],
    }
    assert json.loads(answer.body)["pull"]["state"] == "idle"


async def test_what_is_left_out_is_taken_away(
    autojump_clock: "MockClock", connect: "Connect", relays: FakeRelays
) -> None:
    client = connect()
    await put(client, {"forward": [URL], "pull": URL}, token="admin")
    assert (await put(client, {}, token="admin")).body == b'{"forward":[],"pull":null}'


@pytest.mark.parametrize(("token", "status"), [("key-a", 403), ("wrong", 401)])
async def test_only_the_admin_sets(
    autojump_clock: "MockClock", connect: "Connect", relays: FakeRelays, token: str, status: int
) -> None:
    assert (await put(connect(), {"forward": [URL]}, token=token)).status == status
    assert not relays.set


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_without_a_token_nothing_is_shown_or_set(
    autojump_clock: "MockClock", connect: "Connect", method: str
) -> None:
    assert (await connect().get(PATH, method=method)).status == 401


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        (PATH, {"forward": ["bad"]}, 400, "that is no RTMP URL"),
        (PATH, {"forward": [URL] * 9}, 400, "length <= 8"),
        (PATH, {"pull": "x" * 1025}, 400, "length <= 1024"),
        (PATH, {"push": [URL]}, 400, "unknown field `push`"),
        ("/api/streams/unknown/relays", {}, 404, "no such stream"),
        ("/api/streams/gone/relays", {}, 404, "no such stream"),
    ],
)
async def test_what_cannot_be_set_says_why(
    autojump_clock: "MockClock",
    connect: "Connect",
    path: str,
    body: object,
    status: int,
    reason: str,
) -> None:
    answer = await put(connect(), body, token="admin", path=path)
    assert answer.status == status
    assert reason in error_of(answer)


async def test_other_methods_and_processes_without_relays(
    autojump_clock: "MockClock", connect: "Connect", live: LiveStreams, backend: "FakeBackend"
) -> None:
    answer = await connect().get(PATH, method="DELETE")
    assert (answer.status, answer.fields["allow"]) == (405, "GET, PUT, HEAD, OPTIONS")
    bare = make_app(live, backend)
    assert (await put(connect(bare), {}, token="admin")).status == 404
    without = connect(bare)
    assert (await without.get(PATH, fields="Authorization: Bearer admin\r\n")).status == 404
    assert (await without.get("/api/streams/a/source.flv")).status == 404


def test_a_repr_shows_no_url() -> None:
    assert URL not in repr(RelaysRequest(forward=(URL,), pull=URL))
