"""The assembler: which audio a part takes, how long it waits for it, how it is numbered."""

from dataclasses import replace
from typing import Any

from media_rules import AUDIO, VIDEO
from mp4_boxes import read_fragments

from hls import Part, SegmentEnd
from hls.assembler import FOREVER, PartAssembler
from hls.fragment import NON_SYNC_FLAGS, SYNC_FLAGS
from native import FragmentSample

PART = 18_000  # 200 ms of video
FRAME = 1024


def picture(*, idr: bool = False) -> FragmentSample:
    return FragmentSample(b"picture", PART, 0, SYNC_FLAGS if idr else NON_SYNC_FLAGS)


def begun(*, first_msn: int = 0, **options: Any) -> PartAssembler:
    parts = PartAssembler(0.1, first_msn=first_msn)
    values: dict[str, Any] = {
        "start": 0,
        "timescale": 90_000,
        "sample_rate": 48_000,
        "has_video": True,
        "picture": 0,
        "init_index": 0,
        "discontinuity": False,
    }
    parts.begin(**(values | options))
    return parts


def add(parts: PartAssembler, number: int, *, idr: bool = False, ends: bool = False) -> None:
    """One part of one picture."""
    parts.add_picture(number * PART, picture(idr=idr))
    parts.close(number * PART, (number + 1) * PART, ends_segment=ends)


def audio(parts: PartAssembler, first: int, stop: int) -> None:
    for number in range(first, stop):
        parts.add_audio(number * FRAME, FragmentSample(b"frame", FRAME, 0, SYNC_FLAGS))


def audio_times(part: Part) -> list[int]:
    (fragment,) = read_fragments(part.data)
    return [sample.time // FRAME for sample in fragment.of(AUDIO)]


def parts_of(events: list[Any]) -> list[Part]:
    return [event for event in events if isinstance(event, Part)]


def test_a_part_takes_the_audio_that_starts_before_its_end() -> None:
    parts = begun()
    audio(parts, 0, 12)
    add(parts, 0, idr=True)
    (part,) = parts_of(parts.drain(12 * FRAME, PART))
    assert audio_times(part) == list(range(10)), "the tenth starts at 192 ms"
    assert not parts.is_waiting


def test_a_part_waits_for_its_audio_but_not_for_ever() -> None:
    parts = begun()
    audio(parts, 0, 9)
    add(parts, 0, idr=True)
    assert parts.drain(9 * FRAME, PART) == []
    assert parts.is_waiting
    assert parts.drain(9 * FRAME, PART + 8_999) == []
    (part,) = parts_of(parts.drain(9 * FRAME, PART + 9_000))
    assert audio_times(part) == list(range(9))
    add(parts, 1)
    audio(parts, 9, 20)
    (part,) = parts_of(parts.drain(20 * FRAME, 2 * PART))
    assert audio_times(part) == list(range(9, 19)), "late audio goes into the next part"


def test_parts_come_out_in_order_and_end_their_segments() -> None:
    parts = begun()
    for number, (idr, ends) in enumerate(((True, False), (False, True), (True, False))):
        add(parts, number, idr=idr, ends=ends)
    events = parts.drain(FOREVER, 0)
    assert [type(event) for event in events] == [Part, Part, SegmentEnd, Part]
    assert [(p.msn, p.index) for p in parts_of(events)] == [(0, 0), (0, 1), (1, 0)]
    assert [p.independent for p in parts_of(events)] == [True, False, True]
    assert [p.media_time_s for p in parts_of(events)] == [0.0, 0.2, 0.4]
    assert events[2] == SegmentEnd(msn=0, duration_s=0.4)
    assert parts.in_segment
    assert parts.end_segment(3 * PART) == SegmentEnd(msn=1, duration_s=0.2)
    assert not parts.in_segment


def test_numbers_begin_where_the_caller_says() -> None:
    parts = begun(first_msn=1_800_000_000, sample_rate=0)
    add(parts, 0, idr=True, ends=True)
    (part,) = parts_of(events := parts.drain(0, PART))
    assert (part.msn, part.index) == (1_800_000_000, 0)
    assert events[1] == SegmentEnd(msn=1_800_000_000, duration_s=0.2)
    assert parts.end_segment(2 * PART).msn == 1_800_000_001


def test_a_part_without_video_is_independent_only_where_there_is_none() -> None:
    for has_video in (True, False):
        parts = begun(has_video=has_video)
        audio(parts, 0, 10)
        parts.close(0, PART, ends_segment=False)
        (part,) = parts_of(parts.drain(FOREVER, PART))
        assert part.independent is not has_video
        (fragment,) = read_fragments(part.data)
        assert fragment.of(VIDEO) == []


def test_a_discontinuity_is_said_once() -> None:
    parts = begun(discontinuity=True, init_index=3)
    add(parts, 0)
    add(parts, 1)
    first, second = parts_of(parts.drain(FOREVER, 0))
    assert (first.discontinuity, second.discontinuity) == (True, False)
    assert (first.init_index, second.init_index) == (3, 3)


def test_content_is_what_no_closed_part_has_claimed() -> None:
    parts = begun()
    assert not parts.has_content(PART)
    audio(parts, 0, 10)
    assert parts.has_content(PART)
    parts.close(0, PART, ends_segment=False)
    assert not parts.has_content(2 * PART), "all ten belong to the first part"
    audio(parts, 10, 11)
    assert parts.has_content(2 * PART)
    parts.add_picture(PART, picture())
    assert parts.has_content(2 * PART)


def test_at_the_end_the_last_part_takes_what_is_left() -> None:
    parts = begun()
    parts.take_late_audio()
    audio(parts, 0, 15)
    add(parts, 0)
    parts.take_late_audio()
    (part,) = parts_of(parts.drain(FOREVER, PART))
    assert audio_times(part) == list(range(15))
    audio(parts, 15, 20)
    parts.drop_audio()
    assert not parts.has_content(FOREVER)


def test_a_layout_says_what_the_part_was_made_of() -> None:
    parts = begun(picture=70, sample_rate=48_000)
    audio(parts, 0, 40)
    parts.add_picture(0, picture(idr=True))
    parts.add_picture(PART, picture())
    parts.close(0, 2 * PART, ends_segment=False)
    parts.close(2 * PART, 3 * PART, ends_segment=True)  # of audio alone
    add(parts, 2)
    first, bare, last = parts_of(parts.drain(FOREVER, FOREVER))
    assert first.layout is not None
    assert bare.layout is not None
    assert last.layout is not None
    assert (first.layout.picture, first.layout.end, bare.layout.picture) == (70, 72, 72)
    assert (bare.layout.end, last.layout.picture, last.layout.end) == (72, 72, 73)
    assert (list(first.layout.durations), list(bare.layout.durations)) == ([PART, PART], [])
    assert (first.layout.video_time, last.layout.video_time) == (0, 2 * PART)
    assert (first.layout.audio_time, bare.layout.audio_time) == (0, 19 * FRAME)
    assert [len(part.layout.audio) for part in (first, bare) if part.layout] == [19, 10]
    assert replace(first, layout=None) == first
    assert "layout" not in repr(first)
