"""Playback tokens: what was signed is read, and no other text; tokens here are forged by hand."""

import base64
import hashlib
import hmac
import json
from ipaddress import ip_network
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from edge.playback.tokens import (
    LEEWAY_S,
    MAX_KEYS,
    MAX_LIFETIME_S,
    MAX_TOKEN_CHARS,
    BadToken,
    Claims,
    KeySet,
    Signer,
    UnknownKey,
    parse_net,
    read_jwks,
    thumbprint,
)

NOW_S = 1_800_000_000
STREAM = "stream1"
SIGNER = Signer(bytes(range(32)))
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
KEYS = KeySet({SIGNER.kid: SIGNER.public_key})
RAW = SIGNER.public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)
PEM = SIGNER.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
BODY = {"sub": STREAM, "exp": NOW_S + 60}
TOKEN = SIGNER.mint(Claims(sub=STREAM, exp=NOW_S + 60))
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def as_json(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def forge(body: object = BODY, key: Ed25519PrivateKey = PRIVATE, **head: object) -> str:
    first = {"alg": "EdDSA", "kid": SIGNER.kid} | head
    signed = f"{segment(as_json(first))}.{segment(as_json(body))}"
    return f"{signed}.{segment(key.sign(signed.encode()))}"


def check(claims: Claims, **changes: Any) -> None:
    what: dict[str, Any] = {"stream_id": STREAM, "address": "192.0.2.7", "now_s": NOW_S}
    claims.check(**(what | changes))


# -- what is good


@given(
    stream=st.text("0123456789abcdefghjkmnpqrstvwxyz", min_size=12, max_size=12),
    lifetime_s=st.integers(1, MAX_LIFETIME_S),
    net=st.none() | st.ip_addresses(network="192.0.2.0/24").map(str) | st.just("2001:db8::/32"),
)
def test_what_is_minted_is_read(stream: str, lifetime_s: int, net: str | None) -> None:
    claims = Claims(sub=stream, exp=NOW_S + lifetime_s, net=net)
    token = SIGNER.mint(claims)
    assert KEYS.verify(token) == claims
    assert len(token) < MAX_TOKEN_CHARS / 2
    assert set(token) <= set(LETTERS + "."), "it must fit in a path as it is"


def test_a_token_is_a_plain_jwt() -> None:
    head, body, signature = TOKEN.split(".")
    PRIVATE.public_key().verify(
        base64.urlsafe_b64decode(f"{signature}=="), f"{head}.{body}".encode()
    )
    assert json.loads(base64.urlsafe_b64decode(f"{head}==")) == {
        "alg": "EdDSA",
        "typ": "JWT",
        "kid": SIGNER.kid,
    }
    assert json.loads(base64.urlsafe_b64decode(f"{body}==")) == BODY


def test_a_token_made_elsewhere_is_read_whatever_else_it_says() -> None:
    token = forge({**BODY, "iss": "shop", "jti": "1", "iat": NOW_S, "nbf": NOW_S, "net": "::/0"})
    assert KEYS.verify(token) == Claims(sub=STREAM, exp=NOW_S + 60, nbf=NOW_S, net="::/0")


def test_the_name_of_a_key_is_its_thumbprint() -> None:
    # RFC 8037 appendix A.3: the thumbprint of the key of A.2.
    raw = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    assert (
        thumbprint(Ed25519PublicKey.from_public_bytes(raw))
        == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"[:11]
    )


# -- what is not


@given(st.integers(0, len(TOKEN) - 1), st.sampled_from(LETTERS + ".="))
def test_no_letter_can_be_another(position: int, letter: str) -> None:
    text = TOKEN[:position] + letter + TOKEN[position + 1 :]
    if text != TOKEN:
        with pytest.raises(BadToken):
            KEYS.verify(text)


@given(st.data())
def test_nothing_can_be_left_out_or_added(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(TOKEN)))
    end = data.draw(st.integers(start, len(TOKEN)))
    text = TOKEN[:start] + data.draw(st.text(LETTERS + ".=\n", max_size=8)) + TOKEN[end:]
    if text != TOKEN:
        with pytest.raises(BadToken):
            KEYS.verify(text)


@given(st.text(max_size=300) | st.binary(max_size=200).map(segment))
def test_any_other_text_is_none(text: str) -> None:
    with pytest.raises(BadToken) as refusal:
        KEYS.verify(text)
    assert refusal.value.is_guess


def forge_hmac(key: bytes, **head: object) -> str:
    """Signed with what everybody knows: a public key, as a shared secret. Padded to the length."""
    first = {"alg": "HS256", "kid": SIGNER.kid} | head
    signed = f"{segment(as_json(first))}.{segment(as_json(BODY))}"
    return f"{signed}.{segment(hmac.digest(key, signed.encode(), hashlib.sha512))}"


@pytest.mark.parametrize(
    "token",
    [
        *[forge_hmac(key, alg=alg) for key in (RAW, PEM) for alg in ("HS256", "HS512", "EdDSA")],
        *[forge(alg=alg) for alg in ("none", "None", "HS256", "ES256", "RS256", "", None, 5, [1])],
        *[f"{forge(alg='none').rpartition('.')[0]}.", forge().rpartition(".")[0]],
        forge(key=OTHER),
        forge(kid="other"),
        forge(kid=None),
        forge(kid=[SIGNER.kid]),
        forge(crit=["exp"]),
        forge(b64=False),
        forge(jwk={"kty": "OKP", "crv": "Ed25519", "x": segment(RAW)}, kid="", key=OTHER),
    ],
)
def test_confusion_is_refused(token: str) -> None:
    with pytest.raises(BadToken) as refusal:
        KEYS.verify(token)
    assert token not in str(refusal.value)


@pytest.mark.parametrize(
    "body",
    [
        {"sub": STREAM},
        {"exp": NOW_S + 60},
        {**BODY, "sub": 5},
        {**BODY, "exp": "soon"},
        {**BODY, "exp": None},
        {**BODY, "net": 5},
        {**BODY, "net": "1" * 65},
        {**BODY, "stream": STREAM, "name": "Ann"},
        {**BODY, "stream": None},
        [STREAM],
        b"\xff",
        b"{",
        b"[" * 2000,
    ],
)
def test_a_signed_body_says_what_it_has_to(body: object) -> None:
    with pytest.raises(BadToken) as refusal:
        KEYS.verify(forge(body) if len(as_json(body)) < 500 else forge(b"[" * 600))
    assert not refusal.value.is_guess or len(forge(body)) > MAX_TOKEN_CHARS


def test_a_token_has_a_longest_length() -> None:
    def of_length(chars: int) -> str:
        padding = 0
        while len(token := forge({**BODY, "jti": "x" * padding})) < chars:
            padding += 1
        return token

    assert KEYS.verify(of_length(MAX_TOKEN_CHARS - 3))
    with pytest.raises(BadToken, match="no playback token"):
        KEYS.verify(of_length(MAX_TOKEN_CHARS + 1))


def test_an_unknown_key_is_said_to_be_one() -> None:
    with pytest.raises(UnknownKey):
        KEYS.verify(forge(kid="tomorrow"))


# -- here and now


@pytest.mark.parametrize(
    ("claims", "code", "changes"),
    [
        ({}, None, {}),
        ({}, "tokenRefused", {"stream_id": "stream2"}),
        ({}, None, {"now_s": NOW_S + 60 + LEEWAY_S - 1}),
        ({}, "tokenExpired", {"now_s": NOW_S + 60 + LEEWAY_S}),
        ({"exp": NOW_S + MAX_LIFETIME_S + LEEWAY_S}, None, {}),
        ({"exp": NOW_S + MAX_LIFETIME_S + LEEWAY_S + 1}, "tokenRefused", {}),
        ({"exp": 1e300}, "tokenRefused", {}),
        ({"nbf": NOW_S + LEEWAY_S}, None, {}),
        ({"nbf": NOW_S + LEEWAY_S + 1}, "tokenRefused", {}),
        ({"net": "192.0.2.0/24"}, None, {}),
        ({"net": "192.0.2.7"}, None, {}),
        ({"net": "192.0.2.1/24"}, None, {}),
        ({"net": "192.0.2.0/24"}, None, {"address": "::ffff:192.0.2.9"}),
        ({"net": "192.0.2.0/24"}, "tokenRefused", {"address": "192.0.3.7"}),
        ({"net": "192.0.2.0/24"}, "tokenRefused", {"address": "2001:db8::1"}),
        ({"net": "192.0.2.0/24"}, "tokenRefused", {"address": ""}),
        ({"net": "0.0.0.0/0"}, "tokenRefused", {"address": ""}),
        ({"net": "2001:db8::/64"}, None, {"address": "2001:db8::5%eth0"}),
        ({"net": "2001:db8::/64"}, "tokenRefused", {"address": "2001:db8:1::5"}),
        ({"net": ""}, "tokenRefused", {}),
        ({"net": "home"}, "tokenRefused", {}),
    ],
)
def test_what_is_good_here_and_now(
    claims: dict[str, Any], code: str | None, changes: dict[str, Any]
) -> None:
    said: dict[str, Any] = {**BODY, **claims}
    read = KEYS.verify(SIGNER.mint(Claims(**said)))
    if code is None:
        check(read, **changes)
        return
    with pytest.raises(BadToken) as refusal:
        check(read, **changes)
    assert (refusal.value.code, refusal.value.is_guess) == (code, False)


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 128))
def test_a_prefix_holds_what_it_holds(one: Any, other: Any, bits: int) -> None:
    bits = min(bits, one.max_prefixlen)
    net = parse_net(f"{one}/{bits}")
    claims = Claims(sub=STREAM, exp=NOW_S + 60, net=net)
    check(claims, address=str(one)) if getattr(one, "ipv4_mapped", None) is None else None
    if other in ip_network(net) and getattr(other, "ipv4_mapped", None) is None:
        check(claims, address=str(other))
    elif getattr(other, "ipv4_mapped", None) is None:
        with pytest.raises(BadToken):
            check(claims, address=str(other))


# -- keys


def test_a_key_set_is_told_and_read_back() -> None:
    keys = KeySet({"shop.eu": OTHER.public_key(), SIGNER.kid: SIGNER.public_key})
    text = json.dumps(keys.as_jwks()).encode()
    assert read_jwks(text) == keys != KEYS
    assert read_jwks(text).verify(TOKEN) == Claims(sub=STREAM, exp=NOW_S + 60)
    assert segment(RAW) in text.decode()


def test_keys_of_other_kinds_are_passed_over() -> None:
    others = [
        {"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"},
        {"kty": "OKP", "crv": "X25519", "kid": "x", "x": segment(RAW)},
    ]
    own = KEYS.as_jwks()["keys"]
    assert read_jwks(json.dumps({"keys": others + own}).encode()) == KEYS


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"keys":[{"kty":"OKP","kid":"a","crv":"Ed25519","x":"AAAA"}]}',
        b'{"keys":[{"kty":"OKP","kid":"a","crv":"Ed25519","x":"\\u00e9"}]}',
        json.dumps({"keys": [{**KEYS.as_jwks()["keys"][0], "kid": "a b"}]}).encode(),
    ],
)
def test_what_is_no_key_set(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"key"):
        read_jwks(data)


def test_there_may_be_so_many_keys() -> None:
    public = SIGNER.public_key
    assert len(KeySet({str(number): public for number in range(MAX_KEYS)})) == MAX_KEYS
    with pytest.raises(ValueError, match="at most"):
        KeySet({str(number): public for number in range(MAX_KEYS + 1)})


def test_the_signer_does_not_show_its_key() -> None:
    assert repr(SIGNER) == f"Signer(kid={SIGNER.kid!r})"
    with pytest.raises(ValueError, match="32"):
        Signer(b"short")
