"""Live renditions: each change of a timeline becomes new responses, and parked requests wake.

`LiveRendition.publish` is the one synchronous step between the segmenter and everything that
viewers see: it applies media events to the timeline, swaps response objects in the rendition's
table and opens the gates of requests that were held for them. Nothing here awaits, reads a clock
or logs.

A playlist is rendered when it is first asked for in a version (`Timeline.playlist`), and then
shared until the next one: a stream that nobody watches costs no rendering.

May import: `hls`, `edge.table`, `edge.http.response`. Spec: rfc8216bis-22, sections 6.2.5.2
(blocking reload), 6.2.6 (preload hints), 6.2.2 (what stays available), Appendix B.1 (caching).
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from edge.http.response import Response, error_response, make_response
from edge.table import Gate, ResponseTable
from hls.iframes import IFrames
from hls.marker import Marker
from hls.media import MediaEvent
from hls.multivariant import IFrameInfo, VariantInfo, render_multivariant
from hls.playlist import report_line
from hls.request import BadRequest, Directives, Ready, decide
from hls.timeline import Timeline

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"

# A name holds the broadcast's token and its bytes never change: a day is far more than the six
# target durations of B.1, and short enough that a cache forgets old broadcasts by itself.
_MEDIA_CACHE = "public, max-age=86400, immutable"

# B.1 allows half a target duration. Browsers must ask again (a second is much latency); a shared
# cache may answer a crowd for one second.
_PLAIN_CACHE = "public, max-age=0, s-maxage=1"

# A crowd that asks for what is not there asks once a second (B.1: at most a target duration).
MISSING_CACHE = "public, max-age=1"

NOT_LIVE = error_response(404, "the stream is not live", cache_control=MISSING_CACHE)
_GONE = error_response(404, "this broadcast is over", cache_control=MISSING_CACHE)


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
        self.iframes = IFrames(timeline)
        """Its pictures for trick play."""
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
        """Answer a request for an init section, segment, part or I-frame.

        Returns:
            The bytes, a gate if `name` is the preload-hinted part, or None if there is no such
            thing.
        """
        response = self._table.get(name)
        if response is not None:
            return response
        if self.timeline.is_hinted(name):
            return self._table.gate(name)
        data = self.iframes.media(name)
        return None if data is None else _media_response(name, (data,))

    def iframe_playlist(self) -> Response | None:
        """Answer a request for the I-frame playlist; None while there is none."""
        if self._iframe_playlist is None and self.timeline.ready:
            self._iframe_playlist = make_response(
                200,
                (self.iframes.playlist(),),
                content_type=PLAYLIST_TYPE,
                cache_control=_PLAIN_CACHE,
                etag=f'"{self.timeline.token}-{self.timeline.last_msn}-{self.timeline.ended}"',
                packable=True,
            )
        return self._iframe_playlist

    def close(self) -> None:
        """Forget everything; held requests are answered 404."""
        self.on_change, self.reports = _nothing, bytes
        self._table.close(_GONE)

    def _swap(self) -> None:
        self._playlists.clear()
        self._iframe_playlist = None
        self.iframes.follow()
        changes = self.timeline.changes
        self._table.publish(
            put={name: self._media_response(name) for name in changes.added},
            drop=changes.removed,
            judge=self._judge,
        )
        self.on_change()

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
        # B.1: what a blocking request got stays right for its URL, for six target durations.
        age_s = 6 * timeline.presentation.target_duration_s
        made = self._playlists[skip, waited] = make_response(
            200,
            text,
            content_type=PLAYLIST_TYPE,
            cache_control=f"public, max-age={age_s}" if waited else _PLAIN_CACHE,
            etag=f'"{timeline.token}-{timeline.version}{"-delta" if skip else ""}"',
            packable=True,
        )
        return made

    def _media_response(self, name: str) -> Response:
        media = self.timeline.media(name)
        assert media is not None  # the timeline has just said that it is there
        return _media_response(name, media.chunks)


def _media_response(name: str, chunks: tuple[bytes, ...]) -> Response:
    return make_response(
        200,
        chunks,
        content_type="video/mp4",
        cache_control=_MEDIA_CACHE,
        accepts_ranges=True,
        etag=f'"{name}"',
    )


class LiveStream:
    """The renditions of one broadcast under one multivariant playlist.

    Players read the multivariant playlist once. So it is held until everything that is *awaited*
    has come or been given up, and a rendition that has gone bad is *hidden* from new viewers while
    those who watch it go on being served.

    Args:
        renditions: Served and awaited from now on, best first.
    """

    def __init__(self, renditions: Mapping[str, LiveRendition]) -> None:
        self.renditions: dict[str, LiveRendition] = {}
        self.order: Sequence[str] = tuple(renditions)
        """Every name that is or may be listed, best first."""
        self._awaited: set[str] = set()
        self._hidden: set[str] = set()
        self._table: ResponseTable[None] = ResponseTable()
        self._variants: list[VariantInfo | IFrameInfo | None] = []
        self._master = _GONE
        for name, rendition in renditions.items():
            self.add(rendition)
            self.expect(name)

    @property
    def ended(self) -> bool:
        """True once every rendition has ended."""
        return all(rendition.timeline.ended for rendition in self.renditions.values())

    @property
    def listed(self) -> list[str]:
        """Names of the renditions that the multivariant playlist lists now, best first."""
        return [
            name
            for name in self.order
            if name in self.renditions
            and name not in self._hidden
            and self.renditions[name].timeline.ready
        ]

    def add(self, rendition: LiveRendition) -> None:
        """Serve a rendition; `order` says where it stands."""
        for sibling in self.renditions.values():
            for marker in sibling.timeline.markers.values():
                rendition.mark(marker)
            break  # all have the same
        self.renditions[rendition.name] = rendition
        rendition.on_change = self._on_change
        rendition.reports = partial(self._reports, rendition.name)

    @property
    def edge_ms(self) -> int | None:
        """Programme time of the live edge, UTC, milliseconds since 1970; None before it is one."""
        edges = [rendition.timeline.edge_ms for rendition in self.renditions.values()]
        return max([edge for edge in edges if edge is not None], default=None)

    def mark(self, marker: Marker) -> None:
        """List a marker in every rendition; raises `hls.UsageError` where `Timeline.mark` does."""
        for rendition in self.renditions.values():
            rendition.mark(marker)

    def expect(self, name: str) -> None:
        """Hold the multivariant playlist until this rendition is ready or `give_up` is called."""
        self._awaited.add(name)

    def give_up(self, name: str) -> None:
        """Do not wait for a rendition any longer; it may still come."""
        self._awaited.discard(name)
        self._on_change()

    def hide(self, name: str) -> None:
        """Leave a rendition out of the multivariant playlist, and do not wait for it."""
        self._hidden.add(name)
        self.give_up(name)

    def show(self, name: str) -> None:
        """List a rendition again."""
        self._hidden.discard(name)
        self._on_change()

    def master(self) -> Response | Gate[None]:
        """Return the multivariant playlist, or a gate until it can be written."""
        return self._judge() or self._table.gate(None)

    def close(self) -> None:
        """Forget everything; held requests are answered 404."""
        for rendition in self.renditions.values():
            rendition.close()
        self._table.close(_GONE)

    def _on_change(self) -> None:
        if self._table.waiting:
            self._table.publish(put={}, drop=(), judge=lambda _key: self._judge())

    def _judge(self) -> Response | None:
        if self.ended:
            return _GONE
        listed = self.listed
        if not listed or any(self._is_missing(name) for name in self._awaited):
            return None
        variants = [
            self.renditions[name].timeline.variant(f"{name}/playlist.m3u8") for name in listed
        ]
        iframes = [self.renditions[name].iframes.variant(f"{name}/iframes.m3u8") for name in listed]
        told: list[VariantInfo | IFrameInfo | None] = [*variants, *iframes]
        if told != self._variants:
            self._variants = told
            text = render_multivariant(variants, [info for info in iframes if info is not None])
            self._master = make_response(
                200,
                (text,),
                content_type=PLAYLIST_TYPE,
                cache_control=_PLAIN_CACHE,
                etag=f'"{hashlib.sha256(text).hexdigest()[:32]}"',
                packable=True,
            )
        return self._master

    def _reports(self, name: str) -> bytes:
        """How far the other listed renditions are (rfc8216bis 4.4.5.4, B.1)."""
        lines = []
        for other in self.listed:
            last_part = self.renditions[other].timeline.last_part
            if other != name and last_part is not None:
                lines.append(report_line(f"../{other}/playlist.m3u8", last_part))
        return "".join(lines).encode()

    def _is_missing(self, name: str) -> bool:
        rendition = self.renditions.get(name)
        return rendition is None or not rendition.timeline.ready


class Anteroom:
    """Holds the playlist requests of a stream that is live and has not sent any media yet.

    Its renditions are not known before the first media, so a request waits here by its words
    (quality and directives; no quality for the multivariant playlist) and then where they lead.
    """

    def __init__(self) -> None:
        self._table: ResponseTable[tuple[str | None, Directives]] = ResponseTable()

    def gate(
        self, quality: str | None, directives: Directives
    ) -> Gate[tuple[str | None, Directives]]:
        """Return the gate for a request, shared with all that ask the same."""
        return self._table.gate((quality, directives))

    def enter(self, stream: LiveStream) -> None:
        """Let everybody in: who can be answered now is, all others wait at gates of `stream`."""
        for (quality, directives), gate in self._table.gates():
            rendition = stream.renditions.get(quality) if quality is not None else None
            if quality is None:
                answer: Response | Gate[Any] = stream.master()
            elif rendition is None:
                answer = NOT_LIVE
            else:
                answer = rendition.playlist(directives)
            if isinstance(answer, Response):
                gate.open(answer)
            else:
                answer.add(partial(_pass_on, answer, gate))

    def close(self) -> None:
        """The broadcast is over before it began: everybody is answered 404."""
        self._table.close(NOT_LIVE)


def _pass_on(answered: Gate[Any], waiting: Gate[Any]) -> None:
    if answered.response is not None:
        waiting.open(answered.response)


class LiveStreams:
    """All broadcasts that can be watched here, by stream id."""

    def __init__(self) -> None:
        self._streams: dict[str, LiveStream] = {}
        self._announced: dict[str, Anteroom] = {}

    def announce(self, stream_id: str) -> None:
        """Hold playlist requests for a stream that has gone live, until `open` or `withdraw`.

        Until then the media of the broadcast before goes on being served.
        """
        self._announced.setdefault(stream_id, Anteroom())

    def withdraw(self, stream_id: str) -> None:
        """Take an announcement back: no media came. Without one, nothing happens."""
        anteroom = self._announced.pop(stream_id, None)
        if anteroom is not None:
            anteroom.close()

    def anteroom(self, stream_id: str) -> Anteroom | None:
        """Where playlist requests for this stream wait, or None unless it is announced."""
        return self._announced.get(stream_id)

    def open(
        self,
        stream_id: str,
        renditions: Mapping[str, LiveRendition],
    ) -> LiveStream:
        """Serve a broadcast, best rendition first; one that is still open is closed before.

        May be called before anything is published: requests are held until the first segment.
        """
        self.close(stream_id)
        stream = self._streams[stream_id] = LiveStream(renditions)
        anteroom = self._announced.pop(stream_id, None)
        if anteroom is not None:
            anteroom.enter(stream)
        return stream

    def close(self, stream_id: str) -> None:
        """Stop serving a broadcast; an unknown id is ignored.

        Call it some time after `LiveRendition.end`: rfc8216bis 6.2.1 wants the media to stay
        available for at least the playlist's duration.
        """
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            stream.close()

    def get(self, stream_id: str) -> LiveStream | None:
        """Return the broadcast served under this id, or None."""
        return self._streams.get(stream_id)

    def __len__(self) -> int:
        return len(self._streams)


def _nothing() -> None:
    pass
