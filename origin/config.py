"""The origin's settings: one frozen value, gathered from a TOML file, the environment and flags.

`edge.process.settings` says how they are gathered; only ``rungs`` is a list of tables. What must
hold between settings is checked here.

Pure but for reading the file.
"""

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from control.admin_token import AdminToken
from edge.http.access_log import Which
from edge.process.address import Address, parse_address
from edge.process.errors import ConfigError
from edge.process.settings import LIVE, Plan, Sources, Timeout, check_tls, gather, safe_repr
from origin.transcode.rungs import (
    DEFAULT_LADDER,
    FALLBACK_ENCODER,
    MAX_CONFIGURED,
    EncoderName,
    Ladder,
    RungError,
    RungOverride,
    check_presets,
    configured_rungs,
    parse_ladder,
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a start can choose. The constructor checks nothing; `load_settings` does."""

    http: str = "127.0.0.1:8080"
    """Where viewers and the API are served, HOST:PORT. Port 0 picks a free one."""

    https: str | None = None
    """Where the same is served over TLS, HOST:PORT, as HTTP/2 and HTTP/1.1. None: nowhere."""

    tls_certificate: Annotated[Path | None, LIVE] = None
    """PEM file for `https` and `rtmps`: the certificate, then the intermediate ones. Reloaded when
    changed."""

    tls_key: Annotated[Path | None, LIVE] = None
    """PEM file: its private key, without a password. None: it is in `tls_certificate`."""

    rtmp: str = "127.0.0.1:1935"
    """Where publishers connect, HOST:PORT. Port 0 picks a free one."""

    rtmps: str | None = None
    """Where they connect over TLS, HOST:PORT; 1936 by convention. None: nowhere."""

    rtmp_proxy_protocol: Annotated[tuple[str, ...], msgspec.Meta(max_length=100)] = ()
    """TCP balancers in front of `rtmp` and `rtmps`: addresses or networks (10.0.0.0/8). Each of
    their connections must begin with a PROXY protocol header, version 1 or 2, which names the
    publisher's address; from everybody else none is taken. A variable or flag has commas."""

    data: Path = Path("headrace-data")
    """Folder of the database and the admin token, created if missing."""

    demo: bool = False
    """Whether to publish the built-in demo broadcast."""

    ladder: Annotated[str, LIVE] = DEFAULT_LADDER
    """Renditions to transcode to: names of rungs with commas between them, or "none". A broadcast
    gets those that are smaller than its source and that this machine can carry."""

    rungs: Annotated[tuple[RungOverride, ...], msgspec.Meta(max_length=MAX_CONFIGURED), LIVE] = ()
    """Rungs that are changed or added, by name. It has no flag; a variable holds JSON."""

    encoder: Annotated[EncoderName | Literal["auto"], LIVE] = FALLBACK_ENCODER
    """What encodes the rungs that do not say. "auto" takes the first that works here."""

    max_gop_s: Annotated[float, msgspec.Meta(ge=1, le=10), LIVE] = 4.0
    """Longest keyframe interval at which the source is passed through, seconds, if there is a
    ladder. Above it a rung of the source's size is encoded in its place."""

    transcode_cores: Annotated[float, msgspec.Meta(ge=0, le=1024)] = 0.0
    """Cores that transcoding may fill; 0: those of the machine, but for a reserve."""

    transcode_memory_mb: Annotated[int, msgspec.Meta(ge=256, le=65536)] = 2048
    """Address space of one broadcast's worker, MiB: more than it ever holds in memory."""

    log_format: Annotated[Literal["text", "json"], LIVE] = "text"
    """Lines for people (text) or for machines (json), on stderr."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], LIVE] = "info"
    """The least severe lines to write."""

    access_log: Annotated[Which, LIVE] = "none"
    """Which requests get a line in the log: none, errors (a status from 400 on), sampled (errors
    and a share of the others), or all; never those of players that the reactor answers."""

    access_log_share: Annotated[float, msgspec.Meta(ge=0, le=1), LIVE] = 0.01
    """The share, if they are sampled."""

    metrics_streams: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 200
    """Live streams that have figures of their own in `/metrics`; the others are "other"."""

    min_free_disk_mb: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)] = 256
    """Room that the data folder must have, MiB, or `/ready` says no."""

    farewell_s: Annotated[float, msgspec.Meta(ge=0, le=300), LIVE] = 0.0
    """From a stop by SIGTERM or SIGINT to its begin, seconds: `/ready` says no and all else goes
    on, so that a balancer looks elsewhere first."""

    admin_token: str | None = None
    """The admin's bearer token; it has no flag. None: DATA/admin-token, made on first start."""

    segment_target_s: Annotated[float, msgspec.Meta(ge=1, le=10)] = 2.0
    """Length a segment aims at, seconds; it ends at the next keyframe."""

    part_target_s: Annotated[float, msgspec.Meta(ge=0.1, le=2)] = 0.2
    """Length a part aims at, seconds; at most half a segment. Players stay three parts back."""

    window_segments: Annotated[int, msgspec.Meta(ge=6, le=1000)] = 15
    """Segments a live playlist lists; older ones leave memory."""

    publish_timeout_s: Annotated[Timeout, LIVE] = 20.0
    """Silence after which a publisher counts as gone, seconds."""

    reconnect_grace_s: Annotated[float, msgspec.Meta(ge=0, le=3600), LIVE] = 60.0
    """How long a broadcast waits for a publisher whose connection was lost, seconds; 0: not at all.
    One that says that it ends (OBS's "stop streaming") is not waited for."""

    slate: Path | None = None
    """Picture, or clip of which the first ten seconds are shown again and again, that viewers see
    while a lost publisher is awaited. None: the last picture stands."""

    slate_after_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 1.0
    """How long a publisher is away before viewers see the slate, seconds. One whose line was cut
    counts as away when another connection takes over, or after `publish_timeout_s`."""

    publish_policy: Annotated[Literal["refuse", "takeover"], LIVE] = "refuse"
    """What becomes of a second publisher of a stream while the first one sends."""

    stale_s: Annotated[float, msgspec.Meta(ge=0.5, le=5), LIVE] = 2.0
    """Silence, not a byte, after which a second publisher takes over from the first, seconds."""

    max_bitrate_kbps: Annotated[int, msgspec.Meta(ge=0, le=1_000_000), LIVE] = 0
    """Most that a publisher may send, over ten seconds; 0: anything."""

    max_height: Annotated[int, msgspec.Meta(ge=0, le=16_384), LIVE] = 0
    """Most lines of a publisher's picture (of an upright one, columns); 0: any."""

    handshake_timeout_s: Annotated[Timeout, LIVE] = 10.0
    """From a publisher's connection to its accepted publish, seconds."""

    drain_timeout_s: Annotated[Timeout, LIVE] = 5.0
    """How long a stop by SIGTERM or SIGINT waits for connections to finish, seconds."""

    chat_batch_ms: Annotated[int, msgspec.Meta(ge=0, le=1000), LIVE] = 50
    """Chat messages that come within so many milliseconds are sent together."""

    chat_origins: Annotated[tuple[str, ...], msgspec.Meta(max_length=100), LIVE] = ()
    """Sites besides this one whose pages may open the chat: "https://example.org", or "*" for all.
    A variable or flag has commas."""

    chat_sampling_above: Annotated[int, msgspec.Meta(ge=0, le=1_000_000), LIVE] = 0
    """Members past which each sees only `chat_sampling_per_s` messages of a room; 0: never."""

    chat_sampling_per_s: Annotated[float, msgspec.Meta(ge=0.1, le=1000), LIVE] = 20.0
    """Messages a second of a sampled room. Moderators' come on top, and one's own."""

    chat_keep_days: Annotated[int, msgspec.Meta(ge=1, le=3650), LIVE] = 30
    """How long chat is stored."""

    chat_webhook: Annotated[str | None, LIVE] = None
    """URL that is asked before a chat message is seen: allow, deny or change. None: nothing is."""

    chat_webhook_fails_open: Annotated[bool, LIVE] = True
    """Whether messages pass while it does not answer."""

    chat_webhook_secret: Annotated[str | None, LIVE] = None
    """Signs what it is sent; it has no flag."""

    chat_public_key: Path | None = None
    """PEM file: an Ed25519 public key, whose owner mints chat tokens too (EdDSA)."""

    playback_public_keys: Annotated[tuple[Path, ...], msgspec.Meta(max_length=15)] = ()
    """PEM files: Ed25519 public keys, whose owners mint playback tokens too; a token names its key
    (`kid`) as the file is called, without its ending. A variable or flag has commas."""

    publish_webhook: Annotated[str | None, LIVE] = None
    """URL that is asked about everybody who publishes with a good key: allow, deny or rename. None:
    a good key is enough."""

    publish_webhook_fails_open: Annotated[bool, LIVE] = False
    """Whether they may publish while it does not answer."""

    publish_webhook_secret: Annotated[str | None, LIVE] = None
    """Signs what it is sent; it has no flag."""

    health_min_bitrate_kbps: Annotated[int, msgspec.Meta(ge=0, le=1_000_000), LIVE] = 500
    """Below it a publisher's bitrate, over three seconds, is told as low; 0: never."""

    health_min_fps: Annotated[float, msgspec.Meta(ge=0, le=240), LIVE] = 20.0
    """Below it its frame rate is; 0: never."""

    health_max_dropped_frames: Annotated[int, msgspec.Meta(ge=0, le=100_000), LIVE] = 100
    """Above it, within a minute, frames are told as dropped; 0: never."""

    health_max_keyframe_interval_s: Annotated[float, msgspec.Meta(ge=0, le=60), LIVE] = 4.0
    """Above it the keyframe interval is told as long, seconds; 0: never."""

    health_max_av_skew_ms: Annotated[int, msgspec.Meta(ge=0, le=10_000), LIVE] = 200
    """Above it sound and picture are told to be apart, milliseconds; 0: never."""

    health_max_drift_ppm: Annotated[int, msgspec.Meta(ge=0, le=10_000), LIVE] = 300
    """Above it the encoder's clock is told as wrong, parts per million; 0: never."""

    health_max_jitter_ms: Annotated[int, msgspec.Meta(ge=0, le=10_000), LIVE] = 500
    """Above it media is told to come unevenly, milliseconds; 0: never."""

    recording_keep_days: Annotated[int, msgspec.Meta(ge=0, le=36_500), LIVE] = 0
    """How long recordings are kept; 0: for ever."""

    recording_max_gb: Annotated[int, msgspec.Meta(ge=0, le=1_000_000), LIVE] = 0
    """Size of all recordings (10^9 bytes each) beyond which the oldest go; 0: any size."""

    recording_min_free_mb: Annotated[int, msgspec.Meta(ge=0, le=1_000_000), LIVE] = 512
    """Room (MiB) on the disk of `data` without which a recording stops."""

    max_chat_connections: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20_000
    """WebSockets of all chats at one time."""

    max_chat_connections_per_address: Annotated[int, msgspec.Meta(ge=1, le=1_000_000), LIVE] = 200
    """The same from one address, of IPv6 from one /64. This machine is exempt."""

    max_rtmp_connections: Annotated[int, msgspec.Meta(ge=1, le=100_000), LIVE] = 1000
    """Publisher connections at one time, authenticated or not; more are closed at once."""

    max_rtmp_connections_per_address: Annotated[int, msgspec.Meta(ge=1, le=100_000), LIVE] = 100
    """The same from one address, of IPv6 from one /64. This machine is exempt."""

    max_http_connections: Annotated[int, msgspec.Meta(ge=1, le=1_000_000), LIVE] = 10_000
    """Viewer connections at one time; more are answered 503 and closed."""

    def __repr__(self) -> str:
        return safe_repr(self)

    @property
    def http_address(self) -> Address:
        """`http`, parsed."""
        return parse_address(self.http)

    @property
    def https_address(self) -> Address | None:
        """`https`, parsed."""
        return None if self.https is None else parse_address(self.https)

    @property
    def rtmp_address(self) -> Address:
        """`rtmp`, parsed."""
        return parse_address(self.rtmp)

    @property
    def rtmps_address(self) -> Address | None:
        """`rtmps`, parsed."""
        return None if self.rtmps is None else parse_address(self.rtmps)

    @property
    def rtmp_balancers(self) -> list[IPv4Network | IPv6Network]:
        """`rtmp_proxy_protocol`, parsed."""
        return [ip_network(text) for text in self.rtmp_proxy_protocol]

    @property
    def quality_ladder(self) -> Ladder:
        """`ladder`, `rungs` and `encoder`, put together."""
        return parse_ladder(self.ladder, rungs=configured_rungs(self.rungs), encoder=self.encoder)


def load_settings(
    *,
    config_file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """Gather the settings from all sources and check them.

    Args:
        config_file: The TOML file; None takes the one that HEADRACE_CONFIG names, if any.
        environment: The environment variables.
        flags: Field name to value, of the flags that were given; None values do not count.

    Returns:
        Settings that hold every documented bound.

    Raises:
        ConfigError: One line that names the setting and its source. It never repeats a secret.
    """
    return gather(PLAN, config_file=config_file, environment=environment, flags=flags or {})[0]


def _from_json(text: str) -> Any:
    """A list of tables, where everything is text."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise ValueError("expected a JSON list of objects") from None


def _from_commas(text: str) -> list[str]:
    """A list of words, where everything is text."""
    return [word.strip() for word in text.split(",")] if text else []


def _check_ladder(settings: Settings, sources: Sources) -> None:
    """Check that the ladder, the rungs and the encoder fit together."""
    try:
        ladder = settings.quality_ladder
    except RungError as error:
        raise ConfigError(f"{sources['ladder']}: {error}") from None
    try:
        check_presets(ladder)
    except RungError as error:
        raise ConfigError(f"{sources['rungs']}: {error}") from None


def _check_listeners(settings: Settings, sources: Sources) -> None:
    check_tls(settings, sources, "https", "rtmps")


def _check_targets(settings: Settings, sources: Sources) -> None:
    """Check that a part fits into a segment."""
    if settings.part_target_s > settings.segment_target_s / 2:
        culprit = sources.get("part_target_s") or sources["segment_target_s"]
        raise ConfigError(
            f"{culprit}: part_target_s ({settings.part_target_s:g}) must be at most"
            f" half of segment_target_s ({settings.segment_target_s:g})"
        )


def _check_value(name: str, value: Any) -> None:
    """Check what a type cannot say. Raises ValueError, whose text does not repeat a secret."""
    if name in ("http", "https", "rtmp", "rtmps") and value is not None:
        parse_address(value)
    elif name == "rtmp_proxy_protocol":
        for text in value:
            ip_network(text)
    elif name == "admin_token" and value is not None:
        AdminToken(value)
    elif name == "rungs":
        configured_rungs(value)


PLAN: Final = Plan(
    kind=Settings,
    check=_check_value,
    parsers={
        "rungs": _from_json,
        "rtmp_proxy_protocol": _from_commas,
        "chat_origins": _from_commas,
        "playback_public_keys": _from_commas,
    },
    together=(_check_ladder, _check_listeners, _check_targets),
)
"""What an origin's settings are."""
