"""Players without fragmented MP4: `?container=ts` of a real publish, read by strangers.

What is fetched is judged twice, by FFmpeg and by `ts_reader`; players read while it is live.
"""

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urljoin

import m3u8
import pytest
from child_process import Child, need_programs, wait_until
from chromium_player import Viewers
from ffmpeg_cli import ffprobe_warnings, need_ffmpeg, publish_with_ffmpeg
from media_clips import Clip, ClipSpec
from origin_process import CreatedStream, Origin
from player_pages import player_page
from ts_reader import Continuity, adts_frames, read_segment

pytestmark = [pytest.mark.e2e, pytest.mark.long]

SPEC = ClipSpec(name="ts", b_frames=2, duration_s=14.0)
AVC, AAC = 0x1B, 0x0F


@dataclass
class Live:
    """A clip that is being published."""

    origin: Origin
    stream: CreatedStream
    clip: Clip
    publisher: Child

    @property
    def folder(self) -> str:
        return f"/api/streams/{self.stream.id}/"

    @property
    def master_url(self) -> str:
        return self.origin.url(f"{self.folder}master.m3u8?container=ts")

    def playlist(self, path: str) -> m3u8.M3U8:
        answer = self.origin.get(path)
        assert answer.status == 200, answer.text
        return m3u8.loads(answer.text)

    def finish(self) -> None:
        assert self.publisher.wait(30) == 0, self.publisher.tail()


@pytest.fixture
def live(clip_of: Callable[[ClipSpec], Clip], origin: Origin, tmp_path: Path) -> Iterator[Live]:
    need_ffmpeg()
    clip = clip_of(SPEC)
    stream = origin.create_stream("ts")
    url = origin.publish_url(stream.key)
    with publish_with_ffmpeg(clip.path, url, tmp_path / "publisher.log") as publisher:
        origin.wait_status(stream, "live", timeout_s=10)
        yield Live(origin, stream, clip, publisher)


@pytest.mark.hard_cap(60)
def test_every_picture_and_sound_is_in_the_segments(live: Live, tmp_path: Path) -> None:
    listed = live.playlist(f"{live.folder}master.m3u8?container=ts")
    path = urljoin(live.folder, listed.playlists[0].uri)
    first_msn = live.playlist(path).media_sequence
    live.finish()
    ended = wait_until(
        lambda: (read := live.playlist(path)).is_endlist and read,
        timeout_s=10,
        what="ENDLIST in the TS playlist",
    )
    assert ended.media_sequence == first_msn, "all that was published is listed"
    counted = Continuity()
    pictures = sounds = 0
    stream = b""
    for listed_segment in ended.segments:
        answer = live.origin.get(urljoin(path, listed_segment.uri))
        assert answer.status == 200
        assert answer.headers["content-type"] == "video/mp2t"
        segment = read_segment(answer.body)
        counted.add(segment)
        pictures += len(segment.of(AVC))
        sounds += sum(len(list(adts_frames(unit.data))) for unit in segment.of(AAC))
        stream += answer.body
    assert pictures == live.clip.pictures
    assert live.clip.sound_frames - 2 <= sounds <= live.clip.sound_frames
    whole = tmp_path / "whole.ts"
    whole.write_bytes(stream)
    assert ffprobe_warnings(whole) == ""


@pytest.mark.hard_cap(60)
def test_ffmpeg_follows_the_broadcast_to_its_end(live: Live) -> None:
    argv = ["ffmpeg", "-hide_banner", "-nostdin", "-v", "warning", "-stats"]
    argv += ["-i", live.master_url, "-map", "0", "-f", "null", "-"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=40, check=False)
    live.finish()
    complaints = [line for line in re.split(r"[\r\n]+", done.stderr) if line[:6] != "frame="]
    assert (done.returncode, [line for line in complaints if line]) == (0, [])
    frames = int(re.findall(r"frame=\s*(\d+)", done.stderr)[-1])
    assert live.clip.pictures - 180 <= frames <= live.clip.pictures, "but for where it began"


@pytest.mark.hard_cap(60)
def test_mpv_plays_it_to_its_end(live: Live, tmp_path: Path) -> None:
    need_programs("mpv")
    argv = ["mpv", "--no-config", "--vo=null", "--ao=null"]
    argv += ["--term-status-msg=at ${=time-pos} of", "--msg-level=all=warn,statusline=status"]
    log = tmp_path / "mpv.log"
    with Child([*argv, live.master_url], log=log) as player:
        assert player.wait(45) == 0, player.tail()
        live.finish()
        positions = [float(at) for at in re.findall(r"at (\d+\.\d+) of", player.log_text())]
    assert max(positions) - min(positions) > SPEC.duration_s / 2
    assert "error" not in player.log_text().lower()


@pytest.mark.hard_cap(60)
def test_hls_js_plays_it(live: Live, viewers: Viewers, figures: Callable[[str], None]) -> None:
    """It turns transport streams into fragmented MP4 by itself, in JavaScript."""
    listed = live.playlist(f"{live.folder}master.m3u8?container=ts")
    path = urljoin(live.folder, listed.playlists[0].uri)
    # It plays three target durations behind the live edge: so much there must be.
    wait_until(lambda: len(live.playlist(path).segments) >= 3, timeout_s=15, what="3 segments")
    with player_page("hls.js") as page, viewers.viewer("ts") as player:
        player.open(f"{page}?url={quote(live.master_url, safe='')}")
        played = player.play_for(5.0)
    figures(played.summary())
    assert not played.stalls()
    assert not played.hls_errors
    assert not played.console
    assert not played.bad_answers
