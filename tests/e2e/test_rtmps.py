"""The `ffmpeg` program over RTMPS, behind a balancer that says whose connection it is."""

from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import make_pair
from ffmpeg_cli import need_ffmpeg, publish_with_ffmpeg
from hls_probe import HlsProbe, judge
from media_clips import Clip, ClipSpec
from origin_process import running_origin
from tcp_balancer import balancing

pytestmark = pytest.mark.e2e

CLIENT = "203.0.113.7"


@pytest.mark.hard_cap(60)
def test_ffmpeg_publishes_over_tls_through_a_balancer(
    clip_of: Callable[[ClipSpec], Clip], tmp_path: Path
) -> None:
    need_ffmpeg()
    clip = clip_of(ClipSpec(name="30-b2-tls", b_frames=2))
    certificate, key = make_pair().write(tmp_path)
    arguments = ["--rtmps", "127.0.0.1:0", "--rtmp-proxy-protocol", "127.0.0.1"]
    arguments += ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    with running_origin(tmp_path, *arguments) as origin:
        address = origin.child.wait_for_log(r"\brtmps=(\S+)", timeout_s=1).group(1)
        host, _, port = address.rpartition(":")
        stream = origin.create_stream("tls")
        probe = HlsProbe(origin.http, stream.id, origin.saw)
        probe.start()
        try:
            with balancing(host, int(port), client=CLIENT) as balancer:
                url = f"rtmps://127.0.0.1:{balancer}/live/{stream.key}"
                with publish_with_ffmpeg(clip.path, url, tmp_path / "ffmpeg.log") as ffmpeg:
                    assert ffmpeg.wait(30) == 0, ffmpeg.tail()
            harvest = probe.finish(20)
        finally:
            probe.stop()
        origin.child.wait_for_log(rf"connection closed .*address={CLIENT}", timeout_s=5)
    assert not judge(harvest, clip, tmp_path / "judged")
