"""Init segments, read back by an independent box walker."""

import io
import struct
from fractions import Fraction

import av
import pytest
from media_samples import SpsFields, asc, avc_record
from mp4_boxes import full_box, read_init, walk
from segmenter_runs import Driver
from video_records import HevcSpsFields, av1_record, hevc_record

import hls
from hls import AacConfig, AvcConfig
from hls.init_segment import build_init_segment
from hls.video import VideoConfig, parse_video_config

DRIVER = Driver(hls)
AUDIO_CONFIG = DRIVER.audio
VIDEO_CONFIG = DRIVER.video


def test_the_tracks_are_listed_with_their_clocks() -> None:
    init = read_init(build_init_segment(VIDEO_CONFIG, AUDIO_CONFIG))
    assert init.brands == (b"iso6", b"iso6", b"cmfc", b"mp42")
    video, audio = init.tracks
    assert (video.track_id, video.handler, video.timescale) == (1, b"vide", 90_000)
    assert (audio.track_id, audio.handler, audio.timescale) == (2, b"soun", 48_000)
    assert video.display_size == (1280, 720)
    assert audio.display_size == (0, 0)


@pytest.mark.parametrize(
    ("video", "audio", "track_ids"),
    [(VIDEO_CONFIG, None, [1]), (None, AUDIO_CONFIG, [2]), (VIDEO_CONFIG, AUDIO_CONFIG, [1, 2])],
)
def test_any_set_of_tracks(
    video: AvcConfig | None, audio: AacConfig | None, track_ids: list[int]
) -> None:
    data = build_init_segment(video, audio)
    assert [track.track_id for track in read_init(data).tracks] == track_ids
    assert build_init_segment(video, audio) == data


def test_the_video_entry_holds_the_record_and_the_shape_of_a_pixel() -> None:
    config = AvcConfig.parse(
        avc_record(
            SpsFields(
                width_mbs=45, height_map_units=36, aspect_idc=255, extended_sar=(16, 15)
            ).unit()
        )
    )
    (track,) = read_init(build_init_segment(config, None)).tracks
    assert track.entry.kind == b"avc1"
    assert struct.unpack_from(">H16x2H", track.entry.payload, 6) == (1, 720, 576)
    assert track.entry.one(b"avcC").payload == config.record
    assert struct.unpack(">2I", track.entry.one(b"pasp").payload) == (16, 15)
    assert track.display_size == (768, 576)


RECORDS = [
    pytest.param(
        b"avc1",
        b"avcC",
        avc_record(
            SpsFields(
                width_mbs=45, height_map_units=36, aspect_idc=255, extended_sar=(16, 15)
            ).unit()
        ),
        id="avc1",
    ),
    pytest.param(
        b"hvc1",
        b"hvcC",
        hevc_record(
            HevcSpsFields(width=720, height=576, aspect_idc=255, extended_sar=(16, 15)).unit()
        ),
        id="hvc1",
    ),
    pytest.param(b"av01", b"av1C", av1_record(), id="av01"),
]


@pytest.mark.parametrize(("fourcc", "box", "record"), RECORDS)
def test_the_entry_of_each_codec(fourcc: bytes, box: bytes, record: bytes) -> None:
    config = parse_video_config(fourcc, record)
    init = read_init(build_init_segment(config, AUDIO_CONFIG))
    assert init.brands == (b"iso6", b"iso6", b"cmfc", b"mp42", *[b"av01"] * (fourcc == b"av01"))
    video, audio = init.tracks
    assert (video.track_id, video.handler, video.timescale) == (1, b"vide", 90_000)
    assert audio.entry.kind == b"mp4a"
    assert video.display_size == (config.display_width, config.height)
    assert video.entry.kind == fourcc
    assert struct.unpack_from(">H16x2H", video.entry.payload, 6) == (
        1,
        config.width,
        config.height,
    )
    configuration, pixel = walk(video.entry.payload[78:])
    assert (configuration.kind, configuration.payload) == (box, record)
    assert (pixel.kind, struct.unpack(">2I", pixel.payload)) == (
        b"pasp",
        config.sample_aspect_ratio,
    )


@pytest.mark.parametrize(("fourcc", "box", "record"), RECORDS)
def test_ffmpeg_reads_it_alone(fourcc: bytes, box: bytes, record: bytes) -> None:
    config: VideoConfig = parse_video_config(fourcc, record)
    data = build_init_segment(config, None)
    assert box in data
    with av.open(io.BytesIO(data)) as container:
        (stream,) = container.streams.video
        context = stream.codec_context
        assert context.codec_tag == fourcc.decode()
        assert context.extradata == record
        assert (context.width, context.height) == (config.width, config.height)
        assert stream.sample_aspect_ratio == Fraction(*config.sample_aspect_ratio)


@pytest.mark.parametrize(
    ("config", "entry_rate"),
    [(asc(48_000, 2), 48_000), (asc(44_100, 1), 44_100), (asc(96_000, 6), 0)],
)
def test_the_audio_entry_holds_the_audio_specific_config(config: bytes, entry_rate: int) -> None:
    parsed = AacConfig.parse(config)
    (track,) = read_init(build_init_segment(None, parsed)).tracks
    assert track.timescale == parsed.sample_rate
    assert track.entry.kind == b"mp4a"
    channels, bits, rate = struct.unpack_from(">2H4xI", track.entry.payload, 16)
    assert (channels, bits, rate) == (parsed.channels, 16, entry_rate << 16)
    assert audio_specific_config(full_box(track.entry.one(b"esds"))[2]) == config


def test_a_long_audio_specific_config_needs_a_long_size() -> None:
    config = AacConfig.parse(asc() + bytes(200))
    (track,) = read_init(build_init_segment(None, config)).tracks
    assert audio_specific_config(full_box(track.entry.one(b"esds"))[2]) == config.config


def audio_specific_config(esds: bytes) -> bytes:
    """Walk ES, decoder config and decoder specific descriptors; all sizes must agree."""
    tag, body, rest = descriptor(esds)
    assert (tag, body[:3], rest) == (3, bytes(3), b"")
    tag, decoder, sl_config = descriptor(body[3:])
    assert tag == 4
    assert decoder[:2] == b"\x40\x15"
    assert descriptor(sl_config) == (6, b"\x02", b"")
    tag, config, rest = descriptor(decoder[13:])
    assert (tag, rest) == (5, b"")
    return config


def descriptor(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag, body, and what follows it."""
    size = 0
    for at in range(1, 5):
        size = size << 7 | data[at] & 0x7F
        if not data[at] & 0x80:
            break
    at += 1
    assert at + size <= len(data)
    return data[0], data[at : at + size], data[at + size :]
