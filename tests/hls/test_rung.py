"""Rungs: the source's parts with other pictures, whatever becomes of the encoder."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from media_samples import SpsFields, avc_record, picture
from mp4_boxes import read_fragments
from segmenter_runs import Driver, constant
from slot_rules import VIDEO, audio_of

import hls
from hls import (
    AvcConfig,
    CodedPicture,
    InitSegment,
    MediaEvent,
    Part,
    Presentation,
    Rung,
    SegmentEnd,
    UsageError,
)
from hls.rung import MAX_AHEAD, MAX_BYTES, MAX_PENDING

DRIVER = Driver(hls)
STEP = 3_060  # ticks of a picture: whole milliseconds, and 60 are just over two seconds
SMALL = AvcConfig.parse(avc_record(SpsFields(width_mbs=40, height_map_units=22).unit()))
OTHER = AvcConfig.parse(avc_record(SpsFields(width_mbs=40, height_map_units=22, level=40).unit()))


def parts_of(events: Iterable[MediaEvent]) -> list[Part]:
    return [event for event in events if isinstance(event, Part)]


def picture_at(number: int, *, idr: bool = False, config: Any = SMALL, size: int = 20) -> Any:
    return CodedPicture(number, number * STEP, idr, picture(idr=idr, number=number % 2**32), config)


class Script:
    """A rung and its source, 60 pictures in a segment and six in a part; its pictures by hand.

    The source gives out its first segment as a whole, so `follow` takes ten parts first, then one
    by one.
    """

    def __init__(self, *, duration_s: float = 8, **fields: Any) -> None:
        source = constant(Fraction(90_000, STEP), gop=60, duration_s=duration_s, **fields)
        self.batches = [batch for batch in DRIVER.run(source).batches if batch]
        self.rung = Rung()
        self.out: list[MediaEvent] = list(self.rung.resume(0))

    def follow(self, count: int = 1) -> "Script":
        for _ in range(count):
            self.out += self.rung.follow(self.batches.pop(0))
        return self

    def push(self, numbers: Iterable[int], idrs: Iterable[int] = (), **fields: Any) -> "Script":
        for number in numbers:
            self.out += self.rung.push(picture_at(number, idr=number in idrs, **fields))
        return self

    @property
    def parts(self) -> list[Part]:
        return parts_of(self.out)

    @property
    def gaps(self) -> list[tuple[int, int]]:
        return [(part.msn, part.index) for part in self.parts if part.gap]

    def durations(self, part: Part) -> list[int]:
        (fragment,) = read_fragments(part.data)
        assert {sample.duration % STEP for sample in fragment.of(VIDEO)} == {0}
        return [sample.duration // STEP for sample in fragment.of(VIDEO)]


def test_slots_without_pictures_lengthen_the_picture_before() -> None:
    script = Script().follow()
    script.push([0, 2, 3, 5, 9, 11, 14, *range(16, 60)], idrs=[0])
    parts = script.parts
    assert script.durations(parts[0]) == [2, 1, 2, 1]
    # Nobody knew that 6 would not come; so 9 begins where 5 has ended, and is shown no earlier.
    assert script.durations(parts[1]) == [5, 1]
    (fragment,) = read_fragments(parts[1].data)
    assert [s.time + s.offset for s in fragment.of(VIDEO)] == [9 * STEP, 11 * STEP]
    assert script.durations(parts[2]) == [4, 1, 1]
    assert script.gaps == []


def test_a_part_without_any_picture_is_sound_alone() -> None:
    script = Script().follow()
    script.push([*range(6), *range(13, 60)], idrs=[0])
    silent = script.parts[1]
    (fragment,) = read_fragments(silent.data)
    assert fragment.of(VIDEO) == []
    assert len(audio_of(fragment)) > 8
    assert not silent.independent
    assert script.durations(script.parts[2]) == [8, 1, 1, 1, 1]  # contiguous
    assert script.gaps == []


def test_sound_does_not_wait_for_pictures_that_a_decoder_holds_back() -> None:
    """The source's camera is away, and it goes on with sound; so does the rung, a second later."""
    frames = constant(Fraction(90_000, STEP), gop=60, duration_s=12).frames()
    frames = [f for f in frames if not (f.is_video and 4_300 < f.dts_ms < 9_000)]
    batches = DRIVER.start(constant(Fraction(90_000, STEP))).push(frames).flush().batches
    rung = Rung()
    rung.resume(0)
    last = sum(f.is_video and f.dts_ms <= 4_300 for f in frames)
    for number in range(last - 2):
        rung.push(picture_at(number, idr=number % 60 == 0))
    bare_s, released = 0.0, []
    for batch in batches:
        for part in parts_of(batch):
            if part.layout is not None and not part.layout.durations:
                bare_s += part.duration_s
        released = parts_of(rung.follow(batch))
        if bare_s >= 1:
            break
        assert bare_s == 0 or rung.pending > 0
    assert bare_s < 1.21
    assert not any(part.gap for part in released)
    assert sum(part.duration_s for part in released) > bare_s  # with the one that was waited for
    assert rung.pending == 0
    # They come when the camera is back: too late for their part, and no harm.
    for number in range(last - 2, last):
        assert rung.push(picture_at(number)) == []
    assert len(rung._pictures) == 0


def test_pictures_that_are_there_do_not_count_as_held_back() -> None:
    """A part without pictures may come out behind the pictures after it: audio is late."""
    script = Script().follow(1).push(range(63), idrs=[0, 60])
    bare = next(event for event in script.batches[0] if isinstance(event, Part))
    assert bare.layout is not None
    layout = replace(bare.layout, durations=[])
    for index in range(6):
        script.out += script.rung.follow([replace(bare, index=index, layout=layout)])
    assert script.push([62, 62]).rung.pending == 0
    assert len(script.rung._pictures) == 3


def test_a_part_without_any_picture_or_sound_is_a_gap() -> None:
    script = Script(audio_rate=None).follow()
    script.push([*range(6), *range(13, 70)], idrs=[0])
    assert script.gaps == [(0, index) for index in range(1, 10)]


def test_a_segment_that_does_not_begin_with_an_idr_picture_is_a_gap() -> None:
    script = Script().follow(5)
    script.push(range(180), idrs=[0, 70, 120])
    assert {msn for msn, _ in script.gaps} == {1}
    assert len(script.gaps) == script.rung.gaps == 4  # of which so many have come
    script.follow(20)
    assert {msn for msn, _ in script.gaps} == {1}
    assert len(script.gaps) == 10


def test_the_picture_behind_a_lost_idr_picture_can_begin_a_segment() -> None:
    script = Script().follow(15)
    script.push([2, *range(4, 60), *range(61, 120)], idrs=[2, 61])
    assert script.gaps == []
    assert script.durations(script.parts[0]) == [4, 1, 1]
    (fragment,) = read_fragments(script.parts[0].data)
    assert fragment.of(VIDEO)[0].time == 0
    assert [p.independent for p in script.parts if p.index == 0] == [True, True]


# What does not come.


def test_it_says_nothing_before_its_first_idr_picture() -> None:
    script = Script().follow(12)
    assert script.out == []
    script.push(range(60, 130), idrs=[60, 120])  # nothing of the first segment
    assert script.rung.has_begun
    assert [type(event) for event in script.out[:3]] == [Presentation, InitSegment, Part]
    assert script.parts[0].msn == 1
    assert script.gaps == []


def test_it_is_silent_until_it_is_told_that_pictures_come() -> None:
    script = Script()
    script.rung = Rung()
    script.follow(11).push(range(60), idrs=[0])
    assert script.out == []
    assert script.rung.pending == 0  # nothing is kept of what nobody will want
    script.out += script.rung.resume(120)
    script.follow(15).push(range(100, 200), idrs=[120, 180])
    assert script.parts[0].msn == 2


def test_it_does_not_begin_with_sound() -> None:
    """Not with a segment whose first part has no picture in the source either."""
    script = Script()
    script.out += script.rung.lose()
    script.follow(1)
    script.out += script.rung.resume(60)
    bare, *others = parts_of([event for batch in script.batches[:10] for event in batch])
    assert bare.layout is not None
    bare = replace(bare, layout=replace(bare.layout, durations=[]))
    script.out += script.rung.follow([bare, *others])
    script.push(range(60, 120), idrs=range(60, 120))
    assert script.out == []
    assert not script.rung.has_begun


def test_what_is_lost_is_a_gap_to_the_end_of_the_segment() -> None:
    script = Script().follow(3).push(range(75), idrs=[0, 60])
    assert [(p.msn, p.index) for p in script.parts[10:]] == [(1, 0), (1, 1)]
    script.out += script.rung.lose()
    script.push(range(75, 80))  # on their way when it was said
    assert len(script.rung._pictures) == 0
    script.follow(4)
    assert script.gaps == [(1, 2), (1, 3), (1, 4), (1, 5)]
    script.out += script.rung.resume(120)
    script.push(range(110, 150), idrs=[120])
    script.follow(8)
    assert [(p.msn, p.index) for p in script.parts[20:]] == [(2, i) for i in range(4)]
    assert script.gaps == [(1, index) for index in range(2, 10)]
    assert script.rung.gaps == 8


def test_what_waits_becomes_gaps_when_nothing_more_comes() -> None:
    script = Script().follow(6).push(range(62), idrs=[0, 60])
    assert script.rung.pending == 5
    gaps = script.rung.lose()
    assert [(part.index, part.gap) for part in parts_of(gaps)] == [(i, True) for i in range(5)]
    assert script.rung.pending == 0


def test_what_was_resolved_and_is_lost_before_its_part_comes_is_a_gap() -> None:
    """The worker died when it had given all pictures of a part that the source has not ended."""
    script = Script().follow(1).push(range(66), idrs=[0, 60])
    script.out += script.rung.lose()
    script.out += script.rung.resume(120)
    script.follow(1)
    assert script.gaps == [(1, 0)]


def test_it_can_resume_in_the_middle_of_a_segment_with_an_idr_picture_only() -> None:
    for idrs, expected in (([0, 60, 66], []), ([0, 60], [(1, i) for i in range(1, 4)])):
        script = Script().follow(2).push(range(66), idrs=[0, 60])
        script.out += script.rung.lose()
        script.out += script.rung.resume(66)
        script.push(range(66, 84), idrs=idrs).follow(3)
        assert script.gaps == expected


def test_a_part_that_lacks_its_beginning_is_a_gap() -> None:
    script = Script().follow(1).push(range(60), idrs=[0])
    script.out += script.rung.lose()
    script.out += script.rung.resume(62)
    script.push(range(62, 90), idrs=[62]).follow(4)
    assert script.gaps == [(1, index) for index in range(4)]


def test_a_number_out_of_all_reason_harms_only_this_life() -> None:
    script = Script().follow(1).push(range(60), idrs=[0])
    script.push([1 << 62, 61]).follow(5)
    assert all(msn == 1 for msn, _ in script.gaps)
    script.out += script.rung.lose()
    script.out += script.rung.resume(120)
    script.follow(7).push(range(120, 180), idrs=[120])
    assert [(p.msn, p.index) for p in script.parts if not p.gap][-1] == (2, 1)


def test_pictures_out_of_order_are_left_out() -> None:
    script = Script().follow(1)
    script.push([0, 1, 1, 0, 2, 1, *range(3, 60)], idrs=[0])
    (fragment,) = read_fragments(script.parts[0].data)
    assert [s.data for s in fragment.of(VIDEO)] == [
        picture_at(n, idr=n == 0).data for n in range(6)
    ]


def test_an_offset_that_is_garbage_is_cut_down() -> None:
    script = Script().follow(1)
    for number in range(60):
        made = picture_at(number, idr=number == 0)
        script.out += script.rung.push(
            made._replace(pts_ticks=made.pts_ticks + (-1) ** number * 2**62)
        )
    (fragment,) = read_fragments(script.parts[0].data)
    assert {s.offset for s in fragment.of(VIDEO)} == {900_000, -900_000}


# Configurations.


def test_another_configuration_needs_another_segment() -> None:
    script = Script().follow(1).push(range(60), idrs=[0])
    script.push(range(60, 90), idrs=[60], config=OTHER)
    script.push(range(90, 120), config=replace(OTHER)).follow(10)  # equal, but another object
    inits = [event for event in script.out if isinstance(event, InitSegment)]
    assert [init.index for init in inits] == [0, 1]
    assert script.gaps == []
    assert script.parts[10].init_index == 1
    # In the middle of one it is of no use, be it at a part's beginning or not.
    script.push(range(120, 132), idrs=[120], config=OTHER)
    script.push(range(132, 180), idrs=[132], config=SMALL).follow(10)
    assert script.gaps == [(2, index) for index in range(2, 10)]
    script.push(range(180, 183), idrs=[180], config=OTHER)
    script.push(range(183, 240), idrs=[183], config=SMALL).follow(10)
    assert script.gaps[8:] == [(3, index) for index in range(10)]
    assert script.parts[-1].init_index == 1


# Bounds.


def endless() -> Iterable[list[MediaEvent]]:
    """The batches of a source that does not end, made of one segment over and over."""
    first = DRIVER.run(constant(Fraction(90_000, STEP), duration_s=2.05, audio_rate=None)).events
    yield first[:2]
    parts, end = parts_of(first), first[-1]
    assert isinstance(end, SegmentEnd)
    for msn in range(1 << 20):
        for part in parts:
            layout = part.layout
            assert layout is not None
            moved = replace(layout, picture=60 * msn + layout.picture)
            yield [replace(part, msn=msn, media_time_s=part.media_time_s + 2 * msn, layout=moved)]
        yield [replace(end, msn=msn)]


def test_the_oldest_part_that_waits_too_long_becomes_a_gap() -> None:
    rung = Rung()
    rung.resume(0)
    batches = iter(endless())
    out: list[MediaEvent] = []
    for number in range(60):
        out += rung.push(picture_at(number, idr=number == 0))
    while not rung.has_begun:
        out += rung.follow(next(batches))
    while True:
        made = rung.follow(next(batches))
        assert len(rung._waiting) <= MAX_PENDING
        out += made
        if rung.pending and made:
            break
    assert [(part.gap, part.msn, part.index) for part in parts_of(made)] == [(True, 1, 0)]
    assert rung.pending > MAX_PENDING * 10 / 11 - 2
    # It goes on with whatever segment is still to be had, from its very beginning.
    while (parts_of(made)[-1].msn, parts_of(made)[-1].index) != (1, 9):
        made = rung.follow(next(batches)) or made
    out += rung.push(picture_at(119)) + rung.push(picture_at(120, idr=True))
    for number in range(121, 126):
        out += rung.push(picture_at(number))
    assert [(p.msn, p.index, p.gap) for p in parts_of(out)][-1:] == [(2, 0, False)]
    for _ in range(MAX_PENDING):
        out += rung.follow(next(batches))
        assert len(rung._waiting) <= MAX_PENDING
    newest = max(part.msn for part in parts_of(out))
    start = 60 * (newest + 1)
    for number in range(start - 30, start + 60):
        out += rung.push(picture_at(number, idr=number == start))
    assert not parts_of(out)[-1].gap
    assert parts_of(out)[-1].msn == newest + 1
    assert {part.msn for part in parts_of(out) if part.gap} >= {2, 10}


def test_pictures_far_ahead_of_the_source_are_dropped_oldest_first() -> None:
    script = Script()
    script.push(range(MAX_AHEAD + 10), idrs=range(0, 2000, 60))
    assert len(script.rung._pictures) == MAX_AHEAD
    script.follow(1)
    assert script.out == []  # its first segment lacks its beginning
    script.follow(10)
    assert script.parts[0].msn == 1
    assert script.gaps == []


def test_bytes_are_bounded_whatever_the_encoder_gives() -> None:
    huge = bytes(MAX_BYTES // 2)
    script = Script()
    for number in range(5):
        script.out += script.rung.push(picture_at(number)._replace(data=huge))
    assert len(script.rung._pictures) == 2
    script.out += script.rung.resume(0)
    assert len(script.rung._pictures) == 0
    for number in range(4):
        script.out += script.rung.push(picture_at(number)._replace(data=huge))
    assert len(script.rung._pictures) == 2

    # And so are those of one segment that went out part by part.
    script = Script().follow(1)
    for number in range(60):
        data = huge if number % 12 == 0 else b"small"
        script.out += script.rung.push(picture_at(number, idr=number == 0)._replace(data=data))
    assert script.gaps == [(0, index) for index in range(2, 10)]


# The end, and what it refuses.


def test_it_ends_with_the_parts_that_are_out() -> None:
    script = Script().follow(5).push(range(75), idrs=[0, 60])
    (end,) = script.rung.finish()
    assert isinstance(end, SegmentEnd)
    assert end.msn == 1
    assert end.duration_s == pytest.approx(0.408)
    assert script.rung.finish() == []
    assert script.rung.push(picture_at(80)) == []


@pytest.mark.parametrize(
    "prepare",
    [
        lambda script: None,
        lambda script: script.follow(3),
        lambda script: script.push(range(50), idrs=[0]),
        lambda script: script.follow(1).push(range(60), idrs=[0]),
        lambda script: script.rung.lose(),
    ],
    ids=["new", "not begun", "ahead", "between segments", "lost"],
)
def test_it_ends_without_a_word_where_nothing_is_open(prepare: Callable[[Script], Any]) -> None:
    script = Script()
    prepare(script)
    assert script.rung.finish() == []
    assert script.rung.pending == 0


def test_what_it_refuses() -> None:
    with pytest.raises(UsageError, match="positive"):
        Rung(divisor=0)
    script = Script().follow(1)
    script.push(range(60), idrs=[0])
    rung = Rung()
    with pytest.raises(UsageError, match="layout"):
        rung.follow([script.parts[0]])
    assert rung.pending == 0
    rung.resume(0)
    for number in range(6):
        rung.push(picture_at(number, idr=number == 0))
    with pytest.raises(UsageError, match="presentation"):
        rung.follow([parts_of(Script().batches[0])[0]])
