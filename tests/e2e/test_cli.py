"""``headrace`` against a real origin: the life of a stream, as a person at a terminal leads it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from child_process import Child, wait_until
from ffmpeg_cli import ffprobe_warnings, need_ffmpeg, publish_with_ffmpeg
from media_clips import Clip, ClipSpec
from origin_process import ROOT, Origin

pytestmark = pytest.mark.e2e

COMMAND = [sys.executable, "-m", "origin.tool"]
TIMEOUT_S = 20.0


class Terminal:
    """Types commands."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.env = {
            name: text for name, text in os.environ.items() if not name.startswith("HEADRACE_")
        } | {"HEADRACE_SERVER": f"http://{origin.http}", "HEADRACE_DATA": str(origin.data)}

    def type(self, *arguments: str, code: int = 0) -> str:
        """Run a command; returns what it printed."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        if not {"create", "rotate-key", "token"} & {*arguments}:
            self.origin.saw(f"headrace {arguments[0]}", done.stdout + done.stderr)
        return done.stdout if code == 0 else done.stderr

    def read(self, *arguments: str) -> Any:
        """Run a command with --json; returns what it says."""
        return json.loads(self.type(*arguments, "--json"))


@pytest.mark.hard_cap(120)
def test_the_life_of_a_stream(
    origin: Origin, tmp_path: Path, clip_of: Callable[[ClipSpec], Clip]
) -> None:
    need_ffmpeg()
    clip = clip_of(ClipSpec(name="cli", duration_s=60))
    person = Terminal(origin)
    origin.admin_token()
    made = person.read("stream", "create", "Morning", "--broadcaster", "ann", "--record")
    stream_id, key = made["id"], made["streamKey"]
    origin.secrets.add(key)
    assert person.read("status")["status"] == "ready"
    assert person.read("stream", "show", stream_id)["status"] == "idle"
    assert "the stream is not live" in person.type("health", stream_id, code=1)

    log = tmp_path / "watch.jsonl"
    watching = Child(
        [*COMMAND, "health", stream_id, "--watch", "--json"], log=log, cwd=ROOT, env=person.env
    )
    with watching, publish_with_ffmpeg(clip.path, origin.publish_url(key), tmp_path / "ffmpeg.log"):
        watching.wait_for_log('"type":"health"', timeout_s=15)
        wait_until(
            lambda: person.read("stream", "show", stream_id)["quality"] == ["source"],
            timeout_s=10,
            what="it can be watched",
        )
        assert person.read("viewers", stream_id)["count"] == 0
        report = person.read("health", stream_id)
        assert report["publisher"]["video"]["codec"].startswith("avc1.")
        assert "bitrate" in person.type("health", stream_id)
        said = person.read("chat", "say", stream_id, "good morning")
        assert said["content"] == "good morning"
        assert "good morning" in person.type("chat", "tail", stream_id, "--once")
        assert stream_id in person.type("stream", "list", "--live")
        assert person.read("stream", "end", stream_id)["status"] == "ended"
        watching.wait_for_log("stream.ended", timeout_s=10)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(5) == 130
        assert "Traceback" not in log.read_text()
    (recording,) = wait_until(
        lambda: person.read("recording", "list", "--stream", stream_id),
        timeout_s=10,
        what="the recording is ready",
    )
    copy = tmp_path / "copy.mp4"
    person.type("recording", "download", recording["recordingId"], "-o", str(copy))
    assert not ffprobe_warnings(copy)
    assert recording["sizeBytes"] <= copy.stat().st_size

    hook = person.read("hook", "create", "http://127.0.0.1:9/", "--event", "stream.live")
    origin.secrets.add(hook["secret"])
    assert "not delivered" in person.type("hook", "test", hook["id"], code=1)
    person.type("hook", "delete", hook["id"], "--yes")
    assert person.read("hook", "list") == []

    person.type("playback", "set", stream_id, "token")
    ticket = person.read("playback", "token", stream_id, "--lifetime", "60")
    origin.secrets.add(ticket["token"])
    assert person.read("playback", "show", stream_id)["policy"] == "token"
    rotated = person.read("stream", "rotate-key", stream_id)
    origin.secrets.add(rotated["streamKey"])
    assert [one["id"] for one in person.read("stream", "keys", "list", stream_id)] == [
        rotated["id"]
    ]
    token = person.read("token", "create", "ci", "--scope", "read")
    origin.secrets.add(token["token"])
    person.env["HEADRACE_TOKEN"] = token["token"]
    assert [one["id"] for one in person.read("stream", "list")] == [stream_id]
    assert "lacks the scope" in person.type("stream", "delete", stream_id, "--yes", code=1)
    del person.env["HEADRACE_TOKEN"]
    person.type("token", "revoke", token["id"])
    person.type("stream", "delete", stream_id, "--yes")
    assert "no such stream" in person.type("stream", "show", stream_id, code=1)
    assert json.loads(person.type("openapi"))["openapi"].startswith("3.1")
