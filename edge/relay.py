"""What an upstream's answer becomes for viewers: which fields are passed on, how long it is kept.

The body and what describes it go through unchanged; gzip, ranges and 304 are made here, by
`edge.http.representation`. `Age` is taken into account and not passed on: an answer that is shared
for some time would need another one each second, and what is served by a clock (playlists) is asked
for anew before it has an age to speak of.

Pure. May import: `edge.hls_response`, `edge.http.response`, `edge.life`, `edge.upstream_lanes`.
Spec: RFC 9111, sections 4.2 (freshness), 5.2.2 (directives); RFC 9110, section 7.6.1 (hop by hop).
"""

import re
from http import HTTPStatus

from edge.hls_response import PLAYLIST_TYPE
from edge.http.response import OWN_CACHE_FIELD, PLAYBACK_FIELD, Response, make_response
from edge.life import Life
from edge.upstream_lanes import Fetched

MISSING_KEPT_S = 1.0
"""A crowd that asks for what is not there costs the upstream one request in this time."""

MAX_KEPT_S = 86400.0
"""For whatever an upstream says."""

# What has a meaning for who asked, besides what `make_response` writes itself.
_PASSED = ("Location", "Retry-After", "WWW-Authenticate", "Allow")
_VALUE = re.compile(r"[\x20-\x7e]{1,1000}")
_STRONG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')
_AGE = re.compile(r"(s-maxage|max-age)=\"?([0-9]{1,9})\"?")
_STATUSES = {status.value for status in HTTPStatus if status >= 200}


def kept_s(answer: Fetched) -> float:
    """How long a shared cache may keep an answer, seconds; 0 if not at all, or nothing is said."""
    ages: dict[str, int] = {}
    for directive in _cache_control(answer).lower().split(","):
        directive = directive.strip()
        if directive in ("no-store", "private", "no-cache"):
            return 0.0
        match = _AGE.fullmatch(directive)
        if match is not None:
            ages.setdefault(match[1], int(match[2]))
    limit_s = ages.get("s-maxage", ages.get("max-age", 0))
    age = answer.fields.get("age", "0")
    aged_s = int(age) if age.isdecimal() and len(age) < 10 else 0
    return float(min(max(limit_s - aged_s, 0), MAX_KEPT_S))


def is_relayable(answer: Fetched) -> bool:
    """Whether the status is one that HTTP knows."""
    return answer.status in _STATUSES


def strong_etag(answer: Fetched) -> str | None:
    """The entity tag, with its quotes, unless it is weak or there is none."""
    etag = answer.fields.get("etag", "")
    return etag if _STRONG.fullmatch(etag) else None


def relay(answer: Fetched, life: Life | None = None) -> Response:
    """Make the answer to viewers.

    Args:
        answer: One that `is_relayable`.
        life: How long it stays the answer to its URL, if it does.
    """
    is_whole = answer.status == HTTPStatus.OK
    content_type = _field(answer, "Content-Type")
    response = make_response(
        answer.status,
        (answer.body,) if answer.body else (),
        content_type=content_type,
        cache_control=_cache_control(answer) or "no-store",
        accepts_ranges=is_whole and answer.fields.get("accept-ranges") == "bytes",
        etag=strong_etag(answer) if is_whole else None,
        packable=is_whole and content_type == PLAYLIST_TYPE,
        life=life,
        extra={name: value for name in _PASSED if (value := _field(answer, name)) is not None},
    )
    return response.protected() if is_protected(answer) else response


def is_protected(answer: Fetched) -> bool:
    """Whether it is about media of a stream that not everybody may watch.

    What is private to who asked, and no answer of the API, is taken for such: somebody between us
    and the origin may leave out fields that he does not know.
    """
    if PLAYBACK_FIELD.lower() in answer.fields:
        return True
    directives = answer.fields.get("cache-control", "").lower().split(",")
    is_private = "private" in [directive.strip() for directive in directives]
    return is_private and answer.fields.get("content-type") != "application/json"


def _cache_control(answer: Fetched) -> str:
    """What holds for edges: of what is protected, what is meant for them (RFC 9213)."""
    own = _field(answer, OWN_CACHE_FIELD) if is_protected(answer) else None
    return own or _field(answer, "Cache-Control") or ""


def _field(answer: Fetched, name: str) -> str | None:
    value = answer.fields.get(name.lower())
    return value if value is not None and _VALUE.fullmatch(value) else None
