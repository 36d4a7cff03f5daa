"""Names are looked up in threads of their own: a resolver that hangs holds up who asked, only.

Trio would use the threads that files are read in, forty of them. A lookup cannot be cancelled: its
asker goes, and the thread stays until the system's resolver gives up, some 10 to 30 s later.

Bound: `MAX_LOOKUPS` at one time; who comes then waits for as long as its own time-out says. May
import: trio.
"""

import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import trio

MAX_LOOKUPS: Final = 128


class Lookups(trio.abc.HostnameResolver):
    """The resolver of a process; see `use_own_threads`.

    Args:
        look: Finds addresses, and may block: `socket.getaddrinfo`, or a test's.
    """

    def __init__(self, look: Callable[..., list[Any]] = socket.getaddrinfo) -> None:
        self._look = look
        self._threads = trio.CapacityLimiter(MAX_LOOKUPS)

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - Trio's name
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """See `socket.getaddrinfo`; raises `OSError`."""
        look = partial(self._look, host, port, family, type, proto, flags)
        return await trio.to_thread.run_sync(look, abandon_on_cancel=True, limiter=self._threads)

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int
    ) -> tuple[str, str]:
        """See `socket.getnameinfo`; raises `OSError`."""
        look = partial(socket.getnameinfo, sockaddr, flags)
        return await trio.to_thread.run_sync(look, abandon_on_cancel=True, limiter=self._threads)


def use_own_threads() -> None:
    """Have all names of this Trio run looked up by a `Lookups`."""
    trio.socket.set_custom_hostname_resolver(Lookups())
