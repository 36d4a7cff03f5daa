"""The statements about recordings, as synchronous functions of a connection."""

import sqlite3
from collections.abc import Collection
from typing import Any, Final

from control.database import transaction
from control.errors import UnknownStreamError
from control.recording_model import Recording, RecordingStatus

MAX_SURPLUS: Final = 100
"""Recordings that one look at what is to go returns."""

_COLUMNS = (
    "id, stream_id, broadcast_id, title, started_at, ended_at, duration_s, size_bytes, status,"
    " reason"
)


def add(connection: sqlite3.Connection, recording: Recording) -> None:
    """See `control.recording_store.RecordingStore.add`."""
    with transaction(connection):
        if not connection.execute(
            "SELECT 1 FROM streams WHERE id = ?", (recording.stream_id,)
        ).fetchone():
            raise UnknownStreamError(recording.stream_id)
        connection.execute(
            f"INSERT OR IGNORE INTO recordings ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                recording.id,
                recording.stream_id,
                recording.broadcast_id,
                recording.title,
                recording.started_at,
                recording.ended_at,
                recording.duration_s,
                recording.size_bytes,
                recording.status.value,
                recording.reason,
            ),
        )


def finish(connection: sqlite3.Connection, recording: Recording) -> bool:
    """See `control.recording_store.RecordingStore.finish`."""
    with transaction(connection):
        return bool(
            connection.execute(
                "UPDATE recordings SET ended_at = ?, duration_s = ?, size_bytes = ?, status = ?,"
                " reason = ? WHERE id = ?",
                (
                    recording.ended_at,
                    recording.duration_s,
                    recording.size_bytes,
                    recording.status.value,
                    recording.reason,
                    recording.id,
                ),
            ).rowcount
        )


def get(connection: sqlite3.Connection, recording_id: str) -> Recording | None:
    """Return one recording or None."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM recordings WHERE id = ?", (recording_id,)
    ).fetchone()
    return None if row is None else _recording(row)


def list_ready(
    connection: sqlite3.Connection, stream_id: str | None, after: str | None, limit: int
) -> list[Recording]:
    """See `control.recording_store.RecordingStore.list_ready`."""
    rows = connection.execute(
        f"""
        SELECT {_COLUMNS} FROM recordings
        WHERE status = 'ready' AND (:stream IS NULL OR stream_id = :stream)
            AND (:after IS NULL OR (-started_at, id) >
                (SELECT -started_at, id FROM recordings WHERE id = :after))
        ORDER BY started_at DESC, id LIMIT :limit
        """,
        {"stream": stream_id, "after": after, "limit": limit},
    )
    return [_recording(row) for row in rows]


def list_unfinished(connection: sqlite3.Connection) -> list[Recording]:
    """See `control.recording_store.RecordingStore.list_unfinished`."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM recordings WHERE status = 'recording'")
    return [_recording(row) for row in rows]


def list_surplus(
    connection: sqlite3.Connection, before_s: float | None, max_bytes: int
) -> list[Recording]:
    """See `control.recording_store.RecordingStore.list_surplus`.

    A recording goes if the newer ones and it are larger than may be, together.
    """
    rows = connection.execute(
        f"""
        SELECT {_COLUMNS} FROM (
            SELECT *, sum(size_bytes) OVER (ORDER BY ended_at DESC, id DESC) AS newer_bytes
            FROM recordings WHERE status <> 'recording'
        )
        WHERE ended_at < :before OR (:max > 0 AND newer_bytes > :max)
        ORDER BY ended_at, id LIMIT :limit
        """,
        {"before": before_s, "max": max_bytes, "limit": MAX_SURPLUS},
    )
    return [_recording(row) for row in rows]


def delete(connection: sqlite3.Connection, recording_id: str) -> bool:
    """See `control.recording_store.RecordingStore.delete`."""
    with transaction(connection):
        return bool(
            connection.execute("DELETE FROM recordings WHERE id = ?", (recording_id,)).rowcount
        )


def list_gone(connection: sqlite3.Connection) -> set[str]:
    """See `control.recording_store.RecordingStore.list_gone`."""
    rows = connection.execute("SELECT id FROM recordings_gone LIMIT ?", (MAX_SURPLUS,))
    return {recording_id for (recording_id,) in rows}


def forget_gone(connection: sqlite3.Connection, recording_ids: Collection[str]) -> None:
    """See `control.recording_store.RecordingStore.forget_gone`."""
    with transaction(connection):
        connection.executemany(
            "DELETE FROM recordings_gone WHERE id = ?",
            [(recording_id,) for recording_id in recording_ids],
        )


def _recording(row: tuple[Any, ...]) -> Recording:
    return Recording(
        id=row[0],
        stream_id=row[1],
        broadcast_id=row[2],
        title=row[3],
        started_at=row[4],
        ended_at=row[5],
        duration_s=row[6],
        size_bytes=row[7],
        status=RecordingStatus(row[8]),
        reason=row[9],
    )
