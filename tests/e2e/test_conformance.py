"""The conformance checker on the real origin: no MUST of the reference may be broken.

A publisher on a script sends to an origin with a ladder, loses its connection and returns, changes
the size and the configuration of its media, and says goodbye; the checker, a program of its own
that knows HTTP only, watches all of it. Another test has a real OBS that ends and comes back with
another size, watched over TLS; a third one kills an encoder.

Length: `HEADRACE_CONFORMANCE_SECONDS`, default 30.
"""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import rtmp_publishers as wire
from certificates import make_pair
from conformance_run import check, seen
from ladder_origin import SMALL_RUNGS, running_ladder, workers
from media_clips import Clip, ClipSpec
from obs_studio import START_TIMEOUT_S, ObsOutput, need_obs, running_obs
from origin_process import CreatedStream, Origin
from scripted_publisher import Line, ScriptedPublisher

pytestmark = [pytest.mark.e2e, pytest.mark.long]

SECONDS = float(os.environ.get("HEADRACE_CONFORMANCE_SECONDS", "30"))
START_S = 20.0
RESTART_S = 5.0
"""OBS is away for about as long."""
END_S = 20.0
"""What the checker waits for the end, and then looks after the media."""
AWAY_S = 3.0
CLIP_S = 8.0

CALM = ClipSpec(name="calm", duration_s=CLIP_S, keyint_s=1.0)
LARGER = ClipSpec(name="larger", duration_s=CLIP_S, keyint_s=1.0, width=640, height=360)
OTHER = ClipSpec(
    name="other", duration_s=CLIP_S, keyint_s=1.0, b_frames=2, sample_rate=44_100, channels=1
)


def stream_url(origin: Origin, stream: CreatedStream, name: str = "master.m3u8") -> str:
    return origin.url(f"/api/streams/{stream.id}/{name}")


@pytest.mark.hard_cap(SECONDS + 180)
def test_a_broadcast_with_ladder_reconnects_and_format_changes(
    clip_of: Callable[[ClipSpec], Clip], tmp_path: Path, artifacts: Path
) -> None:
    clips = {spec.name: wire.load_media(clip_of(spec).path) for spec in (CALM, LARGER, OTHER)}
    rounds = max(1, round(SECONDS / (4 * CLIP_S + AWAY_S)))

    def script(line: Line) -> None:
        line.connect()
        for _ in range(rounds):
            line.publish(clips["calm"], seconds=CLIP_S)
            line.drop()
            line.rest(AWAY_S)
            line.connect()
            line.publish(clips["calm"], seconds=CLIP_S)
            line.publish(clips["larger"], seconds=CLIP_S)
            line.publish(clips["other"], seconds=CLIP_S)
        line.goodbye()

    def silent(line: Line) -> None:
        line.connect()
        line.publish(clips["calm"], seconds=CLIP_S)
        line.rest(SECONDS + 180)

    (tmp_path / "origin").mkdir()
    with running_ladder(
        tmp_path / "origin", "144p,90p", "--reconnect-grace-s", "30", rungs=SMALL_RUNGS
    ) as origin:
        stream, stalled = origin.create_stream("conformance"), origin.create_stream("stalled")
        seconds = rounds * (4 * CLIP_S + AWAY_S)
        with (
            ScriptedPublisher(origin.rtmp, stalled.key, silent) as other,
            ScriptedPublisher(origin.rtmp, stream.key, script) as publisher,
        ):
            broken, report = check(
                stream_url(origin, stream),
                artifacts,
                f"--seconds={seconds:g}",
                f"--wait-end={END_S:g}",
                f"--stall-url={stream_url(origin, stalled, 'source/playlist.m3u8')}",
            )
            assert publisher.error is other.error is None, (publisher.error, other.error)
    assert not broken, "\n".join(broken)
    assert seen(report, "EN-01", "EN-02", "EN-03", "EN-05", "MF-09", "MP-05"), report


@pytest.mark.hard_cap(SECONDS + 180)
def test_obs_with_ladder_returns_with_another_size(
    clip_of: Callable[[ClipSpec], Clip], tmp_path: Path, artifacts: Path
) -> None:
    need_obs()
    certificate, key = make_pair().write(tmp_path)
    for name in ("origin", "640", "320"):
        (tmp_path / name).mkdir()
    with running_ladder(
        tmp_path / "origin",
        "144p",
        *("--https", "127.0.0.1:0"),
        *("--tls-certificate", str(certificate), "--tls-key", str(key)),
        *("--reconnect-grace-s", "60"),
        rungs=SMALL_RUNGS,
    ) as origin:
        secure = origin.child.wait_for_log(r"\bhttps=(\S+)", timeout_s=1).group(1)
        stream = origin.create_stream("OBS")

        def publish(width: int, height: int) -> None:
            """OBS for half of the time; it ends without a word, as if the line had broken."""
            clip = clip_of(ClipSpec(name=f"obs-{width}", width=width, height=height, duration_s=5))
            output = ObsOutput(
                server=origin.rtmp_server,
                key=stream.key,
                keyint_frames=30,
                bitrate_kbps=800,
                width=width,
                height=height,
                fps=30,
            )
            with running_obs(tmp_path / str(width), output, clip.path) as obs:
                obs.wait_for_log("Streaming Start", timeout_s=START_TIMEOUT_S)
                time.sleep(SECONDS / 2)
                obs.stop()

        with ThreadPoolExecutor(1) as pool:
            judging = pool.submit(
                check,
                f"https://{secure}/api/streams/{stream.id}/master.m3u8",
                artifacts,
                f"--seconds={SECONDS + RESTART_S:g}",
                f"--wait-start={START_TIMEOUT_S + START_S:g}",
                "--insecure",
            )
            publish(640, 360)
            publish(320, 180)
            broken, report = judging.result()
    assert not broken, "\n".join(broken)
    assert seen(report, "HT-13", "MF-09", "EN-03"), report


@pytest.mark.hard_cap(120)
def test_a_killed_encoder_leaves_gaps(
    clip_of: Callable[[ClipSpec], Clip], tmp_path: Path, artifacts: Path
) -> None:
    clip = wire.load_media(clip_of(CALM).path)

    def script(line: Line) -> None:
        line.connect()
        line.publish(clip, seconds=CLIP_S)
        os.kill(min(workers(origin)), signal.SIGKILL)
        for _ in range(2):
            line.publish(clip, seconds=CLIP_S)
        line.goodbye()

    (tmp_path / "origin").mkdir()
    with running_ladder(tmp_path / "origin", "144p,90p", rungs=SMALL_RUNGS) as origin:
        stream = origin.create_stream("conformance")
        with ScriptedPublisher(origin.rtmp, stream.key, script) as publisher:
            broken, report = check(
                stream_url(origin, stream), artifacts, f"--seconds={3 * CLIP_S:g}", "--wait-end=20"
            )
            assert publisher.error is None, publisher.error
    assert not broken, "\n".join(broken)
    assert seen(report, "EN-04"), report
