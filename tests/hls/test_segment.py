"""A segment's own lines: what it lists in each phase of its life, and exact numbers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hls.media import Part
from hls.segment import Segment

STARTED_AT_NS = 1_700_000_000_000_000_000


def part(index: int, duration_s: float, *, media_time_s: float = 0.0) -> Part:
    return Part(
        msn=3,
        index=index,
        duration_s=duration_s,
        independent=index == 0,
        data=b"<%d>" % index,
        init_index=1,
        discontinuity=False,
        media_time_s=media_time_s,
    )


def begun(first: Part, *, brings_map: bool = False, discontinuity: bool = False) -> Segment:
    return Segment.begin(
        first,
        name="seg",
        map_uri="init",
        brings_map=brings_map,
        discontinuity=discontinuity,
        started_at_ns=STARTED_AT_NS,
    )


DATE = b"#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:21.500Z\n"
PARTS = (
    b'#EXT-X-PART:DURATION=0.200000,URI="p0",INDEPENDENT=YES\n'
    b'#EXT-X-PART:DURATION=0.100000,URI="p1"\n'
)
CLOSING = b"#EXTINF:0.300000,\nseg\n"


def test_the_text_in_each_phase() -> None:
    first = part(0, 0.2, media_time_s=1.5)
    segment = begun(first)
    assert segment.text == DATE
    segment.add(first, "p0")
    segment.add(part(1, 0.1), "p1")
    assert segment.text == DATE + PARTS
    assert (segment.chunks, segment.part_names) == ([b"<0>", b"<1>"], ["p0", "p1"])
    assert (segment.size_bytes, segment.duration_ns) == (6, 300_000_000)
    segment.end()
    assert segment.text == DATE + PARTS + CLOSING
    segment.unlist_parts()
    assert segment.text == DATE + CLOSING
    assert segment.part_names == ["p0", "p1"]


@pytest.mark.parametrize(
    ("brings_map", "discontinuity", "text"),
    [
        (True, False, b'#EXT-X-MAP:URI="init"\n'),
        (False, True, b"#EXT-X-DISCONTINUITY\n"),
        (True, True, b'#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI="init"\n'),
    ],
)
def test_tags_of_a_break_come_first(brings_map: bool, discontinuity: bool, text: bytes) -> None:
    first = part(0, 0.2, media_time_s=1.5)
    segment = begun(first, brings_map=brings_map, discontinuity=discontinuity)
    assert segment.text == text + DATE


def test_dates_are_rounded_to_the_nearest_millisecond() -> None:
    assert b"21.501Z" in begun(part(0, 0.2, media_time_s=1.5005)).text
    assert b"21.500Z" in begun(part(0, 0.2, media_time_s=1.500499)).text


@given(
    durations_s=st.lists(st.floats(0.001, 3.0), min_size=1, max_size=50),
    start_s=st.floats(0, 1e6),
)
def test_durations_add_up_and_are_never_rounded_past_a_target_in_milliseconds(
    durations_s: list[float], start_s: float
) -> None:
    segment = begun(part(0, durations_s[0], media_time_s=start_s))
    written_us = []
    for index, duration_s in enumerate(durations_s):
        before_us = segment.duration_us
        segment.add(part(index, duration_s), f"p{index}")
        written_us.append(segment.duration_us - before_us)
        target_us = -(-round(duration_s * 1e9) // 1_000_000) * 1000
        assert written_us[-1] <= target_us
    assert sum(written_us) == segment.duration_us
    assert abs(segment.duration_us - segment.duration_ns / 1000) <= 1


def test_a_part_that_is_missing_is_listed_and_leaves_nothing_behind() -> None:
    segment = begun(part(0, 0.2))
    segment.add(part(0, 0.2), "p0")
    segment.add(replace(part(1, 0.1), gap=True, data=b""), "p1")
    segment.end()
    gap = b'#EXT-X-PART:DURATION=0.100000,URI="p1",GAP=YES\n'
    assert gap in segment.text
    assert segment.gap
    assert segment.text.endswith(b"#EXT-X-GAP\n" + CLOSING)
    assert (segment.chunks, segment.part_names) == ([b"<0>"], ["p0"])
    assert (segment.size_bytes, segment.duration_ns) == (3, 300_000_000)
    segment.unlist_parts()
    assert segment.text.endswith(b"Z\n#EXT-X-GAP\n" + CLOSING)
