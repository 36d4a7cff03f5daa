"""The multivariant playlist: one line pair per rendition, muxed audio and video in each, and one
line per I-frame playlist.

Its text is a pure function of its arguments, and those come from values that stand still within a
broadcast (`bandwidth` says how BANDWIDTH is kept still), so two GETs give the same bytes unless the
ladder, the codecs or the picture size really changed.

May import `hls.colour`. Spec: draft-pantos-hls-rfc8216bis-22 sections 4.4.2.1,
4.4.6.2, 4.4.6.3 and 6.2.4.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hls.colour import SDR


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantInfo:
    """What EXT-X-STREAM-INF says about one rendition; `Timeline.variant` makes it."""

    uri: str
    """Of its media playlist, relative to the multivariant playlist: ``source/playlist.m3u8``."""

    bandwidth_bps: int
    """BANDWIDTH: announced upper bound of the peak segment bit rate."""

    average_bandwidth_bps: int
    """AVERAGE-BANDWIDTH: announced mean bit rate."""

    codecs: tuple[str, ...]
    """RFC 6381 strings of every format in any of its segments, and of nothing else."""

    width: int | None
    """Display width in pixels; None without video."""

    height: int | None
    """Display height in pixels; None without video."""

    frame_rate: float | None
    """Maximum frames per second; None without video or when nobody can tell."""

    independent_segments: bool
    """Every segment of it can be decoded without another one."""

    video_range: str | None = None
    """VIDEO-RANGE: ``SDR``, ``PQ`` or ``HLG``; None without video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IFrameInfo:
    """What EXT-X-I-FRAME-STREAM-INF says; `IFrames.variant` makes it."""

    uri: str
    """Of the I-frame playlist, relative to the multivariant playlist: ``source/iframes.m3u8``."""

    bandwidth_bps: int
    """BANDWIDTH of playing one I-frame after the other at normal speed."""

    average_bandwidth_bps: int
    """AVERAGE-BANDWIDTH of the same."""

    codecs: tuple[str, ...]
    """RFC 6381 strings of the video alone."""

    width: int | None
    """Display width in pixels."""

    height: int | None
    """Display height in pixels."""

    video_range: str | None = None
    """VIDEO-RANGE of the video."""


def render_multivariant(
    renditions: Sequence[VariantInfo], iframes: Sequence[IFrameInfo] = ()
) -> bytes:
    """Render the multivariant playlist of a broadcast, in the order given.

    Args:
        renditions: At least one, best first: a player without an estimate may start with the first.
        iframes: I-frame playlists, best first.

    Returns:
        UTF-8 text, newline-terminated. EXT-X-INDEPENDENT-SEGMENTS is there when it is true of all,
        and VIDEO-RANGE, whose absence says SDR, once any rendition is something else.

    Spec: 4.4.6.2. No tag used here needs an EXT-X-VERSION above 1, so there is none (section 8).
    """
    lines = ["#EXTM3U"]
    if all(rendition.independent_segments for rendition in renditions):
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    says_range = any(rendition.video_range not in (None, SDR) for rendition in renditions)
    for rendition in renditions:
        attributes = _common(rendition, says_range=says_range)
        if rendition.frame_rate is not None:
            attributes.append(f"FRAME-RATE={rendition.frame_rate:.3f}")
        lines.append(f"#EXT-X-STREAM-INF:{','.join(attributes)}")
        lines.append(rendition.uri)
    for track in iframes:
        attributes = _common(track, says_range=says_range)
        lines.append(f'#EXT-X-I-FRAME-STREAM-INF:{",".join(attributes)},URI="{track.uri}"')
    return "\n".join([*lines, ""]).encode()


def _common(playlist: VariantInfo | IFrameInfo, *, says_range: bool) -> list[str]:
    """The attributes that both tags have."""
    attributes = [
        f"BANDWIDTH={playlist.bandwidth_bps}",
        f"AVERAGE-BANDWIDTH={playlist.average_bandwidth_bps}",
        f'CODECS="{",".join(playlist.codecs)}"',
    ]
    if playlist.width is not None and playlist.height is not None:
        attributes.append(f"RESOLUTION={playlist.width}x{playlist.height}")
    if says_range and playlist.video_range is not None:
        attributes.append(f"VIDEO-RANGE={playlist.video_range}")
    return attributes
