"""What the bus is told of chat: what was shown, what moderators did; or nothing, if not heard."""

from typing import Any

import pytest
import trio
from service_rig import STREAM, Rig
from trio.testing import MockClock

from control.chat_model import Role, RoomSettings
from edge.chat.rules import Identity

MODERATOR = Identity(user_id="mod", username="Mod", role=Role.MODERATOR)
OWNER = Identity(user_id="owner", username="Owner", role=Role.BROADCASTER)
ANN = Identity(user_id="ann", username="Ann")
BY = {"userId": "mod", "username": "Mod"}


async def test_what_happens_in_a_room_is_told_once_it_is_stored(autojump_clock: MockClock) -> None:
    rig = Rig()
    told: list[Any] = []
    rig.events.listen(told.append, wants=lambda kind: kind.startswith("chat."))
    service = rig.service
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        room, _ = await service.enter_stream(STREAM)
        message, _ = await service.say(room, ANN, "hello", client_id="mine")
        assert not told
        await service.settled()
        now_ms = rig.now_ms
        (shown,) = told
        assert (shown.type, shown.stream_id) == ("chat.message", STREAM)
        assert shown.data == {
            "messageId": message.id,
            "userId": "ann",
            "username": "Ann",
            "role": "viewer",
            "content": "hello",
            "timestamp": now_ms,
            "streamTime": 12.5,
        }
        told.clear()
        room.pin(MODERATOR, message.id, now_ms)
        room.unpin(MODERATOR, now_ms)
        room.delete(MODERATOR, message.id, now_ms)
        room.sanction(MODERATOR, "ann", now_ms, seconds=60, reason="loud")
        room.pardon(MODERATOR, "ann", now_ms)
        room.sanction(MODERATOR, "ann", now_ms)
        room.set_moderator(OWNER, "bob", True, now_ms)
        room.change(MODERATOR, RoomSettings(slow_mode_s=5), now_ms)
        room.clear(MODERATOR, now_ms)
        await service.settled()
        nursery.cancel_scope.cancel()
    ann = {"userId": "ann", "username": "Ann"}
    expected: list[tuple[str, dict[str, Any]]] = [
        ("chat.pinned", {"messageId": message.id, "userId": "ann"}),
        ("chat.unpinned", {}),
        ("chat.deleted", {"messageId": message.id, "userId": "ann"}),
        ("chat.timeout", {**ann, "reason": "loud", "until": now_ms + 60_000}),
        ("chat.pardoned", ann),
        ("chat.banned", {**ann, "reason": "", "until": None}),
        (
            "chat.moderator",
            {
                "userId": "bob",
                "username": "bob",
                "isModerator": True,
                "by": {"userId": "owner", "username": "Owner"},
            },
        ),
        ("chat.settings", {"changed": told[7].data["changed"]}),
        ("chat.cleared", {}),
    ]
    assert [(one.type, one.data) for one in told] == [
        (kind, {"by": BY, **data}) for kind, data in expected
    ]
    assert len(told[7].data["changed"]) >= 1


async def test_messages_cost_nothing_while_nobody_listens(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig()
    emitted: list[str] = []
    monkeypatch.setattr(rig.events, "emit", lambda kind, *_args, **_data: emitted.append(kind))
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.service.run)
        room, _ = await rig.service.enter_stream(STREAM)
        await rig.service.say(room, ANN, "hello")
        await rig.service.settled()
        nursery.cancel_scope.cancel()
    assert not emitted
