"""Plain player requests at line rate: joins the native reactor to Trio and to the application.

A connection begins in a Trio task under h11. When the first bytes of a request are one that the
reactor understands (`native.scan_request`), its descriptor is *adopted*: the task ends, and the
reactor reads, answers and parks without Python. What it does not understand comes back with the
bytes that it read, and is an `HttpConnection` again; h11 stays the authority.

The reactor knows blobs by key, and a key is a canonical request. For a key that it does not know
the application is asked, once for all who ask meanwhile::

    MISS ---> app.route --> Response --> put, until its life ends; or release, if it has none
                        \\-> Hold -----> the gate opens, or its time is up: the same
                        \\-> Call -----> hand back: the request needs more than a lookup

A request with a playback token is the reactor's only under a `Pass`: the application has judged the
token, h11 has answered, and the connection came with the next request. What is asked for with a
token has keys of its own, and the application sees it without, as `Request.is_admitted`.

The reactor's accounts say who fetches playlists; the `Audience` is told after each turn.

So five thousand viewers who wait for one part are one waiter at one gate, and a part that is
published is one call here. A viewer who joins a wait late has only the rest of its time.

`HEADRACE_PURE=1` has no reactor: then nothing is adopted, and h11 serves everything.

Bounds: the tables of the reactor (`HttpSettings`), and one entry here for each of its keys.

May import: `native`, `edge.http`, trio. Spec: rfc8216bis-22, section 6.2.5.2 (blocking reload).
"""

import heapq
import math
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import structlog
import trio

import native
from edge.http import watching
from edge.http.messages import (
    MAX_PASS_S,
    NOBODY_LISTENS,
    OUR_FAULT,
    Application,
    Audience,
    Hold,
    HttpError,
    Pass,
    Peer,
    Request,
    error_answer,
)
from edge.http.representation import represent
from edge.http.response import DateLine, Response, error_response
from edge.http.settings import HttpSettings
from edge.http.tls_stream import TlsStream
from edge.http.watching import believed_address
from edge.table import Gate
from native import PlainRequest, ReactorCounters, ReactorEvent, ReactorLimits, scan_request

if TYPE_CHECKING:
    from edge.life import Life
if TYPE_CHECKING or native.IMPLEMENTATION == "c":
    from native import Blob, Reactor

_logger = structlog.get_logger(__name__)

PREFIX = watching.PREFIX.encode()
"""The reactor takes nothing but what lies under this."""

MAX_RECEIVED_BYTES = 4096
"""A connection that has sent more before it is adopted stays with h11."""

STEP_BUDGET_US = 8_000
"""One turn of the reactor; between two of them everybody else has theirs. Python's part of a turn
takes some 0.13 ms where the reactor has used the caches: of a busy core 2 % at 8 ms, 6 % at 2."""

MAX_KEYS_OF_A_LIFE = 64
"""Keys under which answers of one life are kept; more are answered and forgotten. A version of a
playlist is the right answer to any number of spellings of "what is there already", and a stranger
must not fill the table with them. Players use a handful."""

_TOO_MANY = error_response(429, "too many requests", extra={"Retry-After": "1"})

# An entry is taken out of the heap late: when there are as many dead ones as live ones.
_MIN_HEAP = 64


class Owner(Protocol):
    """The server that counts connections."""

    def peer(self, tag: int) -> Peer:
        """Who is at the other end of a connection that has not ended."""
        ...

    def take_back(self, stream: trio.abc.Stream, received: bytes, tag: int) -> None:
        """Serve a connection that the reactor does not understand; the stream is the owner's."""
        ...

    def ended(self, tag: int) -> None:
        """A connection is closed."""
        ...


@dataclass(slots=True, eq=False)
class _Wait:
    """What the requests for a key wait for."""

    gate: Gate[Any]
    opened: Callable[[], object]
    deadline_s: float
    late: Response
    request: Request
    is_over: bool = False

    def __lt__(self, other: "_Wait") -> bool:
        return self.deadline_s < other.deadline_s


class Delivery:
    """One reactor and its pump.

    Args:
        app: Asked for each key that the reactor does not know.
        settings: Limits and time-outs.
        date: Shared with the server's other connections.
        owner: Gets connections back, and hears of their end.
        audience: Hears who fetches playlists.
    """

    def __init__(
        self,
        app: Application,
        *,
        settings: HttpSettings,
        date: DateLine,
        owner: Owner,
        audience: Audience = NOBODY_LISTENS,
    ) -> None:
        self._app = app
        self._audience = audience
        self._settings = settings
        self._date = date
        self._owner = owner
        self._reactor = Reactor(prefix=PREFIX, limits=_limits(settings), too_many=_blob(_TOO_MANY))
        self._tags: set[int] = set()
        self._waits: dict[bytes, _Wait] = {}
        self._deadlines: list[tuple[_Wait, bytes]] = []  # a heap; some are over already
        self._kept: dict[bytes, tuple[Life, Callable[[], object]]] = {}
        self._sleep: trio.CancelScope | None = None
        self._is_draining = False
        self._held_until_s = math.inf

    def __len__(self) -> int:
        """How many connections the reactor serves."""
        return len(self._tags)

    @property
    def counters(self) -> ReactorCounters:
        """What the reactor has done so far."""
        return self._reactor.counters

    def adopt(
        self,
        stream: trio.abc.Stream,
        received: bytes,
        tag: int,
        admitted: Pass | None = None,
    ) -> bool:
        """Take a connection over, if its next request is one for the reactor.

        Args:
            stream: Between two requests. If True is returned, it is closed and empty.
            received: What was read of the next request, and behind it.
            tag: Names the connection to the owner.
            admitted: What its last request had a token for; good for `MAX_PASS_S` at most.

        Returns:
            Whether it was taken.
        """
        if self._is_draining or len(received) > MAX_RECEIVED_BYTES:
            return False
        if not isinstance(stream, trio.SocketStream | TlsStream):
            return False
        request = scan_request(received, PREFIX)
        if not isinstance(request, PlainRequest):
            return False
        is_shared = self._owner.peer(tag).is_proxy
        if request.token and ((is_shared and request.forwarded) or not _fits(admitted, request)):
            return False
        if isinstance(stream, TlsStream):
            descriptor, tls = stream.detach()
        else:
            descriptor, tls = stream.socket.detach(), None
        self._tags.add(tag)
        token, until_ms = None, 0
        if admitted is not None:
            token = (admitted.stream_id.encode("ascii"), admitted.token)
            until_ms = int(min(admitted.until_s, trio.current_time() + MAX_PASS_S) * 1000)
        self._reactor.adopt(
            descriptor,
            received,
            tag,
            tls,
            pass_token=token,
            pass_until_ms=until_ms,
            is_shared=is_shared,
        )
        self._wake()
        return True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Pump the reactor until it is drained.

        Cancellation: cuts every connection.
        """
        try:
            task_status.started()
            while not self._is_draining or self._tags:
                if self._turn() or (self._is_draining and not self._tags):
                    await trio.lowlevel.checkpoint()
                else:
                    await self._rest()
        finally:
            self._close()

    def drain(self) -> None:
        """Answer what is under way, and what waits for `drain_held_s` more, then end."""
        self._is_draining = True
        self._held_until_s = trio.current_time() + self._settings.drain_held_s
        self._reactor.drain()
        for wait in self._waits.values():
            wait.deadline_s = min(wait.deadline_s, self._held_until_s)
        heapq.heapify(self._deadlines)
        self._wake()

    # -- the pump

    def _turn(self) -> bool:
        """One step of the reactor, and what it asks for; says whether it has more to do."""
        now_s = trio.current_time()
        while self._deadlines and self._deadlines[0][0].deadline_s <= now_s:
            wait, key = heapq.heappop(self._deadlines)
            if not wait.is_over:
                self._give_up(key)
        events, more = self._reactor.step(int(now_s * 1000), self._date.render(), STEP_BUDGET_US)
        self._tell()  # before anybody's end: then nobody knows who it was
        for event in events:
            self._handle(event)
        return more or any(event[0] is ReactorEvent.MISS for event in events)

    def _tell(self) -> None:
        """Tell the audience what the accounts say."""
        for tag, stream, agent, cmcd, blocking, plain, forwarded in self._reactor.accounts():
            address = self._owner.peer(tag).address
            self._audience.note(
                stream_id=stream.decode("ascii"),
                client=believed_address(forwarded.decode("ascii"), address),
                agent=agent,
                cmcd=cmcd.decode("ascii"),
                blocking=blocking,
                plain=plain,
            )

    def _handle(self, event: tuple[Any, ...]) -> None:
        match event:
            case (ReactorEvent.MISS, key):
                self._ask(key)
            case (ReactorEvent.UNWANTED, key):
                self._forget(key)
            case (ReactorEvent.RETURNED, descriptor, received, tag, tls):
                self._tags.discard(tag)
                self._owner.take_back(_stream(descriptor, tls), received, tag)
            case (ReactorEvent.ENDED, tag, _reason, _sent_bytes, _requests):
                self._tags.discard(tag)
                self._owner.ended(tag)

    async def _rest(self) -> None:
        """Until a socket is ready, a deadline has come, or somebody has work."""
        deadlines = [wait.deadline_s for wait, _ in self._deadlines[:1]]
        due_ms = self._reactor.next_deadline_ms()
        if due_ms is not None:
            deadlines.append(due_ms / 1000)
        with trio.CancelScope(deadline=min(deadlines, default=float("inf"))) as scope:
            self._sleep = scope
            await trio.lowlevel.wait_readable(self._reactor.fileno())
        self._sleep = None

    def _wake(self) -> None:
        if self._sleep is not None:
            self._sleep.cancel()

    def _close(self) -> None:
        for key in list(self._waits):
            self._forget(key)
        for life, on_end in self._kept.values():
            life.discard(on_end)
        self._kept.clear()
        self._reactor.close()
        self._tell()
        for tag in self._tags:
            self._owner.ended(tag)
        self._tags.clear()

    # -- keys

    def _ask(self, key: bytes) -> None:
        """Let the application say what belongs to a key."""
        accepts = ((b"accept-encoding", b"gzip"),) if key[:1] in b"gG" else ()
        request = Request(
            "GET", key[1:].decode("ascii"), list(accepts), is_admitted=key[:1].isupper()
        )
        try:
            answer = self._app.route(request)
        except HttpError as error:
            answer = error_answer(error)
        except Exception:
            _logger.exception("request failed", method="GET", path=request.shown_path)
            answer = OUR_FAULT
        if isinstance(answer, Response):
            self._answer(key, request, answer)
        elif not isinstance(answer, Hold):
            self._reactor.hand_back(key)
        else:
            self._hold(key, request, answer)

    def _hold(self, key: bytes, request: Request, hold: Hold) -> None:
        deadline_s = min(trio.current_time() + hold.timeout_s, self._held_until_s)
        opened = partial(self._opened, key)
        wait = _Wait(hold.gate, opened, deadline_s, hold.late, request)
        self._waits[key] = wait
        if len(self._deadlines) > 2 * len(self._waits) + _MIN_HEAP:
            self._deadlines = [entry for entry in self._deadlines if not entry[0].is_over]
            heapq.heapify(self._deadlines)
        heapq.heappush(self._deadlines, (wait, key))
        hold.gate.add(opened)

    def _opened(self, key: bytes) -> None:
        wait = self._waits.pop(key)
        wait.is_over = True
        assert wait.gate.response is not None  # it is open
        self._answer(key, wait.request, wait.gate.response)
        self._wake()

    def _give_up(self, key: bytes) -> None:
        wait = self._forget(key)
        if wait is not None:
            self._answer(key, wait.request, wait.late)

    def _forget(self, key: bytes) -> _Wait | None:
        wait = self._waits.pop(key, None)
        if wait is not None:
            wait.is_over = True
            wait.gate.discard(wait.opened)
        return wait

    def _answer(self, key: bytes, request: Request, response: Response) -> None:
        response = represent(response, request)
        life = response.life
        if life is None or life.ended or life.keepers >= MAX_KEYS_OF_A_LIFE:
            self._reactor.release(key, _blob(response))
            return
        if not self._reactor.put(key, _blob(response)):
            return  # there are as many as there may be
        # A key may be asked for twice in one step: who asked first had left, and the next came.
        if key in self._kept:
            last, on_last_end = self._kept[key]
            last.discard(on_last_end)
        on_end = partial(self._drop, key)
        self._kept[key] = life, on_end
        life.add(on_end)

    def _drop(self, key: bytes) -> None:
        del self._kept[key]
        self._reactor.drop(key)


def _fits(admitted: Pass | None, request: PlainRequest) -> bool:
    """Tell whether a pass is for just what a request shows, and not over."""
    return (
        admitted is not None
        and admitted.token == request.token
        and admitted.stream_id.encode("ascii") == request.stream
        and admitted.until_s > trio.current_time()
    )


def _limits(settings: HttpSettings) -> ReactorLimits:
    """The server's settings, in the reactor's units."""
    return ReactorLimits(
        max_connections=settings.max_connections,
        head_timeout_ms=int(settings.head_timeout_s * 1000),
        idle_timeout_ms=int(settings.idle_timeout_s * 1000),
        send_window_ms=int(settings.send_timeout_s * 1000),
        min_send_bytes=int(settings.send_timeout_s * settings.min_send_rate_bytes_s),
        linger_timeout_ms=int(settings.linger_timeout_s * 1000),
        requests_burst=settings.requests_burst,
        requests_per_s=settings.requests_per_s,
    )


def _blob(response: Response) -> "Blob":
    return Blob(response.head, response.chunks)


def _stream(descriptor: int, tls: Any) -> trio.abc.Stream:
    if tls is not None:
        return TlsStream(tls)
    return trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=descriptor)))
