"""Counting viewers: by hand, and against a model that keeps everything and looks at it slowly."""

from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge.audience import counts as module
from edge.audience.counts import (
    MAX_PER_NETWORK,
    MAX_POINTS,
    MAX_SAID,
    PAGE_S,
    SETTLES_S,
    TIMEOUT_S,
    Counts,
    Figures,
    Point,
)

S, T = "stream", "other"


def test_who_comes_counts_at_once_and_who_is_silent_no_more() -> None:
    counts = Counts()
    assert counts.figures(S, 0.0) == Figures(0, 0, 0.0)
    assert counts.hear(S, "a", "net", 0.0)
    assert counts.hear(S, "b", "net", 5.0)
    assert counts.figures(S, 5.0).count == 2
    assert counts.hear(S, "a", "net", 20.0)
    assert counts.figures(S, 5.0 + TIMEOUT_S - 0.1).count == 2
    assert counts.figures(S, 5.0 + TIMEOUT_S).count == 1
    assert counts.figures(S, 20.0 + TIMEOUT_S) == Figures(0, 2, 30.0 + 20.0 + TIMEOUT_S)
    assert len(counts) == 0


def test_a_goodbye_is_the_end() -> None:
    counts = Counts()
    counts.hear(S, "a", "net", 0.0)
    counts.leave(S, "nobody", 1.0)
    counts.leave(T, "a", 1.0)
    counts.leave(S, "a", 2.0)
    counts.leave(S, "a", 3.0)
    assert counts.figures(S, 9.0) == Figures(0, 1, 2.0)


def test_a_player_that_changes_its_network_counts_once() -> None:
    counts = Counts()
    for number in range(5):
        counts.hear(S, "a", f"net {number}", float(number))
    assert counts.figures(S, 5.0).count == 1
    assert len(counts) == 1


def test_a_new_broadcast_begins_with_who_is_there() -> None:
    counts = Counts()
    for name in "abc":
        counts.hear(S, name, "net", 0.0)
    counts.leave(S, "c", 1.0)
    counts.begin(S, 10.0)
    assert counts.figures(S, 10.0) == Figures(2, 2, 0.0)
    assert counts.figures(S, 15.0) == Figures(2, 2, 10.0)


def test_so_many_from_one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counts()
    for number in range(MAX_PER_NETWORK):
        assert counts.hear(S, f"{number}", "net", 0.0)
    assert not counts.hear(S, "one more", "net", 0.0)
    assert counts.hear(S, "7", "net", 1.0), "who is there goes on"
    assert counts.hear(S, "one more", "other", 1.0)
    assert not counts.hear(S, "one more", "net", 2.0), "it stays where it was"
    assert counts.hear(T, "one more", "net", 2.0), "another stream"
    assert counts.figures(S, 2.0).count == MAX_PER_NETWORK + 1
    counts.leave(S, "8", 3.0)
    assert counts.hear(S, "one more", "net", 3.0)


def test_so_many_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SESSIONS", 4)
    counts = Counts()
    for number, stream in enumerate([S, T, S, T, S]):
        counts.hear(stream, f"{number}", "net", float(number))
    assert len(counts) == 4
    assert counts.figures(S, 4.0).count == 2, "who was heard of longest ago has gone"
    assert counts.figures(T, 4.0).count == 2


def test_a_page_whose_player_names_itself_is_one() -> None:
    counts = Counts()
    counts.notice(S, "a", "net", 0.0, unnamed=False)  # its player asks before it plays
    assert counts.hear(S, "a", "net", 1.0)
    counts.notice(S, "a", "elsewhere", 2.0, unnamed=True)
    assert counts.figures(S, 2.0).count == 1
    counts.leave(S, "a", 3.0)
    counts.notice(S, "a", "net", 4.0, unnamed=False)  # what was on its way
    assert counts.figures(S, 4.0).count == 0


def test_a_page_that_is_paused_is_none_whatever_its_player_does() -> None:
    counts = Counts()
    counts.hear(S, "a", "net", 0.0)
    for at_s in range(5, 600, 5):
        counts.notice(S, "a", "net", float(at_s), unnamed=False)
        assert counts.figures(S, at_s).count == (at_s < TIMEOUT_S)
    assert counts.hear(S, "a", "net", 600.0)
    assert counts.figures(S, 600.0).count == 1
    counts.notice(S, "a", "net", 600.0 + PAGE_S + 1, unnamed=False)
    assert counts.figures(S, 600.0 + PAGE_S + 1).count == 1, "it is forgotten that it was a page"


def test_pages_that_are_remembered_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PAGES", 2)
    counts = Counts()
    for name in "abc":
        counts.hear(S, name, "net", 0.0)
        counts.leave(S, name, 0.0)
    for name in "abc":
        counts.notice(S, name, "net", 1.0, unnamed=False)
    assert counts.figures(S, 1.0).count == 1


def test_a_player_that_names_itself_counts_until_it_is_silent() -> None:
    counts = Counts()
    counts.notice(S, "a", "net", 0.0, unnamed=False)
    counts.notice(S, "a", "net", 5.0, unnamed=False)
    counts.notice(T, "a", "net", 5.0, unnamed=False)
    assert counts.figures(S, 5.0 + TIMEOUT_S - 0.1).count == 1
    assert counts.figures(S, 5.0 + TIMEOUT_S).count == 0


def test_bare_players_are_added_but_for_those_that_have_a_name_too() -> None:
    counts = Counts()
    counts.hear(S, "page", "x", 0.0)
    counts.set_bare(S, {"x": 3, "y": 2}, 0.0)
    assert counts.figures(S, 0.0) == Figures(6, 1, 0.0)
    counts.hear(S, "iphone", "x", 0.0, unnamed=True)
    counts.notice(S, "half", "y", 0.0, unnamed=True)
    counts.set_bare(S, {"x": 3, "y": 2}, 10.0)
    assert counts.figures(S, 10.0).count == 3 + 2 + 1
    counts.notice(S, "half", "y", 10.0, unnamed=False)  # it names itself there too
    counts.notice(S, "half", "y", 10.0, unnamed=True)
    counts.set_bare(S, {"y": 2}, 10.0)
    assert counts.figures(S, 10.0).count == 3 + 0 + 2
    counts.leave(S, "iphone", 10.0)
    counts.set_bare(S, {"x": 1, "z": 1}, 10.0)
    assert counts.figures(S, 10.0).count == 2 + 1 + 1
    counts.set_bare(S, {}, 20.0)
    assert counts.figures(S, 20.0).count == 2
    counts.set_bare(T, {}, 20.0)
    assert counts.figures(T, 20.0) == Figures(0, 0, 0.0)


def test_bare_players_watch_and_have_peaks() -> None:
    counts = Counts()
    counts.set_bare(S, {"x": 4}, 0.0)
    counts.set_bare(S, {"x": 1}, 10.0)
    counts.mark(10.0)
    assert counts.figures(S, 20.0) == Figures(1, 4, 50.0)
    assert counts.history(S) == (Point(10.0, 1, 4),)
    counts.begin(S, 20.0)
    assert counts.figures(S, 20.0) == Figures(1, 1, 0.0)


def test_bare_players_are_in_a_peak_when_they_have_been_there_for_a_while() -> None:
    counts = Counts()
    for now_s, bare in [(0.0, 50), (6.0, 57), (11.0, 50), (12.0, 18), (13.0, 60)]:
        counts.set_bare(S, {"x": bare}, now_s)
    assert counts.figures(S, 13.0) == Figures(60, 50, 50 * 6 + 57 * 5 + 50 + 18)
    counts.set_bare(S, {"x": 60}, 13.0 + SETTLES_S)
    assert counts.figures(S, 13.0 + SETTLES_S).peak == 60


def test_a_page_that_comes_puts_no_fresh_bare_players_into_the_peak() -> None:
    counts = Counts()
    counts.set_bare(S, {"x": 50}, 0.0)
    counts.hear(S, "page", "y", 0.5)
    assert counts.figures(S, 0.5) == Figures(51, 1, 25.0)


def test_what_was_said_of_bare_players_is_bounded() -> None:
    counts = Counts()
    for number in range(10 * MAX_SAID):
        counts.set_bare(S, {"x": 5}, number / 1000)
    counts.set_bare(S, {"x": 5}, SETTLES_S)
    assert counts.figures(S, SETTLES_S).peak == 5


def test_the_history_is_a_point_a_minute() -> None:
    counts = Counts()
    counts.hear(S, "a", "net", 0.0)
    counts.hear(S, "b", "net", 1.0)
    counts.leave(S, "b", 2.0)
    counts.mark(10.0)
    counts.mark(60.0)
    assert counts.history(S) == (Point(10.0, 1, 2), Point(60.0, 0, 1))
    for minute in range(MAX_POINTS + 1):
        counts.mark(100.0 + minute)
    assert len(counts.history(S)) == MAX_POINTS
    assert counts.history(T) == ()


def test_what_is_forgotten_is_gone() -> None:
    counts = Counts()
    counts.hear(S, "a", "net", 0.0)
    counts.hear(T, "a", "net", 0.0)
    counts.mark(1.0)
    counts.forget(S)
    counts.forget("unknown")
    assert len(counts) == 1
    assert counts.history(S) == ()
    assert counts.figures(S, 1.0) == Figures(0, 0, 0.0)


class _Sign(NamedTuple):
    stream: str
    viewer: str
    at_s: float
    is_end: bool


@settings(max_examples=60, stateful_step_count=30)
class CountsMachine(RuleBasedStateMachine):
    """The model keeps every sign that was ever given."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts()
        self.signs: list[_Sign] = []
        self.pages: dict[tuple[str, str], float] = {}
        self.bare = {S: 0, T: 0}
        self.bare_s = {S: 0.0, T: 0.0}
        self.now_s = 0.0

    @rule(by_s=st.sampled_from([0.0, 1.0, 9.0, 29.0, 31.0]))
    def wait(self, by_s: float) -> None:
        self.now_s += by_s
        for stream, count in self.bare.items():
            self.bare_s[stream] += count * by_s

    @rule(
        stream=st.sampled_from([S, T]),
        viewer=st.sampled_from("abcd"),
        network=st.sampled_from(["x", "y"]),
    )
    def hear(self, stream: str, viewer: str, network: str) -> None:
        assert self.counts.hear(stream, viewer, network, self.now_s)
        self.signs.append(_Sign(stream, viewer, self.now_s, False))
        self.pages[stream, viewer] = self.now_s

    @rule(
        stream=st.sampled_from([S, T]),
        viewer=st.sampled_from("abcd"),
        network=st.sampled_from(["x", "y"]),
    )
    def notice(self, stream: str, viewer: str, network: str) -> None:
        self.counts.notice(stream, viewer, network, self.now_s, unnamed=False)
        if self.now_s - self.pages.get((stream, viewer), -PAGE_S) < PAGE_S:
            self.pages[stream, viewer] = self.now_s
        else:
            self.signs.append(_Sign(stream, viewer, self.now_s, False))

    @rule(stream=st.sampled_from([S, T]), count=st.integers(0, 9))
    def set_bare(self, stream: str, count: int) -> None:
        self.counts.set_bare(stream, {"x": count}, self.now_s)
        self.bare[stream] = count

    @rule(stream=st.sampled_from([S, T]), viewer=st.sampled_from("abcd"))
    def leave(self, stream: str, viewer: str) -> None:
        self.counts.leave(stream, viewer, self.now_s)
        self.signs.append(_Sign(stream, viewer, self.now_s, True))
        self.pages[stream, viewer] = self.now_s

    def spans(self, stream: str, viewer: str) -> list[tuple[float, float]]:
        """When a viewer was there."""
        spans: list[tuple[float, float]] = []
        for sign in self.signs:
            if (sign.stream, sign.viewer) != (stream, viewer):
                continue
            if sign.is_end:
                if spans:
                    spans[-1] = (spans[-1][0], min(spans[-1][1], sign.at_s))
            elif spans and spans[-1][1] > sign.at_s:
                spans[-1] = (spans[-1][0], sign.at_s + TIMEOUT_S)
            else:
                spans.append((sign.at_s, sign.at_s + TIMEOUT_S))
        return spans

    @invariant()
    def agrees(self) -> None:
        for stream in (S, T):
            every = [span for viewer in "abcd" for span in self.spans(stream, viewer)]
            found = self.counts.figures(stream, self.now_s)
            assert found.count == sum(end > self.now_s for _, end in every) + self.bare[stream]
            watched_s = sum(min(end, self.now_s) - start for start, end in every)
            watched_s += self.bare_s[stream]
            assert found.watched_s == pytest.approx(watched_s)


TestCountsMachine = CountsMachine.TestCase
