"""Stream ids and stream keys: making, recognising, hashing. Pure but for the random source.

A key is 128 random bits. It is stored as its plain SHA-256, with no salt and no slow KDF: those
exist to protect guessable passwords. Here the search space is 2**128 whatever the hash costs, and
two streams never share a key, so a table of precomputed hashes cannot exist. A fast hash also
means that a flood of wrong keys costs the server nothing, and an unsalted one allows the lookup
by an index.
"""

import hashlib
import re
import secrets

#: Digits and lower-case letters without i, l, o, u: safe in URLs, file names and shells, and
#: readable aloud.
ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

#: 12 characters of 5 bits: ids are public names, not secrets; 60 bits keep collisions out of reach.
ID_LENGTH = 12

KEY_PREFIX = "live_"

_ID = re.compile(f"[{ID_ALPHABET}]{{{ID_LENGTH}}}")
TOKEN_PREFIX = "hrt_"

_TOKEN = re.compile(f"{TOKEN_PREFIX}[0-9a-f]{{32}}")
_KEY = re.compile(f"{KEY_PREFIX}[0-9a-f]{{32}}")


def new_stream_id() -> str:
    """Make a random stream id of `ID_LENGTH` characters."""
    return "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))


def is_stream_id(text: str) -> bool:
    """Tell whether a peer's text can be a stream id at all; if not, no query is made."""
    return _ID.fullmatch(text) is not None


def new_stream_key() -> str:
    """Make a stream key: ``live_`` and 128 random bits as 32 lower-case hex digits."""
    return KEY_PREFIX + secrets.token_hex(16)


def is_stream_key(text: str) -> bool:
    """Tell whether a peer's text has the shape of a key; bounds what is hashed and looked up."""
    return _KEY.fullmatch(text) is not None


def new_admin_token() -> str:
    """Make an admin token: ``hrt_`` and 128 random bits as 32 lower-case hex digits."""
    return TOKEN_PREFIX + secrets.token_hex(16)


def is_admin_token(text: str) -> bool:
    """Tell whether a peer's text has the shape of a token of `new_admin_token`."""
    return _TOKEN.fullmatch(text) is not None


def hash_key(stream_key: str) -> bytes:
    """Return the 32 bytes that stand for a key, or a token, in the store.

    Args:
        stream_key: A key in clear, of any shape; the caller has bounded its length.

    Returns:
        SHA-256 of the key's UTF-8 bytes.
    """
    return hashlib.sha256(stream_key.encode("utf-8", "surrogatepass")).digest()
