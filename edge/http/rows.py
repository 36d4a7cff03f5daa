"""Rows of what `edge.http.routes` answers by itself, for the document: playlists, media, state.

They are objects that exist already, or bytes for players: no handler, no JSON to check. What stands
here is documentation of `edge.http.hls_app` and `edge.http.routes`, and is tested against both.

Pure. May import: `edge.api.operation`. Spec: rfc8216bis-22, section 6.2.5 (directives).
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Final, Literal

import msgspec

from edge.api.operation import IF_NONE_MATCH, RANGE, Operation

PLAYLIST: Final = "application/vnd.apple.mpegurl"

_Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)] | msgspec.UnsetType


class MasterQuery(msgspec.Struct, frozen=True, kw_only=True):
    """In which container."""

    container: str = "fmp4"
    """`ts`: MPEG-TS, without low latency; all else is fMP4."""


class Directives(msgspec.Struct, frozen=True, kw_only=True):
    """What a player waits for; see `hls.request`."""

    msn: _Number = msgspec.field(name="_HLS_msn", default=msgspec.UNSET)
    """The answer is held until this segment is there."""
    part: _Number = msgspec.field(name="_HLS_part", default=msgspec.UNSET)
    """Or this part of it; only with `_HLS_msn`."""
    skip: str | msgspec.UnsetType = msgspec.field(name="_HLS_skip", default=msgspec.UNSET)
    """`YES` or `v2`: a delta update is enough; all else asks for nothing."""


class Alive(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The process runs."""

    status: Literal["ok"] = "ok"
    live_streams: int
    """That can be watched here."""


class Check(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was looked at."""

    ok: bool
    reason: str | None = None
    """What is wrong, if anything is."""


class Ready(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The process should get new viewers, and an origin new publishers."""

    status: Literal["ready"] = "ready"
    checks: dict[str, Check]
    """By name: `store`, `disk`, ..."""


def player_operations() -> Sequence[Operation]:
    """What players ask for."""
    one = "/api/streams/{streamId}"
    quality = f"{one}/{{quality}}"
    playlist = partial(
        Operation,
        method="GET",
        handler=None,
        tag="playlists and media",
        media_type=PLAYLIST,
        errors=(401, 403, 429),
        fields=(IF_NONE_MATCH,),
    )
    media = partial(playlist, media_type="video/mp4", errors=(401, 403, 416, 429), fields=(RANGE,))
    return (
        playlist(
            name="getMaster", path=f"{one}/master.m3u8", query=MasterQuery,
            summary="The multivariant playlist",
            description="404 while the stream is not live. Of a stream that not everybody may "
            "watch it is asked for as `/api/streams/{streamId}/~TOKEN/master.m3u8`, and all that "
            "it names likewise; see `createPlaybackToken`.",
        ),
        playlist(
            name="getPlaylist", path=f"{quality}/playlist.m3u8", query=Directives,
            summary="The media playlist of a quality, Low-Latency HLS",
            description="With `_HLS_msn` it is held until there is what it names.",
        ),
        playlist(
            name="getIframes", path=f"{quality}/iframes.m3u8",
            summary="The I-frame playlist of a quality",
        ),
        playlist(
            name="getTsPlaylist", path=f"{quality}/ts.m3u8",
            summary="The media playlist of a quality in MPEG-TS",
        ),
        media(
            name="getInit", path=f"{quality}/{{name}}.mp4",
            summary="An initialisation section", description="Its name is a playlist's.",
        ),
        media(
            name="getMedia", path=f"{quality}/{{name}}.m4s",
            summary="A segment, a part or an I-frame",
            description="Its name is a playlist's. A part that is only hinted at is held until it "
            "is there.",
        ),
        media(
            name="getTsSegment", path=f"{quality}/{{name}}.ts", media_type="video/mp2t",
            summary="A segment in MPEG-TS", description="Its name is a playlist's.",
        ),
    )  # fmt: skip


HEALTH: Final = Operation(
    name="getAlive", method="GET", path="/health", handler=None, tag="process",
    summary="Whether the process runs", answer=Alive,
)  # fmt: skip

READY: Final = Operation(
    name="getReady", method="GET", path="/ready", handler=None, tag="process",
    summary="Whether the process should get new viewers and publishers", answer=Ready,
    errors=(503,), description="503 has every reason, in `error` and by check in `checks`.",
)  # fmt: skip

METRICS: Final = Operation(
    name="getMetrics", method="GET", path="/metrics", handler=None, tag="process",
    summary="The figures of the process, in Prometheus' text format", media_type="text/plain",
)  # fmt: skip
