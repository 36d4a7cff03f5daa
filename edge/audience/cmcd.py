"""What a player says of itself: Common Media Client Data, as it stands in a query.

Of its many keys these are read: who it is (``sid``), what it plays (``br``), how much it has ahead
(``bl``), what its line gives (``mtp``), and whether it has run dry (``bs``) or is filling up
(``su``). Whatever is not as the specification has it gives nothing: a text that cannot be read no
sample, a value that cannot be none of its key. Nothing that a client sends is kept as text.

Pure; the cost is linear in a text of `MAX_CHARS`. Imports nothing of ours. Spec: CTA-5004 (2020),
sections 2 (transport), 3.1 (keys), 3.2 (payload).
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

MAX_CHARS: Final = 512
"""Of a text, still percent-encoded; more is taken for none."""

MAX_KEYS: Final = 32
"""There are 18, and a few of one's own."""

MAX_SID_CHARS: Final = 64
"""Of a session id: "Maximum length is 64 characters" (3.1)."""

MAX_KBPS: Final = 10_000_000
MAX_BUFFER_MS: Final = 3_600_000

_ITEM = re.compile(
    r'([A-Za-z][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)*)(?:=("(?:[^"\\]|\\["\\])*"|[^",\s=]+))?(?:,|\Z)'
)
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Sample:
    """What one player said; None and False where it says nothing."""

    sid: str | None = None
    """Its session."""
    bitrate_kbps: float | None = None
    """Of what it loads."""
    buffer_ms: float | None = None
    """Media that it has ahead."""
    throughput_kbps: float | None = None
    """What it measured."""
    starved: bool = False
    """It ran dry since it spoke last."""
    urgent: bool = False
    """It waits for this: it begins, has sought, or has run dry."""

    @property
    def tells_quality(self) -> bool:
        """Whether there is more than a name."""
        return self.starved or (self.bitrate_kbps, self.buffer_ms, self.throughput_kbps) != (
            None,
            None,
            None,
        )


NOTHING: Final = Sample()


def parse_cmcd(text: str) -> Sample:
    """Read CMCD.

    Args:
        text: Value of the query's ``CMCD``, still percent-encoded; of any content.

    Returns:
        What it says; `NOTHING` if it is malformed.
    """
    if not text or len(text) > MAX_CHARS:
        return NOTHING
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        return NOTHING
    values: dict[str, str | None] = {}
    at = 0
    while at < len(decoded):
        item = _ITEM.match(decoded, at)
        if item is None or len(values) == MAX_KEYS or item[1] in values:
            return NOTHING
        values[item[1]] = item[2]
        at = item.end()
    return Sample(
        sid=_text(values.get("sid")),
        bitrate_kbps=_number(values.get("br"), MAX_KBPS),
        buffer_ms=_number(values.get("bl"), MAX_BUFFER_MS),
        throughput_kbps=_number(values.get("mtp"), MAX_KBPS),
        starved=_flag(values, "bs"),
        urgent=_flag(values, "su"),
    )


def _text(value: str | None) -> str | None:
    if value is None or len(value) < 3 or value[0] != '"':
        return None
    text = _ESCAPE.sub(r"\1", value[1:-1])
    return text if len(text) <= MAX_SID_CHARS and text.isprintable() else None


def _number(value: str | None, most: int) -> float | None:
    if value is None or not _NUMBER.fullmatch(value):
        return None
    number = float(value)
    return number if number <= most else None


def _flag(values: dict[str, str | None], name: str) -> bool:
    """A flag is true by being there: "If the value is TRUE, the = and the value is omitted"."""
    return name in values and values[name] in (None, "true")
