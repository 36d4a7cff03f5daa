"""The values that cross the border of ``_reactor.pyx``; it has no Python twin, so they stand alone.

Imports the standard library only.
"""

from enum import Enum
from typing import NamedTuple


class ReactorEvent(Enum):
    """What `Reactor.step` tells; the first item of each of its tuples."""

    MISS = "miss"
    """(MISS, key): somebody asks for a key that is neither kept nor waited for. Its requests wait
    until `put`, `release` or `hand_back`."""
    UNWANTED = "unwanted"
    """(UNWANTED, key): all who waited for a key have left."""
    RETURNED = "returned"
    """(RETURNED, fd, received, tag, tls): a connection is Python's again, between two answers, with
    the bytes that follow. `tls` is its `TlsSocket`, or None."""
    ENDED = "ended"
    """(ENDED, tag, reason, sent_bytes, requests): a connection is closed. The reason is one of
    "left", "done", "idle", "slow head", "slow", "failed", "cut"."""


class ReactorLimits(NamedTuple):
    """All that is bounded; times in milliseconds."""

    max_connections: int = 16_384
    max_keys: int = 65_536
    """Answers that are kept."""
    max_waiting_keys: int = 16_384
    """Keys that are waited for; a request for one more goes back to Python."""
    head_timeout_ms: int = 10_000
    """For a request that has begun."""
    idle_timeout_ms: int = 65_000
    """Between two requests."""
    send_window_ms: int = 15_000
    """An answer that is not taken must move by `min_send_bytes` in each of these."""
    min_send_bytes: int = 245_760
    linger_timeout_ms: int = 1_000
    """From the last answer to the close, for the peer to read it."""
    requests_burst: int = 1_000
    """Requests that one connection may make at once."""
    requests_per_s: float = 500.0
    """The same, each second."""


class ReactorAccount(NamedTuple):
    """What one connection asked for since its last report; `Reactor.accounts` gives plain tuples.

    Only requests that were answered with a status under 400 count, and HEAD never does.
    """

    tag: int
    """Of the connection."""
    stream: bytes
    """The first segment behind the prefix."""
    agent: int
    """`fnv1a` of its User-Agent; 0 if it sent none."""
    cmcd: bytes
    """Its latest CMCD (CTA-5004) in a query, still escaped; at most 512 bytes."""
    blocking: int
    """Requests for a media playlist (``playlist.m3u8``, ``ts.m3u8``) that named a version
    (`_HLS_msn`)."""
    plain: int
    """The others for one. Both are 0 where only CMCD came, with media."""
    forwarded: bytes
    """The last address in X-Forwarded-For, on a connection that is shared; at most 64 bytes."""


class ReactorCounters(NamedTuple):
    """What there is now, and what was done so far."""

    connections: int
    parked: int
    keys: int
    """Answers that are kept."""
    waiting_keys: int
    requests: int
    hits: int
    """Requests that were answered at once."""
    misses: int
    """Keys that Python was asked for."""
    released: int
    """Requests that were answered after a wait."""
    sent_bytes: int
    returned: int
    """Connections that went back to Python."""
    timeouts: int
    refused: int
    """Requests that were one too many (429)."""
