"""How many watch each stream: sessions that are heard of, and time that passes.

A session is one player, named by itself with random text. It counts from its first sign to
`TIMEOUT_S` after its last, or to its goodbye; so who comes counts at once, and who is cut off
counts for half a minute too long. A name is counted once, from wherever and by whatever means it is
heard: a *page* gives signs of life (`hear`), and any player may name itself in its requests
(`notice`). A page decides for itself: once it has given a sign, its player's requests do not count
it, so that one that is paused, or has said goodbye, is none.

Bare players, who have no name, are as many as `set_bare` says, by network. Some named players are
among them too: the system's player in a page, which says nothing in its requests; one that names
itself with media alone. They are *unnamed* there, and taken off: nobody counts twice.

Of each stream is kept, besides its sessions: the most at one time and the time that was watched in
the present broadcast, and a point a minute for graphs. Nothing is kept of a viewer but two names
(`edge.audience.names`), its own and its network's, for as long as it is counted; a page's for two
minutes more.

Sans-IO: time is an argument, and never goes back. Every step is synchronous, and costs no more than
the sessions that have timed out since the last one.

Bounds: `MAX_SESSIONS` in all, who was heard of longest ago goes first; `MAX_PER_NETWORK` of a
stream from one network; `MAX_PAGES` that are remembered; `MAX_POINTS` and `MAX_SAID` of a stream;
as many streams as are live, or have ended and were asked to be kept (`forget`). Imports nothing of
ours.
"""

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

TIMEOUT_S: Final = 30.0
"""From the last sign of a player to its end. Pages give one every ten seconds."""

MAX_SESSIONS: Final = 200_000
"""In all: some 60 MB."""

MAX_PER_NETWORK: Final = 2_000
"""Sessions of a stream from one network: a stadium behind one address, and no more than that for
whoever makes viewers up."""

PAGE_S: Final = 120.0
"""For so long after the last that was heard of it a page is remembered as one."""

MAX_PAGES: Final = 200_000
"""Remembered; who was heard of longest ago goes first."""

SETTLES_S: Final = 8.0
"""So long bare players must have been there to count in a peak: the estimate of how many they are
rises for some five seconds when many of them leave (`edge.audience.cadence`)."""

MAX_SAID: Final = 64
"""What was said of a stream's bare players in that time; it is said once a second."""

POINT_S: Final = 60.0
"""Between two points of the history."""

MAX_POINTS: Final = 1_440
"""Points of a stream: a day."""


@dataclass(frozen=True, slots=True)
class Point:
    """How many watched in one minute."""

    at_s: float
    """When it ended; on the clock of the steps."""
    count: int
    """At its end."""
    peak: int
    """Most at one time within it."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What there is to say of a stream now."""

    count: int
    peak: int
    """Most at one time in this broadcast; bare players for `SETTLES_S` at least."""
    watched_s: float
    """Seconds that all viewers of this broadcast have watched together."""


@dataclass(slots=True)
class _Session:
    network: str
    heard_s: float
    unnamed: bool
    """Its playlists are asked for by somebody without a name."""


@dataclass(slots=True)
class _Stream:
    sessions: OrderedDict[str, _Session] = field(default_factory=OrderedDict)
    """Who was heard of longest ago is first."""
    networks: Counter[str] = field(default_factory=Counter)
    unnamed: Counter[str] = field(default_factory=Counter)
    """Sessions that are among the bare players of a network too."""
    bare: int = 0
    """Bare players, without those."""
    said: deque[tuple[float, int]] = field(
        default_factory=lambda: deque([(-math.inf, 0)], maxlen=MAX_SAID)
    )
    """When `bare` was said, and what: all since `SETTLES_S`, and the one before."""
    settled: int = 0
    """The fewest bare players since then."""
    peak: int = 0
    watched_s: float = 0.0
    since_s: float = 0.0
    """Until when `watched_s` is reckoned."""
    points: deque[Point] = field(default_factory=lambda: deque(maxlen=MAX_POINTS))
    point_peak: int = 0
    """Most since the last point."""

    @property
    def count(self) -> int:
        return len(self.sessions) + self.bare

    @property
    def steady_count(self) -> int:
        """The same for peaks."""
        return len(self.sessions) + self.settled

    def settle(self, now_s: float) -> None:
        """See which of the bare players have been there for long enough."""
        while len(self.said) > 1 and self.said[1][0] <= now_s - SETTLES_S:
            self.said.popleft()
        self.settled = min(count for _, count in self.said)


class Counts:
    """The viewers of all streams of a process."""

    def __init__(self) -> None:
        self._streams: dict[str, _Stream] = {}
        self._total = 0
        # Who is a page, and until when that is remembered. Who was heard of longest ago is first.
        self._pages: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __len__(self) -> int:
        """Sessions in all, those included whose time-out nobody has noticed yet."""
        return self._total

    def begin(self, stream_id: str, now_s: float) -> None:
        """A broadcast begins: its figures do, its stream's sessions and history go on."""
        stream = self._at(stream_id, now_s)
        stream.watched_s, stream.peak = 0.0, stream.steady_count

    def forget(self, stream_id: str) -> None:
        """Drop all that is known of a stream."""
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._total -= len(stream.sessions)

    def hear(
        self, stream_id: str, viewer_id: str, network: str, now_s: float, *, unnamed: bool = False
    ) -> bool:
        """A page gives a sign of life.

        Args:
            stream_id: What it plays.
            viewer_id: Its name.
            network: Where it is.
            now_s: The time.
            unnamed: What plays there asks for playlists without a name.

        Returns:
            Whether it counts; False: there are too many from there.
        """
        self._remember_page(stream_id, viewer_id, now_s)
        return self._enter(stream_id, viewer_id, network, now_s, unnamed)

    def notice(
        self, stream_id: str, viewer_id: str, network: str, now_s: float, *, unnamed: bool
    ) -> bool:
        """A player names itself in what it asks for; of a page this says nothing new.

        Args:
            stream_id: What it plays.
            viewer_id: Its name.
            network: Where it is.
            now_s: The time.
            unnamed: It was media that it asked for, and playlists perhaps without a name.

        Returns:
            As `hear`.
        """
        if self._pages.get((stream_id, viewer_id), now_s) > now_s:
            self._remember_page(stream_id, viewer_id, now_s)
            return True
        stream = self._streams.get(stream_id)
        session = None if stream is None else stream.sessions.get(viewer_id)
        return self._enter(
            stream_id, viewer_id, network, now_s, unnamed and (session is None or session.unnamed)
        )

    def set_bare(self, stream_id: str, players: Mapping[str, int], now_s: float) -> None:
        """Say how many bare players a stream has.

        Args:
            stream_id: What they play.
            players: By network; who is not in it has none.
            now_s: The time.
        """
        if not players and stream_id not in self._streams:
            return
        stream = self._at(stream_id, now_s)
        stream.settle(now_s)
        self._note_peak(stream)
        stream.bare = sum(
            max(0, count - stream.unnamed[network]) for network, count in players.items()
        )
        stream.said.append((now_s, stream.bare))
        stream.settled = min(stream.settled, stream.bare)

    def leave(self, stream_id: str, viewer_id: str, now_s: float) -> None:
        """A page says goodbye."""
        self._remember_page(stream_id, viewer_id, now_s)
        if stream_id not in self._streams:
            return
        stream = self._at(stream_id, now_s)
        if viewer_id in stream.sessions:
            self._drop(stream, viewer_id)

    def figures(self, stream_id: str, now_s: float) -> Figures:
        """What there is to say of a stream; zeros if nobody has ever watched it."""
        if stream_id not in self._streams:
            return Figures(0, 0, 0.0)
        stream = self._at(stream_id, now_s)
        return Figures(stream.count, stream.peak, stream.watched_s)

    def history(self, stream_id: str) -> tuple[Point, ...]:
        """A stream's points, oldest first."""
        stream = self._streams.get(stream_id)
        return () if stream is None else tuple(stream.points)

    def mark(self, now_s: float) -> dict[str, Point]:
        """Make a point in every stream's history, and return it; to be called every `POINT_S`."""
        made = {}
        for stream_id in self._streams:
            stream = self._at(stream_id, now_s)
            count = stream.count
            made[stream_id] = point = Point(now_s, count, max(stream.point_peak, count))
            stream.points.append(point)
            stream.point_peak = stream.steady_count
        return made

    def _remember_page(self, stream_id: str, viewer_id: str, now_s: float) -> None:
        pages = self._pages
        pages[stream_id, viewer_id] = now_s + PAGE_S
        pages.move_to_end((stream_id, viewer_id))
        while pages and (len(pages) > MAX_PAGES or next(iter(pages.values())) <= now_s):
            pages.popitem(last=False)

    def _enter(
        self, stream_id: str, viewer_id: str, network: str, now_s: float, unnamed: bool
    ) -> bool:
        stream = self._at(stream_id, now_s)
        session = stream.sessions.get(viewer_id)
        if session is None or session.network != network:
            if stream.networks[network] >= MAX_PER_NETWORK:
                return False
            stream.networks[network] += 1
        if session is None:
            self._total += 1
        else:
            self._leave_network(stream, session, stays=session.network == network)
        stream.unnamed[network] += unnamed
        stream.sessions[viewer_id] = _Session(network, now_s, unnamed)
        stream.sessions.move_to_end(viewer_id)
        if self._total > MAX_SESSIONS:
            self._make_room(now_s)
        self._note_peak(stream)
        return True

    def _note_peak(self, stream: _Stream) -> None:
        stream.peak = max(stream.peak, stream.steady_count)
        stream.point_peak = max(stream.point_peak, stream.steady_count)

    def _at(self, stream_id: str, now_s: float) -> _Stream:
        """The stream as it is now: who has timed out is gone, and time is reckoned."""
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._streams[stream_id] = _Stream(since_s=now_s)
        while stream.sessions:
            viewer_id, oldest = next(iter(stream.sessions.items()))
            gone_s = oldest.heard_s + TIMEOUT_S
            if gone_s > now_s:
                break
            self._reckon(stream, gone_s)
            self._drop(stream, viewer_id)
        self._reckon(stream, now_s)
        return stream

    def _reckon(self, stream: _Stream, now_s: float) -> None:
        if now_s > stream.since_s:
            stream.watched_s += stream.count * (now_s - stream.since_s)
            stream.since_s = now_s

    def _drop(self, stream: _Stream, viewer_id: str) -> None:
        self._leave_network(stream, stream.sessions.pop(viewer_id))
        self._total -= 1

    def _leave_network(self, stream: _Stream, session: _Session, *, stays: bool = False) -> None:
        """Take a session off its network, or only what makes it unnamed there."""
        for counter, count in (
            (stream.networks, not stays),
            (stream.unnamed, session.unnamed),
        ):
            counter[session.network] -= count
            if not counter[session.network]:
                del counter[session.network]

    def _make_room(self, now_s: float) -> None:
        """Drop who was heard of longest ago, of all streams."""
        for stream_id in self._streams:
            self._at(stream_id, now_s)
        if self._total > MAX_SESSIONS:
            watched = [stream for stream in self._streams.values() if stream.sessions]
            stream = min(watched, key=lambda one: next(iter(one.sessions.values())).heard_s)
            self._drop(stream, next(iter(stream.sessions)))
