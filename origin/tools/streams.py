"""``headrace stream ...``: streams and their keys; and the document of the API.

A key is shown once, by the server and so here: on stdout, with a hint beside it on stderr.

May import: click, `edge`'s types, `origin.tools`.
"""

from typing import Any, get_args

import click
import msgspec

from edge.api.client import Client
from edge.api.keys import KeyRequest, NewKey, RotationRequest
from edge.backend import CreateStreamRequest, StreamChanges, StreamInfo, StreamStatus
from origin.tools import show
from origin.tools.session import Session, asks, confirm

LISTED = ("id", "status", "viewers", "title", "broadcaster", "started")


@click.group("stream", no_args_is_help=False)
def streams() -> None:
    """Create, list, change, start and end streams."""


@streams.command("create")
@click.argument("title")
@click.option("--broadcaster", required=True, metavar="ID", help="Who it belongs to.")
@click.option("--chat/--no-chat", default=True, help="Whether viewers may chat.  [default: chat]")
@click.option("--record/--no-record", default=False, help="Whether broadcasts are recorded.")
@asks
def create(session: Session, title: str, broadcaster: str, chat: bool, record: bool) -> None:
    """Create a stream, and show its key this once."""
    wanted = CreateStreamRequest(
        broadcaster_id=broadcaster, title=title, chat_enabled=chat, recording_enabled=record
    )
    created = session.run(lambda client: client.create_stream(wanted))
    if session.as_json:
        show.json(created)
        return
    show.pairs(
        [
            ("stream", created.id),
            ("key", created.stream_key),
            ("watch", f"{session.server.rstrip('/')}/watch/{created.id}"),
        ]
    )
    session.hint(
        "Keep the key: it is shown this once. Your encoder publishes with it"
        f" (rtmp://HOST/live and the key); `headrace stream rotate-key {created.id}` makes another."
    )


@streams.command("list")
@click.option("--status", type=click.Choice(get_args(StreamStatus)), help="Only these.")
@click.option("--broadcaster", metavar="ID", help="Only theirs.")
@click.option("--live", is_flag=True, help="Only those that are live now; needs no token.")
@click.option("--limit", type=click.IntRange(1), help="So many at most.  [default: all]")
@asks
def list_streams(
    session: Session, status: Any, broadcaster: str | None, live: bool, limit: int | None
) -> None:
    """List streams, newest first."""
    if live and (status or broadcaster):
        raise click.UsageError("--live stands alone")

    async def collect(client: Client) -> list[StreamInfo]:
        if live:
            return (await client.list_live_streams()).streams[:limit]
        found: list[StreamInfo] = []
        every = client.all_streams(
            status=status, broadcaster_id=broadcaster, page=min(limit or 200, 200)
        )
        try:
            async for stream in every:
                found.append(stream)
                if len(found) == limit:
                    break
        finally:
            await every.aclose()
        return found

    found = session.run(collect)
    if session.as_json:
        show.json(found)
    else:
        show.table(LISTED, map(_listed, found))


def _listed(stream: StreamInfo) -> tuple[object, ...]:
    return (
        stream.id,
        stream.status,
        stream.viewer_count,
        stream.title,
        stream.broadcaster_id,
        stream.started_at,
    )


@streams.command("show")
@click.argument("stream_id", metavar="ID")
@asks
def show_stream(session: Session, stream_id: str) -> None:
    """Show a stream."""
    _show(session, session.run(lambda client: client.get_stream(stream_id)))


@streams.command("start")
@click.argument("stream_id", metavar="ID")
@asks
def start(session: Session, stream_id: str) -> None:
    """Go live before a publisher is there."""
    _show(session, session.run(lambda client: client.start_stream(stream_id)))


@streams.command("end")
@click.argument("stream_id", metavar="ID")
@asks
def end(session: Session, stream_id: str) -> None:
    """End the broadcast: the publisher is disconnected, playlists end."""
    _show(session, session.run(lambda client: client.end_stream(stream_id)))


@streams.command("update")
@click.argument("stream_id", metavar="ID")
@click.option("--title")
@click.option("--chat/--no-chat", default=None, help="Whether viewers may chat.")
@click.option("--record/--no-record", default=None, help="Whether broadcasts are recorded.")
@asks
def update(
    session: Session, stream_id: str, title: str | None, chat: bool | None, record: bool | None
) -> None:
    """Change a stream's settings; what is not named stays as it is."""
    if title is None and chat is None and record is None:
        raise click.UsageError("name what to change: --title, --chat, --record")
    changes = StreamChanges(
        title=msgspec.UNSET if title is None else title,
        chat_enabled=msgspec.UNSET if chat is None else chat,
        recording_enabled=msgspec.UNSET if record is None else record,
    )
    _show(session, session.run(lambda client: client.change_stream(stream_id, changes)))


@streams.command("delete")
@click.argument("stream_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks
def delete(session: Session, stream_id: str, yes: bool) -> None:
    """Remove a stream, with its keys, chat and figures."""
    confirm(f"Remove the stream {stream_id}, with its keys, chat and figures?", yes)
    session.run(lambda client: client.delete_stream(stream_id))
    session.hint(f"{stream_id} is removed.")


@streams.command("rotate-key")
@click.argument("stream_id", metavar="ID")
@click.option(
    "--grace", type=click.IntRange(0), default=0, metavar="SECONDS",
    help="How long the others go on.  [default: they end at once]",
)  # fmt: skip
@click.option("--label", default="first", help="Which encoder has it.  [default: first]")
@asks
def rotate_key(session: Session, stream_id: str, grace: int, label: str) -> None:
    """Put a new key in the place of all others, and show it this once."""
    wanted = RotationRequest(label=label, grace_seconds=grace)
    _show_key(session, session.run(lambda client: client.rotate_key(stream_id, wanted)))


def _show(session: Session, stream: StreamInfo) -> None:
    if session.as_json:
        show.json(stream)
        return
    show.pairs(
        [
            ("stream", stream.id),
            ("title", stream.title),
            ("broadcaster", stream.broadcaster_id),
            ("status", stream.status),
            ("started", stream.started_at),
            ("ended", stream.ended_at),
            ("qualities", " ".join(stream.quality) or "-"),
            ("viewers", stream.viewer_count),
            ("chat", show.yes(stream.chat_enabled)),
            ("recorded", show.yes(stream.recording_enabled)),
        ]
    )


# -- keys


@streams.group("keys", no_args_is_help=False)
def keys() -> None:
    """A stream's keys: one for each encoder, say."""


@keys.command("list")
@click.argument("stream_id", metavar="ID")
@asks
def list_keys(session: Session, stream_id: str) -> None:
    """List the keys that open a stream, oldest first; the keys themselves are not kept."""
    found = session.run(lambda client: client.list_keys(stream_id)).keys
    if session.as_json:
        show.json(found)
        return
    rows = [(key.id, key.label, key.created_at, key.expires_at or "never") for key in found]
    show.table(("id", "label", "created", "expires"), rows)


@keys.command("create")
@click.argument("stream_id", metavar="ID")
@click.option("--label", required=True, help="Which encoder has it.")
@click.option("--expires-in", type=click.IntRange(1), metavar="SECONDS", help="[default: never]")
@asks
def create_key(session: Session, stream_id: str, label: str, expires_in: int | None) -> None:
    """Make another key, and show it this once."""
    wanted = KeyRequest(label=label, expires_in_seconds=expires_in)
    _show_key(session, session.run(lambda client: client.create_key(stream_id, wanted)))


@keys.command("end")
@click.argument("stream_id", metavar="ID")
@click.argument("key_id", metavar="KEY")
@asks
def end_key(session: Session, stream_id: str, key_id: str) -> None:
    """End a key, named by its id, at once: who publishes with it is disconnected."""
    session.run(lambda client: client.end_key(stream_id, key_id))
    session.hint(f"{key_id} opens nothing any more.")


def _show_key(session: Session, key: NewKey) -> None:
    if session.as_json:
        show.json(key)
        return
    show.pairs([("id", key.id), ("label", key.label), ("key", key.stream_key)])
    session.hint("Keep the key: it is shown this once.")


# -- the document


@click.command("openapi")
@asks
def openapi(session: Session) -> None:
    """Print the OpenAPI document of the server's API."""

    async def fetch(client: Client) -> bytes:
        async with client.download("/api/openapi.json") as download:
            return b"".join([piece async for piece in download.pieces])

    document = session.run(fetch)
    if not session.as_json and show.is_terminal():
        document = msgspec.json.format(document, indent=2)
    click.echo(document)
