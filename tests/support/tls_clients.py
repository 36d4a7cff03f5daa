"""The peer of a TLS server in tests: Python's `ssl` on a socket that never blocks.

Both sides run in turns, in one thread, so nothing waits. The client is strict: an end without
close_notify is an error. Shares no code with what it judges.
"""

import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

from certificates import Pair


def wrap_client(pair: Pair, theirs: socket.socket, *alpn: str, **options: Any) -> ssl.SSLSocket:
    """The client, which takes no end without close_notify; its handshake is to be pumped."""
    client = pair.client(*alpn)
    client.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    for name, value in options.items():
        setattr(client, name, value)
    return client.wrap_socket(
        theirs,
        server_hostname="localhost",
        do_handshake_on_connect=False,
        suppress_ragged_eofs=False,
    )


def shake_hands(server: Callable[[], object | None], client: ssl.SSLSocket) -> None:
    """Let both sides shake hands in turns; the server's step returns None when it has done."""
    is_done = is_server_done = False
    for _ in range(10):
        if not is_done:
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
                is_done = True
        if not is_server_done:
            is_server_done = server() is None
        if is_done and is_server_done:
            return
    raise AssertionError("the handshake does not end")


def read(client: ssl.SSLSocket) -> bytes:
    """All that has come to the client."""
    got = bytearray()
    with contextlib.suppress(ssl.SSLWantReadError):
        while data := client.recv(65536):
            got += data
    return bytes(got)


def read_to_the_end(client: ssl.SSLSocket) -> bytes:
    """All that comes before the connection breaks off."""
    got = bytearray()
    try:
        while data := client.recv(65536):
            got += data
    except ssl.SSLEOFError:
        return bytes(got)
    raise AssertionError("it has ended in peace")


def bare(fd: int) -> socket.socket:
    """A descriptor's socket without the TLS on it."""
    return socket.socket(fileno=os.dup(fd))
