"""Judges whether the renditions of one broadcast are aligned, from playlists and bytes only.

`judge_ladder` compares every rendition with the first one, the source's or what stands in for it,
segment by segment and picture by picture, and names each broken rule of `hls_rules` (AL, EN-04,
MF). It knows nothing of how a ladder is made. What a rendition lacks must be listed as a gap;
whether gaps are allowed at all is the caller's to say.

`release_lags` and `judge_pace` say when things were listed, which tells what a viewer at the live
edge would have noticed.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from statistics import quantiles

from hls_probe import Harvest
from hls_rules import RULES
from media_rules import is_idr
from pace_probe import Arrival, Pace
from playlist_reader import US
from rendition_media import AUDIO, VIDEO, MediaPart, MediaSegment, Rendition

MAX_TEXTS = 3
"""Breaches told for one rule of one rendition; the rest is counted."""

STARTING_SEGMENTS = 2
"""The first segments of a rendition say nothing of its pace: one is held back until the source is
known, and encoders that start catch up with what has come meanwhile."""

RELEASE_SLACK_S = 0.15
"""On top of PT, for the way through HTTP and two busy threads (reference, PT-12)."""


@dataclass(slots=True)
class Faults:
    """Broken rules of one rendition."""

    name: str
    _texts: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, rule: str, text: str) -> None:
        """Note a breach."""
        assert rule in RULES
        self._texts[rule].append(text)

    def require(self, condition: bool, rule: str, text: str) -> None:
        """Note a breach unless the condition holds."""
        if not condition:
            self.add(rule, text)

    def told(self) -> list[str]:
        """One line for each breach, the first few of each rule."""
        lines = []
        for rule, texts in sorted(self._texts.items()):
            lines += [f"{rule} {self.name}: {text}" for text in texts[:MAX_TEXTS]]
            if len(texts) > MAX_TEXTS:
                lines.append(f"{rule} {self.name}: {len(texts) - MAX_TEXTS} times more")
        return lines


def judge_ladder(
    renditions: Sequence[Rendition],
    *,
    divisors: Mapping[str, int] | None = None,
    gaps_allowed: bool = False,
    halving_allowed: bool = False,
    constant_rate: bool = True,
) -> list[str]:
    """Everything in which renditions differ that must not; an empty list is a pass.

    Args:
        renditions: The reference first, at least two. The others may begin later.
        divisors: By name: one picture in so many is encoded. 1 where nothing is said.
        gaps_allowed: An encoder has failed: gaps, and pictures left out, are no breach.
        halving_allowed: The machine has too much to do: whole segments may have every second of
            their pictures only.
        constant_rate: Of the source; if not, audio may stand in for pictures that stay away, so
            that their durations need not be those of parts.
    """
    reference, *others = renditions
    assert others, "nothing to compare"
    lines = []
    for rendition in renditions:
        faults = Faults(rendition.name)
        _judge_alone(rendition, faults, constant_rate=constant_rate)
        if rendition is not reference:
            divisor = (divisors or {}).get(rendition.name, 1)
            _judge_beside(reference, rendition, faults, gaps_allowed=gaps_allowed)
            if reference.has_video:
                may_be = (divisor, 2 * divisor) if halving_allowed else (divisor,)
                _judge_pictures(reference, rendition, () if gaps_allowed else may_be, faults)
        lines += faults.told()
    return lines


# One rendition.


def _judge_alone(rendition: Rendition, faults: Faults, *, constant_rate: bool) -> None:
    sequence = 0
    ends: dict[bytes, Fraction] = {}
    first_date: tuple[int, Fraction] | None = None
    for msn, segment in rendition.segments.items():
        if segment.listed.discontinuity:
            ends, first_date = {}, None
        if segment.start is not None:
            date_us = round(segment.listed.date.timestamp() * US)
            zero = Fraction(date_us, US) - segment.start
            if first_date is None:
                first_date = (msn, zero)
            off = abs(zero - first_date[1])
            allowed = Fraction(2 if constant_rate else 50, 1000)
            faults.require(off <= allowed, "MP-10", f"segment {msn}: date off by {float(off)} s")
        for index, part in _parts_in_order(segment):
            where = f"part {msn}.{index}"
            if part is None:
                ends = {}
                continue
            faults.require(part.sequence_number > sequence, "MF-03", where)
            sequence = part.sequence_number
            for kind, samples in ((VIDEO, part.video), (AUDIO, part.audio)):
                for sample in samples:
                    begins = ends.get(kind, sample.start)
                    text = f"{where} {kind.decode()}: {float(begins)} is followed by "
                    faults.require(sample.start == begins, "MF-04", f"{text}{float(sample.start)}")
                    faults.require(sample.duration > 0, "MF-11", where)
                    ends[kind] = sample.start + sample.duration
            if constant_rate and part.video and segment.parts:
                listed = Fraction(segment.parts[index].duration_us, US)
                summed = sum(sample.duration for sample in part.video)
                text = f"{where}: {float(listed)} s listed, {float(summed)} s of pictures"
                faults.require(abs(listed - summed) <= Fraction(1, 1000), "PT-05", text)


def _parts_in_order(segment: MediaSegment) -> Iterator[tuple[int, MediaPart | None]]:
    for index in range(len(segment.parts) or 1):
        yield index, segment.media.get(index)


# Two renditions.


def _judge_beside(
    reference: Rendition, rendition: Rendition, faults: Faults, *, gaps_allowed: bool
) -> None:
    common = [msn for msn in rendition.segments if msn in reference.segments]
    faults.require(bool(common), "AL-01", "no segment in common with the reference")
    if not gaps_allowed:
        for msn, index in rendition.gaps()[:1]:
            faults.add("EN-04", f"{msn}.{index} is a gap, the first of {len(rendition.gaps())}")
    for msn in common:
        theirs, ours = reference.segments[msn], rendition.segments[msn]
        _judge_lines(msn, theirs, ours, faults)
        _judge_sound(msn, theirs, ours, faults)
        if theirs.start is not None and ours.start is not None:
            off_s = float(abs(theirs.start - ours.start))
            faults.require(off_s == 0, "AL-01", f"segment {msn} begins {off_s:.6f} s off")
        if reference.has_video:
            _judge_key(msn, ours, faults)
    ended = "#EXT-X-ENDLIST" in reference.harvest.snapshots[-1].text
    if ended and common:
        last = max(reference.segments)
        faults.require(max(rendition.segments) == last, "EN-04", f"it ends before segment {last}")


def _judge_lines(msn: int, theirs: MediaSegment, ours: MediaSegment, faults: Faults) -> None:
    """What the playlists say of one segment."""
    faults.require(
        theirs.listed.date == ours.listed.date,
        "AL-03",
        f"segment {msn} is dated {ours.listed.date.time()}, not {theirs.listed.date.time()}",
    )
    sequences = theirs.listed.discontinuity_sequence, ours.listed.discontinuity_sequence
    faults.require(
        sequences[0] == sequences[1],
        "AL-04",
        f"segment {msn} has discontinuity sequence {sequences[1]}, not {sequences[0]}",
    )
    if theirs.listed.uri is None or ours.listed.uri is None:
        return  # one of them was still open when the probe ended
    faults.require(
        theirs.listed.duration_us == ours.listed.duration_us,
        "AL-01",
        f"segment {msn} lasts {ours.listed.duration_us} us, not {theirs.listed.duration_us}",
    )
    if theirs.parts and ours.parts:
        durations = [[part.duration_us for part in side.parts] for side in (theirs, ours)]
        faults.require(
            durations[0] == durations[1], "AL-08", f"segment {msn} has parts {durations[1]}"
        )


def _judge_sound(msn: int, theirs: MediaSegment, ours: MediaSegment, faults: Faults) -> None:
    for side, segment in (("the reference's ", theirs), ("", ours)):
        if not segment.begins_with_media or not segment.video or not segment.audio:
            continue
        picture, sound = segment.video[0], segment.audio[0]
        off = abs(picture.start - sound.start)
        text = f"{side}segment {msn}: sound is {float(off):.3f} s off"
        faults.require(off <= picture.duration + sound.duration, "AL-02", text)
    for index in theirs.media.keys() & ours.media.keys():
        if bool(theirs.parts) != bool(ours.parts):
            break  # one was seen part by part, the other as a whole
        same = theirs.media[index].audio == ours.media[index].audio
        faults.require(same, "AL-02", f"part {msn}.{index} has other sound than the reference's")


def _judge_key(msn: int, segment: MediaSegment, faults: Faults) -> None:
    for position, sample in enumerate(segment.video):
        where = f"segment {msn}, picture {position}"
        faults.require(sample.is_sync == (position == 0), "AL-07", f"{where}: sync flag")
        if segment.codec == "avc1":
            text = f"{where}: is, or is no, IDR picture"
            faults.require(is_idr(sample.data) == sample.is_sync, "MF-05", text)


def _judge_pictures(
    reference: Rendition, rendition: Rendition, divisors: Sequence[int], faults: Faults
) -> None:
    """Which pictures there are, and when they are shown; no divisor: any may be missing."""
    source = {sample.shown for side in reference.segments.values() for sample in side.video}
    for msn, ours in rendition.segments.items():
        shown = [sample.shown for sample in ours.video]
        text = f"segment {msn}: not in order of display"
        faults.require(shown == sorted(set(shown)), "AL-06", text)
        if not _is_comparable(reference, msn):
            continue  # one probe came, or was stopped, before the other
        for time in sorted(set(shown) - source)[:1]:
            faults.add("AL-06", f"segment {msn}: the source has no picture at {float(time)}")
    for msns in _closed_runs(reference) if divisors else ():
        if not all(_is_comparable(side, msn) for side in (reference, rendition) for msn in msns):
            continue
        theirs = sorted(sample.shown for msn in msns for sample in reference.segments[msn].video)
        shown = [sample.shown for msn in msns for sample in rendition.segments[msn].video]
        if len(msns) == 1:
            right = any(shown == theirs[::divisor] for divisor in divisors)
        else:  # every segment begins to count anew
            right = any(abs(len(shown) - len(theirs) / one) < len(msns) for one in divisors)
        text = (
            f"segment {msns[0]}: {len(shown)} pictures, not one in {divisors[0]} of {len(theirs)}"
        )
        faults.require(right, "AL-06", text)


def _closed_runs(reference: Rendition) -> list[list[int]]:
    """Runs of segments whose pictures are shown in no other: each begins with an IDR picture.

    A run is one segment, unless the source's keyframes are too far apart for its segments. A last
    run may lack pictures that belong to it.
    """
    runs: list[list[int]] = []
    for msn, segment in reference.segments.items():
        if not runs or (segment.video and segment.video[0].is_sync):
            runs.append([])
        runs[-1].append(msn)
    return runs


def _is_comparable(rendition: Rendition, msn: int) -> bool:
    segment = rendition.segments.get(msn)
    return segment is not None and segment.is_whole and segment.begins_with_media


# When it came.


def release_times(harvest: Harvest) -> dict[tuple[int, int], float]:
    """When each part was listed, gaps too."""
    times = {key: part.listed_at_s for key, part in harvest.parts.items()}
    return times | harvest.gaps


def release_lags(reference: Rendition, rendition: Rendition) -> list[float]:
    """How much later than the reference a rendition listed each part, seconds."""
    since = max(min(reference.segments), min(rendition.segments)) + STARTING_SEGMENTS
    theirs, ours = release_times(reference.harvest), release_times(rendition.harvest)
    return [ours[key] - theirs[key] for key in sorted(ours) if key in theirs and key[0] >= since]


def judge_update_lag(reference: Rendition, rendition: Rendition) -> list[str]:
    """AL-05: whether a rendition keeps up with the reference."""
    lags = release_lags(reference, rendition)
    assert len(lags) >= 10, f"only {len(lags)} parts of {rendition.name} to compare"
    late_s = quantiles(lags, n=20)[-1]
    if late_s <= reference.part_target_us / US:
        return []
    return [f"AL-05 {rendition.name}: 5 of 100 parts are more than {late_s:.3f} s late"]


def pace_of(rendition: Rendition) -> Pace:
    """When each part was listed, as far as the rendition was followed while it was live."""
    times = release_times(rendition.harvest)
    since = min(rendition.segments) + STARTING_SEGMENTS
    arrivals = [
        Arrival(times[msn, index], msn, index, part.duration_us, part.gap)
        for msn, segment in rendition.segments.items()
        for index, part in enumerate(segment.parts)
        if (msn, index) in times and msn >= since
    ]
    return Pace(
        rendition.name, tuple(arrivals), rendition.part_hold_back_us, rendition.part_target_us
    )


def arrival_lags(pace: Pace) -> list[float]:
    """How late each part was listed against the best of them, on the media clock, seconds.

    This is how much buffer a viewer needs who plays without a pause. Parts that were listed before
    the first look are left out.
    """
    media_us = 0
    lags = []
    for arrival in pace.arrivals:
        media_us += arrival.duration_us
        if arrival.at_s > pace.arrivals[0].at_s:
            lags.append(arrival.at_s - media_us / US)
    best = min(lags, default=0.0)
    return [lag - best for lag in lags]


def judge_pace(pace: Pace, *, calm: bool = True) -> list[str]:
    """PT-12: whether a viewer at PART-HOLD-BACK from the live edge played without a pause.

    Args:
        pace: What was followed from its beginning.
        calm: The machine was not overloaded: the jitter must be small, too.
    """
    lags = arrival_lags(pace)
    assert len(lags) >= 10, f"only {len(lags)} parts of {pace.name} to judge"
    faults = []
    worst_s, hold_back_s = max(lags), pace.part_hold_back_us / US
    if worst_s > hold_back_s:
        late = [arrival for arrival in pace.arrivals if arrival.at_s > pace.arrivals[0].at_s]
        worst = late[lags.index(worst_s)]
        where = f"part {worst.msn}.{worst.index}"
        faults.append(f"PT-12 {pace.name}: {where} was {worst_s:.3f} s late: a stall")
    late_s = quantiles(lags, n=20)[-1]
    if calm and late_s > max(RELEASE_SLACK_S, pace.part_target_us / US / 2):
        faults.append(f"PT-12 {pace.name}: 5 of 100 parts were over {late_s:.3f} s late")
    return faults
