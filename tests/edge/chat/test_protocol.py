"""The JSON of chat, both ways."""

import json
from typing import Any

import pytest

from control.chat_model import ChatMessage, Role, RoomSettings
from edge.chat import protocol
from edge.chat.protocol import ChatError, read_frame

MESSAGE = ChatMessage(
    id="0" * 16, stream_id="s", user_id="u", username="U", content="hi <b>", timestamp=5
)


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ('{"type":"join"}', protocol.Join()),
        ('{"type":"join","token":"t"}', protocol.Join(token="t")),
        ('{"type":"join","guest":"g","username":"n"}', protocol.Join(guest="g", username="n")),
        ('{"type":"message","content":"x"}', protocol.Say(content="x")),
        (
            '{"content":"x","clientId":"c","more":[],"type":"message"}',
            protocol.Say(content="x", client_id="c"),
        ),
        ('{"type":"ping"}', protocol.Ping()),
        ('{"type":"delete","id":"1"}', protocol.Delete(id="1")),
        ('{"type":"ban","userId":"u"}', protocol.Ban(user_id="u")),
        ('{"type":"ban","userId":"u","reason":"r"}', protocol.Ban(user_id="u", reason="r")),
        ('{"type":"unban","userId":"u"}', protocol.Unban(user_id="u")),
        ('{"type":"timeout","userId":"u","seconds":9}', protocol.Timeout(user_id="u", seconds=9)),
        ('{"type":"slowMode","seconds":5}', protocol.SlowMode(seconds=5)),
        ('{"type":"clear"}', protocol.Clear()),
        ('{"type":"pin","id":"1"}', protocol.Pin(id="1")),
        ('{"type":"unpin"}', protocol.Unpin()),
        ('{"type":"approve","id":"1"}', protocol.Approve(id="1")),
        ('{"type":"deny","id":"1"}', protocol.Deny(id="1")),
    ],
)
def test_each_frame_of_a_client(text: str, frame: protocol.ClientFrame) -> None:
    assert read_frame(text) == frame


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '"join"',
        '{"type":"shout"}',
        '{"type":"message"}',
        '{"type":"message","content":7}',
        '{"type":"message","content":null}',
        '{"type":"timeout","userId":"u","seconds":"9"}',
        '{"type":"slowMode","seconds":1.5}',
        '{"type":"join","token":["secret"]}',
        "[" * 4000,
        '{"type":"ping"} x',
        "\ud800",
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ChatError) as caught:
        read_frame(text)
    assert caught.value.code == "badRequest"
    assert "secret" not in str(caught.value)


def test_no_repr_tells_what_was_said() -> None:
    assert repr(protocol.Join(token="secret")) == "Join(...)"
    assert repr(protocol.Say(content="secret")) == "Say(...)"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (protocol.messages([MESSAGE]), {"type": "messages", "messages": [dict]}),
        (protocol.deleted(ids=["a"]), {"type": "deleted", "ids": ["a"]}),
        (protocol.deleted(user_id="u"), {"type": "deleted", "userId": "u"}),
        (protocol.deleted(everything=True), {"type": "deleted", "all": True}),
        (
            protocol.banned("u", until_ms=None, reason=""),
            {"type": "banned", "userId": "u", "until": None, "reason": ""},
        ),
        (protocol.pinned(None), {"type": "pinned", "message": None}),
        (protocol.viewers(3), {"type": "viewers", "count": 3}),
        (protocol.notice("x"), {"type": "notice", "text": "x"}),
        (protocol.LAGGED, {"type": "lagged"}),
        (protocol.PONG, {"type": "pong"}),
        (
            protocol.error(ChatError("slowMode", "wait", 1.23456), client_id="c"),
            {
                "type": "error",
                "code": "slowMode",
                "message": "wait",
                "retryAfter": 1.235,
                "clientId": "c",
            },
        ),
        (
            protocol.error(ChatError("empty", "nothing")),
            {"type": "error", "code": "empty", "message": "nothing"},
        ),
    ],
)
def test_each_frame_of_the_server(payload: bytes, expected: dict[str, Any]) -> None:
    frame = json.loads(payload)
    if "messages" in frame:
        expected["messages"] = frame["messages"]
    assert frame == expected


def test_a_message_names_what_it_has() -> None:
    (message,) = json.loads(protocol.messages([MESSAGE]))["messages"]
    assert message == {
        "id": "0" * 16,
        "streamId": "s",
        "userId": "u",
        "username": "U",
        "content": "hi <b>",
        "timestamp": 5,
    }


def test_held_and_settings_and_joined() -> None:
    assert json.loads(protocol.held(MESSAGE, "why"))["reason"] == "why"
    assert json.loads(protocol.settings(RoomSettings(slow_mode_s=4)))["settings"]["slowModeS"] == 4
    joined = json.loads(
        protocol.joined(
            user_id="u",
            username="U",
            role=Role.MODERATOR,
            is_guest=False,
            guest=None,
            settings=RoomSettings(),
            messages=[MESSAGE],
            pinned=None,
            viewers=2,
            server_time_ms=9,
        )
    )
    assert (joined["role"], joined["viewers"], len(joined["messages"])) == ("moderator", 2, 1)
