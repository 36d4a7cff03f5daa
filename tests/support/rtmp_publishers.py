"""RTMP publishers as bytes, written from the specification; nothing here knows `rtmpcore`.

A publisher is what it puts on the wire: `opening` is everything up to the publish command, sent
blind, and `Media` is a clip's messages as chunks, ready to be sent at their times. What the server
answers is only searched for status codes.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av

CHUNK_BYTES = 65_536
STREAM_ID = 1
"""The message stream that every server gives first."""

PUBLISH_START = b"NetStream.Publish.Start"
BAD_NAME = b"NetStream.Publish.BadName"
REJECTED = b"NetStream.Publish.Rejected"

C0_C1 = b"\x03" + bytes(8) + bytes(range(256)) * 5 + bytes(248)
C2 = bytes(1536)


def amf(*values: object) -> bytes:
    """AMF0: numbers, strings, None and dicts of them."""
    out = b""
    for value in values:
        match value:
            case None:
                out += b"\x05"
            case str():
                out += b"\x02" + struct.pack(">H", len(value)) + value.encode()
            case int() | float():
                out += b"\x00" + struct.pack(">d", value)
            case dict():
                out += b"\x03"
                for name, item in value.items():
                    out += struct.pack(">H", len(name)) + name.encode() + amf(item)
                out += b"\x00\x00\x09"
            case _:
                raise TypeError(value)
    return out


def message(
    type_id: int,
    payload: bytes,
    *,
    stream_id: int = 0,
    timestamp_ms: int = 0,
    chunk_stream_id: int = 3,
    chunk_bytes: int = CHUNK_BYTES,
) -> bytes:
    """One message: a type-0 chunk, then type-3 chunks, extended timestamp repeated."""
    extended = struct.pack(">I", timestamp_ms) if timestamp_ms >= 0xFFFFFF else b""
    head = (
        bytes([chunk_stream_id])
        + min(timestamp_ms, 0xFFFFFF).to_bytes(3, "big")
        + len(payload).to_bytes(3, "big")
        + bytes([type_id])
        + stream_id.to_bytes(4, "little")
        + extended
    )
    between = bytes([0xC0 | chunk_stream_id]) + extended
    chunks = [payload[i : i + chunk_bytes] for i in range(0, len(payload), chunk_bytes)]
    return head + between.join(chunks)


def command(*values: object, stream_id: int = 0, chunk_bytes: int = CHUNK_BYTES) -> bytes:
    """A type-20 command."""
    return message(20, amf(*values), stream_id=stream_id, chunk_bytes=chunk_bytes)


SET_CHUNK_SIZE = message(1, struct.pack(">I", CHUNK_BYTES), chunk_stream_id=2)


def connect(app: str = "live") -> bytes:
    """Set Chunk Size and connect."""
    return SET_CHUNK_SIZE + command("connect", 1, {"app": app, "tcUrl": f"rtmp://host/{app}"})


def publish(key: str, stream_id: int = STREAM_ID) -> bytes:
    """The publish command alone."""
    return command("publish", 5, None, key, "live", stream_id=stream_id)


def begin(key: str) -> bytes:
    """From connect to publish, as OBS says it."""
    return (
        connect()
        + command("releaseStream", 2, None, key)
        + command("FCPublish", 3, None, key)
        + command("createStream", 4, None)
        + publish(key)
    )


def opening(key: str) -> bytes:
    """Everything up to publish, without waiting for any answer."""
    return C0_C1 + C2 + begin(key)


def unpublish(key: str) -> bytes:
    """FCUnpublish and deleteStream, as OBS says goodbye."""
    return command("FCUnpublish", 6, None, key) + command("deleteStream", 7, None, STREAM_ID)


def video(payload: bytes, timestamp_ms: int = 0) -> bytes:
    """A video message, its payload an FLV tag body."""
    return message(9, payload, stream_id=STREAM_ID, timestamp_ms=timestamp_ms, chunk_stream_id=6)


def audio(payload: bytes, timestamp_ms: int = 0) -> bytes:
    """An audio message, its payload an FLV tag body."""
    return message(8, payload, stream_id=STREAM_ID, timestamp_ms=timestamp_ms, chunk_stream_id=4)


def metadata(values: dict[str, object]) -> bytes:
    """@setDataFrame onMetaData."""
    payload = amf("@setDataFrame", "onMetaData", values)
    return message(18, payload, stream_id=STREAM_ID, chunk_stream_id=4)


@dataclass(frozen=True, slots=True)
class Media:
    """A clip's tags, and its messages on the wire."""

    avc_record: bytes
    """AVCDecoderConfigurationRecord; empty without video."""

    aac_config: bytes
    """AudioSpecificConfig; empty without audio."""

    tags: Sequence[tuple[str, int, bytes]]
    """("video" or "audio", timestamp in ms, FLV tag body) of every frame, in sending order."""

    @property
    def headers(self) -> bytes:
        """The sequence headers, on the wire."""
        out = b""
        if self.avc_record:
            out += video(b"\x17\x00\x00\x00\x00" + self.avc_record)
        if self.aac_config:
            out += audio(b"\xaf\x00" + self.aac_config)
        return out

    @property
    def duration_ms(self) -> int:
        """From the first tag to just after the last; a multiple of 1 ms."""
        return max(timestamp for _, timestamp, _ in self.tags) + 33

    def messages(self, *, offset_ms: int = 0) -> list[tuple[int, bytes]]:
        """(due in ms, bytes) of every frame, the clock moved by `offset_ms`."""
        build = {"video": video, "audio": audio}
        return [
            (timestamp + offset_ms, build[kind](body, timestamp + offset_ms))
            for kind, timestamp, body in self.tags
        ]


def load_media(clip: Path) -> Media:
    """Read a clip's H.264 and AAC out of an MP4 file."""
    avc_record = aac_config = b""
    tags: list[tuple[int, str, bytes]] = []
    with av.open(clip) as container:
        for stream in container.streams:
            extradata = bytes(stream.codec_context.extradata or b"")
            if stream.type == "video":
                avc_record = extradata
            else:
                aac_config = extradata
        for packet in container.demux():
            if packet.dts is None or packet.pts is None:
                continue
            dts_ms = round(packet.dts * packet.time_base * 1000)
            pts_ms = round(packet.pts * packet.time_base * 1000)
            if packet.stream.type == "video":
                first = 0x17 if packet.is_keyframe else 0x27
                head = bytes([first, 1]) + ((pts_ms - dts_ms) & 0xFFFFFF).to_bytes(3, "big")
                tags.append((dts_ms, "video", head + bytes(packet)))
            else:
                tags.append((dts_ms, "audio", b"\xaf\x01" + bytes(packet)))
    first_ms = min(dts for dts, _, _ in tags)
    tags.sort(key=lambda tag: tag[0])
    return Media(avc_record, aac_config, [(kind, dts - first_ms, body) for dts, kind, body in tags])
