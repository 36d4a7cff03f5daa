"""Every bound on what one peer may cost us, in one frozen record.

A peer is unknown until its publish is accepted, so the bounds are small before that and are raised
when the driver sends `PublishStarted`, or a client receives `PlayStarted`: for the bytes received
from then on. The memory of one connection is at most about three times the buffer bound of its
phase: partial messages in the chunk reader, unread complete messages, and outgoing bytes.

May import: nothing of ours. Precedents stand next to each number.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one `Connection`. All sizes are bytes."""

    max_message_bytes: int = 64 * 1024
    """Longest message before publish. A connect command is under 1 KiB; the bound stops the 200 KB
    connect of nested objects that kills nginx-rtmp 1.2.2 workers."""

    max_buffered_bytes: int = 256 * 1024
    """Sum of partial messages before publish, and of bytes received but not yet read as events."""

    max_chunk_streams: int = 16
    """Chunk streams in use before publish. Encoders use 2 to 4; ids themselves are not bounded
    (nginx closes at id 32, and encoders with csid 45 and 64 exist)."""

    max_commands_before_publish: int = 64
    """Commands between the handshake, or the end of a publish, and `PublishStarted` or
    `PlayStarted`. OBS and ffmpeg need 5, and two more to end a publish."""

    max_message_bytes_publishing: int = 10 * 1024 * 1024
    """Longest message while publishing. 4K key frames exceed nginx's 1 MB; MediaMTX allows
    10 MiB."""

    max_buffered_bytes_publishing: int = 20 * 1024 * 1024
    """Sum of partial messages while publishing: one key frame and all else that interleaves it."""

    max_chunk_streams_publishing: int = 64
    """Chunk streams in use while publishing. nginx allows 32."""

    max_amf_bytes: int = 64 * 1024
    """Longest command, and longest data message that is looked at, at any time. Real ones are under
    4 KiB; decoding the longest takes some milliseconds, which is all that one peer may take."""

    max_amf_depth: int = 32
    """Nesting of AMF values in one message. Metadata needs 2; nginx-rtmp recurses without bound."""

    max_amf_values: int = 1024
    """AMF values in one message. A connect has about 10, rich metadata about 50; each costs about
    half a microsecond, also when a stranger sends it."""

    max_messages_per_event: int = 8
    """Messages that `Connection.next_event` reads in search of an event before it pauses. The
    dearest, AMF of `max_amf_values`, takes half a millisecond and some hundred bytes."""

    max_aggregate_tags: int = 1024
    """Tags in one aggregate message: each may be 15 bytes, so that 10 MiB would hold 700,000. Flash
    Media Server packs some hundred milliseconds of audio and video."""

    max_send_queue_bytes: int = 256 * 1024
    """Replies queued for a peer that asks but never reads (a ping flood, for example)."""
