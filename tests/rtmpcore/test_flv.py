"""FLV and Enhanced RTMP tag headers, one track a message: byte tables and any bytes at all.

Many tracks: `test_flv_multitrack`; colours: `test_flv_colour`; builders: `test_flv_build`.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmpcore.errors import FlvError
from rtmpcore.flv import (
    AudioCodec,
    AudioTag,
    TagKind,
    VideoCodec,
    VideoTag,
    audio_tags,
    parse_audio,
    parse_video,
    video_tags,
)

view = memoryview
CONFIG, FRAME, END, OTHER = TagKind.CONFIG, TagKind.FRAME, TagKind.END, TagKind.OTHER
METADATA = TagKind.METADATA
AVC, HEVC = VideoCodec.AVC, VideoCodec.HEVC

# name: (payload, kind, codec, keyframe, composition time, body)
VIDEO: dict[str, tuple[str, TagKind, int, bool, int, str]] = {
    "avc config": ("17 00 000000 01ff", CONFIG, AVC, True, 0, "01ff"),
    "avc key frame": ("17 01 000050 aa", FRAME, AVC, True, 80, "aa"),
    "avc inter frame": ("27 01 000000 aa", FRAME, AVC, False, 0, "aa"),
    "disposable inter frame": ("37 01 000000 aa", FRAME, AVC, False, 0, "aa"),
    "generated key frame": ("47 01 000000 aa", FRAME, AVC, True, 0, "aa"),
    "negative composition time": ("27 01 ffffd8 aa", FRAME, AVC, False, -40, "aa"),
    "largest composition time": ("27 01 7fffff aa", FRAME, AVC, False, 0x7FFFFF, "aa"),
    "smallest composition time": ("27 01 800000 aa", FRAME, AVC, False, -0x800000, "aa"),
    "avc end": ("17 02 000000", END, AVC, True, 0, ""),
    "avc end with a body": ("17 02 000000 aa", END, AVC, True, 0, "aa"),
    "empty access unit (DJI)": ("27 01 000000", OTHER, AVC, False, 0, ""),
    "empty config": ("17 00 000000", OTHER, AVC, True, 0, ""),
    "unknown avc packet type": ("17 03 000000 aa", OTHER, AVC, True, 0, ""),
    "legacy hevc (OBS before 29.1, Chinese encoders)": (
        "1c 00 000000 aa",
        CONFIG,
        HEVC,
        True,
        0,
        "aa",
    ),
    "command frame": ("57 00", OTHER, 0, False, 0, ""),
    "empty message": ("", OTHER, 0, False, 0, ""),
    "vp6": ("14 aabb", FRAME, VideoCodec.VP6, True, 0, "aabb"),
    "vp6, empty": ("24", OTHER, VideoCodec.VP6, False, 0, ""),
    "unknown codec id": ("1f aa", FRAME, 15, True, 0, "aa"),
    "ex avc1 config": ("90 61766331 aa", CONFIG, AVC, True, 0, "aa"),
    "ex avc1 frame": ("91 61766331 000050 aa", FRAME, AVC, True, 80, "aa"),
    "ex avc1 frame without time": ("a3 61766331 aa", FRAME, AVC, False, 0, "aa"),
    "ex avc1 end": ("92 61766331", END, AVC, True, 0, ""),
    "ex avc1 frame, empty": ("91 61766331 000050", OTHER, AVC, True, 80, ""),
    "ex avc1 frame, without a time either": ("91 61766331", OTHER, AVC, True, 0, ""),
    "ex hvc1 frame": ("91 68766331 ffffd8 aa", FRAME, HEVC, True, -40, "aa"),
    "ex vvc1 frame": ("91 76766331 000001 aa", FRAME, VideoCodec.VVC, True, 1, "aa"),
    "ex av01 frame has no composition time": (
        "91 61763031 aabb",
        FRAME,
        VideoCodec.AV1,
        True,
        0,
        "aabb",
    ),
    "ex av01 config (XSplit)": ("90 61763031 81", CONFIG, VideoCodec.AV1, True, 0, "81"),
    "ex vp09": ("91 76703039 aa", FRAME, VideoCodec.VP9, True, 0, "aa"),
    "ex unknown fourcc": ("91 7a7a7a7a aa", FRAME, 0x7A7A7A7A, True, 0, "aa"),
    "ex metadata as frame type 5 (ffmpeg 9)": ("d4 68766331 aa", METADATA, HEVC, False, 0, "aa"),
    "ex metadata": ("94 61766331 aa", METADATA, AVC, False, 0, "aa"),
    "ex metadata without a frame type (OBS)": ("84 68766331 aa", METADATA, HEVC, False, 0, "aa"),
    "ex metadata, empty": ("94 61766331", OTHER, AVC, False, 0, ""),
    "ex mpeg-2 ts start": ("95 61766331 aa", OTHER, 0, False, 0, ""),
    "ex vp08": ("a1 76703038 aa", FRAME, VideoCodec.VP8, False, 0, "aa"),
    "ex hvc1 end": ("a2 68766331", END, HEVC, False, 0, ""),
    "ex fourcc that is an id": ("a1 00000007 000000 aa", FRAME, AVC, False, 0, "aa"),
    "ex one track, the default one": ("96 00 61766331 00 aa", CONFIG, AVC, True, 0, "aa"),
    "ex one track, another one": ("96 00 61766331 01 aa", OTHER, 0, False, 0, ""),
    "ex command": ("d1 00", OTHER, 0, False, 0, ""),
    "ex command without its command": ("d1", OTHER, 0, False, 0, ""),
    "ex reserved type": ("98", OTHER, 0, False, 0, ""),
}

AUDIO: dict[str, tuple[str, TagKind, int, str]] = {
    "aac config": ("af 00 1190", CONFIG, AudioCodec.AAC, "1190"),
    "aac frame": ("af 01 aa", FRAME, AudioCodec.AAC, "aa"),
    "aac, odd rate bits": ("a2 01 aa", FRAME, AudioCodec.AAC, "aa"),
    "aac, one byte": ("af", OTHER, 0, ""),
    "aac, empty config": ("af 00", OTHER, AudioCodec.AAC, ""),
    "aac, unknown packet type": ("af 02 aa", OTHER, AudioCodec.AAC, ""),
    "empty message": ("", OTHER, 0, ""),
    "mp3": ("2f aabb", FRAME, AudioCodec.MP3, "aabb"),
    "a-law": ("70 aa", FRAME, AudioCodec.G711_A_LAW, "aa"),
    "unknown format": ("cf aa", FRAME, 12, "aa"),
    "ex opus config": ("90 4f707573 aa", CONFIG, AudioCodec.OPUS, "aa"),
    "ex opus frame": ("91 4f707573 aa", FRAME, AudioCodec.OPUS, "aa"),
    "ex opus end": ("92 4f707573", END, AudioCodec.OPUS, ""),
    "ex mp4a frame": ("91 6d703461 aa", FRAME, AudioCodec.AAC, "aa"),
    "ex .mp3 frame": ("91 2e6d7033 aa", FRAME, AudioCodec.MP3, "aa"),
    "ex unknown fourcc": ("91 7a7a7a7a aa", FRAME, 0x7A7A7A7A, "aa"),
    "ex empty frame": ("91 6d703461", OTHER, AudioCodec.AAC, ""),
    "ex channel layout (ffmpeg 9)": ("94 4f707573 0101 00000004", OTHER, 0, ""),
    "ex ac-3 frame": ("91 61632d33 0b77", FRAME, AudioCodec.AC3, "0b77"),
    "ex ec-3 frame": ("91 65632d33 0b77", FRAME, AudioCodec.EAC3, "0b77"),
    "ex flac config": ("90 664c6143 664c6143", CONFIG, AudioCodec.FLAC, "664c6143"),
    "ex one track, the default one": ("95 01 6d703461 00 aa", FRAME, AudioCodec.AAC, "aa"),
    "ex one track, another one": ("95 01 6d703461 01 aa", OTHER, 0, ""),
    "ex reserved type": ("93", OTHER, 0, ""),
}

CUT_VIDEO = ["17", "17 00 0000", "1c 01", "90", "91 617663", "91 61766331 0000", "93 61", "94"]
CUT_VIDEO += ["91 61766331 00", "96 01 61766331 00 0000"]
CUT_AUDIO = ["90", "91 6d", "92 6d7034"]


@pytest.mark.parametrize(
    ("payload", "kind", "codec", "keyframe", "time", "body"), VIDEO.values(), ids=VIDEO.keys()
)
def test_video(
    payload: str, kind: TagKind, codec: int, keyframe: bool, time: int, body: str
) -> None:
    tag = parse_video(bytes.fromhex(payload))
    assert tag == VideoTag(kind, codec, keyframe, time, view(bytes.fromhex(body)))


@pytest.mark.parametrize(("payload", "kind", "codec", "body"), AUDIO.values(), ids=AUDIO.keys())
def test_audio(payload: str, kind: TagKind, codec: int, body: str) -> None:
    assert parse_audio(bytes.fromhex(payload)) == AudioTag(kind, codec, view(bytes.fromhex(body)))


@pytest.mark.parametrize("payload", CUT_VIDEO)
def test_cut_video(payload: str) -> None:
    with pytest.raises(FlvError, match="ends inside"):
        parse_video(bytes.fromhex(payload))


@pytest.mark.parametrize("payload", CUT_AUDIO)
def test_cut_audio(payload: str) -> None:
    with pytest.raises(FlvError, match="ends inside"):
        parse_audio(bytes.fromhex(payload))


def test_known_codecs_are_enum_members() -> None:
    assert isinstance(parse_video(b"\x17\x01\0\0\0x").codec, VideoCodec)
    assert isinstance(parse_audio(b"\xaf\x01x").codec, AudioCodec)


def test_a_tag_without_multitrack_is_about_the_default_track_at_a_whole_millisecond() -> None:
    (video,) = video_tags(bytes.fromhex("27 01 000050 aa"))
    assert video == VideoTag(FRAME, AVC, False, 80, view(b"\xaa"), track_id=0, offset_ns=0)
    (audio,) = audio_tags(bytes.fromhex("af 01 aa"))
    assert audio == AudioTag(FRAME, AudioCodec.AAC, view(b"\xaa"), track_id=0, offset_ns=0)


@given(st.binary(max_size=40))
def test_any_bytes_give_a_tag_or_flv_error(payload: bytes) -> None:
    for read in (video_tags, audio_tags):
        try:
            tags = read(payload)
        except FlvError:
            continue
        assert len(tags) > 0
        for tag in tags:
            assert 0 <= tag.track_id <= 255
            assert 0 <= tag.offset_ns <= 999_999
            assert len(tag.body) > 0 or tag.kind in (END, OTHER)
