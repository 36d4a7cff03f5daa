"""Every codec of Enhanced RTMP through the bridge: real media where an encoder is here."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import rtmp_publishers as wire
from audio_records import Ac3Fields, mp3_frame, opus_head
from enhanced_media import (
    AudioTrack,
    EnhancedMedia,
    Track,
    VideoTrack,
    load_enhanced,
    make_enhanced_clip,
    repacked,
)
from video_records import vp9_keyframe, vp9_record

from hls import MediaError, MediaEvent, Part, Sample, TrackKind
from hls.segmenter import Segmenter
from origin.bridge import (
    MAX_OTHER_TRACKS,
    MAX_UNCONFIGURED_FRAMES,
    Bridge,
    MediaMessage,
    OtherPicture,
    Output,
    Tracks,
)
from rtmpcore import AudioMessage, VideoMessage
from rtmpcore.flv import TagKind, VideoCodec, VideoTag, enhanced_video

OPUS = AudioTrack(encoder="libopus")
COMBINATIONS: list[tuple[list[Track], list[str]]] = [
    ([VideoTrack(encoder="libx265", b_frames=2), AudioTrack(encoder="ac3")], ["hvc1.", "ac-3"]),
    ([VideoTrack(encoder="libsvtav1"), OPUS], ["av01.", "Opus"]),
    ([VideoTrack(encoder="libvpx-vp9"), AudioTrack(encoder="eac3")], ["vp09.", "ec-3"]),
    ([VideoTrack(b_frames=2), AudioTrack(encoder="flac")], ["avc1.", "fLaC"]),
    ([OPUS], ["Opus"]),
]


def messages(media: EnhancedMedia) -> list[MediaMessage]:
    headers = [(kind, 0, body) for kind, body in media.header_tags]
    return [message(kind, at, body) for kind, at, body in [*headers, *media.tags]]


def message(kind: str, timestamp_ms: int, payload: bytes) -> MediaMessage:
    make = VideoMessage if kind == "video" else AudioMessage
    return make(stream_id=1, timestamp_ms=timestamp_ms, payload=payload)


def run(bridge: Bridge, sent: Sequence[MediaMessage]) -> list[Output]:
    return [output for one in sent for output in bridge.push(one)]


def packaged(outputs: Sequence[Output]) -> list[MediaEvent]:
    events: list[MediaEvent] = []
    segmenter: Segmenter | None = None
    for output in outputs:
        if isinstance(output, Tracks):
            assert segmenter is None, "the tracks do not change"
            segmenter = Segmenter(video=output.video, audio=output.audio)
        elif isinstance(output, Sample):
            assert segmenter is not None
            events += segmenter.push(output)
    assert segmenter is not None
    return events + segmenter.flush()


@pytest.mark.parametrize("form", ["as FFmpeg sends it", "Enhanced RTMP throughout", "ModEx"])
@pytest.mark.parametrize(
    ("tracks", "codecs"), COMBINATIONS, ids=[" and ".join(codecs) for _, codecs in COMBINATIONS]
)
def test_every_codec_is_packaged(
    tracks: list[Track], codecs: list[str], form: str, tmp_path: Path
) -> None:
    media = load_enhanced(make_enhanced_clip(tmp_path / "clip.flv", tracks, duration_s=4.0))
    if form != "as FFmpeg sends it":
        media = repacked(media, offset_ns=999_999 if form == "ModEx" else 0)
    bridge = Bridge()
    outputs = run(bridge, messages(media))
    outputs += bridge.finish()
    (described,) = [one for one in outputs if isinstance(one, Tracks)]
    present = [track.codec_string for track in (described.video, described.audio) if track]
    for text, codec in zip(present, codecs, strict=True):
        assert text.startswith(codec)
    pictures = [one for one in outputs if isinstance(one, Sample) and one.kind is TrackKind.VIDEO]
    assert len(pictures) == (100 if described.video else 0)
    parts = [event for event in packaged(outputs) if isinstance(event, Part)]
    assert sum(part.duration_s for part in parts) == pytest.approx(4.0, abs=0.1)
    assert not any(part.discontinuity for part in parts)


def sounds(head: bytes, frames: Sequence[bytes]) -> list[MediaMessage]:
    return [message("audio", 24 * at, head + frame) for at, frame in enumerate(frames)]


def test_mp3_needs_no_header() -> None:
    outputs = run(Bridge(), sounds(b"\x2f", [mp3_frame()] * 100))
    assert isinstance(outputs[0], Tracks)
    assert outputs[0].audio is not None
    assert outputs[0].audio.codec_string == "mp4a.6B"
    assert len(outputs) == 101


def test_garbage_between_frames_that_configure_themselves_is_left_out() -> None:
    good = Ac3Fields().frame()
    outputs = run(Bridge(), sounds(b"\x91ac-3", [b"garbage", *[good] * 60, b"\0" * 9, good]))
    assert sum(isinstance(one, Tracks) for one in outputs) == 1
    assert [bytes(one.data) for one in outputs if isinstance(one, Sample)] == [good] * 61


def test_nothing_but_garbage_is_refused() -> None:
    bridge = Bridge()
    garbage = sounds(b"\x91ac-3", [b"garbage"] * MAX_UNCONFIGURED_FRAMES)
    assert run(bridge, garbage) == []
    with pytest.raises(MediaError, match="came without a header"):
        run(bridge, garbage[:1])


def vp9(kind: TagKind, body: bytes) -> bytes:
    return enhanced_video(VideoTag(kind, VideoCodec.VP9, False, 0, memoryview(body)))


def test_vp9_has_the_size_of_its_keyframes() -> None:
    sizes = [(640, 360), (640, 360), (1280, 720)]
    sent = [message("video", 0, vp9(TagKind.CONFIG, vp9_record()))]
    sent.append(message("video", 0, vp9(TagKind.FRAME, b"\x86")))  # no keyframe: it has no size
    for at, (width, height) in enumerate(sizes):
        frame = vp9_keyframe(width=width, height=height)
        sent.append(message("video", 1_000 + 1_000 * at, vp9(TagKind.FRAME, frame)))
    tracks = [one for one in run(Bridge(), sent) if isinstance(one, Tracks)]
    assert [(one.video.width, one.video.height) for one in tracks if one.video] == [
        (640, 360),
        (1280, 720),
    ]


def test_a_codec_may_change_on_the_way() -> None:
    head = message("audio", 0, b"\xaf\x00\x11\x90")
    aac = [message("audio", 21 * at, b"\xaf\x01sound") for at in range(60)]
    other = message("audio", 1_300, b"\x90Opus" + opus_head())
    opus = [message("audio", 1_300 + 20 * at, b"\x91Opus\x98sound") for at in range(5)]
    outputs = run(Bridge(), [head, *aac, other, *opus])
    tracks = [one.audio for one in outputs if isinstance(one, Tracks)]
    assert [one.codec_string for one in tracks if one] == ["mp4a.40.2", "Opus"]
    assert sum(isinstance(one, Sample) for one in outputs) == 65


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> EnhancedMedia:
    tracks: list[Track] = [VideoTrack(height=180), VideoTrack(height=90), AudioTrack()]
    path = tmp_path_factory.mktemp("clip") / "ladder.flv"
    return load_enhanced(make_enhanced_clip(path, tracks, duration_s=2.0))


@pytest.mark.parametrize("in_one_message", [False, True])
def test_other_video_tracks_come_beside_the_default_one(
    ladder: EnhancedMedia, in_one_message: bool
) -> None:
    outputs = run(Bridge(), messages(repacked(ladder, in_one_message=in_one_message)))
    pictures = [one for one in outputs if isinstance(one, OtherPicture)]
    assert {(one.track_id, one.config.height) for one in pictures} == {(1, 90)}
    assert len(pictures) == 50
    (tracks,) = [one for one in outputs if isinstance(one, Tracks)]
    assert tracks.has_others
    assert tracks.video is not None
    assert tracks.video.height == 180


def other(track: int, kind: TagKind, body: bytes) -> MediaMessage:
    tag = VideoTag(kind, VideoCodec.VP9, False, 0, memoryview(body), track)
    return message("video", 0, enhanced_video(tag))


def test_more_tracks_than_can_be_are_left_out() -> None:
    bridge = Bridge()
    ids = range(1, MAX_OTHER_TRACKS + 3)
    assert run(bridge, [other(track, TagKind.CONFIG, vp9_record()) for track in ids]) == []
    outputs = run(bridge, [other(track, TagKind.FRAME, vp9_keyframe()) for track in ids])
    given = [one.track_id for one in outputs if isinstance(one, OtherPicture)]
    assert given == list(ids)[:MAX_OTHER_TRACKS]


@pytest.mark.parametrize("kind", [TagKind.CONFIG, TagKind.FRAME, TagKind.METADATA])
def test_what_is_wrong_with_another_track_costs_nothing_else(kind: TagKind) -> None:
    bridge = Bridge()
    configured = other(1, TagKind.CONFIG, vp9_record())
    assert run(bridge, [configured, other(1, kind, b"\x01"), other(1, kind, b"\x82")]) == []
    again = run(bridge, [configured, other(1, TagKind.FRAME, vp9_keyframe())])
    assert [type(one) for one in again] == [OtherPicture]


def colour(**config: float) -> bytes:
    """The body of a metadata packet, FOURCC and all."""
    return b"\x84vp09" + wire.amf("colorInfo", {"colorConfig": config})


HDR = {"colorPrimaries": 9.0, "transferCharacteristics": 16.0, "matrixCoefficients": 9.0}


def colours(*told: bytes) -> list[str]:
    """VIDEO-RANGE of each configuration that comes out."""
    sent = [message("video", 0, vp9(TagKind.CONFIG, vp9_record()))]
    frame = vp9(TagKind.FRAME, vp9_keyframe())
    for at, body in enumerate(told):
        sent += [message("video", 2_000 * at, body), message("video", 2_000 * at, frame)]
    sent.append(message("video", 2_000 * len(told), frame))
    tracks = [one.video for one in run(Bridge(), sent) if isinstance(one, Tracks)]
    return [one.colour.video_range if one.colour else "" for one in tracks if one]


def test_colours_that_the_publisher_tells_are_kept() -> None:
    assert colours(colour(**HDR)) == ["PQ"]


def test_colours_that_say_nothing_take_nothing_back() -> None:
    """FFmpeg sends those of other tracks as if they were the default one's."""
    assert colours(colour(**HDR), colour(), b"\x84vp09\x05") == ["PQ"]
    assert colours(colour(**HDR), b"\x84hvc1" + colour(transferCharacteristics=18.0)[5:]) == ["PQ"]
