"""The operations on recordings: listed, described, watched, downloaded, deleted.

A recording is as public as its stream: of one that not everybody may watch (`protected`), nothing
is seen without a key of it, an admin token, or a playback token in the path
(`/api/recordings/{id}/~TOKEN/...`). What is served never changes, so caches may keep it.

Bounds: the texts of `MAX_TEXTS` recordings are kept; an index is read for each other one.

May import control, edge and origin's own. Spec: RFC 6266 (Content-Disposition).
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar
from urllib.parse import parse_qs

import msgspec
import structlog
import trio

from control import Recording, RecordingStatus, RecordingStore, StoreError
from control.keys import is_stream_id
from edge.api.operation import RANGE, Asked, Need, Operation
from edge.api.router import MAX_QUERY_FIELDS
from edge.api.times import iso8601
from edge.errors import Unavailable, WrongKey
from edge.hls_response import PLAYLIST_TYPE
from edge.http.messages import HttpError, Request
from edge.http.response import Response, json_response, make_response
from edge.playback.gate import MARK, Gate, Refused
from origin.recording.index import MAX_FILES, MediaFile
from origin.recording.mp4 import part_index
from origin.recording.playlist import render_master, render_recording
from origin.recording.recorder import Recorder
from origin.recording.send_file import FileSender

MAX_TEXTS: Final = 8
"""Recordings whose playlists are kept; one of ten hours has 2 MB."""

_CACHE: Final = "public, max-age=3600"
_SAFE_NAME = re.compile(r"[^A-Za-z0-9._-]+")

log = structlog.get_logger("recording")

T = TypeVar("T")


class RecordingInfo(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A recording of one broadcast."""

    recording_id: str
    stream_id: str
    broadcast_id: str
    title: str
    """The stream's, when it began."""
    status: RecordingStatus
    """`ready` can be watched."""
    started_at: str
    """ISO 8601, UTC."""
    ended_at: str | None = None
    """Null while it goes on."""
    duration_seconds: float
    size_bytes: int
    reason: str | None = None
    """Why it ended before its broadcast, or failed."""
    playlist_url: str | None = None
    """Path of its multivariant playlist, once it is ready."""


class RecordingPage(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Some of all recordings that can be watched, newest first."""

    recordings: list[RecordingInfo]
    """Perhaps fewer than the limit, though there are more: go by `next`."""
    next: str | None = None
    """For `after` in the next call; null: these were the last."""


class RecordingQuery(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Which recordings."""

    stream_id: Annotated[str, msgspec.Meta(max_length=64)] | msgspec.UnsetType = msgspec.UNSET
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    after: Annotated[str, msgspec.Meta(max_length=64)] | msgspec.UnsetType = msgspec.UNSET
    """`next` of the call before."""


class DownloadQuery(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Which file."""

    file: Annotated[int, msgspec.Meta(ge=0, lt=MAX_FILES)] | msgspec.UnsetType = msgspec.UNSET
    """From 0; needed where there are several."""


@dataclass(frozen=True, slots=True)
class _File:
    """What is to be known of a media file to send it."""

    name: str
    size_bytes: int
    init_bytes: int
    index: bytes
    """For its download."""


@dataclass(frozen=True, slots=True)
class _Texts:
    """What is made of an index."""

    files: Sequence[_File]
    master: bytes
    playlist: bytes


class RecordingsApi:
    """The handlers.

    Args:
        recorder: Has the media.
        recordings: The index.
        protected: Gives the streams that not everybody may watch; raises `StoreError`.
        gate: Judges playback tokens; None: none admits.
    """

    def __init__(
        self,
        recorder: Recorder,
        recordings: RecordingStore,
        protected: Callable[[], Awaitable[Container[str]]],
        gate: Gate | None = None,
    ) -> None:
        self._gate = gate
        self._recorder = recorder
        self._recordings = recordings
        self._protected = protected
        self._files = FileSender()
        self._texts: OrderedDict[str, _Texts] = OrderedDict()
        self._reading = trio.Lock()  # many who ask at once cost one reading

    @property
    def operations(self) -> Sequence[Operation]:
        """The rows."""
        every, one = "/api/recordings", "/api/recordings/{recordingId}"
        tag = "recordings"
        public = (
            "Of a stream that not everybody may watch, it needs a key of it, an admin token with "
            "the scope `read`, or a playback token behind the recording's id (`~TOKEN`)."
        )
        refusals = (401, 403, 404, 409, 429)
        return (
            Operation(
                name="listRecordings", method="GET", path=every, handler=self._list, tag=tag,
                summary="List the recordings that can be watched, newest first",
                description="Those of streams that not everybody may watch are listed to an admin "
                "token with the scope `read`, and with `streamId` to a key of that stream.",
                query=RecordingQuery, answer=RecordingPage, scope="read",
                stream_of=self._asked_stream, errors=(404, 429),
            ),
            Operation(
                name="getRecording", method="GET", path=one, handler=self._get, tag=tag,
                summary="Describe a recording", description=public, answer=RecordingInfo,
                scope="read", stream_of=self._stream_of, errors=(401, 403, 404, 429),
            ),
            Operation(
                name="deleteRecording", method="DELETE", path=one, handler=self._delete, tag=tag,
                summary="Delete a recording", status=204, need=Need.STREAM,
                stream_of=self._stream_of, errors=(409,),
                description="One that is still being made cannot be deleted.",
            ),
            Operation(
                name="getRecordingPlaylists", method="GET", path=f"{one}/master.m3u8",
                handler=self._master, summary="Watch a recording: its multivariant playlist",
                description=public, tag=tag, scope="read", media_type=PLAYLIST_TYPE,
                stream_of=self._stream_of, errors=refusals,
            ),
            Operation(
                name="getRecordingPlaylist", method="GET", path=f"{one}/source/playlist.m3u8",
                handler=self._playlist, summary="Its media playlist, in byte ranges of its files",
                description=public, tag=tag, scope="read", media_type=PLAYLIST_TYPE,
                stream_of=self._stream_of, errors=refusals,
            ),
            Operation(
                name="downloadRecording", method="GET", path=f"{one}/download.mp4",
                handler=None, take=self._download, tag=tag, scope="read", query=DownloadQuery,
                summary="Download a recording as a fragmented MP4 file", media_type="video/mp4",
                description="It may be asked for in ranges. A recording whose configuration "
                f"changed on the way is several files: `file` says which. {public}",
                stream_of=self._stream_of, errors=(*refusals, 416), fields=(RANGE,),
            ),
            Operation(
                name="getRecordingMedia", method="GET", path=f"{one}/{{fileName}}",
                handler=None, take=self._media, tag=tag, scope="read", media_type="video/mp4",
                summary="A media file of a recording, or a range of it", description=public,
                stream_of=self._stream_of, errors=(*refusals, 416), fields=(RANGE,),
            ),
        )  # fmt: skip

    async def _list(self, asked: Asked) -> Response:
        query: RecordingQuery = asked.query
        stream_id = query.stream_id or None
        found = await self._ask_store(
            lambda: self._recordings.list_ready(
                stream_id=stream_id, after=query.after or None, limit=query.limit
            )
        )
        protected = await self._ask_store(self._protected)
        seen = [
            _info(one)
            for one in found
            if one.stream_id not in protected or _may_read(asked, one.stream_id)
        ]
        more = found[-1].id if len(found) == query.limit else None
        return json_response(200, RecordingPage(recordings=seen, next=more))

    async def _get(self, asked: Asked) -> Response:
        recording, _ = await self._find(asked)
        return json_response(200, _info(recording))

    async def _delete(self, asked: Asked) -> Response:
        recording = await self._look_up(asked.params)
        if recording is None:
            raise _no_such()
        if recording.status is RecordingStatus.RECORDING:
            raise HttpError(409, "the recording is still being made", code="stillRecording")
        self._texts.pop(recording.id, None)
        await self._ask_store(lambda: self._recorder.remove(recording))
        return make_response(204)

    async def _master(self, asked: Asked) -> Response:
        recording, is_public = await self._find_ready(asked)
        return _playlist_response((await self._read(recording)).master, is_public)

    async def _playlist(self, asked: Asked) -> Response:
        recording, is_public = await self._find_ready(asked)
        return _playlist_response((await self._read(recording)).playlist, is_public)

    async def _download(self, asked: Asked, stream: trio.abc.Stream) -> None:
        recording, is_public = await self._find_ready(asked)
        files = (await self._read(recording)).files
        query: DownloadQuery = asked.query
        number = 0 if query.file is msgspec.UNSET else query.file
        if query.file is msgspec.UNSET and len(files) > 1:
            raise HttpError(
                409,
                "the configuration of this recording changed, so it is several files: ask for"
                f" ?file=0 to ?file={len(files) - 1}",
                code="severalFiles",
            )
        if number >= len(files):
            raise HttpError(404, "the recording has no such file", code="noSuchFile")
        suffix = f"-{number}" if len(files) > 1 else ""
        name = _SAFE_NAME.sub("-", recording.title).strip("-.")[:80] or "recording"
        field = f'attachment; filename="{name}-{recording.id}{suffix}.mp4"'
        media = files[number]
        await self._files.send(
            stream,
            asked.request,
            self._recorder.path_of(recording.id) / media.name,
            size_bytes=media.size_bytes,
            inserted=media.index,
            inserted_at=media.init_bytes,
            etag=f'"{recording.id}-{number}-download"',
            is_public=is_public,
            extra={"Content-Disposition": field},
        )

    async def _media(self, asked: Asked, stream: trio.abc.Stream) -> None:
        recording, is_public = await self._find_ready(asked)
        for number, media in enumerate((await self._read(recording)).files):
            if media.name == asked.params["fileName"]:
                await self._files.send(
                    stream,
                    asked.request,
                    self._recorder.path_of(recording.id) / media.name,
                    size_bytes=media.size_bytes,
                    etag=f'"{recording.id}-{number}"',
                    is_public=is_public,
                )
                return
        raise HttpError(404, "the recording has no such file", code="noSuchFile")

    # -- who may see what

    async def _asked_stream(self, request: Request, _params: Mapping[str, str]) -> str | None:
        """The stream whose recordings are to be listed, if it is one only."""
        try:
            given = parse_qs(request.query, max_num_fields=MAX_QUERY_FIELDS).get("streamId")
        except ValueError:  # said when the query is read
            return None
        return given[0] if given and is_stream_id(given[0]) else None

    async def _stream_of(self, _request: Request, params: Mapping[str, str]) -> str | None:
        """Whose recording it is."""
        recording = await self._look_up(params)
        return None if recording is None else recording.stream_id

    async def _look_up(self, params: Mapping[str, str]) -> Recording | None:
        return await self._ask_store(lambda: self._recordings.get(params["recordingId"]))

    async def _find(self, asked: Asked) -> tuple[Recording, bool]:
        """Look a recording up that who asks may see; tells whether everybody may."""
        recording = await self._look_up(asked.params)
        if recording is None:
            raise _no_such()
        is_public = recording.stream_id not in await self._ask_store(self._protected)
        if not is_public and not _may_read(asked, recording.stream_id):
            if self._gate is not None and (token := _token_in(asked.request)) is not None:
                verdict = self._gate.judge(recording.stream_id, token, asked.request.client)
                if isinstance(verdict, Refused):
                    raise verdict.error
                return recording, False
            if asked.principal.scopes:
                raise HttpError(403, "this token lacks the scope 'read'")
            raise WrongKey
        return recording, is_public

    async def _find_ready(self, asked: Asked) -> tuple[Recording, bool]:
        recording, is_public = await self._find(asked)
        if recording.status is not RecordingStatus.READY:
            raise HttpError(409, "the recording cannot be watched", code="notReady")
        return recording, is_public

    # -- what is behind it

    async def _read(self, recording: Recording) -> _Texts:
        async with self._reading:
            texts = self._texts.get(recording.id)
            if texts is None:
                texts = self._texts[recording.id] = await self._make_texts(recording)
                if len(self._texts) > MAX_TEXTS:
                    self._texts.popitem(last=False)
            self._texts.move_to_end(recording.id)
            return texts

    async def _make_texts(self, recording: Recording) -> _Texts:
        try:
            return await self._recorder.read(recording.id, _make_texts)
        except FileNotFoundError:
            raise HttpError(404, "the recording is gone", code="noSuchRecording") from None
        except OSError as error:
            log.error("cannot read a recording", recording=recording.id, reason=error.strerror)
            raise Unavailable from None

    async def _ask_store(self, step: Callable[[], Awaitable[T]]) -> T:
        try:
            return await step()
        except StoreError as error:
            log.error("cannot look up a recording", reason=str(error))
            raise Unavailable from None


def _make_texts(files: Sequence[MediaFile]) -> _Texts:
    """Make everything that is made of an index; of ten hours it takes a tenth of a second."""
    if not files:
        raise FileNotFoundError
    known = [
        _File(media.name, media.size_bytes, media.line.init_bytes, part_index(media))
        for media in files
    ]
    return _Texts(known, render_master(files), render_recording(files))


def _may_read(asked: Asked, stream_id: str) -> bool:
    return asked.principal.stream_id == stream_id or asked.principal.may("read")


def _no_such() -> HttpError:
    return HttpError(404, "no such recording", code="noSuchRecording")


def _token_in(request: Request) -> str | None:
    """The playback token in a path, if one is there."""
    segments = request.path.split("/")
    is_there = len(segments) > 4 and segments[4].startswith(MARK)
    return segments[4][len(MARK) :] if is_there else None


def _playlist_response(text: bytes, is_public: bool) -> Response:
    return make_response(
        200,
        (text,),
        content_type=PLAYLIST_TYPE,
        cache_control=_CACHE if is_public else "no-store",
        etag=f'"{hashlib.sha256(text).hexdigest()[:32]}"',
        packable=True,
    )


def _info(recording: Recording) -> RecordingInfo:
    is_ready = recording.status is RecordingStatus.READY
    return RecordingInfo(
        recording_id=recording.id,
        stream_id=recording.stream_id,
        broadcast_id=recording.broadcast_id,
        title=recording.title,
        status=recording.status,
        started_at=iso8601(recording.started_at),
        ended_at=iso8601(recording.ended_at),
        duration_seconds=round(recording.duration_s, 3),
        size_bytes=recording.size_bytes,
        reason=recording.reason or None,
        playlist_url=f"/api/recordings/{recording.id}/master.m3u8" if is_ready else None,
    )
