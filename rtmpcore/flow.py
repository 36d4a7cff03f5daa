"""The command flow of each role: which commands an event becomes, and which event a command is.

`ServerFlow` answers publishers the way OBS, ffmpeg, GStreamer, librtmp, FMLE and HaishinKit wait
for it; `ClientFlow` publishes the way ffmpeg does. Both remember only what a later reply must
repeat: transaction ids, the message stream, the name. They neither judge what is legal when
(`state` does, by `Connection`) nor touch bytes: they take commands and events and return `Outgoing`
messages for `Connection` to queue.

May import: command, errors, events, message, state, wire. Spec: RTMP 1.0 section 7.2.
"""

from typing import Final, NamedTuple, Protocol

from rtmpcore import command as commands
from rtmpcore.amf import AmfValue
from rtmpcore.command import Command, Status
from rtmpcore.errors import LocalProtocolError, RemoteProtocolError
from rtmpcore.events import (
    AudioMessage,
    Connect,
    ConnectAccepted,
    ConnectRejected,
    CreateStream,
    CuePoint,
    Event,
    Metadata,
    Publish,
    PublishRefused,
    PublishStarted,
    StreamCreated,
    Unpublish,
    VideoMessage,
)
from rtmpcore.message import (
    encode_cue_point,
    encode_metadata,
    encode_peer_bandwidth,
    encode_u32,
)
from rtmpcore.state import State
from rtmpcore.wire import OUR_CHUNK_BYTES, WINDOW_ACK_BYTES, ChunkStream, MessageType

_CONNECT_TRANSACTION: Final = 1
"""The transaction id that connect has by specification (7.2.1.1)."""


class Outgoing(NamedTuple):
    """One message to send, before it is cut into chunks."""

    chunk_stream_id: int
    type_id: int
    payload: bytes
    stream_id: int = 0
    timestamp_ms: int = 0


class Flow(Protocol):
    """What `Connection` needs of a role."""

    def receive(
        self, command: Command, stream_id: int, state: State
    ) -> tuple[Event | None, list[Outgoing]]:
        """Read a peer's command.

        Args:
            command: The command.
            stream_id: The message stream it came on.
            state: Where the conversation stands.

        Returns:
            The event that it is, or None when it is nothing to the application; and the replies.

        Raises:
            RemoteProtocolError: The command is malformed.
        """
        ...

    def send(self, event: Event) -> list[Outgoing]:
        """Return the messages of an event that `state` has found legal.

        Raises:
            LocalProtocolError: The event cannot be written; nothing was remembered of it.
        """
        ...


def control(type_id: MessageType, payload: bytes) -> Outgoing:
    """Build a protocol control message, on the chunk stream that is set aside for them (5.4)."""
    return Outgoing(ChunkStream.CONTROL, type_id, payload)


def _command(
    payload: bytes, chunk_stream_id: int = ChunkStream.COMMAND, stream_id: int = 0
) -> Outgoing:
    return Outgoing(chunk_stream_id, MessageType.COMMAND_AMF0, payload, stream_id)


def _status(stream_id: int, status: Status) -> Outgoing:
    return _command(commands.on_status(status), ChunkStream.STATUS, stream_id)


class ServerFlow:
    """A server that takes one publish at a time on a connection."""

    def __init__(self) -> None:
        self._connect_transaction = 0.0
        self._last_stream_id = 0
        self._stream_id = 0  # of the latest publish
        self._fc_publish = False

    def receive(
        self, command: Command, stream_id: int, state: State
    ) -> tuple[Event | None, list[Outgoing]]:
        """Read a client's command; see `Flow.receive`."""
        name, transaction = command.name, command.transaction_id
        if state is State.WAIT_CONNECT and name != "connect":
            raise RemoteProtocolError("the first command is not connect", "RTMP 1.0 section 7.2.1")
        match name:
            case "connect":
                self._connect_transaction = transaction
                return commands.parse_connect(command), []
            case "createStream":
                # Ids count up from 1, which some clients take for granted.
                self._last_stream_id += 1
                return CreateStream(), [
                    _command(commands.call("_result", transaction, self._last_stream_id))
                ]
            case "publish":
                self._stream_id = stream_id
                return commands.parse_publish(command, stream_id), []
            case "deleteStream" | "closeStream" | "FCUnpublish":
                ends = state is State.PUBLISHING and self._names_our_stream(command)
                return Unpublish(stream_id=self._stream_id) if ends else None, []
            case "play" | "play2":
                status = Status("error", commands.PLAY_NOT_FOUND, "Playback is not served here.")
                return None, [_status(stream_id, status)]
            case "releaseStream" | "FCPublish" | "_checkbw" | "getStreamLength":
                self._fc_publish |= name == "FCPublish"
                # HaishinKit waits for both of the first; transaction 0 asks for no reply, and
                # GStreamer warns of one.
                result = 0 if name == "getStreamLength" else None
                reply = _command(commands.call("_result", transaction, result))
                return None, [reply] if transaction else []
            case _:
                return None, []

    def send(self, event: Event) -> list[Outgoing]:
        """Return the messages of a server's event; see `Flow.send`."""
        match event:
            case ConnectAccepted():
                return [
                    control(MessageType.WINDOW_ACK_SIZE, encode_u32(WINDOW_ACK_BYTES)),
                    control(
                        MessageType.SET_PEER_BANDWIDTH, encode_peer_bandwidth(WINDOW_ACK_BYTES)
                    ),
                    control(MessageType.SET_CHUNK_SIZE, encode_u32(OUR_CHUNK_BYTES)),
                    _command(commands.connect_accepted(self._connect_transaction)),
                ]
            case ConnectRejected():
                return [
                    _command(
                        commands.connect_rejected(self._connect_transaction, event.description)
                    )
                ]
            case PublishStarted():
                self._check_stream_id(event.stream_id)
                description = event.description or "Publishing started."
                status = Status("status", commands.PUBLISH_START, description)
                started = _status(event.stream_id, status)
                return (
                    [_command(commands.on_fc_publish()), started] if self._fc_publish else [started]
                )
            case PublishRefused():
                self._check_stream_id(event.stream_id)
                status = Status("error", event.code.value, event.description)
                return [_status(event.stream_id, status)]
            case _:
                raise LocalProtocolError("createStream is answered without being asked")

    def _names_our_stream(self, command: Command) -> bool:
        # deleteStream names a message stream, except GStreamer's, which names the key; the other
        # two name the key or nothing. Only a number that is another stream's is not ours.
        target = command.arguments[0] if command.arguments else None
        return not isinstance(target, float) or target == self._stream_id

    def _check_stream_id(self, stream_id: int) -> None:
        if stream_id != self._stream_id:
            raise LocalProtocolError(f"message stream {stream_id} is not the one being published")


class ClientFlow:
    """A client that publishes, one publish at a time."""

    def __init__(self) -> None:
        self._last_transaction = _CONNECT_TRANSACTION
        # transaction id -> command, of those whose reply matters: connect, createStream, publish.
        # Grows with our own questions only, and an answer takes its question out.
        self._waiting: dict[float, str] = {}
        self._stream_id = 0
        self._name = ""

    def receive(
        self, command: Command, stream_id: int, state: State
    ) -> tuple[Event | None, list[Outgoing]]:
        """Read a server's command; see `Flow.receive`."""
        match command.name:
            case "_result" | "_error":
                return self._read_reply(command, state), []
            case "onStatus":
                return self._read_status(commands.parse_status(command), state), []
            case _:  # onBWDone, onFCPublish ...
                return None, []

    def send(self, event: Event) -> list[Outgoing]:
        """Return the messages of a client's event; see `Flow.send`."""
        match event:
            case VideoMessage():
                return [_media(ChunkStream.VIDEO, MessageType.VIDEO, event)]
            case AudioMessage():
                return [_media(ChunkStream.AUDIO, MessageType.AUDIO, event)]
            case Metadata() | CuePoint():
                encode = encode_metadata if isinstance(event, Metadata) else encode_cue_point
                return [
                    Outgoing(
                        ChunkStream.AUDIO,
                        MessageType.DATA_AMF0,
                        encode(event.values),
                        event.stream_id,
                        event.timestamp_ms,
                    )
                ]
            case Connect():
                connect = commands.connect(event, _CONNECT_TRANSACTION)
                self._waiting[_CONNECT_TRANSACTION] = "connect"
                return [
                    control(MessageType.SET_CHUNK_SIZE, encode_u32(OUR_CHUNK_BYTES)),
                    _command(connect),
                ]
            case CreateStream():
                announced = ("releaseStream", "FCPublish") if event.name else ()
                return [
                    *(_command(self._call(name, event.name)) for name in announced),
                    _command(self._ask("createStream")),
                ]
            case Publish():
                self._stream_id = event.stream_id
                self._name = f"{event.name}?{event.query}" if event.query else event.name
                payload = self._ask("publish", self._name, event.kind)
                return [_command(payload, ChunkStream.PUBLISH, event.stream_id)]
            case _:  # Unpublish
                return [
                    _command(self._call("FCUnpublish", self._name)),
                    _command(self._call("deleteStream", self._stream_id)),
                ]

    def _call(self, name: str, *arguments: AmfValue) -> bytes:
        self._last_transaction += 1
        return commands.call(name, self._last_transaction, *arguments)

    def _ask(self, name: str, *arguments: AmfValue) -> bytes:
        payload = self._call(name, *arguments)
        self._waiting[self._last_transaction] = name
        return payload

    def _read_reply(self, command: Command, state: State) -> Event | None:
        question = self._waiting.pop(command.transaction_id, "")
        status = commands.parse_status(command)
        failed = command.name == "_error" or status.level == "error"
        match question:
            case "connect" if failed:
                return ConnectRejected(description=status.description or status.code)
            case "connect":
                return ConnectAccepted()
            case "createStream":
                stream_id = command.arguments[0] if command.arguments else None
                if failed or not isinstance(stream_id, float) or not 0 < stream_id < 2**32:
                    raise RemoteProtocolError(
                        "the server gives no message stream", "RTMP 1.0 section 7.2.1.3"
                    )
                return StreamCreated(stream_id=int(stream_id))
            case "publish" if state is State.WAIT_PUBLISH_ANSWER:
                # Some servers answer publish itself, instead of or before onStatus.
                return self._refused(status) if failed else self._started(status)
            case _:
                return None  # releaseStream, FCPublish ...: refused by many, needed by none

    def _read_status(self, status: Status, state: State) -> Event | None:
        waiting = state is State.WAIT_PUBLISH_ANSWER
        if status.level == "error" and (waiting or state is State.PUBLISHING):
            return self._refused(status)
        if status.code == commands.PUBLISH_START and waiting:
            return self._started(status)
        return None

    def _started(self, status: Status) -> PublishStarted:
        return PublishStarted(stream_id=self._stream_id, description=status.description)

    def _refused(self, status: Status) -> PublishRefused:
        return PublishRefused(
            stream_id=self._stream_id,
            code=commands.refusal_of(status.code),
            description=status.description or status.code,
        )


def _media(chunk_stream_id: int, type_id: int, event: AudioMessage | VideoMessage) -> Outgoing:
    return Outgoing(chunk_stream_id, type_id, event.payload, event.stream_id, event.timestamp_ms)
