"""TLS on a descriptor: bytes, their bounds, ends, and the C functions that the reactor calls.

In TLS 1.2 and 1.3, against Python's `ssl` on the other end of a pair of sockets.
"""

import contextlib
import ctypes
import os
import random
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from certificates import Pair, make_pair
from tls_clients import bare, read, read_to_the_end, shake_hands, wrap_client

if os.environ.get("HEADRACE_PURE") == "1":
    pytest.skip("HEADRACE_PURE=1: TLS is Python's ssl", allow_module_level=True)

from native import TlsContext, TlsError, TlsSocket, TlsWant

RECORD_BYTES = 16384
MAX_SEND_BYTES = 256 * 1024

Connected = tuple[TlsSocket, ssl.SSLSocket]


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair()


@pytest.fixture
def context(tmp_path: Path, pair: Pair) -> TlsContext:
    chain, key = pair.write(tmp_path)
    return TlsContext(os.fsencode(chain), os.fsencode(key), ciphers=b"ECDHE+AESGCM")


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def connected(
    request: pytest.FixtureRequest, context: TlsContext, pair: Pair
) -> Iterator[Connected]:
    """Both sides of a connection after its handshake, in each version."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    tls = TlsSocket(context, ours.detach())
    with wrap_client(pair, theirs, maximum_version=request.param) as client:
        shake_hands(tls.handshake, client)
        assert read(client) == b""  # but tickets: with those unread, a close would be a reset
        yield tls, client
        tls.close()


def fill(tls: TlsSocket, data: bytes) -> int:
    """Send until the descriptor takes no more; say how much it took."""
    sent = 0
    while sent < len(data):
        taken = tls.send(memoryview(data)[sent:])
        if isinstance(taken, TlsWant):
            assert taken is TlsWant.WRITE
            return sent
        sent += taken
    raise AssertionError("it took everything")


# --- bytes


def test_bytes_in_both_directions(connected: Connected) -> None:
    tls, client = connected
    assert tls.receive(100) is TlsWant.READ
    client.send(b"question")
    before = tls.pending  # no: it is in the descriptor
    # Then it is where no poll would see it.
    assert (before, tls.receive(3), tls.pending) == (False, b"que", True)
    assert (tls.receive(100), tls.pending) == (b"stion", False)
    assert tls.receive(100) is TlsWant.READ
    assert tls.send(memoryview(b"answer")) == 6
    assert tls.send(b"") == 0
    assert read(client) == b"answer"


def test_one_record_at_once(connected: Connected) -> None:
    tls, client = connected
    client.send(bytes(RECORD_BYTES))
    client.send(b"next")
    assert tls.receive(1 << 40) == bytes(RECORD_BYTES)
    assert tls.receive(1 << 40) == b"next"


def test_a_record_byte_by_byte(connected: Connected) -> None:
    """Half a record is nothing yet, and no error."""
    tls, client = connected
    client.send(b"question")
    with bare(tls.fd) as ours, bare(client.fileno()) as theirs:
        record = ours.recv(65536)
        for byte in record[:-1]:
            theirs.send(bytes((byte,)))
            assert tls.receive(100) is TlsWant.READ
        theirs.send(record[-1:])
    assert tls.receive(100) == b"question"


def test_what_does_not_go_at_once_goes_later_from_wherever_it_is(connected: Connected) -> None:
    tls, client = connected
    data = random.Random(1).randbytes(4_000_000)
    sent = fill(tls, data)
    got = read(client)
    while sent < len(data):
        again = bytearray(data[sent:])  # somewhere else in memory
        taken = tls.send(again)
        if isinstance(taken, int):
            sent += taken
        got += read(client)
    assert got == data


def test_receiving_goes_on_while_sending_waits(connected: Connected) -> None:
    tls, client = connected
    data = bytes(4_000_000)
    sent = fill(tls, data)
    client.send(b"question")
    assert tls.receive(100) == b"question"
    got = len(read(client))
    taken = tls.send(memoryview(data)[sent:])
    assert isinstance(taken, int)
    assert got + len(read(client)) == sent + taken


def test_one_call_sends_no_more_than_its_bound(context: TlsContext, pair: Pair) -> None:
    """A pair of TCP sockets holds more than that."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    ours.setblocking(False)
    tls = TlsSocket(context, ours.detach())
    theirs.setblocking(False)
    with wrap_client(pair, theirs) as client:
        while tls.handshake() is not None:
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
        taken = tls.send(bytes(4_000_000))
        assert isinstance(taken, int)
        assert MAX_SEND_BYTES <= taken < MAX_SEND_BYTES + RECORD_BYTES


# --- ends


def test_the_peer_ends_its_side_in_peace(connected: Connected) -> None:
    tls, client = connected
    client.send(b"last words")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.unwrap()
    assert tls.receive(100) == b"last words"
    assert tls.receive(100) == b""
    assert tls.receive(100) == b""
    assert tls.send(b"answer") == 6  # its side only


def test_a_peer_that_closes_without_a_word_has_ended_too(connected: Connected) -> None:
    tls, client = connected
    client.send(b"last words")
    socket.socket.close(client)
    assert tls.receive(100) == b"last words"
    assert tls.receive(100) == b""
    with pytest.raises(TlsError, match=r"^Broken pipe$"):
        tls.send(b"answer")
    with pytest.raises(TlsError):
        tls.shutdown()


def test_our_side_ends_in_peace(connected: Connected) -> None:
    tls, client = connected
    assert tls.send(b"last words") == 10
    assert tls.shutdown() is None
    assert client.recv(100) == b"last words"
    assert client.recv(100) == b""  # with close_notify, or Python's `ssl` would raise
    with bare(client.fileno()) as theirs:
        assert theirs.recv(100) == b""  # and FIN behind it
    client.send(b"question")
    assert tls.receive(100) == b"question"
    with pytest.raises(TlsError, match=r"^protocol is shutdown$"):
        tls.send(b"more")


def test_no_goodbye_after_half_a_record(connected: Connected) -> None:
    tls, client = connected
    sent = fill(tls, bytes(4_000_000))
    assert tls.shutdown() is TlsWant.WRITE
    got = len(read(client))
    with pytest.raises(TlsError):
        tls.shutdown()
    tls.close()
    assert got + len(read_to_the_end(client)) == sent


def test_bytes_that_are_no_record_break_the_connection(connected: Connected) -> None:
    tls, client = connected
    with bare(client.fileno()) as theirs:
        theirs.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(TlsError, match=r"^decryption failed or bad|^cipher operation failed$"):
        tls.receive(100)
    with pytest.raises(TlsError):
        tls.send(b"answer")
    with pytest.raises(TlsError):
        tls.shutdown()


def test_arguments_are_checked(connected: Connected) -> None:
    tls = connected[0]
    for size in (0, -1):
        with pytest.raises(ValueError, match=r"^max_bytes must be at least 1$"):
            tls.receive(size)
    with pytest.raises(TypeError):
        tls.send("text")  # type: ignore[arg-type]
    with pytest.raises(BufferError):
        tls.send(memoryview(b"0123")[::2])


# --- what the reactor calls


class Piece(ctypes.Structure):
    """struct iovec"""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


def c_function(name: str, *arguments: Any) -> Callable[..., int]:
    """A function of ``_tls.pxd``; `arguments` are their types."""
    capsule = sys.modules[TlsSocket.__module__].__pyx_capi__[name]
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = (
        ctypes.c_void_p,
        [ctypes.py_object, ctypes.c_char_p],
    )
    pointer = get_pointer(capsule, get_name(capsule))
    return ctypes.PYFUNCTYPE(ctypes.c_int, *arguments)(pointer)


def ssl_of(tls: TlsSocket) -> int:
    """The `SSL *` of a connection: behind the object's head and the table of its methods."""
    found = ctypes.c_void_p.from_address(id(tls) + object.__basicsize__ + 8).value
    assert found is not None
    return found


TLS_OK, TLS_WANT_READ, TLS_WANT_WRITE, TLS_END, TLS_BROKEN = range(5)


def send_pieces(tls: TlsSocket, pieces: list[bytes], limit: int) -> tuple[int, int]:
    """Call `tls_send`; return its outcome and how much was sent."""
    function = c_function(
        "tls_send",
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t),
        *(ctypes.c_void_p, ctypes.c_void_p),
    )
    held = [ctypes.create_string_buffer(piece, max(1, len(piece))) for piece in pieces]
    table = (Piece * len(pieces))(
        *[
            Piece(ctypes.addressof(buffer), len(piece))
            for buffer, piece in zip(held, pieces, strict=True)
        ]
    )
    sent = ctypes.c_size_t(99)
    outcome = function(
        ssl_of(tls), ctypes.addressof(table), len(pieces), limit, ctypes.addressof(sent), None
    )
    return outcome, sent.value


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [0],
        [5],
        [0, 5, 0],
        [300, 40, 150_000],
        [300, 40, 1000, 2000],
        [RECORD_BYTES],
        [RECORD_BYTES, 1],
        [RECORD_BYTES - 1, 1],
        [RECORD_BYTES - 1, 2],
        [RECORD_BYTES + 1, 1],
        [1] * 50,
        [20_000, 0, 20_000, 0, 1],
    ],
)
def test_pieces_arrive_in_order_and_in_full_records(connected: Connected, sizes: list[int]) -> None:
    tls, client = connected
    noise = random.Random(sum(sizes))
    pieces = [noise.randbytes(size) for size in sizes]
    total = sum(sizes)
    assert send_pieces(tls, pieces, 1 << 30) == (TLS_OK, total)
    with bare(client.fileno()) as theirs, contextlib.suppress(BlockingIOError):
        # A record has a head of five bytes: as few of them as can hold the total.
        wire = theirs.recv(1 << 20, socket.MSG_PEEK)
        records = 0
        while wire:
            records += 1
            wire = wire[5 + int.from_bytes(wire[3:5], "big") :]
        assert records == -(-total // RECORD_BYTES)
    assert read(client) == b"".join(pieces)


def test_pieces_stop_at_the_limit_after_a_whole_record(connected: Connected) -> None:
    tls, client = connected
    pieces = [bytes(300), bytes(100_000)]
    assert send_pieces(tls, pieces, 1) == (TLS_OK, RECORD_BYTES)
    assert send_pieces(tls, pieces, 0) == (TLS_OK, 0)
    assert len(read(client)) == RECORD_BYTES


def test_pieces_that_block_go_on_from_where_they_were(connected: Connected) -> None:
    tls, client = connected
    noise = random.Random(2)
    whole = noise.randbytes(2_000_000)
    sent, got, outcomes = 0, b"", set()
    while sent < len(whole):
        left = whole[sent:]
        cuts = sorted(noise.sample(range(min(len(left), 60_000)), 3))
        pieces = [left[low:high] for low, high in pairwise([0, *cuts, len(left)])]
        outcome, taken = send_pieces(tls, pieces, 1 << 30)
        outcomes.add(outcome)
        sent += taken
        if outcome == TLS_WANT_WRITE:
            got += read(client)
    assert got + read(client) == whole
    assert outcomes == {TLS_OK, TLS_WANT_WRITE}


def test_receive_takes_all_records_that_fit_and_says_why_it_stopped(connected: Connected) -> None:
    tls, client = connected
    function = c_function(
        "tls_receive",
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p),
    )

    def receive(room: int) -> tuple[int, bytes]:
        data = ctypes.create_string_buffer(room)
        size = ctypes.c_size_t(99)
        outcome = function(ssl_of(tls), data, room, ctypes.addressof(size), None)
        return outcome, data.raw[: size.value]

    assert receive(10) == (TLS_WANT_READ, b"")
    for word in (b"one ", b"two ", b"three"):
        client.send(word)
    assert receive(10) == (TLS_OK, b"one two th")
    assert receive(10) == (TLS_WANT_READ, b"ree")
    client.send(b"last")
    socket.socket.close(client)
    assert receive(10) == (TLS_END, b"last")
    assert receive(10) == (TLS_END, b"")
