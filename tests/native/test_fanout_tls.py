"""The fan-out over TLS: the client is Python's `ssl`, and both sides run in turns."""

import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Pair, make_pair
from tls_clients import read, shake_hands, wrap_client

if os.environ.get("HEADRACE_PURE") == "1":
    pytest.skip("HEADRACE_PURE=1: TLS is Python's ssl", allow_module_level=True)

from native import FanoutEvent, TlsContext, TlsSocket

from .fanout_rig import LAGGED, PING, ROOM, Rig, ended, load, rigged

CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair()


@pytest.fixture(scope="module")
def context(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> TlsContext:
    chain, key = pair.write(tmp_path_factory.mktemp("tls"))
    return TlsContext(os.fsencode(chain), os.fsencode(key), ciphers=CIPHERS)


@pytest.fixture
def rig() -> Iterator[Rig]:
    with rigged(load("c"), queue_frames=16, queue_bytes=1 << 20) as made:
        yield made


def join(
    rig: Rig,
    context: TlsContext,
    pair: Pair,
    tag: int,
    *,
    send_buffer_bytes: int = 0,
    **options: object,
) -> ssl.SSLSocket:
    """A member of the room, over TLS."""
    ours, theirs = socket.socketpair()
    if send_buffer_bytes:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    ours.setblocking(False)
    theirs.setblocking(False)
    client = wrap_client(pair, theirs, **options)
    rig.clients.append(client)
    tls = TlsSocket(context, ours.detach())
    shake_hands(tls.handshake, client)
    rig.fanout.add(tls.fd, tag, ROOM, b"", tls)
    rig.pump()
    return client


def read_all(rig: Rig, client: ssl.SSLSocket) -> bytes:
    """All that comes, both sides in turns; a read may take in half a record and give nothing."""
    got = bytearray()
    sent_bytes = -1
    while sent_bytes != rig.fanout.counters.sent_bytes:
        sent_bytes = rig.fanout.counters.sent_bytes
        for _ in range(30):
            got += read(client)
            rig.pump()
    return bytes(got)


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
def test_both_directions_and_the_end(
    rig: Rig, context: TlsContext, pair: Pair, version: ssl.TLSVersion
) -> None:
    ours = wrap_of(rig, context, pair, version)
    rig.fanout.broadcast(ROOM, b"one")
    rig.fanout.send(1, b"two")
    rig.pump()
    assert read(ours) == b"onetwo"
    ours.send(b"hello" * 2000)
    events = rig.pump()
    assert b"".join(event[2] for event in events) == b"hello" * 2000
    rig.now_ms += 30_000
    rig.pump()
    assert read(ours) == PING
    rig.fanout.close(1, b"bye")
    rig.pump()
    assert ours.recv(10) == b"bye"
    assert ours.recv(10) == b""  # close_notify: the client is strict
    ours.close()
    assert ended(rig.pump()) == [(1, "done")]


def wrap_of(
    rig: Rig, context: TlsContext, pair: Pair, version: ssl.TLSVersion, **options: int
) -> ssl.SSLSocket:
    return join(rig, context, pair, 1, maximum_version=version, **options)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size_bytes", [90, 5_000, 40_000])
def test_who_does_not_read_loses_no_bytes_of_what_has_begun(
    rig: Rig, context: TlsContext, pair: Pair, version: ssl.TLSVersion, size_bytes: int
) -> None:
    client = wrap_of(rig, context, pair, version, send_buffer_bytes=4096)
    frames = [b"%04d" % number + b"-" * (size_bytes - 4) for number in range(1000)]
    number = 0
    while rig.fanout.counters.lagged == 0:
        for _ in range(3):
            rig.fanout.broadcast(ROOM, frames[number])
            number += 1
        rig.pump()
    got = read_all(rig, client)
    count, rest = divmod(len(got) - len(LAGGED), size_bytes)
    assert rest == 0
    assert got == b"".join(frames[:count]) + LAGGED
    assert count + rig.fanout.counters.dropped == number
    rig.fanout.broadcast(ROOM, b"next")
    rig.pump()
    assert read(client) == b"next"
    assert rig.fanout.counters.queued_bytes == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_the_last_frame_of_who_does_not_read(
    rig: Rig, context: TlsContext, pair: Pair, version: ssl.TLSVersion
) -> None:
    client = wrap_of(rig, context, pair, version, send_buffer_bytes=4096)
    for number in range(12):
        rig.fanout.broadcast(ROOM, b"%d" % (number % 10) * 3000)
        rig.fanout.send(1, b"<%d>" % number)
        rig.pump()
    rig.fanout.close(1, b"bye")
    wanted = b"".join(b"%d" % (number % 10) * 3000 + b"<%d>" % number for number in range(12))
    assert read_all(rig, client) == wanted + b"bye"


def test_who_lags_for_too_long_and_who_breaks_the_protocol(
    rig: Rig, context: TlsContext, pair: Pair
) -> None:
    join(rig, context, pair, 1, send_buffer_bytes=4096)
    broken = join(rig, context, pair, 2)
    os.write(broken.fileno(), b"this is no TLS record")
    assert ended(rig.pump()) == [(2, "left")]
    while rig.fanout.counters.lagged == 0:
        rig.fanout.broadcast(ROOM, b"x" * 1000)
        rig.pump()
    rig.now_ms += 10_000
    assert ended(rig.pump()) == [(1, "slow")]
    assert rig.fanout.counters.queued_bytes == 0


def test_what_may_not_be_added(rig: Rig, context: TlsContext) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        tls = TlsSocket(context, ours.detach())
        with pytest.raises(ValueError, match="handshake"):
            rig.fanout.add(tls.fd, 1, ROOM, b"kept", tls)
        with pytest.raises(ValueError, match="another descriptor"):
            rig.fanout.add(theirs.fileno(), 1, ROOM, b"kept", tls)
        tls.close()
    assert rig.fanout.members(ROOM) == 0
    assert rig.fanout.counters.members == 0


def test_records_that_come_with_the_handshake_are_read(
    rig: Rig, context: TlsContext, pair: Pair, tmp_path: Path
) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    client = wrap_client(pair, theirs)
    rig.clients.append(client)
    tls = TlsSocket(context, ours.detach())
    shake_hands(tls.handshake, client)
    client.send(b"a")
    client.send(b"b")
    assert tls.receive(1) == b"a"  # and "b" is read ahead, where no epoll sees it
    rig.fanout.add(tls.fd, 1, ROOM, b"", tls)
    assert [event[2] for event in rig.pump() if event[0] is FanoutEvent.DATA] == [b"b"]
