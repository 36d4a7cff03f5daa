"""Plain HTTP/1.1 requests that end, whatever the server does.

One `Client` is one kept-alive connection of one thread. A timer shuts the socket down at a
request's deadline, so that a server that trickles cannot hold it. Not a judge: `Exchange` keeps
what was seen.

Bounds: a request takes its `timeout_s` and then an error; a body is read to `MAX_BODY_BYTES`; a
redirect is not followed.
"""

import contextlib
import hashlib
import http.client
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

MAX_BODY_BYTES = 64 * 1024 * 1024
CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came of it; times are monotonic seconds."""

    method: str
    url: str
    status: int
    """0 without an answer."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the answer, names in lower case, repeated ones joined by commas."""
    body: bytes = b""
    size_bytes: int = 0
    digest: str = ""
    asked_s: float = 0.0
    head_s: float = 0.0
    """When the answer's head had come."""
    done_s: float = 0.0
    closes: bool = False
    """The connection cannot be used again."""
    reopened: bool = False
    """The kept connection had been closed without a word, so it was sent again on a new one."""
    error: str = ""

    @property
    def took_s(self) -> float:
        return self.done_s - self.asked_s

    @property
    def text(self) -> str:
        """The inflated body."""
        return self.inflated.decode("utf-8", "replace")

    @property
    def inflated(self) -> bytes:
        """The body without gzip; empty if that is broken, or larger than `MAX_BODY_BYTES`."""
        if self.headers.get("content-encoding", "") != "gzip":
            return self.body
        try:
            return zlib.decompressobj(31).decompress(self.body, MAX_BODY_BYTES)
        except zlib.error:
            return b""

    def header(self, name: str) -> str:
        """A header of the answer in lower case, or empty."""
        return self.headers.get(name, "").lower()

    def light(self) -> "Exchange":
        """Without the body."""
        return replace(self, body=b"")

    def __str__(self) -> str:
        what = self.error or str(self.status)
        return f"{self.method} {self.url}: {what} after {self.took_s:.2f} s"


def tls_context(*, insecure: bool, alpn: tuple[str, ...] = ("http/1.1",)) -> ssl.SSLContext:
    """A client's context; an insecure one accepts any certificate."""
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(alpn))
    return context


class Client:
    """One kept-alive connection, opened again when it was lost. Not for several threads."""

    def __init__(self, *, insecure: bool = False) -> None:
        self._insecure = insecure
        self._connection: http.client.HTTPConnection | None = None
        self._place = ("", "")

    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
        method: str = "GET",
    ) -> Exchange:
        """Send one request, once more if a kept-alive connection proves dead. Never raises."""
        kept = self._connection is not None
        exchange = self._once(method, url, dict(headers or {}), timeout_s)
        if exchange.status == 0 and kept and exchange.took_s < 1.0:
            exchange = self._once(method, url, dict(headers or {}), timeout_s)
            exchange = replace(exchange, reopened=True)
        return exchange

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self, url: str) -> http.client.HTTPConnection:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"no URL of a server: {url[:80]}")
        if self._connection is None or self._place != (parts.scheme, parts.netloc):
            self.close()
            host, port = parts.hostname or "", parts.port
            if parts.scheme == "https":
                context = tls_context(insecure=self._insecure)
                self._connection = http.client.HTTPSConnection(
                    host, port, timeout=CONNECT_TIMEOUT_S, context=context
                )
            else:
                self._connection = http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT_S)
            self._place = (parts.scheme, parts.netloc)
        if self._connection.sock is None:
            self._connection.connect()
        return self._connection

    def _once(self, method: str, url: str, headers: dict[str, str], timeout_s: float) -> Exchange:
        asked_s = head_s = time.monotonic()
        body = bytearray()
        try:
            connection = self._connect(url)
            sock = connection.sock
            sock.settimeout(timeout_s)
            late = threading.Event()
            watchdog = threading.Timer(timeout_s, _shut, (sock, late))
            watchdog.daemon = True
            watchdog.start()
            try:
                asked_s = time.monotonic()
                parts = urlsplit(url)
                target = parts.path + (f"?{parts.query}" if parts.query else "")
                headers.setdefault("Accept-Encoding", "identity")
                connection.request(method, target, headers=headers)
                response = connection.getresponse()
                head_s = time.monotonic()
                closes = bool(response.will_close)
                while piece := response.read1(65_536):
                    body += piece
                    if len(body) > MAX_BODY_BYTES:
                        raise http.client.HTTPException(f"more than {MAX_BODY_BYTES} bytes")
                if late.is_set():  # what came may look like a whole answer
                    raise TimeoutError("the deadline was over")
                if response.length:
                    raise http.client.IncompleteRead(bytes(body), response.length)
                response.close()  # read1 leaves a finished response open, and the connection busy
            finally:
                watchdog.cancel()
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.close()
            done_s = time.monotonic()
            text = f"no answer ({type(error).__name__}: {str(error)[:120]})"
            return Exchange(
                method, url, 0, asked_s=asked_s, head_s=head_s, done_s=done_s, error=text
            )
        if closes:
            self.close()
        named: dict[str, str] = {}
        for name, value in response.getheaders():
            key = name.lower()
            named[key] = f"{named[key]}, {value}" if key in named else value
        return Exchange(
            method=method,
            url=url,
            status=response.status,
            headers=named,
            body=bytes(body),
            size_bytes=len(body),
            digest=hashlib.sha256(body).hexdigest(),
            asked_s=asked_s,
            head_s=head_s,
            done_s=time.monotonic(),
            closes=closes,
        )


def _shut(sock: socket.socket, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError, ValueError):  # it is closed
        sock.shutdown(socket.SHUT_RDWR)


def negotiated_protocol(url: str, *, insecure: bool) -> str:
    """What the server picks of h2 and http/1.1 by ALPN; or what went wrong."""
    parts = urlsplit(url)
    context = tls_context(insecure=insecure, alpn=("h2", "http/1.1"))
    place = (parts.hostname or "", parts.port or 443)
    try:
        with (
            socket.create_connection(place, timeout=CONNECT_TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=place[0]) as tls,
        ):
            return tls.selected_alpn_protocol() or "none"
    except OSError as error:
        return f"no TLS ({error})"
