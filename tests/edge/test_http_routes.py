"""The whole application over connections: delivery, pages, CORS, cache headers."""

import gzip
import json
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from api_app import make_app
from http_peers import error_of

from edge.http.hls_app import FIRST_SEGMENT_WAIT_S
from edge.http.readiness import ready_response
from edge.live import LiveStreams

if TYPE_CHECKING:
    from trio.testing import MockClock

    from .conftest import Connect, FakeBackend, Feed

BASE = "/api/streams/one"
PLAYLIST = f"{BASE}/source/playlist.m3u8"


# --- delivery


async def test_master_is_held_until_the_first_segment(
    autojump_clock: "MockClock", connect: "Connect", feed: "Feed"
) -> None:
    client = connect()
    await client.send(f"GET {BASE}/master.m3u8 HTTP/1.1\r\nHost: test\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()
    feed.ready()
    answer = await client.answer()
    assert answer.status == 200
    assert answer.fields["content-type"] == "application/vnd.apple.mpegurl"
    assert b"source/playlist.m3u8" in answer.body
    assert (await client.get(f"{BASE}/master.m3u8")).body == answer.body


@pytest.mark.parametrize("path", [f"{BASE}/master.m3u8", PLAYLIST, f"{PLAYLIST}?_HLS_msn=0"])
async def test_a_first_segment_that_does_not_come_is_503(
    autojump_clock: "MockClock", connect: "Connect", path: str
) -> None:
    began = trio.current_time()
    answer = await connect().get(path)
    assert answer.status == 503
    assert answer.fields["retry-after"] == "1"
    assert "first segment" in error_of(answer)
    assert trio.current_time() - began == pytest.approx(FIRST_SEGMENT_WAIT_S)


@pytest.mark.parametrize("path", ["master.m3u8", "source/playlist.m3u8"])
async def test_a_live_stream_without_media_holds_players_and_then_says_503(
    autojump_clock: "MockClock", connect: "Connect", live: LiveStreams, path: str
) -> None:
    live.announce("two")
    began = trio.current_time()
    answer = await connect().get(f"/api/streams/two/{path}")
    assert answer.status == 503
    assert answer.fields["retry-after"] == "1"
    assert trio.current_time() - began == pytest.approx(FIRST_SEGMENT_WAIT_S)
    live.withdraw("two")
    assert (await connect().get(f"/api/streams/two/{path}")).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/api/streams/none/master.m3u8",
        "/api/streams/none/source/playlist.m3u8",
        f"{BASE}/720p/playlist.m3u8",
        f"{BASE}/source/seg-tok-99.m4s",
        f"{BASE}/source/part-tok-1.3.m4s",
        f"{BASE}/720p/seg-tok-0.m4s",
        "/api/streams/none/source/seg-tok-0.m4s",
        f"{BASE}/source/..%2f..%2fetc",
        "/nowhere",
        "/api/none",
        "/static/../web/__init__.py",
        "/static/package.json",
    ],
)
async def test_what_is_not_there_is_404_at_once(
    autojump_clock: "MockClock", connect: "Connect", feed: "Feed", path: str
) -> None:
    feed.ready()
    answer = await connect().get(path)
    assert answer.status == 404
    assert error_of(answer)


async def test_blocking_reload_for_a_part_and_for_a_segment(
    autojump_clock: "MockClock", connect: "Connect", feed: "Feed"
) -> None:
    feed.ready()
    by_part, by_segment = connect(), connect()
    await by_part.send(f"GET {PLAYLIST}?_HLS_msn=1&_HLS_part=1 HTTP/1.1\r\nHost: test\r\n\r\n")
    await by_segment.send(f"GET {PLAYLIST}?x=1&_HLS_msn=1 HTTP/1.1\r\nHost: test\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()
    feed.part()
    await trio.testing.wait_all_tasks_blocked()
    assert feed.rendition.waiting == 2
    feed.part()
    answer = await by_part.answer()
    assert b"part-tok-1.1.m4s" in answer.body
    assert answer.fields["cache-control"] == "public, max-age=12"
    assert feed.rendition.waiting == 1
    feed.segment()
    assert b"seg-tok-1.m4s" in (await by_segment.answer()).body


async def test_five_hundred_held_requests_wake_by_one_publish(
    autojump_clock: "MockClock", connect: "Connect", feed: "Feed"
) -> None:
    feed.ready()
    clients = [connect() for _ in range(500)]
    for client in clients:
        await client.send(f"GET {PLAYLIST}?_HLS_msn=1&_HLS_part=0 HTTP/1.1\r\nHost: t\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()
    assert feed.rendition.waiting == 1
    feed.part()
    bodies = {(await client.answer()).body for client in clients}
    assert len(bodies) == 1
    assert feed.rendition.waiting == 0


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 200),
        ("_HLS_msn=0", 200),
        ("_HLS_msn=0&_HLS_part=2", 200),
        ("_HLS_skip=YES", 200),
        ("token=x&%5fHLS_msn=0", 200),
        ("_HLS_part=2", 400),
        ("_HLS_msn=x", 400),
        ("_HLS_msn=-1", 400),
        ("_HLS_msn=", 400),
        ("_HLS_msn=3", 400),
        ("_HLS_msn=0&_HLS_msn=1", 400),
        ("_HLS_msn=1&_HLS_part=99", 400),
        ("_HLS_msn=99999999999999999999999", 400),
    ],
)
async def test_what_needs_no_waiting_is_answered_at_once(
    autojump_clock: "MockClock", connect: "Connect", feed: "Feed", query: str, status: int
) -> None:
    feed.ready()
    began = trio.current_time()
    answer = await connect().get(f"{PLAYLIST}?{query}")
    assert answer.status == status
    assert trio.current_time() == began
    if status == 400:
        assert "_HLS_" in error_of(answer)


async def test_a_stalled_broadcast_is_503_after_three_target_durations(
    autojump_clock: "MockClock", connect: "Connect", feed: "Feed"
) -> None:
    feed.ready()
    client = connect()
    for path in (f"{PLAYLIST}?_HLS_msn=1&_HLS_part=0", f"{BASE}/source/part-tok-1.0.m4s"):
        began = trio.current_time()
        answer = await client.get(path)
        assert answer.status == 503
        assert answer.fields["retry-after"] == "1"
        assert error_of(answer)
        assert trio.current_time() - began == pytest.approx(6)


async def test_the_hinted_part_comes_whole_with_the_very_bytes(
    autojump_clock: "MockClock", connect: "Connect", feed: "Feed"
) -> None:
    feed.ready()
    clients = [connect(), connect()]
    path = f"{BASE}/source/part-tok-1.0.m4s"
    for client in clients:
        await client.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()
    for client in clients:
        with trio.move_on_after(1) as silence:
            await client.stream.receive_some()
        assert silence.cancelled_caught
    feed.part()
    for client in clients:
        answer = await client.answer()
        assert answer.status == 200
        assert answer.body == b"<1.0>"
    assert (await clients[0].get(path)).body == b"<1.0>"


async def test_media_headers_and_ranges(
    autojump_clock: "MockClock", connect: "Connect", feed: "Feed"
) -> None:
    feed.ready()
    client = connect()
    path = f"{BASE}/source/seg-tok-0.m4s"
    answer = await client.get(path)
    assert answer.fields["content-type"] == "video/mp4"
    assert answer.fields["cache-control"] == "public, max-age=86400, immutable"
    assert answer.fields["accept-ranges"] == "bytes"
    assert answer.fields["access-control-allow-origin"] == "*"
    assert "Date" in answer.fields["access-control-expose-headers"]
    head = await client.get(path, method="HEAD")
    assert head.fields["content-length"] == str(len(answer.body))
    part = await client.get(path, fields="Range: bytes=3-12\r\n")
    assert part.status == 206
    assert part.body == answer.body[3:13]


async def test_the_i_frame_playlist_is_never_held(
    autojump_clock: "MockClock", connect: "Connect", feed: "Feed"
) -> None:
    client, path = connect(), f"{BASE}/source/iframes.m3u8"
    assert (await client.get(path)).status == 404
    feed.ready()
    answer = await client.get(path)
    assert answer.status == 200
    assert answer.fields["content-type"] == "application/vnd.apple.mpegurl"
    assert b"#EXT-X-I-FRAMES-ONLY\n" in answer.body
    assert (await client.get(f"{BASE}/720p/iframes.m3u8")).status == 404
    before = answer.fields["etag"]
    feed.part()
    assert (await client.get(path)).fields["etag"] == before
    feed.segment()
    assert (await client.get(path)).fields["etag"] != before


async def test_a_playlist_as_gzip_and_not_again(
    autojump_clock: "MockClock", connect: "Connect", feed: "Feed"
) -> None:
    """Held ones too: what a gate opens with is represented like any other answer."""
    feed.ready()
    client = connect()
    await client.send(
        f"GET {PLAYLIST}?_HLS_msn=1&_HLS_part=0 HTTP/1.1\r\nHost: t\r\n"
        "Accept-Encoding: gzip, br\r\n\r\n"
    )
    await trio.testing.wait_all_tasks_blocked()
    feed.part()
    packed = await client.answer()
    assert packed.fields["content-encoding"] == "gzip"
    assert packed.fields["vary"] == "Accept-Encoding"
    assert gzip.decompress(packed.body) == (await client.get(PLAYLIST)).body
    await client.send(
        f"GET {PLAYLIST} HTTP/1.1\r\nHost: t\r\nAccept-Encoding: gzip\r\n"
        f"If-None-Match: {packed.fields['etag']}\r\n\r\n"
    )
    again = await client.answer()
    assert (again.status, again.body) == (304, b"")
    assert again.fields["etag"] == packed.fields["etag"]
    assert (await client.get(PLAYLIST)).status == 200  # the connection goes on


async def test_the_end_of_a_broadcast(
    autojump_clock: "MockClock", connect: "Connect", feed: "Feed", live: LiveStreams
) -> None:
    feed.ready()
    client = connect()
    await client.send(f"GET {PLAYLIST}?_HLS_msn=1&_HLS_part=0 HTTP/1.1\r\nHost: t\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()
    feed.rendition.end()
    assert b"#EXT-X-ENDLIST" in (await client.answer()).body
    assert (await client.get(f"{BASE}/master.m3u8")).status == 404
    assert (await client.get(f"{BASE}/source/seg-tok-0.m4s")).status == 200
    live.close("one")
    assert (await client.get(PLAYLIST)).status == 404


# --- methods, CORS


async def test_options_is_a_preflight_anywhere(
    autojump_clock: "MockClock", connect: "Connect"
) -> None:
    client = connect()
    for path in (PLAYLIST, "/api/streams", "/nowhere", "*"):
        answer = await client.get(path, method="OPTIONS")
        assert answer.status == 204
        assert answer.fields["access-control-allow-origin"] == "*"
        for name in ("Range", "CMCD-Session"):
            assert name in answer.fields["access-control-allow-headers"]
        assert "POST" in answer.fields["access-control-allow-methods"]
        assert "content-length" not in answer.fields


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", PLAYLIST, "GET, HEAD, OPTIONS"),
        ("PUT", f"{BASE}/source/x.m4s", "GET, HEAD, OPTIONS"),
        ("PUT", f"{BASE}/master.m3u8", "GET, HEAD, OPTIONS"),
        ("PUT", "/api/streams", "POST, GET, HEAD, OPTIONS"),
        ("DELETE", "/api/streams/live", "GET, HEAD, OPTIONS"),
        ("PUT", BASE, "GET, PATCH, DELETE, HEAD, OPTIONS"),
        ("GET", f"{BASE}/start", "POST, OPTIONS"),
        ("HEAD", f"{BASE}/end", "POST, OPTIONS"),
        ("DELETE", "/health", "GET, HEAD, OPTIONS"),
        ("DELETE", "/", "GET, HEAD, OPTIONS"),
        ("DELETE", "/watch/one", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_405_and_says_which_are_right(
    autojump_clock: "MockClock", connect: "Connect", method: str, path: str, allow: str
) -> None:
    answer = await connect().get(path, method=method)
    assert answer.status == 405
    assert answer.fields["allow"] == allow


# --- pages


@pytest.mark.parametrize("path", ["/", "/watch/one", "/watch/whatever"])
async def test_pages_load_nothing_from_elsewhere(
    autojump_clock: "MockClock", connect: "Connect", path: str
) -> None:
    answer = await connect().get(path)
    assert answer.status == 200
    assert answer.fields["content-type"] == "text/html; charset=utf-8"
    policy = answer.fields["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = answer.body.decode()
    assert 'src="http' not in text
    assert 'href="http' not in text
    assert "<script>" not in text
    assert "style=" not in text


async def test_assets_are_cached_for_ever_under_their_hash(
    autojump_clock: "MockClock", connect: "Connect"
) -> None:
    client = connect()
    page = (await client.get("/")).body.decode()
    path = page.split('href="/static/style.css')[1].split('"')[0]
    assert path.startswith("?v=")
    asset = await client.get(f"/static/style.css{path}")
    assert asset.fields["cache-control"] == "public, max-age=31536000, immutable"
    assert asset.fields["content-type"] == "text/css; charset=utf-8"
    assert asset.fields["x-content-type-options"] == "nosniff"
    for query in ("", "?v=old"):
        other = await client.get(f"/static/style.css{query}")
        assert other.status == 200
        assert other.fields["cache-control"] == "no-cache"
    script = await client.get("/static/watch.js")
    assert script.fields["content-type"] == "text/javascript; charset=utf-8"


# --- metrics


async def test_metrics_are_rendered_for_whoever_asks(
    autojump_clock: "MockClock", connect: "Connect", live: LiveStreams, backend: "FakeBackend"
) -> None:
    asked: list[int] = []

    async def render() -> bytes:
        await trio.lowlevel.checkpoint()
        asked.append(1)
        return b"answers_total %d\n" % len(asked)

    client = connect(make_app(live, backend, metrics=render))
    answer = await client.get("/metrics")
    assert (answer.status, answer.body) == (200, b"answers_total 1\n")
    assert answer.fields["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.fields["cache-control"] == "no-store"
    assert (await client.get("/metrics")).body == b"answers_total 2\n"
    head = await client.get("/metrics", method="HEAD")
    assert (head.status, head.fields["content-length"]) == (200, "16")
    assert (await client.post("/metrics", "")).status == 405
    assert len(asked) == 3


async def test_without_metrics_and_readiness_there_are_no_such_pages(
    autojump_clock: "MockClock", connect: "Connect"
) -> None:
    assert (await connect().get("/metrics")).status == 404
    assert (await connect().get("/ready")).status == 404


async def test_readiness_is_answered_as_it_is_now(
    autojump_clock: "MockClock", connect: "Connect", live: LiveStreams, backend: "FakeBackend"
) -> None:
    checks: dict[str, str | None] = {"store": None, "disk": None}
    client = connect(make_app(live, backend, ready=lambda: ready_response(checks)))
    answer = await client.get("/ready")
    assert answer.status == 200
    assert json.loads(answer.body) == {
        "status": "ready",
        "checks": {"store": {"ok": True}, "disk": {"ok": True}},
    }
    checks["disk"] = "the disk is full"
    answer = await client.get("/ready")
    assert (answer.status, answer.fields["retry-after"]) == (503, "1")
    assert json.loads(answer.body) == {
        "status": "unready",
        "error": "the disk is full",
        "code": "unavailable",
        "checks": {"store": {"ok": True}, "disk": {"ok": False, "reason": "the disk is full"}},
    }
    assert (await client.post("/ready", "")).status == 405
