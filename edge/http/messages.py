"""The values between a connection and the application: a request, and what may answer it.

`App.route` takes a `Request` and returns at once, without I/O, one of four answers. A connection
knows how to carry out each, and knows nothing of streams. What connections of both versions of HTTP
answer by themselves stands here too.
"""

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import trio

from edge.http.response import Response, error_response
from edge.table import Gate


class Request:
    """The head of a request: method, path, query, fields."""

    __slots__ = ("_headers", "method", "path", "query")

    def __init__(
        self, method: str, target: str, headers: list[tuple[bytes, bytes]] | tuple[()] = ()
    ) -> None:
        self.method = method
        self.path, _, self.query = target.partition("?")
        """Still percent-encoded: no path of ours needs escapes, so one that has some is unknown."""
        self._headers = headers

    def header(self, name: bytes) -> str | None:
        """Return the first field with this lower-case name, or None."""
        for key, value in self._headers:
            if key == name:
                return value.decode("latin-1")
        return None

    @property
    def bearer(self) -> str | None:
        """The token of `Authorization: Bearer ...` (RFC 6750), or None."""
        scheme, _, token = (self.header(b"authorization") or "").partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None


@dataclass(frozen=True, slots=True)
class Hold:
    """Park the request until the gate opens; the gate has the answer."""

    gate: Gate[Any]
    """Opens when there is an answer."""
    timeout_s: float
    """How long to wait for it, in seconds."""
    late: Response
    """The answer when the gate did not open in time."""


@dataclass(frozen=True, slots=True)
class Call:
    """Read the body, then await the handler."""

    handler: Callable[[Request, bytes], Awaitable[Response]]
    """From the request and its whole body to the answer; may raise `HttpError`."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """Give the connection away: `take` gets the stream and the bytes read behind this request.

    The HTTP connection closes the stream after `take` returns. Only HTTP/1.1 can do it: over HTTP/2
    the client is told to come again with that.
    """

    take: Callable[[trio.abc.Stream, bytes], Awaitable[None]]
    """Serves the stream to its end, beginning with those bytes. Before it has touched the stream it
    may raise `HttpError`, which is answered as ever."""


Answer: TypeAlias = Response | Hold | Call | HandOver


class Application(Protocol):
    """What a connection asks."""

    def route(self, request: Request) -> Answer:
        """Decide how to answer; synchronous, no I/O. May raise `HttpError`."""
        ...


class HttpError(Exception):
    """An answer by exception: the request is at fault.

    Args:
        status: 4xx or 503.
        message: Shown to the client; no secret, no path.
        extra: Further fields of the response.
    """

    def __init__(self, status: int, message: str, **extra: str) -> None:
        super().__init__(message)
        self.status = status
        self.extra = {name.replace("_", "-"): value for name, value in extra.items()}


class ClientLeft(Exception):
    """The peer closed or broke the connection, or is too slow; there is nobody to answer."""


OUR_FAULT = error_response(500, "internal error")
"""A handler raised what it may not."""

TOO_LONG = error_response(503, "this takes too long, try again", extra={"Retry-After": "5"})
"""A handler did not return in `handler_timeout_s`."""

_NUMBERS = itertools.count(1)


def next_connection_id() -> int:
    """Name a connection in the logs; unique in the process."""
    return next(_NUMBERS)
