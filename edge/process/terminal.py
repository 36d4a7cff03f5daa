"""What the programs have in common at the terminal: one clear line, an exit code, their version.

Exit codes: 0 after SIGTERM or SIGINT and the drain (the programs handle both signals); 2 when the
start is refused, with exactly one line on stderr that says why; 1 for a bug, with a logged
traceback; 130 for an interrupt before the program took the signals over.

May import click, structlog, trio and `edge.process`.
"""

import importlib.metadata
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import click
import structlog
import trio

from edge.process.errors import StartupError
from edge.process.log import redact
from edge.process.memory import calm_collector, keep_pages

#: See the module's header.
EXIT_CRASHED: Final = 1
EXIT_REFUSED: Final = 2
EXIT_INTERRUPTED: Final = 130


def parse(command: click.Command, program: str, arguments: Sequence[str]) -> Any:
    """Read a command line.

    Args:
        command: Returns what the flags say; may raise `StartupError`.
        program: Its name.
        arguments: The command line without it.

    Returns:
        What `command` returned, or an int, the exit code: it was refused, or --help answered.
    """
    try:
        # Not standalone: click's own report of a wrong flag has four lines.
        return command.main(list(arguments), prog_name=program, standalone_mode=False)
    except click.ClickException as error:
        return refuse(program, error.format_message())
    except StartupError as error:
        return refuse(program, str(error))


def serve(program: str, main: Callable[..., Awaitable[None]], *arguments: Any) -> int:
    """Run a program until a signal ends it.

    Args:
        program: Its name.
        main: Handed to `trio.run`.
        arguments: Of `main`.

    Returns:
        The exit code; what it means has been said.
    """
    keep_pages()
    calm_collector()
    try:
        trio.run(main, *arguments)
    except BaseException as error:
        return _explain(program, error)
    return 0


def refuse(program: str, reason: str) -> int:
    """Say why the start is refused; the exit code for it."""
    complain(program, reason)
    return EXIT_REFUSED


def complain(program: str, reason: str) -> None:
    """Say on stderr, in one printable line without secrets, why a program did not do as told."""
    print(f"{program}: {one_line(reason)}", file=sys.stderr)


def one_line(text: str) -> str:
    """Make one printable line of a text, without secrets; runs of blanks become one."""
    line = " ".join(redact(text).split())
    return "".join(character if character.isprintable() else "?" for character in line)


def program_version() -> str:
    """What the package says it is."""
    try:
        return importlib.metadata.version("headrace")
    except importlib.metadata.PackageNotFoundError:
        return "unknown (not installed)"


def version_option(program: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option ``--version`` of a program."""

    def print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
        if not wanted:
            return
        click.echo(f"{program}, version {program_version()}")
        context.exit()

    return click.option(
        "--version",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=print_version,
        help="Print the version and exit.",
    )


def _explain(program: str, error: BaseException) -> int:
    """Turn what ended a program into a report and an exit code.

    Nurseries wrap what their tasks raise, at any depth, and a failing start cancels its siblings,
    which may fail too. Only when every leaf is a StartupError was the start refused; anything
    else among them is a bug to show.
    """
    leaves = list(_leaves(error))
    if all(isinstance(leaf, StartupError) for leaf in leaves):
        return refuse(program, "; ".join(dict.fromkeys(str(leaf) for leaf in leaves)))
    if all(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return EXIT_INTERRUPTED
    structlog.get_logger().critical("crashed", exc_info=error)
    return EXIT_CRASHED


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for child in error.exceptions:
            yield from _leaves(child)
    else:
        yield error
