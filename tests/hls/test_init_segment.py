"""Init segments, read back by an independent box walker."""

import io
import struct
from dataclasses import replace
from fractions import Fraction

import av
import pytest
from audio_records import Ac3Fields, Eac3Fields, opus_head, stream_info
from media_samples import SpsFields, asc, avc_record
from mp4_boxes import full_box, read_init, walk
from segmenter_runs import Driver
from video_records import HevcSpsFields, av1_record, hevc_record, vp9_keyframe, vp9_record

import hls
from hls import AacConfig, AvcConfig
from hls.audio import parse_audio_config
from hls.colour import Colour, MasteringDisplay
from hls.init_segment import build_init_segment, describe_init_segment
from hls.video import VideoConfig, parse_video_config, with_size

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


def test_the_entry_of_vp9() -> None:
    config = with_size(parse_video_config(b"vp09", vp9_record(box_head=False)), vp9_keyframe())
    (track,) = read_init(build_init_segment(config, None)).tracks
    assert track.display_size == (1280, 720)
    assert track.entry.kind == b"vp09"
    assert full_box(track.entry.one(b"vpcC")) == (1, 0, vp9_record(box_head=False))


@pytest.mark.parametrize(
    ("fourcc", "record", "box", "payload", "shape"),
    [
        (
            b"Opus",
            opus_head(gain=256),
            b"dOps",
            bytes.fromhex("00 02 0138 0000bb80 0100 00"),
            (2, 16, 48_000),
        ),
        (
            b"fLaC",
            stream_info(rate=44_100, bits=24),
            b"dfLa",
            bytes.fromhex("00000000 80000022") + stream_info(rate=44_100, bits=24),
            (2, 24, 44_100),
        ),
        (b"fLaC", stream_info(rate=96_000, bits=24, channels=6), b"dfLa", None, (6, 24, 0)),
        (b"ac-3", Ac3Fields().frame(), b"dac3", bytes.fromhex("101140"), (2, 16, 48_000)),
        (b"ec-3", Eac3Fields().frame(), b"dec3", bytes.fromhex("0080200f00"), (6, 16, 48_000)),
    ],
)
def test_the_entry_of_each_audio_codec(
    fourcc: bytes, record: bytes, box: bytes, payload: bytes | None, shape: tuple[int, int, int]
) -> None:
    config = parse_audio_config(fourcc, record)
    (track,) = read_init(build_init_segment(None, config)).tracks
    assert (track.handler, track.timescale) == (b"soun", config.sample_rate)
    assert track.entry.kind == fourcc
    channels, bits, rate = struct.unpack_from(">2H4xI", track.entry.payload, 16)
    assert (channels, bits, rate >> 16) == shape
    (specific,) = track.entry.children
    assert specific.kind == box
    if payload is not None:
        assert specific.payload == payload


COLOUR = Colour(primaries=9, transfer=16, matrix=9, full_range=True)
DISPLAY = MasteringDisplay(
    red=(0.708, 0.292),
    green=(0.17, 0.797),
    blue=(0.131, 0.046),
    white=(0.3127, 0.329),
    max_luminance_nits=1_000,
    min_luminance_nits=0.005,
)
NCLX = b"nclx" + bytes.fromhex("0009 0010 0009 80")
MDCV = struct.pack(
    ">8H2I", 8_500, 39_850, 6_550, 2_300, 35_400, 14_600, 15_635, 16_450, 10_000_000, 50
)
BEYOND = replace(DISPLAY, red=(2, -1), max_luminance_nits=1e9, min_luminance_nits=-1)


@pytest.mark.parametrize(
    ("colour", "boxes"),
    [
        (None, {}),
        (COLOUR, {b"colr": NCLX}),
        (replace(COLOUR, mastering=DISPLAY), {b"colr": NCLX, b"mdcv": MDCV}),
        (replace(COLOUR, max_cll=1_000), {b"colr": NCLX, b"clli": bytes.fromhex("03e80000")}),
        (replace(COLOUR, max_fall=400), {b"colr": NCLX, b"clli": bytes.fromhex("00000190")}),
        (
            replace(COLOUR, mastering=BEYOND, max_cll=70_000, max_fall=-1),
            {
                b"colr": NCLX,
                b"mdcv": MDCV[:8] + b"\xff\xff\0\0" + MDCV[12:16] + b"\xff" * 4 + bytes(4),
                b"clli": b"\xff\xff\0\0",
            },
        ),
    ],
)
def test_colours(colour: Colour | None, boxes: dict[bytes, bytes]) -> None:
    (track,) = read_init(build_init_segment(replace(VIDEO_CONFIG, colour=colour), None)).tracks
    found = {box.kind: box.payload for box in track.entry.children}
    assert found.pop(b"avcC") == VIDEO_CONFIG.record
    assert found.pop(b"pasp")
    assert found == boxes


@pytest.mark.parametrize(
    ("colour", "text"), [(None, "SDR"), (COLOUR, "PQ"), (replace(COLOUR, transfer=18), "HLG")]
)
def test_what_an_init_section_says_of_its_range(colour: Colour | None, text: str) -> None:
    config = replace(VIDEO_CONFIG, colour=colour)
    assert describe_init_segment(0, b"", config, AUDIO_CONFIG, None).video_range == text
    assert describe_init_segment(0, b"", None, AUDIO_CONFIG, None).video_range is None
