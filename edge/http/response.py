"""Immutable HTTP responses: a header block rendered once, and shared chunks of body.

A thousand viewers are sent the same `Response` object: its header block and its chunks are never
copied per viewer. Only `Date` and `Connection` differ between two sendings; the connection adds
them (`DateLine`) between `head` and the blank line.

May import: nothing of ours. Spec: RFC 9110 (fields, ranges), RFC 9112 (layout), Fetch (CORS).
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

import msgspec
import trio

# On every response, errors too: without it a player in another page sees status 0 instead of 404.
_CORS = (
    b"Access-Control-Allow-Origin: *\r\n"
    b"Access-Control-Expose-Headers: Accept-Ranges, Age, Content-Length, Content-Range, Date, "
    b"Retry-After\r\n"
)
_REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}

Body = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Response:
    """What is sent for a request; shared between connections, never changed."""

    status: int
    """HTTP status code."""
    head: bytes
    """Status line and fields, each with its CRLF; no Date, no Connection, no blank line."""
    chunks: tuple[Body, ...]
    """The body, in order; not sent for HEAD."""
    size_bytes: int
    """Sum of the chunks; what Content-Length says."""
    accepts_ranges: bool = False
    """A 200 of which a client may ask a part (Range)."""


def make_response(
    status: int,
    chunks: tuple[Body, ...] = (),
    *,
    content_type: str | None = None,
    cache_control: str = "no-store",
    accepts_ranges: bool = False,
    extra: Mapping[str, str] | None = None,
) -> Response:
    """Render the header block of a response.

    Args:
        status: HTTP status code, 200 to 599.
        chunks: The body in pieces; kept, not copied.
        content_type: Media type of the body, or None for none.
        cache_control: Value of Cache-Control; errors and API answers keep the default.
        accepts_ranges: Serve parts of the body too; only for a 200.
        extra: Further fields. The caller vouches that they hold no CR or LF.

    Cost: one join of about ten short strings.
    """
    size_bytes = sum(map(len, chunks))
    parts = [
        b"HTTP/1.1 %d %b\r\n" % (status, _REASONS[status]),
        _CORS,
        b"Cache-Control: %b\r\n" % cache_control.encode("ascii"),
    ]
    if status != HTTPStatus.NO_CONTENT:  # RFC 9110 8.6: a 204 has no Content-Length
        parts.append(b"Content-Length: %d\r\n" % size_bytes)
    if content_type is not None:
        parts.append(b"Content-Type: %b\r\n" % content_type.encode("ascii"))
    if accepts_ranges:
        parts.append(b"Accept-Ranges: bytes\r\n")
    if extra is not None:
        parts += (f"{name}: {value}\r\n".encode("latin-1") for name, value in extra.items())
    return Response(status, b"".join(parts), chunks, size_bytes, accepts_ranges)


def json_response(
    status: int, value: object, *, extra: Mapping[str, str] | None = None
) -> Response:
    """Encode a value (msgspec's rules) as a JSON response that no cache may keep."""
    body = msgspec.json.encode(value)
    return make_response(status, (body,), content_type="application/json", extra=extra)


def error_response(
    status: int, message: str, *, extra: Mapping[str, str] | None = None
) -> Response:
    """Make the `{"error": message}` of every failed request."""
    return json_response(status, {"error": message}, extra=extra)


PREFLIGHT = make_response(
    204,
    extra={
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PATCH, DELETE, OPTIONS",
        "Access-Control-Allow-Headers": "Authorization, Content-Type, Range",
        "Access-Control-Max-Age": "86400",
    },
)
"""The answer to OPTIONS on any path: there are no cookies, so nothing depends on who asks."""

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def select_range(response: Response, value: str) -> Response:
    """Apply a Range field to a 200 response.

    Only one range of bytes is served; several, another unit or nonsense are ignored, as RFC 9110
    14.2 allows, and the whole is sent.

    Args:
        response: A 200 whose head has Content-Length.
        value: The Range field's value, from the client.

    Returns:
        The response itself, a 206 that shares its chunks' memory, or a 416.
    """
    match = _RANGE.fullmatch(value.strip())
    total = response.size_bytes
    if match is None or match.group() == "bytes=-":
        return response
    first_text, last_text = match.groups()
    if not first_text:  # the last N bytes
        first, end = max(0, total - int(last_text)), total
    else:
        first, end = int(first_text), total
        if last_text:
            if int(last_text) < first:
                return response
            end = min(total, int(last_text) + 1)
    if first >= end:
        return error_response(
            416, "the range is outside the body", extra={"Content-Range": f"bytes */{total}"}
        )
    chunks: list[Body] = []
    position = 0
    for chunk in response.chunks:
        low, high = max(first - position, 0), min(end - position, len(chunk))
        if low < high:
            chunks.append(memoryview(chunk)[low:high])
        position += len(chunk)
    head = response.head.replace(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 206 Partial Content\r\n", 1)
    head = head.replace(
        b"Content-Length: %d\r\n" % total,
        b"Content-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\n"
        % (end - first, first, end - 1, total),
        1,
    )
    return Response(206, head, tuple(chunks), end - first)


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
