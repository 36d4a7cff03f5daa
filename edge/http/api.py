"""The JSON API: validation and authorisation in front of `edge.backend.Backend`.

No handler here knows how a stream is stored or ingested. Credentials are looked at before anything
changes, are compared by the backend, and appear in no answer (but a creation's) and in no log.

Spec: the table of calls in README.md; RFC 6750 (bearer tokens).
"""

import re
from typing import TypeVar

import msgspec

from edge.backend import Backend, CreateStreamRequest, MarkerRequest
from edge.errors import (
    AlreadyLive,
    BackendError,
    NoSuchStream,
    NotLive,
    Unavailable,
    WrongKey,
)
from edge.http.messages import HttpError, Request
from edge.http.response import Response, json_response
from edge.relays import RelayBackend, RelaysRequest

_STATUS: dict[type[BackendError], int] = {
    NoSuchStream: 404,
    WrongKey: 401,
    AlreadyLive: 409,
    NotLive: 409,
    Unavailable: 503,
}

# What msgspec quotes of a body: longer than any field name of ours.
_LONG_NAME = re.compile(r"`[^`]{25,}`")

T = TypeVar("T")


class _KeyRequest(msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """The body of start and end; the key may come as a bearer token instead."""

    stream_key: str | None = None

    def __repr__(self) -> str:
        return "_KeyRequest(...)"  # a repr goes into logs


class Api:
    """Handlers of `/api/streams...` but playlists; they may raise `HttpError` or `BackendError`."""

    def __init__(self, backend: Backend, relays: RelayBackend | None = None) -> None:
        self._backend = backend
        self._relays = relays

    async def create(self, request: Request, body: bytes) -> Response:
        """`POST /api/streams`: needs the admin token, else raises `WrongKey`."""
        token = request.bearer
        if token is None or not await self._backend.is_admin(token):
            raise WrongKey
        created = await self._backend.create_stream(_decode(body, CreateStreamRequest))
        location = f"/api/streams/{created.id}"
        return json_response(201, created, extra={"Location": location})

    async def live(self, _request: Request, _body: bytes) -> Response:
        """`GET /api/streams/live`."""
        return json_response(200, {"streams": await self._backend.live_streams()})

    async def get(self, stream_id: str, _request: Request, _body: bytes) -> Response:
        """`GET /api/streams/{id}`."""
        return json_response(200, await self._backend.get_stream(stream_id))

    async def start(self, stream_id: str, request: Request, body: bytes) -> Response:
        """`POST /api/streams/{id}/start`: needs the stream's key or the admin token."""
        await self._authorise(stream_id, request, _key_in(body))
        return json_response(200, await self._backend.start(stream_id))

    async def end(self, stream_id: str, request: Request, body: bytes) -> Response:
        """`POST /api/streams/{id}/end`: needs the stream's key or the admin token."""
        await self._authorise(stream_id, request, _key_in(body))
        return json_response(200, await self._backend.end(stream_id))

    async def mark(self, stream_id: str, request: Request, body: bytes) -> Response:
        """`POST /api/streams/{id}/markers`: needs the stream's key or admin token as bearer."""
        await self._authorise(stream_id, request, None)
        marker = _decode(body, MarkerRequest)
        return json_response(201, await self._backend.mark(stream_id, marker))

    async def relays(self, stream_id: str, request: Request, _body: bytes) -> Response:
        """`GET /api/streams/{id}/relays`: needs the stream's key or admin token as bearer."""
        await self._authorise(stream_id, request, None)
        return json_response(200, await self._relaying().relays(stream_id))

    async def set_relays(self, stream_id: str, request: Request, body: bytes) -> Response:
        """`PUT /api/streams/{id}/relays`: needs the admin token as bearer.

        A stream's key is not enough: this server connects to whatever it is told.
        """
        await self._backend.get_stream(stream_id)
        token = request.bearer
        if token is None or not await self._backend.is_admin(token):
            raise WrongKey
        relays = _decode(body, RelaysRequest)
        return json_response(200, await self._relaying().set_relays(stream_id, relays))

    def _relaying(self) -> RelayBackend:
        if self._relays is None:
            raise HttpError(404, "not found")
        return self._relays

    async def _authorise(self, stream_id: str, request: Request, given: str | None) -> None:
        """Raise unless the request may change this stream.

        An id is public, so an unknown one is 404 whatever the credential.
        """
        await self._backend.get_stream(stream_id)
        for candidate in (given, request.bearer):
            if candidate is not None and (
                await self._backend.owns(stream_id, candidate)
                or await self._backend.is_admin(candidate)
            ):
                return
        raise WrongKey


def _key_in(body: bytes) -> str | None:
    """The stream key of a body, which may be empty."""
    return _decode(body, _KeyRequest).stream_key if body else None


def refusal(error: BackendError) -> HttpError:
    """Turn a backend's refusal into the HTTP error that says so."""
    status = _STATUS.get(type(error), 400)
    if status == 401:
        return HttpError(401, str(error), WWW_Authenticate="Bearer")
    if status == 503:
        return HttpError(503, str(error), Retry_After="5")
    return HttpError(status, str(error))


def _decode(body: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.DecodeError as error:  # ValidationError too; the text names the field
        # The name of an unknown field is the client's text: a typo is short, a misplaced key long.
        reason = _LONG_NAME.sub("`...`", str(error))
        raise HttpError(400, f"bad JSON body: {reason}") from None
    except UnicodeDecodeError:
        raise HttpError(400, "bad JSON body: it is not UTF-8") from None
