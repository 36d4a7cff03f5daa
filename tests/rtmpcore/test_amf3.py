"""AMF3 values behind the AMF0 marker 0x11: byte tables, reference tables, bounds."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmpcore import AmfDate, AmfError, AmfValue, EcmaArray
from rtmpcore.amf0 import decode


def amf3(text: str) -> bytes:
    return b"\x11" + bytes.fromhex(text)


def read(data: bytes) -> list[AmfValue]:
    return decode(data, max_depth=32, max_values=4096)


VALUES: dict[str, tuple[AmfValue, bytes]] = {
    "undefined": (None, amf3("00")),
    "null": (None, amf3("01")),
    "false": (False, amf3("02")),
    "true": (True, amf3("03")),
    "one-byte integer": (127.0, amf3("04 7f")),
    "two-byte integer": (128.0, amf3("04 81 00")),
    "three-byte integer": (16384.0, amf3("04 81 80 00")),
    "four-byte integer": (2097152.0, amf3("04 80 c0 80 00")),
    "-1": (-1.0, amf3("04 ff ff ff ff")),
    "smallest": (-268435456.0, amf3("04 c0 80 80 00")),
    "double": (1.5, amf3("05 3ff8000000000000")),
    "string": ("ab", amf3("06 05 6162")),
    "empty string": ("", amf3("06 01")),
    "xml document": ("<a/>", amf3("07 09 3c612f3e")),
    "xml": ("<a/>", amf3("0b 09 3c612f3e")),
    "date": (AmfDate(0.0), amf3("08 01 0000000000000000")),
    "byte array": (None, amf3("0c 05 ffff")),
    "dense array": ([1.0, "a"], amf3("09 05 01 0401 0603 61")),
    "named array": (
        EcmaArray({"a": 1.0, "0": None, "1": True}),
        amf3("09 05 03 61 0401 01 01 03"),
    ),
    "object": ({"a": 1.0}, amf3("0a 13 01 03 61 0401")),
    "dynamic object": ({"a": 1.0, "b": None}, amf3("0a 1b 01 03 61 0401 03 62 01 01")),
    "string reference": (["ab", "ab", ""], amf3("09 07 01 06 05 6162 06 00 06 01")),
    "traits reference": (
        [{"a": 1.0}, {"a": 2.0}],
        amf3("09 05 01 0a 13 01 03 61 0401 0a 01 0402"),
    ),
    "object reference": (
        [{"a": "x"}, {"a": "x"}],
        amf3("09 05 01 0a 13 01 03 61 06 03 78 0a 02"),
    ),
}

MALFORMED: dict[str, tuple[bytes, str]] = {
    "vector": (amf3("0d 01 00"), "marker 0x0d"),
    "unknown": (amf3("12"), "marker 0x12"),
    "cut integer": (amf3("04 ff"), "cut short"),
    "cut double": (amf3("05 00"), "cut short"),
    "cut string": (amf3("06 05 61"), "cut short"),
    "cut array": (amf3("09 05 01 01"), "cut short"),
    "externalizable": (amf3("0a 07 01"), "externalizable"),
    "string reference to none": (amf3("06 00"), "string reference"),
    "traits reference to none": (amf3("0a 01"), "traits reference"),
    "object reference to none": (amf3("0a 00"), "points to no value"),
    "array that holds itself": (amf3("09 03 01 09 00"), "too deep"),
    "a hundred million trait names": (amf3("0a ffffffe3 01"), "cut short"),
}


@pytest.mark.parametrize(("value", "data"), VALUES.values(), ids=VALUES.keys())
def test_decode(value: AmfValue, data: bytes) -> None:
    # The AMF0 value after it is read with AMF0 again: the marker is not sticky.
    assert read(data + b"\x05") == [value, None]


@pytest.mark.parametrize(("data", "reason"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed(data: bytes, reason: str) -> None:
    with pytest.raises(AmfError, match=reason):
        read(data)


def test_nesting_counts_on_from_amf0() -> None:
    nested = b"\x0a\x00\x00\x00\x01" * 20 + b"\x11" + b"\x09\x03\x01" * 20 + b"\x01"
    with pytest.raises(AmfError, match="too deep"):
        read(nested)


def test_trait_names_count_as_values() -> None:
    with pytest.raises(AmfError, match="too many values"):
        read(amf3("0a") + b"\x84\x80\x03" + b"\x01" * 9000)


@given(st.binary(max_size=60))
def test_any_bytes_give_values_or_amf_error(data: bytes) -> None:
    with suppress(AmfError):
        read(b"\x11" + data)
