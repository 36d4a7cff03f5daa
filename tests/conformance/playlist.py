"""A lenient reader of media playlists: it notes what is wrong, and reads on.

Not a judge of history: `rules_playlist` compares versions. Equal segments of several versions are
one object (`known`), so that a version costs its references only.

Spec: draft-pantos-hls-rfc8216bis-22, section 4. All durations and dates are whole microseconds.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime

US = 1_000_000
MAX_LINES = 50_000
"""A DVR window of twelve hours has some 45,000; what is behind is not read."""

Fault = tuple[str, str]
"""(id of a rule, what is wrong)"""


@dataclass(frozen=True, slots=True)
class Part:
    """EXT-X-PART."""

    uri: str
    duration_us: int
    independent: bool = False
    gap: bool = False
    byterange: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """A media segment; the open one has no URI yet."""

    msn: int
    uri: str | None
    duration_us: int
    """EXTINF; of the open segment, its parts' sum."""
    map_uri: str | None
    date_us: int | None
    """EXT-X-PROGRAM-DATE-TIME of this very segment, since 1970."""
    discontinuity: bool
    discontinuity_sequence: int
    gap: bool
    parts: tuple[Part, ...]
    byterange: str = ""


@dataclass(frozen=True, slots=True)
class Hint:
    """EXT-X-PRELOAD-HINT."""

    kind: str
    uri: str
    start: int


@dataclass(frozen=True, slots=True)
class Report:
    """EXT-X-RENDITION-REPORT; None is "not said"."""

    uri: str
    last_msn: int | None
    last_part: int | None


@dataclass(frozen=True, slots=True)
class Playlist:
    """One version of a media playlist."""

    faults: tuple[Fault, ...]
    version: int
    target_s: int
    part_target_us: int
    """0 without EXT-X-PART-INF."""
    control: tuple[tuple[str, str], ...]
    """EXT-X-SERVER-CONTROL, sorted."""
    media_sequence: int
    discontinuity_sequence: int
    skipped: int | None
    segments: tuple[Segment, ...]
    """Complete ones."""
    open_segment: Segment | None
    hints: tuple[Hint, ...]
    reports: tuple[Report, ...]
    ended: bool
    kind: str
    """EXT-X-PLAYLIST-TYPE, or empty."""
    independent_segments: bool

    @property
    def all_segments(self) -> tuple[Segment, ...]:
        """With the open one."""
        return self.segments if self.open_segment is None else (*self.segments, self.open_segment)

    @property
    def last_msn(self) -> int:
        """Of the last complete segment."""
        return self.media_sequence + (self.skipped or 0) + len(self.segments) - 1

    @property
    def last_part(self) -> tuple[int, int] | None:
        """(msn, index)."""
        for segment in reversed(self.all_segments):
            if segment.parts:
                return segment.msn, len(segment.parts) - 1
        return None

    @property
    def next_part(self) -> tuple[int, int]:
        """What a player asks for next."""
        if self.open_segment is not None:
            return self.open_segment.msn, len(self.open_segment.parts)
        return self.last_msn + 1, 0

    @property
    def duration_us(self) -> int:
        """Of the complete segments."""
        return sum(segment.duration_us for segment in self.segments)

    def control_us(self, name: str) -> int | None:
        """A duration of EXT-X-SERVER-CONTROL."""
        text = dict(self.control).get(name)
        return None if text is None else micros(text)

    def has(self, msn: int, part: int | None) -> bool:
        """It answers a blocking request for this segment or part."""
        if part is None:
            return self.last_msn >= msn
        return (self.last_part or (self.last_msn, part)) >= (msn, part)

    def dates(self) -> dict[int, int]:
        """The date of each segment by msn, counted on where it is not said."""
        found: dict[int, int] = {}
        date: int | None = None
        for segment in self.all_segments:
            if segment.date_us is not None or segment.discontinuity:
                date = segment.date_us
            if date is not None:
                found[segment.msn] = date
                date += segment.duration_us
        return found


_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",]+)(?:,|$)')
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3,9})?(Z|[+-]\d\d:?\d\d)")
_ONCE = {
    *("EXT-X-VERSION", "EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE", "EXT-X-SERVER-CONTROL"),
    *("EXT-X-DISCONTINUITY-SEQUENCE", "EXT-X-PART-INF", "EXT-X-INDEPENDENT-SEGMENTS"),
    *("EXT-X-PLAYLIST-TYPE", "EXT-X-I-FRAMES-ONLY", "EXT-X-ENDLIST", "EXT-X-SKIP", "EXT-X-START"),
}
_OF_SEGMENT = {
    *("EXT-X-DISCONTINUITY", "EXT-X-MAP", "EXT-X-KEY", "EXT-X-PROGRAM-DATE-TIME", "EXT-X-GAP"),
    *("EXT-X-BYTERANGE", "EXT-X-PART", "EXTINF", "EXT-X-BITRATE"),
}
_BEFORE_PARTS = {"EXT-X-DISCONTINUITY", "EXT-X-MAP", "EXT-X-KEY", "EXT-X-PROGRAM-DATE-TIME"}


def micros(text: str) -> int:
    """A decimal number of seconds; 0 for what is none."""
    try:
        return round(float(text) * US) if re.fullmatch(r"\d{1,12}(\.\d{1,18})?", text) else 0
    except (ValueError, OverflowError):
        return 0


def attributes(text: str) -> dict[str, str]:
    """An attribute list without quotes; raises `ValueError` for a torn one or a name twice."""
    found: dict[str, str] = {}
    end = 0
    for match in _ATTRIBUTE.finditer(text):
        if match.start() != end or match[1] in found:
            break
        found[match[1]] = match[2].strip('"')
        end = match.end()
    if end != len(text) or not found:
        raise ValueError(f"attribute list {text[:120]!r}")
    return found


def lines_of(body: bytes, rule: str) -> tuple[list[str], list[Fault]]:
    """Lines behind #EXTM3U, blank ones left out."""
    faults: list[Fault] = []
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        text = body.decode("utf-8", "replace")
        faults.append((rule, "is no UTF-8"))
    if not re.match("#EXTM3U\r?\n", text):
        faults.append((rule, f"does not begin with #EXTM3U: {text[:20]!r}"))
    if not text.endswith("\n"):
        faults.append(("MP-17", f"does not end with a newline: {text[-40:]!r}"))
    lines = [line for line in text.replace("\r\n", "\n").split("\n")[1:] if line]
    if len(lines) > MAX_LINES:
        faults.append((rule, f"has {len(lines)} lines; {MAX_LINES} were read"))
    if not all(line.isprintable() for line in lines):
        faults.append((rule, "has control characters"))
    return lines[:MAX_LINES], faults


@dataclass
class _Scan:
    """State of the pass over the lines."""

    faults: list[Fault]
    known: dict[Segment, Segment]
    tags: dict[str, str] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)
    pending: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    hints: list[Hint] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    map_uri: str | None = None
    discontinuities: int = 0

    def number(self, name: str, default: int = 0) -> int:
        text = self.tags.get(name)
        if text is None:
            return default
        if not re.fullmatch(r"\d{1,19}", text):
            self.faults.append(("MP-01", f"{name}:{text[:40]}"))
            return default
        return int(text)

    def close(self, uri: str | None, skipped: int) -> Segment:
        msn = self.number("EXT-X-MEDIA-SEQUENCE") + skipped + len(self.segments)
        if self.map_uri is None:
            self.faults.append(("MP-11", f"segment {msn} has no EXT-X-MAP"))
        duration_us = sum(part.duration_us for part in self.parts)
        if uri is not None:
            duration_us = micros(self.pending.get("EXTINF", "").partition(",")[0])
        first = self.number("EXT-X-DISCONTINUITY-SEQUENCE")
        made = Segment(
            msn=msn,
            uri=uri,
            duration_us=duration_us,
            map_uri=self.map_uri,
            date_us=self._date(),
            discontinuity="EXT-X-DISCONTINUITY" in self.pending,
            discontinuity_sequence=first + self.discontinuities,
            gap="EXT-X-GAP" in self.pending,
            parts=tuple(self.parts),
            byterange=self.pending.get("EXT-X-BYTERANGE", ""),
        )
        self.pending, self.parts = {}, []
        return self.known.setdefault(made, made)

    def _date(self) -> int | None:
        text = self.pending.get("EXT-X-PROGRAM-DATE-TIME")
        if text is None:
            return None
        match = _DATE.fullmatch(text)
        if match is None or match[1] is None:
            self.faults.append(("MP-09", f"date {text[:40]!r}: no milliseconds or no zone"))
            if match is None:
                return None
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            self.faults.append(("MP-09", f"date {text[:40]!r}"))
            return None
        return int(at.timestamp()) * US + at.microsecond


def parse_media_playlist(body: bytes, known: dict[Segment, Segment] | None = None) -> Playlist:
    """Read one version of a media playlist, whatever it is. Never raises.

    Args:
        body: The inflated response.
        known: Segments of versions before; new ones are added.
    """
    lines, faults = lines_of(body, "MP-01")
    scan = _Scan(faults, {} if known is None else known)
    skipped: int | None = None
    for line in lines:
        if not line.startswith("#"):
            if "EXTINF" not in scan.pending:
                faults.append(("MP-17", f"{line[:80]} has no EXTINF"))
            scan.segments.append(scan.close(line, skipped or 0))
        elif line.startswith("#EXT"):
            name, _, value = line[1:].partition(":")
            try:
                _read_tag(scan, name, value)
            except (ValueError, KeyError) as error:
                faults.append(("MP-01", f"{name}: {error}"))
            if name == "EXT-X-SKIP" and skipped is None:
                skipped = _skipped(value)
    if "EXTINF" in scan.pending:
        faults.append(("MP-17", "a dangling EXTINF at the end"))
    if scan.pending and not scan.parts:
        faults.append(("MP-17", f"dangling {sorted(scan.pending)} at the end"))
    opened = scan.close(None, skipped or 0) if scan.parts else None
    return _assemble(scan, skipped, opened)


def _skipped(value: str) -> int:
    try:
        return min(int(attributes(value)["SKIPPED-SEGMENTS"]), 1 << 40)
    except (ValueError, KeyError):
        return 0


def _read_tag(scan: _Scan, name: str, value: str) -> None:
    if name in _ONCE:
        if name in scan.tags:
            scan.faults.append(("MP-01", f"{name} twice"))
        late = scan.segments or scan.parts or scan.pending
        if name in ("EXT-X-MEDIA-SEQUENCE", "EXT-X-DISCONTINUITY-SEQUENCE") and late:
            scan.faults.append(("MP-01", f"{name} behind the first segment"))
        scan.tags[name] = value
        if name == "EXT-X-SERVER-CONTROL" or name == "EXT-X-PART-INF":
            attributes(value)
        if name == "EXT-X-SKIP" and not attributes(value)["SKIPPED-SEGMENTS"].isdecimal():
            raise ValueError(value)
    if name in _BEFORE_PARTS and scan.parts:
        scan.faults.append(("PT-14", f"{name} behind a part of its segment"))
    if name in _OF_SEGMENT - {"EXT-X-PART", "EXT-X-MAP", "EXT-X-KEY"}:
        if name in scan.pending:
            scan.faults.append(("MP-17", f"{name} twice in one segment"))
        if name == "EXT-X-DISCONTINUITY":
            scan.discontinuities += 1
        scan.pending[name] = value
    if name == "EXTINF" and micros(value.partition(",")[0]) == 0:
        scan.faults.append(("MP-01", f"EXTINF:{value[:40]}"))
    elif name == "EXT-X-MAP":
        scan.map_uri = attributes(value)["URI"]
    elif name == "EXT-X-PART":
        found = attributes(value)
        scan.parts.append(
            Part(
                uri=found["URI"],
                duration_us=micros(found["DURATION"]),
                independent=found.get("INDEPENDENT") == "YES",
                gap=found.get("GAP") == "YES",
                byterange=found.get("BYTERANGE", ""),
            )
        )
    elif name == "EXT-X-PRELOAD-HINT":
        found = attributes(value)
        start = int(found.get("BYTERANGE-START", "0"))
        scan.hints.append(Hint(found["TYPE"], found["URI"], start))
    elif name == "EXT-X-RENDITION-REPORT":
        found = attributes(value)
        msn, part = (
            int(found[key]) if found.get(key, "").isdecimal() else None
            for key in ("LAST-MSN", "LAST-PART")
        )
        scan.reports.append(Report(found["URI"], msn, part))
    elif name == "EXT-X-DATERANGE":
        found = attributes(value)
        if "ID" not in found:
            raise ValueError("no ID")
    elif name in ("EXT-X-STREAM-INF", "EXT-X-MEDIA"):
        scan.faults.append(("MP-01", f"{name} in a media playlist"))


def _assemble(scan: _Scan, skipped: int | None, opened: Segment | None) -> Playlist:
    tags, faults = scan.tags, scan.faults
    target_s = scan.number("EXT-X-TARGETDURATION")
    if target_s < 1:
        faults.append(("MP-01", f"EXT-X-TARGETDURATION:{tags.get('EXT-X-TARGETDURATION')}"))
    version = scan.number("EXT-X-VERSION", 1)
    needed = 9 if skipped is not None else 6 if scan.map_uri is not None else 1
    if version < needed:
        faults.append(("MP-01", f"EXT-X-VERSION {version}, {needed} is needed"))
    control: dict[str, str] = {}
    part_target = ""
    try:
        control = attributes(tags.get("EXT-X-SERVER-CONTROL", "NONE=NO"))
        part_target = attributes(tags.get("EXT-X-PART-INF", "PART-TARGET=0"))["PART-TARGET"]
    except (ValueError, KeyError):
        pass  # noted when the tag was read, or PT-01 says it
    return Playlist(
        faults=tuple(faults),
        version=version,
        target_s=target_s,
        part_target_us=micros(part_target),
        control=tuple(sorted(control.items())) if "NONE" not in control else (),
        media_sequence=scan.number("EXT-X-MEDIA-SEQUENCE"),
        discontinuity_sequence=scan.number("EXT-X-DISCONTINUITY-SEQUENCE"),
        skipped=skipped,
        segments=tuple(scan.segments),
        open_segment=opened,
        hints=tuple(scan.hints),
        reports=tuple(scan.reports),
        ended="EXT-X-ENDLIST" in tags,
        kind=tags.get("EXT-X-PLAYLIST-TYPE", ""),
        independent_segments="EXT-X-INDEPENDENT-SEGMENTS" in tags,
    )
