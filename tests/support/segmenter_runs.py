"""Push made-up publishers through a segmenter.

The package under test is handed in, `Driver(hls)`: nothing in tests/support may import what it
helps to test.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from types import ModuleType
from typing import Any

from media_samples import Frame, Source, SpsFields, asc, avc_record


def constant(fps: Fraction | int, **fields: object) -> Source:
    """A publisher with a constant frame rate."""
    return Source(fps=Fraction(fps), **fields)  # type: ignore[arg-type]


@dataclass
class Run:
    """A segmenter and the result of every call."""

    driver: "Driver"
    segmenter: Any
    batches: list[list[Any]] = field(default_factory=list)
    placements: list[tuple[Frame, Any]] = field(default_factory=list)
    """Each picture that was taken, and what was made of it."""
    first_released: int | None = None
    """How many pictures had been taken when the first events came out."""

    def push(self, frames: Iterable[Frame]) -> "Run":
        for frame in frames:
            self.take(self.segmenter.push(self.driver.sample(frame)))
            if self.segmenter.placed is not None:
                self.placements.append((frame, self.segmenter.placed))
        return self

    def take(self, batch: Sequence[Any]) -> None:
        """Keep the result of a call."""
        if batch and self.first_released is None:
            self.first_released = len(self.placements)
        self.batches.append(list(batch))

    def flush(self) -> "Run":
        self.take(self.segmenter.flush())
        return self

    @property
    def events(self) -> list[Any]:
        return [event for batch in self.batches for event in batch]


class Driver:
    """Makes configurations, samples and segmenters of the package that is handed in."""

    def __init__(self, package: ModuleType) -> None:
        self._hls = package
        self.video = package.AvcConfig.parse(avc_record())
        self.audio = package.AacConfig.parse(asc(48_000, 2))
        small = SpsFields(width_mbs=40, height_map_units=22)
        self.other_video = package.AvcConfig.parse(avc_record(small.unit()))
        self.other_audio = package.AacConfig.parse(asc(44_100, 1))

    def sample(self, frame: Frame) -> Any:
        """One sample of the package's own kind."""
        kinds = self._hls.TrackKind
        kind = kinds.VIDEO if frame.is_video else kinds.AUDIO
        return self._hls.Sample(kind, frame.dts_ms, frame.pts_ms, frame.idr, frame.data)

    def start(self, source: Source, settings: Any = None) -> Run:
        """A segmenter for the source's tracks; nothing pushed yet."""
        audio = None
        if source.audio_rate is not None:
            config = asc(source.audio_rate, short_frames=source.samples_per_frame == 960)
            audio = self._hls.AacConfig.parse(config)
        video = None if source.fps is None else self.video
        return Run(self, self._hls.Segmenter(video=video, audio=audio, settings=settings))

    def run(self, source: Source, settings: Any = None) -> Run:
        """Everything that a source sends, to its end."""
        return self.start(source, settings).push(source.frames()).flush()
