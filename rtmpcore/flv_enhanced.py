"""Enhanced RTMP's tag headers: FOURCC codecs, ModEx, and many tracks in one message.

    message     first byte, [ModEx ...], then one of
      plain       FOURCC body                                     the default track
      OneTrack    type FOURCC track-id body
      ManyTracks  type FOURCC (track-id size body) ...            ... each with a FOURCC of its own
                                                                  in ManyTracksManyCodecs

Packet type, frame type and nanoseconds hold for all tracks of a message. What is reserved, or is
nothing for a receiver of media, is one tag of kind OTHER: a message that we do not understand costs
nobody the connection. What is cut short is an error.

Bounds: `MAX_TRACKS` tracks and `MAX_MODIFIERS` ModEx blocks a message. Each takes a few bytes, so
without them a message of some megabytes would stop everybody for seconds.

May import: errors, flv_tags. Spec: Enhanced RTMP v2, "Enhanced Audio" and "Enhanced Video".
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from rtmpcore.errors import FlvError
from rtmpcore.flv_tags import (
    AUDIO_BY_NUMBER,
    COMPOSED_CODECS,
    FRAME_TYPE_COMMAND,
    FRAME_TYPE_INTER,
    FRAME_TYPE_KEY,
    MANY_TRACKS_MANY_CODECS,
    MAX_OFFSET_NS,
    MOD_EX_OFFSET_NS,
    ONE_TRACK,
    OTHER_AUDIO,
    OTHER_VIDEO,
    PACKET_AUDIO_MULTITRACK,
    PACKET_END,
    PACKET_FRAME,
    PACKET_METADATA,
    PACKET_MOD_EX,
    PACKET_VIDEO_MULTITRACK,
    VIDEO_BY_NUMBER,
    AudioTag,
    TagKind,
    VideoTag,
)

MAX_TRACKS: Final = 256
"""One for each id."""

MAX_MODIFIERS: Final = 8
"""One kind is defined, and a message needs it once."""

_SPEC: Final = "Enhanced RTMP v2"

_VIDEO_KINDS: Final = (
    TagKind.CONFIG,
    TagKind.FRAME,
    TagKind.END,
    TagKind.FRAME,  # whose composition time is zero, and not sent
    TagKind.METADATA,
)
"""By packet type. What lies beyond (the MPEG-2 TS form, reserved ones) is nothing for us."""

_AUDIO_KINDS: Final = (TagKind.CONFIG, TagKind.FRAME, TagKind.END)
"""By packet type. What lies beyond (the layout of channels, reserved ones) is nothing for us."""

_OTHER: Final = TagKind.OTHER
_NOT_MULTITRACK: Final = -1

_Track: TypeAlias = tuple[int, int, memoryview]
"""FOURCC, track id, body."""


def read_video(payload: bytes) -> Sequence[VideoTag]:
    """Read a video message whose first byte has the bit of Enhanced RTMP: a tag for each track.

    Raises:
        FlvError: The message ends inside a header, or passes a bound.
    """
    packet_type, multitrack, offset_ns, rest = _read_header(payload, PACKET_VIDEO_MULTITRACK)
    frame_type = payload[0] >> 4 & 7
    if packet_type == PACKET_METADATA:
        frame_type = FRAME_TYPE_INTER  # it means nothing here: ffmpeg 9 sends that of commands
    if (
        frame_type == FRAME_TYPE_COMMAND
        or packet_type >= len(_VIDEO_KINDS)
        or multitrack > MANY_TRACKS_MANY_CODECS
    ):
        return (OTHER_VIDEO,)
    keyframe = frame_type == FRAME_TYPE_KEY
    tags = []
    for fourcc, track_id, body in _read_tracks(multitrack, rest):
        codec = VIDEO_BY_NUMBER.get(fourcc, fourcc)
        time_ms = 0
        if packet_type == PACKET_FRAME and codec in COMPOSED_CODECS and body:
            time_ms, body = _take(body, 3)
            if time_ms & 0x800000:
                time_ms -= 0x1000000
        kind = _VIDEO_KINDS[packet_type] if body or packet_type == PACKET_END else _OTHER
        tags.append(VideoTag(kind, codec, keyframe, time_ms, body, track_id, offset_ns))
    return tags


def read_audio(payload: bytes) -> Sequence[AudioTag]:
    """Read an audio message of FLV's sound format 9, Enhanced RTMP's: a tag for each track.

    Raises:
        FlvError: The message ends inside a header, or passes a bound.
    """
    packet_type, multitrack, offset_ns, rest = _read_header(payload, PACKET_AUDIO_MULTITRACK)
    if packet_type >= len(_AUDIO_KINDS) or multitrack > MANY_TRACKS_MANY_CODECS:
        return (OTHER_AUDIO,)
    tags = []
    for fourcc, track_id, body in _read_tracks(multitrack, rest):
        codec = AUDIO_BY_NUMBER.get(fourcc, fourcc)
        kind = _AUDIO_KINDS[packet_type] if body or packet_type == PACKET_END else _OTHER
        tags.append(AudioTag(kind, codec, body, track_id, offset_ns))
    return tags


def _read_header(payload: bytes, multitrack_packet: int) -> tuple[int, int, int, memoryview]:
    """Return the packet type, ONE_TRACK or such, the nanoseconds, and what follows."""
    packet_type, offset_ns, rest = _read_modifiers(payload)
    if packet_type != multitrack_packet:
        return packet_type, _NOT_MULTITRACK, offset_ns, rest
    types, rest = _take(rest, 1)
    return types & 0x0F, types >> 4, offset_ns, rest


def _read_modifiers(payload: bytes) -> tuple[int, int, memoryview]:
    """Return the packet type behind the ModEx blocks, their nanoseconds, and what follows."""
    packet_type = payload[0] & 0x0F
    offset_ns = 0
    rest = memoryview(payload)[1:]
    for _ in range(MAX_MODIFIERS + 1):
        if packet_type != PACKET_MOD_EX:
            return packet_type, offset_ns, rest
        size, rest = _take(rest, 1)
        if size == 0xFF:
            size, rest = _take(rest, 2)
        data, rest = rest[: size + 1], rest[size + 1 :]
        types, rest = _take(rest, 1)
        packet_type = types & 0x0F
        if types >> 4 == MOD_EX_OFFSET_NS:
            # Three bytes at least, and less than the millisecond that the timestamp counts.
            sent_ns = int.from_bytes(data[:3], "big") if len(data) >= 3 else 0
            offset_ns = sent_ns if sent_ns <= MAX_OFFSET_NS else 0
    raise FlvError("a media tag has too many ModEx blocks", _SPEC)


def _read_tracks(multitrack: int, rest: memoryview) -> Iterable[_Track]:
    if multitrack == MANY_TRACKS_MANY_CODECS:
        return _read_many(multitrack, None, rest)
    fourcc, rest = _take(rest, 4)
    if multitrack == _NOT_MULTITRACK:
        return ((fourcc, 0, rest),)
    return _read_many(multitrack, fourcc, rest)


def _read_many(multitrack: int, shared_fourcc: int | None, rest: memoryview) -> Iterator[_Track]:
    for _ in range(MAX_TRACKS):
        fourcc = shared_fourcc
        if fourcc is None:
            fourcc, rest = _take(rest, 4)
        track_id, rest = _take(rest, 1)
        size = len(rest)
        if multitrack != ONE_TRACK:
            size, rest = _take(rest, 3)
            if size > len(rest):
                raise FlvError("a media tag ends inside a track", _SPEC)
        yield fourcc, track_id, rest[:size]
        rest = rest[size:]
        if not rest:
            return
    raise FlvError("a media tag names too many tracks", _SPEC)


def _take(data: memoryview, count: int) -> tuple[int, memoryview]:
    """Return the number in the next bytes, and what follows."""
    if len(data) < count:
        raise FlvError("a media tag ends inside its header", _SPEC)
    return int.from_bytes(data[:count], "big"), data[count:]
