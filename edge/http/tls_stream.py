"""A TLS connection as a Trio stream: `native.TlsSocket`, and waiting for its descriptor.

Each operation tries, and waits only when OpenSSL says for what. One task may send while another
receives, as HTTP/2 does. Either may have to wait for the other's direction (a reply of TLS's own
to what is read); Trio lets one task wait for a direction, so who comes second waits for the first.

`detach` gives the connection to somebody else (the reactor, `edge.http.delivery`), and a new stream
takes it back. This is no certificate and no policy: that is `edge.http.tls`.

Invariant: close_notify follows whole messages only. After a send that failed or was cancelled the
connection is closed without one, so that its peer does not take the end for a regular one. None of
this waits at the close.

May import: `native`, trio. Bounds: a record (16 KiB) is received at once, 256 KiB sent between two
checkpoints. Spec: RFC 8446, section 6.1 (closure).
"""

import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import trio

from native import TlsError, TlsWant

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from native import TlsSocket

_T = TypeVar("_T")

_RECORD_BYTES = 16 * 1024
"""The most that comes at once."""


class TlsStream(trio.abc.HalfCloseableStream):
    """The server's side of a TLS connection.

    Args:
        tls: Belongs to this stream, which closes it.
    """

    def __init__(self, tls: "TlsSocket") -> None:
        self._tls: TlsSocket | None = tls
        self._readable = _Readiness(tls.fd, trio.lowlevel.wait_readable)
        self._writable = _Readiness(tls.fd, trio.lowlevel.wait_writable)
        self._is_receiving = False
        self._is_sending = False
        self._has_ended = False  # our side: by `send_eof`
        self._is_cut = False  # within a message, which nobody may take for a whole one

    @property
    def fd(self) -> int:
        """The descriptor, which belongs to the TLS on it.

        Raises:
            trio.ClosedResourceError: The stream is closed.
        """
        return self._open().fd

    def selected_alpn_protocol(self) -> str | None:
        """Return what ALPN has chosen; None if nothing.

        Raises:
            trio.ClosedResourceError: The stream is closed.
        """
        return self._open().selected_alpn

    async def do_handshake(self) -> None:
        """Shake hands; must come before everything else.

        Raises:
            trio.BrokenResourceError: The peer did not; the cause says why.
            trio.ClosedResourceError: The stream was closed meanwhile.
        """
        await self._until_done(self._open().handshake)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive at least one byte, or none if the peer has ended its side.

        Ending by closing the TCP connection counts, as it does for HTTP, which says where its
        messages end.

        Raises:
            trio.BrokenResourceError: The connection is of no use any more.
            trio.BusyResourceError: Another task is receiving.
            trio.ClosedResourceError: The stream is closed.
        """
        tls = self._open()
        if self._is_receiving:
            raise trio.BusyResourceError("another task is receiving from this stream")
        self._is_receiving = True
        try:
            return await self._until_done(
                tls.receive, _RECORD_BYTES if max_bytes is None else max_bytes
            )
        finally:
            self._is_receiving = False

    def receive_nowait(self, max_bytes: int) -> bytes:
        """Receive what has come, as `receive_some`, but wait for nothing.

        For whoever waits for many descriptors at once. TLS may hold bytes that the descriptor does
        not show any more: wait for it only after this has said that there are none.

        Raises:
            trio.WouldBlock: Nothing has come, or nothing whole.
            trio.BrokenResourceError, trio.BusyResourceError, trio.ClosedResourceError: The same.
        """
        tls = self._open()
        if self._is_receiving:
            raise trio.BusyResourceError("another task is receiving from this stream")
        try:
            result = tls.receive(max_bytes)
        except TlsError as error:
            raise trio.BrokenResourceError(str(error)) from error
        if isinstance(result, TlsWant):  # what TLS has to say itself goes along with the next try
            raise trio.WouldBlock
        return result

    async def send_all(self, data: "Buffer") -> None:
        """Send all of some bytes.

        Cancellation: nobody knows how many of them went; the stream can only be closed.

        Raises:
            trio.BrokenResourceError: The connection is of no use any more.
            trio.BusyResourceError: Another task is sending.
            trio.ClosedResourceError: The stream is closed, or `send_eof` was called.
        """
        tls = self._begin_sending()
        try:
            with memoryview(data) as view:
                sent = 0
                while True:
                    sent += await self._until_done(tls.send, view[sent:])
                    if sent >= view.nbytes:
                        break
        except BaseException:
            self._is_cut = True
            raise
        finally:
            self._is_sending = False

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the system takes bytes.

        Raises: the same as `send_all`.
        """
        self._begin_sending()
        try:
            await self._writable.wait()
        finally:
            self._is_sending = False

    async def send_eof(self) -> None:
        """Say that nothing more will be sent; what the peer sends can still be received.

        Raises: the same as `send_all`. Called again it does nothing.
        """
        if self._has_ended:
            self._open()
            await trio.lowlevel.checkpoint()
            return
        tls = self._begin_sending()
        self._has_ended = True
        try:
            await self._until_done(tls.shutdown)
        finally:
            self._is_sending = False

    async def aclose(self) -> None:
        """Close the connection at once, with close_notify if it is whole."""
        tls, self._tls = self._tls, None
        if tls is not None:
            if not (self._is_cut or self._is_sending or self._has_ended):
                with contextlib.suppress(TlsError):
                    tls.shutdown()
            trio.lowlevel.notify_closing(tls.fd)
            tls.close()
        await trio.lowlevel.checkpoint()

    def detach(self) -> "tuple[int, TlsSocket]":
        """Give the connection away: its descriptor, and the TLS on it, which owns that.

        The stream is as good as closed afterwards. Bytes that came may be in the TLS already, so
        whoever gets it tries to receive before waiting for the descriptor.

        Raises:
            trio.BusyResourceError: A task is sending or receiving.
            trio.ClosedResourceError: The stream is closed.
        """
        tls = self._open()
        if self._is_sending or self._is_receiving:
            raise trio.BusyResourceError("a task is using this stream")
        self._tls = None
        return tls.fd, tls

    def _open(self) -> "TlsSocket":
        if self._tls is None:
            raise trio.ClosedResourceError("this stream is closed")
        return self._tls

    def _begin_sending(self) -> "TlsSocket":
        tls = self._open()
        if self._is_sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        if self._has_ended:
            raise trio.ClosedResourceError("this stream's sending side has been ended")
        self._is_sending = True
        return tls

    async def _until_done(self, step: Callable[..., _T | TlsWant], *arguments: object) -> _T:
        """Take a step again and again until it wants nothing; a checkpoint in any case."""
        await trio.lowlevel.checkpoint_if_cancelled()
        has_waited = False
        try:
            while isinstance(result := step(*arguments), TlsWant):
                await (self._readable if result is TlsWant.READ else self._writable).wait()
                self._open()  # or it was closed meanwhile
                has_waited = True
        except TlsError as error:
            raise trio.BrokenResourceError(str(error)) from error
        if not has_waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return result


class _Readiness:
    """Waits for one direction of a descriptor, for any number of tasks.

    The first one waits at the system; the others wait for that one, and all try again, also when
    it was cancelled.
    """

    __slots__ = ("_fd", "_over", "_wait")

    def __init__(self, fd: int, wait: Callable[[int], Awaitable[None]]) -> None:
        self._fd = fd
        self._wait = wait
        self._over: trio.Event | None = None

    async def wait(self) -> None:
        """Wait; may return although the descriptor is not ready.

        Raises:
            trio.ClosedResourceError: It was closed.
        """
        if self._over is not None:
            await self._over.wait()
            return
        self._over = over = trio.Event()
        try:
            await self._wait(self._fd)
        finally:
            self._over = None
            over.set()
