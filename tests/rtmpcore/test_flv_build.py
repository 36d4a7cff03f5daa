"""The builders of media messages: their bytes, what the readers make of them, their errors."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmpcore.errors import LocalProtocolError
from rtmpcore.flv import (
    AudioCodec,
    AudioTag,
    TagKind,
    VideoCodec,
    VideoTag,
    aac_config,
    aac_frame,
    audio_tags,
    avc_config,
    avc_end,
    avc_frame,
    enhanced_audio,
    enhanced_video,
    parse_audio,
    parse_video,
    video_tags,
)
from rtmpcore.flv_tags import COMPOSED_CODECS

view = memoryview
CONFIG, FRAME, END = TagKind.CONFIG, TagKind.FRAME, TagKind.END
AVC, HEVC, VP9 = VideoCodec.AVC, VideoCodec.HEVC, VideoCodec.VP9
AA, BB = view(b"\xaa"), view(b"\xbb")

VIDEO: dict[str, tuple[list[VideoTag], str]] = {
    "plain": (
        [VideoTag(FRAME, HEVC, True, -40, AA)],
        f"91 {b'hvc1'.hex()} ffffd8 aa",
    ),
    "plain, no composition time": (
        [VideoTag(FRAME, VP9, False, 0, AA)],
        f"a1 {b'vp09'.hex()} aa",
    ),
    "metadata": (
        [VideoTag(TagKind.METADATA, HEVC, False, 0, AA)],
        f"d4 {b'hvc1'.hex()} aa",
    ),
    "metadata of another track": (
        [VideoTag(TagKind.METADATA, HEVC, False, 0, AA, 1)],
        f"a6 04 {b'hvc1'.hex()} 01 aa",
    ),
    "nanoseconds": (
        [VideoTag(FRAME, VP9, True, 0, AA, 0, 0x102)],
        f"97 02 000102 01 {b'vp09'.hex()} aa",
    ),
    "one track": (
        [VideoTag(CONFIG, AVC, True, 0, AA, 3)],
        f"96 00 {b'avc1'.hex()} 03 aa",
    ),
    "many tracks": (
        [VideoTag(FRAME, AVC, True, 80, AA, 0), VideoTag(FRAME, AVC, True, 0, BB, 1)],
        f"96 11 {b'avc1'.hex()} 00 000004 000050 aa 01 000004 000000 bb",
    ),
    "many codecs, nanoseconds": (
        [VideoTag(END, AVC, True, 0, view(b""), 0, 1), VideoTag(END, VP9, True, 0, BB, 1, 1)],
        f"97 02 000001 06 22 {b'avc1'.hex()} 00 000000 {b'vp09'.hex()} 01 000001 bb",
    ),
}

AUDIO: dict[str, tuple[list[AudioTag], str]] = {
    "plain": ([AudioTag(FRAME, AudioCodec.AC3, AA)], f"91 {b'ac-3'.hex()} aa"),
    "one track": ([AudioTag(FRAME, AudioCodec.AAC, AA, 2)], f"95 01 {b'mp4a'.hex()} 02 aa"),
    "many codecs, nanoseconds": (
        [AudioTag(CONFIG, AudioCodec.OPUS, AA, 0, 5), AudioTag(CONFIG, AudioCodec.FLAC, BB, 1, 5)],
        f"97 02 000005 05 20 {b'Opus'.hex()} 00 000001 aa {b'fLaC'.hex()} 01 000001 bb",
    ),
}


@pytest.mark.parametrize(("tags", "payload"), VIDEO.values(), ids=VIDEO.keys())
def test_video(tags: Sequence[VideoTag], payload: str) -> None:
    assert enhanced_video(*tags) == bytes.fromhex(payload)


@pytest.mark.parametrize(("tags", "payload"), AUDIO.values(), ids=AUDIO.keys())
def test_audio(tags: Sequence[AudioTag], payload: str) -> None:
    assert enhanced_audio(*tags) == bytes.fromhex(payload)


@given(
    keyframe=st.booleans(),
    time=st.integers(-0x800000, 0x7FFFFF),
    data=st.binary(min_size=1, max_size=50),
)
def test_legacy_frames_are_read_back(keyframe: bool, time: int, data: bytes) -> None:
    video = avc_frame(keyframe=keyframe, composition_time_ms=time, data=data)
    assert parse_video(video) == VideoTag(FRAME, AVC, keyframe, time, view(data))
    assert parse_video(avc_config(data)) == VideoTag(CONFIG, AVC, True, 0, view(data))
    assert parse_audio(aac_frame(data)) == AudioTag(FRAME, AudioCodec.AAC, view(data))
    assert parse_audio(aac_config(data)) == AudioTag(CONFIG, AudioCodec.AAC, view(data))


def test_legacy_end() -> None:
    assert parse_video(avc_end()).kind is END


VIDEO_CODECS = [AVC, HEVC, VideoCodec.AV1, VideoCodec.VP8, VP9, VideoCodec.VVC]
AUDIO_CODECS = [
    AudioCodec.AAC,
    AudioCodec.MP3,
    AudioCodec.OPUS,
    AudioCodec.FLAC,
    AudioCodec.AC3,
    AudioCodec.EAC3,
]
KINDS = st.sampled_from([CONFIG, FRAME, END, TagKind.METADATA])
TRACK_IDS = st.lists(st.integers(0, 255), min_size=1, max_size=5, unique=True)
NANOSECONDS = st.just(0) | st.integers(0, 999_999)
BODIES = st.binary(min_size=1, max_size=20).map(lambda data: memoryview(data))


@st.composite
def video_messages(draw: st.DrawFn) -> list[VideoTag]:
    kind, nanoseconds = draw(KINDS), draw(NANOSECONDS)
    keyframe = kind is not TagKind.METADATA and draw(st.booleans())
    tags = []
    for track_id in draw(TRACK_IDS):
        codec = draw(st.sampled_from(VIDEO_CODECS))
        timed = kind is FRAME and codec in COMPOSED_CODECS
        time = draw(st.integers(-0x800000, 0x7FFFFF)) if timed else 0
        tags.append(VideoTag(kind, codec, keyframe, time, draw(BODIES), track_id, nanoseconds))
    return tags


@st.composite
def audio_messages(draw: st.DrawFn) -> list[AudioTag]:
    kind, nanoseconds = draw(KINDS.filter(lambda k: k is not TagKind.METADATA)), draw(NANOSECONDS)
    codecs = st.sampled_from(AUDIO_CODECS)
    return [
        AudioTag(kind, draw(codecs), draw(BODIES), track_id, nanoseconds)
        for track_id in draw(TRACK_IDS)
    ]


@given(video_messages())
def test_enhanced_video_is_read_back(tags: list[VideoTag]) -> None:
    payload = enhanced_video(*tags)
    assert list(video_tags(payload)) == tags
    assert all(isinstance(tag.codec, VideoCodec) for tag in video_tags(payload))


@given(audio_messages())
def test_enhanced_audio_is_read_back(tags: list[AudioTag]) -> None:
    payload = enhanced_audio(*tags)
    assert list(audio_tags(payload)) == tags
    assert all(isinstance(tag.codec, AudioCodec) for tag in audio_tags(payload))


FRAME_TAG = VideoTag(FRAME, AVC, True, 0, AA)
WRONG_VIDEO: dict[str, tuple[list[VideoTag], str]] = {
    "none": ([], "must agree"),
    "two kinds": ([FRAME_TAG, FRAME_TAG._replace(kind=CONFIG, track_id=1)], "must agree"),
    "two frame types": ([FRAME_TAG, FRAME_TAG._replace(keyframe=False, track_id=1)], "must agree"),
    "two offsets": ([FRAME_TAG, FRAME_TAG._replace(offset_ns=1, track_id=1)], "must agree"),
    "nothing to say": ([FRAME_TAG._replace(kind=TagKind.OTHER)], "no packet"),
    "no FOURCC": ([FRAME_TAG._replace(codec=VideoCodec.VP6)], "no FOURCC"),
    "track id": ([FRAME_TAG._replace(track_id=256)], "256 does not fit 1 bytes"),
    "a millisecond": ([FRAME_TAG._replace(offset_ns=1_000_000)], "a millisecond or more"),
    "a negative offset": ([FRAME_TAG._replace(offset_ns=-1)], "-1 does not fit 3 bytes"),
    "composition time": ([FRAME_TAG._replace(composition_time_ms=0x800000)], "24 bits"),
}
AUDIO_TAG = AudioTag(FRAME, AudioCodec.OPUS, AA)
WRONG_AUDIO: dict[str, tuple[list[AudioTag], str]] = {
    "none": ([], "must agree"),
    "two kinds": ([AUDIO_TAG, AUDIO_TAG._replace(kind=END, track_id=1)], "must agree"),
    "metadata": ([AUDIO_TAG._replace(kind=TagKind.METADATA)], "no packet"),
    "no FOURCC": ([AUDIO_TAG._replace(codec=AudioCodec.SPEEX)], "no FOURCC for codec 11"),
}


@pytest.mark.parametrize(("tags", "reason"), WRONG_VIDEO.values(), ids=WRONG_VIDEO.keys())
def test_video_that_cannot_be_said(tags: list[VideoTag], reason: str) -> None:
    with pytest.raises(LocalProtocolError, match=reason):
        enhanced_video(*tags)


@pytest.mark.parametrize(("tags", "reason"), WRONG_AUDIO.values(), ids=WRONG_AUDIO.keys())
def test_audio_that_cannot_be_said(tags: list[AudioTag], reason: str) -> None:
    with pytest.raises(LocalProtocolError, match=reason):
        enhanced_audio(*tags)


@pytest.mark.parametrize("time", [-0x800001, 0x800000])
def test_composition_time_beyond_24_bits(time: int) -> None:
    with pytest.raises(LocalProtocolError, match="24 bits"):
        avc_frame(keyframe=True, composition_time_ms=time, data=b"")
