"""The text of the media playlist, as whole strings and as strangers read it."""

from collections.abc import Sequence
from dataclasses import replace

import m3u8
import pytest
from hypothesis import given
from hypothesis import strategies as st
from playlist_reader import read_media_playlist

from hls import (
    InitSegment,
    MediaEvent,
    Part,
    Presentation,
    SegmentEnd,
    Timeline,
    TimelineSettings,
    render_media_playlist,
)
from hls.playlist import format_epoch_ms, format_us

INIT = InitSegment(
    index=0,
    data=b"init",
    codecs=("avc1.64001f", "mp4a.40.2"),
    width=1280,
    height=720,
    frame_rate=30.0,
)


def segment(
    msn: int,
    durations_s: Sequence[float],
    *,
    at_s: float = 0.0,
    discontinuity: bool = False,
    init_index: int = 0,
    all_independent: bool = False,
    complete: bool = True,
) -> list[MediaEvent]:
    events: list[MediaEvent] = []
    for index, duration_s in enumerate(durations_s):
        events.append(
            Part(
                msn=msn,
                index=index,
                duration_s=duration_s,
                independent=index == 0 or all_independent,
                data=b"%d.%d" % (msn, index),
                init_index=init_index,
                discontinuity=discontinuity and index == 0,
                media_time_s=at_s + sum(durations_s[:index]),
            )
        )
    if complete:
        events.append(SegmentEnd(msn=msn, duration_s=sum(durations_s)))
    return events


def begun(
    *,
    target_duration_s: int = 1,
    part_target_s: float = 0.5,
    window: int = 3,
    discontinuity_sequence: int = 0,
) -> Timeline:
    timeline = Timeline(
        token="q7",
        started_at_s=1_700_000_000.25,
        settings=TimelineSettings(window_segments=window, part_hold_back_s=1.5),
        discontinuity_sequence=discontinuity_sequence,
    )
    presentation = Presentation(target_duration_s=target_duration_s, part_target_s=part_target_s)
    timeline.apply([presentation, INIT])
    return timeline


GOLDEN_FIRST = """\
#EXTM3U
#EXT-X-VERSION:9
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-TARGETDURATION:1
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=6.0,PART-HOLD-BACK=1.500,HOLD-BACK=3
#EXT-X-PART-INF:PART-TARGET=0.500
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-DISCONTINUITY-SEQUENCE:0
#EXT-X-MAP:URI="init-q7-0.mp4"
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.250Z
#EXT-X-PART:DURATION=0.500000,URI="part-q7-0.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.500000,URI="part-q7-0.1.m4s"
#EXTINF:1.000000,
seg-q7-0.m4s
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="part-q7-1.0.m4s"
"""

# Segment 0 has left, 1 and 2 are older than three target durations, 4 is open.
GOLDEN_SLIDING = """\
#EXTM3U
#EXT-X-VERSION:9
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-TARGETDURATION:1
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=6.0,PART-HOLD-BACK=1.500,HOLD-BACK=3
#EXT-X-PART-INF:PART-TARGET=0.500
#EXT-X-MEDIA-SEQUENCE:1
#EXT-X-DISCONTINUITY-SEQUENCE:0
#EXT-X-MAP:URI="init-q7-0.mp4"
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:21.250Z
#EXTINF:1.000000,
seg-q7-1.m4s
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:22.250Z
#EXT-X-PART:DURATION=0.500000,URI="part-q7-2.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.500000,URI="part-q7-2.1.m4s"
#EXTINF:1.000000,
seg-q7-2.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="init-q7-1.mp4"
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:53.250Z
#EXT-X-PART:DURATION=0.500000,URI="part-q7-3.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.500000,URI="part-q7-3.1.m4s",INDEPENDENT=YES
#EXTINF:1.000000,
seg-q7-3.m4s
#EXT-X-DISCONTINUITY
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:54.250Z
#EXT-X-PART:DURATION=0.500000,URI="part-q7-4.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.500000,URI="part-q7-4.1.m4s"
#EXT-X-PART:DURATION=0.100000,URI="part-q7-4.2.m4s"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="part-q7-4.3.m4s"
"""

GOLDEN_END = """\
#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:1
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=6.0,PART-HOLD-BACK=1.500,HOLD-BACK=3
#EXT-X-PART-INF:PART-TARGET=0.334
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-DISCONTINUITY-SEQUENCE:0
#EXT-X-MAP:URI="init-q7-0.mp4"
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.250Z
#EXT-X-PART:DURATION=0.333667,URI="part-q7-0.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.333666,URI="part-q7-0.1.m4s"
#EXT-X-PART:DURATION=0.333667,URI="part-q7-0.2.m4s"
#EXTINF:1.001000,
seg-q7-0.m4s
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:21.251Z
#EXT-X-PART:DURATION=0.333667,URI="part-q7-1.0.m4s"
#EXTINF:0.333667,
seg-q7-1.m4s
#EXT-X-ENDLIST
"""


GOLDEN_GAP = """\
#EXTM3U
#EXT-X-VERSION:9
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-TARGETDURATION:1
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=6.0,PART-HOLD-BACK=1.500,HOLD-BACK=3
#EXT-X-PART-INF:PART-TARGET=0.500
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-DISCONTINUITY-SEQUENCE:7
#EXT-X-MAP:URI="init-q7-0.mp4"
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.250Z
#EXT-X-PART:DURATION=0.500000,URI="part-q7-0.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.500000,URI="part-q7-0.1.m4s"
#EXTINF:1.000000,
seg-q7-0.m4s
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:21.250Z
#EXT-X-PART:DURATION=0.500000,URI="part-q7-1.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.500000,URI="part-q7-1.1.m4s",GAP=YES
#EXT-X-GAP
#EXTINF:1.000000,
seg-q7-1.m4s
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:22.250Z
#EXT-X-PART:DURATION=0.500000,URI="part-q7-2.0.m4s",GAP=YES
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="part-q7-2.1.m4s"
"""


def test_the_first_playlist() -> None:
    timeline = begun()
    timeline.apply(segment(0, [0.5, 0.5]))
    assert timeline.playlist().decode() == GOLDEN_FIRST
    assert b"".join(render_media_playlist(timeline)) == timeline.playlist()
    read_media_playlist(timeline.playlist())


def test_a_sliding_playlist_with_breaks_and_an_open_segment() -> None:
    timeline = begun()
    for msn in range(3):
        timeline.apply(segment(msn, [0.5, 0.5], at_s=msn))
    timeline.apply([replace(INIT, index=1)])
    timeline.apply(
        segment(3, [0.5, 0.5], at_s=33, init_index=1, discontinuity=True, all_independent=True)
    )
    timeline.apply(
        segment(4, [0.5, 0.5, 0.1], at_s=34, init_index=1, discontinuity=True, complete=False)
    )
    assert timeline.playlist().decode() == GOLDEN_SLIDING


def missing(event: MediaEvent) -> MediaEvent:
    """The same part as a gap; anything else as it is."""
    if isinstance(event, Part):
        return replace(event, gap=True, data=b"", independent=False)
    return event


def test_what_is_missing_is_marked() -> None:
    timeline = begun(discontinuity_sequence=7)
    timeline.apply(segment(0, [0.5, 0.5]))
    whole, half, end = segment(1, [0.5, 0.5], at_s=1)
    timeline.apply([whole, missing(half), end])
    timeline.apply([missing(segment(2, [0.5], at_s=2)[0])])
    assert timeline.playlist().decode() == GOLDEN_GAP
    read = read_media_playlist(timeline.playlist())
    assert [segment.gap for segment in read.segments] == [False, True]
    stranger = m3u8.loads(timeline.playlist().decode())
    assert [found.gap_tag for found in stranger.segments[:2]] == [None, True]
    assert [part.gap for found in stranger.segments for part in found.parts] == [
        *(None, None, None),
        *("YES", "YES"),
    ]


def test_an_ended_playlist_of_awkward_durations() -> None:
    timeline = begun(part_target_s=0.334)
    third_s = 1001 / 3000
    timeline.apply(segment(0, [third_s] * 3))
    [part, *_] = segment(1, [third_s], at_s=1.001)
    assert isinstance(part, Part)
    timeline.apply([replace(part, independent=False)])
    timeline.apply([SegmentEnd(msn=1, duration_s=third_s)])
    timeline.end()
    assert timeline.playlist().decode() == GOLDEN_END
    read_media_playlist(timeline.playlist())


def test_a_stranger_reads_every_version() -> None:
    timeline = begun(target_duration_s=2, part_target_s=0.2, window=5)
    at_s = 0.0
    for msn in range(12):
        parts = segment(msn, [0.2] * 10, at_s=at_s, discontinuity=msn == 6)
        at_s += 2.0
        for index in range(10):
            timeline.apply(parts[index : index + 1] if index < 9 else parts[9:])
            if not timeline.ready:
                continue
            read = m3u8.loads(timeline.playlist().decode())
            assert read.target_duration == 2
            assert read.media_sequence == timeline.segments[0].msn
            assert read.part_inf.part_target == pytest.approx(0.2)
            assert read.server_control.can_block_reload == "YES"
            assert read.server_control.part_hold_back == pytest.approx(1.5)
            assert read.preload_hint.uri == timeline.hint
            complete = [found for found in read.segments if found.uri]
            assert [found.uri for found in complete] == [kept.name for kept in timeline.segments]
            for found in complete:
                assert found.duration == pytest.approx(2.0)
                assert found.init_section.uri == "init-q7-0.mp4"
                assert found.program_date_time is not None
    timeline.end()
    assert m3u8.loads(timeline.playlist().decode()).is_endlist


@given(
    frames=st.lists(st.integers(1, 12), min_size=1, max_size=60),
    rate=st.sampled_from(
        [24.0, 25.0, 30.0, 24000 / 1001, 30000 / 1001, 60000 / 1001, 44100 / 1024]
    ),
    start=st.integers(0, 10**6),
)
def test_durations_add_up_to_the_last_digit_and_never_pass_the_part_target(
    frames: list[int], rate: float, start: int
) -> None:
    durations_s = [count / rate for count in frames]
    part_target_s = -(-max(durations_s) * 1000 // 1) / 1000
    timeline = begun(target_duration_s=40, part_target_s=part_target_s)
    timeline.apply(segment(0, durations_s, at_s=start / rate))
    lines = timeline.playlist().decode().split("\n")
    tag = "#EXT-X-PART:DURATION="
    written_us = [
        int(line.removeprefix(tag).partition(",")[0].replace(".", ""))
        for line in lines
        if line.startswith(tag)
    ]
    [extinf] = [line for line in lines if line.startswith("#EXTINF:")]
    total_us = int(extinf.removeprefix("#EXTINF:").rstrip(",").replace(".", ""))
    assert sum(written_us) == total_us
    assert total_us == pytest.approx(sum(durations_s) * 1e6, abs=1.5)
    assert max(written_us) <= round(part_target_s * 1e6)
    for us, duration_s in zip(written_us, durations_s, strict=True):
        assert us == pytest.approx(duration_s * 1e6, abs=1.01)


def test_extinfs_of_a_long_broadcast_do_not_drift() -> None:
    timeline = begun(target_duration_s=3, part_target_s=2.003)
    frames, written_us = 0, 0
    for msn in range(2000):
        # 60 frames of 29.97 fps: 2.002 s, and audio-like thirds of a microsecond.
        duration_s = 60 * 1001 / 30000 + 1 / 3_000_000
        timeline.apply(segment(msn, [duration_s], at_s=msn * duration_s))
        frames += 1
        written_us += timeline.segments[-1].duration_us
    assert written_us == pytest.approx(frames * duration_s * 1e6, abs=1)


@pytest.mark.parametrize(
    ("us", "text"),
    [(0, "0.000000"), (1, "0.000001"), (200_000, "0.200000"), (12_345_678, "12.345678")],
)
def test_microseconds(us: int, text: str) -> None:
    assert format_us(us) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000_250, "2023-11-14T22:13:20.250Z"),
        (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
    ],
)
def test_dates(ms: int, text: str) -> None:
    assert format_epoch_ms(ms) == text
