"""The API over connections: who may do what, what is refused and how, and what is never told."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from http_peers import error_of

from edge.api.streams import StreamKeyBody
from edge.errors import Unavailable

if TYPE_CHECKING:
    from trio.testing import MockClock

    from .conftest import Connect, FakeBackend

BASE = "/api/streams/one"
PLAYLIST = f"{BASE}/source/playlist.m3u8"


async def test_create_needs_the_admin_token(
    autojump_clock: "MockClock", connect: "Connect", backend: "FakeBackend"
) -> None:
    client = connect()
    body = '{"broadcasterId": "me", "title": "Räder & <b>", "recordingEnabled": true}'
    for token in ("", "wrong", "key-s1"):
        answer = await client.post("/api/streams", body, token=token)
        assert answer.status == 401
        assert answer.fields["www-authenticate"] == "Bearer"
        assert error_of(answer)
    assert not backend.streams
    answer = await client.post("/api/streams", body, token="admin")
    assert answer.status == 201
    assert answer.fields["location"] == "/api/streams/s1"
    assert answer.fields["cache-control"] == "no-store"
    created = json.loads(answer.body)
    assert created["streamKey"] == "key-s1"
    assert created["title"] == "Räder & <b>"
    assert created["recordingEnabled"] is True
    assert created["status"] == "idle"
    shown = json.loads((await client.get("/api/streams/s1")).body)
    assert set(shown) == {
        "id",
        "title",
        "status",
        "startedAt",
        "endedAt",
        "broadcasterId",
        "quality",
        "viewerCount",
        "chatEnabled",
        "recordingEnabled",
        "playback",
    }


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("[]", "Expected `object`"),
        ('{"title": "t"}', "broadcasterId"),
        ('{"broadcasterId": "me"}', "title"),
        ('{"broadcasterId": "me", "title": ""}', "title"),
        ('{"broadcasterId": "", "title": "t"}', "broadcasterId"),
        ('{"broadcasterId": 1, "title": "t"}', "broadcasterId"),
        ('{"broadcasterId": "me", "title": "a\\u0000b"}', "title"),
        ('{"broadcasterId": "me", "title": "a\\n"}', "title"),
        ('{"broadcasterId": "me\\n", "title": "t"}', "broadcasterId"),
        ('{"broadcasterId": "me", "title": "t", "extra": 1}', "extra"),
        ('{"broadcasterId": "me", "title": "t", "chatEnabled": "yes"}', "chatEnabled"),
        (json.dumps({"broadcasterId": "me", "title": "t" * 201}), "title"),
        (json.dumps({"broadcasterId": "m" * 129, "title": "t"}), "broadcasterId"),
        (b'{"broadcasterId": "me", "title": "\xff"}', "JSON"),
        (b"[" * 2000, "JSON"),
    ],
)
async def test_a_bad_creation_says_what_is_wrong(
    autojump_clock: "MockClock",
    connect: "Connect",
    backend: "FakeBackend",
    body: str | bytes,
    says: str,
) -> None:
    client = connect()
    answer = await client.post("/api/streams", body, token="admin")
    assert answer.status == 400
    assert says in error_of(answer)
    assert not backend.streams


@pytest.mark.parametrize(
    ("body", "token"),
    [
        ('{"streamKey": "key-a"}', ""),
        ("", "key-a"),
        ("{}", "key-a"),
        ("", "admin"),
        ('{"streamKey": "wrong"}', "admin"),
    ],
)
async def test_start_and_end_with_the_key_or_the_admin_token(
    autojump_clock: "MockClock",
    connect: "Connect",
    backend: "FakeBackend",
    body: str,
    token: str,
) -> None:
    backend.add("a")
    client = connect()
    for verb, status in (("start", "live"), ("end", "idle")):
        answer = await client.post(f"/api/streams/a/{verb}", body, token=token)
        assert answer.status == 200
        assert json.loads(answer.body)["status"] == status
        again = await client.post(f"/api/streams/a/{verb}", body, token=token)
        assert again.status == 409
        assert error_of(again)


@pytest.mark.parametrize("verb", ["start", "end"])
@pytest.mark.parametrize(
    ("body", "token", "status"),
    [
        ("", "", 401),
        ('{"streamKey": "key-b"}', "", 401),
        ('{"streamKey": "wrong"}', "key-b", 401),
        ('{"streamKey": ["key-a"]}', "", 401),
        ('{"streamKey": ["key-a"]}', "key-a", 400),
        ('{"key-a": "key-a"}', "key-a", 400),
    ],
)
async def test_start_and_end_without_a_right_credential(
    autojump_clock: "MockClock",
    connect: "Connect",
    backend: "FakeBackend",
    verb: str,
    body: str,
    token: str,
    status: int,
) -> None:
    backend.add("a", status="live")
    answer = await connect().post(f"/api/streams/a/{verb}", body, token=token)
    assert answer.status == status
    assert error_of(answer)
    assert backend.streams["a"].status == "live"


@pytest.mark.parametrize("token", ["key-a", "admin"])
async def test_a_marker_is_read_whole(
    autojump_clock: "MockClock", connect: "Connect", backend: "FakeBackend", token: str
) -> None:
    backend.add("a", status="live")
    client = connect()
    sent = {
        "id": "break-1",
        "class": "com.example",
        "startDate": "2026-11-28T10:00:00.500+01:00",
        "duration": 30,
        "plannedDuration": 30.5,
        "scte35Out": "0xFC30",
        "attributes": {"X-A": "b", "X-N": 2},
    }
    answer = await client.post("/api/streams/a/markers", json.dumps(sent), token=token)
    assert answer.status == 201
    assert json.loads(answer.body) == {"id": "break-1", "startDate": "2026-01-01T00:00:00.000Z"}
    [seen] = backend.marked
    assert (seen.kind, seen.duration, seen.scte35_out) == ("com.example", 30, "0xFC30")
    assert seen.start_date == datetime(2026, 11, 28, 9, 0, 0, 500_000, tzinfo=UTC)
    assert seen.attributes == {"X-A": "b", "X-N": 2}
    assert (await client.post("/api/streams/a/markers", "{}", token=token)).status == 201


@pytest.mark.parametrize(
    ("stream", "body", "token", "status"),
    [
        ("a", "{}", "", 401),
        ("a", "{}", "key-b", 401),
        ("a", '{"streamKey": "key-a"}', "", 401),
        ("a", '{"streamKey": "key-a"}', "key-a", 400),
        ("a", "", "key-a", 400),
        ("a", '{"id": "bad"}', "key-a", 400),
        ("a", '{"id": 7}', "key-a", 400),
        ("a", '{"startDate": "yesterday"}', "key-a", 400),
        ("a", '{"scte35Out": "0xFC3"}', "key-a", 400),
        ("idle", "{}", "key-idle", 409),
        ("none", "{}", "admin", 404),
    ],
)
async def test_a_marker_that_is_refused(
    autojump_clock: "MockClock",
    connect: "Connect",
    backend: "FakeBackend",
    stream: str,
    body: str,
    token: str,
    status: int,
) -> None:
    backend.add("a", status="live")
    backend.add("idle")
    answer = await connect().post(f"/api/streams/{stream}/markers", body, token=token)
    assert answer.status == status
    assert error_of(answer)
    assert not backend.marked


async def test_other_schemes_are_no_bearer(
    autojump_clock: "MockClock", connect: "Connect", backend: "FakeBackend"
) -> None:
    client = connect()
    for value in ("Basic admin", "admin", "Bearer", "Bearer "):
        await client.send(
            f"POST /api/streams HTTP/1.1\r\nHost: t\r\nAuthorization: {value}\r\n"
            "Content-Length: 0\r\n\r\n"
        )
        assert (await client.answer()).status == 401
    await client.send(
        "POST /api/streams HTTP/1.1\r\nHost: t\r\nauthorization: bearer admin\r\n"
        "Content-Length: 0\r\n\r\n"
    )
    assert (await client.answer()).status == 400  # let in; the body is missing


async def test_unknown_streams_are_404(autojump_clock: "MockClock", connect: "Connect") -> None:
    client = connect()
    assert (await client.get("/api/streams/none")).status == 404
    for verb in ("start", "end"):
        assert (await client.post(f"/api/streams/none/{verb}", "", token="admin")).status == 404


async def test_the_list_of_live_streams(
    autojump_clock: "MockClock", connect: "Connect", backend: "FakeBackend"
) -> None:
    backend.add("a")
    backend.add("b", status="live")
    answer = await connect().get("/api/streams/live")
    streams = json.loads(answer.body)["streams"]
    assert [stream["id"] for stream in streams] == ["b"]
    assert streams[0]["viewerCount"] == 0
    assert "streamKey" not in streams[0]


async def test_head_of_an_api_answer(
    autojump_clock: "MockClock", connect: "Connect", backend: "FakeBackend"
) -> None:
    backend.add("a")
    client = connect()
    full = await client.get("/api/streams/a")
    head = await client.get("/api/streams/a", method="HEAD")
    assert head.fields["content-length"] == str(len(full.body))
    assert (await client.get("/api/streams/a")).body == full.body


def test_a_key_is_in_no_repr() -> None:
    assert "secret" not in repr(StreamKeyBody(stream_key="secret"))


async def test_a_failing_backend_is_a_500_that_says_nothing(
    autojump_clock: "MockClock", connect: "Connect", backend: "FakeBackend"
) -> None:
    backend.error = RuntimeError("/var/lib/secret.db is locked")
    with structlog.testing.capture_logs() as logged:
        answer = await connect().get("/api/streams/live")
    assert answer.status == 500
    assert answer.body == b'{"error":"internal error","code":"internal"}'
    assert [entry["event"] for entry in logged] == ["request failed"]


async def test_a_backend_that_cannot_be_asked_is_a_503(
    autojump_clock: "MockClock", connect: "Connect", backend: "FakeBackend"
) -> None:
    backend.error = Unavailable()
    with structlog.testing.capture_logs() as logged:
        answer = await connect().get("/api/streams/live")
    assert answer.status == 503
    assert answer.fields["retry-after"] == "5"
    assert b"try again" in answer.body
    assert logged == []


async def test_health(autojump_clock: "MockClock", connect: "Connect") -> None:
    value: Any = json.loads((await connect().get("/health")).body)
    assert value == {"status": "ok", "liveStreams": 1}
