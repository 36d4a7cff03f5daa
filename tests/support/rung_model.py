"""A worker that encodes nothing, and what a rung must make of its output.

`ModelWorker` is told what the segmenter says of each picture and gives coded pictures back, as the
real worker does: in display order, late, one in so many, some lost. It is an oracle: written from
the description of the worker's protocol, it shares no code with it, nor with hls. `RungLog` keeps
what a rung was told and says which of its parts must be gaps; `check_rung` compares. The package
under test is handed in.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from types import ModuleType
from typing import Any

from media_samples import picture
from mp4_boxes import read_fragments
from slot_rules import VIDEO, Slots, SourcePart, audio_of


@dataclass
class ModelWorker:
    """Decoder and one encoder, for one life.

    Args:
        coded: Makes a `CodedPicture`.
        config: Decoder configuration of what it encodes.
        chance: Decides what is late and what is lost.
        loss: Share of the pictures that the decoder loses.
    """

    coded: Any
    config: Any
    chance: Random
    divisor: int = 1
    loss: float = 0.0
    reorder: int = 2
    """So many pictures stay in the decoder until more come."""
    latency: int = 3
    """At most so many stay in the encoder."""

    _numbers: deque[tuple[int, int | None]] = field(default_factory=deque)
    _times: list[int] = field(default_factory=list)
    _out: deque[Any] = field(default_factory=deque)
    _first: int | None = None
    _needs_idr: bool = True
    _divisor: int = 0

    def feed(self, placement: Any) -> None:
        """A picture in decode order."""
        if placement.begins_epoch:
            self._drain_decoder()
        begins = self.divisor if placement.begins_segment or self._first is None else None
        if self._first is None:
            self._first = placement.number
        self._numbers.append((placement.number, begins))
        self._times = sorted([*self._times, placement.pts_ticks])
        while len(self._times) > self.reorder:
            self._decode(self._times.pop(0))

    def give(self) -> list[Any]:
        """What has come out by now."""
        given = []
        while len(self._out) > self.chance.randint(0, self.latency):
            given.append(self._out.popleft())
        return given

    def finish(self) -> list[Any]:
        """No more pictures: everything that is still in it, and that there is no more."""
        last = self._numbers[-1][0] if self._numbers else None
        time = self._times[-1] if self._times else 0
        self._drain_decoder()
        given, self._out = list(self._out), deque()
        if last is not None and (not given or given[-1].number != last):
            given.append(self.coded(last, time, False, b"", self.config))
        return given

    def _drain_decoder(self) -> None:
        for time in self._times:
            self._decode(time)
        self._times = []

    def _decode(self, pts_ticks: int) -> None:
        number, begins = self._numbers.popleft()
        if begins is not None:
            self._divisor, self._first, self._needs_idr = begins, number, True
        assert self._first is not None
        is_lost = self.chance.random() < self.loss
        is_due = self._divisor and (self._needs_idr or (number - self._first) % self._divisor == 0)
        if is_lost or not is_due:
            if self.chance.random() < 0.8:  # or it says nothing, and jumps over it
                self._out.append(self.coded(number, pts_ticks, False, b"", self.config))
            return
        data = picture(idr=self._needs_idr, number=number)
        self._out.append(self.coded(number, pts_ticks, self._needs_idr, data, self.config))
        self._needs_idr = False


@dataclass
class RungLog:
    """What one rung was told, and what it gave out."""

    rung: Any
    source_batches: list[list[Any]] = field(default_factory=list)
    batches: list[list[Any]] = field(default_factory=list)
    coded: dict[int, Any] = field(default_factory=dict)
    """By number, what has data and was not thrown away."""
    lost: list[tuple[int, int]] = field(default_factory=list)
    """Slots from ... to before ..., of which nothing came."""

    lone_ends: set[int] = field(default_factory=set)
    """msn of the segments that the source has ended some time after their last part."""

    def __post_init__(self) -> None:
        self._lost_from: int | None = 0
        self._bare_s = 0.0
        self._given_up = 0  # what comes of the slots before this comes too late

    @property
    def followed(self) -> list[Any]:
        return [event for batch in self.source_batches for event in batch]

    def follow(self, events: Sequence[Any]) -> None:
        self.source_batches.append(list(events))
        for event in events:
            if type(event).__name__ == "Part":
                self._bare_s = 0 if event.layout.durations else self._bare_s + event.duration_s
                if self._bare_s >= 1:
                    self._given_up = event.layout.end
        if events and type(events[0]).__name__ == "SegmentEnd":
            self.lone_ends.add(events[0].msn)
        self._take(self.rung.follow(events))

    def push(self, pictures: Iterable[Any]) -> None:
        for coded in pictures:
            if coded.data and self._lost_from is None and coded.number >= self._given_up:
                self.coded[coded.number] = coded
            self._take(self.rung.push(coded))

    def lose(self) -> None:
        """All that waits is thrown away, and so is what follows."""
        if self._lost_from is None:
            parts = [event for event in self.followed if type(event).__name__ == "Part"]
            done = parts[: len(parts) - self.rung.pending]
            self._lost_from = done[-1].layout.end if done else 0
        self._take(self.rung.lose())

    def resume(self, number: int) -> None:
        if self._lost_from is None:
            self.lose()
        assert self._lost_from is not None
        self.lost.append((self._lost_from, number))
        self.coded = {n: coded for n, coded in self.coded.items() if n < self._lost_from}
        self._lost_from = None
        self._take(self.rung.resume(number))

    def finish(self) -> None:
        if self.events and type(self.events[-1]).__name__ == "Part":
            self.lone_ends.add(self.events[-1].msn)
        self._take(self.rung.finish())
        assert self.rung.finish() == []
        assert self.rung.pending == 0

    def _take(self, batch: list[Any]) -> None:
        if batch:
            self.batches.append(list(batch))

    @property
    def events(self) -> list[Any]:
        return [event for batch in self.batches for event in batch]

    def is_lost(self, number: int) -> bool:
        spans = [*self.lost]
        if self._lost_from is not None:
            spans.append((self._lost_from, 1 << 62))
        return any(first <= number < end for first, end in spans)

    def gaps(self, source: Slots) -> list[bool]:
        """Whether each part of the source must be a gap in the rung."""
        expected = []
        is_broken = has_picture = False
        config = None
        resumes = {number for _, number in self.lost}
        for part in source.parts:
            if part.event.index == 0:
                is_broken, has_picture = False, False
            numbers = [slot.number for slot in part.slots]
            coded = [self.coded[number] for number in numbers if number in self.coded]
            if any(self.is_lost(number) for number in numbers):
                is_broken = True
            elif numbers and not coded:
                is_broken = is_broken or not (has_picture and part.audio)
            elif numbers:
                if resumes & set(numbers):
                    has_picture = False
                if part.event.index == 0:
                    config = coded[0].config
                if not (has_picture or coded[0].is_idr) or any(c.config != config for c in coded):
                    is_broken = True
                has_picture = True
            expected.append(is_broken)
        return expected


def check_rung(log: RungLog, source: Slots, *, complete: bool) -> None:
    """Check everything that a rung gave out against its source and its pictures.

    Args:
        log: Of a rung that has finished.
        source: The source's parts, all of them.
        complete: The worker gave out all that it had before the rung finished.
    """
    events = log.events
    made = [event for event in events if type(event).__name__ == "Part"]
    expected = log.gaps(source)
    begins = [
        index
        for index, part in enumerate(source.parts)
        if part.event.index == 0
        and not expected[index]
        and any(slot.number in log.coded for slot in part.slots)
    ]
    if not made:
        assert not complete or not begins, "the rung could have begun"
        assert not events
        return
    assert [type(event).__name__ for event in events[:3]] == ["Presentation", "InitSegment", "Part"]
    parts = source.parts[begins[0] :]
    assert len(made) <= len(parts)
    if complete:
        assert len(made) == len(parts), "parts are missing"
    before = [part.event for part in source.parts[: begins[0]]]
    assert log.rung.discontinuities == sum(part.discontinuity for part in before)
    clocks: dict[int, int | None] = {VIDEO: None}
    empty = False  # the parts just before had slots and no picture
    for event, part, gap in zip(made, parts, expected[begins[0] :], strict=False):
        theirs = part.event
        for name in ("msn", "index", "duration_s", "media_time_s", "discontinuity"):
            assert getattr(event, name) == getattr(theirs, name), name
        where = f"part {event.msn}.{event.index}"
        assert event.layout is None
        assert event.gap == gap, f"{where} is {'a' if event.gap else 'no'} gap"
        if theirs.discontinuity or gap:
            clocks[VIDEO], empty = None, False
        if gap:
            assert (event.data, event.independent) == (b"", False)
            continue
        check_media(event, part, log, clocks, empty)
        if part.slots:
            empty = not any(slot.number in log.coded for slot in part.slots)
    check_order(log, events)


def check_media(
    event: Any, part: SourcePart, log: RungLog, clocks: dict[int, int | None], empty: bool
) -> None:
    where = f"part {event.msn}.{event.index}"
    (fragment,) = read_fragments(event.data)
    assert audio_of(fragment) == part.audio, f"{where} has other audio"
    samples = fragment.of(VIDEO)
    coded = [log.coded[slot.number] for slot in part.slots if slot.number in log.coded]
    assert [sample.data for sample in samples] == [each.data for each in coded]
    assert [sample.is_sync for sample in samples] == [each.is_idr for each in coded]
    shown = [sample.time + sample.offset for sample in samples]
    assert shown == [each.pts_ticks for each in coded], f"{where} is shown at another time"
    if not samples:  # without a video track each part is independent, else none without a picture
        assert event.independent == (part.event.independent and not part.slots)
        return
    assert event.independent == samples[0].is_sync
    for sample in samples:
        assert sample.duration > 0
        assert clocks[VIDEO] in (None, sample.time), f"{where}: decode times are not contiguous"
        clocks[VIDEO] = sample.time + sample.duration
    assert clocks[VIDEO] == part.slots[-1].time + part.slots[-1].duration
    if not empty:
        assert samples[0].time == part.slots[0].time, f"{where} begins at another time"
    # The k-th shown has the k-th slot, so it is not shown before it is decoded, if the source's
    # are not.
    if all(slot.pts >= slot.time for slot in part.slots):
        for sample, each in zip(samples, coded, strict=True):
            slot = part.slots[each.number - part.slots[0].number]
            assert sample.time <= slot.time


def check_order(log: RungLog, events: Sequence[Any]) -> None:
    """The order of hls.media: init sections and ends stand where they may."""
    is_open, init_index, inits = False, -1, 0
    for event in events:
        kind = type(event).__name__
        if kind == "InitSegment":
            assert not is_open, "init inside a segment"
            init_index, inits = init_index + 1, inits + 1
            assert event.index == init_index
        elif kind == "Part":
            assert event.index == 0 or is_open
            assert event.init_index == init_index
            is_open = True
        elif kind == "SegmentEnd":
            assert is_open
            is_open = False
    assert not is_open, "a segment was left open"
    for first, *_ in log.batches:
        if type(first).__name__ == "SegmentEnd":
            assert first.msn in log.lone_ends, "a segment's end came after its last part"


def worker(hls: ModuleType, config: Any, seed: int, **options: Any) -> ModelWorker:
    """A worker for the package that is handed in."""
    return ModelWorker(hls.CodedPicture, config, Random(seed), **options)
