"""Real encoders in, real demuxers and decoders out: PyAV and ffprobe judge the bytes."""

import io
import itertools
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.logging import Capture
from media_clips import Clip, ClipSpec, make_clip
from media_rules import AUDIO, VIDEO, Verdict, judge

from hls import AacConfig, AvcConfig, MediaEvent, Sample, Segmenter, TrackKind

pytestmark = pytest.mark.slow

ONE_GOP = ClipSpec(name="one-gop", keyint_s=20, duration_s=5)
SPECS = [
    ClipSpec(name="plain", duration_s=5),
    ClipSpec(name="b-frames", b_frames=2, duration_s=5),
    ClipSpec(name="b-frames-2997", fps=Fraction(30000, 1001), b_frames=3, duration_s=5),
    ClipSpec(name="film", fps=Fraction(24), channels=1, sample_rate=44_100, duration_s=5),
    ClipSpec(name="fast", fps=Fraction(60), b_frames=1, duration_s=5, keyint_s=1),
    ClipSpec(name="slow", fps=Fraction(1), duration_s=8),
    ClipSpec(name="video-only", channels=0, b_frames=2, duration_s=5),
    ClipSpec(name="audio-only", fps=None, duration_s=5),
    ClipSpec(name="audio-only-mono", fps=None, channels=1, sample_rate=22_050, duration_s=5),
    ONE_GOP,
]


@dataclass(frozen=True)
class Sent:
    """What a publisher would send over RTMP: stamps in whole milliseconds, in dts order."""

    video: AvcConfig | None
    audio: AacConfig | None
    samples: list[Sample]


def sent(clip: Clip) -> Sent:
    video = audio = None
    samples = []
    with av.open(clip.path) as container:
        for stream in container.streams:
            extradata = stream.codec_context.extradata
            assert extradata is not None
            if stream.type == "video":
                video = AvcConfig.parse(extradata)
            else:
                audio = AacConfig.parse(extradata)
        for packet in container.demux():
            if packet.dts is None or packet.pts is None:
                continue
            assert packet.time_base is not None
            is_video = packet.stream.type == "video"
            samples.append(
                Sample(
                    TrackKind.VIDEO if is_video else TrackKind.AUDIO,
                    round(packet.dts * packet.time_base * 1000),
                    round(packet.pts * packet.time_base * 1000),
                    packet.is_keyframe,
                    bytes(packet),
                )
            )
    samples.sort(key=lambda sample: sample.dts_ms)
    return Sent(video, audio, samples)


def package(media: Sent) -> list[list[MediaEvent]]:
    segmenter = Segmenter(video=media.video, audio=media.audio)
    batches = [segmenter.push(sample) for sample in media.samples]
    return [*batches, segmenter.flush()]


def name_of(spec: ClipSpec) -> str:
    return spec.name


@pytest.fixture(scope="module", params=SPECS, ids=name_of)
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(request.param, tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def media(clip: Clip) -> Sent:
    return sent(clip)


@pytest.fixture(scope="module")
def verdict(media: Sent) -> Verdict:
    return judge(package(media))


def decoded(data: bytes) -> Iterator[tuple[str, int]]:
    """Decode every stream; yield its type and how many frames came out."""
    for index in itertools.count():
        with av.open(io.BytesIO(data), "r") as container:
            if index >= len(container.streams):
                return
            stream = container.streams[index]
            # Fail on what a decoder would only conceal.
            stream.codec_context.options = {"err_detect": "explode"}
            kind = stream.type
            frames = sum(1 for _ in container.decode(stream))
        yield kind, frames


def test_everything_decodes_and_nothing_is_lost(clip: Clip, media: Sent, verdict: Verdict) -> None:
    kinds = [sample.kind for sample in media.samples]
    pictures, frames = kinds.count(TrackKind.VIDEO), kinds.count(TrackKind.AUDIO)
    assert len(verdict.samples(VIDEO)) == pictures == clip.pictures
    early = frames - len(verdict.samples(AUDIO))
    assert 0 <= early <= 2, "only audio from before the first picture is dropped"
    (init,) = verdict.inits
    data = init.data + b"".join(part.data for part in verdict.parts)
    with Capture() as logs:
        streams = dict(decoded(data))
    assert [entry for entry in logs if entry[0] <= av.logging.WARNING] == []
    assert streams.get("video", 0) == pictures
    assert streams.get("audio", 0) == len(verdict.samples(AUDIO))


def test_pictures_are_shown_when_the_publisher_said(media: Sent, verdict: Verdict) -> None:
    shown = sorted(s.pts_ms for s in media.samples if s.kind is TrackKind.VIDEO)
    first = min((s.dts_ms for s in media.samples if s.kind is TrackKind.VIDEO), default=0)
    presented = sorted(sample.time + sample.offset for sample in verdict.samples(VIDEO))
    assert presented == [(pts_ms - first) * 90 for pts_ms in shown]


@pytest.mark.parametrize("clip", [s for s in SPECS if s.channels], indirect=True, ids=name_of)
def test_sound_stays_with_the_picture(media: Sent, verdict: Verdict) -> None:
    assert media.audio is not None
    kind = TrackKind.AUDIO if media.video is None else TrackKind.VIDEO
    zero_ms = next(s.dts_ms for s in media.samples if s.kind is kind)
    out = verdict.samples(AUDIO)
    given = [s for s in media.samples if s.kind is TrackKind.AUDIO][-len(out) :]
    for sample, original in zip(out, given, strict=True):
        assert sample.data == original.data
        time_ms = 1000 * sample.time / media.audio.sample_rate
        assert abs(time_ms - (original.dts_ms - zero_ms)) < 25


def test_each_segment_decodes_alone(verdict: Verdict) -> None:
    (init,) = verdict.inits
    for segment in verdict.segments:
        if segment.parts[0].independent:
            for kind, frames in decoded(init.data + segment.data):
                assert frames == len(segment.samples(VIDEO if kind == "video" else AUDIO))


@pytest.mark.parametrize("clip", [ONE_GOP], indirect=True, ids=name_of)
def test_a_declared_gop_of_x264_makes_room(verdict: Verdict) -> None:
    """x264 writes keyint into its first keyframe, which no cut of its stream has shown yet."""
    assert verdict.target_duration_s == 12, "20 s, of which max_gop_s allows 12"
    assert len(verdict.segments) == 1


@pytest.mark.skipif(
    shutil.which("ffprobe") is None, reason="ffprobe is not installed (Debian: ffmpeg)"
)
def test_ffprobe_has_nothing_to_say(verdict: Verdict, media: Sent, tmp_path: Path) -> None:
    path = tmp_path / "all.mp4"
    path.write_bytes(verdict.inits[0].data + b"".join(part.data for part in verdict.parts))
    done = subprocess.run(
        ["ffprobe", "-v", "warning", "-show_streams", "-count_packets", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert ("codec_name=h264" in done.stdout) == (media.video is not None)
    assert ("codec_name=aac" in done.stdout) == (media.audio is not None)


def test_the_init_segment_alone_is_read_without_a_warning(verdict: Verdict) -> None:
    (init,) = verdict.inits
    with Capture() as logs, av.open(io.BytesIO(init.data)) as container:
        types = [stream.type for stream in container.streams]
    assert len(types) == len(init.codecs)
    assert [entry for entry in logs if entry[0] <= av.logging.WARNING] == []
