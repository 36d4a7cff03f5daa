"""From a publisher's cue point to a marker on the timeline.

``onCuePoint`` is whatever an encoder makes of it; nearly all send ``name``, ``type`` and
``parameters``, those that insert advertisements a SCTE-35 section in base64. What can be said in an
EXT-X-DATERANGE is kept, anything else is left out without a word: a cue point is a hint, and never
costs its publisher anything.

Bounds: those of `hls.Marker`. May import hls. Spec: FLV 10.1, E.5 (script data); SCTE 35, 9.6
(table_id of splice_info_section).
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Final

from hls import Marker, UsageError
from hls.marker import MAX_ATTRIBUTES, MAX_DURATION_S, MAX_SCTE35_BYTES, MAX_TEXT_CHARS

KIND: Final = "onCuePoint"
"""CLASS of these markers."""

_SCTE35_NAMES: Final = ("cue", "scte35", "message")
_SPLICE_INFO: Final = 0xFC
_UNFIT = re.compile(r"[^A-Z0-9]+")
_MAX_NAME_CHARS: Final = 40


def marker_of(values: Mapping[str, object], *, start_ms: int, marker_id: str) -> Marker | None:
    """Read a cue point.

    Args:
        values: Of the message.
        start_ms: Programme time at which it came, UTC, milliseconds since 1970.
        marker_id: Unique in the broadcast.

    Returns:
        The marker, or None if nothing of it can be said.
    """
    parameters = values.get("parameters")
    inner = parameters if isinstance(parameters, Mapping) else {}
    section = _scte35(values) or _scte35(inner)
    attributes = dict([*_attributes("X-", values), *_attributes("X-PARAM-", inner)])
    if not attributes and section is None:
        return None
    duration = values.get("duration", inner.get("duration"))
    is_duration = isinstance(duration, float) and 0 <= duration <= MAX_DURATION_S
    try:
        return Marker(
            id=marker_id,
            start_ms=start_ms,
            kind=KIND,
            planned_duration_s=duration if is_duration else None,  # type: ignore[arg-type]
            scte35={} if section is None else {"CMD": section},
            attributes=dict(list(attributes.items())[:MAX_ATTRIBUTES]),
        )
    except UsageError:  # a text with a quote or a control character
        return None


def _attributes(prefix: str, values: Mapping[str, object]) -> Iterator[tuple[str, str | float]]:
    for name, value in values.items():
        word = _UNFIT.sub("-", str(name).upper())[:_MAX_NAME_CHARS].strip("-")
        if not word or str(name).lower() in _SCTE35_NAMES:
            continue
        if isinstance(value, str):
            text = "".join(c for c in value if c.isprintable() and c != '"')[:MAX_TEXT_CHARS]
            if text:
                yield prefix + word, text
        elif isinstance(value, bool):
            yield prefix + word, "YES" if value else "NO"
        elif isinstance(value, float) and abs(value) < 1e12:
            yield prefix + word, value


def _scte35(values: Mapping[str, object]) -> bytes | None:
    """The splice information among the values, if there is one."""
    for name, value in values.items():
        if str(name).lower() in _SCTE35_NAMES and isinstance(value, str):
            try:
                section = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                continue
            if 0 < len(section) <= MAX_SCTE35_BYTES and section[0] == _SPLICE_INFO:
                return section
    return None
