"""TLS for servers: the certificate, watched for changes, and the handshake; for HTTP, ALPN too.

ALPN offers `h2` and `http/1.1`; a client that names neither is spoken to in HTTP/1.1. TLS itself is
OpenSSL's on the descriptor (`edge.http.tls_stream`); with `HEADRACE_PURE=1` it is
`trio.SSLStream`. `make_context` is the choice, and the rest follows the type of the context.

A certificate is renewed in place by whatever got it (certbot, a mounted secret). The files are
looked at when a connection comes, at most every `CHECK_S`; a pair that has changed serves the
connections from then on. One that cannot be used, for one because only half of it is there yet, is
logged once, and the last good one stays in force.

What a peer does wrong in its handshake ends its connection, within `handshake_timeout_s`.

Spec: RFC 8446, RFC 7301 (ALPN), RFC 9113 section 9.2 (what HTTP/2 asks of TLS).
"""

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import structlog
import trio

import native
from edge.http.tls_stream import TlsStream

if TYPE_CHECKING:
    from native import TlsContext

_logger = structlog.get_logger(__name__)

CHECK_S = 2.0
"""The files are looked at no more often than this."""

HTTP2 = "h2"
"""What ALPN calls HTTP/2 over TLS."""

# Of TLS 1.2: forward secrecy and authenticated encryption, what RFC 9113 9.2.2 leaves of it.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

_ALPN = (HTTP2.encode(), b"http/1.1")

ServerContext: TypeAlias = "TlsContext | ssl.SSLContext"
"""What a connection needs of a certificate: of our own OpenSSL, or of Python's."""


class CertificateError(Exception):
    """A certificate or its key cannot be used; the text is one line that names the file."""


def make_native_context(chain: Path, key: Path) -> "TlsContext":
    """Make the context for `TlsStream`.

    Raises:
        native.TlsError: The files cannot be used.
    """
    return native.TlsContext(
        os.fsencode(chain), os.fsencode(key), ciphers=_CIPHERS.encode(), alpn=_ALPN
    )


def make_python_context(chain: Path, key: Path) -> ssl.SSLContext:
    """Make the context for `trio.SSLStream`, to the same rules.

    Raises:
        native.EncryptedKeyError, OSError, ValueError: The files cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols([name.decode() for name in _ALPN])
    context.load_cert_chain(chain, key, password=_no_password)
    return context


def _no_password() -> str:
    """Without this, OpenSSL would ask at the terminal, and wait."""
    raise native.EncryptedKeyError("the private key is encrypted")


make_context: Callable[[Path, Path], ServerContext] = (
    make_native_context if native.IMPLEMENTATION == "c" else make_python_context
)
"""Which of the two serves."""


class Certificate:
    """A chain and its key in PEM files, and the TLS context made of them.

    Args:
        chain: The certificate, followed by its intermediate ones.
        key: Its private key, not encrypted; None: it is in the same file.
        make: Loads the two.

    Raises:
        CertificateError: They cannot be used.
    """

    def __init__(
        self,
        chain: Path,
        key: Path | None = None,
        *,
        make: Callable[[Path, Path], ServerContext] = make_context,
    ) -> None:
        self._make = make
        self._chain = chain
        self._key = chain if key is None else key
        self._seen = self._look()
        self._context = self._load()
        self._check_at_s = float("-inf")

    def context(self) -> ServerContext:
        """Return the context for a new connection, made anew if the files have changed.

        Cost: nothing but every `CHECK_S`, then two stats; reading the files (a millisecond) only
        when they have changed. They are the operator's, on a local disk.
        """
        now_s = trio.current_time()
        if now_s >= self._check_at_s:
            self._check_at_s = now_s + CHECK_S
            seen = self._look()
            if seen != self._seen:
                self._seen = seen
                self._reload()
        return self._context

    def prepare(self, chain: Path, key: Path | None = None) -> Callable[[], None]:
        """Load a pair, the same files or others, and return what puts it in force.

        Raises:
            CertificateError: It cannot be used; the last one stays.
        """
        found = Certificate(chain, key, make=self._make)

        def take() -> None:
            self._chain, self._key = found._chain, found._key
            self._seen, self._context = found._seen, found._context

        return take

    def _reload(self) -> None:
        try:
            self._context = self._load()
        except CertificateError as error:
            _logger.error("certificate not reloaded, the last one stays", reason=str(error))
        else:
            _logger.info("certificate reloaded", file=str(self._chain))

    def _look(self) -> list[tuple[int, int, int] | None]:
        """What tells one state of the files from another; None: it cannot be seen."""
        seen: list[tuple[int, int, int] | None] = []
        for path in (self._chain, self._key):
            try:
                found = os.stat(path)  # of what a link leads to: mounted secrets are links
            except OSError:
                seen.append(None)
            else:
                seen.append((found.st_ino, found.st_mtime_ns, found.st_size))
        return seen

    def _load(self) -> ServerContext:
        for path in (self._chain, self._key):
            try:
                path.read_bytes()
            except OSError as error:  # ssl would not say which of the two
                raise CertificateError(f"{path}: {error.strerror or error}") from None
        try:
            return self._make(self._chain, self._key)
        except native.EncryptedKeyError as error:
            reason = f"{error}; nobody is here to give its password"
            raise CertificateError(reason) from None
        except (native.TlsError, OSError, ValueError) as error:  # ssl.SSLError is an OSError
            if "mismatch" in str(error).lower():
                what = f"the key in {self._key} is not its own"
            else:
                what = f"it or the key in {self._key} is not PEM"
            raise CertificateError(f"{self._chain}: {what}") from None


class Connection(Protocol):
    """What serves a stream: `HttpConnection`, `Http2Connection`, or this module's."""

    async def run(self) -> None:
        """Serve to the end, and close the stream; raises nothing but cancellation."""
        ...

    def drain(self) -> None:
        """Finish what is being answered, then end."""
        ...


class TlsConnection:
    """A connection that begins with a TLS handshake, and then is what ALPN chose.

    Args:
        stream: Just accepted; belongs to this object, which closes it.
        context: With the certificate.
        serve: From the stream in clear, and whether it is HTTP/2, to what serves it.
        handshake_timeout_s: How long the handshake may take.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        context: ServerContext,
        *,
        serve: Callable[[trio.abc.Stream, bool], Connection],
        handshake_timeout_s: float,
    ) -> None:
        self._stream = begin_tls(stream, context)
        self._serve = serve
        self._timeout_s = handshake_timeout_s
        self._handshake = trio.CancelScope()
        self._served: Connection | None = None

    async def run(self) -> None:
        """Shake hands, then serve; closes the stream whatever happens."""
        try:
            if await self._shake_hands():
                is_http2 = self._stream.selected_alpn_protocol() == HTTP2
                self._served = self._serve(self._stream, is_http2)
                await self._served.run()
        finally:
            await trio.aclose_forcefully(self._stream)

    def drain(self) -> None:
        """Give up an unfinished handshake; else ask who serves to end."""
        if self._served is None:
            self._handshake.cancel()
        else:
            self._served.drain()

    async def _shake_hands(self) -> bool:
        self._handshake.deadline = trio.current_time() + self._timeout_s
        with self._handshake:
            try:
                await self._stream.do_handshake()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                _logger.debug("tls handshake failed", reason=str(error.__cause__ or error))
            else:
                return True
        return False


def begin_tls(
    stream: trio.abc.Stream, context: ServerContext
) -> "TlsStream | trio.SSLStream[trio.abc.Stream]":
    """Put TLS on a stream, which belongs to the new one; not if this raises."""
    if isinstance(context, ssl.SSLContext):
        return trio.SSLStream(stream, context, server_side=True)
    assert isinstance(stream, trio.SocketStream)
    tls = native.TlsSocket(context, stream.socket.fileno())
    stream.socket.detach()  # not before: if that had raised, the socket would be nobody's
    return TlsStream(tls)
