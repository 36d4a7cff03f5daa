"""Who is told of viewers, and how a playback token gets a connection its pass.

Over real sockets, so that the reactor has its part; without it (HEADRACE_PURE=1) the same holds,
request by request. Nothing here looks at a clock but the time a pass is good for, which is cut.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest
import trio
from h2_peer import H2Peer
from http_peers import HttpPeer
from structlog.testing import capture_logs

import native
from edge.http.h2_connection import Http2Connection
from edge.http.messages import MAX_PASS_S, Answer, Call, Hold, HttpError, Pass, Peer, Request
from edge.http.response import DateLine, Response, error_response, make_response
from edge.http.server import Figures, serve_http
from edge.http.settings import HttpSettings
from edge.http.watching import SafeAudience, believed_address, note_request, pass_of
from edge.life import Life
from edge.table import ResponseTable
from native import fnv1a

HAS_REACTOR = native.IMPLEMENTATION == "c"
ROOT = "/api/streams/one/"
LOCKED = "/api/streams/locked/"
GOOD = f"{LOCKED}~good/q/playlist.m3u8"
DENIED = error_response(403, "not for you", code="playbackDenied")


class Note(NamedTuple):
    """One call of `Audience.note`."""

    stream_id: str
    client: str
    agent: int
    cmcd: str
    blocking: int
    plain: int


class Notes:
    """An audience that remembers."""

    def __init__(self) -> None:
        self.all: list[Note] = []

    def note(
        self, *, stream_id: str, client: str, agent: int, cmcd: str, blocking: int, plain: int
    ) -> None:
        self.all.append(Note(stream_id, client, agent, cmcd, blocking, plain))

    def total(self, stream_id: str) -> tuple[int, int]:
        """Blocking and plain requests of a stream, in all."""
        mine = [note for note in self.all if note.stream_id == stream_id]
        return sum(note.blocking for note in mine), sum(note.plain for note in mine)


class Theatre:
    """One stream for everybody, one for who has a good token; counts what it is asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.good = {b"good"}
        self.pass_s = 5.0
        self.life = Life()
        self.table: ResponseTable[str] = ResponseTable()

    def route(self, request: Request) -> Answer:
        self.asked[f"{request.path}{'!' if request.is_admitted else ''}"] += 1
        path = request.path
        token = self.token_of(request)
        if path.startswith(LOCKED) and not request.is_admitted and token not in self.good:
            return DENIED
        if path.endswith("held.m4s"):
            return Hold(self.table.gate("held"), 60.0, DENIED)
        if path.endswith("call.m4s"):
            return Call(self.call)
        if path.endswith("bug.m4s"):
            raise ZeroDivisionError("a bug")
        if path.endswith("missing/playlist.m3u8"):
            raise HttpError(404, "nothing here")
        return make_response(200, (b"fine",), life=self.life, packable=True)

    async def call(self, request: Request, body: bytes) -> Response:
        await trio.lowlevel.checkpoint()
        return make_response(200, (b"called",))

    @staticmethod
    def token_of(request: Request) -> bytes:
        match request.path.split("/"):
            case ["", "api", "streams", _, token, *_] if token.startswith("~"):
                return token[1:].encode()
        return b""

    def pass_of(self, request: Request) -> Pass | None:
        token = self.token_of(request)
        if token not in self.good:
            return None
        return Pass(request.path.split("/")[3], token, trio.current_time() + self.pass_s)


class House:
    """A server on loopback, and clients of it."""

    def __init__(self, port: int, figures: Figures) -> None:
        self.figures = figures
        self._port = port
        self._streams: list[trio.SocketStream] = []

    async def connect(self) -> HttpPeer:
        stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        self._streams.append(stream)
        return HttpPeer(stream)

    def close(self) -> None:
        for stream in self._streams:
            stream.socket.close()


@asynccontextmanager
async def serving(theatre: Theatre, notes: Notes | None) -> AsyncIterator[House]:
    """Serve until the block ends."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            serve = partial(serve_http, listeners, theatre, audience=notes)
            house = House(port, await nursery.start(serve))
            try:
                yield house
                nursery.cancel_scope.cancel()
            finally:
                house.close()


async def fetch(peer: HttpPeer, target: str, times: int = 1, fields: str = "") -> list[int]:
    """Ask so many times; the statuses."""
    return [(await peer.get(target, fields=fields)).status for _ in range(times)]


# --- what one request tells


def noted(target: str, *fields: tuple[bytes, bytes], status: int = 200, **how: Any) -> list[Note]:
    notes = Notes()
    request = Request(how.pop("method", "GET"), target, list(fields), **how)
    note_request(notes, request, status)
    return notes.all


def test_a_bug_in_who_counts_is_logged_once_and_serves_on() -> None:
    class Broken:
        def note(self, **_what: Any) -> None:
            raise ZeroDivisionError

    safe = SafeAudience(Broken())
    with capture_logs() as logs:
        for _ in range(3):
            note_request(safe, Request("GET", f"{ROOT}q/playlist.m3u8", []), 200)
    assert [line["log_level"] for line in logs] == ["error"]


def test_a_playlist_request_is_noted_with_all_that_says_who_it_is() -> None:
    agent = (b"user-agent", b"VLC \xe9")
    peer = Peer("192.0.2.1")
    assert noted(f"{ROOT}q/playlist.m3u8?CMCD=sid%3D1", agent, peer=peer) == [
        Note("one", "192.0.2.1", fnv1a(b"VLC \xe9"), "sid%3D1", 0, 1)
    ]
    assert noted(f"{ROOT}~t/q/playlist.m3u8?x=1&_HLS_msn=4") == [Note("one", "", 0, "", 1, 0)]
    assert noted(f"{ROOT}q/ts.m3u8") == [Note("one", "", 0, "", 0, 1)]


def test_a_proxy_is_believed_and_others_are_not() -> None:
    forwarded = (b"x-forwarded-for", b"::1, 192.0.2.9")
    for is_proxy, client in ((True, "192.0.2.9"), (False, "192.0.2.1")):
        peer = Peer("192.0.2.1", is_proxy)
        [note] = noted(f"{ROOT}q/playlist.m3u8", forwarded, peer=peer)
        assert note.client == client
    assert believed_address(" 192.0.2.9\t", "x") == "192.0.2.9"
    assert believed_address("not one", "x") == "x"
    assert believed_address("", "x") == "x"


@pytest.mark.parametrize(
    ("target", "fields", "cmcd"),
    [
        ("q/p.m4s?CMCD=br%3D1", (), "br%3D1"),
        ("q/p.m4s?CMCD=a&CMCD=b", (), "a"),
        ("q/p.m4s", ((b"cmcd-session", b'sid="a b"'),), "sid%3D%22a%20b%22"),
        (
            "q/p.m4s",
            ((b"cmcd-session", b"sid=1"), (b"cmcd-object", b"br=2"), (b"cmcd-status", b"bs")),
            "br%3D2%2Csid%3D1%2Cbs",
        ),
        ("q/p.m4s?CMCD=q", ((b"cmcd-session", b"sid=1"),), "q"),
        ("q/playlist.m3u8?CMCD=" + "x" * 512, (), "x" * 512),
        ("q/playlist.m3u8?CMCD=" + "x" * 513, (), ""),
    ],
)
def test_cmcd_comes_as_in_a_query(
    target: str, fields: tuple[tuple[bytes, bytes], ...], cmcd: str
) -> None:
    [note] = noted(ROOT + target, *fields)
    assert note.cmcd == cmcd
    assert note.plain == ("playlist" in target)


@pytest.mark.parametrize(
    "target",
    [
        *("/", "/health", "/api/streams", "/api/streams/", "/api/streams/one?CMCD=a"),
        *("/api/streams/playlist.m3u8", "/api/streams//playlist.m3u8", f"{ROOT}q/p.m4s"),
        *(f"{ROOT}q/p.m4s?CMCD=", f"{ROOT}q/p.m4s?CMCD=" + "x" * 513, f"{ROOT}chat?CMCD=a"),
        *(f"{ROOT}master.m3u8", "/watch/one/playlist.m3u8", f"{ROOT}q/?CMCD=a"),
        f"/api/streams/{'s' * 65}/q/playlist.m3u8",
    ],
)
def test_other_requests_tell_nothing(target: str) -> None:
    assert noted(target) == []


def test_only_who_gets_something_watches() -> None:
    target = f"{ROOT}q/playlist.m3u8"
    assert noted(target, status=304) == noted(target, status=200) == [Note("one", "", 0, "", 0, 1)]
    for status in (400, 403, 404, 429, 500, 503):
        assert noted(target, status=status) == []
    assert noted(target, method="HEAD") == noted(target, method="POST") == []


# --- over connections


@pytest.mark.parametrize("by_h11", [False, True])
async def test_all_ways_of_serving_tell_the_same(by_h11: bool) -> None:
    """`TE` makes a request one for h11."""
    theatre, notes = Theatre(), Notes()
    fields = "User-Agent: VLC\r\n" + "TE: x\r\n" * by_h11
    async with serving(theatre, notes) as house:
        peer = await house.connect()
        await fetch(peer, f"{ROOT}q/playlist.m3u8", 3, fields)
        await fetch(peer, f"{ROOT}q/playlist.m3u8?_HLS_msn=1", 2, fields)
        await fetch(peer, f"{ROOT}missing/playlist.m3u8", 2, fields)
        await fetch(peer, f"{ROOT}q/p.m4s", 2, fields)
        assert house.figures.adopted == (HAS_REACTOR and not by_h11)
    assert notes.total("one") == (2, 3)
    assert {note[:4] for note in notes.all} == {("one", "127.0.0.1", fnv1a(b"VLC"), "")}
    assert len(notes.all) == (2 if HAS_REACTOR and not by_h11 else 5)


async def test_http2_tells_the_same(autojump_clock: trio.testing.MockClock) -> None:
    notes = Notes()
    ours, theirs = trio.testing.memory_stream_pair()
    connection = Http2Connection(
        theirs, Theatre(), settings=HttpSettings(), date=DateLine(), audience=notes
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        peer = H2Peer(ours)
        await peer.start()
        for target in ("q/playlist.m3u8", "q/playlist.m3u8?_HLS_msn=1", "missing/playlist.m3u8"):
            await peer.get(ROOT + target)
        await peer.get(GOOD)
        await peer.get(GOOD.replace("good", "bad"))
        nursery.cancel_scope.cancel()
    assert notes.all == [
        Note("one", "", 0, "", 0, 1),
        Note("one", "", 0, "", 1, 0),
        Note("locked", "", 0, "", 0, 1),
    ]


async def test_viewers_behind_a_proxy_are_told_apart() -> None:
    notes = Notes()
    async with serving(Theatre(), notes) as house:
        peer = await house.connect()  # from loopback, which is trusted
        for number in (1, 2, 1):
            address = f"X-Forwarded-For: 9.9.9.9, 192.0.2.{number}\r\n"
            await fetch(peer, f"{ROOT}q/playlist.m3u8", 2, address)
        assert house.figures.adopted == HAS_REACTOR
    told: Counter[str] = Counter()
    for note in notes.all:
        told[note.client] += note.plain
    assert told == {"192.0.2.1": 4, "192.0.2.2": 2}


async def test_who_leaves_is_told_before_it_is_forgotten() -> None:
    theatre, notes = Theatre(), Notes()
    async with serving(theatre, notes) as house:
        peer = await house.connect()
        await fetch(peer, f"{ROOT}q/playlist.m3u8", 4)
        await peer.stream.aclose()
        while house.figures.connections:
            await trio.lowlevel.checkpoint()
        assert notes.total("one") == (0, 4)


async def test_without_an_audience_nothing_is_told() -> None:
    async with serving(Theatre(), None) as house:
        peer = await house.connect()
        assert await fetch(peer, f"{ROOT}q/playlist.m3u8", 3) == [200] * 3


# --- passes


async def test_a_token_is_judged_once_and_then_the_reactor_serves() -> None:
    theatre, notes = Theatre(), Notes()
    async with serving(theatre, notes) as house:
        peer = await house.connect()
        assert await fetch(peer, GOOD, 6) == [200] * 6
        plain = GOOD.replace("~good/", "")
        if HAS_REACTOR:
            assert theatre.asked == {GOOD: 1, f"{plain}!": 1}
            assert house.figures.adopted == 1
        assert await fetch(peer, plain, 2) == [403, 403]
        assert await fetch(peer, GOOD) == [200]
    assert notes.total("locked") == (0, 7)


@pytest.mark.skipif(not HAS_REACTOR, reason="HEADRACE_PURE=1 has no passes")
async def test_what_one_was_let_in_to_is_nobody_else_s() -> None:
    theatre = Theatre()
    async with serving(theatre, Notes()) as house:
        friend, stranger = await house.connect(), await house.connect()
        assert await fetch(friend, GOOD, 3) == [200] * 3
        for target in (GOOD.replace("good", "bad"), GOOD.replace("~good/", "")):
            assert await fetch(stranger, target, 3) == [403] * 3
            assert await fetch(friend, target, 2) == [403] * 2
        assert await fetch(friend, GOOD, 3) == [200] * 3


@pytest.mark.skipif(not HAS_REACTOR, reason="HEADRACE_PURE=1 has no passes")
async def test_a_pass_is_for_one_stream() -> None:
    """Another stream's request with the same token is judged, and the next one has its pass."""
    theatre = Theatre()
    other = GOOD.replace("/locked/", "/other/")
    async with serving(theatre, Notes()) as house:
        peer = await house.connect()
        for target in (GOOD, other, GOOD):
            assert await fetch(peer, target, 3) == [200] * 3
    # The first of three is h11's, the second the reactor's first, which keeps it for the third.
    shown = {target: target.replace("~good/", "") + "!" for target in (GOOD, other)}
    assert theatre.asked == {GOOD: 2, other: 1, shown[GOOD]: 1, shown[other]: 1}


@pytest.mark.skipif(not HAS_REACTOR, reason="HEADRACE_PURE=1 has no passes")
async def test_when_a_pass_is_over_the_token_is_judged_again() -> None:
    theatre = Theatre()
    theatre.pass_s = 0.05
    async with serving(theatre, Notes()) as house:
        peer = await house.connect()
        assert await fetch(peer, GOOD, 2) == [200, 200]
        theatre.good.clear()
        while (await fetch(peer, GOOD)) == [200]:
            pass  # for 0.05 s at most, which is what a pass is for; the deadline of `serving`
        assert await fetch(peer, GOOD, 3) == [403] * 3
        assert house.figures.connections == 1


@pytest.mark.skipif(not HAS_REACTOR, reason="HEADRACE_PURE=1 has no passes")
async def test_a_pass_is_cut_to_its_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.http.delivery.MAX_PASS_S", 0.05)
    theatre = Theatre()
    theatre.pass_s = 1e9
    async with serving(theatre, Notes()) as house:
        peer = await house.connect()
        await fetch(peer, GOOD, 2)
        theatre.good.clear()
        while (await fetch(peer, GOOD)) == [200]:
            pass
    assert MAX_PASS_S == 10


@pytest.mark.skipif(not HAS_REACTOR, reason="HEADRACE_PURE=1 has no passes")
async def test_a_pass_that_is_over_already_is_none() -> None:
    theatre = Theatre()
    theatre.pass_s = -1
    async with serving(theatre, Notes()) as house:
        peer = await house.connect()
        assert await fetch(peer, GOOD, 3) == [200] * 3
        assert house.figures.adopted == 0
        assert theatre.asked == {GOOD: 3}


async def test_behind_a_proxy_every_token_is_judged() -> None:
    theatre = Theatre()
    async with serving(theatre, Notes()) as house:
        peer = await house.connect()
        address = "X-Forwarded-For: 192.0.2.1\r\n"
        assert await fetch(peer, GOOD, 3, address) == [200] * 3
        assert theatre.asked == {GOOD: 3}
        theatre.good.clear()
        assert await fetch(peer, GOOD, 1, address) == [403]


async def test_calls_and_held_requests_with_a_token() -> None:
    theatre = Theatre()
    async with serving(theatre, Notes()) as house:
        peer = await house.connect()
        assert await fetch(peer, GOOD, 2) == [200] * 2
        assert (await peer.get(f"{LOCKED}~good/call.m4s")).body == b"called"
        assert await fetch(peer, GOOD, 2) == [200] * 2
        await peer.send(f"GET {LOCKED}~good/held.m4s HTTP/1.1\r\nHost: a\r\n\r\n")
        while not theatre.table.waiting:
            await trio.lowlevel.checkpoint()
        assert house.figures.parked == HAS_REACTOR
        theatre.table.gate("held").open(make_response(200, (b"here",)))
        assert (await peer.answer()).body == b"here"


def test_an_application_without_gates_gives_no_pass() -> None:
    class Open:
        def route(self, request: Request) -> Answer:
            return DENIED

    request = Request("GET", GOOD)
    assert pass_of(Open(), request) is None
    assert pass_of(Theatre(), None) is None
    proxied = Request("GET", GOOD, [(b"x-forwarded-for", b"::1")], Peer("::2", is_proxy=True))
    assert pass_of(Theatre(), proxied) is None


# --- secrets


@pytest.mark.parametrize("fields", ["", "TE: x\r\n"])
async def test_a_token_is_in_no_log(fields: str, logged: list[Any]) -> None:
    async with serving(Theatre(), Notes()) as house:
        peer = await house.connect()
        await fetch(peer, GOOD, 2)
        assert await fetch(peer, f"{LOCKED}~good/bug.m4s", 2, fields) == [500, 500]
    assert len(logged) == 2
    assert "good" not in repr(logged)


def test_the_path_for_logs() -> None:
    shown = Request("GET", "/api/streams/s/~a.b-c/q/~x?token=1").shown_path
    assert shown == "/api/streams/s/~/q/~"
    assert Request("GET", "/api/streams/s/q~/x.m4s").shown_path == "/api/streams/s/q~/x.m4s"
