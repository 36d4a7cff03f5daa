"""The publishing client: against our own server over memory, and against servers that misbehave."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import rtmp_publishers as wire
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, memory_stream_pair

from origin.rtmp.client import (
    Publisher,
    PublisherError,
    PublishRefusedError,
    open_publisher,
    publish_over,
)
from origin.rtmp.publisher import Peer, PublishDeniedError, PublishStoppedError
from origin.rtmp.server import RtmpServer
from rtmpcore import AudioMessage, VideoMessage

KEY = "live_0123456789abcdef0123456789abcdef"
URL = "rtmp://host/live"


class FakeSink:
    stream_id = "stream-1"

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.messages: list[tuple[str, int, bytes]] = []
        self.stops_with: str | None = None
        self.closed = trio.Event()

    def push(self, message: VideoMessage | AudioMessage) -> None:
        if self.stops_with is not None:
            raise PublishStoppedError(self.stops_with)
        kind = "video" if isinstance(message, VideoMessage) else "audio"
        self.messages.append((kind, message.timestamp_ms, message.payload))

    def describe(self, values: Mapping[str, object]) -> None:
        self.messages.append(("metadata", 0, repr(dict(values)).encode()))

    def cue(self, values: Mapping[str, object]) -> None:
        self.messages.append(("cue", 0, repr(values).encode()))

    def close(self, *, goodbye: bool) -> None:
        self.closed.set()


@asynccontextmanager
async def publishing(key: str = KEY) -> AsyncIterator[tuple[Publisher, FakeSink]]:
    """A client and our server over memory streams."""
    sinks: list[FakeSink] = []

    async def admit(given: str, peer: Peer) -> FakeSink:
        if given != KEY:
            raise PublishDeniedError("unknown stream key")
        sinks.append(FakeSink(peer))
        return sinks[0]

    ours, theirs = memory_stream_pair()
    with capture_logs():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(RtmpServer(admit=admit).serve_stream, theirs, "192.0.2.1")
            try:
                async with publish_over(ours, URL, "live", key) as publisher:
                    yield publisher, sinks[0]
            finally:
                if sinks:
                    await sinks[0].closed.wait()


async def test_what_is_sent_arrives_as_flv_tags() -> None:
    async with publishing() as (publisher, sink):
        await publisher.send_metadata({"width": 640.0})
        await publisher.send_video_config(b"avcC")
        await publisher.send_audio_config(b"\x11\x90")
        await publisher.send_video(b"idr", timestamp_ms=5, keyframe=True, composition_time_ms=-1)
        await publisher.send_video(b"p", timestamp_ms=2**32 + 38, keyframe=False)
        await publisher.send_audio(b"aac", timestamp_ms=7)
    assert sink.messages == [
        ("metadata", 0, b"{'width': 640.0}"),
        ("video", 0, b"\x17\x00\x00\x00\x00avcC"),
        ("audio", 0, b"\xaf\x00\x11\x90"),
        ("video", 5, b"\x17\x01\xff\xff\xffidr"),
        ("video", 38, b"\x27\x01\x00\x00\x00p"),
        ("audio", 7, b"\xaf\x01aac"),
    ]


async def test_what_another_publisher_sent_is_passed_on_as_it_is() -> None:
    async with publishing() as (publisher, sink):
        for stream_id in (1, 7):
            await publisher.relay(
                VideoMessage(stream_id=stream_id, timestamp_ms=5, payload=b"\x90hvc1hvcC")
            )
    assert sink.messages == [("video", 5, b"\x90hvc1hvcC")] * 2


async def test_a_refused_key_says_why() -> None:
    with pytest.raises(ExceptionGroup) as group:
        async with publishing("live_wrong"):
            pass
    (error,) = group.value.exceptions
    assert isinstance(error, PublishRefusedError)
    assert error.code == "NetStream.Publish.BadName"
    assert error.description == "unknown stream key"
    assert "live_wrong" not in str(error)


async def test_an_exception_of_the_block_leaves_as_itself() -> None:
    ours, theirs = memory_stream_pair()

    async def admit(_key: str, peer: Peer) -> FakeSink:
        return FakeSink(peer)

    with capture_logs():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(RtmpServer(admit=admit).serve_stream, theirs, "192.0.2.1")
            with pytest.raises(ZeroDivisionError):
                async with publish_over(ours, URL, "live", KEY):
                    raise ZeroDivisionError


async def send_until_it_fails(publisher: Publisher) -> PublisherError:
    with trio.fail_after(5):
        while True:
            try:
                await publisher.send_audio(b"sound", timestamp_ms=0)
            except PublisherError as error:
                return error
            await trio.sleep(0.01)


async def test_a_publication_that_the_server_stops_says_why(autojump_clock: MockClock) -> None:
    async with publishing() as (publisher, sink):
        sink.stops_with = "unusable media: nobody can read this"
        error = await send_until_it_fails(publisher)
        assert isinstance(error, PublishRefusedError)
        assert error.code == "NetStream.Publish.Rejected"
        assert error.description == "unusable media: nobody can read this"
        assert await send_until_it_fails(publisher) is error


async def test_a_server_that_hangs_up_ends_the_publication(autojump_clock: MockClock) -> None:
    async with publishing() as (publisher, sink):
        sink.peer.disconnect("ended by API")
        error = await send_until_it_fails(publisher)
        assert str(error) == "the server closed the connection"


async def silent(stream: trio.abc.HalfCloseableStream) -> None:
    await trio.sleep_forever()


async def hanging_up(stream: trio.abc.HalfCloseableStream) -> None:
    await stream.receive_some()
    await stream.aclose()


async def babbling(stream: trio.abc.HalfCloseableStream) -> None:
    await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200)
    await trio.sleep_forever()


async def rejecting(stream: trio.abc.HalfCloseableStream) -> None:
    await stream.receive_some()
    await stream.send_all(b"\x03" + bytes(1536) + bytes(1536))
    status = {"level": "error", "code": "NetConnection.Connect.Rejected", "description": "go away"}
    await stream.send_all(wire.command("_error", 1, None, status, chunk_bytes=128))
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (silent, "no consent to publish within 3 s"),
        (hanging_up, "connection lost before publishing"),
        (babbling, "protocol error: "),
        (rejecting, "go away"),
    ],
)
async def test_servers_that_do_not_let_us_publish(
    autojump_clock: MockClock,
    server: Callable[[Any], Awaitable[None]],
    reason: str,
) -> None:
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server, theirs)
        with pytest.raises(PublisherError, match=reason):
            async with publish_over(ours, URL, "live", KEY, timeout_s=3):
                pytest.fail("it let us")
        nursery.cancel_scope.cancel()
    with pytest.raises(trio.ClosedResourceError):
        await ours.receive_some()


async def test_a_server_that_is_not_there_is_named() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    with pytest.raises(PublisherError, match=f"cannot reach 127.0.0.1 port {port}"):
        async with open_publisher("127.0.0.1", port, "live", KEY):
            pytest.fail("nobody is there")


async def test_leaving_by_cancellation_unpublishes() -> None:
    with trio.CancelScope() as scope:
        async with publishing() as (_, sink):
            scope.cancel()
            await trio.sleep_forever()
    assert sink.closed.is_set()
