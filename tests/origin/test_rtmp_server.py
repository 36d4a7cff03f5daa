"""The RTMP server over memory streams: phases, deadlines, refusals, garbage, cancellation."""

import errno
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import rtmp_publishers as wire
import trio
from structlog.testing import capture_logs
from trio.testing import (
    MemoryReceiveStream,
    MemorySendStream,
    MockClock,
    memory_stream_pair,
    memory_stream_pump,
    wait_all_tasks_blocked,
)

from origin.rtmp.driver import EVENTS_PER_SLICE
from origin.rtmp.publisher import MAX_NAME_CHARS, Peer, PublishDeniedError, PublishStoppedError
from origin.rtmp.server import RtmpServer, RtmpServerSettings
from rtmpcore import AudioMessage, RemoteProtocolError, VideoMessage

KEY = "live_0123456789abcdef0123456789abcdef"
SETTINGS = RtmpServerSettings()
PeerStream = trio.StapledStream[MemorySendStream, MemoryReceiveStream]


class FakeSink:
    stream_id = "stream-1"

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.messages: list[tuple[str, int, bytes]] = []
        self.closed = 0
        self.said_goodbye: bool | None = None
        self.fails_with: Exception | None = None

    def push(self, message: VideoMessage | AudioMessage) -> None:
        if self.fails_with is not None:
            raise self.fails_with
        kind = "video" if isinstance(message, VideoMessage) else "audio"
        self.messages.append((kind, message.timestamp_ms, message.payload))

    def describe(self, values: Mapping[str, object]) -> None:
        pass

    def cue(self, values: Mapping[str, object]) -> None:
        self.messages.append(("cue", 0, repr(values).encode()))

    def close(self, *, goodbye: bool) -> None:
        self.closed += 1
        self.said_goodbye = goodbye


@dataclass
class Studio:
    """A server, what it admitted, and what it logged."""

    server: RtmpServer
    logs: list[Any]
    sinks: list[FakeSink] = field(default_factory=list)

    @property
    def sink(self) -> FakeSink:
        (sink,) = self.sinks
        return sink

    async def admit(self, key: str, peer: Peer) -> FakeSink:
        await trio.lowlevel.checkpoint()
        if key != KEY:
            raise PublishDeniedError("unknown stream key")
        self.sinks.append(FakeSink(peer))
        return self.sinks[-1]

    def reasons(self) -> list[str]:
        return [line["reason"] for line in self.logs if line["event"] == "connection closed"]

    @asynccontextmanager
    async def connect(self, address: str = "192.0.2.1") -> AsyncIterator[PeerStream]:
        peer, served = memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.server.serve_stream, served, address)
            yield peer


def make_studio(logs: list[Any], settings: RtmpServerSettings = SETTINGS) -> Studio:
    async def admit(key: str, peer: Peer) -> FakeSink:
        return await made.admit(key, peer)

    made = Studio(RtmpServer(admit=admit, settings=settings), logs)
    return made


@pytest.fixture
def studio() -> Iterator[Studio]:
    with capture_logs() as logs:
        yield make_studio(logs)
    assert KEY not in repr(logs)


async def read_until(peer: PeerStream, wanted: bytes) -> bytes:
    received = b""
    while wanted not in received:
        data = await peer.receive_some()
        assert data, f"closed before {wanted!r}: {received[-200:]!r}"
        received += data
    return received


async def read_to_end(peer: PeerStream) -> bytes:
    received = b""
    while data := await peer.receive_some():
        received += data
    return received


async def pour(peer: PeerStream, *pieces: bytes, every_s: float) -> int:
    """Send the pieces, round and round, until the other side is gone; returns how many it took."""
    for count, piece in enumerate(itertools.cycle(pieces)):
        try:
            await peer.send_all(piece)
        except trio.BrokenResourceError:
            return count
        await trio.sleep(every_s)
    raise AssertionError("no end to it")


# -- the plain life of a publisher


async def test_who_takes_the_media_knows_what_the_encoder_said_of_itself(studio: Studio) -> None:
    connect = {"app": "live?a=" + "x" * 300, "tcUrl": "rtmp://host/live", "flashVer": "Some/1.0"}
    async with studio.connect() as peer:
        await peer.send_all(wire.C0_C1 + wire.C2 + wire.SET_CHUNK_SIZE)
        await peer.send_all(wire.command("connect", 1, connect))
        await peer.send_all(wire.command("createStream", 2, None) + wire.publish(KEY))
        await read_until(peer, wire.PUBLISH_START)
        seen = studio.sink.peer
        assert seen.app == ("live?a=" + "x" * 300)[:MAX_NAME_CHARS]
        assert seen.encoder == "Some/1.0"
        await peer.aclose()


async def test_media_between_publish_and_unpublish_reaches_the_sink(studio: Studio) -> None:
    async with studio.connect() as peer:
        await peer.send_all(wire.opening(KEY))
        await read_until(peer, wire.PUBLISH_START)
        await peer.send_all(wire.metadata({"width": 320}) + wire.video(b"\x17picture", 40))
        await peer.send_all(wire.audio(b"\xaf\x01sound", 41) + wire.unpublish(KEY))
        await peer.send_all(wire.video(b"\x27late", 80))
        await peer.send_eof()
        await read_to_end(peer)
    assert studio.sink.messages == [("video", 40, b"\x17picture"), ("audio", 41, b"\xaf\x01sound")]
    assert (studio.sink.closed, studio.sink.said_goodbye) == (1, True)
    assert studio.reasons() == ["closed by the publisher"]
    closing = studio.logs[-1]
    assert closing["stream"] == "stream-1"
    assert closing["bytes"] > 3000


async def test_republish_on_one_connection_makes_a_second_sink(studio: Studio) -> None:
    async with studio.connect() as peer:
        await peer.send_all(wire.opening(KEY))
        await read_until(peer, wire.PUBLISH_START)
        await peer.send_all(wire.unpublish(KEY) + wire.command("createStream", 8, None))
        await peer.send_all(wire.publish(KEY, stream_id=2))
        await read_until(peer, wire.PUBLISH_START)
        await peer.aclose()
    assert [sink.closed for sink in studio.sinks] == [1, 1]


async def test_bytes_may_arrive_one_by_one(studio: Studio) -> None:
    everything = (
        wire.opening(KEY) + wire.video(b"\x17picture", 40) + wire.audio(b"\xaf\x01sound", 0x1000000)
    )
    async with studio.connect() as peer:
        for byte in everything:
            await peer.send_all(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
        await peer.aclose()
    assert studio.sink.messages == [
        ("video", 40, b"\x17picture"),
        ("audio", 0x1000000, b"\xaf\x01sound"),
    ]


async def test_a_burst_of_events_yields_to_other_tasks(studio: Studio) -> None:
    """One publisher's burst never runs to its end in one turn of the event loop."""
    seen: list[int] = []
    async with studio.connect() as peer:
        await peer.send_all(wire.opening(KEY))
        await read_until(peer, wire.PUBLISH_START)
        await peer.send_all(wire.audio(b"\xaf\x01") * 1000)
        while not seen or seen[-1] < 1000:
            seen.append(len(studio.sink.messages))
            await trio.lowlevel.checkpoint()
        await peer.aclose()
    steps = [after - before for before, after in itertools.pairwise(seen)]
    assert max(steps) <= 2 * EVENTS_PER_SLICE  # trio may give it two turns to one of ours


# -- refusals


async def test_wrong_key_is_refused_in_words_and_the_end_is_clean(studio: Studio) -> None:
    async with studio.connect() as peer:
        await peer.send_all(wire.opening("live_wrong"))
        answer = await read_to_end(peer)  # an end, not a reset
        await peer.aclose()
    assert wire.BAD_NAME in answer
    assert b"unknown stream key" in answer
    assert studio.reasons() == ["refused: unknown stream key"]
    assert "live_wrong" not in repr(studio.logs)


async def test_refused_peer_that_stays_is_cut_off_after_a_second(
    studio: Studio, autojump_clock: trio.testing.MockClock
) -> None:
    async with studio.connect() as peer:
        await peer.send_all(wire.opening("live_wrong"))
        await read_to_end(peer)
        await pour(peer, b"more", every_s=0.1)
    assert trio.current_time() == pytest.approx(1.0, abs=0.15)


async def test_refused_peer_that_pours_on_is_cut_off_by_volume(
    studio: Studio, autojump_clock: trio.testing.MockClock
) -> None:
    async with studio.connect() as peer:
        await peer.send_all(wire.opening("live_wrong"))
        poured = await pour(peer, bytes(65_536), every_s=0.01)
    assert poured <= 8
    assert trio.current_time() < 0.1


async def test_sink_that_stops_is_explained_to_the_publisher(studio: Studio) -> None:
    async with studio.connect() as peer:
        await peer.send_all(wire.opening(KEY))
        await read_until(peer, wire.PUBLISH_START)
        studio.sink.fails_with = PublishStoppedError("audio codec MP3 is not supported yet")
        await peer.send_all(wire.audio(b"\x2fmp3"))
        answer = await read_to_end(peer)
        await peer.aclose()
    assert wire.REJECTED in answer
    assert b"audio codec MP3" in answer
    assert (studio.sink.closed, studio.sink.said_goodbye) == (1, False)
    assert studio.reasons() == ["audio codec MP3 is not supported yet"]


# -- deadlines

HANDSHAKE = wire.C0_C1 + wire.C2
PHASES = {
    "nothing": b"",
    "C0": wire.C0_C1[:1],
    "C0C1": wire.C0_C1,
    "handshake": HANDSHAKE,
    "connect": HANDSHAKE + wire.connect(),
    "createStream": HANDSHAKE + wire.connect() + wire.command("createStream", 4, None),
    "half a publish": wire.opening(KEY)[:-10],
}


@pytest.mark.parametrize("phase", PHASES)
async def test_silence_before_publish_is_cut_off(
    studio: Studio, autojump_clock: trio.testing.MockClock, phase: str
) -> None:
    async with studio.connect() as peer:
        await peer.send_all(PHASES[phase])
        await read_to_end(peer)
    assert trio.current_time() == SETTINGS.handshake_timeout_s
    assert studio.reasons() == ["not publishing after 10 s"]


async def test_a_byte_a_second_does_not_buy_time(
    studio: Studio, autojump_clock: trio.testing.MockClock
) -> None:
    async with studio.connect() as peer:
        await pour(peer, *(bytes([byte]) for byte in wire.opening(KEY)), every_s=1)
    assert trio.current_time() == pytest.approx(SETTINGS.handshake_timeout_s, abs=1)


async def test_publisher_without_media_is_cut_off_whatever_else_it_sends(
    studio: Studio, autojump_clock: trio.testing.MockClock
) -> None:
    ping = wire.message(4, b"\x00\x06\x00\x00\x00\x01", chunk_stream_id=2)
    async with studio.connect() as peer:
        await peer.send_all(wire.opening(KEY))
        for index in range(30):  # media keeps it alive far beyond the time-out
            await peer.send_all(wire.audio(b"\xaf\x01", index))
            await trio.sleep(1)
        await pour(peer, ping, every_s=1)
    assert 20 <= trio.current_time() - 29 <= 22.1  # a twentieth late, and the peer looks each 1 s
    assert studio.reasons() == ["no media for 20 s"]
    assert (studio.sink.closed, studio.sink.said_goodbye) == (1, False)


async def test_idling_after_unpublish_is_cut_off(
    studio: Studio, autojump_clock: trio.testing.MockClock
) -> None:
    async with studio.connect() as peer:
        await peer.send_all(wire.opening(KEY) + wire.unpublish(KEY))
        await read_to_end(peer)
    assert trio.current_time() == SETTINGS.handshake_timeout_s
    assert studio.reasons() == ["not publishing after 10 s"]


async def test_peer_that_never_reads_is_cut_off(
    studio: Studio, autojump_clock: trio.testing.MockClock
) -> None:
    peer, served = memory_stream_pair()

    async def deliver_and_hang() -> None:
        memory_stream_pump(served.send_stream, peer.receive_stream)
        await trio.sleep_forever()

    served.send_stream.send_all_hook = deliver_and_hang
    settings = RtmpServerSettings(handshake_timeout_s=60, send_timeout_s=10)
    studio = make_studio(studio.logs, settings)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(studio.server.serve_stream, served, "192.0.2.1")
        await peer.send_all(wire.C0_C1)
        await read_to_end(peer)
    assert trio.current_time() == 10
    assert studio.reasons() == ["took no reply for 10 s"]


def capable(key: str) -> bytes:
    """An opening that says, in Enhanced RTMP, that it can be asked to reconnect."""
    properties = {"app": "live", "tcUrl": "rtmp://host/live", "capsEx": 1}
    return wire.opening(key).replace(
        wire.connect(), wire.SET_CHUNK_SIZE + wire.command("connect", 1, properties)
    )


RECONNECT = b"NetConnection.Connect.ReconnectRequest"
DENIED = b"NetStream.Publish.Denied"


@pytest.mark.parametrize(
    ("opening", "for_good", "said", "unsaid"),
    [
        (wire.opening(KEY), True, DENIED, RECONNECT),
        (wire.opening(KEY), False, b"", DENIED),
        (capable(KEY), True, DENIED, RECONNECT),
        (capable(KEY), False, RECONNECT, DENIED),
    ],
    ids=["for good", "for now", "for good, capable", "for now, capable"],
)
async def test_a_publisher_is_told_whether_to_come_back(
    studio: Studio, opening: bytes, for_good: bool, said: bytes, unsaid: bytes
) -> None:
    async with studio.connect() as peer:
        await peer.send_all(opening)
        await read_until(peer, wire.PUBLISH_START)
        studio.sink.peer.disconnect("because we say so", for_good=for_good)
        last_words = await read_to_end(peer)
    assert said in last_words
    assert unsaid not in last_words
    assert (b"because we say so" in last_words) == bool(said)
    assert studio.reasons() == ["because we say so"]


async def test_a_peer_tells_how_long_it_has_been_silent(
    studio: Studio, autojump_clock: trio.testing.MockClock
) -> None:
    async with studio.connect() as peer:
        await peer.send_all(wire.opening(KEY))
        await read_until(peer, wire.PUBLISH_START)
        await trio.sleep(1.5)
        assert studio.sink.peer.silent_s == pytest.approx(1.5)
        await peer.send_all(wire.video(bytes(50_000))[:10])  # no message yet, but bytes
        await wait_all_tasks_blocked()
        assert studio.sink.peer.silent_s == 0.0
        assert studio.sink.peer.heard_s == trio.current_time()
        assert studio.sink.peer.tcp_figures() is None  # a stream in memory
        await peer.aclose()


async def test_disconnect_from_outside_gives_its_reason(studio: Studio) -> None:
    async with studio.connect() as peer:
        await peer.send_all(wire.opening(KEY))
        await read_until(peer, wire.PUBLISH_START)
        studio.sink.peer.disconnect("ended by API")
        await read_to_end(peer)
    assert studio.reasons() == ["ended by API"]
    assert (studio.sink.closed, studio.sink.said_goodbye) == (1, False)


# -- what goes wrong stays with its connection


@pytest.mark.parametrize("phase", [*PHASES, "publishing"])
@pytest.mark.parametrize("seed", range(5))
async def test_garbage_in_any_phase_ends_that_connection_only(
    studio: Studio, autojump_clock: trio.testing.MockClock, phase: str, seed: int
) -> None:
    garbage = b"\xff" + random.Random(seed).randbytes(20_000)
    start = wire.opening(KEY) if phase == "publishing" else PHASES[phase]
    async with studio.connect("192.0.2.2") as healthy:
        await healthy.send_all(wire.opening(KEY))
        await read_until(healthy, wire.PUBLISH_START)
        async with studio.connect() as peer:
            await peer.send_all(start + garbage)
            await read_to_end(peer)
        (reason,) = studio.reasons()
        # Random bytes after C0 are a legal C1 and C2; then they may promise a long message.
        assert reason.startswith("protocol error: ") or reason == "not publishing after 10 s"
        await healthy.send_all(wire.audio(b"\xaf\x01sound"))
        await trio.testing.wait_all_tasks_blocked()
        assert studio.sinks[0].messages == [("audio", 0, b"\xaf\x01sound")]
        await healthy.aclose()


async def test_malformed_media_ends_the_connection(studio: Studio) -> None:
    async with studio.connect() as peer:
        await peer.send_all(wire.opening(KEY))
        await read_until(peer, wire.PUBLISH_START)
        studio.sink.fails_with = RemoteProtocolError("a tag ends early", "FLV 10.1 E.4.3.1")
        await peer.send_all(wire.video(b"\x17"))
        await read_to_end(peer)
    assert studio.reasons() == ["protocol error: a tag ends early (FLV 10.1 E.4.3.1)"]
    assert (studio.sink.closed, studio.sink.said_goodbye) == (1, False)


async def test_a_bug_of_ours_is_logged_and_costs_one_connection(studio: Studio) -> None:
    async with studio.connect() as peer:
        await peer.send_all(wire.opening(KEY))
        await read_until(peer, wire.PUBLISH_START)
        studio.sink.fails_with = ZeroDivisionError("ours")
        await peer.send_all(wire.video(b"\x17"))
        await read_to_end(peer)
    assert studio.reasons() == ["internal error"]
    assert [line["log_level"] for line in studio.logs if line["event"] == "connection failed"]
    assert (studio.sink.closed, studio.sink.said_goodbye) == (1, False)


async def test_an_end_of_the_connection_is_no_goodbye(studio: Studio) -> None:
    """So it looks when an encoder crashes: the kernel closes what it had open."""
    async with studio.connect() as peer:
        await peer.send_all(wire.opening(KEY))
        await read_until(peer, wire.PUBLISH_START)
        await peer.aclose()
    assert studio.reasons() == ["closed by the publisher"]
    assert (studio.sink.closed, studio.sink.said_goodbye) == (1, False)


async def test_connection_lost_is_an_end_like_any_other(studio: Studio) -> None:
    peer, served = memory_stream_pair()

    async def reset() -> None:
        raise trio.BrokenResourceError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(studio.server.serve_stream, served, "192.0.2.1")
        await peer.send_all(wire.opening(KEY))
        await read_until(peer, wire.PUBLISH_START)
        served.receive_stream.receive_some_hook = reset
        await peer.send_all(wire.audio(b"\xaf\x01") * 2)
        await read_to_end(peer)
    assert studio.reasons() == ["connection lost"]
    assert (studio.sink.closed, studio.sink.said_goodbye) == (1, False)


# -- bounds


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (RtmpServerSettings(max_connections=2), "too many connections"),
        (
            RtmpServerSettings(max_connections_per_address=2),
            "too many connections from this address",
        ),
    ],
)
async def test_connections_beyond_the_bound_are_closed_at_once(
    settings: RtmpServerSettings, reason: str
) -> None:
    with capture_logs() as logs:
        studio = make_studio(logs, settings)
        async with studio.connect() as first, studio.connect() as second:
            await trio.testing.wait_all_tasks_blocked()
            async with studio.connect() as third:
                assert await read_to_end(third) == b""
            assert studio.reasons() == [reason]
            await first.aclose()
            await trio.testing.wait_all_tasks_blocked()
            async with studio.connect() as fourth:  # there is room again
                await fourth.send_all(wire.C0_C1)
                assert await fourth.receive_some()
                await fourth.aclose()
            await second.aclose()
        assert studio.server.connections == 0


async def test_loopback_is_exempt_from_the_bound_per_address() -> None:
    with capture_logs() as logs:
        studio = make_studio(logs, RtmpServerSettings(max_connections_per_address=1))
        async with studio.connect("127.0.0.1") as first, studio.connect("127.0.0.1") as second:
            await second.send_all(wire.C0_C1)
            assert await second.receive_some()
            await first.aclose()
            await second.aclose()


async def test_an_ipv6_host_cannot_get_around_the_bound_per_address() -> None:
    """It has 2**64 addresses."""
    with capture_logs() as logs:
        studio = make_studio(logs, RtmpServerSettings(max_connections_per_address=1))
        async with studio.connect("2001:db8::1") as first:
            await trio.testing.wait_all_tasks_blocked()
            async with studio.connect("2001:db8::2") as second:
                assert await read_to_end(second) == b""
            async with studio.connect("2001:db8:0:1::1") as other:
                await other.send_all(wire.C0_C1)
                assert await other.receive_some()
                await other.aclose()
            await first.aclose()
        assert studio.server.connections == 0


class StarvedListener:
    """Has no descriptor for the first connections."""

    def __init__(self, error_number: int) -> None:
        self.failures_left = 20
        self.is_closed = False
        self.waits = trio.Event()
        self._error_number = error_number

    async def accept(self) -> trio.SocketStream:
        await trio.lowlevel.checkpoint()
        if self.failures_left:
            self.failures_left -= 1
            raise OSError(self._error_number, "no")
        self.waits.set()
        await trio.sleep_forever()
        raise AssertionError

    async def __aenter__(self) -> "StarvedListener":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_closed = True


async def test_out_of_descriptors_is_waited_out(
    studio: Studio, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    listener = StarvedListener(errno.EMFILE)
    await nursery.start(studio.server.serve, [listener])
    await listener.waits.wait()
    assert trio.current_time() >= 2
    # Once: tens of lines a second would fill the disk as well.
    assert [line["event"] for line in studio.logs] == ["cannot accept publishers"]
    nursery.cancel_scope.cancel()


async def test_a_broken_listener_ends_the_server(studio: Studio) -> None:
    listener = StarvedListener(errno.EINVAL)
    with pytest.RaisesGroup(OSError, flatten_subgroups=True):
        await studio.server.serve([listener])  # type: ignore[list-item]
    assert listener.is_closed


# -- cancellation


class CuttingStream(trio.abc.HalfCloseableStream):
    """Calls `cut` before or after the n-th operation on the stream that it wraps."""

    def __init__(self, stream: trio.abc.HalfCloseableStream, nth: int, cut: Callable[[], None]):
        self._stream = stream
        self._left = nth
        self._cut = cut

    def _tick(self) -> None:
        if self._left == 0:
            self._cut()
        self._left -= 1

    @property
    def was_cut(self) -> bool:
        return self._left < 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._tick()
        await self._stream.send_all(data)
        self._tick()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        self._tick()
        data = await self._stream.receive_some(700)  # many operations, not one
        self._tick()
        return bytes(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        self._tick()
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


@pytest.mark.parametrize("key", [KEY, "live_wrong"])
async def test_cancellation_anywhere_leaves_nothing_behind(
    studio: Studio, autojump_clock: trio.testing.MockClock, key: str
) -> None:
    """Cancel at every n-th stream operation until the conversation gets through."""
    for nth in range(100):
        studio.sinks.clear()
        peer, served = memory_stream_pair()
        for piece in (wire.C0_C1, wire.C2 + wire.connect(), wire.begin(key)):
            await peer.send_all(piece)
        await peer.send_all(wire.audio(b"\xaf\x01sound") + wire.unpublish(key))
        await peer.send_eof()
        with trio.CancelScope() as scope:
            stream = CuttingStream(served, nth, scope.cancel)
            await studio.server.serve_stream(stream, "192.0.2.1")
        assert all(sink.closed == 1 for sink in studio.sinks)
        assert studio.server.connections == 0
        with pytest.raises(trio.ClosedResourceError):
            await served.receive_some()
        if not stream.was_cut:
            break
    else:
        pytest.fail("never got through")
    assert nth > 10
