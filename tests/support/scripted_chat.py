"""A server of the chat protocol in a test's own hands: it says what the test says, and notes all.

There is no network: Playwright answers for it, pages and WebSocket alike. Written from DESIGN,
section 5.1, with no code of the server's. Not for the page's security policy: a WebSocket of
Playwright's is not held to it.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from playwright.sync_api import Page, Route, WebSocketRoute

SITE = "http://headrace.test"
STREAM = "abcdefghijkm"
NOW_MS = 1_800_000_000_000
"""When message number 0 was said."""

SETTINGS = {"slowModeS": 0, "guestsAllowed": True, "emoteOnly": False}

File = tuple[Mapping[str, str], bytes]


def message(number: int, content: str | None = None, **fields: Any) -> dict[str, Any]:
    """Message `number` of the stream, by "ann" unless `fields` say otherwise."""
    return {
        "id": f"{number:016x}",
        "streamId": STREAM,
        "userId": "ann",
        "username": "Ann",
        "content": f"text {number}" if content is None else content,
        "timestamp": NOW_MS + 1000 * number,
        **fields,
    }


class ScriptedChat:
    """The site of one page.

    Args:
        page: Where it is seen. Give it no other routes.
        file: The answer to a path and its query; None: 404.
    """

    def __init__(self, page: Page, file: Callable[[str, str], File | None]) -> None:
        self._file = file
        self.heard: list[dict[str, Any]] = []
        """Every frame that the page has sent, joins too."""
        self.history: list[dict[str, Any]] = []
        """What who joins is given, and who asks by REST."""
        self.asked: list[str] = []
        """Queries of the history by REST."""
        self.before_answer: Callable[[], None] = lambda: None
        """Called between a look at the history and its answer."""
        self.joins = 0
        self.me: dict[str, Any] = {"userId": "guest_1", "username": "Guest 1", "role": "viewer"}
        self.settings: dict[str, Any] = dict(SETTINGS)
        self.info: dict[str, Any] = {"chatEnabled": True, "status": "idle", "startedAt": None}
        self.refusals: list[dict[str, Any]] = []
        """Errors with which the next joins are answered."""
        self.is_away = False
        """Whether connections are closed at once."""
        self.is_mute = False
        """Whether pings are left unanswered."""
        self._socket: WebSocketRoute | None = None
        self._was_described = False
        page.route(re.compile(".*"), self._answer)
        page.route_web_socket(re.compile(r".*/chat/ws$"), self._open)

    @property
    def url(self) -> str:
        """The watch page."""
        return f"{SITE}/watch/{STREAM}"

    def say(self, kind: str, **fields: Any) -> None:
        """Send a frame to the page."""
        assert self._socket is not None
        self._socket.send(json.dumps({"type": kind, **fields}))

    def tell(self, *messages: dict[str, Any]) -> None:
        """Send messages, and keep them."""
        self.history += messages
        self.say("messages", messages=messages)

    def hang_up(self, code: int = 1001) -> None:
        """Close the connection."""
        assert self._socket is not None
        self._socket.close(code=code, reason="")

    def last(self, kind: str) -> dict[str, Any]:
        """The newest frame of a kind that the page has sent."""
        return next(frame for frame in reversed(self.heard) if frame["type"] == kind)

    def _open(self, socket: WebSocketRoute) -> None:
        if self.is_away:
            socket.close(code=1001, reason="")
            return
        self._socket = socket
        socket.on_message(self._hear)

    def _hear(self, text: str | bytes) -> None:
        frame = json.loads(text)
        self.heard.append(frame)
        if frame["type"] == "ping" and not self.is_mute:
            self.say("pong")
        if frame["type"] != "join":
            return
        if self.refusals:
            self.say("error", **self.refusals.pop(0))
            return
        self.joins += 1
        self.say(
            "joined",
            **(self.me | ({"username": frame["username"]} if frame.get("username") else {})),
            isGuest="token" not in frame,
            guest=None if "token" in frame else "guest-token",
            settings=self.settings,
            messages=self.history[-200:],
            pinned=None,
            viewers=7,
            serverTime=NOW_MS,
        )

    def _answer(self, route: Route) -> None:
        path, _, query = route.request.url.removeprefix(SITE).partition("?")
        if path == f"/api/streams/{STREAM}" and not self._was_described:
            self._was_described = True  # asked again, it is 404: then the player asks no more
            body = {"title": "Talk", "broadcasterId": "ann", "quality": []} | self.info
            route.fulfill(json=body)
        elif path == f"/api/streams/{STREAM}/chat":
            self.asked.append(query)
            found = self.history[-500:]
            self.before_answer()
            route.fulfill(json={"messages": found})
        elif (file := self._file(path, query)) is not None:
            self._was_described &= not path.startswith("/watch/")
            route.fulfill(headers=dict(file[0]), body=file[1])
        else:
            route.fulfill(status=404)
