"""One door to the four codecs."""

import pytest
from media_samples import avc_record, nal, picture, x264_options
from video_records import (
    HevcSpsFields,
    av1_record,
    hevc_nal,
    hevc_record,
    obu,
    vp9_keyframe,
    vp9_record,
)

from hls.av1 import Av1Config
from hls.errors import MediaError
from hls.h264 import AvcConfig
from hls.hevc import HevcConfig
from hls.video import (
    VideoConfig,
    declared_keyframe_interval,
    parse_video_config,
    scanner,
    with_size,
)
from hls.vp9 import Vp9Config

RECORDS: dict[bytes, tuple[bytes, type[VideoConfig]]] = {
    b"avc1": (avc_record(), AvcConfig),
    b"hvc1": (hevc_record(), HevcConfig),
    b"av01": (av1_record(), Av1Config),
    b"vp09": (vp9_record(), Vp9Config),
}


def prefixed(unit: bytes) -> bytes:
    return len(unit).to_bytes(4, "big") + unit


KEYFRAMES = {
    b"avc1": picture(idr=True),
    b"hvc1": prefixed(hevc_nal(20)),
    b"av01": obu(6, b"\x10"),
    b"vp09": vp9_keyframe(),
}
OTHERS = {
    b"avc1": picture(idr=False),
    b"hvc1": prefixed(hevc_nal(1)),
    b"av01": obu(6, b"\x30"),
    b"vp09": vp9_keyframe(inter=True),
}


@pytest.mark.parametrize("fourcc", RECORDS)
def test_each_codec(fourcc: bytes) -> None:
    record, kind = RECORDS[fourcc]
    config = parse_video_config(fourcc, record)
    assert type(config) is kind
    assert config == kind.parse(record)
    assert fourcc == config.FOURCC
    assert config.codec_string.startswith(fourcc.decode())
    assert (config.record, config.colour) == (record, None)
    sized = with_size(config, KEYFRAMES[fourcc])
    assert (sized.width, sized.height, sized.display_width) == (1280, 720, 1280)
    assert with_size(sized, KEYFRAMES[fourcc]) is sized


@pytest.mark.parametrize("fourcc", RECORDS)
def test_the_bitstream_says_what_a_sample_is(fourcc: bytes) -> None:
    config = parse_video_config(fourcc, RECORDS[fourcc][0])
    scan = scanner(config)
    assert scan(KEYFRAMES[fourcc], config.length_size) == (True, True)
    assert scan(memoryview(OTHERS[fourcc]), config.length_size) == (True, False)
    assert scan(b"", config.length_size) == (False, False)


@pytest.mark.parametrize("fourcc", [b"", b"hev1", b"avc3", b"vp08", b"AVC1"])
def test_other_codecs(fourcc: bytes) -> None:
    with pytest.raises(MediaError, match="is not supported"):
        parse_video_config(fourcc, avc_record())


@pytest.mark.parametrize("fourcc", RECORDS)
def test_a_record_of_another_codec(fourcc: bytes) -> None:
    for other, (record, _) in RECORDS.items():
        if other != fourcc:
            with pytest.raises(MediaError):
                parse_video_config(fourcc, record)


def test_what_encoders_declare_of_their_groups() -> None:
    avc, hevc, av1, vp9 = (parse_video_config(code, made[0]) for code, made in RECORDS.items())
    assert declared_keyframe_interval(avc, x264_options("keyint=120")) == 120
    assert declared_keyframe_interval(avc, nal(1, b" keyint=120 ")) is None
    options = b"x265 (build 216) - options: fps=25/1 keyint=250 min-keyint=25 "
    sei, other = prefixed(hevc_nal(39, options)), prefixed(hevc_nal(1, options))
    assert declared_keyframe_interval(hevc, sei + KEYFRAMES[b"hvc1"]) == 250
    assert declared_keyframe_interval(hevc, bytes(4) + other) is None
    assert declared_keyframe_interval(av1, options) is None
    assert declared_keyframe_interval(vp9, options) is None


def test_x265_may_declare_it_in_the_record() -> None:
    arrays = [
        (32, [b"\x40\x01v"]),
        (33, [HevcSpsFields().unit()]),
        (34, [b"\x44\x01p"]),
        (39, [hevc_nal(39, b" keyint=infinite ")]),
    ]
    config = parse_video_config(b"hvc1", hevc_record(arrays=arrays))
    assert declared_keyframe_interval(config, KEYFRAMES[b"hvc1"]) == 1 << 32
