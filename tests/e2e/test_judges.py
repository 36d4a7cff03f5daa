"""The judges are not blind: each fault planted into a clean harvest is named.

Without this a probe that fetched nothing, or a judge that compared nothing, would pass everything.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from ffmpeg_cli import need_ffmpeg, publish_with_ffmpeg
from hls_probe import Harvest, HlsProbe, judge
from media_clips import Clip, ClipSpec
from origin_process import Origin

pytestmark = pytest.mark.e2e


def second_segment(harvest: Harvest) -> int:
    return min(harvest.segments) + 1


def second_part(harvest: Harvest) -> tuple[int, int]:
    return min(harvest.segments), 1


def change_a_part(harvest: Harvest) -> None:
    key = second_part(harvest)
    part = harvest.parts[key]
    harvest.parts[key] = replace(part, data=part.data[:-1] + b"\0")


def claim_independence(harvest: Harvest) -> None:
    key = second_part(harvest)
    harvest.parts[key] = replace(harvest.parts[key], independent=True)


def answer_a_hint_with_other_bytes(harvest: Harvest) -> None:
    harvest.hinted[next(iter(harvest.hinted))] += b"\0"


def lose_a_segment(harvest: Harvest) -> None:
    del harvest.segments[second_segment(harvest)]


def lose_the_last_segment(harvest: Harvest) -> None:
    del harvest.segments[max(harvest.segments)]


def stretch_a_segment(harvest: Harvest) -> None:
    key = second_segment(harvest)
    uri, duration_s, data = harvest.segments[key]
    harvest.segments[key] = (uri, duration_s + 0.3, data)


def damage_a_segment(harvest: Harvest) -> None:
    key = second_segment(harvest)
    uri, duration_s, data = harvest.segments[key]
    middle = len(data) // 2
    harvest.segments[key] = (uri, duration_s, data[:middle] + bytes(200) + data[middle + 200 :])


def change_the_part_target(harvest: Harvest) -> None:
    live = harvest.snapshots[-3]
    text = live.text.replace("PART-TARGET=0.2", "PART-TARGET=0.22")
    harvest.snapshots[-3] = replace(live, text=text)


def tear_a_line(harvest: Harvest) -> None:
    last = harvest.snapshots[-2]
    harvest.snapshots[-2] = replace(last, text=last.text[:-20])


PLANTED: list[tuple[Callable[[Harvest], None], str]] = [
    (change_a_part, "MF-07"),
    (claim_independence, "PT-06"),
    (answer_a_hint_with_other_bytes, "PH-03"),
    (lose_a_segment, "steps from"),
    (lose_the_last_segment, "pictures decoded"),
    (stretch_a_segment, "PT-05"),
    (damage_a_segment, "PyAV"),
    (change_the_part_target, "MP-03"),
    (tear_a_line, "MP-17"),
]


@pytest.mark.hard_cap(60)
def test_every_planted_fault_is_named(
    clip_of: Callable[[ClipSpec], Clip], origin: Origin, tmp_path: Path
) -> None:
    need_ffmpeg()
    clip = clip_of(ClipSpec(name="judged", b_frames=2, duration_s=6.0))
    stream = origin.create_stream("judged")
    probe = HlsProbe(origin.http, stream.id, origin.saw)
    probe.start()
    url = origin.publish_url(stream.key)
    with publish_with_ffmpeg(clip.path, url, tmp_path / "ffmpeg.log") as publisher:
        assert publisher.wait(20) == 0, publisher.tail()
    harvest = probe.finish(20)
    assert judge(harvest, clip, tmp_path / "clean") == []
    for plant, name in PLANTED:
        spoilt = deepcopy(harvest)
        plant(spoilt)
        faults = judge(spoilt, clip, tmp_path / plant.__name__)
        assert any(name in fault for fault in faults), f"{plant.__name__}: {faults}"
