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

from hls_rules import RULES

US = 1_000_000


class RuleBroken(AssertionError):
    """A playlist breaks a rule of `hls_rules`."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text} ({RULES[rule]})")
        self.rule = rule


@dataclass(frozen=True)
class ListedPart:
    uri: str
    duration_us: int
    independent: bool


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
        """Everything a player may fetch now."""
        found = {part.uri for segment in self.all_segments for part in segment.parts}
        found |= {segment.map_uri for segment in self.all_segments}
        return found | {segment.uri for segment in self.segments if segment.uri is not None}

    @property
    def part_hold_back_us(self) -> int:
        return _us(self.server_control["PART-HOLD-BACK"], "PT-01")


@dataclass(frozen=True)
class Variant:
    uri: str
    attributes: dict[str, str]

    @property
    def bandwidth_bps(self) -> int:
        return int(self.attributes["BANDWIDTH"])

    @property
    def codecs(self) -> tuple[str, ...]:
        return tuple(self.attributes["CODECS"].split(","))


@dataclass(frozen=True)
class MultivariantPlaylist:
    variants: tuple[Variant, ...]
    independent_segments: bool


# One text.

_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^",\r\n]+)(?:,|$)')
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_HEADER = {
    *("EXT-X-VERSION", "EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE", "EXT-X-SERVER-CONTROL"),
    *("EXT-X-DISCONTINUITY-SEQUENCE", "EXT-X-PART-INF", "EXT-X-INDEPENDENT-SEGMENTS"),
}
_TRAILER = {"EXT-X-PRELOAD-HINT", "EXT-X-ENDLIST"}


def _require(condition: bool, rule: str, text: str) -> None:
    if not condition:
        raise RuleBroken(rule, text)


def _us(text: str, rule: str) -> int:
    match = re.fullmatch(r"(\d+)(?:\.(\d{1,6}))?", text)
    if match is None:
        raise RuleBroken(rule, f"{text!r} is not a decimal number of seconds")
    return int(match[1]) * US + int((match[2] or "").ljust(6, "0"))


def _attributes(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    end = 0
    for match in _ATTRIBUTE.finditer(text):
        _require(match.start() == end, "MP-01", f"torn attribute list {text!r}")
        _require(match[1] not in found, "MP-01", f"{match[1]} twice in {text!r}")
        found[match[1]] = match[2].strip('"')
        end = match.end()
    _require(bool(found) and end == len(text), "MP-01", f"torn attribute list {text!r}")
    return found


def _lines(data: bytes, rule: str) -> list[str]:
    text = data.decode("utf-8", "strict")
    _require(text.startswith("#EXTM3U\n"), rule, "the first line is not #EXTM3U")
    _require(text.endswith("\n"), "MP-17", "the last line is not terminated")
    lines = text[:-1].split("\n")
    for line in lines:
        _require(bool(line) and line.isprintable(), rule, f"empty or with controls: {line!r}")
    return lines[1:]


@dataclass
class _Scan:
    """The state of a pass over the lines of a media playlist."""

    tags: dict[str, str] = field(default_factory=dict)
    segments: list[ListedSegment] = field(default_factory=list)
    map_uri: str | None = None
    date: datetime | None = None
    discontinuities: int = 0
    discontinuity: bool = False
    extinf_us: int | None = None
    parts: list[ListedPart] = field(default_factory=list)

    def segment(self, uri: str | None) -> ListedSegment:
        msn = int(self.tags["EXT-X-MEDIA-SEQUENCE"]) + len(self.segments)
        if self.map_uri is None:
            raise RuleBroken("MP-11", f"segment {msn} has no EXT-X-MAP")
        if self.date is None:
            raise RuleBroken("MP-09", f"segment {msn} has no EXT-X-PROGRAM-DATE-TIME")
        parts_us = sum(part.duration_us for part in self.parts)
        duration_us = parts_us if self.extinf_us is None else self.extinf_us
        if self.parts:
            _require(parts_us == duration_us, "PT-05", f"parts of segment {msn} do not add up")
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
        )
        self.date, self.extinf_us, self.discontinuity, self.parts = None, None, False, []
        return made


def read_media_playlist(data: bytes) -> MediaPlaylist:
    """Parse one low-latency media playlist; raise `RuleBroken` if it is wrong in itself."""
    scan = _Scan()
    for line in _lines(data, "MP-01"):
        _require("EXT-X-ENDLIST" not in scan.tags, "MP-01", "a line after EXT-X-ENDLIST")
        if line.startswith("#"):
            name, _, value = line[1:].partition(":")
            _read_tag(scan, name, value)
        else:
            _require(scan.extinf_us is not None, "MP-17", f"{line} has no EXTINF")
            scan.segments.append(scan.segment(line))
    _require(scan.extinf_us is None, "MP-17", "a dangling EXTINF")
    opened = bool(scan.parts) or scan.date is not None or scan.discontinuity
    if opened:
        _require(bool(scan.parts), "MP-17", "tags of a segment that has no part")
    open_segment = scan.segment(None) if opened else None
    playlist = _assemble(data.decode(), scan, open_segment)
    _check_alone(playlist, int(scan.tags.get("EXT-X-VERSION", "1")))
    return playlist


def _read_tag(scan: _Scan, name: str, value: str) -> None:
    in_segment = bool(scan.parts) or scan.extinf_us is not None
    if name in _HEADER | _TRAILER:
        _require(name not in scan.tags, "MP-01", f"{name} twice")
        if name in _HEADER:
            started = scan.segments or in_segment or scan.date is not None
            _require(not started, "MP-01", f"{name} behind the first segment")
        scan.tags[name] = value
    elif name == "EXT-X-MAP":
        _require(not in_segment, "PT-14", "EXT-X-MAP behind a part of its segment")
        scan.map_uri = _attributes(value)["URI"]
    elif name == "EXT-X-DISCONTINUITY":
        _require(not in_segment, "PT-14", "EXT-X-DISCONTINUITY behind a part of its segment")
        _require(not scan.discontinuity, "MP-01", "EXT-X-DISCONTINUITY twice")
        scan.discontinuity = True
        scan.discontinuities += 1
    elif name == "EXT-X-PROGRAM-DATE-TIME":
        _require(not in_segment, "PT-14", "EXT-X-PROGRAM-DATE-TIME behind a part of its segment")
        _require(scan.date is None, "MP-01", "EXT-X-PROGRAM-DATE-TIME twice")
        _require(_DATE.fullmatch(value) is not None, "MP-09", f"date {value!r}")
        scan.date = datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    elif name == "EXT-X-PART":
        _require(scan.extinf_us is None, "MP-17", "EXT-X-PART between EXTINF and URI")
        found = _attributes(value)
        _require(found.get("INDEPENDENT", "YES") == "YES", "PT-06", value)
        scan.parts.append(
            ListedPart(found["URI"], _us(found["DURATION"], "PT-05"), "INDEPENDENT" in found)
        )
    elif name == "EXTINF":
        _require(scan.extinf_us is None, "MP-17", "EXTINF twice")
        duration, comma, title = value.partition(",")
        _require(comma == "," and not title, "MP-01", f"EXTINF:{value}")
        scan.extinf_us = _us(duration, "MP-13")
    elif name == "EXT-X-PLAYLIST-TYPE":
        raise RuleBroken("MP-12", "EXT-X-PLAYLIST-TYPE in a sliding playlist")
    else:
        raise RuleBroken("MP-01", f"unexpected tag {name}")


def _assemble(text: str, scan: _Scan, open_segment: ListedSegment | None) -> MediaPlaylist:
    tags = scan.tags
    for name in ("EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE"):
        _require(tags.get(name, "").isdecimal(), "MP-01", f"{name} is missing or not a number")
    for name in ("EXT-X-PART-INF", "EXT-X-SERVER-CONTROL"):
        _require(name in tags, "PT-01", f"{name} is missing")
    _require(tags.get("EXT-X-ENDLIST", "") == "", "MP-01", "EXT-X-ENDLIST with a value")
    hint = None
    if "EXT-X-PRELOAD-HINT" in tags:
        found = _attributes(tags["EXT-X-PRELOAD-HINT"])
        _require(found.get("TYPE") == "PART", "PH-05", "the hint is not of TYPE=PART")
        hint = found["URI"]
    return MediaPlaylist(
        text=text,
        target_duration_s=int(tags["EXT-X-TARGETDURATION"]),
        part_target_us=_us(_attributes(tags["EXT-X-PART-INF"])["PART-TARGET"], "PT-01"),
        server_control=_attributes(tags["EXT-X-SERVER-CONTROL"]),
        media_sequence=int(tags["EXT-X-MEDIA-SEQUENCE"]),
        discontinuity_sequence=int(tags.get("EXT-X-DISCONTINUITY-SEQUENCE", "0")),
        independent_segments="EXT-X-INDEPENDENT-SEGMENTS" in tags,
        segments=tuple(scan.segments),
        open_segment=open_segment,
        hint=hint,
        ended="EXT-X-ENDLIST" in tags,
    )


def _check_alone(playlist: MediaPlaylist, version: int) -> None:
    target_us = playlist.target_duration_s * US
    part_target_us = playlist.part_target_us
    control = playlist.server_control
    _require(version >= 6, "MP-01", f"EXT-X-VERSION {version} with EXT-X-MAP")
    _require(playlist.target_duration_s >= 1, "MP-01", "EXT-X-TARGETDURATION below 1")
    _require(bool(playlist.segments), "MP-01", "no segment is listed")
    _require(control.get("CAN-BLOCK-RELOAD") == "YES", "PT-01", "no CAN-BLOCK-RELOAD=YES")
    _require("PART-HOLD-BACK" in control, "PT-01", "no PART-HOLD-BACK")
    _require(playlist.part_hold_back_us >= 3 * part_target_us, "PT-02", "PART-HOLD-BACK too small")
    hold_back_us = _us(control.get("HOLD-BACK", str(3 * playlist.target_duration_s)), "PT-01")
    _require(hold_back_us >= 3 * target_us, "PT-01", "HOLD-BACK below 3 TD")
    for segment in playlist.segments:
        rounded_s = (segment.duration_us + US // 2) // US
        _require(
            rounded_s <= playlist.target_duration_s, "MP-02", f"segment {segment.msn} too long"
        )
    _check_parts(playlist)
    if playlist.ended:
        _require(playlist.hint is None, "PH-07", "a hint with EXT-X-ENDLIST")
        _require(playlist.open_segment is None, "EN-01", "the last segment is not complete")
    else:
        _require(playlist.hint is not None, "PH-01", "no preload hint")
    if playlist.independent_segments:
        for segment in playlist.all_segments:
            _require(
                all(part.independent for part in segment.parts[:1]),
                "MV-09",
                f"segment {segment.msn} is not independent",
            )


def _check_parts(playlist: MediaPlaylist) -> None:
    part_target_us, target_us = playlist.part_target_us, playlist.target_duration_s * US
    listed = [segment for segment in playlist.all_segments if segment.parts]
    seen: set[str] = set()
    distance_us = 0
    for segment in reversed(playlist.all_segments):
        if segment.parts:
            # Of the segment's last part; the whole segment goes at once, hence one TD of slack.
            _require(distance_us <= 3 * target_us, "PT-08", f"old parts of {segment.msn}")
        distance_us += segment.duration_us
    tail = playlist.all_segments[len(playlist.all_segments) - len(listed) :]
    _require(list(tail) == listed, "PT-08", "parts are listed in the middle only")
    span_us = sum(segment.duration_us for segment in listed)
    if len(listed) < len(playlist.all_segments):
        _require(span_us >= playlist.part_hold_back_us, "PT-09", "too few parts to start from")
    for segment in listed:
        for index, part in enumerate(segment.parts):
            where = f"part {segment.msn}.{index}"
            _require(part.uri not in seen, "PT-13", f"{part.uri} is listed twice")
            seen.add(part.uri)
            _require(part.duration_us <= part_target_us, "PT-03", f"{where} is too long")
            exempt = part.independent or index == len(segment.parts) - 1
            if not exempt:
                short = part.duration_us * 100 < part_target_us * 85
                _require(not short, "PT-04", f"{where} is too short")


def read_multivariant_playlist(data: bytes) -> MultivariantPlaylist:
    """Parse a multivariant playlist; raise `RuleBroken` if it is wrong in itself."""
    variants: list[Variant] = []
    pending: dict[str, str] | None = None
    independent = False
    for line in _lines(data, "MV-01"):
        name, _, value = line.partition(":")
        if name == "#EXT-X-STREAM-INF":
            _require(pending is None, "MV-02", "EXT-X-STREAM-INF without a URI")
            pending = _attributes(value)
            for attribute in ("BANDWIDTH", "AVERAGE-BANDWIDTH"):
                _require(pending.get(attribute, "").isdecimal(), "MV-02", f"no {attribute}")
            _require(bool(pending.get("CODECS")), "MV-03", "no CODECS")
            peak, average = int(pending["BANDWIDTH"]), int(pending["AVERAGE-BANDWIDTH"])
            _require(0 < average <= peak, "MV-07", "AVERAGE-BANDWIDTH above BANDWIDTH")
            if "avc1" in pending["CODECS"]:
                size = pending.get("RESOLUTION", "")
                _require(re.fullmatch(r"\d+x\d+", size) is not None, "MV-04", "no RESOLUTION")
            rate = pending.get("FRAME-RATE", "1.000")
            _require(re.fullmatch(r"\d+\.\d{3}", rate) is not None, "MV-05", "FRAME-RATE")
        elif name == "#EXT-X-INDEPENDENT-SEGMENTS":
            _require(not independent, "MV-01", "EXT-X-INDEPENDENT-SEGMENTS twice")
            independent = True
        elif name == "#EXT-X-VERSION":
            _require(value.isdecimal(), "MV-01", "EXT-X-VERSION")
        elif line.startswith("#"):
            raise RuleBroken("MV-02", f"unexpected tag {name}")
        elif pending is None:
            raise RuleBroken("MV-02", f"{line} without EXT-X-STREAM-INF")
        else:
            variants.append(Variant(line, pending))
            pending = None
    _require(pending is None and bool(variants), "MV-02", "EXT-X-STREAM-INF without a URI")
    return MultivariantPlaylist(tuple(variants), independent)


# Many texts.


class PlaylistHistory:
    """Judges the snapshots of one rendition against each other.

    Args:
        every_version: The caller adds every version that ever existed, so that rules about what one
            version may add (EN-06, PH-02, MP-08) can be judged too.
    """

    def __init__(self, *, every_version: bool = False) -> None:
        self._every_version = every_version
        self.last: MediaPlaylist | None = None
        self._segments: dict[int, ListedSegment] = {}
        self._parts: dict[int, tuple[ListedPart, ...]] = {}

    def add(self, data: bytes) -> MediaPlaylist:
        """Read the next snapshot and raise `RuleBroken` if it contradicts the ones before."""
        playlist = read_media_playlist(data)
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
            _require(same, "PT-13", f"listed parts of {segment.msn} changed or went")
            self._parts[segment.msn] = segment.parts
        known = self._segments.get(segment.msn)
        if known is None:
            self._segments[segment.msn] = segment
            return
        for name in ("map_uri", "date", "discontinuity_sequence", "discontinuity"):
            same = getattr(known, name) == getattr(segment, name)
            rule = "MP-05" if name == "discontinuity_sequence" else "MP-06"
            _require(same, rule, f"{name} of segment {segment.msn} changed")
        if known.uri is not None:
            same = (known.uri, known.duration_us) == (segment.uri, segment.duration_us)
            _require(same, "MP-06", f"segment {segment.msn} changed")
            late = bool(segment.parts) and not known.parts
            _require(not late, "PT-13", f"parts of segment {segment.msn} came back")
        self._segments[segment.msn] = segment

    def _check_step(self, before: MediaPlaylist, now: MediaPlaylist) -> None:
        if before.ended:
            _require(before.text == now.text, "MP-06", "the playlist changed after ENDLIST")
            return
        _require(now.target_duration_s == before.target_duration_s, "MP-03", "TARGETDURATION")
        _require(now.part_target_us == before.part_target_us, "MP-03", "PART-TARGET")
        _require(now.server_control == before.server_control, "MP-03", "SERVER-CONTROL")
        _require(now.media_sequence >= before.media_sequence, "MP-04", "MEDIA-SEQUENCE fell")
        sequence = now.discontinuity_sequence
        _require(sequence >= before.discontinuity_sequence, "MP-05", "DISCONTINUITY-SEQUENCE fell")
        _require(now.last_msn >= before.last_msn, "MP-04", "the newest segment went away")
        came_back = now.independent_segments and not before.independent_segments
        _require(not came_back, "MP-06", "EXT-X-INDEPENDENT-SEGMENTS came back")
        if now.media_sequence > before.media_sequence:
            left_us = sum(segment.duration_us for segment in now.segments)
            _require(left_us >= 3 * now.target_duration_s * US, "MP-07", "too little media left")
        self._check_hint(before, now)
        if self._every_version:
            self._check_version(before, now)

    def _check_hint(self, before: MediaPlaylist, now: MediaPlaylist) -> None:
        last_before, last_now = before.last_part, now.last_part
        if now.ended or last_before is None or last_now is None or last_now <= last_before:
            return
        listed = {part.uri for parts in self._parts.values() for part in parts}
        _require(before.hint in listed, "PH-02", f"{before.hint} was hinted and never came")

    def _check_version(self, before: MediaPlaylist, now: MediaPlaylist) -> None:
        if now.ended:
            grew = now.last_part != before.last_part
            _require(not grew, "EN-06", "ENDLIST came together with a new part")
        elif now.last_part != before.last_part:
            news = [
                part.uri
                for segment in now.all_segments
                for part in segment.parts
                if part.uri not in before.uris
            ]
            _require(news[:1] == [before.hint], "PH-02", f"hint {before.hint}, but {news[:1]}")

    def _check_dates(self, playlist: MediaPlaylist) -> None:
        """MP-10 as far as text tells it: within a timeline, dates advance by the EXTINFs."""
        for earlier, later in zip(playlist.all_segments, playlist.all_segments[1:], strict=False):
            advance = later.date - earlier.date
            _require(advance > timedelta(0), "MP-10", f"the date of {later.msn} is not later")
            if not later.discontinuity:
                off = abs(advance - timedelta(microseconds=earlier.duration_us))
                _require(off <= timedelta(milliseconds=2), "MP-10", f"date of {later.msn} is off")
