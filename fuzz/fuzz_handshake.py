"""Handshake, both roles: any bytes are consumed or refused by their first byte, never by others.

Further invariants: how the bytes are cut changes nothing; the answer has its exact size; bytes
beyond the handshake are handed back unchanged, and nothing is before it ends.

Input: byte 0 chooses the role (bit 0), whether our client offers a digest (bit 1), whether the
peer's first block gets one (bit 2) and of which scheme (bit 3), and the size of the pieces (the
rest). What follows is the peer's, filled up with zeros to a whole handshake.
"""

from rtmpcore import DigestScheme, RemoteProtocolError
from rtmpcore.handshake import ClientHandshake, ServerHandshake, sign

RANDOM = bytes(range(256)) * 12
BLOCK_BYTES = 1536
BEYOND = b"chunks"
CLIENT_KEY = b"Genuine Adobe Flash Player 001"
SERVER_KEY = b"Genuine Adobe Flash Media Server 001"


def run(flags: int, stream: bytes, step: int) -> tuple[bytes, bytes, str | None]:
    scheme = DigestScheme.SCHEME_0 if flags & 2 else None
    handshake: ServerHandshake | ClientHandshake
    handshake = ClientHandshake(RANDOM, scheme) if flags & 1 else ServerHandshake(RANDOM)
    replies = beyond = b""
    for start in range(0, len(stream), step):
        piece = stream[start : start + step]
        if handshake.done:
            beyond += piece
            continue
        try:
            reply, rest = handshake.receive(piece)
        except RemoteProtocolError as error:
            assert start == 0
            return replies, beyond, str(error)
        assert not rest or handshake.done
        replies += reply
        beyond += rest
    assert handshake.answered
    assert handshake.done
    return replies, beyond, None


def test_one_input(data: bytes) -> None:
    if len(data) < 2:
        return
    flags, version, block = data[0], data[1:2], data[2 : 2 + BLOCK_BYTES]
    block = block.ljust(BLOCK_BYTES, b"\0")
    if flags & 4:
        key = SERVER_KEY if flags & 1 else CLIENT_KEY
        block = sign(block, DigestScheme.SCHEME_1 if flags & 8 else DigestScheme.SCHEME_0, key)
    second = data[2 + BLOCK_BYTES : 2 + 2 * BLOCK_BYTES].ljust(BLOCK_BYTES, b"\0")
    stream = version + block + second + BEYOND
    replies, beyond, refusal = run(flags, stream, len(stream))
    assert run(flags, stream, (flags >> 4) * 100 + 1) == (replies, beyond, refusal)
    assert (refusal is None) == (version == b"\x03")
    if refusal is None:
        assert len(replies) == (BLOCK_BYTES if flags & 1 else 1 + 2 * BLOCK_BYTES)
        assert beyond == BEYOND
