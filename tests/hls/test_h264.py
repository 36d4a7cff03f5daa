"""AVC records and NAL units: made bit by bit, read back, and damaged."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_samples import PPS, SpsFields, avc_record, nal, picture, x264_options

from hls.errors import MediaError
from hls.h264 import (
    MAX_NAL_UNITS,
    AvcConfig,
    declared_keyframe_interval,
    scan_nal_units,
)
from hls.picture import MAX_RECORD_BYTES

# Made once by x264, as ffmpeg and OBS write it: High 4.2, 1920x1080, 60 frames a second.
X264_RECORD = bytes.fromhex(
    "0164002affe1001a6764002aacd940780227e584000003000400000301e03c60c65801000468ef8fcbfdf8f800"
)


def sps(**fields: object) -> AvcConfig:
    return AvcConfig.parse(avc_record(replace(SpsFields(), **fields).unit()))  # type: ignore[arg-type]


def test_a_record_of_x264() -> None:
    config = AvcConfig.parse(X264_RECORD)
    assert config.record == X264_RECORD
    assert config.length_size == 4
    assert config.codec_string == "avc1.64002a"
    assert (config.width, config.height, config.display_width) == (1920, 1080, 1920)
    assert config.frame_rate == 60


def test_equal_records_are_equal_configurations() -> None:
    assert AvcConfig.parse(X264_RECORD) == AvcConfig.parse(bytes(bytearray(X264_RECORD)))
    assert AvcConfig.parse(X264_RECORD) != AvcConfig.parse(avc_record())


@pytest.mark.parametrize("length_size", [1, 2, 4])
def test_length_sizes(length_size: int) -> None:
    assert AvcConfig.parse(avc_record(length_size=length_size)).length_size == length_size


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        pytest.param({}, (1280, 720), id="plain"),
        pytest.param({"vui": False}, (1280, 720), id="without VUI"),
        pytest.param(
            {"width_mbs": 120, "height_map_units": 68, "crop": (0, 0, 0, 4)},
            (1920, 1080),
            id="1080p crops 8 of 1088 lines",
        ),
        pytest.param({"crop": (1, 2, 3, 4)}, (1274, 706), id="all four edges"),
        pytest.param(
            {
                "width_mbs": 120,
                "height_map_units": 34,
                "frame_mbs_only": False,
                "crop": (0, 0, 0, 2),
            },
            (1920, 1080),
            id="interlaced: map units and cropping count twice",
        ),
        pytest.param(
            {"profile": 122, "chroma_format": 2, "crop": (1, 0, 1, 0)}, (1278, 719), id="4:2:2"
        ),
        pytest.param(
            {"profile": 244, "chroma_format": 3, "crop": (1, 0, 1, 0)}, (1279, 719), id="4:4:4"
        ),
        pytest.param(
            {
                "profile": 244,
                "chroma_format": 3,
                "separate_planes": True,
                "crop": (1, 0, 1, 0),
            },
            (1279, 719),
            id="separate planes",
        ),
        pytest.param(
            {"profile": 100, "chroma_format": 0, "crop": (1, 0, 1, 0)}, (1279, 719), id="monochrome"
        ),
        pytest.param({"poc_type": 0}, (1280, 720), id="picture order count type 0"),
        pytest.param(
            {"poc_type": 1, "poc_cycle": [1, -2, 3]}, (1280, 720), id="picture order count type 1"
        ),
        pytest.param(
            {
                "profile": 100,
                "scaling_lists": [[1] * 16, None, [-8], None, None, None, [0] * 64, None],
            },
            (1280, 720),
            id="scaling lists, one cut short",
        ),
        pytest.param(
            {"profile": 244, "chroma_format": 3, "scaling_lists": [None] * 12},
            (1280, 720),
            id="twelve scaling lists",
        ),
    ],
)
def test_picture_size(fields: dict[str, object], size: tuple[int, int]) -> None:
    config = sps(**fields)
    assert (config.width, config.height) == size


@pytest.mark.parametrize(
    ("fields", "ratio", "display_width"),
    [
        ({}, (1, 1), 1280),
        ({"aspect_idc": 0}, (1, 1), 1280),
        ({"aspect_idc": 1}, (1, 1), 1280),
        ({"aspect_idc": 2}, (12, 11), 1396),
        ({"aspect_idc": 16}, (2, 1), 2560),
        ({"aspect_idc": 17}, (1, 1), 1280),
        ({"aspect_idc": 255, "extended_sar": (16, 15)}, (16, 15), 1365),
        ({"aspect_idc": 255, "extended_sar": (0, 15)}, (1, 1), 1280),
        ({"aspect_idc": 255, "extended_sar": (16, 0)}, (1, 1), 1280),
        ({"aspect_idc": 255, "extended_sar": (65535, 1)}, (1, 1), 1280),
        ({"aspect_idc": 255, "extended_sar": (1, 17)}, (1, 1), 1280),
    ],
)
def test_sample_aspect_ratio(
    fields: dict[str, object], ratio: tuple[int, int], display_width: int
) -> None:
    config = sps(**fields)
    assert config.sample_aspect_ratio == ratio
    assert config.display_width == display_width


@pytest.mark.parametrize(
    ("timing", "rate"),
    [
        (None, None),
        ((1, 60), Fraction(30)),
        ((1001, 60000), Fraction(30000, 1001)),
        ((0, 60), None),
        ((1, 0), None),
        ((1, 0xFFFFFFFF), None),
        ((0xFFFFFFFF, 1), None),
    ],
)
def test_frame_rate(timing: tuple[int, int] | None, rate: Fraction | None) -> None:
    assert sps(timing=timing).frame_rate == rate


def test_timing_is_found_behind_the_rest_of_the_vui() -> None:
    config = sps(
        aspect_idc=255,
        extended_sar=(4, 3),
        overscan=True,
        video_signal=True,
        colour=True,
        chroma_location=True,
        timing=(1, 50),
    )
    assert config.frame_rate == 25
    assert sps(video_signal=True, timing=(1, 50)).frame_rate == 25


def test_emulation_prevention_is_undone() -> None:
    # 0x00000001 ticks cannot stand in a NAL unit as they are.
    unit = SpsFields(timing=(1, 0x00000100)).unit()
    assert b"\x00\x00\x03" in unit
    assert AvcConfig.parse(avc_record(unit)).frame_rate == 128


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (b"", "truncated"),
        (avc_record()[:6], "truncated"),
        (avc_record(version=2), "version 2"),
        (avc_record(length_size=3), "3-byte"),
        (avc_record(sps_units=[]), "lacks an SPS"),
        (avc_record(pps_units=[]), "lacks an SPS or a PPS"),
        (avc_record(sps_units=[b""]), "another NAL unit"),
        (avc_record(sps_units=[PPS]), "another NAL unit"),
        (avc_record(SpsFields().unit()[:6]), "SPS is truncated"),
        (avc_record(SpsFields(profile=100, chroma_format=4).unit()), "chroma format 4"),
        (avc_record(SpsFields(poc_type=3).unit()), "order count type 3"),
        (avc_record(SpsFields(poc_type=1, poc_cycle=[0] * 256).unit()), "cycle of 256"),
        (avc_record(SpsFields(crop=(640, 640, 0, 0)).unit()), "0 by 720"),
        (avc_record(SpsFields(crop=(0, 0, 0, 360)).unit()), "1280 by 0"),
        (avc_record(SpsFields(width_mbs=1025).unit()), "16400 by"),
        (avc_record(SpsFields(height_map_units=1025).unit()), "by 16400"),
    ],
)
def test_what_is_wrong_is_said(record: bytes, text: str) -> None:
    with pytest.raises(MediaError, match=text):
        AvcConfig.parse(record)


def test_a_record_cut_anywhere_is_an_error() -> None:
    for end in range(len(X264_RECORD) - 4):  # the last four bytes are the profile's extension
        with pytest.raises(MediaError):
            AvcConfig.parse(X264_RECORD[:end])


@given(st.binary(max_size=80), st.integers(0, 60), st.integers(1, 255))
def test_any_bytes_are_a_configuration_or_a_media_error(
    data: bytes, position: int, flip: int
) -> None:
    damaged = bytearray(X264_RECORD)
    damaged[position % len(damaged)] ^= flip
    for record in (data, b"\x01\x64\x00\x1f\xff\xe1" + data, bytes(damaged)):
        try:
            config = AvcConfig.parse(record)
        except MediaError:
            continue
        assert config.width > 0
        assert config.height > 0
        assert config.display_width > 0


# -- samples


@pytest.mark.parametrize(
    ("units", "has_picture", "is_idr"),
    [
        ([], False, False),
        ([b""], False, False),
        ([b"\x65\x88"], True, True),
        ([b"\x41\x9a"], True, False),
        ([b"\x62\x9a", b"\x63", b"\x64"], True, False),
        ([b"\x09\xf0", b"\x67\x42", b"\x68\xce", b"\x06\x05", b"\x65\x88"], True, True),
        ([b"\x65\x88", b"\x01\x88"], True, True),
        ([b"\x01\x88", b"\x65\x88"], True, True),
        ([b"\x01\x88", b"", b"\x01\x88"], True, False),
        ([b"\x67\x42", b"\x68\xce", b"\x0c\xff"], False, False),
        ([b"\x60"], False, False),
    ],
)
@pytest.mark.parametrize("length_size", [1, 2, 4])
def test_nal_units_of_a_sample(
    units: list[bytes], has_picture: bool, is_idr: bool, length_size: int
) -> None:
    sample = b"".join(len(unit).to_bytes(length_size, "big") + unit for unit in units)
    for data in (sample, memoryview(sample)):
        summary = scan_nal_units(data, length_size)
        assert summary == (has_picture, is_idr)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"\x00\x00\x00",
        b"\x00\x00\x00\x01",
        b"\x00\x00\x00\x02\x65",
        b"\xff\xff\xff\xff\x65\x88",
        nal(1) + b"\x00\x00\x01",
        nal(1) + b"\x7f\xff\xff\xff",
    ],
)
def test_lengths_that_do_not_fit(data: bytes) -> None:
    with pytest.raises(MediaError, match="longer than its video sample"):
        scan_nal_units(data, 4)


def test_a_sample_of_very_many_units() -> None:
    """Empty ones too: ten megabytes of them kept the whole process busy for seconds."""
    length_size = 1
    most = b"\x01\x65" + bytes(MAX_NAL_UNITS - 1)
    assert scan_nal_units(most, length_size).is_idr
    with pytest.raises(MediaError, match="more than 16384 NAL units"):
        scan_nal_units(most + b"\x00", length_size)


def test_a_record_of_any_length() -> None:
    record = X264_RECORD + bytes(MAX_RECORD_BYTES - len(X264_RECORD))
    assert AvcConfig.parse(record).width == 1920
    with pytest.raises(MediaError, match="has 16385 bytes"):
        AvcConfig.parse(record + b"\0")


@given(st.binary(max_size=64), st.sampled_from([1, 2, 4]))
def test_any_sample_is_walked_or_refused(data: bytes, length_size: int) -> None:
    try:
        summary = scan_nal_units(data, length_size)
    except MediaError:
        return
    assert summary.has_picture or not summary.is_idr


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        ("cabac=1 ref=3 keyint=250 keyint_min=25 scenecut=40", 250),
        ("keyint=60", 60),
        ("keyint=infinite keyint_min=1", 1 << 32),
        ("keyint=0", 1),
        ("keyint_min=25", None),
        ("xkeyint=25", None),
        ("", None),
    ],
)
def test_the_gop_that_x264_declares(options: str, frames: int | None) -> None:
    sample = nal(9) + x264_options(options) + nal(5)
    assert declared_keyframe_interval(sample, 4) == frames
    assert declared_keyframe_interval(memoryview(sample), 4) == frames


def test_only_a_sei_declares() -> None:
    assert declared_keyframe_interval(picture(idr=True) + nal(1, b" keyint=12 "), 4) is None
    assert declared_keyframe_interval(bytes(4) + picture(idr=True), 4) is None
