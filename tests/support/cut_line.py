"""A line between a publisher and a server that can be cut, as by a router that loses its power.

`cut` hangs up on the publisher and says nothing to the server, whose connection stays open and
silent: half-open. What connects afterwards gets a new connection to the server.
"""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class CutLine:
    """Listens on `address` (HOST:PORT) and passes everything on to a server."""

    def __init__(self, server: str) -> None:
        host, _, port = server.rpartition(":")
        self._server = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._near: list[socket.socket] = []
        self._far: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def cut(self) -> None:
        """Cut every connection there is, on the publisher's side alone."""
        for one in self._near:
            with contextlib.suppress(OSError):  # it is cut already
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the end
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._server)
                self._near.append(near)
                self._far.append(far)
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # close alone does not wake who accepts
        self._accepting.join()
        self._listener.close()
        self.cut()
        for one in (*self._near, *self._far):
            one.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Until the source ends; the target is left open."""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
