"""The SQLite file: opening, locking, schema versions, transactions. Synchronous.

One process owns a data folder. An advisory lock on a file of its own (``<database>.lock``) says
so: the kernel drops it however the owner dies, and SQLite's own locks stay free for a shell or a
backup to read along. Ownership matters because opening also repairs: what the last owner left
"live" is not.

The schema version is ``PRAGMA user_version``, the number of `MIGRATIONS` applied. Migrations only
go forward; a file from a newer Headrace is refused, untouched.

Durability: WAL with synchronous=FULL. A stream key is shown once, so a commit must survive a
power cut; writes are a few per broadcast, and their fsync is not felt.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from control.errors import StoreError
from control.tables import MIGRATIONS

#: How long a statement waits for a foreign lock (a shell, a backup), in ms. It also bounds
#: shut-down.
BUSY_TIMEOUT_MS: Final = 2000


@dataclass(frozen=True, slots=True)
class Database:
    """An open file: the connection, and the lock that says it is ours. One thread at a time."""

    connection: sqlite3.Connection
    """In autocommit; writes go through `transaction`."""

    lock_descriptor: int
    """Holds the lock while it is open."""

    def close(self) -> None:
        """Close the connection (which folds the WAL into the file), then let the lock go."""
        try:
            self.connection.close()
        finally:
            os.close(self.lock_descriptor)


def open_database(path: Path) -> Database:
    """Open or create the file, take its lock, bring its schema up to date.

    Args:
        path: The database file; its folder is created if missing (mode 0700), the file with mode
            0600.

    Returns:
        The database, in autocommit; use `transaction` for writes.

    Raises:
        StoreError: Folder or file unusable, owned by another process, not a database, or of a
            newer schema.
    """
    lock_descriptor = _take_lock(path)
    try:
        connection = _connect(path)
    except BaseException:
        os.close(lock_descriptor)
        raise
    return Database(connection, lock_descriptor)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the body in one write transaction: all of it, or nothing when it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk makes SQLite roll back by itself
            connection.execute("ROLLBACK")
        raise


def store_error(path: Path, error: sqlite3.Error) -> StoreError:
    """Say in one line what SQLite could not do with the file at `path`."""
    if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(f"{path}: locked by another program")
    return StoreError(f"{path}: {error}")


def _take_lock(path: Path) -> int:
    """Create the folder, make sure the database file can be written, and own it."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made here, not by SQLite, for its mode: WAL and shared-memory files copy it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreError(f"{path}: in use by another Headrace process") from error
    return descriptor


def _connect(path: Path) -> sqlite3.Connection:
    try:
        # check_same_thread: the store's calls hop between pool threads, one at a time.
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            _migrate(path, connection)
            # Not before: a migration may make a table anew that others refer to.
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise store_error(path, error) from error
    return connection


def _migrate(path: Path, connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path}: written by a newer Headrace (schema {version}, known {len(MIGRATIONS)})"
        )
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        with transaction(connection):
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")  # inside: it is transactional
