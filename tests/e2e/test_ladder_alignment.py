"""Every rendition is cut at the same instants, whatever the publisher sends, and for how long.

Eight publishers at once into one origin that transcodes: every usual frame rate, with and without
B-frames, constant and variable, with other sound and without any, and one whose keyframes are so
far apart that its pictures are encoded anew at their own size. The pictures are small, so that two
cores carry all the encoders; the rules do not depend on size. One source is 720p60 all the same, as
the multivariant playlist must be right for that.

Everything is judged from playlists and bytes: each picture of a rung against the source's, and what
stands in for a source against what was published. `HEADRACE_LADDER_SECONDS` sets how long they
publish, 12 by default; `make soak-ladder` takes ten minutes.

Pace is judged in the long form only. In twelve seconds eight encoders have hardly begun, and a
neighbour that takes a second of the machine takes a tenth of all parts.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from chromium_player import spread
from ffmpeg_cli import need_ffmpeg, publish_with_ffmpeg
from hls_probe import judge_rendition
from ladder_origin import SMALL_RUNGS, LadderProbe, SeenLadder, running_ladder
from ladder_rules import judge_ladder, judge_pace, judge_update_lag, pace_of, release_lags
from media_clips import Clip, ClipSpec
from rendition_media import Rendition
from rendition_switch import play_across
from variant_rules import judge_variants

pytestmark = [pytest.mark.e2e, pytest.mark.long]

SECONDS = float(os.environ.get("HEADRACE_LADDER_SECONDS", "12"))
NTSC = Fraction(30_000, 1001)
MS = Fraction(1, 1000)
JUDGES_PACE = SECONDS >= 60


@dataclass(frozen=True, kw_only=True)
class Case:
    """A publisher, and the renditions that it must be offered as, best first."""

    spec: ClipSpec
    sizes: dict[str, tuple[int, int]]
    halved: tuple[str, ...] = ()
    """Renditions with every second picture."""


def small(spec: ClipSpec, *halved: str, top: str = "source") -> Case:
    sizes = {top: (320, 180), "144p": (256, 144), "90p": (160, 90)}
    return Case(spec=spec, sizes=sizes, halved=halved)


CASES = [
    small(ClipSpec(name="24-b2", fps=Fraction(24), b_frames=2)),
    small(ClipSpec(name="25-mono", fps=Fraction(25), channels=1)),
    small(ClipSpec(name="ntsc-b2-44k", fps=NTSC, b_frames=2, sample_rate=44_100)),
    small(ClipSpec(name="50-b2", fps=Fraction(50), b_frames=2), "90p"),
    small(ClipSpec(name="60-video-only", fps=Fraction(60), channels=0), "90p"),
    small(ClipSpec(name="vfr-b2", fps=Fraction(30), b_frames=2, irregular=True, keyint_s=1.0)),
    small(ClipSpec(name="30-b3-long-gop", b_frames=3, keyint_s=8.0), top="180p"),
    Case(
        spec=ClipSpec(name="720p60-b2", fps=Fraction(60), b_frames=2, width=1280, height=720),
        sizes={"source": (1280, 720), "144p": (256, 144), "90p": (160, 90)},
        halved=("90p",),
    ),
]


@pytest.mark.hard_cap(60 + 4 * SECONDS)
def test_all_renditions_of_eight_publishers_are_aligned(
    clip_of: Callable[[ClipSpec], Clip], tmp_path: Path, figures: Callable[[str], None]
) -> None:
    need_ffmpeg()
    clips = [clip_of(replace(case.spec, duration_s=SECONDS)) for case in CASES]
    folder = tmp_path / "origin"
    folder.mkdir()
    with ExitStack() as stack:
        origin = stack.enter_context(running_ladder(folder, "144p,90p", rungs=SMALL_RUNGS))
        streams = [origin.create_stream(case.spec.name) for case in CASES]
        probes = [
            LadderProbe(origin, stream, list(case.sizes))
            for case, stream in zip(CASES, streams, strict=True)
        ]
        for probe in probes:
            probe.start()
            stack.callback(probe.stop)
        publishers = [
            stack.enter_context(
                publish_with_ffmpeg(clip.path, origin.publish_url(stream.key), tmp_path / stream.id)
            )
            for clip, stream in zip(clips, streams, strict=True)
        ]
        for publisher in publishers:
            assert publisher.wait(SECONDS + 30) == 0, publisher.tail()
        ladders = [
            probe.finish(20, constant_rate=not case.spec.irregular)
            for case, probe in zip(CASES, probes, strict=True)
        ]
    faults = []
    for case, clip, ladder in zip(CASES, clips, ladders, strict=True):
        found = judge(case, clip, ladder)
        lags = [lag for rung in ladder.listed[1:] for lag in release_lags(ladder.listed[0], rung)]
        figures(
            f"{case.spec.name}: {len(ladder.listed[0].segments)} segments, "
            f"rungs behind by {spread(lags)}, {len(found)} faults"
        )
        faults += [f"{case.spec.name}: {fault}" for fault in found]
    assert not faults, "\n".join(faults)


def judge(case: Case, clip: Clip, ladder: SeenLadder) -> list[str]:
    """Everything that is wrong with one stream's renditions."""
    constant = not case.spec.irregular
    reference, *rungs = ladder.listed
    faults = [
        f"{rendition.name}: {fault}"
        for rendition in ladder.listed
        for fault in judge_rendition(rendition.harvest, constant_rate=constant)
    ]
    divisors = dict.fromkeys(case.halved, 2)
    faults += judge_ladder(ladder.listed, divisors=divisors, constant_rate=constant)
    faults += judge_variants(ladder.newest, ladder.listed, sizes=case.sizes, even=constant)
    # With pictures that stay away, the source itself comes by fits and starts.
    if constant and JUDGES_PACE:
        faults += [fault for rung in rungs for fault in judge_update_lag(reference, rung)]
        faults += [fault for one in ladder.listed for fault in judge_pace(pace_of(one))]
    faults += judge_against_clip(clip, reference)
    last = max(reference.segments) - 1
    for before, after in ((reference, rungs[0]), (rungs[0], rungs[1]), (rungs[1], reference)):
        faults += play_across(before, after, last)
    return faults


def judge_against_clip(clip: Clip, reference: Rendition) -> list[str]:
    """The first rendition shows each published picture, at its time as RTMP's milliseconds tell it.

    This matters most where the first rendition is not the source: then nothing else would tell.
    """
    with av.open(clip.path) as container:
        published = sorted(
            packet.pts * packet.time_base
            for packet in container.demux(video=0)
            if packet.pts is not None and packet.time_base is not None and packet.size
        )
    shown = sorted(
        sample.shown for segment in reference.segments.values() for sample in segment.video
    )
    if len(shown) != len(published):
        return [f"AL-06 {reference.name}: {len(shown)} pictures of {len(published)}"]
    off = [ours - theirs for ours, theirs in zip(shown, published, strict=True)]
    if max(off) - min(off) > 2 * MS:  # each time is rounded, and so is that of the first
        return [f"AL-06 {reference.name}: times stray by {float(max(off) - min(off)):.4f} s"]
    return []
