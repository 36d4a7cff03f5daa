"""Chat by REST, and the door to its WebSocket: `/api/streams/{id}/chat...`.

Reading needs nothing, as watching does. Writing needs a credential that says who writes: a chat
token, a guest token of somebody who has joined lately, the stream's key, or the admin token; and
nobody acts as a user for whom it has none. Moderation needs a token of that role, the key, or the
admin token. A change is answered when it is stored.

Errors are `{"error": text, "code": code}`, with `Retry-After` where that is known. Handlers are
called by `edge.http.routes`. May import: `edge.http`, `edge.api`, `edge.backend`, `edge.chat`.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

import msgspec
import structlog
import trio

from control import StoreError
from control.chat_model import Role
from edge.api.operation import ALL_SCOPES, Access, Operation, Scope
from edge.api.router import decode_json, read_query, refusal
from edge.api.streams import BackendAccess
from edge.chat.doorway import ChatSocketSettings, check_upgrade, welcome
from edge.chat.identity import BadToken
from edge.chat.names import BadName, normalise_name
from edge.chat.protocol import ChatError
from edge.chat.room import Room
from edge.chat.rows import (
    AuditPage,
    AuditQuery,
    AuditRow,
    BanInfo,
    BanList,
    BanRequest,
    ChatMessages,
    ChatPost,
    ChatQuery,
    ChatToken,
    ChatTokenRequest,
    Done,
    ModeratorInfo,
    ModeratorList,
    RoomChanges,
    chat_operations,
)
from edge.chat.rules import Identity
from edge.chat.service import ChatService
from edge.errors import BackendError, WrongKey
from edge.http.messages import Answer, Call, HandOver, HttpError, Request
from edge.http.response import Response, json_response

log = structlog.get_logger("chat")

_STATUS: Final[dict[str, int]] = {
    "badRequest": 400,
    "badName": 400,
    "empty": 400,
    "badToken": 401,
    "tooLong": 413,
    "slowMode": 429,
    "rateLimited": 429,
    "duplicate": 429,
    "unknownUser": 404,
    "unknownMessage": 404,
    "unavailable": 503,
}
"""Of the codes of `ChatError`; the others are 403."""


class ChatApi:
    """Handlers of chat; they may raise `HttpError` or `BackendError`.

    Args:
        service: The rooms.
        sockets: How WebSockets begin.
        access: Knows stream keys and admin tokens; None: the service's backend does.
    """

    def __init__(
        self,
        service: ChatService,
        sockets: ChatSocketSettings | None = None,
        access: Access | None = None,
    ) -> None:
        self._service = service
        self._access = access or BackendAccess(service.backend)
        self.sockets = sockets or ChatSocketSettings()
        """May be replaced: it holds for those who come from then on."""

    @property
    def operations(self) -> Sequence[Operation]:
        """What is answered here, for the document."""
        return chat_operations()

    def route(self, stream_id: str, rest: Sequence[str], request: Request) -> Answer:
        """Find the handler of `/api/streams/{id}/chat/` + `rest`.

        Raises:
            HttpError: 404 or 405.
        """
        match [unquote(segment) for segment in rest]:  # a user id may have any printable character
            case []:
                handlers: dict[str, Any] = {"GET": self._read, "POST": self._post}
            case ["ws"]:
                if request.method != "GET":
                    raise HttpError(405, "method not allowed here", Allow="GET, OPTIONS")
                check_upgrade(request, allowed_origins=self.sockets.allowed_origins)
                return HandOver(partial(self._socket, stream_id, request))
            case ["token"]:
                handlers = {"POST": self._mint}
            case ["settings"]:
                handlers = {"GET": self._settings, "PATCH": self._change}
            case ["messages"]:
                handlers = {"DELETE": self._clear}
            case ["messages", message_id]:
                handlers = {"DELETE": partial(self._delete, message_id)}
            case ["pinned"]:
                handlers = {"DELETE": self._unpin}
            case ["pinned", message_id]:
                handlers = {"PUT": partial(self._pin, message_id)}
            case ["bans"]:
                handlers = {"GET": self._bans}
            case ["bans", user_id]:
                put, delete = partial(self._ban, user_id), partial(self._unban, user_id)
                handlers = {"PUT": put, "DELETE": delete}
            case ["moderators"]:
                handlers = {"GET": self._moderators}
            case ["moderators", user_id]:
                on = partial(self._moderator, user_id, True)
                off = partial(self._moderator, user_id, False)
                handlers = {"PUT": on, "DELETE": off}
            case ["audit"]:
                handlers = {"GET": self._audit}
            case _:
                raise HttpError(404, "not found")
        if "" in rest:
            raise HttpError(404, "not found")
        handler: Any = handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            raise HttpError(405, "method not allowed here", Allow=", ".join((*handlers, "OPTIONS")))
        return Call(partial(_run, partial(handler, stream_id)))

    async def _socket(
        self, stream_id: str, request: Request, stream: trio.abc.Stream, received: bytes
    ) -> None:
        """Serve a WebSocket to the point where the crowd has it."""
        try:
            await self._service.enter_stream(stream_id)
        except BackendError as error:
            raise refusal(error) from None
        except ChatError as error:
            raise HttpError(_status(error), str(error), code=error.code) from None
        await welcome(
            stream,
            received,
            request,
            stream_id=stream_id,
            door=self._service,
            crowd=self._service.crowd,
            settings=self.sockets,
        )

    # -- talk

    async def _read(self, stream_id: str, request: Request, _body: bytes) -> Response:
        """`GET .../chat?limit=50&before=ID`."""
        query = read_query(request, ChatQuery)
        await self._service.backend.get_stream(stream_id)
        found = await self._service.store.messages(
            stream_id, limit=query.limit, before=query.before or None, after=query.after or None
        )
        return json_response(200, ChatMessages(messages=list(found)))

    async def _post(self, stream_id: str, request: Request, body: bytes) -> Response:
        """`POST .../chat`: 201 and the message, or 202 if a moderator must see it first."""
        post = decode_json(body, ChatPost)
        room, info = await self._service.enter_stream(stream_id)
        who = await self._writer(room, request, post, info.broadcaster_id)
        sanction = room.rules.sanction_of(who, self._service.clock_ms())
        if sanction is not None and sanction.until is None:
            raise ChatError("banned", "you are banned from this chat")
        message, is_seen = await self._service.say(
            room, who, post.content, client_id=post.client_id
        )
        await self._service.settled()
        return json_response(201 if is_seen else 202, message)

    async def _mint(self, stream_id: str, request: Request, body: bytes) -> Response:
        """`POST .../chat/token`: needs the stream's key or the admin token."""
        wanted = decode_json(body, ChatTokenRequest)
        actor = await self._actor(stream_id, request, scope="streams")
        if wanted.role.rank > actor.role.rank or actor.role.rank < Role.BROADCASTER.rank:
            raise ChatError("forbidden", "this credential cannot give that role")
        if wanted.user_id.startswith("guest_"):
            raise ChatError("badRequest", "ids that begin with guest_ are guests'")
        token = self._service.keyring.mint(
            stream_id=stream_id,
            user_id=wanted.user_id,
            username=_name(wanted.username),
            role=wanted.role,
            claims=wanted.claims,
            ttl_s=wanted.ttl_seconds,
            now_s=self._service.clock_ms() / 1000,
        )
        return json_response(201, ChatToken(token=token))

    # -- moderation

    async def _settings(self, stream_id: str, _request: Request, _body: bytes) -> Response:
        room, _ = await self._service.enter_stream(stream_id)
        return json_response(200, room.settings)

    async def _change(self, stream_id: str, request: Request, body: bytes) -> Response:
        actor, room = await self._moderate(stream_id, request)
        changes = msgspec.structs.asdict(decode_json(body, RoomChanges))
        given = {name: new for name, new in changes.items() if new is not msgspec.UNSET}
        settings = msgspec.structs.replace(room.settings, **given)
        room.change(actor, settings, self._service.clock_ms())
        await self._service.settled()
        return json_response(200, settings)

    async def _delete(
        self, message_id: str, stream_id: str, request: Request, _body: bytes
    ) -> Response:
        actor, room = await self._moderate(stream_id, request)
        room.delete(actor, message_id, self._service.clock_ms())
        return await self._done()

    async def _clear(self, stream_id: str, request: Request, _body: bytes) -> Response:
        actor, room = await self._moderate(stream_id, request)
        room.clear(actor, self._service.clock_ms())
        return await self._done()

    async def _pin(
        self, message_id: str, stream_id: str, request: Request, _body: bytes
    ) -> Response:
        actor, room = await self._moderate(stream_id, request)
        room.pin(actor, message_id, self._service.clock_ms())
        return await self._done()

    async def _unpin(self, stream_id: str, request: Request, _body: bytes) -> Response:
        actor, room = await self._moderate(stream_id, request)
        room.unpin(actor, self._service.clock_ms())
        return await self._done()

    async def _bans(self, stream_id: str, request: Request, _body: bytes) -> Response:
        _actor, room = await self._moderate(stream_id, request)
        now_ms = self._service.clock_ms()
        bans = [
            BanInfo(
                user_id=one.user_id,
                username=one.username,
                until=one.until,
                by=one.by,
                reason=one.reason,
                at=one.at,
            )
            for one in room.rules.sanctions
            if one.until is None or one.until > now_ms
        ]
        return json_response(200, BanList(bans=bans))

    async def _ban(self, user_id: str, stream_id: str, request: Request, body: bytes) -> Response:
        actor, room = await self._moderate(stream_id, request)
        wanted = decode_json(body or b"{}", BanRequest)
        now_ms = self._service.clock_ms()
        room.sanction(actor, user_id, now_ms, seconds=wanted.seconds, reason=wanted.reason)
        return await self._done()

    async def _unban(
        self, user_id: str, stream_id: str, request: Request, _body: bytes
    ) -> Response:
        actor, room = await self._moderate(stream_id, request)
        room.pardon(actor, user_id, self._service.clock_ms())
        return await self._done()

    async def _moderators(self, stream_id: str, request: Request, _body: bytes) -> Response:
        _actor, room = await self._moderate(stream_id, request)
        named = [
            ModeratorInfo(user_id=user_id, username=name) for user_id, name in room.rules.moderators
        ]
        return json_response(200, ModeratorList(moderators=named))

    async def _moderator(
        self, user_id: str, is_on: bool, stream_id: str, request: Request, _body: bytes
    ) -> Response:
        actor, room = await self._moderate(stream_id, request, "streams")
        room.set_moderator(actor, user_id, is_on, self._service.clock_ms())
        return await self._done()

    async def _audit(self, stream_id: str, request: Request, _body: bytes) -> Response:
        await self._moderate(stream_id, request)
        query = read_query(request, AuditQuery)
        rows = await self._service.store.audit(
            stream_id,
            limit=query.limit,
            before=None if query.before is msgspec.UNSET else query.before,
        )
        entries = [AuditRow(id=number, **msgspec.structs.asdict(entry)) for number, entry in rows]
        return json_response(200, AuditPage(entries=entries))

    async def _done(self) -> Response:
        await self._service.settled()
        return json_response(200, Done())

    # -- credentials

    async def _moderate(
        self, stream_id: str, request: Request, scope: Scope = "moderate"
    ) -> tuple[Identity, Room]:
        """Who asks, and the room, if they may moderate it."""
        room, _ = await self._service.enter_stream(stream_id)
        actor = await self._actor(stream_id, request, scope)
        if room.rules.role_of(actor).rank < Role.MODERATOR.rank:
            raise ChatError("forbidden", "only a moderator may do that")
        sanction = room.rules.sanction_of(actor, self._service.clock_ms())
        if sanction is not None and sanction.until is None:
            raise ChatError("banned", "you are banned from this chat")
        return actor, room

    async def _actor(self, stream_id: str, request: Request, scope: Scope = "moderate") -> Identity:
        """Whom the bearer token speaks for; a guest's is none here.

        Of an admin token with the scope `moderate` that is a moderator; with `streams`, where that
        is asked for, a broadcaster: it can make itself a key of the stream.
        """
        token = request.bearer
        if token is None:
            raise WrongKey
        service = self._service
        with suppress(BadToken):  # first: it costs no look-up, and a wrong one is no guess at a key
            return service.keyring.read(token, stream_id=stream_id, now_s=service.clock_ms() / 1000)
        who = await self._access.identify(token, stream_id=stream_id, client=request.client)
        if who is None:
            raise WrongKey
        if who.stream_id is not None:
            name = (await service.backend.get_stream(stream_id)).broadcaster_id
            return Identity(user_id=name, username=name, role=Role.BROADCASTER)
        if who.scopes == ALL_SCOPES:
            return Identity(user_id="admin", username="Admin", role=Role.ADMIN)
        if not who.may(scope):
            raise HttpError(403, f"this token lacks the scope {scope!r}")
        role = Role.MODERATOR if scope == "moderate" else Role.BROADCASTER
        return Identity(user_id=who.name, username="Moderator", role=role)

    async def _writer(
        self, room: Room, request: Request, post: ChatPost, broadcaster_id: str
    ) -> Identity:
        """Who writes, if the credential is theirs."""
        service, token = self._service, request.bearer
        guest = self._guest(room, token)
        if guest is not None:
            if post.user_id not in (None, guest.user_id):
                raise ChatError("forbidden", "this token is another user's")
            return guest
        actor = await self._actor(room.stream_id, request)
        if actor.role.rank >= Role.BROADCASTER.rank and post.user_id not in (None, actor.user_id):
            # Whoever holds the key may mint a token for anybody.
            if post.user_id.startswith("guest_"):
                raise ChatError("forbidden", "guests write with their own tokens")
            name = _name(post.username or post.user_id)
            try:
                known = service.keyring.check_user_id(post.user_id)
            except BadToken as error:
                raise ChatError("badRequest", str(error)) from None
            role = Role.BROADCASTER if known == broadcaster_id else Role.VIEWER
            return Identity(user_id=known, username=name, role=role)
        if post.user_id not in (None, actor.user_id):
            raise ChatError("forbidden", "this token is another user's")
        return actor

    def _guest(self, room: Room, token: str | None) -> Identity | None:
        """A guest who has joined lately: only then is it known where from, and so who is banned."""
        if token is None:
            return None
        try:
            user_id = self._service.keyring.read_guest(token, now_s=self._service.clock_ms() / 1000)
        except BadToken:
            return None
        guest = room.known(user_id)
        if guest is None:
            raise ChatError("notJoined", "a guest writes by REST only after a join")
        return guest


async def _run(handler: Any, request: Request, body: bytes) -> Response:
    try:
        response: Response = await handler(request, body)
    except ChatError as error:
        extra = {}
        if error.retry_after_s is not None:
            extra["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
        return json_response(_status(error), {"error": str(error), "code": error.code}, extra=extra)
    except BackendError as error:
        raise refusal(error) from None
    except StoreError as error:
        log.error("cannot read chat", reason=str(error))
        raise HttpError(503, "the chat cannot be read now, try again", Retry_After="5") from None
    return response


def _status(error: ChatError) -> int:
    return _STATUS.get(error.code, 403)


def _name(raw: str) -> str:
    try:
        return normalise_name(raw)
    except BadName as error:
        raise ChatError("badName", str(error)) from None
