"""What the kernel knows of a publisher's TCP connection: Linux's TCP_INFO, of our side.

We receive, so what tells of the line is the round trip of our acknowledgements and how many packets
came out of order: one that is lost comes again, behind those that were sent after it.

Spec: ``struct tcp_info`` in linux/tcp.h, which has only ever grown; what a kernel does not have yet
is None. Elsewhere than on Linux nothing is known.

May import trio and origin.rtmp.transport. Cost: one system call, 3 us.
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import trio

from origin.rtmp.transport import source_of

_INFO_BYTES: Final = 256  # of Linux 6.x: 248
_RTT: Final = struct.Struct("=68xII")  # tcpi_rtt, tcpi_rttvar, microseconds
_RETRANSMITS: Final = struct.Struct("=100xI")  # tcpi_total_retrans, of what we send
_OUT_OF_ORDER: Final = struct.Struct("=224xI")  # tcpi_rcv_ooopack, since Linux 5.4


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpFigures:
    """One connection, now."""

    rtt_ms: float | None
    """Smoothed round trip; None before there was one."""
    rtt_deviation_ms: float | None
    retransmits: int
    """Packets that we had to send again."""
    out_of_order: int | None
    """Packets that came out of order: lost ones, that were sent again, or overtaken ones."""


def tcp_figures(stream: trio.abc.Stream) -> TcpFigures | None:
    """Ask the kernel of a connection; None: it is none of TCP, is closed, or nobody knows."""
    try:
        source = source_of(stream)
        if source is None or not hasattr(socket, "TCP_INFO"):
            return None
        with _borrowed(source.descriptor) as connection:
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except (OSError, ValueError, trio.ClosedResourceError):  # ValueError: the descriptor is gone
        return None
    return parse_tcp_info(info)


def parse_tcp_info(info: bytes) -> TcpFigures | None:
    """Read a ``struct tcp_info`` of any kernel; None: it is too short to be one."""
    if len(info) < _RETRANSMITS.size:
        return None
    rtt_us, deviation_us = _RTT.unpack_from(info)
    (retransmits,) = _RETRANSMITS.unpack_from(info)
    out_of_order = None
    if len(info) >= _OUT_OF_ORDER.size:
        (out_of_order,) = _OUT_OF_ORDER.unpack_from(info)
    return TcpFigures(
        rtt_ms=rtt_us / 1000 if rtt_us else None,
        rtt_deviation_ms=deviation_us / 1000 if rtt_us else None,
        retransmits=retransmits,
        out_of_order=out_of_order,
    )


@contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket]:
    """A socket object on a descriptor that stays somebody else's."""
    connection = socket.socket(fileno=descriptor)
    try:
        yield connection
    finally:
        connection.detach()
