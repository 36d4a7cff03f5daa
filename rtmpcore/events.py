"""What happens on an RTMP connection, as values: the words between a `Connection` and its driver.

Events are wire nouns and are the same in both directions: what one side sends, the other receives
(`StreamCreated` and `CreateStream` excepted: a server answers createStream by itself). Media flows
from a client that publishes and to a client that plays, as the same events. All are frozen and
keyword-only. What needs no decision (acknowledgements, pings, chunk sizes, aggregates) is handled
inside `Connection` and has no event.

May import: amf (the type of values), capabilities.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from rtmpcore.amf import AmfValue
from rtmpcore.capabilities import UNSAID, Capabilities


class ConnectRefusal(enum.Enum):
    """Why a connect is refused: the codes of NetConnection that clients know."""

    #: There is no such application. The one of the two that OBS and librtmp act on.
    INVALID_APP = "NetConnection.Connect.InvalidApp"
    #: The application is there and does not take this client.
    REJECTED = "NetConnection.Connect.Rejected"


class PublishRefusal(enum.Enum):
    """Why a publish is refused: the onStatus codes that OBS and librtmp act on and report."""

    #: The key is unknown or revoked, or the stream is busy.
    BAD_NAME = "NetStream.Publish.BadName"
    #: The publisher may not publish here.
    DENIED = "NetStream.Publish.Denied"
    #: The publish was good but cannot be served.
    REJECTED = "NetStream.Publish.Rejected"


class PlayRefusal(enum.Enum):
    """Why a play is refused: the onStatus codes that players act on and report."""

    #: Nothing is played under this name, or not to this client.
    NOT_FOUND = "NetStream.Play.StreamNotFound"
    #: There is something to play, but it cannot be served.
    FAILED = "NetStream.Play.Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """A client asks for an application (RTMP 1.0 section 7.2.1.1).

    Answered by `ConnectAccepted` or `ConnectRejected`.
    """

    app: str
    """As the client sent it; may hold slashes, ``?args``, or nothing."""

    tc_url: str
    """The URL the client was given, without the key; empty when the client sent none."""

    flash_version: str = ""
    """The client's name for itself, such as ``FMLE/3.0 (compatible; FMSc/1.0)``."""

    properties: Mapping[str, AmfValue] = field(default_factory=dict)
    """The other properties of the command object, as sent."""

    capabilities: Capabilities = UNSAID
    """What the client says that it can do; empty for one that knows no Enhanced RTMP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectAccepted:
    """The server takes the connection."""

    capabilities: Capabilities = UNSAID
    """What the server says that it can do. Told only to a client that named its own: an old one is
    not troubled with properties that it never heard of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectRejected:
    """The server refuses the connection, and closes it after this."""

    description: str
    """One line for the person at the encoder."""

    code: ConnectRefusal = ConnectRefusal.REJECTED


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateStream:
    """The client asks for a message stream to publish or play on (7.2.1.3).

    Answered by `StreamCreated`.
    """

    name: str = field(default="", repr=False)
    """The name to be published; empty before a play. When given, releaseStream and FCPublish go
    first, as Flash Media Live Encoder does and some servers expect. Kept out of repr: it is the
    stream key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCreated:
    """The server made a message stream; only a client sees it."""

    stream_id: int
    """The message stream id to publish or play on, 1 or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """The client wants to publish (7.2.2.6). Answered by `PublishStarted` or `PublishRefused`."""

    stream_id: int
    """Message stream id that the answer and the media go on."""

    name: str = field(repr=False)
    """The stream key, without query and outer blanks. Kept out of repr: it is a secret."""

    query: str = field(default="", repr=False)
    """What stood after the first ``?`` of the name, without the question mark."""

    kind: str = "live"
    """``live``, ``record`` or ``append``; encoders send ``live``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishStarted:
    """The server takes the publish; media may flow."""

    stream_id: int
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRefused:
    """The server refuses the publish, or (to a client) ends one that runs."""

    stream_id: int
    code: PublishRefusal
    description: str
    """One line for the person at the encoder; OBS shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """``@setDataFrame onMetaData``: what the publisher says of its tracks. Often wrong: a hint."""

    stream_id: int
    timestamp_ms: int
    values: Mapping[str, AmfValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class CuePoint:
    """``onCuePoint``: something happens at this time of the programme, such as a break."""

    stream_id: int
    timestamp_ms: int
    values: Mapping[str, AmfValue]
    """Usually ``name``, ``time`` (seconds), ``type``, ``parameters``; whatever the encoder says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioMessage:
    """One FLV audio tag body; `flv.parse_audio` reads it."""

    stream_id: int
    timestamp_ms: int
    """Unsigned 32-bit milliseconds; `TimestampUnwrapper` takes out the wrap."""

    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoMessage:
    """One FLV video tag body; `flv.parse_video` reads it."""

    stream_id: int
    timestamp_ms: int
    """Decode time, unsigned 32-bit milliseconds; `TimestampUnwrapper` takes out the wrap."""

    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpublish:
    """The publish ends, by deleteStream, closeStream or FCUnpublish; comes once per publish."""

    stream_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """The client wants to be sent a stream (7.2.2.1). Answered by `PlayStarted` or `PlayRefused`.

    Only what is live is played: where in a recording to begin, and for how long, is not read.
    """

    stream_id: int
    """Message stream id that the answer and the media go on."""

    name: str = field(repr=False)
    """What to play, without query and outer blanks. Kept out of repr: it may be a secret."""

    query: str = field(default="", repr=False)
    """What stood after the first ``?`` of the name, without the question mark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayStarted:
    """The server takes the play; media follows."""

    stream_id: int
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayRefused:
    """The server refuses the play, or ends one that runs because it cannot go on."""

    stream_id: int
    code: PlayRefusal
    description: str
    """One line for the person at the player."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopPlay:
    """The client wants no more, by deleteStream or closeStream; comes once per play."""

    stream_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayStopped:
    """The server has no more to send: what was played is over."""

    stream_id: int
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectRequest:
    """The server asks the client to connect anew, because this one will end soon.

    Enhanced RTMP v2. Legal to a client only whose `Capabilities.features` hold RECONNECT; it goes
    on here until it is connected there.
    """

    tc_url: str = ""
    """Where to connect to; empty for the URL it has."""

    description: str = ""
    """One line for the person at the encoder."""


Event: TypeAlias = (
    Connect
    | ConnectAccepted
    | ConnectRejected
    | CreateStream
    | StreamCreated
    | Publish
    | PublishStarted
    | PublishRefused
    | Metadata
    | CuePoint
    | AudioMessage
    | VideoMessage
    | Unpublish
    | Play
    | PlayStarted
    | PlayRefused
    | StopPlay
    | PlayStopped
    | ReconnectRequest
)


class Signal(enum.Enum):
    """What `Connection.next_event` returns when there is no event."""

    #: Nothing more in the bytes received so far, or an answer to `Connect`, `Publish` or `Play` is
    #: ours to give first: what follows it waits.
    NEED_DATA = "NEED_DATA"
    #: Much was read that is no event, and there may be more: let others run, then call again.
    PAUSE = "PAUSE"
    #: The connection is over: the peer closed it, or we rejected it. Nothing more will come.
    CLOSED = "CLOSED"
