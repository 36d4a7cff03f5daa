"""Responses: header blocks, ranges, the Date line."""

from email.utils import parsedate_to_datetime

import pytest
import trio

from edge.http.representation import select_range
from edge.http.response import (
    PREFLIGHT,
    DateLine,
    error_response,
    json_response,
    make_response,
)

BODY = make_response(200, (b"0123", b"4567", b"89"), content_type="video/mp4", accepts_ranges=True)


def test_a_header_block_is_rendered_once_without_date_connection_or_end() -> None:
    response = make_response(
        200, (b"ab", b"c"), content_type="video/mp4", cache_control="max-age=5", extra={"X": "y"}
    )
    assert response.head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert response.head.endswith(b"X: y\r\n")
    for line in (b"Content-Length: 3", b"Content-Type: video/mp4", b"Cache-Control: max-age=5"):
        assert line + b"\r\n" in response.head
    assert b"Access-Control-Allow-Origin: *\r\n" in response.head
    assert b"Date:" not in response.head
    assert b"Connection:" not in response.head
    assert response.size_bytes == 3


def test_bodies_are_shared_not_copied() -> None:
    part = bytes(1000)
    assert make_response(200, (part, part)).chunks[1] is part


def test_errors_are_json_and_never_stored() -> None:
    response = error_response(404, 'no "such" thing', extra={"Retry-After": "1"})
    assert response.chunks == (b'{"error":"no \\"such\\" thing","code":"notFound"}',)
    assert b"Cache-Control: no-store\r\n" in response.head
    assert b"Retry-After: 1\r\n" in response.head
    assert b"Access-Control-Allow-Origin: *\r\n" in response.head
    assert json_response(201, {"a": 1}).chunks == (b'{"a":1}',)


def test_a_preflight_has_no_body_and_no_length() -> None:
    assert PREFLIGHT.status == 204
    assert b"\r\nContent-Length:" not in PREFLIGHT.head
    assert b"Access-Control-Allow-Methods: GET, HEAD, POST" in PREFLIGHT.head
    assert b"Range" in PREFLIGHT.head


@pytest.mark.parametrize(
    ("value", "body", "content_range"),
    [
        ("bytes=0-", b"0123456789", "0-9/10"),
        ("bytes=0-0", b"0", "0-0/10"),
        ("bytes=3-4", b"34", "3-4/10"),
        ("bytes=4-7", b"4567", "4-7/10"),
        ("bytes=2-8", b"2345678", "2-8/10"),
        ("bytes=8-99", b"89", "8-9/10"),
        ("bytes=-3", b"789", "7-9/10"),
        ("bytes=-99", b"0123456789", "0-9/10"),
    ],
)
def test_a_range_is_cut_across_chunks(value: str, body: bytes, content_range: str) -> None:
    response = select_range(BODY, value)
    assert response.status == 206
    assert response.head.startswith(b"HTTP/1.1 206 Partial Content\r\n")
    assert b"".join(response.chunks) == body
    assert response.size_bytes == len(body)
    assert f"Content-Range: bytes {content_range}\r\n".encode() in response.head
    assert b"Content-Length: %d\r\n" % len(body) in response.head


@pytest.mark.parametrize(
    "value", ["bytes=-", "bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=x-", "", "bytes=\uff11-"]
)
def test_a_range_that_is_not_understood_is_ignored(value: str) -> None:
    assert select_range(BODY, value) is BODY


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=10-20", "bytes=-0"])
def test_a_range_outside_is_416(value: str) -> None:
    response = select_range(BODY, value)
    assert response.status == 416
    assert b"Content-Range: bytes */10\r\n" in response.head


async def test_the_date_is_rendered_once_a_second(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall_s = [1_700_000_000.75]
    monkeypatch.setattr("time.time", lambda: wall_s[0])
    date = DateLine()
    first = date.render()
    assert first.startswith(b"Date: ")
    assert first.endswith(b" GMT\r\n")
    assert parsedate_to_datetime(first[6:-2].decode()).timestamp() == 1_700_000_000
    await trio.sleep(0.2)
    assert date.render() is first
    await trio.sleep(0.1)  # past the full second of the wall clock
    wall_s[0] += 0.3
    assert date.render() != first
