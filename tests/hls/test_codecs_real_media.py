"""Every codec through the packager, as FFmpeg's encoders make it and its FLV muxer packs it.

Strangers judge: PyAV decodes what comes out, ffprobe has nothing to complain of, and which pictures
decoding can start with is what FFmpeg's own flags say.
"""

import io
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import av
import pytest
from av.logging import Capture
from enhanced_clips import EnhancedClip, enhanced_clip
from media_rules import AUDIO, VIDEO, Verdict, judge
from mp4_boxes import Box, read_init

from hls import (
    IFrames,
    InitSegment,
    MediaEvent,
    Sample,
    Segmenter,
    Timeline,
    TimelineSettings,
    TrackKind,
)
from hls.audio import AudioConfig, parse_audio_config
from hls.colour import Colour, MasteringDisplay
from hls.ts import TsTracks
from hls.video import VideoConfig, parse_video_config, with_size

pytestmark = pytest.mark.slow

HDR = {"x265-params": "log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"}


@dataclass(frozen=True, slots=True)
class Case:
    """What is encoded, and what must be said of it."""

    make: Callable[[], EnhancedClip]
    codecs: tuple[str, ...]
    names: tuple[str, ...]
    """FFmpeg's words for them."""
    in_ts: bool = False


CASES = {
    "HEVC and Opus": Case(
        lambda: enhanced_clip("libx265", "libopus"),
        ("hvc1.1.6.L60.90", "Opus"),
        ("hevc", "opus"),
    ),
    "HEVC with B-frames and AAC": Case(
        lambda: enhanced_clip("libx265", "aac", b_frames=3),
        ("hvc1.1.6.L60.90", "mp4a.40.2"),
        ("hevc", "aac"),
        in_ts=True,
    ),
    "HEVC in ten bits, PQ": Case(
        lambda: enhanced_clip("libx265", None, pix_fmt="yuv420p10le", options=HDR),
        ("hvc1.2.4.L60.90",),
        ("hevc",),
        in_ts=True,
    ),
    "AV1 and Opus": Case(
        lambda: enhanced_clip("libsvtav1", "libopus"), ("av01.0.00M.08", "Opus"), ("av1", "opus")
    ),
    "VP9 and FLAC": Case(
        lambda: enhanced_clip("libvpx-vp9", "flac"), ("vp09.00.11.08", "fLaC"), ("vp9", "flac")
    ),
    "H.264 and AC-3": Case(
        lambda: enhanced_clip("libx264", "ac3", b_frames=2),
        ("avc1.4d400d", "ac-3"),
        ("h264", "ac3"),
    ),
    "H.264 and E-AC-3": Case(
        lambda: enhanced_clip("libx264", "eac3"), ("avc1.42c00d", "ec-3"), ("h264", "eac3")
    ),
    "Opus alone": Case(lambda: enhanced_clip(None, "libopus"), ("Opus",), ("opus",)),
    "Opus in frames of 60 ms, 5.1": Case(
        lambda: enhanced_clip(
            None,
            "libopus",
            channels=6,
            audio_options={"frame_duration": "60", "mapping_family": "1"},
        ),
        ("Opus",),
        ("opus",),
    ),
    "Opus in frames of 2.5 ms": Case(
        lambda: enhanced_clip(
            None,
            "libopus",
            channels=1,
            audio_options={"frame_duration": "2.5", "application": "lowdelay"},
        ),
        ("Opus",),
        ("opus",),
    ),
    "FLAC alone": Case(
        lambda: enhanced_clip(None, "flac", sample_rate=44_100), ("fLaC",), ("flac",)
    ),
    "FLAC at 96 kHz": Case(
        lambda: enhanced_clip(None, "flac", sample_rate=96_000, channels=1), ("fLaC",), ("flac",)
    ),
    "AC-3 alone, 5.1": Case(lambda: enhanced_clip(None, "ac3", channels=6), ("ac-3",), ("ac3",)),
    "H.264 and MP3": Case(
        lambda: enhanced_clip("libx264", "libmp3lame", sample_rate=44_100),
        ("avc1.42c00d", "mp4a.6B"),
        ("h264", "mp3"),
    ),
    "MP3 alone, at a low rate": Case(
        lambda: enhanced_clip(None, "libmp3lame", sample_rate=22_050, channels=1),
        ("mp4a.69",),
        ("mp3",),
    ),
    "E-AC-3 alone": Case(
        lambda: enhanced_clip(None, "eac3", sample_rate=44_100), ("ec-3",), ("eac3",)
    ),
}


@dataclass(frozen=True, slots=True)
class Packaged:
    """One case, through the packager."""

    case: Case
    clip: EnhancedClip
    video: VideoConfig | None
    audio: AudioConfig | None
    batches: list[list[MediaEvent]]
    verdict: Verdict

    @property
    def data(self) -> bytes:
        (init,) = self.verdict.inits
        return bytes(init.data) + b"".join(part.data for part in self.verdict.parts)


def package(
    clip: EnhancedClip, video: VideoConfig | None, audio: AudioConfig | None
) -> list[list[MediaEvent]]:
    segmenter = Segmenter(video=video, audio=audio)
    batches = []
    for frame in clip.frames:
        kind = TrackKind.VIDEO if frame.is_video else TrackKind.AUDIO
        # The claim is wrong on purpose: the bitstream decides.
        batches.append(
            segmenter.push(Sample(kind, frame.dts_ms, frame.pts_ms, not frame.keyframe, frame.data))
        )
    return [*batches, segmenter.flush()]


def configs(clip: EnhancedClip) -> tuple[VideoConfig | None, AudioConfig | None]:
    video = audio = None
    if clip.video is not None:
        first = next(frame for frame in clip.frames if frame.is_video)
        video = with_size(parse_video_config(*clip.video), first.data)
    if clip.audio is not None:
        audio = parse_audio_config(*clip.audio)
    return video, audio


@pytest.fixture(scope="module", params=CASES.values(), ids=list(CASES))
def packaged(request: pytest.FixtureRequest) -> Packaged:
    case: Case = request.param
    clip = case.make()
    video, audio = configs(clip)
    batches = package(clip, video, audio)
    keys = {frame.data for frame in clip.frames if frame.is_video and frame.keyframe}
    return Packaged(
        case, clip, video, audio, batches, judge(batches, is_key=lambda data: data in keys)
    )


def decoded(data: bytes) -> dict[str, int]:
    """Decode every stream; return how many pictures, or samples of sound, came out."""
    with av.open(io.BytesIO(data), "r") as container:
        kinds: list[str] = [stream.type for stream in container.streams]
    counts = {}
    for index, kind in enumerate(kinds):
        with av.open(io.BytesIO(data), "r") as container:
            stream = container.streams[index]
            stream.codec_context.options = {"err_detect": "explode"}
            frames = list(container.decode(stream))
            counts[kind] = sum(
                frame.samples if isinstance(frame, av.AudioFrame) else 1 for frame in frames
            )
    return counts


def test_nothing_is_lost_and_all_of_it_decodes(packaged: Packaged) -> None:
    (init,) = packaged.verdict.inits
    assert init.codecs == packaged.case.codecs
    pictures = [frame.data for frame in packaged.clip.frames if frame.is_video]
    sounds = [frame.data for frame in packaged.clip.frames if not frame.is_video]
    assert [sample.data for sample in packaged.verdict.samples(VIDEO)] == pictures
    out = [sample.data for sample in packaged.verdict.samples(AUDIO)]
    assert len(sounds) - len(out) <= 2, "only audio from before the first picture is dropped"
    assert out == sounds[len(sounds) - len(out) :]
    with Capture() as logs:
        counts = decoded(packaged.data)
    assert [entry for entry in logs if entry[0] <= av.logging.WARNING] == []
    assert counts.get("video", 0) == len(pictures)
    if packaged.audio is not None:
        held = sum(sample.duration for sample in packaged.verdict.samples(AUDIO))
        # Opus's pre-skip is no sound; nothing else is missing, nothing is made up.
        assert held - 2 * packaged.audio.samples_per_frame <= counts["audio"] <= held


def test_sound_lasts_as_long_as_its_frames_say(packaged: Packaged) -> None:
    if packaged.audio is None:
        assert packaged.verdict.samples(AUDIO) == []
        return
    for sample in packaged.verdict.samples(AUDIO)[:-1]:
        assert sample.duration == packaged.audio.samples_in(sample.data) > 0


def test_pictures_are_shown_when_the_publisher_said(packaged: Packaged) -> None:
    shown = sorted(frame.pts_ms for frame in packaged.clip.frames if frame.is_video)
    first_ms = min((f.dts_ms for f in packaged.clip.frames if f.is_video), default=0)
    presented = sorted(sample.time + sample.offset for sample in packaged.verdict.samples(VIDEO))
    assert presented == [(pts_ms - first_ms) * 90 for pts_ms in shown]


@pytest.mark.skipif(
    shutil.which("ffprobe") is None, reason="ffprobe is not installed (Debian: ffmpeg)"
)
def test_ffprobe_has_nothing_to_say(packaged: Packaged, tmp_path: Path) -> None:
    path = tmp_path / "all.mp4"
    path.write_bytes(packaged.data)
    done = subprocess.run(
        ["ffprobe", "-v", "warning", "-show_streams", "-count_packets", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    found = [line for line in done.stdout.splitlines() if line.startswith("codec_name=")]
    assert found == [f"codec_name={name}" for name in packaged.case.names]


def test_playlists_name_it_and_trick_play_has_a_picture_for_each_segment(
    packaged: Packaged,
) -> None:
    timeline = Timeline(started_at_s=1_700_000_000.0, settings=TimelineSettings(), token="t")
    for batch in packaged.batches:
        timeline.apply(batch)
    timeline.end()
    variant = timeline.variant("playlist.m3u8")
    assert variant.codecs == packaged.case.codecs
    video_range = "PQ" if "hvc1.2.4.L60.90" in packaged.case.codecs else "SDR"
    assert variant.video_range == (video_range if packaged.video is not None else None)
    iframes = IFrames(timeline)
    text = iframes.playlist().decode()
    if packaged.video is None:
        assert iframes.variant("iframes.m3u8") is None
        return
    trick = iframes.variant("iframes.m3u8")
    assert trick is not None
    assert (trick.codecs, trick.video_range) == (packaged.case.codecs[:1], video_range)
    assert "EXT-X-GAP" not in text
    names = [line for line in text.splitlines() if line.endswith(".m4s")]
    assert len(names) == len(packaged.verdict.segments)
    head = iframes.media("iframe-init-t-0.mp4")
    assert head is not None
    for name in names:
        picture = iframes.media(name)
        assert picture is not None
        assert decoded(head + picture) == {"video": 1}


def test_a_transport_stream_only_of_what_it_can_carry(packaged: Packaged) -> None:
    (init,) = packaged.verdict.inits
    assert (TsTracks.of(init) is not None) == packaged.case.in_ts


def entry_boxes(data: bytes) -> dict[bytes, Box]:
    (track,) = read_init(data).tracks
    return {box.kind: box for box in track.entry.children}


def test_colours_of_the_bitstream_are_those_of_the_init_section() -> None:
    clip = CASES["HEVC in ten bits, PQ"].make()
    video, _ = configs(clip)
    assert video is not None
    assert video.colour == Colour(primaries=9, transfer=16, matrix=9)
    events = [event for batch in package(clip, video, None) for event in batch]
    (init,) = (event for event in events if isinstance(event, InitSegment))
    assert init.video_range == "PQ"
    boxes = entry_boxes(init.data)
    assert boxes[b"colr"].payload == b"nclx" + bytes.fromhex("0009 0010 0009 00")
    assert b"mdcv" not in boxes
    with av.open(io.BytesIO(init.data)) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace) == (9, 16, 9)


def test_what_somebody_knows_better_takes_its_place(tmp_path: Path) -> None:
    clip = CASES["HEVC in ten bits, PQ"].make()
    video, audio = configs(clip)
    assert video is not None
    colour = Colour(
        primaries=9,
        transfer=16,
        matrix=9,
        max_cll=1_000,
        max_fall=400,
        mastering=MasteringDisplay(
            red=(0.68, 0.32),
            green=(0.265, 0.69),
            blue=(0.15, 0.06),
            white=(0.3127, 0.329),
            max_luminance_nits=1_000,
            min_luminance_nits=0.0001,
        ),
    )
    batches = package(clip, replace(video, colour=colour), audio)
    path = tmp_path / "hdr.mp4"
    events = [event for batch in batches for event in batch]
    path.write_bytes(b"".join(getattr(event, "data", b"") for event in events))
    if shutil.which("ffprobe") is None:
        pytest.skip("ffprobe is not installed (Debian: ffmpeg)")
    done = subprocess.run(
        ["ffprobe", "-v", "warning", "-show_streams", "-select_streams", "v", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    for line in (
        "color_transfer=smpte2084",
        "color_primaries=bt2020",
        "red_x=34000/50000",
        "green_y=34500/50000",
        "blue_x=7500/50000",
        "white_point_y=16450/50000",
        "max_luminance=10000000/10000",
        "min_luminance=1/10000",
        "max_content=1000",
        "max_average=400",
    ):
        assert line in done.stdout
