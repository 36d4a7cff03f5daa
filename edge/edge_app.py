"""The application of an edge: the origin's URLs, answered by `edge.edge_store` or passed on.

Like `edge.http.routes.App`, and in its place: pages, `/health` and OPTIONS need nobody; playlists,
media and the two questions that every page asks come from the store; all else under `/api/` is
passed on to an upstream, and its answer back. Viewers' signs of life are gathered where the node
has a token to tell of them (`edge.audience.reporter`).

A path that goes upstream consists of plain segments: nothing can be escaped in it, nothing leads
out of `/api/`, and none is a viewer's playback token (`~TOKEN`). Of the fields of a request that is
passed on, those go along that its handler reads; of its answer, those that `edge.relay` names. A
request that this node has passed on before (Via) is refused, so that edges that ask each other in a
ring find out. A reactor in front of this does not look at Via; there a ring ends by time-out.

`route` is synchronous and never blocks.

May import: `edge`, `hls.request`, trio. Spec: RFC 9110, sections 7.6.1 (hop by hop), 7.6.3 (Via);
RFC 5842, section 7.2 (508).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import trio

from edge.audience.reporter import EdgeAudience
from edge.edge_settings import EdgeSettings
from edge.edge_store import EdgeStore
from edge.http.messages import Answer, Call, HttpError, Request
from edge.http.readiness import ready_response
from edge.http.response import (
    PREFLIGHT,
    Response,
    error_response,
    json_response,
    make_response,
)
from edge.http.routes import METRICS_TYPE
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
            case ["", "api", *segments] if not all(map(_SEGMENT.fullmatch, segments)):
                raise HttpError(404, "not found")
            case ["", "api", "streams", _, _, "playlist.m3u8"]:
                return _read(request) or self._playlist(request, via)
            case ["", "api", "streams", _, _, name] if "." in name:
                return _read(request) or store.media(request.path, via)
            case ["", "api", "streams", stream_id, "master.m3u8"]:
                return _read(request) or self._master(stream_id, request, via)
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

    def _playlist(self, request: Request, via: str | None) -> Answer:
        directives = parse_directives(request.query)
        if isinstance(directives, BadRequest):
            return error_response(400, directives.reason)
        return self._store.playlist(request.path, directives, via)

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
