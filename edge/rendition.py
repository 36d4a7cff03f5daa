"""One live rendition: each change of a timeline becomes new responses, and parked requests wake.

`LiveRendition.publish` is the one synchronous step between the segmenter and everything that
viewers see: it applies media events to the timeline, swaps response objects in the rendition's
table and opens the gates of requests that were held for them. Nothing here awaits, reads a clock
or logs.

A playlist is rendered when it is first asked for in a version, and then shared until the next one:
a stream that nobody watches costs no rendering. What else can be made of the same media, I-frames
and a transport stream, is made when somebody asks.

May import: `hls`, `edge.life`, `edge.table`, `edge.ts`, `edge.hls_response`,
`edge.http.response`. Spec: rfc8216bis-22, sections 6.2.5.2 (blocking reload), 6.2.6 (preload
hints), 6.2.2 (what stays available).
"""

from collections.abc import Callable, Iterable, Sequence

from edge.hls_response import (
    GONE,
    MISSING_CACHE,
    media_response,
    playlist_response,
)
from edge.http.response import Response, error_response
from edge.life import Life
from edge.table import Gate, ResponseTable
from edge.ts import TsRendition
from hls.iframes import IFrames
from hls.marker import Marker
from hls.media import MediaEvent
from hls.request import BadRequest, Directives, Ready, decide
from hls.timeline import Timeline


class LiveRendition:
    """One quality of one broadcast, as viewers see it.

    Args:
        name: Its path segment: "source", "720p" ...
        timeline: Belongs to this object from now on; change it only through `publish` and `end`.
    """

    def __init__(self, *, name: str, timeline: Timeline) -> None:
        self.name = name
        self.timeline = timeline
        # A key is the directives of a held playlist request, or the name of a held media request.
        self._table: ResponseTable[Directives | str] = ResponseTable()
        # The playlist of this version by (is a delta update, was waited for).
        self._playlists: dict[tuple[bool, bool], Response] = {}
        self._version = Life()
        self._media: dict[str, Life] = {}  # of what is in the table
        self.iframes = IFrames(timeline)
        """Its pictures for trick play."""
        self.ts = TsRendition(name=name, timeline=timeline)
        """The same for players without fragmented MP4."""
        self._iframe_playlist: Response | None = None
        self.on_change: Callable[[], None] = _nothing
        """Called after every version; for the `LiveStream` that this belongs to."""
        self.reports: Callable[[], bytes] = bytes
        """Gives the EXT-X-RENDITION-REPORT lines of the others; for the same."""

    def publish(self, events: Sequence[MediaEvent]) -> None:
        """Make what the segmenter produced visible, and answer whoever waited for it.

        Args:
            events: One result of `Segmenter.push` or `flush`, in order; may be empty.

        Invariants: atomic; a request sees the version before or the version after. Never a
        checkpoint.
        """
        if events:
            self.timeline.apply(events)
            self._swap()

    def end(self) -> None:
        """Add EXT-X-ENDLIST, in a version of its own; every held reload is answered with it."""
        self.timeline.end()
        self._swap()

    def mark(self, marker: Marker) -> None:
        """List a marker; raises `hls.UsageError` where `Timeline.mark` does."""
        self.timeline.mark(marker)
        self._swap()

    def renew(self) -> None:
        """End the life of every answer, and make it again: nothing about it changes.

        Whoever keeps one asks anew, and may get another answer: 401.
        """
        self._playlists.clear()
        self._iframe_playlist = None
        last, self._version = self._version, Life()
        self._table.publish(
            put={name: self._media_response(name) for name in list(self._media)},
            drop=(),
            judge=self._judge,
        )
        last.end()

    @property
    def waiting(self) -> int:
        """How many different things held requests wait for; 0 when none is held."""
        return self._table.waiting

    def playlist(self, directives: Directives) -> Response | Gate[Directives | str]:
        """Answer a media playlist request, or return the gate to wait at.

        Args:
            directives: What `hls.request.parse_directives` made of the query.

        Returns:
            The current playlist, a 400 (rfc8216bis 6.2.5.2), or a gate while it must be held;
            everything is held until the first segment is complete.
        """
        return self._judge_playlist(directives) or self._table.gate(directives)

    def media(self, name: str) -> Response | Gate[Directives | str] | None:
        """Answer a request for an init section, a segment of either kind, a part or an I-frame.

        Returns:
            The bytes, a gate if `name` is the preload-hinted part, or None if there is no such
            thing.
        """
        response = self._table.get(name)
        if response is not None:
            return response
        if self.timeline.is_hinted(name):
            return self._table.gate(name)
        if name.endswith(".ts"):
            return self.ts.segment(name)
        data = self.iframes.media(name)
        return None if data is None else media_response(name, (data,))

    def iframe_playlist(self) -> Response | None:
        """Answer a request for the I-frame playlist; None while there is none."""
        if self._iframe_playlist is None and self.timeline.ready:
            timeline = self.timeline
            self._iframe_playlist = playlist_response(
                (self.iframes.playlist(),),
                etag=f"{timeline.token}-iframes-{timeline.last_msn}-{timeline.ended:d}",
                target_duration_s=timeline.presentation.target_duration_s,
                life=self._version,
            )
        return self._iframe_playlist

    def close(self) -> None:
        """Forget everything; held requests are answered 404."""
        self.on_change, self.reports = _nothing, bytes
        self._table.close(GONE)
        self._version.end()
        self._end_media(list(self._media))

    def _swap(self) -> None:
        self._playlists.clear()
        self._iframe_playlist = None
        last, self._version = self._version, Life()
        changes = self.timeline.changes
        self._table.publish(
            put={name: self._media_response(name) for name in changes.added},
            drop=changes.removed,
            judge=self._judge,
        )
        last.end()
        self._end_media(changes.removed)
        self.on_change()

    def _end_media(self, names: Iterable[str]) -> None:
        for name in names:
            life = self._media.pop(name, None)
            if life is not None:
                life.end()

    def _judge(self, key: Directives | str) -> Response | None:
        if not isinstance(key, str):
            return self._judge_playlist(key)
        response = self._table.get(key)
        if response is None and not self.timeline.is_hinted(key):
            # 6.2.6: a hinted resource that will not come to be is answered with 404.
            return error_response(404, "the hinted part did not come", cache_control=MISSING_CACHE)
        return response

    def _judge_playlist(self, directives: Directives) -> Response | None:
        verdict = decide(self.timeline, directives)
        if isinstance(verdict, BadRequest):
            return error_response(400, verdict.reason)
        if not isinstance(verdict, Ready):
            return None
        return self._playlist_response(skip=directives.skip, waited=directives.msn is not None)

    def _playlist_response(self, *, skip: bool, waited: bool) -> Response:
        made = self._playlists.get((skip, waited))
        if made is not None:
            return made
        timeline = self.timeline
        twin = self._playlists.get((skip, not waited))
        # The other renditions go on while this version stands: its text is made once all the same.
        text = timeline.render(reports=self.reports(), skip=skip) if twin is None else twin.chunks
        made = self._playlists[skip, waited] = playlist_response(
            text,
            etag=f"{timeline.token}-{timeline.version}{'-delta' if skip else ''}",
            target_duration_s=timeline.presentation.target_duration_s,
            waited=waited,
            life=self._version,
        )
        return made

    def _media_response(self, name: str) -> Response:
        media = self.timeline.media(name)
        assert media is not None  # the timeline has just said that it is there
        self._end_media((name,))  # a name that comes again is another object
        life = self._media[name] = Life()
        return media_response(name, media.chunks, life=life)


def _nothing() -> None:
    pass
