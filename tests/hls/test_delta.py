"""Delta updates: with what a player knew, each stands for the whole playlist (6.2.5.1)."""

from dataclasses import replace

import pytest
from delta_update import skipped_segments, undo_skip
from hypothesis import given, settings
from hypothesis import strategies as st
from playlist_reader import MediaPlaylist, read_media_playlist
from timeline_events import Source, TimelineEvents

import hls
from hls import Presentation, Timeline, TimelineSettings

EVENTS = TimelineEvents(hls)


def begun(window: int = 12) -> Timeline:
    timeline = Timeline(
        token="t", started_at_s=1e9, settings=TimelineSettings(window_segments=window)
    )
    timeline.apply([Presentation(target_duration_s=2, part_target_s=0.2), EVENTS.init()])
    return timeline


def run(timeline: Timeline, source: Source, segments: int) -> None:
    for _ in range(segments):
        for batch in source.segment():
            timeline.apply(batch)


def whole(timeline: Timeline) -> bytes:
    return b"".join(timeline.render())


def delta(timeline: Timeline) -> bytes:
    return b"".join(timeline.render(skip=True))


def as_read(text: bytes) -> MediaPlaylist:
    """What is in it; how its lines are arranged does not count."""
    return replace(read_media_playlist(text), text="")


def test_only_what_is_further_from_the_end_than_the_boundary_is_skipped() -> None:
    """4.4.3.8: CAN-SKIP-UNTIL is the Skip Boundary; here six target durations, twelve seconds."""
    timeline, source = begun(), EVENTS.source()
    run(timeline, source, 6)
    assert b"CAN-SKIP-UNTIL=12.0," in whole(timeline)
    assert skipped_segments(delta(timeline)) == 0  # twelve seconds: nothing is further
    assert delta(timeline) == whole(timeline)
    timeline.apply([source.part()])
    assert skipped_segments(delta(timeline)) == 0  # 12.2 s: segment 0 is only in part
    old = whole(timeline)
    for _ in range(8):
        timeline.apply([source.part()])
    timeline.apply([source.part(), source.end()])
    assert skipped_segments(delta(timeline)) == 1
    assert b"#EXT-X-MEDIA-SEQUENCE:0\n" in delta(timeline)
    assert as_read(undo_skip(old, delta(timeline))) == as_read(whole(timeline))


def test_the_first_segment_that_is_left_has_its_map() -> None:
    """DU-04: a player that lost its init section finds it again."""
    timeline, source = begun(), EVENTS.source()
    run(timeline, source, 8)
    text = delta(timeline).decode()
    assert '#EXT-X-SKIP:SKIPPED-SEGMENTS=2\n#EXT-X-MAP:URI="init-t-0.mp4"\n' in text
    assert "seg-t-1.m4s" not in text
    assert "seg-t-2.m4s" in text


def test_discontinuities_that_are_skipped_are_counted_as_before() -> None:
    timeline, source = begun(), EVENTS.source()
    run(timeline, source, 2)
    for batch in source.segment(discontinuity=True):
        timeline.apply(batch)
    run(timeline, source, 5)
    old = whole(timeline)
    run(timeline, source, 4)
    text = delta(timeline)
    assert b"#EXT-X-DISCONTINUITY-SEQUENCE:0\n" in text
    assert b"#EXT-X-DISCONTINUITY\n" not in text
    assert as_read(undo_skip(old, text)) == as_read(whole(timeline))


def test_an_ended_playlist_is_always_whole() -> None:
    """6.2.5.1: the directive is ignored once there is EXT-X-ENDLIST."""
    timeline, source = begun(), EVENTS.source()
    run(timeline, source, 10)
    assert skipped_segments(delta(timeline)) == 4
    timeline.end()
    assert delta(timeline) == whole(timeline)


def test_reports_are_in_both_forms() -> None:
    timeline, source = begun(), EVENTS.source()
    run(timeline, source, 8)
    report = hls.playlist.report_line("../360p/playlist.m3u8", (7, 3)).encode()
    assert report == b'#EXT-X-RENDITION-REPORT:URI="../360p/playlist.m3u8",LAST-MSN=7,LAST-PART=3\n'
    for skip in (False, True):
        text = b"".join(timeline.render(reports=report, skip=skip))
        assert text.index(report) > text.index(b"seg-t-7.m4s\n")
    [read] = read_media_playlist(b"".join(timeline.render(reports=report))).reports
    assert (read.uri, read.last_msn, read.last_part) == ("../360p/playlist.m3u8", 7, 3)


@pytest.mark.parametrize("window", [3, 9, 70, 140])
def test_a_window_of_any_length_is_rendered_whole(window: int) -> None:
    timeline, source = begun(window), EVENTS.source()
    run(timeline, source, window + 75)
    read = read_media_playlist(whole(timeline))
    assert len(read.segments) == max(window, 3)
    assert [segment.uri for segment in read.segments] == [
        segment.name for segment in timeline.segments
    ]


STEPS = st.lists(
    st.one_of(
        st.integers(1, 12),  # a segment of so many parts
        st.just("break"),
        st.just("init"),
        st.just("gap"),
    ),
    min_size=8,
    max_size=24,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, window=st.integers(3, 14), memory=st.integers(1, 5))
def test_a_player_with_any_older_version_gets_the_whole(
    steps: list[int | str], window: int, memory: int
) -> None:
    """As long as what it had is not older than half the boundary (6.3.7), here by versions."""
    timeline, source = begun(window), EVENTS.source()
    old: list[bytes] = []
    broken = False
    for step in steps:
        if step == "break":
            broken = True
            continue
        if step == "init":
            source.init_index += 1
            timeline.apply([EVENTS.init(source.init_index)])
            continue
        parts = step if isinstance(step, int) else 2
        for index in range(parts):
            batch = [source.part(discontinuity=broken and index == 0, gap=step == "gap")]
            broken = False
            timeline.apply([*batch, source.end()] if index == parts - 1 else batch)
            if not timeline.ready:
                continue
            now, skipping = whole(timeline), delta(timeline)
            count = skipped_segments(skipping)
            assert count == timeline.skipped_segments
            if not count:
                assert skipping == now
            elif old:
                assert as_read(undo_skip(old[-1], skipping)) == as_read(now)
                assert len(skipping) < len(now)
            old = [*old, now][-memory:]
