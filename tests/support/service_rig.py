"""A chat service over a store in memory, asked as `edge.http` asks it."""

import json
from types import SimpleNamespace
from typing import Any

import trio
from memory_store import MemoryStore

from control.chat_model import Role
from edge.backend import StreamInfo
from edge.chat.api import ChatApi
from edge.chat.identity import Keyring
from edge.chat.service import ChatService, ChatSettings
from edge.errors import NoSuchStream, Unavailable
from edge.events import EventBus
from edge.http.messages import Call, HttpError, Request, error_answer

NOW_MS = 1_790_000_000_000
STREAM = "stream1"
KEY, ADMIN = "live_key", "admin_token"


class Backend:
    """One stream with a key."""

    def __init__(self) -> None:
        self.chat_enabled = True
        self.is_broken = False

    async def get_stream(self, stream_id: str) -> StreamInfo:
        await trio.lowlevel.checkpoint()
        if self.is_broken:
            raise Unavailable
        if stream_id != STREAM:
            raise NoSuchStream
        return StreamInfo(
            id=STREAM,
            title="t",
            status="live",
            broadcaster_id="bro",
            chat_enabled=self.chat_enabled,
        )

    async def is_admin(self, token: str) -> bool:
        return token == ADMIN

    async def owns(self, stream_id: str, stream_key: str) -> bool:
        return (stream_id, stream_key) == (STREAM, KEY)


class Rig:
    """The calls of one service."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.backend = Backend()
        self.now_ms = NOW_MS
        self.keyring = Keyring(b"k" * 32)
        self.events = EventBus()
        self.service = ChatService(
            store=self.store,
            backend=self.backend,  # type: ignore[arg-type]
            stream_time_s=lambda _stream_id: 12.5,
            keyring=self.keyring,
            settings=ChatSettings(batch_ms=10),
            events=self.events,
            clock_ms=lambda: self.now_ms,
        )
        self.api = ChatApi(self.service)

    def token(self, user: str, role: Role = Role.VIEWER, **more: Any) -> str:
        return self.keyring.mint(
            stream_id=STREAM,
            user_id=user,
            username=user.title(),
            role=role,
            ttl_s=1000,
            now_s=self.now_ms / 1000,
            **more,
        )

    async def call(
        self,
        method: str,
        path: str = "",
        body: Any = None,
        *,
        token: str | None = None,
        stream: str = STREAM,
    ) -> SimpleNamespace:
        self.now_ms += 2000
        fields = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
        target = f"/api/streams/{stream}/chat{path}"
        request = Request(method, target, fields)
        rest = request.path.split("/")[5:]
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        try:
            answer = self.api.route(stream, rest, request)
            assert isinstance(answer, Call)
            response = await answer.handler(request, data)
        except HttpError as error:
            response = error_answer(error)
        head = response.head.decode()
        value = json.loads(b"".join(response.chunks))
        return SimpleNamespace(status=int(head.split()[1]), value=value, head=head)
