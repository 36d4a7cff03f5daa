"""What an FLV audio or video tag says: the values that `flv` reads and `flv_build` writes.

Codecs are numbers: FLV's own id where it has one, else the FOURCC. Enhanced RTMP's FOURCCs of
codecs that FLV knows too (avc1, hvc1, av01, mp4a, .mp3) are the same member as FLV's id, so the
receiver need not care which of the two headers a publisher wrote.

May import: nothing of ours. Spec: FLV 10.1 annex E.4, Enhanced RTMP v2.
"""

import enum
from typing import Final, NamedTuple


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
    #: About the pictures that follow: AMF0 for `flv_colour`; the body is never empty.
    METADATA = "metadata"
    #: Nothing to decode (command frames, empty tags, channel layouts, unknown types): ignore it.
    OTHER = "other"


NOTHING: Final = memoryview(b"")


class VideoTag(NamedTuple):
    """What a video message says of one track."""

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
    track_id: int = 0
    """0..255; 0 is the default track, and the only one of a message that is not multitrack."""
    offset_ns: int = 0
    """Nanoseconds to add to the presentation time, 0..999_999 (ModEx)."""


class AudioTag(NamedTuple):
    """What an audio message says of one track."""

    kind: TagKind
    """What it is to the receiver."""
    codec: AudioCodec | int
    """The number as sent where it is none that we know."""
    body: memoryview
    """AudioSpecificConfig, a raw AAC frame, ...: what the codec needs."""
    track_id: int = 0
    """0..255; 0 is the default track, and the only one of a message that is not multitrack."""
    offset_ns: int = 0
    """Nanoseconds to add to the presentation time, 0..999_999 (ModEx)."""


OTHER_VIDEO: Final = VideoTag(TagKind.OTHER, 0, False, 0, NOTHING)
OTHER_AUDIO: Final = AudioTag(TagKind.OTHER, 0, NOTHING)

VIDEO_FOURCC: Final[dict[int, int]] = {
    VideoCodec.AVC: _fourcc(b"avc1"),
    VideoCodec.HEVC: _fourcc(b"hvc1"),
    VideoCodec.AV1: _fourcc(b"av01"),
    VideoCodec.VP8: VideoCodec.VP8,
    VideoCodec.VP9: VideoCodec.VP9,
    VideoCodec.VVC: VideoCodec.VVC,
}
"""Those that Enhanced RTMP can carry."""

AUDIO_FOURCC: Final[dict[int, int]] = {
    AudioCodec.AAC: _fourcc(b"mp4a"),
    AudioCodec.MP3: _fourcc(b".mp3"),
    AudioCodec.OPUS: AudioCodec.OPUS,
    AudioCodec.FLAC: AudioCodec.FLAC,
    AudioCodec.AC3: AudioCodec.AC3,
    AudioCodec.EAC3: AudioCodec.EAC3,
}
"""Those that Enhanced RTMP can carry."""

VIDEO_BY_NUMBER: Final = {int(codec): codec for codec in VideoCodec} | {
    fourcc: VideoCodec(codec) for codec, fourcc in VIDEO_FOURCC.items()
}
"""Ids and FOURCCs together: an id is one of 0..15, which no FOURCC is."""

AUDIO_BY_NUMBER: Final = {int(codec): codec for codec in AudioCodec} | {
    fourcc: AudioCodec(codec) for codec, fourcc in AUDIO_FOURCC.items()
}
"""Ids and FOURCCs together."""

COMPOSED_CODECS: Final = frozenset({VideoCodec.AVC, VideoCodec.HEVC, VideoCodec.VVC})
"""Codecs whose CodedFrames begin with a composition time."""

MAX_OFFSET_NS: Final = 999_999
"""Most that ModEx adds: a whole millisecond would be the timestamp's."""

PACKET_CONFIG: Final = 0
PACKET_FRAME: Final = 1
PACKET_END: Final = 2
PACKET_METADATA: Final = 4
"""Video alone; in audio it is the layout of the channels."""
PACKET_AUDIO_MULTITRACK: Final = 5
PACKET_VIDEO_MULTITRACK: Final = 6
PACKET_MOD_EX: Final = 7

ONE_TRACK: Final = 0
MANY_TRACKS: Final = 1
MANY_TRACKS_MANY_CODECS: Final = 2

MOD_EX_OFFSET_NS: Final = 0
"""The one ModEx that is defined: three bytes, nanoseconds."""

FRAME_TYPE_KEY: Final = 1
FRAME_TYPE_INTER: Final = 2
FRAME_TYPE_COMMAND: Final = 5
