"""A broadcast fed by hand, fakes of backend and application, connections over memory streams."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
import trio
import trio.testing
from api_app import make_app
from h2_peer import H2Peer
from http_peers import HttpPeer, MemoryStream
from msgspec import UNSET
from msgspec.structs import asdict, replace

from edge.backend import (
    CreatedStream,
    CreateStreamRequest,
    MarkerInfo,
    MarkerRequest,
    StreamChanges,
    StreamInfo,
    StreamStatus,
)
from edge.errors import AlreadyLive, BadMarker, NoSuchStream, NotLive
from edge.http.connection import HttpConnection
from edge.http.h2_connection import Http2Connection
from edge.http.messages import Answer, Application, Call, HandOver, Hold, HttpError, Request
from edge.http.response import DateLine, Response, error_response, make_response
from edge.http.routes import App
from edge.http.settings import Http2Settings, HttpSettings
from edge.live import LiveStreams
from edge.rendition import LiveRendition
from edge.table import Gate, ResponseTable
from hls.media import InitSegment, MediaEvent, Part, Presentation, SegmentEnd
from hls.timeline import Timeline
from hls.timeline_settings import TimelineSettings

LATE = error_response(503, "late")
BIG = make_response(200, (bytes(300_000), b"end"), content_type="video/mp4", accepts_ranges=True)

PARTS = 5
PART_S = 0.4


class Feed:
    """Publishes numbered parts of `PART_S`, `PARTS` to a segment of two seconds."""

    def __init__(self, name: str = "source", *, window_segments: int = 15) -> None:
        settings = TimelineSettings(window_segments=window_segments)
        self.rendition = LiveRendition(
            name=name, timeline=Timeline(token="tok", started_at_s=0.0, settings=settings)
        )
        self.published = 0

    def begin(self) -> None:
        self.rendition.publish(
            [
                Presentation(target_duration_s=2, part_target_s=PART_S),
                InitSegment(
                    index=0,
                    data=b"init",
                    codecs=("avc1.64001f", "mp4a.40.2"),
                    width=1280,
                    height=720,
                    frame_rate=30.0,
                ),
            ]
        )

    def part(self) -> str:
        """Publish the next part (and the end of its segment if it is the last); return its name."""
        msn, index = divmod(self.published, PARTS)
        events: list[MediaEvent] = [
            Part(
                msn=msn,
                index=index,
                duration_s=PART_S,
                independent=index == 0,
                data=b"<%d.%d>" % (msn, index),
                init_index=0,
                discontinuity=False,
                media_time_s=self.published * PART_S,
            )
        ]
        if index == PARTS - 1:
            events.append(SegmentEnd(msn=msn, duration_s=PARTS * PART_S))
        self.published += 1
        self.rendition.publish(events)
        return f"part-tok-{msn}.{index}.m4s"

    def segment(self) -> None:
        """Publish parts until a segment ends."""
        self.part()
        while self.published % PARTS:
            self.part()

    def ready(self) -> "Feed":
        """Begin, and publish the first segment."""
        self.begin()
        self.segment()
        return self


@dataclass
class FakeBackend:
    """Streams in a dict; the admin token is "admin", a stream's key is "key-" and its id."""

    streams: dict[str, StreamInfo] = field(default_factory=dict)
    error: Exception | None = None
    """Raised by `live_streams`."""
    delay_s: float = 0.0
    marked: list[MarkerRequest] = field(default_factory=list)

    def add(self, stream_id: str, *, status: str = "idle") -> None:
        self.streams[stream_id] = StreamInfo(
            id=stream_id,
            title="A title",
            status="live" if status == "live" else "idle",
            broadcaster_id="me",
        )

    async def create_stream(self, request: CreateStreamRequest) -> CreatedStream:
        stream_id = f"s{len(self.streams) + 1}"
        created = CreatedStream(
            id=stream_id,
            title=request.title,
            status="idle",
            broadcaster_id=request.broadcaster_id,
            chat_enabled=request.chat_enabled,
            recording_enabled=request.recording_enabled,
            stream_key=f"key-{stream_id}",
        )
        self.add(stream_id)
        return created

    async def live_streams(self) -> list[StreamInfo]:
        if self.error is not None:
            raise self.error
        await trio.sleep(self.delay_s)
        return [info for info in self.streams.values() if info.status == "live"]

    async def get_stream(self, stream_id: str) -> StreamInfo:
        if stream_id not in self.streams:
            raise NoSuchStream
        return self.streams[stream_id]

    async def list_streams(
        self,
        *,
        status: StreamStatus | None,
        broadcaster_id: str | None,
        after: str | None,
        limit: int,
    ) -> list[StreamInfo]:
        every = [
            info
            for info in self.streams.values()
            if status in (None, info.status) and broadcaster_id in (None, info.broadcaster_id)
        ]
        ids = [info.id for info in every]
        return every[0 if after is None else ids.index(after) + 1 :][:limit]

    async def change_stream(self, stream_id: str, changes: StreamChanges) -> StreamInfo:
        changed = {name: value for name, value in asdict(changes).items() if value is not UNSET}
        self.streams[stream_id] = replace(await self.get_stream(stream_id), **changed)
        return self.streams[stream_id]

    async def delete_stream(self, stream_id: str) -> None:
        await self.get_stream(stream_id)
        del self.streams[stream_id]

    async def start(self, stream_id: str) -> StreamInfo:
        if self.streams[stream_id].status == "live":
            raise AlreadyLive
        self.add(stream_id, status="live")
        return self.streams[stream_id]

    async def end(self, stream_id: str) -> StreamInfo:
        if self.streams[stream_id].status != "live":
            raise NotLive
        self.add(stream_id)
        return self.streams[stream_id]

    async def mark(self, stream_id: str, request: MarkerRequest) -> MarkerInfo:
        if self.streams[stream_id].status != "live":
            raise NotLive
        if request.id == "bad":
            raise BadMarker("id: it is bad")
        self.marked.append(request)
        return MarkerInfo(id=request.id or "made-up", start_date="2026-01-01T00:00:00.000Z")

    async def is_admin(self, token: str) -> bool:
        return token == "admin"

    async def owns(self, stream_id: str, stream_key: str) -> bool:
        return stream_key == f"key-{stream_id}"


class FakeApp:
    """/echo answers with what it was asked, /hold parks, /take hands the connection over."""

    def __init__(self) -> None:
        self.table: ResponseTable[str] = ResponseTable()
        self.seen: list[str] = []
        self.taken: list[bytes] = []
        self.left: trio.Event = trio.Event()

    def gate(self) -> Gate[str]:
        return self.table.gate("held")

    def open_gate(self) -> None:
        self.gate().open(make_response(200, (b"opened",)))

    def route(self, request: Request) -> Answer:
        self.seen.append(f"{request.method} {request.path}")
        match request.path:
            case "/hold":
                return Hold(self.gate(), 6.0, LATE)
            case "/big":
                return BIG
            case "/call":
                return Call(self.echo)
            case "/slow":
                return Call(self.slow)
            case "/take":
                return HandOver(self.take)
            case "/bug":
                raise ZeroDivisionError("secret-in-the-text")
            case "/call-bug":
                return Call(self.bug)
            case "/refuse":
                raise HttpError(409, "no", Retry_After="3")
        return make_response(200, (f"{request.method} {request.path}?{request.query}".encode(),))

    async def echo(self, request: Request, body: bytes) -> Response:
        return make_response(200, (request.method.encode(), b" ", body))

    async def slow(self, _request: Request, _body: bytes) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    async def bug(self, _request: Request, _body: bytes) -> Response:
        await trio.lowlevel.checkpoint()
        raise KeyError("secret-in-the-text")

    async def take(self, stream: trio.abc.Stream, received: bytes) -> None:
        self.taken.append(received)
        await stream.send_all(b"taken")
        self.left.set()


@pytest.fixture
def make_fake() -> Callable[[], FakeApp]:
    return FakeApp


@pytest.fixture
def fake() -> FakeApp:
    return FakeApp()


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture
def make_feed() -> Callable[..., Feed]:
    return Feed


@pytest.fixture
def feed() -> Feed:
    """A broadcast that has published nothing yet."""
    return Feed()


@pytest.fixture
def live(feed: Feed) -> LiveStreams:
    """`feed` is on air as "one"."""
    live = LiveStreams()
    live.open("one", {"source": feed.rendition})
    return live


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def app(live: LiveStreams, backend: FakeBackend) -> App:
    return make_app(live, backend)


@dataclass
class Client(HttpPeer):
    """A peer together with the server's end of its connection."""

    connection: HttpConnection
    server_stream: MemoryStream
    done: trio.Event

    def __init__(self) -> None:
        client, self.server_stream = trio.testing.memory_stream_pair()
        super().__init__(client)
        self.done = trio.Event()


Connect = Callable[..., Client]


@pytest.fixture
def connect(nursery: trio.Nursery, app: App) -> Connect:
    """Open connections to `app`, or to another; wants a test with a mock clock."""

    def open_connection(
        application: Application | None = None,
        *,
        received: bytes = b"",
        **limits: float,
    ) -> Client:
        client = Client()
        client.connection = HttpConnection(
            client.server_stream,
            app if application is None else application,
            settings=HttpSettings(**limits),  # type: ignore[arg-type]
            date=DateLine(),
            received=received,
        )

        async def serve() -> None:
            await client.connection.run()
            client.done.set()

        nursery.start_soon(serve)
        return client

    return open_connection


@dataclass
class H2Client(H2Peer):
    """The same of HTTP/2."""

    connection: Http2Connection
    server_stream: MemoryStream
    done: trio.Event

    def __init__(self, *, opens_windows: bool = True) -> None:
        client, self.server_stream = trio.testing.memory_stream_pair()
        super().__init__(client, opens_windows=opens_windows)
        self.done = trio.Event()


ConnectH2 = Callable[..., H2Client]


@pytest.fixture
def connect_h2(nursery: trio.Nursery, fake: FakeApp) -> ConnectH2:
    """Open HTTP/2 connections to `fake`; wants a test with a mock clock."""

    def open_connection(
        application: Application | None = None,
        *,
        http2: Http2Settings | None = None,
        opens_windows: bool = True,
        **limits: float,
    ) -> H2Client:
        client = H2Client(opens_windows=opens_windows)
        client.connection = Http2Connection(
            client.server_stream,
            application or fake,
            settings=HttpSettings(http2=http2 or Http2Settings(), **limits),  # type: ignore[arg-type]
            date=DateLine(),
        )

        async def serve() -> None:
            await client.connection.run()
            client.done.set()

        nursery.start_soon(serve)
        return client

    return open_connection
