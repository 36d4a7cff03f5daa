"""The accounts of an HTTP/2 peer: budgets, and frames however they are cut."""

import pytest
from byte_pieces import single, split
from h2.errors import ErrorCodes
from h2_peer import PREFACE, unknown_frame
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st

from edge.http.budget import Budget
from edge.http.h2_meter import AbuseError, FrameHeads, FrameMeter
from edge.http.settings import Http2Settings

FRAMES = [
    SettingsFrame(0, settings={4: 1}),
    HeadersFrame(1, data=bytes(100), flags=["END_HEADERS"]),
    DataFrame(1, data=bytes(300)),
    DataFrame(1, data=b"", flags=["END_STREAM"]),
    PingFrame(0),
    RstStreamFrame(1),
    GoAwayFrame(0, additional_data=b"x" * 256),
    unknown_frame(0xF0, b"abc"),
]
WIRE = b"".join(frame.serialize() for frame in FRAMES)


# --- budgets


def test_a_budget_is_spent_and_comes_back() -> None:
    budget = Budget(2, 0.5)
    assert [budget.spend(10.0) for _ in range(3)] == [True, True, False]
    assert not budget.spend(11.0)
    assert not budget.spend(12.0)
    # 2 - 5 + 2 seconds' worth is behind; from 0 on one comes every two seconds.
    budget = Budget(2, 0.5)
    for now_s in (0.0, 0.0, 2.0, 4.0, 6.0):
        assert budget.spend(now_s)
    assert not budget.spend(7.0)


def test_a_budget_never_holds_more_than_its_burst() -> None:
    budget = Budget(3, 100.0)
    budget.earn(50)
    assert budget.spend(0.0)
    assert [budget.spend(1000.0) for _ in range(4)] == [True, True, True, False]
    budget.earn(2)
    assert budget.spend(1000.0)
    assert not budget.spend(1000.0)


# --- frames


@pytest.mark.parametrize("preface", [b"", PREFACE])
def test_heads_are_found_in_any_pieces(preface: bytes) -> None:
    data = preface + WIRE
    lengths = [(frame.serialize()[:3], frame.type) for frame in FRAMES]
    expected = [(int.from_bytes(length), kind) for length, kind in lengths]
    for pieces in ([data], single(data)):
        heads = FrameHeads(len(preface))
        found = [head for piece in pieces for head in heads.feed(piece)]
        assert [(length, kind) for length, kind, _flags in found] == expected
        assert found[3][2] == 0x1  # END_STREAM


@given(st.lists(st.integers(min_value=0), max_size=12))
def test_cuts_make_no_difference(cuts: list[int]) -> None:
    heads = FrameHeads()
    found = [head for piece in split(WIRE, cuts) for head in heads.feed(piece)]
    assert found == list(FrameHeads().feed(WIRE))


# --- what is too much

LIMITS = Http2Settings(
    max_head_bytes=1000,
    max_settings_per_frame=3,
    reset_burst=5,
    resets_per_s=1.0,
    noise_burst=10,
    noise_per_s=1.0,
)


def _count_until_abuse(frame: Frame | bytes, *, limits: Http2Settings = LIMITS) -> int:
    """How many of these go well before one is too much; 100 if none is."""
    meter = FrameMeter(limits)
    meter.received(PREFACE, 0.0)
    data = frame if isinstance(frame, bytes) else frame.serialize()
    for count in range(100):
        try:
            meter.received(data, 0.0)
        except AbuseError as error:
            return count if error.code == ErrorCodes.ENHANCE_YOUR_CALM else -1
    return 100


@pytest.mark.parametrize(
    ("frame", "count"),
    [
        (PingFrame(0), 10),
        (PingFrame(0, flags=["ACK"]), 10),
        (SettingsFrame(0), 10),
        (SettingsFrame(0, flags=["ACK"]), 10),
        (SettingsFrame(0, settings={1: 1, 2: 0, 3: 3}), 10),
        (SettingsFrame(0, settings={1: 1, 2: 0, 3: 3, 4: 4}), 0),
        (PriorityFrame(1), 10),
        (WindowUpdateFrame(1, window_increment=1), 10),
        (DataFrame(1, data=b""), 10),
        (DataFrame(1, data=bytes(1023)), 10),
        (DataFrame(1, data=bytes(700), pad_length=250, flags=["PADDED"]), 10),
        (DataFrame(1, data=bytes(1024)), 100),
        (DataFrame(1, data=b"", flags=["END_STREAM"]), 100),
        (unknown_frame(0xF0, bytes(5000)), 10),
        (GoAwayFrame(0), 10),
        (RstStreamFrame(1), 5),
        (ContinuationFrame(1, data=b""), 10),
        (ContinuationFrame(1, data=bytes(600)), 1),
        (HeadersFrame(1, data=bytes(1000), flags=["END_HEADERS"]), 100),
        (HeadersFrame(1, data=bytes(1001), flags=["END_HEADERS"]), 0),
        (HeadersFrame(1, data=bytes(600)), 1),
        # Each request earns four, so what players send with it goes on for ever.
        (HeadersFrame(1, flags=["END_HEADERS"]).serialize() + 4 * PingFrame(0).serialize(), 100),
        (HeadersFrame(1, flags=["END_HEADERS"]).serialize() + 5 * PingFrame(0).serialize(), 6),
    ],
)
def test_how_many_frames_are_too_many(frame: Frame | bytes, count: int) -> None:
    assert _count_until_abuse(frame) == count


def test_a_header_block_that_ended_makes_room_for_the_next() -> None:
    meter = FrameMeter(LIMITS)
    meter.received(PREFACE, 0.0)
    block = (
        HeadersFrame(1, data=bytes(500)).serialize()
        + ContinuationFrame(1, data=bytes(500), flags=["END_HEADERS"]).serialize()
    )
    for _ in range(100):
        meter.received(block, 0.0)
    with pytest.raises(AbuseError, match="header block"):
        meter.received(HeadersFrame(1, data=bytes(1001)).serialize(), 0.0)


def test_a_frame_that_is_too_long_is_refused_before_it_is_there() -> None:
    meter = FrameMeter(Http2Settings())
    meter.received(PREFACE + DataFrame(1, data=bytes(16_384)).serialize(), 0.0)
    head = (16_385).to_bytes(3) + b"\0\0" + (1).to_bytes(4)
    meter.received(head[:8], 0.0)
    with pytest.raises(AbuseError) as caught:
        meter.received(head[8:], 0.0)
    assert caught.value.code == ErrorCodes.FRAME_SIZE_ERROR


def test_resets_that_the_peer_provokes_count_too() -> None:
    """CVE-2025-8671: the server is made to reset, so that the streams do not count."""
    meter = FrameMeter(LIMITS)
    reset, ack = RstStreamFrame(1).serialize(), SettingsFrame(0, flags=["ACK"]).serialize()
    meter.replied(ack * 50, 0.0)
    meter.replied(reset * 3, 0.0)
    meter.received(PREFACE + reset * 2, 0.0)
    with pytest.raises(AbuseError, match="resets"):
        meter.replied(reset, 0.0)


def test_what_is_sent_earns_window_updates() -> None:
    meter = FrameMeter(LIMITS)
    meter.received(PREFACE, 0.0)
    update = WindowUpdateFrame(0, window_increment=16_384).serialize()
    for _ in range(100):
        meter.sent(8 * 1024)
        meter.received(update * 8, 0.0)
    with pytest.raises(AbuseError, match="carry nothing"):
        meter.received(update * 11, 0.0)


def test_budgets_come_back_with_time() -> None:
    meter = FrameMeter(LIMITS)
    meter.received(PREFACE + PingFrame(0).serialize() * 10, 0.0)
    meter.received(PingFrame(0).serialize() * 10, 10.0)
    with pytest.raises(AbuseError):
        meter.received(PingFrame(0).serialize() * 2, 11.0)
