"""The origin's settings: one frozen value, gathered from a TOML file, the environment and flags.

Later sources win: defaults, then ``--config FILE`` (flat TOML, keys as the fields below; only
``rungs`` is a list of tables), then ``HEADRACE_<FIELD>`` variables, then flags. Each value is
checked on its own, so that an error can name the setting and the source it came from, in one line;
then what must hold between settings is checked. A setting that is unknown is an error too: a typing
mistake must not silently leave a default in force.

Pure but for reading the file.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from control.admin_token import AdminToken
from origin.errors import ConfigError
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

ENVIRONMENT_PREFIX: Final = "HEADRACE_"

#: Variables with the prefix that are not settings: the file to read, and the switches of the build.
_NOT_SETTINGS: Final = frozenset(
    {"HEADRACE_CONFIG", "HEADRACE_PURE", "HEADRACE_SANITIZE", "HEADRACE_ANNOTATE"}
)

#: Seconds; short enough to notice, long enough for any line.
Timeout = Annotated[float, msgspec.Meta(ge=0.1, le=3600)]


class Address(NamedTuple):
    """A host and a TCP port to listen on."""

    host: str
    """Name or IP address; an IPv6 address without brackets."""

    port: int
    """0 to 65535; 0 lets the kernel choose."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def reachable(self) -> "Address":
        """How this machine reaches a listener here, which may be on every interface."""
        loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        return self._replace(host=loopback.get(self.host, self.host))


def parse_address(text: str) -> Address:
    """Read ``HOST:PORT`` or ``[IPV6]:PORT``.

    Args:
        text: What somebody typed.

    Returns:
        Its parts.

    Raises:
        ValueError: It has another form; the text says which part is wrong.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError("expected HOST:PORT")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError("the port must be a number from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise ValueError("brackets are for IPv6 addresses")
    elif ":" in host:
        raise ValueError("an IPv6 address goes in brackets: [::1]:8080")
    if not host:
        raise ValueError("the host is missing; 0.0.0.0 or [::] means every interface")
    if not host.isprintable() or any(character in " /@[]" for character in host):
        raise ValueError("the host has a character that no host has")
    return Address(host, int(port))


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a start can choose. The constructor checks nothing; `load_settings` does."""

    http: str = "127.0.0.1:8080"
    """Where viewers and the API are served, HOST:PORT. Port 0 picks a free one."""

    https: str | None = None
    """Where the same is served over TLS, HOST:PORT, as HTTP/2 and HTTP/1.1. None: nowhere."""

    tls_certificate: Path | None = None
    """PEM file for `https`: its certificate, then the intermediate ones. Reloaded when changed."""

    tls_key: Path | None = None
    """PEM file: its private key, without a password. None: it is in `tls_certificate`."""

    rtmp: str = "127.0.0.1:1935"
    """Where publishers connect, HOST:PORT. Port 0 picks a free one."""

    data: Path = Path("headrace-data")
    """Folder of the database and the admin token, created if missing."""

    demo: bool = False
    """Whether to publish the built-in demo broadcast."""

    ladder: str = DEFAULT_LADDER
    """Renditions to transcode to: names of rungs with commas between them, or "none". A broadcast
    gets those that are smaller than its source and that this machine can carry."""

    rungs: Annotated[tuple[RungOverride, ...], msgspec.Meta(max_length=MAX_CONFIGURED)] = ()
    """Rungs that are changed or added, by name. It has no flag; a variable holds JSON."""

    encoder: EncoderName | Literal["auto"] = FALLBACK_ENCODER
    """What encodes the rungs that do not say. "auto" takes the first that works here."""

    max_gop_s: Annotated[float, msgspec.Meta(ge=1, le=10)] = 4.0
    """Longest keyframe interval at which the source is passed through, seconds, if there is a
    ladder. Above it a rung of the source's size is encoded in its place."""

    transcode_cores: Annotated[float, msgspec.Meta(ge=0, le=1024)] = 0.0
    """Cores that transcoding may fill; 0: those of the machine, but for a reserve."""

    transcode_memory_mb: Annotated[int, msgspec.Meta(ge=256, le=65536)] = 2048
    """Address space of one broadcast's worker, MiB: more than it ever holds in memory."""

    log_format: Literal["text", "json"] = "text"
    """Lines for people (text) or for machines (json), on stderr."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe lines to write."""

    admin_token: str | None = None
    """The admin's bearer token; it has no flag. None: DATA/admin-token, made on first start."""

    segment_target_s: Annotated[float, msgspec.Meta(ge=1, le=10)] = 2.0
    """Length a segment aims at, seconds; it ends at the next keyframe."""

    part_target_s: Annotated[float, msgspec.Meta(ge=0.1, le=2)] = 0.2
    """Length a part aims at, seconds; at most half a segment. Players stay three parts back."""

    window_segments: Annotated[int, msgspec.Meta(ge=6, le=1000)] = 15
    """Segments a live playlist lists; older ones leave memory."""

    publish_timeout_s: Timeout = 20.0
    """Silence after which a publisher counts as gone, seconds."""

    reconnect_grace_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 60.0
    """How long a broadcast waits for a publisher whose connection was lost, seconds; 0: not at all.
    One that says that it ends (OBS's "stop streaming") is not waited for."""

    handshake_timeout_s: Timeout = 10.0
    """From a publisher's connection to its accepted publish, seconds."""

    drain_timeout_s: Timeout = 5.0
    """How long a stop by SIGTERM or SIGINT waits for connections to finish, seconds."""

    max_rtmp_connections: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    """Publisher connections at one time, authenticated or not; more are closed at once."""

    max_http_connections: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    """Viewer connections at one time; more are answered 503 and closed."""

    def __repr__(self) -> str:
        if self.admin_token is None:
            return super().__repr__()
        return repr(msgspec.structs.replace(self, admin_token=None))  # a repr goes into logs

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
    def quality_ladder(self) -> Ladder:
        """`ladder`, `rungs` and `encoder`, put together."""
        return parse_ladder(self.ladder, rungs=configured_rungs(self.rungs), encoder=self.encoder)


_FIELDS: Final = {field.name: field for field in msgspec.structs.fields(Settings)}


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
    if config_file is None and environment.get("HEADRACE_CONFIG"):
        config_file = Path(environment["HEADRACE_CONFIG"])
    given: tuple[_Given, ...] = (
        *(_file_settings(config_file) if config_file else ()),
        *_environment_settings(environment),
        *_flag_settings(flags or {}),
    )
    # Every value is checked, also one that a later source replaces.
    settings = Settings(**{setting.name: _checked(setting) for setting in given})
    _check_ladder(settings, given)
    _check_tls(settings, given)
    if settings.part_target_s > settings.segment_target_s / 2:
        sources = {setting.name: setting.source for setting in given}
        culprit = sources.get("part_target_s") or sources["segment_target_s"]
        raise ConfigError(
            f"{culprit}: part_target_s ({settings.part_target_s:g}) must be at most"
            f" half of segment_target_s ({settings.segment_target_s:g})"
        )
    return settings


class _Given(NamedTuple):
    """A setting as one source gives it."""

    name: str
    value: Any
    source: str
    """How an error names it: variable, flag, or file and key."""
    is_text: bool
    """Everything is text here, so "0.3" may be a number; in TOML that is a mistake."""


def _file_settings(path: Path) -> Iterator[_Given]:
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:  # bad TOML, or bytes that are no UTF-8
        raise ConfigError(f"{path}: not TOML: {error}") from error
    for name, value in table.items():
        if name not in _FIELDS:
            raise ConfigError(f"{path}: unknown setting {name!r}")
        yield _Given(name, value, f"{path}: {name}", is_text=False)


def _environment_settings(environment: Mapping[str, str]) -> Iterator[_Given]:
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in _NOT_SETTINGS:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name not in _FIELDS or variable != variable.upper():
            raise ConfigError(f"environment: unknown setting {variable!r}")
        yield _Given(name, environment[variable], variable, is_text=True)


def _flag_settings(flags: Mapping[str, Any]) -> Iterator[_Given]:
    for name, value in flags.items():
        if value is not None:
            yield _Given(name, value, "--" + name.replace("_", "-"), is_text=True)


#: Where in a nested value msgspec found the mistake: it ends the text.
_PATH: Final = re.compile(r" - at `\$([^`]*)`$")


def _checked(setting: _Given) -> Any:
    """Convert a value to its field's type and check it, or name the setting it was for."""
    try:
        value = msgspec.convert(
            _from_json(setting) if setting.name == "rungs" else setting.value,
            _FIELDS[setting.name].type,
            strict=not setting.is_text,
            dec_hook=_to_path,
        )
        _check_value(setting.name, value)
    except (msgspec.ValidationError, ValueError) as error:
        text = str(error)
        place = _PATH.search(text)
        where = error.where if isinstance(error, RungError) else place[1] if place else ""
        text = _PATH.sub("", text).replace("`", "")
        if setting.is_text:
            text = text.removesuffix(", got str")  # true of every variable and flag
        raise ConfigError(f"{setting.source}{where}: {text[:1].lower()}{text[1:]}") from None
    return value


def _from_json(setting: _Given) -> Any:
    """A list of tables; where everything is text, it is JSON."""
    if not setting.is_text:
        return setting.value
    try:
        return msgspec.json.decode(setting.value)
    except msgspec.DecodeError:
        raise ValueError("expected a JSON list of objects") from None


def _check_ladder(settings: Settings, given: tuple[_Given, ...]) -> None:
    """Check that the ladder, the rungs and the encoder fit together."""
    sources = {setting.name: setting.source for setting in given}
    try:
        ladder = settings.quality_ladder
    except RungError as error:
        raise ConfigError(f"{sources['ladder']}: {error}") from None
    try:
        check_presets(ladder)
    except RungError as error:
        raise ConfigError(f"{sources['rungs']}: {error}") from None


def _check_tls(settings: Settings, given: tuple[_Given, ...]) -> None:
    """Check that a certificate is there where it is needed, and nowhere else."""
    sources = {setting.name: setting.source for setting in given}
    if settings.https is not None and settings.tls_certificate is None:
        raise ConfigError(f"{sources['https']}: https needs tls_certificate")
    for name, needed in (("tls_certificate", "https"), ("tls_key", "tls_certificate")):
        if getattr(settings, name) is not None and getattr(settings, needed) is None:
            raise ConfigError(f"{sources[name]}: {name} needs {needed}")


def _to_path(type_: type, value: Any) -> Any:
    if type_ is Path and isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    raise ValueError("expected a path")


def _check_value(name: str, value: Any) -> None:
    """Check what a type cannot say. Raises ValueError, whose text does not repeat a secret."""
    if name in ("http", "https", "rtmp") and value is not None:
        parse_address(value)
    elif name == "admin_token" and value is not None:
        AdminToken(value)
    elif name == "rungs":
        configured_rungs(value)
