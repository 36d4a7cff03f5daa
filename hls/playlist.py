"""The text of a live Low-Latency media playlist.

Two layers. The line functions turn values into the lines of one tag or one segment; `segment` calls
each once, when the thing it describes comes into being, and keeps the bytes. On top of them,
`render_media_playlist` puts a header before the kept texts, so an update costs its new lines,
however long the window is. Nothing here decides *what* is listed; see `timeline`.

May import `hls` and the standard library's pure parts. Spec: draft-pantos-hls-rfc8216bis-22,
sections 4.4.1 to 4.4.5, 6.2.1, 6.2.2 and appendix B.1.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hls.timeline import Timeline

PROTOCOL_VERSION = 9
"""EXT-X-VERSION: 9 is what EXT-X-SKIP needs; the same in every response, full or delta, is one
thing less for caches to disagree on."""

HOLD_BACK_TARGETS = 3
"""HOLD-BACK in target durations: "MUST be at least three times the Target Duration" (4.4.3.8)."""


def render_media_playlist(
    timeline: "Timeline", *, reports: bytes = b"", skip: bool = False
) -> tuple[bytes, ...]:
    """Render the media playlist of a timeline as it is now, complete and newline-terminated.

    Callers want `Timeline.render`, which sees to it that there is one.

    Args:
        timeline: A timeline with `Timeline.ready` true.
        reports: Lines of EXT-X-RENDITION-REPORT.
        skip: As a delta update, if there is anything to skip and the timeline has not ended.

    Returns:
        Pieces of UTF-8 text, ENDLIST if and only if the timeline has ended. The first piece is the
        header; pieces are shared between versions.

    Spec: sections 4.4.2 and 4.4.3 (order and presence of the header tags), 4.4.5.1 (date ranges),
        4.4.5.2 (skip), 4.4.5.3 (hint), 4.4.5.4 (reports), 6.2.5.1 (delta updates).
    Cost: O(segments within the skip boundary); of the others, one reference for each block.
    """
    skipped = timeline.skipped_segments if skip and not timeline.ended else 0
    header = [_header(timeline)]
    head = timeline.segments[skipped] if skipped else timeline.segments[0]
    if skipped:
        header.append(f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}\n")
    # The head of the list needs a MAP of its own once the segment that brought it has gone.
    if not head.brings_map:
        header.append(map_line(head.map_uri))
    pieces = ["".join(header).encode()]
    pieces.extend([marker.line() for marker in timeline.markers.values()])
    if skipped:
        kept = len(timeline.segments) - skipped - len(timeline.recent)
        settled = [
            timeline.segments[-len(timeline.recent) - back].text for back in range(kept, 0, -1)
        ]
        pieces.extend(settled)
    else:
        pieces.extend(timeline.settled.chunks())
    pieces.extend([segment.text for segment in timeline.recent])
    if timeline.open_segment is not None:
        pieces.append(timeline.open_segment.text)
    pieces.append(reports)
    if timeline.ended:
        pieces.append(b"#EXT-X-ENDLIST\n")
    else:
        pieces.append(f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{timeline.hint}"\n'.encode())
    return tuple(pieces)


def _header(timeline: "Timeline") -> str:
    presentation = timeline.presentation
    target_s = presentation.target_duration_s
    independent = "#EXT-X-INDEPENDENT-SEGMENTS\n" if timeline.independent_segments else ""
    return (
        "#EXTM3U\n"
        f"#EXT-X-VERSION:{PROTOCOL_VERSION}\n"
        f"{independent}"
        f"#EXT-X-TARGETDURATION:{target_s}\n"
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,"
        f"CAN-SKIP-UNTIL={timeline.skip_boundary_s:.1f},"
        f"PART-HOLD-BACK={timeline.part_hold_back_s:.3f},"
        f"HOLD-BACK={HOLD_BACK_TARGETS * target_s}\n"
        f"#EXT-X-PART-INF:PART-TARGET={presentation.part_target_s:.3f}\n"
        f"#EXT-X-MEDIA-SEQUENCE:{timeline.segments[0].msn}\n"
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{timeline.discontinuity_sequence}\n"
    )


def report_line(uri: str, last_part: tuple[int, int]) -> str:
    """EXT-X-RENDITION-REPORT: how far another rendition is, (msn, part index) (4.4.5.4)."""
    msn, index = last_part
    return f'#EXT-X-RENDITION-REPORT:URI="{uri}",LAST-MSN={msn},LAST-PART={index}\n'


def map_line(uri: str) -> str:
    """EXT-X-MAP: the init section of every segment after it (4.4.4.5)."""
    return f'#EXT-X-MAP:URI="{uri}"\n'


def segment_opening(*, discontinuity: bool, map_uri: str | None, epoch_ms: int) -> bytes:
    """Render the tags of a segment that come before its first EXT-X-PART.

    Args:
        discontinuity: The segment does not continue the one before it (4.4.4.3).
        map_uri: Its init section where that differs from the segment before, else None.
        epoch_ms: UTC time of its first sample, milliseconds since 1970.

    Spec: 4.4.4.9: DISCONTINUITY, MAP and PROGRAM-DATE-TIME precede the segment's first part.
    """
    return (
        ("#EXT-X-DISCONTINUITY\n" if discontinuity else "")
        + ("" if map_uri is None else map_line(map_uri))
        + f"#EXT-X-PROGRAM-DATE-TIME:{format_epoch_ms(epoch_ms)}\n"
    ).encode()


def part_line(*, duration_us: int, uri: str, independent: bool, gap: bool) -> bytes:
    """EXT-X-PART of one Partial Segment (4.4.4.9); a gap has no media behind its URI."""
    flag = ",GAP=YES" if gap else ",INDEPENDENT=YES" if independent else ""
    return f'#EXT-X-PART:DURATION={format_us(duration_us)},URI="{uri}"{flag}\n'.encode()


def segment_closing(*, duration_us: int, uri: str, gap: bool) -> bytes:
    """EXTINF and URI of a complete segment (4.4.4.1); EXT-X-GAP if it cannot be had (4.4.4.7)."""
    marker = "#EXT-X-GAP\n" if gap else ""
    return f"{marker}#EXTINF:{format_us(duration_us)},\n{uri}\n".encode()


def format_us(duration_us: int) -> str:
    """Write microseconds as decimal seconds, six places: ``200000`` is ``"0.200000"``."""
    seconds, fraction = divmod(duration_us, 1_000_000)
    return f"{seconds}.{fraction:06d}"


def format_epoch_ms(epoch_ms: int) -> str:
    """Write milliseconds since 1970 as ISO 8601 in UTC, for EXT-X-PROGRAM-DATE-TIME (4.4.4.6)."""
    seconds, fraction = divmod(epoch_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:03d}Z"
