"""Operations on viewers: a player's sign of life, how many there are, and how many there were.

`Audience` holds the counts of a process and lives as long as it; what the broadcasts do comes by
`on_event`. Wall-clock time is for the answers alone.

May import: `edge.api`, `edge.audience`, `edge.events`, `edge.http`, trio.
"""

import time
from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec
import trio

from edge.api.operation import Asked, Need, Operation
from edge.api.times import iso8601
from edge.audience.counts import POINT_S, Counts, Figures
from edge.events import PlatformEvent
from edge.http.messages import HttpError
from edge.http.network import network_of
from edge.http.response import Response, json_response


class ViewerSign(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """A player's sign of life: at its start, and then every ten seconds."""

    viewer_id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._~-]{8,64}\Z")]
    """Random, made by the player for as long as it plays."""
    leaving: bool = False
    """It stops now: do not wait for its time-out."""


class ViewerCount(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """How many watch."""

    count: int


class ViewerFigures(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """How many watch, and have watched in this broadcast."""

    count: int
    peak: int
    """Most at one time."""
    watch_minutes: float
    """Of all viewers together."""


class ViewerPoint(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """One minute."""

    at: str
    """ISO 8601, UTC: its end."""
    count: int
    """At its end."""
    peak: int
    """Most at one time within it."""


class ViewerHistory(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Minute by minute, oldest first; a day at most."""

    points: list[ViewerPoint]


class HistoryQuery(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """How far back."""

    minutes: Annotated[int, msgspec.Meta(ge=1, le=1440)] = 60


class Audience:
    """The viewers of a process, and the operations on them.

    Args:
        is_live: Whether a stream is live: of others nobody is a viewer.
        wall_clock: Gives UTC seconds since 1970.
    """

    def __init__(
        self, is_live: Callable[[str], bool], *, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._is_live = is_live
        self._wall_clock = wall_clock
        self._counts = Counts()

    def count(self, stream_id: str) -> int:
        """How many watch a stream now."""
        return self.figures(stream_id).count

    def figures(self, stream_id: str) -> Figures:
        """The same, and how many have watched in this broadcast."""
        return self._counts.figures(stream_id, trio.current_time())

    def on_event(self, event: PlatformEvent) -> None:
        """Follow the broadcasts; a listener of an `EventBus`."""
        if event.type == "stream.live":
            self._counts.begin(event.stream_id, trio.current_time())
        elif event.type == "stream.deleted":
            self._counts.forget(event.stream_id)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make a point of history every minute, until cancelled."""
        task_status.started()
        while True:
            await trio.sleep(POINT_S)
            self._counts.mark(trio.current_time())

    @property
    def operations(self) -> Sequence[Operation]:
        """The rows."""
        path = "/api/streams/{streamId}/viewers"
        return (
            Operation(
                name="countViewers", method="GET", path=path, handler=self._show,
                summary="Say how many watch", tag="viewers", answer=ViewerFigures,
            ),
            Operation(
                name="beatViewer", method="POST", path=path, handler=self._hear,
                summary="Give a player's sign of life", tag="viewers", body=ViewerSign,
                answer=ViewerCount, errors=(429,),
                description="Who gives none for 30 seconds counts no more. While the stream is "
                "not live nobody is counted.",
            ),
            Operation(
                name="getViewerHistory", method="GET", path=f"{path}/history",
                handler=self._history, summary="Say how many watched, minute by minute",
                tag="viewers", need=Need.STREAM, scope="read", query=HistoryQuery,
                answer=ViewerHistory,
            ),
        )  # fmt: skip

    async def _show(self, asked: Asked) -> Response:
        found = self.figures(asked.stream_id)
        return json_response(
            200,
            ViewerFigures(
                count=found.count,
                peak=found.peak,
                watch_minutes=round(found.watched_s / 60, 1),
            ),
        )

    async def _hear(self, asked: Asked) -> Response:
        sign: ViewerSign = asked.body
        stream_id, now_s = asked.stream_id, trio.current_time()
        if sign.leaving:
            self._counts.leave(stream_id, sign.viewer_id, now_s)
        elif self._is_live(stream_id):
            network = network_of(asked.request.client)
            if not self._counts.hear(stream_id, sign.viewer_id, network, now_s):
                raise HttpError(429, "too many viewers from your address", Retry_After="30")
        return json_response(200, ViewerCount(count=self.count(stream_id)))

    async def _history(self, asked: Asked) -> Response:
        query: HistoryQuery = asked.query
        ago_s = self._wall_clock() - trio.current_time()
        points = [
            ViewerPoint(at=iso8601(point.at_s + ago_s), count=point.count, peak=point.peak)
            for point in self._counts.history(asked.stream_id)[-query.minutes :]
        ]
        return json_response(200, ViewerHistory(points=points))
