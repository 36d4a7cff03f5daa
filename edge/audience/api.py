"""Operations on viewers: a player's sign of life, how many there are and were, how they fare.

`Audience` holds the counts of an origin and lives as long as it: of pages by their signs, of other
players by what they ask for (`note`), of both at edges by their reports. What the broadcasts do
comes by `on_event`. Wall-clock time is for the answers alone.

May import: `control`, `edge.api`, `edge.audience`, `edge.events`, `edge.http`, `edge.errors`, trio.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import msgspec
import trio

from control import AudienceStore, StoreError
from edge.api.operation import Asked, Need, Operation
from edge.api.times import iso8601
from edge.audience.bare import BareCounts, Pace
from edge.audience.cadence import BareRate, Cadences
from edge.audience.cmcd import Sample
from edge.audience.counts import Counts, Figures
from edge.audience.gathering import hear_request
from edge.audience.histograms import Histogram
from edge.audience.keeping import MAX_MINUTES, Keeping
from edge.audience.names import Namer, name_of_player
from edge.audience.quality import Quality
from edge.audience.reports import AudienceCounts, EdgeReport, StreamAudience
from edge.audience.signs import ViewerCount, ViewerSign
from edge.errors import Unavailable
from edge.events import PlatformEvent
from edge.http.messages import HttpError
from edge.http.network import network_of
from edge.http.response import Response, json_response

LOOK_S: Final = 1.0
"""Between two looks at how many bare players there are."""

_AT_ONCE: Final = 200  # buckets, between two checkpoints: 2 ms
_HERE: Final = ""  # who tells of bare players that are served by this process


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
    """Minute by minute, oldest first; minutes in which nobody watched may be left out."""

    points: list[ViewerPoint]


class HistoryQuery(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """How far back."""

    minutes: Annotated[int, msgspec.Meta(ge=1, le=MAX_MINUTES)] = 60


class BroadcastViewers(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """How many watched one broadcast."""

    started_at: str
    """ISO 8601, UTC."""
    ended_at: str | None
    """None while it goes on."""
    peak: int
    """Most at one time."""
    watch_minutes: float
    """Of all viewers together."""


class BroadcastsViewers(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Broadcast by broadcast, newest first."""

    broadcasts: list[BroadcastViewers]


class BroadcastsQuery(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """How many."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50


class Percentiles(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Of so many percent of samples the value is this or less; to some 7 %."""

    p5: float
    p25: float
    p50: float
    p75: float
    p95: float

    @classmethod
    def of(cls, histogram: Histogram) -> "Percentiles | None":
        """Read a histogram; None: it is empty."""
        values = {}
        for name in cls.__struct_fields__:
            value = histogram.percentile(float(name[1:]))
            if value is None:
                return None
            values[name] = round(value, 1)
        return cls(**values)


class StreamQuality(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """How viewers fare by their own word (CMCD), in the last minute."""

    viewers: int
    """How many watch now; not all of them say how they fare."""
    samples: int
    """What the rest is made of: a player is one in ten seconds, for each process that serves it."""
    rebuffering: float
    """Share of samples whose player ran dry, or waits for media; 0 to 1."""
    bitrate_kbps: Percentiles | None
    """Of what they load; null: nobody says."""
    buffer_ms: Percentiles | None
    """What they have ahead."""
    throughput_kbps: Percentiles | None
    """What their lines give, as they measured it."""


class Audience:
    """The viewers of an origin, and the operations on them.

    Args:
        is_live: Whether a stream is live: of others nobody is a viewer.
        pace: How long a stream's parts are, and its target duration; None: it is not known now, and
            bare players count as one for each kind and network.
        store: Keeps the history; None: it ends with the process.
        wall_clock: Gives UTC seconds since 1970.
    """

    def __init__(
        self,
        is_live: Callable[[str], bool],
        *,
        pace: Callable[[str], Pace | None] = lambda _stream_id: None,
        store: AudienceStore | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._is_live = is_live
        self._pace = pace
        self._store = store
        self._wall_clock = wall_clock
        self._namer = Namer(secrets.token_bytes(16))
        self._counts = Counts()
        self._cadences = Cadences()
        self._bare = BareCounts()
        self._quality = Quality()
        self._keeping = Keeping(store, self._counts, wall_clock=wall_clock)

    def count(self, stream_id: str) -> int:
        """How many watch a stream now."""
        return self.figures(stream_id).count

    def figures(self, stream_id: str) -> Figures:
        """The same, and how many have watched in this broadcast."""
        return self._counts.figures(stream_id, trio.current_time())

    def note(
        self, *, stream_id: str, client: str, agent: int, cmcd: str, blocking: int, plain: int
    ) -> None:
        """See `edge.http.messages.Audience.note`. Costs some 10 us."""
        if self._is_live(stream_id):
            hear_request(
                self,
                self._namer,
                stream_id=stream_id,
                client=client,
                agent=agent,
                cmcd=cmcd,
                blocking=blocking,
                plain=plain,
            )

    def on_player(
        self, stream_id: str, key: str, network: str, sample: Sample, *, unnamed: bool
    ) -> None:
        """See `edge.audience.gathering.Listener.on_player`."""
        now_s = trio.current_time()
        if self._counts.notice(stream_id, key, network, now_s, unnamed=unnamed):
            self._quality.add(stream_id, key, sample, now_s)

    def on_bare(self, stream_id: str, key: str, network: str, *, blocking: int, plain: int) -> None:
        """See `edge.audience.gathering.Listener.on_bare`."""
        now_s = trio.current_time()
        self._cadences.note(stream_id, key, network, blocking=blocking, plain=plain, now_s=now_s)

    def on_event(self, event: PlatformEvent) -> None:
        """Follow the broadcasts; a listener of an `EventBus`."""
        stream_id, now_s = event.stream_id, trio.current_time()
        self._keeping.on_event(event, now_s)
        if event.type == "stream.live":
            self._counts.begin(stream_id, now_s)
        elif event.type == "stream.deleted":
            for part in (self._counts, self._cadences, self._bare, self._quality):
                part.forget(stream_id)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Count bare players every second, and keep the history, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keeping.run)
            task_status.started()
            while True:
                await trio.sleep(LOOK_S)
                await self._look()

    async def _look(self) -> None:
        """Count the bare players; media goes on meanwhile."""
        now_s = trio.current_time()
        self._quality.turn(now_s)
        for number, rate in enumerate(self._cadences.rates(now_s), 1):
            self._bare.tell(rate, _HERE, now_s)
            if number % _AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        for stream_id in self._bare.streams:
            self._count_bare(stream_id, now_s)
            await trio.lowlevel.checkpoint()

    def _count_bare(self, stream_id: str, now_s: float) -> None:
        if not self._is_live(stream_id):
            self._bare.forget(stream_id)
        pace = self._pace(stream_id) or _UNKNOWN
        self._counts.set_bare(stream_id, self._bare.players(stream_id, pace, now_s), now_s)

    @property
    def operations(self) -> Sequence[Operation]:
        """The rows."""
        stream = "/api/streams/{streamId}"
        path = f"{stream}/viewers"
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
                "not live nobody is counted. Players that give no sign are counted by what they "
                "ask for; one whose CMCD session id is its viewerId is one viewer.",
            ),
            Operation(
                name="getViewerHistory", method="GET", path=f"{path}/history",
                handler=self._history, summary="Say how many watched, minute by minute",
                tag="viewers", need=Need.STREAM, scope="read", query=HistoryQuery,
                answer=ViewerHistory,
            ),
            Operation(
                name="listBroadcastViewers", method="GET", path=f"{path}/broadcasts",
                handler=self._broadcasts, summary="Say how many watched, broadcast by broadcast",
                tag="viewers", need=Need.STREAM, scope="read", query=BroadcastsQuery,
                answer=BroadcastsViewers,
            ),
            Operation(
                name="getQuality", method="GET", path=f"{stream}/quality",
                handler=self._show_quality, summary="Say how viewers fare, by their own word",
                tag="viewers", need=Need.STREAM, scope="read", answer=StreamQuality,
                description="Of players that send CMCD (CTA-5004), as a query or as fields.",
            ),
            Operation(
                name="reportAudience", method="POST", path="/api/edge/audience",
                handler=self._report, summary="Tell of an edge's viewers", tag="edges",
                need=Need.ADMIN, scope="edge", body=EdgeReport, answer=AudienceCounts,
                description="For edges (`upstream_token`): every few seconds, from each of their "
                "processes.",
            ),
        )  # fmt: skip

    async def _show(self, asked: Asked) -> Response:
        found = self.figures(asked.stream_id)
        return json_response(
            200,
            ViewerFigures(
                count=found.count, peak=found.peak, watch_minutes=_minutes(found.watched_s)
            ),
        )

    async def _hear(self, asked: Asked) -> Response:
        sign: ViewerSign = asked.body
        stream_id, now_s = asked.stream_id, trio.current_time()
        key = name_of_player(sign.viewer_id)
        if sign.leaving:
            self._counts.leave(stream_id, key, now_s)
        elif self._is_live(stream_id):
            network = self._namer.network(network_of(asked.request.client))
            if not self._counts.hear(stream_id, key, network, now_s, unnamed=sign.native):
                raise HttpError(429, "too many viewers from your address", Retry_After="30")
        return json_response(200, ViewerCount(count=self.count(stream_id)))

    async def _history(self, asked: Asked) -> Response:
        query: HistoryQuery = asked.query
        now_s = self._wall_clock()
        if self._store is None:
            ago_s = now_s - trio.current_time()
            rows = [
                (point.at_s + ago_s, point.count, point.peak)
                for point in self._counts.history(asked.stream_id)[-query.minutes :]
            ]
        else:
            try:
                kept = await self._store.list_minutes(
                    asked.stream_id, since=now_s - 60 * query.minutes, limit=query.minutes
                )
            except StoreError:
                raise Unavailable from None
            rows = [(row.at, row.count, row.peak) for row in kept]
        points = [
            ViewerPoint(at=iso8601(at_s), count=count, peak=peak) for at_s, count, peak in rows
        ]
        return json_response(200, ViewerHistory(points=points))

    async def _broadcasts(self, asked: Asked) -> Response:
        query: BroadcastsQuery = asked.query
        try:
            kept = (
                []
                if self._store is None
                else await self._store.list_broadcasts(asked.stream_id, limit=query.limit)
            )
        except StoreError:
            raise Unavailable from None
        running = self._keeping.began_at(asked.stream_id)
        rows = [
            BroadcastViewers(
                started_at=iso8601(row.started_at),
                ended_at=iso8601(row.ended_at),
                peak=row.peak,
                watch_minutes=_minutes(row.watched_s),
            )
            for row in kept
            if row.started_at != running
        ]
        if running is not None:
            found = self.figures(asked.stream_id)
            now = BroadcastViewers(
                started_at=iso8601(running),
                ended_at=None,
                peak=found.peak,
                watch_minutes=_minutes(found.watched_s),
            )
            rows = [now, *rows][: query.limit]
        return json_response(200, BroadcastsViewers(broadcasts=rows))

    async def _show_quality(self, asked: Asked) -> Response:
        now_s = trio.current_time()
        tally = self._quality.figures(asked.stream_id, now_s)
        return json_response(
            200,
            StreamQuality(
                viewers=self.count(asked.stream_id),
                samples=tally.samples,
                rebuffering=round(tally.rebuffering / tally.samples, 4) if tally.samples else 0.0,
                bitrate_kbps=Percentiles.of(tally.bitrate),
                buffer_ms=Percentiles.of(tally.buffer),
                throughput_kbps=Percentiles.of(tally.throughput),
            ),
        )

    async def _report(self, asked: Asked) -> Response:
        report: EdgeReport = asked.body
        counts = {}
        for part in report.streams:
            if self._is_live(part.stream_id):
                self._take(report.reporter, part, trio.current_time())
                counts[part.stream_id] = self.count(part.stream_id)
        return json_response(200, AudienceCounts(counts=counts))

    def _take(self, reporter: str, part: StreamAudience, now_s: float) -> None:
        """Take an edge's word for its viewers of one stream."""
        stream_id, counts = part.stream_id, self._counts
        for row in part.viewers:
            if row.leaving:
                counts.leave(stream_id, row.key, now_s)
            elif row.page:
                counts.hear(stream_id, row.key, row.network, now_s, unnamed=row.unnamed)
            else:
                counts.notice(stream_id, row.key, row.network, now_s, unnamed=row.unnamed)
        for rate in part.bare:
            told = BareRate(
                stream_id, rate.key, rate.network, rate.blocking_per_s, rate.plain_per_s
            )
            self._bare.tell(told, reporter, now_s)
        if part.words is not None:
            self._quality.merge(stream_id, part.words.tally, now_s)


_UNKNOWN: Final = Pace(0.0, 0.0)  # of which one player is the least


def _minutes(seconds: float) -> float:
    return round(seconds / 60, 1)
