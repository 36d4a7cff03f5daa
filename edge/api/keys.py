"""Operations on credentials: a stream's keys, the admin's tokens.

A secret is shown once, in the answer to its creation. Ending one takes effect before the answer:
`on_change` hangs up whoever publishes with a key that is no more.

May import: `control`, `edge.api`, `edge.http`.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

import msgspec

from control import AccessStore, StreamKey, TokenRecord, TooManyError, UnknownStreamError
from edge.api.operation import Asked, Need, Operation, Scope
from edge.api.times import iso8601
from edge.errors import NoSuchStream
from edge.http.messages import HttpError
from edge.http.response import Response, json_response, make_response

MAX_GRACE_S: Final = 7 * 24 * 3600
MAX_LIFE_S: Final = 10 * 365 * 24 * 3600

_Label = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
_Life = Annotated[int, msgspec.Meta(ge=1, le=MAX_LIFE_S)]


class KeyInfo(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What is known of a stream key besides itself."""

    id: str
    label: str
    created_at: str
    """ISO 8601, UTC."""
    expires_at: str | None = None
    """When it opens nothing any more; null: it lasts."""


class NewKey(KeyInfo, rename="camel", frozen=True, kw_only=True):
    """The answer to a creation: the only time that the key is shown."""

    stream_key: str

    def __repr__(self) -> str:
        return f"NewKey(id={self.id!r})"  # a repr goes into logs


class KeyList(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The keys that open a stream now, oldest first."""

    keys: list[KeyInfo]


class KeyRequest(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Another key."""

    label: _Label
    """Which encoder has it."""
    expires_in_seconds: _Life | None = None


class RotationRequest(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """A new key in the place of all others."""

    label: _Label = "first"
    grace_seconds: Annotated[int, msgspec.Meta(ge=0, le=MAX_GRACE_S)] = 0
    """How long the others go on opening the stream; 0: they end at once, and who publishes with one
    is disconnected."""


class TokenInfo(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What is known of an admin token besides itself."""

    id: str
    name: str
    scopes: list[Scope]
    created_at: str
    """ISO 8601, UTC."""
    expires_at: str | None = None


class NewToken(TokenInfo, rename="camel", frozen=True, kw_only=True):
    """The answer to a creation: the only time that the token is shown."""

    token: str

    def __repr__(self) -> str:
        return f"NewToken(id={self.id!r})"  # a repr goes into logs


class TokenList(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The tokens besides the one in the data folder, oldest first."""

    tokens: list[TokenInfo]


class TokenRequest(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """A token that may do some of what the admin may."""

    name: _Label
    """Who has it."""
    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1, max_length=10)]
    expires_in_seconds: _Life | None = None


class KeysApi:
    """The handlers.

    Args:
        store: Keeps the credentials.
        on_change: Awaited with a stream's id when its keys have changed.
    """

    def __init__(self, store: AccessStore, on_change: Callable[[str], Awaitable[None]]) -> None:
        self._store = store
        self._on_change = on_change

    @property
    def operations(self) -> Sequence[Operation]:
        """The rows."""
        keys, tokens = "/api/streams/{streamId}/keys", "/api/tokens"
        return (
            Operation(
                name="listKeys", method="GET", path=keys, handler=self._list_keys,
                summary="List a stream's keys", tag="keys", need=Need.STREAM, answer=KeyList,
            ),
            Operation(
                name="createKey", method="POST", path=keys, handler=self._create_key,
                summary="Make another key", tag="keys", need=Need.STREAM, body=KeyRequest,
                status=201, answer=NewKey, errors=(409,),
            ),
            Operation(
                name="endKey", method="DELETE", path=f"{keys}/{{keyId}}", handler=self._end_key,
                summary="End a key at once", tag="keys", need=Need.STREAM, status=204,
                description="Whoever publishes with it is disconnected.",
            ),
            Operation(
                name="rotateKey", method="POST", path="/api/streams/{streamId}/key",
                handler=self._rotate, summary="Put a new key in the place of all others",
                tag="keys", need=Need.STREAM, body=RotationRequest, body_optional=True,
                answer=NewKey,
            ),
            Operation(
                name="listTokens", method="GET", path=tokens, handler=self._list_tokens,
                summary="List the admin tokens", tag="tokens", need=Need.ADMIN, scope="config",
                answer=TokenList,
            ),
            Operation(
                name="createToken", method="POST", path=tokens, handler=self._create_token,
                summary="Make an admin token with scopes", tag="tokens", need=Need.ADMIN,
                scope="config", body=TokenRequest, status=201, answer=NewToken, errors=(409,),
                description="It may do no more than the one that makes it.",
            ),
            Operation(
                name="endToken", method="DELETE", path=f"{tokens}/{{tokenId}}",
                handler=self._end_token, summary="End an admin token at once", tag="tokens",
                need=Need.ADMIN, scope="config", status=204, errors=(404,),
            ),
        )  # fmt: skip

    async def _list_keys(self, asked: Asked) -> Response:
        found = await self._store.list_keys(asked.stream_id)
        return json_response(200, KeyList(keys=[KeyInfo(**_key(key)) for key in found]))

    async def _create_key(self, asked: Asked) -> Response:
        wanted: KeyRequest = asked.body
        try:
            key, secret = await self._store.add_key(
                asked.stream_id, label=wanted.label, lasts_s=wanted.expires_in_seconds
            )
        except UnknownStreamError:
            raise NoSuchStream from None
        except TooManyError as error:
            raise HttpError(409, str(error), code="tooMany") from None
        return json_response(201, NewKey(**_key(key), stream_key=secret))

    async def _end_key(self, asked: Asked) -> Response:
        if not await self._store.end_key(asked.stream_id, asked.params["keyId"]):
            raise HttpError(404, "the stream has no such key", code="noSuchKey")
        await self._on_change(asked.stream_id)
        return make_response(204)

    async def _rotate(self, asked: Asked) -> Response:
        wanted: RotationRequest = asked.body or RotationRequest()
        try:
            key, secret = await self._store.rotate(
                asked.stream_id, label=wanted.label, grace_s=wanted.grace_seconds
            )
        except UnknownStreamError:
            raise NoSuchStream from None
        await self._on_change(asked.stream_id)
        return json_response(200, NewKey(**_key(key), stream_key=secret))

    async def _list_tokens(self, _asked: Asked) -> Response:
        found = await self._store.list_tokens()
        return json_response(200, TokenList(tokens=[TokenInfo(**_token(one)) for one in found]))

    async def _create_token(self, asked: Asked) -> Response:
        wanted: TokenRequest = asked.body
        excess = set(wanted.scopes) - asked.principal.scopes
        if excess:
            raise HttpError(403, f"this token lacks the scope {min(excess)!r} itself")
        try:
            record, secret = await self._store.add_token(
                name=wanted.name,
                scopes=sorted(set(wanted.scopes)),
                lasts_s=wanted.expires_in_seconds,
            )
        except TooManyError as error:
            raise HttpError(409, str(error), code="tooMany") from None
        return json_response(201, NewToken(**_token(record), token=secret))

    async def _end_token(self, asked: Asked) -> Response:
        if not await self._store.end_token(asked.params["tokenId"]):
            raise HttpError(404, "no such token", code="noSuchToken")
        return make_response(204)


def _key(key: StreamKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "label": key.label,
        "created_at": iso8601(key.created_at),
        "expires_at": iso8601(key.expires_at),
    }


def _token(record: TokenRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "scopes": list(record.scopes),
        "created_at": iso8601(record.created_at),
        "expires_at": iso8601(record.expires_at),
    }
