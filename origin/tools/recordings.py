"""``headrace recording ...``: broadcasts that were recorded, and their files.

A download is written beside its name and gets it when it is whole. Where the line breaks, it goes
on: the server is asked for the rest, under the condition that the file is still the same.

May import: click, rich, trio, `edge.api`, `origin.recording`'s types, `origin.tools`.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any, Final

import click
import trio

from edge.api.asker import ATTEMPTS, ApiError
from edge.api.calls import Call
from edge.api.client import Client
from origin.recording.api import RecordingInfo, RecordingPage
from origin.tools import show
from origin.tools.errors import EXIT_REFUSED, ToolError
from origin.tools.session import Session, asks, confirm

_EVERY, _ONE = "/api/recordings", "/api/recordings/{recordingId}"

LIST_RECORDINGS: Final = Call("listRecordings", "GET", _EVERY, RecordingPage)
GET_RECORDING: Final = Call("getRecording", "GET", _ONE, RecordingInfo)
DELETE_RECORDING: Final = Call("deleteRecording", "DELETE", _ONE, type(None))
DOWNLOAD_RECORDING: Final = Call("downloadRecording", "GET", f"{_ONE}/download.mp4", type(None))

PAGE: Final = 200
"""Recordings asked for at once."""

PAUSE_S: Final = 1.0
"""Before a download goes on after a line that broke."""

Draw = Callable[[int, int | None], None]
"""Shows how many bytes are there, of how many."""


@click.group("recording", no_args_is_help=False)
def recordings() -> None:
    """Recorded broadcasts."""


@recordings.command("list")
@click.option("--stream", "stream_id", metavar="ID", help="Only of this stream.")
@click.option("--limit", type=click.IntRange(1), help="So many at most.  [default: all]")
@asks
def list_recordings(session: Session, stream_id: str | None, limit: int | None) -> None:
    """List the recordings that can be watched, newest first."""

    async def collect(client: Client) -> list[RecordingInfo]:
        found: list[RecordingInfo] = []
        after: str | None = None
        while True:
            query = {"streamId": stream_id, "limit": min(limit or PAGE, PAGE), "after": after}
            page = await client.ask(LIST_RECORDINGS, query=query)
            found += page.recordings
            if page.next in (None, after) or (limit is not None and len(found) >= limit):
                return found[:limit]
            after = page.next

    found = session.run(collect)
    if session.as_json:
        show.json(found)
        return
    rows = [
        (
            one.recording_id,
            one.stream_id,
            one.started_at,
            show.span(one.duration_seconds),
            show.size(one.size_bytes),
            one.title,
        )
        for one in found
    ]
    show.table(("id", "stream", "started", "length", "size", "title"), rows)


@recordings.command("show")
@click.argument("recording_id", metavar="ID")
@asks
def show_recording(session: Session, recording_id: str) -> None:
    """Show a recording."""
    found = session.run(lambda client: client.ask(GET_RECORDING, recordingId=recording_id))
    if session.as_json:
        show.json(found)
        return
    server = session.server.rstrip("/")
    show.pairs(
        [
            ("recording", found.recording_id),
            ("stream", found.stream_id),
            ("title", found.title),
            ("status", found.status.value),
            ("started", found.started_at),
            ("ended", found.ended_at),
            ("length", show.span(found.duration_seconds)),
            ("size", show.size(found.size_bytes)),
            ("remark", found.reason),
            ("playlist", None if found.playlist_url is None else server + found.playlist_url),
        ]
    )


@recordings.command("delete")
@click.argument("recording_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks
def delete(session: Session, recording_id: str, yes: bool) -> None:
    """Delete a recording and its files."""
    confirm(f"Delete the recording {recording_id}?", yes)
    session.run(lambda client: client.ask(DELETE_RECORDING, recordingId=recording_id))
    session.hint(f"{recording_id} is deleted.")


@recordings.command("download")
@click.argument("recording_id", metavar="ID")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="[default: ID.mp4]"
)
@click.option(
    "--file", "number", type=click.IntRange(0), metavar="N",
    help="Which, where a recording is several.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@asks
def download(
    session: Session, recording_id: str, output: Path | None, number: int | None, force: bool
) -> None:
    """Download a recording as an MP4 file."""
    suffix = "" if number is None else f"-{number}"
    target = output or Path(f"{_file_name(recording_id)}{suffix}.mp4")
    if target.exists() and not force:
        raise ToolError(f"{target} is there already: say --force", EXIT_REFUSED)
    path = DOWNLOAD_RECORDING.target({"recordingId": recording_id})
    if number is not None:
        path += f"?file={number}"
    part = target.with_name(target.name + ".part")
    try:
        with part.open("wb") as file, _bar(target.name) as draw:
            size_bytes = session.run(lambda client: fetch(client, path, file, draw))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    if session.as_json:
        show.json({"file": str(target), "sizeBytes": size_bytes})
    else:
        show.line(f"{target}  {show.size(size_bytes)}")


def _file_name(recording_id: str) -> str:
    """A name in the current folder, whatever was typed."""
    return "".join(one if one.isalnum() else "-" for one in recording_id)


async def fetch(client: Client, path: str, file: IO[bytes], draw: Draw) -> int:
    """Download a file from its beginning; returns its size in bytes.

    Args:
        client: Asks.
        path: Of the file, at the server.
        file: Where to; empty, and may be read only when this returns.
        draw: Is told how far it is.

    Raises:
        ApiError: It cannot be had: it was refused, or the line broke `ATTEMPTS` times in a row.
        OSError: It cannot be written.
    """
    done_bytes, failures = 0, 0
    etag: str | None = None
    while True:
        headers = {}
        if done_bytes and etag is not None:
            headers = {"Range": f"bytes={done_bytes}-", "If-Range": etag}
        try:
            async with client.download(path, headers=headers) as answer:
                if answer.status != 206 and done_bytes:  # it is another file now
                    file.seek(0)
                    file.truncate()
                    done_bytes = 0
                etag = answer.headers.get("etag")
                length = answer.headers.get("content-length")
                total = None if length is None else done_bytes + int(length)
                async for piece in answer.pieces:
                    file.write(piece)
                    done_bytes += len(piece)
                    failures = 0
                    draw(done_bytes, total)
            return done_bytes
        except ApiError as error:
            failures += 1
            if error.status or etag is None or failures >= ATTEMPTS:
                raise
        await trio.sleep(PAUSE_S)


def _bar(name: str) -> AbstractContextManager[Draw]:
    """A bar on a terminal; elsewhere nothing."""
    if not is_drawn():
        return nullcontext(lambda _done, _total: None)
    return _drawn_bar(name)


def is_drawn() -> bool:
    """Whether anybody sees it."""
    return sys.stderr.isatty()


@contextmanager
def _drawn_bar(name: str) -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.text import Text

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    more = (TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, *more, console=Console(file=sys.stderr)) as progress:
        task = progress.add_task(Text(show.clean(name)).plain, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
