"""What was seen of a server; the rules are functions of it.

Plain data, made by `recorder` and `experiments`, or by hand in a test. All URLs are absolute, all
times monotonic seconds. Nothing here judges.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import urljoin

from tests.conformance.boxes import Fragments, Init, Run, Track
from tests.conformance.client import Exchange
from tests.conformance.multivariant import Multivariant, Variant
from tests.conformance.playlist import US, Part, Playlist, Segment

Position = tuple[int, int]
"""(msn, part index)"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of a media playlist, as the answer to one reload."""

    exchange: Exchange
    """Without its body."""
    wanted: Position | None
    """The part that the request asked to wait for."""
    playlist: Playlist

    @property
    def came_s(self) -> float:
        return self.exchange.done_s


@dataclass(frozen=True, slots=True)
class Media:
    """One part or one whole segment that was fetched."""

    segment: Segment
    index: int | None
    """Of the part; None for the whole segment."""
    init: Init
    exchange: Exchange
    """Without its body."""
    fragments: Fragments
    listed_s: float = 0.0
    """When the playlist came that listed it."""

    @property
    def part(self) -> Part | None:
        return None if self.index is None else self.segment.parts[self.index]

    @property
    def track(self) -> Track | None:
        """The one that durations are about."""
        track = self.init.reference
        return track if track is not None and track.track_id in self.fragments.runs else None

    @property
    def run(self) -> Run | None:
        return None if self.track is None else self.fragments.runs[self.track.track_id]

    @property
    def start_s(self) -> float | None:
        """Presentation time of its first sample."""
        if self.track is None or self.run is None:
            return None
        return (self.run.start + self.run.shift) / self.track.timescale

    @property
    def duration_s(self) -> float | None:
        if self.track is None or self.run is None:
            return None
        return self.run.duration / self.track.timescale

    @property
    def frame_s(self) -> float:
        """Its shortest sample."""
        if self.track is None or self.run is None or not self.run.count:
            return 0.0
        return self.run.shortest / self.track.timescale

    def __str__(self) -> str:
        return f"{self.segment.msn}" if self.index is None else f"{self.segment.msn}.{self.index}"


@dataclass
class Rendition:
    """Everything seen of one media playlist."""

    url: str
    kind: str
    """video, audio ..."""
    snapshots: list[Snapshot] = field(default_factory=list)
    """Full playlists, in order."""
    refusals: list[Exchange] = field(default_factory=list)
    """Reloads that got no 200."""
    inits: dict[str, tuple[Exchange, Init]] = field(default_factory=dict)
    """By absolute URL."""
    parts: dict[Position, Media] = field(default_factory=dict)
    segments: dict[int, Media] = field(default_factory=dict)
    hints: list[Exchange] = field(default_factory=list)
    """Requests for hinted parts."""
    deltas: list[tuple[Snapshot, Exchange, Playlist]] = field(default_factory=list)
    """A full version, and a delta update that was asked for next."""
    decoded: tuple[int, int, str] | None = None
    """Pictures and sounds decoded, samples given, error; None where nothing could be decoded."""

    @property
    def name(self) -> str:
        return "/".join(self.url.partition("?")[0].split("/")[-2:])

    @property
    def latest(self) -> Playlist | None:
        return self.snapshots[-1].playlist if self.snapshots else None

    @property
    def target_s(self) -> float:
        """TARGETDURATION; 1 if nothing was seen."""
        return float(max(1, self.latest.target_s)) if self.latest else 1.0

    @property
    def part_target_s(self) -> float:
        """PART-TARGET; TARGETDURATION without parts."""
        us = self.latest.part_target_us if self.latest else 0
        return us / US if us else self.target_s

    def pairs(self) -> Iterator[tuple[Playlist, Playlist]]:
        """Each version and the next one."""
        for before, after in zip(self.snapshots, self.snapshots[1:], strict=False):
            yield before.playlist, after.playlist

    @cached_property
    def first_listed(self) -> dict[Position, tuple[float, Segment, Part]]:
        """When each part was listed first; in order."""
        found: dict[Position, tuple[float, Segment, Part]] = {}
        for snapshot in self.snapshots:
            for segment in snapshot.playlist.all_segments:
                for index, part in enumerate(segment.parts):
                    if (segment.msn, index) not in found:
                        found[segment.msn, index] = (snapshot.came_s, segment, part)
        return found

    @cached_property
    def first_whole(self) -> dict[int, tuple[float, Segment]]:
        """When each complete segment was listed first; in order."""
        found: dict[int, tuple[float, Segment]] = {}
        for snapshot in self.snapshots:
            for segment in snapshot.playlist.segments:
                if segment.msn not in found:
                    found[segment.msn] = (snapshot.came_s, segment)
        return found

    def whole_media(self) -> list[Media]:
        """Segments that were fetched, in order."""
        return [media for _, media in sorted(self.segments.items())]

    def all_media(self) -> list[Media]:
        """Parts and segments that were fetched."""
        return [*(media for _, media in sorted(self.parts.items())), *self.whole_media()]

    def resolve(self, uri: str) -> str:
        """An URI of its playlist, absolute; "invalid:" for what is none."""
        try:
            return urljoin(self.url, uri)
        except ValueError:
            return "invalid:"


@dataclass(frozen=True, slots=True)
class Recheck:
    """Media asked for again, later."""

    rule: str
    why: str
    digest: str
    exchange: Exchange


@dataclass
class Recording:
    """Everything seen of a server in one run."""

    url: str
    multivariants: list[tuple[Exchange, Multivariant]] = field(default_factory=list)
    """Each GET of it."""
    renditions: dict[str, Rendition] = field(default_factory=dict)
    tried: dict[str, list[Exchange]] = field(default_factory=dict)
    """Experiments by name, see `experiments`; an experiment that was not made is not there."""
    asked: dict[str, tuple[Position, ...]] = field(default_factory=dict)
    """What those experiments asked for: (msn, part), part -1 for none."""
    rechecks: list[Recheck] = field(default_factory=list)
    protocol: str = ""
    """What ALPN gave; empty without TLS."""
    wall_offset_s: float = 0.0
    """UTC is monotonic time plus this."""
    remarks: list[str] = field(default_factory=list)
    """What a reader of the report should know."""
    max_latency_s: float = 2.0

    @property
    def latest(self) -> Multivariant | None:
        return self.multivariants[-1][1] if self.multivariants else None

    @property
    def first(self) -> Rendition | None:
        """The one that experiments are made with."""
        return next(iter(self.renditions.values()), None)

    def video(self) -> list[Rendition]:
        """Renditions that have pictures."""
        return [item for item in self.renditions.values() if item.kind == "video"]

    def of_variant(self, variant: Variant) -> list[Rendition]:
        """The renditions that a variant plays: its own, and those of its audio group."""
        urls = [variant.url, *(self.latest.audio_of(variant) if self.latest else [])]
        return [self.renditions[url] for url in urls if url in self.renditions]
