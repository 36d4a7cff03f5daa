"""The values between a connection and the application: a request, and what may answer it.

`App.route` takes a `Request` and returns at once, without I/O, one of four answers. A connection
knows how to carry out each, and knows nothing of streams.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import trio

from edge.http.response import Response
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

    The HTTP connection closes the stream after `take` returns.
    """

    take: Callable[[trio.abc.Stream, bytes], Awaitable[None]]
    """Serves the stream to its end, beginning with those bytes."""


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
