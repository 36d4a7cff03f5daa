"""RTMP publishers and servers made by hand, byte by byte: an oracle that shares no code with
rtmpcore.

Four parts. `amf_*` write AMF0 values and `read_amf` reads them; `read_messages` takes a chunk
stream apart; `plain_c1`, `digest_c1` and `check_digest_answer` are the other side of a handshake;
and `SESSIONS` holds what OBS, ffmpeg, GStreamer and librtmp send to publish, chunk headers
included, step by step, as those programs were seen to send it. Spec: RTMP 1.0, AMF 0.
"""

import hashlib
import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rtmp_chunks import header

# AMF0 ------------------------------------------------------------------------------------------

END = bytes.fromhex("000009")
NULL = b"\x05"


def amf_number(value: float) -> bytes:
    return b"\x00" + struct.pack(">d", value)


def amf_bool(value: bool) -> bytes:
    return b"\x01\x01" if value else b"\x01\x00"


def amf_key(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw


def amf_string(text: str) -> bytes:
    return b"\x02" + amf_key(text)


def amf_object(members: Mapping[str, bytes]) -> bytes:
    """Write an object from encoded members."""
    return b"\x03" + b"".join(amf_key(k) + v for k, v in members.items()) + END


def amf_ecma(members: Mapping[str, bytes], count: int | None = None) -> bytes:
    """Write an ECMA array; `count` None is the honest count."""
    size = len(members) if count is None else count
    return b"\x08" + size.to_bytes(4, "big") + amf_object(members)[1:]


def amf_strict(*members: bytes) -> bytes:
    return b"\x0a" + len(members).to_bytes(4, "big") + b"".join(members)


def amf_date(milliseconds: float, timezone: int = 0) -> bytes:
    return b"\x0b" + struct.pack(">dh", milliseconds, timezone)


def amf_long_string(text: str) -> bytes:
    raw = text.encode()
    return b"\x0c" + len(raw).to_bytes(4, "big") + raw


def read_amf(data: bytes) -> list[Any]:
    """Read values; only the markers that a server's replies use."""
    values = []
    while data:
        value, data = _read_amf_value(data)
        values.append(value)
    return values


def _read_amf_value(data: bytes) -> tuple[Any, bytes]:
    marker, data = data[0], data[1:]
    if marker == 0:
        return struct.unpack(">d", data[:8])[0], data[8:]
    if marker == 1:
        return data[0] == 1, data[1:]
    if marker == 2:
        size = int.from_bytes(data[:2], "big")
        return data[2 : 2 + size].decode(), data[2 + size :]
    if marker in (5, 6):
        return None, data
    if marker == 10:
        elements = []
        count, data = int.from_bytes(data[:4], "big"), data[4:]
        for _ in range(count):
            element, data = _read_amf_value(data)
            elements.append(element)
        return elements, data
    if marker == 8:
        data = data[4:]
    elif marker != 3:
        raise AssertionError(f"marker {marker}")
    members = {}
    while not data.startswith(END):
        size = int.from_bytes(data[:2], "big")
        key = data[2 : 2 + size].decode()
        members[key], data = _read_amf_value(data[2 + size :])
    return members, data[3:]


# Chunk stream, the way in ------------------------------------------------------------------------


class WireMessage(NamedTuple):
    """One message as it was found on the wire."""

    csid: int
    type_id: int
    stream_id: int
    timestamp: int
    payload: bytes
    fmt: int
    """Header type of its first chunk."""

    @property
    def values(self) -> list[Any]:
        """What a command says."""
        return read_amf(self.payload)


@dataclass
class WireReader:
    """Takes a strict sender's chunk stream apart: one-byte csids, extended timestamps repeated."""

    chunk_size: int = 128
    headers: dict[int, list[int]] = field(default_factory=dict)
    """csid -> timestamp, length, type, stream, field"""

    def read(self, data: bytes) -> list[WireMessage]:
        """Read whole messages; the last must end where `data` does."""
        messages = []
        while data:
            message, data = self._message(data)
            if message.type_id == 1:
                self.chunk_size = int.from_bytes(message.payload, "big")
            messages.append(message)
        return messages

    def _message(self, data: bytes) -> tuple[WireMessage, bytes]:
        fmt, csid = data[0] >> 6, data[0] & 63
        assert csid >= 2
        data = data[1:]
        state = self.headers.setdefault(csid, [0, 0, 0, 0, 0])
        if fmt < 3:
            state[4], data = int.from_bytes(data[:3], "big"), data[3:]
        if fmt < 2:
            state[1], state[2], data = int.from_bytes(data[:3], "big"), data[3], data[4:]
        if fmt == 0:
            state[3], data = int.from_bytes(data[:4], "little"), data[4:]
        extended = state[4] >= 0xFFFFFF
        if extended:
            state[4], data = int.from_bytes(data[:4], "big"), data[4:]
        state[0] = (state[4] if fmt == 0 else state[0] + state[4]) & 0xFFFFFFFF
        payload = b""
        while True:
            size = min(self.chunk_size, state[1] - len(payload))
            assert len(data) >= size, "the message is cut short"
            payload, data = payload + data[:size], data[size:]
            if len(payload) == state[1]:
                return WireMessage(csid, state[2], state[3], state[0], payload, fmt), data
            assert data[0] == 0xC0 | csid, "a continuation was expected"
            data = data[1:]
            if extended:
                assert int.from_bytes(data[:4], "big") == state[4]
                data = data[4:]


def read_messages(data: bytes, chunk_size: int = 128) -> list[WireMessage]:
    """Take a whole chunk stream apart."""
    return WireReader(chunk_size).read(data)


# Handshake ---------------------------------------------------------------------------------------

CLIENT_KEY = b"Genuine Adobe Flash Player 001"
SERVER_KEY = b"Genuine Adobe Flash Media Server 001"
CRUD = bytes.fromhex("F0EEC24A8068BEE82E00D0D1029E7E576EEC5D2D29806FAB93B8E636CFEB31AE")
FILLER = bytes(range(256)) * 6


def plain_c1() -> bytes:
    """C1 of OBS: a time, zero, anything."""
    return bytes.fromhex("0000002a00000000") + FILLER[:1528]


def digest_place(block: bytes | bytearray, base: int) -> int:
    """Where a block's digest lies; base 8 is scheme 0, 772 scheme 1."""
    return (block[base] + block[base + 1] + block[base + 2] + block[base + 3]) % 728 + base + 4


def digest_block(version: bytes, key: bytes, base: int) -> bytes:
    """A C1 or S1 with a digest."""
    block = bytearray(b"\0\0\0\0" + version + FILLER[:1528])
    place = digest_place(block, base)
    del block[place : place + 32]
    block[place:place] = hmac.new(key, bytes(block), hashlib.sha256).digest()
    return bytes(block)


def digest_c1(base: int = 8) -> bytes:
    """C1 of ffmpeg: player version 9.0.124.2 and a digest, in scheme 0 by default."""
    return digest_block(bytes.fromhex("09007c02"), CLIENT_KEY, base)


def has_digest(block: bytes, key: bytes, base: int) -> bool:
    """Whether a C1 or S1 has a right digest at this place."""
    place = digest_place(block, base)
    rest = block[:place] + block[place + 32 :]
    return hmac.new(key, rest, hashlib.sha256).digest() == block[place : place + 32]


def is_digest_answer(answer: bytes, asked: bytes, key: bytes, base: int) -> bool:
    """Whether a C2 or S2 answers the digest in the peer's block."""
    place = digest_place(asked, base)
    answer_key = hmac.new(key + CRUD, asked[place : place + 32], hashlib.sha256).digest()
    return hmac.new(answer_key, answer[:1504], hashlib.sha256).digest() == answer[1504:]


# Publishers, as captured -------------------------------------------------------------------------


def command_payload(name: str, transaction: float, *values: bytes) -> bytes:
    return b"".join((amf_string(name), amf_number(transaction), *values))


def chunked(first: bytes, csid: int, payload: bytes, chunk_size: int) -> bytes:
    """Put a header in front of a payload and cut it."""
    out = first + payload[:chunk_size]
    for start in range(chunk_size, len(payload), chunk_size):
        out += bytes((0xC0 | csid,)) + payload[start : start + chunk_size]
    return out


def whole(csid: int, type_id: int, stream_id: int, payload: bytes, chunk_size: int = 128) -> bytes:
    """A message with a type 0 header at time 0."""
    return chunked(header(0, csid, 0, len(payload), type_id, stream_id), csid, payload, chunk_size)


def short(
    csid: int, type_id: int, payload: bytes, chunk_size: int = 128, *, time: int = 0
) -> bytes:
    """A message with a type 1 header."""
    return chunked(header(1, csid, time, len(payload), type_id), csid, payload, chunk_size)


AVC_CONFIG = bytes.fromhex("1700000000014d401fffe1000467640028010004 68ee3c80".replace(" ", ""))
AAC_CONFIG = bytes.fromhex("af001190")
KEY_FRAME = bytes.fromhex("1701000050") + (300).to_bytes(4, "big") + b"\x65" + FILLER[:299]
AAC_FRAME = b"\xaf\x01" + FILLER[:180]


@dataclass(frozen=True)
class Session:
    """One publisher's bytes, cut where it waits for the server."""

    name: str
    c1: bytes
    connect: bytes
    create_stream: bytes
    create_stream_transaction: float
    publish: bytes
    media: bytes
    end: bytes
    flash_version: str
    stream_name: str = "live_key"
    query: str = ""
    answered_transactions: tuple[float, ...] = (2, 3, 4)
    """Transactions of releaseStream, FCPublish and createStream that get a _result."""
    media_messages: int = 4
    """Audio and video messages in `media`, after one metadata message."""


def _metadata(name: bytes = b"") -> bytes:
    members = {"width": amf_number(1280), "height": amf_number(720), "encoder": amf_string("x")}
    return name + amf_string("onMetaData") + amf_ecma(members, 20)


def _obs() -> Session:
    """Chunk size 4096 from the start, everything of the stream on csid 4, type 1 on csid 3."""
    connect = command_payload(
        "connect",
        1,
        amf_object(
            {
                "app": amf_string("live"),
                "type": amf_string("nonprivate"),
                "flashVer": amf_string("FMLE/3.0 (compatible; FMSc/1.0)"),
                "swfUrl": amf_string("rtmp://host/live"),
                "tcUrl": amf_string("rtmp://host/live"),
            }
        ),
    )
    key = amf_string("live_key")
    data = _metadata(amf_string("@setDataFrame"))
    return Session(
        name="obs",
        c1=plain_c1(),
        connect=whole(2, 1, 0, (4096).to_bytes(4, "big")) + whole(3, 20, 0, connect, 4096),
        create_stream=short(3, 20, command_payload("releaseStream", 2, NULL, key))
        + short(3, 20, command_payload("FCPublish", 3, NULL, key))
        + short(3, 20, command_payload("createStream", 4, NULL)),
        create_stream_transaction=4,
        publish=whole(4, 20, 1, command_payload("publish", 5, NULL, key, amf_string("live"))),
        media=short(4, 18, data, 4096)
        + short(4, 8, AAC_CONFIG)
        + short(4, 9, AVC_CONFIG)
        + chunked(header(0, 4, 23, len(KEY_FRAME), 9, 1), 4, KEY_FRAME, 4096)
        # Audio on the same chunk stream, 3 ms earlier: the delta is -3.
        + chunked(header(1, 4, 0xFFFFFFFD, len(AAC_FRAME), 8), 4, AAC_FRAME, 4096),
        end=short(3, 20, command_payload("FCUnpublish", 6, NULL, key))
        + short(3, 20, command_payload("deleteStream", 7, NULL, amf_number(1))),
        flash_version="FMLE/3.0 (compatible; FMSc/1.0)",
    )


def _ffmpeg() -> Session:
    """Digest handshake, connect in chunks of 128, then the server's chunk size mirrored."""
    connect = command_payload(
        "connect",
        1,
        amf_object(
            {
                "app": amf_string("live"),
                "type": amf_string("nonprivate"),
                "flashVer": amf_string("FMLE/3.0 (compatible; Lavf60.16.100)"),
                "tcUrl": amf_string("rtmp://host:1935/live"),
            }
        ),
    )
    key = amf_string("live_key?token=abc&x=1")
    data = _metadata(amf_string("@setDataFrame"))
    return Session(
        name="ffmpeg",
        c1=digest_c1(),
        connect=whole(3, 20, 0, connect),
        create_stream=whole(2, 1, 0, (65536).to_bytes(4, "big"))
        + short(3, 20, command_payload("releaseStream", 2, NULL, key))
        + short(3, 20, command_payload("FCPublish", 3, NULL, key))
        + short(3, 20, command_payload("createStream", 4, NULL)),
        create_stream_transaction=4,
        publish=whole(8, 20, 1, command_payload("publish", 5, NULL, key, amf_string("live"))),
        media=whole(4, 18, 1, data, 65536)
        + whole(6, 9, 1, AVC_CONFIG)
        + short(4, 8, AAC_CONFIG)
        # Encoders with an offset: the first frame is an extended delta away.
        + chunked(header(1, 6, 0x01312C92, len(KEY_FRAME), 9), 6, KEY_FRAME, 65536)
        + chunked(header(1, 4, 0x01312C92, len(AAC_FRAME), 8), 4, AAC_FRAME, 65536),
        end=short(6, 9, bytes.fromhex("1702000000"))
        + short(3, 20, command_payload("FCUnpublish", 6, NULL, key))
        + short(3, 20, command_payload("deleteStream", 7, NULL, amf_number(1))),
        flash_version="FMLE/3.0 (compatible; Lavf60.16.100)",
        query="token=abc&x=1",
    )


def _gstreamer() -> Session:
    """Mostly transaction 0, publish on csid 3, deleteStream with the key, chunks of 128 again."""
    connect = command_payload(
        "connect",
        1,
        amf_object(
            {
                "app": amf_string("live"),
                "type": amf_string("nonprivate"),
                "flashVer": amf_string("LNX 10,0,32,18"),
                "tcUrl": amf_string("rtmp://host:1935/live"),
            }
        ),
    )
    key = amf_string("live_key")
    return Session(
        name="gstreamer",
        c1=plain_c1(),
        connect=whole(3, 20, 0, connect),
        create_stream=whole(2, 5, 0, (2500000).to_bytes(4, "big"))
        + short(3, 20, command_payload("releaseStream", 0, NULL, key))
        + short(3, 20, command_payload("FCPublish", 0, NULL, key))
        + short(3, 20, command_payload("createStream", 2, NULL)),
        create_stream_transaction=2,
        publish=whole(3, 20, 1, command_payload("publish", 0, NULL, key, amf_string("live"))),
        media=whole(2, 1, 0, (128).to_bytes(4, "big"))
        + whole(4, 18, 1, _metadata())
        + whole(6, 9, 1, AVC_CONFIG)
        + whole(5, 8, 1, AAC_CONFIG)
        + short(6, 9, KEY_FRAME, time=40)
        + short(5, 8, AAC_FRAME, time=23),
        end=whole(3, 20, 0, command_payload("FCUnpublish", 0, NULL, key))
        + short(3, 20, command_payload("deleteStream", 0, NULL, key)),
        flash_version="LNX 10,0,32,18",
        answered_transactions=(2,),
    )


def _librtmp() -> Session:
    """No flashVer, chunks of 128 throughout, first control message with a type 1 header."""
    connect = command_payload(
        "connect",
        1,
        amf_object(
            {
                "app": amf_string("live/"),
                "type": amf_string("nonprivate"),
                "tcUrl": amf_string("rtmp://host/live/"),
            }
        ),
    )
    key = amf_string("live_key")
    return Session(
        name="librtmp",
        c1=plain_c1(),
        connect=whole(3, 20, 0, connect),
        create_stream=short(2, 4, bytes.fromhex("0003000000010000"))
        + short(3, 20, command_payload("releaseStream", 2, NULL, key))
        + short(3, 20, command_payload("FCPublish", 3, NULL, key))
        + short(3, 20, command_payload("createStream", 4, NULL)),
        create_stream_transaction=4,
        publish=whole(4, 20, 1, command_payload("publish", 5, NULL, key, amf_string("live"))),
        media=short(4, 18, _metadata(amf_string("@setDataFrame")))
        + short(4, 8, AAC_CONFIG)
        + short(4, 9, AVC_CONFIG)
        + chunked(header(0, 4, 23, len(KEY_FRAME), 9, 1), 4, KEY_FRAME, 128)
        + short(4, 8, AAC_FRAME),
        end=short(3, 20, command_payload("FCUnpublish", 6, NULL, key))
        + short(3, 20, command_payload("deleteStream", 7, NULL, amf_number(1))),
        flash_version="",
    )


SESSIONS = (_obs(), _ffmpeg(), _gstreamer(), _librtmp())
