"""Real OBS into the origin, real Chromium with hls.js out of it.

OBS runs alone on the machine's two cores (software rendering), so each run is one test and nothing
else goes on beside it. `HEADRACE_E2E_SECONDS` sets how long it plays, 60 by default.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chromium_player import Playback, Viewers, percentile
from media_clips import Clip, ClipSpec
from obs_studio import FPS, HEIGHT, START_TIMEOUT_S, WIDTH, ObsOutput, need_obs, running_obs
from origin_process import Origin

pytestmark = pytest.mark.e2e

LATENCY_S = 1.5
REFUSED_WITHIN_S = 10.0
"""From OBS's "Connecting" to its refusal line; without an answer OBS would wait 30 s."""


@pytest.fixture
def clip(clip_of: Callable[[ClipSpec], Clip]) -> Clip:
    need_obs()
    return clip_of(ClipSpec(name="obs", width=WIDTH, height=HEIGHT, keyint_s=0.5))


@pytest.mark.hard_cap(180)
@pytest.mark.parametrize(
    ("keyint_frames", "preset"),
    [
        pytest.param(2 * FPS, "ultrafast", id="2s-keyframes", marks=pytest.mark.long),
        pytest.param(None, "veryfast", id="obs-default"),  # its own preset: with B-frames
    ],
)
def test_obs_plays_in_chromium_without_a_stall(
    keyint_frames: int | None,
    preset: str,
    clip: Clip,
    origin: Origin,
    viewers: Viewers,
    e2e_seconds: float,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    stream = origin.create_stream("OBS")
    output = ObsOutput(
        server=origin.rtmp_server, key=stream.key, keyint_frames=keyint_frames, preset=preset
    )
    folder = tmp_path / "obs"
    folder.mkdir()
    with running_obs(folder, output, clip.path) as obs, viewers.viewer("watch") as player:
        obs.wait_for_log("Streaming Start", timeout_s=START_TIMEOUT_S)
        origin.wait_status(stream, "live", timeout_s=5)
        # Opened at once, as a person does: the first group of pictures is held back until its
        # length is known (250 frames are 8.3 s), and the page has to wait for it.
        player.open(origin.watch_url(stream))
        played = player.play_for(e2e_seconds)
        origin.saw("the watch page", player.page.content())
        figures(played.summary())

        assert not played.stalls(), played.stalls()
        assert not played.hls_errors, played.hls_errors
        assert not refusals(played), played.bad_answers
        assert percentile(played.latencies(), 95) <= LATENCY_S
        # Moving pictures, not a frozen one: at least nine of ten were put on the screen.
        assert played.samples[-1]["frames"] >= 0.9 * FPS * played.played_s()
        assert stream.id in origin.live_ids()
        obs.stop()
        origin.wait_status(stream, "ended", timeout_s=10)


def refusals(played: Playback) -> list[str]:
    """Answers that no player should get; "503, try again" before the first segment is none."""
    return [
        answer
        for answer in played.bad_answers
        if not (answer.startswith("503 ") and answer.endswith("/master.m3u8"))
    ]


@pytest.mark.hard_cap(90)
def test_obs_shows_why_a_wrong_key_is_refused(clip: Clip, origin: Origin, tmp_path: Path) -> None:
    wrong = "live_" + "0" * 32
    origin.secrets.add(wrong)  # a mistyped key is nearly a key: it may not be logged either
    folder = tmp_path / "obs"
    folder.mkdir()
    output = ObsOutput(server=origin.rtmp_server, key=wrong)
    with running_obs(folder, output, clip.path) as obs:
        obs.wait_for_log("Connecting to RTMP URL", timeout_s=START_TIMEOUT_S)
        connecting = time.monotonic()
        # librtmp prints code and description, then OBS maps the failure to its -3 dialog.
        line = obs.wait_for_log(r"NetStream\.Publish\.BadName \((.+)\)", timeout_s=REFUSED_WITHIN_S)
        obs.wait_for_log(r"Connection to .* failed: -\d+", timeout_s=REFUSED_WITHIN_S)
        assert time.monotonic() - connecting < REFUSED_WITHIN_S
        assert "key" in line.group(1).lower()
        assert "Streaming Start" not in obs.log_text()
    assert origin.live_ids() == []
