"""What the ``headrace`` command prints: tables and lines for people, JSON for programs.

On a terminal a table is drawn by rich. Everywhere else it is columns of plain text, as wide as they
are, so that nothing is cut off that a program reads. Titles, names and messages are strangers'
words: nothing in them reaches a terminal as a command to it.

May import: click, rich, msgspec.
"""

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import click
import msgspec

MAX_CELL_CHARS: Final = 2000
"""Of a cell; more is cut."""

_KEPT: Final = frozenset({"Zs"})  # a blank is printable enough; all other separators are not


def clean(text: object) -> str:
    """Make a stranger's text fit for a line: no control character, none that turns text round.

    None becomes "-".
    """
    if text is None:
        return "-"
    kept = str(text)[:MAX_CELL_CHARS]
    return "".join(
        character
        if character.isprintable() or unicodedata.category(character) in _KEPT
        else "\N{REPLACEMENT CHARACTER}"
        for character in kept
    )


def is_terminal() -> bool:
    """Whether what is printed is read by a person."""
    return sys.stdout.isatty()


def line(text: object = "") -> None:
    """Print a line."""
    click.echo(clean(text))


def hint(text: str) -> None:
    """Tell a person something beside the answer, where a pipe does not carry it on."""
    click.echo(clean(text), err=True)


def json(value: object) -> None:
    """Print a value as one line of JSON."""
    click.echo(msgspec.json.encode(value))


def rows_of(rows: Iterable[Sequence[object]]) -> list[tuple[str, ...]]:
    """Clean the cells of a table."""
    return [tuple(clean(cell) for cell in row) for row in rows]


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; without rows its titles alone."""
    cells = rows_of(rows)
    if is_terminal():
        from rich.console import Console

        Console().print(drawn(titles, cells))
        return
    for text in aligned([tuple(titles), *cells]):
        click.echo(text)


def pairs(rows: Iterable[tuple[str, object]]) -> None:
    """Print names and values, a line each."""
    for text in aligned(rows_of(rows)):
        click.echo(text)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of plain text, two blanks apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def drawn(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> object:
    """A table of rich's; what is in a cell is text and no markup."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        made.add_column(Text(title), overflow="fold")
    for row in rows:
        made.add_row(*map(Text, row))
    return made


def yes(value: bool | None) -> str:
    """A yes or no; "-": it is not known."""
    return "-" if value is None else "yes" if value else "no"


def number(value: float | None, unit: str = "", digits: int = 1) -> str:
    """A figure with its unit; "-": it is not known."""
    if value is None:
        return "-"
    text = f"{value:.{digits}f}" if isinstance(value, float) else str(value)
    return f"{text} {unit}".rstrip()


def size(value_bytes: float) -> str:
    """Bytes in the unit that fits."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if value_bytes < 1000:
            return f"{value_bytes:.0f} {unit}" if unit == "bytes" else f"{value_bytes:.1f} {unit}"
        value_bytes /= 1000
    return f"{value_bytes:.1f} TB"


def span(seconds: float | None) -> str:
    """A duration as h:mm:ss."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def moment(at_ms: int) -> str:
    """UTC, milliseconds since 1970, as a time of day."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M:%S")
