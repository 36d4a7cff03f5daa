"""``headrace chat ...``: reading along, saying something, keeping order.

Reading along asks for what is new every `EVERY_S`: a message is stored before anybody sees it, so
none is missed, and none is shown that was deleted meanwhile.

May import: click, trio, `edge`'s types, `origin.tools`.
"""

from collections.abc import Sequence
from typing import Any, Final

import click
import trio

from control.chat_model import ChatMessage, Role
from edge.api.client import Client
from edge.api.times import iso8601
from edge.chat.rows import MAX_LIMIT, BanRequest, ChatPost, ChatTokenRequest
from origin.tools import show
from origin.tools.session import Session, asks, confirm

EVERY_S: Final = 1.0


@click.group("chat", no_args_is_help=False)
def chat() -> None:
    """Read, write and moderate a stream's chat."""


@chat.command("tail")
@click.argument("stream_id", metavar="ID")
@click.option(
    "-n", "--lines", type=click.IntRange(0, MAX_LIMIT), default=20, metavar="N",
    help="So many of what was said before.  [default: 20]",
)  # fmt: skip
@click.option("--once", is_flag=True, help="Only those.")
@asks
def tail(session: Session, stream_id: str, lines: int, once: bool) -> None:
    """Show what is said, as it is said."""

    async def follow(client: Client) -> None:
        found = (await client.list_messages(stream_id, limit=max(lines, 1))).messages
        _print(session, found[len(found) - lines :] if lines else [])
        last_id = found[-1].id if found else "0"
        while not once:
            await trio.sleep(EVERY_S)
            # Whatever is new since then, though there be more than a page of it: newest last.
            new: Sequence[ChatMessage] = await _since(client, stream_id, last_id)
            _print(session, new)
            last_id = new[-1].id if new else last_id

    session.run(follow)


async def _since(client: Client, stream_id: str, last_id: str) -> list[ChatMessage]:
    """All messages behind one, oldest first; pages come newest first."""
    found: list[ChatMessage] = []
    before = None
    while True:
        page = await client.list_messages(stream_id, limit=MAX_LIMIT, after=last_id, before=before)
        found = page.messages + found
        if len(page.messages) < MAX_LIMIT or len(found) >= 10 * MAX_LIMIT:
            return found
        before = page.messages[0].id


def _print(session: Session, messages: Sequence[ChatMessage]) -> None:
    for message in messages:
        if session.as_json:
            show.json(message)
        else:
            sign = "" if message.role is Role.VIEWER else f" [{message.role.value}]"
            who = f"{message.username} ({message.user_id}){sign}"
            show.line(f"{show.moment(message.timestamp)}  {message.id}  {who}: {message.content}")


@chat.command("say")
@click.argument("stream_id", metavar="ID")
@click.argument("text")
@click.option("--as", "user_id", metavar="USER", help="For somebody else: with the key.")
@click.option("--name", metavar="NAME", help="What they are called.")
@asks
def say(session: Session, stream_id: str, text: str, user_id: str | None, name: str | None) -> None:
    """Say something."""
    wanted = ChatPost(content=text, user_id=user_id, username=name)
    _print(session, [session.run(lambda client: client.post_message(stream_id, wanted))])


@chat.command("delete")
@click.argument("stream_id", metavar="ID")
@click.argument("message_id", metavar="MESSAGE")
@asks
def delete(session: Session, stream_id: str, message_id: str) -> None:
    """Take a message away."""
    session.run(lambda client: client.delete_message(stream_id, message_id))
    session.hint(f"{message_id} is gone.")


@chat.command("clear")
@click.argument("stream_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks
def clear(session: Session, stream_id: str, yes: bool) -> None:
    """Take all messages away."""
    confirm(f"Take all messages of {stream_id} away?", yes)
    session.run(lambda client: client.clear_messages(stream_id))
    session.hint("All messages are gone.")


@chat.command("ban")
@click.argument("stream_id", metavar="ID")
@click.argument("user_id", metavar="USER")
@click.option(
    "--seconds", type=float, metavar="SECONDS",
    help="Silence them for so long.  [default: until it is taken back]",
)  # fmt: skip
@click.option("--reason", default="", help="For the record.")
@asks
def ban(session: Session, stream_id: str, user_id: str, seconds: float | None, reason: str) -> None:
    """Shut somebody out; what they said vanishes."""
    wanted = BanRequest(seconds=seconds, reason=reason)
    session.run(lambda client: client.ban_user(stream_id, user_id, wanted))
    session.hint(f"{user_id} may not write.")


@chat.command("unban")
@click.argument("stream_id", metavar="ID")
@click.argument("user_id", metavar="USER")
@asks
def unban(session: Session, stream_id: str, user_id: str) -> None:
    """Take a ban back."""
    session.run(lambda client: client.unban_user(stream_id, user_id))
    session.hint(f"{user_id} may write again.")


@chat.command("bans")
@click.argument("stream_id", metavar="ID")
@asks
def bans(session: Session, stream_id: str) -> None:
    """List who may not write."""
    found = session.run(lambda client: client.list_bans(stream_id)).bans
    if session.as_json:
        show.json(found)
        return
    rows = [
        (
            one.user_id,
            one.username,
            "for ever" if one.until is None else f"until {iso8601(one.until / 1000)}",
            one.by,
            one.reason,
        )
        for one in found
    ]
    show.table(("user", "name", "how long", "by", "reason"), rows)


@chat.command("token")
@click.argument("stream_id", metavar="ID")
@click.argument("user_id", metavar="USER")
@click.option("--name", required=True, help="What they are called.")
@click.option("--role", type=click.Choice([role.value for role in Role]), default="viewer")
@click.option("--expires-in", type=int, default=12 * 3600, metavar="SECONDS")
@asks
def token(
    session: Session, stream_id: str, user_id: str, name: str, role: Any, expires_in: int
) -> None:
    """Make a chat token: who shows it is that user in this chat."""
    wanted = ChatTokenRequest(
        user_id=user_id, username=name, role=Role(role), ttl_seconds=expires_in
    )
    made = session.run(lambda client: client.create_chat_token(stream_id, wanted))
    if session.as_json:
        show.json(made)
    else:
        show.line(made.token)
