"""``headrace playback ...``: who may watch a stream, and tokens for those who may.

May import: click, `edge`'s types, `origin.tools`.
"""

from typing import Any, get_args

import click

from control.access_model import PlaybackPolicy
from edge.playback.api import PlaybackRequest, TokenRequest
from origin.tools import show
from origin.tools.session import Session, asks


@click.group("playback", no_args_is_help=False)
def playback() -> None:
    """Who may watch a stream."""


@playback.command("show")
@click.argument("stream_id", metavar="ID")
@asks
def show_playback(session: Session, stream_id: str) -> None:
    """Show who may watch a stream."""
    found = session.run(lambda client: client.get_playback(stream_id))
    if session.as_json:
        show.json(found)
    else:
        show.pairs([("policy", found.policy), ("program", found.webhook_url)])


@playback.command("set")
@click.argument("stream_id", metavar="ID")
@click.argument("policy", type=click.Choice(get_args(PlaybackPolicy)))
@click.option("--webhook", metavar="URL", help="The program that is asked; for the policy webhook.")
@asks
def set_playback(session: Session, stream_id: str, policy: Any, webhook: str | None) -> None:
    """Set who may watch: everybody, who has a token, or whom a program lets in."""
    wanted = PlaybackRequest(policy=policy, webhook_url=webhook)
    found = session.run(lambda client: client.set_playback(stream_id, wanted))
    if session.as_json:
        show.json(found)
        return
    rows: list[tuple[str, object]] = [("policy", found.policy), ("program", found.webhook_url)]
    if found.webhook_secret is not None:
        rows.append(("secret", found.webhook_secret))
        session.hint("The program is sent signed questions: with that secret.")
    show.pairs(rows)


@playback.command("token")
@click.argument("stream_id", metavar="ID")
@click.option(
    "--lifetime", type=click.IntRange(1), metavar="SECONDS", help="How long.  [default: an hour]"
)
@click.option("--net", metavar="NETWORK", help="Only from there: an address, or 192.0.2.0/24.")
@asks
def token(session: Session, stream_id: str, lifetime: int | None, net: str | None) -> None:
    """Get a token to watch a stream, and the URL that it stands in: a secret too."""
    wanted = TokenRequest(lifetime_s=lifetime, net=net)
    made = session.run(lambda client: client.create_playback_token(stream_id, wanted))
    if session.as_json:
        show.json(made)
        return
    show.pairs(
        [
            ("token", made.token),
            ("url", session.server.rstrip("/") + made.path),
            ("expires", made.expires_at),
        ]
    )
