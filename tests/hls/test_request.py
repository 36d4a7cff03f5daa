"""Delivery directives: what is refused, what waits, what is answered; every edge of 6.2.5.2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hls import (
    BadRequest,
    Directives,
    InitSegment,
    Part,
    Presentation,
    Ready,
    SegmentEnd,
    Timeline,
    Wait,
    decide,
    parse_directives,
)
from hls.request import advance_part_limit

# Reading the query.


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", Directives()),
        ("&&", Directives()),
        ("_HLS_msn=0", Directives(0)),
        ("_HLS_msn=7&_HLS_part=3", Directives(7, 3)),
        ("_HLS_part=3&_HLS_msn=7", Directives(7, 3)),
        ("token=a%26b&_HLS_msn=7&x=1&_HLS_part=0&token=c", Directives(7, 0)),
        ("%5FHLS_msn=7", Directives(7)),
        ("_HLS_msn=007", Directives(7)),
        ("_HLS_msn=18446744073709551615", Directives(2**64 - 1)),
        ("_HLS_skip=YES", Directives(skip=True)),
        ("_HLS_skip=v2&_HLS_msn=7", Directives(7, skip=True)),
        ("_HLS_skip=nonsense", Directives()),
        ("_HLS_skip=yes&_HLS_msn=7", Directives(7)),
        ("_HLS_report=1&_hls_msn=x&HLS_part=2", Directives()),
        ("%ff%fe=%00&=&==", Directives()),
    ],
)
def test_directives_are_read_and_everything_else_is_ignored(
    query: str, expected: Directives
) -> None:
    assert parse_directives(query) == expected


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("_HLS_part=3", "needs _HLS_msn"),
        ("_HLS_part=3&_HLS_skip=YES", "needs _HLS_msn"),
        ("_HLS_msn", "decimal integer"),
        ("_HLS_msn=", "decimal integer"),
        ("_HLS_msn=-1", "decimal integer"),
        ("_HLS_msn=+1", "decimal integer"),
        ("_HLS_msn= 1", "decimal integer"),
        ("_HLS_msn=1.0", "decimal integer"),
        ("_HLS_msn=0x1", "decimal integer"),
        ("_HLS_msn=1_000", "decimal integer"),
        ("_HLS_msn=abc", "decimal integer"),
        ("_HLS_msn=NaN", "decimal integer"),
        ("_HLS_msn=\u0663", "decimal integer"),
        ("_HLS_msn=1\n", "decimal integer"),
        ("_HLS_msn=%31", "decimal integer"),
        ("_HLS_msn=" + "9" * 21, "decimal integer"),
        ("_HLS_msn=" + "9" * 5000, "decimal integer"),
        ("_HLS_msn=1&_HLS_part=x", "_HLS_part is not"),
        ("_HLS_msn=1&_HLS_part=", "_HLS_part is not"),
        ("_HLS_msn=1&_HLS_msn=1", "_HLS_msn is given twice"),
        ("_HLS_msn=1&_HLS_part=1&_HLS_part=2", "_HLS_part is given twice"),
        ("_HLS_skip=nonsense&_HLS_skip=YES", "_HLS_skip is given twice"),
    ],
)
def test_bad_directives_are_refused_with_a_reason(query: str, reason: str) -> None:
    result = parse_directives(query)
    assert isinstance(result, BadRequest)
    assert reason in result.reason


@given(st.text(max_size=60))
def test_any_query_gives_one_or_the_other(query: str) -> None:
    assert isinstance(parse_directives(query), (Directives, BadRequest))


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ("x=1", ""),
        ("_HLS_msn=07&y", "_HLS_msn=7"),
        ("_HLS_skip=v2", "_HLS_skip=YES"),
        ("_HLS_skip=YES&_HLS_part=0&a=b&_HLS_msn=7", "_HLS_msn=7&_HLS_part=0&_HLS_skip=YES"),
    ],
)
def test_the_key_is_canonical_and_reads_back(query: str, key: str) -> None:
    directives = parse_directives(query)
    assert isinstance(directives, Directives)
    assert directives.key == key
    assert parse_directives(key) == directives


# Deciding.

BAD = BadRequest


def timeline_at(
    msn: int, parts: int, *, first_msn: int = 0, part_target_s: float = 0.2
) -> Timeline:
    """Segments of 5 parts, complete up to msn - 1, and so many parts of msn."""
    timeline = Timeline(token="t", started_at_s=0)
    timeline.apply(
        [
            Presentation(target_duration_s=1, part_target_s=part_target_s),
            InitSegment(index=0, data=b"", codecs=(), width=None, height=None, frame_rate=None),
        ]
    )
    for number in range(first_msn, msn + 1):
        for index in range(5 if number < msn else parts):
            add_part(timeline, number, index)
        if number < msn:
            timeline.apply([SegmentEnd(msn=number, duration_s=1.0)])
    return timeline


def add_part(timeline: Timeline, msn: int, index: int) -> None:
    timeline.apply(
        [
            Part(
                msn=msn,
                index=index,
                duration_s=0.2,
                independent=True,
                data=b"",
                init_index=0,
                discontinuity=False,
                media_time_s=msn + index * 0.2,
            )
        ]
    )


@pytest.mark.parametrize(
    ("msn", "part", "expected"),
    [
        (None, None, Ready),
        # The past is answered at once, listed or not.
        (0, None, Ready),
        (0, 0, Ready),
        (0, 99, Ready),
        (39, None, Ready),
        (39, 4, Ready),
        # Past the end of a finished segment: part 0 of the next, which is there.
        (39, 5, Ready),
        (39, 999, Ready),
        # The open segment, which has parts 0, 1 and 2.
        (40, 0, Ready),
        (40, 2, Ready),
        (40, 3, Wait),
        (40, None, Wait),
        # Advance Part Limit: 3 / 0.2 = 15 parts beyond part 2.
        (40, 17, Wait),
        (40, 18, BAD),
        # The segment after it.
        (41, None, Wait),
        (41, 0, Wait),
        (41, 14, Wait),
        (41, 15, BAD),
        # The last media segment is 39; plus two is 41.
        (42, None, BAD),
        (42, 0, BAD),
        (2**64 - 1, 2**64 - 1, BAD),
    ],
)
def test_decisions_inside_a_segment(
    msn: int | None, part: int | None, expected: type[Ready | Wait | BadRequest]
) -> None:
    timeline = timeline_at(40, 3)
    assert isinstance(decide(timeline, Directives(msn, part)), expected)


@pytest.mark.parametrize(
    ("msn", "part", "expected"),
    [
        (None, None, Ready),
        (39, None, Ready),
        (39, 4, Ready),
        # 39 ended with part 4: these mean part 0 of 40, and no index is too far.
        (39, 5, Wait),
        (39, 999, Wait),
        (40, None, Wait),
        (40, 0, Wait),
        (40, 14, Wait),
        (40, 15, BAD),
        (41, None, Wait),
        (41, 0, Wait),
        (42, None, BAD),
    ],
)
def test_decisions_between_two_segments(
    msn: int | None, part: int | None, expected: type[Ready | Wait | BadRequest]
) -> None:
    timeline = timeline_at(40, 0)
    assert isinstance(decide(timeline, Directives(msn, part)), expected)


def test_one_past_the_end_rolls_over_when_the_next_segment_begins() -> None:
    timeline = timeline_at(40, 4)
    add_part(timeline, 40, 4)
    asked = Directives(40, 5)
    assert isinstance(decide(timeline, asked), Wait)
    timeline.apply([SegmentEnd(msn=40, duration_s=1.0)])
    assert isinstance(decide(timeline, asked), Wait)
    add_part(timeline, 41, 0)
    assert isinstance(decide(timeline, asked), Ready)


def test_a_whole_segment_is_waited_for_to_its_end() -> None:
    timeline = timeline_at(40, 0)
    asked = Directives(40)
    for index in range(5):
        assert isinstance(decide(timeline, asked), Wait)
        add_part(timeline, 40, index)
    assert isinstance(decide(timeline, asked), Wait)
    timeline.apply([SegmentEnd(msn=40, duration_s=1.0)])
    assert isinstance(decide(timeline, asked), Ready)


@pytest.mark.parametrize("asked", [Directives(), Directives(0), Directives(0, 0), Directives(9**9)])
def test_everything_waits_for_the_first_segment(asked: Directives) -> None:
    assert isinstance(decide(Timeline(token="t", started_at_s=0), asked), Wait)
    assert isinstance(decide(timeline_at(0, 3), asked), Wait)
    assert isinstance(decide(timeline_at(7, 3, first_msn=7), asked), Wait)


@pytest.mark.parametrize(
    "asked", [Directives(), Directives(0), Directives(41, 999), Directives(2**63, 2**63)]
)
def test_after_the_end_directives_are_ignored(asked: Directives) -> None:
    timeline = timeline_at(40, 3)
    timeline.end()
    assert isinstance(decide(timeline, asked), Ready)


def test_an_end_without_any_segment_leaves_nothing_to_wait_for() -> None:
    timeline = Timeline(token="t", started_at_s=0)
    timeline.end()
    assert isinstance(decide(timeline, Directives()), BadRequest)


@pytest.mark.parametrize(
    ("part_target_s", "limit"),
    [(0.2, 15), (0.201, 15), (0.334, 9), (0.5, 6), (0.999, 4), (1.0, 3), (2.0, 3)],
)
def test_advance_part_limit(part_target_s: float, limit: int) -> None:
    assert advance_part_limit(part_target_s) == limit
