"""A wrong key costs seconds and says why; a right one is never told to anybody."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ffmpeg_cli import need_ffmpeg, publish_with_ffmpeg
from media_clips import Clip, ClipSpec
from origin_process import Origin

pytestmark = pytest.mark.e2e

AT_ONCE_S = 5.0


@pytest.mark.parametrize("key", ["live_" + "0" * 32, "nonsense", "live_?token=x"])
def test_ffmpeg_ends_at_once_and_prints_the_reason(
    key: str, clip_of: Callable[[ClipSpec], Clip], origin: Origin, tmp_path: Path
) -> None:
    need_ffmpeg()
    clip = clip_of(ClipSpec(name="short", duration_s=12))
    started = time.monotonic()
    with publish_with_ffmpeg(clip.path, origin.publish_url(key), tmp_path / "ffmpeg.log") as child:
        code = child.wait(AT_ONCE_S)
    assert time.monotonic() - started < AT_ONCE_S
    assert code != 0
    reason = re.search(r"Server error: (.+)", child.log_text())
    assert reason, child.tail()
    assert "key" in reason.group(1).lower()
    assert key not in origin.child.log_text()
    assert origin.live_ids() == []


def test_second_publisher_is_refused_as_busy_and_the_first_goes_on(
    clip_of: Callable[[ClipSpec], Clip], origin: Origin, tmp_path: Path
) -> None:
    need_ffmpeg()
    clip = clip_of(ClipSpec(name="short", duration_s=12))
    stream = origin.create_stream("busy")
    url = origin.publish_url(stream.key)
    with publish_with_ffmpeg(clip.path, url, tmp_path / "first.log") as first:
        origin.wait_status(stream, "live", timeout_s=10)
        with publish_with_ffmpeg(clip.path, url, tmp_path / "second.log") as second:
            assert second.wait(AT_ONCE_S) != 0
        assert re.search(r"Server error: .*(busy|already live)", second.log_text()), second.tail()
        assert first.exit_code() is None, first.tail()
        assert origin.status(stream) == "live"


def test_no_page_log_or_error_tells_a_key(
    clip_of: Callable[[ClipSpec], Clip], origin: Origin, tmp_path: Path
) -> None:
    """Every address of the API and the pages, with right and wrong credentials, live and ended.

    `running_origin` searches the log, every body and every command line on the way out.
    """
    need_ffmpeg()
    clip = clip_of(ClipSpec(name="short", duration_s=12))
    stream = origin.create_stream("quiet")
    base = f"/api/streams/{stream.id}"
    paths = ["/", "/health", f"/watch/{stream.id}", "/api/streams/live", "/api/streams", base]
    paths += [f"{base}/master.m3u8", f"{base}/source/playlist.m3u8", f"{base}/nonsense"]
    paths += [f"/watch/{stream.key}", f"/api/streams/{stream.key}"]  # a key pasted as an id
    with publish_with_ffmpeg(
        clip.path, origin.publish_url(f"{stream.key}?user=a&pass=b"), tmp_path / "f.log"
    ) as publisher:
        origin.wait_status(stream, "live", timeout_s=10)
        for path in paths:
            origin.get(path)
        for key in (stream.key, "live_" + "f" * 32):
            for verb in ("start", "end"):
                for body in ({"streamKey": key}, {"streamKey": [key]}, {key: key}):
                    answer = origin.post(f"{base}/{verb}", body, token=key)
                    origin.saw(f"POST {verb}", answer.text)
        publisher.stop()
    origin.wait_status(stream, "ended", timeout_s=15)
    for path in paths:
        origin.get(path)
    assert len(origin.secrets) == 2  # the key and the admin token
    assert not origin.leaks(), origin.leaks()


def test_a_key_never_reaches_the_disk_in_clear(origin: Origin) -> None:
    stream = origin.create_stream("at rest")
    for path in origin.data.rglob("*"):
        if path.is_file():
            assert stream.key.encode() not in path.read_bytes(), path.name
