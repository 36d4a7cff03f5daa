"""FFmpeg's RTMP client, as a program and in-process (PyAV): a covering set of what it can send.

Twelve publishers at once into one origin. Each clip's counts are known exactly, so each judge can
say "a picture is missing", not only "it looks fine". The product of rates, B-frames, sound and
client is not run; every value meets each client, and every pair that ever broke a packager
(B-frames with every fractional rate, mono with B-frames, one track alone) is in the set.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from statistics import median

import pytest
from child_process import need_programs
from chromium_player import Player, Viewers, spread
from ffmpeg_cli import need_ffmpeg, publish_with_ffmpeg
from gstreamer_cli import need_rtmp2sink, publish_with_gstreamer
from hls_probe import HlsProbe, judge
from media_clips import Clip, ClipSpec
from origin_process import Origin
from pyav_publisher import PyavPublisher

pytestmark = pytest.mark.e2e

LATENCY_S = 1.5
NTSC = Fraction(30_000, 1001)

PROGRAM = [
    ClipSpec(name="24-mono-44k", fps=Fraction(24), channels=1, sample_rate=44_100),
    ClipSpec(name="25-b2-stereo", fps=Fraction(25), b_frames=2),
    ClipSpec(name="ntsc-b2-mono", fps=NTSC, b_frames=2, channels=1),
    ClipSpec(name="30-video-only", fps=Fraction(30), channels=0),
    ClipSpec(name="60-b3-stereo", fps=Fraction(60), b_frames=3),
    ClipSpec(name="audio-only-stereo", fps=None),
]

PYAV = [
    ClipSpec(name="24-b2-stereo", fps=Fraction(24), b_frames=2),
    ClipSpec(name="25-mono", fps=Fraction(25), channels=1),
    ClipSpec(name="ntsc-stereo-44k", fps=NTSC, sample_rate=44_100),
    ClipSpec(name="30-b2-mono", fps=Fraction(30), b_frames=2, channels=1),
    ClipSpec(name="60-b2-video-only", fps=Fraction(60), b_frames=2, channels=0),
    ClipSpec(name="audio-only-mono-44k", fps=None, channels=1, sample_rate=44_100),
]


@pytest.mark.hard_cap(110)
def test_strangers_find_no_fault_in_what_twelve_publishers_sent(
    clip_of: Callable[[ClipSpec], Clip],
    origin: Origin,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    need_ffmpeg()
    clips = [clip_of(spec) for spec in (*PROGRAM, *PYAV)]  # encoded before anything is timed
    streams = [origin.create_stream(clip.spec.name) for clip in clips]
    probes = [HlsProbe(origin.http, stream.id, origin.saw) for stream in streams]
    with ExitStack() as stack:
        for probe in probes:
            probe.start()
            stack.callback(probe.stop)
        programs = []
        players = []
        for clip, stream in zip(clips, streams, strict=True):
            url = origin.publish_url(stream.key)
            if clip.spec in PROGRAM:
                log = tmp_path / f"{clip.spec.name}.log"
                programs.append(stack.enter_context(publish_with_ffmpeg(clip.path, url, log)))
            else:
                player = PyavPublisher(clip.path, url)
                player.start()
                stack.callback(player.stop)
                players.append(player)
        for program in programs:
            assert program.wait(30) == 0, program.tail()
        for player in players:
            player.join(30)
            assert not player.is_alive()
            assert player.error is None, player.error
        harvests = [probe.finish(20) for probe in probes]

    faults = {
        clip.spec.name: found
        for clip, harvest in zip(clips, harvests, strict=True)
        if (found := judge(harvest, clip, tmp_path / f"judged-{clip.spec.name}"))
    }
    parts = sum(len(harvest.parts) for harvest in harvests)
    segments = sum(len(harvest.segments) for harvest in harvests)
    playlists = sum(len(harvest.snapshots) for harvest in harvests)
    figures(f"{len(clips)} publishers: {playlists} playlists, {parts} parts, {segments} segments")
    assert not faults, "\n".join(
        f"{name}: {fault}" for name, found in faults.items() for fault in found
    )


@pytest.mark.long
@pytest.mark.hard_cap(90)
def test_chromium_plays_what_ffmpeg_sends(
    clip_of: Callable[[ClipSpec], Clip],
    origin: Origin,
    viewers: Viewers,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    """Four kinds at once, eight seconds each: B-frames at two rates, sound alone, video alone."""
    need_ffmpeg()
    names = ("60-b3-stereo", "ntsc-b2-mono", "audio-only-stereo", "30-video-only")
    clips = [clip_of(replace(spec, duration_s=35.0)) for spec in PROGRAM if spec.name in names]
    with ExitStack() as stack:
        pages: list[Player] = []
        for clip in clips:
            name = clip.spec.name
            stream = origin.create_stream(name)
            page = stack.enter_context(viewers.viewer(name))
            url = origin.publish_url(stream.key)
            stack.enter_context(publish_with_ffmpeg(clip.path, url, tmp_path / f"{name}.log"))
            # Opened as soon as it is live: the page itself must get over "nothing to play yet".
            # One after the other: four software decoders that start at once starve two cores.
            origin.wait_status(stream, "live", timeout_s=10)
            page.open(origin.watch_url(stream))
            page.wait_playing()
            pages.append(page)
        troubles = []
        for page in pages:
            played = page.play_for(8)
            figures(f"{page.name}: {played.summary()}")
            found = [*played.stalls(), *played.hls_errors, *played.bad_answers, *played.console]
            if median(played.latencies()) > LATENCY_S:
                found.append(f"latency {spread(played.latencies())}")
            troubles += [f"{page.name}: {trouble}" for trouble in found]
        assert not troubles, "\n".join(troubles)


@pytest.mark.long
@pytest.mark.hard_cap(60)
def test_gstreamer_publishes_and_is_judged_too(
    clip_of: Callable[[ClipSpec], Clip], origin: Origin, tmp_path: Path
) -> None:
    need_programs("gst-launch-1.0", "ffprobe")
    need_rtmp2sink()
    clip = clip_of(PROGRAM[1])
    stream = origin.create_stream("GStreamer")
    probe = HlsProbe(origin.http, stream.id, origin.saw)
    probe.start()
    location = origin.publish_url(stream.key)
    with publish_with_gstreamer(clip.path, location, tmp_path / "gst.log") as publisher:
        assert publisher.wait(30) == 0, publisher.tail()
    harvest = probe.finish(20)
    assert not judge(harvest, clip, tmp_path / "judged")
