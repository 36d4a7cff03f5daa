"""A strict reader of live Low-Latency HLS playlists, and a judge over their history.

Written from draft-pantos-hls-rfc8216bis-22; it shares no code with the package `hls`. Rules have
short names, which `hls_rules` explains, each with its section. `read_media_playlist` and
`read_multivariant_playlist` parse one text and raise `RuleBroken` at the first thing that is wrong
in itself. `PlaylistHistory.add` takes one rendition's snapshots in the order they were seen and
raises `RuleBroken` when a later one contradicts an earlier one. Snapshots may be missing (a player
polls too slowly), unless the history is told that it sees every version.

All times are whole microseconds, so sums and comparisons are exact.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from multivariant_reader import MultivariantPlaylist, Variant, read_multivariant_playlist
from playlist_text import US, RuleBroken, attributes, decimal_us, lines_of, require

__all__ = [
    "US",
    "ListedPart",
    "ListedSegment",
    "MediaPlaylist",
    "MultivariantPlaylist",
    "PlaylistHistory",
    "RuleBroken",
    "Variant",
    "read_media_playlist",
    "read_multivariant_playlist",
]


@dataclass(frozen=True)
class ListedPart:
    uri: str
    duration_us: int
    independent: bool
    gap: bool = False
    """There is no media behind its URI."""


@dataclass(frozen=True)
class ListedSegment:
    msn: int
    uri: str | None
    """None while the segment is open."""
    duration_us: int
    """EXTINF, or the sum of the parts so far."""
    map_uri: str
    date: datetime
    discontinuity_sequence: int
    discontinuity: bool
    parts: tuple[ListedPart, ...]
    """Empty once its parts are no longer listed."""
    gap: bool = False
    """It cannot be fetched: some of its media, or all of it, is missing."""


@dataclass(frozen=True)
class Report:
    """EXT-X-RENDITION-REPORT: how far another rendition is."""

    uri: str
    last_msn: int
    last_part: int


@dataclass(frozen=True)
class MediaPlaylist:
    text: str
    target_duration_s: int
    part_target_us: int
    server_control: dict[str, str]
    media_sequence: int
    discontinuity_sequence: int
    independent_segments: bool
    segments: tuple[ListedSegment, ...]
    """Complete ones."""
    open_segment: ListedSegment | None
    hint: str | None
    ended: bool
    reports: tuple[Report, ...] = ()
    dateranges: tuple[str, ...] = ()
    """IDs."""

    @property
    def last_msn(self) -> int:
        return self.media_sequence + len(self.segments) - 1

    @property
    def all_segments(self) -> tuple[ListedSegment, ...]:
        return self.segments if self.open_segment is None else (*self.segments, self.open_segment)

    @property
    def last_part(self) -> tuple[int, int] | None:
        """(msn, index) of the last EXT-X-PART."""
        for segment in reversed(self.all_segments):
            if segment.parts:
                return segment.msn, len(segment.parts) - 1
        return None

    @property
    def uris(self) -> set[str]:
        """Everything a player may fetch now; gaps are not among it."""
        segments = self.all_segments
        found = {part.uri for segment in segments for part in segment.parts if not part.gap}
        found |= {segment.map_uri for segment in segments}
        whole = (segment for segment in segments if not segment.gap)
        return found | {segment.uri for segment in whole if segment.uri is not None}

    @property
    def part_hold_back_us(self) -> int:
        return decimal_us(self.server_control["PART-HOLD-BACK"], "PT-01")


# One text.

_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_HEADER = {
    *("EXT-X-VERSION", "EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE", "EXT-X-SERVER-CONTROL"),
    *("EXT-X-DISCONTINUITY-SEQUENCE", "EXT-X-PART-INF", "EXT-X-INDEPENDENT-SEGMENTS"),
}
_TRAILER = {"EXT-X-PRELOAD-HINT", "EXT-X-ENDLIST"}
_FLAGS = {"EXT-X-DISCONTINUITY", "EXT-X-GAP"}


@dataclass
class _Scan:
    """The state of a pass over the lines of a media playlist."""

    tags: dict[str, str] = field(default_factory=dict)
    segments: list[ListedSegment] = field(default_factory=list)
    map_uri: str | None = None
    date: datetime | None = None
    discontinuities: int = 0
    discontinuity: bool = False
    gap: bool = False
    extinf_us: int | None = None
    parts: list[ListedPart] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    dateranges: list[str] = field(default_factory=list)

    def segment(self, uri: str | None) -> ListedSegment:
        msn = int(self.tags["EXT-X-MEDIA-SEQUENCE"]) + len(self.segments)
        if self.map_uri is None:
            raise RuleBroken("MP-11", f"segment {msn} has no EXT-X-MAP")
        if self.date is None:
            raise RuleBroken("MP-09", f"segment {msn} has no EXT-X-PROGRAM-DATE-TIME")
        parts_us = sum(part.duration_us for part in self.parts)
        duration_us = parts_us if self.extinf_us is None else self.extinf_us
        if self.parts:
            require(parts_us == duration_us, "PT-05", f"parts of segment {msn} do not add up")
        first = int(self.tags.get("EXT-X-DISCONTINUITY-SEQUENCE", "0"))
        made = ListedSegment(
            msn=msn,
            uri=uri,
            duration_us=duration_us,
            map_uri=self.map_uri,
            date=self.date,
            discontinuity_sequence=first + self.discontinuities,
            discontinuity=self.discontinuity,
            parts=tuple(self.parts),
            gap=self.gap,
        )
        self.date, self.extinf_us, self.discontinuity, self.parts = None, None, False, []
        self.gap = False
        return made


def read_media_playlist(data: bytes, *, constant_rate: bool = True) -> MediaPlaylist:
    """Parse one low-latency media playlist; raise `RuleBroken` if it is wrong in itself.

    Args:
        data: The whole response.
        constant_rate: The source has a constant frame rate, so that no part need be short (PT-04).
    """
    scan = _Scan()
    for line in lines_of(data, "MP-01"):
        require("EXT-X-ENDLIST" not in scan.tags, "MP-01", "a line after EXT-X-ENDLIST")
        if line.startswith("#"):
            name, _, value = line[1:].partition(":")
            _read_tag(scan, name, value)
        else:
            require(scan.extinf_us is not None, "MP-17", f"{line} has no EXTINF")
            scan.segments.append(scan.segment(line))
    require(scan.extinf_us is None, "MP-17", "a dangling EXTINF")
    opened = bool(scan.parts) or scan.date is not None or scan.discontinuity or scan.gap
    if opened:
        require(bool(scan.parts), "MP-17", "tags of a segment that has no part")
    open_segment = scan.segment(None) if opened else None
    playlist = _assemble(data.decode(), scan, open_segment)
    _check_alone(playlist, int(scan.tags.get("EXT-X-VERSION", "1")))
    _check_parts(playlist, constant_rate=constant_rate)
    _check_gaps(playlist)
    return playlist


def _read_tag(scan: _Scan, name: str, value: str) -> None:
    in_segment = bool(scan.parts) or scan.extinf_us is not None
    if name in _HEADER | _TRAILER:
        require(name not in scan.tags, "MP-01", f"{name} twice")
        if name in _HEADER:
            started = scan.segments or in_segment or scan.date is not None
            require(not started, "MP-01", f"{name} behind the first segment")
        scan.tags[name] = value
    elif name == "EXT-X-MAP":
        require(not in_segment, "PT-14", "EXT-X-MAP behind a part of its segment")
        scan.map_uri = attributes(value)["URI"]
    elif name in _FLAGS and value:
        raise RuleBroken("MP-01", f"{name} with a value")
    elif name == "EXT-X-GAP":
        require(not scan.gap, "MP-01", "EXT-X-GAP twice")
        scan.gap = True
    elif name == "EXT-X-DISCONTINUITY":
        require(not in_segment, "PT-14", "EXT-X-DISCONTINUITY behind a part of its segment")
        require(not scan.discontinuity, "MP-01", "EXT-X-DISCONTINUITY twice")
        scan.discontinuity = True
        scan.discontinuities += 1
    elif name == "EXT-X-PROGRAM-DATE-TIME":
        require(not in_segment, "PT-14", "EXT-X-PROGRAM-DATE-TIME behind a part of its segment")
        require(scan.date is None, "MP-01", "EXT-X-PROGRAM-DATE-TIME twice")
        require(_DATE.fullmatch(value) is not None, "MP-09", f"date {value!r}")
        scan.date = datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    elif name == "EXT-X-PART":
        require(scan.extinf_us is None, "MP-17", "EXT-X-PART between EXTINF and URI")
        found = attributes(value)
        require(found.get("INDEPENDENT", "YES") == "YES", "PT-06", value)
        require(found.get("GAP", "YES") == "YES", "EN-04", value)
        scan.parts.append(
            ListedPart(
                uri=found["URI"],
                duration_us=decimal_us(found["DURATION"], "PT-05"),
                independent="INDEPENDENT" in found,
                gap="GAP" in found,
            )
        )
    elif name == "EXT-X-RENDITION-REPORT":
        found = attributes(value)
        known = found.get("LAST-MSN", "").isdecimal() and found.get("LAST-PART", "").isdecimal()
        require("URI" in found and known, "RR-02", value)
        scan.reports.append(Report(found["URI"], int(found["LAST-MSN"]), int(found["LAST-PART"])))
    elif name == "EXT-X-DATERANGE":
        found = attributes(value)
        require(
            "ID" in found and _DATE.fullmatch(found.get("START-DATE", "")) is not None,
            "DR-01",
            value,
        )
        require(found["ID"] not in scan.dateranges, "DR-01", f"{found['ID']} twice")
        scan.dateranges.append(found["ID"])
    elif name == "EXTINF":
        require(scan.extinf_us is None, "MP-17", "EXTINF twice")
        duration, comma, title = value.partition(",")
        require(comma == "," and not title, "MP-01", f"EXTINF:{value}")
        scan.extinf_us = decimal_us(duration, "MP-13")
    elif name == "EXT-X-PLAYLIST-TYPE":
        raise RuleBroken("MP-12", "EXT-X-PLAYLIST-TYPE in a sliding playlist")
    else:
        raise RuleBroken("MP-01", f"unexpected tag {name}")


def _assemble(text: str, scan: _Scan, open_segment: ListedSegment | None) -> MediaPlaylist:
    tags = scan.tags
    for name in ("EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE"):
        require(tags.get(name, "").isdecimal(), "MP-01", f"{name} is missing or not a number")
    for name in ("EXT-X-PART-INF", "EXT-X-SERVER-CONTROL"):
        require(name in tags, "PT-01", f"{name} is missing")
    require(tags.get("EXT-X-ENDLIST", "") == "", "MP-01", "EXT-X-ENDLIST with a value")
    hint = None
    if "EXT-X-PRELOAD-HINT" in tags:
        found = attributes(tags["EXT-X-PRELOAD-HINT"])
        require(found.get("TYPE") == "PART", "PH-05", "the hint is not of TYPE=PART")
        hint = found["URI"]
    return MediaPlaylist(
        text=text,
        target_duration_s=int(tags["EXT-X-TARGETDURATION"]),
        part_target_us=decimal_us(attributes(tags["EXT-X-PART-INF"])["PART-TARGET"], "PT-01"),
        server_control=attributes(tags["EXT-X-SERVER-CONTROL"]),
        media_sequence=int(tags["EXT-X-MEDIA-SEQUENCE"]),
        discontinuity_sequence=int(tags.get("EXT-X-DISCONTINUITY-SEQUENCE", "0")),
        independent_segments="EXT-X-INDEPENDENT-SEGMENTS" in tags,
        segments=tuple(scan.segments),
        open_segment=open_segment,
        hint=hint,
        ended="EXT-X-ENDLIST" in tags,
        reports=tuple(scan.reports),
        dateranges=tuple(scan.dateranges),
    )


def _check_alone(playlist: MediaPlaylist, version: int) -> None:
    target_us = playlist.target_duration_s * US
    part_target_us = playlist.part_target_us
    control = playlist.server_control
    require(version >= 6, "MP-01", f"EXT-X-VERSION {version} with EXT-X-MAP")
    require(playlist.target_duration_s >= 1, "MP-01", "EXT-X-TARGETDURATION below 1")
    require(bool(playlist.segments), "MP-01", "no segment is listed")
    require(control.get("CAN-BLOCK-RELOAD") == "YES", "PT-01", "no CAN-BLOCK-RELOAD=YES")
    require("PART-HOLD-BACK" in control, "PT-01", "no PART-HOLD-BACK")
    require(playlist.part_hold_back_us >= 3 * part_target_us, "PT-02", "PART-HOLD-BACK too small")
    hold_back_us = decimal_us(
        control.get("HOLD-BACK", str(3 * playlist.target_duration_s)), "PT-01"
    )
    require(hold_back_us >= 3 * target_us, "PT-01", "HOLD-BACK below 3 TD")
    skip_us = decimal_us(
        control.get("CAN-SKIP-UNTIL", str(6 * playlist.target_duration_s)), "PT-01"
    )
    require(skip_us >= 6 * target_us, "PT-01", "CAN-SKIP-UNTIL below 6 TD")
    for segment in playlist.segments:
        rounded_s = (segment.duration_us + US // 2) // US
        require(rounded_s <= playlist.target_duration_s, "MP-02", f"segment {segment.msn} too long")
    if playlist.ended:
        require(playlist.hint is None, "PH-07", "a hint with EXT-X-ENDLIST")
        require(playlist.open_segment is None, "EN-01", "the last segment is not complete")
    else:
        require(playlist.hint is not None, "PH-01", "no preload hint")
    if playlist.independent_segments:
        for segment in playlist.all_segments:
            require(
                all(part.independent or part.gap for part in segment.parts[:1]),
                "MV-09",
                f"segment {segment.msn} is not independent",
            )


def _check_parts(playlist: MediaPlaylist, *, constant_rate: bool) -> None:
    part_target_us, target_us = playlist.part_target_us, playlist.target_duration_s * US
    listed = [segment for segment in playlist.all_segments if segment.parts]
    seen: set[str] = set()
    distance_us = 0
    for segment in reversed(playlist.all_segments):
        if segment.parts:
            # Of the segment's last part; the whole segment goes at once, hence one TD of slack.
            require(distance_us <= 3 * target_us, "PT-08", f"old parts of {segment.msn}")
        distance_us += segment.duration_us
    tail = playlist.all_segments[len(playlist.all_segments) - len(listed) :]
    require(list(tail) == listed, "PT-08", "parts are listed in the middle only")
    span_us = sum(segment.duration_us for segment in listed)
    if len(listed) < len(playlist.all_segments):
        require(span_us >= playlist.part_hold_back_us, "PT-09", "too few parts to start from")
    for segment in listed:
        for index, part in enumerate(segment.parts):
            where = f"part {segment.msn}.{index}"
            require(part.uri not in seen, "PT-13", f"{part.uri} is listed twice")
            seen.add(part.uri)
            require(part.duration_us <= part_target_us, "PT-03", f"{where} is too long")
            follower = segment.parts[index + 1 : index + 2]
            exempt = part.independent or part.gap or not follower or follower[0].gap
            if constant_rate and not exempt:
                short = part.duration_us * 100 < part_target_us * 85
                require(not short, "PT-04", f"{where} is too short")


def _check_gaps(playlist: MediaPlaylist) -> None:
    for segment in playlist.all_segments:
        missing = [part for part in segment.parts if part.gap]
        require(
            not any(part.independent for part in missing),
            "EN-04",
            f"a gap in {segment.msn} is INDEPENDENT",
        )
        if segment.uri is not None and segment.parts:
            require(segment.gap == bool(missing), "EN-04", f"segment {segment.msn} and its gaps")


# Many texts.


class PlaylistHistory:
    """Judges the snapshots of one rendition against each other.

    Args:
        every_version: The caller adds every version that ever existed, so that rules about what one
            version may add (EN-06, PH-02, MP-08) can be judged too.
        constant_rate: As in `read_media_playlist`.
    """

    def __init__(self, *, every_version: bool = False, constant_rate: bool = True) -> None:
        self._every_version = every_version
        self._constant_rate = constant_rate
        self.last: MediaPlaylist | None = None
        self._segments: dict[int, ListedSegment] = {}
        self._parts: dict[int, tuple[ListedPart, ...]] = {}

    def add(self, data: bytes) -> MediaPlaylist:
        """Read the next snapshot and raise `RuleBroken` if it contradicts the ones before."""
        playlist = read_media_playlist(data, constant_rate=self._constant_rate)
        before, self.last = self.last, playlist
        for segment in playlist.all_segments:
            self._check_segment(segment)
        if before is not None:
            self._check_step(before, playlist)
        self._check_dates(playlist)
        return playlist

    def _check_segment(self, segment: ListedSegment) -> None:
        known_parts = self._parts.get(segment.msn, ())
        if segment.parts:
            same = segment.parts[: len(known_parts)] == known_parts
            require(same, "PT-13", f"listed parts of {segment.msn} changed or went")
            self._parts[segment.msn] = segment.parts
        known = self._segments.get(segment.msn)
        if known is None:
            self._segments[segment.msn] = segment
            return
        for name in ("map_uri", "date", "discontinuity_sequence", "discontinuity"):
            same = getattr(known, name) == getattr(segment, name)
            rule = "MP-05" if name == "discontinuity_sequence" else "MP-06"
            require(same, rule, f"{name} of segment {segment.msn} changed")
        if known.uri is not None:
            same = (known.uri, known.duration_us, known.gap) == (
                segment.uri,
                segment.duration_us,
                segment.gap,
            )
            require(same, "MP-06", f"segment {segment.msn} changed")
            late = bool(segment.parts) and not known.parts
            require(not late, "PT-13", f"parts of segment {segment.msn} came back")
        self._segments[segment.msn] = segment

    def _check_step(self, before: MediaPlaylist, now: MediaPlaylist) -> None:
        if before.ended:
            require(before.text == now.text, "MP-06", "the playlist changed after ENDLIST")
            return
        require(now.target_duration_s == before.target_duration_s, "MP-03", "TARGETDURATION")
        require(now.part_target_us == before.part_target_us, "MP-03", "PART-TARGET")
        require(now.server_control == before.server_control, "MP-03", "SERVER-CONTROL")
        require(now.media_sequence >= before.media_sequence, "MP-04", "MEDIA-SEQUENCE fell")
        sequence = now.discontinuity_sequence
        require(sequence >= before.discontinuity_sequence, "MP-05", "DISCONTINUITY-SEQUENCE fell")
        require(now.last_msn >= before.last_msn, "MP-04", "the newest segment went away")
        came_back = now.independent_segments and not before.independent_segments
        require(not came_back, "MP-06", "EXT-X-INDEPENDENT-SEGMENTS came back")
        if now.media_sequence > before.media_sequence:
            left_us = sum(segment.duration_us for segment in now.segments)
            require(left_us >= 3 * now.target_duration_s * US, "MP-07", "too little media left")
        self._check_hint(before, now)
        if self._every_version:
            self._check_version(before, now)

    def _check_hint(self, before: MediaPlaylist, now: MediaPlaylist) -> None:
        last_before, last_now = before.last_part, now.last_part
        if now.ended or last_before is None or last_now is None or last_now <= last_before:
            return
        listed = {part.uri for parts in self._parts.values() for part in parts}
        require(before.hint in listed, "PH-02", f"{before.hint} was hinted and never came")

    def _check_version(self, before: MediaPlaylist, now: MediaPlaylist) -> None:
        if now.ended:
            grew = now.last_part != before.last_part
            require(not grew, "EN-06", "ENDLIST came together with a new part")
        elif now.last_part != before.last_part:
            seen = {part.uri for segment in before.all_segments for part in segment.parts}
            news = [
                part.uri
                for segment in now.all_segments
                for part in segment.parts
                if part.uri not in seen
            ]
            require(news[:1] == [before.hint], "PH-02", f"hint {before.hint}, but {news[:1]}")

    def _check_dates(self, playlist: MediaPlaylist) -> None:
        """MP-10 as far as text tells it: within a timeline, dates advance by the EXTINFs."""
        for earlier, later in zip(playlist.all_segments, playlist.all_segments[1:], strict=False):
            advance = later.date - earlier.date
            require(advance > timedelta(0), "MP-10", f"the date of {later.msn} is not later")
            if not later.discontinuity:
                off = abs(advance - timedelta(microseconds=earlier.duration_us))
                require(off <= timedelta(milliseconds=2), "MP-10", f"date of {later.msn} is off")
