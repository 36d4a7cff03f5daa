"""A secret of ours in a file that only its owner may read: one line, made on first start.

Blocking file I/O, synchronous: meant for start-up, before anything is served.
"""

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from control.errors import StoreError

#: A secret's file holds one line; more than this is some other file.
MAX_FILE_BYTES: Final = 1024

KEY_BYTES: Final = 32


def load_or_create(path: Path, make: Callable[[], str]) -> str:
    """Read the secret, or make it on first start.

    Args:
        path: The file; its folder is created if missing.
        make: Gives a new one, of ASCII.

    Returns:
        The secret, without blanks around it; "" is what a kill between creation and write leaves,
        and a file that holds something else is the caller's to refuse.

    Raises:
        StoreError: The file or folder cannot be read or written, others may read it, or it is no
            text.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            # O_EXCL: never follow or reuse what somebody put there; 0600 holds from the first
            # instant, and a umask can only take bits away.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return _load(path)
        secret = make()
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from error
    return secret


def load_or_create_key(path: Path) -> bytes:
    """Read a key of `KEY_BYTES` random bytes, in hex, or make it on first start.

    Raises:
        StoreError: As `load_or_create`, or the file holds no key.
    """
    text = load_or_create(path, lambda: secrets.token_hex(KEY_BYTES))
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise StoreError(f"{path}: holds no secret; delete it to get a new one")
    return key


def _load(path: Path) -> str:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise StoreError(f"{path}: other users may read this secret; run chmod 600 on it")
        content = file.read(MAX_FILE_BYTES + 1)
    return content.decode("ascii", "replace").strip()
