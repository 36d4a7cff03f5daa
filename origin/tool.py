"""``headrace``: the command for whoever runs an origin. Flags in, exit code out.

Each subject is a module of its own (`COMMANDS`), imported when it is asked for: a tool that lists
streams need not load what measures encoders.

Exit codes: 0; 1 when something went wrong, 2 for wrong flags or settings, each with one line on
stderr; 130 for an interrupt.

May import everything of ours.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from edge.process.errors import StartupError
from edge.process.terminal import complain, version_option
from origin.tools.errors import EXIT_FAILED, EXIT_REFUSED, ToolError

PROGRAM: Final = "headrace"

EXIT_INTERRUPTED: Final = 130
"""See the module's header."""

COMMANDS: Final = {
    "stream": "origin.tools.streams:streams",
    "viewers": "origin.tools.watching:viewers",
    "health": "origin.tools.watching:health",
    "playback": "origin.tools.playback:playback",
    "chat": "origin.tools.chat:chat",
    "recording": "origin.tools.recordings:recordings",
    "hook": "origin.tools.hooks:hooks",
    "token": "origin.tools.tokens:tokens",
    "openapi": "origin.tools.streams:openapi",
    "status": "origin.tools.server:status",
    "config": "origin.tools.config:config_group",
    "probe": "origin.tools.probe:probe",
}
"""Where each is, in the order of the help."""


class _Commands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


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
        result = headrace.main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except click.ClickException as error:
        return _fail(EXIT_REFUSED, error.format_message())
    except StartupError as error:
        return _fail(EXIT_REFUSED, str(error))
    except ToolError as error:
        return _fail(error.exit_code, str(error))
    except BrokenPipeError:
        return _end_quietly()
    except OSError as error:  # a folder or a file that was named
        return _fail(EXIT_FAILED, f"{error.filename}: {error.strerror}")
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else 0


def _fail(code: int, reason: str) -> int:
    complain(PROGRAM, reason)
    return code


def _end_quietly() -> int:
    """Whoever read our output has left: there is nobody to tell."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_FAILED


@click.group(
    PROGRAM,
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=False,
)
@version_option(PROGRAM)
def headrace() -> None:
    """Run a Headrace server: streams and who watches them, chat, recordings, settings."""


if __name__ == "__main__":
    main()
