"""Recorded connections of real ffmpeg, GStreamer and librtmp publishers, replayed."""

from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rtmp_peers import CLIENT_KEY, SERVER_KEY, has_digest, is_digest_answer

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
    TagKind,
    Unpublish,
    VideoMessage,
    parse_audio,
    parse_video,
)

DATA = Path(__file__).parents[1] / "data" / "rtmp"
RANDOM = bytes(range(256)) * 12


class Capture(NamedTuple):
    """What a recording holds."""

    file: str
    query: str
    pictures: int
    audio_frames: int


FFMPEG = Capture("ffmpeg-5.1.9.bin", "token=abc", 6, 27)
CAPTURES = (
    FFMPEG,
    Capture("gstreamer-1.22-rtmp2sink.bin", "", 6, 0),
    Capture("librtmp-2.4-rtmpsink.bin", "", 6, 0),
)
captures = pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture.file)


def replay(data: bytes, piece_bytes: int) -> list[Event]:
    server = Connection(Role.SERVER, random_bytes=RANDOM)
    events: list[Event] = []
    for start in range(0, len(data), piece_bytes):
        server.receive_data(data[start : start + piece_bytes])
        while (event := server.next_event()) not in (Signal.NEED_DATA, Signal.CLOSED):
            if isinstance(event, Signal):  # a pause
                continue
            events.append(event)
            if isinstance(event, Connect):
                server.send(ConnectAccepted())
            elif isinstance(event, Publish):
                server.send(PublishStarted(stream_id=event.stream_id))
    server.receive_data(b"")
    assert server.next_event() is Signal.CLOSED
    return events


@captures
def test_replay(capture: Capture) -> None:
    data = (DATA / capture.file).read_bytes()
    connect, publish, metadata, *media = events = replay(data, len(data))
    assert isinstance(connect, Connect)
    assert connect.app.rstrip("/") == "live"
    assert connect.tc_url.startswith("rtmp://127.0.0.1:")
    assert publish == Publish(stream_id=1, name="live_key", query=capture.query)
    assert isinstance(metadata, Metadata)
    assert metadata.values["width"] == 64
    assert media[-1] == Unpublish(stream_id=1)
    video = [parse_video(m.payload).kind for m in media if isinstance(m, VideoMessage)]
    assert video.count(TagKind.CONFIG) == 1
    assert video.count(TagKind.FRAME) == capture.pictures
    assert video[0] is TagKind.CONFIG
    assert video[-1] is TagKind.END
    audio = [parse_audio(m.payload).kind for m in media if isinstance(m, AudioMessage)]
    assert audio.count(TagKind.FRAME) == capture.audio_frames
    assert replay(data, 1) == events


@captures
@given(piece_bytes=st.integers(2, 3000))
def test_replay_in_pieces(capture: Capture, piece_bytes: int) -> None:
    data = (DATA / capture.file).read_bytes()
    assert replay(data, piece_bytes) == replay(data, len(data))


def test_the_digest_of_ffmpeg_is_found_and_answered() -> None:
    data = (DATA / FFMPEG.file).read_bytes()
    c1 = data[1:1537]
    assert has_digest(c1, CLIENT_KEY, 8)
    server = Connection(Role.SERVER, random_bytes=RANDOM)
    server.receive_data(data[:1537])
    answer = server.data_to_send()
    assert has_digest(answer[1:1537], SERVER_KEY, 8)
    assert is_digest_answer(answer[1537:], c1, SERVER_KEY, 8)
