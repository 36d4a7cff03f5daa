"""One segment of a timeline: its bytes, and its lines in the playlist.

A segment writes its own lines, each once: the tags before its first part when it opens, a line for
each part, EXTINF and URI when it ends. `text` is always exactly what the playlist lists of it now,
so rendering a playlist is joining the texts of its segments. Which segment is listed, and how long
its parts are, is the `timeline`'s decision.

The parts of a segment leave the playlist together, never one by one: players number parts by
counting tags (hls.js does), so a segment that had lost its first tag would have its other parts
misplaced.

Numbers are exact. Durations arrive as float seconds and are kept as whole nanoseconds; the text has
whole microseconds, and the text of a duration is the difference of two rounded positions, never a
rounded difference. So the DURATIONs of a segment add up to its EXTINF to the last digit, the
EXTINFs of a continuous timeline never drift away from the media, and a part that is not longer than
PART-TARGET is not written longer either: PART-TARGET is a whole number of microseconds, and a
rounded difference is at most the difference rounded up.

May import `hls.media` and `hls.playlist`. Spec: draft-pantos-hls-rfc8216bis-22, sections 3.2,
4.4.4.
"""

from dataclasses import dataclass, field
from typing import Self

from hls.media import Part
from hls.playlist import part_line, segment_closing, segment_opening

_NS_PER_S = 1_000_000_000


@dataclass(slots=True, kw_only=True)
class Segment:
    """A segment from its first part on; the timeline changes it, everybody else only reads."""

    msn: int
    """Media Sequence Number."""

    name: str
    """URI relative to the media playlist."""

    init_index: int
    """Of its init section."""

    map_uri: str
    """URI of its init section."""

    brings_map: bool
    """Its text has an EXT-X-MAP, because the segment before it used another init section."""

    discontinuity: bool
    """Its text has an EXT-X-DISCONTINUITY."""

    independent: bool
    """It begins with an IDR picture, or has no video."""

    start_ns: int
    """Media time of its first sample, nanoseconds."""

    epoch_ms: int
    """UTC time of its first sample as EXT-X-PROGRAM-DATE-TIME says it, milliseconds since 1970."""

    opening: bytes
    """Its lines before the first part."""

    text: bytes
    """All its lines, as they are listed now."""

    chunks: list[bytes] = field(default_factory=list)
    """The bytes of its parts."""

    part_names: list[str] = field(default_factory=list)
    """The URIs of its parts that have media, listed or not."""

    gap: bool = False
    """A part of it is missing, so it cannot be fetched as a whole."""

    size_bytes: int = 0
    """Sum of its parts' sizes."""

    duration_ns: int = 0
    """Sum of its parts' durations, nanoseconds."""

    duration_us: int = 0
    """The same as the text says it, microseconds: EXTINF, and the sum of the DURATIONs."""

    clock_end_ns: int = 0
    """Media clock at the end of its last part, once it has ended."""

    appeared_ns: int = 0
    """Media clock of the version that first listed it whole; 0 until then."""

    parts_until_ns: int = 0
    """Media clock until which its parts can be fetched, once they are unlisted."""

    until_ns: int = 0
    """Media clock until which it can be fetched, once it is removed."""

    @classmethod
    def begin(
        cls,
        part: Part,
        *,
        name: str,
        map_uri: str,
        brings_map: bool,
        discontinuity: bool,
        started_at_ns: int,
    ) -> Self:
        """Open the segment that a part begins; the part is not added yet.

        Args:
            part: Its part 0.
            name: Its URI.
            map_uri: URI of its init section.
            brings_map: The segment before it used another init section, or there is none.
            discontinuity: It does not continue the segment before it.
            started_at_ns: UTC time of media time zero, nanoseconds since 1970.

        Spec: 4.4.4.9: DISCONTINUITY, MAP and PROGRAM-DATE-TIME come before the first EXT-X-PART.
        """
        start_ns = _ns(part.media_time_s)
        epoch_ms = (started_at_ns + start_ns + 500_000) // 1_000_000
        opening = segment_opening(
            discontinuity=discontinuity,
            map_uri=map_uri if brings_map else None,
            epoch_ms=epoch_ms,
        )
        return cls(
            msn=part.msn,
            name=name,
            init_index=part.init_index,
            map_uri=map_uri,
            brings_map=brings_map,
            discontinuity=discontinuity,
            independent=part.independent,
            start_ns=start_ns,
            epoch_ms=epoch_ms,
            opening=opening,
            text=opening,
        )

    def add(self, part: Part, name: str) -> None:
        """Append a part and its line."""
        self.duration_ns += _ns(part.duration_s)
        end_us = _us(self.start_ns + self.duration_ns) - _us(self.start_ns)
        self.text += part_line(
            duration_us=end_us - self.duration_us,
            uri=name,
            independent=part.independent,
            gap=part.gap,
        )
        self.duration_us = end_us
        if part.gap:
            self.gap = True
            return
        self.chunks.append(part.data)
        self.part_names.append(name)
        self.size_bytes += len(part.data)

    def end(self) -> None:
        """Append EXTINF and URI: the segment is complete."""
        self.text += self._closing()

    def unlist_parts(self) -> None:
        """Take the EXT-X-PART lines of a complete segment out of its text."""
        self.text = self.opening + self._closing()

    def _closing(self) -> bytes:
        return segment_closing(duration_us=self.duration_us, uri=self.name, gap=self.gap)


def _ns(seconds: float) -> int:
    return round(seconds * _NS_PER_S)


def _us(nanoseconds: int) -> int:
    return (nanoseconds + 500) // 1000
