"""Sockets that listen, and how many descriptors a process may have.

May import: trio, `edge.process`.
"""

import resource
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from edge.process.address import Address
from edge.process.errors import StartupError

BACKLOG: Final = 1_024
"""Connections that the kernel completes before we accept them."""


@asynccontextmanager
async def open_listeners(
    what: str, address: Address | None
) -> AsyncIterator[list[trio.SocketListener]]:
    """Open listeners, and close those that nobody has closed in the end; none without address.

    Args:
        what: Names them in an error: "HTTP".
        address: Where; a host name may give several.

    Raises:
        StartupError: One cannot be opened.
    """
    if address is None:
        yield []
        return
    try:
        listeners = await trio.open_tcp_listeners(address.port, host=address.host, backlog=BACKLOG)
    except OSError as error:
        raise _refused(what, address, error) from error
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.socket.close()


def open_shared(what: str, address: Address | None, count: int) -> list[list[socket.socket]]:
    """Open one address several times (SO_REUSEPORT), for as many processes to listen on.

    The kernel gives each new connection to one of them, by a hash of its addresses. Where the port
    is 0 all have the one that it chose for the first. Every socket is bound before one listens, so
    that a connection is never hashed to a set that still grows.

    Args:
        what: Names them in an error.
        address: Where; None: nowhere.
        count: Of processes.

    Returns:
        For each process its sockets: none without address, several where a host name has several
        addresses. They listen, and are the caller's to close.

    Raises:
        StartupError: One cannot be opened; none is left open. Also for a name that must be looked
            up, which blocks: a start may.
    """
    shared: list[list[socket.socket]] = [[] for _ in range(count)]
    if address is None:
        return shared
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        port = address.port
        for family, kind, protocol, _, where in dict.fromkeys(found):
            with socket.socket(
                family, kind, protocol
            ) as probe:  # another program's would be shared
                _bind(probe, (where[0], port, *where[2:]))
            for sockets in shared:
                opened = socket.socket(family, kind, protocol)
                sockets.append(opened)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                _bind(opened, (where[0], port, *where[2:]))
                port = opened.getsockname()[1]
        for sockets in shared:
            for opened in sockets:
                opened.listen(BACKLOG)
    except OSError as error:
        close_all(shared)
        raise _refused(what, address, error) from error
    return shared


def close_all(shared: Sequence[Sequence[socket.socket]]) -> None:
    """Close what `open_shared` opened."""
    for sockets in shared:
        for opened in sockets:
            opened.close()


def address_of(listener: trio.SocketListener | socket.socket) -> Address:
    """Where it listens, with the port that the kernel chose for 0."""
    opened = listener.socket if isinstance(listener, trio.SocketListener) else listener
    host, port = opened.getsockname()[:2]
    return Address(host, port)


def raise_file_limit() -> None:
    """Take as many descriptors as we may: each viewer and each publisher is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _bind(opened: socket.socket, where: tuple[Any, ...]) -> None:
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if opened.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    opened.bind(where)


def _refused(what: str, address: Address, error: OSError) -> StartupError:
    return StartupError(f"cannot listen for {what} on {address}: {error.strerror or error}")
