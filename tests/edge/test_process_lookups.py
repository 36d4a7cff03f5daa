"""Lookups that hang hold up nobody who reads a file, and are so many at the most."""

import socket
import threading
from typing import Any

import pytest
import trio

from edge.process.lookups import MAX_LOOKUPS, Lookups, use_own_threads

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]
WAIT_S = 5.0


async def test_trio_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    async def look(_self: Lookups, host: bytes, port: int, *_more: Any) -> Any:
        await trio.lowlevel.checkpoint()
        asked.append((host, port))
        return FOUND

    monkeypatch.setattr(Lookups, "getaddrinfo", look)
    use_own_threads()
    assert await trio.socket.getaddrinfo("some.test", 80) == FOUND
    assert asked == [(b"some.test", 80)]


async def test_a_name_is_found_in_a_thread() -> None:
    def look(*args: Any) -> list[Any]:
        assert threading.current_thread() is not threading.main_thread()
        return [args]

    resolver = Lookups(look)
    assert await resolver.getaddrinfo(b"some.test", 80, 1, 2, 3, 4) == [
        (b"some.test", 80, 1, 2, 3, 4)
    ]
    name, port = await resolver.getnameinfo(
        ("192.0.2.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    )
    assert (name, port) == ("192.0.2.1", "80")


async def test_lookups_that_hang_leave_the_other_threads_alone() -> None:
    release, full = threading.Event(), threading.Semaphore(0)

    def hang(*_args: Any) -> list[Any]:
        full.release()
        release.wait(2 * WAIT_S)
        return FOUND

    resolver = Lookups(hang)

    def wait_until_full() -> bool:
        return all(full.acquire(timeout=WAIT_S) for _ in range(MAX_LOOKUPS))

    try:
        async with trio.open_nursery() as nursery:
            for _ in range(MAX_LOOKUPS + 10):
                nursery.start_soon(resolver.getaddrinfo, b"some.test", 80)
            assert await trio.to_thread.run_sync(wait_until_full)
            assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
            assert not full.acquire(blocking=False), "more than there may be"
            nursery.cancel_scope.cancel()  # who has asked need not wait
        assert not release.is_set()
    finally:
        release.set()
