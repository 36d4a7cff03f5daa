"""An edge over HTTP: what is answered here, what is asked upstream and how, what is passed on."""

import json
import zlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio
import trio.testing
from http_peers import error_of
from scripted_upstream import Script, ScriptedUpstream

from edge.edge_app import EdgeApp
from edge.edge_settings import EdgeSettings
from edge.http.messages import Call, Hold, Request
from edge.http.response import Response, make_response

if TYPE_CHECKING:
    from trio.testing import MockClock

    from .conftest import Connect, Feed

STREAM = "/api/streams/one"
PATH = f"{STREAM}/source/playlist.m3u8"
PART = f"{STREAM}/source/part-tok-1.0.m4s"
MEDIA = {
    "Cache-Control": "public, max-age=86400, immutable",
    "Content-Type": "video/mp4",
    "Accept-Ranges": "bytes",
    "ETag": '"part-tok-1.0.m4s"',
}
PLAYLIST = {
    "Cache-Control": "public, max-age=0, s-maxage=1",
    "Content-Type": "application/vnd.apple.mpegurl",
    "ETag": '"tok-5"',
}


@pytest.fixture
def server() -> ScriptedUpstream:
    return ScriptedUpstream()


def make_app(server: ScriptedUpstream, **more: Any) -> EdgeApp:
    settings = EdgeSettings(upstreams=("http://up",), node_id="me")
    return EdgeApp(settings, transport=server.open, **more)


@pytest.fixture
async def edge(server: ScriptedUpstream, nursery: trio.Nursery) -> EdgeApp:
    app = make_app(server)
    await nursery.start(app.run)
    return app


# --- keys


@pytest.mark.parametrize(
    ("asked", "upstream"),
    [
        (PATH, PATH),
        (f"{PATH}?", PATH),
        (f"{PATH}?CMCD=bl%3D1%2Csid%3D%22a%22&token=x", PATH),
        (f"{PATH}?_HLS_part=3&_HLS_msn=7", f"{PATH}?_HLS_msn=7&_HLS_part=3"),
        (
            f"{PATH}?a=1&_HLS_skip=YES&_HLS_part=3&b=2&_HLS_msn=7",
            f"{PATH}?_HLS_msn=7&_HLS_part=3&_HLS_skip=YES",
        ),
        (f"{PATH}?_HLS_skip=v2&_HLS_msn=07", f"{PATH}?_HLS_msn=7&_HLS_skip=YES"),
        (f"{PATH}?_HLS_skip=NO", PATH),
        (f"{PATH}?container=ts", PATH),
        (f"{STREAM}/master.m3u8?token=x", f"{STREAM}/master.m3u8"),
        (f"{STREAM}/master.m3u8?token=x&container=ts", f"{STREAM}/master.m3u8?container=ts"),
        (f"{STREAM}/master.m3u8?container=mkv&_HLS_msn=1", f"{STREAM}/master.m3u8"),
        (f"{PART}?_HLS_msn=1&token=x&CMCD=x", PART),
        (f"{STREAM}/source/ts.m3u8?x", f"{STREAM}/source/ts.m3u8"),
        ("/api/streams/live?x=1", "/api/streams/live"),
        (f"{STREAM}?token=x", STREAM),
    ],
)
async def test_the_upstream_is_asked_for_the_canonical_target(
    autojump_clock: "MockClock",
    connect: "Connect",
    edge: EdgeApp,
    server: ScriptedUpstream,
    asked: str,
    upstream: str,
) -> None:
    fields = "Authorization: Bearer secret\r\n" if ".m" in asked else ""
    await connect(edge).get(asked, fields=f"{fields}Cookie: a=b\r\nAccept-Encoding: gzip\r\n")
    assert server.asked == [upstream]
    assert dict(server.requests[0].headers) == {
        "host": "up",
        "user-agent": "headrace-edge",
        "accept-encoding": "identity",
        "via": "1.1 me",
    }


@pytest.mark.parametrize(
    "query", ["_HLS_part=1", "_HLS_msn=x", "_HLS_msn=1&_HLS_msn=2", "_HLS_msn=-1", "_HLS_msn="]
)
async def test_a_bad_directive_is_refused_here(
    autojump_clock: "MockClock",
    connect: "Connect",
    edge: EdgeApp,
    server: ScriptedUpstream,
    query: str,
) -> None:
    answer = await connect(edge).get(f"{PATH}?{query}")
    assert answer.status == 400
    assert error_of(answer).startswith("_HLS_")
    assert server.asked == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/../metrics",
        "/api/streams/../../metrics",
        "/api/streams/./live",
        "/api//streams",
        "/api/streams/%2e%2e/x",
        "/api/streams/one/a%2fb/x.m4s",
        "/api/streams/one/source/.hidden",
        "/api/streams/one/source/a;b.m4s",
        "/api/streams/one/source/" + "a" * 201,
        "/api/",
        "/metrics",
        "/elsewhere",
        "/apix/streams",
    ],
)
async def test_nothing_leads_out_of_the_api(
    autojump_clock: "MockClock",
    connect: "Connect",
    edge: EdgeApp,
    server: ScriptedUpstream,
    path: str,
) -> None:
    assert (await connect(edge).get(path)).status == 404
    assert server.asked == []


# --- representations


async def test_media_in_whole_in_part_and_not_modified(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    server.put(PART, b"0123456789", fields=MEDIA)
    client = connect(edge)
    answer = await client.get(PART)
    assert (answer.status, answer.body) == (200, b"0123456789")
    assert answer.fields["content-type"] == "video/mp4"
    assert answer.fields["cache-control"] == MEDIA["Cache-Control"]
    part = await client.get(PART, fields="Range: bytes=2-4\r\n")
    assert (part.status, part.body) == (206, b"234")
    known = await client.get(PART, fields=f"If-None-Match: {MEDIA['ETag']}\r\n")
    assert (known.status, known.body) == (304, b"")
    head = await client.get(PART, method="HEAD")
    assert head.fields["content-length"] == "10"
    assert server.asked == [PART]


async def test_playlists_are_packed_here_and_keep_the_upstreams_tag(
    autojump_clock: "MockClock",
    connect: "Connect",
    edge: EdgeApp,
    server: ScriptedUpstream,
    feed: "Feed",
) -> None:
    text = b"".join(feed.ready().rendition.timeline.render())
    server.put(PATH, text, fields=PLAYLIST)
    server.put(f"{STREAM}/master.m3u8", b"#EXTM3U\n" * 100, fields=PLAYLIST)
    client = connect(edge)
    for target, expected in ((PATH, text), (f"{STREAM}/master.m3u8", b"#EXTM3U\n" * 100)):
        plain = await client.get(target)
        assert (plain.body, plain.fields["etag"]) == (expected, '"tok-5"')
        packed = await client.get(target, fields="Accept-Encoding: gzip\r\n")
        assert packed.fields["etag"] == '"tok-5-gzip"'
        assert packed.fields["vary"] == "Accept-Encoding"
        assert zlib.decompress(packed.body, 31) == expected
    assert server.asked == [PATH, f"{STREAM}/master.m3u8"]


async def test_a_held_request_is_answered_when_the_upstream_is(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    held = server.put(PART, b"part", fields=MEDIA, after=trio.Event())
    clients = [connect(edge) for _ in range(20)]
    for client in clients:
        await client.send(f"GET {PART} HTTP/1.1\r\nHost: test\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()
    for client in clients[:10]:
        await client.stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert held.after is not None
    held.after.set()
    for client in clients[10:]:
        assert (await client.answer()).body == b"part"
    assert server.asked == [PART]


# --- what is answered here


async def test_pages_health_and_preflight_need_no_upstream(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    server.is_down = True
    client = connect(edge)
    assert b"<html" in (await client.get("/")).body
    assert b"<html" in (await client.get("/watch/one")).body
    assert (await client.get("/static/watch.js")).status == 200
    assert json.loads((await client.get("/health")).body) == {"status": "ok"}
    assert (await client.get(PATH, method="OPTIONS")).status == 204
    assert server.asked == []


async def test_ready_when_an_upstream_can_be_reached(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    client = connect(edge)
    assert (await client.get("/ready")).status == 200
    server.is_down = True
    assert (await client.get(PART)).status == 503
    answer = await client.get("/ready")
    assert answer.status == 503
    assert answer.fields["retry-after"] == "1"
    assert not edge.is_reachable
    server.is_down = False
    await trio.sleep(2)
    assert (await client.get("/ready")).status == 200


async def test_ready_and_metrics_may_be_somebody_elses(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    assert (await connect(edge).get("/metrics")).status == 404
    app = make_app(
        server,
        ready=lambda: make_response(503, (b"draining",)),
        metrics=lambda: b"viewers 3\n",
    )
    client = connect(app)
    assert (await client.get("/ready")).body == b"draining"
    metrics = await client.get("/metrics")
    assert metrics.body == b"viewers 3\n"
    assert metrics.fields["content-type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize(
    ("target", "method", "allowed"),
    [
        (PATH, "POST", "GET, HEAD, OPTIONS"),
        (PART, "DELETE", "GET, HEAD, OPTIONS"),
        (f"{STREAM}/master.m3u8", "POST", "GET, HEAD, OPTIONS"),
        ("/health", "POST", "GET, HEAD, OPTIONS"),
        ("/ready", "POST", "GET, HEAD, OPTIONS"),
        ("/", "POST", "GET, HEAD, OPTIONS"),
        ("/api/streams", "TRACE", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
    ],
)
async def test_methods(
    autojump_clock: "MockClock",
    connect: "Connect",
    edge: EdgeApp,
    server: ScriptedUpstream,
    target: str,
    method: str,
    allowed: str,
) -> None:
    answer = await connect(edge).get(target, method=method)
    assert answer.status == 405
    assert answer.fields["allow"] == allowed
    assert server.asked == []


async def test_when_full_those_who_are_here_go_on(
    autojump_clock: "MockClock",
    connect: "Connect",
    nursery: trio.Nursery,
    server: ScriptedUpstream,
) -> None:
    room = [True]
    app = make_app(server, admits_new=lambda: room[0])
    await nursery.start(app.run)
    server.put(f"{STREAM}/master.m3u8", b"#EXTM3U", fields=PLAYLIST)
    server.put(PART, b"part", fields=MEDIA)
    client = connect(app)
    assert (await client.get(f"{STREAM}/master.m3u8")).status == 200
    room[0] = False
    refused = await client.get(f"{STREAM}/master.m3u8")
    assert refused.status == 503
    assert refused.fields["retry-after"] == "5"
    assert (await client.get(PART)).body == b"part"


# --- rings


@pytest.mark.parametrize(
    ("via", "status"),
    [
        ("1.1 other", 200),
        ("1.1 a, 1.1 me", 508),
        ("1.1 me", 508),
        (", ".join(f"1.1 node-{n}" for n in range(100)), 508),
    ],
)
async def test_what_was_here_before_is_refused(
    autojump_clock: "MockClock",
    connect: "Connect",
    edge: EdgeApp,
    server: ScriptedUpstream,
    via: str,
    status: int,
) -> None:
    server.put(PART, b"part", fields=MEDIA)
    server.put("/api/streams", b"[]")
    client = connect(edge)
    for target in (PART, "/api/streams"):
        answer = await client.get(target, fields=f"Via: {via}\r\n")
        assert answer.status == status
    assert [request.headers["via"] for request in server.requests] == (
        [f"{via}, 1.1 me"] * 2 if status == 200 else []
    )


async def test_two_edges_that_ask_each_other_find_out_at_once(
    autojump_clock: "MockClock", connect: "Connect", nursery: trio.Nursery
) -> None:
    apps: list[EdgeApp] = []
    seen: list[str] = []

    class Ring(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await trio.lowlevel.checkpoint()
            seen.append(request.headers["via"])
            target = apps[int(request.url.host)]
            asked = target.route(
                Request(
                    "GET",
                    request.url.raw_path.decode(),
                    [(b"via", request.headers["via"].encode())],
                )
            )
            if isinstance(asked, Hold):
                with trio.CancelScope() as scope:
                    asked.gate.add(scope.cancel)
                    await trio.sleep_forever()
                asked = asked.gate.response or asked.late
            assert isinstance(asked, Response)
            fields = [(name.decode(), value.decode()) for name, value in asked.fields]
            return httpx.Response(
                asked.status, headers=fields, content=b"".join(map(bytes, asked.chunks))
            )

    for number in range(2):
        settings = EdgeSettings(upstreams=(f"http://{1 - number}",), node_id=f"node-{number}")
        apps.append(EdgeApp(settings, transport=Ring))
        await nursery.start(apps[-1].run)
    await trio.testing.wait_all_tasks_blocked()
    seen.clear()
    began_s = trio.current_time()
    assert (await connect(apps[0]).get(PART)).status == 503
    assert trio.current_time() == began_s
    assert seen == ["1.1 node-0", "1.1 node-0, 1.1 node-1"]


# --- what is passed on


async def test_a_call_goes_on_and_its_answer_comes_back(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    server.put(
        "/api/streams?x=1",
        b'{"id":"one"}',
        status=201,
        fields={
            "Content-Type": "application/json",
            "Location": STREAM,
            "Connection": "close",
            "Set-Cookie": "a=b",
        },
    )
    client = connect(edge)
    await client.send(
        "POST /api/streams?x=1 HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer secret\r\n"
        "Content-Type: application/json\r\nCookie: a=b\r\nX-Forwarded-For: 1.2.3.4\r\n"
        "Connection: keep-alive\r\nContent-Length: 2\r\n\r\n{}"
    )
    answer = await client.answer()
    assert (answer.status, answer.body) == (201, b'{"id":"one"}')
    assert answer.fields["location"] == STREAM
    assert answer.fields["cache-control"] == "no-store"
    assert "set-cookie" not in answer.fields
    assert "connection" not in answer.fields
    request = server.requests[0]
    assert request.content == b"{}"
    assert dict(request.headers) == {
        "host": "up",
        "user-agent": "headrace-edge",
        "accept-encoding": "identity",
        "via": "1.1 me",
        "authorization": "Bearer secret",
        "content-type": "application/json",
        "content-length": "2",
    }


async def test_what_a_key_may_see_is_not_shared(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    server.put(STREAM, b"{}", fields={"Cache-Control": "public, max-age=60"})
    client = connect(edge)
    for _ in range(3):
        await client.get(STREAM, fields="Authorization: Bearer x\r\n")
    assert server.count(STREAM) == 3
    for _ in range(3):
        await client.get(STREAM)
    assert server.count(STREAM) == 4
    assert "authorization" not in server.requests[-1].headers


async def test_head_of_a_call(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    server.put(f"{STREAM}/viewers", b'{"count":3}')
    answer = await connect(edge).get(f"{STREAM}/viewers", method="HEAD")
    assert answer.fields["content-length"] == "11"
    assert server.requests[0].method == "GET"


@pytest.mark.parametrize(
    "script",
    [
        Script(error=httpx.ConnectError("refused")),
        Script(status=799),
        Script(bytes(1024 * 1024 + 1)),
        Script(b"half", cut_at=2),
    ],
)
async def test_a_call_that_fails_is_503(
    autojump_clock: "MockClock",
    connect: "Connect",
    edge: EdgeApp,
    server: ScriptedUpstream,
    script: Script,
) -> None:
    server.scripts["/api/streams"] = script
    answer = await connect(edge).post("/api/streams", "{}")
    assert answer.status == 503
    assert answer.fields["retry-after"] == "1"
    assert error_of(answer)


@pytest.mark.parametrize("target", ["/api/streams", PART, PATH])
@pytest.mark.parametrize("name", ["Via", "Authorization", "Content-Type"])
async def test_a_field_that_is_not_ascii_does_no_harm(
    autojump_clock: "MockClock",
    connect: "Connect",
    edge: EdgeApp,
    server: ScriptedUpstream,
    target: str,
    name: str,
) -> None:
    """Least of all to others: a flight is everybody's."""
    answer = await connect(edge).get(target, fields=f"{name}: 1.1 \xe9\r\n")
    is_passed_on = name == "Via" or target == "/api/streams"
    assert answer.status == (400 if is_passed_on else 404)
    assert server.asked == ([] if is_passed_on else [target])


async def test_the_figures(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    server.put(PART, b"part", fields=MEDIA)
    client = connect(edge)
    for _ in range(3):
        await client.get(PART)
    counters = edge.counters
    assert (counters.misses, counters.hits, counters.coalesced) == (1, 2, 0)
    assert (counters.upstream_requests, counters.upstream_errors) == (1, 0)
    assert counters.flights == 0
    assert counters.held_bytes > 4


def test_routing_never_blocks_and_a_call_is_a_call() -> None:
    app = make_app(ScriptedUpstream())
    assert isinstance(app.route(Request("POST", "/api/streams")), Call)


CMCD = "CMCD=br%3D3200%2Cbl%3D900%2Csid%3D%22viewer-{}%22"


async def test_what_players_say_of_themselves_is_no_other_object(
    autojump_clock: "MockClock",
    connect: "Connect",
    edge: EdgeApp,
    server: ScriptedUpstream,
    feed: "Feed",
) -> None:
    text = b"".join(feed.ready().rendition.timeline.render())
    server.put(PART, b"part", fields=MEDIA)
    server.put(PATH, text, fields=PLAYLIST)
    feed.part()
    newer = b"".join(feed.rendition.timeline.render())
    server.put(f"{PATH}?_HLS_msn=1&_HLS_part=0", newer, fields=PLAYLIST)
    server.put(f"{STREAM}/master.m3u8", b"#EXTM3U\n", fields=PLAYLIST)
    client = connect(edge)
    for number in range(3):
        said = CMCD.format(number)
        for target in (
            f"{PART}?{said}",
            f"{PATH}?{said}",
            f"{PATH}?{said}&_HLS_msn=1&_HLS_part=0",
            f"{PATH}?_HLS_part=0&_HLS_msn=1&{said}",
            f"{STREAM}/master.m3u8?{said}",
        ):
            assert (await client.get(target)).status == 200
    assert server.asked.count(PATH) <= 1  # a newer one may be known
    for target in (PART, f"{PATH}?_HLS_msn=1&_HLS_part=0", f"{STREAM}/master.m3u8"):
        assert server.asked.count(target) == 1, target
    assert "CMCD" not in "".join(server.asked)  # nor in what is fetched ahead
