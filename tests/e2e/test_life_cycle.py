"""README's "A broadcast by curl", run to the letter: what a person would copy, a shell runs here.

Only the ports are put in place of the usual ones, and lines of the form ``a & B=$!`` are waited for
by nobody but the shell's own end.
"""

import json
import re
import subprocess
from pathlib import Path

import pytest
from ffmpeg_cli import need_ffmpeg
from origin_process import ROOT, running_origin

pytestmark = pytest.mark.e2e

HEADING = "## A broadcast by curl"
SHELL_TIMEOUT_S = 60.0


def script() -> str:
    """The section's one block of shell."""
    section = (ROOT / "README.md").read_text().partition(HEADING)[2].partition("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 1, "the section has one block to copy"
    return str(blocks[0])


@pytest.mark.hard_cap(90)
def test_the_life_of_a_stream_by_curl(tmp_path: Path) -> None:
    need_ffmpeg()
    with running_origin(tmp_path, "--ladder", "none") as origin:
        lines = script()
        lines = lines.replace("127.0.0.1:8080", origin.http)
        lines = lines.replace("rtmp://127.0.0.1/", f"rtmp://{origin.rtmp}/")
        lines = lines.replace("headrace-data/admin-token", str(origin.data / "admin-token"))
        done = subprocess.run(
            ["bash", "-e", "-u", "-x", "-o", "pipefail", "-c", lines + "\nwait || true\n"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=SHELL_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        created = json.loads((tmp_path / "stream.json").read_text())
        origin.secrets.add(created["streamKey"])
        for what in (
            "#EXT-X-STREAM-INF",
            "#EXT-X-PART:",
            '"status":"live"',
            '"content":"good morning"',
            '"bitrate',
            '"status":"ended"',
            "duration=",
        ):
            assert what in done.stdout, what
        # The heartbeat; and the curl that watched, if a second has passed since.
        assert re.search('"count":[12],"peak":', done.stdout), done.stdout
        (recording,) = json.loads((tmp_path / "recordings.json").read_text())["recordings"]
        assert recording["streamId"] == created["id"]
        assert (tmp_path / "recording.mp4").stat().st_size > recording["sizeBytes"]
