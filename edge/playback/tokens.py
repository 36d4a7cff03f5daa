"""Playback tokens: what lets somebody watch one stream for a while.

A JWT (RFC 7519) with an Ed25519 signature (RFC 8037), which stands in the path of what is watched:

    head: alg "EdDSA", kid (names the key)
    body: sub (stream id), exp; net (an address prefix), nbf, if there are any

Only that algorithm is known, and the key is chosen by `kid` among keys of that kind: a token that
says "none" or "HS256" of itself is none. Of each token there is one spelling: a signature in
base64url with other unused bits is refused. A body with ``stream`` is a chat token's, whoever
signed it.

Pure: time is an argument. Bounds: `MAX_TOKEN_CHARS`, `MAX_LIFETIME_S`, `MAX_KEYS`. May import:
PyJWT, cryptography, msgspec, `edge.http.network`. Spec: RFC 8725 (what to mind with JWTs).
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Annotated, Any, Final

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edge.http.network import plain_address

MAX_TOKEN_CHARS: Final = 1024
"""Ours have some 230. It stands in every URL of its viewer, so it is to be short."""

MAX_LIFETIME_S: Final = 24 * 3600
"""Longest from now to `exp`, whoever signed: what is in an address cannot be taken back."""

LEEWAY_S: Final = 30
"""How far the clock of who signs may be from ours, either way."""

MAX_KEYS: Final = 16
"""Public keys that are known at one time."""

MAX_KID_CHARS: Final = 64

_ALGORITHM: Final = "EdDSA"
_JWS: Final = jwt.PyJWS(algorithms=[_ALGORITHM])
_KID: Final = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_KID_CHARS}}}")

# 64 bytes in base64url leave four bits of the last letter unused: they are 0, or it is another text
# for the same signature.
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{85}[AQgw]")


class BadToken(Exception):
    """A token that admits nobody; the text says why, to the person, and repeats nothing of it.

    Args:
        text: One line.
        code: For programs.
        is_guess: Whoever shows it never had a good one, as far as can be told.
    """

    def __init__(self, text: str, *, code: str = "tokenRefused", is_guess: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.is_guess = is_guess


class UnknownKey(BadToken):
    """It names a key that is not known here, or not yet."""

    def __init__(self) -> None:
        super().__init__("this playback token is signed with an unknown key", is_guess=True)


class Claims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a token says."""

    sub: str
    """The stream."""
    exp: float
    """Good until then; UTC, seconds."""
    nbf: float | None = None
    """Good from then on."""
    net: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    """Good for clients with these addresses: one, or a prefix (192.0.2.0/24)."""

    def check(self, *, stream_id: str, address: str, now_s: float) -> None:
        """Say whether it is good here and now.

        Args:
            stream_id: What is asked for.
            address: The client's, or "" if it has none.
            now_s: UTC, seconds.

        Raises:
            BadToken: It is not.
        """
        if self.sub != stream_id:
            raise BadToken("this playback token is for another stream")
        if now_s >= self.exp + LEEWAY_S:
            raise BadToken("this playback token has expired", code="tokenExpired")
        if self.exp > now_s + MAX_LIFETIME_S + LEEWAY_S:
            raise BadToken(f"this playback token lasts more than {MAX_LIFETIME_S // 3600} hours")
        if self.nbf is not None and now_s + LEEWAY_S < self.nbf:
            raise BadToken("this playback token is not valid yet")
        if self.net is not None and not _contains(self.net, address):
            raise BadToken("this playback token is for another network")


class _Body(Claims, frozen=True, kw_only=True, omit_defaults=True):
    stream: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """Only in a token of the chat."""


class KeySet:
    """Public keys, by the name that tokens call them.

    Args:
        keys: By kid.

    Raises:
        ValueError: There are too many, or one is called what no key may be.
    """

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        if len(keys) > MAX_KEYS:
            raise ValueError(f"there may be at most {MAX_KEYS} keys")
        for kid in keys:
            if not _KID.fullmatch(kid):
                raise ValueError("a key is called by letters, digits, dot, dash and underscore")
        self._keys = dict(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeySet) and self.as_jwks() == other.as_jwks()

    __hash__ = None  # type: ignore[assignment]

    def verify(self, token: str) -> Claims:
        """Return what a token says that somebody signed who may.

        Cost: one check of a signature, some 340 us; nothing to speak of for what is no token.

        Raises:
            BadToken: Nobody did, or it does not say what it has to.
        """
        if len(token) > MAX_TOKEN_CHARS or not _TOKEN.fullmatch(token):
            raise BadToken("this is no playback token", is_guess=True)
        try:
            head = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise BadToken("this is no playback token", is_guess=True) from None
        if head.get("alg") != _ALGORITHM:
            raise BadToken(
                "this playback token is signed in a way that is not known here", is_guess=True
            )
        kid = head.get("kid")
        key = self._keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            raise UnknownKey
        try:
            body: bytes = _JWS.decode(token, key, algorithms=[_ALGORITHM])
        except jwt.PyJWTError:
            raise BadToken("this playback token's signature is not valid", is_guess=True) from None
        try:
            said = msgspec.json.decode(body, type=_Body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise BadToken("this playback token does not say what it has to") from None
        if said.stream is not msgspec.UNSET:
            raise BadToken("this is a chat token")
        return Claims(sub=said.sub, exp=said.exp, nbf=said.nbf, net=said.net)

    def as_jwks(self) -> dict[str, Any]:
        """The keys as a JSON Web Key Set (RFC 7517)."""
        return {
            "keys": [
                {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "alg": _ALGORITHM,
                    "use": "sig",
                    "kid": kid,
                    "x": _segment(_raw(key)),
                }
                for kid, key in self._keys.items()
            ]
        }


class _Key(msgspec.Struct, frozen=True, kw_only=True):
    kty: str
    kid: str
    crv: str = ""
    x: str = ""


class _Keys(msgspec.Struct, frozen=True, kw_only=True):
    keys: list[_Key]


def read_jwks(data: bytes) -> KeySet:
    """Read a key set; keys of other kinds are passed over.

    Raises:
        ValueError: It is none, or has too many keys.
    """
    try:
        found = msgspec.json.decode(data, type=_Keys).keys
        keys = {
            key.kid: Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(f"{key.x}="))
            for key in found
            if (key.kty, key.crv) == ("OKP", "Ed25519")
        }
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
        raise ValueError("this is no key set") from None
    return KeySet(keys)


class Signer:
    """Mints tokens.

    Args:
        seed: The private key; a secret.

    Raises:
        ValueError: It has not 32 bytes.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key()
        self.kid = thumbprint(self.public_key)
        """What tokens call it."""

    def __repr__(self) -> str:
        return f"Signer(kid={self.kid!r})"  # a repr goes into logs

    def mint(self, claims: Claims) -> str:
        """Make a token; what it says is the caller's business.

        Cost: some 100 us.
        """
        body = msgspec.json.encode(claims)
        token = _JWS.encode(body, self._key, algorithm=_ALGORITHM, headers={"kid": self.kid})
        assert len(token) <= MAX_TOKEN_CHARS  # ids and prefixes are short
        return token


def thumbprint(key: Ed25519PublicKey) -> str:
    """Name a key by its JWK thumbprint (RFC 7638), cut to 66 bits."""
    text = f'{{"crv":"Ed25519","kty":"OKP","x":"{_segment(_raw(key))}"}}'
    return _segment(hashlib.sha256(text.encode()).digest())[:11]


def parse_net(text: str) -> str:
    """Return an address prefix in its one spelling.

    Raises:
        ValueError: It is none.
    """
    return str(ip_network(text, strict=False))


def _contains(net: str, address: str) -> bool:
    ip = plain_address(address)
    try:
        return ip is not None and ip in ip_network(net, strict=False)
    except ValueError:
        return False  # no network has this address in it


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
