"""Relays between real programs: two origins, ffmpeg as publisher, ffprobe as monitor and judge."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from child_process import Child
from ffmpeg_cli import need_ffmpeg, publish_with_ffmpeg
from hls_probe import HlsProbe, judge
from media_clips import Clip, ClipSpec
from origin_process import CreatedStream, HttpClient, Origin, running_origin

pytestmark = [pytest.mark.e2e, pytest.mark.long]

SPEC = ClipSpec(name="relayed", b_frames=2, duration_s=8.0)


def set_relays(origin: Origin, stream: CreatedStream, body: object) -> None:
    client = HttpClient(origin.http)
    try:
        bearer = {"Authorization": f"Bearer {origin.admin_token()}"}
        answer = client.request(
            "PUT", f"/api/streams/{stream.id}/relays", body=body, headers=bearer
        )
    finally:
        client.close()
    origin.saw("PUT relays", answer.text)
    assert answer.status == 200, answer.text


def monitor(url: str, headers: str, log: Path) -> Child:
    """Start `ffprobe`, which counts what it reads until the source ends."""
    argv = ["ffprobe", "-v", "warning", "-count_packets", "-of", "csv"]
    argv += ["-show_entries", "stream=codec_name,nb_read_packets"]
    return Child([*argv, *(["-headers", headers] if headers else []), url], log=log)


@contextmanager
def two_origins(folder: Path) -> Iterator[tuple[Origin, Origin]]:
    """One near, one far; what is secret at one must not be told by the other."""
    near_folder, far_folder = folder / "near", folder / "far"
    near_folder.mkdir()
    far_folder.mkdir()
    with running_origin(near_folder) as near, running_origin(far_folder) as far:
        near.secrets = far.secrets
        yield near, far


def counted(monitor: Child) -> list[str]:
    """What `ffprobe` counted, or complained about."""
    return sorted(monitor.log_text().split("\n"))


@pytest.mark.hard_cap(60)
def test_a_forward_and_monitors_get_the_whole_source(
    clip_of: Callable[[ClipSpec], Clip], tmp_path: Path
) -> None:
    need_ffmpeg()
    clip = clip_of(SPEC)
    with two_origins(tmp_path) as (near, far):
        stream, far_stream = near.create_stream("near"), far.create_stream("far")
        set_relays(near, stream, {"forward": [far.publish_url(far_stream.key)]})
        url = near.publish_url(stream.key)
        flv = near.url(f"/api/streams/{stream.id}/source.flv")
        bearer = f"Authorization: Bearer {stream.key}\r\n"
        with ExitStack() as stack:
            probe = HlsProbe(far.http, far_stream.id, far.saw)
            probe.start()
            stack.callback(probe.stop)
            publisher = stack.enter_context(
                publish_with_ffmpeg(clip.path, url, tmp_path / "publisher.log")
            )
            near.wait_status(stream, "live", timeout_s=10)
            monitors = [
                stack.enter_context(monitor(flv, bearer, tmp_path / "flv.log")),
                stack.enter_context(monitor(url, "", tmp_path / "rtmp.log")),
            ]
            assert publisher.wait(30) == 0, publisher.tail()
            for seen in monitors:
                assert seen.wait(10) == 0, seen.tail()
            far.wait_status(far_stream, "ended", timeout_s=10)
            harvest = probe.finish(20)
        assert judge(harvest, clip, tmp_path / "judged") == []
        pictures, sound = f"stream,h264,{clip.pictures}", f"stream,aac,{clip.sound_frames}"
        for seen in monitors:
            assert counted(seen) == ["", sound, pictures]


@pytest.mark.hard_cap(60)
def test_a_pull_publishes_what_another_origin_plays(
    clip_of: Callable[[ClipSpec], Clip], tmp_path: Path
) -> None:
    need_ffmpeg()
    clip = clip_of(SPEC)
    with two_origins(tmp_path) as (near, far):
        stream, far_stream = near.create_stream("near"), far.create_stream("far")
        probe = HlsProbe(near.http, stream.id, near.saw)
        url = far.publish_url(far_stream.key)
        with ExitStack() as stack:
            probe.start()
            stack.callback(probe.stop)
            publisher = stack.enter_context(
                publish_with_ffmpeg(clip.path, url, tmp_path / "publisher.log")
            )
            far.wait_status(far_stream, "live", timeout_s=10)
            set_relays(near, stream, {"pull": url})
            near.wait_status(stream, "live", timeout_s=10)
            assert publisher.wait(30) == 0, publisher.tail()
            near.wait_status(stream, "ended", timeout_s=10)  # nobody came back in time
            harvest = probe.finish(20)
        assert judge(harvest, clip, tmp_path / "judged") == []
