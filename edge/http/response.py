"""Immutable HTTP responses: a header block rendered once, and shared chunks of body.

A thousand viewers are sent the same `Response` object: its header block and its chunks are never
copied per viewer. Only `Date` and `Connection` differ between two sendings; the connection adds
them (`DateLine`) between `head` and the blank line. What a single request may change about it
(a 304, a range, gzip) is `representation`'s.

May import: `edge.life`. Spec: RFC 9110 (fields), RFC 9112 (layout), Fetch (CORS).
"""

import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus

import msgspec
import trio

from edge.life import Life

# On every response, errors too: without it a player in another page sees status 0 instead of 404.
_CORS = (
    ("Access-Control-Allow-Origin", "*"),
    (
        "Access-Control-Expose-Headers",
        "Accept-Ranges, Age, Content-Length, Content-Range, Date, ETag, Retry-After",
    ),
)
PLAYBACK_FIELD = "Headrace-Playback"
"""On every answer about media of a stream that not everybody may watch: "token"."""

OWN_CACHE_FIELD = "Headrace-Cache-Control"
"""On the same: what Cache-Control would be, for edges."""

ERROR_CODES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "notFound",
    405: "methodNotAllowed",
    408: "timeout",
    409: "conflict",
    410: "gone",
    412: "preconditionFailed",
    413: "tooLarge",
    414: "tooLong",
    416: "badRange",
    426: "upgradeRequired",
    428: "preconditionRequired",
    429: "tooManyRequests",
    431: "tooLong",
    500: "internal",
    502: "badGateway",
    503: "unavailable",
    505: "badVersion",
    508: "loop",
}
"""What an error is called, by status, where nothing more precise is said."""

_REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}

# zlib.compressobj: gzip's wrapper around the largest window.
_GZIP_WBITS = 16 + zlib.MAX_WBITS
# A playlist of 4 KB: level 6 takes 60 us for 720 bytes, level 1 takes 25 us for 850.
_GZIP_LEVEL = 6

Body = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Response:
    """What is sent for a request; shared between connections, never changed."""

    status: int
    """HTTP status code."""
    fields: tuple[tuple[bytes, bytes], ...]
    """The fields, names in lower case as HTTP/2 wants them; no Date."""
    head: bytes
    """The same for HTTP/1.1: status line and fields, each with its CRLF; no Date, no Connection, no
    blank line."""
    chunks: tuple[Body, ...]
    """The body, in order; not sent for HEAD."""
    size_bytes: int
    """Sum of the chunks; what Content-Length says."""
    accepts_ranges: bool = False
    """A 200 of which a client may ask a part (Range)."""
    etag: str | None = None
    """Entity tag, strong, with its quotes; None where there is nothing to compare."""
    packable: bool = False
    """A 200 whose body may also be sent as gzip."""
    life: Life | None = field(default=None, compare=False, repr=False)
    """How long it stays the answer of its URL; None: it answers the request that was asked."""
    is_protected: bool = False
    """Of a stream that not everybody may watch: for requests that are admitted, and no others
    (`edge.http.representation`)."""
    _packed: "list[Response]" = field(default_factory=list, compare=False, repr=False)
    _protected: "list[Response]" = field(default_factory=list, compare=False, repr=False)

    def packed(self) -> "Response":
        """Return the same as gzip: made when first asked for, then shared.

        Cost: the first time, compression of the body (some 60 us for a playlist of 4 KB).
        """
        if not self._packed:
            self._packed.append(_gzip(self))
        return self._packed[0]

    def protected(self) -> "Response":
        """Return the same for those who are admitted: made when first asked for, then shared.

        No shared cache may keep it, but our own edges, which ask for a token themselves: what they
        may do is in a field of their own (RFC 9213).
        """
        if self.is_protected:
            return self
        if not self._protected:
            self._protected.append(_protect(self))
        return self._protected[0]


def make_response(
    status: int,
    chunks: tuple[Body, ...] = (),
    *,
    content_type: str | None = None,
    cache_control: str = "no-store",
    accepts_ranges: bool = False,
    etag: str | None = None,
    packable: bool = False,
    life: Life | None = None,
    extra: Mapping[str, str] | None = None,
) -> Response:
    """Render the header block of a response.

    Args:
        status: HTTP status code, 200 to 599.
        chunks: The body in pieces; kept, not copied.
        content_type: Media type of the body, or None for none.
        cache_control: Value of Cache-Control; errors and API answers keep the default.
        accepts_ranges: Serve parts of the body too; only for a 200.
        etag: Entity tag with its quotes: the same bytes under the same tag, for ever.
        packable: Serve it as gzip too, to whoever accepts that; only for a 200.
        life: How long it stays the answer of its URL, if it does at all.
        extra: Further fields. The caller vouches that they hold no CR or LF.

    Cost: one join of about ten short strings.
    """
    size_bytes = sum(map(len, chunks))
    fields = [*_CORS, ("Cache-Control", cache_control)]
    # RFC 9110 8.6: a 204 has no Content-Length, and a 304 would tell that of the 200.
    if status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        fields.append(("Content-Length", str(size_bytes)))
    if content_type is not None:
        fields.append(("Content-Type", content_type))
    if accepts_ranges:
        fields.append(("Accept-Ranges", "bytes"))
    if etag is not None:
        fields.append(("ETag", etag))
    if packable:
        fields.append(("Vary", "Accept-Encoding"))
    if extra is not None:
        fields += extra.items()
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields]).encode("latin-1")
    return Response(
        status,
        tuple([(name.lower().encode(), value.encode("latin-1")) for name, value in fields]),
        b"HTTP/1.1 %d %b\r\n%b" % (status, _REASONS[status], lines),
        chunks,
        size_bytes,
        accepts_ranges,
        etag,
        packable,
        life,
    )


def derive_response(
    response: Response,
    status: int,
    chunks: tuple[Body, ...],
    changes: Mapping[str, str | None],
    *,
    life: Life | None = None,
) -> Response:
    """Make a response like another one, with some fields replaced, added or (None) left out.

    Args:
        response: What it is like; neither packable nor in ranges any more.
        status: Its status.
        chunks: Its body. Content-Length is only right if `changes` has it.
        changes: Fields by name, in the spelling of `make_response`.
        life: How long it stays the answer to requests like this one.
    """
    new = {name.lower().encode(): (name, value) for name, value in changes.items()}
    fields: list[tuple[bytes, bytes]] = [pair for pair in response.fields if pair[0] not in new]
    lines = [
        line
        for line in response.head.split(b"\r\n")[1:-1]
        if line.partition(b":")[0].lower() not in new
    ]
    for key, (name, value) in new.items():
        if value is not None:
            fields.append((key, value.encode("latin-1")))
            lines.append(f"{name}: {value}".encode("latin-1"))
    head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, _REASONS[status], b"\r\n".join(lines))
    return Response(
        status,
        tuple(fields),
        head,
        chunks,
        sum(map(len, chunks)),
        etag=changes.get("ETag"),
        life=life,
    )


def _gzip(response: Response) -> Response:
    pack = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WBITS)
    body = b"".join([*map(pack.compress, response.chunks), pack.flush()])
    changes: dict[str, str | None] = {
        "Content-Encoding": "gzip",
        "Content-Length": str(len(body)),
    }
    if response.etag is not None:  # other bytes, so another strong tag (RFC 9110 8.8.3)
        changes["ETag"] = f'{response.etag[:-1]}-gzip"'
    return derive_response(response, 200, (body,), changes, life=response.life)


def _protect(response: Response) -> Response:
    shared = dict(response.fields)[b"cache-control"].decode("latin-1")
    directives = [one for one in shared.split(", ") if one != "public"]
    private = [one for one in directives if not one.startswith("s-maxage=")]
    made = derive_response(
        response,
        response.status,
        response.chunks,
        {
            "Cache-Control": shared if "no-store" in private else ", ".join(["private", *private]),
            PLAYBACK_FIELD: "token",
            OWN_CACHE_FIELD: shared,
        },
        life=response.life,
    )
    return replace(
        made,
        accepts_ranges=response.accepts_ranges,
        etag=response.etag,
        packable=response.packable,
        is_protected=True,
    )


def json_response(
    status: int,
    value: object,
    *,
    cache_control: str = "no-store",
    extra: Mapping[str, str] | None = None,
) -> Response:
    """Encode a value (msgspec's rules) as a JSON response."""
    return make_response(
        status,
        (msgspec.json.encode(value),),
        content_type="application/json",
        cache_control=cache_control,
        extra=extra,
    )


def error_response(
    status: int,
    message: str,
    *,
    code: str | None = None,
    cache_control: str = "no-store",
    extra: Mapping[str, str] | None = None,
) -> Response:
    """Make the `{"error": message, "code": code}` of every failed request.

    Args:
        status: HTTP status code, 400 to 599.
        message: For people.
        code: For programs, and stable; None: the usual one of the status (`ERROR_CODES`).
        cache_control: Value of Cache-Control.
        extra: Further fields; see `make_response`.
    """
    body = {"error": message, "code": code or ERROR_CODES.get(status, "error")}
    return json_response(status, body, cache_control=cache_control, extra=extra)


PREFLIGHT = make_response(
    204,
    extra={
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, If-Match,"
        " If-None-Match, If-Range, Last-Event-ID, Range,"
        " CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status",
        "Access-Control-Max-Age": "86400",
    },
)
"""The answer to OPTIONS on any path: there are no cookies, so nothing depends on who asks."""


class DateLine:
    """The `Date` line, rendered at most once a second and shared by all connections.

    The Trio clock says when a second is over (cheap, and under test control); the wall clock is
    read only then.
    """

    __slots__ = ("_expires", "_line")

    def __init__(self) -> None:
        self._line = b""
        self._expires = float("-inf")

    def render(self) -> bytes:
        """Return `Date: ...` with its CRLF, right to the second."""
        now = trio.current_time()
        if now >= self._expires:
            wall = time.time()
            self._line = b"Date: %b\r\n" % formatdate(wall, usegmt=True).encode("ascii")
            self._expires = now + 1.0 - wall % 1.0
        return self._line
