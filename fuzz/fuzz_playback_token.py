"""Playback tokens: any text is a token's claims, or `BadToken`.

Whoever has no key gets nothing but `BadToken`, whatever the head says. What is signed with a known
key says a stream and an end, and is judged for any stream, address and time without another
exception; a token that is changed in one place is none.

Input: a byte, then text. Odd: the text as it is. Even: a head and a body, with a zero byte between
them, which are signed with a key that is known; where its half is odd, the head is a good one.
"""

import base64
from contextlib import suppress

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.playback.tokens import MAX_TOKEN_CHARS, BadToken, Claims, KeySet

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
KNOWN = KeySet({"k": KEY.public_key()})
HEAD = b'{"alg":"EdDSA","kid":"k"}'


def segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(head: bytes, body: bytes) -> str:
    text = f"{segment(head)}.{segment(body)}"
    return f"{text}.{segment(KEY.sign(text.encode()))}"


def claims_of(token: str) -> Claims | None:
    try:
        return KNOWN.verify(token)
    except BadToken:
        return None


def test_one_input(data: bytes) -> None:
    if len(data) < 2:
        return
    kind, (head, _, body) = data[0], data[1:].partition(b"\0")
    if kind % 2:
        assert claims_of(data[1:].decode("latin-1")) is None  # nobody guesses a signature
        return
    token = signed(HEAD if kind % 4 else head, body)
    claims = claims_of(token)
    if claims is None:
        return
    assert len(token) <= MAX_TOKEN_CHARS
    for address in ("", "192.0.2.1", "2001:db8::1", "no address"):
        with suppress(BadToken):
            claims.check(stream_id=claims.sub, address=address, now_s=claims.exp - 1)
    place = kind % len(token)
    other = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
    assert claims_of(other) is None
