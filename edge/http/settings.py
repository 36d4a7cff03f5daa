"""Every limit and time-out of the HTTP server, with its precedent.

A peer can make this server hold no more than: `max_connections` tasks, and for each of them
`max_head_bytes` + `max_body_bytes` of input and whatever the kernel buffers; bodies of responses
are shared, not counted per viewer. A connection of HTTP/2 may hold `Http2Settings.max_streams`
requests, and what its own limits say.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
"""This machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Http2Settings:
    """What one HTTP/2 connection may ask for, and how much of it may be noise.

    The budgets are token buckets: so many at once, so many a second for ever. Who overdraws one is
    sent GOAWAY (ENHANCE_YOUR_CALM). The attacks that each stops are named with it.
    """

    max_streams: int = 100
    """Requests at one time (RFC 9113 6.5.2 asks for no less; nginx 128); running handlers too."""

    max_head_bytes: int = 16 * 1024
    """Fields of one request, as HPACK counts them, and their frames before they are decoded: HPACK
    bombs (CVE-2016-6581), CONTINUATION floods (CVE-2024-27316)."""

    max_bodies_bytes: int = 256 * 1024
    """Request bodies that are held at one time, of all streams; the next one gets 503."""

    max_settings_per_frame: int = 32
    """Settings in one SETTINGS frame; there are seven that anybody sends (CVE-2020-11080)."""

    reset_burst: int = 200
    """Streams that are reset by the client, or by us for what it did: rapid reset (CVE-2023-44487),
    "made you reset" (CVE-2025-8671). A player cancels some requests when it changes quality."""

    resets_per_s: float = 20.0
    """The same, each second (nghttp2: 1000 and 33)."""

    noise_burst: int = 1000
    """Frames that neither ask nor carry anything: PING (CVE-2019-9512), SETTINGS (CVE-2019-9515),
    PRIORITY (CVE-2019-9513), empty or tiny DATA (CVE-2019-9518), CONTINUATION, resets, unknown
    ones, and WINDOW_UPDATE, whose tiny increments drag a transfer out (CVE-2019-9511)."""

    noise_per_s: float = 50.0
    """The same, each second. Each KiB that is sent, and four times each request, earn one more: so
    many WINDOW_UPDATE frames has a client reason to send."""

    max_replies_bytes: int = 64 * 1024
    """Replies to such frames that wait for a peer that does not read (CVE-2019-9517)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """Limits of one HTTP server; the defaults fit one machine that faces the open internet."""

    max_connections: int = 8192
    """Open connections in all; the next one gets 503 and is closed."""

    max_connections_per_address: int = 512
    """Open connections from one address (an office behind one NAT: six per browser tab).

    Loopback is exempt: a reverse proxy on this machine speaks for many viewers.
    """

    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = LOOPBACK
    """Who is believed about whom it speaks for: the last address of its X-Forwarded-For."""

    max_head_bytes: int = 16 * 1024
    """Request line and fields together, 431 above (nginx: 4 x 8 KiB, h11: 16 KiB)."""

    max_target_bytes: int = 4 * 1024
    """Path and query, 414 above; ours are under 200."""

    max_body_bytes: int = 64 * 1024
    """Request body, 413 above; ours are under 1 KiB."""

    max_pipelined_bytes: int = 16 * 1024
    """Read ahead while a request is held; then the client is not read until it is answered."""

    head_timeout_s: float = 10.0
    """From the first byte of a request (or from accept) to the end of its head: 408 and close."""

    handshake_timeout_s: float = 10.0
    """For TLS, from accept; then the connection is closed."""

    body_timeout_s: float = 15.0
    """From the end of the head to the end of the body: 408 and close."""

    idle_timeout_s: float = 65.0
    """Between an answer and the next request; longer than the 60 s of common proxies."""

    handler_timeout_s: float = 30.0
    """For an API handler: 503 above."""

    requests_burst: int = 1000
    """Requests of one connection at once; 429 and the end above. A player asks ten times a second,
    an edge or a proxy for a hundred players."""

    requests_per_s: float = 500.0
    """The same, each second."""

    send_timeout_s: float = 15.0
    """For an answer to be taken by the peer's side, plus its size at `min_send_rate_bytes_s`."""

    min_send_rate_bytes_s: int = 16 * 1024
    """A viewer slower than this (128 kbit/s) cannot watch, and must not hold a task either."""

    linger_timeout_s: float = 1.0
    """After an early error answer: read and drop what the peer still sends, or it sees a reset."""

    drain_timeout_s: float = 5.0
    """After `stop`: how long current answers may take before they are cut."""

    drain_held_s: float = 0.0
    """After `stop`: how long held requests may still wait for their answer before they get 503. An
    origin's broadcasts have ended by then; what an edge waits for comes within a part or two."""

    http2: Http2Settings = Http2Settings()
    """What goes for HTTP/2 alone."""

    def send_allowance_s(self, size_bytes: int) -> float:
        """Return how long a peer may take for so many bytes, seconds."""
        return self.send_timeout_s + size_bytes / self.min_send_rate_bytes_s
