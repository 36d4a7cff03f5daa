"""One HTTP/2 connection: `h2` decides what is legal, Trio moves the bytes.

Two tasks. One reads, and does at once what the bytes ask for; it never sends. The other sends: what
`h2` replies first, then the streams' frames in the order of `SendQueue`, some 64 KiB at a time, so
that nothing piles up and what is urgent overtakes. It sleeps until somebody wakes it (the reader, a
gate, a handler), or until the next deadline of a stream: it keeps the time for all of them. A held
request has no task of its own, nor has one that is being answered; only a handler has one.

What a peer may do without end is bounded by `edge.http.h2_meter` before `h2` sees it.

A fault of the peer ends the connection with GOAWAY, whatever the fault: `h2` makes no difference
where RFC 9113 lets a server choose. Only what is wrong with a request alone gets an answer.

Invariants: a stream in `_streams` is known to `h2` and not finished. Whoever leaves it takes it out
of its gate in the same step. Every change of state is synchronous; the two `await`s that matter are
`receive_some` and `send_all`.

Spec: RFC 9113 (HTTP/2), RFC 9218 (priorities), RFC 9110 section 10.1.1 (100-continue).
"""

import math

import structlog
import trio
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError

from edge.http.h2_machine import H2Machine, make_request
from edge.http.h2_meter import MAX_FRAME_BYTES, AbuseError, FrameMeter
from edge.http.h2_streams import SendQueue, Stream
from edge.http.messages import (
    NOBODY,
    NOBODY_LISTENS,
    OUR_FAULT,
    TOO_LONG,
    Application,
    Audience,
    Call,
    ClientLeft,
    Hold,
    HttpError,
    Peer,
    Request,
    error_answer,
    next_connection_id,
)
from edge.http.representation import represent
from edge.http.response import DateLine, Response, error_response
from edge.http.served import LEFT, Served, Tell, tell_nobody
from edge.http.settings import HttpSettings
from edge.http.watching import note_request

_logger = structlog.get_logger(__name__)

_READ_BYTES = 16 * 1024

# One send: a few frames. More would delay what is urgent, less would cost system calls. (Of what it
# has not sent, the kernel holds 16 KiB: Trio sets TCP_NOTSENT_LOWAT.)
_SEND_BYTES = 64 * 1024

_SLOW_BODY = error_response(408, "the body did not come in time")
_LONG_TARGET = error_response(414, "the request target is too long")
_MANY_BODIES = error_response(503, "too many request bodies at once", extra={"Retry-After": "1"})


class Http2Connection:
    """Serve one stream until either side ends it.

    Args:
        stream: Belongs to this object, which closes it. ALPN has chosen HTTP/2 for it.
        app: Asked once per request.
        settings: Limits and time-outs.
        date: Shared by all connections of a server.
        peer: Who is at the other end.
        audience: Told of each request that says something of a viewer.
        tell: Told what became of each request.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        app: Application,
        *,
        settings: HttpSettings,
        date: DateLine,
        peer: Peer = NOBODY,
        audience: Audience = NOBODY_LISTENS,
        tell: Tell = tell_nobody,
    ) -> None:
        self.id = next_connection_id()
        """Names this connection in the logs; unique in the process."""
        self._stream = stream
        self._app = app
        self._settings = settings
        self._peer = peer
        self._audience = audience
        self._tell = tell
        self._date = date
        self._meter = FrameMeter(settings.http2)
        self._h2 = H2Machine(settings.http2)
        self._streams: dict[int, Stream] = {}
        self._queue = SendQueue()
        self._opened: list[Stream] = []  # their gates have opened; to be answered
        self._bodies_bytes = 0  # of the requests that are read or handled
        self._calls = 0  # handlers that run
        self._replies = bytearray()  # of `h2`, and of ours beside it; sent before all else
        self._asleep: trio.CancelScope | None = None  # the sender, while it has nothing to do
        self._idle_since_s = 0.0
        self._served = 0
        self._finishing = False  # no new streams: end when the present ones are done
        self._broken = False  # the peer's fault: end when the replies are sent

    async def run(self) -> None:
        """Serve requests until the connection ends, then close the stream.

        Nothing but cancellation leaves: a peer's faults are answered, ours are logged.
        """
        structlog.contextvars.bind_contextvars(connection=self.id)
        try:
            async with trio.open_nursery() as nursery:
                self._idle_since_s = trio.current_time()
                self._h2.initiate_connection()
                self._replies += self._h2.data_to_send()
                nursery.start_soon(self._receive_all, nursery)
                await self._send_all()
                nursery.cancel_scope.cancel()
            await self._linger()
        except* (ClientLeft, trio.BrokenResourceError, trio.ClosedResourceError) as group:
            _logger.debug(
                "http connection lost", connection=self.id, reason=str(group.exceptions[0])
            )
        except* Exception:
            _logger.exception("http connection failed", connection=self.id)
        finally:
            for stream in self._streams.values():
                stream.release()
            await trio.aclose_forcefully(self._stream)

    def drain(self) -> None:
        """Finish what is being answered, then close; new requests are refused.

        A request that is still held after `drain_held_s` gets 503.
        """
        if not self._finishing:
            self._say_goodbye()
        until_s = trio.current_time() + self._settings.drain_held_s
        for stream in self._streams.values():
            if stream.hold is not None:
                stream.deadline_s = min(stream.deadline_s, until_s)
        self._wake()

    # --- receiving: one task, which only ever waits for bytes

    async def _receive_all(self, nursery: trio.Nursery) -> None:
        while not self._broken:
            data = await self._stream.receive_some(_READ_BYTES)
            if not data:
                raise ClientLeft("the client closed the connection")
            self._receive(bytes(data), nursery)
            self._wake()

    def _receive(self, data: bytes, nursery: trio.Nursery) -> None:
        now_s = trio.current_time()
        try:
            self._meter.received(data, now_s)
            for event in self._h2.receive_data(data):
                self._take(event, nursery)
            replies = self._h2.data_to_send()
            self._meter.replied(replies, now_s)
            self._replies += replies
            if len(self._replies) > self._settings.http2.max_replies_bytes:
                raise AbuseError(ErrorCodes.ENHANCE_YOUR_CALM, "replies are not read")
        except AbuseError as error:
            self._break_off(str(error))
            self._h2.close_connection(error.code)
            self._replies += self._h2.data_to_send()
        except ProtocolError as error:
            # Its text quotes numbers and field names, never values.
            self._break_off(type(error).__name__)
            self._replies += self._h2.data_to_send()  # with GOAWAY, by `h2` itself

    def _take(self, event: Event, nursery: trio.Nursery) -> None:
        if isinstance(event, RequestReceived):
            self._begin(event, nursery)
        elif isinstance(event, DataReceived):
            self._read_body(event)
        elif isinstance(event, StreamEnded):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.is_complete = True
                if stream.call is not None:
                    self._start_call(stream, stream.call, nursery)
        elif isinstance(event, StreamReset):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                self._told(stream, LEFT)
                self._leave(stream)
        elif isinstance(event, WindowUpdated):
            if event.stream_id:
                self._queue.unblock(event.stream_id)
            else:
                self._queue.unblock_all()
        elif isinstance(event, RemoteSettingsChanged):
            self._h2.tame_settings()
            self._queue.unblock_all()  # the windows may have grown
        elif isinstance(event, ConnectionTerminated):
            self._heed_goodbye(event)

    def _begin(self, event: RequestReceived, nursery: trio.Nursery) -> None:
        """Ask the application about a new request."""
        request = make_request(event, self._peer)
        stream = Stream(event.stream_id, request, self._open)
        if self._finishing:  # the client may safely ask again, on another connection
            self._h2.try_reset(stream.id, ErrorCodes.REFUSED_STREAM)
            return
        self._served += 1
        stream.began_s = trio.current_time()
        self._streams[stream.id] = stream
        size_bytes = len(request.path) + len(request.query)
        if size_bytes > self._settings.max_target_bytes:
            self._answer(stream, _LONG_TARGET)
            return
        try:
            answer = self._app.route(request)
            if type(answer) is Response:
                self._answer(stream, answer)
            elif type(answer) is Hold:
                stream.deadline_s = trio.current_time() + answer.timeout_s
                stream.late = answer.late
                stream.park(answer)
            elif type(answer) is Call:
                self._expect_body(stream, answer)
            else:  # a hand-over: of a connection that has other streams too
                self._leave(stream)
                self._h2.try_reset(stream.id, ErrorCodes.HTTP_1_1_REQUIRED)
        except Exception as error:
            self._answer(stream, self._error_answer(error, request))

    def _expect_body(self, stream: Stream, call: Call) -> None:
        limit = self._settings.max_body_bytes
        declared = stream.request.header(b"content-length")
        if declared is not None and int(declared) > limit:  # h2 has checked that it is a number
            raise HttpError(413, f"the body is larger than {limit} bytes")
        stream.call = call
        stream.deadline_s = trio.current_time() + self._settings.body_timeout_s
        stream.late = _SLOW_BODY
        if (stream.request.header(b"expect") or "").lower() == "100-continue":
            self._h2.try_continue(stream.id)

    def _read_body(self, event: DataReceived) -> None:
        # Read is read: what a body may hold is bounded below, and the windows never close.
        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        stream = self._streams.get(event.stream_id)
        if stream is None or stream.call is None:
            return  # nobody wants it; the answer will say so
        stream.body += event.data
        self._bodies_bytes += len(event.data)
        limit = self._settings.max_body_bytes
        if len(stream.body) > limit:
            self._answer(stream, error_response(413, f"the body is larger than {limit} bytes"))
        elif self._bodies_bytes > self._settings.http2.max_bodies_bytes:
            self._answer(stream, _MANY_BODIES)

    def _start_call(self, stream: Stream, call: Call, nursery: trio.Nursery) -> None:
        if self._calls >= self._settings.http2.max_streams:
            # Streams that were reset have left handlers that did not end with them.
            self._leave(stream)
            self._h2.try_reset(stream.id, ErrorCodes.REFUSED_STREAM)
            return
        stream.call, stream.late, stream.deadline_s = None, None, math.inf
        stream.scope = trio.CancelScope()
        self._calls += 1
        nursery.start_soon(self._call, stream, call, stream.scope)

    async def _call(self, stream: Stream, call: Call, scope: trio.CancelScope) -> None:
        """Run a handler; a task of its own."""
        response = TOO_LONG
        scope.deadline = trio.current_time() + self._settings.handler_timeout_s
        try:
            with scope:
                response = await call.handler(stream.request, bytes(stream.body))
        except Exception as error:
            response = self._error_answer(error, stream.request)
        finally:
            self._calls -= 1
        if self._streams.get(stream.id) is stream:
            self._answer(stream, response)
            self._wake()

    def _error_answer(self, error: Exception, request: Request) -> Response:
        if isinstance(error, HttpError):
            return error_answer(error)
        _logger.error(
            "request failed",
            connection=self.id,
            method=request.method,
            path=request.shown_path,
            exc_info=error,
        )
        return OUR_FAULT

    def _heed_goodbye(self, event: ConnectionTerminated) -> None:
        if event.error_code == ErrorCodes.NO_ERROR:
            self._finishing = True
            self._h2.outlive_goaway()
        else:
            self._break_off("the client ended the connection for an error")

    # --- the life of a stream

    def _open(self, stream: Stream) -> None:
        """A gate has opened: called from whoever publishes, so it only takes a note."""
        self._opened.append(stream)
        self._wake()

    def _answer(self, stream: Stream, response: Response) -> None:
        """Queue a stream's answer, whatever it waited for before."""
        self._bodies_bytes -= len(stream.body)
        stream.release()
        response = represent(response, stream.request)
        note_request(self._audience, stream.request, response.status)
        stream.begin(response)
        # Each stream for itself, as connections of HTTP/1.1 are, although it shares this one: or a
        # hundred requests that are never read would keep their segments in memory for hours.
        stream.deadline_s = trio.current_time() + self._settings.send_allowance_s(stream.left_bytes)
        self._queue.push(stream)

    def _leave(self, stream: Stream) -> None:
        """Forget a stream that is answered or reset."""
        del self._streams[stream.id]
        self._bodies_bytes -= len(stream.body)
        stream.release()
        self._queue.forget(stream.id)
        if not self._streams:
            self._idle_since_s = trio.current_time()

    def _told(self, stream: Stream, status: int) -> None:
        """Tell what became of a request: all of its answer is queued, or nobody wants it."""
        has_body = status != LEFT and stream.request.method != "HEAD"
        self._tell(
            Served(
                request=stream.request,
                status=status,
                size_bytes=stream.response.size_bytes if has_body and stream.response else 0,
                took_s=trio.current_time() - stream.began_s,
                http="2",
                connection=self.id,
                was_held=stream.was_held,
            )
        )

    def _break_off(self, reason: str) -> None:
        _logger.debug("http connection broken off", connection=self.id, reason=reason)
        self._broken = True

    def _say_goodbye(self) -> None:
        """GOAWAY, and no new streams."""
        self._finishing = True
        self._replies += self._h2.make_goaway()

    # --- sending: one task, which also keeps the time

    def _wake(self) -> None:
        if self._asleep is not None:
            self._asleep.cancel()

    async def _send_all(self) -> None:
        """Send what there is, until the connection is over."""
        while True:
            if not self._broken:
                self._expire()
                self._answer_opened()
                self._fill()
            if self._replies:
                data, self._replies = bytes(self._replies), bytearray()
                await self._send(data)
            elif self._broken or (self._finishing and not self._streams):
                return
            else:
                with trio.CancelScope(deadline=self._next_deadline()) as self._asleep:
                    await trio.sleep_forever()
                self._asleep = None

    async def _send(self, data: bytes) -> None:
        with trio.move_on_after(self._settings.send_allowance_s(len(data))) as scope:
            await self._stream.send_all(data)
        if scope.cancelled_caught:
            raise ClientLeft("the client is too slow")

    def _next_deadline(self) -> float:
        if self._streams:
            return min(stream.deadline_s for stream in self._streams.values())
        settings = self._settings
        patience_s = settings.idle_timeout_s if self._served else settings.head_timeout_s
        return self._idle_since_s + patience_s

    def _expire(self) -> None:
        """Do what is due."""
        now_s = trio.current_time()
        if now_s < self._next_deadline():
            return
        if not self._streams and not self._finishing:
            self._say_goodbye()
        for stream in list(self._streams.values()):
            if stream.deadline_s > now_s:
                continue
            if stream.late is not None:
                self._answer(stream, stream.late)
            else:  # its window stays closed
                self._leave(stream)
                self._h2.try_reset(stream.id, ErrorCodes.CANCEL)

    def _answer_opened(self) -> None:
        opened, self._opened = self._opened, []
        for stream in opened:
            # Else it has been reset, or answered late, since its gate opened.
            if stream.hold is not None and stream.hold.gate.response is not None:
                self._answer(stream, stream.hold.gate.response)

    def _fill(self) -> None:
        """Add frames to the replies until that is enough for one send."""
        connection = self._h2
        self._replies += connection.data_to_send()
        while len(self._replies) < _SEND_BYTES and (stream := self._queue.pop()) is not None:
            if self._streams.get(stream.id) is not stream:
                continue  # it left while it was queued
            if not stream.is_head_sent:
                self._send_head(stream)
            if stream.left_bytes:
                window = connection.local_flow_control_window(stream.id)
                size = min(window, connection.max_outbound_frame_size, MAX_FRAME_BYTES)
                if size <= 0:
                    self._queue.block(stream)
                else:
                    piece = stream.take(size)
                    connection.send_data(stream.id, piece, end_stream=not stream.left_bytes)
                    self._meter.sent(len(piece))
                    if stream.left_bytes:
                        self._queue.push(stream)
            if not stream.left_bytes:
                assert stream.response is not None
                self._told(stream, stream.response.status)
                self._leave(stream)
                if not stream.is_complete:  # nobody reads the rest of the request (8.1)
                    self._h2.try_reset(stream.id, ErrorCodes.NO_ERROR)
            self._replies += connection.data_to_send()

    def _send_head(self, stream: Stream) -> None:
        response = stream.response
        assert response is not None
        fields = [
            (b":status", b"%d" % response.status),
            *response.fields,
            (b"date", self._date.render()[6:-2]),
        ]
        self._h2.send_headers(stream.id, fields, end_stream=not stream.left_bytes)
        stream.is_head_sent = True

    async def _linger(self) -> None:
        """Let the peer read what it was told: a close with unread input would reset it."""
        with trio.move_on_after(self._settings.linger_timeout_s):
            while await self._stream.receive_some(_READ_BYTES):
                pass
        with trio.move_on_after(self._settings.linger_timeout_s):
            await self._stream.aclose()  # with TLS's own goodbye
