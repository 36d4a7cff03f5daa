"""Listening sockets: shared by processes, refused in one line."""

import socket
from contextlib import closing

import pytest

from edge.process.address import Address
from edge.process.errors import StartupError
from edge.process.listeners import address_of, close_all, open_listeners, open_shared

ANYWHERE = Address("127.0.0.1", 0)


def test_all_processes_share_the_port_that_the_first_one_got() -> None:
    shared = open_shared("HTTP", ANYWHERE, 3)
    try:
        (address,) = {address_of(opened) for sockets in shared for opened in sockets}
        assert address.port
        assert [len(sockets) for sockets in shared] == [1, 1, 1]
        # Every one of them is given connections, by a hash of the client's port.
        clients = [socket.create_connection(address) for _ in range(64)]
        counts = []
        for (opened,) in shared:
            opened.setblocking(False)
            counts.append(_accepted(opened))
        for client in clients:
            client.close()
        assert sum(counts) == 64
        assert all(counts)
    finally:
        close_all(shared)


def _accepted(listener: socket.socket) -> int:
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_a_closed_descriptor_of_a_held_socket_loses_no_waiting_connection() -> None:
    """What a worker inherits is closed when it ends; its queue stays for the next one."""
    shared = open_shared("HTTP", ANYWHERE, 1)
    try:
        ((held,),) = shared
        with socket.create_connection(address_of(held)) as client:
            client.sendall(b"hello")
            held.dup().close()
            with held.dup() as successor:
                accepted, _ = successor.accept()
            with closing(accepted):
                assert accepted.recv(5) == b"hello"
    finally:
        close_all(shared)


@pytest.mark.parametrize("is_shareable", [False, True])
def test_a_port_that_somebody_has_is_refused(is_shareable: bool) -> None:
    """Even where the kernel would let us share it: half of the viewers would be another's."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, is_shareable)
        taken.bind(ANYWHERE)
        taken.listen()
        address = Address(*taken.getsockname())
        with pytest.raises(StartupError) as caught:
            open_shared("HTTP", address, 2)
    assert str(caught.value) == f"cannot listen for HTTP on {address}: Address already in use"


def test_a_name_that_has_no_address_is_refused() -> None:
    with pytest.raises(StartupError, match=r"cannot listen for HTTPS on host\.invalid:0: "):
        open_shared("HTTPS", Address("host.invalid", 0), 2)


def test_without_an_address_there_are_no_sockets() -> None:
    assert open_shared("HTTPS", None, 2) == [[], []]


async def test_listeners_are_closed_in_the_end() -> None:
    async with open_listeners("HTTP", ANYWHERE) as (listener,):
        assert address_of(listener).port
    assert listener.socket.fileno() == -1
    async with open_listeners("HTTP", None) as none:
        assert none == []


async def test_a_listener_that_cannot_be_is_refused() -> None:
    async with open_listeners("HTTP", ANYWHERE) as (listener,):
        address = address_of(listener)
        with pytest.raises(StartupError, match="Address already in use"):
            async with open_listeners("RTMP", address):
                raise AssertionError
