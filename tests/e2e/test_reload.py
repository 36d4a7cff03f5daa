"""SIGHUP to a real origin while somebody publishes: nobody is cut off, and the log says so."""

import signal
from pathlib import Path

import pytest
from ffmpeg_cli import need_ffmpeg, publish_with_ffmpeg
from media_clips import ClipSpec, make_clip
from origin_process import running_origin

pytestmark = pytest.mark.e2e

CLIP = ClipSpec(name="reload-e2e", duration_s=30.0, keyint_s=1.0)


@pytest.mark.hard_cap(60)
def test_who_publishes_does_not_notice(tmp_path: Path) -> None:
    need_ffmpeg()
    file = tmp_path / "headrace.toml"
    file.write_text("max_height = 0\n")
    clip = make_clip(CLIP, tmp_path).path
    with running_origin(tmp_path, "--config", str(file)) as origin:
        stream = origin.create_stream("reloaded")
        child = origin.child
        with publish_with_ffmpeg(clip, origin.publish_url(stream.key), tmp_path / "ff.log") as ours:
            origin.wait_status(stream, "live", timeout_s=10)

            file.write_text('max_height = 100\nlog_level = "debug"\npart_target_s = 0.5\n')
            child.send_signal(signal.SIGHUP)
            child.wait_for_log(r"configuration taken changed=log_level,max_height", timeout_s=5)
            child.wait_for_log(r"need a restart to change settings=part_target_s", timeout_s=5)

            file.write_text("max_height = -1\n")
            child.send_signal(signal.SIGHUP)
            child.wait_for_log(
                r"configuration not taken.*max_height: expected int >= 0", timeout_s=5
            )

            answer = origin.call("GET", "/api/config", token=origin.admin_token())
            rows = {row["name"]: row["value"] for row in answer.json()["settings"]}
            assert (rows["max_height"], rows["log_level"]) == (100, "debug")
            assert ours.exit_code() is None, ours.tail()
            assert origin.status(stream) == "live"

            other = origin.create_stream("too tall")
            url = origin.publish_url(other.key)
            with publish_with_ffmpeg(clip, url, tmp_path / "other.log") as theirs:
                theirs.wait(10)
            child.wait_for_log(r"100 lines are the most here", timeout_s=5)
            assert ours.exit_code() is None, ours.tail()
