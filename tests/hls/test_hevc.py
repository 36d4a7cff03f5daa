"""HEVC records: made bit by bit and judged by FFmpeg, read back, and damaged."""

from dataclasses import replace
from fractions import Fraction

import pytest
from bitstream_filters import rewritten
from hypothesis import given
from hypothesis import strategies as st
from video_records import HEVC_PPS, HEVC_VPS, HevcSpsFields, annex_b, hevc_nal, hevc_record

from hls.colour import Colour
from hls.errors import MediaError
from hls.h264 import MAX_NAL_UNITS
from hls.hevc import HevcConfig, parse_sps, scan_nal_units
from hls.picture import MAX_RECORD_BYTES

# Made once by x265 in FFmpeg, preset medium: Main, level 3.1, 1280x720, 30 frames a second.
X265_RECORD = bytes.fromhex(
    "0101600000009000000000005df000fcfdf8f800000f03a00001001840010c01ffff01600000030090000003"
    "000003005d928090a10001002942010101600000030090000003000003005da00280802d16592a4932b9a020"
    "000003002000000303c1a2000100074401c172b46240"
)
X265_VPS = X265_RECORD[28:52]
X265_SPS = X265_RECORD[57:98]
X265_PPS = X265_RECORD[103:]


def sps(**fields: object) -> HevcConfig:
    return HevcConfig.parse(hevc_record(spread(**fields).unit()))


def spread(**fields: object) -> HevcSpsFields:
    return replace(HevcSpsFields(), **fields)  # type: ignore[arg-type]


def test_a_record_of_x265() -> None:
    config = HevcConfig.parse(X265_RECORD)
    assert config.FOURCC == b"hvc1"
    assert config.record == X265_RECORD
    assert config.length_size == 4
    assert config.codec_string == "hvc1.1.6.L93.90"
    assert (config.width, config.height, config.display_width) == (1280, 720, 1280)
    assert config.sample_aspect_ratio == (1, 1)
    assert config.frame_rate == 30


def test_equal_records_are_equal_configurations() -> None:
    assert HevcConfig.parse(X265_RECORD) == HevcConfig.parse(bytes(bytearray(X265_RECORD)))
    assert HevcConfig.parse(X265_RECORD) != HevcConfig.parse(hevc_record())


@pytest.mark.parametrize("length_size", [1, 2, 4])
def test_length_sizes(length_size: int) -> None:
    assert HevcConfig.parse(hevc_record(length_size=length_size)).length_size == length_size


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"constraints": 0xB0_00_00_00_00_00}, "hvc1.1.6.L93.B0"),
        ({"constraints": 0}, "hvc1.1.6.L93"),
        ({"constraints": 0x90_00_08_00_00_00}, "hvc1.1.6.L93.90.0.8"),
        ({"constraints": 0x90_00_00_00_00_01}, "hvc1.1.6.L93.90.0.0.0.0.1"),
        ({"profile": 2, "compatibility": 0x2000_0000, "level": 153}, "hvc1.2.4.L153.90"),
        ({"compatibility": 0}, "hvc1.1.0.L93.90"),
        ({"compatibility": 1}, "hvc1.1.80000000.L93.90"),
        ({"tier": 1, "level": 120}, "hvc1.1.6.H120.90"),
        (
            {
                "profile_space": 1,
                "profile": 4,
                "compatibility": 0x8200_0000,
                "tier": 1,
                "level": 30,
                "constraints": 0xB0_23_00_00_00_00,
            },
            "hvc1.A4.41.H30.B0.23",
        ),
        ({"profile_space": 2}, "hvc1.B1.6.L93.90"),
        ({"profile_space": 3, "profile": 31}, "hvc1.C31.6.L93.90"),
    ],
)
def test_codec_string(fields: dict[str, object], text: str) -> None:
    record = hevc_record(general_profile=spread(**fields).general_profile())
    assert HevcConfig.parse(record).codec_string == text


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        pytest.param({}, (1280, 720), id="plain"),
        pytest.param({"vui": False}, (1280, 720), id="without VUI"),
        pytest.param({"width": 328, "height": 184, "crop": (0, 3, 0, 1)}, (322, 182), id="x265"),
        pytest.param({"crop": (1, 2, 3, 4)}, (1274, 706), id="all four edges"),
        pytest.param({"chroma_format": 2, "crop": (1, 0, 1, 0)}, (1278, 719), id="4:2:2"),
        pytest.param({"chroma_format": 3, "crop": (1, 0, 1, 0)}, (1279, 719), id="4:4:4"),
        pytest.param(
            {"chroma_format": 3, "separate_planes": True, "crop": (1, 0, 1, 0)},
            (1279, 719),
            id="separate planes",
        ),
        pytest.param({"chroma_format": 0, "crop": (1, 0, 1, 0)}, (1279, 719), id="monochrome"),
        pytest.param({"width": 16_384, "height": 16_384}, (16_384, 16_384), id="largest"),
    ],
)
def test_picture_size(fields: dict[str, object], size: tuple[int, int]) -> None:
    config = sps(**fields)
    assert (config.width, config.height) == size


# Everything an encoder may put between the size and the VUI.
WAYS_TO_THE_VUI = [
    pytest.param({}, id="plain"),
    pytest.param({"sub_layers": 3}, id="sub-layers"),
    pytest.param(
        {
            "sub_layers": 5,
            "nesting": False,
            "sub_layer_profiles": [(True, True), (False, True), (True, False), (False, False)],
            "ordering_per_layer": True,
        },
        id="sub-layers with profiles and levels",
    ),
    pytest.param({"sub_layers": 7, "sub_layer_profiles": [(True, True)] * 6}, id="most sub-layers"),
    pytest.param({"bit_depths": (10, 10)}, id="ten bits"),
    pytest.param({"scaling_lists": "default"}, id="default scaling lists"),
    pytest.param({"scaling_lists": "wc" * 10}, id="scaling lists, half of them copied"),
    pytest.param({"scaling_lists": "w" * 20}, id="all scaling lists"),
    pytest.param({"pcm": True}, id="PCM"),
    pytest.param({"reference_sets": [([1, 2], [1])]}, id="a reference set"),
    pytest.param(
        {"reference_sets": [([1, 2], []), "ulu", "nunu", ([], [1]), "ln"]},
        id="predicted reference sets",
    ),
    pytest.param({"reference_sets": [([1] * 8, [1] * 7)] * 64}, id="most reference sets"),
    pytest.param({"long_term": []}, id="no long-term references"),
    pytest.param({"poc_bits": 16, "long_term": [0, 65_535, 7]}, id="long-term references"),
    pytest.param({"overscan": True}, id="overscan"),
    pytest.param({"video_signal": True}, id="video signal"),
    pytest.param({"video_signal": True, "colour": True}, id="colours"),
    pytest.param({"chroma_location": True}, id="chroma location"),
    pytest.param({"display_window": (1, 2, 3, 4)}, id="display window"),
]


@pytest.mark.parametrize("fields", WAYS_TO_THE_VUI)
def test_ways_to_the_vui(fields: dict[str, object]) -> None:
    made = spread(aspect_idc=255, extended_sar=(16, 15), timing=(1001, 24_000), **fields)
    config = HevcConfig.parse(hevc_record(made.unit()))
    assert (config.width, config.height, config.display_width) == (1280, 720, 1365)
    assert config.sample_aspect_ratio == (16, 15)
    assert config.frame_rate == Fraction(24_000, 1001)


@pytest.mark.parametrize("fields", WAYS_TO_THE_VUI)
def test_ffmpeg_finds_the_same_parameter_sets_legal(fields: dict[str, object]) -> None:
    made = spread(aspect_idc=255, extended_sar=(16, 15), timing=(1001, 24_000), **fields)
    units = annex_b(made.vps(), made.unit(), HEVC_PPS)
    assert rewritten("hevc", units) == units


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"sample_aspect_ratio": "12/11"}, ((12, 11), 30, 1280, 720)),
        ({"sample_aspect_ratio": "64/45"}, ((64, 45), 30, 1280, 720)),
        ({"tick_rate": "60000/1001"}, ((1, 1), Fraction(60_000, 1001), 1280, 720)),
        (
            {"video_format": 5, "colour_primaries": 9, "chroma_sample_loc_type": 2},
            ((1, 1), 30, 1280, 720),
        ),
        (
            {"crop_left": 2, "crop_right": 4, "crop_top": 6, "crop_bottom": 8},
            ((1, 1), 30, 1274, 706),
        ),
    ],
)
def test_what_ffmpeg_writes_into_the_sps_of_x265(
    options: dict[str, object], expected: tuple[tuple[int, int], Fraction, int, int]
) -> None:
    written = rewritten("hevc", annex_b(X265_VPS, X265_SPS, X265_PPS), **options)
    _, _, sps_unit, _ = written.split(b"\0\0\0\1")
    config = HevcConfig.parse(hevc_record(sps_unit))
    assert expected == (
        config.sample_aspect_ratio,
        config.frame_rate,
        config.width,
        config.height,
    )


@pytest.mark.parametrize(
    ("fields", "ratio", "display_width"),
    [
        ({}, (1, 1), 1280),
        ({"aspect_idc": 1}, (1, 1), 1280),
        ({"aspect_idc": 16}, (2, 1), 2560),
        ({"aspect_idc": 255, "extended_sar": (65_535, 1)}, (1, 1), 1280),
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
        ((1, 60), Fraction(60)),
        ((1001, 30_000), Fraction(30_000, 1001)),
        ((0, 60), None),
        ((1, 0xFFFF_FFFF), None),
    ],
)
def test_frame_rate(timing: tuple[int, int] | None, rate: Fraction | None) -> None:
    assert sps(timing=timing).frame_rate == rate


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"reference_set_count": 65}, id="too many reference sets"),
        pytest.param({"reference_sets": [([1] * 9, [1] * 8)]}, id="too many references in a set"),
        pytest.param({"long_term": [1], "long_term_count": 33}, id="too many long-term references"),
    ],
)
def test_what_is_not_understood_costs_shape_and_rate_only(fields: dict[str, object]) -> None:
    config = sps(aspect_idc=16, timing=(1, 60), **fields)
    assert (config.width, config.height) == (1280, 720)
    assert config.sample_aspect_ratio == (1, 1)
    assert config.frame_rate is None


def test_an_sps_that_ends_anywhere() -> None:
    made = spread(aspect_idc=16, timing=(1, 60))
    whole = len(made.unit())
    seen = set()
    for cut in range(whole):
        try:
            config = HevcConfig.parse(hevc_record(made.unit(cut=cut)))
        except MediaError as error:
            seen.add(str(error))
            continue
        assert (config.width, config.height) == (1280, 720)
        seen.add("all" if config.frame_rate else "size")
    assert seen == {"SPS is truncated", "size", "all"}


def test_sample_format_for_a_record() -> None:
    made = spread(sub_layers=3, nesting=False, chroma_format=2, bit_depths=(10, 9), level=120)
    found = parse_sps(made.unit())
    assert found.profile_tier_level == made.general_profile()
    assert (found.sub_layers, found.temporal_id_nesting) == (3, False)
    assert (found.chroma_format, found.bit_depth_luma, found.bit_depth_chroma) == (2, 10, 9)


def test_other_units_and_bytes_in_a_record_are_passed_over() -> None:
    sei = hevc_nal(39, b"\x05\x01\x80")
    arrays = [(39, [sei, b""]), (34, [HEVC_PPS]), (33, [X265_SPS, b""]), (32, [HEVC_VPS, HEVC_VPS])]
    record = hevc_record(arrays=arrays, tail=b"\1\2\3")
    config = HevcConfig.parse(record)
    assert config.record == record
    assert config.frame_rate == 30


GOOD = HevcSpsFields().unit()


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (b"", "truncated"),
        (hevc_record()[:22], "truncated"),
        (hevc_record(version=0), "version 0"),
        (hevc_record(length_size=3), "3-byte"),
        (hevc_record(arrays=[]), "lacks its VPS"),
        (hevc_record(arrays=[(32, [HEVC_VPS]), (34, [HEVC_PPS])]), "lacks its SPS"),
        (hevc_record(arrays=[(32, [HEVC_VPS]), (33, [GOOD]), (34, [])]), "lacks its PPS"),
        (hevc_record(b"\x42"), "another NAL unit"),
        (hevc_record(HEVC_PPS), "another NAL unit"),
        (hevc_record(hevc_nal(33, GOOD[2:], layer=1)), "another NAL unit"),
        (hevc_record(b"\xc2" + GOOD[1:]), "another NAL unit"),
        (hevc_record(hevc_nal(33, b"\x0e" + GOOD[3:])), "8 sub-layers"),
        (hevc_record(spread(chroma_format=4).unit()), "chroma format 4"),
        (hevc_record(spread(crop=(320, 320, 0, 0)).unit()), "0 by 720"),
        (hevc_record(spread(crop=(0, 0, 0, 361)).unit()), "1280 by -2"),
        (hevc_record(spread(width=16_385).unit()), "16385 by"),
        (hevc_record(spread(height=16_385).unit()), "by 16385"),
    ],
)
def test_what_is_wrong_is_said(record: bytes, text: str) -> None:
    with pytest.raises(MediaError, match=text):
        HevcConfig.parse(record)


def test_a_record_cut_anywhere_is_an_error() -> None:
    for end in range(len(X265_RECORD)):
        with pytest.raises(MediaError, match="truncated"):
            HevcConfig.parse(X265_RECORD[:end])


def test_a_record_of_any_length() -> None:
    record = X265_RECORD + bytes(MAX_RECORD_BYTES - len(X265_RECORD))
    assert HevcConfig.parse(record).width == 1280
    with pytest.raises(MediaError, match="has 16385 bytes"):
        HevcConfig.parse(record + b"\0")


@given(
    st.binary(max_size=120),
    st.integers(0, len(X265_RECORD) - 1),
    st.integers(1, 255),
    st.integers(0, len(X265_RECORD)),
)
def test_any_bytes_are_a_configuration_or_a_media_error(
    data: bytes, position: int, flip: int, end: int
) -> None:
    damaged = bytearray(X265_RECORD)
    damaged[position] ^= flip
    for record in (
        data,
        X265_RECORD[:end] + data,
        hevc_record(hevc_nal(33, X265_SPS[2:24] + data)),
        bytes(damaged),
    ):
        try:
            config = HevcConfig.parse(record)
        except MediaError:
            continue
        assert config.width > 0
        assert config.height > 0
        assert config.display_width > 0
        assert config.codec_string.startswith("hvc1.")


# -- samples


@pytest.mark.parametrize(
    ("kinds", "has_picture", "is_key"),
    [
        ([], False, False),
        ([35, 32, 33, 34, 39], False, False),
        ([0], True, False),
        ([9], True, False),
        ([31], True, False),
        ([15], True, False),
        *(([kind], True, True) for kind in range(16, 24)),
        ([24], True, False),
        ([1, 1], True, False),
        ([39, 21, 21, 40], True, True),
        ([1, 19], True, True),
        ([63], False, False),
    ],
)
@pytest.mark.parametrize("length_size", [1, 2, 4])
def test_nal_units_of_a_sample(
    kinds: list[int], has_picture: bool, is_key: bool, length_size: int
) -> None:
    units = [b"", *(hevc_nal(kind) for kind in kinds), b""]
    sample = b"".join(len(unit).to_bytes(length_size, "big") + unit for unit in units)
    for data in (sample, memoryview(sample)):
        assert scan_nal_units(data, length_size) == (has_picture, is_key)


@pytest.mark.parametrize("data", [b"\0", b"\0\0\0\3\2\1", b"\xff\xff\xff\xff\x28\1"])
def test_lengths_that_do_not_fit(data: bytes) -> None:
    with pytest.raises(MediaError, match="longer than its video sample"):
        scan_nal_units(data, 4)


def test_a_sample_of_very_many_units() -> None:
    most = b"\x02" + hevc_nal(19, b"") + bytes(MAX_NAL_UNITS - 1)
    assert scan_nal_units(most, 1).is_idr
    with pytest.raises(MediaError, match="more than 16384 NAL units"):
        scan_nal_units(most + b"\0", 1)


@given(st.binary(max_size=64), st.sampled_from([1, 2, 4]))
def test_any_sample_is_walked_or_refused(data: bytes, length_size: int) -> None:
    try:
        summary = scan_nal_units(data, length_size)
    except MediaError:
        return
    assert summary.has_picture or not summary.is_idr


def test_colours_of_the_vui() -> None:
    assert sps(video_signal=True, colour=True).colour == Colour(primaries=1, transfer=1, matrix=1)
    assert sps(video_signal=True).colour is None
    assert sps(vui=False).colour is None
