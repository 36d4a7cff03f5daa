"""Origin, shield and edge over real sockets: the same bytes, each fetched once a hop."""

from collections import Counter, defaultdict
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from api_app import make_app
from edge_node import MASTER, PATH, STREAM, reload
from http_peers import HttpPeer

from edge.edge_app import EdgeApp
from edge.edge_settings import EdgeSettings
from edge.http.messages import Answer, Application, Request
from edge.http.server import serve_http

if TYPE_CHECKING:
    from edge.live import LiveStreams

    from .conftest import FakeBackend, Feed


class Counted:
    """An application that remembers what it was asked."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self.asked: Counter[str] = Counter()
        self._first: defaultdict[str, trio.Event] = defaultdict(trio.Event)

    def route(self, request: Request) -> Answer:
        target = f"{request.path}?{request.query}".rstrip("?")
        self.asked[target] += 1
        self._first[target].set()
        return self._app.route(request)

    async def is_asked(self, target: str) -> None:
        """Wait for the first request for this."""
        with trio.fail_after(5):
            await self._first[target].wait()


async def _serve(nursery: trio.Nursery, app: Application) -> str:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await nursery.start(partial(serve_http, listeners, app))
    return f"http://127.0.0.1:{port}"


async def _edge(nursery: trio.Nursery, upstream: str) -> str:
    app = EdgeApp(EdgeSettings(upstreams=(upstream,)))
    await nursery.start(app.run)
    return await _serve(nursery, app)


async def _viewer(url: str) -> HttpPeer:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return HttpPeer(await trio.open_tcp_stream(host, int(port)))


@pytest.mark.slow
@pytest.mark.parametrize("skip", [False, True])
async def test_what_is_published_comes_down_two_hops(
    nursery: trio.Nursery, feed: "Feed", live: "LiveStreams", backend: "FakeBackend", skip: bool
) -> None:
    feed.ready()
    origin = Counted(make_app(live, backend))
    shield = await _edge(nursery, await _serve(nursery, origin))
    edges = [await _edge(nursery, shield) for _ in range(2)]
    viewers = [await _viewer(url) for url in edges for _ in range(5)]
    for viewer in viewers:
        assert (await viewer.get(MASTER)).body.startswith(b"#EXTM3U")
        assert (await viewer.get(PATH)).status == 200
    for _ in range(12):
        msn, index = divmod(feed.published, 5)
        target = f"{reload(msn, index, skip=skip)}&CMCD=sid%3D1"
        for viewer in viewers:
            await viewer.send(f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
        await origin.is_asked(reload(msn, index, skip=skip))
        name = feed.part()
        text = b"".join(feed.rendition.timeline.render(skip=skip))
        with trio.fail_after(5):
            for viewer in viewers:
                assert (await viewer.answer()).body == text
                part = await viewer.get(f"{STREAM}/source/{name}")
                assert part.body == b"<%d.%d>" % (msn, index)
    asked = {target: count for target, count in origin.asked.items() if "msn" in target}
    assert set(asked.values()) == {1}
    assert all(count == 1 for target, count in origin.asked.items() if target.endswith(".m4s"))
    for viewer in viewers:
        await viewer.stream.aclose()
    nursery.cancel_scope.cancel()
