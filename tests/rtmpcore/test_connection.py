"""The connection, both roles: what goes in comes out, what needs no decision, what is illegal."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rtmp_peers import (
    NULL,
    WireReader,
    command_payload,
    read_messages,
    short,
    whole,
)

from rtmpcore import (
    AudioMessage,
    Connect,
    ConnectAccepted,
    Connection,
    ConnectRefusal,
    ConnectRejected,
    CreateStream,
    CuePoint,
    DigestScheme,
    Event,
    LocalProtocolError,
    Metadata,
    Play,
    PlayRefusal,
    PlayRefused,
    PlayStarted,
    PlayStopped,
    Publish,
    PublishRefusal,
    PublishRefused,
    PublishStarted,
    ReconnectRequest,
    Role,
    Signal,
    State,
    StopPlay,
    StreamCreated,
    Unpublish,
    VideoMessage,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rtmpcore.conftest import ConnectionPair

    MakePair = Callable[..., ConnectionPair]

RANDOM = bytes(range(256)) * 12
CONNECT = Connect(
    app="live",
    tc_url="rtmp://host/live",
    flash_version="test",
    properties={"type": "nonprivate"},
)
PUBLISH = Publish(stream_id=1, name="live_key")
STARTED = PublishStarted(stream_id=1, description="go")
REFUSED = PublishRefused(stream_id=1, code=PublishRefusal.BAD_NAME, description="stream is busy")
VIDEO = VideoMessage(stream_id=1, timestamp_ms=40, payload=b"\x17\x01\0\0\0x")
AUDIO = AudioMessage(stream_id=1, timestamp_ms=23, payload=b"\xaf\x01x")


def state_of(connection: Connection) -> State:
    """The state, without mypy's belief that a connection stays as it was last seen."""
    return connection.state


def drain(connection: Connection) -> list[Event]:
    events = []
    while (event := connection.next_event()) not in (Signal.NEED_DATA, Signal.CLOSED):
        if isinstance(event, Signal):  # a pause
            continue
        events.append(event)
    return events


# What went in came out ---------------------------------------------------------------------------


def test_a_whole_publish(pair: "ConnectionPair") -> None:
    client, server = pair.client, pair.server
    assert state_of(client) is state_of(server) is State.WAIT_CONNECT
    pair.send(client, CONNECT)
    assert state_of(client) is state_of(server) is State.WAIT_CONNECT_ANSWER
    pair.send(server, ConnectAccepted())
    assert state_of(client) is state_of(server) is State.IDLE
    pair.send(client, CreateStream(name="live_key"), [StreamCreated(stream_id=1)])
    pair.send(client, Publish(stream_id=1, name="live_key", query="a=1", kind="record"))
    assert state_of(client) is state_of(server) is State.WAIT_PUBLISH_ANSWER
    pair.send(server, STARTED)
    assert state_of(client) is state_of(server) is State.PUBLISHING
    pair.send(client, Metadata(stream_id=1, timestamp_ms=0, values={"width": 1280.0}))
    pair.send(client, CuePoint(stream_id=1, timestamp_ms=40, values={"name": "break"}))
    pair.send(client, AUDIO)
    pair.send(client, VIDEO)
    pair.send(client, VideoMessage(stream_id=1, timestamp_ms=0xFFFFFFFF, payload=bytes(300_000)))
    pair.send(client, VideoMessage(stream_id=1, timestamp_ms=16, payload=b""))
    pair.send(client, Unpublish(stream_id=1))
    assert state_of(client) is state_of(server) is State.IDLE
    # Again, on the same connection.
    pair.send(client, CreateStream(), [StreamCreated(stream_id=2)])
    pair.send(client, Publish(stream_id=2, name="live_key"))
    pair.send(server, PublishStarted(stream_id=2, description="again"))
    pair.send(client, VideoMessage(stream_id=2, timestamp_ms=1, payload=b"x"))


@pytest.mark.parametrize("piece_bytes", [1, 7])
def test_a_publish_in_small_pieces(pair: "ConnectionPair", piece_bytes: int) -> None:
    pair.piece_bytes = piece_bytes
    pair.publish()
    pair.send(pair.client, VideoMessage(stream_id=1, timestamp_ms=5, payload=bytes(1000)))


@given(
    media=st.lists(
        st.builds(
            VideoMessage,
            stream_id=st.just(1),
            timestamp_ms=st.integers(0, 2**32 - 1),
            payload=st.binary(max_size=300),
        )
        | st.builds(
            AudioMessage,
            stream_id=st.just(1),
            timestamp_ms=st.integers(0, 2**32 - 1),
            payload=st.binary(max_size=30),
        ),
        max_size=20,
    )
)
def test_any_media_comes_out_as_it_went_in(
    make_pair: "MakePair", media: list[VideoMessage | AudioMessage]
) -> None:
    pair = make_pair()
    pair.publish()
    for message in media:
        pair.client.send(message)
    assert pair.exchange() == media


@pytest.mark.parametrize("scheme", DigestScheme)
def test_digest_handshake_back_to_back(scheme: DigestScheme) -> None:
    server = Connection(Role.SERVER, random_bytes=RANDOM)
    client = Connection(Role.CLIENT, random_bytes=RANDOM[::-1], digest=scheme)
    server.receive_data(client.data_to_send())
    client.receive_data(server.data_to_send())
    server.receive_data(client.data_to_send())
    assert drain(client) == drain(server) == []
    assert state_of(client) is state_of(server) is State.WAIT_CONNECT
    assert server.bytes_received == 1 + 2 * 1536


def test_too_little_randomness() -> None:
    with pytest.raises(ValueError, match="3072 random bytes"):
        Connection(Role.SERVER, random_bytes=bytes(3071))


# Refusals ----------------------------------------------------------------------------------------


def test_rejected_connect_ends_both(pair: "ConnectionPair") -> None:
    pair.send(pair.client, CONNECT)
    rejected = ConnectRejected(code=ConnectRefusal.INVALID_APP, description="no such app")
    pair.send(pair.server, rejected)
    for end in (pair.client, pair.server):
        assert state_of(end) is State.CLOSED
        assert end.next_event() is Signal.CLOSED
        end.receive_data(b"more")  # nobody listens
        assert end.next_event() is Signal.CLOSED


def test_nothing_counts_behind_a_rejected_connect(pair: "ConnectionPair") -> None:
    pair.client.send(CONNECT)
    pair.server.receive_data(pair.client.data_to_send())
    assert drain(pair.server) == [CONNECT]
    pair.server.send(ConnectRejected(description="no"))
    pair.client.receive_data(pair.server.data_to_send() + b"\xc9garbage")
    assert drain(pair.client) == [ConnectRejected(description="no")]
    assert pair.client.next_event() is Signal.CLOSED


def test_refused_publish_and_another_try(pair: "ConnectionPair") -> None:
    pair.connect()
    pair.send(pair.client, CreateStream(), [StreamCreated(stream_id=1)])
    pair.send(pair.client, PUBLISH)
    pair.send(pair.server, REFUSED)
    assert state_of(pair.client) is state_of(pair.server) is State.IDLE
    pair.send(pair.client, PUBLISH)
    pair.send(pair.server, STARTED)


def test_a_refusal_is_what_obs_understands(pair: "ConnectionPair") -> None:
    pair.connect()
    pair.send(pair.client, CreateStream(), [StreamCreated(stream_id=1)])
    pair.send(pair.client, PUBLISH)
    pair.server.send(REFUSED)
    (status,) = read_messages(pair.server.data_to_send(), 65536)
    assert (status.csid, status.type_id, status.stream_id) == (5, 20, 1)
    assert status.values == [
        "onStatus",
        0,
        None,
        {
            "level": "error",
            "code": "NetStream.Publish.BadName",
            "description": "stream is busy",
        },
    ]


def test_a_server_may_end_a_running_publish(pair: "ConnectionPair") -> None:
    pair.publish()
    pair.server.send(REFUSED)
    # What the client sent before it heard of it is nobody's any more, its goodbye too.
    pair.client.send(VIDEO)
    pair.client.send(Metadata(stream_id=1, timestamp_ms=0, values={}))
    pair.client.send(AUDIO)
    pair.client.send(Unpublish(stream_id=1))
    assert pair.exchange() == []
    assert state_of(pair.client) is state_of(pair.server) is State.IDLE


def test_media_outside_a_publish_is_skipped(pair: "ConnectionPair") -> None:
    pair.connect()
    pair.server.receive_data(whole(4, 8, 1, b"a") + whole(6, 9, 1, b"v") + whole(4, 18, 1, b"junk"))
    assert drain(pair.server) == []


# What needs no decision --------------------------------------------------------------------------


def test_media_to_a_publisher_is_skipped(pair: "ConnectionPair") -> None:
    pair.publish()
    pair.client.receive_data(whole(4, 8, 1, b"\xaf\x01x") + whole(6, 9, 1, b"\x17\x01\0\0\0x"))
    assert drain(pair.client) == []


def test_ping_is_answered_with_its_time(pair: "ConnectionPair") -> None:
    pair.publish()
    pair.server.receive_data(whole(5, 4, 0, bytes.fromhex("0006 0a0b0c0d")))  # a camera's csid
    assert drain(pair.server) == []
    (answer,) = read_messages(pair.server.data_to_send())
    assert (answer.csid, answer.type_id, answer.stream_id) == (2, 4, 0)
    assert answer.payload == bytes.fromhex("0007 0a0b0c0d")


def test_unknown_messages_and_events_are_skipped(pair: "ConnectionPair") -> None:
    pair.publish()
    for type_id in (0, 3, 7, 10, 16, 19, 21, 99, 255):
        pair.server.receive_data(whole(3, type_id, 0, bytes(8)))
    pair.server.receive_data(whole(2, 4, 0, bytes.fromhex("0020 00000001")))
    assert drain(pair.server) == []
    assert pair.server.data_to_send() == b""
    pair.send(pair.client, VIDEO)


def test_aggregate_is_split(pair: "ConnectionPair") -> None:
    pair.publish()
    tags = b"".join(
        bytes((kind, 0, 0, 1, 0, 0, time, 0, 0, 0, 0)) + body + (12).to_bytes(4, "big")
        for kind, time, body in ((8, 10, b"a"), (9, 15, b"v"), (8, 33, b"b"))
    )
    pair.server.receive_data(whole(4, 22, 1, tags) + whole(6, 9, 1, b"after"))
    events = drain(pair.server)
    assert [type(event) for event in events] == [
        AudioMessage,
        VideoMessage,
        AudioMessage,
        VideoMessage,
    ]
    times = [e.timestamp_ms for e in events if isinstance(e, AudioMessage | VideoMessage)]
    assert times == [0, 5, 23, 0]


def test_acknowledgement_of_our_own_window(pair: "ConnectionPair") -> None:
    pair.publish()
    before = pair.server.bytes_received
    video = whole(6, 9, 1, bytes(100_000), 65536)
    acknowledged = []
    reader = WireReader()
    for _ in range(30):
        pair.server.receive_data(video)
        drain(pair.server)
        acknowledged += reader.read(pair.server.data_to_send())
    assert [m.type_id for m in acknowledged] == [3, 3]
    count = int.from_bytes(acknowledged[0].payload, "big")
    assert 1_250_000 <= count < 1_250_000 + len(video) + before
    assert pair.server.bytes_received == before + 30 * len(video)


@pytest.mark.parametrize(
    ("window", "acknowledgements"),
    [(1, 1), (40, 1), (10_000, 0), (0, 0), (0x7FFFFFFF, 0)],
)
def test_the_peer_s_window_is_kept(
    pair: "ConnectionPair", window: int, acknowledgements: int
) -> None:
    pair.publish()
    pair.server.receive_data(whole(2, 5, 0, window.to_bytes(4, "big")))
    drain(pair.server)
    pair.server.data_to_send()
    pair.server.receive_data(whole(6, 9, 1, bytes(30)))
    drain(pair.server)
    replies = read_messages(pair.server.data_to_send())
    assert [m.type_id for m in replies] == [3] * acknowledgements


def test_peer_bandwidth_is_answered_once(pair: "ConnectionPair") -> None:
    pair.connect()
    message = whole(2, 6, 0, bytes.fromhex("00100000 02"))
    pair.server.receive_data(message)
    pair.server.receive_data(message)
    assert drain(pair.server) == []
    (answer,) = read_messages(pair.server.data_to_send(), 65536)
    assert (answer.type_id, answer.payload) == (5, bytes.fromhex("00100000"))


# What is illegal ---------------------------------------------------------------------------------


ANY_EVENT: list[Event] = [
    CONNECT,
    ConnectAccepted(),
    ConnectRejected(description="x"),
    CreateStream(),
    StreamCreated(stream_id=1),
    PUBLISH,
    STARTED,
    REFUSED,
    Metadata(stream_id=1, timestamp_ms=0, values={}),
    CuePoint(stream_id=1, timestamp_ms=0, values={}),
    AUDIO,
    VIDEO,
    Unpublish(stream_id=1),
    Play(stream_id=1, name="live_key"),
    PlayStarted(stream_id=1),
    PlayRefused(stream_id=1, code=PlayRefusal.FAILED, description="x"),
    StopPlay(stream_id=1),
    PlayStopped(stream_id=1),
    ReconnectRequest(),
]


@given(
    steps=st.lists(st.tuples(st.sampled_from(Role), st.sampled_from(ANY_EVENT)), max_size=30),
    publish=st.booleans(),
)
def test_any_order_of_sends_is_legal_or_a_local_error(
    make_pair: "MakePair", steps: list[tuple[Role, Event]], publish: bool
) -> None:
    pair = make_pair()
    if publish:
        pair.publish()
    for role, event in steps:
        end = pair.server if role is Role.SERVER else pair.client
        before = state_of(end)
        try:
            end.send(event)
        except LocalProtocolError:
            assert state_of(end) is before
            assert end.data_to_send() == b""
        else:
            pair.exchange()
            assert state_of(pair.server) is state_of(pair.client)


def test_a_server_does_not_announce_streams(pair: "ConnectionPair") -> None:
    pair.connect()
    with pytest.raises(LocalProtocolError, match="without being asked"):
        pair.server.send(StreamCreated(stream_id=1))
    with pytest.raises(LocalProtocolError, match="a server does not send Connect"):
        pair.server.send(CONNECT)


def test_sends_for_another_message_stream(pair: "ConnectionPair") -> None:
    pair.connect()
    pair.send(pair.client, CreateStream(), [StreamCreated(stream_id=1)])
    pair.send(pair.client, PUBLISH)
    refused = PublishRefused(stream_id=2, code=PublishRefusal.DENIED, description="")
    for event in (PublishStarted(stream_id=2), refused):
        with pytest.raises(LocalProtocolError, match="message stream 2"):
            pair.server.send(event)
    assert state_of(pair.server) is State.WAIT_PUBLISH_ANSWER


def test_what_cannot_be_written_changes_nothing(pair: "ConnectionPair") -> None:
    with pytest.raises(LocalProtocolError, match="no AMF0 form"):
        pair.client.send(Connect(app="", tc_url="", properties={"x": b"bytes"}))
    assert state_of(pair.client) is State.WAIT_CONNECT
    assert pair.client.data_to_send() == b""
    pair.publish()
    with pytest.raises(LocalProtocolError, match="no AMF0 form"):
        pair.client.send(Metadata(stream_id=1, timestamp_ms=0, values={"x": b"bytes"}))


# The end -----------------------------------------------------------------------------------------


def test_end_of_bytes_is_closed_wherever_it_comes(pair: "ConnectionPair") -> None:
    fresh = Connection(Role.SERVER, random_bytes=RANDOM)
    fresh.receive_data(b"")
    assert fresh.next_event() is Signal.CLOSED
    pair.publish()
    pair.client.send(VIDEO)
    pair.server.receive_data(pair.client.data_to_send() + b"\x06\0")  # and half a header
    pair.server.receive_data(b"")
    assert pair.server.next_event() == VIDEO
    assert pair.server.next_event() is Signal.CLOSED
    assert state_of(pair.server) is State.CLOSED
    with pytest.raises(LocalProtocolError, match="illegal in CLOSED"):
        pair.server.send(REFUSED)


def test_end_while_we_owe_an_answer(pair: "ConnectionPair") -> None:
    pair.client.send(CONNECT)
    pair.server.receive_data(pair.client.data_to_send())
    assert pair.server.next_event() == CONNECT
    pair.server.receive_data(short(3, 20, command_payload("createStream", 4, NULL), 65536))
    assert pair.server.next_event() is Signal.NEED_DATA
    pair.server.receive_data(b"")
    assert pair.server.next_event() is Signal.CLOSED


def test_send_failed_lets_the_rest_be_read(pair: "ConnectionPair") -> None:
    pair.publish()
    pair.client.send(Unpublish(stream_id=1))
    ping = whole(2, 4, 0, bytes.fromhex("0006 00000000"))
    pair.server.receive_data(ping + pair.client.data_to_send())
    pair.server.send_failed()
    assert pair.server.next_event() == Unpublish(stream_id=1)
    assert pair.server.next_event() is Signal.CLOSED
    assert pair.server.data_to_send() == b""
    with pytest.raises(LocalProtocolError, match="no longer be reached"):
        pair.server.send(REFUSED)


def test_draining_forgets(pair: "ConnectionPair") -> None:
    pair.client.send(CONNECT)
    assert pair.client.data_to_send()
    assert pair.client.data_to_send() == b""
