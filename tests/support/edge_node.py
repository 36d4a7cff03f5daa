"""One edge in memory: its application, scripted upstreams, and viewers without connections."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import httpx
import trio
import trio.testing
from scripted_upstream import Script, ScriptedUpstream

from edge.edge_app import EdgeApp
from edge.edge_settings import EdgeSettings
from edge.http.messages import Application, Hold, HttpError, Request
from edge.http.response import Response

STREAM = "/api/streams/one"
PATH = f"{STREAM}/source/playlist.m3u8"
PART = f"{STREAM}/source/part-tok-1.0.m4s"
MASTER = f"{STREAM}/master.m3u8"
MEDIA = {"Cache-Control": "public, max-age=86400, immutable", "Content-Type": "video/mp4"}

Asked: TypeAlias = Response | Hold


def reload(msn: int, part: int | None = None, *, skip: bool = False, path: str = PATH) -> str:
    """Return the target of a blocking reload, as an upstream is asked for it."""
    target = f"{path}?_HLS_msn={msn}"
    if part is not None:
        target += f"&_HLS_part={part}"
    return f"{target}&_HLS_skip=YES" if skip else target


def body(response: Response) -> bytes:
    """Join a response's chunks."""
    return b"".join(response.chunks)


class EdgeNode:
    """An edge, its upstreams, and its viewers.

    Args:
        count: Upstreams.
        origin: Answers what the first upstream has no script for.
        settings: As `EdgeSettings`.
    """

    def __init__(
        self, *, count: int = 1, origin: Application | None = None, **settings: Any
    ) -> None:
        self.servers = [ScriptedUpstream() for _ in range(count)]
        self.origin = origin
        hosts = tuple(f"http://up{number}" for number in range(count))
        self.app = EdgeApp(
            EdgeSettings(upstreams=hosts, **settings), transport=lambda: _Network(self)
        )

    @property
    def server(self) -> ScriptedUpstream:
        """The preferred upstream."""
        return self.servers[0]

    def put_playlist(self, text: bytes, target: str = PATH, *, at: int = 0, **how: Any) -> Script:
        """Let an upstream answer with a playlist, and say of it what an origin says."""
        control = "public, max-age=12" if "_HLS_msn" in target else "public, max-age=0, s-maxage=1"
        fields = {
            "Cache-Control": control,
            "Content-Type": "application/vnd.apple.mpegurl",
            "ETag": '"v"',
        }
        return self.servers[at].put(target, text, fields=fields, **how)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the application, and stop it in the end."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.app.run)
            await trio.testing.wait_all_tasks_blocked()
            yield
            nursery.cancel_scope.cancel()

    def ask(self, target: str) -> Asked:
        """Ask, and do not wait."""
        asked = self.app.route(Request("GET", target))
        assert isinstance(asked, Response | Hold)
        return asked

    async def get(self, target: str) -> Response:
        """Ask and wait, as a connection does."""
        return await wait_for(self.ask(target))


async def wait_for(asked: Asked) -> Response:
    """Wait for what was asked, for as long as a connection would."""
    if isinstance(asked, Response):
        return asked
    with trio.move_on_after(asked.timeout_s) as scope:
        asked.gate.add(scope.cancel)
        await trio.sleep_forever()
    asked.gate.discard(scope.cancel)
    return asked.gate.response or asked.late


class _Network(httpx.AsyncBaseTransport):
    """Leads to the upstream that the host names, or to an origin's application."""

    def __init__(self, edge: EdgeNode) -> None:
        self._edge = edge

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        edge = self._edge
        server = edge.servers[int(request.url.host.removeprefix("up"))]
        target = request.url.raw_path.decode()
        if server.is_down or target in server.scripts or edge.origin is None:
            return await server.handle_async_request(request)
        server.asked.append(target)
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        try:
            answer = edge.origin.route(Request(request.method, target, headers))
        except HttpError as error:
            return httpx.Response(error.status, headers={"Content-Length": "0"}, stream=_Bytes(b""))
        assert isinstance(answer, Response | Hold)
        server.under_way[target] += 1
        try:
            response = await wait_for(answer)
        finally:
            server.under_way[target] -= 1
        return httpx.Response(
            response.status, headers=list(response.fields), stream=_Bytes(body(response))
        )


class _Bytes(httpx.AsyncByteStream):
    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await trio.lowlevel.checkpoint()
        yield self._data
