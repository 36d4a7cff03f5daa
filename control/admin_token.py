"""The admin token: one bearer credential that may do everything.

It comes from the configuration or from a file that the first start creates with mode 0600. In
memory only its SHA-256 is kept, so that no dump, repr or traceback of this process shows it by
accident.

Blocking file I/O, synchronous: meant for start-up, before anything is served.
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

from control.errors import StoreError

#: RFC 6750 section 2.1 b64token, so that it survives `Authorization: Bearer`; the lengths are ours.
TOKEN_PATTERN: Final = r"[A-Za-z0-9._~+/-]{16,256}=*"
_TOKEN = re.compile(TOKEN_PATTERN)

#: A token file holds one line; more than this is some other file.
_MAX_FILE_BYTES: Final = 1024


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
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            # O_EXCL: never follow or reuse what somebody put there; 0600 holds from the first
            # instant, and a umask can only take bits away.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return _load(path)
        token = f"admin_{secrets.token_hex(16)}"
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(token + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from error
    return AdminToken(token)


def _load(path: Path) -> AdminToken:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise StoreError(f"{path}: other users may read this secret; run chmod 600 on it")
        content = file.read(_MAX_FILE_BYTES + 1)
    try:
        return AdminToken(content.decode("ascii").strip())
    except ValueError:
        # Also what a kill between creation and write leaves: an empty file.
        raise StoreError(f"{path}: holds no admin token; delete it to get a new one") from None
