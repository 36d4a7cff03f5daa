"""Receivers of webhooks, as scripted as needed; and a store of hooks in memory.

A `Receiver` is what HTTP reaches: it keeps what came, and answers as told, by event if need be. The
store is the real one's statements on a database in memory, run in this very task: no thread, which
a clock that jumps would not wait for.
"""

import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar, TypeVarTuple

import httpx
import trio

from control import StoreError
from control.hook_sqlite import SqliteHookStore
from control.tables import MIGRATIONS

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Got:
    """One request that a receiver has read."""

    def __init__(self, request: httpx.Request, body: bytes, at_s: float) -> None:
        self.url = str(request.url)
        self.headers = dict(request.headers)
        self.body = body
        self.at_s = at_s
        self.event: dict[str, Any] = json.loads(body)


class Answer:
    """How to answer."""

    def __init__(
        self,
        status: int = 200,
        body: bytes = b"",
        *,
        after_s: float = 0.0,
        is_endless: bool = False,
        error: Exception | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.after_s = after_s
        self.is_endless = is_endless
        self.error = error
        self.headers = headers or {}


class Receiver(httpx.AsyncBaseTransport):
    """A program that is sent events."""

    def __init__(self) -> None:
        self.answer: Callable[[Got], Answer] = lambda _got: Answer()
        self.got: list[Got] = []
        """All requests, whatever was answered."""
        self.taken: list[Got] = []
        """Those that were answered with success."""
        self.under_way = self.most_under_way = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            got = Got(request, await request.aread(), trio.current_time())
            self.got.append(got)
            answer = self.answer(got)
            await trio.sleep(answer.after_s)
            if answer.error is not None:
                raise answer.error
            if 200 <= answer.status < 300 and not answer.is_endless:
                self.taken.append(got)
        finally:
            self.under_way -= 1
        return httpx.Response(answer.status, headers=answer.headers, content=_body(answer))

    def client(self) -> httpx.AsyncClient:
        """A client that reaches nobody else."""
        return httpx.AsyncClient(transport=self)


async def _body(answer: Answer) -> AsyncIterator[bytes]:
    yield answer.body
    while answer.is_endless:
        await trio.sleep(0.01)
        yield b"x" * 100


class MemoryHooks(SqliteHookStore):
    """The hooks of a process that may be started again: the database outlives it.

    Args:
        clock: UTC seconds.
    """

    def __init__(self, clock: Callable[[], float] = lambda: 1_000_000.0) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        for statements in MIGRATIONS:
            for statement in statements:
                self.connection.execute(statement)
        self.connection.execute("PRAGMA foreign_keys = ON")
        self.is_broken = False
        self.writes = 0
        super().__init__(self._here, clock)

    async def _here(self, query: Callable[[sqlite3.Connection, *Ts], T], *args: *Ts) -> T:
        await trio.lowlevel.checkpoint()  # as a real one: cancelled before, or not at all
        if self.is_broken:
            raise StoreError("the disk is full")
        self.writes += query.__name__ == "write"
        return query(self.connection, *args)
