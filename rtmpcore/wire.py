"""The numbers of RTMP: message types, user control events, chunk stream ids, sizes.

Constants only, each with its section of Adobe's RTMP 1.0 specification (2012); no code, no state.
May import: nothing of ours.
"""

import enum
from typing import Final


class MessageType(enum.IntEnum):
    """Message type ids (RTMP 1.0 sections 5.4 and 7.1)."""

    SET_CHUNK_SIZE = 1
    ABORT = 2
    ACKNOWLEDGEMENT = 3
    USER_CONTROL = 4
    WINDOW_ACK_SIZE = 5
    SET_PEER_BANDWIDTH = 6
    AUDIO = 8
    VIDEO = 9
    DATA_AMF3 = 15
    COMMAND_AMF3 = 17
    DATA_AMF0 = 18
    COMMAND_AMF0 = 20
    AGGREGATE = 22


class UserControl(enum.IntEnum):
    """User control event types (RTMP 1.0 section 7.1.7). From a peer, all but pings are ignored."""

    STREAM_BEGIN = 0
    STREAM_EOF = 1
    SET_BUFFER_LENGTH = 3
    PING_REQUEST = 6
    PING_RESPONSE = 7


class ChunkStream(enum.IntEnum):
    """The chunk stream ids that we send on. Only 2 is set by the specification (5.3); the others
    are those of Adobe's servers and of ffmpeg, which some peers expect by habit."""

    CONTROL = 2
    COMMAND = 3
    AUDIO = 4
    STATUS = 5
    VIDEO = 6
    PUBLISH = 8


VERSION: Final = 3
"""C0 and S0: plain RTMP (5.2.2)."""

RTMPE_VERSIONS: Final = (6, 8)
"""C0 of the encrypted variants, which we do not speak."""

HANDSHAKE_BYTES: Final = 1536
"""Size of each of C1, C2, S1 and S2 (5.2.3)."""

DEFAULT_CHUNK_BYTES: Final = 128
"""Chunk size of both directions until Set Chunk Size says otherwise (5.4.1)."""

OUR_CHUNK_BYTES: Final = 65536
"""The chunk size that we announce. ffmpeg mirrors it for its own chunks, so large is cheap for us;
announced before publish only, because OBS ignores it later."""

WINDOW_ACK_BYTES: Final = 2_500_000
"""Window of acknowledgement that we announce, and our own default for acknowledging peers that
never announce one (OBS, ffmpeg); nginx's and Adobe's value (5.4.4)."""

OUR_PLAY_BUFFER_MS: Final = 3000
"""The buffer that we announce when we play; Adobe's server sends no further ahead (7.1.7)."""

EXTENDED_TIMESTAMP: Final = 0xFFFFFF
"""24-bit timestamp value that says that 32 bits follow (5.3.1.3)."""

AGGREGATE_TAG_HEADER_BYTES: Final = 11
AGGREGATE_BACK_POINTER_BYTES: Final = 4
"""Before and behind each tag of an aggregate message (7.1.6)."""
