"""The statements of the stream store, as synchronous functions of a connection.

Each writing function is one transaction, so a caller can be cancelled between calls, never within
one. Errors of SQLite pass through; `control.sqlite` turns them into `StoreError`.
"""

import sqlite3
from typing import Any

from control import access_queries
from control.access_model import FIRST_LABEL
from control.database import transaction
from control.errors import UnknownStreamError
from control.keys import new_stream_id, new_stream_key
from control.model import Relays, Stream, StreamStatus

_COLUMNS = (
    "id, broadcaster_id, title, chat_enabled, recording_enabled,"
    " status, started_at, ended_at, created_at"
)


def end_abandoned(connection: sqlite3.Connection, at: float) -> tuple[Stream, ...]:
    """Mark every stream still "live" as ended: their process died without a word.

    Args:
        connection: The database, owned by this process alone.
        at: UTC seconds; becomes ``ended_at``, since the true end is not known.

    Returns:
        The streams that were touched, as they are now.
    """
    with transaction(connection):
        rows = connection.execute(
            "UPDATE streams SET status = 'ended', ended_at = ? WHERE status = 'live'"
            f" RETURNING {_COLUMNS}",
            (at,),
        ).fetchall()
    return tuple(map(_stream, rows))


def create(
    connection: sqlite3.Connection,
    broadcaster_id: str,
    title: str,
    chat_enabled: bool,
    recording_enabled: bool,
    at: float,
) -> tuple[Stream, str]:
    """Insert an idle stream under a fresh id and key; return both."""
    key = new_stream_key()
    stream = Stream(
        id=new_stream_id(),
        broadcaster_id=broadcaster_id,
        title=title,
        chat_enabled=chat_enabled,
        recording_enabled=recording_enabled,
        status=StreamStatus.IDLE,
        started_at=None,
        ended_at=None,
        created_at=at,
    )
    with transaction(connection):
        # No retry on a taken id: with a million streams the odds are one in 10**12 per creation.
        connection.execute(
            f"INSERT INTO streams ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                stream.id,
                stream.broadcaster_id,
                stream.title,
                stream.chat_enabled,
                stream.recording_enabled,
                stream.status.value,
                stream.started_at,
                stream.ended_at,
                stream.created_at,
            ),
        )
        access_queries.insert_key(connection, stream.id, FIRST_LABEL, key, at, None)
    return stream, key


def get(connection: sqlite3.Connection, stream_id: str) -> Stream | None:
    """Return one stream or None."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM streams WHERE id = ?", (stream_id,)
    ).fetchone()
    return None if row is None else _stream(row)


def list_some(
    connection: sqlite3.Connection,
    status: StreamStatus | None,
    broadcaster_id: str | None,
    after: str | None,
    limit: int,
) -> list[Stream]:
    """Return streams, newest first; ties, which a coarse clock makes, by id.

    A cursor that names no stream (any more) is the end.
    """
    rows = connection.execute(
        f"""
        SELECT {_COLUMNS} FROM streams
        WHERE (:status IS NULL OR status = :status)
            AND (:broadcaster IS NULL OR broadcaster_id = :broadcaster)
            AND (:after IS NULL OR (-created_at, id) >
                (SELECT -created_at, id FROM streams WHERE id = :after))
        ORDER BY created_at DESC, id LIMIT :limit
        """,
        {
            "status": None if status is None else status.value,
            "broadcaster": broadcaster_id,
            "after": after,
            "limit": limit,
        },
    )
    return [_stream(row) for row in rows]


def find_by_key(connection: sqlite3.Connection, stream_key: str, now_s: float) -> Stream | None:
    """Return the stream that a live key opens."""
    key = access_queries.find_key(connection, stream_key, now_s)
    return None if key is None else get(connection, key.stream_id)


def verify_key(
    connection: sqlite3.Connection, stream_id: str, stream_key: str, now_s: float
) -> bool:
    """Tell whether a key is a live one of this very stream."""
    key = access_queries.find_key(connection, stream_key, now_s)
    return key is not None and key.stream_id == stream_id


def set_status(
    connection: sqlite3.Connection, stream_id: str, status: StreamStatus, at: float
) -> Stream:
    """Write a status and the time that belongs to it; see `control.store.Store.set_status`."""
    times = {
        StreamStatus.IDLE: "",
        StreamStatus.LIVE: ", started_at = :at, ended_at = NULL",
        StreamStatus.ENDED: ", ended_at = :at",
    }[status]
    return _update(
        connection, f"status = :status{times}", {"id": stream_id, "status": status.value, "at": at}
    )


def update(
    connection: sqlite3.Connection,
    stream_id: str,
    title: str | None,
    chat_enabled: bool | None,
    recording_enabled: bool | None,
) -> Stream:
    """Write the settings that are not None."""
    return _update(
        connection,
        "title = coalesce(:title, title), chat_enabled = coalesce(:chat, chat_enabled),"
        " recording_enabled = coalesce(:recording, recording_enabled)",
        {"id": stream_id, "title": title, "chat": chat_enabled, "recording": recording_enabled},
    )


def rotate_key(connection: sqlite3.Connection, stream_id: str, now_s: float) -> tuple[Stream, str]:
    """Put one key in the place of all; return the stream and the new key."""
    _, key = access_queries.rotate(connection, stream_id, FIRST_LABEL, now_s, 0.0)
    stream = get(connection, stream_id)
    assert stream is not None, "its key has just been made"
    return stream, key


def delete(connection: sqlite3.Connection, stream_id: str) -> None:
    """Remove one stream; raises `UnknownStreamError` if there is none."""
    with transaction(connection):
        if not connection.execute("DELETE FROM streams WHERE id = ?", (stream_id,)).rowcount:
            raise UnknownStreamError(stream_id)


def get_relays(connection: sqlite3.Connection, stream_id: str) -> Relays:
    """Return where a stream is sent to and fetched from; of an unknown one, nowhere."""
    rows = connection.execute(
        "SELECT direction, url FROM relays WHERE stream_id = ? ORDER BY direction, position",
        (stream_id,),
    ).fetchall()
    return Relays(
        forward=tuple([url for direction, url in rows if direction == "forward"]),
        pull=next((url for direction, url in rows if direction == "pull"), None),
    )


def set_relays(connection: sqlite3.Connection, stream_id: str, relays: Relays) -> None:
    """Replace all relays of a stream; raises `UnknownStreamError` if there is none."""
    rows = [(stream_id, "forward", number, url) for number, url in enumerate(relays.forward)]
    if relays.pull is not None:
        rows.append((stream_id, "pull", 0, relays.pull))
    with transaction(connection):
        if get(connection, stream_id) is None:
            raise UnknownStreamError(stream_id)
        connection.execute("DELETE FROM relays WHERE stream_id = ?", (stream_id,))
        connection.executemany("INSERT INTO relays VALUES (?, ?, ?, ?)", rows)


def list_pulls(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the URLs of all pulls by the ids of their streams."""
    rows = connection.execute("SELECT stream_id, url FROM relays WHERE direction = 'pull'")
    return dict(rows.fetchall())


def _update(connection: sqlite3.Connection, assignments: str, values: dict[str, Any]) -> Stream:
    with transaction(connection):
        rows = connection.execute(
            f"UPDATE streams SET {assignments} WHERE id = :id RETURNING {_COLUMNS}", values
        ).fetchall()  # all of it, or COMMIT finds the statement still running
        if not rows:
            raise UnknownStreamError(values["id"])
    return _stream(rows[0])


def _stream(row: tuple[Any, ...]) -> Stream:
    return Stream(
        id=row[0],
        broadcaster_id=row[1],
        title=row[2],
        chat_enabled=bool(row[3]),
        recording_enabled=bool(row[4]),
        status=StreamStatus(row[5]),
        started_at=_time(row[6]),
        ended_at=_time(row[7]),
        created_at=float(row[8]),
    )


def _time(value: float | None) -> float | None:
    # SQLite stores a whole REAL as an integer, and RETURNING (3.40) hands it out as one.
    return None if value is None else float(value)
