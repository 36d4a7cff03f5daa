"""What Prometheus is told of an origin: the figures are right, few, and as documented."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from trio.testing import MockClock

from control.keys import new_stream_key
from edge.board import Board
from edge.events import EventBus
from edge.node_metrics import COLUMNS, NodeMetrics
from origin.observe.sources import MAX_EVENT_TYPES, EventCounts
from origin.rtmp.figures import MAX_REFUSAL_CODES, Ending, RtmpFigures

from .conftest import House, Told, read

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<kind>\w+) \| (?P<labels>[^|]*) \| (?P<text>.*) \|$")

CALL = re.compile(r"(?:PublishDenied|NoRoom)Error\((?:[^()]|\([^()]*\))*\)")


def values(told: Told) -> dict[str, float]:
    """Of a family with one label."""
    return {key[0]: value for key, value in told.samples.items()}


async def test_figures_are_those_of_the_parts(autojump_clock: MockClock, house: House) -> None:
    await house.fill()
    told = house.told()
    one = {name: family.samples[()] for name, family in told.items() if () in family.samples}
    assert one["headrace_http_connections"] == 7
    assert one["headrace_http_turned_away_total"] == 2
    assert one["headrace_http_reactor_requests_total"] == 5
    assert one["headrace_rtmp_publishers"] == 2
    assert one["headrace_rtmp_received_bytes_total"] == 5000
    assert one["headrace_broadcasts_live"] == 2
    assert one["headrace_broadcasts_waiting"] == 0
    assert one["headrace_chat_messages_total"] == 5
    assert one["headrace_event_listeners"] == 6
    assert values(told["headrace_playback_verdicts_total"]) == {"admitted": 4, "tokenNeeded": 2}
    assert one["headrace_recordings_active"] == 3
    assert (one["headrace_hooks"], one["headrace_hooks_dead"]) == (2, 1)
    assert one["headrace_store_queries_total"] >= 1
    assert one["headrace_store_errors_total"] == 0
    assert 0 < one["headrace_data_free_bytes"] <= one["headrace_data_size_bytes"]
    assert told["headrace_http_requests_total"].samples == {("200", "1.1"): 1, ("404", "2"): 1}
    assert told["headrace_http_request_seconds"].samples["+Inf",] == 2
    assert values(told["headrace_rtmp_ended_total"]) == {"lost": 2}
    assert values(told["headrace_rtmp_refused_total"]) == {"unknownKey": 1}
    assert values(told["headrace_renditions_live"]) == {"source": 2}
    assert values(told["headrace_alerts"]) == {"publisherLost": 1}
    assert values(told["headrace_alerts_total"])["publisherLost"] == 1
    assert told["headrace_alert"].samples == {("publisherLost", "a"): 1}
    happened = values(told["headrace_events_total"])
    assert (happened["stream.live"], happened["publisher.connected"]) == (2, 2)
    assert happened["alert.started"] == sum(values(told["headrace_alerts_total"]).values())
    assert values(told["headrace_publisher_rtt_seconds"]) == {
        "a": pytest.approx(0.02),
        "b": pytest.approx(0.02),
    }
    assert set(values(told["headrace_ready_check"]).values()) == {1}
    assert told["headrace_transcode_restarts_total"].samples == {("crash", "a"): 1}
    assert one["process_resident_memory_bytes"] > 0


async def test_streams_without_a_name_are_other_or_unsaid(
    autojump_clock: MockClock, house: House
) -> None:
    for stream in "abcde":
        _broadcast, meter = house.publish(stream)
        house.health._look(house.health._watches[stream])
        house.health._look(house.health._watches[stream])
        assert meter is not None
    for viewer, stream in enumerate("aabddeee"):
        house.audience._counts.hear(stream, f"viewer-{viewer}", "10.0.0.0", 0.0)
    told = house.told()
    assert values(told["headrace_viewers"]) == {"a": 2, "b": 1, "c": 0, "other": 5}
    assert told["headrace_streams_unnamed"].samples == {(): 2}
    assert told["headrace_broadcasts_live"].samples == {(): 5}
    assert set(values(told["headrace_publisher_bytes_per_second"])) == {"a", "b", "c"}
    broadcast = house.broadcasts.live("a")
    assert broadcast is not None
    house.broadcasts.end(broadcast, "done")
    told = house.told()
    assert values(told["headrace_viewers"]) == {"b": 1, "c": 0, "d": 2, "other": 3}


async def test_before_and_without_a_server_the_rest_is_told(
    autojump_clock: MockClock, house: House
) -> None:
    house.sources.http = None
    house.sources.listeners = house.sources.hooks = house.sources.recorder = None
    house.sources.playback = None
    told = house.told()
    assert told["headrace_http_connections"].samples == {}
    assert told["headrace_event_listeners"].samples == {}
    assert told["headrace_broadcasts_live"].samples == {(): 0}
    house.sources.http = house.http
    assert house.http is not None
    house.http.reactor = None
    told = house.told()
    assert told["headrace_http_connections"].samples == {(): 7}
    assert told["headrace_http_reactor_requests_total"].samples == {}


def test_event_types_and_refusal_codes_are_bounded() -> None:
    counts, bus = EventCounts(), EventBus()
    bus.listen(counts.on_event)
    for number in range(2 * MAX_EVENT_TYPES):
        bus.emit(f"made.up{number}", "s")
    assert len(counts.types) == MAX_EVENT_TYPES + 1
    assert counts.types["other"] == MAX_EVENT_TYPES
    figures = RtmpFigures()
    for number in range(2 * MAX_REFUSAL_CODES):
        figures.note_refusal(f"code{number}")
    assert len(figures.refusals) == MAX_REFUSAL_CODES + 1
    assert figures.refusals["other"] == MAX_REFUSAL_CODES


# -- the document


@pytest.fixture
def edge_told() -> Iterator[dict[str, Told]]:
    descriptor = Board.create(rows=1, columns=COLUMNS)
    board = Board(descriptor, rows=1, columns=COLUMNS)
    board.write(0, [1.0] * COLUMNS)
    yield read(NodeMetrics(board, clock=lambda: 0.0).render().decode())
    os.close(descriptor)


async def test_the_document_has_exactly_what_is_rendered(
    autojump_clock: MockClock, house: House, edge_told: dict[str, Told]
) -> None:
    """A row that is wrong or missing is printed as it should be."""
    await house.fill()
    told = house.told() | edge_told
    unseen = [name for name, family in told.items() if not family.samples]
    assert unseen == [], "nothing shows which labels these have"
    rows = {}
    for name, family in told.items():
        kept = [label for label in family.labels if label != "le"]
        labels = ", ".join(f"`{label}`" for label in kept)
        rows[name] = f"| `{name}` | {family.kind} | {labels} | {family.text} |"
    written = {
        match["name"]: line
        for line in DOCUMENT.read_text().splitlines()
        if (match := ROW.match(line)) is not None
    }
    lacking = [row for name, row in rows.items() if written.get(name) != row]
    assert not lacking, "\n".join(["docs/metrics.md lacks:", *lacking])
    assert sorted(written) == sorted(rows)


async def test_names_say_kind_and_unit(
    autojump_clock: MockClock, house: House, edge_told: dict[str, Told]
) -> None:
    """What `promtool check metrics` demands."""
    await house.fill()
    for name, family in (house.told() | edge_told).items():
        assert re.fullmatch(r"(headrace|process)_[a-z0-9_]+", name)
        assert name.endswith("_total") == (family.kind == "counter"), name
        assert not re.search(r"_(ms|kbps|ppm|mb|percent|minutes|count|sum|bucket)(_|$)", name), name
        assert family.text, name
        assert len(family.labels) <= 2
        assert not {"le", "quantile", "job", "instance"} & set(family.labels) or (
            family.kind == "histogram"
        )


async def test_no_secret_and_no_address_is_told(autojump_clock: MockClock, house: House) -> None:
    key = new_stream_key()
    house.guesses.note_wrong("203.0.113.9", 0.0)
    house.bus.emit("stream.live", "s", streamKey=key, address="203.0.113.9")
    await house.fill()
    text = repr(house.told())
    assert key not in text
    assert "203.0.113.9" not in text


def test_codes_and_reasons_are_documented() -> None:
    raised = {"refused"}
    for path in (ROOT / "origin").rglob("*.py"):
        for call in CALL.findall(path.read_text()):
            raised |= set(re.findall(r'code="(\w+)"', call))
    assert {"unknownKey", "busy", "deniedByHook"} <= raised
    _, _, text = DOCUMENT.read_text().partition("### RTMP")
    text = text.partition("### ")[0]
    said = set(re.findall(r"`(\w+)`", text))
    assert raised <= said
    assert {ending.value for ending in Ending} <= said
