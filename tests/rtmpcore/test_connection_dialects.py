"""The connection and other programs: the commands of odd publishers, replies of odd servers."""

from typing import TYPE_CHECKING

import pytest
from rtmp_peers import (
    NULL,
    amf_number,
    amf_object,
    amf_string,
    command_payload,
    read_messages,
    whole,
)

from rtmpcore import (
    ConnectRefusal,
    ConnectRejected,
    CreateStream,
    Event,
    Publish,
    PublishRefusal,
    PublishRefused,
    PublishStarted,
    RemoteProtocolError,
    State,
    StreamCreated,
    Unpublish,
)

if TYPE_CHECKING:
    from tests.rtmpcore.conftest import ConnectionPair

# Odd publishers ----------------------------------------------------------------------------------


def replies_to(pair: "ConnectionPair", *payloads: bytes, type_id: int = 20) -> list[list[object]]:
    """What a server says to commands that are no event to the application."""
    server = pair.server
    server.data_to_send()
    for payload in payloads:
        server.receive_data(whole(3, type_id, 0, payload))
    assert pair.drain(server) == []
    return [message.values for message in read_messages(server.data_to_send(), 65536)]


@pytest.mark.parametrize("name", ["releaseStream", "FCPublish", "_checkbw"])
def test_questions_answered_with_nothing(pair: "ConnectionPair", name: str) -> None:
    pair.connect()
    asked = command_payload(name, 7, NULL, amf_string("live_key"))
    assert replies_to(pair, asked) == [["_result", 7, None, None]]
    assert replies_to(pair, command_payload(name, 0, NULL, amf_string("live_key"))) == []


def test_other_commands(pair: "ConnectionPair") -> None:
    pair.connect()
    server = pair.server
    assert replies_to(pair, command_payload("getStreamLength", 8, NULL, amf_string("k"))) == [
        ["_result", 8, None, 0]
    ]
    assert replies_to(pair, command_payload("unheardOf", 9, NULL)) == []
    for name in ("FCUnpublish", "deleteStream", "closeStream"):
        assert replies_to(pair, command_payload(name, 6, NULL)) == []
    assert server.state is State.IDLE


def test_amf3_commands(pair: "ConnectionPair") -> None:
    pair.connect()
    asked = b"\0" + command_payload("createStream", 4, NULL)
    assert replies_to(pair, asked, type_id=17) == [["_result", 4, None, 1]]
    pair.server.receive_data(
        whole(3, 17, 1, b"\0" + command_payload("publish", 5, NULL, amf_string("live_key")))
    )
    assert pair.drain(pair.server) == [pair.PUBLISH]


def test_create_stream_before_fcpublish_haivision(pair: "ConnectionPair") -> None:
    pair.connect()
    replies = replies_to(
        pair,
        command_payload("createStream", 2, NULL),
        command_payload("FCPublish", 3, NULL, amf_string("live_key")),
    )
    assert replies == [["_result", 2, None, 1], ["_result", 3, None, None]]


def test_fmle_gets_on_fc_publish_before_on_status(pair: "ConnectionPair") -> None:
    pair.connect()
    pair.send(pair.client, CreateStream(name="live_key"), [StreamCreated(stream_id=1)])
    pair.send(pair.client, pair.PUBLISH)
    pair.server.send(PublishStarted(stream_id=1))
    first, second = read_messages(pair.server.data_to_send(), 65536)
    assert first.values[0] == "onFCPublish"
    assert second.values[0] == "onStatus"
    assert second.values[3]["description"] == "Publishing started."


def test_publish_without_create_stream_on_any_message_stream(pair: "ConnectionPair") -> None:
    pair.connect()
    pair.server.receive_data(
        whole(3, 20, 7, command_payload("publish", 5, NULL, amf_string("live_key")))
    )
    assert pair.drain(pair.server) == [Publish(stream_id=7, name="live_key")]
    pair.server.send(PublishStarted(stream_id=7))
    (status,) = read_messages(pair.server.data_to_send(), 65536)
    assert status.stream_id == 7


@pytest.mark.parametrize(
    ("payload", "ends"),
    [
        (command_payload("deleteStream", 7, NULL, amf_number(1)), True),
        (command_payload("deleteStream", 0, NULL, amf_string("live_key")), True),  # GStreamer
        (command_payload("deleteStream", 7, NULL), True),
        (command_payload("deleteStream", 7, NULL, amf_number(2)), False),
        (command_payload("closeStream", 0, NULL), True),
        (command_payload("FCUnpublish", 6, NULL, amf_string("live_key")), True),
    ],
)
def test_ends_of_a_publish(pair: "ConnectionPair", payload: bytes, ends: bool) -> None:
    pair.publish()
    pair.server.receive_data(whole(3, 20, 0, payload) * 2)
    assert pair.drain(pair.server) == ([Unpublish(stream_id=1)] if ends else [])
    assert pair.server.state is (State.IDLE if ends else State.PUBLISHING)


# Odd servers -------------------------------------------------------------------------------------


def tell(pair: "ConnectionPair", payload: bytes, stream_id: int = 0) -> list[Event]:
    pair.client.receive_data(whole(3, 20, stream_id, payload, 65536))
    return pair.drain(pair.client)


def status(level: str, code: str, description: str = "") -> bytes:
    info = {
        "level": amf_string(level),
        "code": amf_string(code),
        "description": amf_string(description),
    }
    return amf_object(info)


def ask_to_publish(pair: "ConnectionPair") -> None:
    """Let the client's publish wait for its answer."""
    pair.connect()
    pair.send(pair.client, CreateStream(), [StreamCreated(stream_id=1)])
    pair.send(pair.client, pair.PUBLISH)


@pytest.mark.parametrize("name", ["_error", "_result"])
def test_connect_refused(pair: "ConnectionPair", name: str) -> None:
    pair.send(pair.client, pair.CONNECT)
    info = status("error", "NetConnection.Connect.InvalidApp")
    assert tell(pair, command_payload(name, 1, NULL, info)) == [
        ConnectRejected(
            code=ConnectRefusal.INVALID_APP, description="NetConnection.Connect.InvalidApp"
        )
    ]


def test_connect_refused_by_a_status_alone(pair: "ConnectionPair") -> None:
    pair.send(pair.client, pair.CONNECT)
    info = status("error", "NetConnection.Connect.Failed", "no")
    assert tell(pair, command_payload("onStatus", 0, NULL, info)) == [
        ConnectRejected(description="no")
    ]
    assert pair.client.state is State.CLOSED


def test_replies_that_nobody_waits_for(pair: "ConnectionPair") -> None:
    pair.publish()
    for payload in (
        command_payload("_result", 1, NULL),
        command_payload("_result", 99, NULL, amf_number(1)),
        command_payload("_error", 2, NULL),
        command_payload("onBWDone", 0, NULL),
        command_payload("onStatus", 0, NULL, status("status", "NetStream.Publish.Start")),
        command_payload("onStatus", 0, NULL),
    ):
        assert tell(pair, payload) == []
    assert pair.client.state is State.PUBLISHING


def test_publish_answered_by_result(pair: "ConnectionPair") -> None:
    ask_to_publish(pair)
    info = status("status", "", "welcome")
    assert tell(pair, command_payload("_result", 3, NULL, info)) == [
        PublishStarted(stream_id=1, description="welcome")
    ]
    # The onStatus that some of those servers send too.
    again = command_payload("onStatus", 0, NULL, status("status", "NetStream.Publish.Start"))
    assert tell(pair, again, 1) == []


def test_publish_result_after_the_status(pair: "ConnectionPair") -> None:
    ask_to_publish(pair)
    started = command_payload("onStatus", 0, NULL, status("status", "NetStream.Publish.Start"))
    assert tell(pair, started, 1) == [PublishStarted(stream_id=1)]
    assert tell(pair, command_payload("_result", 3, NULL)) == []


@pytest.mark.parametrize(
    ("payload", "code", "description"),
    [
        (
            command_payload("_error", 3, NULL, status("error", "NetStream.Publish.Denied", "no")),
            PublishRefusal.DENIED,
            "no",
        ),
        (command_payload("_error", 3, NULL), PublishRefusal.REJECTED, ""),
        (
            command_payload("onStatus", 0, NULL, status("error", "NetStream.Publish.BadName")),
            PublishRefusal.BAD_NAME,
            "NetStream.Publish.BadName",
        ),
        (
            command_payload("onStatus", 0, NULL, status("error", "NetStream.Failed", "x")),
            PublishRefusal.REJECTED,
            "x",
        ),
    ],
)
def test_publish_refused(
    pair: "ConnectionPair", payload: bytes, code: PublishRefusal, description: str
) -> None:
    ask_to_publish(pair)
    assert tell(pair, payload) == [PublishRefused(stream_id=1, code=code, description=description)]
    assert pair.client.state is State.IDLE


@pytest.mark.parametrize(
    "reply",
    [
        command_payload("_result", 2, NULL),
        command_payload("_result", 2, NULL, amf_string("1")),
        command_payload("_result", 2, NULL, amf_number(0)),
        command_payload("_result", 2, NULL, amf_number(2**32)),
        command_payload("_result", 2, NULL, amf_number(float("nan"))),
        command_payload("_error", 2, NULL, amf_number(1)),
    ],
)
def test_no_message_stream(pair: "ConnectionPair", reply: bytes) -> None:
    pair.connect()
    pair.client.send(CreateStream())
    with pytest.raises(RemoteProtocolError, match="gives no message stream"):
        tell(pair, reply)


def test_what_a_client_says(pair: "ConnectionPair") -> None:
    pair.client.send(pair.CONNECT)
    chunk_size, connect = read_messages(pair.client.data_to_send())
    assert (chunk_size.csid, chunk_size.type_id, chunk_size.payload) == (2, 1, b"\0\1\0\0")
    assert connect.values[:2] == ["connect", 1]
