"""The SQLite file: its lock, its schema versions, and what is said when it cannot be used."""

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from control import StoreError, database
from control.database import open_database, transaction
from control.tables import MIGRATIONS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "headrace.sqlite3"


def _version(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return int(version)
    finally:
        connection.close()


def test_a_new_file_is_private_and_of_the_newest_schema(path: Path) -> None:
    opened = open_database(path)
    try:
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert opened.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert opened.connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
        assert opened.connection.execute("PRAGMA synchronous").fetchone() == (2,)
    finally:
        opened.close()
    assert set(files.values()) == {0o600}
    assert "headrace.sqlite3-wal" in files
    assert _version(path) == len(MIGRATIONS)


def test_a_second_owner_is_refused_until_the_first_has_closed(path: Path) -> None:
    first = open_database(path)
    with pytest.raises(StoreError, match=r"sqlite3: in use by another Headrace process$"):
        open_database(path)
    first.close()
    open_database(path).close()


def test_a_reader_from_outside_is_not_locked_out(path: Path) -> None:
    opened = open_database(path)
    reader = sqlite3.connect(path)
    assert reader.execute("SELECT count(*) FROM streams").fetchone() == (0,)
    reader.close()
    opened.close()


def test_a_foreign_write_lock_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_database(path).close()
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 10)
    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE more (id TEXT)",)))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"sqlite3: locked by another program$"):
        open_database(path)
    other.close()
    open_database(path).close()


def test_migrations_run_in_order_and_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_database(path).close()
    later = (
        *MIGRATIONS,
        ("ALTER TABLE streams ADD COLUMN colour TEXT",),
        ("UPDATE streams SET colour = 'blue'", "CREATE TABLE more (id TEXT)"),
    )
    monkeypatch.setattr(database, "MIGRATIONS", later)
    for _ in range(2):
        opened = open_database(path)
        opened.connection.execute("SELECT colour FROM streams")
        opened.connection.execute("SELECT id FROM more")
        opened.close()
    assert _version(path) == len(MIGRATIONS) + 2


def test_a_failed_migration_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_database(path).close()
    monkeypatch.setattr(
        database, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE more (id TEXT)", "NOT SQL"))
    )
    with pytest.raises(StoreError, match="syntax error"):
        open_database(path)
    monkeypatch.undo()
    opened = open_database(path)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        opened.connection.execute("SELECT * FROM more")
    opened.close()


def test_a_newer_schema_is_refused_untouched(path: Path) -> None:
    open_database(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(
        StoreError, match=r"sqlite3: written by a newer Headrace \(schema 99, known"
    ):
        open_database(path)
    assert _version(path) == 99


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough for a header" * 10, b"x" * 99]
)
def test_a_file_that_is_no_database_is_one_line(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"file is not a database$"):
        open_database(path)
    assert path.read_bytes() == content


def test_a_damaged_database_is_one_line(path: Path) -> None:
    open_database(path).close()
    damaged = bytearray(path.read_bytes())
    damaged[100:4096] = b"\xa5" * 3996  # the schema's page, behind the file header
    path.write_bytes(damaged)
    with pytest.raises(StoreError, match=r"sqlite3: [^\n]*malformed[^\n]*$"):
        open_database(path)


def test_a_file_where_the_folder_should_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StoreError, match=r"Not a directory|File exists"):
        open_database(tmp_path / "data" / "headrace.sqlite3")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere, so nothing can be refused")
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o500)
    with pytest.raises(StoreError, match="Permission denied"):
        open_database(folder / "headrace.sqlite3")


def test_a_refused_start_leaves_no_descriptor_open(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database, but long enough for a header" * 10)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(StoreError):
        open_database(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_transaction_is_all_or_nothing(path: Path) -> None:
    opened = open_database(path)
    connection = opened.connection
    connection.execute("CREATE TABLE t (n INTEGER)")

    def insert_and(then: float) -> None:
        with transaction(connection):
            connection.execute("INSERT INTO t VALUES (1)")
            assert 1 / then

    with pytest.raises(ZeroDivisionError):
        insert_and(0)
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    insert_and(1)
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
    opened.close()


def test_a_transaction_that_sqlite_rolled_back_itself_keeps_its_error(path: Path) -> None:
    opened = open_database(path)

    def run_full() -> None:
        with transaction(opened.connection):
            opened.connection.execute("ROLLBACK")  # as SQLite does when the disk is full
            raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(sqlite3.OperationalError, match="disk is full"):
        run_full()
    opened.close()
