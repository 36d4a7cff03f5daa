"""HOST:PORT, as people write it in settings and logs.

Pure; imports nothing of ours.
"""

from typing import NamedTuple


class Address(NamedTuple):
    """A host and a TCP port to listen on."""

    host: str
    """Name or IP address; an IPv6 address without brackets."""

    port: int
    """0 to 65535; 0 lets the kernel choose."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def reachable(self) -> "Address":
        """How this machine reaches a listener here, which may be on every interface."""
        loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        return self._replace(host=loopback.get(self.host, self.host))


def parse_address(text: str) -> Address:
    """Read ``HOST:PORT`` or ``[IPV6]:PORT``.

    Args:
        text: What somebody typed.

    Returns:
        Its parts.

    Raises:
        ValueError: It has another form; the text says which part is wrong.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError("expected HOST:PORT")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError("the port must be a number from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise ValueError("brackets are for IPv6 addresses")
    elif ":" in host:
        raise ValueError("an IPv6 address goes in brackets: [::1]:8080")
    if not host:
        raise ValueError("the host is missing; 0.0.0.0 or [::] means every interface")
    if not host.isprintable() or any(character in " /@[]" for character in host):
        raise ValueError("the host has a character that no host has")
    return Address(host, int(port))
