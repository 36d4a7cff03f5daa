"""Playing: both ends back to back, what players wait for, what odd servers say."""

from typing import TYPE_CHECKING

import pytest
from rtmp_peers import (
    NULL,
    WireReader,
    amf_ecma,
    amf_number,
    amf_object,
    amf_string,
    command_payload,
    read_messages,
    whole,
)

from rtmpcore import (
    AudioMessage,
    CreateStream,
    CuePoint,
    Event,
    Limits,
    LocalProtocolError,
    Metadata,
    Play,
    PlayRefusal,
    PlayRefused,
    PlayStarted,
    PlayStopped,
    RemoteProtocolError,
    State,
    StopPlay,
    StreamCreated,
    VideoMessage,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rtmpcore.conftest import ConnectionPair

    MakePair = Callable[..., ConnectionPair]

STARTED = PlayStarted(stream_id=1, description="go")
REFUSED = PlayRefused(stream_id=1, code=PlayRefusal.NOT_FOUND, description="nothing is live")
MEDIA: list[Event] = [
    Metadata(stream_id=1, timestamp_ms=0, values={"width": 1280.0}),
    VideoMessage(stream_id=1, timestamp_ms=40, payload=b"\x17\x01\0\0\0x"),
    AudioMessage(stream_id=1, timestamp_ms=23, payload=b"\xaf\x01x"),
    CuePoint(stream_id=1, timestamp_ms=63, values={"name": "break"}),
]


def states(pair: "ConnectionPair") -> set[State]:
    return {pair.server.state, pair.client.state}


@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 30])
def test_a_whole_play_and_another(pair: "ConnectionPair", piece_bytes: int) -> None:
    pair.piece_bytes = piece_bytes
    pair.play()
    assert states(pair) == {State.PLAYING}
    for event in MEDIA:
        pair.send(pair.server, event)
    pair.send(pair.client, StopPlay(stream_id=1))
    assert states(pair) == {State.IDLE}
    pair.send(pair.client, pair.PLAY)
    pair.send(pair.server, STARTED)
    pair.send(pair.server, PlayStopped(stream_id=1, description="over"))
    assert states(pair) == {State.IDLE}


def test_a_refused_play_and_another_try(pair: "ConnectionPair") -> None:
    pair.ask_to_play()
    pair.send(pair.server, REFUSED)
    assert states(pair) == {State.IDLE}
    pair.send(pair.client, pair.PLAY)
    pair.send(pair.server, STARTED)
    pair.send(pair.server, PlayRefused(stream_id=1, code=PlayRefusal.FAILED, description="gone"))
    assert states(pair) == {State.IDLE}


def test_publish_and_play_in_turn(pair: "ConnectionPair") -> None:
    pair.play()
    pair.send(pair.client, StopPlay(stream_id=1))
    pair.send(pair.client, pair.PUBLISH)
    assert states(pair) == {State.WAIT_PUBLISH_ANSWER}


def test_media_flows_one_way_only(pair: "ConnectionPair") -> None:
    pair.play()
    for event in MEDIA:
        with pytest.raises(LocalProtocolError, match="a client does not send"):
            pair.client.send(event)
    pair.server.receive_data(whole(4, 8, 1, b"\xaf\x01x"))
    assert pair.drain(pair.server) == []


def test_what_is_under_way_when_a_play_stops_is_skipped(pair: "ConnectionPair") -> None:
    pair.play()
    for event in (*MEDIA, PlayStopped(stream_id=1)):
        pair.server.send(event)
    pair.send(pair.client, StopPlay(stream_id=1), [])
    assert states(pair) == {State.IDLE}


def test_sends_for_another_message_stream(pair: "ConnectionPair") -> None:
    pair.play()
    for event in (VideoMessage(stream_id=2, timestamp_ms=0, payload=b""), PlayStopped(stream_id=2)):
        with pytest.raises(LocalProtocolError, match="message stream 2"):
            pair.server.send(event)
    assert states(pair) == {State.PLAYING}


def test_a_player_s_limits_rise_when_it_plays(make_pair: "MakePair") -> None:
    limits = Limits(max_message_bytes=2000, max_message_bytes_publishing=9000)
    frame = VideoMessage(stream_id=1, timestamp_ms=0, payload=bytes(9000))
    pair = make_pair(limits)
    pair.play()
    pair.send(pair.server, frame)
    too_long = VideoMessage(stream_id=1, timestamp_ms=0, payload=bytes(9001))
    pair.server.send(too_long)
    with pytest.raises(RemoteProtocolError, match="exceeds"):
        pair.exchange()


def test_who_plays_to_others_takes_no_more_than_before(make_pair: "MakePair") -> None:
    pair = make_pair(Limits(max_message_bytes=2000, max_message_bytes_publishing=9000))
    pair.play()
    pair.server.receive_data(whole(4, 8, 1, bytes(2001)))
    with pytest.raises(RemoteProtocolError, match="exceeds"):
        pair.drain(pair.server)


# What is on the wire -----------------------------------------------------------------------------


def test_what_a_player_is_told(pair: "ConnectionPair") -> None:
    pair.ask_to_play()
    pair.server.send(PlayStarted(stream_id=1))
    reader = WireReader(65536)
    begin, status = reader.read(pair.server.data_to_send())
    assert (begin.csid, begin.type_id, begin.payload) == (2, 4, bytes.fromhex("0000 00000001"))
    assert (status.csid, status.stream_id) == (5, 1)
    assert status.values == [
        "onStatus",
        0,
        None,
        {
            "level": "status",
            "code": "NetStream.Play.Start",
            "description": "Playing started.",
        },
    ]
    pair.server.send(MEDIA[0])
    (metadata,) = reader.read(pair.server.data_to_send())
    assert (metadata.type_id, metadata.stream_id) == (18, 1)
    assert metadata.payload == amf_string("onMetaData") + amf_ecma({"width": amf_number(1280)})
    pair.server.send(PlayStopped(stream_id=1))
    end, status = reader.read(pair.server.data_to_send())
    assert (end.type_id, end.payload) == (4, bytes.fromhex("0001 00000001"))
    assert status.values[3]["code"] == "NetStream.Play.Stop"


def test_what_a_player_says(pair: "ConnectionPair") -> None:
    pair.connect()
    pair.send(pair.client, CreateStream(), [StreamCreated(stream_id=1)])
    pair.client.send(pair.PLAY)
    play, buffer_length = read_messages(pair.client.data_to_send(), 65536)
    assert (play.csid, play.stream_id) == (8, 1)
    assert play.values == ["play", 3, None, "monitor?token=abc", -2000]
    assert buffer_length.type_id == 4
    assert buffer_length.payload == bytes.fromhex("0003 00000001 00000bb8")


def test_a_name_without_query(pair: "ConnectionPair") -> None:
    pair.connect()
    pair.send(pair.client, Play(stream_id=1, name="monitor"))


@pytest.mark.parametrize("name", ["play", "play2"])
def test_a_second_stream_on_the_connection_is_refused(pair: "ConnectionPair", name: str) -> None:
    pair.publish()
    pair.server.receive_data(whole(3, 20, 2, command_payload(name, 9, NULL, amf_string("k"))))
    assert pair.drain(pair.server) == []
    (status,) = read_messages(pair.server.data_to_send(), 65536)
    assert status.stream_id == 2
    assert status.values[3]["code"] == "NetStream.Play.Failed"
    assert pair.server.state is State.PUBLISHING


@pytest.mark.parametrize(
    ("payload", "stops"),
    [
        (command_payload("deleteStream", 7, NULL, amf_number(1)), True),
        (command_payload("deleteStream", 7, NULL, amf_number(2)), False),
        (command_payload("closeStream", 0, NULL), True),
        (command_payload("FCUnpublish", 6, NULL, amf_string("monitor")), False),
        (command_payload("pause", 0, NULL), False),
    ],
)
def test_ends_of_a_play(pair: "ConnectionPair", payload: bytes, stops: bool) -> None:
    pair.play()
    pair.server.receive_data(whole(3, 20, 0, payload))
    assert pair.drain(pair.server) == ([StopPlay(stream_id=1)] if stops else [])


# Odd servers -------------------------------------------------------------------------------------


def status(level: str, code: str, description: str = "") -> bytes:
    info = {"level": level, "code": code, "description": description}
    return amf_object({name: amf_string(text) for name, text in info.items()})


def tell(pair: "ConnectionPair", payload: bytes) -> list[Event]:
    pair.client.receive_data(whole(3, 20, 1, payload, 65536))
    return pair.drain(pair.client)


def test_play_answered_by_result(pair: "ConnectionPair") -> None:
    pair.ask_to_play()
    assert tell(pair, command_payload("_result", 3, NULL)) == [PlayStarted(stream_id=1)]


def test_play_answered_by_error(pair: "ConnectionPair") -> None:
    pair.ask_to_play()
    assert tell(pair, command_payload("_error", 3, NULL, status("error", "x", "no"))) == [
        PlayRefused(stream_id=1, code=PlayRefusal.FAILED, description="no")
    ]


def test_play_result_after_the_status(pair: "ConnectionPair") -> None:
    pair.play()
    assert tell(pair, command_payload("_result", 3, NULL)) == []


def test_the_reset_before_a_start_is_no_start(pair: "ConnectionPair") -> None:
    pair.ask_to_play()
    reset = command_payload("onStatus", 0, NULL, status("status", "NetStream.Play.Reset"))
    assert tell(pair, reset) == []
    assert pair.client.state is State.WAIT_PLAY_ANSWER


@pytest.mark.parametrize("code", ["Stop", "Complete", "UnpublishNotify"])
def test_the_ends_that_servers_tell(pair: "ConnectionPair", code: str) -> None:
    pair.play()
    over = command_payload("onStatus", 0, NULL, status("status", f"NetStream.Play.{code}", "x"))
    assert tell(pair, over) == [PlayStopped(stream_id=1, description="x")]
    assert tell(pair, over) == []


def test_an_error_with_nothing_to_be_refused(pair: "ConnectionPair") -> None:
    pair.connect()
    assert tell(pair, command_payload("onStatus", 0, NULL, status("error", "x"))) == []
