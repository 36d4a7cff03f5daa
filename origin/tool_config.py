"""``headrace config``: what can be set, what is set, and whether a server would start with it.

    headrace config reference     what there is to set, as Markdown or as a TOML file to fill in

Settings come from where the servers take them: `origin.config`, and with ``--edge`` `edge.config`.

May import everything of ours.
"""

from typing import Final, Literal

import click
import msgspec

from edge import cli as edge_cli
from edge import config as edge_config
from edge.process import reference
from edge.process.reference import Entry
from edge.process.settings import is_live
from origin import cli as origin_cli
from origin import config as origin_config

INTRODUCTION: Final = """\
# Settings

Every setting of `headrace-origin` and `headrace-edge`. This page is made of the code, by
`headrace config reference --all > docs/settings.md`; [configuration.md](configuration.md) says how
settings are given, checked and reloaded.

Under each text stand its type and bounds, its default, its variable, its flag, and what it takes to
change it: *live*, a reload (SIGHUP, or `POST /api/config/reload` of an origin); *restart*, a new
start. A *secret* is shown nowhere. In TOML the key is the setting's name.
"""


@click.group("config", no_args_is_help=False)
def config_group() -> None:
    """See and check settings."""


@config_group.command("reference")
@click.option("--edge", is_flag=True, help="Of headrace-edge, in place of headrace-origin.")
@click.option("--all", "both", is_flag=True, help="Of both, as docs/settings.md has them.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "toml"]),
    default="md",
    help="Markdown, or a TOML file with every setting commented out.  [default: md]",
)
def _reference(edge: bool, both: bool, form: Literal["md", "toml"]) -> None:
    """Print what there is to set."""
    if both and (edge or form != "md"):
        raise click.UsageError("--all is Markdown of both programs")
    if both:
        click.echo(settings_page(), nl=False)
        return
    render = reference.as_markdown if form == "md" else reference.as_toml
    click.echo(render(edge_entries() if edge else origin_entries()), nl=False)


def settings_page() -> str:
    """docs/settings.md."""
    programs = ((origin_cli.PROGRAM, origin_entries()), (edge_cli.PROGRAM, edge_entries()))
    sections = (f"## {name}\n\n{reference.as_markdown(entries)}" for name, entries in programs)
    return "\n".join((INTRODUCTION, *sections))


def origin_entries() -> tuple[Entry, ...]:
    """What an origin can be set to."""
    return _entries(origin_config.Settings, origin_cli.settings_command)


def edge_entries() -> tuple[Entry, ...]:
    """What an edge can."""
    return _entries(
        edge_config.NodeSettings,
        edge_cli.settings_command,
        live=lambda field: field.name not in edge_config.NEEDS_RESTART,
    )


def _entries(
    kind: type[msgspec.Struct],
    command: click.Command,
    *,
    live: reference.Is = is_live,
) -> tuple[Entry, ...]:
    return reference.entries_of(kind, flags=_flags(command), live=live)


def _flags(command: click.Command) -> dict[str, str]:
    """The flags of a program, as they are typed."""
    flags = {}
    for option in command.params:
        assert isinstance(option, click.Option)
        names = "/".join((*option.opts, *option.secondary_opts))
        value = "" if option.is_flag else f" {option.metavar}"
        flags[option.name or ""] = names + value
    return flags
