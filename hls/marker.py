"""Markers on a broadcast's timeline: EXT-X-DATERANGE.

A marker is a named stretch (or point) of programme time with what somebody has to say of it: an
advertisement break, a goal, a chapter. It comes from the API or from the publisher, both strangers,
so it is checked here before it becomes a line of a playlist.

May import `hls.errors`. Spec: draft-pantos-hls-rfc8216bis-22, sections 4.2 (attribute values) and
4.4.5.1; SCTE 35.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from hls.errors import UsageError
from hls.playlist import format_epoch_ms

MAX_ATTRIBUTES: Final = 16
MAX_TEXT_CHARS: Final = 256
"""Of one value; with the limits below, a marker's line is under 6 KB."""
MAX_SCTE35_BYTES: Final = 512
MAX_DURATION_S: Final = 86_400.0

_NAME = re.compile(r"X-[A-Z0-9-]{1,62}")
# 4.2: a quoted-string has no line feed, carriage return or double quote. Nor anything that is not
# printable: players show these texts.
_LATEST_MS = 253_402_300_799_000  # the end of the year 9999, which the date's form can tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """One date range. Never changed once it is listed (4.4.5.1: "MUST NOT change").

    Raises:
        UsageError: A value cannot be said in an attribute list, or is out of its bounds; the text
            is for whoever sent it.
    """

    id: str
    """ID: unique in the broadcast, 1 to `MAX_TEXT_CHARS` printable characters without quotes."""

    start_ms: int
    """START-DATE: UTC, milliseconds since 1970, on the clock of PROGRAM-DATE-TIME."""

    kind: str | None = None
    """CLASS: whose attributes these are."""

    duration_s: float | None = None
    """DURATION: seconds, >= 0; None while nobody knows, 0 is a point."""

    planned_duration_s: float | None = None
    """PLANNED-DURATION: what it is expected to be, seconds."""

    scte35: Mapping[str, bytes] = field(default_factory=dict)
    """SCTE35-CMD, SCTE35-OUT, SCTE35-IN, by "CMD", "OUT", "IN": splice_info_section() bytes."""

    attributes: Mapping[str, str | float] = field(default_factory=dict)
    """Client attributes (X-...): text, or a number."""

    def __post_init__(self) -> None:
        _check_text("id", self.id)
        if self.kind is not None:
            _check_text("class", self.kind)
        if not 0 <= self.start_ms <= _LATEST_MS:
            raise UsageError("the start of a marker is a date from 1970 on")
        for seconds in (self.duration_s, self.planned_duration_s):
            if seconds is not None and not 0 <= seconds <= MAX_DURATION_S:
                raise UsageError(f"a marker's duration is 0 to {MAX_DURATION_S:.0f} seconds")
        if len(self.attributes) > MAX_ATTRIBUTES:
            raise UsageError(f"a marker has at most {MAX_ATTRIBUTES} attributes")
        for name, value in self.attributes.items():
            if not _NAME.fullmatch(name):
                raise UsageError("a marker's attribute is named X- and then A-Z, 0-9 and hyphens")
            if isinstance(value, str):
                _check_text(name, value)
            elif not abs(value) < 1e15:  # not a number, too
                raise UsageError(f"{name} is not a number that can be written down")
        for name, section in self.scte35.items():
            if name not in ("CMD", "OUT", "IN"):
                raise UsageError("SCTE-35 comes as CMD, OUT or IN")
            if not 0 < len(section) <= MAX_SCTE35_BYTES:
                raise UsageError(f"an SCTE-35 section has 1 to {MAX_SCTE35_BYTES} bytes")

    @property
    def end_ms(self) -> int:
        """Until when it is of interest; for all that is known."""
        known_s = max(self.duration_s or 0.0, self.planned_duration_s or 0.0)
        return self.start_ms + round(known_s * 1000)

    def line(self) -> bytes:
        """Write its EXT-X-DATERANGE."""
        pairs = [f'ID="{self.id}"']
        if self.kind is not None:
            pairs.append(f'CLASS="{self.kind}"')
        pairs.append(f'START-DATE="{format_epoch_ms(self.start_ms)}"')
        if self.duration_s is not None:
            pairs.append(f"DURATION={self.duration_s:.3f}")
        if self.planned_duration_s is not None:
            pairs.append(f"PLANNED-DURATION={self.planned_duration_s:.3f}")
        pairs += [f"SCTE35-{name}=0x{data.hex().upper()}" for name, data in self.scte35.items()]
        for name, value in self.attributes.items():
            pairs.append(f'{name}="{value}"' if isinstance(value, str) else f"{name}={value:.6f}")
        return f"#EXT-X-DATERANGE:{','.join(pairs)}\n".encode()


def _check_text(name: str, text: str) -> None:
    if not 0 < len(text) <= MAX_TEXT_CHARS or '"' in text or not text.isprintable():
        raise UsageError(
            f"{name}: a text has 1 to {MAX_TEXT_CHARS} printable characters and no double quote"
        )
