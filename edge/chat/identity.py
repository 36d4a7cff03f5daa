"""Who somebody is: signed tokens of users and guests, and where a guest comes from.

A chat token is a JWT (RFC 7519) for one stream, signed by this server (HS256) or by whoever holds
the private half of a configured key (EdDSA, RFC 8037):

    stream, sub (user id), name, exp; role, claims (an array of strings), nbf if there are any

A guest token says an id and nothing else, and is good in any room. It has a key of its own, made
from the secret: neither kind of token can pass for the other, and each kind of key is used with
the one algorithm that it was made for, whatever a token's head says.

Pure: time and randomness are arguments. Bounds: a token has `MAX_TOKEN_CHARS`, and there are
`MAX_PUBLIC_KEYS`. May import: PyJWT, cryptography, `control.chat_model`, `edge.chat`'s pure
modules.
"""

import hmac
import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Final, TypeVar

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from control.chat_model import Role
from edge.chat.names import BadName, normalise_name
from edge.chat.protocol import ChatError
from edge.chat.rules import Identity
from edge.http.network import network_of, plain_address

MAX_TOKEN_CHARS: Final = 2048
MAX_CLAIMS: Final = 16
MAX_PUBLIC_KEYS: Final = 16

MIN_SECRET_BYTES: Final = 32
"""RFC 7518 section 3.2: at least as long as the hash."""

GUEST_PREFIX: Final = "guest_"
"""What the ids of guests begin with, and no others."""

GUEST_BYTES: Final = 8
"""Of randomness in the id of a guest."""

GUEST_TOKEN_S: Final = 365 * 24 * 3600
"""How long a guest stays the same one."""

NOT_BEFORE_LEEWAY_S: Final = 60
"""How much the clock of who signs may be ahead of ours."""

_USER_ID: Final = r"^[\x21-\x7e]{1,128}\Z"
_CLAIM: Final = r"^[\x21-\x7e]{1,64}\Z"
_GUEST_ID: Final = re.compile(rf"{GUEST_PREFIX}[0-9a-f]{{{2 * GUEST_BYTES}}}")
_NETWORK_CHARS: Final = 16
_HMAC: Final = "HS256"
_EDDSA: Final = "EdDSA"
_JWS: Final = {one: jwt.PyJWS(algorithms=[one]) for one in (_HMAC, _EDDSA)}  # each knows one


class BadToken(Exception):
    """A token that proves nothing; the text says why, to the person, and repeats nothing of it."""


class _User(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a chat token says."""

    stream: str
    sub: Annotated[str, msgspec.Meta(pattern=_USER_ID)]
    name: str
    exp: float
    """UTC, seconds."""
    nbf: float | None = None
    role: Role = Role.VIEWER
    claims: Annotated[
        tuple[Annotated[str, msgspec.Meta(pattern=_CLAIM)], ...],
        msgspec.Meta(max_length=MAX_CLAIMS),
    ] = ()


class _Guest(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest token says."""

    sub: str
    exp: float


_Body = TypeVar("_Body", _User, _Guest)


class Keyring:
    """What tokens are signed and checked with.

    Args:
        secret: Signs what this server mints; at least `MIN_SECRET_BYTES`, random.
        public_keys: Ed25519 public keys, PEM, by the key id (`kid`) that tokens name; the one
            under "" serves tokens that name none, or one that is not known here.

    Raises:
        ValueError: The secret is too short, or a public key is none.
    """

    __slots__ = ("_guest_key", "_network_key", "_public_keys", "_secret")

    def __init__(self, secret: bytes, *, public_keys: Mapping[str, str | bytes] = {}) -> None:
        if len(secret) < MIN_SECRET_BYTES:
            raise ValueError(f"the secret must have at least {MIN_SECRET_BYTES} bytes")
        if len(public_keys) > MAX_PUBLIC_KEYS:
            raise ValueError(f"there may be at most {MAX_PUBLIC_KEYS} public keys")
        self._secret = secret
        self._guest_key = hmac.digest(secret, b"headrace chat guest", "sha256")
        self._network_key = hmac.digest(secret, b"headrace chat network", "sha256")
        self._public_keys = {kid: _public_key(pem) for kid, pem in public_keys.items()}

    # -- users

    def mint(
        self,
        *,
        stream_id: str,
        user_id: str,
        username: str,
        role: Role,
        claims: Iterable[str] = (),
        ttl_s: float,
        now_s: float,
    ) -> str:
        """Make a chat token.

        Args:
            stream_id: The only stream that it is good for.
            user_id: See `check_user_id`.
            username: A name, which is tidied.
            role: What they may do.
            claims: What else is true of them ("follower"), for `RoomSettings.required_claims`.
            ttl_s: How long it is good for; more than 0.
            now_s: UTC, seconds.

        Raises:
            ChatError: badRequest or badName. An id, a name or claims that no token may have, or
                too much for one.
        """
        try:
            name = normalise_name(username)
        except BadName as error:
            raise ChatError("badName", str(error)) from None
        said = tuple(sorted(set(claims)))
        if len(said) > MAX_CLAIMS or not all(re.match(_CLAIM, one) for one in said):
            raise ChatError(
                "badRequest", f"a token has at most {MAX_CLAIMS} claims, of printable ASCII"
            )
        user = _User(
            stream=stream_id,
            sub=self.check_user_id(user_id),
            name=name,
            exp=int(now_s + ttl_s),
            role=role,
            claims=said,
        )
        token = _JWS[_HMAC].encode(msgspec.json.encode(user), self._secret, algorithm=_HMAC)
        if len(token) > MAX_TOKEN_CHARS:
            raise ChatError("badRequest", "that is too much for one token")
        return token

    def read(self, token: str, *, stream_id: str, now_s: float) -> Identity:
        """Return who a chat token speaks for; where they come from is not in it.

        Raises:
            BadToken: It does not speak for anybody here and now.
        """
        user = _decode(self._verified(token), _User)
        _check_time(user.exp, user.nbf, now_s)
        if user.stream != stream_id:
            raise BadToken("this token is for another stream")
        if user.sub.startswith(GUEST_PREFIX):
            raise BadToken("this token has the id of a guest")
        try:
            username = normalise_name(user.name)
        except BadName as error:
            raise BadToken(f"this token cannot be used: {error}") from None
        return Identity(
            user_id=user.sub, username=username, role=user.role, claims=frozenset(user.claims)
        )

    @staticmethod
    def check_user_id(user_id: str) -> str:
        """Return the id of somebody who is no guest: 1 to 128 printable ASCII, no blanks.

        Raises:
            ChatError: badRequest. It is none.
        """
        if re.match(_USER_ID, user_id) is None:
            raise ChatError(
                "badRequest", "a user id has 1 to 128 characters of printable ASCII, no blanks"
            )
        if user_id.startswith(GUEST_PREFIX):
            raise ChatError("badRequest", f"ids that begin with {GUEST_PREFIX} are guests'")
        return user_id

    # -- guests

    def mint_guest(self, *, random: bytes, now_s: float) -> tuple[str, str]:
        """Make a guest; returns the user id and the token to keep.

        Raises:
            ValueError: `random` is not `GUEST_BYTES` long.
        """
        if len(random) != GUEST_BYTES:
            raise ValueError(f"random must be {GUEST_BYTES} bytes")
        guest = _Guest(sub=GUEST_PREFIX + random.hex(), exp=int(now_s + GUEST_TOKEN_S))
        body = msgspec.json.encode(guest)
        return guest.sub, _JWS[_HMAC].encode(body, self._guest_key, algorithm=_HMAC)

    def read_guest(self, token: str, *, now_s: float) -> str:
        """Return the user id of a guest.

        Raises:
            BadToken: It does not speak for a guest now.
        """
        guest = _decode(_body(token, _HMAC, self._guest_key), _Guest)
        _check_time(guest.exp, None, now_s)
        if _GUEST_ID.fullmatch(guest.sub) is None:
            raise BadToken("this token does not say what it has to")
        return guest.sub

    def network(self, address: str) -> str:
        """Return a name for where an address is: the same for all of an IPv6 /64.

        Returns:
            16 hex digits from which nobody without the secret gets the address back; "" if it is
            no IP address.
        """
        if plain_address(address) is None:
            return ""
        ip = ip_address(network_of(address))
        return hmac.digest(self._network_key, ip.packed, "sha256").hex()[:_NETWORK_CHARS]

    def _verified(self, token: str) -> bytes:
        """The body of a token that somebody signed who may."""
        head = _head(token)
        algorithm = head.get("alg")
        if algorithm == _HMAC:
            return _body(token, _HMAC, self._secret)
        if algorithm == _EDDSA and self._public_keys:
            kid = head.get("kid", "")
            key = self._public_keys.get(kid) or self._public_keys.get("")
            if key is None:
                raise BadToken("this token is signed with a key that is not known here")
            return _body(token, _EDDSA, key)
        raise BadToken("this token is signed in a way that is not known here")


def _public_key(pem: str | bytes) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem.encode("ascii") if isinstance(pem, str) else pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("must be the PEM of a public key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("must be an Ed25519 key")
    return key


def _head(token: str) -> dict[str, Any]:
    """What a token says of itself, which proves nothing."""
    _check_text(token)
    try:
        return jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise BadToken("this is no token") from None


def _body(token: str, algorithm: str, key: bytes | Ed25519PublicKey) -> bytes:
    """What a token says, if it was signed with this key."""
    _check_text(token)
    try:
        body: bytes = _JWS[algorithm].decode(token, key, algorithms=[algorithm])
    except jwt.PyJWTError:
        raise BadToken("this token's signature is not valid") from None
    return body


def _check_text(token: str) -> None:
    if len(token) > MAX_TOKEN_CHARS:
        raise BadToken("this token is too long")
    if not token.isascii():
        raise BadToken("this is no token")


def _decode(body: bytes, kind: type[_Body]) -> _Body:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise BadToken("this token does not say what it has to") from None


def _check_time(exp_s: float, nbf_s: float | None, now_s: float) -> None:
    if now_s >= exp_s:
        raise BadToken("this token has expired")
    if nbf_s is not None and now_s + NOT_BEFORE_LEEWAY_S < nbf_s:
        raise BadToken("this token is not valid yet")
