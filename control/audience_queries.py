"""The statements about viewers, as synchronous functions of a connection."""

import sqlite3
from collections.abc import Sequence

from control.audience_model import BroadcastAudience, ViewerMinute
from control.database import transaction


def put(
    connection: sqlite3.Connection,
    minutes: Sequence[ViewerMinute],
    broadcasts: Sequence[BroadcastAudience],
) -> None:
    """See `control.audience_store.AudienceStore.put`."""
    with transaction(connection):
        connection.executemany(
            "INSERT OR REPLACE INTO audience_minutes (stream_id, at, count, peak)"
            " SELECT id, ?, ?, ? FROM streams WHERE id = ?",
            [(row.at, row.count, row.peak, row.stream_id) for row in minutes],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO audience_broadcasts"
            " (stream_id, started_at, ended_at, peak, watched_s)"
            " SELECT id, ?, ?, ?, ? FROM streams WHERE id = ?",
            [
                (row.started_at, row.ended_at, row.peak, row.watched_s, row.stream_id)
                for row in broadcasts
            ],
        )


def list_minutes(
    connection: sqlite3.Connection, stream_id: str, since: float, limit: int
) -> list[ViewerMinute]:
    """See `control.audience_store.AudienceStore.list_minutes`."""
    rows = connection.execute(
        "SELECT at, count, peak FROM audience_minutes WHERE stream_id = ? AND at >= ?"
        " ORDER BY at DESC LIMIT ?",
        (stream_id, since, limit),
    ).fetchall()
    return [ViewerMinute(stream_id, *row) for row in reversed(rows)]


def list_broadcasts(
    connection: sqlite3.Connection, stream_id: str, limit: int
) -> list[BroadcastAudience]:
    """See `control.audience_store.AudienceStore.list_broadcasts`."""
    rows = connection.execute(
        "SELECT started_at, ended_at, peak, watched_s FROM audience_broadcasts"
        " WHERE stream_id = ? ORDER BY started_at DESC LIMIT ?",
        (stream_id, limit),
    )
    return [BroadcastAudience(stream_id, *row) for row in rows]


def prune(connection: sqlite3.Connection, minutes_before: float, broadcasts_before: float) -> int:
    """See `control.audience_store.AudienceStore.prune`."""
    with transaction(connection):
        minutes = connection.execute(
            "DELETE FROM audience_minutes WHERE at < ?", (minutes_before,)
        ).rowcount
        broadcasts = connection.execute(
            "DELETE FROM audience_broadcasts WHERE ended_at < ?", (broadcasts_before,)
        ).rowcount
    return minutes + broadcasts
