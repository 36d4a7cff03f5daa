"""Capture to glass of a transcoded rendition: the clock in the picture, read off the screen.

The demo broadcaster paints the wall clock into its 720p pictures as black and white cells; they
survive decoding, scaling and encoding to 360p, and the page reads them back off a canvas.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
from chromium_player import Viewers, spread
from ladder_origin import running_ladder

pytestmark = pytest.mark.e2e

LATENCY_S = 1.5
WATCHED_S = 10.0


@pytest.mark.hard_cap(90)
def test_a_transcoded_picture_is_on_the_screen_within_a_second_and_a_half(
    viewers: Viewers, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    with (
        running_ladder(tmp_path, "360p", "--demo") as origin,
        viewers.viewer("glass") as player,
    ):
        address = origin.child.wait_for_log(r"http://\S+/watch/[^\s\"]+", timeout_s=15).group(0)
        player.open(address)
        player.wait_playing()
        player.choose("360p")
        player.wait_height(360, timeout_s=10)
        since = player.report().samples[-1]["at"]
        played = player.watch_on(WATCHED_S)
        shown = [sample["latency"] for sample in played.glass if sample["at"] > since]
        figures(f"360p: capture to glass {spread(shown)}; {played.summary()}")

        assert int(played.samples[-1]["height"]) == 360, "it did not stay at 360 lines"
        assert not played.stalls(), played.stalls()
        assert not played.hls_errors, played.hls_errors
        assert not played.bad_answers, played.bad_answers
        assert len(shown) > 3 * WATCHED_S, "the clock in the picture could not be read"
        assert median(shown) <= LATENCY_S
