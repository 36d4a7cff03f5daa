"""Path and method to answer: the one table of what this server offers.

Synchronous and without I/O: the hot answers (playlists, media, pages) are objects that exist
already, the others are handlers for the connection to await. Order matters only for speed: a player
asks for playlists and media some ten times a second.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from edge.api.router import ApiRouter
from edge.backend import Backend
from edge.chat.api import ChatApi
from edge.errors import BackendError
from edge.http.api import Api, refusal
from edge.http.hls_app import HlsApp
from edge.http.messages import Answer, Call, HttpError, Request
from edge.http.response import (
    PREFLIGHT,
    Response,
    error_response,
    json_response,
    make_response,
)
from edge.live import LiveStreams
from edge.relays import RelayBackend
from edge.web import Pages

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""What Prometheus' text format is called."""

_READ = ("GET", "HEAD")

Handler = Callable[[Request, bytes], Awaitable[Response]]


class App:
    """The whole HTTP application of a process that serves viewers.

    Args:
        live: The broadcasts that can be watched here; somebody else fills it.
        backend: The owner of the truth about streams.
        pages: The web pages; loaded from the package if None.
        metrics: Renders the figures of this process for Prometheus, without blocking; None: there
            are none. Anybody may ask.
        source: Answers for ``source.flv`` of a stream, authorisation included; None: it is not
            here.
        relays: The owner of the relays; None: there are none.
        chat: The calls of chat; None: there is no chat here.
        router: The other operations of the API; None: there are none.
    """

    def __init__(
        self,
        *,
        live: LiveStreams,
        backend: Backend,
        pages: Pages | None = None,
        metrics: Callable[[], bytes] | None = None,
        source: Callable[[str, Request], Answer] | None = None,
        relays: RelayBackend | None = None,
        chat: ChatApi | None = None,
        router: ApiRouter | None = None,
    ) -> None:
        self._live = live
        self._hls = HlsApp(live)
        self._api = Api(backend, relays)
        self._pages = Pages.load() if pages is None else pages
        self._metrics = metrics
        self._source = source
        self._chat = chat
        self._router = router

    def route(self, request: Request) -> Answer:
        """Decide how to answer a request; never blocks.

        Raises:
            HttpError: 404 or 405.
        """
        if request.method == "OPTIONS":
            return PREFLIGHT
        hls, api = self._hls, self._api
        match request.path.split("/"):
            case ["", "api", "streams", stream_id, "chat", *rest] if self._chat is not None:
                return self._chat.route(stream_id, rest, request)
            case ["", "api", "streams", stream_id, quality, "playlist.m3u8"]:
                return _read(request) or hls.playlist(stream_id, quality, request)
            case ["", "api", "streams", stream_id, quality, "iframes.m3u8"]:
                return _read(request) or hls.iframe_playlist(stream_id, quality)
            case ["", "api", "streams", stream_id, quality, "ts.m3u8"]:
                return _read(request) or hls.ts_playlist(stream_id, quality)
            case ["", "api", "streams", stream_id, quality, name]:
                return _read(request) or hls.media(stream_id, quality, name)
            case ["", "api", "streams", stream_id, "master.m3u8"]:
                return _read(request) or hls.master(stream_id, request)
            case ["", "api", "streams"]:
                return _call(request, {"POST": api.create})
            case ["", "api", "streams", "live"]:
                return _call(request, {"GET": api.live})
            case ["", "api", "streams", stream_id]:
                return _call(request, {"GET": partial(api.get, stream_id)})
            case ["", "api", "streams", stream_id, "start"]:
                return _call(request, {"POST": partial(api.start, stream_id)})
            case ["", "api", "streams", stream_id, "end"]:
                return _call(request, {"POST": partial(api.end, stream_id)})
            case ["", "api", "streams", stream_id, "markers"]:
                return _call(request, {"POST": partial(api.mark, stream_id)})
            case ["", "api", "streams", stream_id, "relays"]:
                get, put = partial(api.relays, stream_id), partial(api.set_relays, stream_id)
                return _call(request, {"GET": get, "PUT": put})
            case ["", "api", "streams", stream_id, "source.flv"] if self._source is not None:
                return _read(request) or self._source(stream_id, request)
            case ["", "health"]:
                return _read(request) or self._health()
            case ["", "metrics"] if self._metrics is not None:
                return _read(request) or make_response(
                    200, (self._metrics(),), content_type=METRICS_TYPE
                )
            case ["", "watch", _]:
                return _read(request) or self._pages.watch
        answer = None if self._router is None else self._router.route(request)
        if answer is not None:
            return answer
        page = self._pages.get(request.path, request.query)
        if page is None:
            raise HttpError(404, "not found")
        return _read(request) or page

    def _health(self) -> Response:
        return json_response(200, {"status": "ok", "liveStreams": len(self._live)})


def _read(request: Request) -> Response | None:
    """Refuse a method that does not read."""
    return None if request.method in _READ else _not_allowed(_READ)


def _call(request: Request, handlers: Mapping[str, Handler]) -> Answer:
    """Choose the handler by method; HEAD is answered like GET, without the body."""
    handler = handlers.get("GET" if request.method == "HEAD" else request.method)
    if handler is None:
        return _not_allowed((*handlers, "HEAD") if "GET" in handlers else tuple(handlers))
    return Call(partial(_run, handler))


async def _run(handler: Handler, request: Request, body: bytes) -> Response:
    try:
        return await handler(request, body)
    except BackendError as error:
        raise refusal(error) from None


def _not_allowed(methods: tuple[str, ...]) -> Response:
    return error_response(
        405, "method not allowed here", extra={"Allow": ", ".join((*methods, "OPTIONS"))}
    )
