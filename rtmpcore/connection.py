"""One RTMP connection, sans-IO, server or client: bytes in, events out; events in, bytes out.

A driver of either role does the same, in this order::

    connection.receive_data(received)                    # b"" when the peer closed
    event = connection.next_event()                      # until NEED_DATA or CLOSED; may send()
    connection.send(ConnectAccepted())
    to_send = connection.data_to_send()                  # after an error too: the reply is in it

Here the layers meet: handshake, chunk stream, messages, and the command flow of the role. What may
be said when is decided in `state`. What needs no decision of the application is done here:
acknowledgements, pings, windows, aggregates. Media outside a publish or a play and unknown messages
are skipped.

Promise: whatever the bytes, only `RemoteProtocolError` leaves `next_event`, and the connection then
stays in ERROR. Every buffer has its bound in `Limits`.

May import: everything of this package. Spec: RTMP 1.0 sections 5 to 7.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from native import ChunkError, ChunkReader, RawMessage
from rtmpcore.chunk import ChunkWriter, malformed
from rtmpcore.command import parse_command
from rtmpcore.errors import LocalProtocolError, RemoteProtocolError
from rtmpcore.events import (
    AudioMessage,
    CreateStream,
    CuePoint,
    Event,
    Metadata,
    Play,
    PlayStarted,
    PublishStarted,
    Signal,
    VideoMessage,
)
from rtmpcore.flow import ClientFlow, Flow, Outgoing, ServerFlow, control
from rtmpcore.handshake import RANDOM_BYTES, ClientHandshake, DigestScheme, ServerHandshake
from rtmpcore.limits import Limits
from rtmpcore.message import (
    CUE_POINT,
    answer_user_control,
    decode_u32,
    encode_u32,
    parse_data,
    split_aggregate,
    strip_selector,
)
from rtmpcore.state import (
    ANSWER_STATES,
    FIRST_STATE,
    HANDSHAKE,
    MEDIA_STATE,
    Role,
    State,
    advance,
)
from rtmpcore.wire import WINDOW_ACK_BYTES, MessageType

_OVER: Final = (State.CLOSED, State.ERROR)
_STREAMING: Final = (State.PUBLISHING, State.PLAYING)


class Connection:
    """The state machine of one connection.

    Args:
        role: Which side we are. A client has its first bytes ready at once.
        random_bytes: At least `handshake.RANDOM_BYTES` unpredictable bytes, fresh for each
            connection.
        limits: What the peer may cost us.
        digest: The digest scheme that a client offers in the handshake; None for the plain one. A
            server answers whatever comes.

    Raises:
        ValueError: Too few random bytes.
    """

    state: State
    """Where the conversation stands; drivers choose their deadline by it. Read-only."""
    bytes_received: int
    """All bytes ever received, the handshake too. Read-only."""

    def __init__(
        self,
        role: Role,
        *,
        random_bytes: bytes,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        digest: DigestScheme | None = None,
    ) -> None:
        if len(random_bytes) < RANDOM_BYTES:
            raise ValueError(f"the handshake needs {RANDOM_BYTES} random bytes")
        self.state = FIRST_STATE[role]
        self.bytes_received = 0
        self._role = role
        # A server that owes an answer reads on after it; a client waits for nothing but messages.
        self._answer_states = ANSWER_STATES if role is Role.SERVER else frozenset()
        self._media_state = MEDIA_STATE[role]
        self._limits = limits

        # The way in. _inbox holds what one receive_data completed; _unread_bytes bounds it.
        self._reader = ChunkReader(
            max_message_bytes=limits.max_message_bytes,
            max_buffered_bytes=limits.max_buffered_bytes,
            max_chunk_streams=limits.max_chunk_streams,
        )
        self._inbox: deque[RawMessage] = deque()
        self._aggregate: Iterator[RawMessage] = iter(())
        self._unread_bytes = 0
        self._commands_before_publish = 0
        self._peer_closed = False
        self._failure: RemoteProtocolError | None = None
        self._acknowledged_bytes = 0
        # Half the window, as SRS: a peer that waits for us never waits long.
        self._acknowledge_every_bytes = WINDOW_ACK_BYTES // 2

        # The way out. Between two data_to_send() what we answer by ourselves is bounded by
        # max_send_queue_bytes, and what the application sends by max_buffered_bytes_publishing:
        # counted apart, for a peer that asks too much is not the application's fault.
        self._writer = ChunkWriter()
        self._outbox: list[bytes] = []
        self._sent_bytes = 0
        self._reply_bytes = 0
        self._send_failed = False
        self._announced_window_bytes = 0

        self._flow: Flow
        self._handshake: ServerHandshake | ClientHandshake | None
        if role is Role.SERVER:
            self._flow = ServerFlow()
            self._handshake = ServerHandshake(random_bytes)
        else:
            self._flow = ClientFlow()
            self._handshake = client = ClientHandshake(random_bytes, digest)
            self._queue_bytes(client.start())

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer; never raises for what they say. `next_event` does.

        Pull events until NEED_DATA or CLOSED after each call: unread messages are bounded.

        Args:
            data: Any number of bytes, or ``b""`` when the peer will send no more.
        """
        if not data:
            self._peer_closed = True
            return
        self.bytes_received += len(data)
        if self._failure is not None or self.state in _OVER:
            return
        try:
            self._read_bytes(data)
        except RemoteProtocolError as error:
            self._failure = error  # what came before it is read first

    def next_event(self) -> Event | Signal:
        """Return the next thing the peer said, or a `Signal` when there is none.

        The work of one call is bounded: after `Limits.max_messages_per_event` messages that are no
        event it returns `Signal.PAUSE`. Replies that need no decision are queued meanwhile: call
        `data_to_send` afterwards.

        Raises:
            RemoteProtocolError: The peer broke the protocol. Its `reply`, if any, is queued. Every
                later call raises the same.
        """
        try:
            for _ in range(self._limits.max_messages_per_event):
                message = self._next_message()
                if message is None:
                    break
                reader = _READERS.get(message.type_id)
                if reader is not None and (event := reader(self, message)) is not None:
                    return event
            else:
                return Signal.PAUSE
        except RemoteProtocolError as error:
            if self.state is not State.ERROR:
                self._fail(error)
            raise
        if self._peer_closed or self._send_failed:
            self.state = State.CLOSED
        return Signal.CLOSED if self.state is State.CLOSED else Signal.NEED_DATA

    def send(self, event: Event) -> None:
        """Queue an event for the peer.

        Raises:
            LocalProtocolError: The event is illegal now or cannot be written, or more than
                `Limits.max_buffered_bytes_publishing` are queued already: drain first. Nothing was
                queued.
        """
        if self._send_failed:
            raise LocalProtocolError("the peer can no longer be reached")
        if self._sent_bytes > self._limits.max_buffered_bytes_publishing:
            raise LocalProtocolError("too much is queued; drain data_to_send() first")
        state = advance(self.state, type(event), self._role)
        for outgoing in self._flow.send(event):
            self._sent_bytes += self._queue(outgoing)
        self._enter(state, event)

    def data_to_send(self) -> bytes:
        """Return all bytes queued for the peer, and forget them."""
        if not self._outbox:
            return b""
        data = b"".join(self._outbox)
        self._forget_queued()
        return data

    def send_failed(self) -> None:
        """Say that bytes of `data_to_send` were lost: nothing can be sent any more.

        What was received before may still be read: ffmpeg closes right after deleteStream, and the
        reply that fails must not hide it. After it, `next_event` returns `Signal.CLOSED`.
        """
        self._send_failed = True
        self._forget_queued()

    def _read_bytes(self, data: bytes) -> None:
        # Only a driver that does not pull, or a peer that talks on while we owe it an answer, comes
        # here with unread bytes.
        if self._unread_bytes > self._limits.max_buffered_bytes:
            raise RemoteProtocolError("the peer talks on without waiting", "RTMP 1.0 section 7.2")
        self._unread_bytes += len(data)
        if self._handshake is not None:
            data = self._shake_hands(self._handshake, data)
        completed: list[RawMessage] = []
        try:
            self._reader.feed(data, completed)
        except ChunkError as error:
            raise malformed(error) from None
        finally:
            self._inbox.extend(completed)
        if self.bytes_received - self._acknowledged_bytes >= self._acknowledge_every_bytes:
            self._acknowledged_bytes = self.bytes_received
            self._reply(control(MessageType.ACKNOWLEDGEMENT, encode_u32(self.bytes_received)))

    def _shake_hands(self, handshake: ServerHandshake | ClientHandshake, data: bytes) -> bytes:
        """Pass bytes to the handshake; return those beyond it."""
        answered = handshake.answered
        reply, data = handshake.receive(data)
        self._queue_bytes(reply)
        if handshake.answered and not answered:
            self.state = HANDSHAKE[self.state]
        if handshake.done:
            self.state = HANDSHAKE[self.state]
            self._handshake = None
        return data

    def _next_message(self) -> RawMessage | None:
        """Return the next message to read now; raise the failure that ended the bytes after it."""
        if (message := next(self._aggregate, None)) is not None:
            return message
        if not self._inbox:
            self._unread_bytes = 0
        elif self.state not in self._answer_states:
            return self._inbox.popleft()
        if self._failure is not None:
            raise self._failure
        return None

    def _fail(self, error: RemoteProtocolError) -> None:
        self.state = State.ERROR
        self._failure = error
        self._inbox.clear()
        self._aggregate = iter(())
        if error.reply is not None:
            for outgoing in self._flow.send(error.reply):
                self._queue(outgoing)

    def _received(self, event: Event) -> Event:
        """Step the conversation by an event of the peer."""
        try:
            state = advance(self.state, type(event), self._role.peer)
        except LocalProtocolError as error:
            raise RemoteProtocolError(str(error), "RTMP 1.0 section 7.2") from None
        self._enter(state, event)
        return event

    def _enter(self, state: State, event: Event) -> None:
        self.state = state
        if state is State.CLOSED:
            # What came after the end counts for nothing, errors included.
            self._inbox.clear()
            self._failure = None
            return
        if isinstance(event, (PublishStarted, PlayStarted)):
            self._commands_before_publish = 0
        # A server may send a picture in one breath with PlayStarted: a client is ready at once.
        ready = PublishStarted if self._role is Role.SERVER else Play
        if isinstance(event, ready):
            limits = self._limits
            self._reader.set_limits(
                max_message_bytes=limits.max_message_bytes_publishing,
                max_buffered_bytes=limits.max_buffered_bytes_publishing,
                max_chunk_streams=limits.max_chunk_streams_publishing,
            )

    def _reply(self, outgoing: Outgoing) -> None:
        """Queue what we answer by ourselves; a peer that asks and never reads is cut off."""
        if self._reply_bytes > self._limits.max_send_queue_bytes:
            raise RemoteProtocolError("the peer asks but does not read", "RTMP 1.0 section 5.4")
        self._reply_bytes += self._queue(outgoing)

    def _queue(self, outgoing: Outgoing) -> int:
        """Cut a message into chunks and queue them; return how many bytes they are."""
        data = self._writer.write(
            outgoing.chunk_stream_id,
            outgoing.type_id,
            outgoing.stream_id,
            outgoing.timestamp_ms,
            outgoing.payload,
        )
        if outgoing.type_id == MessageType.SET_CHUNK_SIZE:
            self._writer.chunk_bytes = decode_u32(outgoing.payload)
        self._queue_bytes(data)
        return len(data)

    def _queue_bytes(self, data: bytes) -> None:
        if not self._send_failed:
            self._outbox.append(data)

    def _forget_queued(self) -> None:
        self._outbox.clear()
        self._sent_bytes = 0
        self._reply_bytes = 0

    # One reader for each message type that means something to us; see _READERS.

    def _read_video(self, message: RawMessage) -> Event | None:
        if self.state is not self._media_state:
            return None
        return VideoMessage(
            stream_id=message.stream_id,
            timestamp_ms=message.timestamp_ms,
            payload=message.payload,
        )

    def _read_audio(self, message: RawMessage) -> Event | None:
        if self.state is not self._media_state:
            return None
        return AudioMessage(
            stream_id=message.stream_id,
            timestamp_ms=message.timestamp_ms,
            payload=message.payload,
        )

    def _read_data(self, message: RawMessage) -> Event | None:
        if self.state is not self._media_state:
            return None
        data = parse_data(message, self._limits)
        if data is None:
            return None
        name, values = data
        event = CuePoint if name == CUE_POINT else Metadata
        return event(stream_id=message.stream_id, timestamp_ms=message.timestamp_ms, values=values)

    def _read_aggregate(self, message: RawMessage) -> None:
        # Split as it is read, so that many small tags never stand in memory at once.
        self._aggregate = split_aggregate(message, self._limits)

    def _read_command(self, message: RawMessage) -> Event | None:
        if self.state not in _STREAMING:
            self._commands_before_publish += 1
            if self._commands_before_publish > self._limits.max_commands_before_publish:
                raise RemoteProtocolError(
                    "too many commands without a publish or play", "RTMP 1.0 section 7.2"
                )
        command = parse_command(strip_selector(message), self._limits)
        event, replies = self._flow.receive(command, message.stream_id, self.state)
        if event is not None:
            self._received(event)
        for reply in replies:
            self._reply(reply)
        # createStream asks nothing of the application: the reply is already queued.
        return None if isinstance(event, CreateStream) else event

    def _read_user_control(self, message: RawMessage) -> None:
        answer = answer_user_control(message.payload)
        if answer is not None:
            self._reply(control(MessageType.USER_CONTROL, answer))

    def _read_window(self, message: RawMessage) -> None:
        # Our own default is an upper bound; zero asks for nothing that makes sense.
        window_bytes = decode_u32(message.payload) or WINDOW_ACK_BYTES
        self._acknowledge_every_bytes = max(min(window_bytes, WINDOW_ACK_BYTES) // 2, 1)

    def _read_peer_bandwidth(self, message: RawMessage) -> None:
        window_bytes = decode_u32(message.payload)
        if window_bytes != self._announced_window_bytes:
            self._announced_window_bytes = window_bytes
            self._reply(control(MessageType.WINDOW_ACK_SIZE, encode_u32(window_bytes)))


_READERS: Final[dict[int, Callable[[Connection, RawMessage], Event | None]]] = {
    MessageType.VIDEO: Connection._read_video,
    MessageType.AUDIO: Connection._read_audio,
    MessageType.DATA_AMF0: Connection._read_data,
    MessageType.DATA_AMF3: Connection._read_data,
    MessageType.AGGREGATE: Connection._read_aggregate,
    MessageType.COMMAND_AMF0: Connection._read_command,
    MessageType.COMMAND_AMF3: Connection._read_command,
    MessageType.USER_CONTROL: Connection._read_user_control,
    MessageType.WINDOW_ACK_SIZE: Connection._read_window,
    MessageType.SET_PEER_BANDWIDTH: Connection._read_peer_bandwidth,
}
"""Types that are missing are skipped: Acknowledgement (TCP paces us), Set Chunk Size and Abort
(done in the chunk reader), shared objects, and what is not RTMP."""
