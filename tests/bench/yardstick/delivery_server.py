r"""What `yard_server.c` serves, by our own server: the same objects, by way of `serve_http`.

    python delivery_server.py PORT PLAYLIST_BYTES FIXED_BYTES PART_BYTES INTERVAL_MS START_MS \
        BURST [PEM]

BURST is `HttpSettings.requests_burst`. It prints "ready" when it listens, with TLS if a
certificate is given, and runs until SIGTERM. The application stands where `HlsApp` does:
synchronous lookups, gates and lives; packaging is measured elsewhere. malloc and the collector are
set as in our programs.
"""

import sys
import time
from functools import partial
from pathlib import Path

import trio

from edge.hls_response import media_response, playlist_response
from edge.http.messages import Answer, Hold, HttpError, Request
from edge.http.response import Response, error_response
from edge.http.server import serve_http
from edge.http.settings import HttpSettings
from edge.http.tls import Certificate
from edge.life import Life
from edge.process.memory import calm_collector, keep_pages
from edge.table import ResponseTable

ROOT = "/api/streams/s/source/"
KEPT_PARTS = 30
_LATE = error_response(503, "nothing new")


class LiveApp:
    """One rendition, of which a part appears each time that `publish` is called."""

    def __init__(self, playlist_bytes: int, fixed_bytes: int, part_bytes: int) -> None:
        self._playlist = b"x" * playlist_bytes
        self._part = b"x" * part_bytes
        self._fixed = {
            "playlist.m3u8": self._make_playlist(Life()),
            "part.m4s": media_response("part.m4s", (b"x" * fixed_bytes,), life=Life()),
        }
        self._newest = -1
        self._version = Life()
        self._table: ResponseTable[tuple[str, int]] = ResponseTable()
        self._lives: dict[str, Life] = {}

    def route(self, request: Request) -> Answer:
        """Answer as `HlsApp` would."""
        name = request.path.removeprefix(ROOT)
        if name == "playlist.m3u8" and request.query:
            directives = dict(pair.split("=") for pair in request.query.split("&"))
            return self._judge(("playlist", int(directives["_HLS_msn"]))) or self._hold(
                ("playlist", int(directives["_HLS_msn"]))
            )
        if name in self._fixed:
            return self._fixed[name]
        number = int(name.removeprefix("part-").removesuffix(".m4s"))
        answer = self._judge(("part", number))
        if answer is None and number != self._newest + 1:
            raise HttpError(404, "no such part")
        return answer or self._hold(("part", number))

    def publish(self) -> None:
        """Let the next part appear."""
        self._newest += 1
        last, self._version = self._version, Life()
        name, old = f"part-{self._newest}.m4s", f"part-{self._newest - KEPT_PARTS}.m4s"
        life = self._lives[name] = Life()
        response = media_response(name, (self._part,), life=life)
        self._table.publish(put={name: response}, drop=(old,), judge=self._judge)
        last.end()
        if old in self._lives:
            self._lives.pop(old).end()

    def _judge(self, key: tuple[str, int]) -> Response | None:
        kind, number = key
        if kind == "part":
            return self._table.get(f"part-{number}.m4s")
        return self._make_playlist(self._version) if number <= self._newest else None

    def _hold(self, key: tuple[str, int]) -> Hold:
        return Hold(self._table.gate(key), 60.0, _LATE)

    def _make_playlist(self, life: Life) -> Response:
        return playlist_response(
            (self._playlist,), etag=f"v{id(life)}", target_duration_s=2, waited=True, life=life
        )


class Listener:
    """The least that an audience can do, so that telling it is measured."""

    requests = 0

    def note(
        self, *, stream_id: str, client: str, agent: int, cmcd: str, blocking: int, plain: int
    ) -> None:
        """Count."""
        self.requests += blocking + plain


async def main(arguments: list[str]) -> None:
    """Serve until somebody ends the process."""
    port, playlist_bytes, fixed_bytes, part_bytes, interval_ms, start_ms, burst = map(
        int, arguments[:7]
    )
    certificate = Certificate(Path(arguments[7])) if len(arguments) > 7 else None
    app = LiveApp(playlist_bytes, fixed_bytes, part_bytes)
    settings = HttpSettings(
        max_connections=18_000, max_connections_per_address=18_000, requests_burst=burst
    )
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1", backlog=4096)
    async with trio.open_nursery() as nursery:
        serve = partial(
            serve_http,
            [] if certificate else listeners,
            app,
            settings=settings,
            audience=Listener(),
        )
        if certificate is not None:
            serve = partial(serve, tls_listeners=listeners, tls_context=certificate.context)
        await nursery.start(serve)
        print("ready", flush=True)
        number = 0
        while True:
            await trio.sleep(max(0.0, (start_ms + number * interval_ms) / 1e3 - time.monotonic()))
            app.publish()
            number += 1


if __name__ == "__main__":
    keep_pages()
    calm_collector()
    trio.run(main, sys.argv[1:])
