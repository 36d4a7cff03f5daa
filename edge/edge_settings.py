"""Every limit and time-out of an edge's application, with its reason.

The limits of the server in front of it are `edge.http.settings`'. An edge holds no more than
`cache_bytes` + `playlist_bytes`, and for each request that is under way upstream one body; those
are bounded in number by `max_held` + `max_fetches` for each upstream, in size by `max_body_bytes`.
An upstream is trusted not to reach that everywhere at once.

May import: nothing of ours.
"""

import secrets
import ssl
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSettings:
    """What one edge process asks whom, and what it keeps."""

    upstreams: tuple[str, ...]
    """Origins, or other edges: `http://host:port`, the one to prefer first."""

    upstream_token: str | None = field(default=None, repr=False)
    """Shown to upstreams where an edge must be known: the scope `edge`. A secret."""

    node_id: str = field(default_factory=lambda: secrets.token_hex(8))
    """Names this node in Via, so that a ring of edges is noticed. Workers of a node share it."""

    tls_context: ssl.SSLContext | None = None
    """Checks the certificates of upstreams; None: the system's authorities."""

    cache_bytes: int = 1024 * 1024 * 1024
    """For media and whatever else is kept, but media playlists."""

    playlist_bytes: int = 128 * 1024 * 1024
    """For the newest versions of media playlists: one of a window of four hours has 1 MB."""

    prefetch: bool = True
    """Follow what is watched (`edge.prefetch`)."""

    restart_grace_s: float = 10.0
    """A stream that was live so long ago and is missing now will be back: its origin has started
    again, and its publisher is on its way (OBS comes back after 2 s)."""

    max_flights: int = 4096
    """Requests that viewers wait for, or that are made for them ahead, in all."""

    max_held: int = 384
    """Of those that one upstream holds (blocking reloads, hinted parts), two for each rendition
    that is followed. Apart from the others, so that waiting never keeps media from coming.

    Over HTTP/1.1 each is a connection, and with `max_fetches` they are fewer than the 512 that an
    origin takes from one address (`HttpSettings.max_connections_per_address`). Over HTTP/2 they
    are six connections.
    """

    max_waits: int = 16
    """Of those that are for different versions of one playlist. Players ask for the next one, in
    two forms; whoever asks for all that could come must not take the places of other streams."""

    max_fetches: int = 64
    """Of the others, at one upstream. What does not fit waits its turn."""

    max_body_bytes: int = 64 * 1024 * 1024
    """Of one answer: a segment of ten seconds at 50 Mbit/s."""

    max_call_bytes: int = 1024 * 1024
    """Of an answer of the API."""

    connect_timeout_s: float = 2.0
    """To an upstream, with TLS."""

    attempt_timeout_s: float = 4.0
    """For an answer that exists already, from one upstream; then the next one is asked."""

    fetch_timeout_s: float = 10.0
    """The same from all of them."""

    call_timeout_s: float = 25.0
    """For the API; less than `HttpSettings.handler_timeout_s`."""

    reload_margin_s: float = 2.0
    """More than an upstream may hold a request on purpose: three target durations, or as long as it
    waits for a first segment (`edge.http.hls_app`)."""

    patience_s: float = 3.0
    """How long viewers are let wait for an upstream to come back before they are told 503: a player
    counts errors, and gives up sooner than it runs out of patience."""
