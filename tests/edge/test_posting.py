"""One POST: what is sent, and what anybody at the other end can make of it: very little."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from edge.posting import MAX_ANSWER_BYTES, Answered, Poster, PostError, check_url

URL = "http://receiver.test/secret-path"


class Scripted(httpx.AsyncBaseTransport):
    """Answers as told, a piece at a time."""

    def __init__(self, pieces: list[bytes | float], **more: Any) -> None:
        self.requests: list[httpx.Request] = []
        self.is_closed = False
        self._pieces = pieces
        self._more = {"status_code": 200, **more}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(content=self._body(), **self._more)

    async def _body(self) -> AsyncIterator[bytes]:
        try:
            for piece in self._pieces:
                if isinstance(piece, bytes):
                    await trio.lowlevel.checkpoint()
                    yield piece
                else:
                    await trio.sleep(piece)
        finally:
            self.is_closed = True


async def post(transport: httpx.AsyncBaseTransport, secret: bytes | None = None) -> Answered:
    poster = Poster(httpx.AsyncClient(transport=transport), clock_s=lambda: 77.9)
    try:
        return await poster.post(
            URL, b'{"a":1}', secret=secret, timeout_s=5.0, headers={"Headrace-Event": "e"}
        )
    finally:
        await poster.aclose()


async def test_what_is_sent_and_what_comes_back(autojump_clock: MockClock) -> None:
    transport = Scripted([b"a", 4.9, b"b"], status_code=201)
    assert await post(transport, b"s") == Answered(201, b"ab")
    (request,) = transport.requests
    assert (request.method, str(request.url), request.content) == ("POST", URL, b'{"a":1}')
    expected = hmac.new(b"s", b'77.{"a":1}', hashlib.sha256).hexdigest()
    assert request.headers["headrace-signature"] == f"t=77,v1={expected}"
    assert request.headers["headrace-event"] == "e"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"] == "headrace"


async def test_nothing_is_signed_without_a_secret(autojump_clock: MockClock) -> None:
    transport = Scripted([])
    assert (await post(transport)).is_success
    assert "headrace-signature" not in transport.requests[0].headers


@pytest.mark.parametrize(
    ("pieces", "takes_s", "reason"),
    [
        ([5.1], 5.0, "no whole answer within 5 s"),
        ([b"x", 3.0] * 10, 5.0, "no whole answer within 5 s"),
        ([b"x" * MAX_ANSWER_BYTES, b"x", 100.0], 0.0, "longer than"),
        ([b"x" * 1000] * 10_000, 0.0, "longer than"),
    ],
)
async def test_no_answer_costs_more_than_its_bounds(
    pieces: list[bytes | float], takes_s: float, reason: str, autojump_clock: MockClock
) -> None:
    transport = Scripted(pieces)
    began_s = trio.current_time()
    with pytest.raises(PostError, match=reason):
        await post(transport)
    assert trio.current_time() - began_s == takes_s
    assert transport.is_closed


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx.ConnectError(f"all attempts to {URL} failed"), "cannot connect"),
        (httpx.RemoteProtocolError("garbage"), "what came back is not HTTP"),
        (httpx.ReadError("reset"), "ReadError"),
        (UnicodeError("label too long"), "UnicodeError"),
    ],
)
async def test_an_error_is_one_line_without_an_address(error: Exception, reason: str) -> None:
    class Broken(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise error

    with pytest.raises(PostError) as caught:
        await post(Broken())
    assert str(caught.value) == reason


@pytest.mark.parametrize("location", ["http://elsewhere.test/", "/other"])
async def test_a_redirect_is_an_answer_like_others(location: str) -> None:
    transport = Scripted([b""], status_code=307, headers={"Location": location})
    answer = await post(transport)
    assert (answer.status, answer.is_success) == (307, False)
    assert len(transport.requests) == 1


async def test_no_cookie_is_kept() -> None:
    transport = Scripted([b""], headers={"Set-Cookie": "a=b"})
    poster = Poster(httpx.AsyncClient(transport=transport))
    for _ in range(2):
        await poster.post(URL, b"{}", secret=None, timeout_s=1.0)
    await poster.aclose()
    assert "cookie" not in transport.requests[1].headers


async def test_who_is_cancelled_is_cancelled(autojump_clock: MockClock) -> None:
    transport = Scripted([b"x", 3.0])
    with trio.move_on_after(1.0) as scope:
        await post(transport)
    assert scope.cancelled_caught
    assert transport.is_closed


@pytest.mark.parametrize(
    "url", ["ftp://a/", "http://", "nothing", "http://[::1", "https:///path", "http://a:99999/"]
)
def test_what_is_no_url_to_post_to(url: str) -> None:
    with pytest.raises(
        ValueError,
        match=r"^(not a URL|must be http://HOST\.\.\. or https://HOST\.\.\.|no such port)$",
    ):
        check_url(url)


@pytest.mark.parametrize("url", ["http://a", "https://[::1]:8/x?y", "http://127.0.0.1:1/"])
def test_what_is_one(url: str) -> None:
    check_url(url)
