"""What happens to a stream, as it happens: ``GET /api/streams/{streamId}/events``, as SSE.

::

    event: health              the newest figures, once a second while it is live
    event: alert.started       and every other event of the stream but chat, as webhooks get it
    id: 5f3a91c2-17            to go on behind it (Last-Event-ID) after a lost connection
    data: {...}                one line of JSON

It may be listened to before the stream is live, and between two broadcasts. A credential is needed,
which a browser's EventSource cannot send, and none belongs into a URL: pages read the body of a
`fetch` with an Authorization header.

A listener's connection ends after `MAX_LISTEN_S`, so that a key that has been ended does not listen
on; it comes again with its Last-Event-ID, and nothing is lost. One that is too slow is cut off, and
does the same.

Bounds: `MAX_LISTENERS`, and `MAX_LISTENERS_PER_STREAM`; `MAX_QUEUED` messages for each; the last
`MAX_KEPT` events of all streams for those who come again. Figures are not kept.

May import edge and origin.health. Spec: HTML, section 9.2 (server-sent events); RFC 9112, 7.1.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import Final

import msgspec
import structlog
import trio

from edge.api.operation import Asked
from edge.events import EventBus, PlatformEvent
from edge.http.messages import HttpError
from edge.http.response import DateLine, derive_response, make_response
from origin.health.report import Figures

HEARTBEAT_S: Final = 15.0
"""A comment is sent after so long without anything else: proxies close what is quiet."""

SEND_TIMEOUT_S: Final = 15.0
"""For what is sent to be taken by the client's side."""

MAX_LISTEN_S: Final = 900.0

MAX_LISTENERS: Final = 1000
MAX_LISTENERS_PER_STREAM: Final = 32

MAX_QUEUED: Final = 256
"""Four minutes of figures."""

MAX_KEPT: Final = 1000

RETRY_MS: Final = 2000
"""What a client is asked to wait before it comes again."""

READ_BYTES: Final = 4096

NOT_TOLD: Final = ("chat.",)
"""Beginnings of the types that have a channel of their own."""

log = structlog.get_logger("events")

_HEAD: Final = derive_response(
    make_response(200, content_type="text/event-stream", extra={"X-Accel-Buffering": "no"}),
    200,
    (),
    {"Content-Length": None, "Transfer-Encoding": "chunked"},
).head
_HEARTBEAT: Final = b": alive\n\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"


class _Listener:
    """One connection."""

    def __init__(self) -> None:
        self._send, self.receive = trio.open_memory_channel[bytes](MAX_QUEUED)
        self.scope = trio.CancelScope()
        self.reason = "closed by the client"

    def put(self, message: bytes) -> None:
        """Queue a message, or give up on a client that does not keep up."""
        try:
            self._send.send_nowait(message)
        except trio.WouldBlock:
            self.end("too slow")

    def end(self, reason: str) -> None:
        """End the connection; the first reason counts."""
        if not self.scope.cancel_called:
            self.reason = reason
            self.scope.cancel(reason=reason)


class LiveEvents:
    """Tells listeners.

    Args:
        events: What happens.
    """

    def __init__(self, events: EventBus) -> None:
        self._epoch = token_hex(4)  # numbers of another process mean nothing here
        self._number = 0
        self._kept: deque[tuple[int, str, bytes]] = deque(maxlen=MAX_KEPT)
        self._listeners: dict[str, set[_Listener]] = {}
        self._count = 0
        self._date = DateLine()
        events.listen(self._hear)

    @property
    def listeners(self) -> int:
        """Connections now open."""
        return self._count

    def tell_figures(self, stream_id: str, figures: Figures) -> None:
        """Tell a stream's newest figures; see `HealthMonitor.on_figures`."""
        listeners = self._listeners.get(stream_id)
        if listeners:
            message = b"event: health\ndata: %b\n\n" % msgspec.json.encode(figures)
            for listener in listeners:
                listener.put(message)

    def _hear(self, event: PlatformEvent) -> None:
        if event.type.startswith(NOT_TOLD):
            return
        self._number += 1
        message = f"id: {self._epoch}-{self._number}\nevent: {event.type}\ndata: ".encode()
        message += msgspec.json.encode(event) + b"\n\n"
        self._kept.append((self._number, event.stream_id, message))
        for listener in self._listeners.get(event.stream_id, ()):
            listener.put(message)

    async def serve(self, asked: Asked, stream: trio.abc.Stream) -> None:
        """Serve one listener to its end.

        Raises:
            HttpError: There are too many; the stream was not touched.
        """
        head = _HEAD + self._date.render() + b"Connection: close\r\n\r\n"
        if asked.request.method == "HEAD":
            with trio.move_on_after(SEND_TIMEOUT_S), suppress(trio.BrokenResourceError):
                await stream.send_all(head)
            return
        missed = self._missed(asked.stream_id, asked.request.header(b"last-event-id"))
        with self._listening(asked.stream_id) as listener:
            log.info("listener began", stream=asked.stream_id, who=asked.principal.name)
            await _serve(stream, head + _chunk(b"retry: %d\n\n" % RETRY_MS + missed), listener)
            log.info("listener ended", stream=asked.stream_id, reason=listener.reason)

    def _missed(self, stream_id: str, last_id: str | None) -> bytes:
        """The events of a stream behind the one with this id, as far as they are kept."""
        epoch, _, digits = (last_id or "").partition("-")
        if epoch != self._epoch or not (digits.isascii() and digits.isdigit()):
            return b""
        if len(digits) > len(str(self._number)):
            return b""
        last = int(digits)
        return b"".join(
            message for number, of, message in self._kept if of == stream_id and number > last
        )

    @contextmanager
    def _listening(self, stream_id: str) -> Iterator[_Listener]:
        listeners = self._listeners.setdefault(stream_id, set())
        if self._count >= MAX_LISTENERS or len(listeners) >= MAX_LISTENERS_PER_STREAM:
            if not listeners:
                del self._listeners[stream_id]
            raise HttpError(503, "too many listen already", Retry_After="5")
        listener = _Listener()
        listeners.add(listener)
        self._count += 1
        try:
            yield listener
        finally:
            self._count -= 1
            listeners.discard(listener)
            if not listeners:
                del self._listeners[stream_id]


async def _serve(stream: trio.abc.Stream, first: bytes, listener: _Listener) -> None:
    """Send until either side ends, or the time is over; `listener.reason` says which."""
    with listener.scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, stream, listener)
            try:
                await _send(stream, first, listener)
                listener.end("time is over")
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                listener.end("connection lost")
            except trio.TooSlowError:
                listener.end(f"took nothing for {SEND_TIMEOUT_S:g} s")


async def _watch(stream: trio.abc.Stream, listener: _Listener) -> None:
    """Notice that the client leaves, while nothing happens too."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while await stream.receive_some(READ_BYTES):
            pass  # a further request: it will not be answered
    listener.end("closed by the client")


async def _send(stream: trio.abc.Stream, data: bytes, listener: _Listener) -> None:
    ends_s = trio.current_time() + MAX_LISTEN_S
    while True:
        with trio.fail_after(SEND_TIMEOUT_S):
            await stream.send_all(data)
        now_s = trio.current_time()
        if now_s >= ends_s:
            break
        messages = b""
        with trio.move_on_at(min(now_s + HEARTBEAT_S, ends_s)):
            messages = await listener.receive.receive()
            with suppress(trio.WouldBlock):
                while True:
                    messages += listener.receive.receive_nowait()
        data = _chunk(messages or _HEARTBEAT)
    with trio.fail_after(SEND_TIMEOUT_S):
        await stream.send_all(_LAST_CHUNK)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
