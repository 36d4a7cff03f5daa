"""Playlists and media of live broadcasts: from a path to a response or a held request.

Pure lookups in `edge.live`; how long a request may be held is decided here.

Spec: rfc8216bis-22, sections 6.2.5.2 (blocking reload) and 6.2.6 (preload hints).
"""

from typing import Any

from edge.hls_response import MISSING_CACHE, NOT_LIVE
from edge.http.messages import Answer, Hold, Request
from edge.http.response import Response, error_response
from edge.live import Container, LiveStreams
from edge.rendition import LiveRendition
from edge.table import Gate
from hls.request import BadRequest, Directives, parse_directives

FIRST_SEGMENT_WAIT_S = 8.0
"""How long a player that comes before the first segment is complete is held (then 503, try again),
or before the first media of a stream that is live.

The first segment ends with the second keyframe: two seconds with sound settings, up to ten with
OBS's default. Under the ten seconds that hls.js waits for a first byte.
"""

_BLOCKED_TARGETS = 3
"""Target durations: "a server SHOULD return 503 ... blocked for more than three" (6.2.5.2)."""

_NO_SUCH_MEDIA = error_response(404, "no such media", cache_control=MISSING_CACHE)
_NOT_YET = error_response(503, "the first segment is not complete yet", extra={"Retry-After": "1"})
_STALLED = error_response(503, "nothing new from the broadcaster", extra={"Retry-After": "1"})


class HlsApp:
    """Serves what `live` holds."""

    def __init__(self, live: LiveStreams) -> None:
        self._live = live

    def master(self, stream_id: str, request: Request) -> Answer:
        """Answer `GET /api/streams/{id}/master.m3u8`, with `?container=ts` in MPEG-TS."""
        container: Container = "ts" if "container=ts" in request.query.split("&") else "fmp4"
        anteroom = self._live.anteroom(stream_id)
        if anteroom is not None:
            return _await_media(anteroom.gate(None, Directives(), container))
        stream = self._live.get(stream_id)
        if stream is None:
            return NOT_LIVE
        answer = stream.master(container)
        return _await_media(answer) if isinstance(answer, Gate) else answer

    def playlist(self, stream_id: str, quality: str, request: Request) -> Answer:
        """Answer `GET /api/streams/{id}/{quality}/playlist.m3u8`."""
        directives = parse_directives(request.query)
        if isinstance(directives, BadRequest):
            return error_response(400, directives.reason)
        anteroom = self._live.anteroom(stream_id)
        if anteroom is not None:
            return _await_media(anteroom.gate(quality, directives))
        rendition = self._rendition(stream_id, quality)
        if rendition is None:
            return NOT_LIVE
        return self._held(rendition, rendition.playlist(directives))

    def iframe_playlist(self, stream_id: str, quality: str) -> Response:
        """Answer `GET /api/streams/{id}/{quality}/iframes.m3u8`; it is never held."""
        rendition = self._rendition(stream_id, quality)
        answer = None if rendition is None else rendition.iframe_playlist()
        return answer or NOT_LIVE

    def ts_playlist(self, stream_id: str, quality: str) -> Response:
        """Answer `GET /api/streams/{id}/{quality}/ts.m3u8`; it is never held."""
        rendition = self._rendition(stream_id, quality)
        if rendition is None or not rendition.timeline.ready:
            return NOT_LIVE
        return rendition.ts.playlist()

    def media(self, stream_id: str, quality: str, name: str) -> Answer:
        """Answer a request for an init section, a segment or a part."""
        rendition = self._rendition(stream_id, quality)
        answer = None if rendition is None else rendition.media(name)
        if rendition is None or answer is None:
            return _NO_SUCH_MEDIA
        return self._held(rendition, answer)

    def _rendition(self, stream_id: str, quality: str) -> LiveRendition | None:
        stream = self._live.get(stream_id)
        return None if stream is None else stream.renditions.get(quality)

    def _held(self, rendition: LiveRendition, answer: Response | Gate[Directives | str]) -> Answer:
        if isinstance(answer, Response):
            return answer
        if not rendition.timeline.ready:
            return _await_media(answer)
        target_s = rendition.timeline.presentation.target_duration_s
        return Hold(answer, _BLOCKED_TARGETS * target_s, _STALLED)


def _await_media(gate: Gate[Any]) -> Hold:
    return Hold(gate, FIRST_SEGMENT_WAIT_S, _NOT_YET)
