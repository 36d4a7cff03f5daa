"""What is told of a broadcast's health: the JSON of ``GET .../health``, and of its live events.

Pure: readings and configurations in, structs out. Lengths carry their unit in the name. A figure
that is null is not known (yet), or there is no such thing: no sound, no ladder.

May import hls and origin's own.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from origin.bridge import Tracks
from origin.health.alerts import Alert
from origin.health.meter import Reading
from origin.rtmp.tcp_info import TcpFigures
from origin.transcode.health import TranscodeHealth

MAX_ENCODER: Final = 100
"""Characters that are kept of what an encoder calls itself."""


class VideoInfo(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The picture as it is published."""

    codec: str
    """RFC 6381."""
    width: int
    height: int
    frame_rate: float | None
    """As the encoder announces it."""


class AudioInfo(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The sound as it is published."""

    codec: str
    """RFC 6381."""
    sample_rate: int
    channels: int


class PublisherInfo(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Who publishes, and what."""

    connected: bool
    encoder: str | None = None
    """What it calls itself (onMetaData); nobody has checked it."""
    video: VideoInfo | None = None
    audio: AudioInfo | None = None


class TranscodeInfo(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """How the ladder fares."""

    renditions: tuple[str, ...]
    """Encoded now."""
    left_out: tuple[str, ...]
    """Why others are not."""
    level: int
    """How far the ladder is cut back; 0: not at all."""
    lag_seconds: float | None
    """Newest picture in less newest picture out."""
    speed: float | None
    """Seconds of media that a second of encoding yields, of the slowest rendition."""
    restarts: int
    advice: tuple[str, ...]
    black: bool | None
    frozen: bool | None
    silent: bool | None


class Figures(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """How it goes at one moment."""

    at: int
    """UTC, milliseconds since 1970."""
    bitrate_kbps: float
    fps: float | None
    dropped_frames: int
    """Since the broadcast began."""
    late_frames: int
    """Samples of sound or picture that came half a second late, since then."""
    keyframe_interval_seconds: float | None
    b_frames: bool | None
    av_skew_ms: float | None
    """Stamps of sound less those of pictures that come at the same time."""
    drift_ppm: float | None
    """How fast the encoder's clock is against the server's, parts per million."""
    drift_error_ppm: float | None
    """Standard error of that."""
    jitter_ms: float | None
    """Within so much lie nine tenths of all arrivals."""
    speed: float | None
    """Seconds of media that come in a second."""
    rtt_ms: float | None
    """Round trip of the publisher's connection."""
    out_of_order_packets: int | None
    """Of that connection: mostly packets that were lost and sent again."""
    transcode: TranscodeInfo | None


class Columns(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """History: a list for each figure, all as long as `at`."""

    at: list[int]
    """UTC, milliseconds since 1970; a second apart."""
    bitrate_kbps: list[float | None]
    fps: list[float | None]
    dropped_frames: list[float | None]
    """In that second."""
    late_frames: list[float | None]
    """In that second."""
    keyframe_interval_seconds: list[float | None]
    av_skew_ms: list[float | None]
    drift_ppm: list[float | None]
    jitter_ms: list[float | None]
    rtt_ms: list[float | None]


class HealthReport(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The answer of ``GET /api/streams/{streamId}/health``."""

    stream_id: str
    broadcast_id: str
    publisher: PublisherInfo
    figures: Figures | None
    """The newest; null before the first second is over."""
    alerts: tuple[Alert, ...]
    """What is wrong now."""
    recent_alerts: Annotated[tuple[Alert, ...], msgspec.Meta(max_length=50)]
    """What has been wrong, the latest first."""
    history: Columns


def encoder_name(values: Mapping[str, object]) -> str | None:
    """What an encoder calls itself in its ``onMetaData``, made fit to be shown; None: nothing."""
    name = values.get("encoder")
    if not isinstance(name, str):
        return None
    return "".join(filter(str.isprintable, name[:MAX_ENCODER])).strip() or None


def publisher_info(tracks: Tracks | None, *, connected: bool, encoder: str | None) -> PublisherInfo:
    """Say who publishes what."""
    video = None if tracks is None else tracks.video
    audio = None if tracks is None else tracks.audio
    return PublisherInfo(
        connected=connected,
        encoder=encoder,
        video=None
        if video is None
        else VideoInfo(
            codec=video.codec_string,
            width=video.width,
            height=video.height,
            frame_rate=None if video.frame_rate is None else round(float(video.frame_rate), 3),
        ),
        audio=None
        if audio is None
        else AudioInfo(
            codec=audio.codec_string, sample_rate=audio.sample_rate, channels=audio.channels
        ),
    )


def make_figures(
    reading: Reading,
    *,
    at_ms: int,
    bitrate_kbps: float,
    dropped: int,
    late: int,
    tcp: TcpFigures | None,
    transcode: TranscodeHealth | None,
) -> Figures:
    """Put a reading into words.

    Args:
        reading: The newest.
        at_ms: The present, UTC, milliseconds.
        bitrate_kbps: Of the last second.
        dropped: Frames, since the broadcast began.
        late: Samples, likewise.
        tcp: Of the publisher's connection.
        transcode: Of the ladder.
    """
    slope = reading.drift
    return Figures(
        at=at_ms,
        bitrate_kbps=round(bitrate_kbps, 1),
        fps=_round(reading.fps),
        dropped_frames=dropped,
        late_frames=late,
        keyframe_interval_seconds=_round(reading.keyframe_s),
        b_frames=reading.has_b_frames,
        av_skew_ms=_round(reading.skew_ms),
        drift_ppm=None if slope is None else _round(slope.ppm),
        drift_error_ppm=None if slope is None else _round(slope.error_ppm),
        jitter_ms=_round(reading.jitter_ms),
        speed=_round(reading.speed, 3),
        rtt_ms=None if tcp is None else _round(tcp.rtt_ms, 3),
        out_of_order_packets=None if tcp is None else tcp.out_of_order,
        transcode=None if transcode is None else _transcode_info(transcode),
    )


def history_row(figures: Figures, *, dropped: int, late: int) -> Mapping[str, float | None]:
    """A row of `history.COLUMNS`.

    Args:
        figures: The newest.
        dropped: Frames, since the last row.
        late: Samples, likewise.
    """
    return {
        "bitrateKbps": figures.bitrate_kbps,
        "fps": figures.fps,
        "droppedFrames": dropped,
        "lateFrames": late,
        "keyframeIntervalSeconds": figures.keyframe_interval_seconds,
        "avSkewMs": figures.av_skew_ms,
        "driftPpm": figures.drift_ppm,
        "jitterMs": figures.jitter_ms,
        "rttMs": figures.rtt_ms,
    }


def make_columns(at: list[int], columns: Mapping[str, list[float | None]]) -> Columns:
    """Give a history its names."""
    return msgspec.convert({"at": at, **columns}, Columns)


def _transcode_info(health: TranscodeHealth) -> TranscodeInfo:
    figures = health.figures
    speeds = (
        []
        if figures is None
        else [rung.speed_ratio for rung in figures.rungs if rung.speed_ratio is not None]
    )
    return TranscodeInfo(
        renditions=health.renditions,
        left_out=health.left_out,
        level=health.level,
        lag_seconds=_round(health.lag_s, 3),
        speed=_round(min(speeds, default=None)),
        restarts=health.restarts,
        advice=health.advice,
        black=None if figures is None else figures.black,
        frozen=None if figures is None else figures.frozen,
        silent=None if figures is None else figures.silent,
    )


def _round(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)
