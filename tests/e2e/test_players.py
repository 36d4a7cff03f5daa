"""Every player that can be had here watches one broadcast with a ladder, with its own defaults.

`HEADRACE_PLAYERS_SECONDS` sets for how long, 12 by default; `make soak` takes a minute each.
Which were tried at which version is in docs/players.md.
"""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from busy_clip import make_busy_clip, publish_in_a_loop
from child_process import Child, need_programs, wait_until
from chromium_player import Viewers
from ffmpeg_cli import need_ffmpeg
from ladder_origin import running_ladder, wait_listed
from origin_process import CreatedStream, Origin
from player_pages import player_page

pytestmark = pytest.mark.e2e

SECONDS = float(os.environ.get("HEADRACE_PLAYERS_SECONDS", "12"))
FPS = 30
SHAKA_ADVISES = "Set streaming.lowLatencyMode configuration to true"
RUNGS = [{"name": "360p", "preset": "ultrafast"}]


@dataclass(frozen=True)
class Broadcast:
    origin: Origin
    stream: CreatedStream

    @property
    def url(self) -> str:
        return f"http://{self.origin.http}/api/streams/{self.stream.id}/master.m3u8"


@pytest.fixture(scope="module")
def broadcast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broadcast]:
    need_ffmpeg()
    folder = tmp_path_factory.mktemp("players")
    clip = make_busy_clip(folder, width=1280, height=720, fps=FPS, kbps=2000)
    (folder / "origin").mkdir()
    with running_ladder(folder / "origin", "360p", rungs=RUNGS) as origin:
        stream = origin.create_stream("players")
        with publish_in_a_loop(clip, origin.publish_url(stream.key), folder / "ffmpeg.log"):
            wait_listed(origin, stream, ["source", "360p"], timeout_s=20)
            yield Broadcast(origin, stream)


@pytest.mark.parametrize(
    "name",
    [
        "hls.js",
        pytest.param("hls.js light", marks=pytest.mark.long),
        pytest.param("shaka", marks=pytest.mark.long),
    ],
)
@pytest.mark.hard_cap(40 + SECONDS)
def test_a_player_in_chromium(
    broadcast: Broadcast, viewers: Viewers, figures: Callable[[str], None], name: str
) -> None:
    with player_page(name) as page, viewers.viewer(name) as player:
        player.open(f"{page}?url={quote(broadcast.url, safe='')}")
        played = player.play_for(SECONDS)
        figures(played.summary())
        assert not played.stalls()
        assert not played.hls_errors
        assert not [line for line in played.console if SHAKA_ADVISES not in line]
        assert not played.bad_answers


@pytest.mark.long
@pytest.mark.parametrize("name", ["source", "360p"])
@pytest.mark.hard_cap(40 + SECONDS)
def test_ffmpeg_reads_every_picture(broadcast: Broadcast, name: str) -> None:
    need_ffmpeg()
    url = broadcast.url.replace("master.m3u8", f"{name}/playlist.m3u8")
    argv = ["ffmpeg", "-hide_banner", "-nostdin", "-v", "warning", "-stats", "-i", url]
    argv += ["-t", str(SECONDS), "-f", "null", "-"]
    done = subprocess.run(argv, capture_output=True, timeout=30 + SECONDS, check=False)
    text = done.stderr.decode(errors="replace")
    assert (done.returncode, complaints_of(text)) == (0, [])
    assert abs(int(re.findall(r"frame=\s*(\d+)", text)[-1]) - FPS * SECONDS) <= 2


MPV_SAYS = "--msg-level=all=warn,statusline=status"
DESKTOP = {
    "ffplay": ["ffplay", "-hide_banner", "-v", "warning", "-stats"],
    "mpv": [
        *("mpv", "--no-config", "--vo=null", "--ao=null", MPV_SAYS),
        "--term-status-msg=at ${=time-pos} of",
    ],
    "gst-launch-1.0": [
        *("gst-launch-1.0", "-e", "playbin3", "audio-sink=fakeaudiosink"),
        "video-sink=progressreport update-freq=1 do-query=false ! fakevideosink",
    ],
}
"""They keep real time without screen or sound card. GStreamer's `playbin3` takes `hlsdemux2`."""

POSITION = re.compile(r"(?:^|\s)(\d+\.\d+) A-V:|at (\d+\.\d+) of|\): (\d+) seconds")


@pytest.mark.long
@pytest.mark.parametrize("name", DESKTOP)
@pytest.mark.hard_cap(60 + SECONDS)
def test_a_desktop_player(
    broadcast: Broadcast, tmp_path: Path, figures: Callable[[str], None], name: str
) -> None:
    need_programs(name)
    url = f"uri={broadcast.url}" if name.startswith("gst") else broadcast.url
    quiet = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}
    quiet |= {"GST_DEBUG": "1,hlsdemux2:4", "GST_DEBUG_NO_COLOR": "1"}
    with Child(
        [*DESKTOP[name], url], log=tmp_path / "player.log", env={**os.environ, **quiet}
    ) as player:
        first = wait_until(
            lambda: positions(player)[:1], timeout_s=20, what=f"{name} shows a picture"
        )[0]
        began = time.monotonic()
        wait_until(
            lambda: positions(player)[-1] - first >= SECONDS,
            timeout_s=SECONDS + 10,
            what=f"{SECONDS:g} s of playback: {player.tail(3)}",
        )
        took = time.monotonic() - began
        text = player.log_text()
    figures(f"{SECONDS:g} s of media in {took:.1f} s")
    assert not complaints_of(text)
    assert took < SECONDS + 3, "it stood still"
    if name.startswith("gst"):
        assert "hlsdemux2" in text


def positions(player: Child) -> list[float]:
    """Where it says that it is, each time that it says so."""
    assert player.exit_code() is None, player.tail()
    return [float(a or b or c) for a, b, c in POSITION.findall(player.log_text())]


def complaints_of(text: str) -> list[str]:
    """What a player says is wrong.

    FFmpeg's reader is handed the init section again with every segment, by its own HLS demuxer, and
    wonders each time; it says so of every server. A renderer without a screen is this machine's.
    """
    noise = re.compile(
        r"duplicated MOOV Atom|Last message repeated|hardware accelerated renderer|"
        r"frame=|A-V:|at \d+\.\d+ of|^$"
    )
    wrong = re.compile(r"error|warn|fail|invalid|corrupt|missing|lost|\bnon\b", re.IGNORECASE)
    lines = re.split(r"[\r\n]+", text)
    return [line for line in lines if wrong.search(line) and not noise.search(line)]
