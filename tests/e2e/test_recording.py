"""Broadcasts that are recorded: FFmpeg and Chromium judge what is left of them.

A recording must have every picture that was published, decode without a word, say how long it is,
be there in a moment, and survive kill -9 of the origin, a publisher that comes back, another
picture size and a disk without room.
"""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import m3u8
import pytest
from certificates import make_pair
from child_process import need_programs, wait_until
from chromium_player import Viewers
from ffmpeg_cli import need_ffmpeg, publish_with_ffmpeg
from live_listener import LiveListener
from media_clips import Clip, ClipSpec
from origin_process import CreatedStream, HttpClient, Origin, running_origin
from player_pages import player_page

pytestmark = [pytest.mark.e2e, pytest.mark.long]

READY_S = 5.0
"""Within so long after its end a broadcast is a recording."""
PART_S = 0.2


def create_recorded(origin: Origin, title: str) -> CreatedStream:
    """Create a stream whose broadcasts are recorded."""
    stream = origin.create_stream(title)
    answer = origin.call(
        "PATCH", f"/api/streams/{stream.id}", {"recordingEnabled": True}, token=stream.key
    )
    assert answer.json()["recordingEnabled"] is True
    return stream


def publish(origin: Origin, stream: CreatedStream, clip: Clip, log: Path) -> None:
    """Publish a clip to its end."""
    with publish_with_ffmpeg(clip.path, origin.publish_url(stream.key), log) as child:
        assert child.wait(clip.spec.duration_s + 15) == 0, child.tail()


def recordings(origin: Origin, stream: CreatedStream) -> list[dict[str, Any]]:
    """What is listed of a stream."""
    answer = origin.get(f"/api/recordings?streamId={stream.id}")
    assert answer.status == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["recordings"]
    return found


def wait_recording(origin: Origin, stream: CreatedStream) -> dict[str, Any]:
    """Wait for the one recording."""
    found = wait_until(
        lambda: recordings(origin, stream), timeout_s=READY_S, what="there is a recording"
    )
    assert len(found) == 1
    return found[0]


def probe(source: str | Path) -> tuple[float, dict[str, int]]:
    """Duration, and packets of each kind of stream; nothing may be complained about."""
    argv = ["ffprobe", "-v", "warning", "-count_packets", "-of", "flat", "-show_entries"]
    argv += ["format=duration:stream=codec_type,nb_read_packets", str(source)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    (duration,) = re.findall(r'format\.duration="([\d.]+)"', done.stdout)
    kinds = re.findall(r'codec_type="(\w+)"', done.stdout)
    packets = re.findall(r'nb_read_packets="(\d+)"', done.stdout)
    return float(duration), {kind: int(count) for kind, count in zip(kinds, packets, strict=True)}


def decoded_pictures(source: str | Path, *, from_s: float = 0) -> int:
    """Decode with ffmpeg, which seeks first if it is to; nothing may be complained about."""
    # Of a seek it complains whatever it is: pictures that refer to others before it.
    seek = ["-v", "fatal", "-ss", str(from_s)] if from_s else ["-v", "warning"]
    argv = ["ffmpeg", "-stats", *seek, "-i", str(source), "-f", "null", "-"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in re.split(r"[\r\n]", done.stderr) if line.strip()]
    assert not [line for line in lines if not line.startswith("frame=")], done.stderr
    return int(re.findall(r"frame=\s*(\d+)", lines[-1])[-1])


def download(origin: Origin, path: str, to: Path) -> Path:
    """Fetch a download, whole."""
    answer = origin.call("GET", path)
    assert answer.status == 200, answer.text
    assert int(answer.headers["content-length"]) == len(answer.body)
    to.write_bytes(answer.body)
    return to


def playlist_of(origin: Origin, recording: dict[str, Any]) -> m3u8.M3U8:
    """Read its playlists with a library, as strictly as it can."""
    path = recording["playlistUrl"]
    master = m3u8.loads(origin.get(path).text, uri=origin.url(path))
    (variant,) = master.playlists
    answer = origin.get(variant.absolute_uri.partition(origin.http)[2])
    assert answer.headers["content-type"] == "application/vnd.apple.mpegurl"
    return m3u8.loads(answer.text, uri=variant.absolute_uri)


@pytest.mark.hard_cap(75)
def test_a_broadcast_is_recorded_watched_and_downloaded(
    clip_of: Callable[[ClipSpec], Clip],
    origin: Origin,
    viewers: Viewers,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    need_ffmpeg()
    clip = clip_of(ClipSpec(name="recorded", duration_s=8.0, b_frames=2))
    stream = create_recorded(origin, "First light")
    other = origin.create_stream("not recorded")
    publish(origin, stream, clip, tmp_path / "publisher.log")
    recording = wait_recording(origin, stream)
    path = f"/api/recordings/{recording['recordingId']}"
    assert recording["title"] == "First light"
    assert recording["reason"] is None
    assert abs(recording["durationSeconds"] - 8) < 0.1
    assert recordings(origin, other) == []

    url = origin.url(f"{path}/download.mp4")
    duration_s, packets = probe(url)
    assert abs(duration_s - 8) < 0.15
    assert packets["video"] == clip.pictures
    assert abs(packets["audio"] - clip.sound_frames) <= 2
    whole = download(origin, f"{path}/download.mp4", tmp_path / "download.mp4")
    assert probe(whole) == (duration_s, packets)
    assert decoded_pictures(whole) == clip.pictures
    # From the middle on, by the index at its beginning: two seconds before the end.
    assert 50 <= decoded_pictures(url, from_s=6) <= 75

    client = HttpClient(origin.http)
    data, size = whole.read_bytes(), whole.stat().st_size
    for wanted, body in (
        (f"bytes={size - 100}-", data[-100:]),
        ("bytes=1000-1999", data[1000:2000]),
    ):
        answer = client.get(f"{path}/download.mp4", {"Range": wanted})
        assert (answer.status, answer.body) == (206, body)
        assert answer.headers["content-range"].endswith(f"/{size}")
    head = client.request("HEAD", f"{path}/download.mp4")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(size), b"")
    client.close()

    playlist = playlist_of(origin, recording)
    assert playlist.playlist_type == "vod"
    assert playlist.is_endlist
    assert abs(sum(segment.duration for segment in playlist.segments) - 8) < 0.1
    assert max(segment.duration for segment in playlist.segments) < playlist.target_duration + 0.5
    assert decoded_pictures(origin.url(recording["playlistUrl"])) == clip.pictures

    with player_page("hls.js") as page, viewers.viewer("vod") as viewer:
        viewer.open(f"{page}?url={origin.url(recording['playlistUrl'])}")
        viewer.wait_playing()
        assert abs(viewer.page.evaluate("headrace.video.duration") - 8) < 0.2
        viewer.page.evaluate("headrace.video.currentTime = 5.5")

        def has_ended() -> bool:
            viewer.page.wait_for_timeout(100)  # lets Playwright deliver events meanwhile
            return bool(viewer.page.evaluate("headrace.video.ended"))

        wait_until(has_ended, timeout_s=15, what="hls.js has played it to its end")
        played = viewer.report()
        assert not played.hls_errors, viewer.describe()
        assert not played.bad_answers, viewer.describe()
        figures(f"hls.js: {played.samples[-1]['frames']} pictures")

    deleted = origin.call("DELETE", path, token=stream.key)
    assert deleted.status == 204
    assert recordings(origin, stream) == []
    assert origin.get(f"{path}/master.m3u8").status == 404
    assert not any((origin.data / "recordings").iterdir())


@pytest.mark.hard_cap(60)
def test_a_disk_without_room_ends_the_recording_and_live_goes_on(
    clip_of: Callable[[ClipSpec], Clip], tmp_path: Path
) -> None:
    need_ffmpeg()
    clip = clip_of(ClipSpec(name="full", duration_s=6.0))
    folder = tmp_path / "origin"
    folder.mkdir()
    room = {"HEADRACE_RECORDING_MIN_FREE_MB": "1000000"}  # a terabyte is to be left
    with running_origin(folder, env=room) as origin:
        stream = create_recorded(origin, "full")
        with LiveListener(origin.http, stream.id, stream.key) as listener:
            url = origin.publish_url(stream.key)
            with publish_with_ffmpeg(clip.path, url, tmp_path / "publisher.log") as child:
                (stopped,) = wait_until(
                    lambda: listener.of_type("recording.stopped"), timeout_s=10, what="it stops"
                )
                assert child.exit_code() is None
                assert child.wait(20) == 0
            assert "nearly full" in repr(stopped.data)
        playlist = f"/api/streams/{stream.id}/source/playlist.m3u8"
        wait_until(
            lambda: "#EXT-X-ENDLIST" in origin.get(playlist).text, timeout_s=5, what="live ends"
        )
        listed = map(float, re.findall(r"#EXTINF:([\d.]+)", origin.get(playlist).text))
        assert abs(sum(listed) - 6) < 0.1
        assert recordings(origin, stream) == []


@contextmanager
def origin_that_is_killed(folder: Path) -> Iterator[Origin]:
    """An origin that the test ends with kill -9 before it leaves."""
    before = running_origin(folder)
    origin = before.__enter__()
    try:
        yield origin
    except BaseException as error:
        before.__exit__(type(error), error, error.__traceback__)
        raise
    with pytest.raises(AssertionError, match="exit code -9"):
        before.__exit__(None, None, None)


@pytest.mark.long
@pytest.mark.hard_cap(75)
def test_kill_9_costs_what_no_part_was_made_of(
    clip_of: Callable[[ClipSpec], Clip], tmp_path: Path, figures: Callable[[str], None]
) -> None:
    need_ffmpeg()
    clip = clip_of(ClipSpec(name="killed", duration_s=20.0, b_frames=2))
    folder = tmp_path / "origin"
    folder.mkdir()
    with origin_that_is_killed(folder) as origin:
        stream = create_recorded(origin, "killed")
        url = origin.publish_url(stream.key)
        with publish_with_ffmpeg(clip.path, url, tmp_path / "publisher.log"):

            def listed_s() -> float:
                text = origin.get(f"/api/streams/{stream.id}/source/playlist.m3u8").text
                # Whole segments, and the parts behind the last of them.
                whole = sum(map(float, re.findall(r"#EXTINF:([\d.]+)", text)))
                tail = text.rpartition("#EXTINF")[2]
                parts = re.findall(r"#EXT-X-PART:.*?DURATION=([\d.]+)", tail)
                return whole + sum(map(float, parts))

            wait_until(lambda: listed_s() > 7, timeout_s=20, what="seven seconds are listed")
            least_s = listed_s()
            os.killpg(origin.child.pid, signal.SIGKILL)
    with running_origin(folder) as after:
        recording = wait_recording(after, stream)
        figures(f"listed {least_s:.2f} s, recorded {recording['durationSeconds']:.2f} s")
        # What a player had seen listed was on its way to the disk: but for the newest, it is there.
        assert recording["durationSeconds"] >= least_s - PART_S
        assert recording["reason"] == "the server stopped while it was made"
        path = f"/api/recordings/{recording['recordingId']}/download.mp4"
        whole = download(after, path, tmp_path / "download.mp4")
        duration_s, packets = probe(whole)
        assert abs(duration_s - recording["durationSeconds"]) < 0.15
        assert decoded_pictures(whole) == packets["video"]
        assert abs(packets["video"] - 30 * recording["durationSeconds"]) <= 3
        assert decoded_pictures(after.url(recording["playlistUrl"])) == packets["video"]


@pytest.mark.long
@pytest.mark.hard_cap(90)
def test_a_publisher_that_comes_back_and_then_with_another_picture(
    clip_of: Callable[[ClipSpec], Clip], viewers: Viewers, tmp_path: Path
) -> None:
    need_ffmpeg()
    small = clip_of(ClipSpec(name="small", duration_s=5.0))
    large = clip_of(ClipSpec(name="large", duration_s=5.0, width=640, height=360))
    folder = tmp_path / "origin"
    folder.mkdir()
    with running_origin(folder, "--reconnect-grace-s", "20") as origin:
        stream = create_recorded(origin, "comes back")
        url = origin.publish_url(stream.key)
        playlist_path = f"/api/streams/{stream.id}/source/playlist.m3u8"

        def breaks() -> int:
            """Discontinuities that are listed, behind which there is a whole segment."""
            text = origin.get(playlist_path).text
            return len(re.findall(r"#EXT-X-DISCONTINUITY\n(?:#.*\n)*?#EXTINF", text))

        for number, clip in enumerate((small, small, large)):
            log = tmp_path / f"publisher-{number}.log"
            with publish_with_ffmpeg(clip.path, url, log) as child:
                if number == 2:
                    assert child.wait(20) == 0
                    break
                wait_until(
                    lambda at=number: (
                        breaks() == at  # type: ignore[misc]
                        and "#EXTINF" in origin.get(playlist_path).text
                    ),
                    timeout_s=10,
                    what="a segment of this publisher",
                )
                child.send_signal(signal.SIGKILL)
                lost = r"publisher lost(?s:.*)" * (number + 1)
                origin.child.wait_for_log(lost, timeout_s=10)
        recording = wait_recording(origin, stream)
        playlist = playlist_of(origin, recording)
        assert sum(segment.discontinuity for segment in playlist.segments) == 2
        assert len({segment.init_section.uri for segment in playlist.segments}) == 2
        path = f"/api/recordings/{recording['recordingId']}/download.mp4"
        refused = origin.get(path)
        assert (refused.status, refused.json()["code"]) == (409, "severalFiles")
        pictures = 0
        for number in range(2):
            whole = download(origin, f"{path}?file={number}", tmp_path / f"{number}.mp4")
            _, packets = probe(whole)
            assert decoded_pictures(whole) == packets["video"]
            pictures += packets["video"]
        assert pictures > large.pictures
        with player_page("hls.js") as page, viewers.viewer("vod") as viewer:
            viewer.open(f"{page}?url={origin.url(recording['playlistUrl'])}")
            viewer.wait_playing()
            viewer.wait_height(360, timeout_s=20)
            errors = viewer.report().hls_errors  # it tells of the holes between publishers
            assert not [error for error in errors if error["fatal"]], viewer.describe()


@pytest.mark.long
@pytest.mark.hard_cap(75)
def test_browsers_and_curl_that_speak_http_2_get_it_all_the_same(
    clip_of: Callable[[ClipSpec], Clip], viewers: Viewers, tmp_path: Path
) -> None:
    need_ffmpeg()
    need_programs("curl")
    clip = clip_of(ClipSpec(name="recorded", duration_s=8.0, b_frames=2))
    folder = tmp_path / "origin"
    folder.mkdir()
    chain, key = make_pair().write(tmp_path)
    tls = {"HEADRACE_TLS_CERTIFICATE": str(chain), "HEADRACE_TLS_KEY": str(key)}
    with running_origin(folder, "--https", "127.0.0.1:0", env=tls) as origin:
        stream = create_recorded(origin, "secure")
        publish(origin, stream, clip, tmp_path / "publisher.log")
        recording = wait_recording(origin, stream)
        base = f"https://localhost:{origin.https.rpartition(':')[2]}"
        path = f"/api/recordings/{recording['recordingId']}"
        with player_page("hls.js") as page, viewers.viewer("h2", trusts_anybody=True) as viewer:
            viewer.open(f"{page}?url={base}{path}/master.m3u8")
            played = viewer.play_for(3)
            assert not played.hls_errors, viewer.describe()
            assert not played.stalls(), viewer.describe()
        saved = tmp_path / "download.mp4"
        argv = ["curl", "-sfk", "--http2", f"{base}{path}/download.mp4", "-o", str(saved)]
        assert subprocess.run(argv, timeout=20, check=False).returncode == 0
        assert decoded_pictures(saved) == clip.pictures
