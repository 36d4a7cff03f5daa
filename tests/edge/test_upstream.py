"""Preference, health, failing over inside one call, patience, and what may be asked twice."""

from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio
import trio.testing
from scripted_upstream import ScriptedUpstream

from edge.edge_settings import EdgeSettings
from edge.upstream import (
    MAX_FAILURES,
    PROBE_EVERY_S,
    PROBE_TIMEOUT_S,
    Ask,
    Upstreams,
    parse_upstream,
    via_line,
)
from edge.upstream_lanes import Fetched, UpstreamError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

X = "/api/streams/one/source/x.m4s"


class Pair:
    """Two upstreams, and what asks them. The transports are opened in order of preference."""

    def __init__(self, *, count: int = 2, **settings: Any) -> None:
        self.servers = [ScriptedUpstream() for _ in range(count)]
        by_host = {f"up{number}": server for number, server in enumerate(self.servers)}
        self.upstreams = Upstreams(
            EdgeSettings(upstreams=tuple(f"http://{host}" for host in by_host), **settings),
            transport=lambda: _ByHost(by_host),
            rand=lambda: 1.0,
        )
        for number, server in enumerate(self.servers):
            server.put(X, b"from %d" % number)

    @property
    def first(self) -> ScriptedUpstream:
        return self.servers[0]

    @property
    def second(self) -> ScriptedUpstream:
        return self.servers[1]

    async def fetch(self, target: str = X, **more: Any) -> Fetched:
        limits = {"timeout_s": 10.0, "attempt_s": 4.0, **more}
        return await self.upstreams.fetch(Ask(target=target, via="1.1 me", **limits))

    @asynccontextmanager
    async def running(self) -> "AsyncIterator[None]":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.upstreams.run)
            await trio.testing.wait_all_tasks_blocked()
            yield
            nursery.cancel_scope.cancel()


class _ByHost(httpx.AsyncBaseTransport):
    def __init__(self, servers: dict[str, ScriptedUpstream]) -> None:
        self._servers = servers

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._servers[request.url.host].handle_async_request(request)

    async def aclose(self) -> None:
        for server in self._servers.values():
            server.closed += 1
        await trio.lowlevel.checkpoint()


async def test_the_preferred_one_is_asked_for_exactly_the_target(
    autojump_clock: "MockClock",
) -> None:
    pair = Pair()
    answer = await pair.fetch(f"{X}?_HLS_msn=1&_HLS_part=2")
    assert answer.status == 404
    assert (await pair.fetch()).body == b"from 0"
    assert pair.second.asked == []
    request = pair.first.requests[0]
    assert request.url.raw_path.decode() == f"{X}?_HLS_msn=1&_HLS_part=2"
    assert dict(request.headers) == {
        "host": "up0",
        "user-agent": "headrace-edge",
        "accept-encoding": "identity",
        "via": "1.1 me",
    }
    assert request.extensions["timeout"] == {"connect": 2.0}


def refuse(server: ScriptedUpstream) -> None:
    server.is_down = True


def break_off(server: ScriptedUpstream) -> None:
    server.put(X, error=httpx.RemoteProtocolError("reset"))


def cut_short(server: ScriptedUpstream) -> None:
    server.put(X, b"0123456789", cut_at=5, pieces=2)


def hang(server: ScriptedUpstream) -> None:
    server.put(X, after=trio.Event())


def fail(server: ScriptedUpstream) -> None:
    server.put(X, status=502)


def say_not_now(server: ScriptedUpstream) -> None:
    server.put(X, status=503)


def say_too_many(server: ScriptedUpstream) -> None:
    server.put(X, status=429)


def pack(server: ScriptedUpstream) -> None:
    server.put(X, b"xx", fields={"Content-Encoding": "gzip"})


def tell_no_length(server: ScriptedUpstream) -> None:
    server.put(X, b"xx", is_framed=False)


def lie_about_length(server: ScriptedUpstream) -> None:
    server.put(X, b"xx", fields={"Content-Length": "2, 2"})


FAULTS = [refuse, break_off, cut_short, hang, fail, pack, tell_no_length, lie_about_length]


@pytest.mark.parametrize("fault", [*FAULTS, say_not_now, say_too_many])
async def test_the_next_one_answers_in_the_same_call(
    autojump_clock: "MockClock", fault: Callable[[ScriptedUpstream], None]
) -> None:
    pair = Pair()
    fault(pair.first)
    began_s = trio.current_time()
    assert (await pair.fetch()).body == b"from 1"
    assert trio.current_time() - began_s == pytest.approx(4.0 if fault is hang else 0.0)
    assert pair.upstreams.counters.failovers == 1
    assert pair.upstreams.counters.errors == (fault in FAULTS)


@pytest.mark.parametrize("fault", FAULTS)
async def test_when_all_fail_it_is_one_error(
    autojump_clock: "MockClock", fault: Callable[[ScriptedUpstream], None]
) -> None:
    pair = Pair()
    for server in pair.servers:
        fault(server)
    with pytest.raises(UpstreamError):
        await pair.fetch()
    assert pair.first.count(X) == pair.second.count(X) == 1


@pytest.mark.parametrize("fault", [say_not_now, say_too_many])
async def test_words_are_the_answer_if_nobody_knows_better(
    autojump_clock: "MockClock", fault: Callable[[ScriptedUpstream], None]
) -> None:
    pair = Pair()
    for server in pair.servers:
        fault(server)
    for _ in range(2 * MAX_FAILURES):
        assert (await pair.fetch(patience_s=5.0)).status in (429, 503)
    assert pair.upstreams.is_reachable


async def test_the_time_in_all_is_bounded(autojump_clock: "MockClock") -> None:
    pair = Pair(count=5)
    for server in pair.servers:
        hang(server)
    began_s = trio.current_time()
    with pytest.raises(UpstreamError):
        await pair.fetch(timeout_s=10.0, attempt_s=4.0)
    assert trio.current_time() - began_s == pytest.approx(10.0)
    assert [server.count(X) for server in pair.servers] == [1, 1, 1, 0, 0]
    assert not any(server.under_way[X] for server in pair.servers)


async def test_one_that_refuses_is_not_asked_until_its_health_is_good(
    autojump_clock: "MockClock",
) -> None:
    pair = Pair()
    async with pair.running():
        pair.first.is_down = True
        await pair.fetch()
        await trio.testing.wait_all_tasks_blocked()  # its health has been asked for
        for _ in range(5):
            assert (await pair.fetch()).body == b"from 1"
        assert pair.first.count(X) == 1
        probes = pair.first.probes
        await trio.sleep(10)
        assert pair.first.count(X) == 1
        assert 10 <= pair.first.probes - probes <= 15  # after 0.1 s, 0.2 s, ... then one a second
        pair.first.is_down = False
        await trio.sleep(1.1)
        assert (await pair.fetch()).body == b"from 0"


async def test_some_failures_in_a_row_are_enough(autojump_clock: "MockClock") -> None:
    pair = Pair()
    for _ in range(MAX_FAILURES - 1):
        fail(pair.first)
        await pair.fetch()
    pair.first.put(X, b"well")
    assert (await pair.fetch()).body == b"well"  # and they do not count any more
    fail(pair.first)
    for _ in range(MAX_FAILURES + 2):
        await pair.fetch()
    assert pair.first.count(X) == 2 * MAX_FAILURES


async def test_late_is_no_failure_while_its_health_is_good(autojump_clock: "MockClock") -> None:
    pair = Pair()
    hang(pair.first)
    async with pair.running():
        for number in range(1, 2 * MAX_FAILURES):
            assert (await pair.fetch()).body == b"from 1"
            assert pair.first.count(X) == number


@pytest.mark.parametrize("status", [404, 500])
async def test_health_is_asked_for_in_good_times_too(
    autojump_clock: "MockClock", status: int
) -> None:
    pair = Pair()
    async with pair.running():
        pair.first.scripts["/health"].status = status
        await trio.sleep(PROBE_EVERY_S + 0.01)
        assert (await pair.fetch()).body == b"from 1"
        assert pair.first.asked == []


async def test_one_that_hangs_is_found_out_and_what_it_holds_is_taken_elsewhere(
    autojump_clock: "MockClock",
) -> None:
    pair = Pair()
    async with pair.running():
        hang(pair.first)
        pair.first.scripts["/health"].after = trio.Event()
        began_s = trio.current_time()
        answer = await pair.fetch(timeout_s=60.0, attempt_s=50.0, is_held=True)
        assert answer.body == b"from 1"
        assert trio.current_time() - began_s <= PROBE_EVERY_S + 2 * PROBE_TIMEOUT_S + 0.01
        assert pair.first.under_way[X] == 0


async def test_one_slow_probe_is_no_verdict(autojump_clock: "MockClock") -> None:
    pair = Pair(count=1)
    health = pair.first.scripts["/health"]
    health.after = trio.Event()
    async with pair.running():
        await trio.sleep(PROBE_TIMEOUT_S + 0.01)
        health.after.set()
        await trio.testing.wait_all_tasks_blocked()
        assert pair.first.probes == 2
        assert (await pair.fetch()).body == b"from 0"


async def test_a_probe_is_not_waited_for_for_ever(autojump_clock: "MockClock") -> None:
    pair = Pair(count=1)
    pair.first.scripts["/health"].after = trio.Event()
    async with pair.running():
        assert pair.upstreams.is_reachable  # nothing else is known
        await trio.sleep(2 * PROBE_TIMEOUT_S + 0.01)
        assert not pair.upstreams.is_reachable


async def test_who_is_patient_goes_on_when_one_comes_back(autojump_clock: "MockClock") -> None:
    pair = Pair()
    async with pair.running():
        for server in pair.servers:
            server.is_down = True
        got: list[bytes] = []

        async def wait() -> None:
            got.append((await pair.fetch(timeout_s=30.0, patience_s=20.0)).body)

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(wait)
            await trio.sleep(5)
            assert got == []
            asked = pair.first.count(X)
            await trio.sleep(5)
            assert pair.first.count(X) == asked  # nobody knocks but the probes
            pair.second.is_down = False
        assert got == [b"from 1"] * 100


async def test_patience_ends(autojump_clock: "MockClock") -> None:
    pair = Pair(count=1)
    fail(pair.first)
    async with pair.running():
        pair.first.scripts["/health"].status = 404
        began_s = trio.current_time()
        with pytest.raises(UpstreamError):
            await pair.fetch(timeout_s=30.0, patience_s=3.0)
        assert 3.0 <= trio.current_time() - began_s <= 4.1
        assert pair.first.count(X) <= MAX_FAILURES


async def test_a_hiccup_is_asked_again_at_once(autojump_clock: "MockClock") -> None:
    """A connection that the upstream closed while it was idle."""
    pair = Pair(count=1)
    break_off(pair.first)
    async with pair.running(), trio.open_nursery() as nursery:

        async def mend() -> None:
            while not pair.first.asked:
                await trio.lowlevel.checkpoint()
            pair.first.put(X, b"well")

        nursery.start_soon(mend)
        began_s = trio.current_time()
        assert (await pair.fetch(patience_s=3.0)).body == b"well"
        assert trio.current_time() - began_s < 0.1


# --- calls of the API


async def test_a_call_is_passed_on_whole(autojump_clock: "MockClock") -> None:
    pair = Pair()
    pair.first.put("/api/streams?x=1", b"{}", status=201)
    answer = await pair.upstreams.call(
        "POST", "/api/streams?x=1", {"Authorization": "B x"}, b"body"
    )
    assert answer.status == 201
    request = pair.first.requests[0]
    assert (request.method, request.content) == ("POST", b"body")
    assert request.headers["content-length"] == "4"
    assert request.headers["authorization"] == "B x"


@pytest.mark.parametrize(
    ("method", "fault", "asked"),
    [
        ("POST", refuse, 1),
        ("GET", break_off, 1),
        ("GET", fail, 1),
        ("POST", break_off, 0),
        ("DELETE", cut_short, 0),
        ("PATCH", fail, 0),
        ("POST", hang, 0),
    ],
)
async def test_what_may_have_been_done_is_not_done_again(
    autojump_clock: "MockClock",
    method: str,
    fault: Callable[[ScriptedUpstream], None],
    asked: int,
) -> None:
    pair = Pair()
    fault(pair.first)
    try:
        await pair.upstreams.call(method, X, {}, b"")
    except UpstreamError:
        assert not asked
    assert pair.second.count(X) == asked


# --- their addresses


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("https://origin.example", "https://origin.example"),
    ],
)
def test_addresses(url: str, expected: str) -> None:
    assert parse_upstream(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "origin:8080",
        "ftp://origin",
        "http://",
        "http://user:word@origin",
        "http://origin/prefix",
        "http://origin/?a=b",
        "http://origin/#a",
        "http://origin:port",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|upstream"):
        parse_upstream(url)


def test_via_says_who_passed_it_on() -> None:
    assert via_line(None, "b") == "1.1 b"
    assert via_line("1.1 a", "b") == "1.1 a, 1.1 b"
