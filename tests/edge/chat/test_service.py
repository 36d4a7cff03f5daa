"""The service over real sockets: joins, talk, bans, webhooks, restarts, and what is bounded."""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import trio
import trio_websocket
from memory_store import MemoryStore
from service_rig import KEY, STREAM, Rig

from control.chat_model import ChatMessage, Role
from edge.chat import service as service_module
from edge.chat.crowd import CrowdSettings
from edge.chat.doorway import Joined, Refused
from edge.chat.rules import Identity
from edge.chat.service import FRAMES_BURST, IDLE_ROOM_S, ChatService, ChatSettings
from edge.chat.webhook import Allow, Change, Deny
from edge.http.messages import Answer, HttpError, Request
from edge.http.server import serve_http

WAIT_S = 5.0
"""For what takes milliseconds; the clock is real, as sockets are."""


class Client:
    """A page's end of a connection."""

    def __init__(self, connection: trio_websocket.WebSocketConnection) -> None:
        self.connection = connection
        self.joined: dict[str, Any] = {}

    async def send(self, **frame: Any) -> None:
        await self.connection.send_message(json.dumps(frame))

    async def next(self, kind: str) -> dict[str, Any]:
        """The next frame of a type; what comes before it is passed over."""
        with trio.fail_after(WAIT_S):
            while True:
                frame: dict[str, Any] = json.loads(await self.connection.get_message())
                if frame["type"] == kind:
                    return frame

    async def read(self, count: int) -> list[str]:
        """Contents of so many messages."""
        found: list[str] = []
        while len(found) < count:
            found += [one["content"] for one in (await self.next("messages"))["messages"]]
        return found

    async def code(self) -> int:
        """How the server closed."""
        with trio.fail_after(WAIT_S):
            while True:
                try:
                    await self.connection.get_message()
                except trio_websocket.ConnectionClosed as closed:
                    return 0 if closed.reason is None else closed.reason.code


class House:
    """A server with chat."""

    def __init__(self, nursery: trio.Nursery, **more: Any) -> None:
        self.rig = Rig()
        self.rig.now_ms = time.time_ns() // 1_000_000  # the service's own clock
        self.nursery = nursery
        self.port = 0
        self.more = more

    @property
    def service(self) -> ChatService:
        return self.rig.service

    async def open(self, store: MemoryStore | None = None) -> None:
        rig = self.rig
        if store is not None:
            rig.store = store
        rig.service = ChatService(
            store=rig.store,
            backend=rig.backend,  # type: ignore[arg-type]
            stream_time_s=lambda _stream_id: 1.0,
            keyring=rig.keyring,
            settings=ChatSettings(batch_ms=5, crowd=CrowdSettings()),
            **self.more,
        )
        rig.api.__init__(rig.service)  # type: ignore[misc]
        await self.nursery.start(rig.service.run)
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        await self.nursery.start(serve_http, listeners, self)

    def route(self, request: Request) -> Answer:
        match request.path.split("/"):
            case ["", "api", "streams", stream_id, "chat", *rest]:
                return self.rig.api.route(stream_id, rest, request)
        raise HttpError(404, "not found")

    @contextlib.asynccontextmanager
    async def connect(
        self, *, headers: list[tuple[bytes, bytes]] | None = None, **fields: Any
    ) -> AsyncIterator[Client]:
        """Connect, and join if there are fields for it."""
        url = f"ws://127.0.0.1:{self.port}/api/streams/{STREAM}/chat/ws"
        with trio.fail_after(WAIT_S * 4):
            async with trio_websocket.open_websocket_url(url, extra_headers=headers) as connection:
                client = Client(connection)
                if fields:
                    await client.send(type="join", **fields)
                    client.joined = await client.next("joined")
                try:
                    yield client
                finally:
                    # trio-websocket 0.12 leaves a connection open that the server has closed.
                    await trio.aclose_forcefully(connection._stream)


@pytest.fixture
async def house(nursery: trio.Nursery) -> House:
    house = House(nursery)
    await house.open()
    return house


async def test_everybody_hears_everybody_in_one_order(house: House) -> None:
    async with house.connect(username="Zoe") as zoe, house.connect(username="Yan") as yan:
        assert zoe.joined["isGuest"] is True
        assert zoe.joined["userId"].startswith("guest_")
        await zoe.send(type="message", content="one", clientId="z1")
        assert await zoe.read(1) == await yan.read(1) == ["one"]
        await yan.send(type="message", content="two")
        await zoe.send(type="message", content="three")
        assert sorted(await zoe.read(2)) == ["three", "two"]
        assert sorted(await yan.read(2)) == ["three", "two"]
    assert house.rig.store.kept[0].content == "one"


async def test_who_comes_later_is_given_what_was_said(house: House) -> None:
    async with house.connect(username="Zoe") as zoe:
        await zoe.send(type="message", content="early")
        await zoe.read(1)
        async with house.connect(username="Yan") as yan:
            assert [one["content"] for one in yan.joined["messages"]] == ["early"]
            assert yan.joined["messages"][0]["streamTime"] == 1.0


async def test_a_guest_comes_back_as_the_same(house: House) -> None:
    async with house.connect(username="Zoe") as zoe:
        first = zoe.joined
    async with house.connect(username="Zoe", guest=first["guest"]) as again:
        assert again.joined["userId"] == first["userId"]


async def test_a_guest_without_a_name_is_given_one(house: House) -> None:
    async with house.connect(guest=None) as client:
        assert client.joined["username"].startswith("Guest ")


async def test_a_banned_user_does_not_return(house: House) -> None:
    rig = house.rig
    async with (
        house.connect(token=rig.token("ann")) as ann,
        house.connect(token=rig.token("mo", Role.MODERATOR)) as mo,
    ):
        await ann.send(type="message", content="bad")
        await mo.read(1)
        await mo.send(type="ban", userId="ann", reason="spam")
        assert (await mo.next("deleted"))["userId"] == "ann"
        assert (await mo.next("banned"))["reason"] == "spam"
        assert await ann.code() == 4003
        for fields in ({"token": rig.token("ann")}, {"username": "Renamed"}):
            async with house.connect() as again:
                await again.send(type="join", **fields)
                assert (await again.next("error"))["code"] == "banned"
                assert await again.code() == 1008


async def test_bans_settings_and_history_outlive_the_process(house: House) -> None:
    rig = house.rig
    async with house.connect(token=rig.token("mo", Role.MODERATOR)) as mo:
        await mo.send(type="message", content="kept")
        await mo.read(1)
        await mo.send(type="message", content="/ban @ann for good")
        await mo.send(type="slowMode", seconds=9)
        with contextlib.suppress(TimeoutError):
            assert (await mo.next("error"))["code"] == "unknownUser"  # nobody has seen ann
        await mo.send(type="ban", userId="ann")
        await mo.next("banned")
    other = House(house.nursery)
    other.rig.keyring = rig.keyring
    await other.open(rig.store)
    async with other.connect(username="Zoe") as zoe:
        assert [one["content"] for one in zoe.joined["messages"]] == ["kept"]
        assert zoe.joined["settings"]["slowModeS"] == 9
    async with other.connect() as ann:
        await ann.send(type="join", token=rig.token("ann"))
        assert (await ann.next("error"))["code"] == "banned"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"type": "message", "content": ""}, "empty"),
        ({"type": "message", "content": "x" * 501}, "tooLong"),
        ({"type": "message", "content": "/nonsense"}, "unknownCommand"),
        ({"type": "message", "content": "/clear"}, "forbidden"),
        ({"type": "clear"}, "forbidden"),
        ({"type": "join"}, "badRequest"),
        ({"type": "shout"}, "badRequest"),
    ],
)
async def test_who_is_refused_is_told(house: House, frame: dict[str, Any], code: str) -> None:
    async with house.connect(username="Zoe") as zoe:
        await zoe.send(**frame)
        assert (await zoe.next("error"))["code"] == code
        await zoe.send(type="ping")
        await zoe.next("pong")


async def test_commands_and_the_escaped_slash(house: House) -> None:
    async with house.connect(token=house.rig.token("mo", Role.MODERATOR)) as mo:
        await mo.send(type="message", content="/slow 5")
        assert (await mo.next("notice"))["text"] == "slow mode: 5 s"
        assert (await mo.next("settings"))["settings"]["slowModeS"] == 5
        await mo.send(type="message", content="//slow is a command")
        assert await mo.read(1) == ["/slow is a command"]
        await mo.send(type="message", content="/me waves")
        assert await mo.read(1) == ["* waves"]


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ({"type": "message", "content": "x"}, "notJoined"),
        ({"type": "join", "token": "x.y.z"}, "badToken"),
        ({"type": "join", "guest": "x"}, "badToken"),
        ({"type": "join", "username": "\u202e"}, "badName"),
        ({"type": "join", "username": "Admin"}, "nameTaken"),
        ({"nothing": 1}, "badRequest"),
    ],
)
async def test_three_tries_to_join(house: House, first: dict[str, Any], code: str) -> None:
    async with house.connect() as client:
        for _ in range(2):
            await client.send(**first)
            assert (await client.next("error"))["code"] == code
        await client.send(type="join", username="Zoe")
        await client.next("joined")


async def test_a_flood_of_frames_ends_its_connection(house: House) -> None:
    async with house.connect(username="Zoe") as zoe, house.connect(username="Yan") as yan:
        with contextlib.suppress(trio_websocket.ConnectionClosed):
            for _ in range(FRAMES_BURST * 3):
                await zoe.send(type="ping")
        assert await zoe.code() == 4009
        await yan.send(type="ping")
        await yan.next("pong")


async def test_held_messages_go_to_moderators(house: House) -> None:
    token = house.rig.token("mo", Role.MODERATOR)
    async with house.connect(token=token) as mo, house.connect(username="Zoe") as zoe:
        await house.rig.call("PATCH", "/settings", {"links": "hold"}, token=KEY)
        await zoe.send(type="message", content="see https://example.org")
        held = await mo.next("held")
        await zoe.next("held")
        await mo.send(type="approve", id=held["message"]["id"])
        assert await zoe.read(1) == ["see https://example.org"]


async def test_a_disk_that_fails_does_not_stop_the_talk(house: House) -> None:
    async with house.connect(username="Zoe") as zoe:
        house.rig.store.is_broken = True
        await zoe.send(type="message", content="one")
        assert await zoe.read(1) == ["one"]
        house.rig.store.is_broken = False
        await zoe.send(type="message", content="two")
        assert await zoe.read(1) == ["two"]
    assert [one.content for one in house.rig.store.kept] == ["two"]


async def test_a_stop_tells_everybody(house: House) -> None:
    async with house.connect(username="Zoe") as zoe:
        house.service.crowd.drain()
        assert await zoe.code() == 1001


class Hook:
    """A webhook that answers as it is told."""

    def __init__(self) -> None:
        self.asked: list[ChatMessage] = []

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def ask(self, message: ChatMessage) -> Allow | Change | Deny:
        self.asked.append(message)
        await trio.lowlevel.checkpoint()
        if message.content == "deny":
            return Deny("not here")
        return Change("changed") if message.content == "change" else Allow()


async def test_the_webhook_is_asked_before_anybody_sees_it(nursery: trio.Nursery) -> None:
    hook = Hook()
    house = House(nursery, webhook=hook)
    await house.open()
    async with house.connect(username="Zoe") as zoe:
        for content in ("allow", "change"):
            await zoe.send(type="message", content=content, clientId=content)
            await zoe.read(1)
        await zoe.send(type="message", content="deny", clientId="d")
        error = await zoe.next("error")
        assert (error["code"], error["message"], error["clientId"]) == ("denied", "not here", "d")
        assert [one.content for one in house.rig.store.kept] == ["allow", "changed"]
        assert {one.username for one in hook.asked} == {"Zoe"}
        await zoe.send(type="message", content="//deny is nothing")
        assert await zoe.read(1) == ["/deny is nothing"]
        assert hook.asked.pop().content == "/deny is nothing"
        await zoe.send(type="message", content="/help")  # a command is nobody else's business
        await zoe.next("notice")
        assert len(hook.asked) == 3


async def test_connections_from_one_address_are_bounded() -> None:
    rig = Rig()
    text = json.dumps({"type": "join"})
    rig.service.settings = ChatSettings(max_connections_per_address=2)
    joined = [await rig.service.join(STREAM, text, "192.0.2.1") for _ in range(3)]
    assert [type(one) for one in joined] == [Joined, Joined, Refused]
    assert isinstance(await rig.service.join(STREAM, text, "192.0.2.2"), Joined)
    for _ in range(3):
        assert isinstance(await rig.service.join(STREAM, text, "127.0.0.1"), Joined)
        assert isinstance(await rig.service.join(STREAM, text, ""), Joined)
    assert isinstance(joined[0], Joined)
    joined[0].listener.gone("left")
    assert isinstance(await rig.service.join(STREAM, text, "192.0.2.1"), Joined)


async def test_rooms_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "MAX_ROOMS", 0)
    answer = await Rig().service.join(STREAM, json.dumps({"type": "join"}), "")
    assert isinstance(answer, Refused)
    assert json.loads(answer.payload)["code"] == "unavailable"
    assert answer.is_final


async def test_a_room_is_loaded_once_for_all_who_come_meanwhile() -> None:
    rig = Rig()
    rooms = []

    async def come() -> None:
        rooms.append((await rig.service.enter_stream(STREAM))[0])

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(come)
    assert len(set(map(id, rooms))) == rig.store.loads == 1


async def test_a_stream_without_chat_or_that_is_not_there() -> None:
    rig = Rig()
    for stream_id in ("nobody", STREAM):
        rig.backend.chat_enabled = False
        answer = await rig.service.join(stream_id, json.dumps({"type": "join"}), "")
        assert isinstance(answer, Refused)
        assert json.loads(answer.payload)["code"] == "chatDisabled"
    rig.backend.is_broken = True
    answer = await rig.service.join(STREAM, json.dumps({"type": "join"}), "")
    assert isinstance(answer, Refused)
    assert json.loads(answer.payload)["code"] == "unavailable"


async def test_housekeeping_counts_viewers_sweeps_and_forgets(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    rig = Rig()
    await nursery.start(rig.service.run)
    room, _ = await rig.service.enter_stream(STREAM)
    await trio.sleep(IDLE_ROOM_S / 2)
    assert (await rig.service.enter_stream(STREAM))[0] is room
    await trio.sleep(IDLE_ROOM_S + 60)
    assert (await rig.service.enter_stream(STREAM))[0] is not room
    sweeps = rig.store.sweeps
    await trio.sleep(service_module.SWEEP_EVERY_S)
    assert rig.store.sweeps == sweeps + 1
    rig.store.is_broken = True
    await trio.sleep(service_module.SWEEP_EVERY_S)  # which is logged, and no more


@pytest.mark.parametrize(
    ("fields", "network"),
    [
        ((), "local"),
        (((b"x-forwarded-for", b"192.0.2.7"),), "192.0.2.7"),
        (((b"x-forwarded-for", b"1.2.3.4, 192.0.2.7"),), "192.0.2.7"),
        (((b"x-forwarded-for", b"nobody"),), "local"),
    ],
)
async def test_a_proxy_on_this_machine_is_believed(
    house: House, fields: tuple[tuple[bytes, bytes], ...], network: str
) -> None:
    async with house.connect(headers=list(fields), username="Zoe"):
        room, _ = await house.service.enter_stream(STREAM)
        (who,) = room.members.values()
        expected = network if network == "local" else house.rig.keyring.network(network)
        assert who.network == expected


@pytest.mark.parametrize(
    ("members", "batch_ms"), [(0, 5), (500, 5), (10_000, 80), (25_000, 200), (90_000, 250)]
)
async def test_a_crowd_is_sent_to_less_often(members: int, batch_ms: float) -> None:
    rig = Rig()
    rig.service.settings = ChatSettings(batch_ms=5)
    room, _ = await rig.service.enter_stream(STREAM)
    who = Identity(user_id="u", username="U")
    room.members = dict.fromkeys(range(members), who)
    room.post(who, "x", rig.now_ms)
    assert rig.service._batch_ms() == batch_ms


async def test_a_bug_in_a_room_is_not_the_process_s(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("a bug")

    room, _ = await house.service.enter_stream(STREAM)
    async with house.connect(username="Zoe") as zoe:
        with monkeypatch.context() as broken:
            broken.setattr(room, "publish", fails)
            broken.setattr(house.rig.store, "add_messages", fails)
            await zoe.send(type="message", content="lost")
            await zoe.send(type="ping")
            await zoe.next("pong")
            await house.service.settled()
        await zoe.send(type="message", content="found")
        assert await zoe.read(1) == ["found"]


async def test_nobody_sees_a_message_before_it_is_stored(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = trio.Event(), trio.Event()
    add_messages = house.rig.store.add_messages

    async def slowly(batch: Sequence[ChatMessage]) -> None:
        begun.set()
        await may_end.wait()
        await add_messages(batch)

    monkeypatch.setattr(house.rig.store, "add_messages", slowly)
    async with house.connect(username="Zoe") as zoe:
        await zoe.send(type="message", content="first to the disk")
        with trio.fail_after(WAIT_S):
            await begun.wait()
        await zoe.send(type="ping")
        kinds: list[str] = []
        while kinds[-1:] != ["pong"]:
            kinds.append(json.loads(await zoe.connection.get_message())["type"])
        assert "messages" not in kinds
        may_end.set()
        assert await zoe.read(1) == ["first to the disk"]
