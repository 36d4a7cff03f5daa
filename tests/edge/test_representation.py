"""What one request makes of a shared response: gzip, not modified, ranges; RFC 9110."""

import gzip

import pytest

from edge.http.messages import Request
from edge.http.representation import represent
from edge.http.response import Response, make_response

TEXT = b"#EXTM3U\n" * 50
PLAYLIST = make_response(
    200, (TEXT[:100], TEXT[100:]), content_type="text/x", etag='"v1"', packable=True
)
MEDIA = make_response(200, (b"01234", b"56789"), etag='"m"', accepts_ranges=True)


def asked(response: Response, method: str = "GET", **fields: str) -> Response:
    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return represent(response, Request(method, "/x", headers))


@pytest.mark.parametrize(
    ("accepts", "packed"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("br, gzip;q=0.5", True),
        ("deflate, br", False),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("*;q=0", False),
        ("gzip;q=0.001", True),
        ("identity", False),
    ],
)
def test_gzip_goes_to_whoever_accepts_it(accepts: str | None, packed: bool) -> None:
    response = asked(PLAYLIST) if accepts is None else asked(PLAYLIST, accept_encoding=accepts)
    assert (response is not PLAYLIST) == packed
    assert b"Vary: Accept-Encoding\r\n" in response.head
    body = b"".join(response.chunks)
    assert (b"Content-Encoding: gzip\r\n" in response.head) == packed
    assert (gzip.decompress(body) if packed else body) == TEXT
    assert b"Content-Length: %d\r\n" % len(body) in response.head


def test_it_is_packed_once_and_has_a_tag_of_its_own() -> None:
    first = asked(PLAYLIST, accept_encoding="gzip")
    assert asked(PLAYLIST, accept_encoding="gzip") is first
    assert first.etag == '"v1-gzip"'
    assert b'ETag: "v1-gzip"\r\n' in first.head
    assert first.head.count(b"ETag: ") == first.head.count(b"Content-Length: ") == 1
    untagged = make_response(200, (TEXT,), packable=True)
    assert asked(untagged, accept_encoding="gzip").etag is None


def test_media_and_errors_are_never_packed() -> None:
    assert asked(MEDIA, accept_encoding="gzip") is MEDIA
    error = make_response(404, (TEXT,), packable=True)
    assert asked(error, accept_encoding="gzip") is error
    assert asked(PLAYLIST, "POST", accept_encoding="gzip") is PLAYLIST


@pytest.mark.parametrize("known", ['"v1"', 'W/"v1"', '"a", "v1"', "*", '"v1" , W/"b"'])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_known_is_not_sent_again(known: str, method: str) -> None:
    response = asked(PLAYLIST, method, if_none_match=known)
    assert response.status == 304
    assert response.head.startswith(b"HTTP/1.1 304 Not Modified\r\n")
    assert response.chunks == ()
    for name in (b"Content-Length", b"Content-Type", b"Content-Encoding"):
        assert b"\r\n" + name not in response.head
    for line in (b'ETag: "v1"', b"Vary: Accept-Encoding", b"Cache-Control: no-store"):
        assert line + b"\r\n" in response.head
    assert b"Access-Control-Allow-Origin: *\r\n" in response.head


@pytest.mark.parametrize("known", ['"v2"', '"v1-gzip"', "v1", "", '"a", *'])
def test_what_is_not_known_is_sent(known: str) -> None:
    assert asked(PLAYLIST, if_none_match=known) is PLAYLIST


def test_the_gzip_form_is_compared_by_its_own_tag() -> None:
    response = asked(PLAYLIST, accept_encoding="gzip", if_none_match='"v1-gzip"')
    assert response.status == 304
    assert b'ETag: "v1-gzip"\r\n' in response.head
    assert asked(PLAYLIST, accept_encoding="gzip", if_none_match='"v1"').status == 200


def test_fields_are_those_of_the_head() -> None:
    """HTTP/2 sends the fields, HTTP/1.1 the head: they must not drift apart."""
    for response in (
        PLAYLIST,
        asked(PLAYLIST, accept_encoding="gzip"),
        asked(PLAYLIST, if_none_match="*"),
        asked(MEDIA, range="bytes=2-5"),
        asked(MEDIA, range="bytes=20-"),
    ):
        lines = response.head.split(b"\r\n")[1:-1]
        pairs = [tuple(line.split(b": ", 1)) for line in lines]
        assert sorted((name.lower(), value) for name, value in pairs) == sorted(response.fields)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"range": "bytes=2-5"}, 206),
        ({"range": "bytes=2-5", "if_range": '"m"'}, 206),
        ({"range": "bytes=2-5", "if_range": '"other"'}, 200),
        ({"range": "bytes=2-5", "if_range": 'W/"m"'}, 200),  # 13.1.5: strong comparison only
        ({"range": "bytes=2-5", "if_range": "Sat, 28 Nov 2026 10:00:00 GMT"}, 200),
        ({"range": "bytes=2-5", "if_none_match": '"m"'}, 304),  # 13.2.2: before the range
        ({"range": "bytes=20-"}, 416),
    ],
)
def test_a_range_of_the_media_that_is_meant(fields: dict[str, str], status: int) -> None:
    response = asked(MEDIA, **fields)
    assert response.status == status
    if status == 206:
        assert b"".join(response.chunks) == b"2345"
        assert response.etag == '"m"'


def test_a_range_is_ignored_where_none_can_be_had() -> None:
    assert asked(PLAYLIST, range="bytes=0-1") is PLAYLIST
    assert asked(MEDIA, "HEAD", range="bytes=0-1") is MEDIA
