"""SQLite files as earlier versions left them: the tables of then, and a stream in them."""

from pathlib import Path

import pytest

from control import database, hash_key
from control.tables import MIGRATIONS

STREAM_ID = "0123456789ab"
STREAM_KEY = "live_" + "5" * 32


def make_old_file(path: Path, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a file of a schema version, 1 to 3, that has one stream: `STREAM_ID`, `STREAM_KEY`."""
    with monkeypatch.context() as before:
        before.setattr(database, "MIGRATIONS", MIGRATIONS[:version])
        opened = database.open_database(path)
    opened.connection.execute(
        "INSERT INTO streams VALUES (?, 'someone', 'A title', 1, 0, 'ended', 5, 6, 4, ?)",
        (STREAM_ID, hash_key(STREAM_KEY)),
    )
    opened.close()
