"""What an edge has to know of a media playlist that it passes on: how far it goes, what comes next.

The text goes to viewers as it came. Segments are counted over all of it at the speed of a search;
lines are read in the last two segments only, so a window of four hours costs little more than one
of thirty seconds.

What does not look like one of our playlists has no outline: it is passed on and never followed.
Names that are no plain path segments are left out, so that no text can make an edge ask for
anything outside the rendition.

May import: nothing. Spec: rfc8216bis-22, sections 4.4.3 (header), 4.4.4.9 (parts), 4.4.5.2 (skip),
4.4.5.3 (hint), 6.2.5.2 (what a blocking request waits for).
"""

import re
from dataclasses import dataclass

MAX_PARTS = 64
"""Names of parts that are kept, the newest: a segment of six seconds in tenths of a second."""

_TARGET = re.compile(rb"^#EXT-X-TARGETDURATION:([0-9]{1,4})\s*$", re.MULTILINE)
_SEQUENCE = re.compile(rb"^#EXT-X-MEDIA-SEQUENCE:([0-9]{1,18})\s*$", re.MULTILINE)
_SKIPPED = re.compile(rb"^#EXT-X-SKIP:(?:.*,)?SKIPPED-SEGMENTS=([0-9]{1,9})", re.MULTILINE)
_MAP = re.compile(rb'^#EXT-X-MAP:(?:.*,)?URI="([^"\n]+)"', re.MULTILINE)
_PART = re.compile(rb'^#EXT-X-PART:(?:.*,)?URI="([^"\n]+)".*$', re.MULTILINE)
_HINT = re.compile(rb'^#EXT-X-PRELOAD-HINT:TYPE=PART,URI="([^"\n]+)"\s*$', re.MULTILINE)
_ENDED = re.compile(rb"^#EXT-X-ENDLIST", re.MULTILINE)
_CLOSED = b"\n#EXTINF:"

_NAME = re.compile(rb"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,199}")


@dataclass(frozen=True, slots=True)
class Outline:
    """One version of a media playlist, in short."""

    target_duration_s: int
    """EXT-X-TARGETDURATION."""
    broadcast: str
    """What its init sections have in common; another broadcast of the stream has another one."""
    last_part: tuple[int, int]
    """Media sequence number and index of the newest part; index -1 if its segment lists none."""
    next_part: tuple[int, int]
    """The same of the part that the next reload waits for."""
    ended: bool
    """There will be no other version."""
    hint: str | None
    """Name of the part that will come next."""
    parts: tuple[str, ...]
    """Names of the parts of the newest segment, oldest first, that can be fetched."""

    def has(self, msn: int, part: int | None) -> bool:
        """Whether it answers a blocking request for this part, or for a whole segment (6.2.5.2)."""
        if self.ended:
            return True
        return msn < self.next_part[0] if part is None else (msn, part) <= self.last_part


def read_outline(text: bytes) -> Outline | None:
    """Read a media playlist, whole or a delta update.

    Args:
        text: The body; its size is the caller's to bound.

    Returns:
        Its outline, or None if it lacks what a playlist of ours has.

    Cost: O(len(text)), some searches; a dozen lines are looked at.
    """
    target, sequence, init = _TARGET.search(text), _SEQUENCE.search(text), _MAP.search(text)
    if not text.startswith(b"#EXTM3U") or target is None or sequence is None or init is None:
        return None
    skipped = _SKIPPED.search(text)
    msn = int(sequence[1]) + (int(skipped[1]) if skipped else 0) + text.count(_CLOSED)
    last_closed = text.rfind(_CLOSED)
    names = _parts(text, max(last_closed, 0), len(text))
    if names:
        last_part, next_part = (msn, len(names) - 1), (msn, len(names))
    else:
        names = _parts(text, max(text.rfind(_CLOSED, 0, max(last_closed, 0)), 0), last_closed)
        last_part, next_part = (msn - 1, len(names) - 1), (msn, 0)
    hint = _HINT.search(text, max(last_closed, 0))
    return Outline(
        target_duration_s=int(target[1]),
        broadcast=init[1].decode("latin-1").rpartition("-")[0],
        last_part=last_part,
        next_part=next_part,
        ended=_ENDED.search(text, max(last_closed, 0)) is not None,
        hint=None if hint is None else _plain(hint[1]),
        parts=tuple([name for name in names if name is not None][-MAX_PARTS:]),
    )


def _parts(text: bytes, begin: int, end: int) -> list[str | None]:
    """The parts listed in a stretch of text; None stands for one that cannot be fetched whole."""
    return [
        None if b"GAP=YES" in part[0] or b"BYTERANGE=" in part[0] else _plain(part[1])
        for part in _PART.finditer(text, begin, end)
    ]


def _plain(name: bytes) -> str | None:
    return name.decode("ascii") if _NAME.fullmatch(name) else None
