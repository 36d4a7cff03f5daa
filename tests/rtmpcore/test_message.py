"""Protocol control, user control, data and aggregate payloads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rtmp_peers import amf_bool, amf_date, amf_ecma, amf_number, amf_object, amf_string

from native import RawMessage
from rtmpcore import Limits, RemoteProtocolError
from rtmpcore.message import (
    answer_user_control,
    decode_u32,
    encode_cue_point,
    encode_metadata,
    encode_peer_bandwidth,
    encode_u32,
    parse_data,
    split_aggregate,
    strip_selector,
)


def message(type_id: int, payload: bytes, timestamp_ms: int = 0) -> RawMessage:
    return RawMessage(4, type_id, 1, timestamp_ms, payload)


def tag(type_id: int, timestamp: int, body: bytes, back_pointer: bytes | None = None) -> bytes:
    head = bytes((type_id,)) + len(body).to_bytes(3, "big")
    head += (timestamp & 0xFFFFFF).to_bytes(3, "big") + bytes((timestamp >> 24,)) + bytes(3)
    size = (11 + len(body)).to_bytes(4, "big") if back_pointer is None else back_pointer
    return head + body + size


def test_numbers() -> None:
    assert encode_u32(0x01020304) == bytes((1, 2, 3, 4))
    assert encode_u32(2**32 + 5) == bytes((0, 0, 0, 5))  # acknowledgements wrap
    assert decode_u32(bytes((1, 2, 3, 4, 9))) == 0x01020304
    assert encode_peer_bandwidth(7) == bytes((0, 0, 0, 7, 2))


@pytest.mark.parametrize("size", [0, 3])
def test_cut_number(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match="cut short"):
        decode_u32(bytes(size))


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        ("0006 01020304", "0007 01020304"),
        ("0006 01020304 ff", "0007 01020304"),
        ("0000 00000001", None),
        ("0003 00000001 00000bb8", None),
        ("0007 01020304", None),
        ("001a 00", None),
        ("0020 00000001", None),
        ("ffff", None),
    ],
)
def test_user_control(payload: str, answer: str | None) -> None:
    expected = None if answer is None else bytes.fromhex(answer)
    assert answer_user_control(bytes.fromhex(payload)) == expected


@pytest.mark.parametrize("payload", ["", "00", "0006", "0006 010203"])
def test_cut_user_control(payload: str) -> None:
    with pytest.raises(RemoteProtocolError, match="cut short"):
        answer_user_control(bytes.fromhex(payload))


@pytest.mark.parametrize(
    ("type_id", "payload", "stripped"),
    [
        (17, b"\0\2\0\1x", b"\2\0\1x"),
        (15, b"\0\2\0\1x", b"\2\0\1x"),
        (15, b"\2\0\1x", b"\2\0\1x"),  # some senders omit the selector
        (17, b"", b""),
        (20, b"\0\2", b"\0\2"),
        (18, b"\0\2", b"\0\2"),
    ],
)
def test_selector(type_id: int, payload: bytes, stripped: bytes) -> None:
    assert strip_selector(message(type_id, payload)) == stripped


VALUES = amf_ecma({"width": amf_number(1280), "stereo": amf_bool(True)})
READ = {"width": 1280.0, "stereo": True}


@pytest.mark.parametrize(
    ("payload", "values"),
    [
        (amf_string("@setDataFrame") + amf_string("onMetaData") + VALUES, READ),
        (amf_string("onMetaData") + VALUES, READ),
        (amf_string("onMetaData") + amf_object({}), {}),
        (amf_string("onMetaData") + VALUES + b"\x05", READ),
        (amf_string("onMetaData") + amf_string("x"), None),
        (amf_string("onMetaData"), None),
        (amf_string("@setDataFrame"), None),
        (amf_string("@clearDataFrame") + amf_string("onMetaData"), None),
        (amf_string("onTextData") + VALUES, None),
        (amf_number(1) + VALUES, None),
        (b"", None),
        (b"\xff", None),
        (amf_string("onMetaData") + VALUES[:12], None),
        (b"\x03\x00\x01a" * 5000, None),
    ],
)
def test_metadata(payload: bytes, values: dict[str, object] | None) -> None:
    expected = None if values is None else ("onMetaData", values)
    assert parse_data(message(18, payload), Limits()) == expected
    assert parse_data(message(15, b"\0" + payload), Limits()) == expected


def test_a_date_in_metadata() -> None:
    values = amf_object({"created": amf_date(1e12)})
    parsed = parse_data(message(18, amf_string("onMetaData") + values), Limits())
    assert parsed is not None
    assert list(parsed[1]) == ["created"]


@pytest.mark.parametrize("prefix", [b"", amf_string("@setDataFrame")])
def test_a_cue_point(prefix: bytes) -> None:
    payload = prefix + amf_string("onCuePoint") + VALUES
    assert parse_data(message(18, payload), Limits()) == ("onCuePoint", READ)
    built = encode_cue_point({"name": "break", "time": 1.5, "parameters": {"id": "7"}})
    assert parse_data(message(18, built), Limits()) == (
        "onCuePoint",
        {"name": "break", "time": 1.5, "parameters": {"id": "7"}},
    )


def test_metadata_beyond_the_limit_is_not_read() -> None:
    limits = Limits(max_amf_bytes=20)
    assert parse_data(message(18, amf_string("onMetaData") + VALUES), limits) is None


def test_built_metadata() -> None:
    message = amf_string("onMetaData") + amf_ecma({"width": amf_number(1280)})
    assert encode_metadata({"width": 1280}, stored=True) == message
    asked = amf_string("@setDataFrame") + message
    assert encode_metadata({"width": 1280}, stored=False) == asked


def test_aggregate() -> None:
    payload = tag(8, 1000, b"a") + tag(9, 1023, b"") + tag(18, 990, b"d") + tag(20, 0, b"command")
    payload += tag(22, 0, tag(9, 0, b"inner")) + tag(9, 0x01000000, b"late", back_pointer=b"")
    parts = list(split_aggregate(message(22, payload, timestamp_ms=5000), Limits()))
    assert parts == [
        RawMessage(4, 8, 1, 5000, b"a"),
        RawMessage(4, 9, 1, 5023, b""),
        RawMessage(4, 18, 1, 4990, b"d"),
        RawMessage(4, 9, 1, 5000 + 0x01000000 - 1000, b"late"),
    ]


def test_aggregate_time_wraps() -> None:
    payload = tag(9, 10, b"") + tag(9, 20, b"")
    parts = split_aggregate(message(22, payload, timestamp_ms=0xFFFFFFFF), Limits())
    assert [part.timestamp_ms for part in parts] == [0xFFFFFFFF, 9]


def test_empty_aggregate() -> None:
    assert list(split_aggregate(message(22, b""), Limits())) == []


@given(st.integers(1, 12))
def test_cut_aggregate(cut: int) -> None:
    whole = tag(9, 0, b"first")
    parts = split_aggregate(message(22, whole + tag(9, 5, b"xx", b"")[:cut]), Limits())
    assert next(parts).payload == b"first"
    with pytest.raises(RemoteProtocolError, match="ends inside a tag"):
        next(parts)


def test_aggregate_of_too_many_tags() -> None:
    """Tags that are skipped count too: ten megabytes of them were most of a second."""
    limits = Limits(max_aggregate_tags=3)
    assert list(split_aggregate(message(22, tag(99, 0, b"") * 3), limits)) == []
    parts = split_aggregate(message(22, tag(9, 0, b"x") + tag(99, 0, b"") * 3), limits)
    assert next(parts).payload == b"x"
    with pytest.raises(RemoteProtocolError, match="too many tags"):
        next(parts)
