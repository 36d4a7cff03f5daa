"""Packets made by hand to records and samples; real encoders have a module of their own."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_samples import PPS, SpsFields, avc_record
from video_records import (
    HEVC_PPS,
    HevcSpsFields,
    SequenceHeaderFields,
    annex_b,
    hevc_nal,
    hevc_record,
    obu,
)

from hls.av1 import Av1Config
from origin.transcode.bitstream import (
    FOURCC,
    MAX_NAL_UNITS,
    BitstreamError,
    Repackager,
    record_from_extradata,
    sample_from_packet,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SPS = SpsFields().unit()
IDR = b"\x65\x88\x84"
SLICE = b"\x41\x9a\x02"
AUD = b"\x09\xf0"
SEI = b"\x06\x05\x01\x80"

HEVC_FIELDS = HevcSpsFields()
HEVC_SETS = (HEVC_FIELDS.vps(), HEVC_FIELDS.unit(), HEVC_PPS)
HEVC_IDR = hevc_nal(19)


def lengths(*units: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


@pytest.mark.parametrize(
    ("codec", "packet", "units"),
    [
        ("h264", annex_b(AUD, SPS, PPS, SEI, IDR), [SEI, IDR]),
        ("h264", annex_b(SLICE, SLICE, start_code=b"\0\0\1"), [SLICE, SLICE]),
        ("h264", annex_b(SEI) + annex_b(SLICE, start_code=b"\0\0\1"), [SEI, SLICE]),
        ("h264", bytes(5) + annex_b(SLICE, SLICE), [SLICE, SLICE]),
        ("h264", annex_b(SLICE) + bytes(7), [SLICE]),
        ("h264", annex_b(SLICE + bytes(9), SLICE), [SLICE, SLICE]),
        ("h264", annex_b(b"", SLICE, b"", b""), [SLICE]),
        ("h264", annex_b(b"\x0c\xff\x80", b"\x0b"), [b"\x0c\xff\x80", b"\x0b"]),
        ("h264", annex_b(AUD, SPS), []),
        ("h264", annex_b(b"\x27\x42", b"\x28\xce", b"\x29\xf0"), []),
        ("h264", annex_b(b"\x65\0\0\3\1"), [b"\x65\0\0\3\1"]),
        ("hevc", annex_b(hevc_nal(35), *HEVC_SETS, HEVC_IDR), [HEVC_IDR]),
        (
            "hevc",
            annex_b(hevc_nal(39), hevc_nal(1), hevc_nal(40)),
            [hevc_nal(k) for k in (39, 1, 40)],
        ),
    ],
)
def test_annex_b(codec: str, packet: bytes, units: list[bytes]) -> None:
    assert sample_from_packet(codec, packet) == lengths(*units)


@given(
    st.lists(
        # Not of a parameter set or delimiter; no zero twice, none at the end.
        st.binary(max_size=20).map(lambda body: b"\x41" + body.replace(b"\0\0", b"\0\3") + b"\x80"),
        max_size=8,
    ),
    st.lists(st.integers(2, 5), min_size=8, max_size=8),
)
def test_any_units_between_any_start_codes(units: list[bytes], zeros: list[int]) -> None:
    packet = b"".join(
        bytes(count) + b"\1" + unit for unit, count in zip(units, zeros, strict=False)
    )
    assert sample_from_packet("h264", packet or b"\0\0\1") == lengths(*units)


@given(st.sampled_from(sorted(FOURCC)), st.binary(max_size=60), st.booleans())
def test_any_bytes_are_a_sample_or_a_bitstream_error(codec: str, data: bytes, framed: bool) -> None:
    sets = {"h264": (SPS, PPS), "hevc": HEVC_SETS, "av1": ()}[codec]
    packet = annex_b(*sets, data) if framed and sets else data
    attempts: tuple[Callable[[], bytes], ...] = (
        lambda: sample_from_packet(codec, packet),
        lambda: Repackager(codec).sample(packet),
        lambda: record_from_extradata(codec, packet),
        lambda: record_from_extradata(codec, annex_b(SPS[:4] + data, PPS, HEVC_PPS)),
    )
    for attempt in attempts:
        try:
            assert isinstance(attempt(), bytes)
        except BitstreamError:
            continue


@pytest.mark.parametrize(
    "packet", [b"", b"\0", b"\0\0", b"\0\0\0", lengths(IDR), b"\x65\0\0\1\x65"]
)
def test_what_is_not_annex_b(packet: bytes) -> None:
    with pytest.raises(BitstreamError, match="does not begin with a start code"):
        sample_from_packet("h264", packet)


def test_very_many_nal_units() -> None:
    packet = annex_b(SLICE) * MAX_NAL_UNITS
    assert len(sample_from_packet("h264", packet)) == MAX_NAL_UNITS * (4 + len(SLICE))
    with pytest.raises(BitstreamError, match="more than 16384 NAL units"):
        sample_from_packet("h264", packet + annex_b(SLICE))


FRAME = obu(6, b"frame")
SEQUENCE = obu(1, SequenceHeaderFields().payload())


@pytest.mark.parametrize(
    ("packet", "sample"),
    [
        (obu(2) + SEQUENCE + FRAME, SEQUENCE + FRAME),
        (obu(2) + FRAME + obu(15, bytes(200)), FRAME),
        (
            obu(2)
            + obu(5, b"\x01\x80")
            + obu(3, b"h")
            + obu(4, b"t")
            + obu(7, b"h")
            + obu(4, b"t"),
            obu(5, b"\x01\x80") + obu(3, b"h") + obu(4, b"t") + obu(4, b"t"),
        ),
        (obu(2) + obu(6, b"frame", sized=False), obu(6, b"frame", sized=False)),
        (obu(2), b""),
    ],
)
def test_temporal_units(packet: bytes, sample: bytes) -> None:
    assert sample_from_packet("av1", packet) == sample


def test_a_temporal_unit_that_is_none() -> None:
    with pytest.raises(BitstreamError, match="av1 packet: an OBU is longer"):
        sample_from_packet("av1", obu(2) + FRAME[:-1])


# -- parameter sets that come and change


def test_the_record_of_h264_is_what_others_make_of_it() -> None:
    assert record_from_extradata("h264", annex_b(SPS, PPS)) == avc_record(SPS)
    two = annex_b(SPS, SPS, PPS, PPS + b"\x01", SEI)
    assert record_from_extradata("h264", two) == avc_record(
        sps_units=[SPS, SPS], pps_units=[PPS, PPS + b"\x01"]
    )


def test_a_high_profile_says_its_sample_format_behind_the_record() -> None:
    sps = SpsFields(profile=122, chroma_format=2).unit()
    record = record_from_extradata("h264", annex_b(sps, PPS))
    assert record == avc_record(sps) + bytes.fromhex("fef8f800")


def test_the_record_of_hevc_says_what_the_sps_says() -> None:
    fields = HevcSpsFields(
        sub_layers=3, nesting=False, chroma_format=2, bit_depths=(10, 9), level=120, tier=1
    )
    units = (fields.vps(), fields.unit(), HEVC_PPS)
    record = record_from_extradata("hevc", annex_b(*units))
    expected = bytearray(
        hevc_record(
            general_profile=fields.general_profile(),
            arrays=[(32, [units[0]]), (33, [units[1]]), (34, [units[2]])],
        )
    )
    expected[16:19] = 0xFC | 2, 0xF8 | 2, 0xF8 | 1
    expected[21] = 3 << 3 | 0 << 2 | 3
    assert record == expected


@pytest.mark.parametrize("size", [11, 200])
def test_the_record_of_av1_says_what_the_sequence_header_says(size: int) -> None:
    fields = SequenceHeaderFields(
        profile=2, bit_depth=12, points=((9, 1),), chroma_position=2, colour=(9, 16, 9)
    )
    payload = fields.payload().ljust(size, b"\0")
    record = record_from_extradata("av1", obu(1, payload, layer=True) + obu(5, b"\x01\x80"))
    assert record == bytes((0x81, 2 << 5 | 9, 0b1110_1110, 0)) + obu(1, payload)
    assert Av1Config.parse(record).codec_string == "av01.2.09H.12.0.112.09.16.09.0"
    # Some encoders give the record itself.
    assert record_from_extradata("av1", record) == record


def test_parameter_sets_that_are_repeated_change_nothing() -> None:
    repackager = Repackager("h264", annex_b(SPS, PPS))
    record = repackager.record
    assert repackager.sample(annex_b(SPS, PPS, IDR)) == lengths(IDR)
    assert repackager.sample(annex_b(PPS, SLICE)) == lengths(SLICE)
    assert repackager.sample(annex_b(SPS, SLICE)) == lengths(SLICE)
    assert repackager.record is record


def test_one_of_two_parameter_sets_may_be_repeated() -> None:
    other = PPS + b"\x01"
    repackager = Repackager("h264", annex_b(SPS, PPS, other))
    record = repackager.record
    assert repackager.sample(annex_b(other, SLICE)) == lengths(SLICE)
    assert repackager.record is record


def test_parameter_sets_that_change_make_a_new_record() -> None:
    repackager = Repackager("h264", annex_b(SPS, PPS))
    wider = SpsFields(width_mbs=100).unit()
    assert repackager.sample(annex_b(wider, PPS, IDR)) == lengths(IDR)
    assert repackager.record == avc_record(wider)
    assert repackager.sample(annex_b(wider, PPS, IDR)) == lengths(IDR)
    assert repackager.record == avc_record(wider)
    assert repackager.sample(annex_b(SPS, PPS)) == b""
    assert repackager.record == avc_record(SPS)


def test_a_sequence_header_in_the_packets_counts_more_than_extradata() -> None:
    """libsvtav1's extradata says another set of tools than its packets."""
    repackager = Repackager("av1", SEQUENCE)
    before = repackager.record
    other = obu(1, SequenceHeaderFields(order_hint=False).payload())
    assert repackager.sample(obu(2) + other + FRAME) == other + FRAME
    assert repackager.record is not None
    assert repackager.record != before
    assert repackager.record[4:] == other
    assert repackager.sample(obu(2) + FRAME) == FRAME
    assert repackager.record[4:] == other


@pytest.mark.parametrize(
    ("codec", "packet"),
    [
        ("h264", annex_b(PPS + b"\x01", SLICE)),
        ("h264", annex_b(SpsFields(width_mbs=100).unit(), SLICE)),
        ("hevc", annex_b(*HEVC_SETS[:1], HevcSpsFields(width=640).unit(), HEVC_IDR)),
    ],
)
def test_a_part_of_the_parameter_sets_does_not_change_alone(codec: str, packet: bytes) -> None:
    extradata = annex_b(*{"h264": (SPS, PPS), "hevc": HEVC_SETS}[codec])
    repackager = Repackager(codec, extradata)
    with pytest.raises(BitstreamError, match="changes a part of its parameter sets"):
        repackager.sample(packet)


@pytest.mark.parametrize(
    ("codec", "packet", "text"),
    [
        ("h264", annex_b(SLICE), "comes before its parameter sets"),
        ("h264", annex_b(SPS, IDR), "changes a part of its parameter sets"),
        ("hevc", annex_b(HEVC_IDR), "comes before its parameter sets"),
        ("av1", obu(2) + FRAME, "comes before its parameter sets"),
    ],
)
def test_pictures_without_parameter_sets(codec: str, packet: bytes, text: str) -> None:
    with pytest.raises(BitstreamError, match=text):
        Repackager(codec, None).sample(packet)


@pytest.mark.parametrize(
    ("codec", "extradata", "text"),
    [
        ("h264", b"", "gave no extradata"),
        ("h264", avc_record(), "does not begin with a start code"),
        ("hevc", hevc_record(), "does not begin with a start code"),
        ("h264", annex_b(SPS), "lacks a parameter set"),
        ("hevc", annex_b(*HEVC_SETS[:2]), "lacks a parameter set"),
        ("av1", obu(5, b"\x01"), "lacks a parameter set"),
        ("av1", b"\x0a\x0b\x00", "an OBU is longer"),
        ("av1", obu(1, b"\x00"), "sequence header is truncated"),
        ("h264", annex_b(SPS[:6], PPS), "h264 parameter sets: SPS is truncated"),
        (
            "hevc",
            annex_b(HEVC_SETS[0], HevcSpsFields(width=20_000).unit(), HEVC_PPS),
            "hevc parameter sets: SPS has a picture of 20000",
        ),
        (
            "hevc",
            annex_b(HEVC_SETS[0], HevcSpsFields(bit_depths=(16, 8)).unit(), HEVC_PPS),
            "do not fit a record: 8 takes more than 3 bits",
        ),
        ("h264", annex_b(*[SPS] * 32, PPS), "do not fit a record: 32 takes more than 5 bits"),
        ("h264", annex_b(SPS, *[PPS] * 256), "do not fit a record"),
        ("h264", annex_b(SPS, PPS + b"\1" * 65_536), "do not fit a record"),
        ("h264", annex_b(SPS, PPS + b"\1" * 16_384), "configuration has 16"),
        ("vp9", annex_b(SPS, PPS), "codec vp9 has no sample format"),
    ],
)
def test_extradata_without_a_usable_record(codec: str, extradata: bytes, text: str) -> None:
    with pytest.raises(BitstreamError, match=text):
        record_from_extradata(codec, extradata)


def test_a_codec_without_a_sample_format() -> None:
    with pytest.raises(BitstreamError, match="codec vp9 has no sample format"):
        sample_from_packet("vp9", b"")
