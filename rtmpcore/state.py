"""The conversation of one RTMP connection as a table: state, event, next state.

Two rules, after h11:

*Everything that decides what may come next is here.* `Connection` asks `advance` for every event
that is sent or received, and keeps no flag of its own about where the conversation stands.

*The machine is the same for both roles.* A server and a client connected back to back walk
through the same states by the same events; only who may send an event differs (`sender_of`), and
the handshake, which the two see from opposite sides and which moves by bytes (`HANDSHAKE`). So a
rule that holds for one role cannot be forgotten for the other.

::

    server: WAIT_C0C1 - WAIT_C2 -.
                                  >- WAIT_CONNECT - Connect -> WAIT_CONNECT_ANSWER
    client: WAIT_S0S1 - WAIT_S2 -'                               |           |
                                                         ConnectAccepted  ConnectRejected
          CreateStream, StreamCreated                            |           |
                       '---------------- IDLE <------------------'         CLOSED
                                       |    |
                             Publish --'    '-- Play
                                |                 |
                      WAIT_PUBLISH_ANSWER  WAIT_PLAY_ANSWER      PublishRefused, PlayRefused: IDLE
                                |                 |
                         PublishStarted      PlayStarted
                                v                 v
       media of the client: PUBLISHING         PLAYING :media of the server
                                |                 |
        Unpublish, PublishRefused                StopPlay, PlayStopped, PlayRefused
                                '-----> IDLE <----'

ReconnectRequest is legal from IDLE on and changes nothing. One publish or one play at a time.

An event that a state does not list is illegal in it. The end of the bytes leads to CLOSED and a
broken rule to ERROR, from anywhere; both are final.

A driver sets its deadlines by these states: all before IDLE are a stranger's, PUBLISHING expects
media, and all others lie between.

May import: errors, events.
"""

import enum
from typing import Final

from rtmpcore.errors import LocalProtocolError
from rtmpcore.events import (
    AudioMessage,
    Connect,
    ConnectAccepted,
    ConnectRejected,
    CreateStream,
    CuePoint,
    Event,
    Metadata,
    Play,
    PlayRefused,
    PlayStarted,
    PlayStopped,
    Publish,
    PublishRefused,
    PublishStarted,
    ReconnectRequest,
    StopPlay,
    StreamCreated,
    Unpublish,
    VideoMessage,
)


class Role(enum.Enum):
    """Which side of the connection we are."""

    SERVER = "server"
    CLIENT = "client"

    @property
    def peer(self) -> "Role":
        """The other side."""
        return Role.CLIENT if self is Role.SERVER else Role.SERVER


class State(enum.Enum):
    """Where the conversation stands, named for what it waits for."""

    #: Server: the client's version and first block.
    WAIT_C0C1 = "WAIT_C0C1"
    #: Server: the client's second block; ours are sent.
    WAIT_C2 = "WAIT_C2"
    #: Client: the server's version and first block; ours is sent.
    WAIT_S0S1 = "WAIT_S0S1"
    #: Client: the server's second block; ours is sent.
    WAIT_S2 = "WAIT_S2"
    #: The handshake is done; the client's connect comes next.
    WAIT_CONNECT = "WAIT_CONNECT"
    #: The server must accept or reject the connect.
    WAIT_CONNECT_ANSWER = "WAIT_CONNECT_ANSWER"
    #: Connected, and neither publishing nor playing.
    IDLE = "IDLE"
    #: The server must start or refuse the publish.
    WAIT_PUBLISH_ANSWER = "WAIT_PUBLISH_ANSWER"
    #: Media flows to the server.
    PUBLISHING = "PUBLISHING"
    #: The server must start or refuse the play.
    WAIT_PLAY_ANSWER = "WAIT_PLAY_ANSWER"
    #: Media flows to the client.
    PLAYING = "PLAYING"
    #: The end: the peer closed, or the connect was rejected.
    CLOSED = "CLOSED"
    #: The peer broke the protocol; nothing it sends counts any more.
    ERROR = "ERROR"


HANDSHAKE: Final[dict[State, State]] = {
    State.WAIT_C0C1: State.WAIT_C2,
    State.WAIT_C2: State.WAIT_CONNECT,
    State.WAIT_S0S1: State.WAIT_S2,
    State.WAIT_S2: State.WAIT_CONNECT,
}
"""The steps of the handshake: each is one block of the peer."""

FIRST_STATE: Final[dict[Role, State]] = {
    Role.SERVER: State.WAIT_C0C1,
    Role.CLIENT: State.WAIT_S0S1,
}
"""Where each side begins."""

ANSWER_STATES: Final = frozenset(
    {State.WAIT_CONNECT_ANSWER, State.WAIT_PUBLISH_ANSWER, State.WAIT_PLAY_ANSWER}
)
"""The server owes an answer: what the client says next is looked at after it."""

MEDIA_STATE: Final[dict[Role, State]] = {
    Role.SERVER: State.PUBLISHING,
    Role.CLIENT: State.PLAYING,
}
"""Where each side is sent media, by the other."""

MEDIA: Final = (AudioMessage, VideoMessage, Metadata, CuePoint)

TRANSITIONS: Final[dict[State, dict[type[Event], State]]] = {
    State.WAIT_C0C1: {},
    State.WAIT_C2: {},
    State.WAIT_S0S1: {},
    State.WAIT_S2: {},
    State.WAIT_CONNECT: {Connect: State.WAIT_CONNECT_ANSWER},
    State.WAIT_CONNECT_ANSWER: {
        ConnectAccepted: State.IDLE,
        ConnectRejected: State.CLOSED,
    },
    State.IDLE: {
        CreateStream: State.IDLE,
        StreamCreated: State.IDLE,
        Publish: State.WAIT_PUBLISH_ANSWER,
        Play: State.WAIT_PLAY_ANSWER,
        ReconnectRequest: State.IDLE,
    },
    State.WAIT_PUBLISH_ANSWER: {
        PublishStarted: State.PUBLISHING,
        PublishRefused: State.IDLE,
        StreamCreated: State.WAIT_PUBLISH_ANSWER,
        ReconnectRequest: State.WAIT_PUBLISH_ANSWER,
    },
    State.PUBLISHING: {
        AudioMessage: State.PUBLISHING,
        VideoMessage: State.PUBLISHING,
        Metadata: State.PUBLISHING,
        CuePoint: State.PUBLISHING,
        CreateStream: State.PUBLISHING,
        StreamCreated: State.PUBLISHING,
        ReconnectRequest: State.PUBLISHING,
        PublishRefused: State.IDLE,
        Unpublish: State.IDLE,
    },
    State.WAIT_PLAY_ANSWER: {
        PlayStarted: State.PLAYING,
        PlayRefused: State.IDLE,
        StreamCreated: State.WAIT_PLAY_ANSWER,
        ReconnectRequest: State.WAIT_PLAY_ANSWER,
    },
    State.PLAYING: {
        AudioMessage: State.PLAYING,
        VideoMessage: State.PLAYING,
        Metadata: State.PLAYING,
        CuePoint: State.PLAYING,
        CreateStream: State.PLAYING,
        StreamCreated: State.PLAYING,
        ReconnectRequest: State.PLAYING,
        PlayRefused: State.IDLE,
        PlayStopped: State.IDLE,
        StopPlay: State.IDLE,
    },
    State.CLOSED: {},
    State.ERROR: {},
}
"""The state after an event, by the state before it; an event that is missing is illegal there."""

SENDER: Final[dict[type[Event], Role]] = {
    Connect: Role.CLIENT,
    ConnectAccepted: Role.SERVER,
    ConnectRejected: Role.SERVER,
    CreateStream: Role.CLIENT,
    StreamCreated: Role.SERVER,
    Publish: Role.CLIENT,
    PublishStarted: Role.SERVER,
    PublishRefused: Role.SERVER,
    Unpublish: Role.CLIENT,
    Play: Role.CLIENT,
    PlayStarted: Role.SERVER,
    PlayRefused: Role.SERVER,
    StopPlay: Role.CLIENT,
    PlayStopped: Role.SERVER,
    ReconnectRequest: Role.SERVER,
}
"""The side that may send each event; media is missing, since either may: see `sender_of`."""


def sender_of(event_type: type[Event], state: State) -> Role:
    """Return the side that may send an event in a state."""
    if event_type in MEDIA:
        return Role.SERVER if state is State.PLAYING else Role.CLIENT
    return SENDER[event_type]


def advance(state: State, event_type: type[Event], sender: Role) -> State:
    """Return the state after an event.

    Args:
        state: The state before it.
        event_type: The class of the event.
        sender: Who sends it.

    Raises:
        LocalProtocolError: The event is illegal in this state, or not this side's to send.
            `Connection` turns it into a `RemoteProtocolError` when the peer is the sender.
    """
    if sender_of(event_type, state) is not sender:
        raise LocalProtocolError(f"a {sender.value} does not send {event_type.__name__}")
    try:
        return TRANSITIONS[state][event_type]
    except KeyError:
        raise LocalProtocolError(f"{event_type.__name__} is illegal in {state.value}") from None
