"""The messages of a chat against a list that does the same slowly; and what reading costs."""

import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from control import chat_queries, queries
from control.chat_model import ChatMessage
from control.database import open_database

BOUND = 12
PLENTY = 1000
LONG_AGO = -(1 << 60)
USERS = ("u1", "u2")


def _message(stream_id: str, number: int, user_id: str, at: int) -> ChatMessage:
    return ChatMessage(
        id=f"{number:016x}",
        stream_id=stream_id,
        user_id=user_id,
        username=user_id,
        content=f"number {number}",
        timestamp=at,
    )


class Kept:
    """A message that the model knows of."""

    def __init__(self, message: ChatMessage) -> None:
        self.message = message
        self.is_deleted = False


class ChatOfTwoStreams(RuleBasedStateMachine):
    """Adds, deletes, sweeps; the clock is set back at times."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = open_database(Path(self.folder.name) / "db")
        self.connection = self.database.connection
        self.connection.execute("PRAGMA synchronous = OFF")  # nobody pulls a plug here
        self.streams = [
            queries.create(self.connection, "someone", "", True, False, 1.0)[0].id for _ in "ab"
        ]
        self.model: dict[str, list[Kept]] = {stream_id: [] for stream_id in self.streams}
        self.cleared: set[str] = set()
        self.number = 0
        self.now_ms = 1000

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    def visible(self, stream_id: str) -> list[ChatMessage]:
        return [kept.message for kept in self.model[stream_id] if not kept.is_deleted]

    @rule(
        who=st.lists(st.tuples(st.integers(0, 1), st.sampled_from(USERS)), max_size=BOUND + 3),
        step_ms=st.integers(-500, 1000),
    )
    def add(self, who: list[tuple[int, str]], step_ms: int) -> None:
        batch = []
        for stream, user_id in who:
            self.number += 1
            self.now_ms += step_ms
            batch.append(_message(self.streams[stream], self.number, user_id, self.now_ms))
        chat_queries.add_messages(self.connection, batch)
        for message in batch:
            self.model[message.stream_id].append(Kept(message))
        for kept in self.model.values():
            del kept[: max(0, len(kept) - BOUND)]

    @precondition(lambda self: any(self.model.values()))
    @rule(data=st.data())
    def add_again(self, data: st.DataObject) -> None:
        stored = [kept.message for chat in self.model.values() for kept in chat]
        chat_queries.add_messages(
            self.connection, data.draw(st.lists(st.sampled_from(stored), unique_by=id))
        )

    @rule(stream=st.integers(0, 1), back=st.lists(st.integers(0, 2 * BOUND), max_size=4))
    def delete(self, stream: int, back: list[int]) -> None:
        ids = {f"{max(0, self.number - n):016x}" for n in back}
        found = [
            kept
            for kept in self.model[self.streams[stream]]
            if kept.message.id in ids and not kept.is_deleted
        ]
        deleted = chat_queries.delete_messages(self.connection, self.streams[stream], ids)
        assert deleted == len(found)
        for kept in found:
            kept.is_deleted = True

    @rule(stream=st.integers(0, 1), user_id=st.sampled_from(USERS), rows=st.integers(1, BOUND + 1))
    def delete_of_user(self, stream: int, user_id: str, rows: int) -> None:
        stream_id = self.streams[stream]
        theirs = [
            kept
            for kept in self.model[stream_id]
            if kept.message.user_id == user_id and not kept.is_deleted
        ]
        deleted, newest = 0, chat_queries.NEWEST
        while True:
            step, following = chat_queries.delete_of_user(
                self.connection, stream_id, user_id, newest, rows
            )
            deleted += step
            if following is None:
                break
            assert following < newest
            newest = following
        assert deleted == len(theirs)
        for kept in theirs:
            kept.is_deleted = True

    @rule(stream=st.integers(0, 1))
    def clear(self, stream: int) -> None:
        if self.visible(self.streams[stream]):
            self.cleared.add(self.streams[stream])
        chat_queries.clear(self.connection, self.streams[stream])
        for kept in self.model[self.streams[stream]]:
            kept.is_deleted = True

    @rule(ago_ms=st.integers(0, 5000))
    def sweep(self, ago_ms: int) -> None:
        until_ms = self.now_ms - ago_ms
        count = sum(map(len, self.model.values()))
        for stream_id, chat in self.model.items():
            self.model[stream_id] = [kept for kept in chat if kept.message.timestamp >= until_ms]
        swept = chat_queries.sweep(self.connection, until_ms, 0, PLENTY)
        assert swept == count - sum(map(len, self.model.values()))

    @rule(stream=st.integers(0, 1), rows=st.integers(0, BOUND))
    def purge(self, stream: int, rows: int) -> None:
        stored = {kept.message.id: kept for kept in self.model[self.streams[stream]]}
        purged = chat_queries.purge(self.connection, self.streams[stream], rows)
        assert purged == min(rows, len(stored))
        left = self.connection.execute(
            "SELECT id FROM chat_messages WHERE stream_id = ? ORDER BY id", (self.streams[stream],)
        )
        self.model[self.streams[stream]] = [stored[message_id] for (message_id,) in left]

    @rule(
        stream=st.integers(0, 1),
        limit=st.integers(0, BOUND),
        before=st.none() | st.integers(0, 3 * BOUND),
        after=st.none() | st.integers(0, 3 * BOUND),
    )
    def page(self, stream: int, limit: int, before: int | None, after: int | None) -> None:
        stream_id = self.streams[stream]
        before_id = None if before is None else f"{max(0, self.number - before):016x}"
        after_id = None if after is None else f"{max(0, self.number - after):016x}"
        expected = [
            one
            for one in self.visible(stream_id)
            if (before_id is None or one.id < before_id) and (after_id is None or one.id > after_id)
        ]
        found = chat_queries.messages(self.connection, stream_id, limit, before_id, after_id)
        assert found == expected[max(0, len(expected) - limit) :]

    @invariant()
    def nobody_is_given_anything_else(self) -> None:
        for stream_id in self.streams:
            expected = self.visible(stream_id)
            found = chat_queries.messages(self.connection, stream_id, PLENTY, None, None)
            assert found == expected
            first_ms = expected[0].timestamp if stream_id in self.cleared and expected else LONG_AGO
            in_time = sorted(expected, key=lambda one: (one.timestamp, one.id))
            replayed = chat_queries.replay(self.connection, stream_id, LONG_AGO, 1 << 60, PLENTY)
            assert replayed == [one for one in in_time if one.timestamp >= first_ms]

    @invariant()
    def what_is_counted_is_there_and_bounded(self) -> None:
        counted = self.connection.execute("SELECT stream_id, messages FROM chat_rooms").fetchall()
        for stream_id, count in counted:
            (there,) = self.connection.execute(
                "SELECT count(*) FROM chat_messages WHERE stream_id = ?", (stream_id,)
            ).fetchone()
            assert count == there == len(self.model[stream_id]) <= BOUND


@pytest.fixture(autouse=True)
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_queries, "MAX_MESSAGES", BOUND)


ChatOfTwoStreams.TestCase.settings = settings(max_examples=50, stateful_step_count=30)
TestMessages = pytest.mark.slow(ChatOfTwoStreams.TestCase)


def test_a_step_looks_at_no_more_than_it_was_told(tmp_path: Path) -> None:
    database = open_database(tmp_path / "db")
    connection = database.connection
    stream_id = queries.create(connection, "someone", "", True, False, 1.0)[0].id
    chat_queries.add_messages(connection, [_message(stream_id, n, "u", n) for n in range(1, 8)])

    def step(newest: str) -> tuple[int, str | None]:
        return chat_queries.delete_of_user(connection, stream_id, "u", newest, 3)

    assert step(chat_queries.NEWEST) == (3, f"{4:016x}")
    assert step(f"{4:016x}") == (3, f"{1:016x}")
    assert step(f"{1:016x}") == (1, None)
    database.close()


def _steps(connection: sqlite3.Connection, read: Callable[[], object]) -> int:
    """How many tens of SQLite's instructions it takes."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    connection.set_progress_handler(tick, 10)
    read()
    connection.set_progress_handler(None, 10)
    return count


def test_reading_costs_the_same_however_much_was_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_queries, "MAX_MESSAGES", 10**6)
    database = open_database(tmp_path / "db")
    connection = database.connection
    stream_id = queries.create(connection, "someone", "", True, False, 1.0)[0].id

    def add(first: int, last: int, user_id: str) -> None:
        chat_queries.add_messages(
            connection, [_message(stream_id, n, user_id, n) for n in range(first, last)]
        )

    def cost() -> list[int]:
        return [
            _steps(
                connection, lambda: chat_queries.messages(connection, stream_id, 50, None, None)
            ),
            _steps(connection, lambda: chat_queries.replay(connection, stream_id, 0, 10**9, 50)),
        ]

    add(0, 100, "u1")
    usual = cost()
    assert min(usual) > 10
    chat_queries.clear(connection, stream_id)
    add(100, 3000, "u1")
    chat_queries.clear(connection, stream_id)
    add(3000, 3060, "u1")
    add(3060, 6000, "u2")
    chat_queries.delete_of_user(connection, stream_id, "u2", chat_queries.NEWEST, 10**6)
    assert max(after - before for before, after in zip(usual, cost(), strict=True)) <= 5
    database.close()
