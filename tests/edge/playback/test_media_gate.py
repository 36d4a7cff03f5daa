"""An origin's media behind the gate: every path, what answers say to caches, a change of policy."""

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from control.access_model import PUBLIC, Playback
from edge.guesses import Guesses
from edge.http.messages import MAX_PASS_S, Pass, Peer, Request
from edge.http.representation import represent
from edge.http.response import Response, make_response
from edge.http.routes import App
from edge.live import LiveStreams
from edge.playback.gate import Gate
from edge.playback.media import MediaGate
from edge.playback.tokens import Claims, KeySet, Signer
from hls.request import Directives

if TYPE_CHECKING:
    from trio.testing import MockClock

    from ..conftest import Connect, Feed

NOW_S = 1_800_000_000.0
ONE = "/api/streams/one"
SIGNER = Signer(bytes(range(32)))
EDGE = "hrt_" + "1" * 32
PLAIN = f"{ONE}/source/playlist.m3u8"


class FakePolicies:
    """Streams that need a token; one token is an edge's."""

    def __init__(self) -> None:
        self.protected = {"one"}

    def of(self, stream_id: str) -> Playback:
        return Playback(policy="token") if stream_id in self.protected else PUBLIC

    def is_edge(self, credential: str | None) -> bool:
        return credential == EDGE


def mint(stream: str = "one", signer: Signer = SIGNER, **claims: Any) -> str:
    said: dict[str, Any] = {"sub": stream, "exp": NOW_S + 60, **claims}
    return signer.mint(Claims(**said))


@pytest.fixture
def policies() -> FakePolicies:
    return FakePolicies()


@pytest.fixture
def app(live: LiveStreams, policies: FakePolicies) -> App:
    keys = KeySet({SIGNER.kid: SIGNER.public_key})
    gate = Gate(Guesses(), keys, clock=lambda: NOW_S)
    return App(live=live, gate=MediaGate(policies, gate))  # type: ignore[arg-type] # two methods


PATHS = [
    "master.m3u8",
    "master.m3u8?container=ts",
    "source/playlist.m3u8",
    "source/iframes.m3u8",
    "source/ts.m3u8",
    "source/init-tok-0.mp4",
    "source/seg-tok-0.m4s",
    "source/part-tok-0.1.m4s",
    "source/part-tok-9.9.m4s",
    "source/missing.m3u8",
    "other/playlist.m3u8",
]


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_is_served_without_a_token(
    autojump_clock: "MockClock", connect: "Connect", app: App, feed: "Feed", path: str
) -> None:
    feed.ready()
    client = connect(app)
    answer = await client.get(f"{ONE}/{path}")
    assert (answer.status, answer.fields["www-authenticate"]) == (401, "Bearer")
    assert answer.fields["cache-control"] == "no-store"
    assert answer.fields["headrace-playback"] == "token"
    for token in ("", "x", mint("two"), mint(exp=NOW_S - 60), mint(net="192.0.2.0/24")):
        refused = await client.get(f"{ONE}/~{token}/{path}")
        assert refused.status == 403
        assert token == "" or token not in refused.body.decode()
    head = await client.get(f"{ONE}/{path}", method="HEAD")
    assert head.status == 401


@pytest.mark.parametrize("path", PATHS)
async def test_who_has_one_is_served_what_others_are_of_a_public_stream(
    autojump_clock: "MockClock",
    connect: "Connect",
    app: App,
    feed: "Feed",
    policies: FakePolicies,
    path: str,
) -> None:
    feed.ready()
    client = connect(app)
    ours = await client.get(f"{ONE}/~{mint()}/{path}", fields="Accept-Encoding: gzip\r\n")
    policies.protected.clear()
    public = await client.get(f"{ONE}/{path}", fields="Accept-Encoding: gzip\r\n")
    assert (ours.status, ours.body) == (public.status, public.body)
    changed = {"cache-control", "headrace-playback", "headrace-cache-control", "date"}
    assert {name: value for name, value in ours.fields.items() if name not in changed} == {
        name: value for name, value in public.fields.items() if name not in changed
    }
    assert ours.fields["headrace-cache-control"] == public.fields["cache-control"]
    shared = ours.fields["cache-control"]
    assert "private" in shared or "no-store" in shared
    assert "public" not in shared
    assert "s-maxage" not in shared
    assert "headrace-playback" not in public.fields


async def test_media_in_part_and_not_modified(
    autojump_clock: "MockClock", connect: "Connect", app: App, feed: "Feed"
) -> None:
    feed.ready()
    client = connect(app)
    path = f"{ONE}/~{mint()}/source/part-tok-0.1.m4s"
    whole = await client.get(path)
    assert whole.fields["cache-control"] == "private, max-age=86400, immutable"
    part = await client.get(path, fields="Range: bytes=1-2\r\n")
    assert (part.status, part.body) == (206, whole.body[1:3])
    known = await client.get(path, fields=f"If-None-Match: {whole.fields['etag']}\r\n")
    assert known.status == 304
    refused = f"{ONE}/source/part-tok-0.1.m4s"
    for fields in ("Range: bytes=1-2\r\n", f"If-None-Match: {whole.fields['etag']}\r\n"):
        assert (await client.get(refused, fields=fields)).status == 401


async def test_a_held_reload_is_answered(
    autojump_clock: "MockClock", connect: "Connect", app: App, feed: "Feed"
) -> None:
    feed.ready()
    client = connect(app)
    reload = f"/~{mint()}/source/playlist.m3u8?_HLS_msn=1&_HLS_part=0"
    await client.send(f"GET {ONE}{reload} HTTP/1.1\r\nHost: test\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()
    feed.part()
    answer = await client.answer()
    assert (answer.status, answer.fields["cache-control"]) == (200, "private, max-age=12")
    assert (await client.get(f"{PLAIN}?_HLS_msn=1&_HLS_part=1")).status == 401, "at once"


async def test_an_edge_is_let_in_by_its_bearer_token(
    autojump_clock: "MockClock", connect: "Connect", app: App, feed: "Feed"
) -> None:
    feed.ready()
    client = connect(app)
    answer = await client.get(PLAIN, fields=f"Authorization: Bearer {EDGE}\r\n")
    assert (answer.status, answer.fields["headrace-playback"]) == (200, "token")
    for token in ("hrt_" + "2" * 32, mint(), ""):
        refused = await client.get(PLAIN, fields=f"Authorization: Bearer {token}\r\n")
        assert refused.status == 401


async def test_a_token_leads_to_media_and_nothing_else(
    autojump_clock: "MockClock", connect: "Connect", app: App, feed: "Feed"
) -> None:
    feed.ready()
    client = connect(app)
    for path in ("", "/", "/x.m4s", "/viewers", "/a/b/c.m4s", "/q", "/~x/playlist.m3u8"):
        assert (await client.get(f"{ONE}/~{mint()}{path}")).status == 404, path


async def test_a_public_stream_takes_any_token(
    autojump_clock: "MockClock", connect: "Connect", app: App, policies: FakePolicies, feed: "Feed"
) -> None:
    feed.ready()
    policies.protected.clear()
    for token in ("", "x", mint("two")):
        answer = await connect(app).get(f"{ONE}/~{token}/source/playlist.m3u8")
        assert (answer.status, answer.body) == (200, (await connect(app).get(PLAIN)).body)


def test_a_change_ends_what_was_kept(live: LiveStreams, feed: "Feed") -> None:
    feed.ready()
    stream = live.get("one")
    assert stream is not None
    rendition = stream.renditions["source"]

    def answers() -> list[Any]:
        return [
            rendition.playlist(Directives()),
            rendition.iframe_playlist(),
            rendition.media("init-tok-0.mp4"),
            rendition.media("part-tok-0.0.m4s"),
            rendition.media("seg-tok-0.m4s"),
        ]

    before = answers()
    live.renew("nobody")
    assert not any(answer.life.ended for answer in before)
    live.renew("one")
    assert all(answer.life.ended for answer in before)
    after = answers()
    assert after == before, "nothing about them has changed"
    assert not any(answer.life.ended for answer in after)
    feed.segment()
    assert not after[3].life.ended


async def test_a_reload_that_is_held_outlives_a_change(
    autojump_clock: "MockClock", connect: "Connect", app: App, live: LiveStreams, feed: "Feed"
) -> None:
    feed.ready()
    client = connect(app)
    reload = f"/~{mint()}/source/playlist.m3u8?_HLS_msn=1&_HLS_part=0"
    await client.send(f"GET {ONE}{reload} HTTP/1.1\r\nHost: test\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()
    live.renew("one")
    await trio.testing.wait_all_tasks_blocked()
    feed.part()
    assert (await client.answer()).status == 200


# -- passes, and what is sent


def asked(app: App, path: str, **how: Any) -> tuple[Request, Any]:
    request = Request("GET", path, [], Peer("192.0.2.7"), **how)
    return request, app.route(request)


async def test_a_pass_is_for_what_was_judged_good(app: App, feed: "Feed") -> None:
    feed.ready()
    token = mint()
    request, answer = asked(app, f"{ONE}/~{token}/source/playlist.m3u8")
    assert represent(answer, request).status == 200
    made = app.pass_of(request)
    assert made is not None
    assert made[:2] == Pass("one", token.encode(), 0)[:2]
    assert made.until_s == pytest.approx(trio.current_time() + MAX_PASS_S, abs=1)
    ending = mint(exp=NOW_S - 25)  # it has five seconds left
    request, _ = asked(app, f"{ONE}/~{ending}/source/playlist.m3u8")
    made = app.pass_of(request)
    assert made is not None
    assert made.until_s == pytest.approx(trio.current_time() + 5, abs=1)


@pytest.mark.parametrize(
    "path",
    [f"{ONE}/~x/master.m3u8", PLAIN, f"{ONE}/~{mint('two')}/master.m3u8", "/", "/watch/~x"],
)
async def test_there_is_no_pass_for_others(app: App, feed: "Feed", path: str) -> None:
    feed.ready()
    request, _ = asked(app, path)
    assert app.pass_of(request) is None


def test_what_has_a_pass_is_served_as_protected(app: App, feed: "Feed") -> None:
    feed.ready()
    request, answer = asked(app, PLAIN, is_admitted=True)
    sent = represent(answer, request)
    assert (sent.status, sent.is_protected) == (200, True)
    assert sent.life is not None, "the reactor may keep it, under the key of those who have one"
    assert represent(answer, request) is sent, "made once"


def test_an_answer_that_is_protected_is_sent_to_nobody_who_is_not_admitted() -> None:
    response = make_response(200, (b"secret",), cache_control="public, max-age=5").protected()
    stranger = Request("GET", "/x")
    sent = represent(response, stranger)
    assert (sent.status, sent.life) == (401, None)
    stranger.refusal = make_response(403, (b"why",))
    assert represent(response, stranger).status == 403
    for fields in ((b"range", b"bytes=0-1"), (b"if-none-match", b"*")):
        assert represent(response, Request("GET", "/x", [fields])).status == 401
    admitted = Request("GET", "/x", is_admitted=True)
    assert represent(response, admitted) is response


@pytest.mark.parametrize(
    ("public", "private"),
    [
        ("public, max-age=86400, immutable", "private, max-age=86400, immutable"),
        ("public, max-age=0, s-maxage=1", "private, max-age=0"),
        ("public, max-age=1", "private, max-age=1"),
        ("max-age=5", "private, max-age=5"),
        ("no-store", "no-store"),
    ],
)
def test_what_caches_are_told(public: str, private: str) -> None:
    response: Response = make_response(200, (b"x",), cache_control=public, etag='"a"').protected()
    assert dict(response.fields)[b"cache-control"] == private.encode()
    assert dict(response.fields)[b"headrace-cache-control"] == public.encode()
    assert f"Cache-Control: {private}\r\n".encode() in response.head
    assert (response.etag, response.chunks) == ('"a"', (b"x",))
    assert response.protected() is response
