"""What would refuse a start, or be regretted after one, found without starting anything.

A *finding* has the source of the setting that it is about. An error is what a start would refuse,
and a few things it would find out later (an encoder that does not work here); a warning is what
works and is probably not meant.

Nothing is made or changed: no folder, no secret, no database. What other machines would say
(upstreams, webhooks) is not asked.

May import everything of ours.
"""

import math
import os
import resource
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from control import StoreError, load_or_create_admin_token
from control.secret_file import KEY_BYTES
from edge.config import NodeSettings
from edge.http.tls import Certificate, CertificateError
from edge.process.address import Address
from edge.process.errors import ConfigError, StartupError
from edge.process.listeners import open_listeners
from edge.process.settings import Sources, is_secret
from origin.app import ADMIN_TOKEN_NAME, DATABASE_NAME
from origin.chat import make_keyring, make_webhook
from origin.config import Settings
from origin.hooks.publish import parse_publish_webhook
from origin.playback import read_public_keys
from origin.slate.clip import SlateError, check_file
from origin.transcode.machine import usable_cores
from origin.transcode.measure import MeasureError, load, measure

LISTENERS: Final = ("http", "https", "rtmp", "rtmps")

SLOW_PART_S: Final = 0.5
"""A part from which on viewers are more than some two seconds behind: they stay three back."""

SPARE_FILES: Final = 200
"""Descriptors beside those of connections: the database, listeners, workers, files."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A line for the operator."""

    is_error: bool
    source: str
    """Where the setting was given; its name, where the default holds."""
    text: str

    def __str__(self) -> str:
        return f"{'error' if self.is_error else 'warning'}: {self.source}: {self.text}"


@dataclass(frozen=True, slots=True)
class _Look:
    """Settings to look at."""

    settings: Any
    sources: Sources

    def error(self, name: str, text: str) -> Finding:
        return Finding(True, self.sources.get(name, name), text)

    def warning(self, name: str, text: str) -> Finding:
        return Finding(False, self.sources.get(name, name), text)


async def check_origin(
    settings: Settings, sources: Sources, *, ports: bool = False
) -> list[Finding]:
    """Look at an origin's settings.

    Args:
        settings: They fit together.
        sources: Where each was given.
        ports: Whether to listen for an instant, to see that it can be done: not while it runs.

    Cost: some seconds if the encoders of the ladder have not been measured here yet.
    """
    look = _Look(settings, sources)
    return [
        *_tls(look),
        *_data(look),
        *_keys_and_hooks(look),
        *await _slate(look),
        *await _encoders(look),
        *(await _ports(look) if ports else ()),
        *_exposed(look),
        *_targets(look),
        *_files(look),
        *_readable(look),
    ]


async def check_edge(
    settings: NodeSettings, sources: Sources, *, ports: bool = False
) -> list[Finding]:
    """Look at an edge's settings; the arguments are those of `check_origin`."""
    look = _Look(settings, sources)
    return [
        *_tls(look),
        *(await _ports(look) if ports else ()),
        *_exposed(look),
        *_upstreams(look),
        *_files(look),
        *_readable(look),
    ]


def _tls(look: _Look) -> Iterator[Finding]:
    settings = look.settings
    if settings.tls_certificate is None:
        return
    try:
        Certificate(settings.tls_certificate, settings.tls_key)
    except CertificateError as error:
        yield look.error("tls_certificate", str(error))
    key: Path = settings.tls_key or settings.tls_certificate
    if _is_readable_by_all(key):
        name = "tls_key" if settings.tls_key else "tls_certificate"
        yield look.warning(name, f"{key}: everybody on this machine may read the key")


def _data(look: _Look) -> Iterator[Finding]:
    """The folder: there, or to be made."""
    folder: Path = look.settings.data
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        yield look.error("data", f"{there}: not a folder")
        return
    if not os.access(there, os.W_OK | os.X_OK):
        yield look.error("data", f"{there}: not writable by this user")
        return
    database = folder / DATABASE_NAME
    if database.exists() and not os.access(database, os.R_OK | os.W_OK):
        yield look.error("data", f"{database}: not writable by this user")
    token = folder / ADMIN_TOKEN_NAME
    if look.settings.admin_token is None and token.exists():
        try:
            load_or_create_admin_token(token)
        except StoreError as error:
            yield look.error("data", str(error))


def _keys_and_hooks(look: _Look) -> Iterator[Finding]:
    settings = look.settings
    tries: tuple[tuple[str, Callable[[], object]], ...] = (
        ("chat_public_key", partial(make_keyring, settings, bytes(KEY_BYTES))),
        ("chat_webhook", partial(make_webhook, settings)),
        ("playback_public_keys", partial(read_public_keys, settings)),
        ("publish_webhook", partial(parse_publish_webhook, settings)),
    )
    for name, make in tries:
        try:
            make()
        except ConfigError as error:
            yield look.error(name, str(error).removeprefix(f"{name}: "))
    for name in ("chat_webhook", "publish_webhook"):
        if getattr(settings, name) is not None and getattr(settings, f"{name}_secret") is None:
            yield look.warning(name, f"it cannot tell who asks without {name}_secret")


async def _slate(look: _Look) -> list[Finding]:
    settings: Settings = look.settings
    if settings.slate is None:
        return []
    try:
        await check_file(settings.slate)
    except SlateError as error:
        return [look.error("slate", str(error))]
    if settings.slate_after_s >= settings.reconnect_grace_s:
        never = "it is never shown: slate_after_s is not less than reconnect_grace_s"
        return [look.warning("slate", never)]
    return []


async def _encoders(look: _Look) -> list[Finding]:
    """Whether the encoders that the ladder names work on this machine."""
    settings: Settings = look.settings
    ladder = settings.quality_ladder
    if not ladder.rungs:
        return []
    try:
        speed = load(settings.data, ladder) or await measure(ladder)
    except MeasureError as error:
        return [look.error("ladder", f"encoding cannot be tried: {error}")]
    rungs = {rung.encoder for rung in ladder.rungs}
    return [
        look.error("rungs" if encoder in rungs else "encoder", f"{encoder} does not work: {reason}")
        for encoder, reason in speed.costs.broken.items()
    ]


async def _ports(look: _Look) -> list[Finding]:
    """Whether every address can be listened on, all of them at once."""
    findings = []
    async with AsyncExitStack() as stack:
        for name in LISTENERS:
            address: Address | None = getattr(look.settings, f"{name}_address", None)
            try:
                await stack.enter_async_context(open_listeners(name.upper(), address))
            except StartupError as error:
                findings.append(look.error(name, str(error)))
    return findings


def _exposed(look: _Look) -> Iterator[Finding]:
    """What other machines reach, and everybody between can read."""
    settings = look.settings
    if not _is_loopback(settings.http_address) and settings.https is None:
        yield look.warning(
            "http",
            f"{settings.http} is served without TLS: everybody between reads credentials; set"
            " https, or listen on 127.0.0.1 behind a proxy with TLS",
        )
    if isinstance(settings, Settings):
        if not _is_loopback(settings.rtmp_address) and settings.rtmps is None:
            yield look.warning(
                "rtmp", f"{settings.rtmp} is served without TLS: stream keys can be read; set rtmps"
            )
        if settings.demo and not _is_loopback(settings.http_address):
            yield look.warning("demo", "the demo broadcast is shown to others too")


def _targets(look: _Look) -> Iterator[Finding]:
    """Lengths that make viewers late, or parts uneven."""
    settings: Settings = look.settings
    part_s, segment_s = settings.part_target_s, settings.segment_target_s
    if part_s > SLOW_PART_S:
        yield look.warning(
            "part_target_s", f"viewers stay three parts back: {3 * part_s:g} s and more behind"
        )
    parts = segment_s / part_s
    if abs(parts - round(parts)) > 0.01:
        yield look.warning(
            "part_target_s",
            f"{segment_s:g} s are no whole number of parts of {part_s:g} s: each segment ends with"
            " a short one",
        )


def _files(look: _Look) -> Iterator[Finding]:
    """Whether this process may have as many descriptors as connections are allowed."""
    settings = look.settings
    names: Sequence[str] = ("max_http_connections", "max_rtmp_connections", "max_chat_connections")
    if isinstance(settings, NodeSettings):
        names = ("max_connections",)
    most = sum(getattr(settings, name) for name in names)
    if isinstance(settings, NodeSettings):
        most = -(-most // settings.worker_count)
    limit = file_limit()
    if most + SPARE_FILES > limit:
        yield look.warning(
            names[0],
            f"{' and '.join(names)} allow {most} connections, the system {limit:.0f} files"
            " a process (ulimit -Hn)",
        )


def file_limit() -> float:
    """Descriptors that the system lets a process have, if it asks as the servers do."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if hard == resource.RLIM_INFINITY else hard


def _readable(look: _Look) -> Iterator[Finding]:
    """Secrets in a file that others may read."""
    for info in msgspec.structs.fields(look.settings):
        source = look.sources.get(info.name, "")
        file, found, _ = source.rpartition(": ")
        if found and is_secret(info) and _is_readable_by_all(Path(file)):
            yield look.warning(info.name, "a secret in a file that everybody on this machine reads")


def _upstreams(look: _Look) -> Iterator[Finding]:
    settings: NodeSettings = look.settings
    if settings.upstream_token is None:
        yield look.warning(
            "upstream_token",
            "not set: bare players are not counted, and streams that not everybody may watch are"
            " not served",
        )
    else:
        for url in settings.upstream:
            place = urlsplit(url)
            if place.scheme == "http" and not _is_loopback(Address(place.hostname or "", 0)):
                yield look.warning("upstream", f"{url}: upstream_token is sent in clear")
    if settings.workers > usable_cores():
        yield look.warning(
            "workers", f"{settings.workers} on {usable_cores():g} cores: more are no faster"
        )


def _is_loopback(address: Address) -> bool:
    try:
        return ip_address(address.host).is_loopback
    except ValueError:
        return address.host == "localhost"


def _is_readable_by_all(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False  # said elsewhere, if it matters
