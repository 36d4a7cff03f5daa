"""HTTP-FLV: who gets the source of a stream, what it gets, and when it ends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from http_peers import HttpPeer, error_of
from structlog.testing import capture_logs
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from control import AdminToken, StoreError, Stream, StreamStatus
from edge.api.operation import ALL_SCOPES, Principal
from edge.api.router import ApiRouter
from edge.errors import Unavailable
from edge.guesses import GUESSES_BURST, Guesses
from edge.http.connection import HttpConnection
from edge.http.messages import Answer, Request
from edge.http.response import DateLine
from edge.http.settings import HttpSettings
from origin.relay.access import MAX_FIELDS, NoSourceError, SourceAccess
from origin.relay.http_flv import SEND_TIMEOUT_S, HttpFlv
from origin.relay.tap import MAX_FOLLOWERS, Tap, Taps
from rtmpcore import AudioMessage, VideoMessage

KEY = "live_0123456789abcdef0123456789abcdef"
CLIENT = "192.0.2.1"
ADMIN = "an-admin-token-of-some-length"
AVC = b"\x17\x00\x00\x00\x00avcC"
IDR = b"\x17\x01\x00\x00\x00idr"
INTER = b"\x27\x01\x00\x00\x00p"
AAC = b"\xaf\x00\x11\x90"


class FakeStore:
    """One stream, "s"."""

    def __init__(self) -> None:
        self.fails = False

    async def get_stream(self, stream_id: str) -> Stream | None:
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise StoreError("disk on fire")
        return make_stream() if stream_id == "s" else None

    async def verify_key(self, stream_id: str, stream_key: str) -> bool:
        return (stream_id, stream_key) == ("s", KEY)

    async def find_by_key(self, stream_key: str) -> Stream | None:
        return make_stream() if stream_key == KEY else None


def make_stream() -> Stream:
    return Stream(
        id="s",
        broadcaster_id="b",
        title="t",
        chat_enabled=True,
        recording_enabled=False,
        status=StreamStatus.LIVE,
        started_at=0.0,
        ended_at=None,
        created_at=0.0,
    )


class Gate:
    """Knows the two credentials."""

    def __init__(self, store: FakeStore) -> None:
        self.store = store

    async def identify(
        self, credential: str, *, stream_id: str | None, client: str
    ) -> Principal | None:
        await trio.lowlevel.checkpoint()
        if self.store.fails:
            raise Unavailable
        if credential == ADMIN:
            return Principal("admin", scopes=ALL_SCOPES)
        return Principal("key", stream_id="s") if (stream_id, credential) == ("s", KEY) else None

    async def knows_stream(self, stream_id: str) -> bool:
        return stream_id == "s"


class House:
    def __init__(self) -> None:
        self.store = FakeStore()
        self.taps = Taps()
        self.guesses = Guesses()
        self.access = SourceAccess(
            taps=self.taps,
            store=self.store,  # type: ignore[arg-type] # three methods are called
            admin_token=AdminToken(ADMIN),
            guesses=self.guesses,
        )
        self.router = ApiRouter(Gate(self.store), HttpFlv(self.taps).operations)

    def publish(self) -> Tap:
        tap = self.taps.open("s")
        for message in (video(AVC), audio(AAC), video(IDR, 40)):
            tap.push(message)
        return tap

    def route(self, request: Request) -> Answer:
        answer = self.router.route(request)
        assert answer is not None
        return answer


def video(payload: bytes, timestamp_ms: int = 0) -> VideoMessage:
    return VideoMessage(stream_id=1, timestamp_ms=timestamp_ms, payload=payload)


def audio(payload: bytes, timestamp_ms: int = 0) -> AudioMessage:
    return AudioMessage(stream_id=1, timestamp_ms=timestamp_ms, payload=payload)


def tag(type_id: int, timestamp_ms: int, body: bytes) -> bytes:
    """An FLV tag of a time below 16,777,216 ms, after annex E.4.1."""
    size, time = len(body).to_bytes(3, "big"), timestamp_ms.to_bytes(3, "big")
    back = (11 + len(body)).to_bytes(4, "big")
    return bytes([type_id]) + size + time + bytes(4) + body + back


def chunks(*bodies: bytes) -> bytes:
    """A body's pieces as RFC 9112 section 7.1 frames them."""
    return b"".join([b"%x\r\n%b\r\n" % (len(body), body) for body in bodies])


PATH = "/api/streams/s/source.flv"
WRONG = "the stream key or token is missing or wrong"
LAST = b"0\r\n\r\n"
FLV_AV = b"FLV\x01\x05\0\0\0\x09\0\0\0\0"
FLV_NOTHING = b"FLV\x01\x00\0\0\0\x09\0\0\0\0"
FLV_V = b"FLV\x01\x01\0\0\0\x09\0\0\0\0"


@asynccontextmanager
async def connected(house: House) -> AsyncIterator[HttpPeer]:
    ours, theirs = memory_stream_pair()
    connection = HttpConnection(theirs, house, settings=HttpSettings(), date=DateLine())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        yield HttpPeer(ours)


async def ask(peer: HttpPeer, *, method: str = "GET", token: str = KEY) -> None:
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    await peer.send(f"{method} /api/streams/s/source.flv HTTP/1.1\r\nHost: test\r\n{bearer}\r\n")


async def read_head(peer: HttpPeer) -> tuple[list[str], bytes]:
    """The lines of the head, and what of the body came with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await peer.stream.receive_some()
    head, _, body = data.partition(b"\r\n\r\n")
    return head.decode().split("\r\n"), body


async def read_to_end(peer: HttpPeer) -> bytes:
    data = b""
    while received := await peer.stream.receive_some():
        data += received
    return data


@pytest.mark.parametrize("token", [KEY, ADMIN])
async def test_key_and_admin_token_open_the_source(token: str) -> None:
    house = House()
    tap = house.publish()
    with capture_logs() as lines:
        async with connected(house) as peer:
            await ask(peer, token=token)
            lines_of_head, body = await read_head(peer)
            assert lines_of_head[0] == "HTTP/1.1 200 OK"
            assert "Content-Type: video/x-flv" in lines_of_head
            assert "Connection: close" in lines_of_head
            assert "Cache-Control: no-store" in lines_of_head
            assert "Transfer-Encoding: chunked" in lines_of_head
            assert not any(line.startswith("Content-Length") for line in lines_of_head)
            first = tag(9, 40, AVC) + tag(8, 40, AAC) + tag(9, 40, IDR)
            assert body == chunks(FLV_AV, first)
            tap.push(video(INTER, 80))
            assert await peer.stream.receive_some() == chunks(tag(9, 80, INTER))
            tap.close()
            assert await read_to_end(peer) == LAST
    assert [line["event"] for line in lines] == ["monitor began", "monitor ended"]
    assert lines[1]["reason"] == "publisher gone"
    assert token not in repr(lines)


async def test_the_file_announces_the_tracks_that_come() -> None:
    house = House()
    tap = house.taps.open("s")
    with capture_logs():
        async with connected(house) as peer:
            await ask(peer)
            await wait_all_tasks_blocked()
            tap.push(video(AVC))
            tap.push(video(IDR))
            _, body = await read_head(peer)
            assert body == chunks(FLV_V, tag(9, 0, AVC) + tag(9, 0, IDR))
            tap.close()


async def test_a_publisher_that_never_sent_anything_ends_in_an_empty_answer() -> None:
    house = House()
    tap = house.taps.open("s")
    with capture_logs() as lines:
        async with connected(house) as peer:
            await ask(peer)
            await wait_all_tasks_blocked()
            tap.close()
            _, body = await read_head(peer)
            assert body + await read_to_end(peer) == chunks(FLV_NOTHING) + LAST
    assert lines[1]["reason"] == "publisher gone"


async def test_head_is_answered_without_a_body() -> None:
    house = House()
    house.publish()
    with capture_logs():
        async with connected(house) as peer:
            await ask(peer, method="HEAD")
            head, body = await read_head(peer)
            assert head[0] == "HTTP/1.1 200 OK"
            assert body + await read_to_end(peer) == b""


@pytest.mark.parametrize(
    ("path", "token", "status", "reason"),
    [
        (PATH, "", 401, WRONG),
        (PATH, "live_wrong", 401, WRONG),
        ("/api/streams/unknown/source.flv", KEY, 401, WRONG),
        ("/api/streams/unknown/source.flv", ADMIN, 404, "no such stream"),
        (PATH, KEY, 404, "the stream has no publisher now"),
    ],
)
async def test_who_gets_nothing_is_told_why_and_may_ask_on(
    path: str, token: str, status: int, reason: str
) -> None:
    house = House()
    if token != KEY:
        house.publish()
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    async with connected(house) as peer:
        for _ in range(2):  # on the same connection
            answer = await peer.get(path, fields=bearer)
            assert (answer.status, error_of(answer)) == (status, reason)
            assert ("www-authenticate" in answer.fields) is (status == 401)
        await peer.stream.aclose()


async def test_a_store_that_fails_is_503() -> None:
    house = House()
    house.store.fails = True
    async with connected(house) as peer:
        answer = await peer.get(PATH, fields=f"Authorization: Bearer {KEY}\r\n")
        assert (answer.status, answer.fields["retry-after"]) == (503, "5")
        await peer.stream.aclose()


async def test_too_many_monitors_are_503() -> None:
    house = House()
    tap = house.publish()
    for _ in range(MAX_FOLLOWERS):
        tap.follow()
    async with connected(house) as peer:
        answer = await peer.get(PATH, fields=f"Authorization: Bearer {KEY}\r\n")
        assert (answer.status, error_of(answer)) == (503, "too many follow this stream")
        await peer.stream.aclose()


async def test_a_client_that_leaves_is_noticed_while_the_source_is_quiet() -> None:
    house = House()
    tap = house.publish()
    with capture_logs() as lines:
        async with connected(house) as peer:
            await ask(peer)
            await read_head(peer)
            await peer.send(
                "GET /api/streams/s/source.flv HTTP/1.1\r\nHost: test\r\n\r\n"
            )  # to no effect
            await wait_all_tasks_blocked()
            await peer.stream.aclose()
    assert lines[-1]["reason"] == "closed by the client"
    assert [tap.follow() for _ in range(MAX_FOLLOWERS)]  # its place is free


async def test_a_client_that_takes_nothing_is_cut_off(autojump_clock: MockClock) -> None:
    house = House()
    house.publish()
    ours, theirs = trio.testing.lockstep_stream_pair()
    peer = HttpPeer(ours)
    connection = HttpConnection(theirs, house, settings=HttpSettings(), date=DateLine())
    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            await ask(peer)
            began_s = trio.current_time()
    assert lines[-1]["reason"] == f"took nothing for {SEND_TIMEOUT_S:g} s"
    assert trio.current_time() - began_s == SEND_TIMEOUT_S


async def test_a_connection_that_breaks_ends_in_peace() -> None:
    house = House()
    house.publish()
    ours, theirs = memory_stream_pair()
    connection = HttpConnection(theirs, house, settings=HttpSettings(), date=DateLine())
    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            await ask(HttpPeer(ours))
            await ours.receive_stream.aclose()
            nursery.start_soon(connection.run)
    assert lines[-1]["reason"] == "connection lost"


# -- names of RTMP players


@pytest.mark.parametrize(
    ("name", "query"), [(KEY, ""), (KEY, "x=1"), ("s", f"token={KEY}"), ("s", f"a=1&token={ADMIN}")]
)
async def test_a_key_or_an_id_with_a_token_names_a_source(name: str, query: str) -> None:
    house = House()
    tap = house.publish()
    assert await house.access.by_name(name, query, client=CLIENT) is tap


@pytest.mark.parametrize(
    ("name", "query", "reason"),
    [
        ("s", "", "unknown stream key"),
        ("s", "token=", "unknown stream key"),
        ("s", "token=wrong", "this needs the stream's key or the admin token"),
        ("s", f"token={KEY}" + "&x=1" * MAX_FIELDS, "unknown stream key"),
        ("unknown", f"token={ADMIN}", "no such stream"),
    ],
)
async def test_other_names_do_not(name: str, query: str, reason: str) -> None:
    house = House()
    house.publish()
    with pytest.raises(NoSourceError, match=f"^{reason}$"):
        await house.access.by_name(name, query, client=CLIENT)


async def test_a_source_without_publisher_is_not_there() -> None:
    with pytest.raises(NoSourceError, match="has no publisher now"):
        await House().access.by_name(KEY, "", client=CLIENT)


async def test_wrong_secrets_of_players_are_counted(autojump_clock: MockClock) -> None:
    house = House()
    tap = house.publish()
    for turn in range(GUESSES_BURST):
        name, query = ("s", "token=wrong") if turn % 2 else (f"live_{turn:032x}", "")
        with pytest.raises(NoSourceError, match="key"):
            await house.access.by_name(name, query, client=CLIENT)
    for name, query in ((KEY, ""), ("s", f"token={ADMIN}")):
        with pytest.raises(NoSourceError, match="too many"):
            await house.access.by_name(name, query, client=CLIENT)
    assert await house.access.by_name(KEY, "", client="198.51.100.1") is tap
    await trio.sleep(1.5)
    assert await house.access.by_name(KEY, "", client=CLIENT) is tap
