"""From a socket that was accepted to a stream of RTMP's bytes: the PROXY header, TLS, the socket.

::

    accepted -> detect_dead_peers -> [receive_proxy_header] -> [secure] -> RtmpDriver, Pump

What comes first on the wire is a balancer's header, in clear, then TLS, then RTMP. Nothing here has
a deadline: all three belong to the phase before publish, whose scope the caller holds. TLS is
`native.TlsSocket` on the descriptor, read by the pump like a plain socket: `trio.SSLStream` would
copy each message through two buffers and wake a task for it.

Not here: whom to trust with a header, which certificate, how many connections: the server's.

May import rtmpcore, trio and edge.http's TLS. Spec: RFC 8446; PROXY protocol (`proxy_protocol`).
"""

import os
import socket
from dataclasses import dataclass

import trio

from edge.http.tls import ServerContext, begin_tls
from edge.http.tls_stream import TlsStream
from origin.rtmp.proxy_protocol import MAX_BODY_BYTES, SPEC, ProxyHeader
from origin.rtmp.pump import READ_BYTES, Source
from rtmpcore import RemoteProtocolError


@dataclass(frozen=True, slots=True)
class SocketSource:
    """A non-blocking socket in clear."""

    descriptor: int
    holds_back: bool = False

    def read_nowait(self) -> bytes | None:
        """See `origin.rtmp.pump.Source`."""
        try:
            return os.read(self.descriptor, READ_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            raise trio.BrokenResourceError(f"read failed: {error}") from error


@dataclass(frozen=True, slots=True)
class TlsSource:
    """TLS on a descriptor. A record is at most 16 KiB, and OpenSSL reads ahead by one."""

    stream: TlsStream
    descriptor: int
    holds_back: bool = True

    def read_nowait(self) -> bytes | None:
        """See `origin.rtmp.pump.Source`."""
        try:
            return self.stream.receive_nowait(READ_BYTES)
        except trio.WouldBlock:
            return None


def source_of(stream: trio.abc.Stream) -> Source | None:
    """What a pump can read of a stream; None: only the stream itself can be read."""
    if isinstance(stream, trio.SocketStream):
        return SocketSource(stream.socket.fileno())
    if isinstance(stream, TlsStream):
        return TlsSource(stream, stream.fd)
    return None


async def receive_proxy_header(stream: trio.SocketStream) -> str | None:
    """Receive a balancer's header, and not a byte more.

    Returns:
        The IP address of the balancer's client; None: it speaks for nobody.

    Raises:
        rtmpcore.RemoteProtocolError: There is no header, or the connection ends before it does.
        trio.BrokenResourceError: The connection broke.

    Cancellation: an unknown part of the header was read; the stream can only be closed.
    """
    header = ProxyHeader()
    try:
        while not header.is_complete:
            # What follows belongs to TLS, which reads the descriptor itself: so look, then take.
            seen = await stream.socket.recv(MAX_BODY_BYTES, socket.MSG_PEEK)
            if not seen:
                raise RemoteProtocolError("it ends before its PROXY header", SPEC)
            await stream.receive_some(header.receive_data(seen))
    except OSError as error:
        raise trio.BrokenResourceError(f"read failed: {error}") from error
    return header.source


async def secure(
    stream: trio.SocketStream, context: ServerContext
) -> "TlsStream | trio.SSLStream[trio.abc.Stream]":
    """Put TLS on a connection and shake hands.

    Returns:
        The stream in clear; closing it closes the connection.

    Raises:
        rtmpcore.RemoteProtocolError: The peer did not shake hands, or not as TLS has it. The
            connection is closed.

    Cancellation: closes the connection.
    """
    secured = begin_tls(stream, context)
    try:
        await secured.do_handshake()
    except BaseException as error:
        await trio.aclose_forcefully(secured)
        if isinstance(error, (trio.BrokenResourceError, trio.ClosedResourceError)):
            reason = f"TLS handshake: {error.__cause__ or error}"
            raise RemoteProtocolError(reason, "RFC 8446 section 4") from error
        raise
    return secured


def detect_dead_peers(stream: trio.SocketStream, patience_s: float) -> None:
    """Have the kernel notice a peer that vanished without FIN, also while we have much to send.

    Args:
        stream: Also set to send small messages at once.
        patience_s: How long it may be silent to the kernel's own questions.

    Raises:
        OSError: It is gone already.
    """
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    probe_s = max(1, int(patience_s / 4))
    for name, value in (
        ("TCP_KEEPIDLE", probe_s),
        ("TCP_KEEPINTVL", probe_s),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", int(patience_s * 1_000)),
    ):
        if hasattr(socket, name):  # each of them is missing on some system
            stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
