"""Connections to one upstream: bounded, reused, and given up when one cannot be trusted.

httpx keeps one connection for all requests where HTTP/2 is spoken, and makes them wait there
without a word when the peer allows no more streams. So requests go over *lanes*, each a transport
of httpx's with at most `LANE_REQUESTS` under way: over HTTP/1.1 that is as many connections, over
HTTP/2 one.

A lane on which a request was not brought to its end takes no new ones, and is closed after those
that it has: httpx does not reset an HTTP/2 stream that it gives up, so what the peer still sends
would take from the connection's window for ever.

May import: httpx, trio. Spec: RFC 9112, section 6.3 (length of a body); RFC 9113, section 5.1.2.
"""

from collections.abc import Callable
from dataclasses import dataclass

import httpx
import trio

LANE_REQUESTS = 64
"""At one time: fewer than the 100 streams that any server of HTTP/2 allows (RFC 9113 6.5.2)."""

_CLOSE_TIMEOUT_S = 1.0


class UpstreamError(Exception):
    """There is no whole answer; the text says why, without an address.

    Args:
        reason: For the log.
        was_sent: The upstream may have acted on the request.
        is_late: It may still be about to answer.
    """

    def __init__(self, reason: str, *, was_sent: bool = True, is_late: bool = False) -> None:
        super().__init__(reason)
        self.was_sent = was_sent
        self.is_late = is_late


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, whole."""

    status: int
    fields: dict[str, str]
    """By lower-case name."""
    body: bytes


class _Lane:
    __slots__ = ("is_spoiled", "transport", "under_way")

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self.transport = transport
        self.under_way = 0
        self.is_spoiled = False


class Lanes:
    """What one kind of request to one upstream goes over.

    Args:
        open_transport: Opens something that speaks HTTP.
        max_requests: Under way at one time; more wait their turn.
    """

    def __init__(
        self, open_transport: Callable[[], httpx.AsyncBaseTransport], *, max_requests: int
    ) -> None:
        self._open_transport = open_transport
        self._turns = trio.Semaphore(max_requests)
        self._lanes: list[_Lane] = []

    def __len__(self) -> int:
        """Lanes that take requests."""
        return len(self._lanes)

    async def exchange(
        self, request: httpx.Request, *, timeout_s: float, max_bytes: int
    ) -> Fetched:
        """Send a request when its turn has come, and read its answer to the end.

        Raises:
            UpstreamError: There is no whole answer `timeout_s` after it was sent, or one that is
                larger than `max_bytes`.
        """
        async with self._turns:
            lane = self._lane()
            lane.under_way += 1
            is_sound = False
            try:
                with trio.move_on_after(timeout_s):
                    answer = await _exchange(lane.transport, request, max_bytes)
                    is_sound = True
                    return answer
                raise UpstreamError("no answer in time", is_late=True)
            finally:
                lane.under_way -= 1
                if not is_sound and not lane.is_spoiled:
                    lane.is_spoiled = True
                    self._lanes.remove(lane)
                if lane.is_spoiled and not lane.under_way:
                    await _close(lane)

    async def aclose(self) -> None:
        """Close the connections; what is under way fails."""
        lanes, self._lanes = self._lanes, []
        for lane in lanes:
            lane.is_spoiled = True
            await _close(lane)

    def _lane(self) -> _Lane:
        """The first with room, so that in quiet times the last ones are left alone."""
        for lane in self._lanes:
            if lane.under_way < LANE_REQUESTS:
                return lane
        lane = _Lane(self._open_transport())
        self._lanes.append(lane)
        return lane


async def _close(lane: _Lane) -> None:
    with trio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
        await lane.transport.aclose()


async def _exchange(
    transport: httpx.AsyncBaseTransport, request: httpx.Request, max_bytes: int
) -> Fetched:
    try:
        response = await transport.handle_async_request(request)
        try:
            return await _read(response, max_bytes)
        finally:
            with trio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
                await response.aclose()
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        is_late = isinstance(error, httpx.ConnectTimeout)
        raise UpstreamError(f"cannot connect: {error}", was_sent=False, is_late=is_late) from error
    except httpx.HTTPError as error:
        raise UpstreamError(f"{type(error).__name__}: {error}") from error


async def _read(response: httpx.Response, max_bytes: int) -> Fetched:
    """Read the body, and hold it against what the head says of it."""
    fields = dict(response.headers.items())
    declared = fields.get("content-length")
    if fields.get("content-encoding", "identity") != "identity":
        raise UpstreamError("an encoding that was not asked for")
    is_framed = declared is not None or "transfer-encoding" in fields
    if not is_framed and response.http_version == "HTTP/1.1" and response.status_code != 204:
        raise UpstreamError("the body's length is not told")
    if declared is not None and not (declared.isdecimal() and int(declared) <= max_bytes):
        raise UpstreamError("Content-Length is too large, or no number")
    pieces: list[bytes] = []
    size_bytes = 0
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for piece in response.stream:
        size_bytes += len(piece)
        if size_bytes <= max_bytes:
            pieces.append(piece)
        else:  # the rest is not kept; leaving httpx's generators half way would leave them open
            pieces.clear()
    if size_bytes > max_bytes:
        raise UpstreamError("the body is too large")
    if declared is not None and size_bytes != int(declared):
        raise UpstreamError("the body is cut short")
    return Fetched(response.status_code, fields, b"".join(pieces))
