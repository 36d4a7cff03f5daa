"""A rendition as a transport stream: made on demand, kept within bounds, gone with the window."""

import m3u8
import pytest
from media_samples import asc, avc_record, nal
from ts_reader import AdtsFrame, Continuity, adts_frames, nal_units, read_segment
from video_records import av1_record

from edge import ts
from edge.http.response import Response
from edge.ts import MAX_KEPT_SEGMENTS, TsRendition
from hls import (
    AacConfig,
    Av1Config,
    AvcConfig,
    Part,
    Presentation,
    SegmentEnd,
    Timeline,
    TimelineSettings,
    UsageError,
    VideoConfig,
)
from hls.fragment import NON_SYNC_FLAGS, SYNC_FLAGS, FragmentWriter
from hls.init_segment import describe_init_segment
from native import FragmentSample

AVC = AvcConfig.parse(avc_record())
AV1 = Av1Config.parse(av1_record())
AAC = AacConfig.parse(asc(48_000, 2))
SEGMENT_TICKS = 2 * 90_000


class Broadcast:
    """A timeline with segments of two seconds: two parts, four pictures, an audio frame each."""

    def __init__(self, *, window_segments: int = 3, picture_bytes: int = 20) -> None:
        settings = TimelineSettings(window_segments=window_segments)
        self.timeline = Timeline(token="tok", started_at_s=1_700_000_000.0, settings=settings)
        self.ts = TsRendition(name="source", timeline=self.timeline)
        self._writer = FragmentWriter()
        self._picture_bytes = picture_bytes
        self._msn = 0
        self._init_index = -1
        self.timeline.apply([Presentation(target_duration_s=2, part_target_s=1.0)])
        self.use(AVC)

    def use(self, video: VideoConfig) -> None:
        """Begin another init section."""
        self._init_index += 1
        init = describe_init_segment(self._init_index, b"init", video, AAC, 2.0)
        self.timeline.apply([init])

    def segment(self, *, gap: bool = False, discontinuity: bool = False) -> None:
        for index in range(2):
            start = self._msn * SEGMENT_TICKS + index * 90_000
            pictures = [
                FragmentSample(nal(5, bytes(self._picture_bytes)), 45_000, 0, SYNC_FLAGS),
                FragmentSample(nal(1), 45_000, 0, NON_SYNC_FLAGS),
            ]
            sound = FragmentSample(b"\x21%d" % self._msn, 48_000, 0, SYNC_FLAGS)
            data = self._writer.write(start, pictures, start * 48 // 90, [sound])
            part = Part(
                msn=self._msn,
                index=index,
                duration_s=1.0,
                independent=not gap,
                data=b"" if gap else data,
                init_index=self._init_index,
                discontinuity=discontinuity and index == 0,
                media_time_s=start / 90_000,
                gap=gap,
            )
            self.timeline.apply([part])
        self.timeline.apply([SegmentEnd(msn=self._msn, duration_s=2.0)])
        self._msn += 1

    def segments(self, count: int) -> "Broadcast":
        for _ in range(count):
            self.segment()
        return self


def text(response: Response) -> str:
    return b"".join(response.chunks).decode()


def body(response: Response | None) -> bytes:
    assert response is not None
    return b"".join(response.chunks)


def listed(broadcast: Broadcast) -> list[str]:
    return [segment.uri for segment in m3u8.loads(text(broadcast.ts.playlist())).segments]


# The playlist.


def test_the_playlist_lists_the_same_segments() -> None:
    broadcast = Broadcast().segments(2)
    broadcast.segment(discontinuity=True)
    broadcast.segments(3)
    twin = m3u8.loads(broadcast.timeline.playlist().decode())
    read = m3u8.loads(text(broadcast.ts.playlist()))
    assert read.media_sequence == twin.media_sequence == 3
    assert read.discontinuity_sequence == twin.discontinuity_sequence == 1
    assert [s.duration for s in read.segments] == [s.duration for s in twin.segments]
    assert [s.program_date_time for s in read.segments] == [
        s.program_date_time for s in twin.segments
    ]
    assert [s.uri for s in read.segments] == [s.uri.replace(".m4s", ".ts") for s in twin.segments]


def test_the_playlist_is_made_once_for_each_change_of_its_list() -> None:
    broadcast = Broadcast().segments(1)
    first = broadcast.ts.playlist()
    broadcast.timeline.apply([])
    assert broadcast.ts.playlist() is first
    broadcast.segment()
    second = broadcast.ts.playlist()
    broadcast.timeline.end()
    third = broadcast.ts.playlist()
    assert "ENDLIST" not in text(second)
    assert "ENDLIST" in text(third)
    assert len({first.etag, second.etag, third.etag}) == 3


def test_how_a_playlist_may_be_kept() -> None:
    response = Broadcast().segments(1).ts.playlist()
    fields = dict(response.fields)
    assert fields[b"content-type"] == b"application/vnd.apple.mpegurl"
    assert fields[b"cache-control"] == b"public, max-age=0, s-maxage=1"
    assert response.etag == '"tok-ts-0-0-1-0"'
    assert response.packable


def test_there_is_no_playlist_before_the_first_segment() -> None:
    broadcast = Broadcast()
    with pytest.raises(UsageError):
        broadcast.ts.playlist()
    with pytest.raises(UsageError):
        broadcast.ts.variant()
    assert broadcast.ts.segment("seg-tok-0.ts") is None


def test_what_is_missing_is_a_gap() -> None:
    broadcast = Broadcast().segments(1)
    broadcast.segment(gap=True)
    broadcast.segment()
    gaps = [segment.gap_tag for segment in m3u8.loads(text(broadcast.ts.playlist())).segments]
    assert [bool(gap) for gap in gaps] == [False, True, False]
    assert broadcast.ts.segment("seg-tok-1.ts") is None
    assert broadcast.ts.segment("seg-tok-2.ts") is not None


# The variant.


def test_a_variant_is_that_of_the_twin() -> None:
    broadcast = Broadcast().segments(2)
    variant, twin = broadcast.ts.variant(), broadcast.timeline.variant("source/playlist.m3u8")
    assert variant is not None
    assert variant.uri == "source/ts.m3u8"
    assert variant.codecs == twin.codecs
    assert variant.bandwidth_bps > twin.bandwidth_bps


def test_what_cannot_be_carried_is_not_listed() -> None:
    broadcast = Broadcast(window_segments=8).segments(1)
    broadcast.use(AV1)
    broadcast.segment()
    assert broadcast.ts.variant() is None
    assert broadcast.ts.segment("seg-tok-0.ts") is not None
    assert broadcast.ts.segment("seg-tok-1.ts") is None
    assert text(broadcast.ts.playlist()).count("#EXT-X-GAP") == 1
    broadcast.use(AVC)
    broadcast.segment()
    assert broadcast.ts.variant() is not None
    assert broadcast.ts.segment("seg-tok-2.ts") is not None


# Segments.


def test_a_segment_holds_the_media_of_its_twin() -> None:
    broadcast = Broadcast(window_segments=8).segments(3)
    counted = Continuity()
    for msn, name in enumerate(listed(broadcast)):
        segment = read_segment(body(broadcast.ts.segment(name)))
        counted.add(segment)
        pictures = segment.of(0x1B)
        assert [unit.pts - pictures[0].pts for unit in pictures] == [0, 45_000, 90_000, 135_000]
        assert pictures[0].pts == 90_000 + msn * SEGMENT_TICKS
        assert nal_units(pictures[1].data)[-1] == b"\x61\x88\x84"
        frames = [frame for unit in segment.of(0x0F) for frame in adts_frames(unit.data)]
        assert frames == [AdtsFrame(3, 2, b"\x21%d" % msn)] * 2


def test_a_segment_is_made_once() -> None:
    broadcast = Broadcast().segments(2)
    assert broadcast.ts.segment("seg-tok-1.ts") is broadcast.ts.segment("seg-tok-1.ts")


def test_how_a_segment_may_be_kept() -> None:
    response = Broadcast().segments(1).ts.segment("seg-tok-0.ts")
    assert response is not None
    fields = dict(response.fields)
    assert fields[b"content-type"] == b"video/mp2t"
    assert fields[b"cache-control"] == b"public, max-age=86400, immutable"
    assert response.etag == '"seg-tok-0.ts"'
    assert response.accepts_ranges


@pytest.mark.parametrize(
    "name", ["seg-tok-1.ts", "seg-tok-0.m4s", "seg-tok-0", "seg-other-0.ts", "seg-tok-00.ts", ".ts"]
)
def test_nothing_else_has_a_name(name: str) -> None:
    assert Broadcast().segments(1).ts.segment(name) is None


def test_the_oldest_go_when_too_many_are_kept() -> None:
    broadcast = Broadcast(window_segments=20).segments(MAX_KEPT_SEGMENTS + 1)
    made = [broadcast.ts.segment(name) for name in listed(broadcast)]
    sizes = [response.size_bytes for response in made[1:] if response is not None]
    assert broadcast.ts.kept_bytes == sum(sizes)
    assert len(sizes) == MAX_KEPT_SEGMENTS
    assert broadcast.ts.segment("seg-tok-1.ts") is made[1]
    again = broadcast.ts.segment("seg-tok-0.ts")
    assert again is not made[0]
    assert body(again) == body(made[0])


def test_the_oldest_go_when_too_many_bytes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    broadcast = Broadcast(window_segments=20, picture_bytes=10_000).segments(3)
    first = body(broadcast.ts.segment("seg-tok-0.ts"))
    monkeypatch.setattr(ts, "MAX_KEPT_BYTES", 2 * len(first))
    for name in listed(broadcast):
        broadcast.ts.segment(name)
    assert broadcast.ts.kept_bytes == 2 * len(first)
    monkeypatch.setattr(ts, "MAX_KEPT_BYTES", len(first) - 1)
    assert body(broadcast.ts.segment("seg-tok-0.ts")) == first
    assert broadcast.ts.kept_bytes == 0


def test_a_segment_can_be_had_as_long_as_its_twin() -> None:
    """It has left the playlist, and a slow player still asks (rfc8216bis 6.2.2)."""
    broadcast = Broadcast(window_segments=3).segments(3)
    listed(broadcast)
    broadcast.segment()
    assert "seg-tok-0.ts" not in listed(broadcast)
    assert broadcast.timeline.media("seg-tok-0.m4s") is not None
    kept = broadcast.ts.segment("seg-tok-0.ts")
    assert kept is not None
    while broadcast.timeline.media("seg-tok-0.m4s") is not None:
        broadcast.segment()
    assert broadcast.ts.segment("seg-tok-0.ts") is None
    assert broadcast.ts.kept_bytes == 0


def test_a_timeline_that_nobody_followed_for_long_is_caught_up_with() -> None:
    broadcast = Broadcast(window_segments=3).segments(1)
    assert broadcast.ts.segment("seg-tok-0.ts") is not None
    broadcast.segments(30)
    assert listed(broadcast) == ["seg-tok-28.ts", "seg-tok-29.ts", "seg-tok-30.ts"]
    assert broadcast.ts.kept_bytes == 0
