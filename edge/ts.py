"""A rendition as a transport stream: segments muxed when they are first asked for, and kept.

`TsRendition` stands beside a `Timeline` and only reads it: the playlist of the same segments, and
their bytes as `hls.ts` makes them. Nobody watches it: it costs nothing. Muxing is synchronous, so
a crowd that asks for the same new segment makes it once, and the event loop stands still meanwhile:
2 to 4 ms for 1.5 MB.

Bounds: `MAX_KEPT_SEGMENTS` and `MAX_KEPT_BYTES` of muxed segments, the oldest go first; what does
not fit is made anew. Beside them a line or two of text for each segment that can be fetched, which
is the timeline's bound. A segment goes when the timeline lets its fMP4 twin go.

May import: `hls`, `edge.hls_response`, `edge.http.response`. Spec: rfc8216bis-22, sections 3.1.1,
6.2.1, 6.2.2.
"""

from dataclasses import dataclass

from edge.hls_response import media_response, playlist_response
from edge.http.response import Response
from hls.errors import UsageError
from hls.multivariant import VariantInfo
from hls.segment import Segment
from hls.timeline import Timeline
from hls.ts import TsTracks, mux_segment
from hls.ts_playlist import render_ts_playlist, ts_segment_lines, ts_variant

MAX_KEPT_SEGMENTS = 16
"""One more than the default window: who asks for all of it again and again makes nothing anew."""

MAX_KEPT_BYTES = 32 * 1024 * 1024
"""Of muxed segments of one rendition; sixteen of 2 s at 6 Mbit/s are 26 MB. One that is larger is
served and not kept."""

TS_PLAYLIST_NAME = "ts.m3u8"
"""Of the media playlist, beside the fMP4 one."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A segment that can be fetched, or a gap that is listed."""

    msn: int
    name: str
    twin: str
    """Name of the fMP4 segment."""
    start_ticks: int
    """Media time of its start, 90 kHz."""
    tracks: TsTracks | None
    """None: it cannot be had as a transport stream."""
    lines: bytes


class TsRendition:
    """One quality of one broadcast, as a transport stream.

    Args:
        name: Path segment of the quality: "source", "720p" ...
        timeline: Only read.
    """

    def __init__(self, *, name: str, timeline: Timeline) -> None:
        self.name = name
        self._timeline = timeline
        self._known: dict[str, _Known] = {}  # by name, oldest first
        self._newest: _Known | None = None
        self._init_index = -1
        self._tracks: TsTracks | None = None  # of that init section
        self._kept: dict[str, Response] = {}  # made first comes first
        self._playlist: tuple[tuple[int, int, bool, bool], Response] | None = None

    @property
    def kept_bytes(self) -> int:
        """Bytes of the muxed segments that are kept."""
        return sum([response.size_bytes for response in self._kept.values()])

    def variant(self) -> VariantInfo | None:
        """Describe this rendition for a multivariant playlist.

        Returns:
            None if it is not to be listed: its newest init section has a track that no transport
            stream can carry.

        Raises:
            UsageError: The timeline is not ready.
        """
        twin = self._timeline.variant("")
        self._follow()
        return ts_variant(twin, f"{self.name}/{TS_PLAYLIST_NAME}") if self._tracks else None

    def playlist(self) -> Response:
        """Return the media playlist; made once for each change of its list of segments.

        Raises:
            UsageError: The timeline is not ready.
        """
        timeline = self._timeline
        if not timeline.ready:
            raise UsageError("the first segment is not complete, so there is no playlist")
        self._follow()
        first, last = timeline.segments[0].msn, timeline.segments[-1].msn
        state = (first, last, timeline.independent_segments, timeline.ended)
        if self._playlist is None or self._playlist[0] != state:
            text = render_ts_playlist(
                [known.lines for known in self._known.values() if known.msn >= first],
                target_duration_s=timeline.presentation.target_duration_s,
                media_sequence=first,
                discontinuity_sequence=timeline.discontinuity_sequence,
                independent_segments=timeline.independent_segments,
                ended=timeline.ended,
            )
            tag = "-".join(str(int(value)) for value in state)
            response = playlist_response(
                (text,),
                etag=f"{timeline.token}-ts-{tag}",
                target_duration_s=timeline.presentation.target_duration_s,
            )
            self._playlist = (state, response)
        return self._playlist[1]

    def segment(self, name: str) -> Response | None:
        """Return a TS segment, or None if there is no such thing, or no longer.

        Args:
            name: As the media playlist has it: ``seg-TOKEN-MSN.ts``.

        Cost: the first time 2 to 4 ms for 1.5 MB.
        """
        self._follow()
        kept = self._kept.get(name)
        if kept is not None:
            return kept
        known = self._known.get(name)
        twin = None if known is None else self._timeline.media(known.twin)
        if known is None or known.tracks is None or twin is None:
            return None
        body = mux_segment(known.tracks, twin.chunks, msn=known.msn, start_ticks=known.start_ticks)
        response = media_response(name, (body,), content_type="video/mp2t")
        self._kept[name] = response
        while len(self._kept) > MAX_KEPT_SEGMENTS or self.kept_bytes > MAX_KEPT_BYTES:
            del self._kept[next(iter(self._kept))]
        return response

    def _follow(self) -> None:
        """Learn what the timeline lists now, and forget what it has let go.

        Cost: O(segments that came or went since).
        """
        fresh: list[Segment] = []
        for segment in reversed(self._timeline.segments):
            if self._newest is not None and segment.msn <= self._newest.msn:
                break
            fresh.append(segment)
        for segment in reversed(fresh):
            self._newest = self._learn(segment)
            self._known[self._newest.name] = self._newest
        while self._known:
            oldest = next(iter(self._known.values()))
            if oldest.msn >= self._timeline.segments[0].msn or self._timeline.media(oldest.twin):
                break
            del self._known[oldest.name]
            self._kept.pop(oldest.name, None)

    def _learn(self, segment: Segment) -> _Known:
        if segment.init_index != self._init_index:
            init = self._timeline.init(segment.init_index)
            assert init is not None  # it stays as long as a segment that is listed
            self._init_index = segment.init_index
            self._tracks = TsTracks.of(init)
        tracks = None if segment.gap else self._tracks
        name = segment.name.removesuffix(".m4s") + ".ts"
        return _Known(
            msn=segment.msn,
            name=name,
            twin=segment.name,
            start_ticks=round(segment.start_ns * 9 / 100_000),
            tracks=tracks,
            lines=ts_segment_lines(segment, uri=name, gap=tracks is None),
        )
