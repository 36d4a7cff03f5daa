"""Enhanced RTMP from end to end: FFmpeg's muxer sends (PyAV), Chromium plays, or FFmpeg judges.

OBS of Debian 12 (29.0.2) and its ffmpeg (5.1) are older than Enhanced RTMP; PyAV brings FFmpeg 8.
Chromium plays what its own decoders can: AV1, VP9, Opus, FLAC, not HEVC and AC-3 on this machine.
"""

import itertools
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import av
import librtmp_publisher
import pytest
from av.container import InputContainer
from child_process import Child, wait_until
from chromium_player import Viewers
from enhanced_media import AudioTrack, Track, VideoTrack, make_enhanced_clip
from hls_probe import HlsProbe, judge
from ladder_origin import SMALL_RUNGS, running_ladder, wait_listed, workers
from media_clips import Clip, ClipSpec
from origin_process import CreatedStream, Origin
from pyav_publisher import PyavPublisher

pytestmark = [pytest.mark.e2e, pytest.mark.long]

PLAYED_S = 6.0
CLIP_S = 30.0


def publishing(stack: ExitStack, origin: Origin, clip: Path, title: str) -> CreatedStream:
    """A stream that is live with a clip, until the stack unwinds."""
    stream = origin.create_stream(title)
    publisher = PyavPublisher(clip, origin.publish_url(stream.key))
    publisher.start()
    stack.callback(publisher.stop)
    origin.wait_status(stream, "live", timeout_s=10)
    return stream


def master_of(origin: Origin, stream: CreatedStream) -> str:
    """The multivariant playlist, once there is one."""

    def look() -> str | None:
        answer = origin.get(f"/api/streams/{stream.id}/master.m3u8")
        return answer.text if answer.status == 200 else None

    return wait_until(look, timeout_s=15, what="the multivariant playlist")


@pytest.mark.hard_cap(90)
@pytest.mark.parametrize(
    ("tracks", "codecs"),
    [
        ([VideoTrack(encoder="libsvtav1"), AudioTrack(encoder="libopus")], ("av01.", "opus")),
        ([VideoTrack(encoder="libvpx-vp9"), AudioTrack(encoder="libopus")], ("vp09.", "opus")),
        ([VideoTrack(), AudioTrack(encoder="flac")], ("avc1.", "fLaC")),
        ([AudioTrack(encoder="libopus")], ("opus",)),
    ],
    ids=["AV1 and Opus", "VP9 and Opus", "H.264 and FLAC", "Opus alone"],
)
def test_chromium_plays_enhanced_rtmp(
    tracks: Sequence[Track],
    codecs: Sequence[str],
    origin: Origin,
    viewers: Viewers,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    clip = make_enhanced_clip(tmp_path / "clip.flv", tracks, duration_s=CLIP_S)
    with ExitStack() as stack:
        stream = publishing(stack, origin, clip, "enhanced")
        page = stack.enter_context(viewers.viewer("enhanced"))
        page.open(origin.watch_url(stream))
        page.wait_playing()
        played = page.play_for(PLAYED_S)
        master = master_of(origin, stream)
    figures(played.summary())
    for codec in codecs:
        assert codec.lower() in master.lower(), master
    assert not [*played.stalls(), *played.hls_errors, *played.console], page.describe()


@pytest.mark.hard_cap(60)
@pytest.mark.parametrize(
    ("tracks", "codecs"),
    [
        ([VideoTrack(encoder="libx265"), AudioTrack()], ("hvc1.", "mp4a.40.2")),
        ([VideoTrack(encoder="libx265", b_frames=2), AudioTrack(encoder="ac3")], ("hvc1.", "ac-3")),
        ([VideoTrack(), AudioTrack(encoder="eac3")], ("avc1.", "ec-3")),
    ],
    ids=["HEVC and AAC", "HEVC with B-frames and AC-3", "H.264 and E-AC-3"],
)
def test_ffmpeg_reads_what_chromium_cannot(
    tracks: Sequence[Track], codecs: Sequence[str], origin: Origin, tmp_path: Path
) -> None:
    clip = make_enhanced_clip(tmp_path / "clip.flv", tracks, duration_s=CLIP_S)
    with ExitStack() as stack:
        stream = publishing(stack, origin, clip, "enhanced")
        master = master_of(origin, stream)
        times = times_of(origin, stream, "source")
    for codec in codecs:
        assert codec in master, master
    check_steps(times)


def times_of(origin: Origin, stream: CreatedStream, rendition: str) -> list[float]:
    """When the first pictures of a rendition are shown, as FFmpeg decodes them."""
    url = origin.url(f"/api/streams/{stream.id}/{rendition}/playlist.m3u8")
    times: list[float] = []
    with av.open(url) as container:
        assert isinstance(container, InputContainer)
        for frame in container.decode(video=0):
            assert frame.time is not None
            times.append(frame.time)
            if len(times) == 50:
                break
    return times


def check_steps(times: Sequence[float]) -> None:
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(steps) < 0.06  # 25 a second, and no picture is missing
    assert min(steps) > 0.02


@pytest.mark.hard_cap(120)
def test_tracks_of_one_picture_are_the_ladder(
    viewers: Viewers, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    """Three renditions as they came, nothing encoded, and a viewer who changes between them."""
    tracks: list[Track] = [
        VideoTrack(height=360, gop=25),
        VideoTrack(height=270, gop=25),
        VideoTrack(height=180, gop=25),
        AudioTrack(),
    ]
    clip = make_enhanced_clip(tmp_path / "clip.flv", tracks, duration_s=CLIP_S)
    folder = tmp_path / "origin"
    folder.mkdir()
    with ExitStack() as stack:
        # There is a ladder, and it has nothing to do.
        origin = stack.enter_context(running_ladder(folder, "144p,90p", rungs=SMALL_RUNGS))
        stream = publishing(stack, origin, clip, "multitrack")
        page = stack.enter_context(viewers.viewer("multitrack", pixel_ratio=2))
        page.open(origin.watch_url(stream))
        page.wait_playing()
        wait_until(
            lambda: page.qualities()[1:] == ["360p (source)", "270p", "180p"],
            timeout_s=10,
            what="three qualities",
        )
        took_s = []
        for quality, height in (("180p", 180), ("360p (source)", 360), ("270p", 270)):
            page.choose(quality)
            took_s.append(page.wait_height(height, timeout_s=8))
        played = page.watch_on(2)
        assert not workers(origin)
    figures(f"changes took {', '.join(f'{one:.1f}' for one in took_s)} s; {played.summary()}")
    assert not [*played.stalls(), *played.hls_errors, *played.console], page.describe()


@pytest.mark.hard_cap(90)
@pytest.mark.parametrize(
    "tracks",
    [
        [VideoTrack(encoder="libx265", gop=25), AudioTrack(encoder="ac3")],
        [VideoTrack(encoder="libsvtav1", gop=25), AudioTrack(encoder="libopus")],
        [VideoTrack(encoder="libvpx-vp9", gop=25), AudioTrack(encoder="flac")],
    ],
    ids=["HEVC", "AV1", "VP9"],
)
def test_any_codec_has_a_ladder(tracks: Sequence[Track], tmp_path: Path) -> None:
    clip = make_enhanced_clip(tmp_path / "clip.flv", tracks, duration_s=CLIP_S)
    folder = tmp_path / "origin"
    folder.mkdir()
    with ExitStack() as stack:
        origin = stack.enter_context(running_ladder(folder, "144p,90p", rungs=SMALL_RUNGS))
        stream = publishing(stack, origin, clip, "ladder")
        wait_listed(origin, stream, ("source", "144p", "90p"), timeout_s=20)
        times = times_of(origin, stream, "144p")
    check_steps(times)


@pytest.mark.hard_cap(60)
def test_librtmp_publishes_and_is_judged_too(
    clip_of: Callable[[ClipSpec], Clip], origin: Origin, tmp_path: Path
) -> None:
    if librtmp_publisher.library() is None:
        pytest.skip("librtmp is not installed (Debian: librtmp1)")
    clip = clip_of(ClipSpec(name="librtmp", b_frames=2))
    flv = tmp_path / "clip.flv"
    _remux(clip.path, flv)
    stream = origin.create_stream("librtmp")
    probe = HlsProbe(origin.http, stream.id, origin.saw)
    probe.start()
    argv = [sys.executable, librtmp_publisher.__file__, origin.publish_url(stream.key), str(flv)]
    with Child(argv, log=tmp_path / "librtmp.log") as publisher:
        assert publisher.wait(30) == 0, publisher.tail()
    harvest = probe.finish(20)
    assert not judge(harvest, clip, tmp_path / "judged")


def _remux(source: Path, target: Path) -> None:
    with av.open(source, "r") as clip, av.open(target, "w", format="flv") as out:
        tracks = {each.index: out.add_stream_from_template(each) for each in clip.streams}
        for packet in clip.demux():
            if packet.dts is not None:
                packet.stream = tracks[packet.stream.index]
                out.mux(packet)
