"""Names are tidied, refused with a reason, and compared by their looks."""
# ruff: noqa: RUF001 - look-alikes are what this is about

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.chat.names import (
    MAX_NAME_CHARS,
    RESERVED,
    BadName,
    is_reserved,
    normalise_name,
    plain,
    skeleton,
)
from edge.chat.tables import CYRILLIC, DIGITS, LOOK_ALIKES


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("Bob", "Bob"),
        ("  Bob \t\n", "Bob"),
        ("Bob   the\u00a0\u3000Builder", "Bob the Builder"),
        ("Ｂｏｂ", "Bob"),
        ("e\u0301clair", "\u00e9clair"),
        ("Иван TV", "Иван TV"),
        ("李雷🎉", "李雷🎉"),
        ("नमस्ते", "नमस्ते"),
        ("Nguyễn", "Nguyễn"),
        ("7", "7"),
        ("x" * MAX_NAME_CHARS, "x" * MAX_NAME_CHARS),
        ("Δ7 Team", "Δ7 Team"),
    ],
)
def test_a_name_is_tidied(raw: str, name: str) -> None:
    assert normalise_name(raw) == name


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "empty"),
        (" \u3000 ", "empty"),
        ("x" * (MAX_NAME_CHARS + 1), "at most 25"),
        (" " * 101, "at most 25"),
        ("\ufdfa\ufdfa", "at most 25"),  # 18 characters each, once it is NFKC
        ("...", "letter or a digit"),
        ("🎉", "letter or a digit"),
        ("Bob\u202eboB", "invisible"),
        ("Bob\u2066x", "invisible"),
        ("B\u200bob", "invisible"),
        ("B\u200dob", "invisible"),
        ("B\u00adob", "invisible"),
        ("B\x00ob", "invisible"),
        ("B\nob", "invisible"),
        ("B\u2028ob", "invisible"),
        ("B\ud800ob", "invisible"),
        ("B\ue000ob", "invisible"),
        ("B\u0378ob", "invisible"),
        ("\u3164", "invisible"),
        ("B\u2800ob", "invisible"),
        ("Z" + "\u0335" * 4, "marks"),
        ("аdmin", "alphabets"),
        ("Вob", "alphabets"),
        ("Bοb", "alphabets"),
        ("Иван Bоb", "alphabets"),
    ],
)
def test_a_name_is_refused_with_a_reason(raw: str, reason: str) -> None:
    with pytest.raises(BadName, match=reason):
        normalise_name(raw)


def test_three_marks_on_a_letter_are_a_language() -> None:
    assert normalise_name("Z" + "\u0335" * 3) == "Z" + "\u0335" * 3


@given(st.text(max_size=40))
def test_a_tidy_name_is_tidy(raw: str) -> None:
    try:
        name = normalise_name(raw)
    except BadName:
        return
    assert normalise_name(name) == name
    assert 1 <= len(name) <= MAX_NAME_CHARS
    assert name.isprintable()
    assert skeleton(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Bob", "b_o-b"),
        ("Bob", "BOB"),
        ("Bob", "B0b"),
        ("Bob", "Вов"),
        ("Bob", "Ｂｏｂ"),
        ("Bob", "βοβ"),
        ("Bob", "🅱🅾🅱"),
        ("Bob", "ⒷⓄⒷ"),
        ("Bob", "Bób"),
        ("Bob", "B.o.b."),
        ("Bob", "Bo b"),
        ("Will", "WiII"),
        ("Will", "Wi11"),
        ("Will", "VVill"),
        ("modern", "rnodern"),
        ("ёлка", "елка"),
        ("Straße", "STRASSE"),
        ("ᴀᴅᴍɪɴ", "admin"),
    ],
)
def test_names_that_look_alike_have_one_skeleton(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other) != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Bob", "Bobby"),
        ("राम", "रम"),
        ("はか", "ばか"),
        ("李雷", "李磊"),
        ("Guest 0a31", "Guest 0a37"),
    ],
)
def test_other_names_have_other_skeletons(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)


def test_what_has_no_letter_has_no_skeleton() -> None:
    assert skeleton("") == skeleton("_-. 🎉") == ""


@given(st.text(max_size=30))
def test_a_skeleton_is_its_own(name: str) -> None:
    assert skeleton(skeleton(name)) == skeleton(name)


@given(st.text(max_size=30))
def test_case_and_separators_do_not_count(name: str) -> None:
    assert skeleton("_".join(name.split())) == skeleton(name) == skeleton(name.casefold())


@pytest.mark.parametrize(
    "name",
    [
        *RESERVED,
        *("Admin", "A D M I N", "_moderator_", "m0der4t0r", "M0D", "5ystem", "$erver", "5tre@mer"),
        *("аdmin", "ΑDMIN", "adm!n", "rnod", "He4drace", "ｈｅａｄｒａｃｅ"),
    ],
)
def test_names_of_authority_are_reserved(name: str) -> None:
    assert is_reserved(name)


@pytest.mark.parametrize("name", ["Bob", "administer", "Modesty", "7", "", "...", "李雷"])
def test_other_names_are_not(name: str) -> None:
    assert not is_reserved(name)


def test_a_room_reserves_its_own() -> None:
    assert is_reserved("The_0wner", ["The Owner"])
    assert not is_reserved("The Owner's", ["The Owner"])
    assert not is_reserved("...", ["---"])  # a list that has nothing readable reserves nothing


def test_every_look_alike_can_be_met() -> None:
    """What folding changes first would never be looked up."""
    for code, latin in LOOK_ALIKES.items():
        assert plain(chr(code)) == chr(code)
        assert latin.isascii()
        assert latin.islower()
    assert CYRILLIC.keys() < LOOK_ALIKES.keys()
    assert not DIGITS.keys() & LOOK_ALIKES.keys()
