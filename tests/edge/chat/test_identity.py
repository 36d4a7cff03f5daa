"""Tokens: what was minted is read, whatever else is not; tokens here are forged by hand."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from control.chat_model import Role
from edge.chat.identity import (
    GUEST_BYTES,
    GUEST_TOKEN_S,
    MAX_CLAIMS,
    MAX_PUBLIC_KEYS,
    MAX_TOKEN_CHARS,
    MIN_SECRET_BYTES,
    NOT_BEFORE_LEEWAY_S,
    BadToken,
    Keyring,
)
from edge.chat.protocol import ChatError
from edge.chat.rules import Identity

NOW_S = 1_800_000_000.0
SECRET = b"a secret of thirty-two bytes ..."
STREAM = "stream1"
SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PAYLOAD = {"stream": STREAM, "sub": "ann", "name": "Ann", "exp": NOW_S + 60}
ANN = Identity(user_id="ann", username="Ann")


def pem_of(key: Any) -> bytes:
    found: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return found


RING = Keyring(SECRET, public_keys={"bot": pem_of(SIGNER)})


def segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def as_json(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def forge(payload: object, key: bytes = SECRET, head: object = None) -> str:
    """HMAC-SHA256, whatever the head says."""
    first = {"alg": "HS256", "typ": "JWT"} if head is None else head
    signed = f"{segment(as_json(first))}.{segment(as_json(payload))}"
    return f"{signed}.{segment(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def forge_eddsa(payload: object, key: Ed25519PrivateKey = SIGNER, **head: object) -> str:
    signed = f"{segment(as_json({'alg': 'EdDSA'} | head))}.{segment(as_json(payload))}"
    return f"{signed}.{segment(key.sign(signed.encode()))}"


def mint(**changes: Any) -> str:
    what: dict[str, Any] = {
        "stream_id": STREAM,
        "user_id": "ann",
        "username": "Ann",
        "role": Role.VIEWER,
        "ttl_s": 60,
        "now_s": NOW_S,
    }
    return RING.mint(**(what | changes))


def read(token: str, now_s: float = NOW_S) -> Identity:
    return RING.read(token, stream_id=STREAM, now_s=now_s)


# -- users

ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)


@given(
    user_id=ids.filter(lambda text: not text.startswith("guest_")),
    username=st.text("abcXYZ09", min_size=1, max_size=25),
    role=st.sampled_from(Role),
    claims=st.lists(ids, max_size=4),
)
def test_what_is_minted_is_read(user_id: str, username: str, role: Role, claims: list[str]) -> None:
    token = mint(user_id=user_id, username=username, role=role, claims=claims)
    assert read(token) == Identity(
        user_id=user_id, username=username, role=role, claims=frozenset(claims)
    )


def test_a_token_is_a_plain_jwt() -> None:
    head, payload, signature = mint(role=Role.MODERATOR, claims=["b", "a", "b"]).split(".")
    expected = hmac.digest(SECRET, f"{head}.{payload}".encode(), hashlib.sha256)
    assert signature == segment(expected)
    assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(base64.urlsafe_b64decode(payload + "==")) == {
        **PAYLOAD,
        "role": "moderator",
        "claims": ["a", "b"],
    }


def test_a_token_made_elsewhere_is_read() -> None:
    assert read(forge(PAYLOAD)) == ANN
    assert read(forge({**PAYLOAD, "aud": "x", "iat": 1, "sub": "x" * 128})).user_id == "x" * 128
    assert read(forge(PAYLOAD, head={"alg": "HS256", "kid": "whatever"})) == ANN


def test_names_are_tidied_both_ways() -> None:
    assert read(mint(username="  \uff21nn  B ")).username == "Ann B"
    assert read(forge({**PAYLOAD, "name": " \uff21nn  B"})).username == "Ann B"


def test_a_token_ends_when_it_says() -> None:
    token = mint()
    assert read(token, NOW_S + 59.999) == ANN
    with pytest.raises(BadToken, match="has expired"):
        read(token, NOW_S + 60)


def test_a_token_begins_when_it_says_and_a_little_before() -> None:
    token = forge({**PAYLOAD, "nbf": NOW_S, "exp": NOW_S + 9})
    assert read(token, NOW_S - NOT_BEFORE_LEEWAY_S) == ANN
    with pytest.raises(BadToken, match="not valid yet"):
        read(token, NOW_S - NOT_BEFORE_LEEWAY_S - 0.001)


def test_a_token_is_for_one_stream() -> None:
    with pytest.raises(BadToken, match="another stream"):
        RING.read(mint(), stream_id="stream2", now_s=NOW_S)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({**PAYLOAD, "sub": "guest_0123456789abcdef"}, "id of a guest"),
        ({**PAYLOAD, "name": "\u202eAnn"}, "cannot be used: a name may not have invisible"),
        ({**PAYLOAD, "name": "x" * 26}, "at most 25 characters"),
        *(
            ({**PAYLOAD, **change}, "does not say what it has to")
            for change in (
                {"sub": ""},
                {"sub": "x" * 129},
                {"sub": "a b"},
                {"sub": "ann\n"},
                {"sub": "\u00e9"},
                {"sub": 7},
                {"stream": None},
                {"name": None},
                {"exp": None},
                {"exp": "soon"},
                {"exp": True},
                {"nbf": "now"},
                {"role": "king"},
                {"role": None},
                {"claims": "follower"},
                {"claims": [""]},
                {"claims": ["a b"]},
                {"claims": ["x" * 65]},
                {"claims": ["x"] * (MAX_CLAIMS + 1)},
            )
        ),
        *(
            (payload, "does not say what it has to")
            for payload in (
                b"",
                b"{",
                b"[]",
                b"null",
                b"\xff",
                b"[" * 1000,
                b'{"exp":1e999,"stream":"stream1","sub":"a","name":"A"}',
                b'{"exp":NaN,"stream":"stream1","sub":"a","name":"A"}',
                {name: PAYLOAD[name] for name in ("stream", "sub", "name")},
            )
        ),
    ],
)
def test_what_was_signed_must_make_sense(payload: object, reason: str) -> None:
    with pytest.raises(BadToken, match=reason):
        read(forge(payload))


@pytest.mark.parametrize(
    "token",
    [
        forge(PAYLOAD, b"another secret"),
        forge(PAYLOAD, b""),
        forge(PAYLOAD, pem_of(SIGNER)),  # the public key for a secret: algorithm confusion
        forge(PAYLOAD, head={"alg": "EdDSA", "kid": "bot"}),
        forge_eddsa(PAYLOAD, OTHER, kid="bot"),
        forge_eddsa(PAYLOAD, kid="bot", alg="HS256"),
        forge(PAYLOAD).rpartition(".")[0] + ".",
        forge({**PAYLOAD, "role": "admin"}).rpartition(".")[0]
        + "."
        + forge(PAYLOAD).rpartition(".")[2],
        forge(PAYLOAD, head={"alg": "HS256", "b64": False, "crit": ["b64"]}),
    ],
)
def test_a_signature_that_is_not_valid(token: str) -> None:
    with pytest.raises(BadToken, match=r"signature is not valid|is no token"):
        read(token)


@pytest.mark.parametrize("algorithm", ["none", "None", "", None, "HS512", "ES256", "hs256", 5, []])
def test_other_algorithms_are_not_known(algorithm: object) -> None:
    for token in (
        forge(PAYLOAD, head={"alg": algorithm}),
        forge(PAYLOAD, b"", head={"alg": algorithm}).rpartition(".")[0] + ".",
    ):
        with pytest.raises(BadToken, match="in a way that is not known"):
            read(token)


@pytest.mark.parametrize(
    "token",
    [
        *("", ".", "..", "...", "a.b", "a.b.c", "é.é.é", "\ud800", "x" * 100),
        forge(PAYLOAD, head=b"[]"),
        forge(PAYLOAD, head=b"\xff"),
        forge(PAYLOAD, head={"alg": "HS256", "kid": 5}),
        forge(PAYLOAD, head={"alg": "HS256", "crit": ["exp"], "exp": 1}),
        forge(PAYLOAD) + "!",
        "Bearer " + forge(PAYLOAD),
    ],
)
def test_what_is_no_token(token: str) -> None:
    with pytest.raises(BadToken, match="is no token"):
        read(token)
    with pytest.raises(BadToken):
        RING.read_guest(token, now_s=NOW_S)


def test_a_token_is_bounded() -> None:
    rest = len(forge({**PAYLOAD, "more": ""}))
    longest = forge({**PAYLOAD, "more": "x" * ((MAX_TOKEN_CHARS - rest) * 3 // 4)})
    assert MAX_TOKEN_CHARS - 3 <= len(longest) <= MAX_TOKEN_CHARS
    assert read(longest) == ANN
    too_long = forge({**PAYLOAD, "more": "x" * ((MAX_TOKEN_CHARS - rest) * 3 // 4 + 3)})
    assert MAX_TOKEN_CHARS < len(too_long) <= MAX_TOKEN_CHARS + 4
    for token in (too_long, "x" * (MAX_TOKEN_CHARS + 1)):
        with pytest.raises(BadToken, match="too long"):
            read(token)
        with pytest.raises(BadToken, match="too long"):
            RING.read_guest(token, now_s=NOW_S)


@given(
    st.text(max_size=300) | st.lists(st.binary(max_size=40).map(segment), max_size=4).map(".".join)
)
def test_nothing_else_comes_of_any_text(token: str) -> None:
    for reader in (read, lambda text: RING.read_guest(text, now_s=NOW_S)):
        with pytest.raises(BadToken) as caught:
            reader(token)
        assert len(token) < 8 or token not in str(caught.value)


@given(at=st.integers(0, 1000), char=st.sampled_from("AZaz09-_.=!"))
def test_a_token_with_one_other_character_speaks_for_nobody(at: int, char: str) -> None:
    token = mint()
    at %= len(token)
    changed = token[:at] + char + token[at + 1 :]
    if changed != token:
        with pytest.raises(BadToken):
            read(changed)


# -- keys of others


def test_a_key_is_found_by_its_id() -> None:
    assert read(forge_eddsa({**PAYLOAD, "role": "moderator"}, kid="bot")).role is Role.MODERATOR
    for token in (
        forge_eddsa(PAYLOAD),
        forge_eddsa(PAYLOAD, kid="other"),
        forge_eddsa(PAYLOAD, kid=""),
    ):
        with pytest.raises(BadToken, match="a key that is not known"):
            read(token)


def test_the_key_without_an_id_serves_all_others() -> None:
    ring = Keyring(SECRET, public_keys={"": pem_of(SIGNER).decode(), "b": pem_of(OTHER)})
    for token in (
        forge_eddsa(PAYLOAD),
        forge_eddsa(PAYLOAD, kid="any"),
        forge_eddsa(PAYLOAD, OTHER, kid="b"),
    ):
        assert ring.read(token, stream_id=STREAM, now_s=NOW_S) == ANN
    for token in (forge_eddsa(PAYLOAD, OTHER), forge_eddsa(PAYLOAD, kid="b")):
        with pytest.raises(BadToken, match="signature"):
            ring.read(token, stream_id=STREAM, now_s=NOW_S)


def test_without_keys_of_others_only_ours_counts() -> None:
    ring = Keyring(SECRET)
    assert ring.read(forge(PAYLOAD), stream_id=STREAM, now_s=NOW_S) == ANN
    with pytest.raises(BadToken, match="in a way that is not known"):
        ring.read(forge_eddsa(PAYLOAD), stream_id=STREAM, now_s=NOW_S)


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        ("", "PEM of a public key"),
        ("é", "PEM of a public key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "PEM of a public key"),
        (
            SIGNER.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "PEM of a public key",
        ),
        (pem_of(generate_private_key(SECP256R1())), "an Ed25519 key"),
    ],
)
def test_what_is_no_public_key(pem: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        Keyring(SECRET, public_keys={"": pem})
    assert "BEGIN" not in str(caught.value)


def test_keys_are_bounded() -> None:
    pem = pem_of(SIGNER)
    Keyring(SECRET, public_keys={str(one): pem for one in range(MAX_PUBLIC_KEYS)})
    with pytest.raises(ValueError, match="at most 16 public keys"):
        Keyring(SECRET, public_keys={str(one): pem for one in range(MAX_PUBLIC_KEYS + 1)})
    Keyring(bytes(MIN_SECRET_BYTES))
    with pytest.raises(ValueError, match="at least 32 bytes"):
        Keyring(bytes(MIN_SECRET_BYTES - 1))


# -- what is not minted


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"user_id": ""}, "badRequest"),
        ({"user_id": "a b"}, "badRequest"),
        ({"user_id": "ann\n"}, "badRequest"),
        ({"user_id": "\u00e9"}, "badRequest"),
        ({"user_id": "x" * 129}, "badRequest"),
        ({"user_id": "guest_1"}, "badRequest"),
        ({"username": ""}, "badName"),
        ({"username": "\ud800"}, "badName"),
        ({"claims": [""]}, "badRequest"),
        ({"claims": ["a b"]}, "badRequest"),
        ({"claims": ["\ud800"]}, "badRequest"),
        ({"claims": ["x" * 65]}, "badRequest"),
        ({"claims": [str(one) for one in range(MAX_CLAIMS + 1)]}, "badRequest"),
        (
            {"user_id": '"' * 128, "claims": ['"' * 63 + f"{one:x}" for one in range(16)]},
            "badRequest",
        ),
    ],
)
def test_what_is_not_minted(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(ChatError) as caught:
        mint(**changes)
    assert caught.value.code == code


def test_the_most_that_one_token_holds() -> None:
    claims = [f"{one:064x}" for one in range(MAX_CLAIMS)]
    token = mint(user_id="x" * 128, username="y" * 25, claims=claims)
    assert len(token) <= MAX_TOKEN_CHARS
    assert read(token).claims == frozenset(claims)


def test_ids_are_checked_alone() -> None:
    assert Keyring.check_user_id("~" * 128) == "~" * 128
    assert Keyring.check_user_id("Guest_1") == "Guest_1"
    with pytest.raises(ChatError, match="printable ASCII"):
        Keyring.check_user_id("a\tb")


# -- guests


def test_a_guest_stays_the_same_for_a_year() -> None:
    user_id, token = RING.mint_guest(random=bytes.fromhex("00ff0123456789ab"), now_s=NOW_S)
    assert user_id == "guest_00ff0123456789ab"
    assert RING.read_guest(token, now_s=NOW_S + GUEST_TOKEN_S - 1) == user_id
    with pytest.raises(BadToken, match="has expired"):
        RING.read_guest(token, now_s=NOW_S + GUEST_TOKEN_S)
    payload = token.split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(payload + "==")).keys() == {"sub", "exp"}


def test_neither_kind_of_token_passes_for_the_other() -> None:
    _, guest = RING.mint_guest(random=bytes(GUEST_BYTES), now_s=NOW_S)
    with pytest.raises(BadToken, match="signature"):
        read(guest)
    for token in (
        mint(),
        forge({"sub": "guest_0123456789abcdef", "exp": NOW_S + 9}),
        forge_eddsa({"sub": "guest_0123456789abcdef", "exp": NOW_S + 9}, kid="bot"),
    ):
        with pytest.raises(BadToken, match="signature"):
            RING.read_guest(token, now_s=NOW_S)


@pytest.mark.parametrize(
    "payload",
    [
        {"sub": "ann", "exp": NOW_S + 9},
        {"sub": "guest_0123456789ABCDEF", "exp": NOW_S + 9},
        {"sub": "guest_0123456789abcdef\n", "exp": NOW_S + 9},
        {"sub": "guest_0123456789abcdef"},
    ],
)
def test_a_guest_token_names_a_guest(payload: dict[str, object]) -> None:
    key = RING._guest_key
    assert RING.read_guest(
        forge({"sub": "guest_0123456789abcdef", "exp": NOW_S + 9}, key), now_s=NOW_S
    )
    with pytest.raises(BadToken, match="does not say what it has to"):
        RING.read_guest(forge(payload, key), now_s=NOW_S)


@pytest.mark.parametrize("size", [0, GUEST_BYTES - 1, GUEST_BYTES + 1])
def test_a_guest_is_made_of_so_much_randomness(size: int) -> None:
    with pytest.raises(ValueError, match="must be 8 bytes"):
        RING.mint_guest(random=bytes(size), now_s=NOW_S)


def test_another_secret_makes_another_server() -> None:
    other = Keyring(b"b" * 32)
    _, guest = RING.mint_guest(random=bytes(GUEST_BYTES), now_s=NOW_S)
    with pytest.raises(BadToken):
        other.read(mint(), stream_id=STREAM, now_s=NOW_S)
    with pytest.raises(BadToken):
        other.read_guest(guest, now_s=NOW_S)
    assert other.network("192.0.2.1") != RING.network("192.0.2.1")


# -- where from


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:0:0:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("0.0.0.0", "::", False),
    ],
)
def test_networks(one: str, other: str, is_same: bool) -> None:
    names = {RING.network(one), RING.network(other)}
    assert (len(names) == 1) == is_same
    for name in names:
        assert len(name) == 16
        assert set(name) <= set("0123456789abcdef")


@pytest.mark.parametrize("address", ["", "unix", "192.0.2", "192.0.2.1:80", "\ud800", "%eth0"])
def test_what_is_no_address_is_nowhere(address: str) -> None:
    assert RING.network(address) == ""


def test_no_secret_shows_itself() -> None:
    assert "secret" not in repr(RING)
    assert not hasattr(RING, "__dict__")
    with pytest.raises(BadToken) as caught:
        read(forge({**PAYLOAD, "name": "\u202ehush"}))
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None
