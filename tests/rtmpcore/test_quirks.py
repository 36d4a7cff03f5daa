"""What real clients do beside the specification, one test each, named after the client.

The rows of the quirk table of the RTMP reference that concern the protocol. Those about what the
media says or how a broadcast lives are tested where it is decided: `hls` and `origin`.
"""

from dataclasses import dataclass, field

import pytest
from rtmp_chunks import header, message, set_chunk_size
from rtmp_peers import (
    CLIENT_KEY,
    NULL,
    SERVER_KEY,
    WireMessage,
    WireReader,
    amf_bool,
    amf_ecma,
    amf_number,
    amf_object,
    amf_string,
    chunked,
    command_payload,
    digest_c1,
    has_digest,
    is_digest_answer,
    plain_c1,
    whole,
)

from rtmpcore import (
    AudioMessage,
    Connect,
    ConnectAccepted,
    Connection,
    Event,
    Metadata,
    Publish,
    PublishRefusal,
    PublishRefused,
    PublishStarted,
    RemoteProtocolError,
    Role,
    Signal,
    State,
    Unpublish,
    VideoCodec,
    VideoMessage,
    parse_video,
)

RANDOM = bytes(range(256)) * 12
LARGE = 65536
CONNECT = command_payload("connect", 1, amf_object({"app": amf_string("live")}))
CREATE_STREAM = command_payload("createStream", 4, NULL)
PUBLISH = command_payload("publish", 5, NULL, amf_string("key"), amf_string("live"))
DELETE_STREAM = command_payload("deleteStream", 7, NULL, amf_number(1))


def new_connection() -> Connection:
    return Connection(Role.SERVER, random_bytes=RANDOM)


@dataclass
class Server:
    """A server that accepts all, and what it says."""

    connection: Connection = field(default_factory=new_connection)
    reader: WireReader = field(default_factory=WireReader)

    def hear(self, data: bytes, piece_bytes: int = 1 << 30) -> list[Event]:
        events = []
        for start in range(0, len(data), piece_bytes):
            self.connection.receive_data(data[start : start + piece_bytes])
            events += self.pull()
        return events

    def pull(self) -> list[Event]:
        events: list[Event] = []
        while (event := self.connection.next_event()) not in (Signal.NEED_DATA, Signal.CLOSED):
            if isinstance(event, Signal):  # a pause
                continue
            events.append(event)
            if isinstance(event, Connect):
                self.connection.send(ConnectAccepted())
            elif isinstance(event, Publish):
                self.connection.send(PublishStarted(stream_id=event.stream_id))
        return events

    def say(self) -> list[WireMessage]:
        return self.reader.read(self.connection.data_to_send())

    def shake_hands(self) -> None:
        assert self.hear(b"\x03" + plain_c1() + bytes(1536)) == []
        assert len(self.connection.data_to_send()) == 1 + 2 * 1536

    def publish(self) -> None:
        self.shake_hands()
        self.hear(whole(3, 20, 0, CONNECT) + whole(3, 20, 0, CREATE_STREAM))
        self.hear(whole(3, 20, 1, PUBLISH))
        assert self.state is State.PUBLISHING
        self.say()

    @property
    def state(self) -> State:
        return self.connection.state


@pytest.fixture
def server() -> Server:
    """A server after the handshake."""
    made = Server()
    made.shake_hands()
    return made


@pytest.fixture
def publishing() -> Server:
    """A server that is being published to."""
    made = Server()
    made.publish()
    return made


def media(events: list[Event]) -> list[tuple[int, bytes]]:
    """Times and payloads; there must be nothing but media."""
    kept = [event for event in events if isinstance(event, AudioMessage | VideoMessage)]
    assert len(kept) == len(events)
    return [(event.timestamp_ms, event.payload) for event in kept]


# OBS ---------------------------------------------------------------------------------------------


def test_obs_answers_nothing_while_it_streams(publishing: Server) -> None:
    # It never sends a pong, an acknowledgement or a window, however much it sends, and is told
    # nothing but acknowledgements: a new chunk size would pass it by.
    frame = message(4, bytes(LARGE), type_id=9, chunk_size=4096)
    assert publishing.hear(set_chunk_size(4096)) == []
    for _ in range(40):
        assert len(publishing.hear(frame)) == 1
    assert {said.type_id for said in publishing.say()} == {3}
    refusal = PublishRefused(stream_id=1, code=PublishRefusal.REJECTED, description="ended")
    publishing.connection.send(refusal)
    (status,) = publishing.say()
    assert status.values[3]["code"] == "NetStream.Publish.Rejected"


def test_obs_30_0_and_before_repeat_no_extended_timestamp(publishing: Server) -> None:
    time, payload = 0x01000000, bytes(range(200))
    frame = header(0, 4, time, 200, 9, 1) + payload[:128] + header(3, 4) + payload[128:]
    assert media(publishing.hear(frame)) == [(time, payload)]


def test_obs_30_1_repeats_the_extended_timestamp(publishing: Server) -> None:
    time, payload = 0x01000000, bytes(range(200))
    assert media(publishing.hear(message(4, payload, time=time))) == [(time, payload)]


def test_obs_sends_audio_and_video_on_one_chunk_stream(publishing: Server) -> None:
    video = header(0, 4, 40, 1, 9, 1) + b"v"
    audio = header(1, 4, 2**32 - 3, 1, 8) + b"a"
    later = header(1, 4, 20, 1, 9) + b"w"
    assert media(publishing.hear(video + audio + later)) == [(40, b"v"), (37, b"a"), (57, b"w")]


def test_obs_29_names_things_in_its_connect(server: Server) -> None:
    sent = {
        "app": amf_string("live"),
        "type": amf_string("nonprivate"),
        "flashVer": amf_string("FMLE/3.0 (compatible; FMSc/1.0)"),
        "swfUrl": amf_string("rtmp://h/live"),
        "tcUrl": amf_string("rtmp://h/live"),
        "supportsGoAway": amf_bool(True),
    }
    (connect,) = server.hear(whole(3, 20, 0, command_payload("connect", 1, amf_object(sent))))
    assert isinstance(connect, Connect)
    assert connect.properties == {
        "type": "nonprivate",
        "swfUrl": "rtmp://h/live",
        "supportsGoAway": True,
    }


# ffmpeg ------------------------------------------------------------------------------------------


def test_ffmpeg_mirrors_our_chunk_size(server: Server) -> None:
    server.hear(whole(3, 20, 0, CONNECT))
    (ours,) = (said.payload for said in server.say() if said.type_id == 1)
    assert server.hear(whole(2, 1, 0, ours) + whole(3, 20, 0, CREATE_STREAM)) == []
    server.hear(whole(8, 20, 1, PUBLISH))
    size = int.from_bytes(ours, "big")
    frame = message(6, bytes(size + 1), chunk_size=size)
    assert media(server.hear(frame)) == [(0, bytes(size + 1))]


def test_ffmpeg_writes_a_whole_header_when_time_goes_back(publishing: Server) -> None:
    frames = message(6, b"a", time=1000) + message(6, b"b", time=960)
    assert media(publishing.hear(frames)) == [(1000, b"a"), (960, b"b")]


def test_ffmpeg_extends_the_delta_behind_its_headers(publishing: Server) -> None:
    # From a capture: `46 FFFFFF 000751 09 01312C92`.
    config = message(6, b"config", time=0)
    frame = header(1, 6, 0x01312C92, 1, 9) + b"k"
    assert media(publishing.hear(config + frame))[1] == (0x01312C92, b"k")


def test_ffmpeg_sends_header_and_payload_in_segments_of_their_own(publishing: Server) -> None:
    frame = message(6, bytes(range(100)), time=40)
    assert publishing.hear(frame[:12]) == []
    assert media(publishing.hear(frame[12:])) == [(40, bytes(range(100)))]


def test_ffmpeg_closes_before_it_has_read_our_replies(publishing: Server) -> None:
    publishing.connection.receive_data(message(6, b"last") + whole(3, 20, 0, DELETE_STREAM, 128))
    publishing.connection.send_failed()  # the reset comes with what it sent still unread
    *frames, end = publishing.pull()
    assert media(frames) == [(0, b"last")]
    assert end == Unpublish(stream_id=1)
    assert publishing.connection.next_event() is Signal.CLOSED


def test_ffmpeg_with_another_muxer_is_cut_off_cleanly(publishing: Server) -> None:
    # `ffmpeg -f mpegts rtmp://...`: transport packets where chunks should be.
    packets = (b"\x47\x40\x11\x10\x00\x42\xf0\x25\x00\x01\xc1\x00\x00\xff\x01\xff" * 12) * 4
    with pytest.raises(RemoteProtocolError):
        publishing.hear(packets)
    assert publishing.state is State.ERROR


# GStreamer ---------------------------------------------------------------------------------------


def test_gstreamer_asks_for_no_replies_and_deletes_by_name(server: Server) -> None:
    server.hear(whole(3, 20, 0, CONNECT))
    server.say()
    for name in ("releaseStream", "FCPublish"):
        assert server.hear(whole(3, 20, 0, command_payload(name, 0, NULL, amf_string("k")))) == []
    assert server.say() == []
    server.hear(whole(3, 20, 0, command_payload("createStream", 2, NULL)))
    server.hear(whole(3, 20, 1, command_payload("publish", 0, NULL, amf_string("k"))))
    *_, status = server.say()
    assert status.values[0] == "onStatus"
    assert status.stream_id == 1
    end = command_payload("FCUnpublish", 0, NULL, amf_string("k"))
    by_name = command_payload("deleteStream", 0, NULL, amf_string("k"))
    assert server.hear(whole(3, 20, 0, end) + whole(3, 20, 0, by_name)) == [Unpublish(stream_id=1)]


def test_gstreamer_answers_our_bandwidth_and_lowers_its_chunk_size(publishing: Server) -> None:
    window = whole(2, 5, 0, (2_500_000).to_bytes(4, "big"))
    assert publishing.hear(window + set_chunk_size(4096) + set_chunk_size(128)) == []
    assert media(publishing.hear(message(6, bytes(300)))) == [(0, bytes(300))]


# librtmp -----------------------------------------------------------------------------------------


def test_librtmp_names_no_version_of_itself(server: Server) -> None:
    sent = {name: amf_string("live") for name in ("app", "tcUrl")}
    connect = command_payload("connect", 1, amf_object(sent))
    assert server.hear(whole(3, 20, 0, connect)) == [Connect(app="live", tc_url="live")]


def test_librtmp_says_the_same_time_again_by_a_bare_header(publishing: Server) -> None:
    first = header(0, 4, 0, 1, 9, 1) + b"a"
    step = header(1, 4, 40, 1, 9) + b"b"
    bare = header(3, 4) + b"c"
    anew = header(0, 4, 80, 1, 9, 1) + b"d"
    (_, payload_a), (time_b, _), (time_c, payload_c), last = media(
        publishing.hear(first + step + bare + anew)
    )
    assert (payload_a, payload_c) == (b"a", b"c")
    # It means 40, the specification says 80: the error is one step, and ends with a whole header.
    assert time_c - time_b == 40
    assert last == (80, b"d")


# Mobile ------------------------------------------------------------------------------------------


def test_haishinkit_waits_for_both_announcements(server: Server) -> None:
    server.hear(whole(3, 20, 0, CONNECT))
    server.say()
    asked = [command_payload(n, i, NULL) for i, n in ((2, "releaseStream"), (3, "FCPublish"))]
    assert server.hear(set_chunk_size(8192) + b"".join(whole(3, 20, 0, a) for a in asked)) == []
    assert [said.values for said in server.say()] == [
        ["_result", 2, None, None],
        ["_result", 3, None, None],
    ]
    server.hear(whole(3, 20, 1, PUBLISH))
    plain = amf_string("@setDataFrame") + amf_string("onMetaData")
    plain += amf_object({"width": amf_number(1280)})
    assert server.hear(whole(4, 18, 1, plain)) == [
        Metadata(stream_id=1, timestamp_ms=0, values={"width": 1280})
    ]


def test_streamlabs_mobile_compares_s2_with_its_c1() -> None:
    connection = new_connection()
    connection.receive_data(b"\x03" + plain_c1())
    assert connection.next_event() is Signal.NEED_DATA
    assert connection.data_to_send()[1537:] == plain_c1()


def test_rootencoder_streams_on_beyond_the_extended_timestamp(publishing: Server) -> None:
    last = 0xFFFFFF - 20
    frames = message(4, b"a", time=last)
    frames += b"".join(header(1, 4, 40, 1, 9) + bytes((n,)) for n in range(3))
    times = [time for time, _ in media(publishing.hear(frames))]
    assert times == [last, last + 40, last + 80, last + 120]


# Drones, cameras and hardware --------------------------------------------------------------------


@pytest.mark.parametrize("time", [0xFFFFFF, 0x01000000, 0x9ABCDEF0])
def test_dji_starts_at_a_huge_timestamp(publishing: Server, time: int) -> None:
    config = message(4, bytes(200), time=time)
    frame = header(1, 4, 33, 1, 9) + b"k"
    assert media(publishing.hear(config + frame, 1)) == [(time, bytes(200)), (time + 33, b"k")]


def test_dji_sends_its_headers_again_and_again(publishing: Server) -> None:
    config = b"\x17\x00\x00\x00\x00" + bytes(40)
    assert len(media(publishing.hear(message(4, config) * 5))) == 5


@pytest.mark.parametrize("csid", [3, 4, 5, 6])
def test_ptzoptics_sends_control_messages_anywhere(publishing: Server, csid: int) -> None:
    ping = whole(csid, 4, 1, bytes.fromhex("0006 01020304"))
    larger = whole(csid, 1, 1, (4096).to_bytes(4, "big"))
    assert publishing.hear(ping + larger) == []
    (pong,) = publishing.say()
    assert pong.payload == bytes.fromhex("0007 01020304")
    frame = message(7, bytes(4000), chunk_size=4096)
    assert media(publishing.hear(frame)) == [(0, bytes(4000))]


def test_dahua_describes_a_picture_without_its_codec(publishing: Server) -> None:
    said = amf_string("onMetaData") + amf_ecma({"width": amf_number(1920)})
    assert publishing.hear(whole(4, 18, 1, said)) == [
        Metadata(stream_id=1, timestamp_ms=0, values={"width": 1920})
    ]


def test_glive_t80_never_moves_its_clock(publishing: Server) -> None:
    first = message(4, b"a", time=500)
    still = header(1, 4, 0, 1, 9) + b"b" + header(3, 4) + b"c"
    assert media(publishing.hear(first + still)) == [(500, b"a"), (500, b"b"), (500, b"c")]


def test_blackmagic_web_presenter_speaks_amf3(server: Server) -> None:
    sent = {"app": amf_string("live"), "objectEncoding": amf_number(3)}
    server.hear(whole(3, 20, 0, command_payload("connect", 1, amf_object(sent))))
    *_, result = server.say()
    assert result.values[3]["objectEncoding"] == 0
    server.hear(whole(3, 17, 0, b"\0" + CREATE_STREAM))
    (created,) = server.say()
    assert created.values == ["_result", 4, None, 1]
    # A value of AMF3 among those of AMF0: the key as an AMF3 string, behind the marker 0x11.
    key = b"\x11\x06\x07key"
    publish = command_payload("publish", 5, NULL, key)
    assert server.hear(whole(3, 17, 1, b"\0" + publish)) == [Publish(stream_id=1, name="key")]
    said = amf_string("@setDataFrame") + amf_string("onMetaData")
    said += amf_object({"width": b"\x11\x04\x8a\x00"})
    metadata = Metadata(stream_id=1, timestamp_ms=0, values={"width": 1280})
    assert server.hear(whole(4, 15, 1, b"\0" + said)) == [metadata]
    assert server.hear(whole(4, 15, 1, said)) == [metadata]  # some omit the selector


def test_haivision_creates_its_stream_first(server: Server) -> None:
    server.hear(whole(3, 20, 0, CONNECT))
    server.say()
    asked = (CREATE_STREAM, command_payload("FCPublish", 5, NULL, amf_string("key")))
    assert server.hear(b"".join(whole(3, 20, 0, payload) for payload in asked)) == []
    assert [said.values[1] for said in server.say()] == [4, 5]
    assert server.hear(whole(3, 20, 1, PUBLISH)) == [Publish(stream_id=1, name="key")]


# Others ------------------------------------------------------------------------------------------


def test_flash_shakes_hands_by_digest() -> None:
    connection = new_connection()
    c1 = digest_c1(772)
    connection.receive_data(b"\x03" + c1)
    assert connection.next_event() is Signal.NEED_DATA
    answer = connection.data_to_send()
    assert has_digest(c1, CLIENT_KEY, 772)
    assert has_digest(answer[1:1537], SERVER_KEY, 772)
    assert is_digest_answer(answer[1537:], c1, SERVER_KEY, 772)


def test_fmle_begins_a_message_with_a_bare_header_behind_a_whole_one(publishing: Server) -> None:
    # The first step of a bare header behind a whole one is the whole one's time.
    frames = header(0, 4, 20, 1, 9, 1) + b"a" + b"\xc4b"
    assert media(publishing.hear(frames)) == [(20, b"a"), (40, b"b")]


def test_fmle_counts_no_metadata_and_measures_bandwidth(publishing: Server) -> None:
    said = amf_string("onMetaData") + amf_ecma({"width": amf_number(1280)}, 0)
    assert publishing.hear(whole(4, 18, 1, said)) == [
        Metadata(stream_id=1, timestamp_ms=0, values={"width": 1280})
    ]
    assert publishing.hear(whole(3, 20, 0, command_payload("_checkbw", 9, NULL))) == []
    assert [said.values[:2] for said in publishing.say()] == [["_result", 9]]


def test_neko_quotes_its_url(server: Server) -> None:
    sent = {"app": amf_string("live"), "tcUrl": amf_string("'rtmp://h/live'")}
    connect = command_payload("connect", 1, amf_object(sent))
    assert server.hear(whole(3, 20, 0, connect)) == [Connect(app="live", tc_url="rtmp://h/live")]


@pytest.mark.parametrize("size", [134217728, 0x7FFFFFFF])
def test_joy4_announces_chunks_of_128_mebibytes(publishing: Server, size: int) -> None:
    frame = chunked(header(0, 6, 0, 100_000, 9, 1), 6, bytes(100_000), size)
    assert media(publishing.hear(set_chunk_size(size) + frame)) == [(0, bytes(100_000))]


def test_tencent_meeting_steps_back_on_a_shared_chunk_stream(publishing: Server) -> None:
    back = bytes.fromhex("44 FFFFFF 000001 08 FFFFFFFD") + b"a"
    frames = message(4, b"v", time=1000) + back
    assert media(publishing.hear(frames)) == [(1000, b"v"), (997, b"a")]


def test_go2rtc_wraps_its_clock_at_24_bits(publishing: Server) -> None:
    # What a step back means is for the timeline; it must arrive as it was sent.
    frames = message(4, b"a", time=0xFFFFFE) + message(4, b"b", time=30)
    assert media(publishing.hear(frames)) == [(0xFFFFFE, b"a"), (30, b"b")]


def test_xsplit_sends_av1_by_fourcc(publishing: Server) -> None:
    (config,) = publishing.hear(message(4, b"\x90av01\x81\x00\x0c\x00"))
    assert isinstance(config, VideoMessage)
    assert parse_video(config.payload).codec is VideoCodec.AV1


@pytest.mark.parametrize(
    ("sent", "name", "query"),
    [
        ("live_1_abc?clientConfigId=1&x=2", "live_1_abc", "clientConfigId=1&x=2"),
        ("?clientConfigId=1", "", "clientConfigId=1"),
    ],
)
def test_twitch_multitrack_obs_puts_parameters_behind_its_key(
    server: Server, sent: str, name: str, query: str
) -> None:
    server.hear(whole(3, 20, 0, CONNECT))
    publish = command_payload("publish", 5, NULL, amf_string(sent), amf_string("live"))
    assert server.hear(whole(4, 20, 1, publish)) == [Publish(stream_id=1, name=name, query=query)]
