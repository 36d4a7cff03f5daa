"""Path and method to answer: the one table of what this server offers.

Synchronous and without I/O: the hot answers (playlists, media, pages) are objects that exist
already, the others are handlers for the connection to await. Order matters only for speed: a player
asks for playlists and media some ten times a second.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from edge.api.document import make_document, render_page
from edge.api.operation import Operation
from edge.api.router import ApiRouter
from edge.chat.api import ChatApi
from edge.http.hls_app import HlsApp
from edge.http.messages import Answer, Call, HttpError, Pass, Request
from edge.http.response import (
    PREFLIGHT,
    Response,
    error_response,
    json_response,
    make_response,
)
from edge.http.rows import HEALTH, METRICS, READY, Alive, player_operations
from edge.live import LiveStreams
from edge.playback.gate import MARK, is_media, split_token
from edge.playback.media import MediaGate
from edge.process.terminal import program_version
from edge.web import Pages

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""What Prometheus' text format is called."""

_READ = ("GET", "HEAD")

Handler = Callable[[Request, bytes], Awaitable[Response]]


class App:
    """The whole HTTP application of a process that serves viewers.

    Args:
        live: The broadcasts that can be watched here; somebody else fills it.
        pages: The web pages; loaded from the package if None.
        metrics: Renders the figures of this process for Prometheus; None: there are none. Anybody
            may ask.
        ready: Answers `/ready`, without blocking; None: nobody does.
        chat: The calls of chat; None: there is no chat here.
        router: The operations of the API; None: there are none.
        gate: Asked before media is served; None: everybody may watch everything.
    """

    def __init__(
        self,
        *,
        live: LiveStreams,
        pages: Pages | None = None,
        metrics: Callable[[], Awaitable[bytes]] | None = None,
        ready: Callable[[], Response] | None = None,
        chat: ChatApi | None = None,
        router: ApiRouter | None = None,
        gate: MediaGate | None = None,
    ) -> None:
        self._gate = gate
        self._live = live
        self._hls = HlsApp(live)
        self._pages = Pages.load() if pages is None else pages
        self._metrics = metrics
        self._ready = ready
        self._chat = chat
        self._router = router
        self._documents = {} if router is None else _documents(self.operations, self._pages)

    @property
    def operations(self) -> Sequence[Operation]:
        """All rows of what is answered here, for the document."""
        return (
            *(() if self._router is None else self._router.operations),
            *(() if self._chat is None else self._chat.operations),
            *player_operations(),
            HEALTH,
            *(() if self._metrics is None else (METRICS,)),
            *(() if self._ready is None else (READY,)),
        )

    def route(self, request: Request) -> Answer:
        """Decide how to answer a request; never blocks.

        Raises:
            HttpError: 404 or 405.
        """
        if request.method == "OPTIONS":
            return PREFLIGHT
        match request.path.split("/"):
            case ["", "api", "streams", stream_id, "chat", *rest] if self._chat is not None:
                return self._chat.route(stream_id, rest, request)
            case ["", "api", "streams", stream_id, *rest] if is_media(rest):
                return _read(request) or self._media(stream_id, rest, request)
            case ["", "health"]:
                return _read(request) or self._health()
            case ["", "metrics"] if self._metrics is not None:
                return _read(request) or Call(self._show_metrics)
            case ["", "ready"] if self._ready is not None:
                return _read(request) or self._ready()
            case ["", "watch", _]:
                return _read(request) or self._pages.watch
            case ["", "api", "recordings", recording, token, *rest] if (
                token.startswith(MARK) and rest and self._router is not None
            ):
                path = "/".join(("/api/recordings", recording, *rest))
                return self._router.route(request, path) or _missing()
        document = self._documents.get(request.path)
        if document is not None:
            return _read(request) or document
        answer = None if self._router is None else self._router.route(request)
        if answer is not None:
            return answer
        page = self._pages.get(request.path, request.query)
        if page is None:
            raise HttpError(404, "not found")
        return _read(request) or page

    def pass_of(self, request: Request) -> Pass | None:
        """See `edge.http.messages.Gatekeeper.pass_of`."""
        return None if self._gate is None else self._gate.pass_of(request)

    def _media(self, stream_id: str, rest: Sequence[str], request: Request) -> Answer:
        """Answer for what players fetch, behind the gate."""
        rest, token = split_token(rest)
        refusal = None if self._gate is None else self._gate.check(stream_id, token, request)
        if refusal is not None:
            return refusal
        hls = self._hls
        match rest:
            case ["master.m3u8"]:
                return hls.master(stream_id, request)
            case [quality, "playlist.m3u8"]:
                return hls.playlist(stream_id, quality, request)
            case [quality, "iframes.m3u8"]:
                return hls.iframe_playlist(stream_id, quality)
            case [quality, "ts.m3u8"]:
                return hls.ts_playlist(stream_id, quality)
            case [quality, name]:
                return hls.media(stream_id, quality, name)
        raise HttpError(404, "not found")

    async def _show_metrics(self, _request: Request, _body: bytes) -> Response:
        assert self._metrics is not None
        return make_response(200, (await self._metrics(),), content_type=METRICS_TYPE)

    def _health(self) -> Response:
        return json_response(200, Alive(live_streams=len(self._live)))


def _documents(operations: Sequence[Operation], pages: Pages) -> dict[str, Response]:
    """What describes the API, by path: for programs and for people."""
    document = make_document(operations, version=program_version())
    page = pages.page(render_page(document))
    data = msgspec.json.encode(document)
    return {
        "/api/openapi.json": make_response(
            200,
            (data,),
            content_type="application/json",
            cache_control="no-cache",
            etag=f'"{hashlib.sha256(data).hexdigest()[:32]}"',
            packable=True,
        ),
        "/api": page,
        "/api/": page,
    }


def _missing() -> Response:
    return error_response(404, "not found")


def _read(request: Request) -> Response | None:
    """Refuse a method that does not read."""
    return None if request.method in _READ else _not_allowed(_READ)


def _not_allowed(methods: tuple[str, ...]) -> Response:
    return error_response(
        405, "method not allowed here", extra={"Allow": ", ".join((*methods, "OPTIONS"))}
    )
