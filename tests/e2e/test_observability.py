"""What operators see of a live origin: /metrics as documented, /ready to the end, the log."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from child_process import wait_until
from ffmpeg_cli import need_ffmpeg, publish_with_ffmpeg
from media_clips import Clip, ClipSpec
from origin_process import ROOT, Origin, running_origin
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.e2e

DOCUMENTED = re.compile(r"^\| `((?:headrace|process)_\w+)` \| (\w+) \|", re.MULTILINE)
FAREWELL_S = 1.5

Figures = dict[str, dict[tuple[str, ...], float]]


def figures(origin: Origin) -> Figures:
    """What `/metrics` says, by family and values of labels; each is as docs/metrics.md has it."""
    answer = origin.get("/metrics")
    assert answer.status == 200
    documented = dict(DOCUMENTED.findall((ROOT / "docs" / "metrics.md").read_text()))
    found: Figures = {}
    for family in text_string_to_metric_families(answer.text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert documented.get(name) == family.type, f"{name} is not as documented"
        found[name] = {tuple(sample.labels.values()): sample.value for sample in family.samples}
    expected = {name for name in documented if not name.startswith("headrace_edge_")}
    # Nothing is transcoded here, so nothing tells of it.
    assert expected - set(found) <= {
        name for name in expected if name.startswith("headrace_transcode_")
    }
    return found


def tell(origin: Origin, expected: Figures) -> None:
    """Wait until the figures are these: a rendering serves for a second."""

    def look() -> bool:
        told.update(figures(origin))
        return all(told[name] == values for name, values in expected.items())

    told: Figures = {}
    try:
        wait_until(look, timeout_s=5, what="figures")
    except BaseException as error:
        error.add_note(repr({name: told.get(name) for name in expected}))
        raise


@pytest.mark.hard_cap(60)
def test_a_live_origin_tells_and_says_when_it_stops(
    clip_of: Callable[[ClipSpec], Clip], tmp_path: Path
) -> None:
    need_ffmpeg()
    clip = clip_of(ClipSpec(name="short", duration_s=12))
    env = {"HEADRACE_FAREWELL_S": str(FAREWELL_S), "HEADRACE_ACCESS_LOG": "all"}
    with running_origin(tmp_path, env=env) as origin:
        wait_until(
            lambda: origin.get("/ready").status == 200, timeout_s=5, what="the origin is ready"
        )
        tell(origin, {"headrace_broadcasts_live": {(): 0}, "headrace_rtmp_publishers": {(): 0}})
        stream = origin.create_stream("seen")
        log = tmp_path / "ffmpeg.log"
        with publish_with_ffmpeg(clip.path, origin.publish_url(stream.key), log):
            origin.wait_status(stream, "live", timeout_s=10)
            assert origin.get(f"/api/streams/{stream.id}/master.m3u8").status == 200
            viewer = {"viewerId": "somebody-1"}
            assert origin.post(f"/api/streams/{stream.id}/viewers", viewer).status == 200
            tell(
                origin,
                {
                    "headrace_broadcasts_live": {(): 1},
                    "headrace_rtmp_publishers": {(): 1},
                    "headrace_viewers": {(stream.id,): 1},
                    "headrace_renditions_live": {("source",): 1},
                    "headrace_store_errors_total": {(): 0},
                },
            )
            wait_until(
                lambda: figures(origin)["headrace_publisher_bytes_per_second"].get((stream.id,)),
                timeout_s=5,
                what="the publisher's bitrate is told",
            )
            assert figures(origin)["headrace_rtmp_received_bytes_total"][()] > 10_000
        refused = publish_with_ffmpeg(clip.path, origin.publish_url("live_" + "0" * 32), log)
        with refused as child:
            child.wait(10)
        tell(
            origin,
            {
                "headrace_rtmp_refused_total": {("unknownKey",): 1},
                "headrace_rtmp_accepted_total": {(): 2},
                "headrace_rtmp_connections": {(): 0},
                "headrace_wrong_credentials_total": {(): 1},
            },
        )
        line = origin.child.wait_for_log(r"request .*path=/api/streams/\w+/viewers .*", timeout_s=2)
        assert f"stream={stream.id}" in line.group(0)
        assert "status=200" in line.group(0)

        origin.child.send_signal(signal.SIGTERM)
        wait_until(
            lambda: origin.get("/ready").status == 503,
            timeout_s=FAREWELL_S,
            what="the origin says that it stops",
        )
        answer = origin.get("/ready")
        assert answer.json()["checks"]["running"] == {"ok": False, "reason": "stopping"}
        assert origin.get("/health").status == 200
        assert origin.child.wait(10) == 0
