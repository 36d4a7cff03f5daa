"""Judges what a segmenter emits by the rules of `hls_rules`, from the outside.

`judge` reads the bytes with `mp4_boxes`, walks the NAL units itself, and raises `AssertionError`
with the rule's short name at the first breach. It uses the events' documented attributes only.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor
from typing import Any

from mp4_boxes import Fragment, FragmentedSample, Init, read_fragments, read_init

VIDEO, AUDIO = 1, 2


@dataclass
class Segment:
    msn: int
    parts: list[Any] = field(default_factory=list)
    fragments: list[Fragment] = field(default_factory=list)
    duration_s: float = 0.0

    @property
    def data(self) -> bytes:
        return b"".join(part.data for part in self.parts)

    def samples(self, track_id: int) -> list[FragmentedSample]:
        return [sample for fragment in self.fragments for sample in fragment.of(track_id)]


@dataclass
class Verdict:
    target_duration_s: int
    part_target_s: float
    inits: list[Any]
    segments: list[Segment]

    def samples(self, track_id: int) -> list[FragmentedSample]:
        return [sample for segment in self.segments for sample in segment.samples(track_id)]

    @property
    def parts(self) -> list[Any]:
        return [part for segment in self.segments for part in segment.parts]


def is_idr(data: bytes, length_size: int = 4) -> bool:
    position = 0
    while position < len(data):
        size = int.from_bytes(data[position : position + length_size], "big")
        position += length_size
        if size and data[position] & 31 == 5:
            return True
        position += size
    return False


def judge(
    batches: Iterable[Sequence[Any]],
    *,
    constant_rate: bool = True,
    idr_segments: bool = True,
    filled: bool = False,
    long_parts: bool = False,
    is_key: Callable[[bytes], bool] = is_idr,
) -> Verdict:
    """Check everything that holds for any input, and for good input what holds for it.

    Args:
        batches: The result of every call, in order.
        constant_rate: No part but a segment's last may be short (PT-04).
        idr_segments: The source has IDR pictures often enough: every segment starts with one.
        long_parts: Parts may exceed PART-TARGET (PT-03): pictures stay away, and no audio fills
            the time.
        filled: Audio may stand in for video, so that pictures' durations may differ from parts'.
        is_key: Whether decoding can start with a picture; H.264's answer if left out.
    """
    batches = [list(batch) for batch in batches]
    events = [event for batch in batches for event in batch]
    kinds = [type(event).__name__ for event in events]
    assert kinds.count("Presentation") == (1 if events else 0)
    assert events, "nothing came out"
    assert kinds[:3] == ["Presentation", "InitSegment", "Part"]
    first = next(batch for batch in batches if batch)
    assert "SegmentEnd" in [type(event).__name__ for event in first], "not ready at once"
    promise = events[0]
    verdict = Verdict(promise.target_duration_s, promise.part_target_s, [], [])
    part_target = Fraction(str(promise.part_target_s))
    assert part_target * 1000 == int(part_target * 1000)
    init: Init | None = None
    clocks: dict[int, Fraction] = {}  # where each track has come to, in seconds
    sequence = 0
    media_time = Fraction(-1)
    segment: Segment | None = None
    next_msn = 0
    for event, kind in zip(events[1:], kinds[1:], strict=True):
        if kind == "InitSegment":
            assert segment is None, "init inside a segment"
            assert event.index == len(verdict.inits)
            verdict.inits.append(event)
            init = read_init(event.data)
            video = [track for track in init.tracks if track.handler == b"vide"]
            size = (event.width, event.height)
            assert size == (video[0].display_size if video else (None, None))
        elif kind == "Part":
            assert init is not None
            scales = {track.track_id: track.timescale for track in init.tracks}
            cut = VIDEO if VIDEO in scales else AUDIO
            if segment is None:
                segment = Segment(next_msn)
            assert (event.msn, event.index) == (segment.msn, len(segment.parts))
            assert event.init_index == verdict.inits[-1].index
            (fragment,) = read_fragments(event.data)
            assert fragment.sequence_number > sequence, "MF-03"
            sequence = fragment.sequence_number
            assert {sample.track_id for sample in fragment.samples} <= set(scales)
            if event.discontinuity:
                assert event.index == 0
                ends = dict(clocks)
                clocks = {}
            else:
                ends = {}
            for track_id in scales:
                check_track(
                    fragment.of(track_id), Fraction(scales[track_id]), track_id, clocks, is_key
                )
                for sample in fragment.of(track_id)[:1]:
                    # Players forgive it, but times that go back are asking for trouble.
                    start = Fraction(sample.time, scales[track_id])
                    assert start >= ends.get(track_id, 0), "time went back at a discontinuity"
            samples = fragment.of(cut)
            independent = bool(samples) and (cut == AUDIO or is_key(samples[0].data))
            assert event.independent == independent, "PT-06"
            duration = Fraction(event.duration_s).limit_denominator(10_000_000)
            assert duration > 0
            assert long_parts or duration <= part_target, f"PT-03: {event.duration_s}"
            summed = Fraction(sum(sample.duration for sample in samples), scales[cut])
            if not filled:
                assert abs(duration - summed) < Fraction(1, 1_000_000), "PT-05"
                start = Fraction(samples[0].time, scales[cut])
                assert abs(Fraction(event.media_time_s) - start) < Fraction(1, 1_000_000)
            assert event.media_time_s > media_time
            media_time = Fraction(event.media_time_s)
            segment.parts.append(event)
            segment.fragments.append(fragment)
        else:
            assert kind == "SegmentEnd"
            assert segment is not None
            assert event.msn == segment.msn
            segment.duration_s = event.duration_s
            close_segment(segment, verdict, constant_rate, idr_segments)
            verdict.segments.append(segment)
            next_msn += 1
            segment = None
    assert segment is None, "a segment was left open"
    return verdict


def check_track(
    samples: list[FragmentedSample],
    scale: Fraction,
    track_id: int,
    clocks: dict[int, Fraction],
    is_key: Callable[[bytes], bool],
) -> None:
    for sample in samples:
        time = Fraction(sample.time) / scale
        assert time == clocks.get(track_id, time), f"MF-04: track {track_id} at {float(time)}"
        assert sample.duration > 0, "MF-11"
        clocks[track_id] = time + Fraction(sample.duration) / scale
        if track_id == VIDEO:
            assert sample.is_sync == is_key(sample.data), "MF-05"
        else:
            assert sample.is_sync
            assert sample.offset == 0


def close_segment(
    segment: Segment, verdict: Verdict, constant_rate: bool, idr_segments: bool
) -> None:
    part_target = Fraction(str(verdict.part_target_s))
    assert abs(sum(part.duration_s for part in segment.parts) - segment.duration_s) < 1e-6
    printed = round(segment.duration_s, 3)
    assert floor(printed + 0.5) <= verdict.target_duration_s, f"MP-02: {segment.duration_s}"
    if constant_rate:
        for part in segment.parts[:-1]:
            least = part_target * Fraction(85, 100)
            assert Fraction(part.duration_s) >= least - Fraction(1, 10**6), "PT-04"
    if idr_segments:
        assert segment.parts[0].independent, f"MF-08: segment {segment.msn}"
    whole = list(read_fragments(segment.data))
    assert whole == segment.fragments, "MF-06, MF-07"
