"""I-frame playlists: one picture a segment, each of which a decoder shows by itself."""

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import m3u8
import pytest
from media_clips import ClipSpec, make_clip
from mp4_boxes import read_fragments, read_init
from timeline_events import TimelineEvents

import hls
from hls import (
    AacConfig,
    AvcConfig,
    IFrames,
    Part,
    Presentation,
    Sample,
    Segmenter,
    Timeline,
    TimelineSettings,
    TrackKind,
    UsageError,
)
from hls.media import MediaEvent

EVENTS = TimelineEvents(hls)
B_FRAMES = ClipSpec(name="iframes", fps=Fraction(30), b_frames=2, duration_s=9)
AUDIO_ONLY = ClipSpec(name="iframes-audio", fps=None, duration_s=9)


def packaged(spec: ClipSpec, folder: Path) -> list[list[MediaEvent]]:
    """A clip's events, as the segmenter gives them out."""
    clip = make_clip(spec, folder)
    batches = []
    with av.open(clip.path) as container:
        video = next(
            (AvcConfig.parse(s.codec_context.extradata or b"") for s in container.streams.video),
            None,
        )
        audio = next(
            (AacConfig.parse(s.codec_context.extradata or b"") for s in container.streams.audio),
            None,
        )
        segmenter = Segmenter(video=video, audio=audio)
        for packet in container.demux():
            if packet.dts is None or packet.pts is None or packet.time_base is None:
                continue
            kind = TrackKind.VIDEO if packet.stream.type == "video" else TrackKind.AUDIO
            dts_ms, pts_ms = (round(t * packet.time_base * 1000) for t in (packet.dts, packet.pts))
            batches.append(
                segmenter.push(Sample(kind, dts_ms, pts_ms, packet.is_keyframe, bytes(packet)))
            )
        batches.append(segmenter.flush())
    return batches


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> list[list[MediaEvent]]:
    return packaged(B_FRAMES, tmp_path_factory.mktemp("clip"))


def follow(batches: list[list[MediaEvent]], window: int = 15) -> tuple[Timeline, IFrames]:
    timeline = Timeline(
        token="q7", started_at_s=1e9, settings=TimelineSettings(window_segments=window)
    )
    iframes = IFrames(timeline)
    for events in batches:
        timeline.apply(events)
        iframes.variant("x")  # somebody asks after every part; for nobody, see below
    return timeline, iframes


def test_each_picture_is_shown_by_a_decoder_that_has_nothing_else(
    batches: list[list[MediaEvent]],
) -> None:
    timeline, iframes = follow(batches)
    read = m3u8.loads(iframes.playlist().decode())
    assert read.is_i_frames_only
    assert read.version == 5
    assert read.target_duration == 2
    assert [round(segment.duration, 2) for segment in read.segments] == [2.0, 2.0, 2.0, 2.0, 1.0]
    init = iframes.media("iframe-init-q7-0.mp4")
    assert init is not None
    assert [track.handler for track in read_init(init).tracks] == [b"vide"]
    times = []
    for segment, listed in zip(read.segments, timeline.segments, strict=True):
        assert segment.init_section.uri == "iframe-init-q7-0.mp4"
        data = iframes.media(segment.uri)
        assert data is not None
        [fragment] = read_fragments(data)
        [sample] = fragment.samples
        assert sample.is_sync
        assert sample.duration == round(listed.duration_ns * 90_000 / 1_000_000_000)
        whole = b"".join(listed.chunks)
        assert sample.data in whole
        with av.open(io.BytesIO(init + data), "r") as container:
            [picture] = container.decode(video=0)
        times.append(picture.time)
    assert times == [pytest.approx(times[0] + 2 * index) for index in range(5)]


def test_what_the_multivariant_playlist_says(batches: list[list[MediaEvent]]) -> None:
    timeline, iframes = follow(batches)
    info = iframes.variant("source/iframes.m3u8")
    assert info is not None
    assert info.codecs == (timeline.variant("").codecs[0],)
    assert (info.width, info.height) == (timeline.variant("").width, timeline.variant("").height)
    sizes = [
        8 * len(next(read_fragments(iframes.media(f"iframe-q7-{msn}.m4s") or b"")).samples[0].data)
        for msn in range(5)
    ]
    assert max(sizes) / 2 <= info.bandwidth_bps <= max(sizes) / 2 * 4 + 1000
    assert info.average_bandwidth_bps <= info.bandwidth_bps


def test_whoever_asks_late_is_told_the_same(batches: list[list[MediaEvent]]) -> None:
    _, followed = follow(batches)
    timeline = Timeline(token="q7", started_at_s=1e9)
    for events in batches:
        timeline.apply(events)
    late = IFrames(timeline)
    assert late.variant("x") == followed.variant("x")
    assert late.playlist() == followed.playlist()


@pytest.mark.parametrize(
    "name",
    [
        "iframe-q7-5.m4s",
        "iframe-q7-99999999999999999999.m4s",
        "iframe-q8-0.m4s",
        "iframe-q7-0.mp4",
        "iframe-q7--1.m4s",
        "iframe-init-q7-1.mp4",
        "iframe-init-q7-0.m4s",
        "seg-q7-0.m4s",
        "",
    ],
)
def test_other_names_are_nothing(batches: list[list[MediaEvent]], name: str) -> None:
    assert follow(batches)[1].media(name) is None


def test_the_window_slides_and_a_gap_is_a_gap(batches: list[list[MediaEvent]]) -> None:
    def lost(event: MediaEvent) -> MediaEvent:
        if isinstance(event, Part) and event.msn == 2:
            return replace(event, gap=True, data=b"", independent=False)
        return event

    timeline, iframes = follow([[lost(event) for event in events] for events in batches], window=3)
    assert [segment.msn for segment in timeline.segments] == [1, 2, 3, 4]
    text = iframes.playlist().decode()
    assert "#EXT-X-MEDIA-SEQUENCE:1\n" in text
    assert text.count("#EXT-X-GAP\n") == 1
    assert "#EXT-X-GAP\n#EXTINF:2.000000,\niframe-q7-2.m4s\n" in text
    assert iframes.media("iframe-q7-2.m4s") is None
    assert iframes.media("iframe-q7-0.m4s") is None
    assert iframes.media("iframe-q7-3.m4s") is not None
    assert "ENDLIST" not in text
    timeline.end()
    assert iframes.playlist().endswith(b"#EXT-X-ENDLIST\n")


def test_a_break_and_a_new_configuration_are_told(batches: list[list[MediaEvent]]) -> None:
    inits = [e for events in batches for e in events if isinstance(e, hls.InitSegment)]
    shifted = [
        [
            replace(event, init_index=1, discontinuity=event.index == 0)
            if isinstance(event, Part) and event.msn >= 3
            else event
            for event in events
        ]
        for events in batches
    ]
    begins = next(
        i
        for i, events in enumerate(shifted)
        if any(isinstance(event, Part) and event.msn == 3 for event in events)
    )
    shifted.insert(begins, [replace(inits[0], index=1)])
    text = follow(shifted)[1].playlist().decode()
    assert '#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI="iframe-init-q7-1.mp4"\n' in text
    assert text.count("#EXT-X-MAP") == 2


def test_sound_alone_has_no_pictures(tmp_path: Path) -> None:
    timeline, iframes = follow(packaged(AUDIO_ONLY, tmp_path))
    assert timeline.ready
    assert iframes.variant("x") is None
    assert iframes.media("iframe-init-q7-0.mp4") is None
    assert "#EXTINF" in iframes.playlist().decode()
    assert iframes.playlist().count(b"#EXT-X-GAP\n") == len(timeline.segments)


def test_nothing_before_the_first_segment() -> None:
    timeline = Timeline(token="q7", started_at_s=1e9)
    iframes = IFrames(timeline)
    assert iframes.variant("x") is None
    with pytest.raises(UsageError):
        iframes.playlist()
    timeline.apply([Presentation(target_duration_s=2, part_target_s=0.2), EVENTS.init()])
    assert iframes.variant("x") is None
    assert iframes.media("iframe-q7-0.m4s") is None
