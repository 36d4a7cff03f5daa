"""The demo's encoder: a strange decoder reads what comes out, and time is what it says."""

from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.video.frame import PictureType
from timecode_reader import read_timecode

from origin.demo.encoder import FRAME_RATE, DemoEncoder, Packet
from origin.demo.picture import HEIGHT, WIDTH

START_S = 1_800_000_000.25


class Clock:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = START_S

    def __call__(self) -> float:
        return self.now_s


def _encode(clock: Clock, encoder: DemoEncoder, frames: list[int]) -> list[Packet]:
    packets = []
    for frame in frames:
        clock.now_s = START_S + frame / FRAME_RATE
        packets += encoder.encode(frame)
    return packets


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def encoder(clock: Clock) -> DemoEncoder:
    return DemoEncoder(clock)


@pytest.fixture(scope="module")
def packets(clock: Clock, encoder: DemoEncoder) -> list[Packet]:
    """Two and a half seconds."""
    return _encode(clock, encoder, list(range(75)))


def _of(kind: str, packets: list[Packet]) -> list[Packet]:
    return [packet for packet in packets if packet.kind == kind]


def _decode_video(encoder: DemoEncoder, packets: list[Packet]) -> list[av.VideoFrame]:
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.extradata = encoder.video_config
    decoder.thread_count = 1
    frames = []
    for packet in _of("video", packets):
        coded = av.Packet(packet.data)
        coded.pts = coded.dts = packet.timestamp_ms
        coded.time_base = Fraction(1, 1000)
        frames += decoder.decode(coded)
    return frames + decoder.decode(None)


def _decode_audio(
    encoder: DemoEncoder, packets: list[Packet]
) -> tuple[npt.NDArray[np.float32], int]:
    """Return the samples of channel 0, and the time of the first in ms."""
    decoder = av.CodecContext.create("aac", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.extradata = encoder.audio_config
    decoder.sample_rate = 48_000
    decoder.layout = "stereo"
    audio = _of("audio", packets)
    blocks = []
    for packet in audio:
        blocks += [frame.to_ndarray() for frame in decoder.decode(av.Packet(packet.data))]
    assert all(block.shape == (2, 1024) for block in blocks)
    return np.concatenate([block[0] for block in blocks]), audio[0].timestamp_ms


def test_pictures_decode_and_show_their_time(encoder: DemoEncoder, packets: list[Packet]) -> None:
    frames = _decode_video(encoder, packets)
    assert len(frames) == 75
    for number, frame in enumerate(frames):
        assert (frame.width, frame.height, frame.format.name) == (WIDTH, HEIGHT, "yuv420p")
        luma = frame.to_ndarray()[:HEIGHT]
        shown_ms = read_timecode(luma.tolist())
        assert shown_ms is not None
        assert abs(shown_ms - (START_S + number / FRAME_RATE) * 1000) <= 1


def test_each_picture_comes_in_the_call_that_drew_it(packets: list[Packet]) -> None:
    video = _of("video", packets)
    assert [packet.timestamp_ms for packet in video] == [n * 1000 // 30 for n in range(75)]


def test_keyframes_come_once_a_second(packets: list[Packet]) -> None:
    video = _of("video", packets)
    assert [n for n, packet in enumerate(video) if packet.keyframe] == [0, 30, 60]
    for packet in video:
        kinds = [packet.data[start + 4] & 0x1F for start in _nal_unit_starts(packet.data)]
        assert (5 in kinds) == packet.keyframe
        assert set(kinds) <= {1, 5, 6, 7, 8}


def _nal_unit_starts(data: bytes) -> list[int]:
    """Walk the 4-byte lengths; they must end where the data ends."""
    starts, position = [], 0
    while position < len(data):
        starts.append(position)
        position += 4 + int.from_bytes(data[position : position + 4], "big")
    assert position == len(data)
    return starts


def test_there_are_no_reordered_pictures(encoder: DemoEncoder, packets: list[Packet]) -> None:
    frames = _decode_video(encoder, packets)
    assert {PictureType(frame.pict_type) for frame in frames} == {PictureType.I, PictureType.P}
    times = [frame.pts for frame in frames]
    assert times == sorted(times)  # type: ignore[type-var]


def test_the_stream_says_how_its_colours_are_meant(
    encoder: DemoEncoder, packets: list[Packet]
) -> None:
    frame = _decode_video(encoder, packets)[0]
    assert (frame.color_range, frame.colorspace) == (1, 1)  # limited, BT.709


def test_the_video_configuration_is_an_avc_record(encoder: DemoEncoder) -> None:
    record = encoder.video_config
    assert record[0] == 1
    assert record[4:6] == b"\xff\xe1"  # 4-byte lengths, one SPS
    sps_size = int.from_bytes(record[6:8], "big")
    sps = record[8 : 8 + sps_size]
    assert sps[0] & 0x1F == 7
    assert record[1:4] == sps[1:4]
    pps_size = int.from_bytes(record[9 + sps_size : 11 + sps_size], "big")
    assert record[11 + sps_size] & 0x1F == 8
    assert len(record) == 11 + sps_size + pps_size


def test_the_audio_configuration_is_aac_lc_48_khz_stereo(encoder: DemoEncoder) -> None:
    assert encoder.audio_config[:2] == b"\x11\x90"


def test_audio_frames_follow_each_other_from_zero(packets: list[Packet]) -> None:
    times = [packet.timestamp_ms for packet in _of("audio", packets)]
    assert times == [n * 1024 * 1000 // 48_000 for n in range(len(times))]
    assert times[-1] > 2_440


def test_the_blip_sounds_at_the_full_second(encoder: DemoEncoder, packets: list[Packet]) -> None:
    samples, first_ms = _decode_audio(encoder, packets)
    loud = np.flatnonzero(np.abs(samples) > 0.15) / 48 + first_ms
    # The clock began at .25: full seconds are at 750 ms and 1750 ms; the blip peaks 40 ms after.
    assert 750 < loud[0] < 790
    assert len(loud[(loud > 830) & (loud < 1750)]) == 0
    assert 1750 < loud[loud > 1000][0] < 1790


def test_sound_and_pictures_come_in_the_order_of_time(packets: list[Packet]) -> None:
    times = [packet.timestamp_ms for packet in packets]
    assert times == sorted(times)


def test_skipped_frames_leave_a_hole_in_the_pictures_only() -> None:
    clock = Clock()
    encoder = DemoEncoder(clock)
    packets = _encode(clock, encoder, [0, 1, 2, 20, 21])
    video = _of("video", packets)
    assert [packet.timestamp_ms for packet in video] == [0, 33, 66, 666, 700]
    assert len(_decode_video(encoder, packets)) == 5
    audio = [packet.timestamp_ms for packet in _of("audio", packets)]
    assert audio == [n * 1024 * 1000 // 48_000 for n in range(len(audio))]
    assert audio[-1] > 670


def test_after_a_long_sleep_the_sound_is_not_made_up_for() -> None:
    clock = Clock()
    encoder = DemoEncoder(clock)
    _encode(clock, encoder, list(range(30)))
    packets = _encode(clock, encoder, [30 * 3600, 30 * 3600 + 1, 30 * 3600 + 2, 30 * 3600 + 3])
    assert len(packets) < 15
    # What the audio encoder still held comes out first; it is as old as it says.
    new = [packet for packet in packets if packet.timestamp_ms > 1_100]
    assert len(packets) - len(new) <= 3
    assert {packet.kind for packet in new} == {"audio", "video"}
    assert all(3_600_000 - 100 < packet.timestamp_ms <= 3_600_100 for packet in new)


def test_metadata_describes_the_media(encoder: DemoEncoder) -> None:
    assert encoder.metadata["width"] == 1280
    assert encoder.metadata["height"] == 720
    assert encoder.metadata["framerate"] == 30
    assert (encoder.metadata["videocodecid"], encoder.metadata["audiocodecid"]) == (7, 10)
