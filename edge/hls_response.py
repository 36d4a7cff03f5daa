"""What every HLS answer says of itself: type, caching, entity tag.

Playlists and media come from several makers (`edge.rendition`, `edge.ts`, `edge.live`); how long a
cache may keep them is one policy, and it is here.

May import: `edge.http.response`, `edge.life`. Spec: rfc8216bis-22, section 4 (media type),
Appendix B.1 (caching); RFC 9110, section 8.8.3 (entity tags).
"""

from edge.http.response import Body, Response, error_response, make_response
from edge.life import Life

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"

BLOCKED_TARGETS = 6
"""Target durations for which the answer to a blocking request stays right for its URL (B.1)."""

# A name holds the broadcast's token and its bytes never change: a day is far more than the six
# target durations of B.1, and short enough that a cache forgets old broadcasts by itself.
_MEDIA_CACHE = "public, max-age=86400, immutable"

# B.1 allows half a target duration. Browsers must ask again (a second is much latency); a shared
# cache may answer a crowd for one second, where that is not more than half of one.
_PLAIN_CACHE = "public, max-age=0, s-maxage=1"
_SHORT_PLAIN_CACHE = "public, max-age=0"
_SHORT_TARGET_S = 1

MISSING_CACHE = "public, max-age=1"
"""A crowd that asks for what is not there asks once a second (B.1: at most a target duration)."""

NOT_LIVE = error_response(404, "the stream is not live", cache_control=MISSING_CACHE)
GONE = error_response(404, "this broadcast is over", cache_control=MISSING_CACHE)


def playlist_response(
    text: tuple[Body, ...],
    *,
    etag: str,
    target_duration_s: int,
    waited: bool = False,
    life: Life | None = None,
) -> Response:
    """Make the answer that is a playlist.

    Args:
        text: In pieces, which are kept.
        etag: Entity tag without quotes; another text has another one.
        target_duration_s: Of the broadcast.
        waited: It is for a request that named what it waits for, and stays right for its URL.
        life: Until when this server gives the same answer to the same URL.
    """
    if waited:
        cache_control = f"public, max-age={BLOCKED_TARGETS * target_duration_s}"
    else:
        is_short = target_duration_s <= _SHORT_TARGET_S
        cache_control = _SHORT_PLAIN_CACHE if is_short else _PLAIN_CACHE
    return make_response(
        200,
        text,
        content_type=PLAYLIST_TYPE,
        cache_control=cache_control,
        etag=f'"{etag}"',
        packable=True,
        life=life,
    )


def media_response(
    name: str,
    chunks: tuple[Body, ...],
    *,
    content_type: str = "video/mp4",
    life: Life | None = None,
) -> Response:
    """Make the answer that is an init section, a segment, a part or an I-frame.

    Args:
        name: Its last path segment, unique for its bytes.
        chunks: The bytes, in pieces, which are kept.
        content_type: Their media type.
        life: Until when it can be fetched.
    """
    return make_response(
        200,
        chunks,
        content_type=content_type,
        cache_control=_MEDIA_CACHE,
        accepts_ranges=True,
        etag=f'"{name}"',
        life=life,
    )
