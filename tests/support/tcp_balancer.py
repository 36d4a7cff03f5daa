"""A TCP balancer: forwards each connection behind a PROXY header, version 2, that names a client.

Written against the specification (HAProxy, section 2.2), with no code of what it tests.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


def header(client: str) -> bytes:
    """A header for TCP over IPv4 from this client."""
    addresses = socket.inet_aton(client) + socket.inet_aton("192.0.2.1")
    return SIGNATURE + b"\x21\x11" + struct.pack(">H", 12) + addresses + struct.pack(">HH", 1, 2)


@contextmanager
def balancing(host: str, port: int, *, client: str) -> Iterator[int]:
    """Forward to a server while the block runs, which gets the port to connect to."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        forwarding: list[threading.Thread] = []

        def accept() -> None:
            with contextlib.suppress(OSError):  # the listener's end
                while True:
                    near = stack.enter_context(listener.accept()[0])
                    far = stack.enter_context(socket.create_connection((host, port)))
                    far.sendall(header(client))
                    for ends in ((near, far), (far, near)):
                        forwarding.append(threading.Thread(target=_forward, args=ends))
                        forwarding[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for thread in (accepting, *forwarding):
                thread.join(10)


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
