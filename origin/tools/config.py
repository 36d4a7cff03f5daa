"""``headrace config``: what can be set, what is set, and whether a server would start with it.

    headrace config reference     what there is to set, as Markdown or as a TOML file to fill in
    headrace config check         what would refuse a start, or is odd; exit code 2 for the former
    headrace config show          what a start would have and where it was given, without secrets
    headrace config running       what a running origin has, which is asked
    headrace config reload        have a running origin read its settings again

Settings of the first three come from where the servers take them: `origin.config`, and with
``--edge`` `edge.config`.

May import everything of ours.
"""

import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import click
import msgspec
import trio

from edge import cli as edge_cli
from edge import config as edge_config
from edge.api.calls import Call
from edge.process import reference
from edge.process.reference import Entry
from edge.process.settings import Plan, Survey, is_live, shown, survey
from edge.process.terminal import EXIT_REFUSED, one_line
from origin import cli as origin_cli
from origin import config as origin_config
from origin.config_api import Configuration
from origin.config_check import Finding, check_edge, check_origin
from origin.reload import Outcome
from origin.tools import show
from origin.tools.session import Session, asks

GET_CONFIG: Final = Call("getConfig", "GET", "/api/config", Configuration)
RELOAD_CONFIG: Final = Call("reloadConfig", "POST", "/api/config/reload", Outcome)

MAX_COLUMN: Final = 50
"""Sources stand no further to the right, but for a longer value."""

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


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Of whatever reads settings."""
    for option in (
        click.option("--edge", is_flag=True, help="Of headrace-edge, in place of headrace-origin."),
        click.option(
            "--config", type=click.Path(path_type=Path), metavar="FILE", help="TOML settings."
        ),
    ):
        command = option(command)
    return command


@config_group.command("check")
@_options
@click.option("--ports", is_flag=True, help="Also try to listen; not while the server runs.")
def _check(config: Path | None, edge: bool, ports: bool) -> int:
    """Look for what would refuse a start, without one.

    A line for each problem: error or warning, where it was set, what is wrong. Exit code 2 if there
    is an error. Where encoders were not measured yet it takes some seconds.
    """
    found = _survey(config, edge)
    findings = [f"error: {problem}" for problem in found.problems]
    is_wrong = bool(findings)
    if not is_wrong:
        check: Callable[..., Awaitable[list[Finding]]] = check_edge if edge else check_origin
        for finding in trio.run(partial(check, found.settings, found.sources, ports=ports)):
            is_wrong |= finding.is_error
            findings.append(str(finding))
    for line in findings:
        click.echo(one_line(line))
    if not is_wrong:
        click.echo("ok: the server would start")
    return EXIT_REFUSED if is_wrong else 0


@config_group.command("show")
@_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object: name to value and source.")
def _show(config: Path | None, edge: bool, as_json: bool) -> None:
    """Print every setting as a start would have it, and where it was given. Secrets are hidden."""
    found = _survey(config, edge)
    if found.settings is None or found.problems:
        raise found.problems[0]
    values = shown(found.settings)
    if as_json:
        rows = {
            name: {"value": value, "source": found.sources.get(name, "default")}
            for name, value in values.items()
        }
        click.echo(msgspec.json.encode(rows))
        return
    lines = [
        (f"{name} = {reference.to_toml(value)}" if value is not None else f"# {name} is not set")
        for name, value in values.items()
    ]
    width = min(max(map(len, lines)), MAX_COLUMN)
    for name, line in zip(values, lines, strict=True):
        click.echo(f"{line.ljust(width)}  # {found.sources.get(name, 'default')}")


@config_group.command("running")
@asks
def _running(session: Session) -> None:
    """Show the settings that a running origin has, and where they were given."""
    found = session.run(lambda client: client.ask(GET_CONFIG))
    if session.as_json:
        show.json(found)
        return
    rows = [
        (
            one.name,
            "-" if one.value is None else reference.to_toml(one.value),
            one.source,
            "restart" if one.name in found.needs_restart else "",
        )
        for one in found.settings
    ]
    show.table(("setting", "value", "source", "waits for"), rows)


@config_group.command("reload")
@asks
def _reload(session: Session) -> None:
    """Have a running origin read its settings again: all that can change live does, or nothing."""
    outcome = session.run(lambda client: client.ask(RELOAD_CONFIG))
    if session.as_json:
        show.json(outcome)
        return
    rows = [
        (one.name, *("-" if v is None else reference.to_toml(v) for v in (one.before, one.after)))
        for one in outcome.changed
    ]
    show.table(("changed", "before", "after"), rows)
    for name in outcome.needs_restart:
        session.hint(f"{name} needs a restart to change")


def _survey(config: Path | None, edge: bool) -> Survey[Any]:
    plan: Plan[Any] = edge_config.PLAN if edge else origin_config.PLAN
    return survey(plan, config_file=config, environment=os.environ, flags={})


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
