"""Every limit and time-out of the HTTP server, with its precedent.

A peer can make this server hold no more than: `max_connections` tasks, and for each of them
`max_head_bytes` + `max_body_bytes` of input and whatever the kernel buffers; bodies of responses
are shared, not counted per viewer.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """Limits of one HTTP server; the defaults fit one machine that faces the open internet."""

    max_connections: int = 8192
    """Open connections in all; the next one gets 503 and is closed."""

    max_connections_per_address: int = 512
    """Open connections from one address (an office behind one NAT: six per browser tab).

    Loopback is exempt: a reverse proxy on this machine speaks for many viewers.
    """

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

    body_timeout_s: float = 15.0
    """From the end of the head to the end of the body: 408 and close."""

    idle_timeout_s: float = 65.0
    """Between an answer and the next request; longer than the 60 s of common proxies."""

    handler_timeout_s: float = 30.0
    """For an API handler: 503 above."""

    send_timeout_s: float = 15.0
    """For an answer to be taken by the peer's side, plus its size at `min_send_rate_bytes_s`."""

    min_send_rate_bytes_s: int = 16 * 1024
    """A viewer slower than this (128 kbit/s) cannot watch, and must not hold a task either."""

    linger_timeout_s: float = 1.0
    """After an early error answer: read and drop what the peer still sends, or it sees a reset."""

    drain_timeout_s: float = 5.0
    """After `stop`: how long current answers may take before they are cut."""
