"""The command flow of each role: which commands an event becomes, and which event a command is.

`ServerFlow` answers publishers and players the way OBS, ffmpeg, GStreamer, librtmp, FMLE and
HaishinKit wait for it; `ClientFlow` publishes and plays the way ffmpeg does. Both remember only
what a later message must repeat or heed: transaction ids, the message stream, the name, what the
client can do. They neither judge what is legal when (`state` does, by `Connection`) nor touch
bytes: they take commands and events and return `Outgoing` messages for `Connection` to queue.

May import: capabilities, command, errors, events, message, state, wire. Spec: RTMP 1.0 section 7.2.
"""

from typing import Final, NamedTuple, Protocol

from rtmpcore import command as commands
from rtmpcore.amf import AmfValue
from rtmpcore.capabilities import UNSAID, Feature
from rtmpcore.command import Command, Status
from rtmpcore.errors import LocalProtocolError, RemoteProtocolError
from rtmpcore.events import (
    AudioMessage,
    Connect,
    ConnectAccepted,
    ConnectRefusal,
    ConnectRejected,
    CreateStream,
    CuePoint,
    Event,
    Metadata,
    Play,
    PlayRefusal,
    PlayRefused,
    PlayStarted,
    PlayStopped,
    Publish,
    PublishRefusal,
    PublishRefused,
    PublishStarted,
    ReconnectRequest,
    StopPlay,
    StreamCreated,
    Unpublish,
    VideoMessage,
)
from rtmpcore.message import (
    encode_cue_point,
    encode_metadata,
    encode_peer_bandwidth,
    encode_u32,
    encode_user_control,
)
from rtmpcore.state import State
from rtmpcore.wire import (
    OUR_CHUNK_BYTES,
    OUR_PLAY_BUFFER_MS,
    WINDOW_ACK_BYTES,
    ChunkStream,
    MessageType,
    UserControl,
)

_CONNECT_TRANSACTION: Final = 1
"""The transaction id that connect has by specification (7.2.1.1)."""

_PLAY_LIVE: Final = -2000
"""Where a play begins: the live stream of the name, as ffmpeg says it. By the specification it is
-2 seconds (7.2.2.1); servers read whatever is below zero so."""

_PUBLISH_STATES: Final = (State.WAIT_PUBLISH_ANSWER, State.PUBLISHING)
_PLAY_STATES: Final = (State.WAIT_PLAY_ANSWER, State.PLAYING)


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


def _user_control(event: UserControl, *numbers: int) -> Outgoing:
    return control(MessageType.USER_CONTROL, encode_user_control(event, *numbers))


class ServerFlow:
    """A server that takes one publish or one play at a time on a connection."""

    def __init__(self) -> None:
        self._connect_transaction = 0.0
        self._client = UNSAID  # its capabilities
        self._last_stream_id = 0
        self._stream_id = 0  # of the latest publish or play
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
                connect = commands.parse_connect(command)
                self._client = connect.capabilities
                return connect, []
            case "createStream":
                # Ids count up from 1, which some clients take for granted.
                self._last_stream_id += 1
                return CreateStream(), [
                    _command(commands.call("_result", transaction, self._last_stream_id))
                ]
            case "publish":
                self._stream_id = stream_id
                return commands.parse_publish(command, stream_id), []
            case "play" if state is State.IDLE:
                self._stream_id = stream_id
                return commands.parse_play(command, stream_id), []
            case "play" | "play2":
                reason = "A connection carries one stream at a time."
                return None, [_status(stream_id, Status("error", PlayRefusal.FAILED.value, reason))]
            case "deleteStream" | "closeStream" | "FCUnpublish":
                return self._read_end(command, state), []
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
            case VideoMessage() | AudioMessage() | Metadata() | CuePoint():
                # A player expects onMetaData as it is stored: without @setDataFrame around it.
                self._check_stream_id(event.stream_id)
                return [_media(event, stored=True)]
            case ConnectAccepted():
                # Its own to those who asked only: see the event.
                said = UNSAID if self._client == UNSAID else event.capabilities
                return [
                    control(MessageType.WINDOW_ACK_SIZE, encode_u32(WINDOW_ACK_BYTES)),
                    control(
                        MessageType.SET_PEER_BANDWIDTH, encode_peer_bandwidth(WINDOW_ACK_BYTES)
                    ),
                    control(MessageType.SET_CHUNK_SIZE, encode_u32(OUR_CHUNK_BYTES)),
                    _command(commands.connect_accepted(self._connect_transaction, said)),
                ]
            case ConnectRejected():
                # The reply is the answer; OBS and librtmp know the code only from an onStatus.
                status = Status("error", event.code.value, event.description)
                reply = commands.connect_rejected(self._connect_transaction, status)
                return [_command(reply), _status(0, status)]
            case ReconnectRequest():
                if Feature.RECONNECT not in self._client.features:
                    raise LocalProtocolError("the client does not understand reconnect requests")
                request = commands.reconnect_request(event.tc_url, event.description)
                return [_command(request, ChunkStream.STATUS)]
            case (
                PublishStarted() | PublishRefused() | PlayStarted() | PlayRefused() | PlayStopped()
            ):
                self._check_stream_id(event.stream_id)
                return _answer(event, announce=self._fc_publish)
            case _:
                raise LocalProtocolError("createStream is answered without being asked")

    def _read_end(self, command: Command, state: State) -> Event | None:
        if not self._names_our_stream(command):
            return None
        if state is State.PUBLISHING:
            return Unpublish(stream_id=self._stream_id)
        if state is State.PLAYING and command.name != "FCUnpublish":
            return StopPlay(stream_id=self._stream_id)
        return None

    def _names_our_stream(self, command: Command) -> bool:
        # deleteStream names a message stream, except GStreamer's, which names the key; the other
        # two name the key or nothing. Only a number that is another stream's is not ours.
        target = command.arguments[0] if command.arguments else None
        return not isinstance(target, float) or target == self._stream_id

    def _check_stream_id(self, stream_id: int) -> None:
        if stream_id != self._stream_id:
            raise LocalProtocolError(f"message stream {stream_id} is not the one in use")


def _answer(
    event: PublishStarted | PublishRefused | PlayStarted | PlayRefused | PlayStopped,
    *,
    announce: bool,
) -> list[Outgoing]:
    """Return a server's messages about the stream that is published or played.

    Args:
        event: What there is to say.
        announce: Say that a publish starts in FMLE's way too.
    """
    match event:
        case PublishStarted():
            description = event.description or "Publishing started."
            status = Status("status", commands.PUBLISH_START, description)
            announced = [_command(commands.on_fc_publish())] if announce else []
            return [*announced, _status(event.stream_id, status)]
        case PlayStarted():
            description = event.description or "Playing started."
            status = Status("status", commands.PLAY_START, description)
            begins = _user_control(UserControl.STREAM_BEGIN, event.stream_id)
            return [begins, _status(event.stream_id, status)]
        case PlayStopped():
            description = event.description or "The stream is over."
            status = Status("status", commands.PLAY_STOP, description)
            ends = _user_control(UserControl.STREAM_EOF, event.stream_id)
            return [ends, _status(event.stream_id, status)]
        case _:
            status = Status("error", event.code.value, event.description)
            return [_status(event.stream_id, status)]


class ClientFlow:
    """A client that publishes or plays, one stream at a time."""

    def __init__(self) -> None:
        self._last_transaction = _CONNECT_TRANSACTION
        # transaction id -> command, of those whose reply matters.
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
                return self._read_status(command, state), []
            case _:  # onBWDone, onFCPublish ...
                return None, []

    def send(self, event: Event) -> list[Outgoing]:
        """Return the messages of a client's event; see `Flow.send`."""
        match event:
            case VideoMessage() | AudioMessage() | Metadata() | CuePoint():
                return [_media(event, stored=False)]
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
            case Play():
                self._stream_id = event.stream_id
                name = f"{event.name}?{event.query}" if event.query else event.name
                payload = self._ask("play", name, _PLAY_LIVE)
                return [
                    _command(payload, ChunkStream.PUBLISH, event.stream_id),
                    _user_control(
                        UserControl.SET_BUFFER_LENGTH, event.stream_id, OUR_PLAY_BUFFER_MS
                    ),
                ]
            case StopPlay():
                return [_command(self._call("deleteStream", self._stream_id))]
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
                return _rejected(status)
            case "connect":
                return commands.parse_connect_accepted(command)
            case "createStream":
                stream_id = command.arguments[0] if command.arguments else None
                if failed or not isinstance(stream_id, float) or not 0 < stream_id < 2**32:
                    raise RemoteProtocolError(
                        "the server gives no message stream", "RTMP 1.0 section 7.2.1.3"
                    )
                return StreamCreated(stream_id=int(stream_id))
            # Some servers answer publish and play themselves, instead of or before onStatus.
            case "publish" if state is State.WAIT_PUBLISH_ANSWER:
                return self._publish_refused(status) if failed else self._publish_started(status)
            case "play" if state is State.WAIT_PLAY_ANSWER:
                return self._play_refused(status) if failed else self._play_started(status)
            case _:
                return None  # releaseStream, FCPublish ...: refused by many, needed by none

    def _read_status(self, command: Command, state: State) -> Event | None:
        status = commands.parse_status(command)
        if status.code == commands.RECONNECT_REQUEST:
            return ReconnectRequest(
                tc_url=commands.parse_reconnect_url(command), description=status.description
            )
        if status.level == "error":
            if state in _PUBLISH_STATES:
                return self._publish_refused(status)
            if state in _PLAY_STATES:
                return self._play_refused(status)
            return _rejected(status) if state is State.WAIT_CONNECT_ANSWER else None
        match state, status.code:
            case State.WAIT_PUBLISH_ANSWER, commands.PUBLISH_START:
                return self._publish_started(status)
            case State.WAIT_PLAY_ANSWER, commands.PLAY_START:
                return self._play_started(status)
            case State.PLAYING, code if code in commands.PLAY_ENDS:
                return PlayStopped(stream_id=self._stream_id, description=status.description)
            case _:
                return None  # Play.Reset, Unpublish.Success ...

    def _publish_started(self, status: Status) -> PublishStarted:
        return PublishStarted(stream_id=self._stream_id, description=status.description)

    def _play_started(self, status: Status) -> PlayStarted:
        return PlayStarted(stream_id=self._stream_id, description=status.description)

    def _publish_refused(self, status: Status) -> PublishRefused:
        return PublishRefused(
            stream_id=self._stream_id,
            code=commands.refusal_of(status.code, PublishRefusal.REJECTED),
            description=status.description or status.code,
        )

    def _play_refused(self, status: Status) -> PlayRefused:
        return PlayRefused(
            stream_id=self._stream_id,
            code=commands.refusal_of(status.code, PlayRefusal.FAILED),
            description=status.description or status.code,
        )


def _rejected(status: Status) -> ConnectRejected:
    return ConnectRejected(
        code=commands.refusal_of(status.code, ConnectRefusal.REJECTED),
        description=status.description or status.code,
    )


def _media(event: AudioMessage | VideoMessage | Metadata | CuePoint, *, stored: bool) -> Outgoing:
    """Return the message of media, or of data about it; metadata to be stored or as stored."""
    chunk_stream_id = ChunkStream.AUDIO
    match event:
        case VideoMessage():
            chunk_stream_id, type_id = ChunkStream.VIDEO, MessageType.VIDEO
            payload = event.payload
        case AudioMessage():
            type_id, payload = MessageType.AUDIO, event.payload
        case Metadata():
            type_id = MessageType.DATA_AMF0
            payload = encode_metadata(event.values, stored=stored)
        case _:
            type_id, payload = MessageType.DATA_AMF0, encode_cue_point(event.values)
    return Outgoing(chunk_stream_id, type_id, payload, event.stream_id, event.timestamp_ms)
