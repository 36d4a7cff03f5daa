"""AMF0: byte tables both ways, round trips, leniency, and the bounds."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rtmp_peers import (
    END,
    NULL,
    amf_bool,
    amf_date,
    amf_ecma,
    amf_key,
    amf_long_string,
    amf_number,
    amf_object,
    amf_strict,
    amf_string,
)

from rtmpcore import AmfDate, AmfError, AmfValue, EcmaArray, LocalProtocolError
from rtmpcore.amf0 import decode as decode_bounded
from rtmpcore.amf0 import encode


def decode(data: bytes, max_depth: int = 32, max_values: int = 4096) -> list[AmfValue]:
    return decode_bounded(data, max_depth=max_depth, max_values=max_values)


ONE = amf_number(1)

BOTH_WAYS: dict[str, tuple[AmfValue, bytes]] = {
    "number": (1.5, bytes.fromhex("003ff8000000000000")),
    "true": (True, bytes.fromhex("0101")),
    "false": (False, bytes.fromhex("0100")),
    "string": ("héé", bytes.fromhex("02000568c3a9c3a9")),
    "empty string": ("", bytes.fromhex("020000")),
    "null": (None, bytes.fromhex("05")),
    "object": ({"a": 1.0, "b": None}, amf_object({"a": ONE, "b": NULL})),
    "empty object": ({}, b"\x03" + END),
    "ecma array": (EcmaArray(a=True), amf_ecma({"a": amf_bool(True)})),
    "strict array": ([1.0, "x", []], amf_strict(ONE, amf_string("x"), amf_strict())),
    "date": (AmfDate(1e12, -60), amf_date(1e12, -60)),
    "long string": ("x" * 65536, amf_long_string("x" * 65536)),
    "longest string": ("x" * 65535, amf_string("x" * 65535)),
    "nested": (
        {"a": [{"b": {}}]},
        amf_object({"a": amf_strict(amf_object({"b": amf_object({})}))}),
    ),
}

ONE_WAY: dict[str, tuple[list[AmfValue], bytes]] = {
    "nothing": ([], b""),
    "several values": (["x", 1.0, None], amf_string("x") + ONE + NULL),
    "undefined": ([None], b"\x06"),
    "unsupported": ([None], b"\x0d"),
    "xml": (["<a/>"], bytes.fromhex("0f00000004") + b"<a/>"),
    "short long string": (["ab"], amf_long_string("ab")),
    "typed object": ([{"a": 1.0}], b"\x10" + amf_key("Class") + amf_object({"a": ONE})[1:]),
    "any byte is true": ([True], b"\x01\x07"),
    "broken utf-8": (["\ufffdx"], b"\x02\x00\x02\xffx"),
    "count 0 of an ecma array (FMLE)": ([{"a": 1.0}], amf_ecma({"a": ONE}, 0)),
    "count 20 of an ecma array (OBS)": ([{"a": 1.0}], amf_ecma({"a": ONE}, 20)),
    "no end marker": ([{"a": 1.0}], amf_object({"a": ONE})[:-3]),
    "no end marker, nested": ([{"a": {"b": 1.0}}], amf_object({"a": amf_object({"b": ONE})})[:-6]),
    "an object's head alone": ([{}], b"\x03"),
    "empty name": ([{"": 1.0, "b": None}], amf_object({"": ONE, "b": NULL})),
    "string of nine bytes": ([{"a": "\0\0\t"}], amf_object({"a": amf_string("\0\0\t")})),
    "same name twice": (
        [{"a": None}],
        b"\x03" + (amf_key("a") + ONE) + (amf_key("a") + NULL) + END,
    ),
    "int is a float": ([7.0], amf_number(7)),
    "amf3 value": ([None, "x"], b"\x11\x01" + amf_string("x")),
    "reference": (
        [{"a": [1.0]}, [1.0], {"a": [1.0]}],
        amf_object({"a": amf_strict(ONE)}) + b"\x07\x00\x01" + b"\x07\x00\x00",
    ),
    "reference to what holds a reference": (
        [[None], [[None]], [[None]], ["x"], ["x"]],
        amf_strict(NULL)
        + amf_strict(b"\x07\x00\x00")
        + b"\x07\x00\x01"
        + amf_strict(amf_string("x"))
        + b"\x07\x00\x02",
    ),
}

MALFORMED: dict[str, tuple[bytes, str]] = {
    "movie clip": (b"\x04", "marker 0x04"),
    "object end alone": (b"\x09", "marker 0x09"),
    "recordset": (b"\x0e", "marker 0x0e"),
    "unknown marker": (b"\x12", "marker 0x12"),
    "cut number": (ONE[:-1], "cut short"),
    "cut boolean": (b"\x01", "cut short"),
    "cut string length": (b"\x02\x00", "cut short"),
    "cut string": (b"\x02\x00\x05ab", "cut short"),
    "huge string": (b"\x0c\xff\xff\xff\xffab", "cut short"),
    "cut date": (amf_date(0)[:-1], "cut short"),
    "cut name": (b"\x03\x00\x05ab", "cut short"),
    "cut end marker": (b"\x03\x00\x00", "cut short"),
    "name without value": (b"\x03\x00\x01a", "cut short"),
    "cut ecma count": (b"\x08\x00\x00", "cut short"),
    "cut strict count": (b"\x0a\x00", "cut short"),
    "strict array with too few": (b"\x0a\xff\xff\xff\xff" + ONE, "cut short"),
    "cut class name": (b"\x10\x00\x05ab", "cut short"),
    "cut reference": (b"\x07\x00", "cut short"),
    "reference to nothing": (b"\x07\x00\x00", "points to no value"),
    "reference to itself": (amf_object({"a": b"\x07\x00\x00"}), "too deep"),
    "cut amf3": (b"\x11", "cut short"),
    "references that repeat a long string": (
        amf_strict(amf_string("x" * 2000)) + b"\x07\x00\x00" * 10,
        "repeat too much",
    ),
}


def table(cases: dict[str, tuple[object, object]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("value", "data"), cases.values(), ids=cases.keys())


@table(BOTH_WAYS)  # type: ignore[arg-type]
def test_decode_and_encode(value: AmfValue, data: bytes) -> None:
    assert decode(data) == [value]
    assert type(decode(data)[0]) is type(value)
    assert encode(value) == data


@table(ONE_WAY)  # type: ignore[arg-type]
def test_decode(value: list[AmfValue], data: bytes) -> None:
    assert decode(data) == value


@pytest.mark.parametrize(("data", "reason"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed(data: bytes, reason: str) -> None:
    with pytest.raises(AmfError, match=reason):
        decode(data)


def test_references_cannot_make_work_without_end() -> None:
    # Each array holds the one before it twice: 2**30 values, were they all made.
    data = amf_strict(NULL)
    for index in range(30):
        reference = b"\x07" + index.to_bytes(2, "big")
        data += amf_strict(reference, reference)
    with pytest.raises(AmfError):
        decode(data)


@pytest.mark.parametrize(
    "opening", [b"\x03\x00\x01a", b"\x0a\x00\x00\x00\x01", b"\x08\0\0\0\1\0\1a"]
)
def test_fifty_thousand_deep_is_an_error_and_no_crash(opening: bytes) -> None:
    with pytest.raises(AmfError, match="too deep"):
        decode(opening * 50_000)


def test_depth_is_bounded_at_the_limit() -> None:
    def nested(depth: int) -> bytes:
        return b"\x0a\x00\x00\x00\x01" * depth + NULL

    assert decode(nested(5), max_depth=5)
    with pytest.raises(AmfError, match="too deep"):
        decode(nested(6), max_depth=5)


def test_count_is_bounded_at_the_limit() -> None:
    assert len(decode(NULL * 5, max_values=5)) == 5
    with pytest.raises(AmfError, match="too many values"):
        decode(NULL * 6, max_values=5)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"bytes", "bytes has no AMF0 form"),
        ({"x" * 65536: None}, "name is too long"),
        ([object()], "object has no AMF0 form"),
    ],
)
def test_what_has_no_form_is_our_error(value: AmfValue, reason: str) -> None:
    with pytest.raises(LocalProtocolError, match=reason):
        encode(value)


def test_our_own_nesting_is_bounded_too() -> None:
    value: AmfValue = None
    for _ in range(40):
        value = [value]
    with pytest.raises(LocalProtocolError, match="too deep"):
        encode(value)


def test_int_and_tuple_encode_as_number_and_strict_array() -> None:
    assert encode((1, 2)) == amf_strict(amf_number(1), amf_number(2))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.builds(AmfDate, st.floats(allow_nan=False), st.integers(-0x8000, 0x7FFF)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4).map(EcmaArray)
    ),
    max_leaves=20,
)


@given(st.lists(values, max_size=5))
def test_round_trip(sent: list[AmfValue]) -> None:
    assert decode(encode(*sent)) == sent


@given(st.binary(max_size=200))
def test_any_bytes_give_values_or_amf_error(data: bytes) -> None:
    try:
        decoded = decode(data)
    except AmfError:
        return
    # Byte arrays of AMF3 become None, so whatever was read can be written and read again.
    again = decode(encode(*decoded))
    assert len(again) == len(decoded)


@given(st.lists(values, max_size=3), st.data())
def test_every_cut_gives_values_or_amf_error(sent: list[AmfValue], data: st.DataObject) -> None:
    encoded = encode(*sent)
    cut = data.draw(st.integers(0, len(encoded)))
    with suppress(AmfError):
        decode(encoded[:cut])
