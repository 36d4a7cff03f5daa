"""Commands: what peers send read, what they expect built, in bytes of their own making."""

import pytest
from rtmp_peers import (
    NULL,
    amf_bool,
    amf_ecma,
    amf_number,
    amf_object,
    amf_string,
    command_payload,
    read_amf,
)

from rtmpcore import (
    Connect,
    ConnectRefusal,
    ConnectRejected,
    CreateStream,
    Limits,
    Play,
    PlayRefusal,
    PlayRefused,
    Publish,
    PublishRefusal,
    PublishRefused,
    RemoteProtocolError,
)
from rtmpcore import command as commands
from rtmpcore.capabilities import UNSAID
from rtmpcore.command import Command, Status


def connect_of(*values: bytes) -> Connect:
    payload = command_payload("connect", 1, *values)
    return commands.parse_connect(commands.parse_command(payload, Limits()))


def publish_of(*values: bytes) -> Publish:
    payload = command_payload("publish", 5, *values)
    return commands.parse_publish(commands.parse_command(payload, Limits()), 1)


@pytest.mark.parametrize(
    ("payload", "command"),
    [
        (command_payload("x", 3), Command("x", 3, None, [])),
        (command_payload("x", 0, NULL), Command("x", 0, None, [])),
        (command_payload("x", 3, NULL, amf_string("a")), Command("x", 3, None, ["a"])),
        (amf_string("x"), Command("x", 0, None, [])),
    ],
)
def test_command(payload: bytes, command: Command) -> None:
    assert commands.parse_command(payload, Limits()) == command


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "no name"),
        (amf_number(1), "no name"),
        (amf_string(""), "no name"),
        (amf_string("x") + NULL, "not a number"),
        (amf_string("x") + amf_bool(True), "not a number"),
        (amf_string("x")[:-1], "cut short"),
        (command_payload("x", 1)[:-1], "cut short"),
        (amf_string("x") + b"\x0e", "marker 0x0e"),
        (amf_string("x" * 65535) + NULL, "too long"),
        (amf_string("connect") + b"\x03\x00\x01a" * 10_000, "nested too deep"),
        (amf_string("x") + NULL * 5000, "too many values"),
    ],
)
def test_malformed_command(payload: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        commands.parse_command(payload, Limits())


APP = {"app": amf_string("live")}


@pytest.mark.parametrize(
    ("values", "connect"),
    [
        ([amf_object({})], Connect(app="", tc_url="")),
        ([amf_object(APP)], Connect(app="live", tc_url="")),
        ([amf_ecma(APP)], Connect(app="live", tc_url="")),
        ([amf_object(APP), amf_string("extra")], Connect(app="live", tc_url="")),
        ([amf_object({"tcUrl": amf_string("rtmp://h")})], Connect(app="", tc_url="rtmp://h")),
        ([amf_object({"tcurl": amf_string("rtmp://h")})], Connect(app="", tc_url="rtmp://h")),
        ([amf_object({"tcUrl": amf_string("'rtmp://h'")})], Connect(app="", tc_url="rtmp://h")),
        ([amf_object({"tcUrl": amf_number(1)})], Connect(app="", tc_url="")),
        (
            [amf_object(APP | {"flashVer": amf_string("v"), "fpad": amf_bool(False)})],
            Connect(app="live", tc_url="", flash_version="v", properties={"fpad": False}),
        ),
        (
            [amf_object(APP | {"objectEncoding": amf_number(3)})],
            Connect(app="live", tc_url="", properties={"objectEncoding": 3.0}),
        ),
    ],
)
def test_connect(values: list[bytes], connect: Connect) -> None:
    assert connect_of(*values) == connect


@pytest.mark.parametrize("values", [[], [NULL], [amf_string("live")]])
def test_connect_without_an_object_is_told_so(values: list[bytes]) -> None:
    with pytest.raises(RemoteProtocolError, match="no command object") as error:
        connect_of(*values)
    assert error.value.reply == ConnectRejected(description="connect has no command object")


LIVE = amf_string("live")


@pytest.mark.parametrize(
    ("values", "name", "query", "kind"),
    [
        ([NULL, amf_string("key"), LIVE], "key", "", "live"),
        ([NULL, amf_string("key")], "key", "", "live"),
        ([NULL, amf_string("key"), NULL], "key", "", "live"),
        ([NULL, amf_string("key"), amf_string("record")], "key", "", "record"),
        ([NULL, amf_string(" key ")], "key", "", "live"),
        ([NULL, amf_string("key?a=1&b=?")], "key", "a=1&b=?", "live"),
        ([NULL, amf_string("key ?a=1 ")], "key", "a=1", "live"),
        ([NULL, amf_string("?x=1")], "", "x=1", "live"),
        ([NULL, amf_string("")], "", "", "live"),
    ],
)
def test_publish(values: list[bytes], name: str, query: str, kind: str) -> None:
    assert publish_of(*values) == Publish(stream_id=1, name=name, query=query, kind=kind)


@pytest.mark.parametrize("values", [[], [NULL], [NULL, NULL], [NULL, amf_number(1)]])
def test_publish_without_a_name_is_told_so(values: list[bytes]) -> None:
    with pytest.raises(RemoteProtocolError, match="no stream name") as error:
        publish_of(*values)
    assert error.value.reply == PublishRefused(
        stream_id=1, code=PublishRefusal.BAD_NAME, description="publish has no stream name"
    )


def play_of(*values: bytes) -> Play:
    payload = command_payload("play", 5, *values)
    return commands.parse_play(commands.parse_command(payload, Limits()), 1)


@pytest.mark.parametrize(
    ("values", "name", "query"),
    [
        ([NULL, amf_string("key")], "key", ""),
        ([NULL, amf_string("key"), amf_number(-2000)], "key", ""),
        ([NULL, amf_string(" key?token=a?b ")], "key", "token=a?b"),
        ([NULL, amf_string("")], "", ""),
    ],
)
def test_play(values: list[bytes], name: str, query: str) -> None:
    assert play_of(*values) == Play(stream_id=1, name=name, query=query)


@pytest.mark.parametrize("values", [[], [NULL], [NULL, amf_bool(False)]])
def test_play_without_a_name_is_told_so(values: list[bytes]) -> None:
    with pytest.raises(RemoteProtocolError, match="play has no stream name") as error:
        play_of(*values)
    assert error.value.reply == PlayRefused(
        stream_id=1, code=PlayRefusal.NOT_FOUND, description="play has no stream name"
    )


def test_a_key_is_in_no_repr() -> None:
    assert "secret" not in repr(Play(stream_id=1, name="secret", query="token=secret"))
    assert "secret" not in repr(Publish(stream_id=1, name="secret", query="token=secret"))
    assert "secret" not in repr(CreateStream(name="secret"))


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([{"level": "error", "code": "c", "description": "d", "more": 1}], ("error", "c", "d")),
        ([{"code": "c", "level": 5}], ("", "c", "")),
        ([{}], ("", "", "")),
        ([None], ("", "", "")),
        ([], ("", "", "")),
    ],
)
def test_status(arguments: list[object], status: tuple[str, str, str]) -> None:
    assert commands.parse_status(Command("onStatus", 0, None, arguments)) == Status(*status)  # type: ignore[arg-type]


def test_refusals() -> None:
    for kind, otherwise in (
        (ConnectRefusal, ConnectRefusal.REJECTED),
        (PublishRefusal, PublishRefusal.REJECTED),
        (PlayRefusal, PlayRefusal.FAILED),
    ):
        for refusal in kind:
            assert commands.refusal_of(refusal.value, otherwise) is refusal
        assert commands.refusal_of("NetStream.Failed", otherwise) is otherwise


def test_built_commands() -> None:
    assert read_amf(commands.call("createStream", 4)) == ["createStream", 4, None]
    assert read_amf(commands.on_status(Status("error", "c", "d"))) == [
        "onStatus",
        0,
        None,
        {"level": "error", "code": "c", "description": "d"},
    ]
    rejected = Status("error", "NetConnection.Connect.Rejected", "no")
    assert read_amf(commands.connect_rejected(1, rejected)) == [
        "_error",
        1,
        None,
        {"level": "error", "code": "NetConnection.Connect.Rejected", "description": "no"},
    ]
    name, transaction, server, info = read_amf(commands.connect_accepted(1, UNSAID))
    assert (name, transaction) == ("_result", 1)
    assert server == {"fmsVer": "FMS/3,0,1,123", "capabilities": 31}
    assert info["objectEncoding"] == 0


def test_built_connect() -> None:
    event = Connect(app="live", tc_url="rtmp://h/live", properties={"type": "nonprivate"})
    assert read_amf(commands.connect(event, 1)) == [
        "connect",
        1,
        {
            "app": "live",
            "type": "nonprivate",
            "flashVer": "FMLE/3.0 (compatible; Headrace)",
            "tcUrl": "rtmp://h/live",
        },
    ]
    named = Connect(app="live", tc_url="", flash_version="mine")
    assert read_amf(commands.connect(named, 1))[2]["flashVer"] == "mine"
