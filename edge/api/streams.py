"""Operations on streams: made, shown, changed, started, ended, removed; their markers and relays.

No handler here knows how a stream is stored or ingested, and no credential reaches one: the router
has looked at it. What is kept here is little: answers to repeated creations, for an hour.

Bounds: `MAX_REPEATS`. May import: `edge.api`, `edge.backend`, `edge.relays`, `edge.http`.
Spec: RFC 9110, sections 8.8.3 (ETag), 13.1.1 (If-Match).
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
import trio

from edge.api.operation import (
    ALL_SCOPES,
    IF_NONE_MATCH,
    Asked,
    Field,
    Need,
    Operation,
    Principal,
)
from edge.backend import (
    Backend,
    CreatedStream,
    CreateStreamRequest,
    MarkerInfo,
    MarkerRequest,
    StreamChanges,
    StreamInfo,
    StreamSettings,
    StreamStatus,
)
from edge.errors import NoSuchStream
from edge.http.messages import HttpError, Request
from edge.http.response import Response, json_response, make_response
from edge.relays import RelayBackend, RelaysInfo, RelaysRequest

MAX_REPEATS: Final = 1000
"""Creations whose answers are kept for who asks again; the oldest goes first."""

REPEAT_S: Final = 3600.0
"""How long they are kept, seconds."""

MAX_IDEMPOTENCY_KEY: Final = 200
"""Characters."""

IDEMPOTENCY_KEY: Final = Field(
    "Idempotency-Key", "Names the creation, so that it may be asked for again.", MAX_IDEMPOTENCY_KEY
)
IF_MATCH: Final = Field("If-Match", "ETags of the settings that may be changed.")


class StreamKeyBody(msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """The body of start and end; the key may come as a bearer token instead."""

    stream_key: str | None = None

    def __repr__(self) -> str:
        return "StreamKeyBody(...)"  # a repr goes into logs


class StreamList(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Streams."""

    streams: list[StreamInfo]


class StreamPage(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Some of all streams, newest first."""

    streams: list[StreamInfo]
    next: str | None = None
    """For `after` in the next call; null: these were the last."""


class ListQuery(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Which streams."""

    status: StreamStatus | msgspec.UnsetType = msgspec.UNSET
    """As stored: a stream that has gone live this instant may be missing."""
    broadcaster_id: Annotated[str, msgspec.Meta(max_length=128)] | msgspec.UnsetType = msgspec.UNSET
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    after: Annotated[str, msgspec.Meta(max_length=64)] | msgspec.UnsetType = msgspec.UNSET
    """`next` of the call before."""


class BackendAccess:
    """Implements `Access` by asking a `Backend`: for a process that has nothing better."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def identify(
        self, credential: str, *, stream_id: str | None, client: str
    ) -> Principal | None:
        """See `Access.identify`; guesses are not counted."""
        if stream_id is not None and await self._backend.owns(stream_id, credential):
            return Principal("key", stream_id=stream_id)
        if await self._backend.is_admin(credential):
            return Principal("admin", scopes=ALL_SCOPES)
        return None

    async def knows_stream(self, stream_id: str) -> bool:
        """See `Access.knows_stream`."""
        try:
            await self._backend.get_stream(stream_id)
        except NoSuchStream:
            return False
        return True


class StreamsApi:
    """The handlers.

    Args:
        backend: The owner of the truth about streams.
        relays: The owner of the relays; None: there are none.
    """

    def __init__(self, backend: Backend, relays: RelayBackend | None = None) -> None:
        self._backend = backend
        self._relays = relays
        self._repeats: OrderedDict[tuple[str, str], tuple[float, bytes, Response]] = OrderedDict()
        self._creating = trio.Lock()
        self._changing = trio.Lock()

    @property
    def operations(self) -> Sequence[Operation]:
        """The rows."""
        every, one = "/api/streams", "/api/streams/{streamId}"
        rows = [
            Operation(
                name="createStream", method="POST", path=every, handler=self._create,
                summary="Create a stream", tag="streams", need=Need.ADMIN,
                body=CreateStreamRequest, status=201, answer=CreatedStream, errors=(409,),
                fields=(IDEMPOTENCY_KEY,), answer_fields=("Location",),
                description="With an `Idempotency-Key` header the same call may be made again: for "
                "an hour it gets the same answer, and makes no second stream.",
            ),
            Operation(
                name="listStreams", method="GET", path=every, handler=self._list,
                summary="List all streams, newest first", tag="streams", need=Need.ADMIN,
                scope="read", query=ListQuery, answer=StreamPage,
            ),
            Operation(
                name="listLiveStreams", method="GET", path=f"{every}/live", handler=self._live,
                summary="List the streams that are live", tag="streams", answer=StreamList,
            ),
            Operation(
                name="getStream", method="GET", path=one, handler=self._get,
                summary="Show a stream", tag="streams", answer=StreamInfo,
            ),
            Operation(
                name="changeStream", method="PATCH", path=one, handler=self._change,
                summary="Change a stream's settings", tag="streams", need=Need.STREAM,
                body=StreamChanges, answer=StreamInfo, errors=(412,),
                fields=(IF_MATCH,), answer_fields=("ETag",),
                description="What is left out stays as it is. With `If-Match` (an ETag of the "
                "settings) nothing changes if somebody else was faster.",
            ),
            Operation(
                name="getSettings", method="GET", path=f"{one}/settings",
                handler=self._settings, summary="Show a stream's settings, with their ETag",
                tag="streams", need=Need.STREAM, scope="read", answer=StreamSettings,
                fields=(IF_NONE_MATCH,), answer_fields=("ETag",),
            ),
            Operation(
                name="deleteStream", method="DELETE", path=one, handler=self._delete,
                summary="End a stream's broadcast and remove the stream", tag="streams",
                need=Need.ADMIN, status=204,
                description="Its keys, chat and figures go with it.",
            ),
            Operation(
                name="startStream", method="POST", path=f"{one}/start", handler=self._start,
                summary="Go live without a publisher yet", tag="streams", need=Need.STREAM,
                body=StreamKeyBody, body_optional=True, key_in_body=True, answer=StreamInfo,
                errors=(409,), description="Publishing with the key goes live by itself.",
            ),
            Operation(
                name="endStream", method="POST", path=f"{one}/end", handler=self._end,
                summary="End the broadcast", tag="streams", need=Need.STREAM,
                body=StreamKeyBody, body_optional=True, key_in_body=True, answer=StreamInfo,
                errors=(409,),
                description="The publisher is disconnected, playlists end, a recording is closed.",
            ),
            Operation(
                name="createMarker", method="POST", path=f"{one}/markers", handler=self._mark,
                summary="Put a marker on the timeline (EXT-X-DATERANGE)", tag="streams",
                need=Need.STREAM, body=MarkerRequest, status=201, answer=MarkerInfo,
                errors=(409,),
            ),
        ]  # fmt: skip
        if self._relays is not None:
            rows += [
                Operation(
                    name="getRelays", method="GET", path=f"{one}/relays",
                    handler=self._get_relays, summary="Show a stream's relays and how they fare",
                    tag="relays", need=Need.STREAM, scope="read", answer=RelaysInfo,
                ),
                Operation(
                    name="setRelays", method="PUT", path=f"{one}/relays",
                    handler=self._set_relays, summary="Set where a stream is sent and fetched from",
                    tag="relays", need=Need.ADMIN, body=RelaysRequest, answer=RelaysInfo,
                    description="A stream's key is not enough: this server connects to whatever "
                    "it is told.",
                ),
            ]  # fmt: skip
        return rows

    async def _create(self, asked: Asked) -> Response:
        name = asked.request.header(b"idempotency-key")
        if name is None:
            return await self._create_once(asked.body)
        if not 0 < len(name) <= MAX_IDEMPOTENCY_KEY:
            raise HttpError(400, f"Idempotency-Key: 1 to {MAX_IDEMPOTENCY_KEY} characters")
        body = msgspec.json.encode(asked.body)
        async with self._creating:  # who asks twice at once gets one stream
            now_s = trio.current_time()
            while self._repeats and next(iter(self._repeats.values()))[0] <= now_s - REPEAT_S:
                self._repeats.popitem(last=False)
            repeat = self._repeats.get((asked.principal.name, name))
            if repeat is not None:
                if repeat[1] != body:
                    raise HttpError(
                        409, "this Idempotency-Key came with another body", code="otherBody"
                    )
                return repeat[2]
            response = await self._create_once(asked.body)
            self._repeats[asked.principal.name, name] = (now_s, body, response)
            if len(self._repeats) > MAX_REPEATS:
                self._repeats.popitem(last=False)
            return response

    async def _create_once(self, wanted: CreateStreamRequest) -> Response:
        created = await self._backend.create_stream(wanted)
        return json_response(201, created, extra={"Location": f"/api/streams/{created.id}"})

    async def _list(self, asked: Asked) -> Response:
        query: ListQuery = asked.query
        streams = await self._backend.list_streams(
            status=query.status or None,
            broadcaster_id=None if query.broadcaster_id is msgspec.UNSET else query.broadcaster_id,
            after=None if query.after is msgspec.UNSET else query.after,
            limit=query.limit + 1,
        )
        shown = streams[: query.limit]
        more = shown[-1].id if len(streams) > len(shown) else None
        return json_response(200, StreamPage(streams=shown, next=more))

    async def _live(self, _asked: Asked) -> Response:
        return json_response(200, StreamList(streams=await self._backend.live_streams()))

    async def _get(self, asked: Asked) -> Response:
        return json_response(200, await self._backend.get_stream(asked.stream_id))

    async def _settings(self, asked: Asked) -> Response:
        settings = _settings_of(await self._backend.get_stream(asked.stream_id))
        return _tagged(asked.request, settings, settings)

    async def _change(self, asked: Asked) -> Response:
        changes: StreamChanges = asked.body
        wanted = asked.request.header(b"if-match")
        async with self._changing:  # nobody else between the look and the change
            if wanted is not None and wanted.strip() != "*":
                now = _settings_of(await self._backend.get_stream(asked.stream_id))
                if _etag(now) not in [tag.strip() for tag in wanted.split(",")]:
                    raise HttpError(412, "the settings have changed meanwhile")
            info = await self._backend.change_stream(asked.stream_id, changes)
        return json_response(200, info, extra={"ETag": _etag(_settings_of(info))})

    async def _delete(self, asked: Asked) -> Response:
        await self._backend.delete_stream(asked.stream_id)
        return make_response(204)

    async def _start(self, asked: Asked) -> Response:
        return json_response(200, await self._backend.start(asked.stream_id))

    async def _end(self, asked: Asked) -> Response:
        return json_response(200, await self._backend.end(asked.stream_id))

    async def _mark(self, asked: Asked) -> Response:
        return json_response(201, await self._backend.mark(asked.stream_id, asked.body))

    async def _get_relays(self, asked: Asked) -> Response:
        assert self._relays is not None
        return json_response(200, await self._relays.relays(asked.stream_id))

    async def _set_relays(self, asked: Asked) -> Response:
        assert self._relays is not None
        return json_response(200, await self._relays.set_relays(asked.stream_id, asked.body))


def _settings_of(info: StreamInfo) -> StreamSettings:
    return StreamSettings(
        title=info.title,
        chat_enabled=info.chat_enabled,
        recording_enabled=info.recording_enabled,
    )


def _etag(settings: StreamSettings) -> str:
    return f'"{hashlib.sha256(msgspec.json.encode(settings)).hexdigest()[:32]}"'


def _tagged(request: Request, settings: StreamSettings, body: object) -> Response:
    """The answer with the ETag of the settings; 304 to who has them."""
    tag = _etag(settings)
    if request.header(b"if-none-match") == tag:
        return make_response(304, extra={"ETag": tag})
    return json_response(200, body, extra={"ETag": tag})
