"""Whole sessions of OBS, ffmpeg, GStreamer and librtmp, byte by byte as those programs send."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rtmp_peers import (
    AAC_CONFIG,
    AAC_FRAME,
    AVC_CONFIG,
    CLIENT_KEY,
    KEY_FRAME,
    SERVER_KEY,
    SESSIONS,
    Session,
    WireMessage,
    WireReader,
    has_digest,
    is_digest_answer,
)

from rtmpcore import (
    AudioMessage,
    Connect,
    ConnectAccepted,
    Connection,
    Event,
    Metadata,
    Publish,
    PublishStarted,
    Role,
    Signal,
    State,
    Unpublish,
    VideoMessage,
)

RANDOM = bytes(range(256)) * 12

by_name = pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.name)


@dataclass
class Server:
    """The server under test, fed in pieces."""

    connection: Connection
    reader: WireReader
    piece_bytes: int = 1 << 30

    def hear(self, data: bytes) -> list[Event]:
        events = []
        for start in range(0, len(data), self.piece_bytes):
            self.connection.receive_data(data[start : start + self.piece_bytes])
            while (event := self.connection.next_event()) not in (Signal.NEED_DATA, Signal.CLOSED):
                if isinstance(event, Signal):  # a pause
                    continue
                events.append(event)
        return events

    def state(self) -> State:
        return self.connection.state

    def say(self) -> list[WireMessage]:
        return self.reader.read(self.connection.data_to_send())


def make_server(piece_bytes: int = 1 << 30) -> Server:
    return Server(Connection(Role.SERVER, random_bytes=RANDOM), WireReader(), piece_bytes)


def play(session: Session, server: Server) -> list[Event]:
    """Play a session to its end and check every reply; return the media events."""
    connection = server.connection
    assert server.hear(b"\x03" + session.c1) == []
    assert server.state() is State.WAIT_C2
    answer = connection.data_to_send()
    assert len(answer) == 1 + 2 * 1536
    s0, s1, s2 = answer[0], answer[1:1537], answer[1537:]
    assert s0 == 3
    if session.name == "ffmpeg":
        assert has_digest(session.c1, CLIENT_KEY, 8)
        assert has_digest(s1, SERVER_KEY, 8)
        assert is_digest_answer(s2, session.c1, SERVER_KEY, 8)
    else:
        assert s1[4:8] == bytes(4)
        assert s2 == session.c1

    # C2 and connect in one segment.
    (connect,) = server.hear(s1 + session.connect)
    assert isinstance(connect, Connect)
    assert connect.app.rstrip("/") == "live"
    assert connect.flash_version == session.flash_version
    connection.send(ConnectAccepted())
    window, bandwidth, chunk_size, result = server.say()
    assert [window.type_id, bandwidth.type_id, chunk_size.type_id] == [5, 6, 1]
    assert {m.csid for m in (window, bandwidth, chunk_size)} == {2}
    assert 0 < int.from_bytes(window.payload, "big") < 2**31
    assert bandwidth.payload == window.payload + b"\x02"
    assert (result.csid, result.type_id, result.stream_id) == (3, 20, 0)
    name, transaction, properties, info = result.values
    assert (name, transaction, properties["fmsVer"]) == ("_result", 1, "FMS/3,0,1,123")
    assert info["code"] == "NetConnection.Connect.Success"
    assert info["level"] == "status"

    assert server.hear(session.create_stream) == []
    replies = [message.values for message in server.say()]
    assert [reply[:2] for reply in replies] == [
        ["_result", transaction] for transaction in session.answered_transactions
    ]
    assert replies[-1] == ["_result", session.create_stream_transaction, None, 1]

    (publish,) = server.hear(session.publish)
    assert publish == Publish(
        stream_id=1, name=session.stream_name, query=session.query, kind="live"
    )
    connection.send(PublishStarted(stream_id=1))
    *_, status = server.say()
    assert (status.csid, status.type_id, status.stream_id) == (5, 20, 1)
    assert status.values[:3] == ["onStatus", 0, None]
    assert status.values[3]["code"] == "NetStream.Publish.Start"
    assert status.values[3]["level"] == "status"

    media = server.hear(session.media)
    assert server.state() is State.PUBLISHING
    assert server.say() == []
    assert server.hear(session.end)[-1] == Unpublish(stream_id=1)
    assert server.state() is State.IDLE
    assert server.say() == []  # ffmpeg is gone already: an answer would meet a closed socket
    connection.receive_data(b"")
    assert connection.next_event() is Signal.CLOSED
    return media


@by_name
def test_session_whole(session: Session) -> None:
    metadata, *media = play(session, make_server())
    assert isinstance(metadata, Metadata)
    assert metadata.values == {"width": 1280, "height": 720, "encoder": "x"}
    payloads = {m.payload for m in media if isinstance(m, AudioMessage | VideoMessage)}
    assert payloads == {AVC_CONFIG, AAC_CONFIG, KEY_FRAME, AAC_FRAME}


@by_name
def test_session_byte_by_byte(session: Session) -> None:
    assert play(session, make_server(1)) == play(session, make_server())


@by_name
@given(piece_bytes=st.integers(2, 4000))
def test_session_in_pieces(session: Session, piece_bytes: int) -> None:
    assert play(session, make_server(piece_bytes)) == play(session, make_server())


def test_obs_negative_delta_on_a_shared_chunk_stream() -> None:
    media = play(SESSIONS[0], make_server())
    key_frame, audio = media[-2:]
    assert isinstance(key_frame, VideoMessage)
    assert isinstance(audio, AudioMessage)
    assert (key_frame.timestamp_ms, audio.timestamp_ms) == (23, 20)


def test_ffmpeg_extended_delta_after_the_headers() -> None:
    media = play(SESSIONS[1], make_server())
    assert {m.timestamp_ms for m in media[-2:] if isinstance(m, AudioMessage | VideoMessage)} == {
        0x01312C92
    }


def test_a_blind_client_may_send_everything_at_once() -> None:
    session = SESSIONS[3]
    server = make_server()
    blind = (
        b"\x03" + session.c1 + bytes(1536) + session.connect + session.create_stream
    ) + session.publish
    (connect,) = server.hear(blind)
    assert isinstance(connect, Connect)
    # What follows waits for our answer.
    assert server.connection.next_event() is Signal.NEED_DATA
    server.connection.send(ConnectAccepted())
    assert isinstance(server.connection.next_event(), Publish)
    assert server.connection.next_event() is Signal.NEED_DATA
    server.connection.send(PublishStarted(stream_id=1))
    metadata, *media = server.hear(session.media)
    assert isinstance(metadata, Metadata)
    assert len(media) == session.media_messages
