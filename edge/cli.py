"""``headrace-edge``: flags in, exit code out. What runs is `edge.workers.run`.

`edge.process.terminal` says what the exit codes are.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from edge import workers
from edge.config import NodeSettings, load_settings
from edge.process.errors import StartupError
from edge.process.log import configure_logging
from edge.process.terminal import parse, refuse, serve, version_option

PROGRAM: Final = "headrace-edge"


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments say.

    Args:
        arguments: The command line without the program's name.

    Returns:
        The exit code.
    """
    gather = parse(settings_command, PROGRAM, arguments)
    if isinstance(gather, int):
        return gather

    def load() -> NodeSettings:
        settings: NodeSettings = gather()
        configure_logging(settings.log_format, settings.log_level)  # of the supervisor
        return settings

    try:
        settings = load()
    except StartupError as error:
        return refuse(PROGRAM, str(error))
    return serve(PROGRAM, workers.run, settings, load)


@click.command(
    PROGRAM,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every setting may also stand in the TOML file (http = ...) or the environment"
    " (HEADRACE_HTTP=...); flags win over the environment, and that over the file. SIGHUP reads all"
    " again and replaces the workers one by one; each finishes what it has.",
)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="TOML settings.")
@click.option("--http", metavar="HOST:PORT", help="For viewers.  [default: 127.0.0.1:8080]")
@click.option("--https", metavar="HOST:PORT", help="The same over TLS, with HTTP/2.")
@click.option("--tls-certificate", metavar="FILE", help="For --https: PEM, with its chain.")
@click.option("--tls-key", metavar="FILE", help="Its key.  [default: in the same file]")
@click.option(
    "--upstream",
    metavar="URL",
    multiple=True,
    help="An origin, or another edge; again for the next to try.  [required]",
)
@click.option("--workers", metavar="N", help="Processes that serve.  [default: one a processor]")
@click.option("--cache-mb", metavar="MIB", help="Media to keep, in all.  [default: 1024]")
@click.option("--max-connections", metavar="N", help="Viewers', in all.  [default: 16384]")
@click.option(
    "--prefetch/--no-prefetch",
    default=None,
    help="Fetch what is watched before it is asked for.  [default: on]",
)
@click.option("--log-format", metavar="text|json", help="Log lines on stderr.  [default: text]")
@version_option(PROGRAM)
def settings_command(
    config: Path | None, upstream: tuple[str, ...], **flags: Any
) -> Callable[[], NodeSettings]:
    """Serve what an origin broadcasts to any number of viewers."""
    return partial(load_settings, config_file=config, flags={**flags, "upstream": upstream or None})
