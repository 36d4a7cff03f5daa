"""What an edge asks for next, in which order, and when it stops."""

from dataclasses import replace

import pytest

from edge.outline import Outline
from edge.prefetch import WATCHED_S, Ahead, ahead_of, is_watched
from hls.request import Directives

PATH = "/api/streams/one/source/playlist.m3u8"
OUTLINE = Outline(
    target_duration_s=2,
    broadcast="init-tok",
    last_part=(7, 1),
    next_part=(7, 2),
    ended=False,
    hint="7.2",
    parts=("7.0", "7.1"),
)


@pytest.mark.parametrize("skip", [False, True])
def test_the_next_version_then_the_part_being_made_then_the_newest(skip: bool) -> None:
    assert ahead_of(PATH, OUTLINE, skip=skip, whole_age_s=1.9) == [
        Ahead(PATH, Directives(7, 2, skip), is_held=True),
        Ahead("/api/streams/one/source/7.2", None, is_held=True),
        Ahead("/api/streams/one/source/7.1", None, is_held=False),
        Ahead("/api/streams/one/source/7.0", None, is_held=False),
    ]


@pytest.mark.parametrize(
    ("skip", "age_s", "asked"), [(True, 2.0, True), (True, 1.9, False), (False, 9.0, False)]
)
def test_the_whole_playlist_now_and_then(skip: bool, age_s: float, asked: bool) -> None:
    ahead = ahead_of(PATH, OUTLINE, skip=skip, whole_age_s=age_s)
    assert (ahead[-1] == Ahead(PATH, Directives(), is_held=True)) is asked


def test_without_a_hint_there_is_none_to_ask_for() -> None:
    assert [
        one.path for one in ahead_of(PATH, replace(OUTLINE, hint=None, parts=()), skip=False)
    ] == [PATH]


def test_nothing_comes_after_the_end() -> None:
    assert ahead_of(PATH, replace(OUTLINE, ended=True), skip=True) == []


@pytest.mark.parametrize(
    ("asked_s", "watched"),
    [(None, False), (100.0, True), (100.0 - WATCHED_S, True), (99.9 - WATCHED_S, False)],
)
def test_watched(asked_s: float | None, watched: bool) -> None:
    assert is_watched(asked_s, 100.0) is watched
