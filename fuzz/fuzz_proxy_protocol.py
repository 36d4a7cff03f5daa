"""PROXY protocol: any bytes are a header, the start of one, or `RemoteProtocolError`.

Further invariants: how the bytes are cut changes neither the verdict nor how many bytes were the
header's; a header is never longer than its bounds; what it names is an IP address in its one
spelling, and a header of version 1 with that address reads the same.

Input: what a balancer sends first.
"""

from collections.abc import Iterable
from ipaddress import ip_address

from origin.rtmp.proxy_protocol import MAX_BODY_BYTES, V2_HEAD_BYTES, ProxyHeader
from rtmpcore import RemoteProtocolError

MAX_HEADER_BYTES = V2_HEAD_BYTES + MAX_BODY_BYTES


def read(pieces: Iterable[bytes]) -> tuple[int, bool, str | None]:
    """The header's bytes, whether it ended, and what it named or what was wrong."""
    header = ProxyHeader()
    taken = 0
    for piece in pieces:
        try:
            used = header.receive_data(piece)
        except RemoteProtocolError as error:
            return 0, False, str(error)
        assert used == len(piece) or (header.is_complete and 0 < used <= len(piece))
        taken += used
        if header.is_complete:
            return taken, True, header.source
    return taken, False, None


def test_one_input(data: bytes) -> None:
    if not data:
        return
    whole = read([data])
    assert read(data[i : i + 1] for i in range(len(data))) == whole
    taken, is_complete, source = whole
    assert taken <= MAX_HEADER_BYTES or not is_complete
    if is_complete and source is not None:
        address = ip_address(source)
        assert str(address) == source
        line = f"PROXY TCP{address.version} {source} {source} 1 65535\r\n".encode()
        assert read([line + data]) == (len(line), True, source)
