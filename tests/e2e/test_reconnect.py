"""Publishers that die or lose their line, and come back: a viewer in Chromium only waits.

The gap that a viewer sees is compared with the publisher's absence: from the end of its media to
the beginning of the next, as the origin's log has it.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from chromium_player import Playback, Viewers
from cut_line import CutLine
from ffmpeg_cli import need_ffmpeg, publish_with_ffmpeg
from media_clips import Clip, ClipSpec
from obs_studio import HEIGHT, START_TIMEOUT_S, WIDTH, ObsOutput, need_obs, running_obs
from origin_process import Origin, running_origin

pytestmark = [pytest.mark.e2e, pytest.mark.long]

MARGIN_S = 2.0
"""By so much may the picture stand longer than nothing came."""
AWAY_S = 3.0


def longest_standstill_s(played: Playback) -> float:
    """For how long the playhead stood, at the longest, once it had played."""
    longest, since = 0.0, None
    for sample in played.samples:
        if since is None or sample["playhead"] - since["playhead"] > 0.02:
            since = sample
        if since["playhead"] > 1:
            longest = max(longest, sample["at"] - since["at"])
    return longest


def check(played: Playback, absent_s: float, figures: Callable[[str], None]) -> None:
    """It stood as long as it must, and plays near the live edge again."""
    stood_s = longest_standstill_s(played)
    figures(f"publisher away for {absent_s:.1f} s, picture stood {stood_s:.1f} s")
    assert stood_s < absent_s + MARGIN_S
    assert not [error for error in played.hls_errors if error["fatal"]]
    last = played.samples[-1]
    before = next(sample for sample in played.samples if sample["at"] > last["at"] - 3)
    assert last["playhead"] - before["playhead"] > 2
    assert last["latency"] < 4


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    """One that waits for a lost publisher, as by default."""
    folder = tmp_path / "origin"
    folder.mkdir()
    with running_origin(folder, "--reconnect-grace-s", "60") as running:
        yield running


@pytest.mark.hard_cap(90)
def test_a_publisher_is_killed_and_started_again(
    clip_of: Callable[[ClipSpec], Clip],
    origin: Origin,
    viewers: Viewers,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    need_ffmpeg()
    clip = clip_of(ClipSpec(name="killed", duration_s=30.0, b_frames=2))
    stream = origin.create_stream("killed")
    url = origin.publish_url(stream.key)
    with ExitStack() as stack:
        first = stack.enter_context(publish_with_ffmpeg(clip.path, url, tmp_path / "first.log"))
        page = stack.enter_context(viewers.viewer("killed"))
        origin.wait_status(stream, "live", timeout_s=10)
        page.open(origin.watch_url(stream))
        page.wait_playing()
        page.watch_on(4)
        page.page.evaluate("window.theSame = headrace.hls")
        first.send_signal(signal.SIGKILL)
        gone_s = time.monotonic()
        page.watch_on(AWAY_S)
        stack.enter_context(publish_with_ffmpeg(clip.path, url, tmp_path / "second.log"))
        origin.child.wait_for_log("broadcast goes on", timeout_s=10)
        absent_s = time.monotonic() - gone_s
        played = page.watch_on(8)
        assert page.page.evaluate("window.theSame === headrace.hls"), page.describe()
    check(played, absent_s, figures)


@pytest.mark.hard_cap(180)
def test_obs_comes_back_by_itself_over_a_line_that_was_cut(
    clip_of: Callable[[ClipSpec], Clip],
    origin: Origin,
    viewers: Viewers,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    """Half-open: the origin hears nothing of the cut, and OBS is back after its retry delay."""
    need_obs()
    clip = clip_of(ClipSpec(name="obs", width=WIDTH, height=HEIGHT, keyint_s=0.5))
    stream = origin.create_stream("OBS")
    folder = tmp_path / "obs"
    folder.mkdir()
    with ExitStack() as stack:
        line = stack.enter_context(CutLine(origin.rtmp))
        output = ObsOutput(
            server=f"rtmp://{line.address}/live",
            key=stream.key,
            keyint_frames=60,
            reconnects=True,
        )
        obs = stack.enter_context(running_obs(folder, output, clip.path))
        page = stack.enter_context(viewers.viewer("obs"))
        obs.wait_for_log("Streaming Start", timeout_s=START_TIMEOUT_S)
        origin.wait_status(stream, "live", timeout_s=5)
        page.open(origin.watch_url(stream))
        page.wait_playing()
        page.watch_on(4)
        page.page.evaluate("window.theSame = headrace.hls")
        line.cut()
        gone_s = time.monotonic()
        origin.child.wait_for_log("publishing(?s:.*)publishing", timeout_s=30)
        absent_s = time.monotonic() - gone_s
        played = page.watch_on(10)
        assert page.page.evaluate("window.theSame === headrace.hls"), page.describe()
        assert stream.id in origin.live_ids()
    check(played, absent_s, figures)
