"""What the programs have in common at the terminal: one clear line, and their version.

May import click and `origin.log`.
"""

import importlib.metadata
import sys
from collections.abc import Callable
from typing import Any

import click

from origin.log import redact


def complain(program: str, reason: str) -> None:
    """Say on stderr, in one printable line without secrets, why a program did not do as told."""
    line = " ".join(redact(reason).split())
    printable = "".join(character if character.isprintable() else "?" for character in line)
    print(f"{program}: {printable}", file=sys.stderr)


def version_option(program: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option ``--version`` of a program."""

    def print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
        if not wanted:
            return
        try:
            version = importlib.metadata.version("headrace")
        except importlib.metadata.PackageNotFoundError:
            version = "unknown (not installed)"
        click.echo(f"{program}, version {version}")
        context.exit()

    return click.option(
        "--version",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=print_version,
        help="Print the version and exit.",
    )
