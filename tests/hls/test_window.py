"""Texts of settled segments: what is in comes out, in blocks, from any state."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hls.window import BLOCK_SEGMENTS, SettledText


def text_of(number: int) -> bytes:
    return b"segment %d\n" % number


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 90)), max_size=12))
def test_it_is_a_queue_of_texts(steps: list[tuple[int, int]]) -> None:
    window, model, number = SettledText(), deque[bytes](), 0
    for come, go in steps:
        for _ in range(come):
            window.append(text_of(number))
            model.append(text_of(number))
            number += 1
        for _ in range(min(go, len(model))):
            window.popleft()
            model.popleft()
        assert len(window) == len(model)
        assert b"".join(window.chunks()) == b"".join(model)


def test_old_texts_are_shared_between_versions() -> None:
    window = SettledText()
    for number in range(3 * BLOCK_SEGMENTS + 5):
        window.append(text_of(number))
    before = window.chunks()
    window.append(text_of(0))
    window.popleft()
    after = window.chunks()
    assert len(before) == len(after) == 4
    assert after[1] is before[1]
    assert after[2] is before[2]
    for _ in range(BLOCK_SEGMENTS - 1):
        window.popleft()
    assert window.chunks()[0] is before[1]


def test_nothing_can_be_taken_from_an_empty_window() -> None:
    window = SettledText()
    assert window.chunks() == []
    with pytest.raises(IndexError):
        window.popleft()
