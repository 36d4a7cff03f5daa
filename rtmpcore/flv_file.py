"""Write messages as an FLV file, which is what HTTP-FLV sends: a header, then tags without end.

Not here: reading FLV files, which nobody sends us; what is inside a tag is `flv`'s business.

May import: amf, amf0, errors, events, message, wire. Spec: FLV 10.1 annex E.2 to E.4.
"""

from typing import Final

from rtmpcore import amf0
from rtmpcore.amf import EcmaArray
from rtmpcore.errors import LocalProtocolError
from rtmpcore.events import AudioMessage, Metadata, VideoMessage
from rtmpcore.message import METADATA
from rtmpcore.wire import MessageType

TAG_HEADER_BYTES: Final = 11
MAX_TAG_BYTES: Final = 0xFFFFFF
"""Longest body of a tag: the size has 24 bits."""


def file_header(*, has_video: bool, has_audio: bool) -> bytes:
    """Build what stands before the first tag (E.2, and the back pointer to nothing of E.3).

    Players wait for a track that is announced here, so only those that will come should be.
    """
    flags = has_audio << 2 | has_video
    return b"FLV\x01" + bytes((flags,)) + b"\0\0\0\x09" + b"\0\0\0\0"


def file_tag(message: VideoMessage | AudioMessage | Metadata) -> bytes:
    """Build one tag and its back pointer (E.3, E.4.1).

    Raises:
        LocalProtocolError: The body is longer than `MAX_TAG_BYTES`, or metadata has no AMF0 form.
    """
    if isinstance(message, VideoMessage):
        type_id, body = MessageType.VIDEO, message.payload
    elif isinstance(message, AudioMessage):
        type_id, body = MessageType.AUDIO, message.payload
    else:
        type_id, body = MessageType.DATA_AMF0, amf0.encode(METADATA, EcmaArray(message.values))
    if len(body) > MAX_TAG_BYTES:
        raise LocalProtocolError("a message does not fit an FLV tag")
    time = message.timestamp_ms.to_bytes(4, "big")
    # The time's highest byte stands behind the other three; then the stream id, always 0.
    head = bytes((type_id,)) + len(body).to_bytes(3, "big") + time[1:] + time[:1] + b"\0\0\0"
    return b"".join((head, body, (TAG_HEADER_BYTES + len(body)).to_bytes(4, "big")))
