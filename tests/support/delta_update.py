"""Undo a delta update: what a player does with EXT-X-SKIP.

Written from draft-pantos-hls-rfc8216bis-22, section 6.2.5.1; it shares no code with the package
`hls`. The whole text is put together from an older whole text, so that it can be read and judged
like any other.
"""

from playlist_text import RuleBroken, attributes, require

_HEADER = (
    "#EXT-X-VERSION",
    "#EXT-X-TARGETDURATION",
    "#EXT-X-SERVER-CONTROL",
    "#EXT-X-PART-INF",
    "#EXT-X-MEDIA-SEQUENCE",
    "#EXT-X-DISCONTINUITY-SEQUENCE",
    "#EXT-X-INDEPENDENT-SEGMENTS",
    "#EXT-X-DATERANGE",
)


def skipped_segments(text: bytes) -> int:
    """How many segments a playlist leaves out; 0 if it is whole."""
    for line in text.decode().splitlines():
        if line.startswith("#EXT-X-SKIP:"):
            return int(attributes(line.partition(":")[2])["SKIPPED-SEGMENTS"])
    return 0


def undo_skip(old: bytes, delta: bytes) -> bytes:
    """Return the whole playlist that a delta update stands for.

    Args:
        old: A whole playlist of the same rendition, of an earlier version.
        delta: A playlist with EXT-X-SKIP.

    Raises:
        RuleBroken: What is skipped is not in the old playlist (DU-01).
    """
    skipped = skipped_segments(delta)
    require(skipped > 0, "DU-01", "EXT-X-SKIP that skips nothing, or none")
    lines = delta.decode().splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("#EXT-X-SKIP:"))
    for line in lines[1:at]:
        require(line.startswith(_HEADER), "DU-01", f"{line} before EXT-X-SKIP")
    first = _media_sequence(delta)
    known = _segments(old)
    kept: list[str] = []
    for msn in range(first, first + skipped):
        if msn not in known:
            raise RuleBroken("DU-01", f"segment {msn} is skipped and was never listed")
        kept += [line for line in known[msn] if not line.startswith("#EXT-X-PART:")]
    if not any(line.startswith("#EXT-X-MAP:") for line in known[first]):
        kept.insert(0, _map_of(old, first))
    rest = lines[at + 1 :]
    begins = next((i for i, line in enumerate(rest) if not line.startswith("#EXT-X-DATERANGE")), 0)
    if rest[begins].startswith("#EXT-X-MAP:") and rest[begins][0:] == _last_map(kept):
        del rest[begins]  # the delta's own MAP says again what the skipped segments have said
    return "\n".join([*lines[:at], *rest[:begins], *kept, *rest[begins:], ""]).encode()


def _last_map(lines: list[str]) -> str | None:
    return next((line for line in reversed(lines) if line.startswith("#EXT-X-MAP:")), None)


def _media_sequence(text: bytes) -> int:
    for line in text.decode().splitlines():
        if line.startswith("#EXT-X-MEDIA-SEQUENCE:"):
            return int(line.partition(":")[2])
    raise RuleBroken("MP-01", "no EXT-X-MEDIA-SEQUENCE")


def _segments(text: bytes) -> dict[int, list[str]]:
    """The lines of each complete segment, by msn; a MAP before the first one is its own."""
    found: dict[int, list[str]] = {}
    msn, lines = _media_sequence(text), list[str]()
    for line in text.decode().splitlines()[1:]:
        if line.startswith(_HEADER):
            continue
        lines.append(line)
        if not line.startswith("#"):
            found[msn] = lines
            msn, lines = msn + 1, []
    return found


def _map_of(text: bytes, msn: int) -> str:
    """The EXT-X-MAP that is in force at a segment."""
    in_force = ""
    for number, lines in _segments(text).items():
        in_force = _last_map(lines) or in_force
        if number == msn:
            return in_force
    raise RuleBroken("DU-01", f"segment {msn} is skipped and was never listed")
