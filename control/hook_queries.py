"""The statements about webhooks, as synchronous functions of a connection.

Writing functions are one transaction each.
"""

import sqlite3
from collections import Counter
from typing import Any

import msgspec

from control.database import transaction
from control.errors import TooManyError
from control.hook_model import (
    MAX_DEAD,
    MAX_HOOKS,
    MAX_PENDING,
    Backlog,
    Batch,
    Delivery,
    DeliveryStatus,
    Event,
    Hook,
    Written,
)
from control.keys import new_stream_id

_HOOK = "id, url, events, stream_id, enabled, description, generation, created_at, dropped"
_DELIVERY = "number, hook_id, stream_id, event_id, type, body, at, status, attempts, reason"


def add(
    connection: sqlite3.Connection,
    url: str,
    events: tuple[str, ...],
    stream_id: str | None,
    enabled: bool,
    description: str,
    now_s: float,
) -> Hook:
    """Insert a hook under a fresh id; see `control.hook_store.HookStore.add`."""
    hook = Hook(
        id=new_stream_id(),
        url=url,
        events=events,
        stream_id=stream_id,
        enabled=enabled,
        description=description,
        generation=1,
        created_at=now_s,
        dropped=0,
    )
    with transaction(connection):
        (count,) = connection.execute("SELECT count(*) FROM hooks").fetchone()
        if count >= MAX_HOOKS:
            raise TooManyError(f"there are {MAX_HOOKS} hooks at most")
        connection.execute(
            f"INSERT INTO hooks ({_HOOK}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                hook.id,
                hook.url,
                " ".join(hook.events),
                hook.stream_id,
                hook.enabled,
                hook.description,
                hook.generation,
                hook.created_at,
                hook.dropped,
            ),
        )
    return hook


def list_all(connection: sqlite3.Connection) -> list[Hook]:
    """Return all hooks, oldest first."""
    return [_hook(row) for row in connection.execute(f"SELECT {_HOOK} FROM hooks ORDER BY rowid")]


def change(connection: sqlite3.Connection, hook: Hook) -> bool:
    """Write what may change of a hook; tells whether it is there."""
    with transaction(connection):
        return bool(
            connection.execute(
                "UPDATE hooks SET url = ?, events = ?, stream_id = ?, enabled = ?,"
                " description = ?, generation = ? WHERE id = ?",
                (
                    hook.url,
                    " ".join(hook.events),
                    hook.stream_id,
                    hook.enabled,
                    hook.description,
                    hook.generation,
                    hook.id,
                ),
            ).rowcount
        )


def delete(connection: sqlite3.Connection, hook_id: str) -> bool:
    """Remove a hook and what waits for it; tells whether it was there."""
    with transaction(connection):
        return bool(connection.execute("DELETE FROM hooks WHERE id = ?", (hook_id,)).rowcount)


def write(connection: sqlite3.Connection, batch: Batch) -> Written:
    """Write a batch; see `control.hook_store.HookStore.write`."""
    with transaction(connection):
        made = Counter[str]()
        for hook_id, number in batch.made:
            made[hook_id] += connection.execute(
                "DELETE FROM hook_deliveries WHERE number = ? AND status = 'pending'", (number,)
            ).rowcount
        connection.executemany(
            "UPDATE hook_deliveries SET attempts = ?, reason = ? WHERE number = ?",
            [(attempts, reason, number) for number, attempts, reason in batch.failed],
        )
        buried = Counter[str]()
        for hook_id, stream_id, number, before_s in batch.buried:
            buried[hook_id] += connection.execute(
                "UPDATE hook_deliveries SET status = 'dead' WHERE hook_id = ? AND stream_id = ?"
                " AND status = 'pending' AND (number = ? OR (number > ? AND at < ?))",
                (hook_id, stream_id, number, number, before_s),
            ).rowcount
        known = {hook_id for (hook_id,) in connection.execute("SELECT id FROM hooks")}
        numbers = tuple(
            [
                _insert(connection, event) if event.hook_id in known else None
                for event in batch.events
            ]
        )
        for hook_id in buried:
            _shorten(connection, hook_id, DeliveryStatus.DEAD, MAX_DEAD)
        dropped: dict[str, int] = {}
        for hook_id in {event.hook_id for event in batch.events} & known:
            count = _shorten(connection, hook_id, DeliveryStatus.PENDING, MAX_PENDING)
            if count:
                dropped[hook_id] = count
                _count_dropped(connection, hook_id, count)
    return Written(numbers=numbers, made=dict(made), dropped=dropped, buried=dict(buried))


def count_dropped(connection: sqlite3.Connection, hook_id: str, count: int) -> None:
    """Remember that so many were lost before they were written."""
    with transaction(connection):
        _count_dropped(connection, hook_id, count)


def backlogs(connection: sqlite3.Connection) -> list[Backlog]:
    """Return what waits, by hook and stream."""
    rows = connection.execute(
        "SELECT hook_id, stream_id, min(number), max(number), count(*) FROM hook_deliveries"
        " WHERE status = 'pending' GROUP BY hook_id, stream_id"
    )
    return [
        Backlog(hook_id=row[0], stream_id=row[1], first=row[2], last=row[3], count=row[4])
        for row in rows
    ]


def load(
    connection: sqlite3.Connection, hook_id: str, stream_id: str, after: int, limit: int
) -> list[Delivery]:
    """Return the oldest that wait for a hook of a stream behind a number, in order."""
    rows = connection.execute(
        f"SELECT {_DELIVERY} FROM hook_deliveries WHERE hook_id = ? AND status = 'pending'"
        " AND stream_id = ? AND number > ? ORDER BY number LIMIT ?",
        (hook_id, stream_id, after, limit),
    )
    return [_delivery(row) for row in rows]


def list_some(
    connection: sqlite3.Connection,
    hook_id: str,
    status: DeliveryStatus,
    after: int,
    limit: int,
) -> list[Delivery]:
    """Return deliveries of a hook that were not made, oldest first."""
    rows = connection.execute(
        f"SELECT {_DELIVERY} FROM hook_deliveries WHERE hook_id = ? AND status = ?"
        " AND number > ? ORDER BY number LIMIT ?",
        (hook_id, status.value, after, limit),
    )
    return [_delivery(row) for row in rows]


def count_dead(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many were given up, by hook."""
    rows = connection.execute(
        "SELECT hook_id, count(*) FROM hook_deliveries WHERE status = 'dead' GROUP BY hook_id"
    )
    return dict(rows.fetchall())


def revive(connection: sqlite3.Connection, hook_id: str, number: int) -> Delivery | None:
    """Let one that was given up wait again, behind the others; None: there is none."""
    with transaction(connection):
        row = connection.execute(
            f"SELECT {_DELIVERY} FROM hook_deliveries WHERE number = ? AND hook_id = ?"
            " AND status = 'dead'",
            (number, hook_id),
        ).fetchone()
        if row is None:
            return None
        old = _delivery(row)
        connection.execute("DELETE FROM hook_deliveries WHERE number = ?", (number,))
        event = Event(
            hook_id=hook_id,
            stream_id=old.stream_id,
            event_id=old.event_id,
            type=old.type,
            body=old.body,
            at=old.at,
        )
        fresh = _insert(connection, event)
    return msgspec.structs.replace(
        old, number=fresh, status=DeliveryStatus.PENDING, attempts=0, reason=""
    )


def forget_old(connection: sqlite3.Connection, before_s: float) -> int:
    """Remove what was given up and is of before a time; returns how many."""
    with transaction(connection):
        return connection.execute(
            "DELETE FROM hook_deliveries WHERE status = 'dead' AND at < ?", (before_s,)
        ).rowcount


def _insert(connection: sqlite3.Connection, event: Event) -> int:
    cursor = connection.execute(
        f"INSERT INTO hook_deliveries ({_DELIVERY}) VALUES"
        " (NULL, ?, ?, ?, ?, ?, ?, 'pending', 0, '')",
        _values(event),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _values(event: Event) -> tuple[Any, ...]:
    return (
        event.hook_id,
        event.stream_id,
        event.event_id,
        event.type,
        event.body,
        event.at,
    )


def _shorten(
    connection: sqlite3.Connection, hook_id: str, status: DeliveryStatus, most: int
) -> int:
    """Remove the oldest beyond so many; returns how many."""
    return connection.execute(
        "DELETE FROM hook_deliveries WHERE hook_id = :hook AND status = :status AND number <="
        " (SELECT number FROM hook_deliveries WHERE hook_id = :hook AND status = :status"
        "  ORDER BY number DESC LIMIT 1 OFFSET :most)",
        {"hook": hook_id, "status": status.value, "most": most},
    ).rowcount


def _count_dropped(connection: sqlite3.Connection, hook_id: str, count: int) -> None:
    connection.execute("UPDATE hooks SET dropped = dropped + ? WHERE id = ?", (count, hook_id))


def _hook(row: tuple[Any, ...]) -> Hook:
    return Hook(
        id=row[0],
        url=row[1],
        events=tuple(row[2].split()),
        stream_id=row[3],
        enabled=bool(row[4]),
        description=row[5],
        generation=row[6],
        created_at=float(row[7]),
        dropped=row[8],
    )


def _delivery(row: tuple[Any, ...]) -> Delivery:
    return Delivery(
        number=row[0],
        hook_id=row[1],
        stream_id=row[2],
        event_id=row[3],
        type=row[4],
        body=row[5],
        at=float(row[6]),
        status=DeliveryStatus(row[7]),
        attempts=row[8],
        reason=row[9],
    )
