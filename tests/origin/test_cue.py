"""Cue points: what an encoder says becomes a marker, whatever it says."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hls.marker import MAX_ATTRIBUTES
from origin.cue import marker_of

SECTION = b"\xfc\x30\x11" + bytes(17)
CUE = base64.b64encode(SECTION).decode()


def attributes(values: dict[str, object]) -> dict[str, str | float] | None:
    marker = marker_of(values, start_ms=1000, marker_id="m")
    return None if marker is None else dict(marker.attributes)


def test_an_event_with_parameters() -> None:
    marker = marker_of(
        {
            "name": "goal",
            "time": 12.5,
            "type": "event",
            "parameters": {"team id": "7", "own": True},
        },
        start_ms=1_700_000_000_000,
        marker_id="m1",
    )
    assert marker is not None
    assert marker.line().decode() == (
        '#EXT-X-DATERANGE:ID="m1",CLASS="onCuePoint",START-DATE="2023-11-14T22:13:20.000Z",'
        'X-NAME="goal",X-TIME=12.500000,X-TYPE="event",'
        'X-PARAM-TEAM-ID="7",X-PARAM-OWN="YES"\n'
    )


@pytest.mark.parametrize(
    "values",
    [
        {"type": "SCTE35", "cue": CUE, "duration": 30.0},
        {"name": "scte35", "parameters": {"Message": CUE, "duration": 30.0}},
    ],
)
def test_scte_35_in_base64(values: dict[str, object]) -> None:
    marker = marker_of(values, start_ms=0, marker_id="m")
    assert marker is not None
    assert marker.scte35 == {"CMD": SECTION}
    assert marker.planned_duration_s == 30.0
    assert f"SCTE35-CMD=0x{SECTION.hex().upper()}".encode() in marker.line()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, None),
        ({"parameters": {}}, None),
        ({"name": ""}, None),
        ({"name": '"\n\x00'}, None),
        ({"name": 'say "hi"\n'}, {"X-NAME": "say hi"}),
        ({"name": None, "list": [1.0], "": "x", "---": "y"}, None),
        ({"name": "a", "time": float("nan")}, {"X-NAME": "a"}),
        ({"name": "a", "time": float("inf")}, {"X-NAME": "a"}),
        ({"name": "a", "duration": -1.0}, {"X-NAME": "a", "X-DURATION": -1.0}),
        ({"name": "a", "cue": "not base64!"}, {"X-NAME": "a"}),
        ({"name": "a", "cue": base64.b64encode(b"\xfb").decode()}, {"X-NAME": "a"}),
        ({"name": "a", "cue": base64.b64encode(b"\xfc" * 600).decode()}, {"X-NAME": "a"}),
        ({"name": "a", "parameters": "b"}, {"X-NAME": "a", "X-PARAMETERS": "b"}),
        ({"ä" * 50: "b"}, None),
    ],
)
def test_what_cannot_be_said_is_left_out(
    values: dict[str, object], expected: dict[str, str | float] | None
) -> None:
    assert attributes(values) == expected


def test_no_more_than_a_marker_may_have() -> None:
    found = attributes({f"n{number}": "x" for number in range(100)})
    assert found is not None
    assert len(found) == MAX_ATTRIBUTES


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=40),
    lambda inner: st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(["name", "parameters", "duration", "cue", "type"]) | st.text(max_size=12)


@given(st.dictionaries(NAMES, VALUES, max_size=8))
def test_anything_is_a_marker_of_one_line_or_none(values: dict[str, object]) -> None:
    marker = marker_of(values, start_ms=0, marker_id="m")
    if marker is not None:
        assert marker.line().decode()[:-1].isprintable()
