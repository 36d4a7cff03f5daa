"""Push made-up publishers through a segmenter."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from media_samples import Frame, Source, SpsFields, asc, avc_record

from hls import AacConfig, AvcConfig, MediaEvent, Sample, Segmenter, SegmenterSettings, TrackKind

VIDEO_CONFIG = AvcConfig.parse(avc_record())
AUDIO_CONFIG = AacConfig.parse(asc(48_000, 2))
OTHER_VIDEO = AvcConfig.parse(avc_record(SpsFields(width_mbs=40, height_map_units=22).unit()))
OTHER_AUDIO = AacConfig.parse(asc(44_100, 1))


def sample(frame: Frame) -> Sample:
    kind = TrackKind.VIDEO if frame.is_video else TrackKind.AUDIO
    return Sample(kind, frame.dts_ms, frame.pts_ms, frame.idr, frame.data)


def audio_config(source: Source) -> AacConfig | None:
    if source.audio_rate is None:
        return None
    return AacConfig.parse(asc(source.audio_rate, short_frames=source.samples_per_frame == 960))


@dataclass
class Run:
    """A segmenter and the result of every call."""

    segmenter: Segmenter
    batches: list[list[MediaEvent]] = field(default_factory=list)

    def push(self, frames: Iterable[Frame]) -> "Run":
        for frame in frames:
            self.batches.append(list(self.segmenter.push(sample(frame))))
        return self

    def flush(self) -> "Run":
        self.batches.append(self.segmenter.flush())
        return self

    @property
    def events(self) -> list[MediaEvent]:
        return [event for batch in self.batches for event in batch]


def start(source: Source, settings: SegmenterSettings | None = None) -> Run:
    """A segmenter for the source's tracks; nothing pushed yet."""
    video = None if source.fps is None else VIDEO_CONFIG
    return Run(Segmenter(video=video, audio=audio_config(source), settings=settings))


def run(source: Source, settings: SegmenterSettings | None = None) -> Run:
    """Everything that a source sends, to its end."""
    return start(source, settings).push(source.frames()).flush()


def constant(fps: Fraction | int, **fields: object) -> Source:
    return Source(fps=Fraction(fps), **fields)  # type: ignore[arg-type]
