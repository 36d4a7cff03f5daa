"""GStreamer's `rtmp2sink` as a publisher, where it is installed, or its `rtmpsink`, librtmp's."""

import subprocess
from pathlib import Path

import pytest
from child_process import Child


def need_rtmp2sink(sink: str = "rtmp2sink") -> None:
    """Skip the running test without the plugins it needs."""
    for element in (sink, "flvmux", "qtdemux", "h264parse", "aacparse"):
        found = subprocess.run(
            ["gst-inspect-1.0", "--exists", element], capture_output=True, check=False, timeout=30
        )
        if found.returncode:
            pytest.skip(f"GStreamer lacks {element} (Debian: gstreamer1.0-plugins-bad and -good)")


def publish_with_gstreamer(
    clip: Path, location: str, log: Path, *, sink: str = "rtmp2sink"
) -> Child:
    """Start `gst-launch-1.0` publishing a clip at its own speed, as it is (no encoding)."""
    pipeline = (
        f"filesrc location={clip} ! qtdemux name=d "
        "flvmux name=m streamable=true ! identity sync=true ! "
        f"{sink} location={location} sync=true "
        "d.video_0 ! queue ! h264parse ! video/x-h264,stream-format=avc ! m. "
        "d.audio_0 ! queue ! aacparse ! m."
    )
    return Child(["gst-launch-1.0", *pipeline.split()], log=log)
