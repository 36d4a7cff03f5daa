"""The statements about credentials, as synchronous functions of a connection.

What has expired is as good as gone: it is never found or listed, and each writer sweeps it out of
the way. The index search for a hash may leak by its time how long a prefix of the *hash* matched;
without a preimage nobody can steer that. The final comparison is constant-time nevertheless.

Writing functions are one transaction each, but for `insert_key`, which is part of one.
"""

import hmac
import sqlite3
from typing import Any

from control.access_model import MAX_KEYS, MAX_TOKENS, Playback, StreamKey, TokenRecord
from control.database import transaction
from control.errors import TooManyError, UnknownStreamError
from control.keys import hash_key, new_admin_token, new_stream_id, new_stream_key

_KEY = "id, stream_id, label, created_at, expires_at"
_TOKEN = "id, name, scopes, created_at, expires_at"
_LIVE = "(expires_at IS NULL OR expires_at > :now)"


def insert_key(
    connection: sqlite3.Connection,
    stream_id: str,
    label: str,
    stream_key: str,
    now_s: float,
    expires_at: float | None,
) -> StreamKey:
    """Insert a key; the caller has a transaction, and knows that the stream exists."""
    key_id = new_stream_id()
    connection.execute(
        "INSERT INTO stream_keys VALUES (?, ?, ?, ?, ?, ?)",
        (key_id, stream_id, label, hash_key(stream_key), now_s, expires_at),
    )
    return StreamKey(
        id=key_id, stream_id=stream_id, label=label, created_at=now_s, expires_at=expires_at
    )


def list_keys(connection: sqlite3.Connection, stream_id: str, now_s: float) -> list[StreamKey]:
    """Return the live keys of a stream, oldest first."""
    rows = connection.execute(
        f"SELECT {_KEY} FROM stream_keys WHERE stream_id = :stream AND {_LIVE}"
        " ORDER BY created_at, id",
        {"stream": stream_id, "now": now_s},
    )
    return [_key(row) for row in rows]


def add_key(
    connection: sqlite3.Connection,
    stream_id: str,
    label: str,
    now_s: float,
    lasts_s: float | None,
) -> tuple[StreamKey, str]:
    """Make another key; see `control.access_store.AccessStore.add_key`."""
    stream_key = new_stream_key()
    with transaction(connection):
        _require_stream(connection, stream_id)
        _sweep_keys(connection, stream_id, now_s)
        (count,) = connection.execute(
            "SELECT count(*) FROM stream_keys WHERE stream_id = ?", (stream_id,)
        ).fetchone()
        if count >= MAX_KEYS:
            raise TooManyError(f"a stream has {MAX_KEYS} keys at most")
        key = insert_key(connection, stream_id, label, stream_key, now_s, _end(now_s, lasts_s))
    return key, stream_key


def end_key(connection: sqlite3.Connection, stream_id: str, key_id: str, now_s: float) -> bool:
    """Remove a live key of a stream; tells whether there was one."""
    with transaction(connection):
        _sweep_keys(connection, stream_id, now_s)
        return bool(
            connection.execute(
                "DELETE FROM stream_keys WHERE stream_id = ? AND id = ?", (stream_id, key_id)
            ).rowcount
        )


def rotate(
    connection: sqlite3.Connection, stream_id: str, label: str, now_s: float, grace_s: float
) -> tuple[StreamKey, str]:
    """Make a new key and let the others end; see `control.access_store.AccessStore.rotate`."""
    stream_key = new_stream_key()
    with transaction(connection):
        _require_stream(connection, stream_id)
        connection.execute(
            "UPDATE stream_keys SET expires_at = min(coalesce(expires_at, :end), :end)"
            " WHERE stream_id = :stream",
            {"stream": stream_id, "end": now_s + grace_s},
        )
        _sweep_keys(connection, stream_id, now_s)
        connection.execute(  # those who stay for the grace leave room for the new one
            """
            DELETE FROM stream_keys WHERE stream_id = ?1 AND id NOT IN (
                SELECT id FROM stream_keys WHERE stream_id = ?1
                ORDER BY created_at DESC, id LIMIT ?2)
            """,
            (stream_id, MAX_KEYS - 1),
        )
        key = insert_key(connection, stream_id, label, stream_key, now_s, None)
    return key, stream_key


def find_key(connection: sqlite3.Connection, stream_key: str, now_s: float) -> StreamKey | None:
    """Return a live key by its secret."""
    row = _find(connection, _KEY, "stream_keys", "key_hash", stream_key, now_s)
    return None if row is None else _key(row)


def list_tokens(connection: sqlite3.Connection, now_s: float) -> list[TokenRecord]:
    """Return the live admin tokens, oldest first."""
    rows = connection.execute(
        f"SELECT {_TOKEN} FROM admin_tokens WHERE {_LIVE} ORDER BY created_at, id", {"now": now_s}
    )
    return [_token(row) for row in rows]


def add_token(
    connection: sqlite3.Connection,
    name: str,
    scopes: tuple[str, ...],
    now_s: float,
    lasts_s: float | None,
) -> tuple[TokenRecord, str]:
    """Make an admin token; see `control.access_store.AccessStore.add_token`."""
    token = new_admin_token()
    record = TokenRecord(
        id=new_stream_id(),
        name=name,
        scopes=scopes,
        created_at=now_s,
        expires_at=_end(now_s, lasts_s),
    )
    with transaction(connection):
        connection.execute("DELETE FROM admin_tokens WHERE expires_at <= ?", (now_s,))
        (count,) = connection.execute("SELECT count(*) FROM admin_tokens").fetchone()
        if count >= MAX_TOKENS:
            raise TooManyError(f"there are {MAX_TOKENS} admin tokens at most")
        connection.execute(
            f"INSERT INTO admin_tokens ({_TOKEN}, token_hash) VALUES (?, ?, ?, ?, ?, ?)",
            (
                record.id,
                name,
                " ".join(scopes),
                now_s,
                record.expires_at,
                hash_key(token),
            ),
        )
    return record, token


def end_token(connection: sqlite3.Connection, token_id: str, now_s: float) -> bool:
    """Remove a live admin token; tells whether there was one."""
    with transaction(connection):
        connection.execute("DELETE FROM admin_tokens WHERE expires_at <= ?", (now_s,))
        return bool(
            connection.execute("DELETE FROM admin_tokens WHERE id = ?", (token_id,)).rowcount
        )


def find_token(connection: sqlite3.Connection, token: str, now_s: float) -> TokenRecord | None:
    """Return a live admin token by its secret."""
    row = _find(connection, _TOKEN, "admin_tokens", "token_hash", token, now_s)
    return None if row is None else _token(row)


def token_hashes(
    connection: sqlite3.Connection, scope: str, now_s: float
) -> dict[bytes, float | None]:
    """Return the hashes of the live admin tokens with a scope, and when each expires."""
    rows = connection.execute(
        f"SELECT token_hash, expires_at, scopes FROM admin_tokens WHERE {_LIVE}", {"now": now_s}
    )
    return {digest: expires_at for digest, expires_at, scopes in rows if scope in scopes.split()}


def list_playback(connection: sqlite3.Connection) -> dict[str, Playback]:
    """Return who may watch, of every stream that is not public."""
    rows = connection.execute("SELECT stream_id, policy, webhook_url FROM playback")
    return {
        stream_id: Playback(policy=policy, webhook_url=webhook_url)
        for stream_id, policy, webhook_url in rows
    }


def set_playback(connection: sqlite3.Connection, stream_id: str, playback: Playback) -> None:
    """Say who may watch a stream; see `control.access_store.AccessStore.set_playback`."""
    with transaction(connection):
        _require_stream(connection, stream_id)
        connection.execute("DELETE FROM playback WHERE stream_id = ?", (stream_id,))
        if playback.policy != "public":
            connection.execute(
                "INSERT INTO playback VALUES (?, ?, ?)",
                (stream_id, playback.policy, playback.webhook_url),
            )


def _find(
    connection: sqlite3.Connection,
    columns: str,
    table: str,
    hash_column: str,
    secret: str,
    now_s: float,
) -> tuple[Any, ...] | None:
    digest = hash_key(secret)
    row = connection.execute(
        f"SELECT {hash_column}, {columns} FROM {table} WHERE {hash_column} = :hash AND {_LIVE}",
        {"hash": digest, "now": now_s},
    ).fetchone()
    if row is None or not hmac.compare_digest(row[0], digest):
        return None
    found: tuple[Any, ...] = row[1:]
    return found


def _require_stream(connection: sqlite3.Connection, stream_id: str) -> None:
    if connection.execute("SELECT 1 FROM streams WHERE id = ?", (stream_id,)).fetchone() is None:
        raise UnknownStreamError(stream_id)


def _sweep_keys(connection: sqlite3.Connection, stream_id: str, now_s: float) -> None:
    connection.execute(
        "DELETE FROM stream_keys WHERE stream_id = ? AND expires_at <= ?", (stream_id, now_s)
    )


def _end(now_s: float, lasts_s: float | None) -> float | None:
    return None if lasts_s is None else now_s + lasts_s


def _key(row: tuple[Any, ...]) -> StreamKey:
    return StreamKey(
        id=row[0], stream_id=row[1], label=row[2], created_at=row[3], expires_at=row[4]
    )


def _token(row: tuple[Any, ...]) -> TokenRecord:
    return TokenRecord(
        id=row[0],
        name=row[1],
        scopes=tuple(row[2].split()),
        created_at=row[3],
        expires_at=row[4],
    )
