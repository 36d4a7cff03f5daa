"""The values between a connection and the application: a request, and what may answer it.

`App.route` takes a `Request` and returns at once, without I/O, one of four answers. A connection
knows how to carry out each, and knows nothing of streams. What connections of both versions of HTTP
answer by themselves stands here too.
"""

import itertools
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import trio

from edge.http.response import Response, error_response
from edge.table import Gate


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection."""

    address: str = ""
    """IP address; "" where there is none (a stream in memory)."""
    is_proxy: bool = False
    """Whether it speaks for others, so that its X-Forwarded-For is believed."""


NOBODY = Peer()


# A playback token in a path, up to the next segment.
_TOKEN_SEGMENT = re.compile("/~[^/]*")


class Request:
    """The head of a request: method, path, query, fields; and who sent it."""

    __slots__ = (
        "_headers",
        "_peer",
        "is_admitted",
        "is_protected",
        "method",
        "path",
        "query",
        "refusal",
    )

    def __init__(
        self,
        method: str,
        target: str,
        headers: list[tuple[bytes, bytes]] | tuple[()] = (),
        peer: Peer = NOBODY,
        *,
        is_admitted: bool = False,
    ) -> None:
        self._peer = peer
        self.is_admitted = is_admitted
        """Whether its playback token was judged already, and is left out of the path: the
        connection has a `Pass`. Else the path is as it was sent, and the application sets it."""
        self.is_protected = False
        """Whether what it asks for is of a stream that not everybody may watch, as far as the
        application knows before it has the answer; set by that."""
        self.refusal: Response | None = None
        """What it is answered if the answer turns out to be protected and it is not admitted; set
        by the application. None: that it needs a token."""
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
    def client(self) -> str:
        """The client's IP address, as far as it is known; else "".

        A proxy that is trusted is believed about whom it speaks for: the last of X-Forwarded-For.
        """
        peer = self._peer
        if peer.is_proxy and (forwarded := self._forwarded()) is not None:
            try:
                return str(ip_address(forwarded.rpartition(",")[2].strip()))
            except ValueError:
                pass
        return peer.address

    @property
    def is_forwarded(self) -> bool:
        """Whether a trusted proxy says that it speaks for somebody else."""
        return self._peer.is_proxy and self._forwarded() is not None

    def _forwarded(self) -> str | None:
        """The last X-Forwarded-For: a proxy may add its line behind its client's own."""
        for key, value in reversed(self._headers):
            if key == b"x-forwarded-for":
                return value.decode("latin-1")
        return None

    @property
    def shown_path(self) -> str:
        """The path for logs: without the text of a playback token, which is a secret."""
        return _TOKEN_SEGMENT.sub("/~", self.path)

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


class Pass(NamedTuple):
    """A playback token that was judged and found good, for a while."""

    stream_id: str
    """The stream that it admits to."""
    token: bytes
    """As it stands in the path behind the ``~``; a secret, so it goes into no log."""
    until_s: float
    """When it is judged again, on the Trio clock; at most `MAX_PASS_S` ahead, or it is cut."""


MAX_PASS_S = 10.0
"""A connection's pass is good for so long: then one request of it goes to the application again."""


@runtime_checkable
class Gatekeeper(Protocol):
    """An `Application` that has streams which not everybody may watch."""

    def pass_of(self, request: Request) -> Pass | None:
        """Say what the ``~TOKEN`` segment of a request's path admits to, from now on.

        Asked after the request was answered, when the next one has come on its connection;
        synchronous, no I/O, and raises nothing. None: no token, or one that does not admit.
        """
        ...


class Audience(Protocol):
    """Hears of who fetches playlists, and so of who watches."""

    def note(
        self, *, stream_id: str, client: str, agent: int, cmcd: str, blocking: int, plain: int
    ) -> None:
        """Take note of some requests of one player; synchronous and cheap, and raises nothing.

        Only what was answered well is noted (a status under 400). One connection's requests come
        together: at its first, then every five seconds, and at its end.

        Args:
            stream_id: As it stands in the path; perhaps of no stream that there is.
            client: IP address, as far as it is known; else "".
            agent: `native.fnv1a` of its User-Agent; 0 if it sent none.
            cmcd: Its latest CMCD (CTA-5004) as in a query, still percent-encoded; "" if none.
            blocking: Requests for a media playlist that named a version (`_HLS_msn`).
            plain: The others for one. Both are 0 where only CMCD came, with media.
        """
        ...


class NobodyListens:
    """The `Audience` where viewers are not counted."""

    def note(
        self, *, stream_id: str, client: str, agent: int, cmcd: str, blocking: int, plain: int
    ) -> None:
        """Forget it."""


NOBODY_LISTENS = NobodyListens()


class HttpError(Exception):
    """An answer by exception: the request is at fault.

    Args:
        status: 4xx or 503.
        message: Shown to the client; no secret, no path.
        code: For programs, and stable; None: the usual one of the status.
        extra: Further fields of the response.
    """

    def __init__(self, status: int, message: str, *, code: str | None = None, **extra: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.extra = {name.replace("_", "-"): value for name, value in extra.items()}


def error_answer(error: HttpError) -> Response:
    """Make the answer that an exception stands for."""
    return error_response(error.status, str(error), code=error.code, extra=error.extra)


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
