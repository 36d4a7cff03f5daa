"""Chat by REST: who may do what, and what each refusal is."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from service_rig import ADMIN, KEY, STREAM, Rig

from control.chat_model import ChatMessage, FilterAction, Role, RoomSettings, Sanction
from edge.http.messages import HandOver, HttpError, Request


@pytest.fixture
async def rig(autojump_clock: trio.testing.MockClock) -> AsyncIterator[Rig]:
    rig = Rig()
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.service.run)
        yield rig
        nursery.cancel_scope.cancel()


async def test_a_message_is_stored_before_it_is_answered(
    autojump_clock: trio.testing.MockClock, rig: Rig
) -> None:
    answer = await rig.call(
        "POST", body={"content": " hi ", "clientId": "c"}, token=rig.token("ann")
    )
    assert answer.status == 201
    assert answer.value == {
        "id": answer.value["id"],
        "streamId": STREAM,
        "userId": "ann",
        "username": "Ann",
        "content": "hi",
        "timestamp": rig.now_ms,
        "streamTime": 12.5,
        "clientId": "c",
    }
    assert [one.content for one in rig.store.kept] == ["hi"]
    found = await rig.call("GET", "?limit=5")
    assert (found.status, found.value["messages"]) == (200, [answer.value])


@pytest.mark.parametrize(
    ("token", "body", "status", "code"),
    [
        (None, {"content": "x"}, 401, "unauthorized"),
        ("wrong", {"content": "x"}, 401, "unauthorized"),
        ("ann", {"content": "x", "userId": "ben"}, 403, "forbidden"),
        ("ann", {"content": "x" * 501}, 413, "tooLong"),
        ("ann", {"content": "   "}, 400, "empty"),
        ("ann", {"content": 1}, 400, "badRequest"),
        ("ann", {"content": "x", "more": 1}, 400, "badRequest"),
        ("ann", {}, 400, "badRequest"),
        ("ann", b"{", 400, "badRequest"),
        ("ann", b"\xff", 400, "badRequest"),
        (KEY, {"content": "x", "userId": "guest_1"}, 403, "forbidden"),
        (KEY, {"content": "x", "userId": "ben", "username": "\u202e"}, 400, "badName"),
    ],
)
async def test_what_is_not_posted(
    autojump_clock: trio.testing.MockClock,
    rig: Rig,
    token: str | None,
    body: Any,
    status: int,
    code: str,
) -> None:
    credential = rig.token("ann") if token == "ann" else token
    answer = await rig.call("POST", body=body, token=credential)
    assert (answer.status, answer.value.get("code")) == (status, code)
    assert answer.value["error"]
    assert rig.store.kept == []


async def test_whoever_holds_the_key_writes_as_anybody_but_guests(
    autojump_clock: trio.testing.MockClock, rig: Rig
) -> None:
    own = await rig.call("POST", body={"content": "own"}, token=KEY)
    bot = await rig.call(
        "POST", body={"content": "bot", "userId": "bot", "username": "Bot"}, token=KEY
    )
    same = await rig.call("POST", body={"content": "me", "userId": "bro"}, token=ADMIN)
    admin = await rig.call("POST", body={"content": "all"}, token=ADMIN)
    assert [one.value.get("role") for one in (own, bot, same, admin)] == [
        "broadcaster",
        None,
        "broadcaster",
        "admin",
    ]
    assert [one.value["userId"] for one in (own, bot, same, admin)] == [
        "bro",
        "bot",
        "bro",
        "admin",
    ]


async def test_slow_mode_says_when(autojump_clock: trio.testing.MockClock, rig: Rig) -> None:
    rig.store.settings = RoomSettings(slow_mode_s=10)
    token = rig.token("ann")
    assert (await rig.call("POST", body={"content": "a"}, token=token)).status == 201
    answer = await rig.call("POST", body={"content": "b"}, token=token)
    assert (answer.status, answer.value["code"]) == (429, "slowMode")
    assert "\r\nRetry-After: 8\r\n" in answer.head


async def test_a_held_message_is_accepted_only(
    autojump_clock: trio.testing.MockClock, rig: Rig
) -> None:
    rig.store.settings = RoomSettings(
        slow_mode_s=0, blocked_words=("plum",), blocked_words_action=FilterAction.HOLD
    )
    answer = await rig.call("POST", body={"content": "a plum"}, token=rig.token("ann"))
    assert answer.status == 202
    assert rig.store.kept == []


async def test_a_ban_holds_for_rest_too(autojump_clock: trio.testing.MockClock, rig: Rig) -> None:
    moderator = rig.token("mona", Role.MODERATOR)
    await rig.call("POST", body={"content": "x"}, token=rig.token("ann"))
    assert (await rig.call("PUT", "/bans/ann", {"reason": "spam"}, token=moderator)).status == 200
    assert rig.store.sanctions["ann"].reason == "spam"
    for token, body in (
        (rig.token("ann"), {"content": "y"}),
        (KEY, {"content": "y", "userId": "ann"}),
    ):
        answer = await rig.call("POST", body=body, token=token)
        assert (answer.status, answer.value["code"]) == (403, "banned")
    listed = await rig.call("GET", "/bans", token=moderator)
    assert [one["userId"] for one in listed.value["bans"]] == ["ann"]
    assert (await rig.call("DELETE", "/bans/ann", token=moderator)).status == 200
    assert (await rig.call("DELETE", "/bans/ann", token=moderator)).status == 404
    assert (await rig.call("POST", body={"content": "z"}, token=rig.token("ann"))).status == 201


async def test_a_timeout_by_rest(autojump_clock: trio.testing.MockClock, rig: Rig) -> None:
    answer = await rig.call("PUT", "/bans/ann", {"seconds": 60}, token=KEY)
    assert answer.status == 200
    assert rig.store.sanctions["ann"].until == rig.now_ms + 60_000
    refused = await rig.call("POST", body={"content": "y"}, token=rig.token("ann"))
    assert (refused.status, refused.value["code"]) == (403, "timedOut")
    assert (await rig.call("PUT", "/bans/ann", {"seconds": 5}, token=KEY)).status == 400


MODERATED = [
    ("PATCH", "/settings", {"slowModeS": 5}),
    ("DELETE", "/messages", None),
    ("DELETE", "/messages/0000000000000001", None),
    ("DELETE", "/pinned", None),
    ("GET", "/bans", None),
    ("PUT", "/bans/ben", {}),
    ("GET", "/moderators", None),
    ("GET", "/audit", None),
]


@pytest.mark.parametrize(("method", "path", "body"), MODERATED)
async def test_who_moderates(
    autojump_clock: trio.testing.MockClock, rig: Rig, method: str, path: str, body: Any
) -> None:
    other = rig.keyring.mint(
        stream_id="other",
        user_id="eve",
        username="Eve",
        role=Role.ADMIN,
        ttl_s=1000,
        now_s=rig.now_ms / 1000,
    )
    tokens = (
        *(None, "wrong", other),
        *(rig.token("ann"), rig.token("mo", Role.MODERATOR)),
        *(KEY, ADMIN),
    )
    statuses = [(await rig.call(method, path, body, token=token)).status for token in tokens]
    assert statuses == [401, 401, 401, 403, 200, 200, 200]


async def test_only_the_broadcaster_makes_moderators(
    autojump_clock: trio.testing.MockClock, rig: Rig
) -> None:
    moderator = rig.token("mo", Role.MODERATOR)
    assert (await rig.call("PUT", "/moderators/ann", token=moderator)).status == 403
    assert (await rig.call("PUT", "/moderators/ann", token=KEY)).status == 200
    assert (await rig.call("DELETE", "/messages", token=rig.token("ann"))).status == 200
    listed = await rig.call("GET", "/moderators", token=KEY)
    assert listed.value == {"moderators": [{"userId": "ann", "username": "ann"}]}
    assert (await rig.call("DELETE", "/moderators/ann", token=KEY)).status == 200
    assert (await rig.call("DELETE", "/messages", token=rig.token("ann"))).status == 403


async def test_a_banned_moderator_moderates_nothing(
    autojump_clock: trio.testing.MockClock, rig: Rig
) -> None:
    await rig.call("PUT", "/bans/mo", {}, token=KEY)
    answer = await rig.call("DELETE", "/messages", token=rig.token("mo", Role.MODERATOR))
    assert (answer.status, answer.value["code"]) == (403, "banned")


async def test_tokens_are_minted_for_less_than_one_is(
    autojump_clock: trio.testing.MockClock, rig: Rig
) -> None:
    body: dict[str, Any] = {
        "userId": "ann",
        "username": "Ann",
        "role": "moderator",
        "claims": ["follower"],
    }
    answer = await rig.call("POST", "/token", body, token=KEY)
    assert answer.status == 201
    who = rig.keyring.read(answer.value["token"], stream_id=STREAM, now_s=rig.now_ms / 1000)
    assert (who.user_id, who.role, who.claims) == ("ann", Role.MODERATOR, frozenset({"follower"}))
    for token, change, status in (
        (KEY, {"role": "admin"}, 403),
        (ADMIN, {"role": "admin"}, 201),
        (rig.token("mo", Role.MODERATOR), {"role": "viewer"}, 403),
        (None, {}, 401),
        (KEY, {"userId": "guest_1"}, 400),
        (KEY, {"userId": "a b"}, 400),
        (KEY, {"userId": "a\n"}, 400),
        (KEY, {"username": ""}, 400),
        (KEY, {"ttlSeconds": 1}, 400),
        (KEY, {"role": "king"}, 400),
    ):
        answer = await rig.call("POST", "/token", body | change, token=token)
        assert answer.status == status, change


async def test_settings_are_changed_in_part(
    autojump_clock: trio.testing.MockClock, rig: Rig
) -> None:
    answer = await rig.call("PATCH", "/settings", {"blockedWords": ["plum"]}, token=KEY)
    assert answer.value["blockedWords"] == ["plum"]
    assert answer.value["slowModeS"] == 0
    assert rig.store.settings.blocked_words == ("plum",)
    assert (await rig.call("GET", "/settings")).value == answer.value
    wrong: list[Any] = [
        {"colour": 1},
        {"slowModeS": "fast"},
        {"slowModeS": -1},
        [],
        {"links": "eat"},
    ]
    for body in wrong:
        answer = await rig.call("PATCH", "/settings", body, token=KEY)
        assert (answer.status, answer.value["code"]) == (400, "badRequest"), body


async def test_pin_delete_clear_and_audit(autojump_clock: trio.testing.MockClock, rig: Rig) -> None:
    token = rig.token("mo", Role.MODERATOR)
    message = (await rig.call("POST", body={"content": "x"}, token=rig.token("ann"))).value
    assert (await rig.call("PUT", f"/pinned/{message['id']}", token=token)).status == 200
    assert rig.store.pinned is not None
    assert (await rig.call("DELETE", "/pinned", token=token)).status == 200
    assert (await rig.call("DELETE", f"/messages/{message['id']}", token=token)).status == 200
    assert rig.store.kept == []
    assert (await rig.call("DELETE", "/messages/zz", token=token)).status == 404
    assert (await rig.call("PUT", "/pinned/zz", token=token)).status == 404
    rows = (await rig.call("GET", "/audit?limit=2", token=token)).value["entries"]
    assert [(row["id"], row["action"], row["actorId"]) for row in rows] == [
        (3, "delete", "mo"),
        (2, "unpin", "mo"),
    ]
    older = (await rig.call("GET", "/audit?before=2", token=token)).value["entries"]
    assert [row["action"] for row in older] == ["pin"]


@pytest.mark.parametrize("query", ["?limit=x", "?limit=", "?limit=-1", "?limit=99999999999999999"])
async def test_queries_are_numbers(
    autojump_clock: trio.testing.MockClock, rig: Rig, query: str
) -> None:
    assert (await rig.call("GET", query)).status == 400


async def test_history_is_read_in_pages(autojump_clock: trio.testing.MockClock, rig: Rig) -> None:
    rig.store.kept = [
        ChatMessage(
            id=f"{number:016x}",
            stream_id=STREAM,
            user_id="u",
            username="U",
            content=str(number),
            timestamp=number,
        )
        for number in range(5)
    ]
    page = await rig.call("GET", f"?limit=2&before={3:016x}")
    assert [one["content"] for one in page.value["messages"]] == ["1", "2"]
    newer = await rig.call("GET", f"?after={3:016x}&x")
    assert [one["content"] for one in newer.value["messages"]] == ["4"]


async def test_what_is_not_there(autojump_clock: trio.testing.MockClock, rig: Rig) -> None:
    for method, path in (("GET", "/nothing"), ("GET", "/a/b/c")):
        assert (await rig.call(method, path)).status == 404
    for method, path, allow in (
        ("PUT", "", "GET, POST, OPTIONS"),
        ("GET", "/token", "POST, OPTIONS"),
        ("POST", "/ws", "GET, OPTIONS"),
    ):
        answer = await rig.call(method, path)
        assert answer.status == 405
        assert allow in answer.head
    for method, path in (("GET", ""), ("GET", "/settings"), ("POST", "")):
        body = {"content": "x"} if method == "POST" else None
        answer = await rig.call(method, path, body, token=rig.token("ann"), stream="nobody")
        assert answer.status == 404
    rig.backend.chat_enabled = False
    answer = await rig.call("POST", body={"content": "x"}, token=rig.token("ann"))
    assert (answer.status, answer.value["code"]) == (403, "chatDisabled")
    rig.backend.is_broken = True
    assert (await rig.call("GET", "/settings")).status == 503


async def test_a_store_that_fails_is_said_so_and_talk_goes_on(
    autojump_clock: trio.testing.MockClock, rig: Rig
) -> None:
    rig.store.is_broken = True
    assert (await rig.call("GET")).status == 503
    answer = await rig.call("POST", body={"content": "x"}, token=rig.token("ann"))
    assert (answer.status, answer.value["code"]) == (503, "unavailable")
    rig.store.is_broken = False
    await rig.call("GET", "/settings")
    rig.store.is_broken = True
    assert (await rig.call("POST", body={"content": "x"}, token=rig.token("ann"))).status == 201
    assert (await rig.call("GET", "/audit", token=KEY)).status == 503


async def test_a_guest_writes_by_rest_only_after_a_join(
    autojump_clock: trio.testing.MockClock, rig: Rig
) -> None:
    user_id, token = rig.keyring.mint_guest(random=b"12345678", now_s=rig.now_ms / 1000)
    answer = await rig.call("POST", body={"content": "x"}, token=token)
    assert (answer.status, answer.value["code"]) == (403, "notJoined")
    joined = await rig.service.join(
        STREAM, json.dumps({"type": "join", "guest": token, "username": "Zoe"}), "192.0.2.1"
    )
    joined.listener.attached(1)  # type: ignore[union-attr]
    answer = await rig.call("POST", body={"content": "x", "userId": user_id}, token=token)
    assert (answer.status, answer.value["username"]) == (201, "Zoe")
    answer = await rig.call("POST", body={"content": "x", "userId": "ann"}, token=token)
    assert (answer.status, answer.value["code"]) == (403, "forbidden")
    room, _ = await rig.service.enter_stream(STREAM)
    room.rules.sanction(
        Sanction(user_id="guest_other", username="", network=rig.keyring.network("192.0.2.1"))
    )
    answer = await rig.call("POST", body={"content": "y"}, token=token)
    assert (answer.status, answer.value["code"]) == (403, "banned")


async def test_the_socket_is_handed_over_only_to_who_asks_for_one(
    autojump_clock: trio.testing.MockClock, rig: Rig
) -> None:
    assert (await rig.call("GET", "/ws")).status == 426
    fields = [
        (b"host", b"a"),
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"sec-websocket-version", b"13"),
    ]
    request = Request("GET", "/api/streams/nobody/chat/ws", fields)
    answer = rig.api.route("nobody", ["ws"], request)
    assert isinstance(answer, HandOver)
    stream, _peer = trio.testing.memory_stream_pair()
    with pytest.raises(HttpError) as caught:
        await answer.take(stream, b"")
    assert caught.value.status == 404


async def test_ids_in_paths_may_be_escaped(
    autojump_clock: trio.testing.MockClock, rig: Rig
) -> None:
    for user_id, escaped in (("auth0|7", "auth0%7C7"), ("a/b", "a%2Fb"), ("a%2Fb", "a%252Fb")):
        assert (await rig.call("PUT", f"/bans/{escaped}", {}, token=KEY)).status == 200
        assert user_id in rig.store.sanctions
