"""``headrace-origin``: flags in, exit code out. What runs is `origin.app.run`.

Exit codes: 0 after SIGTERM or SIGINT and the drain (the app handles both signals); 2 when the
start is refused, with exactly one line on stderr that says why; 1 for a bug, with a logged
traceback; 130 for an interrupt before the app took the signals over.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
import structlog
import trio

from origin import app
from origin.config import Settings, load_settings
from origin.errors import StartupError
from origin.log import configure_logging
from origin.terminal import complain, version_option
from origin.transcode.rungs import DEFAULT_LADDER

PROGRAM: Final = "headrace-origin"

#: See the module's header.
EXIT_CRASHED: Final = 1
EXIT_REFUSED: Final = 2
EXIT_INTERRUPTED: Final = 130


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
    try:
        # Not standalone: click's own report of a wrong flag has four lines. The result is
        # what `_settings` returns, or an exit code when --help or --version answered.
        result = _settings.main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except click.ClickException as error:
        return _refuse(error.format_message())
    except StartupError as error:
        return _refuse(str(error))
    return serve(result) if isinstance(result, Settings) else int(result)


def serve(settings: Settings) -> int:
    """Run the origin until a signal ends it.

    Args:
        settings: Checked settings.

    Returns:
        The exit code.
    """
    configure_logging(settings.log_format, settings.log_level)
    try:
        trio.run(app.run, settings)
    except BaseException as error:
        return _explain(error)
    return 0


def _explain(error: BaseException) -> int:
    """Turn what ended the app into a report and an exit code.

    Nurseries wrap what their tasks raise, at any depth, and a failing start cancels its siblings,
    which may fail too. Only when every leaf is a StartupError was the start refused; anything
    else among them is a bug to show.
    """
    leaves = list(_leaves(error))
    if all(isinstance(leaf, StartupError) for leaf in leaves):
        return _refuse("; ".join(dict.fromkeys(str(leaf) for leaf in leaves)))
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


def _refuse(reason: str) -> int:
    complain(PROGRAM, reason)
    return EXIT_REFUSED


@click.command(
    PROGRAM,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every setting may also stand in the TOML file (http = ...) or the environment"
    " (HEADRACE_HTTP=...); flags win over the environment, and that over the file.",
)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="TOML settings.")
@click.option("--http", metavar="HOST:PORT", help="For viewers.  [default: 127.0.0.1:8080]")
@click.option("--https", metavar="HOST:PORT", help="The same over TLS, with HTTP/2.")
@click.option("--tls-certificate", metavar="FILE", help="For --https: PEM, with its chain.")
@click.option("--tls-key", metavar="FILE", help="Its key.  [default: in the same file]")
@click.option("--rtmp", metavar="HOST:PORT", help="For publishers.  [default: 127.0.0.1:1935]")
@click.option("--data", metavar="DIR", help="State and secrets.  [default: ./headrace-data]")
@click.option("--ladder", metavar="SPEC", help=f'Rungs, or "none".  [default: {DEFAULT_LADDER}]')
@click.option("--encoder", metavar="NAME", help='Of the rungs, or "auto".  [default: libx264]')
@click.option(
    "--reconnect-grace-s",
    metavar="SECONDS",
    help="Wait so long for a publisher that was lost.  [default: 60]",
)
@click.option("--demo", is_flag=True, default=None, help="Publish a built-in demo broadcast.")
@click.option("--log-format", metavar="text|json", help="Log lines on stderr.  [default: text]")
@version_option(PROGRAM)
def _settings(config: Path | None, **flags: Any) -> Settings:
    """Take live broadcasts over RTMP and serve them as Low-Latency HLS."""
    return load_settings(config_file=config, flags=flags)
