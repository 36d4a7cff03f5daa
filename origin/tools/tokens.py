"""``headrace token ...``: admin tokens with scopes.

May import: click, `edge`'s types, `origin.tools`.
"""

from typing import Any, get_args

import click

from edge.api.keys import TokenRequest
from edge.api.operation import Scope
from origin.tools import show
from origin.tools.session import Session, asks


@click.group("token", no_args_is_help=False)
def tokens() -> None:
    """Admin tokens that may do some of what the admin may."""


@tokens.command("create")
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, required=True, type=click.Choice(get_args(Scope)),
    help="What it may do; may be said again.",
)  # fmt: skip
@click.option("--expires-in", type=click.IntRange(1), metavar="SECONDS", help="[default: never]")
@asks
def create(session: Session, name: str, scopes: Any, expires_in: int | None) -> None:
    """Make a token, and show it this once."""
    wanted = TokenRequest(name=name, scopes=list(scopes), expires_in_seconds=expires_in)
    made = session.run(lambda client: client.create_token(wanted))
    if session.as_json:
        show.json(made)
        return
    show.pairs([("id", made.id), ("scopes", " ".join(made.scopes)), ("token", made.token)])
    session.hint("Keep the token: it is shown this once.")


@tokens.command("list")
@asks
def list_tokens(session: Session) -> None:
    """List the tokens besides the one in the data folder, oldest first."""
    found = session.run(lambda client: client.list_tokens()).tokens
    if session.as_json:
        show.json(found)
        return
    rows = [
        (one.id, one.name, " ".join(one.scopes), one.created_at, one.expires_at or "never")
        for one in found
    ]
    show.table(("id", "name", "scopes", "created", "expires"), rows)


@tokens.command("revoke")
@click.argument("token_id", metavar="ID")
@asks
def revoke(session: Session, token_id: str) -> None:
    """End a token, named by its id, at once."""
    session.run(lambda client: client.end_token(token_id))
    session.hint(f"{token_id} opens nothing any more.")
