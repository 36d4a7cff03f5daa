"""What no peer should send: it costs that peer its connection, and nothing else ever escapes.

The inputs that have brought down other servers (CVE-2016-10191 and its like), and every limit.
"""

import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rtmp_chunks import abort, header, set_chunk_size
from rtmp_peers import (
    NULL,
    SESSIONS,
    Session,
    amf_date,
    amf_ecma,
    amf_number,
    amf_object,
    amf_string,
    command_payload,
    plain_c1,
    read_messages,
    whole,
)

from rtmpcore import (
    Connect,
    ConnectAccepted,
    Connection,
    ConnectRejected,
    Event,
    Limits,
    LocalProtocolError,
    Metadata,
    Play,
    PlayStarted,
    Publish,
    PublishRefusal,
    PublishRefused,
    PublishStarted,
    RemoteProtocolError,
    Role,
    Signal,
    State,
    VideoMessage,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rtmpcore.conftest import ConnectionPair

    MakePair = Callable[..., ConnectionPair]

RANDOM = bytes(range(256)) * 12
HANDSHAKE = b"\x03" + plain_c1() + bytes(1536)
CONNECT_COMMAND = command_payload("connect", 1, amf_object({"app": amf_string("live")}))
PUBLISH_COMMAND = command_payload("publish", 5, NULL, amf_string("live_key"), amf_string("live"))
PLAY_COMMAND = command_payload("play", 5, NULL, amf_string("live_key"))
PING = whole(2, 4, 0, bytes.fromhex("0006 00000000"))


def state_of(connection: Connection) -> State:
    return connection.state


def serve(connection: Connection, data: bytes, accept: bool = True) -> list[Event]:
    """Feed a server and answer as a hospitable application would."""
    events = []
    connection.receive_data(data)
    while (event := connection.next_event()) not in (Signal.NEED_DATA, Signal.CLOSED):
        if isinstance(event, Signal):  # a pause
            continue
        events.append(event)
        if accept and isinstance(event, Connect):
            connection.send(ConnectAccepted())
        elif accept and isinstance(event, Publish):
            connection.send(PublishStarted(stream_id=event.stream_id))
        elif accept and isinstance(event, Play):
            connection.send(PlayStarted(stream_id=event.stream_id))
    return events


def new_server(limits: Limits | None = None) -> Connection:
    return Connection(Role.SERVER, random_bytes=RANDOM, limits=limits or Limits())


def server_at(state: State, limits: Limits | None = None) -> Connection:
    """A server that a well-behaved client has brought to a state."""
    server = new_server(limits)
    stages = {
        State.WAIT_C0C1: b"",
        State.WAIT_C2: HANDSHAKE[:1537],
        State.WAIT_CONNECT: HANDSHAKE,
        State.IDLE: HANDSHAKE + whole(3, 20, 0, CONNECT_COMMAND),
        State.PUBLISHING: HANDSHAKE
        + whole(3, 20, 0, CONNECT_COMMAND)
        + whole(3, 20, 1, PUBLISH_COMMAND),
        State.PLAYING: HANDSHAKE + whole(3, 20, 0, CONNECT_COMMAND) + whole(3, 20, 1, PLAY_COMMAND),
    }
    if stages[state]:
        serve(server, stages[state])
    server.data_to_send()
    assert state_of(server) is state
    return server


def assert_broken(server: Connection, data: bytes, reason: str) -> RemoteProtocolError:
    """The bytes must end the connection for this reason, and it must stay ended."""
    with pytest.raises(RemoteProtocolError, match=reason) as caught:
        serve(server, data)
    assert caught.value.spec
    assert str(caught.value) == f"{caught.value.reason} ({caught.value.spec})"
    assert "live_key" not in str(caught.value)
    assert state_of(server) is State.ERROR
    with pytest.raises(RemoteProtocolError, match=reason):
        serve(server, b"more")
    with pytest.raises(LocalProtocolError):
        server.send(ConnectAccepted())
    return caught.value


def command(payload: bytes) -> bytes:
    return whole(3, 20, 0, payload)


NESTED = b"\x03\x00\x01a" * 50_000

BEFORE_CONNECT: dict[str, tuple[bytes, str]] = {
    "nested connect of 200 kB": (
        command(amf_string("connect") + amf_number(1) + NESTED),
        "exceeds",
    ),
    "nested connect that fits": (
        command(amf_string("connect") + amf_number(1) + NESTED[:60_000]),
        "nested too deep",
    ),
    "nested arrays": (
        command(amf_string("connect") + amf_number(1) + b"\x0a\0\0\0\1" * 10_000),
        "nested too deep",
    ),
    "cut command": (command(CONNECT_COMMAND[:25]), "cut short"),
    "empty command": (command(b""), "no name"),
    "command without name": (command(amf_number(1)), "no name"),
    "transaction id of text": (command(amf_string("connect") + amf_string("1")), "not a number"),
    "connect without object": (command(command_payload("connect", 1)), "no command object"),
    "publish before connect": (command(PUBLISH_COMMAND), "first command is not connect"),
    "createStream before connect": (
        command(command_payload("createStream", 4, NULL)),
        "first command is not connect",
    ),
    "unknown command first": (
        command(command_payload("x", 4, NULL)),
        "first command is not connect",
    ),
    "type 3 on a fresh chunk stream": (b"\xc3", "begins with a type 3"),
    "type 2 on a fresh chunk stream": (b"\x83\0\0\0", "begins with a type 2"),
    "length changes in mid-message (CVE-2016-10191)": (
        header(0, 3, 0, 200, 20) + bytes(128) + header(1, 3, 0, 100, 20),
        "inside an unfinished message",
    ),
    "chunk size 0": (set_chunk_size(0), "chunk size"),
    "negative chunk size": (set_chunk_size(0x80000000), "chunk size"),
    "short Set Chunk Size": (whole(2, 1, 0, b"\0\0\1"), "not 4"),
    "short Abort": (whole(2, 2, 0, b""), "not 4"),
    "short window": (whole(2, 5, 0, b"\0"), "cut short"),
    "short bandwidth": (whole(2, 6, 0, b""), "cut short"),
    "short ping": (whole(2, 4, 0, b"\0\6\0"), "cut short"),
    "short user control": (whole(2, 4, 0, b""), "cut short"),
    "declared 16 MB": (header(0, 3, 0, 0xFFFFFF, 20), "exceeds"),
    "cut aggregate": (whole(4, 22, 1, bytes(5)), "ends inside a tag"),
}


@pytest.mark.parametrize(("data", "reason"), BEFORE_CONNECT.values(), ids=BEFORE_CONNECT.keys())
def test_before_connect(data: bytes, reason: str) -> None:
    assert_broken(server_at(State.WAIT_CONNECT), data, reason)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (command(CONNECT_COMMAND), "Connect is illegal in PUBLISHING"),
        (command(PUBLISH_COMMAND), "Publish is illegal in PUBLISHING"),
        (command(amf_string("x" * 60_000) + NULL), "not a number"),
        (command(amf_string("x" * 60_000) + amf_string("y" * 60_000)), "too long"),
        (header(0, 6, 0, 10 * 1024 * 1024 + 1, 9), "exceeds"),
        (whole(4, 22, 1, b"\x09" + bytes(9)), "ends inside a tag"),
    ],
)
def test_while_publishing(data: bytes, reason: str) -> None:
    assert_broken(server_at(State.PUBLISHING), data, reason)


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"\x06", b"\x08"])
def test_not_rtmp(first: bytes) -> None:
    server = new_server()
    assert_broken(server, first, "RTMP")
    assert server.data_to_send() == b""


@pytest.mark.parametrize(
    "data",
    [
        command(command_payload("connect", 1, amf_object({}))),  # no tcUrl: NMS 4.4.3 dies
        command(command_payload("connect", 1, amf_ecma({"app": amf_string("live")}))),
        command(command_payload("connect", 1, amf_object({"app": amf_date(0)}))),
        command(CONNECT_COMMAND[:-3]),  # no end marker
        whole(2, 3, 0, b""),  # an acknowledgement of nothing
        whole(3, 99, 0, b"junk"),
        whole(3, 20, 0, CONNECT_COMMAND)[:40],  # not yet whole
        abort(77),
        set_chunk_size(1),
        set_chunk_size(0x7FFFFFFF),
    ],
)
def test_tolerated_before_connect(data: bytes) -> None:
    server = server_at(State.WAIT_CONNECT)
    assert all(isinstance(event, Connect) for event in serve(server, data))
    assert state_of(server) in (State.WAIT_CONNECT, State.IDLE)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xff",
        amf_string("onMetaData") + NESTED,
        amf_string("onMetaData") + amf_ecma({"x": amf_number(1)})[:-5],
        amf_string("@setDataFrame"),
        bytes(100_000),
    ],
)
def test_broken_metadata_never_costs_the_connection(payload: bytes) -> None:
    server = server_at(State.PUBLISHING)
    assert serve(server, whole(4, 18, 1, payload)) == []
    assert serve(server, whole(4, 15, 1, b"\0" + payload)) == []
    dated = amf_string("onMetaData") + amf_object({"created": amf_date(0)})
    (metadata,) = serve(server, whole(4, 18, 1, dated))
    assert isinstance(metadata, Metadata)
    assert state_of(server) is State.PUBLISHING


# What the peer is told ---------------------------------------------------------------------------


def test_reply_to_a_connect_without_object() -> None:
    server = server_at(State.WAIT_CONNECT)
    error = assert_broken(server, command(command_payload("connect", 1)), "no command object")
    assert error.reply == ConnectRejected(description="connect has no command object")
    reply, status = read_messages(server.data_to_send())
    assert reply.values[:2] == ["_error", 1]
    assert status.values[0] == "onStatus"


def test_reply_to_a_publish_without_name() -> None:
    server = server_at(State.IDLE)
    error = assert_broken(
        server, whole(3, 20, 1, command_payload("publish", 5, NULL)), "no stream name"
    )
    assert error.reply == PublishRefused(
        stream_id=1, code=PublishRefusal.BAD_NAME, description="publish has no stream name"
    )
    (reply,) = read_messages(server.data_to_send(), 65536)
    assert reply.stream_id == 1
    assert reply.values[3]["code"] == "NetStream.Publish.BadName"


@pytest.mark.parametrize(
    "idle_talk",
    [
        pytest.param(PING, id="pings"),
        pytest.param(whole(4, 18, 1, NULL), id="data"),
        pytest.param(whole(4, 99, 1, b""), id="unknown"),
    ],
)
def test_the_work_of_one_call_is_bounded(idle_talk: bytes) -> None:
    """One read may bring thousands of messages that are no event; the caller gets its turn."""
    server = server_at(State.PUBLISHING, Limits(max_messages_per_event=3))
    server.receive_data(idle_talk * 7 + whole(6, 9, 1, b"v"))
    assert [server.next_event() for _ in range(4)] == [
        Signal.PAUSE,
        Signal.PAUSE,
        VideoMessage(stream_id=1, timestamp_ms=0, payload=b"v"),
        Signal.NEED_DATA,
    ]


def test_the_work_of_one_call_is_bounded_inside_an_aggregate() -> None:
    server = server_at(State.PUBLISHING, Limits(max_messages_per_event=3))
    data_tag = b"\x12\0\0\0" + bytes(7) + (11).to_bytes(4, "big")
    server.receive_data(whole(6, 22, 1, data_tag * 7))
    signals = [server.next_event() for _ in range(4)]
    assert signals == [Signal.PAUSE, Signal.PAUSE, Signal.NEED_DATA, Signal.NEED_DATA]


def test_what_came_before_the_error_is_read_first() -> None:
    server = server_at(State.PUBLISHING)
    server.receive_data(whole(6, 9, 1, b"v") + whole(6, 9, 1, b"w") + b"\xc9")
    events = [server.next_event(), server.next_event()]
    assert events == [
        VideoMessage(stream_id=1, timestamp_ms=0, payload=b"v"),
        VideoMessage(stream_id=1, timestamp_ms=0, payload=b"w"),
    ]
    with pytest.raises(RemoteProtocolError, match="type 3"):
        server.next_event()


def test_an_error_behind_an_owed_answer_does_not_wait_for_it() -> None:
    server = server_at(State.WAIT_CONNECT)
    server.receive_data(command(CONNECT_COMMAND) + b"\xc9")
    assert isinstance(server.next_event(), Connect)
    with pytest.raises(RemoteProtocolError, match="type 3"):
        server.next_event()


# Limits ------------------------------------------------------------------------------------------


def test_message_limit_before_and_after_publish() -> None:
    limits = Limits(max_message_bytes=1000, max_message_bytes_publishing=2000)
    assert_broken(server_at(State.IDLE, limits), header(0, 6, 0, 1001, 9), "1001 bytes exceeds")
    server = server_at(State.PUBLISHING, limits)
    assert len(serve(server, whole(6, 9, 1, bytes(2000)))) == 1
    assert_broken(server, header(0, 6, 0, 2001, 9), "2001 bytes exceeds")


def test_chunk_stream_limit_before_and_after_publish() -> None:
    limits = Limits(max_chunk_streams=4, max_chunk_streams_publishing=6)
    many = [whole(csid, 99, 0, b"") for csid in range(10, 20)]
    assert serve(server_at(State.IDLE, limits), b"".join(many[:3])) == []
    assert_broken(server_at(State.IDLE, limits), b"".join(many[:4]), "more than 4 chunk streams")
    server = server_at(State.PUBLISHING, limits)
    assert serve(server, b"".join(many[:5])) == []
    assert_broken(server, many[5], "more than 6 chunk streams")


def test_partial_messages_limit() -> None:
    limits = Limits(max_buffered_bytes=1000)
    partial = b"".join(header(0, csid, 0, 500, 9) + bytes(128) for csid in range(4, 14))
    assert_broken(server_at(State.IDLE, limits), partial, "unfinished messages exceed")


def test_command_limit_before_publish() -> None:
    limits = Limits(max_commands_before_publish=5)
    question = command(command_payload("_checkbw", 0, NULL))
    server = server_at(State.IDLE, limits)  # connect was one
    assert serve(server, question * 4) == []
    assert_broken(server, question, "too many commands")
    # A publish or a play begins the count anew, and while it lasts there is none.
    for state in (State.PUBLISHING, State.PLAYING):
        server = server_at(state, limits)
        assert serve(server, question * 20) == []
        serve(server, command(command_payload("deleteStream", 0, NULL)))
        assert state_of(server) is State.IDLE
        assert serve(server, question * 5) == []
    assert_broken(server, question, "too many commands")


@pytest.mark.parametrize("state", [State.WAIT_CONNECT, State.IDLE, State.PUBLISHING])
def test_a_peer_that_pings_and_never_reads(state: State) -> None:
    limits = Limits(max_send_queue_bytes=1000)
    server = server_at(state, limits)
    assert_broken(server, PING * 200, "does not read")
    assert len(server.data_to_send()) < 1100


def test_acknowledgements_count_as_replies() -> None:
    server = server_at(State.PUBLISHING, Limits(max_send_queue_bytes=100))
    serve(server, whole(2, 5, 0, b"\0\0\0\1"))
    video = whole(6, 9, 1, b"v")
    for _ in range(13):
        serve(server, video)
    assert_broken(server, video, "does not read")


def test_a_peer_that_talks_on_while_we_owe_an_answer() -> None:
    server = server_at(State.WAIT_CONNECT, Limits(max_buffered_bytes=1000))
    serve(server, command(CONNECT_COMMAND), accept=False)
    assert server.next_event() is Signal.NEED_DATA
    for _ in range(6):
        serve(server, PING * 10, accept=False)
    assert_broken(server, PING, "without waiting")


def test_our_own_queue_is_bounded(make_pair: "MakePair") -> None:
    pair = make_pair(Limits(max_buffered_bytes_publishing=1000))
    pair.publish()
    video = VideoMessage(stream_id=1, timestamp_ms=0, payload=bytes(600))
    pair.client.send(video)
    pair.client.send(video)
    with pytest.raises(LocalProtocolError, match="drain"):
        pair.client.send(video)
    assert pair.exchange() == [video, video]


def test_memory_before_publish_is_bounded() -> None:
    """The dearest stranger: partial messages, then everything it can pile up unread."""
    limits = Limits()
    servers = [server_at(State.WAIT_CONNECT) for _ in range(10)]
    partial = b"".join(header(0, csid, 0, 60_000, 20) for csid in range(4, 7))
    tracemalloc.start()
    try:
        for server in servers:
            serve(server, set_chunk_size(50_000) + partial[:12] + bytes(50_000))
            for csid in range(8, 12):
                serve(server, header(0, csid, 0, 60_000, 20) + bytes(50_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / len(servers) < 3 * limits.max_buffered_bytes


def test_an_aggregate_of_small_tags_is_never_whole_in_memory() -> None:
    count = 100_000
    server = server_at(State.PUBLISHING, Limits(max_aggregate_tags=count))
    tag = b"\x09\0\0\0" + bytes(7) + (11).to_bytes(4, "big")
    data = set_chunk_size(0xFFFFFF) + whole(6, 22, 1, tag * count, 0xFFFFFF)
    server.receive_data(data)
    tracemalloc.start()
    try:
        for _ in range(count):
            assert isinstance(server.next_event(), VideoMessage)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert server.next_event() is Signal.NEED_DATA
    assert peak < 100_000


# Any bytes at all --------------------------------------------------------------------------------


def survive(server: Connection, pieces: list[bytes]) -> None:
    """Only RemoteProtocolError may come, and what is queued stays bounded."""
    try:
        for piece in pieces:
            serve(server, piece)
    except RemoteProtocolError:
        assert state_of(server) is State.ERROR
    assert len(server.data_to_send()) < 1_000_000


stages = st.sampled_from(
    [
        State.WAIT_C0C1,
        State.WAIT_C2,
        State.WAIT_CONNECT,
        State.IDLE,
        State.PUBLISHING,
        State.PLAYING,
    ]
)


@given(stages, st.lists(st.binary(max_size=200), max_size=5))
def test_garbage_at_any_stage(state: State, pieces: list[bytes]) -> None:
    survive(server_at(state), pieces)


@given(
    stages,
    st.lists(
        st.builds(
            whole,
            st.integers(2, 63),
            st.integers(0, 25),
            st.integers(0, 2),
            st.binary(max_size=100)
            | st.builds(
                lambda name, rest: amf_string(name) + amf_number(1) + rest,
                st.sampled_from(["connect", "createStream", "publish", "deleteStream", "play"]),
                st.binary(max_size=30) | st.just(NULL + amf_string("k")),
            ),
        ),
        max_size=8,
    ),
)
def test_garbage_in_good_chunks(state: State, pieces: list[bytes]) -> None:
    survive(server_at(state), pieces)


@given(
    session=st.sampled_from(SESSIONS),
    place=st.integers(0, 10_000),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_a_session_with_flipped_bytes(
    session: Session, place: int, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(
        session.connect + session.create_stream + session.publish + session.media + session.end
    )
    for where, flip in flips:
        data[(place + where) % len(data)] ^= flip
    survive(server_at(State.WAIT_CONNECT), [bytes(data)])


@given(st.lists(st.binary(max_size=200), max_size=5), st.sampled_from(["", "publish", "play"]))
def test_garbage_to_a_client(make_pair: "MakePair", pieces: list[bytes], doing: str) -> None:
    pair = make_pair()
    if doing == "publish":
        pair.publish()
    elif doing == "play":
        pair.play()
    survive(pair.client, pieces)
