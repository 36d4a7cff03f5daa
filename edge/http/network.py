"""What an IP address says about who is there: this machine, or one of those who share a network.

Pure. Imports nothing of ours.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address


def plain_address(address: str) -> IPv4Address | IPv6Address | None:
    """Read an address, without its zone, and as IPv4 where it is one; None: it is no address."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (ip.ipv4_mapped if isinstance(ip, IPv6Address) else None) or ip


def is_local(address: str) -> bool:
    """Whether somebody is on this machine, or has no address at all."""
    ip = plain_address(address)
    return ip is None or ip.is_loopback


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the first 64 bits, for whoever has one has 2**64."""
    ip = plain_address(address)
    if isinstance(ip, IPv6Address):
        return str(IPv6Address(int(ip) >> 64 << 64))
    return str(ip) if ip is not None else address
