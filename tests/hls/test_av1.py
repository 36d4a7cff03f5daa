"""AV1 records and OBUs: made bit by bit and judged by FFmpeg, read back, and damaged."""

from dataclasses import replace
from fractions import Fraction

import pytest
from bitstream_filters import rewritten
from hypothesis import given
from hypothesis import strategies as st
from video_records import SequenceHeaderFields, av1_record, obu

from hls.av1 import MAX_OBUS, Av1Config, obus, parse_sequence_header, scan_obus
from hls.colour import Colour
from hls.errors import MediaError
from hls.picture import MAX_RECORD_BYTES

# Made once from libsvtav1's extradata, preset 12: Main, level 3.1, 1280x720.
SVT_RECORD = bytes.fromhex("81050c000a0b0000002d4cffb3c02f8004")
SVT_HEADER = SVT_RECORD[6:]


def spread(**fields: object) -> SequenceHeaderFields:
    return replace(SequenceHeaderFields(), **fields)  # type: ignore[arg-type]


def sequence_header(**fields: object) -> Av1Config:
    return Av1Config.parse(av1_record(spread(**fields).payload()))


def test_a_record_of_svt_av1() -> None:
    config = Av1Config.parse(SVT_RECORD)
    assert config.FOURCC == b"av01"
    assert config.record == SVT_RECORD
    assert config.codec_string == "av01.0.05M.08"
    assert (config.width, config.height, config.display_width) == (1280, 720, 1280)
    assert config.sample_aspect_ratio == (1, 1)
    assert config.frame_rate is None


def test_equal_records_are_equal_configurations() -> None:
    assert Av1Config.parse(SVT_RECORD) == Av1Config.parse(bytes(bytearray(SVT_RECORD)))
    assert Av1Config.parse(SVT_RECORD) != Av1Config.parse(av1_record())


# Everything an encoder may write before the colours, and what is read of it.
HEADERS = [
    pytest.param({}, None, id="plain"),
    pytest.param({"reduced": True}, None, id="still picture"),
    pytest.param({"timing": (1, 25, 1)}, Fraction(25), id="equal intervals"),
    pytest.param({"timing": (1, 50, 2)}, Fraction(25), id="two ticks a picture"),
    pytest.param({"timing": (1, 50, None)}, None, id="unequal intervals"),
    pytest.param({"timing": (1001, 30_000, 1)}, Fraction(30_000, 1001), id="29.97"),
    pytest.param({"timing": (1, 2**32 - 1, 1)}, None, id="absurd rate"),
    pytest.param({"timing": (1, 25, 2**32 - 1)}, None, id="absurd ticks a picture"),
    pytest.param({"timing": (1, 25, 1), "decoder_model": True}, Fraction(25), id="decoder model"),
    pytest.param({"display_delay": True}, None, id="display delay"),
    pytest.param(
        {
            "timing": (1, 25, 1),
            "decoder_model": True,
            "display_delay": True,
            "points": ((9, 1), (8, 0), (5, 0)),
        },
        Fraction(25),
        id="operating points",
    ),
    pytest.param({"frame_ids": True}, None, id="frame ids"),
    pytest.param({"order_hint": False}, None, id="no order hint"),
    pytest.param({"screen_content": "on"}, None, id="screen content"),
    pytest.param({"screen_content": "on, integer mv forced"}, None, id="integer mv"),
    pytest.param({"screen_content": "off"}, None, id="no screen content"),
]


@pytest.mark.parametrize(("fields", "rate"), HEADERS)
def test_sequence_headers(fields: dict[str, object], rate: Fraction | None) -> None:
    # The colours come last: read right, they prove that all before them was passed over right.
    made = spread(colour=(9, 16, 10), full_range=True, chroma_position=2, **fields)
    config = Av1Config.parse(av1_record(made.payload(), formats=0x0E))
    assert (config.width, config.height) == (1280, 720)
    assert config.frame_rate == rate
    assert config.codec_string == "av01.0.05M.08.0.112.09.16.10.1"
    assert parse_sequence_header(made.payload()).chroma_sample_position == 2


@pytest.mark.parametrize(("fields", "rate"), HEADERS)
def test_ffmpeg_finds_the_same_headers_legal(
    fields: dict[str, object], rate: Fraction | None
) -> None:
    made = spread(colour=(9, 16, 10), full_range=True, chroma_position=2, **fields)
    unit = obu(2) + obu(1, made.payload())
    assert rewritten("av1", unit) == unit


@pytest.mark.parametrize(
    ("options", "text", "rate"),
    [
        ({"tick_rate": "60000/1001"}, "av01.0.05M.08", None),
        (
            {"tick_rate": "60000/1001", "num_ticks_per_picture": 2},
            "av01.0.05M.08",
            Fraction(30_000, 1001),
        ),
        (
            {"color_primaries": 1, "transfer_characteristics": 1, "matrix_coefficients": 1},
            "av01.0.05M.08",
            None,
        ),
        ({"color_range": "pc"}, "av01.0.05M.08.0.110.01.01.01.1", None),
        (
            {"color_primaries": 9, "transfer_characteristics": 18, "matrix_coefficients": 9},
            "av01.0.05M.08.0.110.09.18.09.0",
            None,
        ),
    ],
)
def test_what_ffmpeg_writes_into_the_header_of_svt_av1(
    options: dict[str, object], text: str, rate: Fraction | None
) -> None:
    written = rewritten("av1", obu(2) + obu(1, SVT_HEADER), **options)
    assert written[:2] == obu(2)
    config = Av1Config.parse(av1_record(obus=written[2:]))
    assert config.codec_string == text
    assert config.frame_rate == rate
    assert (config.width, config.height) == (1280, 720)


@pytest.mark.parametrize(
    ("profile_level", "formats", "fields", "text"),
    [
        (0x05, 0x0C, {}, "av01.0.05M.08"),
        (0x1F, 0x0C, {}, "av01.0.31M.08"),
        (0x0D, 0x8C, {}, "av01.0.13H.08"),
        (0x00, 0x4C, {}, "av01.0.00M.10"),
        (0x45, 0x60, {}, "av01.2.05M.12.0.000.01.01.01.0"),
        (0x45, 0x08, {}, "av01.2.05M.08.0.100.01.01.01.0"),
        (0x45, 0x0A, {}, "av01.2.05M.08.0.100.01.01.01.0"),
        (0x05, 0x1C, {}, "av01.0.05M.08.1.110.01.01.01.0"),
        (0x05, 0x0D, {}, "av01.0.05M.08.0.111.01.01.01.0"),
        (0x05, 0x0C, {"colour": (1, 1, 1)}, "av01.0.05M.08"),
        (0x05, 0x0C, {"colour": (2, 2, 2)}, "av01.0.05M.08.0.110.02.02.02.0"),
        (0x05, 0x4C, {"colour": (9, 16, 9)}, "av01.0.05M.10.0.110.09.16.09.0"),
        (0x05, 0x0C, {"full_range": True}, "av01.0.05M.08.0.110.01.01.01.1"),
    ],
)
def test_codec_string(
    profile_level: int, formats: int, fields: dict[str, object], text: str
) -> None:
    record = av1_record(spread(**fields).payload(), profile_level=profile_level, formats=formats)
    assert Av1Config.parse(record).codec_string == text


@pytest.mark.parametrize(
    ("fields", "format_of"),
    [
        # profile, high, twelve, monochrome, subsampling x and y, chroma position, full range
        ({"chroma_position": 1}, (0, False, False, False, 1, 1, 1, False)),
        ({"bit_depth": 10, "full_range": True}, (0, True, False, False, 1, 1, 0, True)),
        ({"monochrome": True, "full_range": True}, (0, False, False, True, 1, 1, 0, True)),
        ({"profile": 1}, (1, False, False, False, 0, 0, 0, False)),
        ({"profile": 1, "colour": (1, 13, 0)}, (1, False, False, False, 0, 0, 0, True)),
        ({"profile": 2}, (2, False, False, False, 1, 0, 0, False)),
        ({"profile": 2, "bit_depth": 10}, (2, True, False, False, 1, 0, 0, False)),
        (
            {"profile": 2, "bit_depth": 12, "chroma_position": 2},
            (2, True, True, False, 1, 1, 2, False),
        ),
        (
            {"profile": 2, "bit_depth": 12, "subsampling": (1, 0)},
            (2, True, True, False, 1, 0, 0, False),
        ),
        (
            {"profile": 2, "bit_depth": 12, "subsampling": (0, 0)},
            (2, True, True, False, 0, 0, 0, False),
        ),
    ],
)
def test_sample_format(fields: dict[str, object], format_of: tuple[object, ...]) -> None:
    made = spread(**fields)
    found = parse_sequence_header(made.payload())
    assert format_of == (
        found.profile,
        found.high_bit_depth,
        found.twelve_bit,
        found.monochrome,
        found.subsampling_x,
        found.subsampling_y,
        found.chroma_sample_position,
        found.full_range,
    )
    unit = obu(2) + obu(1, made.payload())
    assert rewritten("av1", unit) == unit


def test_level_and_tier_are_those_of_the_first_operating_point() -> None:
    found = parse_sequence_header(spread(points=((9, 1), (8, 0))).payload())
    assert (found.level, found.tier) == (9, 1)
    found = parse_sequence_header(spread(points=((7, 0),)).payload())
    assert (found.level, found.tier) == (7, 0)
    assert parse_sequence_header(spread(reduced=True).payload()).level == 5


def test_largest_picture() -> None:
    made = bytearray(spread().payload())
    assert (sequence_header(width=16_384).width, sequence_header(height=8192).height) == (
        16_384,
        8192,
    )
    # 16 bits of height, all of them set: 65,536 lines.
    bits = f"{int.from_bytes(made, 'big'):0{8 * len(made)}b}"
    at = bits.index(f"{13:04b}{12:04b}{1279:014b}{719:013b}")
    taller = f"{bits[:at]}{13:04b}{15:04b}{1279:014b}{'1' * 16}{bits[at + 35 :]}00000"
    payload = int(taller, 2).to_bytes(len(taller) // 8, "big")
    with pytest.raises(MediaError, match="1280 by 65536"):
        Av1Config.parse(av1_record(payload))


def test_the_sequence_header_may_stand_behind_others() -> None:
    metadata = obu(5, b"\x01\x00\x10\x00\x10\x80")
    record = av1_record(obus=metadata + obu(1, SVT_HEADER, layer=True) + metadata)
    assert Av1Config.parse(record).width == 1280
    assert Av1Config.parse(av1_record(obus=obu(1, SVT_HEADER, sized=False))).width == 1280


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (b"", "truncated"),
        (SVT_RECORD[:3], "truncated"),
        (av1_record(version=0x01), "begins with 0x01, not 0x81"),
        (av1_record(version=0x82), "begins with 0x82, not 0x81"),
        (av1_record(b""), "sequence header is truncated"),
        (av1_record(b"\x60" + SVT_HEADER[1:]), "profile 3"),
        (av1_record(obus=b"\x8a\x00"), "forbidden bit"),
        (av1_record(obus=b"\x0a\x05\x00"), "longer than what holds it"),
        (av1_record(obus=b"\x0c"), "longer than what holds it"),
        (av1_record(obus=b"\x0a"), "size is truncated"),
        (av1_record(obus=b"\x0e\x08"), "size is truncated"),
        (av1_record(obus=b"\x0a\x80"), "size is truncated"),
        (av1_record(obus=b"\x0a" + b"\x80" * 8 + b"\x00"), "longer than 8 bytes"),
        (av1_record(obus=b"\x0a" + b"\xff" * 7 + b"\x7f"), "longer than what holds it"),
        (av1_record(spread(timing=(1, 25, 2**32)).payload()), "absurd number of ticks"),
        (av1_record(spread(timing=(1, 25, 2**33)).payload()), "more than 32 bits"),
    ],
)
def test_what_is_wrong_is_said(record: bytes, text: str) -> None:
    with pytest.raises(MediaError, match=text):
        Av1Config.parse(record)


def test_a_record_cut_anywhere_is_an_error() -> None:
    for end in range(len(SVT_RECORD)):
        if end != 4:  # that is a record without OBUs
            with pytest.raises(MediaError):
                Av1Config.parse(SVT_RECORD[:end])


def test_a_header_cut_anywhere_is_an_error() -> None:
    payload = spread(timing=(1, 25, 1), decoder_model=True, colour=(9, 16, 9)).payload()
    for end in range(len(payload) - 1):  # the last byte holds nothing that is read
        with pytest.raises(MediaError, match="sequence header is truncated"):
            parse_sequence_header(payload[:end])


def test_a_record_of_any_length() -> None:
    padding = MAX_RECORD_BYTES - len(SVT_RECORD) - 3
    record = SVT_RECORD + obu(15, bytes(padding))
    assert len(record) == MAX_RECORD_BYTES
    assert Av1Config.parse(record).width == 1280
    with pytest.raises(MediaError, match="has 16385 bytes"):
        Av1Config.parse(record + b"\0")


@given(
    st.binary(max_size=40),
    st.integers(0, len(SVT_RECORD) - 1),
    st.integers(1, 255),
)
def test_any_bytes_are_a_configuration_or_a_media_error(
    data: bytes, position: int, flip: int
) -> None:
    damaged = bytearray(SVT_RECORD)
    damaged[position] ^= flip
    for record in (data, b"\x81\x05\x0c\x00" + data, av1_record(data), bytes(damaged)):
        try:
            config = Av1Config.parse(record)
        except MediaError:
            continue
        has_header = any(found.kind == 1 for found in obus(record[4:]))
        assert (config.width > 0) == (config.height > 0) == has_header
        assert config.codec_string.startswith("av01.")


# -- OBUs


def test_obus_of_a_temporal_unit() -> None:
    long = bytes(300)
    unit = obu(2) + obu(1, b"abc") + obu(6, long, layer=True) + obu(4, b"rest", sized=False)
    found = list(obus(unit))
    assert [(each.kind, unit[each.payload : each.end]) for each in found] == [
        (2, b""),
        (1, b"abc"),
        (6, long),
        (4, b"rest"),
    ]
    # Nothing lies between them.
    assert [each.start for each in found] == [0, *(each.end for each in found[:-1])]
    assert found[-1].end == len(unit)
    assert list(obus(b"")) == []


def test_very_many_obus() -> None:
    assert len(list(obus(obu(15) * MAX_OBUS))) == MAX_OBUS
    with pytest.raises(MediaError, match="more than 16384 OBUs"):
        list(obus(obu(15) * (MAX_OBUS + 1)))


@given(st.binary(max_size=64))
def test_any_bytes_are_walked_or_refused(data: bytes) -> None:
    try:
        found = list(obus(data))
    except MediaError:
        return
    assert b"".join(data[each.start : each.end] for each in found) == data
    assert all(each.start < each.payload <= each.end for each in found)


# -- samples


@pytest.mark.parametrize(
    ("units", "has_picture", "is_key"),
    [
        ([], False, False),
        ([obu(2), obu(1, SVT_HEADER), obu(15, bytes(9))], False, False),
        ([obu(6, b"\x10\0")], True, True),
        ([obu(2), obu(1, SVT_HEADER), obu(5, b"x"), obu(3, b"\x1f"), obu(4, b"x")], True, True),
        ([obu(6, b"\x10", layer=True)], True, True),
        ([obu(6, b"\x10", sized=False)], True, True),
        ([obu(6, b"\x00")], True, False),  # a key frame that is not shown
        ([obu(6, b"\x00"), obu(6, b"\x10")], True, False),
        ([obu(6, b"\x30")], True, False),  # inter
        ([obu(6, b"\x50")], True, False),  # intra only
        ([obu(6, b"\x70")], True, False),  # switch
        ([obu(3, b"\x90")], True, False),  # shows an existing one
        ([obu(6), obu(3)], False, False),
        ([obu(7, b"\x10"), obu(8, b"\x10")], False, False),
    ],
)
def test_obus_of_a_sample(units: list[bytes], has_picture: bool, is_key: bool) -> None:
    sample = b"".join(units)
    for data in (sample, memoryview(sample)):
        assert scan_obus(data) == (has_picture, is_key)


@pytest.mark.parametrize("data", [b"\x80", b"\x32\x05\x10", b"\x32\xff"])
def test_samples_that_are_none(data: bytes) -> None:
    with pytest.raises(MediaError):
        scan_obus(data)


def test_colours_of_the_sequence_header() -> None:
    assert Av1Config.parse(SVT_RECORD).colour is None
    config = sequence_header(colour=(9, 16, 9))
    assert config.colour == Colour(primaries=9, transfer=16, matrix=9)
    assert sequence_header(full_range=True).colour == Colour(full_range=True)


@pytest.mark.parametrize("obus_of_record", [b"", obu(5, b"\x01")])
def test_a_sequence_header_may_be_left_to_the_keyframes(obus_of_record: bytes) -> None:
    record = av1_record(obus=obus_of_record)
    config = Av1Config.parse(record)
    assert (config.width, config.height, config.frame_rate, config.colour) == (0, 0, None, None)
    assert config.codec_string == "av01.0.05M.08"
    made = spread(colour=(9, 16, 9), width=640, height=360).payload()
    sized = config.sized(memoryview(obu(2) + obu(1, made) + obu(6, b"\x10")))
    assert (sized.width, sized.height, sized.record) == (640, 360, record)
    assert sized.codec_string == "av01.0.05M.08.0.110.09.16.09.0"
    assert sized.colour == Colour(primaries=9, transfer=16, matrix=9)
    assert sized.sized(b"") is sized
    with pytest.raises(MediaError, match="neither in its record nor in a keyframe"):
        config.sized(obu(6, b"\x10"))
