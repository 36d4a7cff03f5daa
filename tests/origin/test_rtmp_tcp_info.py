"""What the kernel says of a connection: real sockets, and structures of kernels old and new."""

import struct
import sys

import pytest
import trio
from trio.testing import memory_stream_pair, open_stream_to_socket_listener

from origin.rtmp.tcp_info import parse_tcp_info, tcp_figures

linux = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO of Linux")


def info(size_bytes: int, *, rtt_us: int = 0, retransmits: int = 0, out_of_order: int = 0) -> bytes:
    """A ``struct tcp_info`` of a kernel whose one has so many bytes, after linux/tcp.h."""
    whole = bytearray(248)
    struct.pack_into("=II", whole, 68, rtt_us, 1500)
    struct.pack_into("=I", whole, 100, retransmits)
    struct.pack_into("=I", whole, 224, out_of_order)
    return bytes(whole[:size_bytes])


def test_every_field_is_where_the_kernel_has_it() -> None:
    figures = parse_tcp_info(info(248, rtt_us=12_340, retransmits=3, out_of_order=7))
    assert figures is not None
    assert (figures.rtt_ms, figures.rtt_deviation_ms) == (12.34, 1.5)
    assert (figures.retransmits, figures.out_of_order) == (3, 7)


def test_an_old_kernel_does_not_know_all() -> None:
    figures = parse_tcp_info(info(192, retransmits=3))
    assert figures is not None
    assert (figures.retransmits, figures.out_of_order) == (3, None)
    assert (figures.rtt_ms, figures.rtt_deviation_ms) == (None, None)


@pytest.mark.parametrize("size_bytes", [0, 1, 103])
def test_what_is_too_short_is_nothing(size_bytes: int) -> None:
    assert parse_tcp_info(info(size_bytes)) is None


@linux
async def test_a_real_connection_has_a_round_trip_and_stays_open() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, await open_stream_to_socket_listener(listener) as client:
        server = await listener.accept()
        async with server:
            for _ in range(3):
                await client.send_all(b"x")
                assert await server.receive_some() == b"x"
                await server.send_all(b"y")
                assert await client.receive_some() == b"y"
                figures = tcp_figures(server)
                assert figures is not None
                assert figures.retransmits == 0
                assert figures.rtt_ms is None or 0 < figures.rtt_ms < 10_000
        assert tcp_figures(server) is None  # closed


async def test_a_stream_in_memory_has_none() -> None:
    assert tcp_figures(memory_stream_pair()[0]) is None
