"""The RTMP handshake: C0 C1 C2 against S0 S1 S2, plain and digest, for both roles.

Plain is RTMP 1.0 section 5.2: each side sends a version byte, 1536 bytes of its own, and the other
side's 1536 bytes back. The digest form ("complex", Adobe's, never specified) hides an HMAC-SHA256
in the first block at a place that four of its bytes name, and answers with a block that is signed
under a key made from it. Flash, FMLE and ffmpeg send it; a server that answers a digest with a
digest pleases all of them, and one that cannot find a digest answers plainly (cameras exist that
send a player version and no digest).

Two objects, one for each role, each fed until `done`; bytes beyond the handshake are handed back.
Buffered: never more than one block of 1537 bytes. C2 and S2 are consumed, never judged: ffmpeg,
GStreamer and many SDKs send something else than the specification asks.

Is not: RTMPE (versions 6 and 8) or HTTP tunnelling; those end in an error.
May import: errors, wire. Randomness is an argument.
"""

import abc
import enum
import hmac
from typing import Final

from rtmpcore.errors import RemoteProtocolError
from rtmpcore.wire import HANDSHAKE_BYTES, RTMPE_VERSIONS, VERSION

RANDOM_BYTES: Final = 3072
"""Random bytes that one handshake needs, for its two blocks."""

_SPEC: Final = "RTMP 1.0 section 5.2"
_DIGEST_BYTES: Final = 32
_SIGNED_BYTES: Final = HANDSHAKE_BYTES - _DIGEST_BYTES
_CLIENT_KEY: Final = b"Genuine Adobe Flash Player 001"
_SERVER_KEY: Final = b"Genuine Adobe Flash Media Server 001"
_KEY_SUFFIX: Final = bytes.fromhex(
    "f0eec24a8068bee82e00d0d1029e7e576eec5d2d29806fab93b8e636cfeb31ae"
)
_CLIENT_VERSION: Final = bytes((9, 0, 124, 2))
"""The player version that a digest C1 carries: ffmpeg's."""
_SERVER_VERSION: Final = bytes((4, 5, 0, 1))


class DigestScheme(enum.Enum):
    """Where the digest lies: the value is the offset of the four bytes that point to it."""

    #: Digest in the first half of the block; what ffmpeg and librtmp send.
    SCHEME_0 = 8
    #: Digest in the second half of the block.
    SCHEME_1 = 772


_SEARCH_ORDER: Final = (DigestScheme.SCHEME_1, DigestScheme.SCHEME_0)
"""nginx-rtmp, Node-Media-Server and ffmpeg look in this order."""


class _Handshake(abc.ABC):
    """What both halves share: a version and a block come, then a block that nobody judges."""

    def __init__(self, random_bytes: bytes) -> None:
        self._random = random_bytes
        self._buffer = bytearray()
        self.answered = False
        """The peer's first block is whole and was answered."""
        self.done = False
        """The peer's second block has arrived too."""

    def receive(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes of the peer; return the bytes to send, and those beyond the handshake.

        Raises:
            RemoteProtocolError: The first byte is not plain RTMP's version.
        """
        reply = b""
        if not self.answered:
            if data and not self._buffer:
                _check_version(data[0])
            block, data = _fill(self._buffer, data, 1 + HANDSHAKE_BYTES)
            if block:
                self.answered = True
                reply = self._answer(block[1:])
        if self.answered:
            block, data = _fill(self._buffer, data, HANDSHAKE_BYTES)
            self.done = bool(block)
        return reply, data

    @abc.abstractmethod
    def _answer(self, block: bytes) -> bytes:
        """Return what to send when the peer's first block is whole."""


class ServerHandshake(_Handshake):
    """The server's half: receives C0 C1 C2, answers S0 S1 S2 as soon as C1 is whole.

    Args:
        random_bytes: At least `RANDOM_BYTES`, fresh for each connection.
    """

    def _answer(self, block: bytes) -> bytes:
        scheme = find_digest(block, _CLIENT_KEY)
        filler = self._random[: HANDSHAKE_BYTES - 8]
        if scheme is None:
            # S2 must be C1 to the byte: Streamlabs' mobile apps and strict GStreamer compare them.
            s1 = bytes(8) + filler
            s2 = block
        else:
            s1 = sign(bytes(4) + _SERVER_VERSION + filler, scheme, _SERVER_KEY)
            s2 = answer_digest(block, scheme, _SERVER_KEY, self._random[HANDSHAKE_BYTES:])
        return bytes((VERSION,)) + s1 + s2


class ClientHandshake(_Handshake):
    """The client's half: sends C0 C1 at once, then C2 when S1 is whole.

    Args:
        random_bytes: At least `RANDOM_BYTES`, fresh for each connection.
        scheme: The digest scheme to offer, or None for the plain handshake.
    """

    def __init__(self, random_bytes: bytes, scheme: DigestScheme | None = None) -> None:
        super().__init__(random_bytes)
        self._scheme = scheme

    def start(self) -> bytes:
        """Return C0 and C1."""
        filler = self._random[: HANDSHAKE_BYTES - 8]
        if self._scheme is None:
            c1 = bytes(8) + filler
        else:
            c1 = sign(bytes(4) + _CLIENT_VERSION + filler, self._scheme, _CLIENT_KEY)
        return bytes((VERSION,)) + c1

    def _answer(self, block: bytes) -> bytes:
        scheme = find_digest(block, _SERVER_KEY) if self._scheme is not None else None
        if scheme is None:
            return block
        return answer_digest(block, scheme, _CLIENT_KEY, self._random[HANDSHAKE_BYTES:])


def find_digest(block: bytes, key: bytes) -> DigestScheme | None:
    """Return where a C1 or S1 carries a digest that is right under the key, or None."""
    for scheme in _SEARCH_ORDER:
        offset = _digest_offset(block, scheme)
        found = block[offset : offset + _DIGEST_BYTES]
        if hmac.compare_digest(found, _digest(block, offset, key)):
            return scheme
    return None


def sign(block: bytes, scheme: DigestScheme, key: bytes) -> bytes:
    """Return the block with its digest written at the place that the scheme and the block name."""
    offset = _digest_offset(block, scheme)
    return block[:offset] + _digest(block, offset, key) + block[offset + _DIGEST_BYTES :]


def answer_digest(peer_block: bytes, scheme: DigestScheme, key: bytes, random: bytes) -> bytes:
    """Return the C2 or S2 that answers a digest: random bytes, signed under a key of both sides."""
    offset = _digest_offset(peer_block, scheme)
    peer_digest = peer_block[offset : offset + _DIGEST_BYTES]
    answer_key = hmac.digest(key + _KEY_SUFFIX, peer_digest, "sha256")
    filler = random[:_SIGNED_BYTES]
    return filler + hmac.digest(answer_key, filler, "sha256")


def _digest_offset(block: bytes, scheme: DigestScheme) -> int:
    base = scheme.value
    return sum(block[base : base + 4]) % 728 + base + 4


def _digest(block: bytes, offset: int, key: bytes) -> bytes:
    signed = block[:offset] + block[offset + _DIGEST_BYTES :]
    return hmac.digest(key, signed, "sha256")


def _fill(buffer: bytearray, data: bytes, size: int) -> tuple[bytes, bytes]:
    """Move bytes into the buffer up to size; return the whole block or b"", and the bytes left."""
    missing = size - len(buffer)
    buffer += data[:missing]
    if len(buffer) < size:
        return b"", b""
    block = bytes(buffer)
    buffer.clear()
    return block, data[missing:]


def _check_version(version: int) -> None:
    if version in RTMPE_VERSIONS:
        raise RemoteProtocolError("the peer wants RTMPE, which is not served", _SPEC)
    if version != VERSION:
        raise RemoteProtocolError(
            f"version {version} is not RTMP: the peer is something else", _SPEC
        )
