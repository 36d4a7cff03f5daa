"""Enhanced RTMP's capabilities in connect and its answer, and the request to connect anew."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rtmp_peers import (
    NULL,
    amf_number,
    amf_object,
    amf_strict,
    amf_string,
    command_payload,
    read_messages,
    whole,
)

from rtmpcore import (
    AmfValue,
    Capabilities,
    CodecUse,
    Connect,
    ConnectAccepted,
    Event,
    Feature,
    LocalProtocolError,
    ReconnectRequest,
    RemoteProtocolError,
    State,
)
from rtmpcore.capabilities import UNSAID, read_capabilities

if TYPE_CHECKING:
    from tests.rtmpcore.conftest import ConnectionPair

ALL_FEATURES = Feature.RECONNECT | Feature.MULTITRACK | Feature.MODIFIERS | Feature.NANOSECONDS
OURS = Capabilities(
    codecs=frozenset({"av01", "hvc1"}),
    video={"*": CodecUse.FORWARD, "hvc1": CodecUse.DECODE | CodecUse.FORWARD},
    audio={"Opus": CodecUse.DECODE},
    features=ALL_FEATURES,
)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({}, UNSAID),
        ({"fourCcList": ["av01", "hvc1"]}, Capabilities(codecs=frozenset({"av01", "hvc1"}))),
        ({"fourCcList": ["*", 7.0, None]}, Capabilities(codecs=frozenset({"*"}))),
        ({"fourCcList": "av01"}, UNSAID),
        (
            {"videoFourCcInfoMap": {"vp09": 5.0}, "audioFourCcInfoMap": {"Opus": 2.0}},
            Capabilities(
                video={"vp09": CodecUse.DECODE | CodecUse.FORWARD},
                audio={"Opus": CodecUse.ENCODE},
            ),
        ),
        ({"videoFourCcInfoMap": ["vp09"], "audioFourCcInfoMap": 1.0}, UNSAID),
        ({"videoFourCcInfoMap": {"vp09": "1"}}, Capabilities(video={"vp09": CodecUse(0)})),
        ({"capsEx": 15.0}, Capabilities(features=ALL_FEATURES)),
        ({"capsEx": 0xFFFFFFF1}, UNSAID),  # not a float: no AMF number
        ({"capsEx": float(0xFFFFFFF1)}, Capabilities(features=Feature.RECONNECT)),
        ({"capsEx": 16.0}, UNSAID),
        ({"capsEx": -1.0}, UNSAID),
        ({"capsEx": float("nan")}, UNSAID),
        ({"capsEx": float("inf")}, UNSAID),
        ({"capsEx": True}, UNSAID),
    ],
)
def test_read(sent: dict[str, AmfValue], read: Capabilities) -> None:
    assert read_capabilities(sent) == read


codec_maps = st.dictionaries(
    st.text(max_size=5),
    st.integers(0, 7).map(CodecUse),
    max_size=4,
)


@given(
    st.builds(
        Capabilities,
        codecs=st.frozensets(st.text(max_size=5), max_size=4),
        video=codec_maps,
        audio=codec_maps,
        features=st.integers(0, 15).map(Feature),
    )
)
def test_what_is_said_is_read(said: Capabilities) -> None:
    # AMF numbers come back as floats; the wire itself is in `test_both_ends_tell_each_other`.
    def as_read(value: AmfValue) -> AmfValue:
        if isinstance(value, dict):
            return {name: as_read(member) for name, member in value.items()}
        return float(value) if isinstance(value, int) else value

    sent = {name: as_read(value) for name, value in said.properties().items()}
    assert read_capabilities(sent) == said


def test_who_says_nothing_sends_nothing() -> None:
    assert UNSAID.properties() == {}


def test_both_ends_tell_each_other(pair: "ConnectionPair") -> None:
    theirs = Capabilities(codecs=frozenset({"*"}), features=Feature.RECONNECT)
    pair.send(pair.client, replace(pair.CONNECT, capabilities=theirs))
    pair.send(pair.server, ConnectAccepted(capabilities=OURS))


def test_an_old_client_is_told_nothing(pair: "ConnectionPair") -> None:
    pair.send(pair.client, pair.CONNECT)
    pair.send(pair.server, ConnectAccepted(capabilities=OURS), [ConnectAccepted()])


def test_the_answer_stands_beside_the_version_of_the_server(pair: "ConnectionPair") -> None:
    connect = amf_object(
        {
            "app": amf_string("live"),
            "fourCcList": amf_strict(amf_string("av01")),
            "capsEx": amf_number(1),
        }
    )
    pair.server.receive_data(whole(3, 20, 0, command_payload("connect", 1, connect)))
    assert pair.drain(pair.server) == [
        Connect(
            app="live",
            tc_url="",
            capabilities=Capabilities(codecs=frozenset({"av01"}), features=Feature.RECONNECT),
        )
    ]
    pair.server.send(ConnectAccepted(capabilities=OURS))
    *_, result = read_messages(pair.server.data_to_send())
    assert result.values[2] == {
        "fmsVer": "FMS/3,0,1,123",
        "capabilities": 31,
        "fourCcList": ["av01", "hvc1"],
        "videoFourCcInfoMap": {"*": 4, "hvc1": 5},
        "audioFourCcInfoMap": {"Opus": 1},
        "capsEx": 15,
    }


def test_an_answer_without_an_object(pair: "ConnectionPair") -> None:
    pair.send(pair.client, pair.CONNECT)
    pair.client.receive_data(whole(3, 20, 0, command_payload("_result", 1, NULL)))
    assert pair.drain(pair.client) == [ConnectAccepted()]


# The request to connect anew ---------------------------------------------------------------------

ELSEWHERE = ReconnectRequest(tc_url="rtmp://other/live", description="This server stops.")


def connect_capable(pair: "ConnectionPair") -> None:
    capable = Capabilities(features=Feature.RECONNECT)
    pair.send(pair.client, replace(pair.CONNECT, capabilities=capable))
    pair.send(pair.server, ConnectAccepted())


@pytest.mark.parametrize("request_", [ELSEWHERE, ReconnectRequest()])
def test_a_capable_publisher_is_asked_and_goes_on(
    pair: "ConnectionPair", request_: ReconnectRequest
) -> None:
    connect_capable(pair)
    pair.send(pair.server, request_)
    pair.send(pair.client, pair.PUBLISH, [pair.PUBLISH])
    pair.send(pair.server, request_)
    assert pair.client.state is State.WAIT_PUBLISH_ANSWER


def test_what_is_on_the_wire(pair: "ConnectionPair") -> None:
    connect_capable(pair)
    pair.server.send(ELSEWHERE)
    (message,) = read_messages(pair.server.data_to_send(), 65536)
    assert (message.type_id, message.stream_id) == (20, 0)
    assert message.values == [
        "onStatus",
        0,
        None,
        {
            "level": "status",
            "code": "NetConnection.Connect.ReconnectRequest",
            "description": "This server stops.",
            "tcUrl": "rtmp://other/live",
        },
    ]


def test_a_publisher_that_cannot_is_not_asked(pair: "ConnectionPair") -> None:
    pair.publish()
    with pytest.raises(LocalProtocolError, match="does not understand reconnect"):
        pair.server.send(ELSEWHERE)
    assert pair.server.data_to_send() == b""


def test_nobody_is_asked_before_the_connect_is_answered(pair: "ConnectionPair") -> None:
    capable = Capabilities(features=Feature.RECONNECT)
    pair.send(pair.client, replace(pair.CONNECT, capabilities=capable))
    with pytest.raises(LocalProtocolError, match="illegal in WAIT_CONNECT_ANSWER"):
        pair.server.send(ELSEWHERE)
    code = amf_object({"code": amf_string("NetConnection.Connect.ReconnectRequest")})
    pair.client.receive_data(whole(3, 20, 0, command_payload("onStatus", 0, NULL, code)))
    with pytest.raises(RemoteProtocolError, match="ReconnectRequest is illegal"):
        pair.client.next_event()


def test_a_request_of_few_words(pair: "ConnectionPair") -> None:
    connect_capable(pair)
    info = {"code": amf_string("NetConnection.Connect.ReconnectRequest"), "tcUrl": amf_number(1)}
    asked = command_payload("onStatus", 0, NULL, amf_object(info))
    pair.client.receive_data(whole(3, 20, 0, asked, 65536))
    events: list[Event] = pair.drain(pair.client)
    assert events == [ReconnectRequest()]
