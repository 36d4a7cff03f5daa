"""ModEx and multitrack messages of Enhanced RTMP: byte tables, cuts at each byte, bounds."""

import pytest

from rtmpcore.errors import FlvError
from rtmpcore.flv import AudioCodec, AudioTag, TagKind, VideoCodec, VideoTag, audio_tags, video_tags
from rtmpcore.flv_enhanced import MAX_MODIFIERS, MAX_TRACKS

AVC1, HVC1, AV01 = b"avc1".hex(), b"hvc1".hex(), b"av01".hex()
MP4A, OPUS = b"mp4a".hex(), b"Opus".hex()

CONFIG, FRAME, END = TagKind.CONFIG, TagKind.FRAME, TagKind.END
AVC, HEVC, AV1 = VideoCodec.AVC, VideoCodec.HEVC, VideoCodec.AV1
AAC = AudioCodec.AAC


def video(kind: TagKind, codec: VideoCodec, body: str, track: int, **more: int) -> VideoTag:
    """A tag of a key frame message."""
    return VideoTag(
        kind,
        codec,
        keyframe=bool(more.get("keyframe", True)),
        composition_time_ms=more.get("time", 0),
        body=memoryview(bytes.fromhex(body)),
        track_id=track,
        offset_ns=more.get("nanoseconds", 0),
    )


def audio(
    kind: TagKind, codec: AudioCodec, body: str, track: int, nanoseconds: int = 0
) -> AudioTag:
    return AudioTag(kind, codec, memoryview(bytes.fromhex(body)), track, nanoseconds)


OTHER_VIDEO = VideoTag(TagKind.OTHER, 0, False, 0, memoryview(b""))
OTHER_AUDIO = AudioTag(TagKind.OTHER, 0, memoryview(b""))

# What each message says. Those of ffmpeg 9 and OBS 30 are as they were captured, bodies shortened.
VIDEO: dict[str, tuple[str, list[VideoTag]]] = {
    "one track, config (ffmpeg 9, OBS 30)": (
        f"96 00 {AVC1} 01 0142",
        [video(CONFIG, AVC, "0142", 1)],
    ),
    "one track, frame (ffmpeg 9, OBS 30)": (
        f"a6 01 {AVC1} 02 000021 aabb",
        [video(FRAME, AVC, "aabb", 2, time=33, keyframe=False)],
    ),
    "one track, frame without time (OBS 30)": (
        f"96 03 {HVC1} 01 aabb",
        [video(FRAME, HEVC, "aabb", 1)],
    ),
    "one track, end": (f"96 02 {AV01} 03", [video(END, AV1, "", 3)]),
    "one track, metadata as a command frame": (
        f"d6 04 {HVC1} 01 aa",
        [video(TagKind.METADATA, HEVC, "aa", 1, keyframe=False)],
    ),
    "one track, the last id": (f"96 01 {AV01} ff aa", [video(FRAME, AV1, "aa", 255)]),
    "many tracks, frames with times of their own": (
        f"96 11 {AVC1} 00 000004 000021 aa 01 000005 ffffdf bbcc",
        [video(FRAME, AVC, "aa", 0, time=33), video(FRAME, AVC, "bbcc", 1, time=-33)],
    ),
    "many tracks, one of them": (
        f"96 10 {AV01} 07 000002 aabb",
        [video(CONFIG, AV1, "aabb", 7)],
    ),
    "many tracks, ends": (
        f"96 12 {AVC1} 00 000000 01 000000",
        [video(END, AVC, "", 0), video(END, AVC, "", 1)],
    ),
    "many tracks, one has nothing": (
        f"96 11 {AVC1} 00 000000 01 000004 000000 aa",
        [video(TagKind.OTHER, AVC, "", 0), video(FRAME, AVC, "aa", 1)],
    ),
    "many codecs": (
        f"96 21 {AVC1} 00 000004 000021 aa {AV01} 01 000001 bb",
        [video(FRAME, AVC, "aa", 0, time=33), video(FRAME, AV1, "bb", 1)],
    ),
    "nanoseconds": (
        f"97 02 0f423f 01 {AV01} aa",
        [video(FRAME, AV1, "aa", 0, nanoseconds=999_999)],
    ),
    "nanoseconds for all tracks": (
        f"97 02 000102 06 11 {AV01} 00 000001 aa 01 000001 bb",
        [
            video(FRAME, AV1, "aa", 0, nanoseconds=0x102),
            video(FRAME, AV1, "bb", 1, nanoseconds=0x102),
        ],
    ),
    "nanoseconds in longer data": (
        f"97 04 000102 ffff 01 {AV01} aa",
        [video(FRAME, AV1, "aa", 0, nanoseconds=0x102)],
    ),
    "nanoseconds beyond a millisecond": (
        f"97 02 0f4240 01 {AV01} aa",
        [video(FRAME, AV1, "aa", 0)],
    ),
    "nanoseconds too short": (f"97 01 0001 01 {AV01} aa", [video(FRAME, AV1, "aa", 0)]),
    "an unknown modifier, then nanoseconds": (
        f"97 00 ff 17 02 000001 03 {AVC1} aa",
        [video(FRAME, AVC, "aa", 0, nanoseconds=1)],
    ),
    "a modifier of 257 bytes": (
        f"97 ff 0100 {'ee' * 257} 10 {AVC1} aa",
        [video(CONFIG, AVC, "aa", 0)],
    ),
    "most modifiers": (
        "97" + "00 ff 17" * (MAX_MODIFIERS - 1) + f"00 ff 10 {AVC1} aa",
        [video(CONFIG, AVC, "aa", 0)],
    ),
    "modified command frame": ("d7 02 000001 01 00", [OTHER_VIDEO]),
    "reserved multitrack type": (f"96 30 {AVC1} 01 aa", [OTHER_VIDEO]),
    "multitrack in multitrack": (f"96 06 {AVC1} 01 aa", [OTHER_VIDEO]),
    "modifier in multitrack": (f"96 07 {AVC1} 01 aa", [OTHER_VIDEO]),
}

AUDIO: dict[str, tuple[str, list[AudioTag]]] = {
    "one track, config (ffmpeg 9)": (f"95 00 {MP4A} 01 1190", [audio(CONFIG, AAC, "1190", 1)]),
    "one track, frame (ffmpeg 9)": (f"95 01 {MP4A} 01 aabb", [audio(FRAME, AAC, "aabb", 1)]),
    "many tracks": (
        f"95 11 {OPUS} 00 000001 aa 01 000002 bbcc",
        [audio(FRAME, AudioCodec.OPUS, "aa", 0), audio(FRAME, AudioCodec.OPUS, "bbcc", 1)],
    ),
    "many codecs": (
        f"95 20 {MP4A} 00 000002 1190 {OPUS} 01 000001 bb",
        [audio(CONFIG, AAC, "1190", 0), audio(CONFIG, AudioCodec.OPUS, "bb", 1)],
    ),
    "one track, silence": (f"95 01 {OPUS} 02", [audio(TagKind.OTHER, AudioCodec.OPUS, "", 2)]),
    "one track, end": (f"95 02 {OPUS} 02", [audio(END, AudioCodec.OPUS, "", 2)]),
    "nanoseconds": (
        f"97 02 000102 05 01 {MP4A} 01 aa",
        [audio(FRAME, AAC, "aa", 1, nanoseconds=0x102)],
    ),
    "layout of channels in multitrack": (f"95 04 {OPUS} 01 0102", [OTHER_AUDIO]),
    "reserved multitrack type": (f"95 f1 {OPUS} 01 aa", [OTHER_AUDIO]),
}

# Where each of these is cut, the message is not whole: anywhere before what follows the bar.
CUT_VIDEO = [
    f"96 01 {AV01} 00 | aa",
    f"96 11 {AVC1} 00 000004 000021 aa | ",
    f"96 21 {AVC1} 00 000004 000021 aa | {AV01} 01 000001 bb",
    f"97 02 000102 01 {AV01} | aa",
    f"97 ff 0100 {'ee' * 257} 10 {AVC1} | aa",
]
CUT_AUDIO = [
    f"95 01 {OPUS} 00 | aa",
    f"95 21 {OPUS} 00 000001 aa | ",
    f"97 00 ff 11 {OPUS} | aa",
]


@pytest.mark.parametrize(("payload", "tags"), VIDEO.values(), ids=VIDEO.keys())
def test_video(payload: str, tags: list[VideoTag]) -> None:
    assert list(video_tags(bytes.fromhex(payload))) == tags


@pytest.mark.parametrize(("payload", "tags"), AUDIO.values(), ids=AUDIO.keys())
def test_audio(payload: str, tags: list[AudioTag]) -> None:
    assert list(audio_tags(bytes.fromhex(payload))) == tags


@pytest.mark.parametrize("payload", CUT_VIDEO)
def test_cut_video(payload: str) -> None:
    needed, rest = (bytes.fromhex(part) for part in payload.split("|"))
    video_tags(needed + rest)
    for size in range(1, len(needed)):
        with pytest.raises(FlvError, match="ends inside"):
            video_tags(needed[:size])


@pytest.mark.parametrize("payload", CUT_AUDIO)
def test_cut_audio(payload: str) -> None:
    needed, rest = (bytes.fromhex(part) for part in payload.split("|"))
    audio_tags(needed + rest)
    for size in range(1, len(needed)):
        with pytest.raises(FlvError, match="ends inside"):
            audio_tags(needed[:size])


def test_too_many_modifiers() -> None:
    payload = bytes.fromhex("97" + "00 ff 17" * MAX_MODIFIERS + f"00 ff 10 {AVC1} aa")
    with pytest.raises(FlvError, match="too many ModEx"):
        video_tags(payload)


def test_as_many_tracks_as_there_are_ids() -> None:
    head = bytes.fromhex(f"95 11 {OPUS}")
    tracks = b"".join(bytes((number,)) + bytes.fromhex("000001 aa") for number in range(MAX_TRACKS))
    assert [tag.track_id for tag in audio_tags(head + tracks)] == list(range(256))
    with pytest.raises(FlvError, match="too many tracks"):
        audio_tags(head + tracks + bytes.fromhex("00 000001 aa"))
