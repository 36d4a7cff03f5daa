"""Protocol control, user control, data and aggregate messages: payloads and their meaning.

Each function is about one message and keeps nothing. What comes back from a peer is judged by its
type alone: IP cameras send control messages on any chunk stream and message stream. Commands
are in `command`, media payloads in `flv`. Set Chunk Size and Abort from a peer act inside
`native.ChunkReader`.

May import: amf, amf0, errors, limits, wire.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from native import RawMessage
from rtmpcore import amf0
from rtmpcore.amf import AmfValue, EcmaArray
from rtmpcore.errors import AmfError, RemoteProtocolError
from rtmpcore.limits import Limits
from rtmpcore.wire import (
    AGGREGATE_BACK_POINTER_BYTES,
    AGGREGATE_TAG_HEADER_BYTES,
    MessageType,
    UserControl,
)

_PEER_BANDWIDTH_DYNAMIC: Final = 2
_IN_AGGREGATES: Final = (MessageType.AUDIO, MessageType.VIDEO, MessageType.DATA_AMF0)


def encode_u32(value: int) -> bytes:
    """Build Set Chunk Size, Acknowledgement or Window Acknowledgement Size (RTMP 1.0 section 5.4).

    Args:
        value: Taken modulo 2**32, as the sequence number of an Acknowledgement is.
    """
    return (value & 0xFFFFFFFF).to_bytes(4, "big")


def decode_u32(payload: bytes) -> int:
    """Read the first number of a protocol control message.

    Raises:
        RemoteProtocolError: The message is shorter than four bytes.
    """
    if len(payload) < 4:
        raise RemoteProtocolError("a protocol control message is cut short", "RTMP 1.0 section 5.4")
    return int.from_bytes(payload[:4], "big")


def encode_peer_bandwidth(window_bytes: int) -> bytes:
    """Build Set Peer Bandwidth with the dynamic limit, as Adobe's servers do (5.4.5)."""
    return encode_u32(window_bytes) + bytes((_PEER_BANDWIDTH_DYNAMIC,))


def answer_user_control(payload: bytes) -> bytes | None:
    """Return the User Control message that answers this one, or None (7.1.7).

    Only a ping request has an answer: a ping response with the same time. Unknown events are
    ignored (a server that closed on BufferReady lost publishers).

    Raises:
        RemoteProtocolError: The message is shorter than its event needs.
    """
    if len(payload) < 2:
        raise RemoteProtocolError("a user control message is cut short", "RTMP 1.0 section 7.1.7")
    if int.from_bytes(payload[:2], "big") != UserControl.PING_REQUEST:
        return None
    time = decode_u32(payload[2:])
    return encode_user_control(UserControl.PING_RESPONSE, time)


def encode_user_control(event: UserControl, *numbers: int) -> bytes:
    """Build a User Control message (7.1.7): an event and its numbers, of 32 bits each."""
    return event.to_bytes(2, "big") + b"".join(map(encode_u32, numbers))


def strip_selector(message: RawMessage) -> bytes:
    """Return the AMF0 part of a command or data message.

    The AMF3 types (15, 17) put a format selector of zero in front of AMF0 values; some senders omit
    it in data messages. It cannot be mistaken: both kinds begin with a string, whose marker is 2.
    """
    payload = message.payload
    if (
        message.type_id in (MessageType.DATA_AMF3, MessageType.COMMAND_AMF3)
        and payload[:1] == b"\0"
    ):
        return payload[1:]
    return payload


METADATA: Final = "onMetaData"
CUE_POINT: Final = "onCuePoint"


def parse_data(message: RawMessage, limits: Limits) -> tuple[str, Mapping[str, AmfValue]] | None:
    """Return name and values of an onMetaData or onCuePoint message, None for every other one.

    Such data is a hint and often broken; it never costs a publisher its connection, so what is
    not AMF, or beyond the limits, counts as none.
    """
    if len(message.payload) > limits.max_amf_bytes:
        return None
    try:
        values = amf0.decode(
            strip_selector(message),
            max_depth=limits.max_amf_depth,
            max_values=limits.max_amf_values,
        )
    except AmfError:
        return None
    if values[:1] == ["@setDataFrame"]:
        del values[0]
    if len(values) < 2 or not isinstance(values[1], Mapping):
        return None
    name = values[0]
    return (name, values[1]) if isinstance(name, str) and name in (METADATA, CUE_POINT) else None


def encode_metadata(values: Mapping[str, AmfValue], *, stored: bool) -> bytes:
    """Build the data message of onMetaData; an ECMA array, as OBS and ffmpeg send.

    Args:
        values: The metadata.
        stored: As a server sends what it stored; False for a publisher, who asks to store it.

    Raises:
        LocalProtocolError: A value has no AMF0 form.
    """
    asking = () if stored else ("@setDataFrame",)
    return amf0.encode(*asking, METADATA, EcmaArray(values))


def encode_cue_point(values: Mapping[str, AmfValue]) -> bytes:
    """Build the data message of a cue point.

    Raises:
        LocalProtocolError: A value has no AMF0 form.
    """
    return amf0.encode(CUE_POINT, values)


def split_aggregate(message: RawMessage, limits: Limits) -> Iterator[RawMessage]:
    """Yield the audio, video and data messages of an aggregate (7.1.6), one at a time.

    The first tag's time stands for the aggregate's own; the others keep their distance to it. The
    aggregate's message stream wins over the tags'. Other types inside, further aggregates too, are
    skipped; the last back pointer may be missing.

    Raises:
        RemoteProtocolError: A tag is cut short, or one too many; those before it were yielded.
    """
    payload = message.payload
    position = 0
    offset: int | None = None
    tags_left = limits.max_aggregate_tags  # skipped ones too: each is work, and yields nothing
    while position < len(payload):
        if not tags_left:
            raise RemoteProtocolError(
                "an aggregate message holds too many tags", "RTMP 1.0 section 7.1.6"
            )
        tags_left -= 1
        header = payload[position : position + AGGREGATE_TAG_HEADER_BYTES]
        body_at = position + AGGREGATE_TAG_HEADER_BYTES
        end = body_at + int.from_bytes(header[1:4], "big")
        if end > len(payload):
            raise RemoteProtocolError(
                "an aggregate message ends inside a tag", "RTMP 1.0 section 7.1.6"
            )
        timestamp_ms = header[7] << 24 | int.from_bytes(header[4:7], "big")
        if offset is None:
            offset = message.timestamp_ms - timestamp_ms
        if header[0] in _IN_AGGREGATES:
            yield RawMessage(
                message.chunk_stream_id,
                header[0],
                message.stream_id,
                (timestamp_ms + offset) & 0xFFFFFFFF,
                payload[body_at:end],
            )
        position = end + AGGREGATE_BACK_POINTER_BYTES
