"""FLV audio and video tag headers, as RTMP messages carry them.

Reads the legacy headers (FLV 10.1 annex E.4.2.1 and E.4.3.1) and the single-track part of Enhanced
RTMP (veovera, v2), so that the caller knows the codec of everything and can refuse it with a clear
reason. Only headers: what is in an AVCDecoderConfigurationRecord or a NAL unit is `hls`'s business.
Also builds the H.264 and AAC payloads that a publishing client sends.

The parsers run once per media message: they read by index and make one memoryview.

May import: errors.
"""

import enum
from typing import Final, NamedTuple

from rtmpcore.errors import FlvError, LocalProtocolError


def _fourcc(name: bytes) -> int:
    return int.from_bytes(name, "big")


class VideoCodec(enum.IntEnum):
    """Video codecs: FLV's ids, and the FOURCC as a number where FLV has none."""

    SORENSON_H263 = 2
    SCREEN = 3
    VP6 = 4
    VP6_ALPHA = 5
    SCREEN_2 = 6
    AVC = 7
    HEVC = 12
    AV1 = 13
    VP8 = _fourcc(b"vp08")
    VP9 = _fourcc(b"vp09")
    VVC = _fourcc(b"vvc1")


class AudioCodec(enum.IntEnum):
    """Audio codecs: FLV's ids, and the FOURCC as a number where FLV has none."""

    PCM = 0
    ADPCM = 1
    MP3 = 2
    PCM_LITTLE_ENDIAN = 3
    NELLYMOSER_16K = 4
    NELLYMOSER_8K = 5
    NELLYMOSER = 6
    G711_A_LAW = 7
    G711_MU_LAW = 8
    AAC = 10
    SPEEX = 11
    OPUS = _fourcc(b"Opus")
    FLAC = _fourcc(b"fLaC")
    AC3 = _fourcc(b"ac-3")
    EAC3 = _fourcc(b"ec-3")


class TagKind(enum.Enum):
    """What a tag is to the receiver of media."""

    #: A decoder configuration (sequence header); the body is never empty.
    CONFIG = "config"
    #: A coded picture or audio frame; the body is never empty.
    FRAME = "frame"
    #: The track ends here.
    END = "end"
    #: Nothing to decode (command frames, empty tags, multitrack, unknown packet types): ignore it.
    OTHER = "other"


class VideoTag(NamedTuple):
    """A video message, read."""

    kind: TagKind
    """What it is to the receiver."""
    codec: VideoCodec | int
    """The number as sent where it is none that we know."""
    keyframe: bool
    """The publisher's claim; the bitstream may say otherwise."""
    composition_time_ms: int
    """pts - dts, signed."""
    body: memoryview
    """AVCDecoderConfigurationRecord, length-prefixed NAL units, ...: what the codec needs."""


class AudioTag(NamedTuple):
    """An audio message, read."""

    kind: TagKind
    """What it is to the receiver."""
    codec: AudioCodec | int
    """The number as sent where it is none that we know."""
    body: memoryview
    """AudioSpecificConfig, a raw AAC frame, ...: what the codec needs."""


_VIDEO_BY_ID: Final[dict[int, VideoCodec]] = {int(codec): codec for codec in VideoCodec}
_AUDIO_BY_ID: Final[dict[int, AudioCodec]] = {int(codec): codec for codec in AudioCodec}
_VIDEO_BY_FOURCC: Final[dict[int, VideoCodec]] = _VIDEO_BY_ID | {
    _fourcc(b"avc1"): VideoCodec.AVC,
    _fourcc(b"hvc1"): VideoCodec.HEVC,
    _fourcc(b"av01"): VideoCodec.AV1,
}
_AUDIO_BY_FOURCC: Final[dict[int, AudioCodec]] = _AUDIO_BY_ID | {
    _fourcc(b"mp4a"): AudioCodec.AAC,
    _fourcc(b".mp3"): AudioCodec.MP3,
}
_COMPOSED_CODECS: Final = (VideoCodec.AVC, VideoCodec.HEVC, VideoCodec.VVC)
"""Codecs whose Enhanced RTMP CodedFrames begin with a composition time."""

_LAYERED_IDS: Final = frozenset({7, 12})
"""Legacy codec ids whose payload has a packet type and a composition time: AVC, and the HEVC that
Chinese encoders put in the same layout."""

_KINDS: Final = (TagKind.CONFIG, TagKind.FRAME, TagKind.END)
_NOTHING: Final = memoryview(b"")
_OTHER_VIDEO: Final = VideoTag(TagKind.OTHER, 0, False, 0, _NOTHING)
_OTHER_AUDIO: Final = AudioTag(TagKind.OTHER, 0, _NOTHING)

_AVC_INTER: Final = 0x27
_AVC_KEY: Final = 0x17
_AAC: Final = 0xAF
_COMMAND_FRAME: Final = 5
_MOD_EX: Final = 7


def parse_video(payload: bytes) -> VideoTag:
    """Read the header of a video message.

    Raises:
        FlvError: The payload ends inside its header.
    """
    if not payload:
        return _OTHER_VIDEO
    first = payload[0]
    if first & 0x80:
        return _parse_enhanced_video(payload)
    frame_type = first >> 4
    codec = first & 0x0F
    if frame_type == _COMMAND_FRAME:
        return _OTHER_VIDEO
    keyframe = frame_type == 1 or frame_type == 4
    if codec not in _LAYERED_IDS:
        body = memoryview(payload)[1:]
        kind = TagKind.FRAME if body else TagKind.OTHER
        return VideoTag(kind, _VIDEO_BY_ID.get(codec, codec), keyframe, 0, body)
    if len(payload) < 5:
        raise FlvError("a video tag ends inside its header", "FLV 10.1 section E.4.3.1")
    packet_type = payload[1]
    if packet_type > 2 or (len(payload) == 5 and packet_type != 2):
        return VideoTag(TagKind.OTHER, _VIDEO_BY_ID[codec], keyframe, 0, _NOTHING)
    return VideoTag(
        _KINDS[packet_type],
        _VIDEO_BY_ID[codec],
        keyframe,
        _signed24(payload, 2),
        memoryview(payload)[5:],
    )


def parse_audio(payload: bytes) -> AudioTag:
    """Read the header of an audio message.

    Empty messages (silence, in Enhanced RTMP) and one-byte AAC tags occur in the wild: OTHER.

    Raises:
        FlvError: The payload ends inside its header.
    """
    if len(payload) < 2:
        return _OTHER_AUDIO
    codec = payload[0] >> 4
    if codec == AudioCodec.AAC:
        packet_type = payload[1]
        if packet_type > 1 or len(payload) == 2:
            return AudioTag(TagKind.OTHER, AudioCodec.AAC, _NOTHING)
        return AudioTag(_KINDS[packet_type], AudioCodec.AAC, memoryview(payload)[2:])
    if codec == 9:
        return _parse_enhanced_audio(payload)
    return AudioTag(TagKind.FRAME, _AUDIO_BY_ID.get(codec, codec), memoryview(payload)[1:])


def _parse_enhanced_video(payload: bytes) -> VideoTag:
    keyframe = payload[0] >> 4 & 7 == 1
    packet_type, position = _skip_modifiers(payload)
    # A command frame has no FOURCC; metadata, multitrack and the MPEG-2 TS forms are not for us
    # (the frame type means nothing in metadata: ffmpeg 9 sends colour info as frame type 5).
    if payload[0] >> 4 & 7 == _COMMAND_FRAME or packet_type > 3:
        return _OTHER_VIDEO
    number = _read_fourcc(payload, position)
    codec = _VIDEO_BY_FOURCC.get(number, number)
    position += 4
    composition_time_ms = 0
    if packet_type == 1 and codec in _COMPOSED_CODECS:
        if len(payload) < position + 3:
            raise FlvError("a video tag ends inside its header", "Enhanced RTMP v2")
        composition_time_ms = _signed24(payload, position)
        position += 3
    body = memoryview(payload)[position:]
    kind = TagKind.FRAME if packet_type == 3 else _KINDS[packet_type]
    if not body and kind is not TagKind.END:
        kind = TagKind.OTHER
    return VideoTag(kind, codec, keyframe, composition_time_ms, body)


def _parse_enhanced_audio(payload: bytes) -> AudioTag:
    packet_type, position = _skip_modifiers(payload)
    if packet_type > 2:  # multichannel layout, multitrack: nothing to decode here
        return _OTHER_AUDIO
    number = _read_fourcc(payload, position)
    body = memoryview(payload)[position + 4 :]
    kind = _KINDS[packet_type]
    if not body and kind is not TagKind.END:
        kind = TagKind.OTHER
    return AudioTag(kind, _AUDIO_BY_FOURCC.get(number, number), body)


def _skip_modifiers(payload: bytes) -> tuple[int, int]:
    """Return the real packet type and where its FOURCC begins, after any ModEx blocks.

    Each round moves forward at least three bytes, so the payload's length bounds the loop.
    """
    packet_type = payload[0] & 0x0F
    position = 1
    while packet_type == _MOD_EX:
        size = int.from_bytes(payload[position : position + 1], "big") + 1
        position += 1
        if size == 256:
            size = int.from_bytes(payload[position : position + 2], "big") + 1
            position += 2
        position += size
        if position >= len(payload):
            raise FlvError("a media tag ends inside its ModEx data", "Enhanced RTMP v2")
        packet_type = payload[position] & 0x0F
        position += 1
    return packet_type, position


def _read_fourcc(payload: bytes, position: int) -> int:
    if len(payload) < position + 4:
        raise FlvError("a media tag ends inside its FOURCC", "Enhanced RTMP v2")
    return int.from_bytes(payload[position : position + 4], "big")


def _signed24(data: bytes, position: int) -> int:
    value = data[position] << 16 | data[position + 1] << 8 | data[position + 2]
    return value - 0x1000000 if value & 0x800000 else value


def avc_config(record: bytes) -> bytes:
    """Build the video message that announces an AVCDecoderConfigurationRecord."""
    return b"\x17\x00\x00\x00\x00" + record


def avc_frame(*, keyframe: bool, composition_time_ms: int, data: bytes) -> bytes:
    """Build the video message of one access unit, its NAL units length-prefixed.

    Raises:
        LocalProtocolError: The composition time does not fit 24 signed bits.
    """
    if not -0x800000 <= composition_time_ms <= 0x7FFFFF:
        raise LocalProtocolError("the composition time does not fit 24 bits")
    first = _AVC_KEY if keyframe else _AVC_INTER
    offset = (composition_time_ms & 0xFFFFFF).to_bytes(3, "big")
    return b"".join((bytes((first, 1)), offset, data))


def avc_end() -> bytes:
    """Build the video message that says that no more pictures come."""
    return b"\x17\x02\x00\x00\x00"


def aac_config(config: bytes) -> bytes:
    """Build the audio message that announces an AudioSpecificConfig."""
    return bytes((_AAC, 0)) + config


def aac_frame(data: bytes) -> bytes:
    """Build the audio message of one raw AAC frame."""
    return bytes((_AAC, 1)) + data
