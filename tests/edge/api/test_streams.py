"""Streams by the API: pages, changes under an ETag, creations that are repeated."""

import json
from typing import TYPE_CHECKING

import pytest
from http_peers import HttpAnswer, error_of

from edge.api.streams import MAX_IDEMPOTENCY_KEY, MAX_REPEATS, REPEAT_S

if TYPE_CHECKING:
    from trio.testing import MockClock

    from ..conftest import Client, Connect, FakeBackend

ADMIN = "Authorization: Bearer admin\r\n"
KEY = "Authorization: Bearer key-a\r\n"
CREATION = '{"broadcasterId": "me", "title": "t"}'


async def ask(
    client: "Client", method: str, path: str, body: str = "", *, fields: str = ADMIN
) -> HttpAnswer:
    await client.send(
        f"{method} {path} HTTP/1.1\r\nHost: t\r\n{fields}Content-Length: {len(body)}\r\n\r\n{body}"
    )
    return await client.answer()


async def test_all_streams_in_pages(
    autojump_clock: "MockClock", connect: "Connect", backend: "FakeBackend"
) -> None:
    for number in range(5):
        backend.add(f"s{number}", status="live" if number == 2 else "idle")
    client, seen, after = connect(), [], ""
    for _ in range(3):
        answer = await ask(client, "GET", f"/api/streams?limit=2{after}")
        page = json.loads(answer.body)
        seen.append([stream["id"] for stream in page["streams"]])
        after = f"&after={page['next']}"
    assert seen == [["s0", "s1"], ["s2", "s3"], ["s4"]]
    assert page["next"] is None
    live = json.loads((await ask(client, "GET", "/api/streams?status=live")).body)
    assert [stream["id"] for stream in live["streams"]] == ["s2"]
    assert "streamKey" not in json.dumps(live)
    assert (await ask(client, "GET", "/api/streams?limit=0")).status == 400
    assert (await ask(client, "GET", "/api/streams", fields="")).status == 401


async def test_a_change_leaves_the_rest(
    autojump_clock: "MockClock", connect: "Connect", backend: "FakeBackend"
) -> None:
    backend.add("a")
    client = connect()
    answer = await ask(client, "PATCH", "/api/streams/a", '{"title": "new"}', fields=KEY)
    assert answer.status == 200
    shown = json.loads(answer.body)
    assert (shown["title"], shown["chatEnabled"]) == ("new", True)
    answer = await ask(client, "PATCH", "/api/streams/a", '{"chatEnabled": false}', fields=KEY)
    shown = json.loads(answer.body)
    assert (shown["title"], shown["chatEnabled"]) == ("new", False)
    for body in ('{"title": ""}', '{"title": null}', '{"id": "b"}', "[]", ""):
        assert (await ask(client, "PATCH", "/api/streams/a", body, fields=KEY)).status == 400
    assert backend.streams["a"].title == "new"


async def test_a_change_under_an_etag_is_lost_by_who_was_slower(
    autojump_clock: "MockClock", connect: "Connect", backend: "FakeBackend"
) -> None:
    backend.add("a")
    client = connect()
    settings = await ask(client, "GET", "/api/streams/a/settings", fields=KEY)
    assert json.loads(settings.body) == {
        "title": "A title", "chatEnabled": True, "recordingEnabled": False,
    }  # fmt: skip
    tag = settings.fields["etag"]
    again = await ask(
        client, "GET", "/api/streams/a/settings", fields=f"{KEY}If-None-Match: {tag}\r\n"
    )
    assert (again.status, again.body) == (304, b"")
    match = f"{KEY}If-Match: {tag}\r\n"
    first = await ask(client, "PATCH", "/api/streams/a", '{"title": "first"}', fields=match)
    assert first.status == 200
    assert first.fields["etag"] != tag
    second = await ask(client, "PATCH", "/api/streams/a", '{"title": "second"}', fields=match)
    assert second.status == 412
    assert "changed meanwhile" in error_of(second)
    assert backend.streams["a"].title == "first"
    for good in ("*", f'"other", {first.fields["etag"]}'):
        fields = f"{KEY}If-Match: {good}\r\n"
        answer = await ask(client, "PATCH", "/api/streams/a", '{"title": "first"}', fields=fields)
        assert answer.status == 200


async def test_a_stream_is_removed_by_the_admin_alone(
    autojump_clock: "MockClock", connect: "Connect", backend: "FakeBackend"
) -> None:
    backend.add("a")
    client = connect()
    assert (await ask(client, "DELETE", "/api/streams/a", fields=KEY)).status == 403
    answer = await ask(client, "DELETE", "/api/streams/a")
    assert (answer.status, answer.body) == (204, b"")
    assert (await ask(client, "DELETE", "/api/streams/a")).status == 404


async def test_a_creation_may_be_repeated(
    autojump_clock: "MockClock", connect: "Connect", backend: "FakeBackend"
) -> None:
    client = connect()
    fields = f"{ADMIN}Idempotency-Key: one\r\n"
    first = await ask(client, "POST", "/api/streams", CREATION, fields=fields)
    again = await ask(client, "POST", "/api/streams", CREATION, fields=fields)
    assert first.status == again.status == 201
    assert first.body == again.body
    assert len(backend.streams) == 1
    other = await ask(client, "POST", "/api/streams", CREATION.replace('"t"', '"u"'), fields=fields)
    assert other.status == 409
    assert json.loads(other.body)["code"] == "otherBody"
    autojump_clock.jump(REPEAT_S)
    client = connect()
    assert (await ask(client, "POST", "/api/streams", CREATION, fields=fields)).status == 201
    assert len(backend.streams) == 2


@pytest.mark.parametrize("key", ["", "x" * (MAX_IDEMPOTENCY_KEY + 1)])
async def test_a_bad_idempotency_key(
    autojump_clock: "MockClock", connect: "Connect", backend: "FakeBackend", key: str
) -> None:
    fields = f"{ADMIN}Idempotency-Key: {key}\r\n"
    assert (await ask(connect(), "POST", "/api/streams", CREATION, fields=fields)).status == 400
    assert not backend.streams


async def test_so_many_creations_are_remembered(
    autojump_clock: "MockClock", connect: "Connect", backend: "FakeBackend"
) -> None:
    client = connect(requests_burst=2 * MAX_REPEATS)
    for number in range(MAX_REPEATS + 1):
        fields = f"{ADMIN}Idempotency-Key: {number}\r\n"
        await ask(client, "POST", "/api/streams", CREATION, fields=fields)
    for number, made in ((1, MAX_REPEATS + 1), (0, MAX_REPEATS + 2)):
        fields = f"{ADMIN}Idempotency-Key: {number}\r\n"
        await ask(client, "POST", "/api/streams", CREATION, fields=fields)
        assert len(backend.streams) == made


async def test_the_document_and_its_page(autojump_clock: "MockClock", connect: "Connect") -> None:
    client = connect()
    document = await client.get("/api/openapi.json")
    assert json.loads(document.body)["openapi"] == "3.1.1"
    fields = f"If-None-Match: {document.fields['etag']}\r\n"
    assert (await client.get("/api/openapi.json", fields=fields)).status == 304
    page = await client.get("/api/")
    assert page.fields["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.fields["content-security-policy"]
    assert b"createStream" in page.body
    assert (await client.get("/static/api.css")).status == 200
