"""The timeline of one rendition of one broadcast: what is listed, downloadable, next.

The timeline consumes the segmenter's events and is the truth behind a media playlist. It decides
*when* lines enter and leave the playlist and bytes leave memory; `playlist` decides how lines look
and `request` whether a playlist request may be answered. It knows no clock, no socket and no task.

The life of a segment, and of its parts, on the media clock (the sum of the durations published so
far, which stands still while the publisher does, and is not disturbed by timestamp jumps)::

    segment   open ---------> listed -------------------> unlisted, downloadable ----> gone
              its parts come   complete, with EXTINF       until appeared + duration
                               window_segments of them     + longest playlist (6.2.2)
    its parts listed from their birth until the segment ---> downloadable for 3 TD ---> gone
              ends 3 TD behind the live edge

Invariants, after every `Timeline.apply` and `Timeline.end`:

* One version step is atomic: an event that is out of order raises before anything has changed.
* Lines are only appended, and removed from the head in order; a listed line never changes (6.2.1).
* Nothing is removed if less than three target durations of complete segments would remain (6.2.2).
* Bytes behind a name never change, and whatever is listed can be fetched.
* The media held spans at most the longest playlist plus three segments, or eight target durations
  where that is more: with the defaults (15 segments of 2 s) 36 s, which is 27 MB at 6 Mbit/s. Parts
  and segments share their bytes. How large a segment may get is the segmenter's to bound.

May import `hls` and the standard library's pure parts. Spec: draft-pantos-hls-rfc8216bis-22,
sections 4.4.3, 4.4.4, 6.2.1, 6.2.2, 6.2.6.
"""

import re
from collections import deque
from collections.abc import Iterable, Sequence

from hls.bandwidth import Bandwidth, BandwidthMeter
from hls.errors import UsageError
from hls.marker import Marker
from hls.media import InitSegment, MediaEvent, Part, Presentation, SegmentEnd
from hls.multivariant import VariantInfo
from hls.playlist import render_media_playlist
from hls.segment import Segment
from hls.shelf import Changes, Media, Shelf
from hls.timeline_settings import TimelineSettings
from hls.window import SettledText

PART_HISTORY_TARGETS = 3
"""Parts are listed for so many target durations: "EXT-X-PART tags SHOULD be removed from the
Playlist after they are greater than three Target Durations from the end of the Playlist"
(6.2.2)."""

PART_GRACE_TARGETS = 3
"""A part stays downloadable for so many target durations after its tag has gone (6.2.2, MUST)."""

MIN_WINDOW_TARGETS = 3
"""No removal may leave less than so many target durations of complete segments (6.2.2, MUST)."""

SKIP_BOUNDARY_TARGETS = 6
"""CAN-SKIP-UNTIL in target durations: "at least six times the Target Duration" (4.4.3.8, MUST)."""

MAX_MARKERS = 64
"""Date ranges listed at one time."""

MIN_HOLD_BACK_PARTS = 3
"""PART-HOLD-BACK "SHOULD be at least three times the Part Target Duration" (4.4.3.8)."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NS = 1_000_000_000


class Timeline:
    """One rendition of one broadcast, as a sliding window.

    Every method is synchronous and either changes everything or raises and changes nothing.

    Args:
        token: Goes into every name; unique per broadcast, 1 to 64 of ``A-Z a-z 0-9 _ -``.
        started_at_s: UTC time of media time zero, seconds since 1970. PROGRAM-DATE-TIME is this
            plus media time, with no look at a clock: its distance from tfdt is one constant.
        settings: Window and hold-back.
        discontinuity_sequence: Discontinuities of the broadcast before this rendition's first
            segment: a rung that begins later has the same sequence numbers (6.2.4).

    Raises:
        UsageError: The token is not fit for a URI.
    """

    def __init__(
        self,
        *,
        token: str,
        started_at_s: float,
        settings: TimelineSettings | None = None,
        discontinuity_sequence: int = 0,
    ) -> None:
        if not _TOKEN.fullmatch(token):
            raise UsageError("a timeline's token is 1 to 64 of A-Z a-z 0-9 _ -")
        self.token = token
        """Part of every name; nobody else's."""
        self._started_at_ns = round(started_at_s * _NS)
        self._settings = settings or TimelineSettings()

        self.ready = False
        """There is a playlist to serve: the first segment (without a gap, if it is a rung that
        begins badly) is complete, and its bit rate known."""
        self.version = 0
        """Grows by one with every change; the playlist of one version never changes."""
        self.ended = False
        """The playlist has its EXT-X-ENDLIST; nothing changes any more."""
        self.changes = Changes()
        """What the newest version did to the set of names."""
        self.segments: deque[Segment] = deque()
        """The complete segments that are listed, oldest first."""
        self.open_segment: Segment | None = None
        """The segment whose parts are arriving; None between segments."""
        self.discontinuity_sequence = discontinuity_sequence
        """EXT-X-DISCONTINUITY-SEQUENCE: the EXT-X-DISCONTINUITY tags removed so far."""
        self.independent_segments = True
        """EXT-X-INDEPENDENT-SEGMENTS is true. Once a segment has begun with a part that cannot be
        decoded alone it stays false: a tag that came and went would contradict itself in caches."""
        self.last_part: tuple[int, int] | None = None
        """(msn, index) of the newest part; None before the first."""

        self.settled = SettledText()
        """The lines of the listed segments whose parts are not listed any more."""
        self.recent: deque[Segment] = deque()
        """The other complete segments that are listed: those with parts, oldest first."""
        self.markers: dict[str, Marker] = {}
        """Listed date ranges by id, in the order in which they came."""

        self._presentation: Presentation | None = None
        self._meter = BandwidthMeter()
        self._clock_ns = 0  # media published so far
        self._next_msn: int | None = None  # of the next part; None before the first
        self._next_index = 0  # of the next part; 0 means no segment is open
        self._listed_ns = 0  # sum of the EXTINFs in the playlist
        self._longest_playlist_ns = 0
        self._shelf = Shelf()
        self._text: tuple[int, bytes] = (-1, b"")

    # What there is.

    @property
    def presentation(self) -> Presentation:
        """Target duration and part target; raises UsageError before they are known."""
        if self._presentation is None:
            raise UsageError("no Presentation event has been applied yet")
        return self._presentation

    @property
    def part_hold_back_s(self) -> float:
        """PART-HOLD-BACK as the playlist says it, in seconds; constant (4.4.3.8)."""
        least_s = MIN_HOLD_BACK_PARTS * self.presentation.part_target_s
        return max(self._settings.part_hold_back_s, least_s)

    @property
    def skip_boundary_s(self) -> float:
        """CAN-SKIP-UNTIL as the playlist says it, in seconds; constant (4.4.3.8)."""
        return float(SKIP_BOUNDARY_TARGETS * self.presentation.target_duration_s)

    @property
    def last_msn(self) -> int | None:
        """Media Sequence Number of the newest complete segment; None before the first."""
        return self.segments[-1].msn if self.segments else None

    @property
    def edge_ms(self) -> int | None:
        """Programme time behind the newest part, UTC, milliseconds since 1970; None before one."""
        newest = self.open_segment or (self.segments[-1] if self.segments else None)
        return None if newest is None else newest.epoch_ms + newest.duration_us // 1000

    @property
    def hint(self) -> str | None:
        """Name of the part that comes next (EXT-X-PRELOAD-HINT); None when nobody can know it.

        The segmenter ends a segment together with its last part, so this is the name of the very
        next part even when a segment has just ended: part 0 of the one that follows (6.2.6).
        """
        if self.ended or self._next_msn is None:
            return None
        return self._part_name(self._next_msn, self._next_index)

    @property
    def measured_bandwidth(self) -> Bandwidth:
        """Bit rates of all complete segments so far; zero before the first."""
        return self._meter.measured

    @property
    def announced_bandwidth(self) -> Bandwidth:
        """Bit rates for the multivariant playlist; they stand still, see `bandwidth`."""
        return self._meter.announced

    @property
    def held_bytes(self) -> int:
        """Media bytes kept alive, each counted once however many names lead to it."""
        return self._shelf.held_bytes

    def media(self, name: str) -> Media | None:
        """Look up a resource: listed, or removed and within its grace; None for anything else."""
        return self._shelf.media(name)

    def segment(self, msn: int) -> Segment | None:
        """Return a complete segment that is listed, or None. Cost: O(1) near the ends."""
        index = msn - self.segments[0].msn if self.segments else -1
        return self.segments[index] if 0 <= index < len(self.segments) else None

    def init(self, index: int) -> InitSegment | None:
        """Return an init section that can still be fetched, or None."""
        return next((init for init in self._shelf.inits if init.index == index), None)

    @property
    def newest_init(self) -> InitSegment | None:
        """The init section of the newest media; None before the first."""
        return self._shelf.inits[-1] if self._shelf.inits else None

    def is_hinted(self, name: str) -> bool:
        """Whether a name is that of the next part, so that a request for it should be held (6.2.6).

        A held request whose part never comes (the segment or the broadcast ended first) is to be
        answered "Not Found" as soon as this turns false and `media` has nothing.
        """
        return name == self.hint

    def names(self) -> Iterable[str]:
        """Every downloadable name, in no order that matters."""
        return self._shelf.names()

    @property
    def skipped_segments(self) -> int:
        """How many segments a delta update leaves out now: those that end before the skip boundary.

        Spec: 4.4.3.8: "Media Segments further from the end of the Playlist than the Skip Boundary".
        Cost: O(segments within the boundary).
        """
        boundary_ns = self._clock_ns - round(self.skip_boundary_s * _NS)
        kept = 0
        for segment in reversed(self.segments):
            if segment.clock_end_ns <= boundary_ns:
                break
            kept += 1
        return len(self.segments) - kept

    def render(self, *, reports: bytes = b"", skip: bool = False) -> tuple[bytes, ...]:
        """Render the media playlist as it is now, in pieces whose join is the text.

        Callers keep what they get: a version is rendered once for each form of it.

        Args:
            reports: The lines of EXT-X-RENDITION-REPORT, if there are other renditions (4.4.5.4).
            skip: As a delta update (6.2.5.1), if there is anything to skip.

        Raises:
            UsageError: The timeline is not ready.
        """
        if not self.ready:
            raise UsageError("the first segment is not complete, so there is no playlist")
        return render_media_playlist(self, reports=reports, skip=skip)

    def playlist(self) -> bytes:
        """The whole text of this version, without reports; kept until the next one.

        Raises:
            UsageError: The timeline is not ready.
        """
        if self._text[0] != self.version:
            self._text = (self.version, b"".join(self.render()))
        return self._text[1]

    def variant(self, uri: str) -> VariantInfo:
        """Describe this rendition for the multivariant playlist.

        CODECS lists every format in any segment that can still be fetched, newest first (6.2.4);
        picture size and rate are those of the newest init section.

        Args:
            uri: Of its media playlist, relative to the multivariant playlist.

        Raises:
            UsageError: The timeline is not ready.
        """
        if not self.ready:
            raise UsageError("the first segment is not complete, so nothing is known to announce")
        inits = self._shelf.inits
        newest = inits[-1]
        codecs = dict.fromkeys(codec for init in reversed(inits) for codec in init.codecs)
        return VariantInfo(
            uri=uri,
            bandwidth_bps=self.announced_bandwidth.peak_bps,
            average_bandwidth_bps=self.announced_bandwidth.average_bps,
            codecs=tuple(codecs),
            width=newest.width,
            height=newest.height,
            frame_rate=newest.frame_rate,
            independent_segments=self.independent_segments,
            video_range=newest.video_range,
        )

    # Changing it.

    def apply(self, events: Sequence[MediaEvent]) -> None:
        """Take the events of one segmenter call as one new version.

        Args:
            events: In the order of `hls.media`; an empty sequence changes nothing.

        Raises:
            UsageError: The events do not continue the timeline, or it has ended; nothing changed.

        Invariants: those of the module header.
        Cost: O(events) + the lines they add; a segment's parts leaving the playlist cost one join.
        """
        if not events:
            return
        self._check(events)
        for event in events:
            if isinstance(event, Part):
                self._add_part(event)
            elif isinstance(event, SegmentEnd):
                self._end_segment()
            elif isinstance(event, InitSegment):
                self._shelf.add_init(self._init_name(event.index), event)
            else:
                self._presentation = event
        if self.segments:
            self._slide()
            self._shelf.forget(self._clock_ns)
        self._step()

    def mark(self, marker: Marker) -> None:
        """List a marker as a new version, until its time has left the window.

        Raises:
            UsageError: As `check_marker`; nothing changed.

        Spec: 4.4.5.1.
        """
        self.check_marker(marker)
        self.markers[marker.id] = marker
        self._step()

    def check_marker(self, marker: Marker) -> None:
        """Raise UsageError if a marker cannot be listed now.

        That is: the timeline has ended, there is one of that id, or there are `MAX_MARKERS`.
        """
        if self.ended:
            raise UsageError("the broadcast is over")
        if marker.id in self.markers:
            raise UsageError("there is a marker of that id already")
        if len(self.markers) >= MAX_MARKERS:
            raise UsageError(f"there are {MAX_MARKERS} markers already")

    def end(self) -> None:
        """Add EXT-X-ENDLIST, in a version of its own and without a hint; once.

        A version that had both ENDLIST and a new part would strand hls.js before that part, so the
        segmenter's last events go through `apply` first. A segment that nobody ended is completed
        with the parts it has. Everything that can be fetched now stays so until the timeline is
        dropped: 6.2.1 wants at least the playlist's duration.

        Spec: 6.2.1 ("the Playlist file MUST contain the EXT-X-ENDLIST tag"), 4.4.5.3.
        """
        if self.ended:
            return
        self._end_segment()
        self.ended = True
        self._step()

    def _step(self) -> None:
        self.version += 1
        self.changes = self._shelf.changes()

    def _check(self, events: Sequence[MediaEvent]) -> None:
        """Refuse events that do not continue the timeline, before any of them is applied."""
        if self.ended:
            raise UsageError("the timeline has ended")
        presentation = self._presentation
        inits = self._shelf.inits
        init_index = inits[-1].index if inits else None
        msn, index = self._next_msn, self._next_index
        duration_ns = self.open_segment.duration_ns if self.open_segment else 0
        for event in events:
            if isinstance(event, Part):
                if presentation is None or event.init_index != init_index:
                    raise UsageError(f"part of msn {event.msn} before its presentation or init")
                if event.index != index or (msn is not None and event.msn != msn):
                    raise UsageError(
                        f"part {event.msn}.{event.index} where {msn}.{index} was expected"
                    )
                if not event.duration_s > 0:
                    raise UsageError(f"part {event.msn}.{event.index} has no duration")
                msn, index = event.msn, index + 1
                duration_ns += round(event.duration_s * _NS)
            elif isinstance(event, SegmentEnd):
                if not index or event.msn != msn:
                    raise UsageError(f"end of segment {event.msn}, which is not open")
                if abs(event.duration_s * _NS - duration_ns) > 1_000_000:
                    raise UsageError(f"segment {event.msn} is not as long as its parts")
                msn, index, duration_ns = event.msn + 1, 0, 0
            elif isinstance(event, InitSegment):
                if index or (init_index is not None and event.index <= init_index):
                    raise UsageError(f"init {event.index} inside a segment or out of order")
                init_index = event.index
            else:
                if presentation is not None and event != presentation:
                    raise UsageError("a broadcast's target durations never change")
                presentation = event

    def _add_part(self, part: Part) -> None:
        segment = self.open_segment or self._open(part)
        name = self._part_name(part.msn, part.index)
        segment.add(part, name)
        self._clock_ns += round(part.duration_s * _NS)
        self.last_part = (part.msn, part.index)
        self._next_msn, self._next_index = part.msn, part.index + 1
        if not part.gap:
            self._shelf.add_part(name, part.data)

    def _open(self, part: Part) -> Segment:
        before = self.segments[-1] if self.segments else None
        brings_map = before is None or before.init_index != part.init_index
        # A new init section alone is none, although "any changes in encoding parameters ... MUST be
        # signalled by the use of EXT-X-DISCONTINUITY" (6.2.1). The segmenter says so by itself; and
        # where only a rung's encoder began anew, "Matching content in Variant Streams MUST have
        # matching Discontinuity Sequence Numbers" (6.2.4) counts for more: players align by them.
        self.open_segment = Segment.begin(
            part,
            name=f"seg-{self.token}-{part.msn}.m4s",
            map_uri=self._init_name(part.init_index),
            brings_map=brings_map,
            discontinuity=part.discontinuity,
            started_at_ns=self._started_at_ns,
        )
        self._shelf.open_segment(self.open_segment)
        if not (part.independent or part.gap):
            self.independent_segments = False
        return self.open_segment

    def _end_segment(self) -> None:
        segment, self.open_segment = self.open_segment, None
        if segment is None:  # `end` between two segments
            return
        self._next_msn, self._next_index = segment.msn + 1, 0
        segment.end()
        segment.clock_end_ns = self._clock_ns
        self._listed_ns += segment.duration_ns
        self.segments.append(segment)
        self.recent.append(segment)
        if segment.gap:  # its parts can be fetched as long as others, itself never
            return
        self.ready = True
        self._meter.add(
            size_bytes=segment.size_bytes,
            duration_ns=segment.duration_ns,
            target_duration_s=self.presentation.target_duration_s,
        )
        self._shelf.add_segment(segment)

    def _slide(self) -> None:
        """Take old part tags and old segments out of the playlist, as 6.2.2 allows."""
        target_ns = self.presentation.target_duration_s * _NS
        horizon_ns = self._clock_ns - PART_HISTORY_TARGETS * target_ns
        while self.recent and self.recent[0].clock_end_ns <= horizon_ns:
            segment = self.recent.popleft()
            segment.unlist_parts()
            self.settled.append(segment.text)
            segment.parts_until_ns = self._clock_ns + PART_GRACE_TARGETS * target_ns
            self._shelf.unlist_parts(segment)
        # What may go ended three target durations ago, so its parts have been unlisted above.
        while (
            len(self.segments) > self._settings.window_segments
            and self._listed_ns - self.segments[0].duration_ns >= MIN_WINDOW_TARGETS * target_ns
        ):
            self.settled.popleft()
            self._remove(self.segments.popleft())
        for segment in reversed(self.segments):
            if segment.appeared_ns:
                break
            segment.appeared_ns = self._clock_ns
        self._longest_playlist_ns = max(self._longest_playlist_ns, self._listed_ns)
        if self.markers:
            begins_ms = self.segments[0].epoch_ms
            self.markers = {
                name: marker for name, marker in self.markers.items() if marker.end_ms >= begins_ms
            }

    def _remove(self, segment: Segment) -> None:
        self._listed_ns -= segment.duration_ns
        self.discontinuity_sequence += segment.discontinuity
        # "until the time at which it first appeared in the Playlist plus the segment's Availability
        # Duration": its own duration plus that of the longest playlist containing it (6.2.2).
        segment.until_ns = max(
            segment.appeared_ns + segment.duration_ns + self._longest_playlist_ns,
            segment.parts_until_ns,
        )
        self._shelf.remove(segment)

    def _init_name(self, index: int) -> str:
        return f"init-{self.token}-{index}.mp4"

    def _part_name(self, msn: int, index: int) -> str:
        return f"part-{self.token}-{msn}.{index}.m4s"
