"""What one request makes of a shared response: not modified, a range of it, gzip.

Both versions of HTTP send what `represent` returns. It is pure; the shared response stays as it is.

Spec: RFC 9110 sections 8.8.3 (entity tags), 12.5.3 (Accept-Encoding), 13 (conditions), 14 (ranges).
"""

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from edge.http.response import Body, Response, derive_response, error_response

if TYPE_CHECKING:
    from edge.http.messages import Request


_NOT_ADMITTED = error_response(
    401,
    "this stream needs a playback token",
    code="tokenNeeded",
    extra={"WWW-Authenticate": "Bearer"},
)


def represent(response: Response, request: "Request") -> Response:
    """Choose what is sent for a request that has this answer.

    Args:
        response: The answer, shared with everybody.
        request: Its Accept-Encoding, If-None-Match, Range and If-Range count, and whether it is
            admitted.

    Returns:
        The answer itself, its gzip form, a 304, a 206 or a 416; a refusal (401, 403, 429) where the
        answer is protected and the request is not admitted. The body of an answer to HEAD is
        left in; who sends it leaves it out.

    Cost: a look at three fields; nothing for answers that have no other form.
    """
    if request.is_protected:
        response = response.protected()
    if response.is_protected and not request.is_admitted:
        return (request.refusal or _NOT_ADMITTED).protected()
    if response.status != HTTPStatus.OK or request.method not in ("GET", "HEAD"):
        return response
    if response.packable and _accepts_gzip(request.header(b"accept-encoding")):
        response = response.packed()
    if response.etag is not None:
        known = request.header(b"if-none-match")
        if known is not None and _matches(response.etag, known):
            return derive_response(
                response,
                304,
                (),
                {
                    "Content-Length": None,
                    "Content-Type": None,
                    "Content-Encoding": None,
                    "Accept-Ranges": None,
                    "ETag": response.etag,
                },
            )
    if response.accepts_ranges and request.method == "GET":  # RFC 9110 14.2: of GET only
        wanted, validator = request.header(b"range"), request.header(b"if-range")
        if wanted is not None and (validator is None or validator.strip() == response.etag):
            return select_range(response, wanted)
    return response


def _matches(etag: str, field: str) -> bool:
    """If-None-Match compares weakly: W/ makes no difference (13.1.2)."""
    candidates = [candidate.strip().removeprefix("W/") for candidate in field.split(",")]
    return etag in candidates or candidates == ["*"]


def _accepts_gzip(field: str | None) -> bool:
    """Whether gzip is accepted: named, or "*", with a weight that is not zero (12.5.3)."""
    if field is None:
        return False
    weights: dict[str, bool] = {}
    for item in field.lower().split(","):
        coding, _, weight = item.partition(";")
        weights[coding.strip()] = not _ZERO.fullmatch(weight.strip())
    return weights.get("gzip", weights.get("*", False))


_ZERO = re.compile(r"q\s*=\s*0(\.0{0,3})?")
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
    total = response.size_bytes
    found = find_range(value, total)
    if found is None:
        return response
    first, end = found
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
    return derive_response(
        response,
        206,
        tuple(chunks),
        {
            "Content-Length": str(end - first),
            "Content-Range": f"bytes {first}-{end - 1}/{total}",
            "ETag": response.etag,
        },
    )


def find_range(value: str, total: int) -> tuple[int, int] | None:
    """Find which bytes a Range field asks for.

    Args:
        value: The field's value, from the client.
        total: How many bytes there are.

    Returns:
        The first and the one behind the last, of which none are there if the first is not less;
        None where the field is to be ignored.
    """
    match = _RANGE.fullmatch(value.strip())
    if match is None or match.group() == "bytes=-":
        return None
    first_text, last_text = match.groups()
    if not first_text:  # the last N bytes
        return max(0, total - int(last_text)), total
    first = int(first_text)
    if not last_text:
        return first, total
    if int(last_text) < first:
        return None
    return first, min(total, int(last_text) + 1)
