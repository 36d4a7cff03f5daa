"""What moderators order: each frame and each command does what it says, and says so."""

import pytest
from room_rig import BROADCASTER, MODERATOR, NOW_MS, Rig, viewer

from control.chat_model import Role
from edge.chat import protocol
from edge.chat.commands import parse
from edge.chat.orders import HELP, execute, moderate
from edge.chat.protocol import ChatError

ANNA = viewer("Anna")


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.enter(1, ANNA)
    return rig


def order(rig: Rig, frame: protocol.ClientFrame) -> None:
    moderate(rig.room, MODERATOR, frame, rig.now_ms)


def typed(rig: Rig, text: str) -> str:
    command = parse(text)
    assert command is not None
    return execute(rig.room, BROADCASTER, command, rig.now_ms)


def actions(rig: Rig) -> list[str]:
    """Types of what everybody is told."""
    rig.flush()
    return [frame["type"] for frame in rig.out.broadcasts]


def test_frames(rig: Rig) -> None:
    first, second = rig.say(ANNA, "one"), rig.say(ANNA, "two")
    order(rig, protocol.Pin(id=first.id))
    order(rig, protocol.Unpin())
    order(rig, protocol.Delete(id=second.id))
    order(rig, protocol.SlowMode(seconds=7))
    order(rig, protocol.Timeout(user_id="u-anna", seconds=60, reason="r"))
    order(rig, protocol.Unban(user_id="u-anna"))
    order(rig, protocol.Ban(user_id="u-anna", reason="r"))
    order(rig, protocol.Clear())
    assert actions(rig) == [
        *("messages", "pinned", "pinned", "deleted", "settings"),
        *("deleted", "banned", "deleted", "banned", "deleted"),
    ]
    assert rig.room.settings.slow_mode_s == 7
    held = rig.room.hold(viewer("Ben"), "x", "why", NOW_MS)
    other = rig.room.hold(viewer("Ben"), "y", "why", NOW_MS)
    order(rig, protocol.Approve(id=held.id))
    order(rig, protocol.Deny(id=other.id))
    assert [message.content for message in rig.room.history] == ["x"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("/timeout @Anna 60 rude", "@Anna is silenced for 60 s"),
        ("/ban Anna", "Anna is banned"),
        ("/slow 5", "slow mode: 5 s"),
        ("/slow off", "slow mode is off"),
        ("/slowoff", "slow mode is off"),
        ("/emoteonly on", "emote-only mode is on"),
        ("/emoteonly off", "emote-only mode is off"),
        ("/clear", "the chat is cleared"),
        ("/unpin", "no message is pinned"),
        ("/mod Anna", "Anna is a moderator"),
        ("/unmod Anna", "Anna is no moderator any more"),
        ("/help", HELP),
    ],
)
def test_commands(rig: Rig, text: str, answer: str) -> None:
    told = typed(rig, text)
    assert told.replace("@", "") == answer.replace("@", "")


def test_commands_that_take_something_back(rig: Rig) -> None:
    typed(rig, "/ban Anna")
    assert "may write again" in typed(rig, "/unban Anna")
    typed(rig, "/timeout Anna 60")
    assert "may write again" in typed(rig, "/untimeout Anna")
    rig.room.admit(ANNA, rig.now_ms)


def test_commands_on_messages(rig: Rig) -> None:
    message = rig.say(ANNA, "hello")
    typed(rig, f"/pin {message.id}")
    assert rig.room.pinned == message
    typed(rig, f"/delete {message.id}")
    assert rig.room.pinned is None


def test_a_viewer_orders_nothing(rig: Rig) -> None:
    for text in ("/ban Mona", "/clear", "/slow 5", "/mod Anna"):
        command = parse(text)
        assert command is not None
        rig.enter(2, MODERATOR)
        with pytest.raises(ChatError) as caught:
            execute(rig.room, ANNA, command, NOW_MS)
        assert caught.value.code == "forbidden"
    assert rig.room.rules.role_of(ANNA) is Role.VIEWER
