"""Protected streams at an edge: whose token is good, what goes upstream, what changes do."""

import json
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from scripted_upstream import ScriptedUpstream

from edge.edge_app import EdgeApp
from edge.edge_settings import EdgeSettings
from edge.http.messages import Peer, Request
from edge.playback import learnt
from edge.playback.learnt import FRESH_S, SAY_EVERY_S, UNHEARD_S, LearntPolicies
from edge.playback.remote import MIN_PAUSE_S, REFRESH_S, WAIT_S, RemoteKeys
from edge.playback.tokens import Claims, KeySet, Signer

if TYPE_CHECKING:
    from trio.testing import MockClock

    from ..conftest import Connect, ConnectH2, Feed

STREAM = "/api/streams/one"
MASTER = f"{STREAM}/master.m3u8"
PATH = f"{STREAM}/source/playlist.m3u8"
PART = f"{STREAM}/source/part-tok-1.0.m4s"
JWKS = "/api/playback/jwks.json"
OWN = "hrt_" + "1" * 32
SIGNER = Signer(bytes(range(32)))
NEXT = Signer(bytes(range(1, 33)))
PUBLIC = {
    "Cache-Control": "public, max-age=86400, immutable",
    "Content-Type": "video/mp4",
    "Accept-Ranges": "bytes",
    "ETag": '"m"',
}
PROTECTED = PUBLIC | {
    "Cache-Control": "private, max-age=86400, immutable",
    "Headrace-Playback": "token",
    "Headrace-Cache-Control": PUBLIC["Cache-Control"],
}
PLAYLIST = {
    "Content-Type": "application/vnd.apple.mpegurl",
    "Cache-Control": "private, max-age=0",
    "ETag": '"tok-5"',
    "Headrace-Playback": "token",
    "Headrace-Cache-Control": "public, max-age=0, s-maxage=1",
}


def jwks(*signers: Signer) -> bytes:
    keys = KeySet({signer.kid: signer.public_key for signer in signers})
    return json.dumps(keys.as_jwks()).encode()


def mint(stream: str = "one", signer: Signer = SIGNER, **claims: Any) -> str:
    said: dict[str, Any] = {"sub": stream, "exp": time.time() + 600, **claims}
    return signer.mint(Claims(**said))


def with_token(path: str, token: str) -> str:
    return path.replace(STREAM, f"{STREAM}/~{token}")


@pytest.fixture
def server() -> ScriptedUpstream:
    server = ScriptedUpstream()
    server.put(JWKS, jwks(SIGNER))
    server.put(PART, b"secret", fields=PROTECTED)
    server.put(MASTER, b"#EXTM3U\n", fields=PLAYLIST)
    return server


def make_app(server: ScriptedUpstream, token: str | None = OWN) -> EdgeApp:
    settings = EdgeSettings(upstreams=("http://up",), node_id="me", upstream_token=token)
    return EdgeApp(settings, transport=server.open)


@pytest.fixture
async def edge(server: ScriptedUpstream, nursery: trio.Nursery) -> EdgeApp:
    app = make_app(server)
    await nursery.start(app.run)
    await trio.testing.wait_all_tasks_blocked()
    return app


def media(server: ScriptedUpstream) -> list[str]:
    """What was asked upstream, but for keys."""
    return [target for target in server.asked if target.startswith("/api/streams")]


async def test_who_has_a_token_is_served_and_it_goes_no_further(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    token = mint()
    client = connect(edge)
    for _ in range(2):
        answer = await client.get(with_token(PART, token))
        assert (answer.status, answer.body) == (200, b"secret")
        assert answer.fields["cache-control"] == "private, max-age=86400, immutable"
    assert (await client.get(with_token(PART, mint(exp=2**31)))).status == 403, "too long"
    assert (await connect(edge).get(with_token(PART, mint()))).status == 200
    assert media(server) == [PART], "one for all"
    (request,) = [one for one in server.requests if one.url.path == PART]
    assert request.headers["authorization"] == f"Bearer {OWN}"
    assert not any(token in str(one.headers) + str(one.url) for one in server.requests)


@pytest.mark.parametrize("path", [PART, MASTER, PATH])
async def test_nobody_else_is(
    autojump_clock: "MockClock",
    connect: "Connect",
    edge: EdgeApp,
    server: ScriptedUpstream,
    feed: "Feed",
    path: str,
) -> None:
    text = b"".join(feed.ready().rendition.timeline.render())
    server.put(PATH, text, fields=PLAYLIST)
    client = connect(edge)
    good = with_token(path, mint())
    for turn in range(2):  # of a stream that is not known yet, and of one that is
        assert (await client.get(path)).status == 401
        for token in ("x", mint("two"), mint(exp=1.0), mint(signer=NEXT), mint(net="192.0.2.0/24")):
            refused = await client.get(with_token(path, token))
            assert (refused.status, b"secret" in refused.body) == (403, False)
        if not turn:
            answer = await client.get(good)
            assert (answer.status, answer.fields["headrace-playback"]) == (200, "token")
    held = await client.get(f"{path}?_HLS_msn=0&_HLS_part=1")
    assert held.status == 401
    assert len(media(server)) <= 3


async def test_a_field_that_is_lost_on_the_way_opens_nothing(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    bare = {name: text for name, text in PROTECTED.items() if not name.startswith("Headrace")}
    server.put(PART, b"secret", fields=bare)
    client = connect(edge)
    assert (await client.get(PART)).status == 401
    assert (await client.get(with_token(PART, "x"))).status == 403
    answer = await client.get(with_token(PART, mint()))
    assert (answer.status, answer.body) == (200, b"secret")


async def test_over_http2_each_request_is_judged(
    autojump_clock: "MockClock",
    connect_h2: "ConnectH2",
    edge: EdgeApp,
    server: ScriptedUpstream,
) -> None:
    client = connect_h2(edge)
    await client.start()
    for path, status in (
        (PART, 401),
        (with_token(PART, mint()), 200),
        (PART, 401),
        (with_token(PART, "x"), 403),
        (with_token(PART, mint()), 200),
    ):
        assert (await client.get(path)).status == status
    assert media(server) == [PART]


async def test_all_wait_for_one_answer_and_each_gets_its_own(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    held = server.put(PART, b"secret", fields=PROTECTED, after=trio.Event())
    clients = [connect(edge) for _ in range(3)]
    for client, path in zip(
        clients, (PART, with_token(PART, mint()), with_token(PART, "x")), strict=True
    ):
        await client.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()
    assert held.after is not None
    held.after.set()
    answers = [await client.answer() for client in clients]
    assert [answer.status for answer in answers] == [401, 200, 403]
    assert media(server) == [PART]


async def test_a_public_stream_needs_none_and_takes_any(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    server.put(PART, b"open", fields=PUBLIC)
    for path in (PART, with_token(PART, "x"), with_token(PART, mint())):
        answer = await connect(edge).get(path)
        assert (answer.status, answer.fields["cache-control"]) == (200, PUBLIC["Cache-Control"])
    assert media(server) == [PART]


async def test_what_was_public_and_is_not_any_more_is_forgotten(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    server.put(PART, b"open", fields=PUBLIC)
    client = connect(edge)
    assert (await client.get(PART)).status == 200
    kept = edge.route(Request("GET", PART))
    server.put(PART, b"open", fields=PROTECTED)
    assert (await client.get(PART)).status == 200, "nothing was heard yet"
    assert (await client.get(with_token(MASTER, mint()))).status == 200
    assert kept.life.ended  # type: ignore[union-attr] # so the reactor has dropped it
    assert (await client.get(PART)).status == 401
    assert (await client.get(with_token(PART, mint()))).status == 200


async def test_what_nothing_is_heard_of_is_forgotten(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    server.put(PART, b"open", fields=PUBLIC)
    client = connect(edge)
    assert (await client.get(PART)).status == 200
    kept = edge.route(Request("GET", PART))
    server.put(PART, b"open", fields=PROTECTED)
    server.is_down = True
    await trio.sleep(UNHEARD_S + 2)
    assert (await connect(edge).get(PART)).status == 200, "it is all there is"
    server.is_down = False
    await trio.sleep(UNHEARD_S + 2)
    assert kept.life.ended  # type: ignore[union-attr] # so the reactor has dropped it
    assert (await connect(edge).get(PART)).status == 401


async def test_what_becomes_public_is_served(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    client = connect(edge)
    assert (await client.get(with_token(PART, mint()))).status == 200
    server.put(PART, b"open", fields=PUBLIC)
    server.put(MASTER, b"#EXTM3U\n", fields={"Cache-Control": "public, max-age=0, s-maxage=1"})
    assert (await client.get(PART)).status == 401
    await trio.sleep(FRESH_S + 0.1)
    assert (await client.get(MASTER)).status == 200
    answer = await client.get(PART)
    assert (answer.status, answer.body) == (200, b"open")


async def test_the_stream_itself_says_nothing_about_its_media(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    client = connect(edge)
    server.put(STREAM, b"{}", fields={"Content-Type": "application/json"})
    assert (await client.get(with_token(PART, mint()))).status == 200
    assert (await client.get(STREAM)).status == 200
    assert (await client.get(with_token(PART, mint()))).status == 200
    assert media(server).count(PART) == 1, "nothing was forgotten"


async def test_an_edge_below_shows_the_token_that_they_share(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    client = connect(edge)
    answer = await client.get(PART, fields=f"Authorization: Bearer {OWN}\r\n")
    assert (answer.status, answer.fields["headrace-cache-control"]) == (
        200,
        PUBLIC["Cache-Control"],
    )
    for wrong in ("hrt_" + "2" * 32, "\xe9"):
        refused = await client.get(PART, fields=f"Authorization: Bearer {wrong}\r\n")
        assert refused.status == 401


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("token", [None, OWN])
async def test_a_node_that_may_not_says_so(
    autojump_clock: "MockClock",
    connect: "Connect",
    nursery: trio.Nursery,
    server: ScriptedUpstream,
    logged: list[Any],
    token: str | None,
    status: int,
) -> None:
    server.put(PART, b"{}", status=status, fields={"Headrace-Playback": "token"})
    edge = make_app(server, token)
    await nursery.start(edge.run)
    for _ in range(3):
        answer = await connect(edge).get(with_token(PART, mint()))
        assert (answer.status, json.loads(answer.body)["code"]) == (502, "nodeNotEntitled")
        await trio.sleep(2)
    lines = [line for line in logged if line["event"].startswith("the upstream refuses")]
    assert [(line["log_level"], line["stream"]) for line in lines] == [("error", "one")]
    assert OWN not in repr(logged)


async def test_a_new_key_is_fetched_when_a_token_names_it(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    client = connect(edge)
    server.put(JWKS, jwks(SIGNER, NEXT))
    token = mint(signer=NEXT)
    assert (await client.get(with_token(PART, token))).status == 403, "just asked for"
    await trio.sleep(MIN_PAUSE_S)
    assert (await client.get(with_token(PART, token))).status == 200
    assert server.count(JWKS) == 2


async def test_the_first_viewer_waits_for_keys(
    autojump_clock: "MockClock",
    connect: "Connect",
    nursery: trio.Nursery,
    server: ScriptedUpstream,
) -> None:
    keys = server.put(JWKS, jwks(SIGNER), after=trio.Event())
    part = server.put(PART, b"secret", fields=PROTECTED, after=trio.Event())
    edge = make_app(server)
    await nursery.start(edge.run)
    client = connect(edge)
    await client.send(f"GET {with_token(PART, mint())} HTTP/1.1\r\nHost: test\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()
    assert media(server) == []
    assert keys.after is not None
    keys.after.set()
    await trio.testing.wait_all_tasks_blocked()
    assert part.after is not None
    part.after.set()
    assert (await client.answer()).status == 200
    missing = await client.get(with_token(f"{STREAM}/source/x.m4s", mint(signer=NEXT)))
    assert missing.status in (403, 404)


async def test_a_viewer_who_asks_for_a_token_is_named_to_the_origin(
    autojump_clock: "MockClock", connect: "Connect", edge: EdgeApp, server: ScriptedUpstream
) -> None:
    server.put(f"{STREAM}/playback", b"{}", status=201)
    client = connect(edge)
    await client.post(f"{STREAM}/playback", b'{"credential":"x"}')
    named = server.requests[-1].headers
    assert named["authorization"] == f"Bearer {OWN}"
    assert "headrace-viewer" in named
    await client.post(f"{STREAM}/playback", b"{}", token="key")
    own = server.requests[-1].headers
    assert own["authorization"] == "Bearer key"
    assert "headrace-viewer" not in own
    await client.post(f"{STREAM}/start", b"{}")
    assert "authorization" not in server.requests[-1].headers


async def test_a_pass_is_for_what_was_judged_here(edge: EdgeApp, server: ScriptedUpstream) -> None:
    token = mint()
    request = Request("GET", with_token(PART, token), [], Peer("192.0.2.7"))
    assert edge.pass_of(request) is None
    edge.route(request)
    made = edge.pass_of(request)
    assert made is not None
    assert (made.stream_id, made.token) == ("one", token.encode())
    await trio.testing.wait_all_tasks_blocked()
    assert make_app(server, None).pass_of(request) is None


# -- the parts


async def test_keys_are_kept_up_to_date(autojump_clock: "MockClock") -> None:
    answers: list[bytes | None] = [None, b"rubbish", jwks(SIGNER), None, jwks(NEXT)]
    asked_s: list[float] = []
    taken: list[KeySet] = []

    async def fetch() -> bytes | None:
        await trio.lowlevel.checkpoint()
        asked_s.append(trio.current_time())
        return answers[min(len(asked_s), len(answers)) - 1]

    keys = RemoteKeys(fetch, taken.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.run)
        await keys.wait()
        assert keys.is_loaded
        assert len(taken) == 1
        await trio.sleep(3 * REFRESH_S)
        nursery.cancel_scope.cancel()
    assert len(taken) >= 2
    pauses = [b - a for a, b in pairwise(asked_s[2:])]
    assert min(pauses) >= MIN_PAUSE_S


async def test_nobody_waits_longer_for_keys_than_that(autojump_clock: "MockClock") -> None:
    keys = RemoteKeys(trio.sleep_forever, lambda _keys: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.run)
        await keys.wait()
        assert trio.current_time() == pytest.approx(WAIT_S, abs=0.1)
        nursery.cancel_scope.cancel()


def test_what_is_learnt_is_bounded_and_gets_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    policies = LearntPolicies(lambda: now[0])
    assert policies.learn("a", is_protected=True), "whatever was kept is wrong"
    assert not policies.learn("a", is_protected=True)
    assert policies.is_protected("a")
    assert policies.learn("a", is_protected=False)
    assert not policies.learn("b", is_protected=False)
    assert policies.learn("b", is_protected=True)
    now[0] = FRESH_S + 0.1
    assert not policies.is_protected("b")
    monkeypatch.setattr(learnt, "MAX_STREAMS", 3)
    for number in range(9):
        policies.learn(f"s{number}", is_protected=True)
    assert len(policies) <= 4


def test_who_is_unheard_is_popped_oldest_first() -> None:
    now = [0.0]
    policies = LearntPolicies(lambda: now[0])
    for at, stream in enumerate("abc"):
        now[0] = float(at)
        policies.learn(stream, is_protected=False)
    policies.learn("a", is_protected=False)  # heard of again
    now[0] = UNHEARD_S + 1
    assert policies.pop_unheard() == ["b"]
    assert policies.pop_unheard() == []
    now[0] = UNHEARD_S + 2
    assert policies.pop_unheard() == ["c", "a"]
    assert len(policies) == 0


def test_a_refusal_is_said_once_a_minute(logged: list[Any]) -> None:
    now = [0.0]
    policies = LearntPolicies(lambda: now[0])
    for _ in range(5):
        policies.note_refusal("/api/streams/one")
    now[0] = SAY_EVERY_S
    policies.note_refusal("/api/streams/two")
    assert [line["stream"] for line in logged] == ["one", "two"]
