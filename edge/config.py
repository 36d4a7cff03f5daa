"""The settings of `headrace-edge`, and what each worker makes of them.

One value for the whole node, gathered as `edge.process.settings` says. Where a bound is for all
workers together, each gets its share: connections and bytes are spread by the kernel's hash, evenly
enough.

Pure but for reading the file. May import: msgspec, `edge.process`; of `edge` settings and how an
upstream is written, of `control` how a token is.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from control.admin_token import AdminToken
from edge.edge_settings import EdgeSettings
from edge.http.access_log import Which
from edge.http.settings import HttpSettings
from edge.process.address import Address, parse_address
from edge.process.errors import ConfigError
from edge.process.settings import Plan, Sources, Timeout, check_tls, gather, safe_repr
from edge.upstream import parse_upstream

MAX_WORKERS: Final = 256
"""More cores than that are more than one machine's network card needs."""

MAX_UPSTREAMS: Final = 16
"""More are no safer, and each is probed."""

NEEDS_RESTART: Final = frozenset({"http", "https", "workers"})
"""Settings that SIGHUP does not change: what the sockets are made of. All others are the workers',
which it replaces."""

Share = Annotated[float, msgspec.Meta(ge=0.1, le=1)]
"""Type of a field: a part of a whole."""

_MIB: Final = 1024 * 1024


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a start can choose. The constructor checks nothing; `load_settings` does."""

    http: str = "127.0.0.1:8080"
    """Where viewers are served, HOST:PORT. Port 0 picks a free one."""

    https: str | None = None
    """Where the same is served over TLS, HOST:PORT, as HTTP/2 and HTTP/1.1. None: nowhere."""

    tls_certificate: Path | None = None
    """PEM file for `https`: its certificate, then the intermediate ones. Reloaded when changed."""

    tls_key: Path | None = None
    """PEM file: its private key, without a password. None: it is in `tls_certificate`."""

    upstream: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_UPSTREAMS)] = ()
    """Origins, or other edges: `http://HOST:PORT`, the one to prefer first; at least one. Commas
    between them in a variable."""

    upstream_token: str | None = None
    """An admin token of the origin with the scope `edge`; it has no flag. None: bare players are
    not counted here, and streams that not everybody may watch are not served."""

    workers: Annotated[int, msgspec.Meta(ge=0, le=MAX_WORKERS)] = 0
    """Processes that serve; 0: one for each processor that this one may run on."""

    prefetch: bool = True
    """Whether what is watched is fetched before it is asked for."""

    cache_mb: Annotated[int, msgspec.Meta(ge=16, le=1_048_576)] = 1024
    """Media that is kept, MiB, in all workers."""

    max_connections: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 16_384
    """Viewer connections at one time, in all workers; more are answered 503 and closed."""

    max_connections_per_address: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 512
    """The same of one address, in each worker. Loopback is exempt: a proxy speaks for many."""

    shed_connections: Share = 0.9
    """Share of a worker's connections past which new viewers are refused: those it has open more
    when they need them."""

    shed_cpu: Share = 0.9
    """Share of its core that a worker may use before it refuses new viewers."""

    drain_timeout_s: Timeout = 5.0
    """How long a worker that ends waits for its connections to finish, seconds."""

    farewell_s: Annotated[float, msgspec.Meta(ge=0, le=300)] = 0.0
    """From a stop by SIGTERM or SIGINT to its begin, seconds: `/ready` says no and all else goes
    on, so that a balancer looks elsewhere first."""

    log_format: Literal["text", "json"] = "text"
    """Lines for people (text) or for machines (json), on stderr."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe lines to write."""

    access_log: Which = "none"
    """Which requests get a line in the log: none, errors (a status from 400 on), sampled (errors
    and a share of the others), or all; never those of players that the reactor answers."""

    access_log_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01
    """The share, if they are sampled."""

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
    def worker_count(self) -> int:
        """`workers`, with 0 resolved."""
        return self.workers or min(MAX_WORKERS, len(os.sched_getaffinity(0)))

    def for_cache(self, *, node_id: str, workers: int) -> EdgeSettings:
        """What the application of one worker gets.

        Args:
            node_id: Of the node; see `EdgeSettings`.
            workers: How many there are.
        """
        return EdgeSettings(
            upstreams=tuple(map(parse_upstream, self.upstream)),
            upstream_token=self.upstream_token,
            node_id=node_id,
            cache_bytes=self.cache_mb * _MIB // workers,
            prefetch=self.prefetch,
        )

    def for_http(self, *, workers: int) -> HttpSettings:
        """What the HTTP server of one of `workers` workers gets."""
        return HttpSettings(
            max_connections=-(-self.max_connections // workers),
            max_connections_per_address=self.max_connections_per_address,
            drain_timeout_s=self.drain_timeout_s,
            drain_held_s=self.drain_timeout_s / 2,
        )


def load_settings(
    *,
    config_file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    flags: Mapping[str, Any] | None = None,
) -> NodeSettings:
    """Gather the settings from all sources and check them.

    Args:
        config_file: The TOML file; None takes the one that HEADRACE_CONFIG names, if any.
        environment: The environment variables.
        flags: Field name to value, of the flags that were given; None values do not count.

    Returns:
        Settings that hold every documented bound.

    Raises:
        ConfigError: One line that names the setting and its source.
    """
    return gather(PLAN, config_file=config_file, environment=environment, flags=flags or {})[0]


def _check_listeners(settings: NodeSettings, sources: Sources) -> None:
    check_tls(settings, sources, "https")


def _check_upstream(settings: NodeSettings, sources: Sources) -> None:
    if not settings.upstream:
        source = sources.get("upstream", "--upstream")
        raise ConfigError(f"{source}: whom to ask is missing: http://HOST:PORT of an origin")


def _check_value(name: str, value: Any) -> None:
    """Check what a type cannot say."""
    if name in ("http", "https") and value is not None:
        parse_address(value)
    elif name == "upstream" and len(set(map(parse_upstream, value))) < len(value):
        raise ValueError("an upstream is there twice")
    elif name == "upstream_token" and value is not None:
        AdminToken(value)


PLAN: Final = Plan(
    kind=NodeSettings,
    check=_check_value,
    parsers={"upstream": lambda text: [url.strip() for url in text.split(",")]},
    together=(_check_listeners, _check_upstream),
)
"""What an edge's settings are."""
