"""Where one WebSocket frame ends and the next begins, and a stream that stops between two.

`FrameCutter` finds the ends of frames and bounds messages; what a frame means, and whether it is
right, is wsproto's to say: a frame that cannot be right goes there as it is, with all behind it.

`FrameGate` stands between trio-websocket and a connection whose request somebody else has read. It
plays that request back, then lets one message through for each `resume`. So when a conversation is
over the bytes behind its last message are still here, and `detach` gives them to whoever goes on.

Bounds: what is held is one frame (`max_bytes` and its header) and one read (`READ_BYTES`), or what
came with the request; noise (`MAX_NOISE`). May import: trio, `edge.http.messages`. Spec: RFC 6455,
sections 5.2, 5.4.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from edge.http.messages import Request

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAX_MESSAGE_BYTES: Final = 4096
"""Of one message, however many frames it has. Ours are 500 characters and some JSON."""

READ_BYTES: Final = 4096

MAX_NOISE: Final = 100
"""Frames that end no message, pings and fragments, which a gate lets through in all."""

# RFC 6455, section 5.2: the first two bytes of a frame.
_FIN: Final = 0x80
_RESERVED: Final = 0x70
_OPCODE: Final = 0x0F
_CONTROL: Final = 0x08
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_MAX_CONTROL: Final = 125

_CONTINUATION: Final = 0x0
_CLOSE: Final = 0x8
_OPCODES: Final = frozenset((_CONTINUATION, 0x1, 0x2, _CLOSE, 0x9, 0xA))

_LENGTH_BYTES: Final = {126: 2, 127: 8}
_MASK_BYTES: Final = 4


class MessageTooBig(Exception):
    """The peer's message has more bytes than one may have."""


class _TooNoisy(Exception):
    """The peer sends frames and no messages."""


class Frame(NamedTuple):
    """A frame as it came, mask and all; or the bytes from one on that cannot be right."""

    data: bytes
    is_data: bool
    """It carries a message or a piece of one; else it is a control frame."""
    is_final: bool

    @property
    def ends_message(self) -> bool:
        """Whether a message is complete with it."""
        return self.is_data and self.is_final


class FrameCutter:
    """Cuts what a client sends into frames.

    Args:
        max_bytes: Of one message.
    """

    __slots__ = ("_held", "_is_hopeless", "_max_bytes", "_message_bytes", "is_within_message")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = bytearray()
        self._is_hopeless = False
        self._message_bytes = 0
        self.is_within_message = False
        """A message has begun and goes on in a further frame."""

    @property
    def is_within_frame(self) -> bool:
        """What comes next is not the beginning of a frame."""
        return bool(self._held) or self._is_hopeless

    @property
    def is_idle(self) -> bool:
        """No message is half read."""
        return not (self.is_within_frame or self.is_within_message)

    def feed(self, data: bytes) -> None:
        """Take what has come; bounded by who reads, who cuts before reading more."""
        self._held += data

    def cut(self) -> Frame | None:
        """Return the next frame; None: it is not whole.

        Raises:
            MessageTooBig: No more can be cut. Nothing of the payload has to be there for that.
        """
        held = self._held
        if self._is_hopeless:
            return self._cut_hopeless()
        if len(held) < 2:
            return None
        first, second = held[0], held[1]
        opcode, length = first & _OPCODE, second & _LENGTH
        is_data, is_final = not first & _CONTROL, bool(first & _FIN)
        is_right = opcode in _OPCODES and not first & _RESERVED and second & _MASKED
        if not is_right or not (is_data or (is_final and length <= _MAX_CONTROL)):
            self._is_hopeless = True
            return self._cut_hopeless()
        head_bytes = 2
        if length in _LENGTH_BYTES:
            head_bytes += _LENGTH_BYTES[length]
            if len(held) < head_bytes:
                return None
            length = int.from_bytes(held[2:head_bytes], "big")
        message_bytes = length + (self._message_bytes if opcode == _CONTINUATION else 0)
        if is_data and message_bytes > self._max_bytes:
            raise MessageTooBig
        frame_bytes = head_bytes + _MASK_BYTES + length
        if len(held) < frame_bytes:
            return None
        if is_data:
            self._message_bytes = message_bytes
            self.is_within_message = not is_final
        frame = Frame(bytes(held[:frame_bytes]), is_data, is_final)
        del held[:frame_bytes]
        return frame

    def rest(self) -> bytes:
        """Give up what was not cut."""
        rest = bytes(self._held)
        self._held.clear()
        return rest

    def _cut_hopeless(self) -> Frame | None:
        """After one frame that cannot be right nobody knows where others begin."""
        data = self.rest()
        return Frame(data, is_data=False, is_final=False) if data else None


class FrameGate(trio.abc.Stream):
    """A WebSocket's connection as trio-websocket sees it: one message for each `resume`.

    One task receives, another may send. The connection is not closed with the gate: who made it
    has something to say in the end, or goes on with it.

    Args:
        stream: The connection, behind the request.
        received: What was read behind the request.
        request: Which `check_upgrade` has found right.
        max_bytes: Of one message.
    """

    def __init__(
        self, stream: trio.abc.Stream, received: bytes, request: Request, *, max_bytes: int
    ) -> None:
        self._stream = stream
        self._head = request_head(request)
        self._cutter = FrameCutter(max_bytes)
        self._cutter.feed(received)
        self._opened = trio.Event()
        self._is_open = False
        self._is_receiving = False
        self._is_closed = False
        self._noise = 0
        self.is_cut = False
        """A send has failed, or was cancelled: nothing more can be said on this connection."""
        self.has_said_close = False
        """A close frame was sent."""
        self.has_ended = False
        """The peer has ended its side, or the connection is broken."""
        self.is_too_big = False
        """The peer's message was."""
        self.is_too_noisy = False
        """The peer has sent more than `MAX_NOISE` frames that end no message."""

    def resume(self) -> None:
        """Let the next message through, and the control frames before it."""
        self._is_open = True
        self._opened.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive the request, then frame by frame; `max_bytes` is not asked.

        Cancellation: loses nothing.

        Raises:
            trio.BrokenResourceError: Of the connection; or the message is too big, or there is too
                much noise.
            trio.BusyResourceError: Another task is receiving.
            trio.ClosedResourceError: The gate is closed.
        """
        if self._is_receiving:
            raise trio.BusyResourceError("another task is receiving")
        await trio.lowlevel.checkpoint()
        self._is_receiving = True
        try:
            self._check_open()
            if self._head:
                head, self._head = self._head, b""
                return head
            return await self._receive_frame()
        except MessageTooBig:
            self.is_too_big = True
            raise trio.BrokenResourceError("the message is too big") from None
        except _TooNoisy:
            self.is_too_noisy = True
            raise trio.BrokenResourceError("too many frames") from None
        except trio.BrokenResourceError:
            self.has_ended = True
            raise
        finally:
            self._is_receiving = False

    async def send_all(self, data: "Buffer") -> None:
        """Send bytes as they are.

        Raises: as of the connection; trio.ClosedResourceError too if the gate is closed.
        """
        self._check_open()
        view = memoryview(data)
        is_cut, self.is_cut = self.is_cut, True
        await self._stream.send_all(view)
        self.is_cut = is_cut
        if view.nbytes and view[0] == _FIN | _CLOSE:
            self.has_said_close = True

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the connection takes bytes."""
        self._check_open()
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the gate, and not the connection."""
        self._is_closed = True
        self._opened.set()
        await trio.lowlevel.checkpoint()

    def detach(self) -> tuple[trio.abc.Stream, bytes]:
        """Give the connection away, with the bytes behind the last message.

        Raises:
            trio.BusyResourceError: A task is receiving.
            trio.ClosedResourceError: The gate is closed.
        """
        self._check_open()
        if self._is_receiving:
            raise trio.BusyResourceError("a task is receiving")
        self._is_closed = True
        return self._stream, self._cutter.rest()

    async def _receive_frame(self) -> bytes:
        while not self._is_open:
            await self._opened.wait()
            self._check_open()
        while (frame := self._cutter.cut()) is None:
            data = await self._stream.receive_some(READ_BYTES)
            self._check_open()
            if not data:
                self.has_ended = True
                return b""
            self._cutter.feed(bytes(data))
        if frame.ends_message:
            self._is_open = False
            self._opened = trio.Event()
            return frame.data
        self._noise += 1
        if self._noise > MAX_NOISE:
            raise _TooNoisy
        return frame.data

    def _check_open(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError("this gate is closed")


def request_head(request: Request) -> bytes:
    """Write what matters of an upgrade for trio-websocket to read: no extension, no subprotocol.

    Its fields have been parsed once, so none of them has a line end.
    """
    fields = (
        b"GET " + request.path.encode("latin-1") + b" HTTP/1.1",
        b"Host: " + (request.header(b"host") or "").encode("latin-1"),
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: " + (request.header(b"sec-websocket-key") or "").encode("latin-1"),
    )
    return b"\r\n".join(fields) + b"\r\n\r\n"
