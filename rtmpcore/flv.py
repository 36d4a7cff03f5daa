"""FLV audio and video tags, as RTMP messages carry them: the front door of the `flv_*` files.

Reads the legacy headers (FLV 10.1 annex E.4.2.1 and E.4.3.1) and leaves those of Enhanced RTMP
(veovera, v2) to `flv_enhanced`, so that the caller knows the codec of everything and can refuse it
with a clear reason. Only headers: what is in an AVCDecoderConfigurationRecord or a NAL unit is
`hls`'s business. What the tags say is in `flv_tags`, colours in `flv_colour`; `flv_build` writes.

The readers run once per media message: they read by index and make one memoryview.

May import: errors, the other flv_* files.
"""

from collections.abc import Sequence
from typing import Final

from rtmpcore.errors import FlvError
from rtmpcore.flv_build import (
    aac_config,
    aac_frame,
    avc_config,
    avc_end,
    avc_frame,
    enhanced_audio,
    enhanced_video,
)
from rtmpcore.flv_colour import ColourInfo, MasteringDisplay, parse_colour_info
from rtmpcore.flv_enhanced import read_audio, read_video
from rtmpcore.flv_tags import (
    AUDIO_BY_NUMBER,
    FRAME_TYPE_COMMAND,
    NOTHING,
    OTHER_AUDIO,
    OTHER_VIDEO,
    VIDEO_BY_NUMBER,
    AudioCodec,
    AudioTag,
    TagKind,
    VideoCodec,
    VideoTag,
)

__all__ = [
    "AudioCodec",
    "AudioTag",
    "ColourInfo",
    "MasteringDisplay",
    "TagKind",
    "VideoCodec",
    "VideoTag",
    "aac_config",
    "aac_frame",
    "audio_tags",
    "avc_config",
    "avc_end",
    "avc_frame",
    "enhanced_audio",
    "enhanced_video",
    "parse_audio",
    "parse_colour_info",
    "parse_video",
    "video_tags",
]

_LAYERED_IDS: Final = frozenset({7, 12})
"""Codec ids whose payload has a packet type and a composition time: AVC, and the HEVC that Chinese
encoders put in the same layout."""

_ENHANCED_FORMAT: Final = 9
_AAC: Final = AudioCodec.AAC
_KINDS: Final = (TagKind.CONFIG, TagKind.FRAME, TagKind.END)

_new: Final = tuple.__new__
"""What `VideoTag(...)` comes to, at half the time: that one is a Python function around it."""


def video_tags(payload: bytes) -> Sequence[VideoTag]:
    """Read a video message: a tag for each track, of which there is at least one.

    Raises:
        FlvError: The payload ends inside a header, or names more tracks than there can be.
    """
    if payload and payload[0] & 0x80:
        return read_video(payload)
    return (_legacy_video(payload),)


def audio_tags(payload: bytes) -> Sequence[AudioTag]:
    """Read an audio message: a tag for each track, of which there is at least one.

    Empty messages (silence, in Enhanced RTMP) and one-byte AAC tags occur in the wild: OTHER.

    Raises:
        FlvError: The payload ends inside a header, or names more tracks than there can be.
    """
    if payload and payload[0] >> 4 == _ENHANCED_FORMAT:
        return read_audio(payload)
    return (_legacy_audio(payload),)


def parse_video(payload: bytes) -> VideoTag:
    """Read what a video message says of the default track; OTHER if it is about other tracks.

    Raises:
        FlvError: As `video_tags`.
    """
    return next((tag for tag in video_tags(payload) if tag.track_id == 0), OTHER_VIDEO)


def parse_audio(payload: bytes) -> AudioTag:
    """Read what an audio message says of the default track; OTHER if it is about other tracks.

    Raises:
        FlvError: As `audio_tags`.
    """
    return next((tag for tag in audio_tags(payload) if tag.track_id == 0), OTHER_AUDIO)


def _legacy_video(payload: bytes) -> VideoTag:
    if not payload:
        return OTHER_VIDEO
    frame_type, codec = payload[0] >> 4, payload[0] & 0x0F
    if frame_type == FRAME_TYPE_COMMAND:
        return OTHER_VIDEO
    keyframe = frame_type == 1 or frame_type == 4
    if codec not in _LAYERED_IDS:
        body = memoryview(payload)[1:]
        kind = TagKind.FRAME if body else TagKind.OTHER
        return VideoTag(kind, VIDEO_BY_NUMBER.get(codec, codec), keyframe, 0, body)
    if len(payload) < 5:
        raise FlvError("a video tag ends inside its header", "FLV 10.1 section E.4.3.1")
    packet_type = payload[1]
    if packet_type > 2 or (len(payload) == 5 and packet_type != 2):
        return VideoTag(TagKind.OTHER, VIDEO_BY_NUMBER[codec], keyframe, 0, NOTHING)
    time_ms = payload[2] << 16 | payload[3] << 8 | payload[4]
    if time_ms & 0x800000:
        time_ms -= 0x1000000
    body = memoryview(payload)[5:]
    codec = VIDEO_BY_NUMBER[codec]
    return _new(VideoTag, (_KINDS[packet_type], codec, keyframe, time_ms, body, 0, 0))


def _legacy_audio(payload: bytes) -> AudioTag:
    if len(payload) < 2:
        return OTHER_AUDIO
    codec = payload[0] >> 4
    if codec != _AAC:
        return AudioTag(TagKind.FRAME, AUDIO_BY_NUMBER.get(codec, codec), memoryview(payload)[1:])
    packet_type = payload[1]
    if packet_type > 1 or len(payload) == 2:
        return AudioTag(TagKind.OTHER, _AAC, NOTHING)
    return _new(AudioTag, (_KINDS[packet_type], _AAC, memoryview(payload)[2:], 0, 0))
