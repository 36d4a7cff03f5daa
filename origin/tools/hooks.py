"""``headrace hook ...``: programs that are told of events, and what they were not told.

May import: click, `edge.api`, `origin.hooks`' types, `origin.tools`.
"""

from typing import Any, Final, get_args

import click
import msgspec

from edge.api.calls import Call
from edge.api.client import Client
from origin.hooks.api import (
    DeliveryInfo,
    DeliveryPage,
    HookChanges,
    HookInfo,
    HookList,
    HookRequest,
    NewHook,
)
from origin.hooks.catalog import Pattern
from origin.hooks.service import TestResult
from origin.tools import show
from origin.tools.errors import ToolError
from origin.tools.session import Session, asks, confirm

_EVERY, _ONE = "/api/hooks", "/api/hooks/{hookId}"

CREATE_HOOK: Final = Call("createHook", "POST", _EVERY, NewHook)
LIST_HOOKS: Final = Call("listHooks", "GET", _EVERY, HookList)
GET_HOOK: Final = Call("getHook", "GET", _ONE, HookInfo)
CHANGE_HOOK: Final = Call("changeHook", "PATCH", _ONE, HookInfo)
DELETE_HOOK: Final = Call("deleteHook", "DELETE", _ONE, type(None))
ROTATE_SECRET: Final = Call("rotateHookSecret", "POST", f"{_ONE}/secret", NewHook)
TEST_HOOK: Final = Call("testHook", "POST", f"{_ONE}/test", TestResult)
LIST_DELIVERIES: Final = Call("listDeliveries", "GET", f"{_ONE}/deliveries", DeliveryPage)
RETRY_DELIVERY: Final = Call(
    "retryDelivery", "POST", f"{_ONE}/deliveries/{{deliveryId}}/retry", DeliveryInfo
)

PAGE: Final = 200
"""Deliveries asked for at once."""


@click.group("hook", no_args_is_help=False)
def hooks() -> None:
    """Have programs told of what happens."""


@hooks.command("create")
@click.argument("url")
@click.option(
    "--event", "events", multiple=True, type=click.Choice(get_args(Pattern)), metavar="TYPE",
    help='A type, or a pattern such as "alert.*"; may be said again.  [default: all but chat]',
)  # fmt: skip
@click.option("--stream", "stream_id", metavar="ID", help="Only of this stream.")
@click.option("--description", default="", help="For people.")
@asks
def create(
    session: Session, url: str, events: Any, stream_id: str | None, description: str
) -> None:
    """Have a program told of events, and show the secret they are signed with this once."""
    wanted = HookRequest(
        url=url, events=list(events) or ["*"], stream_id=stream_id, description=description
    )
    _show_new(session, session.run(lambda client: client.ask(CREATE_HOOK, wanted)))


@hooks.command("list")
@asks
def list_hooks(session: Session) -> None:
    """List the hooks and how they fare, oldest first."""
    found = session.run(lambda client: client.ask(LIST_HOOKS)).hooks
    if session.as_json:
        show.json(found)
        return
    rows = [
        (one.id, one.status, one.pending, one.dead, " ".join(one.events), one.url) for one in found
    ]
    show.table(("id", "status", "waiting", "dead", "events", "url"), rows)


@hooks.command("show")
@click.argument("hook_id", metavar="ID")
@asks
def show_hook(session: Session, hook_id: str) -> None:
    """Show a hook and how it fares."""
    _show(session, session.run(lambda client: client.ask(GET_HOOK, hookId=hook_id)))


@hooks.command("update")
@click.argument("hook_id", metavar="ID")
@click.option("--url")
@click.option(
    "--event", "events", multiple=True, type=click.Choice(get_args(Pattern)), metavar="TYPE",
    help="Instead of those that it had; may be said again.",
)  # fmt: skip
@click.option("--on/--off", "enabled", default=None, help="Whether it is told anything.")
@asks
def update(
    session: Session, hook_id: str, url: str | None, events: Any, enabled: bool | None
) -> None:
    """Change a hook; what is not named stays as it is."""
    if url is None and not events and enabled is None:
        raise click.UsageError("name what to change: --url, --event, --on, --off")
    changes = HookChanges(
        url=msgspec.UNSET if url is None else url,
        events=list(events) or msgspec.UNSET,
        enabled=msgspec.UNSET if enabled is None else enabled,
    )
    _show(session, session.run(lambda client: client.ask(CHANGE_HOOK, changes, hookId=hook_id)))


@hooks.command("delete")
@click.argument("hook_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks
def delete(session: Session, hook_id: str, yes: bool) -> None:
    """Remove a hook, with what waits for it."""
    confirm(f"Remove the hook {hook_id}, with what waits for it?", yes)
    session.run(lambda client: client.ask(DELETE_HOOK, hookId=hook_id))
    session.hint(f"{hook_id} is removed.")


@hooks.command("rotate-secret")
@click.argument("hook_id", metavar="ID")
@asks
def rotate_secret(session: Session, hook_id: str) -> None:
    """Give a hook a new secret, and show it this once; the old one signs nothing any more."""
    _show_new(session, session.run(lambda client: client.ask(ROTATE_SECRET, hookId=hook_id)))


@hooks.command("test")
@click.argument("hook_id", metavar="ID")
@asks
def test(session: Session, hook_id: str) -> None:
    """Send a test event now; exit code 1 if it is not taken."""
    result = session.run(lambda client: client.ask(TEST_HOOK, hookId=hook_id))
    if session.as_json:
        show.json(result)
    if not result.delivered:
        raise ToolError(f"not delivered: {result.reason}")
    if not session.as_json:
        show.line(f"delivered in {result.duration_ms} ms, status {result.status}")


@hooks.command("deliveries")
@click.argument("hook_id", metavar="ID")
@click.option(
    "--status", type=click.Choice(["dead", "pending"]), default="dead",
    help="Given up, or waiting.  [default: dead]",
)  # fmt: skip
@asks
def deliveries(session: Session, hook_id: str, status: str) -> None:
    """List what a hook was not told, oldest first."""

    async def collect(client: Client) -> list[DeliveryInfo]:
        found: list[DeliveryInfo] = []
        after: str | None = None
        while True:
            query = dict[str, str | int | None](status=status, limit=PAGE, after=after)
            page = await client.ask(LIST_DELIVERIES, query=query, hookId=hook_id)
            found += page.deliveries
            if page.next is None or page.next == after:
                return found
            after = page.next

    found = session.run(collect)
    if session.as_json:
        show.json(found)
        return
    rows = [(one.id, one.type, one.stream_id, one.at, one.attempts, one.reason) for one in found]
    show.table(("id", "event", "stream", "at", "attempts", "reason"), rows)


@hooks.command("retry")
@click.argument("hook_id", metavar="ID")
@click.argument("delivery_id", metavar="DELIVERY")
@asks
def retry(session: Session, hook_id: str, delivery_id: str) -> None:
    """Let a dead delivery wait again, behind what waits now."""
    again = session.run(
        lambda client: client.ask(RETRY_DELIVERY, hookId=hook_id, deliveryId=delivery_id)
    )
    if session.as_json:
        show.json(again)
    else:
        show.line(f"{again.type} waits as {again.id}")


def _show(session: Session, hook: HookInfo) -> None:
    if session.as_json:
        show.json(hook)
    else:
        show.pairs(_rows(hook))


def _show_new(session: Session, hook: NewHook) -> None:
    if session.as_json:
        show.json(hook)
        return
    show.pairs([*_rows(hook), ("secret", hook.secret)])
    session.hint("Keep the secret: it is shown this once. Events are signed with it.")


def _rows(hook: HookInfo) -> list[tuple[str, object]]:
    return [
        ("hook", hook.id),
        ("url", hook.url),
        ("events", " ".join(hook.events)),
        ("stream", hook.stream_id or "all"),
        ("status", hook.status),
        ("waiting", hook.pending),
        ("dead", hook.dead),
        ("lost", hook.dropped),
        ("last success", hook.last_success_at),
        ("last failure", hook.last_failure or "-"),
    ]
