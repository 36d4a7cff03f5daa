"""What the parts of an origin make of its settings, and which of them are told of a change.

The functions give a part's own settings, at the start and at a reload alike. `live_parts` is the
list: a setting that is marked live stands in exactly the parts that use it, or a start fails
(`Reloading.tell`).

May import everything of ours.
"""

from collections.abc import Callable

from control import Store
from edge.chat.api import ChatApi
from edge.chat.service import ChatService
from edge.http.access_log import AccessLog
from edge.http.server import HttpServer
from edge.http.settings import HttpSettings
from edge.http.tls import Certificate, CertificateError
from edge.process.errors import ConfigError
from edge.process.log import configure_logging
from origin.broadcast import Broadcasts
from origin.chat import chat_settings, make_webhook, socket_settings
from origin.config import Settings
from origin.health.monitor import HealthMonitor
from origin.health.rules import limits_of
from origin.hooks.publish import make_publish_hook
from origin.ingest import Ingest, IngestSettings
from origin.platform import Platform
from origin.recording.recorder import Recorder, recorder_settings
from origin.reload import Commit, Part, part
from origin.rtmp.server import RtmpServer, RtmpServerSettings
from origin.transcode.service import Transcoding


def ingest_settings(settings: Settings) -> IngestSettings:
    """Who may publish what."""
    return IngestSettings(
        publish_policy=settings.publish_policy,
        # A tenth of the connections is kept for those who are told that there is no room.
        max_publishers=settings.max_rtmp_connections - settings.max_rtmp_connections // 10,
        stale_s=settings.stale_s,
        max_bitrate_kbps=settings.max_bitrate_kbps,
        max_height=settings.max_height,
    )


def rtmp_settings(settings: Settings) -> RtmpServerSettings:
    """The bounds of the RTMP server."""
    return RtmpServerSettings(
        handshake_timeout_s=settings.handshake_timeout_s,
        publish_timeout_s=settings.publish_timeout_s,
        max_connections=settings.max_rtmp_connections,
        max_connections_per_address=settings.max_rtmp_connections_per_address,
        balancers=settings.rtmp_balancers,
    )


def http_settings(settings: Settings) -> HttpSettings:
    """The bounds of the HTTP server."""
    return HttpSettings(
        max_connections=settings.max_http_connections, drain_timeout_s=settings.drain_timeout_s
    )


def live_parts(
    *,
    access_log: AccessLog,
    broadcasts: Broadcasts,
    certificate: Certificate | None,
    chat: ChatService,
    chat_api: ChatApi,
    health: HealthMonitor,
    http_server: Callable[[], HttpServer | None],
    ingest: Ingest,
    platform: Platform,
    recorder: Recorder,
    rtmp_server: RtmpServer,
    store: Store,
    transcoding: Transcoding,
) -> list[Part]:
    """List who is told of which settings. `http_server` gives None before it serves."""

    def set_http(settings: Settings) -> None:
        server = http_server()
        if server is not None:
            server.settings = http_settings(settings)

    def set_access_log(settings: Settings) -> None:
        access_log.which, access_log.share = settings.access_log, settings.access_log_share

    def set_grace(settings: Settings) -> None:
        broadcasts.reconnect_grace_s = settings.reconnect_grace_s

    def set_chat(settings: Settings) -> None:
        chat.settings = chat_settings(settings)

    def set_chat_origins(settings: Settings) -> None:
        chat_api.sockets = socket_settings(settings)

    def prepare_webhook(settings: Settings) -> Commit:
        webhook = make_webhook(settings)
        return lambda: chat.use_webhook(webhook)

    def prepare_publish_hook(settings: Settings) -> Commit:
        hook = make_publish_hook(settings, store)

        def commit() -> None:
            ingest.judge = None if hook is None else hook.judge
            platform.use_publish_hook(hook)

        return commit

    def prepare_certificate(settings: Settings) -> Commit:
        if certificate is None or settings.tls_certificate is None:
            return lambda: None
        try:
            return certificate.prepare(settings.tls_certificate, settings.tls_key)
        except CertificateError as error:
            raise ConfigError(f"tls_certificate: {error}") from error

    return [
        part(
            "log_format",
            "log_level",
            apply=lambda new: configure_logging(new.log_format, new.log_level),
        ),
        Part(frozenset({"tls_certificate", "tls_key"}), prepare_certificate, always=True),
        part(
            "ladder",
            "rungs",
            "encoder",
            "max_gop_s",
            apply=lambda new: transcoding.reconfigure(new.quality_ladder, max_gop_s=new.max_gop_s),
        ),
        part(
            "publish_policy",
            "stale_s",
            "max_bitrate_kbps",
            "max_height",
            "max_rtmp_connections",
            apply=lambda new: ingest.reconfigure(ingest_settings(new)),
        ),
        part(
            "handshake_timeout_s",
            "publish_timeout_s",
            "max_rtmp_connections",
            "max_rtmp_connections_per_address",
            apply=lambda new: rtmp_server.reconfigure(rtmp_settings(new)),
        ),
        part("reconnect_grace_s", apply=set_grace),
        part("max_http_connections", "drain_timeout_s", apply=set_http),
        part(
            "recording_keep_days",
            "recording_max_gb",
            "recording_min_free_mb",
            apply=lambda new: recorder.reconfigure(recorder_settings(new)),
        ),
        part("access_log", "access_log_share", apply=set_access_log),
        part("farewell_s", apply=lambda _new: None),  # it is read when the stop begins
        part(
            "chat_batch_ms",
            "chat_sampling_above",
            "chat_sampling_per_s",
            "chat_keep_days",
            "max_chat_connections_per_address",
            apply=set_chat,
        ),
        part("chat_origins", apply=set_chat_origins),
        Part(
            frozenset({"chat_webhook", "chat_webhook_fails_open", "chat_webhook_secret"}),
            prepare_webhook,
        ),
        Part(
            frozenset({"publish_webhook", "publish_webhook_fails_open", "publish_webhook_secret"}),
            prepare_publish_hook,
        ),
        part(
            "health_min_bitrate_kbps",
            "health_min_fps",
            "health_max_dropped_frames",
            "health_max_keyframe_interval_s",
            "health_max_av_skew_ms",
            "health_max_drift_ppm",
            "health_max_jitter_ms",
            apply=lambda new: health.reconfigure(limits_of(new)),
        ),
    ]
