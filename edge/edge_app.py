"""The application of an edge: the origin's URLs, answered by `edge.edge_store` or passed on.

Like `edge.http.routes.App`, and in its place: pages, `/health` and OPTIONS need nobody; playlists,
media and the two questions that every page asks come from the store; all else under `/api/` is
passed on to an upstream, and its answer back. Viewers' signs of life are gathered where the node
has a token to tell of them (`edge.audience.reporter`).

A path that goes upstream consists of plain segments: nothing can be escaped in it, nothing leads
out of `/api/`, and none is a viewer's playback token (`~TOKEN`), which is judged here
(`edge.playback.edge_gate`). Of the fields of a request that is
passed on, those go along that its handler reads; of its answer, those that `edge.relay` names. A
request that this node has passed on before (Via) is refused, so that edges that ask each other in a
ring find out. A reactor in front of this does not look at Via; there a ring ends by time-out.

`route` is synchronous and never blocks.

May import: `edge`, `hls.request`, trio. Spec: RFC 9110, sections 7.6.1 (hop by hop), 7.6.3 (Via);
RFC 5842, section 7.2 (508).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from edge.audience.reporter import EdgeAudience
from edge.edge_settings import EdgeSettings
from edge.edge_store import EdgeStore
from edge.http.messages import Answer, Call, Hold, HttpError, Pass, Request
from edge.http.readiness import ready_response
from edge.http.response import (
    PREFLIGHT,
    Response,
    error_response,
    json_response,
    make_response,
)
from edge.http.routes import METRICS_TYPE
from edge.playback.api import JWKS_PATH, VIEWER_FIELD
from edge.playback.edge_gate import EdgeGate, UnknownKeyYet
from edge.playback.gate import is_media, split_token
from edge.relay import is_relayable, relay
from edge.upstream import Transport, Upstreams, via_line
from edge.upstream_lanes import Fetched, UpstreamError
from edge.web import Pages
from hls.request import BadRequest, parse_directives

_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._~-]{0,199}")
_READ = ("GET", "HEAD")
_CALLS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_TEXT = re.compile(r"[\x20-\x7e\t]*")  # of fields that are passed on
_MAX_VIA_CHARS = 1024  # of some forty nodes: a ring in all but name

_HEALTH = json_response(200, {"status": "ok"})
_LOOP = error_response(508, "this request has been here before: edges ask each other in a ring")
_FULL = error_response(503, "this node takes no new viewers now", extra={"Retry-After": "5"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeCounters:
    """Figures of one process: since its start, but for the last two, which are of now."""

    hits: int
    misses: int
    coalesced: int
    ahead: int
    stale: int
    refused: int
    upstream_requests: int
    upstream_errors: int
    upstream_failovers: int
    audience_reports: int
    audience_failures: int
    flights: int
    held_bytes: int


class EdgeApp:
    """The whole HTTP application of an edge process.

    Args:
        settings: Whom to ask, limits and time-outs.
        pages: The web pages; loaded from the package if None.
        ready: Answers `/ready`; if None, whether an upstream can be reached does.
        metrics: Renders the figures of this process for Prometheus, without blocking; None: there
            are none.
        admits_new: Whether a viewer who comes now is served; asked for each multivariant playlist.
        transport: Opens something that speaks HTTP to upstreams; httpx's own if None.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        *,
        pages: Pages | None = None,
        ready: Callable[[], Response] | None = None,
        metrics: Callable[[], bytes] | None = None,
        admits_new: Callable[[], bool] = lambda: True,
        transport: Transport | None = None,
    ) -> None:
        self._settings = settings
        self._upstreams = Upstreams(settings, transport=transport)
        self._store = EdgeStore(settings, self._upstreams)
        token = settings.upstream_token
        self.audience: EdgeAudience | None = (
            None
            if token is None
            else EdgeAudience(self._upstreams, token=token, via=via_line(None, settings.node_id))
        )
        """Hears who watches here, for the server; None: the node has no token to tell of it."""
        self._gate = (
            None if token is None else EdgeGate(token, self._store.policies, self._fetch_keys)
        )
        self._pages = Pages.load(has_chat=False) if pages is None else pages
        self._ready = self._is_ready if ready is None else ready
        self._metrics = metrics
        self._admits_new = admits_new

    @property
    def is_reachable(self) -> bool:
        """Whether an upstream is healthy, as far as is known."""
        return self._upstreams.is_reachable

    @property
    def trouble(self) -> str | None:
        """What is wrong with the upstreams; None: nothing."""
        return None if self.is_reachable else "no upstream can be reached"

    @property
    def counters(self) -> EdgeCounters:
        """The figures as they are now."""
        store, upstream = self._store.counters, self._upstreams.counters
        return EdgeCounters(
            hits=store.hits,
            misses=store.misses,
            coalesced=store.coalesced,
            ahead=store.ahead,
            stale=store.stale,
            refused=store.refused,
            upstream_requests=upstream.requests,
            upstream_errors=upstream.errors,
            upstream_failovers=upstream.failovers,
            audience_reports=0 if self.audience is None else self.audience.reports,
            audience_failures=0 if self.audience is None else self.audience.failures,
            flights=self._store.flights,
            held_bytes=self._store.size_bytes,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Do what `route` sets off, until cancelled.

        Cancellation: whoever waits is told to try again; connections to upstreams are closed.
        """
        async with trio.open_nursery() as nursery:
            if self.audience is not None:
                nursery.start_soon(self.audience.run)
            if self._gate is not None:
                nursery.start_soon(self._gate.keys.run)
            await self._store.run(task_status=task_status)

    def route(self, request: Request) -> Answer:
        """Decide how to answer a request; never blocks.

        Raises:
            HttpError: 400 or 404.
        """
        if request.method == "OPTIONS":
            return PREFLIGHT
        via = request.header(b"via")
        if via is not None:
            if self._settings.node_id in via or len(via) > _MAX_VIA_CHARS:
                return _LOOP
            if not _TEXT.fullmatch(via):
                raise HttpError(400, "Via is not ASCII")
        store = self._store
        match request.path.split("/"):
            case ["", "api", "streams", stream_id, *rest] if is_media(rest):
                return _read(request) or self._media(stream_id, rest, request, via)
            case ["", "api", *segments] if not all(map(_SEGMENT.fullmatch, segments)):
                raise HttpError(404, "not found")
            case ["", "api", "streams", _] if _is_anonymous(request):
                return store.info(request.path, via)
            case ["", "api", "streams", stream_id, "viewers"] if (
                self.audience is not None and request.method == "POST"
            ):
                known = self.audience.count(stream_id) is not None
                return Call(self.audience.hear if known else self._pass_on_sign)
            case ["", "api", *_]:
                return _only(request, _CALLS) or Call(self._pass_on)
            case ["", "health"]:
                return _read(request) or _HEALTH
            case ["", "ready"]:
                return _read(request) or self._ready()
            case ["", "metrics"] if self._metrics is not None:
                return _read(request) or make_response(
                    200, (self._metrics(),), content_type=METRICS_TYPE
                )
            case ["", "watch", _]:
                return _read(request) or self._pages.watch
        page = self._pages.get(request.path, request.query)
        if page is None:
            raise HttpError(404, "not found")
        return _read(request) or page

    def pass_of(self, request: Request) -> Pass | None:
        """See `edge.http.messages.Gatekeeper.pass_of`."""
        return None if self._gate is None else self._gate.pass_of(request)

    def _media(
        self,
        stream_id: str,
        rest: Sequence[str],
        request: Request,
        via: str | None,
        *,
        has_waited: bool = False,
    ) -> Answer:
        """Answer for what players fetch, behind the gate; the token goes no further."""
        plain, token = split_token(rest)
        if not all(map(_SEGMENT.fullmatch, (stream_id, *plain))):
            raise HttpError(404, "not found")
        if self._gate is not None:
            try:
                refusal = self._gate.check(stream_id, token, request, has_waited=has_waited)
            except UnknownKeyYet:
                return Call(partial(self._wait_for_keys, stream_id, rest, via))
            if refusal is not None:
                return refusal
        path = "/".join(("/api/streams", stream_id, *plain))
        match plain:
            case ["master.m3u8"]:
                return self._master(stream_id, request, via)
            case [_, "playlist.m3u8"]:
                return self._playlist(path, request, via)
            case [_, _]:
                return self._store.media(path, via)
        raise HttpError(404, "not found")

    async def _wait_for_keys(
        self,
        stream_id: str,
        rest: Sequence[str],
        via: str | None,
        request: Request,
        _body: bytes,
    ) -> Response:
        """Judge a token when the keys have been fetched, and answer."""
        assert self._gate is not None
        await self._gate.keys.wait()
        answer = self._media(stream_id, rest, request, via, has_waited=True)
        return await _wait_at(answer) if isinstance(answer, Hold) else _whole(answer)

    async def _fetch_keys(self) -> bytes | None:
        """The upstream's public keys of playback tokens, as JSON."""
        fields = {"Via": via_line(None, self._settings.node_id)}
        try:
            answer = await self._upstreams.call("GET", JWKS_PATH, fields, b"")
        except UpstreamError:
            return None
        return answer.body if answer.status == 200 else None

    def _playlist(self, path: str, request: Request, via: str | None) -> Answer:
        directives = parse_directives(request.query)
        if isinstance(directives, BadRequest):
            return error_response(400, directives.reason)
        return self._store.playlist(path, directives, via)

    def _master(self, stream_id: str, request: Request, via: str | None) -> Answer:
        if not self._admits_new():
            return _FULL
        query = "?container=ts" if "container=ts" in request.query.split("&") else ""
        return self._store.master(f"/api/streams/{stream_id}", query, via)

    def _is_ready(self) -> Response:
        return ready_response({"upstream": self.trouble})

    async def _pass_on(self, request: Request, body: bytes) -> Response:
        """Ask an upstream; its answer is this request's."""
        return relay(await self._call(request, body))

    async def _pass_on_sign(self, request: Request, body: bytes) -> Response:
        """The same for a viewer's sign, of whose stream nothing is known here."""
        assert self.audience is not None
        answer = await self._call(request, body)
        self.audience.learn(request.path.split("/")[3], answer)
        return relay(answer)

    async def _call(self, request: Request, body: bytes) -> Fetched:
        fields = {"Via": via_line(request.header(b"via"), self._settings.node_id)}
        for name in ("Authorization", "Content-Type"):
            value = request.header(name.lower().encode())
            if value is not None:
                fields[name] = value
        own = self._settings.upstream_token
        if own is not None and "Authorization" not in fields and _asks_for_token(request):
            fields |= {"Authorization": f"Bearer {own}", VIEWER_FIELD: request.client}
        target = f"{request.path}?{request.query}" if request.query else request.path
        if not all(map(_TEXT.fullmatch, (target, *fields.values()))):
            raise HttpError(400, "the query or a field is not ASCII")
        # HEAD is asked as GET: the connection leaves the body out, and tells its true length.
        method = "GET" if request.method == "HEAD" else request.method
        try:
            answer = await self._upstreams.call(method, target, fields, body)
        except UpstreamError:
            raise HttpError(503, "the upstream cannot be reached", Retry_After="1") from None
        if not is_relayable(answer):
            raise HttpError(503, "the upstream gave no answer that is known", Retry_After="1")
        return answer


def _asks_for_token(request: Request) -> bool:
    """Whether a viewer asks for a playback token: who they are counts."""
    match request.path.split("/"):
        case ["", "api", "streams", _, "playback"]:
            return request.method == "POST"
    return False


async def _wait_at(hold: Hold) -> Response:
    """Wait for what a request is held for."""
    opened = trio.Event()
    hold.gate.add(opened.set)
    try:
        with trio.move_on_after(hold.timeout_s):
            await opened.wait()
        return hold.gate.response or hold.late
    finally:
        hold.gate.discard(opened.set)


def _whole(answer: Answer) -> Response:
    assert isinstance(answer, Response)  # media is a response, or held
    return answer


def _is_anonymous(request: Request) -> bool:
    return request.method in _READ and request.header(b"authorization") is None


def _read(request: Request) -> Response | None:
    """Refuse a method that does not read."""
    return _only(request, _READ)


def _only(request: Request, methods: tuple[str, ...]) -> Response | None:
    if request.method in methods:
        return None
    return error_response(
        405, "method not allowed here", extra={"Allow": ", ".join((*methods, "OPTIONS"))}
    )
