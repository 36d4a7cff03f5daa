"""Operations on who may watch: a stream's policy, tokens to watch it, the keys that they are signed
with.

Whoever runs a stream gets tokens for it. Under the policy ``webhook`` a viewer gets one too, if the
stream's program says so; guesses at its credentials are counted like all others.

A viewer who asks through an edge is known by the edge's address. An edge that has a token says
whose question it passes on (`VIEWER_FIELD`), and such a question is a viewer's, whatever the token
may do.

May import: `control`, `edge.api`, `edge.errors`, `edge.guesses`, `edge.http`, `edge.playback`.
"""

import hmac
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import msgspec
import structlog
import trio

from control.access_model import Playback, PlaybackPolicy
from control.errors import UnknownStreamError
from edge.api.operation import Asked, Need, Operation
from edge.api.times import iso8601
from edge.errors import NoSuchStream, WrongKey
from edge.guesses import Guesses
from edge.http.messages import HttpError
from edge.http.network import network_of, plain_address
from edge.http.response import Response, json_response
from edge.playback.gate import MARK
from edge.playback.policies import Policies
from edge.playback.program import Deny, NoVerdict, Programs, Question, check_url
from edge.playback.tokens import MAX_LIFETIME_S, Claims, KeySet, Signer, parse_net

LIFETIME_S: Final = 3600
"""Of a token for which nothing else is said."""

WEBHOOK_LIFETIME_S: Final = 600
"""The same, where a program was asked: it is asked again after that."""

MIN_LIFETIME_S: Final = 10

MAX_CREDENTIAL_CHARS: Final = 4096

JWKS_PATH: Final = "/api/playback/jwks.json"

_JWKS_CACHE: Final = "public, max-age=30"

VIEWER_FIELD: Final = "Headrace-Viewer"
"""In what an edge passes on: the address of who asks."""

log = structlog.get_logger("playback")

_Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class PlaybackInfo(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Who may watch a stream."""

    policy: PlaybackPolicy
    """Everybody; who has a token; who has one, and gets it by asking the program."""
    webhook_url: str | None = None
    """The program."""


class PlaybackSet(PlaybackInfo, rename="camel", frozen=True, kw_only=True):
    """The answer to a change."""

    webhook_secret: str | None = None
    """Signs what the program is sent (`Headrace-Signature`). The same for as long as this server
    has its key."""

    def __repr__(self) -> str:
        return f"PlaybackSet(policy={self.policy!r})"  # a repr goes into logs


class PlaybackRequest(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Who may watch from now on."""

    policy: PlaybackPolicy
    webhook_url: _Url | None = None
    """Needed for the policy `webhook`, and only there."""


class TokenRequest(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """What the token is to be good for; all may be left out."""

    lifetime_s: Annotated[int, msgspec.Meta(ge=MIN_LIFETIME_S, le=MAX_LIFETIME_S)] | None = None
    """Seconds from now on. A viewer may ask for less than the program gives."""
    net: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    """Good from these addresses only: one, or a prefix (192.0.2.0/24). A viewer's is the program's
    business."""
    credential: Annotated[str, msgspec.Meta(max_length=MAX_CREDENTIAL_CHARS)] = ""
    """A viewer's: what the stream's program knows them by."""

    def __repr__(self) -> str:
        return "TokenRequest(...)"  # a repr goes into logs


class PlaybackToken(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A token, shown this once."""

    token: str
    path: str
    """Of the multivariant playlist, with the token in it: a secret as well."""
    expires_at: str
    """ISO 8601, UTC."""
    lifetime_s: int
    """Seconds from now to then."""

    def __repr__(self) -> str:
        return "PlaybackToken(...)"  # a repr goes into logs


class JsonWebKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key (RFC 7517, RFC 8037)."""

    kty: str
    crv: str
    alg: str
    use: str
    kid: str
    x: str


class KeySetInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The public keys that playback tokens are checked with."""

    keys: list[JsonWebKey]


class PlaybackApi:
    """The handlers.

    Args:
        policies: Who may watch what.
        signer: Mints tokens.
        webhook_key: What the secrets of programs are made from.
        keys: All keys that tokens are checked with, the signer's too.
        programs: Asks programs.
        guesses: Counts what opens nothing.
        clock: Gives UTC seconds since 1970.
        steady: Seconds, for the guesses.
    """

    def __init__(
        self,
        policies: Policies,
        *,
        signer: Signer,
        webhook_key: bytes,
        keys: KeySet,
        programs: Programs,
        guesses: Guesses,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = trio.current_time,
    ) -> None:
        self._policies = policies
        self._signer = signer
        self._webhook_key = webhook_key
        self._keys = json_response(200, keys.as_jwks(), cache_control=_JWKS_CACHE)
        self._programs = programs
        self._guesses = guesses
        self._clock = clock
        self._steady = steady

    @property
    def operations(self) -> Sequence[Operation]:
        """The rows."""
        one = "/api/streams/{streamId}/playback"
        return [
            Operation(
                name="getPlayback", method="GET", path=one, handler=self._get,
                summary="Show who may watch a stream", tag="playback", need=Need.STREAM,
                scope="read", answer=PlaybackInfo,
            ),
            Operation(
                name="setPlayback", method="PUT", path=one, handler=self._set,
                summary="Set who may watch a stream", tag="playback", need=Need.STREAM,
                body=PlaybackRequest, answer=PlaybackSet,
                description="It holds at once here, and within seconds at edges, also for who "
                "watches already. For the policy `webhook` a stream's key is not enough: this "
                "server connects to whatever it is told.",
            ),
            Operation(
                name="createPlaybackToken", method="POST", path=one, handler=self._mint,
                summary="Get a token to watch a stream", tag="playback", body=TokenRequest,
                body_optional=True, status=201, answer=PlaybackToken, errors=(401, 403, 409, 429),
                description="For whoever has the stream's key or an admin token with the scope "
                "`streams`; under the policy `webhook` also for a viewer whom the stream's program "
                "lets in by their `credential`. The token stands in the path of what is watched, "
                "behind the stream's id and a `~`. A public stream needs none (409 for a viewer).",
            ),
            Operation(
                name="getPlaybackKeys", method="GET", path=JWKS_PATH, handler=self._show_keys,
                summary="Show the public keys that playback tokens are checked with",
                tag="playback", answer=KeySetInfo,
            ),
        ]  # fmt: skip

    async def _get(self, asked: Asked) -> Response:
        playback = self._policies.of(asked.stream_id)
        return json_response(
            200, PlaybackInfo(policy=playback.policy, webhook_url=playback.webhook_url)
        )

    async def _set(self, asked: Asked) -> Response:
        wanted: PlaybackRequest = asked.body
        is_webhook = wanted.policy == "webhook"
        if is_webhook != (wanted.webhook_url is not None):
            raise HttpError(400, "webhookUrl: needed for the policy webhook, and only there")
        if wanted.webhook_url is not None:
            if not asked.principal.may("streams"):
                raise HttpError(403, "the policy webhook needs an admin token")
            try:
                check_url(wanted.webhook_url)
            except ValueError as error:
                raise HttpError(400, str(error)) from None
        playback = Playback(policy=wanted.policy, webhook_url=wanted.webhook_url)
        try:
            await self._policies.set(asked.stream_id, playback)
        except UnknownStreamError:
            raise NoSuchStream from None
        log.info(
            "playback set",
            stream=asked.stream_id,
            policy=wanted.policy,
            by=asked.principal.name,
        )
        secret = self._secret(asked.stream_id) if is_webhook else None
        return json_response(
            200,
            PlaybackSet(
                policy=wanted.policy, webhook_url=wanted.webhook_url, webhook_secret=secret
            ),
        )

    async def _mint(self, asked: Asked) -> Response:
        wanted: TokenRequest = TokenRequest() if asked.body is None else asked.body
        stream_id, principal = asked.stream_id, asked.principal
        is_passed_on = asked.request.header(VIEWER_FIELD.lower().encode()) is not None
        if not is_passed_on and (principal.stream_id == stream_id or principal.may("streams")):
            return self._give(stream_id, wanted.lifetime_s or LIFETIME_S, _net(wanted.net))
        playback = self._policies.of(stream_id)
        if playback.policy == "public":
            raise HttpError(
                409, "everybody may watch this stream: it needs no token", code="public"
            )
        if playback.webhook_url is None:
            raise WrongKey
        return await self._ask(asked, wanted, playback.webhook_url)

    async def _ask(self, asked: Asked, wanted: TokenRequest, url: str) -> Response:
        stream_id, client = asked.stream_id, _client_of(asked)
        if not self._guesses.may_try(client, self._steady()):
            raise HttpError(429, "too many wrong credentials from your address", Retry_After="5")
        question = Question(stream_id=stream_id, credential=wanted.credential, address=client)
        try:
            verdict = await self._programs.ask(url, self._secret(stream_id).encode(), question)
        except NoVerdict:
            raise HttpError(
                503, "it cannot be checked now whether you may watch, try again", Retry_After="2"
            ) from None
        if isinstance(verdict, Deny):
            self._guesses.note_wrong(client, self._steady())
            raise HttpError(403, verdict.text, code="playbackDenied")
        lifetime_s = verdict.lifetime_s or WEBHOOK_LIFETIME_S
        net = network_prefix(client) if verdict.net == "address" else verdict.net
        return self._give(stream_id, min(lifetime_s, wanted.lifetime_s or lifetime_s), net)

    def _give(self, stream_id: str, lifetime_s: int, net: str | None) -> Response:
        expires_s = int(self._clock() + lifetime_s)
        token = self._signer.mint(Claims(sub=stream_id, exp=expires_s, net=net))
        return json_response(
            201,
            PlaybackToken(
                token=token,
                path=f"/api/streams/{stream_id}/{MARK}{token}/master.m3u8",
                expires_at=iso8601(expires_s),
                lifetime_s=lifetime_s,
            ),
        )

    async def _show_keys(self, _asked: Asked) -> Response:
        return self._keys

    def _secret(self, stream_id: str) -> str:
        """What a stream's program knows us by."""
        text = b"headrace playback webhook " + stream_id.encode()
        return f"whsec_{hmac.digest(self._webhook_key, text, 'sha256').hex()}"


def network_prefix(address: str) -> str | None:
    """The prefix that stands for an address: of IPv6 a /64; None if it is no address."""
    ip = plain_address(address)
    if ip is None:
        return None
    return f"{network_of(address)}/{64 if ip.version == 6 else 32}"


def _client_of(asked: Asked) -> str:
    """The viewer's address: an edge is believed about it."""
    named = asked.request.header(VIEWER_FIELD.lower().encode())
    if named is not None and asked.principal.may("edge"):
        ip = plain_address(named)
        return "" if ip is None else str(ip)
    return asked.request.client


def _net(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return parse_net(text)
    except ValueError:
        raise HttpError(400, "net: an address, or a prefix such as 192.0.2.0/24") from None
