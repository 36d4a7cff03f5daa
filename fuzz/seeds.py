"""Seeds from real clients: recorded connections, cut into the inputs of each target.

`tests/data/rtmp/` holds what OBS, ffmpeg, GStreamer and librtmp put on the wire, recorded by
`tests/e2e/test_captures.py`. Each target takes a part of that in a layout of its own, so the
recordings are kept once and cut here: a new client, once recorded, is a seed of every target.

May import: native. No target.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from native import ChunkReader, RawMessage

CAPTURES: Final = Path(__file__).parents[1] / "tests" / "data" / "rtmp"

_HANDSHAKE_BYTES: Final = 1 + 2 * 1536
_MAX_STREAM_BYTES: Final = 3000  # to the first frames; longer inputs are slow to mutate
_PIECE_BYTES: Final = 127  # odd against every chunk size
_MAX_OF_A_KIND: Final = 6
_AUDIO, _VIDEO = 8, 9
_AMF_TYPES: Final = (15, 17, 18, 20)


def seeds(unit: str) -> dict[str, bytes]:
    """Return the inputs of a target by name; none for one that no publisher speaks to."""
    cut = _CUTS.get(unit)
    if cut is None:
        return {}
    return {
        f"{path.stem}-{index:02}": seed
        for path in sorted(CAPTURES.glob("*.bin"))
        for index, seed in enumerate(cut(path.read_bytes()))
    }


def _messages(capture: bytes, *type_ids: int) -> Iterator[RawMessage]:
    """The messages of some types; the last may be cut short, and is left out."""
    reader = ChunkReader(
        max_message_bytes=1 << 20, max_buffered_bytes=1 << 21, max_chunk_streams=16
    )
    messages: list[RawMessage] = []
    reader.feed(capture[_HANDSHAKE_BYTES:], messages)
    return (message for message in messages if message.type_id in type_ids)


def _handshake(capture: bytes) -> Iterator[bytes]:
    # Flags: a server, no digest put in by the target, pieces of 201 bytes.
    yield b"\x20" + capture[:_HANDSHAKE_BYTES]


def _stream(head: bytes, capture: bytes) -> Iterator[bytes]:
    yield head + capture[_HANDSHAKE_BYTES:][:_MAX_STREAM_BYTES]


def _amf(capture: bytes) -> Iterator[bytes]:
    for message in _messages(capture, *_AMF_TYPES):
        yield message.payload


def _flv(capture: bytes) -> Iterator[bytes]:
    for type_id, head in ((_VIDEO, b"\0"), (_AUDIO, b"\1")):
        for message in islice(_messages(capture, type_id), _MAX_OF_A_KIND):
            yield head + message.payload[:512]


def _video_config(capture: bytes) -> Iterator[bytes]:
    # A sequence header: AVC's own, or Enhanced RTMP's with its FOURCC.
    codecs = {b"avc1": b"\0", b"hvc1": b"\1", b"av01": b"\2", b"vp09": b"\3\x0c"}
    for message in _messages(capture, _VIDEO):
        payload = message.payload
        if payload[:2] == b"\x17\0":
            yield codecs[b"avc1"] + payload[5:]
        elif payload[:1] == b"\x90" and payload[1:5] in codecs:
            yield codecs[payload[1:5]] + payload[5:]


def _audio_config(capture: bytes) -> Iterator[bytes]:
    codecs = {b"mp4a": 0, b"Opus": 1, b"fLaC": 2, b"ac-3": 3, b"ec-3": 4}
    for message in islice(_messages(capture, _AUDIO), _MAX_OF_A_KIND):
        payload = message.payload
        if payload[:2] == b"\xaf\0":
            yield bytes((0, len(payload) - 2)) + payload[2:]
        elif payload[0] >> 4 == 9 and payload[1:5] in codecs:
            record = payload[5:260]
            yield bytes((codecs[payload[1:5]], len(record))) + record + payload[5:260]


def _transcode(capture: bytes) -> Iterator[bytes]:
    tags = b"\0\0"
    for message in islice(_messages(capture, _AUDIO, _VIDEO), 3 * _MAX_OF_A_KIND):
        time = (message.timestamp_ms & 0xFFFFFF).to_bytes(3, "big")
        size = len(message.payload).to_bytes(2, "big")
        tags += bytes((message.type_id == _AUDIO,)) + time + size + message.payload
    yield tags


_CUTS: Final = {
    "amf0": _amf,
    "audio_config": _audio_config,
    "chunk": lambda capture: _stream(bytes((_PIECE_BYTES - 1,)), capture),
    "connection": lambda capture: _stream(bytes((0, _PIECE_BYTES - 1)), capture),
    "flv": _flv,
    "handshake": _handshake,
    "native_diff": lambda capture: _stream(bytes((0, _PIECE_BYTES - 1)), capture),
    "transcode": _transcode,
    "video_config": _video_config,
}
