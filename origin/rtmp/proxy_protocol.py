"""Read what a TCP balancer says of a connection before its first byte: whose connection it is.

::

    PROXY TCP4 203.0.113.7 192.0.2.1 56324 1935\\r\\n         version 1, one line of text
    0D0A0D0A000D0A515549540A 21 11 000C  addresses, TLVs    version 2, binary

Sans-IO: bytes in, at the end an address out. This is not a guess whether there is a header: the
specification forbids guessing, or anybody could claim to be anybody. Who must send one is a
setting, and `origin.rtmp.transport` reads it.

`ProxyHeader.receive_data` says how many bytes were the header's, so that whoever reads can leave
the rest in the kernel: what follows may be TLS, which OpenSSL reads from the descriptor itself.

Bounds: `MAX_LINE_BYTES` for version 1, 16 + `MAX_BODY_BYTES` for version 2; more is refused, by the
announced length, before it comes. Only `RemoteProtocolError` leaves, whatever the bytes.

May import rtmpcore's errors. Spec: PROXY protocol, versions 1 and 2 (HAProxy, 2020), section 2.
"""

from ipaddress import IPv4Address, IPv6Address
from typing import Final

from rtmpcore import RemoteProtocolError

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
"""The first bytes of version 2: no protocol that a server would take for its own begins so."""

LINE_START: Final = b"PROXY "

SPEC: Final = "PROXY protocol section 2"

MAX_LINE_BYTES: Final = 107
"""Longest header of version 1, with its CRLF: the specification counts it out."""

MAX_BODY_BYTES: Final = 4096
"""Longest body of version 2. Addresses take 36 bytes; the rest is TLVs, which we skip: a balancer's
own (AWS, Azure: under 100) or what it knows of TLS (some hundred). HAProxy's own buffer: 16 KiB."""

V2_HEAD_BYTES: Final = len(SIGNATURE) + 4
"""Signature, version and command, family and protocol, length of the body."""

LOCAL, PROXY = 0x20, 0x21
"""Version 2 and its commands: the balancer speaks for itself (a health check), or for somebody."""

UNSPECIFIED, TCP_OVER_IPV4, TCP_OVER_IPV6, UNIX_STREAM = 0x00, 0x11, 0x21, 0x31
"""Families and protocols of version 2 that can be a TCP connection's."""


class ProxyHeader:
    """One header, as its bytes come."""

    def __init__(self) -> None:
        self._received = b""
        self.is_complete = False
        """Whether the header has ended; `source` counts only then."""
        self.source: str | None = None
        """IP address of the balancer's client; None: it names none, the connection's own counts."""

    def receive_data(self, data: bytes) -> int:
        """Take the header's bytes from the beginning of some data.

        Args:
            data: At least one byte, following what was taken before.

        Returns:
            How many were the header's: all, unless the header ended.

        Raises:
            rtmpcore.RemoteProtocolError: It is no header, or one beyond our bounds.
        """
        before = len(self._received)
        self._received = received = self._received + data[: V2_HEAD_BYTES + MAX_BODY_BYTES]
        size_bytes = self._read_v2() if received[:1] == SIGNATURE[:1] else self._read_v1()
        if size_bytes is None:
            return len(data)
        self.is_complete = True
        return size_bytes - before

    def _read_v1(self) -> int | None:
        """Read a line if it is whole, and return its length."""
        received = self._received
        if not received.startswith(LINE_START[: len(received)]):
            raise RemoteProtocolError("no PROXY header", SPEC)
        line, end, _ = received[:MAX_LINE_BYTES].partition(b"\r\n")
        if not end:
            if len(received) >= MAX_LINE_BYTES:
                raise RemoteProtocolError("a PROXY line does not end", SPEC)
            return None
        self.source = _read_line(line)
        return len(line) + len(end)

    def _read_v2(self) -> int | None:
        """Read a binary header if it is whole, and return its length."""
        received = self._received
        if not received.startswith(SIGNATURE[: len(received)]):
            raise RemoteProtocolError("no PROXY header", SPEC)
        if len(received) < V2_HEAD_BYTES:
            return None
        body_bytes = int.from_bytes(received[14:16], "big")
        if body_bytes > MAX_BODY_BYTES:
            raise RemoteProtocolError(f"a PROXY header of {body_bytes} bytes", SPEC)
        body = received[V2_HEAD_BYTES : V2_HEAD_BYTES + body_bytes]
        if len(body) < body_bytes:
            return None
        self.source = _read_body(command=received[12], family=received[13], body=body)
        return V2_HEAD_BYTES + body_bytes


def _read_line(line: bytes) -> str | None:
    """The client's address in a line without its CRLF."""
    _, family, *fields = line.split(b" ")
    if family == b"UNKNOWN":
        return None  # whatever follows, says the specification
    if family not in (b"TCP4", b"TCP6") or len(fields) != 4:
        raise RemoteProtocolError("a PROXY line that names no two TCP endpoints", SPEC)
    try:
        texts = [field.decode("ascii") for field in fields]
        source, _ = map(IPv4Address if family == b"TCP4" else IPv6Address, texts[:2])
    except ValueError:
        raise RemoteProtocolError("a PROXY line with an address that is none", SPEC) from None
    if not all(map(_is_port, texts[2:])) or "%" in texts[0] + texts[1]:
        raise RemoteProtocolError("a PROXY line with a port or a zone that cannot be", SPEC)
    return str(source)


def _is_port(text: str) -> bool:
    # "Heading zeroes are not permitted", so there is one way to write each.
    return text.isdigit() and len(text) <= 5 and int(text) <= 65535 and text == str(int(text))


def _read_body(*, command: int, family: int, body: bytes) -> str | None:
    """The client's address in a binary header."""
    if command not in (LOCAL, PROXY):
        raise RemoteProtocolError(f"PROXY version and command {command:#04x}", SPEC)
    if command == LOCAL:
        return None  # the family is to be ignored
    if family in (UNSPECIFIED, UNIX_STREAM):
        return None  # nobody that a limit per address could count
    if family == TCP_OVER_IPV4 and len(body) >= 12:
        return str(IPv4Address(body[:4]))
    if family == TCP_OVER_IPV6 and len(body) >= 36:
        return str(IPv6Address(body[:16]))
    raise RemoteProtocolError(f"a PROXY header of family {family:#04x} and {len(body)} bytes", SPEC)
