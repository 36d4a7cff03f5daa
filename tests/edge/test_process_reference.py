"""The reference of settings: what it says of each field, and that its TOML is read back."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.process.reference import Entry, as_markdown, as_toml, entries_of, to_toml
from edge.process.settings import HIDDEN, LIVE, SECRET, safe_repr, shown


class Rung(msgspec.Struct, frozen=True):
    name: str
    height: int | None = None


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Not the text of a field."""

    place: str = "here"
    """Where it is,
    in two lines."""

    most: Annotated[int, msgspec.Meta(ge=1, le=1_000_000), LIVE] = 5
    """How many."""

    wait_s: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    """How long."""

    level: Annotated[Literal["low", "high"], LIVE] = "low"
    """How much."""

    file: Annotated[Path | None, SECRET] = None
    """Which one."""

    rungs: Annotated[tuple[Rung, ...], msgspec.Meta(max_length=3), LIVE] = ()
    """Which ones."""

    some_token: str | None = None
    """Unmarked, and a secret all the same."""

    hook: str | None = None
    """A URL."""

    is_on: bool = False
    """Whether."""


ENTRIES = entries_of(Sample, flags={"place": "--place WORD"})


def _entry(name: str) -> Entry:
    return next(entry for entry in ENTRIES if entry.name == name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("place", "text"),
        ("most", "whole number, 1 to 1 000 000"),
        ("wait_s", "number, at least 0"),
        ("level", 'one of "high", "low"'),
        ("file", "path"),
        ("rungs", "list of table (name, height), at most 3"),
        ("is_on", "true or false"),
    ],
)
def test_a_type_and_its_bounds_are_words(name: str, kind: str) -> None:
    assert _entry(name).kind == kind


def test_marks_are_read_and_their_absence_is_the_safe_side() -> None:
    assert [e.name for e in ENTRIES if e.is_live] == ["most", "level", "rungs"]
    assert [e.name for e in ENTRIES if e.is_secret] == ["file", "some_token"]


def test_a_field_without_a_text_is_refused() -> None:
    class Silent(msgspec.Struct):
        said: int = 0
        """Something."""
        unsaid: int = 0

    with pytest.raises(ValueError, match=r"^Silent: no text follows unsaid$"):
        entries_of(Silent, flags={})


def test_markdown_has_all_that_is_known() -> None:
    blocks = as_markdown(ENTRIES).split("\n### ")
    assert blocks[0] == (
        "### `place`\n\nWhere it is, in two lines.\n\n"
        'text · default `"here"` · `HEADRACE_PLACE` · `--place WORD` · restart\n'
    )
    assert blocks[4].endswith(
        "path · not set by default · `HEADRACE_FILE` · no flag · restart · secret\n"
    )


def test_a_sample_file_holds_the_defaults() -> None:
    sample = as_toml(ENTRIES)
    assert "# Where it is, in two lines. (text; needs a restart)" in sample
    assert tomllib.loads(sample) == {}
    lines = [line[1:] for line in sample.splitlines() if line.startswith("#") and line[1] != " "]
    given = tomllib.loads("\n".join(line for line in lines if "# not set" not in line))
    assert given == {
        "place": "here",
        "most": 5,
        "wait_s": 2.0,
        "level": "low",
        "rungs": [],
        "is_on": False,
    }


def test_what_is_shown_has_no_secret() -> None:
    settings = Sample(
        file=Path("/secret/file"),
        some_token="hush",
        hook="https://me:hush@example.org/hook?key=hush",
        rungs=(Rung("a", 3),),
    )
    values = shown(settings)
    assert values == {
        "place": "here",
        "most": 5,
        "wait_s": 2.0,
        "level": "low",
        "file": HIDDEN,
        "rungs": [{"name": "a", "height": 3}],
        "some_token": HIDDEN,
        "hook": f"https://{HIDDEN}@example.org/hook?{HIDDEN}",
        "is_on": False,
    }
    assert "hush" not in safe_repr(Sample(some_token="hush", file=Path("hush")))
    assert safe_repr(Sample()) == repr(Sample())


def test_urls_in_lists_are_shown_without_secrets_too() -> None:
    class Many(msgspec.Struct):
        upstream: tuple[str, ...] = ()

    assert shown(Many(("http://a:1", "http://u:hush@b")))["upstream"] == [
        "http://a:1",
        f"http://{HIDDEN}@b",
    ]


SCALARS = st.one_of(
    st.text(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)
)


@given(
    st.one_of(SCALARS.filter(lambda v: v not in (float("inf"), float("-inf"))), st.lists(st.text()))
)
def test_any_value_is_read_back_as_it_was_written(value: Any) -> None:
    assert tomllib.loads(f"x = {to_toml(value)}") == {"x": value}


def test_tables_are_written_inline() -> None:
    rungs = (Rung("a", 3), Rung("b"))
    written = tomllib.loads(f"x = {to_toml(rungs)}")
    assert written == {"x": [{"name": "a", "height": 3}, {"name": "b"}]}
    plain = shown(Sample(rungs=rungs))["rungs"]
    assert to_toml(plain) == to_toml(rungs)
    with pytest.raises(TypeError, match="no setting is a object"):
        to_toml(object())
