"""Real OBS at 1080p30 and 720p60 into an origin with a ladder.

OBS draws in software and encodes on the same two cores as the ladder, so the ladder is one rung and
nobody plays. What is judged is what OBS's own packets, stamps and keyframes become.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from chromium_player import spread
from hls_probe import judge_rendition
from ladder_origin import LadderProbe, running_ladder
from ladder_rules import judge_ladder, release_lags
from media_clips import Clip, ClipSpec
from obs_studio import START_TIMEOUT_S, ObsOutput, need_obs, running_obs
from rendition_switch import play_across
from variant_rules import judge_variants

pytestmark = [pytest.mark.e2e, pytest.mark.long]


@pytest.mark.hard_cap(120)
@pytest.mark.parametrize(
    ("width", "height", "fps"), [(1920, 1080, 30), (1280, 720, 60)], ids=["1080p30", "720p60"]
)
def test_obs_gets_a_ladder(
    width: int,
    height: int,
    fps: int,
    clip_of: Callable[[ClipSpec], Clip],
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    need_obs()
    clip = clip_of(ClipSpec(name="obs-ladder", width=640, height=360, keyint_s=0.5, duration_s=5))
    sizes = {"source": (width, height), "360p": (640, 360)}
    for name in ("origin", "obs"):
        (tmp_path / name).mkdir()
    with running_ladder(tmp_path / "origin", "360p") as origin:
        stream = origin.create_stream("OBS")
        output = ObsOutput(
            server=origin.rtmp_server,
            key=stream.key,
            keyint_frames=2 * fps,
            bitrate_kbps=2500,
            width=width,
            height=height,
            fps=fps,
        )
        probe = LadderProbe(origin, stream, list(sizes))
        probe.start()
        try:
            with running_obs(tmp_path / "obs", output, clip.path) as obs:
                obs.wait_for_log("Streaming Start", timeout_s=START_TIMEOUT_S)
                probe.wait_segments(4, timeout_s=40)
                obs.stop()
            ladder = probe.finish(20, constant_rate=False)
        finally:
            probe.stop()
    source, rung = ladder.listed
    figures(
        f"{len(source.segments)} segments; behind by {spread(release_lags(source, rung))}; "
        + ", ".join(
            f"{variant.name} {variant.bandwidth_bps // 1000} kbit/s, {variant.frame_rate:g} fps"
            for variant in ladder.newest.variants
        )
    )
    # OBS's pictures are not equally hard to encode, and on this machine it skips some.
    faults = judge_variants(ladder.newest, ladder.listed, sizes=sizes, even=False)
    divisors = {"360p": 2 if fps > 30 else 1}
    faults += judge_ladder(
        ladder.listed, divisors=divisors, halving_allowed=True, constant_rate=False
    )
    for rendition in ladder.listed:
        faults += judge_rendition(rendition.harvest, constant_rate=False)
    last = max(source.segments) - 2
    faults += play_across(source, rung, last) + play_across(rung, source, last)
    assert not faults, "\n".join(faults)
