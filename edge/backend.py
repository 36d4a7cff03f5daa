"""What the API needs from the process that owns the truth about streams.

The origin implements `Backend` over its store and its running broadcasts; an edge node will
implement it by asking its upstream. The API layer checks credentials (with `is_admin` and `owns`)
before it calls anything that changes state, so the verbs below take no key.

The structs are the API's JSON: Python names here, camelCase on the wire.
"""

from datetime import datetime
from typing import Annotated, Literal, Protocol

import msgspec

from control.access_model import PlaybackPolicy

StreamStatus = Literal["idle", "live", "ended"]

# No control characters: titles end up in pages, logs and playlists. A $ would let a newline end it.
_Title = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]*\Z")]


class StreamInfo(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A stream as the API shows it: everything but its key."""

    id: str
    title: str
    status: StreamStatus
    broadcaster_id: str
    started_at: str | None = None
    """When the running or last broadcast began: ISO 8601, UTC."""
    ended_at: str | None = None
    """When the last broadcast ended: ISO 8601, UTC; None while live."""
    quality: list[str] = []
    """Names of the renditions that can be played now, best first; empty when not live."""
    viewer_count: int = 0
    """How many watch now."""
    chat_enabled: bool = True
    recording_enabled: bool = False
    playback: PlaybackPolicy = "public"
    """Who may watch: everybody; who has a token; who gets one from the stream's program."""


class CreatedStream(StreamInfo, rename="camel", frozen=True, kw_only=True):
    """The answer to a creation: the only time that the key is shown."""

    stream_key: str

    def __repr__(self) -> str:
        return f"CreatedStream(id={self.id!r})"  # a repr goes into logs


class CreateStreamRequest(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """The body of `POST /api/streams`."""

    broadcaster_id: _Name
    title: _Title
    chat_enabled: bool = True
    recording_enabled: bool = False


class StreamSettings(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What can be changed about a stream."""

    title: str
    chat_enabled: bool
    recording_enabled: bool


class StreamChanges(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """The body of `PATCH /api/streams/{id}`: what is left out stays as it is."""

    title: _Title | msgspec.UnsetType = msgspec.UNSET
    chat_enabled: bool | msgspec.UnsetType = msgspec.UNSET
    recording_enabled: bool | msgspec.UnsetType = msgspec.UNSET


_Hex = Annotated[str, msgspec.Meta(max_length=1024, pattern=r"^(0[xX])?([0-9A-Fa-f]{2})+\Z")]


class MarkerRequest(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """The body of `POST /api/streams/{id}/markers`; `hls.Marker` has the bounds of its texts."""

    id: str | None = None
    """Unique while it is listed; one is made up if it is left out."""
    kind: str | None = msgspec.field(name="class", default=None)
    """CLASS: whose attributes these are."""
    start_date: datetime | None = None
    """Programme time; the live edge if it is left out. It needs an offset from UTC."""
    duration: float | None = None
    """Seconds."""
    planned_duration: float | None = None
    """Seconds."""
    scte35_cmd: _Hex | None = None
    scte35_out: _Hex | None = None
    scte35_in: _Hex | None = None
    attributes: dict[str, str | float] = {}
    """Client attributes: X-... to a text or a number."""


class MarkerInfo(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A marker that is listed now."""

    id: str
    start_date: str
    """ISO 8601, UTC."""


class Backend(Protocol):
    """The owner of the truth about streams. All methods may be called from any Trio task.

    Each may raise `edge.errors.Unavailable`.
    """

    async def create_stream(self, request: CreateStreamRequest) -> CreatedStream:
        """Create a stream with a fresh key."""
        ...

    async def live_streams(self) -> list[StreamInfo]:
        """Return every stream that is live now."""
        ...

    async def get_stream(self, stream_id: str) -> StreamInfo:
        """Return one stream.

        Raises:
            NoSuchStream: There is none with this id.
        """
        ...

    async def list_streams(
        self,
        *,
        status: StreamStatus | None,
        broadcaster_id: str | None,
        after: str | None,
        limit: int,
    ) -> list[StreamInfo]:
        """Return streams, newest first: those that are asked for, behind the stream `after`."""
        ...

    async def change_stream(self, stream_id: str, changes: StreamChanges) -> StreamInfo:
        """Change settings, and return the stream as it is then.

        Raises:
            NoSuchStream: There is none with this id.
        """
        ...

    async def delete_stream(self, stream_id: str) -> None:
        """End the stream's broadcast, if there is one, and remove all that is kept of it.

        Raises:
            NoSuchStream: There is none with this id.
        """
        ...

    async def start(self, stream_id: str) -> StreamInfo:
        """Go live by API; the caller has been authorised.

        Raises:
            NoSuchStream: There is none with this id.
            AlreadyLive: It is live already.
        """
        ...

    async def end(self, stream_id: str) -> StreamInfo:
        """End the broadcast: disconnect its publisher, end its playlists.

        Raises:
            NoSuchStream: There is none with this id.
            NotLive: There is no broadcast to end.
        """
        ...

    async def mark(self, stream_id: str, request: MarkerRequest) -> MarkerInfo:
        """Put a marker on the timeline of every rendition (EXT-X-DATERANGE).

        Raises:
            NoSuchStream: There is none with this id.
            NotLive: It is not live, or has no media yet.
            BadMarker: It cannot be listed; the text says why.
        """
        ...

    async def is_admin(self, token: str) -> bool:
        """Say whether this is the admin token; compares in constant time."""
        ...

    async def owns(self, stream_id: str, stream_key: str) -> bool:
        """Say whether this is the stream's key; False too when there is no such stream."""
        ...
