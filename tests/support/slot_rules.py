"""Judges placements, layouts and the parts of rungs against each other, from the outside.

A *slot* is a picture's place in the source's parts: a number, a decode time, a duration. `Slots`
reads them out of the parts' bytes (`mp4_boxes`), in the order of the numbers, and raises
`AssertionError` where a `PartLayout` says anything else; `check_placements` compares them with what
the segmenter said of each picture when it was pushed. Only documented attributes are used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from media_samples import Frame
from mp4_boxes import Fragment, read_fragments

VIDEO, AUDIO = 1, 2


@dataclass(frozen=True)
class Slot:
    number: int
    msn: int
    begins_segment: bool
    """No other slot of its segment is before it."""
    time: int
    duration: int
    pts: int
    data: bytes


@dataclass(frozen=True)
class SourcePart:
    event: Any
    fragment: Fragment
    slots: tuple[Slot, ...]

    @property
    def audio(self) -> list[tuple[int, int, bytes]]:
        return audio_of(self.fragment)


@dataclass
class Slots:
    """The parts of a source, in order, with their slots."""

    parts: list[SourcePart] = field(default_factory=list)

    @classmethod
    def read(cls, events: Sequence[Any]) -> "Slots":
        made = cls()
        begun: set[int] = set()  # segments that have a slot
        following: int | None = None
        for event in events:
            if type(event).__name__ != "Part":
                continue
            layout = event.layout
            (fragment,) = read_fragments(event.data)
            pictures = fragment.of(VIDEO)
            assert list(layout.durations) == [sample.duration for sample in pictures]
            assert layout.end == layout.picture + len(pictures)
            slots = []
            for number, sample in enumerate(pictures, layout.picture):
                if number == layout.picture:
                    assert layout.video_time == sample.time
                    assert following is None or number == following, "numbers are not consecutive"
                slots.append(
                    Slot(
                        number=number,
                        msn=event.msn,
                        begins_segment=event.msn not in begun,
                        time=sample.time,
                        duration=sample.duration,
                        pts=sample.time + sample.offset,
                        data=sample.data,
                    )
                )
                begun.add(event.msn)
                following = number + 1
            audio = fragment.of(AUDIO)
            assert [frame.data for frame in layout.audio] == [frame.data for frame in audio]
            assert [frame.duration for frame in layout.audio] == [s.duration for s in audio]
            assert not audio or layout.audio_time == audio[0].time
            made.parts.append(SourcePart(event, fragment, tuple(slots)))
        return made

    @property
    def all(self) -> list[Slot]:
        return [slot for part in self.parts for slot in part.slots]


def audio_of(fragment: Fragment) -> list[tuple[int, int, bytes]]:
    """Its audio frames: time, duration, bytes."""
    return [(sample.time, sample.duration, sample.data) for sample in fragment.of(AUDIO)]


def check_placements(
    placements: Sequence[tuple[Frame, Any]],
    events: Sequence[Any],
    *,
    probed: int,
    may_miss: bool = False,
) -> list[int]:
    """Check all placements of a broadcast against its parts.

    Args:
        placements: Of every picture that was taken, to the end.
        events: Everything that came out, to the end.
        probed: So many of them were made before anything came out.
        may_miss: While the first segment was probed, the beginning of a segment may have passed
            unnoticed: the source is irregular.

    Returns:
        Numbers that were said to begin a segment and do not.
    """
    slots = Slots.read(events).all
    assert [placement.number for _, placement in placements] == list(range(len(placements)))
    if not slots:
        return []
    # A false start has numbers too, and no slots.
    assert [slot.number for slot in slots] == list(range(slots[0].number, len(placements)))
    extra = []
    for slot in slots:
        frame, placement = placements[slot.number]
        assert slot.data == frame.data
        assert placement.is_idr == frame.idr
        assert placement.pts_ticks == slot.pts, f"picture {slot.number} is shown at another time"
        if placement.begins_segment and not slot.begins_segment:
            extra.append(slot.number)
            assert slot.number < probed, f"picture {slot.number} begins no segment"
        elif slot.begins_segment and not placement.begins_segment:
            assert may_miss, f"picture {slot.number} begins a segment"
            assert slot.number < probed, f"picture {slot.number} begins a segment"
        if placement.begins_epoch:
            assert placement.is_idr
            assert placement.begins_segment
    assert placements[slots[0].number][1].begins_epoch
    return extra
