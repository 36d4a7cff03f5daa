"""The rows: who sets the policy, who gets a token and what it says, what is refused and how."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trio
from scripted_upstream import ScriptedUpstream

from control.access_model import Playback
from control.errors import UnknownStreamError
from edge.api.operation import Principal
from edge.api.router import ApiRouter
from edge.guesses import GUESSES_BURST, Guesses
from edge.http.messages import Call, HttpError, Peer, Request
from edge.http.network import plain_address
from edge.playback.api import (
    LIFETIME_S,
    MAX_CREDENTIAL_CHARS,
    MIN_LIFETIME_S,
    WEBHOOK_LIFETIME_S,
    PlaybackApi,
    network_prefix,
)
from edge.playback.program import Programs
from edge.playback.tokens import MAX_LIFETIME_S, Claims, KeySet, Signer, read_jwks

NOW_S = 1_800_000_000.0
STREAM = "s"
PATH = "/api/streams/s/playback"
CLIENT = "192.0.2.7"
URL = "http://shop.test/may"
SIGNER = Signer(bytes(range(32)))
KEYS = KeySet({SIGNER.kid: SIGNER.public_key})
WEBHOOK = Playback(policy="webhook", webhook_url=URL)
TOKEN = Playback(policy="token")


class FakeAccess:
    """Knows the streams s and t; a credential is ``key-s``, or ``admin:`` and scopes."""

    async def identify(
        self, credential: str, *, stream_id: str | None, client: str
    ) -> Principal | None:
        await trio.lowlevel.checkpoint()
        if credential == f"key-{stream_id}":
            return Principal("key", stream_id=stream_id)
        if credential.startswith("admin:"):
            return Principal("token", scopes=frozenset(credential[6:].split(",")))
        return None

    async def knows_stream(self, stream_id: str) -> bool:
        return stream_id in ("s", "t")


class FakePolicies:
    """`edge.playback.policies.Policies`, of a dict."""

    def __init__(self) -> None:
        self.known: dict[str, Playback] = {}

    def of(self, stream_id: str) -> Playback:
        return self.known.get(stream_id, Playback())

    async def set(self, stream_id: str, playback: Playback) -> None:
        if stream_id == "t":
            raise UnknownStreamError(stream_id)  # it was removed this instant
        self.known[stream_id] = playback


class Bench:
    def __init__(self) -> None:
        self.policies = FakePolicies()
        self.server = ScriptedUpstream()
        self.programs = Programs(httpx.AsyncClient(transport=self.server))
        self.api = PlaybackApi(
            self.policies,  # type: ignore[arg-type] # two methods are called
            signer=SIGNER,
            webhook_key=b"k" * 32,
            keys=KEYS,
            programs=self.programs,
            guesses=Guesses(),
            clock=lambda: NOW_S,
            steady=lambda: 0.0,
        )
        self.router = ApiRouter(FakeAccess(), self.api.operations)

    async def call(
        self,
        method: str,
        body: object = None,
        *,
        token: str = "",
        path: str = PATH,
        client: str = CLIENT,
        viewer: str | None = None,
    ) -> tuple[int, Any]:
        fields = [(b"authorization", f"Bearer {token}".encode())] if token else []
        if viewer is not None:
            fields.append((b"headrace-viewer", viewer.encode()))
        request = Request(method, path, fields, Peer(client))
        answer = self.router.route(request)
        assert type(answer) is Call
        data = b"" if body is None else json.dumps(body).encode()
        try:
            response = await answer.handler(request, data)
        except HttpError as error:
            return error.status, error.code or str(error)
        return response.status, json.loads(b"".join(response.chunks))

    def says(self, **answer: object) -> None:
        self.server.put("/may", json.dumps({"action": "allow"} | answer).encode())


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.programs.aclose()


def claims_of(answer: Any) -> Claims:
    assert answer["path"] == f"/api/streams/s/~{answer['token']}/master.m3u8"
    return KEYS.verify(answer["token"])


# -- settings


async def test_a_policy_is_shown_and_set(bench: Bench) -> None:
    assert await bench.call("GET", token="key-s") == (
        200,
        {"policy": "public", "webhookUrl": None},
    )
    status, answer = await bench.call("PUT", {"policy": "token"}, token="key-s")
    assert (status, answer["policy"], answer["webhookSecret"]) == (200, "token", None)
    assert bench.policies.of("s") == TOKEN


async def test_a_webhook_needs_an_admin_and_its_secret_is_shown_then(bench: Bench) -> None:
    wanted = {"policy": "webhook", "webhookUrl": URL}
    assert (await bench.call("PUT", wanted, token="key-s"))[0] == 403
    assert bench.policies.known == {}
    status, answer = await bench.call("PUT", wanted, token="admin:streams")
    assert (status, bench.policies.of("s")) == (200, WEBHOOK)
    assert answer["webhookSecret"].startswith("whsec_")
    again = (await bench.call("PUT", wanted, token="admin:streams"))[1]
    assert again == answer
    assert (await bench.call("GET", token="admin:read"))[1] == wanted


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"policy": "secret"},
        {"policy": "webhook"},
        {"policy": "token", "webhookUrl": URL},
        {"policy": "webhook", "webhookUrl": "shop"},
        {"policy": "webhook", "webhookUrl": "http://u:p@shop.test/"},
        {"policy": "webhook", "webhookUrl": "http://h/" + "x" * 2000},
        {"policy": "public", "more": 1},
    ],
)
async def test_a_policy_that_is_none(bench: Bench, body: object) -> None:
    assert (await bench.call("PUT", body, token="admin:streams"))[0] == 400
    assert bench.policies.known == {}


async def test_a_stream_that_goes_meanwhile(bench: Bench) -> None:
    path = "/api/streams/t/playback"
    assert (await bench.call("PUT", {"policy": "token"}, token="key-t", path=path))[0] == 404


# -- tokens, for who runs the stream


@pytest.mark.parametrize("policy", [Playback(), TOKEN, WEBHOOK])
@pytest.mark.parametrize("token", ["key-s", "admin:streams"])
async def test_who_runs_a_stream_gets_tokens(bench: Bench, policy: Playback, token: str) -> None:
    bench.policies.known["s"] = policy
    status, answer = await bench.call("POST", token=token)
    assert (status, answer["lifetimeS"]) == (201, LIFETIME_S)
    assert answer["expiresAt"] == "2027-01-15T09:00:00.000Z"
    assert claims_of(answer) == Claims(sub="s", exp=NOW_S + LIFETIME_S)
    wanted = {"lifetimeS": 60, "net": "192.0.2.9/24"}
    status, answer = await bench.call("POST", wanted, token=token)
    assert claims_of(answer) == Claims(sub="s", exp=NOW_S + 60, net="192.0.2.0/24")
    assert bench.server.requests == []


@pytest.mark.parametrize(
    "body",
    [
        {"lifetimeS": MIN_LIFETIME_S - 1},
        {"lifetimeS": MAX_LIFETIME_S + 1},
        {"net": "home"},
        {"net": "1" * 65},
        {"credential": "x" * (MAX_CREDENTIAL_CHARS + 1)},
        {"more": 1},
    ],
)
async def test_a_token_that_cannot_be(bench: Bench, body: object) -> None:
    assert (await bench.call("POST", body, token="key-s"))[0] == 400


@pytest.mark.parametrize(
    ("policy", "token", "status"),
    [
        (Playback(), "", 409),
        (Playback(), "key-t", 409),
        (TOKEN, "", 401),
        (TOKEN, "key-t", 401),
        (TOKEN, "admin:read,edge,moderate", 401),
    ],
)
async def test_others_do_not(bench: Bench, policy: Playback, token: str, status: int) -> None:
    bench.policies.known["s"] = policy
    assert (await bench.call("POST", {"credential": "x"}, token=token))[0] == status
    assert bench.server.requests == []


# -- tokens, for viewers


async def question_of(bench: Bench) -> Any:
    return json.loads(await bench.server.requests[-1].aread())


async def test_a_viewer_gets_one_if_the_program_says_so(bench: Bench) -> None:
    bench.policies.known["s"] = WEBHOOK
    bench.says()
    status, answer = await bench.call("POST", {"credential": "ticket"})
    assert (status, claims_of(answer)) == (201, Claims(sub="s", exp=NOW_S + WEBHOOK_LIFETIME_S))
    assert await question_of(bench) == {
        "streamId": "s",
        "credential": "ticket",
        "address": CLIENT,
    }
    assert bench.server.requests[-1].headers["headrace-signature"]
    assert (await bench.call("POST"))[0] == 201, "it may ask for nothing"
    assert (await question_of(bench))["credential"] == ""


@pytest.mark.parametrize(
    ("says", "wanted", "claims"),
    [
        ({"lifetimeS": 60}, {}, {"exp": 60}),
        ({"lifetimeS": 60}, {"lifetimeS": 30}, {"exp": 30}),
        ({"lifetimeS": 60}, {"lifetimeS": 90}, {"exp": 60}),
        ({"net": "address"}, {}, {"exp": WEBHOOK_LIFETIME_S, "net": "192.0.2.7/32"}),
        ({"net": "192.0.2.0/24"}, {}, {"exp": WEBHOOK_LIFETIME_S, "net": "192.0.2.0/24"}),
        ({}, {"net": "::/0"}, {"exp": WEBHOOK_LIFETIME_S}),
    ],
)
async def test_the_program_says_how_far_it_goes(
    bench: Bench, says: Any, wanted: Any, claims: Any
) -> None:
    bench.policies.known["s"] = WEBHOOK
    bench.says(**says)
    answer = (await bench.call("POST", wanted))[1]
    assert claims_of(answer) == Claims(**({"sub": "s"} | claims | {"exp": NOW_S + claims["exp"]}))


async def test_whom_the_program_denies_is_told_and_counted(bench: Bench) -> None:
    bench.policies.known["s"] = WEBHOOK
    bench.says(action="deny", reason="no ticket for today")
    for _ in range(GUESSES_BURST):
        assert await bench.call("POST", {"credential": "x"}) == (403, "playbackDenied")
    assert (await bench.call("POST", {"credential": "x"}))[0] == 429
    assert len(bench.server.requests) == GUESSES_BURST
    assert (await bench.call("POST", {"credential": "x"}, client="198.51.100.1"))[0] == 403


async def test_a_program_that_does_not_answer_lets_nobody_in(bench: Bench) -> None:
    bench.policies.known["s"] = WEBHOOK
    bench.server.put("/may", b"", status=500)
    assert (await bench.call("POST"))[0] == 503


async def test_an_edge_is_believed_about_who_asks_and_gets_nothing_for_itself(
    bench: Bench,
) -> None:
    bench.policies.known["s"] = WEBHOOK
    bench.says(net="address")
    for token in ("admin:edge", "admin:edge,streams"):
        status, answer = await bench.call("POST", token=token, viewer="2001:db8::5")
        assert (status, claims_of(answer).net) == (201, "2001:db8::/64")
        assert (await question_of(bench))["address"] == "2001:db8::5"
    bench.policies.known["s"] = TOKEN
    assert (await bench.call("POST", token="admin:edge,streams", viewer="2001:db8::5"))[0] == 401


@pytest.mark.parametrize("token", ["", "key-s", "admin:streams"])
async def test_nobody_else_is(bench: Bench, token: str) -> None:
    bench.policies.known["s"] = WEBHOOK
    bench.says()
    await bench.call("POST", token=token, viewer="2001:db8::5")
    assert (await question_of(bench))["address"] == CLIENT


# -- keys


async def test_the_public_keys_are_for_everybody(bench: Bench) -> None:
    request = Request("GET", "/api/playback/jwks.json")
    answer = bench.router.route(request)
    assert type(answer) is Call
    response = await answer.handler(request, b"")
    assert read_jwks(b"".join(response.chunks)) == KEYS
    assert (b"cache-control", b"public, max-age=30") in response.fields


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("2001:db8::5", "2001:db8::/64"),
        ("", None),
    ],
)
def test_the_prefix_of_an_address(address: str, prefix: str | None) -> None:
    assert network_prefix(address) == prefix
    assert prefix is None or plain_address(address) is not None
