"""Transport streams of real encoders' media: FFmpeg judges every segment, and all in a row."""

import io
import itertools
import json
import shutil
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.logging import Capture
from media_clips import ClipSpec, make_clip
from mp4_boxes import FragmentedSample, read_fragments
from ts_reader import Continuity, read_segment

from hls import (
    AacConfig,
    AvcConfig,
    HevcConfig,
    InitSegment,
    Part,
    Sample,
    SegmentEnd,
    Segmenter,
    TrackKind,
)
from hls.fragment import AUDIO_TRACK_ID, NON_SYNC_FLAGS, SYNC_FLAGS, VIDEO_TRACK_ID, FragmentWriter
from hls.init_segment import describe_init_segment
from hls.ts import TIME_OFFSET_TICKS, TsTracks, mux_segment
from native import FragmentSample

pytestmark = pytest.mark.slow

SPECS = [
    ClipSpec(name="ts-b-frames", b_frames=2, duration_s=7),
    ClipSpec(name="ts-2997", fps=Fraction(30000, 1001), b_frames=3, duration_s=7),
    ClipSpec(name="ts-film", fps=Fraction(24), channels=1, sample_rate=44_100, duration_s=7),
    ClipSpec(name="ts-slow", fps=Fraction(1), duration_s=8),
    ClipSpec(name="ts-video-only", channels=0, b_frames=2, duration_s=7),
    ClipSpec(name="ts-audio-only", fps=None, duration_s=7),
]


@dataclass(frozen=True)
class Made:
    """A clip's segments as fMP4 samples and as transport streams."""

    segments: list[bytes]
    samples: list[list[FragmentedSample]]
    """Of each segment."""
    audio_rate: int

    def shown(self, track_id: int) -> list[Fraction]:
        """Presentation times in seconds, in the order of decoding, by the fMP4 segments."""
        rate = 90_000 if track_id == VIDEO_TRACK_ID else self.audio_rate
        return [
            Fraction(sample.time + sample.offset, rate)
            for samples in self.samples
            for sample in samples
            if sample.track_id == track_id
        ]


def make(spec: ClipSpec, folder: Path) -> Made:
    batches = []
    video = audio = None
    with av.open(make_clip(spec, folder).path) as container:
        for stream in container.streams:
            extradata = stream.codec_context.extradata or b""
            if stream.type == "video":
                video = AvcConfig.parse(extradata)
            else:
                audio = AacConfig.parse(extradata)
        segmenter = Segmenter(video=video, audio=audio)
        for packet in container.demux():
            if packet.dts is None or packet.pts is None or packet.time_base is None:
                continue
            kind = TrackKind.VIDEO if packet.stream.type == "video" else TrackKind.AUDIO
            dts_ms, pts_ms = (round(t * packet.time_base * 1000) for t in (packet.dts, packet.pts))
            sample = Sample(kind, dts_ms, pts_ms, packet.is_keyframe, bytes(packet))
            batches += segmenter.push(sample)
        batches += segmenter.flush()
    tracks: TsTracks | None = None
    segments, all_samples = [], []
    parts: list[Part] = []
    for event in batches:
        if isinstance(event, InitSegment):
            tracks = TsTracks.of(event)
        elif isinstance(event, Part):
            parts.append(event)
        elif isinstance(event, SegmentEnd):
            assert tracks is not None
            start_ticks = round(parts[0].media_time_s * 90_000)
            data = [part.data for part in parts]
            muxed = mux_segment(tracks, data, msn=event.msn, start_ticks=start_ticks)
            segments.append(bytes(muxed))
            fragments = read_fragments(b"".join(data))
            all_samples.append([s for fragment in fragments for s in fragment.samples])
            parts = []
    return Made(segments, all_samples, 48_000 if audio is None else audio.sample_rate)


@pytest.fixture(scope="module", params=SPECS, ids=lambda spec: spec.name)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(request.param, tmp_path_factory.mktemp("clips"))


def decoded(data: bytes) -> dict[str, list[Fraction]]:
    """Presentation times of every decoded frame, by kind, on the media clock; sorted."""
    found: dict[str, list[Fraction]] = {}
    with Capture() as logs:
        for index in range(2):
            with av.open(io.BytesIO(data), "r", format="mpegts") as container:
                if index >= len(container.streams):
                    continue
                stream = container.streams[index]
                # Fail on what a decoder would only conceal.
                stream.codec_context.options = {"err_detect": "explode"}
                times = found.setdefault(stream.type, [])
                for frame in container.decode(stream):
                    assert isinstance(frame, av.VideoFrame | av.AudioFrame)
                    assert frame.pts is not None
                    assert frame.time_base is not None
                    offset = Fraction(TIME_OFFSET_TICKS, 90_000)
                    times.append(frame.pts * frame.time_base - offset)
                times.sort()
    assert [entry for entry in logs if entry[0] <= av.logging.WARNING] == []
    return found


def agree(found: list[Fraction], expected: list[Fraction]) -> bool:
    """Within four ticks of 90 kHz: FFmpeg cuts off a part of a tick at each of the four frames that
    share a time."""
    return len(found) == len(expected) and all(
        abs(a - b) < Fraction(4, 90_000) for a, b in zip(found, expected, strict=True)
    )


def test_all_is_decoded_when_the_media_says(made: Made) -> None:
    found = decoded(b"".join(made.segments))
    assert found.get("video", []) == sorted(made.shown(VIDEO_TRACK_ID))
    assert agree(found.get("audio", []), made.shown(AUDIO_TRACK_ID))


def test_each_segment_is_decoded_alone(made: Made) -> None:
    for data, samples in zip(made.segments, made.samples, strict=True):
        if any(s.track_id == VIDEO_TRACK_ID for s in samples):
            first = next(s for s in samples if s.track_id == VIDEO_TRACK_ID)
            assert first.is_sync
        found = {kind: len(times) for kind, times in decoded(data).items()}
        counts = {
            "video": sum(s.track_id == VIDEO_TRACK_ID for s in samples),
            "audio": sum(s.track_id == AUDIO_TRACK_ID for s in samples),
        }
        assert found == {kind: count for kind, count in counts.items() if count}


def test_counters_and_clock_run_on_through_all_segments(made: Made) -> None:
    counted = Continuity()
    clocks: list[int] = []
    for data in made.segments:
        segment = read_segment(data)
        counted.add(segment)
        clocks += [value for _, value in segment.clocks]
        for unit in segment.units:
            assert unit.dts >= max(value for n, value in segment.clocks if n <= unit.packet)
    steps = [after - before for before, after in itertools.pairwise(clocks)]
    assert min(steps) > 0
    assert max(steps) <= 9000


def test_any_segment_continues_any_other(made: Made) -> None:
    """A player that has switched renditions, or came back to the live edge."""
    first, last = read_segment(made.segments[0]), read_segment(made.segments[-1])
    counted = Continuity()
    for segment in (last, first, first):
        counted.add(type(segment)(segment.packets[2:], 0, 0, {}))  # without the tables


@pytest.mark.skipif(
    shutil.which("ffprobe") is None, reason="ffprobe is not installed (Debian: ffmpeg)"
)
def test_ffprobe_has_nothing_to_say(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "all.ts"
    path.write_bytes(b"".join(made.segments))
    done = subprocess.run(
        ["ffprobe", "-v", "warning", "-show_packets", "-of", "json", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    packets = json.loads(done.stdout)["packets"]
    kinds = [packet["codec_type"] for packet in packets]
    assert kinds.count("video") == len(made.shown(VIDEO_TRACK_ID))
    assert kinds.count("audio") == len(made.shown(AUDIO_TRACK_ID))
    assert not any("C" in packet["flags"] for packet in packets), "marked as corrupt"


def test_hevc(tmp_path: Path) -> None:
    """As a rung would have it: x265's own record, and pictures with a length before each unit."""
    if "libx265" not in av.codecs_available:
        pytest.skip("this FFmpeg has no libx265")
    encoded = tmp_path / "hevc.mp4"
    with av.open(encoded, "w") as container:
        stream = container.add_stream("libx265", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.options = {"preset": "ultrafast", "x265-params": "keyint=30:log-level=none"}
        for index in range(60):
            frame = av.VideoFrame(320, 180, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes((16 + index,)) * plane.buffer_size)
            frame.pts, frame.time_base = index, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    samples = []
    with av.open(encoded) as source:
        record = source.streams.video[0].codec_context.extradata or b""
        for packet in source.demux(video=0):
            if packet.pts is not None and packet.dts is not None and packet.time_base is not None:
                dts, pts = (round(t * packet.time_base * 90_000) for t in (packet.dts, packet.pts))
                flags = SYNC_FLAGS if packet.is_keyframe else NON_SYNC_FLAGS
                samples.append((dts, FragmentSample(bytes(packet), 3000, pts - dts, flags)))
    shift = -samples[0][0]  # the encoder's delay: decode times begin below 0
    part = FragmentWriter().write(0, [sample for _, sample in samples], 0, [])
    init = describe_init_segment(0, b"", HevcConfig.parse(record), None, None)
    tracks = TsTracks.of(init)
    assert tracks is not None
    data = bytes(mux_segment(tracks, [part], msn=0, start_ticks=0))
    shown = sorted(dts + shift + sample.composition_offset for dts, sample in samples)
    assert decoded(data)["video"] == [Fraction(ticks, 90_000) for ticks in shown]
