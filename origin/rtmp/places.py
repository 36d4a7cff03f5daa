"""How many connections there are, in all and from one address, and who gets no place.

Synchronous, without a socket or a clock. What counts as one address: of IPv6 the first 64 bits, for
whoever has one address has 2**64. Exempt from the bound per address are our own machine (relays and
the demo are not a flood) and balancers, whose clients are counted when they are known.

Bounds: the table is no longer than the list of connections. May import nothing of ours.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


class NoPlaceError(Exception):
    """There are too many connections; ``str(error)`` says of what kind, for the log."""


class Places:
    """The places of one server.

    Args:
        most: In all.
        most_per_address: From one address.
        balancers: Exempt from the second.
    """

    def __init__(
        self, *, most: int, most_per_address: int, balancers: Sequence[Network] = ()
    ) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._balancers = balancers
        self._by_network: Counter[str] = Counter()
        self.taken = 0
        """Connections that have a place now."""

    def resize(self, *, most: int, most_per_address: int) -> None:
        """Have other bounds from now on; who has a place keeps it."""
        self._most = most
        self._most_per_address = most_per_address

    @contextmanager
    def take(self, address: str) -> Iterator[None]:
        """Hold a place while the block runs.

        Args:
            address: IP address of the peer, perhaps with a zone.

        Raises:
            NoPlaceError: There is none.
        """
        if self.taken >= self._most:
            raise NoPlaceError("too many connections")
        ip = _unmapped(address)
        network = str(IPv6Address(int(ip) >> 64 << 64) if isinstance(ip, IPv6Address) else ip)
        if self._by_network[network] >= self._most_per_address and not (
            ip.is_loopback or self.is_balancer(address)
        ):
            raise NoPlaceError("too many connections from this address")
        self.taken += 1
        self._by_network[network] += 1
        try:
            yield
        finally:
            self.taken -= 1
            self._by_network[network] -= 1
            if not self._by_network[network]:
                del self._by_network[network]

    def is_balancer(self, address: str) -> bool:
        """Whether this is one of the balancers."""
        ip = _unmapped(address)
        return any(ip in network for network in self._balancers)


def _unmapped(address: str) -> IPv4Address | IPv6Address:
    """The IP address, which a listener of both kinds may have written as IPv6."""
    ip = ip_address(address.partition("%")[0])
    return (isinstance(ip, IPv6Address) and ip.ipv4_mapped) or ip
