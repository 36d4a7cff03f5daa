"""HTTP-FLV: the source of a stream as an FLV file without an end, for monitoring.

``GET /api/streams/{id}/source.flv``, with a key of the stream or an admin token that may read;
ffplay, VLC and mpegts.js play it. It is no way to serve viewers: each costs a task and its own copy
of every tag.

The response ends with its publisher, or when its client leaves, or takes nothing for
`SEND_TIMEOUT_S`. One that is slower than the source loses messages up to the next keyframe.

Bounds: `tap.MAX_FOLLOWERS` of one stream; of each one queue (`tap.QUEUE_BYTES`) and one batch.

Spec: FLV 10.1 annex E; RFC 9112 section 7.1: chunked, so that a client can tell the end of the
source from a lost connection (ffmpeg complains of a body without length).

May import rtmpcore, control, edge and origin's own.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import structlog
import trio

from edge.api.operation import Asked, Need, Operation
from edge.http.messages import HttpError
from edge.http.response import DateLine, derive_response, make_response
from origin.relay.tap import Follower, Message, TapError, Taps
from rtmpcore import AudioMessage, VideoMessage
from rtmpcore.flv_file import file_header, file_tag

SEND_TIMEOUT_S: Final = 15.0
"""For one batch to be taken by the client's side, as for every other answer."""

READ_BYTES: Final = 4096

log = structlog.get_logger("monitor")

_HEAD: Final = derive_response(
    make_response(200, content_type="video/x-flv"),
    200,
    (),
    {"Content-Length": None, "Transfer-Encoding": "chunked"},
).head
_LAST_CHUNK: Final = b"0\r\n\r\n"


class HttpFlv:
    """Answers requests for sources.

    Args:
        taps: Those of this process.
    """

    def __init__(self, taps: Taps) -> None:
        self._taps = taps
        self._date = DateLine()

    @property
    def operations(self) -> Sequence[Operation]:
        """The row."""
        return (
            Operation(
                name="getSource", method="GET", path="/api/streams/{streamId}/source.flv",
                handler=None, take=self.serve, tag="relays", need=Need.STREAM, scope="read",
                media_type="video/x-flv", summary="The source as it is published, HTTP-FLV",
                description="For monitoring. 404 while the stream has no publisher. It ends with "
                "its publisher; HTTP/1.1 only.",
            ),
        )  # fmt: skip

    async def serve(self, asked: Asked, stream: trio.abc.Stream) -> None:
        """Serve one client to its end.

        Raises:
            HttpError: It gets nothing; the stream was not touched.
        """
        stream_id = asked.stream_id
        tap = self._taps.get(stream_id)
        if tap is None:
            raise HttpError(404, "the stream has no publisher now", code="notLive")
        head = _HEAD + self._date.render() + b"Connection: close\r\n\r\n"
        if asked.request.method == "HEAD":
            with trio.move_on_after(SEND_TIMEOUT_S):
                await stream.send_all(head)
            return
        try:
            follower = tap.follow()
        except TapError as error:
            raise HttpError(503, str(error), Retry_After="5") from None
        with follower:
            log.info("monitor began", stream=stream_id, protocol="http-flv")
            reason = await _play(stream, head, follower)
            log.info("monitor ended", stream=stream_id, reason=reason)


async def _play(stream: trio.abc.Stream, head: bytes, follower: Follower) -> str:
    """Send until either side ends; returns why."""
    reason = "closed by the client"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, stream, nursery.cancel_scope)
        try:
            await _send(stream, head, follower)
            reason = "publisher gone"
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            reason = "connection lost"
        except trio.TooSlowError:
            reason = f"took nothing for {SEND_TIMEOUT_S:g} s"
        nursery.cancel_scope.cancel(reason=reason)
    return reason


async def _watch(stream: trio.abc.Stream, scope: trio.CancelScope) -> None:
    """Notice that the client leaves, while the source is quiet too."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while await stream.receive_some(READ_BYTES):
            pass  # a further request: it will not be answered
    scope.cancel(reason="closed by the client")


async def _send(stream: trio.abc.Stream, head: bytes, follower: Follower) -> None:
    batch = await follower.receive()
    data = head + _chunk(_file_header(batch))
    while batch:
        data += _chunk(b"".join(map(file_tag, batch)))
        with trio.fail_after(SEND_TIMEOUT_S):
            await stream.send_all(data)
        data = b""
        batch = await follower.receive()
    with trio.fail_after(SEND_TIMEOUT_S):
        await stream.send_all(data + _LAST_CHUNK)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _file_header(messages: Sequence[Message]) -> bytes:
    """Announce the tracks whose headers or frames stand at the beginning."""
    kinds = set(map(type, messages))
    return file_header(has_video=VideoMessage in kinds, has_audio=AudioMessage in kinds)
