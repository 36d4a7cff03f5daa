"""Both halves of the package: whatever a publisher sends, every playlist version is right."""

from collections.abc import Callable
from fractions import Fraction

import pytest
from media_samples import Frame, Source, SpsFields, avc_record
from playlist_reader import PlaylistHistory

from hls import (
    AacConfig,
    AvcConfig,
    MediaEvent,
    Sample,
    Segmenter,
    Timeline,
    TrackKind,
)

AAC_48K_STEREO = bytes((0x11, 0x90))


def lossy(source: Source, *, gone_s: tuple[float, float], audio_too: bool) -> list[Frame]:
    first_ms, last_ms = (1000 * edge_s for edge_s in gone_s)
    return [
        frame
        for frame in source.frames()
        if not (first_ms < frame.dts_ms < last_ms and (frame.is_video or audio_too))
    ]


def a_fifth_missing(source: Source) -> list[Frame]:
    return [
        frame
        for number, frame in enumerate(source.frames())
        if frame.idr or not frame.is_video or number % 5
    ]


def jitter(number: int) -> int:
    return number * 7 % 9


MINUTE = 60.0
CASES: dict[str, Callable[[], list[Frame]]] = {
    "24 fps": Source(fps=Fraction(24), gop=48, duration_s=MINUTE).frames,
    "29.97 fps": Source(fps=Fraction(30000, 1001), duration_s=MINUTE).frames,
    "60 fps with jitter": Source(
        fps=Fraction(60), gop=120, duration_s=MINUTE, jitter_ms=jitter
    ).frames,
    "5 fps": Source(fps=Fraction(5), gop=10, duration_s=MINUTE).frames,
    "B-frames": Source(b_frames=2, duration_s=MINUTE).frames,
    "OBS's default GOP": Source(gop=250, duration_s=MINUTE).frames,
    "a GOP that is too long": Source(gop=600, duration_s=MINUTE).frames,
    "video only": Source(audio_rate=None, duration_s=MINUTE).frames,
    "audio only": Source(fps=None, duration_s=MINUTE).frames,
    "dropped pictures": lambda: a_fifth_missing(Source(duration_s=MINUTE)),
    "three seconds without pictures": lambda: lossy(
        Source(duration_s=MINUTE), gone_s=(20, 23), audio_too=False
    ),
    "eight seconds without anything": lambda: lossy(
        Source(duration_s=MINUTE), gone_s=(20, 28), audio_too=True
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_version_keeps_every_rule(name: str) -> None:
    frames = CASES[name]()
    has_video = any(frame.is_video for frame in frames)
    has_audio = any(not frame.is_video for frame in frames)
    segmenter = Segmenter(
        video=AvcConfig.parse(avc_record(SpsFields().unit())) if has_video else None,
        audio=AacConfig.parse(AAC_48K_STEREO) if has_audio else None,
    )
    timeline = Timeline(token="t", started_at_s=1_700_000_000.0)
    history = PlaylistHistory(every_version=True)

    def publish(events: list[MediaEvent]) -> None:
        if events:
            timeline.apply(events)
            read = history.add(timeline.playlist())
            assert all(timeline.media(name) is not None for name in read.uris)

    for frame in frames:
        kind = TrackKind.VIDEO if frame.is_video else TrackKind.AUDIO
        sample = Sample(
            kind=kind,
            dts_ms=frame.dts_ms,
            pts_ms=frame.pts_ms,
            keyframe=frame.idr,
            data=frame.data,
        )
        publish(segmenter.push(sample))
    publish(segmenter.flush())
    timeline.end()
    last = history.add(timeline.playlist())
    assert last.ended
    # Nothing was lost on the way: the window ends where the publisher did.
    published_s = max(frame.dts_ms for frame in frames) / 1000
    end_s = last.segments[-1].date.timestamp() + last.segments[-1].duration_us / 1e6
    assert end_s - 1_700_000_000.0 == pytest.approx(published_s, abs=0.5)
