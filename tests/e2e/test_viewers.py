"""Viewers are counted: pages in Chromium at the origin and behind an edge, each exactly once."""

import time
from pathlib import Path

import pytest
from child_process import wait_until
from chromium_player import Viewers
from edge_process import running_edge
from origin_process import Origin, running_origin

pytestmark = pytest.mark.e2e

IN_S = 15.0
OUT_S = 60.0


def count(origin: Origin, stream_id: str) -> int:
    """What the API says, everywhere the same."""
    shown = origin.get(f"/api/streams/{stream_id}/viewers").json()["count"]
    assert origin.get(f"/api/streams/{stream_id}").json()["viewerCount"] == shown
    return int(shown)


def wait_count(origin: Origin, stream_id: str, wanted: int, timeout_s: float) -> float:
    """Wait for a count; how long it took."""
    started_s = time.monotonic()
    wait_until(
        lambda: count(origin, stream_id) == wanted,
        timeout_s=timeout_s,
        what=f"{wanted} viewers are counted",
    )
    return time.monotonic() - started_s


@pytest.mark.hard_cap(90)
def test_pages_are_counted_once_wherever_they_are(viewers: Viewers, tmp_path: Path) -> None:
    with running_origin(tmp_path, "--demo") as origin:
        address = origin.child.wait_for_log(r"http://\S+/watch/([^\s\"]+)", timeout_s=15)
        path = f"/watch/{address.group(1)}"
        stream_id = address.group(1)
        with (
            running_edge(tmp_path, origin.url(""), workers=2) as edge,
            viewers.viewer("first") as first,
        ):
            first.open(origin.url(path))
            first.wait_playing()
            assert wait_count(origin, stream_id, 1, IN_S) <= IN_S
            with viewers.viewer("second") as second, viewers.viewer("third") as third:
                for page in (second, third):
                    page.open(edge.url(path))
                    page.wait_playing()
                wait_count(origin, stream_id, 3, IN_S)
                first.page.locator("#viewers", has_text="3 viewers").wait_for(timeout=IN_S * 1000)
                first.page.reload()
                first.wait_playing()
                first.watch_on(3.0)
                assert count(origin, stream_id) == 3, "a page that is loaded again is one viewer"
                second.page.close(run_before_unload=False)
                wait_count(origin, stream_id, 2, OUT_S)
            wait_count(origin, stream_id, 1, OUT_S)
        wait_count(origin, stream_id, 0, OUT_S)
        figures = origin.get(f"/api/streams/{stream_id}/viewers").json()
        assert figures["peak"] in (3, 4)  # a page that is loaded again may be two for an instant
        assert figures["watchMinutes"] > 0


def test_what_was_watched_outlives_the_process(tmp_path: Path) -> None:
    with running_origin(tmp_path) as origin:
        stream = origin.create_stream("kept")
        path = f"/api/streams/{stream.id}"
        assert origin.post(f"{path}/start", {}, token=stream.key).status == 200
        for name in ("viewer-1", "viewer-2"):
            assert origin.post(f"{path}/viewers", {"viewerId": name}).status == 200
        shown = origin.call("GET", f"{path}/viewers/broadcasts", token=stream.key).json()
        (running,) = shown["broadcasts"]
        assert (running["peak"], running["endedAt"]) == (2, None)
    with running_origin(tmp_path) as origin:
        origin.secrets.add(stream.key)
        shown = origin.call("GET", f"{path}/viewers/broadcasts", token=stream.key).json()
        (over,) = shown["broadcasts"]
        assert over["startedAt"] == running["startedAt"]
        assert over["peak"] == 2
        assert over["endedAt"] > over["startedAt"]
        assert origin.get(f"{path}/viewers").json()["count"] == 0
