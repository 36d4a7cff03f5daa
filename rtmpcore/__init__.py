"""RTMP and FLV, sans-IO: bytes in, events out; no sockets, no clock, no randomness of its own.

`Connection` is the whole protocol, for servers and clients; `flv` reads what its media messages
carry. The files, lowest first: wire, errors, limits, amf, amf3, amf0, events, state, handshake,
chunk, message, command, flow, connection, and beside them flv and timestamps. Imports `native`,
nothing else of ours.
"""

from rtmpcore.amf import AmfDate, AmfValue, EcmaArray
from rtmpcore.connection import Connection
from rtmpcore.errors import (
    AmfError,
    FlvError,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
)
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
    PublishRefusal,
    PublishRefused,
    PublishStarted,
    Signal,
    StreamCreated,
    Unpublish,
    VideoMessage,
)
from rtmpcore.flv import (
    AudioCodec,
    AudioTag,
    TagKind,
    VideoCodec,
    VideoTag,
    aac_config,
    aac_frame,
    avc_config,
    avc_end,
    avc_frame,
    parse_audio,
    parse_video,
)
from rtmpcore.handshake import DigestScheme
from rtmpcore.limits import Limits
from rtmpcore.state import Role, State
from rtmpcore.timestamps import TimestampUnwrapper

__all__ = [
    "AmfDate",
    "AmfError",
    "AmfValue",
    "AudioCodec",
    "AudioMessage",
    "AudioTag",
    "Connect",
    "ConnectAccepted",
    "ConnectRejected",
    "Connection",
    "CreateStream",
    "CuePoint",
    "DigestScheme",
    "EcmaArray",
    "Event",
    "FlvError",
    "Limits",
    "LocalProtocolError",
    "Metadata",
    "ProtocolError",
    "Publish",
    "PublishRefusal",
    "PublishRefused",
    "PublishStarted",
    "RemoteProtocolError",
    "Role",
    "Signal",
    "State",
    "StreamCreated",
    "TagKind",
    "TimestampUnwrapper",
    "Unpublish",
    "VideoCodec",
    "VideoMessage",
    "VideoTag",
    "aac_config",
    "aac_frame",
    "avc_config",
    "avc_end",
    "avc_frame",
    "parse_audio",
    "parse_video",
]
