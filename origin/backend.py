"""`edge.backend.Backend` for the process that owns the truth: over the store and the broadcasts.

The store knows what a stream is, `Broadcasts` knows whether it is live this instant; both are
asked, and the second wins. Who may do what is the API layer's business.

May import control, edge and origin's own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import Final

import msgspec
import structlog

from control import (
    AdminToken,
    PlaybackPolicy,
    Store,
    StoreError,
    Stream,
    StreamStatus,
    UnknownStreamError,
)
from edge.api.times import iso8601
from edge.backend import (
    CreatedStream,
    CreateStreamRequest,
    MarkerInfo,
    MarkerRequest,
    StreamChanges,
    StreamInfo,
)
from edge.backend import StreamStatus as EdgeStatus
from edge.errors import AlreadyLive, BadMarker, NoSuchStream, NotLive, Unavailable
from edge.events import EventBus
from hls import Marker, UsageError
from origin.broadcast import SOURCE, AlreadyLiveError, Broadcasts, NotLiveError

MAX_LISTED: Final = 10_000
"""Live streams in one answer: more than one process can carry."""

log = structlog.get_logger("backend")


class OriginBackend:
    """The owner of the truth about streams.

    Args:
        store: The streams.
        broadcasts: Their broadcasts.
        admin_token: The token that may do everything.
        viewers: How many watch a stream now, by its id.
        events: Where creations, changes and removals are told; None: nowhere.
        policy: Who may watch it, by its id.
    """

    def __init__(
        self,
        *,
        store: Store,
        broadcasts: Broadcasts,
        admin_token: AdminToken,
        viewers: Callable[[str], int] = lambda _stream_id: 0,
        policy: Callable[[str], PlaybackPolicy] = lambda _stream_id: "public",
        events: EventBus | None = None,
    ) -> None:
        self._viewers = viewers
        self._policy = policy
        self._events = events or EventBus()
        self._store = store
        self._broadcasts = broadcasts
        self._admin_token = admin_token

    async def create_stream(self, request: CreateStreamRequest) -> CreatedStream:
        """See `edge.backend.Backend.create_stream`."""
        with _asking_the_store():
            stream, key = await self._store.create_stream(
                broadcaster_id=request.broadcaster_id,
                title=request.title,
                chat_enabled=request.chat_enabled,
                recording_enabled=request.recording_enabled,
            )
        self._events.emit(
            "stream.created", stream.id, title=stream.title, broadcasterId=stream.broadcaster_id
        )
        return CreatedStream(stream_key=key, **msgspec.structs.asdict(self._info(stream)))

    async def live_streams(self) -> list[StreamInfo]:
        """See `edge.backend.Backend.live_streams`."""
        with _asking_the_store():
            stored = await self._store.list_streams(status=StreamStatus.LIVE, limit=MAX_LISTED)
            known = {stream.id for stream in stored}
            for stream_id in self._broadcasts.live_stream_ids():
                if stream_id not in known:  # live for an instant: the store is told next
                    stream = await self._store.get_stream(stream_id)
                    stored += [stream] if stream is not None else []
        infos = map(self._info, stored)
        return [info for info in infos if info.status == "live"]

    async def get_stream(self, stream_id: str) -> StreamInfo:
        """See `edge.backend.Backend.get_stream`."""
        return self._info(await self._find(stream_id))

    async def list_streams(
        self,
        *,
        status: EdgeStatus | None,
        broadcaster_id: str | None,
        after: str | None,
        limit: int,
    ) -> list[StreamInfo]:
        """See `edge.backend.Backend.list_streams`."""
        with _asking_the_store():
            stored = await self._store.list_streams(
                status=None if status is None else StreamStatus(status),
                broadcaster_id=broadcaster_id,
                after=after,
                limit=limit,
            )
        return list(map(self._info, stored))

    async def change_stream(self, stream_id: str, changes: StreamChanges) -> StreamInfo:
        """See `edge.backend.Backend.change_stream`."""
        given = {
            name: value
            for name, value in msgspec.structs.asdict(changes).items()
            if value is not msgspec.UNSET
        }
        try:
            with _asking_the_store():
                stream = await self._store.update_stream(stream_id, **given)
        except UnknownStreamError:
            raise NoSuchStream from None
        log.info("settings changed", stream=stream_id, settings=sorted(given))
        if given:
            self._events.emit(
                "stream.updated",
                stream_id,
                title=stream.title,
                chatEnabled=stream.chat_enabled,
                recordingEnabled=stream.recording_enabled,
            )
        return self._info(stream)

    async def delete_stream(self, stream_id: str) -> None:
        """See `edge.backend.Backend.delete_stream`."""
        with suppress(NotLiveError):
            self._broadcasts.end_stream(stream_id, "the stream was removed")
        try:
            with _asking_the_store():
                await self._store.delete_stream(stream_id)
        except UnknownStreamError:
            raise NoSuchStream from None
        log.info("stream removed", stream=stream_id)
        self._events.emit("stream.deleted", stream_id)

    async def start(self, stream_id: str) -> StreamInfo:
        """See `edge.backend.Backend.start`."""
        stream = await self._find(stream_id)
        try:
            self._broadcasts.start(stream.id)
        except AlreadyLiveError:
            raise AlreadyLive from None
        return self._info(stream)

    async def end(self, stream_id: str) -> StreamInfo:
        """See `edge.backend.Backend.end`."""
        stream = await self._find(stream_id)
        try:
            self._broadcasts.end_stream(stream.id, "ended by API")
        except NotLiveError:
            raise NotLive from None
        return self._info(stream)

    async def mark(self, stream_id: str, request: MarkerRequest) -> MarkerInfo:
        """See `edge.backend.Backend.mark`."""
        stream = await self._find(stream_id)
        broadcast = self._broadcasts.live(stream.id)
        live = None if broadcast is None else broadcast.live
        if live is None or live.edge_ms is None:
            raise NotLive
        marker = _marker(request, live.edge_ms)
        try:
            live.mark(marker)
        except UsageError as error:
            raise BadMarker(str(error)) from None
        log.info("marker", stream=stream.id, id=marker.id)
        return MarkerInfo(id=marker.id, start_date=iso8601(marker.start_ms / 1000))

    async def is_admin(self, token: str) -> bool:
        """See `edge.backend.Backend.is_admin`."""
        return self._admin_token.matches(token)

    async def owns(self, stream_id: str, stream_key: str) -> bool:
        """See `edge.backend.Backend.owns`."""
        with _asking_the_store():
            return await self._store.verify_key(stream_id, stream_key)

    async def _find(self, stream_id: str) -> Stream:
        with _asking_the_store():
            stream = await self._store.get_stream(stream_id)
        if stream is None:
            raise NoSuchStream
        return stream

    def _info(self, stream: Stream) -> StreamInfo:
        broadcast = self._broadcasts.live(stream.id)
        live = None if broadcast is None else broadcast.live
        status, started_at_s, ended_at_s = self._broadcasts.state(stream)
        return StreamInfo(
            id=stream.id,
            title=stream.title,
            status=status.value,
            broadcaster_id=stream.broadcaster_id,
            started_at=iso8601(started_at_s),
            ended_at=iso8601(ended_at_s),
            viewer_count=self._viewers(stream.id),
            quality=[] if live is None else live.listed or [SOURCE],
            chat_enabled=stream.chat_enabled,
            recording_enabled=stream.recording_enabled,
            playback=self._policy(stream.id),
        )


def _marker(request: MarkerRequest, edge_ms: int) -> Marker:
    """Read what somebody asked for; raises BadMarker."""
    start = request.start_date
    if start is not None and start.tzinfo is None:
        raise BadMarker("startDate needs an offset from UTC, such as Z")
    sections = {"CMD": request.scte35_cmd, "OUT": request.scte35_out, "IN": request.scte35_in}
    try:
        return Marker(
            id=token_hex(8) if request.id is None else request.id,
            start_ms=edge_ms if start is None else round(start.timestamp() * 1000),
            kind=request.kind,
            duration_s=request.duration,
            planned_duration_s=request.planned_duration,
            scte35={
                name: bytes.fromhex(section.lower().removeprefix("0x"))
                for name, section in sections.items()
                if section is not None
            },
            attributes=request.attributes,
        )
    except UsageError as error:
        raise BadMarker(str(error)) from None


@contextmanager
def _asking_the_store() -> Iterator[None]:
    """Turn a store that fails (full disk) into a refusal: it is not a bug, and it may pass."""
    try:
        yield
    except StoreError as error:
        log.error("cannot ask the store", reason=str(error))
        raise Unavailable from None
