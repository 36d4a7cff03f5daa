"""The request scanner, both twins: what is plain, what is odd, and how early it says so.

Tables of bytes. That h11 agrees with whatever is plain is `test_request_h11.py`'s.
"""

from typing import TYPE_CHECKING

import pytest
from player_requests import (
    CHROMIUM_PART,
    CHROMIUM_PLAYLIST,
    CURL_HEAD,
    EDGE,
    FFMPEG_UNSEEKABLE,
    FIREFOX,
    GSTREAMER,
    ODD_HEADS,
    PLAIN_HEADS,
    PREFIX,
    SAFARI,
    request_head,
)

from native import NotPlain, PlainRequest, fnv1a

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Twin

    Scan = Callable[..., PlainRequest | NotPlain]

NEED_DATA, ODD = NotPlain.NEED_DATA, NotPlain.ODD
FILE = "/api/streams/s/q/x.m4s"


@pytest.fixture(scope="module")
def scan(twin: "Twin") -> "Scan":
    """Each implementation in turn."""
    return twin.scan_request


def verdicts(scan: "Scan", data: bytes) -> list[PlainRequest | NotPlain]:
    """What the scanner says of each beginning of the data, from none of it to all."""
    return [scan(data[:size], PREFIX) for size in range(len(data) + 1)]


def agent_of(head: bytes) -> int:
    """The User-Agent of a head, hashed."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b": ")
        if name.lower() == b"user-agent":
            return fnv1a(value)
    return 0


def scan_target(scan: "Scan", target: str) -> PlainRequest | NotPlain:
    return scan(request_head(f"GET {target} HTTP/1.1", "Host: h"), PREFIX)


def scan_fields(scan: "Scan", *fields: str) -> PlainRequest | NotPlain:
    return scan(request_head(f"GET {FILE} HTTP/1.1", *fields), PREFIX)


# Whole heads.


@pytest.mark.parametrize(
    ("head", "is_head", "keeps_alive", "key", "cmcd"),
    [
        (
            CHROMIUM_PLAYLIST,
            *(False, True),
            b"g/api/streams/demo/source/playlist.m3u8?_HLS_msn=1234&_HLS_part=3",
            b"",
        ),
        (
            CHROMIUM_PART,
            *(False, True),
            b"g/api/streams/demo/source/p7k2.1234.3.m4s",
            b"bl%3D1900%2Cot%3Dav%2Csf%3Dh%2Cv%3D1",
        ),
        (
            FIREFOX,
            *(False, True),
            b"g/api/streams/demo/720p/playlist.m3u8?_HLS_msn=77&_HLS_part=0&_HLS_skip=YES",
            b"",
        ),
        (SAFARI, False, True, b"g/api/streams/demo/master.m3u8", b""),
        (CURL_HEAD, True, True, b"i/api/streams/demo/source/init.1.mp4", b""),
        (GSTREAMER, False, True, b"i/api/streams/demo/source/ts.m3u8?container=ts", b""),
        (FFMPEG_UNSEEKABLE, False, False, b"i/api/streams/demo/source/s1.1234.m4s", b""),
        (EDGE, False, True, b"g/api/streams/demo/source/playlist.m3u8?_HLS_msn=9", b""),
    ],
    ids=PLAIN_HEADS,
)
def test_what_players_send_is_plain(
    scan: "Scan", head: bytes, is_head: bool, keeps_alive: bool, key: bytes, cmcd: bytes
) -> None:
    expected = PlainRequest(
        head_bytes=len(head),
        is_head=is_head,
        accepts_gzip=key[:1] == b"g",
        keeps_alive=keeps_alive,
        key=key,
        cmcd=cmcd,
        stream=b"demo",
        token=b"",
        agent=agent_of(head),
        forwarded=b"",
    )
    assert verdicts(scan, head) == [NEED_DATA] * len(head) + [expected]
    pipelined = head + CURL_HEAD
    assert scan(pipelined, PREFIX) == expected
    assert scan(pipelined[expected.head_bytes :], PREFIX) == scan(CURL_HEAD, PREFIX)
    assert scan(head + b"\x00 whatever", PREFIX) == expected


@pytest.mark.parametrize("head", ODD_HEADS.values(), ids=ODD_HEADS)
def test_what_needs_more_than_a_file_is_odd(scan: "Scan", head: bytes) -> None:
    assert scan(head, PREFIX) is ODD


def test_the_fields_are_of_the_types_they_say(scan: "Scan") -> None:
    request = scan(CHROMIUM_PART, PREFIX)
    assert isinstance(request, PlainRequest)
    assert [type(value) for value in request] == [
        *(int, bool, bool, bool, bytes, bytes),
        *(bytes, bytes, int, bytes),
    ]


# The target.


@pytest.mark.parametrize(
    ("target", "key"),
    [
        ("/api/streams/a.m3u8", "/api/streams/a.m3u8"),
        ("/api/streams/a/b/c/d.e", "/api/streams/a/b/c/d.e"),
        ("/api/streams/.../.a", "/api/streams/.../.a"),
        ("/api/streams/a..b/c..", "/api/streams/a..b/c.."),
        ("/api/streams/Az09._~-/x.", "/api/streams/Az09._~-/x."),
        (f"{FILE}?", FILE),
        (f"{FILE}?&&=&=x&x&token=a%20b/?:@!$'()*,;[]{{}}|^`\"<>\\", FILE),
        (f"{FILE}?_HLS_msn=0", f"{FILE}?_HLS_msn=0"),
        (f"{FILE}?_HLS_msn=123456789012345678", f"{FILE}?_HLS_msn=123456789012345678"),
        (f"{FILE}?_HLS_part=10&a=1&_HLS_msn=20", f"{FILE}?_HLS_msn=20&_HLS_part=10"),
        (f"{FILE}?_HLS_skip=v2", f"{FILE}?_HLS_skip=v2"),
        (
            f"{FILE}?container=Ts&_HLS_skip=YES&_HLS_part=1&_HLS_msn=2",
            f"{FILE}?_HLS_msn=2&_HLS_part=1&_HLS_skip=YES&container=Ts",
        ),
        (f"{FILE}?_hls_msn=x&HLS_msn=-&_HLS=1&containers=1", FILE),
    ],
)
def test_the_key_is_the_path_and_what_matters_of_the_query(
    scan: "Scan", target: str, key: str
) -> None:
    request = scan_target(scan, target)
    assert isinstance(request, PlainRequest)
    assert request.key == b"i" + key.encode()


@pytest.mark.parametrize(
    "target",
    [
        "",
        "*",
        "/",
        "/api/streams",
        "/api/streams/",
        "/api/streams/live",
        "/api/streams/s/",
        "/api/streams/s.x/q",
        "/api/streams/s.x/",
        "/API/streams/s/x.m4s",
        "/api/streamss/x.m4s",
        "/watch/x.html",
        "//api/streams/s/x.m4s",
        "/api/streams//x.m4s",
        "/api/streams/s//x.m4s",
        "/api/streams/s/./x.m4s",
        "/api/streams/s/../x.m4s",
        "/api/streams/../x.m4s",
        "/api/streams/s/.",
        "/api/streams/s/..",
        "/api/streams/s/%2e%2e/x.m4s",
        "/api/streams/s/x%2em4s",
        "/api/streams/s/x;v=1.m4s",
        "/api/streams/s\\x.m4s",
        "/api/streams/~s/x.m4s",
        "/api/streams/~s.x",
        "/api/streams/s/q/~x.m4s",
        "/api/streams/s/q/~t/x.m4s",
        "/api/streams/s/~t/~u/x.m4s",
        "/api/streams/s/~t/q/~x.m4s",
        "/api/streams/s/~",
        "/api/streams/s/~/x.m4s",
        "/api/streams/s/~t.m4s",
        "/api/streams/s/~t/",
        "/api/streams/s/~t/x",
        "/api/streams/s/~t//x.m4s",
        "/api/streams/s/~t/../x.m4s",
        "/api/streams//~t/x.m4s",
        "/api/streams/../~t/x.m4s",
        "/api/streams/s/~t%2e/x.m4s",
        "/api/streams/s/\xe9.m4s",
        f"{FILE}#",
        f"{FILE}?a#b",
        f"{FILE}?\xe9",
        f"{FILE}?\x7f",
        f"{FILE}?a\tb",
        f"http://h{FILE}",
        f"h:80{FILE}",
        "h:80",
    ],
)
def test_other_targets_are_odd(scan: "Scan", target: str) -> None:
    assert scan_target(scan, target) is ODD


@pytest.mark.parametrize(
    "query",
    [
        *("_HLS_msn", "_HLS_msn=", "_HLS_msn=-1", "_HLS_msn=+1", "_HLS_msn=1.0", "_HLS_msn=0x1"),
        *("_HLS_msn=%31", "_HLS_msn=1%20", "_HLS_msn=01", "_HLS_msn=00", "_HLS_msn=1=1"),
        "_HLS_msn=1234567890123456789",  # 19 digits
        *("_HLS_msn=1&_HLS_msn=1", "_HLS_msn=1&_HLS_part=1&_HLS_part=1"),
        *("_HLS_part=1", "_HLS_msn=1&_HLS_part=", "_HLS_msn=1&_HLS_part=a"),
        *("_HLS_skip", "_HLS_skip=", "_HLS_skip=yes", "_HLS_skip=v3", "_HLS_skip=YES2"),
        *("_HLS_skip=YES&_HLS_skip=YES", "_HLS_", "_HLS_x=1", "_HLS_msn2=1", "_HLS_push=1"),
        *("%5FHLS_msn=1", "_HLS%5fmsn=1", "a%20b=1", "a+b=1", "+", "%"),
        *("container", "container=", "container=t2", "container=t%73", "container=t@"),
        *("container=ts&container=ts", "CMCD=a&CMCD=b", "CMCD&CMCD"),
    ],
)
def test_queries_that_are_not_the_plain_form_are_odd(scan: "Scan", query: str) -> None:
    assert scan_target(scan, f"{FILE}?{query}") is ODD
    assert scan_target(scan, f"{FILE}?a=1&{query}") is ODD
    assert scan_target(scan, f"{FILE}?{query}&a=1") is ODD


@pytest.mark.parametrize(
    ("query", "cmcd"),
    [
        ("CMCD=", b""),
        ("CMCD", b""),
        ("cmcd=a", b""),
        ("CMCD=a=b%2C", b"a=b%2C"),
        ("x=1&CMCD=br%3D1&_HLS_msn=1", b"br%3D1"),
    ],
)
def test_cmcd_is_noted_and_no_part_of_the_key(scan: "Scan", query: str, cmcd: bytes) -> None:
    request = scan_target(scan, f"{FILE}?{query}")
    assert isinstance(request, PlainRequest)
    assert request.cmcd == cmcd
    assert b"CMCD" not in request.key


# Who asks: the stream, the token, the agent, the address behind a proxy.


@pytest.mark.parametrize(
    ("path", "plain", "stream", "token"),
    [
        ("a.m3u8", "a.m3u8", b"", b""),
        ("s/master.m3u8", "s/master.m3u8", b"s", b""),
        ("s/~t/master.m3u8", "s/master.m3u8", b"s", b"t"),
        ("s/~Az09-_.~/q/playlist.m3u8", "s/q/playlist.m3u8", b"s", b"Az09-_.~"),
        ("s/~~/x.y", "s/x.y", b"s", b"~"),
        ("s/~../x.y", "s/x.y", b"s", b".."),
        ("s.t/~u/v/w/x.y", "s.t/v/w/x.y", b"s.t", b"u"),
    ],
)
def test_the_token_is_no_part_of_the_key_but_its_case_is(
    scan: "Scan", path: str, plain: str, stream: bytes, token: bytes
) -> None:
    for fields, mark in (((), "i"), (("Accept-Encoding: gzip",), "g")):
        line = f"GET {PREFIX.decode()}{path}?x&_HLS_msn=1 HTTP/1.1"
        request = scan(request_head(line, "Host: h", *fields), PREFIX)
        assert isinstance(request, PlainRequest)
        assert (request.stream, request.token) == (stream, token)
        key = (mark.upper() if token else mark) + f"{PREFIX.decode()}{plain}?_HLS_msn=1"
        assert request.key == key.encode()


def test_a_token_of_2048_bytes_is_plain_and_a_longer_one_is_odd(scan: "Scan") -> None:
    request = scan_target(scan, f"/api/streams/s/~{'t' * 2048}/x.m4s")
    assert isinstance(request, PlainRequest)
    assert request.token == b"t" * 2048
    assert request.key == b"I/api/streams/s/x.m4s"
    assert scan_target(scan, f"/api/streams/s/~{'t' * 2049}/x.m4s") is ODD


def test_a_key_without_its_token_fits_where_the_target_does_not(scan: "Scan") -> None:
    head = request_head("GET /api/streams/s/~ttttttttt/x.m4s HTTP/1.1", "Host: h")
    key = b"I/api/streams/s/x.m4s"
    request = scan(head, PREFIX, max_key_bytes=len(key))
    assert isinstance(request, PlainRequest)
    assert request.key == key
    assert scan(head, PREFIX, max_key_bytes=len(key) - 1) is ODD


@pytest.mark.parametrize(
    ("fields", "agent", "forwarded"),
    [
        ((), None, b""),
        (("user-AGENT: \t VLC 3 \t",), b"VLC 3", b""),
        (("User-Agent:",), b"", b""),
        (("User-Agent: a", "User-Agent: b"), b"a", b""),
        (("User-Agent:", "User-Agent: b"), b"", b""),
        (("X-User-Agent: a", "User-Agent-X: b"), None, b""),
        (("X-Forwarded-For: 1.2.3.4, ::1",), None, b"1.2.3.4, ::1"),
        (("x-forwarded-for: a", "X-FORWARDED-FOR: b"), None, b"b"),
        (("X-Forwarded-For: a", "X-Forwarded-For:"), None, b""),
    ],
)
def test_the_first_agent_and_the_last_forwarded_say_who_asks(
    scan: "Scan", fields: tuple[str, ...], agent: bytes | None, forwarded: bytes
) -> None:
    request = scan_fields(scan, "Host: h", *fields)
    assert isinstance(request, PlainRequest)
    assert request.agent == (0 if agent is None else fnv1a(agent))
    assert request.forwarded == forwarded


@pytest.mark.parametrize(
    ("data", "value"),
    [  # of the authors' own list of test vectors
        (b"", 0xCBF29CE484222325),
        (b"a", 0xAF63DC4C8601EC8C),
        (b"foobar", 0x85944171F73967E8),
    ],
)
def test_fnv1a(twin: "Twin", data: bytes, value: int) -> None:
    assert twin.fnv1a(data) == value


# The request line.


@pytest.mark.parametrize(
    "line",
    [
        f"POST {FILE} HTTP/1.1",
        f"OPTIONS {FILE} HTTP/1.1",
        f"get {FILE} HTTP/1.1",
        f"GETT {FILE} HTTP/1.1",
        f"HEAD  {FILE} HTTP/1.1",
        f"GET  {FILE} HTTP/1.1",
        f"GET\t{FILE} HTTP/1.1",
        f" GET {FILE} HTTP/1.1",
        f"GET {FILE}  HTTP/1.1",
        f"GET {FILE}\tHTTP/1.1",
        f"GET {FILE} HTTP/1.1 ",
        f"GET {FILE} HTTP/1.0",
        f"GET {FILE} HTTP/1.2",
        f"GET {FILE} HTTP/2.0",
        f"GET {FILE} HTTP/1.10",
        f"GET {FILE} http/1.1",
        f"GET {FILE}",
        f"GET {FILE} x HTTP/1.1",
        f"GET {FILE}\x00 HTTP/1.1",
        "CONNECT h:443 HTTP/1.1",
        "PRI * HTTP/2.0",
        "",
    ],
)
def test_other_request_lines_are_odd(scan: "Scan", line: str) -> None:
    assert scan(request_head(line, "Host: h"), PREFIX) is ODD


# Fields.


def test_blanks_around_values_are_not_of_them(scan: "Scan") -> None:
    request = scan_fields(
        scan, "hOST:\t h \t", "CONNECTION:Close  ", "accept-ENCODING:  br\t,\tGZip  ", "X:", "Y: \t"
    )
    assert isinstance(request, PlainRequest)
    assert request.accepts_gzip
    assert not request.keeps_alive


@pytest.mark.parametrize(
    ("value", "accepts_gzip"),
    [
        ("", False),
        (",,", False),
        ("gzip", True),
        (" , gzip", True),
        ("GZIP", True),
        ("identity", False),
        ("x-gzip", False),
        ("gzip2", False),
        ("g zip", False),
        ("br gzip", False),
        ("deflate,gzip,", True),
    ],
)
def test_gzip_in_a_list(scan: "Scan", value: str, accepts_gzip: bool) -> None:
    request = scan_fields(scan, "Host: h", f"Accept-Encoding: {value}")
    assert isinstance(request, PlainRequest)
    assert request.accepts_gzip is accepts_gzip
    assert request.key[:1] == (b"g" if accepts_gzip else b"i")


@pytest.mark.parametrize(
    "name", ["Keep-Alive", "Upgrade-Insecure-Requests", "Cookie", "X-Range", "CMCD-Object"]
)
def test_fields_without_a_say_are_passed_over(scan: "Scan", name: str) -> None:
    assert isinstance(scan_fields(scan, "Host: h", f"{name}: 1"), PlainRequest)


@pytest.mark.parametrize(
    "name",
    [
        *("Content-Length", "Transfer-Encoding", "TE", "Trailer", "Expect"),
        *("Upgrade", "HTTP2-Settings", "Proxy-Connection", "Authorization"),
        *("Range", "If-Range", "If-Match", "If-None-Match"),
        *("If-Modified-Since", "If-Unmodified-Since", "CMCD-Session"),
    ],
)
def test_fields_that_ask_for_more_are_odd(scan: "Scan", name: str) -> None:
    for spelling in (name, name.lower(), name.upper()):
        assert scan_fields(scan, "Host: h", f"{spelling}: 0") is ODD
        assert scan_fields(scan, f"{spelling}:", "Host: h") is ODD
        assert isinstance(scan_fields(scan, "Host: h", f"{spelling}_: 0"), PlainRequest)
        assert isinstance(scan_fields(scan, "Host: h", f"X{spelling[1:]}: 0"), PlainRequest)


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Host:",),
        ("Host: \t",),
        ("Host: h", "Host: h"),
        ("Host: h", "hOST: h"),
        ("X-Host: h",),
        ("Host : h",),
        ("Host\t: h",),
        (" Host: h",),
        ("Host: h", " folded: 1"),
        ("Host: h", "\tfolded"),
        ("Host: h", "A: 1", "  "),
        ("Host: h", ": 1"),
        ("Host: h", "no colon"),
        ("Host: h", "nocolon"),
        ("Host: h", "A(: 1"),
        ("Host: h", "A\xe9: 1"),
        ("Host: h", "A\x00: 1"),
        ("Host: h", "A: \x00"),
        ("Host: h", "A: \x1b"),
        ("Host: h", "A: \x7f"),
        ("Host: h", "A: \xe9"),
        ("Host: h\x0b",),
        ("Host: h", "A: 1\rB: 2"),
        ("Host: h", "A: 1\nB: 2"),
        ("Host: h", "A: 1\n B: 2"),
        ("Host: h", "A: 1\r\r"),
        ("Host: h", "Connection: upgrade"),
        ("Host: h", "Connection: keep-alive, Upgrade"),
        ("Host: h", "Connection: close, TE"),
        ("Host: h", "Connection: keep-alive, close"),
        ("Host: h", "Connection: keep alive"),
        ("Host: h", "Connection:"),
        ("Host: h", "Connection: close", "Connection: close"),
        ("Host: h", "Connection: close", "Connection: keep-alive"),
        ("Host: h", "Accept-Encoding: gzip;q=0"),
        ("Host: h", "Accept-Encoding: *"),
        ("Host: h", "Accept-Encoding: gzip, *"),
        ("Host: h", "Accept-Encoding: gzip", "Accept-Encoding: gzip"),
        ("Host: h", "Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Host: h", "Content-Length: 5", "Content-Length: 6"),
        ("Host: h", "Content-Length : 5"),
        ("Host: h", "Transfer-Encoding: xchunked"),
        ("Host: h", "Transfer-Encoding : chunked"),
        ("Host: h", "Transfer-Encoding:\tchunked"),
        ("Host: h", "Transfer-Encoding: chunked, identity"),
        ("Host: h", "X: 1\r\n Transfer-Encoding: chunked"),
    ],
)
def test_other_field_lines_are_odd(scan: "Scan", fields: tuple[str, ...]) -> None:
    assert scan_fields(scan, *fields) is ODD


@pytest.mark.parametrize("end", ["\n", "\r", "\n\r", "\r\r\n", "\x00\r\n"])
def test_lines_that_end_otherwise_are_odd(scan: "Scan", end: str) -> None:
    assert scan(request_head(f"GET {FILE} HTTP/1.1", "Host: h", end=end), PREFIX) is ODD
    head = request_head(f"GET {FILE} HTTP/1.1", "Host: h")
    assert scan(head.removesuffix(b"\r\n") + end.encode() + head, PREFIX) is ODD
    assert scan(end.encode() + CURL_HEAD, PREFIX) is ODD


# When it says so.


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"\r\n", 1),
        (b"POST /", 1),
        (b"\x16\x03\x01", 1),  # a TLS hello
        (b"PRI * HTTP/2.0", 1),
        (b"GETX", 4),
        (b"HEADGET", 5),
        (b"GET http://h/", 5),
        (b"GET /watch/", 6),
        (b"GET /api/streams/a%20", 19),
        (b"GET /api/streams/live HTTP", 22),
        (b"GET /api/streams/a/../b.m4s ", 28),
        (b"GET /api/streams/a.b?#", 22),
        (b"GET /api/streams/a.b?_HLS_x=1&", 31),
        (b"GET /api/streams/a.b HTTP/1.0", 29),
        (b"GET /api/streams/a.b HTTP/1.1\n", 30),
        (b"GET /api/streams/a.b HTTP/1.1\r\r", 31),
        (b"GET /api/streams/a.b HTTP/1.1\r\n ", 32),
        (b"GET /api/streams/a.b HTTP/1.1\r\nA B", 33),
        (b"GET /api/streams/a.b HTTP/1.1\r\nA: \x00", 35),
        (b"GET /api/streams/a.b HTTP/1.1\r\nRange: ", 37),
        (b"GET /api/streams/a.b HTTP/1.1\r\nHost:\r\n", 38),
        (b"GET /api/streams/a.b HTTP/1.1\r\n\r\n", 33),
    ],
)
def test_how_many_bytes_it_takes_to_be_odd(scan: "Scan", data: bytes, size: int) -> None:
    data += b" \r\n\r\n"  # what follows changes nothing
    assert verdicts(scan, data) == [NEED_DATA] * size + [ODD] * (len(data) + 1 - size)


@pytest.mark.parametrize("head", PLAIN_HEADS.values(), ids=PLAIN_HEADS)
def test_a_byte_that_can_stand_nowhere_is_odd_at_once(scan: "Scan", head: bytes) -> None:
    for position in range(len(head)):
        spoilt = head[:position] + b"\x00" + head[position + 1 :]
        assert scan(spoilt[:position], PREFIX) is NEED_DATA
        assert scan(spoilt[: position + 1], PREFIX) is ODD
        assert scan(spoilt, PREFIX) is ODD


@pytest.mark.parametrize("head", ODD_HEADS.values(), ids=ODD_HEADS)
def test_once_odd_is_always_odd(scan: "Scan", head: bytes) -> None:
    said = verdicts(scan, head)
    first = said.index(ODD)
    assert said == [NEED_DATA] * first + [ODD] * (len(said) - first)
    assert b"Range:" in head[:first] or b"If-None-Match:" in head[:first]


# Bounds.


def test_a_head_of_4096_bytes_is_plain_and_a_longer_one_is_odd(scan: "Scan") -> None:
    head = request_head(f"GET {FILE} HTTP/1.1", "Host: h", "X: ")
    filled = head[:-4] + b"x" * (4096 - len(head)) + head[-4:]
    request = scan(filled, PREFIX)
    assert isinstance(request, PlainRequest)
    assert request.head_bytes == 4096
    assert scan(filled + CURL_HEAD, PREFIX) == request
    assert scan(filled[:-1], PREFIX) is NEED_DATA
    longer = filled[:-4] + b"x" + filled[-4:]
    assert scan(longer, PREFIX) is ODD
    assert scan(longer[:4096], PREFIX) is ODD  # does not wait for the end
    assert scan(longer[:4095], PREFIX) is NEED_DATA


def test_64_fields_are_plain_and_65_are_odd(scan: "Scan") -> None:
    others = [f"X-{number}: 1" for number in range(63)]
    assert isinstance(scan_fields(scan, "Host: h", *others), PlainRequest)
    assert scan_fields(scan, "Host: h", *others, "Y:") is ODD


def test_a_key_that_does_not_fit_is_odd(scan: "Scan") -> None:
    head = request_head(f"GET {FILE}?a=1&_HLS_part=1&_HLS_msn=1 HTTP/1.1", "Host: h")
    key = b"i%b?_HLS_msn=1&_HLS_part=1" % FILE.encode()
    request = scan(head, PREFIX, max_key_bytes=len(key))
    assert isinstance(request, PlainRequest)
    assert request.key == key
    assert scan(head, PREFIX, max_key_bytes=len(key) - 1) is ODD
    assert scan(head, PREFIX, max_key_bytes=0) is ODD
    assert scan(head[:-1], PREFIX, max_key_bytes=0) is NEED_DATA


def test_the_longest_target_has_room_for_its_key(scan: "Scan") -> None:
    bare = request_head(f"GET {PREFIX.decode()}.x HTTP/1.1", "Host: h")
    head = bare.replace(b".x", b"a" * (4096 - len(bare)) + b".x")
    request = scan(head, PREFIX)
    assert isinstance(request, PlainRequest)
    assert request.key == b"i" + head.split(b" ")[1]


# The prefix.


def test_the_prefix_is_what_the_path_begins_with(scan: "Scan") -> None:
    head = request_head("GET /a/b.c HTTP/1.1", "Host: h")
    assert isinstance(scan(head, b"/"), PlainRequest)
    assert isinstance(scan(head, b"/a/"), PlainRequest)
    assert scan(head, b"/a/b/") is ODD
    assert scan(head, PREFIX) is ODD
    assert scan(request_head("GET //b.c HTTP/1.1", "Host: h"), b"/") is ODD


@pytest.mark.parametrize("prefix", [b"", b"a/", b"/a"])
def test_a_prefix_is_between_slashes(scan: "Scan", prefix: bytes) -> None:
    with pytest.raises(ValueError, match=r"^the prefix must begin and end with a slash$"):
        scan(CURL_HEAD, prefix)
