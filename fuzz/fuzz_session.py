"""Two connections back to back: by a model of what is legal, what one sends the other receives.

Our client and our server talk through two pipes. The input says who acts: an application sends
something that the model calls legal for its side, or tries what is illegal, or a pipe delivers some
bytes, or one byte in a pipe is changed. Invariants:

* What is legal is taken; what is illegal raises `LocalProtocolError` and queues nothing.
* Each side's events come in an order that the model allows, whatever the bytes.
* Nothing but `RemoteProtocolError` comes of changed bytes, and the state is then ERROR.
* If no byte was changed, neither side breaks the protocol, and the same events arrive in the same
  order. (Who ends what the other side sends excepted: what that says meanwhile crosses the end.)

Input: steps. Byte 0 of each: bit 0 the side, bits 1 and 2 what (0 and 1 send, 2 deliver, 3 the
rest: bit 3 set changes a byte, else an illegal event); byte 1 a choice, byte 2 a size.
"""

import enum
from collections.abc import Iterator

from rtmpcore import (
    AmfValue,
    AudioMessage,
    Connect,
    ConnectAccepted,
    Connection,
    ConnectRejected,
    CreateStream,
    CuePoint,
    Event,
    Limits,
    LocalProtocolError,
    Metadata,
    Publish,
    PublishRefusal,
    PublishRefused,
    PublishStarted,
    RemoteProtocolError,
    Role,
    Signal,
    State,
    StreamCreated,
    Unpublish,
    VideoMessage,
)
from rtmpcore.capabilities import Capabilities, Feature
from rtmpcore.events import (
    Play,
    PlayRefusal,
    PlayRefused,
    PlayStarted,
    PlayStopped,
    ReconnectRequest,
    StopPlay,
)

RANDOM = bytes(range(256)) * 12
LIMITS = Limits(max_commands_before_publish=10_000)  # a bound that `fuzz_connection` reaches
NAMES = ("key", "a/b", "\N{SNOWMAN}", "x" * 300, "")
TIMES_MS = (0, 40, 39, 0xFFFFFE, 0xFFFFFF, 0x1000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


class View(enum.Enum):
    """Where an application knows itself to be."""

    NEW = enum.auto()
    CONNECT_ASKED = enum.auto()
    CONNECTED = enum.auto()
    PUBLISH_ASKED = enum.auto()
    PUBLISHING = enum.auto()
    PLAY_ASKED = enum.auto()
    PLAYING = enum.auto()
    OVER = enum.auto()


# What moves the conversation on, and from where; media and streams leave it where it is.
STEPS: dict[type[Event], tuple[tuple[View, ...], View]] = {
    Connect: ((View.NEW,), View.CONNECT_ASKED),
    ConnectAccepted: ((View.CONNECT_ASKED,), View.CONNECTED),
    ConnectRejected: ((View.CONNECT_ASKED,), View.OVER),
    Publish: ((View.CONNECTED,), View.PUBLISH_ASKED),
    PublishStarted: ((View.PUBLISH_ASKED,), View.PUBLISHING),
    PublishRefused: ((View.PUBLISH_ASKED, View.PUBLISHING), View.CONNECTED),
    Unpublish: ((View.PUBLISHING,), View.CONNECTED),
    Play: ((View.CONNECTED,), View.PLAY_ASKED),
    PlayStarted: ((View.PLAY_ASKED,), View.PLAYING),
    PlayRefused: ((View.PLAY_ASKED, View.PLAYING), View.CONNECTED),
    PlayStopped: ((View.PLAYING,), View.CONNECTED),
    StopPlay: ((View.PLAYING,), View.CONNECTED),
}
MEDIA = (VideoMessage, AudioMessage, Metadata, CuePoint)
SAID_BY: dict[Role, dict[View, tuple[type[Event], ...]]] = {
    Role.CLIENT: {
        View.NEW: (Connect,),
        View.CONNECTED: (CreateStream, Publish, Play),
        View.PUBLISHING: (*MEDIA, Unpublish, CreateStream),
        View.PLAYING: (StopPlay, CreateStream),
    },
    Role.SERVER: {
        View.CONNECT_ASKED: (ConnectAccepted, ConnectRejected),
        View.PUBLISH_ASKED: (PublishStarted, PublishRefused),
        View.PUBLISHING: (PublishRefused,),
        View.PLAY_ASKED: (PlayStarted, PlayRefused),
        View.PLAYING: (*MEDIA, PlayStopped, PlayRefused),
    },
}
"""The model: what an application may say, by its side and view."""

CROSSES = {
    (PublishRefused, View.PUBLISHING),
    (PlayRefused, View.PLAYING),
    (PlayStopped, View.PLAYING),
    (StopPlay, View.PLAYING),
}
"""What ends something that the other side may still speak of."""

ANSWERED_UNASKED = (CreateStream, StreamCreated)
"""A server answers createStream by itself: the one event is not seen there, the other not sent."""


class Side:
    """One application with its connection, and the pipe that leads away from it."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.connection = Connection(role, random_bytes=RANDOM, limits=LIMITS)
        self.view = View.NEW
        self.pipe = bytearray(self.connection.data_to_send())
        self.stream_id = 0  # of the latest publish
        self.created: list[int] = []
        self.sent: list[object] = []
        self.received: list[object] = []
        self.broken = False
        self.may_ask_to_reconnect = False

    @property
    def may_say(self) -> tuple[type[Event], ...]:
        said = SAID_BY[self.role].get(self.view, ())
        asks = self.may_ask_to_reconnect and self.view not in (View.CONNECT_ASKED, View.OVER)
        return (*said, ReconnectRequest) if asks else said

    @property
    def streams_asked(self) -> int:
        return sum(isinstance(said, CreateStream) for said in self.sent)

    def say(self, event: Event) -> None:
        """Send something legal."""
        self.connection.send(event)
        self.sent.append(meaning(event))
        self._step(event)
        self.read()  # what waited for this answer
        self.pipe += self.connection.data_to_send()

    def hear(self, data: bytes) -> None:
        """Take bytes out of the other side's pipe."""
        self.connection.receive_data(data)
        self.read()
        self.pipe += self.connection.data_to_send()

    def read(self) -> None:
        """Take the events that there are; each must be one that this view may meet."""
        connection = self.connection
        try:
            while (event := connection.next_event()) not in (Signal.NEED_DATA, Signal.CLOSED):
                if isinstance(event, Signal):
                    continue
                self.received.append(meaning(event))
                if isinstance(event, StreamCreated):
                    self.created.append(event.stream_id)
                elif isinstance(event, ReconnectRequest):
                    assert self.role is Role.CLIENT
                elif type(event) in STEPS:
                    self._step(event)
                else:
                    sender = View.PUBLISHING if self.role is Role.SERVER else View.PLAYING
                    assert self.view is sender
                if isinstance(event, Connect):
                    self.may_ask_to_reconnect = Feature.RECONNECT in event.capabilities.features
        except RemoteProtocolError:
            assert connection.state is State.ERROR
            self.broken = True

    def _step(self, event: Event) -> None:
        if type(event) not in STEPS:
            return
        before, after = STEPS[type(event)]
        assert self.view in before
        self.view = after
        if isinstance(event, Publish | Play):
            self.stream_id = event.stream_id

    def refuse_illegal(self, event: Event) -> None:
        """Try what the model does not allow."""
        state = self.connection.state
        try:
            self.connection.send(event)
        except LocalProtocolError:
            assert self.connection.state is state
            assert self.connection.data_to_send() == b""
            return
        raise AssertionError(f"{type(event).__name__} was taken in {self.view}")


def meaning(event: Event) -> object:
    """What must arrive of an event: neither defaults nor what the peer adds of itself."""
    match event:
        case Connect():
            return Connect, event.app, event.tc_url, event.capabilities.features
        case ConnectAccepted():
            return ConnectAccepted  # an old client is not told what the server can do
        case PublishStarted() | PlayStarted() | PlayStopped():
            return type(event), event.stream_id
        case CuePoint() | Metadata():
            return type(event), event.stream_id, event.timestamp_ms, repr(dict(event.values))
        case _:
            return event


def make(kind: type[Event], side: Side, choice: int, size: int) -> Event | None:
    """An event of a kind, filled by choice; None if there is nothing yet that it could name."""
    name = NAMES[choice % len(NAMES)]
    stream_id = side.stream_id
    time_ms = TIMES_MS[choice % len(TIMES_MS)]
    payload = bytes((choice,)) * (size if size < 250 else size * 300)
    values: dict[str, AmfValue] = {"n": float(size), "s": name, "o": {"deep": [True, None]}}
    match kind.__name__:
        case "Connect":
            features = Feature.RECONNECT if size & 1 else Feature(0)
            capabilities = Capabilities(features=features)
            return Connect(app=name, tc_url=f"rtmp://host/{name}", capabilities=capabilities)
        case "ConnectAccepted":
            return ConnectAccepted()
        case "ConnectRejected":
            return ConnectRejected(description=f"no {name}")
        case "CreateStream":
            return CreateStream(name=name)
        case "StreamCreated":
            return StreamCreated(stream_id=1)
        case "Publish" | "Play":
            if not side.created:
                return None
            created = side.created[choice % len(side.created)]
            query = "a=b&c" if size & 1 else ""
            if kind is Play:
                return Play(stream_id=created, name=name, query=query)
            return Publish(stream_id=created, name=name, query=query)
        case "PublishStarted":
            return PublishStarted(stream_id=stream_id)
        case "PublishRefused":
            code = list(PublishRefusal)[size % len(PublishRefusal)]
            return PublishRefused(stream_id=stream_id, code=code, description=f"no {name}")
        case "PlayStarted":
            return PlayStarted(stream_id=stream_id)
        case "PlayRefused":
            refusal = list(PlayRefusal)[size % len(PlayRefusal)]
            return PlayRefused(stream_id=stream_id, code=refusal, description=f"no {name}")
        case "PlayStopped":
            return PlayStopped(stream_id=stream_id)
        case "StopPlay":
            return StopPlay(stream_id=stream_id)
        case "ReconnectRequest":
            return ReconnectRequest(tc_url=f"rtmp://other/{name}", description=name)
        case "VideoMessage":
            return VideoMessage(stream_id=stream_id, timestamp_ms=time_ms, payload=payload)
        case "AudioMessage":
            return AudioMessage(stream_id=stream_id, timestamp_ms=time_ms, payload=payload)
        case "Metadata":
            return Metadata(stream_id=stream_id, timestamp_ms=time_ms, values=values)
        case "CuePoint":
            return CuePoint(stream_id=stream_id, timestamp_ms=time_ms, values=values)
        case _:
            return Unpublish(stream_id=stream_id)


ALL_KINDS = (*STEPS, *MEDIA, CreateStream, StreamCreated, ReconnectRequest)


class Session:
    """Both sides, and whether the strict invariants still hold."""

    def __init__(self) -> None:
        self.sides = (Side(Role.CLIENT), Side(Role.SERVER))
        self.changed = False
        self.crossed = False
        self.deliver_all()  # the handshake, which has a target of its own

    def act(self, verb: int, choice: int, size: int) -> None:
        side, other = self.sides if verb & 1 else self.sides[::-1]
        match verb >> 1 & 3:
            case 0 | 1:
                self._say(side, choice, size)
            case 2:
                self.deliver(side, other, max(1, size * size))
            case _ if verb & 8:
                if side.pipe:
                    side.pipe[choice % len(side.pipe)] ^= size or 1
                    self.changed = True
            case _:
                kind = ALL_KINDS[choice % len(ALL_KINDS)]
                event = None if kind in side.may_say else make(kind, side, choice, size)
                if event is not None:
                    side.refuse_illegal(event)

    def _say(self, side: Side, choice: int, size: int) -> None:
        if not side.may_say:
            return
        kind = side.may_say[choice % len(side.may_say)]
        event = make(kind, side, choice // len(side.may_say), size)
        if event is not None:
            self.crossed |= (kind, side.view) in CROSSES
            side.say(event)

    def deliver(self, side: Side, other: Side, size: int) -> None:
        if side.pipe:
            data = bytes(side.pipe[:size])
            del side.pipe[:size]
            other.hear(data)

    @property
    def broken(self) -> bool:
        return any(side.broken for side in self.sides)

    def deliver_all(self) -> None:
        client, server = self.sides
        while (client.pipe or server.pipe) and not self.broken:
            self.deliver(client, server, 1 << 20)
            self.deliver(server, client, 1 << 20)

    def finish(self) -> None:
        """Deliver the rest, and compare."""
        client, server = self.sides
        self.deliver_all()
        if self.changed or self.crossed:
            return
        assert not self.broken
        for side, other in ((client, server), (server, client)):
            heard = [said for said in other.received if not isinstance(said, ANSWERED_UNASKED)]
            said = [said for said in side.sent if not isinstance(said, ANSWERED_UNASKED)]
            assert heard == said
        assert client.view is server.view
        assert len(client.created) == client.streams_asked


def steps(data: bytes) -> Iterator[tuple[int, int, int]]:
    for start in range(0, len(data) - 2, 3):
        yield data[start], data[start + 1], data[start + 2]


def test_one_input(data: bytes) -> None:
    session = Session()
    for step in steps(data):
        session.act(*step)
        if session.broken:
            assert session.changed or session.crossed
            return
    session.finish()
