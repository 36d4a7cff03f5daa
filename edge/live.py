"""Live streams: the renditions of each broadcast, its multivariant playlists, who waits for them.

Synchronous lookups and steps, like `edge.rendition`, of which a stream has one for each quality.

May import: `hls`, `edge.rendition`, `edge.table`, `edge.hls_response`, `edge.http.response`. Spec:
rfc8216bis-22, sections 4.4.5.4 (rendition reports), 4.4.6 (multivariant playlist).
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

from edge.hls_response import GONE, MISSING_CACHE, NOT_LIVE, playlist_response
from edge.http.response import Response, error_response
from edge.rendition import LiveRendition
from edge.table import Gate, ResponseTable
from hls.marker import Marker
from hls.multivariant import render_multivariant
from hls.playlist import report_line
from hls.request import Directives

Container: TypeAlias = Literal["fmp4", "ts"]
"""What a multivariant playlist lists the renditions as."""

_NO_TS = error_response(
    404, "no rendition of this broadcast fits in MPEG-TS", cache_control=MISSING_CACHE
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
        self._table: ResponseTable[Container] = ResponseTable()
        # The multivariant playlists by container, and what they were made of.
        self._masters: dict[Container, tuple[object, Response]] = {}
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
        siblings = self.renditions.values()
        listed = {
            name: one for sibling in siblings for name, one in sibling.timeline.markers.items()
        }
        for marker in listed.values():
            rendition.mark(marker)
        self.renditions[rendition.name] = rendition
        rendition.on_change = self._on_change
        rendition.reports = partial(self._reports, rendition.name)

    @property
    def edge_ms(self) -> int | None:
        """Programme time of the live edge, UTC, milliseconds since 1970; None before it is one."""
        edges = [rendition.timeline.edge_ms for rendition in self.renditions.values()]
        return max([edge for edge in edges if edge is not None], default=None)

    def mark(self, marker: Marker) -> None:
        """List a marker in every rendition that goes on, or in none.

        Raises:
            UsageError: One of them cannot list it, or all have ended.
        """
        renditions = list(self.renditions.values())
        lasting = [one for one in renditions if not one.timeline.ended] or renditions
        for rendition in lasting:
            rendition.timeline.check_marker(marker)
        for rendition in lasting:
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

    def master(self, container: Container = "fmp4") -> Response | Gate[Container]:
        """Return the multivariant playlist, or a gate until it can be written."""
        return self._judge(container) or self._table.gate(container)

    def close(self) -> None:
        """Forget everything; held requests are answered 404."""
        for rendition in self.renditions.values():
            rendition.close()
        self._table.close(GONE)

    def _on_change(self) -> None:
        if self._table.waiting:
            self._table.publish(put={}, drop=(), judge=self._judge)

    def _judge(self, container: Container) -> Response | None:
        if self.ended:
            return GONE
        listed = [self.renditions[name] for name in self.listed]
        if not listed or any(self._is_missing(name) for name in self._awaited):
            return None
        if container == "ts":
            streams = [one.ts.variant() for one in listed]
            variants = [variant for variant in streams if variant is not None]
            iframes = []
            if not variants:
                return _NO_TS
        else:
            variants = [one.timeline.variant(f"{one.name}/playlist.m3u8") for one in listed]
            tracks = [one.iframes.variant(f"{one.name}/iframes.m3u8") for one in listed]
            iframes = [track for track in tracks if track is not None]
        told, master = self._masters.get(container, (None, GONE))
        if told != (variants, iframes):
            text = render_multivariant(variants, iframes)
            master = playlist_response(
                (text,),
                etag=hashlib.sha256(text).hexdigest()[:32],
                target_duration_s=listed[0].timeline.presentation.target_duration_s,
            )
            self._masters[container] = (variants, iframes), master
        return master

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


_Words: TypeAlias = tuple[str | None, Directives, Container]


class Anteroom:
    """Holds the playlist requests of a stream that is live and has not sent any media yet.

    Its renditions are not known before the first media, so a request waits here by its words
    (quality and directives; no quality for the multivariant playlist) and then where they lead.
    """

    def __init__(self) -> None:
        self._table: ResponseTable[_Words] = ResponseTable()

    def gate(
        self, quality: str | None, directives: Directives, container: Container = "fmp4"
    ) -> "Gate[_Words]":
        """Return the gate for a request, shared with all that ask the same."""
        return self._table.gate((quality, directives, container))

    def enter(self, stream: LiveStream) -> None:
        """Let everybody in: who can be answered now is, all others wait at gates of `stream`."""
        for (quality, directives, container), gate in self._table.gates():
            rendition = stream.renditions.get(quality) if quality is not None else None
            if quality is None:
                answer: Response | Gate[Any] = stream.master(container)
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

    def renew(self, stream_id: str) -> None:
        """Have whoever keeps answers of a stream ask anew: another may be right for them now."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            for rendition in stream.renditions.values():
                rendition.renew()

    def get(self, stream_id: str) -> LiveStream | None:
        """Return the broadcast served under this id, or None."""
        return self._streams.get(stream_id)

    def __len__(self) -> int:
        return len(self._streams)
