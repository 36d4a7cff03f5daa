"""The life of a broadcast: idle -> live -> ended, and what has to happen around each step.

::

    start --> live, without publisher --publish--> live --end; its publisher said goodbye--> ended
                                       ^            |                                          ^
                                       |      lose: its connection is gone                     |
                                       |            v                                          |
                                       '-publish- live, publisher awaited --reconnect_grace_s--'

`Broadcasts` is the truth about who is live in this process. Its steps (`start`, `publish`, `lose`,
`end`) are synchronous: they change the state, the viewers' view of it and the publisher's
connection at once, and leave what takes time to `run`, which one task of the process does:

* a broadcast whose publisher does not come back in time ends; until then something may stand in for
  it (`origin.slate`);
* the store learns of each step, in order per stream, again and again while the disk refuses;
* EXT-X-ENDLIST follows `END_DELAY_S` after the last parts, since hls.js (1.7.4) never loads parts
  that it first sees together with ENDLIST: it stalls one part before the end;
* an ended broadcast's media stays for the duration of its playlist (rfc8216bis 6.2.1), then goes.

Bounds: one live broadcast per stream; one ended broadcast per stream, since a new one's media
replaces the old one's; one row to write per stream; `reconnect_grace_s` without a publisher.

A stream that is live by API (`start`) may wait for its first publisher for as long as it likes.

May import hls, edge, control and trio; never rtmpcore.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from secrets import token_hex
from typing import TYPE_CHECKING, Final

import structlog
import trio

from control import Store, StoreError, Stream, StreamStatus, UnknownStreamError
from edge.events import EventBus
from edge.live import LiveStream, LiveStreams
from edge.rendition import LiveRendition
from hls.timeline import Timeline
from hls.timeline_settings import TimelineSettings
from origin.feed import Feed, Ladder, StandIn

if TYPE_CHECKING:
    from origin.packager import Packager

END_DELAY_S: Final = 0.6
"""From the last parts to ENDLIST: a slow viewer's round trip, well under hls.js's time-out."""

STORE_RETRY_S: Final = 5.0
"""Pause before the store is told again what it could not write."""

SOURCE: Final = "source"
"""Name of the rendition that is the publisher's own media."""

DAY_S: Final = 86_400.0
"""Media time counts from the midnight (UTC) before a broadcast's first media."""

TOKEN_BYTES: Final = 6
"""Random bytes in a broadcast's token: no two broadcasts of a stream ever share a media URL."""

log = structlog.get_logger("broadcast")


class AlreadyLiveError(Exception):
    """The stream is live, or has a publisher, already."""

    def __init__(self) -> None:
        super().__init__("stream is already live")


class NotLiveError(Exception):
    """There is no broadcast to end."""

    def __init__(self) -> None:
        super().__init__("stream is not live")


@dataclass(slots=True, eq=False)
class Broadcast:
    """One live period of a stream. Only `Broadcasts` changes it."""

    stream_id: str

    started_at_s: float
    """When it went live, UTC."""

    token: str = field(default_factory=lambda: token_hex(TOKEN_BYTES))
    """Part of every media URL of this broadcast."""

    ended_at_s: float | None = None
    """When it ended, UTC."""

    feed: Feed | None = None
    """Its publisher, if one is connected."""

    lost_due_s: float = 0.0
    """Trio time at which it ends unless its publisher, which it has lost, comes back."""

    stand_in: StandIn | None = None
    """What is shown instead meanwhile, if anything is."""

    packager: "Packager | None" = None
    """What makes its media, from one publisher to the next; made by its first one."""

    live: LiveStream | None = None
    """What viewers see of it; None before the first media arrives."""

    media_started_at_s: float = 0.0
    """Programme date-time of media time zero, UTC, once there is media."""

    ladder: "Ladder | None" = None
    """What makes its other renditions, if anything does."""

    endlist_due_s: float = 0.0
    """Trio time at which ENDLIST is due, once it has ended."""

    free_due_s: float = 0.0
    """Trio time at which its media goes."""

    @property
    def first_number(self) -> int:
        """Media Sequence Number of its first segment: the second in which it began.

        Segments come more slowly than seconds, so numbers go on from one broadcast of a stream to
        the next, after a crash too (rfc8216bis 6.2.2: they never go back), and so does media time.
        To a player that watches on, the next broadcast is a live edge that has moved.
        """
        return int(self.started_at_s)

    @property
    def rendition(self) -> LiveRendition | None:
        """The publisher's own media, or None before it arrives."""
        return None if self.live is None else self.live.renditions[SOURCE]


class Broadcasts:
    """Every broadcast of this process.

    Args:
        live: Where viewers find renditions.
        store: Learns of each step.
        timeline_settings: For the timelines of new broadcasts.
        reconnect_grace_s: How long a broadcast waits for a publisher that it has lost; with 0 it
            ends with it.
        clock: Gives UTC seconds since 1970.
        events: Where each step is told; None: nowhere.
    """

    def __init__(
        self,
        *,
        live: LiveStreams,
        store: Store,
        timeline_settings: TimelineSettings,
        reconnect_grace_s: float = 0.0,
        clock: Callable[[], float] = time.time,
        events: EventBus | None = None,
    ) -> None:
        self.stand_in: Callable[[Broadcast], StandIn | None] = _nothing
        """Begins to show something in a broadcast that has just lost its publisher."""
        self._live_streams = live
        self._store = store
        self._timeline_settings = timeline_settings
        self.reconnect_grace_s = reconnect_grace_s
        """May be changed: it holds for whoever is lost from then on."""
        self._clock = clock
        self._events = events or EventBus(clock)
        self._live: dict[str, Broadcast] = {}
        self._lost: dict[str, Broadcast] = {}  # those of `_live` whose publisher is awaited again
        self._ended: dict[str, Broadcast] = {}  # whose media is still served
        self._unwritten: dict[str, Broadcast] = {}  # whose state the store does not have yet
        self._changed = trio.Event()

    # -- steps: synchronous, never a checkpoint

    def start(self, stream_id: str) -> Broadcast:
        """Go live without a publisher (yet).

        Raises:
            AlreadyLiveError: It is live.
        """
        if stream_id in self._live:
            raise AlreadyLiveError
        broadcast = Broadcast(stream_id, self._clock())
        self._live[stream_id] = broadcast
        self._live_streams.announce(stream_id)
        self._note(broadcast)
        log.info("broadcast started", stream=stream_id)
        self._tell("stream.live", broadcast, startedAt=_ms(broadcast.started_at_s))
        return broadcast

    def publish(self, stream_id: str, feed: Feed) -> Broadcast:
        """Give a stream its publisher; goes live by itself, or on if it has lost one.

        Raises:
            AlreadyLiveError: It has a publisher.
        """
        broadcast = self._live.get(stream_id) or self.start(stream_id)
        if broadcast.feed is not None:
            raise AlreadyLiveError
        _end_stand_in(broadcast)  # first: a bug in it must not leave a feed that nobody closes
        broadcast.feed = feed
        if self._lost.pop(stream_id, None) is not None:
            log.info("broadcast goes on", stream=stream_id)
        self._tell("publisher.connected", broadcast)
        return broadcast

    def vacate(self, stream_id: str, reason: str) -> None:
        """Make way for another publisher, who comes before anybody else has a turn.

        The broadcast goes on, whatever `reconnect_grace_s` says. No effect without a publisher.
        """
        broadcast = self._live.get(stream_id)
        if broadcast is None or broadcast.feed is None:
            return
        feed, broadcast.feed = broadcast.feed, None
        log.info("publisher replaced", stream=stream_id, reason=reason)
        try:
            feed.give_way(reason)
        finally:
            self._tell("publisher.disconnected", broadcast, reason=reason)

    def lose(self, broadcast: Broadcast) -> None:
        """Its publisher's connection is gone: wait for the next one, then end.

        No effect on a broadcast that has ended.
        """
        if broadcast.ended_at_s is not None:
            return
        if not self.reconnect_grace_s:
            self.end(broadcast, "publisher lost")
            return
        broadcast.feed = None
        broadcast.lost_due_s = trio.current_time() + self.reconnect_grace_s
        self._lost[broadcast.stream_id] = broadcast
        self._wake()
        log.warning(
            "publisher lost", stream=broadcast.stream_id, grace_s=round(self.reconnect_grace_s, 3)
        )
        self._tell("publisher.disconnected", broadcast, reason="lost")
        broadcast.stand_in = self.stand_in(broadcast)

    def open_media(self, broadcast: Broadcast) -> LiveRendition:
        """Begin to serve a live broadcast; call it when its first media has just arrived.

        Media time zero is the midnight before, so it is `media_time_s` already.

        Returns:
            The rendition `SOURCE`; `Broadcast.live` has all that there are.
        """
        now_s = self._clock()
        broadcast.media_started_at_s = now_s - now_s % DAY_S
        source = self._rendition(broadcast, SOURCE, 0)
        previous = self._ended.pop(broadcast.stream_id, None)
        if previous is not None:
            _end_playlist(previous)
        broadcast.live = self._live_streams.open(broadcast.stream_id, {SOURCE: source})
        return source

    def media_time_s(self, broadcast: Broadcast) -> float:
        """Where on a broadcast's media clock the wall clock is now; it may stand behind the media.

        Media that begins there keeps PROGRAM-DATE-TIME true, after a pause of any length.
        """
        return self._clock() - broadcast.media_started_at_s

    def add_rendition(
        self, broadcast: Broadcast, name: str, *, discontinuity_sequence: int
    ) -> LiveRendition:
        """Serve another rendition of a broadcast that has media.

        Args:
            broadcast: It.
            name: One that `LiveStream.order` has.
            discontinuity_sequence: Discontinuities of the broadcast before its first segment.
        """
        assert broadcast.live is not None
        rendition = self._rendition(broadcast, name, discontinuity_sequence)
        broadcast.live.add(rendition)
        return rendition

    def _rendition(
        self, broadcast: Broadcast, name: str, discontinuity_sequence: int
    ) -> LiveRendition:
        timeline = Timeline(
            token=broadcast.token,
            started_at_s=broadcast.media_started_at_s,
            settings=self._timeline_settings,
            discontinuity_sequence=discontinuity_sequence,
        )
        return LiveRendition(name=name, timeline=timeline)

    def end(self, broadcast: Broadcast, reason: str, *, for_good: bool = False) -> None:
        """End a broadcast and disconnect its publisher; no effect on one that has ended.

        Args:
            broadcast: The one to end.
            reason: For the log and for the publisher's closing line.
            for_good: Its publisher is told not to come back by itself, as encoders do.
        """
        if broadcast.ended_at_s is not None:
            return
        broadcast.ended_at_s = self._clock()
        del self._live[broadcast.stream_id]
        self._lost.pop(broadcast.stream_id, None)
        feed, broadcast.feed = broadcast.feed, None
        try:
            try:
                if feed is not None:
                    feed.stop(reason, for_good=for_good)
                _end_stand_in(broadcast)
            finally:
                if broadcast.packager is not None:
                    broadcast.packager.finish()  # its last parts, before the end of the playlist
        finally:  # ended is ended: a bug in one publisher's media leaves no half state
            self._begin_linger(broadcast)
            self._note(broadcast)
            log.info("broadcast ended", stream=broadcast.stream_id, reason=reason)
            if feed is not None:
                self._tell("publisher.disconnected", broadcast, reason=reason)
            self._tell(
                "stream.ended",
                broadcast,
                reason=reason,
                startedAt=_ms(broadcast.started_at_s),
                endedAt=_ms(broadcast.ended_at_s),
            )

    def end_stream(self, stream_id: str, reason: str) -> None:
        """End a stream's broadcast because somebody wants it, and not only for a moment.

        Raises:
            NotLiveError: It has none.
        """
        broadcast = self._live.get(stream_id)
        if broadcast is None:
            raise NotLiveError
        self.end(broadcast, reason, for_good=True)

    def end_all(self, reason: str) -> bool:
        """End every live broadcast; tells whether there was any."""
        live = list(self._live.values())
        for broadcast in live:
            self.end(broadcast, reason)
        return bool(live)

    def _tell(self, kind: str, broadcast: Broadcast, **data: object) -> None:
        self._events.emit(kind, broadcast.stream_id, broadcastId=broadcast.token, **data)

    # -- questions

    def live(self, stream_id: str) -> Broadcast | None:
        """Return the stream's live broadcast, or None."""
        return self._live.get(stream_id)

    def is_live(self, stream_id: str) -> bool:
        """Tell whether the stream has a live broadcast."""
        return stream_id in self._live

    def live_stream_ids(self) -> Iterator[str]:
        """Ids of the streams that are live."""
        return iter(list(self._live))

    def state(self, stream: Stream) -> tuple[StreamStatus, float | None, float | None]:
        """Return status, start and end of a stored stream as they are now, not as last written."""
        broadcast = self._live.get(stream.id) or self._unwritten.get(stream.id)
        if broadcast is not None:
            status = StreamStatus.LIVE if broadcast.ended_at_s is None else StreamStatus.ENDED
            return status, broadcast.started_at_s, broadcast.ended_at_s
        return stream.status, stream.started_at, stream.ended_at

    # -- what takes time

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow up on the steps until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tidy)
            nursery.start_soon(self._write)
            task_status.started()

    async def settled(self) -> None:
        """Return when viewers of ended broadcasts have ENDLIST and the store knows everything.

        Needs `run` beside it. A store that fails keeps it waiting: bound it from outside.
        """
        while self._unwritten or any(map(_awaits_endlist, self._ended.values())):
            await self._changed.wait()

    async def _tidy(self) -> None:
        """End what waits in vain, write ENDLISTs and free media when they are due."""
        while True:
            next_s = self._tidy_now(trio.current_time())
            with trio.move_on_at(next_s):
                await self._changed.wait()

    def _tidy_now(self, now_s: float) -> float:
        """Do what is due; returns when there is more to do."""
        next_s = float("inf")
        for broadcast in list(self._lost.values()):
            if broadcast.lost_due_s <= now_s:
                self._give_up(broadcast)
            else:
                next_s = min(next_s, broadcast.lost_due_s)
        for stream_id, broadcast in list(self._ended.items()):
            if _awaits_endlist(broadcast) and broadcast.endlist_due_s <= now_s:
                _end_playlist(broadcast)
                self._wake()
            if broadcast.free_due_s <= now_s:
                self._live_streams.close(stream_id)
                del self._ended[stream_id]
            else:
                awaited = _awaits_endlist(broadcast)
                next_s = min(next_s, broadcast.endlist_due_s if awaited else broadcast.free_due_s)
        return next_s

    def _give_up(self, broadcast: Broadcast) -> None:
        """End a broadcast whose publisher has not come back; a bug in its media is its own."""
        try:
            self.end(broadcast, "publisher did not come back")
        except Exception:
            log.exception("the end of a broadcast failed", stream=broadcast.stream_id)

    async def _write(self) -> None:
        """Bring the store up to date, for as long as it takes."""
        while True:
            if not self._unwritten:
                await self._changed.wait()
                continue
            broadcast = next(iter(self._unwritten.values()))
            ended_at_s = broadcast.ended_at_s
            try:
                await self._store.set_status(
                    broadcast.stream_id, StreamStatus.LIVE, broadcast.started_at_s
                )
                if ended_at_s is not None:
                    await self._store.set_status(
                        broadcast.stream_id, StreamStatus.ENDED, ended_at_s
                    )
            except UnknownStreamError:
                log.warning("the stream of a broadcast is gone", stream=broadcast.stream_id)
            except StoreError as error:  # the broadcast goes on; the truth is here
                log.error(
                    "cannot store the state of a broadcast",
                    stream=broadcast.stream_id,
                    reason=str(error),
                )
                await trio.sleep(STORE_RETRY_S)
                continue
            if broadcast.ended_at_s == ended_at_s:
                self._forget(broadcast)

    def _begin_linger(self, broadcast: Broadcast) -> None:
        if broadcast.rendition is None:
            self._live_streams.withdraw(broadcast.stream_id)
            return
        timeline = broadcast.rendition.timeline
        if not timeline.ready:  # nobody has seen anything of it
            self._live_streams.close(broadcast.stream_id)
            return
        linger_s = (len(timeline.segments) + 1) * timeline.presentation.target_duration_s
        broadcast.endlist_due_s = trio.current_time() + END_DELAY_S
        broadcast.free_due_s = broadcast.endlist_due_s + linger_s
        self._ended[broadcast.stream_id] = broadcast

    def _note(self, broadcast: Broadcast) -> None:
        self._unwritten.pop(broadcast.stream_id, None)  # the newest goes last: no stream starves
        self._unwritten[broadcast.stream_id] = broadcast
        self._wake()

    def _forget(self, broadcast: Broadcast) -> None:
        if self._unwritten.get(broadcast.stream_id) is broadcast:
            del self._unwritten[broadcast.stream_id]
            self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()


def _nothing(_broadcast: Broadcast) -> None:
    return None


def _end_stand_in(broadcast: Broadcast) -> None:
    stand_in, broadcast.stand_in = broadcast.stand_in, None
    if stand_in is not None:
        stand_in.stop()


def _ms(at_s: float) -> int:
    """UTC seconds as milliseconds."""
    return round(at_s * 1000)


def _awaits_endlist(broadcast: Broadcast) -> bool:
    return broadcast.live is not None and not broadcast.live.ended


def _end_playlist(broadcast: Broadcast) -> None:
    if broadcast.ladder is not None:
        broadcast.ladder.finish()
    if broadcast.live is not None:
        for rendition in broadcast.live.renditions.values():
            if not rendition.timeline.ended:
                rendition.end()
