"""The handshake of both roles, plain and digest, against builders of its own."""

import pytest
from byte_pieces import split
from hypothesis import given
from hypothesis import strategies as st
from rtmp_peers import (
    CLIENT_KEY,
    SERVER_KEY,
    digest_block,
    digest_c1,
    has_digest,
    is_digest_answer,
    plain_c1,
)

from rtmpcore import RemoteProtocolError
from rtmpcore.handshake import ClientHandshake, DigestScheme, ServerHandshake

RANDOM = bytes(range(255, -1, -1)) * 12
C2 = b"\xc2" * 1536
S2 = b"\x52" * 1536
bases = pytest.mark.parametrize("base", [8, 772])


def feed(
    handshake: ServerHandshake | ClientHandshake, pieces: list[bytes]
) -> tuple[list[bytes], bytes]:
    """Return the replies that are not empty, and all bytes handed back."""
    replies, rest = [], b""
    for piece in pieces:
        reply, beyond = handshake.receive(piece)
        assert not beyond or handshake.done
        replies += [reply] if reply else []
        rest += beyond
    return replies, rest


@given(cuts=st.lists(st.integers(0, 4000), max_size=6))
def test_plain_server_echoes_c1_exactly(cuts: list[int]) -> None:
    c1 = plain_c1()
    handshake = ServerHandshake(RANDOM)
    stream = b"\x03" + c1 + C2
    # The handshake hands on what follows it only from the piece that ends it.
    pieces = split(stream, cuts)
    pieces[-1] += b"chunks"
    (reply,), rest = feed(handshake, pieces)
    assert reply == b"\x03" + reply[1:1537] + c1
    assert reply[5:9] == bytes(4)
    assert reply[9:1537] == RANDOM[:1528]
    assert handshake.done
    assert rest == b"chunks"


def test_server_answers_before_c2_and_byte_by_byte() -> None:
    handshake = ServerHandshake(RANDOM)
    stream = b"\x03" + plain_c1()
    replies, _ = feed(handshake, [stream[i : i + 1] for i in range(len(stream) - 1)])
    assert replies == []
    assert not handshake.answered
    (reply,), _ = feed(handshake, [stream[-1:]])
    assert len(reply) == 3073
    assert not handshake.done


@bases
def test_server_answers_a_digest_in_the_client_s_scheme(base: int) -> None:
    c1 = digest_c1(base)
    (reply,), _ = feed(ServerHandshake(RANDOM), [b"\x03" + c1])
    assert has_digest(reply[1:1537], SERVER_KEY, base)
    assert is_digest_answer(reply[1537:], c1, SERVER_KEY, base)


def test_a_player_version_without_digest_gets_the_plain_answer() -> None:
    c1 = bytes.fromhex("0000000009007c02") + plain_c1()[8:]
    (reply,), _ = feed(ServerHandshake(RANDOM), [b"\x03" + c1])
    assert reply[1537:] == c1


@pytest.mark.parametrize("role", [ServerHandshake, ClientHandshake])
@pytest.mark.parametrize(
    ("first", "reason"),
    [(6, "RTMPE"), (8, "RTMPE"), (ord("G"), "not RTMP"), (0x16, "not RTMP"), (0, "not RTMP")],
)
def test_other_versions_end_it_at_the_first_byte(
    role: type[ServerHandshake | ClientHandshake], first: int, reason: str
) -> None:
    handshake = role(RANDOM)
    with pytest.raises(RemoteProtocolError, match=reason):
        handshake.receive(bytes((first,)))


def test_nothing_in_nothing_out() -> None:
    assert ServerHandshake(RANDOM).receive(b"") == (b"", b"")


def test_plain_client() -> None:
    handshake = ClientHandshake(RANDOM)
    start = handshake.start()
    assert start == b"\x03" + bytes(8) + RANDOM[:1528]
    s1 = digest_block(bytes.fromhex("04050001"), SERVER_KEY, 8)
    replies, rest = feed(handshake, [b"\x03" + s1 + S2 + b"chunks"])
    assert replies == [s1]
    assert rest == b"chunks"
    assert handshake.done


@bases
def test_digest_client(base: int) -> None:
    handshake = ClientHandshake(RANDOM, DigestScheme(base))
    start = handshake.start()
    assert len(start) == 1537
    assert has_digest(start[1:], CLIENT_KEY, base)
    s1 = digest_block(bytes.fromhex("04050001"), SERVER_KEY, base)
    (c2,), _ = feed(handshake, [b"\x03" + s1])
    assert is_digest_answer(c2, s1, CLIENT_KEY, base)


def test_digest_client_with_a_plain_server_echoes() -> None:
    handshake = ClientHandshake(RANDOM, DigestScheme.SCHEME_0)
    s1 = plain_c1()
    assert feed(handshake, [b"\x03" + s1]) == ([s1], b"")
