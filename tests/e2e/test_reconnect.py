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
from child_process import wait_until
from chromium_player import Playback, Viewers
from cut_line import CutLine
from ffmpeg_cli import need_ffmpeg, publish_with_ffmpeg
from ladder_origin import running_ladder, wait_listed
from media_clips import Clip, ClipSpec
from obs_studio import HEIGHT, START_TIMEOUT_S, WIDTH, ObsOutput, need_obs, running_obs
from origin_process import Origin, running_origin
from slate_files import make_still

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


COLOUR_JS = """() => {
  const canvas = new OffscreenCanvas(1, 1);
  const paper = canvas.getContext("2d");
  const video = document.querySelector("video");
  paper.drawImage(video, video.videoWidth / 2, video.videoHeight / 2, 1, 1, 0, 0, 1, 1);
  return [...paper.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}"""


@pytest.mark.hard_cap(90)
@pytest.mark.parametrize("height", [720, 360])
def test_a_slate_is_seen_until_the_publisher_is_back(
    clip_of: Callable[[ClipSpec], Clip],
    viewers: Viewers,
    tmp_path: Path,
    figures: Callable[[str], None],
    height: int,
) -> None:
    """A green picture, in the source's codec or as a rung of the ladder, in the same player."""
    need_ffmpeg()
    (tmp_path / "origin").mkdir()
    slate = make_still(tmp_path / "slate.png")
    clip = clip_of(ClipSpec(name="slate", duration_s=30.0, b_frames=2, width=1280, height=720))
    with ExitStack() as stack:
        origin = stack.enter_context(
            running_ladder(
                tmp_path / "origin", "360p", "--slate", str(slate), "--reconnect-grace-s", "60"
            )
        )
        stream = origin.create_stream("slate")
        url = origin.publish_url(stream.key)
        first = stack.enter_context(publish_with_ffmpeg(clip.path, url, tmp_path / "first.log"))
        wait_listed(origin, stream, ["source", "360p"], timeout_s=20)
        page = stack.enter_context(viewers.viewer("slate"))
        page.open(origin.watch_url(stream))
        page.wait_playing()
        page.choose(next(name for name in page.qualities() if name.startswith(str(height))))
        page.wait_height(height, timeout_s=10)
        page.watch_on(2)
        page.page.evaluate("window.theSame = headrace.hls")

        def is_green() -> bool:
            red, green, blue = page.page.evaluate(COLOUR_JS)
            return bool(green > 120 and max(red, blue) < 60)

        assert not is_green()
        first.send_signal(signal.SIGKILL)
        gone_s = time.monotonic()
        wait_until(is_green, timeout_s=8, what="the slate is seen")
        seen_s = time.monotonic()
        during = page.watch_on(6)
        assert is_green()
        stack.enter_context(publish_with_ffmpeg(clip.path, url, tmp_path / "second.log"))
        origin.child.wait_for_log("broadcast goes on", timeout_s=10)
        back_s = time.monotonic()
        wait_until(lambda: not is_green(), timeout_s=8, what="the publisher is seen again")
        figures(
            f"slate seen after {seen_s - gone_s:.1f} s, gone {time.monotonic() - back_s:.1f} s"
            f" after the return; {during.summary()}"
        )
        played = page.watch_on(6)
        assert page.page.evaluate("window.theSame === headrace.hls"), page.describe()
    check(played, seen_s - gone_s, figures)


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


@pytest.mark.hard_cap(60)
def test_a_rotated_key_ends_its_publisher_and_the_new_one_goes_on(
    clip_of: Callable[[ClipSpec], Clip], origin: Origin, tmp_path: Path
) -> None:
    need_ffmpeg()
    clip = clip_of(ClipSpec(name="killed", duration_s=30.0, b_frames=2))
    stream = origin.create_stream("rotated")
    url = origin.publish_url(stream.key)
    with publish_with_ffmpeg(clip.path, url, tmp_path / "first.log") as first:
        origin.wait_status(stream, "live", timeout_s=10)
        answer = origin.post(f"/api/streams/{stream.id}/key", {}, token=stream.key)
        assert answer.status == 200, answer.text
        key = str(answer.json()["streamKey"])
        origin.secrets.add(key)
        assert first.wait(5.0) != 0
        assert "the stream key has been ended" in first.log_text()
    with publish_with_ffmpeg(clip.path, url, tmp_path / "again.log") as again:
        assert again.wait(5.0) != 0, "the old key opens nothing"
    with publish_with_ffmpeg(clip.path, origin.publish_url(key), tmp_path / "second.log"):
        origin.child.wait_for_log("broadcast goes on", timeout_s=10)
        assert origin.status(stream) == "live"
