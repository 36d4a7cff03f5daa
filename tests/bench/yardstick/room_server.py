r"""A chat room, and a live rendition beside it, by our own server: what `yard_room.c` loads.

    python room_server.py PORT PART_BYTES INTERVAL_MS START_MS

The production path: `serve_http`, `edge.chat` with its API, rules, room, native fan-out and an
SQLite store on the disk; what stands in is the stream, which has no broadcast. Room "s" has no slow
mode, and its members' rates are left as they are. The rendition is `delivery_server`'s. It prints
"ready" when it listens, and runs until SIGTERM.
"""

import sys
import tempfile
import time
from pathlib import Path

import trio
from delivery_server import LiveApp  # type: ignore[import-not-found]

from control import SqliteStore
from control.chat_model import RoomSettings
from edge.backend import Backend, StreamInfo
from edge.chat.api import ChatApi
from edge.chat.identity import Keyring
from edge.chat.service import ChatService
from edge.http.messages import Answer, Request
from edge.http.server import serve_http
from edge.http.settings import HttpSettings
from edge.process.log import configure_logging
from edge.process.memory import calm_collector, keep_pages


class OneStream:
    """As much of a `Backend` as chat asks."""

    def __init__(self, stream_id: str) -> None:
        self._stream_id = stream_id

    async def get_stream(self, _stream_id: str) -> StreamInfo:
        """Return the stream, whatever it is called here."""
        return StreamInfo(id=self._stream_id, title="s", status="live", broadcaster_id="b")


class ChatAndVideo:
    """Routes to the room and to the rendition."""

    def __init__(self, stream_id: str, chat: ChatApi, video: LiveApp) -> None:
        self._stream_id = stream_id
        self._chat = chat
        self._video = video

    def route(self, request: Request) -> Answer:
        """Answer as `edge.http.routes.App` would."""
        match request.path.split("/"):
            case ["", "api", "streams", _, "chat", *rest]:
                return self._chat.route(self._stream_id, rest, request)
        answer: Answer = self._video.route(request)
        return answer


async def main(arguments: list[str]) -> None:
    """Serve until somebody ends the process."""
    port, part_bytes, interval_ms, start_ms = map(int, arguments[:4])
    settings = HttpSettings(
        max_connections=19_000, max_connections_per_address=19_000, requests_burst=1_000_000_000
    )
    with tempfile.TemporaryDirectory() as folder:
        async with await SqliteStore.open(Path(folder) / "chat.sqlite3") as store:
            stream, _key = await store.create_stream(broadcaster_id="b", title="s")
            await store.chat.save_settings(stream.id, RoomSettings(slow_mode_s=0))
            backend: Backend = OneStream(stream.id)  # type: ignore[assignment]
            service = ChatService(
                store=store.chat,
                backend=backend,
                stream_time_s=lambda _stream_id: 1.0,
                keyring=Keyring(b"k" * 32),
            )
            video = LiveApp(2048, 1024, part_bytes)
            listeners = await trio.open_tcp_listeners(port, host="127.0.0.1", backlog=4096)
            async with trio.open_nursery() as nursery:
                await nursery.start(service.run)
                app = ChatAndVideo(stream.id, ChatApi(service), video)
                await nursery.start(
                    lambda **more: serve_http(listeners, app, settings=settings, **more)
                )
                print("ready", flush=True)
                number = 0
                while True:
                    due_s = (start_ms + number * interval_ms) / 1e3
                    await trio.sleep(max(0.0, due_s - time.monotonic()))
                    video.publish()
                    number += 1


if __name__ == "__main__":
    configure_logging("text", "warning")
    keep_pages()
    calm_collector()
    trio.run(main, sys.argv[1:])
