"""What one probe was given of one rendition, read back from its playlists and bytes.

`Rendition.read` joins three things for every segment: how the playlists listed it, which
initialization section it needs, and its samples part by part, with all times as exact seconds.
The judges of a ladder (`ladder_rules`, `variant_rules`) work on nothing else. Shares no code with
what it reads.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Self

from hls_probe import Harvest
from mp4_boxes import Init, read_fragments, read_init
from playlist_reader import ListedPart, ListedSegment, PlaylistHistory

VIDEO, AUDIO = b"vide", b"soun"


@dataclass(frozen=True, slots=True)
class MediaSample:
    """One picture or audio frame; times in seconds on the broadcast's media clock."""

    start: Fraction
    """Decode time."""
    shown: Fraction
    """Presentation time."""
    duration: Fraction
    is_sync: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class MediaPart:
    """The samples of one part, or of a whole segment that was not seen part by part."""

    sequence_number: int
    video: tuple[MediaSample, ...]
    audio: tuple[MediaSample, ...]


@dataclass(slots=True)
class MediaSegment:
    """One segment: its lines and its media."""

    listed: ListedSegment
    parts: tuple[ListedPart, ...]
    """As listed while they were; empty for a probe that came too late."""
    codec: str = "avc1"
    """Of its pictures, as the sample entry says."""
    media: dict[int, MediaPart] = field(default_factory=dict)
    """By part index; gaps are not in it. One entry, 0, if the parts were not seen."""

    @property
    def video(self) -> list[MediaSample]:
        """Its pictures in decode order."""
        return [sample for part in self.media.values() for sample in part.video]

    @property
    def audio(self) -> list[MediaSample]:
        """Its audio frames."""
        return [sample for part in self.media.values() for sample in part.audio]

    @property
    def is_whole(self) -> bool:
        """It is complete and nothing is missing."""
        return self.listed.uri is not None and not self.listed.gap

    @property
    def begins_with_media(self) -> bool:
        """Its first part is there."""
        return 0 in self.media

    @property
    def start(self) -> Fraction | None:
        """Decode time of its first picture (first audio frame without video), None for a gap."""
        if not self.begins_with_media:
            return None
        first = self.media[0].video or self.media[0].audio
        return first[0].start


@dataclass(slots=True)
class Rendition:
    """One rendition as it was seen."""

    name: str
    harvest: Harvest
    part_target_us: int
    part_hold_back_us: int
    target_duration_s: int
    segments: dict[int, MediaSegment]
    init: Init
    """The newest initialization section."""

    @classmethod
    def read(cls, name: str, harvest: Harvest, *, constant_rate: bool = True) -> Self:
        """Read a harvest.

        Raises:
            RuleBroken: A playlist breaks a rule.
            AssertionError: The bytes are no fragmented MP4 as CMAF wants it.
        """
        history = PlaylistHistory(constant_rate=constant_rate)
        lines: dict[int, ListedSegment] = {}
        parts: dict[int, tuple[ListedPart, ...]] = {}
        for snapshot in harvest.snapshots:
            for listed in history.add(snapshot.text.encode()).all_segments:
                lines[listed.msn] = listed
                if listed.parts:
                    parts[listed.msn] = listed.parts
        last = history.last
        assert last is not None, f"no playlist of {name}"
        inits = {uri: read_init(data) for uri, data in harvest.inits.items()}
        made = {
            msn: MediaSegment(listed, parts.get(msn, ())) for msn, listed in sorted(lines.items())
        }
        for msn, segment in made.items():
            init = inits[segment.listed.map_uri]
            seen = {
                index: harvest.parts[msn, index].data
                for index, part in enumerate(segment.parts)
                if not part.gap and (msn, index) in harvest.parts
            }
            if not segment.parts and msn in harvest.segments:
                seen = {0: harvest.segments[msn][2]}
            entries = [track.entry for track in init.tracks if track.handler == VIDEO]
            segment.codec = entries[0].kind.decode() if entries else ""
            segment.media = {index: _read_part(data, init) for index, data in seen.items()}
        return cls(
            name=name,
            harvest=harvest,
            part_target_us=last.part_target_us,
            part_hold_back_us=last.part_hold_back_us,
            target_duration_s=last.target_duration_s,
            segments=made,
            init=inits[made[max(made)].listed.map_uri],
        )

    @property
    def has_video(self) -> bool:
        """It has a video track."""
        return any(track.handler == VIDEO for track in self.init.tracks)

    def whole_segments(self) -> Iterable[MediaSegment]:
        """Complete segments without gaps whose media was seen, in order."""
        return [
            segment
            for segment in self.segments.values()
            if segment.is_whole and segment.begins_with_media
        ]

    def init_data(self, msn: int) -> bytes:
        """The initialization section that a segment needs."""
        return self.harvest.inits[self.segments[msn].listed.map_uri]

    def gaps(self) -> list[tuple[int, int]]:
        """(msn, index) of all parts that were listed as gaps."""
        return sorted(self.harvest.gaps)


def _read_part(data: bytes, init: Init) -> MediaPart:
    scales = {track.track_id: (track.handler, track.timescale) for track in init.tracks}
    samples: dict[bytes, list[MediaSample]] = {VIDEO: [], AUDIO: []}
    fragments = list(read_fragments(data))
    for fragment in fragments:
        for sample in fragment.samples:
            handler, scale = scales[sample.track_id]
            samples[handler].append(
                MediaSample(
                    start=Fraction(sample.time, scale),
                    shown=Fraction(sample.time + sample.offset, scale),
                    duration=Fraction(sample.duration, scale),
                    is_sync=sample.is_sync,
                    data=sample.data,
                )
            )
    return MediaPart(fragments[0].sequence_number, tuple(samples[VIDEO]), tuple(samples[AUDIO]))
