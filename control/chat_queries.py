"""The statements of the chat's storage, as synchronous functions of a connection.

Each writing function is one transaction. Those that take a number of rows do at most so many, for
a caller who lets others have their turn in between (`control.chat_sqlite`). What is written of a
stream that is gone is dropped: rows are made from ``streams``, with ``SELECT ... FROM streams``.

Deleting sets ``is_deleted``, which stands before the id in the primary key: what may be read lies
together, and a page costs the same however much was deleted around it. Deleting everything is one
mark, ``cleared_to``: what is not above that id is not given to anybody.

Bounds: `MAX_MESSAGES`, `MAX_SANCTIONS`, `MAX_MODERATORS` and `MAX_AUDIT` of each stream, held by
whoever inserts; ``chat_rooms.messages`` counts, so that nobody has to. Errors of SQLite pass
through; `control.sqlite` turns them into `StoreError`.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from control.chat_model import (
    AuditEntry,
    ChatMessage,
    Role,
    RoomSettings,
    Sanction,
    StoredRoom,
)
from control.chat_store import (
    MAX_AUDIT,
    MAX_MESSAGES,
    MAX_MODERATORS,
    MAX_PAGE,
    MAX_SANCTIONS,
)
from control.database import transaction
from control.errors import StoreError, UnknownStreamError

NEWEST: Final = "\U0010ffff"
"""Above every id."""

_MESSAGE: Final = "id, user_id, username, role, content, at, stream_time, client_id"
_SANCTION: Final = "user_id, username, until, network, by, reason, at"
_AUDIT: Final = "at, actor_id, actor_name, action, target, detail, reason"

#: A deleted one is not brought back by a second try.
_ADD: Final = f"""
    INSERT INTO chat_messages (stream_id, is_deleted, {_MESSAGE})
    SELECT ?, 0, ?, ?, ?, ?, ?, ?, ?, ?
    WHERE NOT EXISTS (
        SELECT 1 FROM chat_messages WHERE stream_id = ? AND is_deleted = 1 AND id = ?
    )
    ON CONFLICT DO NOTHING
"""

#: Looked for among the deleted and among the others apart: each of the two lies in order.
_OLDEST: Final = """
    SELECT * FROM (
        SELECT stream_id, is_deleted, id FROM chat_messages
        WHERE stream_id = :stream_id AND is_deleted = 0 ORDER BY id LIMIT :rows
    )
    UNION ALL
    SELECT * FROM (
        SELECT stream_id, is_deleted, id FROM chat_messages
        WHERE stream_id = :stream_id AND is_deleted = 1 ORDER BY id LIMIT :rows
    )
    ORDER BY id LIMIT :rows
"""

T = TypeVar("T")


def load_room(
    connection: sqlite3.Connection, stream_id: str, history: int, now_ms: int
) -> StoredRoom:
    """Return all that a room begins with, and forget the timeouts that have ended.

    Raises:
        UnknownStreamError: No such stream.
        StoreError: What is stored cannot be read.
    """
    if connection.execute("SELECT 1 FROM streams WHERE id = ?", (stream_id,)).fetchone() is None:
        raise UnknownStreamError(stream_id)
    row = connection.execute(
        "SELECT settings, pinned, cleared_to FROM chat_rooms WHERE stream_id = ?", (stream_id,)
    ).fetchone()
    settings, pinned, last_id = row or (None, None, "")
    for is_deleted in (0, 1):
        (newest,) = connection.execute(
            "SELECT max(id) FROM chat_messages WHERE stream_id = ? AND is_deleted = ?",
            (stream_id, is_deleted),
        ).fetchone()
        last_id = max(last_id, newest or "")
    found = connection.execute(
        f"SELECT {_SANCTION} FROM chat_sanctions WHERE stream_id = ? ORDER BY at, user_id",
        (stream_id,),
    )
    sanctions = [Sanction(**dict(zip(_names(_SANCTION), row, strict=True))) for row in found]
    in_force = [one for one in sanctions if one.until is None or one.until > now_ms]
    if len(in_force) < len(sanctions):
        with transaction(connection):
            connection.execute(
                "DELETE FROM chat_sanctions WHERE stream_id = ? AND until <= ?", (stream_id, now_ms)
            )
    moderators = connection.execute(
        "SELECT user_id, username FROM chat_moderators WHERE stream_id = ? ORDER BY number",
        (stream_id,),
    )
    return StoredRoom(
        settings=RoomSettings() if settings is None else _decode(settings, RoomSettings),
        sanctions=tuple(in_force),
        moderators=tuple(moderators.fetchall()),
        pinned=None if pinned is None else _decode(pinned, ChatMessage),
        history=tuple(messages(connection, stream_id, history, None, None)),
        last_id=last_id,
    )


def add_messages(connection: sqlite3.Connection, batch: Sequence[ChatMessage]) -> None:
    """Insert messages, and remove as many of the oldest as are too many then."""
    by_stream = defaultdict(list)
    for message in batch:
        by_stream[message.stream_id].append(_parameters_of(message))
    with transaction(connection):
        for stream_id, rows in by_stream.items():
            connection.execute(
                "INSERT INTO chat_rooms (stream_id) SELECT id FROM streams WHERE id = ?"
                " ON CONFLICT DO NOTHING",
                (stream_id,),
            )
            counted = connection.execute(
                "SELECT messages FROM chat_rooms WHERE stream_id = ?", (stream_id,)
            ).fetchone()
            if counted is None:
                continue
            added = connection.executemany(_ADD, rows).rowcount
            excess = max(0, counted[0] + added - MAX_MESSAGES)
            oldest = connection.execute(_OLDEST, {"stream_id": stream_id, "rows": excess})
            connection.executemany(
                "DELETE FROM chat_messages WHERE stream_id = ? AND is_deleted = ? AND id = ?",
                oldest.fetchall(),
            )
            connection.execute(
                "UPDATE chat_rooms SET messages = messages + ? WHERE stream_id = ?",
                (added - excess, stream_id),
            )


def messages(
    connection: sqlite3.Connection,
    stream_id: str,
    limit: int,
    before: str | None,
    after: str | None,
) -> list[ChatMessage]:
    """Return the newest messages between two ids, oldest first."""
    rows = connection.execute(
        f"SELECT {_MESSAGE} FROM chat_messages WHERE stream_id = ? AND is_deleted = 0 AND id > ?"
        + (" AND id < ?" if before is not None else "")
        + " ORDER BY id DESC LIMIT ?",
        (
            stream_id,
            max(_cleared_to(connection, stream_id), after or ""),
            *([] if before is None else [before]),
            _page(limit),
        ),
    ).fetchall()
    return [_message(stream_id, row) for row in reversed(rows)]


def replay(
    connection: sqlite3.Connection, stream_id: str, since_ms: int, until_ms: int, limit: int
) -> list[ChatMessage]:
    """Return the earliest messages of a span of time, in time order."""
    cleared_to = _cleared_to(connection, stream_id)
    if cleared_to:  # begin behind what was cleared: walking through it would take long
        first = connection.execute(
            "SELECT at FROM chat_messages WHERE stream_id = ? AND is_deleted = 0 AND id > ?"
            " ORDER BY id LIMIT 1",
            (stream_id, cleared_to),
        ).fetchone()
        if first is None:
            return []
        since_ms = max(since_ms, first[0])
    rows = connection.execute(
        f"SELECT {_MESSAGE} FROM chat_messages WHERE stream_id = ? AND is_deleted = 0"
        " AND at >= ? AND at < ? AND id > ? ORDER BY at, id LIMIT ?",
        (stream_id, since_ms, until_ms, cleared_to, _page(limit)),
    )
    return [_message(stream_id, row) for row in rows]


def delete_messages(connection: sqlite3.Connection, stream_id: str, ids: Iterable[str]) -> int:
    """Mark some messages deleted; return how many there were."""
    cleared_to = _cleared_to(connection, stream_id)
    with transaction(connection):
        return connection.executemany(
            "UPDATE chat_messages SET is_deleted = 1"
            " WHERE stream_id = ? AND is_deleted = 0 AND id = ?",
            [(stream_id, message_id) for message_id in ids if message_id > cleared_to],
        ).rowcount


def delete_of_user(
    connection: sqlite3.Connection, stream_id: str, user_id: str, newest: str, rows: int
) -> tuple[int, str | None]:
    """Mark those of a user's messages deleted that are among the next `rows` from an id downwards.

    There is no index by user: every message would cost a page of its own to write there.

    Args:
        connection: The database.
        stream_id: The stream.
        user_id: The user.
        newest: Where to begin; at first `NEWEST`.
        rows: How many messages to look at, of whomever.

    Returns:
        How many were marked, and where to go on; None: that was the last.
    """
    lowest = _cleared_to(connection, stream_id)
    following = connection.execute(
        "SELECT id FROM chat_messages WHERE stream_id = ? AND is_deleted = 0 AND id > ? AND id <= ?"
        " ORDER BY id DESC LIMIT 1 OFFSET ?",
        (stream_id, lowest, newest, rows),
    ).fetchone()
    with transaction(connection):
        marked = connection.execute(
            "UPDATE chat_messages SET is_deleted = 1 WHERE stream_id = ? AND is_deleted = 0"
            " AND id > ? AND id <= ? AND user_id = ?",
            (stream_id, *(following or (lowest,)), newest, user_id),
        ).rowcount
    return marked, None if following is None else following[0]


def clear(connection: sqlite3.Connection, stream_id: str) -> None:
    """Put the mark behind the newest message."""
    with transaction(connection):
        connection.execute(
            "UPDATE chat_rooms SET cleared_to = coalesce(("
            "   SELECT max(id) FROM chat_messages WHERE stream_id = :stream_id AND is_deleted = 0"
            " ), cleared_to) WHERE stream_id = :stream_id",
            {"stream_id": stream_id},
        )


def save_settings(connection: sqlite3.Connection, stream_id: str, settings: RoomSettings) -> None:
    """Replace a room's settings."""
    _save(connection, stream_id, "settings", _encode(settings))


def save_pin(connection: sqlite3.Connection, stream_id: str, message: ChatMessage | None) -> None:
    """Replace a room's pinned message."""
    _save(connection, stream_id, "pinned", None if message is None else _encode(message))


def put_sanction(connection: sqlite3.Connection, stream_id: str, sanction: Sanction) -> None:
    """Replace a user's sanction; of too many, the timeout that ends first goes."""
    values = msgspec.structs.asdict(sanction) | {"stream_id": stream_id, "most": MAX_SANCTIONS}
    with transaction(connection):
        connection.execute(
            f"INSERT OR REPLACE INTO chat_sanctions (stream_id, {_SANCTION})"
            f" SELECT id, {_parameters(_SANCTION)} FROM streams WHERE id = :stream_id",
            values,
        )
        connection.execute(
            "DELETE FROM chat_sanctions WHERE stream_id = :stream_id AND user_id IN ("
            "   SELECT user_id FROM chat_sanctions"
            "   WHERE stream_id = :stream_id AND user_id != :user_id"
            "   ORDER BY until IS NULL, until, at LIMIT max(0, -:most + ("
            "     SELECT count(*) FROM chat_sanctions WHERE stream_id = :stream_id"
            "   ))"
            " )",
            values,
        )


def drop_sanction(connection: sqlite3.Connection, stream_id: str, user_id: str) -> None:
    """Forget a user's sanction."""
    with transaction(connection):
        connection.execute(
            "DELETE FROM chat_sanctions WHERE stream_id = ? AND user_id = ?", (stream_id, user_id)
        )


def set_moderator(
    connection: sqlite3.Connection, stream_id: str, user_id: str, username: str, is_moderator: bool
) -> None:
    """Write down a moderator, or cross one out; of too many, the one of the longest ago goes."""
    values = {
        "stream_id": stream_id,
        "user_id": user_id,
        "username": username,
        "most": MAX_MODERATORS,
    }
    with transaction(connection):
        if not is_moderator:
            connection.execute(
                "DELETE FROM chat_moderators WHERE stream_id = :stream_id AND user_id = :user_id",
                values,
            )
            return
        connection.execute(
            "INSERT INTO chat_moderators (stream_id, user_id, username)"
            " SELECT id, :user_id, :username FROM streams WHERE id = :stream_id"
            " ON CONFLICT (stream_id, user_id) DO UPDATE SET username = excluded.username",
            values,
        )
        connection.execute(
            "DELETE FROM chat_moderators WHERE number IN ("
            "   SELECT number FROM chat_moderators WHERE stream_id = :stream_id"
            "   ORDER BY number DESC LIMIT -1 OFFSET :most"
            " )",
            values,
        )


def add_audit(connection: sqlite3.Connection, stream_id: str, entry: AuditEntry) -> None:
    """Append an entry under the stream's next number; the one that falls out of bounds goes."""
    values = msgspec.structs.asdict(entry) | {"stream_id": stream_id, "most": MAX_AUDIT}
    newest = "SELECT coalesce(max(number), 0) FROM chat_audit WHERE stream_id = :stream_id"
    with transaction(connection):
        connection.execute(
            f"INSERT INTO chat_audit (stream_id, number, {_AUDIT})"
            f" SELECT id, ({newest}) + 1, {_parameters(_AUDIT)} FROM streams WHERE id = :stream_id",
            values,
        )
        connection.execute(
            f"DELETE FROM chat_audit WHERE stream_id = :stream_id AND number <= ({newest}) - :most",
            values,
        )


def audit(
    connection: sqlite3.Connection, stream_id: str, limit: int, before: int | None
) -> list[tuple[int, AuditEntry]]:
    """Return entries and their numbers, newest first."""
    rows = connection.execute(
        f"SELECT number, {_AUDIT} FROM chat_audit WHERE stream_id = ?"
        + (" AND number < ?" if before is not None else "")
        + " ORDER BY number DESC LIMIT ?",
        (stream_id, *([] if before is None else [before]), _page(limit)),
    )
    return [
        (number, AuditEntry(**dict(zip(_names(_AUDIT), row, strict=True)))) for number, *row in rows
    ]


def sweep(
    connection: sqlite3.Connection, messages_until_ms: int, audit_until_ms: int, rows: int
) -> int:
    """Remove at most `rows` messages and audit entries from before two times; return how many."""
    with transaction(connection):
        swept = connection.execute(
            "DELETE FROM chat_messages WHERE (stream_id, is_deleted, id) IN ("
            "   SELECT stream_id, is_deleted, id FROM chat_messages WHERE at < ?"
            "   ORDER BY at LIMIT ?"
            " ) RETURNING stream_id",
            (messages_until_ms, rows),
        ).fetchall()
        connection.executemany(
            "UPDATE chat_rooms SET messages = messages - ? WHERE stream_id = ?",
            [(count, stream_id) for (stream_id,), count in Counter(swept).items()],
        )
        entries = connection.execute(
            "DELETE FROM chat_audit WHERE (stream_id, number) IN ("
            "   SELECT stream_id, number FROM chat_audit WHERE at < ? ORDER BY at LIMIT ?"
            " )",
            (audit_until_ms, rows - len(swept)),
        ).rowcount
    return len(swept) + entries


def purge(connection: sqlite3.Connection, stream_id: str, rows: int) -> int:
    """Remove at most `rows` messages of a stream, so that its end is short; return how many."""
    with transaction(connection):
        purged = connection.execute(
            "DELETE FROM chat_messages WHERE (stream_id, is_deleted, id) IN ("
            "   SELECT stream_id, is_deleted, id FROM chat_messages WHERE stream_id = ? LIMIT ?"
            " )",
            (stream_id, rows),
        ).rowcount
        connection.execute(
            "UPDATE chat_rooms SET messages = messages - ? WHERE stream_id = ?", (purged, stream_id)
        )
    return purged


def _save(connection: sqlite3.Connection, stream_id: str, column: str, value: str | None) -> None:
    with transaction(connection):
        connection.execute(
            f"INSERT INTO chat_rooms (stream_id, {column}) SELECT id, ? FROM streams WHERE id = ?"
            f" ON CONFLICT (stream_id) DO UPDATE SET {column} = excluded.{column}",
            (value, stream_id),
        )


def _cleared_to(connection: sqlite3.Connection, stream_id: str) -> str:
    row = connection.execute(
        "SELECT cleared_to FROM chat_rooms WHERE stream_id = ?", (stream_id,)
    ).fetchone()
    return "" if row is None else str(row[0])


def _page(limit: int) -> int:
    return max(0, min(limit, MAX_PAGE))  # to SQLite, a negative one is none


def _names(columns: str) -> list[str]:
    return columns.split(", ")


def _parameters(columns: str) -> str:
    return ", ".join(f":{name}" for name in _names(columns))


def _parameters_of(one: ChatMessage) -> tuple[Any, ...]:
    key = one.stream_id, one.id
    who = one.user_id, one.username, one.role.value
    return *key, *who, one.content, one.timestamp, one.stream_time, one.client_id, *key


def _message(stream_id: str, row: tuple[Any, ...]) -> ChatMessage:
    return ChatMessage(
        stream_id=stream_id,
        id=row[0],
        user_id=row[1],
        username=row[2],
        role=Role(row[3]),
        content=row[4],
        timestamp=row[5],
        stream_time=row[6],
        client_id=row[7],
    )


def _encode(value: RoomSettings | ChatMessage) -> str:
    return msgspec.json.encode(value).decode()


def _decode(text: str, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=type_)
    except msgspec.MsgspecError as error:  # somebody has been at the file
        raise StoreError(f"what is stored of a chat cannot be read: {error}") from error
