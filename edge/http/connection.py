"""One HTTP/1.1 connection: h11 decides what is legal, Trio moves the bytes.

One task per connection, which reads a request, asks the application, sends the answer, and goes on.
Pipelined requests wait in h11's buffer and are answered in order.

A *held* request (blocking reload, rfc8216bis 6.2.5.2) costs no second task: the task keeps reading
its own connection inside a cancel scope, and the gate that it waits for cancels the scope. So it
wakes for exactly three reasons: the answer is there, the time is up, or its client has left.

Responses come with their header block rendered (`edge.http.response`), so h11 is not asked to write
them; it is told that a message with no body went out, which moves its state machine (keep-alive,
close, pipelining) exactly as the real one does.

A connection can change hands between two requests: `adopt` is offered the stream with the first
bytes of each, `detach` gives both away, and the constructor takes bytes that somebody else has read
(docs/architecture.md, Serving).

After a failed or cancelled send the connection is finished: an unknown part of the bytes went out.

Spec: RFC 9112 (HTTP/1.1), RFC 9110 section 10.1.1 (100-continue).
"""

import contextlib
import math
from collections.abc import Callable

import h11
import structlog
import trio

from edge.http.budget import Budget
from edge.http.messages import (
    NOBODY,
    NOBODY_LISTENS,
    OUR_FAULT,
    TOO_LONG,
    Application,
    Audience,
    Call,
    ClientLeft,
    HandOver,
    Hold,
    HttpError,
    Pass,
    Peer,
    Request,
    error_answer,
    next_connection_id,
)
from edge.http.representation import represent
from edge.http.response import DateLine, Response, error_response
from edge.http.served import LEFT, Served, Tell, tell_nobody
from edge.http.settings import HttpSettings
from edge.http.watching import has_token, note_request, pass_of

_logger = structlog.get_logger(__name__)

# One read: a head fits, so that h11's check of incomplete heads also bounds complete ones (twice).
_READ_BYTES = 16 * 1024

# Bodies up to this are joined with their head: one packet and one system call are worth the copy.
_JOIN_BYTES = 16 * 1024

# What h11 is told of each answer; the bytes on the wire are ours. The status is not 2xx, so that a
# CONNECT or an Upgrade counts as refused.
_SENT = h11.Response(status_code=400, headers=[("Content-Length", "0")])
_SENT_LAST = h11.Response(
    status_code=400, headers=[("Content-Length", "0"), ("Connection", "close")]
)
_END = h11.EndOfMessage()
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# States of the peer's side in which its request is complete.
_FULLY_READ = (h11.DONE, h11.MUST_CLOSE, h11.MIGHT_SWITCH_PROTOCOL)  # type: ignore[attr-defined]

_GONE = (ClientLeft, trio.BrokenResourceError, trio.ClosedResourceError)

# h11's own text repeats the offending line, and in that there may be a credential.
_MALFORMED = error_response(400, "malformed HTTP request")


class HttpConnection:
    """Serve one stream until either side ends it.

    Args:
        stream: Belongs to this object, which closes it.
        app: Asked once per request.
        settings: Limits and time-outs.
        date: Shared by all connections of a server.
        peer: Who is at the other end.
        received: Bytes that were read from the stream before it came here.
        adopt: Offered the stream, what was read of the next request, and what the last one admits
            to; if it says True, somebody else serves the connection from there.
        audience: Told of each request that says something of a viewer.
        tell: Told what became of each request, but for those with which the connection was given
            away.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        app: Application,
        *,
        settings: HttpSettings,
        date: DateLine,
        peer: Peer = NOBODY,
        received: bytes = b"",
        adopt: Callable[[trio.abc.Stream, bytes, Pass | None], bool] | None = None,
        audience: Audience = NOBODY_LISTENS,
        tell: Tell = tell_nobody,
    ) -> None:
        self.id = next_connection_id()
        """Names this connection in the logs; unique in the process."""
        self._stream = stream
        self._app = app
        self._settings = settings
        self._peer = peer
        self._date = date
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=settings.max_head_bytes)
        if received:
            self._h11.receive_data(received)
        self._resting: trio.CancelScope | None = None  # while idle: what `drain` cuts short
        self._draining = False
        self._held: trio.CancelScope | None = None  # while a request is held
        self._held_until_s = math.inf
        self._served = 0
        self._adopt = adopt
        self._audience = audience
        self._last: Request | None = None  # if it had a token: that may admit the next ones
        self._tell = tell
        self._budget = Budget(settings.requests_burst, settings.requests_per_s)

    async def run(self) -> None:
        """Serve requests until the connection ends, then close the stream.

        Nothing but cancellation leaves: a peer's faults are answered, ours are logged.
        """
        structlog.contextvars.bind_contextvars(connection=self.id)
        try:
            while await self._serve_one():
                pass
        except _GONE as error:
            _logger.debug("http connection lost", connection=self.id, reason=str(error))
        except Exception:
            _logger.exception("http connection failed", connection=self.id)
        finally:
            await trio.aclose_forcefully(self._stream)

    async def refuse(self, response: Response) -> None:
        """Send an answer without reading a request, and close the stream; never raises."""
        self._h11.send(_SENT_LAST)
        try:
            with trio.move_on_after(self._settings.linger_timeout_s):
                await self._send(response, last=True, head_only=False)
                await self._linger()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it left first
        finally:
            await trio.aclose_forcefully(self._stream)

    def drain(self) -> None:
        """Finish what is being answered, then close; idle ones at once, held ones a little later.

        A request that is still held after `drain_held_s` gets 503.
        """
        self._draining = True
        self._held_until_s = trio.current_time() + self._settings.drain_held_s
        if self._resting is not None:
            self._resting.cancel()
        if self._held is not None:
            self._held.deadline = min(self._held.deadline, self._held_until_s)

    def detach(self) -> tuple[trio.abc.Stream, bytes]:
        """Give up the stream, with the bytes that were read and not yet understood.

        Legal between two requests. This object must not be used afterwards; whoever gets the
        stream owns it.
        """
        return self._stream, self._h11.trailing_data[0]

    async def _serve_one(self) -> bool:
        """Answer one request; say whether another may follow."""
        request = Request("", "")
        began_s, was_held = trio.current_time(), False
        try:
            head = await self._read_head()
            if head is None:
                return False
            began_s = trio.current_time()
            self._served += 1
            if not self._budget.spend(trio.current_time()):
                self._draining = True  # this is the last answer
                raise HttpError(429, "too many requests", Retry_After="1")
            request = self._check_head(head)
            self._last = request if has_token(request) else None
            answer = self._app.route(request)
            if type(answer) is Response:
                response = answer
            elif type(answer) is Hold:
                was_held = True
                response = await self._wait(answer)
            elif type(answer) is Call:
                response = await self._call(answer, request)
            else:
                assert type(answer) is HandOver
                await answer.take(*self.detach())
                return False
        except HttpError as error:
            response = error_answer(error)
        except h11.RemoteProtocolError as error:
            response = _malformed(error)
        except _GONE:
            self._told(request, None, began_s, was_held)
            raise
        except Exception:
            _logger.exception(
                "request failed", connection=self.id, method=request.method, path=request.shown_path
            )
            response = OUR_FAULT
        response = represent(response, request)
        note_request(self._audience, request, response.status)
        try:
            may_go_on = await self._finish(response, head_only=request.method == "HEAD")
        except _GONE:
            self._told(request, None, began_s, was_held)
            raise
        self._told(request, response, began_s, was_held)
        return may_go_on

    def _told(
        self, request: Request, response: Response | None, began_s: float, was_held: bool
    ) -> None:
        """Tell what became of a request; None: its client has left, if it ever was one."""
        if response is None and not request.method:
            return
        has_body = response is not None and request.method != "HEAD"
        self._tell(
            Served(
                request=request,
                status=LEFT if response is None else response.status,
                size_bytes=response.size_bytes if response is not None and has_body else 0,
                took_s=trio.current_time() - began_s,
                http="1.1",
                connection=self.id,
                was_held=was_held,
            )
        )

    async def _read_head(self) -> h11.Request | None:
        """Return the next request; None if the peer is done or silent, or there is none for us."""
        connection, settings = self._h11, self._settings
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if self._draining:
                return None
            started = bool(connection.trailing_data[0])
            patient = self._served and not started
            timeout_s = settings.idle_timeout_s if patient else settings.head_timeout_s
            with trio.move_on_after(timeout_s) as scope:
                self._resting = None if started else scope
                while event is h11.NEED_DATA:
                    data = await self._stream.receive_some(_READ_BYTES)
                    if data and not started:
                        if self._is_given_away(bytes(data)):
                            return None
                        started, self._resting = True, None
                        scope.deadline = trio.current_time() + settings.head_timeout_s
                    connection.receive_data(bytes(data))
                    event = connection.next_event()
            self._resting = None
            if scope.cancelled_caught and started:
                raise HttpError(408, "the request did not come in time")
        return event if type(event) is h11.Request else None  # else: closed, or silent

    def _is_given_away(self, data: bytes) -> bool:
        """Offer the connection to who may serve it, with the first bytes of a request."""
        adopt = self._adopt
        return adopt is not None and adopt(self._stream, data, pass_of(self._app, self._last))

    def _check_head(self, head: h11.Request) -> Request:
        settings = self._settings
        if not head.http_version.startswith(b"1."):  # HTTP/2 is agreed on by TLS, never without
            raise HttpError(505, "only HTTP/1.1 is spoken here")
        if len(head.target) > settings.max_target_bytes:
            raise HttpError(414, "the request target is too long")
        headers = list(head.headers)
        size = len(head.target) + sum(len(name) + len(value) + 4 for name, value in headers)
        if size > settings.max_head_bytes:
            raise HttpError(431, "the request head is too large")
        return Request(
            head.method.decode("ascii"), head.target.decode("latin-1"), headers, self._peer
        )

    async def _wait(self, hold: Hold) -> Response:
        """Park until the gate opens, the time is up (`hold.late`), or the client leaves.

        Cancellation: the gate has forgotten us when this returns or raises.
        """
        gate, room = hold.gate, self._settings.max_pipelined_bytes
        deadline_s = min(trio.current_time() + hold.timeout_s, self._held_until_s)
        with trio.CancelScope(deadline=deadline_s) as scope:
            gate.add(scope.cancel)
            self._held = scope
            try:
                while gate.response is None:
                    if room <= 0:
                        await trio.sleep_forever()
                    data = await self._stream.receive_some(room)
                    if not data:
                        raise ClientLeft("the client left a held request")
                    self._h11.receive_data(bytes(data))
                    room -= len(data)
            finally:
                self._held = None
                gate.discard(scope.cancel)
        return hold.late if gate.response is None else gate.response

    async def _call(self, call: Call, request: Request) -> Response:
        body = await self._read_body(request)
        with trio.move_on_after(self._settings.handler_timeout_s):
            return await call.handler(request, body)
        return TOO_LONG

    async def _read_body(self, request: Request) -> bytes:
        limit = self._settings.max_body_bytes
        declared = request.header(b"content-length")
        # h11 has checked that it is a number; before 100-continue, so that nothing is sent in vain.
        if declared is not None and int(declared) > limit:
            raise HttpError(413, f"the body is larger than {limit} bytes")
        connection = self._h11
        body = bytearray()
        with trio.move_on_after(self._settings.body_timeout_s):
            if connection.they_are_waiting_for_100_continue:
                await self._stream.send_all(_CONTINUE)
                connection.send(h11.InformationalResponse(status_code=100, headers=[]))
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(bytes(await self._stream.receive_some(_READ_BYTES)))
                elif type(event) is h11.Data:
                    body += event.data
                    if len(body) > limit:
                        raise HttpError(413, f"the body is larger than {limit} bytes")
                else:
                    return bytes(body)
        raise HttpError(408, "the body did not come in time")

    async def _finish(self, response: Response, *, head_only: bool) -> bool:
        """Send an answer and get ready for the next request, or close in peace."""
        connection = self._h11
        if connection.their_state is h11.SEND_BODY:
            # Nobody has read the body. Most requests have none, which h11 says now.
            with contextlib.suppress(h11.RemoteProtocolError):
                connection.next_event()
        unread = connection.their_state not in _FULLY_READ
        connection.send(_SENT_LAST if unread or self._draining else _SENT)
        connection.send(_END)
        last = connection.our_state is not h11.DONE
        await self._send(response, last=last, head_only=head_only)
        if not last:
            connection.start_next_cycle()
            return True
        if unread:
            await self._linger()
        return False

    async def _send(self, response: Response, *, last: bool, head_only: bool) -> None:
        head = b"".join(
            (response.head, self._date.render(), b"Connection: close\r\n\r\n" if last else b"\r\n")
        )
        chunks = () if head_only else response.chunks
        send_all = self._stream.send_all
        with trio.move_on_after(self._settings.send_allowance_s(response.size_bytes)) as scope:
            if response.size_bytes <= _JOIN_BYTES:
                await send_all(b"".join((head, *chunks)))
            else:
                await send_all(head)
                for chunk in chunks:
                    await send_all(chunk)
        if scope.cancelled_caught:
            raise ClientLeft("the client is too slow")

    async def _linger(self) -> None:
        """Let the peer read our answer: a close with unread input would reset the connection."""
        with trio.move_on_after(self._settings.linger_timeout_s):
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
            while await self._stream.receive_some(_READ_BYTES):
                pass


def _malformed(error: h11.RemoteProtocolError) -> Response:
    if error.error_status_hint == 431:
        return error_response(431, "the request head is too large")
    return _MALFORMED
