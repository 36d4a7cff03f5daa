"""Markers: what strangers may say of a broadcast's time, and its line in the playlist."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playlist_reader import read_media_playlist
from playlist_text import attributes
from timeline_events import TimelineEvents

import hls
from hls import Marker, Presentation, Timeline, TimelineSettings, UsageError
from hls.marker import MAX_ATTRIBUTES, MAX_DURATION_S, MAX_SCTE35_BYTES, MAX_TEXT_CHARS
from hls.timeline import MAX_MARKERS

EVENTS = TimelineEvents(hls)
START_MS = 1_700_000_000_250


def test_a_line_has_what_is_known() -> None:
    assert Marker(id="a", start_ms=START_MS).line() == (
        b'#EXT-X-DATERANGE:ID="a",START-DATE="2023-11-14T22:13:20.250Z"\n'
    )
    full = Marker(
        id="break-7",
        start_ms=START_MS,
        kind="com.example.ad",
        duration_s=59.993,
        planned_duration_s=60.0,
        scte35={"OUT": b"\xfc\x30\x00", "IN": b"\xfc"},
        attributes={"X-COM-EXAMPLE-ID": "grüße, 7", "X-SCORE": 1.5},
    )
    assert full.line().decode() == (
        '#EXT-X-DATERANGE:ID="break-7",CLASS="com.example.ad",'
        'START-DATE="2023-11-14T22:13:20.250Z",DURATION=59.993,PLANNED-DURATION=60.000,'
        "SCTE35-OUT=0xFC3000,SCTE35-IN=0xFC,"
        'X-COM-EXAMPLE-ID="grüße, 7",X-SCORE=1.500000\n'
    )


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"id": ""}, "id: a text has"),
        ({"id": 'a"b'}, "id: a text has"),
        ({"id": "a\nb"}, "id: a text has"),
        ({"id": "a\u2028b"}, "id: a text has"),
        ({"id": "x" * (MAX_TEXT_CHARS + 1)}, "id: a text has"),
        ({"kind": ""}, "class: a text has"),
        ({"start_ms": -1}, "a date from 1970 on"),
        ({"start_ms": 253_402_300_799_001}, "a date from 1970 on"),
        ({"duration_s": -0.1}, "duration is 0 to"),
        ({"duration_s": float("nan")}, "duration is 0 to"),
        ({"planned_duration_s": MAX_DURATION_S + 1}, "duration is 0 to"),
        ({"attributes": {"Y-A": "b"}}, "named X-"),
        ({"attributes": {"X-a": "b"}}, "named X-"),
        ({"attributes": {"X-": "b"}}, "named X-"),
        ({"attributes": {"X-A": 'b"'}}, "X-A: a text has"),
        ({"attributes": {"X-A": float("inf")}}, "X-A is not a number"),
        ({"attributes": {"X-A": float("nan")}}, "X-A is not a number"),
        ({"attributes": {f"X-{n}": "b" for n in range(MAX_ATTRIBUTES + 1)}}, "at most"),
        ({"scte35": {"ELSE": b"1"}}, "CMD, OUT or IN"),
        ({"scte35": {"CMD": b""}}, "1 to 512 bytes"),
        ({"scte35": {"CMD": bytes(MAX_SCTE35_BYTES + 1)}}, "1 to 512 bytes"),
    ],
)
def test_what_cannot_be_said_is_refused(values: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        Marker(**{"id": "a", "start_ms": START_MS, **values})  # type: ignore[arg-type]


@given(
    name=st.text(min_size=1, max_size=30),
    kind=st.none() | st.text(max_size=30),
    value=st.text(max_size=30) | st.floats(),
)
def test_a_marker_is_refused_or_is_one_line_that_reads_back(
    name: str, kind: str | None, value: str | float
) -> None:
    try:
        marker = Marker(id=name, start_ms=START_MS, kind=kind, attributes={"X-V": value})
    except UsageError:
        return
    line = marker.line().decode()
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    read = attributes(line[:-1].partition(":")[2])
    assert read["ID"] == name
    assert read.get("CLASS") == kind
    if isinstance(value, str):
        assert read["X-V"] == value
    else:
        assert float(read["X-V"]) == pytest.approx(value, abs=1e-6)


def begun() -> Timeline:
    timeline = Timeline(token="t", started_at_s=1e9, settings=TimelineSettings(window_segments=3))
    timeline.apply([Presentation(target_duration_s=2, part_target_s=0.2), EVENTS.init()])
    return timeline


def test_markers_are_listed_until_their_time_leaves_the_window() -> None:
    timeline, source = begun(), EVENTS.source()
    batches = [batch for _ in range(9) for batch in source.segment()]
    for batch in batches[:10]:
        timeline.apply(batch)
    version = timeline.version
    timeline.mark(Marker(id="point", start_ms=10**12 + 1000))
    timeline.mark(Marker(id="long", start_ms=10**12 + 1000, duration_s=9))
    assert timeline.version == version + 2
    seen = []
    for batch in batches[10:]:
        timeline.apply(batch)
        first = int(timeline.segments[0].epoch_ms - 10**12)
        seen.append((first, read_media_playlist(timeline.playlist()).dateranges))
    assert {ids for first, ids in seen if first == 0} == {("point", "long")}
    assert {ids for first, ids in seen if 0 < first <= 10_000} == {("long",)}
    assert {ids for first, ids in seen if first > 10_000} == {()}
    timeline.mark(Marker(id="point", start_ms=10**12 + 18_000))  # the name is free again


def test_a_marker_is_in_delta_updates_too() -> None:
    """It does not say CAN-SKIP-DATERANGES, so none may be left out (6.2.5.1)."""
    timeline = Timeline(token="t", started_at_s=1e9)
    timeline.apply([Presentation(target_duration_s=2, part_target_s=0.2), EVENTS.init()])
    source = EVENTS.source()
    for _ in range(9):
        for batch in source.segment():
            timeline.apply(batch)
    timeline.mark(Marker(id="a", start_ms=10**12))
    text = b"".join(timeline.render(skip=True))
    assert b"#EXT-X-SKIP:" in text
    assert b'#EXT-X-DATERANGE:ID="a"' in text


def test_markers_are_bounded_and_never_replaced() -> None:
    timeline = begun()
    for number in range(MAX_MARKERS):
        timeline.mark(Marker(id=str(number), start_ms=10**12))
    version = timeline.version
    with pytest.raises(UsageError, match="64 markers"):
        timeline.mark(Marker(id="more", start_ms=10**12))
    with pytest.raises(UsageError, match="of that id"):
        timeline.mark(Marker(id="0", start_ms=10**12))
    timeline.end()
    with pytest.raises(UsageError, match="over"):
        timeline.mark(Marker(id="late", start_ms=10**12))
    assert timeline.version == version + 1
