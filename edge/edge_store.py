"""What an edge keeps, and how it gets it: a cache that fills itself, and runs ahead of its viewers.

    asked --> kept? ------------------------------> Response, until its life ends
                | no
              a flight for it? --> join it -------> Hold at its gate
                | no
              set off: upstream --> keep it, open the gate
                                      |
                              watched? set off for what comes next

The key of everything is its canonical target, and the upstream is asked for exactly that. Media
playlists are kept by `edge.playlists`, all else by `edge.cache`.

What cannot be brought is answered, once for all who wait: a plain playlist with the newest version,
for a while; anything else with 503 and Retry-After, which players come back from, where 404 ends
them. So a stream that was live and is missing a moment later is 503 as well, for `restart_grace_s`:
its origin has started again, and its publisher is on its way.

Questions are synchronous. Bounds: `edge.edge_settings`.

May import: `edge`, `hls.request`, trio. Spec: rfc8216bis-22, sections 6.2.5.2 and 6.2.6, Appendix
B.1.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

import trio

from edge.cache import Cache
from edge.edge_settings import EdgeSettings
from edge.flights import Flight, Flights
from edge.http.hls_app import FIRST_SEGMENT_WAIT_S
from edge.http.messages import Hold
from edge.http.response import Response, error_response
from edge.life import Life
from edge.lifetimes import Lifetimes
from edge.playback.learnt import LearntPolicies
from edge.playlists import Playlists, stream_of
from edge.prefetch import ahead_of, is_watched
from edge.relay import (
    MISSING_KEPT_S,
    is_protected,
    is_relayable,
    kept_s,
    relay,
    strong_etag,
)
from edge.upstream import Ask, Upstreams, via_line
from edge.upstream_lanes import Fetched, UpstreamError
from hls.request import Directives

LOOK_S = 1.0
"""Between two looks for streams that nothing is heard of."""

_GONE = (404, 410)
_AGAIN = {"Retry-After": "1"}

_UNREACHABLE = error_response(503, "the upstream cannot be reached, try again", extra=_AGAIN)
_BUSY = error_response(503, "too many different requests at once, try again", extra=_AGAIN)
_RESTARTING = error_response(503, "the broadcast was here a moment ago, try again", extra=_AGAIN)

_NOT_ENTITLED = error_response(
    502, "this node may not fetch streams that need a playback token", code="nodeNotEntitled"
)

# Target durations: "blocked for more than three" is when a server says 503 (6.2.5.2).
_HELD_TARGETS = 3

# A flight has an answer by its deadline; this is for the task that hands it out.
_HOLD_SLACK_S = 1.0

_PLAIN = Directives()

Fetch = Callable[[Ask], Awaitable[Response]]


@dataclass(slots=True)
class StoreCounters:
    """What became of requests since the start; with a reactor in front, of those it asked about."""

    hits: int = 0
    """Answered from what is kept."""
    misses: int = 0
    """Made a flight set off."""
    coalesced: int = 0
    """Joined one."""
    ahead: int = 0
    """Flights that set off before anybody asked."""
    stale: int = 0
    """Answers made of a playlist that is not fresh."""
    refused: int = 0
    """For want of room for another flight."""


class EdgeStore:
    """Everything that is fetched from upstreams and may be shared.

    Args:
        settings: Limits and time-outs.
        upstreams: Asked; run by this.
    """

    def __init__(self, settings: EdgeSettings, upstreams: Upstreams) -> None:
        self._settings = settings
        self._upstreams = upstreams
        self._own_via = via_line(None, settings.node_id)
        self._sweeping = trio.CancelScope()
        self._lifetimes = Lifetimes(self._sweep_sooner)
        self._cache = Cache(max_bytes=settings.cache_bytes)
        self._playlists = Playlists(
            self._lifetimes,
            max_bytes=settings.playlist_bytes,
            on_new_broadcast=partial(self._cache.forget, suffix=".m3u8"),
        )
        self._flights = Flights(max_flights=settings.max_flights, max_of_group=settings.max_waits)
        self.policies = LearntPolicies()
        """Which streams are protected, as far as their answers said."""
        self.counters = StoreCounters()

    @property
    def size_bytes(self) -> int:
        """What is kept now."""
        return self._cache.size_bytes + self._playlists.size_bytes

    @property
    def flights(self) -> int:
        """Requests under way to upstreams."""
        return len(self._flights)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Fly, sweep and probe until cancelled; then whoever waits is told to try again."""
        try:
            async with trio.open_nursery() as nursery:
                self._flights.nursery = nursery
                nursery.start_soon(self._upstreams.run)
                nursery.start_soon(self._sweep)
                nursery.start_soon(self._forget_unheard)
                task_status.started()
        finally:
            self._flights.nursery = None
            self._lifetimes.end_all()

    def playlist(self, path: str, directives: Directives, via: str | None) -> Response | Hold:
        """Answer a request for a media playlist.

        Args:
            path: Its canonical path.
            directives: What the query says.
            via: Via of the request.
        """
        now_s = trio.current_time()
        target = _target_of(path, directives)
        kept = self._playlists.find(path, directives, now_s) or self._cache.get(target)
        if kept is None and not self._upstreams.is_reachable:
            kept = self._stale(path, directives)
        if kept is not None:
            self.counters.hits += 1
            return kept
        # A plain request is held too, while there is no segment yet.
        ask = self._ask(target, path, via, is_held=True)
        if self._playlists.has_stale(path, directives, now_s):
            ask = replace(ask, patience_s=0.0)  # no news at once is better than news too late
        return self._join(ask, partial(self._fetch_playlist, path, directives), group=path)

    def media(self, path: str, via: str | None) -> Response | Hold:
        """Answer a request for an init section, a segment, a part or another kind of playlist."""
        kept = self._kept(path)
        if kept is not None:
            return kept
        folder, _, name = path.rpartition("/")
        playlist = f"{folder}/playlist.m3u8"
        is_held = self._playlists.is_hinted(playlist, name)
        ask = self._ask(path, playlist, via, is_held=is_held)
        return self._join(ask, partial(self._fetch_media, stream_of(path)))

    def master(self, stream: str, query: str, via: str | None) -> Response | Hold:
        """Answer a request for a multivariant playlist.

        Args:
            stream: `/api/streams/{id}`.
            query: Canonical.
            via: Via of the request.
        """
        target = f"{stream}/master.m3u8{query}"
        ask = self._ask(target, None, via, is_held=True)
        return self._kept(target) or self._join(ask, partial(self._fetch_master, stream))

    def info(self, path: str, via: str | None) -> Response | Hold:
        """Answer a question of the API that many ask at once; kept for a second."""
        ask = self._ask(path, None, via, is_held=False)
        return self._kept(path) or self._join(ask, partial(self._fetch_info, path))

    # -- flights

    def _join(self, ask: Ask, fetch: Fetch, *, group: str | None = None) -> Response | Hold:
        flight = self._flights.get(ask.target)
        if flight is not None:
            self.counters.coalesced += 1
        else:
            flight = self._set_off(ask, fetch, group=group)
            if flight is None:
                self.counters.refused += 1
                return _BUSY
            self.counters.misses += 1
        left_s = max(0.0, flight.deadline_s - trio.current_time())
        return Hold(flight.gate, left_s + _HOLD_SLACK_S, _UNREACHABLE)

    def _set_off(
        self, ask: Ask, fetch: Fetch, *, group: str | None = None, is_ahead: bool = False
    ) -> Flight | None:
        return self._flights.start(
            ask.target,
            partial(fetch, ask),
            timeout_s=ask.timeout_s,
            group=group,
            is_ahead=is_ahead,
        )

    def _ask(self, target: str, playlist: str | None, via: str | None, *, is_held: bool) -> Ask:
        """Say how long to try: longer than an upstream holds a request, if it may hold this one."""
        settings = self._settings
        attempt_s, timeout_s = settings.attempt_timeout_s, settings.fetch_timeout_s
        if is_held:
            target_s = None if playlist is None else self._playlists.target_s(playlist)
            blocked_s = 0 if target_s is None else _HELD_TARGETS * target_s
            attempt_s = max(blocked_s, FIRST_SEGMENT_WAIT_S) + settings.reload_margin_s
            timeout_s = attempt_s + settings.patience_s
        return Ask(
            target=target,
            via=self._own_via if via is None else via_line(via, settings.node_id),
            timeout_s=timeout_s,
            attempt_s=attempt_s,
            patience_s=settings.patience_s,
            is_held=is_held,
        )

    async def _fetch(self, ask: Ask) -> Fetched | None:
        """Bring an answer that can be passed on: 200, 4xx, 503; None if there is none."""
        try:
            answer = await self._upstreams.fetch(ask)
        except UpstreamError:
            return None
        is_wanted = answer.status == 200 or 400 <= answer.status < 500 or answer.status == 503
        if not is_wanted or not is_relayable(answer):
            return None
        segments = ask.target.split("/")
        if len(segments) > 4:  # of media, not the stream itself
            self._learn("/".join(segments[:4]), answer)
        return answer

    def _learn(self, stream: str, answer: Fetched) -> None:
        """Note whether a stream is protected; if that has changed, what is kept of it is wrong."""
        now_protected = is_protected(answer)
        if not now_protected and answer.status != 200:
            return  # perhaps of somebody between us and the origin
        if now_protected and answer.status in (401, 403, 429):
            self.policies.note_refusal(stream)
        if self.policies.learn(stream, is_protected=now_protected):
            self._cache.forget(stream, suffix="")
            self._playlists.forget(stream)

    async def _fetch_playlist(self, path: str, directives: Directives, ask: Ask) -> Response:
        answer = await self._fetch(ask)
        if answer is not None and answer.status == 200:
            return self._take(path, directives, ask.target, answer)
        stream = stream_of(path)
        is_restarting = self._is_restarting(answer, stream, path, directives)
        if answer is None or is_restarting:
            stale = self._stale(path, directives)
            if stale is not None:
                return stale
        return self._keep(ask.target, stream, answer, is_restarting=is_restarting)

    async def _fetch_media(self, stream: str, ask: Ask) -> Response:
        return self._keep(ask.target, stream, await self._fetch(ask))

    async def _fetch_master(self, stream: str, ask: Ask) -> Response:
        answer = await self._fetch(ask)
        is_restarting = self._is_restarting(answer, stream, None)
        return self._keep(ask.target, stream, answer, is_restarting=is_restarting)

    async def _fetch_info(self, stream: str, ask: Ask) -> Response:
        answer = await self._fetch(ask)
        if answer is None or answer.status != 200:
            return self._keep(ask.target, stream, answer)
        return self._put(ask.target, stream, MISSING_KEPT_S, partial(relay, answer))

    # -- what is kept

    def _kept(self, target: str) -> Response | None:
        kept = self._cache.get(target)
        self.counters.hits += kept is not None
        return kept

    def _take(self, path: str, directives: Directives, target: str, answer: Fetched) -> Response:
        """Keep a version of a playlist, and go on to the next one if the rendition is watched."""
        now_s = trio.current_time()
        rendition = self._playlists.get(path)
        asked_s = None if rendition is None else rendition.asked_s.get(directives.skip)
        is_followed = (
            self._settings.prefetch and directives.msn is not None and is_watched(asked_s, now_s)
        )
        taken = self._playlists.take(
            path,
            directives,
            answer.body,
            etag=strong_etag(answer),
            kept_s=kept_s(answer),
            is_followed=is_followed,
            is_protected=is_protected(answer),
            now_s=now_s,
        )
        if taken is None:
            return self._keep(target, stream_of(path), answer)
        if is_followed:
            self._follow(path, directives.skip)
        return taken

    def _keep(
        self, target: str, stream: str, answer: Fetched | None, *, is_restarting: bool = False
    ) -> Response:
        """Keep an answer for as long as it may be; return what viewers get."""
        if answer is None:
            return _UNREACHABLE
        if is_restarting:
            return self._put(target, stream, MISSING_KEPT_S, _restarting)
        if is_protected(answer) and answer.status in (401, 403):
            return self._put(target, stream, MISSING_KEPT_S, _not_entitled)
        if answer.status in (429, 503):
            return relay(answer)
        for_s = kept_s(answer) if answer.status == 200 else MISSING_KEPT_S
        if not for_s:
            return relay(answer)
        return self._put(target, stream, for_s, partial(relay, answer))

    def _put(
        self, target: str, stream: str, for_s: float, make: Callable[[Life], Response]
    ) -> Response:
        response = make(self._lifetimes.begin(trio.current_time() + for_s))
        self._cache.put(target, stream, response)
        return response

    def _stale(self, path: str, directives: Directives) -> Response | None:
        response = self._playlists.stale(path, directives, trio.current_time())
        if response is not None:
            self.counters.stale += 1
            self._cache.put(_target_of(path, directives), stream_of(path), response)
        return response

    def _is_restarting(
        self,
        answer: Fetched | None,
        stream: str,
        path: str | None,
        directives: Directives = _PLAIN,
    ) -> bool:
        """Whether an upstream denies what it had a moment ago.

        So does 400 for a reload that our newest version names as its next: the upstream has begun
        anew, and finds that too far ahead.
        """
        if answer is None:
            return False
        is_denied = answer.status in _GONE
        if answer.status == 400 and path is not None and directives.msn is not None:
            rendition = self._playlists.get(path)
            version = None if rendition is None else rendition.newest
            is_denied = version is not None and directives.msn <= version.outline.next_part[0]
        return is_denied and self._playlists.was_live(
            stream, path, trio.current_time(), self._settings.restart_grace_s
        )

    def _follow(self, path: str, skip: bool) -> None:
        """Set off for what comes after the version that has just come."""
        version = self._playlists.newest(path, skip)
        if version is None:
            return
        stream = stream_of(path)
        whole = self._playlists.newest(path, False)
        age_s = math.inf if whole is None else trio.current_time() - whole.received_s
        for ahead in ahead_of(path, version.outline, skip=skip, whole_age_s=age_s):
            group: str | None = None
            if ahead.directives is None:
                target, fetch = ahead.path, partial(self._fetch_media, stream)
            else:
                target, group = _target_of(path, ahead.directives), path
                fetch = partial(self._fetch_playlist, path, ahead.directives)
            if target in self._cache or self._flights.get(target) is not None:
                continue
            ask = self._ask(target, path, None, is_held=ahead.is_held)
            flight = self._set_off(ask, fetch, group=group, is_ahead=True)
            self.counters.ahead += flight is not None

    async def _sweep(self) -> None:
        """End lives when their time has come."""
        while True:
            with trio.CancelScope(deadline=self._lifetimes.next_s) as self._sweeping:
                await trio.sleep_forever()
            self._lifetimes.end_due(trio.current_time())

    async def _forget_unheard(self) -> None:
        """Forget media of streams whose policy may have changed unheard; not while nobody can be
        asked, for then it is all there is."""
        while True:
            await trio.sleep(LOOK_S)
            if self._upstreams.is_reachable:
                for stream in self.policies.pop_unheard():
                    self._cache.forget(stream, suffix="")

    def _sweep_sooner(self) -> None:
        self._sweeping.deadline = self._lifetimes.next_s


def _not_entitled(life: Life) -> Response:
    return replace(_NOT_ENTITLED, life=life)


def _restarting(life: Life) -> Response:
    return replace(_RESTARTING, life=life)


def _target_of(path: str, directives: Directives) -> str:
    return f"{path}?{directives.key}" if directives.key else path
