"""colorInfo of Enhanced RTMP: what ffmpeg sends, what may be missing, and any bytes at all."""

from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rtmp_peers import NULL, amf_bool, amf_ecma, amf_number, amf_object, amf_string

from rtmpcore.flv import ColourInfo, MasteringDisplay, parse_colour_info

Groups: TypeAlias = dict[str, dict[str, float]]

POINTS = {
    "red": (0.708, 0.292),
    "green": (0.17, 0.797),
    "blue": (0.131, 0.046),
    "whitePoint": (0.3127, 0.329),
}
HDR10: Groups = {
    "colorConfig": {
        "bitDepth": 10,
        "colorPrimaries": 9,
        "transferCharacteristics": 16,
        "matrixCoefficients": 9,
    },
    "hdrCll": {"maxFall": 400, "maxCLL": 1000},
    "hdrMdcv": {
        **{
            f"{name}{axis}": n
            for name, point in POINTS.items()
            for axis, n in zip("XY", point, strict=True)
        },
        "maxLuminance": 1000,
        "minLuminance": 0.005,
    },
}
DISPLAY = MasteringDisplay(
    red=POINTS["red"],
    green=POINTS["green"],
    blue=POINTS["blue"],
    white=POINTS["whitePoint"],
    max_luminance_nits=1000,
    min_luminance_nits=0.005,
)
NOTHING_KNOWN = ColourInfo()


def body(groups: Groups) -> bytes:
    """The metadata of a video tag that says this."""
    members = {
        name: amf_object({key: amf_number(value) for key, value in group.items()})
        for name, group in groups.items()
    }
    return amf_string("colorInfo") + amf_object(members)


def changed(group: str, **values: float) -> Groups:
    return HDR10 | {group: HDR10[group] | values}


def test_hdr10() -> None:
    assert parse_colour_info(memoryview(body(HDR10))) == ColourInfo(
        primaries=9,
        transfer=16,
        matrix=9,
        full_range=False,
        bit_depth=10,
        max_cll=1000,
        max_fall=400,
        mastering=DISPLAY,
    )


def test_hlg_without_a_mastering_display() -> None:
    groups: Groups = {
        "colorConfig": {"colorPrimaries": 9, "transferCharacteristics": 18, "matrixCoefficients": 9}
    }
    assert parse_colour_info(body(groups)) == ColourInfo(primaries=9, transfer=18, matrix=9)


def test_obs_sends_the_luminances_of_the_display_alone() -> None:
    colours = {
        "colorConfig": HDR10["colorConfig"],
        "hdrMdcv": {"maxLuminance": 1000.0, "minLuminance": 0.0},
    }
    expected = ColourInfo(primaries=9, transfer=16, matrix=9, bit_depth=10)
    assert parse_colour_info(body(colours)) == expected


@pytest.mark.parametrize(
    "value",
    [b"\x06", NULL, amf_object({}), amf_ecma({}), amf_number(1), amf_object({"colorConfig": NULL})],
    ids=["undefined", "null", "empty object", "empty array", "number", "no group"],
)
def test_colours_taken_back(value: bytes) -> None:
    assert parse_colour_info(amf_string("colorInfo") + value) == NOTHING_KNOWN


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"\xff",
        amf_string("colorInfo"),
        amf_string("onMetaData") + amf_object({}),
        amf_number(1) + amf_object({}),
        body(HDR10)[:-40],
        amf_string("colorInfo") + amf_object({str(n): NULL for n in range(64)}),
        amf_string("colorInfo") + b"\x0a\0\0\0\x01" * 5 + NULL,
    ],
    ids=["empty", "no AMF", "alone", "another", "no name", "cut", "too many", "too deep"],
)
def test_no_colours(metadata: bytes) -> None:
    assert parse_colour_info(metadata) is None


@pytest.mark.parametrize("value", [-1.0, 256.0, float("nan"), float("inf")])
def test_an_index_out_of_range_is_unspecified(value: float) -> None:
    info = parse_colour_info(body(changed("colorConfig", colorPrimaries=value)))
    assert info is not None
    assert (info.primaries, info.transfer) == (2, 16)


def test_an_index_that_is_no_number_is_unspecified() -> None:
    config = amf_object({"colorPrimaries": amf_string("bt2020"), "bitDepth": amf_bool(True)})
    assert (
        parse_colour_info(amf_string("colorInfo") + amf_object({"colorConfig": config}))
        == NOTHING_KNOWN
    )


@pytest.mark.parametrize("value", [0.0, -1.0, 10_001.0, float("nan")])
def test_a_light_level_out_of_range_is_not_known(value: float) -> None:
    info = parse_colour_info(body(changed("hdrCll", maxCLL=value)))
    assert info is not None
    assert (info.max_cll, info.max_fall) == (None, 400)


WRONG_DISPLAYS = [
    {"redX": 1.1},
    {"greenY": -0.1},
    {"greenX": float("nan")},
    {"blueY": 2.0},
    {"whitePointX": 5.0},
    {"maxLuminance": 10_001.0},
    {"minLuminance": -1.0},
    {"minLuminance": 1000.0},
    {"maxLuminance": 0.0, "minLuminance": 0.0},
]


@pytest.mark.parametrize("values", WRONG_DISPLAYS, ids=str)
def test_a_display_that_cannot_be_is_none(values: dict[str, float]) -> None:
    info = parse_colour_info(body(changed("hdrMdcv", **values)))
    assert info is not None
    assert info.mastering is None
    assert info.max_cll == 1000


@pytest.mark.parametrize("name", HDR10["hdrMdcv"])
def test_a_display_without_one_of_its_values_is_none(name: str) -> None:
    values = {key: value for key, value in HDR10["hdrMdcv"].items() if key != name}
    info = parse_colour_info(body(HDR10 | {"hdrMdcv": values}))
    assert info is not None
    assert info.mastering is None


def strange(group: dict[str, float]) -> st.SearchStrategy[dict[str, float]]:
    """Any numbers by the names of a group, often near its own, some left out."""
    return st.fixed_dictionaries(
        {}, optional={key: st.floats() | st.floats(0, 2 * value) for key, value in group.items()}
    )


def check_ranges(info: ColourInfo) -> None:
    assert all(0 <= index <= 255 for index in (info.primaries, info.transfer, info.matrix))
    assert info.bit_depth is None or 1 <= info.bit_depth <= 16
    assert all(level is None or 1 <= level <= 10_000 for level in (info.max_cll, info.max_fall))
    if info.mastering is not None:
        assert info.mastering.min_luminance_nits < info.mastering.max_luminance_nits <= 10_000


@given(st.fixed_dictionaries({}, optional={g: strange(HDR10[g]) for g in HDR10}))
def test_any_numbers_come_out_in_range(groups: Groups) -> None:
    info = parse_colour_info(body(groups))
    assert info is not None
    check_ranges(info)


@given(st.binary(max_size=60))
def test_any_bytes_give_colours_in_range_or_none(data: bytes) -> None:
    for metadata in (data, amf_string("colorInfo") + data):
        info = parse_colour_info(metadata)
        if info is not None:
            check_ranges(info)
