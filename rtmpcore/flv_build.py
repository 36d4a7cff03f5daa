"""Builds the payloads of media messages for a publishing client.

H.264 and AAC in FLV's own headers, which every server takes; `enhanced_video` and `enhanced_audio`
are the reverse of `flv.video_tags` and `flv.audio_tags`: what they build is read back as the same
tags. A single tag of the default track becomes a plain message, one of another track a OneTrack
message, several become ManyTracks, or ManyTracksManyCodecs if their codecs differ.

May import: errors, flv_tags. Spec: FLV 10.1 annex E.4, Enhanced RTMP v2.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from rtmpcore.errors import LocalProtocolError
from rtmpcore.flv_tags import (
    AUDIO_FOURCC,
    COMPOSED_CODECS,
    FRAME_TYPE_COMMAND,
    FRAME_TYPE_INTER,
    FRAME_TYPE_KEY,
    MANY_TRACKS,
    MANY_TRACKS_MANY_CODECS,
    MAX_OFFSET_NS,
    MOD_EX_OFFSET_NS,
    ONE_TRACK,
    PACKET_AUDIO_MULTITRACK,
    PACKET_CONFIG,
    PACKET_END,
    PACKET_FRAME,
    PACKET_METADATA,
    PACKET_MOD_EX,
    PACKET_VIDEO_MULTITRACK,
    VIDEO_FOURCC,
    AudioTag,
    TagKind,
    VideoTag,
)

_AVC_INTER: Final = 0x27
_AVC_KEY: Final = 0x17
_AAC: Final = 0xAF
_ENHANCED_VIDEO: Final = 0x80
_ENHANCED_AUDIO: Final = 0x90

_VIDEO_PACKETS: Final = {
    TagKind.CONFIG: PACKET_CONFIG,
    TagKind.FRAME: PACKET_FRAME,
    TagKind.END: PACKET_END,
    TagKind.METADATA: PACKET_METADATA,
}
_AUDIO_PACKETS: Final = {
    TagKind.CONFIG: PACKET_CONFIG,
    TagKind.FRAME: PACKET_FRAME,
    TagKind.END: PACKET_END,
}
_NOT_ONE_MESSAGE: Final = "the tags of a message must agree in kind, keyframe and nanoseconds"


class _Track(NamedTuple):
    fourcc: bytes
    track_id: int
    body: bytes


def avc_config(record: bytes) -> bytes:
    """Build the video message that announces an AVCDecoderConfigurationRecord."""
    return b"\x17\x00\x00\x00\x00" + record


def avc_frame(*, keyframe: bool, composition_time_ms: int, data: bytes) -> bytes:
    """Build the video message of one access unit, its NAL units length-prefixed.

    Raises:
        LocalProtocolError: The composition time does not fit 24 signed bits.
    """
    first = _AVC_KEY if keyframe else _AVC_INTER
    return b"".join((bytes((first, 1)), _signed24(composition_time_ms), data))


def avc_end() -> bytes:
    """Build the video message that says that no more pictures come."""
    return b"\x17\x02\x00\x00\x00"


def aac_config(config: bytes) -> bytes:
    """Build the audio message that announces an AudioSpecificConfig."""
    return bytes((_AAC, 0)) + config


def aac_frame(data: bytes) -> bytes:
    """Build the audio message of one raw AAC frame."""
    return bytes((_AAC, 1)) + data


def enhanced_video(*tags: VideoTag) -> bytes:
    """Build the video message that says these tags, one for each track.

    Raises:
        LocalProtocolError: There is none; they differ in what a message says once (kind, keyframe,
            nanoseconds); Enhanced RTMP has no packet for the kind or no FOURCC for a codec; or a
            number is out of its range.
    """
    if len({(tag.kind, tag.keyframe, tag.offset_ns) for tag in tags}) != 1:
        raise LocalProtocolError(_NOT_ONE_MESSAGE)
    kind, keyframe = tags[0].kind, tags[0].keyframe
    tracks = []
    for tag in tags:
        body = bytes(tag.body)
        if kind is TagKind.FRAME and tag.codec in COMPOSED_CODECS:
            body = _signed24(tag.composition_time_ms) + body
        tracks.append(_Track(_fourcc(VIDEO_FOURCC, tag.codec), tag.track_id, body))
    frame_type = FRAME_TYPE_KEY if keyframe else FRAME_TYPE_INTER
    if kind is TagKind.METADATA and _is_plain(tags):
        frame_type = FRAME_TYPE_COMMAND  # it should mean nothing, but ffmpeg looks for it
    first = _ENHANCED_VIDEO | frame_type << 4
    packet_type = _VIDEO_PACKETS.get(kind)
    return _message(first, packet_type, PACKET_VIDEO_MULTITRACK, tags[0].offset_ns, tracks)


def enhanced_audio(*tags: AudioTag) -> bytes:
    """Build the audio message that says these tags, one for each track.

    Raises:
        LocalProtocolError: There is none; they differ in what a message says once (kind,
            nanoseconds); Enhanced RTMP has no packet for the kind or no FOURCC for a codec; or a
            number is out of its range.
    """
    if len({(tag.kind, tag.offset_ns) for tag in tags}) != 1:
        raise LocalProtocolError(_NOT_ONE_MESSAGE)
    packet_type = _AUDIO_PACKETS.get(tags[0].kind)
    offset_ns = tags[0].offset_ns
    tracks = [
        _Track(_fourcc(AUDIO_FOURCC, tag.codec), tag.track_id, bytes(tag.body)) for tag in tags
    ]
    return _message(_ENHANCED_AUDIO, packet_type, PACKET_AUDIO_MULTITRACK, offset_ns, tracks)


def _message(
    first: int,
    packet_type: int | None,
    multitrack_packet: int,
    offset_ns: int,
    tracks: Sequence[_Track],
) -> bytes:
    """Lay out one message; `first` is its first byte without the packet type."""
    if packet_type is None:
        raise LocalProtocolError("Enhanced RTMP has no packet for this kind of tag")
    is_plain = _is_plain(tracks)
    multitrack = ONE_TRACK if len(tracks) == 1 else MANY_TRACKS
    if len({track.fourcc for track in tracks}) > 1:
        multitrack = MANY_TRACKS_MANY_CODECS
    out = []
    if offset_ns:
        if offset_ns > MAX_OFFSET_NS:
            raise LocalProtocolError("the nanoseconds are a millisecond or more")
        out += [bytes((first | PACKET_MOD_EX, 2)), _unsigned(offset_ns, 3)]
        first = MOD_EX_OFFSET_NS << 4
    if is_plain:
        out.append(bytes((first | packet_type,)))
    else:
        out.append(bytes((first | multitrack_packet, multitrack << 4 | packet_type)))
    if multitrack != MANY_TRACKS_MANY_CODECS:
        out.append(tracks[0].fourcc)
    for track in tracks:
        if multitrack == MANY_TRACKS_MANY_CODECS:
            out.append(track.fourcc)
        if not is_plain:
            out.append(_unsigned(track.track_id, 1))
        if multitrack != ONE_TRACK:
            out.append(_unsigned(len(track.body), 3))
        out.append(track.body)
    return b"".join(out)


def _is_plain(tracks: Sequence[VideoTag | _Track]) -> bool:
    return len(tracks) == 1 and tracks[0].track_id == 0


def _fourcc(numbers: Mapping[int, int], codec: int) -> bytes:
    try:
        return _unsigned(numbers[codec], 4)
    except KeyError:
        raise LocalProtocolError(f"Enhanced RTMP has no FOURCC for codec {codec}") from None


def _unsigned(value: int, size_bytes: int) -> bytes:
    try:
        return value.to_bytes(size_bytes, "big")
    except OverflowError:
        raise LocalProtocolError(f"{value} does not fit {size_bytes} bytes") from None


def _signed24(value: int) -> bytes:
    if not -0x800000 <= value <= 0x7FFFFF:
        raise LocalProtocolError("the composition time does not fit 24 bits")
    return (value & 0xFFFFFF).to_bytes(3, "big")
