"""The admin token: one bearer credential that may do everything.

It comes from the configuration or from a file that the first start creates with mode 0600. In
memory only its SHA-256 is kept, so that no dump, repr or traceback of this process shows it by
accident.

Blocking file I/O, synchronous: meant for start-up, before anything is served.
"""

import hashlib
import hmac
import re
import secrets
from pathlib import Path
from typing import Final

from control.errors import StoreError
from control.secret_file import load_or_create

#: RFC 6750 section 2.1 b64token, so that it survives `Authorization: Bearer`; the lengths are ours.
TOKEN_PATTERN: Final = r"[A-Za-z0-9._~+/-]{16,256}=*"
_TOKEN = re.compile(TOKEN_PATTERN)


class AdminToken:
    """A token that can be asked, but not read.

    Args:
        token: The token in clear; see `TOKEN_PATTERN`.

    Raises:
        ValueError: The token does not fit the pattern; the text does not repeat it.
    """

    __slots__ = ("_digest",)

    def __init__(self, token: str) -> None:
        if _TOKEN.fullmatch(token) is None:
            raise ValueError("must be 16 to 256 characters of A-Z a-z 0-9 . _ ~ + / -")
        self._digest = hashlib.sha256(token.encode()).digest()

    def matches(self, candidate: str) -> bool:
        """Compare in a time that does not depend on where the texts differ.

        Args:
            candidate: What a peer sent, of any content and length.
        """
        digest = hashlib.sha256(candidate.encode("utf-8", "surrogatepass")).digest()
        return hmac.compare_digest(digest, self._digest)


def load_or_create_admin_token(path: Path) -> AdminToken:
    """Read the token file, or create it on first start.

    Args:
        path: The file, normally ``DATA/admin-token``; its folder is created if missing.

    Returns:
        The token.

    Raises:
        StoreError: The file or folder cannot be read or written, others may read it, or it holds
            no token.
    """
    token = load_or_create(path, lambda: f"admin_{secrets.token_hex(16)}")
    try:
        return AdminToken(token)
    except ValueError:
        raise StoreError(f"{path}: holds no admin token; delete it to get a new one") from None
