"""A TCP balancer's header: byte tables of both versions, whole and at every cut, and garbage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.rtmp.proxy_protocol import MAX_BODY_BYTES, MAX_LINE_BYTES, ProxyHeader
from rtmpcore import RemoteProtocolError

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
V4 = bytes.fromhex("cb007107 c0000201 dc04 078f")
"""203.0.113.7:56324 to 192.0.2.1:1935."""
V6 = bytes.fromhex("20010db8000000000000000000000007 20010db8000000000000000000000001 dc04 078f")
TLV = bytes.fromhex("04 0003 000000")
LONGEST_V1 = b"PROXY UNKNOWN " + b"f" * (MAX_LINE_BYTES - 16) + b"\r\n"


def binary(command: int, family: int, body: bytes, *, size_bytes: int | None = None) -> bytes:
    size_bytes = len(body) if size_bytes is None else size_bytes
    return SIGNATURE + bytes([command, family]) + size_bytes.to_bytes(2, "big") + body


GOOD = {
    "v1 TCP4": (b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 1935\r\n", "203.0.113.7"),
    "v1 TCP6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 1935\r\n", "2001:db8::7"),
    "v1 TCP6 at its longest": (
        b"PROXY TCP6 " + b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff " * 2 + b"65535 65535\r\n",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ),
    "v1 ports at their least": (b"PROXY TCP6 2001:DB8:0::7 ::1 0 0\r\n", "2001:db8::7"),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", None),
    "v1 UNKNOWN with more, at its longest": (LONGEST_V1, None),
    "v2 TCP4": (binary(0x21, 0x11, V4), "203.0.113.7"),
    "v2 TCP4 with a TLV": (binary(0x21, 0x11, V4 + TLV), "203.0.113.7"),
    "v2 TCP6": (binary(0x21, 0x21, V6), "2001:db8::7"),
    "v2 TCP6 with a TLV": (binary(0x21, 0x21, V6 + TLV), "2001:db8::7"),
    "v2 at its longest": (binary(0x21, 0x11, V4.ljust(MAX_BODY_BYTES, b"\0")), "203.0.113.7"),
    "v2 unspecified": (binary(0x21, 0x00, TLV), None),
    "v2 Unix socket": (binary(0x21, 0x31, bytes(216)), None),
    "v2 LOCAL": (binary(0x20, 0x00, b""), None),
    "v2 LOCAL, its family ignored": (binary(0x20, 0xFF, V4), None),
}

BAD = {
    "RTMP": (b"\x03" + bytes(1536), "no PROXY header"),
    "TLS": (b"\x16\x03\x01", "no PROXY header"),
    "HTTP": (b"POST /open/1 HTTP/1.1\r\n", "no PROXY header"),
    "lower case": (b"proxy TCP4 203.0.113.7 192.0.2.1 1 2\r\n", "no PROXY header"),
    "v2 signature that goes wrong": (SIGNATURE[:-1] + b"\r", "no PROXY header"),
    "v1 without an end": (b"PROXY UNKNOWN ".ljust(MAX_LINE_BYTES, b"f"), "does not end"),
    "v1 one byte too long": (LONGEST_V1[:-2] + b"f\r\n", "does not end"),
    "v1 with LF alone": (
        b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\n".ljust(MAX_LINE_BYTES),
        "does not end",
    ),
    "v1 without anything": (b"PROXY \r\n", "no two TCP endpoints"),
    "v1 UDP": (b"PROXY UDP4 203.0.113.7 192.0.2.1 1 2\r\n", "no two TCP endpoints"),
    "v1 with three fields": (b"PROXY TCP4 203.0.113.7 192.0.2.1 1\r\n", "no two TCP endpoints"),
    "v1 with five": (b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2 3\r\n", "no two TCP endpoints"),
    "v1 with two spaces": (b"PROXY TCP4  203.0.113.7 192.0.2.1 1 2\r\n", "no two TCP endpoints"),
    "v1 of the other family": (b"PROXY TCP4 2001:db8::7 192.0.2.1 1 2\r\n", "that is none"),
    "v1 destination alone wrong": (b"PROXY TCP6 2001:db8::7 ::g 1 2\r\n", "that is none"),
    "v1 octal": (b"PROXY TCP4 203.0.113.007 192.0.2.1 1 2\r\n", "that is none"),
    "v1 of bytes": (b"PROXY TCP4 \xb2.0.0.1 192.0.2.1 1 2\r\n", "that is none"),
    "v1 zone": (b"PROXY TCP6 fe80::1%lo fe80::2 1 2\r\n", "cannot be"),
    "v1 port too high": (b"PROXY TCP4 203.0.113.7 192.0.2.1 1 65536\r\n", "cannot be"),
    "v1 port of many digits": (
        b"PROXY TCP4 203.0.113.7 192.0.2.1 1 " + b"9" * 50 + b"\r\n",
        "cannot be",
    ),
    "v1 port with a sign": (b"PROXY TCP4 203.0.113.7 192.0.2.1 +1 2\r\n", "cannot be"),
    "v1 port with a zero": (b"PROXY TCP4 203.0.113.7 192.0.2.1 01 2\r\n", "cannot be"),
    "v1 empty port": (b"PROXY TCP4 203.0.113.7 192.0.2.1  2\r\n", "cannot be"),
    "v2 of version 1": (binary(0x11, 0x11, V4), "version and command 0x11"),
    "v2 unknown command": (binary(0x22, 0x11, V4), "version and command 0x22"),
    "v2 UDP": (binary(0x21, 0x12, V4), "family 0x12"),
    "v2 unknown family": (binary(0x21, 0x41, V4), "family 0x41"),
    "v2 TCP4 too short": (binary(0x21, 0x11, V4[:-1]), "and 11 bytes"),
    "v2 TCP6 too short": (binary(0x21, 0x21, V6[:-1]), "and 35 bytes"),
    # Refused by what it announces, not when it has come.
    "v2 too long": (binary(0x21, 0x11, b"", size_bytes=MAX_BODY_BYTES + 1), "of 4097 bytes"),
}


@pytest.mark.parametrize("rest", [b"", b"\x03", b"\r\n", bytes(10_000)], ids=len)
@pytest.mark.parametrize("case", GOOD)
def test_a_header_names_the_client_and_takes_no_byte_of_what_follows(
    case: str, rest: bytes
) -> None:
    data, source = GOOD[case]
    header = ProxyHeader()
    assert header.receive_data(data + rest) == len(data)
    assert (header.is_complete, header.source) == (True, source)


@pytest.mark.parametrize("case", GOOD)
def test_a_header_may_come_in_two_pieces_cut_anywhere(case: str) -> None:
    data, source = GOOD[case]
    for cut in range(1, len(data)):
        header = ProxyHeader()
        assert header.receive_data(data[:cut]) == cut
        assert not header.is_complete
        assert header.receive_data(data[cut:] + b"\x03more") == len(data) - cut
        assert (header.is_complete, header.source) == (True, source)


@pytest.mark.parametrize("step", [1, 7])
@pytest.mark.parametrize("case", GOOD)
def test_a_header_may_come_in_small_pieces(case: str, step: int) -> None:
    data, source = GOOD[case]
    header = ProxyHeader()
    for start in range(0, len(data), step):
        assert not header.is_complete
        piece = data[start : start + step]
        assert header.receive_data(piece) == len(piece)
    assert (header.is_complete, header.source) == (True, source)


@pytest.mark.parametrize("step", [1, 10_000])
@pytest.mark.parametrize("case", BAD)
def test_what_is_no_header_is_refused_with_a_reason(case: str, step: int) -> None:
    data, reason = BAD[case]
    header = ProxyHeader()

    def feed() -> None:
        for start in range(0, len(data), step):
            header.receive_data(data[start : start + step])
            assert not header.is_complete

    with pytest.raises(RemoteProtocolError, match=reason):
        feed()


@given(
    start=st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]),
    tail=st.binary(max_size=300),
    step=st.integers(1, 300),
)
def test_whatever_comes_ends_in_a_header_or_a_refusal(start: bytes, tail: bytes, step: int) -> None:
    """The same one, in one piece or in many, and by then no more was kept than the bound."""
    data = start + tail or b"x"

    def outcome(step: int) -> object:
        header = ProxyHeader()
        taken = 0
        try:
            while taken < len(data) and not header.is_complete:
                taken += header.receive_data(data[taken : taken + step])
        except RemoteProtocolError as error:
            return str(error)
        return taken, header.is_complete, header.source

    assert outcome(step) == outcome(len(data))
