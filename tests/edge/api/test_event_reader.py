"""Server-sent events: whatever the pieces, the same events; and how large one may be."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.api.event_reader import MAX_EVENT_BYTES, EventError, EventReader, ServerEvent

STREAM = (
    b"retry: 1500\n\n"
    b": alive\n\n"
    b"event: health\ndata: {}\n\n"
    b"id: a-1\r\nevent: stream.live\r\ndata: one\r\ndata:two\r\n\r\n"
    b"id\ndata\n\n"
    b"event: nothing to say\n\n"
    b"id: b\0d\nretry: soon\nunknown: x\rdata: last\r\r"
    b"data: not complete\n"
)
EVENTS = [
    ServerEvent("health", b"{}", ""),
    ServerEvent("stream.live", b"one\ntwo", "a-1"),
    ServerEvent("message", b"", ""),
    ServerEvent("message", b"last", ""),
]


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_however_it_is_cut_it_is_the_same(cuts: list[int]) -> None:
    reader = EventReader()
    found: list[ServerEvent] = []
    places = [0, *sorted(cuts), len(STREAM)]
    for begin, end in itertools.pairwise(places):
        found += reader.feed(STREAM[begin:end])
    assert found == EVENTS
    assert (reader.last_id, reader.retry_ms) == ("", 1500)


text = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)


@given(events=st.lists(st.tuples(text.filter(bool), text, text), max_size=5))
def test_what_is_written_is_read(events: list[tuple[str, str, str]]) -> None:
    written = "".join(f"id: {i}\nevent: {kind}\ndata: {data}\n\n" for kind, data, i in events)
    read = EventReader().feed(written.encode())
    assert read == [ServerEvent(kind, data.encode(), i) for kind, data, i in events]


def test_an_id_lasts_and_the_first_one_is_given() -> None:
    reader = EventReader("z-9")
    (first,) = reader.feed(b"data: x\n\n")
    assert first.last_id == "z-9"
    second, third = reader.feed(b"id: z-10\ndata: y\n\ndata: x\n\n")
    assert (second.last_id, third.last_id) == ("z-10", "z-10")


@pytest.mark.parametrize(
    "piece", [b"x" * 1024, b"data: " + b"x" * 1017 + b"\n", b"x" * 1022 + b"\r\n"]
)
def test_an_event_without_an_end_is_refused(piece: bytes) -> None:
    reader = EventReader()
    fits = MAX_EVENT_BYTES // 1024 - 1
    for _ in range(fits):
        assert reader.feed(piece) == []
    with pytest.raises(EventError):
        reader.feed(4 * piece)


def test_many_small_events_are_no_large_one() -> None:
    reader = EventReader()
    event = b"data: " + b"x" * 1000 + b"\n\n"
    assert sum(len(reader.feed(event)) for _ in range(2 * MAX_EVENT_BYTES // 1000)) == 2097
