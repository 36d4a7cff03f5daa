"""How a client asks: requests sent, asked again where that does no harm, answers read.

Whatever goes wrong is an `ApiError`: the server's own words, or why there are none. What may be
asked again without harm is, up to `ATTEMPTS` times: GET, PUT and DELETE, a POST with an
Idempotency-Key, and all of them while no connection comes about. A 429 or 503 is waited for as long
as its Retry-After says, `MAX_WAIT_S` at most. No redirect is followed: the credential is for one
server. It is never part of an error or a repr.

Bounds: `MAX_ANSWER_BYTES`, `ATTEMPTS`, `MAX_WAIT_S`, `QUIET_S`, `timeout_s`.
May import: httpx, trio, msgspec, `edge.api`'s calls and event reader. Spec: RFC 9110, sections
9.2.2 (idempotent), 10.2.3 (Retry-After).
"""

import os
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar, cast

import httpx
import msgspec
import trio

from edge.api.calls import Call
from edge.api.event_reader import EventError, EventReader, ServerEvent

ATTEMPTS: Final = 3
"""Of one call, the first included, if nothing else is said."""

PAUSE_S: Final = 0.25
"""Before the second attempt, some more or less; twice that before the next."""

MAX_WAIT_S: Final = 10.0
"""Retry-After is waited for up to here; beyond, its error is the answer."""

MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""Of an answer that is read as a whole: a thousand messages with long texts are two million."""

QUIET_S: Final = 45.0
"""After so long without a byte a stream of events is lost: a server sends one every 15 s."""

RETRY_S: Final = 2.0
"""Before a stream of events is asked for again, if the server has not said otherwise."""

CLOSE_S: Final = 1.0
"""For a connection to be closed."""

_AGAIN: Final = frozenset({429, 503})
_SAFE: Final = frozenset({"GET", "PUT", "DELETE"})

T = TypeVar("T")

Query: TypeAlias = Mapping[str, str | int | float | bool | None]
"""Parameters; None: it is left out."""


class ApiError(Exception):
    """A call that failed; `str(error)` is a line for people.

    Args:
        status: Of the answer; 0: there was none.
        code: For programs: the server's, or `unreachable` (it was not asked), `timeout` or `lost`
            (it may have been), `badAnswer`, `badRequest`.
        message: For people.
        retry_after_s: When it is worth another try, if the server has said so.
    """

    def __init__(
        self, status: int, code: str, message: str, *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Download:
    """An answer that is read as it comes."""

    status: int
    headers: Mapping[str, str]
    """By name in any case."""
    pieces: AsyncIterator[bytes]


class Asker:
    """A connection or some to one server.

    Args:
        server: Its URL: ``http://HOST:PORT``, with a path if a proxy puts one before ``/api``.
        credential: A stream's key or an admin token; None: anybody.
        timeout_s: For a connection, and for each silence within an answer. A call that a server
            holds (a playlist) is none of this client's.
        attempts: Of one call, the first included.
        transport: Carries the requests; None: httpx's own, which believes the environment about
            proxies and certificates.

    Raises:
        ApiError: The URL is none (code `badRequest`).
    """

    def __init__(
        self,
        server: str,
        *,
        credential: str | None = None,
        timeout_s: float = 15.0,
        attempts: int = ATTEMPTS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        try:
            url = httpx.URL(server)
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme not in ("http", "https") or not url.host:
            raise ApiError(0, "badRequest", "the server's URL must be http://HOST:PORT or https://")
        if url.userinfo:  # would be shown in errors
            raise ApiError(0, "badRequest", "no credential belongs into the server's URL")
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if credential is not None:
            if not re.fullmatch(r"[\x21-\x7e]+", credential):
                raise ApiError(0, "badRequest", "the credential holds what no credential holds")
            headers["Authorization"] = f"Bearer {credential}"
        self.server = server.rstrip("/")
        self._attempts = attempts
        self._http = httpx.AsyncClient(
            headers=headers, timeout=timeout_s, transport=transport, follow_redirects=False
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.server!r})"

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    # -- any call

    async def ask(
        self,
        call: Call[T],
        body: object = None,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        **params: str,
    ) -> T:
        """Make a call.

        Args:
            call: Which.
            body: Of msgspec's types; None: there is none.
            query: Parameters.
            headers: Further ones. With an Idempotency-Key a POST is asked again too.
            params: Of the path.

        Raises:
            ApiError: It failed.
        """
        content = None if body is None else msgspec.json.encode(body)
        fields = dict(headers or {})
        if content is not None:
            fields["Content-Type"] = "application/json"
        request = self._request(call, params, query, content, fields)
        can_repeat = call.method in _SAFE or "Idempotency-Key" in fields
        data = await self._attempt(request, can_repeat)
        if call.answer is type(None):
            return None
        try:
            return msgspec.json.decode(data, type=call.answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ApiError(
                200, "badAnswer", f"the server answers {call.name} with something else: {error}"
            ) from None

    @asynccontextmanager
    async def download(
        self, path: str, *, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator["Download"]:
        """Ask for something large: a context with the answer, read as it comes.

        Args:
            path: Escaped, with its query.
            headers: Further ones: a Range.

        Raises:
            ApiError: It failed; also while it is read.
        """
        request = self._http.build_request("GET", self.server + path, headers=headers)
        async with (
            self._open(request) as response,
            _pieces_of(response) as pieces,
        ):
            yield Download(response.status_code, response.headers, pieces)

    def _request(
        self,
        call: Call[Any],
        params: Mapping[str, str],
        query: Query | None,
        content: bytes | None,
        headers: Mapping[str, str],
    ) -> httpx.Request:
        given = {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in (query or {}).items()
            if value is not None
        }
        url = self.server + call.target(params)
        return self._http.build_request(
            call.method, url, params=given or None, content=content, headers=headers
        )

    async def _attempt(self, request: httpx.Request, can_repeat: bool) -> bytes:
        """Send a request until it is answered, as often as it may be."""
        was_sent = False
        for attempt in range(1, self._attempts + 1):
            try:
                async with self._open(request) as response:
                    return await _read(response)
            except ApiError as problem:
                error = problem
            if error.status == 404 and was_sent and request.method == "DELETE":
                return b""  # the answer to an attempt before was lost: it was done
            if error.code in ("timeout", "lost"):
                was_sent = True
            may_repeat = error.code == "unreachable" or (
                can_repeat and (error.status in _AGAIN or error.code in ("timeout", "lost"))
            )
            wait_s = PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
            wait_s = max(wait_s, error.retry_after_s or 0.0)
            if attempt == self._attempts or not may_repeat or wait_s > MAX_WAIT_S:
                raise error
            await trio.sleep(wait_s)
        raise AssertionError("not reached")

    async def follow(
        self, call: Call[None], *, last_id: str = "", **params: str
    ) -> AsyncGenerator[ServerEvent, None]:
        """Follow a stream of events, without an end; to be closed (`contextlib.aclosing`).

        A connection that ends is made anew and goes on behind the last event; it is given up when
        `ATTEMPTS` in a row bring nothing.

        Args:
            call: Which.
            last_id: Go on behind this event; "": from now on.
            params: Of the path.

        Raises:
            ApiError: It was refused, or cannot be had any more.
        """
        failures = 0
        pause_s = RETRY_S
        while True:
            reader = EventReader(last_id)
            failures += 1
            try:
                async with self._listen(call, params, last_id) as pieces:
                    async for data in pieces:
                        failures = 0
                        for event in reader.feed(data):
                            last_id = event.last_id
                            yield event
            except ApiError as error:
                if error.status not in (0, *_AGAIN) or failures >= ATTEMPTS:
                    raise
            if reader.retry_ms is not None:
                pause_s = min(reader.retry_ms / 1000, MAX_WAIT_S)
            await trio.sleep(pause_s)

    @asynccontextmanager
    async def _listen(
        self, call: Call[None], params: Mapping[str, str], last_id: str
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        headers = {"Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        request = self._request(call, params, None, None, headers)
        timeout = httpx.Timeout(self._http.timeout.connect, read=QUIET_S)
        request.extensions["timeout"] = timeout.as_dict()
        async with self._open(request) as response:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise ApiError(200, "badAnswer", "the server answers with no stream of events")
            try:
                async with _pieces_of(response) as pieces:
                    yield pieces
            except EventError as error:
                raise ApiError(200, "badAnswer", str(error)) from None

    @asynccontextmanager
    async def _open(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        """The answer to a request, of which nothing was read yet; httpx's errors become ours."""
        try:
            response = await self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    raise await _refusal(response)
                yield response
            finally:
                with trio.CancelScope(shield=True) as scope:
                    scope.deadline = trio.current_time() + CLOSE_S
                    await response.aclose()
        except httpx.HTTPError as error:
            raise _lost(self.server, error) from None


def _pieces_of(response: httpx.Response) -> "aclosing[AsyncGenerator[bytes, None]]":
    """The body as it comes. The generators that httpx has inside end with the response."""
    return aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw()))


async def _read(response: httpx.Response) -> bytes:
    """The whole answer, if it is not too large."""
    pieces = []
    size_bytes = 0
    async with _pieces_of(response) as received:
        async for piece in received:
            size_bytes += len(piece)
            if size_bytes > MAX_ANSWER_BYTES:
                raise ApiError(200, "badAnswer", "the answer is too large")
            pieces.append(piece)
    return b"".join(pieces)


class _Problem(msgspec.Struct):
    error: str = ""
    code: str = ""


async def _refusal(response: httpx.Response) -> ApiError:
    """What a server says instead."""
    try:
        problem = msgspec.json.decode(await _read(response), type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = _Problem()  # something between us and a server of ours
    status = response.status_code
    after = response.headers.get("retry-after", "")
    return ApiError(
        status,
        problem.code or "error",
        problem.error or f"{status} {response.reason_phrase}".strip(),
        retry_after_s=float(after) if after.isascii() and after.isdigit() else None,
    )


def _lost(server: str, error: httpx.HTTPError) -> ApiError:
    """Why there is no answer; httpx's own text may hold what was sent."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        reason = _reason_of(error)
        return ApiError(
            0, "unreachable", f"cannot reach {server}" + (f": {reason}" if reason else "")
        )
    if isinstance(error, httpx.TimeoutException):
        return ApiError(0, "timeout", f"{server} does not answer in time")
    return ApiError(0, "lost", f"the connection to {server} was lost")


def _reason_of(error: BaseException) -> str:
    """The system's word for why there is no connection; else what the library says."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, BaseExceptionGroup):  # of several addresses: the first one's
            inner = inner.exceptions[0]
        if isinstance(inner, OSError) and inner.strerror:  # look-ups have numbers of their own
            number = inner.errno or 0
            return os.strerror(number) if number > 0 else inner.strerror
        inner = inner.__cause__ or inner.__context__
    return str(error).rpartition("]")[2].strip()
