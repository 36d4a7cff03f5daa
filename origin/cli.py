"""``headrace-origin``: flags in, exit code out. What runs is `origin.app.run`.

`edge.process.terminal` says what the exit codes are.
"""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from edge.process.errors import StartupError
from edge.process.log import configure_logging
from edge.process.settings import gather
from edge.process.terminal import parse, refuse, serve, version_option
from origin import app
from origin.config import PLAN
from origin.reload import Load
from origin.transcode.rungs import DEFAULT_LADDER

PROGRAM: Final = "headrace-origin"


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
    load = parse(settings_command, PROGRAM, arguments)
    if isinstance(load, int):
        return load
    try:
        settings, sources = load()
    except StartupError as error:
        return refuse(PROGRAM, str(error))
    configure_logging(settings.log_format, settings.log_level)
    return serve(PROGRAM, app.run, settings, sources, load)


@click.command(
    PROGRAM,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every setting may also stand in the TOML file (http = ...) or the environment"
    " (HEADRACE_HTTP=...); flags win over the environment, and that over the file. SIGHUP reads the"
    " file again and applies what can change live.",
)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="TOML settings.")
@click.option("--http", metavar="HOST:PORT", help="For viewers.  [default: 127.0.0.1:8080]")
@click.option("--https", metavar="HOST:PORT", help="The same over TLS, with HTTP/2.")
@click.option("--tls-certificate", metavar="FILE", help="For TLS: PEM, with its chain.")
@click.option("--tls-key", metavar="FILE", help="Its key.  [default: in the same file]")
@click.option("--rtmp", metavar="HOST:PORT", help="For publishers.  [default: 127.0.0.1:1935]")
@click.option("--rtmps", metavar="HOST:PORT", help="The same over TLS; port 1936 by convention.")
@click.option(
    "--rtmp-proxy-protocol",
    metavar="ADDRESSES",
    help="Balancers before --rtmp and --rtmps, with commas: they must send a PROXY header.",
)
@click.option("--data", metavar="DIR", help="State and secrets.  [default: ./headrace-data]")
@click.option("--ladder", metavar="SPEC", help=f'Rungs, or "none".  [default: {DEFAULT_LADDER}]')
@click.option("--encoder", metavar="NAME", help='Of the rungs, or "auto".  [default: libx264]')
@click.option(
    "--reconnect-grace-s",
    metavar="SECONDS",
    help="Wait so long for a publisher that was lost.  [default: 60]",
)
@click.option("--slate", metavar="FILE", help="Picture or clip to show meanwhile.")
@click.option("--demo", is_flag=True, default=None, help="Publish a built-in demo broadcast.")
@click.option("--log-format", metavar="text|json", help="Log lines on stderr.  [default: text]")
@version_option(PROGRAM)
def settings_command(config: Path | None, **flags: Any) -> Load:
    """Take live broadcasts over RTMP and serve them as Low-Latency HLS."""
    return partial(gather, PLAN, config_file=config, environment=os.environ, flags=flags)
