"""The requests of one HTTP/2 connection: what each waits for, and whose frame is next.

A held request is a `Stream` and a callback in its gate, nothing more. One that is being answered is
in the `SendQueue`, which gives the streams their turns: by urgency (RFC 9218), then those that need
a single frame, then in rotation, a frame each. So a playlist never waits for a segment, even if the
client calls them equally urgent, and no segment for more than a frame of each of its equals.

Invariants: a stream is in the queue at most once, or set aside because its window is closed, or in
neither. Leaving (`Stream.release`) takes it out of its gate at once; the queue drops it later.

May import: `edge.http.messages`, `edge.http.response`, the meter's frame size; no clock, no I/O.
Spec: RFC 9218 sections 4 (priority parameters) and 10 (scheduling); RFC 7540's priorities are not
looked at (RFC 9113 5.3.2).
"""

import heapq
import itertools
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from edge.http.h2_meter import MAX_FRAME_BYTES
from edge.http.messages import Call, Hold, Request
from edge.http.response import Response

if TYPE_CHECKING:
    import trio

_URGENCY = re.compile(r"(?:^|[,\s])u\s*=\s*([0-7])(?![0-9.])")

# What RFC 9218 gives to who does not say; for what players cannot go on without, more.
_MEDIA_URGENCY, _OTHER_URGENCY = 3, 1


class Stream:
    """One request, from its head to the last byte of its answer.

    Args:
        stream_id: Its number on the connection.
        request: Its head.
        opened: Called with this stream when the gate that it waits at opens.
    """

    __slots__ = (
        "_chunk",
        "_chunks",
        "_on_open",
        "_position",
        "began_s",
        "body",
        "call",
        "deadline_s",
        "hold",
        "id",
        "is_complete",
        "is_head_sent",
        "late",
        "left_bytes",
        "rank",
        "request",
        "response",
        "scope",
        "was_held",
    )

    def __init__(
        self, stream_id: int, request: Request, opened: Callable[["Stream"], object]
    ) -> None:
        self.id = stream_id
        self.request = request
        self._on_open = opened
        self.began_s = 0.0
        """When its head came, on the Trio clock."""
        self.was_held = False
        """Whether it has ever been parked at a gate."""
        self.is_complete = False
        """The client has sent all of its request."""
        self.deadline_s = math.inf
        """When what it waits for must have come, on the Trio clock ..."""
        self.late: Response | None = None
        """... or else this is the answer; None: the stream is reset."""
        self.hold: Hold | None = None
        """While it is parked at a gate."""
        self.call: Call | None = None
        """While its body is read for this."""
        self.body = bytearray()
        self.scope: trio.CancelScope | None = None
        """While its handler runs."""
        self.response: Response | None = None
        """What is being sent."""
        self.is_head_sent = False
        self.left_bytes = 0
        """Of the body, still to send."""
        self.rank = (0, False)
        """Its place in the queue: urgency, and whether it takes more than a frame."""

    def park(self, hold: Hold) -> None:
        """Wait at a gate."""
        self.hold = hold
        self.was_held = True
        hold.gate.add(self.wake)

    def wake(self) -> None:
        """Called by the gate."""
        self._on_open(self)

    def release(self) -> None:
        """Stop waiting for anything; may be called twice."""
        if self.hold is not None:
            self.hold.gate.discard(self.wake)
            self.hold = None
        if self.scope is not None:
            self.scope.cancel()
        self.call, self.late = None, None
        self.body.clear()

    def begin(self, response: Response) -> None:
        """Get ready to send a response."""
        self.response = response
        head_only = self.request.method == "HEAD"
        self.left_bytes = 0 if head_only else response.size_bytes
        self.rank = (urgency(self.request, response), self.left_bytes > MAX_FRAME_BYTES)
        self._chunks = iter(response.chunks)
        self._chunk = memoryview(b"")
        self._position = 0

    def take(self, size: int) -> memoryview:
        """Cut the next piece off the body, without copying it.

        Args:
            size: At most so many bytes, at least one.

        Returns:
            At least one byte, if `left_bytes` is not 0.
        """
        while self._position == len(self._chunk):
            self._chunk, self._position = memoryview(next(self._chunks)), 0
        piece = self._chunk[self._position : self._position + size]
        self._position += len(piece)
        self.left_bytes -= len(piece)
        return piece


class SendQueue:
    """Streams with something to send, in the order of their turns."""

    __slots__ = ("_blocked", "_heap", "_turns")

    def __init__(self) -> None:
        # The number of the turn is unique: streams are never compared.
        self._heap: list[tuple[tuple[int, bool], int, Stream]] = []
        self._blocked: dict[int, Stream] = {}
        self._turns = itertools.count()

    def push(self, stream: Stream) -> None:
        """Queue a stream behind its equals."""
        heapq.heappush(self._heap, (stream.rank, next(self._turns), stream))

    def pop(self) -> Stream | None:
        """Take out the stream whose turn it is; it may have left meanwhile."""
        return heapq.heappop(self._heap)[2] if self._heap else None

    def block(self, stream: Stream) -> None:
        """Set a stream aside until its window opens."""
        self._blocked[stream.id] = stream

    def unblock(self, stream_id: int) -> None:
        """Queue a stream again, if it was set aside."""
        stream = self._blocked.pop(stream_id, None)
        if stream is not None:
            self.push(stream)

    def unblock_all(self) -> None:
        """The same for all of them: the connection's window has opened."""
        blocked, self._blocked = self._blocked, {}
        for stream in blocked.values():
            self.push(stream)

    def forget(self, stream_id: int) -> None:
        """Drop a stream that was set aside."""
        self._blocked.pop(stream_id, None)


def urgency(request: Request, response: Response) -> int:
    """How urgent an answer is: 0 most, 7 least.

    The client's `Priority` field decides. Without one, media comes after everything else: playlists
    are small, and nothing goes on without them.
    """
    field = request.header(b"priority")
    if field is not None:
        match = _URGENCY.search(field)
        return int(match.group(1)) if match else _MEDIA_URGENCY
    for name, value in response.fields:
        if name == b"content-type":
            return _MEDIA_URGENCY if value.startswith((b"video/", b"audio/")) else _OTHER_URGENCY
    return _OTHER_URGENCY
